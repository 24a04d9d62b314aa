"""A line on a long list while it is read, for people who watch a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spojit_stripe.connector import Progress

__all__ = ["watching"]


@contextlib.contextmanager
def watching(tool: str) -> Generator[Progress | None]:
    """A callback for the reader of a list; None, and no output, where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True, highlight=False, markup=False).status(Text(f"{tool} …")) as status:

        def progress(fetched: int, scanned: int, pages: int) -> None:
            looked = f", {scanned} looked at" if scanned != fetched else ""
            status.update(Text(f"{tool}: {fetched} objects{looked}, {pages} pages"))

        yield progress

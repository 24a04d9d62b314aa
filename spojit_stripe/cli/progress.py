"""A line on a long list while it is read, for people who watch a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spojit_stripe.connector import Progress

__all__ = ["Line", "watching"]


@contextlib.contextmanager
def watching(tool: str) -> Generator[Progress | None]:
    """A callback for the reader of a list; None, and no output, where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True, highlight=False, markup=False).status(Text(f"{tool} …")) as status:
        yield Line(tool, lambda text: status.update(Text(text)))


class Line:
    """What is said of a list while it is read: how much came and how fast, and what is left to come."""

    def __init__(self, tool: str, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tool = tool
        self._say = say
        self._clock = clock
        self._began = clock()
        self._left: int | None = None
        self._pace = ""

    def expect(self, left: int | None, per_second: float, slowed: bool) -> None:
        """What the wire thinks is to come, and how fast its limiter lets it go."""
        self._left = left
        self._pace = f", {per_second:.1f} requests/s allowed" + (" (slowed down by Stripe)" if slowed else "")

    def __call__(self, fetched: int, scanned: int, pages: int) -> None:
        seconds = self._clock() - self._began
        speed = scanned / seconds if seconds >= 1.0 else 0.0
        parts = [f"{self._tool}: {fetched:,} objects"]
        if scanned != fetched:
            parts.append(f", {scanned:,} looked at")
        parts.append(f", {pages:,} page{'' if pages == 1 else 's'}")
        if speed:
            parts.append(f", {speed:,.0f} objects/s")
        if speed and self._left:
            parts.append(f", about {self._left:,} and {_duration(self._left / speed)} to go")
        self._say("".join(parts) + self._pace)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

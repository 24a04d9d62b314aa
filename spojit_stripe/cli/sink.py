"""Where data goes: standard output, or a file that is whole or not there at all."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import TextIO

from spojit_stripe.errors import ConfigurationError

__all__ = ["opened", "written_whole"]


@contextlib.contextmanager
def opened(path: Path | None) -> Generator[TextIO]:
    """Standard output, or `path`, which is replaced only when the block ends well.

    Raises `ConfigurationError` where the file can't be written; open it before anything is
    sent, so that nobody pays for a result that can't be kept.
    """
    if path is None or str(path) == "-":
        yield sys.stdout
    elif path.exists() and not path.is_file():
        with _explained(path), path.open("w", encoding="utf-8") as stream:  # a pipe or a device
            yield stream
    else:
        with written_whole(path) as stream:
            yield stream


@contextlib.contextmanager
def written_whole(path: Path, *, mode: int | None = None) -> Generator[TextIO]:
    """A file beside `path` that takes its place when the block ends well, and vanishes if not.

    `mode` are its permissions; left out, those of the file that it replaces or the usual ones.
    """
    target = path.resolve()
    with _explained(path):
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            yield stream
            with _explained(path):
                stream.flush()
                os.fsync(stream.fileno())
        with _explained(path):
            draft.chmod(_usual_mode(target) if mode is None else mode)
            draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _usual_mode(target: Path) -> int:
    with contextlib.suppress(OSError):
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


@contextlib.contextmanager
def _explained(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"can't write {path}: {error.strerror or error}") from None

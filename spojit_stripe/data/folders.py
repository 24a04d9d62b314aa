"""Folders and drafts: private, cleaned of what a crash left, and their faults in one line."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from spojit_stripe.errors import ConfigurationError

__all__ = ["clean", "explained", "make_private", "scratch", "sync_folder"]

_DAY = 24 * 3600.0


@contextlib.contextmanager
def explained(what: str, folder: Path, kind: type[ConfigurationError] = ConfigurationError) -> Generator[None]:
    """Turn what the operating system says into one line that says what to do."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise kind(
            f"can't {what} in {folder}: {why}; make room or choose another folder with --state or SPOJIT_STATE"
        ) from None


def make_private(folder: Path) -> None:
    """`folder` and what is missing above it, for this user alone."""
    missing: list[Path] = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)


@contextlib.contextmanager
def scratch(folder: Path, prefix: str) -> Generator[Path]:
    """A private folder in `folder` that is gone with all it holds when the block ends."""
    with explained("work", folder):
        make_private(folder)
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def clean(folder: Path, *, now: float | None = None) -> None:
    """Remove from a folder of drafts what a crash left there more than a day ago."""
    oldest = (time.time() if now is None else now) - _DAY
    # Another process may be cleaning too, and a folder that can't be read says so when it is needed.
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.stat(follow_symlinks=False).st_mtime >= oldest:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable, where folders can be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

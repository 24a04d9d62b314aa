"""`--to`: which destination a text names."""

from __future__ import annotations

import re
from pathlib import Path

from spojit_stripe.errors import InputError
from spojit_stripe.redact import HIDDEN
from spojit_stripe.sync.destination import Destination
from spojit_stripe.sync.parquet import ParquetFolder
from spojit_stripe.sync.postgres import PostgresTables
from spojit_stripe.sync.sqlite import SqliteTables

__all__ = ["destination_of"]

_FORMS = "sqlite:///file.db, postgresql://user@host/database or folder.parquet"


def destination_of(text: str) -> Destination:
    """The destination of `sqlite:///relative.db` (four slashes: absolute), `postgresql://…` or `folder.parquet`.

    Nothing is opened yet. Raises `InputError` for another form, `ConfigurationError` where a
    driver is not installed.
    """
    scheme, colon, rest = text.partition("://")
    if colon and scheme in ("postgresql", "postgres"):
        return PostgresTables(text)
    if colon and scheme == "sqlite":
        if not rest.startswith("/") or len(rest) < 2:
            shown = _shown(text)
            raise InputError(f"--to: {shown!r} names no file; write sqlite:///file.db, or sqlite:////folder/file.db")
        path = Path(rest[1:])
        if path.name == ":memory:":
            raise InputError("--to: a database in memory is gone when the run ends; name a file")
        if path.is_dir() or not path.parent.is_dir():
            where = "is a folder" if path.is_dir() else f"is in {path.parent}, which is no folder"
            raise InputError(f"--to: {path} {where}; name a file, in a folder that is there")
        return SqliteTables(path)
    if not colon and Path(text).suffix == ".parquet":
        folder = Path(text)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"--to: {text} is a file; a folder is needed, with a file for each resource")
        return ParquetFolder(folder)
    shown = f"{scheme}://{HIDDEN}" if colon else _shown(text)
    raise InputError(f"--to: {shown!r} is no place to sync to; write {_FORMS}")


def _shown(text: str) -> str:
    """A text that names no place, unless it may hold a password: `user:password@host`, or `password=…`."""
    return HIDDEN if re.search("[@=]", text) else text

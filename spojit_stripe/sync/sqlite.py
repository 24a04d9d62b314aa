"""Rows in a SQLite file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.sync.resources import Column
from spojit_stripe.sync.rows import Cell
from spojit_stripe.sync.tables import META, Found, Tables

__all__ = ["SqliteTables", "alone", "scratch"]

_APPLICATION_ID: Final = 0x53505359  # "SPSY": tells our files from anybody else's
_BUSY_SECONDS: Final = 30.0


class SqliteTables(Tables):
    """Implements `Destination` in a file, which is made where there is none."""

    _types = {"text": "TEXT", "integer": "INTEGER", "boolean": "BOOLEAN", "json": "TEXT"}  # noqa: RUF012 # as declared

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.shown = str(path)
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        self._db.close()

    @contextmanager
    def _connected(self) -> Generator[None]:
        with alone(self._path):
            with self._explained():
                if not self._path.exists():
                    self._path.touch(mode=0o600)  # names and addresses of customers will be in it
                elif not os.access(self._path, os.W_OK):
                    raise ConfigurationError(f"can't write {self._path}: the file is read-only")
                # A reader of lists may write from a thread of its own; one at a time.
                self._db = sqlite3.connect(
                    self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
                )
            with closing(self._db):
                with self._explained():
                    self._check_owner()
                    self._db.execute("PRAGMA journal_mode = WAL")
                    self._db.execute("PRAGMA synchronous = NORMAL")  # state and rows are lost together or not at all
                    self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                yield

    def _check_owner(self) -> None:
        owner = self._db.execute("PRAGMA application_id").fetchone()[0]
        used = self._db.execute("PRAGMA schema_version").fetchone()[0]
        if owner not in (0, _APPLICATION_ID) or (owner == 0 and used != 0):
            raise ConfigurationError(
                f"{self._path} is a database of another program; choose another file, nothing was changed"
            )

    @contextmanager
    def _transaction(self) -> Generator[None]:
        self._ask("BEGIN IMMEDIATE")
        try:
            yield
            self._ask("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk has ended it already
                self._db.execute("ROLLBACK")
            raise

    def _ask(self, sql: str, values: Sequence[Cell] = ()) -> list[Found]:
        with self._explained():
            return self._db.execute(sql, values).fetchall()

    def _write(self, sql: str, rows: Iterable[Sequence[Cell]]) -> None:
        with self._explained():
            self._db.executemany(sql, rows)

    def _columns_in(self, table: str) -> dict[str, str]:
        return {str(row[1]): str(row[2]).upper() for row in self._ask(f"PRAGMA table_info({table})")}

    def _from_object(self, column: Column) -> str:
        where = f"object, '$.\"{column.name}\"'"
        if column.kind == "text":
            return f"coalesce(json_extract(object, '$.\"{column.name}\".id'), json_extract({where}))"
        if column.kind == "json":
            return f"CASE json_type({where}) WHEN 'null' THEN NULL ELSE json_extract({where}) END"
        return f"json_extract({where})"

    def _make_view(self, name: str, sql: str) -> None:
        made = f"CREATE VIEW {name} AS {sql}"
        found = self._ask("SELECT sql FROM sqlite_master WHERE type = 'view' AND name = ?", (name,))
        if found and found[0][0] == made:
            return
        self._ask(f"DROP VIEW IF EXISTS {name}")
        self._ask(made)

    @contextmanager
    def _looking(self) -> Generator[bool]:
        if not self._path.exists():
            yield False
            return
        with self._explained():
            self._db = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
        with closing(self._db):
            with self._explained():
                self._check_owner()
            yield bool(self._columns_in(META))

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigurationError(f"can't write {self._path}: {error.strerror or error}") from None
        except sqlite3.Error as error:
            text = str(error)
            if "not a database" in text or "malformed" in text:
                text = f"it is damaged or no SQLite file ({text}); choose another file, nothing was changed"
            elif "locked" in text:
                text = f"another program kept it locked for {_BUSY_SECONDS:g} s; try again"
            raise ConfigurationError(f"can't sync to {self._path}: {text}") from None


@contextmanager
def alone(path: Path) -> Generator[None]:
    """Hold a lock beside `path` that other processes see, and that ends with this one.

    Raises `ConfigurationError` while another run holds it.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        db = sqlite3.connect(lock, timeout=0, isolation_level=None)
    except sqlite3.Error as error:
        raise ConfigurationError(f"can't write beside {path}: {error}") from None
    with closing(db):
        try:
            db.execute("PRAGMA journal_mode = MEMORY")  # else a killed run leaves a second file
            db.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            text = str(error)
            why = "another sync works on it; wait until that has ended" if "locked" in text else text
            raise ConfigurationError(f"can't sync to {path}: {why}") from None
        yield
        db.execute("ROLLBACK")


def scratch() -> sqlite3.Connection:
    """A database for what is too much for memory. Its file has no name and is gone when it is closed."""
    return sqlite3.connect("", isolation_level=None, check_same_thread=False)

"""Rows in a SQLite file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Final

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.sync.rows import Cell
from spojit_stripe.sync.tables import META, Found, Tables
from spojit_stripe.sync.views import View

__all__ = ["SqliteTables", "alone", "scratch", "scratching"]

_APPLICATION_ID: Final = 0x53505359  # "SPSY": tells our files from anybody else's
_BUSY_SECONDS: Final = 30.0
_ALONE: Final = "mode=ro&immutable=1"  # as if nobody else had the file: no locks, and nothing beside it


class SqliteTables(Tables):
    """Implements `Destination` in a file, which is made where there is none."""

    _types = {"text": "TEXT", "integer": "INTEGER", "boolean": "BOOLEAN", "json": "TEXT"}  # noqa: RUF012 # as declared

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.shown = str(path)
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        self._db.close()

    @property
    def _real(self) -> Path:
        """The file itself: two links to it are one place."""
        return Path(os.path.realpath(self._path))

    @contextmanager
    def _connected(self) -> Generator[None]:
        with alone(self._real, self.shown):
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

    def _stranger(self, name: str, view: View) -> str | None:
        found = self._ask(
            "SELECT type, sql FROM sqlite_master WHERE name = ? COLLATE NOCASE AND type <> 'trigger'", (name,)
        )
        if not found:
            return None
        kind, sql = found[0]
        first = f"CREATE VIEW {name} AS {view.sql.splitlines()[0]}\n"
        return None if kind == "view" and str(sql).startswith(first) else str(kind)

    def _make_index(self, name: str, of: str) -> None:
        # IF NOT EXISTS is about indexes alone: a table or view of that name would end the run.
        if not self._ask("SELECT 1 FROM sqlite_master WHERE name = ? COLLATE NOCASE AND type <> 'trigger'", (name,)):
            super()._make_index(name, of)

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
            before, mode = self._real.stat().st_mtime_ns, self._mode()
            self._db = sqlite3.connect(f"{self._real.as_uri()}?{mode}", uri=True, timeout=_BUSY_SECONDS)
        with closing(self._db), self._still(before) if mode == _ALONE else nullcontext():
            with self._explained():
                self._db.execute("PRAGMA query_only = ON")
                self._check_owner()
            yield bool(self._columns_in(META))

    @contextmanager
    def _still(self, before: int) -> Generator[None]:
        """A look that takes no lock. Raises `ConfigurationError` where the file is not as it was `before`."""
        fault: ConfigurationError | None = None
        try:
            yield
        except ConfigurationError as error:
            fault = error  # half of one state and half of another may look damaged
        with self._explained():
            after = self._real.stat().st_mtime_ns
        if after != before:
            raise ConfigurationError(f"a sync wrote to {self._path} meanwhile; try again")
        if fault is not None:
            raise fault

    def _mode(self) -> str:
        """How to open the file for a look at it, so that nothing is left beside it."""
        log = self._real.with_name(f"{self._real.name}-wal")
        if log.is_file() and log.stat().st_size:
            return "mode=ro"  # a sync is at work, or one was killed
        # Even a reader makes files there, and only one that may write takes them away; else they stop the next sync.
        both = os.access(self._real.parent, os.W_OK) and os.access(self._real, os.W_OK)
        return "mode=rw" if both else _ALONE

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
def alone(path: Path, shown: str) -> Generator[None]:
    """Hold a lock beside `path` that other processes see, and that ends with this one.

    Raises `ConfigurationError` while another run holds it; `shown` is what it calls the place.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        db = sqlite3.connect(lock, timeout=0, isolation_level=None)
    except sqlite3.Error as error:
        raise ConfigurationError(f"can't sync to {shown}: can't write {lock}: {error}") from None
    with closing(db):
        try:
            db.execute("PRAGMA journal_mode = MEMORY")  # else a killed run leaves a second file
            db.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            text = str(error)
            why = "another sync works on it; wait until that has ended" if "locked" in text else text
            raise ConfigurationError(f"can't sync to {shown}: {why}") from None
        yield
        db.execute("ROLLBACK")


def scratch() -> sqlite3.Connection:
    """A database for what is too much for memory. Its file has no name and is gone when it is closed."""
    return sqlite3.connect("", isolation_level=None, check_same_thread=False)


@contextmanager
def scratching() -> Generator[None]:
    """For all that is done with a `scratch`. Raises `ConfigurationError` where its folder takes no more."""
    try:
        yield
    except sqlite3.Error as error:
        raise ConfigurationError(
            f"can't note what changed in the folder for temporary files: {error}; "
            "make room there, or name another folder in SQLITE_TMPDIR"
        ) from None

"""The state database: one SQLite file that is ours, durable, and shared between processes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Generator
from pathlib import Path

from spojit_stripe.errors import ConfigurationError, InputError

__all__ = ["FILE_NAME", "Database", "state_folder", "unusable"]

FILE_NAME = "ledger.db"
_APPLICATION_ID = 0x53504A54  # "SPJT": tells our files from anybody else's
_BUSY_SECONDS = 30.0

_CALLS = """
CREATE TABLE calls (
    id INTEGER PRIMARY KEY,
    effect TEXT NOT NULL,
    state TEXT NOT NULL,
    run_id TEXT NOT NULL,
    node TEXT NOT NULL,
    indexes TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    key TEXT UNIQUE,
    digest TEXT,
    connection TEXT NOT NULL,
    mode TEXT NOT NULL,
    account TEXT,
    base_url TEXT,
    api_version TEXT,
    tool TEXT NOT NULL,
    operation TEXT NOT NULL,
    path TEXT NOT NULL,
    params TEXT NOT NULL,
    additions TEXT NOT NULL DEFAULT '{}',
    stamped INTEGER NOT NULL DEFAULT 0,
    amount INTEGER,
    currency TEXT,
    target TEXT,
    once TEXT,
    created INTEGER NOT NULL,
    first_sent INTEGER,
    finished INTEGER,
    object_id TEXT,
    result TEXT,
    error TEXT,
    request_ids TEXT NOT NULL DEFAULT '[]',
    attempts INTEGER NOT NULL DEFAULT 0,
    replayed INTEGER NOT NULL DEFAULT 0,
    livemode INTEGER,
    resolution TEXT
);
CREATE INDEX calls_place ON calls (run_id, node, indexes, ordinal, generation) WHERE key IS NOT NULL;
CREATE INDEX calls_unsettled ON calls (digest) WHERE state IN ('open', 'unknown');
CREATE INDEX calls_money ON calls (connection, mode, first_sent) WHERE effect = 'money';
CREATE TABLE once (
    connection TEXT NOT NULL,
    operation TEXT NOT NULL,
    value TEXT NOT NULL,
    call_id INTEGER NOT NULL,
    PRIMARY KEY (connection, operation, value)
) WITHOUT ROWID;
CREATE TABLE approvals (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    run_id TEXT NOT NULL,
    connection TEXT NOT NULL,
    reason TEXT NOT NULL,
    preview TEXT NOT NULL,
    state TEXT NOT NULL,
    requested INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    decided INTEGER,
    decided_by TEXT,
    note TEXT
);
CREATE TABLE planned (
    run_id TEXT NOT NULL,
    connection TEXT NOT NULL,
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    preview TEXT NOT NULL,
    amount INTEGER,
    currency TEXT,
    call_id INTEGER,
    PRIMARY KEY (run_id, connection, number),
    UNIQUE (run_id, connection, digest)
);
"""

_RUNS = """
CREATE TABLE versions (
    digest TEXT PRIMARY KEY,
    files TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    workflow TEXT NOT NULL,
    version TEXT NOT NULL,
    file TEXT NOT NULL,
    engine TEXT NOT NULL,
    inputs TEXT NOT NULL,
    state TEXT NOT NULL,
    created INTEGER NOT NULL,
    finished INTEGER,
    resumes INTEGER NOT NULL DEFAULT 0,
    resumed INTEGER NOT NULL DEFAULT 0,
    retried TEXT NOT NULL DEFAULT '[]',
    exceptions INTEGER NOT NULL DEFAULT 0,
    output TEXT,
    error TEXT
);
CREATE INDEX runs_created ON runs (created);
CREATE TABLE run_nodes (
    run_id TEXT NOT NULL,
    path TEXT NOT NULL,
    type TEXT NOT NULL,
    state TEXT NOT NULL,
    started REAL,
    finished REAL,
    facts TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (run_id, path)
);
CREATE TABLE run_waits (
    run_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    address TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (run_id, topic)
) WITHOUT ROWID;
CREATE INDEX run_waits_topic ON run_waits (topic);
CREATE TABLE run_transcripts (
    run_id TEXT NOT NULL,
    path TEXT NOT NULL,
    transcript TEXT NOT NULL,
    PRIMARY KEY (run_id, path)
);
CREATE INDEX calls_run ON calls (run_id);
"""

_RUN_CONNECTIONS = """
CREATE TABLE run_connections (
    run_id TEXT NOT NULL,
    connection TEXT NOT NULL,
    place TEXT NOT NULL,
    PRIMARY KEY (run_id, connection)
) WITHOUT ROWID;
"""

_PLANS = """
CREATE TABLE planned_of_owners (
    run_id TEXT NOT NULL,
    connection TEXT NOT NULL,
    owner TEXT NOT NULL,
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    preview TEXT NOT NULL,
    amount INTEGER,
    currency TEXT,
    call_id INTEGER,
    PRIMARY KEY (run_id, connection, owner, number),
    UNIQUE (run_id, connection, digest)
);
INSERT INTO planned_of_owners
    SELECT run_id, connection, '', number, digest, preview, amount, currency, call_id FROM planned;
DROP TABLE planned;
ALTER TABLE planned_of_owners RENAME TO planned;
ALTER TABLE approvals ADD COLUMN owner TEXT NOT NULL DEFAULT '';
INSERT OR IGNORE INTO run_connections
    SELECT run_id, connection, json_object('mode', mode, 'account', account, 'base_url', base_url)
    FROM calls WHERE key IS NOT NULL AND run_id IN (SELECT id FROM runs) ORDER BY id;
"""

_APPROVALS_OF_RUNS = """
CREATE INDEX approvals_run ON approvals (run_id);
"""

_MIGRATIONS = (_CALLS, _RUNS, _RUN_CONNECTIONS, _PLANS, _APPROVALS_OF_RUNS)
"""What brings a file from one format to the next; additive, for older files hold money's history."""


def state_folder(given: Path | None = None) -> Path:
    """`given`, else `SPOJIT_STATE`, else the user's state folder; never the current folder.

    Absolute: processes of ours that work elsewhere are told of it too.
    """
    if given is not None:
        return given.absolute()
    named = os.environ.get("SPOJIT_STATE")
    if named:
        return Path(named).absolute()
    from platformdirs import user_state_path

    return user_state_path("spojit-stripe")


class Database:
    """One connection to the state file, guarded by a lock so that threads may share it.

    Raises `ConfigurationError` where the folder can't be written or the file is not ours,
    newer than this package, or damaged; such a file is left as it is.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._lock = threading.RLock()
        self._connection = _open(self.path)

    @contextlib.contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """The connection for queries."""
        with self._lock, _explained(self.path):
            yield self._connection

    @contextlib.contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """A transaction that holds the write lock from its start; durable once it ends."""
        with self._lock, _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = not path.exists()
        if fresh:
            path.touch(mode=0o600)  # names and addresses of customers are in it
    except OSError as error:
        raise unusable(path, error.strerror or str(error)) from None
    if not path.is_file():
        raise unusable(path, f"{path.name} is no file")
    if not os.access(path, os.W_OK):
        raise unusable(path, "the file is read-only")
    with _explained(path):
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        with _explained(path):
            _prepare_patiently(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare_patiently(connection: sqlite3.Connection, path: Path) -> None:
    """Wait for processes that open the same new file: SQLite itself does not while it changes to WAL."""
    ends = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            _prepare(connection, path)
        except sqlite3.OperationalError as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if "locked" not in str(error) or time.monotonic() > ends:
                raise
            time.sleep(0.01)
        else:
            return


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA busy_timeout = 30000")
    if _is_foreign(connection):
        raise ConfigurationError(f"{path} belongs to another program; choose another folder with --state")
    version = _pragma(connection, "user_version")
    if version > len(_MIGRATIONS):
        raise ConfigurationError(f"{path} was written by a newer spojit_stripe (format {version}); update this one")
    connection.execute("PRAGMA journal_mode = WAL")
    # A money row must survive a power cut before its request leaves.
    connection.execute("PRAGMA synchronous = FULL")
    # What is pruned is gone: not only unlinked from a page that still holds it.
    connection.execute("PRAGMA secure_delete = ON")
    if version == len(_MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    version = _pragma(connection, "user_version")  # again: another process may have been faster
    for migration in _MIGRATIONS[version:]:
        for statement in migration.split(";\n"):
            if statement.strip():
                connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
    connection.execute("COMMIT")


def _is_foreign(connection: sqlite3.Connection) -> bool:
    """Whether the file has content that is not ours. Looked at in one snapshot: another process may be filling it."""
    connection.execute("BEGIN")
    try:
        owner = _pragma(connection, "application_id")
        if owner:
            return owner != _APPLICATION_ID
        used = _pragma(connection, "user_version") or _pragma(connection, "schema_version")
        return used != 0
    finally:
        connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def unusable(path: Path, why: str) -> ConfigurationError:
    """The error of a state file that can't be used."""
    return ConfigurationError(
        f"can't keep state in {path.parent}: {why}; choose another folder with --state or SPOJIT_STATE"
    )


@contextlib.contextmanager
def _explained(path: Path) -> Generator[None]:
    """SQLite's errors in words that say what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text:
            raise ConfigurationError(
                f"{path} is locked by another program for {_BUSY_SECONDS:g} s; try again"
            ) from None
        if "malformed" in text:
            raise _damaged(path, text) from None
        raise unusable(path, text) from None
    except UnicodeEncodeError as error:
        raise InputError(f"{_snippet(error)} is no valid text; nothing was found or changed") from None
    except sqlite3.IntegrityError:
        raise
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from None


def _snippet(error: UnicodeEncodeError) -> str:
    """What is no text, with a little around it."""
    return repr(error.object[max(0, error.start - 20) : error.end + 20])


def _damaged(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is damaged or no database ({why}); nothing was changed: restore it from a copy, "
        "or move it away after noting that its runs can't be resumed"
    )

"""Where the sandbox keeps its objects: one SQLite file, or memory.

Objects are stored as the JSON bytes that are sent, so a list page is a join of bytes.
Beside them are the few columns that lists filter by. Everything belongs to a scope,
which is an account in one mode: test and live data never meet.

A request's effects are one transaction, committed before the answer: a killed process
leaves either all of a request or nothing.
"""

import contextlib
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spojit_stripe.sandbox.errors import SandboxError
from spojit_stripe.sandbox.values import JsonObject, JsonValue, child, decode, encode, text

_APPLICATION_ID = 0x53504A53  # "SPJS": how our own files are told from others
_SCHEMA_VERSION = 1

# Filter columns: text unless listed as numbers. A resource fills those whose field it has.
COLUMNS_NAMES = (
    "customer payment_intent charge invoice subscription product status email kind active currency url "
    "source payout transfer_group collection_method lookup_key shippable due net"
)
COLUMNS = COLUMNS_NAMES.split()
_NUMBERS = {"active", "shippable", "due", "net"}
_INDEXED_NAMES = "customer payment_intent charge invoice subscription status email kind source payout"

_SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE objects (
    seq INTEGER PRIMARY KEY,
    scope INTEGER NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL,
    created INTEGER NOT NULL, listed INTEGER NOT NULL,
    {", ".join(f"{name} {'INTEGER' if name in _NUMBERS else 'TEXT'}" for name in COLUMNS)},
    private BLOB, body BLOB NOT NULL
);
CREATE TABLE idempotency (
    scope INTEGER NOT NULL, key TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
    digest BLOB NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL,
    request TEXT NOT NULL, created INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE TABLE timers (
    id INTEGER PRIMARY KEY, due INTEGER NOT NULL, scope INTEGER NOT NULL,
    action TEXT NOT NULL, object TEXT NOT NULL
);
CREATE INDEX timer_due ON timers (due, id);
CREATE TABLE unindexed (seq INTEGER PRIMARY KEY, visible_at REAL NOT NULL, old BLOB);
"""
_INDEXES = {
    "object_id": "CREATE UNIQUE INDEX object_id ON objects (scope, id)",
    "object_time": "CREATE INDEX object_time ON objects (scope, type, listed, created DESC, seq DESC)",
    # The balance is a sum over all transactions: read from an index, not from their bodies.
    "object_money": "CREATE INDEX object_money ON objects (scope, currency, status, net) "
    "WHERE type = 'balance_transaction'",
} | {
    f"object_{name}": f"CREATE INDEX object_{name} ON objects (scope, type, {name}, created DESC, seq DESC) "
    f"WHERE {name} IS NOT NULL"
    for name in _INDEXED_NAMES.split()
}

# A row as it is copied from one store to another: without its sequence.
ROW = ("scope", "type", "id", "created", "listed", *COLUMNS, "private", "body")
_INSERT = (
    f"INSERT INTO objects (scope, type, id, created, listed, {', '.join(COLUMNS)}, private, body) "  # noqa: S608
    f"VALUES ({', '.join('?' * (len(COLUMNS) + 7))})"
)
_UPDATE = (
    f"UPDATE objects SET listed = ?, {', '.join(f'{name} = ?' for name in COLUMNS)}, "  # noqa: S608
    "private = ?, body = ? WHERE seq = ?"
)

Cell = str | int | float | bytes | None


@dataclass
class Record:
    """A stored object: what the API shows, and what only the sandbox knows."""

    body: JsonObject
    private: JsonObject = field(default_factory=lambda: {})
    seq: int = 0
    original: bytes = b""

    @property
    def id(self) -> str:
        """The object's id."""
        value = self.body["id"]
        return value if isinstance(value, str) else ""


@dataclass(frozen=True)
class Kept:
    """An answer kept under an idempotency key."""

    method: str
    path: str
    digest: bytes
    status: int
    body: bytes
    request: str
    created: int


@dataclass(frozen=True)
class Timer:
    """Something that happens when the clock reaches `due`."""

    id: int
    due: int
    scope: int
    action: str
    object: str


@dataclass(frozen=True)
class Filter:
    """A condition of a list, as SQL over the filter columns."""

    sql: str
    values: tuple[Cell, ...] = ()


class Store:
    """The objects, idempotency records and timers of one sandbox. Used from one thread."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._db = _open(path)
        if self.meta("seeding") is not None:  # a seed that was cut off by a kill leaves nothing
            self.clear()
            self.forget_meta("seeding")
        self.boots = int(self.meta("boots") or 0) + 1
        self._ordinal = int(self.meta("ordinal") or 0)
        self.set_meta("boots", self.boots)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """All that is done within is kept together, or not at all; an inner one is part of the outer."""
        if self._db.in_transaction:
            yield
            return
        ordinal = self._ordinal
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            self._ordinal = ordinal
            raise
        if self._ordinal != ordinal:
            self.set_meta("ordinal", self._ordinal)
        self._db.execute("COMMIT")

    def next_ordinal(self) -> int:
        """The next number that ids are made from."""
        self._ordinal += 1
        return self._ordinal

    # Objects

    def insert(self, scope: int, record: Record, *, listed: bool = True) -> None:
        """Keep a new object."""
        body = record.body
        created = body.get("created") or body.get("date") or 0
        raw = encode(body)
        cursor = self._db.execute(
            _INSERT,
            (
                scope,
                body["object"],
                body["id"],
                created,
                int(listed),
                *_cells(body),
                encode(record.private) if record.private else None,
                raw,
            ),
        )
        record.seq = cursor.lastrowid or 0
        record.original = raw

    def update(self, record: Record, *, listed: bool = True) -> None:
        """Keep the object's new state."""
        raw = encode(record.body)
        private = encode(record.private) if record.private else None
        self._db.execute(_UPDATE, (int(listed), *_cells(record.body), private, raw, record.seq))
        record.original = raw

    def find(self, scope: int, identifier: str) -> Record | None:
        """The object with this id, of any type."""
        row = self._db.execute(
            "SELECT body, private, seq FROM objects WHERE scope = ? AND id = ?", (scope, identifier)
        ).fetchone()
        return None if row is None else _record(row)

    def exists(self, scope: int, identifier: str) -> bool:
        """Whether this id names an object."""
        sql = "SELECT 1 FROM objects WHERE scope = ? AND id = ?"
        return self._db.execute(sql, (scope, identifier)).fetchone() is not None

    def position(self, scope: int, kind: str, identifier: str) -> tuple[int, int] | None:
        """Where an object stands in its lists: created and sequence."""
        sql = "SELECT created, seq FROM objects WHERE scope = ? AND id = ? AND type = ?"
        row = self._db.execute(sql, (scope, identifier, kind)).fetchone()
        return None if row is None else (row[0], row[1])

    def page(
        self,
        scope: int,
        kind: str,
        filters: Sequence[Filter],
        count: int,
        *,
        after: tuple[int, int] | None = None,
        before: tuple[int, int] | None = None,
    ) -> list[bytes]:
        """Up to `count` objects, newest first: those after a position, or those right before one."""
        where = ["scope = ?", "type = ?", "listed = 1"]
        values: list[Cell] = [scope, kind]
        for each in filters:
            where.append(each.sql)
            values.extend(each.values)
        direction = "DESC"
        if after is not None:
            where.append("(created, seq) < (?, ?)")
            values.extend(after)
        if before is not None:
            where.append("(created, seq) > (?, ?)")
            values.extend(before)
            direction = "ASC"
        rows = self._db.execute(
            f"SELECT body FROM objects WHERE {' AND '.join(where)} "  # noqa: S608 - our own column names
            f"ORDER BY created {direction}, seq {direction} LIMIT ?",
            (*values, count),
        ).fetchall()
        found = [row[0] for row in rows]
        return found[::-1] if before is not None else found

    def scan(
        self, scope: int, kind: str, filters: Sequence[Filter], after: tuple[int, int] | None = None
    ) -> Iterator[tuple[int, int, bytes]]:
        """All objects that match, newest first: created, sequence and JSON."""
        where = ["scope = ?", "type = ?", "listed = 1", *(each.sql for each in filters)]
        values: list[Cell] = [scope, kind, *(value for each in filters for value in each.values)]
        if after is not None:
            where.append("(created, seq) < (?, ?)")
            values.extend(after)
        yield from self._db.execute(
            f"SELECT created, seq, body FROM objects WHERE {' AND '.join(where)} "  # noqa: S608 - as above
            "ORDER BY created DESC, seq DESC",
            values,
        )

    def records(self, scope: int, kind: str, filters: Sequence[Filter] = ()) -> list[Record]:
        """All objects that match, oldest first."""
        where = ["scope = ?", "type = ?", "listed = 1", *(each.sql for each in filters)]
        rows = self._db.execute(
            f"SELECT body, private, seq FROM objects WHERE {' AND '.join(where)} "  # noqa: S608 - as above
            "ORDER BY created, seq",
            [scope, kind, *(value for each in filters for value in each.values)],
        ).fetchall()
        return [_record(row) for row in rows]

    def counts(self, scope: int) -> dict[str, int]:
        """How many objects there are of each type, deleted ones left out."""
        sql = "SELECT type, count(*) FROM objects WHERE scope = ? AND listed = 1 GROUP BY type"
        return {kind: number for kind, number in self._db.execute(sql, (scope,))}

    def balances(self, scope: int) -> list[tuple[str, str, int]]:
        """The sum of balance transactions by currency and status: currency, status, net."""
        sql = (
            "SELECT currency, status, sum(net) FROM objects "
            "WHERE scope = ? AND type = 'balance_transaction' GROUP BY currency, status ORDER BY currency"
        )
        return [(row[0], row[1], row[2]) for row in self._db.execute(sql, (scope,))]

    # Search sees changes late

    def hide_from_search(self, record: Record, visible_at: float, old: bytes | None) -> None:
        """Search shows the old state, or nothing for a new object, until `visible_at`."""
        self._db.execute(
            "INSERT INTO unindexed VALUES (?, ?, ?) ON CONFLICT (seq) DO UPDATE SET visible_at = excluded.visible_at",
            (record.seq, visible_at, old),
        )

    def unindexed(self, now: float) -> dict[int, bytes | None]:
        """What search does not see yet: sequence, and the old state if there is one."""
        rows = self._db.execute("SELECT seq, old FROM unindexed WHERE visible_at > ?", (now,))
        return {row[0]: row[1] for row in rows}

    def forget_indexed(self, now: float) -> None:
        """Drop what search sees by now."""
        self._db.execute("DELETE FROM unindexed WHERE visible_at <= ?", (now,))

    # Idempotency records

    def kept(self, scope: int, key: str, newer_than: int) -> Kept | None:
        """The answer kept under a key, unless it is too old."""
        row = self._db.execute(
            "SELECT method, path, digest, status, body, request, created FROM idempotency "
            "WHERE scope = ? AND key = ? AND created > ?",
            (scope, key, newer_than),
        ).fetchone()
        return None if row is None else Kept(*row)

    def keep(self, scope: int, key: str, kept: Kept) -> None:
        """Keep an answer under a key."""
        self._db.execute(
            "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (scope, key, kept.method, kept.path, kept.digest, kept.status, kept.body, kept.request, kept.created),
        )

    # Timers

    def add_timer(self, due: int, scope: int, action: str, identifier: str) -> None:
        """Have `action` happen to an object when the clock reaches `due`."""
        sql = "INSERT INTO timers (due, scope, action, object) VALUES (?, ?, ?, ?)"
        self._db.execute(sql, (due, scope, action, identifier))

    def next_timer(self, now: int) -> Timer | None:
        """The earliest timer that is due."""
        sql = "SELECT id, due, scope, action, object FROM timers WHERE due <= ? ORDER BY due, id LIMIT 1"
        row = self._db.execute(sql, (now,)).fetchone()
        return None if row is None else Timer(*row)

    def drop_timer(self, timer: Timer) -> None:
        """Forget a timer."""
        self._db.execute("DELETE FROM timers WHERE id = ?", (timer.id,))

    # In bulk

    @contextlib.contextmanager
    def bulk(self) -> Generator[None]:
        """For millions of rows: the indexes are made at the end, and a loss of power may take it all."""
        self._db.execute("PRAGMA synchronous = OFF")
        for name in _INDEXES:
            self._db.execute(f"DROP INDEX IF EXISTS {name}")
        try:
            yield
        finally:
            _index(self._db)
            self._db.execute("PRAGMA synchronous = NORMAL")

    def add_rows(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Keep new objects that were made as rows, with the cells of `ROW`."""
        self._db.executemany(_INSERT, rows)

    def rows_after(self, seq: int) -> list[tuple[Cell, ...]]:
        """The rows that were made after a sequence, with the cells of `ROW`."""
        sql = f"SELECT {', '.join(ROW)} FROM objects WHERE seq > ? ORDER BY seq"  # noqa: S608 - our own names
        return self._db.execute(sql, (seq,)).fetchall()

    def last_seq(self) -> int:
        """The sequence of the newest row."""
        return self._db.execute("SELECT coalesce(max(seq), 0) FROM objects").fetchone()[0]

    def add_timers(self, timers: Sequence[tuple[int, int, str, str]]) -> None:
        """Set many timers: due, scope, action and object of each."""
        self._db.executemany("INSERT INTO timers (due, scope, action, object) VALUES (?, ?, ?, ?)", timers)

    def timers(self) -> list[Timer]:
        """All timers, in the order of their time."""
        return [
            Timer(*row) for row in self._db.execute("SELECT id, due, scope, action, object FROM timers ORDER BY due")
        ]

    def move_to_payout(self, scope: int, moves: Sequence[tuple[str | None, str]]) -> None:
        """Balance transactions that are under one payout belong to another, or to none."""
        sql = "UPDATE objects SET payout = ? WHERE scope = ? AND type = 'balance_transaction' AND payout = ?"
        self._db.executemany(sql, [(new, scope, old) for new, old in moves])

    # Everything

    def clear(self) -> None:
        """Forget all objects, records and timers; ids start again."""
        for table in ("objects", "idempotency", "timers", "unindexed"):
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own table names
        self._ordinal = 0
        self.set_meta("ordinal", 0)

    def meta(self, name: str) -> str | int | float | None:
        """A remembered setting."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def set_meta(self, name: str, value: str | float) -> None:
        """Remember a setting."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def forget_meta(self, name: str) -> None:
        """Forget a setting."""
        self._db.execute("DELETE FROM meta WHERE name = ?", (name,))


def _record(row: tuple[bytes, bytes | None, int]) -> Record:
    body, private, seq = row
    return Record(decode(body), decode(private) if private else {}, seq, body)


def _open(path: Path | None) -> sqlite3.Connection:
    try:
        db = sqlite3.connect(":memory:" if path is None else path, isolation_level=None, timeout=0.2)
    except sqlite3.Error as error:
        raise SandboxError(f"can't open the state file {str(path)!r}: {error}") from None
    try:
        _prepare(db, path)
    except sqlite3.OperationalError as error:
        db.close()
        why = "another sandbox uses it" if "locked" in str(error) else f"{error} (is it writable?)"
        raise SandboxError(f"can't open the state file {str(path)!r}: {why}") from None
    except sqlite3.Error as error:
        db.close()
        raise SandboxError(f"{str(path)!r} is not a state file of the sandbox: {error}") from None
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path | None) -> None:
    # One process at a time: two would give the same ids twice. The lock ends with the process.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    application: int = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    tables: int = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and application != _APPLICATION_ID:
        raise SandboxError(f"{str(path)!r} is not a state file of the sandbox: it is another program's database")
    if tables and version != _SCHEMA_VERSION:
        raise SandboxError(f"the state file {str(path)!r} is of another version of the sandbox ({version})")
    if not tables:
        db.execute("PRAGMA page_size = 16384")  # charges have 3 KB: pages of 4 KB would be a quarter empty
    # The log survives a killed process; only a machine that loses power can lose the last commits.
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA cache_size = -65536")
    if not tables:
        db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    _index(db)


def _index(db: sqlite3.Connection) -> None:
    """Make the indexes that are not there."""
    for sql in _INDEXES.values():
        db.execute(sql.replace(" INDEX ", " INDEX IF NOT EXISTS ", 1))


def _cells(body: JsonObject) -> list[Cell]:
    """The filter columns of an object."""
    return [_CELL.get(name, _plain)(body, name) for name in COLUMNS]


def _plain(body: JsonObject, name: str) -> Cell:
    return _scalar(body.get(name))


def _scalar(value: JsonValue) -> Cell:
    if isinstance(value, dict):
        value = value.get("id")  # an object in place of its id
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, (str, int)) and value != "" else None


def _subscription(body: JsonObject, name: str) -> Cell:
    details = child(child(body, "parent"), "subscription_details")
    return text(body, name) or text(details, name)


def _kind(body: JsonObject, name: str) -> Cell:
    del name
    return text(body, "type")


def _product(body: JsonObject, name: str) -> Cell:
    return _scalar(body.get(name)) if body.get("object") == "price" else None


def _due(body: JsonObject, name: str) -> Cell:
    del name
    return _scalar(body.get("due_date") or body.get("arrival_date") or body.get("available_on"))


def _source(body: JsonObject, name: str) -> Cell:
    return _scalar(body.get(name)) if body.get("object") == "balance_transaction" else None


_CELL = {"subscription": _subscription, "kind": _kind, "product": _product, "due": _due, "source": _source}

"""Tables in a SQL database: made, widened, written and asked in the SQL that SQLite and PostgreSQL share.

Names of tables and columns come from the package alone, never from data; values are bound.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, TypeAlias, cast

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.sync.destination import Failure, Identity, State, failing, state_from, state_text
from spojit_stripe.sync.resources import LINKS, Column, Kind, Resource
from spojit_stripe.sync.rows import Cell, Counts, Known, Row, Verdict, judge, taken_from
from spojit_stripe.sync.views import VIEWS, View
from spojit_stripe.values import JsonObject

__all__ = ["META", "PENDING", "STATES", "Tables"]

PENDING: Final = "status = 'pending' AND deleted_at IS NULL AND available_on <= ?"

META: Final = "spojit_sync_meta"
STATES: Final = "spojit_sync"

_FORMAT: Final = 1
_BATCH: Final = 500
_FIXED: Final[tuple[tuple[str, Kind], ...]] = (
    ("id", "text"),
    ("created", "integer"),
    ("synced_at", "integer"),
    ("deleted_at", "integer"),
    ("digest", "text"),
    ("object", "json"),
)

Found: TypeAlias = "tuple[str | int | None, ...]"


class Tables(ABC):
    """Implements `Destination` over one database connection. Used by one run, from one thread at a time."""

    shown: str
    _types: Mapping[Kind, str]

    def __init__(self) -> None:
        self._columns: dict[str, tuple[Column, ...]] = {}

    # What a database has of its own

    @abstractmethod
    def _connected(self) -> AbstractContextManager[None]:
        """Connect, alone; refuse a database that is not ours."""

    @abstractmethod
    def _looking(self) -> AbstractContextManager[bool]:
        """Connect for reading only, whoever else works there; gives whether there is anything of ours."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[None]:
        """All or nothing."""

    @abstractmethod
    def _ask(self, sql: str, values: Sequence[Cell] = ()) -> list[Found]:
        """The rows of a query, or none of a command."""

    @abstractmethod
    def _write(self, sql: str, rows: Iterable[Sequence[Cell]]) -> None:
        """Run a command once for each row."""

    @abstractmethod
    def _columns_in(self, table: str) -> dict[str, str]:
        """The columns of a table with their types in upper case; empty where there is none."""

    @abstractmethod
    def _stranger(self, name: str, view: View) -> str | None:
        """What lies under the name of a view and is not that view, nor one of an earlier version: a word for it."""

    def _make_index(self, name: str, of: str) -> None:
        """Make an index. Where its name is taken, by whatever it is, rows are found without it."""
        self._ask(f"CREATE INDEX IF NOT EXISTS {name} ON {of}")

    @abstractmethod
    def _make_view(self, name: str, sql: str) -> None:
        """Make a view, or replace one of ours that differs."""

    def peek(self, resource: Resource, identity: Identity) -> State:
        with self._looking() as ours:
            if ours:
                self._check(identity)
                self._check_views([resource])
            return (self._state(resource) if ours else None) or State()

    def reconciliation(self, payout: str | None) -> list[JsonObject]:
        with self._looking() as ours:
            names = list(self._columns_in("payout_reconciliation")) if ours else []
            if not names:
                raise ConfigurationError(
                    f"{self.shown} holds nothing to reconcile; sync payouts and balance_transactions to it first"
                )
            listed = ", ".join(names)
            found = self._ask(
                f"SELECT {listed} FROM payout_reconciliation WHERE ? IN ('', payout)"  # noqa: S608 # our own names
                " ORDER BY arrival_date, payout, currency",
                (payout or "",),
            )
        return [dict(zip(names, row, strict=True)) for row in found]

    # A run

    @contextmanager
    def opened(self, identity: Identity, resources: Sequence[Resource] = ()) -> Generator[None]:
        with self._connected():
            with self._transaction():
                self._claim(identity)
                self._check_views(resources)
            yield

    def _claim(self, identity: Identity) -> None:
        if not self._columns_in(META):
            self._ask(f"CREATE TABLE {META} (name {self._types['text']} PRIMARY KEY, value {self._types['text']})")
            self._ask(
                f"CREATE TABLE {STATES} (resource {self._types['text']} PRIMARY KEY, state {self._types['text']})"
            )
            mine = [("format", str(_FORMAT)), ("of", json.dumps(identity.to_json()))]
            self._write(f"INSERT INTO {META} (name, value) VALUES (?, ?)", mine)  # noqa: S608 # our own name
            return
        self._check(identity)

    def _check(self, identity: Identity) -> None:
        self._check_format()
        found = self._ask(f"SELECT value FROM {META} WHERE name = 'of'")  # noqa: S608 # our own name
        try:
            kept = json.loads(str(found[0][0]))
        except (ValueError, IndexError):
            kept = None
        identity.check(cast("JsonObject", kept) if isinstance(kept, dict) else {}, self.shown)

    def _check_views(self, resources: Sequence[Resource]) -> None:
        """That the views can be made in the end: before hours of reading, not after them."""
        wanted = any(resource.name == LINKS for resource in resources)
        for name, view in VIEWS.items():
            if wanted or self._has_all(view):
                self._check_view(name, view)

    def _has_all(self, view: View) -> bool:
        return all(self._columns_in(table) for table in view.tables)

    def _check_view(self, name: str, view: View) -> None:
        stranger = self._stranger(name, view)
        if stranger is not None:
            raise ConfigurationError(
                f"{self.shown} has a {stranger} {name} that is not of this program; rename it, "
                "or choose another destination"
            )

    def _check_format(self) -> None:
        found = self._ask(f"SELECT value FROM {META} WHERE name = 'format'")  # noqa: S608 # our own name
        version = str(found[0][0]) if found else "none"
        if version != str(_FORMAT):
            raise ConfigurationError(
                f"{self.shown} was written by another spojit_stripe (format {version}); update this one, "
                "or choose another destination"
            )

    def _state(self, resource: Resource) -> State | None:
        """What is remembered of a table. Where somebody dropped it nothing is: it is filled anew."""
        if not self._columns_in(STATES) or not self._columns_in(resource.name):
            return None
        found = self._ask(f"SELECT state FROM {STATES} WHERE resource = ?", (resource.name,))  # noqa: S608 # our own names
        return state_from(str(found[0][0]), self.shown) if found else None

    def prepare(self, resource: Resource, columns: Sequence[Column]) -> State:
        with self._transaction():
            state = self._state(resource)
            have = self._columns_in(resource.name)
            if have and state is None:
                raise ConfigurationError(
                    f"{self.shown} has a table {resource.name} that is not of this program; choose another destination"
                )
            state = state or State()
            if have:
                state = self._widen(resource, columns, have, state)
            else:
                self._make(resource, columns)
            self._columns[resource.name] = tuple(columns)
            self._keep(resource, state)
        return state

    def _make(self, resource: Resource, columns: Sequence[Column]) -> None:
        parts = [f'"{name}" {self._types[kind]}' for name, kind in _shape(columns)]
        parts[0] += " PRIMARY KEY"
        self._ask(f"CREATE TABLE {resource.name} ({', '.join(parts)})")
        self._make_index(f"{resource.name}_created", f"{resource.name} (created)")

    def _widen(self, resource: Resource, columns: Sequence[Column], have: Mapping[str, str], state: State) -> State:
        """Add the columns that a table has not. In the state are then also the objects that do not fit them."""
        for name, kind in _shape(columns):
            found = have.get(name)
            if found is not None and found != self._types[kind].upper():
                raise ConfigurationError(
                    f"{self.shown}: {resource.name}.{name} is {found} there and {self._types[kind]} here; a type is "
                    "never changed: choose another destination, or drop that table to fill it anew"
                )
        missing = [name for name, _ in _FIXED if name not in have]
        if missing:
            raise ConfigurationError(
                f"{self.shown}: {resource.name} has lost its column {missing[0]}; choose another destination"
            )
        new = [column for column in columns if column.name not in have]
        for column in new:
            self._ask(f'ALTER TABLE {resource.name} ADD COLUMN "{column.name}" {self._types[column.kind]}')
        return self._fill(resource, new, state) if new else state

    def _fill(self, resource: Resource, columns: Sequence[Column], state: State) -> State:
        """Fill columns from the objects that are kept, with the values that a write of these would have."""
        sets = ", ".join(f'"{column.name}" = ?' for column in columns)
        after = ""
        while found := self._ask(
            f"SELECT id, deleted_at, CAST(object AS text) FROM {resource.name}"  # noqa: S608 # our own name
            f" WHERE id > ? AND object IS NOT NULL ORDER BY id LIMIT {_BATCH}",
            (after,),
        ):
            rows: list[Sequence[Cell]] = []
            misfits: dict[str, Failure] = {}
            for name, deleted, text in found:
                after = str(name)
                cells, fault = taken_from(str(text), resource, columns, after)
                rows.append((*cells, after))
                if fault is not None:
                    misfits[after] = Failure(error=fault.message, deleted=cast("int | None", deleted))
            self._write(f"UPDATE {resource.name} SET {sets} WHERE id = ?", rows)  # noqa: S608 # our own names
            # What is read again replaces what did not fit, also where it is what was read before.
            self._write(f"UPDATE {resource.name} SET digest = '' WHERE id = ?", [(name,) for name in misfits])  # noqa: S608 # our own name
            state = failing(state, resource, misfits)
        return state

    def _keep(self, resource: Resource, state: State) -> None:
        self._write(
            f"INSERT INTO {STATES} (resource, state) VALUES (?, ?)"  # noqa: S608 # our own name
            " ON CONFLICT (resource) DO UPDATE SET state = excluded.state",
            [(resource.name, state_text(state))],
        )

    # Rows

    def save(self, resource: Resource, rows: Sequence[Row], state: State, *, touch: bool = False) -> Counts:
        counts = Counts()
        written: dict[str, Row] = {}
        gone: dict[str, Row] = {}
        touched: dict[str, int] = {}
        with self._transaction():
            known = self._known(resource, [row.id for row in rows])
            for row in rows:
                was = known.get(row.id)
                verdict = judge(was, row)
                counts = counts.counting(verdict)
                if verdict is Verdict.STALE:
                    continue
                if verdict is Verdict.SAME:
                    if touch and was is not None and was.seen < row.seen:
                        touched[row.id] = row.seen
                    continue
                known[row.id] = Known(row.seen, row.digest, row.deleted_at)
                (gone if row.cells is None else written)[row.id] = row
                if row.cells is not None:
                    gone.pop(row.id, None)
            self._put(resource, written.values())
            self._bury(resource, gone.values())
            self._touch(resource, touched)
            self._keep(resource, state)
        return counts

    def _put(self, resource: Resource, rows: Iterable[Row]) -> None:
        names = [column.name for column in self._columns[resource.name]]
        names += ["id", "created", "synced_at", "deleted_at", "digest", "object"]
        values = [(*(row.cells or ()), row.id, row.created, row.seen, None, row.digest, row.text) for row in rows]
        self._upsert(resource, names, values)

    def _bury(self, resource: Resource, rows: Iterable[Row]) -> None:
        # The last state of an object stays readable beside the time of its end.
        self._write(
            f"UPDATE {resource.name} SET synced_at = ?, deleted_at = ? WHERE id = ? AND synced_at <= ?",  # noqa: S608 # our own names
            [(row.seen, row.deleted_at, row.id, row.seen) for row in rows],
        )

    def _upsert(self, resource: Resource, names: Sequence[str], values: Sequence[Sequence[Cell]]) -> None:
        if not values:
            return
        listed = ", ".join(f'"{name}"' for name in names)
        marks = ", ".join("?" * len(names))
        sets = ", ".join(f'"{name}" = excluded."{name}"' for name in names if name != "id")
        self._write(
            f"INSERT INTO {resource.name} ({listed}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {sets}"  # noqa: S608 # our own names
            f" WHERE excluded.synced_at >= {resource.name}.synced_at",
            values,
        )

    def _touch(self, resource: Resource, touched: Mapping[str, int]) -> None:
        if touched:
            sql = f"UPDATE {resource.name} SET synced_at = ? WHERE id = ?"  # noqa: S608 # our own name
            self._write(sql, [(seen, name) for name, seen in touched.items()])

    def _known(self, resource: Resource, ids: Sequence[str]) -> dict[str, Known]:
        found: dict[str, Known] = {}
        for start in range(0, len(ids), _BATCH):
            part = ids[start : start + _BATCH]
            marks = ", ".join("?" * len(part))
            sql = f"SELECT id, synced_at, digest, deleted_at FROM {resource.name} WHERE id IN ({marks})"  # noqa: S608 # our own names
            for name, seen, digest, deleted in self._ask(sql, part):
                found[str(name)] = Known(cast("int", seen), str(digest), cast("int | None", deleted))
        return found

    def finish(self, resource: Resource) -> Counts:
        return Counts()

    # Questions

    def seen(self, resource: Resource, ids: Sequence[str]) -> dict[str, int]:
        return {name: known.seen for name, known in self._known(resource, ids).items()}

    def unseen(self, resource: Resource, since: int) -> Iterator[str]:
        return self._ids(resource, "synced_at < ? AND deleted_at IS NULL", since)

    def _ids(self, resource: Resource, condition: str, value: int) -> Iterator[str]:
        """The ids of all rows of which a condition on a value holds, some at a time."""
        after = ""
        while True:
            found = self._ask(
                f"SELECT id FROM {resource.name} WHERE {condition} AND id > ? ORDER BY id LIMIT {_BATCH}",  # noqa: S608 # our own names
                (value, after),
            )
            for (name,) in found:
                yield str(name)
            if len(found) < _BATCH:
                return
            after = str(found[-1][0])

    def pending_since(self, resource: Resource, after: int, now: int) -> int | None:
        sql = f"SELECT min(created) FROM {resource.name} WHERE {PENDING} AND available_on > ?"  # noqa: S608 # our own names
        return cast("int | None", self._ask(sql, (now, after))[0][0])

    def overdue(self, resource: Resource, before: int) -> Iterator[str]:
        return self._ids(resource, PENDING, before)

    def unlinked(self) -> list[str]:
        found = self._ask(
            f"SELECT p.id FROM payouts p WHERE p.automatic AND p.deleted_at IS NULL"  # noqa: S608 # our own name
            " AND coalesce(p.reconciliation_status, 'completed') = 'completed'"
            f" AND NOT EXISTS (SELECT 1 FROM {LINKS} l WHERE l.payout = p.id) ORDER BY p.created, p.id"
        )
        return [str(name) for (name,) in found]

    def add_views(self) -> None:
        with self._transaction():
            for name, view in VIEWS.items():
                if self._has_all(view):
                    self._check_view(name, view)
                    self._make_view(name, view.sql)


def _shape(columns: Sequence[Column]) -> list[tuple[str, Kind]]:
    """All columns of a table, in order."""
    typed: list[tuple[str, Kind]] = [(column.name, column.kind) for column in columns]
    return [_FIXED[0], *typed, *_FIXED[1:]]

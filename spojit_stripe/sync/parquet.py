"""Rows in a folder of Parquet files, one for each resource, with a manifest that is renamed last.

What is read goes to a file beside them, line by line, and the manifest says how much of it counts.
At the end of a resource it is merged into a new Parquet file, which then takes the old one's place.
A run that was killed anywhere leaves whole files, and lines that the next run merges again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.sync.destination import Failure, Identity, State, failing, state_from, state_text
from spojit_stripe.sync.resources import LINKS, RESERVED, Column, Kind, Resource
from spojit_stripe.sync.rows import Counts, Row, taken_from
from spojit_stripe.sync.sqlite import alone
from spojit_stripe.sync.tables import PENDING
from spojit_stripe.sync.views import VIEWS
from spojit_stripe.values import JsonObject, JsonValue

if TYPE_CHECKING:
    import duckdb

__all__ = ["ParquetFolder"]

_MANIFEST: Final = "manifest.json"
_FORMAT: Final = 1
_BATCH: Final = 500
_MEMORY: Final = "256MB"
_PRIVATE: Final = 0o600  # names and addresses of customers are in it
_TYPES: Final[Mapping[Kind, str]] = {"text": "VARCHAR", "integer": "BIGINT", "boolean": "BOOLEAN", "json": "VARCHAR"}
# Of a JSON value, what a column has room for; else null, as a cast alone would not have it: that rounds, takes text
# for a number, or ends the whole merge.
_FITTING: Final[Mapping[Kind, str]] = {
    "text": "CASE WHEN {0}::VARCHAR LIKE '\"%' THEN {0} ->> '$' END",
    "integer": "CASE WHEN regexp_full_match({0}::VARCHAR, '-?[0-9]+') THEN TRY_CAST({0}::VARCHAR AS BIGINT) END",
    "boolean": "CASE {0}::VARCHAR WHEN 'true' THEN true WHEN 'false' THEN false END",
}
_STAGED: Final = (
    "{n: 'BIGINT', id: 'VARCHAR', created: 'BIGINT', synced_at: 'BIGINT', deleted_at: 'BIGINT', digest: 'VARCHAR', "
    "gone: 'BOOLEAN', touch: 'BOOLEAN', object: 'VARCHAR'}"
)
_DIGEST: Final = "CASE WHEN id IN (SELECT id FROM misfits) THEN '' ELSE digest END"

Found: TypeAlias = "tuple[str | int | None, ...]"


class ParquetFolder:
    """Implements `Destination` in a folder, which is made where there is none."""

    def __init__(self, folder: Path) -> None:
        if find_spec("duckdb") is None:
            raise ConfigurationError("Parquet needs DuckDB, which is not installed: pip install 'spojit_stripe[data]'")
        self.shown = str(folder)
        self._folder = folder
        self._manifest: JsonObject = {}
        self._columns: dict[str, tuple[Column, ...]] = {}
        self._lines: dict[str, int] = {}
        self._narrow: set[str] = set()
        self._misfits: dict[str, list[str]] = {}

    # A run

    @contextmanager
    def opened(self, identity: Identity, resources: Sequence[Resource] = ()) -> Generator[None]:
        with self._explained():
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone(self._folder / "sync", self.shown):
            self._manifest = self._read_manifest()
            if self._manifest:
                identity.check(cast("JsonObject", self._manifest["of"]), self.shown)
            else:
                self._manifest = {"format": _FORMAT, "of": identity.to_json(), "resources": {}}
                self._write_manifest()
            yield

    def _read_manifest(self) -> JsonObject:
        path = self._folder / _MANIFEST
        with self._explained():
            if not path.exists():
                strangers = sorted(one.name for one in self._folder.iterdir() if not one.name.startswith("."))
                if strangers:
                    raise ConfigurationError(
                        f"{self.shown} holds {strangers[0]} and no manifest of ours; choose another folder"
                    )
                return {}
            text = path.read_text("utf-8")
        try:
            manifest = json.loads(text)
            version, of, resources = manifest["format"], manifest["of"], manifest["resources"]
        except (ValueError, TypeError, KeyError):
            raise ConfigurationError(f"{path} is none of ours, or damaged; choose another folder") from None
        if version != _FORMAT or not isinstance(of, dict) or not isinstance(resources, dict):
            raise ConfigurationError(
                f"{path} was written by another spojit_stripe (format {version}); update this one, "
                "or choose another folder"
            )
        return cast("JsonObject", manifest)

    def peek(self, resource: Resource, identity: Identity) -> State:
        self._manifest = self._read_manifest() if self._folder.exists() else {}
        if self._manifest:
            identity.check(cast("JsonObject", self._manifest["of"]), self.shown)
        return State() if self._is_lost(resource) else self._state(resource)

    def _is_lost(self, resource: Resource) -> bool:
        """Whether somebody took away the file that the manifest tells of."""
        return bool(self._entry(resource).get("rows")) and not self._file(resource).exists()

    def _entry(self, resource: Resource) -> JsonObject:
        resources = cast("JsonObject", self._manifest.setdefault("resources", {}))
        entry = resources.setdefault(resource.name, {"staged": 0, "rows": 0})
        if not isinstance(entry, dict) or not isinstance(entry.get("staged"), int):
            raise ConfigurationError(f"{self._folder / _MANIFEST} is damaged; restore the folder from a copy")
        return entry

    def _state(self, resource: Resource) -> State:
        state = self._entry(resource).get("state")
        return State() if state is None else state_from(json.dumps(state), self.shown)

    def prepare(self, resource: Resource, columns: Sequence[Column]) -> State:
        new = self._check_types(resource, columns)
        if self._is_lost(resource):  # what is remembered of it holds no longer: it is filled anew
            self._entry(resource).update(staged=0, rows=0, state=None)
            self._write_manifest()
        staged, path = cast("int", self._entry(resource)["staged"]), self._staging(resource)
        with self._explained():
            size = path.stat().st_size if path.exists() else 0
            if size < staged:
                raise ConfigurationError(f"{path} is shorter than the manifest says; restore the folder from a copy")
            if size > staged:
                os.truncate(path, staged)  # of a run that was killed while it wrote
        with suppress(FileNotFoundError):
            self._drafted(resource).unlink()
        if new:
            self._note_misfits(resource, new, self._in_file(resource))
            self._narrow.add(resource.name)
        if staged:  # perhaps by an earlier version, which knew fewer columns
            self._note_misfits(resource, columns, self._last_staged(resource))
        self._columns[resource.name] = tuple(columns)
        self._lines[resource.name] = 0
        if staged:
            self.finish(resource)
        return self._state(resource)

    def _note_misfits(self, resource: Resource, columns: Sequence[Column], source: str) -> None:
        """Remember what does not fit columns that may be new, before the next merge makes it null there."""
        state = self._state(resource)
        with self._duck() as db:
            kept = db.execute(f"SELECT id, deleted_at, object FROM {source} WHERE object IS NOT NULL")  # noqa: S608 # our own names
            while found := cast("list[Found]", kept.fetchmany(_BATCH)):
                misfits: dict[str, Failure] = {}
                for name, deleted, text in found:
                    _, fault = taken_from(str(text), resource, columns, str(name))
                    if fault is not None:
                        misfits[str(name)] = Failure(error=fault.message, deleted=cast("int | None", deleted))
                state = failing(state, resource, misfits)
                self._misfits.setdefault(resource.name, []).extend(misfits)
        self._entry(resource)["state"] = cast("JsonObject", json.loads(state_text(state)))
        self._write_manifest()

    def _check_types(self, resource: Resource, columns: Sequence[Column]) -> list[Column]:
        """The columns that a file has not."""
        path = self._file(resource)
        if not path.exists():
            return []
        kinds: dict[str, Kind] = {column.name: column.kind for column in columns}
        kinds |= {"id": "text", "created": "integer", "synced_at": "integer", "deleted_at": "integer"}
        with self._duck() as db:
            have = _asked(db, f"DESCRIBE SELECT * FROM read_parquet('{_quoted(path)}')")  # noqa: S608 # our own names
        for name, found, *_ in have:
            wanted = _TYPES[kinds[str(name)]] if name in kinds else found
            if found != wanted:
                raise ConfigurationError(
                    f"{path}: {name} is {found} there and {wanted} here; a type is never changed: choose another folder"
                )
        names = {str(name) for name, *_ in have}
        return [column for column in columns if column.name not in names]

    def save(self, resource: Resource, rows: Sequence[Row], state: State, *, touch: bool = False) -> Counts:
        entry = self._entry(resource)
        if rows:
            entry["staged"] = self._stage(resource, rows, touch=touch)
        entry["state"] = cast("JsonObject", json.loads(state_text(state)))
        self._write_manifest()
        return Counts(read=len(rows))

    def _stage(self, resource: Resource, rows: Sequence[Row], *, touch: bool) -> int:
        path = self._staging(resource)
        with self._explained():
            path.touch(mode=_PRIVATE)
        with self._explained(), path.open("ab") as stream:
            for row in rows:
                self._lines[resource.name] += 1
                line: JsonObject = {
                    "n": self._lines[resource.name],
                    "id": row.id,
                    "created": row.created,
                    "synced_at": row.seen,
                    "deleted_at": row.deleted_at,
                    "digest": row.digest,
                    "gone": row.cells is None,
                    "touch": touch,
                    "object": row.text,
                }
                stream.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
            return stream.tell()

    def _write_manifest(self) -> None:
        draft = self._folder / f".{_MANIFEST}.part"
        with self._explained():
            with draft.open("w", encoding="utf-8") as stream:
                json.dump(self._manifest, stream, indent=1, sort_keys=True)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(self._folder / _MANIFEST)

    def finish(self, resource: Resource) -> Counts:
        if resource.name not in self._columns:
            return Counts()  # it was not prepared; what waits goes on waiting
        is_whole = self._file(resource).exists() and resource.name not in self._narrow
        if is_whole and not self._entry(resource)["staged"]:
            return Counts()
        with self._explained(), self._duck() as db:
            counts, rows = self._merge(db, resource)
            draft, target = self._drafted(resource), self._file(resource)
            draft.chmod(target.stat().st_mode if target.exists() else _PRIVATE)
            with draft.open("rb+") as stream:
                os.fsync(stream.fileno())
            draft.replace(target)
        entry = self._entry(resource)
        entry["staged"], entry["rows"] = 0, rows
        self._write_manifest()
        with suppress(FileNotFoundError):
            self._staging(resource).unlink()
        self._lines[resource.name] = 0
        self._narrow.discard(resource.name)
        self._misfits.pop(resource.name, None)
        return counts

    # Merging

    def _merge(self, db: duckdb.DuckDBPyConnection, resource: Resource) -> tuple[Counts, int]:
        """A new file of what was there and what was staged: of each object the state that was read last."""
        # What is read again replaces what did not fit, also where it is what was read before.
        db.execute("CREATE TABLE misfits AS SELECT unnest(?::VARCHAR[]) AS id", [self._misfits.get(resource.name, [])])
        old = f"(SELECT * REPLACE ({_DIGEST} AS digest) FROM {self._in_file(resource)})"  # noqa: S608 # our own names
        self._view(db, "old", self._file(resource), old)
        self._view(db, "staged", self._staging(resource), self._in_staging(resource))
        # Only keys are grouped; the objects themselves are streamed past them.
        db.execute(
            "CREATE TEMP TABLE last AS SELECT id,"
            " arg_max(n, (synced_at, n)) FILTER (NOT gone) AS body_n,"
            " arg_max(digest, (synced_at, n)) FILTER (NOT gone) AS body_digest,"
            " arg_max(gone, (synced_at, n)) AS gone, arg_max(touch, (synced_at, n)) AS touch,"
            " arg_max(deleted_at, (synced_at, n)) FILTER (gone) AS deleted_at,"
            " max(synced_at) AS synced_at FROM staged GROUP BY id"
        )
        db.execute(
            "CREATE TEMP TABLE verdicts AS SELECT l.*, o.id IS NOT NULL AS known, o.synced_at AS old_at,"
            " CASE WHEN o.id IS NULL AND l.body_n IS NULL THEN 'stale'"
            " WHEN o.id IS NULL THEN CASE WHEN l.gone THEN 'deleted' ELSE 'new' END"
            " WHEN l.synced_at < o.synced_at THEN 'stale'"
            " WHEN l.gone THEN CASE WHEN o.deleted_at IS NULL THEN 'deleted' ELSE 'same' END"
            " WHEN o.digest = l.body_digest AND o.deleted_at IS NULL THEN 'same' ELSE 'changed' END AS verdict"
            " FROM last l LEFT JOIN (SELECT id, synced_at, deleted_at, digest FROM old) o ON o.id = l.id"
        )
        # Which of the two bodies stays, and with which times.
        keep_old = "(v.id IS NULL OR v.verdict IN ('same', 'stale') OR (v.known AND v.body_n IS NULL))"
        paths, typed = _taken(self._columns[resource.name])
        times = (
            "CASE v.verdict WHEN 'new' THEN v.synced_at WHEN 'changed' THEN v.synced_at WHEN 'deleted' THEN v.synced_at"
            " WHEN 'same' THEN CASE WHEN v.touch THEN greatest(v.old_at, v.synced_at) ELSE v.old_at END"
        )
        died = "CASE v.verdict WHEN 'deleted' THEN v.deleted_at WHEN 'same' THEN {0} WHEN 'stale' THEN {0} END"
        sql = (
            "SELECT o.id, o.created,"  # noqa: S608 # our own names
            f" {times} ELSE o.synced_at END AS synced_at,"
            f" CASE WHEN v.id IS NULL THEN o.deleted_at ELSE {died.format('o.deleted_at')} END AS deleted_at,"
            " o.digest, o.object FROM old o LEFT JOIN verdicts v ON v.id = o.id"
            f" WHERE {keep_old}"
            " UNION ALL SELECT s.id, s.created,"
            " v.synced_at, CASE WHEN v.gone THEN v.deleted_at END, s.digest, s.object"
            " FROM staged s JOIN verdicts v ON v.id = s.id AND v.body_n = s.n"
            " WHERE v.verdict IN ('new', 'changed', 'deleted')"
        )
        db.execute(
            f"COPY (SELECT id, {typed}, created, synced_at, deleted_at, digest, object FROM"  # noqa: S608 # our own names
            f" (SELECT *, json_extract(object, {paths}) AS parts FROM ({sql})))"
            f" TO '{_quoted(self._drafted(resource))}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE_BYTES '16MB')"
        )
        found = _asked(db, "SELECT verdict, count(*) FROM verdicts GROUP BY verdict")
        new, changed, deleted = (
            sum(cast("int", count) for verdict, count in found if verdict == name)
            for name in ("new", "changed", "deleted")
        )
        path = _quoted(self._drafted(resource))
        rows = cast("int", _asked(db, f"SELECT count(*) FROM read_parquet('{path}')")[0][0])  # noqa: S608 # our own names
        return Counts(0, new, changed, deleted), rows

    def _in_file(self, resource: Resource) -> str:
        return f"read_parquet('{_quoted(self._file(resource))}')"

    def _in_staging(self, resource: Resource) -> str:
        return f"read_json('{_quoted(self._staging(resource))}', format = 'newline_delimited', columns = {_STAGED})"

    def _last_staged(self, resource: Resource) -> str:
        """Of each object the last state that waits, and when it was deleted, if that waits too."""
        lines = self._in_staging(resource)
        return (
            f"(SELECT s.id, l.deleted_at, s.object FROM {lines} s JOIN"  # noqa: S608 # our own names
            " (SELECT id, arg_max(n, (synced_at, n)) FILTER (NOT gone) AS n, max(deleted_at) AS deleted_at"
            f" FROM {lines} GROUP BY id) l ON l.id = s.id AND l.n = s.n)"
        )

    def _view(self, db: duckdb.DuckDBPyConnection, name: str, path: Path, source: str) -> None:
        if path.exists() and path.stat().st_size:
            db.execute(f"CREATE VIEW {name} AS SELECT * FROM {source}")  # noqa: S608 # our own names
            return
        columns = ", ".join(f'"{one}" {kind}' for one, kind in _SHAPES[name].items())
        db.execute(f"CREATE TABLE {name} ({columns})")

    # Questions

    def seen(self, resource: Resource, ids: Sequence[str]) -> dict[str, int]:
        found = self._query(resource, "SELECT id, synced_at FROM rows WHERE list_contains(?, id)", [[*ids]])
        return {str(name): cast("int", seen) for name, seen in found}

    def unseen(self, resource: Resource, since: int) -> Iterator[str]:
        return self._ids(resource, "synced_at < ? AND deleted_at IS NULL", since)

    def _ids(self, resource: Resource, condition: str, value: int) -> Iterator[str]:
        """The ids of all rows of which a condition on a value holds, some at a time."""
        after = ""
        while True:
            found = self._query(
                resource,
                f"SELECT id FROM rows WHERE {condition} AND id > ? ORDER BY id LIMIT {_BATCH}",  # noqa: S608 # our own names
                [value, after],
            )
            for (name,) in found:
                yield str(name)
            if len(found) < _BATCH:
                return
            after = str(found[-1][0])

    def pending_since(self, resource: Resource, after: int, now: int) -> int | None:
        sql = f"SELECT min(created) FROM rows WHERE {PENDING} AND available_on > ?"  # noqa: S608 # our own names
        found = self._query(resource, sql, [now, after])
        return cast("int | None", found[0][0]) if found else None

    def overdue(self, resource: Resource, before: int) -> Iterator[str]:
        return self._ids(resource, PENDING, before)

    def unlinked(self) -> list[str]:
        links = self._folder / f"{LINKS}.parquet"
        known = f"SELECT payout FROM read_parquet('{_quoted(links)}')" if links.exists() else "SELECT ''"  # noqa: S608 # our own names
        found = self._query_file(
            self._folder / "payouts.parquet",
            "SELECT id FROM rows WHERE automatic AND deleted_at IS NULL"  # noqa: S608 # our own names
            " AND coalesce(reconciliation_status, 'completed') = 'completed'"
            f" AND id NOT IN ({known}) ORDER BY created, id",
            [],
        )
        return [str(name) for (name,) in found]

    def add_views(self) -> None:
        """A folder has none; docs/sync.md says how to ask it."""

    def reconciliation(self, payout: str | None) -> list[JsonObject]:
        needed = VIEWS["payout_lines"].tables
        if not all((self._folder / f"{name}.parquet").exists() for name in needed):
            raise ConfigurationError(
                f"{self.shown} holds nothing to reconcile; sync payouts and balance_transactions to it first"
            )
        with self._duck() as db:
            for name in needed:
                path = _quoted(self._folder / f"{name}.parquet")
                db.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{path}')")  # noqa: S608 # our own names
            for name, view in VIEWS.items():
                db.execute(f"CREATE VIEW {name} AS {view.sql}")
            cursor = db.execute(
                "SELECT * FROM payout_reconciliation WHERE ? IN ('', payout) ORDER BY arrival_date, payout, currency",
                [payout or ""],
            )
            names = [str(one[0]) for one in cursor.description or ()]
            found = cast("list[Found]", cursor.fetchall())
        return [dict(zip(names, row, strict=True)) for row in found]

    def _query(self, resource: Resource, sql: str, values: Sequence[JsonValue]) -> list[Found]:
        return self._query_file(self._file(resource), sql, values)

    def _query_file(self, path: Path, sql: str, values: Sequence[JsonValue]) -> list[Found]:
        if not path.exists():
            return []
        with self._explained(), self._duck() as db:
            db.execute(f"CREATE VIEW rows AS SELECT * FROM read_parquet('{_quoted(path)}')")  # noqa: S608 # our own names
            return cast("list[Found]", db.execute(sql, values).fetchall())

    # Files

    def _file(self, resource: Resource) -> Path:
        return self._folder / f"{resource.name}.parquet"

    def _drafted(self, resource: Resource) -> Path:
        return self._folder / f".{resource.name}.parquet.part"

    def _staging(self, resource: Resource) -> Path:
        return self._folder / f".{resource.name}.ndjson"

    @contextmanager
    def _duck(self) -> Generator[duckdb.DuckDBPyConnection]:
        import duckdb  # slow to load, and not needed for help

        db = duckdb.connect(":memory:")
        try:
            # Objects are streamed past a table of keys, and what doesn't fit goes through a file.
            db.execute(f"SET temp_directory = '{_quoted(self._folder / '.sorting')}'")
            db.execute(f"SET memory_limit = '{_MEMORY}'")
            db.execute("SET threads = 1")
            db.execute("SET preserve_insertion_order = false")
            db.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")  # keys are what is held
            db.execute("SET autoinstall_known_extensions = false")
            yield db
        except duckdb.Error as error:
            text = " ".join(str(error).split())[:300]
            raise ConfigurationError(f"can't sync to {self.shown}: {text}") from None
        finally:
            db.close()

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigurationError(f"can't sync to {self.shown}: {error.strerror or error}") from None


_OLD_SHAPE: Final = {
    "id": "VARCHAR",
    "created": "BIGINT",
    "synced_at": "BIGINT",
    "deleted_at": "BIGINT",
    "digest": "VARCHAR",
    "object": "VARCHAR",
}
_SHAPES: Final = {
    "old": _OLD_SHAPE,
    "staged": {"n": "BIGINT", **_OLD_SHAPE, "gone": "BOOLEAN", "touch": "BOOLEAN"},
}


def _taken(columns: Sequence[Column]) -> tuple[str, str]:
    """The paths of typed columns in an object, and the columns made of the JSON that they lead to.

    All at once, because each look into an object parses it anew; and as JSON, never by way of a float.
    """
    paths: list[str] = []
    typed: list[str] = []
    for column in columns:
        if column.name in RESERVED:
            raise ValueError(column.name)
        path = f"'$.\"{column.name}\"'"
        if column.kind == "json":
            taken = (
                f"CASE json_type(object, {path}) WHEN 'NULL' THEN NULL ELSE json_extract(object, {path})::VARCHAR END"
            )
        else:
            paths.append(path)
            taken = _FITTING[column.kind].format(f"parts[{len(paths)}]")
            if column.kind == "text":
                paths.append(f"'$.\"{column.name}\".id'")
                taken = f"coalesce({_FITTING['text'].format(f'parts[{len(paths)}]')}, {taken})"
        typed.append(f'{taken} AS "{column.name}"')
    return f"[{', '.join(paths)}]", ", ".join(typed)


def _asked(db: duckdb.DuckDBPyConnection, sql: str) -> list[Found]:
    return cast("list[Found]", db.execute(sql).fetchall())


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")

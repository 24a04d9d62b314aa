"""One SELECT in a process of its own: whatever it does, the run that asked for it goes on.

Run as a script (`python -I worker.py`) with one job as a line of JSON on standard input; writes the
rows to the job's `result` file and one line of JSON to standard output. It imports the standard
library and DuckDB only, so that it starts fast and holds nothing worth taking.

    look at the statement ─► bind it to empty tables ─► load the tables ─► lock ─► run ─► rows

What may run is decided before anything is loaded, by the parsed statement: one SELECT over the
named tables with a few table functions. The lock (read-only file, no external access, no
extension, settings frozen, memory, temporary space and time bounded) holds if that is wrong.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import json
import os
import re
import sys
import threading
from collections.abc import Generator, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

__all__ = ["Refusal", "Statement", "answer", "examine", "main", "render", "run_job"]

LONGEST_ROW: Final = 16 << 20
_MIB: Final = 1 << 20
_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree"})
_TABLE_FUNCTIONS_LISTED = "range, generate_series, unnest, json_each and json_tree"
# They tell of the machine, write, or run text as SQL.
_SCALARS_REFUSED = re.compile(
    r"current_setting|current_query|getvariable|getenv|write_log|set_config|query|query_table|"
    r"json_execute_serialized_sql|nextval|currval|read_\w+|pg_\w+|inet_\w+|current_connection_id|sleep\w*"
)
_QUERIES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_WHOLE_ROW = frozenset({"STAR", "PIVOT", "POSITIONAL_REFERENCE", "SHOW_REF"})
_EXACT_ADVICE = (
    "a floating-point number, which is not exact; cast it: cast(… as bigint) for whole minor units, "
    "cast(… as decimal(38, 6)) for a fraction (`//` divides whole numbers)"
)


class Refusal(Exception):
    """Why the statement does not run, in one line. `kind` is `input` or `configuration`."""

    def __init__(self, text: str, kind: str = "input") -> None:
        super().__init__(text)
        self.kind = kind


class Statement:
    """What a statement says, as far as is needed to load what it reads and no more."""

    def __init__(self, tree: object, text: str, params: set[str]) -> None:
        self.text = text
        self.params = params
        self.tables: list[str] = []
        self.words: set[str] = set()
        self.whole_rows = False
        self.common: set[str] = set()  # names that WITH gives
        self._names: set[str] = set()  # tables and their aliases
        self._ends: set[str] = set()  # of column references; a table's name there is its whole row, `main.charges` too
        waiting = [tree]
        while waiting:
            node = waiting.pop()
            if isinstance(node, dict):
                inner = cast("dict[str, Any]", node)
                self._look(inner)
                waiting += inner.values()
            elif isinstance(node, list):
                waiting += cast("list[object]", node)
            elif isinstance(node, str):
                self.words.add(node.lower())
        self.whole_rows = self.whole_rows or bool(self._ends & self._names)

    def _look(self, node: Mapping[str, Any]) -> None:
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _QUERIES:
            raise Refusal(f"only a SELECT may run, not {kind.removesuffix('_QUERY_NODE').removesuffix('_NODE')}")
        if kind == "BASE_TABLE":
            self._table(node)
        elif kind == "TABLE_FUNCTION":
            function: dict[str, Any] = node.get("function") or {}
            name = str(function.get("function_name", "")).lower()
            if name not in _TABLE_FUNCTIONS:
                raise Refusal(f"the table function {name} is not allowed; these are: {_TABLE_FUNCTIONS_LISTED}")
        elif kind == "SHOW_REF" and node.get("show_type") not in ("DESCRIBE", "SUMMARY"):
            raise Refusal("SHOW is not allowed; write one SELECT")
        elif kind in ("FUNCTION", "WINDOW") or node.get("class") in ("FUNCTION", "WINDOW"):
            name = str(node.get("function_name", "")).lower()
            if _SCALARS_REFUSED.fullmatch(name):
                raise Refusal(f"the function {name} is not allowed")
        elif kind == "COLUMN_REF" and node.get("column_names"):
            self._ends.add(str(node["column_names"][-1]).lower())
        common: dict[str, list[dict[str, Any]]] = node.get("cte_map") or {}
        self.common |= {str(one.get("key", "")).lower() for one in common.get("map", [])}
        if kind in _WHOLE_ROW or node.get("ref_type") == "NATURAL" or node.get("column_name_alias"):
            self.whole_rows = True

    def _table(self, node: Mapping[str, Any]) -> None:
        name = str(node.get("table_name", ""))
        if node.get("schema_name") or node.get("catalog_name"):
            where = ".".join(str(node[part]) for part in ("catalog_name", "schema_name") if node.get(part))
            raise Refusal(f"there is no table {where}.{name}")
        self.tables.append(name)
        self._names |= {name.lower(), str(node.get("alias", "")).lower()}

    def needs(self, column: str) -> bool:
        """Whether the column of a table may be asked for. Never False for one that is."""
        return self.whole_rows or column.lower() in self.words


def examine(connection: DuckDBPyConnection, sql: str) -> Statement:
    """Parse `sql` and refuse whatever is not one SELECT over tables. Nothing is executed."""
    import duckdb

    if "\x00" in sql:
        raise Refusal("the SQL holds a null character")
    try:
        found = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise Refusal(_first_line(str(error))) from None
    if not found:
        raise Refusal("the SQL is empty; write one SELECT")
    if len(found) > 1:
        raise Refusal(f"there are {len(found)} statements; write one SELECT")
    kind = found[0].type.name
    if kind != "SELECT":
        name = "PIVOT with values found in the data" if kind == "MULTI" else kind.replace("_", " ")
        raise Refusal(f"{name} is not allowed; write one SELECT")
    text = found[0].query
    tree = json.loads(connection.execute("select json_serialize_sql(?)", [text]).fetchall()[0][0])
    if tree.get("error"):
        raise Refusal(f"{_one_line(str(tree.get('error_message')))}; write one SELECT")
    return Statement(tree["statements"], text, set(found[0].named_parameters))


def run_job(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run one job; gives the columns and the number of rows. Raises `Refusal`."""
    import duckdb

    folder = Path(job["folder"])
    limits = job["limits"]
    try:
        with contextlib.closing(duckdb.connect(":memory:", config=_config(folder, limits))) as empty:
            _lock(empty)
            statement = examine(empty, job["sql"])
        tables = _tables_of(statement, job["tables"])
        params = _params_of(statement, job["params"])
        with contextlib.closing(duckdb.connect(":memory:", config=_config(folder, limits))) as empty:
            for name, table in tables.items():
                columns = ", ".join(f"{_name(one['name'])} {one['type']}" for one in table["columns"])
                empty.execute(f"create table {_name(name)} ({columns})")
            _lock(empty)
            with _in_time(empty, limits["seconds"]):
                columns = _bind(empty, statement, params)
        loaded = folder / "tables.db"
        with (
            contextlib.closing(duckdb.connect(str(loaded), config=_config(folder, limits))) as writer,
            _in_time(writer, limits["load_seconds"]),
        ):
            for name, table in tables.items():
                _load(writer, name, table, statement, limits)
        config = {**_config(folder, limits), "python_enable_replacements": False}
        with contextlib.closing(duckdb.connect(str(loaded), read_only=True, config=config)) as reader:
            _lock(reader)
            with _in_time(reader, limits["seconds"]) as expired:
                count = _run(reader, statement, params, columns, job, expired)
    except duckdb.Error as error:
        raise _explained(error, job) from None
    return {"columns": [*columns], "kinds": [*columns.values()], "count": count}


def answer(job: Mapping[str, Any]) -> dict[str, Any]:
    """`run_job`, with what goes wrong as data."""
    try:
        return run_job(job)
    except Refusal as refusal:
        return {"refused": str(refusal), "kind": refusal.kind}
    except (MemoryError, RecursionError):
        return {"refused": "the SQL needs more memory than it may have; filter or aggregate earlier", "kind": "input"}
    except OSError as error:
        return {"refused": f"can't work in the state folder: {error.strerror}", "kind": "configuration"}


def _config(folder: Path, limits: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "memory_limit": f"{limits['memory_mb']}MiB",
        "threads": limits["threads"],
        "temp_directory": str(folder / "spill"),
        "max_temp_directory_size": f"{limits['temp_mb']}MiB",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "extension_directory": str(folder / "none"),
        "secret_directory": str(folder / "none"),
        "allow_persistent_secrets": False,
    }


def _lock(connection: DuckDBPyConnection) -> None:
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def _tables_of(statement: Statement, given: Mapping[str, Any]) -> dict[str, Any]:
    known = {name.lower(): name for name in given}
    used: dict[str, Any] = {}
    for name in statement.tables:
        found = known.get(name.lower())
        if found is None and name.lower() in statement.common:
            continue
        if found is None:
            there = ", ".join(sorted(given)[:12]) or "none"
            raise Refusal(f"there is no table {name!r}{_nearest(name, given)} (tables: {there})")
        table = given[found]
        if "fault" in table:
            raise Refusal(table["fault"])
        used[found] = table
    return used


def _params_of(statement: Statement, given: Mapping[str, Any]) -> dict[str, Any]:
    for name in sorted(statement.params):
        if name not in given:
            if name.isdigit():
                raise Refusal("parameters have names: write $name, not ? or $1")
            there = ", ".join(sorted(given)[:12]) or "none"
            raise Refusal(f"parameter ${name} is not given{_nearest(name, given)} (params: {there})")
    return {name: given[name] for name in statement.params}


def _bind(connection: DuckDBPyConnection, statement: Statement, params: Mapping[str, Any]) -> dict[str, str]:
    """The result's columns and the kind of their values in JSON, or why they can't be given; nothing is executed."""
    import duckdb

    described = connection.execute(f"describe {statement.text}", dict(params) or None).fetchall()
    found: dict[str, str] = {}
    for name, kind, *_ in described:
        if name in found:
            raise Refusal(f"two columns of the result are called {name!r}; name them with `as`")
        found[name] = "null"
        if kind != '"NULL"':
            render(name, "x", duckdb.sqltype(kind))
            found[name] = _kind_of(duckdb.sqltype(kind))
    return found


def _load(
    connection: DuckDBPyConnection,
    name: str,
    table: Mapping[str, Any],
    statement: Statement,
    limits: Mapping[str, Any],
) -> None:
    """Load the columns that the statement may ask for."""
    import duckdb

    columns = [one for one in table["columns"] if statement.needs(one["name"])] or table["columns"][:1]
    kinds = ", ".join(
        f"{_name(one['name'])}: {_text('JSON' if one['reading'] == 'id' else one['type'])}" for one in columns
    )
    values = ", ".join(_id_of(one["name"]) if one["reading"] == "id" else _name(one["name"]) for one in columns)
    path = table["path"]
    if not Path(path).is_file():
        raise _lost(name, "is missing")
    # DuckDB takes memory for several rows of the largest size, whatever the rows are.
    most = max(1024, min(LONGEST_ROW, Path(path).stat().st_size))
    check = _Hashing(path) if table.get("sha256") else None
    try:
        connection.execute(
            f"create table {_name(name)} as select {values} from read_json({_text(path)}, "  # noqa: S608 # quoted
            f"format = 'newline_delimited', columns = {{{kinds}}}, maximum_object_size = {most})"
        )
    except duckdb.InvalidInputException as error:
        raise _unloadable(name, str(error)) from None
    except duckdb.InterruptException:
        raise Refusal(f"table {name}: loading it took more than {float(limits['load_seconds']):g} s") from None
    if check is not None and check.result() != table["sha256"]:
        raise _lost(name, "is not what the run recorded: it was changed or damaged")


def _lost(name: str, what: str) -> Refusal:
    return Refusal(
        f"the artifact behind table {name} {what}; put the file back from a copy of the state folder and resume "
        "(a new run would do everything anew)",
        "lost",
    )


def _unloadable(name: str, text: str) -> Refusal:
    too_large = re.search(r"in line (\d+): Failed to cast value to numerical: (-?\d+)", text)
    if too_large:
        return Refusal(f"table {name}: row {too_large[1]} holds {too_large[2][:40]}, an integer beyond 64 bits")
    if "recursion depth" in text:
        return Refusal(f"table {name}: a row is nested more than 128 levels deep, too deep for SQL")
    if "maximum_object_size" in text:
        return Refusal(f"table {name}: a row is larger than {LONGEST_ROW // _MIB} MiB, too large for SQL")
    where = re.search(r"in line (\d+)", text)
    return Refusal(f"table {name}: {f'row {where[1]}' if where else 'a row'} can't be read as a row of a table")


class _Hashing:
    """The SHA-256 of a file, computed beside other work."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._found = hashlib.sha256()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        with Path(self._path).open("rb") as stream:
            while piece := stream.read(_MIB):
                self._found.update(piece)

    def result(self) -> str:
        self._thread.join()
        return self._found.hexdigest()


def _run(
    connection: DuckDBPyConnection,
    statement: Statement,
    params: Mapping[str, Any],
    columns: Mapping[str, str],
    job: Mapping[str, Any],
    expired: threading.Event,
) -> int:
    import duckdb

    connection.execute(f"create temp table result as {statement.text}", dict(params) or None)
    described = connection.execute("select * from temp.result limit 0").description or []
    parts = [
        f"{_text(('{' if place == 0 else ',') + json.dumps(name, ensure_ascii=False) + ':')}, "
        f"coalesce({render(name, _name(str(held[0])), held[1])}, 'null')"
        for place, (name, held) in enumerate(zip(columns, described, strict=True))
    ]
    try:
        connection.execute(f"select concat({', '.join(parts)}, '}}') from temp.result")  # noqa: S608 # quoted
        return _write(connection, Path(job["result"]), job["limits"]["result_mb"] * _MIB, expired)
    except duckdb.ConversionException:
        wide = [name for name, held in zip(columns, described, strict=True) if held[1].id in _WIDE]
        named = f" in column {wide[0]!r}" if len(wide) == 1 else ""
        raise Refusal(f"the result holds an integer beyond 64 bits{named}; cast it to varchar to see it") from None


def _write(connection: DuckDBPyConnection, path: Path, most: int, expired: threading.Event) -> int:
    count = size = 0
    with path.open("wb") as stream:
        for (text,) in _rows(connection):
            line = text.encode("utf-8", "replace")
            count += 1
            size += len(line) + 1
            if len(line) > LONGEST_ROW:
                raise Refusal(f"row {count} of the result is larger than {LONGEST_ROW // _MIB} MiB")
            if size > most:
                raise Refusal(f"the result is larger than {most // _MIB:,} MiB; aggregate or filter it")
            if expired.is_set():
                raise Refusal("the SQL took too long")
            stream.write(line + b"\n")
    return count


def _rows(connection: DuckDBPyConnection) -> Iterator[tuple[str]]:
    while found := connection.fetchmany(2_000):
        yield from found


_SMALL = frozenset({"tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger"})
_LARGE = frozenset({"ubigint", "hugeint", "uhugeint"})
_WIDE = _LARGE | {"decimal", "list", "array", "map", "struct"}
_AS_TEXT = frozenset({"varchar", "date", "uuid", "enum", "interval", "bit"})


def render(name: str, column: str, kind: DuckDBPyType) -> str:
    """An SQL expression that gives `column` as JSON text. Raises `Refusal` for a type without an exact form."""
    id = kind.id
    if id == "boolean" or id in _SMALL:
        return f"cast({column} as varchar)"
    if id == "decimal" and _scale(kind):
        # DuckDB leaves out a zero before the point where the type has no place for it.
        return f"""'"' || regexp_replace(cast({column} as varchar), '^(-?)[.]', '\\10.') || '"'"""
    if id in _LARGE or id == "decimal":
        return f"cast(cast({column} as bigint) as varchar)"
    if id == "null":
        return "'null'"
    if str(kind) == "JSON":
        # As it is, numbers and all; a line break can only stand between its values.
        return f"replace(cast({column} as varchar), chr(10), ' ')"
    if id.startswith("timestamp"):
        # With a zone it ends in Z, except infinity.
        text = _iso(column) if "zone" not in id else f"replace({_iso(column)} || 'Z', 'infinityZ', 'infinity')"
        return f"cast(to_json({text}) as varchar)"
    return f"cast(to_json(cast({column} as {_exact(name, kind)})) as varchar)"


def _kind_of(kind: DuckDBPyType) -> str:
    """What `render` gives of the type: a kind of JSON schema, or `json` for values of several."""
    id = kind.id
    if id in ("boolean", "null"):
        return id
    if id in _SMALL | _LARGE or (id == "decimal" and not _scale(kind)):
        return "integer"
    return "json" if str(kind) == "JSON" or id in _WIDE - {"decimal"} else "string"


def _iso(column: str) -> str:
    # Through TIMESTAMP: of a time with a zone that is UTC.
    return f"replace(cast(cast({column} as timestamp) as varchar), ' ', 'T')"


def _scale(kind: DuckDBPyType) -> int:
    return int(dict(kind.children)["scale"])  # pyright: ignore[reportArgumentType]


def _exact(name: str, kind: DuckDBPyType) -> str:
    """The type in which a value, or one inside it, goes to JSON without losing anything."""
    id = kind.id
    if id in ("double", "float"):
        raise Refusal(f"column {name!r} holds {kind}, {_EXACT_ADVICE}")
    if str(kind) == "JSON":
        return "json"
    if id in _AS_TEXT or id.startswith("time"):
        return "varchar"
    if id == "boolean":
        return id
    if id in _SMALL or id in _LARGE:
        return "bigint"
    if id == "decimal":
        return "varchar" if _scale(kind) else "bigint"
    if id == "null":
        return "varchar"
    if id in ("list", "array"):
        return f"{_exact(name, _child(kind, 'child'))}[]"
    if id == "map":
        return f"map(varchar, {_exact(name, _child(kind, 'value'))})"
    if id == "struct" and str(kind).startswith("STRUCT"):
        inner = ", ".join(f"{_name(field)} {_exact(name, _as_type(one))}" for field, one in kind.children)
        return f"struct({inner})"
    raise Refusal(f"column {name!r} is {str(kind)[:60]}, which has no form in JSON; cast it to varchar or json")


def _child(kind: DuckDBPyType, name: str) -> DuckDBPyType:
    return _as_type(dict(kind.children)[name])


def _as_type(child: Any) -> DuckDBPyType:
    return child


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _id_of(name: str) -> str:
    column = _name(name)
    whole = f"cast({column} as varchar)"
    return (
        f"case json_type({column}) when 'VARCHAR' then {column}->>'$' "
        f"when 'OBJECT' then coalesce({column}->>'$.id', {whole}) else {whole} end as {column}"
    )


@contextlib.contextmanager
def _in_time(connection: DuckDBPyConnection, seconds: float) -> Generator[threading.Event]:
    """Interrupt what runs after `seconds`, again and again until the block is left; the event tells that it began."""
    done, expired = threading.Event(), threading.Event()

    def watch() -> None:
        if done.wait(float(seconds)):
            return
        expired.set()
        while not done.wait(0.02):  # it may have been between two statements
            connection.interrupt()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield expired
    finally:
        done.set()
        thread.join()


def _explained(error: Exception, job: Mapping[str, Any]) -> Refusal:
    """DuckDB's error in one line that says what to do; its own names of files and settings mean nothing to a reader."""
    import duckdb

    limits = job["limits"]
    text = str(error).replace(job["folder"], "…")
    if isinstance(error, duckdb.InterruptException):
        return Refusal(f"the SQL took more than {float(limits['seconds']):g} s; filter or aggregate earlier")
    if "max_temp_directory_size" in text:
        return Refusal(
            f"the SQL needs more than {limits['temp_mb']:,} MiB of temporary space; filter or aggregate earlier"
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return Refusal(f"the SQL needs more than {limits['memory_mb']:,} MiB of memory; filter or aggregate earlier")
    if "Malformed JSON" in text:
        return Refusal(f"{_first_line(text)}; a column of mixed kinds holds JSON: compare column->>'$' with a text")
    if isinstance(error, duckdb.IOException):
        return Refusal("DuckDB can't write its temporary files; make room in the state folder", "configuration")
    return Refusal(_first_line(text) + _candidates(text, job))


def _candidates(text: str, job: Mapping[str, Any]) -> str:
    missing = re.search(r'column "([^"]+)" not found|have a column named "([^"]+)"', text)
    if missing:
        columns = {one["name"] for table in job["tables"].values() for one in table.get("columns", ())}
        return _nearest(missing[1] or missing[2], columns)
    function = re.search(r'Did you mean "([^"]+)"', text)
    return f"; did you mean {function[1]!r}?" if function else ""


def _nearest(word: str, known: Any) -> str:
    by_lower = {str(name).lower(): str(name) for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[found[0]]!r}?" if found else ""


def _first_line(text: str) -> str:
    text = re.split(r"\n\s*\n|\nLINE |\nCandidate|\n\tCandidate|\nDid you mean|\nPossible", text)[0]
    return _one_line(re.sub(r"^(?:INTERNAL|[A-Z][A-Za-z ]+) Error: ", "", text)).rstrip("!.")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _bound(limits: Mapping[str, Any]) -> None:  # pragma: no cover # in a process of its own
    """The process's own limits, under DuckDB's, where the system has them."""
    with contextlib.suppress(ImportError):
        import resource

        # DuckDB reserves far more address space than it uses: about 1 GiB before the first query, and
        # several times its memory limit in a sort that goes to disk. This ends what it does not count.
        space = (1024 + 4 * int(limits["memory_mb"])) * _MIB
        seconds = int((limits["seconds"] + limits["load_seconds"]) * limits["threads"]) + 30
        for kind, most in (
            (resource.RLIMIT_AS, space),
            (resource.RLIMIT_CPU, seconds),
            (resource.RLIMIT_CORE, 0),
        ):
            hard = resource.getrlimit(kind)[1]
            allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (allowed, allowed))


def _end_with_parent() -> None:  # pragma: no cover # in a process of its own
    """Standard input ends when the process that gave the job is gone, however it went."""
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:  # pragma: no cover # in a process of its own
    """Take one job, say how it ended."""
    job = json.loads(sys.stdin.buffer.readline(), parse_float=Decimal)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.path.append(job["library"])
    importlib.import_module("duckdb")  # its libraries are mapped before the address space is bounded
    _bound(job["limits"])
    said = answer(job)
    # Half a character in a message must not keep it from being told.
    sys.stdout.buffer.write(json.dumps(said).encode())
    sys.stdout.buffer.flush()
    os._exit(0)  # DuckDB's threads may be at work still


if __name__ == "__main__":  # pragma: no cover # in a process of its own
    main()

"""SQL over fetched objects: one SELECT over named tables, in a process that can't hurt the run.

tables ─► columns, files of JSON lines ─► worker process (worker.py) ─► rows ─► spool
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import math
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, cast

from spojit_stripe.data.columns import columns_for
from spojit_stripe.data.files import LostError
from spojit_stripe.data.folders import clean, explained, scratch
from spojit_stripe.data.lines import Columns, Seen, decode, encode, safe_line
from spojit_stripe.data.spool import Spool
from spojit_stripe.data.stored import StoredList
from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.redact import printable, redact_text
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["SqlError", "SqlLimits", "SqlResult", "Table", "run_sql"]

_WORKER: Final = Path(__file__).with_name("worker.py")
_GRACE: Final = 10.0
_LONGEST_SQL: Final = 100_000
_MOST_INTEGER: Final = 2**63
# What `columns_for` makes the same column of again.
_OF_KIND: Final[Mapping[str, JsonValue]] = {"json": {"type": ["array", "object"]}, "null": {}}
# What Python and the loader need to find themselves; nothing else of the environment goes along.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


class SqlError(InputError):
    """The statement is wrong, not allowed, or needs more than it may have; nothing was changed."""

    def to_json(self) -> JsonObject:
        # As what it is to whoever reads the record back: `errors` knows no floor above it.
        return {**super().to_json(), "error": InputError.__name__}


_REFUSALS: Final[Mapping[str, type[InputError | ConfigurationError]]] = {
    "configuration": ConfigurationError,
    "lost": LostError,
}
"""What a refusal of the worker is, by its kind; else an `SqlError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under a name. `schema` is the JSON schema of a row; None: the rows say it all."""

    rows: Sequence[JsonValue]
    schema: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlLimits:
    """What a statement may use. `seconds` are its own; loading its tables has `load_seconds`."""

    seconds: float = 60.0
    load_seconds: float = 600.0
    memory_mb: int = 512
    temp_mb: int = 2048
    result_mb: int = 1024
    threads: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlResult:
    """The result's columns in order, the JSON schema of a row, and how many rows went to the spool."""

    columns: tuple[str, ...]
    count: int
    schema: JsonObject


async def run_sql(
    sql: str,
    *,
    tables: Mapping[str, Table],
    params: JsonObject,
    out: Spool,
    limits: SqlLimits = SqlLimits(),
    folder: Path,
) -> SqlResult:
    """Run one SELECT; its rows go to `out`, objects by column name.

    `$name` in the SQL is `params["name"]`, bound and never spliced. `folder` is the state
    folder, where the work's files lie as long as it lasts. Integers come out exact or not at
    all, decimals as text, times as ISO text, and floating-point results are refused.

    Raises `SqlError` for the statement's faults, `ConfigurationError` for the machine's.
    """
    if len(sql) > _LONGEST_SQL:
        raise SqlError(f"sql: is longer than {_LONGEST_SQL:,} characters")
    drafts = folder.absolute() / "tmp"  # the worker's own folder is another
    await asyncio.to_thread(clean, drafts)
    with scratch(drafts, "sql-") as private:
        result = private / "result.ndjson"
        job: JsonObject = {
            "sql": sql,
            "params": {name: _param(name, value) for name, value in params.items()},
            "folder": str(private),
            "result": str(result),
            "limits": cast("JsonObject", asdict(limits)),
            "library": _library(),
            "tables": await asyncio.to_thread(_prepare, sql, tables, private),
        }
        said = await _work(encode(job), private, limits)
        refused = said.get("refused")
        if refused is not None:
            text = f"sql: {printable(redact_text(str(refused)))}"
            raise _REFUSALS.get(str(said.get("kind")), SqlError)(text)
        await asyncio.to_thread(_hand_over, result, out)
    columns, kinds = cast("list[str]", said["columns"]), cast("list[str]", said["kinds"])
    properties: JsonObject = {
        name: _OF_KIND.get(kind, {"type": kind}) for name, kind in zip(columns, kinds, strict=True)
    }
    schema: JsonObject = {"type": "object", "properties": properties}
    return SqlResult(columns=tuple(columns), count=cast("int", said["count"]), schema=schema)


def _library() -> str:
    found = importlib.util.find_spec("duckdb")
    if found is None or found.origin is None:
        raise ConfigurationError("sql needs DuckDB, which is not installed; run: pip install 'spojit_stripe[data]'")
    return str(Path(found.origin).parent.parent)


def _param(name: str, value: JsonValue) -> JsonValue:
    """A parameter as it is bound: fractions become decimals, an object its JSON text."""
    if isinstance(value, StoredList):
        raise SqlError(f"sql: parameter {name!r} is a list of {len(value):,} rows; use it as a table")
    if isinstance(value, int) and not isinstance(value, bool) and not -_MOST_INTEGER <= value < _MOST_INTEGER:
        raise SqlError(f"sql: parameter {name!r} is an integer beyond 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise SqlError(f"sql: parameter {name!r} is no finite number")
    if isinstance(value, list):
        return [_param(name, inner) for inner in value]
    if isinstance(value, Mapping):
        return encode(value).decode()
    return value


def _prepare(sql: str, tables: Mapping[str, Table], private: Path) -> JsonObject:
    """The job's tables, with files for those that the SQL may name; it names none without its name standing there."""
    text = sql.casefold()
    prepared: dict[str, JsonValue] = {}
    met: dict[str, str] = {}
    for place, (name, table) in enumerate(tables.items()):
        other = met.setdefault(name.lower(), name)
        if other != name:
            raise SqlError(f"sql: the tables {other!r} and {name!r} differ in case only; rename one")
        if name.casefold() not in text and '""' not in text:
            prepared[name] = {"fault": f"table {name!r} was not prepared"}
            continue
        try:
            prepared[name] = _prepared(name, table, private, place)
        except InputError as error:  # told if the statement does use it
            prepared[name] = {"fault": error.message}
    return prepared


def _prepared(name: str, table: Table, private: Path, place: int) -> JsonObject:
    rows = table.rows
    # A name in the worker's own folder: DuckDB takes a path of the user's for a pattern.
    path = private / f"table-{place}.ndjson"
    made: JsonObject = {"path": path.name}
    seen: Columns | None
    if isinstance(rows, StoredList) and not rows.description.nested:
        seen = rows.description.columns
        made["sha256"] = rows.description.sha256
        with explained("work", private):
            path.symlink_to(rows.fetch(private).absolute())
    else:
        seen = _write_rows(rows, path)
    made["columns"] = [column.to_json() for column in columns_for(name, table.schema, seen)]
    return made


def _write_rows(rows: Sequence[JsonValue], path: Path) -> Columns | None:
    seen = Seen()
    with explained("work", path.parent), path.open("wb") as stream:
        for row in rows:
            # What is no object is a row of one column.
            held: JsonObject = cast("JsonObject", row) if isinstance(row, Mapping) else {"value": row}
            line, kept = safe_line(held)
            seen.note(kept)
            stream.write(line + b"\n")
    return seen.columns()


async def _work(job: bytes, private: Path, limits: SqlLimits) -> JsonObject:
    """Give the job to a worker and take what it says; it never outlives this call, nor this process."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    with explained("start the SQL worker", private):
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(_WORKER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=private,
            env={**environment, "HOME": str(private), "TZ": "UTC", "LC_ALL": "C.UTF-8"},
            start_new_session=True,  # Ctrl-C is for the run, which ends its worker itself
        )
    told, took_too_long = b"", False
    try:
        async with asyncio.timeout(limits.seconds * 2 + limits.load_seconds + _GRACE):
            told = await _converse(worker, job)
            await worker.wait()
    except TimeoutError:
        took_too_long = True
    finally:
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        cast("asyncio.StreamWriter", worker.stdin).close()
        await asyncio.shield(worker.wait())
    return _said(told, worker.returncode, limits, took_too_long=took_too_long)


async def _converse(worker: asyncio.subprocess.Process, job: bytes) -> bytes:
    stdin, stdout = cast("asyncio.StreamWriter", worker.stdin), cast("asyncio.StreamReader", worker.stdout)
    with contextlib.suppress(ConnectionError):  # it died; its return code tells more
        stdin.write(job + b"\n")
        await stdin.drain()
    # Its end stays open: that it closes tells the worker that nobody waits any more.
    return await stdout.read()


def _said(told: bytes, code: int | None, limits: SqlLimits, *, took_too_long: bool) -> JsonObject:
    with contextlib.suppress(ValueError):
        said = decode(told)
        if isinstance(said, dict):
            return said
    if took_too_long or code == -getattr(signal, "SIGXCPU", 0):
        raise SqlError(f"sql: took more than {limits.seconds:g} s and was ended; filter or aggregate earlier")
    raise SqlError(
        f"sql: its process ended without an answer (code {code}), most likely for want of memory "
        f"({limits.memory_mb:,} MiB); filter or aggregate earlier"
    )


def _hand_over(result: Path, out: Spool) -> None:
    with explained("read the result", result.parent), result.open("rb") as stream:
        try:
            out.write_encoded(stream)
        except InputError as error:
            raise SqlError(f"sql: the result's {error.message}") from None

"""The worker's own functions, called in this process."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from spojit_stripe.data.worker import Refusal, Statement, _write, answer, examine, render, run_job

pytestmark = pytest.mark.long

Job = Callable[..., dict[str, object]]
ROWS = [{"id": "a", "amount": 1, "customer": {"id": "cus_1"}}, {"id": "b", "amount": 2, "customer": "cus_2"}]
COLUMNS = [
    {"name": "id", "type": "VARCHAR", "reading": "plain"},
    {"name": "amount", "type": "BIGINT", "reading": "plain"},
    {"name": "customer", "type": "VARCHAR", "reading": "id"},
]
LIMITS = {"seconds": 30, "load_seconds": 30, "memory_mb": 256, "temp_mb": 64, "result_mb": 1, "threads": 1}


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)

    def job(sql: str, rows: object = ROWS, columns: object = COLUMNS, **more: object) -> dict[str, object]:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "table-0.ndjson").write_text(text)
        table = {"path": "table-0.ndjson", "columns": columns, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        limits = {**LIMITS, **more.pop("limits", {})}
        given = {"folder": str(tmp_path), "result": str(tmp_path / "result"), "params": {}, "limits": limits}
        return {**given, "sql": sql, "tables": {"charges": {**table, **more.pop("table", {})}}, **more}

    return job


def _result(tmp_path: Path) -> list[object]:
    return [json.loads(line) for line in (tmp_path / "result").read_text().splitlines()]


def test_a_job_gives_its_columns_and_count_and_writes_its_rows(job: Job, tmp_path: Path) -> None:
    said = run_job(job("select id, sum(amount) as s, any_value(customer) as c from charges group by id order by id"))
    assert said == {"columns": ["id", "s", "c"], "kinds": ["string", "integer", "string"], "count": 2}
    assert _result(tmp_path) == [{"id": "a", "s": 1, "c": "cus_1"}, {"id": "b", "s": 2, "c": "cus_2"}]


def test_parameters_come_as_decimals(job: Job, tmp_path: Path) -> None:
    run_job(job("select $fee as fee, 2 * $fee as twice", params={"fee": Decimal("0.1"), "unused": 1}))
    assert _result(tmp_path) == [{"fee": "0.1", "twice": "0.2"}]


@pytest.mark.parametrize(
    ("sql", "kind", "why"),
    [
        ("select 1; select 2", "input", "there are 2 statements; write one SELECT"),
        ("select 1\x00", "input", "the SQL holds a null character"),
        ("-- nothing", "input", "the SQL is empty; write one SELECT"),
        ("select id from main.charges", "input", "there is no table main.charges"),
        ("select x from charges", "input", 'Referenced column "x" not found in FROM clause'),
        ("select id from other", "input", "there is no table 'other' (tables: charges)"),
        ("select $y", "input", "parameter $y is not given (params: none)"),
        ("select ?", "input", "parameters have names: write $name, not ? or $1"),
        ("select 1 a, 2 a", "input", "two columns of the result are called 'a'; name them with `as`"),
        ("select 'x'::int as a", "input", "Could not convert string 'x' to INT32"),
        (
            "select repeat('x', 100) t from range(20000)",
            "input",
            "the result is larger than 1 MiB; aggregate or filter it",
        ),
        ("select repeat('x', 17000000) t", "input", "row 1 of the result is larger than 16 MiB"),
        ("select i from range(100000000) r(i) order by hash(i)", "input", "the SQL needs more than"),
        ("select list(i) l from range(1000000000) r(i)", "input", "the SQL needs more than 256 MiB of memory"),
        (
            "select count(*) n from range(100000) a, range(100000) b, range(100000) c",
            "input",
            "the SQL took more than 0.5 s",
        ),
        (
            "select 9223372036854775807::hugeint + 1 as h",
            "input",
            "the result holds an integer beyond 64 bits in column 'h'",
        ),
        (
            "select 9223372036854775807::hugeint + 1 as h, [1] as l",
            "input",
            "the result holds an integer beyond 64 bits; cast",
        ),
    ],
)
def test_a_refused_job_says_why(job: Job, sql: str, kind: str, why: str) -> None:
    said = answer(job(sql, limits={"seconds": 0.5} if "count(*)" in sql else {}))
    assert said["kind"] == kind
    assert str(said["refused"]).startswith(why)


@pytest.mark.parametrize(
    ("row", "column", "why"),
    [
        ({"a": 2**64}, "BIGINT", "table charges: row 1 holds 18446744073709551616, an integer beyond 64 bits"),
        (
            {"a": json.loads("[" * 200 + "]" * 200)},
            "JSON",
            "table charges: a row is nested more than 128 levels deep, too deep for SQL",
        ),
        ({"a": {}}, "BIGINT", "table charges: row 1 can't be read as a row of a table"),
        ({"a": "x" * (34 << 20)}, "VARCHAR", "table charges: a row is larger than 16 MiB, too large for SQL"),
    ],
)
def test_a_row_that_does_not_fit_is_told(job: Job, row: object, column: str, why: str) -> None:
    columns = [{"name": "a", "type": column, "reading": "plain"}]
    assert answer(job("select a from charges", [row], columns)) == {"refused": why, "kind": "input"}


def test_a_load_that_takes_too_long_is_told(job: Job) -> None:
    given = job(
        "select id from charges", [{"id": str(number)} for number in range(500_000)], limits={"load_seconds": 0}
    )
    assert answer(given) == {"refused": "table charges: loading it took more than 0 s", "kind": "input"}


def test_a_table_that_makes_none_is_told(job: Job) -> None:
    given = job("select id from charges", tables={"charges": {"fault": "table charges: why"}})
    assert answer(given) == {"refused": "table charges: why", "kind": "input"}


def test_a_changed_or_missing_artifact_is_told(job: Job) -> None:
    said = answer(job("select id from charges", table={"sha256": "0" * 64}))
    assert said["kind"] == "lost"
    assert "is not what the run recorded" in said["refused"]
    said = answer(job("select id from charges", table={"path": "nowhere.ndjson"}))
    assert said["kind"] == "lost"
    assert "is missing" in said["refused"]


def test_a_table_without_a_hash_is_read_as_it_is(job: Job, tmp_path: Path) -> None:
    run_job(job("select count(*) as n from charges", table={"sha256": None}))
    assert _result(tmp_path) == [{"n": 2}]


def test_a_folder_that_can_not_be_written_is_told(job: Job, tmp_path: Path) -> None:
    said = answer(job("select 1 as a", result=str(tmp_path / "nowhere" / "result")))
    assert said == {"refused": "can't work in the state folder: No such file or directory", "kind": "configuration"}
    said = answer(job("select id from charges", folder=str(tmp_path / "nowhere")))
    assert said["kind"] == "configuration"
    assert str(tmp_path) not in said["refused"]


def test_a_statement_of_endless_depth_is_told(job: Job) -> None:
    said = answer(job("select " + "(" * 5000 + "1" + ")" * 5000))
    assert said["kind"] == "input"
    assert "\n" not in said["refused"]


@pytest.mark.parametrize(
    ("sql", "needed"),
    [
        ("select id from charges", {"id"}),
        ('select "ID" from charges where Amount > 1', {"id", "amount"}),
        ("select count(*) from charges", set()),
        ("select 1 from charges join (select amount) using (amount)", {"amount"}),
        ("select * from charges", {"id", "amount", "customer"}),
        ("select charges from charges", {"id", "amount", "customer"}),
        ("select #1 from charges", {"id", "amount", "customer"}),
        ("select x from charges t(x)", {"id", "amount", "customer"}),
        ("select 1 from charges natural join charges c", {"id", "amount", "customer"}),
        ("describe charges", {"id", "amount", "customer"}),
    ],
)
def test_a_statement_tells_which_columns_it_needs(sql: str, needed: set[str]) -> None:
    with duckdb.connect() as connection:
        statement = examine(connection, sql)
    assert {name for name in ("id", "amount", "customer") if statement.needs(name)} == needed


def test_a_common_table_is_not_looked_for(job: Job, tmp_path: Path) -> None:
    run_job(
        job(
            "with c as (select 1::hugeint as n, null as x, '{}'::json as j) "
            "select n, x, j, [n] l, [true] b, [1.5] d, [x] e from c"
        )
    )
    assert _result(tmp_path) == [{"n": 1, "x": None, "j": {}, "l": [1], "b": [True], "d": ["1.5"], "e": [None]}]


def test_a_statement_that_duckdb_can_not_take_apart_is_refused() -> None:
    class Unable:
        def __init__(self) -> None:
            self.type, self.query, self.named_parameters = duckdb.StatementType.SELECT, "", set()

        def extract_statements(self, sql: str) -> list[object]:
            return [self]

        def execute(self, *given: object) -> Unable:
            return self

        def fetchall(self) -> list[tuple[str]]:
            return [('{"error": true, "error_message": "not\\nimplemented"}',)]

    with pytest.raises(Refusal, match=r"^not implemented; write one SELECT$"):
        examine(Unable(), "select 1")


def test_memory_that_python_lacks_is_told() -> None:
    class Full(dict[str, object]):
        def __getitem__(self, name: str) -> object:
            raise MemoryError

    assert "needs more memory" in answer(Full())["refused"]


def test_rows_stop_when_the_time_is_over(tmp_path: Path) -> None:
    expired = threading.Event()
    expired.set()
    with duckdb.connect() as connection:
        connection.execute("select '{}' from range(3)")
        with pytest.raises(Refusal, match="took too long"):
            _write(connection, tmp_path / "result", 1000, expired)


def test_names_that_with_gives_are_told_apart_from_tables() -> None:
    with duckdb.connect() as connection:
        statement = examine(connection, "with X as (select 1), charges as (from charges) from x, charges, refunds")
    assert statement.common == {"x", "charges"}
    assert {name.lower() for name in statement.tables} == {"x", "charges", "refunds"}


def test_a_node_that_nobody_knows_is_no_select() -> None:
    with pytest.raises(Refusal, match="only a SELECT may run, not NEWFANGLED"):
        Statement({"type": "NEWFANGLED_QUERY_NODE"}, "", set())


@pytest.mark.parametrize(
    "kind", ["time with time zone", "timestamp_ms", "interval", "varchar", "struct(a json, b uhugeint)"]
)
def test_a_type_with_an_exact_form_is_rendered(kind: str) -> None:
    with duckdb.connect() as connection:
        expression = render("x", "x", duckdb.sqltype(kind))
        assert connection.execute(f"select {expression} from (select cast(null as {kind}) as x)").fetchall() in (
            [(None,)],
            [("null",)],
        )


@pytest.mark.parametrize(
    "kind", ["double", "float[]", "struct(a double)", "map(varchar, float)", "blob", "union(a int)"]
)
def test_a_type_without_one_is_refused(kind: str) -> None:
    with pytest.raises(Refusal, match=r"^column 'x' "):
        render("x", "x", duckdb.sqltype(kind))


def test_nothing_watches_when_a_job_is_done(job: Job) -> None:
    before = threading.active_count()
    run_job(job("select id from charges"))
    assert threading.active_count() == before

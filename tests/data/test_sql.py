"""SQL over rows: exact, typed, the same over small lists and artifacts."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spojit_stripe.data import ArtifactStore, SqlError, SqlLimits, SqlResult, Table, run_sql, sql
from spojit_stripe.errors import ConfigurationError, InputError, error_from_record
from spojit_stripe.values import JsonObject, JsonValue

from .conftest import CHARGE, Ask

LARGE = 2**53
CHARGES: list[JsonObject] = [
    {
        "id": f"ch_{number}",
        "object": "charge",
        "amount": LARGE + number,
        "currency": ("usd", "jpy")[number % 2],
        "created": 1_700_000_000 + number,
        "customer": (None, "cus_1", {"id": "cus_2", "object": "customer"}, {"deleted": True})[number % 4],
        "paid": number % 3 == 0,
        "metadata": {"order_id": f"№{number}", "naïve key": "☃"},
        "surprise": [number],
    }
    for number in range(9)
]


def _one(ask: Ask, sql: str, rows: object = CHARGES, **given: object) -> JsonValue:
    found = ask(sql, rows, **given)
    assert len(found) == 1
    return found[0]


def test_sums_are_exact_beyond_what_a_float_holds(ask: Ask) -> None:
    found = ask(
        "select currency, sum(amount) as amount, count(*) as n from charges group by currency order by 1",
        CHARGES,
        schema=CHARGE,
    )
    assert found == [
        {"currency": "jpy", "amount": sum(LARGE + number for number in (1, 3, 5, 7)), "n": 4},
        {"currency": "usd", "amount": sum(LARGE + number for number in (0, 2, 4, 6, 8)), "n": 5},
    ]
    assert all(type(row["amount"]) is int for row in found)


def test_a_row_under_its_tables_full_name_is_all_of_it(ask: Ask) -> None:
    whole = _one(ask, "select charges as row from charges where id = 'ch_3'")
    assert _one(ask, "select main.charges as row from charges where id = 'ch_3'") == whole
    assert _one(ask, "select MAIN.\"Charges\" as row from Charges where id = 'ch_3'") == whole
    assert _one(ask, "select count(distinct main.charges) as n from charges where object = 'charge'") == {"n": 9}
    assert _one(ask, "select max_by(main.charges, id).surprise as s from charges") == {"s": [8]}


def test_the_largest_integers_come_through_and_one_more_is_an_error(ask: Ask) -> None:
    rows: list[JsonObject] = [{"a": 2**63 - 1}, {"a": -(2**63)}]
    assert ask("select a from charges order by 1 desc", rows) == rows
    with pytest.raises(
        SqlError, match=r"^sql: the result holds an integer beyond 64 bits in column 's'; cast it to varchar"
    ):
        ask("select 1 as n, sum(a) as s from charges", [{"a": 2**63 - 1}, {"a": 1}])
    with pytest.raises(SqlError, match=r"holds an integer beyond 64 bits; cast it"):
        ask("select sum(a) as s, [sum(a)] as t from charges", [{"a": 2**63 - 1}, {"a": 1}])
    with pytest.raises(
        SqlError, match=r"^sql: table charges: row 2 holds 9223372036854775808, an integer beyond 64 bits$"
    ):
        ask("select a from charges", [{"a": 1}, {"a": 2**63}])
    with pytest.raises(SqlError, match=r"^sql: Overflow in addition of INT64"):
        ask("select a + 1 as b from charges", [{"a": 2**63 - 1}])
    assert ask("select sum(a)::varchar as s from charges", [{"a": 2**63 - 1}, {"a": 1}]) == [{"s": str(2**63)}]


def test_the_first_columns_are_the_schema_s_and_open_fields_follow(ask: Ask) -> None:
    row = ask("select * from charges order by created", CHARGES, schema=CHARGE)[1]
    assert list(row) == [*CHARGE["properties"], "surprise"]
    assert row == CHARGES[1]


def test_a_string_or_object_field_is_the_id(ask: Ask) -> None:
    found = ask("select customer from charges where created < 1700000004 order by created", CHARGES, schema=CHARGE)
    assert [row["customer"] for row in found] == [None, "cus_1", "cus_2", '{"deleted":true}']


def test_metadata_is_within_reach(ask: Ask) -> None:
    assert _one(
        ask, "select metadata->>'order_id' as o, metadata->>'naïve key' as k from charges where id = 'ch_3'"
    ) == {
        "o": "№3",
        "k": "☃",
    }
    assert _one(ask, "select metadata from charges where id = 'ch_3'") == {"metadata": CHARGES[3]["metadata"]}


def test_an_empty_list_has_its_columns_too(ask: Ask) -> None:
    assert ask("select id, sum(amount) as s from charges group by id", [], schema=CHARGE) == []
    assert ask("select sum(amount) as s, count(*) as n from charges", [], schema=CHARGE) == [{"s": None, "n": 0}]
    assert ask("select count(*) as n from charges", []) == [{"n": 0}]


def test_nulls_stay_nulls(ask: Ask) -> None:
    rows: list[JsonObject] = [{"a": None, "b": 1}, {"b": None}, {}]
    assert ask("select a, b from charges", rows) == [
        {"a": None, "b": 1},
        {"a": None, "b": None},
        {"a": None, "b": None},
    ]
    assert ask("select null as n, null::json as j, [null] as l from charges limit 1", rows) == [
        {"n": None, "j": None, "l": [None]}
    ]


def test_rows_that_are_no_objects_are_one_column(ask: Ask) -> None:
    assert ask("select value from charges", [1, "x", None, [2], {"a": 1}], schema=None) == [
        {"value": 1},
        {"value": "x"},
        {"value": None},
        {"value": [2]},
        {"value": None},
    ]
    assert ask("select sum(value) as s from charges", [1, 2]) == [{"s": 3}]


def test_every_type_has_one_form(ask: Ask) -> None:
    text = """
        select 1::tinyint a, 255::utinyint b, 18446744073709551615::ubigint // 2 c, 12::decimal(20, 0) d, 1.50 e,
            -0.5::decimal(1, 1) f, true g, 'é"\\\u2028' h, date '2024-02-29' i, timestamp '2024-01-02 03:04:05.5' j,
            to_timestamp(1700000000) k, time '10:00' l, interval 1 day m,
            '{"a":\n[1.0,1180591620717411303424]}'::json n,
            [1.50, 2] o, {'x': 1::hugeint, 'y y': {'z': date '2024-01-01', 'j': '[1]'::json, 'b': false}} p,
            map {'k': [1.5]} q, [1, 2]::int[2] r, 'x'::enum('x', 'y') s, null t,
            '00000000-0000-0000-0000-000000000001'::uuid u, '101'::bit v, [null] w, make_timestamp_ns(5) y
    """
    assert _one(ask, text, []) == {
        "a": 1,
        "b": 255,
        "c": 2**63 - 1,
        "d": 12,
        "e": "1.50",
        "f": "-0.5",
        "g": True,
        "h": 'é"\\\u2028',
        "i": "2024-02-29",
        "j": "2024-01-02T03:04:05.5",
        "k": "2023-11-14T22:13:20Z",
        "l": "10:00:00",
        "m": "1 day",
        "n": {"a": [1.0, 1180591620717411303424]},
        "o": ["1.50", "2.00"],
        "p": {"x": 1, "y y": {"z": "2024-01-01", "j": [1], "b": False}},
        "q": {"k": ["1.5"]},
        "r": [1, 2],
        "s": "x",
        "t": None,
        "u": "00000000-0000-0000-0000-000000000001",
        "v": "101",
        "w": [None],
        "y": "1970-01-01T00:00:00",
    }


@pytest.mark.parametrize(
    "column", ["avg(amount)", "amount / 2", "amount::double", "[amount::float]", "{'a': 1.5::double}", "1e3"]
)
def test_money_never_becomes_a_float(ask: Ask, column: str) -> None:
    with pytest.raises(
        SqlError,
        match=r"^sql: column 'x' holds (DOUBLE|FLOAT), a floating-point number, which is not exact; cast it: cast\(",
    ):
        ask(f"select {column} as x from charges", CHARGES)


@pytest.mark.parametrize(
    ("column", "what"),
    [
        ("'a'::blob", "BLOB"),
        ("union_value(a := 1)", r"UNION\(a INTEGER\)"),
        ("row(1, 2)", r"TUPLE\(INTEGER, INTEGER\)"),
    ],
)
def test_a_type_without_a_form_in_json_is_refused(ask: Ask, column: str, what: str) -> None:
    with pytest.raises(
        SqlError, match=rf"^sql: column 'x' is {what}, which has no form in JSON; cast it to varchar or json$"
    ):
        ask(f"select {column} as x", [])


def test_what_is_no_json_number_is_refused(ask: Ask) -> None:
    with pytest.raises(SqlError, match=r"^sql: the result's row 1 is no valid JSON$"):
        ask("select '[NaN]'::json as x", [])


def test_parameters_are_bound_and_never_spliced(ask: Ask) -> None:
    hostile = "usd' or 1=1; drop table charges --"
    assert ask("select id from charges where currency = $currency", CHARGES, currency=hostile) == []
    assert _one(
        ask,
        "select $a a, $b b, $c c, $d d, $e e, $f f, $g g",
        [],
        a=2**63 - 1,
        b="☃'",
        c=0.029,
        d=None,
        e=True,
        f=["a", "b"],
        g={"k": [1]},
    ) == {
        "a": 2**63 - 1,
        "b": "☃'",
        "c": "0.029",
        "d": None,
        "e": True,
        "f": ["a", "b"],
        "g": '{"k":[1]}',
    }
    assert ask("select id from charges where id = any($ids) order by 1", CHARGES, ids=["ch_1", "ch_2", "x"]) == [
        {"id": "ch_1"},
        {"id": "ch_2"},
    ]


def test_a_fraction_as_a_parameter_is_exact(ask: Ask) -> None:
    assert _one(ask, "select (100000000000000001 * $fee)::decimal(38, 3) as fee, $fee as f", [], fee=0.029) == {
        "fee": "2900000000000000.029",
        "f": "0.029",
    }


def test_parameters_that_do_not_fit_are_told(ask: Ask, store: ArtifactStore, folder: Path) -> None:
    with pytest.raises(
        SqlError, match=r"^sql: parameter \$currancy is not given; did you mean 'currency'\? \(params: currency\)$"
    ):
        ask("select $currancy", [], currency="usd")
    with pytest.raises(SqlError, match=r"^sql: parameter \$x is not given \(params: none\)$"):
        ask("select $x", [])
    for text in ("select ?", "select $1"):
        with pytest.raises(SqlError, match=r"^sql: parameters have names: write \$name, not \? or \$1$"):
            ask(text, [], x=1)
    with pytest.raises(SqlError, match="parameter 'x' is an integer beyond 64 bits"):
        ask("select $x", [], x=2**63)
    with pytest.raises(SqlError, match="parameter 'x' is no finite number"):
        ask("select $x", [], x=[float("inf")])
    spool = store.spool("run-1/x", threshold=0)
    spool.write(CHARGES)
    with pytest.raises(SqlError, match="parameter 'x' is a list of 9 rows; use it as a table"):
        ask("select $x", [], x=store.open(spool.finish()))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("select amuont from charges", "Referenced column \"amuont\" not found in FROM clause; did you mean 'amount'?"),
        ("select c.amuont from charges c", 'Table "c" does not have a column named "amuont"; did you mean \'amount\'?'),
        ("select zzz from charges", 'Referenced column "zzz" not found in FROM clause'),
        ("select id from chargs", "there is no table 'chargs'; did you mean 'charges'? (tables: charges)"),
        ("select id from main.charges", "there is no table main.charges"),
        ("select id from a.b.charges", "there is no table a.b.charges"),
        ("selec id from charges", 'syntax error at or near "selec"'),
        ("select id from charges where", 'syntax error at or near "where"'),
        ("select sum(id) from charges", "sum(VARCHAR)"),
        ("select foo(id) from charges", "Scalar Function with name foo does not exist; did you mean 'floor'?"),
        ("select id::int as i from charges", "Could not convert string 'ch_0' to INT32"),
        ("select 1 as a, 2 as a", "two columns of the result are called 'a'; name them with `as`"),
        ("", "the SQL is empty; write one SELECT"),
        ("  -- nothing\n", "the SQL is empty; write one SELECT"),
        ("select 1\x00", "the SQL holds a null character"),
        ("select $x, ?", "Mixing named and positional parameters is not supported yet"),
        (
            "pivot charges on currency using sum(amount)",
            "PIVOT with values found in the data is not allowed; write one SELECT",
        ),
        ("select " + "1," * 60_000 + "1", "is longer than 100,000 characters"),
        (
            "select error('told' || chr(27) || '[31m sk_live_' || 'A1b2C3d4E5f6G7h8') from charges",
            "told�[31m sk_live_***",
        ),
    ],
)
def test_a_mistake_is_one_line(ask: Ask, text: str, why: str) -> None:
    with pytest.raises(SqlError) as caught:
        ask(text, CHARGES, schema=CHARGE)
    assert str(caught.value).startswith("sql: ")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "/" not in str(caught.value).replace("//", "")


def test_tables_are_told_apart(ask: Ask) -> None:
    tables = {"charges": Table(rows=CHARGES, schema=CHARGE), "refunds": Table(rows=[{"charge": "ch_1", "amount": 5}])}
    joined = "select c.id, r.amount from charges c join refunds r on r.charge = c.id"
    assert ask(joined, tables=tables) == [{"id": "ch_1", "amount": 5}]
    with pytest.raises(SqlError, match=r"the tables 'a' and 'A' differ in case only; rename one"):
        ask("select 1", tables={"a": Table(rows=[]), "A": Table(rows=[])})
    odd = {'we"ird ☃ name': Table(rows=[{'co"l': 1}])}
    assert ask('select "co""l" from "we""ird ☃ name"', tables=odd) == [{'co"l': 1}]
    assert ask("select count(*) as n from CHARGES", tables=tables) == [{"n": 9}]


def test_a_table_that_makes_none_is_told_only_where_it_is_used(ask: Ask) -> None:
    tables = {"good": Table(rows=[{"a": 1}]), "bad": Table(rows=[{"a": 1, "A": 2}])}
    assert ask("select a from good -- not bad", tables=tables) == [{"a": 1}]
    with pytest.raises(SqlError, match=r"^sql: table bad: the fields 'a' and 'A' differ in case only"):
        ask("select a from bad", tables=tables)
    money = {"charges": Table(rows=[{"amount": 1.5}], schema=CHARGE)}
    with pytest.raises(SqlError, match="'amount' is money in minor units, and a row holds a fraction"):
        ask("select id from charges", tables=money)


@pytest.mark.parametrize(
    "text",
    [
        "select * from charges",
        "select charges from charges",
        "select c from charges c",
        "select c.* exclude (id) from charges c",
        "select #2 from charges",
        "select columns('am.*') from charges",
        "select t.b from charges t(a, b, c)",
        "select amount from charges natural join (select id, amount from charges)",
        "select amount from charges join (select id from charges) using (id)",
        "select AMOUNT from charges where \"Currency\" = 'usd'",
        "select sum(amount) over (partition by currency order by created) s from charges",
        "with charges as (select id, amount from charges) select * from charges",
        "with recursive t(n) as (select 1 union all select n + 1 from t where n < 5) "
        "select n, (select max(amount) from charges) from t",
        "from charges select id limit 3;",
        "table charges",
        "describe charges",
        "summarize select id, amount from charges",
        "select metadata.order_id, charges.metadata.order_id as o from charges",
        "select list_transform([amount], lambda x: x + 1) from charges",
        "select distinct on (currency) id from charges order by currency, created",
        "select * from (pivot charges on currency in ('usd', 'jpy') using sum(amount)::bigint group by paid)",
        "unpivot (select id, currency from charges) on id, currency",
        "select id from charges where amount = (select max(amount) from charges)",
        "select id from charges c where exists (from charges d where d.amount > c.amount)",
        "select count(*) filter (where paid) n from charges having count(*) > 1",
        "select i, id from range(2) r(i), charges",
        "select unnest(json_keys(metadata)) k from charges -- comment",
        "select value from charges, json_each(metadata)",
        "values (1), (2)",
        "select id from charges union select currency from charges order by all",
        "select rowid as r, id from charges",
    ],
)
def test_only_the_columns_that_are_asked_for_are_loaded_and_nobody_notices(ask: Ask, text: str) -> None:
    found = ask(text, CHARGES, schema=CHARGE)
    assert found
    # Beside a join that asks for every column the same statement has all of them at hand.
    everything = f"select r.* from ({text.rstrip(';')}\n) r, (select count(x) from (select * from charges) x)"
    if not text.startswith(("describe", "summarize")):
        assert _sorted(ask(everything, CHARGES, schema=CHARGE)) == _sorted(found)


def _sorted(rows: list[JsonValue]) -> list[str]:
    return sorted(json.dumps(row) for row in rows)


def test_a_statement_finds_the_same_in_an_artifact(ask: Ask, store: ArtifactStore) -> None:
    spool = store.spool("run-1/charges", threshold=0)
    spool.write(CHARGES)
    text = "select * from charges order by created"
    assert ask(text, store.open(spool.finish()), schema=CHARGE) == ask(text, CHARGES, schema=CHARGE)


def test_a_relative_state_folder_is_where_its_process_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's own folder is another."""
    monkeypatch.chdir(tmp_path)
    store = ArtifactStore(Path("state"))
    kept = store.spool("run-1/charges", threshold=0)
    kept.write(CHARGES)
    tables = {"charges": Table(rows=store.open(kept.finish())), "few": Table(rows=[{"n": 1}])}
    out = store.spool("run-1/answer")
    text = "select count(*) as n, any_value(few.n) as m from charges, few"
    asyncio.run(run_sql(text, tables=tables, params={}, out=out, folder=Path("state")))
    assert out.finish() == [{"n": 9, "m": 1}]


def test_times_without_an_end_have_no_zone(ask: Ask) -> None:
    text = "select timestamptz 'infinity' a, timestamptz '-infinity' b, timestamp '-infinity' c, date 'infinity' d"
    assert _one(ask, text, []) == {"a": "infinity", "b": "-infinity", "c": "-infinity", "d": "infinity"}


def test_a_column_of_mixed_kinds_says_how_its_text_is_compared(ask: Ask) -> None:
    rows: list[JsonObject] = [{"x": "abc"}, {"x": 5}]
    with pytest.raises(SqlError, match=r"a column of mixed kinds holds JSON: compare column->>'\$' with a text$"):
        ask("select x from charges where x = 'abc'", rows)
    assert ask("select x->>'$' as x from charges where x->>'$' = 'abc'", rows) == [{"x": "abc"}]


def test_an_artifact_that_was_changed_is_not_counted(ask: Ask, store: ArtifactStore, folder: Path) -> None:
    spool = store.spool("run-1/charges", threshold=0)
    spool.write(CHARGES)
    stored = store.open(spool.finish())
    file = folder / "artifacts" / stored.description.key
    file.write_bytes(file.read_bytes().replace(b"9007199254740993", b"1007199254740993"))
    with pytest.raises(
        ConfigurationError, match=r"^sql: the artifact behind table charges is not what the run recorded"
    ):
        ask("select sum(amount) as s from charges", stored)
    file.unlink()
    with pytest.raises(ConfigurationError, match=r"^sql: the artifact behind table charges is missing; put the file"):
        ask("select sum(amount) as s from charges", stored)


def test_sql_over_a_store_elsewhere(ask: Ask, folder: Path) -> None:
    store = ArtifactStore(folder, name="bucket", url="memory://sql")
    spool = store.spool("run-1/charges", threshold=0)
    spool.write(CHARGES)
    assert ask("select count(*) as n from charges", store.open(spool.finish())) == [{"n": 9}]


def test_a_large_result_is_an_artifact(store: ArtifactStore, folder: Path) -> None:
    out = store.spool("run-1/answer")
    result = asyncio.run(
        run_sql("select i, 'x' || i as t from range(50000) r(i)", tables={}, params={}, out=out, folder=folder)
    )
    stored = store.open(out.finish())
    assert (result.columns, result.count) == (("i", "t"), 50_000)
    assert stored[49_999] == {"i": 49_999, "t": "x49999"}
    assert stored.description.columns == {"i": ["integer"], "t": ["string"]}


def test_a_result_without_rows_still_has_its_columns(store: ArtifactStore, folder: Path) -> None:
    def run(sql: str, tables: dict[str, Table]) -> tuple[SqlResult, object]:
        out = store.spool("run-1/answer")
        return asyncio.run(run_sql(sql, tables=tables, params={}, out=out, folder=folder)), out.finish()

    kinds = "1 as i, 2::hugeint as h, 1.5 as d, 'x' as t, true as b, [1] as l, '{}'::json as j, null as n, now() as w"
    first, rows = run(f"select {kinds} where false", {})
    assert (first.count, rows) == (0, [])
    kept = {"empty": Table(rows=[], schema=first.schema)}
    second, rows = run("select sum(i) as i, sum(h) as h, max(d) as d, max(t) as t, bool_or(b) as b from empty", kept)
    assert rows == [dict.fromkeys(("i", "h", "d", "t", "b"))]
    again, _ = run("select * from empty", kept)
    assert again.columns == first.columns
    assert again.schema["properties"] == {  # type: ignore[comparison-overlap]
        "i": {"type": "integer"},
        "h": {"type": "integer"},
        "d": {"type": "string"},
        "t": {"type": "string"},
        "b": {"type": "boolean"},
        "l": {"type": ["array", "object"]},
        "j": {"type": ["array", "object"]},
        "n": {"type": "string"},
        "w": {"type": "string"},
    }
    assert second.columns == ("i", "h", "d", "t", "b")


def test_a_cancelled_statement_ends_its_process_and_leaves_nothing(store: ArtifactStore, folder: Path) -> None:
    async def cancelled() -> None:
        endless = run_sql(
            "select count(*) from range(10000000000) a, range(10000000000) b",
            tables={},
            params={},
            out=store.spool("r/a"),
            folder=folder,
        )
        task = asyncio.create_task(endless)
        while not list(folder.glob("tmp/sql-*/tables.db")):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert list((folder / "tmp").iterdir()) == []


def test_a_worker_ends_with_the_process_that_waits_for_it(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from spojit_stripe.data import ArtifactStore, SqlLimits, run_sql
folder = Path(sys.argv[1])
sql = "select count(*) from range(10000000000) a, range(10000000000) b"
out = ArtifactStore(folder).spool("r/a")
asyncio.run(run_sql(sql, tables={}, params={}, out=out, folder=folder, limits=SqlLimits(seconds=100000)))
"""
    path = os.pathsep.join(sys.path)
    caller = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env={**os.environ, "PYTHONPATH": path})
    try:
        while not (private := list(tmp_path.glob("tmp/sql-*/tables.db"))):
            assert caller.poll() is None
    finally:
        caller.kill()
        caller.wait()
    with private[0].open("r+b") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX)  # DuckDB holds the file as long as the worker lives
    assert private[0].exists()


def test_ten_at_once_do_not_meet(store: ArtifactStore, folder: Path) -> None:
    async def ten() -> list[JsonValue]:
        spools = [store.spool(f"r/{number}") for number in range(10)]
        await asyncio.gather(
            *(
                run_sql(
                    "select $n as n from t",
                    tables={"t": Table(rows=[{}])},
                    params={"n": number},
                    out=spool,
                    folder=folder,
                )
                for number, spool in enumerate(spools)
            )
        )
        return [spool.finish() for spool in spools]

    assert asyncio.run(ten()) == [[{"n": number}] for number in range(10)]


def test_a_folder_that_can_not_be_written_is_one_line(store: ArtifactStore, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigurationError, match=r"can't work in .*; make room or choose another folder with --state"):
        asyncio.run(run_sql("select 1", tables={}, params={}, out=store.spool("r/a"), folder=blocked))


def test_without_duckdb_the_package_to_install_is_named(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigurationError, match=r"sql needs DuckDB, which is not installed; run: pip install 'spojit_stripe\[data\]'"
    ):
        ask("select 1", [])


def test_a_worker_that_dies_is_told(monkeypatch: pytest.MonkeyPatch, ask: Ask, tmp_path: Path) -> None:
    fake = tmp_path / "dies.py"
    for body, why in (
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            r"ended without an answer \(code -9\), most likely for want of memory",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", r"took more than 60 s and was ended"),
        ("print('[]')", r"ended without an answer \(code 0\)"),
    ):
        fake.write_text(body)
        monkeypatch.setattr(sql, "_WORKER", fake)
        with pytest.raises(SqlError, match=why):
            ask("select 1", [])
    fake.write_text("import sys; sys.stdin.read()")
    monkeypatch.setattr(sql, "_GRACE", 0.2)
    with pytest.raises(SqlError, match=r"took more than 0\.1 s and was ended"):
        ask("select 1", [], limits=SqlLimits(seconds=0.1, load_seconds=0.1))


def test_an_sql_error_is_an_input_error() -> None:
    assert issubclass(SqlError, InputError)
    assert SqlError.exit_code == 2
    again = error_from_record(SqlError("sql: why").to_json())
    assert type(again) is InputError
    assert str(again) == "sql: why"

"""SQL that wants out: files, settings, extensions, other statements, and all of the machine."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import duckdb
import pytest

from spojit_stripe.data import ArtifactStore, SqlError, SqlLimits
from spojit_stripe.data.worker import _lock, answer

from .conftest import CHARGE, Ask

pytestmark = pytest.mark.long

ROWS = [{"id": f"ch_{number}", "amount": number, "currency": "usd"} for number in range(1000)]
SPACE = SqlLimits(temp_mb=32, result_mb=8)
TIME = SqlLimits(seconds=1)
FUNCTIONS = "these are: range, generate_series, unnest, json_each and json_tree"

WANTS_OUT = [
    # reading files
    ("select * from read_csv('{file}')", f"the table function read_csv is not allowed; {FUNCTIONS}"),
    ("select * from read_csv_auto('{file}')", "the table function read_csv_auto is not allowed"),
    ("select * from read_text('{file}')", "the table function read_text is not allowed"),
    ("select * from read_blob('{file}')", "the table function read_blob is not allowed"),
    ("select * from read_json('{file}')", "the table function read_json is not allowed"),
    ("select * from read_parquet('{file}')", "the table function read_parquet is not allowed"),
    ("select * from parquet_scan('{file}')", "the table function parquet_scan is not allowed"),
    ("select * from glob('/*')", "the table function glob is not allowed"),
    ("select * from READ_CSV('{file}')", "the table function read_csv is not allowed"),
    ("select * from '{file}'", "there is no table '{file}'"),
    ('select * from "{file}"', "there is no table '{file}'"),
    ("select * from '/etc/*.csv'", "there is no table '/etc/*.csv'"),
    ("select * from 'https://example.com/x.parquet'", "there is no table 'https://example.com/x.parquet'"),
    (
        "select (select content from read_text('{file}')) as x from charges",
        "the table function read_text is not allowed",
    ),
    ("with x as (from read_text('{file}')) select * from x", "the table function read_text is not allowed"),
    ("with recursive x as (select 1 union (select 1 from glob('*'))) from x", "the table function glob is not allowed"),
    ("select read_text('{file}') as x", "the function read_text is not allowed"),
    ("select * from query('select * from read_text(''{file}'')')", "the table function query is not allowed"),
    ("select * from query_table('charges')", "the table function query_table is not allowed"),
    ("from json_execute_serialized_sql('{{}}')", "the table function json_execute_serialized_sql is not allowed"),
    ("from sniff_csv('{file}')", "the table function sniff_csv is not allowed"),
    # writing
    ("copy charges to '{out}'", "COPY is not allowed; write one SELECT"),
    ("copy (select 1) to '{out}' (format parquet)", "COPY is not allowed; write one SELECT"),
    ("copy charges from '{file}'", "COPY is not allowed; write one SELECT"),
    ("export database '{out}'", "EXPORT is not allowed; write one SELECT"),
    ("import database '{out}'", "is not allowed; write one SELECT"),
    ("create table x as select 1", "CREATE is not allowed; write one SELECT"),
    ("create or replace view charges as select 1", "CREATE is not allowed; write one SELECT"),
    ("create macro m() as 1", "CREATE is not allowed; write one SELECT"),
    ("create temp table x (a int)", "CREATE is not allowed; write one SELECT"),
    ("insert into charges values ('x', 1, 'usd')", "INSERT is not allowed; write one SELECT"),
    ("update charges set amount = 0", "UPDATE is not allowed; write one SELECT"),
    ("delete from charges", "DELETE is not allowed; write one SELECT"),
    ("truncate charges", "DELETE is not allowed; write one SELECT"),
    ("merge into charges using charges c on true when matched then delete", "is not allowed; write one SELECT"),
    ("with x as (delete from charges returning *) select * from x", "only a SELECT may run, not DELETE"),
    ("with x as (insert into charges values ('x', 1, 'u') returning *) from x", "only a SELECT may run, not INSERT"),
    ("with x as (update charges set amount = 0 returning *) from x", "only a SELECT may run, not UPDATE"),
    ("drop table charges", "DROP is not allowed; write one SELECT"),
    ("alter table charges add column x int", "ALTER is not allowed; write one SELECT"),
    ("comment on table charges is 'x'", "is not allowed; write one SELECT"),
    # attaching, installing, secrets
    ("attach '{out}' as other", "ATTACH is not allowed; write one SELECT"),
    ("attach ':memory:' as other", "ATTACH is not allowed; write one SELECT"),
    ("detach tables", "DETACH is not allowed; write one SELECT"),
    ("use other", "is not allowed; write one SELECT"),
    ("install httpfs", "LOAD is not allowed; write one SELECT"),
    ("load '{file}'", "LOAD is not allowed; write one SELECT"),
    ("force install httpfs from 'http://127.0.0.1'", "LOAD is not allowed; write one SELECT"),
    ("create secret (type s3, key_id 'a')", "is not allowed; write one SELECT"),
    ("select * from duckdb_secrets()", "the table function duckdb_secrets is not allowed"),
    ("from which_secret('s3://x', 's3')", "the table function which_secret is not allowed"),
    # settings and the machine
    ("set memory_limit = '100GB'", "SET is not allowed; write one SELECT"),
    ("set enable_external_access = true", "SET is not allowed; write one SELECT"),
    ("set variable x = 1", "SET is not allowed; write one SELECT"),
    ("reset memory_limit", "SET is not allowed; write one SELECT"),
    ("pragma memory_limit = '100GB'", "is not allowed; write one SELECT"),
    ("pragma database_list", "is not allowed; write one SELECT"),
    ("call pragma_version()", "CALL is not allowed; write one SELECT"),
    ("from pragma_database_size()", "the table function pragma_database_size is not allowed"),
    ("from pragma_database_list", "there is no table 'pragma_database_list'"),
    ("from duckdb_settings()", "the table function duckdb_settings is not allowed"),
    ("from duckdb_temporary_files()", "the table function duckdb_temporary_files is not allowed"),
    ("from duckdb_databases", "there is no table 'duckdb_databases'"),
    ("from information_schema.tables", "there is no table information_schema.tables"),
    ("from pg_catalog.pg_class", "there is no table pg_catalog.pg_class"),
    ("from sqlite_master", "there is no table 'sqlite_master'"),
    ("select getenv('HOME') as x", "the function getenv is not allowed"),
    ("select current_setting('temp_directory') as x", "the function current_setting is not allowed"),
    ("select system.main.current_setting('temp_directory') as x", "the function current_setting is not allowed"),
    ("select 'temp_directory'.current_setting() as x", "the function current_setting is not allowed"),
    ("select getvariable('x') as x", "the function getvariable is not allowed"),
    ("select write_log('x') as x", "the function write_log is not allowed"),
    ("select list_transform(['HOME'], lambda x: getenv(x)) as x", "the function getenv is not allowed"),
    ("select nextval('s') as x", "the function nextval is not allowed"),
    ("show all tables", "SHOW is not allowed; write one SELECT"),
    ("show databases", "SHOW is not allowed; write one SELECT"),
    ("from job", "there is no table 'job'"),  # a name that the worker's own code has
    # other statements
    ("select 1; select 2", "there are 2 statements; write one SELECT"),
    ("select 1; drop table charges", "there are 2 statements; write one SELECT"),
    ("explain select 1", "EXPLAIN is not allowed; write one SELECT"),
    ("explain analyze copy charges to '{out}'", "EXPLAIN is not allowed; write one SELECT"),
    ("prepare p as select 1", "PREPARE is not allowed; write one SELECT"),
    ("execute p", "EXECUTE is not allowed; write one SELECT"),
    ("begin transaction", "TRANSACTION is not allowed; write one SELECT"),
    ("checkpoint", "is not allowed; write one SELECT"),
    ("vacuum", "VACUUM is not allowed; write one SELECT"),
    ("analyze", "is not allowed; write one SELECT"),
]


def _files(*folders: Path) -> set[Path]:
    return {one for folder in folders for one in folder.rglob("*")}


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with something worth taking, and a secret in the environment."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "taken.csv").write_text("word\nhunter2\n")
    monkeypatch.chdir(outside)
    monkeypatch.setenv("STRIPE_SECRET_KEY", "hunter2")
    return outside


def _names(outside: Path) -> dict[str, str]:
    return {"file": str(outside / "taken.csv"), "out": str(outside / "out")}


@pytest.mark.parametrize(("text", "why"), WANTS_OUT, ids=[text[:60] for text, _ in WANTS_OUT])
def test_what_wants_out_is_refused_before_anything_is_loaded(
    outside: Path, tmp_path: Path, text: str, why: str
) -> None:
    names = _names(outside)
    job = {
        "sql": text.format(**names),
        "tables": {
            "charges": {"path": "never-read.ndjson", "columns": [{"name": "id", "type": "VARCHAR", "reading": "plain"}]}
        },
        "params": {},
        "folder": str(tmp_path / "private"),
        "result": str(tmp_path / "result"),
        "limits": asdict(SqlLimits()),
    }
    before = _files(tmp_path)
    said = answer(job)
    assert said["kind"] == "input"
    assert why.format(**names) in said["refused"]
    assert "\n" not in said["refused"]
    assert "hunter2" not in said["refused"]
    assert _files(tmp_path) == before


@pytest.mark.parametrize("place", range(0, len(WANTS_OUT), 8))
def test_the_caller_of_what_wants_out_goes_on(ask: Ask, outside: Path, place: int) -> None:
    text, why = WANTS_OUT[place]
    names = _names(outside)
    before = _files(outside)
    with pytest.raises(SqlError) as caught:
        ask(text.format(**names), ROWS, schema=CHARGE)
    assert str(caught.value).startswith("sql: ")
    assert why.format(**names) in str(caught.value)
    assert _files(outside) == before
    assert ask("select count(*) as n from charges", ROWS) == [{"n": 1000}]


BEHIND_THE_WALL = [
    text for text, _ in WANTS_OUT if text.startswith(("copy", "export", "create", "insert", "update", "delete"))
]
BEHIND_THE_WALL += [text for text, _ in WANTS_OUT if "{file}" in text and "table function" not in text]
BEHIND_THE_WALL += [
    text
    for text, _ in WANTS_OUT
    if text.startswith(("set mem", "set en", "reset", "pragma m", "install", "load", "attach"))
]


@pytest.mark.parametrize(
    "text", [text for text in BEHIND_THE_WALL if "temp table" not in text and "import" not in text]
)
def test_the_lock_holds_where_the_look_at_the_statement_would_not(outside: Path, tmp_path: Path, text: str) -> None:
    with duckdb.connect(str(tmp_path / "tables.db")) as writer:
        writer.execute("create table charges as select 'x' as id, 1 as amount, 'usd' as currency")
    before = _files(tmp_path)
    with duckdb.connect(str(tmp_path / "tables.db"), read_only=True) as reader:
        _lock(reader)
        with pytest.raises(duckdb.Error):
            reader.execute(text.format(**_names(outside))).fetchall()
    assert _files(tmp_path) == before


TAKES_ALL = [
    ("memory", "select len(list(i)) as n from range(1000000000) r(i)", "needs more than 512 MiB of memory"),
    ("memory of one text", "select len(repeat('x', 4000000000)) as n", "needs more than 512 MiB of memory"),
    ("memory of a list", "select len(range(4000000000)) as n", "needs more than 512 MiB of memory"),
    ("memory of text", "select len(string_agg(i::varchar)) as n from range(500000000) r(i)", "512 MiB of memory"),
    (
        "time",
        "select count(*) as n from range(100000) a, range(100000) b, range(100000) c",
        "took more than 1 s",
    ),
    (
        "time without rows",
        "with recursive t(n) as (select 1 union all select n + 1 from t) select count(*) as n from t",
        "took more than 1 s",
    ),
    (
        "temporary space",
        "select i, repeat(i::varchar, 50) as t from range(100000000) r(i)",
        "needs more than 32 MiB of temporary space",
    ),
    ("temporary space of a sort", "select i from range(100000000) r(i) order by hash(i)", "needs more than"),
    ("the result", "select i, repeat('x', 100) as t from range(200000) r(i)", "the result is larger than 8 MiB"),
    ("one row", "select repeat('x', 20000000) as t", "row 1 of the result is larger than 16 MiB"),
    ("a text too long", "select repeat('x', 100000000000) as t", "Cannot create a string of size"),
    (
        "columns",
        "select " + ", ".join(f"repeat('x', 10000000) as c{n}" for n in range(50)),
        "needs more than 512 MiB of memory",
    ),
]


@pytest.mark.parametrize(("text", "why"), [one[1:] for one in TAKES_ALL], ids=[one[0] for one in TAKES_ALL])
def test_what_takes_all_of_the_machine_is_ended_and_the_caller_goes_on(ask: Ask, text: str, why: str) -> None:
    with pytest.raises(SqlError) as caught:
        ask(text, ROWS, limits=TIME if "took more" in why else SPACE)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "PRAGMA" not in str(caught.value)
    assert ask("select count(*) as n from charges", ROWS) == [{"n": 1000}]


def test_a_table_that_is_too_large_is_ended_too(ask: Ask, store: ArtifactStore) -> None:
    spool = store.spool("run-1/large", threshold=0)
    spool.write([{"text": "x" * (40 << 20)}])
    with pytest.raises(SqlError, match=r"^sql: table charges: a row is larger than 16 MiB, too large for SQL$"):
        ask("select len(text) as n from charges", store.open(spool.finish()))


def test_values_of_rows_are_never_sql(ask: Ask) -> None:
    hostile = "'); drop table charges; --\x00\u202e\\\""
    rows = [{hostile.replace("\x00", ""): hostile, "id": 1}]
    assert ask("select * from charges", rows) == rows


def test_deep_and_wide_values_do_no_harm(ask: Ask) -> None:
    deep: object = 1
    for _ in range(100):
        deep = [deep]
    assert ask("select a from charges", [{"a": deep}]) == [{"a": deep}]
    for _ in range(400):
        deep = [deep]
    with pytest.raises(
        SqlError, match=r"^sql: table charges: a row is nested more than 128 levels deep, too deep for SQL$"
    ):
        ask("select a from charges", [{"a": deep}])
    with pytest.raises(SqlError, match=r"^sql: the SQL is nested too deep$|^sql: .*[Dd]epth"):
        ask("select " + "(" * 3000 + "1" + ")" * 3000 + " as x", [])
    wide = {f"c{number}": number for number in range(1000)}
    assert ask("select * from charges", [wide]) == [wide]


def test_nothing_of_the_environment_reaches_the_worker(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A module in the current folder or on PYTHONPATH would run as the worker's own."""
    marker = tmp_path / "ran"
    (tmp_path / "json.py").write_text(f"open({str(marker)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert ask("select 1 as a", []) == [{"a": 1}]
    assert not marker.exists()
    assert "PYTHONPATH" in os.environ

"""The places: what they keep, what they refuse, and that a later state is never undone in any of them."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from contextlib import ExitStack, closing, nullcontext, suppress
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spojit_stripe.errors import ConfigurationError, InputError, ServiceError
from spojit_stripe.sync import RESOURCES, destination_of
from spojit_stripe.sync.destination import Failure, History, Identity, State, state_from, state_text
from spojit_stripe.sync.postgres import PostgresTables
from spojit_stripe.sync.resources import Column
from spojit_stripe.sync.rows import Counts, Row, UnfitError, row_of, tombstone
from spojit_stripe.sync.sqlite import SqliteTables
from spojit_stripe.sync.views import VIEWS
from tests.sync.conftest import Shop

ME = Identity(connection="shop", mode="test", account=None, base_url=None)
CUSTOMERS = RESOURCES["customers"]
COLUMNS = (Column("name", "text"), Column("balance", "integer"), Column("delinquent", "boolean"), Column("x", "json"))


def customer(name: str, seen: int, *, id: str = "cus_1", **fields: Any) -> Row:
    value = {"id": id, "object": "customer", "created": 5, "name": name, "balance": 2**62, **fields}
    return row_of(value, CUSTOMERS, COLUMNS, seen)


# A PostgreSQL of our own


@pytest.fixture
def database(postgres: str) -> str:
    """A database of its own for each test."""
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as db:
        db.execute("DROP DATABASE IF EXISTS shop WITH (FORCE)")
        db.execute("CREATE DATABASE shop")
    return f"{postgres}/shop"


@pytest.fixture(params=["sqlite", "parquet", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    if request.param == "parquet":
        return f"{tmp_path}/shop.parquet"
    return request.getfixturevalue("database")


def rows_in(place: str, table: str = "customers") -> list[dict[str, Any]]:
    """The rows of a table, by name."""
    if place.startswith("sqlite"):
        db = sqlite3.connect(place.removeprefix("sqlite:///"))
        cursor = db.execute(f"SELECT * FROM {table} ORDER BY id")
        found = [dict(zip([one[0] for one in cursor.description], row, strict=True)) for row in cursor]
        db.close()
        return found
    if place.startswith("postgres"):
        with psycopg.connect(place) as db:
            cursor = db.execute(f"SELECT * FROM {table} ORDER BY id")
            return [dict(zip([one.name for one in cursor.description], row, strict=True)) for row in cursor]
    cursor = duckdb.sql(f"SELECT * FROM '{place}/{table}.parquet' ORDER BY id")
    return [dict(zip(cursor.columns, row, strict=True)) for row in cursor.fetchall()]


def save(place: str, *batches: list[Row], state: State | None = None, touch: bool = False) -> Counts:
    """One run that writes batches."""
    destination = destination_of(place)
    counts = Counts()
    with destination.opened(ME):
        destination.prepare(CUSTOMERS, COLUMNS)
        for batch in batches:
            counts = counts.plus(destination.save(CUSTOMERS, batch, state or State(), touch=touch))
        return counts.plus(destination.finish(CUSTOMERS))


# In all of them


def test_rows_are_kept_exactly(place: str) -> None:
    counts = save(place, [customer("Jenny 'Q' \"x\" ☃", 10, delinquent=False, x={"a": [1.10, None]})])
    assert counts == Counts(read=1, new=1)
    (row,) = rows_in(place)
    assert (row["name"], row["balance"], row["delinquent"]) == ("Jenny 'Q' \"x\" ☃", 2**62, False)
    x = row["x"] if isinstance(row["x"], dict) else json.loads(row["x"])
    assert x == {"a": [1.1, None]}
    assert (row["created"], row["synced_at"], row["deleted_at"]) == (5, 10, None)
    kept = row["object"] if isinstance(row["object"], dict) else json.loads(row["object"])
    assert kept["balance"] == 2**62


def test_a_row_again_is_no_change_and_an_older_one_is_none_either(place: str) -> None:
    save(place, [customer("new", 20)])
    before = rows_in(place)
    assert save(place, [customer("new", 30)]) == Counts(read=1)
    assert save(place, [customer("old", 10)]) == Counts(read=1)
    assert save(place, [tombstone("cus_1", 10, 10)]) == Counts(read=1)
    assert rows_in(place) == before


def test_touching_tells_that_an_unchanged_row_was_seen(place: str) -> None:
    save(place, [customer("same", 20), customer("other", 20, id="cus_2")])
    assert save(place, [customer("same", 30)], touch=True) == Counts(read=1)
    destination = destination_of(place)
    with destination.opened(ME):
        destination.prepare(CUSTOMERS, COLUMNS)
        assert list(destination.unseen(CUSTOMERS, 30)) == ["cus_2"]
        assert destination.seen(CUSTOMERS, ["cus_1", "cus_2", "cus_3"]) == {"cus_1": 30, "cus_2": 20}


def test_a_tombstone_keeps_the_last_state_and_a_later_state_wakes_it(place: str) -> None:
    save(place, [customer("Jenny", 20)])
    assert save(place, [tombstone("cus_1", 25, 30)]) == Counts(read=1, deleted=1)
    (row,) = rows_in(place)
    assert (row["name"], row["deleted_at"], row["synced_at"]) == ("Jenny", 25, 30)
    assert save(place, [customer("Jenny", 29)]) == Counts(read=1)
    assert save(place, [customer("Jenny", 40)]) == Counts(read=1, changed=1)
    assert rows_in(place)[0]["deleted_at"] is None
    assert save(place, [tombstone("cus_9", 41, 42)]) == Counts(read=1)
    assert [(row["id"], row["name"], row["deleted_at"]) for row in rows_in(place)] == [("cus_1", "Jenny", None)]


def test_many_states_of_one_object_in_one_run(place: str) -> None:
    counts = save(
        place,
        [customer("a", 10), customer("b", 11)],
        [tombstone("cus_1", 12, 12)],
        [customer("c", 13), customer("a", 9)],
    )
    assert counts.read == 5
    (row,) = rows_in(place)
    assert (row["name"], row["synced_at"], row["deleted_at"]) == ("c", 13, None)


def test_state_is_remembered_with_the_rows(place: str) -> None:
    state = State(
        as_of=7,
        seen=9,
        api_version="v",
        history=History(as_of=8, at=3, again=True),
        failures={"cus_2": Failure(error="No such", deleted=4)},
    )
    destination = destination_of(place)
    with destination.opened(ME):
        assert destination.prepare(CUSTOMERS, COLUMNS) == State()
        destination.save(CUSTOMERS, [customer("a", 10)], state)
    again = destination_of(place)
    assert again.peek(CUSTOMERS, ME) == state
    with again.opened(ME):
        assert again.prepare(CUSTOMERS, COLUMNS) == state
    assert rows_in(place)[0]["name"] == "a"


def test_of_what_was_taken_away_nothing_is_remembered(place: str) -> None:
    """Also what waited to be merged belonged to it."""
    save(place, [customer("a", 10)], state=State(as_of=7))
    destination = destination_of(place)
    with destination.opened(ME):
        destination.prepare(CUSTOMERS, COLUMNS)
        destination.save(CUSTOMERS, [customer("b", 11, id="cus_2")], State(as_of=8))
    if place.endswith(".parquet"):
        (Path(place) / "customers.parquet").unlink()
    elif place.startswith("sqlite"):
        with closing(sqlite3.connect(place.removeprefix("sqlite:///"))) as db:
            db.execute("DROP TABLE customers")
    else:
        with psycopg.connect(place) as db:
            db.execute("DROP TABLE customers")
    for again in (destination_of(place), destination_of(place)):
        assert again.peek(CUSTOMERS, ME) == State()
        with again.opened(ME):  # a run that is killed before it wrote anything
            assert again.prepare(CUSTOMERS, COLUMNS) == State()
    save(place, [customer("c", 12, id="cus_3")], state=State(as_of=9))
    assert [row["id"] for row in rows_in(place)] == ["cus_3"]
    assert destination_of(place).peek(CUSTOMERS, ME) == State(as_of=9)


def test_all_that_is_overdue_is_found(place: str) -> None:
    """More than are asked for at a time."""
    resource = RESOURCES["balance_transactions"]
    due = {"object": "balance_transaction", "created": 5, "status": "pending"}
    rows = [
        row_of({**due, "id": f"txn_{number}", "available_on": number}, resource, resource.columns, 10)
        for number in range(1_201)
    ]
    destination = destination_of(place)
    with destination.opened(ME):
        destination.prepare(resource, resource.columns)
        destination.save(resource, rows, State())
        destination.finish(resource)
        assert {*destination.overdue(resource, 1_100)} == {f"txn_{number}" for number in range(1_101)}
        assert destination.pending_since(resource, 1_100, 2_000) == 5


def test_another_account_or_mode_is_refused(place: str) -> None:
    save(place, [customer("a", 10)])
    for other, text in (
        (
            Identity(connection="shop", mode="live", account=None, base_url=None),
            "objects of mode 'test', not of 'live'",
        ),
        (Identity(connection="shop", mode="test", account="acct_1", base_url=None), "account the key's own"),
        (Identity(connection="other", mode="test", account=None, base_url=None), "connection 'shop', not of 'other'"),
    ):
        with pytest.raises(ConfigurationError, match=text), destination_of(place).opened(other):
            pass
        with pytest.raises(ConfigurationError, match=text):
            destination_of(place).peek(CUSTOMERS, other)


def test_a_database_is_free_as_soon_as_a_run_has_ended(database: str) -> None:
    with psycopg.connect(database) as looking:
        for _ in range(20):
            with destination_of(database).opened(ME):
                pass
            held = looking.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
            assert held == (0,)


def test_two_runs_at_once_are_refused(place: str) -> None:
    first, second = destination_of(place).opened(ME), destination_of(place).opened(ME)
    shown = destination_of(place).shown
    with first, pytest.raises(ConfigurationError, match=f"^can't sync to {shown}: another sync works on it"), second:
        pass
    save(place, [customer("a", 10)])


def test_a_new_column_is_added_and_filled_and_none_is_taken_away(place: str) -> None:
    more = (
        *COLUMNS,
        Column("email", "text"),
        Column("flag", "boolean"),
        Column("count", "integer"),
        Column("n", "json"),
    )
    value = {"id": "cus_1", "object": "customer", "created": 5, "name": "J", "n": None, "email": "j@x", "flag": True}
    save(place, [row_of({**value, "count": 2**62 + 1}, CUSTOMERS, COLUMNS, 10)])
    destination = destination_of(place)
    with destination.opened(ME):
        destination.prepare(CUSTOMERS, more)
        destination.finish(CUSTOMERS)
    (row,) = rows_in(place)
    assert (row["email"], row["flag"], row["count"], row["n"], row["name"]) == ("j@x", True, 2**62 + 1, None, "J")
    if not place.endswith(".parquet"):
        save(place, [customer("K", 20)])  # by an older program that knows fewer columns
        assert rows_in(place)[0]["email"] == "j@x"


NEW = (*COLUMNS, Column("i", "integer"), Column("t", "text"), Column("b", "boolean"), Column("j", "json"))


def old_and_new(place: str, value: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], State]:
    """The row of a table that was widened, the one of a write with all columns, and what the first remembers."""
    value = {"object": "customer", "created": 5, **value}
    save(place, [row_of({**value, "id": "cus_1"}, CUSTOMERS, COLUMNS, 10)], state=State(as_of=7))
    destination = destination_of(place)
    with destination.opened(ME):
        state = destination.prepare(CUSTOMERS, NEW)
        with suppress(UnfitError):
            destination.save(CUSTOMERS, [row_of({**value, "id": "cus_2"}, CUSTOMERS, NEW, 10)], state)
        destination.finish(CUSTOMERS)
    rows = rows_in(place)
    assert destination_of(place).peek(CUSTOMERS, ME) == state
    return rows[0], rows[-1], state


@pytest.mark.parametrize(
    "j",
    [1.2345678901234567, 0.1 + 0.2, 1e22, 2**70, True, "txt", {"b": 1.10, "a": "é"}, [1.0, None], ""],
    ids=repr,
)
def test_a_column_that_is_new_holds_what_a_write_would_have_put_there(place: str, j: Any) -> None:
    old, new, state = old_and_new(place, {"i": 2**62 + 1, "b": False, "t": 'q"\\☃', "j": j})
    names = [column.name for column in NEW]
    assert [repr(old[name]) for name in names] == [repr(new[name]) for name in names]
    assert state == State(as_of=7)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"i": 1.5}, "customers cus_1: i is 1.5, not a whole number of 64 bits"),
        ({"i": 2**63}, "i is 9223372036854775808, not a whole number"),
        ({"i": "many"}, 'i is "many", not a whole number'),
        ({"i": "12"}, 'i is "12", not a whole number'),
        ({"i": 1.0}, "i is 1.0, not a whole number"),
        ({"i": True}, "i is true, not a whole number"),
        ({"b": "yes"}, 'b is "yes", not true or false'),
        ({"b": "true"}, 'b is "true", not true or false'),
        ({"b": 1}, "b is 1, not true or false"),
        ({"t": 5}, "t is 5, not text"),
        ({"t": ["x"]}, 't is ["x"], not text'),
        ({"t": {"id": 5}}, 't is {"id": 5}, not text'),
    ],
    ids=repr,
)
def test_what_does_not_fit_a_new_column_is_null_and_read_again(place: str, fields: dict[str, Any], told: str) -> None:
    row, _, state = old_and_new(place, {"t": "x", **fields})
    assert (row["i"], row["b"], row["t"]) == (None, None, None if "t" in fields else "x")
    assert [*state.failures] == ["cus_1"]
    assert told in state.failures["cus_1"].error


def test_too_much_that_does_not_fit_a_new_column_fails_the_resource(place: str) -> None:
    save(place, [customer("a", 10, id=f"cus_{number}", i=0.5) for number in range(101)])
    for _ in range(2):
        destination = destination_of(place)
        with destination.opened(ME):
            with pytest.raises(
                ServiceError, match="more than 100 objects failed or do not fit a column that is new; the last"
            ):
                destination.prepare(CUSTOMERS, NEW)
            destination.finish(CUSTOMERS)
    assert "i" not in rows_in(place)[0]


def staged(place: str, *rows: Row) -> None:
    """A run that was killed before what it read was merged."""
    destination = destination_of(place)
    with destination.opened(ME):
        destination.prepare(CUSTOMERS, COLUMNS)
        destination.save(CUSTOMERS, rows, State(as_of=7))


@pytest.mark.parametrize("merged", [True, False])
def test_what_waits_and_does_not_fit_a_new_column_is_read_again(tmp_path: Path, merged: bool) -> None:
    place = f"{tmp_path}/x.parquet"
    if merged:
        save(place, [customer("a", 10)])
    staged(
        place,
        customer("b", 20, i=1.5, t="x"),
        customer("c", 20, id="cus_2", i=1.5),
        customer("d", 21, id="cus_2", i=2),
        customer("e", 20, id="cus_3", t=5),
        tombstone("cus_3", 22, 23),
    )
    destination = destination_of(place)
    with destination.opened(ME):
        state = destination.prepare(CUSTOMERS, NEW)
    assert {name: one.deleted for name, one in state.failures.items()} == {"cus_1": None, "cus_3": 22}
    assert state.as_of == 7
    assert [(row["i"], row["t"]) for row in rows_in(place)] == [(None, "x"), (2, None), (None, None)]


def test_too_much_that_waits_and_does_not_fit_goes_on_waiting(tmp_path: Path) -> None:
    place = f"{tmp_path}/x.parquet"
    staged(place, *(customer("a", 10, id=f"cus_{number}", i=0.5) for number in range(101)))
    for _ in range(2):
        destination = destination_of(place)
        with destination.opened(ME):
            with pytest.raises(ServiceError, match="more than 100 objects failed or do not fit a column that is new"):
                destination.prepare(CUSTOMERS, NEW)
            destination.finish(CUSTOMERS)
    assert not (tmp_path / "x.parquet" / "customers.parquet").exists()
    assert save(place).new == 0
    assert len(rows_in(place)) == 101


def kept_as(place: str, text: str) -> None:
    """Somebody changes what is kept of every customer."""
    if place.startswith("sqlite"):
        with closing(sqlite3.connect(place.removeprefix("sqlite:///"))) as db, db:
            db.execute("UPDATE customers SET object = ?", (text,))
    elif place.startswith("postgres"):
        with psycopg.connect(place) as db:
            db.execute("UPDATE customers SET object = %s", (text,))
    else:
        file, other = Path(place) / "customers.parquet", Path(place) / "other"
        duckdb.sql(f"COPY (SELECT * REPLACE ('{text}' AS object) FROM '{file}') TO '{other}' (FORMAT parquet)")
        other.replace(file)


@pytest.mark.parametrize("text", ["null", "[]", "5"])
def test_what_is_kept_and_is_no_object_is_told_and_what_is_read_again_replaces_it(place: str, text: str) -> None:
    """Also where that is what was read before."""
    save(place, [customer("a", 10, t="x")])
    kept_as(place, text)
    destination = destination_of(place)
    with destination.opened(ME):
        state = destination.prepare(CUSTOMERS, NEW)
        destination.finish(CUSTOMERS)
        assert [(name, one.error) for name, one in state.failures.items()] == [
            ("cus_1", "customers cus_1: what is kept of it is no JSON object")
        ]
        assert rows_in(place)[0]["t"] is None
        value = {"id": "cus_1", "object": "customer", "created": 5, "name": "a", "balance": 2**62, "t": "x"}
        destination.save(CUSTOMERS, [row_of(value, CUSTOMERS, NEW, 20)], State())
        destination.finish(CUSTOMERS)
    assert rows_in(place)[0]["t"] == "x"


def test_of_an_object_that_was_emptied_or_damaged_a_new_column_is_null(shop: Shop) -> None:
    save(shop.db, [customer("a", 10, t="x"), customer("b", 10, id="cus_2", t="x")])
    shop.change("UPDATE customers SET object = CASE id WHEN 'cus_1' THEN NULL ELSE '{' END")
    destination = destination_of(shop.db)
    with destination.opened(ME):
        state = destination.prepare(CUSTOMERS, NEW)
    assert shop.ask("SELECT t FROM customers") == [(None,), (None,)]
    assert [(name, one.error) for name, one in state.failures.items()] == [
        ("cus_2", "customers cus_2: what is kept of it is no JSON object")
    ]


def test_a_changed_type_is_refused_in_one_line(place: str) -> None:
    save(place, [customer("a", 10)])
    other = (Column("name", "integer"), *COLUMNS[1:])
    destination = destination_of(place)
    with (
        destination.opened(ME),
        pytest.raises(ConfigurationError, match=r"name is .* there and .* here; a type is never"),
    ):
        destination.prepare(CUSTOMERS, other)


@given(
    st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=12),
    st.none() | st.integers(0, 11),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("kind", ["sqlite", "parquet"])
def test_whatever_the_order_of_arrival_the_last_read_stays(
    kind: str, tmp_path: Path, states: list[tuple[int, bool]], dies: int | None
) -> None:
    """Different states of one object, cut into runs anywhere; of equal times the later arrival counts."""
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    place = f"sqlite:///{folder}/x.db" if kind == "sqlite" else f"{folder}/x.parquet"
    runs: list[list[Row]] = [[]]
    for number, (seen, cut) in enumerate(states):
        dead = number == dies and number > 0  # nothing is left of what was never there
        runs[-1].append(tombstone("cus_1", seen, seen) if dead else customer(f"state {number}", seen))
        if cut:
            runs.append([])
    for run in runs:
        save(place, *([row] for row in run))
    last = max(range(len(states)), key=lambda number: (states[number][0], number))
    (row,) = rows_in(place)
    assert (row["deleted_at"] is not None) == (last == dies and last > 0)
    assert row["synced_at"] == states[last][0]
    if row["deleted_at"] is None:
        assert row["name"] == f"state {last}"


def test_a_state_as_text_comes_back_and_another_text_is_refused() -> None:
    assert state_from(state_text(State()), "x") == State()
    for text in ("", "[]", "{}", '{"as_of": 1}', '{"history": 5, "failures": {}}'):
        with pytest.raises(ConfigurationError, match="can't be read"):
            state_from(text, "x.db")


def test_what_is_no_id_is_not_remembered_as_failed() -> None:
    """An earlier version kept it, and every later run broke on it."""
    fine = State(failures={"cus_1": Failure(error="No such")})
    failures = {name: Failure(error="no id") for name in ("", "a\x00b", "a\ud800b")}
    assert state_from(state_text(State(failures={**failures, **fine.failures})), "x") == fine


def test_what_an_earlier_version_took_for_an_id_is_not_remembered_as_failed() -> None:
    """It wrote null and 7 as text, asked for that, and noted the answer."""
    fine = State(
        failures={
            "7": Failure(error="No such product: '7'"),
            "cus_1": Failure(error='customers: an object came without an id that can be kept: {"object": "customer"}'),
        }
    )
    failures = {
        "None": Failure(error="No such product: 'None'"),
        "8": Failure(error='products: an object came without an id: {"object": "product", "id": 8}'),
    }
    assert state_from(state_text(State(failures={**failures, **fine.failures})), "x") == fine


# SQLite


def test_two_links_to_one_file_are_one_place(tmp_path: Path) -> None:
    save(f"sqlite:///{tmp_path}/shop.db", [customer("a", 10)])
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "other.db").symlink_to(tmp_path / "shop.db")
    first, second = (destination_of(f"sqlite:///{tmp_path}/{name}") for name in ("shop.db", "links/other.db"))
    with (
        first.opened(ME),
        pytest.raises(ConfigurationError, match=r"can't sync to .*other.db: another sync works on it"),
        second.opened(ME),
    ):
        pass


def test_a_look_leaves_nothing_beside_a_file(seeded: Shop) -> None:
    seeded.sync("payouts", "balance_transactions")
    before = {path.name: path.read_bytes() for path in seeded.folder.iterdir() if path.is_file()}
    assert destination_of(seeded.db).reconciliation(None)
    with pytest.raises(ConfigurationError, match="choose another destination"):
        destination_of(seeded.db).peek(CUSTOMERS, ME)
    assert {path.name: path.read_bytes() for path in seeded.folder.iterdir() if path.is_file()} == before


def test_a_look_during_a_sync_shows_what_is_saved_and_takes_nothing_away(tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path}/shop.db"
    destination = destination_of(place)
    with destination.opened(ME):
        destination.prepare(CUSTOMERS, COLUMNS)
        destination.save(CUSTOMERS, [customer("a", 10)], State(as_of=7))
        assert destination_of(place).peek(CUSTOMERS, ME) == State(as_of=7)
        destination.save(CUSTOMERS, [customer("b", 20)], State(as_of=8))
    assert destination_of(place).peek(CUSTOMERS, ME) == State(as_of=8)
    assert rows_in(place)[0]["name"] == "b"


def test_a_file_on_a_medium_that_takes_no_other_can_be_looked_at(seeded: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    seeded.sync("payouts", "balance_transactions")
    (seeded.folder / "shop.db-wal").mkdir()  # so that nothing can be made there, whoever runs this
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert len(destination_of(seeded.db).reconciliation(None)) == seeded.box.count("payout")


@pytest.mark.parametrize("closed", ["", "shop.db"])
def test_who_may_not_write_leaves_nothing_beside_a_file(
    seeded: Shop, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    """Else what belongs to the reader stops the next sync of the file's owner."""
    seeded.sync("payouts", "balance_transactions")
    before = {path.name for path in seeded.folder.iterdir()}
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != seeded.folder / closed)
    assert destination_of(seeded.db).reconciliation(None)
    assert {path.name for path in seeded.folder.iterdir()} == before


@pytest.mark.parametrize("fault", [None, ConfigurationError("it is damaged")])
def test_a_look_without_locks_while_a_sync_writes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: ConfigurationError | None
) -> None:
    """It may have seen half of one state and half of another."""
    place = f"sqlite:///{tmp_path}/shop.db"
    save(place, [customer("a", 10)])
    os.utime(tmp_path / "shop.db", (5, 5))

    def look(*, meanwhile: bool) -> None:
        with ExitStack() as looking:
            with monkeypatch.context() as reader:
                reader.setattr(os, "access", lambda *_: False)
                assert looking.enter_context(SqliteTables(tmp_path / "shop.db")._looking())
            if meanwhile:
                save(place, [customer("b", 20)])
            if fault is not None:
                raise fault

    with pytest.raises(ConfigurationError, match="damaged") if fault else nullcontext():
        look(meanwhile=False)
    with pytest.raises(ConfigurationError, match=r"^a sync wrote to .*shop.db meanwhile; try again$"):
        look(meanwhile=True)


@pytest.mark.parametrize("kind", ["VIEW", "TABLE"])
def test_a_view_or_table_of_the_users_own_is_refused_before_anything_is_read(shop: Shop, kind: str) -> None:
    shop.one("payouts")
    sent = len(shop.paths())
    shop.change(f"CREATE {kind} Payout_lines AS SELECT 'mine' AS x")
    with pytest.raises(ConfigurationError, match=rf"shop.db has a {kind.lower()} payout_lines that is not of this"):
        shop.sync("payouts", "balance_transactions")
    assert shop.ask("SELECT x FROM payout_lines") == [("mine",)]
    assert len(shop.paths()) == sent
    assert shop.one("payouts").as_of  # which needs no such view


def test_a_view_of_the_users_own_in_the_place_of_ours_is_refused(shop: Shop) -> None:
    shop.sync("payouts", "balance_transactions")
    shop.change("DROP VIEW payout_lines")
    shop.change("CREATE VIEW payout_lines AS SELECT 'mine' AS x")
    with pytest.raises(ConfigurationError, match="a view payout_lines that is not of this program"):
        shop.sync("products")
    assert shop.ask("SELECT x FROM payout_lines") == [("mine",)]


def test_a_view_of_an_earlier_version_is_replaced(shop: Shop) -> None:
    views = "SELECT name, sql FROM sqlite_master WHERE type = 'view' ORDER BY name"
    shop.sync("payouts", "balance_transactions")
    made = shop.ask(views)
    for name, sql in made:
        shop.change(f"DROP VIEW {name}")
        shop.change(f"{sql} LIMIT 5")
    shop.sync("payouts", "balance_transactions")
    assert shop.ask(views) == made
    for name, view in VIEWS.items():
        names = [row[1] for row in shop.ask(f"PRAGMA table_info({name})")]
        assert tuple(names[: len(view.columns)]) == view.columns


def test_a_table_whose_index_has_no_name_left_is_made_without_it(shop: Shop) -> None:
    shop.one("products")
    shop.change("CREATE INDEX refunds_created ON products (name)")
    shop.change("CREATE TABLE Charges_created AS SELECT 'mine' AS x")
    shop.change("CREATE VIEW customers_created AS SELECT 'mine' AS x")
    for name in ("refunds", "charges", "customers"):
        assert shop.one(name).as_of
    assert shop.ask("SELECT x FROM Charges_created") == [("mine",)]


def test_a_database_of_another_program_is_refused_and_left_alone(shop: Shop) -> None:
    shop.change("CREATE TABLE charges (id TEXT)")
    before = (shop.folder / "shop.db").read_bytes()
    with pytest.raises(ConfigurationError, match=r"shop.db is a database of another program; choose another file"):
        shop.sync("charges")
    assert (shop.folder / "shop.db").read_bytes() == before
    assert shop.paths() == []


def test_a_file_that_is_no_database_is_refused_and_left_alone(shop: Shop) -> None:
    (shop.folder / "shop.db").write_text("dear diary " * 200)
    with pytest.raises(ConfigurationError, match=r"damaged or no SQLite file"):
        shop.sync("charges")
    assert (shop.folder / "shop.db").read_text() == "dear diary " * 200


def test_the_ledgers_own_file_is_refused(shop: Shop) -> None:
    shop.one("products")
    with pytest.raises(ConfigurationError, match="another program"):
        shop.sync("products", to=f"sqlite:///{shop.folder}/state/ledger.db")


def test_a_newer_format_is_refused(shop: Shop) -> None:
    shop.one("products")
    shop.change("UPDATE spojit_sync_meta SET value = '2' WHERE name = 'format'")
    with pytest.raises(ConfigurationError, match=r"written by another spojit_stripe \(format 2\)"):
        shop.sync("products")


def test_a_table_that_lost_a_column_is_refused(shop: Shop) -> None:
    shop.one("products")
    shop.change("ALTER TABLE products DROP COLUMN digest")
    with pytest.raises(ConfigurationError, match="products has lost its column digest"):
        shop.sync("products")


def test_a_file_is_only_for_its_owner(shop: Shop) -> None:
    shop.one("products")
    assert (shop.folder / "shop.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("sqlite://x.db", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:////nowhere/at/all/x.db", "which is no folder"),
        ("sqlite:////tmp", "is a folder"),
        ("mysql://root:geheim@h/x", r"'mysql://\*\*\*' is no place"),
        ("file.db", "is no place to sync to; write sqlite:///file.db"),
        ("host=h user=me password=geheim", r"'\*\*\*' is no place to sync to"),
        ("me:geheim@h/shop", r"'\*\*\*' is no place to sync to"),
        ("sqlite://me:geheim@h/shop", r"'\*\*\*' names no file"),
        ("", "is no place"),
        ("postgresql://u:ge heim@[::1/x", "the PostgreSQL URL is none"),
        ("postgresql://u:geheim@h:port/x", "the PostgreSQL URL is none"),
        ("postgresql://u:geheim@h1:5432,h2:port/x", "the PostgreSQL URL is none"),
    ],
)
def test_what_names_no_place_is_refused_without_its_password(text: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault) as caught:
        destination_of(text)
    assert "heim" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:geheim@h1:5432,h2:5433/db", "postgresql://h1:5432,h2:5433/db"),
        ("postgresql://u:geheim@h1,h2/db", "postgresql://h1,h2/db"),
        ("postgresql://u@h1/db", "postgresql://h1/db"),
        ("postgresql://u@[::1]:5432,[::2]/db", "postgresql://[::1]:5432,[::2]/db"),
        ("postgresql:///db?host=h1,h2&password=geheim", "postgresql:///db"),
    ],
)
def test_a_url_may_name_several_hosts(url: str, shown: str) -> None:
    assert destination_of(url).shown == shown


# Parquet


def test_a_folder_of_somebody_else_is_refused(shop: Shop) -> None:
    folder = shop.folder / "x.parquet"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"holds notes.txt and no manifest of ours"):
        shop.sync("products", to=str(folder))
    (folder / "notes.txt").unlink()
    for text in ("nonsense", "[]", '{"format": 1}'):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(ConfigurationError, match="none of ours, or damaged"):
            shop.sync("products", to=str(folder))
    (folder / "manifest.json").write_text('{"format": 2, "of": {}, "resources": {}}')
    with pytest.raises(ConfigurationError, match="format 2"):
        shop.sync("products", to=str(folder))


def test_a_manifest_that_was_damaged_inside_is_refused(shop: Shop) -> None:
    folder = shop.folder / "x.parquet"
    shop.one("products", to=str(folder))
    manifest = json.loads((folder / "manifest.json").read_text())
    for broken in (5, {"staged": "much"}, {"staged": 0, "state": {"as_of": 1}}):
        (folder / "manifest.json").write_text(json.dumps({**manifest, "resources": {"products": broken}}))
        with pytest.raises(ConfigurationError, match=r"damaged|can't be read"):
            shop.sync("products", to=str(folder))


def test_the_files_of_a_folder_are_only_for_their_owner_and_keep_the_mode_they_are_given(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").mkdir(mode=0o755)
    place = f"{tmp_path}/x.parquet"
    save(place, [customer("a", 10)])
    file = tmp_path / "x.parquet" / "customers.parquet"
    assert file.stat().st_mode & 0o077 == 0
    file.chmod(0o640)
    save(place, [customer("b", 20)])
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_file_where_a_folder_is_needed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("")
    with pytest.raises(InputError, match="a folder is needed"):
        destination_of(f"{tmp_path}/x.parquet")


def test_lines_of_a_killed_run_beyond_the_manifest_do_not_count(tmp_path: Path) -> None:
    place = f"{tmp_path}/x.parquet"
    save(place, [customer("a", 10)])
    destination = destination_of(place)
    with destination.opened(ME):
        destination.prepare(CUSTOMERS, COLUMNS)
        destination.save(CUSTOMERS, [customer("b", 20)], State(seen=20))
    staged = tmp_path / "x.parquet" / ".customers.ndjson"
    with staged.open("ab") as stream:
        stream.write(b'{"n": 7, "id": "cus_1", "cre')  # cut off by a power cut
    assert save(place) == Counts()
    assert rows_in(place)[0]["name"] == "b"
    assert not staged.exists()


def test_a_folder_that_lost_what_its_manifest_counts_is_refused(tmp_path: Path) -> None:
    place = f"{tmp_path}/x.parquet"
    destination = destination_of(place)
    with destination.opened(ME):
        destination.prepare(CUSTOMERS, COLUMNS)
        destination.save(CUSTOMERS, [customer("b", 20)], State(seen=20))
    (tmp_path / "x.parquet" / ".customers.ndjson").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="shorter than the manifest says"):
        save(place)


def test_a_folder_with_a_quote_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "it's").mkdir()
    place = f"{tmp_path}/it's/x.parquet"
    assert save(place, [customer("a", 10)]).new == 1
    assert save(place, [customer("b", 11)]).changed == 1


# PostgreSQL


def test_a_whole_sync_to_postgresql_and_again(seeded: Shop, database: str) -> None:
    seeded.box.advance(60)
    report = seeded.sync(*RESOURCES, to=database)
    assert report.exit_code == 0, report.to_json()
    assert "geheim" not in json.dumps(report.to_json())
    before = {name: rows_in(database, name) for name in RESOURCES}
    theirs = {one["id"]: one["amount"] for one in seeded.box.objects("charge")}
    assert {row["id"]: row["amount"] for row in before["charges"]} == theirs
    payouts = destination_of(database).reconciliation(None)
    assert len(payouts) == seeded.box.count("payout")
    assert {(row["variance"], row["reconciled"]) for row in payouts} == {(0, 1)}
    assert destination_of(database).reconciliation(str(payouts[3]["payout"])) == [payouts[3]]
    with psycopg.connect(database) as db:
        db.execute("UPDATE balance_transactions SET amount = amount + 1 WHERE type = 'charge'")
        assert db.execute("SELECT count(*) FROM payout_reconciliation WHERE variance < 0").fetchone() == (len(payouts),)
        db.rollback()
    again = seeded.sync(*RESOURCES, to=database)
    assert [seeded.counts(one) for one in again.resources] == [(0, 0, 0)] * len(RESOURCES)
    assert {name: rows_in(database, name) for name in RESOURCES} == before


def test_a_table_of_somebody_else_in_postgresql_is_refused(shop: Shop, database: str) -> None:
    with psycopg.connect(database) as db:
        db.execute("CREATE TABLE charges (id text)")
        db.execute("CREATE TABLE unrelated (id text)")
    with pytest.raises(ConfigurationError, match=r"has a table charges that is not of this program"):
        shop.sync("charges", to=database)
    assert shop.one("products", to=database).as_of


def test_a_password_is_in_no_error(shop: Shop, postgres: str) -> None:
    for url in (
        f"{postgres}/nowhere",
        "postgresql://u:geheim@127.0.0.1:9/x",
        "postgresql://u:geheim@127.0.0.1/x?nonsense=1",
        "postgresql://127.0.0.1:9/x?user=u&password=geheim&sslmode=geheim",
        "postgresql://127.0.0.1:9/x?pass%77ord=g%65heim&sslmode=geheim",
    ):
        with pytest.raises(ConfigurationError, match="can't sync to postgresql://") as caught:
            shop.sync("charges", to=url)
        assert "geheim" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_lost_connection_is_told(database: str) -> None:
    def run() -> None:
        destination = destination_of(database)
        with destination.opened(ME):
            destination.prepare(CUSTOMERS, COLUMNS)
            with psycopg.connect(database.replace("/shop", "/postgres"), autocommit=True) as db:
                db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop'")
            destination.save(CUSTOMERS, [customer("a", 10)], State())

    with pytest.raises(ConfigurationError, match="can't sync to postgresql://"):
        run()
    assert save(database, [customer("a", 10)]).new == 1


def test_an_open_report_holds_up_neither_a_run_nor_other_readers(shop: Shop, database: str) -> None:
    place = f"{database}?options=-c%20lock_timeout%3D2s"
    shop.sync("payouts", "balance_transactions", to=place)
    with psycopg.connect(database) as report:
        report.execute("SELECT count(*) FROM payout_reconciliation")
        assert shop.sync("payouts", "balance_transactions", to=place).exit_code == 0


def test_a_lock_that_another_session_holds_is_waited_for_and_then_told(database: str) -> None:
    save(database, [customer("a", 10)])
    with psycopg.connect(database) as report:
        report.execute("SELECT count(*) FROM customers")
        destination = destination_of(f"{database}?options=-c%20lock_timeout%3D50ms")
        with (
            destination.opened(ME),
            pytest.raises(ConfigurationError, match=r"another session holds a lock on a table or view there; end its"),
        ):
            destination.prepare(CUSTOMERS, NEW)
    destination = PostgresTables(database)
    with destination.opened(ME):
        assert destination._ask("SHOW lock_timeout") == [("30s",)]  # where the URL says nothing else


def test_who_may_only_write_rows_syncs_what_somebody_else_made(shop: Shop, database: str) -> None:
    shop.sync("payouts", "balance_transactions", to=database)
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("CREATE ROLE writer LOGIN PASSWORD 'geheim'")
        db.execute("GRANT USAGE ON SCHEMA public TO writer")
        db.execute("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO writer")
    shop.box.advance(60)
    place = database.replace("//sync:", "//writer:")
    assert place != database
    assert shop.sync("payouts", "balance_transactions", to=place).exit_code == 0


@pytest.mark.parametrize("kind", ["VIEW", "TABLE", "MATERIALIZED VIEW"])
def test_a_view_or_table_of_the_users_own_in_postgresql_is_refused(shop: Shop, database: str, kind: str) -> None:
    with psycopg.connect(database) as db:
        db.execute(f"CREATE {kind} payout_lines AS SELECT 'mine' AS x")
    with pytest.raises(ConfigurationError, match=f"has a {kind.lower()} payout_lines that is not of this program"):
        shop.sync("payouts", "balance_transactions", to=database)
    assert shop.paths() == []
    assert shop.one("payouts", to=database).as_of


@pytest.mark.parametrize("sql", ["SELECT v.*, 1 AS mine FROM ({0}) v", "SELECT {1}"])
def test_a_view_that_the_server_would_not_replace_is_refused_before_anything_is_read(
    shop: Shop, database: str, sql: str
) -> None:
    """One of ours with more columns, or of the same names and other types."""
    shop.sync("payouts", "balance_transactions", to=database)
    sent = len(shop.paths())
    with psycopg.connect(database) as db:
        (made,) = db.execute("SELECT rtrim(pg_get_viewdef('payout_lines'), ';')").fetchone() or ("",)
        db.execute("DROP VIEW payout_reconciliation, payout_lines")
        texts = ", ".join(f"''::text AS {name}" for name in VIEWS["payout_lines"].columns)
        db.execute(f"CREATE VIEW payout_lines AS {sql.format(made, texts)}".encode())
    with pytest.raises(ConfigurationError, match="has a view payout_lines that is not of this program; rename it"):
        shop.sync("payouts", "balance_transactions", to=database)
    assert len(shop.paths()) == sent


def test_a_view_of_an_earlier_version_in_postgresql_is_replaced(shop: Shop, database: str) -> None:
    shop.sync("payouts", "balance_transactions", to=database)
    first = VIEWS["payout_reconciliation"].columns
    with psycopg.connect(database) as db:
        (made,) = db.execute("SELECT rtrim(pg_get_viewdef('payout_reconciliation'), ';')").fetchone() or ("",)
        db.execute("DROP VIEW payout_reconciliation")
        db.execute(f"CREATE VIEW payout_reconciliation AS SELECT {', '.join(first)} FROM ({made}) v".encode())
    assert shop.sync("payouts", "balance_transactions", to=database).exit_code == 0
    for name, view in VIEWS.items():
        with psycopg.connect(database) as db:
            cursor = db.execute(f"SELECT * FROM {name}".encode())
        assert tuple(one.name for one in cursor.description or ()) == view.columns + view.added


def test_a_view_that_was_dropped_comes_back(shop: Shop, database: str) -> None:
    """In a schema whose name has to be quoted, too."""
    with psycopg.connect(database) as db:
        db.execute('CREATE SCHEMA "My Shop"')
    place = f"{database}?options=-c%20search_path%3D%22My%5C%20Shop%22"
    shop.sync("payouts", "balance_transactions", to=place)
    with psycopg.connect(place) as db:
        db.execute('DROP VIEW "My Shop".payout_reconciliation')
    shop.sync("payouts", "balance_transactions", to=place)
    assert destination_of(place).reconciliation(None) == []


def encoded(postgres: str, encoding: str) -> str:
    """An empty database in an encoding."""
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as db:
        db.execute("DROP DATABASE IF EXISTS encoded WITH (FORCE)")
        db.execute(f"CREATE DATABASE encoded ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    return f"{postgres}/encoded"


def test_a_database_without_room_for_every_name_is_refused(shop: Shop, postgres: str) -> None:
    with pytest.raises(ConfigurationError, match=r"/encoded is a database in LATIN1, which has no room for every name"):
        shop.sync("products", to=encoded(postgres, "LATIN1"))
    assert shop.paths() == []


def test_a_database_of_an_earlier_version_goes_on_whatever_its_encoding(shop: Shop, postgres: str, monkeypatch) -> None:
    url = encoded(postgres, "LATIN1")
    with monkeypatch.context() as earlier:
        earlier.setattr("spojit_stripe.sync.postgres._ENCODINGS", ("UTF8", "LATIN1"))
        shop.sync("products", to=url)
    assert shop.sync("products", to=url).exit_code == 0


def test_a_look_needs_no_room_for_every_name(postgres: str) -> None:
    destination = destination_of(encoded(postgres, "LATIN1"))
    assert destination.peek(CUSTOMERS, ME) == State()
    with pytest.raises(ConfigurationError, match="holds nothing to reconcile"):
        destination.reconciliation(None)


@pytest.mark.parametrize("encoding", ["UTF8", "SQL_ASCII"])
def test_names_are_kept_whatever_encoding_a_client_is_set_to(
    postgres: str, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    place = encoded(postgres, encoding)
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    save(place, [customer("café ☃", 10)])
    monkeypatch.setenv("PGCLIENTENCODING", "UTF8")
    assert rows_in(place)[0]["name"] == "café ☃"

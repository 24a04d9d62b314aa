"""SQL over outputs without rows: their columns are known all the same, or it is told why they are not."""

from __future__ import annotations

import pytest

from spojit_stripe.engine import Embedded
from spojit_stripe.records import RunState

PAYMENT = "connector: fake, connection: till, tool: make-payment"
SUM = "select coalesce(sum(amount), 0) as a, count(id) as n from"


def answer(stage, nodes: str) -> object:
    run = stage.start(f"name: empty\nnodes:\n{nodes}")
    assert run.state is RunState.DONE, run.error
    return Embedded(stage.host).value_of(run)


@pytest.mark.parametrize(
    ("items", "rows"), [("[]", []), ("[13, 13]", [{"a": 0, "n": 0}]), ("[5, 13]", [{"a": 5, "n": 1}])]
)
def test_a_loop_has_the_columns_of_its_last_node(stage, items: str, rows: list[object]) -> None:
    """Where it has no items, and where none of them gave anything."""
    found = answer(
        stage,
        f"""\
  - id: each
    type: loop
    for_each: {items}
    nodes:
      - {{id: pay, type: connector, {PAYMENT}, params: {{amount: "{{{{ item }}}}", currency: usd}}, on_error: continue}}
  - {{id: sums, type: transform, sql: "{SUM} each"}}
  - {{id: out, type: transform, set: {{rows: "{{{{ sums.data }}}}", sums: "{{{{ sums }}}}"}}}}
""",
    )
    wanted = rows or [{"a": 0, "n": 0}]
    assert found == {"rows": wanted, "sums": {"data": wanted, "count": 1}}


def test_a_loop_that_gives_rows_has_no_more_columns_than_they(stage) -> None:
    found = answer(
        stage,
        """\
  - {id: each, type: loop, for_each: [1], nodes: [{id: x, type: transform, set: {n: "{{ item }}"}}]}
  - {id: all_, type: transform, sql: "select * from each"}
""",
    )
    assert found == {"data": [{"n": 1}], "count": 1}


def test_the_result_of_sql_without_rows_keeps_its_columns(stage) -> None:
    found = answer(
        stage,
        """\
  - {id: none_, type: transform, sql: "select 5 as amount, 'x' as id where false"}
  - id: each
    type: loop
    for_each: [1]
    nodes:
      - {id: inner, type: transform, sql: "select coalesce(sum(amount), 0) as a, count(id) as n from none_"}
  - {id: out, type: transform, sql: "select coalesce(sum(amount), 0) as a, max(id) as last from none_"}
  - {id: both, type: transform, set: {inner: "{{ each.results[0].data }}", out: "{{ out.data }}"}}
""",
    )
    assert found == {"inner": [{"a": 0, "n": 0}], "out": [{"a": 0, "last": None}]}


def test_the_columns_of_a_result_outlive_a_resume(stage) -> None:
    text = """\
name: empty
nodes:
  - {id: none_, type: transform, sql: "select 5 as amount where false"}
  - {id: pay, type: connector, PAYMENT, params: {amount: 13, currency: usd}}
  - {id: out, type: transform, sql: "select coalesce(sum(amount), 0) as a from none_"}
""".replace("PAYMENT", PAYMENT)
    assert stage.start(text).state is RunState.FAILED
    stage.till.mended = True
    run = stage.resume()
    assert run.state is RunState.DONE, run.error
    assert Embedded(stage.host).value_of(run) == {"data": [{"a": 0}], "count": 1}


def test_a_table_of_unknown_columns_says_why_they_are_not_found(stage) -> None:
    run = stage.start(
        "name: empty\nnodes:\n  - {id: rows, type: transform, set: {data: []}}\n"
        '  - {id: out, type: transform, sql: "select sum(amount) as a from rows"}\n'
    )
    assert run.state is RunState.FAILED
    told = stage.error(run)
    assert (
        "rows has no rows here, and nothing else is known of its columns: leave this node out then, with when:" in told
    )


def test_the_rows_of_an_earlier_query_say_their_types_themselves(stage) -> None:
    """A JSON column may hold anything: here it holds texts and integers."""
    found = answer(
        stage,
        """\
  - {id: rows, type: transform, set: {all_: [{m: {s: paid, n: 2}}, {m: {s: open, n: 3}}]}}
  - {id: table_, type: loop, for_each: "{{ rows.all_ }}", nodes: [{id: x, type: transform, set: {m: "{{ item.m }}"}}]}
  - {id: first_, type: transform, sql: "select m->'s' as s, m->'n' as n from table_"}
  - {id: second_, type: transform, sql: "select s || '!' as s, sum(n) as n from first_ where s = 'paid' group by 1"}
""",
    )
    assert found == {"data": [{"s": "paid!", "n": 2}], "count": 1}

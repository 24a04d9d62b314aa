"""What a good workflow becomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.values import Paging, Writes
from spojit_stripe.workflow import (
    AgentLimits,
    AgentNode,
    ConditionNode,
    DirectNode,
    Goto,
    HumanNode,
    LoopNode,
    Manual,
    ParallelNode,
    ResponseNode,
    Schedule,
    SetNode,
    SqlNode,
    SubworkflowNode,
    Webhook,
    check_inputs,
    check_workflow,
    load_workflow,
    read_workflow,
)

EVERYTHING = """\
name: everything
description: One of each.
trigger: {type: webhook, connection: test, events: [charge.failed, charge.succeeded]}
inputs:
  type: object
  properties: {id: {type: string}, n: {type: integer, default: 3}, note: {type: string}}
  required: [id]
trusted_ids: [id]
nodes:
  - id: charges
    type: connector
    connector: stripe
    connection: test
    tool: list-charges
    params: {customer: "{{ input.id }}", limit: 5}
    paginate: all
    max_items: 1000
    max_pages: 20
    order: any
    timeout: 5m
    on_error: {goto: answer}
  - id: note
    type: connector
    connector: stripe
    connection: test
    tool: raw-api-request
    params: {method: POST, path: "/v1/customers/{{ input.id }}", params: {description: seen}}
    options: {stripe_account: acct_1}
    once: "{{ input.id }}"
    policy: {writes: ask, caps: {per_call: {amount: 5, currency: USD}}}
    when: "{{ charges.complete }}"
  - {id: rows, type: transform, sql: "select * from charges where amount > $least", params: {least: "{{ input.n }}"}}
  - {id: made, type: transform, set: {total: "{{ rows.count }}", deep: {list: [1, "{{ input.n }}"]}}}
  - id: choose
    type: condition
    if: "{{ made.total > 1 }}"
    then: [{id: many, type: transform, set: {word: many}}]
    elif: [{if: "{{ made.total == 1 }}", then: [{id: one, type: transform, set: {word: one}}]}]
    else: [{id: none_, type: transform, set: {word: none}}]
  - id: each
    type: loop
    for_each: "{{ rows.data }}"
    as: row
    concurrency: 3
    nodes:
      - id: both
        type: parallel
        branches:
          a: [{id: x, type: transform, set: {n: "{{ row.amount }}"}}]
          b: [{id: y, type: transform, set: {n: "{{ made.deep.list }}"}}]
  - {id: ask, type: human, message: "{{ each.failed }} failed", approvers: [ann], urgency: low, timeout: 7d}
  - id: look
    type: connector
    connector: stripe
    connection: test
    mode: agent
    prompt: "Look at {{ input.id }}."
    tools: [list-charges]
    model: claude
    limits: {turns: 3, cost_usd: 0.5}
    response_schema: {type: object, properties: {ok: {type: boolean}}}
  - {id: sub, type: subworkflow, workflow: ./inner.yaml, inputs: {amount: "{{ made.total }}"}, on_error: continue}
  - {id: answer, type: response, body: {word: "{{ choose.word }}", ok: "{{ look.ok }}"}, status: 201, timeout: 2.5}
"""


def test_one_of_each(check) -> None:
    """Nothing is wrong with it but what `goto` may go past."""
    assert [str(fault) for fault in check(EVERYTHING)] == [
        f"case.yaml:63:{column}: warning: {reference}: node {node!r} may not have run (on_error of 'charges' goes past "
        "it to 'answer'), and its output is null then; give this node a when: too"
        for column, reference, node in ((41, "choose.word", "choose"), (68, "look.ok", "look"))
    ]
    workflow = load_workflow(EVERYTHING)
    assert (workflow.name, workflow.description, workflow.trusted_ids) == ("everything", "One of each.", ("id",))
    assert workflow.trigger == Webhook(connection="test", events=("charge.failed", "charge.succeeded"))
    charges, note, rows, made, choose, each, ask, look, sub, answer = workflow.nodes
    assert isinstance(charges, DirectNode)
    assert charges.paging == Paging(paginate="all", max_items=1000, max_pages=20, order="any")
    assert (charges.timeout, charges.on_error, charges.type) == (300.0, Goto("answer"), "connector")
    assert charges.params.source == {"customer": "{{ input.id }}", "limit": 5}
    assert isinstance(note, DirectNode)
    assert note.policy.writes is Writes.ASK
    assert note.policy.caps is not None
    assert note.policy.caps.per_call[0].currency == "usd"
    assert note.options.source == {"stripe_account": "acct_1"}
    assert note.once is not None
    assert note.once.render({"input": {"id": "cus_1"}}, now=0, where="once") == "cus_1"
    assert isinstance(rows, SqlNode)
    assert isinstance(made, SetNode)
    assert isinstance(choose, ConditionNode)
    assert [branch.name for branch in choose.branches] == ["if", "elif 1", "else"]
    assert isinstance(each, LoopNode)
    assert (each.item, each.concurrency) == ("row", 3)
    assert isinstance(each.nodes[0], ParallelNode)
    assert [branch.name for branch in each.nodes[0].branches] == ["a", "b"]
    assert isinstance(ask, HumanNode)
    assert (ask.approvers, ask.urgency, ask.timeout) == (("ann",), "low", 604800.0)
    assert isinstance(look, AgentNode)
    assert look.limits == AgentLimits(turns=3, cost_usd=0.5)
    assert (look.tools, look.model) == (("list-charges",), "claude")
    assert isinstance(sub, SubworkflowNode)
    assert isinstance(answer, ResponseNode)
    assert (answer.status, answer.timeout) == (201, 2.5)
    assert [node.id for node in workflow.all_nodes][4:10] == ["choose", "many", "one", "none_", "each", "both"]


def test_a_workflow_is_made_again_from_its_source() -> None:
    """A run keeps the text, so that editing the file changes no run."""
    workflow = load_workflow(EVERYTHING)
    again = load_workflow(workflow.source)
    assert [node.id for node in again.all_nodes] == [node.id for node in workflow.all_nodes]
    assert again.document.positions == workflow.document.positions


def test_the_least_that_is_a_workflow() -> None:
    workflow = load_workflow("name: x\nnodes: [{id: a, type: transform, set: {n: 1}}]\n")
    assert workflow.trigger == Manual()
    assert workflow.inputs is None
    assert workflow.nodes[0].on_error == "fail"


def test_a_schedule() -> None:
    text = 'name: x\ntrigger: {type: schedule, cron: "*/5 6-8 * * mon", timezone: Europe/Berlin}\n'
    workflow = load_workflow(text + "nodes: [{id: a, type: transform, set: {n: 1}}]\n")
    assert workflow.trigger == Schedule(cron="*/5 6-8 * * mon", timezone="Europe/Berlin")


def test_an_event_is_open(check) -> None:
    """Nothing is known of a webhook's payload but what the author declares."""
    text = "name: x\ntrigger: {type: webhook, connection: test}\nnodes:\n"
    assert check(text + '  - {id: a, type: transform, set: {n: "{{ input.data.object.id }}"}}\n') == []


def test_literals_beside_templates_are_held_against_the_tool(check) -> None:
    """A template may be anything, so only what is wrong whatever it becomes is a fault."""
    text = """\
name: x
inputs: {type: object, properties: {source: {type: string}, meta: {type: object}, version: {type: string}}}
nodes:
  - id: a
    type: connector
    connector: stripe
    connection: test
    tool: create-charge
    params:
      amount: "{{ 100 + 1 }}"
      currency: "{{ 'usd' }}"
      source: "{{ input.source }}"
      capture: "{{ false }}"
      metadata: {order: "no {{ input.source }}", more: "{{ input.source }}"}
  - id: b
    type: connector
    connector: stripe
    connection: test
    tool: raw-api-request
    params:
      method: "{{ 'GET' }}"
      path: "/v1/charges/{{ a.id }}"
      params: "{{ input.meta }}"
    options: {api_version: "{{ input.version }}"}
"""
    assert check(text) == []


def test_sql_that_only_looks_odd(check) -> None:
    """Names of its own, functions, strings, comments and quoted names are no unknown nodes."""
    text = """\
name: x
nodes:
  - {id: charges, type: connector, connector: stripe, connection: test, tool: list-charges}
  - id: a
    type: transform
    sql: |
      -- from nowhere; really
      with big as (select * from "charges" where description <> 'from here; and there'),
           pairs(x, y) as (select 1, 2), kept as not materialized (select 1 as one)
      select extract(year from make_timestamp(b.created)) as year, c.id
      from big b, CHARGES c left join pairs p on p.x = 1,
           (select id from charges) d, (from kept), main.charges, range(5) r, unnest([1, 2]) u /* from elsewhere */
      where b.amount is distinct from c.amount
      order by 1;
"""
    assert check(text) == []


@pytest.mark.parametrize(
    ("given", "complete"),
    [
        ({"id": "cus_1"}, {"id": "cus_1", "n": 3, "note": None}),
        ({"id": "cus_1", "n": 4, "note": "x"}, {"id": "cus_1", "n": 4, "note": "x"}),
    ],
)
def test_inputs_are_completed(given, complete) -> None:
    """So that a declared input is always there, if only as null."""
    assert check_inputs(load_workflow(EVERYTHING), given) == complete


@pytest.mark.parametrize(
    ("given", "faults"),
    [
        ({}, ("id: missing; workflow 'everything' needs it",)),
        (
            {"di": "x", "n": "3"},
            (
                "di: unknown parameter; workflow 'everything' takes id, n, note",
                'n: "3" is text, but an integer is needed; write 3 without quotes',
                "id: missing; workflow 'everything' needs it",
            ),
        ),
        ({"id": None}, ("id: null is not allowed; leave it out or give a value",)),
    ],
)
def test_wrong_inputs(given, faults) -> None:
    with pytest.raises(InputError) as caught:
        check_inputs(load_workflow(EVERYTHING), given)
    assert caught.value.faults == faults


def test_inputs_where_none_are_declared() -> None:
    workflow = load_workflow("name: x\nnodes: [{id: a, type: transform, set: {n: 1}}]\n")
    assert check_inputs(workflow, {}) == {}
    with pytest.raises(InputError, match=r"^n: workflow 'x' declares no inputs$"):
        check_inputs(workflow, {"n": 1})


def test_a_nesting_that_yaml_itself_refuses() -> None:
    _, faults = read_workflow("[" * 3000, "f")
    assert [str(fault) for fault in faults] == ["f:1:1: not valid YAML: nested too deeply"]


def test_a_list_in_the_parameters(check) -> None:
    """Its templates are filled in too."""
    text = """\
name: x
nodes:
  - id: a
    type: connector
    connector: stripe
    connection: test
    tool: list-charges
    params: {expand: ["data.{{ 'customer' }}", "{{ 'data.refunds' }}", 5]}
"""
    assert [str(fault) for fault in check(text)] == [
        'case.yaml:8:72: expand[2]: 5 is an integer, but text is needed; write "5" in quotes'
    ]


def test_a_file_that_cant_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^can't read .*nowhere\.yaml: No such file or directory$"):
        load_workflow(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(ConfigurationError, match=r"latin\.yaml: it is no UTF-8 text$"):
        load_workflow(tmp_path / "latin.yaml")


def test_nodes_too_deep() -> None:
    inner = "[{id: a, type: transform, set: {n: 1}}]"
    for depth in range(25):
        inner = f"[{{id: l{depth}, type: loop, for_each: [1], as: i{depth}, nodes: {inner}}}]"
    _, faults = read_workflow(f"name: x\nnodes: {inner}\n", "f")
    assert [fault.message for fault in faults] == ["nodes stand more than 20 deep in each other"]


WORDS = """
name nodes id type set sql if then elif else for_each branches params tool mode agent connector loop condition parallel
transform trigger inputs on_error goto limits policy stripe test list-charges raw-api-request 5m when
"""
NAMES = st.sampled_from([*WORDS.split(), "{{ a.b }}", "{{ a", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=25,
)
NODES = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from("abc"),
            "type": st.sampled_from(
                ["connector", "transform", "condition", "loop", "parallel", "human", "subworkflow", "response"]
            ),
        },
        optional={
            name: VALUES
            for name in (
                "set",
                "sql",
                "if",
                "then",
                "elif",
                "else",
                "nodes",
                "branches",
                "for_each",
                "params",
                "options",
            )
        }
        | {"tool": NAMES, "connector": NAMES, "connection": NAMES, "mode": NAMES, "on_error": VALUES, "policy": VALUES}
        | {"message": VALUES, "workflow": NAMES, "body": VALUES, "when": VALUES, "timeout": VALUES, "limits": VALUES},
    ),
    max_size=4,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.fixed_dictionaries({"name": st.just("x"), "nodes": NODES}, optional={"trigger": VALUES, "inputs": VALUES})
)
def test_any_file_is_checked_without_a_crash(data, connectors, tmp_path: Path) -> None:
    text = json.dumps(data)
    workflow, faults = read_workflow(text, str(tmp_path / "f.yaml"))
    more = check_workflow(workflow, connectors) if workflow is not None else ()
    for fault in (*faults, *more):
        assert fault.line == 1
        assert "\n" not in str(fault)

"""A workflow as a picture."""

from __future__ import annotations

from spojit_stripe.workflow import load_workflow, mermaid


def test_every_kind_of_node_and_arrow() -> None:
    text = """\
name: x
trigger: {type: schedule, cron: "0 6 * * *", timezone: Europe/Berlin}
inputs: {type: object, properties: {rows: {type: array}}}
nodes:
  - id: charges
    type: connector
    connector: stripe
    connection: test
    tool: list-charges
    on_error: {goto: end}
  - id: choose
    type: condition
    if: '{{ charges.data | length > 1 and "<b>" == "#" }}'
    then: [{id: a, type: transform, set: {n: 1}}, {id: b, type: transform, sql: select 1}]
    else: [{id: c, type: response, body: 1}]
  - id: each
    type: loop
    for_each: "{{ input.rows }}"
    as: row
    nodes:
      - id: pay
        type: connector
        connector: stripe
        connection: test
        tool: raw-api-request
        params: {method: POST, path: /v1/refunds}
        on_error: {goto: noted}
      - {id: noted, type: transform, set: {n: 1}}
  - id: both
    type: parallel
    branches:
      one: [{id: d, type: human, message: ok}]
      two: [{id: e, type: subworkflow, workflow: ./inner.yaml}]
  - id: look
    type: connector
    connector: stripe
    connection: test
    mode: agent
    prompt: x
    tools: [list-charges, get-customer]
    when: "{{ each.failed > 0 }}"
  - {id: early, type: response, body: 1, when: "{{ each.failed > 0 }}"}
  - {id: end, type: response, body: 1}
"""
    assert (
        mermaid(load_workflow(text))
        == """\
flowchart TD
    start_(("0 6 * * * Europe/Berlin"))
    n_charges["charges: list-charges"]
    n_charges --> n_choose
    n_charges -. "on error" .-> n_end
    n_choose{"choose: condition"}
    subgraph n_choose_if_["if"]
        n_a[/"a: transform"/]
        n_a --> n_b
        n_b[/"b: sql"/]
    end
    n_choose -- "{{ charges.data | length #gt; 1 and #quot;#lt;b#gt;#quot; == #quot;#35;#quot; }}" --> n_a
    subgraph n_choose_else_["else"]
        n_c(["c: response"])
    end
    n_choose -- "else" --> n_c
    n_choose --> n_each
    n_each[["each: for each of {{ input.rows }}"]]
    subgraph n_each_row_["for each row"]
        n_pay["pay: raw-api-request: POST /v1/refunds"]
        n_pay --> n_noted
        n_pay -. "on error" .-> n_noted
        n_noted[/"noted: transform"/]
    end
    n_each --> n_pay
    n_each --> n_both
    n_both[["both: parallel"]]
    subgraph n_both_one_["one"]
        n_d{{"d: human"}}
    end
    n_both -- "one" --> n_d
    subgraph n_both_two_["two"]
        n_e[["e: ./inner.yaml"]]
    end
    n_both -- "two" --> n_e
    n_both --> n_look
    n_look["look: agent: list-charges, get-customer, when {{ each.faile…"]
    n_look --> n_early
    n_early(["early: response, when {{ each.failed #gt; 0 }}"])
    n_early -. "skipped" .-> n_end
    n_end(["end: response"])
    start_ --> n_charges
    end_(("end"))"""
    )


def test_triggers() -> None:
    nodes = "nodes: [{id: a, type: transform, set: {n: 1}}]\n"
    for trigger, shown in (
        ("{type: manual}", "manual"),
        ("{type: webhook, connection: t}", "any event"),
        ("{type: webhook, connection: t, events: [a.b, c.d]}", "a.b, c.d"),
    ):
        assert f'start_(("{shown}"))' in mermaid(load_workflow(f"name: x\ntrigger: {trigger}\n{nodes}"))

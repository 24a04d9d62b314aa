"""Time in a run: its own clock, and what `timeout` ends and what it does not."""

from __future__ import annotations

import asyncio

from spojit_stripe.testing import FakeClock

READ = "type: connector, connector: fake, connection: till, tool: list-payments"
PAY = "type: connector, connector: fake, connection: till, tool: make-payment"


def test_a_read_ends_in_its_time(stage) -> None:
    async def hang(sent) -> None:
        await asyncio.Event().wait()

    stage.till.before = hang
    text = f"""\
name: slow
nodes:
  - {{id: read, {READ}, timeout: 1s, on_error: continue}}
  - {{id: out, type: transform, set: {{why: "{{{{ errors.read.message }}}}", kind: "{{{{ errors.read.error }}}}"}}}}
"""
    ended = stage.play(text)
    assert ended["value"] == {
        "why": "list-payments did not end in 1 s, and nothing took effect",
        "kind": "UnavailableError",
    }


def test_a_write_that_was_sent_outlives_the_timeout(stage) -> None:
    """It is told by its ledger row: what was answered after the time is done all the same."""

    async def slow(sent) -> None:
        await asyncio.sleep(1.2)

    stage.till.before = slow
    ended = stage.play(f"name: w\nnodes: [{{id: pay, {PAY}, timeout: 1s, params: {{amount: 5, currency: usd}}}}]\n")
    assert ended["nodes"] == {"pay": "done"}
    assert ended["value"]["id"] == "pay_1"
    assert [(entry.state.value, entry.attempts) for entry in stage.writes()] == [("done", 1)]


def test_no_node_is_begun_when_the_time_around_it_is_over(stage) -> None:
    """The loop's time is that of all its items; a condition's, a parallel's and a subworkflow's likewise."""
    clock = FakeClock()

    async def later(sent) -> None:
        clock.advance(40)

    stage.till.before = later
    inner = f"name: inner\nnodes:\n  - {{id: x, {READ}}}\n  - {{id: y, {READ}}}\n"
    text = f"""\
name: around
nodes:
  - {{id: loop, type: loop, timeout: 1m, for_each: [1, 2, 3], nodes: [{{id: a, {READ}}}], on_error: continue}}
  - id: cond
    type: condition
    timeout: 30s
    on_error: continue
    if: true
    then: [{{id: b, {READ}}}, {{id: c, {READ}}}]
  - {{id: sub, type: subworkflow, timeout: 30s, workflow: inner.yaml, on_error: continue}}
  - id: both
    type: parallel
    timeout: 30s
    on_error: continue
    branches: {{one: [{{id: d, {READ}}}, {{id: e, {READ}}}], two: [{{id: f, type: transform, set: {{n: 1}}}}]}}
  - {{id: after, {READ}}}
  - {{id: out, type: transform, set: {{messages: "{{{{ errors | values | map('message') | unique }}}}"}}}}
"""
    ended = stage.play(text, clock=clock, inner=inner)
    assert ended["value"] == {"messages": ["the time of the nodes around it is over, so it was not begun"]}
    nodes = ended["nodes"]
    assert (nodes["loop[0]/a"], nodes["loop[1]/a"], nodes["loop[2]/a"]) == ("done", "done", "failed")
    assert (nodes["cond/b"], nodes["cond/c"], nodes["sub/x"], nodes["sub/y"]) == ("done", "failed", "done", "failed")
    assert (nodes["both.one/d"], nodes["both.one/e"]) == ("done", "failed")
    assert nodes["after"] == "done"
    assert ended["exceptions"] == 4


def test_the_runs_clock_stands_still_and_is_not_this_machines(stage) -> None:
    """So a run that is resumed tomorrow still speaks of the same yesterday."""
    clock = FakeClock(1_790_000_000)

    async def later(sent) -> None:
        clock.advance(86_400)

    stage.till.before = later
    text = f"""\
name: clock
nodes:
  - id: first
    type: transform
    set: {{now: "{{{{ now() }}}}", day: "{{{{ yesterday('Europe/Berlin') | to_iso('Europe/Berlin') }}}}"}}
  - {{id: read, {READ}}}
  - {{id: second, type: transform, set: {{now: "{{{{ now() }}}}", began: "{{{{ run.started_at }}}}"}}}}
  - {{id: out, type: transform, set: {{first: "{{{{ first }}}}", second: "{{{{ second }}}}"}}}}
"""
    assert stage.play(text, clock=clock)["value"] == {
        "first": {"now": 1_790_000_000, "day": "2026-09-20T00:00:00+02:00"},
        "second": {"now": 1_790_000_000, "began": 1_790_000_000},
    }

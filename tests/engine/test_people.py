"""Runs that wait for people: questions, calls that ask, and plans."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from dbos._sys_db import SystemDatabase

from spojit_stripe.engine import Embedded
from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.host import Host
from spojit_stripe.records import RunState

PAY = "type: connector, connector: fake, tool: make-payment"


def test_a_question_waits_for_days_and_gives_who_when_and_why(stage) -> None:
    """The run ends its process; the decision is read from its record when it is resumed."""
    text = """\
name: asked
nodes:
  - id: ask
    type: human
    message: "Pay {{ 500 | money('usd') }}?\\nSoon."
    approvers: [finance]
    urgency: high
    timeout: 3d
  - {id: again, type: human, message: "Sure?", when: "{{ ask.approved }}"}
  - {id: out, type: transform, set: {ask: "{{ ask }}", again: "{{ again.approved }}"}}
"""
    run = stage.start(text)
    assert (run.state, stage.nodes()) == (RunState.WAITING, {"ask": "waiting"})
    (asked,) = stage.host.records.approvals.list()
    assert (asked.kind, asked.reason, asked.run_id) == ("human", "Pay 5.00 USD?", "run-1")
    assert asked.preview == {
        "message": "Pay 5.00 USD?\nSoon.",
        "node": "ask",
        "approvers": ["finance"],
        "urgency": "high",
    }
    assert 3 * 86_400 - 60 < asked.expires - asked.requested <= 3 * 86_400
    assert [wait.topic for wait in stage.host.records.runs.waits(run_id="run-1")] == [f"approval:{asked.id}"]
    assert stage.resume().state is RunState.WAITING, "nobody has decided"
    stage.decide("approved", "fine", who="ann as finance")
    assert stage.resume().state is RunState.WAITING
    stage.decide("rejected", "not now", who="bob")
    done = stage.resume()
    at = done.output["value"]["ask"].pop("at")
    assert abs(at - asked.requested) < 60
    assert done.output["value"] == {
        "ask": {"approved": True, "by": "ann as finance", "reason": "fine"},
        "again": False,
    }
    assert stage.host.records.runs.waits(run_id="run-1") == []


def test_a_decision_that_comes_before_the_wait_and_one_that_wakes_a_waiting_process(stage, seen) -> None:
    """Both go on in the same process; a message alone decides nothing."""
    decided: list[str] = []

    def decide(path: str, kind: str, facts: dict[str, Any]) -> None:
        approval = facts["approval_id"]
        decided.append(path)
        if path == "early":  # before it waits
            stage.host.records.approvals.decide(approval, "approved", who="ann")
        else:
            threading.Thread(target=eventually, args=[lambda: _waits(stage), stage.decide]).start()

    seen.on_event = decide
    text = """\
name: live
nodes:
  - {id: early, type: human, message: "Early?"}
  - {id: late, type: human, message: "Late?"}
  - {id: out, type: transform, set: {early: "{{ early.by }}", late: "{{ late.approved }}"}}
"""
    run = stage.start(text, listener=seen, wait=True)
    assert (run.state, run.output["value"]) == (RunState.DONE, {"early": "ann", "late": True})
    assert decided == ["early", "late"]


def _waits(stage) -> bool:
    run = stage.host.records.runs.get("run-1")
    pending = stage.host.records.approvals.list(state="pending")
    return run.state is RunState.WAITING and len(pending) == 1


def eventually(ready: Callable[[], bool], then: Callable[[], object]) -> None:
    pause = threading.Event()
    while not ready():
        pause.wait(0.02)
    then()


def test_a_question_that_nobody_answers_in_time_fails_and_is_asked_anew(stage) -> None:
    """Inside a composite whose time it is: the resume gives new time."""
    text = """\
name: expiring
nodes:
  - {id: c, type: condition, if: true, timeout: 1s, then: [{id: ask, type: human, message: "Now?"}]}
"""
    run = stage.start(text, wait=True)
    assert run.state is RunState.FAILED
    (asked,) = stage.host.records.approvals.list()
    assert stage.error(run) == f"nobody decided {asked.id} in time; resume the run to ask again"
    # From then on, or a late yes would be taken and lost.
    with pytest.raises(InputError, match=f"approval {asked.id} is expired already"):
        stage.host.records.approvals.decide(asked.id, "approved", who="ann")
    assert stage.resume().state is RunState.WAITING
    (anew,) = stage.host.records.approvals.list()
    assert (anew.id, anew.state) == (asked.id, "pending")


def test_calls_that_ask_inside_a_loop(stage, seen) -> None:
    """Each item waits for its own approval, bound to its own call; a rejected one can be gone on after."""
    text = """\
name: asking
nodes:
  - id: all
    type: loop
    for_each: [5, 6, 7]
    as: amount
    concurrency: 3
    nodes:
      - id: pay
        on_error: continue
        type: connector
        connector: fake
        tool: make-payment
        connection: asking
        params: {amount: "{{ amount }}", currency: usd}
"""
    run = stage.start(text, listener=seen)
    assert run.state is RunState.WAITING
    approvals = {one.preview["params"]["amount"]: one for one in stage.host.records.approvals.list()}
    assert [one.state for one in approvals.values()] == ["pending"] * 3
    assert stage.till.sent == []
    assert {path for path, kind, _ in seen.events if kind == "waiting"} == {f"all[{n}]/pay" for n in range(3)}
    decide = stage.host.records.approvals.decide
    decide(approvals[6].id, "rejected", who="ann", note="too much")
    decide(approvals[7].id, "approved", who="ann")
    assert stage.resume().state is RunState.WAITING, "one is left"
    assert stage.till.amounts == [7]
    decide(approvals[5].id, "approved", who="ann")
    done = stage.resume()
    results = done.output["value"]["results"]
    assert [one and one["amount"] for one in results] == [5, None, 7]
    assert (done.exceptions, done.output["value"]["failed"]) == (1, 1)
    assert stage.nodes()["all[1]/pay"] == "continued"
    assert [entry.amount for entry in stage.writes()] == [7, 5]


PLAN = f"""\
name: plan
inputs: {{type: object, properties: {{amounts: {{type: array}}}}, required: [amounts]}}
nodes:
  - id: all
    type: loop
    for_each: "{{{{ input.amounts }}}}"
    as: amount
    concurrency: 2
    nodes:
      - {{id: pay, {PAY}, connection: planning, params: {{amount: "{{{{ amount }}}}", currency: usd}}}}
  - {{id: more, {PAY}, connection: planning, params: {{amount: 9, currency: usd}}}}
  - {{id: out, type: response, status: 202, body: {{planned: "{{{{ all.count + 1 }}}}"}}}}
"""


def test_a_plan_is_approved_once_and_carried_out_in_its_order(stage) -> None:
    run = stage.start(PLAN, {"amounts": [5, 6]})
    assert run.state is RunState.WAITING
    assert stage.till.sent == []
    approvals = stage.host.records.approvals
    (pending,) = approvals.list(state="pending")
    assert (pending.kind, sorted(call["params"]["amount"] for call in pending.preview["calls"])) == ("plan", [5, 6, 9])
    stage.decide()
    done = stage.resume()
    assert done.output["status"] == 202
    assert done.output["value"]["output"] == {"planned": 3}
    executed = done.output["value"]["executed"]
    assert [one["number"] for one in executed] == [1, 2, 3]
    assert [one["id"] for one in executed] == ["pay_1", "pay_2", "pay_3"]
    assert stage.till.amounts == [call["params"]["amount"] for call in pending.preview["calls"]]
    assert {one.state for one in approvals.list()} == {"used", "superseded"}
    assert [path for path in stage.nodes() if path.startswith("plan/")] == [
        f"plan/{number} make-payment" for number in (1, 2, 3)
    ]


def test_a_plan_stops_at_the_first_call_that_fails(stage) -> None:
    stage.start(PLAN.replace("concurrency: 2", "concurrency: 1"), {"amounts": [5, 13]})
    stage.decide()
    failed = stage.resume()
    assert (failed.state, failed.error["node"], stage.error(failed)) == (
        RunState.FAILED,
        "plan",
        "the card was declined",
    )
    assert stage.till.amounts == [5]
    assert [entry.amount for entry in stage.writes()] == [5, 13]
    stage.till.mended = True
    assert stage.resume().state is RunState.WAITING, "a new attempt is a new call, which nobody has approved"
    assert stage.till.amounts == [5]
    (pending,) = stage.host.records.approvals.list(state="pending")
    assert [call["params"]["amount"] for call in pending.preview["calls"]] == [5, 13, 9]
    stage.decide()
    done = stage.resume()
    assert [one["number"] for one in done.output["value"]["executed"]] == [1, 2, 3]
    assert stage.till.amounts == [5, 13, 9]
    assert [entry.amount for entry in stage.writes()] == [5, 13, 13, 9]


def test_a_plan_that_is_rejected_sends_nothing(stage) -> None:
    stage.start(PLAN, {"amounts": [5]})
    stage.decide("rejected")
    failed = stage.resume()
    why = "the plan of run run-1 was rejected; that is final for this run"
    assert (failed.state, stage.error(failed)) == (RunState.FAILED, why)
    assert stage.till.sent == []


@pytest.mark.parametrize("late", ["recv_setup", "recv_consume", "record_sleep"])
def test_a_run_that_was_sent_for_goes_on_however_late_it_hears_of_it(stage, monkeypatch, late) -> None:
    """A slow disk is no reason to say that a run still waits."""
    real = getattr(SystemDatabase, late)

    def slow(*arguments: Any, **more: Any) -> Any:
        time.sleep(1)
        found = real(*arguments, **more)
        time.sleep(1)
        return found

    monkeypatch.setattr(SystemDatabase, late, slow)
    text = "name: asked\nnodes: [{id: ask, type: human, message: Go on}]\n"
    assert stage.start(text).state is RunState.WAITING
    stage.decide()
    assert stage.resume().state is RunState.DONE


def test_a_time_that_was_up_while_nobody_ran_is_heard_of(stage, monkeypatch) -> None:
    text = "name: asked\nnodes: [{id: ask, type: human, message: Go on, timeout: 2s}]\n"
    assert stage.start(text).state is RunState.WAITING
    real = SystemDatabase.recv_consume

    def slow(*arguments: Any, **more: Any) -> Any:
        time.sleep(1)
        return real(*arguments, **more)

    monkeypatch.setattr(SystemDatabase, "recv_consume", slow)
    time.sleep(2)
    assert stage.resume().state is RunState.FAILED


def test_an_approval_of_a_call_that_was_declined_is_not_one_of_its_next_attempt(stage) -> None:
    """The digest covers the key, and with it the generation."""
    text = f"name: again\nnodes: [{{id: pay, {PAY}, connection: asking, params: {{amount: 13, currency: usd}}}}]\n"
    assert stage.start(text).state is RunState.WAITING
    first = stage.decide()
    assert stage.error(stage.resume()) == "the card was declined"
    stage.till.mended = True
    assert stage.resume().state is RunState.WAITING
    assert stage.till.amounts == []
    assert stage.decide() != first
    assert stage.resume().state is RunState.DONE
    assert stage.till.amounts == [13]


def test_a_planned_call_that_changed_before_it_was_carried_out_takes_its_own_place(stage) -> None:
    """The rest of a payment is 100 when it is planned and 70 when it is to be given back: one call, approved anew."""
    text = f"""\
name: rest
nodes:
  - {{id: made, {PAY}, connection: till, params: {{amount: 100, currency: usd}}}}
  - id: back
    type: connector
    connector: fake
    connection: planning
    tool: give-back
    params: {{payment: "{{{{ made.id }}}}"}}
"""
    assert stage.start(text).state is RunState.WAITING
    stage.decide()
    for payment in stage.till.paid.values():
        payment["amount"] = 70
    assert stage.resume().state is RunState.WAITING
    (pending,) = stage.host.records.approvals.list(state="pending")
    assert [call["amount"]["amount"] for call in pending.preview["calls"]] == [70]
    stage.decide()
    assert stage.resume().state is RunState.DONE
    assert [entry.amount for entry in stage.writes()] == [100, 70]


def test_a_planned_call_that_once_answers_holds_up_nothing(stage) -> None:
    text = """\
name: orders
inputs: {type: object, properties: {orders: {type: array}}, required: [orders]}
nodes:
  - id: all
    type: loop
    for_each: "{{ input.orders }}"
    as: order
    nodes:
      - id: pay
        type: connector
        connector: fake
        connection: planning
        tool: make-payment
        once: "{{ order.id }}"
        params: {amount: "{{ order.n }}", currency: usd}
"""
    orders = [{"id": "a", "n": 1}, {"id": "a", "n": 1}, {"id": "b", "n": 2}]
    assert stage.start(text, {"orders": orders}).state is RunState.WAITING
    stage.decide()
    done = stage.resume()
    assert done.state is RunState.DONE, done.error
    assert stage.till.amounts == [1, 2]


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("account", "acct_other0000001", "test mode, account acct_other0000001, the default host"),
        ("base_url", "http://127.0.0.1:9", "test mode, the key's own account, http://127.0.0.1:9"),
    ],
)
def test_a_run_does_not_go_on_where_its_connection_leads_elsewhere(stage, field: str, value: str, told: str) -> None:
    text = f"""\
name: moved
nodes:
  - {{id: first, {PAY}, connection: till, params: {{amount: 7, currency: usd}}}}
  - {{id: ask, type: human, message: "Go on?"}}
  - {{id: second, {PAY}, connection: till, params: {{amount: 8, currency: usd}}}}
"""
    assert stage.start(text).state is RunState.WAITING
    stage.decide()
    file = stage.folder / "connections.yaml"
    before = file.read_text()
    file.write_text(before.replace("till: {", f"till: {{{field}: '{value}', ", 1))
    elsewhere = Host(connections=file, state=stage.folder / "state", plugins=[stage.extras])
    with pytest.raises(ConfigurationError, match=r"connection .till. leads elsewhere than when run run-1") as found:
        Embedded(elsewhere).resume("run-1")
    assert told in found.value.message
    assert "instead of test mode, the key's own account, the default host" in found.value.message
    assert stage.till.amounts == [7]
    file.write_text(before)
    assert stage.resume().state is RunState.DONE
    assert stage.till.amounts == [7, 8]

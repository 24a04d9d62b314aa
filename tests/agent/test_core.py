"""What Direct Mode and the records know of agents, at `run_tool` and without a model."""

from __future__ import annotations

import subprocess
import sys

import pytest

from spojit_stripe.agent.journal import JournalSteps
from spojit_stripe.errors import (
    AccessError,
    ConfigurationError,
    DeclinedError,
    InputError,
    OutcomeUnknownError,
    Problem,
    RefusedError,
    UnavailableError,
)
from spojit_stripe.records import State
from spojit_stripe.values import Done, Failed, Paused, Planned, Position, ToolCall

CAPS = {"per_call": {"amount": 5_000, "currency": "usd"}}
ALLOW = {"writes": "allow", "caps": CAPS}


def at(ordinal, node="story"):
    return Position(run_id="run_1", node=node, ordinal=ordinal)


def refund(payment="pay_1", amount=500, **more):
    params = {"method": "POST", "path": "/v1/refunds", "params": {"payment": payment, "amount": amount}}
    return ToolCall(tool="raw-request", params=params, **more)


def pay(amount=500, **more):
    return ToolCall(tool="make-payment", params={"amount": amount, "currency": "usd"}, **more)


@pytest.fixture
def run(bench):
    def go(call, ordinal, node="story", policy=ALLOW, **more):
        return bench.run(call, at=at(ordinal, node), session=bench.session(by_agent=True, policy=policy), **more)

    return go


def test_a_repeat_gets_the_recorded_outcome(run, wire, bench):
    wire.will("POST /v1/refunds", {"id": "re_1"})
    first, again = run(refund(), 1), run(refund(), 2)
    assert isinstance(again, Done)
    assert again.value == first.value
    assert again.meta.repeat_of == first.meta.ledger_id
    assert again.meta.to_json()["repeat_of"] == first.meta.ledger_id
    assert len(bench.entries()) == 1


def test_a_repeat_is_known_by_target_and_amount_not_by_its_words(run, wire):
    wire.will("POST /v1/refunds", {"id": "re_1"})
    run(refund(), 1)
    other = refund()
    other = ToolCall(
        tool=other.tool, params={**other.params, "params": {"payment": "pay_1", "amount": 500, "metadata": {"n": "2"}}}
    )
    assert run(other, 2).meta.repeat_of is not None


@pytest.mark.parametrize("call", [refund(amount=501), refund(payment="pay_2")])
def test_another_amount_or_target_is_another_call(run, wire, call):
    wire.will("POST /v1/refunds", {"id": "re_1"}, {"id": "re_2"})
    run(refund(), 1)
    assert run(call, 2).meta.repeat_of is None


def test_another_node_is_another_agent(run, wire):
    wire.will("POST /v1/refunds", {"id": "re_1"}, {"id": "re_2"})
    run(refund(), 1)
    assert run(refund(), 1, node="other").meta.repeat_of is None


def test_a_person_may_repeat_what_an_agent_may_not(wire, bench):
    wire.will("POST /v1/refunds", {"id": "re_1"}, {"id": "re_2"})
    for ordinal in (1, 2):
        assert bench.run(refund(), at=at(ordinal)).meta.repeat_of is None


def test_a_repeat_of_a_failure_is_told_as_one(run, wire):
    wire.will("POST /v1/refunds", DeclinedError("no", Problem(code="card_declined")))
    run(refund(), 1)
    again = run(refund(), 2)
    assert isinstance(again, Failed)
    assert isinstance(again.error, DeclinedError)
    assert again.meta.repeat_of is not None


def test_a_repeat_of_an_unknown_outcome_is_unknown(run, wire):
    wire.will("POST /v1/refunds", OutcomeUnknownError("lost"))
    run(refund(), 1)
    again = run(refund(), 2)
    assert isinstance(again.error, OutcomeUnknownError)
    assert "settle it first" in again.error.message


def test_what_certainly_never_took_effect_may_be_made_anew(run, wire):
    wire.will("POST /v1/refunds", UnavailableError("down"), {"id": "re_1"})
    run(refund(), 1)
    assert run(refund(), 2).value == {"id": "re_1"}


def test_an_intended_repeat_asks_even_where_all_is_allowed(run, wire, bench):
    wire.will("POST /v1/refunds", {"id": "re_1"}, {"id": "re_2"})
    run(refund(), 1)
    call = refund(intent="overcharged twice", context={"so_far": "one refund"})
    paused = run(call, 2)
    assert isinstance(paused, Paused)
    assert 'on purpose: "overcharged twice"' in paused.reason
    assert paused.preview.context == {"amount": "5.00 USD", "so_far": "one refund"}
    assert bench.records.approvals.get(paused.approval_id).preview["context"]["amount"] == "5.00 USD"
    bench.records.approvals.decide(paused.approval_id, "approved", who="ann")
    assert run(call, 2).value == {"id": "re_2"}


def test_a_doubt_asks_whatever_is_allowed(run):
    paused = run(pay(doubt="it looks odd"), 1)
    assert isinstance(paused, Paused)
    assert paused.reason == "it looks odd"


def test_a_doubt_widens_nothing(run):
    refused = run(pay(doubt="it looks odd"), 1, policy={"writes": "deny"})
    assert isinstance(refused.error, RefusedError)


def test_an_agent_moves_money_unattended_only_under_caps(run, bench, wire):
    assert isinstance(run(pay(), 1, policy={"writes": "allow"}), Paused)
    wire.will("POST /v1/payments", {"id": "pay_9"})
    assert isinstance(bench.run(pay(), at="by_hand"), Done)


def test_a_rejected_call_is_not_asked_again(run, bench):
    ask = {"writes": "ask"}
    paused = run(refund(), 1, policy=ask)
    bench.records.approvals.decide(paused.approval_id, "rejected", who="ann")
    assert "ann rejected the call" in run(refund(), 1, policy=ask).error.message
    again = run(refund(intent="please"), 2, policy=ask)
    assert isinstance(again.error, RefusedError)
    assert "rejected this call already" in again.error.message
    assert isinstance(run(refund(amount=1), 3, policy=ask), Paused)


def test_a_call_stands_in_a_plan_once_unless_intended(run):
    plan = {"writes": "plan"}
    first = run(refund(), 1, policy=plan)
    assert isinstance(first, Planned)
    assert "call 1 of the plan already" in run(refund(), 2, policy=plan).error.message
    assert run(refund(intent="twice"), 3, policy=plan).number == 2
    assert run(refund(), 1, policy=plan).number == 1


def test_an_intended_double_in_a_plan_does_not_block_the_first(run, bench, wire):
    plan = {"writes": "plan"}
    run(refund(), 1, policy=plan)
    second = run(refund(intent="twice"), 2, policy=plan)
    bench.records.approvals.decide(bench.records.approvals.of_plan(second.digest).id, "approved", who="ann")
    wire.will("POST /v1/refunds", {"id": "re_1"}, {"id": "re_2"})
    assert run(refund(), 1, policy=plan).value == {"id": "re_1"}
    assert run(refund(intent="twice"), 2, policy=plan).value == {"id": "re_2"}


def test_a_plan_without_calls_has_no_approval(bench):
    with pytest.raises(InputError, match="no such plan"):
        bench.records.approvals.of_plan("0" * 64)


@pytest.mark.parametrize("kind", [AccessError, DeclinedError, UnavailableError])
def test_what_the_service_holds_for_its_own_approval_is_unknown_and_never_replayed(run, bench, wire, kind):
    wire.will("POST /v1/refunds", kind("held", Problem(code="approval_required", status=403)))
    held = run(refund(), 1)
    assert isinstance(held.error, OutcomeUnknownError)
    assert "never sent again" in held.error.message
    assert bench.entries()[0].state is State.UNKNOWN
    wire.will_find(None)
    again = run(refund(), 1)
    assert isinstance(again.error, OutcomeUnknownError)
    assert "holds it for an approval of its own" in again.error.message
    wire.will_find({"id": "re_1"})
    assert run(refund(), 1).value == {"id": "re_1"}
    assert len(wire.writes) == 1


# The journal of the command line


def journal(folder, question="q", clock=lambda: 1_790_000_000.0):
    async def pause(topic, seconds):
        return "decided"

    return JournalSteps(folder, "run/1", {"question": question}, pause=pause, clock=clock)


def steps_of(folder, count, done):
    import asyncio

    async def work(number):
        done.append(number)
        return {"number": number}

    async def go(steps):
        found = [await steps.step(f"step {number}", lambda number=number: work(number)) for number in range(count)]
        return [*found, await steps.now(), await steps.wait("t", timeout=1)]

    with journal(folder) as steps:
        return asyncio.run(go(steps)), steps


def test_a_journal_gives_what_was_done_and_does_the_rest(tmp_path):
    done: list[int] = []
    first, _ = steps_of(tmp_path, 3, done)
    again, steps = steps_of(tmp_path, 3, done)
    assert again == first
    assert done == [0, 1, 2]
    assert (steps.replayed, steps.place, steps.run_id) == (5, 5, "run/1")


def test_a_half_written_record_is_done_again(tmp_path):
    done: list[int] = []
    steps_of(tmp_path, 2, done)
    (file,) = (tmp_path / "agents").iterdir()
    file.write_bytes(file.read_bytes()[:-10])
    steps_of(tmp_path, 2, done)
    assert done == [0, 1]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_rewound_step_is_done_again(tmp_path):
    done: list[int] = []
    steps_of(tmp_path, 2, done)
    with journal(tmp_path) as steps:
        steps.rewind(1)
    steps_of(tmp_path, 2, done)
    assert done == [0, 1, 1]


def test_a_run_id_belongs_to_one_question(tmp_path):
    with journal(tmp_path):
        pass
    with pytest.raises(InputError, match="another question"), journal(tmp_path, "other"):
        pass


def test_a_run_is_under_way_in_one_process_only(tmp_path):
    with journal(tmp_path), pytest.raises(InputError, match="under way"), journal(tmp_path):
        pass


def test_a_damaged_journal_says_so(tmp_path):
    with journal(tmp_path):
        pass
    (file,) = (tmp_path / "agents").iterdir()
    file.write_text("{nonsense\n")
    with pytest.raises(ConfigurationError, match="damaged"), journal(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "agents").write_text("")
    with pytest.raises(ConfigurationError, match="choose another folder"), journal(tmp_path):
        pass


# Spans

_SPANS = """
from opentelemetry import trace

class Tracer(trace.NoOpTracer):
    def start_as_current_span(self, name, **more):
        print(name, dict(more["attributes"]))
        return super().start_as_current_span(name)

class Provider(trace.NoOpTracerProvider):
    def get_tracer(self, *args, **more):
        return Tracer()

trace.set_tracer_provider(Provider())
from spojit_stripe.agent.spans import span
with span("invoke_agent", "story", {"gen_ai.request.model": "m"}):
    with span("execute_tool", "list-charges", {"gen_ai.tool.name": "list-charges"}):
        pass
"""


def test_spans_are_made_where_a_provider_is_configured():
    ran = subprocess.run([sys.executable, "-c", _SPANS], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "invoke_agent story {'gen_ai.operation.name': 'invoke_agent', 'gen_ai.request.model': 'm'}",
        "execute_tool list-charges {'gen_ai.operation.name': 'execute_tool', 'gen_ai.tool.name': 'list-charges'}",
    ]


def test_the_command_line_starts_without_the_models_package():
    look = "sys.exit(bool({'anthropic', 'duckdb'} & {*sys.modules}))"
    code = f"import sys, spojit_stripe.cli.agent, spojit_stripe.agent; {look}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

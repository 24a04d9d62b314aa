"""One call as steps: what is recorded of it, pauses, and time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from spojit_stripe.calling import Reply, approval_topic, call_in_steps
from spojit_stripe.errors import DeclinedError, InputError, OutcomeUnknownError, Problem
from spojit_stripe.steps import InProcessSteps
from spojit_stripe.testing import FakeWire, Workbench
from spojit_stripe.testing.fake_wire import Sent
from spojit_stripe.values import Position, ToolCall

PAY = ToolCall(tool="make-payment", params={"amount": 5, "currency": "usd"})
AT = Position(run_id="run-1", node="pay", indexes=(3,))


class Noted(InProcessSteps):
    """Steps that keep what they recorded; `on_wait` may answer."""

    def __init__(self, clock: Any, on_wait: Any = None) -> None:
        super().__init__("run-1", clock=clock)
        self.recorded: list[tuple[str, Any]] = []
        self.waits: list[tuple[str, float | None]] = []
        self._on_wait = on_wait

    async def step(self, name: str, work: Any) -> Any:
        found = await super().step(name, work)
        self.recorded.append((name, found))
        return found

    async def wait(self, topic: str, *, timeout: float | None) -> Any:
        self.waits.append((topic, timeout))
        return self._on_wait(topic) if self._on_wait is not None else None


def call(bench: Workbench, steps: Noted, what: ToolCall = PAY, *, policy: str = "allow", **more: Any) -> Reply:
    async def work() -> Reply:
        async with bench.session(policy={"writes": policy}) as session:
            return await call_in_steps(what, at=AT, session=session, steps=steps, name="pay", **more)

    return asyncio.run(work())


def test_a_call_is_one_step_whose_record_holds_no_secret(bench: Workbench, wire: FakeWire) -> None:
    wire.will("POST /v1/payments", {"id": "pay_1", "client_secret": "pi_1_secret_2"})
    steps = Noted(bench.clock)
    reply = call(bench, steps)
    assert (reply.kind, reply.value["id"]) == ("done", "pay_1")
    ((name, record),) = steps.recorded
    assert (name, Reply.of_json(record)) == ("pay", reply)
    assert "pi_1_secret_2" not in str(record)
    assert record["meta"]["idempotency_key"] == wire.keys[0]


def test_an_error_is_recorded_as_data_and_is_the_same_error_again(bench: Workbench, wire: FakeWire) -> None:
    declined = DeclinedError("no funds", Problem(code="card_declined", decline_code="insufficient_funds", status=402))
    wire.will("POST /v1/payments", declined)
    steps = Noted(bench.clock)
    call(bench, steps)
    again = Reply.of_json(steps.recorded[0][1]).error
    assert isinstance(again, DeclinedError)
    assert (again.message, again.problem) == (declined.message, declined.problem)


def test_a_pause_waits_until_the_approval_expires_and_reads_the_decision_from_its_record(
    bench: Workbench, wire: FakeWire
) -> None:
    """A message that lies wakes only: the call is asked about again."""
    answers: list[str] = ["", "approved"]
    heard: list[tuple[str, str]] = []

    def on_wait(topic: str) -> Any:
        approval = topic.removeprefix(approval_topic(""))
        if answers.pop(0) == "approved":
            bench.records.approvals.decide(approval, "approved", who="ann")
            wire.will("POST /v1/payments", {"id": "pay_1"})
        return {"decision": "approved"}

    steps = Noted(bench.clock, on_wait)
    reply = call(bench, steps, policy="ask", tell=lambda kind, facts: heard.append((kind, facts["approval_id"])))
    assert (reply.kind, reply.value["id"]) == ("done", "pay_1")
    (approval,) = bench.records.approvals.list()
    assert steps.waits == [(approval_topic(approval.id), float(approval.expires - bench.clock()))] * 2
    assert heard == [("waiting", approval.id), ("woken", approval.id)] * 2
    assert [name for name, _ in steps.recorded] == ["pay", "pay again", "pay again"]


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 7 * 86_400), (90.0, 90)])
def test_nobody_decides(bench: Workbench, wire: FakeWire, timeout: float | None, seconds: int) -> None:
    """A node's timeout ends the wait earlier. Nothing was sent, and what is told says so."""
    reply = call(bench, Noted(bench.clock), policy="ask", timeout=timeout)
    (approval,) = bench.records.approvals.list()
    assert reply.error.message == f"nobody decided approval {approval.id} in {seconds} s; nothing was executed"
    assert wire.sent == []
    with pytest.raises(InputError, match="is expired already; nothing was changed"):
        bench.records.approvals.decide(approval.id, "approved", who="ann")
    # Whoever resumes the run asks anew.
    call(bench, Noted(bench.clock), policy="ask", timeout=timeout)
    assert [one.id for one in bench.records.approvals.list()] == [approval.id]


def test_what_is_decided_at_the_last_moment_counts(bench: Workbench, wire: FakeWire) -> None:
    """Between the last look at the call and the end of its question."""
    wire.will("POST /v1/payments", {"id": "pay_1"})
    approvals = bench.records.approvals

    class Late:
        def __getattr__(self, name: str) -> Any:
            return getattr(approvals, name)

        def lapse(self, approval_id: str) -> bool:
            approvals.decide(approval_id, "approved", who="ann")
            return approvals.lapse(approval_id)

    bench.records.approvals = Late()  # type: ignore[assignment]
    reply = call(bench, Noted(bench.clock), policy="ask", timeout=90.0)
    assert (reply.kind, reply.value["id"]) == ("done", "pay_1")


def test_a_rejection_ends_the_wait(bench: Workbench, wire: FakeWire) -> None:
    def on_wait(topic: str) -> Any:
        bench.records.approvals.decide(topic.partition(":")[2], "rejected", who="ann", note="no")
        return {}

    error = call(bench, Noted(bench.clock, on_wait), policy="ask").error
    assert error.message == "ann rejected the call: no; that is final for this run"
    assert wire.sent == []


def test_time_ends_a_read_and_never_a_write_that_was_sent(bench: Workbench, wire: FakeWire) -> None:
    async def hang(sent: Sent) -> Any:
        await asyncio.Event().wait()

    async def slow(sent: Sent) -> Any:
        await asyncio.sleep(0.2)
        return {"id": "pay_1"}

    async def lost(sent: Sent) -> Any:
        await asyncio.sleep(0.2)
        raise OutcomeUnknownError("the connection broke off")

    read = ToolCall(tool="get-payment", params={"payment": "pay_1"})
    wire.will("GET /v1/payments/pay_1", hang).will("POST /v1/payments", slow, lost)
    steps = Noted(bench.clock)
    assert call(bench, steps, read, timeout=0.05).error.message == (
        "get-payment did not end in 0.05 s, and nothing took effect"
    )
    assert call(bench, steps, timeout=0.05).value["id"] == "pay_1"
    other = Position(run_id="run-1", node="other")

    async def work() -> Reply:
        async with bench.session() as session:
            return await call_in_steps(PAY, at=other, session=session, steps=steps, name="other", timeout=0.05)

    unknown = asyncio.run(work()).error
    assert isinstance(unknown, OutcomeUnknownError)
    assert "whether it took effect is unknown (ledger entry 2); resume the run to settle it" in unknown.message


@pytest.mark.parametrize("error", [TimeoutError, asyncio.CancelledError])
@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_connector_that_breaks_off_by_itself_is_told_by_its_ledger_row(
    bench: Workbench, wire: FakeWire, error: type[BaseException], timeout: float | None
) -> None:
    """It waited for a task that was cancelled, say: this one was not."""

    async def breaks_off(sent: Sent) -> Any:
        raise error

    read = ToolCall(tool="get-payment", params={"payment": "pay_1"})
    wire.will("GET /v1/payments/pay_1", breaks_off).will("POST /v1/payments", breaks_off, {"id": "pay_1"})
    steps = Noted(bench.clock)
    name = error.__name__
    assert call(bench, steps, read, timeout=timeout).error.message == (
        f"get-payment was broken off ({name}), and nothing took effect"
    )
    unknown = call(bench, steps, timeout=timeout).error
    assert isinstance(unknown, OutcomeUnknownError)
    assert f"was broken off ({name}), and whether it took effect is unknown (ledger entry 1)" in unknown.message
    assert call(bench, steps, timeout=timeout).value["id"] == "pay_1"
    assert len(set(wire.keys)) == 1


def test_whoever_cancels_a_call_cancels_it(bench: Workbench, wire: FakeWire) -> None:
    async def hang(sent: Sent) -> Any:
        await asyncio.Event().wait()

    async def work() -> None:
        async with bench.session() as session:
            read = ToolCall(tool="get-payment", params={"payment": "pay_1"})
            task = asyncio.ensure_future(
                call_in_steps(read, at=AT, session=session, steps=Noted(bench.clock), name="pay")
            )
            while not wire.sent:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    wire.will("GET /v1/payments/pay_1", hang)
    asyncio.run(work())


def test_only_a_retried_entry_is_tried_anew(bench: Workbench, wire: FakeWire, tmp_path: Path) -> None:
    wire.will("POST /v1/payments", DeclinedError("declined"), {"id": "pay_1"})
    assert call(bench, Noted(bench.clock)).kind == "failed"
    assert call(bench, Noted(bench.clock)).kind == "failed"
    assert call(bench, Noted(bench.clock), retried=frozenset([7])).kind == "failed"
    assert len(wire.sent) == 1
    assert call(bench, Noted(bench.clock), retried=frozenset([1])).kind == "done"
    assert [entry.generation for entry in bench.entries()] == [0, 1]

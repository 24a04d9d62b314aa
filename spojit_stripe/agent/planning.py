"""Plan mode: what the agent proposed is decided on as a whole, then made in its order.

proposals ─► one approval of the plan's digest ─► wait (days) ─► each call, until one does not succeed
"""

from __future__ import annotations

import asyncio
from typing import cast

from spojit_stripe.agent.acting import carry_out
from spojit_stripe.agent.context import Context
from spojit_stripe.agent.lean import brief
from spojit_stripe.agent.reading import error_text
from spojit_stripe.calling import Reply, approval_topic
from spojit_stripe.errors import OutcomeUnknownError, SpojitError
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Executed", "execute_plan"]


class Executed:
    """What became of a plan: words for the model, and what ends the run."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.lines: list[str] = []
        self.calls: list[JsonObject] = []
        self.unknown: SpojitError | None = None

    @property
    def text(self) -> str:
        return "\n".join((f"The plan is {self.state}.", *self.lines))


async def execute_plan(context: Context) -> Executed:
    """Wait for the decision on all proposals, and carry them out where they are approved."""
    decided = await _decision(context)
    state = str(decided["state"])
    executed = Executed(state if state != "used" else "approved")
    note = decided.get("note")
    if state not in ("approved", "used"):
        executed.lines.append(f"Nothing was executed{f'; the person says: {note}' if note else ''}.")
        return executed
    for place, proposal in enumerate(context.proposals):
        reply = await carry_out(context, proposal.call, proposal.at, name=f"plan {proposal.number}")
        executed.calls.append({"number": proposal.number, "tool": proposal.call.tool, **_result(reply)})
        executed.lines.append(f"{proposal.number}. {_words(reply)}")
        if reply.kind != "done":
            left = context.proposals[place + 1 :]
            executed.lines += [f"{one.number}. not run: call {proposal.number} did not succeed" for one in left]
            if reply.kind == "failed" and isinstance(reply.error, OutcomeUnknownError):
                executed.unknown = reply.error
            break
    return executed


async def _decision(context: Context) -> JsonObject:
    digest = context.proposals[-1].digest

    async def look() -> JsonValue:
        approval = await asyncio.to_thread(context.session.records.approvals.of_plan, digest)
        late = approval.state == "approved" and approval.expires < context.session.clock()
        return {
            "approval_id": approval.id,
            "state": "expired" if late else approval.state,
            "expires": approval.expires,
            "reason": approval.reason,
            "note": approval.note,
        }

    decided = cast("JsonObject", await context.steps.step("plan", look))
    while decided["state"] == "pending":
        context.say("waiting", {**decided, "calls": len(context.proposals)})
        seconds = max(1.0, cast("int", decided["expires"]) - await context.steps.now())
        message = await context.steps.wait(approval_topic(str(decided["approval_id"])), timeout=seconds)
        context.say("woken", {"approval_id": decided["approval_id"]})
        decided = cast("JsonObject", await context.steps.step("plan again", look))
        if decided["state"] == "pending" and message is None:
            return {**decided, "state": "not decided in time"}
    return decided


def _result(reply: Reply) -> JsonObject:
    if reply.kind == "done":
        return {"outcome": "done", "says": brief(reply.value), "ledger_id": reply.meta.get("ledger_id")}
    if reply.kind == "failed":
        return {"outcome": "failed", "says": error_text(reply.error), "ledger_id": reply.meta.get("ledger_id")}
    return {"outcome": "changed since it was planned"}


def _words(reply: Reply) -> str:
    if reply.kind == "done":
        return f"done: {brief(reply.value)} (ledger entry {reply.meta.get('ledger_id')})"
    if reply.kind == "failed":
        return f"failed: {error_text(reply.error)}"
    return "not executed: what it would do has changed since it was approved, so the approval does not cover it"

"""One tool call as steps of a run: what it gave is recorded, and a pause waits for its person.

    step: run_tool ─► done, failed, planned ─► recorded, and that is it
            └► paused ─► wait (days, restarts) ─► step: run_tool again, same key ─► …

A message only wakes. Whether a call may go is read from the approval's record by `run_tool`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

from spojit_stripe.connector import Progress, Sink
from spojit_stripe.direct import run_tool
from spojit_stripe.errors import OutcomeUnknownError, RefusedError, SpojitError, UnavailableError, error_from_record
from spojit_stripe.records import State
from spojit_stripe.redact import redact_object
from spojit_stripe.session import Session
from spojit_stripe.steps import Steps
from spojit_stripe.values import Done, Failed, JsonObject, JsonValue, Meta, Outcome, Planned, Position, ToolCall

__all__ = ["Reply", "Tell", "approval_topic", "call_in_steps", "is_ours", "outcome_in_time", "reply_of"]

Tell: TypeAlias = Callable[[str, JsonObject], None]
"""Hears what happens, as it happens: a kind and its facts. Never needed for what is done next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a call ended, in the form in which its step records it. `value` is redacted.

    `done`: the object or the list's envelope. `planned`: `number` and `preview`. `paused`:
    `approval_id`, `expires` (Unix seconds), `reason` and `preview`. `failed`: see `error`.
    """

    kind: Literal["done", "planned", "paused", "failed"]
    value: JsonObject = field(default_factory=dict[str, JsonValue])
    meta: JsonObject = field(default_factory=dict[str, JsonValue])

    @property
    def error(self) -> SpojitError:
        """What went wrong, of a failed one."""
        return error_from_record(self.value)

    def to_json(self) -> JsonObject:
        return {"kind": self.kind, "value": self.value, "meta": self.meta}

    @classmethod
    def of_json(cls, record: JsonValue) -> Reply:
        return cls(**cast("dict[str, JsonObject]", record))  # type: ignore[arg-type]  # written by to_json above


def approval_topic(approval_id: str) -> str:
    """Where a run listens for the news that an approval was decided."""
    return f"approval:{approval_id}"


def reply_of(outcome: Outcome, session: Session) -> Reply:
    """An outcome in the form that is recorded."""
    if isinstance(outcome, Done):
        return Reply(kind="done", value=redact_object(outcome.value), meta=outcome.meta.to_json())
    if isinstance(outcome, Failed):
        return Reply(kind="failed", value=redact_object(outcome.error.to_json()), meta=outcome.meta.to_json())
    preview = redact_object(outcome.preview.to_json())
    if isinstance(outcome, Planned):
        return Reply(kind="planned", value={"number": outcome.number, "digest": outcome.digest, "preview": preview})
    approval = session.records.approvals.get(outcome.approval_id)
    return Reply(
        kind="paused",
        value={
            "approval_id": outcome.approval_id,
            "expires": approval.expires,
            "reason": outcome.reason,
            "preview": preview,
        },
    )


async def call_in_steps(
    call: ToolCall,
    *,
    at: Position,
    session: Session,
    steps: Steps,
    name: str,
    timeout: float | None = None,  # a node's own, which a sent write outlives
    retried: frozenset[int] = frozenset(),
    tell: Tell | None = None,
    progress: Progress | None = None,
    sinks: Callable[[], Sink] | None = None,
    finish: Callable[[Reply], Reply] | None = None,
) -> Reply:
    """Run one call as step `name` of a run, through a pause where policy asks for one.

    `timeout` in seconds ends a read, and the wait for a person, but never a write that was
    sent. `retried` are ledger entries that a person chose to try again. `sinks` makes a sink
    for each attempt; `finish` makes of a reply what is recorded, in the same step (a list that
    went to a sink becomes a handle, say).
    Gives no `paused` reply.
    """

    async def work() -> JsonValue:
        outcome = await outcome_in_time(
            call,
            at=at,
            session=session,
            seconds=timeout,
            retried=retried,
            progress=progress,
            sink=sinks() if sinks else None,
        )
        reply = await asyncio.to_thread(reply_of, outcome, session)
        return (finish(reply) if finish else reply).to_json()

    async def last() -> JsonValue:
        """The last look at a question that nobody decided in time: what is decided after it is told to be too late."""
        found = await work()
        reply = Reply.of_json(found)
        if reply.kind == "paused":
            approvals = session.records.approvals
            if not await asyncio.to_thread(approvals.lapse, str(reply.value["approval_id"])):
                return await work()  # decided in between
        return found

    reply = Reply.of_json(await steps.step(name, work))
    while reply.kind == "paused":
        approval = cast("str", reply.value["approval_id"])
        if tell is not None:
            tell("waiting", reply.value)
        left = cast("int", reply.value["expires"]) - await steps.now()
        seconds = max(1.0, left if timeout is None else min(left, timeout))
        message = await steps.wait(approval_topic(approval), timeout=seconds)
        if tell is not None:
            tell("woken", {"approval_id": approval})
        again = Reply.of_json(await steps.step(f"{name} again", last if message is None else work))
        if again.kind == "paused" and message is None:
            error = RefusedError(f"nobody decided approval {approval} in {seconds:.0f} s; nothing was executed")
            return Reply(kind="failed", value=error.to_json())
        reply = again
    return reply


async def outcome_in_time(
    call: ToolCall,
    *,
    at: Position,
    session: Session,
    seconds: float | None = None,
    retried: frozenset[int] = frozenset(),
    progress: Progress | None = None,
    sink: Sink | None = None,
) -> Outcome:
    """`run_tool`, ended after `seconds`. A write that was sent by then is told by its ledger row.

    So is one whose connector broke it off itself.
    """
    ledger = session.records.ledger
    earlier = await asyncio.to_thread(ledger.at, at) if retried else None
    resume = earlier is not None and earlier.id in retried
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return await run_tool(call, at=at, session=session, resume=resume, progress=progress, sink=sink)
    except (TimeoutError, asyncio.CancelledError) as error:
        if is_ours(error):
            raise
        how = f"did not end in {seconds:g} s" if timer.expired() else f"was broken off ({type(error).__name__})"
    entry = await asyncio.to_thread(ledger.at, at)
    if entry is None or entry.state is State.UNSENT:
        return Failed(error=UnavailableError(f"{call.tool} {how}, and nothing took effect"))
    if entry.state is State.DONE:
        return Done(value=entry.result or {}, meta=entry.meta())
    if entry.state is State.FAILED:
        return Failed(error=entry.outcome_error, meta=entry.meta())
    return Failed(
        error=OutcomeUnknownError(
            f"{call.tool} {how}, and whether it took effect is unknown "
            f"(ledger entry {entry.id}); resume the run to settle it"
        ),
        meta=Meta(ledger_id=entry.id),
    )


def is_ours(error: BaseException) -> bool:
    """Whether `error` cancels this very task; a connector or plug-in that waits for a cancelled one raises it too."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0

"""Direct Mode: the one path on which a tool call reaches a service. Read it first.

    bind ─► read ───────────────────────────────► wire ─► noted afterwards      reading.py
       └──► earlier outcome? ─► assess ─► policy ─► ledger (durable) ─► wire ─► ledger
            │ (same place,      (effect,  (allow, ask,                          writing.py
            │  same `once`)      amount)   plan, deny)
            └► answered from the ledger, or settled first when its outcome is unknown
                                                                                settle.py

Agents, workflows, the command line and MCP only choose the next call.
"""

from __future__ import annotations

from spojit_stripe.connector import BoundCall, Progress, Sink
from spojit_stripe.errors import InputError, SpojitError
from spojit_stripe.policy import Verdict, decide
from spojit_stripe.previews import as_bound, preview_of, told
from spojit_stripe.reading import fetch
from spojit_stripe.records import key_of
from spojit_stripe.redact import redact_text
from spojit_stripe.session import Session
from spojit_stripe.values import Effect, Failed, JsonObject, Outcome, Position, Preview, Request, ToolCall
from spojit_stripe.writing import Write

__all__ = ["preview_tool", "run_tool"]


async def run_tool(
    call: ToolCall,
    *,
    at: Position,
    session: Session,
    resume: bool = False,
    progress: Progress | None = None,
    sink: Sink | None = None,
) -> Outcome:
    """Run one call at one place of a run, and say how it ended.

    The same place always gives the same idempotency key: a call that was carried out there
    is answered from the ledger and not sent again. `resume` allows a new attempt, under the
    next generation of the key, after a definite failure without effect. With a `sink` the
    objects of a list go there page by page, and the envelope's `data` is empty.

    Gives `Done`, `Paused` (waits for an approval), `Planned`, or `Failed` with an error that
    says what to do next. Raises only what no caller can act on.
    """
    try:
        _check_identity(call, at)
        bound = session.bind(call)
        if bound.effect is Effect.READ:
            if call.once is not None:
                raise InputError(f"once: {call.tool} only reads; `once` is for writes")
            return await _read(bound, at, session, progress, sink)
        return await Write(call, bound, at, session).run(resume=resume)
    except SpojitError as error:
        return Failed(error=error)


async def preview_tool(call: ToolCall, *, at: Position, session: Session) -> Preview:
    """What `run_tool` would send, its key and the policy's decision; nothing is sent.

    An amount that has to be looked up stays None. Raises `InputError` for a faulty call.
    """
    bound = session.bind(call)
    if bound.effect is Effect.READ:
        return preview_of(bound, as_bound(bound), session, None, Verdict.ALLOW, "a read")
    follows = False
    try:
        assessment = await session.connector.assess(bound, _not_now)
    except _NotNowError:
        assessment, follows = as_bound(bound), True
    decision = decide(assessment, session.connection, session.rules, by_agent=session.by_agent, amount_follows=follows)
    reason = decision.reason
    if follows:
        reason += "; the amount is looked up before it is sent, and caps are checked then"
    return preview_of(bound, assessment, session, key_of(at, 0), decision.verdict, reason)


def _check_identity(call: ToolCall, at: Position) -> None:
    """An empty identity, of a template that gave nothing say, would make one call of many; and it is recorded."""
    for name, text in (("run id", at.run_id), ("node", at.node), ("once", call.once)):
        if text is not None and not text.strip():
            raise InputError(f"{name}: is empty; it tells calls apart, so give one of its own to each")
        if text is not None and not text.isascii() and text != text.encode(errors="replace").decode():
            raise InputError(f"{name}: {text!r} is no valid text")
        if text is not None and redact_text(text) != text:
            raise InputError(f"{name}: holds what looks like a secret, and it is recorded; take another")


async def _read(
    bound: BoundCall, at: Position, session: Session, progress: Progress | None, sink: Sink | None
) -> Outcome:
    preview = None
    if session.has_call_hooks:
        preview = preview_of(bound, as_bound(bound), session, None, Verdict.ALLOW, "a read")
        session.ask_plugins(preview)
    return told(session, preview, await fetch(bound, at, session, progress, sink))


class _NotNowError(Exception):
    """A preview came to the point where it would have to read."""


async def _not_now(_request: Request) -> JsonObject:
    raise _NotNowError

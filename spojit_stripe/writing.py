"""Writing: one write at one place of a run, from what the ledger knows to the recorded outcome.

Read `Write.run` first. The order is the promise: nothing is sent before its row is durable,
and nothing is sent twice but under its own key.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import unquote
from weakref import WeakValueDictionary

from spojit_stripe.catalog.shown import shown
from spojit_stripe.connector import Answer, BoundCall
from spojit_stripe.errors import InputError, OutcomeUnknownError, RefusedError, ServiceError, SpojitError
from spojit_stripe.money import format_amount
from spojit_stripe.policy import Decision, Verdict, decide
from spojit_stripe.previews import as_bound, preview_of, told
from spojit_stripe.reading import fetch, meta_of_error
from spojit_stripe.records import Entry, Like, NewCall, State, call_digest, key_of, params_digest
from spojit_stripe.session import Session
from spojit_stripe.settle import APPROVAL_REQUIRED, is_planned_reference, settle
from spojit_stripe.values import (
    Amount,
    Assessment,
    Done,
    Effect,
    Failed,
    JsonObject,
    JsonValue,
    Meta,
    Outcome,
    Paused,
    Planned,
    Position,
    Preview,
    Request,
    ToolCall,
    Writes,
)

__all__ = ["Write"]

T = TypeVar("T")

_TURNS: WeakValueDictionary[tuple[object, str, str, str], asyncio.Lock] = WeakValueDictionary()
_TWIN_LOOKS, _TWIN_SECONDS = 40, 0.25
_LARGEST_AMOUNT = 10**15  # sums of such amounts still fit a database's integer


@dataclass(frozen=True, slots=True)
class _Ready:
    """A write that policy lets through: all that the ledger and the wire need."""

    assessment: Assessment
    preview: Preview
    request: Request
    stamped: bool
    approval_digest: str | None


class Write:
    """One write at one place of a run, from the earlier outcome to the recorded one."""

    def __init__(self, call: ToolCall, bound: BoundCall, at: Position, session: Session) -> None:
        self.call = call
        self.bound = bound
        self.at = at
        self.session = session
        # The path too: its ids are what the call is about, and the operation leaves them open.
        asked = f"{bound.operation} {bound.request.path}"
        self.digest = params_digest(asked, bound.request.params, call.author_params)

    async def run(self, *, resume: bool) -> Outcome:
        """Answer from the ledger, settle, wait for a person, or send; raises `SpojitError`.

        Where the same `once` is under way in this process, that is waited for and answers this call too.
        """
        if self.call.once is None:
            return await self._run(resume=resume)
        async with _turn(self.session.connection.name, self.bound.operation, self.call.once):
            return await self._run(resume=resume)

    async def _run(self, *, resume: bool) -> Outcome:
        ledger = self.session.records.ledger
        earlier = await asyncio.to_thread(ledger.at, self.at)
        generation = 0
        if earlier is not None:
            new_attempt = resume and earlier.may_be_tried_anew
            self._check_same_call(earlier, same_params=not new_attempt)
            unsent = earlier.state is State.UNSENT and earlier.digest == self.digest
            if not new_attempt and not unsent:
                return await self._answer(earlier)
            generation = earlier.generation if unsent else earlier.generation + 1
        if self.call.once is not None:
            holder = await asyncio.to_thread(
                ledger.once, self.session.connection.name, self.bound.operation, self.call.once
            )
            if holder is not None and holder.state not in (State.FAILED, State.UNSENT):
                outcome = self._answer_once(holder, await asyncio.to_thread(ledger.settled_by, holder))
                await asyncio.to_thread(ledger.answered_by_once, self.at, self.session.connection.name, holder)
                return outcome
        if earlier is not None and generation == earlier.generation:
            return await self._send_again(earlier)

        ready = await self._clear(generation)
        if not isinstance(ready, _Ready):
            return ready
        return await self._once_twins_ended(lambda: self._open_and_send(ready, generation))

    async def _once_twins_ended(self, send: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Send. An equal call that another run has under way usually ends in a moment; one that does not is refused."""
        session = self.session
        for _ in range(_TWIN_LOOKS if session.refuse_twins == "of_other_runs" else 0):
            try:
                return await _uninterrupted(send())
            except OutcomeUnknownError:
                ledger, name = session.records.ledger, session.connection.name
                if not await asyncio.to_thread(ledger.is_under_way, self.digest, name, self.at.run_id):
                    break  # one that has ended by now is none any more
                await asyncio.sleep(_TWIN_SECONDS)
        return await _uninterrupted(send())

    # What the ledger knows already

    def _is_here(self, earlier: Entry) -> bool:
        connection = self.session.connection
        here = (connection.name, connection.mode, self._account, connection.base_url)
        return here == (earlier.connection, earlier.mode, earlier.account, earlier.base_url)

    def _check_same_call(self, earlier: Entry, *, same_params: bool) -> None:
        if not self._is_here(earlier):
            raise RefusedError(
                f"run {self.at.run_id} made this call on connection {earlier.connection!r} ({earlier.mode}, account "
                f"{earlier.account or 'own'}, {earlier.base_url or 'default host'}); it can't be resumed on another"
            )
        if same_params and earlier.digest != self.digest:
            raise RefusedError(
                f"run {self.at.run_id} made another call at this place ({earlier.operation}, ledger entry "
                f"{earlier.id}); the same key with other parameters is never sent: use another run id"
            )

    async def _answer(self, earlier: Entry) -> Outcome:
        if earlier.state is State.DONE:
            return Done(value=earlier.result or {}, meta=earlier.meta())
        if earlier.state is State.FAILED:
            return Failed(error=earlier.outcome_error, meta=earlier.meta())
        return await _uninterrupted(settle(earlier, self.session, replay=lambda: self._replay(earlier)))

    def _answer_once(self, holder: Entry, settled_by: str) -> Outcome:
        if holder.state is State.DONE and holder.digest == self.digest and self._is_here(holder):
            warning = f"once {self.call.once!r} was used up by ledger entry {holder.id}; nothing was executed"
            return Done(value=holder.result or {}, meta=replace(holder.meta(), warnings=(warning,)))
        if holder.state is State.DONE:
            raise RefusedError(
                f"once {self.call.once!r} was used up by ledger entry {holder.id} with other parameters, or for "
                "another account, mode or host; nothing was executed"
            )
        held = f"once {self.call.once!r} is held by ledger entry {holder.id}"
        if holder.state is State.OPEN:
            raise OutcomeUnknownError(
                f"{held}, which another process or thread has under way or left behind: wait for it, or where that is "
                f"gone settle it: {settled_by}"
            )
        raise OutcomeUnknownError(f"{held}, whose outcome is unknown; settle that first: {settled_by}")

    async def _send_again(self, earlier: Entry) -> Outcome:
        """The same key again after an attempt that certainly never took effect, if policy still lets it."""
        session = self.session
        assessment = self._recorded(earlier)
        decision = self._decide(assessment, self.call.intent and _intended(self.call.intent, None))
        if decision.verdict is Verdict.DENY:
            raise RefusedError(decision.reason)
        digest, key = None, earlier.key or ""
        if decision.verdict is Verdict.ALLOW:
            await asyncio.to_thread(self._check_not_rejected, key, None)
        else:
            preview = self._preview(assessment, key, decision.verdict, decision.reason)
            request = self._recorded_request(earlier, assessment.params)
            digest = call_digest(key, session.connection, session.api_version, request)
            waits = await asyncio.to_thread(self._approval, decision.verdict, digest, preview, again=True)
            if waits is not None:
                return waits
        return await self._once_twins_ended(lambda: self._replay(earlier, digest))

    async def _replay(self, earlier: Entry, approval_digest: str | None = None) -> Outcome:
        """The recorded request once more, to the letter, under its own key."""
        session = self.session
        assessment = self._recorded(earlier)
        preview = self._preview(assessment, earlier.key, Verdict.ALLOW, "the same request under the same key")
        session.ask_plugins(preview)
        request = self._recorded_request(earlier, assessment.params)
        if earlier.stamped:
            params, _ = session.connector.stamp(self.bound, assessment.params, earlier.key or "")
            request = replace(request, params=params)
        reopen = session.records.ledger.reopen
        entry = await asyncio.to_thread(reopen, earlier, session.rules, approval_digest, session.refuse_twins)
        if entry.state in (State.DONE, State.FAILED):  # another process was faster
            return await self._answer(entry)
        return await self._send(entry, request, preview)

    def _recorded_request(self, earlier: Entry, params: JsonObject) -> Request:
        return replace(self.bound.request, params=params, api_version=earlier.api_version)

    def _recorded(self, earlier: Entry) -> Assessment:
        effect = Effect(earlier.effect) if self.bound.effect is not None else None
        return Assessment(
            effect=effect,
            operation=earlier.operation,
            params={**self.bound.request.params, **earlier.additions},
            amount=earlier.money,
            target=earlier.target,
        )

    # What policy says

    async def _clear(self, generation: int) -> _Ready | Outcome:
        session = self.session
        session.wire  # noqa: B018 # an unusable secret is found before anything is recorded
        if session.rules.writes is Writes.PLAN:
            self._check_depends_on_no_plan()
        early = self._decide(as_bound(self.bound))
        if early.verdict is Verdict.DENY:  # before an amount is looked up for nothing
            raise RefusedError(early.reason)
        assessment = await session.connector.assess(self.bound, self._look)
        _check_size(assessment.amount)
        again = await asyncio.to_thread(self._like_it, assessment) if session.by_agent and not generation else None
        if again is not None and again.same and self.call.intent is None:
            return _repeated(again.entry)
        decision = self._decide(assessment, self._why_again(again))
        key = key_of(self.at, generation)
        preview = self._preview(assessment, key, decision.verdict, decision.reason)
        if decision.verdict is Verdict.DENY:
            raise RefusedError(decision.reason)
        session.ask_plugins(preview)
        plain = replace(self.bound.request, params=assessment.params)
        digest = call_digest(key, session.connection, session.api_version, plain)
        if decision.verdict is Verdict.ALLOW:
            await asyncio.to_thread(self._check_not_rejected, key, preview)
        else:
            waits = await asyncio.to_thread(self._approval, decision.verdict, digest, preview)
            if waits is not None:
                return waits
        stamped = False
        request = plain
        if session.connection.stamp_metadata:
            params, stamped = session.connector.stamp(self.bound, assessment.params, key)
            request = replace(plain, params=params)
        approval = digest if decision.verdict is not Verdict.ALLOW else None
        return _Ready(assessment, preview, request, stamped, approval)

    def _decide(self, assessment: Assessment, again: str | None = None) -> Decision:
        session = self.session
        doubt = again or self.call.doubt
        return decide(assessment, session.connection, session.rules, by_agent=session.by_agent, doubt=doubt)

    def _like_it(self, assessment: Assessment) -> Like | None:
        """The call of an agent's node that this one would make a second time."""
        return self.session.records.ledger.like(self.at, self.digest, self.session.connection.name, assessment)

    def _why_again(self, again: Like | None) -> str | None:
        if self.call.intent is not None:
            return _intended(self.call.intent, again)
        if again is None:
            return None
        entry = again.entry
        return f"ledger entry {entry.id} ({entry.operation}) of the same agent moved the same amount of {entry.target}"

    def _check_depends_on_no_plan(self) -> None:
        request = self.bound.request
        ids: list[JsonValue] = [unquote(part) for part in request.path.split("/")]
        if is_planned_reference(request.params) or is_planned_reference(ids):
            raise RefusedError("the call depends on a planned one, which has no id before it is carried out")

    def _check_not_rejected(self, key: str, preview: Preview | None) -> None:
        """Of what policy allows now: a person may have said no while it was to be asked about."""
        approvals, run_id = self.session.records.approvals, self.at.run_id
        approvals.check_not_rejected(key, run_id, self.session.connection.name)
        if self.session.by_agent and preview is not None:
            approvals.check_no_repeat("", run_id, preview, intended=True, owner=self._owner)

    @property
    def _owner(self) -> str:
        """Whose plan it is: an agent's is decided on when it has answered, the others' when the run ends."""
        return "/".join((self.at.node, *map(str, self.at.indexes))) if self.session.by_agent else ""

    def _approval(self, verdict: Verdict, digest: str, preview: Preview, *, again: bool = False) -> Outcome | None:
        """None where a person has approved exactly this call; `again` where it has used its approval unsent."""
        approvals = self.session.records.approvals
        owner = self._owner
        if self.session.by_agent and not again:
            intended = self.call.intent is not None
            approvals.check_no_repeat(digest, self.at.run_id, preview, intended=intended, owner=owner)
        if verdict is Verdict.PLAN:
            if approvals.may_run_planned(digest, self.at.run_id, preview.connection, again=again):
                return None
            number, plan = approvals.plan(digest, self.at, preview, preview.reason, self.session.rules, owner=owner)
            return Planned(number=number, digest=plan.digest, preview=preview)
        approval = approvals.ask(digest, self.at.run_id, preview, preview.reason, owner=owner)
        if approval.state == "approved" or (again and approval.state == "used"):
            return None
        if approval.state == "used":
            raise RefusedError(f"approval {approval.id} was used for this call already; nothing was executed")
        if approval.state == "rejected":
            raise approval.rejection()
        return Paused(digest=digest, approval_id=approval.id, reason=preview.reason, preview=preview)

    # Sending

    async def _open_and_send(self, ready: _Ready, generation: int) -> Outcome:
        asked = self.bound.request.params
        new = NewCall(
            position=self.at,
            generation=generation,
            digest=self.digest,
            connection=self.session.connection,
            api_version=self.bound.request.api_version or self.session.api_version,
            preview=ready.preview,
            operation=self.bound.operation,
            # What the table does not list may move money: the stricter books.
            effect=ready.assessment.effect or Effect.MONEY,
            additions={name: value for name, value in ready.assessment.params.items() if asked.get(name) != value},
            stamped=ready.stamped,
            once=self.call.once,
            approval_digest=ready.approval_digest,
            refuse_twins=self.session.refuse_twins,
        )
        entry = await asyncio.to_thread(self.session.records.ledger.open, new, self.session.rules)
        return await self._send(entry, ready.request, ready.preview)

    async def _send(self, entry: Entry, request: Request, preview: Preview) -> Outcome:
        session = self.session
        ledger = session.records.ledger
        try:
            session.tell_before_send(preview, entry.id)
            answer = await session.wire.send(request, key=entry.key)
        except SpojitError as error:
            return told(session, preview, await self._failed(entry, _held_there(error, entry)))
        warnings = (*answer.warnings, *session.tell_after_send(preview, entry.id))
        meta = Meta(
            request_ids=(answer.request_id,) if answer.request_id else (),
            idempotency_key=entry.key,
            replayed=answer.replayed,
            api_version=answer.api_version,
            livemode=answer.livemode,
            attempts=answer.attempts,
            ledger_id=entry.id,
            warnings=warnings,
        )
        try:
            await asyncio.to_thread(ledger.finish, entry, answer.body, meta)
        except SpojitError as error:
            return told(session, preview, Failed(error=_unrecorded(answer, entry, error), meta=meta))
        return told(session, preview, Done(value=answer.body, meta=meta))

    async def _failed(self, entry: Entry, error: SpojitError) -> Failed:
        meta = replace(meta_of_error(error), idempotency_key=entry.key, ledger_id=entry.id)
        try:
            failed = await asyncio.to_thread(self.session.records.ledger.fail, entry, error, meta)
        except SpojitError as fault:
            unrecorded = f"this could not be recorded in ledger entry {entry.id}: {fault}"
            return Failed(error=error, meta=replace(meta, warnings=(unrecorded,)))
        if failed.state is State.UNKNOWN and not isinstance(error, OutcomeUnknownError):
            error = failed.outcome_error  # this attempt had no effect, but an earlier one may have had
        return Failed(error=error, meta=replace(failed.meta(), from_ledger=False))

    # Parts

    @property
    def _account(self) -> str | None:
        return self.bound.request.account or self.session.connection.account

    async def _look(self, request: Request) -> JsonObject:
        """Read for an assessment; such a read stands in the ledger too."""
        if request.method != "GET":
            raise InputError(f"an assessment may only read, not {request.method} {request.path}")
        looked = replace(self.bound, request=request, operation=f"GET {request.template}", listing=None)
        outcome = await fetch(looked, self.at, self.session, None)
        if isinstance(outcome, Failed):
            raise outcome.error
        return outcome.value

    def _preview(self, assessment: Assessment, key: str | None, verdict: Verdict, reason: str) -> Preview:
        preview = preview_of(self.bound, assessment, self.session, key, verdict, reason)
        if not self.call.context:
            return preview
        amount = assessment.amount
        words: JsonObject = {"amount": format_amount(amount.amount, amount.currency)} if amount else {}
        return replace(preview, context={**words, **self.call.context})


def _turn(connection: str, operation: str, once: str) -> asyncio.Lock:
    """What only one of the calls with the same `once` holds at a time, in one event loop."""
    return _TURNS.setdefault((asyncio.get_running_loop(), connection, operation, once), asyncio.Lock())


def _intended(intent: str, again: Like | None) -> str:
    which = f"repeats ledger entry {again.entry.id}" if again else "is meant to be made again"
    return f"the agent says that its call {which} on purpose: {shown(intent)}"


def _repeated(holder: Entry) -> Outcome:
    """A model that repeats itself gets the recorded outcome."""
    warning = f"ledger entry {holder.id} of this agent is the same call; nothing was executed again"
    meta = replace(holder.meta(), warnings=(warning,), repeat_of=holder.id)
    if holder.state is State.DONE:
        return Done(value=holder.result or {}, meta=meta)
    if holder.state is State.FAILED:
        return Failed(error=holder.outcome_error, meta=meta)
    unknown = f"ledger entry {holder.id} of this agent is the same call and its outcome is unknown; settle it first"
    return Failed(error=OutcomeUnknownError(unknown), meta=meta)


async def _uninterrupted(work: Awaitable[T]) -> T:
    """Finish what was begun even when the caller is cancelled: a sent write gets its record."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):  # asked again: the send still gets its record
                await asyncio.wait([task])
        raise


def _held_there(error: SpojitError, entry: Entry) -> SpojitError:
    """A service that asks a person of its own carries the call out itself: sending it again would be a second one."""
    if not isinstance(error, ServiceError) or error.problem.code != APPROVAL_REQUIRED:
        return error
    return OutcomeUnknownError(
        f"the service holds {entry.operation} for an approval of its own and carries it out after that, so it is never "
        f"sent again; decide there, then go on with run {entry.run_id} to see how it ended",
        error.problem,
    )


def _check_size(amount: Amount | None) -> None:
    if amount is not None and abs(amount.amount) > _LARGEST_AMOUNT:
        raise InputError(f"amount: {amount.amount} is more than any service moves; nothing was sent")


def _unrecorded(answer: Answer, entry: Entry, error: SpojitError) -> OutcomeUnknownError:
    """A full disk after the send: the row stays open, and going on with the run settles it."""
    return OutcomeUnknownError(
        f"{entry.operation} was carried out ({answer.body.get('id', 'no id')}), but ledger entry {entry.id} could not "
        f"be updated: {error}; when that is mended, go on with run {entry.run_id}"
    )

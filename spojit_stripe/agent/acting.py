"""The calls of one turn: checked, then made in the model's order.

    reads between writes ─► one step, side by side        reading.py
    a write ─► may it be named? ─► calling.call_in_steps ─► direct.run_tool ─► policy, ledger, wire

Whatever is wrong with a call is told to the model in words; an unknown outcome ends the run.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast

from spojit_stripe.agent.context import Context, Proposal
from spojit_stripe.agent.lean import brief, object_text
from spojit_stripe.agent.masks import masked_object, masked_text
from spojit_stripe.agent.reading import Reading, absorb, error_text, read_side_by_side, says
from spojit_stripe.agent.spans import span
from spojit_stripe.agent.toolbox import Offer
from spojit_stripe.calling import Reply, call_in_steps
from spojit_stripe.catalog.shown import shown, shown_name
from spojit_stripe.connector import BoundCall
from spojit_stripe.errors import InputError, OutcomeUnknownError, SpojitError
from spojit_stripe.steps import Steps, Work
from spojit_stripe.values import Effect, JsonObject, JsonValue, Paging, Position, ToolCall
from spojit_stripe.words import nearest

__all__ = ["Acted", "act", "carry_out"]

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,5}")
_MOST_FIELDS: Final = 20
_LONGEST_INTENT: Final = 300
_MOST_FAULTS: Final = 5
_MOST_DEEDS: Final = 10
_NOT_RUN: Final = "not run: an earlier write of this turn has an unknown outcome"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    """A checked call that may change something."""

    call: ToolCall
    bound: BoundCall
    offer: Offer
    fields: tuple[str, ...]


@dataclass
class Acted:
    """What became of a turn's calls: the blocks that answer them, notes for the transcript, and what ends the run."""

    results: list[JsonValue] = field(default_factory=list["JsonValue"])
    notes: list[JsonObject] = field(default_factory=list["JsonObject"])
    unknown: SpojitError | None = None


async def act(context: Context, turn: int, uses: Sequence[JsonObject]) -> Acted:
    """Make the calls of turn number `turn`."""
    return await _Turn(context, turn).run(uses)


class _Turn:
    def __init__(self, context: Context, turn: int) -> None:
        self._context = context
        self._turn = turn
        self._acted = Acted()
        self._answers: dict[int, tuple[str, bool]] = {}
        self._notes: dict[int, JsonObject] = {}
        self._batch: list[tuple[int, Reading]] = []
        self._batches = 0
        self._writes = 0

    async def run(self, uses: Sequence[JsonObject]) -> Acted:
        for number, use in enumerate(uses):
            if self._acted.unknown is not None:
                self._answer(number, use, _NOT_RUN, failed=True, outcome="not run")
                continue
            await self._take(number, use)
        await self._flush()
        for number, use in enumerate(uses):
            text, failed = self._answers[number]
            block: JsonObject = {
                "type": "tool_result",
                "tool_use_id": use["id"],
                "content": masked_text(text) or "done",
            }
            if failed:
                block["is_error"] = True
            self._acted.results.append(block)
            self._acted.notes.append(self._notes[number])
        return self._acted

    async def _take(self, number: int, use: JsonObject) -> None:
        context = self._context
        limit = context.spec.limits.tool_calls
        if context.tool_calls >= limit:
            told = f"not run: the limit of {limit} tool calls is reached; answer with what you know"
            self._answer(number, use, told, failed=True, outcome="not run")
            return
        context.tool_calls += 1
        try:
            checked = self._checked(use)
        except SpojitError as error:
            faults = error.faults[:_MOST_FAULTS] if isinstance(error, InputError) else (error.message,)
            self._answer(number, use, "; ".join(masked_text(fault) for fault in faults), failed=True, outcome="refused")
            return
        if isinstance(checked, Reading):
            # A query sees what was fetched before it, also in its own turn.
            if checked.offer.kind == "query" and any(one.offer.kind == "tool" for _, one in self._batch):
                await self._flush()
            self._batch.append((number, checked))
            self._notes[number] = _note(use, checked.offer.name)
        else:
            await self._flush()
            await self._write(number, use, checked)

    # Checking

    def _checked(self, use: JsonObject) -> Reading | _Write:
        """Raises `SpojitError` saying what is wrong with a call."""
        context = self._context
        name = str(use.get("name"))
        offer = context.box.get(name)
        if offer is None:
            have = ", ".join(context.box.names)
            raise InputError(
                f"there is no tool {shown_name(name)!r}{nearest(name, context.box.names)}; you have: {have}"
            )
        given = use.get("input")
        if not isinstance(given, dict):
            raise InputError(f"{offer.name}: its arguments must be an object")
        if offer.tool is None:
            return self._built_in(offer, given)
        ours = {key: value for key, value in given.items() if key in offer.injected}
        fields, read_all, intent = _fields(ours), _flag(ours, "read_all"), _intent(ours)
        call = ToolCall(
            tool=offer.tool.name,
            params={key: value for key, value in given.items() if key not in ours},
            paging=Paging(paginate="all") if read_all else Paging(),
            intent=intent,
        )
        bound = context.session.bind(call)
        if bound.effect is Effect.READ:
            if context.known.objects >= context.spec.limits.objects:
                raise InputError(f"not run: the limit of {context.spec.limits.objects} objects fetched is reached")
            return Reading(
                offer=offer,
                arguments=masked_object(given),
                at=context.next_place(),
                call=replace(call, intent=None),
                bound=bound,
                fields=fields,
            )
        return _Write(call=replace(call, paging=Paging()), bound=bound, offer=offer, fields=fields)

    def _built_in(self, offer: Offer, given: JsonObject) -> Reading:
        schema = cast("JsonObject", offer.definition["input_schema"])
        (wanted,) = cast("list[str]", schema["required"])
        if set(given) != {wanted} or not isinstance(given[wanted], str):
            raise InputError(f"{offer.name}: takes {wanted}, a text, and nothing else")
        return Reading(offer=offer, arguments=masked_object(given), at=self._context.next_place())

    # Reads

    async def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        self._batches += 1
        name = f"turn {self._turn} reads {self._batches}"
        records = await read_side_by_side(self._context, name, [one for _, one in batch])
        for (number, reading), record in zip(batch, records, strict=True):
            await asyncio.to_thread(absorb, self._context, reading, record)
            kind = str(record["kind"])
            self._answers[number] = (str(record["text"]), kind == "failed")
            meta = cast("JsonObject", record.get("meta") or {})
            _finish_note(self._notes[number], kind, says(record), meta)

    # Writes

    async def _write(self, number: int, use: JsonObject, write: _Write) -> None:
        context = self._context
        fault = context.known.fault_of_ids(write.bound)
        if fault is not None:
            self._answer(number, use, f"not run: {fault}", failed=True, outcome="refused")
            return
        call = replace(
            write.call,
            doubt=context.known.doubt_of_texts(write.bound) or context.known.doubt_of_target(write.bound),
            context=_for_the_person(context, write),
        )
        self._writes += 1
        at = context.next_place()
        reply = await carry_out(context, call, at, name=f"turn {self._turn} write {self._writes}")
        text, failed = _told(context, call, reply, write.fields)
        self._answer(number, use, text, failed=failed, outcome=_outcome(reply), meta=reply.meta, told=_says(reply))
        if reply.kind == "planned":
            digest = cast("str", reply.value["digest"])
            context.proposals = [replace(one, digest=digest) for one in context.proposals]
            context.proposals.append(Proposal(cast("int", reply.value["number"]), digest, call, at))
        if reply.kind == "failed" and isinstance(reply.error, OutcomeUnknownError):
            self._acted.unknown = reply.error

    def _answer(
        self,
        number: int,
        use: JsonObject,
        text: str,
        *,
        failed: bool,
        outcome: str,
        meta: JsonObject | None = None,
        told: str | None = None,
    ) -> None:
        self._answers[number] = (text, failed)
        note = self._notes[number] = _note(use, str(use.get("name")))
        _finish_note(note, outcome, told or text, meta or {})
        if outcome in ("refused", "not run"):
            self._context.say("tool", {"tool": note["tool"], "state": outcome, "says": note["says"]})


async def carry_out(context: Context, call: ToolCall, at: Position, *, name: str) -> Reply:
    """Make one write as a step of its own, and learn what it gave."""

    def heard(reply: Reply) -> Reply:  # within the step: a resumed run does not tell it again
        context.say("tool", {"tool": call.tool, "state": reply.kind, "says": _says(reply)})
        return reply

    reply = await call_in_steps(
        call,
        at=at,
        session=context.session,
        steps=cast("Steps", _Spanned(context, call)),
        name=name,
        retried=context.retried,
        tell=context.tell,
        finish=heard,
    )
    ledger_id = reply.meta.get("ledger_id")
    if isinstance(ledger_id, int) and ledger_id not in context.ledger_ids:
        context.ledger_ids.append(ledger_id)
    if reply.kind == "done":
        context.known.learn([reply.value], call.tool)
        if reply.meta.get("repeat_of") is None:
            context.deeds.append(f"{_in_words(call)}: {reply.value.get('id', 'done')} (ledger entry {ledger_id})")
    return reply


class _Spanned:
    """The run's steps, whose work is told and traced while it is done: not its wait, and not when it is replayed."""

    def __init__(self, context: Context, call: ToolCall) -> None:
        self._context = context
        self._call = call

    def __getattr__(self, name: str) -> object:
        return getattr(self._context.steps, name)

    async def step(self, name: str, work: Work) -> JsonValue:
        tool = self._call.tool

        async def told() -> JsonValue:
            arguments = masked_object(self._call.params)
            self._context.say("tool", {"tool": tool, "arguments": arguments, "state": "begins"})
            with span("execute_tool", tool, {"gen_ai.tool.name": tool, "gen_ai.tool.type": "function"}):
                return await work()

        return await self._context.steps.step(name, told)


def _told(context: Context, call: ToolCall, reply: Reply, fields: Sequence[str]) -> tuple[str, bool]:
    """What the model is told of a write."""
    repeated = reply.meta.get("repeat_of")
    begin = ""
    if repeated is not None:
        begin = (
            f"NOTHING WAS EXECUTED: this call repeats ledger entry {repeated} of this run. If a second one is really "
            "wanted, say why in `intent`; a person is asked then. The recorded outcome: "
        )
    if reply.kind == "done":
        shown_value = object_text(reply.value, fields=fields, vocabulary=context.known.vocabulary)
        entry = reply.meta.get("ledger_id")
        return f"{begin or f'done (ledger entry {entry}): '}{shown_value}", False
    if reply.kind == "planned":
        number = reply.value["number"]
        return (
            f"planned: {number}. Nothing was executed and there is no id yet; a person decides on the whole plan "
            "after your answer, so no other call may depend on it",
            False,
        )
    return f"{begin}{error_text(reply.error)}", True


def _says(reply: Reply) -> str:
    """A write's end in one line, for people."""
    if reply.kind == "done":
        told = brief(reply.value)
    elif reply.kind == "failed":
        told = error_text(reply.error)
    elif reply.kind == "planned":
        told = f"number {reply.value['number']} of the plan"
    else:
        told = f"approval {reply.value.get('approval_id')}: {reply.value.get('reason')}"
    return masked_text(told)[:300]


def _outcome(reply: Reply) -> str:
    if reply.meta.get("repeat_of") is not None:
        return "repeat, not executed"
    return f"planned {reply.value['number']}" if reply.kind == "planned" else reply.kind


def _for_the_person(context: Context, write: _Write) -> JsonObject:
    """What an approval shows beside the call."""
    facts: JsonObject = {"asked_by": f"the agent of node {context.at.node} ({context.spec.model})"}
    customers = context.known.customers_of(write.bound)
    if customers:
        facts["customer"] = ", ".join(customers[:5])
    facts["so_far"] = [*context.deeds[-_MOST_DEEDS:]] or "this run has changed nothing yet"
    if write.call.intent is not None:
        facts["intent"] = masked_text(write.call.intent)
    return facts


def _in_words(call: ToolCall) -> str:
    params = call.params
    if "method" in params and "path" in params:
        return f"{params['method']} {params['path']}"
    return call.tool


# Arguments of ours


def _fields(ours: JsonObject) -> tuple[str, ...]:
    value = ours.get("fields", [])
    names = [one for one in value if isinstance(one, str)] if isinstance(value, list) else None
    if names is None or len(names) != len(cast("list[JsonValue]", value)) or len(names) > _MOST_FIELDS:
        raise InputError(f"fields: must be a list of at most {_MOST_FIELDS} names")
    wrong = next((name for name in names if not _FIELD.fullmatch(name)), None)
    if wrong is not None:
        raise InputError(f"fields: {shown(wrong)} is no name of a field, such as payment_method_details.card.brand")
    return tuple(names)


def _flag(ours: JsonObject, name: str) -> bool:
    value = ours.get(name, False)
    if not isinstance(value, bool):
        raise InputError(f"{name}: must be true or false")
    return value


def _intent(ours: JsonObject) -> str | None:
    value = ours.get("intent")
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_INTENT:
        raise InputError(f"intent: must say in 1 to {_LONGEST_INTENT} characters why the call is wanted again")
    return value


# Notes for the transcript


def _note(use: JsonObject, tool: str) -> JsonObject:
    given = use.get("input")
    arguments = masked_object(given) if isinstance(given, dict) else {}
    return {"tool": masked_text(tool)[:64], "arguments": arguments}


def _finish_note(note: JsonObject, outcome: str, text: str, meta: JsonObject) -> None:
    note["outcome"] = outcome
    note["says"] = masked_text(text.split("\n", 1)[0])[:300]
    for name in ("ledger_id", "repeat_of", "request_ids"):
        value = meta.get(name)
        if value:
            note[name] = value if name != "request_ids" else cast("list[JsonValue]", value)[:3]

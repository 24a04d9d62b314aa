"""The loop: ask the model, make its calls, until it answers. Read `Agent.run` first.

limits? ─► model (a step) ─► tool_use ─► the calls of the turn (steps) ─┐
  ▲                     └──► an answer ─► plan? ─► schema ─► grounding  │
  └──────────────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Literal, cast

from spojit_stripe.agent.acting import act
from spojit_stripe.agent.answer import checked, money_in, ungrounded
from spojit_stripe.agent.context import Context
from spojit_stripe.agent.knowledge import Knowledge, vocabulary_of
from spojit_stripe.agent.masks import masked_text
from spojit_stripe.agent.model import Claude, Model, ModelReply, ModelRequest
from spojit_stripe.agent.planning import execute_plan
from spojit_stripe.agent.pricing import Tokens, cost_of
from spojit_stripe.agent.spans import span
from spojit_stripe.agent.spec import AgentSpec
from spojit_stripe.agent.toolbox import Toolbox
from spojit_stripe.agent.transcript import money_of
from spojit_stripe.agent.wording import system_prompt
from spojit_stripe.calling import Tell
from spojit_stripe.data import ArtifactStore
from spojit_stripe.errors import RefusedError, ServiceError, SpojitError, UnavailableError, error_from_record
from spojit_stripe.session import Session
from spojit_stripe.steps import Steps
from spojit_stripe.values import JsonObject, JsonValue, Position

__all__ = ["Agent", "AgentReply", "run_agent"]

_MOST_TOKENS: Final = 32_768


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReply:
    """How an agent ended. `value` is its answer (text, or an object of the schema), None where there is none.

    `meta` says whether it is `incomplete` and why it stopped, what is `ungrounded`, and what was
    used; `meta.place` is the number of steps before the one that failed. A failure is `error`.
    """

    kind: Literal["done", "failed"]
    value: JsonValue
    meta: JsonObject
    transcript: JsonObject
    failure: JsonObject = field(default_factory=dict[str, JsonValue])

    @property
    def error(self) -> SpojitError:
        """What went wrong, of a failed one."""
        return error_from_record(self.failure)

    def to_json(self) -> JsonObject:
        return {
            "kind": self.kind,
            "value": self.value,
            "meta": self.meta,
            "transcript": self.transcript,
            "failure": self.failure,
        }

    @classmethod
    def of_json(cls, record: JsonValue) -> AgentReply:
        return cls(**cast("dict[str, JsonObject]", record))  # type: ignore[arg-type]  # written by to_json above


async def run_agent(
    spec: AgentSpec,
    *,
    at: Position,
    session: Session,
    steps: Steps,
    store: ArtifactStore,
    tell: Tell | None = None,
    model: Model | None = None,
    retried: frozenset[int] = frozenset(),
) -> AgentReply:
    """Run one agent to its answer, through pauses, as steps of a run.

    `at` is the node's place; its calls are numbered from there. `session` must be one `by_agent`,
    with the node's policies in it. `tell` hears `tools`, `text`, `tool`, `turn`, `waiting` and
    `woken`. `retried` are ledger entries that a person chose to try again.

    Raises `InputError` for a spec that can't work; everything else is in the reply.
    """
    if not session.by_agent:
        raise ValueError("run_agent needs a session made with by_agent=True")
    spec.check(session.connector.catalog)
    asked: Model = model or Claude()
    try:
        facts = {"gen_ai.agent.name": at.node, "gen_ai.request.model": spec.model}
        with span("invoke_agent", at.node, facts):
            agent = Agent(spec, at, session, steps, store, tell, asked)
            agent.context.retried = retried
            return await agent.run()
    finally:
        if model is None:
            await asked.aclose()


class _StoppedError(Exception):
    """The agent ends without an answer of its own."""

    def __init__(self, why: str, error: SpojitError | None = None, place: int | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.error = error
        self.place = place


class Agent:
    """One run of one agent. All its state comes from its inputs and from recorded steps."""

    def __init__(
        self,
        spec: AgentSpec,
        at: Position,
        session: Session,
        steps: Steps,
        store: ArtifactStore,
        tell: Tell | None,
        model: Model,
    ) -> None:
        self.spec = spec
        self.model = model
        self.prompt = masked_text(spec.prompt.encode("utf-8", "replace").decode())  # half characters can't be sent
        self.context = Context(
            spec=spec,
            at=at,
            session=session,
            steps=steps,
            store=store,
            tell=tell,
            box=Toolbox(spec, session),
            known=Knowledge(vocabulary_of(session.connector), spec.trusted, self.prompt),
        )
        self.messages: list[JsonObject] = []
        self.turns: list[JsonObject] = []
        self.tokens = Tokens()
        self.cost: Decimal | None = Decimal(0)
        self.corrections = 0
        self.max_tokens = spec.max_tokens
        self.plan: JsonObject | None = None
        self.last_text = ""
        self.limit: str | None = None
        self._told_to_stop = False
        self._turn_place = 0
        self.system = system_prompt(spec, session.rules.writes)

    async def run(self) -> AgentReply:
        context = self.context
        now = datetime.fromtimestamp(await context.steps.now(), UTC)
        context.known.learn_numbers([minor for _, minor in money_in(self.prompt)])
        self._ask(f"It is {now:%Y-%m-%dT%H:%M:%SZ} (Unix time {int(now.timestamp())}).\n\n{self.prompt}")
        shares = context.box.shares()
        context.say("tools", {name: tokens for name, tokens in shares})
        try:
            context.session.wire  # noqa: B018 # an unusable secret is found before the model is asked
            while True:
                reply = await self._turn()
                if reply.stop_reason == "tool_use" and reply.tool_uses and not self._closing:
                    await self._act(reply)
                elif (value := await self._answered(reply)) is not None:
                    return self._reply(value)
        except _StoppedError as stopped:
            return self._ended(stopped)
        except SpojitError as error:  # an artifact that is gone, a folder that is full
            return self._failed(error, error.message, context.steps.place)

    # Asking

    async def _turn(self) -> ModelReply:
        """Ask the model, as a step; raises `_StoppedError` where nothing can be made of its reply."""
        self._check_limits()
        number = len(self.turns) + 1
        final = self._closing
        if self.limit is not None and not self._told_to_stop:
            self._told_to_stop = True
            self._ask(f"Stop here: {self.limit}. Answer now with what you know, and say what is missing.")
        context = self.context
        request = ModelRequest(
            model=self.spec.model,
            system=self.system,
            tools=context.box.definitions,
            messages=tuple(self.messages),
            max_tokens=self.max_tokens,
            final=final,
        )
        place = self._turn_place = context.steps.place
        record = cast("JsonObject", await context.steps.step(f"turn {number} model", lambda: self._asked(request)))
        context.seconds += cast("float", record["seconds"])
        # What was cut off stays cut off where the limits of another attempt are higher.
        self.limit = self.limit or cast("str | None", record.get("limit"))
        if "error" in record:
            error = error_from_record(cast("JsonObject", record["error"]))
            raise _StoppedError(error.message, error, place)
        reply = ModelReply.of_json(record)
        self._count(number, reply)
        self._check_reply(reply, place)
        return reply

    async def _asked(self, request: ModelRequest) -> JsonValue:
        begun = time.monotonic()
        context = self.context
        number = len(self.turns) + 1

        def heard(text: str) -> None:
            context.say("text", {"turn": number, "text": masked_text(text)})

        try:
            async with asyncio.timeout(context.seconds_left):
                record = (await self.model.reply(request, heard=heard)).to_json()
        except TimeoutError:
            error = UnavailableError(f"the model did not answer within limits.seconds ({self.spec.limits.seconds:g} s)")
            record = {"error": error.to_json()}
        except SpojitError as error:
            record = {"error": error.to_json()}
        return {**record, "seconds": round(time.monotonic() - begun, 3), "limit": self.limit}

    def _count(self, number: int, reply: ModelReply) -> None:
        self.tokens += reply.tokens
        cost = cost_of(reply.tokens, reply.model) if self.cost is not None else None
        self.cost = None if self.cost is None or cost is None else self.cost + cost
        self.last_text = reply.text or self.last_text
        turn: JsonObject = {
            "turn": number,
            "stop_reason": reply.stop_reason,
            "text": masked_text(reply.text),
            "tokens": reply.tokens.to_json(),
            "cost_usd": money_of(cost),
            "request_id": reply.request_id,
            "calls": [],
        }
        self.turns.append(turn)
        self.context.say("turn", {name: value for name, value in turn.items() if name != "calls"})

    def _check_reply(self, reply: ModelReply, place: int) -> None:
        """What can be neither run nor read. Tools run only after `tool_use`."""
        if reply.stop_reason == "refusal":
            raise _StoppedError("refusal", ServiceError("the model declined to work on this; change the prompt"), place)
        if reply.stop_reason == "model_context_window_exceeded":
            raise _StoppedError("the conversation no longer fits the model; fetch less, or use query-data")
        if reply.stop_reason == "max_tokens":
            if self.max_tokens >= _MOST_TOKENS:
                raise _StoppedError(f"the model's reply did not fit {self.max_tokens} tokens")
            self.max_tokens = min(self.max_tokens * 2, _MOST_TOKENS)

    # Limits

    @property
    def _closing(self) -> bool:
        """Whether only an answer is wanted from here on."""
        return self.limit is not None or (self.plan is not None)

    def _check_limits(self) -> None:
        """Ask for a last answer where one more turn is affordable, else stop."""
        limits, context = self.spec.limits, self.context
        if self.tokens.total >= limits.tokens:
            raise _StoppedError(f"limits.tokens ({limits.tokens}) is reached")
        if self.cost is not None and self.cost >= Decimal(str(limits.cost_usd)):
            raise _StoppedError(f"limits.cost_usd ({limits.cost_usd:g}) is reached")
        if context.seconds >= limits.seconds:
            raise _StoppedError(f"limits.seconds ({limits.seconds:g}) is reached")
        if len(self.turns) >= limits.turns and not (self.plan is not None and len(self.turns) == limits.turns):
            raise _StoppedError(f"limits.turns ({limits.turns}) is reached")
        if self._closing:
            return
        if context.tool_calls >= limits.tool_calls:
            self.limit = f"limits.tool_calls ({limits.tool_calls}) is reached"
        elif context.known.objects >= limits.objects:
            self.limit = f"limits.objects ({limits.objects}) is reached"
        elif len(self.turns) == limits.turns - 1 and self.turns:
            self.limit = f"limits.turns ({limits.turns}) is reached with this answer"

    # What a reply says

    async def _act(self, reply: ModelReply) -> None:
        acted = await act(self.context, len(self.turns), reply.tool_uses)
        self.turns[-1]["calls"] = cast("JsonValue", acted.notes)
        said: list[JsonValue] = [_as_sent(block) for block in reply.content if not _is_blank(block)]
        self.messages.append({"role": "assistant", "content": said})
        self.messages.append({"role": "user", "content": acted.results})
        if acted.unknown is not None:
            raise _StoppedError(acted.unknown.message, acted.unknown, self.context.steps.place - 1)

    async def _answered(self, reply: ModelReply) -> JsonValue:
        """The answer, or None where the model has to go on."""
        if reply.stop_reason == "max_tokens":
            return None  # asked again with more room; nothing of the half reply is kept
        blocks = [
            one
            for one in reply.content
            if not _is_blank(one) and not (isinstance(one, dict) and one.get("type") == "tool_use")
        ]
        if blocks and (reply.text or reply.stop_reason == "pause_turn"):
            self.messages.append({"role": "assistant", "content": blocks})
        if reply.stop_reason == "pause_turn":
            self._ask("Go on.")
            return None
        if self.context.proposals and self.plan is None and self.limit is None:
            await self._decide_plan()
            return None
        if not reply.text:
            self._correct(("there is no answer in your reply; write it",))
            return None
        found = checked(reply.text, self.spec.response_schema)
        if found.faults:
            self._correct(found.faults)
            return None
        return found.value

    async def _decide_plan(self) -> None:
        executed = await execute_plan(self.context)
        self.plan = {"state": executed.state, "calls": cast("JsonValue", executed.calls)}
        if executed.unknown is not None:
            raise _StoppedError(executed.unknown.message, executed.unknown, self.context.steps.place - 1)
        self._ask(f"{executed.text}\nNow write the final answer: it tells what was really executed, and what was not.")

    def _correct(self, faults: tuple[str, ...]) -> None:
        if self.corrections >= self.spec.corrections:
            told = "; ".join(faults)
            error = ServiceError(f"the agent's answer is no good after {self.corrections} corrections: {told}")
            raise _StoppedError(error.message, error, self._turn_place)
        self.corrections += 1
        self._ask(f"The answer can't be used: {'; '.join(faults)}. Write it anew, whole.")

    def _ask(self, text: str) -> None:
        """Add words of ours, to the results that end the conversation where there are some."""
        block: JsonObject = {"type": "text", "text": text}
        if self.messages and self.messages[-1]["role"] == "user":
            last = self.messages[-1]
            self.messages[-1] = {**last, "content": [*cast("list[JsonValue]", last["content"]), block]}
        else:
            self.messages.append({"role": "user", "content": [block]})

    # The end

    def _reply(self, value: JsonValue) -> AgentReply:
        loose = ungrounded(value, self.context.known)
        if self.limit is not None and self.spec.on_limit == "fail":
            return self._failed(RefusedError(_over(self.limit)), self.limit, None)
        meta = self._meta(self.limit, loose)
        return AgentReply(kind="done", value=value, meta=meta, transcript=self._transcript(meta))

    def _ended(self, stopped: _StoppedError) -> AgentReply:
        if stopped.error is not None:
            return self._failed(stopped.error, stopped.why, stopped.place)
        if self.spec.on_limit == "fail":
            return self._failed(RefusedError(_over(stopped.why)), stopped.why, None)
        value = masked_text(self.last_text) or None if self.spec.response_schema is None else None
        meta = self._meta(stopped.why, ungrounded(value, self.context.known))
        return AgentReply(kind="done", value=value, meta=meta, transcript=self._transcript(meta))

    def _failed(self, error: SpojitError, why: str, place: int | None) -> AgentReply:
        meta = self._meta(why, [])
        if place is not None:
            meta["place"] = place
        return AgentReply(
            kind="failed", value=None, meta=meta, transcript=self._transcript(meta), failure=error.to_json()
        )

    def _meta(self, why: str | None, loose: list[JsonValue]) -> JsonObject:
        context = self.context
        warnings: list[JsonValue] = []
        if self.cost is None:
            warnings.append(f"the price of {self.spec.model} is not known, so limits.cost_usd was not held")
        if context.proposals and self.plan is None:
            warnings.append("the plan was not put to a person; nothing of it was executed")
        planned = "approved" if self.plan is None else self.plan["state"]
        if planned != "approved":
            warnings.append(f"the plan is {planned}; nothing of it was executed")
        if planned not in ("approved", "rejected"):
            why = why or f"the plan is {planned}"
        return {
            "model": self.spec.model,
            "incomplete": why is not None,
            "stopped_because": why or "answered",
            "ungrounded": loose,
            "turns": len(self.turns),
            "tool_calls": context.tool_calls,
            "objects": context.known.objects,
            "tokens": self.tokens.to_json(),
            "cost_usd": money_of(self.cost),
            "corrections": self.corrections,
            "ledger_ids": cast("JsonValue", list(context.ledger_ids)),
            "warnings": warnings,
        }

    def _transcript(self, meta: JsonObject) -> JsonObject:
        shares = self.context.box.shares()
        transcript: JsonObject = {
            "model": self.spec.model,
            "tools": [{"tool": name, "tokens": tokens} for name, tokens in shares],
            "prompt": self.prompt,
            "turns": cast("JsonValue", self.turns),
            "turn_count": meta["turns"],
            "tool_calls": meta["tool_calls"],
            "tokens": meta["tokens"],
            "cost_usd": meta["cost_usd"],
            "ended": meta["stopped_because"],
            "ungrounded": meta["ungrounded"],
        }
        if self.plan is not None:
            transcript["plan"] = self.plan
        return transcript


def _as_sent(block: JsonValue) -> JsonValue:
    """A block as it goes back: unchanged, but for arguments that the API itself would refuse."""
    if isinstance(block, dict) and block.get("type") == "tool_use" and not isinstance(block.get("input"), dict):
        return {**block, "input": {}}
    return block


def _is_blank(block: JsonValue) -> bool:
    """A text of nothing but spaces, which models write before a call and the API takes back from nobody."""
    return isinstance(block, dict) and block.get("type") == "text" and not str(block.get("text", "")).strip()


def _over(why: str) -> str:
    return f"the agent stopped before it had its answer: {why}; raise the limit, or ask for less"

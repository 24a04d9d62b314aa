"""`agent QUESTION`: Agent Mode without a workflow; what it did is told, and what it cost."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import click

from spojit_stripe.cli.base import Command, Settings, settings_of
from spojit_stripe.cli.given import json_object_from
from spojit_stripe.cli.report import data_line, json_text, note, report_error, warn
from spojit_stripe.cli.show import write_table
from spojit_stripe.errors import InputError, OutcomeUnknownError
from spojit_stripe.redact import printable, redact_text
from spojit_stripe.values import JsonObject, JsonValue, Position

if TYPE_CHECKING:
    from spojit_stripe.agent import AgentReply, AgentSpec
    from spojit_stripe.agent.journal import JournalSteps
    from spojit_stripe.host import Host

__all__ = ["agent"]

WAITING: Final = 5
EXCEPTIONS: Final = 8
_POLL_SECONDS: Final = 1.0


@click.command(
    "agent",
    cls=Command,
    uses=("connections", "connection", "state", "json"),
    acts=True,
    help=(
        "Ask a question that takes several calls to answer. Reads only, unless --writes says more.\n\n"
        "The model's key is ANTHROPIC_API_KEY. Repeating a command with the same --run-id goes on where it "
        "stopped: the model is asked nothing twice, and no money moves twice."
    ),
)
@click.argument("question")
@click.option("--tools", multiple=True, metavar="A,B", help="Tools it may use; all that only read when left out.")
@click.option("--model", metavar="NAME", help="Model to ask.")
@click.option(
    "--writes",
    type=click.Choice(["deny", "plan", "ask"]),
    default="deny",
    show_default=True,
    help="deny: reads only. plan: propose, one approval for all. ask: an approval for each write.",
)
@click.option("--schema", metavar="JSON|@FILE", help="JSON Schema of the answer, which is an object then.")
@click.option("--max-turns", type=int, metavar="N", help="Turns of the model at most.")
@click.option("--max-calls", type=int, metavar="N", help="Calls of tools at most.")
@click.option("--cost", type=float, metavar="USD", help="Stop when the model has cost this much.")
@click.option("--run-id", metavar="ID", help="Name of this run, to go on with it. Made up when left out.")
@click.option("--wait", is_flag=True, help="Wait for approvals instead of ending with exit code 5.")
@click.option("--transcript", is_flag=True, help="Tell every turn and call at the end.")
@click.pass_context
def agent(ctx: click.Context, /, **given: Any) -> int:
    settings = settings_of(ctx)
    run_id = cast("str | None", given["run_id"])
    if run_id is not None and (not run_id.strip() or len(run_id) > 200):
        raise InputError("--run-id: must have 1 to 200 characters")
    spec = _spec(given)
    asked = _Asked(run_id or _new_run_id(), given["writes"], given["wait"], given["transcript"])
    with settings.host() as host:
        return _run(settings, host, spec, asked)


@dataclass(frozen=True, slots=True)
class _Asked:
    run_id: str
    writes: str
    wait: bool
    transcript: bool


class _WaitingError(Exception):
    """Ends the process at a pause; the same run id goes on there."""


def _spec(given: dict[str, Any]) -> AgentSpec:
    from spojit_stripe.agent import DEFAULT_MODEL, AgentSpec, Limits

    limits = {"turns": given["max_turns"], "tool_calls": given["max_calls"], "cost_usd": given["cost"]}
    names = tuple(name.strip() for text in given["tools"] for name in text.split(",") if name.strip())
    schema = given["schema"]
    return AgentSpec(
        prompt=given["question"],
        tools=names or None,
        model=given["model"] if given["model"] is not None else DEFAULT_MODEL,
        limits=Limits(**{name: value for name, value in limits.items() if value is not None}),
        response_schema=json_object_from(schema, "--schema") if schema is not None else None,
        trusted=(given["question"],),  # a person typed it
    )


def _new_run_id() -> str:
    return f"agent-{datetime.fromtimestamp(time.time(), UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def _run(settings: Settings, host: Host, spec: AgentSpec, asked: _Asked) -> int:
    from spojit_stripe.agent.journal import JournalSteps

    connection = settings.chosen(host.connections)
    for text in connection.warnings:
        warn(text)
    spec.check(host.connector(connection.connector).catalog)
    records = host.records  # an unusable folder is found before anything is asked
    show = _Show(live=sys.stderr.isatty() and sys.stdout.isatty() and not settings.json)
    question: JsonObject = {
        "question": redact_text(spec.prompt),
        "connection": connection.name,
        "tools": [*spec.tools] if spec.tools is not None else None,
        "model": spec.model,
        "schema": spec.response_schema,
        "writes": asked.writes,
    }

    async def pause(topic: str, seconds: float | None) -> JsonValue:
        approval_id = topic.removeprefix("approval:")
        ends = None if seconds is None else time.monotonic() + seconds
        while (approval := records.approvals.get(approval_id)).state == "pending":
            if approval.standing(host.clock()) == "expired":
                return None
            if not asked.wait:
                raise _WaitingError
            if ends is not None and time.monotonic() > ends:
                return None
            await asyncio.sleep(_POLL_SECONDS)
        return "decided"

    with JournalSteps(host.state, asked.run_id, question, pause=pause) as steps:
        if steps.replayed:
            note(f"going on with run {asked.run_id}: {steps.replayed} steps are done already")
        try:
            reply = asyncio.run(_go(host, settings, spec, asked, steps, show.tell))
        except _WaitingError:
            return _tell_waiting(settings, asked, show)
        place = reply.meta.get("place")
        if isinstance(place, int):
            steps.rewind(place)  # the same run id tries the failed step again
    if records.reads.fault is not None:
        warn(f"reads are not in the ledger: {records.reads.fault.message}")
    return _tell(settings, asked, reply, show)


async def _go(
    host: Host,
    settings: Settings,
    spec: AgentSpec,
    asked: _Asked,
    steps: JournalSteps,
    tell: Callable[[str, JsonObject], None],
) -> AgentReply:
    from spojit_stripe.agent import run_agent
    from spojit_stripe.connection import Policy
    from spojit_stripe.data import ArtifactStore

    narrower = Policy.model_validate({"writes": asked.writes})
    session = host.session(
        settings.chosen(host.connections), narrower=(narrower,), by_agent=True, refuse_twins="always"
    )
    if session.rules.writes.value != asked.writes:
        warn(f"connection {session.connection.name!r} says writes: {session.rules.writes}; --writes can't widen it")
    async with session:
        return await run_agent(
            spec,
            at=Position(run_id=asked.run_id, node="agent"),
            session=session,
            steps=steps,
            store=ArtifactStore(host.state),
            tell=tell,
        )


# What is seen


class _Show:
    """Tells what happens as it happens, on standard error; `live` shows text as it comes."""

    def __init__(self, *, live: bool) -> None:
        self.live = live
        self.waiting: list[JsonObject] = []
        self._open = False

    def tell(self, kind: str, facts: JsonObject) -> None:
        match kind:
            case "text" if self.live:
                self._text(str(facts["text"]))
            case "turn":
                self._end_line()
                if not self.live and facts["stop_reason"] == "tool_use" and facts["text"]:
                    note(str(facts["text"]))
            case "tool":
                self._end_line()
                self._tool(facts)
            case "tools":
                total = sum(cast("int", tokens) for tokens in facts.values())
                note(f"{len(facts)} tools, about {total} tokens of every prompt")
            case "waiting":
                self._end_line()
                self.waiting.append(facts)
            case _:
                pass

    def _text(self, text: str) -> None:
        if not text:
            text = "\n(the reply broke off and is asked for again)\n"
        # Its own newlines stay; everything else that a terminal would obey does not.
        sys.stderr.write("\n".join(printable(line) for line in redact_text(text).split("\n")))
        sys.stderr.flush()
        self._open = True

    def _end_line(self) -> None:
        if self._open:
            sys.stderr.write("\n")
            self._open = False

    @staticmethod
    def _tool(facts: JsonObject) -> None:
        state = facts["state"]
        if state == "begins":
            note(f"→ {facts['tool']} {json_text(facts.get('arguments'), indent=None)}")
        else:
            says = facts.get("says")
            note(f"  {facts['tool']}: {state}{f', {says}' if says else ''}")


def _tell_waiting(settings: Settings, asked: _Asked, show: _Show) -> int:
    facts = show.waiting[-1]
    approval = facts.get("approval_id")
    note(f"waiting for approval {approval}: {facts.get('reason')}")
    note(
        f"look at it with `spojit-stripe approvals show {approval}`, decide with `approvals approve` or `reject`, then "
        f"repeat this command with --run-id {asked.run_id}; nothing is asked or sent twice"
    )
    if settings.json:
        told: JsonObject = {"paused": approval, **facts, "run_id": asked.run_id, "exit_code": WAITING}
        data_line(json_text(told))
    return WAITING


def _tell(settings: Settings, asked: _Asked, reply: AgentReply, show: _Show) -> int:
    _tell_transcript(reply, whole=asked.transcript)
    meta = reply.meta
    for text in cast("list[str]", meta.get("warnings") or []):
        warn(text)
    for text in cast("list[str]", meta.get("ungrounded") or []):
        warn(f"not found in any result: {text}")
    code = EXCEPTIONS if meta.get("incomplete") else 0
    if reply.kind == "failed":
        more: JsonObject = {"run_id": asked.run_id, "meta": meta, "transcript": reply.transcript}
        code = report_error(reply.error, as_json=settings.json, more=more)
        note(f"       repeat with --run-id {asked.run_id} to go on from there; nothing is asked or sent twice")
        if isinstance(reply.error, OutcomeUnknownError):
            note(f"       where that can't tell: `spojit-stripe ledger list --run-id {asked.run_id}`, `ledger resolve`")
        return code
    if meta.get("incomplete"):
        warn(f"incomplete: {meta.get('stopped_because')}")
    if settings.json:
        told = {"answer": reply.value, "meta": meta, "transcript": reply.transcript}
        data_line(json_text({**told, "run_id": asked.run_id, "exit_code": code}))
    elif isinstance(reply.value, str):
        if not show.live:
            data_line("\n".join(printable(line) for line in redact_text(reply.value).split("\n")))
    elif reply.value is not None:
        data_line(json_text(reply.value))
    return code


def _tell_transcript(reply: AgentReply, *, whole: bool) -> None:
    from spojit_stripe.agent import render_transcript
    from spojit_stripe.agent.transcript import shown_cost

    if whole:
        sys.stderr.write(render_transcript(reply.transcript))
        return
    rows: list[list[str]] = []
    for turn in cast("list[JsonObject]", reply.transcript["turns"]):
        for call in cast("list[JsonObject]", turn["calls"]):
            entry = call.get("ledger_id")
            says = printable(str(call.get("says", "")))
            shown = [str(turn["turn"]), str(call["tool"]), str(call["outcome"]), str(entry or ""), says]
            rows.append([printable(one) for one in shown])
    if rows:
        write_table(sys.stderr, ["turn", "tool", "outcome", "ledger", "what"], rows, right=frozenset({0, 3}), wrapped=4)
    tokens = sum(cast("int", one) for one in cast("JsonObject", reply.meta["tokens"]).values())
    note(
        f"{reply.meta['turns']} turns, {reply.meta['tool_calls']} calls, {tokens} tokens, "
        f"{shown_cost(reply.meta['cost_usd'])} ({reply.meta['model']})"
    )

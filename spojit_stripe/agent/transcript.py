"""What an agent did, turn by turn: as data in its reply, and as text for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, cast

from spojit_stripe.redact import printable
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["money_of", "render_transcript", "shown_cost"]

_LONGEST: Final = 400


def money_of(cost: Decimal | None) -> float | None:
    """A model's cost in US dollars, to the millionth; None where the price is not known."""
    return None if cost is None else float(round(cost, 6))


def shown_cost(cost: JsonValue) -> str:
    """`0.0107 USD`, for people."""
    return f"{cost:.4f} USD" if isinstance(cost, float) else "price not known"


def render_transcript(transcript: Mapping[str, JsonValue]) -> str:
    """The transcript of a reply as text: every line is safe to print on a terminal."""
    lines = [f"model {_text(transcript.get('model'))}"]
    tools = cast("list[JsonObject]", transcript.get("tools") or [])
    if tools:
        total = sum(cast("int", one["tokens"]) for one in tools)
        shown = ", ".join(f"{_text(one['tool'])} {one['tokens']}" for one in tools)
        lines.append(f"tools, about {total} tokens of every prompt: {shown}")
    prompt = _text(transcript.get("prompt"))
    if prompt:
        lines += ["", f"asked: {_cut(prompt)}"]
    for turn in cast("list[JsonObject]", transcript.get("turns") or []):
        lines += ["", *_turn(turn)]
    plan = transcript.get("plan")
    if isinstance(plan, dict):
        lines += ["", f"plan: {_text(plan.get('state'))}"]
        lines += [f"  {_plan_line(one)}" for one in cast("list[JsonObject]", plan.get("calls") or [])]
    lines += ["", *_end(transcript)]
    return "\n".join(lines) + "\n"


def _turn(turn: JsonObject) -> Iterable[str]:
    tokens = cast("JsonObject", turn.get("tokens") or {})
    spent = f"{tokens.get('input', 0)} in, {tokens.get('output', 0)} out"
    cached = f"{tokens.get('cache_read', 0)} from the cache, {tokens.get('cache_write', 0)} into it"
    cost = shown_cost(turn.get("cost_usd"))
    yield f"turn {turn.get('turn')}: {spent}, {cached}, {cost} ({_text(turn.get('stop_reason'))})"
    said = _text(turn.get("text"))
    if said:
        yield f"  says: {_cut(said)}"
    for call in cast("list[JsonObject]", turn.get("calls") or []):
        arguments = json.dumps(call.get("arguments"), ensure_ascii=False)
        yield f"  {_text(call.get('tool'))} {_cut(printable(arguments))}"
        entry = f" (ledger entry {call['ledger_id']})" if call.get("ledger_id") else ""
        yield f"    {_text(call.get('outcome'))}{entry}: {_cut(_text(call.get('says')))}"


def _plan_line(call: JsonObject) -> str:
    entry = f" (ledger entry {call['ledger_id']})" if call.get("ledger_id") else ""
    what = _text(call.get("says"))
    return f"{call.get('number')}. {_text(call.get('tool'))}: {_text(call.get('outcome'))} {what}{entry}".rstrip()


def _end(transcript: Mapping[str, JsonValue]) -> Iterable[str]:
    tokens = cast("JsonObject", transcript.get("tokens") or {})
    total = sum(value for value in tokens.values() if isinstance(value, int))
    price = shown_cost(transcript.get("cost_usd"))
    turns, calls = transcript.get("turn_count", 0), transcript.get("tool_calls", 0)
    yield f"together: {turns} turns, {calls} tool calls, {total} tokens, {price}"
    ended = _text(transcript.get("ended"))
    if ended:
        yield f"ended: {ended}"
    for line in cast("list[JsonValue]", transcript.get("ungrounded") or []):
        yield f"not found in any result: {_text(line)}"


def _text(value: JsonValue) -> str:
    return "" if value is None else printable(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"

"""The reads of a turn: side by side, in one step, whose record is small whatever was fetched."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from spojit_stripe.agent.context import Context
from spojit_stripe.agent.knowledge import kind_of
from spojit_stripe.agent.lean import brief, list_text, object_text, table_text
from spojit_stripe.agent.masks import masked_text
from spojit_stripe.agent.spans import span
from spojit_stripe.agent.toolbox import Offer
from spojit_stripe.calling import outcome_in_time, reply_of
from spojit_stripe.catalog import Tool
from spojit_stripe.connector import BoundCall, Explains
from spojit_stripe.data import Spool, SqlLimits, Table, run_sql, segment
from spojit_stripe.errors import SpojitError
from spojit_stripe.redact import printable, redact_text
from spojit_stripe.values import JsonObject, JsonValue, Paging, Position, ToolCall

__all__ = ["Reading", "absorb", "error_text", "read_side_by_side", "says"]

_INLINE_BYTES: Final = 32 * 1024  # more of one list goes to the store: a turn's record stays small
_SQL: Final = SqlLimits(seconds=20.0, result_mb=64)
_MOST_FOUND: Final = 8
_MOST_LEARNT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A checked call that only reads. `call` and `bound` are None for our own tools."""

    offer: Offer
    arguments: JsonObject
    at: Position
    call: ToolCall | None = None
    bound: BoundCall | None = None
    fields: tuple[str, ...] = ()


async def read_side_by_side(context: Context, name: str, batch: Sequence[Reading]) -> list[JsonObject]:
    """Do all of `batch` as the step `name`; gives its records, which `absorb` takes in."""

    async def work() -> JsonValue:
        begun = time.monotonic()
        share = max(1, (context.spec.limits.objects - context.known.objects) // len(batch))
        results = await asyncio.gather(*(_read(context, one, share) for one in batch))
        return {"results": list(results), "seconds": round(time.monotonic() - begun, 3)}

    record = cast("JsonObject", await context.steps.step(name, work))
    context.seconds += cast("float", record["seconds"])
    return cast("list[JsonObject]", record["results"])


def absorb(context: Context, reading: Reading, record: JsonObject) -> None:
    """Learn what a record holds: at the first time, and again when a run is resumed."""
    if record["kind"] != "done":
        return
    known = context.known
    known.learn_numbers(record.get("sums", []))
    if "rows" in record:
        rows = _opened(context, record["rows"])
        if reading.offer.kind == "query":
            known.learn_numbers(list(rows[:_MOST_LEARNT]))
        else:
            known.learn(rows, reading.offer.name, _item_schema(reading.offer.tool))
    elif isinstance(record.get("object"), dict):
        known.learn([record["object"]], reading.offer.name)


def _opened(context: Context, rows: JsonValue) -> Sequence[JsonValue]:
    """Recorded rows, or those behind their handle. Within rows nothing is one: metadata may have its form."""
    return context.store.open(rows) if isinstance(rows, dict) else cast("list[JsonValue]", rows)


async def _read(context: Context, reading: Reading, share: int) -> JsonObject:
    name = reading.offer.name
    context.say("tool", {"tool": name, "arguments": reading.arguments, "state": "begins"})
    with span("execute_tool", name, {"gen_ai.tool.name": name, "gen_ai.tool.type": "function"}):
        try:
            record = await _READERS[reading.offer.kind](context, reading, share)
        except SpojitError as error:
            record = _failed(error)
    context.say("tool", {"tool": name, "state": str(record["kind"]), "says": says(record)})
    return record


def says(record: JsonObject) -> str:
    """A record in one line, for people."""
    told = record.get("says") or str(record["text"]).split("\n", 1)[0]
    return masked_text(str(told))[:300]


async def _call(context: Context, reading: Reading, share: int) -> JsonObject:
    call, bound = cast("ToolCall", reading.call), cast("BoundCall", reading.bound)
    session = context.session
    if bound.listing is None:
        outcome = await outcome_in_time(call, at=reading.at, session=session, seconds=context.seconds_left)
        reply = reply_of(outcome, session)
        if reply.kind == "failed":
            return _failed(reply.error, reply.meta)
        return _object_record(context, reading, reply.value, reply.meta)
    if call.paging.paginate == "all":
        call = replace(call, paging=Paging(paginate="all", max_items=share))
    spool = _spool(context, reading)
    try:
        outcome = await outcome_in_time(call, at=reading.at, session=session, seconds=context.seconds_left, sink=spool)
        reply = reply_of(outcome, session)
        if reply.kind == "failed":
            return _failed(reply.error, reply.meta)
        rows = await asyncio.to_thread(spool.finish)
    finally:
        spool.discard()
    envelope: JsonObject = {key: value for key, value in reply.value.items() if key != "data"}
    return await asyncio.to_thread(_list_record, context, reading, rows, envelope, reply.meta)


def _list_record(
    context: Context, reading: Reading, rows: JsonValue, envelope: JsonObject, meta: JsonObject
) -> JsonObject:
    lazily = _opened(context, rows)
    tool = cast("Tool", reading.offer.tool)
    columns = tool.binding.lean if not tool.binding.raw else ()
    lean = list_text(
        lazily,
        envelope,
        kind=kind_of(lazily[0] if lazily else _item_example(tool), reading.offer.name),
        columns=columns or (("id",) if reading.fields else ()),
        fields=reading.fields,
        vocabulary=context.known.vocabulary,
    )
    return {
        "kind": "done",
        "text": lean.text,
        "rows": rows,
        "sums": list(lean.sums),
        "envelope": envelope,
        "meta": _short_meta(meta),
    }


def _object_record(context: Context, reading: Reading, value: JsonObject, meta: JsonObject) -> JsonObject:
    text = object_text(value, fields=reading.fields, vocabulary=context.known.vocabulary)
    record: JsonObject = {"kind": "done", "text": text, "says": brief(value), "meta": _short_meta(meta)}
    if len(json.dumps(value)) <= _INLINE_BYTES:
        return {**record, "object": value}
    spool = _spool(context, reading)
    spool.write([value])
    return {**record, "rows": spool.finish()}


def _spool(context: Context, reading: Reading) -> Spool:
    at = reading.at
    place = "-".join(map(str, (at.node, *at.indexes, at.ordinal)))
    return context.store.spool(f"{segment(at.run_id)}/{segment(place)}", threshold=_INLINE_BYTES)


async def _query(context: Context, reading: Reading, _share: int) -> JsonObject:
    known = context.known
    if not known.sources:
        return {"kind": "failed", "text": "nothing has been fetched yet; fetch first, then query", "meta": {}}
    tables = {kind: Table(rows=known.rows_of(kind), schema=known.schemas.get(kind)) for kind in known.sources}
    spool = _spool(context, reading)
    folder = context.session.records.path.parent
    sql = str(reading.arguments["sql"])
    try:
        result = await run_sql(sql, tables=tables, params={}, out=spool, limits=_SQL, folder=folder)
        rows = await asyncio.to_thread(spool.finish)
    except SpojitError as error:
        have = ", ".join(f"{kind} ({len(known.rows_of(kind))} rows)" for kind in known.sources)
        return {"kind": "failed", "text": f"{error_text(error)} (tables: {have})", "meta": {}}
    finally:
        spool.discard()
    lazily = _opened(context, rows)
    text = table_text(result.columns, lazily, result.count, known.vocabulary)
    return {"kind": "done", "text": text, "rows": rows, "sums": [result.count], "meta": {}}


async def _find(context: Context, reading: Reading, _share: int) -> JsonObject:
    connector = context.session.connector
    words = str(reading.arguments["words"])[:200]
    found = connector.find(words, _MOST_FOUND) if isinstance(connector, Explains) else []
    lines = [f"{one['method']} {one['path']} ({one['effect']}); params: {one['params']}" for one in found]
    return {"kind": "done", "text": "\n".join(lines) or "no operation fits these words", "meta": {}}


_READERS: Final = {"tool": _call, "query": _query, "find": _find}


def error_text(error: SpojitError) -> str:
    """What the model is told of an error: one line, without secrets, never a `repr`."""
    return printable(redact_text(error.message))[:1_000]


def _failed(error: SpojitError, meta: Mapping[str, JsonValue] | None = None) -> JsonObject:
    return {"kind": "failed", "text": error_text(error), "error": error.to_json(), "meta": _short_meta(meta or {})}


def _short_meta(meta: Mapping[str, JsonValue]) -> JsonObject:
    """What a transcript tells of how an answer came about; a list of thousands of pages has as many request ids."""
    ids = cast("list[JsonValue]", meta.get("request_ids") or [])
    return {"request_ids": ids[:3], "ledger_id": meta.get("ledger_id"), "warnings": meta.get("warnings", [])}


def _item_schema(tool: Tool | None) -> JsonObject | None:
    if tool is None or not tool.is_list:
        return None
    properties = cast("JsonObject", tool.output_schema.get("properties", {}))
    data = cast("JsonObject", properties.get("data", {}))
    items = data.get("items")
    return items if isinstance(items, dict) else None


def _item_example(tool: Tool) -> JsonValue:
    named = cast("JsonObject", (_item_schema(tool) or {}).get("properties", {})).get("object")
    return {"object": named.get("const")} if isinstance(named, dict) else None

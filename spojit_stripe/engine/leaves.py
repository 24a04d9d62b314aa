"""Nodes that have no nodes inside: a transform, a connector's call, a person, a plug-in's type."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from spojit_stripe.calling import approval_topic, is_ours
from spojit_stripe.connection import Policy
from spojit_stripe.data import SqlLimits, StoredList, Table, run_sql
from spojit_stripe.engine.context import RunContext
from spojit_stripe.engine.frames import Frame
from spojit_stripe.engine.scope import refuse_handles
from spojit_stripe.errors import InputError, RefusedError, SpojitError, error_from_record
from spojit_stripe.expressions.bounds import is_list, is_object, kind_of
from spojit_stripe.jsonvalue import copied
from spojit_stripe.node import ConnectorNode, PlannedCall, Where
from spojit_stripe.records import Entry, State, key_of
from spojit_stripe.redact import redact, redact_object, redact_text
from spojit_stripe.steps import Steps
from spojit_stripe.values import JsonObject, JsonValue, Position
from spojit_stripe.workflow import (
    AgentNode,
    DirectNode,
    HumanNode,
    Node,
    NodeContext,
    NodeType,
    PluginNode,
    SetNode,
    SqlNode,
    tables_of,
)

__all__ = ["Leaf", "Leaves"]

_APPROVAL_SECONDS: Final = 7 * 86_400
_ROW: Final = "$row"  # under it a query's record has the schema of its rows, which is no part of the output

Scope = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Leaf:
    """The output of a node, and how much of it is not as it should be; or why there is none.

    `place` is how many steps came before what failed, None for all of the node's.
    """

    value: JsonValue
    exceptions: int = 0
    meta: JsonObject | None = None
    failure: SpojitError | None = None
    place: int | None = None


class Leaves:
    """The nodes of one sequence of steps. `name` is that sequence's, for what it stores."""

    __slots__ = ("name", "planned", "run", "steps")

    def __init__(self, run: RunContext, steps: Steps, name: str) -> None:
        self.run = run
        self.steps = steps
        self.name = name
        self.planned: list[PlannedCall] = []

    def add_planned(self, records: list[JsonObject]) -> None:
        """Planned writes of a part of the run."""
        self.planned += [PlannedCall.of_json(one, self.steps.run_id) for one in records]

    async def run_node(self, node: Node, scope: Scope, frame: Frame, seconds: float | None) -> Leaf:
        """The output of a node. Raises `SpojitError` where it failed."""
        if isinstance(node, DirectNode | AgentNode):
            return await self._connector(node, scope, frame, seconds)
        if isinstance(node, SetNode):
            return Leaf(await self._set(node, scope, frame))
        if isinstance(node, SqlNode):
            return Leaf(await self._sql(node, scope, frame))
        if isinstance(node, HumanNode):
            return Leaf(await self._human(node, scope, frame, seconds))
        if isinstance(node, PluginNode):
            return Leaf(await self._plugin(node, scope, frame))
        raise InputError(f"a node of type {node.type!r} can't be run")

    async def _recorded(self, name: str, work: Callable[[], Awaitable[JsonValue]]) -> JsonValue:
        """A step whose error is recorded as data, so that it is the same error after a restart."""

        async def safe() -> JsonValue:
            try:
                return {"value": await work()}
            except SpojitError as error:
                return {"error": redact_object(error.to_json())}

        found = cast("JsonObject", await self.steps.step(name, safe))
        if "error" in found:
            raise error_from_record(cast("JsonObject", found["error"]))
        return self.run.thawed(found["value"])

    # Transforms

    async def _set(self, node: SetNode, scope: Scope, frame: Frame) -> JsonValue:
        async def work() -> JsonValue:
            value = node.set.render(scope, now=frame.now, where="set", allow_null=True)
            return self.run.recorded(value, self._prefix(node, frame))

        return await self._recorded(frame.child(node.id), work)

    async def _sql(self, node: SqlNode, scope: Scope, frame: Frame) -> JsonValue:
        async def work() -> JsonValue:
            params = cast("JsonObject", node.params.render(scope, now=frame.now, where="params", allow_null=True))
            tables = self._tables(node, scope, frame)
            out = self.run.store.spool(self._prefix(node, frame))
            try:
                async with self.run.queries:
                    result = await run_sql(
                        node.sql, tables=tables, params=params, out=out, limits=SqlLimits(), folder=self.run.folder
                    )
                return {"data": await asyncio.to_thread(out.finish), "count": result.count, _ROW: result.schema}
            except InputError as error:
                raise InputError(f"{error.message}{_advice(error, tables)}") from None
            finally:
                out.discard()

        found = await self._recorded(frame.child(node.id), work)
        value = {**cast("JsonObject", found)}
        schema = value.pop(_ROW, None)
        if isinstance(schema, dict):
            self.run.note_rows(frame.file, node.id, schema)
        return value

    def _tables(self, node: SqlNode, scope: Scope, frame: Frame) -> dict[str, Table]:
        nodes = {one.id: one for one in self.run.bundle.workflows[frame.file].all_nodes}
        wanted = tables_of(node.sql)
        tables: dict[str, Table] = {}
        for name, value in scope.items():
            if name.lower() not in wanted:
                continue
            rows, schema = _rows(name, value), self.run.rows_schema(frame.file, name)
            # Other outputs say themselves what columns they have, where they have rows at all.
            if not self._has_fixed_columns(nodes.get(name)) and _hold_objects(rows):
                schema = None
            tables[name] = Table(rows=rows, schema=schema)
        return tables

    def _has_fixed_columns(self, node: Node | None) -> bool:
        return isinstance(node, DirectNode) and self.run.host.connector(node.connector).catalog.tool(node.tool).is_list

    # Calls

    async def _connector(self, node: DirectNode | AgentNode, scope: Scope, frame: Frame, seconds: float | None) -> Leaf:
        trail = f"{frame.trail}{node.id}"
        watch = self.run.watch
        position = frame.position(self.steps.run_id, node.id)
        connector = ConnectorNode(node, self.run.host, sessions=self.run.sessions, store=self.run.store)

        def tell(kind: str, facts: JsonObject) -> None:
            if kind == "waiting":
                watch.waits(trail, facts)
                return
            if kind == "woken":
                watch.turns(trail, "running")
            watch.event(trail, kind, facts)

        def progress(fetched: int, scanned: int, pages: int) -> None:
            watch.tells(trail, fetched=fetched, scanned=scanned, pages=pages)

        output = await connector.attempt(
            scope,
            self.steps,
            where=Where(
                path=position.node,
                indexes=position.indexes,
                now=frame.now,
                seconds=seconds,
                retried=self.run.retried,
                trusted_ids=self.run.bundle.workflows[frame.file].trusted_ids,
            ),
            tell=tell,
            progress=progress,
        )
        if output.transcript is not None:
            watch.transcript(trail, output.transcript)
        if output.failure is not None:
            watch.tells(trail, **_facts(None, output.meta))
            return Leaf(None, failure=output.failure, place=output.place)
        if output.planned is not None:
            self.planned.append(output.planned)
        if isinstance(node, AgentNode):
            refuse_handles(output.value, "the agent's answer")
        watch.tells(
            trail, **_facts(output.value, output.meta), **({"note": output.incomplete} if output.incomplete else {})
        )
        return Leaf(output.value, 1 if output.incomplete else 0, output.meta)

    # People

    async def _human(self, node: HumanNode, scope: Scope, frame: Frame, seconds: float | None) -> JsonValue:
        message = str(node.message.render(scope, now=frame.now, where="message"))
        at = frame.position(self.steps.run_id, node.id)
        question: JsonObject = {
            "message": message,
            "node": f"{frame.trail}{node.id}",
            "approvers": [*node.approvers],
            "urgency": node.urgency,
        }
        digest = hashlib.sha256(json.dumps([at.run_id, at.node, at.indexes, message]).encode()).hexdigest()
        approvals = self.run.host.records.approvals
        name, trail = frame.child(node.id), f"{frame.trail}{node.id}"

        async def ask() -> JsonValue:
            asked = approvals.ask_person(
                digest,
                at.run_id,
                question,
                reason=message.strip().splitlines()[0][:200] if message.strip() else node.id,
                seconds=_APPROVAL_SECONDS if seconds is None else seconds,
            )
            return {"approval_id": asked.id, "expires": asked.expires}

        asked = cast("JsonObject", await self._recorded(name, ask))
        approval_id = str(asked["approval_id"])

        async def look() -> JsonValue:
            if late:  # who decides from here on is told so; in this step, for older runs have none of its own
                approvals.lapse(approval_id)
            found = approvals.get(approval_id)
            return {"state": found.state, "by": found.decided_by, "at": found.decided, "reason": found.note}

        waited = late = False
        while True:
            seen = cast("JsonObject", await self._recorded(f"{name} decision", look))
            if seen["state"] in ("approved", "rejected"):
                return {
                    "approved": seen["state"] == "approved",
                    "by": seen["by"],
                    "at": seen["at"],
                    "reason": seen["reason"],
                }
            left = cast("int", asked["expires"]) - await self.steps.now()
            if left <= 0 or (waited and seen["state"] != "pending"):
                raise RefusedError(f"nobody decided {approval_id} in time; resume the run to ask again")
            self.run.watch.waits(trail, {**asked, "reason": question["message"]})
            woken = await self.steps.wait(approval_topic(approval_id), timeout=float(left))
            self.run.watch.turns(trail, "running")
            waited, late = True, woken is None

    # Plug-ins

    async def _plugin(self, node: PluginNode, scope: Scope, frame: Frame) -> JsonValue:
        kind = self.run.host.vocabulary.node_types[node.kind]
        at = frame.position(self.steps.run_id, node.id)
        context = NodeContext(
            run_id=at.run_id,
            path=at.node,
            indexes=at.indexes,
            key=key_of(at, 0),
            now=frame.now,
            session=lambda name: self.run.sessions.of(name, Policy()),
        )

        async def work() -> JsonValue:
            fields = cast("JsonObject", node.fields.render(scope, now=frame.now, where=node.kind, allow_null=True))
            _check_fields(kind, fields)
            try:
                resume = await asyncio.to_thread(self._may_be_tried_anew, at)
                value = await kind.run(copied(fields), replace(context, resume=resume))
            except SpojitError:
                raise
            except (Exception, asyncio.CancelledError) as error:  # a plug-in is anybody's code
                if is_ours(error):
                    raise
                told = redact_text(f"node type {node.kind!r} failed: {type(error).__name__}: {error}")
                raise RefusedError(told.rstrip(": ")) from None
            given = redact(_json_of(value, node.kind))
            refuse_handles(given, f"what node type {node.kind!r} gave")
            return self.run.recorded(given, self._prefix(node, frame))

        return await self._recorded(frame.child(node.id), work)

    def _may_be_tried_anew(self, at: Position) -> bool:
        """Whether a person chose to try again all that failed of the calls that a plug-in's node made.

        Asked each time that it runs: what has failed since then was not chosen.
        """
        retried = self.run.retried
        if not retried:
            return False
        ledger = self.run.host.records.ledger
        failed = ledger.entries(run_id=at.run_id, state=State.FAILED, writes_only=True)
        places = {place for place in map(_place_of, failed) if _is_inside(place, at)}
        newest = [entry for entry in map(ledger.at, places) if entry is not None and entry.state is State.FAILED]
        return bool(newest) and retried.issuperset(entry.id for entry in newest)

    def _prefix(self, node: Node, frame: Frame) -> str:
        return self.run.prefix(f"{frame.trail}{node.id}")


def _place_of(entry: Entry) -> Position:
    indexes = tuple(int(one) for one in entry.indexes.split("/") if one)
    return Position(run_id=entry.run_id, node=entry.node, indexes=indexes, ordinal=entry.ordinal)


def _is_inside(call: Position, node: Position) -> bool:
    """Whether a call is one of a node's own: at its place, or at one that it made of it."""
    inside = call.node == node.node or call.node.startswith(f"{node.node}/")
    return inside and call.indexes[: len(node.indexes)] == node.indexes


def _check_fields(kind: NodeType, fields: JsonObject) -> None:
    """What the templates gave, held against the type's schema; a stored list counts as a list."""
    plain: JsonObject = {name: [] if isinstance(value, StoredList) else value for name, value in fields.items()}
    faults = kind.key_faults(plain)
    if faults:
        raise InputError(faults[0], faults=faults)


def _json_of(value: object, kind: str) -> JsonValue:
    """What a plug-in's node gave, as it is after it was recorded. Raises `RefusedError` for what is no JSON."""
    try:
        text = json.dumps(value, allow_nan=False)
        found = cast("JsonValue", json.loads(text))
        if "\\ud" in text:  # half a character, or the two of a whole one
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except UnicodeEncodeError:
        raise RefusedError(f"node type {kind!r} gave a text with half a character, which is no JSON") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise RefusedError(f"node type {kind!r} gave what is no JSON: {error}") from None


def _rows(name: str, value: JsonValue) -> Sequence[JsonValue]:
    """The rows of an output: of its `data`, of its `results`, or itself where it is a list."""
    rows: JsonValue = value
    if is_object(value):
        rows = value.get("data", value.get("results"))
        if rows is None:
            raise InputError(f"sql: {name} is no table: it has neither data nor results")
    if value is None:
        return []
    if not is_list(rows):
        raise InputError(f"sql: {name} is {kind_of(value)}, which is no table")
    return rows


def _hold_objects(rows: Sequence[JsonValue]) -> bool:
    if isinstance(rows, StoredList) and not rows.description.wrapped:
        return bool(rows)
    return any(is_object(row) for row in rows)


def _advice(error: InputError, tables: Mapping[str, Table]) -> str:
    """What a column that is not found may come of, besides its name."""
    bare = [name for name, table in tables.items() if table.schema is None and not _hold_objects(table.rows)]
    if not bare or "column" not in error.message.lower():
        return ""
    return (
        f"; {bare[0]} has no rows here, and nothing else is known of its columns: leave this node out then, with when:"
    )


def _facts(value: JsonValue, meta: JsonObject) -> JsonObject:
    """What is worth knowing of a call without what it gave."""
    facts: JsonObject = {}
    if is_object(value):
        if isinstance(value.get("id"), str):
            facts["object"] = value["id"]
        for name in ("fetched", "pages", "complete", "planned"):
            if name in value and not is_object(value[name]) and not is_list(value[name]):
                facts[name] = value[name]
    for name, fact in (
        ("attempts", "calls"),
        ("tool_calls", "calls"),
        ("ledger_id", "ledger"),
        ("turns", "turns"),
        ("cost_usd", "cost_usd"),
        ("ungrounded", "ungrounded"),
    ):
        if meta.get(name):
            facts[fact] = meta[name]
    return facts

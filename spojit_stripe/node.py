"""The Connector node, for any host: loaded from configuration, run over a durability port.

    config = {"connector": "stripe", "connection": "stripe-test", "tool": "list-charges", "params": {"limit": 3}}
    async with ConnectorNode.from_config(config) as node:
        output = await node.run({"input": {}}, InProcessSteps("nightly-2026-11-23"))

It knows no engine. What it needs of one is `steps.Steps`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import cast

from spojit_stripe.agent import DEFAULT_MODEL, AgentSpec, Limits, run_agent
from spojit_stripe.calling import Reply, Tell, call_in_steps
from spojit_stripe.connection import Connection, Policy
from spojit_stripe.connector import Progress
from spojit_stripe.data import ArtifactStore, Spool, segment, thaw
from spojit_stripe.errors import InputError, SpojitError
from spojit_stripe.host import Host
from spojit_stripe.session import Session
from spojit_stripe.steps import Steps
from spojit_stripe.values import JsonObject, JsonValue, Position, ToolCall
from spojit_stripe.workflow import AgentNode, DirectNode, read_node

__all__ = ["ConnectorNode", "Output", "PlannedCall", "Sessions", "Where"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where a node stands in a run, and what the run knows.

    `path` and `indexes` (the places in loops) make the identity of its calls. `now` is the run's
    clock in Unix seconds; None asks the port. `seconds` ends the node's reads and waits.
    `retried` are ledger entries that a person chose to try again. `trusted_ids` are the inputs
    whose ids an agent may write to.
    """

    path: str = ""
    indexes: tuple[int, ...] = ()
    now: int | None = None
    seconds: float | None = None
    retried: frozenset[int] = frozenset()
    trusted_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCall:
    """A write that waits for the approval of its run's plan, in which it has a `number`."""

    number: int
    call: ToolCall
    at: Position
    connection: str
    policy: JsonObject

    def to_json(self) -> JsonObject:
        return {
            "number": self.number,
            "tool": self.call.tool,
            "params": dict(self.call.params),
            "author_params": dict(self.call.author_params),
            "once": self.call.once,
            "node": self.at.node,
            "indexes": list(self.at.indexes),
            "connection": self.connection,
            "policy": self.policy,
        }

    @classmethod
    def of_json(cls, record: JsonObject, run_id: str) -> PlannedCall:
        params, author = cast("JsonObject", record["params"]), cast("JsonObject", record["author_params"])
        return cls(
            number=cast("int", record["number"]),
            call=ToolCall(
                tool=str(record["tool"]),
                params=params,
                author_params=author,
                once=cast("str | None", record["once"]),
            ),
            at=Position(run_id=run_id, node=str(record["node"]), indexes=tuple(cast("list[int]", record["indexes"]))),
            connection=str(record["connection"]),
            policy=cast("JsonObject", record["policy"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a node gave. `value` may hold lists that are read from an artifact as they are walked.

    `meta` tells how it came about. `incomplete` says why a list or an answer is not all there is,
    `planned` is a write that waits for its plan's approval, `transcript` what an agent did.
    `failure` is why there is no value, `place` how many steps came before what failed.
    """

    value: JsonValue = None
    meta: JsonObject = field(default_factory=dict[str, JsonValue])
    incomplete: str | None = None
    planned: PlannedCall | None = None
    transcript: JsonValue = None
    failure: SpojitError | None = None
    place: int | None = None


class Sessions:
    """Sessions of a host, opened when first used and shared by the nodes of one event loop.

    `on_open` is told of each connection before anything is sent on it.
    """

    def __init__(self, host: Host, on_open: Callable[[Connection], None] = lambda _connection: None) -> None:
        self._host = host
        self._on_open = on_open
        self._open: dict[tuple[str, str, bool], Session] = {}

    def of(self, connection: str, policy: Policy, *, by_agent: bool = False) -> Session:
        """The session on a connection, narrowed. Raises `ConfigurationError` where that is no good."""
        key = (connection, policy.model_dump_json(exclude_unset=True), by_agent)
        if key not in self._open:
            session = self._host.session(
                connection, narrower=(policy,), by_agent=by_agent, refuse_twins="of_other_runs"
            )
            self._on_open(session.connection)
            self._open[key] = session
        return self._open[key]

    async def aclose(self) -> None:
        sessions, self._open = [*self._open.values()], {}
        for session in sessions:
            await session.aclose()


class ConnectorNode:
    """A node that calls one tool as told (Direct Mode), or lets a model choose (Agent Mode).

    `sessions` and `store` are given by a host that shares them between nodes.
    """

    def __init__(
        self,
        node: DirectNode | AgentNode,
        host: Host,
        *,
        sessions: Sessions | None = None,
        store: ArtifactStore | None = None,
    ) -> None:
        self.node = node
        self._own = Sessions(host) if sessions is None else None
        self._sessions = sessions or cast("Sessions", self._own)
        self._store = store or ArtifactStore(host.state)

    @classmethod
    def from_config(cls, config: Mapping[str, JsonValue], *, host: Host | None = None) -> ConnectorNode:
        """A node from what would stand in a workflow's YAML; `id` and `type` may be left out.

        Without a `host`, connections and state are found as the command line finds them. Raises
        `InputError`, its `faults` all that is wrong with the form; `when` and `on_error` are the
        host's to decide, and refused.
        """
        for key in ("when", "on_error"):
            if key in config:
                raise InputError(
                    f"{key}: is not decided by the node, but by the host that runs it; leave it out, and decide around "
                    "`run` whether it runs and what follows its failure"
                )
        host = host or Host()
        node = read_node({"id": "node", "type": "connector", **config}, host.vocabulary)
        if not isinstance(node, DirectNode | AgentNode):
            raise InputError(f"type: {config['type']!r} is no connector node; write type: connector or leave it out")
        return cls(node, host)

    async def run(
        self,
        inputs: Mapping[str, JsonValue],
        steps: Steps,
        *,
        where: Where = Where(),  # frozen
        tell: Tell | None = None,
        progress: Progress | None = None,
    ) -> Output:
        """Run the node; `inputs` are what its expressions read, `{"input": …}` say.

        Raises `SpojitError` where it failed: `OutcomeUnknownError` for a write that may have
        taken effect. A call that needs an approval waits in `steps.wait`, topic `approval:ID`.
        """
        output = await self.attempt(inputs, steps, where=where, tell=tell, progress=progress)
        if output.failure is not None:
            raise output.failure
        return output

    async def attempt(
        self,
        inputs: Mapping[str, JsonValue],
        steps: Steps,
        *,
        where: Where = Where(),
        tell: Tell | None = None,
        progress: Progress | None = None,
    ) -> Output:
        """`run`, with a failed call or agent as an output that says so, for hosts that note what it did.

        Raises `SpojitError` for what never came to a call: an expression, a connection.
        """
        if where.now is None:
            where = replace(where, now=await steps.now())
        work = _Work(self.node, inputs, steps, where, self._session(), self._store, tell)
        if isinstance(self.node, AgentNode):
            return await work.agent(self.node)
        return await work.direct(self.node, progress)

    def _session(self) -> Session:
        node = self.node
        session = self._sessions.of(node.connection, node.policy, by_agent=isinstance(node, AgentNode))
        if session.connector.name != node.connector:
            raise InputError(
                f"node {node.id!r} is of connector {node.connector!r}, but connection {node.connection!r} is one "
                f"of {session.connector.name!r}"
            )
        return session

    async def aclose(self) -> None:
        """Close what this node opened."""
        if self._own is not None:
            await self._own.aclose()

    async def __aenter__(self) -> ConnectorNode:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


@dataclass(frozen=True, slots=True)
class _Work:
    """One run of a node."""

    node: DirectNode | AgentNode
    inputs: Mapping[str, JsonValue]
    steps: Steps
    where: Where
    session: Session
    store: ArtifactStore
    tell: Tell | None

    async def direct(self, node: DirectNode, progress: Progress | None) -> Output:
        call = self._call(node)
        spools = _Spools(self.store, f"{segment(self.steps.run_id)}/{_shown(self._at)}")
        reply = await call_in_steps(
            call,
            at=self._at,
            session=self.session,
            steps=self.steps,
            name=node.id,
            timeout=self.where.seconds if self.where.seconds is not None else node.timeout,
            retried=self.where.retried,
            tell=self.tell,
            progress=progress,
            sinks=spools.fresh,
            finish=spools.finish,
        )
        if reply.kind == "failed":
            return Output(failure=reply.error, meta=reply.meta)
        if reply.kind == "planned":
            policy = cast("JsonObject", node.policy.model_dump(mode="json", exclude_unset=True))
            number = cast("int", reply.value["number"])
            planned = PlannedCall(number=number, call=call, at=self._at, connection=node.connection, policy=policy)
            return Output(value={"planned": reply.value["number"]}, meta=reply.meta, planned=planned)
        return Output(value=thaw(reply.value, self.store), meta=reply.meta, incomplete=_incomplete(reply))

    async def agent(self, node: AgentNode) -> Output:
        prompt = str(node.prompt.render(self.inputs, now=cast("int", self.where.now), where="prompt"))
        reply = await run_agent(
            AgentSpec(
                prompt=prompt,
                tools=node.tools,
                model=node.model or DEFAULT_MODEL,
                limits=self._limits(node),
                response_schema=node.response_schema,
                trusted=(*_literals(node), *self._trusted()),
                on_limit=node.on_limit,
            ),
            at=self._at,
            session=self.session,
            steps=self.steps,
            store=self.store,
            tell=self.tell,
            retried=self.where.retried,
        )
        if reply.kind == "failed":
            place = cast("int | None", reply.meta.get("place"))
            return Output(failure=reply.error, place=place, meta=reply.meta, transcript=reply.transcript)
        incomplete = reply.meta.get("stopped_because") if reply.meta.get("incomplete") else None
        return Output(
            value=reply.value,
            meta=reply.meta,
            incomplete=str(incomplete) if incomplete else None,
            transcript=reply.transcript,
        )

    def _limits(self, node: AgentNode) -> Limits:
        own = node.limits
        left = self.where.seconds if self.where.seconds is not None else node.timeout
        return Limits(
            turns=own.turns,
            tool_calls=own.tool_calls,
            tokens=own.tokens,
            cost_usd=own.cost_usd,
            seconds=float(own.seconds) if left is None else min(left, float(own.seconds)),
            objects=own.objects,
        )

    def _trusted(self) -> tuple[str, ...]:
        """The values of the inputs that the author vouches for."""
        given = self.inputs.get("input")
        inputs: Mapping[str, JsonValue] = given if isinstance(given, dict) else {}
        found: list[str] = []
        for name in self.where.trusted_ids:
            value = inputs.get(name)
            found += [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
        return tuple(found)

    @property
    def _at(self) -> Position:
        return Position(run_id=self.steps.run_id, node=self.where.path or self.node.id, indexes=self.where.indexes)

    def _call(self, node: DirectNode) -> ToolCall:
        now = cast("int", self.where.now)
        once = None
        if node.once is not None:
            given = node.once.render(self.inputs, now=now, where="once")
            if isinstance(given, bool) or not isinstance(given, str | int):
                raise InputError("once: gives neither text nor an integer; it is the name of what happens once")
            once = str(given)
        params = cast("JsonObject", node.params.render(self.inputs, now=now, where="params"))
        if self.session.connector.catalog.tool(node.tool).binding.raw:
            _check_path(node, params)
        return ToolCall(
            tool=node.tool,
            params=params,
            author_params=cast("JsonObject", node.options.render(self.inputs, now=now, where="options")),
            paging=node.paging,
            once=once,
        )


def _check_path(node: DirectNode, params: JsonObject) -> None:
    """A value inside the path that an author wrote is one part of it: with a slash it would name another operation."""
    at, path = ("path",), params.get("path")
    if at not in node.params.paths or node.params.is_expression(at) or not isinstance(path, str):
        return
    if path.count("/") != node.params.written(at).count("/"):
        raise InputError(
            "params.path: a value in it has a slash, which no id has; give the id alone, or write all of the path "
            "as one expression"
        )


def _literals(node: AgentNode) -> tuple[str, ...]:
    """What the author wrote himself: the prompt without what its templates put in."""
    return (re.sub(r"\{\{.*?\}\}", " ", str(node.prompt.source), flags=re.DOTALL),)


def _shown(at: Position) -> str:
    return "-".join((at.node, *map(str, at.indexes)))


class _Spools:
    """A sink for each attempt of one call, and the recorded form of what went there."""

    def __init__(self, store: ArtifactStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self._spool: Spool | None = None

    def fresh(self) -> Spool:
        if self._spool is not None:
            self._spool.discard()
        self._spool = self._store.spool(self._prefix, resumable=True)
        return self._spool

    def finish(self, reply: Reply) -> Reply:
        spool = self._spool
        if spool is None:
            return reply
        self._spool = None
        if reply.kind != "done" or "stopped_because" not in reply.value:
            spool.discard()
            return reply
        return replace(reply, value={**reply.value, "data": spool.finish()})


def _incomplete(reply: Reply) -> str | None:
    """Why a list ended early where nobody asked for that."""
    why = reply.value.get("stopped_because")
    if why not in ("error", "anomaly", "deadline"):
        return None
    warnings = cast("list[str]", reply.meta.get("warnings") or [])
    return warnings[-1] if warnings else f"the list ended early: {why}"

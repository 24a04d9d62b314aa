"""Connector nodes held against their tools: names, literal parameters, pins, policy, `once`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, cast

from spojit_stripe.catalog import Tool
from spojit_stripe.connection import Connection, Policy, SecretRef
from spojit_stripe.connector import Explains
from spojit_stripe.errors import InputError, SpojitError
from spojit_stripe.expressions import Compiled
from spojit_stripe.expressions.bounds import first_null
from spojit_stripe.pins import bind_pinned, fill_in, keeps_pin
from spojit_stripe.redact import redact
from spojit_stripe.values import Effect, JsonObject, JsonValue, ToolCall, Writes
from spojit_stripe.words import nearest
from spojit_stripe.workflow.faults import Path, Report, quoted
from spojit_stripe.workflow.guesses import STAND_IN, dotted, lasting_faults
from spojit_stripe.workflow.model import (
    AgentNode,
    ConnectorNode,
    DirectNode,
    LoopNode,
    Node,
    PluginNode,
    Webhook,
    Workflow,
)

if TYPE_CHECKING:
    from spojit_stripe.connection import Connections
    from spojit_stripe.connector import Connector

__all__ = ["check_calls"]

_STRICTNESS: Final = list(Writes)
_MOST_OPERATIONS: Final = 10_000


def check_calls(
    report: Report, workflow: Workflow, connectors: Mapping[str, Connector], connections: Connections | None
) -> None:
    """Report what is wrong with every connector node."""
    checker = _Calls(report, connectors, connections)
    checker.trigger(workflow)
    checker.nodes(workflow.nodes, ())


class _Calls:
    def __init__(self, report: Report, connectors: Mapping[str, Connector], connections: Connections | None) -> None:
        self._report = report
        self._connectors = connectors
        self._connections = connections

    def trigger(self, workflow: Workflow) -> None:
        if isinstance(workflow.trigger, Webhook) and workflow.trigger.connection:
            self._connection(workflow.trigger.connection, ("trigger", "connection"))

    def nodes(self, nodes: tuple[Node, ...], loops: tuple[LoopNode, ...]) -> None:
        for node in nodes:
            if isinstance(node, ConnectorNode):
                self._node(node, loops)
            elif isinstance(node, PluginNode):
                self._plugin(node)
            inner = (*loops, node) if isinstance(node, LoopNode) else loops
            for branch in node.branches:
                self.nodes(branch.nodes, inner)

    def _node(self, node: ConnectorNode, loops: tuple[LoopNode, ...]) -> None:
        connector = self._connector(node)
        connection = self._connection(node.connection, (*node.path, "connection")) if node.connection else None
        if connection is not None:
            self._check_connection(node, connection)
        if connector is None:
            return
        if isinstance(node, AgentNode):
            self._agent(node, connector, connection)
        elif isinstance(node, DirectNode):
            tool = self._tool(connector, node.tool, (*node.path, "tool"))
            if tool is not None:
                self._direct(node, connector, tool, connection, loops)

    def _plugin(self, node: PluginNode) -> None:
        """A node type's own `connection` key names a connection like ours."""
        name = cast("JsonObject", node.fields.source).get("connection")
        if isinstance(name, str) and name and ("connection",) not in node.fields.paths:
            self._connection(name, (*node.path, "connection"))

    # Names

    def _connector(self, node: ConnectorNode) -> Connector | None:
        found = self._connectors.get(node.connector)
        if found is None and node.connector:
            have = ", ".join(sorted(self._connectors)) or "none"
            advice = nearest(node.connector, self._connectors) or f"installed: {have}"
            self._report.error((*node.path, "connector"), f"unknown connector {quoted(node.connector)}", advice)
        return found

    def _tool(self, connector: Connector, name: str, path: Path) -> Tool | None:
        if not name:
            return None
        catalog = connector.catalog
        if name not in catalog.names:
            advice = nearest(name.replace("_", "-"), catalog.names) or f"the tools are {', '.join(catalog.names)}"
            self._report.error(path, f"unknown tool {quoted(name)} of connector {connector.name!r}", advice)
            return None
        return catalog.tool(name)

    def _connection(self, name: str, path: Path) -> Connection | None:
        connections = self._connections
        if connections is None:
            return None
        if name not in connections.names:
            have = ", ".join(connections.names) or "none"
            advice = nearest(name, connections.names) or f"{connections.path} has: {have}"
            self._report.warn(path, f"there is no connection {quoted(name)} here", advice)
            return None
        try:
            return connections.get(name)
        except SpojitError as error:
            self._report.warn(path, f"connection {name!r} can't be used: {error.message}")
            return None

    def _check_connection(self, node: ConnectorNode, connection: Connection) -> None:
        if connection.connector != node.connector:
            self._report.error(
                (*node.path, "connection"),
                f"connection {connection.name!r} is one of {connection.connector!r}, not of {quoted(node.connector)}",
            )
        _check_policy(self._report, node, connection)

    # Agents

    def _agent(self, node: AgentNode, connector: Connector, connection: Connection | None) -> None:
        for place, name in enumerate(node.tools or ()):
            tool = self._tool(connector, name, (*node.path, "tools", place))
            if tool is not None and not tool.annotations.read_only and not tool.binding.raw:
                self._denied(node, connection, name, (*node.path, "tools", place))

    def _denied(self, node: ConnectorNode, connection: Connection | None, name: str, path: Path) -> None:
        denied = node.policy.writes is Writes.DENY and "writes" in node.policy.model_fields_set
        if denied:
            self._report.warn(path, f"{name} writes, and the node's policy denies writes")
        elif connection is not None:
            why = _why_denied(connection)
            if why:
                self._report.warn(path, f"{name} writes, and connection {connection.name!r} {why[0]}", why[1])

    # Direct Mode

    def _direct(
        self,
        node: DirectNode,
        connector: Connector,
        tool: Tool,
        connection: Connection | None,
        loops: tuple[LoopNode, ...],
    ) -> None:
        self._options(node, tool)
        self._paging(node, tool)
        _check_nulls(self._report, node, tool)
        sound = self._params(node, tool, connection)
        effect = self._bound(node, connector, tool, connection) if sound else None
        _check_pins(self._report, node, connection)
        if effect is None:
            effect = Effect.READ if tool.annotations.read_only else None
        if effect is Effect.READ:
            if node.once is not None:
                advice = "leave it out"
                self._report.error((*node.path, "once"), f"once is for writes, and {tool.name} reads here", advice)
            return
        self._denied(node, connection, _named(node, tool), (*node.path, "tool"))
        _check_once(self._report, node, effect, loops)

    def _options(self, node: DirectNode, tool: Tool) -> None:
        options = cast("JsonObject", node.options.source)
        for name in options:
            if name not in tool.binding.author_only:
                have = ", ".join(sorted(tool.binding.author_only)) or "none"
                advice = nearest(name, tool.binding.author_only) or f"{tool.name} takes: {have}"
                self._report.error((*node.path, "options", name), f"unknown option {quoted(name)}", advice)

    def _paging(self, node: DirectNode, tool: Tool) -> None:
        for name in ("paginate", "max_items", "max_pages", "order"):
            path = (*node.path, name)
            if path in self._report.document.positions and not tool.is_list and not tool.binding.raw:
                self._report.error(path, f"{name} is for lists, and {tool.name} gives one object", "leave it out")

    def _params(self, node: DirectNode, tool: Tool, connection: Connection | None) -> bool:
        """Report what the schema says of the parameters; gives whether they fit it."""
        options = {
            name: value
            for name, value in cast("JsonObject", node.options.source).items()
            if name in tool.binding.author_only and not _templated(node.options, (name,))
        }

        pins = _pins(node, connection)

        def faults(given: JsonObject) -> tuple[str, ...]:
            params = fill_in(tool, given, pins)
            return (*tool.faults(params), *(tool.faults({**params, **options}, author=True) if options else ()))

        lines = lasting_faults(node.params, faults)
        for line in lines:
            self._report.line(self._place(node, line), line)
        return not lines

    def _bound(
        self, node: DirectNode, connector: Connector, tool: Tool, connection: Connection | None
    ) -> Effect | None:
        """The effect of the call, None where it is not known; what can't be bound is reported."""
        given = cast("JsonObject", node.options.source)
        known = {} if node.options.paths else {name: given[name] for name in given if name in tool.binding.author_only}
        effects: list[Effect | None] = []

        pins = _pins(node, connection)

        def faults(given: JsonObject) -> tuple[str, ...]:
            params = fill_in(tool, given, pins)
            call = ToolCall(tool=tool.name, params=params, author_params=known, paging=node.paging)
            try:
                effects.append(bind_pinned(connector, tool, call, connection or _stand_in(node), pins).effect)
            except InputError as error:
                if tool.binding.raw and ("path",) in node.params.paths and _may_reach(connector, params):
                    return tuple(line for line in error.faults if not line.startswith(_asked(params)))
                return error.faults
            return ()

        for line in lasting_faults(node.params, faults, inner="params" if tool.binding.raw else None):
            self._report.line(self._place(node, line), line)
        return effects[0] if effects and len(set(effects)) == 1 else None

    def _place(self, node: DirectNode, line: str) -> Path:
        """Where the parameter stands that a line is about."""
        name = line.partition(": ")[0]
        for start in ((*node.path, "params", "params"), (*node.path, "params"), (*node.path, "options")):
            found = next((path for path in self._paths(start) if dotted(path[len(start) :]) == name), None)
            if found is not None:
                return found
        return (*node.path, "params") if (*node.path, "params") in self._report.document.positions else node.path

    def _paths(self, start: Path) -> Iterator[Path]:
        positions = self._report.document.positions
        return (path for path in positions if len(path) > len(start) and path[: len(start)] == start)


def _why_denied(connection: Connection) -> tuple[str, str] | None:
    """Why a connection lets nothing be written, and what would change it."""
    if connection.policy.writes is Writes.DENY:
        return "denies writes", "give the connection policy: {writes: ask}, or another connection"
    if connection.mode == "live" and not connection.policy.allow_live:
        return "is live without allow_live: true", "allow it in the connection's policy, or name a test connection"
    return None if connection.enabled else ("is switched off for writes (enabled: false)", "")


def _named(node: DirectNode, tool: Tool) -> str:
    params = cast("JsonObject", node.params.source)
    return f"{params.get('method')} {params.get('path')}" if tool.binding.raw else tool.name


def _asked(params: JsonObject) -> str:
    """How a line begins that is about a raw request's method and path."""
    return f"{params.get('method')} {params.get('path')}: "


def _may_reach(connector: Connector, params: JsonObject) -> bool:
    """Whether the path of a raw request may be one of the service's when its templates give other than stand-ins."""
    method, parts = params.get("method"), str(params.get("path")).split("/")
    # The method's name is a word of each of its operations.
    known = connector.find(str(method), _MOST_OPERATIONS) if isinstance(connector, Explains) else ()
    return any(one["method"] == method and _fits(parts, str(one["path"]).split("/")) for one in known)


def _fits(parts: list[str], template: list[str]) -> bool:
    return len(parts) == len(template) and all(
        STAND_IN in part or part == known or known.startswith("{") for part, known in zip(parts, template, strict=True)
    )


def _stand_in(node: ConnectorNode) -> Connection:
    """A connection where the real one is not at hand; nothing is sent with it."""
    return Connection(
        name=node.connection or "none", connector=node.connector, secret_key=SecretRef("${env:NONE}"), mode="test"
    )


def _templated(compiled: Compiled, path: Path) -> bool:
    return any(one[: len(path)] == path for one in compiled.paths)


def _check_nulls(report: Report, node: DirectNode, tool: Tool) -> None:
    """A null in a raw request's parameters, where no schema speaks of it, would vanish."""
    if not tool.binding.raw:
        return
    inner = cast("JsonObject", node.params.source).get("params")
    path = first_null(inner) if isinstance(inner, dict) else None
    if path is not None:
        report.error(
            (*node.path, "params", "params", *path),
            f"{dotted(path)}: null is not allowed",
            "leave it out or give a value",
        )


def _check_pins(report: Report, node: DirectNode, connection: Connection | None) -> None:
    source = cast("JsonObject", node.params.source)
    inner = source.get("params")
    holders: list[tuple[Path, JsonObject]] = [(("params",), source)]
    if isinstance(inner, dict):
        holders.append((("params", "params"), inner))
    for name, pinned in _pins(node, connection).items():
        for start, holder in holders:
            if name in holder:
                _check_pin(report, node, (*start, name), holder[name], pinned)


def _pins(node: DirectNode, connection: Connection | None) -> JsonObject:
    of_connection = cast("JsonObject", connection.policy.pins) if connection is not None else {}
    return {**of_connection, **cast("JsonObject", node.policy.pins)}


def _check_pin(report: Report, node: DirectNode, path: Path, given: JsonValue, pinned: JsonValue) -> None:
    name, where = path[-1], (*node.path, *path)
    if _templated(node.params, path[1:]):
        report.warn(where, f"{name} is pinned to {_shown(pinned)}, and a template can't change it", "leave it out")
    elif not keeps_pin(str(name), given, pinned):
        report.error(where, f"{name} is pinned to {_shown(pinned)}, and the node says {_shown(given)}")


def _shown(value: JsonValue) -> str:
    return repr(redact(value))


def _check_policy(report: Report, node: ConnectorNode, connection: Connection) -> None:
    policy, given = node.policy, connection.policy
    said = policy.model_fields_set
    if "writes" in said and _STRICTNESS.index(policy.writes) > _STRICTNESS.index(given.writes):
        report.warn(
            (*node.path, "policy", "writes"),
            f"writes: {policy.writes} is wider than {given.writes} of connection {connection.name!r}, which holds",
            "a node can only narrow",
        )
    if policy.allow_live and not given.allow_live and connection.mode == "live":
        report.warn(
            (*node.path, "policy", "allow_live"),
            f"allow_live is wider than connection {connection.name!r} allows, which holds",
            "a node can only narrow",
        )
    _check_pins_agree(report, node, given)


def _check_pins_agree(report: Report, node: ConnectorNode, given: Policy) -> None:
    for name, value in node.policy.pins.items():
        if name in given.pins and not keeps_pin(name, value, given.pins[name]):
            report.error(
                (*node.path, "policy", "pins", name),
                f"{name} is pinned to {_shown(cast('JsonValue', given.pins[name]))} by the connection",
                "a node can't change a pin",
            )


def _check_once(report: Report, node: DirectNode, effect: Effect | None, loops: tuple[LoopNode, ...]) -> None:
    if node.once is None:
        if loops and effect is Effect.MONEY:
            report.warn(
                node.path,
                f"node {node.id!r} moves money for each item, and another run would do so again",
                f'give it once: "{{{{ {loops[-1].item}.id }}}}"',
            )
        return
    path = (*node.path, "once")
    if node.once.is_literal:
        report.warn(path, "once is the same in every run, so this is carried out a single time for ever")
        return
    items = {loop.item for loop in loops}
    if items and not items & {reference.root for reference in node.once.references} and not _inner_nodes(node, loops):
        report.error(
            path,
            f"once does not depend on the item of loop {loops[-1].id!r}, so only the first item is carried out",
            f"use {loops[-1].item}",
        )


def _inner_nodes(node: DirectNode, loops: tuple[LoopNode, ...]) -> bool:
    """Whether `once` reads a node that itself runs for each item."""
    roots = {reference.root for reference in node.once.references} if node.once else set[str]()
    return any(one.id in roots for loop in loops for one in _all(loop))


def _all(loop: LoopNode) -> Iterator[Node]:
    for branch in loop.branches:
        waiting = list(branch.nodes)
        while waiting:
            one = waiting.pop()
            yield one
            waiting += [inner for nested in one.branches for inner in nested.nodes]

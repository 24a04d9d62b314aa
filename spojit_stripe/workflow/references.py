"""Who reads whose output: whether it can be there, and whether it has what is read of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from spojit_stripe.catalog import Catalog
from spojit_stripe.errors import SpojitError
from spojit_stripe.expressions import Reference
from spojit_stripe.expressions.bounds import listed
from spojit_stripe.values import JsonObject
from spojit_stripe.words import nearest
from spojit_stripe.workflow import shapes, sql
from spojit_stripe.workflow.faults import Path, Report, quoted
from spojit_stripe.workflow.model import (
    ROOTS,
    AgentNode,
    Branch,
    ConditionNode,
    ConnectorNode,
    DirectNode,
    Goto,
    HumanNode,
    LoopNode,
    Node,
    ParallelNode,
    SetNode,
    SqlNode,
    Webhook,
    Workflow,
)

if TYPE_CHECKING:
    from spojit_stripe.connector import Connector

__all__ = ["check_references", "tables_of_nodes"]

_RUN: Final = shapes.closed(id={"type": "string"}, workflow={"type": "string"}, started_at={"type": "integer"})
_HUMAN: Final = shapes.closed(
    approved={"type": "boolean"}, by={"type": "string"}, at={"type": "integer"}, reason=shapes.ANY
)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node stands: the nodes and branches around it, outermost first."""

    node: Node
    around: tuple[tuple[Node, Branch], ...]


@dataclass(frozen=True, slots=True)
class _Scope:
    """What can be read at a point: shapes by name, and what may be null there."""

    shapes: Mapping[str, JsonObject]
    skipped: Mapping[str, str]  # id -> why it may not have run
    ended: frozenset[str] = frozenset()  # the nodes whose errors are here, where they have any

    def with_(self, name: str, shape: JsonObject, why_skipped: str = "") -> _Scope:
        skipped = {**self.skipped, name: why_skipped} if why_skipped else self.skipped
        return replace(self, shapes={**self.shapes, name: shape}, skipped=skipped)


def check_references(report: Report, workflow: Workflow, connectors: Mapping[str, Connector]) -> None:
    """Report every reference that can't be right."""
    _Walker(report, workflow, connectors).run()


def tables_of_nodes(workflow: Workflow, connectors: Mapping[str, Connector]) -> Mapping[str, JsonObject]:
    """By node, the JSON schema of the rows that SQL finds in its output; left out where nothing is known of them."""
    walker = _Walker(Report(workflow.document, workflow.vocabulary), workflow, connectors)
    walker.run()
    rows = {id_: shapes.rows_of(shape) for id_, shape in walker.given.items()}
    return {id_: schema for id_, schema in rows.items() if schema is not None}


class _Walker:
    def __init__(self, report: Report, workflow: Workflow, connectors: Mapping[str, Connector]) -> None:
        self._report = report
        self._workflow = workflow
        self._connectors = connectors
        self._places = {place.node.id: place for place in _places(workflow.nodes, ())}
        self.given: dict[str, JsonObject] = {}  # by node, the shape of its output

    def run(self) -> None:
        self._list(self._workflow.nodes, _Scope({"input": self._inputs(), "run": _RUN}, {}))

    def _inputs(self) -> JsonObject:
        inputs = self._workflow.inputs
        if inputs is not None:
            return shapes.of_inputs(inputs)
        return shapes.ANY if isinstance(self._workflow.trigger, Webhook) else shapes.closed()

    def _list(self, nodes: tuple[Node, ...], scope: _Scope) -> JsonObject:
        """Check `nodes` in their order; gives the shape of the last one's output."""
        shape = shapes.ANY
        jumps: dict[str, dict[str, str]] = {}  # by target, what a goto leaves behind
        for place, node in enumerate(nodes):
            scope = replace(scope, skipped={**scope.skipped, **jumps.get(node.id, {})})
            self._values(node, scope)
            shape = self.given[node.id] = self._inside(node, scope)
            scope = scope.with_(node.id, shape, "it has a when:" if node.when is not None else "")
            scope = replace(scope, ended=scope.ended | {node.id, *_in_branches(node)})
            if isinstance(node.on_error, Goto):
                jumps.setdefault(node.on_error.id, {}).update(_passed(node, node.on_error.id, nodes[place + 1 :]))
        return shape

    # What a node gives

    def _inside(self, node: Node, scope: _Scope) -> JsonObject:
        inner = scope
        if isinstance(node, LoopNode):
            self._check_item(node, scope)
            inner = scope.with_(node.item, self._item_shape(node, scope))
        given = {branch.name: self._list(branch.nodes, inner) for branch in node.branches}
        if isinstance(node, ParallelNode):
            return shapes.closed(**given)
        if isinstance(node, LoopNode):
            results: JsonObject = {"type": "array", "items": given[node.item]}
            return shapes.closed(results=results, count={"type": "integer"}, failed={"type": "integer"})
        if isinstance(node, ConditionNode):
            return shapes.ANY
        return self._own_shape(node)

    def _own_shape(self, node: Node) -> JsonObject:
        if isinstance(node, DirectNode):
            return self._tool_shape(node)
        if isinstance(node, AgentNode):
            return node.response_schema or shapes.ANY
        if isinstance(node, SetNode):
            return shapes.of_set(node.set)
        if isinstance(node, SqlNode):
            return shapes.closed(data={"type": "array"}, count={"type": "integer"})
        return _HUMAN if isinstance(node, HumanNode) else shapes.ANY

    def _tool_shape(self, node: DirectNode) -> JsonObject:
        connector = self._connectors.get(node.connector)
        catalog: Catalog | None = connector.catalog if connector is not None else None
        try:
            tool = catalog.tool(node.tool) if catalog is not None else None
            if catalog is None or tool is None:
                return shapes.ANY
            return shapes.of_raw(catalog, tool, node.params.source) if tool.binding.raw else shapes.of_tool(tool)
        except SpojitError:  # told where the call is checked
            return shapes.ANY

    def _item_shape(self, node: LoopNode, scope: _Scope) -> JsonObject:
        reference = node.for_each.is_reference()
        if reference is None or reference.root not in scope.shapes:
            return shapes.ANY
        shape = shapes.under(scope.shapes[reference.root], reference.path)
        kind = shape.get("type")
        if isinstance(kind, str) and kind != "array":
            advice = f"write {reference}.data" if "data" in str(shape.get("properties", "")) else ""
            self._report.error((*node.path, "for_each"), f"{reference} is no list, but {_article(kind)}", advice)
        return shapes.items_of(shape)

    def _check_item(self, node: LoopNode, scope: _Scope) -> None:
        where = (*node.path, "as") if (*node.path, "as") in self._report.document.positions else node.path
        if node.item in scope.shapes or node.item in self._places:
            self._report.error(
                where,
                f"the item of loop {node.id!r} is called {node.item!r}, and so is something else",
                "name it with as:",
            )

    # What a node reads

    def _values(self, node: Node, scope: _Scope) -> None:
        for path, compiled in node.values():
            for inner, reference in compiled.references_by_path():
                self._reference(node, (*path, *inner), reference, scope)
        if isinstance(node, SqlNode):
            self._sql(node, scope)

    def _reference(self, node: Node, path: Path, reference: Reference, scope: _Scope) -> None:
        root = reference.root
        if root == "errors":
            self._errors(node, path, reference, scope)
        elif root == "meta":
            self._meta(node, path, reference, scope)
        elif root not in scope.shapes:
            self._absent(node, path, reference, scope)
        else:
            found = shapes.read_path(scope.shapes[root], root, reference.path)
            if found is not None:
                advice = "declare it under inputs:" if root == "input" and "it has none" in found.suggestion else ""
                tell = self._report.error if found.certain else self._report.warn
                tell(path, f"{reference}: {found.message}", advice or found.suggestion)
            elif reference.path and root in scope.skipped and node.when is None:
                self._report.warn(
                    path,
                    f"{reference}: node {root!r} may not have run ({scope.skipped[root]}), and its output is null then",
                    "give this node a when: too",
                )

    def _sql(self, node: SqlNode, scope: _Scope) -> None:
        tables = [name for name in scope.shapes if name not in ROOTS]
        sql.check_sql(self._report, node, tables)
        path = (*node.path, "sql")
        for read in sorted(sql.tables_of(node.sql)):
            named = [name for name in tables if name.lower() == read]
            if len(named) > 1:
                both = " and ".join(map(repr, named))
                self._report.error(path, f"sql can't tell {both} apart, for they differ in case only", "rename one")
            elif named and node.when is None and self._is_bare(named[0], scope):
                self._report.warn(
                    path,
                    f"nothing is known of the columns of {named[0]!r}, so this fails where that has no rows",
                    f'give this node when: "{{{{ {_length_of(self._places[named[0]].node)} > 0 }}}}"',
                )

    def _is_bare(self, name: str, scope: _Scope) -> bool:
        """Whether an output has columns only by its rows, of which there may be none."""
        place = self._places.get(name)
        if place is None or shapes.rows_of(scope.shapes[name]) is not None:
            return False
        if isinstance(place.node, LoopNode):
            return not place.node.for_each.is_literal
        # Of a list that a raw request asks for; typed lists have columns, and one object is no table.
        params = place.node.params.source if isinstance(place.node, DirectNode) else None
        return isinstance(params, dict) and params.get("method") == "GET" and "properties" not in scope.shapes[name]

    def _errors(self, node: Node, path: Path, reference: Reference, scope: _Scope) -> None:
        if not reference.path:
            return
        name = str(reference.path[0])
        place = self._places.get(name)
        if place is None:
            self._report.error(path, f"{reference}: there is no node {quoted(name)}", nearest(name, self._places))
        elif place.node.on_error == "fail":
            advice = f"give {name!r} on_error: continue, or goto"
            self._report.error(path, f"{reference}: the run ends where node {name!r} fails", advice)
        elif name not in scope.ended:
            message, advice = _why_absent(node, self._places[node.id].around, place)
            self._report.error(path, f"{reference}: {message}", advice)
        elif len(reference.path) > 1 and self._comes_by_anyway(node) and place.node.on_error == "continue":
            self._report.warn(
                path,
                f"{reference}: node {name!r} may not have failed, and errors has no {name!r} then",
                f'give this node when: "{{{{ {name!r} in errors }}}}"',
            )

    def _comes_by_anyway(self, node: Node) -> bool:
        """Whether nothing decides if a node runs: no `when`, and no condition around it."""
        around = [owner for owner, _ in self._places[node.id].around]
        return node.when is None and not any(isinstance(one, ConditionNode) or one.when is not None for one in around)

    def _meta(self, node: Node, path: Path, reference: Reference, scope: _Scope) -> None:
        if not reference.path:
            return
        name = str(reference.path[0])
        place = self._places.get(name)
        if place is None:
            self._report.error(path, f"{reference}: there is no node {quoted(name)}", nearest(name, self._places))
        elif not isinstance(place.node, ConnectorNode) or name not in scope.shapes:
            why = "has not run yet" if isinstance(place.node, ConnectorNode) else "is no connector node"
            self._report.error(path, f"{reference}: node {name!r} {why}, so there is no meta of it")
        elif node.when is None and (why := scope.skipped.get(name) or _why_failed(place.node)):
            self._report.warn(
                path,
                f"{reference}: node {name!r} may have given nothing ({why}), and there is no meta of it then",
                "give this node a when: too",
            )

    def _absent(self, node: Node, path: Path, reference: Reference, scope: _Scope) -> None:
        root = reference.root
        place = self._places.get(root)
        if place is None:
            self._unknown(path, reference, scope)
            return
        here = self._places[node.id].around
        message, advice = _why_absent(node, here, place)
        self._report.error(path, f"{reference}: {message}", advice)

    def _unknown(self, path: Path, reference: Reference, scope: _Scope) -> None:
        root = reference.root
        loop = next((one for one in self._workflow.all_nodes if isinstance(one, LoopNode) and one.item == root), None)
        if loop is not None:
            message = f"{root!r} is the item of loop {loop.id!r}, and this stands outside of it"
            self._report.error(path, f"{reference}: {message}", f"read {loop.id}.results")
            return
        names = [name for name in scope.shapes if name != "run"]
        guess = nearest(root, [*names, *self._places]) or f"there is {listed(names)}"
        self._report.error(path, f"{reference}: there is no node or name {quoted(root)}", guess)


def _in_branches(node: Node) -> Iterator[str]:
    """The nodes inside a condition, whose errors come out of it; those of a loop or a parallel stay inside."""
    if isinstance(node, ConditionNode):
        for branch in node.branches:
            for inner in branch.nodes:
                yield inner.id
                yield from _in_branches(inner)


def _why_failed(node: Node) -> str:
    return "on_error: continue" if node.on_error == "continue" else ""


def _length_of(node: Node) -> str:
    return f"{node.id}.{'results' if isinstance(node, LoopNode) else 'data'} | length"


def _passed(node: Node, target: str, following: tuple[Node, ...]) -> dict[str, str]:
    """Whose outputs may be null where `goto` of `node` arrives, and why."""
    ids = [one.id for one in following]
    if target not in ids:
        return {}
    why = f"on_error of {node.id!r} goes past it to {target!r}"
    return {**dict.fromkeys(ids[: ids.index(target)], why), node.id: f"its on_error goes on at {target!r}"}


def _why_absent(node: Node, here: tuple[tuple[Node, Branch], ...], place: _Place) -> tuple[str, str]:
    """Why the output of `place` can't be read by `node`, and what to do."""
    name = place.node.id
    if place.node is node:
        return "a node can't read its own output", ""
    if any(around is place.node for around, _ in here):
        return f"node {name!r} is still running, for this stands inside it", ""
    for depth, (owner, branch) in enumerate(place.around):
        if depth < len(here) and here[depth][0] is owner:
            if here[depth][1].name == branch.name:
                continue
            if isinstance(owner, ParallelNode):
                return f"node {name!r} stands in another branch of {owner.id!r}, which runs at the same time", ""
            return f"node {name!r} stands in another branch of {owner.id!r}, which has not run", ""
        if owner.path < node.path[: len(owner.path)]:
            return f"node {name!r} is seen only inside {owner.id!r}", _from_outside(owner, branch)
        break
    return f"node {name!r} has not run yet: it stands further down", "move it up, or read an earlier node"


def _from_outside(owner: Node, branch: Branch) -> str:
    if isinstance(owner, LoopNode):
        return f"read {owner.id}.results"
    return f"read {owner.id}.{branch.name}" if isinstance(owner, ParallelNode) else f"read {owner.id}"


def _article(kind: str) -> str:
    return {"object": "an object", "string": "text", "integer": "an integer"}.get(kind, f"a {kind}")


def _places(nodes: tuple[Node, ...], around: tuple[tuple[Node, Branch], ...]) -> Iterator[_Place]:
    for node in nodes:
        yield _Place(node, around)
        for branch in node.branches:
            yield from _places(branch.nodes, (*around, (node, branch)))

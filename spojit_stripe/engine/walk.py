"""The interpreter: a workflow's nodes, walked over the steps of a run.

A `Walk` goes through one sequence of steps: a run, an item of a loop or a branch of a parallel.
What depends on anything but inputs and earlier outputs happens inside a step, so that a run which
is resumed takes the same way again, gets recorded outputs, and goes on where it stood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, cast

from spojit_stripe.data import LostError
from spojit_stripe.engine.frames import Ended, Failure, Frame
from spojit_stripe.engine.leaves import Leaves
from spojit_stripe.engine.scope import names_read, restore, share
from spojit_stripe.errors import InputError, SpojitError, UnavailableError
from spojit_stripe.expressions.bounds import is_list, kind_of
from spojit_stripe.steps import Child
from spojit_stripe.values import JsonObject, JsonValue
from spojit_stripe.workflow import (
    Branch,
    ConditionNode,
    Goto,
    LoopNode,
    Node,
    ParallelNode,
    ResponseNode,
    SubworkflowNode,
    check_inputs,
)

__all__ = ["Walk", "lost"]

MOST_ITEMS: Final = 10_000
_FORGETS_NOTHING: Final = 2**31 - 2
"""A place after every step that can have been recorded: who is wound back to it keeps them all."""

Scope = dict[str, JsonValue]


class Walk:
    """One way through one sequence of steps. `leaves` runs the nodes that have none inside."""

    __slots__ = ("_leaves", "_run", "_steps", "exceptions")  # thousands of runs may be parked in one process

    def __init__(self, leaves: Leaves) -> None:
        self._leaves = leaves
        self._steps = leaves.steps
        self._run = leaves.run
        self.exceptions = 0

    # A child: what `_child` made, on the other side

    async def part(self, argument: JsonObject) -> JsonObject:
        """Run one item of a loop or one branch of a parallel."""
        frame = Frame.of_json(cast("JsonObject", argument["frame"]))
        workflow = self._run.bundle.workflows[frame.file]
        owner = next(node for node in workflow.all_nodes if node.id == argument["owner"])
        branch = next(one for one in owner.branches if one.name == argument["branch"])
        try:
            scope: Scope = {"meta": {}, **self._run.restored(cast("JsonObject", argument["scope"]))}
            if isinstance(owner, LoopNode):
                scope.update(restore(cast("JsonObject", argument["item"]), self._run.store))
        except LostError as error:
            return self.record(lost(error, frame.trail.rstrip("/")))
        return self.record(await self.nodes(branch.nodes, scope, frame))

    def record(self, ended: Ended) -> JsonObject:
        """How a sequence of steps ended, as it is recorded."""
        found: JsonObject = {
            "exceptions": self.exceptions,
            "planned": [one.to_json() for one in self._leaves.planned],
        }
        if ended.failure is not None:
            return {**found, "failed": ended.failure.to_json()}
        value = self._run.recorded(ended.value, self._run.prefix(f"{self._leaves.name}-output"))
        return {**found, "value": value, **({"status": ended.status} if ended.kind == "answer" else {})}

    # Lists of nodes

    async def nodes(self, nodes: tuple[Node, ...], scope: Scope, frame: Frame) -> Ended:
        """Run nodes in their order; the value is the output of the last one."""
        places = {node.id: place for place, node in enumerate(nodes)}
        ended = Ended("value")
        place = 0
        while place < len(nodes):
            node = nodes[place]
            ended = await self._node(node, scope, frame)
            if ended.kind == "answer":
                return ended
            following = place + 1
            if ended.failure is not None:
                if _ends_all(node, ended.failure):
                    return ended
                self._go_on_after(node, ended.failure, scope, frame)
                if isinstance(node.on_error, Goto):
                    following = places[node.on_error.id]
                    scope.update({one.id: None for one in nodes[place + 1 : following]})
                ended = Ended("value")
            scope[node.id] = ended.value
            place = following
        return ended

    def _go_on_after(self, node: Node, failure: Failure, scope: Scope, frame: Frame) -> None:
        self.exceptions += 1
        errors = cast("JsonObject", scope["errors"])
        scope["errors"] = {**errors, node.id: failure.error.to_json()}
        self._run.watch.ends(f"{frame.trail}{node.id}", node.type, "continued", error=failure.error.message)

    async def _node(self, node: Node, scope: Scope, frame: Frame) -> Ended:
        trail = f"{frame.trail}{node.id}"
        place = self._steps.place
        watch = self._run.watch
        try:
            if node.when is not None and not node.when.decide(scope, now=frame.now, where="when"):
                watch.ends(trail, node.type, "skipped")
                return Ended("value")
            watch.begins(trail, node.type)
            frame, seconds = await self._time(node, frame)
            ended = await self._of_type(node, scope, frame, seconds)
        except LostError as error:
            ended = lost(error, trail)
        except SpojitError as error:
            ended = Ended("failed", failure=Failure(error=error, node=trail, place=place))
        if ended.failure is not None and ended.failure.place is None:  # of parts that ran side by side
            ended = replace(ended, failure=replace(ended.failure, place=place))
        if ended.failure is None:
            watch.ends(trail, node.type, "done")
        elif _ends_all(node, ended.failure):
            state = "unknown" if ended.failure.unknown else "failed"
            watch.ends(trail, node.type, state, error=ended.failure.error.message)
        return ended

    async def _time(self, node: Node, frame: Frame) -> tuple[Frame, float | None]:
        """The frame with its new deadline, and the seconds left; the clock is asked only where there is one."""
        if node.timeout is None and frame.deadline is None:
            return frame, None
        now = await self._steps.now()
        own = now + math.ceil(node.timeout) if node.timeout else None
        around = frame.deadline
        if around is not None and around <= now and await self._resumed() >= around:
            around = None  # a person who resumes a run gives it time anew
        ends = [one for one in (own, around) if one is not None]
        if not ends:
            return frame, None
        if min(ends) <= now:
            raise UnavailableError("the time of the nodes around it is over, so it was not begun")
        return replace(frame, deadline=min(ends)), float(min(ends) - now)

    async def _resumed(self) -> int:
        """When a person last resumed the run, recorded: a later resume must not change what was decided by it."""

        async def work() -> JsonValue:
            return self._run.resumed

        return cast("int", await self._steps.step("resumed", work))

    async def _of_type(self, node: Node, scope: Scope, frame: Frame, seconds: float | None) -> Ended:
        match node:
            case ConditionNode():
                return await self._condition(node, scope, frame)
            case LoopNode():
                return await self._loop(node, scope, frame)
            case ParallelNode():
                return await self._parallel(node, scope, frame)
            case SubworkflowNode():
                return await self._subworkflow(node, scope, frame)
            case ResponseNode():
                body = node.body.render(scope, now=frame.now, where="body", allow_null=True)
                return Ended("answer", body, status=node.status)
            case _:
                pass
        leaf = await self._leaves.run_node(node, scope, frame, seconds)
        if leaf.failure is not None:
            failure = Failure(error=leaf.failure, node=f"{frame.trail}{node.id}", place=leaf.place)
            return Ended("failed", failure=failure)
        self.exceptions += leaf.exceptions
        if leaf.meta is not None:
            scope["meta"] = {**cast("JsonObject", scope["meta"]), node.id: leaf.meta}
        return Ended("value", leaf.value)

    # Nodes with nodes inside

    async def _condition(self, node: ConditionNode, scope: Scope, frame: Frame) -> Ended:
        for branch in node.choices:
            if branch.test is None or branch.test.decide(scope, now=frame.now, where=branch.name):
                self._run.watch.tells(f"{frame.trail}{node.id}", branch=branch.name)
                inner = replace(frame, trail=f"{frame.trail}{node.id}/")
                within = dict(scope)
                ended = await self.nodes(branch.nodes, within, inner)
                scope["errors"] = within["errors"]  # as any node's: what comes after may ask for them
                return ended
        return Ended("value")

    async def _subworkflow(self, node: SubworkflowNode, scope: Scope, frame: Frame) -> Ended:
        file = self._run.bundle.inner(frame.file, node)
        workflow = self._run.bundle.workflows[file]
        given = cast("JsonObject", node.inputs.render(scope, now=frame.now, where="inputs", allow_null=True))
        inner = replace(frame, file=file, identity=f"{frame.identity}{node.id}/", trail=f"{frame.trail}{node.id}/")
        inner_scope: Scope = {"input": check_inputs(workflow, given), "run": scope["run"], "errors": {}, "meta": {}}
        ended = await self.nodes(workflow.nodes, inner_scope, inner)
        return ended if ended.failure is not None else Ended("value", ended.value)

    async def _loop(self, node: LoopNode, scope: Scope, frame: Frame) -> Ended:
        items = node.for_each.render(scope, now=frame.now, where="for_each", allow_null=True)
        if not is_list(items):
            raise InputError(f"for_each: gives {kind_of(items)}, and a loop goes over a list")
        if len(items) > MOST_ITEMS:
            raise InputError(
                f"for_each: gives {len(items):,} items, more than {MOST_ITEMS:,}; narrow it with sql: first"
            )
        (branch,) = node.branches
        shared = self._shared(node, scope, frame)
        children = [
            self._child(node, branch, f"{node.id}[{place}]", shared, frame, place, {node.item: item})
            for place, item in enumerate(items)
        ]
        self._run.watch.tells(f"{frame.trail}{node.id}", items=len(children))
        found = await self._gather(children, limit=node.concurrency, stops=True)
        failed = self._failure(children, found)
        if failed is not None:
            return failed
        values = [self._run.thawed(one["value"]) for one in found if one is not None]
        fallen = sum(1 for one in found if one is not None and cast("int", one["exceptions"]))
        return Ended("value", {"results": values, "count": len(children), "failed": fallen})

    async def _parallel(self, node: ParallelNode, scope: Scope, frame: Frame) -> Ended:
        shared = self._shared(node, scope, frame)
        children = [
            self._child(node, branch, f"{node.id}.{branch.name}", shared, frame, None, {}) for branch in node.named
        ]
        found = await self._gather(children, limit=len(children), stops=False)
        failed = self._failure(children, found)
        if failed is not None:
            return failed
        return Ended(
            "value",
            {
                branch.name: self._run.thawed(one["value"])
                for branch, one in zip(node.named, found, strict=True)
                if one is not None
            },
        )

    # Parts that run side by side

    def _shared(self, node: Node, scope: Scope, frame: Frame) -> JsonObject:
        names = names_read(node) | {"run", "errors"}
        prefix = self._run.prefix(f"scope-{frame.trail}{node.id}")
        return share(scope, names, self._run.store, prefix)

    def _child(
        self,
        node: Node,
        branch: Branch,
        name: str,
        shared: JsonObject,
        frame: Frame,
        place: int | None,
        item: Mapping[str, JsonValue],
    ) -> Child:
        indexes = frame.indexes if place is None else (*frame.indexes, place)
        inner = replace(frame, indexes=indexes, trail=f"{frame.trail}{name}/")
        prefix = self._run.prefix(f"item-{frame.trail}{name}")
        argument: JsonObject = {
            "owner": node.id,
            "branch": branch.name,
            "frame": inner.to_json(),
            "scope": shared,
            "item": share(item, {*item}, self._run.store, prefix),
        }
        return Child(name=frame.child(name), task="part", argument=argument)

    async def _gather(self, children: list[Child], *, limit: int, stops: bool) -> list[JsonObject | None]:
        def failed(result: JsonValue) -> bool:
            return stops and isinstance(result, dict) and "failed" in result

        found = cast("list[JsonObject | None]", await self._steps.gather(children, limit=limit, stop_on=failed))
        for one in found:
            if one is not None:
                self.exceptions += cast("int", one["exceptions"])
                self._leaves.add_planned(cast("list[JsonObject]", one["planned"]))
        return found

    def _failure(self, children: list[Child], found: list[JsonObject | None]) -> Ended | None:
        """The failure of a node whose parts failed: an unknown outcome before all, else the first in order."""
        failures = [
            (child.name, Failure.of_json(cast("JsonObject", one["failed"])))
            for child, one in zip(children, found, strict=True)
            if one is not None and "failed" in one
        ]
        if not failures:
            return None
        first = next((one for _, one in failures if one.unknown), failures[0][1])
        return Ended("failed", failure=Failure(error=first.error, node=first.node, children=tuple(failures)))


def lost(error: LostError, node: str) -> Ended:
    """The end of what needs a lost file; the steps that gave it, and those that came after them, are done."""
    return Ended("failed", failure=Failure(error=error, node=node, place=_FORGETS_NOTHING))


def _ends_all(node: Node, failure: Failure) -> bool:
    """Whether nothing goes on after a failure: a resumed run that meets a lost file must not take another way."""
    return node.on_error == "fail" or failure.unknown or failure.lost

"""The tasks that an engine carries out: a whole run, and a part of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from spojit_stripe.data import LostError
from spojit_stripe.engine.context import RunContext
from spojit_stripe.engine.frames import Ended, Failure, Frame
from spojit_stripe.engine.leaves import Leaves
from spojit_stripe.engine.plans import carry_out
from spojit_stripe.engine.walk import Walk, lost
from spojit_stripe.errors import SpojitError
from spojit_stripe.steps import Steps, Task
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["tasks_of"]


def tasks_of(context: RunContext) -> Mapping[str, Task]:
    """What an engine carries out: `run`, a whole run, and `part`, an item of a loop or a branch.

    The argument of `run` is `{"inputs": …}`; it gives `{"value", "exceptions"}` with a response's
    `status`, or `{"failed", "exceptions"}`.
    """

    async def run(steps: Steps, argument: JsonObject) -> JsonValue:
        workflow = context.bundle.workflows[context.bundle.root]
        now = await steps.now()
        about: JsonObject = {"id": steps.run_id, "workflow": workflow.name, "started_at": now}
        leaves = Leaves(context, steps, "run")
        walk = Walk(leaves)
        try:
            given = context.thawed(argument["inputs"])
        except LostError as error:
            return walk.record(lost(error, "input"))
        scope: dict[str, JsonValue] = {"input": given, "run": about, "errors": {}, "meta": {}}
        ended = await walk.nodes(workflow.nodes, scope, Frame(file=context.bundle.root, now=now))
        if ended.failure is None and leaves.planned:
            ended = await _after_plan(ended, leaves, context, steps)
        return walk.record(ended)

    async def part(steps: Steps, argument: JsonObject) -> JsonValue:
        frame = cast("JsonObject", argument["frame"])
        return await Walk(Leaves(context, steps, str(frame["trail"]))).part(argument)

    return {"run": run, "part": part}


async def _after_plan(ended: Ended, leaves: Leaves, context: RunContext, steps: Steps) -> Ended:
    """Planned writes are carried out when the nodes are through, once the plan is approved."""
    place = steps.place
    try:
        done = await carry_out(leaves.planned, context.sessions, steps, context.watch, retried=context.retried)
    except SpojitError as error:
        return Ended("failed", failure=Failure(error=error, node="plan", place=place))
    finally:
        leaves.planned = []
    return Ended(ended.kind, {"output": ended.value, "executed": done}, status=ended.status)

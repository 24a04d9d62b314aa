"""Planned writes: one approval for all of a run, then exactly those, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, cast

from spojit_stripe.calling import Reply, approval_topic, call_in_steps
from spojit_stripe.connection import Policy
from spojit_stripe.engine.watch import Watch
from spojit_stripe.errors import RefusedError
from spojit_stripe.node import PlannedCall, Sessions
from spojit_stripe.session import Session
from spojit_stripe.steps import Steps
from spojit_stripe.values import JsonValue

__all__ = ["carry_out"]

_APPROVAL_SECONDS: Final = 7 * 86_400.0


async def carry_out(
    planned: Sequence[PlannedCall], sessions: Sessions, steps: Steps, watch: Watch, *, retried: frozenset[int]
) -> list[JsonValue]:
    """Wait for the plan's approval, then carry its calls out, stopping at the first that fails.

    Calls of two connections are two plans. Gives the outcome of each. Raises `SpojitError` where
    nobody approved, or a call failed.
    """
    done: list[JsonValue] = []
    for number, one in enumerate(_in_order(planned), start=1):
        session = sessions.of(one.connection, Policy.model_validate(one.policy))
        path = f"plan/{number} {one.call.tool}"
        watch.begins(path, "connector")
        try:
            reply = await _one(one, session, steps, f"plan {number}", path, watch, retried)
        except RefusedError as error:
            watch.ends(path, "connector", "failed", error=error.message)
            raise
        if reply.kind == "failed":
            watch.ends(path, "connector", "failed", error=reply.error.message)
            raise reply.error
        watch.ends(path, "connector", "done", object=reply.value.get("id"))
        done.append({"number": number, "tool": one.call.tool, "id": reply.value.get("id")})
    return done


def _in_order(planned: Sequence[PlannedCall]) -> Iterator[PlannedCall]:
    """The calls of each connection by their number: what ran side by side was planned in any order."""
    plans = {
        name: iter(sorted((one for one in planned if one.connection == name), key=lambda one: one.number))
        for name in {one.connection for one in planned}
    }
    return (next(plans[one.connection]) for one in planned)


async def _one(
    one: PlannedCall, session: Session, steps: Steps, name: str, path: str, watch: Watch, retried: frozenset[int]
) -> Reply:
    while True:
        reply = await call_in_steps(one.call, at=one.at, session=session, steps=steps, name=name, retried=retried)
        if reply.kind != "planned":
            return reply
        approval = f"apr_{cast('str', reply.value['digest'])[:12]}"
        watch.waits(path, {"approval_id": approval, "reason": "the plan waits for its approval"})
        message = await steps.wait(approval_topic(approval), timeout=_APPROVAL_SECONDS)
        watch.turns(path, "running")
        if message is None:
            raise RefusedError(f"nobody decided the plan {approval} in time; resume the run to ask again")

"""The durability port: all that the core knows of an engine.

A run is a sequence of steps. What a step gave is recorded, so that a resumed run gets the
record and does not do the work again; a step that was under way when the process died is done
again. So the work of a step must be safe to repeat: reads are, and a write is made safe by the
ledger. A step gives JSON, never a secret, and never raises for what the caller has to handle:
an error that is recorded comes back as something else.

The names and the order of steps may depend only on inputs and on what earlier steps gave.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from spojit_stripe.jsonvalue import JsonObject, JsonValue

__all__ = ["Child", "InProcessSteps", "Steps", "Task", "Work", "gather_bounded"]

Work: TypeAlias = Callable[[], Awaitable[JsonValue]]
Task: TypeAlias = "Callable[[Steps, JsonObject], Awaitable[JsonValue]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A part of a run with steps of its own. `name` is its identity within the parent.

    `task` names a function that the engine knows; `argument` is recorded with the child.
    """

    name: str
    task: str
    argument: JsonObject


class Steps(Protocol):
    """One sequence of steps. Used by one coroutine at a time; side by side is what `gather` is for."""

    @property
    def run_id(self) -> str:
        """The id of the whole run, the same in its children."""
        ...

    @property
    def place(self) -> int:
        """How many steps were taken so far: where a resumed run can be wound back to."""
        ...

    async def step(self, name: str, work: Work) -> JsonValue:
        """Do `work` once and record what it gives, or give what was recorded."""
        ...

    async def gather(self, children: Sequence[Child], *, limit: int, stop_on: Callable[[JsonValue], bool]) -> Results:
        """Run children, at most `limit` at a time, started in their order.

        After one whose result satisfies `stop_on` no further one is started. Gives a result
        for each child in order, None for those that were not started.
        """
        ...

    async def wait(self, topic: str, *, timeout: float | None) -> JsonValue:
        """The next message of `topic`, or None after `timeout` seconds; may take days and restarts.

        A message only wakes: what was decided is read again from its record.
        """
        ...

    async def send(self, run_id: str, topic: str, value: JsonValue) -> None:
        """Send a message to another run, once."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Go on after a time that counts from the first try."""
        ...

    async def now(self) -> int:
        """The time in Unix seconds, recorded."""
        ...


Results: TypeAlias = "list[JsonValue]"


class InProcessSteps:
    """Steps that live and die with the process: for one-off calls, tests and hosts of their own.

    `inbox` holds a queue of messages for each topic; `send` puts one in. Nothing is recorded, so
    a write is protected by the ledger alone, as on the command line.
    """

    def __init__(
        self,
        run_id: str,
        tasks: Mapping[str, Task] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        inbox: dict[str, asyncio.Queue[JsonValue]] | None = None,
    ) -> None:
        self._run_id = run_id
        self._tasks = tasks or {}
        self._clock = clock
        self._inbox = {} if inbox is None else inbox
        self._place = 0

    @property
    def run_id(self) -> str:
        return self._run_id

    @property
    def place(self) -> int:
        return self._place

    async def step(self, name: str, work: Work) -> JsonValue:
        self._place += 1
        return await work()

    async def gather(self, children: Sequence[Child], *, limit: int, stop_on: Callable[[JsonValue], bool]) -> Results:
        self._place += 1
        return await gather_bounded(children, self._run_child, limit=limit, stop_on=stop_on)

    async def _run_child(self, child: Child) -> JsonValue:
        steps = InProcessSteps(self._run_id, self._tasks, clock=self._clock, inbox=self._inbox)
        return await self._tasks[child.task](steps, child.argument)

    async def wait(self, topic: str, *, timeout: float | None) -> JsonValue:
        self._place += 1
        try:
            async with asyncio.timeout(timeout):
                return await self._queue(topic).get()
        except TimeoutError:
            return None

    async def send(self, run_id: str, topic: str, value: JsonValue) -> None:
        self._place += 1
        self._queue(topic).put_nowait(value)

    async def sleep(self, seconds: float) -> None:
        self._place += 1
        await asyncio.sleep(seconds)

    async def now(self) -> int:
        self._place += 1
        return int(self._clock())

    def _queue(self, topic: str) -> asyncio.Queue[JsonValue]:
        return self._inbox.setdefault(topic, asyncio.Queue())


async def gather_bounded(
    children: Sequence[Child],
    run: Callable[[Child], Awaitable[JsonValue]],
    *,
    limit: int,
    stop_on: Callable[[JsonValue], bool],
) -> Results:
    """Run children in their order, at most `limit` at a time, until one satisfies `stop_on`."""
    results: list[JsonValue] = [None] * len(children)
    waiting = iter(enumerate(children))
    stopped = False

    async def worker() -> None:
        nonlocal stopped
        for place, child in waiting:
            if stopped:
                return
            results[place] = await run(child)
            stopped = stopped or stop_on(results[place])

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(limit, len(children))):
                group.create_task(worker())
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None  # an engine's own signals mean nothing inside a group
    return results

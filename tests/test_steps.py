"""Steps that live and die with the process; what every port has to do is in `engine/test_conformance.py`."""

from __future__ import annotations

import asyncio

import pytest

from spojit_stripe.errors import RefusedError
from spojit_stripe.steps import Child, InProcessSteps, gather_bounded

CHILDREN = [Child(name=str(n), task="part", argument={"n": n}) for n in range(6)]


def test_no_more_children_than_the_limit_run_and_each_free_place_is_taken_at_once() -> None:
    """The second place goes on while the first is held."""

    async def work() -> list[object]:
        held, order = asyncio.Event(), []

        async def run(child: Child) -> object:
            number = child.argument["n"]
            order.append(number)
            if number == 0:
                await held.wait()
            if number == 5:
                held.set()
            return number

        assert await gather_bounded(CHILDREN, run, limit=2, stop_on=lambda _: False) == [0, 1, 2, 3, 4, 5]
        return order

    assert asyncio.run(work()) == [0, 1, 2, 3, 4, 5]


def test_what_is_under_way_ends_when_another_stops() -> None:
    """Its result counts; what had not begun gives None."""

    async def work() -> object:
        stopped = asyncio.Event()

        async def run(child: Child) -> object:
            number = child.argument["n"]
            if number == 0:
                await stopped.wait()
            if number == 1:
                stopped.set()
            return number

        return await gather_bounded(CHILDREN, run, limit=2, stop_on=lambda result: result == 1)

    assert asyncio.run(work()) == [0, 1, None, None, None, None]


class Signal(BaseException):
    """What an engine may raise to end a run: nothing may catch it, or dress it up."""


@pytest.mark.parametrize("error", [RefusedError("no"), Signal()])
def test_what_a_child_raises_comes_out_as_it_is(error: BaseException) -> None:
    async def run(child: Child) -> object:
        if child.argument["n"] == 1:
            raise error
        await asyncio.Event().wait()
        return None

    with pytest.raises(type(error)) as caught:
        asyncio.run(_awaited(gather_bounded(CHILDREN, run, limit=3, stop_on=lambda _: False)))
    assert caught.value is error


async def _awaited(work):
    return await work


def test_messages_come_in_their_order_and_only_to_their_topic() -> None:
    async def work() -> object:
        inbox: dict = {}
        steps = InProcessSteps("run-1", inbox=inbox, clock=lambda: 1_790_000_000.9)
        await steps.send("run-1", "a", 1)
        await steps.send("run-1", "a", 2)
        await steps.send("run-1", "b", 3)
        found = [await steps.wait(topic, timeout=1) for topic in ("a", "b", "a")]
        return [*found, await steps.now(), steps.place]

    assert asyncio.run(work()) == [1, 3, 2, 1_790_000_000, 7]

"""The durability port, held against every implementation of it: one suite, and the Connector node on top.

A third host writes a class with the methods of `steps.Steps`, adds a `Port` here, and is done when this passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, LiteralString, Protocol

import psycopg
import pytest

from spojit_stripe.engine import durable
from spojit_stripe.errors import DeclinedError, RefusedError, SpojitError
from spojit_stripe.node import ConnectorNode
from spojit_stripe.steps import Child, InProcessSteps, Steps, Task


class Port(Protocol):
    """How a run of tasks is begun; `on_wait` is called with a topic for each wait, and may `send`."""

    def run(self, tasks: Mapping[str, Task], on_wait: Callable[[str], None] | None = None) -> Any: ...

    def send(self, topic: str) -> None: ...


class InProcess:
    def __init__(self) -> None:
        self._inbox: dict[str, asyncio.Queue[Any]] = {}

    def run(self, tasks: Mapping[str, Task], on_wait: Callable[[str], None] | None = None) -> Any:
        class Told(InProcessSteps):
            async def wait(self, topic: str, *, timeout: float | None) -> Any:
                if on_wait is not None:
                    on_wait(topic)
                return await super().wait(topic, timeout=timeout)

        return asyncio.run(_awaited(tasks["run"](Told("run-1", tasks, inbox=self._inbox), {})))

    def send(self, topic: str) -> None:
        self._inbox.setdefault(topic, asyncio.Queue()).put_nowait({"woken": topic})


class OnDbos:
    """DBOS, on SQLite or on PostgreSQL: the URL is the only difference."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._sent: list[asyncio.Future[None]] = []

    def run(self, tasks: Mapping[str, Task], on_wait: Callable[[str], None] | None = None) -> Any:
        return asyncio.run(self._run(tasks, on_wait))

    async def _run(self, tasks: Mapping[str, Task], on_wait: Callable[[str], None] | None) -> Any:
        def waits(topic: str, _address: str) -> None:
            if on_wait is not None:
                on_wait(topic)

        async with durable.Durable(self.url, executor="run-1", tasks=tasks, on_wait=waits) as engine:
            await engine.start("run-1", "run", {})
            await engine.settled()
            while (ended := await engine.ended("run-1")) is None:
                await engine.awake()
                await engine.settled()
        await asyncio.gather(*self._sent)
        assert ended.state == "done", ended
        return ended.value

    def send(self, topic: str) -> None:
        loop = asyncio.get_running_loop()
        self._sent.append(
            loop.run_in_executor(None, lambda: durable.send(self.url, "run-1", topic, key=f"news of {topic}"))
        )


async def _awaited(work: Any) -> Any:
    return await work


@pytest.fixture(params=["in process", "dbos", "dbos on PostgreSQL"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Port:
    if request.param == "in process":
        return InProcess()
    if request.param == "dbos":
        return OnDbos(durable.sqlite_url(tmp_path / "engine.db"))
    return OnDbos(fresh_database(request.getfixturevalue("postgres"), "engine"))


def fresh_database(server: str, name: LiteralString) -> str:
    with psycopg.connect(f"{server}/postgres", autocommit=True) as db:
        db.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        db.execute(f"CREATE DATABASE {name}")
    return f"{server}/{name}"


def test_a_child_that_gives_nothing_stops_no_other(port: Port) -> None:
    begun: list[int] = []

    async def part(steps: Steps, argument: Any) -> Any:
        begun.append(argument["n"])

    async def run(steps: Steps, argument: Any) -> Any:
        children = [Child(name=f"part {n}", task="part", argument={"n": n}) for n in range(4)]
        return await steps.gather(children, limit=1, stop_on=lambda _: False)

    assert port.run({"run": run, "part": part}) == [None] * 4
    assert begun == [0, 1, 2, 3]


def test_steps_and_children(port: Port) -> None:
    """Steps give what their work gives; children have steps of their own, and the run's id."""
    places: list[int] = []
    started: list[str] = []
    active = most = 0

    async def run(steps: Steps, argument: Any) -> Any:
        async def work() -> Any:
            return {"text": "Zoë 😀", "amount": 900719925474099301, "none": None, "list": [True, 1.5]}

        places.append(steps.place)
        first = await steps.step("first", work)
        places.append(steps.place)
        now = await steps.now()
        places.append(steps.place)
        nothing = await steps.gather([], limit=3, stop_on=lambda _: False)
        children = [Child(name=f"part {n}", task="part", argument={"n": n}) for n in range(5)]
        parts = await steps.gather(children, limit=2, stop_on=lambda _: False)
        places.append(steps.place)
        await steps.sleep(0.01)
        places.append(steps.place)
        return {"first": first, "now": type(now).__name__, "nothing": nothing, "parts": parts, "id": steps.run_id}

    async def part(steps: Steps, argument: Any) -> Any:
        nonlocal active, most
        started.append(argument["n"])
        active += 1
        most = max(most, active)

        async def work() -> Any:
            await asyncio.sleep(0)  # lets the others begin
            return argument["n"] * 10

        value = await steps.step("same name", work)
        inner = [Child(name="deeper", task="leaf", argument={"n": argument["n"]})] if argument["n"] == 4 else []
        deeper = await steps.gather(inner, limit=1, stop_on=lambda _: False)
        active -= 1
        return {"id": steps.run_id, "value": value, "deeper": deeper}

    async def leaf(steps: Steps, argument: Any) -> Any:
        return [steps.run_id, argument["n"]]

    found = port.run({"run": run, "part": part, "leaf": leaf})
    assert found["first"] == {"text": "Zoë 😀", "amount": 900719925474099301, "none": None, "list": [True, 1.5]}
    assert (found["now"], found["nothing"], found["id"]) == ("int", [], "run-1")
    assert [one["value"] for one in found["parts"]] == [0, 10, 20, 30, 40]
    assert {one["id"] for one in found["parts"]} == {"run-1"}
    assert [one["deeper"] for one in found["parts"]] == [[], [], [], [], [["run-1", 4]]]
    assert sorted(started) == [0, 1, 2, 3, 4]
    assert most == 2
    assert places == sorted(set(places)), "each step moves the place on"


def test_no_child_is_started_after_one_that_stops(port: Port) -> None:
    """Those that were not started give None; those that ran give what they gave."""
    started: list[int] = []

    async def run(steps: Steps, argument: Any) -> Any:
        children = [Child(name=f"{n}", task="part", argument={"n": n}) for n in range(6)]
        return await steps.gather(children, limit=1, stop_on=lambda result: result == "stop")

    async def part(steps: Steps, argument: Any) -> Any:
        started.append(argument["n"])
        return "stop" if argument["n"] == 2 else argument["n"]

    assert port.run({"run": run, "part": part}) == [0, 1, "stop", None, None, None]
    assert started == [0, 1, 2]


def test_waits_are_woken_by_their_topic_or_end_in_time(port: Port) -> None:
    """A message of another topic wakes nobody; one that was sent before counts too."""

    async def run(steps: Steps, argument: Any) -> Any:
        await steps.send("run-1", "mine", {"from": "myself"})
        late = await steps.wait("nobody", timeout=0.2)
        early = await steps.wait("mine", timeout=None)
        woken = await steps.wait("theirs", timeout=30)
        return [late, early, woken]

    def on_wait(topic: str) -> None:
        if topic == "theirs":
            port.send(topic)

    assert port.run({"run": run}, on_wait) == [None, {"from": "myself"}, {"woken": "theirs"}]


# The Connector node, without any of the engine's other parts

PAY = {"connector": "fake", "tool": "make-payment", "params": {"amount": "{{ input.amount }}", "currency": "usd"}}


def run_node(port: Port, stage: Any, config: dict[str, Any], inputs: Any, on_wait: Any = None) -> dict[str, Any]:
    async def run(steps: Steps, argument: Any) -> Any:
        async with ConnectorNode.from_config(config, host=stage.host) as node:
            try:
                output = await node.run({"input": inputs}, steps)
            except SpojitError as error:
                return {"error": error.to_json()}
        return {"value": output.value, "meta": {**output.meta}, "incomplete": output.incomplete}

    return port.run({"run": run}, on_wait)


def test_a_connector_node_pays_once(port: Port, stage) -> None:
    found = run_node(port, stage, {**PAY, "connection": "till"}, {"amount": 500})
    assert found["value"] == {"id": "pay_1", "amount": 500, "currency": "usd", "customer": None, "text": None}
    assert (found["meta"]["ledger_id"], found["incomplete"]) == (1, None)
    (entry,) = stage.writes()
    assert (entry.node, entry.key) == ("node", found["meta"]["idempotency_key"])
    reads = {"connector": "fake", "connection": "till", "tool": "list-payments"}
    listed = run_node(port_like(port, stage), stage, reads, {})
    assert [one["id"] for one in listed["value"]["data"]] == ["pay_1"]


def port_like(port: Port, stage: Any) -> Port:
    """A fresh port of the same kind."""
    if isinstance(port, InProcess):
        return InProcess()
    assert isinstance(port, OnDbos)
    if port.url.startswith("postgresql"):
        return OnDbos(fresh_database(port.url.rpartition("/")[0], "other"))
    (stage.folder / "other").mkdir()
    return OnDbos(durable.sqlite_url(stage.folder / "other" / "engine.db"))


def test_a_connector_node_fails_as_data(port: Port, stage) -> None:
    found = run_node(port, stage, {**PAY, "connection": "till"}, {"amount": 13})
    assert found["error"] == DeclinedError("the card was declined").to_json() | {"attempts": 1}


def test_a_connector_node_waits_for_its_approval(port: Port, stage) -> None:
    """The message only wakes: what was decided is read from the approval."""

    def on_wait(topic: str) -> None:
        approval = topic.partition(":")[2]
        stage.host.records.approvals.decide(approval, "approved", who="ann")
        port.send(topic)

    found = run_node(port, stage, {**PAY, "connection": "asking"}, {"amount": 500}, on_wait)
    assert found["value"]["id"] == "pay_1"
    assert [one.state for one in stage.host.records.approvals.list()] == ["used"]


def test_a_connector_node_is_told_of_a_rejection(port: Port, stage) -> None:
    def on_wait(topic: str) -> None:
        stage.host.records.approvals.decide(topic.partition(":")[2], "rejected", who="ann", note="too much")
        port.send(topic)

    found = run_node(port, stage, {**PAY, "connection": "asking"}, {"amount": 500}, on_wait)
    assert found["error"] == RefusedError("ann rejected the call: too much; that is final for this run").to_json()
    assert stage.till.paid == {}

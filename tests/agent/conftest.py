"""An agent on a sandbox: the real SDK, a scripted model, steps that remember and may break off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import stripe

from spojit_stripe.agent import AgentReply, AgentSpec, Claude, Limits, run_agent
from spojit_stripe.data import ArtifactStore
from spojit_stripe.records import Entry
from spojit_stripe.sandbox import Sandbox, sandbox
from spojit_stripe.steps import Work
from spojit_stripe.testing import FakeClock, Workbench
from spojit_stripe.testing.scripted_model import Scripted, ScriptedModel
from spojit_stripe.values import JsonObject, JsonValue, Position
from spojit_stripe.wire.connector import StripeConnector

NOW = 1_790_000_000
CAPS = {"per_call": {"amount": 5_000, "currency": "usd"}, "per_run": {"amount": 8_000, "currency": "usd"}, "count": 3}
ALLOW = {"writes": "allow", "caps": CAPS}
ASK = {"writes": "ask"}
PLAN = {"writes": "plan"}
DENY = {"writes": "deny"}


class CrashedError(Exception):
    """The process is gone."""


@dataclass
class Journal:
    """What an engine keeps of a run: the records of its steps. `decide` says what a person does at a pause."""

    records: list[tuple[str, str]] = field(default_factory=list)
    decide: Callable[[str], None] | None = None

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.records]


class RecordingSteps:
    """Implements `steps.Steps`. Replays what `journal` holds; breaks off after `stop_after` records.

    With `lose` the last step's work is done, but its record is lost, as in a crash between the two.
    """

    def __init__(self, journal: Journal, *, stop_after: int | None = None, lose: bool = False) -> None:
        self.journal = journal
        self._stop_after = stop_after
        self._lose = lose
        self._place = 0

    run_id = "run-1"

    @property
    def place(self) -> int:
        return self._place

    async def step(self, name: str, work: Work) -> JsonValue:
        if self._place < len(self.journal.records):
            recorded, text = self.journal.records[self._place]
            assert recorded == name, f"step {self._place} was {recorded!r} and is now {name!r}"
            self._place += 1
            return json.loads(text)
        if self._stop_after is not None and self._place >= self._stop_after:
            if self._lose:
                await work()
            raise CrashedError(name)
        text = json.dumps(await work())
        self.journal.records.append((name, text))
        self._place += 1
        return json.loads(text)

    async def now(self) -> int:
        async def work() -> JsonValue:
            return NOW

        return await self.step("now", work)

    async def wait(self, topic: str, *, timeout: float | None) -> JsonValue:
        async def work() -> JsonValue:
            if self.journal.decide is None:
                return None
            self.journal.decide(topic.removeprefix("approval:"))
            return "decided"

        return await self.step(f"wait {topic}", work)

    async def send(self, run_id: str, topic: str, value: JsonValue) -> None:
        raise AssertionError("an agent sends nothing")

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("an agent does not sleep")

    async def gather(self, *_args: object, **_more: object) -> list[JsonValue]:
        raise AssertionError("an agent has no children")


@dataclass
class Shop:
    """A sandbox with one customer and her charges, and agents that work on it."""

    box: Sandbox
    bench: Workbench
    store: ArtifactStore
    monkeypatch: pytest.MonkeyPatch
    told: list[tuple[str, JsonObject]] = field(default_factory=list)
    models: list[ScriptedModel] = field(default_factory=list)

    def post(self, path: str, **params: JsonValue) -> JsonObject:
        """What happened at Stripe before."""
        return json.loads(self.client.raw_request("post", path, **params).body)

    def get(self, path: str) -> JsonObject:
        return json.loads(self.client.raw_request("get", path).body)

    def customer(self, **more: JsonValue) -> str:
        """A customer with a card that works."""
        made = self.post("/v1/customers", email="jenny@example.com", name="Jenny", source="tok_visa", **more)
        return str(made["id"])

    def charge(self, customer: str, amount: int = 2_000, **more: JsonValue) -> str:
        return str(self.post("/v1/charges", customer=customer, amount=amount, currency="usd", **more)["id"])

    def agent(
        self,
        prompt: str,
        *turns: Scripted,
        policy: JsonObject | None = None,
        journal: Journal | None = None,
        stop_after: int | None = None,
        lose: bool = False,
        connection: JsonObject | None = None,
        **spec: Any,
    ) -> AgentReply:
        """Run one agent over `turns` of the model; every one of them must be played."""
        limits = Limits(**spec.pop("limits", {}))
        double = spec.pop("model", None)
        model = double or Claude(backoff=0.0, retries=0)
        with_key = spec.pop("key", True)
        retried = spec.pop("retried", frozenset())
        given = AgentSpec(prompt=prompt, trusted=spec.pop("trusted", (prompt,)), limits=limits, **spec)
        steps = RecordingSteps(journal or Journal(), stop_after=stop_after, lose=lose)

        async def work() -> AgentReply:
            fields: dict[str, Any] = {"base_url": self.box.url, "policy": policy or DENY, **(connection or {})}
            async with self.bench.session(by_agent=True, **fields) as session, aclosing(model):
                return await run_agent(
                    given,
                    at=Position(run_id="run-1", node="story"),
                    session=session,
                    steps=steps,
                    store=self.store,
                    tell=lambda kind, facts: self.told.append((kind, facts)),
                    model=model,
                    retried=retried,
                )

        with ScriptedModel(*turns) as scripted:
            self.models.append(scripted)
            for name, value in scripted.environment.items() if with_key else ():
                self.monkeypatch.setenv(name, value)
            return asyncio.run(work())

    # For tests, which import nothing from here
    allow = ALLOW
    caps = CAPS
    ask = ASK
    plan = PLAN
    deny = DENY
    journal = Journal
    crashed = CrashedError

    @property
    def client(self) -> stripe.StripeClient:
        return stripe.StripeClient(self.box.secret_key, base_addresses={"api": self.box.url})

    @property
    def model(self) -> ScriptedModel:
        return self.models[-1]

    def writes(self) -> list[str]:
        """What the sandbox was asked to change since `settle`."""
        return [f"{one.method} {one.path}" for one in self.box.requests()[self.settled :] if one.method != "GET"]

    settled: int = 0

    def settle(self) -> None:
        """What happened so far is not the agent's."""
        self.settled = len(self.box.requests())

    def entries(self) -> list[Entry]:
        return self.bench.entries()

    def approve(self, approval_id: str) -> None:
        self.bench.records.approvals.decide(approval_id, "approved", who="ann")

    def reject(self, approval_id: str) -> None:
        self.bench.records.approvals.decide(approval_id, "rejected", who="ann", note="not owed")


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    """One sandbox for a module; a test resets it."""
    with sandbox(now=NOW) as box:
        yield box
        assert box.crashes() == []


@pytest.fixture
def shop(running: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    running.reset()
    state = tmp_path / "state"
    with Workbench(state, StripeConnector(), clock=FakeClock(NOW), secret=running.secret_key) as bench:
        yield Shop(running, bench, ArtifactStore(state), monkeypatch)

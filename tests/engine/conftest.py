"""A stage for workflows: a till that keeps what it is paid, and two ways of running, without an engine and with one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from spojit_stripe import hookimpl
from spojit_stripe.data import ArtifactStore
from spojit_stripe.engine import Bundle, Embedded, RunContext, Watch, tasks_of
from spojit_stripe.errors import DeclinedError, OutcomeUnknownError, SpojitError
from spojit_stripe.host import Host
from spojit_stripe.node import Sessions
from spojit_stripe.records import Entry, NodeNote, Run
from spojit_stripe.steps import InProcessSteps
from spojit_stripe.testing import FakeConnector, FakeWire
from spojit_stripe.testing.fake_wire import Sent, listing_of
from spojit_stripe.workflow import NodeContext, NodeType, check_workflow

DECLINED = 13  # amounts that go wrong
LOST = 14

CONNECTIONS = """\
connections:
  till: {connector: fake, secret_key: "${made:up}", mode: test, policy: {writes: allow}}
  asking: {connector: fake, secret_key: "${made:up}", mode: test, policy: {writes: ask}}
  planning: {connector: fake, secret_key: "${made:up}", mode: test, policy: {writes: plan}}
"""


class Till(FakeWire):
    """A payment for each key, and lists of them. Amounts of 13 are declined, those of 14 paid with the answer lost."""

    def __init__(self) -> None:
        super().__init__()
        self.paid: dict[str, Any] = {}
        self.mended = False
        self.before: Callable[[Sent], Any] | None = None

    async def _play(self, sent: Sent) -> Any:
        self.sent.append(sent)
        if self.before is not None:
            await self.before(sent)
        params, path = sent.request.params, sent.request.path
        if sent.request.method == "GET":
            payments = [*self.paid.values()]
            if path != "/v1/payments":
                return next(one for one in payments if path.endswith(one["id"]))
            return listing_of(*(one for one in payments if params.get("customer") in (None, one["customer"])))
        if params.get("amount") == DECLINED and not self.mended:
            raise DeclinedError("the card was declined")
        if sent.key not in self.paid:
            made = {
                "id": f"pay_{len(self.paid) + 1}",
                "amount": None,
                "currency": "usd",
                "customer": None,
                "text": None,
            }
            self.paid[str(sent.key)] = {**made, **{name: params[name] for name in made if name in params}}
        if params.get("amount") == LOST and not self.mended:
            raise OutcomeUnknownError("the connection broke off")
        return self.paid[str(sent.key)]

    @property
    def amounts(self) -> list[int]:
        """What was paid, in the order in which it came."""
        return [one["amount"] for one in self.paid.values()]


class Extras:
    """A plug-in: the till's connector, secrets for it, two node types and a filter."""

    def __init__(self, till: Till) -> None:
        self.till = till
        self.contexts: list[NodeContext] = []

    @hookimpl
    def register_connectors(self) -> list[FakeConnector]:
        return [FakeConnector(self.till)]

    @hookimpl
    def register_secret_resolvers(self) -> dict[str, Callable[[str], str]]:
        return {"made": lambda _name: "fk_test_Recognisable4711"}

    @hookimpl
    def register_node_types(self) -> list[NodeType]:
        schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
        return [
            NodeType(name="shout", schema=schema, run=self.shout),
            NodeType(name="stumble", schema=schema, run=self.stumble),
        ]

    @hookimpl
    def register_filters(self) -> dict[str, Callable[..., Any]]:
        return {"doubled": lambda value: value * 2}

    async def shout(self, fields: dict[str, Any], context: NodeContext) -> Any:
        self.contexts.append(context)
        return {"said": fields["text"].upper() if fields["text"] != "gives a set" else {1, 2}}

    async def stumble(self, fields: dict[str, Any], context: NodeContext) -> Any:
        raise ValueError(f"no {fields['text']}")


@dataclass
class Seen:
    """A listener: the last state of each node, in the order in which they were first heard of."""

    nodes: dict[str, str] = field(default_factory=dict)
    notes: dict[str, NodeNote] = field(default_factory=dict)
    events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    on_event: Callable[[str, str, dict[str, Any]], None] | None = None

    def node(self, note: NodeNote) -> None:
        self.nodes[note.path] = note.state
        self.notes[note.path] = note

    def event(self, path: str, kind: str, facts: dict[str, Any]) -> None:
        self.events.append((path, kind, facts))
        if self.on_event is not None:
            self.on_event(path, kind, facts)


@dataclass
class Stage:
    """Workflows as texts, run over one state folder."""

    folder: Path
    till: Till = field(default_factory=Till)

    def __post_init__(self) -> None:
        (self.folder / "connections.yaml").write_text(CONNECTIONS)
        self.extras = Extras(self.till)
        self.host = Host(
            connections=self.folder / "connections.yaml", state=self.folder / "state", plugins=[self.extras]
        )

    def bundle(self, text: str, **files: str) -> Bundle:
        """The workflow without faults, and its neighbours by the name of their file without `.yaml`."""
        for name, more in files.items():
            (self.folder / f"{name}.yaml").write_text(more)
        (self.folder / "case.yaml").write_text(text)
        bundle = Bundle.of_file(self.folder / "case.yaml", self.host.vocabulary)
        for workflow in bundle.workflows.values():
            faults = check_workflow(workflow, self.host.connectors, self.host.connections)
            assert [str(one) for one in faults if one.severity == "error"] == []
        return bundle

    def play(
        self,
        text: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        **files: str,
    ) -> dict[str, Any]:
        """Run a text in this process, nothing recorded: how it ended, and the state of each node."""
        seen = Seen()
        bundle = self.bundle(text, **files)

        async def work() -> Any:
            sessions = Sessions(self.host)
            context = RunContext(
                bundle=bundle,
                host=self.host,
                store=ArtifactStore(self.folder / "state" / "artifacts"),
                sessions=sessions,
                watch=Watch("run-1", None, seen),
            )
            tasks = tasks_of(context)
            try:
                steps = InProcessSteps("run-1", tasks, clock=clock)
                return await tasks["run"](steps, {"inputs": dict(inputs or {})})
            finally:
                await sessions.aclose()

        record = asyncio.run(work())
        return {**record, "nodes": seen.nodes}

    def start(self, text: str, inputs: Mapping[str, Any] | None = None, *, run_id: str = "run-1", **more: Any) -> Run:
        """Run a text on the durable engine, in a database of its own."""
        files = more.pop("files", {})
        listener = more.pop("listener", None)
        return Embedded(self.host, listener).start(self.bundle(text, **files), dict(inputs or {}), run_id, **more)

    def resume(self, run_id: str = "run-1", *, listener: Seen | None = None, **more: Any) -> Run:
        return Embedded(self.host, listener).resume(run_id, **more)

    def decide(self, decision: str = "approved", note: str = "", *, who: str = "ann") -> str:
        """Decide the one approval that is pending, and wake who waits for it."""
        (pending,) = self.host.records.approvals.list(state="pending")
        decided = self.host.records.approvals.decide(pending.id, decision, who=who, note=note)  # type: ignore[arg-type]
        Embedded(self.host).wake(decided)
        return decided.id

    def nodes(self, run_id: str = "run-1") -> dict[str, str]:
        """The recorded state of each node of a run."""
        self.host.records.runs.flush()
        return {note.path: note.state for note in self.host.records.runs.nodes(run_id)}

    def writes(self, run_id: str = "run-1") -> list[Entry]:
        """What a run sent, oldest first."""
        return list(self.host.records.ledger.entries(run_id=run_id, writes_only=True))[::-1]

    def error(self, run: Run) -> str:
        """The message of a run that failed."""
        assert run.error is not None, json.dumps(run.output)
        return str(run.error["message"])


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.host.close()


def raised(work: Callable[[], object]) -> str:
    """The one line of what `work` raises."""
    try:
        work()
    except SpojitError as error:
        return error.message
    raise AssertionError("nothing was raised")


@pytest.fixture
def seen() -> Seen:
    return Seen()

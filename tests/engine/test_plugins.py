"""Node types and filters of plug-ins in runs: what they may change, how they fail, and how they are tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spojit_stripe import hookimpl
from spojit_stripe.data import ArtifactStore
from spojit_stripe.direct import run_tool
from spojit_stripe.engine import RunContext, Watch, tasks_of
from spojit_stripe.host import Host
from spojit_stripe.node import Sessions
from spojit_stripe.records import RunState
from spojit_stripe.steps import InProcessSteps
from spojit_stripe.values import Failed, Position, ToolCall
from spojit_stripe.workflow import NodeContext, NodeType

from .conftest import DECLINED, LOST, Stage

PAY = "type: connector, connector: fake, connection: till, tool: make-payment"


class Acme:
    """A plug-in whose node type does what a test says, and whose filter changes what it gets."""

    def __init__(self) -> None:
        self.work: Callable[[Any, NodeContext], Any] = lambda fields, context: None
        self.resumes: list[bool] = []

    async def _run(self, fields: Any, context: NodeContext) -> Any:
        self.resumes.append(context.resume)
        found = self.work(fields, context)
        return await found if asyncio.iscoroutine(found) else found

    @hookimpl
    def register_node_types(self) -> list[NodeType]:
        return [NodeType(name="acme", schema={"type": "object", "properties": {"order": {}}}, run=self._run)]

    @hookimpl
    def register_filters(self) -> dict[str, Callable[..., Any]]:
        def taxed(order: Any) -> Any:
            order["amount"] += 100
            return order

        return {"taxed": taxed}


class AcmeStage(Stage):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.host.close()
        self.acme = Acme()
        self.host = Host(
            connections=self.folder / "connections.yaml",
            state=self.folder / "state",
            plugins=[self.extras, self.acme],
        )


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[AcmeStage]:
    stage = AcmeStage(tmp_path)
    yield stage
    stage.host.close()


ORDER = f"""\
name: order
nodes:
  - {{id: order, type: transform, set: {{amount: 500, note: x}}}}
  - {{id: shown, type: transform, set: {{gross: "{{{{ order | taxed }}}}"}}}}
  - {{id: meddle, type: acme, order: "{{{{ order }}}}"}}
  - {{id: first, {PAY}, params: {{amount: 13, currency: usd}}, when: MAYBE}}
  - {{id: pay, {PAY}, params: {{amount: "{{{{ order.amount }}}}", currency: usd}}}}
"""


@pytest.mark.parametrize("resumed", [False, True])
def test_what_a_plug_in_changes_in_what_it_gets_changes_no_output(stage: AcmeStage, resumed: bool) -> None:
    """Undisturbed or resumed, the same is paid."""

    def meddle(fields: Any, context: NodeContext) -> Any:
        fields["order"]["amount"] = 1
        return {}

    stage.acme.work = meddle
    run = stage.start(ORDER.replace("MAYBE", str(resumed).lower()))
    if resumed:
        assert run.state is RunState.FAILED
        stage.till.mended = True
        run = stage.resume()
    assert run.state is RunState.DONE
    assert stage.till.amounts[-1] == 500


TRIED = """\
name: tried
nodes:
  - {id: a, type: acme, on_error: continue}
  - {id: out, type: response, body: {why: "{{ errors.a.message }}"}}
"""


async def wait_for_a_cancelled_task(fields: Any, context: NodeContext) -> Any:
    task = asyncio.ensure_future(asyncio.sleep(9))
    task.cancel()
    await task


@pytest.mark.parametrize(
    ("work", "why"),
    [
        (wait_for_a_cancelled_task, "node type 'acme' failed: CancelledError"),
        (lambda *_: {"name": ["\ud83d"]}, "node type 'acme' gave a text with half a character, which is no JSON"),
        (lambda *_: {"\udc00": 1}, "node type 'acme' gave a text with half a character, which is no JSON"),
    ],
    ids=["cancelled", "half a character", "half a key"],
)
def test_a_node_type_that_goes_wrong_in_odd_ways_fails_its_node_and_no_more(
    stage: AcmeStage, work: Any, why: str
) -> None:
    stage.acme.work = work
    run = stage.start(TRIED)
    assert (run.state, run.output) == (RunState.DONE, {"value": {"why": why}, "status": 200})


def test_both_halves_of_a_character_are_one(stage: AcmeStage) -> None:
    stage.acme.work = lambda *_: {"name": "\ud83d\ude00 \\ud"}
    run = stage.start("name: halves\nnodes: [{id: a, type: acme}]\n")
    assert run.output["value"] == {"name": "\N{GRINNING FACE} \\ud"}


# Trying again


def pays(*amounts: int, inside: str = "") -> Callable[[Any, NodeContext], Any]:
    """A node that makes payments, each at a place of its own, and stops at the first that fails."""

    async def work(fields: Any, context: NodeContext) -> Any:
        for ordinal, amount in enumerate(amounts):
            call = ToolCall(tool="make-payment", params={"amount": amount, "currency": "usd"})
            at = Position(run_id=context.run_id, node=context.path + inside, indexes=context.indexes, ordinal=ordinal)
            outcome = await run_tool(call, at=at, session=context.session("till"), resume=context.resume)
            if isinstance(outcome, Failed):
                raise outcome.error
        return {"paid": len(amounts)}

    return work


LOOP = """\
name: loop
nodes: [{id: all, type: loop, for_each: [1, 2], nodes: [{id: a, type: acme}]}]
"""


@pytest.mark.parametrize("inside", ["", "/fee"])
def test_what_failed_in_a_plug_ins_node_is_tried_anew_when_a_person_resumes(stage: AcmeStage, inside: str) -> None:
    stage.acme.work = pays(5, DECLINED, inside=inside)
    run = stage.start(LOOP)
    assert (run.state, stage.error(run)) == (RunState.FAILED, "the card was declined")
    assert stage.resume().state is RunState.FAILED
    stage.till.mended = True
    assert stage.resume().state is RunState.DONE
    # The second item never failed.
    assert stage.acme.resumes == [False, True, True, False]
    assert stage.till.amounts == [5, 13, 5, 13]
    assert [(one.indexes, one.ordinal, one.generation, one.state.value) for one in stage.writes()] == [
        ("0", 0, 0, "done"),
        ("0", 1, 0, "failed"),
        ("0", 1, 1, "failed"),
        ("0", 1, 2, "done"),
        ("1", 0, 0, "done"),
        ("1", 1, 0, "done"),
    ]


def test_what_may_have_taken_effect_is_settled_under_its_own_key(stage: AcmeStage) -> None:
    stage.acme.work = pays(LOST)
    assert stage.start(LOOP).state is RunState.UNKNOWN
    assert stage.resume().state is RunState.UNKNOWN
    stage.till.mended = True
    assert stage.resume().state is RunState.DONE
    assert not any(stage.acme.resumes)
    assert [(one.indexes, one.generation, one.state.value) for one in stage.writes()] == [
        ("0", 0, "done"),
        ("1", 0, "done"),
    ]


def test_what_failed_after_a_person_resumed_is_not_tried_anew_by_a_crash(stage: AcmeStage) -> None:
    """The node runs again, and nobody has chosen to try again what failed meanwhile."""

    async def run(*retried: int) -> Any:
        sessions = Sessions(stage.host)
        context = RunContext(
            bundle=stage.bundle(LOOP),
            host=stage.host,
            store=ArtifactStore(stage.folder / "state" / "artifacts"),
            sessions=sessions,
            watch=Watch("run-1", None, None),
            retried=frozenset(retried),
        )
        tasks = tasks_of(context)
        try:
            return await tasks["run"](InProcessSteps("run-1", tasks), {"inputs": {}})
        finally:
            await sessions.aclose()

    stage.acme.work = pays(DECLINED)
    for retried in ([], [1], [1], [1, 2]):
        assert "failed" in asyncio.run(run(*retried))
    assert stage.acme.resumes == [False, True, False, True]
    assert [one.generation for one in stage.writes()] == [0, 1, 2]
    # Of two calls that failed, nobody has chosen the second.
    stage.acme.work = pays(DECLINED, inside="/other")
    assert "failed" in asyncio.run(run(1, 2, 3))
    assert "failed" in asyncio.run(run(1, 2, 3))
    assert stage.acme.resumes[-2:] == [True, False]
    assert [(one.node, one.generation) for one in stage.writes()][3:] == [("a/other", 0)]

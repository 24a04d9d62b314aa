"""Every hook: documented with its exact signature, in a plug-in that works as written."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import types
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from spojit_stripe import hookspecs
from spojit_stripe.data import ArtifactStore
from spojit_stripe.engine import Bundle, RunContext, Watch, tasks_of
from spojit_stripe.errors import ConfigurationError, InvalidRequestError, RefusedError
from spojit_stripe.hookspecs import GROUP
from spojit_stripe.host import Host, plugin_manager
from spojit_stripe.node import Sessions
from spojit_stripe.steps import InProcessSteps
from spojit_stripe.testing import FakeConnector, FakeWire, Workbench
from spojit_stripe.values import Done, Failed, ToolCall
from spojit_stripe.workflow import NodeContext, NodeType, check_workflow, load_workflow

DOCS = Path(__file__).parents[1] / "docs" / "plugins.md"
HOOKS = [name for name, value in vars(hookspecs).items() if hasattr(value, f"{GROUP}_spec")]
PAY = ToolCall(tool="make-payment", params={"amount": 5, "currency": "usd"})


def signature(name: str) -> str:
    return name + re.sub(r"'", "", str(inspect.signature(getattr(hookspecs, name))))


def example(place: int = 0) -> types.ModuleType:
    """A plug-in of the documentation, to the letter."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    module = types.ModuleType("example")
    exec(compile(blocks[place], "docs/plugins.md", "exec"), vars(module))
    return module


def test_there_are_eight_hooks() -> None:
    assert HOOKS == [
        "register_connectors",
        "register_secret_resolvers",
        "register_node_types",
        "register_filters",
        "before_call",
        "before_send",
        "after_send",
        "after_call",
    ]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_heading_with_its_exact_signature(hook: str) -> None:
    assert f"### `{signature(hook)}`\n" in DOCS.read_text(encoding="utf-8")


def test_no_hook_is_documented_that_does_not_exist() -> None:
    assert re.findall(r"^### `(\w+)", DOCS.read_text(encoding="utf-8"), re.MULTILINE) == HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_says_what_it_is_for(hook: str) -> None:
    assert getattr(hookspecs, hook).__doc__


def test_the_example_refuses_money_after_hours(tmp_path: Path, wire: FakeWire, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = example()
    monkeypatch.chdir(tmp_path)
    with Workbench(tmp_path / "state", FakeConnector(wire), plugins=[plugin]) as bench:
        plugin.now = lambda: datetime(2026, 1, 1, 3, 30, tzinfo=UTC)
        refused = bench.run(PAY)
        assert isinstance(refused, Failed)
        assert isinstance(refused.error, RefusedError)
        assert "no money moves at 03:30" in str(refused.error)
        plugin.now = lambda: datetime(2026, 1, 1, 8, 0, tzinfo=UTC)
        wire.will("POST /v1/payments", {"id": "pay_1"})
        done = bench.run(PAY)
        assert isinstance(done, Done)
        assert done.meta.warnings == ()
    (line,) = (tmp_path / "journal.ndjson").read_text().splitlines()
    assert json.loads(line) == {"tool": "make-payment", "key": done.meta.idempotency_key, "outcome": "Done"}


def test_the_example_serves_secrets(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("connections: {a: {secret_key: '${vault:stripe/test}', mode: test}}")
    with Host(connections=file, state=tmp_path / "state", plugins=[example()]) as host:
        assert host.secret(host.connections.get("a")).reveal() == "sk_test_from_the_vault"


WORKFLOW = re.search(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
INPUTS = "inputs: {type: object, properties: {order: {type: integer}}, required: [order]}\n"


def test_the_examples_node_type_and_filter_run_in_a_workflow(tmp_path: Path) -> None:
    """Twice at the same place, as after a crash: the key is the same."""
    assert WORKFLOW is not None
    plugin = example(1)
    with Host(state=tmp_path / "state", plugins=[plugin]) as host:
        workflow = load_workflow(f"name: docs\n{INPUTS}{WORKFLOW[1]}", vocabulary=host.vocabulary)
        assert [str(fault) for fault in check_workflow(workflow, host.connectors)] == []
        bundle = Bundle.of_record({"w.yaml": workflow.source}, tmp_path / "w.yaml", host.vocabulary)
        context = RunContext(
            bundle=bundle,
            host=host,
            store=ArtifactStore(tmp_path / "artifacts"),
            sessions=Sessions(host),
            watch=Watch("run-1"),
        )
        run = tasks_of(context)["run"]
        for number in (1, 2):
            ended = asyncio.run(_awaited(run(InProcessSteps("run-1"), {"inputs": {"order": 42}})))
            assert ended == {"exceptions": 0, "planned": [], "value": {"room": "finance", "posted": number}}
    first, second = plugin.ROOMS["finance"]
    assert first == second
    assert first["text"] == "Order 2026-000042 is paid."
    assert first["key"].startswith("spojit-")


async def _awaited(work):
    return await work


def test_the_example_of_another_host_runs(tmp_path: Path, wire: FakeWire) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("connections: {shop: {connector: fake, secret_key: fk_test_1234567890, mode: test}}")
    plugin = types.ModuleType("fake")
    plugin.register_connectors = hookspecs.hookimpl(lambda: [FakeConnector(wire)])
    wire.will("GET /v1/payments/pay_7", {"id": "pay_7", "amount": 5})
    with Host(connections=file, state=tmp_path / "state", plugins=[plugin]) as host:
        assert asyncio.run(example(3).look(host, "pay_7")) == {"id": "pay_7", "amount": 5}


def test_the_example_of_a_node_type_that_calls_a_tool_runs(tmp_path: Path, wire: FakeWire) -> None:
    """Its call stands in the ledger, at the node's place; a new attempt is made where that is allowed."""
    wire.will("POST /v1/notes", InvalidRequestError("not today"), {"id": "note_1"})
    thank = example(2).thank
    with Workbench(tmp_path / "state", FakeConnector(wire)) as bench:

        async def run(*, resume: bool) -> Any:
            async with bench.session() as session:
                context = NodeContext(
                    run_id="r",
                    path="thanks",
                    indexes=(2,),
                    key="k",
                    now=1,
                    session=lambda name: {"shop": session}[name],
                    resume=resume,
                )
                return await thank({"text": "Thank you"}, context)

        for _ in range(2):
            with pytest.raises(InvalidRequestError, match="not today"):
                asyncio.run(run(resume=False))
        assert asyncio.run(run(resume=True)) == {"id": "note_1"}
        assert [(one.node, one.indexes, one.generation) for one in bench.entries()] == [
            ("thanks", "2", 0),
            ("thanks", "2", 1),
        ]


@pytest.mark.parametrize("name", ["loop", "stripe-loop"])
def test_a_node_type_that_is_built_in_can_not_be_taken(tmp_path: Path, name: str) -> None:
    async def run(fields, context):
        raise AssertionError

    plugin = types.ModuleType("taken")
    types_ = [NodeType(name=name, schema={"type": "object"}, run=run)]
    plugin.register_node_types = hookspecs.hookimpl(lambda: types_)
    with Host(state=tmp_path / "state", plugins=[plugin]) as host:
        if name == "loop":
            with pytest.raises(ConfigurationError, match="a plug-in offers a node type 'loop', which is built in"):
                _ = host.vocabulary
        else:
            assert name in host.vocabulary.node_types


def test_two_plug_ins_can_not_offer_the_same_name(tmp_path: Path) -> None:
    plugins = []
    for number in range(2):
        plugin = types.ModuleType(f"filters{number}")
        plugin.register_filters = hookspecs.hookimpl(lambda: {"sku": lambda value: value})
        plugins.append(plugin)
    with (
        Host(state=tmp_path / "state", plugins=plugins) as host,
        pytest.raises(ConfigurationError, match="two plug-ins offer a filter 'sku'; uninstall one of them"),
    ):
        _ = host.vocabulary


def test_the_packages_own_plug_in_is_installed_through_the_entry_point() -> None:
    names = {name for name, _ in plugin_manager().list_name_plugin()}
    assert "stripe" in names

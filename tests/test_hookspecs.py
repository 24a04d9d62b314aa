"""Every hook: documented with its exact signature, in a plug-in that works as written."""

from __future__ import annotations

import inspect
import json
import re
import types
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spojit_stripe import hookspecs
from spojit_stripe.errors import RefusedError
from spojit_stripe.hookspecs import GROUP
from spojit_stripe.host import Host, plugin_manager
from spojit_stripe.testing import FakeConnector, FakeWire, Workbench
from spojit_stripe.values import Done, Failed, ToolCall

DOCS = Path(__file__).parents[1] / "docs" / "plugins.md"
HOOKS = [name for name, value in vars(hookspecs).items() if hasattr(value, f"{GROUP}_spec")]
PAY = ToolCall(tool="make-payment", params={"amount": 5, "currency": "usd"})


def signature(name: str) -> str:
    return name + re.sub(r"'", "", str(inspect.signature(getattr(hookspecs, name))))


def example() -> types.ModuleType:
    """The plug-in of the documentation, to the letter."""
    block = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    module = types.ModuleType("office_hours")
    exec(compile(block[1], "docs/plugins.md", "exec"), vars(module))
    return module


def test_there_are_six_hooks() -> None:
    assert HOOKS == [
        "register_connectors",
        "register_secret_resolvers",
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


def test_the_packages_own_plug_in_is_installed_through_the_entry_point() -> None:
    names = {name for name, _ in plugin_manager().list_name_plugin()}
    assert "stripe" in names

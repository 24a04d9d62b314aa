from __future__ import annotations

import asyncio
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from spojit_stripe.connection import Connection, Connections, Policy
from spojit_stripe.direct import run_tool
from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.hookspecs import hookimpl
from spojit_stripe.host import Host, plugin_manager
from spojit_stripe.plugin import register_secret_resolvers
from spojit_stripe.testing import FakeClock, FakeConnector, FakeWire
from spojit_stripe.values import Done, Position, ToolCall, Writes
from spojit_stripe.workflow import NodeType
from spojit_stripe.yamlfile import parse


class Offers:
    """A plug-in with the fake connector and, where given, a resolver of secrets."""

    def __init__(self, connector: FakeConnector | None = None, **resolvers: Callable[[str], str]) -> None:
        self.connector, self.resolvers = connector, resolvers

    @hookimpl
    def register_connectors(self):  # type: ignore[no-untyped-def]
        return [self.connector] if self.connector else []

    @hookimpl
    def register_secret_resolvers(self):  # type: ignore[no-untyped-def]
        return self.resolvers


def connections(tmp_path: Path, secret: str = "fk_test_1") -> Path:
    file = tmp_path / "c.yaml"
    file.write_text(
        f"connections: {{a: {{connector: fake, secret_key: '{secret}', mode: test, policy: {{writes: allow}}}}}}"
    )
    return file


def host(tmp_path: Path, secret: str = "fk_test_1", *plugins: object, wire: FakeWire | None = None) -> Host:
    offers = Offers(FakeConnector(wire))
    return Host(connections=connections(tmp_path, secret), state=tmp_path / "state", plugins=[offers, *plugins])


def test_a_host_turns_a_name_into_a_session(tmp_path: Path) -> None:
    async def pay(wire: FakeWire) -> Done:
        with host(tmp_path, wire=wire) as opened:
            async with opened.session("a") as session:
                call = ToolCall(tool="make-payment", params={"amount": 5, "currency": "usd"})
                outcome = await run_tool(call, at=Position(run_id="r"), session=session)
            assert isinstance(outcome, Done)
            (entry,) = opened.records.ledger.entries()
            assert entry.object_id == "pay_1"
        return outcome

    with FakeWire() as wire:
        wire.will("POST /v1/payments", {"id": "pay_1"})
        asyncio.run(pay(wire))
    assert (tmp_path / "state" / "ledger.db").exists()


def test_a_host_passes_on_how_a_session_is_narrowed(tmp_path: Path) -> None:
    clock = FakeClock(5)
    opened = Host(state=tmp_path, plugins=[Offers(FakeConnector())], clock=clock)
    given = Connection.model_validate({"name": "x", "connector": "fake", "secret_key": "k", "mode": "test"})
    session = opened.session(given, narrower=(Policy(writes=Writes.DENY),), by_agent=True, refuse_twins="always")
    assert session.connection is given
    assert (session.rules.writes, session.by_agent, session.refuse_twins) == (Writes.DENY, True, "always")
    assert session.clock is clock
    opened.close()
    opened.close()


def test_opening_a_host_touches_no_file(tmp_path: Path) -> None:
    with Host(connections=tmp_path / "none.yaml", state=tmp_path / "state"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_connections_may_be_given_loaded(tmp_path: Path) -> None:
    loaded = Connections(parse("connections: {}", "f"), tmp_path)
    assert Host(connections=loaded, state=tmp_path).connections is loaded


def test_a_missing_connections_file_is_told_when_it_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no connections file"):
        _ = Host(state=tmp_path).connections


def test_stripe_comes_by_the_same_way_as_a_stranger(tmp_path: Path) -> None:
    assert sorted(host(tmp_path).connectors) == ["fake", "stripe"]


def test_an_unknown_connector_is_met_with_the_nearest_and_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown connector 'strip'; did you mean 'stripe'.*: fake, stripe"):
        host(tmp_path).connector("strip")


def test_two_connectors_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="two plug-ins offer a connector 'fake'"):
        _ = host(tmp_path, "x", Offers(FakeConnector())).connectors


def test_a_plug_in_that_cannot_be_loaded_is_named_without_its_secrets() -> None:
    class Broken:
        @hookimpl
        def no_such_hook(self) -> None: ...

    with pytest.raises(ConfigurationError, match="a plug-in can't be loaded: PluginValidationError: unknown hook"):
        plugin_manager([Broken()])
    with pytest.raises(ConfigurationError, match="uninstall or mend it"):
        plugin_manager([register_secret_resolvers, register_secret_resolvers])


class Waits:
    """Hooks as somebody writes them who lives in async code."""

    @hookimpl
    async def before_send(self, preview) -> None:  # type: ignore[no-untyped-def]
        raise AssertionError


class Streams:
    @hookimpl
    async def after_call(self, outcome):  # type: ignore[no-untyped-def]
        yield outcome


class Yields:
    @hookimpl
    def before_send(self, preview):  # type: ignore[no-untyped-def]
        yield


@pytest.mark.parametrize(
    ("plugin", "line"),
    [
        (Waits(), "plug-in 'Waits': its before_send is `async def`, which is never awaited here; write `def`"),
        (Streams(), "plug-in 'Streams': its after_call is `async def`"),
        (Yields(), "plug-in 'Yields': its before_send is a generator"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_hook_that_would_never_run_is_refused(plugin: object, line: str) -> None:
    with pytest.raises(ConfigurationError, match=line):
        plugin_manager([plugin])


def test_a_wrapper_of_hooks_is_none_that_never_runs(tmp_path: Path) -> None:
    class Wraps:
        @hookimpl(wrapper=True)
        def register_connectors(self):  # type: ignore[no-untyped-def]
            offered = yield
            return [[*some] for some in offered]

    assert sorted(host(tmp_path, "x", Wraps()).connectors) == ["fake", "stripe"]


# What plug-ins offer


async def run(_fields, _context):  # type: ignore[no-untyped-def]
    raise AssertionError


def kind(**fields: object) -> NodeType:
    return NodeType(**{"name": "chat", "schema": {}, "run": run, **fields})  # type: ignore[arg-type]


def fails_to_register() -> object:
    raise ImportError("no module named acme")


@pytest.mark.parametrize(
    ("hook", "offered", "line"),
    [
        ("register_filters", {"f": int}, "filter 'f' is a built-in that does not tell what it takes; wrap it"),
        ("register_filters", {"f": None}, "filter 'f' is null, not a function"),
        ("register_filters", {"f": "upper"}, "filter 'f' is text, not a function"),
        ("register_filters", {1: len}, "the name of a filter is an integer, not text"),
        ("register_filters", [len], "register_filters gives a list, not a dict of functions by their names"),
        ("register_filters", {"omit": lambda value: value}, "a plug-in offers a filter 'omit', which is built in"),
        ("register_node_types", kind(), "register_node_types gives a NodeType, not a list of NodeType"),
        ("register_node_types", {"chat": kind()}, "register_node_types gives an object, not a list of NodeType"),
        ("register_node_types", [NodeType], "register_node_types gives a list with a type, which is no NodeType"),
        ("register_node_types", [kind(name=5)], "the name of a node type is an integer, not text"),
        ("register_node_types", [kind(schema=None)], "node type 'chat': its schema is null, not an object"),
        ("register_node_types", [kind(run=None)], "node type 'chat': its `run` or `faults` is no function"),
        ("register_node_types", [kind(faults="no")], "node type 'chat': its `run` or `faults` is no function"),
        ("register_node_types", fails_to_register, "register_node_types failed: ImportError: no module named acme"),
        ("register_connectors", FakeConnector(), "register_connectors gives FakeConnector, not a list of connectors"),
        ("register_connectors", [FakeConnector], "register_connectors gives a list with .*, which is no connector"),
        ("register_connectors", [None], "register_connectors gives a list with None, which is no connector"),
        ("register_secret_resolvers", [len], "register_secret_resolvers gives list, not a dict of functions"),
        (
            "register_secret_resolvers",
            {"v": "x"},
            "register_secret_resolvers gives 'v', which is no name of a function",
        ),
    ],
)
def test_what_a_plug_in_offers_wrongly_is_told_with_its_name(
    tmp_path: Path, hook: str, offered: object, line: str
) -> None:
    plugin = types.ModuleType("acme")
    setattr(plugin, hook, hookimpl(offered if offered is fails_to_register else lambda: offered))  # type: ignore[arg-type]
    opened = host(tmp_path, "${v:x}", plugin)
    name = "" if "built in;" in line or "omit" in line else "plug-in 'acme': "
    with pytest.raises(ConfigurationError, match=name + line):
        _ = (opened.connectors, opened.vocabulary, opened.secret(opened.connections.get("a")))


# Secrets


def resolve(tmp_path: Path, reference: str, *plugins: object) -> str:
    opened = host(tmp_path, reference, *plugins)
    return opened.secret(opened.connections.get("a")).reveal()


def test_a_key_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", " fk_test_env\n")
    assert resolve(tmp_path, "${env:MY_KEY}") == "fk_test_env"


def test_a_key_comes_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("fk_test_file\n")
    assert resolve(tmp_path, f"${{file:{tmp_path / 'key'}}}") == "fk_test_file"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve(tmp_path, "${file:~/key}") == "fk_test_file"


def test_a_key_may_stand_in_the_file_itself(tmp_path: Path) -> None:
    assert resolve(tmp_path, "fk_test_literal") == "fk_test_literal"


def test_a_key_may_come_from_a_plug_in(tmp_path: Path) -> None:
    assert resolve(tmp_path, "${vault:a/b}", Offers(vault=lambda name: f"fk_test_{name}")) == "fk_test_a/b"


def fails(_name: str) -> str:
    raise ValueError("the key is sk_live_1234567890abcdef")


def fails_politely(_name: str) -> str:
    raise ConfigurationError("no entry; tried sk_live_1234567890abcdef")


@pytest.mark.parametrize(
    ("reference", "plugin", "fault"),
    [
        ("${env:NOWHERE}", None, "the environment variable NOWHERE is not set"),
        ("${env:EMPTY}", None, "is empty"),
        ("${file:/no/such/file}", None, "can't read the file /no/such/file: No such file or directory"),
        ("${file:BINARY}", None, "it is no text file"),
        ("${vault:x}", None, "unknown scheme; there are: env, file"),
        ("${flie:x}", None, "unknown scheme; did you mean 'file'?; there are: env, file"),
        ("${vault:x}", Offers(vault=fails), "the resolver failed (ValueError)"),
        ("${vault:x}", Offers(vault=fails_politely), "no entry; tried sk_live_***"),
        ("${vault:x}", Offers(vault=lambda _name: 5), "the resolver gave int instead of text"),  # type: ignore[arg-type,return-value]
        ("${vault:x}", Offers(vault=lambda _name: b"fk_1234567890abcdef"), "the resolver gave bytes instead of text"),  # type: ignore[arg-type,return-value]
        ("${vault:x}", Offers(vault=lambda _name: None), "the resolver gave NoneType instead of text"),  # type: ignore[arg-type,return-value]
        ("${env:X}", Offers(env=fails), "two plug-ins offer a secret resolver 'env'"),
    ],
)
def test_a_secret_that_cannot_be_had_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, plugin: object, fault: str
) -> None:
    monkeypatch.setenv("EMPTY", "  ")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    reference = reference.replace("BINARY", str(tmp_path / "binary"))
    with pytest.raises(ConfigurationError) as raised:
        resolve(tmp_path, reference, *([plugin] if plugin else []))
    assert fault in str(raised.value)
    assert "1234567890abcdef" not in str(raised.value)


def test_an_unknown_connection_is_an_error_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown connection 'b'"):
        host(tmp_path).session("b")


def test_a_dry_run_needs_no_state_folder_and_no_secret(tmp_path: Path) -> None:
    opened = host(tmp_path, "${env:NOWHERE}")
    with pytest.raises(InputError):
        opened.session("a").bind(ToolCall(tool="make-payment"))
    opened.session("a").bind(ToolCall(tool="list-payments"))
    assert not (tmp_path / "state").exists()

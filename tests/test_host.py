from __future__ import annotations

import asyncio
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
        ("${vault:x}", Offers(vault=lambda _name: 5), "the resolver failed (AttributeError)"),  # type: ignore[arg-type,return-value]
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

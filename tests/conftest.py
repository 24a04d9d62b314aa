"""What holds for every test: no network beyond this machine, nothing of the user's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_socket import socket_allow_hosts

from spojit_stripe.testing import FakeConnector, FakeWire, Workbench
from spojit_stripe.testing.fixtures import stripe_sandbox
from tests.postgres import postgres_server

__all__ = ["stripe_sandbox"]

_OURS = ("SPOJIT_", "STRIPE_", "ANTHROPIC_")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def pytest_runtest_setup() -> None:
    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


@pytest.fixture(autouse=True)
def _own_world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person at the keyboard; config and state folders that are empty."""
    for name in list(os.environ):
        if name.startswith(_OURS) or name.upper() in _PROXIES:
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server that is started for these tests, without a database."""
    with postgres_server() as url:
        if url is None:
            pytest.skip("no PostgreSQL server is here: neither this machine's (initdb, pg_ctl) nor pgserver's")
        yield url


@pytest.fixture
def wire() -> Iterator[FakeWire]:
    """A scripted wire; the test fails where a part of the script was never asked for."""
    wire = FakeWire()
    yield wire
    wire.verify()


@pytest.fixture
def bench(wire: FakeWire, tmp_path: Path) -> Iterator[Workbench]:
    """The fake service over `wire`, with its ledger in a folder of this test."""
    with Workbench(tmp_path / "state", FakeConnector(wire)) as bench:
        yield bench

"""The command line in this process, on a sandbox with a clock that stands still."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from spojit_stripe.cli.app import run
from spojit_stripe.sandbox import Sandbox, sandbox

CONNECTIONS = """\
# Kept by hand
connections:
  main:
    connector: stripe
    secret_key: ${env:TEST_STRIPE_KEY}
    mode: test
    base_url: URL
    policy: {writes: allow}
  # for reports
  readonly: {connector: stripe, secret_key: "${env:TEST_STRIPE_KEY}", mode: test, base_url: URL}
  asking: {connector: stripe, secret_key: "${env:TEST_STRIPE_KEY}", mode: test, base_url: URL, policy: {writes: ask}}
  planning: {connector: stripe, secret_key: "${env:TEST_STRIPE_KEY}", mode: test, base_url: URL, policy: {writes: plan}}
  restricted: {connector: stripe, secret_key: "${env:TEST_RESTRICTED_KEY}", mode: test, base_url: URL}
  publishable: {connector: stripe, secret_key: "${env:TEST_PUBLISHABLE_KEY}", mode: test, base_url: URL}
  live-key: {connector: stripe, secret_key: "${env:TEST_LIVE_KEY}", mode: test, base_url: URL}
  test-key: {connector: stripe, secret_key: "${env:TEST_STRIPE_KEY}", mode: live, base_url: URL}
  wrong-key: {connector: stripe, secret_key: sk_test_nobodyknowsit, mode: test, base_url: URL}
  no-env: {connector: stripe, secret_key: "${env:TEST_NOT_SET}", mode: test, base_url: URL}
  no-file: {connector: stripe, secret_key: "${file:/nowhere/key}", mode: test, base_url: URL}
  no-scheme: {connector: stripe, secret_key: "${envv:TEST_STRIPE_KEY}", mode: test, base_url: URL}
  bad-mode: {connector: stripe, secret_key: "${env:TEST_STRIPE_KEY}", mode: tset, base_url: URL}
  bad-field: {connector: stripe, secret_key: "${env:TEST_STRIPE_KEY}", mode: test, polcy: {writes: allow}}
  elsewhere: {connector: stripe, secret_key: "${env:TEST_STRIPE_KEY}", mode: test, base_url: "https://example.com"}
  other: {connector: netsuite, secret_key: "${env:TEST_STRIPE_KEY}", mode: test}
  unreachable: {connector: stripe, secret_key: "${env:TEST_STRIPE_KEY}", mode: test, base_url: "http://127.0.0.1:9"}
  pinned:
    {connector: stripe, secret_key: "${env:TEST_STRIPE_KEY}", mode: test, base_url: URL,
     policy: {writes: allow, pins: {currency: usd}}}
  capped:
    {connector: stripe, secret_key: "${env:TEST_STRIPE_KEY}", mode: test, base_url: URL,
     policy: {writes: allow, caps: {per_call: {amount: 1000, currency: usd}}}}
"""


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Ran]


@pytest.fixture(scope="session")
def box() -> Iterator[Sandbox]:
    """One sandbox for all; a defect of its own fails the run."""
    with sandbox(seed=6, now=int(time.time())) as running:
        yield running
        assert running.crashes() == []


@pytest.fixture(autouse=True)
def _clock(box: Sandbox) -> None:
    """The sandbox's clock stands still during a test, and begins it at the ledger's time."""
    box.advance(max(0, int(time.time()) - box.now))


@pytest.fixture
def folder(box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with connections and room for the ledger, found through the environment."""
    (tmp_path / "connections.yaml").write_text(CONNECTIONS.replace("URL", box.url))
    monkeypatch.setenv("SPOJIT_CONNECTIONS", str(tmp_path / "connections.yaml"))
    monkeypatch.setenv("SPOJIT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("TEST_STRIPE_KEY", box.secret_key)
    monkeypatch.setenv("TEST_RESTRICTED_KEY", box.restricted_key)
    monkeypatch.setenv("TEST_LIVE_KEY", box.live_key)
    monkeypatch.setenv("TEST_PUBLISHABLE_KEY", "pk_test_sandbox_publishable")
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.chdir(tmp_path)
    box.clear_faults()
    return tmp_path


@pytest.fixture
def cli(folder: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command: `cli("tools", "list-charges")`."""

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(arguments)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return call


@pytest.fixture
def customer(cli: Cli) -> str:
    """A customer with a card that works."""
    made = cli("call", "create-customer", "--connection", "main", "--source", "tok_visa", "--json")
    return made.json["id"]


@pytest.fixture
def as_of(box: Sandbox) -> str:
    """The sandbox's time as the command line shows it."""
    return datetime.fromtimestamp(box.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""A process that dies at any moment of a money call, and the same command again: the money moves once.

Real processes, killed with SIGKILL, against the sandbox over HTTP.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from spojit_stripe.connection import Connections
from spojit_stripe.records import Entry, Records
from spojit_stripe.sandbox import Sandbox
from spojit_stripe.testing import Workbench
from spojit_stripe.values import Done, ToolCall
from spojit_stripe.wire.connector import StripeConnector

CHARGE = {"amount": 500, "currency": "usd", "source": "tok_visa"}

PLUGIN = """
import os, signal
from spojit_stripe import hookimpl

def die(point):
    if os.environ.get("DIE_AT") == point:
        os.kill(os.getpid(), signal.SIGKILL)

@hookimpl
def before_call(preview): die("before_call")
@hookimpl
def before_send(preview): die("before_send")
@hookimpl
def after_send(preview): die("after_send")
@hookimpl
def after_call(preview): die("after_call")
"""

# Does what the command line does, but waits for a word before it begins, so that a kill at a random moment hits the
# call and not the start of Python.
DRIVER = """
import asyncio, sys
from pathlib import Path
from spojit_stripe import Host, Position, ToolCall, run_tool
import spojit_stripe.wire.client, spojit_stripe.catalog.check

async def main():
    host = Host(connections=Path(sys.argv[1]), state=Path(sys.argv[2]))
    call = ToolCall(tool="create-charge", params={"amount": 500, "currency": "usd", "source": "tok_visa"})
    async with host.session("shop") as session:
        session.bind(call), session.wire, host.records  # what is only slow the first time
        print("ready", flush=True)
        sys.stdin.readline()
        outcome = await run_tool(call, at=Position(run_id="order-1"), session=session)
    print(type(outcome).__name__, flush=True)
    host.close()

asyncio.run(main())
"""


@dataclass
class Shop:
    """A command line, its state and a sandbox to call."""

    sandbox: Sandbox
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lines = f"connector: stripe, secret_key: '${{env:KEY}}', mode: test, base_url: '{self.sandbox.url}'"
        self.connections.write_text(f"connections: {{shop: {{{lines}, policy: {{writes: allow}}}}}}\n")
        plugin = self.folder / "plugin"
        (plugin / "dier-1.0.dist-info").mkdir(parents=True)
        (plugin / "dier-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: dier\nVersion: 1.0\n")
        (plugin / "dier-1.0.dist-info" / "entry_points.txt").write_text("[spojit]\ndier = dier\n")
        (plugin / "dier.py").write_text(PLUGIN)
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.environment = {**kept, "PYTHONPATH": str(plugin), "KEY": self.sandbox.secret_key}

    @property
    def connections(self) -> Path:
        return self.folder / "connections.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "spojit_stripe", "--connections", str(self.connections)]
        return subprocess.Popen(
            [*command, "--state", str(self.state), "--json", *words],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, **environment: str) -> tuple[int, dict[str, object]]:
        process = self.start(*words, **environment)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        return process.returncode, json.loads(out) if out.strip() else {}

    def charge(self, *more: str, **environment: str) -> tuple[int, dict[str, object]]:
        return self.run(*charge_words(*more), **environment)

    def entries(self) -> list[Entry]:
        records = Records(self.state)
        try:
            return list(records.ledger.entries(writes_only=True))[::-1]
        finally:
            records.close()

    def charges(self) -> int:
        return self.sandbox.count("charge")

    def settled_once(self) -> None:
        """What must hold after the same command was given again."""
        assert self.charges() == 1
        (entry,) = self.entries()
        assert entry.state == "done"
        assert entry.object_id == self.sandbox.objects("charge")[0]["id"]


def charge_words(*more: str) -> list[str]:
    flags = [f"--{name}={value}" for name, value in CHARGE.items()]
    return ["call", "create-charge", *flags, "--run-id", "order-1", *more]


@pytest.fixture
def shop(stripe_sandbox: Sandbox, tmp_path: Path) -> Shop:
    return Shop(stripe_sandbox, tmp_path)


@pytest.mark.parametrize(
    ("point", "state", "charges"),
    [
        ("before_call", None, 0),
        ("before_send", "open", 0),
        ("after_send", "open", 1),
        ("after_call", "done", 1),
    ],
)
def test_killed_at_a_named_point_and_run_again_it_charges_once(
    shop: Shop, point: str, state: str | None, charges: int
) -> None:
    code, _ = shop.charge(DIE_AT=point)
    assert code == -signal.SIGKILL
    assert shop.charges() == charges
    assert [entry.state.value for entry in shop.entries()] == ([] if state is None else [state])
    code, told = shop.charge()
    assert code == 0, told
    shop.settled_once()


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("arrives_later", [True, False])
def test_killed_while_the_request_is_under_way_it_charges_once(shop: Shop, phase: str, arrives_later: bool) -> None:
    shop.sandbox.hold("POST", "/v1/charges", phase=phase)
    process = shop.start(*charge_words())
    shop.sandbox.wait_held(timeout=30)
    process.kill()
    process.communicate(timeout=30)
    assert [entry.state.value for entry in shop.entries()] == ["open"]
    shop.sandbox.release(drop=not arrives_later)
    code, told = shop.charge()
    assert code == 0, told
    shop.settled_once()


@pytest.mark.parametrize("moment", range(12))
def test_killed_at_a_random_moment_it_charges_once(shop: Shop, moment: int) -> None:
    shop.sandbox.fail("POST", "/v1/charges", latency_ms=15, times=100)
    wait = random.Random(moment).uniform(0, 0.06)
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(shop.connections), str(shop.state)],
        env=shop.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()
    time.sleep(wait)
    process.kill()
    process.communicate(timeout=30)
    # The same call again, in this process: the same folder, the same place.
    with Workbench(shop.state, StripeConnector(), secret=shop.sandbox.secret_key) as bench:
        bench.clock.now = time.time()
        connection = Connections.load(shop.connections).get("shop")
        call = ToolCall(tool="create-charge", params=CHARGE)
        outcome = bench.run(call, at="order-1", session=bench.session(connection))
        assert isinstance(outcome, Done), outcome
    shop.settled_once()


def test_killed_twice_and_run_a_third_time_it_charges_once(shop: Shop) -> None:
    shop.charge(DIE_AT="before_send")
    code, _ = shop.charge(DIE_AT="after_send")
    assert code == -signal.SIGKILL
    code, told = shop.charge()
    assert code == 0, told
    shop.settled_once()
    assert len({request.idempotency_key for request in shop.sandbox.requests("POST", "/v1/charges")}) == 1


def test_after_a_kill_another_run_of_the_same_call_is_told_to_settle_first(shop: Shop) -> None:
    shop.charge(DIE_AT="after_send")
    words = [word if word != "order-1" else "order-2" for word in charge_words()]
    code, told = shop.run(*words)
    assert code == 7
    assert "order-1" in str(told)
    assert shop.charges() == 1


def test_after_a_kill_other_parameters_under_the_same_run_are_refused(shop: Shop) -> None:
    shop.charge(DIE_AT="after_send")
    words = [word.replace("=500", "=600") for word in charge_words()]
    code, _ = shop.run(*words)
    assert code == 4
    assert shop.charges() == 1


def test_a_decline_stays_until_an_explicit_resume_which_succeeds_under_the_next_generation(shop: Shop) -> None:
    shop.sandbox.fail("POST", "/v1/charges", status=402, type="card_error", code="card_declined", stored=True)
    code, _ = shop.charge()
    assert code == 6
    code, told = shop.charge()
    assert code == 6
    assert "card_declined" in str(told)
    assert len(shop.sandbox.requests("POST", "/v1/charges")) == 1
    code, _ = shop.charge("--resume")
    assert code == 0
    assert shop.charges() == 1
    assert [(entry.generation, entry.state.value) for entry in shop.entries()] == [(0, "failed"), (1, "done")]
    assert len({request.idempotency_key for request in shop.sandbox.requests("POST", "/v1/charges")}) == 2


@pytest.mark.parametrize("effect", [True, False])
def test_a_replayed_failure_stays_unknown_until_a_person_resolves_it(shop: Shop, effect: bool) -> None:
    shop.sandbox.fail("POST", "/v1/charges", status=500, effect=effect, stored=True)
    for words in ([], [], ["--resume"]):
        code, _ = shop.charge(*words)
        assert code == 7
    assert shop.charges() == int(effect)
    (entry,) = shop.entries()
    assert (entry.state.value, entry.generation) == ("unknown", 0)
    if effect:
        made = str(shop.sandbox.objects("charge")[0]["id"])
        code, _ = shop.run("ledger", "resolve", str(entry.id), "--found", made)
        assert code == 0
        code, _ = shop.charge()
    else:
        code, _ = shop.run("ledger", "resolve", str(entry.id), "--none")
        assert code == 0
        code, _ = shop.charge()
        assert code == 6
        code, _ = shop.charge("--resume")
    assert code == 0
    assert shop.charges() == 1

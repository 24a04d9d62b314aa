"""The command killed with SIGKILL, and given again: it goes on, and the refund is made once.

Real processes over HTTP on both sides. The model kills its client in the middle of a turn; for a
kill within the refund the sandbox keeps the request until the process is gone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from spojit_stripe.testing.scripted_model import ModelTurn, Scripted, ScriptedModel, say, use

pytestmark = pytest.mark.long


@dataclass
class Command:
    """`spojit-stripe agent` with one question, in a process of its own."""

    folder: Path
    url: str
    key: str
    charge: str
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    more: tuple[str, ...] = ()

    def start(self) -> subprocess.Popen[str]:
        file = self.folder / "connections.yaml"
        caps = "{per_call: {amount: 1000, currency: usd}}"
        line = f"connector: stripe, secret_key: '${{env:KEY}}', mode: test, base_url: '{self.url}'"
        file.write_text(f"connections: {{shop: {{{line}, policy: {{writes: ask, caps: {caps}}}}}}}\n")
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        arguments = ["agent", f"Refund 5 USD of {self.charge}", "--connections", str(file), "--json"]
        arguments += ["--state", str(self.folder / "state"), "--writes", "ask", "--run-id", "goodwill"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spojit_stripe", *arguments, "--tools", "list-charges,raw-api-request", *self.more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**kept, **self.environment, "KEY": self.key},
        )
        return self.process

    def run(self) -> tuple[int, str, str]:
        with self.start() as process:
            out, err = process.communicate(timeout=60)
            return process.returncode, out, err

    def kill(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)

    def approve(self) -> None:
        command = [sys.executable, "-m", "spojit_stripe", "approvals", "--state", str(self.folder / "state")]
        found = json.loads(subprocess.run([*command, "list", "--json"], capture_output=True, check=True).stdout)
        pending = [one["id"] for one in found if one["state"] == "pending"]
        for approval in pending:
            subprocess.run([*command, "approve", approval], capture_output=True, check=True)


@pytest.fixture
def command(shop, tmp_path) -> Command:
    charge = shop.charge(shop.customer())
    return Command(tmp_path, shop.box.url, shop.box.secret_key, charge)


def story(charge: str) -> list[ModelTurn]:
    refund = use("raw-api-request", method="POST", path="/v1/refunds", params={"charge": charge, "amount": 500})
    return [use("list-charges", limit=3), refund, say("Refunded 5.00 USD.")]


def test_it_goes_on_after_a_kill_in_any_turn(shop, command):
    turns: list[Scripted] = []
    for turn in story(command.charge):

        def kills(_played, turn=turn):
            command.kill()
            return turn

        turns += [kills, turn]
    with ScriptedModel(*turns) as model:
        command.environment = model.environment
        ended = []
        for _ in range(8):
            code, out, err = command.run()
            ended.append(code)
            if code == 5:
                command.approve()
            elif code == 0:
                break
            else:
                assert code == -signal.SIGKILL, err
    assert ended == [-9, -9, 5, -9, 0]
    assert json.loads(out)["answer"] == "Refunded 5.00 USD."
    assert shop.box.count("refund") == 1


@pytest.mark.parametrize("phase", ["before", "after"])
def test_it_goes_on_after_a_kill_within_the_refund(shop, command, phase):
    with ScriptedModel(*story(command.charge)) as model:
        command.environment = model.environment
        assert command.run()[0] == 5
        command.approve()
        shop.box.hold("POST", "/v1/refunds", phase=phase)
        with command.start() as process:
            shop.box.wait_held(1, timeout=30)
            command.kill()
            process.communicate(timeout=30)
        shop.box.release(drop=phase == "before")
        code, out, err = command.run()
    assert code == 0, err
    assert json.loads(out)["answer"] == "Refunded 5.00 USD."
    assert json.loads(out)["meta"]["ungrounded"] == []
    assert shop.box.count("refund") == 1
    assert shop.box.object(command.charge)["amount_refunded"] == 500


def test_it_waits_for_the_decision_where_asked(shop, command):
    with ScriptedModel(*story(command.charge)) as model:
        command.environment = model.environment
        command.more = ("--wait",)
        with command.start() as process:
            assert process.stderr is not None
            # The line of the paused call is there once the question is in the records.
            assert any("paused, approval" in line for line in process.stderr)
            command.approve()
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert json.loads(out)["answer"] == "Refunded 5.00 USD."
    assert shop.box.count("refund") == 1

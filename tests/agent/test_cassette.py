"""A recorded Direct call and agent, played through both real clients without any server."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import vcr

from spojit_stripe.redact import redact_text
from spojit_stripe.testing import FakeClock, Workbench
from spojit_stripe.wire.connector import StripeConnector

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[2]
TAPE = ROOT / "cassettes" / "agent" / "workflow.yaml"
KEY = "sk_test_played_from_tape"


def recorder() -> ModuleType:
    """The script that made the tape: it knows prompt, schema and how to run it."""
    spec = importlib.util.spec_from_file_location("record_agent_cassette", ROOT / "scripts/record_agent_cassette.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same_messages(one, other) -> None:
    """What is asked of a model; tools and rules may be worded anew without a new tape."""
    if one.path == other.path == "/v1/messages":
        said = [json.loads(request.body)["messages"] for request in (one, other)]
        assert said[0] == said[1]


def test_a_recorded_workflow_plays_to_the_same_answer(tmp_path, monkeypatch):
    script = recorder()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-played-from-tape")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{script.MODEL_PORT}")
    player = vcr.VCR(record_mode=vcr.mode.NONE)
    player.register_matcher("messages", same_messages)
    player.match_on = ["method", "path", "query", "messages"]
    customer = next(
        part.removeprefix("/v1/customers/").strip()
        for part in TAPE.read_text().split("http://127.0.0.1:12111")
        if part.startswith("/v1/customers/")
    ).split()[0]
    with (
        Workbench(tmp_path, StripeConnector(), clock=FakeClock(script.NOW), secret=KEY) as bench,
        player.use_cassette(str(TAPE), allow_playback_repeats=False) as cassette,
    ):
        found, reply = asyncio.run(script.work(bench, customer, f"http://127.0.0.1:{script.STRIPE_PORT}"))
        assert cassette.all_played, reply.failure
    assert found.value["id"] == customer
    assert reply.value["customer"] == customer
    assert reply.value["charges"] > 0
    assert reply.meta["ungrounded"] == []
    assert reply.meta["turns"] == 2


def test_the_tape_holds_no_key():
    text = TAPE.read_text()
    assert redact_text(text) == text
    assert "Bearer" not in text
    assert "sk_test_" not in text
    assert "sk-ant-" not in text

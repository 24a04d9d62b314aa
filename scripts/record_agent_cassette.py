#!/usr/bin/env python3
"""Record `cassettes/agent/workflow.yaml` anew: a Direct call and an agent, over HTTP on both sides.

    python scripts/record_agent_cassette.py

Stripe's part is played by the sandbox with a standing clock, the model's by a script; the tape holds
what the real clients sent to both. Ports 12111 and 12112 of this machine must be free.
Needs the development dependencies.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import vcr  # pyright: ignore[reportMissingTypeStubs]

from spojit_stripe.agent import AgentReply, AgentSpec, Claude, run_agent
from spojit_stripe.data import ArtifactStore
from spojit_stripe.direct import run_tool
from spojit_stripe.redact import redact_text
from spojit_stripe.sandbox import Sandbox, sandbox
from spojit_stripe.steps import InProcessSteps
from spojit_stripe.testing import FakeClock, Workbench
from spojit_stripe.testing.scripted_model import ModelTurn, Played, Scripted, ScriptedModel, say, use
from spojit_stripe.values import Done, Position, ToolCall
from spojit_stripe.wire.connector import StripeConnector

CASSETTES = Path(__file__).parents[1] / "cassettes"
STRIPE_PORT, MODEL_PORT = 12111, 12112  # in the recorded addresses, so that recording twice gives the same
NOW = 1_790_000_000
SEED = 6
PROMPT = "Sum up the charges of customer CUSTOMER, whose record is:\n"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"customer": {"type": "string"}, "charges": {"type": "integer"}, "summary": {"type": "string"}},
    "required": ["customer", "charges", "summary"],
    "additionalProperties": False,
}


def turns(customer: str) -> list[Scripted]:
    """Two reads at once, and an answer by the schema."""

    def answer(played: Played) -> ModelTurn:
        count = int(played.result(0).split(" ", 1)[0])
        return say({"customer": customer, "charges": count, "summary": f"{customer} was charged {count} times."})

    return [use("list-charges", customer=customer, read_all=True).then(use("list-invoices", customer=customer)), answer]


async def work(bench: Workbench, customer: str, base_url: str) -> tuple[Done, AgentReply]:
    """A Direct call, and an agent that is given what it found."""
    clock = bench.clock
    async with bench.session(by_agent=True, base_url=base_url, policy={"writes": "deny"}) as session:
        call = ToolCall(tool="get-customer", params={"customer": customer})
        found = await run_tool(call, at=Position(run_id="tape", node="customer"), session=session)
        assert isinstance(found, Done), found
        prompt = PROMPT.replace("CUSTOMER", customer) + json.dumps({"id": found.value["id"]})
        model = Claude(retries=0)
        try:
            reply = await run_agent(
                AgentSpec(prompt=prompt, response_schema=SCHEMA, trusted=(customer,)),
                at=Position(run_id="tape", node="story"),
                session=session,
                steps=InProcessSteps("tape", clock=clock),
                store=ArtifactStore(bench.state),
                model=model,
            )
        finally:
            await model.aclose()
    return found, reply


def plain(request: Any) -> Any:
    """The request with the headers that say something, and none of whoever records."""
    kept = ("accept", "content-type", "anthropic-version", "stripe-version", "host")
    request.headers = {name: value for name, value in request.headers.items() if name.lower() in kept}
    return request


def scrubbed(response: dict[str, Any]) -> dict[str, Any]:
    """The answer without client secrets, and so without its length."""
    body = redact_text(response["body"]["string"].decode())
    headers = {name: value for name, value in response["headers"].items() if name.lower() != "content-length"}
    return {**response, "headers": headers, "body": {"string": body.encode()}}


def record(source: Sandbox, file: Path) -> None:
    customer = str(source.objects("customer")[0]["id"])
    recorder = vcr.VCR(
        record_mode=vcr.mode.ONCE,
        match_on=["method", "path", "query", "body"],
        before_record_request=plain,
        before_record_response=scrubbed,
        decode_compressed_response=True,
    )
    file.parent.mkdir(exist_ok=True)
    file.unlink(missing_ok=True)
    with ScriptedModel(*turns(customer), port=MODEL_PORT) as model, tempfile.TemporaryDirectory() as folder:
        os.environ.update(model.environment)
        tape = recorder.use_cassette(str(file))  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        clock = FakeClock(NOW)
        with Workbench(Path(folder), StripeConnector(), clock=clock, secret=source.secret_key) as bench, tape:
            _, reply = asyncio.run(work(bench, customer, source.url))
    if reply.kind != "done":
        sys.exit(f"{reply.error}")
    print(f"{file.name}: {file.stat().st_size} bytes, customer {customer}")


def main() -> None:
    with sandbox(seed=SEED, now=NOW, port=STRIPE_PORT) as source:
        record(source, CASSETTES / "agent" / "workflow.yaml")


if __name__ == "__main__":
    main()

"""Agent Mode on a service that is not Stripe, with a model that is not Claude: the ports are enough."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

from spojit_stripe.agent import AgentSpec, ModelReply, ModelRequest, run_agent
from spojit_stripe.agent.pricing import Tokens
from spojit_stripe.data import ArtifactStore
from spojit_stripe.steps import InProcessSteps
from spojit_stripe.testing import listing_of
from spojit_stripe.values import JsonValue, Position

CAPS = {"per_call": {"amount": 5_000, "currency": "usd"}}


@dataclass
class Canned:
    """Implements `agent.Model`: gives replies from a list."""

    replies: list[list[JsonValue]]
    asked: list[ModelRequest] = field(default_factory=list)

    async def reply(self, request, *, heard=None):
        self.asked.append(request)
        content = self.replies[len(self.asked) - 1]
        uses = any(block["type"] == "tool_use" for block in content)
        return ModelReply(
            content=content, stop_reason="tool_use" if uses else "end_turn", model="canned", tokens=Tokens(input=1)
        )

    async def aclose(self):
        """Nothing is open."""

    @property
    def last(self) -> str:
        return json.dumps(self.asked[-1].messages[-1]["content"])


def use(name, **arguments):
    return {"type": "tool_use", "id": f"{name}-{len(arguments)}", "name": name, "input": arguments}


def say(text):
    return {"type": "text", "text": text}


def ask(bench, tmp_path, *replies, policy=None, trusted=(), **spec):
    model = Canned([list(reply) if isinstance(reply, list) else [reply] for reply in replies])

    async def work():
        fields = {"policy": policy} if policy else {}
        async with bench.session(by_agent=True, **fields) as session:
            return await run_agent(
                AgentSpec(prompt="Do it.", model="canned", trusted=trusted, **spec),
                at=Position(run_id="run_1", node="story"),
                session=session,
                steps=InProcessSteps("run_1"),
                store=ArtifactStore(tmp_path / "state"),
                model=model,
            )

    reply = asyncio.run(work())
    assert len(model.asked) == len(replies)
    return reply, model


def test_it_lists_and_asks_sql(bench, wire, tmp_path):
    rows = [{"id": f"pay_{n}", "object": "payment", "amount": n, "currency": "usd", "status": "ok"} for n in range(4)]
    wire.will("GET /v1/payments", listing_of(*rows))
    reply, model = ask(
        bench,
        tmp_path,
        [use("list-payments"), use("query-data", sql="select sum(amount) as amount from payments")],
        say("Together 0.06 USD."),
    )
    assert reply.value == "Together 0.06 USD."
    assert reply.meta["ungrounded"] == []
    assert "4 payments; complete" in model.last
    assert reply.meta["cost_usd"] is None
    assert "price of canned is not known" in reply.meta["warnings"][0]


def test_a_very_large_object_lies_in_the_store_and_is_cut_for_the_model(bench, wire, tmp_path):
    wire.will("GET /v1/payments/pay_1", {"id": "pay_1", "object": "payment", "lines": ["x" * 900] * 60})
    _, model = ask(
        bench,
        tmp_path,
        [use("get-payment", payment="pay_1"), use("query-data", sql="select id from payments")],
        say("Read."),
    )
    assert "cut; ask with `fields`" in model.last
    assert len(model.last) < 8_000
    assert list((tmp_path / "state" / "artifacts").rglob("*.ndjson"))


def test_it_pays_within_its_caps_and_only_what_is_known(bench, wire, tmp_path):
    refund = {"method": "POST", "path": "/v1/refunds"}
    wire.will("GET /v1/payments/pay_1", {"id": "pay_1", "object": "payment"})
    wire.will("POST /v1/refunds", {"id": "re_1", "object": "refund"})
    reply, model = ask(
        bench,
        tmp_path,
        use("raw-request", **refund, params={"payment": "pay_9", "amount": 5}),
        use("get-payment", payment="pay_1"),
        use("raw-request", **refund, params={"payment": "pay_1", "amount": 5}),
        say("Refunded."),
        policy={"writes": "allow", "caps": CAPS},
        tools=("get-payment", "raw-request"),
    )
    outcomes = [call["outcome"] for turn in reply.transcript["turns"] for call in turn["calls"]]
    assert outcomes == ["refused", "done", "done"]
    assert "find-endpoint" not in {tool["name"] for tool in model.asked[0].tools}

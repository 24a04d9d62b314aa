"""Our calls and the official client's leave the same state behind.

Two sandboxes with the same standing clock give the same ids to the same requests, so that
all that the two of them hold afterwards can be compared whole.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import stripe

from spojit_stripe import Connection, Done, Host, Position, ToolCall, run_tool
from spojit_stripe.sandbox import Sandbox, sandbox

NOW = 1_790_000_000
KINDS = ("customer", "charge", "payment_intent", "refund", "invoice", "balance_transaction")

CUSTOMER = {
    "name": "Zoë Ω & Söhne [GmbH]",
    "email": "a+b@example.com",
    "description": "line1\nline2",
    "metadata": {"order id": "67 35", "плюс": "+%&="},
    "address": {"line1": "1 rue X", "city": "Lyon", "postal_code": "69001", "country": "FR"},
    "preferred_locales": ["fr", "de"],
    "source": "tok_visa",
}


def official(server: Sandbox) -> None:
    client = stripe.StripeClient(server.secret_key, base_addresses={"api": server.url})
    customer = client.v1.customers.create(CUSTOMER)  # type: ignore[arg-type]
    charge = client.v1.charges.create(
        {"amount": 1999, "currency": "eur", "customer": customer.id, "metadata": {"order_id": "1"}}
    )
    client.v1.payment_intents.create(
        {"amount": 500, "currency": "jpy", "customer": customer.id, "setup_future_usage": "off_session"}
    )
    client.v1.invoices.create({"customer": customer.id, "description": "draft", "auto_advance": False})
    client.v1.refunds.create({"charge": charge.id, "amount": 999})
    client.v1.refunds.create({"charge": charge.id, "amount": 1000})


def ours(server: Sandbox, folder: Path) -> None:
    asyncio.run(_ours(server, folder))


async def _ours(server: Sandbox, folder: Path) -> None:
    connection = Connection.model_validate(
        {
            "name": "same",
            "secret_key": server.secret_key,
            "mode": "test",
            "base_url": server.url,
            "policy": {"writes": "allow"},
            "stamp_metadata": False,
        }
    )
    with Host(state=folder) as host:
        async with host.session(connection) as session:
            number = 0

            async def call(tool: str, **params: Any) -> dict[str, Any]:
                nonlocal number
                number += 1
                at = Position(run_id="same", ordinal=number)
                outcome = await run_tool(ToolCall(tool=tool, params=params), at=at, session=session)
                assert isinstance(outcome, Done), outcome
                return outcome.value

            customer = (await call("create-customer", **CUSTOMER))["id"]
            charge = await call(
                "create-charge", amount=1999, currency="eur", customer=customer, metadata={"order_id": "1"}
            )
            await call(
                "create-payment-intent",
                amount=500,
                currency="jpy",
                customer=customer,
                setup_future_usage="off_session",
            )
            await call("create-invoice", customer=customer, description="draft", auto_advance=False)
            refund = {"charge": charge["id"], "amount": 999}
            await call("raw-api-request", method="POST", path="/v1/refunds", params=refund)
            # The second without an amount: the rest is looked up and written in.
            await call("raw-api-request", method="POST", path="/v1/refunds", params={"charge": charge["id"]})


def test_our_calls_and_the_official_clients_leave_the_same_state(tmp_path: Path) -> None:
    with sandbox(now=NOW) as one, sandbox(now=NOW) as other:
        official(one)
        ours(other, tmp_path)
        for kind in KINDS:
            theirs = one.objects(kind)
            assert theirs, kind
            assert other.objects(kind) == theirs
        sent = [(each.method, each.path) for each in one.requests() if each.method == "POST"]
        assert [(each.method, each.path) for each in other.requests() if each.method == "POST"] == sent
        assert not one.crashes() + other.crashes()

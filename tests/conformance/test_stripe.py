"""Every descriptor of Stripe through the conformance kit."""

from __future__ import annotations

from pathlib import Path

import pytest

from spojit_stripe.sandbox import Sandbox
from spojit_stripe.testing import Case, Workbench, cases, sample_params
from spojit_stripe.values import Done, JsonObject, ToolCall
from spojit_stripe.wire.connector import StripeConnector

STRIPE = StripeConnector()
# What a schema can't say at its top, where model services refuse anyOf.
SAMPLES = {"create-invoice": {"customer": "cus_1"}}
NAMES = [
    "create-charge",
    "create-customer",
    "create-invoice",
    "create-payment-intent",
    "get-customer",
    "list-charges",
    "list-customers",
    "list-invoices",
    "list-payment-intents",
    "list-products",
    "list-subscriptions",
    "raw-api-request",
]


@pytest.mark.parametrize("case", cases(STRIPE, SAMPLES), ids=str)
def test_the_core_can_rely_on(case: Case) -> None:
    case.run()


def test_the_twelve_tools_are_those_of_the_connector_in_spojit() -> None:
    assert sorted(STRIPE.catalog.names) == NAMES


def arguments(sandbox: Sandbox, bench: Workbench, tool: str) -> JsonObject:
    """The smallest call of a tool that means something to the service."""
    customer = bench.run(
        ToolCall(tool="create-customer", params={"email": "a@example.com"}), at="setup", **where(sandbox)
    )
    assert isinstance(customer, Done)
    made = customer.value["id"]
    params = {**sample_params(STRIPE.catalog.tool(tool).public_schema)}
    if tool == "create-charge":
        return {"amount": 500, "currency": "usd", "source": "tok_visa"}
    if tool == "create-payment-intent":
        return {"amount": 500, "currency": "usd"}
    if tool in ("get-customer", "create-invoice"):
        return {"customer": made}
    if tool == "raw-api-request":
        return {"method": "GET", "path": f"/v1/customers/{made}"}
    return params


def where(sandbox: Sandbox) -> JsonObject:
    return {"base_url": sandbox.url}


@pytest.mark.parametrize("tool", NAMES)
def test_every_tool_works_over_http(tool: str, stripe_sandbox: Sandbox, tmp_path: Path) -> None:
    with Workbench(tmp_path, STRIPE, secret=stripe_sandbox.secret_key) as bench:
        call = ToolCall(tool=tool, params=arguments(stripe_sandbox, bench, tool))
        outcome = bench.run(call, **where(stripe_sandbox))
        assert isinstance(outcome, Done), outcome
        assert outcome.meta.livemode is not True
        assert outcome.meta.request_ids
        if STRIPE.catalog.tool(tool).is_list:
            assert outcome.value["complete"] is True
        else:
            assert isinstance(outcome.value["id"], str)
        if not STRIPE.catalog.tool(tool).annotations.read_only and tool != "raw-api-request":
            assert outcome.meta.idempotency_key
            again = bench.run(call, **where(stripe_sandbox))
            assert isinstance(again, Done)
            assert again.value["id"] == outcome.value["id"]
            assert again.meta.from_ledger

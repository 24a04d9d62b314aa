"""What a call moves is found, and an omitted amount is written in before it is decided upon."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from spojit_stripe.connection import Connection
from spojit_stripe.connector import BoundCall
from spojit_stripe.errors import InputError, InvalidRequestError
from spojit_stripe.values import Amount, Assessment, Effect, JsonObject, Request, ToolCall
from spojit_stripe.wire.connector import StripeConnector
from spojit_stripe.wire.effects import AMOUNTS

STRIPE = StripeConnector()
SHOP = Connection.model_validate({"name": "shop", "secret_key": "${env:KEY}", "mode": "test"})

CHARGE: JsonObject = {
    "id": "ch_1",
    "object": "charge",
    "amount": 1000,
    "amount_refunded": 250,
    "currency": "eur",
    "payment_intent": "pi_1",
}
INTENT: JsonObject = {
    "id": "pi_1",
    "object": "payment_intent",
    "amount": 900,
    "amount_capturable": 800,
    "currency": "eur",
    "latest_charge": "ch_1",
}
OBJECTS: dict[str, JsonObject] = {
    "/v1/charges/ch_1": CHARGE,
    "/v1/charges/ch_gone": {**CHARGE, "id": "ch_gone", "amount_refunded": 1000},
    "/v1/payment_intents/pi_1": INTENT,
    "/v1/payment_intents/pi_open": {**INTENT, "id": "pi_open", "latest_charge": None},
    "/v1/payment_intents/pi_big": {**INTENT, "id": "pi_big", "latest_charge": CHARGE},
    "/v1/invoices/in_1": {"id": "in_1", "object": "invoice", "amount_remaining": 500, "currency": "usd"},
    "/v1/payouts/po_1": {"id": "po_1", "object": "payout", "amount": 70, "currency": "usd"},
    "/v1/invoiceitems/ii_1": {"id": "ii_1", "object": "invoiceitem", "amount": 5, "currency": "gbp"},
    "/v1/customers/cus_1": {"id": "cus_1", "object": "customer", "currency": "gbp"},
    "/v1/customers/cus_new": {"id": "cus_new", "object": "customer", "currency": None},
    "/v1/transfers/tr_1": {
        "id": "tr_1",
        "object": "transfer",
        "amount": 100,
        "amount_reversed": 40,
        "currency": "usd",
    },
}


class Reads:
    """Answers reads from OBJECTS and keeps what was asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> JsonObject:
        assert request.method == "GET"
        self.requests.append(request)
        found = OBJECTS.get(request.path)
        if found is None:
            raise InvalidRequestError(f"No such object: {request.path}")
        return found

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


def bound(operation: str, params: dict[str, Any] | None = None, **author: Any) -> BoundCall:
    method, path = operation.split(" ")
    call = ToolCall(
        tool="raw-api-request",
        params={"method": method, "path": path, "params": params or {}},
        author_params=author,
    )
    return STRIPE.bind(STRIPE.catalog.tool("raw-api-request"), call, SHOP)


def assessed(operation: str, params: dict[str, Any] | None = None, **author: Any) -> tuple[Assessment, Reads]:
    reads = Reads()
    return asyncio.run(STRIPE.assess(bound(operation, params, **author), reads)), reads


# Refunds


def test_a_refund_without_an_amount_takes_the_rest_of_the_charge() -> None:
    result, reads = assessed("POST /v1/refunds", {"charge": "ch_1"})
    assert result == Assessment(
        effect=Effect.MONEY,
        operation="POST /v1/refunds",
        params={"charge": "ch_1", "amount": 750},
        amount=Amount(amount=750, currency="eur"),
        target="ch_1",
    )
    assert reads.paths == ["/v1/charges/ch_1"]


@pytest.mark.parametrize("intent", ["pi_1", "pi_big"])
def test_a_refund_of_an_intent_is_one_of_its_charge(intent: str) -> None:
    result, reads = assessed("POST /v1/refunds", {"payment_intent": intent})
    assert result.target == "ch_1"
    assert result.params == {"payment_intent": intent, "amount": 750}
    assert reads.paths == [f"/v1/payment_intents/{intent}", "/v1/charges/ch_1"]


def test_a_refund_with_an_amount_keeps_it_and_learns_the_currency() -> None:
    result, _ = assessed("POST /v1/refunds", {"charge": "ch_1", "amount": 5})
    assert result.params == {"charge": "ch_1", "amount": 5}
    assert result.amount == Amount(amount=5, currency="eur")


def test_a_refund_is_in_the_charges_currency_whatever_it_says() -> None:
    result, _ = assessed("POST /v1/refunds", {"charge": "ch_1", "amount": 5, "currency": "jpy"})
    assert result.amount == Amount(amount=5, currency="eur")


def test_nothing_left_to_refund_is_told_before_anything_is_sent() -> None:
    with pytest.raises(InputError, match=r"ch_gone: nothing is left of its 10.00 EUR"):
        assessed("POST /v1/refunds", {"charge": "ch_gone"})


def test_an_intent_without_a_charge_leaves_the_amount_unknown() -> None:
    result, _ = assessed("POST /v1/refunds", {"payment_intent": "pi_open"})
    assert (result.amount, result.target) == (None, "pi_open")
    assert result.params == {"payment_intent": "pi_open"}


def test_a_refund_from_a_customers_balance_says_all_itself() -> None:
    params = {"customer": "cus_1", "currency": "USD", "amount": 30, "origin": "customer_balance"}
    result, reads = assessed("POST /v1/refunds", params)
    assert (result.amount, result.target) == (Amount(amount=30, currency="usd"), "cus_1")
    assert not reads.paths


def test_a_refund_of_an_unknown_charge_is_refused_by_the_read() -> None:
    with pytest.raises(InvalidRequestError):
        assessed("POST /v1/refunds", {"charge": "ch_none"})


def test_reads_go_to_the_account_and_version_of_the_call() -> None:
    _, reads = assessed(
        "POST /v1/refunds", {"payment_intent": "pi_1"}, stripe_account="acct_2", api_version="2025-01-01.acacia"
    )
    assert {(request.account, request.api_version) for request in reads.requests} == {("acct_2", "2025-01-01.acacia")}
    assert [request.template for request in reads.requests] == [
        "/v1/payment_intents/{intent}",
        "/v1/charges/{charge}",
    ]


# Everything else


@pytest.mark.parametrize(
    ("operation", "params", "amount", "target", "written"),
    [
        ("POST /v1/charges", {"amount": 5, "currency": "USD", "customer": "cus_1"}, (5, "usd"), "cus_1", {}),
        ("POST /v1/charges/ch_1/capture", {}, (1000, "eur"), "ch_1", {"amount": 1000}),
        ("POST /v1/charges/ch_1/capture", {"amount": 5}, (5, "eur"), "ch_1", {}),
        ("POST /v1/payment_intents/pi_1/capture", {}, (800, "eur"), "ch_1", {"amount_to_capture": 800}),
        ("POST /v1/payment_intents/pi_open/confirm", {}, (900, "eur"), "pi_open", {}),
        (
            "POST /v1/payment_intents",
            {"amount": 7, "currency": "jpy", "confirm": True, "customer": "cus_1"},
            (7, "jpy"),
            "cus_1",
            {},
        ),
        ("POST /v1/invoices/in_1/pay", {}, (500, "usd"), "in_1", {}),
        ("POST /v1/invoices/in_1/finalize", {}, (500, "usd"), "in_1", {}),
        ("POST /v1/payment_intents/pi_1", {"amount": 5, "currency": "usd"}, (5, "usd"), "pi_1", {}),
        ("POST /v1/payouts", {"amount": 9, "currency": "usd"}, (9, "usd"), None, {}),
        ("POST /v1/payouts/po_1/cancel", {}, (70, "usd"), "po_1", {}),
        ("POST /v1/transfers/tr_1/reversals", {}, (60, "usd"), "tr_1", {"amount": 60}),
        ("POST /v1/customers/cus_1/balance_transactions", {"amount": -5, "currency": "usd"}, (5, "usd"), "cus_1", {}),
        ("POST /v1/customers/cus_1", {"balance": 0}, None, "cus_1", {}),  # may forgive any debt
        (
            "POST /v1/invoiceitems",
            {"customer": "cus_1", "amount": 5, "currency": "usd", "invoice": "in_1"},
            (5, "usd"),
            "cus_1",
            {},
        ),
        ("POST /v1/invoiceitems/ii_1", {"amount": 700}, (700, "gbp"), "ii_1", {}),
        ("POST /v1/invoiceitems/ii_1", {"quantity": 700}, None, "ii_1", {}),
        ("POST /v1/invoices/in_1/add_lines", {"lines": [{"amount": 5}]}, None, "in_1", {}),
        ("POST /v1/subscriptions", {"customer": "cus_1", "items": [{"price": "p"}]}, None, "cus_1", {}),
        ("POST /v1/credit_notes", {"invoice": "in_1"}, None, "in_1", {}),
        ("POST /v1/credit_notes", {"invoice": "in_1", "amount": 5}, (5, "usd"), "in_1", {}),
        ("POST /v1/transfers", {"destination": "acct_1", "currency": "usd"}, None, "acct_1", {}),
    ],
)
def test_a_money_call_has_its_amount_and_target(
    operation: str, params: dict[str, Any], amount: tuple[int, str] | None, target: str | None, written: dict[str, Any]
) -> None:
    result, _ = assessed(operation, params)
    assert result.effect is Effect.MONEY
    assert result.amount == (None if amount is None else Amount(amount=amount[0], currency=amount[1]))
    assert result.target == target
    assert result.params == {**params, **written}


def test_what_moves_no_money_has_no_amount_and_reads_nothing() -> None:
    params = {"amount": 5, "currency": "usd", "customer": "cus_1"}
    for operation, given in (
        ("POST /v1/payment_intents", params),
        ("POST /v1/customers", {"name": "x"}),
        ("POST /v1/account_links", {"account": "acct_1", "type": "account_onboarding"}),
    ):
        result, reads = assessed(operation, given)
        assert (result.amount, result.target, result.params) == (None, None, given)
        assert not reads.paths


def test_what_nobody_reviewed_moves_what_it_says() -> None:
    given = {"amount": 5, "currency": "usd", "customer": "cus_1"}
    result, _ = assessed("POST /v1/previews/pay", given, unchecked=True)
    assert (result.effect, result.amount, result.target) == (None, Amount(amount=5, currency="usd"), "cus_1")


def test_an_amount_that_is_no_integer_stays_unknown() -> None:
    result, _ = assessed("POST /v1/payouts", {"amount": "9", "currency": "usd"}, unchecked=True)
    assert result.amount is None
    bound_ = bound("POST /v1/refunds", {"charge": "ch_1"})
    refund = replace(bound_, request=replace(bound_.request, params={"charge": "ch_1", "amount": "9"}))
    result = asyncio.run(STRIPE.assess(refund, Reads()))
    assert (result.amount, result.params) == (None, {"charge": "ch_1", "amount": "9"})


def test_every_rule_can_be_followed() -> None:
    """Each lookup names path values or parameters that its own operation has."""
    for name, rule in AMOUNTS.items():
        operation = STRIPE.operations.get(name)
        assert operation is not None, name
        if rule.lookup is not None:
            names = {*operation.path_params, *operation.param_names}
            for part in rule.lookup.path.split("/"):
                assert not part.startswith("{") or part[1:-1] in names, name
            assert rule.lookup.write_as is None or rule.lookup.write_as in operation.param_names, name
            assert STRIPE.operations.find("GET", rule.lookup.path) is not None, name

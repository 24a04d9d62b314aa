"""Every operation that could do harm has a reviewed effect, and nothing else has one."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from spojit_stripe.values import Effect
from spojit_stripe.wire.effects import (
    AMOUNTS,
    GROUPS,
    HANDS_OUT,
    QUIET,
    RAISED,
    AmountKind,
    effect_of,
    reason_of,
)
from spojit_stripe.wire.operations import Operation, Operations

OPERATIONS = Operations.load()
EFFECTS = {name: group.effect for group in GROUPS for name in group.operations}

# The resources whose every POST and DELETE is reviewed.
REVIEWED = re.compile(
    r"/v1/(customers|charges|payment_intents|payment_methods|setup_intents|refunds|disputes|payouts|transfers"
    r"|application_fees|topups|invoices|invoiceitems|invoice_rendering_templates|credit_notes|products|prices|plans"
    r"|coupons|promotion_codes|subscriptions|subscription_items|subscription_schedules|quotes|tax_rates|tax_ids"
    r"|balance_settings|checkout|payment_links|billing_portal|webhook_endpoints|accounts|account_links"
    r"|account_sessions|customer_sessions|ephemeral_keys|apps|files|file_links|test_helpers|tokens|sources|tax"
    r"|shipping_rates|payment_method_configurations|payment_method_domains|apple_pay|treasury)(/|$)"
    r"|/v2/(core|money_management|test_helpers)/"
)


def operation(name: str) -> Operation:
    found = OPERATIONS.get(name)
    assert found is not None
    return found


def test_every_write_of_the_reviewed_resources_is_listed() -> None:
    """Nothing of these resources is left to asking."""
    writes = {one.name for one in OPERATIONS if one.method != "GET" and REVIEWED.match(one.template)}
    assert len(writes) > 250
    assert sorted(writes - EFFECTS.keys()) == []


def test_the_table_names_only_what_exists_and_each_once() -> None:
    """A renamed operation is noticed, a doubled one too."""
    listed = [name for group in GROUPS for name in group.operations]
    assert [name for name, times in Counter(listed).items() if times > 1] == []
    for name in (*listed, *RAISED, *QUIET, *HANDS_OUT, *AMOUNTS):
        assert OPERATIONS.get(name) is not None, name
    assert not [name for name in listed if name.startswith("GET")]
    assert all(name.startswith("GET") for name in HANDS_OUT)


def test_every_group_says_why() -> None:
    """One line of reason per group."""
    for group in GROUPS:
        assert len(group.reason) > 20
        assert len(group.reason.splitlines()) == 1
    assert len({group.reason for group in GROUPS}) == len(GROUPS)


def test_conditions_name_parameters_that_exist() -> None:
    """A renamed parameter must not silently lower an effect."""
    for name, raised in RAISED.items():
        assert EFFECTS[name] is Effect.WRITE
        assert set(raised.params) <= set(operation(name).param_names), name
    for name, quiet in QUIET.items():
        assert EFFECTS[name] is Effect.MONEY
        assert quiet <= set(operation(name).param_names), name


def test_what_can_move_money_has_an_amount_rule() -> None:
    """Every operation that may be judged as money, and no other, says where the amount is."""
    money = {name for name, effect in EFFECTS.items() if effect is Effect.MONEY}
    money |= {name for name, raised in RAISED.items() if raised.effect is Effect.MONEY}
    assert set(AMOUNTS) == money


@pytest.mark.parametrize("name", AMOUNTS)
def test_amount_rules_name_what_exists(name: str) -> None:
    """Their parameters, path values and the objects looked up are all there."""
    rule, one = AMOUNTS[name], operation(name)
    for path in (rule.amount, rule.currency):
        if path:
            assert path.split(".")[0] in one.param_names
    if rule.kind is AmountKind.PARAMS:
        assert rule.amount
        assert rule.currency
    if rule.lookup is None:
        assert rule.kind in (AmountKind.PARAMS, AmountKind.UNKNOWN)
        return
    assert rule.kind not in (AmountKind.PARAMS, AmountKind.UNKNOWN)
    looked_up = operation(f"GET {_as_indexed(rule.lookup.path)}")
    assert not looked_up.is_list
    for hole in re.findall(r"{(\w+)}", rule.lookup.path):
        assert hole in (*one.path_params, *one.param_names)
    if rule.lookup.write_as:
        assert rule.lookup.write_as == rule.amount


def _as_indexed(path: str) -> str:
    """The template that Stripe uses for this path, whatever its parameters are called."""
    found = OPERATIONS.find("GET", re.sub(r"{\w+}", "x_1", path))
    assert found is not None, path
    return found.template


R, W, M, C = Effect.READ, Effect.WRITE, Effect.MONEY, Effect.CONTROL
JUDGED = [
    ("GET /v1/charges", {}, R),
    ("GET /v1/charges/search", {"query": "x"}, R),
    ("POST /v1/invoices/create_preview", {"customer": "cus_1"}, R),
    ("POST /v1/charges", {"amount": 5}, M),
    ("POST /v1/charges", {"amount": 5, "capture": False}, M),
    ("POST /v1/payment_intents", {"amount": 5}, W),
    ("POST /v1/payment_intents", {"amount": 5, "confirm": False}, W),
    ("POST /v1/payment_intents", {"amount": 5, "confirm": True}, M),
    ("POST /v1/payment_intents", {"amount": 5, "confirm": "true"}, M),
    ("POST /v1/payment_intents", {"amount": 5, "confirm": "false"}, W),
    ("POST /v1/payment_intents/{intent}", {"metadata": {"a": "b"}}, W),
    ("POST /v1/payment_intents/{intent}", {"amount": 6}, M),
    ("POST /v1/payment_intents/{intent}", {"payment_method": "pm_1"}, M),
    ("POST /v1/payment_intents/{intent}/confirm", {}, M),
    ("POST /v1/payment_intents/{intent}/capture", {}, M),
    ("POST /v1/payment_intents/{intent}/cancel", {}, M),
    ("POST /v1/refunds", {"charge": "ch_1"}, M),
    ("POST /v1/refunds/{refund}", {"metadata": {}}, W),
    ("POST /v1/customers", {"email": "a@example.com"}, W),
    ("POST /v1/customers", {"balance": -500}, M),
    ("POST /v1/customers", {"balance": 0}, M),
    ("POST /v1/customers/{customer}", {"name": "A"}, W),
    ("POST /v1/customers/{customer}", {"source": "tok_1"}, M),
    ("DELETE /v1/customers/{customer}", {}, W),
    ("POST /v1/invoices", {"customer": "cus_1"}, W),
    ("POST /v1/invoices", {"customer": "cus_1", "auto_advance": False}, W),
    ("POST /v1/invoices", {"customer": "cus_1", "auto_advance": True}, M),
    ("POST /v1/invoices", {"customer": "cus_1", "automatically_finalizes_at": 5}, M),
    ("POST /v1/invoices/{invoice}", {"auto_advance": True}, M),
    ("POST /v1/invoices/{invoice}/finalize", {}, M),
    ("POST /v1/invoices/{invoice}/pay", {}, M),
    ("POST /v1/invoices/{invoice}/void", {}, W),
    ("POST /v1/invoiceitems", {"customer": "cus_1", "amount": 5}, M),
    ("POST /v1/invoiceitems", {"customer": "cus_1", "amount": 5, "invoice": "in_1"}, M),
    ("POST /v1/invoiceitems", {"customer": "cus_1", "amount": 5, "invoice": ""}, M),
    ("POST /v1/invoiceitems/{invoiceitem}", {"amount": 5}, M),
    ("POST /v1/invoiceitems/{invoiceitem}", {"quantity": 5}, M),
    ("POST /v1/invoiceitems/{invoiceitem}", {"metadata": {"a": "b"}, "description": "c"}, W),
    ("DELETE /v1/invoiceitems/{invoiceitem}", {}, W),
    ("POST /v1/invoices/{invoice}/add_lines", {"lines": []}, M),
    ("POST /v1/invoices/{invoice}/update_lines", {"lines": []}, M),
    ("POST /v1/invoices/{invoice}/lines/{line_item_id}", {"amount": 5}, M),
    ("POST /v1/invoices/{invoice}/lines/{line_item_id}", {"metadata": {"a": "b"}}, W),
    ("POST /v1/subscriptions", {"customer": "cus_1"}, M),
    ("POST /v1/subscriptions/{subscription_exposed_id}", {"metadata": {"a": "b"}}, W),
    ("POST /v1/subscriptions/{subscription_exposed_id}", {"cancel_at_period_end": True}, W),
    ("POST /v1/subscriptions/{subscription_exposed_id}", {"metadata": {}, "items": []}, M),
    ("POST /v1/subscriptions/{subscription_exposed_id}", {"trial_end": "now"}, M),
    ("DELETE /v1/subscriptions/{subscription_exposed_id}", {}, W),
    ("DELETE /v1/subscriptions/{subscription_exposed_id}", {"invoice_now": True}, M),
    ("DELETE /v1/subscription_items/{item}", {}, M),
    ("POST /v1/subscription_schedules/{schedule}/cancel", {}, M),
    ("POST /v1/quotes/{quote}/accept", {}, M),
    ("POST /v1/disputes/{dispute}", {"evidence": {}}, M),
    ("POST /v1/disputes/{dispute}", {"evidence": {}, "submit": False}, W),
    ("POST /v1/disputes/{dispute}/close", {}, M),
    ("POST /v1/payouts", {"amount": 5, "currency": "usd"}, M),
    ("POST /v1/test_helpers/test_clocks/{test_clock}/advance", {"frozen_time": 5}, W),
    ("POST /v1/files", {"purpose": "dispute_evidence"}, W),
    ("POST /v1/files", {"purpose": "dispute_evidence", "file_link_data": {"create": True}}, C),
    ("POST /v1/webhook_endpoints", {}, C),
    ("DELETE /v1/webhook_endpoints/{webhook_endpoint}", {}, C),
    ("POST /v2/core/event_destinations", {}, C),
    ("POST /v1/ephemeral_keys", {}, C),
    ("POST /v1/account_sessions", {}, C),
    ("POST /v1/accounts/{account}/external_accounts", {}, C),
    ("POST /v1/balance_settings", {}, C),
    ("POST /v1/payment_links", {}, C),
    ("POST /v1/checkout/sessions", {}, C),
    ("POST /v1/billing_portal/sessions", {}, C),
    ("GET /v1/apps/secrets/find", {"name": "x"}, C),
    ("GET /v1/issuing/cards/{card}", {}, R),
    ("GET /v1/issuing/cards/{card}", {"expand": ["number"]}, C),
    ("GET /v2/core/event_destinations/{id}", {"include": ["webhook_endpoint.url"]}, R),
    ("GET /v2/core/event_destinations/{id}", {"include": ["webhook_endpoint.signing_secret"]}, C),
    # not reviewed: asks
    ("POST /v1/climate/orders", {}, None),
    ("POST /v1/terminal/readers", {}, None),
]


@pytest.mark.parametrize(("name", "params", "effect"), JUDGED, ids=[f"{n} {p}"[:80] for n, p, _ in JUDGED])
def test_effects(name: str, params: dict[str, Any], effect: Effect | None) -> None:
    """The worst that this very call can do."""
    assert effect_of(operation(name), params) is effect
    reason = reason_of(operation(name), params)
    assert reason
    assert (reason == "the table of effects does not list it") is (effect is None)


def test_parameters_never_lower_what_gives_access() -> None:
    """Control stays control, whatever else is sent; nothing writes under the name of a read."""
    for one in OPERATIONS:
        effect = effect_of(one, {"metadata": {"a": "b"}})
        if EFFECTS.get(one.name) is Effect.CONTROL:
            assert effect is Effect.CONTROL, one.name
        if effect is Effect.READ:
            assert one.method == "GET" or one.name == "POST /v1/invoices/create_preview"

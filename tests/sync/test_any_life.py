"""Whatever happens in a shop, and whenever it is synced: the last sync says what is there."""

from __future__ import annotations

import json
import random
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import stripe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spojit_stripe.redact import redact_object
from spojit_stripe.sandbox import Sandbox, SandboxError, sandbox
from spojit_stripe.sandbox.errors import StripeError
from spojit_stripe.sync import RESOURCES
from tests.sync.conftest import DAY, NOW, Shop

pytestmark = pytest.mark.long

MOMENTS = st.sampled_from([0, 1, 30, 59, 60, 61, 599, 600, 601, DAY, 29 * DAY, 31 * DAY])
DEEDS = st.one_of(
    st.tuples(st.just("make"), st.integers(1, 3)),
    st.tuples(st.just("change"), st.integers(0, 9)),
    st.tuples(st.just("delete"), st.integers(0, 9)),
    st.tuples(st.just("wait"), MOMENTS),
    st.tuples(st.just("sync"), st.just(0)),
    st.tuples(st.just("broken sync"), st.integers(0, 4)),
)


@given(st.lists(DEEDS, min_size=1, max_size=14))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_life_of_customers_and_products(tmp_path: Path, deeds: list[tuple[str, int]]) -> None:
    with sandbox(now=NOW) as box:
        shop = Shop(box, Path(tempfile.mkdtemp(dir=tmp_path)))
        api = stripe.StripeClient(box.secret_key, base_addresses={"api": box.url}).v1
        for number, (deed, how) in enumerate(deeds):
            _do(shop, api, deed, how, number)
        box.advance(3)  # what was made this very second is for the next run
        assert shop.sync("customers", "products").exit_code == 0
        for table, kind in (("customers", "customer"), ("products", "product")):
            alive = dict(shop.ask(f"SELECT id, name FROM {table} WHERE deleted_at IS NULL"))
            assert alive == {one["id"]: one["name"] for one in box.objects(kind)}
        before = shop.dump()
        assert shop.sync("customers", "products").exit_code == 0
        assert shop.dump() == before
        assert box.crashes() == []


def _do(shop: Shop, api: Any, deed: str, how: int, number: int) -> None:
    if deed == "make":
        for _ in range(how):
            api.customers.create({"name": f"made {number}"})
            api.products.create({"name": f"made {number}"})
    elif deed == "wait":
        shop.box.advance(how)
    elif deed == "sync":
        assert shop.sync("customers", "products").exit_code == 0
    elif deed == "broken sync":
        shop.box.fail("GET", skip=how, status=400)
        shop.sync("customers", "products")
        shop.box.clear_faults()
    else:
        for kind, service in (("customer", api.customers), ("product", api.products)):
            found = shop.box.objects(kind)
            if found and deed == "change":
                service.update(found[how % len(found)]["id"], {"name": f"changed {number}"})
            elif found:
                service.delete(found[how % len(found)]["id"])


TYPES = {name: resource.kind for name, resource in RESOURCES.items() if resource.kind != name}


@pytest.mark.parametrize("number", [1, 2])
def test_any_life_of_a_business_leaves_every_row_as_the_object_is(tmp_path: Path, number: int) -> None:
    """Every resource, each object compared as a whole: no change is without an event that leads to it."""
    chance = random.Random(number)
    with sandbox(seed=25, now=NOW) as box:
        shop = Shop(box, tmp_path)
        api = stripe.StripeClient(box.secret_key, base_addresses={"api": box.url}).v1
        price = api.prices.create(
            {"currency": "usd", "unit_amount": 900, "recurring": {"interval": "month"}, "product_data": {"name": "P"}}
        )
        for _ in range(12):
            for _ in range(chance.randint(0, 9)):
                with suppress(
                    stripe.StripeError, StripeError, SandboxError, IndexError
                ):  # not all is possible at any time
                    _happen(chance, box, api, price.id)
            box.advance(chance.choice([1, 30, 61, 700, 3600, DAY, 3 * DAY, 8 * DAY]))
            if chance.random() < 0.7:
                assert shop.sync(*RESOURCES).exit_code == 0
        box.advance(3)
        assert shop.sync(*RESOURCES).exit_code == 0
        for table, kind in TYPES.items():
            theirs = {one["id"]: redact_object(one) for one in box.objects(kind)}
            ours = dict(shop.ask(f"SELECT id, object FROM {table} WHERE deleted_at IS NULL"))
            assert {name: json.loads(text) for name, text in ours.items()} == theirs, table
        came_back = "status IN ('failed', 'canceled')"
        found = shop.ask(f"SELECT DISTINCT outcome, {came_back} FROM payout_reconciliation")
        assert {*found} <= {("reconciled", 0), ("returned", 1)}
        assert box.crashes() == []


def _happen(chance: random.Random, box: Sandbox, api: Any, price: str) -> None:
    def any_of(kind: str) -> str:
        return chance.choice(box.objects(kind))["id"]

    def subscribe() -> None:
        person = api.customers.create({"name": "S", "source": "tok_visa"})
        api.subscriptions.create({"customer": person.id, "items": [{"price": price}]})

    def invoice() -> None:
        person = any_of("customer")
        api.invoice_items.create({"customer": person, "amount": 900, "currency": "usd"})
        made = api.invoices.create({"customer": person})
        if chance.random() < 0.5:
            api.invoices.finalize_invoice(made.id)

    amount = chance.randint(100, 9999)
    chance.choice(
        [
            lambda: api.charges.create({"amount": amount, "currency": "usd", "source": "tok_visa"}),
            lambda: api.charges.create({"amount": amount, "currency": "usd", "source": "tok_chargeDeclined"}),
            lambda: api.refunds.create({"charge": any_of("charge"), "amount": 50}),
            lambda: box.dispute(any_of("charge")),
            lambda: box.decide(any_of("dispute"), won=amount % 2 == 0),
            lambda: box.fail_payout(any_of("payout")),
            lambda: api.subscriptions.cancel(any_of("subscription")),
            lambda: api.customers.create({"name": "new"}),
            lambda: api.customers.update(any_of("customer"), {"name": f"name {amount}"}),
            lambda: api.customers.delete(any_of("customer")),
            lambda: api.products.update(any_of("product"), {"name": f"name {amount}"}),
            lambda: api.invoices.void_invoice(any_of("invoice")),
            lambda: api.payment_intents.create({"amount": amount, "currency": "usd"}),
            lambda: api.credit_notes.create({"invoice": any_of("invoice"), "amount": 10}),
            subscribe,
            invoice,
        ]
    )()

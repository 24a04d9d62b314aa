"""A sandbox per test, on a clock that stands still, and the official client on it."""

import sys
from collections.abc import Iterator

import pytest
import stripe

from spojit_stripe.sandbox import Sandbox, sandbox

NOW = 1_795_000_000  # 2026-11-18


def client_for(box: Sandbox, key: str | None = None, **options: object) -> stripe.StripeClient:
    return stripe.StripeClient(key or box.secret_key, base_addresses={"api": box.url}, **options)


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """A sandbox; the test fails if the sandbox itself crashed in it."""
    with sandbox(now=NOW) as running:
        yield running
        assert running.crashes() == []


@pytest.fixture
def client(box: Sandbox) -> stripe.StripeClient:
    return client_for(box)


@pytest.fixture
def api(client: stripe.StripeClient):
    """The official client's v1 services."""
    return client.v1


@pytest.fixture
def connect(box: Sandbox):
    """Make another official client: other key, options."""
    return lambda key=None, **options: client_for(box, key, **options).v1


@pytest.fixture
def customer(api):
    """A customer who pays with a card that works."""
    made = api.customers.create({"email": "jenny@example.com", "name": "Jenny", "source": "tok_visa"})
    method = api.payment_methods.attach("pm_card_visa", {"customer": made.id})
    return api.customers.update(made.id, {"invoice_settings": {"default_payment_method": method.id}})


@pytest.fixture
def price(api):
    """A monthly price of 20 dollars."""
    return api.prices.create(
        {"currency": "usd", "unit_amount": 2000, "recurring": {"interval": "month"}, "product_data": {"name": "Plan"}}
    )


@pytest.fixture(autouse=True)
def _quiet_stripe() -> None:
    assert "stripe" in sys.modules
    stripe.enable_telemetry = False

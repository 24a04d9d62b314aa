"""Expanding to four levels, in objects and lists, and what can't be."""

import pytest
import stripe

from tests.sandbox.test_shapes import checked


@pytest.fixture
def subscription(api, customer, price):
    return api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})


def test_four_levels(api, customer, subscription) -> None:
    """Down from a subscription to the balance transaction of its charge."""
    path = "latest_invoice.payments.data.payment.payment_intent.latest_charge"
    found = api.subscriptions.retrieve(subscription.id, {"expand": ["customer", "latest_invoice.payments"]})
    assert found.customer.id == customer.id
    assert found.latest_invoice.payments.data[0].status == "paid"
    with pytest.raises(stripe.InvalidRequestError, match="more than 4 levels"):
        api.subscriptions.retrieve(subscription.id, {"expand": [path]})
    intent = found.latest_invoice.payments.data[0].payment.payment_intent
    deep = api.payment_intents.retrieve(
        intent, {"expand": ["latest_charge.balance_transaction.source.customer", "payment_method"]}
    )
    assert deep.latest_charge.balance_transaction.source.customer.id == customer.id
    assert checked(deep.to_dict()) == []


def test_lists(api, customer, subscription) -> None:
    """Paths of lists begin with `data.`; ids in lists are expanded too."""
    found = api.charges.list({"expand": ["data.customer.default_source", "data.balance_transaction"]})
    assert found.data[0].customer.default_source.object == "card"
    assert found.data[0].balance_transaction.type == "charge"
    coupon = api.coupons.create({"percent_off": 5, "duration": "forever"})
    api.subscriptions.update(subscription.id, {"discounts": [{"coupon": coupon.id}]})
    shown = api.subscriptions.list({"expand": ["data.discounts.source.coupon", "data.items.data.price.product"]})
    assert shown.data[0].discounts[0].source.coupon.id == coupon.id
    assert shown.data[0]["items"].data[0].price.product.object == "product"
    with pytest.raises(stripe.InvalidRequestError, match=r"data\.customer"):
        api.charges.list({"expand": ["customer"]})


@pytest.mark.parametrize("path", ["amount", "nothing", "customer.nothing", "metadata", "id"])
def test_what_cannot_be_expanded(api, customer, path) -> None:
    """Scalars, unknown fields and an object's own id."""
    made = api.charges.create({"amount": 500, "currency": "usd", "customer": customer.id})
    if path == "metadata":
        api.charges.retrieve(made.id, {"expand": [path]})  # an object already: nothing to do
        return
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded") as refused:
        api.charges.retrieve(made.id, {"expand": [path]})
    assert refused.value.param == "expand"


def test_writes_expand_their_answers(api, box, customer) -> None:
    """The answer of a POST too; a bad path takes the effect back."""
    made = api.charges.create({"amount": 500, "currency": "usd", "customer": customer.id, "expand": ["customer"]})
    assert made.customer.id == customer.id
    with pytest.raises(stripe.InvalidRequestError):
        api.charges.create({"amount": 500, "currency": "usd", "customer": customer.id, "expand": ["nope"]})
    assert box.count("charge") == 1

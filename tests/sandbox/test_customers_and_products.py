"""Customers with their cards, products and prices."""

import pytest
import stripe


def test_life_of_a_customer(api, box) -> None:
    """Create, change, unset, delete; events with what was before."""
    made = api.customers.create(
        {"email": "a@example.com", "metadata": {"a": "1", "b": "2"}, "address": {"city": "Oslo"}}
    )
    assert (made.metadata.to_dict(), made.address.city, made.address.line1) == ({"a": "1", "b": "2"}, "Oslo", None)
    changed = api.customers.update(made.id, {"metadata": {"a": "", "c": "3"}, "name": "Ann", "address": ""})
    assert changed.metadata.to_dict() == {"b": "2", "c": "3"}
    assert (changed.name, changed.address, changed.email) == ("Ann", None, "a@example.com")
    event = api.events.list({"type": "customer.updated"}).data[0]
    assert event.data.previous_attributes.to_dict() == {
        "address": made.address.to_dict(),
        "metadata": {"a": "1", "c": None},
        "name": None,
    }
    assert event.data.object["name"] == "Ann"
    assert event.request.id.startswith("req_")
    assert event.request.idempotency_key
    assert api.customers.update(made.id, {"metadata": ""}).metadata.to_dict() == {}
    assert api.customers.delete(made.id).deleted is True
    assert api.customers.retrieve(made.id).deleted is True
    assert api.customers.list().data == []
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        api.customers.update(made.id, {"name": "x"})
    kinds = [each.type for each in api.events.list().data]
    assert kinds == ["customer.deleted", "customer.updated", "customer.updated", "customer.created"]


def test_nothing_changed_no_event(api, box) -> None:
    """A change to what is already so writes no event."""
    made = api.customers.create({"name": "Ann"})
    api.customers.update(made.id, {"name": "Ann"})
    assert [each.type for each in api.events.list().data] == ["customer.created"]


def test_cards_of_a_customer(api, customer) -> None:
    """Sources: the first is the default, the next takes over when it goes."""
    second = api.customers.payment_sources.create(customer.id, {"source": "tok_amex"})
    assert (second.brand, second.last4, second.customer) == ("American Express", "0005", customer.id)
    assert len(api.customers.payment_sources.list(customer.id).data) == 2
    api.customers.update(customer.id, {"default_source": second.id})
    api.customers.payment_sources.update(customer.id, second.id, {"name": "Jenny"})
    assert api.customers.payment_sources.retrieve(customer.id, second.id).name == "Jenny"
    api.customers.payment_sources.delete(customer.id, second.id)
    assert api.customers.retrieve(customer.id).default_source == customer.default_source
    with pytest.raises(stripe.CardError):
        api.customers.payment_sources.create(customer.id, {"source": "tok_chargeDeclined"})
    with pytest.raises(stripe.InvalidRequestError, match="No such source"):
        api.customers.update(customer.id, {"default_source": "card_nope"})


def test_deleting_ends_everything(api, customer, price) -> None:
    """Subscriptions end with their customer; status=canceled still lists them."""
    subscription = api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    api.customers.delete(customer.id)
    assert api.subscriptions.list().data == []
    assert [each.id for each in api.subscriptions.list({"status": "canceled"}).data] == [subscription.id]


def test_products_and_prices(api) -> None:
    """Chosen ids, default prices, lookup keys, archiving, and what can't be deleted."""
    lamp = api.products.create(
        {
            "id": "lamp",
            "name": "Lamp",
            "url": "https://lamp.example/",
            "default_price_data": {"currency": "eur", "unit_amount": 900},
        }
    )
    assert lamp.id == "lamp"
    assert api.prices.retrieve(lamp.default_price).unit_amount == 900
    with pytest.raises(stripe.InvalidRequestError) as twice:
        api.products.create({"id": "lamp", "name": "Lamp"})
    assert twice.value.code == "resource_already_exists"
    with pytest.raises(stripe.InvalidRequestError, match="cannot be deleted"):
        api.products.delete("lamp")
    bare = api.products.create({"name": "Bare", "shippable": True})
    assert api.products.delete(bare.id).deleted is True
    archived = api.products.update("lamp", {"active": False})
    assert archived.active is False
    assert [each.id for each in api.products.list({"active": False}).data] == ["lamp"]
    assert api.products.list({"ids": ["lamp", "nope"]}).data[0].id == "lamp"
    key = api.prices.create({"product": "lamp", "currency": "usd", "unit_amount": 1, "lookup_key": "k"})
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        api.prices.create({"product": "lamp", "currency": "usd", "unit_amount": 2, "lookup_key": "k"})
    moved = api.prices.create(
        {
            "product": "lamp",
            "currency": "usd",
            "unit_amount_decimal": "0.5",
            "lookup_key": "k",
            "transfer_lookup_key": True,
        }
    )
    assert api.prices.retrieve(key.id).lookup_key is None
    assert [each.id for each in api.prices.list({"lookup_keys": ["k"]}).data] == [moved.id]
    assert (moved.unit_amount, str(moved.unit_amount_decimal)) == (None, "0.5")
    recurring = api.prices.create(
        {"product": "lamp", "currency": "usd", "unit_amount": 5, "recurring": {"interval": "year"}}
    )
    assert [each.id for each in api.prices.list({"type": "recurring"}).data] == [recurring.id]
    assert [each.id for each in api.prices.list({"recurring": {"interval": "year"}}).data] == [recurring.id]
    with pytest.raises(stripe.InvalidRequestError, match="`product` or `product_data`"):
        api.prices.create({"currency": "usd", "unit_amount": 5})

"""Coupons, promotion codes and discounts, exact to the last unit."""

from fractions import Fraction

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as some

from spojit_stripe.sandbox.discounts import amount_of, split
from tests.sandbox.test_shapes import checked

DAY = 86_400


def invoice_of(api, customer, amounts, **params):
    for amount in amounts:
        api.invoice_items.create({"customer": customer.id, "amount": amount, "currency": "usd"})
    return api.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include", **params})


def test_life(api, box) -> None:
    """Created with a chosen id, renamed, listed, deleted to a stub."""
    made = api.coupons.create({"id": "FALL", "percent_off": 12.5, "name": "Fall", "metadata": {"a": "1"}})
    assert (made.percent_off, made.duration, made.valid, made.times_redeemed) == (12.5, "once", True, 0)
    assert api.coupons.update("FALL", {"name": "Autumn"}).name == "Autumn"
    other = api.coupons.create({"amount_off": 500, "currency": "USD", "duration": "forever"})
    assert (other.amount_off, other.currency, len(other.id)) == (500, "usd", 8)
    assert [each.id for each in api.coupons.list().data] == [other.id, "FALL"]
    assert api.coupons.delete("FALL").deleted
    with pytest.raises(stripe.InvalidRequestError, match="No such coupon: 'FALL'"):
        api.coupons.retrieve("FALL")
    kinds = [each.type for each in reversed(api.events.list({"type": "coupon.*"}).data)]
    assert kinds == ["coupon.created", "coupon.updated", "coupon.created", "coupon.deleted"]
    assert api.events.list({"type": "coupon.updated"}).data[0].data.previous_attributes.to_dict() == {"name": "Fall"}
    assert [each for body in box.objects("coupon") for each in checked(body)] == []


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({}, "percent_off"),
        ({"percent_off": 10, "amount_off": 5, "currency": "usd"}, "percent_off"),
        ({"percent_off": 101}, "percent_off"),
        ({"percent_off": 0}, "percent_off"),
        ({"amount_off": 5}, "currency"),
        ({"amount_off": 0, "currency": "usd"}, "amount_off"),
        ({"percent_off": 10, "duration": "repeating"}, "duration_in_months"),
        ({"percent_off": 10, "duration_in_months": 2}, "duration_in_months"),
        ({"percent_off": 10, "duration": "always"}, "duration"),
        ({"percent_off": 10, "redeem_by": 1_000_000_000}, "redeem_by"),
        ({"percent_off": "ten"}, "percent_off"),
        ({"percent_off": 10, "applies_to": {"products": ["prod_none"]}}, "applies_to[products]"),
    ],
)
def test_what_is_refused(api, params, param) -> None:
    """Each wrong parameter by its name."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.coupons.create(params)
    assert refused.value.param == param


def test_an_id_is_taken(api) -> None:
    """A coupon's id is given once."""
    api.coupons.create({"id": "ONE", "percent_off": 10})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.coupons.create({"id": "ONE", "percent_off": 10})
    assert refused.value.code == "resource_already_exists"


def test_an_invoice_with_discounts(api, box, customer) -> None:
    """Percent, then amount; rounded half up; the lines' shares add up; paid to the last cent."""
    api.coupons.create({"id": "THIRD", "percent_off": 33.33})
    api.coupons.create({"id": "FIVE", "amount_off": 5, "currency": "usd"})
    invoice = invoice_of(api, customer, [101, 99, 50], discounts=[{"coupon": "THIRD"}, {"coupon": "FIVE"}])
    assert [each.amount for each in invoice.total_discount_amounts] == [83, 5]
    assert (invoice.subtotal, invoice.total, invoice.amount_due) == (250, 162, 162)
    lines = api.invoices.line_items.list(invoice.id).data
    assert sum(each.amount for line in lines for each in line.discount_amounts) == 88
    assert api.coupons.retrieve("THIRD").times_redeemed == 1
    shown = api.invoices.retrieve(invoice.id, {"expand": ["discounts.source.coupon", "discounts.customer"]})
    assert shown.discounts[0].source.coupon.percent_off == 33.33
    assert shown.discounts[0].customer.id == customer.id
    assert shown.discounts[0].invoice == invoice.id
    paid = api.invoices.pay(invoice.id)
    assert (paid.status, paid.amount_paid) == ("paid", 162)
    for kind in ("invoice", "discount", "event", "coupon"):
        assert [each for body in box.objects(kind) for each in checked(body)] == []


def test_discounts_of_a_draft_change(api, customer) -> None:
    """Discounts of a draft are kept, replaced and taken away; never below zero."""
    api.coupons.create({"id": "ALL", "amount_off": 9999, "currency": "usd"})
    api.coupons.create({"id": "TEN", "percent_off": 10})
    invoice = invoice_of(api, customer, [700], discounts=[{"coupon": "TEN"}])
    assert invoice.total == 630
    both = api.invoices.update(invoice.id, {"discounts": [{"discount": invoice.discounts[0]}, {"coupon": "ALL"}]})
    assert (both.total, [each.amount for each in both.total_discount_amounts]) == (0, [70, 630])
    assert api.invoices.update(invoice.id, {"discounts": ""}).total == 700
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.invoices.update(invoice.id, {"discounts": [{"coupon": "NONE"}]})
    assert (refused.value.code, refused.value.param) == ("resource_missing", "discounts[0][coupon]")


def test_what_may_not_be_discounted(api, customer) -> None:
    """Lines that are not discountable, and those of other products, keep their price."""
    lamp, chair = (api.products.create({"name": name}) for name in ("Lamp", "Chair"))
    coupon = api.coupons.create({"percent_off": 50, "applies_to": {"products": [lamp.id]}})
    for product in (lamp, chair):
        data = {"currency": "usd", "product": product.id, "unit_amount_decimal": "100"}
        api.invoice_items.create({"customer": customer.id, "price_data": data})
    api.invoice_items.create({"customer": customer.id, "amount": 40, "currency": "usd", "discountable": False})
    invoice = invoice_of(api, customer, [], discounts=[{"coupon": coupon.id}])
    assert (invoice.subtotal, invoice.total) == (240, 190)
    shown = api.coupons.retrieve(coupon.id, {"expand": ["applies_to"]})
    assert shown.applies_to.products == [lamp.id]
    assert "applies_to" not in api.coupons.retrieve(coupon.id)


def test_used_up_and_too_late(api, box, customer) -> None:
    """A coupon ends by redemptions and by time."""
    api.coupons.create({"id": "ONCE", "percent_off": 10, "max_redemptions": 1})
    invoice_of(api, customer, [700], discounts=[{"coupon": "ONCE"}])
    assert not api.coupons.retrieve("ONCE").valid
    api.coupons.create({"id": "SOON", "percent_off": 10, "redeem_by": box.now + DAY})
    box.advance(DAY)
    assert not api.coupons.retrieve("SOON").valid
    for each in ("ONCE", "SOON"):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            api.invoices.create({"customer": customer.id, "discounts": [{"coupon": each}]})
        assert refused.value.code == "coupon_expired"
    api.coupons.create({"id": "EURO", "amount_off": 10, "currency": "eur"})
    with pytest.raises(stripe.InvalidRequestError, match="eur"):
        api.invoices.create({"customer": customer.id, "currency": "usd", "discounts": [{"coupon": "EURO"}]})


@pytest.mark.parametrize(
    ("duration", "totals"),
    [
        ({"duration": "once"}, [1500, 2000, 2000]),
        ({"duration": "repeating", "duration_in_months": 2}, [1500, 1500, 2000]),
        ({"duration": "forever"}, [1500, 1500, 1500]),
    ],
)
def test_durations_on_a_subscription(api, box, customer, price, duration, totals) -> None:
    """Once, for some months, or for ever."""
    coupon = api.coupons.create({"percent_off": 25, **duration})
    made = api.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price.id}], "discounts": [{"coupon": coupon.id}]}
    )
    assert len(made.discounts) == (0 if duration["duration"] == "once" else 1)
    box.advance(31 * DAY)
    box.advance(31 * DAY)
    found = [each.total for each in reversed(api.invoices.list({"subscription": made.id}).data)]
    assert found == totals
    assert [each.amount_paid for each in api.invoices.list({"subscription": made.id, "status": "paid"}).data]


def test_discounts_of_a_subscription_end(api, customer, price) -> None:
    """By update with an empty value, and by DELETE."""
    coupon = api.coupons.create({"percent_off": 25, "duration": "forever"})
    made = api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    given = api.subscriptions.update(made.id, {"discounts": [{"coupon": coupon.id}], "expand": ["discounts"]})
    assert given.discounts[0].subscription == made.id
    assert api.subscriptions.update(made.id, {"discounts": ""}).discounts == []
    api.subscriptions.update(made.id, {"discounts": [{"coupon": coupon.id}]})
    assert api.subscriptions.delete_discount(made.id).deleted
    assert api.subscriptions.retrieve(made.id).discounts == []
    with pytest.raises(stripe.InvalidRequestError, match="No such discount"):
        api.subscriptions.delete_discount(made.id)
    kinds = [each.type for each in reversed(api.events.list({"type": "customer.discount.*"}).data)]
    assert kinds == ["customer.discount.created", "customer.discount.deleted"] * 2


def test_a_discount_of_a_customer(api, box, customer) -> None:
    """Given as in the Dashboard; invoices inherit it; `once` is for one invoice."""
    coupon = api.coupons.create({"percent_off": 50})
    box.discount(customer.id, coupon.id)
    assert api.customers.retrieve(customer.id).discount.source.coupon == coupon.id
    invoice = invoice_of(api, customer, [700])
    assert invoice.total == 350
    api.invoices.finalize_invoice(invoice.id)
    assert api.customers.retrieve(customer.id).discount is None
    assert invoice_of(api, customer, [700]).total == 700
    again = api.coupons.create({"percent_off": 50, "duration": "forever"})
    box.discount(customer.id, again.id)
    assert invoice_of(api, customer, [700], discounts="").total == 700
    assert api.customers.delete_discount(customer.id).deleted
    assert api.customers.retrieve(customer.id).discount is None
    with pytest.raises(stripe.InvalidRequestError):
        api.customers.delete_discount(customer.id)


def test_promotion_codes(api, box, customer) -> None:
    """A code for a coupon: for one customer, so many times, until a moment; off and on."""
    coupon = api.coupons.create({"percent_off": 10, "duration": "forever"})
    promotion = {"type": "coupon", "coupon": coupon.id}
    code = api.promotion_codes.create({"promotion": promotion, "code": "HELLO", "max_redemptions": 1})
    assert [each.id for each in api.promotion_codes.list({"code": "hello"}).data] == [code.id]
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        api.promotion_codes.create({"promotion": promotion, "code": "hello"})
    invoice = invoice_of(api, customer, [700], discounts=[{"promotion_code": code.id}])
    assert invoice.total == 630
    assert api.promotion_codes.retrieve(code.id, {"expand": ["promotion.coupon"]}).promotion.coupon.id == coupon.id
    used = api.promotion_codes.retrieve(code.id)
    assert (used.active, used.times_redeemed) == (False, 1)
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        api.invoices.create({"customer": customer.id, "discounts": [{"promotion_code": code.id}]})
    theirs = api.promotion_codes.create({"promotion": promotion, "customer": customer.id, "expires_at": box.now + DAY})
    other = api.customers.create({})
    with pytest.raises(stripe.InvalidRequestError, match="this customer"):
        api.invoices.create({"customer": other.id, "discounts": [{"promotion_code": theirs.id}]})
    assert not api.promotion_codes.update(theirs.id, {"active": False}).active
    assert api.promotion_codes.update(theirs.id, {"active": True}).active
    box.advance(DAY)
    assert not api.promotion_codes.retrieve(theirs.id).active
    assert [each for body in box.objects("promotion_code") for each in checked(body)] == []


@given(some.lists(some.integers(0, 10**9), max_size=8), some.integers(0, 10**6))
def test_shares_add_up(weights, thousandths) -> None:
    """Shares are whole, add up, and none is more than its weight."""
    percent = min(thousandths / 10_000, 100.0)
    base = sum(weights)
    amount = amount_of({"percent_off": percent}, base)
    assert abs(Fraction(str(percent)) * base / 100 - amount) <= Fraction(1, 2)
    shares = split(amount, weights)
    assert sum(shares) == (amount if base else 0)
    assert all(0 <= share <= weight for share, weight in zip(shares, weights, strict=True))

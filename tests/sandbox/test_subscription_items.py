"""The whole life of subscriptions: items, changes, pauses, previews."""

import pytest
import stripe

from tests.sandbox.test_shapes import checked

DAY = 86_400


@pytest.fixture
def other(api, price):
    """A second monthly price, of 50 dollars."""
    return api.prices.create(
        {"currency": "usd", "unit_amount": 5000, "recurring": {"interval": "month"}, "product_data": {"name": "More"}}
    )


@pytest.fixture
def subscription(api, customer, price):
    return api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})


def pending(api, customer) -> list[int]:
    return [each.amount for each in api.invoice_items.list({"customer": customer.id, "pending": True}).data]


def test_items(api, box, customer, subscription, other) -> None:
    """Added, retrieved, changed, listed, deleted; each change is prorated to the second."""
    period = subscription["items"].data[0]
    box.advance((period.current_period_end - period.current_period_start) // 2)
    made = api.subscription_items.create({"subscription": subscription.id, "price": other.id, "metadata": {"a": "1"}})
    assert (made.quantity, made.price.id, made.current_period_end) == (1, other.id, period.current_period_end)
    assert pending(api, customer) == [2500]
    changed = api.subscription_items.update(made.id, {"quantity": 3})
    assert changed.quantity == 3
    assert sum(pending(api, customer)) == 7500
    assert api.subscription_items.retrieve(made.id).metadata.to_dict() == {"a": "1"}
    assert len(api.subscription_items.list({"subscription": subscription.id}).data) == 2
    gone = api.subscription_items.delete(made.id)
    assert gone.deleted
    assert sum(pending(api, customer)) == 0
    assert [each.id for each in api.subscription_items.list({"subscription": subscription.id}).data] == [period.id]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.subscription_items.retrieve(made.id)
    assert refused.value.http_status == 404
    with pytest.raises(stripe.InvalidRequestError, match="at least one active item"):
        api.subscription_items.delete(period.id)
    updated = api.events.list({"type": "customer.subscription.updated"}).data
    assert len(updated) == 4  # the first is the first payment
    assert "items" in updated[0].data.previous_attributes
    assert [each for body in box.objects("subscription") for each in checked(body)] == []


def test_upgrade_is_invoiced_at_once(api, box, customer, subscription, other) -> None:
    """Credit for the old price, debit for the new one, in one invoice that is paid."""
    item = subscription["items"].data[0]
    box.advance(10 * DAY)
    api.subscription_items.update(item.id, {"price": other.id, "proration_behavior": "always_invoice"})
    invoice = api.invoices.list({"subscription": subscription.id}).data[0]
    left, whole = 20 * DAY, 30 * DAY
    credit, debit = (2 * 2000 * left + whole) // (2 * whole), (2 * 5000 * left + whole) // (2 * whole)
    assert sorted(each.amount for each in invoice.lines.data) == [-credit, debit]
    assert (invoice.status, invoice.total, invoice.billing_reason) == ("paid", debit - credit, "subscription_update")
    assert pending(api, customer) == []


def test_changes_without_proration(api, box, customer, subscription) -> None:
    """`none` changes the next invoice only."""
    box.advance(DAY)
    item = subscription["items"].data[0]
    api.subscription_items.update(item.id, {"quantity": 2, "proration_behavior": "none"})
    assert pending(api, customer) == []
    box.advance(31 * DAY)
    assert api.invoices.list({"subscription": subscription.id}).data[0].total == 4000


def test_what_items_refuse(api, subscription, other, price) -> None:
    """What can't be done is said."""
    item = subscription["items"].data[0]
    yearly = api.prices.create(
        {"currency": "usd", "unit_amount": 5000, "recurring": {"interval": "year"}, "product": price.product}
    )
    with pytest.raises(stripe.APIError, match="billing interval") as refused:
        api.subscription_items.update(item.id, {"price": yearly.id})
    assert refused.value.http_status == 501
    with pytest.raises(stripe.APIError, match="tax_rates"):
        api.subscription_items.create({"subscription": subscription.id, "price": other.id, "tax_rates": ["txr_1"]})
    with pytest.raises(stripe.APIError, match="discounts"):
        api.subscriptions.update(subscription.id, {"items": [{"id": item.id, "discounts": [{"coupon": "A"}]}]})
    with pytest.raises(stripe.InvalidRequestError, match="Missing required param"):
        api.subscription_items.create({"subscription": subscription.id})
    api.subscriptions.cancel(subscription.id)
    with pytest.raises(stripe.InvalidRequestError, match="has ended"):
        api.subscription_items.update(item.id, {"quantity": 2})


def test_end_of_the_period(api, box, subscription) -> None:
    """Canceled at the end, taken back, and canceled again; the end comes by itself."""
    stopping = api.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    assert (stopping.status, stopping.cancel_at) == ("active", stopping["items"].data[0].current_period_end)
    assert api.subscriptions.update(subscription.id, {"cancel_at_period_end": False}).cancel_at is None
    api.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    box.advance(31 * DAY)
    ended = api.subscriptions.retrieve(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", stopping.cancel_at)
    assert ended.cancellation_details.reason == "cancellation_requested"
    assert len(api.invoices.list({"subscription": subscription.id}).data) == 1


def test_incomplete_to_active_or_expired(api, box, customer, price) -> None:
    """A first payment that waits for the customer: paid in time, or never."""
    params = {"customer": customer.id, "items": [{"price": price.id}], "payment_behavior": "default_incomplete"}
    first, second = (api.subscriptions.create(params) for _ in range(2))
    assert first.status == "incomplete"
    api.invoices.pay(first.latest_invoice)
    assert api.subscriptions.retrieve(first.id).status == "active"
    box.advance(23 * 3_600)
    assert api.subscriptions.retrieve(second.id).status == "incomplete_expired"
    assert api.invoices.retrieve(second.latest_invoice).status == "void"


def test_pause_and_resume_anew(api, box, customer, subscription) -> None:
    """A pause credits the rest; no periods go by; resuming begins a new one and charges it."""
    box.advance(15 * DAY)
    paused = api.subscriptions.pause(subscription.id)
    assert paused.status == "paused"
    assert paused.status_details.paused.subscription.type == "pause_requested"
    assert pending(api, customer) == [-1000]
    box.advance(90 * DAY)
    assert len(api.invoices.list({"subscription": subscription.id}).data) == 1
    resumed = api.subscriptions.resume(subscription.id)
    assert (resumed.status, resumed.status_details) == ("active", None)
    assert resumed["items"].data[0].current_period_start == box.now == resumed.billing_cycle_anchor
    invoice = api.invoices.retrieve(resumed.latest_invoice)
    assert (invoice.status, invoice.total) == ("paid", 1000)
    box.advance(31 * DAY + 7200)
    assert len(api.invoices.list({"subscription": subscription.id}).data) == 3
    kinds = [each["type"] for each in box.objects("event")]
    assert {"customer.subscription.paused", "customer.subscription.resumed"} <= set(kinds)
    with pytest.raises(stripe.InvalidRequestError, match="paused"):
        api.subscriptions.resume(subscription.id)
    assert [each for body in box.objects("subscription") for each in checked(body)] == []


def test_pause_and_resume_in_rhythm(api, box, customer, subscription) -> None:
    """With the old anchor, the rest of the running period is owed."""
    box.advance(10 * DAY)
    api.subscriptions.pause(subscription.id, {"bill_for": {"unused_time_from": {"type": "none"}}})
    assert pending(api, customer) == []
    box.advance(5 * DAY)
    resumed = api.subscriptions.resume(
        subscription.id, {"billing_cycle_anchor": {"type": "unchanged"}, "proration_behavior": "none"}
    )
    assert resumed.status == "active"
    assert resumed["items"].data[0].current_period_end == subscription["items"].data[0].current_period_end
    api.subscriptions.pause(subscription.id)
    box.advance(40 * DAY)
    late = api.subscriptions.resume(
        subscription.id, {"billing_cycle_anchor": {"type": "unchanged"}, "proration_behavior": "always_invoice"}
    )
    assert late["items"].data[0].current_period_end > box.now
    assert api.invoices.retrieve(late.latest_invoice).billing_reason == "subscription_update"


def test_resuming_that_is_not_paid(api, box, customer, subscription) -> None:
    """Paused until it is paid, then past its time; or past due when that was asked."""
    method = api.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
    api.subscriptions.pause(subscription.id, {"bill_for": {"unused_time_from": {"type": "none"}}})
    waiting = api.subscriptions.resume(subscription.id, {"payment_behavior": "resume_on_payment_success"})
    assert waiting.status == "paused"
    box.advance(23 * 3_600)
    assert api.invoices.retrieve(waiting.latest_invoice).status == "void"
    again = api.subscriptions.resume(subscription.id, {"payment_behavior": "resume_on_payment_success"})
    api.invoices.pay(again.latest_invoice, {"payment_method": "pm_card_visa"})
    assert api.subscriptions.retrieve(subscription.id).status == "active"
    api.subscriptions.pause(subscription.id, {"bill_for": {"unused_time_from": {"type": "none"}}})
    assert api.subscriptions.resume(subscription.id).status == "past_due"


def test_paused_collection_resumes(api, box, subscription) -> None:
    """`pause_collection` ends by itself."""
    api.subscriptions.update(
        subscription.id, {"pause_collection": {"behavior": "void", "resumes_at": box.now + 40 * DAY}}
    )
    box.advance(31 * DAY)
    assert api.invoices.list({"subscription": subscription.id}).data[0].status == "void"
    box.advance(9 * DAY)
    assert api.subscriptions.retrieve(subscription.id).pause_collection is None


def test_previews(api, box, customer, subscription, price, other) -> None:
    """What the next invoice would be; nothing of it stays."""
    before = (box.count("invoice"), box.count("event"), box.count("invoiceitem"), box.count("subscription"))
    nothing = {"customer": customer.id}
    assert api.invoices.create_preview(nothing).total == 0
    upcoming = api.invoices.create_preview({"subscription": subscription.id})
    assert (upcoming.total, upcoming.status, upcoming.billing_reason) == (2000, "draft", "upcoming")
    assert upcoming.id.startswith("upcoming_in_")
    item = subscription["items"].data[0]
    box.advance(10 * DAY)
    change = {"items": [{"id": item.id, "price": other.id}], "proration_behavior": "always_invoice"}
    now = api.invoices.create_preview({"subscription": subscription.id, "subscription_details": change})
    assert sorted(each.amount for each in now.lines.data) == [-1333, 3333]
    coupon = api.coupons.create({"percent_off": 50})
    first = api.invoices.create_preview(
        {
            "customer": customer.id,
            "subscription_details": {"items": [{"price": price.id, "quantity": 3}]},
            "discounts": [{"coupon": coupon.id}],
            "invoice_items": [{"amount": 500, "currency": "usd"}],
        }
    )
    assert first.subtotal == 6500
    assert first.total == first.subtotal // 2
    assert checked(first.to_dict()) == []
    after = (box.count("invoice"), box.count("event") - 1, box.count("invoiceitem"), box.count("subscription"))
    assert after == before
    assert api.coupons.retrieve(coupon.id).times_redeemed == 0
    api.subscription_items.update(item.id, {"price": other.id, "proration_behavior": "always_invoice"})
    assert api.invoices.list({"subscription": subscription.id}).data[0].total == now.total
    with pytest.raises(stripe.InvalidRequestError, match="does not preview"):
        api.invoices.create_preview({"customer": customer.id, "subscription_details": {"cancel_now": True}})
    with pytest.raises(stripe.APIError, match="schedule"):
        api.invoices.create_preview({"schedule": "sub_sched_1"})

"""Invoices, invoice items and subscriptions, now and as time passes."""

import pytest
import stripe

DAY = 86_400


@pytest.fixture
def failing(api):
    """A customer whose card fails when it is charged."""
    made = api.customers.create({"email": "fails@example.com"})
    method = api.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": made.id})
    return api.customers.update(made.id, {"invoice_settings": {"default_payment_method": method.id}})


def draft(api, customer, **params):
    api.invoice_items.create({"customer": customer.id, "amount": 700, "currency": "usd", "description": "Extra"})
    return api.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include", **params})


def test_from_draft_to_paid(api, customer) -> None:
    """An invoice with a pending item, finalized with its number, and paid by a payment intent."""
    invoice = draft(api, customer)
    assert (invoice.status, invoice.amount_due, invoice.number, len(invoice.lines.data)) == ("draft", 700, None, 1)
    final = api.invoices.finalize_invoice(invoice.id)
    assert (final.status, final.number) == ("open", f"{customer.invoice_prefix}-0001")
    paid = api.invoices.pay(invoice.id, {"expand": ["payments.data.payment.payment_intent"]})
    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 700, 0)
    intent = paid.payments.data[0].payment.payment_intent
    assert (intent.status, intent.amount, intent.customer) == ("succeeded", 700, customer.id)
    assert api.invoice_payments.list({"invoice": invoice.id}).data[0].status == "paid"
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        api.invoices.pay(invoice.id)
    with pytest.raises(stripe.InvalidRequestError, match="already finalized"):
        api.invoices.finalize_invoice(invoice.id)
    kinds = [each.type for each in api.events.list({"type": "invoice.*"}).data]
    assert kinds == ["invoice.payment_succeeded", "invoice.paid", "invoice.finalized", "invoice.created"]


def test_default_is_to_leave_pending_items(api, customer) -> None:
    """Without being asked, an invoice takes no pending items; with nothing due it is paid at once."""
    api.invoice_items.create({"customer": customer.id, "amount": 700, "currency": "usd"})
    invoice = api.invoices.create({"customer": customer.id})
    assert invoice.lines.data == []
    assert api.invoices.finalize_invoice(invoice.id).status == "paid"
    assert len(api.invoice_items.list({"pending": True}).data) == 1


def test_lines(api, customer) -> None:
    """Lines by amount and by price; more than ten are paged; deleting an item takes its line."""
    product = api.products.create({"name": "Lamp"})
    once = api.prices.create({"product": product.id, "currency": "usd", "unit_amount": 250})
    invoice = api.invoices.create({"customer": customer.id, "currency": "usd"})
    item = api.invoice_items.create(
        {"customer": customer.id, "invoice": invoice.id, "pricing": {"price": once.id}, "quantity": 3}
    )
    assert (item.amount, item.description) == (750, "Lamp")
    lines = [{"amount": 100, "description": f"Line {number}"} for number in range(12)]
    full = api.invoices.add_lines(invoice.id, {"lines": lines, "invoice_metadata": {"a": "b"}})
    assert (full.amount_due, len(full.lines.data), full.lines.has_more) == (1950, 10, True)
    assert full.metadata["a"] == "b"
    assert len(list(api.invoices.line_items.list(invoice.id, {"limit": 5}).auto_paging_iter())) == 13
    api.invoice_items.update(item.id, {"quantity": 1})
    assert api.invoices.retrieve(invoice.id).amount_due == 1450
    api.invoice_items.delete(item.id)
    assert api.invoices.retrieve(invoice.id).amount_due == 1200
    assert api.invoices.delete(invoice.id).deleted is True
    assert len(api.invoice_items.list({"pending": True, "limit": 100}).data) == 12


def test_other_ends(api, customer) -> None:
    """Void, uncollectible, out of band, sent; and what an invoice refuses in each state."""
    voided = api.invoices.finalize_invoice(draft(api, customer).id)
    assert api.invoices.void_invoice(voided.id).status == "void"
    given_up = api.invoices.finalize_invoice(draft(api, customer).id)
    assert api.invoices.mark_uncollectible(given_up.id).status == "uncollectible"
    assert api.invoices.pay(draft(api, customer).id, {"paid_out_of_band": True}).status == "paid"
    sent = draft(api, customer, collection_method="send_invoice", days_until_due=30)
    assert sent.due_date == sent.created + 30 * DAY
    assert api.invoices.send_invoice(sent.id).status == "open"
    with pytest.raises(stripe.InvalidRequestError, match="days_until_due"):
        api.invoices.create({"customer": customer.id, "collection_method": "send_invoice"})
    with pytest.raises(stripe.InvalidRequestError) as fixed:
        api.invoices.update(sent.id, {"description": "late"})
    assert fixed.value.code == "invoice_not_editable"
    with pytest.raises(stripe.InvalidRequestError, match="draft"):
        api.invoices.delete(sent.id)
    with pytest.raises(stripe.InvalidRequestError, match="Voided"):
        api.invoices.pay(voided.id)
    assert {each.status for each in api.invoices.list().data} == {"void", "uncollectible", "paid", "open"}
    assert len(api.invoices.list({"due_date": {"gte": sent.due_date}, "status": "open"}).data) == 1


def test_an_invoice_that_is_not_paid(api, failing, customer) -> None:
    """A declined payment leaves the invoice open and says why; no payment method says so."""
    invoice = draft(api, failing)
    with pytest.raises(stripe.CardError) as declined:
        api.invoices.pay(invoice.id)
    assert declined.value.error.payment_intent.status == "requires_payment_method"
    after = api.invoices.retrieve(invoice.id)
    assert (after.status, after.attempt_count) == ("open", 1)
    assert api.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"}).status == "paid"
    bare = api.customers.create()
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source") as nothing:
        api.invoices.pay(draft(api, bare).id)
    assert nothing.value.code == "resource_missing"


def test_auto_advance(api, box, customer) -> None:
    """An automatic draft is finalized and collected after an hour."""
    invoice = draft(api, customer, auto_advance=True)
    box.advance(3700)
    assert api.invoices.retrieve(invoice.id).status == "paid"


def test_balances_are_used(api, customer) -> None:
    """A credit balance lowers what is due when the invoice is finalized."""
    api.customers.update(customer.id, {"balance": -300})
    final = api.invoices.finalize_invoice(draft(api, customer).id)
    assert (final.total, final.starting_balance, final.amount_due, final.ending_balance) == (700, -300, 400, 0)


# Subscriptions


def test_subscription_and_its_invoices(api, box, customer, price) -> None:
    """The first invoice is paid at once; each month brings another."""
    made = api.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price.id, "quantity": 2}], "expand": ["latest_invoice"]}
    )
    assert (made.status, made.latest_invoice.status, made.latest_invoice.amount_paid) == ("active", "paid", 4000)
    assert made.latest_invoice.billing_reason == "subscription_create"
    item = made["items"].data[0]
    assert 28 * DAY <= item.current_period_end - item.current_period_start <= 31 * DAY
    box.advance(65 * DAY)
    invoices = api.invoices.list({"subscription": made.id}).data
    assert [each.billing_reason for each in invoices] == ["subscription_cycle"] * 2 + ["subscription_create"]
    assert {each.status for each in invoices} == {"paid"}
    assert [each.created for each in invoices] == sorted((each.created for each in invoices), reverse=True)


def test_trials(api, box, customer, price) -> None:
    """A trial begins with an invoice over nothing and ends with a paid one."""
    made = api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}], "trial_period_days": 7})
    assert (made.status, made.trial_end - made.trial_start) == ("trialing", 7 * DAY)
    assert api.invoices.list().data[0].total == 0
    box.advance(7 * DAY + 7200)
    assert api.subscriptions.retrieve(made.id).status == "active"
    assert api.invoices.list().data[0].amount_paid == 2000


def test_failing_renewal(api, box, failing, price) -> None:
    """A renewal that fails makes the subscription past due, and in the end canceled."""
    made = api.subscriptions.create({"customer": failing.id, "items": [{"price": price.id}], "trial_period_days": 7})
    box.advance(8 * DAY)
    assert api.subscriptions.retrieve(made.id).status == "past_due"
    assert [each.id for each in api.subscriptions.list({"status": "past_due"}).data] == [made.id]
    box.advance(20 * DAY)
    ended = api.subscriptions.retrieve(made.id)
    assert (ended.status, ended.cancellation_details.reason) == ("canceled", "payment_failed")


@pytest.mark.parametrize(
    ("behavior", "status"),
    [("allow_incomplete", "incomplete"), ("default_incomplete", "incomplete"), ("error_if_incomplete", None)],
)
def test_first_payment_fails(api, box, failing, price, behavior, status) -> None:
    """What a failing first payment does, by `payment_behavior`."""
    params = {"customer": failing.id, "items": [{"price": price.id}], "payment_behavior": behavior}
    if status is None:
        with pytest.raises(stripe.CardError):
            api.subscriptions.create(params)
        assert box.count("subscription") == 0
        assert box.count("invoice") == 0
        return
    made = api.subscriptions.create(params)
    assert made.status == status
    box.advance(DAY)
    assert api.subscriptions.retrieve(made.id).status == "incomplete_expired"


def test_incomplete_paid_later(api, box, customer, price) -> None:
    """`default_incomplete` waits for the first invoice's payment intent to be confirmed."""
    params = {"customer": customer.id, "items": [{"price": price.id}], "payment_behavior": "default_incomplete"}
    made = api.subscriptions.create(
        {**params, "expand": ["latest_invoice.confirmation_secret", "latest_invoice.payments"]}
    )
    intent = made.latest_invoice.payments.data[0].payment.payment_intent
    assert made.latest_invoice.confirmation_secret.client_secret.startswith(intent)
    api.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})
    assert api.subscriptions.retrieve(made.id).status == "active"
    assert api.invoices.retrieve(made.latest_invoice.id).status == "paid"


def test_changes_are_prorated(api, box, customer, price) -> None:
    """Changed items leave a credit and a debit, by the second; `always_invoice` collects them now."""
    made = api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    item = made["items"].data[0]
    half = (item.current_period_end - item.current_period_start) // 2
    box.advance(half)
    api.subscriptions.update(made.id, {"items": [{"id": item.id, "quantity": 3}]})
    pending = api.invoice_items.list({"pending": True}).data
    assert sorted(each.amount for each in pending) == [-1000, 3000]
    assert all(each.proration for each in pending)
    api.subscriptions.update(
        made.id, {"items": [{"id": item.id, "quantity": 4}], "proration_behavior": "always_invoice"}
    )
    latest = api.invoices.list({"limit": 1}).data[0]
    assert (latest.billing_reason, latest.amount_paid, latest.status) == ("subscription_update", 3000, "paid")
    api.subscriptions.update(made.id, {"items": [{"id": item.id, "quantity": 1}], "proration_behavior": "none"})
    assert api.invoice_items.list({"pending": True}).data == []


def test_ways_to_end(api, box, customer, price) -> None:
    """Now, at the end of the period, at a time; and lists by status."""
    items = [{"price": price.id}]
    now, later, timed = (api.subscriptions.create({"customer": customer.id, "items": items}) for _ in range(3))
    canceled = api.subscriptions.cancel(now.id, {"cancellation_details": {"comment": "bye"}})
    assert (canceled.status, canceled.cancellation_details.comment) == ("canceled", "bye")
    with pytest.raises(stripe.InvalidRequestError):
        api.subscriptions.cancel(now.id)
    marked = api.subscriptions.update(later.id, {"cancel_at_period_end": True})
    assert (marked.status, marked.cancel_at_period_end, marked.cancel_at is not None) == ("active", True, True)
    api.subscriptions.update(timed.id, {"cancel_at": box.now + 5 * DAY})
    box.advance(6 * DAY)
    assert api.subscriptions.retrieve(timed.id).status == "canceled"
    assert [each.id for each in api.subscriptions.list().data] == [later.id]
    assert len(api.subscriptions.list({"status": "all"}).data) == 3
    assert len(api.subscriptions.list({"status": "ended"}).data) == 2
    box.advance(30 * DAY)
    assert api.subscriptions.list().data == []
    assert len(api.subscriptions.list({"status": "all", "price": price.id}).data) == 3
    with pytest.raises(stripe.InvalidRequestError, match="cancellation_details and metadata"):
        api.subscriptions.update(now.id, {"description": "x"})


def test_refused_subscriptions(api, customer, price) -> None:
    """One-time prices, mixed currencies and intervals, nothing to pay with, nothing to pay for."""
    create = api.subscriptions.create
    once = api.prices.create({"product": price.product, "currency": "usd", "unit_amount": 5})
    other = api.prices.create(
        {"product": price.product, "currency": "eur", "unit_amount": 5, "recurring": {"interval": "month"}}
    )
    yearly = api.prices.create(
        {"product": price.product, "currency": "usd", "unit_amount": 5, "recurring": {"interval": "year"}}
    )
    with pytest.raises(stripe.InvalidRequestError, match="type=one_time"):
        create({"customer": customer.id, "items": [{"price": once.id}]})
    with pytest.raises(stripe.InvalidRequestError, match="same `currency`"):
        create({"customer": customer.id, "items": [{"price": price.id}, {"price": other.id}]})
    with pytest.raises(stripe.InvalidRequestError, match=r"recurring.interval"):
        create({"customer": customer.id, "items": [{"price": price.id}, {"price": yearly.id}]})
    with pytest.raises(stripe.InvalidRequestError, match=r"Missing required param: items."):
        create({"customer": customer.id})
    with pytest.raises(stripe.InvalidRequestError, match="No such price: 'price_x'") as unknown:
        create({"customer": customer.id, "items": [{"price": "price_x"}]})
    assert (unknown.value.param, unknown.value.http_status) == ("items[0][price]", 400)
    bare = api.customers.create()
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        create({"customer": bare.id, "items": [{"price": price.id}]})
    sent = create(
        {"customer": bare.id, "items": [{"price": price.id}], "collection_method": "send_invoice", "days_until_due": 7}
    )
    assert sent.status == "active"

"""Credit notes on open and paid invoices: the parts add up, the money goes where it was sent."""

import pytest
import stripe

from tests.sandbox.test_payouts import ties_out
from tests.sandbox.test_shapes import checked


@pytest.fixture
def invoice(api, customer):
    """An open invoice of 3000: twice 1000, and 1000 in one line."""
    api.invoice_items.create({"customer": customer.id, "quantity": 2, "unit_amount_decimal": "1000", "currency": "usd"})
    api.invoice_items.create({"customer": customer.id, "amount": 1000, "currency": "usd"})
    made = api.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    return api.invoices.finalize_invoice(made.id)


def test_on_an_open_invoice(api, box, invoice) -> None:
    """What is still due goes down; then it is paid; voiding brings it back."""
    note = api.credit_notes.create({"invoice": invoice.id, "amount": 500, "reason": "order_change", "memo": "Sorry"})
    assert (note.total, note.type, note.pre_payment_amount, note.post_payment_amount) == (500, "pre_payment", 500, 0)
    assert note.number == f"{invoice.number}-CN-01"
    lowered = api.invoices.retrieve(invoice.id)
    assert (lowered.amount_due, lowered.amount_remaining, lowered.total) == (2500, 2500, 3000)
    assert lowered.pre_payment_credit_notes_amount == 500
    assert api.credit_notes.void_credit_note(note.id).status == "void"
    assert api.invoices.retrieve(invoice.id).amount_due == 3000
    with pytest.raises(stripe.InvalidRequestError, match="already void"):
        api.credit_notes.void_credit_note(note.id)
    api.credit_notes.create({"invoice": invoice.id, "amount": 1000})
    paid = api.invoices.pay(invoice.id)
    assert (paid.status, paid.amount_paid) == ("paid", 2000)
    assert api.charges.list().data[0].amount == 2000
    kinds = [each.type for each in reversed(api.events.list({"type": "credit_note.*"}).data)]
    assert kinds == ["credit_note.created", "credit_note.voided", "credit_note.created"]
    ties_out(api)
    for kind in ("credit_note", "invoice", "event", "invoice_payment"):
        assert [each for body in box.objects(kind) for each in checked(body)] == []


def test_all_of_an_open_invoice(api, invoice) -> None:
    """With nothing left to pay, the invoice is paid."""
    api.credit_notes.create({"invoice": invoice.id, "amount": 3000})
    done = api.invoices.retrieve(invoice.id, {"expand": ["payments"]})
    assert (done.status, done.amount_paid, done.amount_remaining) == ("paid", 0, 0)
    assert api.payment_intents.list().data[0].status == "canceled"


def test_on_a_paid_invoice(api, box, customer, invoice) -> None:
    """Refunded, credited and settled outside: the parts add up; the credit pays for the next invoice."""
    api.invoices.pay(invoice.id)
    line = next(each for each in invoice.lines.data if each.quantity == 2)
    note = api.credit_notes.create(
        {
            "invoice": invoice.id,
            "lines": [{"type": "invoice_line_item", "invoice_line_item": line.id, "quantity": 1}],
            "refund_amount": 600,
            "credit_amount": 300,
            "out_of_band_amount": 100,
            "metadata": {"a": "1"},
        }
    )
    assert (note.total, note.type, note.post_payment_amount, note.out_of_band_amount) == (
        1000,
        "post_payment",
        1000,
        100,
    )
    refund = api.refunds.retrieve(note.refunds[0].refund)
    assert (refund.amount, note.refunds[0].amount_refunded, refund.status) == (600, 600, "succeeded")
    moved = api.credit_notes.retrieve(
        note.id, {"expand": ["customer_balance_transaction", "refunds.refund", "invoice"]}
    )
    assert (moved.customer_balance_transaction.amount, moved.customer_balance_transaction.type) == (-300, "credit_note")
    assert moved.invoice.post_payment_credit_notes_amount == 1000
    assert checked(moved.to_dict()) == []
    assert api.customers.retrieve(customer.id).balance == -300
    api.invoice_items.create({"customer": customer.id, "amount": 1000, "currency": "usd"})
    following = api.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    assert api.invoices.finalize_invoice(following.id).amount_due == 700
    with pytest.raises(stripe.InvalidRequestError, match="open"):
        api.credit_notes.void_credit_note(note.id)
    ties_out(api)


def test_lines(api, invoice) -> None:
    """By amount, by quantity and of its own; listed and previewed."""
    first, second = invoice.lines.data
    asked = {
        "invoice": invoice.id,
        "lines": [
            {"type": "invoice_line_item", "invoice_line_item": first.id, "amount": 250},
            {"type": "custom_line_item", "description": "Sorry", "unit_amount": 40, "quantity": 2},
            {"type": "invoice_line_item", "invoice_line_item": second.id},
        ],
    }
    shown = api.credit_notes.preview(asked)
    assert shown.total == 250 + 80 + second.amount
    assert len(api.credit_notes.preview_lines.list(asked).data) == 3
    assert api.credit_notes.list().data == []
    note = api.credit_notes.create(asked)
    assert note.total == shown.total
    found = api.credit_notes.line_items.list(note.id).data
    assert [(each.type, each.amount) for each in found] == [
        ("invoice_line_item", 250),
        ("custom_line_item", 80),
        ("invoice_line_item", second.amount),
    ]
    assert [each.id for each in api.credit_notes.list({"invoice": invoice.id}).data] == [note.id]
    assert [each.id for each in api.credit_notes.list({"customer": invoice.customer}).data] == [note.id]
    assert api.credit_notes.update(note.id, {"memo": "Again", "metadata": {"b": "2"}}).memo == "Again"


def test_discounts_are_credited_in_part(api, customer) -> None:
    """A line that was discounted is credited without its discount's share."""
    coupon = api.coupons.create({"percent_off": 33.3})
    api.invoice_items.create({"customer": customer.id, "amount": 1001, "currency": "usd"})
    made = api.invoices.create(
        {"customer": customer.id, "pending_invoice_items_behavior": "include", "discounts": [{"coupon": coupon.id}]}
    )
    invoice = api.invoices.finalize_invoice(made.id)
    line = {"type": "invoice_line_item", "invoice_line_item": invoice.lines.data[0].id}
    note = api.credit_notes.create({"invoice": invoice.id, "lines": [{**line, "amount": 1001}]})
    assert (note.subtotal, note.discount_amount, note.total) == (1001, 333, invoice.total)


def test_a_refund_may_be_linked(api, invoice) -> None:
    """A refund that was made before is what the note stands for."""
    api.invoices.pay(invoice.id)
    charge = api.charges.list().data[0]
    refund = api.refunds.create({"charge": charge.id, "amount": 700})
    note = api.credit_notes.create({"invoice": invoice.id, "amount": 700, "refunds": [{"refund": refund.id}]})
    assert [(each.refund, each.amount_refunded) for each in note.refunds] == [(refund.id, 700)]
    assert len(api.refunds.list().data) == 1


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({}, "amount"),
        ({"amount": 10, "lines": [{"type": "custom_line_item", "unit_amount": 10}]}, "amount"),
        ({"amount": 3001}, "amount"),
        ({"amount": 0}, "amount"),
        ({"amount": 10, "refund_amount": 10}, "refund_amount"),
        ({"amount": 10, "credit_amount": -10}, "credit_amount"),
        ({"amount": 10, "reason": "because"}, "reason"),
        ({"lines": [{"type": "invoice_line_item", "invoice_line_item": "il_none"}]}, "lines[0][invoice_line_item]"),
        ({"amount": 10, "refunds": [{"refund": "re_none"}]}, "refunds[0][refund]"),
    ],
)
def test_what_is_refused(api, invoice, params, param) -> None:
    """Each wrong parameter by its name."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.credit_notes.create({"invoice": invoice.id, **params})
    assert refused.value.param == param


def test_never_more_than_the_invoice(api, customer, invoice) -> None:
    """Several notes together too; drafts and unpaid parts are refused."""
    api.credit_notes.create({"invoice": invoice.id, "amount": 2999})
    with pytest.raises(stripe.InvalidRequestError, match="not more than"):
        api.credit_notes.create({"invoice": invoice.id, "amount": 2})
    draft = api.invoices.create({"customer": customer.id})
    with pytest.raises(stripe.InvalidRequestError, match="open, paid or uncollectible"):
        api.credit_notes.create({"invoice": draft.id, "amount": 1})
    with pytest.raises(stripe.APIError, match="shipping_cost"):
        api.credit_notes.create({"invoice": invoice.id, "shipping_cost": {"shipping_rate": "shr_1"}})

"""Invoices as a machine: lines, totals, finalizing, collecting.

What the sandbox simplifies: no taxes; a customer's balance is used when an
invoice is finalized. An automatic invoice that isn't paid is tried again three, five and
seven days later; then its subscription is canceled.
"""

from spojit_stripe.sandbox import discounts, instruments, payments
from spojit_stripe.sandbox.cards import AUTHENTICATION
from spojit_stripe.sandbox.context import Context
from spojit_stripe.sandbox.errors import StripeError, invalid
from spojit_stripe.sandbox.instruments import Instrument
from spojit_stripe.sandbox.intents import Manner, cancel_intent, confirm_with, new_body
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.values import (
    JsonObject,
    JsonValue,
    child,
    flag,
    integer,
    items,
    number,
    string,
    strings,
    text,
)

HOUR, DAY = 3_600, 86_400
_RETRY_DAYS = (3, 5, 7)


def line_body(
    context: Context,
    amount: int,
    currency: str,
    description: str | None,
    period: tuple[int, int],
    *,
    quantity: int = 1,
    price: JsonObject | None = None,
    metadata: JsonObject | None = None,
    item: str | None = None,
    subscription: str | None = None,
    subscription_item: str | None = None,
    proration: bool = False,
) -> JsonObject:
    """A line of an invoice: of an invoice item, or of an item of a subscription."""
    if subscription_item is not None:
        parent: JsonObject = {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": item,
                "proration": proration,
                "proration_details": {"credited_items": None},
                "subscription": subscription,
                "subscription_item": subscription_item,
            },
            "type": "subscription_item_details",
        }
    else:
        parent = {
            "invoice_item_details": {
                "invoice_item": item,
                "proration": proration,
                "proration_details": {"credited_items": None},
                "subscription": subscription,
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        }
    return {
        "id": context.new_id("il"),
        "object": "line_item",
        "amount": amount,
        "currency": currency,
        "description": description,
        "discount_amounts": [],
        "discountable": not proration,
        "discounts": [],
        "invoice": None,
        "livemode": context.livemode,
        "metadata": metadata or {},
        "parent": parent,
        "period": {"end": period[1], "start": period[0]},
        "pretax_credit_amounts": [],
        "pricing": pricing(price, amount, quantity),
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "subscription": subscription,
        "subtotal": amount,
        "taxes": [],
    }


def pricing(price: JsonObject | None, amount: int, quantity: int) -> JsonObject | None:
    """The `pricing` of a line or item: its price, or a one-off amount."""
    if price is None:
        each = str(amount // quantity) if quantity and amount % quantity == 0 else str(amount / max(quantity, 1))
        return {"price_details": None, "type": "price_details", "unit_amount_decimal": each}
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": price["unit_amount_decimal"],
    }


def invoice_body(context: Context, customer: Record, currency: str) -> JsonObject:
    """A draft without lines."""
    shown = customer.body
    identifier = context.new_id("in")
    return {
        "id": identifier,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Sandbox (not Stripe)",
        "account_tax_ids": None,
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "automatically_finalizes_at": None,
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "created": context.now,
        "currency": currency,
        "custom_fields": child(shown, "invoice_settings").get("custom_fields"),
        "customer": customer.id,
        "customer_account": None,
        "customer_address": shown["address"],
        "customer_email": shown["email"],
        "customer_name": shown["name"],
        "customer_phone": shown["phone"],
        "customer_shipping": shown["shipping"],
        "customer_tax_exempt": shown["tax_exempt"],
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": None,
        "ending_balance": None,
        "footer": child(shown, "invoice_settings").get("footer"),
        "from_invoice": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        "lines": context.sublist(f"/v1/invoices/{identifier}/lines", []),
        "livemode": context.livemode,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "on_behalf_of": None,
        "parent": None,
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": context.now,
        "period_start": context.now,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "starting_balance": 0,
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": 0,
        "subtotal_excluding_tax": 0,
        "test_clock": context.clock,
        "total": 0,
        "total_discount_amounts": [],
        "total_excluding_tax": 0,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": None,
    }


def lines(record: Record) -> list[JsonObject]:
    """All lines of an invoice; the object shows the first ten."""
    return items(record.private, "lines")


def set_lines(context: Context, record: Record, found: list[JsonObject]) -> None:
    """Give an invoice its lines, and the totals that follow from them."""
    for each in found:
        each["invoice"] = record.id
    body = record.body
    body["subtotal"] = body["subtotal_excluding_tax"] = sum(integer(each, "amount") for each in found)
    discounts.apply(context, body, found)
    kept: list[JsonValue] = [*found]
    record.private["lines"] = kept
    body["lines"] = context.sublist(f"/v1/invoices/{record.id}/lines", found)
    total = integer(body, "total")
    starting = integer(body, "starting_balance")
    due = max(total + starting, 0)
    body["amount_due"] = due
    body["amount_remaining"] = due


def take_pending_items(context: Context, record: Record, subscription: str | None = None) -> None:
    """Pull the customer's pending invoice items in the invoice's currency into a draft."""
    found = lines(record)
    for item in context.records("invoiceitem", customer=string(record.body, "customer")):
        belongs = subscription is None or subscription == item_subscription(item)
        if text(item.body, "invoice") is None and item.body["currency"] == record.body["currency"] and belongs:
            found.append(line_of_item(context, item))
            item.body["invoice"] = record.id
            context.save(item)
    set_lines(context, record, found)


def item_subscription(item: Record) -> str | None:
    """The subscription that an invoice item belongs to."""
    return text(child(child(item.body, "parent"), "subscription_details"), "subscription")


def line_of_item(context: Context, item: Record) -> JsonObject:
    """The line that an invoice item becomes."""
    body = item.body
    price = child(item.private, "price") or None
    period = child(body, "period")
    return line_body(
        context,
        integer(body, "amount"),
        string(body, "currency"),
        text(body, "description"),
        (integer(period, "start"), integer(period, "end")),
        quantity=integer(body, "quantity"),
        price=price,
        metadata=dict(child(body, "metadata")),
        item=item.id,
        subscription=item_subscription(item),
        proration=flag(body, "proration"),
    )


# From draft to open


def finalize(context: Context, record: Record) -> None:
    """Number an invoice and fix it; with nothing due it is paid at once."""
    body = record.body
    customer = context.get("customer", string(body, "customer"), "customer")
    if text(body, "number") is None:
        sequence = integer(customer.body, "next_invoice_sequence") or 1
        body["number"] = f"{string(customer.body, 'invoice_prefix')}-{sequence:04d}"
        customer.body["next_invoice_sequence"] = sequence + 1
    _use_balance(body, customer)
    customer.body["currency"] = customer.body["currency"] or body["currency"]
    own = text(child(customer.body, "discount"), "id")
    if own is not None and own in strings(body, "discounts") and not discounts.used(context, [own]):
        customer.body["discount"] = None
    context.save(customer)
    body.update(status="open", effective_at=body["effective_at"] or context.now, automatically_finalizes_at=None)
    body["hosted_invoice_url"] = f"https://invoice.stripe.com/i/{context.account}/{record.id}"
    body["invoice_pdf"] = f"https://pay.stripe.com/invoice/{context.account}/{record.id}/pdf"
    child(body, "status_transitions")["finalized_at"] = context.now
    days = number(record.private, "days_until_due")
    if body["due_date"] is None and days is not None:
        body["due_date"] = context.now + days * DAY
    if body["amount_due"] != 0:
        _open_payment(context, record)
    context.save(record, "invoice.finalized")
    if body["amount_due"] == 0:
        mark_paid(context, record)


def is_open(record: Record) -> bool:
    """Whether an invoice is finalized and owed."""
    return record.body["status"] == "open"


def _use_balance(body: JsonObject, customer: Record) -> None:
    """A credit lowers what is due; a debt raises it."""
    balance = integer(customer.body, "balance")
    total = integer(body, "total")
    due = max(total + balance, 0)
    body.update(starting_balance=balance, amount_due=due, amount_remaining=due)
    body["ending_balance"] = total + balance - due
    customer.body["balance"] = total + balance - due


def mark_paid(context: Context, record: Record, *, off_stripe: bool = False) -> None:
    """An invoice is paid, and its subscription with it."""
    body = record.body
    body.update(status="paid", attempted=True, auto_advance=False, next_payment_attempt=None)
    body.update(amount_paid=body["amount_due"], amount_remaining=0)
    if off_stripe:
        body["amount_paid_off_stripe"] = body["amount_due"]
    child(body, "status_transitions")["paid_at"] = context.now
    context.save(record, "invoice.paid", "invoice.payment_succeeded")
    subscription = context.find("subscription", subscription_of(body))
    if subscription is None or subscription.body["status"] not in {"incomplete", "past_due", "paused", "unpaid"}:
        return
    paused = subscription.body["status"] == "paused"
    if paused and not flag(record.private, "resumes"):
        return
    subscription.body.update(status="active", status_details=None)
    context.save(subscription, "customer.subscription.updated")
    if paused:
        context.event("customer.subscription.resumed", subscription.body)


def subscription_of(body: JsonObject) -> str | None:
    """The subscription that an invoice is for."""
    return text(child(child(body, "parent"), "subscription_details"), "subscription")


# Collecting


def payer(context: Context, record: Record) -> Instrument:
    """What an invoice is paid with unless told otherwise; Stripe's error if there is nothing."""
    body = record.body
    subscription = context.find("subscription", subscription_of(body))
    holders = [body, *([subscription.body] if subscription is not None else [])]
    for holder in holders:
        for name in ("default_payment_method", "default_source"):
            identifier = text(holder, name)
            if identifier is not None:
                return instruments.payment_method(context, identifier)
    chosen = instruments.of_customer(context, context.get("customer", string(body, "customer"), "customer"))
    if chosen is None:
        raise no_payer()
    return chosen


def no_payer() -> StripeError:
    """A customer who has nothing to pay with."""
    return invalid(
        "This customer has no attached payment source or default payment method. Please consider adding a default "
        "payment method. For more information, visit "
        "https://stripe.com/docs/billing/subscriptions/payment-methods-setting#payment-method-priority.",
        code="resource_missing",
    )


def collect(context: Context, record: Record, chosen: Instrument, *, off_session: bool = True) -> None:
    """Attempt to collect an open invoice; raises the decline's 402, which leaves its traces."""
    body = record.body
    intent = _intent(context, record, chosen)
    body.update(attempted=True, attempt_count=integer(body, "attempt_count") + 1)
    try:
        confirm_with(context, intent, chosen, Manner(off_session=off_session))
    except StripeError:
        body["next_payment_attempt"] = _next_attempt(context, record)
        context.save(record, "invoice.payment_failed")
        raise
    if intent.body["status"] != "succeeded":
        context.save(record, "invoice.payment_action_required")
        raise payments.decline_error(AUTHENTICATION, None, {"payment_intent": intent.body})
    intent_succeeded(context, intent, record)


def _open_payment(context: Context, record: Record) -> None:
    """The payment intent of an invoice, one over all attempts, and the payment that it is to be."""
    body = record.body
    fresh = new_body(context, integer(body, "amount_due"), string(body, "currency"))
    fresh.update(
        customer=body["customer"],
        description="Subscription creation" if subscription_of(body) else f"Payment for Invoice {body['number']}",
        capture_method="automatic",
        automatic_payment_methods=None,
    )
    intent = context.insert(fresh, "payment_intent.created", {"invoice": record.id})
    record.private["payment_intent"] = intent.id
    context.insert(_payment_body(context, record, intent.id))


def _intent(context: Context, record: Record, chosen: Instrument) -> Record:
    """The payment intent of an open invoice, to be paid with this card."""
    intent = context.get("payment_intent", string(record.private, "payment_intent"), "intent")
    intent.body.update(payment_method=chosen.id, status="requires_confirmation")
    return intent


def intent_succeeded(context: Context, intent: Record, record: Record | None = None) -> None:
    """A payment intent has succeeded: the invoice that it is for, if any, is paid."""
    invoice = record or context.find("invoice", text(intent.private, "invoice"))
    if invoice is None or not is_open(invoice) or intent.body["status"] != "succeeded":
        return
    for payment in context.records("invoice_payment", invoice=invoice.id):
        payment.body.update(status="paid", amount_paid=invoice.body["amount_due"])
        child(payment.body, "status_transitions")["paid_at"] = context.now
        context.save(payment, "invoice_payment.paid")
    mark_paid(context, invoice)


def drop_intent(context: Context, record: Record) -> None:
    """An invoice is not to be paid by its payment intent any more."""
    intent = context.find("payment_intent", text(record.private, "payment_intent"))
    if intent is not None and intent.body["status"] not in {"succeeded", "canceled"}:
        cancel_intent(context, intent, "void_invoice")
    for payment in context.records("invoice_payment", invoice=record.id, status="open"):
        payment.body["status"] = "canceled"
        child(payment.body, "status_transitions")["canceled_at"] = context.now
        context.save(payment)


def _next_attempt(context: Context, record: Record) -> int | None:
    attempts = integer(record.body, "attempt_count")
    if not flag(record.body, "auto_advance") or attempts > len(_RETRY_DAYS):
        return None
    return context.now + _RETRY_DAYS[attempts - 1] * DAY


def _payment_body(context: Context, record: Record, intent: str) -> JsonObject:
    return {
        "id": context.new_id("inpay"),
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": record.body["amount_due"],
        "created": context.now,
        "currency": record.body["currency"],
        "invoice": record.id,
        "is_default": True,
        "livemode": context.livemode,
        "payment": {"payment_intent": intent, "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }


def advance(context: Context, record: Record) -> None:
    """What Stripe does with an automatic invoice by itself: finalize it, then collect or send it."""
    body = record.body
    if body["status"] == "draft":
        finalize(context, record)
    if body["status"] != "open" or body["collection_method"] != "charge_automatically":
        return
    try:
        collect(context, record, payer(context, record))
    except StripeError as error:
        if error.code == "resource_missing":
            body.update(attempted=True, attempt_count=integer(body, "attempt_count") + 1)
            body["next_payment_attempt"] = _next_attempt(context, record)
            context.save(record, "invoice.payment_failed")
        _after_failure(context, record)


def _after_failure(context: Context, record: Record) -> None:
    """Try again later; a subscription is past due meanwhile, and canceled after the last attempt."""
    retry = number(record.body, "next_payment_attempt")
    if retry is not None:
        context.later(retry, "advance_invoice", record.id)
    subscription = context.find("subscription", subscription_of(record.body))
    if subscription is None or subscription.body["status"] not in {"active", "past_due", "trialing"}:
        return
    if retry is not None:
        subscription.body["status"] = "past_due"
        context.save(subscription, "customer.subscription.updated")
        return
    details = dict(child(subscription.body, "cancellation_details"))
    details["reason"] = "payment_failed"
    subscription.body.update(status="canceled", canceled_at=context.now, ended_at=context.now)
    subscription.body["cancellation_details"] = details
    context.save(subscription, "customer.subscription.deleted")

"""How a subscription lives: its invoices, its renewals, its pauses and its end."""

from spojit_stripe.sandbox import billing, discounts, instruments
from spojit_stripe.sandbox.context import Context
from spojit_stripe.sandbox.errors import StripeError
from spojit_stripe.sandbox.pricing import cost
from spojit_stripe.sandbox.resources.invoices import give_up, subscription_parent, void_invoice
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.subscription_items import item_list, items_of, period_end, quantity_of, set_period
from spojit_stripe.sandbox.values import JsonObject, child, flag, integer, number, string, strings, text

ENDED = ("canceled", "incomplete_expired")
_INCOMPLETE_FOR = 23 * billing.HOUR


def end(context: Context, record: Record, details: JsonObject) -> None:
    """Cancel a subscription."""
    record.body.update(status="canceled", canceled_at=record.body["canceled_at"] or context.now)
    record.body.update(ended_at=context.now, cancellation_details=details)
    context.save(record, "customer.subscription.deleted")


# Time


def renew(context: Context, record: Record, due: int) -> None:
    """A period or trial ends: the next one begins with an invoice, or the subscription ends."""
    body = record.body
    if body["status"] in (*ENDED, "incomplete", "paused") or due != period_end(record):
        return  # changed since the timer was set
    if flag(body, "cancel_at_period_end"):
        end(context, record, child(body, "cancellation_details"))
        return
    if body["status"] == "trialing":
        body["status"] = "active"
    chosen = items_of(record)
    set_period(chosen, due, None, integer(body, "billing_cycle_anchor"))
    body["items"] = item_list(context, record.id, chosen)
    context.save(record, "customer.subscription.updated")
    invoice = make_invoice(context, record, "subscription_cycle", collect=False)
    _collect_cycle(context, record, invoice)
    context.later(period_end(record), "renew_subscription", record.id)


def _collect_cycle(context: Context, record: Record, invoice: Record) -> None:
    """A cycle's invoice stays a draft for an hour, then it is collected, unless collection is paused."""
    behavior = text(child(record.body, "pause_collection"), "behavior")
    if behavior is None:
        invoice.body["automatically_finalizes_at"] = context.now + billing.HOUR
        context.save(invoice)
        context.later(context.now + billing.HOUR, "advance_invoice", invoice.id)
        return
    invoice.body["auto_advance"] = False
    context.save(invoice)
    if behavior == "keep_as_draft":
        return
    billing.finalize(context, invoice)
    if invoice.body["status"] == "open":
        (void_invoice if behavior == "void" else give_up)(context, invoice)


def expire(context: Context, record: Record) -> None:
    """A first payment that never came ends the subscription."""
    if record.body["status"] == "incomplete":
        record.body.update(status="incomplete_expired", ended_at=context.now)
        context.save(record, "customer.subscription.updated")
        invoice = context.find("invoice", text(record.body, "latest_invoice"))
        if invoice is not None and invoice.body["status"] == "open":
            void_invoice(context, invoice)


def cancel_when_due(context: Context, record: Record) -> None:
    """`cancel_at` has come."""
    due = number(record.body, "cancel_at")
    if due is not None and due <= context.now and record.body["status"] not in ENDED:
        end(context, record, child(record.body, "cancellation_details"))


# Invoices of a subscription


def first_invoice(context: Context, record: Record, customer: Record) -> None:
    """Invoice the first period, and try to collect unless it is to be confirmed by the customer."""
    body, behavior = record.body, text(context.params, "payment_behavior") or "allow_incomplete"
    automatic = body["collection_method"] == "charge_automatically"
    due = body["status"] != "trialing" and any(
        cost(child(item, "price"), quantity_of(item)) for item in items_of(record)
    )
    payable = text(body, "default_payment_method") or instruments.of_customer(context, customer)
    if automatic and due and not payable and behavior != "default_incomplete":
        raise billing.no_payer()
    if not automatic:
        body["status"] = "trialing" if body["status"] == "trialing" else "active"
        make_invoice(context, record, "subscription_create", collect=False)
        context.save(record)
        return
    invoice = make_invoice(context, record, "subscription_create", collect=False)
    billing.finalize(context, invoice)
    if billing.is_open(invoice) and behavior != "default_incomplete":
        _collect_first(context, invoice, behavior)
    context.refresh(record)
    if record.body["status"] == "incomplete":
        context.later(context.now + _INCOMPLETE_FOR, "expire_subscription", record.id)


def _collect_first(context: Context, invoice: Record, behavior: str) -> None:
    try:
        billing.collect(context, invoice, billing.payer(context, invoice), off_session=False)
    except StripeError as error:
        if behavior == "error_if_incomplete":
            error.keeps = False
            raise


def make_invoice(
    context: Context, record: Record, reason: str, *, with_items: bool = True, collect: bool = True
) -> Record:
    """An invoice for the current period of all items, and for what is pending."""
    body = record.body
    customer = context.get("customer", string(body, "customer"), "customer")
    draft = Record(billing.invoice_body(context, customer, string(body, "currency")))
    shown = draft.body
    shown.update(billing_reason=reason, collection_method=body["collection_method"], auto_advance=True)
    shown["parent"] = subscription_parent(record.id, dict(child(body, "metadata")))
    days = number(body, "days_until_due")
    if days is not None:
        draft.private["days_until_due"] = days
        shown["due_date"] = context.now + days * billing.DAY
    own = discounts.running(context, strings(body, "discounts"))
    inherited = text(child(customer.body, "discount"), "id")
    shown["discounts"] = own or discounts.running(context, [inherited] if inherited else [])
    invoice = context.insert(shown, private=draft.private)
    is_trial = body["status"] == "trialing"
    found = [_line(context, record, item) for item in items_of(record)] if with_items else []
    billing.set_lines(context, invoice, found)
    billing.take_pending_items(context, invoice, record.id)
    context.save(invoice)
    context.event("invoice.created", shown)
    body["latest_invoice"] = invoice.id
    if not is_trial:
        body["discounts"] = discounts.used(context, strings(body, "discounts"))
    context.save(record)
    if collect:
        billing.advance(context, invoice)
        context.refresh(record)
    return invoice


def _line(context: Context, record: Record, item: JsonObject) -> JsonObject:
    price = child(item, "price")
    quantity = quantity_of(item)
    trialing = record.body["status"] == "trialing"
    product = context.find("product", text(price, "product"))
    name = text(product.body, "name") if product is not None else None
    return billing.line_body(
        context,
        0 if trialing else cost(price, quantity),
        string(price, "currency"),
        f"{'Trial period for' if trialing else f'{quantity} ×'} {name or 'item'}",
        (integer(item, "current_period_start"), integer(item, "current_period_end")),
        quantity=quantity,
        price=price,
        subscription=record.id,
        subscription_item=string(item, "id"),
    )


# Pauses


def pause(context: Context, record: Record) -> None:
    """No more periods and invoices until it resumes."""
    record.body["status"] = "paused"
    record.body["status_details"] = {
        "paused": {
            "subscription": {"type": "pause_requested"},
            "transitioned_at": context.now,
            "type": "subscription",
        }
    }
    context.save(record, "customer.subscription.updated")
    context.event("customer.subscription.paused", record.body)


def resume(context: Context, record: Record) -> None:
    """A paused subscription is active again, in the period that its items say."""
    record.body["status"] = "active"
    record.body["status_details"] = None
    context.save(record, "customer.subscription.updated")
    context.event("customer.subscription.resumed", record.body)


def resume_collection(context: Context, record: Record) -> None:
    """`pause_collection[resumes_at]` has come."""
    until = number(child(record.body, "pause_collection"), "resumes_at")
    if until is not None and until <= context.now:
        record.body["pause_collection"] = None
        context.save(record, "customer.subscription.updated")


def void_resumption(context: Context, invoice: Record) -> None:
    """An invoice to resume that nobody paid is void; the subscription stays paused."""
    subscription = context.find("subscription", billing.subscription_of(invoice.body))
    if subscription is not None and subscription.body["status"] == "paused" and billing.is_open(invoice):
        void_invoice(context, invoice)

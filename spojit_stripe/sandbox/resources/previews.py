"""Previews of invoices: everything is done as it would be, shown, and taken back."""

from dataclasses import replace

from spojit_stripe.sandbox import billing, discounts
from spojit_stripe.sandbox.context import Answer, Context
from spojit_stripe.sandbox.errors import StripeError, bad_parameter
from spojit_stripe.sandbox.resources import invoices, subscriptions
from spojit_stripe.sandbox.resources.subscription_life import make_invoice
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.subscription_items import change_items, item_list, items_of, period_end, set_period
from spojit_stripe.sandbox.values import JsonObject, child, integer, items, string, text

_DETAILS = {"items", "proration_behavior", "trial_end"}


class Rehearsal(StripeError):
    """An answer after which nothing of what led to it remains."""

    def __init__(self, shown: JsonObject) -> None:
        super().__init__(200, "preview")
        self._shown = shown

    def body(self, request_id: str, livemode: bool) -> JsonObject:
        """The object itself, in place of an error."""
        del request_id, livemode
        return self._shown


@answers(
    "POST",
    "/v1/invoices/create_preview",
    without=(
        "automatic_tax",
        "customer_account",
        "customer_details",
        "expand",
        "issuer",
        "on_behalf_of",
        "schedule",
        "schedule_details",
    ),
)
def create_preview(context: Context) -> Answer:
    """What the next invoice of a customer or subscription would be, or the first of a new one."""
    params = context.params
    details = child(params, "subscription_details")
    other = sorted(set(details) - _DETAILS)
    if other:
        name = f"subscription_details[{other[0]}]"
        raise bad_parameter(f"This sandbox does not preview `{name}`.", name)
    subscription = text(params, "subscription")
    record = context.live("subscription", subscription, "subscription") if subscription is not None else None
    owner = text(params, "customer") or (string(record.body, "customer") if record is not None else None)
    if owner is None:
        raise bad_parameter("You must pass `customer` or `subscription`.", "customer", "parameter_missing")
    context.live("customer", owner, "customer")
    for given in items(params, "invoice_items"):
        parent: JsonObject = {"subscription": subscription} if subscription is not None else {}
        invoices.create_item(_with(context, {**given, **parent, "customer": owner}))
    if record is not None:
        invoice = _upcoming(context, record, details)
    elif "items" in details:
        invoice = _first(context, owner, details)
    else:
        invoice = _pending(context, owner)
    body = invoice.body
    if body["status"] == "draft" or "discounts" in params:
        chosen = discounts.given(context, [], string(body, "currency"), owner, invoice=invoice.id)
        body["discounts"] = chosen if chosen is not None else body["discounts"]
        billing.set_lines(context, invoice, billing.lines(invoice))
    shown: JsonObject = {**body, "id": f"upcoming_{invoice.id}", "number": None, "status": "draft"}
    raise Rehearsal(shown)


def _with(context: Context, params: JsonObject) -> Context:
    return replace(context, params=params)


def _upcoming(context: Context, record: Record, details: JsonObject) -> Record:
    """The invoice of the next period, or that of a change now."""
    if "items" in details:
        change_items(_with(context, details), record)
        context.save(record)
        if details.get("proration_behavior") == "always_invoice":
            return make_invoice(context, record, "subscription_update", with_items=False, collect=False)
    chosen = items_of(record)
    if record.body["status"] == "trialing":
        record.body["status"] = "active"
    set_period(chosen, period_end(record), None, integer(record.body, "billing_cycle_anchor"))
    record.body["items"] = item_list(context, record.id, chosen)
    context.save(record)
    return make_invoice(context, record, "upcoming", collect=False)


def _first(context: Context, customer: str, details: JsonObject) -> Record:
    params: JsonObject = {**details, "customer": customer, "payment_behavior": "default_incomplete"}
    params.pop("proration_behavior", None)
    made = subscriptions.create(_with(context, params))
    latest = string(made, "latest_invoice") if isinstance(made, dict) else ""
    invoice = context.get("invoice", latest, "invoice")
    billing.take_pending_items(context, invoice)
    return invoice


def _pending(context: Context, customer: str) -> Record:
    params: JsonObject = {"customer": customer, "pending_invoice_items_behavior": "include"}
    if "currency" in context.params:
        params["currency"] = context.params["currency"]
    made = invoices.create(_with(context, params))
    return context.get("invoice", string(made, "id") if isinstance(made, dict) else "", "invoice")

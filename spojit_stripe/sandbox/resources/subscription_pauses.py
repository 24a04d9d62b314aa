"""Pausing subscriptions and resuming them."""

from spojit_stripe.sandbox import billing
from spojit_stripe.sandbox.context import Answer, Context
from spojit_stripe.sandbox.errors import StripeError, invalid
from spojit_stripe.sandbox.resources.subscription_life import make_invoice, pause, resume
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.subscription_items import (
    item_list,
    items_of,
    next_period_end,
    period_end,
    prorate,
    set_period,
)
from spojit_stripe.sandbox.values import child, integer, text

_UNPAID_FOR = 23 * billing.HOUR


@answers("POST", "/v1/subscriptions/{subscription}/pause")
def pause_subscription(context: Context) -> Answer:
    """Pause: what was paid for the rest of the period is credited, unless asked otherwise."""
    record = context.live("subscription", context.ids["subscription"])
    if record.body["status"] not in {"active", "past_due", "trialing"}:
        raise invalid(f"You can't pause a subscription with the status {record.body['status']}.")
    unused = text(child(child(context.params, "bill_for"), "unused_time_from"), "type") or "now"
    if unused == "item_current_period_start":
        raise invalid("This sandbox credits unused time from `now` or not at all.", "bill_for[unused_time_from][type]")
    if unused == "now" and record.body["status"] != "trialing":
        for item in items_of(record):
            prorate(context, record, item, -1)
    pause(context, record)
    if context.params.get("invoicing_behavior") == "invoice":
        make_invoice(context, record, "subscription_update", with_items=False)
    return record.body


@answers("POST", "/v1/subscriptions/{subscription}/resume", without=("proration_date",))
def resume_subscription(context: Context) -> Answer:
    """Resume with a new period from now, or in the old rhythm with a prorated rest."""
    record = context.live("subscription", context.ids["subscription"])
    if record.body["status"] != "paused":
        raise invalid(f"You can only resume a paused subscription; the status of {record.id} is {_status(record)}.")
    if text(child(context.params, "billing_cycle_anchor"), "type") == "unchanged":
        _in_rhythm(context, record)
    else:
        _anew(context, record)
    context.later(period_end(record), "renew_subscription", record.id)
    return record.body


def _status(record: Record) -> str:
    return text(record.body, "status") or ""


def _in_rhythm(context: Context, record: Record) -> None:
    chosen = items_of(record)
    recurring = child(child(chosen[0], "price"), "recurring")
    anchor, start = integer(record.body, "billing_cycle_anchor"), integer(chosen[0], "current_period_start")
    while (finish := next_period_end(start, recurring, anchor)) <= context.now:
        start = finish
    set_period(chosen, start, None, anchor)
    record.body["items"] = item_list(context, record.id, chosen)
    behavior = text(context.params, "proration_behavior") or "create_prorations"
    if behavior != "none":
        for item in chosen:
            prorate(context, record, item, 1)
    resume(context, record)
    if behavior == "always_invoice":
        make_invoice(context, record, "subscription_update", with_items=False)


def _anew(context: Context, record: Record) -> None:
    chosen = items_of(record)
    set_period(chosen, context.now, None)
    record.body.update(items=item_list(context, record.id, chosen), billing_cycle_anchor=context.now)
    context.save(record)
    invoice = make_invoice(context, record, "subscription_update", collect=False)
    invoice.private["resumes"] = True
    billing.finalize(context, invoice)
    context.refresh(record)
    if record.body["status"] != "paused":
        return  # nothing was due
    if not billing.is_open(invoice):
        resume(context, record)
        return
    if context.params.get("payment_behavior") == "resume_on_payment_success":
        context.later(context.now + _UNPAID_FOR, "void_resumption", invoice.id)
        return
    try:
        billing.collect(context, invoice, billing.payer(context, invoice))
    except StripeError:
        resume(context, record)
        record.body["status"] = "past_due"
        context.save(record, "customer.subscription.updated")
        context.later(context.now + 3 * billing.DAY, "advance_invoice", invoice.id)
        return
    context.refresh(record)

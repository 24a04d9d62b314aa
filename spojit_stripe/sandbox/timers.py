"""What happens when time passes: money settles, payouts arrive, invoices and subscriptions advance."""

from collections.abc import Callable

from spojit_stripe.sandbox import billing, clocks, discounts, payments, payouts
from spojit_stripe.sandbox.context import CLOCK, Context
from spojit_stripe.sandbox.outbox import Delivery
from spojit_stripe.sandbox.resources import balances, subscription_life, test_clocks
from spojit_stripe.sandbox.store import Record, Timer

_ACTIONS: dict[str, tuple[str, Callable[[Context, Record], None]]] = {
    "advance_invoice": ("invoice", billing.advance),
    "cancel_subscription": ("subscription", subscription_life.cancel_when_due),
    "delete_clock": (CLOCK, test_clocks.remove_when_old),
    "expire_coupon": ("coupon", discounts.refresh_coupon),
    "expire_promotion_code": ("promotion_code", discounts.refresh_promotion),
    "expire_dispute": ("dispute", payments.expire_dispute),
    "expire_subscription": ("subscription", subscription_life.expire),
    "fail_refund": ("refund", payments.fail_refund),
    "pay_payout": ("payout", payouts.pay),
    "resume_collection": ("subscription", subscription_life.resume_collection),
    "void_resumption": ("invoice", subscription_life.void_resumption),
    "settle_balance": ("balance_transaction", balances.settle),
    "settle_refund": ("refund", payments.settle_refund),
}


def run(context: Context, timer: Timer) -> None:
    """Do what a timer is for; an object that is gone is left alone."""
    if timer.action == "deliver_webhook":
        context.outbox.add(Delivery.decoded(timer.object))
        return
    if timer.action == "advance_clock":
        clock = context.find(CLOCK, timer.object)
        if clock is not None:
            clocks.advance(context, clock, run)
        return
    if timer.action == "pay_out_daily":
        payouts.pay_out(context)
        return
    if timer.action == "renew_subscription":
        record = context.find("subscription", timer.object)
        if record is not None:
            subscription_life.renew(context, record, timer.due)
        return
    kind, action = _ACTIONS[timer.action]
    record = context.find(kind, timer.object)
    if record is not None and record.body.get("deleted") is not True:
        action(context, record)

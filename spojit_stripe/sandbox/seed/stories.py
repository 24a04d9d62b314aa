"""The stories that a business is made of, told to the handlers.

Texts in `@@…@@` differ from customer to customer and from order to order.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from spojit_stripe.sandbox import payments, payouts
from spojit_stripe.sandbox.context import Context
from spojit_stripe.sandbox.errors import StripeError
from spojit_stripe.sandbox.seed.people import FAILING
from spojit_stripe.sandbox.seed.recording import DAY, Stage, call
from spojit_stripe.sandbox.seed.stamping import AMOUNT, PART
from spojit_stripe.sandbox.values import JsonObject, items, string, text

MINUTE, HOUR = 60, 3_600


def sign_up(context: Context, card: str) -> tuple[str, str]:
    """A new customer with a card: their id, and their payment method's."""
    address: JsonObject = {"city": "@@city@@", "country": "@@country@@", "line1": "@@street@@"}
    data: JsonObject = {
        "type": "card",
        "card": {"token": f"tok_{card}"},
        "billing_details": {"name": "@@name@@", "email": "@@email@@", "address": address},
    }
    method = string(call(context, "POST", "/v1/payment_methods", data), "id")
    params: JsonObject = {
        "name": "@@name@@",
        "email": "@@email@@",
        "source": f"tok_{card}",
        "payment_method": method,
        "invoice_settings": {"default_payment_method": method},
        "invoice_prefix": "@@prefix@@",
        "address": address,
        "metadata": {"order_system_id": "@@code@@", "tier": "@@tier@@"},
    }
    return string(call(context, "POST", "/v1/customers", params), "id"), method


# Orders


@dataclass(frozen=True)
class Fate:
    """What becomes of an order: how long after it, in days, the last thing happens.

    `captured` days pass before the money is taken. A `brief` one ends within minutes.
    """

    name: str
    days: int
    tell: Callable[[Stage, "Order", int], None]
    captured: int = 0
    brief: bool = False
    dispute: bool = False


@dataclass(frozen=True)
class Order:
    """An order: who pays it, with what, and in which way."""

    customer: str
    method: str
    currency: str
    intent: bool

    def params(self) -> JsonObject:
        """What is sent with the payment, as the plug-ins of shops do it: one shop uses intents, the other charges."""
        metadata: JsonObject = {"order_id": "@@order@@", "site_url": "https://woo.example.com"}
        if not self.intent:
            metadata = {"order_id": "@@order@@", "order_number": "#@@short@@", "shop_name": "Shopify example"}
        return {
            "amount": AMOUNT,
            "currency": self.currency,
            "customer": self.customer,
            "description": "Order @@order@@",
            "metadata": {**metadata, "email": "@@email@@"},
        }


def pay(context: Context, order: Order) -> str | None:
    """Pay an order: its charge, unless the card fails."""
    with suppress(StripeError):
        if not order.intent:
            return string(call(context, "POST", "/v1/charges", order.params()), "id")
        params = {**order.params(), "payment_method": order.method, "confirm": True, "off_session": True}
        return text(call(context, "POST", "/v1/payment_intents", params), "latest_charge")
    return None


def _paid(stage: Stage, order: Order, moment: int) -> None:
    pay(stage.at(moment), order)


def _refunded(days: int, amount: int | None) -> Callable[[Stage, Order, int], None]:
    def tell(stage: Stage, order: Order, moment: int) -> None:
        charge = pay(stage.at(moment), order)
        params: JsonObject = {"charge": charge, "reason": "requested_by_customer"}
        params["metadata"] = {"order_id": "@@order@@"}
        if amount is not None:
            params["amount"] = amount
        call(stage.at(moment + days * DAY + 40 * MINUTE), "POST", "/v1/refunds", params)

    return tell


def _disputed(won: bool | None) -> Callable[[Stage, Order, int], None]:
    def tell(stage: Stage, order: Order, moment: int) -> None:
        context = stage.at(moment)
        charge = context.get("charge", pay(context, order) or "")
        context = stage.at(moment + 4 * DAY + 25 * MINUTE)
        context.refresh(charge)
        dispute = payments.open_dispute(context, charge, "fraudulent" if won is not True else "product_not_received")
        if won is not None:
            context = stage.at(moment + 11 * DAY + 50 * MINUTE)
            context.refresh(dispute)
            payments.close_dispute(context, dispute, won=won)

    return tell


def _retried(stage: Stage, order: Order, moment: int) -> None:
    """The first card is declined; the one on file then pays."""
    context = stage.at(moment)
    params: JsonObject = {
        **order.params(),
        "payment_method": "pm_card_chargeDeclinedInsufficientFunds",
        "confirm": True,
        "off_session": True,
    }
    with suppress(StripeError):
        call(context, "POST", "/v1/payment_intents", params)
    intent = context.records("payment_intent", customer=order.customer)[-1]
    again: JsonObject = {"payment_method": order.method, "off_session": True}
    call(stage.at(moment + 3 * MINUTE), "POST", "/v1/payment_intents/{intent}/confirm", again, intent=intent.id)


def _captured(stage: Stage, order: Order, moment: int) -> None:
    """Authorised when ordered, captured when shipped, the next day."""
    params: JsonObject = {
        **order.params(),
        "payment_method": order.method,
        "capture_method": "manual",
        "confirm": True,
        "off_session": True,
    }
    intent = string(call(stage.at(moment), "POST", "/v1/payment_intents", params), "id")
    call(stage.at(moment + DAY + 10 * MINUTE), "POST", "/v1/payment_intents/{intent}/capture", {}, intent=intent)


PAID = Fate("paid", 0, _paid, brief=True)
RETRIED = Fate("retried", 0, _retried, brief=True)
CAPTURED = Fate("captured", 1, _captured, captured=1)
DISPUTED = Fate("disputed", 4, _disputed(None), dispute=True)
CLOSED = (Fate("lost", 11, _disputed(False), dispute=True), Fate("won", 11, _disputed(True), dispute=True))
_REFUNDED = tuple(
    Fate(f"refunded {share} after {days}", days, _refunded(days, PART if share == "part" else None))
    for days in (0, 1, 3, 8)
    for share in ("part", "all")
)
FATES = (PAID, RETRIED, CAPTURED, DISPUTED, *_REFUNDED)
WEIGHTS = (820, 40, 40, 12, *[11] * len(_REFUNDED))


# Billing


@dataclass(frozen=True)
class Plan:
    """How a customer is billed: the price per period, and what they do with it. Times are days after the start."""

    price: str
    better: str
    quantity: int
    trial: bool
    upgrade: int
    leave: int
    at_period_end: bool
    consulting: int
    outcome: str


def bill(stage: Stage, customer: str, plan: Plan, currency: str, card: str, start: int, until: int) -> None:
    """A subscription through its life until now; and an invoice for consulting, if there is one."""
    if plan.price:
        _subscribe(stage, customer, plan, card, start, until)
    if plan.consulting and start + 3 * DAY < until:
        _consult(stage, customer, plan, currency, start + 2 * DAY + 7 * MINUTE)


def _subscribe(stage: Stage, customer: str, plan: Plan, card: str, start: int, until: int) -> None:
    path, names = "/v1/subscriptions/{subscription_exposed_id}", "subscription_exposed_id"
    params: JsonObject = {
        "customer": customer,
        "items": [{"price": plan.price, "quantity": plan.quantity}],
        "metadata": {"plan": "self-service", "account_code": "@@code@@"},
    }
    if plan.trial or card == FAILING:
        params["trial_period_days"] = 14
    made = call(stage.at(start), "POST", "/v1/subscriptions", params)
    item = string(items({"all": made["items"]["data"]} if isinstance(made["items"], dict) else {}, "all")[0], "id")
    identifier = string(made, "id")
    steps: list[tuple[int, str, JsonObject]] = []
    if plan.upgrade:
        better: JsonObject = {"items": [{"id": item, "price": plan.better}], "proration_behavior": "create_prorations"}
        steps.append((start + plan.upgrade * DAY + 90, "POST", better))
    if plan.leave and plan.at_period_end:
        steps.append((start + plan.leave * DAY + 70, "POST", {"cancel_at_period_end": True}))
    elif plan.leave:
        steps.append((start + plan.leave * DAY + 70, "DELETE", {"cancellation_details": {"feedback": "too_expensive"}}))
    for moment, method, given in sorted(steps, key=lambda each: each[0]):
        if moment < until:
            with suppress(StripeError):  # it may have ended before
                call(stage.at(moment), method, path, given, **{names: identifier})


def _consult(stage: Stage, customer: str, plan: Plan, currency: str, moment: int) -> None:
    context = stage.at(moment)
    item: JsonObject = {
        "customer": customer,
        "amount": plan.consulting,
        "currency": currency,
        "description": "Consulting",
    }
    call(context, "POST", "/v1/invoiceitems", item)
    draft: JsonObject = {
        "customer": customer,
        "currency": currency,
        "pending_invoice_items_behavior": "include",
        "collection_method": "send_invoice",
        "days_until_due": 14,
        "metadata": {"account_code": "@@code@@"},
    }
    invoice = string(call(context, "POST", "/v1/invoices", draft), "id")
    path = "/v1/invoices/{invoice}/"
    if plan.outcome == "draft":
        return
    call(stage.at(moment + HOUR), "POST", f"{path}finalize", {}, invoice=invoice)
    if plan.outcome != "open":
        with suppress(StripeError):
            call(stage.at(moment + 2 * HOUR), "POST", f"{path}{plan.outcome}", {}, invoice=invoice)


# Payouts


def pay_out(context: Context, currency: str) -> None:
    """The daily payout of all that became available. Which transactions it settles is in their `payout` column."""
    body = payouts.payout_body(context, AMOUNT, currency, (context.now // DAY + 2) * DAY)
    body.update(automatic=True, description="STRIPE PAYOUT", reconciliation_status="completed")
    payouts.send(context, body, [])

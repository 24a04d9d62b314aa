"""Payment intents as a machine: what confirming one with a card does to it."""

from dataclasses import dataclass

from spojit_stripe.sandbox import payments
from spojit_stripe.sandbox.cards import AUTHENTICATION, Decline
from spojit_stripe.sandbox.context import Context
from spojit_stripe.sandbox.errors import StripeError
from spojit_stripe.sandbox.instruments import Instrument
from spojit_stripe.sandbox.payments import Payment
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.values import JsonObject, child, integer, string, text


@dataclass(frozen=True)
class Manner:
    """How a confirmation is made: without the customer, and what to do if they are needed."""

    off_session: bool = False
    refuse_action: bool = False
    return_url: str | None = None


def new_body(context: Context, amount: int, currency: str) -> JsonObject:
    """A payment intent that still needs a payment method."""
    identifier = context.new_id("pi")
    return {
        "id": identifier,
        "object": "payment_intent",
        "allowed_payment_method_types": None,
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{identifier}_secret_{context.secret(25)}",
        "confirmation_method": "automatic",
        "created": context.now,
        "currency": currency,
        "customer": None,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": context.livemode,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            }
        },
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }


def confirm_with(context: Context, record: Record, chosen: Instrument, manner: Manner) -> None:
    """Attempt the payment with a card; raises the 402 of a decline, which leaves its traces."""
    body = record.body
    if chosen.needs_authentication:
        if manner.off_session or manner.refuse_action:
            raise _refused(context, record, chosen)
        body["status"] = "requires_action"
        body["next_action"] = _next_action(context, record, manner)
        context.save(record, "payment_intent.requires_action")
        return
    decline = chosen.card.decline
    attempt(context, record, chosen, decline)
    if decline is not None:
        raise payments.decline_error(
            decline,
            context.find("charge", text(body, "latest_charge")),
            {"payment_intent": body, "payment_method": chosen.record.body},
        )


def cancel_intent(context: Context, record: Record, reason: str | None) -> None:
    """Cancel a payment intent that may be canceled."""
    body = record.body
    if body["status"] == "requires_capture":
        payments.release(context, context.get("charge", string(body, "latest_charge")))
    body.update(status="canceled", canceled_at=context.now, cancellation_reason=reason)
    body.update(amount_capturable=0, next_action=None)
    context.save(record, "payment_intent.canceled")


def attempt(context: Context, record: Record, chosen: Instrument, decline: Decline | None) -> None:
    """Charge the card and move the payment intent on."""
    body = record.body
    charge = payments.charge(context, chosen, _payment(record), decline)
    body["latest_charge"] = charge.id
    body["next_action"] = None
    if decline is not None:
        fail(context, record, chosen, decline, charge.id)
        return
    body["last_payment_error"] = None
    body["payment_method"] = chosen.id
    amount = integer(body, "amount")
    if body["capture_method"] == "manual":
        body.update(status="requires_capture", amount_capturable=amount)
        context.save(record, "payment_intent.amount_capturable_updated")
    else:
        body.update(status="succeeded", amount_received=amount)
        context.save(record, "payment_intent.succeeded")
    _keep_method(context, record, chosen)


def _keep_method(context: Context, record: Record, chosen: Instrument) -> None:
    """After a payment: attach for later use, or spend a payment method that belongs to nobody."""
    customer = text(record.body, "customer")
    if chosen.record.body["object"] != "payment_method":
        return
    if record.body["setup_future_usage"] is not None:
        chosen.record.private["set_up"] = True
        if customer is not None and chosen.customer is None:
            chosen.record.body["customer"] = customer
            context.save(chosen.record, "payment_method.attached")
            return
    elif chosen.customer is None:
        chosen.record.private["spent"] = True
    context.save(chosen.record)


def _payment(record: Record) -> Payment:
    body = record.body
    return Payment(
        integer(body, "amount"),
        string(body, "currency"),
        capture=body["capture_method"] != "manual",
        customer=text(body, "customer"),
        payment_intent=record.id,
        description=body["description"],
        receipt_email=body["receipt_email"],
        statement_descriptor=body["statement_descriptor"],
        statement_descriptor_suffix=body["statement_descriptor_suffix"],
        transfer_group=body["transfer_group"],
        on_behalf_of=body["on_behalf_of"],
        shipping=body["shipping"],
        metadata=dict(child(body, "metadata")),
    )


def _refused(context: Context, record: Record, chosen: Instrument) -> StripeError:
    """A card that needs its holder, who is not there."""
    charge = payments.charge(context, chosen, _payment(record), AUTHENTICATION)
    record.body["latest_charge"] = charge.id
    fail(context, record, chosen, AUTHENTICATION, charge.id)
    extra: JsonObject = {"payment_intent": record.body, "payment_method": chosen.record.body}
    return payments.decline_error(AUTHENTICATION, charge, extra)


def fail(
    context: Context,
    record: Record,
    chosen: Instrument,
    decline: Decline,
    charge: str | None,
    *,
    kind: str = "card_error",
) -> None:
    """A payment that failed: the intent needs another payment method."""
    error: JsonObject = {
        "code": decline.code,
        "doc_url": f"https://docs.stripe.com/error-codes/{decline.code.replace('_', '-')}",
        "message": decline.message,
        "payment_method": chosen.record.body,
        "type": kind,
    }
    if charge is not None:
        error["charge"] = charge
    if decline.decline_code:
        error["decline_code"] = decline.decline_code
    if decline.advice is not None:
        error["advice_code"] = decline.advice
    if decline.param is not None:
        error["param"] = decline.param
    record.body.update(
        status="requires_payment_method", payment_method=None, next_action=None, last_payment_error=error
    )
    context.save(record, "payment_intent.payment_failed")


def _next_action(context: Context, record: Record, manner: Manner) -> JsonObject:
    url = manner.return_url
    if url is not None:
        account = context.account
        page = f"https://hooks.stripe.com/3d_secure_2/hosted?merchant={account}&payment_intent={record.id}"
        return {"redirect_to_url": {"return_url": url, "url": page}, "type": "redirect_to_url"}
    return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}


def unexpected(
    record: Record, message: str, param: str | None = None, code: str | None = "payment_intent_unexpected_state"
) -> StripeError:
    """Stripe's error for what a payment intent can't do in its state; it shows the intent."""
    return StripeError(400, message, code=code, param=param, extra={"payment_intent": record.body})

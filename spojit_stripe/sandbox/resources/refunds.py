"""Refunds of charges, in full or in part."""

from spojit_stripe.sandbox import payments
from spojit_stripe.sandbox.context import Answer, Context, merge_metadata
from spojit_stripe.sandbox.errors import bad_parameter, invalid
from spojit_stripe.sandbox.listing import list_objects
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.values import integer, text


@answers("POST", "/v1/refunds", without=("origin", "refund_application_fee", "reverse_transfer"))
def create(context: Context) -> Answer:
    """Refund a charge, or the charge of a payment intent; without an amount, all that is left."""
    params = context.params
    amount = integer(params, "amount") if "amount" in params else None
    if amount is not None and amount < 1:
        raise bad_parameter("Invalid positive integer", "amount", "parameter_invalid_integer")
    return payments.refund(context, _charge(context), amount, params).body


def _charge(context: Context) -> Record:
    charge, intent = text(context.params, "charge"), text(context.params, "payment_intent")
    if charge is None and intent is None:
        raise bad_parameter(
            "One of the following params should be provided for this request: payment_intent or charge.",
            code="parameter_missing",
        )
    if intent is None:
        return context.get("charge", charge or "", "charge")
    found = context.get("payment_intent", intent, "payment_intent")
    latest = context.find("charge", text(found.body, "latest_charge"))
    if latest is None or latest.body["status"] != "succeeded":
        raise invalid(f"This PaymentIntent ({intent}) does not have a successful charge to refund.", "payment_intent")
    if charge is not None and charge != latest.id:
        raise invalid(f"The charge {charge} is not that of the PaymentIntent {intent}.", "charge")
    if latest.body["captured"] is not True:
        raise invalid(
            f"This PaymentIntent ({intent}) has an uncaptured charge; cancel the PaymentIntent instead.",
            "payment_intent",
            "payment_intent_unexpected_state",
        )
    return latest


@answers("GET", "/v1/refunds/{refund}")
def retrieve(context: Context) -> Answer:
    """A refund."""
    return context.get("refund", context.ids["refund"], "refund").body


@answers("POST", "/v1/refunds/{refund}")
def update(context: Context) -> Answer:
    """Change a refund's metadata."""
    record = context.get("refund", context.ids["refund"], "refund")
    merge_metadata(record.body, context.params)
    context.save(record, "refund.updated")
    return record.body


@answers("POST", "/v1/refunds/{refund}/cancel")
def cancel(context: Context) -> Answer:
    """Only refunds that wait for the customer can be canceled; card refunds never do."""
    record = context.get("refund", context.ids["refund"], "refund")
    raise invalid(
        f"This refund can't be canceled because its status is {record.body['status']}; only refunds with the "
        "status requires_action can be canceled."
    )


@answers("GET", "/v1/refunds")
def list_refunds(context: Context) -> Answer:
    """Refunds, newest first."""
    return list_objects(context, "refund", {"charge": "charge", "payment_intent": "payment_intent"})

"""Charges made directly, and what they may do later."""

from spojit_stripe.sandbox import currencies, instruments, payments, shapes
from spojit_stripe.sandbox.cards import AUTHENTICATION
from spojit_stripe.sandbox.context import Answer, Context, assign, merge_metadata
from spojit_stripe.sandbox.errors import StripeError, bad_parameter, invalid, missing_parameter, no_such
from spojit_stripe.sandbox.instruments import Instrument
from spojit_stripe.sandbox.listing import list_objects, search_objects
from spojit_stripe.sandbox.payments import Payment
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.search import FIELDS
from spojit_stripe.sandbox.store import Filter
from spojit_stripe.sandbox.values import JsonObject, JsonValue, child, flag, integer, string, text

_CONNECT = (
    "application_fee",
    "application_fee_amount",
    "destination",
    "transfer_data",
)


@answers("POST", "/v1/charges", without=_CONNECT)
def create(context: Context) -> Answer:
    """Charge a token, or a customer's card."""
    params = context.params
    if "amount" not in params:
        raise missing_parameter("amount")
    currency = currencies.check(context.need("currency"))
    currencies.check_amount(integer(params, "amount"), currency)
    customer, chosen = _chosen(context)
    _no_authentication(chosen)
    metadata: JsonObject = {"metadata": {}}
    merge_metadata(metadata, params)
    payment = Payment(
        integer(params, "amount"),
        currency,
        capture=params.get("capture") is not False,
        customer=customer,
        description=params.get("description"),
        receipt_email=params.get("receipt_email"),
        statement_descriptor=params.get("statement_descriptor"),
        statement_descriptor_suffix=params.get("statement_descriptor_suffix"),
        transfer_group=params.get("transfer_group"),
        on_behalf_of=params.get("on_behalf_of"),
        shipping=params.get("shipping"),
        metadata=child(metadata, "metadata"),
    )
    record = payments.charge(context, chosen, payment)
    if record.body["status"] == "failed" and chosen.card.decline is not None:
        raise payments.decline_error(chosen.card.decline, record)
    return record.body


def _chosen(context: Context) -> tuple[str | None, Instrument]:
    params = context.params
    source = text(params, "source")
    customer = text(params, "customer")
    if customer is None:
        if source is None:
            raise bad_parameter("Must provide source or customer.", code="parameter_missing")
        if source.startswith("pm_"):
            raise no_such("token", source, "source", status=400)
        if source.startswith("card_"):
            raise invalid("You must provide the customer that this card belongs to.", "source", "missing")
        return None, instruments.make_source(context, source, None)
    record = context.live("customer", customer, "customer")
    if source is None:
        default = text(record.body, "default_source")
        card = context.find("card", default)
        if card is None:
            raise StripeError(
                402, "Cannot charge a customer that has no active card", kind="card_error", code="missing", param="card"
            )
        return customer, instruments.instrument(card)
    if source.startswith("tok_"):
        return customer, instruments.make_source(context, source, None)
    card = context.find("card", source)
    if card is None or card.body.get("customer") != customer:
        raise no_such("source", source, "source", status=400)
    return customer, instruments.instrument(card)


def _no_authentication(chosen: Instrument) -> None:
    """Charges can't ask the cardholder to authenticate: such cards are declined."""
    if chosen.needs_authentication:
        raise payments.decline_error(AUTHENTICATION, None)


@answers("GET", "/v1/charges/{charge}")
def retrieve(context: Context) -> Answer:
    """A charge."""
    return context.get("charge", context.ids["charge"]).body


@answers("POST", "/v1/charges/{charge}")
def update(context: Context) -> Answer:
    """Change what may be changed of a charge."""
    record = context.get("charge", context.ids["charge"])
    params = context.params
    customer = text(params, "customer")
    if customer is not None:
        if record.body["customer"] is not None:
            raise invalid("The customer of this charge is already set and can't be changed.", "customer")
        record.body["customer"] = context.live("customer", customer, "customer").id
    assign(record.body, params, "description", "receipt_email", "transfer_group", "fraud_details")
    if "shipping" in params:
        record.body["shipping"] = shapes.shipping(params["shipping"])
    merge_metadata(record.body, params)
    context.save(record, "charge.updated")
    return record.body


@answers("POST", "/v1/charges/{charge}/capture", without=_CONNECT)
def capture(context: Context) -> Answer:
    """Capture an authorised charge."""
    record = context.get("charge", context.ids["charge"])
    body = record.body
    if text(body, "payment_intent") is not None:
        raise invalid(
            "This charge was created by a PaymentIntent; capture it with the PaymentIntent's capture.", "charge"
        )
    if flag(body, "captured"):
        raise invalid(f"Charge {record.id} has already been captured.", code="charge_already_captured")
    if flag(body, "refunded"):
        raise invalid(f"Charge {record.id} has already been refunded.", code="charge_already_refunded")
    if body["status"] != "succeeded":
        raise invalid(f"Charge {record.id} did not succeed and can't be captured.")
    amount = integer(context.params, "amount") if "amount" in context.params else integer(body, "amount")
    if not 1 <= amount <= integer(body, "amount"):
        raise invalid(
            "You cannot capture a charge for an amount greater than it already has been authorized for.", "amount"
        )
    assign(body, context.params, "receipt_email", "statement_descriptor", "statement_descriptor_suffix")
    payments.capture(context, record, amount)
    return body


@answers("GET", "/v1/charges")
def list_charges(context: Context) -> Answer:
    """Charges, newest first."""
    names = ("customer", "payment_intent", "transfer_group")
    return list_objects(context, "charge", {name: name for name in names})


@answers("GET", "/v1/charges/search")
def search(context: Context) -> Answer:
    """Search charges."""
    return search_objects(context, "charge", FIELDS["charge"])


@answers("GET", "/v1/charges/{charge}/refunds")
def list_refunds(context: Context) -> Answer:
    """The refunds of a charge."""
    charge = context.get("charge", context.ids["charge"])
    return list_objects(context, "refund", filters=[Filter("charge = ?", (charge.id,))])


def refunds(context: Context, body: JsonObject) -> JsonValue:
    """The refunds inside a charge, when they are expanded."""
    identifier = string(body, "id")
    found = [record.body for record in reversed(context.records("refund", charge=identifier))]
    return context.sublist(f"/v1/charges/{identifier}/refunds", found)

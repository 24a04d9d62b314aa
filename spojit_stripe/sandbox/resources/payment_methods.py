"""Payment methods and tokens: cards only, by test number, token or `pm_card_…`."""

from spojit_stripe.sandbox import instruments, shapes
from spojit_stripe.sandbox.context import Answer, Context, assign, merge_metadata
from spojit_stripe.sandbox.errors import bad_parameter, invalid, missing_parameter
from spojit_stripe.sandbox.listing import list_objects
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.values import JsonObject, child, text


@answers("POST", "/v1/payment_methods")
def create(context: Context) -> Answer:
    """A new card payment method."""
    params = context.params
    kind = text(params, "type")
    if kind is None:
        raise missing_parameter("type")
    if kind != "card":
        raise bad_parameter(f"The payment method type {kind!r} is not supported by this sandbox.", "type")
    if "card" not in params:
        raise missing_parameter("card")
    card, expiry = instruments.card_from_data(context, child(params, "card"), "card")
    made = instruments.make_payment_method(
        context, card, billing=child(params, "billing_details"), expiry=expiry, metadata=_metadata(params)
    )
    if text(params, "allow_redisplay"):
        made.record.body["allow_redisplay"] = params["allow_redisplay"]
        context.save(made.record)
    return made.record.body


@answers("GET", "/v1/payment_methods/{payment_method}")
def retrieve(context: Context) -> Answer:
    """A payment method; for a test one (`pm_card_visa`), a fresh one."""
    return instruments.payment_method(context, context.ids["payment_method"]).record.body


@answers("POST", "/v1/payment_methods/{payment_method}")
def update(context: Context) -> Answer:
    """Change billing details, expiry or metadata of an attached payment method."""
    record = context.get("payment_method", context.ids["payment_method"], "payment_method")
    if record.body["customer"] is None:
        raise invalid("You must save this PaymentMethod to a customer before you can update it.", "payment_method")
    assign(record.body, context.params, "allow_redisplay")
    merge_metadata(record.body, context.params)
    if "billing_details" in context.params:
        merged = {**child(record.body, "billing_details"), **child(context.params, "billing_details")}
        record.body["billing_details"] = shapes.billing_details(merged)
    if "card" in context.params:
        card = dict(child(record.body, "card"))
        assign(card, child(context.params, "card"), "exp_month", "exp_year")
        record.body["card"] = card
    context.save(record, "payment_method.updated")
    return record.body


@answers("POST", "/v1/payment_methods/{payment_method}/attach")
def attach(context: Context) -> Answer:
    """Attach to a customer."""
    customer = context.live("customer", context.need("customer"), "customer")
    chosen = instruments.payment_method(context, context.ids["payment_method"])
    instruments.attach(context, chosen, customer.id)
    return chosen.record.body


@answers("POST", "/v1/payment_methods/{payment_method}/detach")
def detach(context: Context) -> Answer:
    """Detach from the customer, for ever."""
    record = context.get("payment_method", context.ids["payment_method"], "payment_method")
    owner = text(record.body, "customer")
    if owner is None:
        raise invalid(
            "The payment method you provided is not attached to a customer so detachment is impossible.",
            "payment_method",
        )
    record.body["customer"] = None
    record.private["spent"] = True
    context.save(record)
    context.event("payment_method.detached", record.body, {"customer": owner})
    customer = context.find("customer", owner)
    settings = child(customer.body, "invoice_settings") if customer is not None else {}
    if customer is not None and settings.get("default_payment_method") == record.id:
        settings["default_payment_method"] = None
        context.save(customer, "customer.updated")
    return record.body


@answers("GET", "/v1/payment_methods")
def list_methods(context: Context) -> Answer:
    """Payment methods, of one customer or all."""
    columns = {"customer": "customer", "type": "kind"}
    return list_objects(context, "payment_method", columns)


@answers("POST", "/v1/tokens")
def create_token(context: Context) -> Answer:
    """A single-use token for a card's data."""
    if "card" not in context.params:
        raise bad_parameter("This sandbox makes tokens of cards only; `card` is missing.", "card", "parameter_missing")
    card, expiry = instruments.card_from_data(context, child(context.params, "card"), "card")
    shown = shapes.source_card(context.new_id("card"), card, instruments.fingerprint(card), *expiry)
    assign(shown, child(context.params, "card"), "name", "address_zip", "address_country")
    body: JsonObject = {
        "id": context.new_id("tok"),
        "object": "token",
        "card": shown,
        "client_ip": "127.0.0.1",
        "created": context.now,
        "livemode": context.livemode,
        "type": "card",
        "used": False,
    }
    return context.insert(body, private={"number": card.number}).body


@answers("GET", "/v1/tokens/{token}")
def retrieve_token(context: Context) -> Answer:
    """A token."""
    return context.get("token", context.ids["token"]).body


def _metadata(params: JsonObject) -> JsonObject:
    body: JsonObject = {"metadata": {}}
    merge_metadata(body, params)
    return child(body, "metadata")

"""Setup intents: a card made ready for later payments, without one."""

from spojit_stripe.sandbox import instruments, payments
from spojit_stripe.sandbox.cards import AUTHENTICATION, Decline
from spojit_stripe.sandbox.context import Answer, Context, assign, merge_metadata
from spojit_stripe.sandbox.errors import StripeError, bad_parameter, invalid
from spojit_stripe.sandbox.instruments import Instrument
from spojit_stripe.sandbox.listing import list_objects
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.store import Filter, Record
from spojit_stripe.sandbox.values import JsonObject, flag, string, text

_NOT_DONE = (
    "attach_to_self",
    "confirmation_token",
    "customer_account",
    "flow_directions",
    "payment_method_data",
    "single_use",
)
_OPEN = ("requires_action", "requires_confirmation", "requires_payment_method")


@answers("POST", "/v1/setup_intents", without=_NOT_DONE)
def create(context: Context) -> Answer:
    """A new setup intent; with `confirm` it is attempted at once."""
    params = context.params
    owner = text(params, "customer")
    customer = context.live("customer", owner, "customer").id if owner is not None else None
    identifier = context.new_id("seti")
    body: JsonObject = {
        "id": identifier,
        "object": "setup_intent",
        "allowed_payment_method_types": None,
        "application": None,
        "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
        "cancellation_reason": None,
        "client_secret": f"{identifier}_secret_{context.secret(25)}",
        "created": context.now,
        "customer": customer,
        "customer_account": None,
        "description": text(params, "description"),
        "excluded_payment_method_types": None,
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": context.livemode,
        "mandate": None,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": params.get("on_behalf_of"),
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": None,
        "payment_method_types": ["card"],
        "single_use_mandate": None,
        "status": "requires_payment_method",
        "usage": text(params, "usage") or "off_session",
    }
    merge_metadata(body, params)
    record = context.insert(body, "setup_intent.created")
    _use_method(context, record)
    context.save(record)
    if flag(params, "confirm"):
        _confirm(context, record)
    elif "return_url" in params:
        raise bad_parameter("`return_url` is only allowed when `confirm` is true.", "return_url")
    return record.body


def _use_method(context: Context, record: Record) -> None:
    given = text(context.params, "payment_method")
    if given is not None:
        record.body["payment_method"] = instruments.payment_method(context, given).id
        record.body["status"] = "requires_confirmation"


@answers("GET", "/v1/setup_intents/{intent}")
def retrieve(context: Context) -> Answer:
    """A setup intent."""
    return _get(context).body


@answers("POST", "/v1/setup_intents/{intent}", without=_NOT_DONE)
def update(context: Context) -> Answer:
    """Change a setup intent that is not done."""
    record = _get(context)
    _check_open(record, "update")
    assign(record.body, context.params, "description")
    merge_metadata(record.body, context.params)
    owner = text(context.params, "customer")
    if owner is not None:
        record.body["customer"] = context.live("customer", owner, "customer").id
    _use_method(context, record)
    context.save(record)
    return record.body


@answers("POST", "/v1/setup_intents/{intent}/confirm", without=_NOT_DONE)
def confirm(context: Context) -> Answer:
    """Attempt to set the card up."""
    record = _get(context)
    _check_open(record, "confirm")
    _use_method(context, record)
    _confirm(context, record)
    return record.body


@answers("POST", "/v1/setup_intents/{intent}/cancel")
def cancel(context: Context) -> Answer:
    """Give a setup intent up."""
    record = _get(context)
    _check_open(record, "cancel")
    record.body.update(status="canceled", cancellation_reason=text(context.params, "cancellation_reason"))
    record.body["next_action"] = None
    context.save(record, "setup_intent.canceled")
    return record.body


@answers("GET", "/v1/setup_intents", without=("attach_to_self", "customer_account"))
def list_intents(context: Context) -> Answer:
    """Setup intents, newest first."""
    method = text(context.params, "payment_method")
    where = "json_extract(CAST(body AS TEXT), '$.payment_method') = ?"
    filters = [Filter(where, (method,))] if method is not None else []
    return list_objects(context, "setup_intent", {"customer": "customer"}, filters=filters)


def authenticate(context: Context, identifier: str, *, succeed: bool) -> JsonObject:
    """The customer of a setup intent that requires action authenticates, or fails to."""
    record = context.get("setup_intent", identifier, "intent")
    if record.body["status"] != "requires_action":
        raise invalid(f"This SetupIntent does not require action: its status is {record.body['status']}.")
    chosen = instruments.payment_method(context, string(record.body, "payment_method"))
    if succeed and chosen.card.decline is None:
        _succeed(context, record, chosen)
    else:
        _fail(context, record, chosen, chosen.card.decline or AUTHENTICATION)
    return record.body


def _confirm(context: Context, record: Record) -> None:
    method = text(record.body, "payment_method")
    if method is None:
        raise bad_parameter(
            "You cannot confirm this SetupIntent because it's missing a payment method.",
            "payment_method",
            "parameter_missing",
        )
    chosen = instruments.payment_method(context, method)
    if chosen.needs_authentication:
        action: JsonObject = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
        record.body.update(status="requires_action", next_action=action)
        context.save(record, "setup_intent.requires_action")
        return
    if chosen.card.decline is not None and not chosen.card.attachable:
        _fail(context, record, chosen, chosen.card.decline)
        extra: JsonObject = {"setup_intent": record.body, "payment_method": chosen.record.body}
        raise payments.decline_error(chosen.card.decline, None, extra)
    _succeed(context, record, chosen)


def _succeed(context: Context, record: Record, chosen: Instrument) -> None:
    customer = text(record.body, "customer")
    chosen.record.private["set_up"] = True
    if customer is not None and chosen.customer is None:
        instruments.attach(context, chosen, customer)
    else:
        context.save(chosen.record)
    record.body.update(status="succeeded", next_action=None, last_setup_error=None)
    context.save(record, "setup_intent.succeeded")


def _fail(context: Context, record: Record, chosen: Instrument, decline: Decline) -> None:
    error: JsonObject = {
        "code": decline.code,
        "decline_code": decline.decline_code,
        "doc_url": f"https://docs.stripe.com/error-codes/{decline.code.replace('_', '-')}",
        "message": decline.message,
        "payment_method": chosen.record.body,
        "type": "card_error",
    }
    record.body.update(status="requires_payment_method", payment_method=None, next_action=None, last_setup_error=error)
    context.save(record, "setup_intent.setup_failed")


def _check_open(record: Record, what: str) -> None:
    if record.body["status"] not in _OPEN:
        raise StripeError(
            400,
            f"You cannot {what} this SetupIntent because it has a status of {record.body['status']}.",
            code="setup_intent_unexpected_state",
            extra={"setup_intent": record.body},
        )


def _get(context: Context) -> Record:
    return context.get("setup_intent", context.ids["intent"], "intent")

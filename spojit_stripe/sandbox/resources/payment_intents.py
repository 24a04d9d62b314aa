"""Payment intents: the states of a payment, from creation to capture or cancel."""

from spojit_stripe.sandbox import billing, currencies, instruments, payments, shapes
from spojit_stripe.sandbox.cards import Decline
from spojit_stripe.sandbox.context import Answer, Context, assign, merge_metadata
from spojit_stripe.sandbox.errors import bad_parameter, invalid
from spojit_stripe.sandbox.instruments import Instrument
from spojit_stripe.sandbox.intents import Manner, attempt, cancel_intent, confirm_with, fail, new_body, unexpected
from spojit_stripe.sandbox.listing import list_objects, search_objects
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.search import FIELDS
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.values import JsonObject, child, flag, integer, string, text

_CANCELABLE = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
    "processing",
)
_CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
_PLAIN = (
    "description",
    "on_behalf_of",
    "receipt_email",
    "setup_future_usage",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)
_ONLY_WITH_CONFIRM = ("off_session", "error_on_requires_action", "return_url", "mandate", "mandate_data")

_NOT_DONE = (
    "amount_details",
    "amount_to_confirm",
    "application_fee_amount",
    "confirmation_token",
    "hooks",
    "mandate",
    "mandate_data",
    "payment_method_data",
    "transfer_data",
)


@answers("POST", "/v1/payment_intents", without=_NOT_DONE)
def create(context: Context) -> Answer:
    """A new payment intent, confirmed at once if asked."""
    params = context.params
    currency = currencies.check(string(params, "currency"))
    currencies.check_amount(integer(params, "amount"), currency)
    if params.get("confirm") is not True:
        for name in _ONLY_WITH_CONFIRM:
            if name in params:
                message = f"You can only pass in {name} when `confirm` is set to `true`."
                raise bad_parameter(message, name)
    record = context.insert(new_body(context, integer(params, "amount"), currency))
    _assign(context, record)
    context.save(record)
    context.event("payment_intent.created", record.body)
    if params.get("confirm") is True:
        _confirm(context, record)
    return record.body


@answers("GET", "/v1/payment_intents/{intent}")
def retrieve(context: Context) -> Answer:
    """A payment intent."""
    return _get(context).body


@answers("POST", "/v1/payment_intents/{intent}", without=_NOT_DONE)
def update(context: Context) -> Answer:
    """Change a payment intent that has not been paid."""
    record = _get(context)
    body, params = record.body, context.params
    if body["status"] not in _CONFIRMABLE:
        for name in ("amount", "currency", "customer", "payment_method", "payment_method_data"):
            if name in params:
                raise unexpected(
                    record,
                    f"This PaymentIntent's {name} could not be updated because it has a status of "
                    f"{body['status']}. You may only update the {name} of a PaymentIntent with one of the "
                    f"following statuses: {', '.join(_CONFIRMABLE)}.",
                    name,
                )
    if "amount" in params:
        body["amount"] = integer(params, "amount")
    if "currency" in params:
        body["currency"] = currencies.check(string(params, "currency"))
    currencies.check_amount(integer(body, "amount"), string(body, "currency"))
    _assign(context, record)
    context.save(record)
    return body


@answers("POST", "/v1/payment_intents/{intent}/confirm", without=_NOT_DONE)
def confirm(context: Context) -> Answer:
    """Attempt the payment."""
    record = _get(context)
    status = string(record.body, "status")
    if status not in _CONFIRMABLE:
        done = "because it has already succeeded after being previously confirmed" if status == "succeeded" else None
        raise unexpected(
            record,
            f"You cannot confirm this PaymentIntent {done or f'because it has a status of {status}'}.",
        )
    _assign(context, record)
    context.save(record)
    _confirm(context, record)
    return record.body


@answers("POST", "/v1/payment_intents/{intent}/capture", without=_NOT_DONE)
def capture(context: Context) -> Answer:
    """Capture what was authorised, in full or in part."""
    record = _get(context)
    body = record.body
    if body["status"] != "requires_capture":
        raise unexpected(
            record,
            f"This PaymentIntent could not be captured because it has a status of {body['status']}. Only a "
            "PaymentIntent with one of the following statuses may be captured: requires_capture.",
        )
    amount = integer(body, "amount_capturable")
    if "amount_to_capture" in context.params:
        wanted = integer(context.params, "amount_to_capture")
        if not 1 <= wanted <= amount:
            raise invalid(
                f"The provided amount_to_capture ({wanted}) is not between 1 and the amount that can be captured "
                f"({amount}).",
                "amount_to_capture",
                "amount_too_large" if wanted > amount else "parameter_invalid_integer",
            )
        amount = wanted
    assign(body, context.params, "statement_descriptor", "statement_descriptor_suffix")
    merge_metadata(body, context.params)
    payments.capture(context, context.get("charge", string(body, "latest_charge")), amount)
    body.update(status="succeeded", amount_capturable=0, amount_received=amount)
    context.save(record, "payment_intent.succeeded")
    return body


@answers("POST", "/v1/payment_intents/{intent}/cancel")
def cancel(context: Context) -> Answer:
    """Cancel; an authorised amount is released."""
    record = _get(context)
    body = record.body
    if body["status"] not in _CANCELABLE:
        raise unexpected(
            record,
            f"You cannot cancel this PaymentIntent because it has a status of {body['status']}. Only a "
            "PaymentIntent with one of the following statuses may be canceled: " + ", ".join(_CANCELABLE) + ".",
        )
    cancel_intent(context, record, text(context.params, "cancellation_reason"))
    return body


@answers("GET", "/v1/payment_intents")
def list_intents(context: Context) -> Answer:
    """Payment intents, newest first."""
    return list_objects(context, "payment_intent", {"customer": "customer"})


@answers("GET", "/v1/payment_intents/search")
def search(context: Context) -> Answer:
    """Search payment intents."""
    return search_objects(context, "payment_intent", FIELDS["payment_intent"])


def authenticate(context: Context, identifier: str, *, succeed: bool) -> JsonObject:
    """The customer answers the request for authentication: the part of the browser, for tests."""
    record = context.get("payment_intent", identifier, "intent")
    if record.body["status"] != "requires_action":
        raise unexpected(record, f"This PaymentIntent does not wait for the customer: {record.body['status']}.")
    record.body["next_action"] = None
    chosen = instruments.payment_method(context, string(record.body, "payment_method"))
    if succeed:
        attempt(context, record, chosen, chosen.card.decline)
        billing.intent_succeeded(context, record)
        return record.body
    failure = Decline(
        "payment_intent_authentication_failure",
        "",
        "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
        "PaymentMethod to attempt to fulfill this PaymentIntent again.",
    )
    fail(context, record, chosen, failure, None, kind="invalid_request_error")
    return record.body


# Confirmation


def _get(context: Context) -> Record:
    return context.get("payment_intent", context.ids["intent"], "intent")


def _confirm(context: Context, record: Record) -> None:
    params, body = context.params, record.body
    identifier = text(body, "payment_method")
    if identifier is None:
        raise unexpected(
            record,
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update "
            "the PaymentIntent with a payment method and then confirm it again, or confirm it again directly with "
            "a payment method or ConfirmationToken.",
        )
    off_session = params.get("off_session")
    manner = Manner(
        off_session=off_session is True or isinstance(off_session, str),
        refuse_action=flag(params, "error_on_requires_action"),
        return_url=text(params, "return_url"),
    )
    _check_return_url(context, record, manner)
    chosen = instruments.payment_method(context, identifier)
    confirm_with(context, record, chosen, manner)
    billing.intent_succeeded(context, record)


def _check_return_url(context: Context, record: Record, manner: Manner) -> None:
    automatic = child(record.body, "automatic_payment_methods")
    redirects = flag(automatic, "enabled") and automatic.get("allow_redirects") == "always"
    asks = manner.off_session or manner.refuse_action or flag(context.params, "use_stripe_sdk")
    if redirects and not asks and manner.return_url is None:
        raise unexpected(
            record,
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some "
            "of these payment methods might redirect your customer off of your page, you must provide a "
            "`return_url`. If you don't want to accept redirect-based payment methods, set "
            "`automatic_payment_methods[enabled]` to `true` and `automatic_payment_methods[allow_redirects]` to "
            "`never` when creating Setup Intents and Payment Intents.",
            code=None,
        )


# Parameters


def _assign(context: Context, record: Record) -> None:
    body, params = record.body, context.params
    assign(body, params, *_PLAIN)
    merge_metadata(body, params)
    for name in ("capture_method", "confirmation_method", "allowed_payment_method_types"):
        if params.get(name):
            body[name] = params[name]
    if "allowed_payment_method_types" in params or "excluded_payment_method_types" in params:
        assign(body, params, "excluded_payment_method_types")
    if params.get("allowed_payment_method_types"):
        body["automatic_payment_methods"] = None
        body["payment_method_types"] = params["allowed_payment_method_types"]
    if "automatic_payment_methods" in params:
        given = child(params, "automatic_payment_methods")
        enabled = flag(given, "enabled")
        body["automatic_payment_methods"] = (
            {"allow_redirects": given.get("allow_redirects") or "always", "enabled": True} if enabled else None
        )
    if "shipping" in params:
        body["shipping"] = shapes.shipping(params["shipping"])
    customer = text(params, "customer")
    if customer is not None:
        body["customer"] = context.live("customer", customer, "customer").id
    chosen = _given_method(context)
    if chosen is not None:
        _check_owner(chosen, text(body, "customer"))
        body["payment_method"] = chosen.id
        body["status"] = "requires_confirmation"


def _given_method(context: Context) -> Instrument | None:
    params = context.params
    identifier = text(params, "payment_method")
    if identifier is not None:
        return instruments.payment_method(context, identifier)
    return None


def _check_owner(chosen: Instrument, customer: str | None) -> None:
    owner = chosen.customer
    if owner is None and flag(chosen.record.private, "spent"):
        raise invalid(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, "
            "shared with a connected account without Customer attachment, or was detached from a Customer. It may "
            "not be used again. To use a PaymentMethod multiple times, you must attach it to a Customer first.",
            "payment_method",
        )
    if owner is not None and customer is None:
        raise invalid(
            f"The payment method {chosen.id} belongs to the Customer {owner}. Please include the Customer in the "
            "`customer` parameter on the PaymentIntent.",
            "payment_method",
        )
    if owner is not None and owner != customer:
        raise invalid(
            f"The payment method {chosen.id} belongs to another Customer than {customer}. Please provide a "
            "payment method that belongs to this Customer.",
            "payment_method",
        )

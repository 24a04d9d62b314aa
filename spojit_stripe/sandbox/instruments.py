"""Payment methods and card sources: what is charged, from an id, a test token or card data."""

import time
from dataclasses import dataclass

from spojit_stripe.sandbox import shapes
from spojit_stripe.sandbox.cards import Card, attach_refusal, by_number, named, numbered
from spojit_stripe.sandbox.context import Context
from spojit_stripe.sandbox.errors import bad_parameter, invalid, missing_parameter, no_such
from spojit_stripe.sandbox.ids import derive
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.values import JsonObject, child, flag, integer, string, text


@dataclass(frozen=True)
class Instrument:
    """Something chargeable: its stored object and the test card behind it."""

    record: Record
    card: Card

    @property
    def id(self) -> str:
        """The id of the payment method or card."""
        return self.record.id

    @property
    def customer(self) -> str | None:
        """The customer that it is attached to."""
        return text(self.record.body, "customer")

    @property
    def billing(self) -> JsonObject:
        """Its billing details."""
        return shapes.billing_details(child(self.record.body, "billing_details"))

    @property
    def needs_authentication(self) -> bool:
        """Whether the cardholder has to authenticate each payment."""
        if self.card.authentication == "unless_set_up":
            return not flag(self.record.private, "set_up")
        return self.card.authentication == "always"

    def details(self, amount: int) -> JsonObject:
        """The `payment_method_details` of a charge."""
        shown = self.record.body if self.record.body["object"] == "card" else child(self.record.body, "card")
        return shapes.charge_card(
            self.card, amount, string(shown, "fingerprint"), integer(shown, "exp_month"), integer(shown, "exp_year")
        )


def instrument(record: Record) -> Instrument:
    """The chargeable thing that a stored object is."""
    return Instrument(record, by_number(string(record.private, "number")))


def payment_method(context: Context, identifier: str, param: str = "payment_method") -> Instrument:
    """The payment method with this id; a test one (`pm_card_visa`) is made on the spot."""
    card = named(identifier, "pm_card_")
    if card is not None:
        return make_payment_method(context, card)
    record = context.find("payment_method", identifier) or context.find("card", identifier)
    if record is None or record.body.get("deleted") is True:
        raise context.missing("payment_method", identifier, param)
    return instrument(record)


def make_payment_method(
    context: Context,
    card: Card,
    *,
    billing: JsonObject | None = None,
    expiry: tuple[int, int] | None = None,
    metadata: JsonObject | None = None,
    customer: str | None = None,
) -> Instrument:
    """A new card payment method."""
    month, year = expiry or default_expiry(context.now)
    body: JsonObject = {
        "id": context.new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": shapes.billing_details(billing),
        "card": shapes.payment_method_card(card, fingerprint(card), month, year),
        "created": context.now,
        "customer": customer,
        "customer_account": None,
        "livemode": context.livemode,
        "metadata": metadata or {},
        "radar_options": {},
        "type": "card",
    }
    return Instrument(context.insert(body, private={"number": card.number}), card)


def attach(context: Context, chosen: Instrument, customer: str) -> None:
    """Attach a payment method to a customer; declined cards are refused, as Stripe does."""
    refusal = attach_refusal(chosen.card)
    if refusal is not None:
        raise refusal
    owner = chosen.customer
    if owner is not None and owner != customer:
        raise invalid(
            "The payment method you provided has already been attached to a customer.",
            code="payment_method_unexpected_state",
        )
    if flag(chosen.record.private, "spent"):
        raise invalid(
            "This PaymentMethod was previously used without being attached to a Customer or was detached from a "
            "Customer, and may not be used again.",
        )
    chosen.record.body["customer"] = customer
    context.save(chosen.record, "payment_method.attached")


def make_source(context: Context, source: str, customer: str | None, param: str = "source") -> Instrument:
    """The card source of a token: a test token (`tok_visa`) or one made by `POST /v1/tokens`."""
    card = named(source, "tok_")
    expiry = default_expiry(context.now)
    if card is None:
        token = context.find("token", source)
        if token is None:
            raise no_such("token", source, param, status=400)
        if flag(token.body, "used"):
            raise invalid(f"You cannot use a Stripe token more than once: {source}.", param, "token_already_used")
        token.body["used"] = True
        context.save(token)
        card = by_number(string(token.private, "number"))
        shown = child(token.body, "card")
        expiry = (integer(shown, "exp_month"), integer(shown, "exp_year"))
    refusal = attach_refusal(card) if customer is not None else None
    if refusal is not None:
        raise refusal
    body = shapes.source_card(context.new_id("card"), card, fingerprint(card), *expiry)
    body["customer"] = customer
    created: JsonObject = {"number": card.number, "created": context.now}
    return Instrument(context.insert(body, private=created), card)


def card_from_data(context: Context, data: JsonObject, path: str) -> tuple[Card, tuple[int, int]]:
    """The card and expiry of card data: a test number, or a token."""
    token = text(data, "token")
    if token is not None:
        card = named(token, "tok_")
        if card is None:
            card = by_number(string(context.live("token", token, f"{path}[token]").private, "number"))
        return card, default_expiry(context.now)
    number = text(data, "number")
    if number is None:
        raise missing_parameter(f"{path}[number]")
    for name in ("exp_month", "exp_year"):
        if name not in data:
            raise missing_parameter(f"{path}[{name}]")
    month, year = _whole(data, "exp_month", path), _whole(data, "exp_year", path)
    if not 1 <= month <= 12:
        raise bad_parameter("Your card's expiration month is invalid.", f"{path}[exp_month]", "invalid_expiry_month")
    year += 2000 if year < 100 else 0
    if (year, month) < time.gmtime(context.now)[:2]:
        raise bad_parameter("Your card's expiration year is invalid.", f"{path}[exp_year]", "invalid_expiry_year")
    return numbered(number, f"{path}[number]"), (month, year)


def _whole(data: JsonObject, name: str, path: str) -> int:
    """A number that tokens take as text and payment methods as an integer."""
    value = data[name]
    if isinstance(value, int):
        return value
    if not isinstance(value, str) or not value.isdigit():
        raise bad_parameter(f"Invalid integer: {value}", f"{path}[{name}]", "parameter_invalid_integer")
    return int(value)


def default_expiry(now: int) -> tuple[int, int]:
    """The expiry of test tokens: the same month in two years."""
    year, month = time.gmtime(now)[:2]
    return month, year + 2


def fingerprint(card: Card) -> str:
    """Equal for equal numbers."""
    return derive(f"card/{card.number}", 16)


def of_customer(context: Context, customer: Record) -> Instrument | None:
    """What a customer pays with unless told otherwise: the default payment method, else the source."""
    settings = child(customer.body, "invoice_settings")
    for identifier in (text(settings, "default_payment_method"), text(customer.body, "default_source")):
        record = context.store.find(context.scope, identifier) if identifier else None
        if record is not None and record.body.get("deleted") is not True:
            return instrument(record)
    return None

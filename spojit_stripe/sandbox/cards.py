"""Stripe's documented test cards: numbers, tokens (`tok_…`), payment methods (`pm_card_…`).

A card's number decides what happens when it is charged. The table holds what the
documents say about each; nothing else about a card changes an outcome.
"""

from dataclasses import dataclass

from spojit_stripe.sandbox.errors import StripeError
from spojit_stripe.sandbox.values import JsonObject


@dataclass(frozen=True)
class Decline:
    """How a charge fails: Stripe's code, decline code, message and advice."""

    code: str
    decline_code: str
    message: str
    param: str | None = None
    advice: str | None = None
    blocked: bool = False


@dataclass(frozen=True)
class Card:
    """A test card and what it does."""

    number: str
    brand: str = "visa"
    country: str = "US"
    funding: str = "credit"
    decline: Decline | None = None
    attachable: bool = True  # to a customer; declined cards are refused there
    authentication: str = ""  # "always", or "unless_set_up"
    dispute: str = ""  # the reason of the dispute that follows a charge
    inquiry: bool = False
    refund: str = ""  # "pending" or "failed": how refunds end later
    instant: bool = False  # funds are available at once
    risk: str = "normal"

    @property
    def last4(self) -> str:
        """The last four digits."""
        return self.number[-4:]


_DECLINED = "Your card was declined."
GENERIC = Decline("card_declined", "generic_decline", _DECLINED, advice="try_again_later")
FUNDS = Decline("card_declined", "insufficient_funds", "Your card has insufficient funds.", advice="try_again_later")
LOST = Decline("card_declined", "lost_card", _DECLINED, advice="do_not_try_again")
STOLEN = Decline("card_declined", "stolen_card", _DECLINED, advice="do_not_try_again")
VELOCITY = Decline(
    "card_declined",
    "card_velocity_exceeded",
    "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    advice="try_again_later",
)
EXPIRED = Decline("expired_card", "expired_card", "Your card has expired.", "exp_month", "confirm_card_data")
CVC = Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.", "cvc", "confirm_card_data")
PROCESSING = Decline(
    "processing_error",
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
    advice="try_again_later",
)
FRAUDULENT = Decline("card_declined", "fraudulent", _DECLINED, blocked=True)
AUTHENTICATION = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)

# The names after `tok_` and `pm_card_`.
_NAMED: dict[str, Card] = {
    "visa": Card("4242424242424242"),
    "visa_debit": Card("4000056655665556", funding="debit"),
    "mastercard": Card("5555555555554444", "mastercard"),
    "mastercard_debit": Card("5200828282828210", "mastercard", funding="debit"),
    "mastercard_prepaid": Card("5105105105105100", "mastercard", funding="prepaid"),
    "amex": Card("378282246310005", "amex"),
    "discover": Card("6011111111111117", "discover"),
    "diners": Card("3056930009020004", "diners"),
    "jcb": Card("3566002020360505", "jcb", "JP"),
    "unionpay": Card("6200000000000005", "unionpay", "CN"),
    "us": Card("4242424242424242"),
    "br": Card("4000000760000002", country="BR"),
    "ca": Card("4000001240000000", country="CA"),
    "mx": Card("4000004840008001", country="MX"),
    "at": Card("4000000400000008", country="AT"),
    "be": Card("4000000560000004", country="BE"),
    "ch": Card("4000007560000009", country="CH"),
    "de": Card("4000002760000016", country="DE"),
    "dk": Card("4000002080000001", country="DK"),
    "es": Card("4000007240000007", country="ES"),
    "fr": Card("4000002500000003", country="FR"),
    "gb": Card("4000008260000000", country="GB"),
    "ie": Card("4000003720000005", country="IE"),
    "it": Card("4000003800000008", country="IT"),
    "nl": Card("4000005280000002", country="NL"),
    "se": Card("4000007520000008", country="SE"),
    "au": Card("4000000360000006", country="AU"),
    "in": Card("4000003560000008", country="IN"),
    "jp": Card("4000003920000003", country="JP"),
    "sg": Card("4000007020000003", country="SG"),
    "visa_chargeDeclined": Card("4000000000000002", decline=GENERIC, attachable=False),
    "visa_chargeDeclinedInsufficientFunds": Card("4000000000009995", decline=FUNDS, attachable=False),
    "visa_chargeDeclinedLostCard": Card("4000000000009987", decline=LOST, attachable=False),
    "visa_chargeDeclinedStolenCard": Card("4000000000009979", decline=STOLEN, attachable=False),
    "visa_chargeDeclinedVelocityLimitExceeded": Card("4000000000006975", decline=VELOCITY, attachable=False),
    "chargeDeclinedExpiredCard": Card("4000000000000069", decline=EXPIRED, attachable=False),
    "chargeDeclinedIncorrectCvc": Card("4000000000000127", decline=CVC, attachable=False),
    "chargeDeclinedProcessingError": Card("4000000000000119", decline=PROCESSING, attachable=False),
    "chargeDeclinedFraudulent": Card("4100000000000019", decline=FRAUDULENT, attachable=False, risk="highest"),
    "chargeCustomerFail": Card("4000000000000341", decline=GENERIC),
    "riskLevelElevated": Card("4000000000009235", risk="elevated"),
    "riskLevelHighest": Card("4000000000004954", risk="highest"),
    "createDispute": Card("4000000000000259", dispute="fraudulent"),
    "createDisputeProductNotReceived": Card("4000000000002685", dispute="product_not_received"),
    "createDisputeInquiry": Card("4000000000001976", dispute="fraudulent", inquiry=True),
    "pendingRefund": Card("4000000000007726", refund="pending"),
    "refundFail": Card("4000000000005126", refund="failed"),
    "bypassPending": Card("4000000000000077", instant=True),
    "threeDSecure2Required": Card("4000000000003220", authentication="always"),
    "threeDSecureRequired": Card("4000000000003063", authentication="always"),
    "threeDSecureRequiredChargeDeclined": Card("4000008400001629", authentication="always", decline=GENERIC),
    "authenticationRequired": Card("4000002760003184", country="DE", authentication="always"),
    "authenticationRequiredOnSetup": Card("4000002500003155", country="FR", authentication="unless_set_up"),
    "authenticationRequiredChargeDeclinedInsufficientFunds": Card(
        "4000008260003178", country="GB", authentication="always", decline=FUNDS
    ),
}
_ALIASES = {
    "chargeDeclined": "visa_chargeDeclined",
    "chargeDeclinedInsufficientFunds": "visa_chargeDeclinedInsufficientFunds",
    "radarBlock": "chargeDeclinedFraudulent",
}
_MORE_NUMBERS = {"2223003122003222": _NAMED["mastercard"], "371449635398431": _NAMED["amex"]}
_BY_NUMBER = {card.number: card for card in _NAMED.values()} | _MORE_NUMBERS


def named(identifier: str, prefix: str) -> Card | None:
    """The card of a test token such as `tok_visa` or `pm_card_visa`."""
    if not identifier.startswith(prefix):
        return None
    name = identifier.removeprefix(prefix)
    return _NAMED.get(_ALIASES.get(name, name))


def numbered(number: str, param: str) -> Card:
    """The card with this number; numbers that are not Stripe's test cards are refused as Stripe does."""
    digits = number.replace(" ", "").replace("-", "")
    card = _BY_NUMBER.get(digits)
    if card is not None:
        return card
    if not digits.isdigit() or not _luhn(digits):
        raise _card_error("Your card number is incorrect.", "incorrect_number", param)
    raise _card_error(
        "Your card was declined. Your request was in test mode, but used a non test card. For a list of valid "
        "test cards, visit: https://stripe.com/docs/testing.",
        "card_declined",
        param,
        "test_mode_live_card",
    )


def by_number(number: str) -> Card:
    """The card behind a stored number."""
    return _BY_NUMBER.get(number, _NAMED["visa"])


def attach_refusal(card: Card) -> StripeError | None:
    """Why this card can't be attached to a customer, if it can't."""
    if card.decline is None or card.attachable:
        return None
    return StripeError(
        402,
        card.decline.message,
        kind="card_error",
        code=card.decline.code,
        param=card.decline.param,
        extra={"decline_code": card.decline.decline_code},
    )


def _card_error(message: str, code: str, param: str, decline_code: str | None = None) -> StripeError:
    extra: JsonObject = {"decline_code": decline_code} if decline_code else {}
    return StripeError(402, message, kind="card_error", code=code, param=param, extra=extra)


def _luhn(digits: str) -> bool:
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + position % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0

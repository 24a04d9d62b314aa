"""Money as Stripe counts it: integers in a currency's minor unit.

The exponents and special cases are Stripe's (https://docs.stripe.com/currencies), which
differ from ISO 4217 for some currencies.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

from spojit_stripe.errors import InputError

__all__ = ["exponent", "fault_of_amount", "format_amount", "to_minor"]

_ZERO_DECIMAL = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"]
)
_THREE_DECIMAL = frozenset(("bhd", "jod", "kwd", "omr", "tnd"))
# Sent with two decimals that must be 00, although the currency has none in daily use.
_WHOLE_UNITS_ONLY = frozenset(("isk", "ugx"))
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_DECIMAL = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?")
_MOST_DIGITS = 30


def exponent(currency: str) -> int:
    """The number of decimals of Stripe's minor unit: 0, 2 or 3.

    Raises `InputError` where `currency` has not the shape of an ISO code.
    """
    if not _CURRENCY.fullmatch(currency):
        raise InputError(f"currency: {currency!r} is no three-letter currency code such as 'usd'")
    code = currency.lower()
    if code in _ZERO_DECIMAL:
        return 0
    return 3 if code in _THREE_DECIMAL else 2


def format_amount(amount: int, currency: str) -> str:
    """`format_amount(123456, "usd") == "1,234.56 USD"`; a zero-decimal amount has no point."""
    digits = exponent(currency)
    sign = "-" if amount < 0 else ""
    whole, part = divmod(abs(amount), 10**digits)
    text = f"{sign}{whole:,}"
    if digits:
        text += f".{part:0{digits}d}"
    return f"{text} {currency.upper()}"


def to_minor(amount: Decimal | str, currency: str) -> int:
    """Major units to minor ones, exactly: `to_minor("10.50", "usd") == 1050`.

    Raises `InputError` where the amount is no decimal number or has more decimals than the
    currency: rounding money is the author's decision.
    """
    if isinstance(amount, str) and not _DECIMAL.fullmatch(amount):
        raise InputError(f"amount: {amount!r} is no decimal number")
    number = Decimal(amount)
    if not number.is_finite() or abs(number.adjusted()) > _MOST_DIGITS:
        raise InputError(f"amount: {str(amount)!r} is no amount of money")
    # A Decimal rounds to its context's precision; a Fraction never does.
    scaled = Fraction(number) * 10 ** exponent(currency)
    if scaled.denominator != 1:
        raise InputError(f"amount: {amount} has more decimals than {currency.upper()} has")
    return scaled.numerator


def fault_of_amount(amount: int, currency: str) -> str | None:
    """Why Stripe would refuse this charge amount in this currency, or None.

    Three-decimal amounts end in 0; ISK and UGX amounts in 00 (documented by Stripe).
    """
    code = currency.lower()
    if code in _THREE_DECIMAL and amount % 10:
        return f"an amount in {code.upper()} must end in 0: write {amount - amount % 10} or {amount - amount % 10 + 10}"
    if code in _WHOLE_UNITS_ONLY and amount % 100:
        return (
            f"an amount in {code.upper()} must end in 00: "
            f"write {amount - amount % 100} or {amount - amount % 100 + 100}"
        )
    return None

"""Advice on amounts and times given in the wrong unit: always with the integer to write."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from spojit_stripe import money
from spojit_stripe.catalog.shown import shown
from spojit_stripe.errors import InputError
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["amount_fault", "time_fault"]

_Path = tuple[str | int, ...]

# Unix seconds of the year 5138; what is larger counts milliseconds.
_LAST_SECOND = 99_999_999_999
_LARGEST = Decimal(10) ** 15
_ASSUMED = "usd"


def amount_fault(where: str, value: JsonValue, params: JsonObject, path: _Path) -> str | None:
    """What to write instead of `value`, a number in text, with a fraction or an exponent.

    None where the value is an integer already, or no number at all.
    """
    number = _number(value)
    if number is None:
        return None
    text = shown(value)
    currency, named = _currency(params, path)
    if isinstance(value, str) and value.strip().removeprefix("-").isdigit():
        plain = f"write {int(number)} without quotes for {_money(int(number), currency)}"
        return f"{where}: {text} is text; {money.fault_of_amount(int(number), currency) or plain}"
    minor = number.scaleb(money.exponent(currency))
    if number != number.to_integral_value():
        return f"{where}: {text} is not in minor units; {_from_major(minor, currency, named=named)}"
    # 1e3 and 1000.0 may mean either unit, so both are named.
    whole = int(number)
    either = ", or ".join(f"{amount} for {_money(amount, currency)}" for amount in dict.fromkeys((whole, int(minor))))
    fault = money.fault_of_amount(whole, currency) if whole == minor else None
    return f"{where}: {text} has a fraction or an exponent; {fault or f'write {either}'}"


def _from_major(minor: Decimal, currency: str, *, named: bool) -> str:
    code = currency.upper()
    if minor != minor.to_integral_value():
        low = int(minor.to_integral_value(rounding="ROUND_FLOOR"))
        either = " or ".join(f"{amount} for {_money(amount, currency)}" for amount in (low, low + 1))
        return f"{code} has no such fraction: write {either}"
    hint = "" if named else " (or as many decimals as your currency has)"
    fault = money.fault_of_amount(int(minor), currency)
    return fault or f"write {int(minor)} for {_money(int(minor), currency)}{hint}"


def _money(amount: int, currency: str) -> str:
    return money.format_amount(amount, currency)


def _number(value: JsonValue) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | float):
        return None
    try:
        number = Decimal(value.strip() if isinstance(value, str) else repr(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) < _LARGEST else None


def _currency(params: JsonObject, path: _Path) -> tuple[str, bool]:
    """The currency beside the amount or of the whole call, else an assumed one."""
    owners: list[JsonObject] = [params]
    owner: JsonValue = params
    for part in path[:-1]:
        owner = _inner(owner, part)
        if isinstance(owner, dict):
            owners.append(owner)
    for one in reversed(owners):
        currency = one.get("currency")
        if isinstance(currency, str):
            try:
                money.exponent(currency)
            except InputError:
                continue
            return currency.lower(), True
    return _ASSUMED, False


def _inner(owner: JsonValue, part: str | int) -> JsonValue:
    if isinstance(owner, list):
        return owner[int(part)]
    return owner.get(str(part)) if isinstance(owner, dict) else None


def time_fault(where: str, value: JsonValue, _params: JsonObject, _path: _Path) -> str | None:
    """The Unix seconds to write instead of a date in text, milliseconds or a fraction."""
    if isinstance(value, str):
        return _time_in_text(where, value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    if _LAST_SECOND < value < _LAST_SECOND * 1000:
        return f"{where}: {shown(value)} looks like milliseconds; write {int(value) // 1000}, Unix time in seconds"
    if isinstance(value, float) and 0 <= value <= _LAST_SECOND:
        return f"{where}: {shown(value)} has a fraction or an exponent; write {int(value)}, Unix time in seconds"
    return None


def _time_in_text(where: str, value: str) -> str | None:
    bare = value.strip()
    if bare.isascii() and bare.isdigit() and len(bare) <= 11:
        return f"{where}: {shown(value)} is text; write {int(bare)} without quotes"
    try:
        moment = datetime.fromisoformat(bare)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = int(moment.timestamp())
    utc = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{where}: {shown(value)} is no Unix time in seconds; write {seconds} for {utc}"

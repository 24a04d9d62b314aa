"""The answer: held against the author's schema, and against what was really fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, cast

from spojit_stripe.agent.knowledge import Knowledge, leaves
from spojit_stripe.agent.masks import masked
from spojit_stripe.catalog.check import StrictValidator
from spojit_stripe.catalog.shown import dotted, shown
from spojit_stripe.errors import InputError
from spojit_stripe.money import exponent
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Checked", "check_schema", "checked", "money_in", "ungrounded"]

_MOST_FAULTS: Final = 5
_FENCE = re.compile(r"(?s)^```(?:json)?\s*(.*?)\s*```$")

_SIGNS: Final = {"$": "usd", "€": "eur", "£": "gbp", "¥": "jpy", "₹": "inr", "₩": "krw"}
_NUMBER = re.compile(r"(?<![\w.,])[-+]?\d(?:[\d,.'\u2019\u202f\u00a0]*\d)?(?![\d])")
_CODE_BEFORE = re.compile(r"(?:(?<![A-Za-z])([A-Z]{3})|([$€£¥₹₩]))\s?[-+]?$")
_CODE_AFTER = re.compile(r"\s?(?:([A-Z]{3}|[a-z]{3})(?![A-Za-z])|([€£¥₹₩$]))")
_CURRENCIES: Final = frozenset(
    [
        "aed",
        "ars",
        "aud",
        "bgn",
        "bhd",
        "brl",
        "cad",
        "chf",
        "clp",
        "cny",
        "cop",
        "czk",
        "dkk",
        "egp",
        "eur",
        "gbp",
        "hkd",
        "huf",
        "idr",
        "ils",
        "inr",
        "isk",
        "jod",
        "jpy",
        "krw",
        "kwd",
        "mxn",
        "myr",
        "nok",
        "nzd",
        "omr",
        "pen",
        "php",
        "pln",
        "qar",
        "ron",
        "sar",
        "sek",
        "sgd",
        "thb",
        "tnd",
        "try",
        "twd",
        "uah",
        "ugx",
        "usd",
        "uyu",
        "vnd",
        "xaf",
        "xof",
        "zar",
    ]
)


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer as a value, or what is wrong with it, for the model to correct."""

    value: JsonValue
    faults: tuple[str, ...] = ()


def check_schema(schema: JsonObject) -> None:
    """Raises `InputError` where the author's schema is none, or none of an object."""
    for error in StrictValidator(StrictValidator.META_SCHEMA).iter_errors(schema):
        where = dotted(error.absolute_path)
        raise InputError(f"response_schema: is no JSON Schema: {f'{where}: ' if where else ''}{error.message[:200]}")
    for place, value in leaves(schema):
        if place[-1] in ("$ref", "$dynamicRef") and not str(value).startswith("#"):
            raise InputError(f"response_schema: {dotted(place)} refers to {shown(value)}; only #/$defs/… is followed")
    if schema.get("type") != "object":
        raise InputError("response_schema: does not say type: object; write it and its properties")


def checked(text: str, schema: JsonObject | None) -> Checked:
    """The answer that `text` is: itself, or with a schema the JSON in it."""
    if schema is None:
        return Checked(masked(text))
    found = _FENCE.match(text.strip())
    try:
        value = cast("JsonValue", json.loads(found[1] if found else text, parse_constant=_no_number))
    except (ValueError, RecursionError) as error:
        return Checked(
            None, (f"the answer is no JSON ({str(error)[:120]}); write the JSON alone, without other words",)
        )
    errors = sorted(StrictValidator(schema).iter_errors(value), key=lambda error: dotted(error.absolute_path))
    if not errors:
        return Checked(masked(value))
    return Checked(
        None, tuple(f"{_where(error.absolute_path)}: {error.message[:200]}" for error in errors[:_MOST_FAULTS])
    )


def _where(path: Iterable[str | int]) -> str:
    return dotted(("answer", *path))


def _no_number(word: str) -> JsonValue:
    raise ValueError(f"{word} is no JSON number")


# Grounding


def ungrounded(answer: JsonValue, known: Knowledge) -> list[JsonValue]:
    """What the answer tells that no result has told: ids, amounts in its fields, money in its text."""
    found: list[JsonValue] = []
    for place, value in leaves(answer):
        where = dotted(place)
        name = next((part for part in reversed(place) if isinstance(part, str)), "")
        if isinstance(value, str):
            found += [_line(where, one) for one in known.ids_in(value) if not _is_known(one, known)]
            found += [_line(where, one) for one, minor in money_in(value) if minor not in known.numbers]
        elif _is_number(value) and known.vocabulary.is_amount(name) and value not in known.numbers and value != 0:
            found.append(_line(where, str(value)))
    return list(dict.fromkeys(cast("list[str]", found)))


def _is_known(one: str, known: Knowledge) -> bool:
    return one in known.ids or one in known.prompt


def _line(where: str, what: str) -> str:
    return f"{where}: {what}" if where else what


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def money_in(text: str) -> Iterator[tuple[str, int]]:
    """Amounts that stand beside a currency, in minor units; a number alone may be anything."""
    for match in _NUMBER.finditer(text):
        before = _CODE_BEFORE.search(text, max(0, match.start() - 6), match.start())
        after = _CODE_AFTER.match(text, match.end())
        for found in (after, before):
            currency = _currency(found)
            if found is not None and currency is not None:
                start, end = min(match.start(), found.start()), max(match.end(), found.end())
                yield text[start:end].strip(), _minor(match[0], currency)
                break


def _currency(found: re.Match[str] | None) -> str | None:
    if found is None:
        return None
    code = (found[1] or _SIGNS.get(found[2], "")).lower()
    return code if code in _CURRENCIES else None


def _minor(digits: str, currency: str) -> int:
    """Minor units, or -1 for what no amount of the currency can be."""
    plain = re.sub("['\u2019\u202f\u00a0+-]", "", digits)
    decimals = re.search(r"[.,](\d+)$", plain)
    # A comma before three digits groups them, unless the currency has three decimals.
    if decimals and (decimals[0][0] == "." or len(decimals[1]) != 3):
        plain = f"{re.sub('[.,]', '', plain[: decimals.start()])}.{decimals[1]}"
    else:
        plain = re.sub("[.,]", "", plain)
    try:
        scaled = Decimal(plain).scaleb(exponent(currency))
    except InvalidOperation:
        return -1
    return int(scaled) if scaled == int(scaled) else -1

"""What a model is never shown and a transcript never keeps: keys, card numbers, bank account numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, cast

from spojit_stripe.redact import HIDDEN, redact, redact_text
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["masked", "masked_object", "masked_text"]

_CARD: Final = re.compile(r"(?<![\w.])(?:[3-6](?:[ -]?\d){12,18}|2[ -]?[2-7](?:[ -]?\d){14})(?![\w])")
_IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_DEEPEST: Final = 100


def masked_text(text: str) -> str:
    """`text` without keys, and without what is a card number or an IBAN by its check digits."""
    text = redact_text(text)
    if not any(character.isdigit() for character in text):
        return text
    text = _CARD.sub(lambda found: _last_four(found) if _is_card(found.group()) else found.group(), text)
    return _IBAN.sub(lambda found: f"{found.group()[:2]}{HIDDEN}" if _is_iban(found.group()) else found.group(), text)


def masked(value: JsonValue) -> JsonValue:
    """A copy of `value` with all its texts masked."""
    return _walk(redact(value), 0)


def masked_object(value: Mapping[str, JsonValue]) -> JsonObject:
    """`masked` for an object."""
    return cast("JsonObject", masked(dict(value)))


def _walk(value: JsonValue, depth: int) -> JsonValue:
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, dict):
        return {masked_text(name): _walk(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return [_walk(inner, depth + 1) for inner in value]
    return value


def _last_four(found: re.Match[str]) -> str:
    return f"card {HIDDEN}{re.sub(r'[^0-9]', '', found.group())[-4:]}"


def _is_card(text: str) -> bool:
    digits = [int(one) for one in text if one.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    plain = text.replace(" ", "")
    turned = plain[4:] + plain[:4]
    return int("".join(str(int(one, 36)) for one in turned)) % 97 == 1

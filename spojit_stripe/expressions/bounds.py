"""How large values may grow inside an expression, and how they are called in messages."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeGuard

from spojit_stripe.errors import InputError
from spojit_stripe.redact import printable, redact_text
from spojit_stripe.values import JsonValue

__all__ = [
    "as_json",
    "as_text",
    "check_number",
    "check_text",
    "first_null",
    "is_list",
    "is_number",
    "is_object",
    "kind_of",
    "listed",
    "plain",
    "shown_name",
]

MOST_TEXT: Final = 1_000_000
MOST_VALUES: Final = 100_000
DEEPEST_VALUE: Final = 100
_LARGEST: Final = 10**30
_MOST_LISTED: Final = 12
_LONGEST_NAME: Final = 60


def is_list(value: object) -> TypeGuard[Sequence[JsonValue]]:
    """A list, or what stands for one without holding it in memory."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def is_object(value: object) -> TypeGuard[Mapping[str, JsonValue]]:
    return isinstance(value, Mapping)


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def kind_of(value: object) -> str:
    """`"text"`, `"an integer"`: what a value is, never what it says."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if is_list(value):
        return "a list"
    if is_object(value):
        return "an object"
    names = {str: "text", int: "an integer", float: "a number with a fraction"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), f"a {type(value).__name__}")


def shown_name(name: object) -> str:
    """A key as it may be repeated in a message."""
    text = printable(redact_text(str(name)))
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"


def listed(names: Iterable[str]) -> str:
    """`"a, b, c"`, cut after a dozen."""
    found = [shown_name(name) for name in names]
    more = len(found) - _MOST_LISTED
    return ", ".join(found[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def check_text(text: str) -> str:
    if len(text) > MOST_TEXT:
        raise InputError(f"gives a text of more than {MOST_TEXT:,} characters")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError("gives a text with half a character")
    return text


def check_number(number: int | float) -> int | float:
    if isinstance(number, float) and not math.isfinite(number):
        raise InputError("gives no finite number")
    if isinstance(number, int) and not -_LARGEST < number < _LARGEST:
        raise InputError("gives an integer of more than 30 digits")
    return number


def as_text(value: object) -> str:
    """A value inside text. Raises `InputError` for what has no plain form there."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if is_number(value):
        return str(check_number(value))
    if value is None:
        raise InputError("is null, which has no place in a text; give another value with | default('…')")
    raise InputError(f"is {kind_of(value)}, which has no place in a text; write it with | json")


def as_json(value: JsonValue) -> str:
    return check_text(json.dumps(plain(value), ensure_ascii=False))


def plain(value: object) -> JsonValue:
    """A result as JSON's own types, checked and within bounds. Raises `InputError`."""
    return _Plain().of(value, 0)


class _Plain:
    def __init__(self) -> None:
        self._left = MOST_VALUES
        self._text_left = MOST_TEXT * 10

    def of(self, value: object, depth: int) -> JsonValue:
        self._left -= 1
        if self._left < 0:
            raise InputError(f"gives more than {MOST_VALUES:,} values; use a transform with sql: for so many")
        if depth > DEEPEST_VALUE:
            raise InputError(f"gives a value nested more than {DEEPEST_VALUE} levels deep")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value)
        if is_number(value):
            return check_number(value)
        if is_list(value):
            return [self.of(item, depth + 1) for item in value]
        if is_object(value):
            return {self._key(key): self.of(item, depth + 1) for key, item in value.items()}
        raise InputError(f"gives {kind_of(value)}, which is no JSON value")

    def _text(self, text: str) -> str:
        self._text_left -= len(text)
        if self._text_left < 0:
            raise InputError(f"gives texts of more than {MOST_TEXT * 10:,} characters together")
        return check_text(text)

    def _key(self, key: object) -> str:
        if not isinstance(key, str):
            raise InputError(f"gives an object whose key is {kind_of(key)}; keys are text")
        return self._text(key)


def first_null(value: object, path: tuple[str | int, ...] = ()) -> tuple[str | int, ...] | None:
    """Where in `value` the first null stands, or None."""
    waiting: list[tuple[tuple[str | int, ...], object]] = [(path, value)]
    while waiting:
        where, one = waiting.pop()
        if one is None:
            return where
        if is_object(one):
            waiting += [((*where, key), inner) for key, inner in reversed([*one.items()])]
        elif is_list(one):
            waiting += [((*where, place), inner) for place, inner in reversed([*enumerate(one)])]
    return None

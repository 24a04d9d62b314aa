"""What operators do to JSON values: numbers add up, text joins text, nothing else converts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from spojit_stripe.errors import InputError
from spojit_stripe.expressions.bounds import (
    MOST_TEXT,
    MOST_VALUES,
    as_text,
    check_number,
    check_text,
    is_list,
    is_number,
    is_object,
    kind_of,
)
from spojit_stripe.values import JsonValue

__all__ = ["BINARY", "COMPARISONS", "binary", "compare", "concatenate", "cut", "unary"]

_MOST_BITS: Final = 128

BINARY: Final[Mapping[str, Callable[[Any, Any], int | float]]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "//": lambda left, right: left // right,
    "%": lambda left, right: left % right,
}
COMPARISONS: Final[Mapping[str, str]] = {
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "lteq": "<=",
    "gt": ">",
    "gteq": ">=",
    "in": "in",
    "notin": "not in",
}
_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def binary(sign: str, left: object, right: object) -> JsonValue:
    """`left sign right`, within bounds. Raises `InputError`."""
    if is_number(left) and is_number(right):
        return _calculated(sign, left, right)
    if sign == "+" and isinstance(left, str) and isinstance(right, str):
        return check_text(left + right)
    if sign == "+" and is_list(left) and is_list(right):
        if len(left) + len(right) > MOST_VALUES:
            raise InputError(f"`+` gives a list of more than {MOST_VALUES:,} values")
        return [*left, *right]
    advice = "; join texts with ~" if sign == "+" and (isinstance(left, str) or isinstance(right, str)) else ""
    raise InputError(f"`{sign}` takes numbers, not {kind_of(left)} and {kind_of(right)}{advice}")


def _calculated(sign: str, left: int | float, right: int | float) -> int | float:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _MOST_BITS:
        raise InputError(f"`{sign}`: an integer is too large to calculate with")
    try:
        return check_number(BINARY[sign](left, right))
    except ZeroDivisionError:
        raise InputError(f"`{sign}` divides by zero") from None
    except OverflowError:
        raise InputError(f"`{sign}`: the result is too large") from None


def unary(sign: str, value: object) -> JsonValue:
    if not is_number(value):
        raise InputError(f"`{sign}` takes a number, not {kind_of(value)}")
    return -value if sign == "-" else value


def compare(name: str, left: JsonValue, right: JsonValue) -> bool:
    """A comparison by Jinja's name of it. Only like is put in order with like."""
    sign = COMPARISONS[name]
    if sign in ("==", "!="):
        return equal(left, right) == (sign == "==")
    if sign in ("in", "not in"):
        return _contains(right, left) == (sign == "in")
    alike = (is_number(left) and is_number(right)) or (isinstance(left, str) and isinstance(right, str))
    if not alike:
        raise InputError(f"`{sign}` compares two numbers or two texts, not {kind_of(left)} and {kind_of(right)}")
    return _ordered(sign, left, right)


def _ordered(sign: str, left: Any, right: Any) -> bool:
    return _ORDER[sign](left, right)


def equal(left: JsonValue, right: JsonValue) -> bool:
    """Whether two values are the same JSON: true is no 1, at any depth, and a list in a file is one like another."""
    if is_list(left) and is_list(right):
        return len(left) == len(right) and all(map(equal, left, right))
    if is_object(left) and is_object(right):
        return left.keys() == right.keys() and all(equal(value, right[name]) for name, value in left.items())
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _contains(owner: JsonValue, value: JsonValue) -> bool:
    if isinstance(owner, str) or is_object(owner):
        if not isinstance(value, str):
            raise InputError(f"`in` looks for text in {kind_of(owner)}, not for {kind_of(value)}")
        return value in owner
    if is_list(owner):
        return any(equal(item, value) for item in owner)
    raise InputError(f"`in` takes a list, an object or text on its right, not {kind_of(owner)}")


def concatenate(*values: JsonValue) -> str:
    texts = [as_text(value) for value in values]
    if sum(map(len, texts)) > MOST_TEXT:
        raise InputError(f"`~` gives a text of more than {MOST_TEXT:,} characters")
    return "".join(texts)


def cut(value: JsonValue, start: JsonValue, stop: JsonValue) -> JsonValue:
    """`value[start:stop]` of a list or a text."""
    for bound in (start, stop):
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int)):
            raise InputError(f"[from:to] takes integers, not {kind_of(bound)}")
    first, end = (bound if isinstance(bound, int) else None for bound in (start, stop))
    if isinstance(value, str):
        return value[first:end]
    if is_list(value):
        places = range(*slice(first, end).indices(len(value)))
        if len(places) > MOST_VALUES:
            raise InputError(f"[from:to] gives more than {MOST_VALUES:,} values; use a transform with sql:")
        return [value[place] for place in places]
    raise InputError(f"[from:to] cuts a list or a text, not {kind_of(value)}")

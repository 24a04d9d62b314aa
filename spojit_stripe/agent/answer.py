"""The answer: held against the author's schema, and against what was really fetched."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, cast

from referencing.exceptions import Unresolvable

from spojit_stripe.agent.knowledge import Knowledge, leaves
from spojit_stripe.agent.masks import masked
from spojit_stripe.agent.prose import money_in
from spojit_stripe.catalog.authored import fault_of_schema
from spojit_stripe.catalog.check import StrictValidator
from spojit_stripe.catalog.shown import dotted
from spojit_stripe.errors import InputError
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Checked", "check_schema", "checked", "ungrounded"]

_MOST_FAULTS: Final = 5
_INTEGER = re.compile(r"-?[0-9]{1,30}")
_FENCE = re.compile(r"(?s)^```(?:json)?\s*(.*?)\s*```$")


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer as a value, or what is wrong with it, for the model to correct."""

    value: JsonValue
    faults: tuple[str, ...] = ()


def check_schema(schema: JsonObject) -> None:
    """Raises `InputError` where the author's schema is none, or none of an object, or can't be followed."""
    fault = fault_of_schema(schema)
    if fault is not None:
        raise InputError(f"response_schema: {fault[1]}")


def checked(text: str, schema: JsonObject | None) -> Checked:
    """The answer that `text` is: itself, or with a schema the JSON in it."""
    if schema is None:
        return Checked(masked(text))
    found = _FENCE.match(text.strip())
    try:
        value = cast(
            "JsonValue", json.loads(found[1] if found else text, parse_float=_finite, parse_constant=_no_number)
        )
    except (ValueError, RecursionError) as error:
        return Checked(
            None, (f"the answer is no JSON ({str(error)[:120]}); write the JSON alone, without other words",)
        )
    try:
        errors = sorted(StrictValidator(schema).iter_errors(value), key=lambda error: dotted(error.absolute_path))
    except RecursionError:
        raise InputError("response_schema: the answer is nested too deeply for it, or it has no end") from None
    except (re.error, Unresolvable) as error:
        raise InputError(f"response_schema: can't be followed: {str(error)[:200]}") from None
    if not errors:
        return Checked(masked(value))
    return Checked(
        None, tuple(f"{_where(error.absolute_path)}: {error.message[:200]}" for error in errors[:_MOST_FAULTS])
    )


def _where(path: Iterable[str | int]) -> str:
    return dotted(("answer", *path))


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word[:40]} is too large a number")
    return number


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
            found += [_line(where, one) for one, minor in money_in(value) if not _is_told(minor, known)]
        if known.vocabulary.is_amount(name) and (number := _number(value)) and number not in known.numbers:
            found.append(_line(where, str(value)))
    return list(dict.fromkeys(cast("list[str]", found)))


def _is_known(one: str, known: Knowledge) -> bool:
    return one in known.ids or one in known.prompt


def _is_told(minor: int, known: Knowledge) -> bool:
    # Prose tells a debit with or without its sign; -1 is no amount, and so is told by no 1.
    return minor in known.numbers or (minor > 0 and -minor in known.numbers)


def _line(where: str, what: str) -> str:
    return f"{where}: {what}" if where else what


def _number(value: JsonValue) -> float | None:
    """What an amount's field says, also as text."""
    if isinstance(value, str):
        return int(value) if _INTEGER.fullmatch(value) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None

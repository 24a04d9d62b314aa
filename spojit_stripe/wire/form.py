"""Parameters as Stripe reads them: bracketed pairs for v1 and every query, JSON for v2 bodies.

The pairs are those of Stripe's own Python client (tests/wire/vectors.json holds what it
sends), with one difference: inside a list, None, booleans and times follow the same rules as
everywhere else, where that client writes Python's spelling of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import cast
from urllib.parse import quote_plus, urlencode

from spojit_stripe.errors import InputError

__all__ = ["encode_form", "encode_json", "encode_query", "pairs"]

_MAX_DEPTH = 32
_EXPECTED = "expected text, a whole number, true, false, a list or an object"


def encode_query(params: Mapping[str, object]) -> str:
    """`params` as a query without its `?`: `created[gte]=1704067200&expand[0]=data.customer`.

    Raises `InputError` naming the place of what has no meaning to Stripe.
    """
    if not params:
        return ""
    try:
        # The brackets stay readable, in values too: Stripe's client does the same.
        return urlencode(list(pairs(params)), quote_via=quote_plus).replace("%5B", "[").replace("%5D", "]")
    except UnicodeEncodeError as error:
        raise InputError(f"params: {_snippet(error)} is no valid text (a lone surrogate)") from None


def encode_form(params: Mapping[str, object]) -> bytes:
    """`params` as the body of a v1 POST. Raises `InputError` as `encode_query` does."""
    return encode_query(params).encode("ascii")


def encode_json(params: Mapping[str, object]) -> bytes:
    """`params` as the body of a v2 POST: ASCII JSON; a Decimal is a string, a time Unix seconds.

    Raises `InputError` for what JSON or Stripe can't take.
    """
    return json.dumps(_json_value(params, "", 0)).encode("ascii")


def pairs(params: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The decoded pairs of `params`, in the caller's order.

    None as a member of an object is left out (it never unsets: `""` does), empty lists and
    objects vanish. None inside a list is refused: leaving it out would move all later items.
    """
    for name, value in params.items():
        yield from _pairs(_name(name, ""), value, 0)


def _pairs(place: str, value: object, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif value is None:
        return
    elif isinstance(value, Mapping):
        _check_depth(place, depth)
        for name, inner in cast("Mapping[object, object]", value).items():
            yield from _pairs(f"{place}[{_name(name, place)}]", inner, depth + 1)
    elif isinstance(value, list | tuple):
        _check_depth(place, depth)
        for index, inner in enumerate(cast("Sequence[object]", value)):
            if inner is None:
                raise InputError(f"{place}[{index}]: null inside a list means nothing to Stripe; leave the item out")
            yield from _pairs(f"{place}[{index}]", inner, depth + 1)
    else:
        yield place, _scalar(place, value)


def _scalar(place: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float | Decimal):
        if not math.isfinite(value):
            raise InputError(f"{place}: {value} is no number that Stripe takes")
        return str(value)
    if isinstance(value, datetime):
        return str(_unix(value))
    raise InputError(f"{place}: {_EXPECTED}, got {type(value).__name__}")


def _unix(moment: datetime) -> int:
    # A naive time is local time, as in Stripe's client; fractions of a second are cut.
    return math.floor(moment.timestamp())


def _name(name: object, place: str) -> str:
    where = place or "params"
    if not isinstance(name, str):
        raise InputError(f"{where}: a name must be text, got {name!r}")
    if "[" in name or "]" in name:
        # Unescaped brackets would let a metadata key write into another parameter.
        raise InputError(
            f"{where}: {name!r} has a square bracket, which Stripe takes for nesting; "
            "write nested objects, and metadata keys without brackets"
        )
    return name


def _check_depth(place: str, depth: int) -> None:
    if depth >= _MAX_DEPTH:
        raise InputError(f"{place[:80]}…: nested deeper than {_MAX_DEPTH} levels")


def _json_value(value: object, place: str, depth: int) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        _check_depth(place, depth)
        return {
            _json_name(name, place): _json_value(inner, f"{place}.{name}" if place else str(name), depth + 1)
            for name, inner in cast("Mapping[object, object]", value).items()
        }
    if isinstance(value, list | tuple):
        _check_depth(place, depth)
        return [
            _json_value(inner, f"{place}[{index}]", depth + 1)
            for index, inner in enumerate(cast("Sequence[object]", value))
        ]
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, datetime):
        return _unix(value)
    return _scalar(place, value)


def _json_name(name: object, place: str) -> str:
    if not isinstance(name, str):
        raise InputError(f"{place or 'params'}: a name must be text, got {name!r}")
    return name


def _snippet(error: UnicodeEncodeError) -> str:
    return ascii(error.object[max(0, error.start - 10) : error.end + 10])

"""What stands behind `|`, after `is`, and in front of brackets in an expression.

Every one is pure, takes and gives JSON values, and bounds what it makes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias, cast

from spojit_stripe import money
from spojit_stripe.errors import InputError
from spojit_stripe.expressions import clock
from spojit_stripe.expressions.bounds import (
    MOST_TEXT,
    MOST_VALUES,
    as_json,
    as_text,
    check_number,
    check_text,
    is_list,
    is_number,
    is_object,
    kind_of,
    shown_name,
)
from spojit_stripe.expressions.operators import equal
from spojit_stripe.expressions.reading import member
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["FILTERS", "FUNCTIONS", "TESTS", "Filter", "signature"]

Filter: TypeAlias = Callable[..., JsonValue]

_MOST_DIGITS: Final = 30
# What a field's name ends with where it holds minor units: `total`, `application_fee`, `amount_paid`.
_MONEY: Final = frozenset(
    ("balance", "cost", "fee", "fees", "net", "price", "revenue", "subtotal", "tax", "total", "turnover")
)


def signature(filter_: Filter, *, skip: int = 1) -> str:
    """`"(currency)"`: what a filter takes beside its value."""
    names = [
        f"{name}={parameter.default!r}" if parameter.default is not parameter.empty else name
        for name, parameter in list(inspect.signature(filter_).parameters.items())[skip:]
    ]
    return f"({', '.join(names)})"


# What they take


def _list(value: object, name: str) -> Sequence[JsonValue]:
    if not is_list(value):
        raise InputError(f"{name} takes a list, not {kind_of(value)}")
    return value


def _text(value: object, name: str, what: str = "text") -> str:
    if not isinstance(value, str):
        raise InputError(f"{name} takes {what}, not {kind_of(value)}")
    return value


def _object(value: object, name: str) -> Mapping[str, JsonValue]:
    if not is_object(value):
        raise InputError(f"{name} takes an object, not {kind_of(value)}")
    return value


def _integer(value: object, name: str, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} takes {what}, not {kind_of(value)}")
    return value


def _few(items: Sequence[JsonValue], name: str) -> Sequence[JsonValue]:
    if len(items) > MOST_VALUES:
        raise InputError(f"{name} takes at most {MOST_VALUES:,} values; use a transform with sql: for so many")
    return items


def _field_of(item: JsonValue, attribute: str, place: int, name: str) -> JsonValue:
    """The field of an item; a dotted attribute goes deeper."""
    value, owner = item, f"item {place} of the list"
    for part in attribute.split("."):
        try:
            value = member(value, part, owner)
        except InputError as error:
            raise InputError(f"{name}({attribute!r}): {error.message}") from None
        owner = f"{owner}.{part}"
    return value


# Any value


def _default(value: JsonValue, other: JsonValue) -> JsonValue:
    return other if value is None else value


def _string(value: JsonValue) -> str:
    return as_text(value)


def _json(value: JsonValue) -> str:
    return as_json(value)


def _int(value: JsonValue) -> int:
    if isinstance(value, str):
        digits = value.strip()
        if digits.isascii() and digits.removeprefix("-").isdigit() and len(digits) <= _MOST_DIGITS:
            return int(digits)
        raise InputError(f"int: {shown_name(value)!r} is no integer")
    if isinstance(value, float) and value.is_integer():
        return int(check_number(value))
    return _integer(value, "int", "text of digits or an integer")


def _abs(value: JsonValue) -> int | float:
    if not is_number(value):
        raise InputError(f"abs takes a number, not {kind_of(value)}")
    return abs(value)


# Text


def _lower(value: JsonValue) -> str:
    return _text(value, "lower").lower()


def _upper(value: JsonValue) -> str:
    return check_text(_text(value, "upper").upper())


def _trim(value: JsonValue) -> str:
    return _text(value, "trim").strip()


def _replace(value: JsonValue, old: JsonValue, new: JsonValue) -> str:
    text, was, becomes = (_text(one, "replace") for one in (value, old, new))
    if not was:
        raise InputError("replace: the text to replace is empty")
    if len(text) + text.count(was) * len(becomes) > MOST_TEXT:
        raise InputError(f"replace gives a text of more than {MOST_TEXT:,} characters")
    return text.replace(was, becomes)


def _split(value: JsonValue, by: JsonValue) -> list[JsonValue]:
    text, separator = _text(value, "split"), _text(by, "split")
    if not separator:
        raise InputError("split: the text to split by is empty")
    if text.count(separator) >= MOST_VALUES:
        raise InputError(f"split gives more than {MOST_VALUES:,} values")
    return [*text.split(separator)]


def _truncate(value: JsonValue, length: JsonValue) -> str:
    text, most = _text(value, "truncate"), _integer(length, "truncate", "an integer as its length")
    if most < 1:
        raise InputError("truncate: the length is at least 1")
    return text if len(text) <= most else f"{text[: most - 1]}…"


# Lists and objects


def _length(value: JsonValue) -> int:
    if isinstance(value, str) or is_list(value) or is_object(value):
        return len(value)
    raise InputError(f"length takes a list, an object or text, not {kind_of(value)}")


def _first(value: JsonValue) -> JsonValue:
    items = _list(value, "first")
    return member(cast("list[JsonValue]", items), 0, "the list before | first")


def _last(value: JsonValue) -> JsonValue:
    items = _list(value, "last")
    return member(cast("list[JsonValue]", items), -1, "the list before | last")


def _get(value: JsonValue, key: JsonValue, other: JsonValue = None) -> JsonValue:
    """The field of an object that may be absent."""
    found = _object(value, "get")
    name = _text(key, "get", "a field's name as text")
    return found.get(name, other)


def _keys(value: JsonValue) -> list[JsonValue]:
    return [*_object(value, "keys")]


def _values(value: JsonValue) -> list[JsonValue]:
    return [*_object(value, "values").values()]


def _items(value: JsonValue) -> list[JsonValue]:
    return [{"key": key, "value": inner} for key, inner in _object(value, "items").items()]


def _join(value: JsonValue, by: JsonValue = "") -> str:
    separator, texts = _text(by, "join"), [as_text(item) for item in _few(_list(value, "join"), "join")]
    if sum(len(text) + len(separator) for text in texts) > MOST_TEXT:
        raise InputError(f"join gives a text of more than {MOST_TEXT:,} characters")
    return separator.join(texts)


def _map(value: JsonValue, attribute: JsonValue) -> list[JsonValue]:
    name = _text(attribute, "map", "a field's name as text")
    return [_field_of(item, name, n, "map") for n, item in enumerate(_few(_list(value, "map"), "map"))]


def _where(value: JsonValue, attribute: JsonValue, is_: JsonValue = True) -> list[JsonValue]:
    """The items whose field equals a value."""
    name = _text(attribute, "where", "a field's name as text")
    kept: list[JsonValue] = []
    for place, item in enumerate(_list(value, "where")):
        if equal(_field_of(item, name, place, "where"), is_):
            kept.append(item)
            _few(kept, "where")
    return kept


def _reverse(value: JsonValue) -> list[JsonValue]:
    return [*reversed(_few(_list(value, "reverse"), "reverse"))]


def _sort(value: JsonValue, attribute: JsonValue = None, descending: JsonValue = False) -> list[JsonValue]:
    if not isinstance(descending, bool):
        raise InputError(f"sort: descending is true or false, not {kind_of(descending)}; write sort('created', true)")
    items = _few(_list(value, "sort"), "sort")
    keys = _sort_keys(items, attribute, "sort")
    order = sorted(range(len(items)), key=keys.__getitem__, reverse=descending)
    return [items[place] for place in order]


def _min(value: JsonValue, attribute: JsonValue = None) -> JsonValue:
    return _extreme(value, attribute, "min", min)


def _max(value: JsonValue, attribute: JsonValue = None) -> JsonValue:
    return _extreme(value, attribute, "max", max)


def _extreme(value: JsonValue, attribute: JsonValue, name: str, pick: Callable[..., int]) -> JsonValue:
    items = _few(_list(value, name), name)
    if not items:
        raise InputError(f"{name}: the list has no items")
    keys = _sort_keys(items, attribute, name)
    if isinstance(attribute, str):
        currencies = [*dict.fromkeys(found[1] for item in items if (found := _currency_of(item, attribute)))]
        if len(currencies) > 1:
            raise InputError(
                f"{name}({attribute!r}) would compare {_two(currencies)}; {name} the items of one currency"
            )
    return items[pick(range(len(items)), key=keys.__getitem__)]


def _two(currencies: Sequence[str]) -> str:
    return f"{shown_name(currencies[0])} and {shown_name(currencies[1])}"


def _sort_keys(items: Sequence[JsonValue], attribute: JsonValue, name: str) -> list[str] | list[int | float]:
    if attribute is not None:
        field = _text(attribute, name, "a field's name as text")
        items = [_field_of(item, field, n, name) for n, item in enumerate(items)]
    if all(isinstance(item, str) for item in items):
        return cast("list[str]", items)
    if all(is_number(item) for item in items):
        return cast("list[int | float]", items)
    kinds = list(dict.fromkeys(kind_of(item) for item in items))
    raise InputError(f"{name} compares numbers or texts, and this list holds {' and '.join(kinds[:2])}")


def _unique(value: JsonValue) -> list[JsonValue]:
    kept: dict[str, JsonValue] = {}
    for item in _few(_list(value, "unique"), "unique"):
        if not isinstance(item, str | int | float | None):
            raise InputError(f"unique takes a list of texts and numbers, and this one holds {kind_of(item)}")
        kept.setdefault(f"{kind_of(item)} {item}", item)
    return [*kept.values()]


# Sums


def _sum(value: JsonValue, attribute: JsonValue = None) -> int:
    """An exact sum of integers. Amounts in two currencies have no sum."""
    name = None if attribute is None else _text(attribute, "sum", "a field's name as text")
    return _total(enumerate(_list(value, "sum")), name, "sum")


def _total(items: Iterable[tuple[int, JsonValue]], attribute: str | None, name: str) -> int:
    total, currency = 0, None
    for place, item in items:
        number = item if attribute is None else _field_of(item, attribute, place, name)
        if isinstance(number, bool) or not isinstance(number, int):
            raise InputError(
                f"{name} adds integers, and item {place} is {kind_of(number)}; an amount is an integer in minor units"
            )
        total = cast("int", check_number(total + number))
        found = _currency_of(item, attribute)
        if found is None:
            continue
        where, own = found
        currency = currency or own
        if own != currency:
            raise InputError(
                f"{name}({attribute!r}) would add {_two((currency, own))}; write | group({where!r}, {attribute!r})"
            )
    return total


def _currency_of(item: JsonValue, attribute: str | None) -> tuple[str, str] | None:
    """The currency of the money in a field and where it stands: in the object that holds it, or one around that."""
    *owners, field = (attribute or "").split(".")
    if not _is_money(field):
        return None
    found: tuple[str, str] | None = None
    owner = cast("JsonObject", item)  # it has the field, so all on the way there are objects
    for depth in range(len(owners) + 1):
        currency = owner.get("currency")
        if isinstance(currency, str):
            found = ".".join((*owners[:depth], "currency")), currency.lower()
        if depth < len(owners):
            owner = cast("JsonObject", owner[owners[depth]])
    return found


def _is_money(field: str) -> bool:
    words = field.lower().split("_")
    return "amount" in words[:1] or words[-1] == "amount" or words[-1] in _MONEY


def _group(value: JsonValue, by: JsonValue, total: JsonValue = None) -> JsonObject:
    """An object of lists by a field; with `total`, of exact sums of that field."""
    field = _text(by, "group", "a field's name as text")
    groups: dict[str, list[tuple[int, JsonValue]]] = {}
    for place, item in enumerate(_few(_list(value, "group"), "group")):
        key = _field_of(item, field, place, "group")
        if is_list(key) or is_object(key):
            raise InputError(f"group({field!r}): the field of item {place} is {kind_of(key)}")
        groups.setdefault("null" if key is None else as_text(key), []).append((place, item))
    if total is None:
        return {key: [item for _, item in items] for key, items in groups.items()}
    summed = _text(total, "group", "a field's name as text")
    return {key: _total(items, summed, "group") for key, items in groups.items()}


# Money and time


def _money(value: JsonValue, currency: JsonValue) -> str:
    """Minor units for people: 123456 and usd give `1,234.56 USD`."""
    amount = _integer(value, "money", "an integer in minor units")
    return money.format_amount(amount, _text(currency, "money", "a currency as text"))


def _to_minor(value: JsonValue, currency: JsonValue) -> int:
    """Major units, as text or an integer, to minor ones: exactly or not at all."""
    if isinstance(value, float):
        raise InputError("to_minor: a number with a fraction is not exact; give the amount as text, or with | string")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(check_number(value))
    text = _text(value, "to_minor", "an amount as text").strip()
    return money.to_minor(text, _text(currency, "to_minor", "a currency as text"))


def _start_of_day(value: JsonValue, tz: JsonValue = "UTC", days: JsonValue = 0) -> int:
    return clock.start_of_day(value, tz, days)


def _to_iso(value: JsonValue, tz: JsonValue = "UTC") -> str:
    return clock.to_iso(value, tz)


def _to_unix(value: JsonValue, tz: JsonValue = None) -> int:
    return clock.to_unix(value, tz)


FILTERS: Final[Mapping[str, Filter]] = {
    "abs": _abs,
    "count": _length,
    "default": _default,
    "first": _first,
    "get": _get,
    "group": _group,
    "int": _int,
    "items": _items,
    "join": _join,
    "json": _json,
    "keys": _keys,
    "last": _last,
    "length": _length,
    "lower": _lower,
    "map": _map,
    "max": _max,
    "min": _min,
    "money": _money,
    "replace": _replace,
    "reverse": _reverse,
    "sort": _sort,
    "split": _split,
    "start_of_day": _start_of_day,
    "string": _string,
    "sum": _sum,
    "to_iso": _to_iso,
    "to_minor": _to_minor,
    "to_unix": _to_unix,
    "trim": _trim,
    "truncate": _truncate,
    "unique": _unique,
    "upper": _upper,
    "values": _values,
    "where": _where,
}


# Tests, after `is`


def _starts_with(value: JsonValue, start: JsonValue) -> bool:
    return _text(value, "startswith").startswith(_text(start, "startswith"))


def _ends_with(value: JsonValue, end: JsonValue) -> bool:
    return _text(value, "endswith").endswith(_text(end, "endswith"))


def _asks(check: Callable[[object], bool]) -> Filter:
    def test(value: JsonValue) -> bool:
        return check(value)

    return test


TESTS: Final[Mapping[str, Filter]] = {
    "boolean": _asks(lambda value: isinstance(value, bool)),
    "endswith": _ends_with,
    "false": _asks(lambda value: value is False),
    "integer": _asks(lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "list": _asks(is_list),
    "mapping": _asks(is_object),
    "none": _asks(lambda value: value is None),
    "null": _asks(lambda value: value is None),
    "number": _asks(is_number),
    "startswith": _starts_with,
    "string": _asks(lambda value: isinstance(value, str)),
    "true": _asks(lambda value: value is True),
}


# Functions of the run's own clock


def _now(now: int) -> int:
    return now


def _yesterday(now: int, tz: JsonValue = "UTC") -> int:
    """When yesterday began, as Unix seconds."""
    return clock.start_of_day(now, tz, -1)


FUNCTIONS: Final[Mapping[str, Filter]] = {
    "now": _now,
    "start_of_day": _start_of_day,
    "yesterday": _yesterday,
}

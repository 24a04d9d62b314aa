"""The answer: held against the author's schema, and against what was really fetched."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, cast
from urllib.parse import unquote

from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from spojit_stripe.agent.knowledge import Knowledge, leaves
from spojit_stripe.agent.masks import masked
from spojit_stripe.agent.prose import money_in
from spojit_stripe.catalog.check import StrictValidator
from spojit_stripe.catalog.shown import dotted, shown
from spojit_stripe.errors import InputError
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Checked", "check_schema", "checked", "ungrounded"]

_MOST_FAULTS: Final = 5
# Where a schema holds schemas: those of the same value, and those of a value inside it.
_SAME: Final = ("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
_INSIDE: Final = (
    "$defs",
    "definitions",
    "properties",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "prefixItems",
    "items",
    "contains",
    "unevaluatedItems",
)
_BY_NAME: Final = frozenset(["$defs", "definitions", "properties", "patternProperties", "dependentSchemas"])
_INTEGER = re.compile(r"-?[0-9]{1,30}")
_FENCE = re.compile(r"(?s)^```(?:json)?\s*(.*?)\s*```$")

Place: TypeAlias = tuple[str | int, ...]


class _Resolved(Protocol):
    """Where a reference leads. The library does not export the classes of these two."""

    @property
    def contents(self) -> object: ...
    @property
    def resolver(self) -> _Resolver: ...


class _Resolver(Protocol):
    """Follows references from one place of a schema."""

    def lookup(self, ref: str, /) -> _Resolved: ...
    def in_subresource(self, subresource: Resource[Any], /) -> _Resolver: ...


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer as a value, or what is wrong with it, for the model to correct."""

    value: JsonValue
    faults: tuple[str, ...] = ()


def check_schema(schema: JsonObject) -> None:
    """Raises `InputError` where the author's schema is none, or none of an object, or can't be followed."""
    try:
        _check_schema(schema)
    except RecursionError:
        raise InputError("response_schema: is nested too deeply") from None


def _check_schema(schema: JsonObject) -> None:
    _check_form(schema, ())
    for place, value in leaves(schema):
        if place[-1] in ("$ref", "$dynamicRef") and not str(value).startswith("#"):
            raise InputError(f"response_schema: {dotted(place)} refers to {shown(value)}; only #/$defs/… is followed")
    if schema.get("type") != "object":
        raise InputError("response_schema: does not say type: object; write it and its properties")
    _Followed(schema)


def _check_form(schema: JsonValue, place: Place) -> None:
    for error in StrictValidator(StrictValidator.META_SCHEMA).iter_errors(schema):
        where = dotted((*place, *error.absolute_path))
        raise InputError(f"response_schema: is no JSON Schema: {f'{where}: ' if where else ''}{error.message[:200]}")


class _Followed:
    """Every schema that the author's can lead to, looked at before the answer is held against it."""

    def __init__(self, schema: JsonObject) -> None:
        resolver: _Resolver = Registry[Any]().resolver_with_root(DRAFT202012.create_resource(schema))
        self._todo: list[tuple[JsonValue, Place, _Resolver]] = [(schema, (), resolver)]
        self._seen: set[int] = set()
        while self._todo:
            self._follow(*self._todo.pop(), ())

    def _follow(self, schema: JsonValue, place: Place, resolver: _Resolver, above: tuple[int, ...]) -> None:
        """`above` are the schemas of the same value that have led here; those of inner values wait."""
        if not isinstance(schema, dict):
            return
        if id(schema) in above:
            raise InputError(f"response_schema: {_told(place)} comes back to itself without going into a value")
        if id(schema) in self._seen:
            return
        self._seen.add(id(schema))
        _check_patterns(schema, place)
        for name, inner, at in _inner(schema, place, _SAME):
            if name.endswith("ef"):
                target, where, base = self._target(inner, at, resolver)
                self._follow(target, where, base, (*above, id(schema)))
            else:
                self._follow(inner, at, _within(inner, resolver), (*above, id(schema)))
        self._todo += [(inner, at, _within(inner, resolver)) for _, inner, at in _inner(schema, place, _INSIDE)]

    def _target(self, reference: JsonValue, place: Place, resolver: _Resolver) -> tuple[JsonValue, Place, _Resolver]:
        text = str(reference)
        try:
            found = resolver.lookup(text)
        except (Unresolvable, ValueError, TypeError, AttributeError):  # the latter of a way through no object
            raise InputError(f"response_schema: {dotted(place)} refers to {shown(text)}, which is not there") from None
        target = cast("JsonValue", found.contents)
        if not isinstance(target, dict | bool):
            raise InputError(f"response_schema: {dotted(place)} refers to {shown(text)}, which is no schema")
        where = _pointed(text) if text == "#" or text.startswith("#/") else place
        if id(target) not in self._seen:
            _check_form(target, where)  # it may stand where the schema's own form says nothing
        return target, where, found.resolver


def _inner(schema: JsonObject, place: Place, keywords: Iterable[str]) -> Iterator[tuple[str, JsonValue, Place]]:
    """What stands under `keywords`: one thing, or one of each name or number."""
    for name in keywords:
        inner = schema.get(name)
        if isinstance(inner, dict) and name in _BY_NAME:
            yield from ((name, one, (*place, name, key)) for key, one in inner.items())
        elif isinstance(inner, list):
            yield from ((name, one, (*place, name, index)) for index, one in enumerate(inner))
        elif inner is not None:
            yield name, inner, (*place, name)


def _within(schema: JsonValue, resolver: _Resolver) -> _Resolver:
    return resolver.in_subresource(DRAFT202012.create_resource(cast("Any", schema)))


def _check_patterns(schema: JsonObject, place: Place) -> None:
    patterns: list[tuple[str, JsonValue]] = [("pattern", schema["pattern"])] if "pattern" in schema else []
    patterns += [("patternProperties", one) for one in cast("JsonObject", schema.get("patternProperties", {}))]
    for name, pattern in patterns:
        try:
            re.compile(str(pattern))
        except (re.error, OverflowError, RecursionError) as error:
            raise InputError(
                f"response_schema: {dotted((*place, name))}: {shown(pattern)} is no regular expression: {error}"
            ) from None


def _pointed(reference: str) -> Place:
    parts = unquote(reference).split("/")[1:]
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in parts)


def _told(place: Place) -> str:
    return dotted(place) or "it"


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

"""A JSON schema that an author wrote, looked at before anything is held against it.

Whatever it can lead to is followed: a reference that leads nowhere or in a circle, or a pattern that
is none, would else come to light in the middle of a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol, TypeAlias, cast
from urllib.parse import unquote

from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from spojit_stripe.catalog.check import StrictValidator
from spojit_stripe.catalog.shown import dotted, shown
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Place", "fault_of_schema"]

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

Place: TypeAlias = tuple[str | int, ...]


class _FaultError(Exception):
    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.place = place


def fault_of_schema(schema: JsonObject) -> tuple[Place, str] | None:
    """Where and why the schema is none, or none of an object, or can't be followed; None for a sound one."""
    try:
        _check(schema)
    except _FaultError as fault:
        return fault.place, str(fault)
    except RecursionError:
        return (), "is nested too deeply"
    return None


def _check(schema: JsonObject) -> None:
    _check_form(schema, ())
    for place, reference in _references(schema, ()):
        if not reference.startswith("#"):
            raise _FaultError(place, f"{dotted(place)} refers to {shown(reference)}; only #/$defs/… is followed")
    if schema.get("type") != "object":
        raise _FaultError((), "does not say type: object; write it and its properties")
    _Followed(schema)


def _references(value: JsonValue, place: Place) -> Iterator[tuple[Place, str]]:
    todo: list[tuple[Place, JsonValue]] = [(place, value)]
    while todo:
        at, one = todo.pop()
        if isinstance(one, dict):
            yield from (
                ((*at, name), inner)
                for name, inner in one.items()
                if name in ("$ref", "$dynamicRef") and isinstance(inner, str)
            )
            todo += [((*at, name), inner) for name, inner in reversed(one.items())]
        elif isinstance(one, list):
            todo += [((*at, index), inner) for index, inner in reversed(list(enumerate(one)))]


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


def _check_form(schema: JsonValue, place: Place) -> None:
    for error in StrictValidator(StrictValidator.META_SCHEMA).iter_errors(schema):
        where = dotted((*place, *error.absolute_path))
        raise _FaultError(place, f"is no JSON Schema: {f'{where}: ' if where else ''}{error.message[:200]}")


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
            raise _FaultError(place, f"{_told(place)} comes back to itself without going into a value")
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
            raise _FaultError(place, f"{dotted(place)} refers to {shown(text)}, which is not there") from None
        target = cast("JsonValue", found.contents)
        if not isinstance(target, dict | bool):
            raise _FaultError(place, f"{dotted(place)} refers to {shown(text)}, which is no schema")
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
            at = (*place, name)
            raise _FaultError(at, f"{dotted(at)}: {shown(pattern)} is no regular expression: {error}") from None


def _pointed(reference: str) -> Place:
    parts = unquote(reference).split("/")[1:]
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in parts)


def _told(place: Place) -> str:
    return dotted(place) or "it"

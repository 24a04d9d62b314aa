"""Hold a raw request's parameters against the operations index, in plain lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Literal, TypeAlias

import msgspec

from spojit_stripe.catalog.shown import dotted, kind_of, shown
from spojit_stripe.catalog.units import amount_fault, time_fault
from spojit_stripe.values import JsonObject, JsonValue, Params
from spojit_stripe.words import nearest

__all__ = ["Param", "Shared", "faults_of"]

_Path: TypeAlias = tuple[str | int, ...]

_NEEDED = {
    "array": "a list",
    "boolean": "true or false",
    "decimal": 'a decimal number as text, such as "0.5"',
    "integer": "an integer",
    "map": "an object",
    "number": "a number",
    "object": "an object",
    "string": "text",
}
_RANGE = frozenset(("gt", "gte", "lt", "lte"))
_TIMES = frozenset(
    (
        "billing_cycle_anchor",
        "created",
        "current_period_end",
        "current_period_start",
        "frozen_time",
        "interval_end",
        "interval_start",
        "redeem_by",
        "timestamp",
        "trial_end",
    )
)
_AMOUNTS = frozenset(("amount", "amount_to_capture", "amount_off", "balance", "application_fee", "unit_cost"))
# From this many on, a message points to the reference instead of listing the known names.
_MANY = 16


class Param(msgspec.Struct, frozen=True, gc=False):
    """One parameter of the index; its legend explains the letters."""

    t: Literal["string", "integer", "boolean", "number", "decimal", "object", "array", "map", "any", "alt"]
    n: str = ""
    r: int = 0
    u: int = 0
    null: int = 0
    e: tuple[str, ...] = ()
    eo: int = 0
    i: Param | None = None
    v: Param | None = None
    c: tuple[Param, ...] = ()
    d: str = ""
    alt: tuple[Param, ...] = ()


class Shared:
    """Lists of children that several operations share, decoded when first needed."""

    def __init__(self, raw: Mapping[str, msgspec.Raw]) -> None:
        self._raw = raw
        self._decoded: dict[str, tuple[Param, ...]] = {}

    def children(self, param: Param) -> tuple[Param, ...]:
        """The children of an object, wherever they are kept."""
        if not param.d:
            return param.c
        found = self._decoded.get(param.d)
        if found is None:
            found = self._decoded[param.d] = msgspec.json.decode(self._raw[param.d], type=tuple[Param, ...])
        return found


def faults_of(owner: str, known: Sequence[Param], shared: Shared, params: Params) -> list[str]:
    """One line per fault of `params`, unknown names first; `owner` names the operation."""
    return _Check(owner, dict(params), shared).members(known, dict(params), ())


class _Check:
    def __init__(self, owner: str, params: JsonObject, shared: Shared) -> None:
        self._owner = owner
        self._params = params
        self._shared = shared

    def members(self, known: Sequence[Param], given: JsonObject, path: _Path) -> list[str]:
        by_name = {param.n: param for param in known}
        unknown = [self._unknown(name, by_name, path) for name in given if name not in by_name]
        missing = [
            f"{dotted((*path, param.n))}: missing; {dotted(path) or self._owner} needs it"
            for param in known
            if param.r and param.n not in given
        ]
        wrong = [
            line
            for name, value in given.items()
            if name in by_name
            for line in self._value(by_name[name], value, (*path, name))
        ]
        return [*unknown, *wrong, *missing]

    def _unknown(self, name: str, known: Mapping[str, Param], path: _Path) -> str:
        where = dotted((*path, name)) if name else "an empty name"
        guess = nearest(name, known)
        of = dotted(path) or self._owner
        if guess:
            return f"{where}: unknown parameter of {of}{guess}"
        if not known:
            return f"{where}: unknown parameter; {of} takes none"
        listed = f"; it takes {', '.join(sorted(known))}" if len(known) <= _MANY else ""
        return f"{where}: unknown parameter of {of}{listed}"

    def _value(self, param: Param, value: JsonValue, path: _Path) -> list[str]:
        if value is None:
            return [] if param.null else [f"{dotted(path)}: null is not allowed; leave it out or give a value"]
        if value == "" and param.t != "any":
            return [] if param.u or _unset_in(param) else [f"{dotted(path)}: is empty; give a value or leave it out"]
        if param.t == "alt":
            return self._alternatives(param, value, path)
        if not _fits(param.t, value):
            return [self._wrong_type(param, value, path)]
        return self._inside(param, value, path)

    def _inside(self, param: Param, value: JsonValue, path: _Path) -> list[str]:
        if isinstance(value, dict) and param.t == "object":
            return self.members(self._shared.children(param), value, path)
        if isinstance(value, dict) and param.t == "map" and param.v is not None:
            return [line for key, one in value.items() for line in self._in_map(param.v, one, (*path, key))]
        if isinstance(value, list) and param.i is not None:
            return [line for at, one in enumerate(value) for line in self._value(param.i, one, (*path, at))]
        if param.e and not param.eo and isinstance(value, str) and value not in param.e:
            return [self._not_known(param, value, path)]
        return []

    def _in_map(self, param: Param, value: JsonValue, path: _Path) -> list[str]:
        # An empty text takes one entry out of a map such as metadata.
        return [] if value == "" and param.t == "string" else self._value(param, value, path)

    def _not_known(self, param: Param, value: str, path: _Path) -> str:
        guess = nearest(value, param.e)
        takes = ", ".join(param.e)
        end = f"{guess} It takes {takes}" if guess else f"; it takes {takes}"
        return f"{dotted(path)}: {shown(value, self._params, path)} is not known{end}"

    def _alternatives(self, param: Param, value: JsonValue, path: _Path) -> list[str]:
        meant = [one for one in param.alt if _fits(one.t, value)]
        found = [self._inside(one, value, path) for one in meant]
        if any(not lines for lines in found):
            return []
        # The alternative with the fewest faults is the one that was meant.
        return min(found, key=len) if found else [self._wrong_type(param, value, path)]

    def _wrong_type(self, param: Param, value: JsonValue, path: _Path) -> str:
        where = dotted(path)
        kinds = [one.t for one in param.alt] or [param.t]
        if "integer" in kinds:
            unit = self._unit(where, value, path)
            if unit:
                return unit
        needed = " or ".join(dict.fromkeys(_NEEDED[kind] for kind in kinds if kind in _NEEDED))
        kind = kind_of(value) or "given"
        return f"{where}: {shown(value, self._params, path)} is {kind}, but {needed} is needed"

    def _unit(self, where: str, value: JsonValue, path: _Path) -> str | None:
        names = [part for part in path if isinstance(part, str)]
        name = names[-2] if names[-1] in _RANGE and len(names) > 1 else names[-1]
        if name in _AMOUNTS or name.endswith("_amount"):
            return amount_fault(where, value, self._params, path)
        if name in _TIMES or name.endswith(("_at", "_date")):
            return time_fault(where, value, self._params, path)
        return None


def _unset_in(param: Param) -> bool:
    return any(one.u for one in param.alt)


def _fits(kind: str, value: JsonValue) -> bool:
    if kind == "any":
        return True
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, dict):
        return kind in ("object", "map")
    if isinstance(value, list):
        return kind == "array"
    if isinstance(value, str):
        return kind == "string" or (kind == "decimal" and _is_decimal(value))
    if isinstance(value, int):
        return kind in ("integer", "number", "decimal")
    return isinstance(value, float) and kind == "number"


def _is_decimal(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False

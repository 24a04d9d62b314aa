"""Hold parameters against a JSON Schema and say in plain lines what does not fit.

The only importer of jsonschema; `tool` imports it when the first call is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from jsonschema import Draft202012Validator, ValidationError, validators

from spojit_stripe.catalog.shown import dotted, kind_of, shown, shown_name
from spojit_stripe.catalog.units import amount_fault, time_fault
from spojit_stripe.redact import HIDDEN
from spojit_stripe.values import JsonObject, JsonValue, Params
from spojit_stripe.words import nearest

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

__all__ = ["Checker", "StrictValidator"]

# How many names a message lists before it only points at the tool's description.
_MANY = 16

_NEEDED = {
    "integer": "an integer",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "object": "an object with named fields",
    "array": "a list",
    "null": "null",
}
# Most telling first: a misspelt name also makes the right one missing.
_RANK = {"additionalProperties": 0, "required": 2}


def _is_integer(_checker: object, instance: object) -> bool:
    # JSON Schema takes 2.0 for an integer; here it is a number in some other unit.
    return isinstance(instance, int) and not isinstance(instance, bool)


StrictValidator: type[Validator] = cast(
    "type[Validator]",
    validators.extend(  # pyright: ignore[reportUnknownMemberType]
        Draft202012Validator,
        type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
    ),
)


class Checker:
    """A schema compiled once. `reserved` are parameters that only an author may set."""

    def __init__(self, tool: str, schema: JsonObject, reserved: frozenset[str] = frozenset()) -> None:
        self._tool = tool
        self._schema = schema
        self._reserved = reserved
        self._validator = StrictValidator(schema)

    def faults(self, params: Params) -> tuple[str, ...]:
        """One line per fault, most telling first; empty if `params` fit."""
        instance = dict(params)
        errors = list(self._validator.iter_errors(instance))
        if not errors:
            return ()
        narrowed = [inner for error in errors for inner in _narrowed(error)]
        narrowed.sort(key=lambda error: _RANK.get(str(error.validator), 1))
        lines = [line for error in narrowed for line in _Report(self, instance, error).lines()]
        return tuple(dict.fromkeys(lines))

    def unknown(self, name: str, path: str, known: Iterable[str]) -> str:
        """The line about a parameter that does not exist."""
        names = sorted(known)
        where = f"{path}." if path else ""
        if not path and name in self._reserved:
            return f"{name}: only the author of a workflow or call may set it, as an option beside the parameters"
        guess = nearest(name, names)
        if guess:
            return f"{where}{shown_name(name)}: unknown parameter{guess}"
        of = path or self._tool
        known_ones = f"{of} takes {', '.join(names)}" if len(names) <= _MANY else f"look up those of {of}"
        return f"{where}{shown_name(name)}: unknown parameter; {known_ones}"

    @property
    def tool(self) -> str:
        return self._tool


def _narrowed(error: ValidationError) -> list[ValidationError]:
    """The faults inside an `anyOf` where its value shows which branch was meant."""
    if error.validator != "anyOf":
        return [error]
    branches: dict[int, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(cast("int", inner.schema_path[0]), []).append(inner)
    # A branch of the right type fails further inside, or by its bounds.
    meant = [
        inner
        for inner in branches.values()
        if not any(one.validator in ("type", "const") and not one.relative_path for one in inner)
    ]
    if len(meant) != 1:
        return [error]
    return [deeper for one in meant[0] for deeper in _narrowed(one)]


class _Report:
    """The lines about one validation error."""

    def __init__(self, checker: Checker, params: JsonObject, error: ValidationError) -> None:
        self._checker = checker
        self._params = params
        self._error = error
        self._path = tuple(error.absolute_path)
        self._where = dotted(self._path)
        self._schema = cast("JsonObject", error.schema)
        self._value = cast("JsonValue", error.instance)
        self._shown = shown(self._value, params, self._path)

    def lines(self) -> list[str]:
        rule = _RULES.get(str(self._error.validator))
        if rule is None:
            return [f"{self._where}: {self._shown} is not allowed here"]
        found = rule(self)
        return [found] if isinstance(found, str) else list(found)

    @property
    def _limit(self) -> Any:  # the keyword's value, whatever the keyword
        return self._error.validator_value

    def additional(self) -> Sequence[str]:
        known = cast("JsonObject", self._schema.get("properties", {}))
        extra = [name for name in cast("JsonObject", self._value) if name not in known]
        return [self._checker.unknown(name, self._where, known) for name in extra]

    def required(self) -> Sequence[str]:
        present = cast("JsonObject", self._value)
        owner = self._where or self._checker.tool
        missing = [name for name in cast("list[str]", self._limit) if name not in present]
        # jsonschema reports each missing name on its own; all at once keeps their order.
        return [f"{dotted((*self._path, name))}: missing; {owner} needs it" for name in missing]

    def wrong_type(self) -> str:
        if self._value is None:
            return f"{self._where}: null is not allowed; leave it out or give a value"
        unit = self._unit_fault()
        if unit:
            return unit
        kinds = [self._limit] if isinstance(self._limit, str) else cast("list[str]", self._limit)
        return self._needs(kinds)

    def _needs(self, kinds: Sequence[str], otherwise: str = "") -> str:
        needed = " or ".join(_NEEDED[kind] for kind in kinds) + otherwise
        # Advice repeats the value, which is not for showing where it is blanked.
        advice = "" if HIDDEN in self._shown else _conversion(self._value, kinds)
        return f"{self._where}: {self._given()}, but {needed} is needed{advice}"

    def _given(self) -> str:
        kind = kind_of(self._value)
        return f"{self._shown} is {kind}" if kind else f"{self._shown} is given"

    def _unit_fault(self) -> str | None:
        rule = _UNITS.get(str(self._format()))
        return rule(self._where, self._value, self._params, self._path) if rule else None

    def _format(self) -> JsonValue:
        if "format" in self._schema or self._error.validator != "anyOf":
            return self._schema.get("format")
        branches = cast("list[JsonObject]", self._limit)
        return next((branch["format"] for branch in branches if "format" in branch), None)

    def any_of(self) -> str:
        if self._value is None:
            return self.wrong_type()
        branches = cast("list[JsonObject]", self._limit)
        unit = self._unit_fault()
        if unit:
            return unit
        kinds = [kind for branch in branches if isinstance(kind := branch.get("type"), str)]
        empty = " or an empty text" if any(branch.get("const") == "" for branch in branches) else ""
        return self._needs(kinds, empty)

    def enum(self) -> str:
        words = [one for one in cast("list[JsonValue]", self._limit) if isinstance(one, str) and one]
        takes = f"it takes {', '.join((*words, *self._other_words()))}"
        if not isinstance(self._value, str):
            return f"{self._where}: {self._given()}; {takes}"
        if not self._value:
            return f"{self._where}: is empty; {takes}"
        guess = nearest(self._value, words)
        end = f"{guess} I{takes[1:]}" if guess else f"; {takes}"
        return f"{self._where}: {self._shown} is not known{end}"

    def _other_words(self) -> tuple[str, ...]:
        parent = self._error.parent
        if parent is None or parent.validator != "anyOf":
            return ()
        branches = cast("list[JsonObject]", parent.validator_value)
        return ("true", "false") if any(branch.get("type") == "boolean" for branch in branches) else ()

    def const(self) -> str:
        return f"{self._where}: {self._shown} is not allowed; only {shown(self._limit)} is"

    def pattern(self) -> str | Sequence[str]:
        if self._is_name():
            return f"{self._owner()}: the name {self._shown} must not hold [ or ]"
        if self._value == "" and self._schema.get("minLength"):
            return ()  # said better by that keyword
        examples = cast("list[JsonValue]", self._schema.get("examples", []))
        advice = f"; write it like {shown(examples[0])}" if examples else ""
        return f"{self._where}: {self._shown} does not have the right form{advice}"

    def too_short(self) -> str:
        if self._is_name():
            return f"{self._owner()}: an empty name is not allowed"
        if self._value == "":
            return f"{self._where}: is empty; give a value or leave it out"
        return f"{self._where}: {self._shown} is too short; at least {self._limit} characters"

    def too_long(self) -> str:
        length = len(cast("str", self._value))
        what = f"{self._owner()}: the name {self._shown} has" if self._is_name() else f"{self._where}: has"
        return f"{what} {length} characters; at most {self._limit} are allowed"

    def _is_name(self) -> bool:
        return "propertyNames" in self._error.absolute_schema_path

    def _owner(self) -> str:
        return self._where or self._checker.tool

    def out_of_range(self) -> str:
        unit = self._unit_fault()
        if unit:
            return unit
        low, high = self._schema.get("minimum"), self._schema.get("maximum")
        if low is not None and high is not None:
            return f"{self._where}: {self._shown} is out of range; use {low} to {high}"
        bound = f"at least {low}" if high is None else f"at most {high}"
        return f"{self._where}: {self._shown} is out of range; use {bound}"

    def count(self) -> str:
        number = len(cast("list[JsonValue]", self._value))
        has = "1 entry" if number == 1 else f"{number or 'no'} entries"
        be = "is" if self._limit == 1 else "are"
        least = str(self._error.validator).startswith("min")
        bound = f"at least {self._limit} {be} needed" if least else f"no more than {self._limit} {be} allowed"
        return f"{self._owner()}: has {has}; {bound}"

    def excluded(self) -> Sequence[str]:
        schema, present = cast("JsonObject", self._limit), cast("JsonObject", self._value)
        if "properties" in schema:  # "not all of them absent"
            names = sorted(cast("JsonObject", schema["properties"]))
            return [f"{self._owner()}: needs one of {', '.join(names)}"]
        lines: list[str] = []
        for pair in cast("list[JsonObject]", schema.get("anyOf", [schema])):
            names = cast("list[str]", pair.get("required", []))
            if names and all(name in present for name in names):
                named = " and ".join(dotted((*self._path, name)) for name in names)
                lines.append(f"{named}: not together; leave one out")
        return lines or [f"{self._owner()}: these parameters do not go together"]


_UNITS: dict[str, Callable[[str, JsonValue, JsonObject, tuple[str | int, ...]], str | None]] = {
    "minor-units": amount_fault,
    "unix-time": time_fault,
}
_RULES: dict[str, Callable[[_Report], str | Sequence[str]]] = {
    "additionalProperties": _Report.additional,
    "anyOf": _Report.any_of,
    "const": _Report.const,
    "enum": _Report.enum,
    "maxItems": _Report.count,
    "maxLength": _Report.too_long,
    "maxProperties": _Report.count,
    "maximum": _Report.out_of_range,
    "minItems": _Report.count,
    "minLength": _Report.too_short,
    "minProperties": _Report.count,
    "minimum": _Report.out_of_range,
    "not": _Report.excluded,
    "pattern": _Report.pattern,
    "required": _Report.required,
    "type": _Report.wrong_type,
}


def _conversion(value: JsonValue, kinds: Sequence[str]) -> str:
    """`"; write 10 without quotes"` where the value is the right one in the wrong clothes."""
    if isinstance(value, str):
        bare = value.strip()
        if "boolean" in kinds and bare.lower() in ("true", "false"):
            return f"; write {bare.lower()} without quotes"
        if "integer" in kinds and bare.isascii() and bare.removeprefix("-").isdigit() and len(bare) < 20:
            return f"; write {int(bare)} without quotes"
    elif isinstance(value, bool):
        return ""
    elif isinstance(value, int) and "string" in kinds and abs(value) < 10**20:
        return f'; write "{value}" in quotes'
    elif isinstance(value, float) and "integer" in kinds and value.is_integer() and abs(value) < 1e15:
        return f"; write {int(value)}"
    if kinds == ["array"] and isinstance(value, str):
        return "; write a list with one entry"
    return ""

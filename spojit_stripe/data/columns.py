"""The columns of a table for SQL: from its items' JSON schema and from what the rows hold.

    integer -> BIGINT    boolean -> BOOLEAN    string -> VARCHAR    number -> DOUBLE
    string or object (an id, or the object itself where it was expanded) -> VARCHAR, the id
    anything else, and what is mixed -> JSON

The rows decide together with the schema, because the service's objects are open. Money is
BIGINT or an error: a column of `format: minor-units` never becomes a DOUBLE.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast

from spojit_stripe.data.lines import MOST_COLUMNS, Columns
from spojit_stripe.errors import InputError
from spojit_stripe.redact import printable, redact_text
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Column", "columns_for"]

Reading = Literal["plain", "id"]

_TYPES: Final[dict[frozenset[str], str]] = {
    frozenset({"integer"}): "BIGINT",
    frozenset({"boolean"}): "BOOLEAN",
    frozenset({"string"}): "VARCHAR",
    frozenset({"number"}): "DOUBLE",
    frozenset({"integer", "number"}): "DOUBLE",
    frozenset({"string", "object"}): "VARCHAR",
    frozenset(): "VARCHAR",  # nothing but null
}
_OPEN = frozenset({"string", "object"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column and its DuckDB type. `reading` "id": an object in it counts as its id."""

    name: str
    type: str
    reading: Reading = "plain"

    def to_json(self) -> JsonObject:
        return {"name": self.name, "type": self.type, "reading": self.reading}


def columns_for(table: str, schema: JsonObject | None, seen: Columns | None) -> list[Column]:
    """A table's columns, the schema's first. Raises `InputError` where the rows make no table."""
    if seen is None:
        raise InputError(f"table {table}: its rows have more than {MOST_COLUMNS:,} different fields, too many for SQL")
    declared = _properties(schema)
    names = [*declared, *(name for name in seen if name not in declared)]
    _check_names(table, names)
    columns = [_column(table, name, declared.get(name), frozenset(seen.get(name, ()))) for name in names]
    return columns or [Column(name="value", type="JSON")]


def _properties(schema: JsonObject | None) -> Mapping[str, JsonValue]:
    found = (schema or {}).get("properties")
    return found if isinstance(found, dict) else {}


def _check_names(table: str, names: Iterable[str]) -> None:
    met: dict[str, str] = {}
    for name in names:
        if not name or "\x00" in name:
            raise InputError(f"table {table}: a field of its rows has a name that SQL can't use: {_shown(name)}")
        other = met.setdefault(name.lower(), name)
        if other != name:
            raise InputError(
                f"table {table}: the fields {_shown(other)} and {_shown(name)} differ in case only, "
                "which SQL can't tell apart; rename one with a transform"
            )


def _column(table: str, name: str, schema: JsonValue, seen: frozenset[str]) -> Column:
    declared = _kinds_of(schema) - {"null"}
    held = seen - {"null"}
    if isinstance(schema, dict) and schema.get("format") == "minor-units":
        if not held <= {"integer"}:
            what = _listed(held - {"integer"})
            raise InputError(f"table {table}: {_shown(name)} is money in minor units, and a row holds {what} there")
        return Column(name=name, type="BIGINT")
    kinds = declared | held
    found = _TYPES.get(kinds, "JSON")
    return Column(name=name, type=found, reading="id" if kinds == _OPEN and "object" in held else "plain")


def _kinds_of(schema: JsonValue) -> frozenset[str]:
    """The kinds of values that a property's schema allows; nothing where it says nothing."""
    if not isinstance(schema, dict):
        return frozenset()
    said = schema.get("type")
    if isinstance(said, str):
        return frozenset({said})
    if isinstance(said, list):
        return frozenset(kind for kind in said if isinstance(kind, str))
    choices = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(choices, list):
        return frozenset[str]().union(*(_kinds_of(choice) for choice in choices))
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list):
        return frozenset(_kind(value) for value in cast("list[JsonValue]", values))
    return frozenset()


def _kind(value: JsonValue) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    kinds: dict[type, str] = {int: "integer", float: "number", str: "string", list: "array"}
    return kinds.get(type(value), "object")


def _shown(name: str) -> str:
    return repr(printable(redact_text(name))[:60])


def _listed(kinds: frozenset[str]) -> str:
    words = {"number": "a fraction", "string": "text", "boolean": "true or false", "array": "a list"}
    return " and ".join(sorted(words.get(kind, f"an {kind}") for kind in kinds))

"""What is known of an output before anything runs, as JSON schemas, and paths held against it.

`closed` objects have the fields that stand in their schema and no others. Stripe's own
objects are open: a field that is not in a descriptor may be there all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spojit_stripe.catalog import Catalog, Tool
from spojit_stripe.expressions import Compiled
from spojit_stripe.expressions.bounds import listed, shown_name
from spojit_stripe.values import JsonObject, JsonValue
from spojit_stripe.words import nearest

__all__ = [
    "ANY",
    "Misread",
    "closed",
    "items_of",
    "of_inputs",
    "of_raw",
    "of_set",
    "of_tool",
    "of_value",
    "read_path",
    "rows_of",
    "under",
]

ANY: Final[JsonObject] = {}
_NOTHING: Final[JsonObject] = {}
_NAMES: Final = {bool: "boolean", int: "integer", float: "number", str: "string"}
_SCALARS: Final = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Misread:
    """What is wrong with a path. `certain`: it can't be right."""

    message: str
    suggestion: str
    certain: bool


def closed(**properties: JsonValue) -> JsonObject:
    """The schema of an object with these fields and no others."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


def of_tool(tool: Tool) -> JsonObject:
    """A list's envelope is ours and closed; an object is the service's and open."""
    return {**tool.output_schema, "additionalProperties": False} if tool.is_list else tool.output_schema


def of_raw(catalog: Catalog, tool: Tool, params: JsonValue) -> JsonObject:
    """What a raw request gives, where a tool of the catalog asks for the same or lists such objects."""
    given = params if isinstance(params, dict) else {}
    inner = given.get("params")
    if isinstance(inner, dict) and "expand" in inner:
        return tool.output_schema  # it gives more than it has by itself
    method, path = given.get("method"), str(given.get("path"))
    tools = [catalog.tool(name) for name in catalog.names]
    same = next((one for one in tools if (one.binding.method, one.binding.path) == (method, path)), None)
    if same is not None:
        return of_tool(same)
    listing = next((one for one in tools if one.is_list and one.binding.path == path.rpartition("/")[0]), None)
    if listing is None or method != "GET" or path.endswith("/search"):
        return tool.output_schema
    return items_of(under(listing.output_schema, ("data",)))


def rows_of(schema: JsonObject) -> JsonObject | None:
    """The shape of a row where an output of this shape is a table of SQL; None where its columns are not known."""
    properties = _properties(schema)
    rows = properties.get("data", properties.get("results"))
    columns = _properties(items_of(rows)) if isinstance(rows, dict) else ANY
    return {"type": "object", "properties": columns} if columns else None


def of_inputs(inputs: JsonObject) -> JsonObject:
    """What is not declared is no input, unless the schema allows more."""
    return {"properties": _NOTHING, "additionalProperties": False, **inputs}


def of_set(compiled: Compiled) -> JsonObject:
    source = compiled.source
    fields = source if isinstance(source, dict) else {}
    return closed(**{name: of_value(value, compiled, (name,)) for name, value in fields.items()})


def of_value(value: JsonValue, compiled: Compiled, path: tuple[str | int, ...]) -> JsonObject:
    """The shape of a literal; nothing is known of an expression's."""
    if path in compiled.paths:
        return ANY if compiled.is_expression(path) else {"type": "string"}
    if isinstance(value, dict):
        return closed(**{name: of_value(inner, compiled, (*path, name)) for name, inner in value.items()})
    if isinstance(value, list):
        return {"type": "array"}
    return {"type": _NAMES[type(value)]} if value is not None else ANY


def items_of(schema: JsonObject) -> JsonObject:
    """The shape of a list's items."""
    found = schema.get("items")
    return found if isinstance(found, dict) else ANY


def under(schema: JsonObject, path: tuple[str | int, ...]) -> JsonObject:
    """The shape at `path`, as far as it is known."""
    for key in path:
        if isinstance(key, int):
            schema = items_of(schema)
        else:
            found = _properties(schema).get(key)
            schema = found if isinstance(found, dict) else ANY
    return schema


def read_path(schema: JsonObject, owner: str, path: tuple[str | int, ...]) -> Misread | None:
    """What is wrong with reading `path` of a value called `owner`, or None."""
    for key in path:
        if "$ref" in schema:
            return None
        found = _misread(schema, owner, key)
        if found is not None:
            return found
        schema = under(schema, (key,))
        owner = f"{owner}[{key}]" if isinstance(key, int) else f"{owner}.{key}"
    return None


def _misread(schema: JsonObject, owner: str, key: str | int) -> Misread | None:
    kind = schema.get("type")
    if isinstance(kind, str) and kind in _SCALARS:
        return Misread(f"{owner} is {_SCALARS[kind]}, which has no fields", "", True)
    if kind == "array" and isinstance(key, str):
        advice = f"take one item with [0] or | first, or the field of each with | map({key!r})"
        return Misread(f"{owner} is a list and has no {shown_name(key)!r}", advice, True)
    if kind == "object" and isinstance(key, int):
        return Misread(f"{owner} is an object, which has no [{key}]", "", True)
    properties = _properties(schema)
    if isinstance(key, int) or key in properties or kind == "array":
        return None
    return _unknown_field(schema, properties, owner, key)


def _unknown_field(schema: JsonObject, properties: Mapping[str, JsonValue], owner: str, key: str) -> Misread | None:
    guess = nearest(key, properties)
    if schema.get("additionalProperties") is False:
        have = f"it has {listed(properties)}" if properties else "it has none"
        return Misread(f"{owner} has no {shown_name(key)!r}", guess or have, True)
    # An open object: only what looks like a slip of the pen is worth a word.
    return Misread(f"{owner} has no known field {shown_name(key)!r}", guess, False) if guess else None


def _properties(schema: JsonObject) -> JsonObject:
    found = schema.get("properties")
    if isinstance(found, dict):
        return found
    branches = schema.get("anyOf")
    known: JsonObject = {}
    for branch in branches if isinstance(branches, list) else []:  # a customer, or a deleted one
        known |= _properties(branch) if isinstance(branch, dict) else _NOTHING
    return known

"""The smallest valid value of a JSON Schema, as far as descriptors use it."""

from __future__ import annotations

from typing import cast

from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["sample_params"]


def sample_params(schema: JsonObject) -> JsonObject:
    """The smallest parameters that `schema` takes: what it requires, and nothing else.

    A pattern needs `examples`, because text that fits a pattern can't be made from it.
    """
    return cast("JsonObject", _sample({**schema, "type": "object"}))


def _sample(schema: JsonObject) -> JsonValue:
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    for name in ("examples", "enum"):
        if name in schema:
            return cast("list[JsonValue]", schema[name])[0]
    for name in ("anyOf", "oneOf"):
        if name in schema and "type" not in schema:
            return _sample(cast("list[JsonObject]", schema[name])[0])
    kind = schema.get("type", "string")
    return _of_kind(cast("str", kind[0] if isinstance(kind, list) else kind), schema)


def _of_kind(kind: str, schema: JsonObject) -> JsonValue:
    if kind == "object":
        properties = cast("dict[str, JsonObject]", schema.get("properties", {}))
        return {name: _sample(properties[name]) for name in cast("list[str]", schema.get("required", []))}
    if kind == "array":
        items = cast("JsonObject", schema.get("items", {}))
        return [_sample(items) for _ in range(cast("int", schema.get("minItems", 0)))]
    if kind in ("integer", "number"):
        return cast("int", schema.get("minimum", 1))
    if kind == "boolean":
        return False
    return "x" * max(cast("int", schema.get("minLength", 1)), 1) if kind == "string" else None

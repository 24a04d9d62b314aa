#!/usr/bin/env python3
"""Bring the parameters of the tool descriptors in `schemas/` in line with the operations index.

Run it after `remake_operations.py`. A descriptor is the only store of what people wrote:
texts, bounds, formats, examples, further required parameters, filters of our own and
everything outside `inputSchema` stay as they are; which parameters exist, their types and
their known values come from the index. A new parameter gets no text, which a test notices.

`--check` changes nothing: exit code 1 and the names of the descriptors that differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, TypeAlias, cast

Schema: TypeAlias = dict[str, Any]
Node: TypeAlias = dict[str, Any]

SCHEMAS = Path(__file__).parents[1] / "schemas"
WIDTH = 110
LONGEST_STRICT_ENUM = 14  # a longer open list of values grows too often to refuse what it lacks

# Kept from the descriptor where the index says nothing.
WRITTEN = (
    "description",
    "examples",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "propertyNames",
    "default",
)
KEYS = ("$schema", "type", "const", "enum", *WRITTEN[1:], "description", "items", "anyOf", "not", "allOf")

IDS = frozenset(
    (
        "account",
        "account_tax_ids",
        "calculation",
        "confirmation_token",
        "coupon",
        "customer",
        "customer_account",
        "default_mandate",
        "default_payment_method",
        "default_source",
        "default_tax_rates",
        "destination",
        "discount",
        "ending_before",
        "financial_connections_account",
        "ids",
        "invoice",
        "mandate",
        "on_behalf_of",
        "payment_intent",
        "payment_method",
        "payment_method_configuration",
        "plan",
        "price",
        "promotion_code",
        "shipping_rate",
        "source",
        "starting_after",
        "subscription",
        "tax_code",
        "template",
        "test_clock",
    )
)
AMOUNTS = frozenset(("amount", "application_fee", "balance", "unit_cost"))
TIMES = frozenset(("created", "due_date", "current_period_end", "current_period_start", "effective_at"))
RANGE = frozenset(("gt", "gte", "lt", "lte"))
# In some dialects, Python's too, $ also matches before a final newline.
END = "(?![\\s\\S])"
LAST_SECOND = 99_999_999_999  # a larger number counts milliseconds


def schema_of(node: Node, defs: dict[str, list[Node]], name: str = "") -> Schema:
    """The JSON Schema of one parameter of the index; `name` is that of the nearest named parameter."""
    name = node.get("n", name)
    if node["t"] == "alt":
        branches = [schema_of(branch, defs, name) for branch in node["alt"]]
        return {"anyOf": [*branches, *([{"const": ""}] if "u" in node else ())]}
    schema = _plain(node, defs, name)
    if "u" not in node:
        return schema
    if schema.get("type") == "string" and "enum" not in schema:
        schema.pop("minLength", None)
        return schema
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], ""]}
    return {"anyOf": [schema, {"const": ""}]}


def _plain(node: Node, defs: dict[str, list[Node]], name: str) -> Schema:
    kind = node["t"]
    if kind == "object":
        return object_of(node.get("c", defs.get(node.get("d", ""), [])), defs)
    if kind == "array":
        return {"type": "array", "items": schema_of(node["i"], defs, name)}
    if kind == "map":
        return _map_of(node, defs)
    if kind == "integer":
        return {"type": "integer", **_integer_rules(name)}
    if kind == "string":
        return _string_of(node, name)
    return {"type": {"decimal": "string"}.get(kind, kind)}


def object_of(children: list[Node], defs: dict[str, list[Node]]) -> Schema:
    """The schema of an object with these children and no others."""
    required = [child["n"] for child in children if "r" in child]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {child["n"]: schema_of(child, defs) for child in children},
        **({"required": required} if required else {}),
    }


def _map_of(node: Node, defs: dict[str, list[Node]]) -> Schema:
    value = schema_of(node["v"], defs)
    if value.get("type") == "string":
        value = {"type": "string", "maxLength": 500}
    return {
        "type": "object",
        "maxProperties": 50,
        "propertyNames": {"minLength": 1, "maxLength": 40, "pattern": "^[^\\[\\]]*$"},
        "additionalProperties": value,
    }


def _integer_rules(name: str) -> Schema:
    if name in AMOUNTS or name.endswith("_amount"):
        return {"format": "minor-units"}
    if name in TIMES or name in RANGE or name.endswith(("_at", "_date")):
        return {"format": "unix-time", "minimum": 0, "maximum": LAST_SECOND}
    return {}


def _string_of(node: Node, name: str) -> Schema:
    known = node.get("e")
    if known and (len(known) <= LONGEST_STRICT_ENUM or "eo" not in node):
        return {"type": "string", "enum": known}
    schema: Schema = {"type": "string", "minLength": 1}
    if known:
        return {**schema, "examples": known}
    if name in IDS:
        return {**schema, "maxLength": 255}
    if name == "currency":
        return {**schema, "pattern": f"^[A-Za-z]{{3}}{END}", "examples": ["usd", "eur"]}
    return schema


# --- merging ----------------------------------------------------------------------------------


def merged(new: Schema, old: Schema) -> Schema:
    """`new` with what was written by hand in `old`, at every depth."""
    result = dict(new)
    for key in WRITTEN:
        known_values = key == "examples" and len(new.get(key, ())) > LONGEST_STRICT_ENUM
        if key in old and not known_values:
            result[key] = old[key]
    if "properties" in new:
        before: Schema = old.get("properties", {})
        result["properties"] = {
            name: merged(schema, before.get(name, {})) for name, schema in new["properties"].items()
        }
        required = sorted({*new.get("required", ()), *(set(old.get("required", ())) & result["properties"].keys())})
        if required:
            result["required"] = required
    if "items" in new:
        result["items"] = merged(new["items"], old.get("items", {}))
    if "anyOf" in new:
        branches = {branch.get("type", "const"): branch for branch in old.get("anyOf", ())}
        result["anyOf"] = [merged(one, branches.get(one.get("type", "const"), {})) for one in new["anyOf"]]
    return result


def remade(document: Schema, index: Node) -> Schema:
    """The descriptor `document` with the parameters that the index has for its operation."""
    request = document["binding"]["request"]
    if request == "raw":
        return document
    operation = next(one for one in index["operations"] if (one["m"], one["p"]) == (request["method"], request["path"]))
    old: Schema = document["inputSchema"]
    new = merged(object_of(operation["params"], index["defs"]), old)
    ours = {*operation.get("path", ()), *_own_filters(document)}
    properties = {**new["properties"], **{name: old["properties"][name] for name in ours}}
    required = [name for name in old.get("required", ()) if name in ours]
    schema: Schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **new,
        "properties": dict(sorted(properties.items())),
    }
    if required or "required" in new:
        schema["required"] = sorted({*required, *new.get("required", ())})
    for key in ("allOf", "anyOf", "not"):
        if key in old:
            schema[key] = old[key]
    return {**document, "inputSchema": schema}


def _own_filters(document: Schema) -> list[str]:
    filters: dict[str, Schema] = document["binding"].get("filters", {})
    return [name for name, one in filters.items() if one["by"] != "server"]


# --- file -------------------------------------------------------------------------------------


def dumped(value: Any, indent: int = 0, used: int = 0) -> str:
    """JSON with everything on one line that fits on one: readable and made for diffs.

    `used` is the room that the name before the value takes.
    """
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent + used <= WIDTH or not isinstance(value, dict | list) or not value:
        return line
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        pairs = cast("Schema", value)
        rows = [f"{inner}{json.dumps(key)}: {dumped(one, indent + 2, len(key) + 5)}" for key, one in pairs.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    items = cast("list[Any]", value)
    if all(isinstance(one, str) for one in items):
        return (
            "[\n" + _filled([json.dumps(one, ensure_ascii=False) for one in items], inner) + "\n" + " " * indent + "]"
        )
    return "[\n" + ",\n".join(inner + dumped(one, indent + 2) for one in items) + "\n" + " " * indent + "]"


def _filled(words: list[str], inner: str) -> str:
    lines: list[str] = []
    line = inner
    for word in words:
        if len(line) + len(word) + 2 > WIDTH and line != inner:
            lines.append(line.rstrip())
            line = inner
        line += f"{word}, "
    return "\n".join([*lines, line.rstrip(", ")])


def ordered(value: Any, *, names: bool = False) -> Any:
    """`value` with the keywords of schemas in a fixed order; names of parameters stay as they are."""
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [ordered(one) for one in items]
    if not isinstance(value, dict):
        return value
    pairs = cast("Schema", value)
    if names:
        return {key: ordered(one) for key, one in pairs.items()}
    rank = {key: place for place, key in enumerate(KEYS)}
    order = sorted(pairs, key=lambda key: rank.get(key, len(KEYS)))
    return {key: ordered(pairs[key], names=key == "properties") for key in order}


def text_of(document: Schema) -> str:
    """The text of a descriptor file."""
    schemas = {key: ordered(document[key]) for key in ("inputSchema", "outputSchema")}
    return dumped({**document, **schemas}) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a descriptor differs")
    check: bool = parser.parse_args().check
    index = json.loads((SCHEMAS / "stripe-operations.json").read_text(encoding="utf-8"))
    differ: list[str] = []
    for file in sorted(SCHEMAS.glob("*.json")):
        document = json.loads(file.read_text(encoding="utf-8"))
        if "inputSchema" not in document:
            continue
        text = text_of(remade(document, index))
        if text != file.read_text(encoding="utf-8"):
            differ.append(file.name)
            if not check:
                file.write_text(text, encoding="utf-8")
    verb = "differ" if check else "written"
    print(f"{verb}: {', '.join(differ)}" if differ else "all descriptors agree with the index")
    return 1 if check and differ else 0


if __name__ == "__main__":
    sys.exit(main())

"""What the model is offered: the node's tools, made smaller, and two of our own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from spojit_stripe.agent.spec import AgentSpec, default_tools
from spojit_stripe.catalog import Tool
from spojit_stripe.connector import Explains
from spojit_stripe.session import Session
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["CHARACTERS_PER_TOKEN", "FIND_ENDPOINT", "INJECTED", "QUERY_DATA", "Offer", "Toolbox", "outlined"]

FIND_ENDPOINT: Final = "find-endpoint"
QUERY_DATA: Final = "query-data"
CHARACTERS_PER_TOKEN: Final = 4
"""A rule of thumb for English and JSON; the provider's own count is in every turn's usage."""

Kind: TypeAlias = Literal["tool", "query", "find"]

_FIELDS: Final[JsonObject] = {
    "type": "array",
    "items": {"type": "string"},
    "description": "Further fields to show of each object, dotted where nested.",
}
_READ_ALL: Final[JsonObject] = {
    "type": "boolean",
    "description": "true reads all pages, not only the first. Sums and counts need it.",
}
_INTENT: Final[JsonObject] = {
    "type": "string",
    "description": "Only for a call that repeats an earlier one on purpose: why. A person is always asked.",
}
INJECTED: Final[Mapping[str, JsonObject]] = {"fields": _FIELDS, "read_all": _READ_ALL, "intent": _INTENT}

_QUERY: Final[JsonObject] = {
    "name": QUERY_DATA,
    "description": (
        "Runs one SELECT (DuckDB SQL) over everything fetched so far, exactly and at no cost: one table for each kind "
        "of object, named in the plural (charges, customers, invoices, payment_intents), one row an object, nested "
        "fields by dots. Use it for every sum, count, comparison and sort. Amounts are integers in the smallest unit: "
        "group them by currency. It cannot write, and sees no files."
    ),
    "input_schema": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"sql": {"type": "string", "description": "One SELECT."}},
        "required": ["sql"],
    },
}
_FIND: Final[JsonObject] = {
    "name": FIND_ENDPOINT,
    "description": "Finds operations for raw-api-request by words, such as 'list refunds' or 'cancel subscription'.",
    "input_schema": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"words": {"type": "string"}},
        "required": ["words"],
    },
}

_NO_API_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_NAME: Final = 64
_FIRST_SENTENCE = re.compile(r"(?s)(.+?[.;])(?:\s|$)")


@dataclass(frozen=True, slots=True)
class Offer:
    """One tool as the model sees it. `tool` is None for our own."""

    kind: Kind
    name: str
    definition: JsonObject
    tool: Tool | None = None

    @property
    def injected(self) -> frozenset[str]:
        """Arguments that are ours, not the tool's."""
        if self.tool is None:
            return frozenset()
        own = cast("JsonObject", self.tool.public_schema["properties"])
        shown = cast("JsonObject", cast("JsonObject", self.definition["input_schema"])["properties"])
        return frozenset(name for name in INJECTED if name in shown and name not in own)


class Toolbox:
    """The offers of one agent, by the name that the model calls them."""

    def __init__(self, spec: AgentSpec, session: Session) -> None:
        catalog = session.connector.catalog
        names = dict.fromkeys(spec.tools) if spec.tools is not None else None
        tools = default_tools(catalog) if names is None else [catalog.tool(name) for name in names]
        hidden = frozenset(session.rules.pins)
        offers = [_offer(tool, hidden) for tool in tools]
        if isinstance(session.connector, Explains) and any(tool.binding.raw for tool in tools):
            offers.append(Offer("find", FIND_ENDPOINT, _FIND))
        offers.append(Offer("query", QUERY_DATA, _QUERY))
        self._by_name: dict[str, Offer] = {}
        for offer in offers:
            self._by_name[_free_name(offer.name, self._by_name)] = offer
        self.definitions: list[JsonObject] = [
            {**offer.definition, "name": name} for name, offer in self._by_name.items()
        ]

    def get(self, api_name: str) -> Offer | None:
        return self._by_name.get(api_name)

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    def shares(self) -> list[tuple[str, int]]:
        """About how many tokens of each prompt every offer takes."""
        return [
            (name, len(json.dumps(definition)) // CHARACTERS_PER_TOKEN)
            for name, definition in zip(self._by_name, self.definitions, strict=True)
        ]


def _free_name(name: str, taken: Mapping[str, Offer]) -> str:
    """A name that the API takes and nothing else has."""
    plain = _NO_API_NAME.sub("_", name)[:_LONGEST_NAME]
    found, number = plain, 1
    while found in taken:
        number += 1
        found = f"{plain[: _LONGEST_NAME - 4]}_{number}"
    return found


def _offer(tool: Tool, hidden: frozenset[str]) -> Offer:
    schema = outlined(tool.public_schema)
    properties = dict(cast("JsonObject", schema["properties"]))
    for name in hidden:
        properties.pop(name, None)
    reads_only = tool.annotations.read_only
    wanted = ["fields"]
    if tool.is_list or tool.binding.raw:
        wanted.append("read_all")
    if not reads_only:
        wanted.append("intent")
    own = cast("JsonObject", tool.public_schema["properties"])
    properties |= {name: INJECTED[name] for name in wanted if name not in own}
    required = [name for name in cast("list[str]", schema.get("required", [])) if name not in hidden]
    shown: JsonObject = {**schema, "properties": properties}
    shown.pop("required", None)
    if required:
        shown["required"] = cast("list[JsonValue]", required)
    definition: JsonObject = {"name": tool.name, "description": tool.description, "input_schema": shown}
    return Offer("tool", tool.name, definition, tool)


# Smaller schemas

_BUDGET: Final = 6_000  # characters; a call is checked against the whole schema all the same
_DROPPED: Final = frozenset({"$schema", "examples", "format", "title", "pattern", "minLength", "maxLength"})


def outlined(schema: JsonObject) -> JsonObject:
    """`schema` as the API takes it, and short enough for every turn: what is deep down becomes a list of names."""
    plain = cast("JsonObject", _without(schema))
    for word in ("not", "anyOf", "oneOf", "allOf", "if", "then", "else", "dependentRequired"):
        plain.pop(word, None)  # the API takes none at the top; the check of a call still holds them
    for deepest, longest in ((99, 0), (99, 120), (2, 120), (1, 100), (1, 50), (1, 1)):
        found = cast("JsonObject", _cut(plain, 0, deepest, longest))
        if len(json.dumps(found)) <= _BUDGET:
            return found
    return cast("JsonObject", _cut(plain, 0, 1, 1))


def _without(value: JsonValue, *, names: bool = False) -> JsonValue:
    if isinstance(value, dict):
        return {
            name: _without(inner, names=name == "properties" and not names)
            for name, inner in value.items()
            if names or name not in _DROPPED
        }
    return [_without(one) for one in value] if isinstance(value, list) else value


def _cut(schema: JsonValue, depth: int, deepest: int, longest: int) -> JsonValue:
    if isinstance(schema, list):
        return [_cut(one, depth, deepest, longest) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found: JsonObject = {}
    for name, inner in schema.items():
        if name == "description" and longest and isinstance(inner, str):
            short = _shortened(inner, longest)
            if short:
                found[name] = short
        elif name == "properties" and isinstance(inner, dict):
            found[name] = {key: _cut(one, depth + 1, deepest, longest) for key, one in inner.items()}
        elif name in ("items", "anyOf", "oneOf", "additionalProperties"):
            found[name] = _cut(inner, depth, deepest, longest)
        else:
            found[name] = inner
    keys = found.get("properties")
    if depth >= deepest and isinstance(keys, dict):
        return {"type": "object", "description": f"Keys: {', '.join(keys)}."}
    return found


def _shortened(text: str, longest: int) -> str:
    if longest < 2:
        return ""
    sentence = _FIRST_SENTENCE.match(text)
    short = sentence[1] if sentence else text
    return short if len(short) <= longest else f"{short[: longest - 1]}…"

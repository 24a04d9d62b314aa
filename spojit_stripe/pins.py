"""Pins, the parameters that a policy fixes: what keeps to one, and what one is filled into.

A pin is filled into a request that makes or reads something. A request that names an existing object
in its path is left alone: what is filled in there would be changed on that object, its currency say.
What an operation can't do without is filled in everywhere, for the caller could only write the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast
from urllib.parse import unquote

from spojit_stripe.catalog import Tool
from spojit_stripe.connection import Connection
from spojit_stripe.connector import BoundCall, Connector
from spojit_stripe.errors import InputError
from spojit_stripe.values import JsonObject, JsonValue, Params, Request, ToolCall

__all__ = ["bind_pinned", "fill_in", "ids_in_path", "keeps_pin"]

Pins = Mapping[str, JsonValue]

# Where a path names an object: at a place of its template, or by an id where nobody knows the template.
_OBJECT = re.compile(r"/(?:\{|[a-z_]+_(?=[A-Za-z]*[0-9])[A-Za-z0-9]+)")


def keeps_pin(name: str, given: JsonValue, pinned: JsonValue) -> bool:
    """Whether a value is the pinned one; a currency is the same in capitals."""
    if name == "currency" and isinstance(given, str) and isinstance(pinned, str):
        return given.lower() == pinned.lower()
    return given == pinned


def fill_in(tool: Tool, params: Params, pins: Pins) -> JsonObject:
    """The arguments of a tool with its own pinned ones; what a raw request holds is `bind_pinned`'s."""
    takes = cast("JsonObject", tool.public_schema["properties"]).keys()
    if tool.binding.path is not None and not _makes_or_reads(str(tool.binding.method), tool.binding.path):
        takes = {*tool.path_params, *cast("list[str]", tool.public_schema.get("required", []))}
    return {**{name: value for name, value in pins.items() if name in takes}, **params}


def bind_pinned(connector: Connector, tool: Tool, call: ToolCall, connection: Connection, pins: Pins) -> BoundCall:
    """The request of a call, a raw one's parameters filled in too. Raises `InputError`."""
    inner = call.params.get("params", {})
    if not tool.binding.raw or not isinstance(inner, dict):
        return connector.bind(tool, call, connection)

    def bind(params: JsonObject) -> BoundCall:
        given = {**call.params, "params": params} if params else call.params
        return connector.bind(tool, replace(call, params=given), connection)

    return _filled(bind, inner, {name: value for name, value in pins.items() if name not in {*call.params, *inner}})


def _filled(bind: Callable[[JsonObject], BoundCall], given: JsonObject, pins: Pins) -> BoundCall:
    found = _tried(bind, given)
    for name, value in pins.items():
        if isinstance(found, InputError) and any(line.startswith(f"{name}: missing") for line in found.faults):
            given = {**given, name: value}
            found = _tried(bind, given)
    if isinstance(found, InputError):
        raise found
    if not _makes_or_reads(found.request.method, found.request.template):
        return found
    for name, value in pins.items():
        if name not in {*given, *ids_in_path(found.request)}:
            tried = _tried(bind, {**given, name: value})
            if not isinstance(tried, InputError):  # else the operation has no such parameter
                given, found = {**given, name: value}, tried
    return found


def _tried(bind: Callable[[JsonObject], BoundCall], params: JsonObject) -> BoundCall | InputError:
    try:
        return bind(params)
    except InputError as error:
        return error


def _makes_or_reads(method: str, template: str) -> bool:
    return method == "GET" or (method == "POST" and _OBJECT.search(template) is None)


def ids_in_path(request: Request) -> JsonObject:
    """The ids in a request's path, by the names that its template gives them."""
    parts = zip(request.template.split("/"), request.path.split("/"), strict=False)
    return {part[1:-1]: unquote(given) for part, given in parts if part.startswith("{")}

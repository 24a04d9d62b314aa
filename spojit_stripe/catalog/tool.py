"""A tool: its descriptor as typed values, and the check of a call's parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.values import JsonObject, JsonValue, Method, Params

if TYPE_CHECKING:
    from spojit_stripe.catalog.check import Checker

__all__ = ["Annotations", "Binding", "Filter", "FilterBy", "ListStyle", "Tool", "tool_from"]

FilterBy: TypeAlias = Literal["server", "client", "search"]
ListStyle: TypeAlias = Literal["cursor"]

_PATH_PARAM = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """MCP's hints about a tool. Hints for display; policy never reads them."""

    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool

    def to_json(self) -> JsonObject:
        """The annotations as MCP names them."""
        return {
            "readOnlyHint": self.read_only,
            "destructiveHint": self.destructive,
            "idempotentHint": self.idempotent,
            "openWorldHint": self.open_world,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """How a list is narrowed by one parameter, which the author is shown.

    `server`: the service does it. `client`: pages are read and compared here, on the field
    `field` of each object. `search`: the service's search at `path` answers instead of the
    list; it lags writes, so its result is never complete. `combines` names the server
    filters that the search can express too.
    """

    by: FilterBy
    field: str
    path: str | None = None
    combines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What a tool does on the wire. `raw` tools get method and path from the call."""

    method: Method | None
    path: str | None
    raw: bool = False
    list_style: ListStyle | None = None
    filters: Mapping[str, Filter] = field(default_factory=dict[str, Filter])
    lean: tuple[str, ...] = ()
    author_only: frozenset[str] = frozenset()

    @property
    def search_path(self) -> str | None:
        """The search endpoint of the list, where one of its filters needs it."""
        return next((one.path for one in self.filters.values() if one.by == "search"), None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Tool:
    """One tool: an MCP tool definition and its binding. Treat the schemas as read-only."""

    name: str
    title: str
    description: str
    input_schema: JsonObject
    output_schema: JsonObject
    annotations: Annotations
    binding: Binding

    @property
    def is_list(self) -> bool:
        return self.binding.list_style is not None

    @cached_property
    def path_params(self) -> tuple[str, ...]:
        """The parameters that go into the path, in the path's order."""
        return tuple(_PATH_PARAM.findall(self.binding.path or ""))

    @cached_property
    def public_schema(self) -> JsonObject:
        """The input schema without what only an author may set: what a model or MCP client sees."""
        hidden = self.binding.author_only
        if not hidden:
            return self.input_schema
        properties = cast("JsonObject", self.input_schema["properties"])
        return {
            **self.input_schema,
            "properties": {name: schema for name, schema in properties.items() if name not in hidden},
        }

    @cached_property
    def _checkers(self) -> dict[bool, Checker]:
        return {}

    def to_mcp(self) -> JsonObject:
        """The MCP tool definition, without the binding and without author-only parameters."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": self.public_schema,
            "outputSchema": self.output_schema,
            "annotations": self.annotations.to_json(),
        }

    def check(self, params: Params, *, author: bool = False) -> JsonObject:
        """`params` as a dictionary, if they fit the input schema; nothing is converted.

        Stricter than JSON Schema in one point: `2.0` and `1e3` are never integers, because a
        number with a fraction or an exponent was meant in another unit often enough.
        Author-only parameters are unknown unless `author`.

        Raises `InputError`: its message names the first fault, `faults` all of them.
        """
        faults = self.faults(params, author=author)
        if faults:
            raise InputError(faults[0], faults=faults)
        return dict(params)

    def faults(self, params: Params, *, author: bool = False) -> tuple[str, ...]:
        """What is wrong with `params`, one line each, most telling first; empty if they fit."""
        return self._checker(author=author).faults(params)

    def _checker(self, *, author: bool) -> Checker:
        checker = self._checkers.get(author)
        if checker is None:
            # jsonschema is slow to import and not needed for help and listings.
            from spojit_stripe.catalog.check import Checker

            schema = self.input_schema if author else self.public_schema
            reserved = frozenset[str]() if author else self.binding.author_only
            checker = self._checkers[author] = Checker(self.name, schema, reserved)
        return checker


# --- from JSON --------------------------------------------------------------------------------


def tool_from(document: JsonValue, *, name: str, file: str) -> Tool:
    """The tool that the descriptor `document` describes.

    Raises `ConfigurationError`, naming `file`, where something is missing or of the wrong type.
    """
    try:
        descriptor = _object(document, "the descriptor")
        if descriptor.get("name") != name:
            raise _Broken(f"its name is {descriptor.get('name')!r}, not {name!r}")
        schema = _object(descriptor.get("inputSchema"), "inputSchema")
        _object(schema.get("properties"), "inputSchema.properties")
        return Tool(
            name=name,
            title=_text(descriptor, "title"),
            description=_text(descriptor, "description"),
            input_schema=schema,
            output_schema=_object(descriptor.get("outputSchema"), "outputSchema"),
            annotations=_annotations(_object(descriptor.get("annotations"), "annotations")),
            binding=_binding(_object(descriptor.get("binding"), "binding")),
        )
    except _Broken as broken:
        raise ConfigurationError(f"{file}: {broken}; restore it or reinstall the package") from None


class _Broken(Exception):
    """What is wrong with a descriptor."""


def _object(value: JsonValue, what: str) -> JsonObject:
    if not isinstance(value, dict):
        raise _Broken(f"{what} is no object")
    return value


def _text(owner: JsonObject, key: str) -> str:
    value = owner.get(key)
    if not isinstance(value, str) or not value:
        raise _Broken(f"{key} is no text")
    return value


def _texts(value: JsonValue, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _Broken(f"{what} is no list of texts")
    return tuple(cast("Iterable[str]", value))


def _annotations(value: JsonObject) -> Annotations:
    def hint(name: str) -> bool:
        found = value.get(name)
        if not isinstance(found, bool):
            raise _Broken(f"annotations.{name} is neither true nor false")
        return found

    return Annotations(
        read_only=hint("readOnlyHint"),
        destructive=hint("destructiveHint"),
        idempotent=hint("idempotentHint"),
        open_world=hint("openWorldHint"),
    )


def _binding(value: JsonObject) -> Binding:
    method, path = _request(value.get("request"))
    style = _object(value.get("list", {}), "binding.list").get("style")
    if style not in (None, "cursor"):
        raise _Broken(f"binding.list.style is {style!r}, not 'cursor'")
    filters = _object(value.get("filters", {}), "binding.filters")
    return Binding(
        method=method,
        path=path,
        raw=method is None,
        list_style="cursor" if style else None,
        filters={name: _filter(name, one) for name, one in filters.items()},
        lean=_texts(value.get("lean", []), "binding.lean"),
        author_only=frozenset(_texts(value.get("author_only", []), "binding.author_only")),
    )


def _request(value: JsonValue) -> tuple[Method | None, str | None]:
    if value == "raw":
        return None, None
    request = _object(value, "binding.request")
    method, path = request.get("method"), _text(request, "path")
    if method not in ("GET", "POST", "DELETE"):
        raise _Broken(f"binding.request.method is {method!r}, not GET, POST or DELETE")
    return method, path


def _filter(name: str, value: JsonValue) -> Filter:
    what = f"binding.filters.{name}"
    one = _object(value, what)
    by = one.get("by")
    if by not in ("server", "client", "search"):
        raise _Broken(f"{what}.by is {by!r}, not server, client or search")
    if by == "search":
        _text(one, "path")
    return Filter(
        by=by,
        field=str(one.get("field", name)),
        path=cast("str | None", one.get("path")),
        combines=_texts(one.get("combines", []), f"{what}.combines"),
    )

"""The index of the API's operations: which method and path exist and what they take.

Read from `schemas/stripe-operations.json`; the parameter trees are resolved once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from urllib.parse import unquote

from spojit_stripe.catalog import schemas_dir
from spojit_stripe.errors import ConfigurationError
from spojit_stripe.sandbox.errors import SandboxError
from spojit_stripe.sandbox.values import JsonObject, child, decode, flag, integer, items, string, strings, text


@dataclass(frozen=True)
class Parameter:
    """One parameter, or one alternative or element of one."""

    name: str
    kind: str
    required: bool = False
    unsettable: bool = False
    allowed: tuple[str, ...] = ()
    most: int | None = None
    children: "tuple[Parameter, ...]" = ()
    element: "Parameter | None" = None
    alternatives: "tuple[Parameter, ...]" = ()


@dataclass(frozen=True)
class Operation:
    """One operation of the API; `names` are those of the ids in its path."""

    method: str
    path: str
    version: int
    parameters: tuple[Parameter, ...]
    listing: str
    search: bool
    names: tuple[str, ...]


@dataclass
class _Branch:
    literal: "dict[str, _Branch]" = field(default_factory=lambda: {})
    variable: "_Branch | None" = None
    operations: dict[str, Operation] = field(default_factory=lambda: {})


class Index:
    """Finds an operation by method and path."""

    def __init__(self, document: JsonObject) -> None:
        source = child(document, "source") or items(document, "sources")[0]
        self.api_version = string(source, "api_version")
        self._definitions = child(document, "defs")
        self._resolved: dict[str, tuple[Parameter, ...]] = {}
        self._root = _Branch()
        self.count = 0
        for entry in items(document, "operations"):
            self._add(entry)

    def find(self, path: str) -> tuple[dict[str, Operation], list[str]]:
        """The operations of a path by method, and the ids in it; none for an unknown path."""
        branch = self._root
        ids: list[str] = []
        for part in path.strip("/").split("/") if not path.endswith("/") else [""]:
            below = branch.literal.get(part)
            if below is None and branch.variable is not None and part:
                below = branch.variable
                ids.append(unquote(part))
            if below is None:
                return {}, []
            branch = below
        return branch.operations, ids

    def add_like(self, path: str, model: str) -> None:
        """Add a list that the API has and the package doesn't, with the page parameters of another."""
        operation = self.find(model)[0]["GET"]
        page = {"ending_before", "expand", "limit", "starting_after"}
        kept = tuple(each for each in operation.parameters if each.name in page)
        self._place(replace(operation, path=path, parameters=kept, names=_names(path)))

    def limit(self, method: str, path: str, lengths: dict[str, int]) -> None:
        """Bound the lengths of an operation's texts: by their path, such as `shipping.name`."""
        operation = self.find(path)[0].get(method)
        if operation is not None:
            bounded = tuple(_bounded(each, each.name, lengths) for each in operation.parameters)
            self._place(replace(operation, parameters=bounded))

    def __iter__(self) -> Iterator[Operation]:
        pending = [self._root]
        while pending:
            branch = pending.pop()
            yield from branch.operations.values()
            pending.extend(branch.literal.values())
            if branch.variable is not None:
                pending.append(branch.variable)

    def _add(self, entry: JsonObject) -> None:
        path = string(entry, "p")
        operation = Operation(
            method=string(entry, "m"),
            path=path,
            version=2 if path.startswith("/v2/") else 1,
            parameters=tuple(self._parameter(each) for each in items(entry, "params")),
            listing=text(entry, "list") or "",
            search="search" in entry,
            names=_names(path),
        )
        self._place(operation)
        self.count += 1

    def _place(self, operation: Operation) -> None:
        branch = self._root
        for part in operation.path.strip("/").split("/"):
            if part.startswith("{"):
                if branch.variable is None:
                    branch.variable = _Branch()
                branch = branch.variable
            else:
                branch = branch.literal.setdefault(part, _Branch())
        branch.operations[operation.method] = operation

    def _parameter(self, entry: JsonObject) -> Parameter:
        element = child(entry, "i") or child(entry, "v")
        return Parameter(
            name=text(entry, "n") or "",
            kind=string(entry, "t"),
            required=entry.get("r") == 1,
            unsettable=entry.get("u") == 1 or flag(entry, "u"),
            allowed=tuple(strings(entry, "e")),
            children=self._children(entry),
            element=self._parameter(element) if element else None,
            alternatives=tuple(self._parameter(each) for each in items(entry, "alt")),
        )

    def _children(self, entry: JsonObject) -> tuple[Parameter, ...]:
        reference = text(entry, "d")
        if reference is None:
            return tuple(self._parameter(each) for each in items(entry, "c"))
        if reference not in self._resolved:
            self._resolved[reference] = ()  # a type that contains itself ends here
            self._resolved[reference] = tuple(self._parameter(each) for each in items(self._definitions, reference))
        return self._resolved[reference]


def _names(path: str) -> tuple[str, ...]:
    return tuple(part[1:-1] for part in path.split("/") if part.startswith("{"))


def _bounded(parameter: Parameter, path: str, lengths: dict[str, int]) -> Parameter:
    """A parameter and all in it with their greatest lengths; elements and alternatives share its path."""
    return replace(
        parameter,
        most=lengths.get(path),
        children=tuple(_bounded(each, f"{path}.{each.name}", lengths) for each in parameter.children),
        element=None if parameter.element is None else _bounded(parameter.element, path, lengths),
        alternatives=tuple(_bounded(each, path, lengths) for each in parameter.alternatives),
    )


def _lengths(schema: JsonObject, path: str, found: dict[str, int]) -> None:
    """The `maxLength`s of a descriptor's schema by path."""
    if "maxLength" in schema:
        found[path] = integer(schema, "maxLength")
    for name, inner in child(schema, "properties").items():
        if isinstance(inner, dict):
            _lengths(inner, f"{path}.{name}" if path else name, found)
    element = child(schema, "items")
    for inner in [*items(schema, "anyOf"), *items(schema, "oneOf"), *([element] if element else [])]:
        _lengths(inner, path, found)


def _bound_by_tools(index: Index) -> None:
    """The typed tools' descriptors know lengths that the index of operations doesn't."""
    for file in sorted(schemas_dir().glob("*.json")):
        tool = decode(file.read_bytes())
        request = child(child(tool, "binding"), "request")
        if request:
            found: dict[str, int] = {}
            _lengths(child(tool, "inputSchema"), "", found)
            index.limit(string(request, "method"), string(request, "path"), found)


@cache
def load_index() -> Index:
    """The index, read once in a process."""
    try:
        document = decode((schemas_dir() / "stripe-operations.json").read_bytes())
    except (OSError, ConfigurationError) as error:
        raise SandboxError(f"the index of operations can't be read: {error}") from None
    index = Index(document)
    _bound_by_tools(index)
    index.add_like("/v1/charges/{charge}/refunds", "/v1/refunds")  # the `url` of a charge's refunds
    return index

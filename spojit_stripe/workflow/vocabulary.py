"""What plug-ins add to the language of workflows: node types and filters."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.expressions import FILTERS
from spojit_stripe.expressions.bounds import kind_of
from spojit_stripe.expressions.filters import Filter
from spojit_stripe.jsonvalue import copied
from spojit_stripe.redact import redact_text
from spojit_stripe.values import JsonObject, JsonValue

if TYPE_CHECKING:
    from spojit_stripe.session import Session

__all__ = ["NODE_TYPES", "NO_EXTRAS", "NodeContext", "NodeType", "Vocabulary", "filters_of", "node_types_of"]

NODE_TYPES: Final = ("connector", "transform", "condition", "loop", "parallel", "human", "subworkflow", "response")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContext:
    """Where a plug-in's node runs. `key` is the same each time the same place of a run is run.

    After a crash a node that was under way runs again: give `key` to the service it speaks to,
    as its idempotency key. `now` is the run's clock in Unix seconds. `session` gives the session on
    a connection by name, for `run_tool`: so such a node's calls stand in the ledger too, at `path`
    and `indexes`, each with an `ordinal` of its own. `resume` is for `run_tool` likewise: a person
    resumed the run, and with it all that failed of these calls may be tried anew.
    """

    run_id: str
    path: str
    indexes: tuple[int, ...]
    key: str
    now: int
    session: Callable[[str], Session]
    resume: bool = False


RunNode: TypeAlias = Callable[[JsonObject, NodeContext], Awaitable[JsonValue]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeType:
    """A kind of node. `schema` is the JSON schema of its own keys, templates rendered.

    A key `connection` of its own is the name of one, and is looked for as a file is checked.

    `faults` gets the keys as they stand in the file, templates as they are written and of whatever
    form, and says in lines like `key: what is wrong` what the schema can't.

    `run` gets them and gives the node's output, JSON without secrets, which is recorded. It
    raises `SpojitError` to fail with one line for people.
    """

    name: str
    schema: JsonObject
    run: RunNode
    faults: Callable[[JsonObject], tuple[str, ...]] | None = None

    def key_faults(self, fields: JsonObject) -> tuple[str, ...]:
        """What is wrong with its own keys by its schema. Raises `ConfigurationError` where that is no good."""
        # jsonschema is slow to import, and few workflows have such nodes.
        from spojit_stripe.catalog.check import Checker

        try:
            return Checker(f"node type {self.name!r}", {**self.schema, "additionalProperties": False}).faults(fields)
        except Exception as error:  # jsonschema raises whatever a schema leads it to
            raise self._broken(f"its schema is no JSON schema that can be used: {_told(error)}") from None

    def own_faults(self, fields: JsonObject) -> tuple[str, ...]:
        """What `faults` says. Raises `ConfigurationError` where it says nothing that can be told."""
        if self.faults is None:
            return ()
        try:
            found = cast("object", self.faults(copied(fields)))  # whatever its annotation says
        except Exception as error:  # a plug-in is anybody's code
            raise self._broken(f"its `faults` failed: {_told(error)}") from None
        lines = cast("Sequence[object]", found if isinstance(found, list | tuple) else (None,))
        if not all(isinstance(line, str) for line in lines):
            raise self._broken(f"its `faults` gave {found!r:.60} instead of a tuple of lines, empty where all is well")
        return tuple(str(line) for line in lines)

    def _broken(self, what: str) -> ConfigurationError:
        return ConfigurationError(f"node type {self.name!r} of a plug-in: {what}; mend the plug-in")


def node_types_of(offered: object) -> list[NodeType]:
    """What a plug-in offers as node types. Raises `ConfigurationError` saying what is no such thing."""
    if not isinstance(offered, list | tuple):
        raise ConfigurationError(f"register_node_types gives {kind_of(offered)}, not a list of NodeType")
    found: list[NodeType] = []
    for one in cast("Sequence[object]", offered):
        if not isinstance(one, NodeType):
            raise ConfigurationError(f"register_node_types gives a list with {kind_of(one)}, which is no NodeType")
        # What is annotated is not checked, and a plug-in is anybody's code.
        name, schema, run, faults = cast("tuple[object, ...]", (one.name, one.schema, one.run, one.faults))
        if not isinstance(name, str):
            raise ConfigurationError(f"the name of a node type is {kind_of(name)}, not text")
        if not isinstance(schema, dict):
            raise ConfigurationError(f"node type {name!r}: its schema is {kind_of(schema)}, not an object")
        if not callable(run) or not (faults is None or callable(faults)):
            raise ConfigurationError(f"node type {name!r}: its `run` or `faults` is no function")
        found.append(one)
    return found


def filters_of(offered: object) -> dict[str, Filter]:
    """What a plug-in offers as filters. Raises `ConfigurationError` saying what is no such thing."""
    if not isinstance(offered, Mapping):
        raise ConfigurationError(f"register_filters gives {kind_of(offered)}, not a dict of functions by their names")
    found: dict[str, Filter] = {}
    for name, filter_ in cast("Mapping[object, object]", offered).items():
        if not isinstance(name, str):
            raise ConfigurationError(f"the name of a filter is {kind_of(name)}, not text")
        if not callable(filter_):
            raise ConfigurationError(f"filter {name!r} is {kind_of(filter_)}, not a function")
        try:
            inspect.signature(filter_)
        except (TypeError, ValueError):
            raise ConfigurationError(
                f"filter {name!r} is a built-in that does not tell what it takes; wrap it: lambda value: ..."
            ) from None
        found[name] = cast("Filter", filter_)
    return found


def _told(error: Exception) -> str:
    """Its first line: jsonschema's go on with the whole schema."""
    first = str(error).strip().partition("\n")[0]
    return redact_text(f"{type(error).__name__}: {first}")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Node types and filters by name. Raises `ConfigurationError` where one would hide our own."""

    node_types: Mapping[str, NodeType] = field(default_factory=dict[str, NodeType])
    filters: Mapping[str, Filter] = field(default_factory=dict[str, Filter])

    def __post_init__(self) -> None:
        filters = (*FILTERS, "omit")  # which is none, but stands where one does
        for what, names, ours in (("node type", self.node_types, NODE_TYPES), ("filter", self.filters, filters)):
            for name in names:
                if name in ours:
                    raise ConfigurationError(f"a plug-in offers a {what} {name!r}, which is built in; rename it")


NO_EXTRAS = Vocabulary()

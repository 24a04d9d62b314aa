"""What plug-ins add to the language of workflows: node types and filters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.expressions import FILTERS
from spojit_stripe.expressions.filters import Filter
from spojit_stripe.values import JsonObject, JsonValue

if TYPE_CHECKING:
    from spojit_stripe.session import Session

__all__ = ["NODE_TYPES", "NO_EXTRAS", "NodeContext", "NodeType", "Vocabulary"]

NODE_TYPES: Final = ("connector", "transform", "condition", "loop", "parallel", "human", "subworkflow", "response")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContext:
    """Where a plug-in's node runs. `key` is the same each time the same place of a run is run.

    After a crash a node that was under way runs again: give `key` to the service it speaks to,
    as its idempotency key. `now` is the run's clock in Unix seconds. `session` gives the session on
    a connection by name, for `run_tool`: so such a node's calls stand in the ledger too.
    """

    run_id: str
    path: str
    indexes: tuple[int, ...]
    key: str
    now: int
    session: Callable[[str], Session]


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


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Node types and filters by name. Raises `ConfigurationError` where one would hide our own."""

    node_types: Mapping[str, NodeType] = field(default_factory=dict[str, NodeType])
    filters: Mapping[str, Filter] = field(default_factory=dict[str, Filter])

    def __post_init__(self) -> None:
        for what, names, ours in (("node type", self.node_types, NODE_TYPES), ("filter", self.filters, FILTERS)):
            for name in names:
                if name in ours:
                    raise ConfigurationError(f"a plug-in offers a {what} {name!r}, which is built in; rename it")


NO_EXTRAS = Vocabulary()

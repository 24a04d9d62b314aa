"""Where a list of nodes stands in a run, and how a node ended: the words of the interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from spojit_stripe.errors import ConfigurationError, OutcomeUnknownError, SpojitError, error_from_record
from spojit_stripe.values import JsonObject, JsonValue, Position

__all__ = ["Ended", "Failure", "Frame"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where a list of nodes stands.

    `file` is its workflow's, `identity` the path of subworkflow nodes around it and `indexes` the
    places in loops: with a node's id they make the identity of its calls. `trail` is the same for
    people (`payments[3]/`), `base` how much of it belongs to the sequence of steps around this
    one. `now` is the run's clock, `deadline` when its time is over, both in Unix seconds.
    """

    file: str
    identity: str = ""
    indexes: tuple[int, ...] = ()
    trail: str = ""
    base: int = 0
    now: int
    deadline: int | None = None

    def position(self, run_id: str, node_id: str) -> Position:
        return Position(run_id=run_id, node=f"{self.identity}{node_id}", indexes=self.indexes)

    def child(self, node_id: str) -> str:
        """The name of a node's part within this sequence of steps."""
        return f"{self.trail[self.base :]}{node_id}"

    def to_json(self) -> JsonObject:
        return {
            "file": self.file,
            "identity": self.identity,
            "indexes": list(self.indexes),
            "trail": self.trail,
            "now": self.now,
            "deadline": self.deadline,
        }

    @classmethod
    def of_json(cls, record: Mapping[str, JsonValue]) -> Frame:
        """A frame as a child's argument holds it; its sequence of steps begins there."""
        trail = str(record["trail"])
        return cls(
            file=str(record["file"]),
            identity=str(record["identity"]),
            indexes=tuple(cast("list[int]", record["indexes"])),
            trail=trail,
            base=len(trail),
            now=cast("int", record["now"]),
            deadline=cast("int | None", record["deadline"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A node that failed: its trail, and how many steps its sequence had taken before it (None: not said yet).

    `children` are the failures of its parts, by name; they are wound back before it is.
    """

    error: SpojitError
    node: str
    place: int | None = None
    children: tuple[tuple[str, Failure], ...] = ()

    @property
    def unknown(self) -> bool:
        """A write may have taken effect: no `on_error` goes on after that."""
        return isinstance(self.error, OutcomeUnknownError) or any(one.unknown for _, one in self.children)

    @property
    def lost(self) -> bool:
        """A stored file is not there as recorded: no `on_error` goes on after that either."""
        mine = isinstance(self.error, ConfigurationError) and self.error.lost
        return mine or any(one.lost for _, one in self.children)

    def points(self, address: str) -> list[tuple[str, int]]:
        """Where to wind back the sequence at `address` and its failed parts, the deepest first."""
        inner = [point for name, one in self.children for point in one.points(f"{address}/{name}")]
        return [*inner, (address, (self.place or 0) + 1)]

    def to_json(self) -> JsonObject:
        return {
            "error": self.error.to_json(),
            "node": self.node,
            "place": self.place,
            "children": [[name, one.to_json()] for name, one in self.children],
        }

    @classmethod
    def of_json(cls, record: JsonObject) -> Failure:
        children = cast("list[tuple[str, JsonObject]]", record["children"])
        return cls(
            error=error_from_record(cast("JsonObject", record["error"])),
            node=str(record["node"]),
            place=cast("int | None", record["place"]),
            children=tuple((name, cls.of_json(one)) for name, one in children),
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """How a node or a list of nodes ended. An `answer` is a response's body and ends its workflow."""

    kind: Literal["value", "answer", "failed"]
    value: JsonValue = None
    status: int | None = None
    failure: Failure | None = None

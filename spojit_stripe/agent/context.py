"""What the parts of one agent's run share."""

from __future__ import annotations

from dataclasses import dataclass, field

from spojit_stripe.agent.knowledge import Knowledge
from spojit_stripe.agent.spec import AgentSpec
from spojit_stripe.agent.toolbox import Toolbox
from spojit_stripe.calling import Tell
from spojit_stripe.data import ArtifactStore
from spojit_stripe.session import Session
from spojit_stripe.steps import Steps
from spojit_stripe.values import JsonObject, Position, ToolCall

__all__ = ["Context", "Proposal"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A call that stands in the plan, with where it will be made."""

    number: int
    digest: str
    call: ToolCall
    at: Position


@dataclass(kw_only=True)
class Context:
    """One agent at work. Everything that changes is made again from the records when a run is resumed."""

    spec: AgentSpec
    at: Position
    session: Session
    steps: Steps
    store: ArtifactStore
    tell: Tell | None
    box: Toolbox
    known: Knowledge
    retried: frozenset[int] = frozenset()
    tool_calls: int = 0
    ordinal: int = 0
    seconds: float = 0.0
    deeds: list[str] = field(default_factory=list[str])
    proposals: list[Proposal] = field(default_factory=list[Proposal])
    ledger_ids: list[int] = field(default_factory=list[int])

    def next_place(self) -> Position:
        """The place of the next call: its number among the node's calls, whatever they are."""
        self.ordinal += 1
        at = self.at
        return Position(run_id=at.run_id, node=at.node, indexes=at.indexes, ordinal=self.ordinal)

    def say(self, kind: str, facts: JsonObject) -> None:
        if self.tell is not None:
            self.tell(kind, facts)

    @property
    def seconds_left(self) -> float:
        return max(1.0, self.spec.limits.seconds - self.seconds)

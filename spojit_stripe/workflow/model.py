"""A workflow as typed values. Made by `load_workflow`; `document` knows where each part stands.

What later nodes read of an earlier one, by its id:

- connector: the tool's result (an object, or a list's envelope with `data`); an agent's final
  answer.
- transform: `set` gives its object; `sql` gives `data` (the rows) and `count`. To `sql` an
  earlier node is a table of that name: the rows of its `data`, or else of its `results`.
- condition: the output of the last node of the branch that ran, null where none did.
- loop: `results` (the output of the last node, for each item in order), `count` and `failed`.
- parallel: an object of its branches, each the output of its last node.
- human: `approved`, `by`, `at` and `reason`.
- subworkflow: what the other workflow gives. response: its body.

A node that `when` skipped, or that failed under `on_error`, gives null. Nodes inside another
are seen only inside it. Beside node ids there are `input` (declared inputs that were left out
are null), `run` (`id`, `workflow`, `started_at`), `errors` (by node id, what failed and was
gone on after), `meta` (by node id, how a connector's answer came about: request ids, ledger
entry, what of an agent's answer is `ungrounded`) and, inside a loop, its item.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal, TypeAlias

from spojit_stripe.connection import Policy
from spojit_stripe.expressions import FUNCTIONS, Compiled
from spojit_stripe.values import JsonObject, JsonValue, Paging
from spojit_stripe.workflow.faults import Path
from spojit_stripe.workflow.vocabulary import Vocabulary
from spojit_stripe.yamlfile import Document

__all__ = [
    "RESERVED",
    "ROOTS",
    "AgentLimits",
    "AgentNode",
    "Branch",
    "ConditionNode",
    "ConnectorNode",
    "DirectNode",
    "Goto",
    "HumanNode",
    "LoopNode",
    "Manual",
    "Node",
    "OnError",
    "ParallelNode",
    "PluginNode",
    "ResponseNode",
    "Schedule",
    "SetNode",
    "SqlNode",
    "SubworkflowNode",
    "Trigger",
    "Unreadable",
    "Urgency",
    "Webhook",
    "Workflow",
    "walk",
]

ROOTS: Final = ("input", "run", "errors", "meta")
RESERVED: Final = frozenset((*ROOTS, *FUNCTIONS, "true", "false", "none", "not", "and", "or", "in", "is", "if", "else"))

_NO_POLICY: Final = Policy()

Urgency: TypeAlias = Literal["low", "normal", "high"]


@dataclass(frozen=True, slots=True)
class Goto:
    """Go on at the node `id` of the same list, which stands further down."""

    id: str


OnError: TypeAlias = Literal["fail", "continue"] | Goto


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """Nodes that run in their order. `name` is `if`, `elif 1`, `else`, or a parallel branch's."""

    name: str
    nodes: tuple[Node, ...]
    test: Compiled | None = None
    path: Path = ()


@dataclass(frozen=True, kw_only=True)
class Node:
    """What all nodes have. `path` is the node's place in the document."""

    type: ClassVar[str] = ""

    id: str
    path: Path
    when: Compiled | None = None
    on_error: OnError = "fail"
    timeout: float | None = None

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The lists of nodes inside this one."""
        return ()

    def values(self) -> Iterator[tuple[Path, Compiled]]:
        """Everything with templates, but for what is in the nodes inside, with its path."""
        if self.when is not None:
            yield (*self.path, "when"), self.when


@dataclass(frozen=True, kw_only=True)
class Unreadable(Node):
    """A node whose faults are reported already. It stands for its id."""


@dataclass(frozen=True, kw_only=True)
class ConnectorNode(Node):
    """A service's tool, called as told or by a model."""

    type: ClassVar[str] = "connector"

    connector: str
    connection: str
    policy: Policy = _NO_POLICY


@dataclass(frozen=True, kw_only=True)
class DirectNode(ConnectorNode):
    """One call. `options` are the tool's author-only parameters."""

    tool: str
    params: Compiled
    options: Compiled
    paging: Paging = Paging()
    once: Compiled | None = None

    def values(self) -> Iterator[tuple[Path, Compiled]]:
        yield from super().values()
        yield (*self.path, "params"), self.params
        yield (*self.path, "options"), self.options
        if self.once is not None:
            yield (*self.path, "once"), self.once


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLimits:
    """Where an agent stops, whatever it has. `seconds` count its work, not the wait for a person."""

    turns: int = 12
    tool_calls: int = 30
    tokens: int = 200_000
    cost_usd: float = 1.0
    seconds: int = 900
    objects: int = 100_000


@dataclass(frozen=True, kw_only=True)
class AgentNode(ConnectorNode):
    """Some tools and a prompt, given to a model. No `tools` means all that only read.

    `on_limit` says whether a reached limit ends the node with what is known, or fails it.
    """

    prompt: Compiled
    tools: tuple[str, ...] | None = None
    model: str | None = None
    limits: AgentLimits = AgentLimits()
    response_schema: JsonObject | None = None
    on_limit: Literal["incomplete", "fail"] = "incomplete"

    def values(self) -> Iterator[tuple[Path, Compiled]]:
        yield from super().values()
        yield (*self.path, "prompt"), self.prompt


@dataclass(frozen=True, kw_only=True)
class SetNode(Node):
    """Values made of expressions."""

    type: ClassVar[str] = "transform"

    set: Compiled

    def values(self) -> Iterator[tuple[Path, Compiled]]:
        yield from super().values()
        yield (*self.path, "set"), self.set


@dataclass(frozen=True, kw_only=True)
class SqlNode(Node):
    """One SELECT over earlier outputs; `$name` in it is `params.name`."""

    type: ClassVar[str] = "transform"

    sql: str
    params: Compiled

    def values(self) -> Iterator[tuple[Path, Compiled]]:
        yield from super().values()
        yield (*self.path, "params"), self.params


@dataclass(frozen=True, kw_only=True)
class ConditionNode(Node):
    """The first branch whose test is true runs."""

    type: ClassVar[str] = "condition"

    choices: tuple[Branch, ...]

    @property
    def branches(self) -> tuple[Branch, ...]:
        return self.choices

    def values(self) -> Iterator[tuple[Path, Compiled]]:
        yield from super().values()
        yield from (((*branch.path, "if"), branch.test) for branch in self.choices if branch.test is not None)


@dataclass(frozen=True, kw_only=True)
class LoopNode(Node):
    """Its nodes run for each item, at most `concurrency` items at a time."""

    type: ClassVar[str] = "loop"

    for_each: Compiled
    item: str
    concurrency: int = 1
    nodes: tuple[Node, ...]

    @property
    def branches(self) -> tuple[Branch, ...]:
        return (Branch(name=self.item, nodes=self.nodes, path=(*self.path, "nodes")),)

    def values(self) -> Iterator[tuple[Path, Compiled]]:
        yield from super().values()
        yield (*self.path, "for_each"), self.for_each


@dataclass(frozen=True, kw_only=True)
class ParallelNode(Node):
    """Branches that run at the same time; the node is done when all are."""

    type: ClassVar[str] = "parallel"

    named: tuple[Branch, ...]

    @property
    def branches(self) -> tuple[Branch, ...]:
        return self.named


@dataclass(frozen=True, kw_only=True)
class HumanNode(Node):
    """Waits for a person."""

    type: ClassVar[str] = "human"

    message: Compiled
    approvers: tuple[str, ...] = ()
    urgency: Urgency = "normal"

    def values(self) -> Iterator[tuple[Path, Compiled]]:
        yield from super().values()
        yield (*self.path, "message"), self.message


@dataclass(frozen=True, kw_only=True)
class SubworkflowNode(Node):
    """Another file's workflow; `workflow` is its path from this file's folder."""

    type: ClassVar[str] = "subworkflow"

    workflow: str
    inputs: Compiled

    def values(self) -> Iterator[tuple[Path, Compiled]]:
        yield from super().values()
        yield (*self.path, "inputs"), self.inputs


@dataclass(frozen=True, kw_only=True)
class PluginNode(Node):
    """A node of a plug-in's type, called `kind`. `fields` are its own keys."""

    type: ClassVar[str] = "plug-in"

    kind: str
    fields: Compiled

    def values(self) -> Iterator[tuple[Path, Compiled]]:
        yield from super().values()
        yield self.path, self.fields


@dataclass(frozen=True, kw_only=True)
class ResponseNode(Node):
    """Answers a synchronous caller and ends the run."""

    type: ClassVar[str] = "response"

    body: Compiled
    status: int = 200

    def values(self) -> Iterator[tuple[Path, Compiled]]:
        yield from super().values()
        yield (*self.path, "body"), self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class Manual:
    """Started by a person or another workflow."""

    type: ClassVar[str] = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Started by the clock of `timezone`, with `inputs`."""

    type: ClassVar[str] = "schedule"

    cron: str
    timezone: str = "UTC"
    inputs: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Started by a service's event, which is the input. No `events` means every event."""

    type: ClassVar[str] = "webhook"

    connection: str
    events: tuple[str, ...] = ()


Trigger: TypeAlias = Manual | Schedule | Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A workflow without structural faults. `source` is the text it was made of."""

    name: str
    description: str
    trigger: Trigger
    inputs: JsonObject | None
    trusted_ids: tuple[str, ...]
    nodes: tuple[Node, ...]
    document: Document = field(repr=False)
    vocabulary: Vocabulary = field(repr=False)
    source: str = field(repr=False)

    @property
    def all_nodes(self) -> tuple[Node, ...]:
        """Every node at every depth, in the order of the file."""
        return tuple(walk(self.nodes))


def walk(nodes: tuple[Node, ...]) -> Iterator[Node]:
    """`nodes` and those inside them, in the order of the file."""
    for node in nodes:
        yield node
        for branch in node.branches:
            yield from walk(branch.nodes)

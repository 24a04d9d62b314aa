"""The words the package speaks: frozen values without behaviour of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from spojit_stripe.errors import SpojitError
from spojit_stripe.jsonvalue import JsonObject, JsonValue, Params

__all__ = [
    "Amount",
    "Assessment",
    "Done",
    "Effect",
    "Failed",
    "JsonObject",
    "JsonValue",
    "Meta",
    "Method",
    "Mode",
    "Outcome",
    "Paginate",
    "Paging",
    "Params",
    "Paused",
    "Planned",
    "Position",
    "Preview",
    "RefuseTwins",
    "Request",
    "Secret",
    "StoppedBecause",
    "ToolCall",
    "Writes",
]

Method: TypeAlias = Literal["GET", "POST", "DELETE"]
Mode: TypeAlias = Literal["test", "live"]
Paginate: TypeAlias = Literal["page", "all"]
RefuseTwins: TypeAlias = Literal["never", "of_other_runs", "always"]
StoppedBecause: TypeAlias = Literal["end", "max_items", "max_pages", "deadline", "anomaly", "error"]


class Effect(StrEnum):
    """The worst a call can do. `control` gives access or moves trust."""

    READ = "read"
    WRITE = "write"
    MONEY = "money"
    CONTROL = "control"


class Writes(StrEnum):
    """How far a connection or node lets writes go, strictest first."""

    DENY = "deny"
    PLAN = "plan"
    ASK = "ask"
    ALLOW = "allow"


class Secret:
    """A resolved secret. Only `reveal()` gives its text; printing it gives ***."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text: Final = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret is never serialised")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """An amount of money: an integer in the currency's minor unit, and the currency in lower case."""

    amount: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """How far a list is read. `max_items` counts objects that pass the filters.

    `order` is for `paginate: all`: `any` gives each page as it comes instead of the newest first.
    """

    paginate: Paginate = "page"
    max_items: int | None = None
    max_pages: int | None = None
    deadline_seconds: float | None = None
    order: Literal["newest", "any"] = "newest"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call of one tool, as a person, a workflow or a model asked for it.

    `author_params` are options that only an author may set (a raw request's `unchecked`,
    `stripe_account`, `api_version`); a model's arguments never reach them.

    An agent's loop adds three: `intent`, why a model wants a call that repeats an earlier one;
    `doubt`, why this call asks whatever policy allows; `context`, what the person is shown
    beside it.
    """

    tool: str
    params: Params = field(default_factory=dict[str, JsonValue])
    author_params: Params = field(default_factory=dict[str, JsonValue])
    paging: Paging = Paging()
    once: str | None = None
    intent: str | None = None
    doubt: str | None = None
    context: Params = field(default_factory=dict[str, JsonValue])


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where in a run a call stands: the whole identity of its idempotency key.

    Never the parameters and never a retry count: those change, the place does not.
    """

    run_id: str
    node: str = "call"
    indexes: tuple[int, ...] = ()
    ordinal: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request of a connector before encoding. `template` names the endpoint.

    `path` is already escaped and checked. `by_search` tells that the path is a search endpoint.
    """

    method: Method
    path: str
    template: str
    params: JsonObject = field(default_factory=dict[str, JsonValue])
    version: Literal[1, 2] = 1
    account: str | None = None
    api_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """A connector's judgement of a call before it is sent.

    `effect` None means that the connector's reviewed table does not list the operation: it asks.
    `amount` is what would move, in minor units, None where nothing moves or nobody can say.
    `target` is the object that the money belongs to (the charge of a refund, say).
    `params` are the final parameters, with an omitted amount written in.
    """

    effect: Effect | None
    operation: str
    params: JsonObject
    amount: Amount | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """How an answer came about.

    `repeat_of` is the ledger entry of an earlier call that this one repeats: nothing was executed.
    """

    request_ids: tuple[str, ...] = ()
    idempotency_key: str | None = None
    replayed: bool = False
    from_ledger: bool = False
    api_version: str | None = None
    livemode: bool | None = None
    attempts: int = 0
    ledger_id: int | None = None
    warnings: tuple[str, ...] = ()
    repeat_of: int | None = None

    def to_json(self) -> JsonObject:
        return {
            "request_ids": list(self.request_ids),
            "idempotency_key": self.idempotency_key,
            "replayed": self.replayed,
            "from_ledger": self.from_ledger,
            "api_version": self.api_version,
            "livemode": self.livemode,
            "attempts": self.attempts,
            "ledger_id": self.ledger_id,
            "warnings": list(self.warnings),
            "repeat_of": self.repeat_of,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The call was carried out, now or (`meta.from_ledger`) earlier under the same key.

    `value` is the service's object, or the list envelope.
    """

    value: JsonObject
    meta: Meta = Meta()


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """The call waits for a person. `digest` binds the approval to exactly this call."""

    digest: str
    approval_id: str
    reason: str
    preview: Preview


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The call was noted as number `number` of a plan and not carried out; it has no id."""

    number: int
    digest: str
    preview: Preview


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The call was not carried out, or its outcome is unknown: `error` says which."""

    error: SpojitError
    meta: Meta = Meta()


Outcome: TypeAlias = Done | Paused | Planned | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would be sent, for `--dry-run`, an approval and a plan. Holds no secret.

    `context` is what a person is shown beside it: whom it concerns, what else the run did.
    """

    tool: str
    connection: str
    mode: Mode
    account: str | None
    api_version: str
    method: Method
    path: str
    params: JsonObject
    effect: Effect | None
    amount: Amount | None
    target: str | None
    idempotency_key: str | None
    decision: str
    reason: str
    context: Params = field(default_factory=dict[str, JsonValue])

    def to_json(self) -> JsonObject:
        told: JsonObject = {
            "tool": self.tool,
            "connection": self.connection,
            "mode": self.mode,
            "account": self.account,
            "api_version": self.api_version,
            "method": self.method,
            "path": self.path,
            "params": self.params,
            "effect": self.effect.value if self.effect else None,
            "amount": {"amount": self.amount.amount, "currency": self.amount.currency} if self.amount else None,
            "target": self.target,
            "idempotency_key": self.idempotency_key,
            "decision": self.decision,
            "reason": self.reason,
        }
        if self.context:
            told["context"] = dict(self.context)
        return told

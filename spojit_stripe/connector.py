"""What a connector is: descriptors, a judgement of its calls, and a wire.

The core (catalog, Direct Mode, policy, ledger, faces) speaks only to these protocols, so
that another service is another folder like `wire/`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from spojit_stripe.catalog import Catalog, Tool
from spojit_stripe.connection import Connection
from spojit_stripe.values import (
    Assessment,
    Effect,
    JsonObject,
    JsonValue,
    Paging,
    Params,
    Request,
    Secret,
    StoppedBecause,
    ToolCall,
)

__all__ = [
    "Answer",
    "BoundCall",
    "Connector",
    "Explains",
    "ListPlan",
    "Listing",
    "Progress",
    "Read",
    "Sink",
    "Trace",
    "Vocabulary",
    "Wire",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPlan:
    """How a list is read: its cursor style, page size and what is filtered here.

    `wanted` is the number of objects that `paginate: page` returns; `keep` maps field names
    to the value an object must have to be kept (a client-side filter). `windowed`: the list can
    be asked for by a range of `created` and is in its order, so all of it can be read in parts.
    """

    style: Literal["cursor", "search", "v2"]
    wanted: int
    page_size: int
    keep: Params = field(default_factory=dict[str, JsonValue])
    windowed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundCall:
    """A checked call as a request. `effect` None: the reviewed table does not list it."""

    tool: str
    request: Request
    operation: str
    effect: Effect | None
    listing: ListPlan | None = None
    paging: Paging = Paging()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of the service. `date` is its clock in Unix seconds."""

    body: JsonObject
    status: int = 200
    request_id: str | None = None
    replayed: bool = False
    attempts: int = 1
    api_version: str | None = None
    livemode: bool | None = None
    date: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list as read: the objects, how far, and why it stopped there.

    `complete` only when the end was reached and nothing can be missing. `error` is set when
    a later page failed: the objects so far are still here. `as_of` is Unix seconds.
    """

    data: list[JsonObject]
    complete: bool
    as_of: int
    next_cursor: str | None
    fetched: int
    scanned: int
    pages: int
    stopped_because: StoppedBecause
    request_ids: tuple[str, ...] = ()
    attempts: int = 0
    api_version: str | None = None
    livemode: bool | None = None
    error: Exception | None = None
    warnings: tuple[str, ...] = ()


class Sink(Protocol):
    """Where the objects of a list go page by page, so that none is held in memory."""

    def write(self, objects: Sequence[JsonObject]) -> None:
        """Take the next objects, in the list's order. Raises `ConfigurationError` where they can't be kept."""
        ...


Read: TypeAlias = Callable[[Request], Awaitable[JsonObject]]
Progress: TypeAlias = Callable[[int, int, int], None]  # fetched, scanned, pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What is known of a write whose answer never came, for looking it up.

    `sent_at` is Unix seconds; `key` was its Idempotency-Key and, where `stamped`, stands in
    the metadata of the object it made.
    """

    key: str
    request: Request
    sent_at: int
    stamped: bool


class Wire(Protocol):
    """The way to the service for one connection; used within one event loop."""

    async def send(self, request: Request, *, key: str | None = None) -> Answer:
        """Send one request, retried under one key.

        Raises `ServiceError` where nothing took effect, `OutcomeUnknownError` where a write
        may have.
        """
        ...

    async def read_list(
        self,
        request: Request,
        plan: ListPlan,
        paging: Paging,
        progress: Progress | None = None,
        sink: Sink | None = None,
    ) -> Listing:
        """Read a list. Raises `ServiceError` only when not even the first page came.

        With a `sink` the objects go there and `Listing.data` stays empty.
        """
        ...

    async def look_up(self, trace: Trace) -> JsonObject | None:
        """The object that a write under `trace.key` made, or None: absence proves nothing."""
        ...

    async def aclose(self) -> None: ...


class Connector(Protocol):
    """A service as the core sees it."""

    name: str
    default_api_version: str

    @property
    def catalog(self) -> Catalog:
        """The tools, loaded when first asked for."""
        ...

    def check_secret(self, connection: Connection, secret: Secret) -> None:
        """Raises `ConfigurationError` where the key is of the wrong kind or mode; sends nothing."""
        ...

    def bind(self, tool: Tool, call: ToolCall, connection: Connection) -> BoundCall:
        """The request of a checked call. Raises `InputError`; sends nothing."""
        ...

    async def assess(self, bound: BoundCall, read: Read) -> Assessment:
        """Effect, amount, currency and target of a call; may read to find an omitted amount."""
        ...

    def stamp(self, bound: BoundCall, params: JsonObject, key: str) -> tuple[JsonObject, bool]:
        """`params` with the key stamped on the object to be made, and whether it could be."""
        ...

    def open(self, connection: Connection, secret: Secret) -> Wire:
        """A wire for `connection`, inside a running event loop."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """How the objects of a service read: what names an object, what is anybody's text, what is money.

    An agent may write only to what an id field of a result has named, or its author. `id_shape`
    is a whole id; `id_fields` name the fields, and parameters, that hold ids. What stands in
    `free_objects` and `free_fields` may have been written by anybody; `noise` is of no use to a model.
    """

    id_shape: re.Pattern[str] = re.compile(r"[a-z]{2,}_(?=\w*\d)[A-Za-z0-9_]+")
    id_fields: frozenset[str] = frozenset({"id"})
    free_objects: frozenset[str] = frozenset({"metadata"})
    free_fields: frozenset[str] = frozenset({"description", "name", "email"})
    noise: frozenset[str] = frozenset()
    amount_fields: frozenset[str] = frozenset({"amount", "total"})

    def is_amount(self, name: str) -> bool:
        """Whether a field of this name holds money in minor units."""
        return name in self.amount_fields or name.startswith("amount_") or name.endswith("_amount")


@runtime_checkable
class Explains(Protocol):
    """What a connector may add for agents: how its objects read, and its operations by words."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def find(self, words: str, limit: int) -> list[JsonObject]:
        """The operations that fit `words` best: `method`, `path`, `effect` and `params` of each."""
        ...

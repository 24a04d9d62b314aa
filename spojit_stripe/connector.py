"""What a connector is: descriptors, a judgement of its calls, and a wire.

The core (catalog, Direct Mode, policy, ledger, faces) speaks only to these protocols, so
that another service is another folder like `wire/`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

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

__all__ = ["Answer", "BoundCall", "Connector", "ListPlan", "Listing", "Progress", "Read", "Trace", "Wire"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPlan:
    """How a list is read: its cursor style, page size and what is filtered here.

    `wanted` is the number of objects that `paginate: page` returns; `keep` maps field names
    to the value an object must have to be kept (a client-side filter).
    """

    style: Literal["cursor", "search", "v2"]
    wanted: int
    page_size: int
    keep: Params = field(default_factory=dict[str, JsonValue])


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
        self, request: Request, plan: ListPlan, paging: Paging, progress: Progress | None = None
    ) -> Listing:
        """Read a list. Raises `ServiceError` only when not even the first page came."""
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

"""What a handler works with: one call, and the objects it may read and change.

Every change of an object goes through `insert`, `save` or `remove`, which also write
the events, so that no resource can forget them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from spojit_stripe.sandbox import ids
from spojit_stripe.sandbox.errors import StripeError, missing_parameter, no_such
from spojit_stripe.sandbox.outbox import Delivery, Outbox
from spojit_stripe.sandbox.store import Filter, Record, Store
from spojit_stripe.sandbox.values import JsonObject, JsonValue, child, decode, integer, string, text

NOUNS = {
    "payment_method": "PaymentMethod",
    "invoiceitem": "invoiceitem",
    "balance_transaction": "balance transaction",
    "line_item": "invoice line item",
    "credit_note": "credit note",
    "promotion_code": "promotion code",
    "test_helpers.test_clock": "testclock",
}
CLOCK = "test_helpers.test_clock"


@dataclass
class Settings:
    """What tests may turn: lag of search and latency in seconds."""

    search_lag: float = 0.0
    latency: float = 0.0


@dataclass
class ListPage:
    """A list or a page of search results, its objects as stored JSON."""

    url: str
    data: list[bytes]
    has_more: bool
    kind: str = "list"
    next_page: str | None = None
    total_count: int | None = None


Answer = JsonObject | ListPage


@dataclass
class Context:
    """One call under way."""

    store: Store
    settings: Settings
    scope: int
    account: str
    livemode: bool
    now: int
    exact_now: float
    api_version: str
    request_id: str | None = None
    idempotency_key: str | None = None
    path: str = ""
    ids: dict[str, str] = field(default_factory=lambda: {})
    params: JsonObject = field(default_factory=lambda: {})
    outbox: Outbox = field(default_factory=Outbox)
    clock: str | None = None

    # Ids and objects

    def new_id(self, prefix: str) -> str:
        """A fresh id such as `ch_3…`."""
        return ids.make(prefix, self.store.next_ordinal())

    def secret(self, length: int = 24) -> str:
        """Letters and digits that are never given twice."""
        return ids.derive(f"secret/{self.store.next_ordinal()}", length)

    def find(self, kind: str, identifier: str | None) -> Record | None:
        """The object of this type with this id, if there is one."""
        record = self.store.find(self.scope, identifier) if identifier else None
        return record if record is not None and record.body["object"] == kind else None

    def get(self, kind: str, identifier: str, param: str = "id") -> Record:
        """The object of this type with this id; Stripe's error if there is none."""
        record = self.find(kind, identifier)
        if record is None:
            raise self.missing(kind, identifier, param)
        clock = record.body.get("test_clock")
        if self.clock is None and isinstance(clock, str) and self._ticks(clock):
            self.enter(clock)
        return record

    def _ticks(self, clock: str) -> bool:
        found = self.find(CLOCK, clock)
        return found is not None and found.body.get("deleted") is not True

    def enter(self, clock: str, param: str = "test_clock") -> None:
        """From here on it is the time of a test clock, and what is made belongs to it."""
        found = self.live(CLOCK, clock, param)
        self.clock, self.now = clock, integer(found.body, "frozen_time")

    def live(self, kind: str, identifier: str, param: str = "id") -> Record:
        """As `get`, for an object that has not been deleted."""
        record = self.get(kind, identifier, param)
        if record.body.get("deleted") is True:
            raise self.missing(kind, identifier, param)
        return record

    def insert(self, body: JsonObject, event: str | None = None, private: JsonObject | None = None) -> Record:
        """Keep a new object, with the event that announces it."""
        record = Record(body, private or {})
        self.store.insert(self.scope, record)
        self._hide(record, None)
        if event is not None:
            self.event(event, record.body)
        return record

    def save(self, record: Record, *events: str) -> None:
        """Keep an object's changes, with events; nothing is written when nothing changed."""
        old = decode(record.original)
        previous = difference(old, record.body)
        before = record.original
        self.store.update(record)
        if previous:
            self._hide(record, before)
        for event in events:
            if previous or not event.endswith(".updated"):
                self.event(event, record.body, previous if event.endswith(".updated") else None)

    def refresh(self, record: Record) -> None:
        """Read an object again that something else may have changed."""
        found = self.store.find(self.scope, record.id)
        if found is not None:
            record.body, record.private, record.original = found.body, found.private, found.original

    def remove(self, record: Record, event: str | None) -> JsonObject:
        """Delete an object; the stub stays, so that it can be told from one that never was."""
        shown = record.body
        stub: JsonObject = {"id": record.id, "object": string(shown, "object"), "deleted": True}
        record.body = stub
        self.store.update(record, listed=False)
        if event is not None:
            self.event(event, shown)
        return stub

    def event(self, kind: str, body: JsonObject, previous: JsonObject | None = None) -> None:
        """Write an event about an object as it is now."""
        data: JsonObject = {"object": body}
        if previous:
            data["previous_attributes"] = previous
        takers = self.outbox.takers(self.store, self.scope, kind)
        request: JsonObject = {"id": self.request_id, "idempotency_key": self.idempotency_key}
        event: JsonObject = {
            "id": self.new_id("evt"),
            "object": "event",
            "api_version": self.api_version,
            "created": self.now,
            "data": data,
            "livemode": self.livemode,
            "pending_webhooks": len(takers),
            "request": request,
            "type": kind,
        }
        made = Record(event)
        self.store.insert(self.scope, made)
        for taker in takers:
            self.outbox.add(Delivery(made.id, kind, taker, self.scope))

    def later(self, due: int, action: str, identifier: str) -> None:
        """Have something happen when the clock reaches `due`."""
        if self.clock is None:
            self.store.add_timer(due, self.scope, action, identifier)
            return
        clock = self.get(CLOCK, self.clock)
        waiting = clock.private.get("timers")
        timer: JsonObject = {
            "due": due,
            "number": self.store.next_ordinal(),
            "action": action,
            "object": identifier,
        }
        clock.private["timers"] = [*(waiting if isinstance(waiting, list) else []), timer]
        self.store.update(clock)

    def records(self, kind: str, **columns: str) -> list[Record]:
        """The objects of a type with these column values, oldest first."""
        filters = [Filter(f"{name} = ?", (value,)) for name, value in columns.items()]
        return self.store.records(self.scope, kind, filters)

    def sublist(self, url: str, found: Sequence[JsonObject]) -> JsonObject:
        """A list inside an object: its first ten."""
        return {"object": "list", "data": list(found[:10]), "has_more": len(found) > 10, "url": url}

    # Parameters

    def need(self, name: str) -> str:
        """A string parameter that the operation can't do without."""
        value = text(self.params, name)
        if value is None:
            raise missing_parameter(name)
        return value

    def need_integer(self, name: str) -> int:
        """An integer parameter that the operation can't do without."""
        if name not in self.params:
            raise missing_parameter(name)
        return integer(self.params, name)

    def _hide(self, record: Record, old: bytes | None) -> None:
        if self.settings.search_lag > 0:
            self.store.hide_from_search(record, self.exact_now + self.settings.search_lag, old)

    def missing(self, kind: str, identifier: str, param: str) -> StripeError:
        """Stripe's error for an id that names nothing here; it tells when the other mode has such an object."""
        status = 404 if identifier in self.ids.values() else 400
        error = no_such(NOUNS.get(kind, kind), identifier, param, status=status)
        if self.store.exists(self.scope ^ 1, identifier):
            other, used = ("test", "live") if self.livemode else ("live", "test")
            error.message += (
                f"; a similar object exists in {other} mode, but a {used} mode key was used to make this request."
            )
        return error


def assign(body: JsonObject, params: JsonObject, *names: str) -> None:
    """Copy the parameters that were sent; an empty one unsets."""
    for name in names:
        if name in params:
            value = params[name]
            body[name] = None if value == "" else value


def merge_metadata(body: JsonObject, params: JsonObject, name: str = "metadata") -> None:
    """Metadata is merged key by key; an empty value removes its key, an empty whole all keys."""
    if name not in params:
        return
    given = params[name]
    if given == "":
        body[name] = {}
        return
    merged = dict(child(body, name))
    for key, value in child(params, name).items():
        if value == "":
            merged.pop(key, None)
        else:
            merged[key] = value
    body[name] = merged


def difference(old: JsonObject, new: JsonObject) -> JsonObject:
    """Stripe's `previous_attributes`: the old values of what changed, nested objects in part."""
    previous: JsonObject = {}
    for name in [*old, *(name for name in new if name not in old)]:
        was, now = old.get(name), new.get(name)
        if was == now and (name in old) == (name in new):
            continue
        previous[name] = _changed(was, now)
    return previous


def _changed(was: JsonValue, now: JsonValue) -> JsonValue:
    if isinstance(was, dict) and isinstance(now, dict) and "object" not in was:
        return difference(was, now)
    return was

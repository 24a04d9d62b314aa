"""A row of the ledger as a value, and where it stands."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from spojit_stripe.errors import SpojitError, error_from_record
from spojit_stripe.values import Amount, JsonObject, Meta

__all__ = ["Entry", "State", "entry_of"]


class State(StrEnum):
    """Where a row stands; `ledger` has a drawing of it."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    UNSENT = "unsent"
    UNKNOWN = "unknown"

    @property
    def unsettled(self) -> bool:
        return self in (State.OPEN, State.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the ledger. Times are Unix seconds, `amount` is in minor units."""

    id: int
    effect: str
    state: State
    run_id: str
    node: str
    indexes: str
    ordinal: int
    generation: int
    key: str | None
    digest: str | None
    connection: str
    mode: str
    account: str | None
    base_url: str | None
    api_version: str | None
    tool: str
    operation: str
    path: str
    params: JsonObject
    additions: JsonObject
    stamped: bool
    amount: int | None
    currency: str | None
    target: str | None
    once: str | None
    created: int
    first_sent: int | None
    finished: int | None
    object_id: str | None
    result: JsonObject | None
    error: JsonObject | None
    request_ids: list[str]
    attempts: int
    replayed: bool
    livemode: bool | None
    resolution: JsonObject | None

    @property
    def money(self) -> Amount | None:
        """What the call moved or would have moved."""
        if self.amount is None or self.currency is None:
            return None
        return Amount(amount=self.amount, currency=self.currency)

    @property
    def may_be_tried_anew(self) -> bool:
        """A definite failure without effect, of this call and of whatever else used its key."""
        if self.state is State.FAILED:
            return (self.error or {}).get("type") != "idempotency_error"
        return self.state is State.UNSENT

    @property
    def outcome_error(self) -> SpojitError:
        """The stored error, rebuilt."""
        return error_from_record(self.error or {"message": f"ledger entry {self.id} has no outcome"})

    def meta(self) -> Meta:
        """How the stored answer came about, marked as coming from the ledger."""
        return Meta(
            request_ids=tuple(self.request_ids),
            idempotency_key=self.key,
            replayed=self.replayed,
            from_ledger=True,
            api_version=self.api_version,
            livemode=self.livemode,
            attempts=self.attempts,
            ledger_id=self.id,
        )

    def to_json(self) -> JsonObject:
        """The row for people and exports; absent values left out."""
        row: JsonObject = {}
        for name in Entry.__slots__:
            value = getattr(self, name)
            if value is None or value == {} or name == "digest":
                continue
            row[name] = value.value if isinstance(value, State) else value
        return row


def entry_of(row: sqlite3.Row) -> Entry:
    values = dict(row)
    for name in ("params", "additions", "result", "error", "request_ids", "resolution"):
        values[name] = json.loads(values[name]) if values[name] is not None else None
    values["state"] = State(values["state"])
    for name in ("stamped", "replayed", "livemode"):
        values[name] = bool(values[name]) if values[name] is not None else None
    return Entry(**values)

"""Where a sync puts its rows, and what it remembers there from one run to the next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, cast

from spojit_stripe.errors import ConfigurationError, ServiceError
from spojit_stripe.sync.resources import Column, Resource
from spojit_stripe.sync.rows import Counts, Row, is_id
from spojit_stripe.values import JsonObject, JsonValue

__all__ = [
    "MOST_FAILURES",
    "Destination",
    "Failure",
    "History",
    "Identity",
    "State",
    "failing",
    "state_from",
    "state_text",
]

MOST_FAILURES: Final = 100
"""Objects of one resource that may fail before all of it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose objects a destination holds: those of one account in one mode."""

    connection: str
    mode: str
    account: str | None
    base_url: str | None

    def check(self, kept: JsonObject, where: str) -> None:
        """Raises `ConfigurationError` where `kept`, of an earlier run, is another's."""
        for name, mine in self.to_json().items():
            theirs = kept.get(name)
            if theirs != mine:
                raise ConfigurationError(
                    f"{where} holds objects of {name} {_shown(theirs)}, not of {_shown(mine)}; "
                    "choose another destination, so that the two don't mix"
                )

    def to_json(self) -> JsonObject:
        return {
            "mode": self.mode,
            "base_url": self.base_url,
            "account": self.account,
            "connection": self.connection,
        }


def _shown(value: JsonValue) -> str:
    return "the key's own" if value is None else repr(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A whole read under way. `as_of` is when it began; all objects made after `at` are in.

    `again` says that every object was here before: what the read does not find may be deleted.
    """

    as_of: int
    at: int | None = None
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An object that could not be read again, to be tried by the next run. `deleted`: an event's time."""

    error: str
    deleted: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is remembered of one resource, in the transaction that writes its rows.

    `as_of`: what happened before this time is in the table; None before the first whole read is
    through. `whole`: when the last whole read began. `seen`: the latest time of a read. Times are
    Unix seconds of Stripe's clock.
    """

    as_of: int | None = None
    whole: int | None = None
    seen: int = 0
    api_version: str | None = None
    history: History | None = None
    failures: dict[str, Failure] = field(default_factory=dict[str, Failure])


def failing(state: State, resource: Resource, misfits: Mapping[str, Failure]) -> State:
    """A state by which the objects that do not fit a new column are read again. Raises `ServiceError` for too many."""
    failures = {**state.failures, **misfits}
    if len(failures) > MOST_FAILURES and misfits:
        last = [*misfits.values()][-1].error
        raise ServiceError(
            f"{resource.name}: more than {MOST_FAILURES} objects failed or do not fit a column that is new; the last: "
            f"{last}; drop the table, or delete its Parquet file, to fill it anew"
        )
    return replace(state, failures=failures)


def state_text(state: State) -> str:
    """A state as JSON; equal states give equal texts."""
    history, failures = state.history, state.failures
    value: JsonObject = {
        "as_of": state.as_of,
        "whole": state.whole,
        "seen": state.seen,
        "api_version": state.api_version,
        "history": history and {"as_of": history.as_of, "at": history.at, "again": history.again},
        "failures": {name: {"error": one.error, "deleted": one.deleted} for name, one in sorted(failures.items())},
    }
    return json.dumps(value)


def state_from(text: str, where: str) -> State:
    """Raises `ConfigurationError` where the text is not ours."""
    try:
        value = cast("JsonObject", json.loads(text))
        state = State(**{**value, "history": None, "failures": {}})  # type: ignore[arg-type]  # by state_text
        history, failures = value["history"], cast("dict[str, JsonObject]", value["failures"])
        return replace(
            state,
            history=History(**cast("JsonObject", history)) if history else None,  # type: ignore[arg-type]
            failures={name: Failure(**one) for name, one in failures.items() if _can_be_asked_for(name, one)},  # type: ignore[arg-type]
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigurationError(
            f"{where}: what the last sync left there can't be read; choose another destination"
        ) from None


def _can_be_asked_for(name: str, failure: JsonObject) -> bool:
    """Whether a failure is of an object with an id. An earlier version made a name of what was none, like null or 7."""
    return is_id(name) and name != "None" and "an object came without an id: " not in str(failure["error"])


class Destination(Protocol):
    """A place for rows. All methods raise `ConfigurationError` where it can't be used."""

    shown: str
    """Its name for people, without a password."""

    def opened(self, identity: Identity, resources: Sequence[Resource] = ()) -> AbstractContextManager[None]:
        """Open it for one run of `resources`, alone. Refuses what is not ours, or another account's."""
        ...

    def peek(self, resource: Resource, identity: Identity) -> State:
        """What is remembered, without opening, making or changing anything. Refuses what `opened` does.

        It takes a place that can only be read, also one with no room for every name.
        """
        ...

    def prepare(self, resource: Resource, columns: Sequence[Column]) -> State:
        """Make the table, or add what it lacks; what is remembered of it, nothing where somebody took it away.

        What does not fit a column that it adds is null there, and among the failures.
        """
        ...

    def save(self, resource: Resource, rows: Sequence[Row], state: State, *, touch: bool = False) -> Counts:
        """Write rows and state in one transaction. `touch`: an unchanged row notes that it was seen."""
        ...

    def finish(self, resource: Resource) -> Counts:
        """Bring in what waited outside of the table."""
        ...

    def seen(self, resource: Resource, ids: Sequence[str]) -> dict[str, int]:
        """When the rows of these ids were last seen."""
        ...

    def unseen(self, resource: Resource, since: int) -> Iterator[str]:
        """The ids of the rows that were not seen since a time and are not deleted."""
        ...

    def pending_since(self, resource: Resource, after: int, now: int) -> int | None:
        """When the oldest was made of those pending that should have become available after a time, by now."""
        ...

    def overdue(self, resource: Resource, before: int) -> Iterator[str]:
        """All that are pending and should have become available before a time."""
        ...

    def unlinked(self) -> list[str]:
        """The payouts that settled transactions of which none is known yet, oldest first."""
        ...

    def add_views(self) -> None:
        """Make the views for which the tables are there."""
        ...

    def reconciliation(self, payout: str | None) -> list[JsonObject]:
        """The rows of `payout_reconciliation`, of one payout or of all; opens nothing for writing."""
        ...

"""The sync of one resource: its whole history once, then what was made or changed since.

    first ──► history ──────────────┐   newest first, page by page, each with its place to go on from
    later ──► events since ─► ids   │   only ids are taken from events
              list since ─► rows    ├─► as_of moves on, in the transaction of the last rows
              ids ─► read again ────┘   at the pinned version; a deletion leaves a tombstone
    gap over 30 days, other version ─► history again, then what was not found is looked for

"Since" begins ten minutes before the last run: events and new objects appear late.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from dataclasses import replace
from itertools import chain, count, islice
from typing import Final, TypeVar

from spojit_stripe.errors import (
    AccessError,
    InputError,
    InvalidRequestError,
    ServiceError,
    SpojitError,
    UnavailableError,
)
from spojit_stripe.redact import printable, redact_text
from spojit_stripe.session import Session
from spojit_stripe.sync.changes import Changes
from spojit_stripe.sync.destination import MOST_FAILURES, Destination, Failure, History, State
from spojit_stripe.sync.gap import OVERLAP, events_gone, why_again
from spojit_stripe.sync.pages import Pages
from spojit_stripe.sync.reader import Reader
from spojit_stripe.sync.report import Mode, Synced, Tell
from spojit_stripe.sync.resources import Resource, columns_of
from spojit_stripe.sync.rows import Counts, Row, UnfitError, is_id, row_of, tombstone
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Work", "batches", "side_by_side"]

T = TypeVar("T")

_SETTLES_WITHIN: Final = 14 * 86_400  # what is pending for longer is read one by one, not by a list since then
_SETTLED: Final = 60  # a read this long after an event certainly shows what it tells
_BATCH: Final = 100
_AT_ONCE: Final = 16


class Work:
    """The sync of one resource."""

    def __init__(
        self,
        resource: Resource,
        destination: Destination,
        session: Session,
        run_id: str,
        *,
        tell: Tell | None,
        full: bool,
    ) -> None:
        self._resource = resource
        self._destination = destination
        self._reader = Reader(session, run_id)
        self._columns = columns_of(resource, session.connector.catalog)
        self._tell = tell or _untold
        self._full = full
        self._state = State()
        self._mode: Mode | None = None
        self._counts = Counts()
        self._failed: dict[str, str] = {}

    async def run(self) -> Synced:
        error: SpojitError | None = None
        try:
            self._state = self._destination.prepare(self._resource, self._columns)
            await self._sync()
        except ServiceError as fault:
            error = fault
        self._counts = self._counts.plus(self._destination.finish(self._resource))
        done = Synced(
            resource=self._resource.name,
            mode=self._mode,
            counts=self._counts,
            requests=self._reader.requests,
            as_of=self._state.as_of,
            failed=self._failed,
            error=error,
        )
        self._tell("end", done.to_json())
        return done

    async def _sync(self) -> None:
        now = await self._probe()
        history, as_of = self._state.history, self._state.as_of
        version = self._reader.version
        why = why_again(self._state, self._resource, version=version, now=now, full=self._full)
        if history is None and as_of is None:
            await self._read_history(History(as_of=now), "history")
        elif why is not None:
            self._warn(f"{why}; everything is read again")
            await self._read_history(History(as_of=now, again=True), "full")
        elif history is not None:
            await self._read_history(history, "full" if history.again else "history")
        elif as_of is not None:
            self._begin("changes", as_of)
            await self._read_changes(as_of, now)

    async def _probe(self) -> int:
        try:
            now = await self._reader.probe(self._resource)
        except ServiceError as error:
            if self._resource.events and isinstance(error, AccessError):
                text = f"{self._resource.name}: Stripe's events tell what changed, and the key can't read them"
                raise AccessError(f"{text}: {error.message}", error.problem) from None
            raise
        if now < self._state.seen - OVERLAP:
            raise UnavailableError(
                f"{self._resource.name}: the service's clock says {now}, but the last sync was at {self._state.seen}; "
                "if it is another service, choose another destination"
            )
        self._reader.not_before(self._state.seen)
        return self._reader.now()

    def _begin(self, mode: Mode, since: int | None) -> None:
        self._mode = mode
        self._tell("begin", {"resource": self._resource.name, "mode": mode, "since": since})

    def _warn(self, text: str) -> None:
        self._tell("warning", {"resource": self._resource.name, "text": f"{self._resource.name}: {text}"})

    def _save(self, rows: Sequence[Row], *, touch: bool = False) -> None:
        self._counts = self._counts.plus(self._destination.save(self._resource, rows, self._state, touch=touch))
        self._tell("read", {"resource": self._resource.name, "rows": self._counts.read})

    def _rows(self, objects: Iterable[JsonObject], seen: int) -> list[Row]:
        rows: list[Row] = []
        for value in objects:
            try:
                rows.append(row_of(value, self._resource, self._columns, seen))
            except UnfitError as error:
                self._fail(value.get("id"), error, None)
        return rows

    def _fail(self, identifier: JsonValue, error: SpojitError, deleted: int | None) -> None:
        text = printable(redact_text(error.message))
        failures = self._state.failures
        if is_id(identifier):
            self._failed[identifier] = text
            failures = {**failures, identifier: Failure(error=text, deleted=deleted)}
        else:  # it is told, but there is nothing that the next run could ask for
            shown = redact_text(json.dumps(identifier))[:60]
            self._failed[_unlike(self._failed, shown)] = text
        if len(failures.keys() | self._failed.keys()) > MOST_FAILURES:
            raise ServiceError(
                f"{self._resource.name}: more than {MOST_FAILURES} objects could not be read; the last one: {text}"
            )
        self._state = replace(self._state, failures=failures)

    # The whole

    async def _read_history(self, history: History, mode: Mode) -> None:
        self._begin(mode, None)
        self._state = replace(self._state, history=history, api_version=self._reader.version)
        seen = self._reader.now()
        created: JsonObject = {} if history.at is None else {"lte": history.at}
        at = history.at
        in_order = True

        def take(page: Sequence[JsonObject]) -> None:
            nonlocal at, in_order
            times = [made for value in page if isinstance(made := value.get("created"), int)]
            in_order = in_order and (at is None or max(times, default=at) <= at)
            at = min(times, default=at)
            rows = self._rows(page, seen)
            # Only while the pages go back in time is everything after the last one in.
            self._state = replace(self._state, history=replace(history, at=at if in_order else history.at), seen=seen)
            self._save(rows, touch=history.again)

        await self._reader.read_list(self._resource, created, Pages(take))
        if history.again:
            self._counts = self._counts.plus(self._destination.finish(self._resource))
            await self._look_for_unseen(history.as_of)
        as_of = history.as_of
        self._state = replace(self._state, as_of=as_of, whole=as_of, history=None, seen=self._reader.now())
        self._save([])
        if self._reader.now() - as_of > OVERLAP:
            await self._catch_up(as_of)

    async def _catch_up(self, since: int) -> None:
        """What happened while a long history was read, or since it was begun by an earlier run."""
        now = await self._probe()  # a machine that slept meanwhile does not know the time
        if events_gone(self._resource, since, now):
            self._warn("the whole read took until Stripe's events since it began were gone; everything is read again")
            await self._read_history(History(as_of=now, again=True), "full")
        else:
            await self._read_changes(since, now)

    async def _look_for_unseen(self, since: int) -> None:
        """What a whole list no longer has: deleted, or listed elsewhere as a test clock's objects are."""
        missing = self._destination.unseen(self._resource, since)
        # Also what failed in an earlier run and has no row; what failed in this one was listed.
        failed = [name for name in self._state.failures if name not in self._failed]
        for batch in batches(chain(failed, missing)):
            # A complete list without it is as good as an event: nothing else makes it answer 404.
            await self._read_again({name: since for name in batch})

    # What is new

    async def _read_changes(self, as_of: int, now: int) -> None:
        since = as_of - OVERLAP
        with Changes() as changes:
            for name, failure in self._state.failures.items():
                changes.add(name, now, failure.deleted)
            for kind in self._resource.events:
                await self._reader.read_events(
                    self._resource, kind, since, Pages(lambda page: changes.add_all(self._resource, page))
                )
            if self._resource.settles:
                # After a long gap much is due, and was pending just so long: a list has that at once.
                long_due = min(as_of, now) - _SETTLES_WITHIN
                for batch in batches(self._destination.overdue(self._resource, long_due)):
                    changes.add_ids(batch, now)
                pending = self._destination.pending_since(self._resource, long_due, now)
                since = since if pending is None else min(since, pending)
            await self._read_made_since(since)
            self._counts = self._counts.plus(self._destination.finish(self._resource))
            for batch in changes.batches(_BATCH):
                await self._read_again(self._unread(batch, changes))
        self._state = replace(self._state, as_of=max(as_of, now), seen=self._reader.now())
        self._save([])

    async def _read_made_since(self, since: int) -> None:
        seen = self._reader.now()
        await self._reader.read_list(
            self._resource, {"gte": since}, Pages(lambda page: self._save(self._rows(page, seen)))
        )

    def _unread(self, batch: Sequence[str], changes: Changes) -> dict[str, int | None]:
        """Those whose row does not certainly show what the events tell, with the time of their deletion."""
        seen = self._destination.seen(self._resource, batch)
        found = changes.of(batch)
        return {
            name: self._not_listed_since(at) if deleted is None and name not in seen else deleted
            for name, (at, deleted) in found.items()
            if name in self._state.failures or seen.get(name, 0) < at + _SETTLED
        }

    def _not_listed_since(self, at: int) -> int | None:
        """When a whole list showed that an object without a row is gone, if one was read after its last event."""
        whole = self._state.whole
        return whole if whole is not None and at + _SETTLED <= whole else None

    async def _read_again(self, ids: dict[str, int | None] | dict[str, int]) -> None:
        results = await side_by_side(lambda name: self._row_again(name, ids[name]), list(ids))
        rows: list[Row] = []
        stopped: SpojitError | None = None
        for name, result in zip(ids, results, strict=True):
            if isinstance(result, Row):
                rows.append(result)
                self._failed.pop(name, None)
                kept = {other: one for other, one in self._state.failures.items() if other != name}
                self._state = replace(self._state, failures=kept)
            elif isinstance(result, InvalidRequestError | InputError | UnfitError):
                self._fail(name, result, ids[name])
            else:
                stopped = stopped or result
        if rows or self._failed:
            self._state = replace(self._state, seen=self._reader.now())
            self._save(rows)
        if stopped is not None:
            raise stopped

    async def _row_again(self, name: str, deleted: int | None) -> Row:
        """The row of an object as it is now. Raises `SpojitError`."""
        seen = self._reader.now()
        try:
            value = await self._reader.read_one(self._resource, name)
        except InvalidRequestError as error:
            if error.problem.status == 404 and deleted is not None:
                return tombstone(name, deleted, seen)
            raise
        row = row_of(value, self._resource, self._columns, seen)
        if row.id != name:
            raise UnfitError(f"{self._resource.name} {name}: Stripe answered with {row.id!r}")
        return replace(row, deleted_at=deleted or row.seen) if row.cells is None else row


async def side_by_side(work: Callable[[str], Awaitable[T]], names: Sequence[str]) -> list[T | SpojitError]:
    """What `work` gives for each name, some at a time; an error stops none of the others."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> T | SpojitError:
        async with room:
            try:
                return await work(name)
            except SpojitError as error:
                return error

    return list(await asyncio.gather(*(one(name) for name in names)))


def batches(names: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(names)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _unlike(names: Container[str], name: str) -> str:
    """A name that is not among those yet: `name`, or `name (2)` and so on."""
    return next(one for one in chain([name], (f"{name} ({n})" for n in count(2))) if one not in names)


def _untold(_kind: str, _facts: JsonObject) -> None:
    """Nobody listens."""

"""Reading for a sync: lists, events and single objects, each a tool call and so in the ledger.

Everything is read at the catalog's API version. Times are those of Stripe's clock, which is read
once and then followed by a clock of this machine that nobody sets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, cast
from urllib.parse import quote

from spojit_stripe.direct import preview_tool, run_tool
from spojit_stripe.errors import ServiceError, SpojitError, UnavailableError
from spojit_stripe.session import Session
from spojit_stripe.sync.pages import Pages
from spojit_stripe.sync.resources import LINKS, Resource
from spojit_stripe.values import Done, Failed, JsonObject, Outcome, Paging, Position, Preview, ToolCall

__all__ = ["EVENTS", "Reader"]

EVENTS: Final = "/v1/events"
_RAW: Final = "raw-api-request"


class Reader:
    """Reads of one run. `requests` counts those that were sent."""

    def __init__(self, session: Session, run_id: str, *, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._run_id = run_id
        self._elapsed = elapsed
        self._set: tuple[float, float] | None = None  # Stripe's time, and ours at the same moment
        self._not_before = 0
        self._calls = 0
        self.requests = 0

    @property
    def version(self) -> str:
        """The API version of all that is read."""
        return self._session.connector.default_api_version

    # Time

    def now(self) -> int:
        """Stripe's time, at the latest; only after a `probe`. Never before a time given to `not_before`."""
        if self._set is None:
            raise RuntimeError("the time is known after a probe")
        theirs, ours = self._set
        return max(int(theirs + self._elapsed() - ours), self._not_before)

    def not_before(self, seconds: int) -> None:
        """The clock is read to the second, so a read of an earlier run may seem to be a later one."""
        self._not_before = max(self._not_before, seconds)

    async def probe(self, resource: Resource) -> int:
        """Stripe's time, by a request that also shows whether the key may read what tells of changes."""
        kind = resource.events[0] if resource.events else None
        call = (
            self._list_call(resource, {}, {"limit": 1}) if kind is None else self._events_call(kind, {}, {"limit": 1})
        )
        done = self._done(await self._run(replace(call, paging=Paging()), resource))
        self._set = (float(cast("int", done.value["as_of"])), self._elapsed())
        return self.now()

    # Calls

    async def read_list(self, resource: Resource, created: JsonObject, pages: Pages) -> None:
        """Read all that was made within `created` to `pages`, the newest first.

        Raises `UnavailableError` where the list is not complete, and what `pages` raise.
        """
        more: JsonObject = {"created": created} if created else {}
        await self._to_end(self._list_call(resource, more), resource, pages)

    async def read_events(self, resource: Resource, kind: str, since: int, pages: Pages) -> None:
        """Read all events of a type since a time to `pages`, in any order. Raises as `read_list`."""
        call = self._events_call(kind, {"created": {"gte": since}})
        await self._to_end(replace(call, paging=Paging(paginate="all", order="any")), resource, pages)

    async def read_settled(self, resource: Resource, payout: str, pages: Pages) -> None:
        """Read the balance transactions that a payout settled. Raises as `read_list`."""
        await self._to_end(self._list_call(resource, {"payout": payout}), resource, pages)

    async def read_one(self, resource: Resource, identifier: str) -> JsonObject:
        """Read one object. Raises `SpojitError`."""
        call = self._raw(f"{resource.path}/{quote(identifier, safe='')}", {})
        return self._done(await self._run(call, resource)).value

    async def preview(self, resource: Resource, created: JsonObject) -> list[Preview]:
        """The requests of a run, unsent."""
        more: JsonObject = {"created": created} if created else {}
        calls = [self._list_call(resource, {"payout": "each new one"} if resource.name == LINKS else more)]
        calls += [self._events_call(kind, {"created": created}) for kind in resource.events if "gte" in created]
        at = Position(run_id=self._run_id, node="sync")
        return [await preview_tool(call, at=at, session=self._session) for call in calls]

    def _list_call(self, resource: Resource, more: JsonObject, page: JsonObject | None = None) -> ToolCall:
        params = {**resource.params, **more, **(page or {})}
        if resource.tool is None:
            return self._raw(resource.path, params)
        return ToolCall(tool=resource.tool, params=params, paging=Paging(paginate="all"))

    def _events_call(self, kind: str, more: JsonObject, page: JsonObject | None = None) -> ToolCall:
        return self._raw(EVENTS, {"type": kind, **more, **(page or {})})

    def _raw(self, path: str, params: JsonObject) -> ToolCall:
        # A connection may be set to another version; rows of two versions must not mix.
        return ToolCall(
            tool=_RAW,
            params={"method": "GET", "path": path, "params": params},
            author_params={"api_version": self.version},
            paging=Paging(paginate="all"),
        )

    async def _to_end(self, call: ToolCall, resource: Resource, pages: Pages) -> None:
        outcome = await self._run(call, resource, pages)
        if pages.error is not None:
            raise pages.error
        done = self._done(outcome)
        if done.value.get("complete") is not True:
            why: Sequence[str] = done.meta.warnings or (f"it stopped because of: {done.value.get('stopped_because')}",)
            raise UnavailableError(f"{resource.name}: {why[-1]}; what was read is kept, run it again to go on")

    async def _run(self, call: ToolCall, resource: Resource, pages: Pages | None = None) -> Outcome:
        self._calls += 1
        at = Position(run_id=self._run_id, node=f"sync/{resource.name}", ordinal=self._calls)
        outcome = await run_tool(call, at=at, session=self._session, sink=pages)
        if isinstance(outcome, Done | Failed):
            self.requests += outcome.meta.attempts
        return outcome

    def _done(self, outcome: Outcome) -> Done:
        if isinstance(outcome, Done):
            return outcome
        error: SpojitError = outcome.error if isinstance(outcome, Failed) else ServiceError("a read was held back")
        raise error

"""Lists read to where the caller wants, and told truthfully how far that was.

Three ways of paging: v1 lists by the id of the last object (`starting_after`, or
`ending_before` backwards), searches by a `next_page` token, v2 lists by `next_page_url`.

`complete` means that nothing which the filters match, from the start that was given onwards,
was left out: with `starting_after` the list is complete from there on. A search is never
complete, because its index lags writes (Stripe: usually under a minute, up to an hour).

`next_cursor` continues the list: as `starting_after` (or `ending_before` when read backwards)
it is the id of the last object looked at, as `page` the token of the page that follows. After
a page that was used in part it is that page's own token, so a few objects come again and none
is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final, cast
from urllib.parse import parse_qs, urlsplit

from spojit_stripe.connector import Answer, Listing, ListPlan, Progress
from spojit_stripe.errors import InputError, ServiceError, SpojitError, UnavailableError
from spojit_stripe.values import JsonObject, JsonValue, Paging, Request, StoppedBecause

__all__ = ["PAGE_CAP", "read_list"]

PAGE_CAP: Final = 20
"""Pages that `paginate: page` follows at most while a client-side filter finds too little."""

_LARGEST_PAGE: Final = 100

Fetch = Callable[[Request], Awaitable[Answer]]


async def read_list(
    fetch: Fetch,
    request: Request,
    plan: ListPlan,
    paging: Paging,
    progress: Progress | None = None,
    *,
    origin: str = "https://api.stripe.com",
    wall: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> Listing:
    """Read `request` page by page through `fetch`.

    `paginate: page` gives up to `plan.wanted` objects that pass `plan.keep`, `all` everything,
    both at most `paging.max_items`. `origin` is the scheme and host that a v2 list's
    `next_page_url` may name. Times: `wall` in Unix seconds, `clock` never goes backwards.

    Raises `InputError` for impossible bounds, and what `fetch` raises for the first page; a
    later failure ends the list with what was read, `stopped_because: error` and `error`.
    """
    reader = _Reader(request, plan, paging, origin)
    started = clock()
    ends = None if paging.deadline_seconds is None else started + paging.deadline_seconds
    while reader.stopped is None:
        try:
            answer = await _before(ends, clock, fetch, reader.next_request())
        except TimeoutError:
            if not reader.pages:
                text = f"{request.path}: no page came within deadline_seconds ({paging.deadline_seconds})"
                raise UnavailableError(f"{text}; allow more time") from None
            reader.stop("deadline")
            break
        except SpojitError as error:
            if not reader.pages:
                raise
            reader.fail(error)
            break
        reader.take(answer, wall)
        if progress is not None:
            progress(len(reader.data), reader.scanned, reader.pages)
        if reader.stopped is None and ends is not None and clock() >= ends:
            reader.stop("deadline")
    return reader.listing()


async def _before(ends: float | None, clock: Callable[[], float], fetch: Fetch, request: Request) -> Answer:
    if ends is None:
        return await fetch(request)
    async with asyncio.timeout(max(0.0, ends - clock())):
        return await fetch(request)


class _Reader:
    """The state of one list while it is read."""

    def __init__(self, request: Request, plan: ListPlan, paging: Paging, origin: str) -> None:
        _check(paging)
        self._request = request
        self._plan = plan
        self._origin = origin
        self._params = {
            name: value
            for name, value in request.params.items()
            if name not in ("limit", "starting_after", "ending_before", "page")
        }
        self._backwards = plan.style == "cursor" and "ending_before" in request.params
        self._cursor_name = _cursor_name(plan, backwards=self._backwards)
        self._cursor = _text(request.params.get(self._cursor_name))
        self._wanted = _wanted(plan, paging)
        self._max_pages = paging.max_pages or (PAGE_CAP if paging.paginate == "page" else None)
        self._seen = {self._cursor}
        self._limit = self._page_limit(0)
        self.data: list[JsonObject] = []
        self.scanned = 0
        self.pages = 0
        self.stopped: StoppedBecause | None = None
        self.complete = False
        self._next_cursor: str | None = self._cursor
        self._error: SpojitError | None = None
        self._warnings: list[str] = []
        self._request_ids: list[str] = []
        self._attempts = 0
        self._as_of: int | None = None
        self._api_version: str | None = None
        self._livemode: bool | None = None

    def next_request(self) -> Request:
        params: JsonObject = dict(self._params)
        if self._plan.page_size > 0:
            # Page tokens belong to one page size; ids do not.
            self._limit = self._page_limit(len(self.data)) if self._plan.style == "cursor" else self._limit
            params["limit"] = self._limit
        if self._cursor is not None:
            params[self._cursor_name] = self._cursor
        return replace(self._request, params=params)

    def _page_limit(self, have: int) -> int:
        size = min(self._plan.page_size, _LARGEST_PAGE)
        if self._wanted is None or self._plan.keep:
            return size
        return min(size, self._wanted - have)

    # One page

    def take(self, answer: Answer, wall: Callable[[], float]) -> None:
        """Use one page and decide whether and where to go on."""
        if self._as_of is None:
            self._as_of = answer.date if answer.date is not None else int(wall())
        if answer.request_id:
            self._request_ids.append(answer.request_id)
        self._attempts += answer.attempts
        self._api_version = self._api_version or answer.api_version
        if answer.livemode is not None:
            self._livemode = answer.livemode
        self._warnings.extend(text for text in answer.warnings if text not in self._warnings)
        page = self._objects(answer.body)
        if page is None:
            self._refuse_shape("is no list")
            return
        self.pages += 1
        ordered = page[::-1] if self._backwards else page
        more, following = self._what_follows(answer.body, ordered)
        if more and following is not None and following in self._seen:
            # What came was read before, so it is not taken a second time.
            self._anomaly(f"page {self.pages} leads back to a page that was read before")
        else:
            self._consume(ordered, more=more, following=following)

    def _objects(self, body: JsonObject) -> list[JsonObject] | None:
        data = body.get("data")
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            return None
        return cast("list[JsonObject]", data)

    def _refuse_shape(self, what: str) -> None:
        if not self.pages:
            raise ServiceError(f"{self._request.path}: the answer {what}, so it can't be read as one")
        self._anomaly(f"page {self.pages + 1} {what}")

    def _what_follows(self, body: JsonObject, page: list[JsonObject]) -> tuple[bool, str | None]:
        """Whether more follows this page, and the cursor of what does; notes what can't be."""
        if self._plan.style == "v2":
            url = body.get("next_page_url")
            if url is None:
                return False, None
            token = self._token_in(url)
            if token is None:
                self._anomaly(f"page {self.pages} says that the next one is elsewhere ({url!r}), not followed")
            return True, token
        more = body.get("has_more")
        if not isinstance(more, bool):
            self._anomaly(f"page {self.pages} does not say whether more follows")
            return False, None
        if not more:
            return False, None
        if not page:
            self._anomaly(f"page {self.pages} is empty and says that more follows")
            return True, None
        following = _text(body.get("next_page") if self._plan.style == "search" else page[-1].get("id"))
        if following is None:
            self._anomaly(f"page {self.pages} says that more follows, but not where")
        return True, following

    def _token_in(self, url: JsonValue) -> str | None:
        """The page token of a v2 `next_page_url`, where that stays at this list."""
        if not isinstance(url, str):
            return None
        parts = urlsplit(url)
        if (parts.scheme or parts.netloc) and f"{parts.scheme}://{parts.netloc}" != self._origin:
            return None
        if parts.path != self._request.path:
            return None
        tokens = parse_qs(parts.query).get("page", [])
        return tokens[0] if len(tokens) == 1 else None

    def _consume(self, page: list[JsonObject], *, more: bool, following: str | None) -> None:
        used, left = self._select(page)
        if self._plan.style == "cursor":
            last = _text(page[used - 1].get("id")) if used else None
            self._next_cursor = last or self._next_cursor
        elif left:
            self._warnings.append("the last page was used in part; next_cursor gives that page again")
            self._next_cursor = self._cursor
        else:
            self._next_cursor = following
        if self.stopped is None:
            self._seen.add(following)
            self._cursor = following
            self._decide(more=more, left=left)

    def _select(self, page: list[JsonObject]) -> tuple[int, bool]:
        """Keep what passes the filter: how many objects were used up, and whether one is left."""
        keep, data, wanted = self._plan.keep, self.data, self._wanted
        if not keep and (wanted is None or len(data) + len(page) <= wanted):
            data.extend(page)
            self.scanned += len(page)
            return len(page), False
        for index, item in enumerate(page):
            if keep and not _passes(item, keep):
                continue
            if wanted is not None and len(data) >= wanted:
                self.scanned += index
                return index, True
            data.append(item)
        self.scanned += len(page)
        return len(page), False

    def _decide(self, *, more: bool, left: bool) -> None:
        if not more and not left:
            self.stopped = "end"
            self.complete = self._plan.style != "search"
            self._next_cursor = None
        elif left or (self._wanted is not None and len(self.data) >= self._wanted):
            self.stop("max_items")
        elif self._max_pages is not None and self.pages >= self._max_pages:
            self.stop("max_pages")
        elif self._plan.page_size <= 0:
            self._anomaly("more follows, but this list can't be paged")

    # The end

    def stop(self, why: StoppedBecause) -> None:
        self.stopped = why

    def fail(self, error: SpojitError) -> None:
        self.stopped = "error"
        self._error = error

    def _anomaly(self, what: str) -> None:
        self.stopped = "anomaly"
        self._warnings.append(f"{self._request.path}: {what}; the list is not complete")

    def listing(self) -> Listing:
        data = self.data[::-1] if self._backwards else self.data
        return Listing(
            data=data,
            complete=self.complete,
            as_of=self._as_of or 0,
            next_cursor=self._next_cursor,
            fetched=len(data),
            scanned=self.scanned,
            pages=self.pages,
            stopped_because=self.stopped or "end",
            request_ids=tuple(self._request_ids),
            attempts=self._attempts,
            api_version=self._api_version,
            livemode=self._livemode,
            error=self._error,
            warnings=tuple(self._warnings),
        )


def _check(paging: Paging) -> None:
    for name, value in (
        ("max_items", paging.max_items),
        ("max_pages", paging.max_pages),
        ("deadline_seconds", paging.deadline_seconds),
    ):
        if value is not None and value <= 0:
            raise InputError(f"{name}: must be more than 0, got {value}")


def _wanted(plan: ListPlan, paging: Paging) -> int | None:
    if paging.paginate == "all":
        return paging.max_items
    return plan.wanted if paging.max_items is None else min(plan.wanted, paging.max_items)


def _cursor_name(plan: ListPlan, *, backwards: bool) -> str:
    if plan.style != "cursor":
        return "page"
    return "ending_before" if backwards else "starting_after"


def _passes(item: JsonObject, keep: Mapping[str, JsonValue]) -> bool:
    return all(item.get(name) == value for name, value in keep.items())


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) and value else None

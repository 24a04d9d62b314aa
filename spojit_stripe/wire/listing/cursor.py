"""A list read one page after another, by whichever cursor it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qs, urlsplit

from spojit_stripe.connector import Listing, ListPlan
from spojit_stripe.errors import ServiceError, SpojitError
from spojit_stripe.values import JsonObject, JsonValue, Paging, Request, StoppedBecause
from spojit_stripe.wire.listing.output import Output, Tally
from spojit_stripe.wire.listing.page import Body, Page, Raw, heads_of, keeps

__all__ = ["CURSORS", "PAGE_CAP", "Cursor", "page_size_of"]

PAGE_CAP: Final = 20
"""Pages that `paginate: page` follows at most while a client-side filter finds too little."""

CURSORS: Final = ("limit", "starting_after", "ending_before", "page")
"""The parameters that say where in a list a page is; a reader sets them itself."""

_LARGEST_PAGE: Final = 100


def page_size_of(plan: ListPlan) -> int:
    return min(plan.page_size, _LARGEST_PAGE)


class Cursor:
    """The state of one list while it is read: ask for `next_request`, `take` its page, until `stopped`."""

    def __init__(self, request: Request, plan: ListPlan, paging: Paging, origin: str, output: Output) -> None:
        self._request = request
        self._plan = plan
        self._origin = origin
        self._output = output
        self._params = {name: value for name, value in request.params.items() if name not in CURSORS}
        self._keeps = keeps(plan.keep)
        self._backwards = plan.style == "cursor" and "ending_before" in request.params
        self._cursor_name = _cursor_name(plan, backwards=self._backwards)
        self._cursor = _text(request.params.get(self._cursor_name))
        self._wanted = _wanted(plan, paging)
        self._max_pages = paging.max_pages or (PAGE_CAP if paging.paginate == "page" else None)
        self._seen = {self._cursor}
        self._limit = self._page_limit(0)
        self._late: list[Raw] = []
        self._next_cursor: str | None = self._cursor
        self._complete = False
        self._error: SpojitError | None = None
        self.tally = Tally()
        self.stopped: StoppedBecause | None = None

    def next_request(self) -> Request:
        params: JsonObject = dict(self._params)
        if self._plan.page_size > 0:
            # Page tokens belong to one page size; ids do not.
            self._limit = self._page_limit(self.tally.fetched) if self._plan.style == "cursor" else self._limit
            params["limit"] = self._limit
        if self._cursor is not None:
            params[self._cursor_name] = self._cursor
        return replace(self._request, params=params)

    def _page_limit(self, have: int) -> int:
        size = page_size_of(self._plan)
        if self._wanted is None or self._keeps:
            return size
        return min(size, self._wanted - have)

    # One page

    def take(self, page: Page, wall: Callable[[], float]) -> None:
        """Use one page and decide whether and where to go on."""
        tally = self.tally
        tally.note(page, wall)
        objects = page.body.objects
        if objects is None:
            self._refuse_shape("is no list")
            return
        tally.pages += 1
        ordered = objects[::-1] if self._backwards else objects
        more, following = self._what_follows(page.body, ordered)
        if more and following is not None and following in self._seen:
            # What came was read before, so it is not taken a second time.
            self._anomaly(f"page {tally.pages} leads back to a page that was read before")
        else:
            self._consume(ordered, more=more, following=following)

    def _refuse_shape(self, what: str) -> None:
        if not self.tally.pages:
            raise ServiceError(f"{self._request.path}: the answer {what}, so it can't be read as one")
        self._anomaly(f"page {self.tally.pages + 1} {what}")

    def _what_follows(self, body: Body, objects: Sequence[Raw]) -> tuple[bool, str | None]:
        """Whether more follows this page, and the cursor of what does; notes what can't be."""
        pages = self.tally.pages
        if self._plan.style == "v2":
            url = body.next_page_url
            if url is None:
                return False, None
            token = self._token_in(url)
            if token is None:
                self._anomaly(f"page {pages} says that the next one is elsewhere ({url!r}), not followed")
            return True, token
        if not isinstance(body.has_more, bool):
            self._anomaly(f"page {pages} does not say whether more follows")
            return False, None
        if not body.has_more:
            return False, None
        if not objects:
            self._anomaly(f"page {pages} is empty and says that more follows")
            return True, None
        following = _text(body.next_page) if self._plan.style == "search" else _id_of(objects[-1])
        if following is None:
            self._anomaly(f"page {pages} says that more follows, but not where")
        return True, following

    def _token_in(self, url: JsonValue) -> str | None:
        """The page token of a v2 `next_page_url`, where that stays at this list."""
        if not isinstance(url, str):
            return None
        try:
            parts = urlsplit(url)
        except ValueError:  # brackets that do not fit, say
            return None
        if (parts.scheme or parts.netloc) and f"{parts.scheme}://{parts.netloc}" != self._origin:
            return None
        if parts.path != self._request.path:
            return None
        tokens = parse_qs(parts.query).get("page", [])
        return tokens[0] if len(tokens) == 1 else None

    def _consume(self, objects: Sequence[Raw], *, more: bool, following: str | None) -> None:
        kept, used = self._select(objects)
        left = used < len(objects)
        self._give(kept)
        self.tally.scanned += used
        if self._plan.style == "cursor":
            last = _id_of(objects[used - 1]) if used else None
            self._next_cursor = last or self._next_cursor
        elif left:
            self.tally.warnings.append("the last page was used in part; next_cursor gives that page again")
            self._next_cursor = self._cursor
        else:
            self._next_cursor = following
        if self.stopped is None:
            self._seen.add(following)
            self._cursor = following
            self._decide(more=more, left=left)

    def _select(self, objects: Sequence[Raw]) -> tuple[Sequence[Raw], int]:
        """What passes the filter, and how many objects of the page were used up."""
        room = len(objects) if self._wanted is None else self._wanted - self.tally.fetched
        if self._keeps is None and len(objects) <= room:
            return objects, len(objects)
        kept: list[Raw] = []
        for index, raw in enumerate(objects):
            if self._keeps is not None and not self._keeps(raw):
                continue
            if len(kept) >= room:
                return kept, index
            kept.append(raw)
        return kept, len(objects)

    def _give(self, kept: Sequence[Raw]) -> None:
        self.tally.fetched += len(kept)
        if self._backwards:
            self._late.extend(kept)
        else:
            self._output.give(kept)

    def _decide(self, *, more: bool, left: bool) -> None:
        if not more and not left:
            self.stopped = "end"
            self._complete = self._plan.style != "search"
            self._next_cursor = None
        elif left or (self._wanted is not None and self.tally.fetched >= self._wanted):
            self.stop("max_items")
        elif self._max_pages is not None and self.tally.pages >= self._max_pages:
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
        self.tally.warnings.append(f"{self._request.path}: {what}; the list is not complete")

    def listing(self) -> Listing:
        self._output.give(self._late[::-1])
        return self.tally.listing(
            self._output.held,
            complete=self._complete,
            as_of=self.tally.date or 0,
            next_cursor=self._next_cursor,
            stopped_because=self.stopped or "end",
            error=self._error,
        )


def _id_of(raw: Raw) -> str | None:
    return _text(heads_of([raw])[0].id)


def _wanted(plan: ListPlan, paging: Paging) -> int | None:
    if paging.paginate == "all":
        return paging.max_items
    return plan.wanted if paging.max_items is None else min(plan.wanted, paging.max_items)


def _cursor_name(plan: ListPlan, *, backwards: bool) -> str:
    if plan.style != "cursor":
        return "page"
    return "ending_before" if backwards else "starting_after"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None

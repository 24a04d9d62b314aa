"""Which way a list is read.

Three ways of paging: v1 lists by the id of the last object (`starting_after`, or
`ending_before` backwards), searches by a `next_page` token, v2 lists by `next_page_url`. All of
a v1 list that can be asked for by `created` is read by several such cursors at once (see
`splitting`), anything else page after page (see `cursor`).

`complete` means that nothing which the filters match, from the start that was given onwards,
was left out: with `starting_after` the list is complete from there on. A search is never
complete, because its index lags writes (Stripe: usually under a minute, up to an hour).

`as_of` is the service's time at the first page. A list that was read in windows of time holds
what was created before `as_of`, which is then two seconds earlier, or where the caller's own
range ends.

`next_cursor` continues the list: as `starting_after` (or `ending_before` when read backwards)
it is the id of the last object looked at, as `page` the token of the page that follows. After
a page that was used in part it is that page's own token, so a few objects come again and none
is lost.

With a sink each page's objects go there in the list's order, and no further page is used
before they were taken. A list read backwards is the exception: its order is known only at its
end, so it is held until then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from spojit_stripe.connector import Listing, ListPlan, Progress, Sink
from spojit_stripe.errors import InputError, SpojitError, UnavailableError
from spojit_stripe.values import Paging, Request
from spojit_stripe.wire.listing.cursor import Cursor
from spojit_stripe.wire.listing.output import Output
from spojit_stripe.wire.listing.page import Page
from spojit_stripe.wire.listing.resuming import digest_of
from spojit_stripe.wire.listing.splitting import Splitting, split_of
from spojit_stripe.wire.listing.watching import Limit, Watch

__all__ = ["Fetch", "read_list"]

Fetch = Callable[[Request], Awaitable[Page]]


def _one_at_a_time() -> int:
    return 1


async def read_list(
    fetch: Fetch,
    request: Request,
    plan: ListPlan,
    paging: Paging,
    progress: Progress | None = None,
    sink: Sink | None = None,
    *,
    origin: str = "https://api.stripe.com",
    scope: str = "",
    in_flight: Callable[[], int] = _one_at_a_time,
    limit: Limit | None = None,
    wall: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> Listing:
    """Read `request` page by page through `fetch`.

    `paginate: page` gives up to `plan.wanted` objects that pass `plan.keep`, `all` everything,
    both at most `paging.max_items`. With a `sink` the objects go there, and `data` is empty.
    `origin` is the scheme and host that a v2 list's `next_page_url` may name, `scope` tells apart
    what the same request means elsewhere (another account, another mode), `in_flight` how
    many requests at once are worth having, `limit` what a `Watcher` is told of the limiter.
    Times: `wall` in Unix seconds, `clock` never goes backwards.

    Raises `InputError` for impossible bounds, what `sink` raises, and what `fetch` raises for
    the first page; a later failure ends the list with what was read, `stopped_because: error`
    and `error`.
    """
    _check(paging)
    output = Output(sink)
    watch = Watch(progress, limit)
    cursor = Cursor(request, plan, paging, origin, output)
    ends = None if paging.deadline_seconds is None else clock() + paging.deadline_seconds
    while cursor.stopped is None:
        try:
            page = await _before(ends, clock, fetch, cursor.next_request())
        except TimeoutError:
            if not cursor.tally.pages:
                text = f"{request.path}: no page came within deadline_seconds ({paging.deadline_seconds})"
                raise UnavailableError(f"{text}; allow more time") from None
            cursor.stop("deadline")
            break
        except SpojitError as error:
            if not cursor.tally.pages:
                raise
            cursor.fail(error)
            break
        split = split_of(request, plan, page) if not cursor.tally.pages and _to_the_end(request, paging) else None
        if split is not None:
            splitting = Splitting(
                fetch,
                request,
                plan,
                split,
                output,
                digest=digest_of(request, plan, f"{origin} {scope}"),
                any_order=paging.order == "any",
                in_flight=in_flight,
                wall=wall,
                watch=watch,
            )
            try:
                return await splitting.read(ends, clock)
            finally:
                splitting.close()
        cursor.take(page, wall)
        watch.tell(cursor.tally, lambda: None)
        if cursor.stopped is None and ends is not None and clock() >= ends:
            cursor.stop("deadline")
    return cursor.listing()


def _to_the_end(request: Request, paging: Paging) -> bool:
    bounded = paging.max_items is not None or paging.max_pages is not None
    placed = "starting_after" in request.params or "ending_before" in request.params
    return paging.paginate == "all" and not bounded and not placed


async def _before(ends: float | None, clock: Callable[[], float], fetch: Fetch, request: Request) -> Page:
    if ends is None:
        return await fetch(request)
    async with asyncio.timeout(max(0.0, ends - clock())):
        return await fetch(request)


def _check(paging: Paging) -> None:
    for name, value in (
        ("max_items", paging.max_items),
        ("max_pages", paging.max_pages),
        ("deadline_seconds", paging.deadline_seconds),
    ):
        if value is not None and value <= 0:
            raise InputError(f"{name}: must be more than 0, got {value}")

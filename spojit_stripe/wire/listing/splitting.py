"""A whole list read by several requests at once, each in its own window of `created`.

The first page, which came without any bound, decides whether and from where: the newest second
that counts is two before the service's clock, because objects may appear a little after their
`created` time. That bound is `as_of`. What was created later is left out of every page.

Order. A page of the newest window that is not finished goes out at once. Any other is put
aside in a file until its turn comes, or goes out at once too in `order: any`.

A failure in one window gives up what is older and still reads what is newer, so that the list
ends without a gap, and `next_cursor` continues it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final, cast

from spojit_stripe.connector import Listing, ListPlan
from spojit_stripe.errors import ServiceError, SpojitError
from spojit_stripe.values import JsonObject, JsonValue, Params, Request, StoppedBecause
from spojit_stripe.wire.listing.cursor import CURSORS, page_size_of
from spojit_stripe.wire.listing.output import Output, Tally
from spojit_stripe.wire.listing.page import Head, Page, Raw, heads_of, keeps
from spojit_stripe.wire.listing.resuming import Notes, Span
from spojit_stripe.wire.listing.spill import Spill
from spojit_stripe.wire.listing.watching import Watch
from spojit_stripe.wire.listing.windows import SKEW, Window, Windows

__all__ = ["Split", "Splitting", "split_of"]

_SETTLED: Final = 2  # seconds before the service's clock
_AHEAD: Final = 60  # an object further ahead of the clock was made under another one, a test clock's
_MOST_RESTARTS: Final = 5  # at one second
_IN_ORDER: Final = 1000  # objects

Fetch = Callable[[Request], Awaitable[Page]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """That a list can be divided: its bounds in whole seconds, `hi` exclusive, and its first page."""

    lo: int | None
    hi: int
    page: Page
    heads: list[Head]


def split_of(request: Request, plan: ListPlan, page: Page) -> Split | None:
    """Whether the list whose first page came can be divided by time, and how; None: it can't.

    Not where all came with that page, where objects say no time or are not in its order, where
    the caller gave no plain range, or where the service does not say its own time.
    """
    bounds = _bounds(request.params)
    objects = page.body.objects
    if not plan.windowed or bounds is None or page.date is None or not objects or page.body.has_more is not True:
        return None
    heads = heads_of(objects)
    if not all(isinstance(head.id, str) and head.id and type(head.created) is int for head in heads):
        return None
    times = [cast("int", head.created) for head in heads]
    if times != sorted(times, reverse=True) or times[0] > page.date + _AHEAD:
        return None
    lo, hi = bounds
    settled = page.date - _SETTLED
    return Split(lo=lo, hi=settled if hi is None else min(hi, settled), page=page, heads=heads)


def _bounds(params: Params) -> tuple[int | None, int | None] | None:
    """The first second of the caller's `created` range and the one after its last; None: it is no such range."""
    given = params.get("created")
    if given is None:
        return None, None
    if not isinstance(given, dict):
        return None
    lows: list[int] = []
    highs: list[int] = []
    for name, value in given.items():
        if name not in ("gt", "gte", "lt", "lte") or not isinstance(value, int) or isinstance(value, bool):
            return None
        (lows if name.startswith("g") else highs).append(value + (name in ("gt", "lte")))
    return max(lows, default=None), min(highs, default=None)


class Splitting:
    """One list while it is read.

    `in_flight` says how many requests are worth having under way; asked before each one.
    """

    def __init__(
        self,
        fetch: Fetch,
        request: Request,
        plan: ListPlan,
        split: Split,
        output: Output,
        *,
        digest: str,
        any_order: bool,
        in_flight: Callable[[], int],
        wall: Callable[[], float],
        watch: Watch,
    ) -> None:
        self._fetch = fetch
        self._request = request
        self._params = {name: value for name, value in request.params.items() if name not in (*CURSORS, "created")}
        self._keeps = keeps(plan.keep)
        self._page_size = page_size_of(plan)
        self._output = output
        self._any_order = any_order
        self._in_flight = in_flight
        self._wall = wall
        self._watch = watch
        self._notes = Notes(output.checkpoint, digest, split.hi) if output.checkpoint is not None else None
        self._as_of = split.hi if self._notes is None else self._notes.as_of
        self._tally = Tally()
        self._tasks: dict[asyncio.Future[Page], Window] = {}
        self._useless: list[asyncio.Future[Page]] = []
        self._stopped: StoppedBecause | None = None
        self._error: SpojitError | None = None
        self._reached: str | None = None  # the last object of the windows that are given out
        self._found = 0  # pages with something on them
        self._newest_first = True  # as far as it was read
        self._passed_once = False  # a window's end was known by that order
        self._spill = Spill(on_disk=not output.holds)
        self._windows = self._begin(split)

    def _begin(self, split: Split) -> Windows:
        """The first window, with the page that came already; what is read of an earlier attempt is among the others."""
        newest = cast("int", split.heads[0].created)
        oldest = cast("int", split.heads[-1].created)
        count, seconds = len(split.heads), max(1, newest - oldest)
        hi = self._as_of
        first, *others = self._planned(split.lo, count, seconds)
        windows = Windows(first, others, newest=min(newest, hi - 1), page_size=self._page_size)
        self._windows = windows
        if first.state == "open":
            self._use(first, split.page, split.heads)
            if all(cast("int", head.created) >= hi for head in split.heads if first.reaches(cast("int", head.created))):
                # What is not another window's is too new, and so is its last object, which may not serve as a cursor.
                first.cursor, first.in_second = None, set()
        else:
            self._tally.note(split.page, self._wall)
            self._found += 1
        for span in self._notes.spans if self._notes is not None else ():
            self._tally.pages += span.pages
            self._tally.scanned += span.scanned
        return windows

    def _planned(self, lo: int | None, count: int, seconds: int) -> list[Window]:
        """The spans that were read by an earlier attempt, and windows for what lies between them."""
        found: list[Window] = []
        hi: int | None = self._as_of
        for span in self._notes.spans if self._notes is not None else ():
            if hi is not None and span.hi < hi:
                found.append(Window(span.hi, hi, hi - 1, count, seconds))
            found.append(self._restored(span, count, seconds))
            hi = span.lo
        if hi is not None and (not found or lo is None or lo < hi):
            found.append(Window(lo, hi, hi - 1, count, seconds))
        return found

    def _restored(self, span: Span, count: int, seconds: int) -> Window:
        window = Window(span.lo, span.hi, span.hi - 1, count, seconds, last_id=span.last_id, pages=span.pages)
        window.state = "ended"
        for lines in cast("Notes", self._notes).rows(span):
            window.aside.append(self._spill.put(lines))
            self._tally.fetched += len(lines)
        return window

    async def read(self, ends: float | None, clock: Callable[[], float]) -> Listing:
        """Read on until every window ended, something failed, or the clock says `ends`.

        Raises what the sink raises, and `ConfigurationError` where nothing can be put aside.
        """
        try:
            while not self._over():
                if ends is not None and clock() >= ends:
                    self._stopped = "deadline"
                    break
                self._start_requests()
                more = self._hand_on()
                left = None if ends is None else max(0.0, ends - clock())
                # What is put aside goes out a page at a time, so that requests are not kept waiting.
                for task in await self._come(0.0 if more else left):
                    self._finish(task)
        finally:
            await self._cancel()
        while self._hand_on():
            await asyncio.sleep(0)
        return self._listing()

    def _over(self) -> bool:
        return not self._tasks and all(window.state != "open" for window in self._windows)

    async def _come(self, seconds: float | None) -> set[asyncio.Future[Page]]:
        """The requests that are answered, once there is one, or after so many seconds."""
        if not self._tasks:
            return set()
        done, _ = await asyncio.wait(self._tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return done

    def close(self) -> None:
        self._spill.close()

    # Requests

    def _start_requests(self) -> None:
        """Give every window its request, and divide windows while there is room for more."""
        room = max(1, min(self._in_flight(), self._windows.at_once(self._found))) - len(self._tasks)
        for window in self._windows.idle() if room > 0 else ():
            if room <= 0:
                return
            self._ask(window)
            room -= 1
        while room > 0:
            window = self._windows.divide()
            if window is None:
                return
            self._ask(window)
            room -= 1

    def _ask(self, window: Window) -> None:
        window.busy = True
        window.asked_lo = window.lo
        created: JsonObject = {} if window.lo is None else {"gte": window.lo}
        created["lt"] = window.at + 1 if window.cursor is None else window.hi
        params: dict[str, JsonValue] = {**self._params, "limit": self._page_size, "created": created}
        if window.cursor is not None:
            params["starting_after"] = window.cursor
        # No task of its own for the wait: the limiter paces inside of `fetch`.
        task = asyncio.ensure_future(self._fetch(replace(self._request, params=params)))
        self._tasks[task] = window

    def _finish(self, task: asyncio.Future[Page]) -> None:
        window = self._tasks.pop(task, None)
        if window is None:
            return  # given up meanwhile
        window.busy = False
        try:
            page = task.result()
        except SpojitError as error:
            again = window.ordered and window.restarts < _MOST_RESTARTS
            if _cursor_is_gone(error) and window.cursor is not None and again:
                window.restart()
            else:
                self._give_up(window, "error", error)
            return
        objects = page.body.objects
        if objects is None:
            self._tally.note(page, self._wall)
            self._anomaly(window, "is no list")
        else:
            self._use(window, page, heads_of(objects))
        self._watch.tell(self._tally, self._windows.remaining)

    # One page

    def _use(self, window: Window, page: Page, heads: Sequence[Head]) -> None:
        tally = self._tally
        tally.note(page, self._wall)
        tally.pages += 1
        more = page.body.has_more
        objects = page.body.objects or ()
        fault = _fault_of(window, heads, more, first=tally.pages == 1)
        if fault is not None:
            self._anomaly(window, fault)
            return
        if not more:
            self._drop_requests(self._windows.absorb(window, window.asked_lo))
        fresh = self._fresh(window, objects, heads)
        tally.scanned += len(fresh)
        found = fresh if self._keeps is None else [(raw, head) for raw, head in fresh if self._keeps(raw)]
        tally.fetched += len(found)
        before = window.at if window.pages else None
        late = _out_of_order(window, heads)
        if late:
            window.ordered = False
            if self._relied_on_order(late):
                self._anomaly(window, "is not newest first, as the pages before it were, so that some may be left out")
                return
        if heads:
            self._found += 1
            self._move(window, heads, fresh=len(fresh))
        kept = [raw for raw, _ in found]
        self._put(window, kept)
        if not more or self._passed(window, heads):
            window.state = "ended"
        if self._notes is not None:
            self._notes.page(window, before, [head for _, head in fresh], [head for _, head in found], kept)

    def _relied_on_order(self, late: int) -> bool:
        """Whether something was left out, or is kept from an earlier attempt, that is right for newest first only."""
        self._newest_first = self._newest_first and late <= SKEW
        relied = self._passed_once and not self._newest_first
        if self._notes is not None:
            relied = relied or bool(self._notes.spans)
            self._notes.forget()
            self._notes = None
        return relied

    def _passed(self, window: Window, heads: Sequence[Head]) -> bool:
        """Whether a page has all that was left of its window: its last object is clearly another window's already.

        Stripe documents its lists to be newest first; so many objects of this one must have kept to that.
        """
        if not heads or not self._newest_first or self._tally.scanned < _IN_ORDER:
            return False
        passed = not window.reaches(cast("int", heads[-1].created) + SKEW)
        self._passed_once = self._passed_once or passed
        return passed

    def _fresh(self, window: Window, objects: Sequence[Raw], heads: Sequence[Head]) -> list[tuple[Raw, Head]]:
        """The objects that are this window's and were not read before."""
        return [
            (raw, head)
            for raw, head in zip(objects, heads, strict=True)
            if window.holds(cast("int", head.created)) and head.id not in window.known
        ]

    def _move(self, window: Window, heads: Sequence[Head], *, fresh: int) -> None:
        if fresh:
            window.restarts = 0
        # What is older than the window was left to another one while the request was under way.
        own = [head for head in heads if window.reaches(cast("int", head.created))]
        at = min([window.at, *(cast("int", head.created) for head in own)])
        if self._tally.pages > 1:
            window.expect(len(own), window.at - at)
        ids = {cast("str", head.id) for head in own if head.created == at}
        window.move(at, ids, cast("str", own[-1].id) if own else window.cursor, cast("str", heads[-1].id))

    def _put(self, window: Window, kept: Sequence[Raw]) -> None:
        if self._any_order or (window is self._windows.front() and not window.aside):
            self._output.give(kept)
        elif kept:
            window.aside.append(self._spill.put(kept))

    def _hand_on(self) -> bool:
        """Give out a page that was put aside, once it is its window's turn; whether there was one."""
        while (front := self._windows.front()) is not None:
            if front.aside:
                self._output.give(self._spill.take(front.aside.popleft()))
                return True
            if front.state != "ended":
                return False
            self._reached = front.last_id or self._reached
            self._windows.drop_front()
        return False

    # The end

    async def _cancel(self) -> None:
        under_way = [*self._tasks, *self._useless]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _anomaly(self, window: Window, what: str) -> None:
        self._tally.warnings.append(f"{self._request.path}: page {self._tally.pages} {what}; the list is not complete")
        self._give_up(window, "anomaly", None)

    def _give_up(self, window: Window, why: StoppedBecause, error: SpojitError | None) -> None:
        """End the list with `window`; in any order nothing is without a gap, so all ends."""
        window.state = "failed"
        self._stopped, self._error = why, error
        self._drop_requests(self._windows.end_after(window))
        if self._any_order:
            self._drop_requests(self._windows)
            for each in self._windows:
                each.state = "failed"

    def _drop_requests(self, windows: Iterable[Window]) -> None:
        dropped = set(windows)
        for task, window in list(self._tasks.items()):
            if window in dropped:
                task.cancel()
                del self._tasks[task]
                self._useless.append(task)

    def _listing(self) -> Listing:
        complete = self._stopped is None
        front = self._windows.front()
        reached = (front and front.last_id) or self._reached
        if not complete and self._any_order:
            self._tally.warnings.append("in `order: any` what is missing has no one place; read the list again")
        self._tally.fetched = self._output.given  # what was given up after it came does not count
        return self._tally.listing(
            self._output.held,
            complete=complete,
            as_of=self._as_of,
            next_cursor=None if complete or self._any_order else reached,
            stopped_because=self._stopped or "end",
            error=self._error,
        )


def _fault_of(window: Window, heads: Sequence[Head], more: JsonValue, *, first: bool) -> str | None:
    """What makes a page one that can't be trusted."""
    if not isinstance(more, bool):
        return "does not say whether more follows"
    if not heads:
        return "is empty and says that more follows" if more else None
    if not all(isinstance(head.id, str) and head.id and type(head.created) is int for head in heads):
        return "has an object without an id or a time"
    if first:
        return None
    if any(cast("int", head.created) >= window.hi for head in heads):
        return "has objects from outside of the range that was asked for"
    if more and heads[-1].id in window.ends:
        return "leads back to a page that was read before"
    return None


def _out_of_order(window: Window, heads: Sequence[Head]) -> int:
    """By how many seconds an object of the page comes too late; 0 for newest first, as a cursor reads it."""
    times = [cast("int", head.created) for head in heads]
    if window.pages and window.cursor is not None:
        times.insert(0, window.at)
    return max((time - least for time, least in zip(times, accumulate(times, min), strict=True)), default=0)


def _cursor_is_gone(error: SpojitError) -> bool:
    if not isinstance(error, ServiceError):
        return False
    problem = error.problem
    return problem.code == "resource_missing" and problem.param == "starting_after"

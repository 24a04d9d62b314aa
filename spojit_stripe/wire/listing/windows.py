"""How a list is divided by `created` among requests that run side by side. Pure.

A window is a span of whole seconds, read newest first by a cursor of its own. Whoever has
nothing to do takes the older half of the window in which most is expected to be left: of the
widest one, where objects are spread evenly. The oldest window is open-ended. How far back it
goes is not known, so it counts as a multiple of what lies before it, and each division of it
reaches several times further back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from spojit_stripe.wire.listing.spill import Segment

__all__ = ["SKEW", "Window", "Windows"]

SKEW: Final = 10  # seconds; what was made so close together may stand in any order, as clocks differ

_EARLIEST: Final = 1_262_304_000  # 2010-01-01: Stripe has nothing older
_REACH: Final = 8  # times as far as what lies before it, the open end is expected to go
_STEP: Final = 0.2  # times as far as what lies before it, the open end is moved at once
_LEAST_STEP: Final = 8  # pages
_TRUSTED: Final = 1000  # pages; how far ahead of what was read the open end is moved on trust
# Pages expected to be left after the one under way, to divide a window. What little is left costs a request
# in any case, unless it was a wrong guess.
_WORTH: Final = 0.3
_FEW: Final = 3.0  # pages with the one under way, of which that one is all that a window keeps
# A window keeps a whole number of pages, as far as can be told, and a little less, so that the
# last one is neither half empty nor followed by one with a handful of objects.
_LESS: Final = 0.05  # of a page
_YEAR: Final = 365 * 86_400  # seconds that a list goes back at least, where nothing says how far
_LONG: Final = 100  # pages expected from the first one
_RAMP: Final = 1  # requests at once for each page that came, of a list that may be short
_ANY: Final = 1_000


@dataclass(slots=True, eq=False)
class Window:
    """Seconds from `lo` (None: the beginning) up to, without, `hi`; nothing newer than `at` is unread.

    `cursor` is the last object that was read, None where the next page is the first. `ends` are
    the last objects of all pages since. `in_second` are the ids read of second `at`, `known`
    those to leave out: a cursor whose object was deleted is set anew at the beginning of its
    second. `aside` is what came before its turn.
    """

    lo: int | None
    hi: int
    at: int
    count: float  # objects seen, and the seconds they were spread over
    seconds: float
    late: float = 0.0
    cursor: str | None = None
    last_id: str | None = None  # the cursor, or what it was
    ends: set[str] = field(default_factory=set[str])
    in_second: set[str] = field(default_factory=set[str])
    known: set[str] = field(default_factory=set[str])
    aside: deque[Segment] = field(default_factory=deque[Segment])
    pages: int = 0
    ordered: bool = True  # newest first, as far as it was read: only then `at` tells what is unread
    restarts: int = 0
    asked_lo: int | None = None  # `lo` when the request under way was made
    busy: bool = False
    state: Literal["open", "ended", "failed"] = "open"

    @property
    def rate(self) -> float:
        """Objects in a second, as far as can be told: of late, or of all that was read, whatever is more."""
        return max(self.count / self.seconds, self.late)

    def holds(self, created: int) -> bool:
        return created < self.hi and self.reaches(created)

    def reaches(self, created: int) -> bool:
        return self.lo is None or created >= self.lo

    def unread_down_to(self, lo: int | None) -> bool:
        """Nothing came of it yet, and it ends at or above `lo`."""
        inside = lo is None or (self.lo is not None and self.lo >= lo)
        return not self.pages and self.state != "failed" and inside

    def move(self, at: int, ids: set[str], cursor: str | None, end: str) -> None:
        """A page that ends with `end` was read down to second `at`, in which it has `ids`, as far as `cursor`."""
        if at == self.at and self.pages:
            self.in_second |= ids
        else:
            self.in_second, self.known = ids, set()
        self.at = at
        self.cursor = cursor
        self.last_id = cursor or self.last_id
        self.ends.add(end)
        self.pages += 1

    def expect(self, count: int, seconds: int) -> None:
        self.count += count
        self.seconds += max(1, seconds)
        self.late = count / max(1, seconds)

    def restart(self) -> None:
        """The cursor's object is gone: go on at the second it was in."""
        self.cursor = None
        self.ends = set()
        self.known |= self.in_second
        self.in_second = set()
        self.restarts += 1


class Windows:
    """The windows of one list that are not given out yet, newest first.

    The first one begins with a page of `count` objects, from `newest` down to the window's `at`;
    the others are those of a list that is taken up again, which was found to be long.
    """

    def __init__(self, first: Window, others: Sequence[Window] = (), *, newest: int, page_size: int) -> None:
        self._all = [first, *others]
        self._newest = newest
        self._page_size = page_size
        expected = _YEAR if first.lo is None else self._seconds_left(first)
        self._long = bool(others) or first.rate * expected >= _LONG * page_size

    def __iter__(self) -> Iterator[Window]:
        return iter(self._all)

    def front(self) -> Window | None:
        """The newest one that is not given out."""
        return self._all[0] if self._all else None

    def drop_front(self) -> None:
        del self._all[0]

    def end_after(self, window: Window) -> list[Window]:
        """Give up everything older than `window`."""
        place = self._all.index(window) + 1
        given_up = self._all[place:]
        del self._all[place:]
        return given_up

    def absorb(self, window: Window, lo: int | None) -> list[Window]:
        """Take back what was given off and not read yet: an answer told of all down to `lo`."""
        place = self._all.index(window) + 1
        end = place
        while end < len(self._all) and self._all[end].unread_down_to(lo):
            end += 1
        absorbed = self._all[place:end]
        if absorbed:
            window.lo = absorbed[-1].lo
            del self._all[place:end]
        return absorbed

    def remaining(self) -> int:
        """Objects that are expected to be unread still. A guess, and no more than that."""
        return round(sum(window.rate * self._seconds_left(window) for window in self._all if window.state == "open"))

    def at_once(self, pages: int) -> int:
        """How many requests to have under way at most, once so many pages had something on them.

        A short list must not cost many requests more than it has pages, and one of two pages none.
        What looks long, by how close together the objects of its first page are, is divided
        boldly from the beginning.
        """
        return _ANY if self._long else _RAMP * pages

    def idle(self) -> list[Window]:
        """Windows without a request under way: the newest one, which gives out as it reads, then by what is left.

        Pages of a window come one after another, so the last answer is that of a window begun too late.
        """
        found = [window for window in self._all if window.state == "open" and not window.busy]
        return found[:1] + sorted(found[1:], key=self._pages_left, reverse=True)

    def divide(self) -> Window | None:
        """A new window out of an old one, or None where no division is worth a request."""
        best, most = None, 0.0
        for window in self._all:
            pages = self._pages_left(window)
            if pages > most and pages >= _WORTH and self._may_divide(window):
                best, most = window, pages
        return None if best is None else self._divide(best)

    def _may_divide(self, window: Window) -> bool:
        """A window of which nothing was read is a guess; only the open end is guessed about further."""
        if window.pages:
            return True
        before = window.rate * (self._newest - window.at)
        return window.lo is None and before < _TRUSTED * self._page_size

    def _divide(self, window: Window) -> Window:
        seconds = self._seconds_left(window)
        rate = window.rate
        page = self._page_size / rate  # in seconds
        keep = max(1, seconds // 2)
        if window.lo is None:
            keep = max(1, min(keep, int(max(_STEP * (self._newest - window.at), _LEAST_STEP * page))))
        whole = round(keep / page)
        if window.busy and window.lo is not None and page > 2 * SKEW and seconds < _FEW * page:
            # The page under way was asked for without this end, so it comes whole and goes past it: none need follow.
            keep = max(1, min(int(page) - SKEW, seconds))
        elif whole:
            keep = max(1, min(int((whole - _LESS) * page), seconds))
        middle = window.at - keep + 1
        older = Window(window.lo, middle, middle - 1, self._page_size, page)
        window.lo = middle
        self._all.insert(self._all.index(window) + 1, older)
        return older

    def _pages_left(self, window: Window) -> float:
        seconds = self._seconds_left(window) if window.state == "open" else 0
        if seconds < 1:
            return 0.0
        return window.rate * seconds / self._page_size - (1.0 if window.busy else 0.0)

    def _seconds_left(self, window: Window) -> int:
        """Whole seconds of `window` below the one that is being read."""
        if window.lo is not None:
            return max(0, window.at - window.lo)
        reach = _REACH * (self._newest - window.at + 1)
        return max(0, min(reach, window.at - _EARLIEST))

"""A list that goes on where another process was killed.

A sink may offer a checkpoint. Then each page of a divided list is noted there: the rows of
its window, and the seconds down to which nothing of that window is unread. Whoever reads the
same list again begins with those spans of time, and divides only what lies between them. The
list keeps the `as_of` that it began with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import cast

from spojit_stripe.connector import ListPlan
from spojit_stripe.values import JsonObject, Request
from spojit_stripe.wire.listing.cursor import CURSORS
from spojit_stripe.wire.listing.output import Checkpoint
from spojit_stripe.wire.listing.page import Head, Raw, line_of
from spojit_stripe.wire.listing.windows import Window

__all__ = ["Notes", "Span", "digest_of"]


def digest_of(request: Request, plan: ListPlan, origin: str) -> str:
    """What tells lists apart; not how they are paged."""
    params = {name: value for name, value in request.params.items() if name not in CURSORS}
    said = [origin, request.path, request.account, request.api_version, params, dict(plan.keep)]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds from `lo` (None: the beginning) up to, without, `hi`, all of which part `part` holds."""

    part: int
    lo: int | None
    hi: int
    last_id: str | None
    scanned: int
    pages: int


@dataclass(slots=True)
class _Part:
    number: int
    scanned: int = 0
    pages: int = 0
    last_id: str | None = None


class Notes:
    """What is noted of one list, and what was noted before: `spans`, newest first."""

    def __init__(self, checkpoint: Checkpoint, digest: str, as_of: int) -> None:
        self._checkpoint = checkpoint
        self.as_of, marks = checkpoint.open(digest, as_of)
        found = [Span(part=part, **mark) for part, mark in marks.items()]  # type: ignore[arg-type]  # as `page` made it
        self.spans = _apart(found)
        self._numbers = count(max(marks, default=0) + 1)
        self._parts: dict[Window, _Part] = {}

    def forget(self) -> None:
        """The list is not newest first, so seconds don't tell what was read."""
        self._checkpoint.remove()

    def rows(self, span: Span) -> Iterator[list[bytes]]:
        return self._checkpoint.rows(span.part)

    def page(
        self, window: Window, before: int | None, fresh: Sequence[Head], found: Sequence[Head], kept: Sequence[Raw]
    ) -> None:
        """Note a page that `window` has used; `before` is how far it was read until then.

        `fresh` are its objects, `found` those of them that are kept, and `kept` what they say.
        More may come of the second that it reached, which therefore does not count yet.
        """
        part = self._parts.get(window)
        if part is None:
            part = self._parts[window] = _Part(next(self._numbers))
        part.pages += 1
        ended = window.state == "ended"
        low = window.lo if ended else window.at + 1
        above = [head for head in fresh if low is None or cast("int", head.created) >= low]
        last_id = cast("str", above[-1].id) if above else part.last_id
        mark: JsonObject | None = None
        if ended or (window.at != before and window.at + 1 < window.hi):
            scanned = part.scanned + len(above)
            mark = {"lo": low, "hi": window.hi, "last_id": last_id, "scanned": scanned, "pages": part.pages}
        sure = 0
        if mark is not None:
            sure = sum(low is None or cast("int", head.created) >= low for head in found)
        lines = [line_of(raw) for raw in kept]
        self._checkpoint.note(part.number, mark, lines[:sure], lines[sure:])
        part.scanned += len(fresh)
        if fresh:
            part.last_id = cast("str", fresh[-1].id)
        if ended:
            del self._parts[window]


def _apart(spans: Sequence[Span]) -> list[Span]:
    """The spans, newest first, without those inside of another: a window may take back an empty one."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: (-span.hi, span.part)):
        if not found or (found[-1].lo is not None and span.hi <= found[-1].lo):
            found.append(span)
    return found

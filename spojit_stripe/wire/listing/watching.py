"""What whoever watches a list being read is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from spojit_stripe.connector import Progress
from spojit_stripe.wire.listing.output import Tally

__all__ = ["Limit", "Watch", "Watcher"]

Limit = Callable[[], tuple[float, bool]]
"""Requests per second at the moment, and whether the service asked for fewer than usual."""


@runtime_checkable
class Watcher(Protocol):
    """A `Progress` that wants to know more than what came."""

    def expect(self, left: int | None, per_second: float, slowed: bool) -> None:
        """About how many objects are still to come (None: nobody can tell), and the limiter's pace; told first."""
        ...


class Watch:
    """Tells `progress`, if there is one, after each page."""

    def __init__(self, progress: Progress | None, limit: Limit | None) -> None:
        self._progress = progress
        self._watcher = progress if isinstance(progress, Watcher) else None
        self._limit = limit

    def tell(self, tally: Tally, left: Callable[[], int | None]) -> None:
        if self._progress is None:
            return
        if self._watcher is not None and self._limit is not None:
            per_second, slowed = self._limit()
            self._watcher.expect(left(), per_second, slowed)
        self._progress(tally.fetched, tally.scanned, tally.pages)

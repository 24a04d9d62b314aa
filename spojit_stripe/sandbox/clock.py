"""The sandbox's time: the only source of timestamps.

Either it runs with the wall clock, shifted by what tests have advanced it, or it
stands still at a given instant until it is advanced. Seconds since 1970, UTC.
"""

import time


class Clock:
    """Time in seconds. `frozen_at` stops it; without it, it runs."""

    def __init__(self, frozen_at: float | None = None, shift: float = 0.0) -> None:
        self._frozen_at = frozen_at
        self.shift = shift

    @property
    def frozen(self) -> bool:
        """Whether time only passes by `advance`."""
        return self._frozen_at is not None

    def exact(self) -> float:
        """Now, with fractions of a second."""
        return (time.time() if self._frozen_at is None else self._frozen_at) + self.shift

    def now(self) -> int:
        """Now, in whole seconds, as Stripe's timestamps are."""
        return int(self.exact())

    def advance(self, seconds: float) -> None:
        """Move time; backwards too, for clock jumps."""
        self.shift += seconds

    def set(self, instant: float) -> None:
        """Make it `instant` now."""
        self.shift += instant - self.exact()

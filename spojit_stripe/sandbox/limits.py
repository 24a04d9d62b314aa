"""Rate limits: at most so many requests in any second, off unless they are set."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from spojit_stripe.sandbox.errors import rate_limited


@dataclass
class Limits:
    """Requests per second of an account; None is no limit. `concurrency` counts those under way."""

    account: float | None = None
    endpoint: float | None = None
    search: float | None = None
    concurrency: int | None = None
    endpoint_concurrency: int | None = None
    clock: Callable[[], float] = time.monotonic
    _seen: dict[tuple[int, str], deque[float]] = field(default_factory=lambda: {})

    def admit(self, scope: int, operation: str, *, search: bool, under_way: int, alike: int = 0) -> None:
        """Count a request, or refuse it with the reason that Stripe names; refused ones don't count."""
        if self.concurrency is not None and under_way >= self.concurrency:
            raise rate_limited("global-concurrency")
        if self.endpoint_concurrency is not None and alike >= self.endpoint_concurrency:
            raise rate_limited("endpoint-concurrency")
        limits = [(self.account, "", "global-rate"), (self.endpoint, operation, "endpoint-rate")]
        if search:
            limits.append((self.search, "search", "endpoint-rate"))
        now = self.clock()
        counted: list[deque[float]] = []
        for limit, name, reason in limits:
            if limit is None:
                continue
            seen = self._seen.setdefault((scope, name), deque())
            while seen and seen[0] <= now - 1:
                seen.popleft()
            if len(seen) >= limit:
                raise rate_limited(reason)
            counted.append(seen)
        for seen in counted:
            seen.append(now)

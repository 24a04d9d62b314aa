"""When an attempt is repeated, and what it tells about a write. Pure; sends and sleeps nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from spojit_stripe.wire.faults import Reply, fault_of, is_rate_limited

__all__ = ["Finding", "Retries", "RetryRule", "Trouble", "judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRule:
    """How long to go on. Times in seconds.

    The wait before the nth retry is random between 0 and `base` x 2^(n-1), at most `cap`, and
    at least what `Retry-After` says. No retry begins later than `deadline` after the first
    attempt; an attempt that has begun keeps its own timeouts.
    `connect_attempts` bounds attempts that never reached the service: those fail fast.
    """

    attempts: int = 8
    connect_attempts: int = 3
    base: float = 0.5
    cap: float = 8.0
    deadline: float = 180.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """An attempt without an answer. `sent`: the request may have arrived."""

    text: str
    sent: bool
    retry: bool = True
    configuration: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What an attempt that brought no result tells.

    `unsure` says why a write may have taken effect. `settles`: an answer that holds for every
    attempt under the same key.
    """

    retry: bool
    unsure: str | None = None
    settles: bool = False


# Refused before the key was looked at, so they say nothing about an earlier attempt.
_NOT_ABOUT_THE_KEY: Final = frozenset({401, 403, 407, 408, 409, 425, 429})


def judge(outcome: Reply | Trouble) -> Finding:
    """What to make of an attempt that brought no usable 2xx answer."""
    if isinstance(outcome, Trouble):
        return Finding(retry=outcome.retry, unsure=outcome.text if outcome.sent else None)
    status = outcome.status
    if 200 <= status < 300:
        return Finding(retry=True, unsure=f"the answer (HTTP {status}) was cut off or no JSON")
    if status >= 500:
        return _judge_failure(outcome)
    fault = fault_of(outcome)
    wish = outcome.should_retry
    if fault is not None and fault.get("code") == "approval_required":
        return Finding(retry=False)  # Stripe keeps the request until people have decided, and then carries it out
    if status == 408:
        return Finding(retry=wish is not False, unsure="the service gave up waiting (HTTP 408)")
    if status == 409:
        in_use = fault is not None and fault.get("code") == "idempotency_key_in_use"
        unsure = "an attempt under the same key is still at work (HTTP 409)" if in_use else None
        return Finding(retry=wish is not False, unsure=unsure)
    if is_rate_limited(outcome):
        return Finding(retry=wish is not False)
    about_key = fault is not None and fault.get("type") != "idempotency_error"
    settles = about_key and status >= 400 and status not in _NOT_ABOUT_THE_KEY
    return Finding(retry=wish is True, settles=settles)


def _judge_failure(reply: Reply) -> Finding:
    if reply.replayed:
        # Stripe saved this answer with the key and gives it for a day: asking again is no use.
        return Finding(retry=False, unsure=f"Stripe replays its failure under this key (HTTP {reply.status})")
    return Finding(retry=reply.should_retry is not False, unsure=f"the service failed (HTTP {reply.status})")


class Retries:
    """Counts the attempts of one request and says how long to wait before the next.

    `clock` gives seconds that never go backwards, `wall` Unix seconds, `random` 0 to 1.
    """

    def __init__(
        self,
        rule: RetryRule,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._rule = rule
        self._clock = clock
        self._wall = wall
        self._random = random
        self._ends = 0.0
        self._unreached = 0
        self.attempts = 0

    def begin(self) -> None:
        """An attempt is sent now; the first one starts the clock, not the wait for the limiter."""
        if not self.attempts:
            self._ends = self._clock() + self._rule.deadline
        self.attempts += 1

    def wait(self, outcome: Reply | Trouble) -> float | None:
        """Seconds to wait before another attempt, or None where it is to be the last."""
        rule = self._rule
        if isinstance(outcome, Trouble) and not outcome.sent:
            self._unreached += 1
        if self.attempts >= rule.attempts or self._unreached >= rule.connect_attempts:
            return None
        seconds = self._random() * min(rule.cap, rule.base * 2 ** (self.attempts - 1))
        if isinstance(outcome, Reply):
            seconds = max(seconds, _retry_after(outcome, self._wall))
        return seconds if self._clock() + seconds <= self._ends else None


def _retry_after(reply: Reply, wall: Callable[[], float]) -> float:
    """Seconds that `Retry-After` asks for, given as a number or as a date; 0 without it."""
    value = reply.header(b"retry-after")
    if value is None:
        return 0.0
    try:
        return max(0.0, float(value)) if value.strip().replace(".", "", 1).isdigit() else _seconds_until(value, wall)
    except (ValueError, OverflowError):
        return 0.0


def _seconds_until(date: str, wall: Callable[[], float]) -> float:
    return max(0.0, parsedate_to_datetime(date).timestamp() - wall())

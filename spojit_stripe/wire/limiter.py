"""Requests paced to what Stripe allows, over everything this process sends for one account.

Stripe's documented limits: 100 requests/s live and 25/s in a sandbox per account, 25/s per
endpoint (method and path template), 20/s over all search endpoints
(https://docs.stripe.com/rate-limits). A 429 names its limit in `Stripe-Rate-Limited-Reason`.

Reads yield to writes: a write goes out in the next slot, even where reads wait for it already,
and one of them waits again.

Nothing here sleeps or knows an event loop: a request asks its `Lane` for delays and its
caller sleeps. So wires in several threads and event loops can share one limiter.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from math import ceil
from typing import Final

from spojit_stripe.connection import Limits
from spojit_stripe.values import Mode

__all__ = ["Lane", "Limiter", "shared_limiter"]

_ACCOUNT_RATE: Final[dict[Mode, float]] = {"live": 100.0, "test": 25.0}
_ENDPOINT_RATE: Final = 25.0
_SEARCH_RATE: Final = 20.0

# A little under the limit: what leaves a second and 15 ms apart arrives a second apart, nearly always.
_MARGIN: Final = 0.985
_SLOWED: Final = 0.85  # of the rate, after a 429
_NARROWED: Final = 0.7  # of the requests at once, after a 429 for those
_LOWEST: Final = 0.1  # of the limit
# Of the limit, a second. A single 429 tells of a network that wavered; the next one soon after
# it tells that the limit is lower than it was said to be.
_RECOVERED_AFTER_ONE: Final = 0.15
_RECOVERED_AFTER_MORE: Final = 0.05
_SOON: Final = 10.0  # seconds
_CONCURRENCY_WAIT: Final = 0.05  # seconds until asking again for a place in flight
# Slots that passed unused are made up for within the second that Stripe counts, at most at twice
# the pace. While Stripe asks for less than usual, only what a busy process was late for is.
_CATCH_UP: Final = 1.0  # seconds
_CATCH_UP_SLOWED: Final = 0.1
_HURRY: Final = 0.5  # of the time between two slots
_A_MOMENT: Final = 1e-6  # of the time between two slots: a slot that is now has been used
_LATE: Final = 0.002  # seconds
_MOMENT: Final = 1e-4  # seconds: less than clocks waver
_MOST_AT_ONCE: Final = 64
_SPARE: Final = 1.05  # times what rate x latency needs, for answers that take longer
_ALONE: Final = 0.3  # of a request in flight
_LATEST: Final = 0.1  # weight of the latest answer in the latency
_MAX_ENDPOINTS: Final = 2000

Clock = Callable[[], float]


class _Gate:
    """One limit: evenly spaced slots, and once Stripe asks for it a bound on requests in flight.

    A process that was held up wakes to several slots at once, and a list begins with one request
    whose answer says what to ask for next. So slots may be late, and no more requests than the
    limit leave in any one second, whenever their slots were.
    """

    __slots__ = (
        "_cap",
        "_changed",
        "_clock",
        "_factor",
        "_latest",
        "_left",
        "_lock",
        "_most",
        "_next",
        "_owed",
        "_recovery",
        "_step",
        "_taken",
        "in_flight",
    )

    def __init__(self, rate: float, clock: Clock) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._step = 1.0 / (rate * _MARGIN)
        self._most = max(1, int(rate))
        self._left = deque[float]()  # when the requests of the last second left
        self._next = 0.0
        self._latest = 0.0  # when the last slot that was given out is used
        self._factor = 1.0  # of the rate, at the time `_changed`
        self._cap: int | None = None
        self._changed = -_SOON
        self._recovery = _RECOVERED_AFTER_ONE
        self._taken = 0.0  # the latest slot that a write took from a read
        self._owed = 0  # such slots whose read has not noticed yet
        self.in_flight = 0

    @property
    def rate(self) -> float:
        """Requests per second at the moment."""
        with self._lock:
            return self._factor_now(self._clock()) / self._step

    @property
    def slowed(self) -> bool:
        with self._lock:
            now = self._clock()
            fewer = self._cap is not None and self._cap_now(now) < _MOST_AT_ONCE
            return fewer or self._factor_now(now) < 1.0

    def set_rate(self, rate: float) -> None:
        with self._lock:
            self._step = 1.0 / (rate * _MARGIN)
            self._most = max(1, int(rate))

    def reserve(self) -> float:
        """Take the next free slot; the seconds until it."""
        with self._lock:
            return self._append(self._clock())

    def reserve_first(self) -> float:
        """Take the next slot that no write has, whoever waits for it; the seconds until it."""
        with self._lock:
            now = self._clock()
            step = self._step_now(now)
            waiting = max(0, ceil((self._next - now) / step - _A_MOMENT) - 1)
            slot = max(self._next - step * waiting, self._taken + step, now)
            if slot + step / 2 >= self._next:
                if self._latest <= slot:
                    return self._append(now)
                # The reads that wait make up for slots which passed; one more of those is not theirs.
                self._next += step
                self._taken = slot
                return slot - now
            self._taken = slot
            self._owed += 1
            return slot - now

    def taken(self) -> float:
        """For a read whose slot has come: seconds until another one, if a write took it; else 0."""
        with self._lock:
            if not self._owed:
                return 0.0
            self._owed -= 1
            return self._append(self._clock())

    def _append(self, now: float) -> float:
        # Slots that passed a moment ago are made up for; those of a longer silence are lost.
        step = self._step_now(now)
        late = _CATCH_UP if step == self._step else _CATCH_UP_SLOWED
        slot = now if self._next < now - late else self._next
        self._next = slot + step
        self._latest = max(slot, now, self._latest + step * _HURRY)
        return self._latest - now

    def _step_now(self, now: float) -> float:
        return self._step if self._factor == 1.0 else self._step / self._factor_now(now)

    @property
    def due(self) -> int:
        """How many slots have passed unused that are still to be made up for."""
        with self._lock:
            late = self._clock() - self._next
            return int(late / self._step) if self._factor == 1.0 and 0.0 < late <= _CATCH_UP else 0

    @property
    def places(self) -> int:
        """How many requests at once it lets through."""
        with self._lock:
            return _MOST_AT_ONCE if self._cap is None else self._cap_now(self._clock())

    def try_enter(self) -> float:
        """Count one more request in flight, 0; or the seconds until asking again, where there are too many."""
        with self._lock:
            now = self._clock()
            if self._cap is not None and self.in_flight >= self._cap_now(now):
                return _CONCURRENCY_WAIT
            left = self._left
            whole = self._step * self._most  # a second, or what so few requests take
            while left and left[0] + whole <= now + _MOMENT:
                left.popleft()
            if len(left) >= self._most:
                return left[0] + whole - now
            left.append(now)
            self.in_flight += 1
            return 0.0

    def back_out(self) -> None:
        """The request that entered last does not go after all."""
        with self._lock:
            self._left.pop()
            self.in_flight -= 1

    def left(self, late: float) -> None:
        """The request that entered `late` seconds ago is on its way only now, and counts from now on."""
        with self._lock:
            now = self._clock()
            place = bisect_right(self._left, now - late)
            if place:
                del self._left[place - 1]
            self._left.append(now)

    def leave(self) -> None:
        with self._lock:
            self.in_flight -= 1

    def slow_down(self) -> None:
        """Stripe said 429 for this rate: go on slower, and not at once."""
        with self._lock:
            now = self._clock()
            if self._settling(now):
                return  # the requests that were in flight together are one fault, not many
            self._recovery = _RECOVERED_AFTER_MORE if now - self._changed < _SOON else _RECOVERED_AFTER_ONE
            self._factor = max(_LOWEST, self._factor_now(now) * _SLOWED)
            if self._cap is not None:
                self._cap = self._cap_now(now) if self._cap_now(now) < _MOST_AT_ONCE else None
            self._changed = now
            self._next = max(self._next, now + self._step / self._factor)

    def narrow(self) -> None:
        """Stripe said 429 for too many at once: keep fewer in flight."""
        with self._lock:
            now = self._clock()
            if self._settling(now):
                return
            current = self.in_flight if self._cap is None else min(self.in_flight, self._cap_now(now))
            self._cap = max(1, int(current * _NARROWED))
            self._factor = self._factor_now(now)
            self._changed = now

    def idle(self, now: float) -> bool:
        return self.in_flight == 0 and self._next <= now and self._factor_now(now) == 1.0

    def _settling(self, now: float) -> bool:
        return (self._factor < 1.0 or self._cap is not None) and now - self._changed < 1.0

    def _factor_now(self, now: float) -> float:
        if self._factor < 1.0:
            recovered = self._factor + self._recovery * (now - self._changed)
            if recovered >= 1.0:
                self._factor = 1.0
            return min(1.0, recovered)
        return 1.0

    def _cap_now(self, now: float) -> int:
        # One more a second, for as long as nothing complains.
        return (self._cap or 0) + int(now - self._changed)


class Lane:
    """The gates of one endpoint. Use it once per request::

    for seconds in lane.delays():
        await sleep(seconds)
    try:
        ...  # send
    finally:
        lane.leave()
    """

    __slots__ = ("_account", "_endpoint", "_gates", "_latency", "_search", "_write")

    def __init__(self, endpoint: _Gate, search: _Gate | None, account: _Gate, *, write: bool = False) -> None:
        self._write = write
        self._latency = 0.0  # seconds from sending a request to its answer, of late
        self._endpoint = endpoint
        self._search = search
        self._account = account
        # The narrow gates first: a queue before one endpoint must not hold slots of the account.
        self._gates = (endpoint, account) if search is None else (endpoint, search, account)

    def delays(self) -> Iterator[float]:
        """Seconds to sleep, one after another, until the request may be sent; none when free.

        The request counts as in flight once this is exhausted, and not before.
        """
        for gate in self._gates:
            seconds = gate.reserve_first() if self._write else gate.reserve()
            while seconds > 0:
                yield seconds
                seconds = 0.0 if self._write else gate.taken()
        while (seconds := self._enter()) > 0:
            yield seconds

    def _enter(self) -> float:
        for place, gate in enumerate(self._gates):
            seconds = gate.try_enter()
            if seconds > 0:
                for entered in self._gates[:place]:
                    entered.back_out()
                return seconds
        return 0.0

    def pace(self) -> tuple[float, bool]:
        """Requests per second at the moment, by the narrowest limit, and whether Stripe asked for fewer than usual."""
        return min(gate.rate for gate in self._gates), any(gate.slowed for gate in self._gates)

    def left(self, late: float) -> None:
        """The request is on its way, `late` seconds after it might have been: a connection had to be made."""
        if late > _LATE:
            for gate in self._gates:
                gate.left(late)

    def took(self, seconds: float) -> None:
        """An answer came so long after its request was sent."""
        known = self._latency
        self._latency = seconds if known == 0.0 else known + _LATEST * (seconds - known)

    def worth(self) -> int:
        """How many requests at once the rate is reached with: rate x latency, and a little more.

        One where the answer comes before the next request may go. More while slots have passed
        that are still to be made up for.
        """
        needed = self.pace()[0] * self._latency
        if needed < _ALONE:
            return 1
        most = min(gate.places for gate in self._gates)
        due = min(gate.due for gate in self._gates)
        return max(1, min(_MOST_AT_ONCE, most, ceil(needed * _SPARE) + 1 + due))

    def leave(self) -> None:
        """The request is over, however it ended."""
        for gate in self._gates:
            gate.leave()

    def limited(self, reason: str | None, *, lock: bool = False) -> None:
        """Stripe answered 429. `reason` is its `Stripe-Rate-Limited-Reason`.

        `lock`: the error's code was `lock_timeout`, which says nothing about rates.
        """
        if reason == "global-rate":
            self._account.slow_down()
        elif reason == "global-concurrency":
            self._account.narrow()
        elif reason == "endpoint-concurrency":
            self._endpoint.narrow()
        elif reason == "endpoint-rate" or (reason is None and not lock):
            # Without a reason the endpoint's limit is the likelier one: it is the lower.
            (self._search or self._endpoint).slow_down()


class Limiter:
    """The limits of one account. Safe to use from several threads and event loops.

    `clock` gives seconds that never go backwards.
    """

    def __init__(self, mode: Mode, limits: Limits | None = None, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._mode: Mode = mode
        self._limits = limits or Limits()
        self._account = _Gate(self._limits.account or _ACCOUNT_RATE[mode], clock)
        self._search = _Gate(self._limits.search or _SEARCH_RATE, clock)
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._endpoints: dict[tuple[str, str], _Gate] = {}

    def lane(self, method: str, template: str, *, search: bool = False) -> Lane:
        """The lane of an endpoint; `search`: it counts against the search limit as well."""
        found = self._lanes.get((method, template))
        return found or self._make_lane(method, template, search=search)

    def _make_lane(self, method: str, template: str, *, search: bool) -> Lane:
        with self._lock:
            if len(self._lanes) >= _MAX_ENDPOINTS:
                self._forget_idle()
            name = (method, template)
            gate = self._endpoints.setdefault(name, _Gate(self._limits.endpoint or _ENDPOINT_RATE, self._clock))
            return self._lanes.setdefault(
                name, Lane(gate, self._search if search else None, self._account, write=method != "GET")
            )

    def _forget_idle(self) -> None:
        # Unchecked raw requests can bring any number of templates.
        now = self._clock()
        for name in [name for name, gate in self._endpoints.items() if gate.idle(now)]:
            del self._endpoints[name]
            del self._lanes[name]

    def rates(self) -> dict[str, float]:
        """Requests per second at the moment: `account`, `search`, and `METHOD template` each."""
        with self._lock:
            endpoints = dict(self._endpoints)
        return {
            "account": self._account.rate,
            "search": self._search.rate,
            **{f"{method} {template}": gate.rate for (method, template), gate in endpoints.items()},
        }

    def adopt(self, limits: Limits) -> None:
        """Another connection to the same account says its limits: the lower of two holds."""
        with self._lock:
            merged = Limits(
                account=_lower(self._limits.account, limits.account),
                endpoint=_lower(self._limits.endpoint, limits.endpoint),
                search=_lower(self._limits.search, limits.search),
            )
            if merged == self._limits:
                return
            self._limits = merged
            self._account.set_rate(merged.account or _ACCOUNT_RATE[self._mode])
            self._search.set_rate(merged.search or _SEARCH_RATE)
            for gate in self._endpoints.values():
                gate.set_rate(merged.endpoint or _ENDPOINT_RATE)


def _lower(one: float | None, other: float | None) -> float | None:
    known = [value for value in (one, other) if value is not None]
    return min(known) if known else None


_shared: dict[tuple[str, str, str], Limiter] = {}
_shared_lock = threading.Lock()
# Scopes are told apart by a fingerprint under a key of this process, so that the registry
# holds nothing from which a secret could be guessed.
_fingerprint_key = secrets.token_bytes(32)


def shared_limiter(secret: str, account: str | None, base_url: str, mode: Mode, limits: Limits) -> Limiter:
    """The limiter of this process for a key and a Stripe-Account at `base_url`.

    Two keys of one account are two scopes: which account a key belongs to is not known
    without asking Stripe.
    """
    fingerprint = hmac.digest(_fingerprint_key, secret.encode(), "sha256").hex()
    scope = (fingerprint, account or "", base_url)
    with _shared_lock:
        found = _shared.get(scope)
        if found is None:
            _shared[scope] = found = Limiter(mode, limits)
            return found
    found.adopt(limits)
    return found

"""Requests are paced to Stripe's limits, slow down when told to, and recover."""

from __future__ import annotations

import itertools
import threading

import pytest

from spojit_stripe.connection import Limits
from spojit_stripe.wire.limiter import Lane, Limiter, shared_limiter

SHARE = 0.985
"""Of a limit, how much is used."""


class Time:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def wait_for(lane: Lane, time: Time) -> float:
    """Seconds until the request may go; the clock is then there."""
    before = time.now
    for seconds in lane.delays():
        time.now += seconds
    return time.now - before


def sent_in(seconds: float, lane: Lane, time: Time) -> int:
    """Requests that one busy sender gets through in so many seconds."""
    ends = time.now + seconds
    count = 0
    while True:
        wait_for(lane, time)
        if time.now >= ends:
            return count
        lane.leave()
        count += 1


def test_the_first_request_does_not_wait() -> None:
    time = Time()
    assert list(Limiter("live", clock=time).lane("GET", "/v1/charges").delays()) == []


def test_one_endpoint_gets_its_25_a_second_and_never_more() -> None:
    time = Time()
    count = sent_in(10, Limiter("live", clock=time).lane("GET", "/v1/charges"), time)
    assert 240 <= count <= 250


@pytest.mark.parametrize(("mode", "limit"), [("live", 100), ("test", 25)])
def test_all_endpoints_of_an_account_share_its_limit(mode: str, limit: int) -> None:
    time = Time()
    limiter = Limiter(mode, clock=time)  # type: ignore[arg-type]  # parametrised
    lanes = [limiter.lane("GET", f"/v1/x{number}") for number in range(20)]
    moments: list[float] = []
    start = time.now
    for number in range(limit * 3):
        lane = lanes[number % 20]
        for seconds in lane.delays():
            time.now += seconds
        moments.append(time.now - start)
        lane.leave()
    for first in moments:
        assert sum(first <= moment < first + 1 for moment in moments) <= limit
    assert moments[-1] == pytest.approx(3 / SHARE, rel=0.02)


def test_searches_share_one_limit_over_all_endpoints() -> None:
    time = Time()
    limiter = Limiter("live", clock=time)
    lanes = [limiter.lane("GET", f"/v1/{kind}/search", search=True) for kind in ("charges", "customers")]
    start = time.now
    for number in range(40):
        wait_for(lanes[number % 2], time)
        lanes[number % 2].leave()
    assert time.now - start == pytest.approx(39 / (20 * SHARE))


def test_a_queue_before_one_endpoint_holds_up_no_other() -> None:
    time = Time()
    limiter = Limiter("live", clock=time)
    for _ in range(200):  # eight seconds of waiting, each asking for its first delay only
        next(limiter.lane("GET", "/v1/charges").delays(), None)
    assert wait_for(limiter.lane("GET", "/v1/customers"), time) < 0.1


def test_a_connection_may_set_its_own_limits() -> None:
    time = Time()
    limits = Limits(account=10, endpoint=5, search=2)
    limiter = Limiter("live", limits, clock=time)
    assert sent_in(10, limiter.lane("GET", "/v1/charges"), time) in (49, 50)
    assert sent_in(10, limiter.lane("GET", "/v1/charges/search", search=True), time) in (19, 20)


@pytest.mark.parametrize(
    ("reason", "slowed"),
    [
        ("global-rate", "account"),
        ("endpoint-rate", "GET /v1/charges"),
        (None, "GET /v1/charges"),
    ],
)
def test_a_429_slows_the_limit_that_it_names(reason: str | None, slowed: str) -> None:
    time = Time()
    limiter = Limiter("live", clock=time)
    before = limiter.rates()
    lane = limiter.lane("GET", "/v1/charges")
    limiter.lane("GET", "/v1/customers")
    lane.limited(reason)
    after = limiter.rates()
    for name, rate in after.items():
        full = before.get(name, 25 * SHARE)
        assert rate == pytest.approx(full * 0.85 if name == slowed else full)


def test_a_search_that_is_limited_slows_all_searches() -> None:
    limiter = Limiter("live", clock=Time())
    limiter.lane("GET", "/v1/charges/search", search=True).limited("endpoint-rate")
    assert limiter.rates()["search"] == pytest.approx(20 * SHARE * 0.85)


@pytest.mark.parametrize(("reason", "lock"), [("resource-specific", False), (None, True)])
def test_a_lock_or_a_busy_object_slows_no_rate(reason: str | None, lock: bool) -> None:
    limiter = Limiter("live", clock=Time())
    lane = limiter.lane("GET", "/v1/charges")
    before = limiter.rates()
    lane.limited(reason, lock=lock)
    assert limiter.rates() == before


def test_many_429s_at_once_count_as_one_and_the_rate_recovers_slowly() -> None:
    time = Time()
    limiter = Limiter("live", clock=time)
    lane = limiter.lane("GET", "/v1/charges")
    for _ in range(30):
        lane.limited("endpoint-rate")
    full = 25 * SHARE

    def rate() -> float:
        return limiter.rates()["GET /v1/charges"]

    assert rate() == pytest.approx(full * 0.85)
    time.now += 0.5
    assert rate() == pytest.approx(full * 0.925)
    time.now += 4.5
    assert rate() == pytest.approx(full)
    lane.limited("endpoint-rate")  # soon after: the limit is lower indeed, so it is approached with care
    assert rate() == pytest.approx(full * 0.85)
    time.now += 2
    assert rate() == pytest.approx(full * 0.95)
    time.now += 60
    assert rate() == pytest.approx(full)


def test_the_rate_never_falls_to_nothing() -> None:
    time = Time()
    limiter = Limiter("live", clock=time)
    lane = limiter.lane("GET", "/v1/charges")
    for _ in range(50):
        lane.limited("endpoint-rate")
        time.now += 1.01
    assert limiter.rates()["GET /v1/charges"] >= 25 * SHARE * 0.1


@pytest.mark.parametrize("reason", ["endpoint-concurrency", "global-concurrency"])
def test_too_many_at_once_means_fewer_in_flight(reason: str) -> None:
    time = Time()
    limiter = Limiter("live", clock=time)
    lane = limiter.lane("GET", "/v1/charges")
    for _ in range(10):
        wait_for(lane, time)  # ten in flight
    lane.limited(reason)
    lane.limited(reason)  # the same fault, told by another request
    for _ in range(5):
        lane.leave()  # five in flight, seven allowed
    wait_for(lane, time)
    wait_for(lane, time)
    waiting = lane.delays()
    seconds = [next(waiting) for _ in range(4)]
    assert 0.05 in seconds  # asks again
    lane.leave()
    assert next(waiting, None) is None
    time.now += 10  # allowed more again
    for _ in range(6):
        wait_for(lane, time)


def test_one_scope_has_one_limiter_and_secrets_are_not_kept() -> None:
    limits = Limits()
    url = "http://127.0.0.1:1"
    one = shared_limiter("sk_test_limiter_a", None, url, "test", limits)
    assert shared_limiter("sk_test_limiter_a", None, url, "test", limits) is one
    assert shared_limiter("sk_test_limiter_a", "acct_1", url, "test", limits) is not one
    assert shared_limiter("sk_test_limiter_b", None, url, "test", limits) is not one
    assert shared_limiter("sk_test_limiter_a", None, url + "1", "test", limits) is not one
    from spojit_stripe.wire import limiter

    assert "sk_test_limiter" not in repr(vars(limiter))


def test_of_two_connections_to_one_account_the_lower_limit_holds() -> None:
    url = "http://127.0.0.1:2"
    limiter = shared_limiter("sk_test_two", None, url, "live", Limits())
    limiter.lane("GET", "/v1/charges")
    shared_limiter("sk_test_two", None, url, "live", Limits(account=200, endpoint=50))
    assert limiter.rates()["account"] == pytest.approx(200 * SHARE)
    shared_limiter("sk_test_two", None, url, "live", Limits(endpoint=10))
    rates = limiter.rates()
    assert rates["account"] == pytest.approx(200 * SHARE)
    assert rates["GET /v1/charges"] == pytest.approx(10 * SHARE)


def test_threads_share_one_pace() -> None:
    limiter = Limiter("live", Limits(account=1000, endpoint=1000), clock=Time())
    lane = limiter.lane("GET", "/v1/charges")
    waits: list[float] = []

    def ask() -> None:
        for _ in range(50):
            waits.append(next(lane.delays(), 0.0))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == pytest.approx([number / (1000 * SHARE) for number in range(200)])


def test_templates_without_end_are_forgotten() -> None:
    time = Time()
    limiter = Limiter("live", Limits(account=1e6), clock=time)
    for number in range(5000):
        limiter.lane("GET", f"/v1/raw/{number}")
        time.now += 1
    assert len(limiter.rates()) < 2100


# Fairness and stalls


def test_a_write_goes_before_the_reads_that_wait() -> None:
    time = Time()
    limiter = Limiter("test", clock=time)
    read, write = limiter.lane("GET", "/v1/charges"), limiter.lane("POST", "/v1/refunds")
    wait_for(read, time)
    queue = [read.delays() for _ in range(20)]
    for number, waiting in enumerate(queue, start=1):
        assert next(waiting) == pytest.approx(number / (25 * SHARE))
    first, *others = [wait_for_write(write, time) for _ in range(3)]
    assert first == pytest.approx(1 / (25 * SHARE)), "the slot that is now went to the first read"
    assert others == [pytest.approx(1 / (25 * SHARE))] * 2


def wait_for_write(lane: Lane, time: Time) -> float:
    seconds = wait_for(lane, time)
    lane.leave()
    return seconds


def test_reads_and_writes_together_keep_to_the_limit() -> None:
    """A write takes the slot of a read that waits for it, and that read waits again."""
    time = Time()
    limiter = Limiter("test", clock=time)
    read, write = limiter.lane("GET", "/v1/charges"), limiter.lane("POST", "/v1/refunds")
    start = time.now
    moments: list[tuple[float, str]] = []
    waiting = {(f"read {number}", number): (read.delays(), 0.0) for number in range(60)}
    # Every request sleeps on its own: the one whose time comes first goes on.
    wakes = {name: (start + next(delays, 0.0), delays) for name, (delays, _) in waiting.items()}
    number = 0
    while wakes:
        name = min(wakes, key=lambda each: wakes[each][0])
        at, delays = wakes.pop(name)
        time.now = max(time.now, at)
        seconds = next(delays, None)
        if seconds is None:
            moments.append((time.now - start, name[0]))
            if number < 10 and len(moments) % 5 == 0:
                number += 1
                late = write.delays()
                wakes[f"write {number}", 100 + number] = (time.now + next(late, 0.0), late)
        else:
            wakes[name] = (time.now + seconds, delays)
    assert len(moments) == 70
    for first, _ in moments:
        assert sum(first <= moment < first + 1 for moment, _ in moments) <= 25
    writes = [place for place, (_, name) in enumerate(moments) if name.startswith("write")]
    assert len(writes) == 10
    assert writes[-1] < 65, "writes waited behind the reads"


def test_after_a_stall_no_burst_goes_out() -> None:
    time = Time()
    lane = Limiter("live", clock=time).lane("GET", "/v1/charges")
    queue = [lane.delays() for _ in range(40)]
    for waiting in queue:
        next(waiting, None)
    time.now += 60  # the process was held up, and now all their slots have passed
    wakes = dict.fromkeys(queue[1:], time.now)  # the first one went before
    moments: list[float] = []
    while wakes:
        waiting = min(wakes, key=wakes.__getitem__)
        time.now = max(time.now, wakes.pop(waiting))
        seconds = next(waiting, None)
        if seconds is None:
            moments.append(time.now)
        else:
            wakes[waiting] = time.now + seconds
    assert len(moments) == 39
    for first in moments:
        assert sum(first <= moment <= first + 1 for moment in moments) <= 25


def moments_of(count: int, lane: Lane, time: Time) -> list[float]:
    moments: list[float] = []
    for _ in range(count):
        wait_for(lane, time)
        moments.append(time.now)
        lane.leave()
    return moments


def test_slots_that_passed_within_a_second_are_made_up_for_at_twice_the_pace() -> None:
    """A list begins with one request, and the others wait for its answer."""
    time = Time()
    lane = Limiter("live", clock=time).lane("GET", "/v1/charges")
    start = time.now
    (first,) = moments_of(1, lane, time)
    time.now += 0.3
    moments = [first, *moments_of(99, lane, time)]
    step = 1 / (25 * SHARE)
    assert moments[-1] - start == pytest.approx(99 * step)
    assert min(later - earlier for earlier, later in itertools.pairwise(moments[1:])) >= step / 2 - 1e-9
    for first in moments:
        assert sum(first <= moment < first + 1 for moment in moments) <= 25


def test_slots_of_a_longer_silence_are_lost() -> None:
    time = Time()
    lane = Limiter("live", clock=time).lane("GET", "/v1/charges")
    moments_of(1, lane, time)
    time.now += 1.5
    moments = moments_of(10, lane, time)
    assert moments[-1] - moments[0] == pytest.approx(9 / (25 * SHARE))


def test_while_the_service_asks_for_less_nothing_is_made_up_for() -> None:
    time = Time()
    lane = Limiter("live", clock=time).lane("GET", "/v1/charges")
    moments_of(1, lane, time)
    for _ in range(3):  # soon after another, so that it recovers slowly
        lane.limited("endpoint-rate")
        time.now += 1.01
    moments_of(1, lane, time)
    time.now += 0.3
    now = time.now
    moments = moments_of(10, lane, time)
    assert moments[-1] - now >= 9 / (25 * SHARE)


def test_a_request_that_leaves_late_counts_from_then_on() -> None:
    """As many more might arrive within a second of it: a new connection takes a while, a kept one none."""
    time = Time()
    lane = Limiter("live", clock=time).lane("GET", "/v1/charges")
    arrived: list[float] = []
    connecting: list[float] = []
    for number in range(100):
        wait_for(lane, time)
        lane.leave()
        if number < 10:
            connecting.append(time.now)
        else:
            arrived.append(time.now)
        while connecting and connecting[0] + 0.1 <= time.now:
            lane.left(time.now - connecting.pop(0))
            arrived.append(time.now)
    assert len(arrived) == 100
    for first in arrived:
        assert sum(first <= moment < first + 1 for moment in arrived) <= 25


@pytest.mark.parametrize(("latency", "worth"), [(0.0, 1), (0.004, 1), (0.05, 3), (0.3, 9), (5.0, 64)])
def test_as_many_at_once_are_worth_it_as_the_latency_takes(latency: float, worth: int) -> None:
    lane = Limiter("live", clock=Time()).lane("GET", "/v1/charges")
    for _ in range(3):
        lane.took(latency)
    assert lane.worth() == worth


def test_more_at_once_are_worth_it_while_slots_are_made_up_for() -> None:
    time = Time()
    lane = Limiter("live", clock=time).lane("GET", "/v1/charges")
    lane.took(0.3)
    moments_of(1, lane, time)
    assert lane.worth() == 9
    time.now += 0.3
    assert lane.worth() == 9 + 6
    lane.limited("endpoint-rate")
    assert lane.worth() < 9
    time.now += 60
    assert lane.worth() == 9, "a longer silence is not made up for"


def test_no_more_at_once_than_the_service_bears() -> None:
    time = Time()
    lane = Limiter("live", clock=time).lane("GET", "/v1/charges")
    lane.took(1.0)
    for _ in range(10):
        wait_for(lane, time)
    assert lane.pace() == (pytest.approx(25 * SHARE), False)
    lane.limited("endpoint-concurrency")
    assert lane.worth() == 7
    assert lane.pace() == (pytest.approx(25 * SHARE), True)


def test_searches_are_never_more_than_their_limit_in_a_second_whatever_was_silent_before() -> None:
    time = Time()
    limiter = Limiter("live", clock=time)
    lanes = [limiter.lane("GET", f"/v1/{kind}/search", search=True) for kind in ("charges", "customers")]
    moments: list[float] = []
    for _ in range(4):
        for number in range(60):
            wait_for(lanes[number % 2], time)
            moments.append(time.now)
            lanes[number % 2].leave()
        time.now += 0.95
    for first in moments:
        assert sum(first <= moment < first + 1 for moment in moments) <= 20


@pytest.mark.parametrize("rate", [0.5, 1, 1.5, 1.9, 2.5])
def test_a_limit_that_is_no_whole_number_is_used_to_the_full(rate: float) -> None:
    time = Time()
    lane = Limiter("live", Limits(account=rate), clock=time).lane("GET", "/v1/charges")
    assert sent_in(200, lane, time) >= 200 * rate * 0.95


def test_a_write_goes_before_reads_that_make_up_for_silence() -> None:
    time = Time()
    limiter = Limiter("test", clock=time)
    lanes = [limiter.lane("GET", f"/v1/e{number}") for number in range(24)]
    wait_for(lanes[0], time)
    lanes[0].leave()
    time.now += 0.98
    queue = [lane.delays() for lane in lanes]
    assert max(next(waiting, 0.0) for waiting in queue) > 0.4
    assert wait_for(limiter.lane("POST", "/v1/refunds"), time) <= 1 / (25 * SHARE)


def test_a_429_for_the_rate_brings_no_old_bound_on_requests_at_once_back() -> None:
    time = Time()
    lane = Limiter("live", clock=time).lane("GET", "/v1/charges")
    lane.took(10.0)
    for _ in range(10):
        wait_for(lane, time)
    lane.limited("endpoint-concurrency")
    assert lane.worth() == 7
    time.now += 300
    assert lane.worth() == 64
    lane.limited("endpoint-rate")
    assert lane.worth() == 64

"""Requests are paced to Stripe's limits, slow down when told to, and recover."""

from __future__ import annotations

import threading

import pytest

from spojit_stripe.connection import Limits
from spojit_stripe.wire.limiter import Lane, Limiter, shared_limiter


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
    assert moments[-1] == pytest.approx(3 / 0.98, rel=0.02)


def test_searches_share_one_limit_over_all_endpoints() -> None:
    time = Time()
    limiter = Limiter("live", clock=time)
    lanes = [limiter.lane("GET", f"/v1/{kind}/search", search=True) for kind in ("charges", "customers")]
    start = time.now
    for number in range(40):
        wait_for(lanes[number % 2], time)
        lanes[number % 2].leave()
    assert time.now - start == pytest.approx(39 / (20 * 0.98))


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
        full = before.get(name, 25 * 0.98)
        assert rate == pytest.approx(full * 0.7 if name == slowed else full)


def test_a_search_that_is_limited_slows_all_searches() -> None:
    limiter = Limiter("live", clock=Time())
    limiter.lane("GET", "/v1/charges/search", search=True).limited("endpoint-rate")
    assert limiter.rates()["search"] == pytest.approx(20 * 0.98 * 0.7)


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
    full = 25 * 0.98

    def rate() -> float:
        return limiter.rates()["GET /v1/charges"]

    assert rate() == pytest.approx(full * 0.7)
    time.now += 2
    assert rate() == pytest.approx(full * 0.8)
    time.now += 60
    assert rate() == pytest.approx(full)


def test_the_rate_never_falls_to_nothing() -> None:
    time = Time()
    limiter = Limiter("live", clock=time)
    lane = limiter.lane("GET", "/v1/charges")
    for _ in range(50):
        lane.limited("endpoint-rate")
        time.now += 1.01
    assert limiter.rates()["GET /v1/charges"] >= 25 * 0.98 * 0.1


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
    assert limiter.rates()["account"] == pytest.approx(200 * 0.98)
    shared_limiter("sk_test_two", None, url, "live", Limits(endpoint=10))
    rates = limiter.rates()
    assert rates["account"] == pytest.approx(200 * 0.98)
    assert rates["GET /v1/charges"] == pytest.approx(10 * 0.98)


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
    assert sorted(waits) == pytest.approx([number / 980 for number in range(200)])


def test_templates_without_end_are_forgotten() -> None:
    time = Time()
    limiter = Limiter("live", Limits(account=1e6), clock=time)
    for number in range(5000):
        limiter.lane("GET", f"/v1/raw/{number}")
        time.now += 1
    assert len(limiter.rates()) < 2100

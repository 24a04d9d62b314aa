"""The testing kit: fakes that fail on what nobody foresaw."""

from __future__ import annotations

import asyncio

import pytest

from spojit_stripe.connector import Answer, ListPlan, Trace
from spojit_stripe.errors import UnavailableError
from spojit_stripe.testing import FakeClock, FakeWire, Sent, UnexpectedRequestError, UnplayedError, listing_of
from spojit_stripe.values import Paging, Request

GET = Request(method="GET", path="/v1/x", template="/v1/x")
POST = Request(method="POST", path="/v1/x", template="/v1/x", api_version="v")
PLAN = ListPlan(style="cursor", wanted=1, page_size=1)
TRACE = Trace(key="k", request=POST, sent_at=1, stamped=False)


def test_replies_are_given_in_their_order_by_request() -> None:
    with FakeWire() as wire:
        wire.will("GET /v1/x", {"n": 1}, Answer(body={"n": 2})).will("POST /v1/x", {"n": 3})

        async def scenario() -> list[object]:
            return [
                (await wire.send(GET)).body["n"],
                (await wire.send(POST, key="k")).body["n"],
                (await wire.send(GET)).body["n"],
            ]

        assert asyncio.run(scenario()) == [1, 3, 2]
    assert [sent.what for sent in wire.sent] == ["GET /v1/x", "POST /v1/x", "GET /v1/x"]
    assert wire.keys == ["k"]
    assert [sent.key for sent in wire.writes] == ["k"]


def test_an_object_becomes_an_answer_of_the_version_that_was_asked_for() -> None:
    with FakeWire() as wire:
        answer = asyncio.run(wire.will("POST /v1/x", {"a": 1}).send(POST, key="k"))
    assert (answer.body, answer.request_id, answer.api_version, answer.livemode) == ({"a": 1}, "req_fake_1", "v", False)


def test_an_exception_is_raised_and_a_function_is_asked() -> None:
    async def slowly(sent: Sent) -> Answer:
        await asyncio.sleep(0)
        return Answer(body={"key": sent.key})

    async def scenario(wire: FakeWire) -> None:
        with pytest.raises(UnavailableError):
            await wire.send(GET)
        assert (await wire.send(POST, key="k")).body == {"key": "k"}
        with pytest.raises(UnavailableError, match="from a function"):
            await wire.send(GET)

    with FakeWire() as wire:
        wire.will("GET /v1/x", UnavailableError("x"), lambda _sent: UnavailableError("from a function"))
        asyncio.run(scenario(wire.will("POST /v1/x", slowly)))


def test_what_is_not_foreseen_fails() -> None:
    wire = FakeWire().will("GET /v1/y", {})
    with pytest.raises(UnexpectedRequestError, match="GET /v1/x came, but the script expects GET /v1/y"):
        asyncio.run(wire.send(GET))
    with pytest.raises(UnexpectedRequestError, match="a look-up of k is not scripted"):
        asyncio.run(wire.look_up(TRACE))


def test_an_object_is_no_list_and_a_list_no_object() -> None:
    wire = FakeWire().will("GET /v1/x", {}, listing_of())
    with pytest.raises(UnexpectedRequestError, match="was read as a list, but an object is scripted"):
        asyncio.run(wire.read_list(GET, PLAN, Paging()))
    with pytest.raises(UnexpectedRequestError, match="was read as an object, but a list is scripted"):
        asyncio.run(wire.send(GET))


def test_what_is_never_asked_for_fails() -> None:
    with pytest.raises(UnplayedError, match="never asked for: GET /v1/x, a look-up"), FakeWire() as wire:
        wire.will("GET /v1/x", {}).will_find(None)


def test_a_test_that_fails_anyhow_is_not_hidden_by_an_unplayed_script() -> None:
    def fails() -> None:
        with FakeWire() as wire:
            wire.will("GET /v1/x", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()


def test_look_ups_are_scripted_too() -> None:
    with FakeWire() as wire:
        wire.will_find({"id": "a"}, UnavailableError("x"))
        assert asyncio.run(wire.look_up(TRACE)) == {"id": "a"}
        with pytest.raises(UnavailableError):
            asyncio.run(wire.look_up(TRACE))
    assert wire.traces == [TRACE, TRACE]


def test_a_list_is_read_with_its_plan_and_shows_its_progress() -> None:
    seen: list[tuple[int, int, int]] = []
    with FakeWire() as wire:
        wire.will("GET /v1/x", listing_of({"id": "a"}, complete=False))
        found = asyncio.run(wire.read_list(GET, PLAN, Paging(), lambda *n: seen.append(n)))
    assert (found.next_cursor, found.complete, seen) == ("a", False, [(1, 1, 1)])
    assert (wire.sent[0].plan, wire.sent[0].paging) == (PLAN, Paging())
    asyncio.run(wire.aclose())
    assert wire.closed


def test_a_clock_stands_still_until_it_is_advanced() -> None:
    clock = FakeClock(10)
    assert (clock(), clock()) == (10, 10)
    clock.advance(2.5)
    assert clock() == 12.5

"""Whole lists of a Stripe sandbox, read by several requests at once through everything that can go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import stripe

from spojit_stripe.connection import Connection, Limits
from spojit_stripe.connector import Listing, ListPlan
from spojit_stripe.sandbox import Sandbox, sandbox
from spojit_stripe.sandbox.faults import Fault
from spojit_stripe.values import JsonObject, JsonValue, Paging, Request, Secret
from spojit_stripe.wire.client import StripeWire
from spojit_stripe.wire.limiter import Limiter
from spojit_stripe.wire.retry import RetryRule

pytestmark = pytest.mark.long

FAST = Limits(account=2000, endpoint=2000)
PATIENT = RetryRule(base=0.001, cap=0.01)
ONCE = RetryRule(attempts=1)
ALL = Paging(paginate="all")
GONE = '{"error": {"type": "invalid_request_error", "code": "resource_missing", "param": "starting_after"}}'


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    """One shop for all; a little slow, so that several requests at once are worth it."""
    with sandbox(seed=40, latency_ms=4) as running:
        running.advance(10)
        yield running
        assert not running.crashes(), running.crashes()[0]


def history(
    box: Sandbox,
    kind: str = "charges",
    *,
    size: int = 7,
    rule: RetryRule = PATIENT,
    paging: Paging = ALL,
    params: JsonObject | None = None,
    **more: Any,
) -> Listing:
    connection = Connection.model_validate({"name": "shop", "secret_key": "${env:KEY}", "mode": "test"})
    connection = connection.model_copy(update={"base_url": box.url})
    request = Request(method="GET", path=f"/v1/{kind}", template=f"/v1/{kind}", params=params or {})
    plan = ListPlan(style="cursor", wanted=10, page_size=size, windowed=True)

    async def work() -> Listing:
        wire = StripeWire(connection, Secret(box.secret_key), limiter=Limiter("test", FAST), rule=rule)
        try:
            return await wire.read_list(request, plan, paging, **more)
        finally:
            await wire.aclose()

    return asyncio.run(work())


def ids(data: Sequence[JsonObject]) -> list[JsonValue]:
    return [one["id"] for one in data]


def newest_first(box: Sandbox, kind: str) -> list[JsonValue]:
    return ids(box.objects(kind)[::-1])


@pytest.mark.parametrize(("kind", "path"), [("charge", "charges"), ("balance_transaction", "balance_transactions")])
def test_a_history_comes_whole_and_newest_first(box: Sandbox, kind: str, path: str) -> None:
    before = len(box.requests())
    listing = history(box, path)
    assert listing.complete
    assert ids(listing.data) == newest_first(box, kind)
    assert any("gte" in str(one.params.get("created")) for one in box.requests()[before:]), "it was never divided"
    assert listing.as_of <= box.now - 2


def test_every_page_may_fail_and_is_read_again(box: Sandbox) -> None:
    for skip in range(0, 12, 2):
        box.fail("GET", "/v1/charges", skip=skip, status=500)
        box.fail("GET", "/v1/charges", skip=skip, drop="after")
        box.fail("GET", "/v1/charges", skip=skip, truncate=40)
    listing = history(box)
    box.clear_faults()
    assert listing.complete
    assert ids(listing.data) == newest_first(box, "charge")
    assert listing.attempts > listing.pages


@pytest.mark.parametrize("reason", ["endpoint-rate", "global-rate", "endpoint-concurrency", "global-concurrency", None])
def test_a_storm_of_429s_only_slows_it(box: Sandbox, reason: str | None) -> None:
    box.fail("GET", "/v1/charges", skip=3, times=12, status=429, reason=reason)
    listing = history(box, size=20, rule=replace(PATIENT, attempts=20))
    box.clear_faults()
    assert listing.complete
    assert ids(listing.data) == newest_first(box, "charge")


@pytest.mark.parametrize("skip", [1, 2, 5, 9, 14])
def test_after_a_failure_for_good_the_cursor_gives_the_rest(box: Sandbox, skip: int) -> None:
    whole = newest_first(box, "charge")
    box.fail("GET", "/v1/charges", skip=skip, times=0, status=400, message="no more today")
    listing = history(box, rule=ONCE)
    box.clear_faults()
    assert (listing.complete, listing.stopped_because) == (False, "error")
    assert "no more today" in str(listing.error)
    assert ids(listing.data) == whole[: listing.fetched]
    rest = history(box, params={"starting_after": listing.next_cursor})
    assert rest.complete
    assert ids(listing.data) + ids(rest.data) == whole


def test_objects_made_meanwhile_are_left_out(box: Sandbox) -> None:
    client = stripe.StripeClient(box.secret_key, base_addresses={"api": box.url})
    for number in range(30):
        client.v1.customers.create({"email": f"early{number}@example.com"})
    box.advance(5)
    whole = newest_first(box, "customer")

    def make_another(_fetched: int, _scanned: int, pages: int) -> None:
        client.v1.customers.create({"email": f"late{pages}@example.com"})

    listing = history(box, "customers", size=5, progress=make_another)
    assert listing.complete
    assert ids(listing.data) == whole


class Kept:
    """A sink that remembers what it was given."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def write(self, objects: Sequence[JsonObject]) -> None:
        self.ids += [str(one["id"]) for one in objects]


def test_objects_deleted_meanwhile_take_nothing_else_along(box: Sandbox) -> None:
    """The last object of a page is deleted before the next page is asked for by it."""
    client = stripe.StripeClient(box.secret_key, base_addresses={"api": box.url})
    for number in range(60):
        client.v1.customers.create({"email": f"one{number}@example.com"})
    box.advance(5)
    before = len(box.requests())
    sink = Kept()
    doomed: list[str] = []

    def delete_the_last(_fetched: int, _scanned: int, pages: int) -> None:
        if pages % 2 and sink.ids[-1] not in doomed:
            doomed.append(sink.ids[-1])
            client.v1.customers.delete(doomed[-1])
            # The sandbox still knows where a deleted customer was; other objects vanish for good.
            box.add_fault(
                Fault(method="GET", path="/v1/customers", params={"starting_after": doomed[-1]}, status=400, body=GONE)
            )

    listing = history(box, "customers", size=5, sink=sink, progress=delete_the_last)
    box.clear_faults()
    assert (listing.complete, listing.data) == (True, [])
    assert len(sink.ids) == len(set(sink.ids)) == listing.fetched
    left = {str(one) for one in newest_first(box, "customer")}
    assert set(sink.ids) == left | set(doomed)
    assert any(one.status == 400 for one in box.requests()[before:]), "no cursor was deleted, so this proved nothing"

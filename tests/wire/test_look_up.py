"""What a lost write made is found by its key, and finding nothing claims nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from spojit_stripe.connection import Connection
from spojit_stripe.connector import Answer, Listing, ListPlan, Trace
from spojit_stripe.errors import (
    AccessError,
    DeclinedError,
    InvalidRequestError,
    OutcomeUnknownError,
    Problem,
    UnavailableError,
)
from spojit_stripe.sandbox import Sandbox, sandbox
from spojit_stripe.values import JsonObject, Paging, Request, Secret, ToolCall
from spojit_stripe.wire.client import StripeWire
from spojit_stripe.wire.connector import StripeConnector
from spojit_stripe.wire.look_up import look_up
from spojit_stripe.wire.retry import RetryRule

SENT = 1_700_000_000
CHARGES = Request(method="POST", path="/v1/charges", template="/v1/charges", params={"amount": 5})
TRACE = Trace(key="key-1", request=CHARGES, sent_at=SENT, stamped=True)
STRIPE = StripeConnector()


def event(kind: str, found: JsonObject, *, key: str | None = "key-1", created: int = SENT, **more: Any) -> JsonObject:
    return {
        "id": f"evt_{kind}",
        "type": kind,
        "created": created,
        "request": {"id": "req_1", "idempotency_key": key},
        "data": {"object": found},
        **more,
    }


class Stripe:
    """Lists and single objects by path; a list is cut by its `created` range, newest first."""

    def __init__(self, lists: dict[str, Any], objects: dict[str, Any] | None = None) -> None:
        self.lists = lists
        self.objects = objects or {}
        self.asked: list[Request] = []

    async def read_list(self, request: Request, plan: ListPlan, paging: Paging) -> Listing:
        assert request.method == "GET"
        assert plan.page_size == 100
        self.asked.append(request)
        found = self.lists.get(request.path, [])
        if isinstance(found, Exception):
            raise found
        between: Any = request.params.get("created", {"gte": 0, "lte": 1e12})
        inside = [item for item in found if between["gte"] <= item.get("created", SENT) <= between["lte"]]
        start = next((n + 1 for n, item in enumerate(inside) if item["id"] == request.params.get("starting_after")), 0)
        page = inside[start : start + 2]
        more = start + 2 < len(inside)
        return Listing(
            data=page,
            complete=not more,
            as_of=SENT,
            next_cursor=page[-1]["id"] if more else None,
            fetched=len(page),
            scanned=len(page),
            pages=paging.max_pages or 1,
            stopped_because="max_pages" if more else "end",
        )

    async def send(self, request: Request) -> Answer:
        self.asked.append(request)
        found = self.objects[request.path]
        if isinstance(found, Exception):
            raise found
        return Answer(body=found)

    def find(self, trace: Trace = TRACE) -> JsonObject | None:
        return asyncio.run(look_up(self.read_list, self.send, trace))


CHARGE: JsonObject = {"id": "ch_1", "object": "charge", "status": "succeeded"}


# By event


def test_the_event_that_the_key_caused_gives_the_object() -> None:
    service = Stripe(
        {
            "/v1/events": [
                event("charge.succeeded", {"id": "ch_9", "object": "charge"}, key="other"),
                event("customer.updated", {"id": "cus_1", "object": "customer"}),
                event("charge.succeeded", CHARGE),
                {**event("x", CHARGE), "request": None},
                {**event("y", CHARGE), "request": "req_1"},
            ]
        }
    )
    assert service.find() == CHARGE
    first = service.asked[0]
    assert (first.path, first.template) == ("/v1/events", "/v1/events")
    assert first.params["created"] == {"gte": SENT - 300, "lte": SENT + 900}


def test_an_event_of_a_late_replay_is_found_too() -> None:
    late = event("charge.succeeded", CHARGE, created=SENT + 22 * 3600)
    assert Stripe({"/v1/events": [late]}).find() == CHARGE
    too_late = event("charge.succeeded", CHARGE, created=SENT + 26 * 3600)
    assert Stripe({"/v1/events": [too_late]}).find() is None


def test_the_newest_event_of_an_object_counts() -> None:
    newer = {**CHARGE, "refunded": True}
    service = Stripe({"/v1/events": [event("charge.updated", newer), event("charge.succeeded", CHARGE)]})
    assert service.find() == newer


def test_events_of_one_request_are_read_together_and_no_further() -> None:
    older = [event("x.updated", {"id": f"x_{n}", "object": "x"}, key="o", created=SENT - 200) for n in range(50)]
    events = [{**one, "id": f"evt_{n}"} for n, one in enumerate([event("charge.succeeded", CHARGE), *older])]
    service = Stripe({"/v1/events": events})
    assert service.find() == CHARGE
    assert len(service.asked) == 1


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        (Request(method="POST", path="/v1/payment_intents", template="/v1/payment_intents"), "payment_intent"),
        (Request(method="POST", path="/v1/invoiceitems", template="/v1/invoiceitems"), "invoiceitem"),
        (Request(method="POST", path="/v1/checkout/sessions", template="/v1/checkout/sessions"), "checkout.session"),
        (Request(method="POST", path="/v1/customers/x_1", template="/v1/customers/{customer}"), "anything"),
        (Request(method="POST", path="/v1/invoices/x_1/pay", template="/v1/invoices/{invoice}/pay"), "anything"),
    ],
)
def test_the_object_of_the_operations_kind_or_id_is_taken(request_: Request, found: str) -> None:
    right: JsonObject = {"id": "x_1", "object": found}
    service = Stripe({"/v1/events": [event("charge.succeeded", CHARGE), event("x.created", right)]})
    assert service.find(Trace(key="key-1", request=request_, sent_at=SENT, stamped=False)) == right


def test_an_object_that_was_only_touched_comes_last() -> None:
    touched = event("customer.updated", {"id": "cus_1", "object": "customer"})
    stamped = {"id": "ch_2", "object": "charge", "metadata": {"spojit_key": "key-1"}}
    assert Stripe({"/v1/events": [touched], "/v1/charges": [stamped]}).find() == stamped
    assert Stripe({"/v1/events": [touched]}).find() == {"id": "cus_1", "object": "customer"}


# By stamp


def test_the_stamped_object_is_found_in_the_operations_own_list() -> None:
    others = [{"id": f"ch_{n}", "metadata": {"spojit_key": "other"}, "created": SENT} for n in range(7)]
    stamped = {"id": "ch_x", "metadata": {"spojit_key": "key-1"}, "created": SENT}
    service = Stripe({"/v1/charges": [*others, stamped]})
    assert service.find() == stamped
    asked = [request for request in service.asked if request.path == "/v1/charges"]
    assert asked[0].params == {"created": {"gte": SENT - 300, "lte": SENT + 900}}
    assert asked[1].params["starting_after"] == "ch_1"
    assert all("search" not in request.path for request in service.asked)


def test_cancelled_subscriptions_are_looked_at_too() -> None:
    request = Request(method="POST", path="/v1/subscriptions", template="/v1/subscriptions")
    service = Stripe({})
    assert service.find(Trace(key="key-1", request=request, sent_at=SENT, stamped=True)) is None
    assert service.asked[-1].params["status"] == "all"


def test_a_list_that_can_not_be_cut_by_time_is_read_so_far() -> None:
    path, template = "/v1/transfers/tr_1/reversals", "/v1/transfers/{id}/reversals"
    trace = Trace(key="key-1", request=Request(method="POST", path=path, template=template), sent_at=SENT, stamped=True)
    service = Stripe({path: [{"id": f"trr_{n}"} for n in range(100)]})
    assert service.find(trace) is None
    asked = [request for request in service.asked if request.path == path]
    assert len(asked) == 4  # five pages each
    assert "created" not in asked[0].params


def test_without_a_stamp_no_list_is_read() -> None:
    service = Stripe({"/v1/charges": [{"id": "ch_1", "metadata": {"spojit_key": "key-1"}}]})
    assert service.find(Trace(key="key-1", request=CHARGES, sent_at=SENT, stamped=False)) is None
    assert {request.path for request in service.asked} == {"/v1/events"}


# What it says where it does not find


def test_nothing_found_is_none() -> None:
    assert Stripe({}).find() is None


def test_a_failure_to_look_leaves_the_outcome_unknown() -> None:
    with pytest.raises(OutcomeUnknownError, match=r"looking for it failed: busy"):
        Stripe({"/v1/events": UnavailableError("busy")}).find()
    with pytest.raises(OutcomeUnknownError):
        Stripe({"/v1/events": AccessError("no"), "/v1/charges": AccessError("no")}).find()


def test_a_key_that_may_not_read_events_may_still_read_the_list() -> None:
    stamped = {"id": "ch_x", "metadata": {"spojit_key": "key-1"}}
    assert Stripe({"/v1/events": AccessError("no"), "/v1/charges": [stamped]}).find() == stamped
    with pytest.raises(OutcomeUnknownError):
        Stripe({"/v1/events": AccessError("no")}).find()


def test_a_later_pages_failure_is_not_taken_for_the_end() -> None:
    class Failing(Stripe):
        async def read_list(self, request: Request, plan: ListPlan, paging: Paging) -> Listing:
            listing = await super().read_list(request, plan, paging)
            return Listing(
                data=[],
                complete=False,
                as_of=listing.as_of,
                next_cursor=None,
                fetched=0,
                scanned=0,
                pages=1,
                stopped_because="error",
                error=UnavailableError("busy"),
            )

    with pytest.raises(OutcomeUnknownError, match=r"busy"):
        Failing({}).find()


# Declines

INTENT: JsonObject = {
    "id": "pi_1",
    "object": "payment_intent",
    "status": "requires_payment_method",
    "last_payment_error": {"code": "card_declined", "decline_code": "lost_card"},
}


def test_a_declined_payment_that_is_found_is_a_decline_not_a_result() -> None:
    failed = {**CHARGE, "status": "failed", "failure_code": "card_declined", "outcome": {"reason": "lost_card"}}
    for lists in (
        {"/v1/events": [event("charge.failed", failed)]},
        {"/v1/charges": [{**failed, "metadata": {"spojit_key": "key-1"}}]},
    ):
        with pytest.raises(DeclinedError) as caught:
            Stripe(lists).find()
        problem = caught.value.problem
        assert (problem.code, problem.decline_code, problem.related_object) == ("card_declined", "lost_card", "ch_1")


def test_a_declined_intent_is_told_by_its_event_whatever_the_order() -> None:
    created = {**INTENT, "last_payment_error": None}
    request = Request(method="POST", path="/v1/payment_intents", template="/v1/payment_intents")
    events = [event("payment_intent.created", created), event("payment_intent.payment_failed", INTENT)]
    for order in (events, events[::-1]):
        with pytest.raises(DeclinedError, match=r"pi_1: the payment was declined \(lost_card\)"):
            Stripe({"/v1/events": order}).find(Trace(key="key-1", request=request, sent_at=SENT, stamped=False))


def test_a_subscription_whose_first_payment_failed_was_made_all_the_same() -> None:
    made: JsonObject = {"id": "sub_1", "object": "subscription", "status": "incomplete"}
    request = Request(method="POST", path="/v1/subscriptions", template="/v1/subscriptions")
    failed = {**CHARGE, "status": "failed"}
    events = [event("charge.failed", failed), event("customer.subscription.created", made)]
    trace = Trace(key="key-1", request=request, sent_at=SENT, stamped=False)
    assert Stripe({"/v1/events": events}).find(trace) == made


# Deletes

GONE = InvalidRequestError("No such customer", Problem(code="resource_missing", status=404))


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ({"id": "cus_1", "deleted": True}, {"id": "cus_1", "deleted": True}),
        ({"id": "cus_1", "status": "canceled"}, {"id": "cus_1", "status": "canceled"}),
        ({"id": "cus_1", "email": "a@b.c"}, None),
        (GONE, {"id": "cus_1", "deleted": True}),
    ],
)
def test_a_v1_delete_is_told_by_its_object(there: Any, found: JsonObject | None) -> None:
    request = Request(method="DELETE", path="/v1/customers/cus_1", template="/v1/customers/{customer}")
    service = Stripe({}, {"/v1/customers/cus_1": there})
    assert service.find(Trace(key="key-1", request=request, sent_at=SENT, stamped=False)) == found
    assert [asked.method for asked in service.asked] == ["GET"]


def test_a_delete_whose_object_can_not_be_read_stays_unknown() -> None:
    template = "/v1/customers/{customer}/discount"
    request = Request(method="DELETE", path="/v1/customers/cus_1/discount", template=template)
    service = Stripe({})
    assert service.find(Trace(key="k", request=request, sent_at=SENT, stamped=False)) is None
    assert not service.asked
    request = Request(method="DELETE", path="/v1/customers/cus_1", template="/v1/customers/{customer}")
    for error in (AccessError("no"), InvalidRequestError("odd")):
        with pytest.raises(OutcomeUnknownError):
            Stripe({}, {"/v1/customers/cus_1": error}).find(
                Trace(key="k", request=request, sent_at=SENT, stamped=False)
            )


# Against the sandbox, over real HTTP


@pytest.fixture(scope="module")
def stripe() -> Iterator[Sandbox]:
    with sandbox() as running:
        yield running
        assert not running.crashes()


def wired(stripe: Sandbox, use: Callable[[StripeWire], Awaitable[Any]], key: str | None = None) -> Any:
    connection = Connection.model_validate(
        {"name": "shop", "secret_key": "${env:KEY}", "mode": "test", "base_url": stripe.url}
    )

    async def run() -> Any:
        wire = StripeWire(connection, Secret(key or stripe.secret_key), rule=RetryRule(attempts=2, base=0.01))
        try:
            return await use(wire)
        finally:
            await wire.aclose()

    return asyncio.run(run())


@pytest.mark.parametrize("stamped", [True, False])
def test_a_charge_whose_answer_was_lost_is_found_again(stripe: Sandbox, stamped: bool) -> None:
    key = f"lost-{stamped}"

    async def use(wire: StripeWire) -> None:
        params: JsonObject = {"amount": 700, "currency": "usd", "source": "tok_visa"}
        bound = STRIPE.bind(
            STRIPE.catalog.tool("create-charge"), ToolCall(tool="create-charge", params=params), _shop(stripe)
        )
        if stamped:
            params, _ = STRIPE.stamp(bound, params, key)
        request = Request(method="POST", path="/v1/charges", template="/v1/charges", params=params)
        stripe.fail("POST", "/v1/charges", drop="after", times=0)
        with pytest.raises(OutcomeUnknownError):
            await wire.send(request, key=key)
        stripe.clear_faults()
        trace = Trace(key=key, request=request, sent_at=stripe.now, stamped=stamped)
        found = await wire.look_up(trace)
        assert found is not None
        assert (found["object"], found["amount"]) == ("charge", 700)
        # The same request under the same key gives the same charge: one was made.
        again = await wire.send(request, key=key)
        assert again.replayed
        assert again.body["id"] == found["id"]
        nothing = Trace(key="never", request=request, sent_at=stripe.now, stamped=stamped)
        assert await wire.look_up(nothing) is None

    wired(stripe, use)


def test_a_charge_that_never_arrived_is_not_found(stripe: Sandbox) -> None:
    async def use(wire: StripeWire) -> None:
        params: JsonObject = {"amount": 701, "currency": "usd", "source": "tok_visa"}
        request = Request(method="POST", path="/v1/charges", template="/v1/charges", params=params)
        stripe.fail("POST", "/v1/charges", drop="before", times=0)
        with pytest.raises(OutcomeUnknownError):
            await wire.send(request, key="never-arrived")
        stripe.clear_faults()
        trace = Trace(key="never-arrived", request=request, sent_at=stripe.now, stamped=False)
        assert await wire.look_up(trace) is None

    wired(stripe, use)


def test_a_decline_whose_answer_was_lost_is_found_as_a_decline(stripe: Sandbox) -> None:
    async def use(wire: StripeWire) -> None:
        params: JsonObject = {"amount": 702, "currency": "usd", "source": "tok_chargeDeclined"}
        request = Request(method="POST", path="/v1/charges", template="/v1/charges", params=params)
        stripe.fail("POST", "/v1/charges", drop="after", times=0)
        with pytest.raises(OutcomeUnknownError):
            await wire.send(request, key="lost-decline")
        stripe.clear_faults()
        with pytest.raises(DeclinedError) as caught:
            await wire.look_up(Trace(key="lost-decline", request=request, sent_at=stripe.now, stamped=False))
        assert caught.value.problem.code == "card_declined"
        with pytest.raises(DeclinedError):
            await wire.send(request, key="lost-decline")

    wired(stripe, use)


def test_an_omitted_refund_amount_is_read_from_the_charge(stripe: Sandbox) -> None:
    async def use(wire: StripeWire) -> None:
        charge = await wire.send(
            Request(
                method="POST",
                path="/v1/charges",
                template="/v1/charges",
                params={"amount": 900, "currency": "usd", "source": "tok_visa"},
            ),
            key="refunded",
        )
        given: JsonObject = {"charge": charge.body["id"], "amount": 200}
        raw: JsonObject = {"method": "POST", "path": "/v1/refunds", "params": {"charge": given["charge"]}}
        call = ToolCall(tool="raw-api-request", params=raw)
        await wire.send(
            Request(method="POST", path="/v1/refunds", template="/v1/refunds", params=given), key="refund-1"
        )

        async def read(request: Request) -> JsonObject:
            return (await wire.send(request)).body

        bound = STRIPE.bind(STRIPE.catalog.tool("raw-api-request"), call, _shop(stripe))
        result = await STRIPE.assess(bound, read)
        assert result.params["amount"] == 700
        assert result.target == charge.body["id"]

    wired(stripe, use)


def test_lists_of_the_sandbox_are_read_to_their_end(stripe: Sandbox) -> None:
    async def use(wire: StripeWire) -> None:
        for number in range(12):
            await wire.send(
                Request(
                    method="POST",
                    path="/v1/customers",
                    template="/v1/customers",
                    params={"email": f"list{number}@example.com", "metadata": {"batch": "it's \\ 7"}},
                ),
                key=f"customer-{number}",
            )
        request = Request(method="GET", path="/v1/customers", template="/v1/customers")
        plan = ListPlan(style="cursor", wanted=10, page_size=5)
        listing = await wire.read_list(request, plan, Paging(paginate="all"))
        assert listing.complete
        assert len({item["id"] for item in listing.data}) == listing.fetched >= 12
        assert abs(listing.as_of - stripe.now) < 60
        assert listing.livemode is False

    wired(stripe, use)


def _shop(stripe: Sandbox) -> Connection:
    return Connection.model_validate(
        {"name": "shop", "secret_key": "${env:KEY}", "mode": "test", "base_url": stripe.url}
    )

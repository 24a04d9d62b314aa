"""Lists are read to where they should be, and say truthfully how far that was."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spojit_stripe.connector import Answer, Listing, ListPlan
from spojit_stripe.errors import ConfigurationError, InputError, ServiceError, UnavailableError
from spojit_stripe.values import JsonObject, JsonValue, Paging, Request
from spojit_stripe.wire.listing import PAGE_CAP, Page, body_of, read_list

LIST = Request(method="GET", path="/v1/charges", template="/v1/charges")
SEARCH = Request(
    method="GET", path="/v1/charges/search", template="/v1/charges/search", params={"query": "status:'succeeded'"}
)
V2 = Request(method="GET", path="/v2/core/events", template="/v2/core/events", version=2)
PLAN = ListPlan(style="cursor", wanted=10, page_size=100)
PAGE, ALL = Paging(), Paging(paginate="all")


def objects(count: int) -> list[JsonObject]:
    return [{"id": f"ch_{number}", "status": "failed" if number % 3 else "succeeded"} for number in range(count)]


class Service:
    """A list as Stripe gives it, newest first, in pages of at most `most` objects."""

    def __init__(self, data: list[JsonObject], most: int = 100) -> None:
        self.data = data
        self.most = most
        self.asked: list[JsonObject] = []

    async def __call__(self, request: Request) -> Answer:
        params = dict(request.params)
        self.asked.append(params)
        size = min(int(str(params.get("limit", 10))), self.most)
        number = len(self.asked)
        return Answer(
            body=self.body(request, params, size),
            request_id=f"req_{number}",
            date=1_000 + number,
            api_version="v",
            livemode=False,
        )

    def body(self, request: Request, params: JsonObject, size: int) -> JsonObject:
        if request.version == 2:
            start = int(str(params.get("page", "0")))
            more = start + size < len(self.data)
            url = f"{request.path}?page={start + size}&limit=3" if more else None
            return {"data": [*self.data[start : start + size]], "next_page_url": url, "previous_page_url": None}
        if request.path.endswith("/search"):
            start = int(str(params.get("page", "0")))
            more = start + size < len(self.data)
            page = [*self.data[start : start + size]]
            return {"data": [*page], "has_more": more, "next_page": str(start + size) if more else None}
        ids = [item["id"] for item in self.data]
        if "ending_before" in params:
            end = ids.index(params["ending_before"])
            start = max(0, end - size)
            return {"data": [*self.data[start:end]], "has_more": start > 0}
        start = ids.index(params["starting_after"]) + 1 if "starting_after" in params else 0
        return {"data": [*self.data[start : start + size]], "has_more": start + size < len(ids)}


class Scripted:
    """Bodies or errors, one after another."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.asked: list[JsonObject] = []

    async def __call__(self, request: Request) -> Answer:
        self.asked.append(dict(request.params))
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return Answer(body=step, request_id="req")


def read(fetch: Any, request: Request = LIST, plan: ListPlan = PLAN, paging: Paging = PAGE, **more: Any) -> Listing:
    """`read_list` over answers that are given as JSON objects."""

    async def page(request: Request) -> Page:
        answer: Answer = await fetch(request)
        body = body_of(msgspec.json.encode(answer.body))
        assert body is not None
        return Page(
            body=body,
            request_id=answer.request_id,
            attempts=answer.attempts,
            api_version=answer.api_version,
            livemode=answer.livemode,
            date=answer.date,
            warnings=answer.warnings,
        )

    return asyncio.run(read_list(page, request, plan, paging, **more))


def asking(**params: Any) -> Request:
    return replace(LIST, params=params)


# Forward


def test_a_page_is_one_request_for_as_many_as_are_wanted() -> None:
    service = Service(objects(30))
    listing = read(service, asking(customer="cus_1", limit=99))
    assert service.asked == [{"customer": "cus_1", "limit": 10}]
    assert listing.data == objects(30)[:10]
    assert (listing.fetched, listing.scanned, listing.pages) == (10, 10, 1)
    assert (listing.complete, listing.stopped_because) == (False, "max_items")
    assert listing.next_cursor == "ch_9"
    assert listing.as_of == 1_001
    assert listing.request_ids == ("req_1",)
    assert (listing.attempts, listing.api_version, listing.livemode) == (1, "v", False)


def test_a_page_that_ends_exactly_with_the_list_is_complete() -> None:
    listing = read(Service(objects(10)))
    assert (listing.complete, listing.stopped_because, listing.next_cursor) == (True, "end", None)


def test_an_answer_without_a_request_id_is_taken() -> None:
    async def fetch(_request: Request) -> Answer:
        return Answer(body={"data": [], "has_more": False})

    assert read(fetch).request_ids == ()


def test_an_empty_list_is_a_complete_result() -> None:
    listing = read(Service([]))
    assert (listing.data, listing.complete, listing.stopped_because) == ([], True, "end")


def test_all_follows_to_the_end_by_a_hundred() -> None:
    service = Service(objects(250))
    listing = read(service, paging=ALL)
    assert service.asked == [
        {"limit": 100},
        {"limit": 100, "starting_after": "ch_99"},
        {"limit": 100, "starting_after": "ch_199"},
    ]
    assert listing.data == objects(250)
    assert (listing.complete, listing.stopped_because, listing.pages) == (True, "end", 3)
    assert listing.as_of == 1_001


def test_a_list_is_complete_from_where_it_was_begun() -> None:
    listing = read(Service(objects(30)), asking(starting_after="ch_19"), paging=ALL)
    assert listing.data == objects(30)[20:]
    assert listing.complete


def test_max_items_asks_for_no_more_than_it_needs() -> None:
    service = Service(objects(300))
    listing = read(service, paging=Paging(paginate="all", max_items=150))
    assert [asked["limit"] for asked in service.asked] == [100, 50]
    assert (listing.fetched, listing.stopped_because, listing.next_cursor) == (150, "max_items", "ch_149")
    listing = read(Service(objects(300)), paging=Paging(max_items=3))
    assert listing.fetched == 3


def test_the_next_cursor_continues_without_gap_or_repeat() -> None:
    got: list[JsonObject] = []
    request = LIST
    while True:
        listing = read(Service(objects(47)), request, replace(PLAN, keep={"status": "succeeded"}, wanted=4))
        got += listing.data
        if listing.next_cursor is None:
            break
        request = asking(starting_after=listing.next_cursor)
    assert got == [item for item in objects(47) if item["status"] == "succeeded"]


# Filters


def test_a_filter_keeps_looking_until_enough_were_found() -> None:
    service = Service(objects(300), most=20)
    listing = read(service, plan=replace(PLAN, keep={"status": "succeeded"}))
    assert [item["id"] for item in listing.data] == [f"ch_{number}" for number in range(0, 30, 3)]
    assert {asked["limit"] for asked in service.asked} == {100}
    assert (listing.fetched, listing.pages, listing.stopped_because) == (10, 2, "max_items")
    # Everything before the eleventh match was looked at and need not be again.
    assert (listing.next_cursor, listing.scanned) == ("ch_29", 30)
    assert not listing.complete


def test_a_filter_that_finds_the_last_match_knows_that_it_was_the_last() -> None:
    listing = read(Service(objects(29)), plan=replace(PLAN, keep={"status": "succeeded"}))
    assert (listing.fetched, listing.scanned) == (10, 29)
    assert (listing.complete, listing.stopped_because) == (True, "end")


def test_a_filter_that_finds_nothing_stops_at_the_page_cap() -> None:
    service = Service(objects(3000))
    listing = read(service, plan=replace(PLAN, keep={"status": "pending"}))
    assert len(service.asked) == PAGE_CAP == 20
    assert (listing.data, listing.complete, listing.stopped_because) == ([], False, "max_pages")
    assert listing.next_cursor == "ch_1999"
    listing = read(Service(objects(3000)), plan=replace(PLAN, keep={"status": "pending"}), paging=Paging(max_pages=2))
    assert (listing.pages, listing.scanned) == (2, 200)


def test_all_with_a_filter_has_no_page_cap() -> None:
    listing = read(Service(objects(3000)), plan=replace(PLAN, keep={"status": "pending"}), paging=ALL)
    assert (listing.pages, listing.complete, listing.scanned) == (30, True, 3000)


# Backwards


def test_a_page_before_an_object_is_in_stripes_order() -> None:
    service = Service(objects(30))
    listing = read(service, asking(ending_before="ch_20"), replace(PLAN, wanted=5))
    assert service.asked == [{"limit": 5, "ending_before": "ch_20"}]
    assert [item["id"] for item in listing.data] == ["ch_15", "ch_16", "ch_17", "ch_18", "ch_19"]
    assert (listing.next_cursor, listing.stopped_because) == ("ch_15", "max_items")


def test_all_before_an_object_goes_back_to_the_newest() -> None:
    service = Service(objects(30), most=8)
    listing = read(service, asking(ending_before="ch_20"), paging=ALL)
    assert listing.data == objects(30)[:20]
    assert [asked["ending_before"] for asked in service.asked] == ["ch_20", "ch_12", "ch_4"]
    assert (listing.complete, listing.stopped_because) == (True, "end")


# Searches


def test_a_search_follows_its_token_and_is_never_complete() -> None:
    service = Service(objects(250))
    listing = read(service, SEARCH, replace(PLAN, style="search"), ALL)
    assert service.asked[1] == {"query": "status:'succeeded'", "limit": 100, "page": "100"}
    assert listing.data == objects(250)
    assert (listing.complete, listing.stopped_because, listing.next_cursor) == (False, "end", None)


def test_a_page_of_a_search_says_where_it_goes_on() -> None:
    listing = read(Service(objects(30)), SEARCH, replace(PLAN, style="search"))
    assert (listing.next_cursor, listing.stopped_because) == ("10", "max_items")
    onwards = replace(SEARCH, params={**SEARCH.params, "page": "10"})
    assert read(Service(objects(30)), onwards, replace(PLAN, style="search")).data == objects(30)[10:20]


def test_a_page_that_was_used_in_part_is_given_again() -> None:
    paging = Paging(paginate="all", max_items=150)
    listing = read(Service(objects(250)), SEARCH, replace(PLAN, style="search"), paging)
    assert (listing.fetched, listing.next_cursor) == (150, "100")
    assert "in part" in listing.warnings[0]


# v2


def test_a_v2_list_follows_the_page_of_its_next_url_only() -> None:
    service = Service(objects(250))
    request = replace(V2, params={"object_id": "cus_1"})
    listing = read(service, request, replace(PLAN, style="v2"), ALL)
    assert service.asked[1] == {"object_id": "cus_1", "limit": 100, "page": "100"}
    assert listing.data == objects(250)
    assert (listing.complete, listing.stopped_because) == (True, "end")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/v2/core/events?page=2",
        "//evil.example/v2/core/events?page=2",
        "http://api.stripe.com/v2/core/events?page=2",
        "/v2/core/accounts?page=2",
        "/v2/core/events",
        "/v2/core/events?page=2&page=3",
        "https://api.stripe.com@evil.example/v2/core/events?page=2",
        "http://[",
        "http://\u2100.example/v2/core/events?page=2",
        7,
    ],
)
def test_a_next_url_that_leads_elsewhere_is_not_followed(url: Any) -> None:
    service = Scripted({"data": [{"id": "evt_1"}], "next_page_url": url})
    listing = read(service, V2, replace(PLAN, style="v2"), ALL)
    assert (listing.complete, listing.stopped_because) == (False, "anomaly")
    assert listing.data == [{"id": "evt_1"}]
    assert len(service.asked) == 1


def test_a_next_url_with_the_own_host_is_followed() -> None:
    url = "https://api.stripe.com/v2/core/events?page=2"
    service = Scripted({"data": [{"id": "a"}], "next_page_url": url}, {"data": [{"id": "b"}], "next_page_url": None})
    assert read(service, V2, replace(PLAN, style="v2"), ALL).fetched == 2


# What is odd

ODD: list[tuple[list[Any], str]] = [
    ([{"data": [], "has_more": True}], "empty"),
    ([{"data": [{"id": "a"}], "has_more": True}, {"data": [], "has_more": True}], "empty"),
    ([{"data": [{"id": "a"}], "has_more": True}, {"data": [{"id": "a"}], "has_more": True}], "read before"),
    ([{"data": [{"id": i}], "has_more": True} for i in "abca"], "read before"),
    ([{"data": [{"object": "x"}], "has_more": True}], "not where"),
    ([{"data": [{"id": "a"}]}], "whether more"),
    ([{"data": [{"id": "a"}], "has_more": True}, {"data": None, "has_more": False}], "no list"),
    ([{"data": [{"id": "a"}], "has_more": True}, {"data": ["x"], "has_more": False}], "no list"),
]


@pytest.mark.parametrize(("bodies", "told"), ODD)
def test_an_odd_page_ends_the_list_and_is_told(bodies: list[Any], told: str) -> None:
    listing = read(Scripted(*bodies), paging=ALL)
    assert (listing.complete, listing.stopped_because) == (False, "anomaly")
    assert told in listing.warnings[-1]
    ids = [item.get("id") for item in listing.data]
    assert len(set(ids)) == len(ids)


def test_a_search_without_a_token_is_odd() -> None:
    listing = read(Scripted({"data": [{"id": "a"}], "has_more": True}), SEARCH, replace(PLAN, style="search"), ALL)
    assert (listing.fetched, listing.stopped_because) == (1, "anomaly")


def test_a_list_without_cursors_is_one_page() -> None:
    plan = replace(PLAN, page_size=0)
    service = Scripted({"data": [{"id": "a"}], "has_more": False})
    assert read(service, plan=plan, paging=ALL).complete
    assert service.asked == [{}]
    listing = read(Scripted({"data": [{"id": "a"}], "has_more": True}), plan=plan, paging=ALL)
    assert (listing.fetched, listing.stopped_because) == (1, "anomaly")


def test_what_is_no_list_at_all_is_an_error() -> None:
    with pytest.raises(ServiceError, match="no list"):
        read(Scripted({"id": "ch_1"}))


def test_the_first_pages_error_is_raised_and_a_later_one_keeps_what_was_read() -> None:
    error = UnavailableError("busy")
    with pytest.raises(UnavailableError):
        read(Scripted(error))
    listing = read(Scripted({"data": [{"id": "a"}], "has_more": True}, error), paging=ALL)
    assert listing.data == [{"id": "a"}]
    assert (listing.complete, listing.stopped_because, listing.error) == (False, "error", error)
    assert listing.next_cursor == "a"


@pytest.mark.parametrize("bounds", [{"max_items": 0}, {"max_pages": -1}, {"deadline_seconds": 0.0}])
def test_impossible_bounds_are_refused_unsent(bounds: dict[str, Any]) -> None:
    service = Service(objects(3))
    with pytest.raises(InputError, match="more than 0"):
        read(service, paging=Paging(**bounds))
    assert not service.asked


# Time


def test_a_deadline_stops_between_pages() -> None:
    now = [0.0]
    service = Service(objects(1000))

    async def slow(request: Request) -> Answer:
        now[0] += 4
        return await service(request)

    paging = Paging(paginate="all", deadline_seconds=10)
    listing = read(slow, paging=paging, clock=lambda: now[0])
    assert (listing.pages, listing.stopped_because, listing.next_cursor) == (3, "deadline", "ch_299")


def test_a_deadline_does_not_wait_for_a_page_that_hangs() -> None:
    service = Service(objects(1000))

    async def hanging(request: Request) -> Answer:
        if service.asked:
            await asyncio.sleep(60)
        return await service(request)

    listing = read(hanging, paging=Paging(paginate="all", deadline_seconds=0.05))
    assert (listing.pages, listing.stopped_because) == (1, "deadline")
    with pytest.raises(UnavailableError, match="deadline_seconds"):
        read(hanging_first, paging=Paging(deadline_seconds=0.05))


async def hanging_first(_request: Request) -> Answer:
    await asyncio.sleep(60)
    raise AssertionError


def test_progress_is_told_after_each_page() -> None:
    told: list[tuple[int, int, int]] = []
    plan = replace(PLAN, keep={"status": "succeeded"})
    read(Service(objects(250)), plan=plan, paging=ALL, progress=lambda *counts: told.append(counts))
    assert told == [(34, 100, 1), (67, 200, 2), (84, 250, 3)]


def test_without_a_date_the_own_clock_says_when_it_was() -> None:
    service = Scripted({"data": [], "has_more": False})
    assert read(service, wall=lambda: 77.9).as_of == 77


# Any split into pages gives the same list.


@given(
    count=st.integers(0, 40),
    most=st.integers(1, 12),
    size=st.integers(1, 12),
    filtered=st.booleans(),
    wanted=st.none() | st.integers(1, 45),
    style=st.sampled_from(["cursor", "search", "v2", "backwards"]),
)
def test_any_split_into_pages_gives_the_same_list(
    count: int, most: int, size: int, filtered: bool, wanted: int | None, style: Any
) -> None:
    data = objects(count)
    request = {"search": SEARCH, "v2": V2}.get(style, LIST)
    if style == "backwards":
        data.append({"id": "last", "status": "succeeded"})
        request, style = asking(ending_before="last"), "backwards"
    plan = ListPlan(
        style="cursor" if style == "backwards" else style,
        wanted=10,
        page_size=size,
        keep={"status": "succeeded"} if filtered else {},
    )
    listing = read(Service(data, most), request, plan, Paging(paginate="all", max_items=wanted))
    right = [item for item in data[:count] if not filtered or item["status"] == "succeeded"]
    start = max(0, len(right) - wanted) if wanted and style == "backwards" else 0
    expected = right[start : start + (wanted or count)]
    assert listing.data == expected
    everything = wanted is None or len(right) <= wanted
    if everything and wanted != len(right):
        assert listing.stopped_because == "end"
        assert listing.complete is (style != "search")
    if listing.complete:
        assert expected == right


# To a sink


class Kept:
    """A sink that remembers what it was given, and fails from the `fails_at`th call on."""

    def __init__(self, fails_at: int = 1_000) -> None:
        self.writes: list[list[JsonObject]] = []
        self._fails_at = fails_at

    def write(self, objects: Sequence[JsonObject]) -> None:
        if len(self.writes) >= self._fails_at:
            raise ConfigurationError("the disk is full; make room")
        self.writes.append(list(objects))

    @property
    def ids(self) -> list[JsonValue]:
        return [item["id"] for write in self.writes for item in write]


def ids_of(data: list[JsonObject]) -> list[JsonValue]:
    return [item["id"] for item in data]


def test_a_sink_gets_each_page_and_the_listing_holds_nothing() -> None:
    sink = Kept()
    listing = read(Service(objects(250)), paging=ALL, sink=sink)
    assert [len(write) for write in sink.writes] == [100, 100, 50]
    assert sink.ids == ids_of(objects(250))
    assert listing.data == []
    assert (listing.fetched, listing.scanned, listing.pages, listing.complete) == (250, 250, 3, True)


def test_a_page_is_asked_for_after_the_sink_took_the_one_before() -> None:
    order: list[str] = []
    service = Service(objects(150))

    async def fetch(request: Request) -> Answer:
        order.append("asked")
        return await service(request)

    class Slow(Kept):
        def write(self, objects: Sequence[JsonObject]) -> None:
            order.append(f"took {len(objects)}")

    read(fetch, paging=ALL, sink=Slow())
    assert order == ["asked", "took 100", "asked", "took 50"]


def test_a_sink_gets_only_what_passes_the_filter_and_no_more_than_wanted() -> None:
    sink = Kept()
    plan = replace(PLAN, keep={"status": "succeeded"})
    whole = read(Service(objects(250)), plan=plan, paging=replace(ALL, max_items=50))
    listing = read(Service(objects(250)), plan=plan, paging=replace(ALL, max_items=50), sink=sink)
    assert sink.ids == ids_of(whole.data)
    assert listing == replace(whole, data=[])


def test_a_sink_is_not_called_for_a_page_without_a_match() -> None:
    sink = Kept()
    listing = read(Service(objects(250)), plan=replace(PLAN, keep={"status": "never"}), paging=ALL, sink=sink)
    assert (sink.writes, listing.fetched, listing.scanned, listing.complete) == ([], 0, 250, True)


def test_a_sink_gets_a_list_that_is_read_backwards_in_its_own_order() -> None:
    sink = Kept()
    listing = read(Service(objects(250)), asking(ending_before="ch_220"), paging=ALL, sink=sink)
    assert sink.ids == ids_of(objects(220))
    assert (listing.data, listing.fetched) == ([], 220)


def test_a_sink_that_can_take_no_more_ends_the_read_with_its_error() -> None:
    service = Service(objects(500))
    with pytest.raises(ConfigurationError, match="the disk is full"):
        read(service, paging=ALL, sink=Kept(fails_at=1))
    assert len(service.asked) == 2


def test_what_came_before_a_failure_is_in_the_sink() -> None:
    sink = Kept()
    page = {"data": [{"id": "ch_1"}], "has_more": True}
    listing = read(Scripted(page, UnavailableError("down")), paging=ALL, sink=sink)
    assert (sink.ids, listing.stopped_because, listing.fetched, listing.next_cursor) == (["ch_1"], "error", 1, "ch_1")

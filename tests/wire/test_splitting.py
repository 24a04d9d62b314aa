"""A list that is read in windows of time is the list that one cursor would have read."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spojit_stripe.connector import Listing, ListPlan
from spojit_stripe.errors import ConfigurationError, InvalidRequestError, Problem, UnavailableError
from spojit_stripe.values import JsonObject, JsonValue, Paging, Request
from spojit_stripe.wire.listing import Page, body_of, read_list
from spojit_stripe.wire.listing.spill import Spill

pytestmark = pytest.mark.long

NOW = 1_790_000_000
LIST = Request(method="GET", path="/v1/charges", template="/v1/charges")
PLAN = ListPlan(style="cursor", wanted=10, page_size=100, windowed=True)
ALL = Paging(paginate="all")
GONE = InvalidRequestError("no such charge", Problem(code="resource_missing", param="starting_after", status=400))


@dataclass(frozen=True)
class Thing:
    id: str
    created: int

    def to_json(self) -> JsonObject:
        return {"id": self.id, "created": self.created, "even": self.created % 2 == 0}


def things(times: Iterable[int]) -> list[Thing]:
    """Objects created at `times`, newest first; those of one second keep their order."""
    return [Thing(f"ch_{place}", time) for place, time in enumerate(sorted(times, reverse=True))]


class Service:
    """A list of things as Stripe keeps it, answering after as many turns of the loop as it is told.

    `before` is called with the number of each request before it is answered, to change the list
    or to raise.
    """

    def __init__(
        self,
        data: Sequence[Thing],
        *,
        turns: Sequence[int] = (0,),
        before: Callable[[int], object] = lambda _number: None,
        now: int | None = NOW,
    ) -> None:
        self.data = list(data)
        self.gone: set[str] = set()
        self.asked: list[JsonObject] = []
        self.under_way = self.most_under_way = 0
        self._turns = turns
        self._before = before
        self._now = now

    def delete(self, identifier: str) -> None:
        self.data = [thing for thing in self.data if thing.id != identifier]

    def create(self, thing: Thing) -> None:
        self.data = sorted([thing, *self.data], key=lambda each: -each.created)

    async def __call__(self, request: Request) -> Page:
        number = len(self.asked)
        self.asked.append(dict(request.params))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            for _ in range(self._turns[number % len(self._turns)]):
                await asyncio.sleep(0)
            self._before(number)
            return self._page(request)
        finally:
            self.under_way -= 1

    def _page(self, request: Request) -> Page:
        params = request.params
        bounds = cast("dict[str, int]", params.get("created", {}))
        lo = max(bounds.get("gte", 0), bounds.get("gt", -1) + 1)
        hi = min(bounds.get("lt", 10**12), bounds.get("lte", 10**12) + 1)
        start = 0
        if "starting_after" in params:
            places = {thing.id: place for place, thing in enumerate(self.data)}
            if params["starting_after"] not in places:
                raise GONE
            start = places[str(params["starting_after"])] + 1
        found = [thing for thing in self.data[start:] if lo <= thing.created < hi]
        size = cast("int", params["limit"])
        return page_of({"data": [one.to_json() for one in found[:size]], "has_more": len(found) > size}, self._now)


def page_of(body: JsonObject, date: int | None = NOW) -> Page:
    read = body_of(msgspec.json.encode(body))
    assert read is not None
    return Page(body=read, request_id="req", date=date, livemode=False)


class Kept:
    """A sink that remembers what it was given."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def write(self, objects: Sequence[JsonObject]) -> None:
        self.ids += [str(one["id"]) for one in objects]


def read(
    fetch: Any, at_once: int = 4, *, request: Request = LIST, plan: ListPlan = PLAN, paging: Paging = ALL, **more: Any
) -> Listing:
    return asyncio.run(read_list(fetch, request, plan, paging, in_flight=lambda: at_once, **more))


def ids(data: Sequence[JsonObject]) -> list[JsonValue]:
    return [one["id"] for one in data]


def asking(**params: JsonValue) -> Request:
    return replace(LIST, params=params)


# Times as they come: spread out, in bursts, in one second, with long silences between
_times = st.lists(
    st.one_of(
        st.integers(NOW - 50, NOW + 1),
        st.integers(NOW - 40_000, NOW - 39_990),
        st.integers(NOW - 10_000_000, NOW - 3),
        st.integers(0, NOW),
    ),
    max_size=120,
)
_turns = st.lists(st.integers(0, 6), min_size=1, max_size=8)


@given(_times, _turns, st.integers(1, 12), st.integers(1, 9))
@settings(max_examples=120, deadline=None)
def test_any_list_comes_whole_and_in_order(times: list[int], turns: list[int], page_size: int, at_once: int) -> None:
    data = things(times)
    plan = replace(PLAN, page_size=page_size)
    service = Service(data, turns=turns)
    listing = read(service, at_once, plan=plan)
    wanted = data if len(data) <= page_size else [one for one in data if one.created < listing.as_of]
    assert ids(listing.data) == [one.id for one in wanted]
    assert (listing.complete, listing.stopped_because, listing.next_cursor) == (True, "end", None)
    assert listing.fetched == listing.scanned == len(wanted)
    assert listing.as_of == (NOW if len(data) <= page_size else NOW - 2)
    assert service.most_under_way <= at_once
    assert listing.pages <= len(service.asked)


@given(_times, _turns, st.integers(1, 12), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_in_any_order_the_same_comes_once_each(
    times: list[int], turns: list[int], page_size: int, at_once: int
) -> None:
    data = things(times)
    listing = read(
        Service(data, turns=turns), at_once, plan=replace(PLAN, page_size=page_size), paging=replace(ALL, order="any")
    )
    wanted = data if len(data) <= page_size else [one for one in data if one.created < listing.as_of]
    assert sorted(map(str, ids(listing.data))) == sorted(one.id for one in wanted)
    assert listing.complete


@given(
    _times,
    _turns,
    st.integers(1, 12),
    st.integers(1, 9),
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 119)), max_size=12),
    st.lists(st.tuples(st.integers(1, 30), st.integers(-5, 5)), max_size=12),
)
@settings(max_examples=120, deadline=None)
def test_what_stays_comes_once_while_others_are_deleted_and_made(
    times: list[int],
    turns: list[int],
    page_size: int,
    at_once: int,
    deletions: list[tuple[int, int]],
    creations: list[tuple[int, int]],
) -> None:
    data = things(times)

    def change(number: int) -> None:
        for when, place in deletions:
            if when == number and place < len(data):
                service.delete(data[place].id)
        for when, later in creations:
            if when == number:
                service.create(Thing(f"new_{number}_{later}", NOW + later))

    service = Service(data, turns=turns, before=change)
    listing = read(service, at_once, plan=replace(PLAN, page_size=page_size))
    found = ids(listing.data)
    assert len(found) == len(set(found))
    assert listing.complete
    created = [cast("int", one["created"]) for one in listing.data]
    assert created == sorted(created, reverse=True)
    if len(data) > page_size:
        stayed = {one.id for one in service.data if one.created < listing.as_of and one.id.startswith("ch_")}
        assert stayed <= set(found)
        assert all(time < listing.as_of for time in created)


@given(
    _times,
    _turns,
    st.integers(1, 12),
    st.integers(1, 9),
    st.sets(st.integers(1, 40), min_size=1, max_size=5),
)
@settings(max_examples=120, deadline=None)
def test_after_failures_what_came_has_no_gap_and_the_cursor_gives_the_rest(
    times: list[int], turns: list[int], page_size: int, at_once: int, failing: set[int]
) -> None:
    def fail(number: int) -> None:
        if number in failing:
            raise UnavailableError(f"request {number} failed")

    data = things(times)
    plan = replace(PLAN, page_size=page_size)
    sink = Kept()
    listing = read(Service(data, turns=turns, before=fail), at_once, plan=plan, sink=sink)
    wanted = [one.id for one in data if len(data) <= page_size or one.created < listing.as_of]
    if listing.complete:
        assert sink.ids == wanted
        return
    assert (listing.stopped_because, listing.data) == ("error", [])
    assert isinstance(listing.error, UnavailableError)
    assert sink.ids == wanted[: len(sink.ids)]
    assert listing.fetched == len(sink.ids)
    assert listing.next_cursor is not None
    rest = read(Service(data), plan=plan, request=asking(starting_after=listing.next_cursor))
    settled = [one for one in rest.data if cast("int", one["created"]) < listing.as_of]
    assert sink.ids + ids(settled) == wanted
    assert rest.complete


@given(_times, st.integers(1, 12), st.integers(0, 10_000_010), st.integers(0, 10_000_010), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_range_of_the_caller_is_kept_to(times: list[int], page_size: int, one: int, other: int, strict: bool) -> None:
    data = things(times)
    start, end = NOW - max(one, other), NOW - min(one, other)
    names = ("gt", "lt") if strict else ("gte", "lte")
    request = asking(created={names[0]: start, names[1]: end})
    listing = read(Service(data), plan=replace(PLAN, page_size=page_size), request=request)
    inside = [each for each in data if (start < each.created < end if strict else start <= each.created <= end)]
    wanted = inside if len(inside) <= page_size else [each for each in inside if each.created < listing.as_of]
    assert ids(listing.data) == [each.id for each in wanted]
    assert listing.complete
    assert listing.as_of <= NOW


# What it costs


def spread(count: int, apart: int) -> list[Thing]:
    return things(NOW - 10 - place * apart for place in range(count))


@pytest.mark.parametrize("apart", [0, 1, 60, 86_400])
def test_a_list_of_one_page_costs_one_request(apart: int) -> None:
    service = Service(spread(100, apart))
    assert read(service, 32).fetched == 100
    assert service.asked == [{"limit": 100}]


@pytest.mark.parametrize(("count", "at_once"), [(150, 1), (950, 1), (3_050, 1)])
def test_one_request_at_a_time_is_the_plain_cursor(count: int, at_once: int) -> None:
    service = Service(spread(count, 7))
    assert read(service, at_once).fetched == count
    assert len(service.asked) == -(-count // 100)


@pytest.mark.parametrize("apart", [1, 60, 900])
@pytest.mark.parametrize("at_once", [2, 8, 16])
def test_a_long_list_costs_hardly_more_than_the_plain_cursor(at_once: int, apart: int) -> None:
    service = Service(spread(12_000, apart), turns=[3])
    listing = read(service, at_once, sink=Kept())
    assert (listing.fetched, listing.complete) == (12_000, True)
    assert len(service.asked) <= 120 + 2 * at_once
    assert service.most_under_way == at_once


def test_no_page_is_asked_for_below_one_that_went_past_the_end_of_its_window() -> None:
    empty: list[JsonObject] = []

    class Counting(Service):
        async def __call__(self, request: Request) -> Page:
            page = await super().__call__(request)
            if not page.body.objects:
                empty.append(dict(request.params))
            return page

    result = read(Counting(spread(20_000, 60), turns=(3, 7, 2, 9)), 24)
    assert result.complete
    assert not [params for params in empty if "starting_after" in params]


def test_a_burst_in_one_second_is_read_by_one_cursor() -> None:
    data = things([*[NOW - 100] * 950, *range(NOW - 100_000, NOW - 100, 100)])
    service = Service(data, turns=[2])
    listing = read(service, 8)
    assert ids(listing.data) == [one.id for one in data]
    assert all(
        bounds.get("gte", 0) < bounds["lt"]
        for bounds in (cast("dict[str, int]", asked["created"]) for asked in service.asked[1:])
    )


def test_a_list_that_may_be_short_is_divided_with_care() -> None:
    """A page for every few months tells of no long list: two pages are two requests, however slow they are."""
    service = Service(spread(180, 86_400), turns=[3])
    listing = read(service, 16)
    assert (listing.fetched, listing.complete) == (180, True)
    assert len(service.asked) == 2


# What is given out, and when


class Encoded:
    """A sink that takes objects as they come."""

    def __init__(self) -> None:
        self.rows: list[bytes] = []

    def write(self, objects: Sequence[JsonObject]) -> None:
        raise AssertionError("they were to be had encoded")

    def write_encoded(self, rows: Iterable[bytes]) -> None:
        self.rows += map(bytes, rows)


@pytest.mark.parametrize("at_once", [1, 6])
def test_a_sink_for_encoded_objects_gets_each_as_it_came(at_once: int) -> None:
    """Also where the service indents, and where there are newlines in what it says."""
    data = spread(1_000, 60)

    class Indenting(Service):
        def _page(self, request: Request) -> Page:
            page = super()._page(request)
            body = {"data": [], "has_more": page.body.has_more}
            objects = [msgspec.json.decode(raw) | {"note": "one\ntwo"} for raw in page.body.objects or ()]
            text = msgspec.json.format(msgspec.json.encode(body | {"data": objects}), indent=2)
            read_again = body_of(text)
            assert read_again is not None
            return replace(page, body=read_again)

    sink = Encoded()
    listing = read(Indenting(data, turns=[2]), at_once, sink=sink)
    assert (listing.data, listing.fetched, listing.complete) == ([], 1_000, True)
    assert all(b"\n" in row for row in sink.rows)
    assert [msgspec.json.decode(row) for row in sink.rows] == [one.to_json() | {"note": "one\ntwo"} for one in data]


@pytest.mark.parametrize("order", ["newest", "any"])
def test_a_filter_is_applied_here(order: Any) -> None:
    data = things(NOW - 10 - place * 61 for place in range(2_000))
    sink = Kept()
    listing = read(
        Service(data, turns=[2]),
        6,
        plan=replace(PLAN, keep={"even": True}),
        paging=replace(ALL, order=order),
        sink=sink,
    )
    assert sorted(sink.ids) == sorted(one.id for one in data if one.created % 2 == 0)
    assert (listing.fetched, listing.scanned) == (1_000, 2_000)


def test_pages_of_the_newest_window_go_out_while_the_rest_is_read() -> None:
    sink = Kept()
    came: list[tuple[int, int]] = []

    def progress(fetched: int, _scanned: int, _pages: int) -> None:
        came.append((fetched, len(sink.ids)))

    read(Service(spread(3_000, 60), turns=[2]), 6, sink=sink, progress=progress)
    assert any(0 < given < fetched for fetched, given in came), "nothing was ever put aside"
    assert (came[-1][0], len(sink.ids)) == (3_000, 3_000)
    assert sorted(given for _, given in came) == [given for _, given in came]


def test_nothing_is_held_in_memory_for_a_sink() -> None:
    """A history of some megabytes goes through a file, and comes out in order."""
    data = spread(12_000, 60)
    filler = "x" * 1_000

    class Wordy(Service):
        def _page(self, request: Request) -> Page:
            page = super()._page(request)
            objects = [
                msgspec.json.encode(msgspec.json.decode(raw) | {"filler": filler}) for raw in page.body.objects or ()
            ]
            return replace(page, body=replace(page.body, objects=objects))

    sink = Kept()
    listing = read(Wordy(data, turns=[2]), 8, sink=sink)
    assert listing.complete
    assert sink.ids == [one.id for one in data]


def test_a_temporary_folder_that_takes_no_more_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, **_: Any) -> None: ...

        def seek(self, _place: int) -> None: ...

        def write(self, _text: bytes) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Full)
    with pytest.raises(ConfigurationError, match=r"No space left on device\); make room, set TMPDIR"):
        read(Service(spread(3_000, 60), turns=[2]), 6, sink=Kept())
    whole = read(Service(spread(3_000, 60), turns=[2]), 6, sink=Kept(), paging=replace(ALL, order="any"))
    assert whole.complete


def test_a_full_temporary_folder_may_say_so_only_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `put` wrote may lie in memory until another place of the file is looked at."""
    spill = Spill(on_disk=True)
    segment = spill.put([b"{}"])

    class Full(BytesIO):
        def seek(self, place: int, whence: int = 0) -> int:
            raise OSError(28, "No space left on device")

    spill.close()
    monkeypatch.setattr(spill, "_file", Full())
    with pytest.raises(ConfigurationError, match=r"No space left on device\); make room, set TMPDIR"):
        spill.take(segment)


def test_a_sink_that_can_take_no_more_ends_the_read_with_its_error() -> None:
    class Full(Kept):
        def write(self, objects: Sequence[JsonObject]) -> None:
            super().write(objects)
            if len(self.ids) > 500:
                raise ConfigurationError("the disk is full; make room")

    service = Service(spread(3_000, 60), turns=[2])
    with pytest.raises(ConfigurationError, match="the disk is full"):
        read(service, 6, sink=Full())
    assert service.under_way == 0, "a request was left behind"


def test_who_watches_is_told_what_is_left_and_the_pace() -> None:
    class Watching:
        def __init__(self) -> None:
            self.expected: list[tuple[int | None, float, bool]] = []
            self.came: list[int] = []

        def expect(self, left: int | None, per_second: float, slowed: bool) -> None:
            self.expected.append((left, per_second, slowed))

        def __call__(self, fetched: int, _scanned: int, _pages: int) -> None:
            self.came.append(fetched)

    watching = Watching()
    request = asking(created={"gte": NOW - 10 - 60 * 3_000})
    read(Service(spread(3_000, 60), turns=[2]), 6, request=request, progress=watching, limit=lambda: (24.5, True))
    assert len(watching.expected) == len(watching.came) > 29
    halfway = next(place for place, fetched in enumerate(watching.came) if fetched >= 1_500)
    left, per_second, slowed = watching.expected[halfway]
    assert left is not None
    assert 1_000 < left < 2_500
    assert (per_second, slowed) == (24.5, True)
    assert watching.expected[-1][0] == 0
    plain = Watching()
    read(Service(spread(50, 60)), progress=plain, limit=lambda: (24.5, False))
    assert (plain.expected, plain.came) == ([(None, 24.5, False)], [50])


# Where it stops


def test_a_deadline_ends_it_with_what_came_without_a_gap() -> None:
    data = spread(10_000, 60)
    times = iter(range(1_000))
    service = Service(data, turns=[2])
    listing = read(service, 6, paging=replace(ALL, deadline_seconds=8), clock=lambda: float(next(times)))
    assert (listing.complete, listing.stopped_because, listing.error) == (False, "deadline", None)
    assert 0 < listing.fetched < 10_000
    assert ids(listing.data) == [one.id for one in data[: listing.fetched]]
    assert listing.next_cursor == data[listing.fetched - 1].id
    assert service.under_way == 0


def test_a_deadline_cuts_off_a_request_that_takes_too_long() -> None:
    data = spread(3_000, 60)

    class Stuck(Service):
        async def __call__(self, request: Request) -> Page:
            if len(self.asked) == 5:
                await asyncio.Event().wait()
            return await super().__call__(request)

    service = Stuck(data)
    listing = read(service, 1, paging=replace(ALL, deadline_seconds=0.2))
    assert (listing.stopped_because, listing.fetched, listing.next_cursor) == ("deadline", 500, data[499].id)


class Odd(Service):
    """Answers the first cursor's second request with what `body` makes of the right one."""

    def __init__(self, data: Sequence[Thing], body: Callable[[JsonObject], JsonObject]) -> None:
        super().__init__(data, turns=[1])
        self._body = body

    def _page(self, request: Request) -> Page:
        page = super()._page(request)
        if request.params.get("starting_after") != "ch_99":
            return page
        objects = [msgspec.json.decode(raw) for raw in page.body.objects or ()]
        return page_of(self._body({"data": objects, "has_more": page.body.has_more}))


@pytest.mark.parametrize("at_once", [1, 6])
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (lambda body: body | {"data": [], "has_more": True}, "is empty and says that more follows"),
        (lambda body: {"data": body["data"]}, "does not say whether more follows"),
        (lambda body: body | {"data": 5}, "is no list"),
        (lambda body: body | {"data": [{"id": "ch_x"}]}, "has an object without an id or a time"),
        (lambda body: body | {"data": [{"id": "ch_x", "created": NOW + 9}]}, "outside of the range"),
        (
            lambda body: body | {"data": [{"id": "ch_99", "created": NOW - 10 - 99 * 60}], "has_more": True},
            "leads back",
        ),
    ],
)
def test_a_page_that_can_not_be_trusted_ends_the_list(body: Any, text: str, at_once: int) -> None:
    data = spread(3_000, 60)
    listing = read(Odd(data, body), at_once)
    assert (listing.complete, listing.stopped_because) == (False, "anomaly")
    assert ids(listing.data) == [one.id for one in data[:100]]
    assert listing.next_cursor == "ch_99"
    assert text in listing.warnings[0]
    assert listing.warnings[0].endswith("the list is not complete")


@given(_times, _turns, st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_list_in_another_order_still_comes_whole(
    times: list[int], turns: list[int], page_size: int, at_once: int, seed: int
) -> None:
    """Only the first page is known to be in the order of `created`: the rest need not be."""
    data = things(times)
    rest = data[page_size:]
    random.Random(seed).shuffle(rest)
    service = Service([*data[:page_size], *rest], turns=turns)
    listing = read(service, at_once, plan=replace(PLAN, page_size=page_size))
    assert listing.complete
    wanted = [one.id for one in data if len(data) <= page_size or one.created < listing.as_of]
    assert sorted(map(str, ids(listing.data))) == sorted(wanted)


@pytest.mark.parametrize("seed", range(20))
def test_a_list_whose_order_changes_late_is_not_called_complete_with_less(seed: int) -> None:
    data = spread(6000, 60)
    rest = data[4000:]
    random.Random(seed).shuffle(rest)
    listing = read(Service([*data[:4000], *rest], turns=(1, 5, 2, 9, 3)), 6)
    got = ids(listing.data)
    if listing.complete:
        assert sorted(map(str, got)) == sorted(one.id for one in data)
    else:
        assert listing.stopped_because == "anomaly"
        assert "is not newest first" in listing.warnings[0]
        assert got[:4000] == [one.id for one in data[: min(4000, len(got))]]


@pytest.mark.parametrize("seed", range(12))
def test_neighbours_in_the_other_order_are_no_other_order(seed: int) -> None:
    """Clocks differ a little: what was made within some seconds may stand either way round."""
    data = spread(8000, 5)
    choice = random.Random(seed)
    for place in range(1200, 7900, 37):
        at = place + choice.randrange(30)
        data[at], data[at + 1] = data[at + 1], data[at]
    listing = read(Service(data, turns=(1, 5, 2, 9, 3)), 6)
    assert listing.complete, listing.warnings
    assert sorted(map(str, ids(listing.data))) == sorted(one.id for one in data)


def test_a_cursor_that_is_always_gone_is_an_error_in_the_end() -> None:
    class Forgetful(Service):
        def _page(self, request: Request) -> Page:
            if "starting_after" in request.params:
                raise GONE
            return super()._page(request)

    data = things([NOW - 50] * 300)
    listing = read(Forgetful(data), 1)
    assert (listing.complete, listing.stopped_because, listing.error) == (False, "error", GONE)
    assert ids(listing.data) == [one.id for one in data[:100]]


def test_an_answer_from_the_wrong_mode_ends_the_list() -> None:
    """It is no refusal by the service, and no cursor that is gone."""
    wrong = ConfigurationError("answered from live mode")

    def fail(number: int) -> None:
        if number == 3:
            raise wrong

    listing = read(Service(spread(3_000, 60), before=fail), 1)
    assert (listing.complete, listing.stopped_because, listing.error) == (False, "error", wrong)
    assert listing.fetched == 300


def test_a_defect_is_not_taken_for_a_failure_of_the_service() -> None:
    def fail(number: int) -> None:
        if number == 5:
            raise ZeroDivisionError

    service = Service(spread(3_000, 60), turns=[2], before=fail)
    with pytest.raises(ZeroDivisionError):
        read(service, 6)
    assert service.under_way == 0


def test_in_any_order_a_failure_leaves_no_cursor() -> None:
    def fail(number: int) -> None:
        if number == 9:
            raise UnavailableError("down")

    service = Service(spread(3_000, 60), turns=[2], before=fail)
    listing = read(service, 6, paging=replace(ALL, order="any"))
    assert (listing.complete, listing.stopped_because, listing.next_cursor) == (False, "error", None)
    assert "read the list again" in listing.warnings[-1]
    assert len(set(map(str, ids(listing.data)))) == listing.fetched > 0


# Where it does not divide


@pytest.mark.parametrize(
    "paging",
    [Paging(), replace(ALL, max_items=350), replace(ALL, max_pages=3)],
)
def test_a_part_of_a_list_is_read_by_one_cursor(paging: Paging) -> None:
    service = Service(spread(3_000, 60))
    read(service, 6, paging=paging)
    assert all("created" not in asked for asked in service.asked)
    assert service.most_under_way == 1


@pytest.mark.parametrize(
    ("service", "request_"),
    [
        (Service(spread(450, 60), now=None), LIST),  # nobody knows the service's time
        (Service(things(NOW + 86_400 + place for place in range(450))), LIST),  # a test clock's objects
        (Service([Thing("", NOW - 10), *spread(449, 60)]), LIST),  # an object without an id
        (Service([Thing("ch_old", 5), *spread(449, 60)]), LIST),  # not the newest first
        (Service(spread(450, 0)), asking(created=NOW - 10)),
        (Service(spread(450, 60)), asking(created={"gte": "1000"})),
        (Service(spread(450, 60)), asking(starting_after="ch_3")),
    ],
)
def test_what_has_no_plain_range_of_time_is_read_by_one_cursor(service: Service, request_: Request) -> None:
    service.data, whole = service.data, len(service.data)
    if isinstance(request_.params.get("created"), int | dict):
        service._page = _without_range(service)  # type: ignore[method-assign]
    listing = read(service, 6, request=request_)
    assert listing.complete
    assert listing.fetched == whole - (4 if "starting_after" in request_.params else 0)
    assert service.most_under_way == 1
    assert listing.as_of >= NOW


def _without_range(service: Service) -> Callable[[Request], Page]:
    """Answers as if no range had been given: it is the caller's own and not the point here."""
    answer = service._page

    def page(request: Request) -> Page:
        return answer(replace(request, params={**request.params, "created": {}}))

    return page


@pytest.mark.parametrize("seed", range(8))
def test_a_deleted_cursor_of_a_list_in_another_order_loses_nothing_silently(seed: int) -> None:
    """To go on at a second would leave out what lies elsewhere: such a list ends, and says so."""
    chance = random.Random(seed)
    data = spread(3_000, 60)
    rest = data[100:]
    for place in range(0, len(rest) - 50, 50):
        rest.insert(chance.randrange(len(rest)), rest.pop(place))

    def before(number: int) -> None:
        cursor = service.asked[-1].get("starting_after")
        if number in (6, 12, 18) and cursor is not None:
            service.delete(str(cursor))

    service = Service(data[:100] + rest, before=before)
    listing = read(service, 3)
    missing = {one.id for one in service.data} - set(ids(listing.data))
    assert not missing or not listing.complete

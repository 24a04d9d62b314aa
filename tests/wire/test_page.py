"""A page is split into its objects without decoding them, and garbage is told from a list."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spojit_stripe.errors import ServiceError
from spojit_stripe.wire.listing.output import Output, Tally
from spojit_stripe.wire.listing.page import Page, body_of, decoded, heads_of, keeps, line_of


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b'{"data": [',
        b'{"data": [{"id": "ch_1"}], "has_more": fal',
        b'{"data": [{"id": "\xff"}], "has_more": false}',
        b'{"data": "\xff"}',
        b"[]",
        b"5",
        b'{"data": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_whole_object_is_no_body(text: bytes) -> None:
    assert body_of(text) is None


@pytest.mark.parametrize("text", [b"{}", b'{"data": 5}', b'{"data": [5]}', b'{"data": [[]]}', b'{"id": "ch_1"}'])
def test_an_object_that_is_no_list_is_told_apart(text: bytes) -> None:
    body = body_of(text)
    assert body is not None
    assert body.objects is None


def test_a_body_says_what_paging_needs_and_the_mode() -> None:
    body = body_of(b'{"data": [{"id": "a", "created": 5, "livemode": true}], "has_more": true, "next_page": "x"}')
    assert body is not None
    assert (body.has_more, body.next_page, body.next_page_url, body.livemode) == (True, "x", None, True)
    (head,) = heads_of(body.objects or ())
    assert (head.id, head.created) == ("a", 5)
    own = body_of(b'{"data": [], "has_more": false, "livemode": false}')
    assert own is not None
    assert own.livemode is False


def test_a_number_out_of_range_is_told_when_it_is_looked_at() -> None:
    body = body_of(b'{"data": [{"amount": 1e999}], "has_more": false}')
    assert body is not None
    with pytest.raises(ServiceError, match="can't be read"):
        decoded((body.objects or ())[0])


_json: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@given(st.lists(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), _json)), st.booleans())
def test_objects_come_through_unchanged_and_on_one_line(objects: list[dict[str, Any]], indented: bool) -> None:
    text = msgspec.json.encode({"data": objects, "has_more": False})
    body = body_of(msgspec.json.format(text, indent=2) if indented else text)
    assert body is not None
    raws = body.objects or ()
    assert [decoded(raw) for raw in raws] == objects
    lines = [line_of(raw) for raw in raws]
    assert all(b"\n" not in line and b"\0" not in line for line in lines)
    assert [msgspec.json.decode(line) for line in lines] == objects


def test_a_filter_looks_only_at_its_fields() -> None:
    passes = keeps({"status": "failed", "livemode": True, "weird name": None})
    assert passes is not None
    assert passes(b'{"status": "failed", "livemode": true, "other": {"status": 5}}')
    assert not passes(b'{"status": "failed", "livemode": false}')
    assert not passes(b'{"status": "failed", "livemode": true, "weird name": 1}')
    assert keeps({}) is None


def test_of_very_many_requests_the_first_and_the_last_ids_are_kept() -> None:
    tally = Tally()
    body = body_of(b'{"data": []}')
    assert body is not None
    for number in range(1_000):
        tally.note(Page(body=body, request_id=f"req_{number}"), lambda: 0.0)
    listing = tally.listing([], complete=True, as_of=0, next_cursor=None, stopped_because="end", error=None)
    assert listing.request_ids == (*(f"req_{n}" for n in range(100)), *(f"req_{n}" for n in range(900, 1_000)))
    assert listing.attempts == 1_000


def test_nothing_is_given_for_nothing() -> None:
    output = Output(None)
    output.give([])
    output.give([b'{"id": 1}'])
    assert (output.held, output.given) == ([{"id": 1}], 1)

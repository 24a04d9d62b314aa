"""The encoding is that of Stripe's own client, whose requests are kept in vectors.json."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spojit_stripe.errors import InputError
from spojit_stripe.wire.form import encode_form, encode_json, encode_query, pairs

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))["vectors"]


def built(value: Any) -> Any:
    """The parameters of a vector as the official client was given them."""
    if isinstance(value, dict):
        if "$datetime" in value:
            return datetime.fromisoformat(value["$datetime"])
        if "$decimal" in value:
            return Decimal(value["$decimal"])
        if "$tuple" in value:
            return tuple(built(item) for item in value["$tuple"])
        return {name: built(inner) for name, inner in value.items()}
    return [built(item) for item in value] if isinstance(value, list) else value


def of_kind(kind: str) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in VECTORS if v["kind"] == kind]


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A time without an offset is local time, and the vectors were made in UTC.
    monkeypatch.setitem(os.environ, "TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("vector", of_kind("form"))
def test_a_form_is_what_the_official_client_sends_byte_for_byte(vector: dict[str, Any]) -> None:
    assert encode_form(built(vector["params"]) or {}) == vector["expected"].encode()


@pytest.mark.parametrize("vector", of_kind("query"))
def test_a_query_has_the_pairs_that_the_official_client_sends(vector: dict[str, Any]) -> None:
    encoded = encode_query(built(vector["params"]) or {})
    # A query that was written into the path is refused by paths.py.
    in_path = parse_qsl(urlsplit(vector["path"]).query)
    assert in_path + parse_qsl(encoded, keep_blank_values=True) == parse_qsl(vector["expected"], keep_blank_values=True)


@pytest.mark.parametrize("vector", of_kind("json"))
def test_a_v2_body_is_what_the_official_client_sends_byte_for_byte(vector: dict[str, Any]) -> None:
    assert encode_json(built(vector["params"]) or {}) == vector["expected"].encode()


def test_all_vectors_are_used() -> None:
    assert len(VECTORS) == 71
    assert {vector["kind"] for vector in VECTORS} == {"form", "query", "json"}


def test_inside_a_list_values_follow_the_same_rules_as_elsewhere() -> None:
    values = [True, False, datetime(2024, 1, 1, tzinfo=UTC), Decimal("1.50"), 7, "x"]
    assert list(pairs({"a": values})) == [
        ("a[0]", "true"),
        ("a[1]", "false"),
        ("a[2]", "1704067200"),
        ("a[3]", "1.50"),
        ("a[4]", "7"),
        ("a[5]", "x"),
    ]


@pytest.mark.parametrize(
    ("params", "place"),
    [
        ({"a": [1, None]}, "a[1]"),
        ({"a": {"b": [{"c": [None]}]}}, "a[b][0][c][0]"),
        ({"a": float("nan")}, "a"),
        ({"a": [float("inf")]}, "a[0]"),
        ({"a": Decimal("Infinity")}, "a"),
        ({"a": b"bytes"}, "a"),
        ({"a": {"b": {1, 2}}}, "a[b]"),
        ({"a": "\ud800"}, "ud800"),
        ({"metadata": {"a][b": "x"}}, "metadata"),
        ({"created[gte]": 5}, "created[gte]"),
        ({"a": {5: "x"}}, "a"),
    ],
)
def test_what_means_nothing_to_stripe_is_refused_with_its_place(params: dict[str, Any], place: str) -> None:
    with pytest.raises(InputError) as caught:
        encode_form(params)
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), Decimal("NaN"), b"x", {1: "x"}])
def test_v2_bodies_refuse_what_json_can_not_say(value: Any) -> None:
    with pytest.raises(InputError, match="a"):
        encode_json({"a": [value]})


@pytest.mark.parametrize("encode", [encode_form, encode_json])
def test_bottomless_nesting_is_refused(encode: Any) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InputError, match="nested deeper"):
        encode({"a": endless})
    circle: dict[str, Any] = {}
    circle["a"] = circle
    with pytest.raises(InputError, match="nested deeper"):
        encode(circle)


def test_v2_bodies_keep_null_and_write_times_and_decimals_as_stripe_wants_them() -> None:
    body = {"a": None, "b": [None, 1.5], "c": datetime(2025, 1, 1, 0, 0, 0, 999999, tzinfo=UTC), "d": Decimal("0.10")}
    assert encode_json(body) == b'{"a": null, "b": [null, 1.5], "c": 1735689600, "d": "0.10"}'


def test_a_time_before_1970_is_cut_downwards_as_the_official_client_does() -> None:
    assert encode_query({"a": datetime(1969, 12, 31, 23, 59, 59, 500000, tzinfo=UTC)}) == "a=-1"


# Round trip: what a reader of brackets understands is what was given.

names = st.text(st.characters(exclude_characters="[]", exclude_categories=["Cs"]), min_size=1, max_size=6)
scalars = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
    | st.integers()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(names, inner, min_size=1, max_size=4),
    max_leaves=12,
)


def as_text(value: Any) -> Any:
    """The value as text at its leaves, and lists as mappings of their indexes."""
    if isinstance(value, dict):
        return {name: as_text(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return {str(index): as_text(inner) for index, inner in enumerate(value)}
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def understood(body: str) -> Mapping[str, Any]:
    """A plain reading of bracketed pairs."""
    top: dict[str, Any] = {}
    for name, value in parse_qsl(body, keep_blank_values=True, strict_parsing=bool(body)):
        first, *rest = name.replace("]", "").split("[")
        node, key = top, first
        for part in rest:
            node = node.setdefault(key, {})
            key = part
        assert key not in node
        node[key] = value
    return top


@given(st.dictionaries(names, values, max_size=5))
def test_a_reader_of_brackets_understands_what_was_given(params: dict[str, Any]) -> None:
    assert understood(encode_query(params)) == as_text(params)


@given(st.dictionaries(names, values, max_size=5))
def test_a_v2_body_is_the_json_of_what_was_given(params: dict[str, Any]) -> None:
    assert json.loads(encode_json(params)) == params

"""Search queries say what was meant, whatever stands in the values."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spojit_stripe.errors import InputError
from spojit_stripe.wire.search import search_query


@pytest.mark.parametrize(
    ("filters", "query"),
    [
        ({"email": "a@b.c"}, "email:'a@b.c'"),
        ({"metadata": {"k": "v"}}, "metadata['k']:'v'"),
        ({"metadata": {"it's": 'a "b" \\'}}, "metadata['it\\'s']:'a \"b\" \\\\'"),
        ({"metadata": {"n": 5, "ok": True}}, "metadata['n']:'5' AND metadata['ok']:'true'"),
        ({"created": 5}, "created:5"),
        ({"created": {"gt": 1, "gte": 2, "lt": 3, "lte": 4}}, "created>1 AND created>=2 AND created<3 AND created<=4"),
        ({"customer": "cus_1", "amount": 7, "refunded": False}, "customer:'cus_1' AND amount:7 AND refunded:'false'"),
    ],
)
def test_filters_become_a_query(filters: dict[str, Any], query: str) -> None:
    assert search_query(filters) == query


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({}, "at least one"),
        ({"metadata": {}}, "at least one key"),
        ({"metadata": "x"}, "at least one key"),
        ({"metadata": {"k": ""}}, "the text to look for"),
        ({"metadata": {"k": None}}, "the text to look for"),
        ({"email": ""}, "the text"),
        ({"email": None}, "the text"),
        ({"email": "a\nb"}, "line breaks"),
        ({"created": {"after": 5}}, "created.after"),
        ({"created": {"gt": "x"}}, "whole number"),
        ({"created": {"gt": True}}, "whole number"),
        ({"metadata": {str(number): "x" for number in range(11)}}, "at most 10"),
    ],
)
def test_what_can_not_be_searched_is_refused(filters: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        search_query(filters)


@given(st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), min_size=1))
def test_no_value_breaks_out_of_its_quotes(text: str) -> None:
    query = search_query({"email": text})
    match = re.fullmatch(r"email:'((?:[^'\\]|\\.)*)'", query, re.DOTALL)
    assert match
    assert re.sub(r"\\(.)", r"\1", match.group(1), flags=re.DOTALL) == text

from __future__ import annotations

import pytest

from spojit_stripe.words import nearest


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("limt", "; did you mean 'limit'?"),
        ("LIMIT", "; did you mean 'limit'?"),
        ("customr", "; did you mean 'Customer'?"),
        ("zebra", ""),
        ("", ""),
    ],
)
def test_the_nearest_known_word_is_named(word: str, hint: str) -> None:
    assert nearest(word, ["limit", "Customer", "status"]) == hint


def test_nothing_is_named_where_nothing_is_known() -> None:
    assert nearest("limit", []) == ""

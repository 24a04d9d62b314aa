"""Search queries made from a list's filters, in Stripe's search language.

`field:'value'` matches exactly, metadata is `metadata['key']:'value'`, times compare with
`>` and the like, clauses are joined by AND (https://docs.stripe.com/search#search-query-language).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from spojit_stripe.errors import InputError
from spojit_stripe.values import JsonValue, Params

__all__ = ["MAX_CLAUSES", "search_query"]

MAX_CLAUSES: Final = 10
"""Stripe takes at most ten clauses in one query."""

_COMPARE: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def search_query(filters: Params, *, what: str = "the search", combines: Collection[str] | None = None) -> str:
    """`{"email": "a@b.c", "metadata": {"k": "v"}}` as `email:'a@b.c' AND metadata['k']:'v'`.

    `combines` are the filters that the search can express; None allows all. A number means
    equal, an object with gt, gte, lt or lte a range, text an exact match without regard to
    upper and lower case.

    Raises `InputError` for what a search can't do and for more than ten clauses.
    """
    clauses: list[str] = []
    for name, value in filters.items():
        if combines is not None and name not in combines:
            raise InputError(f"{name}: {what} is a search, which knows no {name}; leave one of the two out")
        clauses.extend(_clauses(name, value))
    if not clauses:
        raise InputError(f"{what}: a search needs at least one filter")
    if len(clauses) > MAX_CLAUSES:
        raise InputError(f"{what}: a search takes at most {MAX_CLAUSES} conditions, these are {len(clauses)}")
    return " AND ".join(clauses)


def _clauses(name: str, value: JsonValue) -> list[str]:
    if name == "metadata":
        return _metadata(value)
    if isinstance(value, dict):
        return [f"{name}{_comparison(name, how)}{_number(f'{name}.{how}', bound)}" for how, bound in value.items()]
    return [f"{name}:{_literal(name, value)}"]


def _metadata(value: JsonValue) -> list[str]:
    if not isinstance(value, dict) or not value:
        raise InputError("metadata: give at least one key and its value")
    return [
        f"metadata[{_quoted('metadata', key)}]:{_quoted(f'metadata.{key}', _as_text(key, one))}"
        for key, one in value.items()
    ]


def _as_text(key: str, value: JsonValue) -> str:
    # Stripe stores all metadata as text: 5 was stored as '5' and true as 'true'.
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value:
        raise InputError(f"metadata.{key}: give the text to look for, got {value!r}")
    return value


def _comparison(name: str, how: str) -> str:
    found = _COMPARE.get(how)
    if found is None:
        raise InputError(f"{name}.{how}: a range takes gt, gte, lt and lte")
    return found


def _literal(name: str, value: JsonValue) -> str:
    if isinstance(value, bool):
        return f"'{_as_text(name, value)}'"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value:
        raise InputError(f"{name}: give the text or number to look for, got {value!r}")
    return _quoted(name, value)


def _number(place: str, value: JsonValue) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{place}: expected a whole number, got {value!r}")
    return str(value)


def _quoted(place: str, text: str) -> str:
    if any(character in text for character in "\0\r\n"):
        raise InputError(f"{place}: a search can't look for line breaks")
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

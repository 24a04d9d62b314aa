"""What a table's columns are, from the schema of its rows and from the rows."""

from __future__ import annotations

import pytest

from spojit_stripe.catalog import Catalog
from spojit_stripe.data.columns import columns_for
from spojit_stripe.errors import InputError
from spojit_stripe.values import JsonObject, JsonValue


def _types(properties: JsonObject, seen: dict[str, list[str]] | None = None) -> dict[str, str]:
    columns = columns_for("t", {"properties": properties}, {} if seen is None else seen)
    return {
        column.name: column.type if column.reading == "plain" else f"{column.type} {column.reading}"
        for column in columns
    }


@pytest.mark.parametrize(
    ("schema", "type"),
    [
        ({"type": "integer"}, "BIGINT"),
        ({"type": ["integer", "null"]}, "BIGINT"),
        ({"type": "integer", "format": "minor-units"}, "BIGINT"),
        ({"type": ["integer", "null"], "format": "minor-units"}, "BIGINT"),
        ({"type": "boolean"}, "BOOLEAN"),
        ({"type": "string"}, "VARCHAR"),
        ({"type": "number"}, "DOUBLE"),
        ({"type": ["integer", "number"]}, "DOUBLE"),
        ({"type": "object"}, "JSON"),
        ({"type": "array"}, "JSON"),
        ({"type": ["string", "object", "null"]}, "VARCHAR"),
        ({"type": ["string", "integer"]}, "JSON"),
        ({"type": "null"}, "VARCHAR"),
        ({"const": "charge"}, "VARCHAR"),
        ({"const": None}, "VARCHAR"),
        ({"enum": ["a", "b", None]}, "VARCHAR"),
        ({"enum": [1, 2]}, "BIGINT"),
        ({"enum": [1, 2.5]}, "DOUBLE"),
        ({"enum": [True]}, "BOOLEAN"),
        ({"enum": [[], {}]}, "JSON"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "VARCHAR"),
        ({"oneOf": [{"type": "string"}, {"type": "object"}]}, "VARCHAR"),
        ({"type": [7]}, "VARCHAR"),
        ({}, "VARCHAR"),
        (True, "VARCHAR"),
    ],
)
def test_a_declared_column_has_its_type_without_any_row(schema: JsonValue, type: str) -> None:
    assert _types({"a": schema}) == {"a": type}


@pytest.mark.parametrize(
    ("seen", "type"),
    [
        (["integer", "null"], "BIGINT"),
        (["integer", "number"], "DOUBLE"),
        (["string"], "VARCHAR"),
        (["boolean"], "BOOLEAN"),
        (["object", "string"], "VARCHAR id"),
        (["object"], "JSON"),
        (["boolean", "integer"], "JSON"),
        (["null"], "VARCHAR"),
    ],
)
def test_a_column_that_is_only_in_the_rows_is_what_they_hold(seen: list[str], type: str) -> None:
    assert _types({}, {"a": seen}) == {"a": type}


def test_rows_and_schema_decide_together() -> None:
    properties: JsonObject = {
        "integer": {"type": "integer"},
        "text": {"type": "string"},
        "customer": {"type": ["string", "object", "null"]},
        "number": {"type": "number"},
    }
    seen = {
        "integer": ["number"],
        "text": ["integer"],
        "customer": ["object", "string"],
        "number": ["integer"],
        "new": ["array"],
    }
    assert _types(properties, seen) == {
        "integer": "DOUBLE",
        "text": "JSON",
        "customer": "VARCHAR id",
        "number": "DOUBLE",
        "new": "JSON",
    }
    assert _types(properties, {"customer": ["string"]})["customer"] == "VARCHAR"


@pytest.mark.parametrize(
    ("seen", "what"),
    [(["integer", "number"], "a fraction"), (["string"], "text"), (["array", "object"], "a list and an object")],
)
def test_money_is_whole_or_an_error(seen: list[str], what: str) -> None:
    with pytest.raises(InputError, match=rf"^table t: 'amount' is money in minor units, and a row holds {what} there$"):
        _types({"amount": {"type": "integer", "format": "minor-units"}}, {"amount": seen})


def test_fields_that_make_no_table_are_an_error() -> None:
    with pytest.raises(InputError, match="the fields 'Id' and 'ID' differ in case only"):
        columns_for("t", None, {"Id": ["string"], "ID": ["string"]})
    for name in ("", "a\x00b"):
        with pytest.raises(InputError, match="has a name that SQL can't use"):
            columns_for("t", None, {name: ["string"]})
    with pytest.raises(InputError, match=r"more than 1,000 different fields"):
        columns_for("t", None, None)


def test_a_table_without_anything_has_a_column_still() -> None:
    for schema in (None, {}, {"properties": []}):
        assert [column.to_json() for column in columns_for("t", schema, {})] == [
            {"name": "value", "type": "JSON", "reading": "plain"}
        ]


def test_no_money_of_the_catalog_is_a_double() -> None:
    money = 0
    for tool in Catalog.load():
        data = (tool.output_schema.get("properties") or {}).get("data") or {}
        for column in columns_for(tool.name, data.get("items"), {}):
            declared = data["items"]["properties"][column.name] if data else {}
            if declared.get("format") == "minor-units":
                money += 1
                assert column.type == "BIGINT"
    assert money > 5

"""Rows of objects as columns: which ones, and how a cell reads in a table or in CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO, cast

from spojit_stripe import money
from spojit_stripe.catalog import Tool
from spojit_stripe.errors import InputError
from spojit_stripe.redact import csv_safe, printable
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Column", "cell", "columns_of", "iso", "write_csv"]

# What a descriptor without an output schema (a raw request) says by the name alone.
_BY_NAME = {"amount": "minor-units", "created": "unix-time"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `format` is `minor-units`, `unix-time` or nothing."""

    name: str
    format: str = ""


def columns_of(tool: Tool) -> list[Column]:
    """The columns that the tool's descriptor finds worth showing."""
    schema: JsonValue = tool.output_schema
    if tool.is_list:
        schema = _inside(schema, "properties", "data", "items")
    properties = _inside(schema, "properties")
    return [
        Column(name, _format(_inside(properties, name)) or ("" if properties else _BY_NAME.get(name, "")))
        for name in tool.binding.lean
    ]


def _inside(schema: JsonValue, *names: str) -> JsonObject:
    at = schema
    for name in names:
        at = at.get(name) if isinstance(at, dict) else None
    return at if isinstance(at, dict) else {}


def _format(schema: JsonObject) -> str:
    found = schema.get("format")
    return found if isinstance(found, str) else ""


def cell(row: JsonObject, column: Column) -> str:
    """A value for people: amounts with their currency, times in UTC, objects by their id."""
    value = row.get(column.name)
    if isinstance(value, int) and not isinstance(value, bool):
        if column.format == "minor-units":
            return _amount(value, row.get("currency"))
        if column.format == "unix-time":
            return iso(value)
    return printable(_text(value))


def iso(seconds: int) -> str:
    """`2026-11-23T18:00:00Z`; a number that is no time stays a number."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def _amount(value: int, currency: JsonValue) -> str:
    if isinstance(currency, str):
        try:
            return money.format_amount(value, currency)
        except InputError:
            pass
    return str(value)


def _text(value: JsonValue) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(value.get("id"), str):
        return cast("str", value["id"])
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def write_csv(stream: TextIO, rows: Sequence[JsonObject], columns: Sequence[Column], *, header: bool = True) -> None:
    """Raw values: amounts as integers beside their currency, times as Unix seconds."""
    writer = csv.writer(stream, lineterminator="\n")
    if header:
        writer.writerow([column.name for column in columns])
    for row in rows:
        writer.writerow([csv_safe(printable(_text(row.get(column.name)))) for column in columns])

"""The kit itself: a good connector passes, and each rule finds what breaks it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from spojit_stripe.catalog import Catalog, Tool
from spojit_stripe.connection import Connection
from spojit_stripe.connector import BoundCall, Read
from spojit_stripe.testing import Case, FakeConnector, cases, check_connector, sample_params
from spojit_stripe.values import Amount, Assessment, Effect, JsonObject, Request, ToolCall

GOOD = FakeConnector()


@pytest.mark.parametrize("case", cases(GOOD), ids=str)
def test_a_good_connector_keeps_every_rule(case: Case) -> None:
    case.run()


def test_a_good_connector_passes_at_once() -> None:
    check_connector(GOOD)


def with_descriptor(tmp_path: Path, tool: str, change: Callable[[Any], object]) -> FakeConnector:
    """The fake connector with one descriptor changed."""
    folder = tmp_path / "descriptors"
    shutil.copytree(GOOD.catalog.directory, folder)
    document = json.loads((folder / f"{tool}.json").read_text())
    change(document)
    (folder / f"{tool}.json").write_text(json.dumps(document))
    connector = FakeConnector()
    connector.catalog = Catalog.load(folder)
    return connector


@pytest.mark.parametrize(
    ("tool", "rule", "change"),
    [
        ("make-note", "fits_the_descriptor_schema", lambda d: d.update(title="x")),
        ("make-note", "has_valid_schemas", lambda d: d["outputSchema"].update(type="no such type")),
        ("make-note", "hints_agree_with_its_effect", lambda d: d["annotations"].update(readOnlyHint=True)),
        ("get-payment", "hints_agree_with_its_effect", lambda d: d["annotations"].update(readOnlyHint=False)),
        ("get-payment", "hints_agree_with_its_effect", lambda d: d["annotations"].update(idempotentHint=False)),
        ("make-payment", "hints_agree_with_its_effect", lambda d: d["annotations"].update(destructiveHint=False)),
        ("raw-request", "hints_agree_with_its_effect", lambda d: d["annotations"].update(readOnlyHint=True)),
        ("make-note", "refuses_an_unknown_parameter", lambda d: d["inputSchema"].pop("additionalProperties")),
        ("make-note", "shows_columns_that_exist", lambda d: d["binding"]["lean"].append("no_such_column")),
        ("make-note", "shows_columns_that_exist", lambda d: d["outputSchema"].pop("properties")),
        ("list-payments", "shows_columns_that_exist", lambda d: d["outputSchema"]["properties"].pop("as_of")),
        ("list-payments", "answers_a_list_in_the_envelope", lambda d: d["outputSchema"].update(required=["extra"])),
        ("make-note", "keeps_author_options_from_callers", lambda d: d["binding"].update(author_only=["missing"])),
    ],
)
def test_a_faulty_descriptor_is_found(tmp_path: Path, tool: str, rule: str, change: Callable[[Any], object]) -> None:
    with pytest.raises(AssertionError, match=f"{tool}: {rule}: "):
        check_connector(with_descriptor(tmp_path, tool, change))


class Unescaped(FakeConnector):
    def bind(self, tool: Tool, call: ToolCall, connection: Connection) -> BoundCall:
        if tool.name == "get-payment":
            path = f"/v1/payments/{call.params['payment']}"
            request = Request(method="GET", path=path, template="/v1/payments/{payment}")
            return BoundCall(
                tool=tool.name, request=request, operation="GET /v1/payments/{payment}", effect=Effect.READ
            )
        return super().bind(tool, call, connection)


class OtherMethod(FakeConnector):
    def bind(self, tool: Tool, call: ToolCall, connection: Connection) -> BoundCall:
        bound = super().bind(tool, call, connection)
        return replace(bound, request=replace(bound.request, method="DELETE"))


class Unlisted(FakeConnector):
    def bind(self, tool: Tool, call: ToolCall, connection: Connection) -> BoundCall:
        return replace(super().bind(tool, call, connection), effect=None)


class NoPlan(FakeConnector):
    def bind(self, tool: Tool, call: ToolCall, connection: Connection) -> BoundCall:
        return replace(super().bind(tool, call, connection), listing=None)


class Crashes(FakeConnector):
    def bind(self, tool: Tool, call: ToolCall, connection: Connection) -> BoundCall:
        raise ZeroDivisionError


class Writes(FakeConnector):
    async def assess(self, bound: BoundCall, read: Read) -> Assessment:
        await read(bound.request)
        return await super().assess(bound, read)


class Shouts(FakeConnector):
    async def assess(self, bound: BoundCall, read: Read) -> Assessment:
        found = await super().assess(bound, read)
        return replace(found, amount=Amount(amount=1, currency="USD"))


class Downgrades(FakeConnector):
    async def assess(self, bound: BoundCall, read: Read) -> Assessment:
        return replace(await super().assess(bound, read), effect=Effect.READ)


class Drops(FakeConnector):
    async def assess(self, bound: BoundCall, read: Read) -> Assessment:
        return replace(await super().assess(bound, read), params={})


class PaysMore(FakeConnector):
    async def assess(self, bound: BoundCall, read: Read) -> Assessment:
        found = await super().assess(bound, read)
        return replace(found, params={**found.params, "amount": 99_999} if "amount" in found.params else found.params)


class AssessesInPlace(FakeConnector):
    async def assess(self, bound: BoundCall, read: Read) -> Assessment:
        bound.request.params["amount"] = 99_999
        return await super().assess(bound, read)


class BindsInPlace(FakeConnector):
    def bind(self, tool: Tool, call: ToolCall, connection: Connection) -> BoundCall:
        if "amount" in call.params:
            cast("JsonObject", call.params)["amount"] = 99_999
        return super().bind(tool, call, connection)


class StampsMore(FakeConnector):
    def stamp(self, bound: BoundCall, params: JsonObject, key: str) -> tuple[JsonObject, bool]:
        found, stamped = super().stamp(bound, params, key)
        return ({**found, "amount": 99_999} if "amount" in found else found), stamped


class StampsAmounts(FakeConnector):
    def stamp(self, bound: BoundCall, params: JsonObject, key: str) -> tuple[JsonObject, bool]:
        found, stamped = super().stamp(bound, params, key)
        return {"amount": 99_999, **found}, stamped


class StampsAnew(FakeConnector):
    count = 0

    def stamp(self, bound: BoundCall, params: JsonObject, key: str) -> tuple[JsonObject, bool]:
        self.count += 1
        return {**params, "metadata": {"key": f"{key}-{self.count}"}}, True


@pytest.mark.parametrize(
    ("connector", "tool", "rule"),
    [
        (Unescaped(), "get-payment", "keeps_hostile_ids_in_their_place"),
        (OtherMethod(), "make-payment", "binds_its_smallest_call"),
        (Unlisted(), "make-payment", "knows_its_effect"),
        (NoPlan(), "list-payments", "binds_its_smallest_call"),
        (NoPlan(), "list-payments", "answers_a_list_in_the_envelope"),
        (Crashes(), "make-note", "binds_its_smallest_call: ZeroDivisionError"),
        (Writes(), "make-note", "assesses_without_sending"),
        (Shouts(), "make-payment", "assesses_without_sending"),
        (Downgrades(), "make-payment", "assesses_without_sending"),
        (Drops(), "make-payment", "assesses_without_sending"),
        (PaysMore(), "make-payment", "assesses_without_sending: AssertionError: the assessment changes amount"),
        (AssessesInPlace(), "make-payment", "assesses_without_sending: AssertionError: assessing must leave"),
        (BindsInPlace(), "make-payment", "binds_its_smallest_call: AssertionError: binding must leave"),
        (StampsMore(), "make-payment", "stamps_the_same_every_time: AssertionError: stamping changes amount"),
        (StampsAmounts(), "give-back", "stamps_the_same_every_time: AssertionError: stamping adds amount"),
        (StampsAnew(), "make-payment", "stamps_the_same_every_time"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, FakeConnector) else value,
)
def test_a_faulty_connector_is_found(connector: FakeConnector, tool: str, rule: str) -> None:
    with pytest.raises(AssertionError, match=f"{tool}: {rule}"):
        check_connector(connector)


@pytest.mark.parametrize(
    ("schema", "sample"),
    [
        ({}, {}),
        ({"required": ["a"], "properties": {"a": {"type": "integer", "minimum": 5}, "b": {}}}, {"a": 5}),
        ({"required": ["a"], "properties": {"a": {"type": "number"}}}, {"a": 1}),
        ({"required": ["a"], "properties": {"a": {"type": "string", "minLength": 3}}}, {"a": "xxx"}),
        ({"required": ["a"], "properties": {"a": {}}}, {"a": "x"}),
        ({"required": ["a"], "properties": {"a": {"type": "boolean"}}}, {"a": False}),
        ({"required": ["a"], "properties": {"a": {"type": ["null", "string"]}}}, {"a": None}),
        ({"required": ["a"], "properties": {"a": {"enum": ["p", "q"]}}}, {"a": "p"}),
        ({"required": ["a"], "properties": {"a": {"const": 7, "examples": [8]}}}, {"a": 7}),
        ({"required": ["a"], "properties": {"a": {"pattern": "^x", "examples": ["x1"]}}}, {"a": "x1"}),
        ({"required": ["a"], "properties": {"a": {"anyOf": [{"type": "object"}, {"type": "integer"}]}}}, {"a": {}}),
        ({"required": ["a"], "properties": {"a": {"type": "array"}}}, {"a": []}),
        (
            {"required": ["a"], "properties": {"a": {"type": "array", "minItems": 2, "items": {"type": "integer"}}}},
            {"a": [1, 1]},
        ),
        (
            {
                "required": ["a"],
                "properties": {"a": {"type": "object", "required": ["b"], "properties": {"b": {"default": 3}}}},
            },
            {"a": {"b": 3}},
        ),
    ],
)
def test_the_smallest_parameters_are_what_a_schema_requires(schema: JsonObject, sample: JsonObject) -> None:
    assert sample_params(schema) == sample

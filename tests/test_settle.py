"""Settling, beyond what test_direct.py shows of it at `run_tool`."""

from __future__ import annotations

import asyncio

import pytest

from spojit_stripe.connector import BoundCall
from spojit_stripe.errors import OutcomeUnknownError, UnavailableError
from spojit_stripe.records import Entry
from spojit_stripe.settle import REPLAY_SECONDS, is_planned_reference, look_up
from spojit_stripe.testing import FakeConnector, FakeWire, Workbench
from spojit_stripe.values import Done, Effect, Failed, ToolCall


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ("planned: 1", True),
        (" planned:12 ", True),
        ({"planned": 1}, True),
        ({"a": {"planned": 3}}, True),
        (["x", "planned: 2"], True),
        ({"a": [{"b": "planned: 2"}]}, True),
        ("planned", False),
        ("it is planned: 1 day", False),
        ("planned: x", False),
        ({"planned": True}, False),
        ({"planned": "1"}, False),
        ({"planned": 1, "other": 2}, False),
        (1, False),
        (None, False),
        ([], False),
    ],
)
def test_a_reference_to_a_planned_call_is_known_at_any_depth(value, is_one: bool) -> None:
    assert is_planned_reference(value) is is_one


@pytest.mark.parametrize(("path", "version"), [("/v1/odd", 1), ("/v2/odd", 2)])
def test_a_look_up_speaks_the_version_of_the_call(bench: Workbench, wire: FakeWire, path: str, version: int) -> None:
    call = ToolCall(tool="raw-request", params={"method": "POST", "path": "/v1/notes"})
    wire.will("POST /v1/notes", OutcomeUnknownError("x"))
    bench.run(call)
    (entry,) = bench.entries()
    wire.will_find({"id": "x"})
    found: Entry = type(entry)(**{name: getattr(entry, name) for name in Entry.__slots__} | {"path": path})
    assert asyncio.run(look_up(found, bench.session())) == {"id": "x"}
    assert wire.traces[0].request.version == version


def test_a_read_that_hands_out_a_secret_is_asked_again_at_any_age(bench: Workbench, wire: FakeWire) -> None:
    class HandsOut(FakeConnector):
        def bind(self, tool, call, connection) -> BoundCall:  # type: ignore[no-untyped-def]
            bound = super().bind(tool, call, connection)
            return BoundCall(tool=bound.tool, request=bound.request, operation=bound.operation, effect=Effect.CONTROL)

    bench.connector = HandsOut(wire)
    call = ToolCall(tool="get-payment", params={"payment": "p"})
    wire.will("GET /v1/payments/p", KeyError("died"), UnavailableError("x"), {"id": "p"})
    with pytest.raises(KeyError):
        bench.run(call)
    bench.clock.advance(REPLAY_SECONDS * 10)
    assert isinstance(bench.run(call), Failed)
    assert isinstance(bench.run(call), Done)

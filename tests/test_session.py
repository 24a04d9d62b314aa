from __future__ import annotations

import asyncio
import copy
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from spojit_stripe.connection import Connection, SecretRef
from spojit_stripe.errors import InputError, RefusedError
from spojit_stripe.hookspecs import hookimpl
from spojit_stripe.pins import bind_pinned
from spojit_stripe.testing import FakeConnector, FakeWire, Workbench
from spojit_stripe.testing.fake_wire import listing_of
from spojit_stripe.values import Done, Failed, Outcome, Preview, ToolCall
from spojit_stripe.wire.connector import StripeConnector

PINS: dict[str, object] = {"currency": "usd", "customer": "cus_1"}
RAW = {"method": "POST", "path": "/v1/payments"}


def bind(bench: Workbench, tool: str, params: dict[str, object], pins: dict[str, object], **author: object):  # type: ignore[no-untyped-def]
    session = bench.session(policy={"writes": "allow", "pins": pins})
    return session.bind(ToolCall(tool=tool, params=params, author_params=author))  # type: ignore[arg-type]


def bind_stripe(params: dict[str, object], pins: dict[str, object], **author: object):  # type: ignore[no-untyped-def]
    connector = StripeConnector()
    tool = connector.catalog.tool("raw-api-request")
    connection = Connection(name="c", connector="stripe", secret_key=SecretRef("${env:KEY}"), mode="test")
    call = ToolCall(tool=tool.name, params=params, author_params=author)  # type: ignore[arg-type]
    return bind_pinned(connector, tool, call, connection, pins)  # type: ignore[arg-type]


# Pins


def test_a_pinned_parameter_is_filled_in(bench: Workbench) -> None:
    bound = bind(bench, "make-payment", {"amount": 5}, {"currency": "usd", "customer": "cus_1"})
    assert bound.request.params == {"amount": 5, "currency": "usd", "customer": "cus_1"}


def test_a_pin_that_a_tool_does_not_take_is_left_out(bench: Workbench) -> None:
    assert bind(bench, "make-note", {"text": "x"}, {"currency": "usd"}).request.params == {"text": "x"}


def test_a_pin_fixes_the_filter_of_a_read_too(bench: Workbench) -> None:
    assert bind(bench, "list-payments", {}, {"customer": "cus_1"}).request.params == {"customer": "cus_1"}
    with pytest.raises(RefusedError):
        bind(bench, "list-payments", {"customer": "cus_2"}, {"customer": "cus_1"})


@pytest.mark.parametrize(
    ("tool", "params"),
    [
        ("make-payment", {"amount": 5, "currency": "eur"}),
        ("raw-request", RAW | {"params": {"amount": 5, "currency": "eur"}}),
        ("raw-request", RAW | {"params": {"amount": 5, "currency": None}}),
    ],
)
def test_no_call_changes_a_pin(bench: Workbench, tool: str, params: dict[str, object]) -> None:
    with pytest.raises(RefusedError, match="currency is pinned to 'usd'; the call says"):
        bind(bench, tool, params, {"currency": "usd"})


def test_a_raw_request_gets_the_pins_that_its_operation_takes(bench: Workbench) -> None:
    pins = {"currency": "usd", "customer": "cus_1", "text": "x"}
    bound = bind(bench, "raw-request", RAW | {"params": {"amount": 5, "currency": "usd"}}, pins)
    assert bound.request.params == {"amount": 5, "currency": "usd", "customer": "cus_1"}
    assert bind(bench, "raw-request", RAW, {"currency": "usd"}).request.params == {"currency": "usd"}


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/v1/payment_intents/pi_1", {"metadata": {"seen": "yes"}}),
        ("/v1/payment_intents/pi_1/capture", {"amount_to_capture": 5}),
        ("/v1/payment_intents/pi_1/confirm", {}),
    ],
)
def test_a_raw_request_that_changes_an_object_gets_no_pin(path: str, params: dict[str, object]) -> None:
    """A currency filled in would be that of the object from then on."""
    pins = PINS | {"payment_method": "pm_1", "metadata": {"a": "b"}} if "metadata" not in params else PINS
    assert bind_stripe({"method": "POST", "path": path, "params": params}, pins).request.params == params


def test_a_raw_request_that_makes_or_lists_something_gets_the_pins() -> None:
    made = bind_stripe({"method": "POST", "path": "/v1/payment_intents", "params": {"amount": 5}}, PINS)
    assert made.request.params == {"amount": 5, "currency": "usd", "customer": "cus_1"}
    assert bind_stripe({"method": "GET", "path": "/v1/charges"}, PINS).request.params == {"customer": "cus_1"}


def test_pins_are_filled_in_where_the_operation_can_not_do_without_them() -> None:
    pins = {"customer": "cus_1", "currency": "usd", "product": "prod_1"}
    made = bind_stripe({"method": "POST", "path": "/v1/prices", "params": {"unit_amount": 5}}, pins)
    assert made.request.params == {"unit_amount": 5, "currency": "usd", "product": "prod_1"}
    inside = {"method": "POST", "path": "/v1/customers/cus_1/balance_transactions", "params": {"amount": -5}}
    assert bind_stripe(inside, pins).request.params == {"amount": -5, "currency": "usd"}


def test_what_no_pin_gives_is_still_missing() -> None:
    with pytest.raises(InputError) as caught:
        bind_stripe({"method": "POST", "path": "/v1/charges", "params": {"amont": 5}}, {"currency": "usd"})
    assert "amont: unknown parameter" in str(caught.value)
    with pytest.raises(InputError, match="params"):
        bind_stripe({"method": "POST", "path": "/v1/charges", "params": []}, {"currency": "usd"})


@pytest.mark.parametrize("pinned", ["usd", "USD"])
@pytest.mark.parametrize("given", ["usd", "USD", "Usd"])
def test_a_currency_in_capitals_keeps_to_its_pin(bench: Workbench, pinned: str, given: str) -> None:
    raw = RAW | {"params": {"amount": 5, "currency": given}}
    assert bind(bench, "raw-request", raw, {"currency": pinned}).request.params["currency"] == given
    assert bind(bench, "make-payment", {"amount": 5, "currency": given}, {"currency": pinned}).tool == "make-payment"


def test_other_pins_are_held_to_the_letter(bench: Workbench) -> None:
    with pytest.raises(RefusedError, match="customer is pinned to 'cus_a'; the call says 'cus_A'"):
        bind(bench, "make-payment", {"amount": 5, "currency": "usd", "customer": "cus_A"}, {"customer": "cus_a"})


def test_an_unchecked_raw_request_gets_every_pin(bench: Workbench) -> None:
    assert bind(bench, "raw-request", RAW, {"text": "x"}, unchecked=True).request.params == {"text": "x"}


def test_a_pin_named_like_an_argument_of_the_raw_tool_fixes_that(bench: Workbench) -> None:
    with pytest.raises(RefusedError):
        bind(bench, "raw-request", RAW, {"path": "/v1/notes"})


@pytest.mark.parametrize(
    ("tool", "params"),
    [
        ("close-note", {"note": "n_2"}),
        ("raw-request", {"method": "POST", "path": "/v1/notes/n_2/close"}),
        ("raw-request", {"method": "POST", "path": "/v1/notes/n%5F2/close"}),
    ],
)
def test_a_pin_holds_an_id_in_the_path_too(bench: Workbench, tool: str, params: dict[str, object]) -> None:
    with pytest.raises(RefusedError, match="note is pinned to 'n_1'; the call says 'n_2'"):
        bind(bench, tool, params, {"note": "n_1"})


# An author's options


def test_an_option_of_the_author_is_out_of_a_callers_reach(bench: Workbench) -> None:
    with pytest.raises(InputError, match="unchecked: only the author"):
        bind(bench, "raw-request", RAW | {"unchecked": True}, {})


def test_one_option_of_the_author_does_not_open_the_others_to_a_caller(bench: Workbench) -> None:
    with pytest.raises(InputError, match="unchecked: only the author"):
        bind(bench, "raw-request", RAW | {"unchecked": True}, {}, account="acct_1")


def test_an_option_must_be_one_and_fit_its_schema(bench: Workbench) -> None:
    with pytest.raises(InputError, match="uncheckd: raw-request has no such option; did you mean 'unchecked'"):
        bind(bench, "raw-request", RAW, {}, uncheckd=True)
    with pytest.raises(InputError, match="unchecked"):
        bind(bench, "raw-request", RAW, {}, unchecked="yes")
    with pytest.raises(InputError, match="make-note has no such option"):
        bind(bench, "make-note", {"text": "x"}, {}, text="y")


def test_a_pin_does_not_set_an_option_of_the_author(bench: Workbench) -> None:
    assert bind(bench, "raw-request", RAW, {"account": "acct_1"}).request.account is None


# What is no JSON


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"text": Decimal(5)}, "text: is a Decimal, which is no JSON value"),
        ({"text": b"x"}, "text: is a bytes, which is no JSON value"),
        ({"text": "x", 1: 2}, "params: has a key that is an integer; keys are text"),
        ({"text": "x", "metadata": {None: 1}}, "metadata: has a key that is null; keys are text"),
        ({"text": ["x", {"y": {1, 2}}]}, r"text\[1\]\.y: is a set, which is no JSON value"),
        ({"metadata": {"rows": range(3_000)}}, r"metadata\.rows: is a list of 3,000 that is kept in a file"),
        (None, "params: is null, not an object"),
    ],
)
def test_a_call_that_is_no_json_is_told_in_one_line(bench: Workbench, params: Any, fault: str) -> None:
    failed = bench.run(ToolCall(tool="make-note", params=params))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, InputError)
    assert re.match(fault, failed.error.message)


# Plug-ins


class Meddler:
    """Changes whatever it is given, and keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def _meddle(self, preview: Preview) -> None:
        self.seen.append(copy.deepcopy((preview.params, dict(preview.context))))
        preview.params["amount"] = 99_999
        cast("Any", preview.params["metadata"])["order"] = "another"
        cast("Any", preview.context["customer"])["name"] = "another"

    @hookimpl
    def before_call(self, preview: Preview) -> None:
        self._meddle(preview)

    @hookimpl
    def before_send(self, preview: Preview) -> None:
        self._meddle(preview)

    @hookimpl
    def after_send(self, preview: Preview) -> None:
        self._meddle(preview)

    @hookimpl
    def after_call(self, preview: Preview, outcome: Outcome) -> None:
        self._meddle(preview)
        assert isinstance(outcome, Done)
        outcome.value["amount"] = "***"
        cast("Any", outcome.value["lines"]).clear()


@pytest.mark.parametrize("stamp", [True, False])
def test_what_a_hook_changes_in_what_it_is_given_is_its_own(tmp_path: Path, wire: FakeWire, stamp: bool) -> None:
    """Neither what is sent, past every cap, nor what it gave, nor what the next hook sees."""
    params: dict[str, Any] = {"amount": 500, "currency": "usd", "metadata": {"order": "o_1"}}
    call = ToolCall(tool="make-payment", params=params, context={"customer": {"name": "Ann"}})
    caps = {"per_call": {"amount": 1_000, "currency": "usd"}}
    wire.will("POST /v1/payments", {"id": "pay_1", "amount": 500, "lines": [1]})
    meddler = Meddler()
    with Workbench(tmp_path / "state", FakeConnector(wire), plugins=[meddler]) as bench:
        done = bench.run(call, policy={"writes": "allow", "caps": caps}, stamp_metadata=stamp)
        assert isinstance(done, Done)
        assert done.meta.warnings == ()
        assert done.value == {"id": "pay_1", "amount": 500, "lines": [1]}
        (entry,) = bench.entries()
    sent = wire.sent[0].request.params
    assert (sent["amount"], cast("Any", sent["metadata"])["order"]) == (500, "o_1")
    assert (entry.amount, entry.params["amount"], entry.result) == (500, 500, done.value)
    assert len(meddler.seen) == 4
    assert meddler.seen == [meddler.seen[0]] * 4
    assert params["metadata"] == {"order": "o_1"}


def test_a_hook_changes_no_read(tmp_path: Path, wire: FakeWire) -> None:
    class Widens:
        @hookimpl
        def before_call(self, preview: Preview) -> None:
            preview.params.pop("customer")

    wire.will("GET /v1/payments", listing_of())
    with Workbench(tmp_path / "state", FakeConnector(wire), plugins=[Widens()]) as bench:
        bench.run(ToolCall(tool="list-payments", params={"customer": "cus_1"}))
    assert wire.sent[0].request.params == {"customer": "cus_1"}


# Life


def test_the_wire_is_opened_at_the_first_request_and_once(bench: Workbench, wire: FakeWire) -> None:
    async def scenario() -> None:
        async with bench.session() as session:
            assert bench.connector.opened == 0  # type: ignore[attr-defined]
            assert session.wire is session.wire
        assert wire.closed
        await session.aclose()  # a second time does nothing

    asyncio.run(scenario())
    assert bench.connector.opened == 1  # type: ignore[attr-defined]


def test_a_session_speaks_the_connections_api_version_or_the_connectors(bench: Workbench) -> None:
    assert bench.session().api_version == "2026-01-01"
    assert bench.session(api_version="2025-05-05").api_version == "2025-05-05"


def test_a_node_narrows_its_session(bench: Workbench) -> None:
    assert bench.session(narrower=[{"writes": "ask"}]).rules.writes == "ask"


@pytest.mark.parametrize(
    ("path", "params"),
    [("/v1/new_things", {"currency": "usd"}), ("/v1/new_things/nt_1", {}), ("/v2/new_things/nt_1A/cancel", {})],
)
def test_an_unchecked_request_that_names_an_object_gets_no_pin(path: str, params: dict[str, object]) -> None:
    raw = {"method": "POST", "path": path}
    assert bind_stripe(raw, {"currency": "usd"}, unchecked=True).request.params == params


def test_a_pin_that_is_filled_in_and_no_good_is_told_as_that() -> None:
    raw = {"method": "POST", "path": "/v1/payment_intents", "params": {"amount": 5005}}
    with pytest.raises(InputError, match="must end in 0"):
        bind_stripe(raw, {"currency": "kwd"})

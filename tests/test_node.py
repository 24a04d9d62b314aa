"""The Connector node for any host: configuration in, output out. Under both ports: `engine/test_conformance.py`."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spojit_stripe import hookspecs
from spojit_stripe.data import StoredList
from spojit_stripe.errors import ConfigurationError, InputError, RefusedError
from spojit_stripe.host import Host
from spojit_stripe.node import ConnectorNode, Output, Where
from spojit_stripe.records import key_of
from spojit_stripe.steps import InProcessSteps
from spojit_stripe.testing import FakeConnector, FakeWire
from spojit_stripe.testing.fake_wire import listing_of
from spojit_stripe.values import Position

PAY = {
    "connector": "fake",
    "connection": "shop",
    "tool": "make-payment",
    "params": {"amount": "{{ input.n }}", "currency": "usd"},
}
LIST = {"connector": "fake", "connection": "shop", "tool": "list-payments"}


@pytest.fixture
def host(tmp_path: Path, wire: FakeWire) -> Iterator[Host]:
    file = tmp_path / "c.yaml"
    secret = "secret_key: fk_test_1234567890, mode: test"
    file.write_text(
        f"connections:\n  shop: {{connector: fake, {secret}, policy: {{writes: allow}}}}\n"
        f"  plans: {{connector: fake, {secret}, policy: {{writes: plan}}}}\n"
        f"  stripe: {{connector: stripe, secret_key: sk_test_1234567890, mode: test}}\n"
    )
    plugin = types.ModuleType("fake")
    plugin.register_connectors = hookspecs.hookimpl(lambda: [FakeConnector(wire)])  # type: ignore[attr-defined]
    with Host(connections=file, state=tmp_path / "state", plugins=[plugin]) as host:
        yield host


def run(host: Host, config: dict[str, Any], inputs: dict[str, Any] | None = None, **more: Any) -> Output:
    async def work() -> Output:
        async with ConnectorNode.from_config(config, host=host) as node:
            return await node.run({"input": inputs or {}}, InProcessSteps("run-1"), **more)

    return asyncio.run(work())


def test_where_it_stands_makes_the_key_and_what_it_is_given_does_not(host: Host, wire: FakeWire) -> None:
    wire.will("POST /v1/payments", {"id": "pay_1"}, {"id": "pay_2"})
    run(host, PAY, {"n": 5}, where=Where(path="outer/pay", indexes=(2, 0)))
    assert wire.keys == [key_of(Position(run_id="run-1", node="outer/pay", indexes=(2, 0)), 0)]
    run(host, PAY, {"n": 5})
    assert wire.keys[1] == key_of(Position(run_id="run-1", node="node"), 0)
    with pytest.raises(RefusedError, match="run run-1 made another call at this place"):
        run(host, PAY, {"n": 6})


@pytest.mark.parametrize(
    ("config", "inputs", "error"),
    [
        ({**PAY, "connection": "nowhere"}, {"n": 5}, (ConfigurationError, "nowhere")),
        ({**PAY, "connection": "stripe"}, {"n": 5}, (InputError, "is of connector 'fake', but connection 'stripe'")),
        (PAY, {"m": 5}, (InputError, r"params\.amount: input\.n: ")),
        (PAY, {"n": None}, (InputError, r"params\.amount: .*null")),
        (PAY, {"n": "5"}, (InputError, "amount")),
        ({**PAY, "tool": "make-paymnt"}, {"n": 5}, (InputError, "make-payment")),
        ({**PAY, "once": "{{ input.list }}"}, {"n": 5, "list": []}, (InputError, "once: gives neither text nor")),
        ({**PAY, "type": "transform", "set": {}}, {}, (InputError, "unknown key 'connector'")),
        ({"connector": "fake"}, {}, (InputError, "connection")),
        ({**PAY, "parms": {}}, {}, (InputError, "unknown key 'parms'.*did you mean 'params'")),
        ({**PAY, "when": False}, {"n": 5}, (InputError, "when: is not decided by the node, but by the host")),
        ({**PAY, "on_error": "continue"}, {"n": 5}, (InputError, "on_error: is not decided by the node")),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(host: Host, wire: FakeWire, config, inputs, error) -> None:
    kind, line = error
    with pytest.raises(kind, match=line):
        run(host, config, inputs)
    assert wire.sent == []


RAW = {"connector": "fake", "connection": "shop", "tool": "raw-request"}


@pytest.mark.parametrize("given", ["n_1/close", "n_1/", "/"])
def test_a_value_inside_a_path_names_no_other_operation(host: Host, wire: FakeWire, given: str) -> None:
    node = {**RAW, "params": {"method": "POST", "path": "/v1/{{ input.id }}"}}
    with pytest.raises(InputError, match=r"params\.path: a value in it has a slash"):
        run(host, node, {"id": given})
    assert not wire.sent
    wire.will("POST /v1/notes", {"id": "n_1"})
    run(host, node, {"id": "notes"})


def test_a_path_that_is_one_expression_is_the_authors_own(host: Host, wire: FakeWire) -> None:
    wire.will("POST /v1/notes/n_1/close", {"id": "n_1"})
    run(host, {**RAW, "params": {"method": "POST", "path": "{{ input.path }}"}}, {"path": "/v1/notes/n_1/close"})
    assert len(wire.sent) == 1


def test_omit_leaves_a_parameter_out(host: Host, wire: FakeWire) -> None:
    wire.will("POST /v1/payments", {"id": "pay_1"})
    run(host, {**PAY, "params": {**PAY["params"], "customer": "{{ input.c | omit }}"}}, {"n": 5, "c": None})
    assert "customer" not in wire.sent[0].request.params


def test_a_list_keeps_its_envelope_and_a_large_one_is_read_from_a_file(host: Host, wire: FakeWire) -> None:
    rows = [
        {"id": f"pay_{n}", "amount": n, "currency": "usd", "status": "paid", "note": "x" * 100} for n in range(4000)
    ]
    wire.will("GET /v1/payments", listing_of(*rows[:2]), listing_of(*rows, complete=False))
    small, large = run(host, LIST), run(host, LIST)
    assert isinstance(small.value["data"], list)
    assert (small.value["complete"], small.incomplete) == (True, None)
    assert isinstance(large.value["data"], StoredList)
    assert [row["amount"] for row in large.value["data"]] == [*range(4000)]
    assert (large.value["complete"], large.value["stopped_because"], large.incomplete) == (False, "max_items", None)


def test_a_planned_call_is_a_value(host: Host, wire: FakeWire) -> None:
    output = run(host, {**PAY, "connection": "plans"}, {"n": 5})
    assert output.value == {"planned": 1}
    assert output.planned is not None
    again = type(output.planned).of_json(output.planned.to_json(), "run-1")
    assert again == output.planned
    assert wire.sent == []

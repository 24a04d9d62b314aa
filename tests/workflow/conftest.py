"""Files that workflows of the tests name, and the connections they use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from spojit_stripe.connection import Connections
from spojit_stripe.connector import Connector
from spojit_stripe.wire.connector import StripeConnector
from spojit_stripe.workflow import Fault, check_workflow, read_workflow

CONNECTIONS = """\
connections:
  test: {connector: stripe, secret_key: "${env:KEY}", mode: test, policy: {writes: allow}}
  readonly: {connector: stripe, secret_key: "${env:KEY}", mode: test}
  pinned: {connector: stripe, secret_key: "${env:KEY}", mode: test, policy: {writes: allow, pins: {currency: usd}}}
  live: {connector: stripe, secret_key: "${env:KEY}", mode: live, policy: {writes: allow}}
  broken: {connector: stripe, secret_key: "${env:KEY}"}
  other: {connector: netsuite, secret_key: "${env:KEY}", mode: test}
"""
FILES = {
    "connections.yaml": CONNECTIONS,
    "inner.yaml": """\
name: inner
inputs: {type: object, properties: {amount: {type: integer}, currency: {type: string}}, required: [amount]}
nodes: [{id: a, type: transform, set: {n: "{{ input.amount }}"}}]
""",
    "faulty.yaml": "name: faulty\nnodes: [{id: a, type: transfrom}, {id: b}]\n",
    "closed.yaml": "name: closed\nnodes: [{id: a, type: transform, set: {n: 1}}]\n",
    "halfway.yaml": """\
name: halfway
nodes:
  - {id: a, type: subworkflow, workflow: nowhere.yaml}
  - {id: b, type: subworkflow, workflow: closed.yaml}
  - {id: c, type: subworkflow, workflow: closed.yaml}
""",
    "circle.yaml": "name: circle\nnodes: [{id: back, type: subworkflow, workflow: case.yaml}]\n",
}

Check = Callable[[str], list[Fault]]


@pytest.fixture(scope="session")
def connectors() -> Mapping[str, Connector]:
    return {"stripe": StripeConnector()}


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connectors: Mapping[str, Connector]) -> Check:
    """All faults of a text that stands in `case.yaml`, its neighbours beside it."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text)

    def faults(text: str) -> list[Fault]:
        Path("case.yaml").write_text(text)
        workflow, found = read_workflow(text, "case.yaml")
        connections = Connections.load(Path("connections.yaml"))
        more = check_workflow(workflow, connectors, connections) if workflow is not None else ()
        return sorted({*found, *more}, key=lambda fault: (fault.line, fault.column, fault.message))

    return faults

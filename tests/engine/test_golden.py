"""Every type of node: a workflow in, what it gives and the state of each node out. `golden.txt` holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

TABLE = (Path(__file__).parent / "golden.txt").read_text(encoding="utf-8")
INNER = """\
name: inner
inputs:
  type: object
  properties: {amount: {type: integer}, currency: {type: string, default: usd}}
  required: [amount]
nodes:
  - id: pay
    type: connector
    connector: fake
    connection: till
    tool: make-payment
    params: {amount: "{{ input.amount }}", currency: "{{ input.currency }}"}
  - {id: answer, type: response, status: 201, body: {answer: "{{ pay.id }}", currency: "{{ pay.currency }}"}}
  - {id: never, type: transform, set: {n: 1}}
"""


def _cases() -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    cases = []
    for case in TABLE.split("=== ")[1:]:
        title, _, rest = case.partition("\n")
        text, _, more = rest.partition("\n--- ")
        inputs, _, expected = more.partition("\n")
        cases.append((title, f"name: case\n{text}\n", yaml.safe_load(inputs), yaml.safe_load(expected)))
    return cases


CASES = _cases()


def ended(record: dict[str, Any]) -> dict[str, Any]:
    """How a run ended, in the words of the table."""
    told = {name: record[name] for name in ("value", "status", "nodes") if record.get(name) is not None}
    if record["exceptions"]:
        told["exceptions"] = record["exceptions"]
    if "failed" in record:
        failed = record["failed"]
        told["failed"] = {
            "error": failed["error"]["error"],
            "node": failed["node"],
            "message": failed["error"]["message"],
        }
    return told


@pytest.mark.parametrize(("text", "inputs", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_workflow_gives(stage, text: str, inputs: dict[str, Any], expected: dict[str, Any]) -> None:
    record = ended(stage.play(text, inputs, inner=INNER))
    assert record == expected
    began = [path for path in record["nodes"] if "/" not in path]  # what runs side by side begins in any order
    assert began == [path for path in expected["nodes"] if "/" not in path]


DURABLE = [
    case for case in CASES if case[0].startswith(("parallel branches", "a subworkflow sees", "items that go on"))
]


@pytest.mark.parametrize(
    ("text", "inputs", "expected"), [case[1:] for case in DURABLE], ids=[one[0] for one in DURABLE]
)
def test_on_the_durable_engine_it_gives_the_same(
    stage, text: str, inputs: dict[str, Any], expected: dict[str, Any]
) -> None:
    run = stage.start(text, inputs, files={"inner": INNER})
    assert len(DURABLE) == 3
    assert (run.output["value"], run.exceptions) == (expected["value"], expected.get("exceptions", 0))
    assert stage.nodes() == expected["nodes"]

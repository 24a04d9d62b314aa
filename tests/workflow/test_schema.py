"""`schemas/workflow.schema.json`, which editors use, and the examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from spojit_stripe.catalog import schemas_dir
from spojit_stripe.wire.connector import StripeConnector
from spojit_stripe.workflow import NODE_TYPES, check_workflow, read_workflow
from spojit_stripe.workflow.shapes import of_raw
from spojit_stripe.yamlfile import parse

SCHEMA = json.loads((schemas_dir() / "workflow.schema.json").read_text())
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
FITS = Draft202012Validator(SCHEMA)

A = "{id: a, type: transform, set: {n: 1}}"
BAD = [
    "name: x",
    f"nodes: [{A}]",
    "name: a b\nnodes: [{id: a, type: transform, set: {n: 1}}]",
    "name: x\nnodes: []",
    f"name: x\nnode: []\nnodes: [{A}]",
    f"name: x\ntrigger: {{type: cron}}\nnodes: [{A}]",
    f'name: x\ntrigger: {{type: schedule, cron: "0 6 * *"}}\nnodes: [{A}]',
    f"name: x\ntrigger: {{type: schedule}}\nnodes: [{A}]",
    f"name: x\ntrigger: {{type: webhook}}\nnodes: [{A}]",
    f"name: x\ntrigger: {{type: manual, cron: x}}\nnodes: [{A}]",
    f"name: x\ninputs: {{type: array}}\nnodes: [{A}]",
    f"name: x\ninputs: {{type: object, properties: {{a: {{type: integr}}}}}}\nnodes: [{A}]",
]
BAD_NODES = [
    "{id: a}",
    "{type: transform, set: {n: 1}}",
    "{id: a-b, type: transform, set: {n: 1}}",
    "{id: a, type: conector}",
    "{id: a, type: transform}",
    "{id: a, type: transform, set: {n: 1}, sql: select 1}",
    "{id: a, type: transform, set: {n: 1}, params: {n: 1}}",
    "{id: a, type: transform, set: {n: 1}, on_error: stop}",
    "{id: a, type: transform, set: {n: 1}, on_error: {goto: a, more: 1}}",
    "{id: a, type: transform, set: {n: 1}, timeout: soon}",
    "{id: a, type: transform, set: {n: 1}, when: 1}",
    "{id: a, type: connector, connector: stripe, connection: t}",
    "{id: a, type: connector, connection: t, tool: list-charges}",
    "{id: a, type: connector, connector: stripe, connection: t, tool: list-charges, prompt: x}",
    "{id: a, type: connector, connector: stripe, connection: t, tool: list-charges, paginate: every}",
    "{id: a, type: connector, connector: stripe, connection: t, tool: list-charges, max_items: 0}",
    "{id: a, type: connector, connector: stripe, connection: t, tool: list-charges, order: any}",
    "{id: a, type: connector, connector: stripe, connection: t, tool: list-charges, paginate: page, order: any}",
    "{id: a, type: connector, connector: stripe, connection: t, tool: list-charges, paginate: all, order: oldest}",
    "{id: a, type: connector, connector: stripe, connection: t, tool: list-charges, policy: {writes: never}}",
    "{id: a, type: connector, connector: stripe, connection: t, tool: x, policy: {caps: {per_call: {amount: 1.5}}}}",
    "{id: a, type: connector, connector: stripe, connection: t, mode: agent, prompt: x, tools: []}",
    "{id: a, type: connector, connector: stripe, connection: t, mode: agent, prompt: x, tools: [b], limits: {n: 0}}",
    "{id: a, type: connector, connector: stripe, connection: t, mode: agent, tools: [b]}",
    "{id: a, type: connector, connector: stripe, connection: t, mode: agent, prompt: x, tools: [b], tool: c}",
    "{id: a, type: condition, if: true}",
    "{id: a, type: condition, if: words, then: [{id: b, type: transform, set: {}}]}",
    "{id: a, type: condition, if: true, then: [{id: b, type: transform, set: {}}], elif: [{if: true}]}",
    "{id: a, type: loop, for_each: words, nodes: [{id: b, type: transform, set: {}}]}",
    "{id: a, type: loop, for_each: [1], concurrency: 0, nodes: [{id: b, type: transform, set: {}}]}",
    "{id: a, type: loop, for_each: [1], nodes: [{id: b, type: transfrom, set: {}}]}",
    "{id: a, type: parallel, branches: {one: [{id: b, type: transform, set: {}}]}}",
    "{id: a, type: human}",
    "{id: a, type: human, message: x, urgency: now}",
    "{id: a, type: subworkflow}",
    "{id: a, type: response, body: 1, status: 99}",
    "{id: a, type: response}",
]


@pytest.mark.checkout
@pytest.mark.parametrize("file", EXAMPLES, ids=[file.stem for file in EXAMPLES])
def test_an_example_is_faultless(file: Path, connectors) -> None:
    """For the schema and for `validate`."""
    text = file.read_text()
    workflow, faults = read_workflow(text, str(file))
    assert faults == ()
    assert workflow is not None
    assert workflow.name == file.stem
    assert check_workflow(workflow, connectors) == ()
    assert list(FITS.iter_errors(parse(text, "f").data)) == []
    assert text.startswith("# yaml-language-server: $schema=../schemas/workflow.schema.json\n")


@pytest.mark.checkout
def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", [*BAD, *(f"name: x\nnodes: [{node}]" for node in BAD_NODES)])
def test_what_the_schema_refuses_validate_refuses_too(text: str) -> None:
    assert list(FITS.iter_errors(parse(text, "f").data)), "the schema takes it"
    assert any(fault.severity == "error" for fault in read_workflow(text, "f")[1]), "validate takes it"


def test_every_structural_fault_of_the_table_is_one_for_the_schema() -> None:
    """But for those that a schema can't see: texts inside values, names said twice, reserved names."""
    unseen = (
        *(
            "is taken by",
            "has a meaning of its own",
            "can't be read",
            "is not understood",
            "{{ … }} has no",
            "there is no",
        ),
        *("takes (currency)", "is a call", "omit stands", "holds a template", "never comes", "is no time zone"),
        *("stands twice in", "refers to", "not valid YAML", "given twice", "is no hour", "can't be an item's"),
        "held against a value",
    )
    table = (Path(__file__).parent / "broken.txt").read_text()
    for case in table.split("=== ")[1:]:
        title, _, rest = case.partition("\n")
        text = rest.partition("---\n")[0]
        faults = [fault for fault in read_workflow(text, "f")[1] if not any(word in fault.message for word in unseen)]
        if faults:
            assert list(FITS.iter_errors(parse(text, "f").data)), (title, faults)


def test_the_schema_and_the_model_know_the_same_types() -> None:
    assert tuple(SCHEMA["$defs"]["type"]["anyOf"][0]["enum"]) == NODE_TYPES


def test_a_raw_read_that_expands_something_has_no_closed_shape() -> None:
    catalog = StripeConnector().catalog
    raw = catalog.tool("raw-api-request")
    read = {"method": "GET", "path": "/v1/charges/ch_1"}
    assert "refunded" in str(of_raw(catalog, raw, read))
    assert of_raw(catalog, raw, {**read, "params": {"expand": ["refunds"]}}) == raw.output_schema

"""Node types and filters of plug-ins, as a file is checked: like the built-in ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from spojit_stripe.connection import Connections
from spojit_stripe.connector import Connector
from spojit_stripe.errors import ConfigurationError
from spojit_stripe.values import JsonObject
from spojit_stripe.workflow import NodeType, PluginNode, Vocabulary, check_workflow, load_workflow, read_workflow

SCHEMA = {
    "type": "object",
    "properties": {
        "room": {"type": "string", "enum": ["finance", "support"]},
        "count": {"type": "integer", "minimum": 1},
        "options": {"type": "object", "properties": {"loud": {"type": "boolean"}}, "additionalProperties": False},
    },
    "required": ["room"],
}


ANY = {"room": {}}


async def _run(fields: Any, context: Any) -> Any:
    raise AssertionError("nothing runs while a file is checked")


VOCABULARY = Vocabulary(
    {"chat": NodeType(name="chat", schema=SCHEMA, run=_run)},
    {"sku": lambda value, sep="-": f"SKU{sep}{value}"},
)


@pytest.mark.parametrize(
    ("node", "lines"),
    [
        ("{id: a, type: chat, room: finance, count: 2, options: {loud: true}}", []),
        ('{id: a, type: chat, room: "{{ input.room }}", count: "{{ input.n }}"}', []),
        ("{id: a, type: chat, room: finance, when: false, on_error: continue, timeout: 5s}", None),
        ("{id: a, type: caht, room: finance}", ["3:13: unknown node type 'caht'; did you mean 'chat'?"]),
        ("{id: a, type: chat, rom: finance}", ["unknown key 'rom' in node 'a'; did you mean 'room'?", "room"]),
        ("{id: a, type: chat, room: sales}", ["room"]),
        ("{id: a, type: chat, room: finance, count: 0}", ["count"]),
        ("{id: a, type: chat, room: finance, options: {lout: true}}", ["lout"]),
        ('{id: a, type: chat, room: finance, count: "{{ inptu.n }}"}', ["inptu"]),
        ('{id: a, type: transform, set: {n: "{{ 1 | sku }}"}}', []),
        ('{id: a, type: transform, set: {n: "{{ 1 | sku(2, 3) }}"}}', ["sku"]),
        ('{id: a, type: transform, set: {n: "{{ 1 | skuu }}"}}', ["did you mean 'sku'"]),
    ],
)
def test_a_file_is_held_against_what_plug_ins_offer(
    connectors: Mapping[str, Connector], node: str, lines: list[str] | None
) -> None:
    inputs = "inputs: {type: object, properties: {room: {type: string}, n: {type: integer}}}"
    text = f"name: x\nnodes:\n  - {node}\n{inputs}\n"
    workflow, faults = read_workflow(text, "x.yaml", VOCABULARY)
    found = [*faults, *(check_workflow(workflow, connectors) if workflow is not None else ())]
    errors = sorted({str(fault) for fault in found if fault.severity == "error"})
    if lines is None:
        assert errors == []
        return
    assert len(errors) == len(lines), errors
    for line in lines:
        assert any(line in error for error in errors), errors


@pytest.mark.parametrize(
    ("value", "warnings"),
    [
        ("main", []),
        ("mian", ["x.yaml:2:31: warning: there is no connection 'mian' here; did you mean 'main'?"]),
        ('"{{ input.place }}"', []),
    ],
)
def test_a_connection_that_a_plug_ins_node_names_is_looked_for(
    tmp_path: Path, connectors: Mapping[str, Connector], value: str, warnings: list[str]
) -> None:
    """As that of a connector's node is: `stripe-sync` has one too."""
    schema = {"type": "object", "properties": {"connection": {"type": "string"}}}
    vocabulary = Vocabulary({"mirror": NodeType(name="mirror", schema=schema, run=_run)})
    file = tmp_path / "connections.yaml"
    file.write_text("connections:\n  main: {connector: stripe, secret_key: '${env:KEY}', mode: test}\n")
    text = (
        f"name: x\nnodes: [{{id: a, type: mirror, connection: {value}}}]\n"
        "inputs: {type: object, properties: {place: {type: string}}}\n"
    )
    workflow, faults = read_workflow(text, "x.yaml", vocabulary)
    assert workflow is not None
    assert [
        str(fault) for fault in (*faults, *check_workflow(workflow, connectors, Connections.load(file)))
    ] == warnings


def test_a_node_type_says_of_its_keys_what_a_schema_cannot() -> None:
    """As they stand in the file, templates and all, and at the place of their key."""

    def faults(fields: JsonObject) -> tuple[str, ...]:
        return ("room: is the boss's own",) if "boss" in str(fields.get("room")) else ()

    vocabulary = Vocabulary(
        {"chat": NodeType(name="chat", schema={**SCHEMA, "properties": ANY}, run=_run, faults=faults)}
    )
    for room, lines in (
        ("'boss {{ input.n }}'", ["x.yaml:2:29: room: is the boss's own"]),
        ("[boss]", ["x.yaml:2:29: room: is the boss's own"]),
        ("finance", []),
    ):
        text = (
            f"name: x\nnodes: [{{id: a, type: chat, room: {room}}}]\n"
            "inputs: {type: object, properties: {n: {}}}\n"
        )
        _, found = read_workflow(text, "x.yaml", vocabulary)
        assert [str(fault) for fault in found] == lines


def _fails(_fields: JsonObject) -> tuple[str, ...]:
    raise KeyError("room")


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"faults": _fails}, "its `faults` failed: KeyError: 'room'"),
        (
            {"faults": lambda _fields: None},
            "its `faults` gave None instead of a tuple of lines, empty where all is well",
        ),
        ({"faults": lambda _fields: "room: no"}, "its `faults` gave 'room: no' instead of a tuple of lines"),
        ({"faults": lambda _fields: [5]}, r"its `faults` gave \[5\] instead of a tuple of lines"),
        (
            {"schema": {"properties": {"room": {"$ref": "#/$defs/gone"}}}},
            "its schema is no JSON schema that can be used",
        ),
        ({"schema": {"properties": {"room": {"type": "text"}}}}, "its schema is no JSON schema that can be used"),
    ],
)
def test_a_node_type_that_is_faulty_itself_is_told_by_its_name(fields: dict[str, Any], line: str) -> None:
    kind = NodeType(**{"name": "chat", "schema": {"properties": ANY}, "run": _run, **fields})
    with pytest.raises(ConfigurationError, match=f"^node type 'chat' of a plug-in: {line}") as raised:
        read_workflow("name: x\nnodes: [{id: a, type: chat, room: r}]\n", "x.yaml", Vocabulary({"chat": kind}))
    assert "\n" not in raised.value.message


def test_what_looks_at_a_file_changes_nothing_in_it() -> None:
    def meddles(fields: Any) -> tuple[str, ...]:
        fields["room"].append("another")
        return ()

    kind = NodeType(name="chat", schema={"properties": ANY}, run=_run, faults=meddles)
    fields: JsonObject = {"room": ["finance"]}
    assert kind.own_faults(fields) == ()
    assert fields == {"room": ["finance"]}


def test_a_plug_ins_node_knows_its_kind_and_its_templates() -> None:
    text = 'name: x\nnodes: [{id: a, type: chat, room: finance, count: "{{ run.started_at }}"}]\n'
    (node,) = load_workflow(text, vocabulary=VOCABULARY).nodes
    assert isinstance(node, PluginNode)
    assert node.kind == "chat"
    assert [reference.root for _, compiled in node.values() for reference in compiled.references] == ["run"]


def test_without_the_plug_in_the_type_is_unknown() -> None:
    _, faults = read_workflow("name: x\nnodes: [{id: a, type: chat, room: finance}]\n", "x.yaml")
    assert [str(fault) for fault in faults] == [
        "x.yaml:2:17: unknown node type 'chat'; it is one of connector, transform, condition, loop, parallel, human, "
        "subworkflow, response"
    ]


@pytest.mark.parametrize(
    ("types", "filters", "line"),
    [
        ({"human": NodeType(name="human", schema=SCHEMA, run=_run)}, {}, "offers a node type 'human'"),
        ({}, {"money": str}, "offers a filter 'money'"),
        ({}, {"omit": str}, "offers a filter 'omit'"),
    ],
)
def test_nothing_built_in_can_be_taken(types: dict[str, NodeType], filters: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigurationError, match=line):
        Vocabulary(types, filters)

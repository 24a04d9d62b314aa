"""The rules that the core relies on, held against any connector.

    @pytest.mark.parametrize("case", cases(MyConnector()), ids=str)
    def test_conformance(case: Case) -> None:
        case.run()

Nothing is sent: the connector's wire is replaced by a fake one.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias, cast
from urllib.parse import unquote

from spojit_stripe.catalog import Catalog, Tool, schemas_dir
from spojit_stripe.catalog.check import StrictValidator
from spojit_stripe.connection import Connection
from spojit_stripe.connector import BoundCall, Connector, Read, Wire
from spojit_stripe.errors import InputError, SpojitError
from spojit_stripe.testing.bench import Workbench
from spojit_stripe.testing.fake_wire import FakeWire, listing_of
from spojit_stripe.testing.samples import sample_params
from spojit_stripe.values import Assessment, Done, Effect, JsonObject, JsonValue, Params, Secret, ToolCall

__all__ = ["Case", "cases", "check_connector"]

HOSTILE_IDS = ("..", ".", "a/b", "", "a?b=c", "a#b", "%2e%2e", "%2F", "a\\b", " ", "a\nb", "{id}", "é/../x", "\ud800")
_ENVELOPE = ("data", "complete", "as_of", "next_cursor", "fetched", "scanned", "pages", "stopped_because")
_Rule: TypeAlias = Callable[[Connector, Tool, ToolCall], None]
_KEY = "spojit-conformance"


@dataclass(frozen=True)
class Case:
    """One rule, held against one tool. `run` raises `AssertionError`."""

    tool: str
    rule: str
    run: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.tool}: {self.rule}"


def cases(connector: Connector, samples: Mapping[str, Params] | None = None) -> tuple[Case, ...]:
    """Every rule for every tool of `connector`, to be parametrised over.

    `samples` completes the smallest call of a tool by name, where its schema can't say what it needs.
    """
    given = samples or {}
    return tuple(
        Case(name, rule.__name__, _bound(rule, connector, name, given.get(name, {})))
        for name in connector.catalog.names
        for rule in _RULES
    )


def check_connector(connector: Connector, samples: Mapping[str, Params] | None = None) -> None:
    """Hold `connector` against all rules. Raises `AssertionError` with every one that it breaks."""
    broken: list[str] = []
    for case in cases(connector, samples):
        try:
            case.run()
        except Exception as error:  # a connector that crashes breaks the rule too
            broken.append(f"{case}: {type(error).__name__}: {error}")
    assert not broken, "\n".join(broken)


def _bound(rule: _Rule, connector: Connector, name: str, sample: Params) -> Callable[[], None]:
    def run() -> None:
        tool = connector.catalog.tool(name)
        rule(connector, tool, ToolCall(tool=name, params={**sample_params(tool.public_schema), **sample}))

    return run


# Rules


def fits_the_descriptor_schema(connector: Connector, tool: Tool, _call: ToolCall) -> None:
    document = json.loads((connector.catalog.directory / f"{tool.name}.json").read_text(encoding="utf-8"))
    faults = [error.message[:200] for error in StrictValidator(_descriptor_schema()).iter_errors(document)]
    assert not faults, "; ".join(faults)


def has_valid_schemas(_connector: Connector, tool: Tool, _call: ToolCall) -> None:
    for schema in (tool.input_schema, tool.public_schema, tool.output_schema):
        StrictValidator.check_schema(schema)


def binds_its_smallest_call(connector: Connector, tool: Tool, call: ToolCall) -> None:
    bound = _bind(connector, call)
    given = json.dumps(dict(call.params))
    with Workbench(Path("never-made"), connector) as bench:  # not through a session, which hands over its own dict
        connector.bind(tool, call, bench.connection())
    assert json.dumps(dict(call.params)) == given, "binding must leave the call as it is"
    assert bound.tool == tool.name
    assert bound.request.path.startswith("/"), f"{bound.request.path!r} is no absolute path"
    if not tool.binding.raw:
        assert bound.request.method == tool.binding.method
        assert bound.request.template == tool.binding.path
    assert (bound.listing is not None) >= tool.is_list, "a list tool needs a plan for reading the list"


def hints_agree_with_its_effect(connector: Connector, tool: Tool, call: ToolCall) -> None:
    hints = tool.annotations
    if tool.binding.raw:
        assert not hints.read_only, "a raw tool may write, so readOnlyHint must be false"
        assert hints.destructive, "a raw tool may destroy, so destructiveHint must be true"
        return
    bound = _bind(connector, call)
    reads = bound.effect is Effect.READ
    assert hints.read_only == reads, f"readOnlyHint is {hints.read_only}, but the effect is {bound.effect}"
    assert (bound.request.method == "GET") >= reads, f"{bound.operation} can't be a read"
    assert hints.destructive <= (not reads), "a read is not destructive"
    assert hints.idempotent >= reads, "a read is idempotent"
    assert hints.destructive or bound.effect not in (Effect.MONEY, Effect.CONTROL), "what moves money is destructive"


def knows_its_effect(connector: Connector, tool: Tool, call: ToolCall) -> None:
    bound = _bind(connector, call)
    assert bound.effect is not None, f"the table of effects does not list {bound.operation}"
    assert bound.operation.startswith(f"{bound.request.method} "), f"{bound.operation!r} does not begin with its method"


def assesses_without_sending(connector: Connector, tool: Tool, call: ToolCall) -> None:
    bound = _bind(connector, call)
    if bound.effect is Effect.READ:
        return
    read_methods: list[str] = []
    before = json.dumps(bound.request.params)
    assessment = asyncio.run(_assess(connector, bound, read_methods))
    assert json.dumps(bound.request.params) == before, "assessing must leave the call as it is"
    assert set(read_methods) <= {"GET"}, f"an assessment only reads, not {read_methods}"
    if assessment is None:
        return  # it needs an object that a fake service can't know
    assert assessment.effect is bound.effect, f"bound as {bound.effect}, but assessed as {assessment.effect}"
    assert assessment.operation == bound.operation
    missing = bound.request.params.keys() - assessment.params.keys()
    assert not missing, f"the assessment drops {', '.join(missing)}"
    changed = _changed(bound.request.params, assessment.params)
    assert not changed, f"the assessment changes {', '.join(changed)}: what is sent is what was asked for"
    if assessment.amount is not None:
        assert type(assessment.amount.amount) is int, "an amount is an integer of minor units"
        currency = assessment.amount.currency
        assert len(currency) == 3, f"{currency!r} is no currency"
        assert currency == currency.lower(), f"{currency!r} is not in lower case"


def refuses_an_unknown_parameter(connector: Connector, tool: Tool, call: ToolCall) -> None:
    message = _refusal(connector, ToolCall(tool=tool.name, params={**call.params, "no_such_parameter": 1}))
    assert "no_such_parameter" in message, f"the refusal does not name it: {message}"


def needs_its_required_parameters(connector: Connector, tool: Tool, call: ToolCall) -> None:
    params = call.params
    for name in cast("list[str]", tool.input_schema.get("required", [])):
        message = _refusal(
            connector, ToolCall(tool=tool.name, params={key: params[key] for key in params if key != name})
        )
        assert name in message, f"the refusal does not name {name}: {message}"


def keeps_hostile_ids_in_their_place(connector: Connector, tool: Tool, call: ToolCall) -> None:
    params = call.params
    template = tool.binding.path or ""
    for name in tool.path_params:
        for hostile in HOSTILE_IDS:
            try:
                bound = _bind(connector, ToolCall(tool=tool.name, params={**params, name: hostile}))
            except InputError:
                continue
            path = bound.request.path
            assert path.count("/") == template.count("/"), f"{hostile!r} becomes part of the path: {path}"
            assert path.isascii(), f"{hostile!r} goes into the path unescaped: {path}"
            assert path.isprintable(), f"{hostile!r} goes into the path unescaped: {path!r}"
            assert not set(path) & set("?#\\ {}"), f"{hostile!r} goes into the path unescaped: {path}"
            parts = unquote(unquote(path)).split("/")
            assert not {".", ".."} & set(parts), f"{hostile!r} leads out of its place: {path}"
            assert len(parts) == len(template.split("/")), f"{hostile!r} hides a slash: {path}"


def answers_a_list_in_the_envelope(connector: Connector, tool: Tool, call: ToolCall) -> None:
    if not tool.is_list:
        return
    fake = _Rewired(connector)
    with tempfile.TemporaryDirectory() as folder, Workbench(Path(folder), fake) as bench:
        bound = _bind(connector, call)
        for listing in (listing_of(), listing_of({"id": "one"}, complete=False)):
            fake.wire.will(f"GET {bound.request.path}", listing)
            outcome = bench.run(call)
            assert isinstance(outcome, Done), f"a list ended as {outcome}"
            assert tuple(outcome.value) == _ENVELOPE, f"the envelope has {', '.join(outcome.value)}"
            assert outcome.value["complete"] == listing.complete
            StrictValidator(tool.output_schema).validate({**outcome.value, "data": []})
    fake.wire.verify()


def shows_columns_that_exist(_connector: Connector, tool: Tool, _call: ToolCall) -> None:
    properties = _properties(tool.output_schema)
    if tool.is_list:
        assert set(_ENVELOPE) <= properties.keys(), "the output schema of a list describes the envelope"
        properties = _properties(cast("JsonObject", cast("JsonObject", properties["data"])["items"]))
    if not properties:
        assert tool.binding.raw, "the output schema describes nothing"
        return
    unknown = [name for name in tool.binding.lean if name.split(".")[0] not in properties]
    assert not unknown, f"the output schema has no {', '.join(unknown)}"


def keeps_author_options_from_callers(connector: Connector, tool: Tool, call: ToolCall) -> None:
    schema = cast("JsonObject", tool.input_schema["properties"])
    for name in sorted(tool.binding.author_only):
        assert name not in cast("JsonObject", tool.public_schema["properties"]), f"{name} is shown to a model"
        sample = sample_params({"properties": {name: schema[name]}, "required": [name]})[name]
        reserved = ToolCall(tool=tool.name, params={**call.params, name: sample})
        _refusal(connector, reserved)
        # Another option of the author's must not open the gate for the caller's.
        _refusal(connector, ToolCall(tool=tool.name, params=reserved.params, author_params={name: sample}))
        _bind(connector, ToolCall(tool=tool.name, params=call.params, author_params={name: sample}))
    _refusal(connector, ToolCall(tool=tool.name, params=call.params, author_params={"no_such_option": True}))


def stamps_the_same_every_time(connector: Connector, tool: Tool, call: ToolCall) -> None:
    bound = _bind(connector, call)
    before = json.dumps(bound.request.params)
    first, stamped = connector.stamp(bound, bound.request.params, _KEY)
    assert (first, stamped) == connector.stamp(bound, bound.request.params, _KEY), "a replay must send the same request"
    assert json.dumps(bound.request.params) == before, "stamping must leave the call as it is"
    assert stamped == (_KEY in json.dumps(first)), "stamped or not, and the parameters say otherwise"
    assert first.keys() >= bound.request.params.keys(), "stamping drops parameters"
    changed = _changed(bound.request.params, first)
    assert not changed, f"stamping changes {', '.join(changed)}: it only adds the key"
    added = [name for name in first.keys() - bound.request.params.keys() if _KEY not in json.dumps(first[name])]
    assert not added, f"stamping adds {', '.join(added)}: it only adds the key"


_RULES: tuple[_Rule, ...] = (
    fits_the_descriptor_schema,
    has_valid_schemas,
    binds_its_smallest_call,
    hints_agree_with_its_effect,
    knows_its_effect,
    assesses_without_sending,
    refuses_an_unknown_parameter,
    needs_its_required_parameters,
    keeps_hostile_ids_in_their_place,
    answers_a_list_in_the_envelope,
    shows_columns_that_exist,
    keeps_author_options_from_callers,
    stamps_the_same_every_time,
)


# Parts


@cache
def _descriptor_schema() -> JsonObject:
    return json.loads((schemas_dir() / "descriptor.schema.json").read_text(encoding="utf-8"))


def _properties(schema: JsonObject) -> JsonObject:
    """The properties of an object, or of all the kinds that it may be."""
    found = dict(cast("JsonObject", schema.get("properties", {})))
    for name in ("anyOf", "oneOf", "allOf"):
        for branch in cast("list[JsonObject]", schema.get(name, [])):
            found |= _properties(branch)
    return found


def _changed(asked: JsonObject, sent: JsonObject) -> list[str]:
    """The parameters that were asked for with another value; an object may have got more inside."""
    return [name for name in asked if not _holds(sent[name], asked[name])]


def _holds(sent: JsonValue, asked: JsonValue) -> bool:
    if isinstance(sent, dict) and isinstance(asked, dict):
        return all(name in sent and _holds(sent[name], value) for name, value in asked.items())
    return json.dumps(sent) == json.dumps(asked)  # true is no 1


def _bind(connector: Connector, call: ToolCall) -> BoundCall:
    """As `Session.bind` does: checked against the descriptor first."""
    with Workbench(Path("never-made"), connector) as bench:  # binding records nothing
        return bench.session().bind(call)


def _refusal(connector: Connector, call: ToolCall) -> str:
    try:
        bound = _bind(connector, call)
    except InputError as error:
        return str(error)
    raise AssertionError(f"{dict(call.params)} with options {dict(call.author_params)} is taken: {bound.request}")


async def _assess(connector: Connector, bound: BoundCall, methods: list[str]) -> Assessment | None:
    async def read(request: object) -> JsonObject:
        methods.append(cast("str", getattr(request, "method", "")))
        raise InputError("not known here")

    try:
        return await connector.assess(bound, cast("Read", read))
    except SpojitError:
        return None


class _Rewired:
    """A connector with a fake wire in the place of its own."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self.wire = FakeWire()
        self.name: str = connector.name
        self.catalog: Catalog = connector.catalog
        self.default_api_version: str = connector.default_api_version

    def check_secret(self, connection: Connection, secret: Secret) -> None:
        """The key is made up, so it is not looked at."""

    def bind(self, tool: Tool, call: ToolCall, connection: Connection) -> BoundCall:
        return self._connector.bind(tool, call, connection)

    async def assess(self, bound: BoundCall, read: Read) -> Assessment:
        return await self._connector.assess(bound, read)

    def stamp(self, bound: BoundCall, params: JsonObject, key: str) -> tuple[JsonObject, bool]:
        return self._connector.stamp(bound, params, key)

    def open(self, connection: Connection, secret: Secret) -> Wire:
        return self.wire

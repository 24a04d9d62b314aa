"""JSON schemas that an author writes: of inputs, and of an agent's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from spojit_stripe.errors import InputError
from spojit_stripe.values import JsonObject, JsonValue, Params
from spojit_stripe.words import nearest
from spojit_stripe.workflow.faults import Path, quoted

if TYPE_CHECKING:
    from spojit_stripe.catalog.check import Checker
    from spojit_stripe.workflow.fields import Fields
    from spojit_stripe.workflow.model import Workflow

__all__ = ["check_inputs", "check_schema", "checker_of"]

_NO_PROPERTIES: JsonObject = {}


def check_schema(fields: Fields, key: str) -> JsonObject | None:
    """The schema of an object under `key`, None where there is none. One that is no good allows all."""
    if key not in fields:
        return None
    path = (*fields.path, key)
    schema = fields.mapping(key)
    if not isinstance(fields.data[key], dict):
        return {"additionalProperties": True}
    # jsonschema is slow to import, and most files need it only here.
    from spojit_stripe.catalog.authored import fault_of_schema
    from spojit_stripe.catalog.check import StrictValidator

    sound = True
    for error in StrictValidator(StrictValidator.META_SCHEMA).iter_errors(schema):
        sound = False
        place = tuple(error.absolute_path)
        known = _type_advice(error.instance) if error.absolute_path and "type" in place else ""
        fields.report.error((*path, *place), f"{key} is no JSON schema: {_told(place)}{error.message}", known)
    for place, reference in _references(schema, ()):
        if not reference.startswith("#"):
            sound = False
            fields.report.error((*path, *place), f"{key} refers to {quoted(reference)}", "only #/$defs/… is followed")
    if schema.get("type") != "object":
        fields.report.error(path, f"{key} does not say type: object", "write type: object and its properties")
        sound = False
    fault = fault_of_schema(schema) if sound else None
    if fault is not None:
        fields.report.error((*path, *fault[0]), f"{key} is no schema that can be held against a value: {fault[1]}")
        sound = False
    return schema if sound else {"additionalProperties": True}  # nothing more can be said of it


def _told(place: Path) -> str:
    return f"{'.'.join(map(str, place))}: " if place else ""


def _type_advice(given: object) -> str:
    types = ("array", "boolean", "integer", "null", "number", "object", "string")
    return nearest(given, types) if isinstance(given, str) else ""


def _references(value: JsonValue, path: Path) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("$ref", "$dynamicRef") and isinstance(inner, str):
                found.append(((*path, key), inner))
            found += _references(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            found += _references(inner, (*path, place))
    return found


def checker_of(name: str, inputs: JsonObject) -> Checker:
    """A checker of inputs; what is not declared is unknown unless the schema allows more."""
    from spojit_stripe.catalog.check import Checker

    return Checker(name, {"properties": _NO_PROPERTIES, "additionalProperties": False, **inputs})


def check_inputs(workflow: Workflow, given: Params) -> JsonObject:
    """The inputs of a run: checked, defaults filled in, and null for what was left out.

    So a reference to a declared input always finds it. Raises `InputError`, its `faults` all
    that is wrong.
    """
    if workflow.inputs is None:
        if given and workflow.trigger.type != "webhook":
            raise InputError(f"{next(iter(given))}: workflow {workflow.name!r} declares no inputs")
        return dict(given)
    declared = cast("JsonObject", workflow.inputs.get("properties", _NO_PROPERTIES))
    defaults = {
        name: schema["default"] for name, schema in declared.items() if isinstance(schema, dict) and "default" in schema
    }
    complete = {**defaults, **given}
    faults = checker_of(f"workflow {workflow.name!r}", workflow.inputs).faults(complete)
    if faults:
        raise InputError(faults[0], faults=faults)
    return {**dict.fromkeys(declared), **complete}

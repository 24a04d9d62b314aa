"""Parameters against the index of operations, with Stripe's errors.

Turns the strings of a form into integers, booleans, arrays and objects, or refuses
with the error object that the API answers: unknown, missing, wrong type, not in the
enum, too long, empty where nothing can be unset.
"""

import re

from spojit_stripe.sandbox.errors import StripeError, bad_parameter, missing_parameter
from spojit_stripe.sandbox.form import Raw
from spojit_stripe.sandbox.operations import Operation, Parameter
from spojit_stripe.sandbox.values import JsonObject, JsonValue

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_LIMIT_64 = 2**63

# Free texts that Stripe unsets when they come empty, though the index does not say so.
_FREE_TEXT_NAMES = (
    "description email footer name nickname phone receipt_email statement_descriptor "
    "statement_descriptor_suffix unit_label uncategorized_text url"
)
_FREE_TEXT = frozenset(_FREE_TEXT_NAMES.split())
_MAX_LENGTH = {
    "description": 40_000,
    "email": 512,
    "name": 5_000,
    "phone": 20,
    "query": 1_000,
    "statement_descriptor": 22,
    "statement_descriptor_suffix": 22,
}
_MAX_TEXT = 5_000
_MAX_KEYS, _MAX_KEY, _MAX_VALUE = 50, 40, 500


def check(operation: Operation, raw: dict[str, Raw]) -> JsonObject:
    """The typed parameters of a call; raises `StripeError` for the first thing wrong."""
    params = _children(operation.parameters, raw, "")
    if operation.listing or operation.search:
        _check_page(params)
    return params


def _check_page(params: JsonObject) -> None:
    limit = params.get("limit")
    if isinstance(limit, int):
        check_range(limit, "limit", 1, 100)
    if "starting_after" in params and "ending_before" in params:
        raise bad_parameter(
            "You can't use both `ending_before` and `starting_after` in the same request.", "ending_before"
        )


def check_range(value: int, name: str, least: int, most: int | None = None) -> None:
    """Stripe's error for an integer out of its range."""
    bound = None
    if value < least:
        bound = f"greater than or equal to {least}"
    elif most is not None and value > most:
        bound = f"less than or equal to {most}"
    if bound is not None:
        message = f"This value must be {bound} (it currently is '{value}')."
        raise bad_parameter(message, name, "parameter_invalid_integer")


def _children(parameters: tuple[Parameter, ...], raw: dict[str, Raw], path: str) -> JsonObject:
    known = {parameter.name: parameter for parameter in parameters}
    unknown = [_join(path, name) for name in raw if name not in known]
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        message = f"Received unknown parameter{plural}: {', '.join(unknown)}"
        raise bad_parameter(message, unknown[0], "parameter_unknown")
    typed: JsonObject = {}
    for name, value in raw.items():
        typed[name] = _value(known[name], value, _join(path, name))
    for parameter in parameters:
        if parameter.required and parameter.name not in raw:
            raise missing_parameter(_join(path, parameter.name))
    return typed


def _value(parameter: Parameter, raw: Raw, path: str) -> JsonValue:
    if raw == "":
        return _empty(parameter, path)
    if parameter.kind == "alt":
        return _alternative(parameter, raw, path)
    if isinstance(raw, dict):
        return _nested(parameter, raw, path)
    return _scalar(parameter, raw, path)


def _empty(parameter: Parameter, path: str) -> JsonValue:
    if parameter.unsettable or any(each.unsettable for each in parameter.alternatives):
        return ""
    if parameter.kind == "string" and parameter.name in _FREE_TEXT and not parameter.allowed:
        return ""
    raise bad_parameter(
        f"You passed an empty string for '{path}'. We assume empty values are an attempt to unset a "
        f"parameter; however '{path}' cannot be unset. You should remove '{path}' from your request or "
        "supply a non-empty value.",
        path,
        "parameter_invalid_empty",
    )


def _alternative(parameter: Parameter, raw: Raw, path: str) -> JsonValue:
    failure: StripeError | None = None
    for alternative in parameter.alternatives:
        if isinstance(raw, dict) != (alternative.kind in {"object", "array", "map"}):
            continue
        try:
            return _value(alternative, raw, path)
        except StripeError as error:
            failure = error
    raise failure or bad_parameter(f"Invalid {parameter.name}", path)


def _nested(parameter: Parameter, raw: dict[str, Raw], path: str) -> JsonValue:
    if parameter.kind == "object":
        return _children(parameter.children, raw, path)
    if parameter.kind == "array" and parameter.element is not None:
        return _array(parameter.element, raw, path)
    if parameter.kind == "map":
        return _map(parameter, raw, path)
    raise bad_parameter(f"Invalid {parameter.kind}: {_shown(raw)}", path)


def _array(element: Parameter, raw: dict[str, Raw], path: str) -> JsonValue:
    if not all(key.isascii() and key.isdigit() for key in raw):
        raise bad_parameter("Invalid array", path)
    return [_value(element, raw[key], _join(path, key)) for key in sorted(raw, key=int)]


def _map(parameter: Parameter, raw: dict[str, Raw], path: str) -> JsonValue:
    if parameter.name == "metadata":
        _check_metadata(raw, path)
    typed: JsonObject = {}
    for key, value in raw.items():
        typed[key] = "" if value == "" else _map_value(parameter.element, value, _join(path, key))
    return typed


def _map_value(element: Parameter | None, value: Raw, path: str) -> JsonValue:
    if element is None:
        raise bad_parameter("Invalid object", path)
    return _value(element, value, path)


def _check_metadata(raw: dict[str, Raw], path: str) -> None:
    if len(raw) > _MAX_KEYS:
        raise bad_parameter(f"You may only have up to {_MAX_KEYS} metadata keys.", path)
    for key, value in raw.items():
        if len(key) > _MAX_KEY:
            raise bad_parameter(
                f"Metadata keys can have up to {_MAX_KEY} characters, but you passed in a key that is "
                f"{len(key)} characters. Invalid key: {key}",
                path,
            )
        if isinstance(value, str) and len(value) > _MAX_VALUE:
            raise bad_parameter(
                f"Metadata values can have up to {_MAX_VALUE} characters, but you passed in a value that is "
                f"{len(value)} characters. Invalid value: {value}",
                _join(path, key),
            )


def _scalar(parameter: Parameter, raw: str, path: str) -> JsonValue:
    match parameter.kind:
        case "integer":
            return _integer(raw, path)
        case "boolean":
            if raw not in {"true", "false"}:
                raise bad_parameter(f"Invalid boolean: {raw}", path)
            return raw == "true"
        case "number":
            if not _NUMBER.fullmatch(raw):
                raise bad_parameter(f"Invalid decimal: {raw}", path, "parameter_invalid_decimal")
            return float(raw)
        case "decimal":
            if not _NUMBER.fullmatch(raw):
                raise bad_parameter(f"Invalid decimal: {raw}", path, "parameter_invalid_decimal")
            return raw
        case "string" | "any":
            return _text(parameter, raw, path)
        case "object" | "map":
            raise bad_parameter("Invalid object", path)
        case _:
            raise bad_parameter("Invalid array", path)


def _integer(raw: str, path: str) -> int:
    if not _INTEGER.fullmatch(raw) or not -_LIMIT_64 <= int(raw[:24]) < _LIMIT_64:
        raise bad_parameter(f"Invalid integer: {raw}", path, "parameter_invalid_integer")
    return int(raw)


def _text(parameter: Parameter, raw: str, path: str) -> str:
    if parameter.allowed and raw not in parameter.allowed:
        raise bad_parameter(f"Invalid {path}: must be {_one_of(parameter.allowed)}", path)
    most = parameter.most or _MAX_LENGTH.get(parameter.name, _MAX_TEXT)
    if len(raw) > most:
        shown = raw if len(raw) <= 60 else f"{raw[:57]}..."
        raise bad_parameter(
            f"Invalid string: {shown}; must be at most {most} characters", path, "parameter_invalid_string"
        )
    return raw


def _one_of(allowed: tuple[str, ...]) -> str:
    if len(allowed) == 1:
        return allowed[0]
    if len(allowed) == 2:
        return f"one of {allowed[0]} or {allowed[1]}"
    return f"one of {', '.join(allowed[:-1])}, or {allowed[-1]}"


def _shown(raw: dict[str, Raw]) -> str:
    return "{" + ", ".join(f'"{key}"=>…' for key in list(raw)[:3]) + "}"


def _join(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name

"""`--param NAME=VALUE` of a raw request, written as in Stripe's own examples.

    --param amount=500 --param metadata[order_id]=6735 --param expand[]=charge

The operations index says whether `500` is an integer or text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from spojit_stripe.cli.given import from_text
from spojit_stripe.errors import InputError
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["params_from"]

_BRACKETED = re.compile(r"(?P<name>[^\[\]]+)(?P<rest>(?:\[[^\[\]]*\])*)")
_PART = re.compile(r"\[([^\[\]]*)\]")
_READINGS: Final = (frozenset({"integer", "number"}), frozenset({"boolean"}), frozenset({"object", "array"}))

_Tree: TypeAlias = "dict[str, _Tree | str]"


def params_from(texts: Sequence[str], given: JsonObject, method: str, path: str) -> JsonObject:
    """`given` with the parameters of `texts` added, typed for the operation at `path`.

    Raises `InputError` for what is not NAME=VALUE, given twice, or broken JSON.
    """
    tree: _Tree = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--param: {text!r} is not of the form NAME=VALUE")
        _plant(tree, _parts(name), value, name)
    twice = next((name for name in tree if name in given), None)
    if twice is not None:
        raise InputError(f"{twice}: given by --param and in --params too; give it once")
    built = {name: _built(one) for name, one in tree.items()}
    if built:
        _settle_types(built, given, method, path)
    return {**given, **built}


def _parts(name: str) -> list[str]:
    match = _BRACKETED.fullmatch(name)
    if match is None:
        raise InputError(f"--param: {name!r} is no parameter name; write it like amount or metadata[order_id]")
    if not match["rest"]:
        parts = name.split(".")
        if not all(parts):
            raise InputError(f"--param: {name!r} is no parameter name; write it like amount or metadata[order_id]")
        return parts
    return [match["name"], *_PART.findall(match["rest"])]


def _plant(tree: _Tree, parts: list[str], value: str, name: str) -> None:
    at = tree
    for part in parts[:-1]:
        inner = at.setdefault(part, {})
        if isinstance(inner, str):
            raise InputError(f"{name}: does not go with another value of {part}")
        at = inner
    last = parts[-1] or str(len(at))  # expand[]= counts by itself
    if last in at:
        raise InputError(f"{name}: given twice; give it once")
    at[last] = value


def _built(one: _Tree | str) -> JsonValue:
    if isinstance(one, str):
        return one
    if list(one) == [str(number) for number in range(len(one))]:
        return [_built(inner) for inner in one.values()]
    return {name: _built(inner) for name, inner in one.items()}


def _settle_types(built: JsonObject, given: JsonObject, method: str, path: str) -> None:
    """Read each text as the type with which the operation finds the fewest faults."""
    from spojit_stripe.wire.operations import Operations

    operation = Operations.load().find(method, path)
    if operation is None:
        return  # refused as unknown, or unchecked and sent as text
    for owner, name, text in list(_texts(built)):
        best: JsonValue = text
        fewest = len(operation.check({**given, **built}))
        for kinds in _READINGS:
            reading = from_text(text, kinds, f"--param {name}")
            if reading == text:
                continue
            _set(owner, name, reading)
            faults = len(operation.check({**given, **built}))
            if faults < fewest:
                best, fewest = reading, faults
        _set(owner, name, best)


def _texts(value: JsonObject | list[JsonValue]) -> Iterator[tuple[JsonObject | list[JsonValue], str | int, str]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for name, one in pairs:
        if isinstance(one, str):
            yield value, name, one
        elif isinstance(one, dict | list):
            yield from _texts(one)


def _set(owner: JsonObject | list[JsonValue], name: str | int, value: JsonValue) -> None:
    if isinstance(owner, dict):
        owner[str(name)] = value
    else:
        owner[int(name)] = value

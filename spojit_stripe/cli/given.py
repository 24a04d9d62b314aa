"""What a person typed, as JSON values: flags by their schema, JSON text, files of JSON.

Nothing is guessed. Text that does not have the exact form of a schema's type stays text, so
that the catalog's own check says what is wrong with it.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NoReturn, cast

from spojit_stripe.errors import InputError
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["branches_of", "from_text", "json_object_from", "kinds_of", "parse_json"]

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,30})")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+")
_DEEPEST: Final = 100


def branches_of(schema: JsonObject) -> list[JsonObject]:
    """The plain alternatives of a schema."""
    found = schema.get("anyOf")
    if isinstance(found, list):
        return [inner for one in found if isinstance(one, dict) for inner in branches_of(one)]
    return [schema]


def kinds_of(branches: Iterable[JsonObject]) -> frozenset[str]:
    """The JSON types that a value may have."""
    kinds: set[str] = set()
    for branch in branches:
        kind = branch.get("type")
        if isinstance(kind, str):
            kinds.add(kind)
        elif isinstance(kind, list):
            kinds.update(cast("list[str]", kind))
        elif isinstance(branch.get("const"), str) or "enum" in branch:
            kinds.add("string")
    return frozenset(kinds)


def from_text(text: str, kinds: frozenset[str], where: str) -> JsonValue:
    """The value that `text` stands for where a value of `kinds` is wanted.

    Raises `InputError` for broken JSON where only an object or a list will do.
    """
    if "integer" in kinds and _INTEGER.fullmatch(text):
        return int(text)
    if "number" in kinds and (_INTEGER.fullmatch(text) or _DECIMAL.fullmatch(text)):
        return int(text) if _INTEGER.fullmatch(text) else float(text)
    if "boolean" in kinds and text in ("true", "false"):
        return text == "true"
    opening = text.lstrip()[:1]
    if (opening == "{" and "object" in kinds) or (opening == "[" and "array" in kinds):
        return parse_json(text, where)
    return text


def parse_json(text: str, where: str) -> JsonValue:
    """Strict JSON: no name twice, no NaN, no endless nesting.

    Raises `InputError` with line and column.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=lambda pairs: _object(pairs, where),
            parse_constant=lambda word: _refuse(f"{where}: {word} is no JSON number"),
            parse_float=lambda number: _float(number, where),
        )
    except json.JSONDecodeError as error:
        what = f"{error.msg[:1].lower()}{error.msg[1:]}"
        raise InputError(f"{where}: not valid JSON at line {error.lineno}, column {error.colno}: {what}") from None
    except RecursionError:
        raise InputError(f"{where}: nested too deeply") from None
    except InputError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(f"{where}: not valid JSON: {str(error).split(';')[0]}") from None
    if _depth(value) > _DEEPEST:
        raise InputError(f"{where}: nested too deeply")
    return value


def json_object_from(text: str, where: str) -> JsonObject:
    """An object from JSON text, from `@FILE`, or with `@-` from standard input.

    Raises `InputError` for an unreadable file and for anything but an object.
    """
    if text.startswith("@"):
        where = f"{where} {text}"
        text = _read(text[1:], where)
    value = parse_json(text, where)
    if not isinstance(value, dict):
        raise InputError(f'{where}: must be a JSON object such as {{"limit": 3}}')
    return value


def _read(name: str, where: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{where}: can't read it: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{where}: can't read it: it is not UTF-8 text") from None
    except RuntimeError:  # ~ or ~name without a home
        raise InputError(f"{where}: can't read it: there is no such home folder") from None


def _object(pairs: list[tuple[str, JsonValue]], where: str) -> JsonObject:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{where}: {twice!r} is given twice")
    return value


def _float(number: str, where: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise InputError(f"{where}: {number} is too large a number")
    return value


def _refuse(message: str) -> NoReturn:
    raise InputError(message)


def _depth(value: JsonValue) -> int:
    deepest, todo = 0, [(value, 1)]
    while todo:
        one, depth = todo.pop()
        deepest = max(deepest, depth)
        if depth > _DEEPEST:
            break
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        todo.extend((item, depth + 1) for item in inner)
    return deepest

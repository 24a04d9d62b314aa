"""Stripe's form bodies and queries: `a[b][0]=c` to nested values.

Everything is a string or a mapping of strings here; `validate` gives types. Arrays,
indexed or with `[]`, become mappings with numbers as keys: only the parameter's
declared type tells an array from a map.
"""

import re
from typing import TypeAlias
from urllib.parse import parse_qsl

from spojit_stripe.sandbox.errors import bad_parameter

Raw: TypeAlias = "str | dict[str, Raw]"

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PART = re.compile(r"\[([^\[\]]*)\]")
_MAX_DEPTH = 12
_MAX_FIELDS = 20_000


def parse(encoded: str) -> dict[str, Raw]:
    """The nested form of an `application/x-www-form-urlencoded` text."""
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except UnicodeDecodeError:
        raise bad_parameter("Invalid UTF-8 in the request's parameters.") from None
    except ValueError:
        raise bad_parameter("The request has too many parameters.") from None
    root: dict[str, Raw] = {}
    for name, value in pairs:
        _put(root, _split(name), value)
    return root


def _split(name: str) -> list[str]:
    match = _NAME.fullmatch(name)
    parts = [match[1], *_PART.findall(match[2])] if match else []
    if not parts or len(parts) > _MAX_DEPTH:
        raise bad_parameter(f"Invalid parameter name: {name}", name)
    return parts


def _put(root: dict[str, Raw], parts: list[str], value: str) -> None:
    here = root
    for position, part in enumerate(parts[:-1]):
        if part == "":
            here = _open_element(here, parts[position + 1 :])
            continue
        below = here.setdefault(part, {})
        if isinstance(below, str):
            raise _clash(parts)
        here = below
    last = parts[-1] if parts[-1] != "" else str(len(here))
    if isinstance(here.get(last), dict):
        raise _clash(parts)
    here[last] = value


def _open_element(array: dict[str, Raw], rest: list[str]) -> dict[str, Raw]:
    """The element that `a[][x]` belongs to: the last one, unless it has an `x` already."""
    if array:
        last = array[next(reversed(array))]
        if isinstance(last, dict) and rest[0] not in last:
            return last
    fresh: dict[str, Raw] = {}
    array[str(len(array))] = fresh
    return fresh


def _clash(parts: list[str]) -> Exception:
    name = parts[0] + "".join(f"[{part}]" for part in parts[1:])
    return bad_parameter(f"Invalid parameter: {parts[0]} is both a value and an object", name)

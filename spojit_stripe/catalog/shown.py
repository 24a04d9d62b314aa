"""How parameters and their values appear in a message: short, on one line, without secrets."""

from __future__ import annotations

import json
from collections.abc import Iterable

from spojit_stripe.redact import HIDDEN, printable, redact_object, redact_text
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["dotted", "kind_of", "shown", "shown_name"]

_LONGEST = 60

_KINDS: dict[type, str] = {
    int: "an integer",
    float: "a number with a fraction or an exponent",
    str: "text",
}


def kind_of(value: JsonValue) -> str:
    """`"text"`, `"an integer"`; empty for a value that already looks like what it is."""
    if isinstance(value, bool):
        return ""
    return next((words for kind, words in _KINDS.items() if isinstance(value, kind)), "")


def dotted(path: Iterable[str | int]) -> str:
    """`("discounts", 0, "coupon")` as `discounts[0].coupon`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{shown_name(part)}"
    return text.removeprefix(".")


def shown_name(name: str) -> str:
    """A parameter's name as it may be repeated in a message."""
    text = printable(redact_text(name))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def shown(value: JsonValue, params: JsonObject | None = None, path: tuple[str | int, ...] = ()) -> str:
    """A value as JSON, cut when long; lists and objects, which may hold anything, in words.

    With `params` and the value's `path` in them, what is secret by its name is blanked too.
    """
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if params is not None and _is_secret(params, path):
        return f'"{HIDDEN}"'
    text = value if isinstance(value, str) else str(json.dumps(value))
    if not isinstance(value, str):
        return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    text = redact_text(text)
    cut = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    return printable(json.dumps(cut, ensure_ascii=False))


def _is_secret(params: JsonObject, path: tuple[str | int, ...]) -> bool:
    owner: JsonValue = params
    for part in path[:-1]:
        owner = owner[part] if isinstance(owner, dict) and isinstance(part, str) else _item(owner, part)
    name = path[-1] if path else None
    return isinstance(owner, dict) and isinstance(name, str) and name in owner and redact_object(owner)[name] == HIDDEN


def _item(owner: JsonValue, part: str | int) -> JsonValue:
    return owner[part] if isinstance(owner, list) and isinstance(part, int) else None

"""Values with templates held against schemas before anything is rendered.

What a template gives is not known yet. So a value is checked as several: each time its templates
become values of another kind. What is wrong every time is wrong whatever they become.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, cast

from spojit_stripe.expressions import Compiled
from spojit_stripe.values import JsonObject, JsonValue
from spojit_stripe.workflow.faults import Path

__all__ = ["STAND_IN", "dotted", "lasting_faults"]

STAND_IN: Final = "x1"
"""What a template becomes inside a text; it is good as an id in a path."""

# What a template may become: one value of each kind.
_BECOMES: Final[tuple[JsonValue, ...]] = (STAND_IN, 1, True, [STAND_IN], {STAND_IN: STAND_IN})


def dotted(path: Path) -> str:
    """A path as the catalog's messages write it."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _stand_ins(compiled: Compiled) -> Iterator[JsonObject]:
    """The value as several objects, its templates become values of one kind after another."""
    for becomes in _BECOMES if compiled.paths else (None,):
        yield cast("JsonObject", _filled(compiled, compiled.source, (), becomes))


def _filled(compiled: Compiled, value: JsonValue, path: Path, becomes: JsonValue) -> JsonValue:
    if path in compiled.paths:
        return becomes if compiled.is_expression(path) else _text_around(cast("str", value))
    if isinstance(value, dict):
        return {key: _filled(compiled, inner, (*path, key), becomes) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(compiled, item, (*path, place), becomes) for place, item in enumerate(value)]
    return value


def _text_around(text: str) -> str:
    """A text with its templates become `STAND_IN`."""
    start, found = 0, ""
    while (opening := text.find("{{", start)) >= 0:
        closing = text.find("}}", opening)
        found += f"{text[start:opening]}{STAND_IN}"
        start = closing + 2 if closing >= 0 else len(text)
    return found + text[start:]


def lasting_faults(
    compiled: Compiled, faults: Callable[[JsonObject], tuple[str, ...]], *, inner: str | None = None
) -> tuple[str, ...]:
    """The lines of `faults` that hold whatever the templates become.

    `inner` is the key under which values stand that lines name without it, a raw request's `params` say.
    """
    lasting: dict[str, None] | None = None
    for params in _stand_ins(compiled):
        found = faults(params)
        lasting = dict.fromkeys(found if lasting is None else (line for line in lasting if line in found))
    within = (path[1:] for path in compiled.paths if len(path) > 1 and path[0] == inner)
    at_templates = tuple(f"{dotted(path)}: " for path in (*compiled.paths, *within))
    return tuple(line for line in lasting or () if not line.startswith(at_templates))

"""Reading a mapping of a workflow: each key checked where it stands, nothing raised."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeVar

from spojit_stripe.expressions import Compiled
from spojit_stripe.expressions.bounds import kind_of
from spojit_stripe.values import JsonObject, JsonValue
from spojit_stripe.words import nearest
from spojit_stripe.workflow.faults import Path, Report, quoted

__all__ = ["Fields"]

T = TypeVar("T", bound=str)

_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_LONGEST: Final = 36_500 * 86_400
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Fields:
    """One mapping. `what` is what messages call it."""

    def __init__(self, report: Report, value: JsonValue, path: Path, what: str) -> None:
        self.report = report
        self.path = path
        self.what = what
        self.data: JsonObject = {}
        if isinstance(value, dict):
            self.data = value
        else:
            report.error(path, f"{what} is {kind_of(value)}, but a mapping is needed")

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def only(self, known: Iterable[str]) -> None:
        """Every other key is a fault."""
        keys = [*known]
        for key in self.data:
            if key not in keys:
                self.error(key, f"unknown key {quoted(key)} in {self.what}", self._instead(key, keys))

    def _instead(self, key: str, known: list[str]) -> str:
        return nearest(key, known) or f"it takes {', '.join(known)}"

    def error(self, key: str, message: str, suggestion: str = "") -> None:
        self.report.error((*self.path, key), message, suggestion)

    def missing(self, key: str, advice: str = "") -> None:
        self.report.error(self.path, f"{self.what} has no {key!r}", advice)

    def text(self, key: str, *, required: bool = False, advice: str = "") -> str | None:
        """A text that is not empty."""
        if key not in self.data:
            if required:
                self.missing(key, advice)
            return None
        value = self.data[key]
        if isinstance(value, str) and value.strip():
            return value
        given = "empty" if isinstance(value, str) else kind_of(value)
        self.error(key, f"{key} is {given}, but text is needed", advice)
        return None

    def choice(self, key: str, known: tuple[T, ...], default: T) -> T:
        value = self.data.get(key, default)
        found = next((one for one in known if one == value), None)
        if found is None:
            guess = nearest(value, known) if isinstance(value, str) else ""
            self.error(key, f"{key} is {_shown(value)}", guess or f"it is one of {', '.join(known)}")
        return found or default

    def integer(self, key: str, *, least: int, most: int) -> int | None:
        if key not in self.data:
            return None
        value = self.data[key]
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.error(key, f"{key} is {_shown(value)}", f"it is an integer from {least} to {most}")
        return None

    def duration(self, key: str) -> float | None:
        """Seconds, written as such or as `30s`, `5m`, `2h`, `7d`."""
        if key not in self.data:
            return None
        value = self.data[key]
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        seconds = int(match[1]) * _SECONDS[match[2]] if match else value
        if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0:
            if seconds <= _LONGEST:
                return float(seconds)
            self.error(key, f"{key} is {_shown(value)}", "write 36500d at most")
            return None
        self.error(key, f"{key} is {_shown(value)}", "write a length of time such as 30s, 5m, 2h or 7d")
        return None

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """A list of texts, each once."""
        if key not in self.data:
            if required:
                self.missing(key, "name at least one")
            return ()
        found: list[str] = []
        for place, item in enumerate(self.items(key)):
            if not isinstance(item, str) or not item.strip():
                self.report.error((*self.path, key, place), f"{key} holds {kind_of(item)}, but texts are needed")
            elif item in found:
                self.report.error((*self.path, key, place), f"{quoted(item)} stands twice in {key}")
            else:
                found.append(item)
        if required and not self.data[key]:
            self.error(key, f"{key} is empty", "name at least one")
        return tuple(found)

    def items(self, key: str) -> list[JsonValue]:
        """A list, empty where there is none."""
        value = self.data.get(key, [])
        if isinstance(value, list):
            return value
        self.error(key, f"{key} is {kind_of(value)}, but a list is needed")
        return []

    def mapping(self, key: str) -> JsonObject:
        """A mapping, empty where there is none."""
        value = self.data.get(key, {})
        if isinstance(value, dict):
            return value
        self.error(key, f"{key} is {kind_of(value)}, but a mapping is needed")
        return {}

    def compiled(self, key: str, *, required: bool = False, advice: str = "") -> Compiled:
        """A value with its templates."""
        if key not in self.data:
            if required:
                self.missing(key, advice)
            return self.report.compiled((*self.path, key), None, key)
        return self.report.compiled((*self.path, key), self.data[key], key)

    def compiled_mapping(self, key: str) -> Compiled:
        return self.report.compiled((*self.path, key), self.mapping(key), key)

    def compiled_text(self, key: str, *, required: bool = False) -> Compiled:
        return self.report.compiled((*self.path, key), self.text(key, required=required), key)

    def condition(self, key: str) -> Compiled:
        """true, false or one expression."""
        value = self.data.get(key)
        compiled = self.compiled(key)
        if isinstance(value, bool) or compiled.is_expression():
            return compiled
        if isinstance(value, str) and not compiled.is_literal:
            self.error(key, f"{key} is a text around {{{{ … }}}}, which is never true or false", "write one {{ … }}")
        else:
            self.error(key, f"{key} is {_shown(value)}", "write true, false or one expression in {{ … }}")
        return compiled


def _shown(value: JsonValue) -> str:
    if isinstance(value, str):
        return quoted(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else kind_of(value)

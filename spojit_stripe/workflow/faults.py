"""What is wrong with a workflow, each with its place, gathered so that all come at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.expressions import Compiled, parse_value
from spojit_stripe.redact import printable, redact_text
from spojit_stripe.values import JsonObject, JsonValue
from spojit_stripe.workflow.vocabulary import NO_EXTRAS, Vocabulary
from spojit_stripe.yamlfile import Document

__all__ = ["Fault", "Path", "Report", "Severity", "fault_of_file", "quoted"]

Path: TypeAlias = tuple[str | int, ...]
Severity: TypeAlias = Literal["error", "warning"]

_LONGEST: Final = 60
# What stands for a template that can't be compiled, so that nothing more is said of it.
_UNKNOWN: Final = "{{ none }}"


def quoted(value: object) -> str:
    """A name or value of the file as a message repeats it."""
    text = printable(redact_text(str(value)))
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: where, what, and what to write instead. A warning stops nothing."""

    file: str
    line: int
    column: int
    message: str
    suggestion: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        kind = "warning: " if self.severity == "warning" else ""
        advice = f"; {self.suggestion}" if self.suggestion else ""
        return f"{self.file}:{self.line}:{self.column}: {kind}{self.message}{advice}"

    def to_json(self) -> JsonObject:
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "severity": self.severity,
            "message": self.message,
            "suggestion": self.suggestion,
        }


def fault_of_file(error: ConfigurationError, name: str) -> Fault:
    """The fault of a file that is no YAML, from the parser's `file:line:column: what`."""
    place, _, what = error.message.removeprefix(f"{name}:").partition(": ")
    line, _, column = place.partition(":")
    if line.isdigit() and column.isdigit():
        return Fault(file=name, line=int(line), column=int(column), message=what)
    return Fault(file=name, line=1, column=1, message=error.message.removeprefix(f"{name}: "))


class Report:
    """Gathers faults of one document."""

    def __init__(self, document: Document, vocabulary: Vocabulary = NO_EXTRAS) -> None:
        self.document = document
        self.vocabulary = vocabulary
        self._found: dict[Fault, None] = {}

    def error(self, path: Path, message: str, suggestion: str = "") -> None:
        self._add(path, message, suggestion, "error")

    def warn(self, path: Path, message: str, suggestion: str = "") -> None:
        self._add(path, message, suggestion, "warning")

    def line(self, path: Path, text: str, what: str = "") -> None:
        """An error told in one line elsewhere, whose advice follows a semicolon."""
        message, _, suggestion = text.partition("; ")
        self.error(path, f"{what}{message}", suggestion)

    def _add(self, path: Path, message: str, suggestion: str, severity: Severity) -> None:
        line, column = self.position(path)
        fault = Fault(
            file=self.document.name,
            line=line,
            column=column,
            message=message,
            suggestion=suggestion.removeprefix("; "),
            severity=severity,
        )
        self._found[fault] = None

    def position(self, path: Path) -> tuple[int, int]:
        """Line and column of `path` or of what holds it."""
        positions = self.document.positions
        return next((positions[path[:end]] for end in range(len(path), -1, -1) if path[:end] in positions), (1, 1))

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All of them in the order of the file."""
        return tuple(sorted(self._found, key=lambda fault: (fault.line, fault.column)))

    def compiled(self, path: Path, value: JsonValue, what: str) -> Compiled:
        """`value` with its templates; what can't be compiled is a fault."""
        sound = self._sound(path, value, what)
        return parse_value(sound, filters=self.vocabulary.filters)

    def _sound(self, path: Path, value: JsonValue, what: str) -> JsonValue:
        if isinstance(value, Mapping):
            for key in value:
                if "{{" in key:
                    self.error((*path, key), f"{what}: the key {quoted(key)} holds a template", "only values may")
            return {key: self._sound((*path, key), inner, f"{what}.{key}") for key, inner in value.items()}
        if isinstance(value, list):
            return [self._sound((*path, place), item, f"{what}[{place}]") for place, item in enumerate(value)]
        if isinstance(value, str):
            try:
                parse_value(value, filters=self.vocabulary.filters)
            except InputError as error:
                self.line(path, error.message, f"{what}: ")
                return _UNKNOWN
        return value

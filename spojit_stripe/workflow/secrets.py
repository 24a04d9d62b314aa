"""Secrets that stand in a workflow: its files are recorded with its runs, as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from spojit_stripe.redact import HIDDEN, redact_object, redact_text
from spojit_stripe.values import JsonValue
from spojit_stripe.workflow.faults import Fault, Path, Report, quoted
from spojit_stripe.workflow.model import Workflow

__all__ = ["secrets_in"]

_ADVICE: Final = "leave it out: a key belongs to its connection, as ${env:NAME}"
_RECORDED: Final = "and a run records its files"


def secrets_in(report: Report, workflow: Workflow) -> Iterator[Fault]:
    """A fault for each line with what has the shape of a key, comments too; reports what its name makes a secret."""
    _check_names(report, (), workflow.document.data)
    for number, line in enumerate(workflow.source.split("\n"), start=1):
        if redact_text(line) != line:
            yield Fault(
                file=workflow.document.name,
                line=number,
                column=1 + len(line) - len(line.lstrip()),
                message=f"the line holds what looks like a secret, {_RECORDED}",
                suggestion=_ADVICE,
            )


def _check_names(report: Report, path: Path, value: JsonValue) -> None:
    if isinstance(value, list):
        for place, item in enumerate(value):
            _check_names(report, (*path, place), item)
    if not isinstance(value, dict):
        return
    shown = redact_object(value)
    for name, inner in value.items():
        if isinstance(inner, dict | list):
            _check_names(report, (*path, name), inner)
        elif (
            shown.get(redact_text(name)) == HIDDEN and "{{" not in str(inner) and redact_text(str(inner)) == str(inner)
        ):
            report.error((*path, name), f"{quoted(name)} holds a secret or card data, {_RECORDED}", _ADVICE)

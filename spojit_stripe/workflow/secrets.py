"""Secrets that stand in a workflow: its files are recorded with its runs, as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from spojit_stripe.redact import HIDDEN, redact_object
from spojit_stripe.values import JsonValue
from spojit_stripe.workflow.faults import Fault, Path, Report, quoted
from spojit_stripe.workflow.model import Workflow

__all__ = ["secrets_in"]

_ADVICE: Final = "leave it out: a key belongs to its connection, as ${env:NAME}"
_RECORDED: Final = "and a run records its files"
# Surely a key, and no example of one: long, and with a digit.
_KEY = re.compile(
    r"(?:(?:sk|rk|ek|uk)_(?:org_)?(?:test|live)_|whsec_|sk-ant-|_secret_|\b[Bb]earer\s+)"
    r"(?=[^\s\"']*[0-9])[A-Za-z0-9._~+/=-]{12,}"
)
_NEED_DIGITS: Final = frozenset(("account_number", "authorization", "number"))
_DIGITS: Final = 8


def secrets_in(report: Report, workflow: Workflow) -> Iterator[Fault]:
    """A fault for each line with what has the shape of a key, comments too; reports what its name makes a secret."""
    _check_names(report, (), workflow.document.data)
    for number, line in enumerate(workflow.source.split("\n"), start=1):
        if _KEY.search(line):
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
        elif shown.get(name) == HIDDEN and _is_literal(name, str(inner)):
            report.error((*path, name), f"{quoted(name)} holds a secret or card data, {_RECORDED}", _ADVICE)


def _is_literal(name: str, value: str) -> bool:
    """Whether a value is one, and no template or reference; under a name of many meanings only what looks like it."""
    if not value or "{{" in value or value.startswith("${") or _KEY.search(value):
        return False
    return name not in _NEED_DIGITS or sum(character.isdigit() for character in value) >= _DIGITS

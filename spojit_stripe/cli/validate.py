"""`validate`: every fault of workflow files, before anything runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spojit_stripe.cli.base import Command, Settings, settings_of
from spojit_stripe.cli.report import data_line, json_text, note
from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.redact import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spojit_stripe.connection import Connections
    from spojit_stripe.connector import Connector
    from spojit_stripe.workflow import Fault, Vocabulary

__all__ = ["connections_or_why", "validate"]


@click.command(
    "validate",
    cls=Command,
    uses=("connections", "json"),
    help="Check workflow files and tell all faults at once, as FILE:LINE:COLUMN: what is wrong.",
    epilog="Exit codes: 0 no faults, warnings at most; 2 faults; 3 a file can't be read.",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path))
@click.pass_context
def validate(ctx: click.Context, files: tuple[Path, ...]) -> int:
    settings = settings_of(ctx)
    connections, about = connections_or_why(settings)
    if about:
        note(about)
    with settings.host() as host:
        connectors, vocabulary = host.connectors, host.vocabulary
    faults: list[Fault] = []
    unread: list[ConfigurationError] = []
    for file in files:
        try:
            faults += _faults(file, connectors, connections, vocabulary)
        except ConfigurationError as error:
            unread.append(error)
    return _report(files, faults, unread, as_json=settings.json)


def connections_or_why(settings: Settings) -> tuple[Connections | None, str]:
    """The connections, or None and why nothing is said of them."""
    from spojit_stripe.connection import Connections

    if settings.connections is not None:
        return Connections.load(settings.connections), ""
    try:
        return Connections.load(), ""
    except ConfigurationError as error:
        return None, f"connections are not checked: {error.message}"


def _faults(
    file: Path, connectors: Mapping[str, Connector], connections: Connections | None, vocabulary: Vocabulary
) -> list[Fault]:
    from spojit_stripe.workflow import check_workflow, read_workflow, text_of

    workflow, faults = read_workflow(text_of(file), str(file), vocabulary)
    more = check_workflow(workflow, connectors, connections) if workflow is not None else ()
    return sorted({*faults, *more}, key=lambda fault: (fault.line, fault.column, fault.message))


def _report(files: tuple[Path, ...], faults: list[Fault], unread: list[ConfigurationError], *, as_json: bool) -> int:
    errors = sum(fault.severity == "error" for fault in faults)
    for error in unread:
        note(f"error: {error.message}")
    code = ConfigurationError.exit_code if unread else InputError.exit_code if errors else 0
    if as_json:
        told = [fault.to_json() for fault in faults]
        data_line(json_text({"faults": [*told], "unread": [error.message for error in unread], "exit_code": code}))
        return code
    for fault in faults:
        sys.stdout.write(f"{printable(str(fault))}\n")
    warnings = len(faults) - errors
    read = len(files) - len(unread)
    if read:
        note(f"{_count(read, 'file')}: {_count(errors, 'fault')}, {_count(warnings, 'warning')}")
    return code


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"

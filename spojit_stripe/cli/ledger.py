"""`ledger`: what was sent to Stripe, and how it ended."""

from __future__ import annotations

import asyncio
import getpass
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from spojit_stripe.cli.base import Command, Group, Settings, settings_of
from spojit_stripe.cli.columns import Column, cell, iso, write_csv
from spojit_stripe.cli.report import json_text, note, warn
from spojit_stripe.cli.show import show_fields, write_table
from spojit_stripe.redact import redact_object
from spojit_stripe.values import JsonObject

if TYPE_CHECKING:
    from spojit_stripe.host import Host
    from spojit_stripe.records import Entry

__all__ = ["ledger", "row_of", "user_name"]

_STATES: Final = ("open", "done", "failed", "unsent", "unknown")
_UNKNOWN: Final = 7
_LAST: Final = 2**63 - 1  # no database has more
_EXPORTED: Final = (
    "id",
    "created",
    "effect",
    "state",
    "connection",
    "mode",
    "account",
    "run_id",
    "node",
    "tool",
    "operation",
    "path",
    "amount",
    "currency",
    "target",
    "object_id",
    "key",
    "generation",
    "once",
    "api_version",
    "attempts",
    "replayed",
    "request_ids",
    "params",
    "error",
    "resolution",
)


def user_name() -> str:
    """The person at the keyboard, as the operating system knows them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown user"


@click.group("ledger", cls=Group, help="What was sent to Stripe, and how it ended.")
def ledger() -> None:
    pass


def _entries(
    settings: Settings, host: Host, run_id: str | None, state: str | None, writes: bool, limit: int | None
) -> Iterator[Entry]:
    from spojit_stripe.records import Records, State

    if not Records.exist_in(host.state):
        note(f"nothing is recorded in {host.state} yet")
        return
    wanted = State(state) if state else None
    yield from host.records.ledger.entries(run_id=run_id, state=wanted, writes_only=writes, limit=limit)


@ledger.command("list", cls=Command, uses=("state", "json"))
@click.option("--run-id", metavar="ID", help="Only calls of this run.")
@click.option("--outcome", type=click.Choice(_STATES), help="Only calls that stand so; open and unknown are unsettled.")
@click.option("--writes", is_flag=True, help="Only writes.")
@click.option(
    "--limit", type=click.IntRange(1, 10**9), default=50, show_default=True, metavar="N", help="At most N rows."
)
@click.pass_context
def list_(ctx: click.Context, run_id: str | None, outcome: str | None, writes: bool, limit: int) -> int:
    """List calls, newest first."""
    settings = settings_of(ctx)
    with settings.host() as host:
        entries = list(_entries(settings, host, run_id, outcome, writes, limit + 1))
    more, entries = len(entries) > limit, entries[:limit]
    if settings.json:
        sys.stdout.write(f"{json_text([redact_object(entry.to_json()) for entry in entries])}\n")
        return 0
    headers = ["entry", "when", "tool", "operation", "amount", "state", "object", "run id"]
    write_table(sys.stdout, headers, [row_of(entry) for entry in entries], right=frozenset({0, 4}))
    note(f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}" + (", more with --limit" if more else ""))
    return 0


_AMOUNT = Column("amount", "minor-units")


def row_of(entry: Entry) -> list[str]:
    amount: JsonObject = {"amount": entry.amount, "currency": entry.currency}
    return [
        str(entry.id),
        iso(entry.created),
        entry.tool,
        entry.operation,
        cell(amount, _AMOUNT),
        entry.state.value,
        entry.object_id or "",
        entry.run_id,
    ]


@ledger.command("show", cls=Command, uses=("state", "json"))
@click.argument("entry_id", metavar="ID", type=click.IntRange(1, _LAST))
@click.pass_context
def show(ctx: click.Context, entry_id: int) -> int:
    """Show one call with its parameters and outcome."""
    settings = settings_of(ctx)
    with settings.host() as host:
        entry = _get(host, entry_id)
    row = redact_object(entry.to_json())
    if settings.json:
        sys.stdout.write(f"{json_text(row)}\n")
        return 0
    fields = [(name, _field(entry, name, row)) for name in row if name not in ("amount", "currency")]
    if entry.amount is not None:
        fields.insert(1, ("amount", row_of(entry)[4]))
    show_fields(sys.stdout, fields)
    return 0


def _field(entry: Entry, name: str, row: JsonObject) -> str:
    value = row[name]
    if name in ("created", "first_sent", "finished") and isinstance(value, int):
        return iso(value)
    return value if isinstance(value, str) else json_text(value, indent=None)


def _get(host: Host, entry_id: int) -> Entry:
    from spojit_stripe.errors import InputError
    from spojit_stripe.records import Records

    if not Records.exist_in(host.state):
        raise InputError(f"no ledger entry {entry_id}: nothing is recorded in {host.state} yet")
    return host.records.ledger.get(entry_id)


@ledger.command("export", cls=Command, uses=("state", "json"))
@click.option("--run-id", metavar="ID", help="Only calls of this run.")
@click.option("--outcome", type=click.Choice(_STATES), help="Only calls that stand so.")
@click.option("--writes", is_flag=True, help="Only writes.")
@click.option("--format", "form", type=click.Choice(["ndjson", "csv", "json"]), help="ndjson when left out.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Replaced as a whole."
)
@click.pass_context
def export(
    ctx: click.Context, run_id: str | None, outcome: str | None, writes: bool, form: str | None, output: Path | None
) -> int:
    """Write all calls, newest first, with parameters and outcomes; secrets are blanked."""
    from spojit_stripe.cli.sink import opened

    settings = settings_of(ctx)
    if form is None:
        by_suffix = {".csv": "csv", ".json": "json"}
        form = "json" if settings.json else by_suffix.get(output.suffix.lower() if output else "", "ndjson")
    count = 0
    with settings.host() as host, opened(output) as stream:
        entries = _entries(settings, host, run_id, outcome, writes, None)
        rows = (redact_object(entry.to_json()) for entry in entries)
        if form == "ndjson":
            for row in rows:
                stream.write(f"{json_text(row, indent=None)}\n")
                count += 1
        else:
            gathered = list(rows)
            count = len(gathered)
            if form == "csv":
                write_csv(stream, gathered, [Column(name) for name in _EXPORTED])
            else:
                stream.write(f"{json_text([*gathered])}\n")
    note(f"{count} {'entry' if count == 1 else 'entries'}")
    return 0


@ledger.command("resolve", cls=Command, uses=("connections", "state", "json", "dry_run"))
@click.argument("entry_id", metavar="ID", type=click.IntRange(1, _LAST))
@click.option("--found", metavar="OBJECT", help="The id of the object that the call made.")
@click.option("--none", "nothing", is_flag=True, help="You have looked: the call made nothing.")
@click.option("--note", "remark", default="", help="Why, for those who read the ledger later.")
@click.pass_context
def resolve(ctx: click.Context, entry_id: int, found: str | None, nothing: bool, remark: str) -> int:
    """Settle a call whose outcome is unknown.

    With neither --found nor --none Stripe is asked for an object that carries the call's
    key; finding nothing proves nothing, and then the word is yours.
    """
    from spojit_stripe.cli.resolving import look, read_found
    from spojit_stripe.errors import InputError

    if found is not None and nothing:
        raise InputError("--found and --none do not go together")
    if found is not None and not re.fullmatch(r"[A-Za-z0-9_.~-]*[A-Za-z0-9_~-]", found):
        raise InputError(f"--found: {found!r} is no object id")
    settings = settings_of(ctx)
    with settings.host() as host:
        entry = _get(host, entry_id)
        if not entry.state.unsettled:
            raise InputError(f"ledger entry {entry_id} is {entry.state}, not unknown; there is nothing to resolve")
        who, made = user_name(), None
        if found is not None:
            made = asyncio.run(read_found(host, entry, found))
        elif not nothing:
            made = asyncio.run(look(host, entry))
            who = f"{who}, by look-up"
            if made is None:
                note(
                    f"nothing was found under the key of entry {entry_id}, which proves nothing: look in the "
                    f"dashboard, then say --found OBJECT or --none"
                )
                return _UNKNOWN
        if settings.dry_run:
            note(f"dry run: entry {entry_id} would be {'done: ' + str(made.get('id')) if made else 'failed'}")
            return 0
        settled = host.records.ledger.resolve(entry_id, found=made, who=who, note=remark)
    if settings.json:
        sys.stdout.write(f"{json_text(redact_object(settled.to_json()))}\n")
    note(f"entry {entry_id} is {settled.state}: {settled.object_id or 'nothing took effect'} (recorded by {who})")
    if made is not None and set(made) == {"id"}:
        warn("only the id is recorded, because the object could not be read")
    return 0

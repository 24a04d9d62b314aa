"""`sync` and `reconcile`: Stripe's objects in a database, and payouts that add up."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

import click

from spojit_stripe.cli.base import Command, Settings, settings_of
from spojit_stripe.cli.columns import iso
from spojit_stripe.cli.report import json_text, note, report_error, warn
from spojit_stripe.cli.show import write_table
from spojit_stripe.redact import redact_object
from spojit_stripe.values import JsonObject, JsonValue

if TYPE_CHECKING:
    from spojit_stripe.session import Session
    from spojit_stripe.sync import Destination, Report

__all__ = ["reconcile", "sync"]

_EXCEPTIONS: Final = 8
_LINE_EVERY: Final = 10_000  # rows, where nobody watches a terminal
_MODES: Final = {"history": "whole history", "changes": "changes", "full": "all again", None: "nothing"}
_TO: Final = "sqlite:///FILE.db, postgresql://USER@HOST/DATABASE or FOLDER.parquet."


@click.command("sync", cls=Command, uses=("connections", "connection", "state", "json", "dry_run"), acts=True)
@click.argument("resources", metavar="RESOURCE...", nargs=-1)
@click.option("--to", required=True, metavar="PLACE", help=f"Where the rows go: {_TO}")
@click.option("--full", is_flag=True, help="Read everything again, and find what was deleted meanwhile.")
@click.pass_context
def sync(ctx: click.Context, resources: tuple[str, ...], to: str, full: bool) -> int:
    """Keep tables of Stripe's objects up to date.

    The first run reads the whole history, a later one what was made, changed or deleted since.
    Resources: balance_transactions, charges, customers, disputes, invoices, payment_intents,
    payout_transactions, payouts, products, refunds, subscriptions; "all" for every one.

    A run that was stopped goes on where it was when the command is repeated. Exit code 8: a part
    of it failed, and the table says which.
    """
    from spojit_stripe.sync import RESOURCES, destination_of
    from spojit_stripe.sync.resources import chosen

    names = tuple(RESOURCES) if resources == ("all",) else resources
    chosen(names)
    settings = settings_of(ctx)
    destination = destination_of(to)
    with settings.host() as host:
        connection = settings.chosen(host.connections)
        for text in connection.warnings:
            warn(text)
        session = host.session(connection)
        if settings.dry_run:
            return asyncio.run(_preview(names, destination, session, settings, full=full))
        records = host.records  # an unusable folder is found before anything is sent
        report = asyncio.run(_sync(names, destination, session, full=full))
    fault = records.reads.fault
    if fault is not None:
        warn(f"some reads are not in the ledger: {fault.message}")
    return _show(report, settings)


async def _sync(names: Sequence[str], destination: Destination, session: Session, *, full: bool) -> Report:
    from spojit_stripe.sync import sync as run

    async with session:
        with _Watcher() as watcher:
            return await run(names, destination, session=session, run_id=_run_id("sync"), full=full, tell=watcher.hear)


def _run_id(what: str) -> str:
    return f"{what}-{datetime.fromtimestamp(time.time(), UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


class _Watcher:
    """Tells people how a sync goes: one moving line on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._update: Callable[[str], None] | None = None
        self._began = 0.0
        self._told = 0

    def __enter__(self) -> _Watcher:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.text import Text

            console = Console(stderr=True, highlight=False, markup=False)
            status = self._stack.enter_context(console.status(Text("sync …")))

            def update(text: str) -> None:
                status.update(Text(text))

            self._update = update
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def hear(self, kind: str, facts: JsonObject) -> None:
        name = str(facts["resource"])
        if kind == "warning":
            warn(str(facts["text"]))
        elif kind == "begin":
            self._began, self._told = time.monotonic(), 0
            since = facts["since"]
            told = f" since {iso(since)}" if isinstance(since, int) else ""
            note(f"{name}: {_MODES[cast('str', facts['mode'])]}{told}")
        elif kind == "read":
            self._read(name, cast("int", facts["rows"]))

    def _read(self, name: str, rows: int) -> None:
        text = f"{name}: {rows} rows, {rows / max(time.monotonic() - self._began, 0.001):.0f} a second"
        if self._update is not None:
            self._update(text)
        elif rows - self._told >= _LINE_EVERY:
            self._told = rows
            note(text)


def _show(report: Report, settings: Settings) -> int:
    if settings.json:
        sys.stdout.write(f"{json_text(redact_object(report.to_json()))}\n")
    else:
        headers = ["resource", "read", "rows", "new", "changed", "deleted", "requests", "as of"]
        rows = [
            [
                one.resource,
                _MODES[one.mode] if one.error is None else "failed",
                *map(str, (one.counts.read, one.counts.new, one.counts.changed, one.counts.deleted, one.requests)),
                "" if one.as_of is None else iso(one.as_of),
            ]
            for one in report.resources
        ]
        write_table(sys.stdout, headers, rows, right=frozenset(range(2, 7)))
    for one in report.resources:
        if one.error is not None:
            report_error(one.error, as_json=False)
        for name, text in one.failed.items():
            warn(f"{one.resource} {name} could not be read and will be tried again: {text}")
    note(f"synced to {report.destination}" if report.exit_code == 0 else f"not all is synced to {report.destination}")
    return report.exit_code


async def _preview(
    names: Sequence[str], destination: Destination, session: Session, settings: Settings, *, full: bool
) -> int:
    from spojit_stripe.sync import plan

    rows = await plan(names, destination, session=session, full=full)
    if settings.json:
        told: list[JsonValue] = [redact_object(row) for row in rows]
        sys.stdout.write(f"{json_text(told)}\n")
    else:
        cells = [
            [
                str(row["resource"]),
                _MODES[cast("str", row["mode"])],
                iso(since) if isinstance(since := row["since"], int) else "",
                str(request["path"]),
                json_text(request["params"], indent=None),
            ]
            for row in rows
            for request in cast("list[JsonObject]", row["requests"])
        ]
        write_table(sys.stdout, ["resource", "would read", "since", "path", "parameters"], cells)
    for row in rows:
        if row["why"] is not None:
            note(f"{row['resource']}: {row['why']}; everything would be read again")
    note("dry run: nothing was sent or changed")
    return 0


@click.command("reconcile", cls=Command, uses=("connections", "connection", "state", "json"))
@click.argument("payout", metavar="[PAYOUT]", required=False)
@click.option("--in", "place", metavar="PLACE", help=f"Look in synced tables instead of asking Stripe: {_TO}")
@click.pass_context
def reconcile(ctx: click.Context, payout: str | None, place: str | None) -> int:
    """Check that a payout is the sum of what it settled, to the last unit.

    Asks Stripe about one payout, or with --in looks at all payouts of synced tables (or one).
    Exit code 8: something is left over, or the one payout asked about is not reconciled.
    """
    from spojit_stripe.errors import InputError
    from spojit_stripe.sync import destination_of

    settings = settings_of(ctx)
    if place is not None:
        rows = destination_of(place).reconciliation(payout)
        if payout is not None and not rows:
            raise InputError(f"{payout!r} is not among the synced automatic payouts; sync again, or ask without --in")
        whole = payout is None or all(row["reconciled"] == 1 for row in rows)
        told: JsonValue = [*rows]
    elif payout is None:
        raise InputError("which payout? Name one, po_…, or say where the synced tables are with --in")
    else:
        found = asyncio.run(_ask(payout, settings))
        shared = ("payout", "status", "arrival_date", "reconciled", "outcome")
        lines = cast("list[JsonObject]", found["currencies"])
        rows = [{**{name: found[name] for name in shared}, **line} for line in lines]
        whole = found["reconciled"] is True
        told = redact_object(found)
        if found["automatic"] is not True:
            note(f"{payout} is no automatic payout: Stripe does not say what a manual one settled")
    if settings.json:
        sys.stdout.write(f"{json_text(told)}\n")
    else:
        _show_payouts(rows)
    count = len({str(row["payout"]) for row in rows})
    left = [row for row in rows if row["variance"] or row["unbalanced"] or row.get("missing")]
    summed = f"{len(left)} not adding up" if left else "all add up"
    came_back = len({str(row["payout"]) for row in rows if row.get("outcome") == "returned"})
    returned = f", {came_back} returned to the balance" if came_back else ""
    note(f"{count} {'payout' if count == 1 else 'payouts'}: {summed}{returned}")
    return 0 if whole and not left else _EXCEPTIONS


_PARTS: Final = ("amount", "gross", "refunds", "disputes", "adjustments", "fees", "net", "variance")


def _show_payouts(rows: Sequence[JsonObject]) -> None:
    from spojit_stripe.money import format_amount

    headers = ["payout", "arrives", *_PARTS, "transactions", "outcome"]
    cells = [
        [
            str(row["payout"]),
            iso(cast("int", row["arrival_date"]))[:10],
            *(format_amount(cast("int", row[part]), str(row["currency"])) for part in _PARTS),
            str(row["transactions"]),
            str(row.get("outcome", "")),  # tables that were synced last by an earlier version have none
        ]
        for row in rows
    ]
    write_table(sys.stdout, headers, cells, right=frozenset(range(2, len(headers) - 1)))


async def _ask(payout: str, settings: Settings) -> JsonObject:
    from spojit_stripe.sync import reconcile_payout

    with settings.host() as host:
        connection = settings.chosen(host.connections)
        for text in connection.warnings:
            warn(text)
        async with host.session(connection) as session:
            return await reconcile_payout(payout, session=session, run_id=_run_id("reconcile"))

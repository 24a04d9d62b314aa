"""`approvals`: calls that wait for a person, and what the person says."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal, cast

import click

from spojit_stripe.cli.base import Command, Group, settings_of
from spojit_stripe.cli.columns import Column, cell, iso
from spojit_stripe.cli.ledger import user_name
from spojit_stripe.cli.report import json_text, note
from spojit_stripe.cli.show import show_fields, write_table
from spojit_stripe.redact import redact_object
from spojit_stripe.values import JsonObject

if TYPE_CHECKING:
    from spojit_stripe.host import Host
    from spojit_stripe.records import Approval

__all__ = ["approvals"]

_STATES = ("pending", "approved", "rejected", "used")
_AMOUNT = Column("amount", "minor-units")


@click.group("approvals", cls=Group, help="Calls that wait for a person's decision.")
def approvals() -> None:
    pass


@approvals.command("list", cls=Command, uses=("state", "json"))
@click.option("--decision", type=click.Choice(_STATES), help="Only those that stand so; pending ones wait for you.")
@click.pass_context
def list_(ctx: click.Context, decision: str | None) -> int:
    """List approvals, newest first."""
    from spojit_stripe.records import Records

    settings = settings_of(ctx)
    with settings.host() as host:
        found = host.records.approvals.list(state=decision) if Records.exist_in(host.state) else []
    if settings.json:
        sys.stdout.write(f"{json_text([redact_object(one.to_json()) for one in found])}\n")
        return 0
    headers = ["approval", "state", "asked", "expires", "what", "amount", "connection", "run id", "reason"]
    write_table(sys.stdout, headers, [_row(one) for one in found], right=frozenset({5}), wrapped=8)
    note(f"{len(found)} approval{'' if len(found) == 1 else 's'}")
    return 0


def _row(approval: Approval) -> list[str]:
    calls = _calls(approval)
    what = _what(calls[0]) if len(calls) == 1 else f"a plan of {len(calls)} calls"
    amount = _amount(calls[0]) if len(calls) == 1 else ""
    return [
        approval.id,
        approval.state,
        iso(approval.requested),
        iso(approval.expires),
        what,
        amount,
        approval.connection,
        approval.run_id,
        approval.reason,
    ]


def _calls(approval: Approval) -> list[JsonObject]:
    calls = approval.preview.get("calls")
    return cast("list[JsonObject]", calls) if isinstance(calls, list) else [approval.preview]


def _what(call: JsonObject) -> str:
    return f"{call.get('method')} {call.get('path')}"


def _amount(call: JsonObject) -> str:
    amount = call.get("amount")
    return cell(amount, _AMOUNT) if isinstance(amount, dict) else ""


@approvals.command("show", cls=Command, uses=("state", "json"))
@click.argument("approval_id", metavar="ID")
@click.pass_context
def show(ctx: click.Context, approval_id: str) -> int:
    """Show exactly what would be sent."""
    settings = settings_of(ctx)
    with settings.host() as host:
        approval = _get(host, approval_id)
    if settings.json:
        sys.stdout.write(f"{json_text(redact_object(approval.to_json()))}\n")
        return 0
    fields = [
        ("approval", approval.id),
        ("state", approval.state),
        ("reason", approval.reason),
        ("run id", approval.run_id),
        ("connection", approval.connection),
        ("asked", iso(approval.requested)),
        ("expires", iso(approval.expires)),
        ("digest", approval.digest),
    ]
    if approval.decided_by:
        fields.append(("decided by", f"{approval.decided_by}{f': {approval.note}' if approval.note else ''}"))
    for number, call in enumerate(_calls(approval), start=1):
        prefix = f"{number}. " if approval.kind == "plan" else ""
        fields.append((f"{prefix}call", _what(call)))
        fields.append((f"{prefix}mode, account", f"{call.get('mode')}, {call.get('account') or 'own'}"))
        fields.append((f"{prefix}parameters", json_text(redact_object(call).get("params"), indent=None)))
        if _amount(call):
            fields.append((f"{prefix}amount", _amount(call)))
    show_fields(sys.stdout, fields)
    return 0


def _get(host: Host, approval_id: str) -> Approval:
    from spojit_stripe.errors import InputError
    from spojit_stripe.records import Records

    if not Records.exist_in(host.state):
        raise InputError(f"no approval {approval_id!r}: nothing is recorded in {host.state} yet")
    return host.records.approvals.get(approval_id)


def _decide(ctx: click.Context, approval_id: str, decision: Literal["approved", "rejected"], remark: str) -> int:
    settings = settings_of(ctx)
    with settings.host() as host:
        approval = _get(host, approval_id)
        if settings.dry_run:
            note(f"dry run: {approval.id} is {approval.state} and would be {decision}; nothing was changed")
            return 0
        decided = host.records.approvals.decide(approval_id, decision, who=user_name(), note=remark)
    if settings.json:
        sys.stdout.write(f"{json_text(redact_object(decided.to_json()))}\n")
    note(f"{decided.id} is {decided.state} by {decided.decided_by}")
    if decision == "approved":
        which = "its commands in the same order" if decided.kind == "plan" else "the same command"
        note(f"now repeat {which} with --run-id {decided.run_id}; the approval is used once and expires")
    return 0


@approvals.command("approve", cls=Command, uses=("state", "json", "dry_run"))
@click.argument("approval_id", metavar="ID")
@click.option("--note", "remark", default="", help="Why, for those who read it later.")
@click.pass_context
def approve(ctx: click.Context, approval_id: str, remark: str) -> int:
    """Approve exactly this call, once."""
    return _decide(ctx, approval_id, "approved", remark)


@approvals.command("reject", cls=Command, uses=("state", "json", "dry_run"))
@click.argument("approval_id", metavar="ID")
@click.option("--note", "remark", default="", help="Why, for those who read it later.")
@click.pass_context
def reject(ctx: click.Context, approval_id: str, remark: str) -> int:
    """Reject this call for good."""
    return _decide(ctx, approval_id, "rejected", remark)

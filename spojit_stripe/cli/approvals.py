"""`approvals`: calls that wait for a person, and what the person says."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import click

from spojit_stripe.cli.base import Command, Group, settings_of
from spojit_stripe.cli.columns import Column, cell, iso
from spojit_stripe.cli.ledger import user_name
from spojit_stripe.cli.report import json_text, note
from spojit_stripe.cli.show import show_fields, write_table
from spojit_stripe.redact import redact_object
from spojit_stripe.values import JsonObject, JsonValue

if TYPE_CHECKING:
    from spojit_stripe.host import Host
    from spojit_stripe.records import Approval, Run

__all__ = ["approvals"]

_STATES = ("pending", "approved", "rejected", "used", "superseded", "expired")
_AMOUNT = Column("amount", "minor-units")
_MOST_WRITES = 20


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
        now = host.clock()
    if settings.json:
        told: list[JsonValue] = [_json(one, now) for one in found]
        sys.stdout.write(f"{json_text(told)}\n")
        return 0
    headers = ["approval", "state", "asked", "expires", "what", "amount", "connection", "run id", "reason"]
    write_table(sys.stdout, headers, [_row(one, now) for one in found], right=frozenset({5}), wrapped=8)
    note(f"{len(found)} approval{'' if len(found) == 1 else 's'}")
    return 0


def _json(approval: Approval, now: float) -> JsonObject:
    return redact_object({**approval.to_json(), "state": approval.standing(now)})


def _row(approval: Approval, now: float) -> list[str]:
    calls = _calls(approval)
    what = _what(calls[0]) if len(calls) == 1 else f"a plan of {len(calls)} calls"
    amount = _amount(calls[0]) if len(calls) == 1 else ""
    if approval.kind == "human":
        what = f"a question of node {approval.preview.get('node')}"
    return [
        approval.id,
        approval.standing(now),
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
        besides = _besides(host, approval)
        now = host.clock()
    if settings.json:
        sys.stdout.write(f"{json_text(_json(approval, now))}\n")
        return 0
    fields = [
        ("approval", approval.id),
        ("state", approval.standing(now)),
        ("reason", approval.reason),
        ("run id", approval.run_id),
        ("connection", approval.connection),
        ("asked", iso(approval.requested)),
        ("expires", iso(approval.expires)),
        ("digest", approval.digest),
    ]
    if approval.decided_by:
        fields.append(("decided by", f"{approval.decided_by}{f': {approval.note}' if approval.note else ''}"))
    if approval.kind == "human":
        show_fields(sys.stdout, [*fields, *_question(approval.preview), *besides])
        return 0
    for number, call in enumerate(_calls(approval), start=1):
        prefix = f"{number}. " if approval.kind == "plan" else ""
        fields.append((f"{prefix}call", _what(call)))
        fields.append((f"{prefix}mode, account", f"{call.get('mode')}, {call.get('account') or 'own'}"))
        fields.append((f"{prefix}parameters", json_text(redact_object(call).get("params"), indent=None)))
        if _amount(call):
            fields.append((f"{prefix}amount", _amount(call)))
        if call.get("target"):
            fields.append((f"{prefix}target", str(call["target"])))
        more = [(f"{prefix}{name.replace('_', ' ')}", _said(value)) for name, value in _context(call) if value]
        fields += [field for field in more if field not in fields]
    show_fields(sys.stdout, [*fields, *besides])
    return 0


def _besides(host: Host, approval: Approval) -> list[tuple[str, str]]:
    """The run that asks, and what else it has written."""
    run = host.records.runs.find(approval.run_id)
    fields = [("workflow", f"{run.workflow}, version {run.version}")] if run is not None else []
    written = [one for one in host.records.ledger.entries(run_id=approval.run_id, writes_only=True)][::-1]
    for entry in written[-_MOST_WRITES:]:
        amount: JsonObject = {"amount": entry.amount, "currency": entry.currency}
        moved = f"{cell(amount, _AMOUNT)}, " if entry.amount is not None else ""
        what = f"{entry.operation}: {moved}{entry.state}{f', {entry.object_id}' if entry.object_id else ''}"
        fields.append(("this run wrote", what))
    if not written:
        fields.append(("this run wrote", "nothing so far"))
    return fields


def _context(call: JsonObject) -> list[tuple[str, JsonValue]]:
    """What an agent's call comes with: who asked for it, the amount in words, the customer, what the run did."""
    context = call.get("context")
    return [*context.items()] if isinstance(context, dict) else []


def _said(value: JsonValue) -> str:
    return value if isinstance(value, str) else json_text(value, indent=None)


def _question(question: JsonObject) -> list[tuple[str, str]]:
    asked = cast("list[str]", question.get("approvers") or [])
    return [
        ("node", str(question.get("node"))),
        ("urgency", str(question.get("urgency"))),
        ("approvers", ", ".join(asked) or "anybody"),
        ("message", str(question.get("message"))),
    ]


def _get(host: Host, approval_id: str) -> Approval:
    from spojit_stripe.errors import InputError
    from spojit_stripe.records import Records

    if not Records.exist_in(host.state):
        raise InputError(f"no approval {approval_id!r}: nothing is recorded in {host.state} yet")
    return host.records.approvals.get(approval_id)


def _decide(ctx: click.Context, approval_id: str, decision: Literal["approved", "rejected"], said: _Said) -> int:
    settings = settings_of(ctx)
    with settings.host() as host:
        approval = _get(host, approval_id)
        who = _who(approval, said.role)
        if settings.dry_run:
            note(f"dry run: {approval.id} is {approval.state} and would be {decision}; nothing was changed")
            return 0
        decided = host.records.approvals.decide(approval_id, decision, who=who, note=said.remark)
        if settings.json:
            sys.stdout.write(f"{json_text(redact_object(decided.to_json()))}\n")
        note(f"{decided.id} is {decided.state} by {decided.decided_by}")
        run = host.records.runs.find(decided.run_id)
        if run is not None:
            return _wake(host, decided, run, go_on=said.go_on, as_json=settings.json)
    if decision == "approved":
        # An agent's plan stands behind one command.
        which = "its commands in the same order" if decided.kind == "plan" and not decided.owner else "the same command"
        note(f"now repeat {which} with --run-id {decided.run_id}; the approval is used once and expires")
    return 0


def _who(approval: Approval, role: str | None) -> str:
    """Who decides. Raises `RefusedError` for somebody whom the workflow did not ask."""
    from spojit_stripe.errors import RefusedError

    user = user_name()
    asked = [str(one) for one in cast("list[str]", approval.preview.get("approvers") or [])]
    if not asked:
        return user if role is None else f"{user} as {role}"
    if role is None and user in asked:
        return user
    if role in asked:
        return f"{user} as {role}"
    given = f"{role!r} is not among them" if role else f"you are {user}; say --as NAME if you are one of them"
    raise RefusedError(f"approval {approval.id} is for {', '.join(asked)}, and {given}")


def _wake(host: Host, decided: Approval, run: Run, *, go_on: bool, as_json: bool) -> int:
    """Wake the run that waits for the decision, and go on with it here where that is wanted."""
    from spojit_stripe.cli.running import conducted, engine_of

    engine = engine_of(host)
    engine.wake(decided)
    if engine.is_held(run.id):
        note(f"run {run.id} is being run by another process, and goes on there")
        return 0
    if run.state.value == "cancelled":
        note(f"run {run.id} was cancelled, so nothing goes on; `spojit-stripe runs resume {run.id}` takes it up again")
        return 0
    ask = not as_json and not go_on and sys.stdin.isatty() and sys.stderr.isatty()
    if go_on or (ask and click.confirm(f"run {run.id} waits for this; go on with it now?", default=True, err=True)):
        return conducted(host, lambda one: one.resume(run.id), run.id, as_json=as_json)
    note(f"run {run.id} waits for this: `spojit-stripe runs resume {run.id}` goes on with it")
    return 0


@dataclass(frozen=True, slots=True)
class _Said:
    """What a person says besides yes or no."""

    remark: str
    role: str | None
    go_on: bool


_role = click.option("--as", "role", metavar="NAME", help="As which of the approvers whom the workflow names.")
_go_on = click.option("--continue", "go_on", is_flag=True, help="Go on with the run that waits for this, here and now.")


@approvals.command("approve", cls=Command, uses=("connections", "state", "json", "dry_run"))
@click.argument("approval_id", metavar="ID")
@click.option("--note", "remark", default="", help="Why, for those who read it later.")
@_role
@_go_on
@click.pass_context
def approve(ctx: click.Context, approval_id: str, remark: str, role: str | None, go_on: bool) -> int:
    """Approve exactly this call, once."""
    return _decide(ctx, approval_id, "approved", _Said(remark, role, go_on))


@approvals.command("reject", cls=Command, uses=("connections", "state", "json", "dry_run"))
@click.argument("approval_id", metavar="ID")
@click.option("--note", "remark", default="", help="Why, for those who read it later.")
@_role
@_go_on
@click.pass_context
def reject(ctx: click.Context, approval_id: str, remark: str, role: str | None, go_on: bool) -> int:
    """Reject this call for good."""
    return _decide(ctx, approval_id, "rejected", _Said(remark, role, go_on))

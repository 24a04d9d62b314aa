"""`runs`: what was started, where it stands, and going on with it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import click

from spojit_stripe.cli.base import Command, Group, settings_of
from spojit_stripe.cli.columns import iso
from spojit_stripe.cli.report import data_line, json_text, note
from spojit_stripe.cli.running import EXCEPTIONS, conducted, engine_of, how_to_settle, seconds, told_of
from spojit_stripe.cli.show import show_fields, write_table
from spojit_stripe.errors import InputError, SpojitError
from spojit_stripe.redact import redact_object
from spojit_stripe.values import JsonObject, JsonValue

if TYPE_CHECKING:
    from spojit_stripe.engine import Embedded
    from spojit_stripe.host import Host
    from spojit_stripe.records import NodeNote, Run

__all__ = ["runs"]

_STATES: Final = ("running", "interrupted", "waiting", "done", "failed", "unknown", "cancelled")
_MOST_INSIDE: Final = 20
_AGE: Final = re.compile(r"([1-9][0-9]{0,5})(h|d|w)")
_UNITS: Final = {"h": 3_600, "d": 86_400, "w": 604_800}


@click.group("runs", cls=Group, help="Runs of workflows: where they stand, and going on with them.")
def runs() -> None:
    pass


def _recorded(host: Host) -> bool:
    from spojit_stripe.records import Records

    return Records.exist_in(host.state)


def _get(host: Host, run_id: str) -> Run:
    if not _recorded(host):
        raise InputError(f"no run {run_id!r}: nothing is recorded in {host.state} yet")
    return host.records.runs.get(run_id)


@runs.command("list", cls=Command, uses=("state", "json"))
@click.option("--workflow", metavar="NAME", help="Only runs of this workflow.")
@click.option("--standing", type=click.Choice(_STATES), help="Only runs that stand so.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="At most N rows.")
@click.pass_context
def list_(ctx: click.Context, workflow: str | None, standing: str | None, limit: int) -> int:
    """List runs, newest first."""
    settings = settings_of(ctx)
    with settings.host() as host:
        found = host.records.runs.list(workflow=workflow) if _recorded(host) else []
        engine = engine_of(host)
        stand = [(run, engine.state_of(run)) for run in found]
    stand = [(run, state) for run, state in stand if standing in (None, state)]
    more, stand = len(stand) > limit, stand[:limit]
    if settings.json:
        told = [redact_object({**run.to_json(), "state": state}) for run, state in stand]
        data_line(json_text([*told]))
        return 0
    write_table(
        sys.stdout,
        ["run", "workflow", "state", "began", "took", "failed at"],
        [[run.id, run.workflow, state, iso(run.created), _took(run), _failed_at(run)] for run, state in stand],
    )
    note(f"{len(stand)} run{'' if len(stand) == 1 else 's'}" + (", more with --limit" if more else ""))
    return 0


def _took(run: Run) -> str:
    return seconds(run.finished - run.created) if run.finished is not None else ""


def _failed_at(run: Run) -> str:
    return str((run.error or {}).get("node", ""))


@runs.command("show", cls=Command, uses=("state", "json"))
@click.argument("run_id", metavar="ID")
@click.option("--agent", "agent", is_flag=True, help="The transcripts of its agents, turn by turn.")
@click.pass_context
def show(ctx: click.Context, run_id: str, agent: bool) -> int:
    """Show where a run stands: its nodes, what it sent, and what to do next."""
    settings = settings_of(ctx)
    with settings.host() as host:
        run = _get(host, run_id)
        engine = engine_of(host)
        if settings.json:
            data_line(json_text(redact_object(_exported(host, engine, run))))
            return 0
        if agent:
            return _show_agents(host, run)
        _show(host, engine, run)
    return 0


def _show(host: Host, engine: Embedded, run: Run) -> None:
    state = engine.state_of(run)
    fields = [
        ("run", run.id),
        ("workflow", f"{run.workflow}, version {run.version}{_changed(host, run)}"),
        ("state", state),
        ("began", iso(run.created)),
        ("ended", f"{iso(run.finished)}, after {_took(run)}" if run.finished is not None else ""),
        ("resumed", f"{run.resumes} times" if run.resumes else ""),
        ("inputs", json_text(redact_object(run.inputs), indent=None)[:500]),
        ("error", str((run.error or {}).get("message", ""))),
        ("at node", _failed_at(run)),
    ]
    show_fields(sys.stdout, [(name, text) for name, text in fields if text])
    nodes, left = _worth_showing(host.records.runs.nodes(run.id))
    if nodes:
        sys.stdout.write("\n")
        write_table(
            sys.stdout,
            ["node", "type", "state", "what"],
            [[one.path, one.type, _node_state(one.state, state), told_of(one)] for one in nodes],
            wrapped=3,
        )
    if left:
        note(f"and {left} more nodes inside loops that are done (--json shows all)")
    writes = [*host.records.ledger.entries(run_id=run.id, writes_only=True)][::-1]
    if writes:
        from spojit_stripe.cli.ledger import row_of

        sys.stdout.write("\n")
        headers = ["entry", "when", "tool", "operation", "amount", "state", "object"]
        write_table(sys.stdout, headers, [row_of(entry)[:7] for entry in writes], right=frozenset({0, 4}))
    sys.stdout.flush()
    for line in _what_next(host, engine, run, state):
        note(line)


def _worth_showing(nodes: list[NodeNote]) -> tuple[list[NodeNote], int]:
    """All nodes but the many done ones inside loops, and how many those are."""
    shown: list[NodeNote] = []
    inside = left = 0
    for one in nodes:
        if "[" in one.path and one.state in ("done", "skipped"):
            inside += 1
            if inside > _MOST_INSIDE:
                left += 1
                continue
        shown.append(one)
    return shown, left


def _node_state(state: str, run_state: str) -> str:
    return "interrupted" if state == "running" and run_state == "interrupted" else state


def _changed(host: Host, run: Run) -> str:
    """Whether the file says something else by now; the run goes on with what it began with."""
    from spojit_stripe.engine import Bundle

    try:
        now = Bundle.of_file(Path(run.file), host.vocabulary).digest
    except SpojitError:
        return " (its file is not there any more, or has faults; the run keeps its own)"
    return "" if now == run.version else " (the file has changed since; the run keeps its own)"


def _what_next(host: Host, engine: Embedded, run: Run, state: str) -> list[str]:
    resume = f"`spojit-stripe runs resume {run.id}`"
    if state == "unknown":
        written = host.records.ledger.entries(run_id=run.id, writes_only=True)
        return how_to_settle(run, [one for one in written if one.state.unsettled])
    if state == "waiting":
        topics = [wait.topic.partition(":")[2] for wait in host.records.runs.waits(run_id=run.id)]
        found = [one for one in (host.records.approvals.find(topic) for topic in topics) if one is not None]
        standing = [one.standing(host.clock()) for one in found]
        lines = [f"{one.id} is {state}: {one.reason}" for one, state in zip(found, standing, strict=True)]
        if "pending" in standing:
            lines.append("decide with `spojit-stripe approvals approve ID` or `reject ID`, then")
        return [*lines, "its process waits, and goes on by itself" if engine.is_held(run.id) else f"{resume} goes on"]
    advice = {
        "interrupted": f"its process is gone; {resume} goes on where it stood, and nothing is sent twice",
        "failed": f"mend the cause, then {resume} goes on, with the file as it was, and does nothing twice",
        "cancelled": f"{resume} takes it up again",
        "running": "it is being run by another process",
    }
    return [advice[state]] if state in advice else []


def _show_agents(host: Host, run: Run) -> int:
    from spojit_stripe.agent import render_transcript

    found = [*host.records.runs.transcripts(run.id)]
    if not found:
        note(f"run {run.id} has no transcript: none of its agents has answered yet")
        return 0
    for path, transcript in found:
        sys.stdout.write(f"== {path}\n{render_transcript(cast('JsonObject', transcript))}\n")
    return 0


def _exported(host: Host, engine: Embedded, run: Run) -> JsonObject:
    records = host.records
    nodes: list[JsonValue] = [
        {
            "path": one.path,
            "type": one.type,
            "state": one.state,
            "started": one.started,
            "finished": one.finished,
            **one.facts,
        }
        for one in records.runs.nodes(run.id)
    ]
    approvals: list[JsonValue] = [one.to_json() for one in records.approvals.list() if one.run_id == run.id]
    calls: list[JsonValue] = [entry.to_json() for entry in records.ledger.entries(run_id=run.id)]
    return {
        **run.to_json(),
        "state": engine.state_of(run),
        "nodes": nodes,
        "calls": calls[::-1],
        "approvals": approvals,
        "transcripts": dict(records.runs.transcripts(run.id)),
    }


@runs.command("export", cls=Command, uses=("state", "json"))
@click.argument("run_id", metavar="ID")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to FILE.")
@click.pass_context
def export(ctx: click.Context, run_id: str, output: Path | None) -> int:
    """Everything recorded of a run as JSON: files, nodes, calls, approvals, transcripts."""
    from spojit_stripe.cli.sink import opened

    with settings_of(ctx).host() as host:
        run = _get(host, run_id)
        told = _exported(host, engine_of(host), run)
        told["files"] = host.records.runs.version(run.version)
        with opened(output) as stream:
            stream.write(f"{json_text(redact_object(told))}\n")
    return 0


@runs.command("resume", cls=Command, uses=("connections", "state", "json"), acts=True)
@click.argument("run_id", metavar="ID")
@click.option(
    "--wait", is_flag=True, help="Stay and wait where an approval is needed, instead of ending with exit code 5."
)
@click.pass_context
def resume(ctx: click.Context, run_id: str, wait: bool) -> int:
    """Go on with a run where it stands.

    What is done is not done again. What failed for certain is tried anew; what is unknown is settled first.
    """
    settings = settings_of(ctx)
    with settings.host() as host:
        _get(host, run_id)
        return conducted(host, lambda engine: engine.resume(run_id, wait=wait), run_id, as_json=settings.json)


@runs.command("cancel", cls=Command, uses=("state", "json", "dry_run"))
@click.argument("run_id", metavar="ID")
@click.pass_context
def cancel(ctx: click.Context, run_id: str) -> int:
    """Let no further step of a run begin. What was sent stays sent."""
    settings = settings_of(ctx)
    with settings.host() as host:
        run = _get(host, run_id)
        engine = engine_of(host)
        if settings.dry_run:
            note(f"dry run: run {run.id} is {engine.state_of(run)} and would be cancelled; nothing was changed")
            return 0
        run = engine.cancel(run_id)
        state = engine.state_of(run)
    if settings.json:
        data_line(json_text({"run_id": run.id, "state": state}))
    ending = "ends before its next step" if state == "running" else "is cancelled"
    note(f"run {run.id} {ending}; what it sent stands in `spojit-stripe ledger list --run-id {run.id}`")
    return 0


@runs.command("prune", cls=Command, uses=("state", "json", "dry_run"))
@click.option("--older-than", metavar="AGE", required=True, help="Runs that ended longer ago than this: 48h, 90d, 12w.")
@click.pass_context
def prune(ctx: click.Context, older_than: str) -> int:
    """Remove ended runs with their data; what they paid stays known, so nothing is paid twice."""
    match = _AGE.fullmatch(older_than)
    if match is None:
        raise InputError(f"--older-than: {older_than!r} is no age; write hours, days or weeks such as 48h, 90d, 12w")
    settings = settings_of(ctx)
    with settings.host() as host:
        before = int(host.clock()) - int(match[1]) * _UNITS[match[2]]
        found = host.records.runs.list() if _recorded(host) else []
        old = [run for run in found if run.state.prunable and (run.finished or before) < before]
        pruned, freed = ([run.id for run in old], 0) if settings.dry_run else _pruned(engine_of(host), old)
    kept, failed = len(found) - len(pruned), len(old) - len(pruned)
    if settings.json:
        told: JsonObject = {"pruned": [*pruned], "kept": kept, "freed_bytes": freed, "dry_run": settings.dry_run}
        data_line(json_text(told))
    what = "would be pruned" if settings.dry_run else f"pruned, {freed:,} bytes freed"
    besides = f", {failed} of them could not be pruned" if failed else ""
    note(f"{len(pruned)} run{'' if len(pruned) == 1 else 's'} {what}; {kept} kept{besides}")
    return EXCEPTIONS if failed else 0


def _pruned(engine: Embedded, old: list[Run]) -> tuple[list[str], int]:
    """Prune runs: those that went, and the bytes freed. One that can't be pruned is told, and stops no other."""
    pruned: list[str] = []
    freed = 0
    for run in old:
        try:
            freed += engine.prune(run)
            pruned.append(run.id)
        except SpojitError as error:
            note(f"run {run.id} is kept: {error.message.removesuffix('; nothing was done')}")
    return pruned, freed

"""`call TOOL`: one call, exactly as told, its flags made from the tool's descriptor."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

import click

from spojit_stripe.catalog import Catalog, Tool
from spojit_stripe.cli.base import Command, ListedGroup, Settings, settings_of
from spojit_stripe.cli.flags import collect, flags_of, options_for
from spojit_stripe.cli.given import json_object_from
from spojit_stripe.cli.report import json_text, note, report_error, warn
from spojit_stripe.cli.show import (
    Format,
    Pages,
    is_list,
    list_exit_code,
    planned_json,
    show_done,
    show_preview,
    tell_list,
    tell_meta,
)
from spojit_stripe.errors import (
    AccessError,
    InputError,
    OutcomeUnknownError,
    ServiceError,
    SpojitError,
    UnavailableError,
)
from spojit_stripe.hookspecs import hookimpl
from spojit_stripe.redact import redact_object
from spojit_stripe.values import Done, Effect, Failed, JsonObject, Outcome, Paging, Paused, Planned, Position, ToolCall

if TYPE_CHECKING:
    from spojit_stripe.host import Host
    from spojit_stripe.session import Session
    from spojit_stripe.values import Preview

__all__ = ["call"]

WAITING: Final = 5
_SUFFIXES: Final[dict[str, Format]] = {".csv": "csv", ".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson"}


class _CallGroup(ListedGroup):
    """One command per tool of the catalog."""

    def lines(self, ctx: click.Context) -> list[tuple[str, str]]:
        return [(tool.name, tool.title) for tool in Catalog.load()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        catalog = Catalog.load()
        if ctx.resilient_parsing and cmd_name not in catalog:
            return None
        return _command_of(catalog.tool(cmd_name))


call = _CallGroup(
    "call",
    help=(
        "Call one tool. Flags are made from its descriptor: `call TOOL --help` shows them.\n\n"
        "Every write is recorded before it is sent. Repeating a command with the same --run-id gives the "
        "recorded outcome and never sends it twice."
    ),
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for besides the tool's parameters."""

    form: Format | None
    output: Path | None
    run_id: str
    run_id_given: bool
    resume: bool
    reveal: bool


def _command_of(tool: Tool) -> click.Command:
    options = _own_options(tool)
    taken = frozenset(name for option in options for name in option.opts)
    flags = flags_of(tool)
    from_flags = options_for(flags, taken)
    known = frozenset(name for option in (*options, *from_flags) for name in option.opts)

    @click.pass_context
    def callback(ctx: click.Context, /, **given: Any) -> int:
        settings = settings_of(ctx)
        params = json_object_from(given["params_json"], "--params") if given.get("params_json") is not None else {}
        params, author = collect(flags, given, params, known)
        if given.get("raw_params"):
            params = _with_raw_params(params, given["raw_params"])
        asked = _asked(given, settings)
        tool_call = ToolCall(
            tool=tool.name, params=params, author_params=author, paging=_paging(given), once=given["once"]
        )
        return _run(settings, tool, tool_call, asked)

    return Command(
        tool.name,
        callback=callback,
        help=tool.description,
        params=[*from_flags, *options],
        uses=("connections", "connection", "state", "json", "dry_run"),
        context_settings={"token_normalize_func": _normal},
    )


def _normal(token: str) -> str:
    return token.replace("_", "-")  # --starting_after, as Stripe writes it, works too


def _with_raw_params(params: JsonObject, texts: tuple[str, ...]) -> JsonObject:
    from spojit_stripe.cli.raw import params_from

    inner = params.get("params", {})
    if not isinstance(inner, dict):
        raise InputError("--param: does not go with --params that are no object")
    return {**params, "params": params_from(texts, inner, str(params.get("method")), str(params.get("path")))}


def _own_options(tool: Tool) -> list[click.Parameter]:
    options: list[click.Parameter] = []
    if tool.binding.raw:
        options.append(
            click.Option(
                ["--param", "raw_params"],
                multiple=True,
                metavar="NAME=VALUE",
                help="One parameter of the request, as in amount=500 or metadata[order_id]=6735. Repeat it.",
            )
        )
    else:
        options.append(
            click.Option(
                ["--params", "params_json"],
                metavar="JSON|@FILE",
                help="Parameters as a JSON object, from a file with @FILE, from standard input with @-.",
            )
        )
    if tool.is_list or tool.binding.raw:
        options += _paging_options()
    options += [
        click.Option(
            ["--format", "form"],
            type=click.Choice(["table", "json", "ndjson", "csv"]),
            help="Form of the data: table for lists and json for objects when left out; -o FILE.csv says it too.",
        ),
        click.Option(
            ["-o", "--output"],
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Write the data to FILE, which is replaced as a whole or not at all.",
        ),
        click.Option(["--reveal"], is_flag=True, help="Show secrets of the answer, such as client_secret."),
        click.Option(
            ["--run-id"],
            metavar="ID",
            help="Name of this run: the same id never makes the same write twice. Made up when left out.",
        ),
        click.Option(
            ["--once"],
            metavar="VALUE",
            help="Make this write once for ever per connection: an order or refund number, say.",
        ),
        click.Option(
            ["--resume"],
            is_flag=True,
            help="With --run-id: try again after a recorded refusal or decline, which had no effect.",
        ),
    ]
    return options


def _paging_options() -> list[click.Parameter]:
    return [
        click.Option(["--all", "read_all"], is_flag=True, help="Read the whole list, page after page."),
        click.Option(["--max-items"], type=int, metavar="N", help="Read on until N objects."),
        click.Option(["--max-pages"], type=int, metavar="N", help="Read on for N pages at most."),
        click.Option(
            ["--order"],
            type=click.Choice(["newest", "any"]),
            help="With --all: any gives pages as they come instead of the newest first, with less waiting.",
        ),
        click.Option(["--deadline"], type=float, metavar="SECONDS", help="Stop reading on after this time."),
    ]


def _paging(given: dict[str, Any]) -> Paging:
    items, pages, deadline = given.get("max_items"), given.get("max_pages"), given.get("deadline")
    bounded = any(bound is not None for bound in (items, pages, deadline))
    order = given.get("order")
    if order is not None and not (given.get("read_all") or bounded):
        raise InputError("--order: is for whole lists; add --all, or leave it out")
    return Paging(
        paginate="all" if given.get("read_all") or bounded else "page",
        order=order or "newest",
        max_items=items,
        max_pages=pages,
        deadline_seconds=deadline,
    )


def _asked(given: dict[str, Any], settings: Settings) -> _Asked:
    form = cast("Format | None", given["form"])
    output = cast("Path | None", given["output"])
    if settings.json:
        if form not in (None, "json"):
            raise InputError(f"--json and --format {form} do not go together")
        form = "json"
    if form is None and output is not None:
        form = _SUFFIXES.get(output.suffix.lower())
    run_id = cast("str | None", given["run_id"])
    if run_id is not None and (not run_id.strip() or len(run_id) > 200):
        raise InputError("--run-id: must have 1 to 200 characters")
    if given["resume"] and run_id is None:
        raise InputError("--resume: needs --run-id, the run whose call was refused")
    if given["once"] is not None and not given["once"].strip():
        raise InputError("--once: is empty; a template that came out empty would make every call the same")
    return _Asked(form, output, run_id or _new_run_id(), run_id is not None, given["resume"], given["reveal"])


def _new_run_id() -> str:
    return f"cli-{datetime.fromtimestamp(time.time(), UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


# --- running ---------------------------------------------------------------------------------


class _Announcer:
    """Tells the run id when a write is recorded and about to be sent: it is what resumes it."""

    def __init__(self, asked: _Asked) -> None:
        self._asked = asked

    @hookimpl
    def before_send(self, ledger_id: int) -> None:
        run_id = self._asked.run_id
        if self._asked.run_id_given:
            note(f"run id: {run_id}, ledger entry {ledger_id}")
        else:
            note(f"run id: {run_id} (repeat with --run-id {run_id} to resume; nothing is done twice)")


class _NotDoneError(Exception):
    """Leaves the block that writes the data, so that a file stays as it was."""

    def __init__(self, outcome: Paused | Planned | Failed) -> None:
        super().__init__()
        self.outcome = outcome


def _run(settings: Settings, tool: Tool, tool_call: ToolCall, asked: _Asked) -> int:
    from spojit_stripe.cli.sink import opened

    fault = None
    try:
        with settings.host(_Announcer(asked)) as host:
            session = _session(settings, host)
            reads = session.bind(tool_call).effect is Effect.READ
            if settings.dry_run:
                return asyncio.run(_preview(tool_call, session, asked, reads=reads))
            records = host.records  # an unusable folder is found before anything is sent
            _tell_filters(tool, tool_call)
            with opened(asked.output) as stream:
                pages = _pages(stream, tool, tool_call, asked)
                outcome = asyncio.run(_go(tool_call, session, asked, pages, watched=pages is None or not _seen(stream)))
                if pages is not None and pages.fault is not None:
                    raise pages.fault
                if not isinstance(outcome, Done):
                    raise _NotDoneError(outcome)
                tell_meta(outcome.meta)
                if not reads and not outcome.meta.from_ledger:
                    _tell_written(outcome)
                if pages is not None and is_list(outcome.value):
                    pages.finish()
                else:
                    show_done(stream, outcome, tool, asked.form, reveal=asked.reveal)
                stream.flush()
        fault = records.reads.fault
    except _NotDoneError as ended:
        return _tell_not_done(ended.outcome, settings, asked)
    if fault is not None:
        warn(f"the read is not in the ledger: {fault.message}")
    if not is_list(outcome.value):
        return 0
    tell_list(outcome.value, tool, tool_call.params)
    return list_exit_code(outcome.value)


def _session(settings: Settings, host: Host) -> Session:
    connection = settings.chosen(host.connections)
    for text in connection.warnings:
        warn(text)
    return host.session(connection, refuse_twins="always")


def _pages(stream: TextIO, tool: Tool, tool_call: ToolCall, asked: _Asked) -> Pages | None:
    """The way out for the pages of a whole list, in a form that does not need to know them all first."""
    if tool_call.paging.paginate != "all" or asked.form is None or asked.form in ("table", "json"):
        return None
    return Pages(stream, tool, asked.form, reveal=asked.reveal)


def _seen(stream: TextIO) -> bool:
    """Whether data appears where a line on the progress would."""
    return stream.isatty()


async def _go(tool_call: ToolCall, session: Session, asked: _Asked, pages: Pages | None, *, watched: bool) -> Outcome:
    from spojit_stripe.cli.progress import watching
    from spojit_stripe.direct import run_tool

    async with session:
        with watching(tool_call.tool) if watched else contextlib.nullcontext() as progress:
            return await run_tool(
                tool_call,
                at=Position(run_id=asked.run_id),
                session=session,
                resume=asked.resume,
                progress=progress,
                sink=pages,
            )


async def _preview(tool_call: ToolCall, session: Session, asked: _Asked, *, reads: bool) -> int:
    from spojit_stripe.direct import preview_tool

    async with session:
        preview: Preview = await preview_tool(tool_call, at=Position(run_id=asked.run_id), session=session)
    show_preview(sys.stdout, preview, as_json=asked.form == "json", run_id=None if reads else asked.run_id)
    note("dry run: nothing was sent")
    return 0


def _tell_filters(tool: Tool, tool_call: ToolCall) -> None:
    """Which filters of this call are not the list's own."""
    for name, one in tool.binding.filters.items():
        if name not in tool_call.params:
            continue
        if one.by == "client":
            note(f"{name} is filtered here, page by page: Stripe's list has no such filter")
        elif one.by == "search":
            note(f"{name} is looked up by Stripe's search, which lags writes (usually under a minute)")


def _tell_written(done: Done) -> None:
    name = done.value.get("id")
    entry = f"ledger entry {done.meta.ledger_id}" if done.meta.ledger_id else "not in the ledger"
    note(f"done: {name if isinstance(name, str) else 'carried out'} ({entry})")


def _tell_not_done(outcome: Paused | Planned | Failed, settings: Settings, asked: _Asked) -> int:
    if isinstance(outcome, Failed):
        for text in outcome.meta.warnings:
            warn(text)
        more: JsonObject = {"run_id": asked.run_id, "meta": outcome.meta.to_json()}
        code = report_error(outcome.error, as_json=settings.json, more=more)
        _tell_next(outcome.error, outcome.meta.ledger_id, asked)
        return code
    if isinstance(outcome, Planned):
        note(f"planned as number {outcome.number} of run {asked.run_id}, not carried out: {outcome.preview.reason}")
        again = f"once approved, repeat this command with --run-id {asked.run_id}"
        note(f"`spojit-stripe approvals list` shows the plan; {again}")
        told = planned_json(outcome)
    else:
        note(f"waiting for approval {outcome.approval_id}: {outcome.reason}")
        note(
            f"approve it with `spojit-stripe approvals approve {outcome.approval_id}`, then repeat this command "
            f"with --run-id {asked.run_id}"
        )
        told = {
            "paused": outcome.approval_id,
            "digest": outcome.digest,
            "reason": outcome.reason,
            "preview": redact_object(outcome.preview.to_json()),
        }
    if settings.json:
        sys.stdout.write(f"{json_text({**told, 'run_id': asked.run_id, 'exit_code': WAITING})}\n")
    return WAITING


def _tell_next(error: SpojitError, ledger_id: int | None, asked: _Asked) -> None:
    if ledger_id is None or not isinstance(error, ServiceError):
        return
    if isinstance(error, OutcomeUnknownError) and "ledger resolve" in error.message:
        return  # what is never sent again says itself what is left to do
    if isinstance(error, OutcomeUnknownError):
        note(f"       repeat with --run-id {asked.run_id} to settle it under the same key")
        # A failure that Stripe replays stays unknown however often it is repeated.
        note(f"       or say what happened: spojit-stripe ledger resolve {ledger_id} --found OBJECT | --none")
    elif isinstance(error, UnavailableError | AccessError):
        note(f"       nothing took effect; repeat with --run-id {asked.run_id} when that is mended")
    else:
        note(f"       nothing took effect; a new attempt: correct it and repeat with --run-id {asked.run_id} --resume")

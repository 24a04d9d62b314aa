"""The root command, and the way from any failure to one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal, TextIO

import click

from spojit_stripe.cli.base import LazyGroup
from spojit_stripe.cli.report import data_line, debugging, json_text, note, report_error
from spojit_stripe.errors import SpojitError
from spojit_stripe.redact import redact_text
from spojit_stripe.words import nearest

__all__ = ["COMPLETE_VARIABLE", "PROGRAM", "root", "run"]

PROGRAM: Final = "spojit-stripe"
COMPLETE_VARIABLE: Final = "_SPOJIT_STRIPE_COMPLETE"

INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141
USAGE: Final = 2
UNWRITABLE: Final = 3
UNEXPECTED: Final = 1

_COMMANDS: Final = {
    "call": ("spojit_stripe.cli.call:call", "Call one tool, exactly as told."),
    "tools": ("spojit_stripe.cli.tools:tools", "List the tools, or show one."),
    "connections": ("spojit_stripe.cli.connections:connections", "Add, list, test and remove connections."),
    "ledger": ("spojit_stripe.cli.ledger:ledger", "What was sent to Stripe, and how it ended."),
    "approvals": ("spojit_stripe.cli.approvals:approvals", "Calls that wait for a person's decision."),
    "sandbox": ("spojit_stripe.cli.sandbox:sandbox", "A local double of Stripe, for trying things out."),
    "demo": ("spojit_stripe.cli.demo:demo", "A narrated tour against a sandbox; needs no account."),
    "validate": ("spojit_stripe.cli.validate:validate", "Check workflow files and tell all their faults."),
    "run": ("spojit_stripe.cli.run:run", "Run a workflow, from its inputs to its output."),
    "runs": ("spojit_stripe.cli.runs:runs", "Runs: where they stand, and going on with them."),
    "agent": ("spojit_stripe.cli.agent:agent", "Ask a question, and let an agent look into it."),
    "sync": ("spojit_stripe.cli.sync:sync", "Keep tables of Stripe's objects up to date."),
    "reconcile": ("spojit_stripe.cli.sync:reconcile", "Check that payouts add up."),
    "graph": ("spojit_stripe.cli.graph:graph", "Print a workflow as a Mermaid flowchart."),
    "completion": ("spojit_stripe.cli.completion:completion", "Print the completion script of a shell."),
}

_EPILOG = (
    "Exit codes: 0 done; 2 wrong usage or input; 3 configuration or permission; 4 refused by policy; "
    "5 waiting for approval; 6 Stripe refused or failed; 7 outcome unknown; 8 completed with exceptions."
)


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        data_line(f"{PROGRAM} {version('spojit_stripe')}")
        ctx.exit()


root = LazyGroup(
    PROGRAM,
    lazy=_COMMANDS,
    help="Stripe's tools from the command line: every write recorded first, none made twice.",
    epilog=_EPILOG,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Show the version and exit.",
        )
    ],
)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and give its exit code. Never raises, never shows a traceback."""
    _prepare_streams()
    as_json = "--json" in arguments
    try:
        code = _invoke(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        note("interrupted")
        code = INTERRUPTED
    except SpojitError as error:
        code = _last_words(partial(report_error, error, as_json=as_json), error.exit_code)
    except click.ClickException as error:
        code = _last_words(partial(_report_usage, _usage_line(error), as_json=as_json), USAGE)
    except OSError as error:
        code = _report_os_error(error)
    except Exception as error:
        code = _report_unexpected(error)
    return code


def _invoke(arguments: Sequence[str]) -> int:
    if COMPLETE_VARIABLE in os.environ:
        root.main(args=list(arguments), prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE)
    try:
        with root.make_context(PROGRAM, list(arguments)) as ctx:
            code = root.invoke(ctx)
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(f"{error.format_message()}\n")
        return USAGE
    except click.exceptions.Exit as done:
        return done.exit_code
    return code if isinstance(code, int) else 0


def _prepare_streams() -> None:
    # A stream that the caller has closed is no reason to fail: what goes there goes nowhere.
    # The input first: then it takes the place that the system has for it.
    sys.stdin = sys.stdin or _nowhere("r")
    sys.stdout = sys.stdout or _nowhere("w")
    sys.stderr = sys.stderr or _nowhere("w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nowhere(mode: Literal["r", "w"]) -> TextIO:
    return Path(os.devnull).open(mode, encoding="utf-8")


def _usage_line(error: click.ClickException) -> str:
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    see = f" (see `{ctx.command_path} --help`)" if ctx else ""
    if isinstance(error, click.NoSuchOption) and ctx is not None:
        known = [name for param in ctx.command.get_params(ctx) for name in param.opts]
        return f"{ctx.command_path} has no option {error.option_name}{nearest(error.option_name, known) or see}"
    text = " ".join(error.format_message().split()).rstrip(".").replace("integer range", "integer")
    text = text[:1].lower() + text[1:]
    return f"{text}{see}"


def _report_usage(text: str, *, as_json: bool) -> int:
    note(f"error: {text}")
    if as_json:
        data_line(json_text({"error": "InputError", "message": text, "action": "fix_input", "exit_code": USAGE}))
    return USAGE


def _last_words(say: Callable[[], object], code: int) -> int:
    """Report, whatever the state of standard output."""
    try:
        say()
        sys.stdout.flush()
    except OSError:
        _abandon_output()
    return code


def _report_os_error(error: OSError) -> int:
    _abandon_output()
    if error.errno == errno.EPIPE:
        return PIPE_CLOSED
    where = error.filename or "the output"
    note(f"error: can't read or write {where}: {error.strerror or error}; what was sent is in the ledger")
    _trace(error)
    return UNWRITABLE


def _report_unexpected(error: Exception) -> int:
    text = " ".join(str(error).split())
    note(f"error: unexpected {type(error).__name__}: {text} (a fault of this program; SPOJIT_DEBUG=1 shows where)")
    _trace(error)
    return UNEXPECTED


def _trace(error: Exception) -> None:
    if not debugging():
        return
    import traceback

    lines = redact_text("".join(traceback.format_exception(error))).splitlines()
    for line in lines:
        note(line)


def _abandon_output() -> None:
    """Let the interpreter's own flush at exit go nowhere instead of failing aloud."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)

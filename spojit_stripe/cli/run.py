"""`run FILE`: a workflow, from its inputs to its output."""

from __future__ import annotations

import re
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import click

from spojit_stripe.cli.base import Command, Settings, settings_of
from spojit_stripe.cli.given import branches_of, from_text, json_object_from, kinds_of
from spojit_stripe.cli.report import note
from spojit_stripe.cli.running import conducted, engine_of
from spojit_stripe.errors import InputError
from spojit_stripe.redact import printable
from spojit_stripe.values import JsonObject, JsonValue
from spojit_stripe.words import nearest

if TYPE_CHECKING:
    from spojit_stripe.engine import Bundle
    from spojit_stripe.host import Host
    from spojit_stripe.workflow import Workflow

__all__ = ["run"]

_ANY_KIND: Final = frozenset({"string", "integer", "number", "boolean", "object", "array"})
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,149}")


@click.command(
    "run",
    cls=Command,
    uses=("connections", "state", "json", "dry_run"),
    help=(
        "Run a workflow: its nodes on standard error as they go, its output on standard output.\n\n"
        "A run survives its process. Killed at any moment, it goes on with `runs resume` where it stood, and "
        "nothing that was sent is sent again."
    ),
    epilog=(
        "Exit codes: 0 done; 2 faulty file or inputs; 3 configuration; 4 refused or cancelled; 5 waits for approval; "
        "6 Stripe or the model failed; 7 outcome unknown; 8 done, with something that failed and was gone on after."
    ),
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--input", "given", multiple=True, metavar="NAME=VALUE", help="One input. Repeat it.")
@click.option(
    "--inputs", "inputs_json", metavar="JSON|FILE", help="Inputs as JSON, or a file of them; - reads standard input."
)
@click.option("--run-id", metavar="ID", help="Name of this run: the same id never begins twice. Made up when left out.")
@click.option(
    "--wait", is_flag=True, help="Stay and wait where an approval is needed, instead of ending with exit code 5."
)
@click.pass_context
def run(
    ctx: click.Context, file: Path, given: tuple[str, ...], inputs_json: str | None, run_id: str | None, wait: bool
) -> int:
    from spojit_stripe.workflow import check_inputs

    settings = settings_of(ctx)
    if run_id is not None and not _RUN_ID.fullmatch(run_id):
        raise InputError("--run-id: takes up to 150 letters, digits and . _ : - and begins with a letter or digit")
    with settings.host() as host:
        engine = engine_of(host)  # what is not installed is told before anything else
        bundle = _checked(settings, host, file)
        workflow = bundle.workflows[bundle.root]
        inputs = _inputs(workflow, given, inputs_json)
        check_inputs(workflow, inputs)  # before a run id is told
        if settings.dry_run:
            return _preview(host, workflow)
        name = run_id or _new_run_id(workflow)
        engine.check_names(name, file)
        host.records  # noqa: B018 # an unusable folder is found before anything begins
        note(f"run {name} of {workflow.name}, version {bundle.digest}")
        return conducted(
            host, lambda engine: engine.start(bundle, inputs, name, wait=wait), name, as_json=settings.json
        )


def _new_run_id(workflow: Workflow) -> str:
    return f"{workflow.name}-{datetime.fromtimestamp(time.time(), UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def _checked(settings: Settings, host: Host, file: Path) -> Bundle:
    """The files of the workflow, without faults. Warnings are told, faults raise `InputError`."""
    from spojit_stripe.cli.validate import connections_or_why
    from spojit_stripe.engine import Bundle
    from spojit_stripe.workflow import check_workflow

    try:
        bundle = Bundle.of_file(file, host.vocabulary)
    except InputError as error:
        raise _told(file, error.faults) from None
    connections, _ = connections_or_why(settings)
    errors: list[str] = []
    for workflow in bundle.workflows.values():
        for fault in check_workflow(workflow, host.connectors, connections):
            if fault.severity == "warning":
                note(printable(str(fault)))
            else:
                errors.append(str(fault))
    if errors:
        raise _told(file, tuple(errors))
    return bundle


def _told(file: Path, faults: tuple[str, ...]) -> InputError:
    """All faults on standard error, and the error that sums them up."""
    if len(faults) == 1:
        return InputError(faults[0])
    for fault in faults:
        note(printable(fault))
    return InputError(f"{file} has {len(faults)} faults, so nothing was run", faults=faults)


def _inputs(workflow: Workflow, given: tuple[str, ...], inputs_json: str | None) -> JsonObject:
    inputs: JsonObject = {}
    if inputs_json is not None:
        text = inputs_json if inputs_json.lstrip().startswith("{") else f"@{inputs_json}"
        inputs = json_object_from(text, "--inputs")
    declared = cast("JsonObject", (workflow.inputs or {}).get("properties", {}))
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--input {text}: write NAME=VALUE")
        if workflow.inputs is not None and name not in declared and not workflow.inputs.get("additionalProperties"):
            have = f"; workflow {workflow.name!r} takes {', '.join(declared)}" if declared else ""
            raise InputError(f"--input {name}: there is no such input{nearest(name, declared) or have}")
        inputs[name] = _typed(value, declared.get(name), name)
    return inputs


def _typed(text: str, schema: JsonValue, name: str) -> JsonValue:
    kinds = kinds_of(branches_of(schema)) if isinstance(schema, dict) else frozenset[str]()
    return from_text(text, kinds or _ANY_KIND, f"--input {name}")


def _preview(host: Host, workflow: Workflow) -> int:
    """What each connector node may do, and what policy says of it; nothing is sent."""
    import sys

    from spojit_stripe.cli.show import write_table
    from spojit_stripe.workflow import ConnectorNode, DirectNode

    rows: list[list[str]] = []
    for node in workflow.all_nodes:
        if isinstance(node, ConnectorNode):
            session = host.session(node.connection, narrower=(node.policy,))
            tool = node.tool if isinstance(node, DirectNode) else "an agent"
            reads = isinstance(node, DirectNode) and session.connector.catalog.tool(node.tool).annotations.read_only
            decision = "reads" if reads else f"writes: {session.rules.writes}"
            rows.append([node.id, tool, f"{node.connection} ({session.connection.mode})", decision])
    write_table(sys.stdout, ["node", "tool", "connection", "policy"], rows)
    note("dry run: the inputs fit, and nothing was sent")
    return 0

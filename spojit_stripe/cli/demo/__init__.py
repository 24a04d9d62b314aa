"""`demo`: a narrated tour. Real commands over real HTTP, against a sandbox of its own.

Every step says which exit code and which words it expects; the tour fails where one differs.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click

from spojit_stripe.cli.base import Command
from spojit_stripe.cli.demo.calls import tour_of_calls
from spojit_stripe.cli.demo.means import CUSTOMERS, KEY_VARIABLE, Stage, SurpriseError, sandbox_process, say
from spojit_stripe.cli.demo.workflows import tour_of_workflows
from spojit_stripe.cli.report import note

__all__ = ["demo"]


@click.command("demo", cls=Command, acts=True)
@click.argument("tour", type=click.Choice(["all", "calls", "workflows"]), default="all")
@click.option("--keep", is_flag=True, help="Keep the folder with the connections, the ledger and the runs.")
def demo(tour: str, keep: bool) -> int:
    """A narrated tour: calls that survive a kill, and workflows in both modes.

    It starts a sandbox and a scripted model on this machine, works in a folder of its own, and
    needs neither an account nor a network.
    """
    folder = Path(tempfile.mkdtemp(prefix="spojit-stripe-demo-"))
    try:
        with sandbox_process(folder) as (url, key):
            _show(Stage(folder, url, key), tour)
    except SurpriseError as surprise:
        sys.stdout.flush()
        note(f"error: the demo did not go as it should: {surprise}")
        return 1
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    if keep:
        note(f"kept: {folder} (use it with --connections {folder}/connections.yaml --state {folder}/state)")
    return 0


def _show(stage: Stage, tour: str) -> None:
    say("A tour of spojit_stripe. The commands are real, the server is a sandbox on this machine: not Stripe.")
    say(f"It listens on {stage.url} with {CUSTOMERS} customers; its key is in ${KEY_VARIABLE}.")
    if tour in ("all", "calls"):
        tour_of_calls(stage)
    if tour in ("all", "workflows"):
        tour_of_workflows(stage)
    say("\nThat is all: nothing twice, nothing without leave, and every write on record.")

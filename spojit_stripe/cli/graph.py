"""`graph`: a workflow as a picture that Markdown shows."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from spojit_stripe.cli.base import Command, settings_of

__all__ = ["graph"]


@click.command("graph", cls=Command, help="Print a workflow as a Mermaid flowchart.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.pass_context
def graph(ctx: click.Context, file: Path) -> int:
    from spojit_stripe.workflow import load_workflow, mermaid

    with settings_of(ctx).host() as host:
        vocabulary = host.vocabulary
    sys.stdout.write(f"{mermaid(load_workflow(file, vocabulary=vocabulary))}\n")
    return 0

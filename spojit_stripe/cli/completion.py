"""`completion`: the script that lets a shell complete commands, tools, flags and connections."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class

from spojit_stripe.cli.base import Command

__all__ = ["completion"]

_HOW = {
    "bash": 'eval "$(spojit-stripe completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(spojit-stripe completion zsh)"   in ~/.zshrc',
    "fish": "spojit-stripe completion fish > ~/.config/fish/completions/spojit-stripe.fish",
}


@click.command(
    "completion",
    cls=Command,
    help="Print the completion script of a shell.\n\n\b\n" + "\n".join(_HOW.values()),
)
@click.argument("shell", type=click.Choice(list(_HOW)), metavar="SHELL")
def completion(shell: str) -> int:
    from spojit_stripe.cli.app import COMPLETE_VARIABLE, PROGRAM, root

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    sys.stdout.write(found(root, {}, PROGRAM, COMPLETE_VARIABLE).source())
    return 0

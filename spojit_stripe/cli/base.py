"""What all commands share: the options that mean the same everywhere, and lazy groups."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from spojit_stripe.words import nearest

if TYPE_CHECKING:
    from spojit_stripe.connection import Connection, Connections
    from spojit_stripe.host import Host

__all__ = [
    "Command",
    "Group",
    "LazyGroup",
    "ListedGroup",
    "Settings",
    "complete_connections",
    "settings_of",
    "shared_options",
]

Uses = frozenset[str]
_ALL: Final[Uses] = frozenset({"connections", "connection", "state", "json", "dry_run"})


@dataclass
class Settings:
    """The shared options as given so far, before or after the command."""

    connections: Path | None = None
    connection: str | None = None
    state: Path | None = None
    json: bool = False
    dry_run: bool = False

    @contextmanager
    def host(self, *plugins: object) -> Generator[Host]:
        """A host on the chosen files."""
        from spojit_stripe.host import Host

        with Host(connections=self.connections, state=self.state, plugins=plugins) as host:
            yield host

    def chosen(self, connections: Connections) -> Connection:
        """The named connection, or the only one there is.

        Raises `ConfigurationError` for an unknown one, `InputError` where it has to be named.
        """
        from spojit_stripe.errors import ConfigurationError, InputError

        if self.connection is not None:
            return connections.get(self.connection)
        if len(connections.names) == 1:
            return connections.get(connections.names[0])
        if not connections.names:
            raise ConfigurationError(
                f"{connections.path} holds no connection; add one with `spojit-stripe connections add`"
            )
        raise InputError(f"which connection? Name one with --connection: {', '.join(connections.names)}")


def settings_of(ctx: click.Context) -> Settings:
    """The settings of this invocation."""
    return ctx.ensure_object(Settings)


def complete_connections(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of connections; none where their file can't be read."""
    from spojit_stripe.connection import Connections
    from spojit_stripe.errors import SpojitError

    try:
        names = Connections.load(_connections_path(ctx), missing_ok=True).names
    except SpojitError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _connections_path(ctx: click.Context) -> Path | None:
    at: click.Context | None = ctx
    while at is not None:
        given = at.params.get("shared_connections")
        if given is not None:
            return given
        at = at.parent
    return None


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        if value not in (None, False):
            setattr(settings_of(ctx), name, value)
        return value

    return callback


def shared_options(uses: Uses) -> list[click.Parameter]:
    """The options that mean the same everywhere; those without a use here are hidden."""
    file = click.Path(dir_okay=False, path_type=Path)
    folder = click.Path(path_type=Path)
    options: dict[str, dict[str, Any]] = {
        "connections": {
            "type": file,
            "metavar": "FILE",
            "help": "File of connections [SPOJIT_CONNECTIONS, else the user's config folder].",
        },
        "connection": {
            "metavar": "NAME",
            "help": "Connection to use; the only one when left out.",
            "shell_complete": complete_connections,
        },
        "state": {
            "type": folder,
            "metavar": "DIR",
            "help": "Folder of the ledger [SPOJIT_STATE, else the user's state folder].",
        },
        "json": {"is_flag": True, "help": "Data and errors as JSON on standard output."},
        "dry_run": {"is_flag": True, "help": "Show what would be done; send and change nothing."},
    }
    return [
        click.Option(
            [f"--{name.replace('_', '-')}", f"shared_{name}"],
            callback=_keep(name),
            expose_value=name == "connections",  # completion looks for the file
            hidden=name not in uses,
            **how,
        )
        for name, how in options.items()
    ]


class Command(click.Command):
    """A command that takes the shared options. `acts` says that it does more than read.

    One that acts and has no use for `--dry-run` refuses it rather than act.
    """

    def __init__(self, *args: Any, uses: Sequence[str] = (), acts: bool = False, **more: Any) -> None:
        self._uses = frozenset(uses)
        self._acts = acts
        own: list[click.Parameter] = [*(more.pop("params", None) or ())]
        taken = {name for param in own for name in param.opts}
        shared = [option for option in shared_options(self._uses) if not taken.intersection(option.opts)]
        super().__init__(*args, params=[*own, *shared], **more)

    def invoke(self, ctx: click.Context) -> Any:
        ctx.params.pop("shared_connections", None)
        if self._acts and "dry_run" not in self._uses and settings_of(ctx).dry_run:
            raise click.UsageError(f"{ctx.command_path} has no dry run", ctx)
        return super().invoke(ctx)


class Group(click.Group):
    """A group whose commands take the shared options, and which takes them too."""

    command_class = Command

    def __init__(self, *args: Any, **more: Any) -> None:
        own: list[click.Parameter] = [*(more.pop("params", None) or ())]
        hidden: Uses = frozenset()
        super().__init__(*args, params=[*own, *shared_options(more.pop("uses", hidden))], **more)

    def invoke(self, ctx: click.Context) -> Any:
        ctx.params.pop("shared_connections", None)
        return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            known = self.list_commands(ctx)
            guess = nearest(name, known) or f"; it has {', '.join(known)}"
            raise click.UsageError(f"{ctx.command_path} has no command {name!r}{guess}", ctx)
        return (command.name if command else None), command, args[1:]


class ListedGroup(Group):
    """A group that knows its commands and a line on each without making them."""

    def lines(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Names and one line of help each."""
        raise NotImplementedError

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, _ in self.lines(ctx)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self.lines(ctx))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name, help=line) for name, line in self.lines(ctx) if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


class LazyGroup(ListedGroup):
    """A group that imports a command's module when the command is used.

    `lazy` maps a command's name to `(module:attribute, one line of help)`.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **more: Any) -> None:
        self._lazy = lazy
        super().__init__(*args, uses=_ALL, **more)

    def lines(self, ctx: click.Context) -> list[tuple[str, str]]:
        return [(name, line) for name, (_, line) in self._lazy.items()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        module, attribute = self._lazy[cmd_name][0].split(":")
        return getattr(import_module(module), attribute)

"""A host: plug-ins, connections and records, put together into sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar, cast

import pluggy

from spojit_stripe import hookspecs
from spojit_stripe.connection import Connection, Connections, Policy
from spojit_stripe.connector import Connector
from spojit_stripe.errors import ConfigurationError
from spojit_stripe.records import Records, state_folder
from spojit_stripe.redact import redact_text
from spojit_stripe.session import Session
from spojit_stripe.values import JsonValue, RefuseTwins, Secret
from spojit_stripe.words import nearest

if TYPE_CHECKING:
    from spojit_stripe.workflow import NodeType, Vocabulary

__all__ = ["Host", "plugin_manager"]

T = TypeVar("T")


def plugin_manager(plugins: Iterable[object] = ()) -> pluggy.PluginManager:
    """A manager with every installed plug-in of the group `spojit`, and `plugins`.

    The package's own connector comes through the same entry points as a stranger's.
    Raises `ConfigurationError` naming a plug-in that can't be loaded.
    """
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        manager.load_setuptools_entrypoints(hookspecs.GROUP)
        for plugin in plugins:
            manager.register(plugin)
        manager.check_pending()
    except Exception as error:  # a plug-in's import may raise anything
        raise ConfigurationError(
            redact_text(f"a plug-in can't be loaded: {type(error).__name__}: {error}; uninstall or mend it")
        ) from error
    return manager


def _by_name(offered: Iterable[tuple[str, T]], what: str) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, offer in offered:
        if name in found:  # which of two moves the money must not depend on the order of installation
            raise ConfigurationError(f"two plug-ins offer a {what} {name!r}; uninstall one of them")
        found[name] = offer
    return found


class Host:
    """Where sessions come from. Close it, or the last reads don't reach the ledger.

    `connections` is a file or connections already loaded; None finds the file as the command
    line does. `state` is the folder of the ledger; None finds it likewise.
    """

    def __init__(
        self,
        *,
        connections: Path | Connections | None = None,
        state: Path | None = None,
        plugins: Iterable[object] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connections = connections
        self.clock = clock
        self._records: Records | None = None
        self._manager = plugin_manager(plugins)
        self.state = state_folder(state)

    @property
    def connections(self) -> Connections:
        """Raises `ConfigurationError` where the file is missing or broken."""
        if not isinstance(self._connections, Connections):
            self._connections = Connections.load(self._connections)
        return self._connections

    @property
    def connectors(self) -> dict[str, Connector]:
        """Connectors by name, from all plug-ins. Raises `ConfigurationError` where two share a name."""
        offered = cast("list[list[Connector]]", self._manager.hook.register_connectors())
        return _by_name(((connector.name, connector) for some in offered for connector in some), "connector")

    @property
    def records(self) -> Records:
        """The ledger and its neighbours, opened on first use. Raises `ConfigurationError`."""
        if self._records is None:
            self._records = Records(self.state, self.clock)
        return self._records

    @property
    def vocabulary(self) -> Vocabulary:
        """Node types and filters of all plug-ins. Raises `ConfigurationError` where two share a name."""
        from spojit_stripe.workflow import Vocabulary  # at use: a single call needs no workflows

        types = cast("list[list[NodeType]]", self._manager.hook.register_node_types())
        filters = cast("list[dict[str, Callable[..., JsonValue]]]", self._manager.hook.register_filters())
        return Vocabulary(
            _by_name(((one.name, one) for some in types for one in some), "node type"),
            _by_name((pair for some in filters for pair in some.items()), "filter"),
        )

    def connector(self, name: str) -> Connector:
        """Raises `ConfigurationError` for a connector that no plug-in offers."""
        connectors = self.connectors
        if name not in connectors:
            have = ", ".join(sorted(connectors)) or "none"
            raise ConfigurationError(f"unknown connector {name!r}{nearest(name, connectors)}; installed: {have}")
        return connectors[name]

    def session(
        self,
        connection: str | Connection,
        *,
        narrower: tuple[Policy, ...] = (),
        by_agent: bool = False,
        refuse_twins: RefuseTwins = "never",
    ) -> Session:
        """A session on a connection, by name or given. Raises `ConfigurationError`."""
        if isinstance(connection, str):
            connection = self.connections.get(connection)
        return Session(
            connection=connection,
            connector=self.connector(connection.connector),
            records=lambda: self.records,
            secret=self.secret,
            hooks=self._manager.hook,
            narrower=narrower,
            by_agent=by_agent,
            refuse_twins=refuse_twins,
            clock=self.clock,
        )

    def secret(self, connection: Connection) -> Secret:
        """The connection's key. Raises `ConfigurationError` saying where it was looked for."""
        reference = connection.secret_key
        if reference.is_literal:
            return Secret(reference.literal())
        offered = cast("list[dict[str, Callable[[str], str]]]", self._manager.hook.register_secret_resolvers())
        resolvers = _by_name((pair for some in offered for pair in some.items()), "secret resolver")
        where = f"connection {connection.name!r}, secret_key {reference}"
        if reference.scheme not in resolvers:
            have = ", ".join(sorted(resolvers))
            raise ConfigurationError(
                f"{where}: unknown scheme{nearest(reference.scheme, resolvers)}; there are: {have}"
            )
        try:
            text = resolvers[reference.scheme](reference.name).strip()
        except ConfigurationError as error:
            raise ConfigurationError(redact_text(f"{where}: {error}")) from None
        except Exception as error:  # a resolver is anybody's code, and its text may hold a secret
            raise ConfigurationError(f"{where}: the resolver failed ({type(error).__name__})") from None
        if not text:
            raise ConfigurationError(f"{where}: is empty")
        return Secret(text)

    def close(self) -> None:
        if self._records is not None:
            self._records.close()
            self._records = None

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

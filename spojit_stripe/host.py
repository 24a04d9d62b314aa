"""A host: plug-ins, connections and records, put together into sessions."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from spojit_stripe.values import RefuseTwins, Secret
from spojit_stripe.words import nearest

if TYPE_CHECKING:
    from spojit_stripe.workflow import Vocabulary

__all__ = ["Host", "plugin_manager"]

T = TypeVar("T")


def plugin_manager(plugins: Iterable[object] = ()) -> pluggy.PluginManager:
    """A manager with every installed plug-in of the group `spojit`, and `plugins`.

    The package's own connector comes through the same entry points as a stranger's.
    Raises `ConfigurationError` naming a plug-in that can't be loaded, or has a hook that would never run.
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
    for plugin in manager.get_plugins():
        for caller in manager.get_hookcallers(plugin) or ():
            _check_runs(next(one for one in caller.get_hookimpls() if one.plugin is plugin))
    return manager


def _check_runs(hook: pluggy.HookImpl) -> None:
    """Refuse a hook that does nothing when it is called: as a guard it would stop nothing, and nobody be told."""
    function, is_wrapper = hook.function, hook.wrapper or hook.hookwrapper
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        what = "`async def`, which is never awaited here; write `def`"
    elif inspect.isgeneratorfunction(function) and not is_wrapper:
        what = "a generator (it has a `yield`), which never runs here; write it without"
    else:
        return
    raise ConfigurationError(f"plug-in {_name(hook)!r}: its {function.__name__} is {what}")


def _name(hook: pluggy.HookImpl) -> str:
    """The plug-in as people know it; pluggy calls an object that has no name by a number."""
    return type(hook.plugin).__name__ if hook.plugin_name == str(id(hook.plugin)) else hook.plugin_name


def _by_name(offered: Iterable[tuple[str, T]], what: str) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, offer in offered:
        if name in found:  # which of two moves the money must not depend on the order of installation
            raise ConfigurationError(f"two plug-ins offer a {what} {name!r}; uninstall one of them")
        found[name] = offer
    return found


def _connectors_of(offered: object) -> list[Connector]:
    if not isinstance(offered, list | tuple):
        raise ConfigurationError(f"register_connectors gives {type(offered).__name__}, not a list of connectors")
    for one in cast("Sequence[object]", offered):
        if isinstance(one, type) or not isinstance(getattr(one, "name", None), str):
            raise ConfigurationError(f"register_connectors gives a list with {one!r:.60}, which is no connector")
    return [*cast("Sequence[Connector]", offered)]


def _resolvers_of(offered: object) -> dict[str, Callable[[str], object]]:
    if not isinstance(offered, Mapping):
        raise ConfigurationError(f"register_secret_resolvers gives {type(offered).__name__}, not a dict of functions")
    for name, resolve in cast("Mapping[object, object]", offered).items():
        if not isinstance(name, str) or not callable(resolve):
            raise ConfigurationError(f"register_secret_resolvers gives {name!r:.60}, which is no name of a function")
    return {**cast("Mapping[str, Callable[[str], object]]", offered)}


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
        offered = self._offered("register_connectors", _connectors_of)
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
        from spojit_stripe.workflow.vocabulary import filters_of, node_types_of

        types = self._offered("register_node_types", node_types_of)
        filters = self._offered("register_filters", filters_of)
        return Vocabulary(
            _by_name(((one.name, one) for some in types for one in some), "node type"),
            _by_name((pair for some in filters for pair in some.items()), "filter"),
        )

    def _offered(self, hook: str, read: Callable[[object], T]) -> list[T]:
        """What each plug-in offers by a hook, held against what that takes.

        Asked one by one, so that a message can name the plug-in; wrappers hear each.
        """
        impls = getattr(self._manager.hook, hook).get_hookimpls()
        ours = [one for one in impls if not (one.wrapper or one.hookwrapper)]
        found: list[T] = []
        for impl in reversed(ours):  # as pluggy does
            others = [one.plugin for one in ours if one is not impl]
            try:
                given = self._manager.subset_hook_caller(hook, others)()
                found += map(read, given)
            except ConfigurationError as error:
                raise ConfigurationError(f"plug-in {_name(impl)!r}: {error}") from None
            except Exception as error:  # a plug-in is anybody's code
                told = redact_text(f"{type(error).__name__}: {error}")
                raise ConfigurationError(
                    f"plug-in {_name(impl)!r}: {hook} failed: {told}; mend or uninstall it"
                ) from None
        return found

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
        offered = self._offered("register_secret_resolvers", _resolvers_of)
        resolvers = _by_name((pair for some in offered for pair in some.items()), "secret resolver")
        where = f"connection {connection.name!r}, secret_key {reference}"
        if reference.scheme not in resolvers:
            have = ", ".join(sorted(resolvers))
            raise ConfigurationError(
                f"{where}: unknown scheme{nearest(reference.scheme, resolvers)}; there are: {have}"
            )
        try:
            given: object = resolvers[reference.scheme](reference.name)
        except ConfigurationError as error:
            raise ConfigurationError(redact_text(f"{where}: {error}")) from None
        except Exception as error:  # a resolver is anybody's code, and its text may hold a secret
            raise ConfigurationError(f"{where}: the resolver failed ({type(error).__name__})") from None
        if not isinstance(given, str):
            raise ConfigurationError(f"{where}: the resolver gave {type(given).__name__} instead of text")
        text = given.strip()
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

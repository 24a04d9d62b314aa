"""One connection in use: what a call needs besides itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import cast

import pluggy

from spojit_stripe.connection import Connection, Policy
from spojit_stripe.connector import BoundCall, Connector, Wire
from spojit_stripe.errors import InputError, RefusedError
from spojit_stripe.expressions.bounds import is_list, kind_of
from spojit_stripe.jsonvalue import copied
from spojit_stripe.pins import bind_pinned, fill_in, ids_in_path, keeps_pin
from spojit_stripe.policy import Rules
from spojit_stripe.records import Records
from spojit_stripe.redact import redact_text
from spojit_stripe.values import Done, Outcome, Preview, RefuseTwins, Secret, ToolCall
from spojit_stripe.words import nearest

__all__ = ["Session"]


class Session:
    """A connection with its connector, rules, records and hooks, for calls of one event loop.

    `narrower` policies (a node's, say) take away from the connection's policy, never add.
    `refuse_twins` refuses a write while an equal one is unsettled, of another run or anywhere else: a workflow
    may pay two equal items of its own, a person or an agent repeats by mistake.
    The secret is resolved and the wire opened at the first request, so that a dry run needs
    neither.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        connector: Connector,
        records: Callable[[], Records],
        secret: Callable[[Connection], Secret],
        hooks: pluggy.HookRelay,
        narrower: tuple[Policy, ...] = (),
        by_agent: bool = False,
        refuse_twins: RefuseTwins = "never",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.connection = connection
        self.connector = connector
        self.rules = Rules.of(connection, *narrower)
        self.by_agent = by_agent
        self.refuse_twins: RefuseTwins = refuse_twins
        self.clock = clock
        self._records = records
        self._secret = secret
        self._hooks = hooks
        self._wire: Wire | None = None

    @property
    def records(self) -> Records:
        """The ledger and its neighbours; made on first use."""
        return self._records()

    @property
    def api_version(self) -> str:
        return self.connection.api_version or self.connector.default_api_version

    @property
    def wire(self) -> Wire:
        """The way to the service. Raises `ConfigurationError` where the secret is unusable."""
        if self._wire is None:
            secret = self._secret(self.connection)
            self.connector.check_secret(self.connection, secret)
            self._wire = self.connector.open(self.connection, secret)
        return self._wire

    async def aclose(self) -> None:
        if self._wire is not None:
            await self._wire.aclose()
            self._wire = None

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def bind(self, call: ToolCall) -> BoundCall:
        """Check a call against its tool, with pins filled in, and make its request.

        A raw request that makes or reads something gets every pinned parameter that its operation
        takes; ids in its path are held against pins of their names too.

        Raises `InputError` for a faulty call, `RefusedError` for a broken pin.
        """
        tool = self.connector.catalog.tool(call.tool)
        _check_json("params", call.params)
        _check_json("author_params", call.author_params)
        pins = self.rules.pins
        params = fill_in(tool, call.params, pins)
        reserved = tool.binding.author_only
        if not reserved.isdisjoint(call.params):
            tool.check(params)  # says that these are an author's
        for name in call.author_params:
            if name not in reserved:
                raise InputError(f"{name}: {call.tool} has no such option{nearest(name, reserved)}")
        tool.check({**params, **call.author_params}, author=bool(call.author_params))
        bound = bind_pinned(self.connector, tool, replace(call, params=params), self.connection, pins)
        places = (params, ids_in_path(bound.request), bound.request.params)
        for name, value in pins.items():
            for place in places:
                if name in place and not keeps_pin(name, place[name], value):
                    raise RefusedError(f"{name} is pinned to {value!r}; the call says {place[name]!r}")
        return bound

    # Plug-ins

    @property
    def has_call_hooks(self) -> bool:
        """Whether anybody listens: a read without listeners pays for no preview."""
        return bool(self._hooks.before_call.get_hookimpls() or self._hooks.after_call.get_hookimpls())

    def ask_plugins(self, preview: Preview) -> None:
        """Raise `RefusedError` where a plug-in vetoes, or fails to answer."""
        try:
            reasons: list[str] = self._hooks.before_call(preview=_own(preview))
        except Exception as error:  # a broken guard must not open the gate
            raise RefusedError(f"a plug-in failed before the call, so it is denied: {_named(error)}") from None
        if reasons:
            raise RefusedError(f"a plug-in refused the call: {redact_text(str(reasons[0]))}")

    def tell_before_send(self, preview: Preview, ledger_id: int) -> None:
        """Raise `RefusedError` where a plug-in stops the send."""
        try:
            self._hooks.before_send(preview=_own(preview), ledger_id=ledger_id)
        except Exception as error:
            raise RefusedError(f"a plug-in stopped the call before it was sent: {_named(error)}") from None

    def tell_after_send(self, preview: Preview, ledger_id: int) -> tuple[str, ...]:
        """A plug-in's failure after the send is a warning: the answer must still be recorded."""
        try:
            self._hooks.after_send(preview=_own(preview), ledger_id=ledger_id)
        except Exception as error:
            return (f"a plug-in failed after the call was sent: {_named(error)}",)
        return ()

    def tell_after_call(self, preview: Preview, outcome: Outcome) -> tuple[str, ...]:
        """A plug-in's failure after the call is a warning: the outcome stands."""
        if not self._hooks.after_call.get_hookimpls():  # a copy of a long list costs
            return ()
        try:
            own = replace(outcome, value=copied(outcome.value)) if isinstance(outcome, Done) else outcome
            self._hooks.after_call(preview=_own(preview), outcome=own)
        except Exception as error:
            return (f"a plug-in failed after the call: {_named(error)}",)
        return ()


def _check_json(name: str, given: object) -> None:
    """Everything behind this takes the types of a call at their word."""
    if not isinstance(given, Mapping):
        raise InputError(f"{name}: is {kind_of(given)}, not an object")
    fault = _no_json(cast("Mapping[object, object]", given), "")
    if fault is not None:
        raise InputError(fault)


def _no_json(value: object, where: str) -> str | None:
    """What in a value is no JSON, in one line."""
    if value is None or isinstance(value, str | int | float):
        return None
    if isinstance(value, Mapping):
        for key, inner in cast("Mapping[object, object]", value).items():
            if not isinstance(key, str):
                return f"{where or 'params'}: has a key that is {kind_of(key)}; keys are text"
            fault = _no_json(inner, f"{where}.{key}" if where else key)
            if fault is not None:
                return fault
        return None
    if isinstance(value, list | tuple):
        items = enumerate(cast("Sequence[object]", value))
        return next((fault for place, one in items if (fault := _no_json(one, f"{where}[{place}]"))), None)
    if is_list(value):
        return f"{where}: is a list of {len(value):,} that is kept in a file, which no call takes; give a shorter one"
    return f"{where}: is {kind_of(value)}, which is no JSON value; give text, a number, a list or an object"


def _own(preview: Preview) -> Preview:
    """For one call of a hook: what it changes reaches neither what is sent nor what the next one sees."""
    return replace(preview, params=copied(preview.params), context=copied({**preview.context}))


def _named(error: Exception) -> str:
    return redact_text(f"{type(error).__name__}: {error}")

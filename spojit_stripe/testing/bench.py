"""A state folder, a clock, a connector and plug-ins, put together into sessions in one line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pluggy

from spojit_stripe import hookspecs
from spojit_stripe.connection import Connection, Policy
from spojit_stripe.connector import Connector, Progress
from spojit_stripe.direct import preview_tool, run_tool
from spojit_stripe.records import Entry, Ledger, Records
from spojit_stripe.session import Session
from spojit_stripe.values import JsonValue, Outcome, Position, Preview, RefuseTwins, Secret, ToolCall

__all__ = ["FakeClock", "Workbench"]

Given = Policy | Mapping[str, JsonValue]


class FakeClock:
    """A clock that stands still until it is advanced. Unix seconds."""

    def __init__(self, now: float = 1_790_000_000) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Workbench:
    """Calls of one connector over one state folder. Close it, or use it as a context manager.

    The connection allows writes unless `policy` or another of its fields says otherwise; its
    key is made up. Installed plug-ins are left aside: only `plugins` are called.
    """

    def __init__(
        self,
        state: Path,
        connector: Connector,
        *,
        plugins: Iterable[object] = (),
        clock: FakeClock | None = None,
        secret: str = "fk_test_1234567890",  # noqa: S107 # opens nothing
    ) -> None:
        self.state = state
        self.connector = connector
        self.clock = clock or FakeClock()
        self._records: Records | None = None
        self.secret = secret
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)
        for plugin in plugins:
            self._manager.register(plugin)
        self._manager.check_pending()

    @property
    def records(self) -> Records:
        """The ledger and its neighbours, made on first use."""
        if self._records is None:
            self._records = Records(self.state, self.clock)
        return self._records

    @property
    def ledger(self) -> Ledger:
        return self.records.ledger

    def entries(self) -> list[Entry]:
        """Every write of the ledger, oldest first."""
        return list(self.ledger.entries(writes_only=True))[::-1]

    def connection(self, **fields: Any) -> Connection:
        """A connection that allows writes; `fields` are those of `connections.yaml`."""
        given: dict[str, Any] = {
            "name": "bench",
            "connector": self.connector.name,
            "secret_key": "${env:NOWHERE}",
            "mode": "test",
            "policy": {"writes": "allow"},
        }
        return Connection.model_validate(given | fields)

    def session(
        self,
        connection: Connection | None = None,
        *,
        narrower: Iterable[Given] = (),
        by_agent: bool = False,
        refuse_twins: RefuseTwins = "never",
        **fields: Any,
    ) -> Session:
        """A session on `connection`, or on one with `fields`."""
        return Session(
            connection=connection or self.connection(**fields),
            connector=self.connector,
            records=lambda: self.records,
            secret=lambda _connection: Secret(self.secret),
            hooks=self._manager.hook,
            narrower=tuple(Policy.model_validate(policy) for policy in narrower),
            by_agent=by_agent,
            refuse_twins=refuse_twins,
            clock=self.clock,
        )

    def run(
        self,
        call: ToolCall,
        *,
        at: Position | str = "run_1",
        session: Session | None = None,
        resume: bool = False,
        progress: Progress | None = None,
        **fields: Any,
    ) -> Outcome:
        """`run_tool`, to its end, outside of any event loop. `at` may be just a run id."""
        position = Position(run_id=at) if isinstance(at, str) else at

        async def work() -> Outcome:
            async with session or self.session(**fields) as opened:
                return await run_tool(call, at=position, session=opened, resume=resume, progress=progress)

        return asyncio.run(work())

    def preview(self, call: ToolCall, *, at: Position | str = "run_1", **fields: Any) -> Preview:
        """`preview_tool`, likewise."""
        position = Position(run_id=at) if isinstance(at, str) else at
        return asyncio.run(preview_tool(call, at=position, session=self.session(**fields)))

    def close(self) -> None:
        if self._records is not None:
            self._records.close()
            self._records = None

    def __enter__(self) -> Workbench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

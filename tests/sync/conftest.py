"""A sandbox on a clock that stands still, Stripe's own client on it, and syncs of it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import stripe

from spojit_stripe.sandbox import Sandbox, sandbox
from spojit_stripe.sync import Report, Synced, destination_of, sync
from spojit_stripe.testing import Workbench
from spojit_stripe.values import JsonObject
from spojit_stripe.wire.connector import StripeConnector

NOW = 1_795_000_000  # 2026-11-18
DAY = 86_400
FAST: Any = {"account": 5000, "endpoint": 5000}


@dataclass
class Shop:
    """Syncs of one sandbox into places in one folder; `heard` is what the last one told."""

    box: Sandbox
    folder: Path
    heard: list[tuple[str, JsonObject]] = field(default_factory=list)

    @property
    def db(self) -> str:
        return f"sqlite:///{self.folder / 'shop.db'}"

    def sync(
        self, *names: str, to: str | None = None, key: str | None = None, full: bool = False, **more: Any
    ) -> Report:
        """One run, as the command line does it."""
        self.heard = []
        tell: Callable[[str, JsonObject], None] = more.pop("tell", lambda kind, facts: self.heard.append((kind, facts)))

        async def work() -> Report:
            async with bench.session(base_url=self.box.url, limits=FAST, **more) as session:
                place = destination_of(to or self.db)
                return await sync(names, place, session=session, run_id="sync-1", full=full, tell=tell)

        with Workbench(self.folder / "state", StripeConnector(), secret=key or self.box.secret_key) as bench:
            return asyncio.run(work())

    def one(self, name: str, **more: Any) -> Synced:
        """A run of one resource that goes well."""
        report = self.sync(name, **more)
        assert report.exit_code == 0, report.to_json()
        return report.resources[0]

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """A query on the SQLite file."""
        db = sqlite3.connect(self.folder / "shop.db")
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def change(self, sql: str, *values: Any) -> None:
        """A change of the SQLite file by somebody else."""
        db = sqlite3.connect(self.folder / "shop.db")
        with db:
            db.execute(sql, values)
        db.close()

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every table's rows, but for what is remembered of each run."""
        tables = self.ask("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'spojit%'")
        return {name: self.ask(f"SELECT * FROM {name} ORDER BY id") for (name,) in tables}

    def counts(self, one: Synced) -> tuple[int, int, int]:
        return one.counts.new, one.counts.changed, one.counts.deleted

    def warnings(self) -> list[str]:
        return [str(facts["text"]) for kind, facts in self.heard if kind == "warning"]

    def paths(self) -> list[str]:
        return [request.path for request in self.box.requests("GET")]


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """An empty sandbox; the test fails if the sandbox itself crashed in it."""
    with sandbox(now=NOW) as running:
        yield running
        assert running.crashes() == []


@pytest.fixture
def shop(box: Sandbox, tmp_path: Path) -> Shop:
    return Shop(box, tmp_path)


@pytest.fixture
def api(box: Sandbox) -> Any:
    """The official client's v1 services."""
    return stripe.StripeClient(box.secret_key, base_addresses={"api": box.url}).v1


@pytest.fixture
def seeded(tmp_path: Path) -> Iterator[Shop]:
    """A business with a past of ninety days."""
    with sandbox(seed=30, now=NOW) as running:
        yield Shop(running, tmp_path)
        assert running.crashes() == []


@pytest.fixture(autouse=True)
def _quiet_stripe() -> None:
    stripe.enable_telemetry = False

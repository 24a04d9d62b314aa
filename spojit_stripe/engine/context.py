"""One run in one process: what its nodes need besides their steps."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from spojit_stripe.data import ArtifactStore, segment, thaw
from spojit_stripe.engine.bundle import Bundle
from spojit_stripe.engine.scope import recorded_form, restore, stored_at
from spojit_stripe.engine.watch import Watch
from spojit_stripe.host import Host
from spojit_stripe.node import Sessions
from spojit_stripe.values import JsonObject, JsonValue
from spojit_stripe.workflow import tables_of_nodes

__all__ = ["RunContext"]

_MOST_QUERIES = 2  # at once: each is a process with half a gigabyte to itself


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """One run in one process: its files, its host, and where its large values go.

    `retried` are ledger entries that a person chose to try again, `resumed` when (Unix seconds).
    """

    bundle: Bundle
    host: Host
    store: ArtifactStore
    sessions: Sessions
    watch: Watch
    retried: frozenset[int] = frozenset()
    resumed: int = 0
    queries: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MOST_QUERIES))
    _schemas: dict[str, dict[str, JsonObject]] = field(default_factory=dict[str, "dict[str, JsonObject]"])
    _shared: dict[str, dict[str, JsonValue]] = field(default_factory=dict[str, "dict[str, JsonValue]"])

    @property
    def folder(self) -> Path:
        """Where queries keep what does not fit in memory."""
        return self.host.state

    def prefix(self, name: str) -> str:
        """Where in the store the run keeps what belongs to `name`."""
        return f"{segment(self.watch.run_id)}/{name}"

    def thawed(self, value: JsonValue) -> JsonValue:
        return thaw(value, self.store)

    def recorded(self, value: JsonValue, prefix: str) -> JsonValue:
        return recorded_form(value, self.store, prefix)

    def restored(self, shared: JsonObject) -> dict[str, JsonValue]:
        """A scope as `share` recorded it; the many items of a loop read a stored one once."""
        handle = stored_at(shared)
        if handle is None:
            return restore(shared, self.store)
        if handle not in self._shared:
            self._shared[handle] = restore(shared, self.store)
        return {**self._shared[handle]}

    def rows_schema(self, file: str, name: str) -> JsonObject | None:
        """The JSON schema of the rows that a node of a file gives, where one is known."""
        if file not in self._schemas:
            self._schemas[file] = {**tables_of_nodes(self.bundle.workflows[file], self.host.connectors)}
        return self._schemas[file].get(name)

    def note_rows(self, file: str, name: str, schema: JsonObject) -> None:
        """Keep what a query said of its result, for one that reads it."""
        self.rows_schema(file, name)
        self._schemas[file][name] = schema

"""Reads in the ledger: one row each, written afterwards and never waited for."""

from __future__ import annotations

import json
import queue
import threading
from dataclasses import dataclass

from spojit_stripe.errors import ConfigurationError, SpojitError
from spojit_stripe.records.database import Database
from spojit_stripe.redact import redact_object, redact_text
from spojit_stripe.values import JsonObject, Position

__all__ = ["ReadLog", "ReadNote"]

_BATCH_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadNote:
    """What is kept of a read. `at` is Unix seconds."""

    position: Position
    connection: str
    mode: str
    account: str | None
    base_url: str | None
    api_version: str | None
    tool: str
    operation: str
    path: str
    params: JsonObject
    at: int
    object_id: str | None = None
    result: JsonObject | None = None
    error: SpojitError | None = None
    request_ids: tuple[str, ...] = ()
    attempts: int = 0
    livemode: bool | None = None


class ReadLog:
    """Gathers reads and writes them in batches from a thread of its own.

    A read whose row can't be written has still happened: the fault is kept in `fault` and
    shown once, it never fails the read.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: queue.SimpleQueue[ReadNote | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self.fault: SpojitError | None = None

    def note(self, read: ReadNote) -> None:
        """Queue one row; takes microseconds."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_batches, name="spojit-reads", daemon=True)
            self._thread.start()
        self._queue.put(read)

    def close(self) -> None:
        """Write what is queued and stop."""
        if self._thread is not None:
            self._closing.set()
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _write_batches(self) -> None:
        while True:
            batch = [self._queue.get()]
            self._closing.wait(_BATCH_SECONDS)
            while not self._queue.empty():
                batch.append(self._queue.get())
            notes = [note for note in batch if note is not None]
            try:
                if notes:
                    self._write(notes)
            except SpojitError as error:
                self.fault = error
            except Exception as error:  # the thread must go on, and the fault must be seen
                self.fault = ConfigurationError(f"{len(notes)} reads could not be recorded: {type(error).__name__}")
            if len(notes) < len(batch):
                return

    def _write(self, notes: list[ReadNote]) -> None:
        with self._database.writing() as db:
            db.executemany(
                "INSERT INTO calls (effect, state, run_id, node, indexes, ordinal, generation, connection, mode,"
                " account, base_url, api_version, tool, operation, path, params, created, first_sent, finished,"
                " object_id, result, error, request_ids, attempts, livemode)"
                " VALUES ('read', ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(note) for note in notes],
            )


def _row(note: ReadNote) -> tuple[str | int | bool | None, ...]:
    position = note.position
    return (
        "failed" if note.error else "done",
        position.run_id,
        position.node,
        "/".join(map(str, position.indexes)),
        position.ordinal,
        note.connection,
        note.mode,
        note.account,
        note.base_url,
        note.api_version,
        note.tool,
        note.operation,
        redact_text(note.path),
        json.dumps(redact_object(note.params)),
        note.at,
        note.at,
        note.at,
        note.object_id,
        json.dumps(note.result) if note.result else None,
        json.dumps(redact_object(note.error.to_json())) if note.error else None,
        json.dumps(note.request_ids),
        note.attempts,
        note.livemode,
    )

"""Runs as people see them: what was started, where it stands, and what each node did.

The engine's own records decide how a run goes on; these tell of it. They outlive the engine's,
need none of its code to be read, and are written by the run itself as it goes.
"""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from spojit_stripe.errors import InputError, SpojitError
from spojit_stripe.records.database import Database
from spojit_stripe.redact import redact_object
from spojit_stripe.values import JsonObject, JsonValue
from spojit_stripe.words import nearest

__all__ = ["NodeNote", "Run", "RunState", "Runs", "Wait"]

_BATCH_SECONDS = 0.1
_MOST_COMPARED = 500


class RunState(StrEnum):
    """Where a run stands. One that says `running` in no living process was interrupted."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (RunState.DONE, RunState.FAILED, RunState.UNKNOWN, RunState.CANCELLED)

    @property
    def prunable(self) -> bool:
        """Nothing is left to settle, so that its records may go."""
        return self.ended and self is not RunState.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run. Times are Unix seconds; `version` is the digest of the files it runs,
    `resumed` when a person last resumed it, 0 for never.

    `retried` are ledger entries that a person chose to try again, `exceptions` counts what
    failed and was gone on after. `output` is `{"value", "status"}` of a run that is done.
    """

    id: str
    workflow: str
    version: str
    file: str
    engine: str
    inputs: JsonObject
    state: RunState
    created: int
    finished: int | None
    resumes: int
    resumed: int
    retried: tuple[int, ...]
    exceptions: int
    output: JsonObject | None
    error: JsonObject | None

    def to_json(self) -> JsonObject:
        found: JsonObject = {}
        for name in Run.__slots__:
            value = getattr(self, name)
            if value is not None:
                found[name] = [*self.retried] if name == "retried" else value
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNote:
    """What is known of one node of a run. `path` holds the places in loops: `payments[3]/pay`."""

    path: str
    type: str
    state: str
    started: float | None = None
    finished: float | None = None
    facts: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A part of a run that waits for a message; `address` is where the engine takes it."""

    run_id: str
    topic: str
    address: str
    since: int


class Runs:
    """The runs of one state folder. All methods block, but `note`, which queues."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._notes: queue.SimpleQueue[tuple[str, NodeNote] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.fault: SpojitError | None = None

    # Versions

    def keep_version(self, digest: str, files: JsonObject) -> None:
        """Keep the files that a run runs; the same digest is the same files."""
        with self._database.writing() as db:
            db.execute("INSERT OR IGNORE INTO versions VALUES (?, ?)", (digest, json.dumps(files)))

    def version(self, digest: str) -> JsonObject:
        """The files of a version. Raises `InputError` where they were pruned."""
        with self._database.reading() as db:
            row = db.execute("SELECT files FROM versions WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            raise InputError(f"version {digest} of the workflow is not kept any more")
        return cast("JsonObject", json.loads(row["files"]))

    # Runs

    def create(self, run: Run) -> bool:
        """Write a new run down; False where there is one of its id already."""
        with self._database.writing() as db:
            done = db.execute(
                "INSERT OR IGNORE INTO runs (id, workflow, version, file, engine, inputs, state, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run.id,
                    run.workflow,
                    run.version,
                    run.file,
                    run.engine,
                    json.dumps(run.inputs),
                    run.state.value,
                    run.created,
                ),
            )
        return done.rowcount == 1

    def find(self, run_id: str) -> Run | None:
        with self._database.reading() as db:
            row = db.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
        return _run(row) if row else None

    def get(self, run_id: str) -> Run:
        """Raises `InputError` naming runs of a near id."""
        found = self.find(run_id)
        if found is not None:
            return found
        known = [run.id for run in self.list(limit=_MOST_COMPARED)]
        begin_so = [one for one in known if one.startswith(run_id)] if run_id else []
        guess = f"; there is {', '.join(begin_so[:5])}" if begin_so else nearest(run_id, known)
        raise InputError(f"no run {run_id!r}{guess or '; `spojit-stripe runs list` shows what there is'}")

    def list(self, *, state: RunState | None = None, workflow: str | None = None, limit: int = -1) -> list[Run]:
        """Runs, newest first."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT * FROM runs WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR workflow = ?2)"
                " ORDER BY created DESC, rowid DESC LIMIT ?3",
                (state.value if state else None, workflow, limit),
            ).fetchall()
        return [_run(row) for row in rows]

    def set_state(self, run_id: str, state: RunState) -> None:
        """A run that goes on, or waits; one that was cancelled meanwhile stays so."""
        with self._database.writing() as db:
            db.execute(
                "UPDATE runs SET state = ?, finished = NULL WHERE id = ? AND state <> 'cancelled'",
                (state.value, run_id),
            )

    def cancel(self, run_id: str) -> bool:
        """Note that a run is cancelled; False where it has ended, and then it stays as it is."""
        with self._database.writing() as db:
            changed = db.execute(
                "UPDATE runs SET state = 'cancelled', finished = ? WHERE id = ? AND state IN ('running', 'waiting')",
                (int(self._clock()), run_id),
            ).rowcount
            if changed:
                db.execute("DELETE FROM run_waits WHERE run_id = ?", (run_id,))
        return changed == 1

    def finish(
        self, run_id: str, state: RunState, *, output: JsonObject | None, error: JsonObject | None, exceptions: int
    ) -> None:
        """A run that has ended."""
        with self._database.writing() as db:
            db.execute(
                "UPDATE runs SET state = ?, finished = ?, output = ?, error = ?, exceptions = ? WHERE id = ?",
                (
                    state.value,
                    int(self._clock()),
                    json.dumps(output) if output is not None else None,
                    json.dumps(redact_object(error)) if error is not None else None,
                    exceptions,
                    run_id,
                ),
            )
            db.execute("DELETE FROM run_waits WHERE run_id = ?", (run_id,))

    def resume(self, run_id: str, retried: tuple[int, ...]) -> None:
        """Note that a person resumes a run, and which recorded failures may be tried again."""
        with self._database.writing() as db:
            row = db.execute("SELECT retried FROM runs WHERE id = ?", (run_id,)).fetchone()
            every = sorted({*json.loads(row["retried"]), *retried})
            db.execute(
                "UPDATE runs SET state = 'running', finished = NULL, error = NULL, resumes = resumes + 1, resumed = ?,"
                " retried = ? WHERE id = ?",
                (int(self._clock()), json.dumps(every), run_id),
            )

    # Connections

    def bind(self, run_id: str, connection: str, place: JsonObject) -> None:
        """Note to which place (mode, account, host) a connection led when the run first opened it."""
        with self._database.writing() as db:
            db.execute(
                "INSERT OR IGNORE INTO run_connections VALUES (?, ?, ?)",
                (run_id, connection, json.dumps(place)),
            )

    def places(self, run_id: str) -> dict[str, JsonObject]:
        """The place of each connection that the run has opened."""
        with self._database.reading() as db:
            rows = db.execute("SELECT connection, place FROM run_connections WHERE run_id = ?", (run_id,)).fetchall()
        return {row["connection"]: json.loads(row["place"]) for row in rows}

    # Waits

    def wait(self, run_id: str, topic: str, address: str) -> None:
        """Note where a message for `topic` has to go."""
        with self._database.writing() as db:
            db.execute(
                "INSERT INTO run_waits VALUES (?, ?, ?, ?)"
                " ON CONFLICT (run_id, topic) DO UPDATE SET address = excluded.address",
                (run_id, topic, address, int(self._clock())),
            )

    def woken(self, run_id: str, topic: str) -> None:
        with self._database.writing() as db:
            db.execute("DELETE FROM run_waits WHERE run_id = ? AND topic = ?", (run_id, topic))

    def waits(self, *, run_id: str | None = None, topic: str | None = None) -> list[Wait]:
        """Who waits, of a run or for a topic."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT * FROM run_waits WHERE (?1 IS NULL OR run_id = ?1) AND (?2 IS NULL OR topic = ?2)"
                " ORDER BY since, topic",
                (run_id, topic),
            ).fetchall()
        return [Wait(**dict(row)) for row in rows]

    # Nodes

    def note(self, run_id: str, note: NodeNote) -> None:
        """Queue what a node does; the run never waits for it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_batches, name="spojit-runs", daemon=True)
            self._thread.start()
        self._notes.put((run_id, note))

    def _write_batches(self) -> None:
        while True:
            batch = [self._notes.get()]
            time.sleep(_BATCH_SECONDS if batch[0] is not None else 0)
            while not self._notes.empty():
                batch.append(self._notes.get())
            # The last word on each node is enough.
            newest = {(run_id, note.path): note for run_id, note in (one for one in batch if one is not None)}
            try:
                if newest:
                    self._write(newest)
            except SpojitError as error:
                self.fault = error
            if None in batch:
                return

    def _write(self, notes: Mapping[tuple[str, str], NodeNote]) -> None:
        with self._database.writing() as db:
            db.executemany(
                "INSERT INTO run_nodes VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, path) DO UPDATE SET"
                " state = excluded.state, started = coalesce(excluded.started, started),"
                " finished = excluded.finished, facts = excluded.facts",
                [
                    (
                        run_id,
                        path,
                        note.type,
                        note.state,
                        note.started,
                        note.finished,
                        json.dumps(redact_object(note.facts)),
                    )
                    for (run_id, path), note in notes.items()
                ],
            )

    def nodes(self, run_id: str) -> list[NodeNote]:
        """What the nodes of a run did, in the order in which they began."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT path, type, state, started, finished, facts FROM run_nodes WHERE run_id = ?"
                " ORDER BY coalesce(started, finished), rowid",
                (run_id,),
            ).fetchall()
        return [NodeNote(**{**dict(row), "facts": json.loads(row["facts"])}) for row in rows]

    def keep_transcript(self, run_id: str, path: str, transcript: JsonValue) -> None:
        """Keep an agent's transcript, redacted by who made it."""
        with self._database.writing() as db:
            db.execute(
                "INSERT INTO run_transcripts VALUES (?, ?, ?)"
                " ON CONFLICT (run_id, path) DO UPDATE SET transcript = excluded.transcript",
                (run_id, path, json.dumps(transcript)),
            )

    def transcripts(self, run_id: str) -> Iterator[tuple[str, JsonValue]]:
        """The transcripts of a run's agents, by the path of their node."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT path, transcript FROM run_transcripts WHERE run_id = ? ORDER BY rowid", (run_id,)
            ).fetchall()
        for row in rows:
            yield row["path"], json.loads(row["transcript"])

    # Retention

    def prune(self, run_id: str) -> None:
        """Remove a run that has ended, with what it says of people; what it paid stays known.

        Of its writes a tombstone stays: place, key, digest, state, amount, `once`, object id. So the
        same run id, or the same `once`, still pays nothing a second time.
        """
        with self._database.writing() as db:
            for table in ("runs", "run_nodes", "run_waits", "run_transcripts", "run_connections", "planned"):
                column = "id" if table == "runs" else "run_id"
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (run_id,))  # noqa: S608 # fixed words only
            db.execute("DELETE FROM approvals WHERE run_id = ?", (run_id,))
            db.execute("DELETE FROM calls WHERE run_id = ? AND key IS NULL", (run_id,))
            db.execute(
                "UPDATE calls SET params = '{}', result = json_object('id', object_id), request_ids = '[]'"
                " WHERE run_id = ? AND state IN ('done', 'failed', 'unsent')",
                (run_id,),
            )
            db.execute("DELETE FROM versions WHERE digest NOT IN (SELECT version FROM runs)")

    def flush(self) -> None:
        """Write what is queued."""
        self.close()

    def close(self) -> None:
        """Write what is queued and stop."""
        if self._thread is not None:
            self._notes.put(None)
            self._thread.join()
            self._thread = None


def _run(row: sqlite3.Row) -> Run:
    values = dict(row)
    values["state"] = RunState(values["state"])
    values["retried"] = tuple(json.loads(values["retried"]))
    for name in ("inputs", "output", "error"):
        values[name] = json.loads(values[name]) if values[name] is not None else None
    return Run(**values)

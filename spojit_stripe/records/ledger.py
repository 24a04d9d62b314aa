"""The ledger: every write is a durable row before it is sent, and an outcome after.

open ──► done      carried out: object id and redacted result are kept
  │  ├─► failed    definitely without effect, and the service keeps the answer
  │  ├─► unsent    definitely without effect, and the key is unused: may be sent again
  │  └─► unknown   may have taken effect
  └ a crash leaves `open`, which is read as `unknown`

What is sent a second time without an answer to the first is `unknown` from then on: only an
answer that holds for every attempt under the key, or a person, settles it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from spojit_stripe.connection import Connection
from spojit_stripe.errors import (
    ConflictError,
    DeclinedError,
    InputError,
    InvalidRequestError,
    OutcomeUnknownError,
    Problem,
    RefusedError,
    ServiceError,
    SpojitError,
)
from spojit_stripe.policy import Rules, check_spending
from spojit_stripe.records.approvals import claim_planned, may_run_planned, tie_to
from spojit_stripe.records.database import Database
from spojit_stripe.records.entry import Entry, State, entry_of
from spojit_stripe.records.keys import key_of
from spojit_stripe.records.likeness import Like, like
from spojit_stripe.records.spending import Scope, spent
from spojit_stripe.redact import redact_object, redact_text
from spojit_stripe.values import Amount, Assessment, Effect, JsonObject, Meta, Position, Preview, RefuseTwins

__all__ = ["Entry", "Ledger", "NewCall", "State"]

_UNSETTLED = "('open', 'unknown')"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCall:
    """What is written down before a write is sent.

    `digest` is that of the parameters as asked; `additions` are parameters that the
    assessment wrote in, kept so that a replay sends the very same request.
    """

    position: Position
    generation: int
    digest: str
    connection: Connection
    api_version: str
    preview: Preview
    operation: str
    effect: Effect
    additions: JsonObject
    stamped: bool
    once: str | None
    approval_digest: str | None
    refuse_twins: RefuseTwins


class Ledger:
    """The calls of one state folder. All methods block; call them off the event loop."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def at(self, position: Position) -> Entry | None:
        """The newest generation of the call that stands at `position`."""
        with self._database.reading() as db:
            row = db.execute(
                "SELECT * FROM calls WHERE run_id = ? AND node = ? AND indexes = ? AND ordinal = ?"
                " AND key IS NOT NULL ORDER BY generation DESC LIMIT 1",
                _place(position),
            ).fetchone()
        return entry_of(row) if row else None

    def get(self, entry_id: int) -> Entry:
        """Raises `InputError` where there is no such row."""
        with self._database.reading() as db:
            row = db.execute("SELECT * FROM calls WHERE id = ?", (entry_id,)).fetchone()
        if row is None:
            raise InputError(f"no ledger entry {entry_id}; `spojit-stripe ledger list` shows what there is")
        return entry_of(row)

    def once(self, connection: str, operation: str, value: str) -> Entry | None:
        """The call that has used up this `once` value, for ever."""
        with self._database.reading() as db:
            row = db.execute(
                "SELECT calls.* FROM once JOIN calls ON calls.id = once.call_id"
                " WHERE once.connection = ? AND once.operation = ? AND once.value = ?",
                (connection, operation, value),
            ).fetchone()
        return entry_of(row) if row else None

    def answered_by_once(self, position: Position, connection: str, holder: Entry) -> None:
        """A call of a plan that `once` has answered is out of the way of those behind it."""
        with self._database.writing() as db:
            tie_to(db, key_of(position, 0), position.run_id, connection, holder.id)

    def like(self, position: Position, digest: str, connection: str, assessment: Assessment) -> Like | None:
        """The newest other call of the same node that may have done what this one would.

        What certainly never took effect and may be sent again does not count.
        """
        *node, ordinal = _place(position)
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT * FROM calls WHERE run_id = ? AND node = ? AND indexes = ? AND ordinal <> ? AND connection = ?"
                " AND key IS NOT NULL AND state <> 'unsent' ORDER BY id DESC",
                (*node, ordinal, connection),
            ).fetchall()
        return like(map(entry_of, rows), digest, assessment)

    def is_under_way(self, digest: str, connection: str, run_id: str) -> bool:
        """Whether an equal call of another run has no outcome yet, as far as anybody wrote."""
        with self._database.reading() as db:
            row = db.execute(
                "SELECT 1 FROM calls WHERE digest = ? AND connection = ? AND run_id <> ?"  # noqa: S608 # fixed
                f" AND state = 'open' AND state IN {_UNSETTLED}",  # the second for the index
                (digest, connection, run_id),
            ).fetchone()
        return row is not None

    def settled_by(self, entry: Entry) -> str:
        """The commands that settle a call whose outcome is unknown."""
        with self._database.reading() as db:
            return _settled_by(db, entry.run_id, entry.id)

    def open(self, new: NewCall, rules: Rules) -> Entry:
        """Write the row of a call that is about to be sent; durable when this returns.

        In the same transaction: the cap is reserved, the approval used up, `once` claimed.
        Raises `RefusedError` (cap, approval, plan order) and `OutcomeUnknownError` (an equal call,
        or the same `once`, is unsettled); then nothing was written.
        """
        now = int(self._clock())
        run_id, connection = new.position.run_id, new.connection
        with self._database.writing() as db:
            _refuse_twin(db, new.digest, connection.name, _place(new.position), new.once, new.refuse_twins)
            if new.effect is Effect.MONEY:
                _check_caps(db, connection.name, connection.mode, run_id, new.preview.amount, now, rules)
            if new.approval_digest:
                _use_approval(db, new.approval_digest, run_id, connection.name, now)
            entry_id = _insert(db, new, now)
            if new.once is not None:
                _claim_once(db, connection.name, new.operation, new.once, entry_id)
            if new.approval_digest:
                claim_planned(db, new.approval_digest, run_id, connection.name, entry_id)
            else:
                tie_to(db, key_of(new.position, new.generation), run_id, connection.name, entry_id)
            row = db.execute("SELECT * FROM calls WHERE id = ?", (entry_id,)).fetchone()
        return entry_of(row)

    def reopen(
        self,
        entry: Entry,
        rules: Rules,
        approval_digest: str | None = None,
        refuse_twins: RefuseTwins = "never",
    ) -> Entry:
        """Mark a row as being sent again under its own key; a row settled meanwhile comes back as it is.

        An unsent call holds neither its part of a cap nor its `once`, so both are taken anew.
        Raises `RefusedError` or `OutcomeUnknownError` where that fails.
        """
        now = int(self._clock())
        with self._database.writing() as db:
            row = db.execute("SELECT * FROM calls WHERE id = ?", (entry.id,)).fetchone()
            now_is = entry_of(row)
            if now_is.state is State.UNSENT:
                _refuse_twin(db, row["digest"], entry.connection, _place_of(row), entry.once, refuse_twins)
                if entry.effect == Effect.MONEY:
                    _check_caps(db, entry.connection, entry.mode, entry.run_id, entry.money, now, rules)
                if approval_digest:
                    _use_approval(db, approval_digest, entry.run_id, entry.connection, now, again=True)
                    claim_planned(db, approval_digest, entry.run_id, entry.connection, entry.id)
                else:
                    tie_to(db, row["key"], entry.run_id, entry.connection, entry.id)
                if entry.once is not None:
                    _claim_once(db, entry.connection, entry.operation, entry.once, entry.id)
                db.execute("UPDATE calls SET state = 'open', first_sent = ? WHERE id = ?", (now, entry.id))
            elif now_is.state.unsettled:
                # Not `open`: a refusal of this attempt must not pass for one of the attempts before.
                db.execute("UPDATE calls SET state = 'unknown' WHERE id = ?", (entry.id,))
        return self.get(entry.id)

    def finish(self, entry: Entry, body: JsonObject, meta: Meta) -> Entry:
        """Record that the call was carried out, even where a person said meanwhile that it was not."""
        object_id = body.get("id")
        return self._settle(
            entry,
            State.DONE,
            result=json.dumps(redact_object(body)),
            object_id=object_id if isinstance(object_id, str) else None,
            meta=meta,
        )

    def fail(self, entry: Entry, error: SpojitError, meta: Meta) -> Entry:
        """Record an error: unknown, unsent, or failed for good. A settled row stays as it is."""
        return self._settle(entry, _state_after(error), error=error, meta=meta)

    def _settle(
        self,
        entry: Entry,
        state: State,
        *,
        meta: Meta,
        result: str | None = None,
        object_id: str | None = None,
        error: SpojitError | None = None,
    ) -> Entry:
        now = int(self._clock())
        with self._database.writing() as db:
            before = entry_of(db.execute("SELECT * FROM calls WHERE id = ?", (entry.id,)).fetchone())
            if before.state is State.DONE or (error and before.state is State.FAILED):
                return before
            if error and before.state is State.UNKNOWN and not isinstance(error, InvalidRequestError | DeclinedError):
                error, state = _still_unknown(error), State.UNKNOWN
            db.execute(
                "UPDATE calls SET state = ?, result = ?, object_id = ?, error = ?, finished = ?, request_ids = ?,"
                " attempts = attempts + ?, replayed = ?, livemode = ? WHERE id = ?",
                (
                    state.value,
                    result,
                    object_id,
                    json.dumps(redact_object(error.to_json())) if error else None,
                    now,
                    json.dumps([*before.request_ids, *meta.request_ids]),
                    meta.attempts,
                    meta.replayed,
                    meta.livemode,
                    entry.id,
                ),
            )
            row = db.execute("SELECT * FROM calls WHERE id = ?", (entry.id,)).fetchone()
        return entry_of(row)

    def resolve(self, entry_id: int, *, found: JsonObject | None, who: str, note: str) -> Entry:
        """Settle an unknown outcome by word of a person or by a look-up.

        `found` is the object that the call made, None when it made nothing.
        Raises `InputError` where the row is not unsettled.
        """
        entry = self.get(entry_id)
        if not entry.state.unsettled:
            raise InputError(f"ledger entry {entry_id} is {entry.state}, not unknown; there is nothing to resolve")
        state = State.FAILED if found is None else State.DONE
        error = None
        if found is None:
            error = json.dumps(
                {"error": "ServiceError", "action": "stop", "message": f"{who} recorded that nothing took effect"}
            )
        resolution = json.dumps({"by": who, "note": redact_text(note), "at": int(self._clock())})
        with self._database.writing() as db:
            changed = db.execute(
                "UPDATE calls SET state = ?, result = ?, object_id = ?, error = ?, finished = ?, resolution = ?"
                " WHERE id = ? AND state IN ('open', 'unknown')",
                (
                    state.value,
                    json.dumps(redact_object(found)) if found is not None else None,
                    found.get("id") if found else None,
                    error,
                    int(self._clock()),
                    resolution,
                    entry_id,
                ),
            ).rowcount
        if not changed:
            raise InputError(f"ledger entry {entry_id} was settled meanwhile")
        return self.get(entry_id)

    def entries(
        self,
        *,
        run_id: str | None = None,
        state: State | None = None,
        writes_only: bool = False,
        limit: int | None = None,
    ) -> Iterator[Entry]:
        """Rows, newest first."""
        where = ["1"]
        values: list[str | int] = []
        if run_id is not None:
            where.append("run_id = ?")
            values.append(run_id)
        if state is not None:
            where.append("state = ?")
            values.append(state.value)
        if writes_only:
            where.append("key IS NOT NULL")
        query = f"SELECT * FROM calls WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"  # noqa: S608 # fixed words only
        with self._database.reading() as db:
            rows = db.execute(query, (*values, -1 if limit is None else limit)).fetchall()
        for row in rows:
            yield entry_of(row)


def _place(position: Position) -> tuple[str, str, str, int]:
    return position.run_id, position.node, "/".join(map(str, position.indexes)), position.ordinal


def _place_of(row: sqlite3.Row) -> tuple[str, str, str, int]:
    return row["run_id"], row["node"], row["indexes"], row["ordinal"]


def _refuse_twin(
    db: sqlite3.Connection,
    digest: str,
    connection: str,
    place: tuple[str, str, str, int],
    once: str | None,
    refuse_twins: RefuseTwins,
) -> None:
    if refuse_twins == "never":
        return
    rows = db.execute(
        f"SELECT * FROM calls WHERE digest = ? AND connection = ? AND state IN {_UNSETTLED}",  # noqa: S608 # fixed
        (digest, connection),
    )
    for row in rows:
        run_id = row["run_id"]
        if once is not None and row["once"] not in (None, once):
            continue  # their author says that they are two
        if run_id != place[0] or (refuse_twins == "always" and _place_of(row) != place):
            raise OutcomeUnknownError(
                f"ledger entry {row['id']} (run {run_id}) is the same call and its outcome is unknown; settle it "
                f"first: {_settled_by(db, run_id, row['id'])}"
            )


def _settled_by(db: sqlite3.Connection, run_id: str, entry_id: int) -> str:
    of_workflow = db.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone()
    how = f"`spojit-stripe runs resume {run_id}`" if of_workflow else f"repeat its own command with --run-id {run_id}"
    return f"{how}, or `spojit-stripe ledger resolve {entry_id}`"


def _state_after(error: SpojitError) -> State:
    """Where an error leaves a call that was sent for the first time."""
    if isinstance(error, OutcomeUnknownError):
        return State.UNKNOWN
    # The key was used for another request, whose outcome nobody here knows.
    key_is_used = isinstance(error, ConflictError) and error.problem.type == "idempotency_error"
    if key_is_used or isinstance(error, InvalidRequestError | DeclinedError):
        return State.FAILED
    return State.UNSENT


def _still_unknown(error: SpojitError) -> OutcomeUnknownError:
    if isinstance(error, OutcomeUnknownError):
        return error
    problem = error.problem if isinstance(error, ServiceError) else Problem()
    return OutcomeUnknownError(
        f"an earlier attempt may have taken effect, and sending it again under its key did not tell: {error}", problem
    )


def _check_caps(
    db: sqlite3.Connection,
    connection: str,
    mode: str,
    run_id: str,
    amount: Amount | None,
    now: int,
    rules: Rules,
) -> None:
    scope = Scope(connection, mode, run_id, amount.currency if amount else "")
    check_spending(amount, spent(db, scope, now), rules)


def _use_approval(
    db: sqlite3.Connection, digest: str, run_id: str, connection: str, now: int, *, again: bool = False
) -> None:
    """Use up what allows this call: its own approval, or that of the plan it is part of.

    `again`: an approval that this very call has used without being sent still holds.
    """
    approval = db.execute("SELECT * FROM approvals WHERE digest = ?", (digest,)).fetchone()
    if approval is None:
        if not may_run_planned(db, digest, run_id, connection, now, again=again):
            raise RefusedError("nobody has approved this call, or the plan it was part of has changed or expired")
        return
    if approval["state"] not in (("approved", "used") if again else ("approved",)) or approval["expires"] < now:
        raise RefusedError(f"approval {approval['id']} is {approval['state']} or expired; it can't be used")
    db.execute("UPDATE approvals SET state = 'used' WHERE digest = ?", (digest,))


def _insert(db: sqlite3.Connection, new: NewCall, now: int) -> int:
    preview = new.preview
    key = key_of(new.position, new.generation)
    run_id, node, indexes, ordinal = _place(new.position)
    columns: Mapping[str, object] = {
        "effect": new.effect.value,
        "state": State.OPEN.value,
        "run_id": run_id,
        "node": node,
        "indexes": indexes,
        "ordinal": ordinal,
        "generation": new.generation,
        "key": key,
        "digest": new.digest,
        "connection": new.connection.name,
        "mode": new.connection.mode,
        "account": preview.account,
        "base_url": new.connection.base_url,
        "api_version": new.api_version,
        "tool": preview.tool,
        "operation": new.operation,
        "path": redact_text(preview.path),
        "params": json.dumps(redact_object(preview.params)),
        "additions": json.dumps(new.additions),
        "stamped": new.stamped,
        "amount": preview.amount.amount if preview.amount else None,
        "currency": preview.amount.currency if preview.amount else None,
        "target": redact_text(preview.target) if preview.target else None,
        "once": new.once,
        "created": now,
        "first_sent": now,
    }
    names = ", ".join(columns)
    marks = ", ".join("?" * len(columns))
    try:
        done = db.execute(f"INSERT INTO calls ({names}) VALUES ({marks})", tuple(columns.values()))  # noqa: S608
    except sqlite3.IntegrityError:
        raise RefusedError(f"key {key} was taken by another process meanwhile; ask again for its outcome") from None
    return cast("int", done.lastrowid)


def _claim_once(db: sqlite3.Connection, connection: str, operation: str, value: str, entry_id: int) -> None:
    """A definite failure frees the value again; anything else keeps it for ever."""
    held = db.execute(
        "SELECT calls.id, calls.state FROM once JOIN calls ON calls.id = once.call_id"
        " WHERE once.connection = ? AND once.operation = ? AND once.value = ?",
        (connection, operation, value),
    ).fetchone()
    if held and held["id"] != entry_id:
        if held["state"] == State.DONE:
            raise RefusedError(f"once {value!r} was taken by ledger entry {held['id']} meanwhile")
        if State(held["state"]).unsettled:
            raise OutcomeUnknownError(
                f"once {value!r} is held by ledger entry {held['id']}, whose outcome is unknown; settle that first"
            )
    db.execute(
        "INSERT INTO once VALUES (?, ?, ?, ?)"
        " ON CONFLICT (connection, operation, value) DO UPDATE SET call_id = excluded.call_id",
        (connection, operation, value, entry_id),
    )

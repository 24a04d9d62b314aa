"""Approvals and plans: what waits for a person, and what the person said.

An approval is bound to a digest, expires, is used once, and is given through the command
line, never by a model.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from spojit_stripe.errors import InputError, RefusedError
from spojit_stripe.policy import Rules, Spent, check_spending
from spojit_stripe.records.database import Database
from spojit_stripe.records.spending import Scope, spent
from spojit_stripe.redact import redact_object, redact_text
from spojit_stripe.values import Effect, JsonObject, Position, Preview

__all__ = ["Approval", "Approvals"]

LIFETIME_SECONDS = 7 * 86_400
Decision = Literal["approved", "rejected"]

_PlanScope: TypeAlias = tuple[str, str, str]  # run, connection, owner
_OF_KEY: Final = "run_id = ? AND connection = ? AND json_extract(preview, '$.idempotency_key') = ?"
_OWNER: Final = "(SELECT owner FROM planned WHERE run_id = ?1 AND connection = ?2 AND digest = ?3)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One question to a person. `kind` is `call`, `plan` or `human`; times are Unix seconds.

    `owner` is the agent that asks, by its place; empty where a workflow's own node does.
    """

    id: str
    kind: str
    digest: str
    run_id: str
    connection: str
    reason: str
    preview: JsonObject
    state: str
    requested: int
    expires: int
    decided: int | None
    decided_by: str | None
    note: str | None
    owner: str

    def standing(self, now: float) -> str:
        """Its state; `expired` where nobody decided in time."""
        return "expired" if self.state == "pending" and self.expires < now else self.state

    def rejection(self) -> RefusedError:
        """What a rejected call ends with."""
        why = f": {self.note}" if self.note else ""
        return RefusedError(f"{self.decided_by or 'a person'} rejected the call{why}; that is final for this run")

    def to_json(self) -> JsonObject:
        return {name: getattr(self, name) for name in Approval.__slots__ if getattr(self, name) not in (None, "")}


class Approvals:
    """The approvals of one state folder. All methods block."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def ask(self, digest: str, run_id: str, preview: Preview, reason: str, *, owner: str = "") -> Approval:
        """The approval of exactly this call: asked for now, or as it stands already.

        An expired question is asked anew.
        """
        now = int(self._clock())
        with self._database.writing() as db:
            told = redact_object(preview.to_json())
            self._put(db, "call", digest, run_id, preview.connection, reason, told, now, owner=owner)
            row = db.execute("SELECT * FROM approvals WHERE digest = ?", (digest,)).fetchone()
        return _approval(row)

    def _put(
        self,
        db: sqlite3.Connection,
        kind: str,
        digest: str,
        run_id: str,
        connection: str,
        reason: str,
        preview: Mapping[str, object],
        now: int,
        *,
        owner: str = "",
    ) -> None:
        db.execute(
            "INSERT INTO approvals VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?, NULL, NULL, NULL, ?)"
            " ON CONFLICT (digest) DO UPDATE SET state = 'pending', requested = excluded.requested,"
            " expires = excluded.expires, decided = NULL, decided_by = NULL, note = NULL"
            " WHERE approvals.state = 'superseded'"
            " OR (approvals.state <> 'rejected' AND approvals.expires < excluded.requested)",
            (
                f"apr_{digest[:12]}",
                kind,
                digest,
                run_id,
                connection,
                redact_text(reason),
                json.dumps(preview),
                now,
                now + LIFETIME_SECONDS,
                owner,
            ),
        )

    def ask_person(self, digest: str, run_id: str, question: JsonObject, *, reason: str, seconds: float) -> Approval:
        """A question of a workflow to a person, kind `human`: asked now, or as it stands already.

        One that nobody answered in time is asked anew.
        """
        now = int(self._clock())
        with self._database.writing() as db:
            self._put(db, "human", digest, run_id, "", reason, redact_object(question), now)
            db.execute(
                "UPDATE approvals SET expires = ? WHERE digest = ? AND state = 'pending' AND requested = ?",
                (now + int(seconds), digest, now),
            )
            row = db.execute("SELECT * FROM approvals WHERE digest = ?", (digest,)).fetchone()
        return _approval(row)

    def get(self, approval_id: str) -> Approval:
        """Raises `InputError` where there is no such approval."""
        found = self.find(approval_id)
        if found is None:
            raise InputError(f"no approval {approval_id!r}; `spojit-stripe approvals list` shows what waits")
        return found

    def find(self, approval_id: str) -> Approval | None:
        """The approval of that id, if there is one."""
        with self._database.reading() as db:
            row = db.execute("SELECT * FROM approvals WHERE id = ?", (approval_id,)).fetchone()
        return _approval(row) if row else None

    def list(self, *, state: str | None = None) -> list[Approval]:
        """Approvals, newest first; `state` as `Approval.standing` tells it."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT * FROM approvals WHERE ?1 IS NULL OR state = ?1 ORDER BY requested DESC, id",
                ("pending" if state == "expired" else state,),
            ).fetchall()
        now = int(self._clock())
        return [one for one in map(_approval, rows) if state is None or one.standing(now) == state]

    def decide(self, approval_id: str, decision: Decision, *, who: str, note: str = "") -> Approval:
        """Record a person's decision. Raises `InputError` where it was decided or has expired."""
        now = int(self._clock())
        with self._database.writing() as db:
            changed = db.execute(
                "UPDATE approvals SET state = ?, decided = ?, decided_by = ?, note = ?"
                " WHERE id = ? AND state = 'pending' AND expires >= ?",
                (decision, now, who, redact_text(note) or None, approval_id, now),
            ).rowcount
        if not changed:
            found = self.get(approval_id)
            state = found.state if found.state != "pending" else "expired"
            raise InputError(f"approval {approval_id} is {state} already; nothing was changed")
        return self.get(approval_id)

    def lapse(self, approval_id: str) -> bool:
        """Nobody waits for it any more: who decides it now is told that it has expired. False where it was decided.

        The same call may ask anew.
        """
        with self._database.writing() as db:
            changed = db.execute(
                "UPDATE approvals SET expires = min(expires, ?) WHERE id = ? AND state = 'pending'",
                (int(self._clock()) - 1, approval_id),
            ).rowcount
        return bool(changed)

    def check_no_repeat(self, digest: str, run_id: str, preview: Preview, *, intended: bool, owner: str = "") -> None:
        """Raise `RefusedError` where an agent asks again what a person has rejected, or plans a call twice.

        Another agent of the run, or the same for another item of a loop, may do the same by right.
        """
        scope = (run_id, preview.connection, owner)
        with self._database.reading() as db:
            rejected = db.execute(
                "SELECT preview, decided_by FROM approvals WHERE run_id = ? AND connection = ? AND owner IN ('', ?)"
                " AND digest <> ? AND kind = 'call' AND state = 'rejected'",
                (*scope, digest),
            ).fetchall()
            planned = db.execute(
                "SELECT number, digest, preview FROM planned WHERE run_id = ? AND connection = ? AND owner IN ('', ?)",
                scope,
            ).fetchall()
        for row in rejected:
            if _is_like(json.loads(row["preview"]), preview):
                raise RefusedError(
                    f"{row['decided_by'] or 'a person'} rejected this call already; it is not asked again"
                )
        if any(row["digest"] == digest for row in planned):
            return
        for row in planned:
            if not intended and _is_like(json.loads(row["preview"]), preview):
                raise RefusedError(f"this is call {row['number']} of the plan already; nothing was added to it")

    def check_not_rejected(self, key: str, run_id: str, connection: str) -> None:
        """Raise `RefusedError` where a person has rejected the call with this key, or its plan.

        By the key, not the digest: an amount that is looked up may be another by now.
        """
        scope = (run_id, connection, key)
        with self._database.reading() as db:
            row = db.execute(
                f"SELECT * FROM approvals WHERE {_OF_KEY} AND kind = 'call' AND state = 'rejected'",  # noqa: S608 # fixed
                scope,
            ).fetchone()
            owner = db.execute(f"SELECT owner FROM planned WHERE {_OF_KEY}", scope).fetchone()  # noqa: S608 # fixed
            of_plan = owner is not None and _is_rejected(db, (run_id, connection, owner["owner"]))
        if row is not None:
            raise _approval(row).rejection()
        if of_plan:
            raise _plan_rejected(run_id)

    # Plans

    def of_plan(self, digest: str) -> Approval:
        """The approval of the plan with this digest. Raises `InputError` where there is none."""
        with self._database.reading() as db:
            row = db.execute("SELECT * FROM approvals WHERE digest = ? AND kind = 'plan'", (digest,)).fetchone()
        if row is None:
            raise InputError("no such plan; `spojit-stripe approvals list` shows what waits")
        return _approval(row)

    def plan(
        self, digest: str, at: Position, preview: Preview, reason: str, rules: Rules, *, owner: str = ""
    ) -> tuple[int, Approval]:
        """Note a call as the next of its plan; the same call keeps its number.

        A run has one plan on a connection, and each `owner` in it one of its own. A call that
        failed and is tried anew takes the number that it had. Adding a call, or trying one anew,
        makes another plan, which needs another approval. Raises `RefusedError` where the plan's
        total would go over a cap.
        """
        now = int(self._clock())
        run_id = at.run_id
        with self._database.writing() as db:
            row = db.execute(
                "SELECT number, owner FROM planned WHERE run_id = ? AND connection = ? AND digest = ?",
                (run_id, preview.connection, digest),
            ).fetchone()
            scope = (run_id, preview.connection, str(row["owner"]) if row else owner)
            before, _ = _plan(db, scope)
            number = int(row["number"]) if row else _add_planned(db, scope, digest, at, preview, rules, now)
            plan_digest, calls = _plan(db, scope)
            db.execute(
                "UPDATE approvals SET state = 'superseded' WHERE digest = ? AND state = 'pending' AND digest <> ?",
                (before, plan_digest),
            )
            told = {"calls": calls}
            self._put(db, "plan", plan_digest, run_id, preview.connection, reason, told, now, owner=scope[2])
            row = db.execute("SELECT * FROM approvals WHERE digest = ?", (plan_digest,)).fetchone()
        return number, _approval(row)

    def may_run_planned(self, digest: str, run_id: str, connection: str, *, again: bool = False) -> bool:
        """`may_run_planned` now; `Ledger.open` looks again in its transaction."""
        with self._database.reading() as db:
            return may_run_planned(db, digest, run_id, connection, int(self._clock()), again=again)


def _is_like(record: JsonObject, preview: Preview) -> bool:
    """The same money of the same object, or the same request."""
    now = redact_object(preview.to_json())
    if now["amount"] is not None and now["target"] is not None:
        return all(record.get(name) == now[name] for name in ("amount", "target"))
    return all(record.get(name) == now[name] for name in ("method", "path", "params"))


def _add_planned(
    db: sqlite3.Connection,
    scope: _PlanScope,
    digest: str,
    at: Position,
    preview: Preview,
    rules: Rules,
    now: int,
) -> int:
    """Put a call into its plan, at the place of the one that failed there, else at the end."""
    replaced = db.execute(  # planned there, and not carried out: what it would do has changed meanwhile
        "SELECT number FROM planned WHERE run_id = ? AND connection = ? AND owner = ? AND call_id IS NULL"
        " AND json_extract(preview, '$.idempotency_key') = ?",
        (*scope, preview.idempotency_key),
    ).fetchone()
    if replaced:
        db.execute(
            "DELETE FROM planned WHERE run_id = ? AND connection = ? AND owner = ? AND number = ?",
            (*scope, replaced[0]),
        )
    if preview.effect is Effect.MONEY:
        check_spending(preview.amount, _spending(db, scope[:2], preview, now), rules)
    taken_over = (
        replaced
        or db.execute(
            "SELECT planned.number FROM planned JOIN calls ON calls.id = planned.call_id"
            " WHERE planned.run_id = ? AND planned.connection = ? AND planned.owner = ? AND calls.state = 'failed'"
            " AND calls.node = ? AND calls.indexes = ? AND calls.ordinal = ?",
            (*scope, at.node, "/".join(map(str, at.indexes)), at.ordinal),
        ).fetchone()
    )
    (count,) = db.execute(
        "SELECT count(*) FROM planned WHERE run_id = ? AND connection = ? AND owner = ?", scope
    ).fetchone()
    number = int(taken_over["number"]) if taken_over else int(count) + 1
    amount = preview.amount
    db.execute(
        "INSERT OR REPLACE INTO planned VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
        (
            *scope,
            number,
            digest,
            json.dumps(redact_object(preview.to_json())),
            amount.amount if amount else None,
            amount.currency if amount else None,
        ),
    )
    return number


def may_run_planned(
    db: sqlite3.Connection, digest: str, run_id: str, connection: str, now: int, *, again: bool = False
) -> bool:
    """Whether this call is the next of an approved plan; `again` where it was begun but not sent.

    Raises `RefusedError` where the plan is rejected, or an earlier call of it did not succeed.
    """
    rows = db.execute(
        "SELECT planned.number, planned.digest, calls.state FROM planned"  # noqa: S608 # fixed
        " LEFT JOIN calls ON calls.id = planned.call_id"
        f" WHERE planned.run_id = ?1 AND planned.connection = ?2 AND planned.owner = {_OWNER}"
        " ORDER BY planned.number",
        (run_id, connection, digest),
    ).fetchall()
    digests = [row["digest"] for row in rows]
    if digest not in digests:
        return False
    approval = db.execute("SELECT state, expires FROM approvals WHERE digest = ?", (_digest_of(digests),)).fetchone()
    if approval["state"] == "rejected":
        raise _plan_rejected(run_id)
    if approval["state"] not in (("approved", "used") if again else ("approved",)) or approval["expires"] < now:
        return False
    for row in rows[: digests.index(digest)]:
        if row["state"] != "done":
            raise RefusedError(f"call {row['number']} of the plan comes first and is {row['state'] or 'not run yet'}")
    return True


def claim_planned(db: sqlite3.Connection, digest: str, run_id: str, connection: str, call_id: int) -> None:
    """Tie a planned call to its ledger row; the last one uses the plan's approval up."""
    scope = (run_id, connection)
    changed = db.execute(
        "UPDATE planned SET call_id = ? WHERE run_id = ? AND connection = ? AND digest = ?", (call_id, *scope, digest)
    ).rowcount
    if not changed:
        return
    rows = db.execute(
        f"SELECT digest, call_id FROM planned WHERE run_id = ?1 AND connection = ?2 AND owner = {_OWNER}"  # noqa: S608 # fixed
        " ORDER BY number",
        (*scope, digest),
    ).fetchall()
    if all(row["call_id"] is not None for row in rows):
        plan_digest = _digest_of(row["digest"] for row in rows)
        # One that nobody gave was not used: where the call turns out to be unsent, it is asked about anew.
        db.execute(
            "UPDATE approvals SET state = iif(state = 'pending', 'superseded', 'used')"
            " WHERE digest = ? AND state <> 'rejected'",
            (plan_digest,),
        )


def tie_to(db: sqlite3.Connection, key: str, run_id: str, connection: str, call_id: int) -> None:
    """Close what was asked or planned of a call that went without: `once` answered it, or policy allows it by now."""
    scope = (run_id, connection, key)
    row = db.execute(f"SELECT digest FROM planned WHERE {_OF_KEY} AND call_id IS NULL", scope).fetchone()  # noqa: S608
    if row is not None:
        claim_planned(db, row["digest"], run_id, connection, call_id)
    db.execute(
        f"UPDATE approvals SET state = 'superseded' WHERE {_OF_KEY} AND kind = 'call' AND state = 'pending'",  # noqa: S608
        scope,
    )


def _spending(db: sqlite3.Connection, scope: tuple[str, str], preview: Preview, now: int) -> Spent:
    """What the run has used already and what it plans to use: caps are on the total."""
    run_id, connection = scope
    currency = preview.amount.currency if preview.amount else ""
    so_far = spent(db, Scope(connection, preview.mode, run_id, currency), now)
    owners = [
        row[0] for row in db.execute("SELECT DISTINCT owner FROM planned WHERE run_id = ? AND connection = ?", scope)
    ]
    rejected = [owner for owner in owners if _is_rejected(db, (*scope, owner))]
    row = db.execute(
        "SELECT count(*), coalesce(sum(currency = ?1), 0), coalesce(sum(abs(amount)) FILTER (WHERE currency = ?1), 0)"
        " FROM planned WHERE run_id = ?2 AND connection = ?3 AND call_id IS NULL"
        " AND json_extract(preview, '$.effect') = 'money' AND owner NOT IN (SELECT value FROM json_each(?4))",
        (currency, *scope, json.dumps(rejected)),
    ).fetchone()
    return Spent(
        count=so_far.count + row[0],
        count_in_currency=so_far.count_in_currency + row[1],
        in_run=so_far.in_run + row[2],
        in_day=so_far.in_day + row[2],
    )


def _plan_rejected(run_id: str) -> RefusedError:
    return RefusedError(f"the plan of run {run_id} was rejected; that is final for this run")


def _is_rejected(db: sqlite3.Connection, scope: _PlanScope) -> bool:
    digest, _ = _plan(db, scope)
    row = db.execute("SELECT state FROM approvals WHERE digest = ?", (digest,)).fetchone()
    return row is not None and row["state"] == "rejected"


def _plan(db: sqlite3.Connection, scope: _PlanScope) -> tuple[str, list[JsonObject]]:
    rows = db.execute(
        "SELECT digest, preview FROM planned WHERE run_id = ? AND connection = ? AND owner = ? ORDER BY number", scope
    ).fetchall()
    return _digest_of(row["digest"] for row in rows), [json.loads(row["preview"]) for row in rows]


def _digest_of(digests: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _approval(row: sqlite3.Row) -> Approval:
    return Approval(**{**dict(row), "preview": json.loads(row["preview"])})

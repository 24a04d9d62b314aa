"""What money calls of a run and a day have used: the sums that caps are held against."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from spojit_stripe.policy import Spent

__all__ = ["Scope", "spent"]

_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose money is added up; `currency` is empty where no amount is known."""

    connection: str
    mode: str
    run_id: str
    currency: str


def spent(db: sqlite3.Connection, scope: Scope, now: int) -> Spent:
    """Sums over money calls that took effect or may have; a day is one of UTC."""
    counted = "effect = 'money' AND state IN ('open', 'unknown', 'done') AND connection = ? AND mode = ?"
    whose = (scope.connection, scope.mode)
    currency = scope.currency
    run = db.execute(
        "SELECT count(*), coalesce(sum(currency = ?), 0), coalesce(sum(abs(amount)) FILTER (WHERE currency = ?), 0)"  # noqa: S608 # fixed words only
        f" FROM calls WHERE {counted} AND run_id = ?",
        (currency, currency, *whose, scope.run_id),
    ).fetchone()
    day = db.execute(
        f"SELECT coalesce(sum(abs(amount)), 0) FROM calls WHERE {counted} AND currency = ? AND first_sent >= ?",  # noqa: S608
        (*whose, currency, now - now % _DAY),
    ).fetchone()
    return Spent(count=run[0], count_in_currency=run[1], in_run=run[2], in_day=day[0])

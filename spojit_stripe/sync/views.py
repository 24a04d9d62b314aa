"""Views over synced tables: what is in each payout, and whether it adds up to the last unit.

The SQL is what SQLite, PostgreSQL and DuckDB share. Amounts are integers all the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from spojit_stripe.sync.resources import LINKS

__all__ = ["CATEGORIES", "RETURNED", "TEXTS", "VIEWS", "View"]

RETURNED: Final = ("canceled", "failed")
"""The statuses of a payout whose amount came back to the balance: whatever it settled, it paid nothing."""

# Stripe's reporting categories (https://docs.stripe.com/reports/reporting-categories), and for a
# transaction without one its type. What is in none of them is an adjustment.
CATEGORIES: Final = {
    "gross": ("charge", "charge_failure", "payment"),
    "refunds": (
        "refund",
        "refund_failure",
        "partial_capture_reversal",
        "payment_refund",
        "payment_failure_refund",
    ),
    "disputes": ("dispute", "dispute_reversal"),
    "fees": ("fee", "network_cost", "tax", "stripe_fee"),
}


@dataclass(frozen=True, slots=True)
class View:
    """A view, and the tables that it needs.

    `columns` are those of its first version, and the first line of `sql` is that version's too: by
    them a view that an earlier version made is known. Later columns come last: those `added`.
    """

    tables: tuple[str, ...]
    columns: tuple[str, ...]
    sql: str
    added: tuple[str, ...] = ()


def _category() -> str:
    cases = [
        f"WHEN coalesce(b.reporting_category, b.type) IN ({', '.join(repr(one) for one in names)}) THEN '{category}'"
        for category, names in CATEGORIES.items()
    ]
    return f"CASE {' '.join(cases)} WHEN b.id IS NULL THEN 'missing' ELSE 'adjustments' END"


_LINES: Final = f"""
SELECT p.id AS payout, p.arrival_date, l.balance_transaction, coalesce(b.currency, p.currency) AS currency,
    {_category()} AS category, b.type, b.source, b.amount, b.fee, b.net, b.created
FROM payouts p
JOIN {LINKS} l ON l.payout = p.id
LEFT JOIN balance_transactions b ON b.id = l.balance_transaction
WHERE p.automatic AND l.balance_transaction <> coalesce(p.balance_transaction, '')
"""  # noqa: S608 # of constants


def _sum(expression: str) -> str:
    return f"CAST(coalesce(sum({expression}), 0) AS BIGINT)"


def _of(category: str) -> str:
    return _sum(f"CASE WHEN l.category = '{category}' THEN l.amount ELSE 0 END")


_PAID: Final = "CASE WHEN c.currency = p.currency THEN p.amount ELSE 0 END"

_ADDS_UP: Final = "r.amount = r.net AND r.unbalanced = 0 AND r.missing = 0"
_CAME_BACK: Final = f"coalesce(r.status, '') IN ({', '.join(repr(one) for one in RETURNED)})"

# A column that is added comes last: PostgreSQL replaces no view otherwise.
_RECONCILIATION: Final = f"""
SELECT r.*, r.amount - r.net AS variance,
    CASE WHEN {_ADDS_UP} AND NOT {_CAME_BACK} THEN 1 ELSE 0 END AS reconciled,
    CASE WHEN NOT ({_ADDS_UP}) THEN 'unreconciled' WHEN {_CAME_BACK} THEN 'returned' ELSE 'reconciled' END AS outcome
FROM (
    SELECT p.id AS payout, c.currency, min(p.status) AS status, min(p.arrival_date) AS arrival_date,
        min({_PAID}) AS amount,
        {_of("gross")} AS gross, {_of("refunds")} AS refunds, {_of("disputes")} AS disputes,
        {_of("adjustments")} AS adjustments,
        {_sum("CASE WHEN l.category = 'fees' THEN l.amount ELSE 0 END - coalesce(l.fee, 0)")} AS fees,
        {_sum("l.amount - l.fee")} AS net,
        {_sum("l.amount - l.fee - l.net")} AS unbalanced,
        count(l.balance_transaction) AS transactions,
        {_sum("CASE WHEN l.category = 'missing' THEN 1 ELSE 0 END")} AS missing
    FROM payouts p
    JOIN (SELECT id AS payout, currency FROM payouts UNION SELECT payout, currency FROM payout_lines) c
        ON c.payout = p.id
    LEFT JOIN payout_lines l ON l.payout = p.id AND l.currency = c.currency
    WHERE p.automatic AND p.deleted_at IS NULL AND coalesce(p.reconciliation_status, 'completed') = 'completed'
    GROUP BY p.id, c.currency
) r
"""  # noqa: S608 # of constants

_TABLES: Final = ("payouts", "balance_transactions", LINKS)
_LINES_COLUMNS: Final = (
    *("payout", "arrival_date", "balance_transaction", "currency", "category", "type"),
    *("source", "amount", "fee", "net", "created"),
)
_RECONCILIATION_COLUMNS: Final = (
    *("payout", "currency", "status", "arrival_date", "amount", "gross", "refunds", "disputes", "adjustments", "fees"),
    *("net", "unbalanced", "transactions", "missing", "variance", "reconciled"),
)

TEXTS: Final = frozenset(
    ("payout", "balance_transaction", "currency", "category", "type", "source", "status", "outcome")
)
"""The columns of views that are text; the others are integers."""

VIEWS: Final = {
    "payout_lines": View(_TABLES, _LINES_COLUMNS, _LINES.strip()),
    "payout_reconciliation": View(_TABLES, _RECONCILIATION_COLUMNS, _RECONCILIATION.strip(), ("outcome",)),
}

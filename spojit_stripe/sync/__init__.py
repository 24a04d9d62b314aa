"""Stripe's objects in a database: the whole history once, then what was made, changed or deleted.

    run ─► work (one resource) ─► reader ─► rows ─► destination
                                  (tool calls,      (SQLite, PostgreSQL,
                                   in the ledger)    a folder of Parquet)

`reconcile` checks that a payout is the sum of what it settled, from Stripe or from synced tables.
"""

from spojit_stripe.sync.destination import Destination
from spojit_stripe.sync.places import destination_of
from spojit_stripe.sync.reconcile import reconcile, reconcile_payout
from spojit_stripe.sync.report import Report, Synced, Tell
from spojit_stripe.sync.resources import RESOURCES
from spojit_stripe.sync.run import plan, sync

__all__ = [
    "RESOURCES",
    "Destination",
    "Report",
    "Synced",
    "Tell",
    "destination_of",
    "plan",
    "reconcile",
    "reconcile_payout",
    "sync",
]

"""Results of any size: artifacts under a hash, and SQL over them in a process of its own."""

from __future__ import annotations

from spojit_stripe.data.files import LostError
from spojit_stripe.data.keys import segment
from spojit_stripe.data.spool import SPOOL_BYTES, Spool
from spojit_stripe.data.sql import SqlError, SqlLimits, SqlResult, Table, run_sql
from spojit_stripe.data.store import ArtifactStore, freeze, thaw
from spojit_stripe.data.stored import StoredList, is_handle

__all__ = [
    "SPOOL_BYTES",
    "ArtifactStore",
    "LostError",
    "Spool",
    "SqlError",
    "SqlLimits",
    "SqlResult",
    "StoredList",
    "Table",
    "freeze",
    "is_handle",
    "run_sql",
    "segment",
    "thaw",
]

"""What was attempted and what was decided: the ledger, approvals and plans of one state folder."""

from spojit_stripe.records.approvals import Approval, Approvals
from spojit_stripe.records.database import Database, state_folder
from spojit_stripe.records.keys import call_digest, key_of, params_digest
from spojit_stripe.records.ledger import Entry, Ledger, NewCall, State
from spojit_stripe.records.readlog import ReadLog, ReadNote
from spojit_stripe.records.store import Records

__all__ = [
    "Approval",
    "Approvals",
    "Database",
    "Entry",
    "Ledger",
    "NewCall",
    "ReadLog",
    "ReadNote",
    "Records",
    "State",
    "call_digest",
    "key_of",
    "params_digest",
    "state_folder",
]

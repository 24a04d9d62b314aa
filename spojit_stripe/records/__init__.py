"""What was attempted and what was decided: the ledger, approvals and plans of one state folder."""

from spojit_stripe.records.approvals import Approval, Approvals
from spojit_stripe.records.database import Database, state_folder
from spojit_stripe.records.entry import Entry, State
from spojit_stripe.records.keys import call_digest, key_of, params_digest
from spojit_stripe.records.ledger import Ledger, NewCall
from spojit_stripe.records.likeness import Like
from spojit_stripe.records.readlog import ReadLog, ReadNote
from spojit_stripe.records.runs import NodeNote, Run, Runs, RunState, Wait
from spojit_stripe.records.store import Records

__all__ = [
    "Approval",
    "Approvals",
    "Database",
    "Entry",
    "Ledger",
    "Like",
    "NewCall",
    "NodeNote",
    "ReadLog",
    "ReadNote",
    "Records",
    "Run",
    "RunState",
    "Runs",
    "State",
    "Wait",
    "call_digest",
    "key_of",
    "params_digest",
    "state_folder",
]

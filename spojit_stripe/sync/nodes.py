"""A sync and a reconciliation as nodes of a workflow: node types that come in through the plug-in hooks.

Both are safe to do again, so a node that was under way when the process died simply is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final, cast

from spojit_stripe.errors import InputError, ServiceError
from spojit_stripe.sync.passwords import passwords_in
from spojit_stripe.sync.places import destination_of
from spojit_stripe.sync.reconcile import reconcile, reconcile_payout
from spojit_stripe.sync.report import Report
from spojit_stripe.sync.resources import RESOURCES
from spojit_stripe.sync.run import sync
from spojit_stripe.values import JsonObject, JsonValue
from spojit_stripe.workflow import NodeContext, NodeType

__all__ = ["NODE_TYPES"]

_REFERENCE: Final = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_REFUSED: Final = "to: holds a password, and workflows are recorded; write ${env:NAME} and set that variable"
_TEXT: Final[JsonObject] = {"type": "string", "minLength": 1}
_SYNC: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "connection": _TEXT,
        "resources": {"type": "array", "items": {"enum": [*RESOURCES]}, "minItems": 1},
        "to": {**_TEXT, "description": "sqlite:///file.db, folder.parquet, or ${env:NAME} with the URL of a database."},
        "full": {"type": "boolean", "default": False},
    },
    "required": ["connection", "resources", "to"],
}
_RECONCILE: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "connection": {**_TEXT, "description": "To read the payout and its transactions; then payout is an id."},
        "payout": {"type": ["string", "object"]},
        "transactions": {"type": "array", "description": "Its balance transactions, where they were read already."},
    },
    "required": ["payout"],
}


async def _sync(fields: JsonObject, context: NodeContext) -> JsonValue:
    names = cast("list[str]", fields["resources"])
    destination = destination_of(_place(str(fields["to"])))
    session = context.session(str(fields["connection"]))
    report = await sync(names, destination, session=session, run_id=context.run_id, full=fields.get("full") is True)
    _raise_first(report)
    return report.to_json()


def _place(text: str) -> str:
    """The destination with its reference resolved."""
    match = _REFERENCE.fullmatch(text.strip())
    if match is not None:
        found = os.environ.get(match[1])
        if not found:
            raise InputError(f"to: the environment variable {match[1]} is not set")
        return found
    if passwords_in(text):  # that a template gave: those in the file were found when it was read
        raise InputError(_REFUSED)
    return text


def _faults(fields: JsonObject) -> tuple[str, ...]:
    """What must not stand in a file: a run records its file before any node of it runs."""
    return (_REFUSED,) if passwords_in(str(fields.get("to"))) else ()


def _raise_first(report: Report) -> None:
    errors = [one for one in report.resources if one.error is not None]
    if errors and errors[0].error is not None:
        told = f"{errors[0].resource}: {errors[0].error.message}"
        if isinstance(errors[0].error, ServiceError):
            raise type(errors[0].error)(told, errors[0].error.problem)
        raise type(errors[0].error)(told)


async def _reconcile(fields: JsonObject, context: NodeContext) -> JsonValue:
    payout, transactions = fields["payout"], fields.get("transactions")
    if isinstance(payout, dict) and transactions is not None:
        return reconcile(payout, cast("Sequence[JsonObject]", transactions))
    if isinstance(payout, str) and transactions is None and "connection" in fields:
        session = context.session(str(fields["connection"]))
        return await reconcile_payout(payout, session=session, run_id=context.run_id)
    raise InputError("give a connection and the payout's id, or the payout and its transactions as they were read")


NODE_TYPES: Final = (
    NodeType(name="stripe-sync", schema=_SYNC, run=_sync, faults=_faults),
    NodeType(name="stripe-reconcile", schema=_RECONCILE, run=_reconcile),
)

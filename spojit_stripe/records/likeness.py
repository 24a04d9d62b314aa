"""When an agent's call is one that it has made already.

A money call is known by its target, amount and currency, whatever its tool and its words; any
call by its parameters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spojit_stripe.records.entry import Entry
from spojit_stripe.values import Assessment, Effect

__all__ = ["Like", "like"]


@dataclass(frozen=True, slots=True)
class Like:
    """An earlier call of an agent's node. `same`: it is the very call, not only the same money."""

    entry: Entry
    same: bool


def like(entries: Iterable[Entry], digest: str, assessment: Assessment) -> Like | None:
    """The first of `entries` that may have done what the assessed call would do."""
    amount = assessment.amount if assessment.effect is not Effect.WRITE else None
    found: Like | None = None
    for entry in entries:
        if entry.digest == digest:
            return Like(entry, same=True)
        if amount is None or entry.money != amount or entry.target != assessment.target:
            continue
        if _verb(entry.operation) == _verb(assessment.operation):
            return Like(entry, same=True)
        # A capture and a refund of one amount, say: a person can tell whether that is meant.
        if entry.target is not None and entry.error is None:
            found = found or Like(entry, same=False)
    return found


def _verb(operation: str) -> str:
    """What an operation does, in a word: `refund` of `POST /v1/refunds` and of `POST /v1/charges/{charge}/refund`."""
    named = [part for part in operation.split("/")[2:] if part and not part.startswith("{")]
    return named[-1].removesuffix("s") if named else operation

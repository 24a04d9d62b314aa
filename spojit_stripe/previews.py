"""What would be sent, as a value: for a dry run, an approval, a plug-in and the ledger."""

from __future__ import annotations

from dataclasses import replace

from spojit_stripe.connector import BoundCall
from spojit_stripe.policy import Verdict
from spojit_stripe.session import Session
from spojit_stripe.values import Assessment, Done, Failed, Outcome, Preview

__all__ = ["as_bound", "preview_of", "told"]


def as_bound(bound: BoundCall) -> Assessment:
    """The judgement of a call from its request alone, before anything is looked up."""
    return Assessment(effect=bound.effect, operation=bound.operation, params=bound.request.params)


def preview_of(
    bound: BoundCall, assessment: Assessment, session: Session, key: str | None, verdict: Verdict, reason: str
) -> Preview:
    """The preview of a call; `key` is its idempotency key, None for a read."""
    request = bound.request
    return Preview(
        tool=bound.tool,
        connection=session.connection.name,
        mode=session.connection.mode,
        account=request.account or session.connection.account,
        api_version=request.api_version or session.api_version,
        method=request.method,
        path=request.path,
        params=assessment.params,
        effect=assessment.effect,
        amount=assessment.amount,
        target=assessment.target,
        idempotency_key=key,
        decision=verdict.value,
        reason=reason,
    )


def told(session: Session, preview: Preview | None, outcome: Outcome) -> Outcome:
    """The outcome, with a warning where a plug-in failed to hear it."""
    if preview is None:
        return outcome
    warnings = session.tell_after_call(preview, outcome)
    if warnings and isinstance(outcome, Done | Failed):
        return replace(outcome, meta=replace(outcome.meta, warnings=(*outcome.meta.warnings, *warnings)))
    return outcome

"""Disputes: evidence, and how they end."""

from spojit_stripe.sandbox import payments
from spojit_stripe.sandbox.context import Answer, Context, assign, merge_metadata
from spojit_stripe.sandbox.errors import invalid
from spojit_stripe.sandbox.listing import list_objects
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.values import child, flag, integer, string, text

_OPEN = ("needs_response", "warning_needs_response")


@answers("GET", "/v1/disputes/{dispute}")
def retrieve(context: Context) -> Answer:
    """A dispute."""
    return context.get("dispute", context.ids["dispute"], "dispute").body


@answers("POST", "/v1/disputes/{dispute}")
def update(context: Context) -> Answer:
    """Keep or submit evidence. `winning_evidence` and `losing_evidence` decide it, as in Stripe's test mode."""
    record = context.get("dispute", context.ids["dispute"], "dispute")
    params, body = context.params, record.body
    merge_metadata(body, params)
    given = child(params, "evidence")
    if given:
        _check_open(record)
        evidence = dict(child(body, "evidence"))
        assign(evidence, given, *given)
        body["evidence"] = evidence
        child(body, "evidence_details")["has_evidence"] = True
    if given and params.get("submit") is not False:
        _submit(context, record, text(given, "uncategorized_text"))
    context.save(record, "charge.dispute.updated")
    return body


def _submit(context: Context, record: Record, told: str | None) -> None:
    details = child(record.body, "evidence_details")
    details["submission_count"] = integer(details, "submission_count") + 1
    details["submission_method"] = "manual"
    inquiry = string(record.body, "status").startswith("warning_")
    record.body["status"] = "warning_under_review" if inquiry else "under_review"
    if told in {"winning_evidence", "losing_evidence"}:
        payments.close_dispute(context, record, won=told == "winning_evidence")


@answers("POST", "/v1/disputes/{dispute}/close")
def close(context: Context) -> Answer:
    """Accept the dispute: it is lost."""
    record = context.get("dispute", context.ids["dispute"], "dispute")
    _check_open(record)
    payments.close_dispute(context, record, won=False)
    return record.body


def _check_open(record: Record) -> None:
    if record.body["status"] not in _OPEN or flag(child(record.body, "evidence_details"), "past_due"):
        raise invalid(f"This dispute is already closed or under review ({record.body['status']}).")


@answers("GET", "/v1/disputes")
def list_disputes(context: Context) -> Answer:
    """Disputes, newest first."""
    return list_objects(context, "dispute", {"charge": "charge", "payment_intent": "payment_intent"})

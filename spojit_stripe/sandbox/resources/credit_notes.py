"""Credit notes on invoices."""

from spojit_stripe.sandbox import crediting
from spojit_stripe.sandbox.context import Answer, Context, assign, merge_metadata
from spojit_stripe.sandbox.listing import list_objects, page_of
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.store import Record

_NOT_DONE = ("shipping_cost",)


@answers("POST", "/v1/credit_notes", without=_NOT_DONE)
def create(context: Context) -> Answer:
    """Credit a finalized invoice, in full or in part."""
    return crediting.issue(context, _invoice(context)).body


@answers("GET", "/v1/credit_notes/preview", without=_NOT_DONE)
def preview(context: Context) -> Answer:
    """What a credit note would be."""
    return crediting.draft(context, _invoice(context))[0]


@answers("GET", "/v1/credit_notes/preview/lines", without=_NOT_DONE)
def preview_lines(context: Context) -> Answer:
    """The lines that a credit note would have."""
    return page_of(context, crediting.draft(context, _invoice(context))[1])


@answers("GET", "/v1/credit_notes/{id}")
def retrieve(context: Context) -> Answer:
    """A credit note."""
    return context.get("credit_note", context.ids["id"]).body


@answers("POST", "/v1/credit_notes/{id}")
def update(context: Context) -> Answer:
    """Change a credit note's memo or metadata."""
    record = context.get("credit_note", context.ids["id"])
    assign(record.body, context.params, "memo")
    merge_metadata(record.body, context.params)
    context.save(record, "credit_note.updated")
    return record.body


@answers("POST", "/v1/credit_notes/{id}/void")
def void(context: Context) -> Answer:
    """Take a credit note of an open invoice back."""
    record = context.get("credit_note", context.ids["id"])
    crediting.void(context, record)
    return record.body


@answers("GET", "/v1/credit_notes/{credit_note}/lines")
def list_lines(context: Context) -> Answer:
    """All lines of a credit note."""
    return page_of(context, crediting.lines_of(context.get("credit_note", context.ids["credit_note"])))


@answers("GET", "/v1/credit_notes")
def list_notes(context: Context) -> Answer:
    """Credit notes, newest first."""
    return list_objects(context, "credit_note", {"customer": "customer", "invoice": "invoice"})


def _invoice(context: Context) -> Record:
    return context.live("invoice", context.need("invoice"), "invoice")

"""Reading: one object or a list in its envelope, noted in the ledger afterwards."""

from __future__ import annotations

from spojit_stripe.connector import BoundCall, Listing, Progress, Sink
from spojit_stripe.errors import ServiceError, SpojitError
from spojit_stripe.records import ReadNote
from spojit_stripe.session import Session
from spojit_stripe.values import Done, Failed, JsonObject, JsonValue, Meta, Position

__all__ = ["envelope", "fetch", "meta_of_error"]


async def fetch(
    bound: BoundCall, at: Position, session: Session, progress: Progress | None = None, sink: Sink | None = None
) -> Done | Failed:
    """Read an object or a list, and note it in the ledger, whichever way it ends.

    With a `sink` a list's objects go there, and `data` of its envelope is empty.

    Raises `ConfigurationError` where the state folder can't be used; then nothing was sent.
    """
    reads = session.records.reads
    outcome: Done | Failed
    try:
        if bound.listing is None:
            answer = await session.wire.send(bound.request)
            meta = Meta(
                request_ids=(answer.request_id,) if answer.request_id else (),
                api_version=answer.api_version,
                livemode=answer.livemode,
                attempts=answer.attempts,
                warnings=answer.warnings,
            )
            outcome = Done(value=answer.body, meta=meta)
        else:
            listing = await session.wire.read_list(bound.request, bound.listing, bound.paging, progress, sink)
            meta = _meta_of(listing)
            outcome = Done(value=envelope(listing), meta=meta)
    except SpojitError as error:
        meta = meta_of_error(error)
        outcome = Failed(error=error, meta=meta)
    reads.note(_note_of(bound, at, session, outcome, meta))
    return outcome


def envelope(listing: Listing) -> JsonObject:
    """The one form of a list, whatever its size."""
    data: list[JsonValue] = [*listing.data]
    return {
        "data": data,
        "complete": listing.complete,
        "as_of": listing.as_of,
        "next_cursor": listing.next_cursor,
        "fetched": listing.fetched,
        "scanned": listing.scanned,
        "pages": listing.pages,
        "stopped_because": listing.stopped_because,
    }


def _meta_of(listing: Listing) -> Meta:
    warnings = listing.warnings
    if listing.error is not None:
        warnings = (*warnings, f"the list is not complete: {listing.error}")
    return Meta(
        request_ids=listing.request_ids,
        api_version=listing.api_version,
        livemode=listing.livemode,
        attempts=listing.attempts,
        warnings=warnings,
    )


def _note_of(bound: BoundCall, at: Position, session: Session, outcome: Done | Failed, meta: Meta) -> ReadNote:
    object_id = summary = None
    if isinstance(outcome, Done):
        if bound.listing is None:
            found = outcome.value.get("id")
            object_id = found if isinstance(found, str) else None
        else:
            summary = {name: value for name, value in outcome.value.items() if name != "data"}
    connection = session.connection
    return ReadNote(
        position=at,
        connection=connection.name,
        mode=connection.mode,
        account=bound.request.account or connection.account,
        base_url=connection.base_url,
        api_version=bound.request.api_version or session.api_version,
        tool=bound.tool,
        operation=bound.operation,
        path=bound.request.path,
        params=bound.request.params,
        at=int(session.clock()),
        object_id=object_id,
        result=summary,
        error=outcome.error if isinstance(outcome, Failed) else None,
        request_ids=meta.request_ids,
        attempts=meta.attempts,
        livemode=meta.livemode,
    )


def meta_of_error(error: SpojitError) -> Meta:
    """What an error tells of how it came about."""
    if not isinstance(error, ServiceError):
        return Meta()
    request_id = error.problem.request_id
    return Meta(request_ids=(request_id,) if request_id else (), attempts=error.problem.attempts)

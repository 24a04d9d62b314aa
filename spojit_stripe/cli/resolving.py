"""What Stripe says about a call whose outcome is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spojit_stripe.cli.report import warn
from spojit_stripe.errors import InvalidRequestError
from spojit_stripe.values import Done, Failed, JsonObject, Position, ToolCall

if TYPE_CHECKING:
    from spojit_stripe.host import Host
    from spojit_stripe.records import Entry

__all__ = ["look", "read_found"]


async def look(host: Host, entry: Entry) -> JsonObject | None:
    """The object that the call made, found by its key, or None."""
    from spojit_stripe.settle import look_up

    async with host.session(entry.connection) as session:
        return await look_up(entry, session)


async def read_found(host: Host, entry: Entry, object_id: str) -> JsonObject:
    """The object that a person names, as Stripe has it; only its id where it can't be read.

    Raises `InvalidRequestError` where Stripe has no such object.
    """
    from spojit_stripe.direct import run_tool

    call = ToolCall(tool="raw-api-request", params={"method": "GET", "path": _path_of(entry, object_id)})
    at = Position(run_id=entry.run_id, node="ledger-resolve")
    async with host.session(entry.connection) as session:
        outcome = await run_tool(call, at=at, session=session)
    if isinstance(outcome, Done) and outcome.value.get("id") == object_id:
        return outcome.value
    if isinstance(outcome, Failed):
        if isinstance(outcome.error, InvalidRequestError):
            raise outcome.error
        warn(f"{object_id} was not looked at: {outcome.error.message}")
    return {"id": object_id}


def _path_of(entry: Entry, object_id: str) -> str:
    """Where the object of a call lies: in the collection it was added to, or where it was changed."""
    parts = entry.path.split("/")
    if object_id in parts:
        return "/".join(parts[: parts.index(object_id) + 1])
    return f"{entry.path}/{object_id}"

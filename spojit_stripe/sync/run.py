"""One sync: the named resources, one after another, into one destination."""

from __future__ import annotations

from collections.abc import Iterable

from spojit_stripe.errors import InputError
from spojit_stripe.session import Session
from spojit_stripe.sync.destination import Destination, Identity
from spojit_stripe.sync.links import LinkWork
from spojit_stripe.sync.reader import Reader
from spojit_stripe.sync.report import Mode, Report, Synced, Tell
from spojit_stripe.sync.resources import LINKS, chosen
from spojit_stripe.sync.work import OVERLAP, Work
from spojit_stripe.values import JsonObject

__all__ = ["plan", "sync"]


async def sync(
    names: Iterable[str],
    destination: Destination,
    *,
    session: Session,
    run_id: str,
    full: bool = False,
    tell: Tell | None = None,
) -> Report:
    """Bring the named resources up to date in `destination`.

    Safe to repeat, also after it was killed. One resource's failure does not stop the others;
    the report has it. `full` reads everything again.

    Raises `InputError` for a name that can't be synced, `ConfigurationError` where the
    destination or the connection can't be used.
    """
    resources = chosen(names)
    if session.rules.pins:
        raise InputError(
            f"connection {session.connection.name!r} pins {', '.join(session.rules.pins)}, so its lists are not whole; "
            "sync through a connection without pins"
        )
    connection = session.connection
    identity = Identity(
        connection=connection.name, mode=connection.mode, account=connection.account, base_url=connection.base_url
    )
    synced: list[Synced] = []
    with destination.opened(identity):
        for resource in resources:
            work = (LinkWork if resource.name == LINKS else Work)(
                resource, destination, session, run_id, tell=tell, full=full
            )
            synced.append(await work.run())
        destination.add_views()
    return Report(destination=destination.shown, resources=tuple(synced))


async def plan(names: Iterable[str], destination: Destination, *, session: Session) -> list[JsonObject]:
    """What a sync would read: `resource`, `mode`, `since` and `requests` of each. Sends and changes nothing.

    Raises as `sync` does.
    """
    planned: list[JsonObject] = []
    for resource in chosen(names):
        state = destination.peek(resource)
        history, as_of = state.history, state.as_of
        created: JsonObject = {}
        mode: Mode = "history"
        if history is not None:
            mode = "full" if history.again else "history"
            created = {} if history.at is None else {"lte": history.at}
        elif as_of is not None:
            mode, created = "changes", {"gte": as_of - OVERLAP}
        previews = await Reader(session, "dry-run").preview(resource, created)
        planned.append(
            {
                "resource": resource.name,
                "mode": mode,
                "since": as_of,
                "requests": [
                    {"method": one.method, "path": one.path, "params": one.params, "api_version": one.api_version}
                    for one in previews
                ],
            }
        )
    return planned

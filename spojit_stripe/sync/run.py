"""One sync: the named resources, one after another, into one destination."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from spojit_stripe.errors import InputError
from spojit_stripe.session import Session
from spojit_stripe.sync.destination import Destination, Identity, State
from spojit_stripe.sync.gap import OVERLAP, why_again
from spojit_stripe.sync.links import LinkWork
from spojit_stripe.sync.reader import Reader
from spojit_stripe.sync.report import Mode, Report, Synced, Tell
from spojit_stripe.sync.resources import LINKS, chosen
from spojit_stripe.sync.work import Work
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
    resources, identity = chosen(names), _identity(session)
    synced: list[Synced] = []
    with destination.opened(identity, resources):
        for resource in resources:
            work = (LinkWork if resource.name == LINKS else Work)(
                resource, destination, session, run_id, tell=tell, full=full
            )
            synced.append(await work.run())
        destination.add_views()
    return Report(destination=destination.shown, resources=tuple(synced))


async def plan(
    names: Iterable[str],
    destination: Destination,
    *,
    session: Session,
    full: bool = False,
    clock: Callable[[], float] = time.time,
) -> list[JsonObject]:
    """What a sync would read: `resource`, `mode`, `since`, `requests`, and `why` it reads everything again.

    Sends and changes nothing, so the time is that of `clock` and not of Stripe. Raises as `sync` does.
    """
    resources, identity = chosen(names), _identity(session)
    reader = Reader(session, "dry-run")
    planned: list[JsonObject] = []
    for resource in resources:
        state = destination.peek(resource, identity)
        why = None
        if resource.name != LINKS:
            why = why_again(state, resource, version=reader.version, now=int(clock()), full=full)
        mode, created = ("full", {}) if why is not None else _from_there(state)
        previews = await reader.preview(resource, created)
        planned.append(
            {
                "resource": resource.name,
                "mode": mode,
                "since": state.as_of,
                "why": why,
                "requests": [
                    {"method": one.method, "path": one.path, "params": one.params, "api_version": one.api_version}
                    for one in previews
                ],
            }
        )
    return planned


def _from_there(state: State) -> tuple[Mode, JsonObject]:
    """What a run that goes on from a state reads, and within which time things were made."""
    history = state.history
    if history is not None:
        return "full" if history.again else "history", {} if history.at is None else {"lte": history.at}
    return ("history", {}) if state.as_of is None else ("changes", {"gte": state.as_of - OVERLAP})


def _identity(session: Session) -> Identity:
    """Whose objects are read. Raises `InputError` where not all of them would be."""
    connection = session.connection
    if session.rules.pins:
        raise InputError(
            f"connection {connection.name!r} pins {', '.join(session.rules.pins)}, so its lists are not whole; "
            "sync through a connection without pins"
        )
    return Identity(
        connection=connection.name, mode=connection.mode, account=connection.account, base_url=connection.base_url
    )

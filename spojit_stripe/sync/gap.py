"""What a later run can go on from, and why it has to read everything again instead."""

from __future__ import annotations

from typing import Final

from spojit_stripe.sync.destination import State
from spojit_stripe.sync.resources import Resource

__all__ = ["OVERLAP", "RETENTION", "events_gone", "why_again"]

OVERLAP: Final = 600
"""Seconds before the last run from which the next one reads: events and objects appear late."""

RETENTION: Final = 30 * 86_400 - 3_600
"""How far back events are trusted: Stripe keeps them for 30 days."""

_DAY: Final = 86_400


def events_gone(resource: Resource, since: int, now: int) -> bool:
    """Whether the events from which a run since a time would learn may no longer all be there."""
    return bool(resource.events) and now - since + OVERLAP > RETENTION


def why_again(state: State, resource: Resource, *, version: str, now: int, full: bool) -> str | None:
    """Why what is remembered is not gone on from, or None: there is nothing yet, or it is."""
    if state.history is None and state.as_of is None:
        return None
    if state.api_version != version:
        return f"the rows are of API version {state.api_version}, and {version} is read now"
    if state.history is not None:
        if events_gone(resource, state.history.as_of, now):
            return "a whole read was left off more than 30 days ago, and Stripe keeps events for 30 days"
        return None
    if full:
        return "asked for"
    if state.as_of is not None and events_gone(resource, state.as_of, now):
        return f"the last sync was {(now - state.as_of) // _DAY} days ago, and Stripe keeps events for 30 days"
    return None

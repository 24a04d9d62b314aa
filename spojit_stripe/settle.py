"""Settling a write whose outcome is unknown, without ever sending it a second time.

Within 23 hours of the first send the same request under the same key is safe: Stripe keeps
a key's answer for at least 24 hours. Later, and for a v1 DELETE, which takes no key, only
looking helps; finding nothing proves nothing, and a person has the last word.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from spojit_stripe.connector import Trace
from spojit_stripe.errors import DeclinedError, OutcomeUnknownError, SpojitError
from spojit_stripe.policy import Verdict, decide
from spojit_stripe.records import Entry
from spojit_stripe.session import Session
from spojit_stripe.values import Assessment, Done, Effect, Failed, JsonObject, JsonValue, Meta, Outcome, Request

__all__ = ["APPROVAL_REQUIRED", "REPLAY_SECONDS", "is_planned_reference", "look_up", "settle"]

APPROVAL_REQUIRED = "approval_required"
"""The code of a call that the service itself keeps for a second person, and carries out after that."""
REPLAY_SECONDS = 23 * 3600
_PLANNED = re.compile(r"planned:\s*\d+")


async def settle(entry: Entry, session: Session, *, replay: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """Replay while the key is safe and writes are allowed, else look up.

    Gives `Failed` with `OutcomeUnknownError` where the outcome stays unknown, whatever the reason:
    a missing key or a refusal now says nothing about what was sent before.
    """
    why_not = _why_no_replay(entry, session)
    try:
        if why_not is None:
            return await replay()
        found = await look_up(entry, session)
    except DeclinedError as error:  # what was found shows it
        failed = await asyncio.to_thread(session.records.ledger.fail, entry, error, Meta())
        return Failed(error=error, meta=replace(failed.meta(), from_ledger=False))
    except OutcomeUnknownError as error:
        return Failed(error=error, meta=entry.meta())
    except SpojitError as error:
        return Failed(error=_unknown(entry, f"it can't be settled now: {error}"), meta=entry.meta())
    if found is None:
        return Failed(error=_unknown(entry, f"{why_not}, and nothing was found under its key"), meta=entry.meta())
    await asyncio.to_thread(
        session.records.ledger.resolve, entry.id, found=found, who="look-up", note="found by its idempotency key"
    )
    return Done(value=found, meta=Meta(idempotency_key=entry.key, ledger_id=entry.id))


async def look_up(entry: Entry, session: Session) -> JsonObject | None:
    """The object that the call made, found by its key in events or metadata, or None."""
    request = Request(
        method="POST" if entry.operation.startswith("POST") else "DELETE",
        path=entry.path,
        template=entry.operation.split(" ", 1)[1],
        params=entry.params,
        version=2 if entry.path.startswith("/v2/") else 1,
        account=entry.account,
    )
    trace = Trace(
        key=entry.key or "", request=request, sent_at=entry.first_sent or entry.created, stamped=entry.stamped
    )
    return await session.wire.look_up(trace)


def _why_no_replay(entry: Entry, session: Session) -> str | None:
    """A replay may be the first to arrive, so writes must still be allowed; its approval was given."""
    is_read = entry.operation.startswith("GET ")  # one that hands out a secret, so it was recorded as a write
    if session.clock() - (entry.first_sent or entry.created) > REPLAY_SECONDS and not is_read:
        return "it is over 23 hours old, so it is not sent again"
    if (entry.error or {}).get("code") == APPROVAL_REQUIRED:
        return "the service holds it for an approval of its own, so it is not sent again"
    if entry.operation.startswith("DELETE /v1/"):
        return "a v1 DELETE takes no idempotency key, so it is not sent again"
    recorded = Assessment(
        effect=Effect(entry.effect), operation=entry.operation, params=entry.params, amount=entry.money
    )
    decision = decide(recorded, session.connection, session.rules)
    return decision.reason if decision.verdict is Verdict.DENY else None


def _unknown(entry: Entry, why: str) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"the outcome of ledger entry {entry.id} ({entry.operation}) is unknown: {why}; "
        f"look in the dashboard, then `spojit-stripe ledger resolve {entry.id} --found ID | --none`"
    )


def is_planned_reference(value: JsonValue) -> bool:
    """Whether a parameter names a planned call, which has no id yet."""
    if isinstance(value, str):
        return bool(_PLANNED.fullmatch(value.strip()))
    if isinstance(value, dict):
        planned = value.get("planned") if len(value) == 1 else None
        return type(planned) is int or any(is_planned_reference(item) for item in value.values())
    if isinstance(value, list):
        return any(is_planned_reference(item) for item in value)
    return False

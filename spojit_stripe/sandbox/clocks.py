"""Test clocks: a time of its own for some customers and everything that belongs to them.

A clock keeps its own timers, so that advancing it makes happen what is due for its objects
and nothing else. The account's time leaves them alone.
"""

from collections.abc import Callable
from dataclasses import replace

from spojit_stripe.sandbox.context import CLOCK, Context
from spojit_stripe.sandbox.store import Record, Timer
from spojit_stripe.sandbox.values import JsonObject, child, integer, items, number, string, text

RunTimer = Callable[[Context, Timer], None]


def advance(context: Context, record: Record, run: RunTimer) -> None:
    """Do, each at its own time, what is due by the time that a clock is to show; then it shows it."""
    target = number(child(child(record.body, "status_details"), "advancing"), "target_frozen_time")
    if target is None:
        return
    while (timer := _take(context, record, target)) is not None:
        record.body["frozen_time"] = max(timer.due, integer(record.body, "frozen_time"))
        context.save(record)
        moment = replace(context, now=integer(record.body, "frozen_time"), clock=record.id)
        run(moment, timer)
        context.refresh(record)
    record.body.update(frozen_time=target, status="ready", status_details={})
    context.save(record, "test_helpers.test_clock.ready")


def _take(context: Context, record: Record, until: int) -> Timer | None:
    """The clock's next timer that is due, taken off its list."""
    waiting = items(record.private, "timers")
    due = [each for each in waiting if integer(each, "due") <= until]
    if not due:
        return None
    first = min(due, key=lambda each: (integer(each, "due"), integer(each, "number")))
    record.private["timers"] = [each for each in waiting if each is not first]
    return Timer(0, integer(first, "due"), context.scope, string(first, "action"), string(first, "object"))


def of(context: Context, kind: str, clock: str) -> list[Record]:
    """The objects of a type that are on a clock."""
    return [each for each in context.records(kind) if text(each.body, "test_clock") == clock]


def clock_body(context: Context, frozen_time: int, name: str | None) -> JsonObject:
    """A new clock."""
    return {
        "id": context.new_id("clock"),
        "object": CLOCK,
        "created": context.now,
        "deletes_after": context.now + 30 * 86_400,
        "frozen_time": frozen_time,
        "livemode": context.livemode,
        "name": name,
        "status": "ready",
        "status_details": {},
    }

"""What starts a workflow: by hand, by the clock, by a service's event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from spojit_stripe.errors import InputError
from spojit_stripe.expressions.clock import zone
from spojit_stripe.words import nearest
from spojit_stripe.workflow.faults import quoted
from spojit_stripe.workflow.fields import Fields
from spojit_stripe.workflow.model import Manual, Schedule, Trigger, Webhook

__all__ = ["read_trigger"]

_CRON_FIELDS: Final = ("minute", "hour", "day of the month", "month", "day of the week")
_SOMEWHEN: Final = datetime(2026, 1, 1, tzinfo=UTC)


def read_trigger(fields: Fields) -> Trigger:
    """The trigger; manual where none is given or it is no good."""
    if "trigger" not in fields:
        return Manual()
    inner = Fields(fields.report, fields.data["trigger"], (*fields.path, "trigger"), "trigger")
    kind = inner.text("type", required=bool(inner.data), advice=f"it is one of {', '.join(_READERS)}")
    read = _READERS.get(kind or "manual")
    if read is None:
        guess = nearest(kind or "", _READERS) or f"it is one of {', '.join(_READERS)}"
        inner.error("type", f"unknown trigger type {quoted(kind)}", guess)
        return Manual()
    return read(inner)


def _manual(fields: Fields) -> Trigger:
    fields.only(("type",))
    return Manual()


def _schedule(fields: Fields) -> Trigger:
    fields.only(("type", "cron", "timezone", "inputs"))
    cron = fields.text("cron", required=True, advice='write five fields such as "0 6 * * *"') or ""
    if cron:
        fault = _cron_fault(cron)
        if fault:
            fields.error("cron", *fault)
    timezone = fields.text("timezone") or "UTC"
    try:
        zone(timezone)
    except InputError as error:
        fields.report.line((*fields.path, "timezone"), error.message, "timezone: ")
    return Schedule(cron=cron, timezone=timezone, inputs=fields.mapping("inputs"))


def _cron_fault(cron: str) -> tuple[str, str] | None:
    # Slow to import, and few workflows run by the clock.
    from croniter import CroniterError, croniter

    parts = cron.split()
    if len(parts) != len(_CRON_FIELDS):
        return f"cron {quoted(cron)} has {len(parts)} fields", f"it has five: {', '.join(_CRON_FIELDS)}"
    for place, part in enumerate(parts):
        alone = ["*"] * len(_CRON_FIELDS)
        alone[place] = part
        if not croniter.is_valid(" ".join(alone)):
            return f"cron {quoted(cron)}: {quoted(part)} is no {_CRON_FIELDS[place]}", ""
    try:
        croniter(cron, _SOMEWHEN).get_next(datetime)
    except CroniterError:
        return f"cron {quoted(cron)} never comes", "no such day exists"
    return None


def _webhook(fields: Fields) -> Trigger:
    fields.only(("type", "connection", "events"))
    connection = fields.text("connection", required=True, advice="its account sends the events") or ""
    return Webhook(connection=connection, events=fields.texts("events"))


_READERS: Final[Mapping[str, Callable[[Fields], Trigger]]] = {
    "manual": _manual,
    "schedule": _schedule,
    "webhook": _webhook,
}

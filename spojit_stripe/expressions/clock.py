"""Times: Unix seconds to ISO 8601 and back, and days as a time zone counts them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from spojit_stripe.errors import InputError
from spojit_stripe.expressions.bounds import kind_of, shown_name
from spojit_stripe.words import nearest

__all__ = ["start_of_day", "to_iso", "to_unix", "zone"]

_MOST_DAYS = 36_600


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo:
    """The time zone of that IANA name. Raises `InputError` naming the nearest."""
    if name == "UTC":
        return UTC
    with suppress(OSError, ValueError, KeyError):  # an unknown name is a KeyError
        return ZoneInfo(name)
    guess = nearest(name, available_timezones()) if len(name) < 64 else ""
    raise InputError(f"{shown_name(name)!r} is no time zone{guess or '; write one such as Europe/Berlin'}")


def to_iso(seconds: object, tz: object = "UTC") -> str:
    moment = _moment(seconds, tz)
    text = moment.isoformat()
    return text.replace("+00:00", "Z") if moment.tzinfo is UTC else text


def to_unix(text: object, tz: object = None) -> int:
    """A moment in ISO 8601 as Unix seconds, fractions of a second cut off."""
    if not isinstance(text, str):
        raise InputError(f"to_unix takes a time as text, not {kind_of(text)}")
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"to_unix: {shown_name(text)!r} is no ISO 8601 time such as 2026-03-01T09:30:00Z") from None
    if moment.tzinfo is None:
        if tz is None:
            raise InputError(
                f"to_unix: {shown_name(text)!r} names no time zone; say which one is meant, such as to_unix('UTC')"
            )
        moment = moment.replace(tzinfo=_zone(tz))
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)


def start_of_day(seconds: object, tz: object = "UTC", days: object = 0) -> int:
    """When the day of `seconds` began in a time zone, or that of `days` days later."""
    if isinstance(days, bool) or not isinstance(days, int) or abs(days) > _MOST_DAYS:
        raise InputError(f"start_of_day: days is an integer from -{_MOST_DAYS} to {_MOST_DAYS}")
    moment = _moment(seconds, tz)
    try:
        midnight = datetime(moment.year, moment.month, moment.day, tzinfo=moment.tzinfo) + timedelta(days=days)
        return int(midnight.timestamp())
    except OverflowError:
        raise InputError("start_of_day: that day is out of range") from None


def _moment(seconds: object, tz: object) -> datetime:
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise InputError(f"a time is an integer of Unix seconds, not {kind_of(seconds)}")
    where = _zone(tz)
    try:
        return datetime.fromtimestamp(seconds, where)
    except (OverflowError, ValueError, OSError):
        raise InputError(f"{shown_name(seconds)} is no Unix time in seconds; milliseconds must be divided") from None


def _zone(tz: object) -> tzinfo:
    if not isinstance(tz, str):
        raise InputError(f"a time zone is text such as 'Europe/Berlin', not {kind_of(tz)}")
    return zone(tz)

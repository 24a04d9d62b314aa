"""One page of a list as it came: its objects stay bytes until somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import msgspec

from spojit_stripe.errors import ServiceError
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Body", "Head", "Keeps", "Page", "Raw", "body_of", "decoded", "heads_of", "keeps", "line_of"]

Raw: TypeAlias = msgspec.Raw | bytes  # one object, encoded; as `msgspec.Raw` a part of its page's bytes
Keeps: TypeAlias = Callable[[Raw], bool]


@dataclass(frozen=True, slots=True)
class Body:
    """What a list's body says. `objects` None: it is no list of objects."""

    objects: Sequence[Raw] | None
    has_more: JsonValue = None
    next_page: JsonValue = None
    next_page_url: JsonValue = None
    livemode: JsonValue = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A body and what came with it. `date` is the service's clock in Unix seconds."""

    body: Body
    request_id: str | None = None
    attempts: int = 1
    api_version: str | None = None
    livemode: bool | None = None
    date: int | None = None
    warnings: tuple[str, ...] = ()


class Head(msgspec.Struct, gc=False):
    """What paging needs to know of an object."""

    id: object = None
    created: object = None


class _Body(msgspec.Struct):
    data: list[msgspec.Raw]
    has_more: object = None
    next_page: object = None
    next_page_url: object = None
    livemode: object = None


class _Mode(msgspec.Struct):
    livemode: object = None


_BODY: Final = msgspec.json.Decoder(_Body)
_HEAD: Final = msgspec.json.Decoder(Head)
_MODE: Final = msgspec.json.Decoder(_Mode)
_BRACE: Final = ord("{")


def body_of(text: bytes) -> Body | None:
    """The body of a list, or None where `text` is no whole JSON object."""
    try:
        found = _BODY.decode(text)
        if not text.isascii():
            text.decode()  # the objects are not looked at yet, and must not fail when they are
    except msgspec.ValidationError:
        return Body(None) if _is_object(text) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    objects = found.data
    if not all(memoryview(raw)[0] == _BRACE for raw in objects):
        return Body(None)
    return Body(
        objects,
        cast("JsonValue", found.has_more),
        cast("JsonValue", found.next_page),
        cast("JsonValue", found.next_page_url),
        cast("JsonValue", found.livemode if found.livemode is not None or not objects else _mode_of(objects[0])),
    )


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _mode_of(raw: Raw) -> object:
    return _MODE.decode(raw).livemode


def heads_of(objects: Sequence[Raw]) -> list[Head]:
    return [_HEAD.decode(raw) for raw in objects]


def decoded(raw: Raw) -> JsonObject:
    """The object itself. Raises `ServiceError` where a number in it is out of range."""
    try:
        return cast("JsonObject", msgspec.json.decode(raw))
    except msgspec.MsgspecError as error:
        raise ServiceError(f"an object of the list can't be read: {error}") from None


def line_of(raw: Raw) -> bytes:
    """The object on one line: Stripe indents what it sends."""
    text = bytes(raw)
    return msgspec.json.format(text, indent=-1) if b"\n" in text or b"\r" in text else text


def keeps(wanted: Mapping[str, JsonValue]) -> Keeps | None:
    """A test for objects whose fields have the `wanted` values; None where any will do."""
    if not wanted:
        return None
    names = {f"field_{number}": name for number, name in enumerate(wanted)}
    fields = [(field, object, None) for field in names]
    decoder = msgspec.json.Decoder(msgspec.defstruct("Fields", fields, rename=names))
    values = dict(zip(names, wanted.values(), strict=True))

    def passes(raw: Raw) -> bool:
        found = decoder.decode(raw)
        return all(getattr(found, field) == value for field, value in values.items())

    return passes

"""An object as a row: its typed columns, its whole text, and which of two states is the newer.

A row carries the time at which the read that brought it was sent. A state that was read earlier
never replaces one that was read later, whatever the order in which they arrive.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple, TypeAlias, TypeGuard

import msgspec

from spojit_stripe.errors import ServiceError
from spojit_stripe.redact import may_hold_secrets, redact_object
from spojit_stripe.sync.resources import Column, Resource
from spojit_stripe.values import JsonObject, JsonValue

__all__ = [
    "Cell",
    "Counts",
    "Known",
    "Row",
    "UnfitError",
    "Verdict",
    "is_id",
    "judge",
    "row_of",
    "taken_from",
    "tombstone",
]

Cell: TypeAlias = "str | int | bool | None"

_LARGEST = 2**63
# No database takes these: half characters, and the character of number nought.
_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")


class UnfitError(ServiceError):
    """An object that has not the form of its table. It is reported, never bent to fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One object, or what is left of it: `cells` None is a tombstone, which keeps the last state there is.

    `seen` and `deleted_at` are Unix seconds of Stripe's clock; `text` is the object as JSON with
    its names in order, without secrets.
    """

    id: str
    seen: int
    text: str
    digest: str
    created: int | None = None
    deleted_at: int | None = None
    cells: tuple[Cell, ...] | None = None


class Known(NamedTuple):
    """What a table says of a row."""

    seen: int
    digest: str
    deleted_at: int | None


class Verdict(Enum):
    """What becomes of a row that was read."""

    NEW = "new"
    CHANGED = "changed"
    DELETED = "deleted"
    SAME = "same"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Counts:
    """What a write changed. `read` counts all rows that came."""

    read: int = 0
    new: int = 0
    changed: int = 0
    deleted: int = 0

    def plus(self, other: Counts) -> Counts:
        return Counts(
            self.read + other.read, self.new + other.new, self.changed + other.changed, self.deleted + other.deleted
        )

    def counting(self, verdict: Verdict) -> Counts:
        more = replace(self, read=self.read + 1)
        if verdict is Verdict.NEW:
            return replace(more, new=more.new + 1)
        if verdict is Verdict.CHANGED:
            return replace(more, changed=more.changed + 1)
        return replace(more, deleted=more.deleted + 1) if verdict is Verdict.DELETED else more


def judge(known: Known | None, row: Row) -> Verdict:
    """Whether `row` says something new."""
    gone = row.cells is None
    if known is None:
        # Nothing is left of what was never here: the first run misses the objects of the past that are gone, too.
        return Verdict.STALE if gone else Verdict.NEW
    if row.seen < known.seen:
        return Verdict.STALE
    if gone:
        return Verdict.SAME if known.deleted_at is not None else Verdict.DELETED
    same = known.digest == row.digest and known.deleted_at is None
    return Verdict.SAME if same else Verdict.CHANGED


def is_id(value: JsonValue) -> TypeGuard[str]:
    """Whether a value can name an object, in a request and in every place."""
    return isinstance(value, str) and value != "" and not _UNKEEPABLE.search(value)


def row_of(value: JsonObject, resource: Resource, columns: Sequence[Column], seen: int) -> Row:
    """The row of an object. Raises `UnfitError` where it has not the form of its table."""
    identifier = value.get("id")
    if not is_id(identifier):
        raise UnfitError(f"{resource.name}: an object came without an id that can be kept: {json.dumps(value)[:80]}")
    if value.get("deleted") is True:
        return tombstone(identifier, seen, seen)
    kind = value.get("object", resource.kind)
    if kind != resource.kind:
        raise UnfitError(f"{resource.name} {identifier}: is a {kind!r}, not a {resource.kind}")
    shown, line = _safe(value)
    created = _cell(Column("created", "integer"), shown, resource, identifier)
    return Row(
        id=identifier,
        seen=seen,
        text=line.decode(),
        digest=_digest(line),
        created=created if isinstance(created, int) else None,
        cells=tuple(_cell(column, shown, resource, identifier) for column in columns),
    )


def taken_from(
    text: str, resource: Resource, columns: Sequence[Column], identifier: str
) -> tuple[list[Cell], UnfitError | None]:
    """What new columns hold of an object that was kept before they were there; what does not fit is None, and told."""
    cells: list[Cell] = []
    fault: UnfitError | None = None
    value: JsonValue = None
    with suppress(ValueError):
        value = json.loads(text)
    if not isinstance(value, dict):
        return [None] * len(columns), UnfitError(f"{resource.name} {identifier}: what is kept of it is no JSON object")
    for column in columns:
        try:
            cells.append(_cell(column, value, resource, identifier))
        except UnfitError as error:
            cells.append(None)
            fault = error
    return cells, fault


def tombstone(identifier: str, deleted_at: int, seen: int) -> Row:
    """The row of an object that is gone."""
    line = _encoded({"deleted": True, "id": identifier})
    return Row(id=identifier, seen=seen, text=line.decode(), digest=_digest(line), deleted_at=deleted_at)


def _safe(value: JsonObject) -> tuple[JsonObject, bytes]:
    """An object without secrets and without what no database takes, and its text. Most have neither."""
    try:
        line = _encoded(value)
    except UnicodeEncodeError:  # half a character
        value = _keepable_object(value)
        line = _encoded(value)
    if b"\\u0000" in line:
        value = _keepable_object(value)
        line = _encoded(value)
    if not may_hold_secrets(line):
        return value, line
    shown = redact_object(value)
    return shown, _encoded(shown)


def _encoded(value: JsonObject) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:32]


def _keepable_object(value: JsonObject) -> JsonObject:
    return {_UNKEEPABLE.sub("\ufffd", name): _keepable(inner) for name, inner in value.items()}


def _keepable(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return _UNKEEPABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return _keepable_object(value)
    if isinstance(value, list):
        return [_keepable(item) for item in value]
    return value


def _cell(column: Column, value: JsonObject, resource: Resource, identifier: str) -> Cell:
    """What a column holds of an object. Raises `UnfitError` where it has no room for that."""
    found = value.get(column.name)
    if found is None:
        return None
    if column.kind == "json":
        with suppress(ValueError):  # JSON has no infinity, which is what a number like 1e400 becomes
            return json.dumps(found, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False)
    elif column.kind == "text":
        named = found.get("id") if isinstance(found, dict) else found
        if isinstance(named, str):
            return named
    elif column.kind == "boolean":
        if isinstance(found, bool):
            return found
    elif isinstance(found, int) and not isinstance(found, bool) and -_LARGEST <= found < _LARGEST:
        return found
    raise UnfitError(
        f"{resource.name} {identifier}: {column.name} is {json.dumps(found)[:40]}, not {_WANTED[column.kind]}"
    )


_WANTED = {
    "text": "text",
    "boolean": "true or false",
    "integer": "a whole number of 64 bits",
    "json": "JSON that can be kept: a number in it is too large",
}

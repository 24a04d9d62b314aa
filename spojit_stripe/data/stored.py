"""A list that lies in a file: read where it is needed, never held as a whole."""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast, overload

from spojit_stripe.data.files import LostError, lost
from spojit_stripe.data.keys import is_key
from spojit_stripe.data.lines import Columns, decode
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["HANDLE", "Handle", "Source", "StoredList", "is_handle"]

HANDLE: Final = "$artifact"
_KINDS = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_BLOCK_ROWS = 256
_BLOCK_BYTES = 1 << 20


def is_handle(value: object) -> bool:
    """Whether a value has the form of a handle; whether it leads anywhere only its store knows.

    A service's metadata may have a key of that name, but then its value is a text.
    """
    if not isinstance(value, Mapping) or len(cast("Mapping[str, object]", value)) != 1 or HANDLE not in value:
        return False
    return not isinstance(cast("Mapping[str, object]", value)[HANDLE], str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """What a step records instead of a large list."""

    store: str
    key: str
    rows: int
    bytes: int
    sha256: str
    columns: Columns | None  # None: too many for a table
    wrapped: bool = False  # the items are no objects: each row is one with the item as its `value`
    nested: bool = False  # rows hold handles themselves

    def to_json(self) -> JsonObject:
        inner: JsonObject = {
            "store": self.store,
            "key": self.key,
            "rows": self.rows,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "columns": cast("JsonValue", self.columns),
        }
        inner.update({name: True for name in ("wrapped", "nested") if getattr(self, name)})
        return {HANDLE: inner}

    @classmethod
    def of_json(cls, record: JsonObject) -> Handle:
        """Raises `LostError`: a record is data, and may have been tampered with."""
        inner = record.get(HANDLE)
        if isinstance(inner, dict):
            store, key, digest = inner.get("store"), inner.get("key"), inner.get("sha256")
            rows, size, columns = inner.get("rows"), inner.get("bytes"), inner.get("columns")
            if isinstance(store, str) and isinstance(key, str) and isinstance(digest, str):
                counts = _is_count(rows) and _is_count(size)
                if counts and is_key(key, digest) and _are_columns(columns):
                    return cls(
                        store=store,
                        key=key,
                        rows=cast("int", rows),
                        bytes=cast("int", size),
                        sha256=digest,
                        columns=cast("Columns | None", columns),
                        wrapped=inner.get("wrapped") is True,
                        nested=inner.get("nested") is True,
                    )
        raise LostError("a recorded result is no handle of an artifact; the record was changed by hand")


def _is_count(value: JsonValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_columns(value: JsonValue) -> bool:
    if value is None:
        return True
    return isinstance(value, dict) and all(
        isinstance(kinds, list) and all(isinstance(kind, str) and kind in _KINDS for kind in kinds)
        for kinds in value.values()
    )


class Source(Protocol):
    """Where the bytes of an artifact come from."""

    def read(self, key: str) -> BinaryIO:
        """The artifact's bytes. Raises `LostError` where it is gone."""
        ...

    def path(self, key: str, scratch: Path) -> Path:
        """The artifact as a file of this machine; one from elsewhere is fetched to `scratch`."""
        ...


class StoredList(Sequence[JsonValue]):
    """The rows of an artifact as a list: counted without reading, iterated with flat memory.

    Its SHA-256 is checked before its first row is given, once for all who share `sound` (the keys
    and hashes that were found right), and again where it is read to the end. `list[i]` reads a
    block of rows and keeps it. Two are equal only when they are the same object. `thawed` gives
    a row with the handles that it holds as lists.

    Raises `LostError` where the file is not what was recorded.
    """

    def __init__(
        self,
        handle: Handle,
        source: Source,
        thawed: Callable[[JsonValue], JsonValue],
        sound: set[tuple[str, str]],
    ) -> None:
        self.description = handle
        self._source = source
        self._thawed = thawed
        self._sound = sound
        self._lock = threading.Lock()
        self._starts = [0]  # the first row of each block that was met
        self._offsets = [0]  # and where it lies
        self._block: tuple[int, list[bytes]] = (0, [])

    @property
    def handle(self) -> JsonObject:
        """What a step records instead of the rows."""
        return self.description.to_json()

    def fetch(self, scratch: Path) -> Path:
        """The rows as a file of lines on this machine, in `scratch` where they lie elsewhere."""
        return self._source.path(self.description.key, scratch)

    def __repr__(self) -> str:
        return f"<{len(self):,} rows in {self.description.key}>"

    def __len__(self) -> int:
        return self.description.rows

    def __iter__(self) -> Iterator[JsonValue]:
        self._check()
        found = hashlib.sha256()
        with self._source.read(self.description.key) as stream:
            for line in stream:
                found.update(line)
                yield self._value(line)
        if found.hexdigest() != self.description.sha256:
            raise self._changed()

    @overload
    def __getitem__(self, index: int) -> JsonValue: ...
    @overload
    def __getitem__(self, index: slice) -> list[JsonValue]: ...
    def __getitem__(self, index: int | slice) -> JsonValue:
        if isinstance(index, slice):
            return [self._value(self._line(row)) for row in range(*index.indices(len(self)))]
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"row {index} of {len(self):,}")
        return self._value(self._line(row))

    def _value(self, line: bytes) -> JsonValue:
        try:
            found = decode(line)
        except ValueError:
            raise self._changed() from None
        if self.description.wrapped:
            if not isinstance(found, dict) or "value" not in found:
                raise self._changed()
            found = found["value"]
        return self._thawed(found) if self.description.nested else found

    def _check(self) -> None:
        """Look at the whole file before any row of it decides something; most uses stop before its end."""
        mine = (self.description.key, self.description.sha256)
        if mine in self._sound:
            return
        found = hashlib.sha256()
        with self._source.read(self.description.key) as stream:
            while block := stream.read(_BLOCK_BYTES):
                found.update(block)
        if found.hexdigest() != self.description.sha256:
            raise self._changed()
        self._sound.add(mine)

    def _line(self, row: int) -> bytes:
        self._check()
        with self._lock:
            first, lines = self._block
            if not first <= row < first + len(lines):
                first, lines = self._block = self._find(row)
            return lines[row - first]

    def _find(self, row: int) -> tuple[int, list[bytes]]:
        at = bisect_right(self._starts, row) - 1
        with self._source.read(self.description.key) as stream:
            stream.seek(self._offsets[at])
            while True:
                first = self._starts[at]
                lines = _read_block(stream)
                if not lines:
                    raise self._changed()
                if at + 1 == len(self._starts):
                    self._starts.append(first + len(lines))
                    self._offsets.append(self._offsets[at] + sum(map(len, lines)))
                if row < first + len(lines):
                    return first, lines
                at += 1

    def _changed(self) -> LostError:
        return lost(self.description.key, "is not what the run recorded: it was changed or damaged")


def _read_block(stream: BinaryIO) -> list[bytes]:
    lines: list[bytes] = []
    size = 0
    while len(lines) < _BLOCK_ROWS and size < _BLOCK_BYTES:
        line = stream.readline()
        if not line:
            break
        lines.append(line)
        size += len(line)
    return lines

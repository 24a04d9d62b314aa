"""What of a long list was read already, kept so that another process goes on where this one was killed.

    <folder>/manifest       a line on the list, then one for each page: how much of its part counts
    <folder>/3.ndjson       the rows of part 3, in their order, without secrets

A line of the manifest tells a part's length and hash up to where it counts, and begins with the
hash of what it tells. So nothing has to be synced: what a crash of the machine took away, or
anything else has changed, is found out, and read again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec

from spojit_stripe.data.folders import explained, make_private
from spojit_stripe.data.lines import decode, encode, safe_lines
from spojit_stripe.redact import may_hold_secrets
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["Checkpoint"]

_DAY: Final = 24 * 3600.0
_AT_ONCE: Final = 100  # rows
_BLOCK: Final = 1024 * 1024


class _Head(msgspec.Struct):
    digest: str
    as_of: int
    began: float


class _Mark(msgspec.Struct):
    part: int
    bytes: int
    sha256: str
    mark: dict[str, object]


class _Growing:
    """A part that is being written."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0

    def add(self, text: bytes) -> None:
        self._hash.update(text)
        self._size += len(text)

    def line(self, part: int, mark: JsonObject) -> JsonObject:
        return {"part": part, "bytes": self._size, "sha256": self._hash.hexdigest(), "mark": mark}


class Checkpoint:
    """The parts of one list in a folder of its own, which is made when it is opened.

    A convenience: where the folder can't be used, or another process uses it, nothing is kept
    and nothing is said.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._manifest: FileIO | None = None
        self._counts: dict[int, int] = {}  # bytes of a part that count
        self._growing: dict[int, _Growing] = {}

    def open(self, digest: str, as_of: int) -> tuple[int, dict[int, JsonObject]]:
        """Take up the list with this `digest`, or begin it: its `as_of`, and the last mark of each part that is there.

        What is of another list, or older than a day, is thrown away.
        """
        try:
            make_private(self._folder)
            handle = os.open(self._folder / "manifest", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._manifest = FileIO(handle, "r+")
            if not _locked(handle):
                self.close()
                return as_of, {}
            return self._taken_up(self._manifest, digest) or self._begun(self._manifest, digest, as_of)
        except OSError:
            self.close()
            return as_of, {}

    def note(self, part: int, mark: JsonObject | None, sure: Sequence[bytes], rest: Sequence[bytes]) -> None:
        """Keep the next rows of a part. With a `mark` all that came before `rest` counts, as the mark says."""
        if self._manifest is None:
            return
        try:
            counting, following = _safe(sure), _safe(rest)
            with _appending(self._folder / f"{part}.ndjson") as stream:
                stream.write(counting + following)
            growing = self._growing.setdefault(part, _Growing())
            growing.add(counting)
            if mark is not None:
                self._manifest.write(_sealed(growing.line(part, mark)))
            growing.add(following)
        except (OSError, ValueError, RecursionError):
            self.remove()

    def rows(self, part: int) -> Iterator[list[bytes]]:
        """The rows of a part that count, some at a time. Raises `ConfigurationError` where they can't be read."""
        left = self._counts.get(part, 0)
        with explained("read a result", self._folder), (self._folder / f"{part}.ndjson").open("rb") as stream:
            while left > 0 and (found := [*islice(stream, _AT_ONCE)]):
                left -= sum(map(len, found))
                while left < 0:
                    left += len(found.pop())
                yield [line.removesuffix(b"\n") for line in found]

    def close(self) -> None:
        """Leave what is there to whoever goes on."""
        manifest, self._manifest = self._manifest, None
        if manifest is not None:
            manifest.close()

    def __del__(self) -> None:
        # An attempt that was given up tells nobody, and the next one of this process needs the lock.
        self.close()

    def remove(self) -> None:
        """Throw it all away."""
        if self._manifest is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self.close()

    def _taken_up(self, manifest: FileIO, digest: str) -> tuple[int, dict[int, JsonObject]] | None:
        text = manifest.readall()
        head, _, lines = text.partition(b"\n")
        try:
            found = msgspec.json.decode(_unsealed(head), type=_Head)
        except (msgspec.MsgspecError, ValueError):
            return None
        if found.digest != digest or not 0 <= self._clock() - found.began < _DAY:
            return None
        marks: dict[int, _Mark] = {}
        whole = len(head) + 1
        for line in lines.split(b"\n")[:-1]:  # a line without its end is half of one
            try:
                mark = msgspec.json.decode(_unsealed(line), type=_Mark)
            except (msgspec.MsgspecError, ValueError):
                break
            marks[mark.part] = mark
            whole += len(line) + 1
        manifest.truncate(whole)
        kept = {part: mark for part, mark in marks.items() if self._is_there(mark)}
        for file in self._folder.glob("*.ndjson"):
            if file.stem not in map(str, kept):
                file.unlink()
        self._counts = {part: mark.bytes for part, mark in kept.items()}
        return found.as_of, {part: cast("JsonObject", mark.mark) for part, mark in kept.items()}

    def _is_there(self, mark: _Mark) -> bool:
        digest = hashlib.sha256()
        left = mark.bytes
        try:
            with (self._folder / f"{mark.part}.ndjson").open("rb") as stream:
                while left > 0 and (block := stream.read(min(left, _BLOCK))):
                    digest.update(block)
                    left -= len(block)
        except OSError:
            return False
        return left == 0 and digest.hexdigest() == mark.sha256

    def _begun(self, manifest: FileIO, digest: str, as_of: int) -> tuple[int, dict[int, JsonObject]]:
        for old in self._folder.glob("*.ndjson"):
            old.unlink()
        manifest.truncate(0)
        head: JsonObject = {"digest": digest, "as_of": as_of, "began": self._clock()}
        manifest.write(_sealed(head))
        return as_of, {}


def _sealed(told: JsonObject) -> bytes:
    """A line of the manifest with its end, and before it the hash that tells whether it is whole."""
    text = encode(told)
    return hashlib.sha256(text).hexdigest().encode() + b" " + text + b"\n"


def _unsealed(line: bytes) -> bytes:
    """What a line tells. Raises `ValueError` where that is not what was written."""
    digest, _, text = line.partition(b" ")
    if hashlib.sha256(text).hexdigest().encode() != digest:
        raise ValueError("the line was changed")
    return text


def _safe(lines: Sequence[bytes]) -> bytes:
    text = b"".join([line + b"\n" for line in lines])
    if _is_plain(text, len(lines)) and not may_hold_secrets(text):
        return text
    rows: list[JsonValue] = [decode(line) for line in lines]
    return safe_lines(cast("list[JsonObject]", rows))[0]


def _is_plain(text: bytes, lines: int) -> bool:
    """Whether a search of the text as it came finds what one of it encoded anew would: no escapes, no odd spaces."""
    odd = b"\\" in text or b'" ' in text or b"\t" in text or b"\r" in text
    return not odd and text.count(b"\n") == lines


def _appending(file: Path) -> BinaryIO:
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _locked(handle: int) -> bool:
    """Whether this process is the only one that uses the folder; it stays so until the file is closed."""
    try:
        import fcntl  # not on every system
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

"""A spool: rows go in page by page; out comes the list itself, or the handle of a file that holds it."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, cast

from spojit_stripe.data.checkpoint import Checkpoint
from spojit_stripe.data.folders import explained, make_private
from spojit_stripe.data.lines import Columns, Encoded, Seen, decode, safe_line, safe_lines
from spojit_stripe.errors import InputError
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["SPOOL_BYTES", "Spool"]

SPOOL_BYTES: Final = 256 * 1024

_AT_ONCE: Final = 100  # rows, as a page has

Publish = Callable[[Path, str, int, int, "Columns | None"], JsonObject]  # draft, SHA-256, rows, bytes, columns


class Spool:
    """Rows on their way into a store; nothing of it is visible there until `finish`.

    It is a `connector.Sink`. Every row is redacted before it is kept. Up to `threshold` bytes
    of JSON stay in memory; what is more goes to a draft file. `finish` or `discard` ends it.
    A `checkpoint` is for the reader of a long list; `finish` removes it, `discard` leaves it
    for another attempt.
    """

    def __init__(self, drafts: Path, publish: Publish, threshold: int, checkpoint: Checkpoint | None = None) -> None:
        self.checkpoint = checkpoint
        self._drafts = drafts
        self._publish = publish
        self._threshold = threshold
        self._parts: list[bytes] = []  # whole lines, each with its end
        self._rows = 0
        self._bytes = 0
        self._waiting = 0  # bytes in self._parts
        self._seen = Seen()
        self._hash = hashlib.sha256()
        self._draft: Path | None = None
        self._stream: BinaryIO | None = None
        self._open = True

    @property
    def rows(self) -> int:
        """How many rows were written so far."""
        return self._rows

    def write(self, objects: Sequence[JsonObject]) -> None:
        """Take the next rows. Raises `ConfigurationError` where they can't be kept."""
        for row in objects:
            line, kept = safe_line(row)
            self._seen.note(kept)
            self._take(line + b"\n", 1)

    def write_encoded(self, rows: Iterable[Encoded]) -> None:
        """Take rows that are JSON already, an object each. Raises `InputError` for one that is none."""
        left = iter(rows)
        while batch := [*islice(left, _AT_ONCE)]:
            found = [self._row(row, number) for number, row in enumerate(batch, self._rows + 1)]
            # Encoded anew: what others encoded may hide a key behind escapes, or lie over two lines.
            text, kept = safe_lines(found)
            for row in kept:
                self._seen.note(row)
            self._take(text, len(found))

    @staticmethod
    def _row(text: Encoded, number: int) -> JsonObject:
        try:
            row = decode(text)
        except (ValueError, RecursionError):
            raise InputError(f"row {number:,} is no valid JSON") from None
        if not isinstance(row, dict):
            raise InputError(f"row {number:,} is no object")
        return row

    def finish(self) -> list[JsonValue] | JsonObject:
        """The rows: the list itself where it is small, else the handle of their artifact, which is durable by then."""
        self._check_open()
        if self._draft is None and self._bytes <= self._threshold:
            self._open = False
            self._given_out()
            return [decode(line) for line in b"".join(self._parts).split(b"\n")[:-1]]
        self._flush()
        stream, draft = cast("BinaryIO", self._stream), cast("Path", self._draft)
        try:
            with explained("keep a result", self._drafts):
                stream.flush()
                os.fsync(stream.fileno())
                stream.close()
            digest = self._hash.hexdigest()
            handle = self._publish(draft, digest, self._rows, self._bytes, self._seen.columns())
            self._given_out()
            return handle
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget the rows. What `finish` gave stays."""
        self._open = False
        self._parts = []
        if self.checkpoint is not None:
            self.checkpoint.close()
        stream, self._stream = self._stream, None
        draft, self._draft = self._draft, None
        try:
            if stream is not None:
                stream.close()  # a full disk may say so once more
        except OSError:
            pass
        finally:
            if draft is not None:
                draft.unlink(missing_ok=True)

    def _given_out(self) -> None:
        if self.checkpoint is not None:
            self.checkpoint.remove()

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError("this spool is finished; make a new one")

    def _take(self, text: bytes, rows: int) -> None:
        self._check_open()  # each time: a thread may be writing what its caller gave up
        self._rows += rows
        self._bytes += len(text)
        self._waiting += len(text)
        self._parts.append(text)
        if self._waiting > self._threshold:
            self._flush()

    def _flush(self) -> None:
        text = b"".join(self._parts)
        self._parts, self._waiting = [], 0
        self._hash.update(text)
        try:
            with explained("keep a result", self._drafts):
                if self._stream is None:
                    make_private(self._drafts)
                    handle, name = tempfile.mkstemp(prefix="spool-", suffix=".ndjson", dir=self._drafts)
                    self._draft, self._stream = Path(name), os.fdopen(handle, "wb")
                try:
                    self._stream.write(text)
                except OSError as error:
                    if self.checkpoint is None or error.errno != errno.ENOSPC:
                        raise
                    # It is a convenience, and takes as much room as the list itself.
                    self.checkpoint.remove()
                    self._stream = self._cut(self._stream, self._bytes - len(text))
                    self._stream.write(text)
        except BaseException:
            self.discard()
            raise

    def _cut(self, stream: BinaryIO, size: int) -> BinaryIO:
        """The draft with its first `size` bytes again, however much of the next ones it took."""
        stream.close()  # which writes what it held back of the first
        again = cast("Path", self._draft).open("r+b")
        again.truncate(size)
        again.seek(size)
        return again

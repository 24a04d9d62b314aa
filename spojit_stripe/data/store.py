"""The artifacts of runs: results too large for a step's record, each under a key and a hash.

Spool ─ rows ─► draft ─ finish ─► synced, renamed ─► handle ─► the step records it
StoredList ◄─ rows as they are read ─ open ◄─ handle ◄─ the record, days later
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from spojit_stripe.data.checkpoint import Checkpoint
from spojit_stripe.data.files import Files, LocalFiles, LostError, RemoteFiles, lost
from spojit_stripe.data.folders import clean
from spojit_stripe.data.keys import key_of, stem_of
from spojit_stripe.data.lines import Columns
from spojit_stripe.data.spool import SPOOL_BYTES, Spool
from spojit_stripe.data.stored import Handle, StoredList, is_handle
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["ArtifactStore", "freeze", "thaw"]


class ArtifactStore:
    """The artifacts of one state folder, or of any fsspec `url`; then only drafts lie in the folder.

    Cheap to make: nothing is created before something has to be kept. `name` is what handles
    call it, so that a run is never resumed against another store.
    """

    def __init__(self, folder: Path, *, name: str = "local", url: str | None = None) -> None:
        self.name = name
        self._drafts = folder / "tmp"
        self._files: Files = LocalFiles(folder / "artifacts") if url is None else RemoteFiles(name, url)
        self._sound: set[tuple[str, str]] = set()  # what was found to be as recorded, by key and hash
        clean(self._drafts)

    def spool(
        self,
        prefix: str,
        *,
        threshold: int = SPOOL_BYTES,
        resumable: bool = False,
        wrapped: bool = False,
        nested: bool = False,
    ) -> Spool:
        """A way in for rows. `prefix` ("run-1/charges") is any text; `keys.segment` makes one part of a run's id.

        A `resumable` one keeps what of a list was read until it is finished, and another of the
        same prefix goes on there. `wrapped` and `nested` rows are those of a `Handle`.
        """
        stem_of(prefix)  # told before anything is fetched

        def publish(draft: Path, digest: str, rows: int, size: int, columns: Columns | None) -> JsonObject:
            key = key_of(prefix, digest)
            self._files.put(draft, key)
            return Handle(
                store=self.name,
                key=key,
                rows=rows,
                bytes=size,
                sha256=digest,
                columns=columns,
                wrapped=wrapped,
                nested=nested,
            ).to_json()

        name = f"read-{hashlib.sha256(prefix.encode(errors='backslashreplace')).hexdigest()[:32]}"
        return Spool(self._drafts, publish, threshold, Checkpoint(self._drafts / name) if resumable else None)

    def open(self, handle: JsonObject) -> StoredList:
        """The rows behind a handle. Raises `LostError` where they are not there as recorded."""
        wanted = Handle.of_json(handle)
        if wanted.store != self.name:
            raise LostError(
                f"artifact {wanted.key} is in store {wanted.store!r}, and this run has {self.name!r}; "
                "resume it with the store that it began with"
            )
        size = self._files.size(wanted.key)
        if size is None:
            raise lost(wanted.key, "is missing")
        if size != wanted.bytes:
            raise lost(wanted.key, f"has {size:,} bytes where the run recorded {wanted.bytes:,}")
        return StoredList(wanted, self._files, partial(thaw, store=self), self._sound)

    def prune(self, prefix: str) -> int:
        """Remove the artifacts of `prefix` and of all that is below it ("run-1"); gives the bytes freed."""
        return self._files.remove(stem_of(prefix))


def thaw(value: JsonValue, store: ArtifactStore) -> JsonValue:
    """A recorded value with its handles, at any depth, as lists that read where they are used.

    For what steps recorded, not for a payload: whoever writes a payload could name another run's file.
    """
    if isinstance(value, dict):
        if is_handle(value):
            return cast("JsonValue", store.open(value))
        return {name: thaw(inner, store) for name, inner in value.items()}
    if isinstance(value, list):
        return [thaw(inner, store) for inner in value]
    return value


def freeze(value: JsonValue) -> JsonValue:
    """The opposite of `thaw`: a value as a step records it."""
    if isinstance(value, StoredList):
        return value.handle
    if isinstance(value, Mapping):
        return {name: freeze(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [freeze(inner) for inner in value]
    return value

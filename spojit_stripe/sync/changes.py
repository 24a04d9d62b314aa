"""The ids that events name, kept on disk: there may be millions in thirty days."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

from spojit_stripe.errors import ServiceError
from spojit_stripe.sync.resources import Resource
from spojit_stripe.sync.rows import is_id
from spojit_stripe.sync.sqlite import scratch, scratching
from spojit_stripe.values import JsonObject

__all__ = ["Changes", "change_of"]


def change_of(event: JsonObject, resource: Resource) -> tuple[str, int, bool] | None:
    """The id that an event is about, its time, and whether it tells of a deletion; None: of another kind.

    Nothing else is taken from an event: its object is of the account's API version, not of ours.
    Raises `ServiceError` for what is no event.
    """
    kind, at, data = event.get("type"), event.get("created"), event.get("data")
    about = data.get("object") if isinstance(data, dict) else None
    if not isinstance(kind, str) or not isinstance(at, int) or not isinstance(about, dict):
        raise ServiceError(f"{resource.name}: event {str(event.get('id'))[:60]!r} does not say what it is about")
    ours = about.get("object") == resource.kind
    found = about.get("id" if ours else resource.touched_by.get(str(about.get("object")), ""))
    if isinstance(found, dict):
        found = found.get("id")
    if not is_id(found):
        return None  # another kind of object; or an upcoming invoice, which has no id
    return found, at, ours and kind.endswith(".deleted")


class Changes:
    """A set of ids, each with the time of its last event and, where one told so, of its deletion.

    All methods raise `ConfigurationError` where the folder for temporary files takes no more.
    """

    def __init__(self) -> None:
        with scratching():
            self._db = scratch()
            self._db.execute("CREATE TABLE changes (id TEXT PRIMARY KEY, at INTEGER NOT NULL, deleted INTEGER)")

    def add(self, identifier: str, at: int, deleted: int | None) -> None:
        self._add([(identifier, at, deleted)])

    def add_ids(self, ids: Iterable[str], at: int) -> None:
        """Take ids that have to be read again, as if of an event of a time."""
        self._add([(name, at, None) for name in ids])

    def add_all(self, resource: Resource, events: Sequence[JsonObject]) -> None:
        """Take the ids from events. Raises `ServiceError`."""
        found = [change for event in events if (change := change_of(event, resource)) is not None]
        self._add([(name, at, at if deleted else None) for name, at, deleted in found])

    def _add(self, changes: Sequence[tuple[str, int, int | None]]) -> None:
        with scratching():
            self._db.executemany(
                "INSERT INTO changes VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " at = max(at, excluded.at),"
                " deleted = coalesce(max(deleted, excluded.deleted), deleted, excluded.deleted)",
                changes,
            )

    def batches(self, size: int) -> Iterator[list[str]]:
        """All ids, some at a time."""
        after = ""
        while True:
            with scratching():
                found = self._db.execute("SELECT id FROM changes WHERE id > ? ORDER BY id LIMIT ?", (after, size))
                batch = [str(name) for (name,) in found]
            if not batch:
                return
            yield batch
            after = batch[-1]

    def of(self, ids: Sequence[str]) -> dict[str, tuple[int, int | None]]:
        """The time of the last event, and of a deletion, of each id."""
        marks = ", ".join("?" * len(ids))
        with scratching():
            found = self._db.execute(f"SELECT id, at, deleted FROM changes WHERE id IN ({marks})", ids)  # noqa: S608
            return {str(name): (int(at), deleted) for name, at, deleted in found}

    def __enter__(self) -> Changes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

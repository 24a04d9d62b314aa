"""Where the objects of a list go, and what is noted of the answers they came in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol, runtime_checkable

from spojit_stripe.connector import Listing, Sink
from spojit_stripe.errors import SpojitError
from spojit_stripe.values import JsonObject, StoppedBecause
from spojit_stripe.wire.listing.page import Page, Raw, decoded

__all__ = ["Checkpoint", "EncodedSink", "Output", "ResumableSink", "Tally"]

_MOST_IDS: Final = 100  # of requests, at either end of a list


@runtime_checkable
class EncodedSink(Protocol):
    """A sink that takes objects as they came; it decodes what it wants of them, and redacts them itself."""

    def write_encoded(self, rows: Iterable[Raw]) -> None:
        """Take the next objects, in the list's order."""
        ...


class Checkpoint(Protocol):
    """Keeps rows in parts, each with a mark that only its writer understands. It redacts the rows itself."""

    def open(self, digest: str, as_of: int) -> tuple[int, dict[int, JsonObject]]:
        """Take up or begin: the list's `as_of`, and the mark of each part that is there."""
        ...

    def note(self, part: int, mark: JsonObject | None, sure: Sequence[bytes], rest: Sequence[bytes]) -> None:
        """Keep rows; with a `mark` all before `rest` counts."""
        ...

    def remove(self) -> None:
        """Throw it all away."""
        ...

    def rows(self, part: int) -> Iterator[list[bytes]]:
        """The rows of a part that count."""
        ...


@runtime_checkable
class ResumableSink(Protocol):
    """A sink of a read that another process may go on with."""

    @property
    def checkpoint(self) -> Checkpoint | None: ...


class Output:
    """The way to a sink, or into memory where there is none."""

    def __init__(self, sink: Sink | None) -> None:
        self._sink = sink
        self._encoded = sink if isinstance(sink, EncodedSink) else None
        self.checkpoint = sink.checkpoint if isinstance(sink, ResumableSink) else None
        self.holds = sink is None
        self.held: list[JsonObject] = []
        self.given = 0

    def give(self, objects: Sequence[Raw]) -> None:
        """Take the next objects; returns when the sink has."""
        if not objects:
            return
        if self._encoded is not None:
            self._encoded.write_encoded(objects)
        elif self._sink is not None:
            self._sink.write([decoded(raw) for raw in objects])
        else:
            self.held += [decoded(raw) for raw in objects]
        self.given += len(objects)


class Tally:
    """What the envelope and its meta say of the pages that came.

    Of very many request ids the first and the last hundred are kept.
    """

    def __init__(self) -> None:
        self.fetched = 0
        self.scanned = 0
        self.pages = 0
        self.warnings: list[str] = []
        self.date: int | None = None
        self._first_ids: list[str] = []
        self._last_ids: list[str] = []
        self._attempts = 0
        self._api_version: str | None = None
        self._livemode: bool | None = None

    def note(self, page: Page, wall: Callable[[], float]) -> None:
        """An answer came, whatever is in it."""
        if self.date is None:
            self.date = page.date if page.date is not None else int(wall())
        if page.request_id:
            self._note_id(page.request_id)
        self._attempts += page.attempts
        self._api_version = self._api_version or page.api_version
        if page.livemode is not None:
            self._livemode = page.livemode
        self.warnings.extend(text for text in page.warnings if text not in self.warnings)

    def _note_id(self, request_id: str) -> None:
        if len(self._first_ids) < _MOST_IDS:
            self._first_ids.append(request_id)
            return
        self._last_ids.append(request_id)
        if len(self._last_ids) >= 2 * _MOST_IDS:
            del self._last_ids[:_MOST_IDS]

    def listing(
        self,
        data: list[JsonObject],
        *,
        complete: bool,
        as_of: int,
        next_cursor: str | None,
        stopped_because: StoppedBecause,
        error: SpojitError | None,
    ) -> Listing:
        return Listing(
            data=data,
            complete=complete,
            as_of=as_of,
            next_cursor=next_cursor,
            fetched=self.fetched,
            scanned=self.scanned,
            pages=self.pages,
            stopped_because=stopped_because,
            request_ids=(*self._first_ids, *self._last_ids[-_MOST_IDS:]),
            attempts=self._attempts,
            api_version=self._api_version,
            livemode=self._livemode,
            error=error,
            warnings=tuple(self.warnings),
        )

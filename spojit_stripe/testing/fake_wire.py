"""A wire that answers from a script and remembers what it was asked."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TypeAlias

from spojit_stripe.connector import Answer, Listing, ListPlan, Progress, Sink, Trace
from spojit_stripe.values import JsonObject, Paging, Request

__all__ = ["FakeWire", "Scripted", "Sent", "UnexpectedRequestError", "UnplayedError", "listing_of"]


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that reached the wire, and the idempotency key it would have carried."""

    request: Request
    key: str | None
    plan: ListPlan | None = None
    paging: Paging | None = None

    @property
    def what(self) -> str:
        """`"POST /v1/payments"`."""
        return f"{self.request.method} {self.request.path}"


Reply: TypeAlias = Answer | Listing | JsonObject | Exception
Scripted: TypeAlias = Reply | Callable[[Sent], Reply | Awaitable[Reply]]


class UnexpectedRequestError(AssertionError):
    """A request that the script does not foresee."""


class UnplayedError(AssertionError):
    """A part of the script that was never asked for."""


def listing_of(*objects: JsonObject, complete: bool = True, as_of: int = 1_790_000_000) -> Listing:
    """A list of one page, read to its end unless not `complete`."""
    last = objects[-1].get("id") if objects else None
    return Listing(
        data=list(objects),
        complete=complete,
        as_of=as_of,
        next_cursor=last if isinstance(last, str) and not complete else None,
        fetched=len(objects),
        scanned=len(objects),
        pages=1,
        stopped_because="end" if complete else "max_items",
        request_ids=("req_fake",),
        attempts=1,
        livemode=False,
    )


class FakeWire:
    """Implements `connector.Wire`. Use it as a context manager: leaving it fails on an unplayed script.

    A reply is an `Answer`, a JSON object (the body of one), a `Listing`, an exception to raise,
    or a function of the `Sent` request that gives one of these; it may be `async`, to hold the
    request until the test lets it go.
    """

    def __init__(self) -> None:
        self._script: list[tuple[str, Scripted]] = []
        self._found: list[JsonObject | Exception | None] = []
        self.sent: list[Sent] = []
        self.traces: list[Trace] = []
        self.closed = False

    def will(self, what: str, *replies: Scripted) -> FakeWire:
        """Answer the next requests `what` (`"GET /v1/payments"`) with `replies`, one each, in order."""
        self._script += [(what, reply) for reply in replies]
        return self

    def will_find(self, *objects: JsonObject | Exception | None) -> FakeWire:
        """Answer the next look-ups."""
        self._found += objects
        return self

    @property
    def keys(self) -> list[str | None]:
        """The idempotency keys of all writes so far."""
        return [sent.key for sent in self.sent if sent.request.method != "GET"]

    @property
    def writes(self) -> list[Sent]:
        return [sent for sent in self.sent if sent.request.method != "GET"]

    def verify(self) -> None:
        """Raises `UnplayedError` where a part of the script was never asked for."""
        if self._script or self._found:
            left = [what for what, _ in self._script] + ["a look-up"] * len(self._found)
            raise UnplayedError(f"never asked for: {', '.join(left)}")

    # The wire

    async def send(self, request: Request, *, key: str | None = None) -> Answer:
        reply = await self._play(Sent(request, key))
        if isinstance(reply, Answer):
            return reply
        if isinstance(reply, Listing):
            raise UnexpectedRequestError(
                f"{request.method} {request.path} was read as an object, but a list is scripted"
            )
        return Answer(
            body=reply, request_id=f"req_fake_{len(self.sent)}", livemode=False, api_version=request.api_version
        )

    async def read_list(
        self,
        request: Request,
        plan: ListPlan,
        paging: Paging,
        progress: Progress | None = None,
        sink: Sink | None = None,
    ) -> Listing:
        reply = await self._play(Sent(request, None, plan, paging))
        if not isinstance(reply, Listing):
            raise UnexpectedRequestError(
                f"{request.method} {request.path} was read as a list, but an object is scripted"
            )
        if progress is not None:
            progress(reply.fetched, reply.scanned, reply.pages)
        if sink is not None:
            sink.write(reply.data)
            return replace(reply, data=[])
        return reply

    async def look_up(self, trace: Trace) -> JsonObject | None:
        self.traces.append(trace)
        if not self._found:
            raise UnexpectedRequestError(f"a look-up of {trace.key} is not scripted")
        found = self._found.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def aclose(self) -> None:
        self.closed = True

    async def _play(self, sent: Sent) -> Answer | Listing | JsonObject:
        self.sent.append(sent)
        index = next((index for index, (what, _) in enumerate(self._script) if what == sent.what), None)
        if index is None:
            expected = ", ".join(what for what, _ in self._script) or "nothing more"
            raise UnexpectedRequestError(f"{sent.what} came, but the script expects {expected}")
        _, scripted = self._script.pop(index)
        reply = scripted(sent) if callable(scripted) else scripted
        if inspect.isawaitable(reply):
            reply = await reply
        if isinstance(reply, Exception):
            raise reply
        return reply

    def __enter__(self) -> FakeWire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.verify()

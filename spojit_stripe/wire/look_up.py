"""Looking for what a write made whose answer never came.

First the events: each says which idempotency key caused it, for 30 days. Then the objects
themselves, by the key that was stamped into their metadata: by list and never by search,
which lags. A v1 DELETE has no key, so its object is looked at. Finding nothing proves nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Final

from spojit_stripe.connector import Answer, Listing, ListPlan, Trace
from spojit_stripe.errors import (
    AccessError,
    DeclinedError,
    InvalidRequestError,
    OutcomeUnknownError,
    Problem,
    SpojitError,
)
from spojit_stripe.values import JsonObject, JsonValue, Paging, Request
from spojit_stripe.wire.bind import STAMP
from spojit_stripe.wire.operations import Operation, Operations

__all__ = ["look_up"]

_BEFORE: Final = 300  # seconds: clocks differ
_SOON: Final = 900  # most writes arrive at once or never
_AFTER: Final = 25 * 3600  # a replay under the same key may come 23 hours later, and lags count
_TOGETHER: Final = 60  # the events of one request come within seconds
_CHUNK: Final = Paging(paginate="all", max_pages=5)
_PLAN: Final = ListPlan(style="cursor", wanted=100, page_size=100)
_UNDATED: Final = 20  # pages of a list that can't be cut by time

ReadList = Callable[[Request, ListPlan, Paging], Awaitable[Listing]]
Send = Callable[[Request], Awaitable[Answer]]


async def look_up(read_list: ReadList, send: Send, trace: Trace) -> JsonObject | None:
    """The object that the write of `trace` made or changed, or None.

    Raises `DeclinedError` where what is found shows that the payment was declined, and
    `OutcomeUnknownError` where looking failed: nothing is known then, as before.
    """
    try:
        return await _Search(read_list, send, trace).run()
    except (DeclinedError, OutcomeUnknownError):
        raise
    except SpojitError as error:
        what = f"{trace.request.method} {trace.request.path}"
        text = f"{what}: the outcome is still unknown, looking for it failed: {error}"
        raise OutcomeUnknownError(text, getattr(error, "problem", None)) from None


class _Search:
    def __init__(self, read_list: ReadList, send: Send, trace: Trace) -> None:
        self._read_list = read_list
        self._send = send
        self._trace = trace
        self._operations = Operations.load()
        request = trace.request
        self._operation = self._operations.get(f"{request.method} {request.template}")
        self._side_effect: JsonObject | None = None
        start = trace.sent_at - _BEFORE
        self._windows = ((start, trace.sent_at + _SOON), (trace.sent_at + _SOON + 1, trace.sent_at + _AFTER))

    async def run(self) -> JsonObject | None:
        request = self._trace.request
        if request.method == "DELETE" and request.version == 1:
            return await self._deleted()
        refused: AccessError | None = None
        for look in (self._in_events, self._in_list):
            try:
                found = await look()
            except AccessError as error:
                # A restricted key may lack one of the two permissions.
                refused = error
                continue
            if found is not None:
                _check_declined(found)
                return found
        if self._side_effect is None and refused is not None:
            raise refused
        return self._side_effect

    # By event

    async def _in_events(self) -> JsonObject | None:
        """The newest object of the right type in the events that the key caused.

        Another object that it touched is kept as `_side_effect`: proof, but not the answer.
        """
        for window in self._windows:
            events = await self._caused_in(window)
            found = [event for event in events if self._fits(_object_of(event))]
            failed = [event for event in found if str(event.get("type")).endswith("failed")]
            if failed:
                raise _declined(_object_of(failed[0]))
            if found:
                return _object_of(found[0])
            if events and self._side_effect is None:
                self._side_effect = _object_of(events[0])
        return None

    async def _caused_in(self, window: tuple[int, int]) -> list[JsonObject]:
        """The events that the key caused, newest first."""
        caused: list[JsonObject] = []
        async for event in self._objects(self._get("/v1/events", {"created": _between(window)})):
            cause = event.get("request")
            if isinstance(cause, dict) and cause.get("idempotency_key") == self._trace.key and _object_of(event):
                caused.append(event)
            elif caused and _seconds(event) < _seconds(caused[0]) - _TOGETHER:
                break
        return caused

    def _fits(self, found: JsonObject) -> bool:
        """Whether `found` is the kind of object that the operation answers with, or the one it names."""
        if found.get("id") in self._trace.request.path.rsplit("/", 2):
            return True
        kind, returned = found.get("object"), self._operation.returns if self._operation else ""
        return isinstance(kind, str) and _plain(kind) == _plain(returned)

    # By stamp

    async def _in_list(self) -> JsonObject | None:
        """The object of the operation's own list that carries the key in its metadata."""
        lister = self._operations.get(f"GET {self._trace.request.template}")
        if not self._trace.stamped or lister is None or lister.list_style != "cursor":
            return None
        if "created" not in lister.param_names:
            return await self._stamped(self._get(self._trace.request.path, {}), most=_UNDATED)
        for window in self._windows:
            found = await self._stamped(self._listing(lister, window))
            if found is not None:
                return found
        return None

    def _listing(self, lister: Operation, window: tuple[int, int]) -> Request:
        params: JsonObject = {"created": _between(window)}
        if lister.name == "GET /v1/subscriptions":
            params["status"] = "all"  # cancelled ones are left out otherwise
        return self._get(self._trace.request.path, params)

    async def _stamped(self, request: Request, most: int | None = None) -> JsonObject | None:
        async for item in self._objects(request, most):
            metadata = item.get("metadata")
            if isinstance(metadata, dict) and metadata.get(STAMP) == self._trace.key:
                return item
        return None

    # Deletes

    async def _deleted(self) -> JsonObject | None:
        """What stands where a v1 DELETE went, if that is gone, deleted or cancelled."""
        request = self._trace.request
        if self._operations.get(f"GET {request.template}") is None:
            return None
        try:
            body = (await self._send(replace(request, method="GET", params={}))).body
        except InvalidRequestError as error:
            if error.problem.code != "resource_missing":
                raise
            return {"id": request.path.rsplit("/", 1)[1], "deleted": True}
        return body if body.get("deleted") is True or body.get("status") == "canceled" else None

    # Reading

    def _get(self, path: str, params: JsonObject) -> Request:
        request = self._trace.request
        template = path if path == "/v1/events" else request.template
        return replace(request, method="GET", path=path, template=template, params=params, version=1)

    async def _objects(self, request: Request, most: int | None = None) -> AsyncIterator[JsonObject]:
        """All objects of a list, newest first, a few pages in memory at a time."""
        pages = 0
        while True:
            listing = await self._read_list(request, _PLAN, _CHUNK)
            for item in listing.data:
                yield item
            if listing.error is not None:
                raise listing.error
            pages += listing.pages
            if listing.complete or listing.next_cursor is None or listing.stopped_because != "max_pages":
                return
            if most is not None and pages >= most:
                return
            request = replace(request, params={**request.params, "starting_after": listing.next_cursor})


def _between(window: tuple[int, int]) -> JsonObject:
    return {"gte": window[0], "lte": window[1]}


def _object_of(event: JsonObject) -> JsonObject:
    data = event.get("data")
    found = data.get("object") if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def _seconds(event: JsonObject) -> int:
    created = event.get("created")
    return created if isinstance(created, int) else 0


def _plain(name: str) -> str:
    """`checkout.session` and `Session` alike, `payment_intent` and `PaymentIntent` too."""
    return name.rsplit(".", 1)[-1].replace("_", "").lower()


def _check_declined(found: JsonObject) -> None:
    """Raise `DeclinedError` for a failed charge, or an intent that is back at its start."""
    failed = found.get("object") == "charge" and found.get("status") == "failed"
    again = found.get("object") == "payment_intent" and found.get("status") == "requires_payment_method"
    if failed or (again and found.get("last_payment_error")):
        raise _declined(found)


def _declined(found: JsonObject) -> DeclinedError:
    """The decline that Stripe answered with, as what was found tells it."""
    error = found.get("last_payment_error") or found.get("last_finalization_error")
    if not isinstance(error, dict):
        error = {"code": found.get("failure_code"), "decline_code": _outcome_reason(found)}
    code, decline_code = _text(error.get("code")), _text(error.get("decline_code"))
    object_id = _text(found.get("id"))
    problem = Problem(
        type="card_error",
        code=code,
        decline_code=decline_code,
        related_object=object_id,
        advice="do not repeat it as it is; ask the customer for another payment method",
    )
    reason = decline_code or code or "no reason given"
    return DeclinedError(f"{object_id}: the payment was declined ({reason}); {problem.advice}", problem)


def _outcome_reason(charge: JsonObject) -> JsonValue:
    outcome = charge.get("outcome")
    return outcome.get("reason") if isinstance(outcome, dict) else None


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) and value else None

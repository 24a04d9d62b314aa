"""Faults on demand: what goes wrong with the next requests that match.

A fault may delay, hold, drop, replace or cut the answer, before or after the request
has its effect. "Before the effect" is a failure on the way in: nothing happened.
"After" is one on the way out: it happened, and the caller doesn't know.
"""

import asyncio
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import msgspec

from spojit_stripe.sandbox.form import Raw
from spojit_stripe.sandbox.values import JsonObject, JsonValue

_PHASES = {"", "before", "after"}


class Fault(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A fault and the requests that it meets.

    method, path    which requests; `path` is a pattern such as `/v1/charges*`
    params          parameters that must have these values
    skip, times     leave out the first ones; then meet so many, 0 for all that follow
    latency_ms      wait so long before the effect
    hold            "before" or "after" the effect: keep the request until it is released
    drop            "before" or "after" the effect: close the connection without an answer
    status          answer this instead; with `code`, `type`, `message`, or a raw `body`
    effect          whether the effect takes place although `status` is answered
    stored          whether that answer is kept under the idempotency key and replayed
    truncate        send only so many bytes of the answer's body, then close
    reason          for 429: the `Stripe-Rate-Limited-Reason`
    headers         further headers of the replaced answer
    """

    method: str | None = None
    path: str = "*"
    params: dict[str, str] = msgspec.field(default_factory=lambda: {})
    skip: int = 0
    times: int = 1
    latency_ms: float = 0
    hold: str = ""
    drop: str = ""
    status: int | None = None
    code: str | None = None
    type: str | None = None
    message: str | None = None
    body: str | None = None
    content_type: str = "application/json"
    effect: bool = False
    stored: bool = False
    truncate: int | None = None
    reason: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=lambda: {})
    id: str = ""

    def __post_init__(self) -> None:
        if self.hold not in _PHASES or self.drop not in _PHASES:
            raise ValueError("`hold` and `drop` take 'before' or 'after'")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError("`status` is between 200 and 599")
        if self.skip < 0 or self.times < 0 or self.latency_ms < 0 or (self.truncate or 0) < 0:
            raise ValueError("`skip`, `times`, `latency_ms` and `truncate` are not negative")
        if self.stored and self.status is None:
            raise ValueError("`stored` needs the `status` that is kept")

    @property
    def at_the_edge(self) -> bool:
        """Whether it answers before the request gets in at all."""
        return self.status is not None and not self.effect and not self.stored

    def meets(self, method: str, path: str, params: dict[str, Raw]) -> bool:
        """Whether it is about such a request."""
        if self.method is not None and self.method.upper() != method:
            return False
        return fnmatchcase(path, self.path) and all(params.get(name) == value for name, value in self.params.items())

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The answer that replaces the real one: status, headers and body."""
        status = self.status or 500
        headers = dict(self.headers)
        headers["content-type"] = self.content_type
        if self.reason is not None:
            headers["Stripe-Rate-Limited-Reason"] = self.reason
        if self.body is not None:
            return status, headers, self.body.encode()
        error: JsonObject = {"message": self.message or _message(status), "type": self.type or _type(status)}
        code = self.code or ("rate_limit" if status == 429 else None)
        if code is not None:
            error["code"] = code
        return status, headers, msgspec.json.encode({"error": error})


def _type(status: int) -> str:
    return "api_error" if status >= 500 else "card_error" if status == 402 else "invalid_request_error"


def _message(status: int) -> str:
    if status == 429:
        return "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
    if status == 402:
        return "Your card was declined."
    return "An unknown error occurred" if status >= 500 else "The sandbox was told to refuse this request."


@dataclass
class Hold:
    """A request that is kept."""

    id: str
    phase: str
    method: str
    path: str
    request: int
    released: asyncio.Event = field(default_factory=asyncio.Event)
    drop: bool = False

    def as_json(self) -> JsonObject:
        """How the control API shows it."""
        return {
            "id": self.id,
            "phase": self.phase,
            "method": self.method,
            "path": self.path,
            "request": self.request,
        }


class Faults:
    """The faults that wait for a request, and the requests that are held."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._holds: dict[str, Hold] = {}
        self._count = 0

    def add(self, fault: Fault) -> str:
        """Set up a fault; returns its id."""
        self._count += 1
        fault.id = f"fault_{self._count}"
        self._faults.append(fault)
        return fault.id

    def remove(self, identifier: str | None = None) -> None:
        """Take back one fault, or all."""
        self._faults = [each for each in self._faults if identifier is not None and each.id != identifier]

    def waiting(self) -> list[Fault]:
        """The faults that have not met all their requests."""
        return list(self._faults)

    def meet(self, method: str, path: str, params: dict[str, Raw]) -> Fault | None:
        """The fault for a request; its count goes down."""
        for fault in self._faults:
            if not fault.meets(method, path, params):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.times == 1:
                self._faults.remove(fault)
            elif fault.times > 1:
                fault.times -= 1
            return fault
        return None

    async def hold(self, phase: str, method: str, path: str, request: int) -> bool:
        """Keep a request until it is released; whether it is then to be dropped."""
        self._count += 1
        hold = Hold(f"hold_{self._count}", phase, method, path, request)
        self._holds[hold.id] = hold
        try:
            await hold.released.wait()
        finally:
            self._holds.pop(hold.id, None)
        return hold.drop

    def held(self) -> list[Hold]:
        """The requests that are kept, oldest first."""
        return list(self._holds.values())

    def release(self, identifier: str | None = None, *, drop: bool = False) -> int:
        """Let one held request go on, or all; how many."""
        chosen = [hold for hold in self._holds.values() if identifier in {None, hold.id}]
        for hold in chosen:
            hold.drop = drop
            hold.released.set()
        return len(chosen)


def as_json(fault: Fault) -> JsonValue:
    """How the control API shows a fault."""
    shown: JsonValue = msgspec.to_builtins(fault)
    return shown

"""The one place that speaks HTTP to Stripe: send, retry under one key, map errors.

What is known of a write decides everything here:

    never sent    connect or pool timeout, connection refused, name unknown
    maybe sent    read timeout, disconnect, 5xx, an answer that is cut off or no JSON
    refused       401, 403, 429: says nothing about an earlier attempt under the same key
    answered      2xx, 400, 402, 404 with Stripe's JSON: holds for every attempt under the key

A write that was maybe sent is repeated under its own key. It ends as `OutcomeUnknownError`
unless a later attempt is answered. A v1 DELETE has no key, so it is not repeated.
"""

from __future__ import annotations

import asyncio
import hashlib
import platform
import random
import time
from calendar import timegm
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final, TypeVar
from uuid import uuid4

import httpx2

from spojit_stripe.connection import Connection, is_loopback
from spojit_stripe.connector import Answer, Listing, ListPlan, Progress, Sink, Trace
from spojit_stripe.errors import (
    ConfigurationError,
    InputError,
    OutcomeUnknownError,
    Problem,
    SpojitError,
    UnavailableError,
)
from spojit_stripe.values import Effect, JsonObject, Paging, Request, Secret
from spojit_stripe.wire.body import Body
from spojit_stripe.wire.effects import effect_of
from spojit_stripe.wire.faults import Reader, Reply, code_of, is_rate_limited, json_object
from spojit_stripe.wire.form import encode_form, encode_json, encode_query
from spojit_stripe.wire.limiter import Lane, Limiter, shared_limiter
from spojit_stripe.wire.listing import Page, body_of, read_list
from spojit_stripe.wire.look_up import look_up
from spojit_stripe.wire.operations import Operations
from spojit_stripe.wire.paths import check_path
from spojit_stripe.wire.retry import Finding, Retries, RetryRule, Trouble, judge
from spojit_stripe.wire.transport import TIMEOUTS, transport_to, trouble_of

__all__ = ["API_VERSION", "StripeWire"]

API_VERSION: Final = "2026-10-28.endive"
"""The API version that the catalog and the operations index were made for."""

_Read = TypeVar("_Read")

_API: Final = "https://api.stripe.com"
_LONGEST_KEY: Final = 255
_EXTENSIONS: Final = {"timeout": TIMEOUTS}


@dataclass(frozen=True, slots=True)
class _Outgoing:
    """One encoded request. `repeatable`: sending it twice is the same as once."""

    method: str
    url: httpx2.URL
    headers: httpx2.Headers
    body: bytes
    write: bool
    repeatable: bool
    what: str


class StripeWire:
    """Stripe for one connection; implements `connector.Wire`. Use it within one event loop.

    `transport`, `clock` (seconds, never backwards), `wall` (Unix seconds), `sleep` and `random`
    (0 to 1) are for tests; `limiter` is otherwise the process's own for this key and account.

    Proxies and CA files of the environment are honoured, except for a `base_url` on this
    machine: a proxy must not get what is meant to stay here.
    """

    def __init__(
        self,
        connection: Connection,
        secret: Secret,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        limiter: Limiter | None = None,
        rule: RetryRule | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        base = (connection.base_url or _API).rstrip("/")
        self._connection = connection
        self._secret = secret
        self._base = base
        self._origin = httpx2.URL(base)
        self._live = connection.mode == "live"
        self._reader = Reader(connection, secret.reveal())
        self._rule = rule or RetryRule()
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._random = random
        self._limiter = limiter
        self._limiters: dict[str | None, Limiter] = {}
        self._keyless_headers: dict[tuple[str | None, str], httpx2.Headers] = {}
        self._last_date: tuple[bytes, int] = (b"", 0)
        # The transport without a client around it follows no redirects, keeps no cookies, logs
        # no URLs, and spends a tenth less CPU on a request.
        self._transport = transport or transport_to(self._origin)

    async def aclose(self) -> None:
        """Close all connections; the wire can't be used afterwards."""
        await self._transport.aclose()

    async def send(self, request: Request, *, key: str | None = None) -> Answer:
        """Send one request, repeated where that is safe, under one key.

        `key` goes out as `Idempotency-Key` with every POST and v2 DELETE and must be given
        for them; GETs and v1 DELETEs have none, and a POST that only computes needs none.

        Raises `InputError` where the request can't be encoded; `ConfigurationError` for TLS
        faults and a read answered from the wrong mode; `ServiceError` where nothing took
        effect; `OutcomeUnknownError` where a write may have.
        """
        outgoing = self._outgoing(request, key)
        reply, body, attempts = await self._answered(outgoing, request, json_object)
        livemode = self._mode_of(_livemode(body), outgoing, reply, attempts)
        return Answer(
            body=body,
            status=reply.status,
            request_id=reply.request_id,
            replayed=reply.replayed,
            attempts=attempts,
            api_version=self._version_of(reply, request),
            livemode=livemode,
            date=self._date(reply.headers.get(b"date")),
            warnings=self._notices(reply),
        )

    async def _answered(
        self, outgoing: _Outgoing, request: Request, read: Callable[[bytes], _Read | None]
    ) -> tuple[Reply, _Read, int]:
        """The 2xx answer to a request, what `read` makes of its body, and the number of attempts.

        `read` gives None for a body that is not whole. Raises as `send` does.
        """
        lane = self._lane(request)
        retries = Retries(self._rule, clock=self._clock, wall=self._wall, random=self._random)
        unsure: str | None = None
        while True:
            outcome = await self._attempt(outgoing, lane, retries)
            if isinstance(outcome, Reply):
                if 200 <= outcome.status < 300:
                    body = read(outcome.body)
                    if body is not None:
                        return outcome, body, retries.attempts
                elif is_rate_limited(outcome):
                    lane.limited(outcome.header(b"stripe-rate-limited-reason"), lock=code_of(outcome) == "lock_timeout")
            finding = judge(outcome)
            if outgoing.write and finding.unsure:
                unsure = finding.unsure
            may_repeat = finding.retry and (outgoing.repeatable or unsure is None)
            wait = retries.wait(outcome) if may_repeat else None
            if wait is None:
                raise self._failure(outgoing, outcome, finding, unsure, retries.attempts)
            await self._sleep(wait)

    async def read_list(
        self,
        request: Request,
        plan: ListPlan,
        paging: Paging,
        progress: Progress | None = None,
        sink: Sink | None = None,
    ) -> Listing:
        """Read a list as `listing.read_list` says."""
        lane = self._lane(request)
        return await read_list(
            self._page,
            request,
            plan,
            paging,
            progress,
            sink,
            origin=self._base,
            scope=self._scope(request),
            in_flight=lane.worth,
            limit=lane.pace,
            wall=self._wall,
            clock=self._clock,
        )

    async def _page(self, request: Request) -> Page:
        """One page of a list, its objects undecoded."""
        outgoing = self._outgoing(request, None)
        reply, body, attempts = await self._answered(outgoing, request, body_of)
        livemode = body.livemode if isinstance(body.livemode, bool) else None
        return Page(
            body=body,
            request_id=reply.request_id,
            attempts=attempts,
            api_version=self._version_of(reply, request),
            livemode=self._mode_of(livemode, outgoing, reply, attempts),
            date=self._date(reply.headers.get(b"date")),
            warnings=self._notices(reply),
        )

    async def look_up(self, trace: Trace) -> JsonObject | None:
        """The object that a write under `trace.key` made, or None: absence proves nothing.

        Raises as `look_up.look_up` does.
        """
        return await look_up(self.read_list, self.send, trace)

    # Out

    def _outgoing(self, request: Request, key: str | None) -> _Outgoing:
        path = check_path(request.path)
        method = request.method
        body = b""
        if method == "POST":
            body = encode_form(request.params) if request.version == 1 else encode_json(request.params)
        else:
            query = encode_query(request.params)
            if query:
                path = f"{path}?{query}"
        try:
            url = httpx2.URL(self._base + path)
        except httpx2.InvalidURL as error:
            raise InputError(f"{method} {request.path}: {error}; send fewer parameters") from None
        if url.netloc != self._origin.netloc or url.raw_scheme != self._origin.raw_scheme:
            # check_path leaves no way to get here; the key must not depend on that alone.
            raise InputError(f"path {request.path!r} leads to another host; nothing was sent")  # pragma: no cover
        keyed = method == "POST" or (method == "DELETE" and request.version == 2)
        only_reads = method == "GET" or (method == "POST" and key is None and _only_reads(request))
        if only_reads and keyed:
            key = str(uuid4())  # it keeps nothing, so no two calls can be the same one
        return _Outgoing(
            method=method,
            url=url,
            headers=self._headers_for(request, _checked(key) if keyed else None, body),
            body=body,
            write=not only_reads,
            repeatable=keyed or method == "GET",
            what=f"{method} {request.path}",
        )

    def _headers_for(self, request: Request, key: str | None, body: bytes) -> httpx2.Headers:
        account = request.account or self._connection.account
        api_version = self._api_version(request)
        if key is None:
            found = self._keyless_headers.get((account, api_version))
            if found is None:
                found = httpx2.Headers(self._fixed_headers(account, api_version))
                self._keyless_headers[account, api_version] = found
            return found
        kind = b"application/x-www-form-urlencoded" if request.version == 1 else b"application/json"
        headers = self._fixed_headers(account, api_version)
        if request.method == "POST":
            headers.append((b"Content-Type", kind))
        headers.append((b"Content-Length", b"%d" % len(body)))
        headers.append((b"Idempotency-Key", key.encode("ascii")))
        return httpx2.Headers(headers)

    def _scope(self, request: Request) -> str:
        """What tells the lists of one account, mode and API version from another's; no secret."""
        key = hashlib.sha256(self._secret.reveal().encode()).hexdigest()
        return f"{key} {request.account or self._connection.account} {self._api_version(request)}"

    def _api_version(self, request: Request) -> str:
        return request.api_version or self._connection.api_version or API_VERSION

    def _fixed_headers(self, account: str | None, api_version: str) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"Host", self._origin.netloc),
            (b"Authorization", f"Bearer {self._secret.reveal()}".encode("ascii")),
            (b"Stripe-Version", api_version.encode("ascii")),
            (b"User-Agent", _user_agent()),
            (b"Accept", b"application/json"),
            (b"Accept-Encoding", b"gzip, deflate"),
        ]
        if account:
            headers.append((b"Stripe-Account", account.encode("ascii")))
        return headers

    def _lane(self, request: Request) -> Lane:
        limiter = self._limiter
        if limiter is None:
            account = request.account or self._connection.account
            limiter = self._limiters.get(account)
            if limiter is None:
                connection = self._connection
                limiter = self._limiters[account] = shared_limiter(
                    self._secret.reveal(), account, self._base, connection.mode, connection.limits
                )
        return limiter.lane(request.method, request.template, search=request.template.endswith("/search"))

    async def _attempt(self, outgoing: _Outgoing, lane: Lane, retries: Retries) -> Reply | Trouble:
        for seconds in lane.delays():
            await self._sleep(seconds)
        retries.begin()
        began = self._clock()

        def on_way() -> None:
            nonlocal began
            before, began = began, self._clock()
            lane.left(began - before)

        try:
            reply = await self._exchange(
                httpx2.Request(
                    outgoing.method,
                    outgoing.url,
                    headers=outgoing.headers,
                    stream=Body(outgoing.body, on_way),
                    extensions=_EXTENSIONS,
                )
            )
            lane.took(self._clock() - began)
            return reply
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, httpx2.CookieConflict, OSError) as error:
            return trouble_of(error)
        finally:
            lane.leave()

    async def _exchange(self, request: httpx2.Request) -> Reply:
        response = await self._transport.handle_async_request(request)
        try:
            headers = {name.lower(): value for name, value in response.headers.raw}
            stream = response.stream
            if b"content-encoding" in headers or not isinstance(stream, httpx2.AsyncByteStream):
                body = await response.aread()
            else:
                body = b"".join([part async for part in stream])
        finally:
            await response.aclose()
        return Reply(response.status_code, headers, body)

    # In

    def _mode_of(self, livemode: bool | None, outgoing: _Outgoing, reply: Reply, attempts: int) -> bool | None:
        if livemode is not None and livemode is not self._live:
            raise self._wrong_mode(outgoing, reply, attempts)
        return livemode

    def _version_of(self, reply: Reply, request: Request) -> str:
        return reply.header(b"stripe-version") or self._api_version(request)

    def _notices(self, reply: Reply) -> tuple[str, ...]:
        notice = reply.header(b"stripe-notice")
        return (self._reader.clean(notice),) if notice else ()

    def _date(self, value: bytes | None) -> int | None:
        if value is None:
            return None
        if value != self._last_date[0]:
            try:
                self._last_date = (value, timegm(parsedate(value.decode("latin-1")) or ()))
            except (ValueError, OverflowError):  # a write's answer must not be lost over its date
                return None
        return self._last_date[1]

    def _wrong_mode(self, outgoing: _Outgoing, reply: Reply, attempts: int) -> SpojitError:
        mode = self._connection.mode
        other = "test" if self._live else "live"
        text = (
            f"{outgoing.what} was answered from {other} mode, but connection {self._connection.name!r} is for {mode} "
            f"mode (request {reply.request_id}); check its secret_key and base_url"
        )
        if not outgoing.write:
            return ConfigurationError(text)
        problem = self._reader.problem(reply, attempts, "look in the account's dashboard before anything else")
        return OutcomeUnknownError(text, problem)

    def _failure(
        self, outgoing: _Outgoing, outcome: Reply | Trouble, finding: Finding, unsure: str | None, attempts: int
    ) -> SpojitError:
        if unsure and not (finding.settles and outgoing.repeatable):
            return self._unknown(outgoing, outcome, unsure, attempts)
        if isinstance(outcome, Trouble):
            return self._unreached(outgoing, outcome, attempts)
        if outcome.status < 300:
            advice = "try again later; check any proxy between here and Stripe"
            text = f"{outgoing.what}: {finding.unsure}; {advice}"
            return UnavailableError(self._reader.clean(text), self._reader.problem(outcome, attempts, advice))
        return self._reader.refusal(outcome, attempts)

    def _unknown(
        self, outgoing: _Outgoing, outcome: Reply | Trouble, unsure: str, attempts: int
    ) -> OutcomeUnknownError:
        advice = "do not send it anew; " + (
            "settle it under its own key" if outgoing.repeatable else "look at the object first"
        )
        last = outcome if isinstance(outcome, Reply) else None
        text = f"{outgoing.what}: the outcome is unknown, it may have taken effect: {unsure}; {advice}"
        return OutcomeUnknownError(self._reader.clean(text), self._reader.problem(last, attempts, advice))

    def _unreached(self, outgoing: _Outgoing, trouble: Trouble, attempts: int) -> SpojitError:
        where = f"{self._base} (connection {self._connection.name!r})"
        if trouble.configuration:
            return ConfigurationError(self._reader.clean(f"{where}: {trouble.text}"))
        if is_loopback(self._origin.host):
            port = f" --port {self._origin.port}" if self._origin.port else ""
            advice = f"is the sandbox running? start it with `spojit-stripe sandbox{port}`"
        else:
            advice = "check the network, then try again"
        verb = "gave no answer" if trouble.sent else "can't be reached, nothing was sent"
        text = f"{outgoing.what}: {where} {verb}: {trouble.text}; {advice}"
        return UnavailableError(self._reader.clean(text), Problem(attempts=attempts, advice=advice))


def _only_reads(request: Request) -> bool:
    """Whether a POST computes something and keeps nothing, an invoice preview say."""
    operation = Operations.load().get(f"{request.method} {request.template}")
    return operation is not None and effect_of(operation, request.params) is Effect.READ


def _checked(key: str | None) -> str:
    if not key or len(key) > _LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise ValueError(f"a write needs an idempotency key of 1 to {_LONGEST_KEY} printable ASCII characters")
    return key


def _livemode(body: JsonObject) -> bool | None:
    """The mode an answer is from; a list's is that of its first object."""
    found = body.get("livemode")
    if found is None:
        data = body.get("data")
        first = data[0] if isinstance(data, list) and data else None
        found = first.get("livemode") if isinstance(first, dict) else None
    return found if isinstance(found, bool) else None


@cache
def _user_agent() -> bytes:
    try:
        own = version("spojit_stripe")
    except PackageNotFoundError:  # pragma: no cover # run from a folder that was never installed
        own = "0"
    return f"spojit_stripe/{own} (httpx2 {httpx2.__version__}; Python {platform.python_version()})".encode()

"""Delivers events to webhook endpoints: signed, in order, tried again when they fail.

By default an endpoint gets its events one after another in the order in which they happened.
Stripe promises neither order nor single delivery, so repeats, other orders, gaps and delays
can be asked for. Only addresses on this machine are called unless others are allowed by name.
"""

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import random
import ssl
import sys
import time
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import SplitResult, quote, urlsplit

import h11
import msgspec

from spojit_stripe.sandbox import access
from spojit_stripe.sandbox.clock import Clock
from spojit_stripe.sandbox.outbox import Delivery, Outbox
from spojit_stripe.sandbox.store import Record, Store
from spojit_stripe.sandbox.values import JsonObject, encode, flag, integer, string

_MOST_LOGGED = 100_000
_ANSWER_SECONDS = 10.0
_HOUR = 3_600
_AS_THEY_ARE = "%/?:@!$&'()*+,;=~"  # in a path and query
# Stripe: three times over a few hours in test mode, for three days in live mode.
_TEST_WAITS = (300, _HOUR, 3 * _HOUR)
_LIVE_WAITS = (300, 1_800, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 12 * _HOUR, 12 * _HOUR, 12 * _HOUR, 12 * _HOUR)


class Conduct(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How deliveries misbehave, until it is set anew.

    hold      keep deliveries until they are released
    repeat    send each so many times
    drop      never send the next so many; `drop_every` drops each n-th after them
    delay     send so many seconds later, by the sandbox's clock
    shuffle   a seed: what is handed over together goes out in another order
    """

    hold: bool = False
    repeat: int = 1
    drop: int = 0
    drop_every: int = 0
    delay: int = 0
    shuffle: int | None = None

    def __post_init__(self) -> None:
        if self.repeat < 1 or self.drop < 0 or self.drop_every < 0 or self.delay < 0:
            raise ValueError("`repeat` is at least 1, and `drop`, `drop_every` and `delay` are not negative")


def signature(secret: str, body: bytes, timestamp: int) -> str:
    """The `Stripe-Signature` of a body: the secret is used as it is given, with its prefix."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


class Courier:
    """Sends what the outbox hands over, from the event loop of the server."""

    def __init__(self, store: Store, clock: Clock, outbox: Outbox, crashes: list[str]) -> None:
        self._crashes = crashes
        self._store, self._clock, self._outbox = store, clock, outbox
        outbox.sent = self.take
        self.conduct = Conduct()
        self.hosts: frozenset[str] = frozenset()
        self._log: deque[Delivery] = deque(maxlen=_MOST_LOGGED)
        self._count = self._seen = 0
        self._held: list[Delivery] = []
        self._queues: dict[str, deque[Delivery]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}

    # Looking

    def entries(self, endpoint: str | None = None, event: str | None = None) -> list[Delivery]:
        """The attempts so far, oldest first."""
        return [
            each
            for each in self._log
            if (endpoint is None or each.endpoint == endpoint) and (event is None or each.event == event)
        ]

    @property
    def idle(self) -> bool:
        """Whether everything that was to be sent by now has been."""
        return not self._workers and not any(self._queues.values())

    def clear_log(self) -> None:
        """Forget the attempts that are over."""
        kept = [each for each in self._log if each.outcome in {"queued", "held"}]
        self._log.clear()
        self._log.extend(kept)

    def reset(self) -> None:
        """Forget everything that was to be sent, and behave again."""
        for worker in self._workers.values():
            worker.cancel()
        self._workers.clear()
        self._queues.clear()
        self._held.clear()
        self._log.clear()
        self._outbox.discard()
        self.conduct = Conduct()
        self._count = self._seen = 0

    # Sending

    def behave(self, conduct: Conduct) -> None:
        """Misbehave this way from now on."""
        self.conduct = conduct
        self._seen = 0

    def take(self, deliveries: list[Delivery]) -> None:
        """Send these, in the way that was asked for."""
        chosen: list[Delivery] = []
        for delivery in deliveries:
            if delivery.scheduled:
                chosen.append(delivery)
            elif not self._gap(delivery):
                chosen.extend(replace(delivery, copy=number + 1) for number in range(self.conduct.repeat))
        if self.conduct.shuffle is not None:
            random.Random(self.conduct.shuffle).shuffle(chosen)  # noqa: S311 - an order, not a secret
        for delivery in chosen:
            if self.conduct.delay and not delivery.scheduled:
                self._later(delivery, self.conduct.delay)
                continue
            self._enter(delivery)
            if self.conduct.hold:
                delivery.outcome = "held"
                self._held.append(delivery)
            else:
                self._queue(delivery)
        self.flush()

    def _gap(self, delivery: Delivery) -> bool:
        self._seen += 1
        every = self.conduct.drop_every
        if self.conduct.drop:
            self.conduct.drop -= 1
        elif not every or self._seen % every:
            return False
        delivery.outcome = "dropped"
        self._enter(delivery)
        return True

    def release(self, *, order: str = "made", seed: int = 0, drop: Sequence[int] = (), repeat: int = 1) -> int:
        """Send what is held: as "made", "reversed" or "shuffled", without some (by position), and repeated."""
        held, self._held = self._held, []
        if order not in {"made", "reversed", "shuffled"}:
            self._held = held
            raise ValueError("`order` is made, reversed or shuffled")
        for position in drop:
            if 0 <= position < len(held):
                held[position].outcome = "dropped"
        chosen = [each for each in held if each.outcome != "dropped"]
        for copy in range(2, repeat + 1):
            extra = [replace(each, copy=copy) for each in chosen if each.copy == 1]
            for each in extra:
                self._enter(each)
            chosen.extend(extra)
        if order == "reversed":
            chosen.reverse()
        elif order == "shuffled":
            random.Random(seed).shuffle(chosen)  # noqa: S311 - as above
        for delivery in chosen:
            self._queue(delivery)
        self.flush()
        return len(chosen)

    def resend(self, scope: int, event: str, endpoint: str | None = None) -> int:
        """Send an event again, to one endpoint or to all that take it; how many deliveries that makes."""
        record = self._store.find(scope, event)
        if record is None or record.body["object"] != "event":
            raise ValueError(f"no such event: {event!r}")
        kind = string(record.body, "type")
        takers = [endpoint] if endpoint is not None else self._outbox.takers(self._store, scope, kind)
        for taker in takers:
            delivery = Delivery(event, kind, taker, scope)
            self._enter(delivery)
            self._queue(delivery)
        self.flush()
        return len(takers)

    def _enter(self, delivery: Delivery) -> None:
        self._count += 1
        delivery.number = self._count
        endpoint = self._endpoint(delivery)
        delivery.url = string(endpoint.body, "url") if endpoint is not None else ""
        self._log.append(delivery)

    def _queue(self, delivery: Delivery) -> None:
        delivery.outcome = "queued"
        self._queues.setdefault(delivery.endpoint, deque()).append(delivery)

    def _later(self, delivery: Delivery, seconds: int) -> None:
        due = self._clock.now() + seconds
        self._store.add_timer(due, delivery.scope, "deliver_webhook", delivery.code)

    def flush(self) -> None:
        """Set to work on what is queued; without an event loop it waits for one."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        for endpoint, queue in self._queues.items():
            if queue and endpoint not in self._workers:
                self._workers[endpoint] = loop.create_task(self._work(endpoint, queue))

    async def stop(self) -> None:
        """Leave what is not delivered."""
        workers = list(self._workers.values())
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._workers.clear()

    async def _work(self, endpoint: str, queue: deque[Delivery]) -> None:
        try:
            while queue:
                delivery = queue.popleft()
                try:
                    await self._deliver(delivery)
                except Exception:  # a defect here must not stop all later deliveries; tests look at `crashes`
                    delivery.outcome, delivery.why = "failed", "the sandbox failed; see its standard error"
                    self._crashes.append(traceback.format_exc())
                    sys.stderr.write(self._crashes[-1])
        finally:
            if self._workers.get(endpoint) is asyncio.current_task():
                del self._workers[endpoint]

    async def _deliver(self, delivery: Delivery) -> None:
        endpoint, event = self._endpoint(delivery), self._store.find(delivery.scope, delivery.event)
        delivery.time = self._clock.exact()
        if endpoint is None or event is None or endpoint.body.get("status") != "enabled":
            delivery.outcome, delivery.why = "not_delivered", "the endpoint is deleted or disabled"
            return
        delivery.url = string(endpoint.body, "url")
        where = urlsplit(delivery.url)
        if not self._may_call(where):
            delivery.outcome = "not_delivered"
            delivery.why = f"{where.hostname!r} is not an address of this machine, and is not allowed by name"
            return
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                delivery.status = await self._post(where, endpoint, self._payload(delivery, event, endpoint))
        except TimeoutError:
            delivery.why = "timed out"
        except (OSError, h11.ProtocolError) as error:
            delivery.why = str(error) or type(error).__name__
        if delivery.status is not None and 200 <= delivery.status < 300:
            delivery.outcome = "delivered"
            self._settle(delivery)
        else:
            delivery.outcome = "failed"
            self._retry(delivery)

    def _payload(self, delivery: Delivery, event: Record, endpoint: Record) -> bytes:
        shown: JsonObject = dict(event.body)
        if flag(endpoint.private, "connect"):
            shown["account"] = access.ACCOUNTS[delivery.scope // 2]
        return msgspec.json.format(encode(shown), indent=2)

    async def _post(self, where: SplitResult, endpoint: Record, body: bytes) -> int:
        """The status that an endpoint answers; redirects are not followed."""
        secure = ssl.create_default_context() if where.scheme == "https" else None
        port = where.port or (443 if secure else 80)
        reader, writer = await asyncio.open_connection(where.hostname, port, ssl=secure)
        try:
            http = h11.Connection(h11.CLIENT)
            # The wall clock: receivers compare with theirs, whatever the sandbox's says.
            signed = signature(string(endpoint.private, "secret"), body, int(time.time()))
            headers = [
                ("Host", where.netloc.rpartition("@")[2]),
                ("Accept", "*/*; q=0.5, application/xml"),
                ("Cache-Control", "no-cache"),
                ("Connection", "close"),
                ("Content-Length", str(len(body))),
                ("Content-Type", "application/json; charset=utf-8"),
                ("Stripe-Signature", signed),
                ("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
            ]
            target = quote(f"{where.path or '/'}{'?' + where.query if where.query else ''}", safe=_AS_THEY_ARE)
            for event in (h11.Request(method="POST", target=target, headers=headers), h11.Data(data=body)):
                writer.write(http.send(event) or b"")
            writer.write(http.send(h11.EndOfMessage()) or b"")
            await writer.drain()
            return await _status(http, reader)
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    def _settle(self, delivery: Delivery) -> None:
        """An event that arrived is waited for by one endpoint less."""
        event = self._store.find(delivery.scope, delivery.event)
        if event is not None and delivery.copy == 1 and integer(event.body, "pending_webhooks"):
            event.body["pending_webhooks"] = integer(event.body, "pending_webhooks") - 1
            with self._store.transaction():
                self._store.update(event)

    def _retry(self, delivery: Delivery) -> None:
        waits = _LIVE_WAITS if delivery.scope % 2 else _TEST_WAITS
        if delivery.attempt > len(waits):
            return
        wait = waits[delivery.attempt - 1]
        delivery.retry_at = self._clock.now() + wait
        self._later(replace(delivery, attempt=delivery.attempt + 1), wait)

    def _endpoint(self, delivery: Delivery) -> Record | None:
        """The endpoint, of the account itself or of the platform."""
        for scope in (delivery.scope, delivery.scope % 2):
            record = self._store.find(scope, delivery.endpoint)
            if record is not None:
                return record if record.body.get("deleted") is not True else None
        return None

    def _may_call(self, where: SplitResult) -> bool:
        host = (where.hostname or "").lower()
        if host in self.hosts or host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


async def _status(http: h11.Connection, reader: asyncio.StreamReader) -> int:
    """Read up to the end of an answer."""
    status = 0
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)) or event is h11.PAUSED:
            if not status:
                raise ConnectionResetError("the connection was closed without an answer")
            return status

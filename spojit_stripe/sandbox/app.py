"""From a request to an answer: key, account, version, operation, limits, idempotency, parameters, handler.

The order is Stripe's as far as it shows: what fails before the handler runs leaves
nothing under the idempotency key.
"""

import asyncio
import contextlib
import hashlib
import sys
import traceback
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import msgspec

from spojit_stripe.sandbox import access, exchange, expand, ids, validate
from spojit_stripe.sandbox.access import Access
from spojit_stripe.sandbox.clock import Clock
from spojit_stripe.sandbox.context import Answer, Context, ListPage, Settings
from spojit_stripe.sandbox.courier import Courier
from spojit_stripe.sandbox.errors import StripeError, bad_parameter, locked, not_done, unrecognized_url
from spojit_stripe.sandbox.exchange import Reply, Request
from spojit_stripe.sandbox.faults import Fault, Faults
from spojit_stripe.sandbox.limits import Limits
from spojit_stripe.sandbox.operations import Index, Operation, load_index
from spojit_stripe.sandbox.outbox import Outbox
from spojit_stripe.sandbox.requestlog import LoggedRequest, RequestLog
from spojit_stripe.sandbox.resources import INCLUDED
from spojit_stripe.sandbox.routes import HANDLERS, REFUSED, Handler
from spojit_stripe.sandbox.store import Kept, Store
from spojit_stripe.sandbox.timers import run as run_timer
from spojit_stripe.sandbox.values import JsonObject, encode, strings

_KEPT_SECONDS = 24 * 3_600
_canonical = msgspec.json.Encoder(order="deterministic")


@dataclass
class _Call:
    """A request that has been let in."""

    request: Request
    operation: Operation
    handler: Handler
    context: Context
    digest: bytes
    flight: tuple[int, str] | None = None


@dataclass
class App:
    """One sandbox: its state and everything that answers from it. Used from one thread."""

    store: Store
    clock: Clock
    settings: Settings = field(default_factory=Settings)
    keys: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    faults: Faults = field(default_factory=Faults)
    log: RequestLog = field(default_factory=RequestLog)
    index: Index = field(default_factory=load_index)
    crashes: list[str] = field(default_factory=lambda: [])
    outbox: Outbox = field(default_factory=Outbox)
    courier: Courier = field(init=False)
    _under_way: set[tuple[int, str]] = field(default_factory=lambda: set())
    _locked: set[tuple[int, str]] = field(default_factory=lambda: set())
    _busy: Counter[tuple[int, str]] = field(default_factory=lambda: Counter())
    _running: int = 0
    _requests: int = 0

    def __post_init__(self) -> None:
        self.courier = Courier(self.store, self.clock, self.outbox, self.crashes)

    @contextlib.contextmanager
    def change(self) -> Generator[None]:
        """A transaction; when it is kept, its events go out."""
        try:
            with self.store.transaction():
                yield
        except BaseException:
            self.outbox.discard()
            raise
        self.outbox.commit()

    @classmethod
    def open(cls, state: Path | None, clock: Clock, settings: Settings) -> "App":
        """A sandbox on a state file, or in memory."""
        store = Store(state)
        if not clock.frozen:
            clock.shift = float(store.meta("clock_shift") or 0)
        return cls(store, clock, settings)

    async def answer(self, request: Request) -> Reply:
        """Answer a request of the API, with the fault that was set up for it."""
        entry = self.log.open(self.clock.exact(), request.method, request.path, request.headers)
        if self.settings.latency:
            await asyncio.sleep(self.settings.latency)
        entry.request_id = self._request_id()
        self._running += 1
        try:
            reply = await self._answer(request, entry)
        finally:
            self._running -= 1
            if entry.operation is not None:
                self._busy[access.scope(entry.account or access.ACCOUNT, bool(entry.livemode)), entry.operation] -= 1
        entry.status = reply.status
        entry.outcome = "dropped" if reply.drop else "truncated" if reply.cut is not None else "answered"
        return reply

    async def _answer(self, request: Request, entry: LoggedRequest) -> Reply:
        try:
            entry.params = exchange.parameters(request)
        except StripeError as error:
            return self._refusal(error, entry, request)
        fault = self.faults.meet(request.method, request.path, entry.params)
        if fault is None:
            admitted = self._admit(request, entry)
            return admitted if isinstance(admitted, Reply) else self._land(admitted, self._run(admitted, None))
        entry.fault = fault.id
        return await self._faulty(request, entry, fault)

    async def _faulty(self, request: Request, entry: LoggedRequest, fault: Fault) -> Reply:
        if fault.drop == "before":
            return Reply(0, {}, b"", drop=True)
        if fault.at_the_edge:
            await asyncio.sleep(fault.latency_ms / 1000)
            return self._finish(*fault.answer(), entry, request)
        admitted = self._admit(request, entry)
        if isinstance(admitted, Reply):
            reply = admitted
        else:
            locks = self._lock(admitted)
            try:
                await asyncio.sleep(fault.latency_ms / 1000)
                if fault.hold == "before" and await self._hold(entry, fault):
                    return Reply(0, {}, b"", drop=True)
                reply = self._run(admitted, fault)
            finally:
                self._locked -= locks
                self._under_way.discard(admitted.flight or (0, ""))
        if fault.hold == "after" and await self._hold(entry, fault):
            reply.drop = True
        reply.drop = reply.drop or fault.drop == "after"
        reply.cut = fault.truncate
        return reply

    async def _hold(self, entry: LoggedRequest, fault: Fault) -> bool:
        return await self.faults.hold(fault.hold, entry.method, entry.path, entry.number)

    def _lock(self, call: _Call) -> set[tuple[int, str]]:
        """While a request takes its time, nobody else changes the objects that it names."""
        if call.request.method == "GET":
            return set()
        locks = {(call.context.scope, identifier) for identifier in call.context.ids.values()}
        self._locked |= locks
        return locks

    def _land(self, call: _Call, reply: Reply) -> Reply:
        self._under_way.discard(call.flight or (0, ""))
        return reply

    # Letting in

    def _admit(self, request: Request, entry: LoggedRequest) -> "_Call | Reply":
        try:
            return self._let_in(request, entry)
        except StripeError as error:
            return self._refusal(error, entry, request)

    def _let_in(self, request: Request, entry: LoggedRequest) -> "_Call | Reply":
        key = self.keys.authenticate(request.headers.get("authorization"))
        entry.key, entry.livemode = access.masked(key), access.livemode(key)
        account = access.account_for(key, request.headers.get("stripe-account"))
        entry.account = account
        scope = access.scope(account, entry.livemode)
        self._check_version(request.headers.get("stripe-version"))
        operation, found = self._operation(request)
        self.keys.permit(key, request.method, request.path, account)
        name = f"{operation.method} {operation.path}"
        alike = self._busy[scope, name]
        self.limits.admit(scope, name, search=operation.search, under_way=self._running - 1, alike=alike)
        entry.operation = name
        self._busy[scope, name] += 1
        digest = hashlib.sha256(_canonical.encode(entry.params)).digest()
        idempotency_key = exchange.idempotency_key(request)
        if idempotency_key is not None:
            kept = self._recall(scope, idempotency_key, request, digest)
            if kept is not None:
                entry.replayed = True
                headers = {"Idempotent-Replayed": "true", "Original-Request": kept.request}
                return self._finish(kept.status, headers, kept.body, entry, request)
        if request.method != "GET":
            for identifier in found.values():
                if (scope, identifier) in self._locked:
                    raise locked(identifier)
        params = validate.check(operation, entry.params)
        handler = _handler(operation, params)
        context = Context(
            self.store,
            self.settings,
            scope,
            account,
            entry.livemode,
            self.clock.now(),
            self.clock.exact(),
            self.index.api_version,
            entry.request_id,
            idempotency_key,
            request.path,
            found,
            params,
            self.outbox,
        )
        call = _Call(request, operation, handler, context, digest)
        if idempotency_key is not None:
            call.flight = (scope, idempotency_key)
            self._under_way.add(call.flight)
        return call

    def _check_version(self, given: str | None) -> None:
        if given is None or given == self.index.api_version:
            return
        raise StripeError(
            400,
            f"Invalid Stripe API version: {given}. This sandbox answers API version {self.index.api_version} only.",
            stored=False,
        )

    def _operation(self, request: Request) -> tuple[Operation, dict[str, str]]:
        operations, found = self.index.find(request.path)
        operation = operations.get(request.method)
        if operation is None:
            if request.method not in {"GET", "POST", "DELETE"} and operations:
                raise StripeError(405, f"Method {request.method} is not allowed for {request.path}.", stored=False)
            raise unrecognized_url(request.method, request.path)
        return operation, dict(zip(operation.names, found, strict=True))

    def _recall(self, scope: int, key: str, request: Request, digest: bytes) -> Kept | None:
        if (scope, key) in self._under_way:
            raise StripeError(
                409,
                "There is currently another in-progress request using this Idempotent Key (that probably means you "
                f"submitted twice, and the other request is still going through): {key}. Please try again later.",
                code="idempotency_key_in_use",
                stored=False,
                headers={"Stripe-Should-Retry": "true"},
            )
        kept = self.store.kept(scope, key, self.clock.now() - _KEPT_SECONDS)
        if kept is None:
            return None
        if (kept.method, kept.path) != (request.method, request.path):
            raise exchange.key_reused(
                f"for the same endpoint they were first used for ('{request.path}' vs '{kept.path}')", key
            )
        if kept.digest != digest:
            raise exchange.key_reused("with the same parameters they were first used with", key)
        return kept

    # Running

    def _run(self, call: _Call, fault: Fault | None) -> Reply:
        replaced = fault if fault is not None and fault.status is not None else None
        try:
            self.pass_time()
            call.context.now, call.context.exact_now = self.clock.now(), self.clock.exact()
            if replaced is not None and replaced.stored:
                return self._stored(call, replaced)
            reply = self._perform(call)
        except Exception:  # a defect here must not take the server down; tests look at `crashes`
            text = traceback.format_exc()
            self.crashes.append(text)
            sys.stderr.write(text)
            error = StripeError(500, "The sandbox failed; see its standard error.", kind="api_error", stored=False)
            return self._error(error, call.context.request_id or "", call.context.livemode, call.request)
        if replaced is None:
            return reply
        status, headers, body = replaced.answer()
        return self._answer_of(status, headers, body, call.context.request_id or "", call.request)

    def _perform(self, call: _Call) -> Reply:
        if call.request.method == "GET":
            return self._attempt(call)
        try:
            with self.change():
                reply = self._attempt(call, writing=True)
                self._keep(call, reply.status, reply.body)
                return reply
        except StripeError as error:
            reply = self._error(error, call.context.request_id or "", call.context.livemode, call.request)
            if error.stored:
                with self.store.transaction():
                    self._keep(call, reply.status, reply.body)
            return reply

    def _attempt(self, call: _Call, *, writing: bool = False) -> Reply:
        context = call.context
        request_id = context.request_id or ""
        try:
            body = self._render(context, call.handler(context))
        except StripeError as error:
            if writing and not error.keeps:
                raise  # so that the transaction leaves no trace
            return self._error(error, request_id, context.livemode, call.request)
        return self._answer_of(200, {}, body, request_id, call.request)

    def _stored(self, call: _Call, fault: Fault) -> Reply:
        """The handler's effect, if it is wanted, under an answer that is kept in its place."""
        status, headers, body = fault.answer()
        if fault.effect:
            self._perform(call)
        with self.store.transaction():
            self._keep(call, status, body)
        return self._answer_of(status, headers, body, call.context.request_id or "", call.request)

    def _keep(self, call: _Call, status: int, body: bytes) -> None:
        context = call.context
        if context.idempotency_key is None:
            return
        request = call.request
        at = int(context.exact_now)  # the sandbox's time, not that of a test clock
        kept = Kept(request.method, request.path, call.digest, status, body, context.request_id or "", at)
        self.store.keep(context.scope, context.idempotency_key, kept)

    def _render(self, context: Context, answer: Answer) -> bytes:
        paths = strings(context.params, "expand")
        if not isinstance(answer, ListPage):
            if not paths:
                return encode(answer)
            shown = msgspec.json.decode(encode(answer))
            expand.apply(context, shown, paths, INCLUDED)
            return encode(shown)
        data = answer.data
        inner = [path.removeprefix("data.") for path in paths if path.startswith("data.")]
        for path in paths:
            if not path.startswith("data.") and path != "total_count":
                raise bad_parameter(
                    f"This property cannot be expanded ({path}). You may want to try expanding 'data.{path}' instead.",
                    "expand",
                )
        if inner:
            data = [self._expanded(context, raw, inner) for raw in data]
        return exchange.list_body(answer, data)

    def _expanded(self, context: Context, raw: bytes, paths: list[str]) -> bytes:
        shown: JsonObject = msgspec.json.decode(raw)
        expand.apply(context, shown, paths, INCLUDED)
        return encode(shown)

    def pass_time(self, until: int | None = None) -> None:
        """Do what is due by now, or by an earlier time, each thing at its own time."""
        now = self.clock.now() if until is None else until
        while (timer := self.store.next_timer(now)) is not None:
            account, live = access.ACCOUNTS[timer.scope // 2], bool(timer.scope % 2)
            context = Context(
                self.store,
                self.settings,
                timer.scope,
                account,
                live,
                timer.due,
                float(timer.due),
                self.index.api_version,
                outbox=self.outbox,
            )
            with self.change():
                self.store.drop_timer(timer)
                run_timer(context, timer)

    def system_context(self, account: str = access.ACCOUNT, *, live: bool = False) -> Context:
        """A context for what nobody asked for by a request: seeds and the control API."""
        return Context(
            self.store,
            self.settings,
            access.scope(account, live),
            account,
            live,
            self.clock.now(),
            self.clock.exact(),
            self.index.api_version,
            outbox=self.outbox,
        )

    def advance(self, seconds: float) -> None:
        """Move the clock; what falls due happens."""
        self.clock.advance(seconds)
        if not self.clock.frozen:
            self.store.set_meta("clock_shift", self.clock.shift)
        self.pass_time()

    # Answers

    def _request_id(self) -> str:
        self._requests += 1
        return f"req_{ids.derive(f'request/{self.store.boots}/{self._requests}', 14)}"

    def _refusal(self, error: StripeError, entry: LoggedRequest, request: Request) -> Reply:
        return self._error(error, entry.request_id or "", bool(entry.livemode), request)

    def _error(self, error: StripeError, request_id: str, livemode: bool, request: Request) -> Reply:
        body = encode(error.body(request_id, livemode))
        return self._answer_of(error.status, error.headers, body, request_id, request)

    def _finish(
        self, status: int, headers: dict[str, str], body: bytes, entry: LoggedRequest, request: Request
    ) -> Reply:
        return self._answer_of(status, headers, body, entry.request_id or "", request)

    def _answer_of(self, status: int, headers: dict[str, str], body: bytes, request_id: str, request: Request) -> Reply:
        complete = {
            "Date": formatdate(self.clock.exact(), usegmt=True),
            "Content-Type": "application/json",
            "Request-Id": request_id,
            "Stripe-Version": self.index.api_version,
        }
        key = request.headers.get("idempotency-key")
        if key is not None and request.method == "POST":
            complete["Idempotency-Key"] = key
        account = request.headers.get("stripe-account")
        if account is not None:
            complete["Stripe-Account"] = account
        for name, value in headers.items():
            complete["Content-Type" if name.lower() == "content-type" else name] = value
        return Reply(status, complete, body)


def _handler(operation: Operation, params: JsonObject) -> Handler:
    """What answers the operation; refused where the sandbox can't do what is asked."""
    handler = HANDLERS.get((operation.method, operation.path))
    if handler is None:
        raise not_done(f"answer {operation.method} {operation.path}")
    for name in REFUSED[operation.method, operation.path]:
        if params.get(name) not in (None, "", False, [], {"enabled": False}):
            raise not_done(f"carry out `{name}` of {operation.method} {operation.path}", name)
    return handler

"""The sandbox in one line of Python: `with sandbox() as s:`."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec

from spojit_stripe.sandbox import access, control
from spojit_stripe.sandbox.app import App
from spojit_stripe.sandbox.clock import Clock
from spojit_stripe.sandbox.context import Settings
from spojit_stripe.sandbox.courier import Conduct
from spojit_stripe.sandbox.errors import SandboxError
from spojit_stripe.sandbox.faults import Fault
from spojit_stripe.sandbox.outbox import Delivery
from spojit_stripe.sandbox.requestlog import LoggedRequest
from spojit_stripe.sandbox.seed import Seed
from spojit_stripe.sandbox.serve import SEARCH_LAG
from spojit_stripe.sandbox.server import Server
from spojit_stripe.sandbox.values import JsonObject

T = TypeVar("T")
_START_SECONDS = 60.0


class Sandbox:
    """A running sandbox, in a thread of its own. Its methods may be called from any other thread."""

    secret_key = access.SECRET_KEY
    restricted_key = access.RESTRICTED_KEY
    live_key = access.LIVE_KEY
    live_restricted_key = access.LIVE_RESTRICTED_KEY
    account = access.ACCOUNT
    connected_accounts = access.CONNECTED

    def __init__(
        self,
        *,
        seed: int | None = None,
        state: Path | str | None = None,
        now: float | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        latency_ms: float = 0.0,
        rate: float | None = None,
        search_lag: float | None = None,
        webhook_hosts: Iterable[str] = (),
    ) -> None:
        self._seed = None if seed is None else Seed.checked(seed)
        self._state = None if state is None else Path(state)
        self._clock = Clock(now)
        lag = search_lag if search_lag is not None else 0.0 if now is not None else SEARCH_LAG
        self._settings = Settings(lag, latency_ms / 1000)
        self._host, self._port, self._rate = host, port, rate
        self._webhook_hosts = frozenset(webhook_hosts)
        self._ready: Future[str] = Future()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._app: App | None = None
        self._stop: asyncio.Event | None = None
        self.url = ""

    # Life

    def start(self) -> "Sandbox":
        """Start serving; raises `SandboxError` when that fails."""
        self._thread = threading.Thread(target=self._run, name="stripe-sandbox", daemon=True)
        self._thread.start()
        try:
            self.url = self._ready.result(_START_SECONDS)
        except BaseException:
            self._thread.join(_START_SECONDS)
            raise
        return self

    def stop(self) -> None:
        """Stop serving and free everything; a second call does nothing."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None or self._stop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        thread.join(_START_SECONDS)

    def __enter__(self) -> "Sandbox":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Looking

    def requests(self, method: str | None = None, path: str | None = None) -> list[LoggedRequest]:
        """The requests so far, oldest first, held ones too; or those with a method and a path."""
        return self._ask(lambda app: app.log.entries(method, path))

    def objects(self, kind: str, *, account: str | None = None, live: bool = False) -> list[JsonObject]:
        """All objects of a type that were not deleted, oldest first."""
        scope = access.scope(account or access.ACCOUNT, live)
        return self._ask(lambda app: [record.body for record in app.store.records(scope, kind)])

    def object(self, identifier: str, *, account: str | None = None, live: bool = False) -> JsonObject | None:
        """The object with this id as it is now, or None."""
        scope = access.scope(account or access.ACCOUNT, live)

        def find(app: App) -> JsonObject | None:
            record = app.store.find(scope, identifier)
            return None if record is None else record.body

        return self._ask(find)

    def count(self, kind: str, *, account: str | None = None, live: bool = False) -> int:
        """How many objects of a type there are, deleted ones left out."""
        scope = access.scope(account or access.ACCOUNT, live)
        return self._ask(lambda app: app.store.counts(scope).get(kind, 0))

    def crashes(self) -> list[str]:
        """Tracebacks of the sandbox's own defects; empty, or the test found one."""
        return self._ask(lambda app: list(app.crashes))

    @property
    def api_version(self) -> str:
        """The one version of the API that is answered."""
        return self._ask(lambda app: app.index.api_version)

    @property
    def now(self) -> int:
        """The sandbox's clock, in seconds since 1970."""
        return self._ask(lambda app: app.clock.now())

    # Making things happen

    def fail(
        self,
        method: str | None = None,
        path: str = "*",
        *,
        params: dict[str, str] | None = None,
        skip: int = 0,
        times: int = 1,
        latency_ms: float = 0,
        drop: str = "",
        status: int | None = None,
        code: str | None = None,
        type: str | None = None,
        message: str | None = None,
        body: str | None = None,
        content_type: str = "application/json",
        effect: bool = False,
        stored: bool = False,
        truncate: int | None = None,
        reason: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> str:
        """Set up a fault for the next matching requests (see `Fault`); returns its id."""
        return self.add_fault(
            Fault(
                method=method,
                path=path,
                params=params or {},
                skip=skip,
                times=times,
                latency_ms=latency_ms,
                drop=drop,
                status=status,
                code=code,
                type=type,
                message=message,
                body=body,
                content_type=content_type,
                effect=effect,
                stored=stored,
                truncate=truncate,
                reason=reason,
                headers=headers or {},
            )
        )

    def hold(self, method: str | None = None, path: str = "*", *, phase: str = "before", times: int = 1) -> str:
        """Keep the next matching requests until they are released, "before" or "after" their effect."""
        return self.add_fault(Fault(method=method, path=path, hold=phase, times=times))

    def add_fault(self, fault: Fault) -> str:
        """Set up a fault; returns its id."""
        return self._ask(lambda app: app.faults.add(msgspec.structs.replace(fault)))

    def clear_faults(self) -> None:
        """Take back all faults that have not met their requests."""
        self._ask(lambda app: app.faults.remove())

    def held(self) -> list[JsonObject]:
        """The requests that are kept: id, phase, method, path and number in the log."""
        return self._ask(lambda app: [hold.as_json() for hold in app.faults.held()])

    def wait_held(self, count: int = 1, timeout: float = 10.0) -> list[JsonObject]:
        """Wait until so many requests are kept."""
        deadline = threading.Event()
        for _ in range(max(int(timeout / 0.01), 1)):
            found = self.held()
            if len(found) >= count:
                return found
            deadline.wait(0.01)
        raise SandboxError(f"{count} held requests did not come within {timeout} seconds")

    def release(self, hold: str | None = None, *, drop: bool = False) -> int:
        """Let one kept request go on, or all; with `drop`, their connections are closed instead."""
        return self._ask(lambda app: app.faults.release(hold, drop=drop))

    def advance(self, seconds: float) -> None:
        """Move the clock; what falls due happens."""
        self._ask(lambda app: app.advance(seconds))

    def limit(
        self,
        *,
        account: float | None = None,
        endpoint: float | None = None,
        search: float | None = None,
        concurrency: int | None = None,
        endpoint_concurrency: int | None = None,
    ) -> None:
        """Limit requests per second, or at once; what is not named is not limited."""

        def set_limits(app: App) -> None:
            app.limits.account, app.limits.endpoint = account, endpoint
            app.limits.search, app.limits.concurrency = search, concurrency
            app.limits.endpoint_concurrency = endpoint_concurrency

        self._ask(set_limits)

    def permit(self, *permissions: str, key: str = access.RESTRICTED_KEY) -> None:
        """Give a restricted key exactly these permissions, such as `rak_customer_read`."""

        def grant(app: App) -> None:
            app.keys.permissions[key] = frozenset(permissions)

        self._ask(grant)

    def set_search_lag(self, seconds: float) -> None:
        """How long search lags behind changes, by the sandbox's clock."""

        def change(app: App) -> None:
            app.settings.search_lag = seconds

        self._ask(change)

    def authenticate(self, payment_intent: str, *, succeed: bool = True) -> JsonObject:
        """The customer of a payment intent that requires action authenticates, or fails to."""
        params: JsonObject = {"id": payment_intent, "succeed": succeed}
        return self._control("POST", "authenticate", params)

    def dispute(self, charge: str, *, reason: str = "fraudulent", inquiry: bool = False) -> JsonObject:
        """A cardholder disputes a charge."""
        params: JsonObject = {"charge": charge, "reason": reason, "inquiry": inquiry}
        return self._control("POST", "disputes", params)

    def decide(self, dispute: str, *, won: bool) -> JsonObject:
        """The bank decides a dispute."""
        params: JsonObject = {"dispute": dispute, "won": won}
        return self._control("POST", "disputes", params)

    # Webhooks

    def deliveries(self, *, endpoint: str | None = None, event: str | None = None) -> list[Delivery]:
        """The webhook deliveries so far, one for each attempt, once all that are due have been made."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._ask(lambda app: app.courier.idle):
            if time.monotonic() > deadline:
                raise SandboxError("the webhook deliveries did not end")
            time.sleep(0.005)
        return self._ask(lambda app: [replace(each) for each in app.courier.entries(endpoint, event)])

    def misdeliver(
        self,
        *,
        hold: bool = False,
        repeat: int = 1,
        drop: int = 0,
        drop_every: int = 0,
        delay: int = 0,
        shuffle: int | None = None,
    ) -> None:
        """From now on deliver webhooks this way (see `Conduct`); without arguments, as they should be."""
        conduct = Conduct(hold=hold, repeat=repeat, drop=drop, drop_every=drop_every, delay=delay, shuffle=shuffle)

        self._ask(lambda app: app.courier.behave(conduct))

    def release_deliveries(
        self, *, order: str = "made", seed: int = 0, drop: Sequence[int] = (), repeat: int = 1
    ) -> int:
        """Send what is held: in the order "made", "reversed" or "shuffled", without some, or repeated."""
        return self._ask(lambda app: app.courier.release(order=order, seed=seed, drop=drop, repeat=repeat))

    def resend(self, event: str, *, endpoint: str | None = None, account: str | None = None, live: bool = False) -> int:
        """Deliver an event again, to one endpoint or to all that take it."""
        scope = access.scope(account or access.ACCOUNT, live)
        return self._ask(lambda app: app.courier.resend(scope, event, endpoint))

    def escalate(self, dispute: str) -> JsonObject:
        """An inquiry becomes a chargeback."""
        return self._control("POST", "disputes", {"dispute": dispute, "escalate": True})

    def fail_refund(self, refund: str) -> JsonObject:
        """The bank sends a refund back."""
        return self._control("POST", "refunds", {"fail": refund})

    def pay_out(self, interval: str, *, account: str | None = None, live: bool = False) -> None:
        """Pay out "daily", all that is available at midnight UTC; or "manual", only when asked."""
        self._control("POST", "payouts", {"interval": interval, "account": account, "livemode": live})

    def fail_payout(self, payout: str, code: str = "could_not_process", *, account: str | None = None) -> JsonObject:
        """The bank refuses a payout."""
        return self._control("POST", "payouts", {"fail": payout, "code": code, "account": account})

    def discount(self, customer: str, coupon: str) -> JsonObject:
        """A customer gets a discount, as in the Dashboard: this version of the API has no call for it."""
        return self._control("POST", "discounts", {"customer": customer, "coupon": coupon})

    def reset(self, seed: int | None = None) -> None:
        """Forget everything: objects, faults, limits and the log; then plant a seed, if given."""
        planted = None if seed is None else Seed.checked(seed)
        self._ask(lambda app: control.reset(app, planted))

    # The thread

    def _control(self, method: str, name: str, params: JsonObject) -> JsonObject:
        return self._ask(lambda app: control.perform(app, method, name, params))

    def _ask(self, question: Callable[[App], T]) -> T:
        async def inside() -> T:
            if self._app is None:
                raise SandboxError("the sandbox does not run")
            return question(self._app)

        return self._submit(inside())

    def _submit(self, work: Coroutine[None, None, T]) -> T:
        if self._loop is None or self._thread is None:
            work.close()
            raise SandboxError("the sandbox does not run")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_SECONDS)

    def _run(self) -> None:
        try:
            app = App.open(self._state, self._clock, self._settings)
        except BaseException as error:
            self._ready.set_exception(error)
            return
        try:
            app.limits.account = self._rate
            app.courier.hosts = self._webhook_hosts
            if self._seed is not None and app.store.meta("seeded") is None:
                self._seed.plant(app)
            asyncio.run(self._serve(app))
        except BaseException as error:
            if self._ready.done():
                raise  # the thread's own hook reports it
            self._ready.set_exception(error)
        finally:
            app.store.close()

    async def _serve(self, app: App) -> None:
        server = Server(app)
        url = await server.start(self._host, self._port)
        self._loop, self._app, self._stop = asyncio.get_running_loop(), app, asyncio.Event()
        self._ready.set_result(url)
        try:
            await self._stop.wait()
        finally:
            self._app = None
            await server.stop()


def sandbox(
    *,
    seed: int | None = None,
    state: Path | str | None = None,
    now: float | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    latency_ms: float = 0.0,
    rate: float | None = None,
    search_lag: float | None = None,
    webhook_hosts: Iterable[str] = (),
) -> Sandbox:
    """A sandbox to be used as `with sandbox() as s:`.

    `seed` is a number of customers. `now` makes the clock stand still at an instant until
    `advance`; without it the clock runs. `search_lag` is in seconds, by default half a second
    with a running clock and none with a standing one. `rate` is requests per second.
    Webhooks are delivered to this machine only, and to the hosts in `webhook_hosts`.
    """
    return Sandbox(
        seed=seed,
        state=state,
        now=now,
        host=host,
        port=port,
        latency_ms=latency_ms,
        rate=rate,
        search_lag=search_lag,
        webhook_hosts=webhook_hosts,
    )

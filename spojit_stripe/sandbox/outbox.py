"""Which events go to which webhook endpoints, collected until the request that made them is committed."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from spojit_stripe.sandbox.store import Store
from spojit_stripe.sandbox.values import JsonObject, JsonValue, flag, string, strings


@dataclass
class Delivery:
    """An event on its way to an endpoint: one attempt.

    `outcome` is queued, held, delayed, delivered, failed, dropped (a gap that was asked for) or
    not_delivered (the address is not on this machine, or the endpoint is gone or disabled);
    `status` is what the endpoint answered, `why` what went wrong otherwise.
    `time` is the sandbox's clock when the attempt began, `retry_at` when the next one is due.
    """

    event: str
    type: str
    endpoint: str
    scope: int
    attempt: int = 1
    copy: int = 1
    number: int = 0
    url: str = ""
    time: float | None = None
    status: int | None = None
    outcome: str = "queued"
    why: str | None = None
    retry_at: int | None = None
    scheduled: bool = False

    def as_json(self) -> JsonObject:
        """The entry as the control API shows it."""
        plain: dict[str, JsonValue] = asdict(self)
        del plain["scope"], plain["scheduled"]
        return plain

    @property
    def code(self) -> str:
        """What a timer remembers of an attempt that is to be made."""
        return f"{self.event}|{self.type}|{self.endpoint}|{self.scope}|{self.attempt}"

    @classmethod
    def decoded(cls, code: str) -> "Delivery":
        """An attempt from what a timer remembered."""
        event, kind, endpoint, scope, attempt = code.split("|")
        return cls(event, kind, endpoint, int(scope), int(attempt), scheduled=True)


@dataclass
class _Endpoint:
    id: str
    connect: bool
    wanted: frozenset[str]

    def takes(self, kind: str) -> bool:
        return "*" in self.wanted or kind in self.wanted


@dataclass
class Outbox:
    """What is to be delivered. `sent` takes it over when it is committed."""

    sent: Callable[[list[Delivery]], None] | None = None
    _pending: list[Delivery] = field(default_factory=lambda: [])
    _endpoints: dict[int, list[_Endpoint]] = field(default_factory=lambda: {})

    def takers(self, store: Store, scope: int, kind: str) -> list[str]:
        """The enabled endpoints that want an event: the account's own, and the platform's for connected ones."""
        found = [each.id for each in self._of(store, scope) if not each.connect and each.takes(kind)]
        if scope > 1:
            found.extend(each.id for each in self._of(store, scope % 2) if each.connect and each.takes(kind))
        return found

    def add(self, delivery: Delivery) -> None:
        """Deliver this once the changes under way are committed."""
        self._pending.append(delivery)

    def commit(self) -> None:
        """The changes are kept: hand over what they announce."""
        pending, self._pending = self._pending, []
        if pending and self.sent is not None:
            self.sent(pending)

    def discard(self) -> None:
        """The changes were taken back, and with them what they announce."""
        self._pending.clear()
        self._endpoints.clear()

    def forget_endpoints(self) -> None:
        """Endpoints have changed."""
        self._endpoints.clear()

    def _of(self, store: Store, scope: int) -> list[_Endpoint]:
        found = self._endpoints.get(scope)
        if found is None:
            found = [
                _Endpoint(record.id, flag(record.private, "connect"), frozenset(strings(record.body, "enabled_events")))
                for record in store.records(scope, "webhook_endpoint")
                if string(record.body, "status") == "enabled"
            ]
            self._endpoints[scope] = found
        return found

"""What was asked and answered, for tests to assert on. Keys of accounts are never kept."""

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from spojit_stripe.sandbox.form import Raw
from spojit_stripe.sandbox.values import JsonObject, JsonValue

_MOST = 100_000
_SECRET_HEADERS = {"authorization", "cookie", "proxy-authorization"}


@dataclass
class LoggedRequest:
    """One request. `outcome` is open, answered, dropped or truncated; `status` is what was answered.

    `params` are the decoded query and body as they came, strings in nested mappings.
    `time` is the sandbox's clock, in seconds.
    """

    number: int
    time: float
    method: str
    path: str
    operation: str | None = None
    params: dict[str, Raw] = field(default_factory=lambda: {})
    headers: dict[str, str] = field(default_factory=lambda: {})
    key: str | None = None
    account: str | None = None
    livemode: bool | None = None
    idempotency_key: str | None = None
    request_id: str | None = None
    status: int | None = None
    replayed: bool = False
    fault: str | None = None
    outcome: str = "open"

    def as_json(self) -> JsonObject:
        """The entry as the control API shows it."""
        plain: dict[str, JsonValue] = asdict(self)
        return plain


class RequestLog:
    """The latest requests, oldest first."""

    def __init__(self) -> None:
        self._entries: deque[LoggedRequest] = deque(maxlen=_MOST)
        self._count = 0

    def open(self, time: float, method: str, path: str, headers: Mapping[str, str]) -> LoggedRequest:
        """Begin an entry; it is listed at once, so that held requests can be seen."""
        self._count += 1
        shown = {name: value for name, value in headers.items() if name not in _SECRET_HEADERS}
        entry = LoggedRequest(self._count, time, method, path, headers=shown)
        entry.idempotency_key = headers.get("idempotency-key")
        self._entries.append(entry)
        return entry

    def entries(self, method: str | None = None, path: str | None = None) -> list[LoggedRequest]:
        """The entries, or those with a method and a path."""
        return [
            entry
            for entry in self._entries
            if (method is None or entry.method == method) and (path is None or entry.path == path)
        ]

    def clear(self) -> None:
        """Forget all entries."""
        self._entries.clear()

"""Every error of the package, grouped by what the caller does next.

    SpojitError
    ├── InputError             2  fix the input; nothing was sent
    ├── ConfigurationError     3  fix connection, key, folder or file; nothing was sent
    ├── RefusedError           4  policy, a cap, a pin or a plug-in said no; nothing was sent
    ├── ServiceError           6  the service answered no, or could not be reached
    │   ├── InvalidRequestError   6  fix the input: the service refused the request as it was
    │   ├── AccessError           3  fix configuration: key unknown, or lacking a permission
    │   ├── DeclinedError         6  stop: the payment was declined; a new try needs a new reason
    │   ├── ConflictError         6  stop: the key or the object is in use by something else
    │   └── UnavailableError      6  retry later: nothing took effect
    └── OutcomeUnknownError    7  the request may or may not have taken effect; settle it first

The number is the command line's exit code. A pause for an approval is no error but a
value (`values.Paused`, exit code 5).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import ClassVar

from spojit_stripe.jsonvalue import JsonObject

__all__ = [
    "AccessError",
    "Action",
    "ConfigurationError",
    "ConflictError",
    "DeclinedError",
    "InputError",
    "InvalidRequestError",
    "OutcomeUnknownError",
    "Problem",
    "RefusedError",
    "ServiceError",
    "SpojitError",
    "UnavailableError",
    "error_from_record",
]


class Action(StrEnum):
    """What the caller does next."""

    FIX_INPUT = "fix_input"
    FIX_CONFIGURATION = "fix_configuration"
    RETRY = "retry"
    STOP = "stop"
    SETTLE = "settle_unknown_outcome"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a service said about a request it did not carry out.

    The names are those of Stripe's error object; another connector fills what it has.
    `status` is the HTTP status, or None where no answer came.
    """

    type: str | None = None
    code: str | None = None
    decline_code: str | None = None
    param: str | None = None
    status: int | None = None
    request_id: str | None = None
    advice: str | None = None
    doc_url: str | None = None
    missing_permission: str | None = None
    related_object: str | None = None
    attempts: int = 1

    def to_json(self) -> JsonObject:
        """The fields that are set, for people and for the ledger."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class SpojitError(Exception):
    """Base of all errors; its text is one line that says what is wrong and what to do."""

    action: ClassVar[Action] = Action.STOP
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def to_json(self) -> JsonObject:
        """The error as data, for `--json`, the ledger and a model."""
        return {"error": type(self).__name__, "message": self.message, "action": self.action.value}


class InputError(SpojitError):
    """The input is wrong; nothing was sent. `faults` holds every fault found, first one first."""

    action = Action.FIX_INPUT
    exit_code = 2

    def __init__(self, message: str, *, faults: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.faults = faults or (message,)


class ConfigurationError(SpojitError):
    """A connection, a secret, a file or a folder is wrong; nothing was sent."""

    action = Action.FIX_CONFIGURATION
    exit_code = 3
    lost = False
    """Whether a stored file is not there as it was recorded: nothing goes on after that, whatever `on_error` says."""

    def to_json(self) -> JsonObject:
        return {**super().to_json(), **({"lost": True} if self.lost else {})}


class RefusedError(SpojitError):
    """Policy, a cap, a pin or a plug-in refused the call; nothing was sent."""

    exit_code = 4


class ServiceError(SpojitError):
    """The service refused or failed a request, and it is certain that nothing took effect."""

    exit_code = 6

    def __init__(self, message: str, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = problem or Problem()

    def to_json(self) -> JsonObject:
        return {**super().to_json(), **self.problem.to_json()}


class InvalidRequestError(ServiceError):
    """The service refused the request as it was: a parameter, an id, or the object's state."""

    action = Action.FIX_INPUT


class AccessError(ServiceError):
    """The key is unknown or revoked, or lacks `problem.missing_permission`."""

    action = Action.FIX_CONFIGURATION
    exit_code = 3


class DeclinedError(ServiceError):
    """The payment was declined; `problem.decline_code` says why."""


class ConflictError(ServiceError):
    """The idempotency key was used for another request, or the object is in use."""


class UnavailableError(ServiceError):
    """Not reachable, rate limited or failing, and nothing took effect: try again later."""

    action = Action.RETRY


class OutcomeUnknownError(ServiceError):
    """A write was sent and its outcome is not known: it may have taken effect.

    Raised for writes only. The ledger row stays `unknown` until it is settled.
    """

    action = Action.SETTLE
    exit_code = 7


_KINDS: dict[str, type[SpojitError]] = {
    kind.__name__: kind
    for kind in (
        InputError,
        ConfigurationError,
        RefusedError,
        ServiceError,
        InvalidRequestError,
        AccessError,
        DeclinedError,
        ConflictError,
        UnavailableError,
        OutcomeUnknownError,
    )
}
_PROBLEM_FIELDS = frozenset(field.name for field in fields(Problem))


def error_from_record(record: JsonObject) -> SpojitError:
    """Rebuild an error from `to_json()`, as the ledger stored it."""
    kind = _KINDS.get(str(record.get("error")), ServiceError)
    message = str(record.get("message", ""))
    if not issubclass(kind, ServiceError):
        error = kind(message)
        if isinstance(error, ConfigurationError):
            error.lost = record.get("lost") is True
        return error
    known = {name: value for name, value in record.items() if name in _PROBLEM_FIELDS}
    return kind(message, Problem(**known))  # type: ignore[arg-type]  # written by to_json above

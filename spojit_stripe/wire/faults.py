"""Stripe's refusals as our errors, each with what to do next.

What an answer means for a write is decided in `client`; here an answer is only read.
Facts: https://docs.stripe.com/api/errors and /error-codes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, cast

import msgspec

from spojit_stripe.errors import (
    AccessError,
    ConflictError,
    DeclinedError,
    InvalidRequestError,
    OutcomeUnknownError,
    Problem,
    ServiceError,
    UnavailableError,
)
from spojit_stripe.redact import HIDDEN, printable, redact_text
from spojit_stripe.values import JsonObject, JsonValue

if TYPE_CHECKING:
    from spojit_stripe.connection import Connection

__all__ = ["Reader", "Reply", "code_of", "fault_of", "is_rate_limited", "json_object"]

_LONGEST_MESSAGE: Final = 1000
_SECONDS = re.compile(r"[0-9]{1,6}")
_PERMISSION = re.compile(r"\brak_[a-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer. `headers` has lower-case names; text is Latin-1 as HTTP says."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes

    def header(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def request_id(self) -> str | None:
        return self.header(b"request-id")

    @property
    def replayed(self) -> bool:
        return self.headers.get(b"idempotent-replayed") == b"true"

    @property
    def should_retry(self) -> bool | None:
        value = self.headers.get(b"stripe-should-retry")
        return None if value not in (b"true", b"false") else value == b"true"


def json_object(body: bytes) -> JsonObject | None:
    """The JSON object that `body` is, or None: cut off, HTML, or another kind of value."""
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return cast("JsonObject", value) if isinstance(value, dict) else None


def fault_of(reply: Reply) -> JsonObject | None:
    """The `error` object of an answer, or None where it is not Stripe's kind of answer."""
    found = (json_object(reply.body) or {}).get("error")
    if isinstance(found, str):  # OAuth's form
        return {"type": found, "message": found}
    return found if isinstance(found, dict) else None


class Reader:
    """Reads refusals for one connection; nothing it gives out holds the connection's key."""

    def __init__(self, connection: Connection, secret: str) -> None:
        self._connection = connection
        self._secret = secret

    def clean(self, text: str) -> str:
        """`text` on one line, of bounded length, without anything secret."""
        if self._secret:
            text = text.replace(self._secret, HIDDEN)
        return printable(redact_text(text))[:_LONGEST_MESSAGE]

    def refusal(self, reply: Reply, attempts: int) -> ServiceError:
        """The error of an answer that says no, or that failed, and had no effect."""
        fault = fault_of(reply)
        if fault is None:
            return self._foreign(reply, attempts)
        kind = _kind(reply.status, fault)
        problem = self._problem(reply, fault, attempts, kind)
        message = _text(fault, "message") or _text(fault, "code") or f"HTTP {reply.status} without a message"
        return kind(self._sentence(message, problem), problem)

    def problem(self, reply: Reply | None, attempts: int, advice: str) -> Problem:
        """A `Problem` with what an answer without a usable error object gives."""
        if reply is None:
            return Problem(attempts=attempts, advice=advice)
        fault = fault_of(reply)
        if fault is None:
            return Problem(
                status=reply.status, request_id=self._maybe(reply.request_id), attempts=attempts, advice=advice
            )
        return self._problem(reply, fault, attempts, OutcomeUnknownError, advice=advice)

    def _foreign(self, reply: Reply, attempts: int) -> ServiceError:
        """An answer that is not Stripe's: a proxy, a load balancer, or another service."""
        status = reply.status
        kind: type[ServiceError] = ServiceError
        advice = "check base_url and any proxy between here and Stripe"
        if status in (408, 429) or status >= 500:
            kind, advice = UnavailableError, "try again later"
        elif status in (401, 403, 407):
            kind = AccessError
        if 300 <= status < 400:
            text = f"answered with a redirect (HTTP {status}), which is never followed"
        else:
            text = f"answered HTTP {status} with no error that Stripe would write"
        problem = Problem(status=status, request_id=self._maybe(reply.request_id), attempts=attempts, advice=advice)
        return kind(self._sentence(f"the service {text}", problem), problem)

    def _problem(
        self,
        reply: Reply,
        fault: JsonObject,
        attempts: int,
        kind: type[ServiceError],
        advice: str | None = None,
    ) -> Problem:
        message = _text(fault, "message") or ""
        missing = ", ".join(dict.fromkeys(_PERMISSION.findall(message))) if reply.status == 403 else ""
        return Problem(
            type=self._maybe(_text(fault, "type")),
            code=self._maybe(_text(fault, "code")),
            decline_code=self._maybe(_text(fault, "decline_code")),
            param=self._maybe(_text(fault, "param")),
            status=reply.status,
            request_id=self._maybe(reply.request_id),
            advice=self.clean(advice or self._advice(reply, fault, kind, missing)),
            doc_url=self._maybe(_text(fault, "doc_url")),
            missing_permission=missing or None,
            related_object=self._maybe(_related(fault)),
            attempts=attempts,
        )

    def _advice(self, reply: Reply, fault: JsonObject, kind: type[ServiceError], missing: str) -> str:
        name = self._connection.name
        if missing:
            return (
                f"give the restricted key of connection {name!r} the permission {missing} in Stripe's dashboard, "
                "or use a key that has it"
            )
        if kind is AccessError:
            return f"check the secret_key and the account of connection {name!r}"
        if kind is DeclinedError:
            return _advice_on_decline(fault)
        code = _text(fault, "code") or ""
        if code == "resource_missing":
            return (
                f"check the id; it must be of this account and in {self._connection.mode} mode, "
                "and ids of the other mode are not found"
            )
        if kind is UnavailableError:
            return f"try again {_when(reply.header(b'retry-after') or '')}"
        if kind is ConflictError:
            return _advice_on_conflict(fault)
        return _advice_on_input(code, _text(fault, "param"))

    def _sentence(self, message: str, problem: Problem) -> str:
        text = self.clean(message).rstrip()
        return f"{text}{'' if text.endswith(('.', '!', '?')) else ';'} {problem.advice}" if problem.advice else text

    def _maybe(self, text: str | None) -> str | None:
        return None if text is None else self.clean(text)


# By type first, as v2 does; v1's types that are not here go by status.
_BY_TYPE: Final[dict[str, type[ServiceError]]] = {
    "idempotency_error": ConflictError,
    "rate_limit": UnavailableError,
    "card_error": DeclinedError,
    "insufficient_funds": DeclinedError,
    "blocked_by_stripe": DeclinedError,
    "feature_not_enabled": AccessError,
    "temporary_session_expired": AccessError,
}
_BY_STATUS: Final[dict[int, type[ServiceError]]] = {
    401: AccessError,
    402: DeclinedError,
    403: AccessError,
    407: AccessError,
    408: UnavailableError,
    409: ConflictError,
    425: UnavailableError,
    429: UnavailableError,
}


def is_rate_limited(reply: Reply) -> bool:
    """429, or the 400 with code rate_limit that Stripe's client counts as one."""
    if reply.status == 429:
        return True
    return reply.status == 400 and _text(fault_of(reply) or {}, "code") == "rate_limit"


def _kind(status: int, fault: JsonObject) -> type[ServiceError]:
    if _text(fault, "code") == "rate_limit":
        return UnavailableError
    found = _BY_TYPE.get(_text(fault, "type") or "") or _BY_STATUS.get(status)
    if found is not None:
        return found
    if status >= 500:
        return UnavailableError
    return InvalidRequestError if 400 <= status < 500 else ServiceError


def _advice_on_decline(fault: JsonObject) -> str:
    codes = {_text(fault, "code"), _text(fault, "decline_code")}
    if "authentication_required" in codes:
        return "the customer must authenticate the payment; it can't be done unattended"
    told = _ADVICE_CODES.get(_text(fault, "advice_code") or "")
    if told is not None:
        return told
    if "insufficient_funds" in codes:
        return "ask the customer for another payment method, or try again on another day"
    if codes & {"expired_card", "incorrect_cvc", "incorrect_number", "invalid_expiry_year", "invalid_expiry_month"}:
        return "ask the customer to correct the card's details"
    return "do not repeat it as it is; ask the customer for another payment method"


# https://docs.stripe.com/declines#retrying-issuer-declines
_ADVICE_CODES: Final = {
    "do_not_try_again": "do not try this payment method again; ask the customer for another",
    "try_again_later": "the issuer says to try again later",
    "confirm_card_data": "ask the customer to correct the card's details",
}


def _when(retry_after: str) -> str:
    """What `Retry-After` says, a number of seconds or a date; what it can't mean is left out."""
    if _SECONDS.fullmatch(retry_after):
        return f"in {retry_after} seconds"
    try:
        return f"after {parsedate_to_datetime(retry_after).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError):
        return "in a minute"


def _advice_on_conflict(fault: JsonObject) -> str:
    if _text(fault, "type") == "idempotency_error":
        return "its idempotency key was used for another request; a new intent needs a new run id"
    return "another request works on the same object; try again when that is done"


def _advice_on_input(code: str, param: str | None) -> str:
    if code == "parameter_unknown" and param:
        return f"leave out {param}"
    if code == "parameter_missing" and param:
        return f"give {param}"
    if param:
        return f"correct {param}"
    return "correct the request; Stripe will refuse it again as it is"


def _related(fault: JsonObject) -> str | None:
    """The id of what a refused request left behind, the charge of a decline say."""
    for name in ("payment_intent", "setup_intent", "charge", "payment_method", "source"):
        value = fault.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, dict) and isinstance(value.get("id"), str):
            return cast("str", value["id"])
    return None


def _text(fault: Mapping[str, JsonValue], name: str) -> str | None:
    value = fault.get(name)
    return value if isinstance(value, str) and value else None


def code_of(reply: Reply) -> str | None:
    """The error code of a refusal, such as `lock_timeout`."""
    return _text(fault_of(reply) or {}, "code")

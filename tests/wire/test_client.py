"""The wire sends what it should, repeats what it may, and says what is known of a write."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from spojit_stripe import errors
from spojit_stripe.connection import Connection, Limits
from spojit_stripe.connector import Answer
from spojit_stripe.errors import (
    AccessError,
    ConfigurationError,
    ConflictError,
    DeclinedError,
    InputError,
    InvalidRequestError,
    OutcomeUnknownError,
    ServiceError,
    UnavailableError,
)
from spojit_stripe.values import Request, Secret
from spojit_stripe.wire.client import API_VERSION, StripeWire
from spojit_stripe.wire.faults import Reader
from spojit_stripe.wire.limiter import Limiter
from spojit_stripe.wire.retry import RetryRule
from spojit_stripe.wire.transport import trouble_of

KEY = "sk_test_4eC39HqLyjWDarjtT1zdp7dc"
GET = Request(method="GET", path="/v1/customers/cus_1", template="/v1/customers/{customer}")
POST = Request(method="POST", path="/v1/customers", template="/v1/customers", params={"email": "a+b@example.com"})
DELETE = Request(method="DELETE", path="/v1/customers/cus_1", template="/v1/customers/{customer}")
POST_V2 = Request(method="POST", path="/v2/core/accounts", template="/v2/core/accounts", params={"a": None}, version=2)
DELETE_V2 = Request(
    method="DELETE", path="/v2/core/event_destinations/ed_1", template="/v2/core/event_destinations/{id}", version=2
)

Step = httpx2.Response | Exception


class Script(httpx2.AsyncBaseTransport):
    """Answers one request after another as scripted, and keeps what it was sent."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps = list(steps)
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        self.requests.append(request)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        # A fresh one each time: the body of a response is read once.
        return httpx2.Response(step.status_code, headers=step.headers, stream=httpx2.ByteStream(step.content))

    @property
    def keys(self) -> list[str | None]:
        return [request.headers.get("idempotency-key") for request in self.requests]


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 50.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def connection(**more: Any) -> Connection:
    return Connection.model_validate({"name": "shop", "secret_key": "${env:KEY}", "mode": "test", **more})


def wire_to(script: httpx2.AsyncBaseTransport, time: Time | None = None, **more: Any) -> StripeWire:
    time = time or Time()
    options = {"limiter": Limiter("test", clock=time), "random": lambda: 1.0, "wall": lambda: 1_800_000_000.0, **more}
    return StripeWire(
        options.pop("connection", None) or connection(),
        Secret(KEY),
        transport=script,
        clock=time,
        sleep=time.sleep,
        **options,
    )


def send(
    steps: Iterable[Step], request: Request, *, key: str | None = "key-1", **more: Any
) -> tuple[Any, Script, Time]:
    """The answer or the error of one request, with what was sent and slept for it."""
    script, time = Script(steps), Time()
    wire = wire_to(script, time, **more)

    async def run() -> Any:
        try:
            return await wire.send(request, key=None if request.method == "GET" else "key-1")
        except errors.SpojitError as error:
            return error
        finally:
            await wire.aclose()

    return asyncio.run(run()), script, time


def ok(body: object = None, status: int = 200, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, json={"id": "cus_1"} if body is None else body, headers=named)


def refused(status: int, error: dict[str, Any] | None = None, **headers: str) -> httpx2.Response:
    return ok({"error": {"type": "invalid_request_error", "message": "No.", **(error or {})}}, status, **headers)


# What is sent


def test_a_read_goes_out_with_the_headers_of_stripe_and_no_key() -> None:
    answer, script, _ = send(
        [ok({"id": "cus_1", "livemode": False}, Request_Id="req_1", Date="Mon, 23 Nov 2026 18:00:00 GMT")], GET
    )
    request = script.requests[0]
    assert str(request.url) == "https://api.stripe.com/v1/customers/cus_1"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["stripe-version"] == API_VERSION == "2026-10-28.endive"
    assert request.headers["user-agent"].startswith("spojit_stripe/")
    assert request.headers["host"] == "api.stripe.com"
    assert "idempotency-key" not in request.headers
    assert "stripe-account" not in request.headers
    assert answer == Answer(
        body={"id": "cus_1", "livemode": False},
        request_id="req_1",
        livemode=False,
        date=1795456800,
        api_version=API_VERSION,
    )


def test_a_post_sends_a_form_under_the_key_it_was_given() -> None:
    answer, script, _ = send([ok(Idempotent_Replayed="true")], POST)
    request = script.requests[0]
    assert request.content == b"email=a%2Bb%40example.com"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["content-length"] == "25"
    assert request.headers["idempotency-key"] == "key-1"
    assert answer.replayed


def test_a_v2_post_sends_json_and_a_v2_delete_a_key() -> None:
    _, script, _ = send([ok()], POST_V2)
    assert script.requests[0].content == b'{"a": null}'
    assert script.requests[0].headers["content-type"] == "application/json"
    _, script, _ = send([ok()], DELETE_V2)
    assert script.keys == ["key-1"]


def test_a_v1_delete_sends_its_parameters_in_the_query_and_no_key() -> None:
    request = Request(method="DELETE", path="/v1/x/1", template="/v1/x/{x}", params={"a": {"b": True}})
    _, script, _ = send([ok()], request)
    assert script.requests[0].url.query == b"a[b]=true"
    assert script.requests[0].content == b""
    assert script.keys == [None]


def test_a_write_without_a_key_is_never_sent() -> None:
    script = Script([ok()])
    for bad in (None, "", "a" * 256, "a\r\nb", "ü"):
        with pytest.raises(ValueError, match="idempotency key"):
            asyncio.run(wire_to(script).send(POST, key=bad))
    assert not script.requests


def test_a_post_that_only_computes_needs_no_key_and_is_never_unknown() -> None:
    path = "/v1/invoices/create_preview"
    request = Request(method="POST", path=path, template=path, params={"customer": "cus_1"})
    script = Script([refused(500), ok()])
    answer = asyncio.run(wire_to(script).send(request))
    assert answer.attempts == 2
    assert script.keys[0] is not None
    assert len(set(script.keys)) == 1
    with pytest.raises(UnavailableError):
        asyncio.run(wire_to(Script([refused(500)])).send(request))


def test_account_and_version_come_from_the_request_or_else_from_the_connection() -> None:
    own = connection(account="acct_own", api_version="2024-06-20")
    _, script, _ = send([ok()], GET, connection=own)
    assert script.requests[0].headers["stripe-account"] == "acct_own"
    assert script.requests[0].headers["stripe-version"] == "2024-06-20"
    other = Request(
        method="GET", path=GET.path, template=GET.template, account="acct_other", api_version="2025-01-01.acacia"
    )
    _, script, _ = send([ok()], other, connection=own)
    assert script.requests[0].headers["stripe-account"] == "acct_other"
    assert script.requests[0].headers["stripe-version"] == "2025-01-01.acacia"


@pytest.mark.parametrize("path", ["//evil.example/v1/x", "https://evil.example/v1/x", "/v1/../x", "/v1/x?a=1", "/x"])
def test_no_path_takes_the_key_to_another_place(path: str) -> None:
    error, script, _ = send([ok()], Request(method="GET", path=path, template=path))
    assert isinstance(error, InputError)
    assert not script.requests


def test_a_request_that_is_too_long_is_refused_unsent() -> None:
    request = Request(method="GET", path="/v1/x", template="/v1/x", params={"a": "b" * 70_000})
    error, script, _ = send([ok()], request)
    assert isinstance(error, InputError)
    assert not script.requests


# What is repeated


@pytest.mark.parametrize("request_", [GET, POST, POST_V2, DELETE_V2])
@pytest.mark.parametrize(
    "trouble",
    [
        refused(500),
        refused(502),
        refused(503),
        httpx2.Response(503, text="<html>busy</html>"),
        refused(409, {"code": "lock_timeout"}),
        refused(429, {"type": "rate_limit_error"}),
        refused(429, {"code": "lock_timeout"}),
        refused(400, {"code": "rate_limit"}),
        refused(404, Stripe_Should_Retry="true"),
        httpx2.Response(200, text='{"id": "cus_'),
        httpx2.Response(200, text=""),
        httpx2.Response(200, text="[]"),
        httpx2.Response(408, text=""),
        httpx2.ConnectError("refused"),
        httpx2.ConnectTimeout(""),
        httpx2.PoolTimeout(""),
        httpx2.ReadTimeout(""),
        httpx2.WriteError("reset"),
        httpx2.RemoteProtocolError("Server disconnected"),
        ConnectionResetError(),
    ],
)
def test_faults_are_repeated_under_one_key(request_: Request, trouble: Step) -> None:
    answer, script, time = send([trouble, trouble, ok()], request_)
    assert isinstance(answer, Answer)
    assert answer.attempts == 3
    assert script.keys == ([None] * 3 if request_ is GET else ["key-1"] * 3)
    assert time.slept[0] == 0.5
    assert 1.0 in time.slept


def test_waits_grow_to_a_bound_with_full_jitter() -> None:
    _, script, time = send([refused(503)], GET)
    assert len(script.requests) == 8
    assert [round(seconds, 6) for seconds in time.slept if seconds >= 0.5] == [0.5, 1, 2, 4, 8, 8, 8]
    _, _, time = send([refused(503)], GET, random=lambda: 0.25)
    assert max(time.slept) == 2.0


@pytest.mark.parametrize(
    ("asked", "waits"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("Fri, 15 Jan 2027 08:00:09 GMT", 9.0),
        ("Fri, 15 Jan 2020 08:00:00 GMT", 0.5),
        ("soon", 0.5),
        ("-3", 0.5),
    ],
)
def test_retry_after_is_honoured(asked: str, waits: float) -> None:
    _, _, time = send([refused(429, Retry_After=asked), ok()], GET)
    assert time.slept[0] == pytest.approx(waits)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("1000", "in 1000 seconds"),
        ("9" * 400, "in a minute"),
        ("soon", "in a minute"),
        ("Thu, 26 Nov 2099 02:00:00 +0200", "after 2099-11-26 00:00:00 UTC"),
        ("Thu, 99 Nov 2099 00:00:00 GMT", "in a minute"),
        ("Thu, 26 Nov 999999999999999999999 00:00:00 GMT", "in a minute"),
    ],
)
def test_retry_after_is_told_as_far_as_it_means_something(asked: str, told: str) -> None:
    error, _, _ = send([refused(429, Retry_After=asked)], GET)
    assert isinstance(error, UnavailableError)
    assert error.problem.advice == f"try again {told}"


def test_stripes_own_word_on_retries_is_honoured() -> None:
    _, script, _ = send([refused(500, Stripe_Should_Retry="false"), ok()], GET)
    assert len(script.requests) == 1
    _, script, _ = send([refused(429, Stripe_Should_Retry="false"), ok()], POST)
    assert len(script.requests) == 1
    _, script, _ = send([refused(402, Stripe_Should_Retry="true"), ok()], POST)
    assert len(script.requests) == 2


def test_no_retry_begins_after_the_deadline() -> None:
    error, script, _ = send([refused(429, Retry_After="100")], POST)
    assert len(script.requests) == 2  # at 0 and at 100 seconds, 200 is too late
    assert isinstance(error, UnavailableError)
    assert "100 seconds" in str(error)


def test_waiting_for_the_limiter_takes_nothing_from_the_deadline() -> None:
    time = Time()
    limiter = Limiter("test", Limits(endpoint=0.001), clock=time)
    next(limiter.lane("GET", GET.template).delays(), None)
    script = Script([refused(503), ok()])
    answer = asyncio.run(wire_to(script, time, limiter=limiter, rule=RetryRule(deadline=2000)).send(GET))
    assert answer.attempts == 2


def test_an_unreachable_service_is_told_soon() -> None:
    error, script, time = send([httpx2.ConnectError("Connection refused")], POST)
    assert isinstance(error, UnavailableError)
    assert "nothing was sent" in str(error)
    assert "https://api.stripe.com" in str(error)
    assert error.problem.attempts == 3
    assert len(script.requests) == 3
    assert sum(time.slept) < 2


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 301, 418])
def test_what_will_not_change_is_not_repeated(status: int) -> None:
    _, script, _ = send([refused(status), ok()], POST)
    assert len(script.requests) == 1


@pytest.mark.parametrize("trouble", [httpx2.ReadTimeout(""), httpx2.RemoteProtocolError("gone"), refused(500)])
def test_a_v1_delete_that_may_have_arrived_is_not_repeated(trouble: Step) -> None:
    error, script, _ = send([trouble, ok()], DELETE)
    assert isinstance(error, OutcomeUnknownError)
    assert len(script.requests) == 1


@pytest.mark.parametrize("trouble", [httpx2.ConnectError("refused"), refused(429), refused(409)])
def test_a_v1_delete_that_certainly_did_nothing_is_repeated(trouble: Step) -> None:
    answer, script, _ = send([trouble, ok()], DELETE)
    assert isinstance(answer, Answer)
    assert len(script.requests) == 2


# What is known of a write

MAYBE_SENT: list[Step] = [
    httpx2.ReadTimeout(""),
    httpx2.WriteTimeout(""),
    httpx2.ReadError("reset"),
    httpx2.WriteError("reset"),
    httpx2.RemoteProtocolError("Server disconnected without sending a response."),
    refused(500),
    httpx2.Response(502, text="<html>"),
    httpx2.Response(200, text='{"id": "cus'),
    httpx2.Response(200, text="<html>"),
    refused(409, {"code": "idempotency_key_in_use", "type": "idempotency_error"}),
]


@pytest.mark.parametrize("trouble", MAYBE_SENT)
def test_a_write_that_may_have_arrived_and_was_never_answered_is_unknown(trouble: Step) -> None:
    error, _, _ = send([trouble], POST)
    assert isinstance(error, OutcomeUnknownError)
    assert "may have taken effect" in str(error)
    assert error.problem.advice
    assert error.problem.attempts == 8


@pytest.mark.parametrize("last", [refused(401), refused(403), refused(429), httpx2.ConnectError(""), refused(409)])
@pytest.mark.parametrize("first", MAYBE_SENT)
def test_a_later_refusal_that_never_looked_at_the_key_leaves_it_unknown(first: Step, last: Step) -> None:
    error, _, _ = send([first, last], POST)
    assert isinstance(error, OutcomeUnknownError)


@pytest.mark.parametrize("first", MAYBE_SENT)
@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (refused(400), InvalidRequestError),
        (refused(402, {"type": "card_error"}), DeclinedError),
        (refused(404), InvalidRequestError),
    ],
)
def test_a_later_answer_under_the_same_key_settles_it(first: Step, last: Step, kind: type[Exception]) -> None:
    error, script, _ = send([first, last], POST)
    assert type(error) is kind
    assert script.keys == ["key-1", "key-1"]
    assert isinstance(send([first, ok()], POST)[0], Answer)


def test_a_gateways_error_page_settles_nothing() -> None:
    error, _, _ = send([httpx2.ReadTimeout(""), httpx2.Response(404, text="<html>not found</html>")], POST)
    assert isinstance(error, OutcomeUnknownError)


def test_a_replayed_failure_is_unknown_and_not_asked_for_again() -> None:
    error, script, _ = send([refused(500, Idempotent_Replayed="true"), ok()], POST)
    assert isinstance(error, OutcomeUnknownError)
    assert "replays" in str(error)
    assert len(script.requests) == 1


@pytest.mark.parametrize("trouble", [trouble for trouble in MAYBE_SENT if trouble is not MAYBE_SENT[-1]])
def test_a_read_is_never_unknown(trouble: Step) -> None:
    error, _, _ = send([trouble], GET)
    assert type(error) is UnavailableError


def test_every_exception_of_the_http_library_is_mapped() -> None:
    def below(kind: type[Exception]) -> Iterable[type[Exception]]:
        yield kind
        for inner in kind.__subclasses__():
            yield from below(inner)

    roots = (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, httpx2.CookieConflict)
    kinds = {kind for root in roots for kind in below(root)}
    assert len(kinds) > 20
    unsent = {
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.PoolTimeout,
        httpx2.ProxyError,
        httpx2.UnsupportedProtocol,
        httpx2.InvalidURL,
    }
    for kind in kinds:
        error = kind.__new__(kind)
        Exception.__init__(error, "boom")
        assert trouble_of(error).sent is (kind not in unsent), kind
        got, _, _ = send([error], POST)
        assert isinstance(got, errors.SpojitError), kind
        assert isinstance(got, OutcomeUnknownError) is (kind not in unsent), kind
        assert "\n" not in str(got)
        got, _, _ = send([error], GET)
        assert isinstance(got, UnavailableError | ConfigurationError), kind


def test_tls_faults_say_so_and_are_not_repeated() -> None:
    error = httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]")
    fault = ssl.SSLCertVerificationError(1, "certificate verify failed")
    fault.verify_message = "self-signed certificate"
    error.__cause__ = fault
    got, script, _ = send([error], POST)
    assert isinstance(got, ConfigurationError)
    assert "self-signed certificate" in str(got)
    assert len(script.requests) == 1
    got, _, _ = send([httpx2.ReadTimeout(""), error], POST)
    assert isinstance(got, OutcomeUnknownError)


def test_plain_http_on_the_other_side_is_a_tls_fault_too() -> None:
    error = httpx2.ConnectError("[SSL: WRONG_VERSION_NUMBER]")
    error.__cause__ = ssl.SSLError(1, "wrong version number")
    got, script, _ = send([error], GET)
    assert isinstance(got, ConfigurationError)
    assert "TLS failed" in str(got)
    assert len(script.requests) == 1


def test_a_connection_closed_while_it_is_made_is_no_tls_fault() -> None:
    error = httpx2.ConnectError("EOF")
    error.__cause__ = ssl.SSLEOFError(8, "EOF occurred")
    got, script, _ = send([error], GET)
    assert isinstance(got, UnavailableError)
    assert len(script.requests) == 3


# What errors tell

REFUSALS: list[tuple[httpx2.Response, type[ServiceError], dict[str, Any], str]] = [
    (
        refused(400, {"code": "parameter_unknown", "param": "amuont", "message": "Received unknown parameter: amuont"}),
        InvalidRequestError,
        {"code": "parameter_unknown", "param": "amuont", "status": 400},
        "leave out amuont",
    ),
    (
        refused(404, {"code": "resource_missing", "param": "id", "message": "No such customer: 'cus_1'"}),
        InvalidRequestError,
        {"code": "resource_missing", "status": 404},
        "in test mode",
    ),
    (refused(401, {"message": "Invalid API Key"}), AccessError, {"status": 401}, "secret_key"),
    (
        refused(
            403,
            {
                "message": "The provided key 'rk_test_*****abc' does not have the required permissions for this "
                "endpoint. Having the 'rak_charge_read' permission would allow this request to continue."
            },
        ),
        AccessError,
        {"missing_permission": "rak_charge_read"},
        "the permission rak_charge_read",
    ),
    (
        refused(
            402, {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds", "charge": "ch_1"}
        ),
        DeclinedError,
        {"code": "card_declined", "decline_code": "insufficient_funds", "related_object": "ch_1"},
        "another payment method",
    ),
    (
        refused(
            402,
            {
                "type": "card_error",
                "code": "authentication_required",
                "payment_intent": {"id": "pi_1"},
                "charge": "ch_1",
            },
        ),
        DeclinedError,
        {"related_object": "pi_1"},
        "must authenticate",
    ),
    (
        refused(402, {"type": "card_error", "code": "card_declined", "advice_code": "do_not_try_again"}),
        DeclinedError,
        {},
        "do not try this payment method again",
    ),
    (refused(400, {"type": "idempotency_error"}), ConflictError, {"type": "idempotency_error"}, "new run id"),
    (refused(409, {"code": "lock_timeout"}), ConflictError, {"status": 409, "attempts": 8}, "same object"),
    (refused(429, {"code": "rate_limit"}), UnavailableError, {"status": 429, "attempts": 8}, "try again"),
    (refused(402, {"code": "expired_card"}), DeclinedError, {}, "correct the card's details"),
    (refused(402, {"code": "card_declined"}), DeclinedError, {}, "do not repeat it as it is"),
    (refused(400, {"code": "parameter_missing", "param": "amount"}), InvalidRequestError, {}, "give amount"),
    (refused(400, {"code": "parameter_invalid_integer", "param": "amount"}), InvalidRequestError, {}, "correct amount"),
    (refused(400, {"code": "charge_already_refunded"}), InvalidRequestError, {}, "refuse it again"),
    (refused(400, {"message": None, "code": "odd"}), InvalidRequestError, {}, "odd;"),
    (refused(400, {"message": None}), InvalidRequestError, {}, "HTTP 400 without a message"),
    (ok({"error": "invalid_grant"}, 400), InvalidRequestError, {"type": "invalid_grant"}, "invalid_grant"),
    (ok({"error": 5}, 400), ServiceError, {"status": 400}, "no error that Stripe would write"),
    (refused(400, {"type": "insufficient_funds"}), DeclinedError, {}, ""),
    (refused(400, {"type": "feature_not_enabled"}), AccessError, {}, "account"),
    (httpx2.Response(404, text="<html>"), ServiceError, {"status": 404}, "proxy"),
    (httpx2.Response(302, headers={"Location": "https://evil.example/"}), ServiceError, {"status": 302}, "redirect"),
    (httpx2.Response(403, text="blocked"), AccessError, {"status": 403}, "proxy"),
]


@pytest.mark.parametrize(("answer", "kind", "told", "advice"), REFUSALS)
def test_a_refusal_becomes_the_error_that_says_what_to_do(
    answer: httpx2.Response, kind: type[ServiceError], told: dict[str, Any], advice: str
) -> None:
    answer.headers["Request-Id"] = "req_9"
    error, script, _ = send([answer], POST)
    assert type(error) is kind
    assert error.problem.request_id == "req_9"
    assert {name: getattr(error.problem, name) for name in told} == told
    assert advice in str(error)
    assert error.problem.advice
    assert error.problem.advice in str(error)
    assert {request.url.host for request in script.requests} == {"api.stripe.com"}


def test_errors_are_one_line_and_never_hold_the_key() -> None:
    text = f"your key {KEY}\nwith \x1b[31mcolour and Bearer abcdefghijkl and rk_live_abcdefgh"
    error, _, _ = send([refused(400, {"message": text, "param": KEY, "code": KEY, "doc_url": KEY})], POST)
    told = json.dumps(error.to_json())
    for secret in (KEY, "abcdefghijkl", "rk_live_abcdefgh", "\x1b", "\n"):
        assert secret not in str(error)
        assert secret not in told
    unknown, _, _ = send([httpx2.ReadError(f"broken {KEY}")], POST)
    assert KEY not in json.dumps(unknown.to_json())


def test_a_key_that_has_no_known_shape_is_hidden_too() -> None:
    script = Script([refused(400, {"message": "bad key hunter2-hunter2"})])
    wire = StripeWire(connection(), Secret("hunter2-hunter2"), transport=script, limiter=Limiter("test"))
    with pytest.raises(InvalidRequestError) as caught:
        asyncio.run(wire.send(POST, key="k"))
    assert "hunter2" not in str(caught.value)


def test_without_a_key_at_all_a_message_stays_readable() -> None:
    assert Reader(connection(), "").clean("No such customer") == "No such customer"


# The mode


def test_a_read_from_the_wrong_mode_is_a_fault_of_configuration() -> None:
    for body in ({"id": "x", "livemode": True}, {"object": "list", "data": [{"id": "x", "livemode": True}]}):
        error, _, _ = send([ok(body)], GET)
        assert isinstance(error, ConfigurationError)
        assert "live mode" in str(error)


def test_a_write_answered_from_the_wrong_mode_is_unknown() -> None:
    error, _, _ = send([ok({"id": "ch_1", "livemode": True}, Request_Id="req_1")], POST)
    assert isinstance(error, OutcomeUnknownError)
    assert "answered from live mode" in str(error)
    assert error.problem.request_id == "req_1"
    answer, _, _ = send([ok({"id": "ch_1", "livemode": True})], POST, connection=connection(mode="live"))
    assert answer.livemode is True


# Rates and time


def test_a_429_slows_its_endpoint_and_a_lock_does_not() -> None:
    time = Time()
    limiter = Limiter("test", clock=time)
    script = Script([refused(429, Stripe_Rate_Limited_Reason="endpoint-rate", Stripe_Should_Retry="false")])
    wire = wire_to(script, time, limiter=limiter)
    with pytest.raises(UnavailableError):
        asyncio.run(wire.send(GET))
    assert limiter.rates()["GET /v1/customers/{customer}"] == pytest.approx(25 * 0.985 * 0.85)
    time.now += 100
    script.steps = [refused(429, {"code": "lock_timeout"}, Stripe_Should_Retry="false")]
    with pytest.raises(UnavailableError):
        asyncio.run(wire.send(GET))
    assert limiter.rates()["GET /v1/customers/{customer}"] == pytest.approx(25 * 0.985)


def test_an_odd_date_or_notice_never_loses_an_answer() -> None:
    for date in ("yesterday", "Mon, 99 Foo 2026 18:00:00 GMT", "Mon, 31 Feb 99999999999 18:00:00 GMT", ""):
        answer, _, _ = send([ok(Date=date, Stripe_Notice=f"old version {KEY}")], POST)
        assert isinstance(answer, Answer)
        assert answer.warnings == ("old version sk_test_***",) or KEY not in answer.warnings[0]


def test_a_cancelled_request_leaves_its_place_to_others() -> None:
    class Hanging(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await asyncio.sleep(60)
            raise AssertionError

    limiter = Limiter("test")
    wire = StripeWire(connection(), Secret(KEY), transport=Hanging(), limiter=limiter)

    async def run() -> None:
        task = asyncio.create_task(wire.send(POST, key="k"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    lane = limiter.lane("POST", "/v1/customers")
    assert lane._account.in_flight == 0


# Over real sockets

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def over_socket(handler: Handler, request: Request, **more: Any) -> Any:
    async with served(handler) as url:
        wire = StripeWire(
            connection(base_url=url),
            Secret(KEY),
            rule=RetryRule(base=0.0),
            limiter=Limiter("test", Limits(account=1e6, endpoint=1e6)),
            **more,
        )
        try:
            return await wire.send(request, key="k")
        except errors.SpojitError as error:
            return error
        finally:
            await wire.aclose()


def reply(body: bytes, head: str = "200 OK", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {head}", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(lines).encode() + body


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def test_a_real_request_reaches_a_real_server() -> None:
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            seen.append(await read_head(reader))
            writer.write(reply(b'{"id": "cus_1"}', "200 OK", "Request-Id: req_1"))

    async def run() -> None:
        async with served(handler) as url:
            wire = StripeWire(connection(base_url=url + "/"), Secret(KEY))
            for _ in range(2):
                assert (await wire.send(GET)).request_id == "req_1"
            await wire.aclose()

    asyncio.run(run())
    assert len(seen) == 2  # over one kept connection
    assert seen[0].startswith(b"GET /v1/customers/cus_1 HTTP/1.1\r\nHost: 127.0.0.1:")


def test_localhost_is_this_machine_too() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(reply(b"{}"))

    async def run() -> Any:
        async with served(handler) as url:
            wire = StripeWire(connection(base_url=url.replace("127.0.0.1", "localhost")), Secret(KEY))
            try:
                return await wire.send(GET)
            finally:
                await wire.aclose()

    assert isinstance(asyncio.run(run()), Answer)


def test_a_compressed_answer_is_read() -> None:
    import gzip

    packed = gzip.compress(b'{"id": "cus_1"}')

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(reply(packed, "200 OK", "Content-Encoding: gzip"))

    assert asyncio.run(over_socket(handler, GET)).body == {"id": "cus_1"}


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id": "cus_1"}',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"id"\r\n',
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    ],
)
def test_an_answer_that_breaks_off_leaves_a_write_unknown_and_a_read_failed(sent: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(sent)

    assert type(asyncio.run(over_socket(handler, POST))) is OutcomeUnknownError
    assert type(asyncio.run(over_socket(handler, GET))) is UnavailableError


def test_a_redirect_is_not_followed_with_the_key() -> None:
    followed: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        followed.append(await read_head(reader))

    async def run() -> Any:
        async with served(elsewhere) as other:

            async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await read_head(reader)
                writer.write(reply(b"", "307 Temporary Redirect", f"Location: {other}/v1/x"))

            return await over_socket(handler, GET)

    error = asyncio.run(run())
    assert type(error) is ServiceError
    assert not followed


def test_nobody_there_is_one_clear_line() -> None:
    async def run() -> Any:
        async with served(lambda r, w: asyncio.sleep(0)) as url:
            pass
        wire = StripeWire(connection(base_url=url), Secret(KEY), rule=RetryRule(base=0.0))
        with pytest.raises(UnavailableError) as caught:
            await wire.send(POST, key="k")
        await wire.aclose()
        return url, caught.value

    url, error = asyncio.run(run())
    assert url in str(error)
    assert "spojit-stripe sandbox" in str(error)
    assert "nothing was sent" in str(error)


def test_forty_requests_are_in_flight_at_once() -> None:
    arrived = asyncio.Event()
    count = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        await read_head(reader)
        count += 1
        if count == 40:
            arrived.set()
        await arrived.wait()
        writer.write(reply(b"{}"))

    async def run() -> None:
        async with served(handler) as url:
            limiter = Limiter("test", Limits(account=1e6, endpoint=1e6))
            wire = StripeWire(connection(base_url=url), Secret(KEY), limiter=limiter)
            async with asyncio.timeout(20):
                await asyncio.gather(*(wire.send(GET) for _ in range(40)))
            await wire.aclose()

    asyncio.run(run())


def test_a_proxy_of_the_environment_never_sees_what_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(reply(b"{}"))

    assert isinstance(asyncio.run(over_socket(handler, GET)), Answer)


def test_a_proxy_that_can_not_be_used_is_a_fault_of_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "gopher://user:hunter2@127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "gopher://user:hunter2@127.0.0.1:1")
    with pytest.raises(ConfigurationError) as caught:
        StripeWire(connection(), Secret(KEY))
    assert "HTTPS_PROXY" in str(caught.value)
    assert "hunter2" not in str(caught.value)

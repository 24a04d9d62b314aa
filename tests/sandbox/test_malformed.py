"""HTTP as it should not be: always a 4xx or a closed connection, never a crash, and the next caller is served."""

import re
import socket
import time
from collections.abc import Iterator

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spojit_stripe.sandbox import Sandbox, sandbox

FORM = "application/x-www-form-urlencoded"
ANSWER = re.compile(rb"HTTP/1\.1 (\d\d\d) [^\r\n]*\r\n")
quick = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def target() -> Iterator[Sandbox]:
    """One sandbox for all of them: whatever one leaves behind, the next one meets."""
    with sandbox(now=1_795_000_000) as box:
        yield box
        assert box.crashes() == []


@pytest.fixture(autouse=True)
def _goes_on(target) -> Iterator[None]:
    """After each: no defect, and a plain request is answered."""
    yield
    assert target.crashes() == []
    assert httpx2.get(f"{target.url}/v1/balance", auth=(target.secret_key, "")).status_code == 200


def connect(box: Sandbox) -> socket.socket:
    host, port = box.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def exchange(box: Sandbox, sent: bytes, *, end: bool = True) -> bytes:
    """Send bytes as they are; all that comes back until the connection is closed."""
    with connect(box) as connection:
        answer = b""
        try:
            connection.sendall(sent)
            if end:
                connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65_536):
                answer += more
        except OSError:
            pass  # it closed while we were still sending
        return answer


def head(box: Sandbox, *lines: str, method: str = "POST", path: str = "/v1/customers") -> bytes:
    fixed = ["Host: sandbox", f"Authorization: Bearer {box.secret_key}", *lines]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *fixed, "", ""]).encode("latin-1")


def statuses(answer: bytes) -> list[int]:
    return [int(each) for each in ANSWER.findall(answer)]


def assert_refused(answer: bytes) -> None:
    """A clean close, or a 4xx; 501 is HTTP's own for codings that are not known."""
    found = statuses(answer)
    assert answer == b"" or (found and all(400 <= each < 500 or each == 501 for each in found)), answer[:200]


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1 extra\r\nHost: x\r\n\r\n",
        b"GET  /  HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET / HTP/1.1\r\nHost: x\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/käse HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded: no\r\n\r\n",
        b"GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n: empty\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
        b"GET /" + b"a" * 100_000,
        b"A" * 1_000_000,
    ],
    ids=lambda sent: sent[:24].decode("latin-1").encode("unicode_escape").decode(),
)
def test_no_http(target, sent) -> None:
    """Request lines and headers that are none, or too long."""
    assert_refused(exchange(target, sent))


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (["Content-Length: -1"], b"name=Ann"),
        (["Content-Length: +8"], b"name=Ann"),
        (["Content-Length: 8.0"], b"name=Ann"),
        (["Content-Length: abc"], b"name=Ann"),
        (["Content-Length: 8, 9"], b"name=Ann"),
        (["Content-Length: 8", "Content-Length: 9"], b"name=Ann"),
        (["Content-Length: 9" + "9" * 30], b"name=Ann"),
        (["Content-Length: 80"], b"name=Ann"),
        (["Transfer-Encoding: gzip, chunked"], b"8\r\nname=Ann\r\n0\r\n\r\n"),
        (["Transfer-Encoding: identity"], b"name=Ann"),
        (["Transfer-Encoding: chunked"], b"zz\r\nname=Ann\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"-8\r\nname=Ann\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"8\r\nname=Ann0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"8\r\nname"),
        (["Transfer-Encoding: chunked"], b"f" * 40 + b"\r\nname=Ann"),
        (["Transfer-Encoding: chunked"], b"8;" + b"x" * 1_000_000),
    ],
)
def test_bodies_that_do_not_fit(target, headers, body) -> None:
    """Lengths and chunks that are wrong: nothing is carried out."""
    before = target.count("customer")
    assert_refused(exchange(target, head(target, f"Content-Type: {FORM}", *headers) + body))
    assert target.count("customer") == before


def test_a_body_longer_than_it_says(target) -> None:
    """What follows a request's body is the next request, and here it is none."""
    before = target.count("customer")
    answer = exchange(target, head(target, f"Content-Type: {FORM}", "Content-Length: 8") + b"name=Ann&email=x")
    assert statuses(answer)[0] == 200
    assert all(400 <= each < 500 for each in statuses(answer)[1:])
    assert target.count("customer") == before + 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"name=\xff\xfe", 400),
        (b"name=%FF%FE", 400),
        (b"\xff=1", 400),
        (b"name=%", 200),
        (b"name=%zz", 200),
        (b"name=a%00b", 200),
        (b"name=a\x00b", 200),
        (b"%00=1", 400),
        (b"=1", 400),
        (b"&&&&", 200),
        (b"[]=1", 400),
        (b"metadata[=1", 400),
        (b"metadata[a=1", 400),
        (b"metadata]a[=1", 400),
        (b"metadata=1&metadata[a]=2", 400),
        (b"metadata[a]=1&metadata=2", 400),
        (b"metadata[a][b]=1", 400),
        (b"a" + b"[b]" * 5_000 + b"=1", 400),
        (b"metadata" + b"[" * 10_000 + b"]" * 10_000 + b"=1", 400),
        (b"&".join(b"metadata[k%d]=v" % n for n in range(100_000)), 400),
        (b"&".join(b"p%d=v" % n for n in range(100_000)), 400),
        (b"expand[]=" + b"a." * 50_000, 400),
        (b"name=" + b"x" * 1_000_000, 400),
        (b'{"name": "Ann"}', 400),
        (b"balance=99999999999999999999999999", 400),
        (b"balance=1e400", 400),
    ],
    ids=lambda value: (
        value[:20].decode("latin-1").encode("unicode_escape").decode() if isinstance(value, bytes) else None
    ),
)
def test_forms(target, body, status) -> None:
    """Forms that are none, are deep, long, or not UTF-8."""
    begin = time.monotonic()
    headers = {"Content-Type": FORM}
    auth = (target.secret_key, "")
    answer = httpx2.post(f"{target.url}/v1/customers", content=body, headers=headers, auth=auth, timeout=20)
    assert answer.status_code == status, answer.text[:300]
    assert time.monotonic() - begin < 5
    answer.json()


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "text/plain", "", "\x01"])
def test_content_types(target, kind) -> None:
    """Bodies of another type."""
    answer = exchange(target, head(target, f"Content-Type: {kind}", "Content-Length: 8") + b"name=Ann")
    assert_refused(answer)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic !!!",
        "Basic /////w==",
        "Digest x",
        "Bearer sk_test_\xe9",
        "Bearer " + "x" * 9_000,
    ],
)
def test_authorization(target, authorization) -> None:
    """Keys that are none get 401."""
    sent = f"GET /v1/customers HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n"
    assert statuses(exchange(target, sent.encode("latin-1"))) == [401]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            (name, value)
            for name in ("Idempotency-Key", "Stripe-Account", "Stripe-Version")
            for value in ("x" * 5_000, "a\tb", "'; DROP TABLE objects; --", "%00")
        ],
        ("Idempotency-Key", "\xe9\xff"),
        ("Stripe-Account", "\xe9\xff"),
        ("Stripe-Version", "\xe9\xff"),
    ],
)
def test_header_values(target, name, value) -> None:
    """Odd values of the headers that mean something."""
    body = b"name=Ann"
    found = statuses(
        exchange(target, head(target, f"{name}: {value}", f"Content-Type: {FORM}", "Content-Length: 8") + body)
    )
    assert len(found) == 1
    assert found[0] == 200 or 400 <= found[0] < 500


# Odd, but HTTP


def test_pipelining(target) -> None:
    """Requests sent at once are answered one by one, in order; a bad one ends it."""
    good = head(target, method="GET")
    assert statuses(exchange(target, good * 20)) == [200] * 20
    assert statuses(exchange(target, good + b"nonsense\r\n\r\n" + good)) == [200, 400]


def test_http_1_0(target) -> None:
    """HTTP/1.0 is answered and the connection closed."""
    sent = head(target, method="GET").replace(b"HTTP/1.1", b"HTTP/1.0")
    answer = exchange(target, sent, end=False)
    assert statuses(answer) == [200]
    assert answer.endswith(b"}")


@pytest.mark.parametrize(
    ("target_form", "status"),
    [
        ("http://api.stripe.com/v1/customers?limit=1", 200),
        ("HTTP://API.STRIPE.COM/v1/customers", 200),
        ("http://", 404),
        ("http://x", 404),
        ("*", 404),
        ("/v1/../v1/customers", 404),
        ("/v1/customers/", 404),
        ("/v1/customers?limit=%31", 200),
        ("/v1/customers?limit=1#part", 200),
        ("/v1/customers/%2e%2e/%00", 404),
        ("?", 404),
    ],
)
def test_targets(target, target_form, status) -> None:
    """Absolute and odd targets."""
    found = statuses(exchange(target, head(target, "Connection: close", method="GET", path=target_form)))
    assert found == [status]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "HEAD", "TRACE", "CONNECT", "BREW", "get"])
def test_methods(target, method) -> None:
    """Methods that the API doesn't have."""
    answer = exchange(target, head(target, "Connection: close", method=method))
    assert len(statuses(answer)) == 1
    assert method == "get" or 400 <= statuses(answer)[0] < 500


def test_slow_clients(target) -> None:
    """Ten clients that send a byte now and then hold up nobody, and are answered when they are done."""
    sent = head(target, f"Content-Type: {FORM}", "Content-Length: 8") + b"name=Ann"
    slow = [connect(target) for _ in range(10)]
    try:
        for begin in range(0, len(sent), 40):
            for each in slow:
                each.sendall(sent[begin : begin + 40])
            begin = time.monotonic()
            assert httpx2.get(f"{target.url}/_sandbox").status_code == 200
            assert time.monotonic() - begin < 2
        for each in slow:
            assert each.recv(65_536).startswith(b"HTTP/1.1 200")
    finally:
        for each in slow:
            each.close()


def test_clients_that_go_away(target) -> None:
    """Connections that close without reading, mid-request or mid-answer, leave nothing behind."""
    sent = head(target, method="GET", path="/v1/events?limit=100")
    for cut in (0, 1, 20, len(sent)):
        for _ in range(10):
            with connect(target) as connection:
                connection.sendall(sent[:cut])
    assert statuses(exchange(target, sent))[0] == 200


# Fuzz


@quick
@given(sent=st.binary(min_size=1, max_size=300))
def test_any_bytes(target, sent) -> None:
    """Bytes without any plan."""
    assert_refused(exchange(target, sent))


@quick
@given(
    method=st.sampled_from([b"GET", b"POST", b"DELETE"]),
    path=st.sampled_from([b"/v1/charges", b"/v1/customers/x", b"/_sandbox/faults", b"/_sandbox/clock", b"/v2/core"]),
    junk=st.binary(max_size=60),
    at=st.integers(0, 200),
    body=st.binary(max_size=60),
)
def test_a_request_with_a_scratch(target, method, path, junk, at, body) -> None:
    """Good requests with some bytes in them replaced."""
    good = method + b" " + path + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + target.secret_key.encode()
    good += b"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    answer = exchange(target, good[:at] + junk + good[at + len(junk) :])
    assert all(each in {200, 501} or 400 <= each < 500 for each in statuses(answer))


@settings(quick, max_examples=50)
@given(
    body=st.binary(max_size=120), path=st.sampled_from(["faults", "clock", "reset", "limits", "settings", "disputes"])
)
def test_any_control_request(target, body, path) -> None:
    """The control API answers bytes that are no JSON with 400."""
    answer = httpx2.post(f"{target.url}/_sandbox/{path}", content=body)
    assert answer.status_code in {200, 400, 404}
    answer.json()

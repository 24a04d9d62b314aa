"""HTTP as it comes: malformed requests, kept connections, and the process around it."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import httpx2
import pytest
import stripe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spojit_stripe.sandbox import SandboxError, sandbox, serve
from spojit_stripe.sandbox.server import _is_local


def raw(box, sent: bytes, *, half_close: bool = True) -> bytes:
    host, port = box.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(sent)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while more := connection.recv(65_536):
                answer += more
        except ConnectionError:
            pass
        return answer


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET /v1/charges\r\n\r\n",
        b"GET /v1/charges HTTP/1.1\r\n\r\n",
        b"GET /v1/charges HTTP/9.9\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"POST /v1/charges HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/charges HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"POST /v1/charges HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: \x00\r\n\r\n",
    ],
)
def test_malformed_http_gets_a_4xx(box, sent) -> None:
    """Not HTTP: a 4xx and a closed connection, and the next caller is served."""
    answer = raw(box, sent)
    assert re.match(rb"HTTP/1\.1 4\d\d ", answer), answer[:80]
    assert httpx2.get(box.url + "/_sandbox").status_code == 200


def test_cut_requests_are_closed(box) -> None:
    """A request that ends in its body is not carried out."""
    head = b"POST /v1/customers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + box.secret_key.encode()
    answer = raw(box, head + b"\r\nContent-Length: 50\r\n\r\nname=Ann")
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert box.count("customer") == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.binary(min_size=1, max_size=200))
def test_any_bytes(box, sent) -> None:
    """Whatever comes, the server goes on."""
    answer = raw(box, sent)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/v1/customers", "/v1/charges", "/v1/subscriptions", "/v1/invoices"]),
    body=st.text(max_size=80),
)
def test_any_form(box, path, body) -> None:
    """Whatever a body holds, the answer is one of the API's."""
    headers = {"Authorization": f"Bearer {box.secret_key}", "Content-Type": "application/x-www-form-urlencoded"}
    answer = httpx2.post(box.url + path, content=body.encode("utf-8", "surrogatepass"), headers=headers)
    assert answer.status_code in {200, 400, 402, 404}
    assert "object" in answer.json() or "message" in answer.json()["error"]


def test_connections_are_kept(box) -> None:
    """Many requests on one connection, pipelined too; chunked bodies and 100-continue work."""
    one = b"GET /v1/customers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + box.secret_key.encode() + b"\r\n\r\n"
    assert raw(box, one * 3).count(b"HTTP/1.1 200") == 3
    chunked = (
        b"POST /v1/customers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + box.secret_key.encode() + b"\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
        b"\r\n8\r\nname=Ann\r\n0\r\n\r\n"
    )
    assert b"HTTP/1.1 200" in raw(box, chunked)
    assert box.objects("customer")[0]["name"] == "Ann"
    assert raw(box, one.replace(b"GET", b"HEAD")).startswith(b"HTTP/1.1 405")


def test_big_bodies_are_refused(box) -> None:
    """A body beyond what anyone sends gets 413."""
    answer = httpx2.post(box.url + "/v1/customers", content=b"x" * (9 * 1024 * 1024), timeout=20)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("peer", "local"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.7", False), ("", False)],
)
def test_control_is_for_this_machine(peer, local) -> None:
    """The control API looks at the peer's address."""
    assert _is_local(peer) is local


# The process


def start(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "spojit_stripe.sandbox", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told = {}
    for _ in range(7):
        name, _, value = process.stdout.readline().strip().partition("  ")
        told[name.strip()] = value.strip()
    return process, told


def test_serves_until_told_to_stop(tmp_path) -> None:
    """The command prints where it is, says that it is not Stripe, and stops cleanly."""
    process, told = start("--port", "0", "--seed", "3")
    with process:
        api = stripe.StripeClient(told["secret key"], base_addresses={"api": told["url"]}).v1
        assert len(api.customers.list().data) == 3
        process.send_signal(signal.SIGTERM)
        _, notice = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "It is NOT Stripe" in notice
    assert notice.count("\n") == 1
    assert told["live secret key"].startswith("sk_live_sandbox ")


def test_state_survives_a_kill(tmp_path) -> None:
    """What was answered is on disk: objects, idempotency records, ids that go on."""
    state = tmp_path / "sandbox.db"
    process, told = start("--port", "0", "--state", str(state), "--seed", "2")
    with process:
        headers = {"Authorization": f"Bearer {told['secret key']}", "Idempotency-Key": "k"}
        first = httpx2.post(told["url"] + "/v1/customers", headers=headers, data={"name": "Ann"})
        process.kill()
        process.communicate()
    with sandbox(state=state, seed=2) as box:
        again = httpx2.post(box.url + "/v1/customers", headers=headers, data={"name": "Ann"})
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
        assert box.count("customer") == 3
        other = httpx2.post(
            box.url + "/v1/customers", headers={**headers, "Idempotency-Key": "j"}, data={"name": "Bob"}
        )
        assert other.json()["id"] != first.json()["id"]
        assert other.headers["request-id"] != first.headers["request-id"]


def test_what_stops_a_start(tmp_path) -> None:
    """One line each: port taken, wrong address, a file that is not ours, a folder, seeds that are no numbers."""
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be looked at as one" * 20)
    foreign = tmp_path / "foreign.db"
    database = sqlite3.connect(foreign)
    database.execute("CREATE TABLE t (x)")
    database.commit()
    database.close()
    with sandbox() as box:
        taken = int(box.url.rsplit(":", 1)[1])
        for arguments, message in [
            ({"port": taken}, "is taken"),
            ({"port": 70_000}, "is not a port"),
            ({"host": "no.such.host.invalid", "port": 0}, "is not an address"),
            ({"host": "192.0.2.1", "port": 0}, "is not an address"),
            ({"host": "\udcff", "port": 0}, "is not an address"),
            ({"state": text, "port": 0}, "is not a state file of the sandbox"),
            ({"state": foreign, "port": 0}, "another program's database"),
            ({"state": tmp_path, "port": 0}, "can't open the state file"),
            ({"state": tmp_path / "no" / "folder.db", "port": 0}, "can't open the state file"),
            ({"seed": 0}, "from 1 to"),
            ({"seed": "many"}, "not 'many'"),
            ({"seed": -1}, "from 1 to"),
            ({"latency_ms": -1.0}, "not negative"),
        ]:
            with pytest.raises(SandboxError, match=re.escape(message)):
                serve(**arguments)
        with pytest.raises(SandboxError, match="is taken"):
            sandbox(port=taken).start()
    with sandbox(state=tmp_path / "used.db"), pytest.raises(SandboxError, match="another sandbox uses it"):
        sandbox(state=tmp_path / "used.db").start()
    assert text.read_text().startswith("not a database")


def test_the_command_says_it_in_one_line() -> None:
    """Exit code 2 and one line on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "spojit_stripe.sandbox", "--seed", "0"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the seed is a number of customers from 1 to 100000, not 0\n"


def test_stopping_frees_everything() -> None:
    """The port is free again, held requests are dropped, a stopped sandbox says so, threads are gone."""
    import threading

    before = threading.active_count()
    box = sandbox().start()
    port = int(box.url.rsplit(":", 1)[1])
    with httpx2.Client() as caller:
        caller.get(box.url + "/_sandbox")
        box.stop()
    box.stop()
    assert threading.active_count() == before
    with pytest.raises(SandboxError, match="does not run"):
        box.count("charge")
    with sandbox(port=port) as again:
        assert again.url == box.url
    assert time.monotonic() > 0
    assert os.getpid() > 0

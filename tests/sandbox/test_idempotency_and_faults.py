"""Idempotency records as Stripe keeps them, and faults on demand."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
import stripe

CHARGE = {"amount": 1000, "currency": "usd", "source": "tok_visa"}


def send(box, key: str | None = "k", path: str = "/v1/charges", data: dict | None = None, **more):
    headers = {"Authorization": f"Bearer {box.secret_key}"}
    if key is not None:
        headers["Idempotency-Key"] = key
    return httpx2.post(box.url + path, headers=headers, data=CHARGE if data is None else data, timeout=10, **more)


# Idempotency


def test_replay(box) -> None:
    """The same key with the same parameters answers the same bytes, once done."""
    first, second = send(box), send(box)
    assert (first.status_code, first.content) == (200, second.content)
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["original-request"] == first.headers["request-id"] != second.headers["request-id"]
    assert box.count("charge") == 1
    assert [entry.replayed for entry in box.requests()] == [False, True]
    reordered = send(box, data=dict(reversed(CHARGE.items())))
    assert reordered.headers["idempotent-replayed"] == "true"


def test_declines_are_kept_too(box) -> None:
    """A 402 is replayed; another key tries again."""
    declined = {**CHARGE, "source": "tok_chargeDeclined"}
    first, second, third = send(box, data=declined), send(box, data=declined), send(box, "k2", data=declined)
    assert (first.status_code, second.headers["idempotent-replayed"]) == (402, "true")
    assert first.content == second.content != third.content
    assert box.count("charge") == 2


def test_other_parameters_or_endpoint(box) -> None:
    """A key is for one request."""
    send(box)
    other = send(box, data={**CHARGE, "amount": 2000})
    assert (other.status_code, other.json()["error"]["type"]) == (400, "idempotency_error")
    assert "the same parameters" in other.json()["error"]["message"]
    elsewhere = send(box, path="/v1/customers", data={})
    assert "('/v1/customers' vs '/v1/charges')" in elsewhere.json()["error"]["message"]
    assert box.count("charge") == 1
    assert box.count("customer") == 0


def test_failed_validation_is_not_kept(box) -> None:
    """What never began can be sent again, corrected, under the same key."""
    assert send(box, data={"amount": "x"}).status_code == 400
    assert send(box, data={"amount": 1000, "currency": "usd"}).status_code == 400
    assert send(box).status_code == 200


def test_errors_of_the_endpoint_are_kept(box) -> None:
    """A request that began and failed keeps its answer, though it left no trace."""
    charge = send(box).json()["id"]
    refund = {"charge": charge, "amount": 2000}
    first = send(box, "r", "/v1/refunds", refund)
    send(box, "r2", "/v1/refunds", {"charge": charge})
    second = send(box, "r", "/v1/refunds", refund)
    assert (first.status_code, second.headers["idempotent-replayed"]) == (400, "true")
    assert first.content == second.content


def test_keys_expire(box) -> None:
    """After a day, by the sandbox's clock, a key is new again."""
    send(box)
    box.advance(86_400 - 10)
    assert send(box).headers["idempotent-replayed"] == "true"
    box.advance(20)
    assert "idempotent-replayed" not in send(box).headers
    assert box.count("charge") == 2


def test_keys_are_per_account_and_mode(box) -> None:
    """The same key in live mode or on a connected account is another key."""
    send(box)
    for headers in ({"Authorization": f"Bearer {box.live_key}"}, {"Stripe-Account": box.connected_accounts[0]}):
        sent = {"Authorization": f"Bearer {box.secret_key}", "Idempotency-Key": "k", **headers}
        assert "idempotent-replayed" not in httpx2.post(box.url + "/v1/charges", headers=sent, data=CHARGE).headers


def test_long_keys(box) -> None:
    """Keys have up to 255 characters."""
    assert send(box, "k" * 255).status_code == 200
    assert send(box, "k" * 256).status_code == 400


def test_concurrent_key(box) -> None:
    """While a request is under way, its key is in use; afterwards it replays."""
    box.hold("POST", "/v1/charges")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(send, box)
        box.wait_held()
        busy = send(box)
        assert (busy.status_code, busy.json()["error"]["code"]) == (409, "idempotency_key_in_use")
        assert busy.headers["stripe-should-retry"] == "true"
        assert box.count("charge") == 0
        box.release()
        assert first.result().status_code == 200
    assert send(box).headers["idempotent-replayed"] == "true"
    assert box.count("charge") == 1


def test_fifty_at_once(box) -> None:
    """Fifty callers with one key make one charge; with fifty keys, fifty."""
    with ThreadPoolExecutor(16) as pool:
        same = list(pool.map(lambda _: send(box, "same"), range(50)))
        other = list(pool.map(lambda number: send(box, f"key {number}"), range(50)))
    assert {answer.status_code for answer in same} <= {200, 409}
    assert len({answer.json()["id"] for answer in other}) == 50
    assert box.count("charge") == 51


# Faults


def test_status(box) -> None:
    """An answer instead of the real one, without effect and not kept."""
    box.fail("POST", "/v1/charges", status=503, message="busy", headers={"Stripe-Should-Retry": "true"})
    failed = send(box)
    assert (failed.status_code, failed.json()["error"]["type"]) == (503, "api_error")
    assert failed.headers["stripe-should-retry"] == "true"
    assert box.count("charge") == 0
    assert send(box).status_code == 200
    assert [entry.fault is None for entry in box.requests()] == [False, True]


def test_status_with_effect(box) -> None:
    """It happened, though the answer says 500; the record holds the real answer."""
    box.fail("POST", "/v1/charges", status=500, effect=True)
    assert send(box).status_code == 500
    assert box.count("charge") == 1
    assert (send(box).status_code, box.count("charge")) == (200, 1)


@pytest.mark.parametrize("effect", [True, False])
def test_status_kept_under_the_key(box, effect) -> None:
    """A 500 that Stripe keeps: it is replayed for a day, whether it happened or not."""
    box.fail("POST", "/v1/charges", status=500, stored=True, effect=effect)
    assert send(box).status_code == 500
    again = send(box)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (500, "true")
    assert box.count("charge") == int(effect)


def test_dropped(box) -> None:
    """A connection that ends without an answer, before or after the effect."""
    box.fail("POST", "/v1/charges", drop="before")
    with pytest.raises(httpx2.TransportError):
        send(box)
    assert box.count("charge") == 0
    box.fail("POST", "/v1/charges", drop="after")
    with pytest.raises(httpx2.TransportError):
        send(box)
    assert box.count("charge") == 1
    assert send(box).headers["idempotent-replayed"] == "true"
    assert [entry.outcome for entry in box.requests()] == ["dropped", "dropped", "answered"]


def test_truncated(box) -> None:
    """A body that ends in the middle."""
    box.fail("POST", "/v1/charges", truncate=20)
    with pytest.raises(httpx2.RemoteProtocolError):
        send(box)
    assert box.count("charge") == 1
    assert box.requests()[0].outcome == "truncated"


def test_not_json(box, api) -> None:
    """A proxy's page in place of an answer."""
    box.fail(path="/v1/customers", status=200, body="<html>hello</html>", content_type="text/html", times=0)
    with pytest.raises(stripe.APIError):
        api.customers.list()
    box.clear_faults()
    assert api.customers.list().data == []


def test_too_many(box, api) -> None:
    """A storm of 429 with a reason, then peace."""
    box.fail(status=429, reason="endpoint-concurrency", times=2)
    for _ in range(2):
        with pytest.raises(stripe.RateLimitError) as refused:
            api.customers.list()
        assert refused.value.headers["stripe-rate-limited-reason"] == "endpoint-concurrency"
        assert refused.value.error.code == "rate_limit"
    api.customers.list()


def test_latency_and_matching(box, api) -> None:
    """Faults choose by method, pattern, parameter and count."""
    box.fail("POST", "/v1/customers", params={"name": "slow"}, latency_ms=150)
    box.fail("GET", "/v1/cust*", skip=1, status=500)
    assert api.customers.create({"name": "fast"}).name == "fast"
    api.customers.list()
    with pytest.raises(stripe.APIError):
        api.customers.list()
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(box.url + "/v1/customers", auth=(box.secret_key, ""), data={"name": "slow"}, timeout=0.05)


def test_held_after_the_effect(box) -> None:
    """The effect is there and the answer isn't; a retry under the same key gets it."""
    box.hold("POST", "/v1/charges", phase="after")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(send, box)
        assert box.wait_held()[0]["phase"] == "after"
        assert box.count("charge") == 1
        assert send(box).headers["idempotent-replayed"] == "true"
        box.release(drop=True)
        with pytest.raises(httpx2.TransportError):
            first.result()


def test_caller_gone_while_held(box) -> None:
    """A request goes on without its caller, as on Stripe; or never, when it is dropped."""
    box.hold("POST", "/v1/charges", times=2)
    for drop in (False, True):
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(box.url + "/v1/charges", auth=(box.secret_key, ""), data=CHARGE, timeout=0.1)
        box.wait_held()
        box.release(drop=drop)
        while box.held():
            threading.Event().wait(0.01)
    assert box.count("charge") == 1


def test_the_log_keeps_no_key(box, api) -> None:
    """The log shows what was sent, decoded, without the key."""
    api.customers.create({"name": "Ann", "metadata": {"a": "b"}}, {"idempotency_key": "mine"})
    entry = box.requests("POST", "/v1/customers")[0]
    assert entry.params == {"name": "Ann", "metadata": {"a": "b"}}
    assert (entry.status, entry.idempotency_key, entry.livemode, entry.account) == (200, "mine", False, box.account)
    assert box.secret_key not in str(entry.as_json())
    assert entry.headers["stripe-version"] == "2026-10-28.endive"


def test_control_over_http(box) -> None:
    """The same from outside: faults, holds, clock, counts, reset."""
    control = httpx2.Client(base_url=box.url + "/_sandbox")
    with control:
        assert control.get("").json()["name"].endswith("not Stripe")
        assert control.post("/faults", json={"path": "/v1/customers", "status": 418}).json() == {"id": "fault_1"}
        assert control.get("/faults").json()[0]["status"] == 418
        assert httpx2.get(box.url + "/v1/customers").status_code == 418
        assert control.post("/faults", json={"colour": 1}).status_code == 400
        assert control.post("/faults", json={"hold": "during"}).status_code == 400
        assert control.post("/faults", content=b"{").status_code == 400
        assert control.delete("/faults").status_code == 200
        before = control.get("/clock").json()["now"]
        assert control.post("/clock", json={"advance": 60}).json()["now"] == before + 60
        assert control.post("/clock", json={"now": before}).json()["now"] == before
        assert control.post("/clock", json={}).status_code == 400
        send(box)
        assert control.get("/counts").json()["charge"] == 1
        assert control.get("/objects/charge").json()[0]["amount"] == 1000
        assert [each["path"] for each in control.get("/requests?method=POST").json()] == ["/v1/charges"]
        assert control.post("/limits", json={"account": 5}).json()["account"] == 5
        assert control.post("/limits", json={"moon": 5}).status_code == 400
        assert control.post("/settings", json={"search_lag": 2, "latency_ms": 1}).json() == {
            "search_lag": 2,
            "latency_ms": 1,
        }
        assert control.post("/permissions", json={"permissions": ["rak_event_read"]}).json()["permissions"] == [
            "rak_event_read"
        ]
        assert control.post("/permissions", json={"key": "sk_test_x"}).status_code == 400
        assert control.post("/release", json={}).json() == {"released": 0}
        assert control.post("/disputes", json={"charge": "ch_x"}).status_code == 400
        assert control.post("/reset", json={"seed": 0}).status_code == 400
        assert control.post("/reset", json={"seed": 3}).status_code == 200
        assert control.get("/counts").json()["customer"] == 3
        assert control.get("/nonsense").status_code == 404

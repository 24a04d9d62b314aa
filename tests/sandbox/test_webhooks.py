"""Webhook endpoints, and signed deliveries as the official client verifies them."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

import pytest
import stripe

from spojit_stripe.sandbox import sandbox

HOUR = 3_600


class Receiver:
    """A webhook endpoint on this machine: keeps what comes, answers what it is told."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, str]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((body, self.headers["Stripe-Signature"]))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?a=1"

    def types(self) -> list[str]:
        return [json.loads(body)["type"] for body, _ in self.received]

    def names(self) -> list[str]:
        return [json.loads(body)["data"]["object"].get("name") for body, _ in self.received]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def endpoint(api, receiver):
    return api.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})


def test_life(api) -> None:
    """The secret is shown once; endpoints change, are disabled and deleted."""
    made = api.webhook_endpoints.create(
        {
            "url": "https://example.com/a",
            "enabled_events": ["charge.failed"],
            "metadata": {"a": "1"},
            "description": "A",
        }
    )
    assert made.secret.startswith("whsec_")
    found = api.webhook_endpoints.retrieve(made.id)
    assert "secret" not in found
    assert (found.status, found.enabled_events, found.metadata.to_dict()) == ("enabled", ["charge.failed"], {"a": "1"})
    changed = api.webhook_endpoints.update(
        made.id, {"url": "https://example.com/b", "enabled_events": ["*"], "disabled": True, "description": ""}
    )
    assert (changed.url, changed.status, changed.description) == ("https://example.com/b", "disabled", None)
    assert [each.id for each in api.webhook_endpoints.list().data] == [made.id]
    assert api.webhook_endpoints.delete(made.id).deleted
    assert api.webhook_endpoints.list().data == []
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.webhook_endpoints.retrieve(made.id)
    assert refused.value.http_status == 404


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"url": "example.com", "enabled_events": ["*"]}, "url"),
        ({"url": "ftp://example.com", "enabled_events": ["*"]}, "url"),
        ({"url": "http://127.0.0.1:99999/", "enabled_events": ["*"]}, "url"),
        ({"enabled_events": ["*"]}, "url"),
        ({"url": "https://example.com"}, "enabled_events"),
        ({"url": "https://example.com", "enabled_events": ["no.such"]}, "enabled_events[0]"),
        ({"url": "https://example.com", "enabled_events": ["*", "charge.failed"]}, "enabled_events"),
        ({"url": "https://example.com", "enabled_events": ["*"], "api_version": "2011-01-01"}, "api_version"),
    ],
)
def test_what_is_refused(api, params, param) -> None:
    """Each wrong parameter by its name."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.webhook_endpoints.create(params)
    assert refused.value.param == param


def test_sixteen_at_most(api, connect, box) -> None:
    """The cap is for each account and mode; live endpoints need https."""
    for number in range(16):
        api.webhook_endpoints.create({"url": f"https://example.com/{number}", "enabled_events": ["*"]})
    with pytest.raises(stripe.InvalidRequestError, match="maximum of 16 test webhook endpoints"):
        api.webhook_endpoints.create({"url": "https://example.com/17", "enabled_events": ["*"]})
    live = connect(box.live_key)
    with pytest.raises(stripe.InvalidRequestError, match="https"):
        live.webhook_endpoints.create({"url": "http://127.0.0.1/", "enabled_events": ["*"]})
    live.webhook_endpoints.create({"url": "https://example.com/1", "enabled_events": ["*"]})


def test_signed_delivery(api, box, receiver, endpoint) -> None:
    """The official client verifies what arrives; a changed body or another secret fails."""
    customer = api.customers.create({"name": "A"}, {"idempotency_key": "first"})
    api.customers.update(customer.id, {"name": "B"})
    log = box.deliveries()
    assert [(each.type, each.status, each.outcome) for each in log] == [
        ("customer.created", 200, "delivered"),
        ("customer.updated", 200, "delivered"),
    ]
    events = [stripe.Webhook.construct_event(body, sig, endpoint.secret) for body, sig in receiver.received]
    assert [each.id for each in events] == [each.event for each in log]
    assert events[0].request.idempotency_key == "first"
    assert events[1].data.previous_attributes.to_dict() == {"name": "A"}
    assert events[0].pending_webhooks == 1
    assert api.events.retrieve(events[0].id).pending_webhooks == 0
    body, sent = receiver.received[0]
    for other, secret in ((body.replace(b"A", b"C"), endpoint.secret), (body, "whsec_other")):
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(other, sent, secret)


def test_only_what_is_enabled(api, box, receiver) -> None:
    """An endpoint gets the events that it names, while it is enabled."""
    made = api.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["product.created"]})
    api.customers.create({})
    api.products.create({"name": "Lamp"})
    assert [each.type for each in box.deliveries()] == ["product.created"]
    api.webhook_endpoints.update(made.id, {"disabled": True})
    api.products.create({"name": "Chair"})
    api.webhook_endpoints.update(made.id, {"disabled": False})
    api.products.create({"name": "Table"})
    box.deliveries()
    assert receiver.names() == ["Lamp", "Table"]


def test_any_path(api, box, receiver) -> None:
    """A path with other letters is sent as it is quoted."""
    made = api.webhook_endpoints.create({"url": f"{receiver.url}&name=Jürgen%20x", "enabled_events": ["*"]})
    api.customers.create({})
    assert [(each.outcome, each.url) for each in box.deliveries()] == [("delivered", made.url)]


def test_nothing_goes_out_for_what_did_not_happen(api, box, receiver, endpoint) -> None:
    """A request that is taken back announces nothing; a declined charge that stands does."""
    with pytest.raises(stripe.InvalidRequestError):
        api.payment_methods.attach("pm_card_visa", {"customer": "cus_none"})
    with pytest.raises(stripe.CardError):
        api.charges.create({"amount": 500, "currency": "usd", "source": "tok_chargeDeclined"})
    assert [each.type for each in box.deliveries()] == ["charge.failed"]


def test_retries_by_the_clock(api, box, receiver, endpoint) -> None:
    """Three more attempts over a few hours in test mode, each signed anew, then no more."""
    receiver.statuses = [500, 302, 503, 400]
    api.customers.create({})
    first = box.deliveries()[0]
    assert (first.outcome, first.status, first.retry_at) == ("failed", 500, box.now + 300)
    assert api.events.list({"delivery_success": False}).data[0].id == first.event
    for wait in (300, HOUR, 3 * HOUR, 24 * HOUR):
        box.advance(wait)
        box.deliveries()
    log = box.deliveries()
    assert [(each.attempt, each.status) for each in log] == [(1, 500), (2, 302), (3, 503), (4, 400)]
    assert {each.event for each in log} == {first.event}
    assert len({body for body, _ in receiver.received}) == 1


def test_a_retry_that_succeeds(api, box, receiver, endpoint) -> None:
    """A second attempt may arrive; a disabled endpoint gets none."""
    receiver.statuses = [500, 200, 500]
    api.customers.create({})
    box.deliveries()
    box.advance(300)
    assert [each.outcome for each in box.deliveries()] == ["failed", "delivered"]
    assert [each.pending_webhooks for each in api.events.list({"delivery_success": True}).data] == [0]
    api.customers.create({})
    box.deliveries()
    api.webhook_endpoints.delete(endpoint.id)
    box.advance(300)
    assert [each.outcome for each in box.deliveries()][2:] == ["failed", "not_delivered"]


def test_unreachable(api, box, receiver) -> None:
    """Nobody listens: the attempt fails and says why."""
    receiver.server.server_close()
    api.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
    api.customers.create({})
    failed = box.deliveries()[0]
    assert (failed.outcome, failed.status) == ("failed", None)
    assert failed.why


@pytest.mark.parametrize("url", ["https://example.com/", "http://10.0.0.1/", "http://127.0.0.1.example.com/"])
def test_nothing_leaves_this_machine(api, box, url) -> None:
    """Other addresses are recorded as not delivered."""
    api.webhook_endpoints.create({"url": url, "enabled_events": ["*"]})
    api.customers.create({})
    (entry,) = box.deliveries()
    assert (entry.outcome, entry.status, entry.retry_at) == ("not_delivered", None, None)
    assert "not an address of this machine" in entry.why


def test_hosts_may_be_allowed(connect) -> None:
    """A host that is named is tried."""
    with sandbox(now=1_795_000_000, webhook_hosts=["nowhere.invalid"]) as box:
        api = stripe.StripeClient(box.secret_key, base_addresses={"api": box.url}).v1
        api.webhook_endpoints.create({"url": "http://nowhere.invalid/", "enabled_events": ["*"]})
        api.customers.create({})
        assert box.deliveries()[0].outcome == "failed"


def make(api, count: int) -> None:
    for number in range(count):
        api.customers.create({"name": str(number)})


def test_in_order_by_default(api, box, receiver, endpoint) -> None:
    """An endpoint gets events as they happened."""
    make(api, 20)
    box.deliveries()
    assert receiver.names() == [str(number) for number in range(20)]


def test_repeats_and_gaps(api, box, receiver, endpoint) -> None:
    """The same event twice, and events that never come."""
    box.misdeliver(repeat=2)
    make(api, 2)
    box.misdeliver(drop=1, drop_every=3)
    make(api, 6)
    box.misdeliver()
    make(api, 1)
    log = box.deliveries()
    assert receiver.names() == ["0", "0", "1", "1", "1", "3", "4", "0"]
    assert [each.copy for each in log[:4]] == [1, 2, 1, 2]
    assert [each.outcome for each in log].count("dropped") == 3


def test_shuffles(api, box, receiver, endpoint) -> None:
    """What is held goes out in another order, the same for the same seed."""
    box.misdeliver(hold=True)
    make(api, 8)
    assert [each.outcome for each in box.deliveries()] == ["held"] * 8
    assert box.release_deliveries(order="shuffled", seed=7, drop=[3]) == 7
    box.deliveries()
    names = receiver.names()
    assert names != sorted(names)
    assert sorted(names) == ["0", "1", "2", "4", "5", "6", "7"]
    make(api, 2)
    box.release_deliveries(order="reversed", repeat=2)
    box.deliveries()
    assert receiver.names()[7:] == ["1", "0", "1", "0"]
    with pytest.raises(ValueError, match="order"):
        box.release_deliveries(order="sideways")
    box.misdeliver(shuffle=1)
    api.charges.create({"amount": 500, "currency": "usd", "source": "tok_createDispute"})
    box.deliveries()
    assert receiver.types()[-4:] != [each.type for each in reversed(api.events.list({"limit": 4}).data)]


def test_delays(api, box, receiver, endpoint) -> None:
    """Delayed by the sandbox's clock."""
    box.misdeliver(delay=60)
    make(api, 1)
    assert box.deliveries() == []
    box.advance(59)
    assert box.deliveries() == []
    box.advance(1)
    assert [each.outcome for each in box.deliveries()] == ["delivered"]


def test_resend(api, box, receiver, endpoint) -> None:
    """An event again, as `stripe events resend` does."""
    make(api, 1)
    event = box.deliveries()[0].event
    assert box.resend(event) == 1
    assert box.resend(event, endpoint=endpoint.id) == 1
    assert len(box.deliveries(event=event)) == 3
    assert len(receiver.received) == 3
    with pytest.raises(ValueError, match="no such event"):
        box.resend("evt_none")


def test_connected_accounts(api, box, receiver) -> None:
    """A Connect endpoint gets what happens on connected accounts, and says on which."""
    made = api.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"], "connect": True})
    account = box.connected_accounts[0]
    api.customers.create({"name": "own"})
    api.customers.create({"name": "theirs"}, {"stripe_account": account})
    assert [each.outcome for each in box.deliveries()] == ["delivered"]
    event = stripe.Webhook.construct_event(*receiver.received[0], made.secret)
    assert (event.account, event.data.object.name) == (account, "theirs")


def ask(box, method: str, path: str, body: object = None):
    request = Request(
        f"{box.url}/_sandbox/{path}", method=method, data=None if body is None else json.dumps(body).encode()
    )
    with urlopen(request) as answer:
        return json.load(answer)


def test_control_api(api, box, receiver, endpoint) -> None:
    """The same from outside: conduct, log, release, resend."""
    assert ask(box, "POST", "deliveries", {"hold": True})["hold"] is True
    make(api, 2)
    (first, second) = ask(box, "GET", "deliveries")
    assert (first["outcome"], second["type"]) == ("held", "customer.created")
    assert ask(box, "POST", "deliveries/release", {"order": "reversed", "drop": [0]}) == {"deliveries": 1}
    ask(box, "POST", "deliveries", {})
    assert ask(box, "POST", "deliveries/resend", {"event": first["event"]}) == {"deliveries": 1}
    box.deliveries()
    assert receiver.names() == ["1", "0"]
    assert len(ask(box, "GET", f"deliveries?event={first['event']}")) == 2
    ask(box, "DELETE", "deliveries")
    assert ask(box, "GET", "deliveries") == []


def test_a_running_clock_delivers_by_itself(receiver) -> None:
    """With a running clock a delayed delivery comes without any further request."""
    with sandbox() as box:
        api = stripe.StripeClient(box.secret_key, base_addresses={"api": box.url}).v1
        api.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
        box.misdeliver(delay=1)
        make(api, 1)
        for _ in range(500):
            if receiver.received:
                break
            threading.Event().wait(0.01)
        assert len(receiver.received) == 1
        assert box.crashes() == []

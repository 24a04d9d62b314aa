"""Refusals that pass: rates, requests at once, and locked objects, each with Stripe's reason."""

import threading

import pytest
import stripe


def reason(call) -> str | None:
    with pytest.raises(stripe.RateLimitError) as refused:
        call()
    assert refused.value.http_status == 429
    return {name.lower(): value for name, value in refused.value.headers.items()}.get("stripe-rate-limited-reason")


def test_rates(api, box) -> None:
    """Of the account, of an endpoint, of search; another account has its own."""
    box.limit(account=2)
    api.customers.list()
    api.products.list()
    assert reason(api.coupons.list) == "global-rate"
    api.customers.list(options={"stripe_account": box.connected_accounts[0]})
    box.limit(endpoint=1)
    made = api.customers.create({})
    api.customers.retrieve(made.id)
    other = box.objects("customer")[0]["id"]
    assert reason(lambda: api.customers.retrieve(other)) == "endpoint-rate"
    box.limit(search=1)
    api.customers.search({"query": "created>1"})
    assert reason(lambda: api.charges.search({"query": "created>1"})) == "endpoint-rate"
    box.limit()
    api.customers.list()


def test_nothing_remains_of_a_refused_request(api, box) -> None:
    """No effect and no idempotency record: the same key works later."""
    box.limit(account=0)
    assert reason(lambda: api.customers.create({}, {"idempotency_key": "k"})) == "global-rate"
    assert box.count("customer") == 0
    box.limit()
    api.customers.create({}, {"idempotency_key": "k"})
    assert not box.requests("POST")[-1].replayed


class _Held:
    """A call that is kept in another thread until it is released."""

    def __init__(self, box, call, method: str, path: str) -> None:
        self.box = box
        box.hold(method, path)
        self.result: list[object] = []
        self.thread = threading.Thread(target=lambda: self.result.append(call()))

    def __enter__(self) -> "_Held":
        self.thread.start()
        self.box.wait_held()
        return self

    def __exit__(self, *details: object) -> None:
        self.box.release()
        self.thread.join()


def test_requests_at_once(api, connect, box) -> None:
    """All requests of the sandbox, or those of one endpoint."""
    with _Held(box, connect().customers.list, "GET", "/v1/customers"):
        box.limit(endpoint_concurrency=1)
        assert reason(api.customers.list) == "endpoint-concurrency"
        api.products.list()
        box.limit(concurrency=1)
        assert reason(api.products.list) == "global-concurrency"
        box.limit()
    box.limit(endpoint_concurrency=1)
    api.customers.list()
    api.customers.list()


def test_a_locked_object(api, connect, box) -> None:
    """While one request changes an object another can't: lock_timeout, without a reason."""
    customer, other = api.customers.create({}), api.customers.create({})
    call = lambda: connect().customers.update(customer.id, {"name": "A"})  # noqa: E731
    with _Held(box, call, "POST", f"/v1/customers/{customer.id}") as held:
        with pytest.raises(stripe.RateLimitError) as refused:
            api.customers.update(customer.id, {"name": "B"})
        assert refused.value.error.code == "lock_timeout"
        assert "stripe-rate-limited-reason" not in {name.lower() for name in refused.value.headers}
        assert api.customers.retrieve(customer.id).name is None
        api.customers.update(other.id, {"name": "C"})
    assert held.result[0].name == "A"
    assert api.customers.update(customer.id, {"name": "B"}).name == "B"


@pytest.mark.parametrize("why", ["global-rate", "endpoint-rate", "global-concurrency", "resource-specific"])
def test_on_demand(api, box, why) -> None:
    """Any reason by a fault."""
    box.fail("GET", "/v1/customers", status=429, code="rate_limit", reason=why)
    assert reason(api.customers.list) == why
    api.customers.list()


def test_old_versions(connect) -> None:
    """One API version is answered; others are refused plainly."""
    with pytest.raises(stripe.InvalidRequestError, match=r"2024-06-20.*2026-10-28\.endive only"):
        connect(stripe_version="2024-06-20").customers.list()


@pytest.mark.parametrize(
    ("path", "param", "most"),
    [
        ("customers", "name", 256),
        ("customers", "phone", 20),
        ("customers", "business_name", 150),
        ("invoices", "description", 1500),
        ("charges", "statement_descriptor", 22),
    ],
)
def test_too_long(api, customer, path, param, most) -> None:
    """Texts end where the descriptors say."""
    base = {
        "customers": {},
        "invoices": {"customer": customer.id},
        "charges": {"amount": 100, "currency": "usd", "source": "tok_visa"},
    }[path]
    getattr(api, path).create({**base, param: "x" * most})
    with pytest.raises(stripe.InvalidRequestError, match=f"at most {most} characters") as refused:
        getattr(api, path).create({**base, param: "x" * (most + 1)})
    assert refused.value.param == param

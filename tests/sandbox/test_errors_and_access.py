"""What the API refuses before a handler runs: parameters, urls, keys, accounts, versions."""

import httpx2
import pytest
import stripe

from spojit_stripe.sandbox.operations import load_index
from spojit_stripe.sandbox.routes import HANDLERS


def send(box, method: str, path: str, *, key: str | None = None, **more):
    headers = {"Authorization": f"Bearer {key or box.secret_key}", **more.pop("headers", {})}
    return httpx2.request(method, box.url + path, headers=headers, **more)


@pytest.mark.parametrize(
    ("path", "body", "param", "code", "message"),
    [
        ("/v1/charges", "colour=red", "colour", "parameter_unknown", "Received unknown parameter: colour"),
        ("/v1/charges", "a=1&b=2", "a", "parameter_unknown", "Received unknown parameters: a, b"),
        (
            "/v1/customers",
            "address[planet]=x",
            "address[planet]",
            "parameter_unknown",
            "Received unknown parameter: address[planet]",
        ),
        ("/v1/charges", "currency=usd", "amount", "parameter_missing", "Missing required param: amount."),
        ("/v1/payment_intents", "amount=5", "currency", "parameter_missing", "Missing required param: currency."),
        ("/v1/charges", "amount=10.5", "amount", "parameter_invalid_integer", "Invalid integer: 10.5"),
        ("/v1/charges", "amount=1e3", "amount", "parameter_invalid_integer", "Invalid integer: 1e3"),
        (
            "/v1/charges",
            "amount=99999999999999999999",
            "amount",
            "parameter_invalid_integer",
            "Invalid integer: 99999999999999999999",
        ),
        ("/v1/charges", "capture=True", "capture", None, "Invalid boolean: True"),
        ("/v1/charges", "amount=", "amount", "parameter_invalid_empty", "You passed an empty string for 'amount'."),
        ("/v1/charges", "shipping=x", "shipping", None, "Invalid object"),
        ("/v1/customers", "preferred_locales=x", "preferred_locales", None, "Invalid array"),
        ("/v1/charges", "amount[x]=1", "amount", None, "Invalid integer: "),
        (
            "/v1/customers",
            "tax_exempt=maybe",
            "tax_exempt",
            None,
            "Invalid tax_exempt: must be one of exempt, none, or reverse",
        ),
        (
            "/v1/charges",
            "statement_descriptor=" + "x" * 23,
            "statement_descriptor",
            "parameter_invalid_string",
            "at most 22 characters",
        ),
        ("/v1/customers", f"metadata[{'k' * 41}]=v", "metadata", None, "Metadata keys can have up to 40 characters"),
        (
            "/v1/customers",
            f"metadata[k]={'v' * 501}",
            "metadata[k]",
            None,
            "Metadata values can have up to 500 characters",
        ),
        ("/v1/customers", "&".join(f"metadata[{n}]=v" for n in range(51)), "metadata", None, "up to 50 metadata keys"),
        ("/v1/customers", "metadata[a[b]]=c", "metadata[a[b]]", None, "Invalid parameter name"),
        ("/v1/customers", "name=a&name[b]=c", "name[b]", None, "both a value and an object"),
        ("/v1/customers", "name=%ff", None, None, "Invalid UTF-8"),
        (
            "/v1/subscriptions",
            "customer=x&items[0][quantity]=two",
            "items[0][quantity]",
            "parameter_invalid_integer",
            "Invalid integer: two",
        ),
    ],
)
def test_bad_parameters(box, path, body, param, code, message) -> None:
    """Stripe's error object: type, code, parameter, links; and nothing happened."""
    answer = send(box, "POST", path, content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error.get("param"), error.get("code")) == (param, code)
    assert message in error["message"]
    assert error["request_log_url"].endswith(answer.headers["request-id"])
    if code is not None:
        assert error["doc_url"].endswith(code.replace("_", "-"))
    assert box.count("event") == 0


@pytest.mark.parametrize(
    "body", ["preferred_locales[]=a&preferred_locales[]=b", "preferred_locales[1]=b&preferred_locales[0]=a"]
)
def test_arrays_of_both_kinds(box, body) -> None:
    """Arrays come indexed or with empty brackets."""
    answer = send(
        box, "POST", "/v1/customers", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.json()["preferred_locales"] == ["a", "b"]


def test_ids_that_name_nothing(api) -> None:
    """404 for an id in the path, 400 for one in a parameter."""
    for call, param in [
        (lambda: api.customers.retrieve("cus_x"), "id"),
        (lambda: api.charges.retrieve("ch_x"), "id"),
        (lambda: api.payment_intents.retrieve("pi_x"), "intent"),
        (lambda: api.invoices.retrieve("in_x"), "invoice"),
        (lambda: api.subscriptions.retrieve("sub_x"), "id"),
    ]:
        with pytest.raises(stripe.InvalidRequestError, match="No such") as missing:
            call()
        assert (missing.value.http_status, missing.value.code, missing.value.param) == (404, "resource_missing", param)


def test_urls(box, api) -> None:
    """Unknown urls, trailing slashes, methods, and what only Stripe answers."""
    for method, path in [
        ("GET", "/v1/nope"),
        ("GET", "/v1/charges/"),
        ("DELETE", "/v1/charges"),
        ("GET", "/"),
        ("GET", "/v1/"),
    ]:
        answer = send(box, method, path)
        assert answer.status_code == 404
        assert answer.json()["error"]["message"].startswith(f"Unrecognized request URL ({method}: {path}).")
    assert send(box, "PATCH", "/v1/charges").status_code == 405
    answer = send(box, "GET", "/v1/topups")
    assert (answer.status_code, answer.headers["stripe-should-retry"]) == (501, "false")
    assert "does not answer GET /v1/topups" in answer.json()["error"]["message"]
    answer = send(box, "POST", "/v1/customers", json={"name": "x"})
    assert answer.status_code == 400
    assert "application/json" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/charges", "amount=100&currency=usd&source=tok_visa&application_fee_amount=5", "application_fee_amount"),
        ("/v1/invoices", "customer=cus_x&application_fee_amount=5", "application_fee_amount"),
        ("/v1/subscriptions", "customer=cus_x&automatic_tax[enabled]=true", "automatic_tax"),
    ],
)
def test_what_it_cannot_do_it_refuses(box, path, body, param) -> None:
    """Parameters that would change money and that the sandbox can't carry out are not ignored."""
    answer = send(box, "POST", path, content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 501
    assert f"does not carry out `{param}`" in answer.json()["error"]["message"]
    assert box.count("charge") == 0


def test_every_handler_is_an_operation() -> None:
    """No handler is registered for what the API does not have."""
    known = {(operation.method, operation.path) for operation in load_index()}
    assert set(HANDLERS) <= known


def test_headers(box, api) -> None:
    """What every answer carries."""
    answer = send(box, "POST", "/v1/customers", headers={"Idempotency-Key": "k1", "Stripe-Version": box.api_version})
    assert answer.headers["request-id"].startswith("req_")
    assert answer.headers["stripe-version"] == "2026-10-28.endive"
    assert answer.headers["idempotency-key"] == "k1"
    assert answer.headers["date"].endswith("GMT")
    assert answer.headers["content-type"] == "application/json"


# Keys


def test_keys(box, connect) -> None:
    """No key, an unknown one, a publishable one; Basic works as Bearer does."""
    bare = httpx2.get(box.url + "/v1/customers")
    assert bare.status_code == 401
    assert "You did not provide an API key." in bare.json()["error"]["message"]
    with pytest.raises(stripe.AuthenticationError, match=r"Invalid API Key provided: sk_test_\*+oooo"):
        connect("sk_test_nooooooooo").customers.list()
    publishable = send(box, "GET", "/v1/customers", key="pk_test_x")
    assert publishable.status_code == 401
    assert "publishable API key" in publishable.json()["error"]["message"]
    assert httpx2.get(box.url + "/v1/customers", auth=(box.secret_key, "")).status_code == 200


def test_restricted_keys(box, connect) -> None:
    """A restricted key does what it was given; Stripe's text names the missing permission."""
    restricted = connect(box.restricted_key)
    assert restricted.customers.list().data == []
    with pytest.raises(stripe.PermissionError) as refused:
        restricted.customers.create()
    assert refused.value.http_status == 403
    assert f"on account '{box.account}'. Having the 'rak_customer_write' permission" in str(refused.value)
    box.permit("rak_customer_write")
    assert restricted.customers.list().data == []  # writing includes reading
    restricted.customers.create()
    with pytest.raises(stripe.PermissionError, match="'rak_charge_write'"):
        restricted.refunds.create({"charge": "ch_x"})
    with pytest.raises(stripe.PermissionError, match="'rak_plan_read'"):
        restricted.prices.list()


def test_live_and_test_apart(box, api, connect, customer) -> None:
    """Live data are other data, and Stripe says so."""
    live = connect(box.live_key)
    assert live.customers.list().data == []
    with pytest.raises(
        stripe.InvalidRequestError, match="a similar object exists in test mode, but a live mode key was used"
    ):
        live.customers.retrieve(customer.id)
    made = live.customers.create()
    assert made.livemode is True
    assert customer.livemode is False
    assert box.count("customer", live=True) == 1
    assert live.events.list().data[0].livemode is True


def test_connected_accounts(box, api, connect, customer) -> None:
    """`Stripe-Account` is another account with its own objects."""
    on = {"stripe_account": box.connected_accounts[0]}
    assert api.customers.list(options=on).data == []
    api.customers.create(options=on)
    assert box.count("customer", account=box.connected_accounts[0]) == 1
    assert api.accounts.retrieve_current(options=on).id == box.connected_accounts[0]
    with pytest.raises(stripe.PermissionError) as unknown:
        api.customers.list(options={"stripe_account": "acct_nope"})
    assert unknown.value.error.code == "account_invalid"


def test_versions(box, connect) -> None:
    """Another version is refused plainly."""
    with pytest.raises(stripe.InvalidRequestError, match="Invalid Stripe API version: 2020-08-27"):
        connect(stripe_version="2020-08-27").customers.list()


def test_rate_limits(box, connect) -> None:
    """Limits by account, endpoint and search, with their reasons; refused requests do not count."""
    api = connect()
    box.limit(account=3)
    for _ in range(3):
        api.customers.list()
    with pytest.raises(stripe.RateLimitError) as refused:
        api.products.list()
    assert refused.value.headers["stripe-rate-limited-reason"] == "global-rate"
    box.limit(endpoint=1)
    api.customers.list()
    with pytest.raises(stripe.RateLimitError) as refused:
        api.customers.list()
    assert refused.value.headers["stripe-rate-limited-reason"] == "endpoint-rate"
    api.products.list()
    box.limit(search=0)
    with pytest.raises(stripe.RateLimitError):
        api.customers.search({"query": "created>1"})
    box.limit(concurrency=0)
    with pytest.raises(stripe.RateLimitError) as refused:
        api.products.list()
    assert refused.value.headers["stripe-rate-limited-reason"] == "global-concurrency"
    box.limit()
    api.products.list()

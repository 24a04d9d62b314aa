"""A call becomes exactly the request that it means, or is refused before anything is sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from spojit_stripe.connection import Connection
from spojit_stripe.connector import BoundCall, Connector, ListPlan
from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.values import Effect, Paging, Request, Secret, ToolCall
from spojit_stripe.wire.connector import StripeConnector

STRIPE = StripeConnector()
VERSION = "2026-10-28.endive"


def connection(**more: Any) -> Connection:
    return Connection.model_validate({"name": "shop", "secret_key": "${env:KEY}", "mode": "test", **more})


def bind(tool: str, params: dict[str, Any], *, author: dict[str, Any] | None = None, **paging: Any) -> BoundCall:
    call = ToolCall(tool=tool, params=params, author_params=author or {}, paging=Paging(**paging))
    return STRIPE.bind(STRIPE.catalog.tool(tool), call, connection())


def raw(method: Any, path: Any, params: Any = None, *, author: dict[str, Any] | None = None, **more: Any) -> BoundCall:
    given = {"method": method, "path": path, **({} if params is None else {"params": params})}
    return bind("raw-api-request", given, author=author, **more)


def test_it_is_a_connector() -> None:
    def takes(_connector: Connector) -> None: ...

    takes(STRIPE)
    assert STRIPE.name == "stripe"
    assert STRIPE.default_api_version == VERSION == STRIPE.operations.api_version


# Typed tools


def test_an_id_goes_into_the_path_and_the_rest_into_the_parameters() -> None:
    bound = bind("get-customer", {"customer": "cus 1/é"[:5], "expand": ["sources"]})
    assert bound == BoundCall(
        tool="get-customer",
        request=Request(
            method="GET",
            path="/v1/customers/cus%201",
            template="/v1/customers/{customer}",
            params={"expand": ["sources"]},
            api_version=VERSION,
        ),
        operation="GET /v1/customers/{customer}",
        effect=Effect.READ,
    )


@pytest.mark.parametrize("customer", ["", ".", "..", "a/b", "%2e%2e", None])
def test_what_is_no_id_is_refused(customer: Any) -> None:
    with pytest.raises(InputError, match=r"^customer: "):
        bind("get-customer", {"customer": customer})


def test_what_can_not_be_encoded_is_refused_before_anything_is_recorded() -> None:
    with pytest.raises(InputError, match="square bracket"):
        bind("create-customer", {"metadata": {"a[b]": "x"}})


def test_a_write_has_the_effect_of_the_reviewed_table() -> None:
    charge = {"amount": 100, "currency": "usd", "customer": "cus_1"}
    assert bind("create-charge", charge).effect is Effect.MONEY
    assert bind("create-payment-intent", charge).effect is Effect.WRITE
    assert bind("create-payment-intent", {**charge, "confirm": True}).effect is Effect.MONEY
    bound = bind("create-customer", {"email": "a@b.c"})
    assert (bound.effect, bound.operation, bound.listing) == (Effect.WRITE, "POST /v1/customers", None)


def test_typed_tools_take_no_options_of_the_author() -> None:
    with pytest.raises(InputError, match=r"^stripe_account: only raw-api-request"):
        bind("get-customer", {"customer": "cus_1"}, author={"stripe_account": "acct_1"})


# Lists


def test_a_list_has_a_plan() -> None:
    bound = bind("list-charges", {"customer": "cus_1", "limit": 5})
    assert bound.request.params == {"customer": "cus_1", "limit": 5}
    assert bound.listing == ListPlan(style="cursor", wanted=5, page_size=100, windowed=True)
    bound = bind("list-charges", {}, paginate="all", max_items=7)
    assert bound.listing == ListPlan(style="cursor", wanted=10, page_size=100, windowed=True)
    assert bound.paging == Paging(paginate="all", max_items=7)
    listing = bind("list-charges", {"limit": 20}, paginate="all").listing
    assert listing is not None
    assert listing.page_size == 20


@pytest.mark.parametrize("tool", ["list-charges", "list-payment-intents"])
def test_status_is_filtered_here(tool: str) -> None:
    bound = bind(tool, {"status": "succeeded", "customer": "cus_1"})
    assert bound.request.params == {"customer": "cus_1"}
    assert bound.listing is not None
    assert bound.listing.keep == {"status": "succeeded"}


def test_metadata_of_customers_is_searched() -> None:
    params = {
        "metadata": {"order": "it's 5", "a\\b": "c"},
        "email": "a@b.c",
        "created": {"gte": 5, "lt": 9},
        "limit": 3,
        "expand": ["data.sources"],
    }
    bound = bind("list-customers", params)
    assert bound.request.path == bound.request.template == "/v1/customers/search"
    assert bound.operation == "GET /v1/customers/search"
    assert bound.request.params == {
        "query": "metadata['order']:'it\\'s 5' AND metadata['a\\\\b']:'c' AND email:'a@b.c' "
        "AND created>=5 AND created<9",
        "limit": 3,
        "expand": ["data.sources"],
    }
    assert bound.listing == ListPlan(style="search", wanted=3, page_size=100)
    assert bind("list-customers", {"email": "a@b.c"}).request.path == "/v1/customers"


@pytest.mark.parametrize("name", ["starting_after", "ending_before", "test_clock"])
def test_what_a_search_can_not_do_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"^{name}: list-customers with metadata is a search"):
        bind("list-customers", {"metadata": {"a": "b"}, name: "x"})


@pytest.mark.parametrize("limit", [0, 101, -1, 2.5, "10", True])
def test_an_impossible_limit_is_refused(limit: Any) -> None:
    with pytest.raises(InputError, match=r"^limit: a whole number from 1 to 100"):
        raw("GET", "/v1/charges", {"limit": limit}, author={"unchecked": True})
    with pytest.raises(InputError, match=r"^limit"):
        bind("list-charges", {"limit": limit})


def test_a_list_that_is_asked_for_by_time_can_be_divided() -> None:
    def windowed(bound: BoundCall) -> bool:
        assert bound.listing is not None
        return bound.listing.windowed

    assert windowed(bind("list-invoices", {}))
    assert windowed(raw("GET", "/v1/refunds", {"charge": "ch_1"}))
    assert windowed(raw("GET", "/v1/balance_transactions", {}))
    assert not windowed(bind("list-customers", {"metadata": {"a": "b"}}))
    assert not windowed(raw("GET", "/v1/subscription_items", {"subscription": "sub_1"}))
    assert not windowed(raw("GET", "/v1/charges/search", {"query": "amount>1"}))
    assert not windowed(raw("GET", "/v2/core/events", {}))


@pytest.mark.parametrize(
    ("created", "text"),
    [
        ({"gte": 200, "lt": 100}, "created: the range ends (lt 100) before it starts (gte 200); swap the two"),
        ({"gt": 100, "lte": 100}, ""),
        ({"gt": 100, "lt": 100}, "created: the range ends (lt 100) before it starts (gt 100); swap the two"),
        ({"gte": 100, "lt": 100}, ""),
        ({"gte": 100}, ""),
    ],
)
def test_a_range_that_ends_before_it_starts_is_refused(created: Any, text: str) -> None:
    for make in (
        lambda: bind("list-charges", {"created": created}),
        lambda: raw("GET", "/v1/refunds", {"created": created}),
    ):
        if text:
            with pytest.raises(InputError) as refused:
                make()
            assert str(refused.value) == text
        else:
            make()


def test_both_cursors_are_refused() -> None:
    for make in (
        lambda params: bind("list-charges", params),
        lambda params: raw("GET", "/v1/charges", params),
    ):
        with pytest.raises(InputError, match="one direction"):
            make({"starting_after": "ch_1", "ending_before": "ch_2"})


# Raw requests


def test_a_raw_request_is_recognised_by_the_index() -> None:
    bound = raw("POST", "/v1/charges/ch_1/capture", {"amount": 5})
    assert bound.request == Request(
        method="POST", path="/v1/charges/ch_1/capture", template="/v1/charges/{charge}/capture", params={"amount": 5}
    )
    assert bound.operation == "POST /v1/charges/{charge}/capture"
    assert bound.effect is Effect.MONEY


@pytest.mark.parametrize(
    ("path", "style", "page_size"),
    [
        ("/v1/refunds", "cursor", 100),
        ("/v1/charges/search", "search", 100),
        ("/v2/core/events", "v2", 100),
        ("/v1/reporting/report_types", "cursor", 0),
    ],
)
def test_a_raw_list_has_a_plan(path: str, style: str, page_size: int) -> None:
    params = {"query": "status:'succeeded'"} if style == "search" else {}
    listing = raw("GET", path, params).listing
    assert listing is not None
    assert (listing.style, listing.page_size) == (style, page_size)


def test_a_raw_v2_list_goes_on_by_its_page() -> None:
    bound = raw("GET", "/v2/core/events", {"page": "abc"})
    assert bound.request.version == 2
    assert bound.request.params == {"page": "abc"}
    with pytest.raises(InputError):
        raw("GET", "/v1/charges", {"page": "abc"})


REFUSED: list[tuple[tuple[Any, Any, Any], str]] = [
    (("PUT", "/v1/charges", {}), "method: 'PUT' is not one of GET, POST, DELETE"),
    (("HEAD", "/v1/charges", {}), "not one of"),
    (("PATCH", "/v1/charges", {}), "not one of"),
    (("get", "/v1/charges", {}), "not one of"),
    (("GET", "/v1/chargs", {}), "did you mean GET /v1/charges?"),
    (("POST", "/v1/balance", {}), "exists with GET only"),
    (("GET", "/v1/charges", {"customr": "x"}), "did you mean 'customer'?"),
    (("POST", "/v1/refunds", {"amount": "10.50"}), "amount"),
    (("POST", "/v1/refunds", {"amount": None}), "null"),
    (("GET", "https://evil.example/v1/charges", {}), "host"),
    (("GET", "//evil.example/v1/charges", {}), "single /"),
    (("GET", "/v1/charges/..", {}), "lead out"),
    (("GET", "/v1/charges/%2e%2e", {}), "lead out"),
    (("GET", "/v1/charges?limit=1", {}), "params"),
    (("GET", "/v1/charges/", {}), "empty part"),
    (("GET", "/v1/customers/{customer}", {}), "put an id"),
    (("GET", 5, {}), "path"),
    (("GET", "/v1/charges", []), "params: an object"),
    (("POST", "/v1/charges", {"amount": 5, "currency": "usd", "metadata": {"a[b]": "x"}}), "square bracket"),
    (("POST", "/v1/charges", {"amount": 5, "currency": "usd", "description": "\ud800"}), "no valid text"),
    (("POST", "/v1/files", {"purpose": "x"}), "takes a file"),
    (("GET", "/v1/quotes/qt_1/pdf", {}), "answers with a file"),
    (("POST", "/v2/billing/meter_event_stream", {"events": []}), "meter event session"),
]


@pytest.mark.parametrize(("given", "told"), REFUSED)
def test_a_faulty_raw_request_is_refused_in_one_line(given: tuple[Any, Any, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        raw(*given)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["unchecked", "stripe_account", "api_version"])
def test_what_only_the_author_may_say_is_refused_from_anyone_else(name: str) -> None:
    params = {"method": "GET", "path": "/v1/charges", name: True}
    for author in ({}, {"unchecked": True}):
        with pytest.raises(InputError, match=rf"^{name}: only the author"):
            bind("raw-api-request", params, author=author)


def test_the_author_may_name_account_and_version() -> None:
    author = {"stripe_account": "acct_1", "api_version": "2025-01-01.acacia"}
    request = raw("GET", "/v1/charges", author=author).request
    assert (request.account, request.api_version) == ("acct_1", "2025-01-01.acacia")


@pytest.mark.parametrize(
    "author",
    [
        {"stripe_account": "acct_1\r\nX: y"},
        {"stripe_account": "cus_1"},
        {"api_version": "latest"},
        {"unchecked": "yes"},
        {"idempotency_key": "x"},
    ],
)
def test_odd_options_of_the_author_are_refused(author: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        raw("GET", "/v1/charges", author=author)


def test_unchecked_lets_the_unknown_through_and_it_asks() -> None:
    author = {"unchecked": True}
    bound = raw("POST", "/v1/previews/things", {"a": 1}, author=author)
    assert (bound.effect, bound.operation) == (None, "POST /v1/previews/things")
    assert bound.request.template == "/v1/previews/things"
    assert raw("GET", "/v1/previews/things", author=author).effect is None
    # A known operation with parameters that nobody reviewed asks too.
    assert raw("POST", "/v1/customers", {"preview": 1}, author=author).effect is None
    assert raw("POST", "/v1/customers", {"name": "x"}, author=author).effect is Effect.WRITE
    assert raw("POST", "/v1/webhook_endpoints", {"preview": 1}, author=author).effect is Effect.CONTROL
    assert raw("GET", "/v1/charges", {"preview": 1}, author=author).effect is Effect.READ


def test_unchecked_does_not_lift_the_rules_for_paths_and_files() -> None:
    for method, path in (("GET", "/v1/../x"), ("GET", "https://evil.example/v1/x"), ("POST", "/v1/files")):
        with pytest.raises(InputError):
            raw(method, path, {}, author={"unchecked": True})


def test_a_read_that_hands_out_a_secret_is_control() -> None:
    bound = raw("GET", "/v1/issuing/cards/ic_1", {"expand": ["number"]})
    assert (bound.effect, bound.listing) == (Effect.CONTROL, None)


def test_no_operation_of_another_host_can_be_bound() -> None:
    """The wire knows one host; the index says of every other one why it is not supported."""
    others = [one for one in STRIPE.operations if one.host != "api.stripe.com"]
    assert others
    assert all(one.unsupported for one in others)


def test_a_raw_single_object_has_no_plan_and_a_wire_can_be_opened() -> None:
    assert raw("GET", "/v1/charges/ch_1").listing is None

    async def run() -> None:
        await STRIPE.open(connection(base_url="http://127.0.0.1:1"), Secret("sk_test_4eC39HqLyjWDarjt")).aclose()

    asyncio.run(run())


# The stamp


def test_what_is_made_is_stamped() -> None:
    bound = bind("create-charge", {"amount": 1, "currency": "usd", "metadata": {"order": "5"}})
    params = dict(bound.request.params)
    stamped, done = STRIPE.stamp(bound, params, "key-1")
    assert done
    assert stamped == {**params, "metadata": {"order": "5", "spojit_key": "key-1"}}
    assert params["metadata"] == {"order": "5"}
    assert STRIPE.stamp(bound, {"amount": 1}, "key-1") == ({"amount": 1, "metadata": {"spojit_key": "key-1"}}, True)
    assert STRIPE.stamp(raw("POST", "/v1/refunds", {"charge": "ch_1"}), {}, "k")[1]
    assert STRIPE.stamp(raw("POST", "/v1/transfers/tr_1/reversals", {}), {}, "k")[1]


@pytest.mark.parametrize(
    ("method", "path", "params"),
    [
        ("POST", "/v1/customers/cus_1", {}),  # changes
        ("POST", "/v1/payment_intents/pi_1/capture", {}),  # acts
        ("POST", "/v1/tokens", {}),  # takes no metadata
        ("DELETE", "/v1/customers/cus_1", {}),
        ("POST", "/v1/customers", {"metadata": ""}),  # clears
        ("POST", "/v1/customers", {"metadata": {str(number): "x" for number in range(50)}}),  # is full
        ("POST", "/v1/customers", {"metadata": {"spojit_key": "mine"}}),
    ],
)
def test_what_can_not_be_stamped_stays_as_it_is(method: str, path: str, params: dict[str, Any]) -> None:
    bound = raw(method, path, params)
    assert STRIPE.stamp(bound, params, "key-1") == (params, False)


# Keys

KEYS = [
    ("pk_test_4eC39HqLyjWDarjt", "publishable key"),
    ("pk_live_4eC39HqLyjWDarjt", "publishable key"),
    ("whsec_4eC39HqLyjWDarjt", "webhook signing secret"),
    ("ek_test_4eC39HqLyjWDarjt", "ephemeral key"),
    ("sk_org_live_4eC39HqLyjWDarjt", "organization key"),
    ("sk-ant-4eC39HqLyjWDarjt", "Anthropic"),
    ("acct_1032D82eZvKYlo2C", "account id"),
    ("${env:KEY}", "not resolved"),
    ("sk_live_4eC39HqLyjWDarjt", "live key, but the connection says mode: test"),
    ("rk_live_4eC39HqLyjWDarjt", "live key"),
    ("sk_test_4eC39HqLyj WDarjt", "space"),
    ("sk_test_4eC39HqLyjWDarjt\n", "line break"),
    ("sk_test_4eC39HqLyjWDarjté", "no key that Stripe gives out"),
    ("sk_test_", "no key that Stripe gives out"),
    ("hunter2hunter2", "no key that Stripe gives out"),
    ("", "empty"),
]


@pytest.mark.parametrize(("key", "told"), KEYS)
def test_a_key_of_the_wrong_kind_is_refused_and_not_shown(key: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        STRIPE.check_secret(connection(), Secret(key))
    assert told in str(caught.value)
    assert "'shop'" in str(caught.value)
    if len(key) > 10 and not key.startswith("$"):
        assert key.strip() not in str(caught.value)
        assert "4eC39" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk_test_4eC39HqLyjWDarjt", "rk_test_sandbox_restricted", "sk_test_loopback_KEY"])
def test_secret_and_restricted_keys_of_the_mode_pass(key: str) -> None:
    STRIPE.check_secret(connection(), Secret(key))
    with pytest.raises(ConfigurationError, match="mode: live"):
        STRIPE.check_secret(connection(mode="live"), Secret(key))


@pytest.mark.parametrize(
    ("amount", "currency", "message"),
    [
        (5005, "KWD", "amount: an amount in KWD must end in 0: write 5000 or 5010"),
        (150, "isk", "amount: an amount in ISK must end in 00: write 100 or 200"),
    ],
)
@pytest.mark.parametrize("tool", ["create-charge", "create-payment-intent"])
def test_an_amount_that_its_currency_does_not_allow_is_refused_unsent(tool, amount, currency, message) -> None:
    """Stripe's special cases are known before anything is sent, for typed tools and raw requests alike."""
    params = {"amount": amount, "currency": currency}
    path = "/v1/charges" if tool == "create-charge" else "/v1/payment_intents"
    raw = {"method": "POST", "path": path, "params": params}
    for name, given in ((tool, params), ("raw-api-request", raw)):
        with pytest.raises(InputError) as caught:
            STRIPE.bind(STRIPE.catalog.tool(name), ToolCall(tool=name, params=given), connection())
        assert caught.value.message == message

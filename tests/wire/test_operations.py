"""Every operation is found by path or words, and its parameters are checked at every depth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spojit_stripe.errors import ConfigurationError
from spojit_stripe.wire.operations import Operation, Operations

ROOT = Path(__file__).parents[2]
OPERATIONS = Operations.load()


def operation(name: str) -> Operation:
    found = OPERATIONS.get(name)
    assert found is not None
    return found


# --- the index ----------------------------------------------------------------------------------


def test_the_whole_api_is_there() -> None:
    """648 operations of the pinned version, each under its own name."""
    assert len(OPERATIONS) == 648
    assert OPERATIONS.api_version == "2026-10-28.endive"
    assert len({one.name for one in OPERATIONS}) == 648
    assert {one.method for one in OPERATIONS} == {"GET", "POST", "DELETE"}
    assert Operations.load() is OPERATIONS


@pytest.mark.checkout
def test_the_index_is_what_the_official_client_says() -> None:
    """`scripts/remake_operations.py` would change nothing."""
    script = ROOT / "scripts" / "remake_operations.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("stripe-operations.json is up to date")


@pytest.mark.checkout
def test_a_stale_index_is_reported(tmp_path: Path) -> None:
    """Added, removed and changed operations are named, and the file stays as it is."""
    text = (ROOT / "schemas" / "stripe-operations.json").read_text(encoding="utf-8")
    index = json.loads(text)
    first, second = index["operations"][0], index["operations"][1]
    second["ret"] = "Changed"
    index["operations"] = [{**first, "p": "/v1/gone"}, *index["operations"][1:]]
    file = tmp_path / "index.json"
    file.write_text(json.dumps(index))
    before = file.read_text()
    script = ROOT / "scripts" / "remake_operations.py"
    done = subprocess.run(
        [sys.executable, script, "--check", "--file", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"+ {first['m']} {first['p']}",
        f"- {first['m']} /v1/gone",
        f"~ {second['m']} {second['p']}",
        "index.json is out of date: 3 operations differ; run remake_operations.py",
    ]
    assert file.read_text() == before


def test_every_parameter_can_be_decoded() -> None:
    """No shared list of children is missing, at no depth."""

    def deep(param: Any) -> int:
        inner = [*OPERATIONS.shared.children(param), *param.alt, *(one for one in (param.i, param.v) if one)]
        return 1 + sum(deep(one) for one in inner)

    assert sum(deep(param) for one in OPERATIONS for param in one.params) > 14_000


def test_each_operation_is_found_by_its_own_path() -> None:
    """A filled template leads back to its operation, with the values that were filled in."""
    for one in OPERATIONS:
        values = {name: f"x_{place}abc" for place, name in enumerate(one.path_params)}
        path = one.template.format(**values)
        assert OPERATIONS.find(one.method, path) is one
        assert one.path_values(path) == values
        assert one.method in OPERATIONS.methods_of(path)


# --- properties ---------------------------------------------------------------------------------


def test_properties_of_an_operation() -> None:
    """What the wire needs to know of an operation."""
    one = operation("POST /v1/charges/{charge}/capture")
    assert (one.method, one.template, one.version) == ("POST", "/v1/charges/{charge}/capture", 1)
    assert (one.host, one.sends, one.returns) == ("api.stripe.com", "form", "Charge")
    assert (one.sdk, one.operation_id) == ("charge.capture", "PostChargesChargeCapture")
    assert one.path_params == ("charge",)
    assert one.deprecated
    assert not one.stream
    assert not one.is_list
    assert one.list_style is None
    assert one.unsupported is None
    assert repr(one) == "<Operation POST /v1/charges/{charge}/capture>"


@pytest.mark.parametrize(
    ("name", "style"),
    [
        ("GET /v1/charges", "cursor"),
        ("GET /v1/charges/search", "search"),
        ("GET /v1/accounts/{account}/capabilities", "plain"),
        ("GET /v1/payment_attempt_records", "cursor"),
        ("GET /v2/core/accounts", "v2"),
        ("GET /v1/charges/{charge}", None),
        ("POST /v1/charges", None),
    ],
)
def test_list_styles(name: str, style: str | None) -> None:
    """How an answer is paged."""
    one = operation(name)
    assert one.list_style == style
    assert one.is_list is (style is not None)
    assert one.is_search is (style == "search")


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        ("POST /v1/charges", True),
        ("POST /v1/refunds", True),
        ("POST /v1/invoices/{invoice}/pay", False),
        ("GET /v1/charges", False),
        ("POST /v2/money_management/outbound_payments", True),
    ],
)
def test_which_objects_can_be_stamped(name: str, takes: bool) -> None:
    """Only an operation that takes metadata can carry our key on its object."""
    assert operation(name).takes_metadata is takes


def test_hosts_and_what_a_raw_request_cannot_carry() -> None:
    """Files and streams need another way than a raw request."""
    upload, pdf = operation("POST /v1/files"), operation("GET /v1/quotes/{quote}/pdf")
    stream = operation("POST /v2/billing/meter_event_stream")
    assert (upload.host, pdf.host) == ("files.stripe.com", "files.stripe.com")
    assert stream.host == "meter-events.stripe.com"
    assert (upload.sends, stream.sends, operation("GET /v1/charges").sends) == ("multipart", "json", "query")
    assert upload.unsupported == "POST /v1/files takes a file, which a raw request cannot send"
    assert pdf.stream
    assert pdf.unsupported == "GET /v1/quotes/{quote}/pdf answers with a file, which a raw request cannot return"
    assert stream.unsupported is not None


# --- finding ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/v1/customers/cus_123", "GET /v1/customers/{customer}"),
        ("GET", "/v1/customers/search", "GET /v1/customers/search"),
        ("POST", "/v1/invoices/create_preview", "POST /v1/invoices/create_preview"),
        ("DELETE", "/v1/coupons/SUMMER%2026", "DELETE /v1/coupons/{coupon}"),
        ("GET", "/v2/core/accounts/acct_1/persons/person_1", "GET /v2/core/accounts/{account_id}/persons/{id}"),
        # a literal segment is never an id
        ("POST", "/v1/charges/search", None),
        ("GET", "/v1/charges/", None),
        ("GET", "/v1/charges//refunds", None),
        ("GET", "/v1/charges/.", None),
        ("GET", "/v1/charges/..", None),
        ("PUT", "/v1/charges", None),
        ("get", "/v1/charges", None),
        ("GET", "/v1/charges/ch_1/what", None),
        ("GET", "v1/charges", None),
        ("GET", "/v1", None),
        ("GET", "/", None),
        ("GET", "", None),
        ("GET", "/v1/test_helpers", None),
        ("GET", "/v3/charges", None),
        ("GET", "https://api.stripe.com/v1/charges", None),
    ],
)
def test_find(method: str, path: str, name: str | None) -> None:
    """Exactly the operation that a request would reach, or none."""
    found = OPERATIONS.find(method, path)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("method", "path", "advice"),
    [
        ("POST", "/v1/refund", "did you mean POST /v1/refunds?"),
        ("GET", "/v1/paymentintents", "did you mean GET /v1/payment_intents?"),
        ("GET", "/v1/charge/ch_1", "did you mean GET /v1/charges/{charge}?"),
        ("GET", "/v1/charges/", "did you mean GET /v1/charges?"),
        ("POST", "/v1/payment_intents/pi_1/captures", "did you mean POST /v1/payment_intents/{intent}/capture?"),
        ("DELETE", "/v1/charges/ch_123", "this path exists with GET and POST only"),
        ("PUT", "/v1/refunds", "this path exists with GET and POST only"),
        ("POST", "/v1/customers/cus_123/refund", "perhaps POST /v1/refunds?"),
        ("GET", "/v3/x", "look it up in Stripe's API reference"),
        ("GET", "", "look it up in Stripe's API reference"),
        ("GET", "/v1/cus_123/cus_456", "look it up in Stripe's API reference"),
    ],
)
def test_nearest(method: str, path: str, advice: str) -> None:
    """What to use instead of what does not exist."""
    assert OPERATIONS.nearest(method, path) == advice


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("refund a charge", "POST /v1/refunds"),
        ("create refund", "POST /v1/refunds"),
        ("list refunds", "GET /v1/refunds"),
        ("capture payment intent", "POST /v1/payment_intents/{intent}/capture"),
        ("cancel subscription", "DELETE /v1/subscriptions/{subscription_exposed_id}"),
        ("search customers", "GET /v1/customers/search"),
        ("new price", "POST /v1/prices"),
        ("delete a coupon", "DELETE /v1/coupons/{coupon}"),
        ("finalize invoice", "POST /v1/invoices/{invoice}/finalize"),
        ("void invoice", "POST /v1/invoices/{invoice}/void"),
        ("add lines to an invoice", "POST /v1/invoices/{invoice}/add_lines"),
        ("attach payment method", "POST /v1/payment_methods/{payment_method}/attach"),
        ("disputes", "GET /v1/disputes"),
        ("chargebacks", "GET /v1/disputes"),
        ("balance", "GET /v1/balance"),
        ("balance transactions", "GET /v1/balance_transactions"),
        ("advance test clock", "POST /v1/test_helpers/test_clocks/{test_clock}/advance"),
        ("portal session", "POST /v1/billing_portal/sessions"),
    ],
)
def test_search_by_words(words: str, name: str) -> None:
    """An agent finds an endpoint by what people call it."""
    assert name in [one.name for one in OPERATIONS.search(words, 2)]


def test_search_without_a_hit() -> None:
    """No words or unknown ones find nothing; the limit holds."""
    assert OPERATIONS.search("") == ()
    assert OPERATIONS.search("the of to") == ()
    assert OPERATIONS.search("zebra") == ()
    assert len(OPERATIONS.search("customer", 3)) == 3


# --- parameters ---------------------------------------------------------------------------------

NULL = "null is not allowed; leave it out or give a value"
CHECKS = [
    ("POST /v1/refunds", {"charge": "ch_1", "amount": 500, "reason": "duplicate", "metadata": {"a": ""}}, []),
    ("POST /v1/refunds", {}, []),
    (
        "POST /v1/refunds",
        {"chrge": "ch_1"},
        ["chrge: unknown parameter of POST /v1/refunds; did you mean 'charge'?"],
    ),
    (
        "GET /v1/charges",
        {"state": "failed"},
        [
            "state: unknown parameter of GET /v1/charges; it takes created, customer, ending_before, expand, limit, "
            "payment_intent, starting_after, transfer_group"
        ],
    ),
    ("POST /v1/subscriptions", {"qqq": 1}, ["qqq: unknown parameter of POST /v1/subscriptions"]),
    ("POST /v1/refunds", {"": 1}, ["an empty name: unknown parameter of POST /v1/refunds; it takes "]),
    (
        "DELETE /v1/customers/{customer}",
        {"force": True},
        ["force: unknown parameter; DELETE /v1/customers/{customer} takes none"],
    ),
    ("POST /v1/refunds", {"amount": None}, [f"amount: {NULL}"]),
    ("POST /v1/refunds", {"charge": ""}, ["charge: is empty; give a value or leave it out"]),
    ("POST /v1/refunds", {"charge": 5}, ["charge: 5 is an integer, but text is needed"]),
    ("POST /v1/refunds", {"metadata": {"a": 1}}, ["metadata.a: 1 is an integer, but text is needed"]),
    ("POST /v1/refunds", {"metadata": ["a"]}, ["metadata: a list is given, but an object is needed"]),
    ("POST /v1/refunds", {"expand": "charge"}, ['expand: "charge" is text, but a list is needed']),
    ("POST /v1/refunds", {"expand": ["charge", 1]}, ["expand[1]: 1 is an integer, but text is needed"]),
    ("POST /v1/refunds", {"reverse_transfer": 1}, ["reverse_transfer: 1 is an integer, but true or false is needed"]),
    # known values: closed ones are enforced, open ones are not
    ("GET /v1/invoices", {"status": "new_in_stripe"}, []),
    (
        "POST /v1/refunds",
        {"origin": "elsewhere"},
        ['origin: "elsewhere" is not known; it takes customer_balance'],
    ),
    (
        "POST /v1/refunds",
        {"origin": "customer_balanc"},
        ["origin: \"customer_balanc\" is not known; did you mean 'customer_balance'? It takes customer_balance"],
    ),
    # amounts and times
    (
        "POST /v1/refunds",
        {"amount": "10.50"},
        ['amount: "10.50" is not in minor units; write 1050 for 10.50 USD (or as many decimals as your currency has)'],
    ),
    (
        "POST /v1/payouts",
        {"amount": 1e3, "currency": "jpy"},
        ["amount: 1000.0 has a fraction or an exponent; write 1000 for 1,000 JPY"],
    ),
    (
        "GET /v1/charges",
        {"created": {"gte": "2026-01-01"}},
        ['created.gte: "2026-01-01" is no Unix time in seconds; write 1767225600 for 2026-01-01 00:00:00 UTC'],
    ),
    ("GET /v1/charges", {"created": 5, "limit": 2.0}, ["limit: 2.0 is a number with a fraction or an exponent, but"]),
    # missing and nested
    ("POST /v1/payouts", {"amount": 5}, ["currency: missing; POST /v1/payouts needs it"]),
    (
        "POST /v1/prices",
        {"currency": "usd", "product_data": {}},
        ["product_data.name: missing; product_data needs it"],
    ),
    (
        "POST /v1/subscriptions",
        {"customer": "cus_1", "items": [{"price": "p"}, {"prise": "p", "quantity": "2"}]},
        [
            "items[1].prise: unknown parameter of items[1]; did you mean 'price'?",
            'items[1].quantity: "2" is text, but an integer is needed',
        ],
    ),
    # alternatives
    ("POST /v1/subscriptions", {"trial_end": "now"}, []),
    ("POST /v1/subscriptions", {"trial_end": 1790000000}, []),
    ("POST /v1/subscriptions", {"trial_end": "later"}, ['trial_end: "later" is not known; it takes now']),
    (
        "POST /v1/subscriptions",
        {"trial_end": 1.5},
        ["trial_end: 1.5 has a fraction or an exponent; write 1, Unix time in seconds"],
    ),
    ("POST /v1/subscriptions", {"trial_end": True}, ["trial_end: true is given, but text or an integer is needed"]),
    ("POST /v1/subscriptions/{subscription_exposed_id}", {"cancel_at": ""}, []),
    ("GET /v1/charges", {"created": {"gt": 1, "from": 2}}, ["created.from: unknown parameter of created; it takes "]),
    # decimals and numbers
    ("POST /v1/prices", {"currency": "usd", "unit_amount_decimal": "0.5"}, []),
    ("POST /v1/prices", {"currency": "usd", "unit_amount_decimal": 5}, []),
    (
        "POST /v1/prices",
        {"currency": "usd", "unit_amount_decimal": 0.5},
        [
            "unit_amount_decimal: 0.5 is a number with a fraction or an exponent, "
            'but a decimal number as text, such as "0.5" is needed'
        ],
    ),
    (
        "POST /v1/prices",
        {"currency": "usd", "unit_amount_decimal": "half"},
        ['unit_amount_decimal: "half" is text, but a decimal number as text, such as "0.5" is needed'],
    ),
    ("POST /v1/subscriptions", {"application_fee_percent": 2.5}, []),
    # nulls of API 2, and values of any kind
    ("POST /v2/core/accounts/{id}", {"identity": {"individual": {"given_name": "A"}}}, []),
    ("POST /v2/money_management/financial_accounts/{id}", {"metadata": {"a": None}}, []),
    ("POST /v1/files", {"file": "x", "purpose": "dispute_evidence"}, []),
    # secrets
    (
        "POST /v1/refunds",
        {"amount": "rk_live_4eC39HqLyjWDarjtT1zdp7dc"},
        ['amount: "rk_live_***" is text, but an integer is needed'],
    ),
]


@pytest.mark.parametrize(("name", "params", "faults"), CHECKS, ids=[f"{n} {p}"[:70] for n, p, _ in CHECKS])
def test_parameters_are_checked(name: str, params: dict[str, Any], faults: list[str]) -> None:
    """Unknown, wrong and missing parameters at every depth, one line each."""
    found = operation(name).check(params)
    assert len(found) == len(faults)
    for line, start in zip(found, faults, strict=True):
        assert line.startswith(start)
        assert len(line.splitlines()) == 1


# --- broken files -------------------------------------------------------------------------------


def test_an_index_that_cannot_be_used(tmp_path: Path) -> None:
    """A missing or broken file is named, with what to do."""
    with pytest.raises(ConfigurationError, match="reinstall the package"):
        Operations.load(tmp_path / "missing.json")
    file = tmp_path / "broken.json"
    file.write_text('{"operations": []}')
    with pytest.raises(ConfigurationError, match=r"broken\.json: .*remake it"):
        Operations.load(file)

"""Descriptors are what they say they are, and bad parameters get one plain line."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from spojit_stripe.catalog import Catalog, Tool, schemas_dir
from spojit_stripe.catalog.authored import fault_of_schema
from spojit_stripe.catalog.check import Checker, StrictValidator
from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.values import JsonObject

CATALOG = Catalog.load()
TOOLS = CATALOG.tools
NAMES = [
    "create-charge",
    "create-customer",
    "create-invoice",
    "create-payment-intent",
    "get-customer",
    "list-charges",
    "list-customers",
    "list-invoices",
    "list-payment-intents",
    "list-products",
    "list-subscriptions",
    "raw-api-request",
]
ROOT = Path(__file__).parents[1]
INDEX = json.loads((schemas_dir() / "stripe-operations.json").read_text(encoding="utf-8"))
by_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)


def document(tool: Tool) -> dict[str, Any]:
    return json.loads((schemas_dir() / f"{tool.name}.json").read_text(encoding="utf-8"))


def indexed(tool: Tool) -> dict[str, Any]:
    wanted = (tool.binding.method, tool.binding.path)
    return next(one for one in INDEX["operations"] if (one["m"], one["p"]) == wanted)


def walk(schema: Any) -> Any:
    """Every schema inside a schema, itself first."""
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from walk(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from walk(value)


# --- descriptors --------------------------------------------------------------------------------


def test_the_twelve_tools_are_there() -> None:
    """Their names are those of Stripe's connector in Spojit."""
    assert list(CATALOG.names) == NAMES
    assert [tool.name for tool in CATALOG] == NAMES
    assert len(CATALOG) == 12
    assert "list-charges" in CATALOG
    assert "list-refunds" not in CATALOG


@by_tool
def test_descriptor_fits_its_schema(tool: Tool) -> None:
    """Each file is what descriptor.schema.json describes."""
    schema = json.loads((schemas_dir() / "descriptor.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    faults = [error.message for error in Draft202012Validator(schema).iter_errors(document(tool))]
    assert faults == []


@by_tool
def test_schemas_are_valid_and_usable_for_models(tool: Tool) -> None:
    """Both schemas are JSON Schema 2020-12 without references, and without anyOf at the top."""
    for schema in (tool.input_schema, tool.output_schema):
        Draft202012Validator.check_schema(schema)
        assert not [inner for inner in walk(schema) if "$ref" in inner]
    assert tool.input_schema["type"] == tool.output_schema["type"] == "object"
    assert not {"anyOf", "oneOf", "allOf"} & tool.input_schema.keys()


@by_tool
def test_parameters_are_those_of_the_index(tool: Tool) -> None:
    """Every parameter of the API version is there, and none besides our declared filters."""
    if tool.binding.raw:
        return
    operation = indexed(tool)
    stripes = {param["n"] for param in operation["params"]} | set(operation.get("path", ()))
    ours = {name for name, one in tool.binding.filters.items() if one.by != "server"}
    assert set(tool.input_schema["properties"]) == stripes | ours
    assert not stripes & ours


def test_our_own_filters() -> None:
    """What Stripe's lists cannot filter is done here, and says how."""
    own = {
        (tool.name, name, one.by) for tool in TOOLS for name, one in tool.binding.filters.items() if one.by != "server"
    }
    assert own == {
        ("list-charges", "status", "client"),
        ("list-payment-intents", "status", "client"),
        ("list-customers", "metadata", "search"),
    }
    customers = CATALOG.tool("list-customers").binding
    assert customers.search_path == "/v1/customers/search"
    assert customers.filters["metadata"].combines == ("created", "email")
    assert CATALOG.tool("list-charges").binding.filters["status"].field == "status"
    assert CATALOG.tool("list-charges").binding.search_path is None


@by_tool
def test_filters_name_parameters_and_cover_the_list(tool: Tool) -> None:
    """Each parameter of a list is either a filter, or about paging and expanding."""
    properties = set(tool.input_schema["properties"])
    assert set(tool.binding.filters) <= properties
    assert set(tool.binding.author_only) <= properties
    if tool.is_list:
        assert properties - set(tool.binding.filters) == {"ending_before", "expand", "limit", "starting_after"}
    for one in tool.binding.filters.values():
        assert set(one.combines) <= properties


@by_tool
def test_lean_columns_are_fields_of_the_result(tool: Tool) -> None:
    """The table that people and models see has columns that exist."""
    if tool.binding.raw:
        return
    schema: Any = tool.output_schema
    if tool.is_list:
        schema = schema["properties"]["data"]["items"]
    fields = {name for one in schema.get("anyOf", [schema]) for name in one["properties"]}
    assert set(tool.binding.lean) <= fields


@by_tool
def test_every_parameter_is_explained_in_own_words(tool: Tool) -> None:
    """At every depth there is a text; amounts, times and ids say what they are."""

    def check(schema: dict[str, Any], where: str) -> None:
        for name, inner in schema.get("properties", {}).items():
            if inner is False:
                continue
            path = f"{where}.{name}"
            assert inner.get("description"), path
            for one in (inner, *inner.get("anyOf", ())):
                if one.get("type") == "integer" and (name == "amount" or name.endswith("_amount")):
                    assert one.get("format") == "minor-units", path
                if one.get("type") == "integer" and name.endswith(("_at", "_date")):
                    assert one.get("format") == "unix-time", path
                check(one, path)
                if "items" in one:
                    check(one["items"], path)

    check(tool.input_schema, tool.name)


@by_tool
def test_annotations_agree_with_the_method(tool: Tool) -> None:
    """A GET only reads; what makes something does not claim to."""
    reads = tool.binding.method == "GET"
    assert tool.annotations.read_only is reads
    assert tool.annotations.idempotent is reads
    assert tool.annotations.open_world is True


@by_tool
def test_lists_return_the_envelope(tool: Tool) -> None:
    """Whatever its size, a list has the same envelope."""
    if not tool.is_list:
        return
    envelope = ["data", "complete", "as_of", "next_cursor", "fetched", "scanned", "pages", "stopped_because"]
    assert tool.output_schema["required"] == envelope
    example = {
        "data": [],
        "complete": True,
        "as_of": 1790000000,
        "next_cursor": None,
        "fetched": 0,
        "scanned": 400,
        "pages": 4,
        "stopped_because": "end",
    }
    Draft202012Validator(tool.output_schema).validate(example)


def test_binding_of_a_path_parameter() -> None:
    """get-customer takes its id in the path."""
    tool = CATALOG.tool("get-customer")
    assert (tool.binding.method, tool.binding.path) == ("GET", "/v1/customers/{customer}")
    assert tool.path_params == ("customer",)
    assert not tool.is_list


def test_mcp_definition_hides_what_only_an_author_may_set() -> None:
    """A model or MCP client never sees author-only parameters."""
    tool = CATALOG.tool("raw-api-request")
    assert tool.binding.raw
    assert tool.binding.method is None
    assert tool.binding.author_only == {"api_version", "stripe_account", "unchecked"}
    definition = tool.to_mcp()
    assert set(definition["inputSchema"]["properties"]) == {"method", "path", "params"}
    assert set(definition) == {"name", "title", "description", "inputSchema", "outputSchema", "annotations"}
    assert definition["annotations"]["destructiveHint"] is True
    whole = CATALOG.tool("list-charges")
    assert whole.public_schema is whole.input_schema


@pytest.mark.checkout
def test_descriptors_agree_with_the_index() -> None:
    """`scripts/remake_descriptors.py` would change nothing."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "remake_descriptors.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "all descriptors agree with the index")


@pytest.mark.checkout
def test_a_new_api_version_keeps_what_people_wrote() -> None:
    """Texts and bounds stay, parameters come and go with the index, our own filters stay."""
    script = runpy.run_path(str(ROOT / "scripts" / "remake_descriptors.py"))
    old = document(CATALOG.tool("list-charges"))
    operation = {
        "m": "GET",
        "p": "/v1/charges",
        "params": [{"n": "limit", "t": "integer"}, {"n": "brand_new", "t": "string", "r": 1, "e": ["a"]}],
    }
    new = script["remade"](old, {"operations": [operation], "defs": {}})
    assert new["inputSchema"]["properties"] == {
        "brand_new": {"type": "string", "enum": ["a"]},
        "limit": old["inputSchema"]["properties"]["limit"],
        "status": old["inputSchema"]["properties"]["status"],
    }
    assert new["inputSchema"]["required"] == ["brand_new"]
    assert new["inputSchema"]["not"] == old["inputSchema"]["not"]
    assert {key: new[key] for key in old if key != "inputSchema"} == {
        key: old[key] for key in old if key != "inputSchema"
    }


def test_looking_at_tools_does_not_import_jsonschema() -> None:
    """Help and listings start fast."""
    code = (
        "import sys; from spojit_stripe.catalog import Catalog; len(Catalog.load().tools); "
        "print('jsonschema' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- bad parameters -----------------------------------------------------------------------------

PAY = {"amount": 1050, "currency": "usd"}
CUSTOMER = {"customer": "cus_1"}
ANY_CURRENCY = " (or as many decimals as your currency has)"

BAD = [
    # unknown parameters
    ("list-charges", {"custmer": "cus_1"}, "custmer: unknown parameter; did you mean 'customer'?"),
    ("list-charges", {"Customer": "cus_1"}, "Customer: unknown parameter; did you mean 'customer'?"),
    (
        "list-charges",
        {"zzz": 1},
        "zzz: unknown parameter; list-charges takes created, customer, ending_before, expand, limit, "
        "payment_intent, starting_after, status, transfer_group",
    ),
    ("create-invoice", {**CUSTOMER, "qq": 1}, "qq: unknown parameter; look up those of create-invoice"),
    ("create-charge", {"amounts": 5, "currency": "usd"}, "amounts: unknown parameter; did you mean 'amount'?"),
    (
        "create-payment-intent",
        {**PAY, "payment_method_types": ["card"]},
        "payment_method_types: unknown parameter; did you mean 'allowed_payment_method_types'?",
    ),
    (
        "create-charge",
        {**PAY, "shipping": {"name": "A", "adress": {}}},
        "shipping.adress: unknown parameter; did you mean 'address'?",
    ),
    (
        "create-invoice",
        {**CUSTOMER, "discounts": [{"coupon": "a"}, {"coupn": "b"}]},
        "discounts[1].coupn: unknown parameter; did you mean 'coupon'?",
    ),
    (
        "list-charges",
        {"created": {"since": 5}},
        "created.since: unknown parameter; created takes gt, gte, lt, lte",
    ),
    (
        "raw-api-request",
        {"method": "GET", "path": "/v1/charges", "unchecked": True},
        "unchecked: only the author of a workflow or call may set it, as an option beside the parameters",
    ),
    # missing ones
    ("create-charge", {}, "amount: missing; create-charge needs it"),
    ("create-charge", {"amount": 5}, "currency: missing; create-charge needs it"),
    ("get-customer", {}, "customer: missing; get-customer needs it"),
    ("create-charge", {**PAY, "shipping": {"address": {}}}, "shipping.name: missing; shipping needs it"),
    (
        "create-customer",
        {"tax_id_data": [{"type": "eu_vat"}]},
        "tax_id_data[0].value: missing; tax_id_data[0] needs it",
    ),
    ("create-invoice", {}, "create-invoice: needs one of customer, customer_account, from_invoice"),
    ("raw-api-request", {"path": "/v1/charges"}, "method: missing; raw-api-request needs it"),
    # wrong types
    ("list-charges", {"customer": 42}, 'customer: 42 is an integer, but text is needed; write "42" in quotes'),
    ("list-charges", {"limit": "10"}, 'limit: "10" is text, but an integer is needed; write 10 without quotes'),
    ("list-charges", {"limit": "ten"}, 'limit: "ten" is text, but an integer is needed'),
    (
        "list-charges",
        {"limit": 10.0},
        "limit: 10.0 is a number with a fraction or an exponent, but an integer is needed; write 10",
    ),
    (
        "list-charges",
        {"limit": 10.5},
        "limit: 10.5 is a number with a fraction or an exponent, but an integer is needed",
    ),
    ("list-charges", {"limit": True}, "limit: true is given, but an integer is needed"),
    ("list-charges", {"customer": True}, "customer: true is given, but text is needed"),
    ("list-charges", {"customer": None}, "customer: null is not allowed; leave it out or give a value"),
    ("list-charges", {"created": None}, "created: null is not allowed; leave it out or give a value"),
    ("list-charges", {"customer": ["cus_1"]}, "customer: a list is given, but text is needed"),
    (
        "list-charges",
        {"expand": "data.customer"},
        'expand: "data.customer" is text, but a list is needed; write a list with one entry',
    ),
    (
        "list-charges",
        {"created": [1]},
        "created: a list is given, but an object with named fields or an integer is needed",
    ),
    (
        "create-charge",
        {**PAY, "capture": "true"},
        'capture: "true" is text, but true or false is needed; write true without quotes',
    ),
    (
        "create-charge",
        {**PAY, "metadata": 5},
        "metadata: 5 is an integer, but an object with named fields or an empty text is needed",
    ),
    (
        "create-charge",
        {**PAY, "metadata": {"order": 7}},
        'metadata.order: 7 is an integer, but text is needed; write "7" in quotes',
    ),
    (
        "create-charge",
        {**PAY, "shipping": {"name": "A", "address": {"line1": 5}}},
        'shipping.address.line1: 5 is an integer, but text is needed; write "5" in quotes',
    ),
    (
        "raw-api-request",
        {"method": "GET", "path": "/v1/charges", "params": []},
        "params: a list is given, but an object with named fields is needed",
    ),
    # known values
    ("list-charges", {"status": "open"}, 'status: "open" is not known; it takes failed, pending, succeeded'),
    (
        "list-charges",
        {"status": "succeded"},
        "status: \"succeded\" is not known; did you mean 'succeeded'? It takes failed, pending, succeeded",
    ),
    ("list-charges", {"status": ""}, "status: is empty; it takes failed, pending, succeeded"),
    (
        "list-charges",
        {"status": 5},
        'status: 5 is an integer, but text is needed; write "5" in quotes',
    ),
    (
        "list-invoices",
        {"status": "voided"},
        "status: \"voided\" is not known; did you mean 'void'? It takes draft, open, paid, uncollectible, void",
    ),
    (
        "create-payment-intent",
        {**PAY, "off_session": "yes"},
        'off_session: "yes" is not known; it takes one_off, recurring, true, false',
    ),
    (
        "create-payment-intent",
        {**PAY, "payment_method_options": {"card": {"capture_method": "auto"}}},
        'payment_method_options.card.capture_method: "auto" is not known; it takes manual',
    ),
    (
        "raw-api-request",
        {"method": "get", "path": "/v1/charges"},
        "method: \"get\" is not known; did you mean 'GET'? It takes GET, POST, DELETE",
    ),
    # bounds and forms
    ("list-charges", {"limit": 0}, "limit: 0 is out of range; use 1 to 100"),
    ("list-charges", {"limit": 101}, "limit: 101 is out of range; use 1 to 100"),
    ("create-charge", {**PAY, "amount": 0}, "amount: 0 is out of range; use 1 to 99999999"),
    ("create-charge", {**PAY, "amount": -5}, "amount: -5 is out of range; use 1 to 99999999"),
    ("create-charge", {**PAY, "amount": 10**8}, "amount: 100000000 is out of range; use 1 to 99999999"),
    (
        "create-invoice",
        {**CUSTOMER, "days_until_due": -1},
        "days_until_due: -1 is out of range; use at least 0",
    ),
    ("get-customer", {"customer": ""}, "customer: is empty; give a value or leave it out"),
    ("list-charges", {"customer": ""}, "customer: is empty; give a value or leave it out"),
    ("list-charges", {"customer": "c" * 256}, "customer: has 256 characters; at most 255 are allowed"),
    (
        "get-customer",
        {"customer": "cus_1/sources"},
        'customer: "cus_1/sources" does not have the right form; write it like "cus_NffrFeUfNV2Hib"',
    ),
    (
        "get-customer",
        {"customer": "cus_1\n"},
        'customer: "cus_1\\n" does not have the right form; write it like "cus_NffrFeUfNV2Hib"',
    ),
    (
        "create-charge",
        {**PAY, "currency": "usd\n"},
        'currency: "usd\\n" does not have the right form; write it like "usd"',
    ),
    (
        "get-customer",
        {"customer": ".."},
        'customer: ".." does not have the right form; write it like "cus_NffrFeUfNV2Hib"',
    ),
    (
        "create-charge",
        {**PAY, "currency": "dollars"},
        'currency: "dollars" does not have the right form; write it like "usd"',
    ),
    (
        "list-charges",
        {"expand": ["customer"]},
        'expand[0]: "customer" does not have the right form; write it like "data.customer"',
    ),
    (
        "raw-api-request",
        {"method": "GET", "path": "https://evil.example/v1/charges"},
        'path: "https://evil.example/v1/charges" does not have the right form; write it like "/v1/refunds"',
    ),
    (
        "create-charge",
        {**PAY, "statement_descriptor": "x" * 23},
        "statement_descriptor: has 23 characters; at most 22 are allowed",
    ),
    (
        "create-charge",
        {**PAY, "metadata": {"a": "x" * 501}},
        "metadata.a: has 501 characters; at most 500 are allowed",
    ),
    (
        "create-charge",
        {**PAY, "metadata": {"k" * 41: "x"}},
        f'metadata: the name "{"k" * 41}" has 41 characters; at most 40 are allowed',
    ),
    ("create-charge", {**PAY, "metadata": {"a[b]": "x"}}, 'metadata: the name "a[b]" must not hold [ or ]'),
    ("create-charge", {**PAY, "metadata": {"": "x"}}, "metadata: an empty name is not allowed"),
    (
        "create-charge",
        {**PAY, "metadata": {str(number): "x" for number in range(51)}},
        "metadata: has 51 entries; no more than 50 are allowed",
    ),
    ("list-customers", {"metadata": {}}, "metadata: has no entries; at least 1 is needed"),
    ("list-charges", {"created": {}}, "created: has no entries; at least 1 is needed"),
    (
        "create-invoice",
        {**CUSTOMER, "custom_fields": [{"name": "a", "value": "b"}] * 5},
        "custom_fields: has 5 entries; no more than 4 are allowed",
    ),
    # not together
    (
        "list-charges",
        {"starting_after": "ch_1", "ending_before": "ch_2"},
        "starting_after and ending_before: not together; leave one out",
    ),
    (
        "list-customers",
        {"metadata": {"a": "b"}, "starting_after": "cus_1"},
        "metadata and starting_after: not together; leave one out",
    ),
    (
        "list-customers",
        {"metadata": {"a": "b"}, "test_clock": "clock_1"},
        "metadata and test_clock: not together; leave one out",
    ),
    (
        "list-products",
        {"ids": ["prod_1"], "ending_before": "prod_2"},
        "ids and ending_before: not together; leave one out",
    ),
    # amounts
    ("create-charge", {**PAY, "amount": 10.50}, "amount: 10.5 is not in minor units; write 1050 for 10.50 USD"),
    (
        "create-charge",
        {**PAY, "amount": "10.50"},
        'amount: "10.50" is not in minor units; write 1050 for 10.50 USD',
    ),
    (
        "create-charge",
        {**PAY, "amount": 1e3},
        "amount: 1000.0 has a fraction or an exponent; write 1000 for 10.00 USD, or 100000 for 1,000.00 USD",
    ),
    (
        "create-charge",
        {**PAY, "amount": "1e3"},
        'amount: "1e3" has a fraction or an exponent; write 1000 for 10.00 USD, or 100000 for 1,000.00 USD',
    ),
    (
        "create-charge",
        {**PAY, "amount": "1000"},
        'amount: "1000" is text; write 1000 without quotes for 10.00 USD',
    ),
    ("create-charge", {**PAY, "amount": "ten"}, 'amount: "ten" is text, but an integer is needed'),
    (
        "create-charge",
        {**PAY, "amount": float("nan")},
        "amount: NaN is a number with a fraction or an exponent, but an integer is needed",
    ),
    (
        "create-charge",
        {"amount": 10.5, "currency": "JPY"},
        "amount: 10.5 is not in minor units; JPY has no such fraction: write 10 for 10 JPY or 11 for 11 JPY",
    ),
    (
        "create-charge",
        {"amount": 1e3, "currency": "jpy"},
        "amount: 1000.0 has a fraction or an exponent; write 1000 for 1,000 JPY",
    ),
    (
        "create-charge",
        {"amount": "10.505", "currency": "kwd"},
        'amount: "10.505" is not in minor units; an amount in KWD must end in 0: write 10500 or 10510',
    ),
    (
        "create-charge",
        {**PAY, "amount": 10.505},
        "amount: 10.505 is not in minor units; "
        "USD has no such fraction: write 1050 for 10.50 USD or 1051 for 10.51 USD",
    ),
    (
        "create-charge",
        {"amount": 10.5},
        f"amount: 10.5 is not in minor units; write 1050 for 10.50 USD{ANY_CURRENCY}",
    ),
    (
        "create-customer",
        {"balance": -10.5},
        f"balance: -10.5 is not in minor units; write -1050 for -10.50 USD{ANY_CURRENCY}",
    ),
    (
        "create-payment-intent",
        {"amount": 5, "currency": "eur", "transfer_data": {"destination": "acct_1", "amount": "3.20"}},
        'transfer_data.amount: "3.20" is not in minor units; write 320 for 3.20 EUR',
    ),
    (
        "create-payment-intent",
        {
            "amount": 5,
            "currency": "eur",
            "amount_details": {
                "line_items": [{"product_name": "a", "quantity": 1, "unit_cost": 1.5}],
            },
        },
        "amount_details.line_items[0].unit_cost: 1.5 is not in minor units; write 150 for 1.50 EUR",
    ),
    (
        "create-payment-intent",
        {**PAY, "amount_details": {"discount_amount": "1.50"}},
        'amount_details.discount_amount: "1.50" is not in minor units; write 150 for 1.50 USD',
    ),
    # times
    (
        "list-charges",
        {"created": {"gte": "2026-01-01"}},
        'created.gte: "2026-01-01" is no Unix time in seconds; write 1767225600 for 2026-01-01 00:00:00 UTC',
    ),
    (
        "list-charges",
        {"created": "2026-01-01T10:00:00+02:00"},
        'created: "2026-01-01T10:00:00+02:00" is no Unix time in seconds; write 1767254400 for 2026-01-01 08:00:00 UTC',
    ),
    (
        "list-charges",
        {"created": 1767225600000},
        "created: 1767225600000 looks like milliseconds; write 1767225600, Unix time in seconds",
    ),
    (
        "list-charges",
        {"created": {"lt": 1767225600.5}},
        "created.lt: 1767225600.5 has a fraction or an exponent; write 1767225600, Unix time in seconds",
    ),
    (
        "list-charges",
        {"created": {"lt": "1767225600"}},
        'created.lt: "1767225600" is text; write 1767225600 without quotes',
    ),
    ("list-charges", {"created": {"lt": -1}}, "created.lt: -1 is out of range; use 0 to 99999999999"),
    ("list-charges", {"created": {"lt": "soon"}}, 'created.lt: "soon" is text, but an integer is needed'),
    (
        "list-charges",
        {"created": "soon"},
        'created: "soon" is text, but an object with named fields or an integer is needed',
    ),
    # what must not be repeated
    (
        "create-charge",
        {**PAY, "amount": "sk_test_4eC39HqLyjWDarjtT1zdp7dc"},
        'amount: "sk_test_***" is text, but an integer is needed',
    ),
    (
        "list-charges",
        {"limit": "whsec_abcdefgh12345678"},
        'limit: "whsec_***" is text, but an integer is needed',
    ),
    (
        "create-payment-intent",
        {**PAY, "payment_method_data": {"type": "us_bank_account", "us_bank_account": {"account_number": 12345}}},
        'payment_method_data.us_bank_account.account_number: "***" is an integer, but text is needed',
    ),
    (
        "list-charges",
        {"limit": "x" * 300},
        f'limit: "{"x" * 60}…" is text, but an integer is needed',
    ),
    ("list-charges", {"limit": "\x1b[31mred\u202e"}, 'limit: "\\u001b[31mred�" is text, but an integer is needed'),
]


@pytest.mark.parametrize(("name", "params", "line"), BAD, ids=[f"{n}-{line[:50]}" for n, _, line in BAD])
def test_bad_parameters_get_one_line(name: str, params: dict[str, Any], line: str) -> None:
    """The first fault is the message: where, what, and what to do."""
    with pytest.raises(InputError) as caught:
        CATALOG.tool(name).check(params, author=False)
    assert caught.value.message == line
    assert caught.value.faults[0] == line
    assert "\n" not in line


def test_all_faults_are_carried() -> None:
    """Unknown names first, then wrong values, then what is missing."""
    with pytest.raises(InputError) as caught:
        CATALOG.tool("create-charge").check({"amuont": 5, "currency": "dollars", "capture": 1})
    assert caught.value.faults == (
        "amuont: unknown parameter; did you mean 'amount'?",
        "capture: 1 is an integer, but true or false is needed",
        'currency: "dollars" does not have the right form; write it like "usd"',
        "amount: missing; create-charge needs it",
    )


GOOD = [
    ("list-charges", {}),
    ("list-charges", {"created": 1767225600, "limit": 100, "status": "failed", "expand": ["data.customer"]}),
    ("list-charges", {"created": {"gte": 1767225600, "lt": 1767312000}, "starting_after": "ch_1"}),
    ("list-customers", {"metadata": {"order": "6735"}, "email": "a@example.com", "created": {"gte": 1}}),
    ("list-subscriptions", {"status": "ended", "automatic_tax": {"enabled": True}}),
    ("get-customer", {"customer": "cus_1", "expand": ["tax_ids"]}),
    ("create-customer", {}),
    ("create-customer", {"metadata": "", "tax_exempt": "", "address": "", "balance": -500}),
    ("create-customer", {"tax_id_data": [{"type": "xx_new_kind", "value": "1"}]}),
    ("create-charge", {**PAY, "source": "tok_visa", "metadata": {"a": ""}}),
    ("create-invoice", {"from_invoice": {"action": "revision", "invoice": "in_1"}}),
    ("create-invoice", {**CUSTOMER, "rendering": {"template_version": ""}, "discounts": ""}),
    ("create-payment-intent", {**PAY, "off_session": "recurring", "confirm": True}),
    ("create-payment-intent", {**PAY, "off_session": True, "allowed_payment_method_types": ["new_wallet"]}),
    ("raw-api-request", {"method": "POST", "path": "/v1/refunds", "params": {"charge": "ch_1"}}),
]


@pytest.mark.parametrize(("name", "params"), GOOD)
def test_good_parameters_pass_unchanged(name: str, params: dict[str, Any]) -> None:
    """Nothing is converted, dropped or added."""
    checked = CATALOG.tool(name).check(params)
    assert checked == params
    assert checked is not params


OTHER = [
    # keywords that another connector's descriptor may use
    ({"n": {"type": "integer", "multipleOf": 5}}, {"n": 7}, "n: 7 is not allowed here"),
    ({"n": {"const": "a"}}, {"n": "b"}, 'n: "b" is not allowed; only "a" is'),
    ({"n": {"type": "string", "minLength": 3}}, {"n": "ab"}, 'n: "ab" is too short; at least 3 characters'),
    (
        {"n": {"type": "string", "minLength": 1, "pattern": "^a"}},
        {"n": ""},
        "n: is empty; give a value or leave it out",
    ),
    ({"n": {"type": "string", "pattern": "^a"}}, {"n": ""}, 'n: "" does not have the right form'),
    ({"n": {"type": "number", "maximum": 2}}, {"n": 2.5}, "n: 2.5 is out of range; use at most 2"),
    (
        {"n": {"type": ["string", "null"]}},
        {"n": 5},
        'n: 5 is an integer, but text or null is needed; write "5" in quotes',
    ),
    ({"n": {"enum": [1, "a"]}}, {"n": []}, "n: a list is given; it takes a"),
    (
        {"n": {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "integer"}]}},
        {"n": "b"},
        'n: "b" is not known; it takes a',
    ),
    (
        {"n": {"type": "array", "items": {"properties": {"amount": {"type": "integer", "format": "minor-units"}}}}},
        {"n": [{"currency": "nonsense", "amount": 1.5}], "currency": "jpy"},
        "n[0].amount: 1.5 is not in minor units; JPY has no such fraction: write 1 for 1 JPY or 2 for 2 JPY",
    ),
]


@pytest.mark.parametrize(("properties", "params", "line"), OTHER, ids=[line for _, _, line in OTHER])
def test_keywords_of_other_connectors(properties: dict[str, Any], params: dict[str, Any], line: str) -> None:
    """The check knows no connector: any schema gets a plain line."""
    assert Checker("do-it", {"type": "object", "properties": properties}).faults(params) == (line,)


def test_any_other_exclusion() -> None:
    """A `not` of unknown form is still a fault with a line."""
    schema: Any = {"type": "object", "not": {"minProperties": 2}}
    assert Checker("do-it", schema).faults({"a": 1, "b": 2}) == ("do-it: these parameters do not go together",)


def test_an_author_may_set_more() -> None:
    """Author-only options pass when the author sets them."""
    params = {"method": "GET", "path": "/v1/x", "unchecked": True, "stripe_account": "acct_1"}
    assert CATALOG.tool("raw-api-request").check(params, author=True) == params


# --- random parameters --------------------------------------------------------------------------


def values_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that are often right and sometimes not."""
    if "anyOf" in schema:
        return st.one_of([values_of(branch) for branch in schema["anyOf"]])
    if "const" in schema:
        return st.just(schema["const"])
    wrong = st.sampled_from([None, True, 5, -1, 2.0, 10.5, 1e3, "", "10.50", "x", [], {}, [1], {"a": 1}])
    if "enum" in schema:
        return st.one_of(st.sampled_from(schema["enum"]), wrong)
    kind = schema.get("type")
    if kind == "object":
        inner = schema.get("properties", {})
        if not inner:
            return st.one_of(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3), wrong)
        few = st.lists(st.sampled_from(sorted(inner)), unique=True, max_size=4)
        return st.one_of(
            few.flatmap(lambda names: st.fixed_dictionaries({name: values_of(inner[name]) for name in names})), wrong
        )
    if kind == "array":
        return st.one_of(st.lists(values_of(schema["items"]), max_size=2), wrong)
    basic: dict[Any, st.SearchStrategy[Any]] = {
        "string": st.text(max_size=6),
        "integer": st.integers(-5, 10**12),
        "boolean": st.booleans(),
    }
    return st.one_of(basic.get(kind, st.nothing()), wrong)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_check_agrees_with_json_schema(data: st.DataObject) -> None:
    """What passes and what fails is exactly what the schema says; a fault is one clean line."""
    tool = data.draw(st.sampled_from(TOOLS))
    params = data.draw(values_of({**tool.public_schema, "type": "object"}).filter(lambda one: isinstance(one, dict)))
    faults = tool.faults(params)
    assert bool(faults) is not StrictValidator(tool.public_schema).is_valid(params)
    for line in faults:
        assert line
        assert len(line.splitlines()) == 1
        assert ": " in line


# --- catalog ------------------------------------------------------------------------------------


def test_unknown_tool_names_the_nearest() -> None:
    """The message has the nearest tool and the list."""
    with pytest.raises(InputError) as caught:
        CATALOG.tool("list_charge")
    assert caught.value.message == (
        f"unknown tool 'list_charge'; did you mean 'list-charges'? The tools are {', '.join(NAMES)}"
    )
    with pytest.raises(InputError) as caught:
        CATALOG.tool("frobnicate\nnow")
    assert caught.value.message == f"unknown tool 'frobnicate now'; the tools are {', '.join(NAMES)}"


def test_schemas_are_found_in_a_checkout_and_in_an_installed_package(tmp_path: Path) -> None:
    """Inside the package when installed, beside it in a checkout."""
    package = tmp_path / "spojit_stripe"
    package.mkdir()
    with pytest.raises(ConfigurationError, match="reinstall the package"):
        schemas_dir(package)
    for folder in (tmp_path / "schemas", package / "schemas"):
        folder.mkdir()
        (folder / "descriptor.schema.json").write_text("{}")
        assert schemas_dir(package) == folder


@pytest.mark.checkout
def test_a_checkout_uses_its_own_schemas() -> None:
    """Not those of another installation."""
    assert schemas_dir() == ROOT / "schemas"


def test_a_tool_is_read_once() -> None:
    """The same object every time, so that its checker is compiled once."""
    assert CATALOG.tool("list-charges") is CATALOG.tool("list-charges")


def good_descriptor() -> dict[str, Any]:
    return {
        "name": "do-it",
        "title": "Do it",
        "description": "Does it.",
        "inputSchema": {"type": "object", "properties": {}},
        "outputSchema": {"type": "object"},
        "annotations": {
            "readOnlyHint": True,
            "destructiveHint": False,
            "idempotentHint": True,
            "openWorldHint": False,
        },
        "binding": {"request": {"method": "GET", "path": "/v1/its"}, "lean": ["id"]},
    }


BROKEN = [
    ({"name": "other"}, "its name is 'other', not 'do-it'"),
    ({"title": ""}, "title is no text"),
    ({"inputSchema": None}, "inputSchema is no object"),
    ({"inputSchema": {"type": "object"}}, "inputSchema.properties is no object"),
    ({"outputSchema": []}, "outputSchema is no object"),
    ({"annotations": {}}, "annotations.readOnlyHint is neither true nor false"),
    ({"binding": {"request": "cooked"}}, "binding.request is no object"),
    (
        {"binding": {"request": {"method": "PUT", "path": "/v1/x"}}},
        "binding.request.method is 'PUT', not GET, POST or DELETE",
    ),
    ({"binding": {"request": {"method": "GET"}}}, "path is no text"),
    ({"binding": {"request": "raw", "list": {"style": "page"}}}, "binding.list.style is 'page', not 'cursor'"),
    ({"binding": {"request": "raw", "lean": "id"}}, "binding.lean is no list of texts"),
    (
        {"binding": {"request": "raw", "filters": {"a": {"by": "magic"}}}},
        "binding.filters.a.by is 'magic', not server, client or search",
    ),
    ({"binding": {"request": "raw", "filters": {"a": {"by": "search"}}}}, "path is no text"),
]


@pytest.mark.parametrize(("change", "reason"), BROKEN)
def test_a_broken_descriptor_is_named(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    """File and reason, and what to do."""
    file = tmp_path / "do-it.json"
    file.write_text(json.dumps({**good_descriptor(), **change}))
    with pytest.raises(ConfigurationError) as caught:
        Catalog.load(tmp_path).tool("do-it")
    assert caught.value.message == f"{file}: {reason}; restore it or reinstall the package"


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', "\ufeff", "{}"])
def test_a_file_that_is_no_descriptor(tmp_path: Path, text: str) -> None:
    """Whatever stands in the file, the answer names it."""
    file = tmp_path / "do-it.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"do-it\.json: "):
        Catalog.load(tmp_path).tool("do-it")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder or odd bytes in place of a descriptor."""
    (tmp_path / "do-it.json").mkdir()
    (tmp_path / "do-more.json").write_bytes(b"\xff\xfe")
    catalog = Catalog.load(tmp_path)
    for name in catalog.names:
        with pytest.raises(ConfigurationError, match="cannot be read"):
            catalog.tool(name)


def test_folders_without_descriptors(tmp_path: Path) -> None:
    """Neither a missing nor an empty folder is a catalog; other files are no tools."""
    (tmp_path / "stripe-operations.json").write_text("{}")
    (tmp_path / "workflow.schema.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ConfigurationError, match="holds no tool descriptor"):
        Catalog.load(tmp_path)
    with pytest.raises(ConfigurationError, match="name a folder of descriptors"):
        Catalog.load(tmp_path / "missing")


def test_a_minimal_descriptor(tmp_path: Path) -> None:
    """Another connector's tool needs no list and no filters."""
    (tmp_path / "do-it.json").write_text(json.dumps(good_descriptor()))
    tool = Catalog.load(tmp_path).tool("do-it")
    assert not tool.is_list
    assert tool.binding.filters == {}
    assert tool.check({}) == {}
    with pytest.raises(AttributeError):
        tool.name = "other"  # type: ignore[misc]


def _nested(depth: int) -> JsonObject:
    schema: JsonObject = {"type": "object"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    ("schema", "place", "told"),
    [
        ({"type": "objct"}, (), "is no JSON Schema: type: "),
        ({"properties": {}}, (), "does not say type: object"),
        (
            {"type": "object", "allOf": [{"$ref": "https://example.com/x"}]},
            ("allOf", 0, "$ref"),
            'allOf[0].$ref refers to "https://example.com/x"; only #/$defs/… is followed',
        ),
        (
            {"type": "object", "properties": {"a": {"$ref": "#/type"}}},
            ("properties", "a", "$ref"),
            'properties.a.$ref refers to "#/type", which is no schema',
        ),
        (
            {"type": "object", "properties": {"a": {"pattern": "("}}},
            ("properties", "a", "pattern"),
            'properties.a.pattern: "(" is no regular expression',
        ),
        (_nested(2_000), (), "is nested too deeply"),
    ],
)
def test_a_schema_of_an_author_is_followed_before_it_is_used(
    schema: JsonObject, place: tuple[str | int, ...], told: str
) -> None:
    found = fault_of_schema(schema)
    assert found is not None
    assert found[0] == place
    assert found[1].startswith(told)


def test_a_sound_schema_of_an_author_has_no_fault() -> None:
    tree: JsonObject = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
    assert fault_of_schema(tree) is None
    assert fault_of_schema({"type": "object", "$defs": {"a": {}}, "properties": {"b": {"$ref": "#/$defs/a"}}}) is None

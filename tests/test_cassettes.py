"""One recorded call per tool, played through the real wire; the live request is held against what it must be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx2
import pytest
import vcr
from vcr.errors import CannotOverwriteExistingCassetteException

from spojit_stripe.connection import Connection
from spojit_stripe.testing import FakeClock, Workbench
from spojit_stripe.values import Done, Outcome, Paging, Secret, ToolCall
from spojit_stripe.wire.client import StripeWire
from spojit_stripe.wire.connector import StripeConnector

CASSETTES = Path(__file__).parents[1] / "cassettes"
CALLS: dict[str, dict[str, Any]] = json.loads((CASSETTES / "calls.json").read_text(encoding="utf-8"))
KEY = "sk_test_played_from_tape"
PLAYER = vcr.VCR(record_mode=vcr.mode.NONE, match_on=["method", "path", "query", "body"])
Pairs = list[tuple[str, str]]


class Spy(httpx2.AsyncBaseTransport):
    """Sees the live request on its way to the transport that vcrpy replaces."""

    def __init__(self, seen: list[httpx2.Request]) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self._seen = seen

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        self._seen.append(request)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Spied(StripeConnector):
    def __init__(self) -> None:
        self.seen: list[httpx2.Request] = []

    def open(self, connection: Connection, secret: Secret) -> StripeWire:
        return StripeWire(connection, secret, transport=Spy(self.seen))


@contextmanager
def playing(tool: str) -> Iterator[vcr.cassette.Cassette]:
    with PLAYER.use_cassette(str(CASSETTES / f"{tool}.yaml"), allow_playback_repeats=False) as cassette:
        yield cassette


def play(tool: str, folder: Path, **change: Any) -> tuple[Outcome, list[httpx2.Request]]:
    connector = Spied()
    call = CALLS[tool]
    made = ToolCall(tool=tool, params={**call["params"], **change}, paging=Paging(**call.get("paging", {})))
    with Workbench(folder, connector, clock=FakeClock(), secret=KEY) as bench:
        # No server answers there: what is not on the tape fails.
        return bench.run(made, at=f"cassette-{tool}", base_url="http://127.0.0.1:12111"), connector.seen


def pairs(request: httpx2.Request) -> Pairs:
    text = request.content.decode() if request.method == "POST" else request.url.query.decode()
    return parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))


def of(tool: str, name: str) -> Any:
    return CALLS[tool]["params"][name]


REFUND = CALLS["raw-api-request"]["params"]["params"]
FAILED = of("list-charges", "created")
# What each call must send: method, path and decoded pairs, the stamp of a write left out.
EXPECTED: dict[str, list[tuple[str, str, Pairs]]] = {
    "create-charge": [
        (
            "POST",
            "/v1/charges",
            [
                ("amount", "1050"),
                ("currency", "usd"),
                ("description", "Order 6735"),
                ("metadata[order_id]", "6735"),
                ("source", "tok_visa"),
            ],
        )
    ],
    "create-customer": [
        (
            "POST",
            "/v1/customers",
            [
                ("address[city]", "Łódź"),
                ("address[country]", "PL"),
                ("email", "zoe+test@example.com"),
                ("name", "Zoë O'Neil & Söhne"),
                ("preferred_locales[0]", "pl"),
                ("preferred_locales[1]", "en"),
            ],
        )
    ],
    "create-invoice": [
        (
            "POST",
            "/v1/invoices",
            [
                ("auto_advance", "false"),
                ("collection_method", "send_invoice"),
                ("customer", of("create-invoice", "customer")),
                ("days_until_due", "30"),
            ],
        )
    ],
    "create-payment-intent": [
        (
            "POST",
            "/v1/payment_intents",
            [
                ("amount", "2000"),
                ("automatic_payment_methods[allow_redirects]", "never"),
                ("automatic_payment_methods[enabled]", "true"),
                ("confirm", "true"),
                ("currency", "eur"),
                ("payment_method", "pm_card_visa"),
            ],
        )
    ],
    "get-customer": [("GET", f"/v1/customers/{of('get-customer', 'customer')}", [])],
    "list-charges": [
        (
            "GET",
            "/v1/charges",
            [("created[gte]", str(FAILED["gte"])), ("created[lte]", str(FAILED["lte"])), ("limit", "100")],
        )
    ],
    "list-customers": [
        ("GET", "/v1/customers", [("created[lte]", "1790000000"), ("limit", "4")]),
        ("GET", "/v1/customers", [("created[lt]", "1789999998"), ("limit", "4"), ("starting_after", "…")]),
    ],
    "list-invoices": [("GET", "/v1/invoices", [("limit", "10"), ("status", "paid")])],
    "list-payment-intents": [("GET", "/v1/payment_intents", [("expand[0]", "data.customer"), ("limit", "2")])],
    "list-products": [
        (
            "GET",
            "/v1/products",
            [("active", "true"), *[(f"ids[{n}]", of("list-products", "ids")[n]) for n in (0, 1)], ("limit", "10")],
        )
    ],
    "list-subscriptions": [("GET", "/v1/subscriptions", [("limit", "1"), ("status", "all")])],
    "raw-api-request": [
        ("GET", f"/v1/charges/{REFUND['charge']}", []),
        ("POST", "/v1/refunds", [("amount", "1"), ("charge", REFUND["charge"])]),
    ],
}


def asked(request: httpx2.Request) -> tuple[str, str, Pairs]:
    found = sorted(pair for pair in pairs(request) if pair[0] != "metadata[spojit_key]")
    return request.method, request.url.path, [(n, "…" if n == "starting_after" else v) for n, v in found]


def test_there_is_one_cassette_per_tool() -> None:
    assert sorted(file.stem for file in CASSETTES.glob("*.yaml")) == sorted(StripeConnector().catalog.names)
    assert sorted(CALLS) == sorted(EXPECTED) == sorted(StripeConnector().catalog.names)


@pytest.mark.parametrize("tool", sorted(EXPECTED))
def test_a_tool_sends_what_it_must_and_reads_the_answer(tool: str, tmp_path: Path) -> None:
    with playing(tool) as cassette:
        outcome, seen = play(tool, tmp_path)
        assert cassette.all_played
    assert isinstance(outcome, Done), outcome
    assert [asked(request) for request in seen] == EXPECTED[tool]
    for request in seen:
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        assert request.headers["Stripe-Version"] == "2026-10-28.endive"
        assert ("Idempotency-Key" in request.headers) == (request.method == "POST")
        if request.method == "POST":
            assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
            assert request.headers["Idempotency-Key"] == outcome.meta.idempotency_key
            stamps = [value for name, value in pairs(request) if name == "metadata[spojit_key]"]
            assert stamps == [outcome.meta.idempotency_key]
    assert outcome.meta.api_version == "2026-10-28.endive"
    assert outcome.meta.attempts == len([request for request in seen if request.method == seen[-1].method])
    assert outcome.meta.request_ids


def value_of(tool: str, folder: Path) -> Any:
    with playing(tool):
        outcome, _ = play(tool, folder)
    assert isinstance(outcome, Done), outcome
    return outcome.value


def test_a_charge_comes_back_as_stripes_object(tmp_path: Path) -> None:
    value = value_of("create-charge", tmp_path)
    assert value["object"] == "charge"
    assert (value["amount"], value["currency"], value["status"], value["paid"]) == (1050, "usd", "succeeded", True)
    assert value["metadata"]["order_id"] == "6735"


def test_text_of_any_script_comes_back_whole(tmp_path: Path) -> None:
    value = value_of("create-customer", tmp_path)
    assert (value["name"], value["address"]["city"]) == ("Zoë O'Neil & Söhne", "Łódź")


def test_a_confirmed_intent_has_taken_the_money(tmp_path: Path) -> None:
    value = value_of("create-payment-intent", tmp_path)
    assert (value["object"], value["status"], value["amount_received"]) == ("payment_intent", "succeeded", 2000)


def test_a_filter_that_stripe_lacks_is_applied_here(tmp_path: Path) -> None:
    value = value_of("list-charges", tmp_path)
    assert {charge["status"] for charge in value["data"]} == {"failed"}
    assert value["scanned"] > value["fetched"] == len(value["data"]) > 0


def test_all_pages_are_read_as_one_list(tmp_path: Path) -> None:
    value = value_of("list-customers", tmp_path)
    assert (value["complete"], value["pages"], value["fetched"]) == (True, 2, 6)
    assert len({customer["id"] for customer in value["data"]}) == 6


def test_a_list_that_was_cut_says_so(tmp_path: Path) -> None:
    value = value_of("list-subscriptions", tmp_path)
    assert (value["complete"], value["stopped_because"], len(value["data"])) == (False, "max_items", 1)
    assert value["next_cursor"] == value["data"][0]["id"]


def test_an_expanded_object_is_whole(tmp_path: Path) -> None:
    value = value_of("list-payment-intents", tmp_path)
    assert [intent["customer"]["object"] for intent in value["data"]] == ["customer", "customer"]


def test_a_refund_is_of_its_charge(tmp_path: Path) -> None:
    value = value_of("raw-api-request", tmp_path)
    assert (value["object"], value["amount"], value["charge"]) == ("refund", 1, REFUND["charge"])


@pytest.mark.parametrize(
    ("tool", "change"),
    [
        ("create-charge", {"amount": 1051}),
        ("create-charge", {"currency": "eur"}),
        ("create-customer", {"email": "zoe@example.com"}),
        ("get-customer", {"customer": "cus_other"}),
        ("list-invoices", {"status": "open"}),
    ],
)
def test_a_request_that_is_not_on_the_tape_fails(tool: str, change: dict[str, Any], tmp_path: Path) -> None:
    with playing(tool), pytest.raises(CannotOverwriteExistingCassetteException):
        play(tool, tmp_path, **change)


def test_a_tape_is_played_once(tmp_path: Path) -> None:
    with playing("get-customer"):
        play("get-customer", tmp_path / "a")
        with pytest.raises(CannotOverwriteExistingCassetteException):
            play("get-customer", tmp_path / "b")

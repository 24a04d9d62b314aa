"""The seeded business: believable, the same each time, of the handlers' shapes, and its books tie out."""

import importlib.util
import json
import sqlite3
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import stripe

from spojit_stripe.sandbox import SandboxError, sandbox
from spojit_stripe.sandbox.app import App
from spojit_stripe.sandbox.clock import Clock
from spojit_stripe.sandbox.context import Settings
from spojit_stripe.sandbox.seed import Seed

NOW = 1_795_000_000
DAY = 86_400
CURRENCIES = {"usd", "eur", "gbp", "jpy", "kwd"}
KIND_NAMES = (
    "balance_transaction card charge customer dispute event invoice invoice_payment invoiceitem payment_intent "
    "payment_method payout price product refund subscription"
)
KINDS = KIND_NAMES.split()


def shape_check():
    """The check of objects against the official package's types, from its own tests."""
    spec = importlib.util.spec_from_file_location("shapes_check", Path(__file__).with_name("test_shapes.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.checked


@pytest.fixture(scope="module")
def seeded():
    with sandbox(seed=120, now=NOW) as box:
        yield box
        assert box.crashes() == []


def every(api, **params):
    return list(api.list({"limit": 100, **params}).auto_paging_iter())


def test_variety(seeded) -> None:
    """Customers in five currencies, charges that fail, refunds, disputes, subscriptions in several states."""
    assert seeded.count("customer") == 120
    customers, charges = seeded.objects("customer"), seeded.objects("charge")
    assert len({each["address"]["country"] for each in customers}) >= 5
    assert {each["currency"] for each in charges} == CURRENCIES
    assert {each["status"] for each in charges} == {"succeeded", "failed"}
    assert {each["failure_code"] for each in charges} == {None, "card_declined"}
    assert {each["payment_method_details"]["card"]["brand"] for each in charges} >= {"visa", "mastercard", "amex"}
    assert any(each["disputed"] for each in charges)
    assert {each["refunded"] for each in charges if each["amount_refunded"]} == {True, False}
    assert all(each["amount"] % 10 == 0 for each in charges if each["currency"] == "kwd" and each["metadata"])
    assert {each["status"] for each in seeded.objects("dispute")} >= {"won", "lost"}
    assert {each["status"] for each in seeded.objects("subscription")} >= {"active", "trialing", "canceled"}
    assert {each["status"] for each in seeded.objects("invoice")} >= {"draft", "open", "paid", "void"}
    assert {each["status"] for each in seeded.objects("payout")} == {"pending", "paid"}
    reasons = {each["billing_reason"] for each in seeded.objects("invoice")}
    assert reasons >= {"manual", "subscription_create", "subscription_cycle"}
    assert any(line["amount"] < 0 for each in seeded.objects("invoice") for line in each["lines"]["data"])  # upgrades
    assert len({each["invoice_prefix"] for each in customers}) == 120


def test_times(seeded) -> None:
    """All is within ninety days, events within thirty, and nothing is ahead of the clock."""
    for kind in ("customer", "charge", "payment_intent", "refund", "invoice", "subscription", "dispute"):
        assert all(NOW - 90 * DAY <= each["created"] <= NOW for each in seeded.objects(kind)), kind
    old = {"product.created", "price.created"}
    events = [each for each in seeded.objects("event") if each["type"] not in old]
    assert all(NOW - 30 * DAY <= each["created"] <= NOW for each in events)
    assert len({each["created"] % DAY for each in seeded.objects("charge")}) > 500
    days = Counter(each["created"] // DAY for each in seeded.objects("charge"))
    assert len(days) > 70


def test_order_numbers(seeded) -> None:
    """Each order has a number of its own, on the payment and what follows from it, to reconcile by."""
    charges = {each["id"]: each for each in seeded.objects("charge")}
    orders = defaultdict(list)
    for each in charges.values():
        if "order_id" in each["metadata"]:
            orders[each["metadata"]["order_id"]].append(each)
            assert each["description"] == f"Order {each['metadata']['order_id']}"
    assert len(orders) > 500
    paid = [[each for each in found if each["paid"]] for found in orders.values()]
    assert max(len(found) for found in paid) == 1
    for refund in seeded.objects("refund"):
        assert refund["metadata"]["order_id"] == charges[refund["charge"]]["metadata"]["order_id"]
    kinds = {frozenset(each["metadata"]) for found in orders.values() for each in found}
    assert kinds == {
        frozenset({"order_id", "site_url", "email"}),
        frozenset({"order_id", "order_number", "shop_name", "email"}),
    }


def test_same_each_time(seeded) -> None:
    """Equal seeds give equal objects, down to ids; another time only moves the times."""
    with sandbox(seed=120, now=NOW) as other:
        for kind in ("customer", "charge", "subscription", "refund", "event", "payout"):
            assert other.objects(kind) == seeded.objects(kind)
    with sandbox(seed=120, now=NOW + DAY) as later:
        assert [each["id"] for each in later.objects("customer")] == [each["id"] for each in seeded.objects("customer")]


def test_shapes(seeded) -> None:
    """Every object has the shape that the official package's types ask for."""
    checked = shape_check()
    for kind in KINDS:
        found = seeded.objects(kind)
        assert found, kind
        for body in found if len(found) < 400 else found[:: len(found) // 300]:
            assert checked(body) == [], body["id"]


def test_nothing_is_left_open(seeded) -> None:
    """No placeholder stays; every id inside an object names an object; ids are unique."""
    for kind in KINDS:
        found = seeded.objects(kind)
        text = json.dumps(found)
        assert "@@" not in text, kind
        assert "7654320" not in text, kind
        assert len({each["id"] for each in found}) == len(found)
    known = {each["id"] for kind in KINDS for each in seeded.objects(kind)}
    names = "customer charge payment_intent payment_method balance_transaction latest_charge latest_invoice"
    links = names.split()
    for kind in set(KINDS) - {"event"}:
        for body in seeded.objects(kind):
            for name in links:
                assert body.get(name) is None or body[name] in known, (kind, name)


def test_made_as_by_calls(seeded) -> None:
    """A seeded charge and payment have the fields, types and nulls of one that a call makes."""

    def outline(value):
        if isinstance(value, dict):
            return {name: outline(each) for name, each in value.items() if name != "metadata"}
        return type(value).__name__

    with sandbox(now=NOW) as box:
        api = stripe.StripeClient(box.secret_key, base_addresses={"api": box.url}).v1
        customer = api.customers.create({"email": "a@example.com", "source": "tok_visa"})
        method = api.payment_methods.attach("pm_card_visa", {"customer": customer.id})
        order = {"amount": 1900, "currency": "eur", "customer": customer.id, "description": "Order 1"}
        api.payment_intents.create({**order, "payment_method": method.id, "confirm": True, "off_session": True})
        box.advance(3 * DAY)
        charge, intent = box.objects("charge")[0], box.objects("payment_intent")[0]
        moved = box.objects("balance_transaction")[0]
    seeds = {each["id"]: each for each in seeded.objects("charge")}
    alike = next(
        each
        for each in seeds.values()
        if each["paid"] and each["payment_intent"] and each["metadata"] and not each["amount_refunded"]
    )
    assert list(alike) == list(charge)
    address = {"billing_details": None}
    assert outline({**alike, **address}) == outline({**charge, **address})
    assert outline(seeded.object(alike["payment_intent"])) == outline(intent)
    assert outline(seeded.object(alike["balance_transaction"])) == outline(moved)


# Books


def test_refunds_and_sources(seeded) -> None:
    """Refunds are within their charges; every balance transaction has its source; fees are as assumed."""
    refunds = Counter()
    for refund in seeded.objects("refund"):
        refunds[refund["charge"]] += refund["amount"]
    moved = {each["id"]: each for each in seeded.objects("balance_transaction")}
    fixed = {"usd": 30, "eur": 25, "gbp": 20, "jpy": 0, "kwd": 100}
    for charge in seeded.objects("charge"):
        assert charge["amount_refunded"] == refunds[charge["id"]] <= charge["amount"]
        assert (charge["balance_transaction"] is not None) == (charge["paid"] and charge["captured"])
        if charge["balance_transaction"]:
            entry = moved[charge["balance_transaction"]]
            assert (entry["amount"], entry["source"]) == (charge["amount"], charge["id"])
            assert entry["fee"] == (charge["amount"] * 29 + 500) // 1000 + fixed[charge["currency"]]
            assert entry["available_on"] == (entry["created"] // DAY + 2) * DAY
    for each in moved.values():
        assert each["net"] == each["amount"] - each["fee"]
        assert each["status"] == ("available" if each["available_on"] <= NOW else "pending")
        assert seeded.object(each["source"]) is not None


def test_balance_and_payouts(seeded) -> None:
    """The balance is the sum of what moved; each payout is the sum of its transactions, to the last unit."""
    api = stripe.StripeClient(seeded.secret_key, base_addresses={"api": seeded.url}).v1
    balance = api.balance.retrieve()
    for status in ("available", "pending"):
        sums = Counter()
        for each in every(api.balance_transactions):
            sums[each.currency] += each.net if each.status == status else 0
        assert {each.currency: each.amount for each in getattr(balance, status)} == sums
    settled = set()
    payouts = every(api.payouts)
    assert {each.currency for each in payouts} == CURRENCIES
    for payout in payouts:
        found = [each for each in every(api.balance_transactions, payout=payout.id) if each.type != "payout"]
        assert sum(each.net for each in found) == payout.amount > 0
        assert all(each.currency == payout.currency and each.available_on <= payout.created for each in found)
        assert payout.status == ("paid" if payout.arrival_date <= NOW else "pending")
        assert not settled & {each.id for each in found}
        settled |= {each.id for each in found}
    rest = Counter()
    for each in every(api.balance_transactions):
        if each.id not in settled and each.type != "payout" and each.status == "available":
            rest[each.currency] += each.net
    assert {each.currency: each.amount for each in balance.available} == {name: rest[name] for name in CURRENCIES}


def test_lists_and_search(seeded) -> None:
    """Seeded objects are found as others are: by filters, by search, by cursors."""
    api = stripe.StripeClient(seeded.secret_key, base_addresses={"api": seeded.url}).v1
    assert len(every(api.charges)) == seeded.count("charge")
    someone = seeded.objects("charge")[50]
    assert someone["id"] in {each.id for each in every(api.charges, customer=someone["customer"])}
    order = someone["metadata"].get("order_id") or "10007"
    found = api.charges.search({"query": f"metadata['order_id']:'{order}'"}).data
    assert {each.metadata["order_id"] for each in found} == {order}
    email = seeded.objects("customer")[7]["email"]
    assert [each.email for each in api.customers.list({"email": email}).data] == [email]


def test_the_business_goes_on() -> None:
    """After the seed, time passes as it does for what calls made: renewals, settlements, payouts that arrive."""
    with sandbox(seed=30, now=NOW) as box:
        before = box.count("invoice")
        pending = [each["id"] for each in box.objects("balance_transaction") if each["status"] == "pending"]
        box.advance(35 * DAY)
        assert box.count("invoice") > before
        assert pending
        assert all(box.object(each)["status"] == "available" for each in pending)
        arrived = [each for each in box.objects("payout") if each["arrival_date"] <= box.now]
        assert {each["status"] for each in arrived} == {"paid"}
        assert any(each["created"] > NOW for each in arrived)
        assert box.crashes() == []


@pytest.mark.parametrize("offset", [-NOW % DAY, -NOW % DAY + 1_000, -NOW % DAY + DAY - 1])
def test_any_time_of_day(offset) -> None:
    """Just after midnight, and just before it, nothing lies ahead of the clock."""
    with sandbox(seed=25, now=NOW + offset) as box:
        for kind in ("charge", "event", "balance_transaction", "refund", "payout"):
            assert all(each["created"] <= NOW + offset for each in box.objects(kind))


@pytest.mark.parametrize("second", [0, 900, 3_599, 3_600, 50_000, DAY - 1])
def test_the_same_business_at_any_time_of_day(second) -> None:
    """What customers do does not depend on when the seed is made; times do."""
    kinds = ("customer", "charge", "payment_intent", "refund", "subscription", "invoice", "payout")
    with sandbox(seed=25, now=NOW) as one, sandbox(seed=25, now=NOW - NOW % DAY + second) as other:
        for kind in kinds:
            assert {each["id"] for each in one.objects(kind)} == {each["id"] for each in other.objects(kind)}


# Ease and size


def test_small_seeds_are_quick() -> None:
    """Fifty customers are there in about a second (measured as processor time, the machine may be busy)."""
    begin = time.process_time()
    with sandbox(seed=50, now=NOW) as box:
        assert time.process_time() - begin < 1.5
        assert box.count("customer") == 50


def test_large_seeds(tmp_path) -> None:
    """The bulk path gives a state file with all its indexes, and books that tie out."""
    state = tmp_path / "state.db"
    app = App.open(state, Clock(NOW), Settings())
    Seed(600).plant(app)
    counts = app.store.counts(0)
    app.store.close()
    assert counts["customer"] == 600
    assert counts["charge"] > 5_000
    with sqlite3.connect(state) as db:
        fresh = tmp_path / "fresh.db"
        App.open(fresh, Clock(NOW), Settings()).store.close()
        with sqlite3.connect(fresh) as other:
            sql = "SELECT name, sql FROM sqlite_master ORDER BY name"
            assert db.execute(sql).fetchall() == other.execute(sql).fetchall()
        other.close()
        sums = dict(
            db.execute(
                "SELECT payout, sum(net) FROM objects WHERE type = 'balance_transaction' AND payout IS NOT NULL "
                "AND kind != 'payout' GROUP BY payout"
            )
        )
        paid = dict(
            db.execute("SELECT id, json_extract(CAST(body AS TEXT), '$.amount') FROM objects WHERE type = 'payout'")
        )
        assert sums == paid
        rows, ids = db.execute("SELECT count(*), count(DISTINCT id) FROM objects").fetchone()
        assert rows == ids > 20_000
    db.close()


def test_a_seed_that_was_cut_off(tmp_path) -> None:
    """What a killed seeding left is not taken for a business: the next start makes it anew."""
    state = tmp_path / "state.db"
    app = App.open(state, Clock(NOW), Settings())
    app.store.set_meta("seeding", 3)
    app.store.add_rows(
        [[0, "customer", "cus_left", NOW, 1, *[None] * 20, None, b'{"id":"cus_left","object":"customer"}']]
    )
    app.store.close()
    with sandbox(state=state, seed=3, now=NOW) as box:
        assert box.count("customer") == 3
        assert box.object("cus_left") is None
    with sandbox(state=state, seed=7, now=NOW) as box:  # it is there already
        assert box.count("customer") == 3


def test_reset() -> None:
    """A reset forgets everything and may plant again."""
    with sandbox(now=NOW) as box:
        box.reset(seed=2)
        assert box.count("customer") == 2
        box.reset(seed=2)
        assert box.count("customer") == 2
        box.reset()
        assert box.count("customer") == 0
        assert box.requests() == []


@pytest.mark.parametrize("given", [0, -1, "0", "-1", "x", "", "1.5", 1.5, True, None, "9" * 30, [], 10**9])
def test_seeds_that_are_none(given) -> None:
    """One line for whatever is not a number of customers."""
    with pytest.raises(SandboxError, match="the seed is a number of customers") as caught:
        Seed.checked(given)
    assert "\n" not in str(caught.value)

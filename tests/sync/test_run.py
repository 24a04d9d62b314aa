"""What a sync brings in, and what it must never miss."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import duckdb
import pytest
import stripe

from spojit_stripe.errors import AccessError, ConfigurationError, InputError, ServiceError, UnavailableError
from spojit_stripe.sync import RESOURCES
from spojit_stripe.sync.changes import Changes, change_of
from spojit_stripe.sync.gap import OVERLAP
from tests.sync.conftest import DAY, NOW, Shop

pytestmark = pytest.mark.long

TYPES = {
    "charges": "charge",
    "customers": "customer",
    "invoices": "invoice",
    "payment_intents": "payment_intent",
    "products": "product",
    "subscriptions": "subscription",
    "refunds": "refund",
    "payouts": "payout",
    "balance_transactions": "balance_transaction",
    "disputes": "dispute",
}


def charge(api, amount: int = 1999, source: str = "tok_visa", **more):
    return api.charges.create({"amount": amount, "currency": "usd", "source": source, **more})


def test_the_first_run_brings_in_the_whole_history_of_every_resource(seeded: Shop) -> None:
    seeded.box.advance(60)
    report = seeded.sync(*RESOURCES)
    assert report.exit_code == 0
    assert {one.resource: one.mode for one in report.resources} == dict.fromkeys(RESOURCES, "history")
    for table, kind in TYPES.items():
        theirs = {one["id"]: one for one in seeded.box.objects(kind)}
        rows = {name: json.loads(text) for name, text in seeded.ask(f"SELECT id, object FROM {table}")}
        assert rows.keys() == theirs.keys(), table
        assert all(rows[name]["object"] == kind for name in rows)
    for name, amount, currency, text in seeded.ask("SELECT id, amount, currency, object FROM charges"):
        assert (amount, currency) == (json.loads(text)["amount"], json.loads(text)["currency"])
        assert seeded.box.object(name)["amount"] == amount


def test_a_second_run_right_after_changes_nothing(seeded: Shop) -> None:
    seeded.box.advance(60)
    seeded.sync(*RESOURCES)
    before = seeded.dump()
    again = seeded.sync(*RESOURCES)
    assert [seeded.counts(one) for one in again.resources] == [(0, 0, 0)] * len(RESOURCES)
    assert seeded.dump() == before
    seeded.sync("charges", full=True)
    assert [row[:-4] for row in seeded.dump()["charges"]] == [row[:-4] for row in before["charges"]]


def test_a_later_run_reads_only_what_was_made_since(shop: Shop, api) -> None:
    for _ in range(3):
        charge(api)
    shop.box.advance(DAY)
    assert shop.counts(shop.one("charges")) == (3, 0, 0)
    charge(api)
    shop.box.advance(60)
    second = shop.one("charges")
    assert (shop.counts(second), second.mode) == ((1, 0, 0), "changes")
    lists = [request.params for request in shop.box.requests("GET", "/v1/charges")]
    assert int(lists[-1]["created"]["gte"]) == shop.box.now - 60 - OVERLAP


def test_an_update_of_an_object_outside_the_window_is_found(shop: Shop, api) -> None:
    """Airbyte #31917 and others: a stream by creation time never sees it."""
    made = charge(api)
    person = api.customers.create({"name": "Jenny"})
    shop.box.advance(10 * DAY)
    shop.sync("charges", "customers")
    shop.box.advance(DAY)
    api.refunds.create({"charge": made.id, "amount": 500})
    api.customers.update(person.id, {"name": "Jenny Rosen"})
    shop.box.advance(60)
    report = shop.sync("charges", "customers")
    assert [shop.counts(one) for one in report.resources] == [(0, 1, 0), (0, 1, 0)]
    assert shop.ask("SELECT amount, amount_refunded FROM charges") == [(1999, 500)]
    assert shop.ask("SELECT name FROM customers") == [("Jenny Rosen",)]


def test_a_dispute_changes_its_charge(shop: Shop, api) -> None:
    made = charge(api)
    shop.box.advance(10 * DAY)
    shop.sync("charges", "disputes")
    shop.box.dispute(made.id)
    shop.box.advance(60)
    shop.sync("charges", "disputes")
    assert shop.ask("SELECT disputed FROM charges") == [(1,)]
    assert shop.ask("SELECT charge, amount FROM disputes") == [(made.id, 1999)]


def test_blocked_and_failed_charges_are_there(shop: Shop, api) -> None:
    """Airbyte #32976: blocked charges missed."""
    for source in ("tok_radarBlock", "tok_chargeDeclined"):
        with pytest.raises(stripe.CardError):
            charge(api, source=source)
    shop.box.advance(60)
    shop.one("charges")
    found = shop.ask("SELECT status, json_extract(object, '$.outcome.type') FROM charges ORDER BY 2")
    assert found == [("failed", "blocked"), ("failed", "issuer_declined")]


def test_canceled_subscriptions_are_there_and_are_no_deletions(shop: Shop, api) -> None:
    """Airbyte #34332: the list hides canceled ones unless it is told otherwise."""
    person = api.customers.create({"source": "tok_visa"})
    price = api.prices.create(
        {"currency": "usd", "unit_amount": 2000, "recurring": {"interval": "month"}, "product_data": {"name": "Plan"}}
    )
    first, second = (
        api.subscriptions.create({"customer": person.id, "items": [{"price": price.id}]}) for _ in range(2)
    )
    api.subscriptions.cancel(first.id)
    shop.box.advance(DAY)
    assert shop.counts(shop.one("subscriptions")) == (2, 0, 0)
    api.subscriptions.cancel(second.id)
    shop.box.advance(60)
    assert shop.counts(shop.one("subscriptions")) == (0, 1, 0)
    assert shop.ask("SELECT DISTINCT status, deleted_at FROM subscriptions") == [("canceled", None)]


def test_a_draft_invoice_does_not_stay_a_draft(shop: Shop, api) -> None:
    """dlt #632: appended by creation time, a draft stays one for ever."""
    person = api.customers.create({"source": "tok_visa"})
    api.invoice_items.create({"customer": person.id, "amount": 700, "currency": "usd"})
    draft = api.invoices.create({"customer": person.id, "auto_advance": False})
    shop.box.advance(2 * DAY)
    shop.one("invoices")
    assert shop.ask("SELECT status FROM invoices") == [("draft",)]
    api.invoices.finalize_invoice(draft.id)
    shop.box.advance(60)
    assert shop.counts(shop.one("invoices")) == (0, 1, 0)
    assert shop.ask("SELECT status FROM invoices") == [(api.invoices.retrieve(draft.id).status,)] == [("paid",)]


def test_deletions_leave_tombstones_with_the_last_state(shop: Shop, api) -> None:
    """Airbyte #10153, tap-stripe #35: deletes missed, or looking like updates."""
    person = api.customers.create({"name": "Jenny"})
    product = api.products.create({"name": "Chair"})
    draft = api.invoices.create({"customer": api.customers.create({}).id})
    shop.box.advance(DAY)
    shop.sync("customers", "products", "invoices")
    shop.box.advance(100)
    api.customers.delete(person.id)
    api.products.delete(product.id)
    api.invoices.delete(draft.id)
    gone = shop.box.now
    shop.box.advance(60)
    shop.box.fail("GET", f"/v1/products/{product.id}", status=404, code="resource_missing")
    report = shop.sync("customers", "products", "invoices")
    assert report.exit_code == 0
    assert [shop.counts(one) for one in report.resources] == [(0, 0, 1)] * 3
    assert shop.ask("SELECT name, deleted_at, synced_at >= deleted_at FROM customers WHERE deleted_at > 0") == [
        ("Jenny", gone, 1)
    ]
    assert shop.ask("SELECT name, deleted_at FROM products") == [("Chair", gone)]
    assert shop.ask("SELECT json_extract(object, '$.name') FROM products") == [("Chair",)]
    before = shop.dump()
    shop.sync("customers", "products", "invoices")
    assert shop.dump() == before


def test_a_deletion_counts_whatever_other_events_there_are(shop: Shop, api) -> None:
    """Made, changed and deleted within the overlap: all three are told, in any order."""
    shop.one("products")
    product = api.products.create({"name": "Chair"})
    shop.box.advance(1)
    assert shop.counts(shop.one("products")) == (1, 0, 0)
    api.products.update(product.id, {"name": "Table"})
    shop.box.advance(1)
    api.products.delete(product.id)
    gone = shop.box.now
    shop.box.advance(5)
    shop.box.fail("GET", f"/v1/products/{product.id}", status=404, code="resource_missing")
    assert shop.counts(shop.one("products")) == (0, 0, 1)
    assert shop.ask("SELECT deleted_at FROM products") == [(gone,)]


def test_what_was_made_and_deleted_between_two_runs_leaves_nothing(shop: Shop, api) -> None:
    """As what was gone before the first run does: else that run's deletions would depend on the minute."""
    shop.one("customers")
    shop.box.advance(DAY)
    api.customers.delete(api.customers.create({"name": "Jenny"}).id)
    shop.box.advance(60)
    assert shop.counts(shop.one("customers")) == (0, 0, 0)
    assert shop.ask("SELECT * FROM customers") == []


def test_an_object_that_appears_after_its_time_is_found(shop: Shop, api) -> None:
    """Both objects and events show up late; the overlap of minutes is for them."""
    early, late = charge(api), charge(api)
    shop.box.advance(OVERLAP - 60)
    shop.one("charges")
    shop.change("DELETE FROM charges WHERE id = ?", late.id)  # as if it had not been listed yet
    shop.box.advance(3 * DAY)
    assert shop.counts(shop.one("charges")) == (1, 0, 0)
    assert {name for (name,) in shop.ask("SELECT id FROM charges")} == {early.id, late.id}


def test_an_event_is_only_an_id_to_read_again_at_the_pinned_version(shop: Shop, api) -> None:
    """Event payloads follow the account's API version, not the one that is synced."""
    person = api.customers.create({"name": "Jenny"})
    shop.box.advance(DAY)
    shop.one("customers", api_version="2020-08-27")
    api.customers.update(person.id, {"name": "then"})
    api.customers.update(person.id, {"name": "now"})
    shop.box.advance(60)
    shop.one("customers", api_version="2020-08-27")
    read = shop.box.requests("GET", f"/v1/customers/{person.id}")
    assert [request.headers["stripe-version"] for request in read] == ["2026-10-28.endive"]
    listed = shop.box.requests("GET", "/v1/events") + shop.box.requests("GET", "/v1/customers")
    assert {request.headers["stripe-version"] for request in listed} == {"2026-10-28.endive"}
    assert shop.ask("SELECT name FROM customers") == [("now",)]


def test_a_discount_of_a_customer_is_a_change_of_the_customer(shop: Shop, api) -> None:
    person = api.customers.create({"name": "Jenny"})
    coupon = api.coupons.create({"percent_off": 10, "duration": "forever"})
    shop.box.advance(DAY)
    shop.one("customers")
    shop.box.discount(person.id, coupon.id)
    shop.box.advance(60)
    assert shop.counts(shop.one("customers")) == (0, 1, 0)


def test_an_upcoming_invoice_has_no_id_and_is_no_change(shop: Shop) -> None:
    from spojit_stripe.sync.changes import change_of

    event = {"type": "invoice.upcoming", "created": 5, "data": {"object": {"object": "invoice", "id": None}}}
    assert change_of(event, RESOURCES["invoices"]) is None
    with pytest.raises(ServiceError, match="'evt_1' does not say what it is about"):
        change_of({"id": "evt_1", "type": "invoice.paid", "created": 5, "data": {}}, RESOURCES["invoices"])


def test_money_that_becomes_available_changes_its_transaction(shop: Shop, api) -> None:
    """Stripe sends no event for it."""
    charge(api)
    shop.box.advance(60)
    shop.one("balance_transactions")
    assert shop.ask("SELECT status FROM balance_transactions") == [("pending",)]
    shop.box.advance(8 * DAY)
    assert shop.counts(shop.one("balance_transactions")) == (0, 1, 0)
    assert shop.ask("SELECT status FROM balance_transactions") == [("available",)]
    assert "/v1/events" not in shop.paths()


# Permissions and refusals


def test_a_key_needs_only_what_the_named_resources_need(shop: Shop, api) -> None:
    """A check that demands permissions which the job doesn't need was a complaint about others."""
    charge(api)
    shop.box.advance(60)
    shop.box.permit("rak_charge_read", "rak_event_read")
    assert shop.counts(shop.one("charges", key=shop.box.restricted_key)) == (1, 0, 0)
    shop.box.permit("rak_balance_transaction_read")
    one = shop.one("balance_transactions", key=shop.box.restricted_key, to=f"sqlite:///{shop.folder / 'other.db'}")
    assert shop.counts(one) == (1, 0, 0)


def test_a_key_without_events_is_told_which_permission_is_missing(shop: Shop, api) -> None:
    charge(api)
    shop.box.permit("rak_charge_read")
    report = shop.sync("charges", key=shop.box.restricted_key)
    error = report.resources[0].error
    assert isinstance(error, AccessError)
    assert report.exit_code == 3
    assert "events tell what changed" in error.message
    assert error.problem.missing_permission == "rak_event_read"
    assert shop.ask("SELECT * FROM charges") == []


@pytest.mark.parametrize(("status", "code"), [(400, "parameter_unknown"), (403, None), (404, "resource_missing")])
def test_a_refused_list_is_an_error_and_stops_no_other(shop: Shop, api, status: int, code: str | None) -> None:
    """Airbyte swallows 400, 403 and 404."""
    charge(api)
    api.products.create({"name": "Chair"})
    shop.box.advance(60)
    shop.box.fail("GET", "/v1/products", status=status, code=code, times=0)
    report = shop.sync("charges", "products")
    assert report.exit_code == 8
    charges, products = report.resources
    assert shop.counts(charges) == (1, 0, 0)
    assert isinstance(products.error, ServiceError)
    assert products.as_of is None
    shop.box.clear_faults()
    assert shop.counts(shop.one("products")) == (1, 0, 0)


def test_a_404_without_a_deletion_is_reported_and_tried_again(shop: Shop, api) -> None:
    person = api.customers.create({"name": "Jenny"})
    shop.box.advance(DAY)
    shop.one("customers")
    api.customers.update(person.id, {"name": "Jenny Rosen"})
    shop.box.advance(60)
    shop.box.fail("GET", f"/v1/customers/{person.id}", status=404, code="resource_missing", message="No such customer")
    report = shop.sync("customers")
    assert report.exit_code == 8
    assert "No such customer" in report.resources[0].failed[person.id]
    assert shop.ask("SELECT name, deleted_at FROM customers") == [("Jenny", None)]
    shop.box.advance(DAY)  # the event is out of the overlap, but the failure is remembered
    assert shop.counts(shop.one("customers")) == (0, 1, 0)
    assert shop.ask("SELECT name FROM customers") == [("Jenny Rosen",)]
    assert shop.one("customers").failed == {}


def test_a_list_that_breaks_off_moves_nothing_on(shop: Shop, api) -> None:
    person = api.customers.create({"name": "Jenny"})
    shop.box.advance(DAY)
    shop.one("customers")
    before = shop.ask("SELECT state FROM spojit_sync")
    api.customers.update(person.id, {"name": "Jenny Rosen"})
    shop.box.advance(60)
    shop.box.fail("GET", "/v1/events", skip=1, status=400, times=0)
    report = shop.sync("customers")
    assert report.exit_code == 6
    assert shop.ask("SELECT state FROM spojit_sync") == before
    shop.box.clear_faults()
    assert shop.counts(shop.one("customers")) == (0, 1, 0)


def test_a_history_that_breaks_off_goes_on_where_it_was(shop: Shop, api) -> None:
    made = []
    for _ in range(250):
        made.append(api.customers.create({}).id)
        shop.box.advance(1)
    shop.box.advance(60)
    shop.box.fail("GET", "/v1/customers", skip=1, status=400, times=0)
    report = shop.sync("customers")
    assert isinstance(report.resources[0].error, UnavailableError)
    assert "run it again to go on" in report.resources[0].error.message
    (kept,) = shop.ask("SELECT count(*) FROM customers")[0]
    assert 0 < kept < 250
    shop.box.clear_faults()
    asked = len(shop.paths())
    second = shop.one("customers")
    assert second.mode == "history"
    assert {name for (name,) in shop.ask("SELECT id FROM customers")} == set(made)
    assert second.counts.read < 250 - kept + 5
    first_list = next(one for one in shop.box.requests("GET")[asked:] if one.path == "/v1/customers")
    assert "lte" in first_list.params["created"]


def test_a_burst_in_one_second_loses_nothing_where_the_history_broke_off(shop: Shop, api) -> None:
    made = {api.products.create({"name": "Chair"}).id for _ in range(230)}
    shop.box.advance(60)
    shop.box.fail("GET", "/v1/products", skip=1, status=400, times=0)
    assert shop.sync("products").exit_code == 6
    assert 0 < shop.ask("SELECT count(*) FROM products")[0][0] < 230
    shop.box.clear_faults()
    shop.one("products")
    assert {name for (name,) in shop.ask("SELECT id FROM products")} == made


def test_a_clock_that_is_read_a_little_late_hides_no_change(shop: Shop, api) -> None:
    """Stripe's clock is known to a second or two: a read of this run must never count as one before the last run's."""
    person = api.customers.create({"name": "Jenny"})
    shop.box.advance(60)
    shop.one("customers")
    state = json.loads(shop.ask("SELECT state FROM spojit_sync")[0][0])
    shop.change("UPDATE spojit_sync SET state = ?", json.dumps({**state, "seen": state["seen"] + 5}))
    shop.change("UPDATE customers SET synced_at = synced_at + 5")
    api.customers.update(person.id, {"name": "Jenny Rosen"})
    assert shop.counts(shop.one("customers")) == (0, 1, 0)


DRIVER = """
import asyncio, os, signal, sys
from pathlib import Path
from spojit_stripe import Host
from spojit_stripe.connection import Connection
from spojit_stripe.sync import destination_of, sync

folder, url, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
told = 0

def tell(kind, facts):
    global told
    told += 1
    if told == at:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    connection = Connection(name="bench", connector="stripe", secret_key="${env:KEY}", mode="test", base_url=url)
    with Host(state=folder / "state") as host:
        async with host.session(connection) as session:
            await sync(["customers"], destination_of(sys.argv[4]), session=session, run_id="r", tell=tell)

asyncio.run(main())
"""


@pytest.mark.parametrize("place", ["sqlite:///{}/shop.db", "{}/shop.parquet"])
def test_a_sync_that_is_killed_anywhere_ends_as_if_it_was_not(shop: Shop, api, place: str) -> None:
    """SIGKILL at each thing that a run tells, with changes in between."""
    people = []
    for _ in range(230):
        people.append(api.customers.create({"name": "A"}).id)
        shop.box.advance(1)
    shop.box.advance(60)
    to = place.format(shop.folder)
    for at in range(1, 8):
        died = subprocess.run(
            [sys.executable, "-c", DRIVER, shop.folder, shop.box.url, str(at), to],
            env={**os.environ, "KEY": shop.box.secret_key},
            capture_output=True,
            check=False,
        )
        assert died.returncode in (-signal.SIGKILL, 0), died.stderr
        api.customers.update(people[at], {"name": "B"})
        api.customers.delete(people[100 + at])
        shop.box.advance(30)
    shop.one("customers", to=to)
    theirs = {one["id"]: one["name"] for one in shop.box.objects("customer")}
    assert len(theirs) == 223
    if to.startswith("sqlite"):
        rows = shop.ask("SELECT id, name FROM customers WHERE deleted_at IS NULL")
    else:
        rows = duckdb.sql(f"SELECT id, name FROM '{to}/customers.parquet' WHERE deleted_at IS NULL").fetchall()
    assert dict(rows) == theirs


# The gap


def test_a_gap_of_more_than_thirty_days_is_read_again_and_told_loudly(shop: Shop, api) -> None:
    """Airbyte loses it without a word: Stripe keeps events for thirty days."""
    person = api.customers.create({"name": "Jenny"})
    deleted = api.customers.create({"name": "Gone"})
    product = api.products.create({"name": "Chair"})
    shop.box.advance(DAY)
    shop.sync("customers", "products")
    api.customers.update(person.id, {"name": "Jenny Rosen"})
    api.customers.delete(deleted.id)
    api.products.delete(product.id)
    shop.box.advance(40 * DAY)
    report = shop.sync("customers", "products")
    assert report.exit_code == 0
    assert [one.mode for one in report.resources] == ["full", "full"]
    assert "the last sync was 40 days ago, and Stripe keeps events for 30 days" in shop.warnings()[0]
    assert "everything is read again" in shop.warnings()[0]
    assert shop.ask("SELECT name, deleted_at > 0 FROM customers ORDER BY name") == [("Gone", 1), ("Jenny Rosen", None)]
    assert shop.ask("SELECT deleted_at > 0 FROM products") == [(1,)]
    assert shop.one("customers").mode == "changes"


def test_a_full_read_looks_at_what_it_did_not_find(shop: Shop, api) -> None:
    """A test clock's customers are not listed, and are no deletions."""
    shop.one("customers")
    clock = api.test_helpers.test_clocks.create({"frozen_time": shop.box.now})
    person = api.customers.create({"name": "Clocked", "test_clock": clock.id})
    shop.box.advance(60)
    assert shop.counts(shop.one("customers")) == (1, 0, 0)
    shop.box.advance(60)
    assert shop.counts(shop.one("customers", full=True)) == (0, 0, 0)
    assert shop.ask("SELECT id, deleted_at FROM customers") == [(person.id, None)]


def test_a_full_read_asks_for_single_objects_only_where_the_list_had_none(shop: Shop, api) -> None:
    gone, *_ = [api.products.create({"name": "Chair"}).id for _ in range(30)]
    shop.box.advance(DAY)
    shop.one("products")
    api.products.delete(gone)
    shop.box.advance(DAY)
    assert shop.counts(one := shop.one("products", full=True)) == (0, 0, 1)
    assert one.counts.read == 30
    assert [path for path in shop.paths() if path.startswith("/v1/products/")] == [f"/v1/products/{gone}"]


def test_rows_of_another_api_version_are_read_again(shop: Shop, api) -> None:
    api.products.create({"name": "Chair"})
    shop.box.advance(60)
    shop.one("products")
    state = json.loads(shop.ask("SELECT state FROM spojit_sync")[0][0])
    shop.change("UPDATE spojit_sync SET state = ?", json.dumps({**state, "api_version": "2024-06-20"}))
    assert shop.one("products").mode == "full"
    assert "of API version 2024-06-20, and 2026-10-28.endive is read now" in shop.warnings()[0]
    assert shop.one("products").mode == "changes"


def test_a_history_left_off_for_too_long_begins_again(shop: Shop, api) -> None:
    for _ in range(120):
        api.products.create({"name": "Chair"})
        shop.box.advance(1)
    shop.box.advance(60)
    shop.box.fail("GET", "/v1/products", skip=1, status=400, times=0)
    shop.sync("products")
    shop.box.clear_faults()
    api.products.delete(shop.ask("SELECT id FROM products LIMIT 1")[0][0])
    shop.box.advance(40 * DAY)
    assert shop.one("products").mode == "full"
    assert "left off more than 30 days ago" in shop.warnings()[0]
    assert shop.ask("SELECT count(*), count(deleted_at) FROM products") == [(120, 1)]


def test_a_long_history_catches_up_in_the_same_run(shop: Shop, api) -> None:
    for _ in range(120):
        api.products.create({"name": "Chair"})
        shop.box.advance(1)
    shop.box.advance(60)
    shop.box.fail("GET", "/v1/products", skip=1, status=400, times=0)
    shop.sync("products")
    shop.box.clear_faults()
    shop.box.advance(2 * OVERLAP)
    changed = shop.ask("SELECT id FROM products LIMIT 1")[0][0]
    api.products.update(changed, {"name": "Table"})
    shop.box.advance(60)
    one = shop.one("products")
    assert (one.mode, one.as_of) == ("history", shop.box.now)
    assert shop.ask("SELECT name FROM products WHERE id = ?", changed) == [("Table",)]


def test_a_service_whose_clock_went_back_is_not_taken_for_the_same(shop: Shop, api) -> None:
    shop.box.advance(10 * DAY)
    shop.one("products")
    state = json.loads(shop.ask("SELECT state FROM spojit_sync")[0][0])
    shop.change("UPDATE spojit_sync SET state = ?", json.dumps({**state, "seen": state["seen"] + DAY}))
    report = shop.sync("products")
    assert "the service's clock says" in str(report.resources[0].error)


# Input


def test_a_name_that_cannot_be_synced_gets_the_list_of_those_that_can(shop: Shop) -> None:
    with pytest.raises(InputError, match=r"'chargs' can't be synced \(these can be: charges, customers, .*\)"):
        shop.sync("chargs")
    with pytest.raises(InputError, match="which resources"):
        shop.sync()
    assert shop.paths() == []


def test_what_should_have_settled_long_ago_is_read_one_by_one(shop: Shop, api) -> None:
    charge(api)
    shop.box.advance(8 * DAY)
    shop.one("balance_transactions")
    old = shop.ask("SELECT id FROM balance_transactions")[0][0]
    shop.box.advance(30 * DAY)
    charge(api)
    shop.box.advance(60)
    shop.one("balance_transactions")
    shop.change("UPDATE balance_transactions SET status = 'pending', digest = '' WHERE id = ?", old)
    shop.change("UPDATE balance_transactions SET synced_at = 1")
    assert shop.counts(shop.one("balance_transactions")) == (0, 1, 0)
    lists = [request.params for request in shop.box.requests("GET", "/v1/balance_transactions")]
    assert int(lists[-1]["created"]["gte"]) > NOW + 30 * DAY
    assert f"/v1/balance_transactions/{old}" in shop.paths()


def test_names_with_dashes_and_given_twice_are_one(shop: Shop) -> None:
    report = shop.sync("payment-intents", "payment_intents")
    assert [one.resource for one in report.resources] == ["payment_intents"]


def test_a_connection_with_pins_does_not_read_everything(shop: Shop) -> None:
    with pytest.raises(InputError, match="pins customer, so its lists are not whole"):
        shop.sync("charges", policy={"writes": "allow", "pins": {"customer": "cus_1"}})


def test_secrets_are_not_kept(shop: Shop, api) -> None:
    made = api.payment_intents.create({"amount": 500, "currency": "usd", "description": "key sk_live_abcdefgh12345678"})
    assert made.client_secret
    shop.box.advance(60)
    shop.one("payment_intents")
    kept = (shop.folder / "shop.db").read_bytes()
    assert made.id.encode() in kept
    assert made.client_secret.encode() not in kept
    assert b"abcdefgh12345678" not in kept


def test_every_read_is_in_the_ledger(shop: Shop, api) -> None:
    from spojit_stripe.records import Records

    charge(api)
    shop.box.advance(60)
    one = shop.one("charges")
    records = Records(shop.folder / "state")
    entries = [entry for entry in records.ledger.entries() if entry.node == "sync/charges"]
    records.close()
    assert sum(entry.attempts for entry in entries) == one.requests == len(shop.paths())


def test_an_object_that_does_not_fit_is_reported_and_the_others_are_kept(shop: Shop, api) -> None:
    first = charge(api)
    second = charge(api, amount=700)
    shop.box.advance(60)
    page = {
        "object": "list",
        "url": "/v1/charges",
        "has_more": False,
        "data": [{**shop.box.object(first.id), "amount": 19.5}, shop.box.object(second.id)],
    }
    shop.box.fail("GET", "/v1/charges", status=200, body=json.dumps(page))
    report = shop.sync("charges")
    assert report.exit_code == 8
    assert report.resources[0].failed == {
        first.id: f"charges {first.id}: amount is 19.5, not a whole number of 64 bits"
    }
    assert shop.ask("SELECT amount FROM charges") == [(700,)]
    assert shop.counts(shop.one("charges")) == (1, 0, 0)  # read again, and as it should be


def test_too_many_objects_that_do_not_fit_are_a_failure_of_the_whole(shop: Shop) -> None:
    data = [{"object": "product", "id": f"prod_{number}", "created": "today"} for number in range(101)]
    for _ in range(2):
        page = {"object": "list", "url": "/v1/products", "has_more": False, "data": data}
        shop.box.fail("GET", "/v1/products", status=200, body=json.dumps(page))
        report = shop.sync("products")
        assert report.exit_code == 6
        assert "more than 100 objects could not be read; the last one: products prod_100: created is" in str(
            report.resources[0].error
        )
        assert report.resources[0].as_of is None


@pytest.mark.parametrize(("name", "told"), [("", '""'), (None, "null"), (7, "7"), ("a\x00b", '"a\\u0000b"')])
def test_an_object_that_has_no_id_is_reported_and_breaks_no_later_run(shop: Shop, api, name: Any, told: str) -> None:
    api.products.create({"name": "Chair"})
    shop.box.advance(60)
    data = [{"object": "product", "id": name, "created": 5}]
    page = {"object": "list", "url": "/v1/products", "has_more": False, "data": data}
    shop.box.fail("GET", "/v1/products", status=200, body=json.dumps(page))
    report = shop.sync("products")
    assert report.exit_code == 8
    assert "an object came without an id that can be kept" in report.resources[0].failed[told]
    shop.box.advance(DAY)
    for full in (False, True):
        assert shop.one("products", full=full).failed == {}
    assert shop.ask("SELECT name FROM products") == [("Chair",)]


def test_each_object_without_an_id_is_reported(shop: Shop) -> None:
    data = [{"object": "product", "created": number} for number in range(3)]
    page = {"object": "list", "url": "/v1/products", "has_more": False, "data": data}
    shop.box.fail("GET", "/v1/products", status=200, body=json.dumps(page))
    failed = shop.sync("products").resources[0].failed
    assert [*failed] == ["null", "null (2)", "null (3)"]
    assert '"created": 2' in failed["null (3)"]


@pytest.mark.parametrize("name", [None, range(101)])
def test_too_many_objects_without_an_id_are_a_failure_of_the_whole(shop: Shop, name: range | None) -> None:
    data = [{"object": "product", "id": name and name[number], "created": 5} for number in range(101)]
    page = {"object": "list", "url": "/v1/products", "has_more": False, "data": data}
    shop.box.fail("GET", "/v1/products", status=200, body=json.dumps(page))
    assert "more than 100 objects could not be read" in str(shop.sync("products").resources[0].error)


@pytest.mark.parametrize("name", ["", None, 7, "a\x00b", "a\ud800b"])
def test_an_event_about_what_has_no_id_is_no_change(name: Any) -> None:
    event = {"type": "product.updated", "created": 5, "data": {"object": {"object": "product", "id": name}}}
    assert change_of(event, RESOURCES["products"]) is None


def test_a_folder_for_temporary_files_that_is_full_is_told() -> None:
    with Changes() as changes:
        changes._db.execute("PRAGMA max_page_count = 4")
        with pytest.raises(ConfigurationError, match=r"in the folder for temporary files: .* is full; make room there"):
            changes.add_ids([f"prod_{number:0100}" for number in range(500)], 5)


def test_a_column_that_does_not_fit_is_told_by_the_run_that_adds_it(shop: Shop, api) -> None:
    person = api.customers.create({"name": "A"})
    shop.box.advance(DAY)
    shop.one("customers")
    shop.change("ALTER TABLE customers DROP COLUMN balance")
    shop.change("UPDATE customers SET object = json_set(object, '$.balance', 1.5)")
    broken = {**shop.box.object(person.id), "balance": 1.5}
    shop.box.advance(DAY)
    shop.box.fail("GET", f"/v1/customers/{person.id}", status=200, body=json.dumps(broken))
    report = shop.sync("customers")
    assert report.exit_code == 8
    assert "balance is 1.5, not a whole number" in report.resources[0].failed[person.id]
    assert shop.ask("SELECT balance FROM customers") == [(None,)]
    assert shop.one("customers").failed == {}
    assert shop.ask("SELECT balance, json_extract(object, '$.balance') FROM customers") == [(0, 0)]


def test_an_outage_amid_single_reads_keeps_what_came_and_goes_on_later(shop: Shop, api) -> None:
    people = [api.customers.create({"name": "A"}).id for _ in range(5)]
    shop.box.advance(DAY)
    shop.one("customers")
    for person in people:
        api.customers.update(person, {"name": "B"})
    shop.box.advance(60)
    shop.box.fail("GET", f"/v1/customers/{people[2]}", status=403, message="no", times=0)
    report = shop.sync("customers")
    assert isinstance(report.resources[0].error, AccessError)
    assert shop.ask("SELECT count(*) FROM customers WHERE name = 'B'") == [(4,)]
    shop.box.clear_faults()
    assert shop.counts(shop.one("customers")) == (0, 1, 0)
    single = [path for path in shop.paths() if path.startswith("/v1/customers/cus")]
    assert [single.count(f"/v1/customers/{person}") for person in people] == [1, 1, 2, 1, 1]


def test_another_object_than_was_asked_for_is_not_taken(shop: Shop, api) -> None:
    person, other = (api.customers.create({"name": name}) for name in "AB")
    shop.box.advance(DAY)
    shop.one("customers")
    api.customers.update(person.id, {"name": "C"})
    shop.box.advance(60)
    shop.box.fail("GET", f"/v1/customers/{person.id}", status=200, body=json.dumps(shop.box.object(other.id)))
    report = shop.sync("customers")
    assert report.exit_code == 8
    assert f"Stripe answered with '{other.id}'" in report.resources[0].failed[person.id]


def test_a_folder_knows_what_is_pending_too(shop: Shop, api) -> None:
    to = f"{shop.folder}/shop.parquet"
    charge(api)
    shop.box.advance(60)
    shop.one("balance_transactions", to=to)
    shop.box.advance(30 * DAY)
    assert shop.counts(shop.one("balance_transactions", to=to)) == (0, 1, 0)
    status = duckdb.sql(f"SELECT status FROM '{to}/balance_transactions.parquet'").fetchall()
    assert status == [("available",)]


def test_a_parquet_file_that_is_none_is_told(shop: Shop) -> None:
    to = f"{shop.folder}/shop.parquet"
    shop.one("products", to=to)
    (shop.folder / "shop.parquet" / "products.parquet").write_text("not one")
    with pytest.raises(ConfigurationError, match=r"can't sync to .*shop.parquet: "):
        shop.sync("products", to=to)


def test_a_disk_that_takes_no_more_ends_the_run_with_its_reason(shop: Shop, api) -> None:
    for _ in range(30):
        api.products.create({"name": "Chair"})
    shop.box.advance(60)
    shop.one("customers")
    shop.change("CREATE TRIGGER full BEFORE INSERT ON spojit_sync BEGIN SELECT raise(ABORT, 'disk is full'); END")
    with pytest.raises(ConfigurationError, match=r"can't sync to .*shop.db: disk is full"):
        shop.sync("products")
    shop.change("DROP TRIGGER full")
    assert shop.counts(shop.one("products")) == (30, 0, 0)

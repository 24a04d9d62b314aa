"""What a run can't go on from: too long a gap, what was taken away, what is another's; and what is planned of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.sync import destination_of, plan
from spojit_stripe.testing import Workbench
from spojit_stripe.values import JsonObject
from spojit_stripe.wire.connector import StripeConnector
from tests.sync.conftest import DAY, FAST, Shop
from tests.sync.test_destinations import rows_in

HOUR = 3600


def planned(shop: Shop, *names: str, full: bool = False, **more: Any) -> list[JsonObject]:
    """What the next run would read, by a clock that goes as the sandbox's does."""

    async def work() -> list[JsonObject]:
        async with bench.session(base_url=shop.box.url, limits=FAST, **more) as session:
            place = destination_of(shop.db)
            return await plan(names, place, session=session, full=full, clock=lambda: shop.box.now)

    with Workbench(shop.folder / "state", StripeConnector(), secret=shop.box.secret_key) as bench:
        return asyncio.run(work())


# The gap


def test_a_history_that_outlasts_the_events_is_read_again_and_told_loudly(shop: Shop, api: Any) -> None:
    """It was begun just early enough to go on with, and ends too late for what changed since."""
    made = []
    for _ in range(120):
        made.append(api.customers.create({"name": "A"}).id)
        shop.box.advance(1)
    shop.box.advance(60)
    shop.box.fail("GET", "/v1/customers", skip=1, status=400, times=0)
    assert shop.sync("customers").exit_code == 6
    shop.box.clear_faults()
    api.customers.update(made[-1], {"name": "B"})  # its row is in already
    api.customers.delete(made[-2])
    shop.box.advance(30 * DAY - 2 * HOUR)

    def tell(kind: str, facts: JsonObject) -> None:
        if kind == "read" and all(told != "read" for told, _ in shop.heard):
            shop.box.advance(3 * HOUR)
        shop.heard.append((kind, facts))

    one = shop.one("customers", tell=tell)
    assert one.mode == "full"
    assert shop.warnings() == [
        "customers: the whole read took until Stripe's events since it began were gone; everything is read again"
    ]
    assert shop.ask("SELECT name FROM customers WHERE id = ?", made[-1]) == [("B",)]
    assert shop.ask("SELECT id FROM customers WHERE deleted_at IS NOT NULL") == [(made[-2],)]
    assert shop.one("customers").mode == "changes"


# What was taken away


@pytest.mark.parametrize("form", ["sqlite:///{}/shop.db", "{}/shop.parquet"])
def test_a_table_or_file_that_was_taken_away_is_filled_anew(shop: Shop, api: Any, form: str) -> None:
    place = form.format(shop.folder)
    made = {api.products.create({"name": "Chair"}).id for _ in range(3)}
    shop.box.advance(DAY)
    shop.one("products", to=place)
    shop.box.advance(DAY)
    if place.endswith(".parquet"):
        (Path(place) / "products.parquet").unlink()
    else:
        shop.change("DROP TABLE products")
        assert [one["mode"] for one in planned(shop, "products")] == ["history"]
    again = shop.one("products", to=place)
    assert (again.mode, shop.counts(again)) == ("history", (3, 0, 0))
    assert {row["id"] for row in rows_in(place, "products")} == made
    assert shop.one("products", to=place).mode == "changes"


# What never was in a table


def test_a_whole_list_settles_what_vanished_without_a_word(shop: Shop, api: Any) -> None:
    """As a test clock's customers do when the clock is deleted."""
    shop.one("customers")
    gone = api.customers.create({"name": "Gone"})
    shop.box.advance(60)
    nothing = json.dumps({"object": "list", "data": [], "has_more": False, "url": "/v1/customers"})
    shop.box.fail("GET", "/v1/customers", status=200, body=nothing, times=0)
    shop.box.fail("GET", f"/v1/customers/{gone.id}", status=404, code="resource_missing", times=0)
    assert [*shop.sync("customers").resources[0].failed] == [gone.id]
    assert [*shop.sync("customers").resources[0].failed] == [gone.id]
    assert shop.one("customers", full=True).failed == {}
    assert shop.one("customers").failed == {}  # its event is among those of the last minutes still
    shop.box.advance(DAY)
    assert shop.one("customers").failed == {}
    assert shop.ask("SELECT * FROM customers") == []


def test_a_whole_list_with_what_failed_settles_nothing(shop: Shop, api: Any) -> None:
    """It was listed, so a 404 is no deletion."""
    shop.one("charges")
    made = api.charges.create({"amount": 1999, "currency": "usd", "source": "tok_visa"})
    shop.box.advance(60)
    shop.box.fail("GET", f"/v1/charges/{made.id}", status=404, code="resource_missing", times=0)
    odd = {**shop.box.object(made.id), "amount": 19.5}
    page = json.dumps({"object": "list", "data": [odd], "has_more": False, "url": "/v1/charges"})
    shop.box.fail("GET", "/v1/charges", status=200, body=page, times=0)
    for full in (False, True, False):
        report = shop.sync("charges", full=full)
        assert (report.exit_code, [*report.resources[0].failed]) == (8, [made.id])
    shop.box.clear_faults()
    assert shop.counts(shop.one("charges")) == (1, 0, 0)


# What is due


def test_what_fell_due_in_a_long_gap_is_read_by_one_list(shop: Shop, api: Any) -> None:
    for _ in range(5):
        api.charges.create({"amount": 1999, "currency": "usd", "source": "tok_visa"})
    shop.box.advance(60)
    shop.one("balance_transactions")
    shop.box.advance(40 * DAY)
    assert shop.counts(shop.one("balance_transactions")) == (0, 5, 0)
    assert shop.ask("SELECT DISTINCT status FROM balance_transactions") == [("available",)]
    assert {*shop.paths()} == {"/v1/balance_transactions"}


# Plans


def test_a_plan_says_what_the_run_would_do(shop: Shop, api: Any) -> None:
    assert [one["mode"] for one in planned(shop, "products", full=True)] == ["history"]
    api.products.create({"name": "Chair"})
    shop.box.advance(60)
    shop.sync("products", "payouts", "balance_transactions")
    sent = len(shop.paths())
    (later,) = planned(shop, "products")
    assert (later["mode"], later["why"], [one["path"] for one in later["requests"]]) == (
        "changes",
        None,
        ["/v1/products", "/v1/events"],
    )
    (whole,) = planned(shop, "products", full=True)
    assert (whole["mode"], whole["why"]) == ("full", "asked for")
    assert [(one["path"], one["params"]) for one in whole["requests"]] == [("/v1/products", {})]
    modes = {one["resource"]: one["mode"] for one in planned(shop, "payouts", "balance_transactions", full=True)}
    assert modes == {"payouts": "full", "balance_transactions": "full", "payout_transactions": "changes"}
    assert len(shop.paths()) == sent


def test_a_plan_knows_the_gap_and_the_version(shop: Shop) -> None:
    shop.sync("products", "balance_transactions")
    shop.box.advance(40 * DAY)
    whys = {one["resource"]: one["why"] for one in planned(shop, "products", "balance_transactions")}
    assert whys == {
        "products": "the last sync was 40 days ago, and Stripe keeps events for 30 days",
        "balance_transactions": None,
    }
    for name, text in shop.ask("SELECT resource, state FROM spojit_sync"):
        old = json.dumps({**json.loads(text), "api_version": "2024-06-20"})
        shop.change("UPDATE spojit_sync SET state = ? WHERE resource = ?", old, name)
    assert "of API version 2024-06-20" in str(planned(shop, "balance_transactions")[0]["why"])


def test_a_plan_is_refused_where_the_run_would_be(shop: Shop) -> None:
    shop.one("products")
    with pytest.raises(ConfigurationError, match="objects of account the key's own, not of 'acct_1'"):
        planned(shop, "products", account="acct_1")
    with pytest.raises(InputError, match="pins customer, so its lists are not whole"):
        planned(shop, "products", policy={"writes": "allow", "pins": {"customer": "cus_1"}})

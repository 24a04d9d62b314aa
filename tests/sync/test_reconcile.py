"""Payouts that are the sum of what they settled, to the last unit; and some that are not."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from spojit_stripe.errors import ConfigurationError, InputError, InvalidRequestError, ServiceError, UnavailableError
from spojit_stripe.sync import destination_of, reconcile, reconcile_payout
from spojit_stripe.sync.views import VIEWS
from spojit_stripe.testing import Workbench
from spojit_stripe.values import JsonObject
from spojit_stripe.wire.connector import StripeConnector
from tests.sync.conftest import DAY, FAST, Shop

NEEDED = ("payouts", "balance_transactions")
PARTS = (
    "amount",
    "gross",
    "refunds",
    "disputes",
    "adjustments",
    "fees",
    "net",
    "variance",
    "unbalanced",
    "transactions",
)
PAYOUT: JsonObject = {
    "id": "po_1",
    "object": "payout",
    "amount": 0,
    "currency": "usd",
    "automatic": True,
    "balance_transaction": "txn_own",
    "reconciliation_status": "completed",
    "status": "paid",
}


def moved(category: str | None, amount: int, fee: int = 0, **more: Any) -> JsonObject:
    return {
        "id": f"txn_{category}_{amount}",
        "type": "charge",
        "reporting_category": category,
        "amount": amount,
        "fee": fee,
        "net": amount - fee,
        "currency": "usd",
        **more,
    }


def ask(shop: Shop, payout: str) -> JsonObject:
    async def work() -> JsonObject:
        async with bench.session(base_url=shop.box.url, limits=FAST) as session:
            return await reconcile_payout(payout, session=session, run_id="r")

    with Workbench(shop.folder / "state", StripeConnector(), secret=shop.box.secret_key) as bench:
        return asyncio.run(work())


# From Stripe's objects


def test_each_kind_has_its_own_sum() -> None:
    transactions = [
        moved("charge", 10_000, 320),
        moved(None, 500, 30, type="payment"),
        moved("refund", -2_000),
        moved("refund_failure", 700),
        moved("dispute", -1_500, 1_500),
        moved("dispute_reversal", 1_500),
        moved("fee", -99),
        moved("topup", 40),
        moved("something new", -3),
    ]
    result = reconcile({**PAYOUT, "amount": 7_288}, transactions)
    assert result["currencies"] == [
        {
            "currency": "usd",
            "amount": 7_288,
            "gross": 10_500,
            "refunds": -1_300,
            "disputes": 0,
            "adjustments": 37,
            "fees": -1_949,
            "net": 7_288,
            "variance": 0,
            "unbalanced": 0,
            "transactions": 9,
        }
    ]
    assert result["reconciled"] is True


def test_the_payouts_own_transaction_is_not_among_what_it_settled() -> None:
    own = moved("payout", -9_680, id="txn_own", type="payout")
    assert reconcile({**PAYOUT, "amount": 9_680}, [own, moved("charge", 10_000, 320)])["reconciled"] is True
    expanded = {**PAYOUT, "amount": 9_680, "balance_transaction": own}
    assert reconcile(expanded, [own, moved("charge", 10_000, 320)])["reconciled"] is True


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_a_payout_that_came_back_is_told_apart(status: str) -> None:
    """It adds up, and nothing of it is at the bank."""
    result = reconcile({**PAYOUT, "amount": 9_680, "status": status}, [moved("charge", 10_000, 320)])
    assert (result["outcome"], result["reconciled"]) == ("returned", False)
    assert result["currencies"][0]["variance"] == 0
    wrong = reconcile({**PAYOUT, "amount": 9_679, "status": status}, [moved("charge", 10_000, 320)])
    assert wrong["outcome"] == "unreconciled"


def test_one_unit_is_found() -> None:
    result = reconcile({**PAYOUT, "amount": 9_679}, [moved("charge", 10_000, 320)])
    assert (result["reconciled"], result["outcome"]) == (False, "unreconciled")
    assert result["currencies"][0]["variance"] == -1


def test_a_net_that_is_not_its_amount_less_its_fee_is_found() -> None:
    result = reconcile({**PAYOUT, "amount": 9_680}, [moved("charge", 10_000, 320, net=9_681)])
    assert (result["currencies"][0]["variance"], result["currencies"][0]["unbalanced"]) == (0, -1)
    assert result["reconciled"] is False


def test_currencies_are_never_added_up() -> None:
    transactions = [moved("charge", 100), moved("charge", 7, currency="jpy")]
    result = reconcile({**PAYOUT, "amount": 100}, transactions)
    assert [(one["currency"], one["amount"], one["net"], one["variance"]) for one in result["currencies"]] == [
        ("jpy", 0, 7, -7),
        ("usd", 100, 100, 0),
    ]
    assert result["reconciled"] is False


def test_a_payout_of_nothing_known_is_not_reconciled() -> None:
    result = reconcile({**PAYOUT, "amount": 5}, [])
    assert (result["reconciled"], result["currencies"][0]["variance"]) == (False, 5)


def test_amounts_beyond_a_float_are_exact() -> None:
    large = 2**53 + 1
    result = reconcile({**PAYOUT, "amount": 3 * large}, [moved("charge", large, id=f"t{n}") for n in range(3)])
    assert result["currencies"][0]["gross"] == 3 * large
    assert result["reconciled"] is True


@pytest.mark.parametrize("broken", [{"amount": 1.5}, {"fee": None}, {"net": True}, {"currency": None}])
def test_what_is_no_transaction_is_refused(broken: JsonObject) -> None:
    with pytest.raises(ServiceError, match="it can't be reconciled"):
        reconcile(PAYOUT, [{**moved("charge", 100), **broken}])


def test_a_manual_or_unfinished_payout_is_never_called_reconciled() -> None:
    manual = reconcile({**PAYOUT, "amount": 5, "automatic": False}, [])
    assert (manual["reconciled"], manual["outcome"], manual["currencies"]) == (False, "manual", [])
    unfinished = reconcile({**PAYOUT, "reconciliation_status": "in_progress"}, [])
    assert (unfinished["reconciled"], unfinished["outcome"]) == (False, "open")


# From Stripe and from tables


@pytest.mark.parametrize("form", ["sqlite:///{}/shop.db", "{}/shop.parquet"])
def test_every_seeded_payout_adds_up_and_the_view_says_what_stripe_says(seeded: Shop, form: str) -> None:
    seeded.box.advance(60)
    place = form.format(seeded.folder)
    assert seeded.sync(*NEEDED, to=place).exit_code == 0
    rows = destination_of(place).reconciliation(None)
    assert {row["payout"] for row in rows} == {one["id"] for one in seeded.box.objects("payout")}
    assert [row["variance"] for row in rows] == [0] * len(rows)
    assert {row["reconciled"] for row in rows} == {1}
    assert any(row["refunds"] for row in rows)
    assert any(row["disputes"] for row in rows)
    for row in rows[::7]:
        (line,) = ask(seeded, str(row["payout"]))["currencies"]
        assert {part: line[part] for part in PARTS} == {part: row[part] for part in PARTS}
        assert destination_of(place).reconciliation(str(row["payout"])) == [row]


@pytest.mark.parametrize("form", ["sqlite:///{}/shop.db", "{}/shop.parquet"])
def test_a_payout_that_failed_is_returned_there_and_paid_by_a_later_one(shop: Shop, api, form: str) -> None:
    shop.box.pay_out("daily")
    api.charges.create({"amount": 1999, "currency": "usd", "source": "tok_visa"})
    shop.box.advance(10 * DAY)
    (first,) = [one["id"] for one in shop.box.objects("payout")]
    shop.box.fail_payout(first)
    shop.box.advance(5 * DAY)
    place = form.format(shop.folder)
    assert shop.sync(*NEEDED, to=place).exit_code == 0
    rows = destination_of(place).reconciliation(None)
    told = {row["payout"] == first: (row["outcome"], row["reconciled"], row["variance"]) for row in rows}
    assert told == {True: ("returned", 0, 0), False: ("reconciled", 1, 0)}
    assert [ask(shop, str(row["payout"]))["outcome"] for row in rows] == [row["outcome"] for row in rows]


def test_a_view_gets_its_new_column_beside_the_old_ones(shop: Shop, postgres: str) -> None:
    """PostgreSQL replaces a view only where its columns stay and new ones come last."""
    sql = VIEWS["payout_reconciliation"].sql
    older = sql[: sql.index(",\n    CASE WHEN NOT (")] + sql[sql.index("\nFROM (") :]
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as db:
        db.execute("DROP DATABASE IF EXISTS views WITH (FORCE)")
        db.execute("CREATE DATABASE views")
    place = f"{postgres}/views"
    shop.sync(*NEEDED, to=place)
    with psycopg.connect(place) as db:
        db.execute("DROP VIEW payout_reconciliation")
        db.execute(f"CREATE VIEW payout_reconciliation AS {older}")
    assert shop.sync(*NEEDED, to=place).exit_code == 0
    with psycopg.connect(place) as db:
        columns = [one.name for one in db.execute("SELECT * FROM payout_reconciliation").description or ()]
    assert columns[-2:] == ["reconciled", "outcome"]


def test_a_payout_whose_list_is_refused_keeps_no_other_from_its_links(shop: Shop, api) -> None:
    shop.box.pay_out("daily")
    for _ in range(110):
        api.charges.create({"amount": 1999, "currency": "usd", "source": "tok_visa"})
        shop.box.advance(DAY)
    shop.box.advance(10 * DAY)
    payouts = [one["id"] for one in sorted(shop.box.objects("payout"), key=lambda one: (one["created"], one["id"]))]
    assert len(payouts) > 100
    shop.box.fail("GET", "/v1/balance_transactions", params={"payout": payouts[0]}, status=400, message="no", times=0)
    report = shop.sync(*NEEDED)
    assert report.exit_code == 8
    assert [*report.resources[-1].failed] == [payouts[0]]
    linked = {name for (name,) in shop.ask("SELECT DISTINCT payout FROM payout_transactions")}
    assert linked == {*payouts[1:]}
    shop.box.clear_faults()
    assert shop.sync(*NEEDED).exit_code == 0
    assert shop.ask("SELECT count(DISTINCT payout) FROM payout_transactions") == [(len(payouts),)]


def test_too_many_refused_lists_are_a_failure_of_the_whole(shop: Shop, api) -> None:
    shop.one("payouts")
    row = "INSERT INTO payouts (id, created, automatic, digest, synced_at) VALUES (?, 5, 1, '', 5)"
    for number in range(201):
        shop.change(row, f"po_{number}")
    report = shop.sync("payout_transactions")
    assert report.exit_code == 8
    links = report.resources[-1]
    assert "the transactions of more than 100 payouts could not be read; the last one: No such payout" in str(
        links.error
    )


def test_links_are_read_once(seeded: Shop) -> None:
    seeded.box.advance(60)
    seeded.sync(*NEEDED)
    again = seeded.sync(*NEEDED)
    assert again.resources[-1].resource == "payout_transactions"
    assert again.resources[-1].requests == 1


def test_a_payout_that_came_later_gets_its_links(shop: Shop, api) -> None:
    shop.box.pay_out("daily")
    shop.sync(*NEEDED)
    made = api.charges.create({"amount": 1999, "currency": "usd", "source": "tok_visa"})
    api.refunds.create({"charge": made.id, "amount": 500})
    shop.box.advance(10 * DAY)
    assert shop.sync(*NEEDED).exit_code == 0
    found = shop.ask("SELECT gross, refunds, fees, net, amount, variance, transactions FROM payout_reconciliation")
    assert found == [(1999, -500, -88, 1411, 1411, 0, 2)]


@pytest.mark.parametrize(
    ("change", "column", "found"),
    [
        ("UPDATE balance_transactions SET amount = amount + 1 WHERE id = ?", "variance", -1),
        ("UPDATE balance_transactions SET fee = fee + 1 WHERE id = ?", "variance", 1),
        ("UPDATE balance_transactions SET net = net + 1 WHERE id = ?", "unbalanced", -1),
        ("DELETE FROM balance_transactions WHERE id = ?", "missing", 1),
    ],
)
def test_a_doctored_database_is_found_out(seeded: Shop, change: str, column: str, found: int) -> None:
    seeded.box.advance(60)
    seeded.sync(*NEEDED)
    ((one, payout),) = seeded.ask("SELECT balance_transaction, payout FROM payout_transactions LIMIT 1")
    seeded.change(change, one)
    wrong = seeded.ask(f"SELECT payout, {column} FROM payout_reconciliation WHERE reconciled = 0")
    assert wrong == [(payout, found)]


def test_a_transaction_in_another_currency_is_found_out(seeded: Shop) -> None:
    seeded.box.advance(60)
    seeded.sync(*NEEDED)
    ((one, payout),) = seeded.ask("SELECT balance_transaction, payout FROM payout_transactions LIMIT 1")
    seeded.change("UPDATE balance_transactions SET currency = 'xxx' WHERE id = ?", one)
    wrong = seeded.ask("SELECT payout, currency, amount, variance FROM payout_reconciliation WHERE reconciled = 0")
    assert {row[0] for row in wrong} == {payout}
    assert len(wrong) == 2
    assert sum(row[3] for row in wrong) == 0


def test_views_come_with_their_tables_and_stay_as_they_are(shop: Shop) -> None:
    shop.one("payouts")
    views = "SELECT name, sql FROM sqlite_master WHERE type = 'view' ORDER BY name"
    assert shop.ask(views) == []
    shop.sync(*NEEDED)
    made = shop.ask(views)
    assert [name for name, _ in made] == ["payout_lines", "payout_reconciliation"]
    shop.sync(*NEEDED)
    assert shop.ask(views) == made


def test_tables_without_payouts_are_told(shop: Shop) -> None:
    shop.one("products")
    for place in (shop.db, f"sqlite:///{shop.folder}/none.db", f"{shop.folder}/none.parquet"):
        with pytest.raises(
            ConfigurationError, match="holds nothing to reconcile; sync payouts and balance_transactions"
        ):
            destination_of(place).reconciliation(None)


def test_a_payout_that_is_none(shop: Shop) -> None:
    with pytest.raises(InputError, match="'ch_1' is no payout's id"):
        ask(shop, "ch_1")
    with pytest.raises(InvalidRequestError, match="No such payout"):
        ask(shop, "po_nothing")


def test_a_manual_payout_settles_nothing_certain(shop: Shop, api) -> None:
    api.charges.create({"amount": 5000, "currency": "usd", "source": "tok_bypassPending"})
    made = api.payouts.create({"amount": 1000, "currency": "usd"})
    result = ask(shop, made.id)
    assert (result["automatic"], result["reconciled"], result["currencies"]) == (False, False, [])


def test_a_list_that_breaks_off_gives_no_result(seeded: Shop) -> None:
    payout = next(one["id"] for one in seeded.box.objects("payout"))
    first = '{"object": "list", "url": "/v1/balance_transactions", "has_more": true, "data": []}'
    seeded.box.fail("GET", "/v1/balance_transactions", status=200, body=first)
    with pytest.raises(UnavailableError, match="can't be reconciled"):
        ask(seeded, payout)

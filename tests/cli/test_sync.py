"""`sync` and `reconcile` at the command line."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import stripe

from spojit_stripe.sandbox import Sandbox
from tests.cli.conftest import Cli


def test_a_first_and_a_second_run(cli: Cli, folder: Path, box: Sandbox) -> None:
    first = cli("sync", "customers", "products", "--to", "sqlite:///shop.db", "--connection", "main")
    assert first.code == 0, first.err
    assert [line.split()[0] for line in first.out.splitlines()[2:]] == ["customers", "products"]
    assert "whole history" in first.out
    assert "customers: whole history" in first.err
    assert "synced to shop.db" in first.err
    second = cli("sync", "customers", "products", "--to", "sqlite:///shop.db", "--connection", "main", "--json")
    assert second.code == 0
    assert [one["mode"] for one in second.json["resources"]] == ["changes", "changes"]
    assert [one["new"] + one["changed"] + one["deleted"] for one in second.json["resources"]] == [0, 0]
    assert second.json["resources"][0]["requests"] > 0
    db = sqlite3.connect(folder / "shop.db")
    assert db.execute("SELECT count(*) FROM products").fetchone()[0] == box.count("product")
    db.close()


def test_a_dry_run_sends_and_makes_nothing(cli: Cli, folder: Path, box: Sandbox) -> None:
    before = len(box.requests())
    for place in ("sqlite:///shop.db", "shop.parquet"):
        ran = cli("sync", "charges", "subscriptions", "--to", place, "--connection", "main", "--dry-run", "--json")
        assert ran.code == 0, ran.err
        assert ran.json[0]["requests"] == [
            {"method": "GET", "path": "/v1/charges", "params": {}, "api_version": "2026-10-28.endive"}
        ]
        assert ran.json[1]["requests"][0]["params"] == {"status": "all"}
        assert "nothing was sent or changed" in ran.err
    assert len(box.requests()) == before
    assert sorted(path.name for path in folder.iterdir()) == ["connections.yaml"]


def test_a_dry_run_of_a_later_run_tells_since_when(cli: Cli) -> None:
    cli("sync", "products", "--to", "sqlite:///shop.db", "--connection", "main")
    ran = cli("sync", "products", "--to", "sqlite:///shop.db", "--connection", "main", "--dry-run")
    assert ran.code == 0
    assert "/v1/events" in ran.out
    assert '"type": "product.*"' in ran.out


def test_a_dry_run_of_a_whole_run_tells_that_everything_would_be_read(cli: Cli) -> None:
    cli("sync", "products", "--to", "sqlite:///shop.db", "--connection", "main")
    ran = cli("sync", "products", "--to", "sqlite:///shop.db", "--connection", "main", "--full", "--dry-run")
    assert ran.code == 0
    assert "all again" in ran.out
    assert "/v1/events" not in ran.out
    assert "products: asked for; everything would be read again" in ran.err


def test_all_stands_for_every_resource(cli: Cli) -> None:
    ran = cli("sync", "all", "--to", "x.parquet", "--connection", "main", "--dry-run", "--json")
    assert len({one["resource"] for one in ran.json}) == 11


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["sync", "chargs", "--to", "sqlite:///x.db"], 2, "'chargs' can't be synced (these can be: charges, customers"),
        (["sync", "--to", "sqlite:///x.db"], 2, "which resources? Name one or more of: charges"),
        (["sync", "charges"], 2, "missing option '--to'"),
        (["sync", "charges", "--to", "x.db"], 2, "'x.db' is no place to sync to; write sqlite:///file.db"),
        (["sync", "charges", "--to", "mysql://me:geheim@h/d"], 2, "'mysql://***' is no place to sync to"),
        (["sync", "charges", "--to", "sqlite:////nowhere/x.db"], 2, "/nowhere, which is no folder"),
        (
            ["sync", "charges", "--to", "postgresql://me:geheim@127.0.0.1:9/d"],
            3,
            "can't sync to postgresql://127.0.0.1:9/d",
        ),
        (["reconcile"], 2, "which payout? Name one, po_…"),
        (["reconcile", "ch_1", "--connection", "main"], 2, "'ch_1' is no payout's id"),
        (["reconcile", "--in", "sqlite:///none.db"], 3, "none.db holds nothing to reconcile; sync payouts"),
    ],
)
def test_bad_input_gets_one_clear_line(cli: Cli, arguments: list[str], code: int, text: str) -> None:
    ran = cli(*arguments, *(["--connection", "main"] if arguments[0] == "sync" else []))
    assert (ran.code, ran.out) == (code, "")
    errors = [line for line in ran.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert text in errors[0]
    assert "geheim" not in ran.err


def test_a_missing_permission_is_named(cli: Cli, box: Sandbox) -> None:
    """The restricted key may read events, and no disputes."""
    box.permit("rak_event_read", "rak_product_read")  # other tests of the same sandbox permit other things
    ran = cli("sync", "disputes", "--to", "sqlite:///shop.db", "--connection", "restricted")
    assert ran.code == 3
    assert "rak_dispute_read" in ran.err
    assert "not all is synced" in ran.err
    mixed = cli("sync", "disputes", "products", "--to", "sqlite:///shop.db", "--connection", "restricted", "--json")
    assert mixed.code == mixed.json["exit_code"] == 8
    assert [one["error"] is None for one in mixed.json["resources"]] == [True, False]


def test_an_object_that_could_not_be_read_is_named(cli: Cli, box: Sandbox, customer: str) -> None:
    cli("sync", "customers", "--to", "sqlite:///shop.db", "--connection", "main")
    cli("call", "raw-api-request", "POST", f"/v1/customers/{customer}", "--param", "name=X", "--connection", "main")
    box.fail("GET", f"/v1/customers/{customer}", status=404, code="resource_missing", message="No \x1b[31mcustomer")
    ran = cli("sync", "customers", "--to", "sqlite:///shop.db", "--connection", "main")
    box.clear_faults()
    assert "\x1b" not in ran.err
    assert ran.code == 8
    assert f"warning: customers {customer} could not be read and will be tried again: No" in ran.err


def test_payouts_are_reconciled_from_tables_and_from_stripe(cli: Cli, folder: Path, box: Sandbox) -> None:
    cli("sync", "payouts", "balance_transactions", "--to", "sqlite:///shop.db", "--connection", "main")
    ran = cli("reconcile", "--in", "sqlite:///shop.db", "--json")
    assert ran.code == 0, ran.err
    assert len(ran.json) == box.count("payout") > 0
    assert all(row["variance"] == 0 for row in ran.json)
    assert "all add up" in ran.err
    payout = ran.json[0]["payout"]
    told = cli("reconcile", payout, "--connection", "main")
    assert told.code == 0
    assert payout in told.out
    assert ("0.00 " in told.out) or ("0 JPY" in told.out)
    asked = cli("reconcile", payout, "--connection", "main", "--json").json
    assert asked["reconciled"] is True
    assert asked["currencies"][0]["net"] == ran.json[0]["net"] == asked["amount"]
    assert cli("reconcile", "po_none", "--in", "sqlite:///shop.db").code == 2


def test_a_payout_that_came_back_is_no_exception_unless_it_was_asked_about(cli: Cli, box: Sandbox) -> None:
    api = stripe.StripeClient(box.secret_key, base_addresses={"api": box.url}).v1
    payout = next(one["id"] for one in box.objects("payout") if one["status"] == "paid" and one["automatic"])
    box.fail_payout(payout)
    assert api.payouts.retrieve(payout).status == "failed"
    cli("sync", "payouts", "balance_transactions", "--to", "sqlite:///shop.db", "--connection", "main")
    ran = cli("reconcile", "--in", "sqlite:///shop.db")
    assert ran.code == 0, ran.err
    assert "all add up, 1 returned to the balance" in ran.err
    assert [line.split()[-1] for line in ran.out.splitlines() if payout in line] == ["returned"]
    for arguments in ((payout, "--in", "sqlite:///shop.db"), (payout, "--connection", "main")):
        one = cli("reconcile", *arguments)
        assert one.code == 8
        assert "1 payout: all add up, 1 returned to the balance" in one.err
        assert "returned" in one.out


def test_a_payout_that_does_not_add_up_is_an_exception(cli: Cli, folder: Path) -> None:
    cli("sync", "payouts", "balance_transactions", "--to", "sqlite:///shop.db", "--connection", "main")
    db = sqlite3.connect(folder / "shop.db")
    with db:
        db.execute(
            "UPDATE balance_transactions SET amount = amount - 1 WHERE id ="
            " (SELECT balance_transaction FROM payout_transactions LIMIT 1)"
        )
    db.close()
    ran = cli("reconcile", "--in", "sqlite:///shop.db")
    assert ran.code == 8
    assert "1 not adding up" in ran.err


def test_a_gap_is_told_as_a_warning(cli: Cli, folder: Path) -> None:
    cli("sync", "products", "--to", "sqlite:///shop.db", "--connection", "main")
    ran = cli("sync", "products", "--to", "sqlite:///shop.db", "--connection", "main", "--full", "--json")
    assert ran.code == 0
    assert ran.json["resources"][0]["mode"] == "full"
    assert "warning: products: asked for; everything is read again" in ran.err


def test_a_payout_by_hand_is_told_apart(cli: Cli, box: Sandbox) -> None:
    api = stripe.StripeClient(box.secret_key, base_addresses={"api": box.url}).v1
    api.charges.create({"amount": 5000, "currency": "usd", "source": "tok_bypassPending"})
    made = api.payouts.create({"amount": 1000, "currency": "usd"})
    ran = cli("reconcile", made.id, "--connection", "main")
    assert ran.code == 8
    assert f"{made.id} is no automatic payout" in ran.err


def test_a_watcher_of_a_terminal_sees_a_moving_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from spojit_stripe.cli.sync import _Watcher

    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with _Watcher() as watcher:
        watcher.hear("begin", {"resource": "charges", "mode": "history", "since": None})
        watcher.hear("read", {"resource": "charges", "rows": 100})
    assert "charges: whole history" in capsys.readouterr().err


def test_without_a_terminal_there_is_a_line_every_ten_thousand_rows(capsys) -> None:
    from spojit_stripe.cli.sync import _Watcher

    with _Watcher() as watcher:
        watcher.hear("begin", {"resource": "charges", "mode": "changes", "since": 1_790_000_000})
        for rows in (100, 9_999, 10_000, 10_100, 20_001):
            watcher.hear("read", {"resource": "charges", "rows": rows})
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" rows")[0] for line in lines] == [
        "charges: changes since 2026-09-21T14:13:20Z",
        "charges: 10000",
        "charges: 20001",
    ]

"""`connections`: the file is edited without loss, and a key's permissions are found out by reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REFERENCE = ("--secret-key", "${env:TEST_STRIPE_KEY}", "--mode", "test")


def entries(file: Path) -> dict:
    return yaml.safe_load(file.read_text())["connections"]


def test_the_first_connection_makes_the_file(cli, folder: Path) -> None:
    """Only its owner may read it, and its folder is made."""
    file = folder / "new" / "connections.yaml"
    ran = cli("connections", "add", "x", *REFERENCE, "--connections", str(file))
    assert (ran.code, ran.out, ran.err) == (0, "", f"connection 'x' added in {file}\n")
    assert file.read_text() == (
        "connections:\n  x:\n    connector: stripe\n    secret_key: ${env:TEST_STRIPE_KEY}\n    mode: test\n"
    )
    assert file.stat().st_mode & 0o777 == 0o600


def test_every_field_has_an_option(cli, folder: Path) -> None:
    """What is written is what was said, and the connection can be used."""
    ran = cli(
        *("connections", "add", "full", *REFERENCE, "--api-version", "2026-10-28.endive", "--account", "acct_17"),
        *("--base-url", "https://stripe.example.com", "--allow-host", "stripe.example.com", "--writes", "ask"),
        *("--allow-live", "--cap-per-call", "500:usd", "--cap-per-call", "700:JPY", "--cap-per-run", "900:usd"),
        *("--cap-per-day", "1000:usd", "--cap-count", "3", "--pin", "currency=usd", "--pin", "limit=5"),
        *("--limit-account", "50", "--limit-endpoint", "10", "--limit-search", "5.5", "--no-stamp-metadata"),
        *("--disabled", "--json"),
    )
    assert ran.code == 0, ran.err
    full = entries(folder / "connections.yaml")["full"]
    assert full == {
        "connector": "stripe",
        "secret_key": "${env:TEST_STRIPE_KEY}",
        "mode": "test",
        "api_version": "2026-10-28.endive",
        "account": "acct_17",
        "base_url": "https://stripe.example.com",
        "allow_host": "stripe.example.com",
        "policy": {
            "writes": "ask",
            "allow_live": True,
            "caps": {
                "per_call": [{"amount": 500, "currency": "usd"}, {"amount": 700, "currency": "jpy"}],
                "per_run": {"amount": 900, "currency": "usd"},
                "per_day": {"amount": 1000, "currency": "usd"},
                "count": 3,
            },
            "pins": {"currency": "usd", "limit": 5},
        },
        "limits": {"account": 50.0, "endpoint": 10.0, "search": 5.5},
        "stamp_metadata": False,
        "enabled": False,
    }
    assert ran.json == {"name": "full", **full, "file": str(folder / "connections.yaml")}


def test_editing_keeps_comments_and_the_others(cli, folder: Path) -> None:
    """Adding, replacing and removing change the one entry only."""
    file = folder / "connections.yaml"
    before = file.read_text()
    cli("connections", "add", "x", *REFERENCE)
    assert file.read_text().startswith(before)
    cli("connections", "add", "x", *REFERENCE, "--replace", "--writes", "allow")
    assert entries(file)["x"]["policy"] == {"writes": "allow"}
    assert cli("connections", "remove", "x").code == 0
    assert file.read_text() == before
    assert cli("connections", "remove", "main").code == 0
    after = file.read_text()
    assert after.startswith("# Kept by hand\nconnections:\n  # for reports\n  readonly: ")
    assert list(entries(file)) == [name for name in yaml.safe_load(before)["connections"] if name != "main"]


@pytest.mark.parametrize(
    "text",
    [
        "connections: {a: {secret_key: '${env:K}', mode: test}, b: {secret_key: '${env:K}', mode: live}}\n",
        "# note\nconnections:\n  a: &base {secret_key: '${env:K}', mode: test}\n  b: *base\n",
        "connections:\n    a:\n        secret_key: '${env:K}'\n        mode: test\n\n    # b\n    b: {mode: no}",
        "connections:\n  a: {secret_key: '${env:K}',\nmode: test}\n  b: {secret_key: y, mode: test}\n",
        "---\nconnections:\r\n  a: {secret_key: x, mode: test}\r\n  b: {secret_key: y, mode: test}\r\n",
        'connections:\n  "a": {secret_key: "#:{}", mode: test}\n  b: {key: "é: \\u001b", mode: "1", "no": "no"}\n',
    ],
    ids=["flow", "anchors", "indented", "odd-indent", "crlf", "quotes"],
)
def test_no_form_of_yaml_loses_an_entry(cli, folder: Path, text: str) -> None:
    """Flow style, anchors, odd indentation: the others read the same afterwards."""
    file = folder / "form.yaml"
    file.write_bytes(text.encode())
    where = ("--connections", str(file))
    was = entries(file)
    assert cli("connections", "add", "x", *REFERENCE, *where).code == 0
    now = entries(file)
    assert {name: now[name] for name in was} == was
    assert now["x"]["mode"] == "test"
    assert cli("connections", "remove", "a", *where).code == 0
    assert list(entries(file)) == ["b", "x"]
    assert entries(file)["b"] == was["b"]
    assert cli("connections", "remove", "b", *where).code == 0
    assert cli("connections", "remove", "x", *where).code == 0
    assert not yaml.safe_load(file.read_text())["connections"]
    assert cli("connections", "add", "again", *REFERENCE, *where).code == 0
    assert list(entries(file)) == ["again"]


def test_a_rewritten_file_says_that_comments_went(cli, folder: Path) -> None:
    """It happens only where the text can't be edited by lines."""
    file = folder / "form.yaml"
    file.write_text("# note\nconnections: {a: {secret_key: '${env:K}', mode: test}}\n")
    ran = cli("connections", "add", "x", *REFERENCE, "--connections", str(file))
    assert f"warning: {file} was written anew, without its comments\n" in ran.err


def test_adding_at_once_loses_nobody(folder: Path) -> None:
    """Processes that add at the same time wait for one another."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "spojit_stripe", "connections", "add", f"c{n}", *REFERENCE],
            stderr=subprocess.DEVNULL,
        )
        for n in range(4)
    ]
    assert [each.wait() for each in running] == [0] * 4
    assert {f"c{n}" for n in range(4)} <= set(entries(folder / "connections.yaml"))


def test_a_dry_run_changes_nothing(cli, folder: Path) -> None:
    """It shows the lines that would be written, without a literal key."""
    file = folder / "connections.yaml"
    before = file.read_text()
    ran = cli("connections", "add", "x", "--secret-key", "sk_test_literal", "--mode", "test", "--dry-run")
    assert ran.code == 0
    assert 'secret_key: "***"' in ran.out
    assert "sk_test_literal" not in ran.out + ran.err
    assert cli("connections", "remove", "main", "--dry-run").code == 0
    assert file.read_text() == before


def test_a_key_that_is_not_at_hand_is_mentioned(cli) -> None:
    """A connection may be written down before its key is there."""
    ran = cli("connections", "add", "x", "--secret-key", "${env:TEST_NOT_SET}", "--mode", "test")
    assert ran.code == 0
    assert ran.err.startswith("warning: connection 'x', secret_key ${env:TEST_NOT_SET}: the environment variable")


def test_listing_never_shows_a_key(cli) -> None:
    """Broken entries are named with their line, the others are listed: exit code 8."""
    for arguments in (("connections", "list"), ("connections", "list", "--json")):
        ran = cli(*arguments)
        assert ran.code == 8
        assert "nobodyknowsit" not in ran.out + ran.err
        assert "error: " in ran.err
        assert "bad-mode" in ran.err
        assert ran.err.splitlines()[-1].startswith("16 of 19 connections in ")
    listed = {one["name"]: one for one in ran.json}
    assert listed["main"]["policy"]["writes"] == "allow"
    assert listed["wrong-key"]["secret_key"] == "***"
    assert "is not one of" in listed["bad-mode"]["error"]
    rows = {line.split()[0]: line for line in cli("connections", "list").out.splitlines()}
    assert "in the file itself" in rows["wrong-key"]
    assert "deny (not in live mode)" in rows["test-key"]


def test_testing_a_key_that_may_do_all(cli, box) -> None:
    """Each reading tool is tried once or twice, nothing is written."""
    before = len(box.requests())
    ran = cli("connections", "test", "main", "--json")
    assert ran.code == 0
    states = {one["tool"]: one["state"] for one in ran.json["tools"]}
    assert states["get-customer"] == states["list-charges"] == states["list-subscriptions"] == "works"
    assert states["create-charge"] == states["raw-api-request"] == "not tried"
    assert {one.method for one in box.requests()[before:]} == {"GET"}
    assert ran.err == "connection 'main': 7 works, 5 not tried\n"


def test_a_restricted_key_fails_only_for_what_is_wanted(cli, box) -> None:
    """The missing permission is named; without --tool, or for tools that work, exit code 0."""
    box.permit("rak_customer_read", "rak_charge_read")
    ran = cli("connections", "test", "restricted")
    assert ran.code == 0
    (row,) = [line for line in ran.out.splitlines() if line.startswith("list-invoices")]
    assert row.split() == ["list-invoices", "forbidden", "rak_invoice_read"]
    assert cli("connections", "test", "restricted", "--tool", "list-charges", "--tool", "get-customer").code == 0
    assert cli("connections", "test", "restricted", "--tool", "list-charges", "--tool", "list-invoices").code == 3
    assert cli("connections", "test", "restricted", "--tool", "create-charge").code == 0


def test_a_key_that_nobody_knows_fails(cli) -> None:
    """Nothing works with it, so there is no table but an error."""
    ran = cli("connections", "test", "wrong-key")
    assert (ran.code, ran.out) == (3, "")
    assert "Invalid API Key provided" in ran.err


def test_a_dry_test_sends_nothing(cli, box) -> None:
    """It names what would be tried."""
    before = len(box.requests())
    ran = cli("connections", "test", "main", "--tool", "list-charges", "--dry-run")
    assert (ran.code, ran.err) == (0, "dry run: would try list-charges on 'main'; nothing was sent\n")
    assert len(box.requests()) == before


def test_the_only_connection_need_not_be_named(cli, box, folder: Path) -> None:
    """With one connection in the file there is nothing to choose."""
    file = folder / "one.yaml"
    cli("connections", "add", "only", *REFERENCE, "--base-url", box.url, "--connections", str(file))
    ran = cli("call", "list-products", "--connections", str(file), "--json")
    assert (ran.code, json.loads(ran.out)["complete"]) == (0, True)

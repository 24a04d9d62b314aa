"""Text that came from Stripe is shown, never obeyed."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

MAIN = ("--connection", "main")
HOSTILE = {
    "escape": "\x1b]0;owned\x07\x1b[2J\x1b[31mred",
    "markup": "[red]bold[/red][link=https://evil.example]x[/]",
    "formula": '=HYPERLINK("https://evil.example","x")',
    "command": "@SUM(1+1)*cmd|' /C calc'!A0",
    "bidi": "gpj.\u202eexe \u2066hidden\u2069 \u200b",
    "lines": "first\r\nid,amount\n+9",
    "c1": "\x9b31m\x85",
    "wide": "顧客 Ωμέγα é",
}
# What no terminal may get: controls but the newline, C1 controls, characters that reorder or hide.
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069]")


@pytest.fixture(scope="module")
def emails(box) -> dict[str, str]:
    """A customer for each hostile name, found by e-mail address."""
    return {kind: f"{kind}@hostile.example" for kind in HOSTILE}


@pytest.fixture
def made(cli, emails: dict[str, str]) -> dict[str, str]:
    for kind, email in emails.items():
        listed = cli("call", "list-customers", *MAIN, "--email", email, "--json").json["data"]
        if not listed:
            params = json.dumps({"email": email, "name": HOSTILE[kind], "description": HOSTILE[kind]})
            ran = cli("call", "create-customer", *MAIN, "--params", params)
            assert ran.code == 0, ran.err
    return emails


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("form", ["table", "json", "ndjson", "csv"])
def test_lists(cli, made, kind: str, form: str) -> None:
    """In no form does anything reach the terminal that it would obey; JSON and CSV keep the meaning."""
    ran = cli("call", "list-customers", *MAIN, "--email", made[kind], "--format", form)
    assert ran.code == 0
    assert OBEYED.search(ran.out) is None
    if form == "json":
        assert ran.json["data"][0]["name"] == HOSTILE[kind]
    elif form == "ndjson":
        (line,) = ran.out.splitlines()
        assert json.loads(line)["name"] == HOSTILE[kind]
    elif form == "csv":
        (row,) = csv.DictReader(io.StringIO(ran.out))
        assert row["name"][0] not in "=+-@"
    else:
        assert len(ran.out.splitlines()) == 3
        if kind in ("markup", "wide"):
            assert HOSTILE[kind] in ran.out


def test_the_ledger_and_its_export(cli, customer, folder: Path) -> None:
    """Parameters and results in the ledger are Stripe's and strangers' text too."""
    for name in HOSTILE.values():
        cli("call", "create-customer", *MAIN, "--params", json.dumps({"name": name, "description": name}))
    entries = cli("ledger", "list", "--writes", "--json")
    assert OBEYED.search(entries.out) is None
    for entry in entries.json:
        assert OBEYED.search(cli("ledger", "show", str(entry["id"])).out) is None
    for form in ("ndjson", "csv", "json"):
        assert OBEYED.search(cli("ledger", "export", "--format", form).out) is None


def test_errors(cli, box) -> None:
    """Stripe's message is on one line, without escapes and without keys."""
    box.fail(
        "GET", "/v1/products", status=400, message="no\x1b[2J\nerror: all is well\u202e sk_test_4eC39HqLyjWDarjtT1"
    )
    ran = cli("call", "list-products", *MAIN)
    assert ran.code == 6
    assert OBEYED.search(ran.err) is None
    assert not any(line.startswith("error: all") for line in ran.err.splitlines())
    assert "4eC39" not in ran.err


def test_names_from_files_and_flags(cli, folder: Path) -> None:
    """What the person or a script typed is repeated as harmlessly."""
    for arguments in (
        ("call", "x\x1b[31m"),
        ("call", "list-charges", *MAIN, "--customer", "a\x1b]0;x\x07/b"),
        ("call", "list-charges", "--connection", "sk_test_4eC39HqLyjWDarjtT1\x1b[0m"),
        ("\x1b[31m",),
        ("call", "list-charges", *MAIN, "--\x1b[31m"),
        ("approvals", "show", "\x1b[31m"),
    ):
        ran = cli(*arguments)
        assert ran.code in (0, 2, 3, 6)
        assert OBEYED.search(ran.err + ran.out) is None
        assert "4eC39" not in ran.err


def test_a_plan_and_an_approval(cli, customer) -> None:
    """What a person is asked to approve can't hide itself."""
    text = HOSTILE["bidi"] + HOSTILE["escape"]
    call = ("call", "create-charge", "--connection", "asking", "--customer", customer, "--amount", "5")
    paused = cli(*call, "--currency", "usd", "--description", text, "--json")
    assert OBEYED.search(paused.out + paused.err) is None
    for arguments in (("list",), ("list", "--json"), ("show", paused.json["paused"])):
        assert OBEYED.search(cli("approvals", *arguments).out) is None

"""No key in anything that is written down or shown, whatever happened."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spojit_stripe.errors import SpojitError
from spojit_stripe.redact import redact_text
from spojit_stripe.sandbox import Sandbox
from spojit_stripe.testing import Workbench
from spojit_stripe.values import Done, Failed, Outcome, ToolCall
from spojit_stripe.wire.connector import StripeConnector

ROOT = Path(__file__).parents[1]
FAKE = "sk_test_RecognisableFakeKey4711xyz"
CARD = "4000056655665556"
CHARGE = ToolCall(tool="create-charge", params={"amount": 500, "currency": "usd", "source": "tok_visa"})
DECLINED = ToolCall(tool="create-charge", params={"amount": 500, "currency": "usd", "source": "tok_chargeDeclined"})
INTENT = ToolCall(tool="create-payment-intent", params={"amount": 500, "currency": "usd"})
# An author who puts a key and a card into parameters is beyond help, but it must not be kept.
CARELESS = ToolCall(
    tool="create-customer",
    params={"description": f"key {FAKE}", "metadata": {"note": f"a\n{FAKE}", FAKE: "as a name"}},
)
LIST = ToolCall(tool="list-charges")


def shown(outcome: Outcome) -> str:
    """All that an outcome shows of itself without its value, which is the caller's own."""
    text = json.dumps(outcome.meta.to_json()) if isinstance(outcome, Done | Failed) else repr(outcome)
    if isinstance(outcome, Failed):
        error = outcome.error
        text += f"{error}{error!r}{json.dumps(error.to_json())}{error.__cause__!r}{error.__context__!r}"
    return text


def failed(outcome: Outcome) -> SpojitError:
    assert isinstance(outcome, Failed), outcome
    return outcome.error


def test_no_key_in_logs_ledger_errors_or_previews(
    stripe_sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = stripe_sandbox.secret_key
    here = {"base_url": stripe_sandbox.url}
    said: list[str] = []
    with Workbench(tmp_path / "state", StripeConnector(), secret=key) as bench:
        said.append(json.dumps(bench.preview(CARELESS, **here).to_json()).replace(FAKE, ""))  # its own parameters
        said.append(repr(bench.session(**here).connection))
        intent = bench.run(INTENT, at="1", **here)
        assert isinstance(intent, Done)
        client_secret = str(intent.value["client_secret"])
        outcomes = [
            intent,
            bench.run(CHARGE, at="2", **here),
            bench.run(DECLINED, at="3", **here),
            bench.run(CARELESS, at="4", **here),
            bench.run(LIST, at="5", **here),
            bench.run(ToolCall(tool="get-customer", params={"customer": key}), at="6", **here),
        ]
        stripe_sandbox.fail("POST", "/v1/charges", status=400, message=f"do not send me {key}\nor {FAKE}")
        outcomes.append(bench.run(CHARGE, at="7", **here))
        stripe_sandbox.fail("POST", "/v1/charges", status=500, body=f"<html>{key} {FAKE}</html>", stored=True, times=9)
        outcomes.append(bench.run(CHARGE, at="8", **here))
        stripe_sandbox.clear_faults()
        stripe_sandbox.fail("GET", "/v1/charges", drop="before")
        bench.secret = FAKE
        outcomes += [bench.run(CHARGE, at="9", **here), bench.run(LIST, at="10", **here)]
        bench.secret = stripe_sandbox.restricted_key
        stripe_sandbox.permit()
        outcomes += [bench.run(CHARGE, at="11", **here), bench.run(LIST, at="12", **here)]
        outcomes.append(bench.run(CHARGE, at="13", base_url="http://127.0.0.1:9"))
        bench.secret = f"sk_live_{FAKE[8:]}"
        outcomes.append(bench.run(CHARGE, at="14", **here))
        bench.secret = f"pk_test_{FAKE[8:]}"
        outcomes.append(bench.run(CHARGE, at="15", **here))
    kinds = [type(outcome.error).__name__ if isinstance(outcome, Failed) else "Done" for outcome in outcomes]
    assert {"DeclinedError", "AccessError", "InvalidRequestError", "OutcomeUnknownError"} <= set(kinds), kinds
    assert {"UnavailableError", "ConfigurationError"} <= set(kinds), kinds
    said += [shown(outcome) for outcome in outcomes]
    said.append(caplog.text)
    said += [str(record.__dict__) for record in caplog.records]
    files = [file.read_bytes().decode("latin-1") for file in (tmp_path / "state").iterdir()]
    assert files
    for text in [*said, *files]:
        for secret in (key, stripe_sandbox.restricted_key, "RecognisableFakeKey", client_secret):
            assert secret not in text, f"{secret} in {text[:2000]}"


def test_the_ledger_is_clean_while_it_is_being_written_too(stripe_sandbox: Sandbox, tmp_path: Path) -> None:
    """The write-ahead file holds every page as it was, also what was overwritten later."""
    with Workbench(tmp_path, StripeConnector(), secret=stripe_sandbox.secret_key) as bench:
        bench.run(CARELESS, base_url=stripe_sandbox.url)
        bench.run(INTENT, at="2", base_url=stripe_sandbox.url)
        bench.records.reads.close()
        names = {file.name for file in tmp_path.iterdir()}
        assert "ledger.db-wal" in names
        for file in tmp_path.iterdir():
            content = file.read_bytes()
            assert b"RecognisableFakeKey" not in content
            assert stripe_sandbox.secret_key.encode() not in content
            assert not re.search(rb"pi_\w+_secret_\w", content)


def test_card_data_in_a_call_is_not_kept(stripe_sandbox: Sandbox, tmp_path: Path) -> None:
    card = {"number": CARD, "exp_month": 12, "exp_year": 2034, "cvc": "737"}
    raw = {"method": "POST", "path": "/v1/tokens", "params": {"card": card}}
    with Workbench(tmp_path, StripeConnector(), secret=stripe_sandbox.secret_key) as bench:
        outcome = bench.run(ToolCall(tool="raw-api-request", params=raw), base_url=stripe_sandbox.url)
        assert CARD not in shown(outcome)
        bench.records.reads.close()
        for file in tmp_path.iterdir():
            assert CARD.encode() not in file.read_bytes()


def test_the_command_line_shows_no_key(stripe_sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    base = f"connector: stripe, mode: test, base_url: '{stripe_sandbox.url}', policy: {{writes: allow}}"
    file.write_text(
        f"connections:\n  literal: {{{base}, secret_key: {FAKE}}}\n  good: {{{base}, secret_key: '${{env:KEY}}'}}\n"
    )
    command = [sys.executable, "-m", "spojit_stripe", "--connections", str(file), "--state", str(tmp_path / "state")]
    said = ""
    for words in (
        ["--connection", "literal", "call", "list-charges"],
        ["--connection", "literal", "--json", "call", "list-charges"],
        ["--connection", "good", "--dry-run", "call", "create-charge", "--amount", "5", "--currency", "usd"],
        ["connections", "list"],
        ["--connection", "literal", "connections", "test"],
        ["ledger", "list"],
    ):
        told = subprocess.run(
            [*command, *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"KEY": "sk_test_" + "Z" * 24},
        )
        assert "Traceback" not in told.stderr
        said += told.stdout + told.stderr
    assert "RecognisableFakeKey" not in said
    assert "ZZZZ" not in said


def test_no_recording_holds_a_key() -> None:
    files = sorted((ROOT / "cassettes").glob("*.yaml"))
    assert len(files) == 12
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert redact_text(text) == text, file.name
        assert not re.search(r"(?im)^\s*authorization:", text), file.name
        assert "sandbox_secret" not in text, file.name


@pytest.mark.parametrize("folder", ["docs", "examples", "cassettes", "schemas", "scripts", "spojit_stripe"])
def test_no_file_of_the_project_holds_what_looks_like_a_real_key(folder: str) -> None:
    for file in sorted((ROOT / folder).rglob("*")):
        if file.is_file() and file.suffix in (".py", ".md", ".json", ".yaml", ".yml", ".toml", ""):
            found = re.findall(r"(?:sk|rk)_(?:test|live)_[A-Za-z0-9]{16,}", file.read_text(encoding="utf-8"))
            assert not found, f"{file}: {found}"

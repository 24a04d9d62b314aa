"""Writes from the command line: announced, recorded, never made twice."""

from __future__ import annotations

import io
import json
import re
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from spojit_stripe.cli.app import run

MAIN = ("--connection", "main")
CHARGE = ("call", "create-charge", "--amount", "1050", "--currency", "usd")


def charges_of(box, customer: str) -> list[dict]:
    return [charge for charge in box.objects("charge") if charge["customer"] == customer]


def test_a_run_id_is_made_up_and_told_before_sending(cli, box, customer) -> None:
    """It comes before the outcome, and repeating with it gives the recorded answer."""
    first = cli(*CHARGE, *MAIN, "--customer", customer, "--json")
    told, done = first.err.splitlines()
    run_id = re.fullmatch(
        r"run id: (cli-\d{8}-\d{6}-[0-9a-f]{8}) \(repeat with --run-id \1 to resume; nothing is done twice\)", told
    )
    assert run_id is not None
    assert re.fullmatch(rf"done: {first.json['id']} \(ledger entry \d+\)", done)
    again = cli(*CHARGE, *MAIN, "--customer", customer, "--json", "--run-id", run_id[1])
    assert again.json["id"] == first.json["id"]
    assert re.fullmatch(r"this call was carried out before \(ledger entry \d+\); nothing was sent now\n", again.err)
    assert len(charges_of(box, customer)) == 1


def test_the_same_run_with_other_parameters_is_refused(cli, box, customer) -> None:
    """The key of a run belongs to one call."""
    cli(*CHARGE, *MAIN, "--customer", customer, "--run-id", "r-1")
    ran = cli(*CHARGE, *MAIN, "--customer", customer, "--run-id", "r-1", "--description", "other")
    assert ran.code == 4
    assert len(charges_of(box, customer)) == 1


def test_once_is_for_ever(cli, box, customer) -> None:
    """Another run with the same value executes nothing."""
    first = cli(*CHARGE, *MAIN, "--customer", customer, "--once", customer, "--json")
    again = cli(*CHARGE, *MAIN, "--customer", customer, "--once", customer, "--json")
    assert (again.code, again.json["id"]) == (0, first.json["id"])
    assert f"warning: once {customer!r} was used up by ledger entry" in again.err
    assert len(charges_of(box, customer)) == 1


def test_a_decline_and_its_resume(cli, box, customer) -> None:
    """A decline is final for its key; --resume makes a new attempt of the same run."""
    box.fail("POST", "/v1/charges", status=402, code="card_declined")
    call = (*CHARGE, *MAIN, "--customer", customer, "--run-id", "r-2")
    declined = cli(*call)
    assert declined.code == 6
    assert declined.err.splitlines()[1].startswith("error: Your card was declined.")
    assert "--run-id r-2 --resume" in declined.err
    assert cli(*call).code == 6
    assert charges_of(box, customer) == []
    assert cli(*call, "--resume").code == 0
    assert len(charges_of(box, customer)) == 1


def test_a_write_that_did_not_get_through(cli, box, customer) -> None:
    """A missing permission or a limit had no effect: the same run goes on once that is mended."""
    box.fail("POST", "/v1/charges", status=403, message="no permission")
    call = (*CHARGE, *MAIN, "--customer", customer, "--run-id", "r-6")
    ran = cli(*call)
    assert ran.code == 3
    assert "nothing took effect; repeat with --run-id r-6 when that is mended" in ran.err
    assert cli(*call).code == 0
    assert len(charges_of(box, customer)) == 1


def test_a_dry_run_sends_and_records_nothing(cli, box, folder: Path) -> None:
    """It shows request, amount, key and decision, before or after the command, and makes no folder."""
    before = len(box.requests())
    ran = cli("--dry-run", *CHARGE, *MAIN, "--source", "tok_visa", "--run-id", "r-3")
    fields = dict(line.split(None, 1) if "  " not in line else re.split(r" {2,}", line, maxsplit=1)
                  for line in ran.out.splitlines())  # fmt: skip
    assert (ran.code, ran.err) == (0, "dry run: nothing was sent\n")
    assert fields["would send"] == "POST /v1/charges"
    assert fields["amount"] == "10.50 USD"
    assert fields["effect"] == "money"
    assert fields["decision"] == "allow: connection 'main' allows writes"
    assert fields["key"].startswith("spojit-")
    denied = cli(*CHARGE, "--connection", "readonly", "--source", "tok_visa", "--dry-run", "--json")
    assert (denied.code, denied.json["decision"]) == (0, "deny")
    assert cli("call", "list-charges", *MAIN, "--dry-run", "--json").json["effect"] == "read"
    assert len(box.requests()) == before
    assert not (folder / "state").exists()


def test_asking_and_approving(cli, box, customer) -> None:
    """Exit code 5, an approval by a person, the same command again: exactly one charge."""
    call = (*CHARGE, "--connection", "asking", "--customer", customer)
    paused = cli(*call, "--json")
    assert (paused.code, paused.json["exit_code"]) == (5, 5)
    approval, run_id = paused.json["paused"], paused.json["run_id"]
    assert paused.err == (
        f"waiting for approval {approval}: connection 'asking' asks before every write\n"
        f"approve it with `spojit-stripe approvals approve {approval}`, then repeat this command with --run-id "
        f"{run_id}\n"
    )
    listed = cli("approvals", "list")
    assert f"{approval}  pending" in listed.out
    assert "10.50 USD" in listed.out
    shown = cli("approvals", "show", approval)
    assert "POST /v1/charges" in shown.out
    assert customer in shown.out
    assert cli("approvals", "approve", approval, "--dry-run").err.startswith("dry run: ")
    assert cli("approvals", "list", "--decision", "pending", "--json").json[0]["id"] == approval
    approved = cli("approvals", "approve", approval, "--note", "ok")
    assert approved.code == 0
    assert f"now repeat the same command with --run-id {run_id}" in approved.err
    assert cli(*call, "--run-id", run_id).code == 0
    assert cli(*call, "--run-id", run_id).code == 0
    assert len(charges_of(box, customer)) == 1
    assert cli("approvals", "show", approval, "--json").json["state"] == "used"
    assert cli("approvals", "approve", approval).code == 2


def test_rejecting(cli, box, customer) -> None:
    """A rejected call is refused for good, with the person's reason."""
    call = (*CHARGE, "--connection", "asking", "--customer", customer, "--run-id", "r-4")
    cli(*call)
    approval = cli("approvals", "list", "--json").json[0]["id"]
    assert cli("approvals", "reject", approval, "--note", "too much").code == 0
    ran = cli(*call)
    assert ran.code == 4
    assert ran.err.endswith("rejected the call: too much; that is final for this run\n")
    assert charges_of(box, customer) == []


def test_planning(cli, box, customer) -> None:
    """Planned calls get numbers, one approval, and are carried out in order."""
    first = (*CHARGE, "--connection", "planning", "--customer", customer, "--run-id", "plan-1")
    ran = cli(*first, "--json")
    assert (ran.code, ran.json["planned"], "id" in ran.json) == (5, 1, False)
    assert "planned as number 1 of run plan-1, not carried out" in ran.err
    assert "once approved, repeat this command with --run-id plan-1\n" in ran.err
    (plan,) = cli("approvals", "list", "--json").json
    shown = cli("approvals", "show", plan["id"])
    assert "1. call" in shown.out
    assert cli("approvals", "approve", plan["id"]).code == 0
    assert cli(*first).code == 0
    assert len(charges_of(box, customer)) == 1


@pytest.fixture(scope="module")
def unanswered(box, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A charge that was made, although the answer was 500: its customer, and its ledger."""
    folder = tmp_path_factory.mktemp("unanswered")
    (folder / "connections.yaml").write_text(
        "connections: {main: {connector: stripe, secret_key: '${env:TEST_STRIPE_KEY}', mode: test, "
        f"base_url: '{box.url}', policy: {{writes: allow}}}}}}"
    )
    where = ("--connections", str(folder / "connections.yaml"), "--state", str(folder / "state"))
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(err):
        patch.setenv("TEST_STRIPE_KEY", box.secret_key)
        with redirect_stdout(out):
            run([*where, "call", "create-customer", "--source", "tok_visa", "--json"])
        customer = json.loads(out.getvalue())["id"]
        box.fail("POST", "/v1/charges", status=500, effect=True, times=0, headers={"Stripe-Should-Retry": "false"})
        out = io.StringIO()
        with redirect_stdout(out):
            code = run([*where, *CHARGE, "--customer", customer, "--run-id", f"r-{customer}", "--json"])
        box.clear_faults()
    told = json.loads(out.getvalue())
    assert (code, told["error"], told["exit_code"]) == (7, "OutcomeUnknownError", 7)
    assert f"repeat with --run-id r-{customer} to settle it under the same key" in err.getvalue()
    assert "or say what happened: spojit-stripe ledger resolve " in err.getvalue()
    return customer, folder / "state"


@pytest.fixture
def unknown(unanswered: tuple[str, Path], folder: Path) -> tuple[str, tuple[str, ...]]:
    """That charge in this test's own ledger: its customer, and the command."""
    customer, state = unanswered
    shutil.copytree(state, folder / "state")
    return customer, (*CHARGE, *MAIN, "--customer", customer, "--run-id", f"r-{customer}")


def test_an_unknown_outcome_is_settled_by_repeating(cli, box, unknown) -> None:
    """Until then an equal call of another run is exit code 7; then there is exactly one charge."""
    customer, call = unknown
    (entry,) = cli("ledger", "list", "--outcome", "unknown", "--json").json
    twin = cli(*call[:-2], "--run-id", "another")
    assert twin.code == 7
    assert f"ledger entry {entry['id']} (run r-{customer}) is the same call" in twin.err
    settled = cli(*call)
    assert settled.code == 0
    assert "Stripe had carried out this call before and gave its stored answer" in settled.err
    assert len(charges_of(box, customer)) == 1


def test_an_unknown_outcome_is_looked_up(cli, box, unknown) -> None:
    """`ledger resolve` without a word of the person asks Stripe by the key."""
    customer, call = unknown
    (entry,) = cli("ledger", "list", "--outcome", "unknown", "--json").json
    (charge,) = charges_of(box, customer)
    dry = cli("ledger", "resolve", str(entry["id"]), "--dry-run")
    assert (dry.code, dry.err) == (0, f"dry run: entry {entry['id']} would be done: {charge['id']}\n")
    ran = cli("ledger", "resolve", str(entry["id"]))
    assert ran.code == 0, ran.err
    assert f"entry {entry['id']} is done: {charge['id']} (recorded by " in ran.err
    assert cli(*call, "--json").json["id"] == charge["id"]
    assert len(charges_of(box, customer)) == 1


def test_an_unknown_outcome_is_settled_by_word(cli, box, unknown) -> None:
    """--found names the object and is checked; another id is refused."""
    customer, _ = unknown
    (entry,) = cli("ledger", "list", "--outcome", "unknown", "--json").json
    (charge,) = charges_of(box, customer)
    assert cli("ledger", "resolve", str(entry["id"]), "--found", "ch_other").code == 6
    ran = cli("ledger", "resolve", str(entry["id"]), "--found", charge["id"], "--note", "seen", "--json")
    assert (ran.code, ran.json["state"], ran.json["object_id"]) == (0, "done", charge["id"])
    assert (ran.json["result"]["amount"], ran.json["resolution"]["note"]) == (1050, "seen")
    assert cli("ledger", "resolve", str(entry["id"]), "--none").code == 2


def test_an_unknown_outcome_that_was_nothing(cli, unknown) -> None:
    """--none makes it a failure without effect, which --resume may follow."""
    (entry,) = cli("ledger", "list", "--outcome", "unknown", "--json").json
    assert cli("ledger", "resolve", str(entry["id"]), "--none", "--dry-run").code == 0
    ran = cli("ledger", "resolve", str(entry["id"]), "--none")
    assert ran.err.startswith(f"entry {entry['id']} is failed: nothing took effect (recorded by ")


def test_the_ledger(cli, customer, folder: Path) -> None:
    """List, show and export agree, and filters narrow."""
    cli(*CHARGE, *MAIN, "--customer", customer, "--run-id", "r-5")
    cli("call", "list-charges", *MAIN)
    assert len(cli("ledger", "list", "--json").json) == 3
    assert [one["run_id"] for one in cli("ledger", "list", "--run-id", "r-5", "--json").json] == ["r-5"]
    writes = cli("ledger", "list", "--writes", "--json").json
    assert [one["tool"] for one in writes] == ["create-charge", "create-customer"]
    short = cli("ledger", "list", "--limit", "1")
    assert short.err == "1 entry, more with --limit\n"
    shown = cli("ledger", "show", str(writes[0]["id"]))
    assert re.search(r"^amount +10\.50 USD$", shown.out, re.MULTILINE)
    assert re.search(r"^run_id +r-5$", shown.out, re.MULTILINE)
    assert cli("ledger", "show", str(writes[0]["id"]), "--json").json == writes[0]
    lines = cli("ledger", "export", "--writes").out.splitlines()
    assert len(lines) == 2
    assert cli("ledger", "export", "--writes", "--format", "json").json == writes
    ran = cli("ledger", "export", "-o", "ledger.csv")
    assert (ran.out, ran.err) == ("", "3 entries\n")
    header, *rows = (folder / "ledger.csv").read_text().splitlines()
    assert header.startswith("id,created,effect,state,connection")
    assert len(rows) == 3


def test_an_empty_ledger(cli, folder: Path) -> None:
    """Looking makes no folder."""
    ran = cli("ledger", "list", "--json")
    assert (ran.code, ran.json) == (0, [])
    assert ran.err == f"nothing is recorded in {folder}/state yet\n"
    assert cli("ledger", "export", "--format", "csv").out.startswith("id,created")
    assert cli("approvals", "list", "--json").json == []
    assert not (folder / "state").exists()

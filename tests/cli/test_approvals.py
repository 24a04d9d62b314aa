"""Approvals of runs: who may decide, what wakes, and going on at once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from spojit_stripe.cli.ledger import user_name

ASKED = """\
name: asked
nodes:
  - {id: ask, type: human, message: "Pay {{ 5000 | money('usd') }}?", approvers: [finance, ceo], urgency: high}
  - {id: charge, type: connector, connector: stripe, connection: asking, tool: create-charge,
     params: {amount: 5000, currency: usd, source: tok_visa}, when: "{{ ask.approved }}"}
  - {id: out, type: transform, set: {by: "{{ ask.by }}", why: "{{ ask.reason }}", charged: "{{ charge is not none }}"}}
"""


@pytest.fixture
def question(cli, folder: Path, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A run of its own id that asks, and the approval."""
    (folder / "asked.yaml").write_text(ASKED)
    run_id = f"asked-{request.node.name}"
    ran = cli("run", "asked.yaml", "--run-id", run_id)
    assert (ran.code, ran.out) == (5, "")
    found = re.search(r"^waiting for (apr_\w+): Pay 50\.00 USD\?$", ran.err, re.MULTILINE)
    assert found is not None
    assert re.search(
        rf"  `spojit-stripe approvals show {found[1]}`, then approve or reject it until \d{{4}}-\S+Z, and\n"
        rf"  `spojit-stripe runs resume {run_id}` goes on; no process has to wait\n$",
        ran.err,
    )
    return run_id, found[1]


def test_a_question_is_shown_with_whom_it_asks(cli, question) -> None:
    run_id, approval = question
    row = cli("approvals", "list").out.splitlines()[-1]
    assert row.startswith(f"{approval}  pending")
    assert "a question of node ask" in row
    shown = cli("approvals", "show", approval).out
    for name, value in (
        ("run id", run_id),
        ("approvers", "finance, ceo"),
        ("urgency", "high"),
        ("message", re.escape("Pay 50.00 USD?")),
    ):
        assert re.search(rf"^{name} +{value}$", shown, re.MULTILINE), name


def test_only_whom_the_workflow_names_may_decide(cli, question, box) -> None:
    """And the call that policy asks about needs an approval of its own, bound to the call."""
    run_id, approval = question
    before = box.count("charge")
    nobody = cli("approvals", "approve", approval)
    assert (nobody.code, nobody.err) == (
        4,
        f"error: approval {approval} is for finance, ceo, and you are {user_name()}; say --as NAME if you are one of "
        "them\n",
    )
    other = cli("approvals", "approve", approval, "--as", "marketing")
    assert (other.code, other.err) == (
        4,
        f"error: approval {approval} is for finance, ceo, and 'marketing' is not among them\n",
    )
    assert cli("approvals", "list", "--decision", "pending").err == "1 approval\n"
    first = cli("approvals", "approve", approval, "--as", "finance", "--note", "agreed", "--continue")
    assert first.code == 5, "the call itself is asked about"
    assert first.err.splitlines()[0] == f"{approval} is approved by {user_name()} as finance"
    assert "? ask  waiting" not in first.err, "it waits no more"
    (call,) = cli("approvals", "list", "--decision", "pending", "--json").json
    assert (call["kind"], call["run_id"], call["preview"]["params"]["amount"]) == ("call", run_id, 5000)
    assert box.count("charge") == before
    done = cli("approvals", "approve", call["id"], "--continue")
    assert (done.code, json.loads(done.out)) == (
        0,
        {"by": f"{user_name()} as finance", "why": "agreed", "charged": True},
    )
    assert box.count("charge") == before + 1
    late = cli("approvals", "approve", approval, "--as", "ceo")
    assert (late.code, late.err) == (2, f"error: approval {approval} is approved already; nothing was changed\n")


def test_a_rejection_goes_on_too(cli, question, box) -> None:
    _, approval = question
    before = box.count("charge")
    said = cli("approvals", "reject", approval, "--as", "ceo", "--note", "not this week")
    assert said.code == 0
    assert said.err.splitlines()[-1] == (
        f"run {question[0]} waits for this: `spojit-stripe runs resume {question[0]}` goes on with it"
    )
    done = cli("runs", "resume", question[0])
    assert (done.code, json.loads(done.out)["charged"]) == (0, False)
    assert box.count("charge") == before


def test_a_plan_is_approved_once_and_executed_in_order(cli, box, folder: Path) -> None:
    """`writes: plan`, through the command line: what is approved is what is sent, and a failure stops the rest."""
    (folder / "plan.yaml").write_text(
        """\
name: plan
nodes:
  - id: all
    type: loop
    for_each: [{n: 1100, source: tok_visa}, {n: 1200, source: tok_chargeDeclined}, {n: 1300, source: tok_visa}]
    nodes:
      - {id: charge, type: connector, connector: stripe, connection: planning, tool: create-charge,
         params: {amount: "{{ item.n }}", currency: usd, source: "{{ item.source }}"}}
"""
    )
    before = box.count("charge")
    ran = cli("run", "plan.yaml", "--run-id", "plan-cli", "--json")
    assert (ran.code, box.count("charge")) == (5, before)
    approval = ran.json["approvals"][0]["approval"]
    assert "a plan of 3 calls" in cli("approvals", "list").out
    shown = cli("approvals", "show", approval).out
    assert re.findall(r"^\d\. amount +(.*)$", shown, re.MULTILINE) == ["11.00 USD", "12.00 USD", "13.00 USD"]
    ended = cli("approvals", "approve", approval, "--continue")
    assert ended.code == 6
    assert "Your card was declined" in ended.err
    calls = cli("runs", "export", "plan-cli").json["calls"]
    assert [(one["amount"], one["state"]) for one in calls if one["effect"] == "money"] == [
        (1100, "done"),
        (1200, "failed"),
    ]
    assert len([one for one in box.objects("charge")[before:] if one["status"] == "succeeded"]) == 1

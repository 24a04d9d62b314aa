"""`agent`: a question on the command line, over HTTP to a scripted model and to the sandbox."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from spojit_stripe.testing.scripted_model import Scripted, ScriptedModel, fails, say, use

Play = Callable[..., ScriptedModel]


@pytest.fixture
def play(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Start a model that plays these turns; all of them must be played by the end of the test."""
    models: list[ScriptedModel] = []

    def start(*turns: Scripted) -> ScriptedModel:
        model = ScriptedModel(*turns).start()
        models.append(model)
        for name, value in model.environment.items():
            monkeypatch.setenv(name, value)
        return model

    yield start
    for model in models:
        model.stop()
    for model in models:
        model.verify()


def refund(charge, amount=500):
    return use("raw-api-request", method="POST", path="/v1/refunds", params={"charge": charge, "amount": amount})


@pytest.fixture
def charge(cli, customer):
    made = cli(
        *("call", "create-charge", "--connection", "main", "--customer", customer),
        *("--amount", "2000", "--currency", "usd", "--json"),
    )
    return made.json["id"]


def test_an_answer_goes_to_standard_output_and_what_was_done_to_standard_error(cli, play, customer, charge):
    play(use("list-charges", customer=customer), say(f"{customer} was charged 20.00 USD ({charge})."))
    ran = cli("agent", f"What was {customer} charged?", "--connection", "readonly")
    assert ran.code == 0
    assert ran.out == f"{customer} was charged 20.00 USD ({charge}).\n"
    assert "→ list-charges" in ran.err
    assert "1 charge; complete" in ran.err
    assert "2 turns, 1 calls" in ran.err
    assert "USD (claude-sonnet-5-5)" in ran.err


def test_json_holds_answer_meta_and_transcript(cli, play, customer):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    play(use("list-charges", customer=customer), say({"n": 0}))
    ran = cli(
        "agent", f"Count {customer}'s charges", "--connection", "readonly", "--schema", json.dumps(schema), "--json"
    )
    assert ran.code == 0
    assert ran.json["answer"] == {"n": 0}
    assert ran.json["meta"]["incomplete"] is False
    assert [turn["stop_reason"] for turn in ran.json["transcript"]["turns"]] == ["tool_use", "end_turn"]


def test_the_whole_transcript_is_told_where_asked(cli, play, customer):
    play(use("get-customer", customer=customer), say("There she is."))
    ran = cli("agent", f"Who is {customer}?", "--connection", "readonly", "--transcript")
    assert "turn 1: " in ran.err
    assert f"customer {customer}" in ran.err


def test_writes_are_denied_when_left_out(cli, play, charge):
    play(refund(charge), say("I may not.").after("writes are denied"))
    assert cli("agent", f"Refund 5 USD of {charge}", "--connection", "main", "--tools", "raw-api-request").code == 0


def test_a_pause_ends_with_5_and_the_same_run_goes_on_without_asking_the_model_again(cli, play, charge, box):
    model = play(refund(charge), say("Refunded 5.00 USD."))
    command = (
        "agent",
        f"Refund 5 USD of {charge}",
        "--connection",
        "main",
        "--tools",
        "raw-api-request",
        "--writes",
        "ask",
    )
    before = box.count("refund")
    ran = cli(*command, "--run-id", "goodwill-1", "--json")
    assert ran.code == 5
    approval = ran.json["paused"]
    assert f"approvals show {approval}" in ran.err
    assert "--run-id goodwill-1" in ran.err
    assert box.count("refund") == before
    assert model.played == 1

    assert cli(*command, "--run-id", "goodwill-1").code == 5  # still nobody has decided
    assert model.played == 1
    assert cli("approvals", "approve", approval).code == 0

    ran = cli(*command, "--run-id", "goodwill-1")
    assert ran.code == 0
    assert ran.out == "Refunded 5.00 USD.\n"
    assert "going on with run goodwill-1" in ran.err
    assert box.count("refund") == before + 1
    assert cli(*command, "--run-id", "goodwill-1").out == "Refunded 5.00 USD.\n"
    assert box.count("refund") == before + 1


def test_a_plan_is_approved_as_a_whole(cli, play, charge, box):
    play(
        refund(charge).then(refund(charge, 300)), say("Two refunds are needed."), say("Refunded 5.00 USD and 3.00 USD.")
    )
    command = ("agent", f"Refund {charge}", "--connection", "main", "--tools", "raw-api-request", "--writes", "plan")
    ran = cli(*command, "--run-id", "plan-1", "--json")
    assert ran.code == 5
    before = box.count("refund")
    approved = cli("approvals", "approve", ran.json["paused"])
    assert "now repeat the same command with --run-id plan-1;" in approved.err
    assert cli(*command, "--run-id", "plan-1").code == 0
    assert box.count("refund") == before + 2


def test_a_rejected_call_is_told(cli, play, charge):
    play(refund(charge), say("It was rejected.").after("rejected"))
    command = (
        "agent",
        f"Refund 5 USD of {charge}",
        "--connection",
        "main",
        "--tools",
        "raw-api-request",
        "--writes",
        "ask",
    )
    approval = cli(*command, "--run-id", "no-1", "--json").json["paused"]
    cli("approvals", "reject", approval)
    assert cli(*command, "--run-id", "no-1").out == "It was rejected.\n"


def test_a_failed_run_goes_on_at_the_failed_step(cli, play, customer):
    play(use("get-customer", customer=customer), fails(400, "invalid_request_error", "no"), say("There she is."))
    command = ("agent", f"Who is {customer}?", "--connection", "readonly", "--run-id", "again-1")
    ran = cli(*command)
    assert ran.code == 6
    assert "error: the model refused the request: no" in ran.err
    assert "--run-id again-1" in ran.err
    assert cli(*command).out == "There she is.\n"


def test_a_limit_ends_with_8(cli, play, customer):
    play(use("get-customer", customer=customer), say("So far nothing."))
    ran = cli("agent", f"Who is {customer}?", "--connection", "readonly", "--max-turns", "2")
    assert ran.code == 8
    assert ran.out == "So far nothing.\n"
    assert "incomplete: limits.turns (2)" in ran.err


def test_what_no_result_has_told_is_warned_of(cli, play):
    play(say("It was ch_3MadeUpMadeUpMadeUpMade1, over 7.00 EUR."))
    ran = cli("agent", "What was it?", "--connection", "readonly")
    assert "not found in any result: ch_3MadeUpMadeUpMadeUpMade1" in ran.err
    assert "not found in any result: 7.00 EUR" in ran.err


def test_hostile_text_does_not_reach_the_terminal(cli, play):
    play(say("Fine \x1b[2J\x1b]0;owned\x07 and \u202eright"))
    ran = cli("agent", "Say something", "--connection", "readonly")
    assert "\x1b" not in ran.out + ran.err
    assert "\u202e" not in ran.out + ran.err


# Bad input


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--tools", "list-charge"), "tools[0]: unknown tool 'list-charge'; did you mean 'list-charges'?"),
        (("--model", "a b"), "model: 'a b' is no name of a model"),
        (("--model", ""), "model: '' is no name of a model"),
        (("--max-turns", "0"), "limits.turns: is 0"),
        (("--cost", "-1"), "limits.cost_usd: is -1.0"),
        (("--cost", "nan"), "limits.cost_usd: is nan"),
        (("--schema", "{"), "--schema: not valid JSON"),
        (("--schema", '{"type": "objekt"}'), "response_schema: is no JSON Schema"),
        (("--schema", "@nowhere.json"), "can't read it"),
        (("--writes", "allow"), "'allow' is not one of"),
        (("--run-id", " "), "--run-id: must have"),
        (("--dry-run",), "has no dry run"),
    ],
)
def test_bad_input_is_told_in_a_line(cli, more, words):
    ran = cli("agent", "What?", "--connection", "readonly", *more)
    assert ran.code == 2
    assert words in ran.err
    assert len(ran.err.splitlines()) == 1


def test_an_empty_question_is_refused(cli):
    assert "prompt: is empty" in cli("agent", " ", "--connection", "readonly").err


def test_without_a_key_it_says_which_variable_and_that_direct_mode_works(cli):
    ran = cli("agent", "What?", "--connection", "readonly")
    assert ran.code == 3
    assert "ANTHROPIC_API_KEY" in ran.err
    assert "Direct Mode" in ran.err


def test_a_run_id_of_another_question_is_refused(cli, play):
    play(say("One."))
    assert cli("agent", "What?", "--connection", "readonly", "--run-id", "mine").code == 0
    ran = cli("agent", "Something else?", "--connection", "readonly", "--run-id", "mine")
    assert ran.code == 2
    assert "--run-id mine" in ran.err


def test_a_connection_that_denies_is_not_widened(cli, play, charge):
    play(refund(charge), say("No.").after("writes are denied"))
    command = ("agent", f"Refund 5 USD of {charge}", "--connection", "readonly", "--tools", "raw-api-request")
    ran = cli(*command, "--writes", "ask")
    assert ran.code == 0
    assert "can't widen" in ran.err


@pytest.mark.parametrize("body", ["{agent}", "  - {{id: each, type: loop, for_each: [1], nodes: [{flat}]}}\n"])
def test_trusted_ids_are_inputs_inside_a_loop_too(cli, play, folder, charge, body):
    flat = (
        "{id: a, type: connector, connector: stripe, connection: main, mode: agent, prompt: Refund., "
        "tools: [raw-api-request], policy: {writes: allow, caps: {per_run: {amount: 800, currency: usd}}}}"
    )
    (folder / "in.json").write_text(json.dumps({"charges": [charge]}))
    (folder / "w.yaml").write_text(
        "name: t\ninputs: {type: object, properties: {charges: {type: array, items: {type: string}}}}\n"
        "trusted_ids: [charges]\nnodes:\n" + body.format(agent=f"  - {flat}\n", flat=flat)
    )
    play(refund(charge), say("It is done."))
    ended = cli("run", "w.yaml", "--run-id", f"trusted-{len(body)}", "--inputs", "in.json")
    assert ended.code == 0, ended.err
    listed = cli("ledger", "list", "--writes", "--run-id", f"trusted-{len(body)}", "--json").json
    assert [entry["amount"] for entry in listed] == [500]


EACH = """\
name: each
inputs: {type: object, properties: {charges: {type: array, items: {type: string}}}, required: [charges]}
trusted_ids: [charges]
nodes:
  - id: each
    type: loop
    for_each: "{{ input.charges }}"
    nodes:
      - {id: look, type: connector, connector: stripe, connection: planning, mode: agent, prompt: "Refund {{ item }}.",
         tools: [raw-api-request]}
  - {id: pay, type: connector, connector: stripe, connection: planning, tool: create-customer, params: {name: Nora}}
"""


def test_each_agent_of_a_loop_has_a_plan_of_its_own_and_the_run_one_more(cli, play, charge, customer, box, folder):
    second = cli(
        *("call", "create-charge", "--connection", "main", "--customer", customer),
        *("--amount", "900", "--currency", "usd", "--json"),
    ).json["id"]
    (folder / "each.yaml").write_text(EACH)
    (folder / "in.json").write_text(json.dumps({"charges": [charge, second]}))
    before, people = box.count("refund"), box.count("customer")
    play(
        refund(charge).then(refund(charge, 300)),
        say("Two refunds.").after("planned: 1", "planned: 2"),
        say("Refunded 5.00 USD and 3.00 USD."),
        refund(second, 100),
        say("One refund.").after("planned: 1"),
        say("Refunded 1.00 USD."),
    )
    assert cli("validate", "each.yaml").code == 0
    assert cli("run", "each.yaml", "--inputs", "in.json", "--run-id", "each-1").code == 5

    def approve() -> list[int | None]:
        (waiting,) = cli("approvals", "list", "--decision", "pending", "--json").json
        assert cli("approvals", "approve", waiting["id"]).code == 0
        return [one["amount"]["amount"] if one["amount"] else None for one in waiting["preview"]["calls"]]

    assert approve() == [500, 300]
    assert cli("runs", "resume", "each-1").code == 5
    assert box.count("refund") == before + 2
    assert approve() == [100]
    assert cli("runs", "resume", "each-1").code == 5
    assert box.count("refund") == before + 3
    assert approve() == [None]
    assert cli("runs", "resume", "each-1").code == 0
    assert (box.count("refund"), box.count("customer")) == (before + 3, people + 1)


SAME = """\
name: same
nodes:
  - id: each
    type: loop
    for_each: [one, two]
    nodes:
      - {id: look, type: connector, connector: stripe, connection: planning, mode: agent, prompt: "Add {{ item }}.",
         tools: [create-customer]}
"""


def test_agents_of_a_loop_may_each_plan_the_same_by_right(cli, play, box, folder):
    (folder / "same.yaml").write_text(SAME)
    create = use("create-customer", name="Nora")
    play(create, say("One."), say("Done."), create, say("One.").after("planned: 1"), say("Done."))
    before = box.count("customer")
    assert cli("run", "same.yaml", "--run-id", "same-1").code == 5
    for count in (1, 2):
        (waiting,) = cli("approvals", "list", "--decision", "pending", "--json").json
        assert waiting["owner"] == f"look/{count - 1}"
        cli("approvals", "approve", waiting["id"])
        assert cli("runs", "resume", "same-1").code == (5 if count == 1 else 0)
        assert box.count("customer") == before + count


def test_a_question_that_nobody_decided_in_time_is_no_dead_end(cli, play, charge, folder):
    play(refund(charge), say("Nobody decided.").after("nobody decided approval"))
    command = ("agent", f"Refund 5 USD of {charge}", "--connection", "main", "--tools", "raw-api-request")
    command = (*command, "--writes", "ask", "--run-id", "late-1")
    assert cli(*command).code == 5
    with closing(sqlite3.connect(folder / "state" / "ledger.db")) as db:
        db.execute("UPDATE approvals SET expires = requested - 1")
        db.commit()
    ran = cli(*command)
    assert (ran.code, ran.out) == (0, "Nobody decided.\n")

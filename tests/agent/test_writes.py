"""What an agent may change, what asks, and what it is told when it repeats itself."""

from __future__ import annotations

import pytest

from spojit_stripe.agent import render_transcript
from spojit_stripe.errors import OutcomeUnknownError, RefusedError
from spojit_stripe.testing.scripted_model import say, use

TOOLS = ("get-customer", "list-charges", "create-charge", "create-customer", "raw-api-request")


def refund(charge, amount=500, **more):
    params = {"charge": charge, **({} if amount is None else {"amount": amount})}
    return use("raw-api-request", method="POST", path="/v1/refunds", params=params, **more)


@pytest.fixture
def paid(shop):
    """A customer and her charge of 20 dollars, known to the author."""
    customer = shop.customer()
    charge = shop.charge(customer)
    shop.settle()
    return customer, charge


def go(shop, paid, *turns, policy=None, journal=None, **more):
    given = {"tools": TOOLS, "trusted": paid, **more}
    return shop.agent("Do what is needed.", *turns, policy=policy or shop.allow, journal=journal, **given)


def test_writes_are_denied_unless_the_node_allows_them(shop, paid):
    go(shop, paid, refund(paid[1]), say("No.").after("writes are denied"), policy=shop.deny)
    assert shop.writes() == []


def test_a_write_within_its_caps_is_made_and_told(shop, paid):
    reply = go(shop, paid, refund(paid[1]), say("Refunded 5.00 USD.").after("done (ledger entry"))
    assert shop.writes() == ["POST /v1/refunds"]
    assert reply.meta["ledger_ids"] == [shop.entries()[0].id]
    (call,) = reply.transcript["turns"][0]["calls"]
    assert call["ledger_id"] == shop.entries()[0].id
    assert "5.00 USD" in call["says"]


def test_blank_text_beside_a_call_is_not_sent_back(shop, paid):
    """The API takes none, so that a run would be stuck after its money moved."""
    go(shop, paid, say(" ").then(refund(paid[1])), say("Refunded 5.00 USD.").after("done (ledger entry"))
    assert shop.writes() == ["POST /v1/refunds"]
    (answered,) = [one for one in shop.model.requests[-1].body["messages"] if one["role"] == "assistant"]
    assert [block["type"] for block in answered["content"]] == ["tool_use"]


def test_without_caps_an_agents_money_asks(shop, paid):
    journal = shop.journal()
    journal.decide = shop.reject
    go(shop, paid, refund(paid[1]), say("No.").after("rejected"), policy={"writes": "allow"}, journal=journal)
    (waiting,) = [facts for kind, facts in shop.told if kind == "waiting"]
    assert "only under caps" in waiting["reason"]
    assert shop.writes() == []


def test_an_omitted_amount_counts_as_the_rest_of_the_charge(shop, paid):
    big = shop.charge(paid[0], 9_000)
    shop.settle()
    go(shop, (*paid, big), refund(big, None), say("Too much.").after("over the cap per call"))
    assert shop.writes() == []
    go(shop, paid, refund(paid[1], None), say("Refunded 20.00 USD."))
    assert shop.box.object(paid[1])["amount_refunded"] == 2_000


def test_a_repeated_money_call_is_told_its_outcome_and_not_made(shop, paid):
    intent = shop.box.object(paid[1]).get("payment_intent")
    assert intent is None
    reply = go(
        shop,
        paid,
        refund(paid[1]).then(refund(paid[1])),
        refund(paid[1]).after("NOTHING WAS EXECUTED: this call repeats ledger entry"),
        say("Refunded once.").after("NOTHING WAS EXECUTED"),
    )
    assert shop.writes() == ["POST /v1/refunds"]
    assert len(shop.entries()) == 1
    outcomes = [call["outcome"] for turn in reply.transcript["turns"] for call in turn["calls"]]
    assert outcomes == ["done", "repeat, not executed", "repeat, not executed"]


def test_a_refund_in_other_words_is_the_same_refund(shop):
    """Through the payment intent, with a reason, as text of another length: the charge, amount and currency are one."""
    customer = shop.customer()
    made = shop.post(
        "/v1/payment_intents",
        amount=2_000,
        currency="usd",
        customer=customer,
        payment_method="pm_card_visa",
        confirm=True,
        automatic_payment_methods={"enabled": True, "allow_redirects": "never"},
    )
    charge, intent = str(made["latest_charge"]), str(made["id"])
    shop.settle()
    other = {"payment_intent": intent, "amount": 500, "reason": "requested_by_customer", "metadata": {"n": "2"}}
    go(
        shop,
        (charge, intent),
        refund(charge),
        use("raw-api-request", method="POST", path="/v1/refunds", params=other),
        use("raw-api-request", method="POST", path=f"/v1/charges/{charge}/refunds", params={"amount": 500}),
        say("Once."),
    )
    assert shop.writes() == ["POST /v1/refunds"]


def test_an_intended_second_one_always_asks(shop, paid):
    journal = shop.journal()
    journal.decide = shop.approve
    go(
        shop,
        paid,
        refund(paid[1]),
        refund(paid[1], intent="the customer was overcharged twice"),
        say("Refunded twice."),
        journal=journal,
    )
    (waiting,) = [facts for kind, facts in shop.told if kind == "waiting"]
    assert "overcharged twice" in waiting["reason"]
    assert waiting["preview"]["context"]["intent"] == "the customer was overcharged twice"
    assert shop.box.object(paid[1])["amount_refunded"] == 1_000


def test_the_same_money_by_another_operation_asks(shop):
    """A capture and a refund of one amount are two things; a person can tell whether both are meant."""
    customer = shop.customer()
    charge = shop.charge(customer, 2_000, capture=False)
    shop.settle()
    journal = shop.journal()
    journal.decide = shop.reject
    go(
        shop,
        (charge,),
        use("raw-api-request", method="POST", path=f"/v1/charges/{charge}/capture", params={"amount": 2_000}),
        refund(charge, 2_000),
        say("Captured.").after("rejected"),
        journal=journal,
    )
    assert shop.writes() == [f"POST /v1/charges/{charge}/capture"]


def test_a_failed_money_call_is_not_tried_again_unasked(shop, paid):
    declining = shop.post("/v1/customers", source="tok_chargeCustomerFail")
    shop.settle()
    call = use("create-charge", customer=declining["id"], amount=700, currency="usd")
    go(shop, (declining["id"],), call, call, say("Declined.").after("NOTHING WAS EXECUTED"))
    assert shop.writes() == ["POST /v1/charges"]


def test_a_write_of_the_same_words_is_made_once(shop, paid):
    call = use("create-customer", name="Nora")
    go(shop, paid, call.then(call), say("Made."))
    assert shop.writes() == ["POST /v1/customers"]


# Approvals


def test_an_approval_shows_call_amount_customer_and_what_the_run_did(shop, paid):
    journal = shop.journal()
    journal.decide = shop.approve
    other = shop.charge(paid[0], 700)
    shop.settle()
    go(
        shop,
        (*paid, other),
        use("list-charges", customer=paid[0]),
        refund(paid[1]),
        refund(other, 200),
        say("Both refunded."),
        policy=shop.ask,
        journal=journal,
    )
    first, second = [facts["preview"] for kind, facts in shop.told if kind == "waiting"]
    assert first["context"]["amount"] == "5.00 USD"
    assert first["context"]["customer"] == paid[0]
    assert first["context"]["so_far"] == "this run has changed nothing yet"
    assert "POST /v1/refunds: re_" in second["context"]["so_far"][0]
    assert "agent of node story" in first["context"]["asked_by"]
    assert shop.box.count("refund") == 2


def test_a_rejected_call_is_not_asked_again_in_other_words(shop, paid):
    journal = shop.journal()
    journal.decide = shop.reject
    go(
        shop,
        paid,
        refund(paid[1]),
        refund(paid[1], intent="really needed").after("not owed"),
        say("Rejected.").after("rejected this call already"),
        policy=shop.ask,
        journal=journal,
    )
    assert len([kind for kind, _ in shop.told if kind == "waiting"]) == 1
    assert shop.writes() == []


def test_a_question_that_nobody_answers_is_told(shop, paid):
    go(shop, paid, refund(paid[1]), say("Nobody said.").after("nobody decided"), policy=shop.ask)
    assert shop.writes() == []


# Plans


def plan_turns(paid, other):
    return (
        refund(paid[1]).then(refund(other, 200)),
        say("I propose two refunds.").after("planned: 1", "planned: 2"),
    )


def test_a_plan_is_approved_as_a_whole_and_made_in_order(shop, paid):
    other = shop.charge(paid[0], 700)
    shop.settle()
    journal = shop.journal()
    journal.decide = shop.approve
    reply = go(
        shop,
        (*paid, other),
        *plan_turns(paid, other),
        say("Refunded 5.00 USD and 2.00 USD.").after("The plan is approved", "1. done", "2. done"),
        policy=shop.plan,
        journal=journal,
    )
    assert [entry.amount for entry in shop.entries()] == [500, 200]
    assert reply.meta["ungrounded"] == []
    assert [one["outcome"] for one in reply.transcript["plan"]["calls"]] == ["done", "done"]
    assert shop.model.requests[-1].body["tool_choice"] == {"type": "none"}
    (waiting,) = [facts for kind, facts in shop.told if kind == "waiting"]
    assert waiting["calls"] == 2
    assert journal.names[-3:] == ["plan 1", "plan 2", "turn 3 model"]


def test_a_rejected_plan_executes_nothing(shop, paid):
    other = shop.charge(paid[0], 700)
    shop.settle()
    journal = shop.journal()
    journal.decide = shop.reject
    reply = go(
        shop,
        (*paid, other),
        *plan_turns(paid, other),
        say("Nothing.").after("rejected", "not owed"),
        policy=shop.plan,
        journal=journal,
    )
    assert shop.writes() == []
    assert reply.meta["warnings"] == ["the plan is rejected; nothing of it was executed"]
    assert reply.meta["incomplete"] is False, "that is what the person wanted"


def test_a_plan_that_expired_after_it_was_approved_executes_nothing(shop, paid):
    """Nobody resumed the run for a week: what was approved then is not what may be done now."""
    other = shop.charge(paid[0])
    shop.settle()
    journal = shop.journal()

    def late(approval_id):
        shop.approve(approval_id)
        shop.bench.clock.advance(8 * 86_400)

    journal.decide = late
    reply = go(
        shop,
        (*paid, other),
        *plan_turns(paid, other),
        say("Nothing was refunded.").after("The plan is expired", "Nothing was executed"),
        policy=shop.plan,
        journal=journal,
    )
    assert shop.writes() == []
    assert reply.transcript["plan"]["state"] == "expired"
    assert (reply.meta["incomplete"], reply.meta["stopped_because"]) == (True, "the plan is expired")
    assert reply.meta["warnings"] == ["the plan is expired; nothing of it was executed"]


def test_a_plan_stops_at_the_first_call_that_does_not_succeed(shop, paid):
    other = shop.charge(paid[0], 700)
    shop.settle()
    journal = shop.journal()

    def decide(approval):
        shop.post("/v1/refunds", charge=paid[1])  # somebody was faster
        shop.settle()
        shop.approve(approval)

    journal.decide = decide
    go(
        shop,
        (*paid, other),
        *plan_turns(paid, other),
        say("Nothing was executed.").after("1. failed", "2. not run: call 1 did not succeed"),
        policy=shop.plan,
        journal=journal,
    )
    assert shop.box.object(other)["amount_refunded"] == 0


def test_a_call_stands_in_a_plan_once(shop, paid):
    reply = go(
        shop,
        paid,
        refund(paid[1]),
        refund(paid[1]).after("planned: 1"),
        say("One.").after("this is call 1 of the plan already"),
        say("Not decided.").after("not decided in time"),
        policy=shop.plan,
    )
    assert shop.writes() == []
    assert (reply.meta["incomplete"], reply.meta["stopped_because"]) == (True, "the plan is not decided in time")


def test_a_write_that_depends_on_a_planned_one_is_refused(shop, paid):
    go(
        shop,
        paid,
        use("create-customer", name="Nora"),
        use("create-charge", customer="planned:1", amount=500, currency="usd").after("planned: 1"),
        say("Only the customer.").after("not run"),
        say("Nothing yet."),
        policy=shop.plan,
    )
    assert shop.writes() == []


def test_a_plans_total_is_held_against_the_caps(shop, paid):
    """Together 90 dollars, and a run may move 80."""
    charges = [shop.charge(paid[0], 4_500) for _ in range(2)]
    shop.settle()
    go(
        shop,
        charges,
        refund(charges[0], None).then(refund(charges[1], None)),
        say("One is too much.").after("over the cap per run"),
        say("Nothing yet."),
        policy={"writes": "plan", "caps": shop.caps},
    )


@pytest.mark.parametrize("at", range(3, 9))
def test_a_crash_while_a_plan_is_carried_out_makes_each_call_once(shop, paid, at):
    other = shop.charge(paid[0], 700)
    journal = shop.journal()
    journal.decide = shop.approve
    turns = [*plan_turns(paid, other), say("Done.")]
    given = {"policy": shop.plan, "journal": journal}
    played = 1 if at < 4 else 2
    with pytest.raises(shop.crashed):
        go(shop, (*paid, other), *turns[:played], **{**given, "stop_after": at})
    left = turns[sum(1 for name in journal.names if name.endswith(" model")) :]
    reply = go(shop, (*paid, other), *left, **given)
    assert reply.value == "Done."
    assert [entry.amount for entry in shop.entries()] == [500, 200]
    assert shop.box.count("refund") == 2


# Unknown outcomes


def lose_answers(shop):
    """The refund is made, and no answer to it ever comes."""
    shop.box.fail("POST", "/v1/refunds", drop="after", times=0)


def test_an_unknown_outcome_ends_the_run_and_later_writes_of_the_turn_are_not_run(shop, paid):
    other = shop.charge(paid[0], 700)
    shop.settle()
    shop.box.fail("POST", "/v1/refunds", status=500, effect=True, stored=True, times=0)
    reply = go(shop, (*paid, other), refund(paid[1]).then(refund(other, 200)))
    assert isinstance(reply.error, OutcomeUnknownError)
    outcomes = [call["outcome"] for call in reply.transcript["turns"][0]["calls"]]
    assert outcomes == ["failed", "not run"]
    assert reply.meta["place"] == 2
    assert len(shop.entries()) == 1


def test_a_run_resumed_at_the_unknown_call_settles_it_under_its_key(shop, paid):
    lose_answers(shop)
    journal = shop.journal()
    reply = go(shop, paid, refund(paid[1]), journal=journal)
    shop.box.clear_faults()
    del journal.records[reply.meta["place"] :]  # what an engine does to resume a failed step
    again = go(shop, paid, say("Refunded 5.00 USD.").after("done (ledger entry"), journal=journal)
    assert again.kind == "done"
    assert shop.box.count("refund") == 1


def test_what_a_person_said_made_nothing_is_made_where_they_chose_to_try_again(shop, paid):
    shop.box.fail("POST", "/v1/refunds", status=500, stored=True, times=0)
    journal = shop.journal()
    reply = go(shop, paid, refund(paid[1]), journal=journal)
    shop.box.clear_faults()
    (entry,) = shop.entries()
    shop.bench.ledger.resolve(entry.id, found=None, who="ann", note="looked")
    del journal.records[reply.meta["place"] :]
    again = go(shop, paid, say("Refunded 5.00 USD."), journal=journal, retried=frozenset({entry.id}))
    assert again.kind == "done"
    assert shop.box.count("refund") == 1


@pytest.mark.parametrize("status", [400, 402, 403, 409])
def test_what_stripe_holds_for_its_own_approval_is_never_sent_again(shop, paid, status):
    shop.box.fail("POST", "/v1/refunds", status=status, type="invalid_request_error", code="approval_required", times=0)
    journal = shop.journal()
    reply = go(shop, paid, refund(paid[1]), journal=journal)
    assert isinstance(reply.error, OutcomeUnknownError)
    assert "never sent again" in reply.error.message
    sent = shop.writes()
    shop.box.clear_faults()
    del journal.records[reply.meta["place"] :]
    again = go(shop, paid, journal=journal)
    assert isinstance(again.error, OutcomeUnknownError)
    assert shop.writes() == sent
    assert shop.box.count("refund") == 0


def test_a_session_switched_off_stops_an_agents_writes_at_once(shop, paid):
    reply = go(shop, paid, refund(paid[1]), say("No.").after("switched off"), connection={"enabled": False})
    assert reply.kind == "done"
    assert shop.writes() == []
    assert RefusedError.exit_code == 4


def test_a_plan_whose_call_has_changed_since_it_was_approved_is_not_executed(shop, paid):
    """The rest of the charge is another amount by then, so the approval does not cover it."""
    journal = shop.journal()

    def decide(approval):
        shop.approve(approval)
        shop.post("/v1/refunds", charge=paid[1], amount=300)
        shop.settle()

    journal.decide = decide
    go(
        shop,
        paid,
        refund(paid[1], None),
        say("I propose to refund it wholly."),
        say("Nothing was executed.").after("has changed since it was approved"),
        policy=shop.plan,
        journal=journal,
    )
    assert shop.writes() == []


def test_an_unknown_outcome_within_a_plan_ends_the_run(shop, paid):
    other = shop.charge(paid[0], 700)
    shop.settle()
    journal = shop.journal()
    journal.decide = shop.approve
    shop.box.fail("POST", "/v1/refunds", status=500, effect=True, stored=True, times=0)
    reply = go(shop, (*paid, other), *plan_turns(paid, other), policy=shop.plan, journal=journal)
    assert isinstance(reply.error, OutcomeUnknownError)
    assert [one["outcome"] for one in reply.transcript["plan"]["calls"]] == ["failed"]
    assert len(shop.entries()) == 1
    assert "plan: approved" in render_transcript(reply.transcript)


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ({"fields": "amount"}, "fields: must be a list"),
        ({"fields": ["a b"]}, "is no name of a field"),
        ({"fields": ["x"] * 21}, "at most 20 names"),
        ({"read_all": "yes"}, "read_all: must be true or false"),
    ],
)
def test_a_wrong_argument_of_ours_is_told(shop, paid, ours, words):
    go(shop, paid, use("list-charges", **ours), say("I see.").after(words))


@pytest.mark.parametrize("intent", ["", " ", "x" * 301, 5])
def test_a_wrong_intent_is_told(shop, paid, intent):
    go(shop, paid, refund(paid[1], intent=intent), say("I see.").after("intent: must say"))
    assert shop.writes() == []


def test_a_read_that_stripe_refuses_is_told_without_secrets(shop, paid):
    shop.box.fail("GET", "/v1/customers/*", status=403, message="The key sk_test_abcdefghijklmnop1234 may not.")
    go(shop, paid, use("get-customer", customer=paid[0]), say("I may not.").after("may not"))
    assert "sk_test_abcdefghijklmnop1234" not in shop.model.requests[-1].last

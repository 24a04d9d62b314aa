"""An agent whose process dies at any save point: the model is asked nothing twice, and the money moves once."""

from __future__ import annotations

import pytest

from spojit_stripe.testing.scripted_model import say, use

TOOLS = ("get-customer", "list-charges", "raw-api-request")


def story(customer, charge):
    """Six model turns; the refund is the fourth."""
    return [
        use("get-customer", customer=customer),
        use("list-charges", customer=customer, read_all=True),
        use("query-data", sql="select count(*) as n from charges").then(use("find-endpoint", words="refund")),
        use("raw-api-request", method="POST", path="/v1/refunds", params={"charge": charge, "amount": 500}),
        use("list-charges", customer=customer, read_all=True),
        say(f"Refunded 5.00 USD of {charge}."),
    ]


SAVE_POINTS = range(11)


@pytest.mark.parametrize("lose", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", SAVE_POINTS)
def test_a_crash_at_any_save_point_refunds_once(shop, at, lose):
    customer = shop.customer()
    charge = shop.charge(customer)
    turns = story(customer, charge)
    prompt = f"Refund 5 USD of {charge}, of {customer}."
    journal = shop.journal()
    shop.settle()

    with pytest.raises(shop.crashed) as crash:
        shop.agent(
            prompt,
            *turns[: model_turns(at, lose)],
            policy=shop.allow,
            tools=TOOLS,
            journal=journal,
            stop_after=at,
            lose=lose,
        )
    asked = sum(1 for name in journal.names if name.endswith(" model"))
    assert len(journal.records) == at
    assert crash.value.args[0] not in journal.names

    reply = shop.agent(prompt, *turns[asked:], policy=shop.allow, tools=TOOLS, journal=journal)

    assert reply.value == f"Refunded 5.00 USD of {charge}."
    assert reply.meta["ungrounded"] == []
    assert shop.box.count("refund") == 1
    assert shop.box.object(charge)["amount_refunded"] == 500
    assert [entry.state for entry in shop.entries()] == ["done"]
    assert len(reply.transcript["turns"]) == 6


def model_turns(at, lose):
    """How many turns are played in a life that ends after `at` records, a lost one included."""
    steps = ["now", "m", "r", "m", "r", "m", "r", "m", "w", "m", "r", "m"]
    return steps[: at + lose].count("m")


def test_an_uncut_run_has_as_many_save_points(shop):
    customer = shop.customer()
    charge = shop.charge(customer)
    journal = shop.journal()
    shop.agent(
        "Refund", *story(customer, charge), policy=shop.allow, tools=TOOLS, journal=journal, trusted=(customer, charge)
    )
    assert len(journal.records) == len(SAVE_POINTS) + 1
    assert journal.names[8] == "turn 4 write 1"


def test_a_resumed_run_asks_nothing_and_gives_the_same_reply(shop):
    customer = shop.customer()
    charge = shop.charge(customer)
    journal = shop.journal()
    given = {"policy": shop.allow, "tools": TOOLS, "journal": journal, "trusted": (customer, charge)}
    first = shop.agent("Refund", *story(customer, charge), **given)
    shop.settle()
    shop.told.clear()
    again = shop.agent("Refund", **given)
    assert again == first
    assert shop.box.requests()[shop.settled :] == []
    assert [kind for kind, _ in shop.told if kind in ("text", "tool")] == []


def test_a_large_list_is_not_in_the_records_and_its_rows_are_there_again(shop):
    """The second life knows the ids of a list that lies in the store."""
    customer = shop.customer()
    charges = [shop.charge(customer, 1_000 + n) for n in range(30)]
    journal = shop.journal()
    turns = [
        use("list-charges", customer=customer, read_all=True),
        use("raw-api-request", method="POST", path="/v1/refunds", params={"charge": charges[3], "amount": 100}),
        say("Refunded 1.00 USD."),
    ]
    given = {"policy": shop.allow, "tools": TOOLS, "journal": journal, "trusted": (customer,)}
    with pytest.raises(shop.crashed):
        shop.agent("Refund one", turns[0], stop_after=3, **given)
    assert "$artifact" in journal.records[2][1]
    assert max(len(text) for _, text in journal.records) < 12_000
    reply = shop.agent("Refund one", *turns[1:], **given)
    assert reply.value == "Refunded 1.00 USD."
    assert reply.meta["ungrounded"] == []
    assert shop.box.count("refund") == 1


def test_an_approval_of_days_later_goes_on_where_it_was(shop):
    customer = shop.customer()
    charge = shop.charge(customer)
    turns = story(customer, charge)
    journal = shop.journal()
    given = {"policy": shop.ask, "tools": TOOLS, "journal": journal, "trusted": (customer, charge)}
    with pytest.raises(shop.crashed):  # it waits, and the process ends
        shop.agent("Refund", *turns[:4], stop_after=10, **given)
    assert shop.box.count("refund") == 0
    (waiting,) = [facts for kind, facts in shop.told if kind == "waiting"]
    shop.bench.clock.advance(3 * 86_400)
    shop.approve(waiting["approval_id"])
    journal.decide = lambda approval: None  # decided already
    reply = shop.agent("Refund", *turns[4:], **given)
    assert reply.value == f"Refunded 5.00 USD of {charge}."
    assert shop.box.count("refund") == 1

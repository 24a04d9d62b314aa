"""Everyday tasks that an agent finishes on its own where policy allows it: nobody is asked, nothing is refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from spojit_stripe.testing.scripted_model import ModelTurn, Played, Scripted, say, use

pytestmark = pytest.mark.long

TOOLS = (
    "get-customer",
    "list-charges",
    "list-customers",
    "list-invoices",
    "list-payment-intents",
    "list-products",
    "list-subscriptions",
    "create-charge",
    "create-customer",
    "create-invoice",
    "raw-api-request",
)
CAPS = {"per_call": {"amount": 5_000, "currency": "usd"}, "per_run": {"amount": 8_000, "currency": "usd"}, "count": 3}
ALLOW = {"writes": "allow", "caps": CAPS}
REFUND = "POST /v1/refunds"


@dataclass
class World:
    """Nora's account as it is before the task."""

    customer: str
    small: str  # 20 dollars
    large: str  # 45 dollars
    held: str  # 30 dollars, not captured
    price: str
    subscription: str
    invoice: str  # a draft over 12 dollars


Turn = Callable[[World], Scripted]


@dataclass(frozen=True)
class Task:
    """A prompt, what the model does, and what has to be changed at the end."""

    name: str
    prompt: Callable[[World], str]
    turns: tuple[Turn, ...]
    answer: Callable[[World], str]
    writes: Callable[[World], tuple[str, ...]]


def task(name: str, prompt: Callable[[World], str], *turns: Turn, answer: Callable[[World], str], writes=lambda w: ()):
    return Task(name, prompt, turns, answer, writes)


def get(path: str, **params) -> ModelTurn:
    return use("raw-api-request", method="GET", path=path, params=params)


def post(path: str, **params) -> ModelTurn:
    return use("raw-api-request", method="POST", path=path, params=params)


def sql(text: str) -> ModelTurn:
    return use("query-data", sql=text)


def charges(w: World) -> ModelTurn:
    return use("list-charges", customer=w.customer, read_all=True)


def made_in(played: Played) -> str:
    """The customer that the last result tells of."""
    found = re.search(r"cus_[A-Za-z0-9]+", played.result())
    assert found is not None, played.last
    return found.group()


TASKS = [
    task(
        "who a customer is",
        lambda w: f"Who is {w.customer}?",
        lambda w: use("get-customer", customer=w.customer),
        answer=lambda w: f"{w.customer} is Nora.",
    ),
    task(
        "what a customer paid, exactly",
        lambda w: f"How much did {w.customer} pay?",
        charges,
        lambda w: sql("select currency, sum(amount) as amount from charges where captured group by 1").after(
            "3 charges; complete"
        ),
        answer=lambda w: "65.00 USD were captured.",
    ),
    task(
        "the largest charge",
        lambda w: f"Which charge of {w.customer} is the largest?",
        lambda w: charges(w).then(sql("select id, amount from charges order by amount desc limit 1")),
        answer=lambda w: f"{w.large}, over 45.00 USD.",
    ),
    task(
        "what is reserved and not captured",
        lambda w: f"Is anything of {w.customer} only reserved?",
        charges,
        lambda w: sql("select id, amount from charges where not captured"),
        answer=lambda w: f"{w.held} reserves 30.00 USD.",
    ),
    task(
        "failed charges",
        lambda w: f"Did a charge of {w.customer} fail?",
        lambda w: use("list-charges", customer=w.customer, status="failed", read_all=True).after("It is"),
        answer=lambda w: "None failed.",
    ),
    task(
        "subscriptions of a customer",
        lambda w: f"What is {w.customer} subscribed to?",
        lambda w: use("list-subscriptions", customer=w.customer, fields=["items.data"]),
        answer=lambda w: f"{w.subscription} is active.",
    ),
    task(
        "open invoices",
        lambda w: f"Which invoices of {w.customer} are drafts?",
        lambda w: use("list-invoices", customer=w.customer, status="draft"),
        answer=lambda w: f"{w.invoice} over 12.00 USD.",
    ),
    task(
        "invoices and charges side by side",
        lambda w: f"Do invoices and charges of {w.customer} agree?",
        lambda w: charges(w).then(use("list-invoices", customer=w.customer, read_all=True)),
        lambda w: sql("select (select count(*) from charges) as charges, (select count(*) from invoices) as invoices"),
        answer=lambda w: "They were compared.",
    ),
    task(
        "products on sale",
        lambda w: "What do we sell?",
        lambda w: use("list-products", active=True, read_all=True),
        answer=lambda w: "One plan.",
    ),
    task(
        "a customer by e-mail",
        lambda w: "Who is nora@example.com?",
        lambda w: use("list-customers", email="nora@example.com"),
        answer=lambda w: f"{w.customer}.",
    ),
    task(
        "an endpoint without a tool",
        lambda w: f"Which refunds has {w.small}?",
        lambda w: use("find-endpoint", words="list refunds"),
        lambda w: get("/v1/refunds", charge=w.small).after("GET /v1/refunds"),
        answer=lambda w: "None.",
    ),
    task(
        "disputes",
        lambda w: "Are there disputes?",
        lambda w: get("/v1/disputes"),
        answer=lambda w: "No.",
    ),
    task(
        "the balance",
        lambda w: "What is our balance?",
        lambda w: get("/v1/balance"),
        answer=lambda w: "As shown.",
    ),
    task(
        "one invoice in full",
        lambda w: f"Explain {w.invoice}.",
        lambda w: get(f"/v1/invoices/{w.invoice}"),
        answer=lambda w: f"{w.invoice} asks for 12.00 USD.",
    ),
    task(
        "fields beyond the lean ones",
        lambda w: f"Which cards paid {w.customer}'s charges?",
        lambda w: use("list-charges", customer=w.customer, fields=["payment_method_details.card.brand"]),
        answer=lambda w: "Visa.",
    ),
    task(
        "a mistake in a call, corrected",
        lambda w: f"What did {w.customer} pay last?",
        lambda w: use("list-charges", client=w.customer),
        lambda w: use("list-charges", customer=w.customer, limit=1).after("client"),
        answer=lambda w: "45.00 USD.",
    ),
    task(
        "a mistake in SQL, corrected",
        lambda w: f"Count {w.customer}'s charges.",
        charges,
        lambda w: sql("select count(*) as n from payments"),
        lambda w: sql("select count(*) as n from charges").after("charges"),
        answer=lambda w: "Counted.",
    ),
    # What changes something
    task(
        "a refund that the author names",
        lambda w: f"Refund 5 USD of {w.small}.",
        lambda w: post("/v1/refunds", charge=w.small, amount=500),
        answer=lambda w: f"Refunded 5.00 USD of {w.small}.",
        writes=lambda w: (REFUND,),
    ),
    task(
        "a refund of a charge that was looked up",
        lambda w: f"Refund 5 USD of the largest charge of {w.customer}.",
        lambda w: charges(w).then(sql("select id from charges order by amount desc limit 1")),
        lambda w: post("/v1/refunds", charge=w.large, amount=500),
        answer=lambda w: f"Refunded 5.00 USD of {w.large}.",
        writes=lambda w: (REFUND,),
    ),
    task(
        "a whole refund without an amount",
        lambda w: f"Refund {w.small} wholly.",
        lambda w: post("/v1/refunds", charge=w.small),
        answer=lambda w: f"Refunded 20.00 USD of {w.small}.",
        writes=lambda w: (REFUND,),
    ),
    task(
        "two refunds of two charges",
        lambda w: f"Refund 5 USD each of {w.small} and {w.large}.",
        lambda w: post("/v1/refunds", charge=w.small, amount=500).then(post("/v1/refunds", charge=w.large, amount=500)),
        answer=lambda w: "Refunded 5.00 USD of each.",
        writes=lambda w: (REFUND, REFUND),
    ),
    task(
        "two refunds of one charge over different amounts",
        lambda w: f"Refund 5 USD and then 3 USD of {w.small}.",
        lambda w: post("/v1/refunds", charge=w.small, amount=500),
        lambda w: post("/v1/refunds", charge=w.small, amount=300),
        answer=lambda w: "Refunded 5.00 USD and 3.00 USD.",
        writes=lambda w: (REFUND, REFUND),
    ),
    task(
        "a capture",
        lambda w: f"Capture {w.held}.",
        lambda w: post(f"/v1/charges/{w.held}/capture"),
        answer=lambda w: f"Captured 30.00 USD of {w.held}.",
        writes=lambda w: (f"POST /v1/charges/{w.held}/capture",),
    ),
    task(
        "a charge within the caps",
        lambda w: f"Charge {w.customer} 15 USD.",
        lambda w: use("create-charge", customer=w.customer, amount=1_500, currency="usd"),
        answer=lambda w: "Charged 15.00 USD.",
        writes=lambda w: ("POST /v1/charges",),
    ),
    task(
        "a new customer",
        lambda w: "Add Olaf, olaf@example.com.",
        lambda w: use("create-customer", name="Olaf", email="olaf@example.com"),
        answer=lambda w: "Added.",
        writes=lambda w: ("POST /v1/customers",),
    ),
    task(
        "a note on a customer",
        lambda w: f"Note on {w.customer}: prefers e-mail.",
        lambda w: post(f"/v1/customers/{w.customer}", metadata={"note": "prefers e-mail"}),
        answer=lambda w: "Noted.",
        writes=lambda w: (f"POST /v1/customers/{w.customer}",),
    ),
    task(
        "a draft invoice",
        lambda w: f"Prepare an invoice for {w.customer}.",
        lambda w: use("create-invoice", customer=w.customer, auto_advance=False, description="Thank you"),
        answer=lambda w: "Prepared.",
        writes=lambda w: ("POST /v1/invoices",),
    ),
    task(
        "something made is used in the next call",
        lambda w: "Add Olaf and prepare an invoice for him.",
        lambda w: use("create-customer", name="Olaf"),
        lambda w: lambda played: use("create-invoice", customer=made_in(played), auto_advance=False),
        answer=lambda w: "Added, and a draft is there.",
        writes=lambda w: ("POST /v1/customers", "POST /v1/invoices"),
    ),
    task(
        "a subscription that ends with its period",
        lambda w: f"End {w.subscription} with its period.",
        lambda w: post(f"/v1/subscriptions/{w.subscription}", cancel_at_period_end=True),
        answer=lambda w: f"{w.subscription} ends with its period.",
        writes=lambda w: (f"POST /v1/subscriptions/{w.subscription}",),
    ),
]

_TABLE: list[tuple[str, str, int, int]] = []


@pytest.fixture
def world(shop) -> World:
    customer = str(shop.post("/v1/customers", email="nora@example.com", name="Nora", source="tok_visa")["id"])
    small, held = shop.charge(customer, 2_000), shop.charge(customer, 3_000, capture=False)
    price = shop.post(
        "/v1/prices",
        currency="usd",
        unit_amount=900,
        recurring={"interval": "month"},
        product_data={"name": "Plan"},
    )
    subscription = shop.post(
        "/v1/subscriptions", customer=customer, items=[{"price": price["id"]}], trial_period_days=9
    )
    large = shop.charge(customer, 4_500)
    shop.post("/v1/invoiceitems", customer=customer, amount=1_200, currency="usd")
    invoice = shop.post("/v1/invoices", customer=customer, auto_advance=False, pending_invoice_items_behavior="include")
    made = World(customer, small, large, held, str(price["id"]), str(subscription["id"]), str(invoice["id"]))
    shop.settle()
    return made


@pytest.mark.parametrize("task", TASKS, ids=lambda one: one.name)
def test_a_task_is_finished_unattended(shop, world, task):
    reply = shop.agent(
        task.prompt(world),
        *[turn(world) for turn in task.turns],
        say(task.answer(world)),
        policy=ALLOW,
        tools=TOOLS,
    )
    asked = [facts for kind, facts in shop.told if kind == "waiting"]
    done = reply.kind == "done" and not asked and shop.writes() == list(task.writes(world))
    _TABLE.append((task.name, "ok" if done else "NOT FINISHED", reply.meta["turns"], reply.meta["tool_calls"]))
    assert asked == []
    assert reply.value == task.answer(world)
    assert reply.meta["incomplete"] is False
    assert reply.meta["ungrounded"] == []
    assert shop.writes() == list(task.writes(world))
    assert all(entry.state == "done" for entry in shop.entries())


def test_there_are_enough_tasks_and_they_print_a_table(capsys):
    assert len(TASKS) >= 25
    lines = [f"{how:<4} {turns} turns, {calls} calls  {name}" for name, how, turns, calls in _TABLE]
    finished = sum(how == "ok" for _, how, _, _ in _TABLE)
    with capsys.disabled():
        sys.stdout.write("\n".join(("", f"tasks finished unattended: {finished} of {len(_TABLE)}", *lines, "")))

"""The examples, run as they stand against the sandbox and a scripted model: what a user gets who copies them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import stripe

from spojit_stripe.engine import Bundle, Embedded
from spojit_stripe.host import Host
from spojit_stripe.records import Run, RunState
from spojit_stripe.sandbox import Sandbox
from spojit_stripe.testing.scripted_model import ScriptedModel
from spojit_stripe.testing.stories import charges_of_a_day, investigate_refund
from spojit_stripe.workflow import NO_EXTRAS

EXAMPLES = Path(__file__).parents[1] / "examples"
CONNECTIONS = """\
connections:
  stripe-test: {{connector: stripe, secret_key: "${{env:SHOP_KEY}}", mode: test, base_url: "{url}"}}
  stripe-refunds:
    {{connector: stripe, secret_key: "${{env:SHOP_KEY}}", mode: test, base_url: "{url}", policy: {{writes: allow}}}}
"""


@dataclass
class Shop:
    """A sandbox with a client that prepares it, and a command to run an example there."""

    sandbox: Sandbox
    client: stripe.StripeClient
    host: Host

    def run(self, example: str, inputs: Mapping[str, Any], run_id: str = "run-1") -> Run:
        bundle = Bundle.of_file(EXAMPLES / example, NO_EXTRAS)
        return Embedded(self.host).start(bundle, dict(inputs), run_id)

    def decide(self, decision: str, run_id: str = "run-1") -> Run:
        """A person's answer to all that waits, and the run goes on."""
        engine = Embedded(self.host)
        for waits in self.host.records.approvals.list(state="pending"):
            engine.wake(self.host.records.approvals.decide(waits.id, decision, who="ada as finance", note="checked"))
        return engine.resume(run_id)

    def customer(self) -> str:
        return self.client.v1.customers.create({"name": "Ada", "source": "tok_visa"}).id

    def charge(self, amount: int, **more: Any) -> stripe.Charge:
        return self.client.v1.charges.create({"amount": amount, "currency": "usd", "source": "tok_visa", **more})

    def pay(self, amount: int) -> stripe.PaymentIntent:
        return self.client.v1.payment_intents.create(
            {
                "amount": amount,
                "currency": "usd",
                "payment_method": "pm_card_visa",
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                "confirm": True,
            }
        )

    def refunds(self) -> list[tuple[int, str]]:
        """Amount and charge of every refund, in the order in which they were made."""
        return [(one["amount"], one["charge"]) for one in self.sandbox.objects("refund")]


@pytest.fixture
def shop(stripe_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    (tmp_path / "connections.yaml").write_text(CONNECTIONS.format(url=stripe_sandbox.url))
    monkeypatch.setenv("SHOP_KEY", stripe_sandbox.secret_key)
    client = stripe.StripeClient(stripe_sandbox.secret_key, base_addresses={"api": stripe_sandbox.url})
    with Host(connections=tmp_path / "connections.yaml", state=tmp_path / "state") as host:
        yield Shop(stripe_sandbox, client, host)


def output(run: Run) -> Any:
    assert run.state is RunState.DONE, run.error
    assert run.output is not None
    return run.output["value"]


def test_every_example_is_run_here() -> None:
    tested = {
        "alert-failed-subscriptions.yaml",
        "charges-of-a-day.yaml",
        "investigate-refund.yaml",
        "push-refunds.yaml",
        "reconcile-shopify-orders.yaml",
    }
    assert {file.name for file in EXAMPLES.glob("*.yaml")} == tested


def test_charges_of_a_day_adds_up_exactly_and_tells_a_story(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = shop.customer()
    shop.client.v1.charges.create({"amount": 10_500, "currency": "usd", "customer": customer})
    shop.charge(2**53 // 10**8)
    shop.charge(700, currency="eur")
    shop.sandbox.advance(5)
    with ScriptedModel(*charges_of_a_day(customer)) as model:
        for name, value in model.environment.items():
            monkeypatch.setenv(name, value)
        run = shop.run("charges-of-a-day.yaml", {"from": 0, "to": 4_000_000_000, "customer": customer})
    told = output(run)
    assert told["complete"] is True
    assert told["totals"] == [
        {"currency": "eur", "amount": 700, "n": 1},
        {"currency": "usd", "amount": 10_500 + 2**53 // 10**8, "n": 2},
    ]
    assert told["story"] == (f"Customer {customer} was charged 105.00 USD (1 in all). No invoice stands behind that.")


def test_push_refunds_pays_each_once_for_ever(shop: Shop) -> None:
    charges = [shop.charge(amount) for amount in (1_000, 2_000, 3_000)]
    refunds = [
        {"refund_id": f"R{place}", "charge": charge.id, "amount": 500, "currency": "usd"}
        for place, charge in enumerate(charges)
    ]
    waits = shop.run("push-refunds.yaml", {"refunds": refunds})
    assert waits.state is RunState.WAITING
    assert shop.refunds() == []
    told = output(shop.decide("approved"))
    assert (told["paid"], told["failed"]) == (3, 0)
    assert sorted(shop.refunds()) == sorted((500, charge.id) for charge in charges)
    # Another run with the same list and one more: what was paid is not paid again.
    more = [*refunds, {"refund_id": "R9", "charge": charges[2].id, "amount": 100, "currency": "usd"}]
    shop.run("push-refunds.yaml", {"refunds": more}, "run-2")
    told = output(shop.decide("approved", "run-2"))
    assert (told["paid"], told["failed"]) == (4, 0)
    assert len(shop.refunds()) == 4


def test_push_refunds_goes_on_after_a_refusal_and_pays_nothing_when_rejected(shop: Shop) -> None:
    charge = shop.charge(1_000)
    refunds = [
        {"refund_id": "too-much", "charge": charge.id, "amount": 1_001, "currency": "usd"},
        {"refund_id": "fits", "charge": charge.id, "amount": 400, "currency": "usd"},
    ]
    shop.run("push-refunds.yaml", {"refunds": refunds})
    run = shop.decide("approved")
    told = output(run)
    assert (told["paid"], told["failed"], run.exceptions) == (1, 1, 1)
    assert shop.refunds() == [(400, charge.id)]
    shop.run("push-refunds.yaml", {"refunds": [{**refunds[1], "refund_id": "other"}]}, "run-2")
    run = shop.decide("rejected", "run-2")
    assert run.output == {
        "value": {"paid": 0, "rejected_by": "ada as finance", "reason": "checked"},
        "status": 409,
    }
    assert len(shop.refunds()) == 1


def test_reconcile_finds_exactly_what_differs(shop: Shop) -> None:
    same, less, alone = shop.pay(1_000), shop.pay(2_000), shop.pay(3_000)
    shop.sandbox.advance(86_400)
    orders = [
        {"order_id": "O1", "payment_intent": same.id, "amount": 1_000, "currency": "usd"},
        {"order_id": "O2", "payment_intent": less.id, "amount": 2_500, "currency": "usd"},
        {"order_id": "O3", "payment_intent": "pi_missing", "amount": 900, "currency": "usd"},
    ]
    # Yesterday is that of the run's own clock, so what was paid today is looked for tomorrow.
    tomorrow = lambda: time.time() + 86_400  # noqa: E731
    shop.host.clock = tomorrow
    run = shop.run("reconcile-shopify-orders.yaml", {"orders": orders, "timezone": "UTC"})
    told = output(run)
    found = {(one["order_id"], one["reason"], one["ordered"], one["charged"]) for one in told["differences"]}
    assert found == {
        ("O2", "amounts differ", 2_500, 2_000),
        ("O3", "no charge", 900, None),
        ("", "no order", None, 3_000),
    }
    assert told["charges"] == 3
    assert next(one for one in told["differences"] if one["order_id"] == "")["charge"] == alone.latest_charge


def test_the_inputs_in_the_examples_fit_the_seed_they_are_for(shop: Shop) -> None:
    """Those of `examples/sandbox`, for `spojit-stripe sandbox --seed 50`, at whatever time it is started."""
    shop.sandbox.reset(seed=50)
    given = {name: json.loads((EXAMPLES / "sandbox" / f"{name}.json").read_text()) for name in ("refunds", "orders")}
    assert shop.run("push-refunds.yaml", given["refunds"]).state is RunState.WAITING
    told = output(shop.decide("approved"))
    assert (told["paid"], told["failed"]) == (3, 0)
    told = output(shop.run("reconcile-shopify-orders.yaml", given["orders"], "run-2"))
    found = [(one["order_id"], one["reason"], one["charged"]) for one in told["differences"] if one["order_id"]]
    assert found == [("S-1", "amounts differ", 10_544), ("S-2", "no charge", None)]


def test_alert_tells_finance_when_a_subscription_is_past_due(shop: Shop) -> None:
    told = output(shop.run("alert-failed-subscriptions.yaml", {}))
    assert told == {"customers": [], "past_due": 0, "unpaid": 0, "complete": True}
    client = shop.client.v1
    product = client.products.create({"name": "Box"})
    price = client.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount": 2_000, "recurring": {"interval": "month"}}
    )
    customer = client.customers.create({"name": "Bo"})
    card = client.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    client.customers.update(customer.id, {"invoice_settings": {"default_payment_method": card.id}})
    client.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}], "trial_period_days": 7})
    shop.sandbox.advance(8 * 86_400)
    assert shop.run("alert-failed-subscriptions.yaml", {}, "run-2").state is RunState.WAITING
    (waits,) = shop.host.records.approvals.list(state="pending")
    assert "1 subscriptions are past due and 0 unpaid" in str(waits.preview["message"])
    assert customer.id in str(waits.preview["message"])
    told = output(shop.decide("approved", "run-2"))
    assert told == {"customers": [customer.id], "past_due": 1, "unpaid": 0, "complete": True}


def test_investigate_refund_waits_for_a_person_and_pays_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = shop.customer()
    charge = shop.client.v1.charges.create({"amount": 10_500, "currency": "usd", "customer": customer})
    shop.client.v1.refunds.create({"charge": charge.id, "amount": 2_500})
    shop.sandbox.advance(5)
    with ScriptedModel(*investigate_refund(customer, 500)) as model:
        for name, value in model.environment.items():
            monkeypatch.setenv(name, value)
        run = shop.run("investigate-refund.yaml", {"customer": customer, "question": "Why not all of it?"})
        assert run.state is RunState.WAITING
        assert shop.refunds() == [(2_500, charge.id)]
        told = output(shop.decide("approved"))
    assert shop.refunds() == [(2_500, charge.id), (500, charge.id)]
    assert told["finding"]["goodwill_refund"] == shop.sandbox.objects("refund")[1]["id"]
    assert told["ungrounded"] == []
    ((path, transcript),) = shop.host.records.runs.transcripts("run-1")
    assert path == "investigation"
    assert "sk_" not in json.dumps(transcript)

"""Workflows in both modes: exact totals, an agent's story, an approval, and a kill on the way."""

from __future__ import annotations

import time
from typing import Final

from spojit_stripe.cli.demo.means import KEY_VARIABLE, Stage, examples_dir, say
from spojit_stripe.testing.scripted_model import ScriptedModel
from spojit_stripe.testing.stories import charges_of_a_day, investigate_refund

__all__ = ["tour_of_workflows"]

_WAITING: Final = 5
_GOODWILL: Final = 500
_MONTH: Final = 30 * 86_400


def tour_of_workflows(stage: Stage) -> None:
    """Run two of the examples; the model plays a script, on this machine too."""
    customer, charge = _customer(stage)
    with ScriptedModel(*charges_of_a_day(customer), *investigate_refund(customer, _GOODWILL)) as model:
        stage.with_(model.environment)
        _both_modes(stage, customer)
        approval = _agent_that_asks(stage, customer)
        _killed_and_resumed(stage, approval, charge)


def _customer(stage: Stage) -> tuple[str, str]:
    stage.title("Two connections, and a customer who was charged 105.00 and got 25.00 back")
    reference = ["--secret-key", f"${{env:{KEY_VARIABLE}}}", "--mode", "test", "--base-url", stage.url]
    stage.call(["connections", "add", "stripe-test", *reference])
    stage.call(["connections", "add", "stripe-refunds", *reference, "--writes", "allow", "--cap-per-call", "20000:usd"])
    writes = ["--connection", "stripe-refunds", "--format", "table"]
    made = stage.call(
        ["call", "create-customer", *writes, "--run-id", "grace", "--name", "Grace Example", "--source", "tok_visa"],
        words=["cus_"],
    )
    customer = made.find(r"\bcus_\w+")
    charged = stage.call(
        [
            *("call", "create-charge", *writes, "--run-id", "grace-charge"),
            *("--customer", customer, "--amount", "10500", "--currency", "usd"),
        ],
        words=[r"105\.00 USD"],
    )
    charge = charged.find(r"\bch_\w+")
    stage.call(
        [
            *("call", "raw-api-request", *writes, "--run-id", "grace-refund", "--method", "POST"),
            *("--path", "/v1/refunds", "--param", f"charge={charge}", "--param", "amount=2500"),
        ],
        words=[r"25\.00 USD"],
    )
    return customer, charge


def _both_modes(stage: Stage, customer: str) -> None:
    stage.title("A workflow in both modes: Direct Mode lists, SQL adds up, an agent tells the story")
    say("(The model is a script that plays on this machine; no model is asked.)")
    now = int(time.time())
    stage.call(
        [
            *("run", str(examples_dir() / "charges-of-a-day.yaml"), "--run-id", "month"),
            *("--input", f"from={now - _MONTH}", "--input", f"to={now + 86_400}", "--input", f"customer={customer}"),
        ],
        words=["story", r"was charged 105\.00 USD \(1 in all\)", '"complete": true', "run month is done"],
    )


def _agent_that_asks(stage: Stage, customer: str) -> str:
    stage.title("An agent explains a refund and proposes another; that waits for a person, for days if need be")
    waits = stage.call(
        [
            *("run", str(examples_dir() / "investigate-refund.yaml"), "--run-id", "grace-asks"),
            *("--input", f"customer={customer}", "--input", "question=Why did I get only part of it back?"),
        ],
        code=_WAITING,
        words=["waiting for apr_", "runs resume grace-asks"],
    )
    approval = waits.find(r"\bapr_\w+")
    stage.call(["approvals", "show", approval], words=[r"POST /v1/refunds", r"5\.00 USD"])
    stage.call(["approvals", "approve", approval, "--note", "regular customer"], words=["approved by"])
    return approval


def _killed_and_resumed(stage: Stage, approval: str, charge: str) -> None:
    stage.title("It goes on, and is killed while the refund is in flight; then it goes on again")
    resume = ["runs", "resume", "grace-asks"]
    stage.kill_in_flight(resume, "POST", "/v1/refunds", "pay the refund")
    stage.call(["runs", "show", "grace-asks"], words=["interrupted", r"POST /v1/refunds +5\.00 USD +open"])
    say("\nThe model is not asked again for what it has answered, and the refund is not paid again:")
    stage.call(resume, words=["goodwill_refund", r"\bre_\w+", "run grace-asks is done"])
    stage.call(
        [
            *("call", "raw-api-request", "--connection", "stripe-test", "--method", "GET", "--path", "/v1/refunds"),
            *("--param", f"charge={charge}"),
        ],
        words=[r"5\.00 USD", r"25\.00 USD", r"\b2 objects"],
    )
    stage.call(["runs", "show", "grace-asks", "--agent"], words=["turn 4", "ledger entry", "together: 4 turns"])
    stage.call(["approvals", "list"], words=[approval, "used"])

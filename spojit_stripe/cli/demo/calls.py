"""Tools called one by one: what can be called, a charge that survives a kill, a refund under a policy."""

from __future__ import annotations

from spojit_stripe.cli.demo.means import KEY_VARIABLE, Stage, say

__all__ = ["tour_of_calls"]

_REFUSED = 4


def tour_of_calls(stage: Stage) -> None:
    """List, charge once despite a crash, refund under a policy."""
    _tools(stage)
    _connections(stage)
    _charges(stage)
    customer, charge = _charge_once(stage)
    _refund(stage, charge)
    _ledger(stage, customer, charge)


def _tools(stage: Stage) -> None:
    stage.title("What can be called")
    stage.call(["tools"], words=["create-charge", "list-charges", "raw-api-request"])


def _connections(stage: Stage) -> None:
    stage.title("Two connections to the same account: one that only reads, one that may write within a cap")
    reference = ["--secret-key", f"${{env:{KEY_VARIABLE}}}", "--mode", "test", "--base-url", stage.url]
    stage.call(["connections", "add", "books", *reference])
    stage.call(["connections", "add", "till", *reference, "--writes", "allow", "--cap-per-call", "20000:usd"])
    stage.call(["connections", "list"], words=["books", "deny", "till", "allow"])
    stage.call(["connections", "test", "books"], words=["list-charges", "works"])


def _charges(stage: Stage) -> None:
    stage.title("Charges, filtered by status: Stripe's list can't, so it is done here, and says so")
    stage.call(
        ["call", "list-charges", "--connection", "books", "--status", "failed", "--all"],
        words=["ch_", "failed", r"\d\.\d\d [A-Z]{3}|\d [A-Z]{3}", "filtered here", r"charges?, .*complete, "],
    )


def _charge_once(stage: Stage) -> tuple[str, str]:
    stage.title("A customer is created and charged; the program is killed while the charge is in flight")
    made = stage.call(
        [
            *("call", "create-customer", "--connection", "till", "--run-id", "order-6735-customer"),
            *("--name", "Ada Example", "--email", "ada@example.com", "--source", "tok_visa", "--format", "table"),
        ],
        words=["cus_"],
    )
    customer = made.find(r"\bcus_\w+")
    charge = [
        *("call", "create-charge", "--connection", "till", "--run-id", "order-6735-charge"),
        *("--customer", customer, "--amount", "10500", "--currency", "usd", "--metadata", "order_id=6735"),
        *("--format", "table"),
    ]
    stage.call([*charge, "--dry-run"], words=[r"105\.00 USD", "allow:", "nothing was sent"])
    stage.kill_in_flight(charge, "POST", "/v1/charges", "make the charge")
    say("\nThe money may have moved; nobody here knows. The ledger has the call, written before it was sent:")
    stage.call(["ledger", "list", "--writes"], words=[r"POST /v1/charges +105\.00 USD +open"])
    say("\nThe same command with the same run id asks under the same key, so Stripe can't charge again:")
    again = stage.call(charge, words=["ch_", "stored answer"])
    say("\nAnd once more; now the ledger knows, and nothing is sent:")
    stage.call(charge, words=["ch_", "nothing was sent"])
    say("\nThe customer's charges, as Stripe lists them: exactly one.")
    stage.call(
        ["call", "list-charges", "--connection", "books", "--customer", customer, "--all"],
        words=[r"105\.00 USD", r"\b1 charge, complete"],
    )
    return customer, again.find(r"\bch_\w+")


def _refund(stage: Stage, charge: str) -> None:
    stage.title("A refund, which has no tool of its own: refused by the connection that only reads, then allowed")
    refund = [
        *("call", "raw-api-request", "--run-id", "refund-6735", "--method", "POST", "--path", "/v1/refunds"),
        *("--param", f"charge={charge}", "--param", "amount=2500", "--format", "table"),
    ]
    stage.call([*refund, "--connection", "books"], code=_REFUSED, words=["writes are denied"])
    stage.call([*refund, "--connection", "till"], words=["re_", r"25\.00 USD"])


def _ledger(stage: Stage, customer: str, charge: str) -> None:
    stage.title("The ledger of it all")
    stage.call(["ledger", "list"], words=[customer, charge, "re_", r"25\.00 USD +done", r"105\.00 USD +done"])

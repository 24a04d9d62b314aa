"""The balance and its transactions."""

from spojit_stripe.sandbox import payouts
from spojit_stripe.sandbox.context import Answer, Context
from spojit_stripe.sandbox.listing import list_objects
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.values import JsonValue, text

payout_body = payouts.payout_body


@answers("GET", "/v1/balance")
def retrieve_balance(context: Context) -> Answer:
    """The balance: the sum of all balance transactions, by currency."""
    available, pending = _sums(context)
    names = sorted({*available, *pending}) or ["usd"]
    return {
        "object": "balance",
        "available": _amounts(available, names),
        "livemode": context.livemode,
        "pending": _amounts(pending, names),
        "refund_and_dispute_prefunding": {"available": _amounts({}, names), "pending": _amounts({}, names)},
    }


def _sums(context: Context) -> tuple[dict[str, int], dict[str, int]]:
    available: dict[str, int] = {}
    pending: dict[str, int] = {}
    for currency, status, net in context.store.balances(context.scope):
        (available if status == "available" else pending)[currency] = net
    return available, pending


def _amounts(sums: dict[str, int], names: list[str]) -> list[JsonValue]:
    return [
        {"amount": sums.get(name, 0), "currency": name, "source_types": {"card": sums.get(name, 0)}} for name in names
    ]


@answers("GET", "/v1/balance_transactions/{id}")
def retrieve_transaction(context: Context) -> Answer:
    """A balance transaction."""
    return context.get("balance_transaction", context.ids["id"]).body


@answers("GET", "/v1/balance_transactions")
def list_transactions(context: Context) -> Answer:
    """Balance transactions, newest first."""
    payout = text(context.params, "payout")
    filters = [payouts.settled_by(context, payout)] if payout is not None else []
    columns = {"currency": "currency", "source": "source", "type": "kind"}
    return list_objects(context, "balance_transaction", columns, filters=filters)


def settle(context: Context, record: Record) -> None:
    """A pending amount becomes available."""
    record.body["status"] = "available"
    context.save(record)

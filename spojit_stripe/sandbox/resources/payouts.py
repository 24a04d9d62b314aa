"""Payouts to the bank."""

from spojit_stripe.sandbox import currencies, payouts
from spojit_stripe.sandbox.context import Answer, Context, merge_metadata
from spojit_stripe.sandbox.errors import bad_parameter, invalid
from spojit_stripe.sandbox.listing import list_objects
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.store import Filter, Record
from spojit_stripe.sandbox.values import integer, string, text

_DAY = 86_400


@answers("POST", "/v1/payouts", without=("destination", "payout_method"))
def create(context: Context) -> Answer:
    """Pay out from the available balance; it arrives after two days, an instant one at once."""
    params = context.params
    amount, currency = integer(params, "amount"), currencies.check(string(params, "currency"))
    if amount < 1:
        raise bad_parameter("Invalid positive integer", "amount", "parameter_invalid_integer")
    available = sum(
        net for name, status, net in context.store.balances(context.scope) if name == currency and status == "available"
    )
    if amount > available:
        raise invalid(
            "You have insufficient funds in your Stripe account for this transfer. Your card balance is too low. "
            "You can use the /v1/balance endpoint to view your Stripe balance (for more details, see "
            "stripe.com/docs/api#balance).",
            "amount",
            "balance_insufficient",
        )
    instant = params.get("method") == "instant"
    body = payouts.payout_body(context, amount, currency, context.now if instant else (context.now // _DAY + 2) * _DAY)
    for name in ("description", "statement_descriptor"):
        body[name] = text(params, name)
    for name in ("method", "source_type"):
        body[name] = text(params, name) or body[name]
    merge_metadata(body, params)
    return payouts.send(context, body).body


@answers("GET", "/v1/payouts/{payout}")
def retrieve(context: Context) -> Answer:
    """A payout."""
    return _get(context).body


@answers("POST", "/v1/payouts/{payout}")
def update(context: Context) -> Answer:
    """Change a payout's metadata."""
    record = _get(context)
    merge_metadata(record.body, context.params)
    context.save(record, "payout.updated")
    return record.body


@answers("POST", "/v1/payouts/{payout}/cancel")
def cancel(context: Context) -> Answer:
    """Cancel a payout that has not arrived; its amount returns."""
    record = _get(context)
    payouts.cancel(context, record)
    return record.body


@answers("POST", "/v1/payouts/{payout}/reverse")
def reverse(context: Context) -> Answer:
    """Fetch a paid payout back: a payout of the negative amount."""
    made = payouts.reverse(context, _get(context))
    merge_metadata(made.body, context.params)
    context.save(made)
    return made.body


@answers("GET", "/v1/payouts")
def list_payouts(context: Context) -> Answer:
    """Payouts, newest first."""
    destination = text(context.params, "destination")
    filters: list[Filter] = []
    if destination is not None:
        filters.append(Filter("json_extract(CAST(body AS TEXT), '$.destination') = ?", (destination,)))
    return list_objects(context, "payout", {"status": "status"}, ranges={"arrival_date": "due"}, filters=filters)


def _get(context: Context) -> Record:
    return context.get("payout", context.ids["payout"], "payout")

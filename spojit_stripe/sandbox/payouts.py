"""Payouts: how money leaves for the bank, arrives, or comes back.

An automatic payout takes all transactions of a currency that are available and in no payout
yet; its amount is exactly the sum of their nets. A sum that is not above zero is carried on
to the next day: the bank is never debited. A manual payout settles no transactions; its own
transaction is one of those that the next automatic payout takes.
"""

from spojit_stripe.sandbox import payments
from spojit_stripe.sandbox.context import Context
from spojit_stripe.sandbox.errors import invalid
from spojit_stripe.sandbox.store import Filter, Record
from spojit_stripe.sandbox.values import JsonObject, JsonValue, encode, integer, string, strings, text

_DAY = 86_400
_FREE = Filter("status = 'available' AND payout IS NULL AND json_extract(CAST(private AS TEXT), '$.payout') IS NULL")
FAILURES = {
    "account_closed": "The bank account has been closed.",
    "account_frozen": "The bank account has been frozen.",
    "bank_account_restricted": "The bank account has restrictions on the type, or the number, of payouts allowed.",
    "could_not_process": "The bank could not process this payout.",
    "debit_not_authorized": "Debit transactions are not approved on the bank account.",
    "insufficient_funds": "Your Stripe account has insufficient funds to cover the payout.",
    "invalid_account_number": "The routing number seems correct, but the account number is invalid.",
    "no_account": "The bank account details on file are probably incorrect. No bank account could be located.",
}


def payout_body(context: Context, amount: int, currency: str, arrival: int) -> JsonObject:
    """A payout on its way to the bank."""
    return {
        "id": context.new_id("po"),
        "object": "payout",
        "amount": amount,
        "application_fee": None,
        "application_fee_amount": None,
        "arrival_date": arrival,
        "automatic": False,
        "balance_transaction": None,
        "created": context.now,
        "currency": currency,
        "description": None,
        "destination": f"ba_1Sandbox{currency}",
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": context.livemode,
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "payout_method": None,
        "reconciliation_status": "not_applicable",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": "pending",
        "trace_id": None,
        "type": "bank_account",
    }


def send(context: Context, body: JsonObject, settled: list[str] | None = None) -> Record:
    """Take a payout's amount from the balance, and have it arrive."""
    moved = payments.post(
        context, "payout", -integer(body, "amount"), string(body, "currency"), string(body, "id"), description=_TITLE
    )
    body["balance_transaction"] = moved.id
    private: JsonObject = {}
    if settled is not None:
        _mark(context, moved, string(body, "id"))
        included: list[JsonValue] = [*settled]
        private["transactions"] = included
    record = context.insert(body, "payout.created", private)
    context.later(integer(body, "arrival_date"), "pay_payout", record.id)
    return record


_TITLE = "STRIPE PAYOUT"


def _mark(context: Context, transaction: Record, payout: str) -> None:
    transaction.private["payout"] = payout
    context.save(transaction)


def pay(context: Context, record: Record) -> None:
    """A payout arrives."""
    if record.body["status"] in {"pending", "in_transit"}:
        record.body["status"] = "paid"
        context.save(record, "payout.paid")


def fail(context: Context, record: Record, code: str) -> None:
    """The bank refuses a payout, also after it counted as paid: its amount returns to the balance."""
    if record.body["status"] not in {"pending", "in_transit", "paid"}:
        raise invalid(f"Payouts with the status {record.body['status']} can't fail.")
    _return(context, record, "payout_failure", "failed")
    record.body.update(failure_code=code, failure_message=FAILURES[code])
    context.save(record, "payout.failed")


def cancel(context: Context, record: Record) -> None:
    """A payout that has not been sent is taken back."""
    if record.body["status"] != "pending":
        raise invalid(f"Payouts with the status {record.body['status']} can't be canceled.")
    _return(context, record, "payout_cancel", "canceled")
    context.save(record, "payout.canceled")


def _return(context: Context, record: Record, kind: str, status: str) -> None:
    body = record.body
    returned = payments.post(context, kind, integer(body, "amount"), string(body, "currency"), record.id)
    body.update(status=status, failure_balance_transaction=returned.id)


def reverse(context: Context, record: Record) -> Record:
    """Fetch a paid payout back from the bank: a payout of the negative amount."""
    if record.body["status"] != "paid" or text(record.body, "reversed_by") is not None:
        why = "it has been reversed" if record.body["reversed_by"] else f"its status is {record.body['status']}"
        raise invalid(f"You can only reverse payouts that are paid, and only once; {record.id} can't be: {why}.")
    arrival = (context.now // _DAY + 2) * _DAY
    body = payout_body(context, -integer(record.body, "amount"), string(record.body, "currency"), arrival)
    body["original_payout"] = record.id
    made = send(context, body)
    record.body["reversed_by"] = made.id
    context.save(record, "payout.updated")
    return made


# Automatic payouts


def schedule(context: Context, interval: str) -> None:
    """Pay out "daily", or only when asked ("manual")."""
    before = interval_of(context)
    context.store.set_meta(f"payouts/{context.scope}", interval)
    if interval == "daily" and before != "daily":
        context.later((context.now // _DAY + 1) * _DAY, "pay_out_daily", context.account)


def interval_of(context: Context) -> str:
    """How the account is paid out."""
    found = context.store.meta(f"payouts/{context.scope}")
    return found if isinstance(found, str) else "manual"


def pay_out(context: Context) -> None:
    """The daily payouts, one for each currency; then tomorrow's are scheduled."""
    if interval_of(context) != "daily":
        return
    free: dict[str, list[Record]] = {}
    for transaction in context.store.records(context.scope, "balance_transaction", [_FREE]):
        free.setdefault(string(transaction.body, "currency"), []).append(transaction)
    for currency, transactions in sorted(free.items()):
        amount = sum(integer(each.body, "net") for each in transactions)
        if amount <= 0:
            continue
        body = payout_body(context, amount, currency, (context.now // _DAY + 2) * _DAY)
        body.update(automatic=True, reconciliation_status="completed", description=_TITLE)
        made = send(context, body, [each.id for each in transactions])
        for each in transactions:
            _mark(context, each, made.id)
    context.later((context.now // _DAY + 1) * _DAY, "pay_out_daily", context.account)


def settled_by(context: Context, identifier: str) -> Filter:
    """The balance transactions that an automatic payout settled; a payout's own is not among them."""
    record = context.find("payout", identifier)
    if record is None:
        raise context.missing("payout", identifier, "payout")
    found: list[JsonValue] = [*strings(record.private, "transactions")]
    if not found:
        return Filter("payout = ?", (identifier,))  # of a seed: written down with the transaction
    return Filter("id IN (SELECT value FROM json_each(?))", (encode(found).decode(),))

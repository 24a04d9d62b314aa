"""Money moving: charges, what they leave in the balance, refunds and disputes."""

from dataclasses import dataclass, field

from spojit_stripe.sandbox import currencies, shapes
from spojit_stripe.sandbox.cards import Decline, by_number
from spojit_stripe.sandbox.context import Context, merge_metadata
from spojit_stripe.sandbox.errors import StripeError, invalid
from spojit_stripe.sandbox.instruments import Instrument
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.values import JsonObject, JsonValue, child, flag, integer, string, text

_DAY = 86_400
_DISPUTE_FEE = {"jpy": 1_500, "kwd": 5_000, "gbp": 2_000, "eur": 2_000}
_CHARGED_BACK = ("lost", "needs_response", "under_review")
_REASON_CODES = {"fraudulent": "10.4", "product_not_received": "13.1"}


@dataclass
class Payment:
    """What a charge is made of."""

    amount: int
    currency: str
    capture: bool = True
    customer: str | None = None
    payment_intent: str | None = None
    description: JsonValue = None
    receipt_email: JsonValue = None
    statement_descriptor: JsonValue = None
    statement_descriptor_suffix: JsonValue = None
    transfer_group: JsonValue = None
    on_behalf_of: JsonValue = None
    shipping: JsonValue = None
    metadata: JsonObject = field(default_factory=lambda: {})


def charge(context: Context, chosen: Instrument, payment: Payment, decline: Decline | None = None) -> Record:
    """Charge a card: a succeeded or a failed charge, with all that follows from the card's number."""
    decline = decline or chosen.card.decline
    body = _charge_body(context, chosen, payment, decline)
    record = Record(body, {"number": chosen.card.number})
    if decline is not None:
        return context.insert(body, "charge.failed", record.private)
    if payment.capture:
        body["balance_transaction"] = credit(context, record, instant=chosen.card.instant).id
    record = context.insert(body, "charge.succeeded", record.private)
    if chosen.card.dispute and payment.capture:
        open_dispute(context, record, chosen.card.dispute, inquiry=chosen.card.inquiry)
    return record


def _charge_body(context: Context, chosen: Instrument, payment: Payment, decline: Decline | None) -> JsonObject:
    identifier = context.new_id("ch")
    captured = payment.capture and decline is None
    details = chosen.details(payment.amount)
    descriptor = payment.statement_descriptor or "SANDBOX"
    if payment.statement_descriptor_suffix:
        descriptor = f"SANDBOX* {payment.statement_descriptor_suffix}"
    body: JsonObject = {
        "id": identifier,
        "object": "charge",
        "amount": payment.amount,
        "amount_captured": payment.amount if captured else 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": chosen.billing,
        "calculated_statement_descriptor": descriptor,
        "captured": captured,
        "created": context.now,
        "currency": payment.currency,
        "customer": payment.customer,
        "description": payment.description or None,
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": decline.code if decline else None,
        "failure_message": decline.message if decline else None,
        "fraud_details": {},
        "livemode": context.livemode,
        "metadata": payment.metadata,
        "on_behalf_of": payment.on_behalf_of or None,
        "outcome": shapes.outcome(chosen.card, declined=decline is not None),
        "paid": decline is None,
        "payment_intent": payment.payment_intent,
        "payment_method": chosen.id,
        "payment_method_details": details,
        "presentment_details": None,
        "radar_options": {},
        "receipt_email": payment.receipt_email or None,
        "receipt_number": None,
        "receipt_url": None if decline else f"https://pay.stripe.com/receipts/payment/{identifier}",
        "refunded": False,
        "review": None,
        "shipping": shapes.shipping(payment.shipping),
        "source": chosen.record.body if chosen.record.body["object"] == "card" else None,
        "source_transfer": None,
        "statement_descriptor": payment.statement_descriptor or None,
        "statement_descriptor_suffix": payment.statement_descriptor_suffix or None,
        "status": "failed" if decline else "succeeded",
        "transfer_data": None,
        "transfer_group": payment.transfer_group or None,
    }
    return body


def decline_error(decline: Decline, record: Record | None, extra: JsonObject | None = None) -> StripeError:
    """The 402 that a declined card answers; what was done before it stands."""
    details: JsonObject = {"decline_code": decline.decline_code}
    if decline.advice is not None:
        details["advice_code"] = decline.advice
    if not decline.blocked and decline.code == "card_declined":
        details["network_decline_code"] = "05"
    if record is not None:
        details["charge"] = record.id
    details.update(extra or {})
    return StripeError(
        402, decline.message, kind="card_error", code=decline.code, param=decline.param, extra=details, keeps=True
    )


def capture(context: Context, record: Record, amount: int) -> None:
    """Capture an authorised charge, in full or in part; the rest is released."""
    body = record.body
    body["captured"] = True
    body["amount_captured"] = amount
    released = integer(body, "amount") - amount
    if released:
        body["amount_refunded"] = released
    body["balance_transaction"] = credit(context, record).id
    context.save(record, "charge.captured")


def release(context: Context, record: Record) -> None:
    """Give an authorised amount back: the charge counts as refunded, no money moved."""
    body = record.body
    body["amount_refunded"] = body["amount"]
    body["refunded"] = True
    _new_refund(context, record, integer(body, "amount"), {}, "succeeded", moved=False)
    context.save(record, "charge.refunded")


def credit(context: Context, record: Record, *, instant: bool = False) -> Record:
    """The balance transaction of a captured charge, with its fee."""
    body = record.body
    amount, currency = integer(body, "amount_captured"), string(body, "currency")
    fee = currencies.fee(amount, currency)
    details: JsonObject = {
        "amount": fee,
        "application": None,
        "currency": currency,
        "description": "Stripe processing fees",
        "type": "stripe_fee",
    }
    return post(
        context,
        "charge",
        amount,
        currency,
        record.id,
        fee=fee,
        fee_details=[details],
        description=text(body, "description"),
        instant=instant,
    )


def post(
    context: Context,
    kind: str,
    amount: int,
    currency: str,
    source: str,
    *,
    category: str | None = None,
    fee: int = 0,
    fee_details: list[JsonValue] | None = None,
    description: str | None = None,
    instant: bool = False,
) -> Record:
    """A balance transaction. Money comes in two days later, at midnight UTC, and leaves at once."""
    pending = amount > 0 and not instant and kind == "charge"
    available = (context.now // _DAY + 2) * _DAY if pending else context.now
    body: JsonObject = {
        "id": context.new_id("txn"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": available,
        "balance_type": "payments",
        "created": context.now,
        "currency": currency,
        "description": description,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": fee_details or [],
        "net": amount - fee,
        "reporting_category": category or kind,
        "source": source,
        "status": "pending" if pending else "available",
        "type": kind,
    }
    record = context.insert(body)
    if pending:
        context.later(available, "settle_balance", record.id)
    return record


# Refunds


def refund(
    context: Context, record: Record, amount: int | None, params: JsonObject, *, amount_param: str = "amount"
) -> Record:
    """Refund a charge, in full or in part, never more than is left of it."""
    body = record.body
    left = _refundable(body)
    if any(each.body["status"] in _CHARGED_BACK for each in context.records("dispute", charge=record.id)):
        raise invalid(f"Charge {record.id} has been charged back; cannot issue a refund.", "charge", "charge_disputed")
    if flag(body, "refunded") or left <= 0:
        raise invalid(f"Charge {record.id} has already been refunded.", code="charge_already_refunded")
    wanted = left if amount is None else amount
    if not flag(body, "captured") and wanted != left:
        raise invalid(
            "You cannot partially refund an uncaptured charge. Instead, capture the charge for less.", "amount"
        )
    if wanted < 1:
        raise invalid("Invalid positive integer", amount_param, "parameter_invalid_integer")
    if wanted > left:
        currency = string(body, "currency")
        what = "charge amount" if left == integer(body, "amount") else "unrefunded amount on charge"
        raise invalid(
            f"Refund amount ({currencies.shown(wanted, currency)}) is greater than {what} "
            f"({currencies.shown(left, currency)})",
            amount_param,
        )
    later = by_number(string(record.private, "number")).refund
    made = _new_refund(context, record, wanted, params, "pending" if later == "pending" else "succeeded")
    if later:
        context.later(context.now + 60, "settle_refund" if later == "pending" else "fail_refund", made.id)
    body["amount_refunded"] = integer(body, "amount_refunded") + wanted
    body["refunded"] = body["amount_refunded"] == body["amount"]
    context.save(record, "charge.refunded")
    if flag(body, "disputed") and flag(body, "refunded"):
        _settle_inquiries(context, record)
    return made


def _settle_inquiries(context: Context, record: Record) -> None:
    """A cardholder who gets all money back asks no more."""
    for dispute in context.records("dispute", charge=record.id):
        if dispute.body["status"] in {"warning_needs_response", "warning_under_review"}:
            close_dispute(context, dispute, won=True)


def _refundable(body: JsonObject) -> int:
    if body["status"] != "succeeded":
        return 0
    return integer(body, "amount") - integer(body, "amount_refunded")


def _new_refund(
    context: Context, record: Record, amount: int, params: JsonObject, status: str, *, moved: bool = True
) -> Record:
    charge_body = record.body
    identifier = context.new_id("re")
    currency = string(charge_body, "currency")
    transaction = None
    if moved and flag(charge_body, "captured"):
        description = f"REFUND FOR CHARGE ({charge_body['description'] or record.id})"
        transaction = post(context, "refund", -amount, currency, identifier, description=description).id
    body: JsonObject = {
        "id": identifier,
        "object": "refund",
        "amount": amount,
        "balance_transaction": transaction,
        "charge": record.id,
        "created": context.now,
        "currency": currency,
        "customer": charge_body["customer"],
        "customer_account": None,
        "destination_details": {
            "card": {
                "reference": None if status == "pending" else f"{context.now % 10**12:012d}",
                "reference_status": "pending" if status == "pending" else "available",
                "reference_type": "acquirer_reference_number",
                "type": "refund" if moved and flag(charge_body, "captured") else "reversal",
            },
            "type": "card",
        },
        "metadata": {},
        "payment_intent": charge_body["payment_intent"],
        "payment_method": charge_body["payment_method"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": status,
        "transfer_reversal": None,
    }
    merge_metadata(body, params)
    return context.insert(body, "refund.created")


def settle_refund(context: Context, made: Record) -> None:
    """A pending refund arrives."""
    if made.body["status"] == "pending":
        made.body["status"] = "succeeded"
        context.save(made, "refund.updated")


def fail_refund(context: Context, made: Record) -> None:
    """A refund comes back: the money returns to the balance and the charge counts less refunded."""
    body = made.body
    if body["status"] != "succeeded":
        return
    returned = post(context, "refund_failure", integer(body, "amount"), string(body, "currency"), made.id)
    body["status"] = "failed"
    body["failure_reason"] = "expired_or_canceled_card"
    body["failure_balance_transaction"] = returned.id
    context.save(made, "refund.updated")
    context.event("refund.failed", body)
    record = context.get("charge", string(body, "charge"))
    record.body["amount_refunded"] = integer(record.body, "amount_refunded") - integer(body, "amount")
    record.body["refunded"] = False
    context.save(record, "charge.updated")


# Disputes


def open_dispute(context: Context, record: Record, reason: str, *, inquiry: bool = False) -> Record:
    """A cardholder disputes a charge: its amount and a fee leave the balance, unless it only asks."""
    body = record.body
    if body["status"] != "succeeded" or not flag(body, "captured"):
        raise invalid(f"Charge {record.id} took no money; it can't be disputed.", "charge")
    if any(not each.body["status"] == "warning_closed" for each in context.records("dispute", charge=record.id)):
        raise invalid(f"Charge {record.id} has already been disputed.", "charge")
    amount, currency = integer(body, "amount"), string(body, "currency")
    identifier = context.new_id("du")
    moved: list[JsonValue] = []
    if not inquiry:
        moved.append(_withdraw(context, amount, currency, identifier, record.id).body)
    dispute = context.insert(_dispute_body(context, record, identifier, reason, moved, inquiry))
    context.later(context.now + 9 * _DAY, "expire_dispute", identifier)
    body["disputed"] = True
    context.save(record, "charge.updated")
    context.event("charge.dispute.created", dispute.body)
    if moved:
        context.event("charge.dispute.funds_withdrawn", dispute.body)
    return dispute


def escalate_dispute(context: Context, dispute: Record) -> None:
    """An inquiry becomes a chargeback: now the money goes."""
    body = dispute.body
    if not string(body, "status").startswith("warning_"):
        raise invalid(f"Only inquiries can be escalated; the status of {dispute.id} is {body['status']}.")
    charge = string(body, "charge")
    moved = _withdraw(context, integer(body, "amount"), string(body, "currency"), dispute.id, charge)
    details = dict(child(body, "payment_method_details"))
    details["card"] = {**child(details, "card"), "case_type": "chargeback"}
    body.update(status="needs_response", is_charge_refundable=False, payment_method_details=details)
    body["balance_transactions"] = [moved.body]
    body["evidence_details"] = {**child(body, "evidence_details"), "due_by": context.now + 9 * _DAY, "past_due": False}
    context.later(context.now + 9 * _DAY, "expire_dispute", dispute.id)
    context.save(dispute, "charge.dispute.updated")
    context.event("charge.dispute.funds_withdrawn", body)


def expire_dispute(context: Context, dispute: Record) -> None:
    """Nobody answered in time: a chargeback is lost, an inquiry closed."""
    body = dispute.body
    details = dict(child(body, "evidence_details"))
    if body["status"] in {"needs_response", "warning_needs_response"} and integer(details, "due_by") <= context.now:
        details["past_due"] = True
        body["evidence_details"] = details
        close_dispute(context, dispute, won=False)


def _withdraw(context: Context, amount: int, currency: str, dispute: str, disputed: str) -> Record:
    fee = _DISPUTE_FEE.get(currency, 1_500)
    details: JsonObject = {
        "amount": fee,
        "application": None,
        "currency": currency,
        "description": "Dispute fee",
        "type": "stripe_fee",
    }
    return post(
        context,
        "adjustment",
        -amount,
        currency,
        dispute,
        category="dispute",
        fee=fee,
        fee_details=[details],
        description=f"Chargeback withdrawal for {disputed}",
    )


_EVIDENCE_NAMES = (
    "access_activity_log billing_address cancellation_policy cancellation_policy_disclosure "
    "cancellation_rebuttal customer_communication customer_email_address customer_name "
    "customer_purchase_ip customer_signature duplicate_charge_documentation duplicate_charge_explanation "
    "duplicate_charge_id product_description receipt refund_policy refund_policy_disclosure "
    "refund_refusal_explanation service_date service_documentation shipping_address shipping_carrier "
    "shipping_date shipping_documentation shipping_tracking_number uncategorized_file uncategorized_text"
)
_EVIDENCE = _EVIDENCE_NAMES.split()


def _dispute_body(
    context: Context, record: Record, identifier: str, reason: str, moved: list[JsonValue], inquiry: bool
) -> JsonObject:
    brand = _brand(record)
    evidence: JsonObject = {name: None for name in _EVIDENCE}
    evidence["enhanced_evidence"] = {}
    code = _REASON_CODES.get(reason, "10.4")
    return {
        "id": identifier,
        "object": "dispute",
        "amount": record.body["amount"],
        "balance_transactions": moved,
        "charge": record.id,
        "created": context.now,
        "currency": record.body["currency"],
        "enhanced_eligibility_types": [],
        "evidence": evidence,
        "evidence_details": {
            "due_by": context.now + 9 * _DAY,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": inquiry,
        "livemode": context.livemode,
        "metadata": {},
        "network_reason_code": code,
        "payment_intent": record.body["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": brand,
                "case_type": "inquiry" if inquiry else "chargeback",
                "network": brand,
                "network_reason_code": code,
            },
            "type": "card",
        },
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
    }


def _brand(record: Record) -> str:
    return by_number(string(record.private, "number")).brand


def close_dispute(context: Context, dispute: Record, *, won: bool) -> None:
    """A dispute ends. Winning returns the amount, not the fee."""
    body = dispute.body
    if body["status"] in {"won", "lost", "warning_closed"}:
        raise invalid(f"This dispute is already closed ({body['status']}).")
    inquiry = string(body, "status").startswith("warning_")
    body["status"] = "warning_closed" if inquiry else "won" if won else "lost"
    body["is_charge_refundable"] = False
    if won and not inquiry:
        returned = post(
            context,
            "adjustment",
            integer(body, "amount"),
            string(body, "currency"),
            dispute.id,
            category="dispute_reversal",
            description=f"Chargeback reversal for {body['charge']}",
        )
        moved = body["balance_transactions"]
        body["balance_transactions"] = [*(moved if isinstance(moved, list) else []), returned.body]
    context.save(dispute, "charge.dispute.updated")
    context.event("charge.dispute.closed", body)
    if won and not inquiry:
        context.event("charge.dispute.funds_reinstated", body)

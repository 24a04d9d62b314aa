"""Credit notes: what is taken off an invoice after it was finalized, and where the money goes.

What an open invoice still asks for is lowered first; what was paid is refunded, credited to
the customer's balance, or settled outside. The parts add up to the note, always.
"""

from spojit_stripe.sandbox import billing, discounts, payments
from spojit_stripe.sandbox.context import Context, merge_metadata
from spojit_stripe.sandbox.errors import StripeError, bad_parameter, invalid, not_done
from spojit_stripe.sandbox.pricing import cost
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.validate import check_range
from spojit_stripe.sandbox.values import JsonObject, JsonValue, child, flag, integer, items, string, text

_PARTS = ("credit_amount", "out_of_band_amount", "refund_amount")
_CREDITABLE = ("open", "paid", "uncollectible")


def draft(context: Context, invoice: Record) -> tuple[JsonObject, list[JsonObject]]:
    """The credit note that the parameters ask for, and its lines; nothing is changed yet."""
    body = invoice.body
    if body["status"] not in _CREDITABLE:
        raise invalid(
            f"You can only create credit notes for invoices that are open, paid or uncollectible; {invoice.id} is "
            f"{body['status']}.",
            "invoice",
        )
    identifier = context.new_id("cn")
    lines = _lines(context, invoice)
    subtotal = sum(integer(each, "amount") for each in lines)
    discounted = sum(integer(each, "discount_amount") for each in lines)
    total = subtotal - discounted
    before = _before(context, invoice)
    if total < 1 or total > integer(body, "total") - before:
        raise invalid(
            f"The credit note's total ({total}) must be above zero and not more than what is left of the invoice's "
            f"total to credit ({integer(body, 'total') - before}).",
            "amount" if "amount" in context.params else "lines",
        )
    pre = min(total, integer(body, "amount_remaining"))
    _check_parts(context, total - pre)
    number = f"{body['number']}-CN-{len(context.records('credit_note', invoice=invoice.id)) + 1:02d}"
    amounts = _by_discount(lines)
    note: JsonObject = {
        "id": identifier,
        "object": "credit_note",
        "amount": total,
        "amount_shipping": 0,
        "created": context.now,
        "currency": body["currency"],
        "customer": body["customer"],
        "customer_account": None,
        "customer_balance_transaction": None,
        "discount_amount": discounted,
        "discount_amounts": amounts,
        "effective_at": context.params.get("effective_at") or context.now,
        "invoice": invoice.id,
        "lines": context.sublist(f"/v1/credit_notes/{identifier}/lines", lines),
        "livemode": context.livemode,
        "memo": text(context.params, "memo"),
        "metadata": {},
        "number": number,
        "out_of_band_amount": context.params.get("out_of_band_amount"),
        "pdf": f"https://pay.stripe.com/credit_notes/{context.account}/{identifier}/pdf",
        "post_payment_amount": total - pre,
        "pre_payment_amount": pre,
        "pretax_credit_amounts": discounts.credits_of(amounts),
        "reason": context.params.get("reason"),
        "refunds": [],
        "shipping_cost": None,
        "status": "issued",
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal,
        "total": total,
        "total_excluding_tax": total,
        "total_taxes": [],
        "type": "pre_payment" if pre == total else "mixed" if pre else "post_payment",
        "voided_at": None,
    }
    merge_metadata(note, context.params)
    return note, lines


def _before(context: Context, invoice: Record) -> int:
    """What was credited already."""
    issued = context.records("credit_note", invoice=invoice.id, status="issued")
    return sum(integer(each.body, "total") for each in issued)


def _check_parts(context: Context, post: int) -> None:
    params = context.params
    given = sum(integer(params, name) for name in _PARTS)
    given += sum(_linked(context, entry, place)[1] for place, entry in enumerate(items(params, "refunds")))
    for name in _PARTS:
        check_range(integer(params, name), name, 0)
    if given != post:
        raise invalid(
            "The sum of `credit_amount`, `refund_amount`, `out_of_band_amount` and `refunds` must be what was already "
            f"paid of the credit note's amount: {post}, not {given}.",
            next((name for name in _PARTS if name in params), "credit_amount"),
        )


def _linked(context: Context, entry: JsonObject, place: int) -> tuple[str, int]:
    """A refund that exists and is to be part of the note, and how much of it."""
    identifier = text(entry, "refund")
    if identifier is None:
        raise bad_parameter(
            f"Missing required param: refunds[{place}][refund].", f"refunds[{place}][refund]", "parameter_missing"
        )
    refund = context.get("refund", identifier, f"refunds[{place}][refund]")
    amount = integer(entry, "amount_refunded") if "amount_refunded" in entry else integer(refund.body, "amount")
    check_range(amount, f"refunds[{place}][amount_refunded]", 1, integer(refund.body, "amount"))
    return identifier, amount


# Lines


def _lines(context: Context, invoice: Record) -> list[JsonObject]:
    params = context.params
    if ("amount" in params) == ("lines" in params):
        raise bad_parameter("You must pass exactly one of `amount` and `lines`.", "amount", "parameter_missing")
    if "amount" in params:
        check_range(integer(params, "amount"), "amount", 1)
        return [_line(context, "custom_line_item", integer(params, "amount"))]
    return [_given(context, invoice, each, f"lines[{place}]") for place, each in enumerate(items(params, "lines"))]


def _given(context: Context, invoice: Record, given: JsonObject, path: str) -> JsonObject:
    for name in ("tax_amounts", "tax_rates"):
        if given.get(name) not in (None, "", []):
            raise not_done(f"carry out `{name}` of a credit note's line", f"{path}[{name}]")
    quantity = integer(given, "quantity") if "quantity" in given else 1
    check_range(quantity, f"{path}[quantity]", 1)
    if given.get("type") == "custom_line_item":
        exact = text(given, "unit_amount_decimal") or str(integer(given, "unit_amount"))
        amount = cost({"unit_amount_decimal": exact}, quantity)
        return _line(
            context, "custom_line_item", amount, description=text(given, "description"), quantity=quantity, unit=exact
        )
    identifier = text(given, "invoice_line_item")
    line = next((each for each in billing.lines(invoice) if each["id"] == identifier), None)
    if line is None:
        raise invalid(f"No such invoice line item: '{identifier}'", f"{path}[invoice_line_item]", "resource_missing")
    whole, most = integer(line, "amount"), integer(line, "quantity")
    if "amount" in given:
        amount, counted = integer(given, "amount"), None
    else:
        counted = quantity if "quantity" in given else most
        check_range(counted, f"{path}[quantity]", 1, max(most, 1))
        amount = discounts.split(whole, [counted, most - counted])[0] if most else whole
    check_range(amount, f"{path}[amount]", 1, max(whole, 1))
    return _line(
        context,
        "invoice_line_item",
        amount,
        description=text(line, "description"),
        quantity=counted,
        line=line,
    )


def _line(
    context: Context,
    kind: str,
    amount: int,
    *,
    description: str | None = None,
    quantity: int | None = None,
    unit: str | None = None,
    line: JsonObject | None = None,
) -> JsonObject:
    shares: list[JsonValue] = []
    for each in items(line or {}, "discount_amounts"):
        share = discounts.split(integer(each, "amount"), [amount, integer(line or {}, "amount") - amount])[0]
        shares.append({"amount": share, "discount": each["discount"]})
    return {
        "id": context.new_id("cnli"),
        "object": "credit_note_line_item",
        "amount": amount,
        "description": description,
        "discount_amount": sum(integer(each, "amount") for each in shares if isinstance(each, dict)),
        "discount_amounts": shares,
        "invoice_line_item": line["id"] if line is not None else None,
        "livemode": context.livemode,
        "metadata": {},
        "pretax_credit_amounts": discounts.credits_of(shares),
        "quantity": quantity,
        "tax_rates": [],
        "taxes": [],
        "type": kind,
        "unit_amount": int(unit) if unit is not None and unit.isdigit() else None,
        "unit_amount_decimal": unit,
    }


def _by_discount(lines: list[JsonObject]) -> list[JsonValue]:
    sums: dict[str, int] = {}
    for line in lines:
        for each in items(line, "discount_amounts"):
            name = string(each, "discount")
            sums[name] = sums.get(name, 0) + integer(each, "amount")
    return [{"amount": amount, "discount": name} for name, amount in sums.items()]


# Issuing and voiding


def issue(context: Context, invoice: Record) -> Record:
    """A credit note, with all that follows from it."""
    note, lines = draft(context, invoice)
    pre, post = integer(note, "pre_payment_amount"), integer(note, "post_payment_amount")
    refunds: list[JsonValue] = []
    for place, entry in enumerate(items(context.params, "refunds")):
        identifier, amount = _linked(context, entry, place)
        refunds.append(_refund_of(identifier, amount))
    wanted = integer(context.params, "refund_amount")
    if wanted:
        made = payments.refund(context, _charge(context, invoice), wanted, {}, amount_param="refund_amount")
        refunds.append(_refund_of(made.id, wanted))
    note["refunds"] = refunds
    credited = integer(context.params, "credit_amount")
    if credited:
        note["customer_balance_transaction"] = _to_balance(context, note, credited)
    kept: list[JsonValue] = [*lines]
    record = context.insert(note, "credit_note.created", {"lines": kept})
    body = invoice.body
    body["post_payment_credit_notes_amount"] = integer(body, "post_payment_credit_notes_amount") + post
    if pre:
        _lower(context, invoice, pre)
    else:
        context.save(invoice, "invoice.updated")
    return record


def _refund_of(identifier: str, amount: int) -> JsonObject:
    return {"amount_refunded": amount, "payment_record_refund": None, "refund": identifier, "type": "refund"}


def _charge(context: Context, invoice: Record) -> Record:
    intent = context.find("payment_intent", text(invoice.private, "payment_intent"))
    charge = context.find("charge", text(intent.body, "latest_charge")) if intent is not None else None
    if charge is None or not flag(charge.body, "captured"):
        raise invalid("There is no charge of this invoice to refund.", "refund_amount")
    return charge


def _to_balance(context: Context, note: JsonObject, amount: int) -> str:
    """Credit the customer: used up by the next invoices."""
    customer = context.live("customer", string(note, "customer"), "customer")
    customer.body["balance"] = integer(customer.body, "balance") - amount
    customer.body["currency"] = customer.body["currency"] or note["currency"]
    context.save(customer, "customer.updated")
    moved: JsonObject = {
        "id": context.new_id("cbtxn"),
        "object": "customer_balance_transaction",
        "amount": -amount,
        "checkout_session": None,
        "created": context.now,
        "credit_note": note["id"],
        "currency": note["currency"],
        "customer": customer.id,
        "customer_account": None,
        "description": None,
        "ending_balance": customer.body["balance"],
        "invoice": note["invoice"],
        "livemode": context.livemode,
        "metadata": {},
        "type": "credit_note",
    }
    return context.insert(moved, "customer_balance_transaction.created").id


def _lower(context: Context, invoice: Record, amount: int) -> None:
    """An open invoice asks for less (or more again); with nothing left it is paid."""
    body = invoice.body
    body["pre_payment_credit_notes_amount"] = integer(body, "pre_payment_credit_notes_amount") + amount
    body["amount_due"] = integer(body, "amount_due") - amount
    body["amount_remaining"] = integer(body, "amount_remaining") - amount
    if body["amount_remaining"] == 0:
        billing.drop_intent(context, invoice)
        context.save(invoice, "invoice.updated")
        billing.mark_paid(context, invoice)
        return
    context.save(invoice, "invoice.updated")
    intent = context.find("payment_intent", text(invoice.private, "payment_intent"))
    if intent is not None and intent.body["status"] not in {"succeeded", "canceled"}:
        intent.body["amount"] = body["amount_due"]
        context.save(intent)
    for payment in context.records("invoice_payment", invoice=invoice.id, status="open"):
        payment.body["amount_requested"] = body["amount_due"]
        context.save(payment)


def void(context: Context, note: Record) -> None:
    """A note on an invoice that is still open is taken back."""
    invoice = context.get("invoice", string(note.body, "invoice"), "invoice")
    if note.body["status"] != "issued":
        raise _not_voidable(f"The credit note {note.id} is already void.")
    if invoice.body["status"] != "open" or note.body["type"] != "pre_payment":
        raise _not_voidable("You can only void a credit note of an invoice that is open.")
    note.body.update(status="void", voided_at=context.now)
    context.save(note, "credit_note.voided")
    _lower(context, invoice, -integer(note.body, "pre_payment_amount"))


def _not_voidable(message: str) -> StripeError:
    return invalid(message, "id")


def lines_of(note: Record) -> list[JsonObject]:
    """All lines of a note; the object shows the first ten."""
    return items({"lines": note.private.get("lines")}, "lines") if child(note.body, "lines") else []

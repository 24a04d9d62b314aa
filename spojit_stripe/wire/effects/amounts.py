"""Where the amount of an operation that moves money is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["AMOUNTS", "AmountKind", "AmountRule", "Lookup"]


class AmountKind(StrEnum):
    """How the effective amount is found.

    `params`: amount and currency stand in the parameters.
    `rest_of_charge`: an omitted amount means what is left of the charge.
    `capture`: an omitted amount means all that is reserved.
    `invoice_due`: what is left to pay of the invoice.
    `lookup`: an amount, or its currency, that is not given stands in another object.
    `unknown`: nobody can say before; it asks.
    """

    PARAMS = "params"
    REST_OF_CHARGE = "rest_of_charge"
    CAPTURE = "capture"
    INVOICE_DUE = "invoice_due"
    LOOKUP = "lookup"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Lookup:
    """The object to read: `path` with path values or parameters of the call in braces.

    The effective amount is its field `total` minus its field `minus`; without `total` only
    the currency is taken from it. `write_as` is the parameter into which the found amount is
    written, so that what is approved is what is sent; None where the call takes none.
    """

    path: str
    total: str | None
    minus: str | None = None
    currency: str = "currency"
    write_as: str | None = None


@dataclass(frozen=True, slots=True)
class AmountRule:
    """Where the amount is. `amount` and `currency` are dotted parameter paths, None where none."""

    kind: AmountKind
    amount: str | None = "amount"
    currency: str | None = "currency"
    lookup: Lookup | None = None


_PARAMS: Final = AmountRule(AmountKind.PARAMS)
_V2: Final = AmountRule(AmountKind.PARAMS, "amount.value", "amount.currency")
_UNKNOWN: Final = AmountRule(AmountKind.UNKNOWN, None, None)


def _whole(path: str, total: str = "amount", minus: str | None = None) -> AmountRule:
    """The amount of an object, which the call itself cannot change."""
    return AmountRule(AmountKind.LOOKUP, None, None, Lookup(path, total, minus))


def _rest(path: str, total: str, minus: str) -> AmountRule:
    """The given amount, or what is left of an object."""
    return AmountRule(AmountKind.LOOKUP, "amount", None, Lookup(path, total, minus, write_as="amount"))


_INTENT = "/v1/payment_intents/{intent}"
_INVOICE = "/v1/invoices/{invoice}"
_DUE: Final = AmountRule(AmountKind.INVOICE_DUE, None, None, Lookup(_INVOICE, "amount_remaining"))

# Every money operation of the effects table stands here.
AMOUNTS: Final[Mapping[str, AmountRule]] = {
    "POST /v1/charges": _PARAMS,
    "POST /v1/charges/{charge}/capture": AmountRule(
        AmountKind.CAPTURE, "amount", None, Lookup("/v1/charges/{charge}", "amount", write_as="amount")
    ),
    "POST /v1/payment_intents": _PARAMS,
    "POST /v1/payment_intents/{intent}": AmountRule(AmountKind.LOOKUP, "amount", "currency", Lookup(_INTENT, "amount")),
    "POST /v1/payment_intents/{intent}/apply_customer_balance": AmountRule(
        AmountKind.LOOKUP, "amount", "currency", Lookup(_INTENT, "amount", write_as="amount")
    ),
    "POST /v1/payment_intents/{intent}/cancel": _whole(_INTENT, "amount_capturable"),
    "POST /v1/payment_intents/{intent}/capture": AmountRule(
        AmountKind.CAPTURE,
        "amount_to_capture",
        None,
        Lookup(_INTENT, "amount_capturable", write_as="amount_to_capture"),
    ),
    "POST /v1/payment_intents/{intent}/confirm": AmountRule(
        AmountKind.LOOKUP, "amount_to_confirm", None, Lookup(_INTENT, "amount")
    ),
    # The amount given is the new total; all of it is counted, which is more than moves.
    "POST /v1/payment_intents/{intent}/increment_authorization": AmountRule(
        AmountKind.LOOKUP, "amount", None, Lookup(_INTENT, None)
    ),
    "POST /v1/payment_intents/{intent}/verify_microdeposits": _whole(_INTENT),
    # The charge is named by `charge`, or is the latest one of `payment_intent`. What was not
    # captured counts as refunded already; if it did not, Stripe would refuse too large a refund.
    "POST /v1/refunds": AmountRule(
        AmountKind.REST_OF_CHARGE,
        "amount",
        "currency",
        Lookup("/v1/charges/{charge}", "amount", "amount_refunded", write_as="amount"),
    ),
    "POST /v1/refunds/{refund}/cancel": _whole("/v1/refunds/{refund}"),
    "POST /v1/application_fees/{id}/refunds": _rest("/v1/application_fees/{id}", "amount", "amount_refunded"),
    "POST /v1/credit_notes": AmountRule(AmountKind.LOOKUP, "amount", None, Lookup(_INVOICE, None)),
    "POST /v1/credit_notes/{id}/void": _whole("/v1/credit_notes/{id}"),
    "POST /v1/disputes/{dispute}": _whole("/v1/disputes/{dispute}"),
    "POST /v1/disputes/{dispute}/close": _whole("/v1/disputes/{dispute}"),
    "POST /v1/payouts": _PARAMS,
    "POST /v1/payouts/{payout}/cancel": _whole("/v1/payouts/{payout}"),
    "POST /v1/payouts/{payout}/reverse": _whole("/v1/payouts/{payout}"),
    "POST /v1/topups": _PARAMS,
    "POST /v1/topups/{topup}/cancel": _whole("/v1/topups/{topup}"),
    # An omitted amount takes all of `source_transaction`, which has its own currency.
    "POST /v1/transfers": _PARAMS,
    "POST /v1/transfers/{id}/reversals": _rest("/v1/transfers/{id}", "amount", "amount_reversed"),
    "POST /v2/money_management/inbound_transfers": _V2,
    "POST /v2/money_management/outbound_payments": _V2,
    "POST /v2/money_management/outbound_payments/{id}/cancel": _UNKNOWN,
    "POST /v2/money_management/payout_intents": _V2,
    "POST /v2/money_management/payout_intents/{id}": _UNKNOWN,
    "POST /v2/money_management/payout_intents/{id}/cancel": _UNKNOWN,
    "POST /v2/money_management/payout_intents/{id}/confirm": _UNKNOWN,
    "POST /v2/money_management/payout_intents/{id}/refresh_fx_quote": _UNKNOWN,
    "POST /v1/treasury/credit_reversals": _UNKNOWN,
    "POST /v1/treasury/debit_reversals": _UNKNOWN,
    "POST /v1/treasury/inbound_transfers": _PARAMS,
    "POST /v1/treasury/inbound_transfers/{inbound_transfer}/cancel": _whole(
        "/v1/treasury/inbound_transfers/{inbound_transfer}"
    ),
    "POST /v1/treasury/outbound_payments": _PARAMS,
    "POST /v1/treasury/outbound_payments/{id}/cancel": _whole("/v1/treasury/outbound_payments/{id}"),
    "POST /v1/treasury/outbound_transfers": _PARAMS,
    "POST /v1/treasury/outbound_transfers/{outbound_transfer}/cancel": _whole(
        "/v1/treasury/outbound_transfers/{outbound_transfer}"
    ),
    "POST /v1/customers": _UNKNOWN,
    "POST /v1/customers/{customer}": _UNKNOWN,
    "POST /v1/customers/{customer}/balance_transactions": _PARAMS,
    "POST /v1/customers/{customer}/cash_balance": _UNKNOWN,
    "POST /v1/billing/credit_grants": AmountRule(
        AmountKind.PARAMS, "amount.monetary.value", "amount.monetary.currency"
    ),
    "POST /v1/billing/credit_grants/{id}/expire": _UNKNOWN,
    "POST /v1/billing/credit_grants/{id}/void": _UNKNOWN,
    # Priced by `amount`; by a price or a unit amount times a quantity nobody knows before.
    "POST /v1/invoiceitems": _PARAMS,
    "POST /v1/invoiceitems/{invoiceitem}": AmountRule(
        AmountKind.LOOKUP, "amount", None, Lookup("/v1/invoiceitems/{invoiceitem}", None)
    ),
    "POST /v1/invoices/{invoice}/add_lines": _UNKNOWN,
    "POST /v1/invoices/{invoice}/update_lines": _UNKNOWN,
    "POST /v1/invoices/{invoice}/lines/{line_item_id}": _UNKNOWN,
    "POST /v1/invoices": _UNKNOWN,
    "POST /v1/invoices/{invoice}": _DUE,
    "POST /v1/invoices/{invoice}/attach_payment": _DUE,
    "POST /v1/invoices/{invoice}/finalize": _DUE,
    "POST /v1/invoices/{invoice}/pay": _DUE,
    "POST /v1/invoices/{invoice}/send": _DUE,
    "POST /v1/subscriptions": _UNKNOWN,
    "POST /v1/subscriptions/{subscription_exposed_id}": _UNKNOWN,
    "DELETE /v1/subscriptions/{subscription_exposed_id}": _UNKNOWN,
    "POST /v1/subscriptions/{subscription}/pause": _UNKNOWN,
    "POST /v1/subscriptions/{subscription}/resume": _UNKNOWN,
    "POST /v1/subscription_items": _UNKNOWN,
    "POST /v1/subscription_items/{item}": _UNKNOWN,
    "DELETE /v1/subscription_items/{item}": _UNKNOWN,
    "POST /v1/subscription_schedules": _UNKNOWN,
    "POST /v1/subscription_schedules/{schedule}": _UNKNOWN,
    "POST /v1/subscription_schedules/{schedule}/cancel": _UNKNOWN,
    "POST /v1/quotes/{quote}/accept": _whole("/v1/quotes/{quote}", "amount_total"),
}

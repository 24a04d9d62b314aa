"""How Stripe's objects read, for an agent: ids, anybody's text, money; and an operation in a few words."""

from __future__ import annotations

import re
from typing import Final

from spojit_stripe.connector import Vocabulary
from spojit_stripe.values import JsonObject
from spojit_stripe.wire.effects import effect_of
from spojit_stripe.wire.operations import Operation

__all__ = ["VOCABULARY", "found"]

VOCABULARY: Final = Vocabulary(
    # A test token (`tok_visa`) and a method (`pm_card_visa`) are ids too; `in_progress` is none.
    id_shape=re.compile(
        r"(?:[a-z]{2,12}_(?:test_|live_)?(?=[A-Za-z]*\d)[A-Za-z0-9]{8,}|tok_[A-Za-z_]+|pm_card_[A-Za-z_]+)"
    ),
    id_fields=frozenset(
        [
            "account",
            "application_fee",
            "balance_transaction",
            "bank_account",
            "card",
            "charge",
            "coupon",
            "credit_note",
            "customer",
            "customer_account",
            "default_payment_method",
            "default_price",
            "default_source",
            "destination",
            "destination_payment",
            "dispute",
            "failure_balance_transaction",
            "id",
            "intent",
            "invoice",
            "invoice_item",
            "latest_charge",
            "latest_invoice",
            "mandate",
            "on_behalf_of",
            "payment",
            "payment_intent",
            "payment_link",
            "payment_method",
            "payout",
            "plan",
            "price",
            "product",
            "promotion_code",
            "quote",
            "refund",
            "review",
            "schedule",
            "session",
            "setup_intent",
            "source",
            "source_refund",
            "source_transaction",
            "source_transfer",
            "subscription",
            "subscription_item",
            "tax_rate",
            "test_clock",
            "to",
            "token",
            "topup",
            "transfer",
            "transfer_reversal",
        ]
    ),
    free_objects=frozenset(
        [
            "address",
            "billing_details",
            "cancellation_details",
            "collected_information",
            "custom_fields",
            "custom_text",
            "customer_details",
            "evidence",
            "metadata",
            "shipping",
        ]
    ),
    free_fields=frozenset(
        [
            "business_name",
            "client_reference_id",
            "comment",
            "custom_unit_amount",
            "customer_email",
            "customer_name",
            "description",
            "email",
            "footer",
            "individual_name",
            "memo",
            "name",
            "nickname",
            "phone",
            "receipt_email",
            "statement_descriptor",
            "statement_descriptor_suffix",
            "transfer_group",
        ]
    ),
    noise=frozenset(
        [
            "client_secret",
            "hosted_invoice_url",
            "hosted_regulatory_receipt_url",
            "invoice_pdf",
            "livemode",
            "network_status",
            "receipt_url",
            "spojit_key",
            "url",
        ]
    ),
    amount_fields=frozenset(
        [
            "amount",
            "available",
            "balance",
            "fee",
            "net",
            "pending",
            "starting_balance",
            "ending_balance",
            "subtotal",
            "total",
            "unit_amount",
        ]
    ),
)

_MOST_PARAMS: Final = 40


def found(operation: Operation) -> JsonObject:
    """What a model needs to call an operation; what is wrong with its call it is told then."""
    effect = effect_of(operation, {})
    names = operation.param_names
    shown = ", ".join(names[:_MOST_PARAMS]) + (" …" if len(names) > _MOST_PARAMS else "")
    return {
        "method": operation.method,
        "path": operation.template,
        "effect": effect.value if effect else "unknown: asks a person",
        "params": shown,
    }

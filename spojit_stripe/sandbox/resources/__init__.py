"""The resources of the API, one module per family; importing this registers their handlers."""

from collections.abc import Mapping

from spojit_stripe.sandbox.expand import Included
from spojit_stripe.sandbox.resources import (
    accounts,
    balances,
    charges,
    coupons,
    credit_notes,
    customers,
    disputes,
    events,
    invoices,
    payment_intents,
    payment_methods,
    payouts,
    previews,
    products,
    refunds,
    setup_intents,
    subscription_items,
    subscription_life,
    subscription_pauses,
    subscriptions,
    test_clocks,
    webhook_endpoints,
)

__all__ = [
    "INCLUDED",
    "accounts",
    "balances",
    "charges",
    "coupons",
    "credit_notes",
    "customers",
    "disputes",
    "events",
    "invoices",
    "payment_intents",
    "payment_methods",
    "payouts",
    "previews",
    "products",
    "refunds",
    "setup_intents",
    "subscription_items",
    "subscription_life",
    "subscription_pauses",
    "subscriptions",
    "test_clocks",
    "webhook_endpoints",
]

# Fields that an object has only when they are expanded.
INCLUDED: Mapping[tuple[str, str], Included] = {
    ("charge", "refunds"): charges.refunds,
    ("coupon", "applies_to"): coupons.applies_to,
    ("customer", "sources"): customers.sources,
    ("customer", "subscriptions"): customers.subscriptions,
    ("customer", "tax"): customers.tax,
    ("customer", "tax_ids"): customers.tax_ids,
    ("invoice", "confirmation_secret"): invoices.confirmation_secret,
    ("invoice", "payments"): invoices.payments_of,
}

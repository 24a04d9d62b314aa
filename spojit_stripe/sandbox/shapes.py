"""Full objects as the API shows them: every field that Stripe's types require, and the usual nulls."""

from spojit_stripe.sandbox.cards import Card
from spojit_stripe.sandbox.values import JsonObject, JsonValue

_ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")


def address(given: JsonObject | None = None) -> JsonObject:
    """An address with all its fields."""
    return {name: (given or {}).get(name) or None for name in _ADDRESS}


def billing_details(given: JsonObject | None = None) -> JsonObject:
    """Billing details with all their fields."""
    source = given or {}
    found = source.get("address")
    return {
        "address": address(found if isinstance(found, dict) else None),
        "email": source.get("email") or None,
        "name": source.get("name") or None,
        "phone": source.get("phone") or None,
        "tax_id": source.get("tax_id") or None,
    }


def shipping(given: JsonValue) -> JsonValue:
    """Shipping details with all their fields, or null."""
    if not isinstance(given, dict):
        return None
    found = given.get("address")
    return {
        "address": address(found if isinstance(found, dict) else None),
        "carrier": given.get("carrier") or None,
        "name": given.get("name") or None,
        "phone": given.get("phone") or None,
        "tracking_number": given.get("tracking_number") or None,
    }


def payment_method_card(card: Card, fingerprint: str, exp_month: int, exp_year: int) -> JsonObject:
    """The `card` of a payment method."""
    return {
        "brand": card.brand,
        "checks": {
            "address_line1_check": None,
            "address_postal_code_check": None,
            "cvc_check": "unchecked",
        },
        "country": card.country,
        "display_brand": card.brand,
        "exp_month": exp_month,
        "exp_year": exp_year,
        "fingerprint": fingerprint,
        "funding": card.funding,
        "generated_from": None,
        "last4": card.last4,
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def charge_card(card: Card, amount: int, fingerprint: str, exp_month: int, exp_year: int) -> JsonObject:
    """The `payment_method_details` of a charge."""
    return {
        "card": {
            "amount_authorized": amount,
            "authorization_code": None,
            "brand": card.brand,
            "checks": {
                "address_line1_check": None,
                "address_postal_code_check": None,
                "cvc_check": "pass",
            },
            "country": card.country,
            "exp_month": exp_month,
            "exp_year": exp_year,
            "extended_authorization": {"status": "disabled"},
            "fingerprint": fingerprint,
            "funding": card.funding,
            "incremental_authorization": {"status": "unavailable"},
            "installments": None,
            "last4": card.last4,
            "mandate": None,
            "multicapture": {"status": "unavailable"},
            "network": card.brand,
            "network_token": {"used": False},
            "network_transaction_id": None,
            "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
            "regulated_status": "unregulated",
            "three_d_secure": None,
            "transaction_link_id": None,
            "wallet": None,
        },
        "type": "card",
    }


def source_card(identifier: str, card: Card, fingerprint: str, exp_month: int, exp_year: int) -> JsonObject:
    """A `card` object: the older kind of payment source."""
    return {
        "id": identifier,
        "object": "card",
        "address_city": None,
        "address_country": None,
        "address_line1": None,
        "address_line1_check": None,
        "address_line2": None,
        "address_state": None,
        "address_zip": None,
        "address_zip_check": None,
        "allow_redisplay": "unspecified",
        "brand": {
            "amex": "American Express",
            "diners": "Diners Club",
            "discover": "Discover",
            "jcb": "JCB",
            "mastercard": "MasterCard",
            "unionpay": "UnionPay",
        }.get(card.brand, "Visa"),
        "country": card.country,
        "customer": None,
        "cvc_check": None,
        "dynamic_last4": None,
        "exp_month": exp_month,
        "exp_year": exp_year,
        "fingerprint": fingerprint,
        "funding": card.funding,
        "last4": card.last4,
        "metadata": {},
        "name": None,
        "networks": None,
        "regulated_status": "unregulated",
        "tokenization_method": None,
    }


def outcome(card: Card, *, declined: bool) -> JsonObject:
    """How the network and the risk check judged a charge."""
    decline = card.decline if declined else None
    risk: JsonObject = {"risk_level": card.risk, "risk_score": {"highest": 92, "elevated": 71}.get(card.risk, 32)}
    if decline is None:
        return {
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "approved_by_network",
            "reason": "elevated_risk_level" if card.risk == "elevated" else None,
            **risk,
            "seller_message": "Payment complete.",
            "type": "manual_review" if card.risk == "elevated" else "authorized",
        }
    return {
        "advice_code": decline.advice,
        "network_advice_code": None,
        "network_decline_code": None if decline.blocked else "05",
        "network_status": "not_sent_to_network" if decline.blocked else "declined_by_network",
        "reason": "highest_risk_level" if decline.blocked else decline.decline_code,
        **risk,
        "seller_message": (
            "Stripe blocked this payment as too risky."
            if decline.blocked
            else "The bank did not return any further details with this decline."
        ),
        "type": "blocked" if decline.blocked else "issuer_declined",
    }

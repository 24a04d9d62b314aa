"""The account itself, and the connected ones that exist from the start."""

from spojit_stripe.sandbox import access, payouts
from spojit_stripe.sandbox.context import Answer, Context, ListPage
from spojit_stripe.sandbox.listing import page_of
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.values import JsonObject, JsonValue, child

_CREATED = 1_577_836_800  # 2020-01-01


@answers("GET", "/v1/account")
def retrieve_own(context: Context) -> Answer:
    """The account that the call is about."""
    return _shown(context, context.account)


@answers("GET", "/v1/accounts/{account}")
def retrieve(context: Context) -> Answer:
    """The own account or a connected one."""
    identifier = context.ids["account"]
    reachable = access.ACCOUNTS if context.account == access.ACCOUNT else (context.account,)
    if identifier not in reachable:
        key = access.LIVE_KEY if context.livemode else access.SECRET_KEY
        raise access.no_account(access.masked(key), identifier)
    return _shown(context, identifier)


def _shown(context: Context, identifier: str) -> JsonObject:
    body = account(identifier)
    if identifier == context.account:
        interval = payouts.interval_of(context)
        child(child(body, "settings"), "payouts")["schedule"] = {"delay_days": 2, "interval": interval}
    return body


@answers("GET", "/v1/accounts")
def list_accounts(context: Context) -> ListPage:
    """The connected accounts of the platform."""
    connected = access.CONNECTED if context.account == access.ACCOUNT else ()
    return page_of(context, [account(identifier) for identifier in connected])


def account(identifier: str) -> JsonObject:
    """An account that may charge and pay out."""
    own = identifier == access.ACCOUNT
    nothing: JsonValue = []
    due: JsonObject = {
        "alternatives": [],
        "current_deadline": None,
        "currently_due": nothing,
        "disabled_reason": None,
        "errors": [],
        "eventually_due": [],
        "past_due": [],
        "pending_verification": [],
    }
    return {
        "id": identifier,
        "object": "account",
        "business_profile": {
            "mcc": "5734",
            "name": "Sandbox (not Stripe)" if own else f"Connected {identifier[-1]}",
            "product_description": None,
            "support_address": None,
            "support_email": None,
            "support_phone": None,
            "support_url": None,
            "url": None,
        },
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account" if own else "application"},
        "country": "US",
        "created": _CREATED,
        "default_currency": "usd",
        "details_submitted": True,
        "email": "owner@example.com",
        "external_accounts": {
            "object": "list",
            "data": [],
            "has_more": False,
            "url": f"/v1/accounts/{identifier}/external_accounts",
        },
        "future_requirements": due,
        "metadata": {},
        "payouts_enabled": True,
        "requirements": due,
        "settings": {
            "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
            "card_payments": {
                "decline_on": {"avs_failure": False, "cvc_failure": False},
                "statement_descriptor_prefix": None,
                "statement_descriptor_prefix_kana": None,
                "statement_descriptor_prefix_kanji": None,
            },
            "dashboard": {"display_name": "Sandbox", "timezone": "Etc/UTC"},
            "payments": {
                "statement_descriptor": "SANDBOX",
                "statement_descriptor_kana": None,
                "statement_descriptor_kanji": None,
                "statement_descriptor_prefix_kana": None,
                "statement_descriptor_prefix_kanji": None,
            },
            "payouts": {
                "debit_negative_balances": True,
                "schedule": {"delay_days": 2, "interval": "manual"},
                "statement_descriptor": None,
            },
        },
        "tos_acceptance": {"date": None, "ip": None, "user_agent": None},
        "type": "standard",
    }

"""Who may call: keys, accounts and the permissions of restricted keys.

The keys are fixed and well known: they open nothing but this sandbox. The live-shaped
ones are short, so that scanners for leaked secrets stay quiet.
"""

import base64
from dataclasses import dataclass, field

from spojit_stripe.sandbox.errors import StripeError, authentication

SECRET_KEY = "sk_test_sandbox_secret"  # noqa: S105 - opens nothing but the sandbox
RESTRICTED_KEY = "rk_test_sandbox_restricted"
LIVE_KEY = "sk_live_sandbox"
LIVE_RESTRICTED_KEY = "rk_live_sandbox"

ACCOUNT = "acct_1SandboxPlatform"
CONNECTED = ("acct_1SandboxConnectA", "acct_1SandboxConnectB")
ACCOUNTS = (ACCOUNT, *CONNECTED)

# What a restricted key may do unless it is told otherwise: read what the typed tools read.
DEFAULT_PERMISSIONS = frozenset(
    f"rak_{name}_read"
    for name in [
        "charge",
        "customer",
        "event",
        "invoice",
        "payment_intent",
        "payment_method",
        "plan",
        "product",
        "subscription",
    ]
)

# The permission of a resource, where its name is not the resource's own in the singular.
_PERMISSIONS = {
    "account": "accounts_kyc_basic",
    "accounts": "accounts_kyc_basic",
    "balance": "balance",
    "invoice_payments": "invoice",
    "invoiceitems": "invoice",
    "prices": "plan",
    "promotion_codes": "promotion_code",
    "refunds": "charge",
    "subscription_items": "subscription",
    "webhook_endpoints": "webhook",
}


@dataclass
class Access:
    """The known keys: restricted ones with their permissions, the others without."""

    permissions: dict[str, frozenset[str] | None] = field(
        default_factory=lambda: {
            SECRET_KEY: None,
            LIVE_KEY: None,
            RESTRICTED_KEY: DEFAULT_PERMISSIONS,
            LIVE_RESTRICTED_KEY: DEFAULT_PERMISSIONS,
        }
    )

    def authenticate(self, header: str | None) -> str:
        """The key of an `Authorization` header: Bearer, or Basic with the key as the user."""
        key = _key(header)
        if not key:
            raise authentication(
                "You did not provide an API key. You need to provide your API key in the Authorization "
                "header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See "
                "https://stripe.com/docs/api#authentication for details, or we can help at "
                "https://support.stripe.com/."
            )
        if key.startswith("pk_"):
            raise authentication(
                "This API call cannot be made with a publishable API key. Please use a secret API key. You "
                "can find a list of your API keys at https://dashboard.stripe.com/account/apikeys."
            )
        if key not in self.permissions:
            raise authentication(f"Invalid API Key provided: {masked(key)}")
        return key

    def permit(self, key: str, method: str, path: str, account: str) -> None:
        """Refuse what a restricted key has no permission for."""
        granted = self.permissions.get(key)
        if granted is None:
            return
        resource = permission(path)
        needed = f"rak_{resource}_{'read' if method == 'GET' else 'write'}"
        if needed in granted or f"rak_{resource}_write" in granted:
            return
        raise StripeError(
            403,
            f"The provided key '{masked(key)}' does not have the required permissions for this endpoint on "
            f"account '{account}'. Having the '{needed}' permission would allow this request to continue.",
            stored=False,
        )


def account_for(key: str, header: str | None) -> str:
    """The account that a call is about: the platform, or the connected one that a header names."""
    if header is None:
        return ACCOUNT
    if header not in ACCOUNTS:
        raise no_account(masked(key), header)
    return header


def no_account(shown: str, account: str) -> StripeError:
    """An account that is not connected, or is not at all: Stripe doesn't tell which."""
    return StripeError(
        403,
        f"The provided key '{shown}' does not have access to account '{account}' (or that account "
        "does not exist). Application access may have been revoked.",
        code="account_invalid",
        stored=False,
    )


def livemode(key: str) -> bool:
    """Whether a key works on live data."""
    return key[3:].startswith("live_")


def scope(account: str, live: bool) -> int:
    """The number under which the data of an account in one mode is kept."""
    return ACCOUNTS.index(account) * 2 + int(live)


def permission(path: str) -> str:
    """The permission that a path is under, without `rak_` and `_read` or `_write`."""
    parts = path.strip("/").split("/")
    resource = parts[1] if len(parts) > 1 else ""
    if resource == "customers" and len(parts) > 3 and parts[3] == "payment_methods":
        resource = "payment_methods"
    return _PERMISSIONS.get(resource, resource.removesuffix("s"))


def masked(key: str) -> str:
    """A key as Stripe shows it in errors: the prefix and the last four characters."""
    parts = key.split("_", 2)
    prefix = "_".join(parts[:2]) + "_" if len(parts) == 3 else ""
    rest = key[len(prefix) :]
    return f"{prefix}{'*' * max(len(rest) - 4, 4)}{rest[-4:]}"


def _key(header: str | None) -> str | None:
    scheme, _, value = (header or "").partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[0]
        except ValueError:
            return None
    return None

"""What a Stripe key must look like. Nothing here is sent, and no message shows a key."""

from __future__ import annotations

import re
from typing import Final

from spojit_stripe.connection import Connection
from spojit_stripe.errors import ConfigurationError
from spojit_stripe.values import Secret

__all__ = ["check_secret"]

_KEY: Final = re.compile(r"(?P<kind>sk|rk)_(?P<mode>test|live)_[A-Za-z0-9_]{6,240}")

# By how they begin, the longer beginnings first.
_OTHERS: Final = (
    ("sk_org_", "an organization key, which has no account of its own; use the account's secret key"),
    ("pk_", "a publishable key: it is made for browsers and can neither list nor charge; use a secret key"),
    ("whsec_", "a webhook signing secret, which only checks deliveries; use a secret key"),
    ("ek_", "an ephemeral key, which is for one object and for minutes; use a secret key"),
    ("uk_", "a user key of Stripe's own tools; use a secret key"),
    ("sk-ant-", "a key of Anthropic, not of Stripe; use Stripe's secret key"),
    ("acct_", "an account id, not a key; write it as `account` and give a secret key"),
    ("${", "a reference that was not resolved; write ${env:NAME} or ${file:PATH}"),
)
_WANTED: Final = "(sk_test_…, sk_live_…) or a restricted one (rk_test_…, rk_live_…)"


def check_secret(connection: Connection, secret: Secret) -> None:
    """Raise `ConfigurationError` where the key can't be the one of `connection`; sends nothing."""
    fault = _fault(secret.reveal(), connection)
    if fault is not None:
        raise ConfigurationError(f"connection {connection.name!r}: secret_key {fault}")


def _fault(text: str, connection: Connection) -> str | None:
    if not text:
        return f"is empty; give a secret key {_WANTED}"
    if text != text.strip() or any(character.isspace() or not character.isprintable() for character in text):
        return "has a space, a line break or a control character in it; give the key alone"
    for beginning, what in _OTHERS:
        if text.startswith(beginning):
            return f"is {what} {_WANTED}" if what.endswith("secret key") else f"is {what}"
    match = _KEY.fullmatch(text)
    if match is None:
        return f"is no key that Stripe gives out; give a secret key {_WANTED}"
    if match["mode"] != connection.mode:
        return (
            f"is a {match['mode']} key, but the connection says mode: {connection.mode}; "
            f"give a {connection.mode} key, or change the mode if {match['mode']} is meant"
        )
    return None

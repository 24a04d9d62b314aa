"""Whether a webhook delivery came from Stripe: its `Stripe-Signature` header.

The header is `t=<unix seconds>,v1=<hex>[,v1=<hex>][,v0=...]`; a v1 signature is HMAC-SHA256 of
`<t>.<raw body>` under the endpoint's secret as given, with its `whsec_`
(https://docs.stripe.com/webhooks/signature). After a secret is rolled there are two.
"""

from __future__ import annotations

import hmac
import re
from typing import Final

from spojit_stripe.errors import InputError
from spojit_stripe.values import Secret

__all__ = ["TOLERANCE_SECONDS", "sign", "verify"]

TOLERANCE_SECONDS: Final = 300

_TIME = re.compile(r"[0-9]{1,15}")


def verify(
    body: bytes,
    header: str | None,
    secret: Secret,
    *,
    now: float,
    tolerance: float | None = TOLERANCE_SECONDS,
    future_tolerance: float | None = None,
) -> int:
    """Check a delivery; its time in Unix seconds.

    `body` is the raw body as it arrived: parsed and written again it has another signature.
    A delivery older than `tolerance` seconds is refused, None allows any age. One from the
    future passes as with Stripe's client, unless `future_tolerance` says otherwise.

    Raises `InputError`; its text never holds the secret nor the right signature.
    """
    if not secret.reveal():
        raise InputError("the webhook endpoint has no secret; give its whsec_… secret")
    if not header:
        raise InputError("no Stripe-Signature header; only Stripe's deliveries are taken")
    times, signatures = _parse(header)
    if len(times) != 1:
        raise InputError(f"Stripe-Signature holds {len(times) or 'no'} timestamps (t=…), one is expected")
    if not signatures:
        raise InputError("Stripe-Signature holds no v1 signature")
    moment = times[0]
    right = sign(body, secret, int(moment), text=moment)
    # No early way out: how long this takes must not tell how near a guess is.
    matches = [hmac.compare_digest(right.encode(), one.encode("utf-8", "replace")) for one in signatures]
    if not any(matches):
        raise InputError(
            "Stripe-Signature does not fit the body; check that the secret is this endpoint's "
            "and that nothing changed the raw body"
        )
    age = now - int(moment)
    if tolerance is not None and age > tolerance:
        raise InputError(f"the delivery is {age:.0f} seconds old, more than the {tolerance:.0f} allowed")
    if future_tolerance is not None and -age > future_tolerance:
        raise InputError(f"the delivery is from {-age:.0f} seconds in the future; check this machine's clock")
    return int(moment)


def sign(body: bytes, secret: Secret, moment: int, *, text: str | None = None) -> str:
    """The v1 signature in hex of a body sent at `moment` (Unix seconds); `text` is its spelling."""
    stamp = text or str(moment)
    return hmac.digest(secret.reveal().encode(), stamp.encode() + b"." + body, "sha256").hex()


def _parse(header: str) -> tuple[list[str], list[str]]:
    times: list[str] = []
    signatures: list[str] = []
    for item in header.split(","):
        name, _, value = item.partition("=")
        if name == "t" and _TIME.fullmatch(value):
            times.append(value)
        elif name == "v1":
            signatures.append(value)
    return times, signatures

"""Deliveries are Stripe's, unchanged and not too old; the official client is the oracle."""

from __future__ import annotations

import pytest
import stripe

from spojit_stripe.errors import InputError
from spojit_stripe.values import Secret
from spojit_stripe.wire.signature import sign, verify

SECRET = Secret("whsec_test_secret")
BODY = '{"id": "evt_1", "text": "Zoë"}'.encode()
SENT = 1_700_000_000


def header(*signatures: str, moment: int | str = SENT, secret: Secret = SECRET, body: bytes = BODY) -> str:
    signatures = signatures or (sign(body, secret, int(moment)),)
    return ",".join([f"t={moment}", *(f"v1={one}" for one in signatures)])


def official(text: str | None, tolerance: int | None = None) -> bool:
    try:
        return stripe.WebhookSignature.verify_header(BODY.decode(), text or "", SECRET.reveal(), tolerance)
    except (stripe.SignatureVerificationError, TypeError):  # TypeError: a signature that is not ASCII
        return False


RIGHT = sign(BODY, SECRET, SENT)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        (header(), True),
        (header("00" * 32, RIGHT), True),
        (f"t={SENT},v0={RIGHT}", False),
        (f"t={SENT},v0=x,v1={RIGHT}", True),
        (header(sign(BODY, Secret("whsec_other"), SENT)), False),
        (header(sign(BODY + b" ", SECRET, SENT)), False),
        (header(moment=SENT + 1).replace(str(SENT + 1), str(SENT)), False),
        (f"t={SENT}, v1={RIGHT}", False),
        (f"v1={RIGHT}", False),
        (f"t=,v1={RIGHT}", False),
        (f"t=abc,v1={RIGHT}", False),
        (f"t={SENT},v1=", False),
        (f"t={SENT},v1=é", False),
        ("", False),
        (None, False),
        ("nonsense", False),
        ("t=1700000000", False),
    ],
)
def test_a_header_passes_as_with_the_official_client(text: str | None, passes: bool) -> None:
    assert official(text) is passes
    if passes:
        assert verify(BODY, text, SECRET, now=SENT) == SENT
    else:
        with pytest.raises(InputError) as caught:
            verify(BODY, text, SECRET, now=SENT)
        assert SECRET.reveal() not in str(caught.value)
        assert RIGHT not in str(caught.value)


def test_two_times_are_refused() -> None:
    with pytest.raises(InputError, match="2 timestamps"):
        verify(BODY, f"t=1,{header()}", SECRET, now=SENT)


def test_an_old_delivery_is_refused_and_a_future_one_only_on_request() -> None:
    assert verify(BODY, header(), SECRET, now=SENT + 300) == SENT
    with pytest.raises(InputError, match="301 seconds old"):
        verify(BODY, header(), SECRET, now=SENT + 301)
    assert verify(BODY, header(), SECRET, now=SENT + 10_000, tolerance=None) == SENT
    assert verify(BODY, header(), SECRET, now=SENT - 10_000) == SENT
    with pytest.raises(InputError, match="in the future"):
        verify(BODY, header(), SECRET, now=SENT - 61, future_tolerance=60)


def test_without_a_secret_nothing_passes() -> None:
    with pytest.raises(InputError, match="no secret"):
        verify(BODY, header(secret=Secret("")), Secret(""), now=SENT)


def test_bytes_that_are_no_text_can_be_signed() -> None:
    body = b"\xff\xfe"
    assert verify(body, header(body=body), SECRET, now=SENT) == SENT

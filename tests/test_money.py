from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spojit_stripe.errors import InputError
from spojit_stripe.money import exponent, fault_of_amount, format_amount, to_minor

AMOUNTS = st.integers(min_value=-(10**15), max_value=10**15)
CURRENCIES = st.sampled_from(["usd", "EUR", "jpy", "kwd", "isk", "ugx", "krw", "bhd", "twd"])


@pytest.mark.parametrize(
    ("currency", "decimals"),
    [("usd", 2), ("USD", 2), ("jpy", 0), ("krw", 0), ("kwd", 3), ("tnd", 3), ("isk", 2), ("ugx", 2), ("xyz", 2)],
)
def test_the_minor_unit_is_stripes(currency: str, decimals: int) -> None:
    assert exponent(currency) == decimals


@pytest.mark.parametrize("currency", ["", "us", "usdd", "u$d", "us1", " usd", "usd\n", "ｕｓｄ"])
def test_a_currency_has_three_letters(currency: str) -> None:
    with pytest.raises(InputError, match="no three-letter currency code"):
        exponent(currency)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (123456, "usd", "1,234.56 USD"),
        (5, "usd", "0.05 USD"),
        (0, "usd", "0.00 USD"),
        (-5, "usd", "-0.05 USD"),
        (-123456, "jpy", "-123,456 JPY"),
        (1000, "kwd", "1.000 KWD"),
        (10**18, "usd", "10,000,000,000,000,000.00 USD"),
    ],
)
def test_an_amount_is_shown_with_its_currency(amount: int, currency: str, text: str) -> None:
    assert format_amount(amount, currency) == text


@given(AMOUNTS, CURRENCIES)
def test_what_is_shown_reads_back_exactly(amount: int, currency: str) -> None:
    text = format_amount(amount, currency).split()[0].replace(",", "")
    assert to_minor(text, currency) == amount
    assert to_minor(Decimal(text), currency) == amount


@given(AMOUNTS, CURRENCIES)
def test_major_units_scale_by_a_power_of_ten(amount: int, currency: str) -> None:
    assert to_minor(str(amount), currency) == amount * 10 ** exponent(currency)


@given(st.text(max_size=20), CURRENCIES)
def test_any_text_is_an_amount_or_a_plain_refusal(text: str, currency: str) -> None:
    try:
        assert isinstance(to_minor(text, currency), int)
    except InputError:
        return
    assert re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?", text)


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        ("10.505", "more decimals than USD has"),
        ("1." + "0" * 40 + "1", "more decimals"),
        (Decimal("0." + "0" * 29 + "1"), "more decimals"),
        ("ten", "no decimal number"),
        ("", "no decimal number"),
        ("1_000", "no decimal number"),
        (" 10", "no decimal number"),
        ("10\n", "no decimal number"),
        ("1e3", "no decimal number"),
        ("١٢", "no decimal number"),
        ("nan", "no decimal number"),
        (Decimal("NaN"), "no amount of money"),
        (Decimal("sNaN"), "no amount of money"),
        (Decimal("-Infinity"), "no amount of money"),
        (Decimal("1e999999"), "no amount of money"),
        (Decimal("1e-999999"), "no amount of money"),
    ],
)
def test_what_is_no_exact_amount_is_refused(amount: str | Decimal, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        to_minor(amount, "usd")


def test_more_digits_than_a_decimal_context_keeps_stay_exact() -> None:
    assert to_minor("1234567890123456789012345678.91", "usd") == 123456789012345678901234567891


@pytest.mark.parametrize(
    ("amount", "currency", "fault"),
    [
        (1000, "usd", None),
        (1005, "usd", None),
        (1010, "kwd", None),
        (1015, "KWD", "must end in 0: write 1010 or 1020"),
        (500, "isk", None),
        (550, "isk", "must end in 00: write 500 or 600"),
        (199, "UGX", "must end in 00: write 100 or 200"),
        (1, "jpy", None),
    ],
)
def test_an_amount_that_stripe_refuses_is_named_with_its_neighbours(
    amount: int, currency: str, fault: str | None
) -> None:
    found = fault_of_amount(amount, currency)
    assert found is None if fault is None else fault in (found or "")

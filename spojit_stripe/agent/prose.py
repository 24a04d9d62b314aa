"""Amounts of money in what a model writes.

The currencies are those that Stripe presents (https://docs.stripe.com/currencies).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Final

from spojit_stripe.money import exponent

__all__ = ["money_in"]

_SIGNS: Final = {"$": "usd", "€": "eur", "£": "gbp", "¥": "jpy", "₹": "inr", "₩": "krw"}
_CURRENCIES: Final = frozenset(
    """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp cny
    cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel ghs gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr isk
    jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn
    nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std
    szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xof xpf yer zar zmw
    """.split()  # noqa: SIM905 # a list of 135 strings would fill four screens
)
# Also words; a currency only beside an amount with its decimals.
_WORDS: Final = frozenset("all ang bob cop gel mad mop pen php rub sos std top try".split())  # noqa: SIM905 # as above
_TIMES: Final = {"k": 3, "m": 6, "bn": 9}

_NUMBER = re.compile(
    r"(?:(?<![\w.,])|(?<=(?<!\w)(?-i:[A-Z]{3})))"  # alone, or right behind a code
    r"[-+]?\d(?:[\d,.'\u2019\u202f\u00a0]*\d)?(?!\d)(?:\s?(k|m|bn)(?![A-Za-z&-]))?",
    re.IGNORECASE,
)
_BEFORE = re.compile(r"(?:(?<![A-Za-z])([A-Z]{3})|([$€£¥₹₩]))\s?[-+]?$")
_AFTER = re.compile(r"\s?(?:([A-Z]{3}|[a-z]{3})(?![A-Za-z])|([€£¥₹₩$]))")


_DECIMALS = re.compile(r"[.,]\d{2,3}$")
_ANOTHER = re.compile(r"\s?[-+]?\d[\d,.]*[.,]\d{2,3}(?!\d)")


def money_in(text: str) -> Iterator[tuple[str, int]]:
    """Amounts that stand beside a currency, in minor units; a number alone may be anything.

    -1 stands for what no amount of the currency can be.
    """
    for match in _NUMBER.finditer(text):
        before = _BEFORE.search(text, max(0, match.start() - 6), match.start())
        after = _AFTER.match(text, match.end())
        exact = _DECIMALS.search(match[0]) is not None
        if after and not exact and _ANOTHER.match(text, after.end()):
            after = None  # as in "in 2026 EUR 12.00"
        for found in (after, before):
            currency = _currency(found, exact=exact)
            if found is not None and currency is not None:
                start, end = min(match.start(), found.start()), max(match.end(), found.end())
                yield text[start:end].strip(), _minor(match, currency)
                break


def _currency(found: re.Match[str] | None, *, exact: bool) -> str | None:
    if found is None:
        return None
    code = (found[1] or _SIGNS.get(found[2], "")).lower()
    return code if code in _CURRENCIES and (exact or code not in _WORDS) else None


def _minor(number: re.Match[str], currency: str) -> int:
    times = number[1] or ""
    plain = re.sub("['\u2019\u202f\u00a0+-]", "", number[0].removesuffix(times).strip())
    decimals = re.search(r"[.,](\d+)$", plain)
    # A comma before three digits groups them, unless the currency has three decimals.
    if decimals and (decimals[0][0] == "." or len(decimals[1]) != 3):
        plain = f"{re.sub('[.,]', '', plain[: decimals.start()])}.{decimals[1]}"
    else:
        plain = re.sub("[.,]", "", plain)
    try:
        scaled = Decimal(plain).scaleb(exponent(currency) + _TIMES.get(times.lower(), 0))
    except InvalidOperation:
        return -1
    return int(scaled) if scaled == int(scaled) else -1

"""Currencies: which there are, their decimals, the least amount of a charge, and fees.

Fees are assumed: 2.9 % and a fixed part per currency, rounded half up, in the currency
of the charge; the sandbox converts no money.
"""

from spojit_stripe.sandbox.errors import StripeError, bad_parameter

KNOWN_NAMES = (
    "usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd "
    "cad cdf chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd "
    "hkd hnl hrk htg huf idr ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl "
    "mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr "
    "pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std szl thb tjs tnd top try ttd twd "
    "tzs uah ugx uyu uzs vnd vuv wst xaf xcd xof xpf yer zar zmw"
)
KNOWN = frozenset(KNOWN_NAMES.split())
_ZERO_NAMES = "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf"
_ZERO = frozenset(_ZERO_NAMES.split())
_THREE = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
_LEAST = {"gbp": 30, "jpy": 50, "kwd": 150, "mxn": 1000, "sek": 300, "nok": 300, "dkk": 250, "hkd": 400}
_FIXED_FEE = {"usd": 30, "eur": 25, "gbp": 20, "jpy": 0, "kwd": 100, "cad": 30, "aud": 30, "chf": 30}
_SYMBOL = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "cad": "$", "aud": "$"}
_MOST = 99_999_999


def check(code: str, param: str = "currency") -> str:
    """The currency in lower case, as Stripe keeps it; its error for one that is not known."""
    lower = code.lower()
    if lower not in KNOWN:
        raise bad_parameter(
            f"Invalid currency: {lower}. Stripe currently supports these currencies: {', '.join(sorted(KNOWN))}",
            param,
        )
    return lower


def decimals(currency: str) -> int:
    """How many decimals the currency has on Stripe."""
    return 0 if currency in _ZERO else 3 if currency in _THREE else 2


def shown(amount: int, currency: str) -> str:
    """An amount in minor units, as Stripe's messages write it."""
    places = decimals(currency)
    symbol = _SYMBOL.get(currency, "")
    text = f"{amount / 10**places:,.{places}f}"
    return f"{symbol}{text}" if symbol else f"{text} {currency}"


def check_amount(amount: int, currency: str, param: str = "amount") -> None:
    """Stripe's errors for an amount that can't be charged."""
    if amount < 1:
        raise bad_parameter(
            f"This value must be greater than or equal to 1 (it currently is '{amount}').",
            param,
            "parameter_invalid_integer",
        )
    least = _LEAST.get(currency, 50)
    if amount < least:
        raise _out_of_bounds("amount_too_small", f"at least {shown(least, currency)} {currency}", param)
    if amount > _MOST:
        raise _out_of_bounds("amount_too_large", f"no more than {shown(_MOST, currency)}", param)
    if decimals(currency) == 3 and amount % 10:
        raise bad_parameter(
            f"Invalid amount: {amount}. Amounts in {currency} have three decimals and must end in 0.",
            param,
            "parameter_invalid_integer",
        )


def fee(amount: int, currency: str) -> int:
    """What Stripe keeps of a charge."""
    return (amount * 29 + 500) // 1000 + _FIXED_FEE.get(currency, 30)


def _out_of_bounds(code: str, bound: str, param: str) -> StripeError:
    return StripeError(400, f"Amount must be {bound}", code=code, param=param)

"""Object ids: Stripe's shapes, made from a counter so that the same calls give the same ids."""

import hashlib

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# Prefix: characters after it, and those it always begins with.
_SHAPES = {
    "ch": (24, "3"),
    "cus": (14, ""),
    "evt": (24, "1"),
    "pi": (24, "3"),
    "prod": (14, ""),
    "req": (14, ""),
    "si": (14, ""),
    "tok": (24, "1"),
    "txn": (24, "3"),
}


def derive(seed: str, length: int) -> str:
    """`length` letters and digits that depend on `seed` alone."""
    number = int.from_bytes(hashlib.sha512(seed.encode()).digest(), "big")
    letters: list[str] = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        letters.append(_ALPHABET[digit])
    return "".join(letters)


def make(prefix: str, ordinal: int) -> str:
    """The id that has this ordinal, such as `ch_3…`."""
    length, begin = _SHAPES.get(prefix, (24, "1"))
    return f"{prefix}_{begin}{derive(f'{prefix}/{ordinal}', length - len(begin))}"

"""What may be shown: secrets blanked in data and text, hostile text made harmless."""

from __future__ import annotations

import re
from collections.abc import Mapping

from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["HIDDEN", "csv_safe", "may_hold_secrets", "printable", "redact", "redact_object", "redact_text"]

HIDDEN = "***"

# Whole values under these names are credentials, whatever they look like.
_SECRET_NAMES = frozenset(
    {
        "client_secret",
        "secret",
        "secret_key",
        "api_key",
        "authorization",
        "password",
        "number",  # only beside a card's other fields, see _is_card
        "cvc",
        "account_number",
    }
)
_NAMES_ONLY_IN_CARDS = frozenset({"number", "cvc"})
# A short key only where a word begins ("task_test_1" is none); a long one anywhere, because
# it may follow an escape ("\\nsk_live_...") or another name.
_KEYS = re.compile(
    r"(?:(?<![A-Za-z0-9])|(?=[a-z]{2}_(?:org_)?(?:test|live)_[A-Za-z0-9]{16}))"
    r"(?:sk|rk|pk|ek|uk)_(?:org_)?(?:test|live)_[A-Za-z0-9_]+"
    r"|whsec_[A-Za-z0-9+/=_]+"
    r"|sk-ant-[A-Za-z0-9_-]+"
    r"|(?:pi|seti|cs|src|acs|cuss|fcsess|vs)_(?:test_|live_)?[A-Za-z0-9]+_secret_[A-Za-z0-9_-]+"
    r"|\b[Bb]earer\s+[A-Za-z0-9._~+/=-]{8,}"
)
# What an object's encoded form holds if it holds anything to blank: a part of each of the above
# that JSON never escapes, and the names. A search for what ends in a letter is far cheaper than
# for what ends in a quote or a colon, of which JSON is full: so a name is looked for bare first.
_TRACES = (b"k_test_", b"k_live_", b"k_org_", b"secret", b"whsec_", b"sk-ant-", b"earer")
_NAME_TRACES = tuple(
    (name.encode(), f'"{name}":'.encode())
    for name in sorted(_SECRET_NAMES - _NAMES_ONLY_IN_CARDS)
    if "secret" not in name
)
# Controls but tab and newline; C1 controls; characters that reorder or hide text; half
# characters, which no terminal or file takes.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
# The wide forms too: some spreadsheets take them for the plain ones.
_FORMULA_START = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_PLAIN_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def redact_text(text: str) -> str:
    """Blank everything in `text` that has the shape of a key, keeping its prefix."""
    if "_" not in text and "earer" not in text and "sk-" not in text:
        return text
    return _KEYS.sub(_blank, text)


def _blank(match: re.Match[str]) -> str:
    found = match.group()
    if found.lower().startswith("bearer"):
        return f"Bearer {HIDDEN}"
    kept = re.match(r"(?:[a-z]+_)(?:org_)?(?:test_|live_)?|sk-ant-", found)
    return (kept.group() if kept else "") + HIDDEN


def redact(value: JsonValue) -> JsonValue:
    """A copy of `value` with credentials and card data blanked at every depth."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return redact_object(value)
    if isinstance(value, list):
        return [redact(item) for item in value]
    return value


def redact_object(value: Mapping[str, JsonValue]) -> JsonObject:
    """`redact` for an object; its names too, because a metadata name is anybody's text."""
    card = _is_card(value)
    return {
        redact_text(name): HIDDEN if _is_secret(name, inner, in_card=card) else redact(inner)
        for name, inner in value.items()
    }


def may_hold_secrets(line: bytes) -> bool:
    """Whether `redact` may change an object that is compact UTF-8 JSON; False only where it would not.

    For many objects on their way to a file. "Compact" is no space after a name, and nothing
    escaped that needs not be.
    """
    if any(trace in line for trace in _TRACES):
        return True
    if any(name in line and whole in line for name, whole in _NAME_TRACES):
        return True
    if b"cvc" in line and b'"cvc":' in line:
        return True
    return b"exp_" in line and b"number" in line and b'"number":' in line


def _is_secret(name: str, value: JsonValue, *, in_card: bool) -> bool:
    if name not in _SECRET_NAMES or not isinstance(value, str | int) or isinstance(value, bool):
        return False
    return in_card if name in _NAMES_ONLY_IN_CARDS else True


def _is_card(value: Mapping[str, JsonValue]) -> bool:
    # `number` is also an invoice's number, which people need to see.
    return "exp_year" in value or "exp_month" in value or "cvc" in value


def printable(text: str) -> str:
    """`text` on one line without control characters, bidi overrides or terminal escapes."""
    cleaned = text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ").replace("\t", " ")
    return _CONTROLS.sub("\ufffd", cleaned)


def csv_safe(text: str) -> str:
    """`text` as a CSV cell that no spreadsheet takes for a formula.

    A plain number stays as it is; anything else that begins like a formula gets an apostrophe
    (OWASP's advice on CSV injection).
    """
    if text.startswith(_FORMULA_START) and not _PLAIN_NUMBER.fullmatch(text):
        return "'" + text
    return text

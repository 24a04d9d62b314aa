"""Keys of artifacts: any text becomes a relative path that stays inside its store."""

from __future__ import annotations

import hashlib
import re

from spojit_stripe.errors import InputError

__all__ = ["is_key", "key_of", "segment", "stem_of"]

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
_LONGEST = 100
_KEPT = 40
_SEGMENT = r"(?!\.)[A-Za-z0-9._=-]+"
_KEY = re.compile(rf"(?:{_SEGMENT}/)*{_SEGMENT}-[0-9a-f]{{12}}\.ndjson")


def segment(text: str) -> str:
    """Anybody's text, a run id say, as one segment of a key. Different texts give different ones."""
    raw = text.encode("utf-8", "backslashreplace")
    made = "".join(chr(one) if one in _PLAIN else f"={one:02X}" for one in raw)
    if made.startswith("."):
        made = f"=2E{made[1:]}"
    if len(made) > _LONGEST:
        # An escape cut in the middle would do no harm, but read badly.
        made = f"{made[:_KEPT].rsplit('=', 1)[0]}=-{hashlib.sha256(raw).hexdigest()[:32]}"
    return made or "="


def stem_of(prefix: str) -> str:
    """What the keys under `prefix` ("run-1/charges") begin with."""
    if not prefix.strip("/"):
        raise InputError("an artifact's prefix is empty; name the run and the node")
    return "/".join(segment(part) for part in prefix.strip("/").split("/"))


def key_of(prefix: str, digest: str) -> str:
    """The key of the content with that SHA-256 in hex."""
    return f"{stem_of(prefix)}-{digest[:12]}.ndjson"


def is_key(key: str, digest: str) -> bool:
    """Whether `key` is of the form that `key_of` gives for that SHA-256."""
    return _KEY.fullmatch(key) is not None and key.endswith(f"-{digest[:12]}.ndjson")

"""JSON values, and typed reads from them.

Stripe objects are plain JSON here. These readers keep `Any` out: each one says
which type a field has and fails loudly when the sandbox itself built it wrongly.
"""

from typing import TypeAlias

import msgspec

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


def encode(value: JsonValue) -> bytes:
    """Compact JSON, as it is stored and sent."""
    return _encoder.encode(value)


def decode(raw: bytes) -> JsonObject:
    """A stored object; anything but an object is a defect of the sandbox."""
    value: JsonValue = _decoder.decode(raw)
    if not isinstance(value, dict):
        raise TypeError("a stored object is not a JSON object")
    return value


def text(source: JsonObject, key: str) -> str | None:
    """A string field; None when it is absent, null or empty."""
    value = source.get(key)
    return value if isinstance(value, str) and value else None


def string(source: JsonObject, key: str) -> str:
    """A string field that must be there."""
    value = source[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is not a string")
    return value


def integer(source: JsonObject, key: str) -> int:
    """An integer field; zero when it is absent or null."""
    value = source.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def number(source: JsonObject, key: str) -> int | None:
    """An integer field; None when it is absent or null."""
    value = source.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def flag(source: JsonObject, key: str) -> bool:
    """A boolean field; false when it is absent or null."""
    return source.get(key) is True


def child(source: JsonObject, key: str) -> JsonObject:
    """A nested object; an empty one when it is absent or null."""
    value = source.get(key)
    return value if isinstance(value, dict) else {}


def items(source: JsonObject, key: str) -> list[JsonObject]:
    """The objects of an array; none when it is absent or null."""
    value = source.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def strings(source: JsonObject, key: str) -> list[str]:
    """The strings of an array; none when it is absent or null."""
    value = source.get(key)
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []

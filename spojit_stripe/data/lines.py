"""One object as one line of JSON: free of secrets, and what kinds of values its columns hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, cast

import msgspec

from spojit_stripe.redact import may_hold_secrets, redact_object
from spojit_stripe.values import JsonObject, JsonValue

__all__ = ["MOST_COLUMNS", "Columns", "Encoded", "Seen", "decode", "encode", "safe_line", "safe_lines"]

MOST_COLUMNS: Final = 1_000
Encoded: TypeAlias = bytes | msgspec.Raw
"""A JSON text."""
Columns = dict[str, list[str]]
"""Each column's kinds of values, by JSON schema's names."""

_MOST_SHAPES: Final = 5_000
_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def _stand_in(value: object) -> object:
    # A list or an object that is read from where it is stored.
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, JsonValue]", value))
    if isinstance(value, Sequence):
        return list(cast("Sequence[JsonValue]", value))
    raise TypeError(f"{type(value).__name__} is no JSON value")


_encoder = msgspec.json.Encoder(enc_hook=_stand_in)
_decoder = msgspec.json.Decoder()


def decode(text: Encoded) -> JsonValue:
    """The value of a JSON text. Raises `ValueError` for what is none."""
    return cast("JsonValue", _decoder.decode(text))


def encode(value: JsonValue) -> bytes:
    """`value` as compact UTF-8 JSON on one line. Half a character, which UTF-8 has no form for, becomes U+FFFD."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(_whole(value))


def _whole(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {cast("str", _whole(name)): _whole(inner) for name, inner in value.items()}
    if isinstance(value, Sequence):
        return [_whole(inner) for inner in value]
    return value


def safe_line(row: JsonObject) -> tuple[bytes, JsonObject]:
    """A row as a line with nothing secret in it, and the row that it says."""
    line = encode(row)
    if not may_hold_secrets(line):
        return line, row
    redacted = redact_object(cast("JsonObject", decode(line)))
    return encode(redacted), redacted


def safe_lines(rows: Sequence[JsonObject]) -> tuple[bytes, Sequence[JsonObject]]:
    """`safe_line` of many rows, each line with its end; they are searched for secrets as one text first."""
    try:
        text = _encoder.encode_lines(rows)
    except UnicodeEncodeError:
        text = None
    if text is not None and not may_hold_secrets(text):
        return text, rows
    found = [safe_line(row) for row in rows]
    return b"".join(line + b"\n" for line, _ in found), [row for _, row in found]


class Seen:
    """The columns of rows as they pass, and the kinds of values in each. Cheap for rows that are alike."""

    def __init__(self) -> None:
        self._kinds: dict[str, set[str]] = {}
        self._shapes: set[object] = set()

    def note(self, row: Mapping[str, JsonValue]) -> None:
        shape = (tuple(row), tuple(map(type, row.values())))
        if shape in self._shapes:
            return
        if len(self._shapes) < _MOST_SHAPES:
            self._shapes.add(shape)
        for name, value in row.items():
            kinds = self._kinds.get(name)
            if kinds is None:
                if len(self._kinds) > MOST_COLUMNS:
                    continue
                kinds = self._kinds[name] = set()
            kinds.add(_kind(value))

    def columns(self) -> Columns | None:
        """The columns in the order in which they were met; None where there are too many for a table."""
        if len(self._kinds) > MOST_COLUMNS:
            return None
        return {name: sorted(kinds) for name, kinds in self._kinds.items()}


def _kind(value: JsonValue) -> str:
    found = _KINDS.get(type(value))
    if found is not None:
        return found
    return "object" if isinstance(value, Mapping) else "array"

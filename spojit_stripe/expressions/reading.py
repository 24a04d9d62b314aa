"""References and the reading of fields: what is not there is an error that says what is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spojit_stripe.errors import InputError
from spojit_stripe.expressions.bounds import is_list, is_object, kind_of, listed, shown_name
from spojit_stripe.values import JsonValue
from spojit_stripe.words import nearest

__all__ = ["Reference", "find", "member"]

# An object with more keys is data, not a record: finding the nearest would cost too much.
_MOST_COMPARED: Final = 500


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """`charges.data[0].id`: its root, and the path as far as it stands written."""

    root: str
    path: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        text = self.root
        for part in self.path:
            text += f"[{part}]" if isinstance(part, int) else _field(part)
        return text


def _field(name: str) -> str:
    return f".{name}" if name.isidentifier() else f"[{shown_name(name)!r}]"


def find(scope: Mapping[str, JsonValue], reference: Reference) -> JsonValue:
    """The value of `reference`. Raises `InputError` naming what there is instead."""
    root = reference.root
    if root not in scope:
        raise InputError(f"{reference}: there is no {root!r} here{_instead(root, scope, 'there is')}")
    value = scope[root]
    at = Reference(root)
    for key in reference.path:
        value = member(value, key, str(at), full=str(reference))
        at = Reference(root, (*at.path, key))
    return value


def member(value: JsonValue, key: object, owner: str, *, full: str = "") -> JsonValue:
    """`value[key]`, where `owner` is what messages call `value` and `full` the whole reference."""
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise InputError(f"{full or owner}: a field's name is text and a list's place an integer, not {kind_of(key)}")
    full = full or f"{owner}{_field(key) if isinstance(key, str) else f'[{key}]'}"
    if is_object(value):
        if isinstance(key, str) and key in value:
            return value[key]
        raise InputError(f"{full}: {owner} has no {shown_name(key)!r}{_instead(str(key), value, 'it has')}")
    if is_list(value):
        return _item(value, key, owner, full)
    raise InputError(f"{full}: {owner} is {kind_of(value)}, which has no fields")


def _item(value: object, key: str | int, owner: str, full: str) -> JsonValue:
    items = value if is_list(value) else ()
    if isinstance(key, str):
        raise InputError(
            f"{full}: {owner} is a list; take one item with [0] or | first, or the field of each with "
            f"| map({shown_name(key)!r})"
        )
    if not -len(items) <= key < len(items):
        count = "1 item" if len(items) == 1 else f"{len(items) or 'no'} items"
        raise InputError(f"{full}: {owner} has {count}")
    return items[key + len(items) if key < 0 else key]


def _instead(name: str, known: Mapping[str, object], have: str) -> str:
    if not known:
        return "; it is empty" if have == "it has" else ""
    guess = nearest(name, known) if len(known) <= _MOST_COMPARED and len(name) <= _MOST_COMPARED else ""
    what = f"{have}: {listed(known)}"
    return f"{guess} {what[0].upper()}{what[1:]}" if guess else f"; {what}"

"""JSON as types, and a copy of it, under everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypeVar, cast

__all__ = ["JsonObject", "JsonValue", "Params", "copied"]

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]
Params: TypeAlias = Mapping[str, JsonValue]

T = TypeVar("T")


def copied(value: T) -> T:
    """`value` with objects and lists of its own, for anybody's code. A stored list stays, it can't be changed."""
    if isinstance(value, dict):
        inner = cast("dict[str, object]", value)
        return cast("T", {name: copied(one) for name, one in inner.items()})
    if isinstance(value, list):
        return cast("T", [copied(one) for one in cast("list[object]", value)])
    return value

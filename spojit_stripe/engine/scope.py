"""What a part of a run is given of what is known: only what it reads, and nothing large by value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, cast

from spojit_stripe.data import ArtifactStore, freeze, is_handle, thaw
from spojit_stripe.errors import InputError
from spojit_stripe.values import JsonObject, JsonValue
from spojit_stripe.workflow import AgentNode, Node, SqlNode, tables_of, walk

__all__ = ["names_read", "recorded_form", "refuse_handles", "restore", "share", "stored_at"]

_INLINE_BYTES: Final = 16_384
_SHARED: Final = "$scope"


def names_read(owner: Node) -> set[str]:
    """The names that the nodes inside a node read; tables of SQL in lower case too."""
    found: set[str] = set()
    for node in (inner for branch in owner.branches for inner in walk(branch.nodes)):
        for _, compiled in node.values():
            found |= {reference.root for reference in compiled.references}
        if isinstance(node, AgentNode):
            found.add("input")  # its `trusted_ids` are names of inputs
        if isinstance(node, SqlNode):
            found |= tables_of(node.sql)
    return found


def share(scope: Mapping[str, JsonValue], names: set[str], store: ArtifactStore, prefix: str) -> JsonObject:
    """The part of a scope that is read, for the arguments of children: stored once where it is large."""
    kept = {name: freeze(value) for name, value in scope.items() if name in names or name.lower() in names}
    text = json.dumps(kept)
    if len(text) <= _INLINE_BYTES:
        return kept
    spool = store.spool(prefix, threshold=0)
    spool.write([{_SHARED: kept}])
    return {_SHARED: spool.finish()}


def stored_at(shared: JsonObject) -> str | None:
    """Where a shared scope is stored, None for one that stands in the argument itself."""
    handle = shared.get(_SHARED)
    return json.dumps(handle, sort_keys=True) if handle is not None else None


def restore(shared: JsonObject, store: ArtifactStore) -> dict[str, JsonValue]:
    """A scope as `share` recorded it."""
    handle = shared.get(_SHARED)
    if handle is not None:
        row = cast("JsonObject", store.open(cast("JsonObject", handle))[0])
        shared = cast("JsonObject", row[_SHARED])
    return cast("dict[str, JsonValue]", thaw(shared, store))


def refuse_handles(value: JsonValue, what: str) -> None:
    """Raise `InputError` for a value from outside that would pass for a stored list of ours."""
    if isinstance(value, dict):
        if "$artifact" in value:
            raise InputError(f"{what}: a key '$artifact' has a meaning of its own; rename it")
        for inner in value.values():
            refuse_handles(inner, what)
    elif isinstance(value, list):
        for item in value:
            refuse_handles(item, what)


def recorded_form(value: JsonValue, store: ArtifactStore, prefix: str) -> JsonValue:
    """A value as a step may record it: lists that would make it large go to the store."""
    frozen = freeze(value)
    if len(json.dumps(frozen)) <= _INLINE_BYTES * 16:
        return frozen
    return _shrunk(frozen, store, prefix)


def _holds_handles(value: JsonValue) -> bool:
    if isinstance(value, dict):
        return is_handle(value) or any(map(_holds_handles, value.values()))
    return isinstance(value, list) and any(map(_holds_handles, value))


def _shrunk(value: JsonValue, store: ArtifactStore, prefix: str) -> JsonValue:
    if isinstance(value, list):
        if len(json.dumps(value)) <= _INLINE_BYTES:
            return value
        objects = all(isinstance(item, dict) for item in value)
        spool = store.spool(prefix, threshold=0, wrapped=not objects, nested=_holds_handles(value))
        spool.write([cast("JsonObject", item) if objects else {"value": item} for item in value])
        return spool.finish()
    if isinstance(value, dict):
        return {key: _shrunk(inner, store, f"{prefix}-{key}") for key, inner in value.items()}
    return value

"""Keys come from the place of a call, digests from its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from spojit_stripe.connection import Connection
from spojit_stripe.values import JsonValue, Position, Request

__all__ = ["call_digest", "key_of", "params_digest"]


def key_of(position: Position, generation: int) -> str:
    """The idempotency key of a place in a run: 48 characters, the same for ever.

    Neither parameters nor retries enter: a retry must find the first try's answer.
    """
    place = [position.run_id, position.node, list(position.indexes), position.ordinal, generation]
    return "spojit-" + _hash(place)[:40]


def params_digest(operation: str, params: Mapping[str, JsonValue], author_params: Mapping[str, JsonValue]) -> str:
    """What was asked for, so that the same key with other parameters is noticed unsent."""
    return _hash([operation, dict(params), dict(author_params)])


def call_digest(key: str, connection: Connection, api_version: str, request: Request) -> str:
    """What an approval is bound to: this call, to this account, in this mode, and no other."""
    return _hash(
        [
            key,
            connection.name,
            connection.mode,
            request.account or connection.account,
            connection.base_url,
            request.api_version or api_version,
            request.method,
            request.path,
            request.params,
        ]
    )


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()

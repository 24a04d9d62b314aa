"""Stripe as a connector: its tools, its judgement of calls, and its wire."""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING

from spojit_stripe.catalog import Catalog, Tool
from spojit_stripe.connection import Connection
from spojit_stripe.connector import BoundCall, Read, Vocabulary
from spojit_stripe.values import Assessment, JsonObject, Secret, ToolCall
from spojit_stripe.wire.assess import assess
from spojit_stripe.wire.bind import bind_raw, bind_typed, stamp
from spojit_stripe.wire.operations import Operation, Operations
from spojit_stripe.wire.secret_key import check_secret
from spojit_stripe.wire.vocabulary import VOCABULARY, found

if TYPE_CHECKING:
    from spojit_stripe.connector import Wire

__all__ = ["StripeConnector"]


class StripeConnector:
    """Implements `connector.Connector`. Holds no connection and no secret."""

    name = "stripe"
    default_api_version = "2026-10-28.endive"

    @property
    def catalog(self) -> Catalog:
        """The package's tools, read when first asked for."""
        return _catalog()

    @cached_property
    def operations(self) -> Operations:
        """Every operation of the API, read when first asked for."""
        return Operations.load()

    @property
    def vocabulary(self) -> Vocabulary:
        """How Stripe's objects read."""
        return VOCABULARY

    def find(self, words: str, limit: int) -> list[JsonObject]:
        """The operations that fit `words` best, best first."""
        return [found(operation) for operation in self.operations.search(words, limit)]

    def check_secret(self, connection: Connection, secret: Secret) -> None:
        """Raises `ConfigurationError` where the key is of the wrong kind or mode; sends nothing."""
        check_secret(connection, secret)

    def bind(self, tool: Tool, call: ToolCall, connection: Connection) -> BoundCall:
        """The request of a checked call. Raises `InputError`; sends nothing."""
        if tool.binding.raw:
            return bind_raw(tool, call, self.operations)
        return bind_typed(tool, call, self.default_api_version)

    async def assess(self, bound: BoundCall, read: Read) -> Assessment:
        """Effect, amount and target of a call; reads where it leaves an amount open.

        Raises `InputError` where nothing is left to refund or capture, and what `read` raises.
        """
        return await assess(bound, self._operation(bound), read)

    def stamp(self, bound: BoundCall, params: JsonObject, key: str) -> tuple[JsonObject, bool]:
        """`params` with the key stamped on the object to be made, and whether it could be."""
        return stamp(self._operation(bound), params, key)

    def open(self, connection: Connection, secret: Secret) -> Wire:
        """A wire for `connection`, inside a running event loop."""
        from spojit_stripe.wire.client import StripeWire  # a dry run and a listing of tools need no HTTP library

        return StripeWire(connection, secret)

    def _operation(self, bound: BoundCall) -> Operation | None:
        return self.operations.get(bound.operation)


@cache
def _catalog() -> Catalog:
    return Catalog.load()

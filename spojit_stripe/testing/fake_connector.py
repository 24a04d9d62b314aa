"""A connector to a service that does not exist: what the core needs of one, and no more.

It is also the smallest example of a connector. Its descriptors are in `descriptors/`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, cast

from spojit_stripe.catalog import Catalog, Tool
from spojit_stripe.connection import Connection
from spojit_stripe.connector import BoundCall, ListPlan, Read, Wire
from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.testing.fake_wire import FakeWire
from spojit_stripe.values import Amount, Assessment, Effect, JsonObject, Method, Request, Secret, ToolCall

__all__ = ["FakeConnector"]

# What is not listed asks: the raw tool can reach operations that nobody reviewed.
_EFFECTS: Final[dict[str, Effect]] = {
    "POST /v1/payments": Effect.MONEY,
    "POST /v1/refunds": Effect.MONEY,
    "POST /v1/payouts": Effect.MONEY,
    "POST /v1/notes": Effect.WRITE,
    "POST /v1/notes/{note}/close": Effect.WRITE,
    "DELETE /v1/notes/{note}": Effect.WRITE,
    "POST /v1/keys": Effect.CONTROL,
}
_ID: Final = re.compile(r"[A-Za-z0-9_-]+")
_TEMPLATES: Final = {"/v1/notes/": "/v1/notes/{note}/close"}
_TAKES: Final = {
    "/v1/payments": {"amount", "currency", "customer", "metadata"},
    "/v1/refunds": {"payment", "amount", "metadata"},
    "/v1/payouts": {"to"},
}


class FakeConnector:
    """Implements `connector.Connector` over one `FakeWire`.

    Keys look like `fk_test_…` and `fk_live_…`. `opened` counts the wires asked for.
    """

    name = "fake"
    default_api_version = "2026-01-01"

    def __init__(self, wire: FakeWire | None = None) -> None:
        self.wire = wire or FakeWire()
        self.catalog = Catalog.load(Path(__file__).parent / "descriptors")
        self.opened = 0

    def check_secret(self, connection: Connection, secret: Secret) -> None:
        if not secret.reveal().startswith(f"fk_{connection.mode}_"):
            raise ConfigurationError(f"connection {connection.name!r}: its key is not for {connection.mode} mode")

    def bind(self, tool: Tool, call: ToolCall, connection: Connection) -> BoundCall:
        if tool.binding.raw:
            return _bind_raw(call)
        template = cast("str", tool.binding.path)
        method = cast("Method", tool.binding.method)
        params = {name: value for name, value in call.params.items() if name not in tool.path_params}
        plan = None
        if tool.is_list:
            keep = {
                name: params.pop(name)
                for name, one in tool.binding.filters.items()
                if one.by == "client" and name in params
            }
            plan = ListPlan(style="cursor", wanted=10, page_size=100, keep=keep)
        request = Request(method=method, path=_fill(template, call), template=template, params=params)
        return BoundCall(
            tool=tool.name,
            request=request,
            operation=f"{method} {template}",
            effect=_effect(method, template),
            listing=plan,
            paging=call.paging,
        )

    async def assess(self, bound: BoundCall, read: Read) -> Assessment:
        params = dict(bound.request.params)
        amount = None
        target = params.get("payment")
        if bound.operation == "POST /v1/refunds" and "amount" not in params:
            payment = await read(
                Request(method="GET", path=f"/v1/payments/{target}", template="/v1/payments/{payment}")
            )
            params["amount"] = cast("int", payment["amount"])
        if isinstance(params.get("amount"), int):
            amount = Amount(amount=cast("int", params["amount"]), currency=str(params.get("currency", "usd")).lower())
        return Assessment(
            effect=bound.effect,
            operation=bound.operation,
            params=params,
            amount=amount if bound.effect is Effect.MONEY else None,
            target=target if isinstance(target, str) else None,
        )

    def stamp(self, bound: BoundCall, params: JsonObject, key: str) -> tuple[JsonObject, bool]:
        if bound.operation != "POST /v1/payments":
            return params, False
        metadata = params.get("metadata", {})
        return {**params, "metadata": {**cast("JsonObject", metadata), "key": key}}, True

    def open(self, connection: Connection, secret: Secret) -> Wire:
        self.opened += 1
        return self.wire


def _effect(method: str, template: str) -> Effect | None:
    return Effect.READ if method == "GET" else _EFFECTS.get(f"{method} {template}")


def _fill(template: str, call: ToolCall) -> str:
    parts: list[str] = []
    for part in template.split("/"):
        if part.startswith("{"):
            given = call.params[part[1:-1]]
            if not isinstance(given, str) or not _ID.fullmatch(given):
                raise InputError(f"{part[1:-1]}: {given!r} is no id")
            part = given
        parts.append(part)
    return "/".join(parts)


def _bind_raw(call: ToolCall) -> BoundCall:
    method, path = cast("Method", call.params["method"]), str(call.params["path"])
    params = cast("JsonObject", call.params.get("params", {}))
    template = next((found for start, found in _TEMPLATES.items() if path.startswith(start)), path)
    takes = _TAKES.get(path)
    if takes is not None and not call.author_params.get("unchecked"):
        for name in params:
            if name not in takes:
                raise InputError(f"{name}: {path} takes {', '.join(sorted(takes))}")
    account = call.author_params.get("account")
    request = Request(
        method=method,
        path=path,
        template=template,
        params=dict(params),
        account=account if isinstance(account, str) else None,
    )
    return BoundCall(
        tool=call.tool, request=request, operation=f"{method} {template}", effect=_effect(method, template)
    )

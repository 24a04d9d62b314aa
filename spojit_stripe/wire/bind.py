"""A checked call as the request that it means, and the key stamped on what it makes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final, Literal, cast

from spojit_stripe.catalog import Filter, Tool
from spojit_stripe.connector import BoundCall, ListPlan
from spojit_stripe.errors import InputError
from spojit_stripe.money import fault_of_amount
from spojit_stripe.values import Effect, JsonObject, JsonValue, Method, Params, Request, ToolCall
from spojit_stripe.wire.effects import effect_of
from spojit_stripe.wire.form import encode_json, encode_query
from spojit_stripe.wire.operations import Operation, Operations
from spojit_stripe.wire.paths import check_path, fill
from spojit_stripe.wire.search import search_query

__all__ = ["STAMP", "bind_raw", "bind_typed", "stamp"]

STAMP: Final = "spojit_key"
"""The metadata key under which a write's idempotency key stands on the object it made."""

_DEFAULT_LIMIT: Final = 10
_LARGEST_PAGE: Final = 100
_MOST_METADATA: Final = 50  # keys on one object
_AUTHOR_ONLY: Final = ("api_version", "stripe_account", "unchecked")
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?")
_ACCOUNT = re.compile(r"acct_[A-Za-z0-9]{1,250}")
_TAKES_MONEY: Final = ("/v1/charges", "/v1/payment_intents")
_CURSORS: Final = ("starting_after", "ending_before")


# Typed tools


def bind_typed(tool: Tool, call: ToolCall, api_version: str) -> BoundCall:
    """The request of a tool with its own method and path, always at the catalog's `api_version`.

    Raises `InputError`.
    """
    if call.author_params:
        name = next(iter(call.author_params))
        raise InputError(f"{name}: only raw-api-request takes it; leave it out of {tool.name}")
    method, template = cast("Method", tool.binding.method), cast("str", tool.binding.path)
    params = {name: value for name, value in call.params.items() if name not in tool.path_params}
    path = fill(template, call.params)
    request = Request(method=method, path=path, template=template, params=params, api_version=api_version)
    _check_encodes(request)
    _check_amount(request)
    if tool.is_list:
        return _bind_list(tool, call, request)
    return BoundCall(
        tool=tool.name,
        request=request,
        operation=f"{method} {template}",
        # The typed reads hand out no secrets; looking one up would cost reading the index.
        effect=Effect.READ if method == "GET" else _reviewed(f"{method} {template}", params),
    )


def _reviewed(name: str, params: Params) -> Effect | None:
    operation = Operations.load().get(name)
    return None if operation is None else effect_of(operation, params)


def _bind_list(tool: Tool, call: ToolCall, request: Request) -> BoundCall:
    given = {name: one for name, one in tool.binding.filters.items() if name in call.params}
    by_time = tool.binding.filters.get("created")
    plan = _plan("cursor", request.params, call, windowed=by_time is not None and by_time.by == "server")
    searched = next((name for name, one in given.items() if one.by == "search"), None)
    if searched is not None:
        request = _as_search(request, searched, given[searched], tool)
        plan = replace(plan, style="search", windowed=False)
    keep = {one.field: call.params[name] for name, one in given.items() if one.by == "client"}
    if keep:
        names = {name for name, one in given.items() if one.by == "client"}
        params = {name: value for name, value in request.params.items() if name not in names}
        request, plan = replace(request, params=params), replace(plan, keep=keep)
    return BoundCall(
        tool=tool.name,
        request=request,
        operation=f"GET {request.template}",
        effect=Effect.READ,
        listing=plan,
        paging=call.paging,
    )


def _as_search(request: Request, name: str, one: Filter, tool: Tool) -> Request:
    """The search that answers in the place of a list, because of the filter `name`."""
    path = cast("str", one.path)
    filters = {key: value for key, value in request.params.items() if key not in ("limit", "expand")}
    what = f"{tool.name} with {name}"
    query = search_query(filters, what=what, combines=(name, *one.combines))
    kept = {key: value for key, value in request.params.items() if key in ("limit", "expand")}
    return replace(request, path=path, template=path, params={"query": query, **kept})


# Raw requests


def bind_raw(tool: Tool, call: ToolCall, operations: Operations) -> BoundCall:
    """The request that a raw call spells out, held against the index of operations.

    Only the author can say `unchecked`, `stripe_account` and `api_version`: they are taken
    from `call.author_params` alone. Raises `InputError`.
    """
    for name in _AUTHOR_ONLY:
        if name in call.params:
            raise InputError(f"{name}: only the author of a workflow can set it, not the caller of the tool")
    unchecked = _author_options(call.author_params)
    method, path, params = _spelled_out(call.params)
    operation = operations.find(method, path)
    if operation is None and not unchecked:
        near = operations.nearest(method, path)
        raise InputError(f"{method} {path}: Stripe has no such operation in {operations.api_version}; {near}")
    request = Request(
        method=method,
        path=path,
        template=path if operation is None else operation.template,
        params=params,
        version=2 if path.startswith("/v2/") else 1,
        account=_text(call.author_params.get("stripe_account")),
        api_version=_text(call.author_params.get("api_version")),
    )
    _check_encodes(request)
    if operation is None:
        # Nobody knows what it does, so it asks, even a GET: some hand out secrets.
        return BoundCall(tool=tool.name, request=request, operation=f"{method} {path}", effect=None)
    if not unchecked:
        _check_amount(request)
    effect = _checked(operation, params, unchecked=unchecked)
    listing = _raw_plan(operation, params, call) if effect is Effect.READ else None
    return BoundCall(
        tool=tool.name,
        request=request,
        operation=operation.name,
        effect=effect,
        listing=listing,
        paging=call.paging,
    )


def _check_encodes(request: Request) -> None:
    """Refuse what can't be sent before anything is recorded of the call, and before a person is asked."""
    (encode_json if request.method == "POST" and request.version == 2 else encode_query)(request.params)


def _check_amount(request: Request) -> None:
    """Refuse an amount that Stripe would refuse for its currency, such as 5005 in KWD."""
    amount, currency = request.params.get("amount"), request.params.get("currency")
    if request.method != "POST" or request.template not in _TAKES_MONEY or not isinstance(amount, int):
        return
    fault = fault_of_amount(amount, currency) if isinstance(currency, str) else None
    if fault is not None:
        raise InputError(f"amount: {fault}")


def _author_options(given: Params) -> bool:
    """Check the author's options; whether the index is left aside."""
    unknown = next((name for name in given if name not in _AUTHOR_ONLY), None)
    if unknown is not None:
        raise InputError(f"{unknown}: an author can set {', '.join(_AUTHOR_ONLY)}")
    unchecked = given.get("unchecked", False)
    if not isinstance(unchecked, bool):
        raise InputError(f"unchecked: true or false is needed, got {unchecked!r}")
    for name, pattern, example in (
        ("api_version", _VERSION, "2026-10-28.endive"),
        ("stripe_account", _ACCOUNT, "acct_1032D82eZvKYlo2C"),
    ):
        value = given.get(name)
        if value is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
            raise InputError(f"{name}: {value!r} is none; it looks like {example}")
    return unchecked


def _spelled_out(given: Params) -> tuple[Method, str, JsonObject]:
    method, path, params = given.get("method"), given.get("path"), given.get("params", {})
    if method not in ("GET", "POST", "DELETE"):
        raise InputError(f"method: {method!r} is not one of GET, POST, DELETE; Stripe's API has no others")
    if not isinstance(path, str):
        raise InputError(f"path: a path such as /v1/refunds is needed, got {path!r}")
    if not isinstance(params, dict):
        raise InputError(f"params: an object is needed, got {type(params).__name__}")
    return method, check_path(path), dict(params)


def _checked(operation: Operation, params: JsonObject, *, unchecked: bool) -> Effect | None:
    """The effect of a raw request; refuses what the index refuses, unless `unchecked`."""
    if operation.unsupported is not None:
        raise InputError(operation.unsupported)
    known = {name: value for name, value in params.items() if not (operation.list_style == "v2" and name == "page")}
    faults = operation.check(known)
    if faults and not unchecked:
        raise InputError(faults[0], faults=tuple(faults))
    effect = effect_of(operation, params)
    if faults and operation.method != "GET" and effect is not Effect.CONTROL:
        # What the index does not know may do more than the operation was reviewed for.
        return None
    return effect


def _raw_plan(operation: Operation, params: Params, call: ToolCall) -> ListPlan | None:
    style = operation.list_style
    if style is None:
        return None
    if style == "plain":
        return replace(_plan("cursor", params, call), page_size=0)
    windowed = style == "cursor" and any(param.n == "created" for param in operation.params)
    return _plan(style, params, call, windowed=windowed)


def _plan(
    style: Literal["cursor", "search", "v2"], params: Params, call: ToolCall, *, windowed: bool = False
) -> ListPlan:
    """How a list is read. `limit` is the size of a page, and of `paginate: page` the whole."""
    _check_range(params.get("created"))
    limit = params.get("limit")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _LARGEST_PAGE):
        raise InputError(f"limit: a whole number from 1 to {_LARGEST_PAGE} is needed, got {limit!r}")
    if all(name in params for name in _CURSORS):
        raise InputError("starting_after and ending_before: give one of the two, a list is read in one direction")
    every = call.paging.paginate == "all"
    return ListPlan(
        style=style,
        wanted=limit or _DEFAULT_LIMIT,
        page_size=limit if every and limit else _LARGEST_PAGE,
        windowed=windowed,
    )


def _check_range(given: JsonValue) -> None:
    """Refuse a range of time that ends before it starts: Stripe's answer would be an empty list."""
    if not isinstance(given, dict):
        return
    times = {name: value for name, value in given.items() if isinstance(value, int)}
    starts = [(value + (name == "gt"), name) for name, value in times.items() if name in ("gt", "gte")]
    ends = [(value + (name == "lte"), name) for name, value in times.items() if name in ("lt", "lte")]
    if starts and ends and max(starts)[0] > min(ends)[0]:
        start, end = max(starts)[1], min(ends)[1]
        raise InputError(
            f"created: the range ends ({end} {times[end]}) before it starts ({start} {times[start]}); swap the two"
        )


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None


# The stamp


def stamp(operation: Operation | None, params: JsonObject, key: str) -> tuple[JsonObject, bool]:
    """`params` with `key` in the metadata of the object that `operation` makes.

    Left as they are, with False: where it makes none, takes no metadata or clears it, or has
    no room left. Gives the same for the same input, so that a replay sends the same request.
    """
    if operation is None or not operation.takes_metadata or not operation.sdk.endswith(".create"):
        return params, False
    metadata = params.get("metadata", {})
    if not isinstance(metadata, dict) or STAMP in metadata or len(metadata) >= _MOST_METADATA:
        return params, False
    return {**params, "metadata": {**metadata, STAMP: key}}, True

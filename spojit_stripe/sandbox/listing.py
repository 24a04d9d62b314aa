"""Lists: cursors in both directions, `created` ranges, and the filters of each resource."""

import base64
from collections.abc import Mapping

from spojit_stripe.sandbox.context import CLOCK, Context, ListPage
from spojit_stripe.sandbox.errors import bad_parameter, no_such
from spojit_stripe.sandbox.search import Query
from spojit_stripe.sandbox.store import Filter
from spojit_stripe.sandbox.values import JsonObject, JsonValue, child, decode, encode, integer, text

_RANGE = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_DEFAULT_LIMIT = 10
_CLOCKED = frozenset({"customer", "invoice", "invoiceitem", "subscription"})
_OWNERS = frozenset({"customer", "invoice", "subscription"})


def list_objects(
    context: Context,
    kind: str,
    columns: Mapping[str, str] | None = None,
    *,
    ranges: Mapping[str, str] | None = None,
    filters: list[Filter] | None = None,
    noun: str | None = None,
) -> ListPage:
    """A page of a list. `columns` and `ranges` map parameters to filter columns."""
    params = context.params
    conditions = [*(filters or []), *_of_clock(context, kind)]
    for name, column in (columns or {}).items():
        if name in params:
            value = params[name]
            conditions.append(Filter(f"{column} = ?", (_cell(value),)))
    for name, column in {"created": "created", **(ranges or {})}.items():
        conditions.extend(range_filter(params.get(name), column))
    limit = integer(params, "limit") or _DEFAULT_LIMIT
    after, before = _cursor(context, kind, "starting_after", noun), _cursor(context, kind, "ending_before", noun)
    data = context.store.page(context.scope, kind, conditions, limit + 1, after=after, before=before)
    has_more = len(data) > limit
    if has_more:
        data = data[1:] if before is not None else data[:limit]
    return ListPage(context.path, data, has_more)


def _of_clock(context: Context, kind: str) -> list[Filter]:
    """Objects of test clocks are listed only by their clock or their owner."""
    if kind not in _CLOCKED:
        return []
    where = "json_extract(CAST(body AS TEXT), '$.test_clock')"
    clock = text(context.params, "test_clock")
    if clock is not None:
        return [Filter(f"{where} = ?", (context.live(CLOCK, clock, "test_clock").id,))]
    if context.store.meta(f"clocks/{context.scope}") is None or _OWNERS & set(context.params):
        return []
    return [Filter(f"{where} IS NULL")]


def range_filter(value: JsonValue, column: str) -> list[Filter]:
    """A timestamp, or a range of them, as conditions."""
    if isinstance(value, int):
        return [Filter(f"{column} = ?", (value,))]
    if isinstance(value, dict):
        return [Filter(f"{column} {_RANGE[name]} ?", (integer(value, name),)) for name in value]
    return []


def page_of(context: Context, found: list[JsonObject]) -> ListPage:
    """A page of objects that are not stored on their own, such as the lines of an invoice."""
    params = context.params
    position = {text(entry, "id"): index for index, entry in enumerate(found)}
    limit = integer(params, "limit") or _DEFAULT_LIMIT
    after, before = text(params, "starting_after"), text(params, "ending_before")
    for cursor in (after, before):
        if cursor is not None and cursor not in position:
            raise no_such("object", cursor, "starting_after" if cursor is after else "ending_before", status=400)
    if before is not None:
        chosen = found[: position[before]]
        page, more = chosen[-limit:], len(chosen) > limit
    else:
        chosen = found[position[after] + 1 :] if after is not None else found
        page, more = chosen[:limit], len(chosen) > limit
    return ListPage(context.path, [encode(entry) for entry in page], more)


def search_objects(context: Context, kind: str, fields: Mapping[str, str]) -> ListPage:
    """A page of search results; changes show up after the configured lag."""
    query = Query.parse(context.need("query"), fields)
    limit = integer(context.params, "limit") or _DEFAULT_LIMIT
    after = _page_token(context.params)
    context.store.forget_indexed(context.exact_now)
    hidden = context.store.unindexed(context.exact_now)
    counting = "total_count" in _expanded(context.params)
    found: list[bytes] = []
    total, last, more = 0, (0, 0), False
    for created, seq, raw in context.store.scan(context.scope, kind, query.filters(), None if counting else after):
        shown = hidden.get(seq, raw) if hidden else raw
        if shown is None or not query.matches(decode(shown)):
            continue
        total += 1
        if after is not None and (created, seq) >= after:
            continue
        if len(found) == limit:
            more = True
            if not counting:
                break
            continue
        found.append(shown)
        last = (created, seq)
    token = base64.urlsafe_b64encode(f"{last[0]}.{last[1]}".encode()).decode() if more else None
    return ListPage(context.path, found, more, "search_result", token, total if counting else None)


def _expanded(params: JsonObject) -> list[JsonValue]:
    value = params.get("expand")
    return value if isinstance(value, list) else []


def _page_token(params: JsonObject) -> tuple[int, int] | None:
    token = text(params, "page")
    if token is None:
        return None
    try:
        created, _, seq = base64.urlsafe_b64decode(token).decode().partition(".")
        return int(created), int(seq)
    except ValueError:
        raise bad_parameter(f"Invalid page: {token}", "page") from None


def _cursor(context: Context, kind: str, name: str, noun: str | None) -> tuple[int, int] | None:
    identifier = text(context.params, name)
    if identifier is None:
        return None
    position = context.store.position(context.scope, kind, identifier)
    if position is None:
        raise no_such(noun or kind, identifier, name, status=400)
    return position


def _cell(value: JsonValue) -> str | int | None:
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, (str, int)) else None


def enabled(params: JsonObject, name: str) -> bool:
    """Whether `name[enabled]` was sent as true."""
    return child(params, name).get("enabled") is True

"""Events, which are kept for ever here and listed for thirty days, as on Stripe."""

from spojit_stripe.sandbox.context import Answer, Context
from spojit_stripe.sandbox.listing import list_objects
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.store import Filter
from spojit_stripe.sandbox.values import flag, strings, text

_DAYS_LISTED = 30 * 86_400


@answers("GET", "/v1/events/{id}")
def retrieve(context: Context) -> Answer:
    """An event."""
    return context.get("event", context.ids["id"]).body


@answers("GET", "/v1/events")
def list_events(context: Context) -> Answer:
    """Events of the last thirty days, newest first; `type` may end in `.*`."""
    filters = [Filter("created > ?", (context.now - _DAYS_LISTED,))]
    kind = text(context.params, "type")
    kinds = strings(context.params, "types")
    if kind is not None:
        filters.append(_of_kind([kind]))
    if kinds:
        filters.append(_of_kind(kinds))
    if "delivery_success" in context.params:
        arrived = "=" if flag(context.params, "delivery_success") else ">"
        filters.append(Filter(f"json_extract(CAST(body AS TEXT), '$.pending_webhooks') {arrived} 0"))
    return list_objects(context, "event", filters=filters)


def _of_kind(kinds: list[str]) -> Filter:
    tests: list[str] = []
    values: list[str] = []
    for kind in kinds:
        wild = kind.endswith("*")
        tests.append("kind GLOB ?" if wild else "kind = ?")
        values.append(kind)
    return Filter(f"({' OR '.join(tests)})", tuple(values))

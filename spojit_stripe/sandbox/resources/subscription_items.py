"""The items of a subscription, one at a time; prorated as in an update of the subscription."""

from dataclasses import replace

from spojit_stripe.sandbox.context import Answer, Context
from spojit_stripe.sandbox.errors import invalid
from spojit_stripe.sandbox.listing import page_of
from spojit_stripe.sandbox.resources.subscription_life import ENDED, make_invoice
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.store import Filter, Record
from spojit_stripe.sandbox.subscription_items import change_items, items_of
from spojit_stripe.sandbox.values import JsonObject, string

_NOT_DONE = ("billing_thresholds", "current_trial", "discounts", "proration_date", "tax_rates")
_GIVEN = ("metadata", "plan", "price", "price_data", "quantity")


@answers("POST", "/v1/subscription_items", without=_NOT_DONE)
def create(context: Context) -> Answer:
    """Add an item to a subscription."""
    record = context.live("subscription", context.need("subscription"), "subscription")
    known = {string(each, "id") for each in items_of(record)}
    _change(context, record, _given(context))
    return next(each for each in items_of(record) if string(each, "id") not in known)


@answers("GET", "/v1/subscription_items/{item}")
def retrieve(context: Context) -> Answer:
    """An item."""
    return _find(context)[1]


@answers("POST", "/v1/subscription_items/{item}", without=_NOT_DONE)
def update(context: Context) -> Answer:
    """Change an item's price, quantity or metadata."""
    record, item = _find(context)
    _change(context, record, {"id": item["id"], **_given(context)})
    return next(each for each in items_of(record) if each["id"] == item["id"])


@answers("DELETE", "/v1/subscription_items/{item}", without=("proration_date",))
def delete(context: Context) -> Answer:
    """Take an item from a subscription; the last one stays."""
    record, item = _find(context)
    _change(context, record, {"id": item["id"], "deleted": True})
    return {"id": item["id"], "object": "subscription_item", "deleted": True}


@answers("GET", "/v1/subscription_items")
def list_items(context: Context) -> Answer:
    """The items of a subscription."""
    record = context.live("subscription", context.need("subscription"), "subscription")
    return page_of(context, items_of(record))


def _given(context: Context) -> JsonObject:
    return {name: context.params[name] for name in _GIVEN if name in context.params}


def _change(context: Context, record: Record, given: JsonObject) -> None:
    if record.body["status"] in ENDED:
        raise invalid(f"The subscription {record.id} has ended; its items can't be changed.", "subscription")
    behavior = context.params.get("proration_behavior")
    change_items(replace(context, params={"items": [given], "proration_behavior": behavior}), record)
    context.save(record, "customer.subscription.updated")
    if behavior == "always_invoice":
        make_invoice(context, record, "subscription_update", with_items=False)


def _find(context: Context) -> tuple[Record, JsonObject]:
    identifier = context.ids["item"]
    where = Filter(
        "EXISTS (SELECT 1 FROM json_each(CAST(body AS TEXT), '$.items.data') WHERE json_extract(value, '$.id') = ?)",
        (identifier,),
    )
    for found in context.store.records(context.scope, "subscription", [where]):
        record = context.get("subscription", found.id)
        return record, next(each for each in items_of(record) if each["id"] == identifier)
    raise context.missing("subscription_item", identifier, "item")

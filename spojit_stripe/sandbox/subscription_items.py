"""The items of a subscription: prices, periods and prorations.

Prorations are by the second on the whole of an item, without taxes or discounts.
"""

import calendar
import time

from spojit_stripe.sandbox import billing
from spojit_stripe.sandbox.context import Context, merge_metadata
from spojit_stripe.sandbox.errors import bad_parameter, invalid, not_done
from spojit_stripe.sandbox.pricing import cost, plan_of, price_body
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.values import JsonObject, child, flag, integer, items, number, string, text


def items_of(record: Record) -> list[JsonObject]:
    """The items of a subscription."""
    return items(child(record.body, "items"), "data")


def item_list(context: Context, identifier: str, chosen: list[JsonObject]) -> JsonObject:
    """The `items` of a subscription."""
    del context
    return {
        "object": "list",
        "data": [*chosen],
        "has_more": False,
        "total_count": len(chosen),
        "url": f"/v1/subscription_items?subscription={identifier}",
    }


def quantity_of(item: JsonObject) -> int:
    """How many of an item there are; one, if it does not say."""
    found = number(item, "quantity")
    return 1 if found is None else found


def period_end(record: Record) -> int:
    """When the current period ends."""
    return min(integer(item, "current_period_end") for item in items_of(record))


def _price(context: Context, given: JsonObject, path: str) -> JsonObject:
    identifier = text(given, "price") or text(given, "plan")
    if identifier is None and "price_data" in given:
        data = child(given, "price_data")
        return context.insert(price_body(context, data, string(data, "product")), "price.created").body
    if identifier is None:
        raise bad_parameter(f"Missing required param: {path}[price].", f"{path}[price]", "parameter_missing")
    price = context.live("price", identifier, f"{path}[price]").body
    if price["type"] != "recurring":
        raise invalid(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.",
            f"{path}[price]",
        )
    if not flag(price, "active"):
        raise invalid("The price specified is inactive. This field only accepts active prices.", f"{path}[price]")
    return price


def new_item(context: Context, subscription: str, given: JsonObject, path: str) -> JsonObject:
    """An item from its parameters."""
    refuse(given, path)
    price = _price(context, given, path)
    item: JsonObject = {
        "id": context.new_id("si"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": context.now,
        "current_period_end": context.now,
        "current_period_start": context.now,
        "discounts": [],
        "metadata": {},
        "plan": plan_of(price),
        "price": price,
        "quantity": integer(given, "quantity") if "quantity" in given else 1,
        "subscription": subscription,
        "tax_rates": [],
    }
    merge_metadata(item, given)
    return item


def check_alike(chosen: list[JsonObject]) -> None:
    """Stripe's errors for prices that can't be on one subscription."""
    prices = [child(item, "price") for item in chosen]
    if len({string(price, "currency") for price in prices}) > 1:
        raise invalid("All prices on a subscription must have the same `currency`.", "items")
    recurring = [child(price, "recurring") for price in prices]
    intervals = {(string(each, "interval"), integer(each, "interval_count")) for each in recurring}
    if len(intervals) > 1:
        raise invalid(
            "Currently, all prices on a subscription must have the same `recurring.interval` and "
            "`recurring.interval_count`.",
            "items",
        )


def set_period(chosen: list[JsonObject], start: int, until: int | None, anchor: int | None = None) -> None:
    """Give items the period that begins at `start`; `until` ends it early, as a trial does."""
    recurring = child(child(chosen[0], "price"), "recurring")
    finish = until or next_period_end(start, recurring, anchor or start)
    for item in chosen:
        item.update(current_period_start=start, current_period_end=finish)


def next_period_end(start: int, recurring: JsonObject, anchor: int) -> int:
    """When the period that begins at `start` ends; months keep the anchor's day where they have it."""
    count = integer(recurring, "interval_count") or 1
    interval = string(recurring, "interval")
    if interval in {"day", "week"}:
        return start + count * (billing.DAY if interval == "day" else 7 * billing.DAY)
    months = count if interval == "month" else 12 * count
    moment = time.gmtime(start)
    year, month = divmod(moment.tm_year * 12 + moment.tm_mon - 1 + months, 12)
    day = min(time.gmtime(anchor).tm_mday, calendar.monthrange(year, month + 1)[1])
    return calendar.timegm((year, month + 1, day, moment.tm_hour, moment.tm_min, moment.tm_sec))


def change_items(context: Context, record: Record) -> None:
    """Add, change and remove items; what was paid for the rest of the period is credited."""
    chosen = items_of(record)
    prorated = context.params.get("proration_behavior") != "none" and record.body["status"] != "trialing"
    start, finish = integer(chosen[0], "current_period_start"), integer(chosen[0], "current_period_end")
    for position, given in enumerate(items(context.params, "items")):
        path = f"items[{position}]"
        identifier = text(given, "id")
        item = next((each for each in chosen if each["id"] == identifier), None)
        if identifier is not None and item is None:
            raise invalid(f"No such subscription item: '{identifier}'", f"{path}[id]", "resource_missing")
        if item is not None and prorated:
            prorate(context, record, item, -1)
        if item is not None and flag(given, "deleted"):
            chosen.remove(item)
            continue
        if item is None:
            item = new_item(context, record.id, given, path)
            item.update(current_period_start=start, current_period_end=finish)
            chosen.append(item)
        else:
            _change_item(context, item, given, path)
        if prorated:
            prorate(context, record, item, 1)
    if not chosen:
        raise invalid("A subscription must have at least one active item.", "items")
    check_alike(chosen)
    record.body["items"] = item_list(context, record.id, chosen)


def refuse(given: JsonObject, path: str) -> None:
    """What the sandbox can't carry out for an item is said, not ignored."""
    for name in ("billing_thresholds", "current_trial", "discounts", "tax_rates"):
        if given.get(name) not in (None, "", []):
            raise not_done(f"carry out `{name}` of a subscription item", f"{path}[{name}]")


def _change_item(context: Context, item: JsonObject, given: JsonObject, path: str) -> None:
    refuse(given, path)
    if text(given, "price") or text(given, "plan") or "price_data" in given:
        old = child(child(item, "price"), "recurring")
        price = _price(context, given, path)
        new = child(price, "recurring")
        if (old["interval"], old["interval_count"]) != (new["interval"], new["interval_count"]):
            raise not_done("change the billing interval of a running subscription", f"{path}[price]")
        item.update(price=price, plan=plan_of(price))
    if "quantity" in given:
        item["quantity"] = integer(given, "quantity")
    merge_metadata(item, given)


def prorate(context: Context, record: Record, item: JsonObject, sign: int) -> None:
    """A pending invoice item for the rest of the period: a credit (-1) or a debit (1)."""
    start, finish = integer(item, "current_period_start"), integer(item, "current_period_end")
    left = max(finish - max(context.now, start), 0)
    price = child(item, "price")
    amount = (cost(price, quantity_of(item)) * left * 2 + (finish - start)) // (2 * max(finish - start, 1)) * sign
    if amount == 0:
        return
    what = "Unused time on" if sign < 0 else "Remaining time on"
    body: JsonObject = {
        "id": context.new_id("ii"),
        "object": "invoiceitem",
        "amount": amount,
        "currency": price["currency"],
        "customer": record.body["customer"],
        "customer_account": None,
        "date": context.now,
        "description": f"{what} {quantity_of(item)} × {text(price, 'nickname') or price['product']}",
        "discountable": False,
        "discounts": [],
        "invoice": None,
        "livemode": context.livemode,
        "metadata": {},
        "net_amount": amount,
        "parent": {
            "subscription_details": {"subscription": record.id, "subscription_item": item["id"]},
            "type": "subscription_details",
        },
        "period": {"end": finish, "start": context.now},
        "pricing": billing.pricing(price, amount, quantity_of(item)),
        "proration": True,
        "proration_details": {"discount_amounts": []},
        "quantity": quantity_of(item),
        "quantity_decimal": str(quantity_of(item)),
        "tax_rates": [],
        "test_clock": context.clock,
    }
    context.insert(body, "invoiceitem.created", {"price": price})

"""Subscriptions: from the first invoice through renewals to the end."""

from spojit_stripe.sandbox import billing, discounts, instruments
from spojit_stripe.sandbox.context import Answer, Context, assign, merge_metadata
from spojit_stripe.sandbox.errors import StripeError, bad_parameter, invalid
from spojit_stripe.sandbox.listing import list_objects, range_filter, search_objects
from spojit_stripe.sandbox.resources.subscription_life import ENDED, end, first_invoice, make_invoice
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.search import FIELDS
from spojit_stripe.sandbox.store import Filter, Record
from spojit_stripe.sandbox.subscription_items import (
    change_items,
    check_alike,
    item_list,
    items_of,
    new_item,
    period_end,
    prorate,
    set_period,
)
from spojit_stripe.sandbox.values import JsonObject, child, flag, integer, items, number, string, strings, text

_NOT_DONE = (
    "add_invoice_items",
    "application_fee_percent",
    "automatic_tax",
    "backdate_start_date",
    "billing_cycle_anchor",
    "billing_cycle_anchor_config",
    "billing_schedules",
    "billing_thresholds",
    "default_tax_rates",
    "pending_invoice_item_interval",
    "proration_date",
    "transfer_data",
    "trial_settings",
)


@answers("POST", "/v1/subscriptions", without=_NOT_DONE)
def create(context: Context) -> Answer:
    """A subscription, its first invoice, and the attempt to collect it."""
    params = context.params
    customer = context.live("customer", context.need("customer"), "customer")
    identifier = context.new_id("sub")
    trial_end = _trial_end(context)
    chosen = [
        new_item(context, identifier, given, f"items[{position}]")
        for position, given in enumerate(items(params, "items"))
    ]
    if not chosen:
        raise bad_parameter("Missing required param: items.", "items", "parameter_missing")
    check_alike(chosen)
    set_period(chosen, context.now, trial_end)
    record = Record(_body(context, identifier, customer.id, chosen, trial_end))
    _assign(context, record)
    _discount(context, record)
    context.insert(record.body)
    found = context.live("subscription", identifier)
    context.event("customer.subscription.created", found.body)
    first_invoice(context, found, customer)
    customer = context.live("customer", customer.id, "customer")
    customer.body["currency"] = customer.body["currency"] or found.body["currency"]
    context.save(customer)
    context.later(period_end(found), "renew_subscription", identifier)
    return found.body


def _body(
    context: Context, identifier: str, customer: str, chosen: list[JsonObject], trial_end: int | None
) -> JsonObject:
    return {
        "id": identifier,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": trial_end or context.now,
        "billing_cycle_anchor_config": None,
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": context.now,
        "currency": string(child(chosen[0], "price"), "currency"),
        "customer": customer,
        "customer_account": None,
        "days_until_due": None,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": item_list(context, identifier, chosen),
        "latest_invoice": None,
        "livemode": context.livemode,
        "metadata": {},
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": context.now,
        "status": "incomplete" if trial_end is None else "trialing",
        "status_details": None,
        "test_clock": context.clock,
        "transfer_data": None,
        "trial_end": trial_end,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None if trial_end is None else context.now,
    }


@answers("GET", "/v1/subscriptions/{subscription_exposed_id}")
def retrieve(context: Context) -> Answer:
    """A subscription."""
    return _get(context).body


@answers("POST", "/v1/subscriptions/{subscription_exposed_id}", without=_NOT_DONE)
def update(context: Context) -> Answer:
    """Change a subscription; changed items are prorated unless asked otherwise."""
    record = _get(context)
    body, params = record.body, context.params
    if body["status"] in ENDED:
        only = set(params) - {"metadata", "cancellation_details", "expand"}
        if only:
            raise invalid(
                "A canceled subscription can only update its cancellation_details and metadata.", sorted(only)[0]
            )
    _assign(context, record)
    _discount(context, record)
    if "items" in params:
        change_items(context, record)
    if "trial_end" in params:
        _change_trial(context, record)
    context.save(record, "customer.subscription.updated")
    if params.get("proration_behavior") == "always_invoice" and "items" in params:
        make_invoice(context, record, "subscription_update", with_items=False)
    return record.body


@answers("DELETE", "/v1/subscriptions/{subscription_exposed_id}")
def cancel(context: Context) -> Answer:
    """End a subscription now."""
    record = _get(context)
    if record.body["status"] in ENDED:
        raise StripeError(404, f"No such subscription: '{record.id}'", code="resource_missing", param="id")
    params = context.params
    if flag(params, "prorate"):
        for item in items_of(record):
            prorate(context, record, item, -1)
    details = dict(child(record.body, "cancellation_details"))
    assign(details, child(params, "cancellation_details"), "comment", "feedback")
    end(context, record, {**details, "reason": "cancellation_requested"})
    if flag(params, "invoice_now"):
        make_invoice(context, record, "subscription_update", with_items=False)
    return record.body


@answers("GET", "/v1/subscriptions")
def list_subscriptions(context: Context) -> Answer:
    """Subscriptions, newest first; without a status, canceled ones are left out."""
    params = context.params
    filters: list[Filter] = []
    status = text(params, "status")
    if status is None:
        filters.append(Filter("status != 'canceled'"))
    elif status == "ended":
        filters.append(Filter("status IN ('canceled', 'incomplete_expired')"))
    elif status != "all":
        filters.append(Filter("status = ?", (status,)))
    for name in ("price", "plan"):
        wanted = text(params, name)
        if wanted is not None:
            filters.append(_any_item(f"json_extract(value, '$.{name}.id') = ?", (wanted,)))
    for name in ("current_period_start", "current_period_end"):
        for each in range_filter(params.get(name), f"json_extract(value, '$.{name}')"):
            filters.append(_any_item(each.sql, each.values))
    if flag(child(params, "automatic_tax"), "enabled"):
        filters.append(Filter("0"))
    columns = {"collection_method": "collection_method", "customer": "customer"}
    return list_objects(context, "subscription", columns, filters=filters)


def _any_item(sql: str, values: tuple[str | int | float | bytes | None, ...]) -> Filter:
    found = "EXISTS (SELECT 1 FROM json_each(CAST(body AS TEXT), '$.items.data') WHERE "
    return Filter(f"{found}{sql})", values)


@answers("GET", "/v1/subscriptions/search")
def search(context: Context) -> Answer:
    """Search subscriptions."""
    return search_objects(context, "subscription", FIELDS["subscription"])


def _discount(context: Context, record: Record) -> None:
    """Set the discounts that were sent; those left out end."""
    body = record.body
    current = strings(body, "discounts")
    chosen = discounts.given(
        context, current, string(body, "currency"), string(body, "customer"), subscription=record.id
    )
    if chosen is None:
        return
    for gone in set(current) - {str(each) for each in chosen}:
        discounts.end(context, context.get("discount", gone, "discount"))
    body["discounts"] = chosen


# Items


def _get(context: Context) -> Record:
    return context.live("subscription", context.ids["subscription_exposed_id"])


# Parameters


def _trial_end(context: Context) -> int | None:
    params = context.params
    days = number(params, "trial_period_days")
    if days is not None and "trial_end" in params:
        raise bad_parameter("You may only specify one of: trial_end, trial_period_days.", "trial_end")
    if days:
        return context.now + days * billing.DAY
    moment = params.get("trial_end")
    if isinstance(moment, int):
        if moment <= context.now:
            raise bad_parameter("Invalid timestamp: must be in the future.", "trial_end")
        return moment
    return None


def _change_trial(context: Context, record: Record) -> None:
    """End a trial now, or move its end."""
    moment = context.params.get("trial_end")
    finish = context.now if moment == "now" else moment
    if not isinstance(finish, int) or finish < context.now:
        raise bad_parameter("Invalid timestamp: must be in the future.", "trial_end")
    chosen = items_of(record)
    for item in chosen:
        item["current_period_end"] = finish
    record.body["items"] = item_list(context, record.id, chosen)
    record.body.update(trial_end=finish, billing_cycle_anchor=finish)
    if finish > context.now:
        record.body["status"] = "trialing"
    context.later(finish, "renew_subscription", record.id)


def _assign(context: Context, record: Record) -> None:
    body, params = record.body, context.params
    assign(body, params, "description", "days_until_due", "on_behalf_of")
    merge_metadata(body, params)
    if "cancel_at_period_end" in params:
        stops = flag(params, "cancel_at_period_end")
        details = dict(child(body, "cancellation_details"))
        details["reason"] = "cancellation_requested" if stops else None
        body.update(cancel_at_period_end=stops, canceled_at=context.now if stops else None)
        body["cancel_at"] = min(integer(item, "current_period_end") for item in items_of(record)) if stops else None
        body["cancellation_details"] = details
    if isinstance(params.get("cancel_at"), int):
        body.update(cancel_at=params["cancel_at"], canceled_at=context.now)
        context.later(integer(params, "cancel_at"), "cancel_subscription", record.id)
    elif params.get("cancel_at") == "":
        body.update(cancel_at=None, canceled_at=None)
    if text(params, "collection_method"):
        body["collection_method"] = params["collection_method"]
    if body["collection_method"] == "send_invoice" and number(body, "days_until_due") is None:
        raise bad_parameter(
            "If `collection_method` is set to `send_invoice`, you must also set `days_until_due`.",
            "days_until_due",
            "parameter_missing",
        )
    if "pause_collection" in params:
        given = child(params, "pause_collection")
        paused: JsonObject = {"behavior": given.get("behavior"), "resumes_at": given.get("resumes_at")}
        body["pause_collection"] = paused if given else None
        until = number(given, "resumes_at")
        if until is not None:
            context.later(until, "resume_collection", record.id)
    default = text(params, "default_payment_method")
    if default is not None:
        body["default_payment_method"] = instruments.payment_method(context, default, "default_payment_method").id
    if text(params, "default_source"):
        body["default_source"] = params["default_source"]

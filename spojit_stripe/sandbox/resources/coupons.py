"""Coupons, promotion codes, and the discounts that they leave on customers and subscriptions."""

from spojit_stripe.sandbox import currencies, discounts
from spojit_stripe.sandbox.context import Answer, Context, assign, merge_metadata
from spojit_stripe.sandbox.errors import bad_parameter, invalid, no_such
from spojit_stripe.sandbox.ids import derive
from spojit_stripe.sandbox.listing import list_objects
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.store import Filter, Record
from spojit_stripe.sandbox.validate import check_range
from spojit_stripe.sandbox.values import JsonObject, JsonValue, child, flag, integer, number, strings, text


@answers("POST", "/v1/coupons", without=("currency_options",))
def create(context: Context) -> Answer:
    """A new coupon; its id may be chosen."""
    params = context.params
    identifier = text(params, "id") or derive(f"coupon/{context.store.next_ordinal()}", 8)
    if context.store.exists(context.scope, identifier):
        raise invalid("Coupon already exists.", "id", "resource_already_exists")
    body: JsonObject = {
        "id": identifier,
        "object": "coupon",
        "amount_off": None,
        "created": context.now,
        "currency": None,
        "duration": text(params, "duration") or "once",
        "duration_in_months": None,
        "livemode": context.livemode,
        "max_redemptions": params.get("max_redemptions"),
        "metadata": {},
        "name": text(params, "name"),
        "percent_off": None,
        "redeem_by": params.get("redeem_by"),
        "times_redeemed": 0,
        "valid": True,
    }
    body.update(_off(context))
    body["duration_in_months"] = _months(context)
    if "max_redemptions" in params:
        check_range(integer(params, "max_redemptions"), "max_redemptions", 1)
    until = number(params, "redeem_by")
    if until is not None and until <= context.now:
        raise bad_parameter("Invalid timestamp: `redeem_by` must be in the future.", "redeem_by")
    for product in strings(child(params, "applies_to"), "products"):
        context.live("product", product, "applies_to[products]")
    merge_metadata(body, params)
    limited: JsonObject = {"applies_to": params["applies_to"]} if "applies_to" in params else {}
    record = context.insert(body, "coupon.created", limited)
    if until is not None:
        context.later(until, "expire_coupon", record.id)
    return body


def _off(context: Context) -> JsonObject:
    params = context.params
    percent = params.get("percent_off")
    if ("amount_off" in params) == (percent is not None):
        raise bad_parameter(
            "Must pass exactly one of `percent_off` and `amount_off`.", "percent_off", "parameter_missing"
        )
    if isinstance(percent, (int, float)):
        if not 0 < percent <= 100:
            raise bad_parameter(
                f"Invalid percent_off: must be greater than 0 and less than or equal to 100 (it is {percent}).",
                "percent_off",
            )
        return {"percent_off": float(percent)}
    check_range(integer(params, "amount_off"), "amount_off", 1)
    if text(params, "currency") is None:
        raise bad_parameter("You must pass `currency` when passing `amount_off`.", "currency", "parameter_missing")
    return {"amount_off": params["amount_off"], "currency": currencies.check(context.need("currency"))}


def _months(context: Context) -> int | None:
    repeating = context.params.get("duration") == "repeating"
    months = number(context.params, "duration_in_months")
    if repeating and months is None:
        raise bad_parameter(
            "You must pass `duration_in_months` when the duration is `repeating`.",
            "duration_in_months",
            "parameter_missing",
        )
    if months is not None and not repeating:
        raise bad_parameter("You can only pass `duration_in_months` for repeating coupons.", "duration_in_months")
    if months is not None:
        check_range(months, "duration_in_months", 1)
    return months


@answers("GET", "/v1/coupons/{coupon}")
def retrieve(context: Context) -> Answer:
    """A coupon."""
    return _get(context).body


@answers("POST", "/v1/coupons/{coupon}", without=("currency_options",))
def update(context: Context) -> Answer:
    """Change a coupon's name or metadata: what it takes off is fixed."""
    record = _get(context)
    assign(record.body, context.params, "name")
    merge_metadata(record.body, context.params)
    context.save(record, "coupon.updated")
    return record.body


@answers("DELETE", "/v1/coupons/{coupon}")
def delete(context: Context) -> Answer:
    """Delete a coupon: nobody redeems it any more, discounts that exist stay."""
    return context.remove(_get(context), "coupon.deleted")


@answers("GET", "/v1/coupons")
def list_coupons(context: Context) -> Answer:
    """Coupons, newest first."""
    return list_objects(context, "coupon")


def applies_to(context: Context, body: JsonObject) -> JsonValue:
    """The products that a coupon is limited to, when they are expanded."""
    record = context.find("coupon", text(body, "id"))
    return record.private.get("applies_to") if record is not None else None


def _get(context: Context) -> Record:
    return context.live("coupon", context.ids["coupon"], "coupon")


# Promotion codes


@answers("POST", "/v1/promotion_codes", without=("customer_account",))
def create_code(context: Context) -> Answer:
    """A code that customers redeem a coupon by."""
    params = context.params
    identifier = text(child(params, "promotion"), "coupon")
    if identifier is None:
        raise bad_parameter("Missing required param: promotion[coupon].", "promotion[coupon]", "parameter_missing")
    coupon = context.live("coupon", identifier, "promotion[coupon]")
    if not flag(coupon.body, "valid"):
        raise invalid(f"Coupon expired: {coupon.id}", "promotion[coupon]", "coupon_expired")
    code = text(params, "code") or derive(f"code/{context.store.next_ordinal()}", 8).upper()
    if any(code.lower() == str(each.body["code"]).lower() and each.body["active"] for each in _codes(context)):
        raise invalid(f"An active promotion code with `code: {code}` already exists.", "code")
    owner = text(params, "customer")
    restrictions = child(params, "restrictions")
    if "currency_options" in restrictions or flag(restrictions, "first_time_transaction"):
        raise bad_parameter("This sandbox knows no restrictions but a minimum amount.", "restrictions")
    body: JsonObject = {
        "id": context.new_id("promo"),
        "object": "promotion_code",
        "active": params.get("active") is not False,
        "code": code,
        "created": context.now,
        "customer": context.live("customer", owner, "customer").id if owner is not None else None,
        "customer_account": None,
        "expires_at": params.get("expires_at"),
        "livemode": context.livemode,
        "max_redemptions": params.get("max_redemptions"),
        "metadata": {},
        "promotion": {"coupon": coupon.id, "type": "coupon"},
        "restrictions": {
            "first_time_transaction": False,
            "minimum_amount": restrictions.get("minimum_amount"),
            "minimum_amount_currency": restrictions.get("minimum_amount_currency"),
        },
        "times_redeemed": 0,
    }
    merge_metadata(body, params)
    until = number(params, "expires_at")
    if until is not None and until <= context.now:
        raise bad_parameter("Invalid timestamp: `expires_at` must be in the future.", "expires_at")
    record = context.insert(body, "promotion_code.created")
    if until is not None:
        context.later(until, "expire_promotion_code", record.id)
    return body


def _codes(context: Context) -> list[Record]:
    return context.records("promotion_code")


@answers("GET", "/v1/promotion_codes/{promotion_code}")
def retrieve_code(context: Context) -> Answer:
    """A promotion code."""
    return _code(context).body


@answers("POST", "/v1/promotion_codes/{promotion_code}", without=("restrictions",))
def update_code(context: Context) -> Answer:
    """Switch a promotion code on or off, or change its metadata."""
    record = _code(context)
    if "active" in context.params:
        record.body["active"] = flag(context.params, "active")
    merge_metadata(record.body, context.params)
    context.save(record, "promotion_code.updated")
    return record.body


@answers("GET", "/v1/promotion_codes")
def list_codes(context: Context) -> Answer:
    """Promotion codes, newest first."""
    filters: list[Filter] = []
    for name, where in (("code", "$.code"), ("coupon", "$.promotion.coupon")):
        wanted = text(context.params, name)
        if wanted is not None:
            filters.append(Filter(f"json_extract(CAST(body AS TEXT), '{where}') = ? COLLATE NOCASE", (wanted,)))
    return list_objects(context, "promotion_code", {"active": "active", "customer": "customer"}, filters=filters)


def _code(context: Context) -> Record:
    return context.live("promotion_code", context.ids["promotion_code"], "promotion_code")


# Discounts


@answers("DELETE", "/v1/customers/{customer}/discount")
def delete_of_customer(context: Context) -> Answer:
    """Take a customer's discount away."""
    record = context.live("customer", context.ids["customer"], "customer")
    identifier = text(child(record.body, "discount"), "id")
    if identifier is None:
        raise no_such("discount", record.id, "customer", status=404)
    record.body["discount"] = None
    context.save(record, "customer.updated")
    return discounts.end(context, context.get("discount", identifier))


@answers("DELETE", "/v1/subscriptions/{subscription_exposed_id}/discount")
def delete_of_subscription(context: Context) -> Answer:
    """Take a subscription's discounts away; the answer shows the last one."""
    record = context.live("subscription", context.ids["subscription_exposed_id"])
    found = strings(record.body, "discounts")
    if not found:
        raise no_such("discount", record.id, "id", status=404)
    record.body["discounts"] = []
    context.save(record, "customer.subscription.updated")
    return [discounts.end(context, context.get("discount", each)) for each in found][-1]


def give(context: Context, customer: str, coupon: str) -> JsonObject:
    """A customer gets a discount: Stripe's API of this version offers no call for it, its Dashboard does."""
    record = context.live("customer", customer, "customer")
    granted = discounts.grant(
        context, context.live("coupon", coupon, "coupon"), text(record.body, "currency"), {"customer": customer}
    )
    record.body["discount"] = granted.body
    context.save(record, "customer.updated")
    return granted.body

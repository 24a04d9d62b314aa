"""Prices as objects, and what a quantity of one costs."""

from decimal import Decimal

from spojit_stripe.sandbox import currencies
from spojit_stripe.sandbox.context import Context, merge_metadata
from spojit_stripe.sandbox.errors import bad_parameter, missing_parameter
from spojit_stripe.sandbox.values import JsonObject, JsonValue, child, flag, integer, items, string, text


def price_body(context: Context, data: JsonObject, product: str) -> JsonObject:
    """A price from its parameters: of a price, or of `price_data`."""
    currency = currencies.check(string(data, "currency"))
    amount, exact = _unit_amount(data)
    tiers = items(data, "tiers")
    if amount is None and exact is None and not tiers and "custom_unit_amount" not in data:
        raise missing_parameter("unit_amount")
    recurring = child(data, "recurring")
    body: JsonObject = {
        "id": context.new_id("price"),
        "object": "price",
        "active": data.get("active") is not False,
        "billing_scheme": text(data, "billing_scheme") or "per_unit",
        "created": context.now,
        "currency": currency,
        "custom_unit_amount": _custom(child(data, "custom_unit_amount")),
        "livemode": context.livemode,
        "lookup_key": text(data, "lookup_key"),
        "metadata": {},
        "nickname": text(data, "nickname"),
        "product": product,
        "recurring": _recurring(recurring) if recurring else None,
        "tax_behavior": text(data, "tax_behavior") or "unspecified",
        "tiers_mode": text(data, "tiers_mode"),
        "transform_quantity": data.get("transform_quantity"),
        "type": "recurring" if recurring else "one_time",
        "unit_amount": amount,
        "unit_amount_decimal": exact,
    }
    merge_metadata(body, data)
    return body


def _unit_amount(data: JsonObject) -> tuple[int | None, str | None]:
    if "unit_amount" in data:
        amount = integer(data, "unit_amount")
        if amount < 0:
            raise bad_parameter(
                f"This value must be greater than or equal to 0 (it currently is '{amount}').",
                "unit_amount",
                "parameter_invalid_integer",
            )
        return amount, str(amount)
    exact = text(data, "unit_amount_decimal")
    if exact is None:
        return None, None
    value = Decimal(exact)
    return (int(value) if value == value.to_integral_value() else None), exact


def _custom(data: JsonObject) -> JsonValue:
    if not flag(data, "enabled"):
        return None
    return {name: data.get(name) for name in ("maximum", "minimum", "preset")}


def _recurring(data: JsonObject) -> JsonObject:
    return {
        "interval": data["interval"],
        "interval_count": integer(data, "interval_count") or 1,
        "meter": data.get("meter"),
        "trial_period_days": data.get("trial_period_days"),
        "usage_type": data.get("usage_type") or "licensed",
    }


def plan_of(price: JsonObject) -> JsonObject:
    """The older `plan` that subscription items still carry beside their price."""
    recurring = child(price, "recurring")
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring.get("interval") or "month",
        "interval_count": integer(recurring, "interval_count") or 1,
        "livemode": price["livemode"],
        "metadata": price["metadata"],
        "meter": recurring.get("meter"),
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": price["transform_quantity"],
        "trial_period_days": recurring.get("trial_period_days"),
        "usage_type": recurring.get("usage_type") or "licensed",
    }


def cost(price: JsonObject, quantity: int) -> int:
    """What `quantity` of a price costs, rounded half up to a whole minor unit."""
    exact = text(price, "unit_amount_decimal") or "0"
    total = Decimal(exact) * quantity
    return int((total + Decimal("0.5")).to_integral_value(rounding="ROUND_FLOOR"))

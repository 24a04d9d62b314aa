"""Coupons at work: who gets which discount, and what it takes off an invoice.

All arithmetic is exact. A percentage of what may be discounted is rounded half up to a
whole minor unit, once for the invoice; the lines' shares are whole units that add up to it.
"""

import time
from calendar import monthrange, timegm
from collections.abc import Sequence
from fractions import Fraction

from spojit_stripe.sandbox.context import Context
from spojit_stripe.sandbox.errors import bad_parameter, invalid
from spojit_stripe.sandbox.store import Record
from spojit_stripe.sandbox.values import JsonObject, JsonValue, child, integer, items, number, string, strings, text


def given(
    context: Context, current: Sequence[str], currency: str, customer: str, **owner: str
) -> list[JsonValue] | None:
    """The discounts that the parameter `discounts` sets; None when it was not sent."""
    if "discounts" not in context.params:
        return None
    kept: list[JsonValue] = []
    for position, entry in enumerate(items(context.params, "discounts")):
        path = f"discounts[{position}]"
        identifier = text(entry, "discount")
        if identifier is None:
            kept.append(_redeem(context, entry, path, currency, customer, owner).id)
        elif identifier in current or context.find("discount", identifier) is not None:
            kept.append(identifier)
        else:
            raise context.missing("discount", identifier, f"{path}[discount]")
    return kept


def _redeem(
    context: Context, entry: JsonObject, path: str, currency: str, customer: str, owner: dict[str, str]
) -> Record:
    code = text(entry, "promotion_code")
    if code is not None:
        promotion = context.live("promotion_code", code, f"{path}[promotion_code]")
        _check_promotion(promotion, customer, f"{path}[promotion_code]")
        coupon = context.live("coupon", string(child(promotion.body, "promotion"), "coupon"), path)
        promotion.body["times_redeemed"] = integer(promotion.body, "times_redeemed") + 1
        refresh_promotion(context, promotion)
    elif text(entry, "coupon") is not None:
        coupon = context.live("coupon", string(entry, "coupon"), f"{path}[coupon]")
    else:
        raise bad_parameter(
            f"You must pass one of `coupon`, `discount` or `promotion_code` in `{path}`.", path, "parameter_missing"
        )
    return grant(context, coupon, currency, {"customer": customer, **owner}, promotion_code=code)


def _check_promotion(promotion: Record, customer: str, param: str) -> None:
    body = promotion.body
    if body["active"] is not True:
        raise invalid("This promotion code is inactive and cannot be redeemed.", param)
    if text(body, "customer") not in (None, customer):
        raise invalid("This promotion code cannot be redeemed by this customer.", param)


def grant(
    context: Context, coupon: Record, currency: str | None, owner: dict[str, str], *, promotion_code: str | None = None
) -> Record:
    """Redeem a coupon: a discount for an invoice, a subscription or a customer."""
    body = coupon.body
    if body["valid"] is not True:
        raise invalid(f"Coupon expired: {coupon.id}", "coupon", "coupon_expired")
    if number(body, "amount_off") is not None and currency is not None and body["currency"] != currency:
        raise invalid(
            f"The coupon {coupon.id} is in {body['currency']} and can't be used where amounts are in {currency}.",
            "coupon",
        )
    body["times_redeemed"] = integer(body, "times_redeemed") + 1
    refresh_coupon(context, coupon)
    months = number(body, "duration_in_months")
    discount: JsonObject = {
        "id": context.new_id("di"),
        "object": "discount",
        "checkout_session": None,
        "customer": None,
        "customer_account": None,
        "end": months_later(context.now, months) if months else None,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": promotion_code,
        "source": {"coupon": coupon.id, "type": "coupon"},
        "start": context.now,
        "subscription": None,
        "subscription_item": None,
    }
    discount.update(owner)
    return context.insert(discount, "customer.discount.created", {"coupon": {**body, **coupon.private}})


def months_later(start: int, months: int) -> int:
    """The same day and time so many months later, or the month's last day."""
    moment = time.gmtime(start)
    year, month = divmod(moment.tm_year * 12 + moment.tm_mon - 1 + months, 12)
    day = min(moment.tm_mday, monthrange(year, month + 1)[1])
    return timegm((year, month + 1, day, moment.tm_hour, moment.tm_min, moment.tm_sec))


def refresh_coupon(context: Context, coupon: Record) -> None:
    """Whether a coupon may still be redeemed."""
    body = coupon.body
    most, until = number(body, "max_redemptions"), number(body, "redeem_by")
    used_up = most is not None and integer(body, "times_redeemed") >= most
    body["valid"] = not used_up and (until is None or until > context.now)
    context.save(coupon, "coupon.updated")


def refresh_promotion(context: Context, promotion: Record) -> None:
    """A code that is used up or too old is not active any more."""
    body = promotion.body
    most, until = number(body, "max_redemptions"), number(body, "expires_at")
    if (most is not None and integer(body, "times_redeemed") >= most) or (until is not None and until <= context.now):
        body["active"] = False
    context.save(promotion, "promotion_code.updated")


def end(context: Context, discount: Record) -> JsonObject:
    """A discount is taken away; the answer that says so."""
    shown: JsonObject = {**discount.body, "deleted": True}
    discount.private["ended"] = True
    discount.body["end"] = context.now
    context.save(discount)
    context.event("customer.discount.deleted", shown)
    return shown


def running(context: Context, identifiers: Sequence[str]) -> list[JsonValue]:
    """Those of some discounts that still apply."""
    found: list[JsonValue] = []
    for identifier in identifiers:
        discount = context.find("discount", identifier)
        if discount is None or discount.private.get("ended") is True:
            continue
        until = number(discount.body, "end")
        if until is None or until > context.now:
            found.append(identifier)
    return found


def used(context: Context, identifiers: Sequence[str]) -> list[JsonValue]:
    """What is left of a subscription's discounts after an invoice: those that apply once are gone."""
    left: list[JsonValue] = []
    for identifier in running(context, identifiers):
        discount = context.get("discount", str(identifier), "discount")
        if _coupon(discount)["duration"] == "once":
            end(context, discount)
        else:
            left.append(identifier)
    return left


def _coupon(discount: Record) -> JsonObject:
    return child(discount.private, "coupon")


# On an invoice


def apply(context: Context, body: JsonObject, lines: list[JsonObject]) -> None:
    """Take an invoice's discounts off its lines, one after another; fills totals and shares."""
    left = [integer(line, "amount") for line in lines]
    shares: list[list[JsonValue]] = [[] for _ in lines]
    totals: list[JsonValue] = []
    for identifier in strings(body, "discounts"):
        discount = context.get("discount", identifier, "discount")
        coupon = _coupon(discount)
        weights = [left[place] if _concerns(coupon, line) else 0 for place, line in enumerate(lines)]
        amount = amount_of(coupon, sum(weights))
        totals.append({"amount": amount, "discount": identifier})
        for place, share in enumerate(split(amount, weights)):
            if weights[place]:
                left[place] -= share
                shares[place].append({"amount": share, "discount": identifier})
    for line, mine in zip(lines, shares, strict=True):
        line["discount_amounts"] = mine
        line["pretax_credit_amounts"] = credits_of(mine)
    body["total_discount_amounts"] = totals
    body["total_pretax_credit_amounts"] = credits_of(totals)
    body["total"] = body["total_excluding_tax"] = sum(left)


def credits_of(shares: list[JsonValue]) -> list[JsonValue]:
    """The same amounts as `pretax_credit_amounts` show them."""
    return [
        {"amount": each["amount"], "credit_balance_transaction": None, "discount": each["discount"], "type": "discount"}
        for each in shares
        if isinstance(each, dict)
    ]


def _concerns(coupon: JsonObject, line: JsonObject) -> bool:
    """Whether a coupon lowers a line: it may be discounted, is no credit, and is of the right product."""
    if line.get("discountable") is not True or integer(line, "amount") <= 0:
        return False
    wanted = strings(child(coupon, "applies_to"), "products")
    return not wanted or text(child(child(line, "pricing"), "price_details"), "product") in wanted


def amount_of(coupon: JsonObject, base: int) -> int:
    """What a coupon takes off an amount, never more than all of it."""
    fixed = number(coupon, "amount_off")
    if fixed is not None:
        return min(fixed, base)
    exact = Fraction(str(coupon["percent_off"])) * base / 100
    return min(int(exact + Fraction(1, 2)), base)


def split(amount: int, weights: Sequence[int]) -> list[int]:
    """Share an amount in proportion to weights, in whole units that add up to it: the largest rests first."""
    whole = sum(weights)
    if not whole:
        return [0 for _ in weights]
    shares = [amount * weight // whole for weight in weights]
    rests = sorted(range(len(weights)), key=lambda place: (-(amount * weights[place] % whole), place))
    for place in rests[: amount - sum(shares)]:
        shares[place] += 1
    return shares

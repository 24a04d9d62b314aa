"""What a call would move: amount, currency, and the object that the money belongs to.

Where the amounts stand is data (`effects.AMOUNTS`); here they are found, by a read where the
call does not say them, and an amount that was left out is written into the call.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from spojit_stripe.connector import BoundCall, Read
from spojit_stripe.errors import InputError
from spojit_stripe.money import format_amount
from spojit_stripe.values import Amount, Assessment, Effect, JsonObject, JsonValue, Request
from spojit_stripe.wire.effects import AMOUNTS, AmountKind, AmountRule, Lookup
from spojit_stripe.wire.operations import Operation
from spojit_stripe.wire.paths import fill

__all__ = ["assess"]

_INTENT: Final = "/v1/payment_intents/{intent}"
_IN_BRACES = re.compile(r"\{(\w+)\}")
# Whom or what the money of a call belongs to, where no object of it exists yet.
_TARGETS: Final = ("customer", "customer_account", "destination", "invoice", "subscription", "to", "source")


async def assess(bound: BoundCall, operation: Operation | None, read: Read) -> Assessment:
    """The judgement of a call; reads only for a money call that does not say all itself.

    Raises what `read` raises, and `InputError` where nothing is left to refund or capture.
    """
    call = _Call(bound, operation, read)
    rule = AMOUNTS.get(bound.operation) if bound.effect is Effect.MONEY else None
    if rule is None:
        # What nobody reviewed may move what it says; a write or control call moves nothing.
        return call.judged(call.amount(AmountRule(AmountKind.PARAMS)) if bound.effect is None else None)
    if rule.lookup is None:
        return call.judged(call.amount(rule))
    return await call.looked_up(rule, rule.lookup)


class _Call:
    """One call while it is assessed."""

    def __init__(self, bound: BoundCall, operation: Operation | None, read: Read) -> None:
        self._bound = bound
        self._read = read
        self._params = dict(bound.request.params)
        in_path = operation.path_values(bound.request.path) if operation else {}
        self._path_values = {name: unquote(value) for name, value in in_path.items()}
        self._target = self._own_target()

    def judged(self, amount: Amount | None) -> Assessment:
        money = self._bound.effect is Effect.MONEY or self._bound.effect is None
        return Assessment(
            effect=self._bound.effect,
            operation=self._bound.operation,
            params=self._params,
            amount=amount,
            target=self._target if money else None,
        )

    def amount(self, rule: AmountRule) -> Amount | None:
        """The amount that the parameters say. A negative one, a credit say, moves as much."""
        amount, currency = self._number(rule.amount), self._currency(rule.currency)
        return None if amount is None or currency is None else Amount(amount=abs(amount), currency=currency)

    async def looked_up(self, rule: AmountRule, lookup: Lookup) -> Assessment:
        """The amount, with what the parameters leave open taken from the object."""
        given, currency = self._number(rule.amount), self._currency(rule.currency)
        found = None
        # A refund is in its charge's currency, whatever a parameter says.
        if given is None or currency is None or rule.kind is AmountKind.REST_OF_CHARGE:
            found = await self._object(lookup)
        if found is not None:
            self._target = _owner(found) or self._target
            own = _lower(found.get(lookup.currency))
            currency = own or currency if rule.kind is AmountKind.REST_OF_CHARGE else currency or own
            if self._at(rule.amount) is None:
                given = self._rest(found, lookup, currency)
        if given is None or currency is None:
            return self.judged(None)
        return self.judged(Amount(amount=abs(given), currency=currency))

    def _rest(self, found: JsonObject, lookup: Lookup, currency: str | None) -> int | None:
        """What is left of `found`, written into the call where that takes it."""
        total = _whole(found.get(lookup.total)) if lookup.total else None
        if total is None:
            return None
        rest = total - (_whole(found.get(lookup.minus)) or 0 if lookup.minus else 0)
        if lookup.write_as is None:
            return rest
        if rest <= 0:
            whole = format_amount(total, currency) if currency else str(total)
            raise InputError(f"{found.get('id')}: nothing is left of its {whole} for {self._bound.operation}")
        self._params[lookup.write_as] = rest
        return rest

    async def _object(self, lookup: Lookup) -> JsonObject | None:
        """The object that the amount stands in, or None where the call does not name it."""
        values: dict[str, object] = {**self._params, **self._path_values}
        if "{charge}" in lookup.path and not values.get("charge"):
            values["charge"] = await self._charge_of_intent()
        if any(not isinstance(values.get(name), str) or not values[name] for name in _IN_BRACES.findall(lookup.path)):
            return None
        return await self._get(lookup.path, values)

    async def _charge_of_intent(self) -> str | None:
        """The latest charge of the payment intent that the call names."""
        intent = self._params.get("payment_intent")
        if not isinstance(intent, str) or not intent:
            return None
        self._target = intent
        return _id(await self._get(_INTENT, {"intent": intent}), "latest_charge")

    async def _get(self, template: str, values: dict[str, object]) -> JsonObject:
        request = self._bound.request
        return await self._read(
            Request(
                method="GET",
                path=fill(template, values),
                template=template,
                version=request.version,
                account=request.account,
                api_version=request.api_version,
            )
        )

    def _own_target(self) -> str | None:
        """What the call itself names: the object in its path, or the other side."""
        if self._path_values:
            return next(iter(self._path_values.values()))
        for name in ("charge", "payment_intent", *_TARGETS):
            value = self._params.get(name)
            if isinstance(value, str) and value:
                return value
        return None

    # Parameters

    def _at(self, place: str | None) -> JsonValue:
        value: JsonValue = self._params
        for name in place.split(".") if place else ():
            value = value.get(name) if isinstance(value, dict) else None
        return value if place else None

    def _number(self, place: str | None) -> int | None:
        return _whole(self._at(place))

    def _currency(self, place: str | None) -> str | None:
        return _lower(self._at(place))


def _owner(found: JsonObject) -> str | None:
    """The object that money of `found` belongs to: of a payment intent, its charge."""
    return (_id(found, "latest_charge") if found.get("object") == "payment_intent" else None) or _id(found, "id")


def _id(found: JsonObject, name: str) -> str | None:
    value = found.get(name)
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


def _whole(value: JsonValue) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _lower(value: JsonValue) -> str | None:
    return value.lower() if isinstance(value, str) and value else None

"""What parameters make of the table's worst effects, and the judgement of one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spojit_stripe.values import Effect, JsonValue, Params
from spojit_stripe.wire.effects.table import GROUPS, Group
from spojit_stripe.wire.operations import Operation

__all__ = ["HANDS_OUT", "QUIET", "RAISED", "Raised", "effect_of", "reason_of"]


@dataclass(frozen=True, slots=True)
class Raised:
    """A write becomes `effect` when any of `params` is given and not false."""

    effect: Effect
    reason: str
    params: tuple[str, ...]


_PAYS_BY_ITSELF = "the invoice collects itself"
_MAKES_LINK = "the file gets a public link"

RAISED: Final[Mapping[str, Raised]] = {
    "POST /v1/payment_intents": Raised(Effect.MONEY, "a confirmed intent pays at once", ("confirm",)),
    "POST /v1/payment_intents/{intent}": Raised(
        Effect.MONEY,
        "an intent may be on its way to being paid: this changes how much, by whom or for whom",
        (
            "amount",
            "amount_details",
            "application_fee_amount",
            "capture_method",
            "currency",
            "customer",
            "customer_account",
            "payment_method",
            "payment_method_data",
            "payment_method_options",
            "transfer_data",
        ),
    ),
    "POST /v1/invoices": Raised(Effect.MONEY, _PAYS_BY_ITSELF, ("auto_advance", "automatically_finalizes_at")),
    "POST /v1/invoices/{invoice}": Raised(
        Effect.MONEY, _PAYS_BY_ITSELF, ("auto_advance", "automatically_finalizes_at")
    ),
    "DELETE /v1/subscriptions/{subscription_exposed_id}": Raised(
        Effect.MONEY, "a final invoice or credit is made", ("invoice_now", "prorate")
    ),
    "POST /v1/customers": Raised(Effect.MONEY, "the opening balance changes coming invoices", ("balance",)),
    "POST /v1/customers/{customer}": Raised(
        Effect.MONEY,
        "the balance changes coming invoices, and a new way to pay retries open ones",
        ("balance", "cash_balance", "default_source", "source"),
    ),
    "POST /v1/files": Raised(Effect.CONTROL, _MAKES_LINK, ("file_link_data",)),
    "POST /v1/checkout/sessions/{session}": Raised(
        Effect.CONTROL, "the link asks for something else", ("line_items", "payment_intent_data")
    ),
}

_NOTES = frozenset(("expand", "metadata", "description"))
# Money operations that only write while they carry nothing but these parameters.
QUIET: Final[Mapping[str, frozenset[str]]] = {
    "POST /v1/subscriptions/{subscription_exposed_id}": _NOTES | {"cancel_at_period_end", "cancellation_details"},
    "POST /v1/invoiceitems/{invoiceitem}": _NOTES,
    "POST /v1/invoices/{invoice}/lines/{line_item_id}": _NOTES,
    "POST /v1/subscription_items/{item}": frozenset(("expand", "metadata")),
    "POST /v1/subscription_schedules/{schedule}": frozenset(("expand", "metadata")),
    "POST /v2/money_management/payout_intents/{id}": frozenset(("description", "metadata")),
}

# GETs that give away a secret: always, or when asked to by a list of fields.
HANDS_OUT: Final[Mapping[str, tuple[str, ...]]] = {
    "GET /v1/apps/secrets": (),
    "GET /v1/apps/secrets/find": (),
    "GET /v1/issuing/cards": ("number", "cvc"),
    "GET /v1/issuing/cards/{card}": ("number", "cvc"),
    "GET /v2/core/event_destinations": ("signing_secret",),
    "GET /v2/core/event_destinations/{id}": ("signing_secret",),
}

_BY_NAME: Final[Mapping[str, Group]] = {name: group for group in GROUPS for name in group.operations}


def effect_of(operation: Operation, params: Params) -> Effect | None:
    """The worst that `operation` can do with these final `params`; None: not reviewed, so ask."""
    return _judged(operation, params)[0]


def reason_of(operation: Operation, params: Params) -> str:
    """Why `effect_of` says so, as the end of a sentence."""
    return _judged(operation, params)[1]


def _judged(operation: Operation, params: Params) -> tuple[Effect | None, str]:
    name = operation.name
    if operation.method == "GET":
        return _read(name, params)
    group = _BY_NAME.get(name)
    if group is None:
        return None, "the table of effects does not list it"
    raised = RAISED.get(name)
    if raised and any(_is_set(params.get(param)) for param in raised.params):
        return raised.effect, raised.reason
    if name == "POST /v1/disputes/{dispute}" and params.get("submit") is False:
        return Effect.WRITE, "keeps evidence without sending it"
    if name in QUIET and params.keys() <= QUIET[name]:
        return Effect.WRITE, "changes nothing that is paid"
    return group.effect, group.reason


def _read(name: str, params: Params) -> tuple[Effect, str]:
    fields = HANDS_OUT.get(name)
    if fields is None:
        return Effect.READ, "reads"
    asked = f"{params.get('expand', '')} {params.get('include', '')}"
    if not fields or any(one in asked for one in fields):
        return Effect.CONTROL, "hands out a secret"
    return Effect.READ, "reads"


def _is_set(value: JsonValue) -> bool:
    # 0 counts: it resets a balance. Unchecked parameters may hold what a form makes of false.
    return value is not None and value is not False and value != "false"

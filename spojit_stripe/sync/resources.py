"""What can be synced: where it is read, which events tell of its changes, which columns it gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from spojit_stripe.catalog import Catalog
from spojit_stripe.errors import InputError
from spojit_stripe.values import JsonObject, JsonValue
from spojit_stripe.words import nearest

__all__ = ["LINKS", "RESERVED", "RESOURCES", "Column", "Kind", "Resource", "chosen", "columns_of"]

Kind: TypeAlias = Literal["text", "integer", "boolean", "json"]

LINKS: Final = "payout_transactions"
"""Which balance transactions a payout settled: what Stripe tells only payout by payout."""

RESERVED: Final = ("id", "created", "synced_at", "deleted_at", "digest", "object")
"""Columns of every table, beside those of its resource."""


@dataclass(frozen=True, slots=True)
class Column:
    """A typed column, filled from the field of the same name. An expandable field gives its id."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of object, and its table of the same name.

    `events` are the types of events, or groups of them, that tell of changes. `touched_by` names
    the field with our object's id in the objects of other kinds that these events carry. `settles`
    says that an object changes once without an event, when its money becomes available.
    """

    name: str
    kind: str
    path: str
    tool: str | None = None
    params: JsonObject = field(default_factory=dict[str, JsonValue])
    events: tuple[str, ...] = ()
    touched_by: Mapping[str, str] = field(default_factory=dict[str, str])
    more: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    settles: bool = False


def _columns(**kinds: Kind) -> tuple[Column, ...]:
    return tuple(Column(name, kind) for name, kind in kinds.items())


_OF_CUSTOMER: Final = {
    name: "customer" for name in ("bank_account", "card", "cash_balance", "discount", "source", "tax_id")
}

_ALL: Final = (
    Resource(
        name="charges",
        kind="charge",
        path="/v1/charges",
        tool="list-charges",
        events=("charge.*",),
        touched_by={"dispute": "charge", "refund": "charge"},
        more=("amount_captured", "paid", "captured", "balance_transaction", "failure_message"),
    ),
    Resource(
        name="customers",
        kind="customer",
        path="/v1/customers",
        tool="list-customers",
        # An invoice gets its number from the customer's count, and may set the customer's currency: no event says so.
        events=("customer.*", "invoice.created", "invoice.finalized"),
        touched_by={**_OF_CUSTOMER, "invoice": "customer", "subscription": "customer"},
    ),
    Resource(
        name="invoices",
        kind="invoice",
        path="/v1/invoices",
        tool="list-invoices",
        events=("invoice.*",),
    ),
    Resource(
        name="payment_intents",
        kind="payment_intent",
        path="/v1/payment_intents",
        tool="list-payment-intents",
        events=("payment_intent.*",),
    ),
    Resource(name="products", kind="product", path="/v1/products", tool="list-products", events=("product.*",)),
    Resource(
        name="subscriptions",
        kind="subscription",
        path="/v1/subscriptions",
        tool="list-subscriptions",
        params={"status": "all"},  # left out, Stripe hides the canceled ones
        events=("customer.subscription.*",),
    ),
    Resource(
        name="refunds",
        kind="refund",
        path="/v1/refunds",
        events=("refund.*", "charge.refund.updated"),
        columns=_columns(
            amount="integer",
            currency="text",
            status="text",
            charge="text",
            payment_intent="text",
            balance_transaction="text",
            failure_balance_transaction="text",
            failure_reason="text",
            reason="text",
        ),
    ),
    Resource(
        name="payouts",
        kind="payout",
        path="/v1/payouts",
        events=("payout.*",),
        columns=_columns(
            amount="integer",
            currency="text",
            status="text",
            arrival_date="integer",
            automatic="boolean",
            reconciliation_status="text",
            balance_transaction="text",
            failure_balance_transaction="text",
            failure_code="text",
            method="text",
            type="text",
            destination="text",
            description="text",
        ),
    ),
    Resource(
        name="balance_transactions",
        kind="balance_transaction",
        path="/v1/balance_transactions",
        settles=True,
        columns=_columns(
            amount="integer",
            fee="integer",
            net="integer",
            currency="text",
            type="text",
            reporting_category="text",
            status="text",
            available_on="integer",
            source="text",
            exchange_rate="json",
            description="text",
        ),
    ),
    Resource(
        name="disputes",
        kind="dispute",
        path="/v1/disputes",
        events=("charge.dispute.*",),
        columns=_columns(
            amount="integer",
            currency="text",
            status="text",
            reason="text",
            charge="text",
            payment_intent="text",
            is_charge_refundable="boolean",
        ),
    ),
    Resource(
        name=LINKS,
        kind=LINKS,
        path="/v1/balance_transactions",
        columns=_columns(payout="text", balance_transaction="text"),
    ),
)

RESOURCES: Final[Mapping[str, Resource]] = {resource.name: resource for resource in _ALL}


def chosen(names: Iterable[str]) -> list[Resource]:
    """The named resources, each once, in an order in which none needs a later one.

    Payouts together with balance transactions bring the links between the two. Raises
    `InputError` for a name that can't be synced.
    """
    wanted = {name.replace("-", "_") for name in names}
    if not wanted:
        raise InputError(f"which resources? Name one or more of: {', '.join(RESOURCES)}")
    for name in wanted:
        if name not in RESOURCES:
            raise InputError(
                f"{name!r} can't be synced (these can be: {', '.join(RESOURCES)}){nearest(name, RESOURCES)}"
            )
    if {"payouts", "balance_transactions"} <= wanted:
        wanted.add(LINKS)
    if LINKS in wanted:
        wanted.add("payouts")
    return [resource for resource in _ALL if resource.name in wanted]


def columns_of(resource: Resource, catalog: Catalog) -> tuple[Column, ...]:
    """The typed columns of a table, beside the reserved ones: the tool's lean ones, or our own."""
    if resource.tool is None:
        return resource.columns
    tool = catalog.tool(resource.tool)
    fields = _inside(tool.output_schema, "properties", "data", "items", "properties")
    names = dict.fromkeys((*tool.binding.lean, *resource.more))
    return tuple(Column(name, _kind(fields.get(name))) for name in names if name not in RESERVED)


def _kind(schema: JsonValue) -> Kind:
    found = schema.get("type") if isinstance(schema, dict) else None
    types = {str(one) for one in (found if isinstance(found, list) else [found])} - {"null"}
    if types in ({"string"}, {"string", "object"}):
        return "text"
    if types == {"integer"}:
        return "integer"
    return "boolean" if types == {"boolean"} else "json"


def _inside(schema: JsonValue, *names: str) -> JsonObject:
    at: JsonValue = schema
    for name in names:
        at = at.get(name) if isinstance(at, dict) else None
    return at if isinstance(at, dict) else {}

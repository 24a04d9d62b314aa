"""Every object against the official package's own types: names, presence and types of fields."""

import ast
import decimal
import inspect
import sys
import types
import typing
from functools import cache

import pytest
import stripe
import typing_extensions
from stripe import ListObject, StripeObject
from stripe._object_classes import OBJECT_CLASSES
from stripe._stripe_object import UntypedStripeObject

# Fields that Stripe sends although the package has no type for them.
UNTYPED = {("list", "total_count")}


@cache
def class_of(name: str) -> type:
    module, attribute = OBJECT_CLASSES[name]
    return getattr(__import__(module, fromlist=[attribute]), attribute)


@cache
def fields_of(cls: type) -> dict[str, object]:
    """A class's annotations, evaluated where names are imported for type checkers only."""
    module = sys.modules[cls.__module__]
    names = {**vars(typing), **vars(typing_extensions), **vars(module), "StripeObject": StripeObject}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), cls.__module__, "exec"), names)
    found: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        if base is object or base.__module__ in {"stripe._stripe_object", "typing"}:
            continue
        for name, kind in inspect.get_annotations(base).items():
            if name.startswith("_") or "ClassVar" in str(kind):
                continue
            text = kind.__forward_arg__ if isinstance(kind, typing.ForwardRef) else kind
            found[name] = eval(text, names, dict(vars(cls))) if isinstance(text, str) else text
    return found


def optional(kind: object) -> bool:
    return type(None) in typing.get_args(kind)


def problems(body: dict, cls: type, path: str) -> list[str]:
    """What a client that trusts the package's types would stumble over."""
    declared = fields_of(cls)
    found = [f"{path}.{name} is missing" for name, kind in declared.items() if name not in body and not optional(kind)]
    if body.get("deleted") is True:
        found = []
    for name, value in body.items():
        if name not in declared:
            if (body.get("object"), name) not in UNTYPED:
                found.append(f"{path}.{name} is not a field of {cls.__qualname__}")
            continue
        found.extend(wrong(value, declared[name], f"{path}.{name}"))
    return found


def wrong(value: object, kind: object, path: str) -> list[str]:
    kinds = typing.get_args(kind) if typing.get_origin(kind) in {typing.Union, types.UnionType} else (kind,)
    tried = [one_wrong(value, each, path) for each in kinds]
    return min(tried, key=len)


def one_wrong(value: object, kind: object, path: str) -> list[str]:
    """What is wrong with a value for one of the types that it may have."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is typing.Any:
        return []
    if origin is typing.Literal:
        return [] if value in args else [f"{path} is {value!r}, not one of {args}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{path} is no list"]
        return [each for entry in value for each in wrong(entry, args[0], f"{path}[]")]
    names_object = isinstance(kind, (typing.ForwardRef, str)) or ListObject in {kind, origin}
    is_object = isinstance(kind, type) and issubclass(kind, StripeObject)
    if names_object or origin is UntypedStripeObject or is_object:
        if not isinstance(value, dict):
            return [f"{path} is no object: {value!r}"]
        if isinstance(value.get("object"), str):
            return checked(value, path)
        return problems(value, kind, path) if is_object else [f"{path} has no `object`"] * names_object
    return [] if is_scalar(value, kind) else [f"{path} is {value!r}, not {kind}"]


def is_scalar(value: object, kind: object) -> bool:
    if kind is decimal.Decimal:  # text on the wire, a Decimal in the client's objects
        return isinstance(value, (str, decimal.Decimal)) and decimal.Decimal(value).is_finite()
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def checked(body: object, path: str = "") -> list[str]:
    """All that is wrong with an object, found by its `object`."""
    assert isinstance(body, dict)
    if body["object"] in {"list", "search_result"}:
        missing = [f"{path}.{name} is missing" for name in ("data", "has_more", "url") if name not in body]
        return missing + [each for entry in body["data"] for each in checked(entry, f"{path}[]")]
    return problems(body, class_of(body["object"]), path or body["object"])


@pytest.fixture
def plain(api):
    return lambda found: found.to_dict()


def test_objects_of_payments(api, plain, customer, box) -> None:
    """Objects around payments, in the states they go through."""
    charge = api.charges.create({"amount": 1500, "currency": "usd", "customer": customer.id})
    held = api.charges.create({"amount": 1500, "currency": "jpy", "source": "tok_mastercard", "capture": False})
    disputed = api.charges.create({"amount": 1500, "currency": "eur", "source": "tok_createDispute"})
    with pytest.raises(stripe.CardError):
        api.charges.create({"amount": 1500, "currency": "kwd", "source": "tok_chargeDeclined"})
    api.refunds.create({"charge": charge.id, "amount": 500})
    failing = api.charges.create({"amount": 1500, "currency": "usd", "source": "tok_refundFail"})
    api.refunds.create({"charge": failing.id})
    box.advance(3 * 86_400)
    api.payouts.create({"amount": 100, "currency": "usd"})
    for kind in ("charge", "refund", "dispute", "payout", "card", "balance_transaction", "event"):
        for body in box.objects(kind):
            assert checked(body) == []
    assert checked(plain(api.balance.retrieve())) == []
    assert checked(plain(api.charges.retrieve(held.id, {"expand": ["refunds", "balance_transaction"]}))) == []
    assert api.disputes.list().data[0].charge == disputed.id
    assert box.count("refund") == 2


def test_objects_of_intents(api, plain, customer, box) -> None:
    """Payment intents in every state, and payment methods."""
    base = {"amount": 1500, "currency": "usd"}
    once = {**base, "confirm": True, "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}}
    api.payment_intents.create(base)
    api.payment_intents.create({**base, "payment_method": "pm_card_visa"})
    api.payment_intents.create({**once, "payment_method": "pm_card_visa", "expand": ["latest_charge"]})
    api.payment_intents.create({**once, "payment_method": "pm_card_visa", "capture_method": "manual"})
    api.payment_intents.create({**once, "payment_method": "pm_card_authenticationRequired"})
    returning = {
        **base,
        "confirm": True,
        "return_url": "https://example.com/",
        "payment_method": "pm_card_threeDSecure2Required",
    }
    api.payment_intents.create(returning)
    with pytest.raises(stripe.CardError):
        api.payment_intents.create({**once, "payment_method": "pm_card_chargeDeclinedIncorrectCvc"})
    canceled = api.payment_intents.create(base)
    api.payment_intents.cancel(canceled.id)
    for kind in ("payment_intent", "payment_method", "event", "charge"):
        for body in box.objects(kind):
            assert checked(body) == []
    states = {body["status"] for body in box.objects("payment_intent")}
    assert states == {
        "requires_payment_method",
        "requires_confirmation",
        "requires_action",
        "requires_capture",
        "succeeded",
        "canceled",
    }


def test_objects_of_billing(api, plain, customer, price, box) -> None:
    """Products, prices, invoices, their items and payments, and subscriptions."""
    api.products.create({"name": "Lamp", "default_price_data": {"currency": "usd", "unit_amount": 900}})
    subscription = api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}], "trial_period_days": 7})
    api.invoice_items.create({"customer": customer.id, "amount": 700, "currency": "usd", "description": "Extra"})
    draft = api.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    api.invoices.finalize_invoice(draft.id)
    paid = api.invoices.pay(draft.id, {"expand": ["payments", "confirmation_secret", "customer"]})
    assert checked(plain(paid)) == []
    api.subscriptions.update(subscription.id, {"items": [{"id": subscription["items"].data[0].id, "quantity": 3}]})
    api.subscriptions.cancel(subscription.id, {"prorate": True, "invoice_now": True})
    box.advance(40 * 86_400)
    kinds = ("product", "price", "subscription", "invoice", "invoiceitem", "invoice_payment", "event", "customer")
    for kind in kinds:
        assert box.count(kind) > 0, kind
        for body in box.objects(kind):
            assert checked(body) == []


def test_objects_around(api, plain, customer) -> None:
    """Customers with what can be expanded, accounts, tokens, and deleted stubs."""
    expanded = api.customers.retrieve(
        customer.id, {"expand": ["sources", "subscriptions", "tax_ids", "tax", "default_source"]}
    )
    assert checked(plain(expanded)) == []
    assert checked(plain(api.accounts.retrieve_current())) == []
    assert checked(plain(api.accounts.list())) == []
    card = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2030, "cvc": "123"}
    assert checked(plain(api.tokens.create({"card": card}))) == []
    assert checked(plain(api.payment_methods.create({"type": "card", "card": card}))) == []
    assert checked(plain(api.customers.delete(customer.id))) == []
    assert plain(api.customers.retrieve(customer.id)) == {"id": customer.id, "object": "customer", "deleted": True}


def test_the_check_itself_finds_faults() -> None:
    """The check would notice a field that is missing, misnamed or of the wrong type."""
    good = {"object": "tax_rate"}
    assert any("missing" in each for each in checked(good))
    assert wrong("1", int, "x")
    assert wrong(True, int, "x")
    assert not wrong(None, int | None, "x")
    assert any("not a field" in each for each in checked({"object": "balance", "extra": 1}))

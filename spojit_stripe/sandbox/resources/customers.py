"""Customers, and the card sources and payment methods that belong to them."""

from spojit_stripe.sandbox import instruments, shapes
from spojit_stripe.sandbox.context import Answer, Context, assign, merge_metadata
from spojit_stripe.sandbox.errors import invalid, no_such
from spojit_stripe.sandbox.ids import derive
from spojit_stripe.sandbox.listing import list_objects, search_objects
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.search import FIELDS
from spojit_stripe.sandbox.store import Filter, Record
from spojit_stripe.sandbox.values import JsonObject, JsonValue, child, items, string, text

_PLAIN = (
    "balance",
    "business_name",
    "description",
    "email",
    "individual_name",
    "name",
    "next_invoice_sequence",
    "phone",
    "preferred_locales",
)

_NOT_KEPT = (
    "cash_balance",
    "tax_id_data",
)


@answers("POST", "/v1/customers", without=_NOT_KEPT)
def create(context: Context) -> Answer:
    """A new customer; Stripe does not look for one with the same email."""
    params = context.params
    clock = text(params, "test_clock")
    if clock is not None:
        context.enter(clock)
    identifier = context.new_id("cus")
    body: JsonObject = {
        "id": identifier,
        "object": "customer",
        "address": None,
        "balance": 0,
        "business_name": None,
        "created": context.now,
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "individual_name": None,
        "invoice_prefix": text(params, "invoice_prefix") or derive(identifier, 8).upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": context.livemode,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": context.clock,
    }
    _assign(body, params)
    record = context.insert(body)
    _pay_with(context, record)
    context.save(record)
    context.event("customer.created", body)
    return body


@answers("GET", "/v1/customers/{customer}")
def retrieve(context: Context) -> Answer:
    """A customer; a deleted one is a stub with 200."""
    return context.get("customer", context.ids["customer"]).body


@answers("POST", "/v1/customers/{customer}", without=("cash_balance",))
def update(context: Context) -> Answer:
    """Change a customer."""
    record = context.live("customer", context.ids["customer"])
    _assign(record.body, context.params)
    _pay_with(context, record)
    default = text(context.params, "default_source")
    if default is not None:
        source = context.find("card", default)
        if source is None or source.body.get("customer") != record.id:
            raise no_such("source", default, "default_source", status=400)
        record.body["default_source"] = default
    context.save(record, "customer.updated")
    return record.body


@answers("DELETE", "/v1/customers/{customer}")
def delete(context: Context) -> Answer:
    """Delete a customer: subscriptions end, sources go, the stub stays."""
    return erase(context, context.live("customer", context.ids["customer"]))


def erase(context: Context, record: Record) -> JsonObject:
    """A customer goes, and what belongs to it ends."""
    for subscription in context.records("subscription", customer=record.id):
        if subscription.body["status"] not in {"canceled", "incomplete_expired"}:
            subscription.body.update(status="canceled", canceled_at=context.now, ended_at=context.now)
            context.save(subscription, "customer.subscription.deleted")
    for method in context.records("payment_method", customer=record.id):
        method.body["customer"] = None
        method.private["spent"] = True
        context.save(method)
        context.event("payment_method.detached", method.body, {"customer": record.id})
    for card in context.records("card", customer=record.id):
        context.remove(card, None)
    return context.remove(record, "customer.deleted")


@answers("GET", "/v1/customers")
def list_customers(context: Context) -> Answer:
    """Customers, newest first; deleted ones are left out."""
    return list_objects(context, "customer", {"email": "email"})


@answers("GET", "/v1/customers/search")
def search(context: Context) -> Answer:
    """Search customers."""
    return search_objects(context, "customer", FIELDS["customer"])


# Card sources


@answers("POST", "/v1/customers/{customer}/sources")
def create_source(context: Context) -> Answer:
    """Attach a token's card to a customer; the first one becomes the default."""
    customer = context.live("customer", context.ids["customer"])
    made = instruments.make_source(context, context.need("source"), customer.id)
    merge_metadata(made.record.body, context.params)
    context.save(made.record)
    if text(customer.body, "default_source") is None:
        customer.body["default_source"] = made.id
        context.save(customer, "customer.updated")
    context.event("customer.source.created", made.record.body)
    return made.record.body


@answers("GET", "/v1/customers/{customer}/sources")
def list_sources(context: Context) -> Answer:
    """A customer's cards."""
    customer = context.live("customer", context.ids["customer"])
    return list_objects(context, "card", filters=[Filter("customer = ?", (customer.id,))])


@answers("GET", "/v1/customers/{customer}/sources/{id}")
def retrieve_source(context: Context) -> Answer:
    """One of a customer's cards."""
    return _source(context).body


@answers("POST", "/v1/customers/{customer}/sources/{id}")
def update_source(context: Context) -> Answer:
    """Change a card's billing data or expiry."""
    source = _source(context)
    names = ["city", "country", "line1", "line2", "state", "zip"]
    assign(source.body, context.params, "exp_month", "exp_year", "name", *(f"address_{name}" for name in names))
    merge_metadata(source.body, context.params)
    context.save(source, "customer.source.updated")
    return source.body


@answers("DELETE", "/v1/customers/{customer}/sources/{id}")
def delete_source(context: Context) -> Answer:
    """Take a card from a customer; the newest remaining one becomes the default."""
    source = _source(context)
    customer = context.live("customer", context.ids["customer"])
    stub = context.remove(source, "customer.source.deleted")
    if customer.body["default_source"] == source.id:
        left = context.records("card", customer=customer.id)
        customer.body["default_source"] = left[-1].id if left else None
        context.save(customer, "customer.updated")
    return stub


@answers("GET", "/v1/customers/{customer}/payment_methods")
def list_methods(context: Context) -> Answer:
    """A customer's payment methods."""
    customer = context.live("customer", context.ids["customer"])
    filters = [Filter("customer = ?", (customer.id,))]
    return list_objects(context, "payment_method", {"type": "kind"}, filters=filters)


@answers("GET", "/v1/customers/{customer}/payment_methods/{payment_method}")
def retrieve_method(context: Context) -> Answer:
    """One of a customer's payment methods."""
    context.live("customer", context.ids["customer"])
    method = context.get("payment_method", context.ids["payment_method"])
    if method.body["customer"] != context.ids["customer"]:
        raise no_such("PaymentMethod", method.id, "payment_method", status=404)
    return method.body


def _source(context: Context) -> Record:
    context.live("customer", context.ids["customer"])
    source = context.find("card", context.ids["id"])
    if source is None or source.body.get("customer") != context.ids["customer"]:
        raise no_such("source", context.ids["id"], "id", status=404)
    return source


def _assign(body: JsonObject, params: JsonObject) -> None:
    assign(body, params, *_PLAIN)
    merge_metadata(body, params)
    if "address" in params:
        given = params["address"]
        body["address"] = shapes.address(given) if isinstance(given, dict) else None
    if "shipping" in params:
        body["shipping"] = shapes.shipping(params["shipping"])
    if "tax_exempt" in params:
        body["tax_exempt"] = params["tax_exempt"] or "none"
    if text(params, "invoice_prefix"):
        body["invoice_prefix"] = params["invoice_prefix"]
    if "invoice_settings" in params:
        settings = dict(child(body, "invoice_settings"))
        assign(
            settings,
            child(params, "invoice_settings"),
            *("custom_fields", "default_payment_method", "footer", "rendering_options"),
        )
        body["invoice_settings"] = settings


def _pay_with(context: Context, record: Record) -> None:
    """The payment method and source that were sent with a customer."""
    params = context.params
    method = text(params, "payment_method")
    if method is not None:
        instruments.attach(context, instruments.payment_method(context, method), record.id)
    source = text(params, "source")
    if source is not None:
        made = instruments.make_source(context, source, record.id)
        record.body["default_source"] = made.id
        context.event("customer.source.created", made.record.body)
    default = text(child(params, "invoice_settings"), "default_payment_method")
    if default is not None:
        chosen = instruments.payment_method(context, default, "invoice_settings[default_payment_method]")
        if chosen.customer != record.id:
            raise invalid(
                f"The customer does not have a payment method with the ID {default}. The payment method must be "
                "attached to the customer.",
                "invoice_settings[default_payment_method]",
                "resource_missing",
            )
        child(record.body, "invoice_settings")["default_payment_method"] = chosen.id


# Fields that are there only when they are expanded


def sources(context: Context, body: JsonObject) -> JsonValue:
    """The cards of a customer."""
    identifier = string(body, "id")
    found = [record.body for record in reversed(context.records("card", customer=identifier))]
    return context.sublist(f"/v1/customers/{identifier}/sources", found)


def subscriptions(context: Context, body: JsonObject) -> JsonValue:
    """The subscriptions of a customer that have not ended."""
    identifier = string(body, "id")
    found = [record.body for record in reversed(context.records("subscription", customer=identifier))]
    running = [each for each in found if each["status"] not in {"canceled", "incomplete_expired"}]
    return context.sublist(f"/v1/customers/{identifier}/subscriptions", running)


def tax_ids(context: Context, body: JsonObject) -> JsonValue:
    """The tax ids of a customer, which the sandbox does not keep."""
    return context.sublist(f"/v1/customers/{string(body, 'id')}/tax_ids", items({}, "data"))


def tax(context: Context, body: JsonObject) -> JsonValue:
    """What automatic tax knows of a customer: nothing."""
    del context, body
    return {"automatic_tax": "unrecognized_location", "ip_address": None, "location": None, "provider": "stripe"}

"""Products and prices."""

from dataclasses import replace

from spojit_stripe.sandbox.context import Answer, Context, assign, merge_metadata
from spojit_stripe.sandbox.errors import StripeError, bad_parameter, invalid
from spojit_stripe.sandbox.listing import list_objects, search_objects
from spojit_stripe.sandbox.pricing import price_body
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.search import FIELDS
from spojit_stripe.sandbox.store import Filter, Record
from spojit_stripe.sandbox.values import JsonObject, child, flag, string, strings, text

_PRODUCT_FIELDS = (
    "active",
    "description",
    "images",
    "marketing_features",
    "name",
    "package_dimensions",
    "shippable",
    "statement_descriptor",
    "tax_code",
    "unit_label",
    "url",
)


@answers("POST", "/v1/products")
def create_product(context: Context) -> Answer:
    """A new product; its id may be chosen."""
    params = context.params
    identifier = text(params, "id") or context.new_id("prod")
    if context.store.exists(context.scope, identifier):
        raise invalid("Product already exists.", "id", "resource_already_exists")
    body: JsonObject = {
        "id": identifier,
        "object": "product",
        "active": True,
        "created": context.now,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": context.livemode,
        "marketing_features": [],
        "metadata": {},
        "name": "",
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": text(params, "type") or "service",
        "unit_label": None,
        "updated": context.now,
        "url": None,
    }
    assign(body, params, *_PRODUCT_FIELDS)
    merge_metadata(body, params)
    record = context.insert(body, "product.created")
    if "default_price_data" in params:
        data = child(params, "default_price_data")
        price = context.insert(price_body(context, data, identifier), "price.created")
        body["default_price"] = price.id
        context.save(record)
    return body


@answers("GET", "/v1/products/{id}")
def retrieve_product(context: Context) -> Answer:
    """A product; a deleted one is a stub."""
    return context.get("product", context.ids["id"]).body


@answers("POST", "/v1/products/{id}")
def update_product(context: Context) -> Answer:
    """Change a product."""
    record = context.live("product", context.ids["id"])
    params = context.params
    assign(record.body, params, *_PRODUCT_FIELDS)
    merge_metadata(record.body, params)
    default = text(params, "default_price")
    if default is not None:
        price = context.live("price", default, "default_price")
        if price.body["product"] != record.id:
            raise invalid(f"The price {default} does not belong to the product {record.id}.", "default_price")
        record.body["default_price"] = default
    record.body["updated"] = context.now
    context.save(record, "product.updated")
    return record.body


@answers("DELETE", "/v1/products/{id}")
def delete_product(context: Context) -> Answer:
    """Delete a product that has no prices."""
    record = context.live("product", context.ids["id"])
    if context.records("price", product=record.id):
        raise invalid("This product cannot be deleted because it has one or more user-created prices.")
    return context.remove(record, "product.deleted")


@answers("GET", "/v1/products")
def list_products(context: Context) -> Answer:
    """Products, newest first."""
    params = context.params
    filters: list[Filter] = []
    chosen = strings(params, "ids")
    if chosen:
        if "starting_after" in params or "ending_before" in params:
            raise bad_parameter("You cannot use `ids` together with `starting_after` or `ending_before`.", "ids")
        filters.append(Filter(f"id IN ({', '.join('?' * len(chosen))})", tuple(chosen)))
    columns = {"active": "active", "shippable": "shippable", "type": "kind", "url": "url"}
    return list_objects(context, "product", columns, filters=filters)


@answers("GET", "/v1/products/search")
def search_products(context: Context) -> Answer:
    """Search products."""
    return search_objects(context, "product", FIELDS["product"])


# Prices


@answers("POST", "/v1/prices", without=("currency_options", "tiers", "transform_quantity"))
def create_price(context: Context) -> Answer:
    """A new price of a product, which may be made along with it."""
    params = context.params
    product = text(params, "product")
    if product is None and "product_data" not in params:
        raise bad_parameter("You must pass either `product` or `product_data`.", "product", "parameter_missing")
    if product is None:
        data = child(params, "product_data")
        inner = _with(context, data)
        made = create_product(inner)
        product = string(made, "id") if isinstance(made, dict) else ""
    else:
        context.live("product", product, "product")
    body = price_body(context, params, product)
    key = text(params, "lookup_key")
    if key is not None:
        _take_lookup_key(context, key)
    return context.insert(body, "price.created").body


def _with(context: Context, params: JsonObject) -> Context:
    return replace(context, params=params)


def _take_lookup_key(context: Context, key: str) -> None:
    for other in context.records("price", lookup_key=key):
        if not flag(context.params, "transfer_lookup_key"):
            raise _key_taken(key, other)
        other.body["lookup_key"] = None
        context.save(other, "price.updated")


def _key_taken(key: str, other: Record) -> StripeError:
    return invalid(
        f"A price (`{other.id}`) already uses that lookup key. To transfer it, set `transfer_lookup_key` to `true`.",
        "lookup_key" if key else None,
    )


@answers("GET", "/v1/prices/{price}")
def retrieve_price(context: Context) -> Answer:
    """A price."""
    return context.get("price", context.ids["price"], "price").body


@answers("POST", "/v1/prices/{price}", without=("currency_options",))
def update_price(context: Context) -> Answer:
    """Change what may be changed of a price: not its amount."""
    record = context.get("price", context.ids["price"], "price")
    params = context.params
    key = text(params, "lookup_key")
    if key is not None and key != record.body["lookup_key"]:
        _take_lookup_key(context, key)
    assign(record.body, params, "active", "lookup_key", "nickname")
    if text(params, "tax_behavior"):
        record.body["tax_behavior"] = params["tax_behavior"]
    merge_metadata(record.body, params)
    context.save(record, "price.updated")
    return record.body


@answers("GET", "/v1/prices")
def list_prices(context: Context) -> Answer:
    """Prices, newest first."""
    params = context.params
    filters: list[Filter] = []
    keys = strings(params, "lookup_keys")
    if keys:
        filters.append(Filter(f"lookup_key IN ({', '.join('?' * len(keys))})", tuple(keys)))
    for name, value in child(params, "recurring").items():
        if isinstance(value, str):
            filters.append(Filter(f"json_extract(CAST(body AS TEXT), '$.recurring.{name}') = ?", (value,)))
    columns = {"active": "active", "currency": "currency", "product": "product", "type": "kind"}
    return list_objects(context, "price", columns, filters=filters)


@answers("GET", "/v1/prices/search")
def search_prices(context: Context) -> Answer:
    """Search prices."""
    return search_objects(context, "price", FIELDS["price"])

"""Invoices and invoice items."""

from spojit_stripe.sandbox import billing, currencies, discounts, instruments
from spojit_stripe.sandbox.context import Answer, Context, assign, merge_metadata
from spojit_stripe.sandbox.errors import StripeError, bad_parameter, invalid, missing_parameter
from spojit_stripe.sandbox.listing import list_objects, page_of, search_objects
from spojit_stripe.sandbox.pricing import cost, price_body
from spojit_stripe.sandbox.routes import answers
from spojit_stripe.sandbox.search import FIELDS
from spojit_stripe.sandbox.store import Filter, Record
from spojit_stripe.sandbox.values import JsonObject, JsonValue, child, flag, integer, items, string, strings, text

_PLAIN = (
    "custom_fields",
    "description",
    "default_payment_method",
    "default_source",
    "due_date",
    "effective_at",
    "footer",
    "number",
    "on_behalf_of",
    "statement_descriptor",
)

_NOT_DONE = (
    "account_tax_ids",
    "application_fee_amount",
    "automatic_tax",
    "default_tax_rates",
    "from_invoice",
    "shipping_cost",
    "transfer_data",
)


@answers("POST", "/v1/invoices", without=_NOT_DONE)
def create(context: Context) -> Answer:
    """A draft; pending invoice items come in only if asked."""
    params = context.params
    customer = context.live("customer", context.need("customer"), "customer")
    subscription = text(params, "subscription")
    currency = _currency(context, customer)
    record = Record(billing.invoice_body(context, customer, currency))
    body = record.body
    _assign(context, record)
    if subscription is not None:
        context.live("subscription", subscription, "subscription")
        body["parent"] = subscription_parent(subscription, {})
    chosen = discounts.given(context, [], currency, customer.id, invoice=record.id)
    inherited = text(child(customer.body, "discount"), "id")
    body["discounts"] = chosen if chosen is not None else discounts.running(context, [inherited] if inherited else [])
    record = context.insert(body, private=record.private)
    if params.get("pending_invoice_items_behavior") == "include" or subscription is not None:
        billing.take_pending_items(context, record, subscription)
    context.save(record)
    context.event("invoice.created", body)
    if flag(body, "auto_advance"):
        body["automatically_finalizes_at"] = context.now + billing.HOUR
        context.save(record)
        context.later(context.now + billing.HOUR, "advance_invoice", record.id)
    return body


def subscription_parent(subscription: str, metadata: JsonObject) -> JsonObject:
    """The `parent` of an invoice for a subscription."""
    details: JsonObject = {"metadata": metadata, "subscription": subscription}
    return {"quote_details": None, "subscription_details": details, "type": "subscription_details"}


def _currency(context: Context, customer: Record) -> str:
    given = text(context.params, "currency")
    if given is not None:
        return currencies.check(given)
    pending = context.records("invoiceitem", customer=customer.id)
    first = next((item.body["currency"] for item in pending if text(item.body, "invoice") is None), None)
    return text(customer.body, "currency") or (first if isinstance(first, str) else "usd")


@answers("GET", "/v1/invoices/{invoice}")
def retrieve(context: Context) -> Answer:
    """An invoice."""
    return _get(context).body


@answers("POST", "/v1/invoices/{invoice}", without=_NOT_DONE)
def update(context: Context) -> Answer:
    """Change an invoice; after finalizing only what does not change what is owed."""
    record = _get(context)
    after = {"auto_advance", "metadata", "default_payment_method", "default_source", "expand", "payment_settings"}
    if record.body["status"] != "draft" and set(context.params) - after:
        fixed = sorted(set(context.params) - after)[0]
        raise _not_editable(f"You can't change {fixed} of an invoice that is not a draft.", fixed)
    _assign(context, record)
    body = record.body
    current = strings(body, "discounts")
    chosen = discounts.given(context, current, string(body, "currency"), string(body, "customer"), invoice=record.id)
    if chosen is not None:
        body["discounts"] = chosen
        billing.set_lines(context, record, billing.lines(record))
    context.save(record, "invoice.updated")
    return body


@answers("DELETE", "/v1/invoices/{invoice}")
def delete(context: Context) -> Answer:
    """Delete a draft; its invoice items become pending again."""
    record = _get(context)
    if record.body["status"] != "draft" or billing.subscription_of(record.body) is not None:
        raise _not_editable("You can only delete draft invoices that do not belong to a subscription.")
    for item in context.records("invoiceitem", invoice=record.id):
        item.body["invoice"] = None
        context.save(item)
    return context.remove(record, "invoice.deleted")


@answers("POST", "/v1/invoices/{invoice}/finalize")
def finalize(context: Context) -> Answer:
    """Make a draft final."""
    record = _get(context)
    if record.body["status"] != "draft":
        raise _not_editable("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    assign(record.body, context.params, "auto_advance")
    billing.finalize(context, record)
    automatic = record.body["collection_method"] == "charge_automatically" and flag(record.body, "auto_advance")
    if billing.is_open(record) and automatic:
        context.later(context.now + billing.HOUR, "advance_invoice", record.id)
    return record.body


@answers("POST", "/v1/invoices/{invoice}/pay", without=("forgive", "mandate"))
def pay(context: Context) -> Answer:
    """Collect now, finalizing a draft first."""
    record = _get(context)
    params, body = context.params, record.body
    if body["status"] == "paid":
        raise StripeError(400, "Invoice is already paid")
    if body["status"] == "void":
        raise StripeError(400, "Voided invoices cannot be paid.")
    if body["status"] == "draft":
        billing.finalize(context, record)
    if body["status"] == "paid":
        return body
    if flag(params, "paid_out_of_band"):
        billing.drop_intent(context, record)
        billing.mark_paid(context, record, off_stripe=True)
        return body
    identifier = text(params, "payment_method") or text(params, "source")
    chosen = billing.payer(context, record) if identifier is None else instruments.payment_method(context, identifier)
    billing.collect(context, record, chosen, off_session=params.get("off_session") is not False)
    return body


@answers("POST", "/v1/invoices/{invoice}/send")
def send(context: Context) -> Answer:
    """Send an invoice that the customer pays; nothing leaves the sandbox."""
    record = _get(context)
    if record.body["collection_method"] != "send_invoice":
        raise invalid("You can only manually send an invoice if its collection method is 'send_invoice'.")
    if record.body["status"] == "draft":
        billing.finalize(context, record)
    if record.body["status"] not in {"open", "paid"}:
        raise _not_editable(f"You can't send an invoice with the status {record.body['status']}.")
    context.event("invoice.sent", record.body)
    return record.body


@answers("POST", "/v1/invoices/{invoice}/void")
def void(context: Context) -> Answer:
    """Declare an invoice invalid, for ever."""
    record = _get(context)
    if record.body["status"] not in {"open", "uncollectible"}:
        raise _not_editable(
            f"You can only pass in open or uncollectible invoices. This invoice isn't: it is {record.body['status']}."
        )
    void_invoice(context, record)
    return record.body


def void_invoice(context: Context, record: Record) -> None:
    """Void an invoice that may be voided."""
    billing.drop_intent(context, record)
    record.body.update(status="void", auto_advance=False, next_payment_attempt=None)
    child(record.body, "status_transitions")["voided_at"] = context.now
    context.save(record, "invoice.voided")


@answers("POST", "/v1/invoices/{invoice}/mark_uncollectible")
def mark_uncollectible(context: Context) -> Answer:
    """Give up on an open invoice."""
    record = _get(context)
    if record.body["status"] != "open":
        raise _not_editable(f"You can only mark open invoices as uncollectible; this one is {record.body['status']}.")
    give_up(context, record)
    return record.body


def give_up(context: Context, record: Record) -> None:
    """Mark an open invoice as uncollectible."""
    record.body.update(status="uncollectible", auto_advance=False, next_payment_attempt=None)
    child(record.body, "status_transitions")["marked_uncollectible_at"] = context.now
    context.save(record, "invoice.marked_uncollectible")


@answers("POST", "/v1/invoices/{invoice}/add_lines")
def add_lines(context: Context) -> Answer:
    """Add lines to a draft: by amount, by price, or from pending invoice items."""
    record = _get(context)
    if record.body["status"] != "draft":
        raise _not_editable("You can only add lines to a draft invoice.")
    found = billing.lines(record)
    currency = string(record.body, "currency")
    for position, given in enumerate(items(context.params, "lines")):
        found.append(_given_line(context, record, given, currency, f"lines[{position}]"))
    billing.set_lines(context, record, found)
    merge_metadata(record.body, {"metadata": context.params.get("invoice_metadata", {})})
    context.save(record, "invoice.updated")
    return record.body


def _given_line(context: Context, record: Record, given: JsonObject, currency: str, path: str) -> JsonObject:
    existing = text(given, "invoice_item")
    if existing is not None:
        item = context.live("invoiceitem", existing, f"{path}[invoice_item]")
        if text(item.body, "invoice") is not None:
            raise invalid(f"The invoice item {existing} is already on an invoice.", f"{path}[invoice_item]")
    else:
        item = _new_item(context, string(record.body, "customer"), given, currency, path)
    item.body["invoice"] = record.id
    context.save(item)
    return billing.line_of_item(context, item)


@answers("GET", "/v1/invoices/{invoice}/lines")
def list_lines(context: Context) -> Answer:
    """All lines of an invoice."""
    return page_of(context, billing.lines(_get(context)))


@answers("GET", "/v1/invoices")
def list_invoices(context: Context) -> Answer:
    """Invoices, newest first."""
    names = ("collection_method", "customer", "status", "subscription")
    return list_objects(context, "invoice", {name: name for name in names}, ranges={"due_date": "due"})


@answers("GET", "/v1/invoices/search")
def search(context: Context) -> Answer:
    """Search invoices."""
    return search_objects(context, "invoice", FIELDS["invoice"])


@answers("GET", "/v1/invoice_payments")
def list_payments(context: Context) -> Answer:
    """Payments of invoices."""
    return list_objects(context, "invoice_payment", {"invoice": "invoice", "status": "status"})


@answers("GET", "/v1/invoice_payments/{invoice_payment}")
def retrieve_payment(context: Context) -> Answer:
    """A payment of an invoice."""
    return context.get("invoice_payment", context.ids["invoice_payment"]).body


def _get(context: Context) -> Record:
    return context.live("invoice", context.ids["invoice"], "invoice")


def _not_editable(message: str, param: str | None = None) -> StripeError:
    return invalid(message, param, "invoice_not_editable")


def _assign(context: Context, record: Record) -> None:
    body, params = record.body, context.params
    assign(body, params, *_PLAIN)
    merge_metadata(body, params)
    if "auto_advance" in params:
        body["auto_advance"] = flag(params, "auto_advance")
    if text(params, "collection_method"):
        body["collection_method"] = params["collection_method"]
    days = params.get("days_until_due")
    if body["collection_method"] == "send_invoice":
        if isinstance(days, int):
            record.private["days_until_due"] = days
            body["due_date"] = context.now + days * billing.DAY
        if body["due_date"] is None:
            raise bad_parameter(
                "If invoices are to be sent to the customer, you must specify `days_until_due` or `due_date`.",
                "days_until_due",
                "parameter_missing",
            )
    elif days is not None or params.get("due_date"):
        name = "days_until_due" if days is not None else "due_date"
        raise bad_parameter(f"You can only specify `{name}` if the collection method is `send_invoice`.", name)
    default = text(params, "default_payment_method")
    if default is not None:
        body["default_payment_method"] = instruments.payment_method(context, default, "default_payment_method").id


def payments_of(context: Context, body: JsonObject) -> JsonValue:
    """The payments inside an invoice, when they are expanded."""
    identifier = string(body, "id")
    found = [record.body for record in reversed(context.records("invoice_payment", invoice=identifier))]
    return context.sublist(f"/v1/invoice_payments?invoice={identifier}", found)


def confirmation_secret(context: Context, body: JsonObject) -> JsonValue:
    """The client secret of an invoice's payment, when it is expanded."""
    record = context.get("invoice", string(body, "id"), "invoice")
    intent = context.find("payment_intent", text(record.private, "payment_intent"))
    if intent is None:
        return None
    return {"client_secret": intent.body["client_secret"], "type": "payment_intent"}


# Invoice items


@answers("POST", "/v1/invoiceitems", without=("discounts", "tax_rates"))
def create_item(context: Context) -> Answer:
    """An item: pending for the customer's next invoice, or a line of a draft."""
    params = context.params
    target = text(params, "invoice")
    record = context.live("invoice", target, "invoice") if target is not None else None
    if record is not None and record.body["status"] != "draft":
        raise _not_editable("The invoice is already finalized; you can't add items to it.", "invoice")
    owner = text(params, "customer") or (string(record.body, "customer") if record is not None else None)
    if owner is None:
        raise missing_parameter("customer")
    customer = context.live("customer", owner, "customer")
    default = text(record.body if record is not None else customer.body, "currency") or "usd"
    item = _new_item(context, owner, params, default, "")
    if record is not None:
        if item.body["currency"] != record.body["currency"]:
            raise invalid(
                f"The currency of the item ({item.body['currency']}) is not that of the invoice "
                f"({record.body['currency']}).",
                "currency",
            )
        item.body["invoice"] = record.id
        context.save(item)
        billing.set_lines(context, record, [*billing.lines(record), billing.line_of_item(context, item)])
        context.save(record, "invoice.updated")
    context.event("invoiceitem.created", item.body)
    return item.body


def _new_item(context: Context, customer: str, given: JsonObject, default: str, path: str) -> Record:
    amount, currency, price, quantity = _amount(context, given, default, path)
    period = child(given, "period")
    body: JsonObject = {
        "id": context.new_id("ii"),
        "object": "invoiceitem",
        "amount": amount,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "date": context.now,
        "description": text(given, "description"),
        "discountable": given.get("discountable") is not False,
        "discounts": [],
        "invoice": None,
        "livemode": context.livemode,
        "metadata": {},
        "net_amount": amount,
        "parent": None,
        "period": {
            "end": integer(period, "end") or context.now,
            "start": integer(period, "start") or context.now,
        },
        "pricing": billing.pricing(price, amount, quantity),
        "proration": False,
        "proration_details": None,
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "tax_rates": [],
        "test_clock": context.clock,
    }
    if price is not None and body["description"] is None:
        product = context.find("product", text(price, "product"))
        body["description"] = product.body.get("name") if product is not None else None
    subscription = text(given, "subscription")
    if subscription is not None:
        context.live("subscription", subscription, "subscription")
        body["parent"] = {
            "subscription_details": {"subscription": subscription, "subscription_item": None},
            "type": "subscription_details",
        }
    merge_metadata(body, given)
    private: JsonObject = {"price": price} if price is not None else {}
    return context.insert(body, private=private)


def _amount(context: Context, given: JsonObject, default: str, path: str) -> tuple[int, str, JsonObject | None, int]:
    quantity = integer(given, "quantity") if "quantity" in given else 1
    identifier = text(child(given, "pricing"), "price")
    price: JsonObject | None = None
    if identifier is not None:
        price = context.live("price", identifier, "pricing[price]").body
    elif "price_data" in given:
        data = child(given, "price_data")
        price = price_body(context, data, string(data, "product"))
    if price is not None:
        return cost(price, quantity), string(price, "currency"), price, quantity
    if "amount" in given:
        amount = integer(given, "amount")
        return amount, currencies.check(text(given, "currency") or default), None, quantity
    exact = text(given, "unit_amount_decimal")
    if exact is None:
        name = f"{path}[amount]" if path else "amount"
        raise bad_parameter(
            "You must pass one of `amount`, `pricing`, `price_data` or `unit_amount_decimal`.",
            name,
            "parameter_missing",
        )
    each: JsonObject = {"unit_amount_decimal": exact}
    return cost(each, quantity), currencies.check(text(given, "currency") or default), None, quantity


@answers("GET", "/v1/invoiceitems/{invoiceitem}")
def retrieve_item(context: Context) -> Answer:
    """An invoice item."""
    return context.get("invoiceitem", context.ids["invoiceitem"]).body


@answers("POST", "/v1/invoiceitems/{invoiceitem}", without=("discounts", "tax_rates"))
def update_item(context: Context) -> Answer:
    """Change an item that is not on a finalized invoice."""
    item, record = _open_item(context)
    params = context.params
    assign(item.body, params, "description", "discountable")
    merge_metadata(item.body, params)
    if {"amount", "pricing", "price_data", "quantity", "unit_amount_decimal"} & set(params):
        basis: JsonObject = dict(params)
        price = child(item.private, "price")
        if "quantity" in params and price and not {"amount", "pricing", "price_data"} & set(params):
            basis["pricing"] = {"price": price["id"]}
        elif "quantity" in params and "amount" not in params and "unit_amount_decimal" not in params:
            basis["unit_amount_decimal"] = child(item.body, "pricing").get("unit_amount_decimal")
        amount, _, price_now, quantity = _amount(context, basis, string(item.body, "currency"), "")
        item.body.update(amount=amount, net_amount=amount, quantity=quantity, quantity_decimal=str(quantity))
        item.body["pricing"] = billing.pricing(price_now, amount, quantity)
        item.private = {"price": price_now} if price_now is not None else {}
    context.save(item, "invoiceitem.updated")
    if record is not None:
        _rebuild(context, record, item, keep=True)
    return item.body


@answers("DELETE", "/v1/invoiceitems/{invoiceitem}")
def delete_item(context: Context) -> Answer:
    """Delete an item that is not on a finalized invoice."""
    item, record = _open_item(context)
    if record is not None:
        _rebuild(context, record, item, keep=False)
    return context.remove(item, "invoiceitem.deleted")


def _open_item(context: Context) -> tuple[Record, Record | None]:
    item = context.live("invoiceitem", context.ids["invoiceitem"])
    record = context.find("invoice", text(item.body, "invoice"))
    if record is not None and record.body["status"] != "draft":
        raise _not_editable("This invoice item is on a finalized invoice and can't be changed.")
    return item, record


def _rebuild(context: Context, record: Record, item: Record, *, keep: bool) -> None:
    found: list[JsonObject] = []
    for line in billing.lines(record):
        mine = text(child(child(line, "parent"), "invoice_item_details"), "invoice_item") == item.id
        if not mine:
            found.append(line)
        elif keep:
            found.append({**billing.line_of_item(context, item), "id": line["id"]})
    billing.set_lines(context, record, found)
    context.save(record, "invoice.updated")


@answers("GET", "/v1/invoiceitems")
def list_items(context: Context) -> Answer:
    """Invoice items, newest first."""
    params = context.params
    filters: list[Filter] = []
    if "pending" in params:
        filters.append(Filter("invoice IS NULL" if flag(params, "pending") else "invoice IS NOT NULL"))
    return list_objects(context, "invoiceitem", {"customer": "customer", "invoice": "invoice"}, filters=filters)

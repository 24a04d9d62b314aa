"""Cursors, ranges, expansion, and the search language."""

import pytest
import stripe

from spojit_stripe.sandbox import sandbox


@pytest.fixture
def charges(api, box):
    """Thirteen charges, an hour apart, newest last."""
    made = []
    for number in range(13):
        made.append(api.charges.create({"amount": 1000 + number, "currency": "usd", "source": "tok_visa"}).id)
        box.advance(3600)
    return made


def test_pages_forward_and_back(api, charges) -> None:
    """Newest first, default 10; pages do not overlap in either direction."""
    first = api.charges.list()
    assert [each.id for each in first.data] == charges[:2:-1]
    assert (first.has_more, first.url) == (True, "/v1/charges")
    second = api.charges.list({"starting_after": first.data[-1].id})
    assert ([each.id for each in second.data], second.has_more) == (charges[2::-1], False)
    back = api.charges.list({"ending_before": charges[0], "limit": 5})
    assert ([each.id for each in back.data], back.has_more) == (charges[5:0:-1], True)
    assert [each.id for each in api.charges.list({"limit": 4}).auto_paging_iter()] == charges[::-1]
    backwards = api.charges.list({"ending_before": charges[0], "limit": 4}).auto_paging_iter()
    assert [each.id for each in backwards] == charges[1:]


def test_pages_stay_right_while_objects_come(api, charges) -> None:
    """A cursor is an object, not an offset: new objects shift no page."""
    first = api.charges.list({"limit": 5})
    api.charges.create({"amount": 99_00, "currency": "usd", "source": "tok_visa"})
    second = api.charges.list({"limit": 5, "starting_after": first.data[-1].id})
    assert [each.id for each in second.data] == charges[7:2:-1]


def test_ranges(api, box, charges) -> None:
    """`created` as an instant and as a range."""
    times = {each.id: each.created for each in api.charges.list({"limit": 100}).data}
    middle = times[charges[6]]
    assert [each.id for each in api.charges.list({"created": middle}).data] == [charges[6]]
    got = api.charges.list({"created": {"gte": middle, "lt": times[charges[9]]}}).data
    assert [each.id for each in got] == charges[8:5:-1]
    got = api.charges.list({"created": {"gt": middle, "lte": times[charges[9]]}}).data
    assert [each.id for each in got] == charges[9:6:-1]


@pytest.mark.parametrize(
    ("params", "param", "message"),
    [
        ({"limit": 0}, "limit", "This value must be greater than or equal to 1"),
        ({"limit": 101}, "limit", "This value must be less than or equal to 100 (it currently is '101')."),
        ({"limit": "ten"}, "limit", "Invalid integer: ten"),
        ({"starting_after": "ch_nope"}, "starting_after", "No such charge: 'ch_nope'"),
        ({"starting_after": "a", "ending_before": "b"}, "ending_before", "You can't use both"),
        ({"status": "succeeded"}, "status", "Received unknown parameter: status"),
        ({"created": {"since": 1}}, "created[since]", "Received unknown parameter: created[since]"),
        ({"created": "yesterday"}, "created", "Invalid integer: yesterday"),
        ({"expand": ["customer"]}, "expand", "This property cannot be expanded (customer)"),
        ({"expand": ["data.amount"]}, "expand", "This property cannot be expanded (amount)"),
        ({"expand": ["data.a.b.c.d.e"]}, "expand", "You cannot expand more than 4 levels"),
    ],
)
def test_bad_lists(api, charges, params, param, message) -> None:
    """Each with Stripe's text and parameter."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.charges.list(params)
    assert message in str(refused.value)
    assert refused.value.param == param


def test_expand(api, customer, price) -> None:
    """Ids become objects, inside lists and through several levels."""
    api.payment_intents.create(
        {
            "amount": 900,
            "currency": "usd",
            "customer": customer.id,
            "payment_method": "pm_card_visa",
            "confirm": True,
            "off_session": True,
        }
    )
    listed = api.payment_intents.list({"expand": ["data.latest_charge.balance_transaction.source", "data.customer"]})
    intent = listed.data[0]
    assert intent.latest_charge.balance_transaction.source.id == intent.latest_charge.id
    assert intent.customer.email == "jenny@example.com"
    made = api.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": price.id}],
            "expand": ["latest_invoice.payments.data.payment.payment_intent", "items.data.price.product"],
        }
    )
    assert made["items"].data[0].price.product.name == "Plan"
    assert made.latest_invoice.payments.data[0].payment.payment_intent.status == "succeeded"
    plain = api.customers.retrieve(customer.id)
    assert not hasattr(plain, "sources")
    full = api.customers.retrieve(customer.id, {"expand": ["sources", "invoice_settings.default_payment_method"]})
    assert full.sources.data[0].id == full.default_source
    assert full.invoice_settings.default_payment_method.card.last4 == "4242"


def test_lists_by_resource(api, customer) -> None:
    """Filters of lists are the server's."""
    charge = api.charges.create({"amount": 900, "currency": "usd", "customer": customer.id, "transfer_group": "g"})
    api.charges.create({"amount": 900, "currency": "usd", "source": "tok_visa"})
    assert [each.id for each in api.charges.list({"customer": customer.id}).data] == [charge.id]
    assert [each.id for each in api.charges.list({"transfer_group": "g"}).data] == [charge.id]
    assert [each.id for each in api.customers.list({"email": "jenny@example.com"}).data] == [customer.id]
    assert api.customers.list({"email": "JENNY@example.com"}).data == []
    assert api.balance_transactions.list({"source": charge.id}).data[0].type == "charge"
    assert [each.type for each in api.events.list({"types": ["charge.succeeded", "payment_method.*"]}).data] == [
        "charge.succeeded",
        "charge.succeeded",
        "payment_method.attached",
    ]


# Search


@pytest.fixture
def people(api):
    for number, (name, order) in enumerate([("Ada Lovelace", "1"), ("Alan Turing", "2"), ("Grace Hopper", "it's")]):
        api.customers.create(
            {
                "name": name,
                "email": f"P{number}@Example.com",
                "metadata": {"order": order, "even": ""} if number else {"order": order},
            }
        )


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("email:'p0@example.com'", ["Ada Lovelace"]),
        ("name~'LAN'", ["Alan Turing"]),
        ('name:"grace hopper"', ["Grace Hopper"]),
        ("-name~'lan'", ["Grace Hopper", "Ada Lovelace"]),
        ("metadata['order']:'2'", ["Alan Turing"]),
        ("metadata['order']:'it\\'s'", ["Grace Hopper"]),
        ("metadata['order']:'1' OR metadata['order']:'2'", ["Alan Turing", "Ada Lovelace"]),
        ("-metadata['nope']:null", []),
        ("metadata['nope']:null AND created>0", ["Grace Hopper", "Alan Turing", "Ada Lovelace"]),
        ("created<1000", []),
    ],
)
def test_search_language(api, people, query, names) -> None:
    """Exact, substring, negation, metadata, null, AND and OR, without case."""
    assert [each.name for each in api.customers.search({"query": query}).data] == names


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "empty string"),
        ("name", "unable to parse"),
        ("name:'a' AND name:'b' OR name:'c'", "can't mix AND with OR"),
        ("shoe_size:'44'", "unsupported search field"),
        ("created~'12'", "does not support the operator"),
        ("created:'soon'", "takes a number"),
        ("name~'ab'", "at least 3 characters"),
        (" AND ".join(["created>1"] * 11), "at most 10 clauses"),
    ],
)
def test_bad_searches(api, query, message) -> None:
    """What is not in the language."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.customers.search({"query": query})
    assert message in str(refused.value)
    assert refused.value.param == "query"


def test_search_pages(api, charges) -> None:
    """`next_page` leads through all results; `total_count` when expanded."""
    page = api.charges.search({"query": "amount>=1000 AND currency:'usd'", "limit": 5, "expand": ["total_count"]})
    assert (page.object, page.has_more, page.total_count) == ("search_result", True, 13)
    assert [each.id for each in page.auto_paging_iter()] == charges[::-1]


def test_search_everywhere(api, customer, price) -> None:
    """All seven searchable resources answer."""
    api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}], "metadata": {"k": "v"}})
    assert len(api.subscriptions.search({"query": "status:'active' AND metadata['k']:'v'"}).data) == 1
    assert len(api.invoices.search({"query": f"customer:'{customer.id}' AND total>100"}).data) == 1
    assert len(api.prices.search({"query": f"product:'{price.product}' AND active:'true'"}).data) == 1
    assert len(api.products.search({"query": "name~'pla'"}).data) == 1
    assert len(api.payment_intents.search({"query": "status:'succeeded'"}).data) == 1
    assert len(api.charges.search({"query": "payment_method_details.card.last4:4242"}).data) == 1
    assert len(api.customers.search({"query": "name:'jenny'"}).data) == 1


def test_search_lags() -> None:
    """Search sees neither new objects nor changes until the lag has passed; lists do."""
    with sandbox(now=1_795_000_000, search_lag=60) as box:
        api = stripe.StripeClient(box.secret_key, base_addresses={"api": box.url}).v1
        made = api.customers.create({"name": "Before"})
        assert api.customers.search({"query": "name:'before'"}).data == []
        assert len(api.customers.list().data) == 1
        box.advance(61)
        assert len(api.customers.search({"query": "name:'before'"}).data) == 1
        api.customers.update(made.id, {"name": "After"})
        stale = api.customers.search({"query": "name:'before'"}).data
        assert [each.name for each in stale] == ["Before"]
        box.advance(61)
        assert [each.name for each in api.customers.search({"query": "name:'after'"}).data] == ["After"]

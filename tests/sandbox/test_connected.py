"""Connected accounts: their data apart, reached by a header."""

import pytest
import stripe

from tests.sandbox.test_shapes import checked


def test_data_apart(api, box, connect) -> None:
    """Each account and mode has its own objects, balance, events and endpoints."""
    first, second = box.connected_accounts
    api.customers.create({"name": "own"})
    theirs = api.customers.create({"name": "theirs"}, {"stripe_account": first})
    on = connect(stripe_account=first)
    assert [each.name for each in on.customers.list().data] == ["theirs"]
    assert [each.name for each in api.customers.list().data] == ["own"]
    assert connect(stripe_account=second).customers.list().data == []
    assert connect(box.live_key, stripe_account=first).customers.list().data == []
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        api.customers.retrieve(theirs.id)
    on.charges.create({"amount": 1000, "currency": "usd", "source": "tok_bypassPending"})
    assert on.balance.retrieve().available[0].amount == 941
    assert api.balance.retrieve().available[0].amount == 0
    assert [each.type for each in on.events.list().data][-1] == "customer.created"
    assert len(api.events.list().data) == 1
    box.pay_out("daily", account=first)
    box.advance(86_400)
    assert [each.amount for each in on.payouts.list().data] == [941]
    assert api.payouts.list().data == []


def test_accounts(api, box, connect) -> None:
    """The platform sees itself and those connected; a connected one only itself."""
    first, second = box.connected_accounts
    for identifier in (box.account, first):
        found = api.accounts.retrieve(identifier)
        assert found.id == identifier
        assert checked(found.to_dict()) == []
    assert [each.id for each in api.accounts.list().data] == [first, second]
    on = connect(stripe_account=first)
    assert on.accounts.retrieve_current().id == first
    assert on.accounts.list().data == []
    with pytest.raises(stripe.PermissionError):
        on.accounts.retrieve(second)


def test_unknown_accounts(api, connect) -> None:
    """403 by header and by path, in Stripe's words."""
    for call in (
        lambda: connect(stripe_account="acct_none").customers.list(),
        lambda: api.accounts.retrieve("acct_none"),
    ):
        with pytest.raises(stripe.PermissionError, match="does not have access to account 'acct_none'") as refused:
            call()
        assert (refused.value.http_status, refused.value.error.code) == (403, "account_invalid")


def test_keys_of_idempotency_are_apart(api, box) -> None:
    """The same key on two accounts makes two objects."""
    options = {"idempotency_key": "k"}
    own = api.customers.create({"name": "A"}, options)
    theirs = api.customers.create({"name": "A"}, {**options, "stripe_account": box.connected_accounts[0]})
    assert own.id != theirs.id
    assert api.customers.create({"name": "A"}, options).id == own.id


def test_a_restricted_key_on_an_account(box, connect) -> None:
    """Permissions hold there too, and the error names the account."""
    account = box.connected_accounts[0]
    limited = connect(box.restricted_key, stripe_account=account)
    assert limited.customers.list().data == []
    with pytest.raises(stripe.PermissionError, match=account):
        limited.customers.create({})
    with pytest.raises(stripe.PermissionError, match="rak_coupon_read"):
        limited.coupons.list()
    with pytest.raises(stripe.PermissionError, match="rak_webhook_write"):
        limited.webhook_endpoints.create({"url": "https://example.com", "enabled_events": ["*"]})

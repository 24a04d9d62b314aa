"""Test clocks: a time of its own for some customers."""

import pytest
import stripe

from tests.sandbox.test_shapes import checked

DAY = 86_400
START = 1_700_000_000


@pytest.fixture
def clock(api):
    return api.test_helpers.test_clocks.create({"frozen_time": START, "name": "Trial"})


@pytest.fixture
def clocked(api, clock):
    """A customer on the clock who pays with a card that works."""
    made = api.customers.create({"test_clock": clock.id, "payment_method": "pm_card_visa"})
    method = api.payment_methods.list({"customer": made.id}).data[0]
    return api.customers.update(made.id, {"invoice_settings": {"default_payment_method": method.id}})


def advance(api, clock, seconds: int):
    """Advance a clock and wait, as one does with Stripe's."""
    now = api.test_helpers.test_clocks.retrieve(clock.id).frozen_time
    answer = api.test_helpers.test_clocks.advance(clock.id, {"frozen_time": now + seconds})
    assert answer.status == "advancing"
    assert answer.status_details.advancing.target_frozen_time == now + seconds
    ready = api.test_helpers.test_clocks.retrieve(clock.id)
    assert (ready.status, ready.frozen_time) == ("ready", now + seconds)
    return ready


def test_life(api, box, clock) -> None:
    """Made, advanced, listed, deleted with its customers."""
    assert (clock.frozen_time, clock.status, clock.name) == (START, "ready", "Trial")
    customer = api.customers.create({"test_clock": clock.id})
    assert (customer.test_clock, customer.created) == (clock.id, START)
    advance(api, clock, DAY)
    assert [each.id for each in api.test_helpers.test_clocks.list().data] == [clock.id]
    assert api.customers.retrieve(customer.id, {"expand": ["test_clock"]}).test_clock.frozen_time == START + DAY
    assert [each for body in box.objects("test_helpers.test_clock") for each in checked(body)] == []
    assert api.test_helpers.test_clocks.delete(clock.id).deleted
    assert api.customers.retrieve(customer.id).deleted
    with pytest.raises(stripe.InvalidRequestError, match="No such testclock"):
        api.test_helpers.test_clocks.retrieve(clock.id)
    kinds = [each.type for each in api.events.list({"type": "test_helpers.*"}).data]
    assert sorted(kinds) == [f"test_helpers.test_clock.{name}" for name in ("advancing", "created", "deleted", "ready")]


def test_a_subscription_lives_by_its_clock(api, box, clock, clocked, customer, price) -> None:
    """Trial, first payment and renewal happen as the clock goes; nothing else moves."""
    made = api.subscriptions.create({"customer": clocked.id, "items": [{"price": price.id}], "trial_period_days": 7})
    other = api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    assert (made.status, made.created, made.test_clock) == ("trialing", START, clock.id)
    box.advance(29 * DAY)
    assert api.subscriptions.retrieve(made.id).status == "trialing"
    renewed = len(api.invoices.list({"subscription": other.id}).data)
    advance(api, clock, 7 * DAY + 3_600)
    assert api.subscriptions.retrieve(made.id).status == "active"
    advance(api, clock, 31 * DAY + 3_600)
    invoices = api.invoices.list({"subscription": made.id}).data
    assert [(each.status, each.amount_paid) for each in invoices] == [("paid", 2000), ("paid", 2000), ("paid", 0)]
    assert invoices[0].created == made.trial_end + 30 * DAY
    assert {each.test_clock for each in invoices} == {clock.id}
    assert len(api.invoices.list({"subscription": other.id}).data) == renewed
    for kind in ("customer", "subscription", "invoice", "event"):
        assert [each for body in box.objects(kind) for each in checked(body)] == []


def test_left_out_of_lists(api, clock, clocked, customer, price) -> None:
    """Lists of everything leave a clock's objects out; by clock or owner they are there."""
    made = api.subscriptions.create({"customer": clocked.id, "items": [{"price": price.id}]})
    api.invoice_items.create({"customer": clocked.id, "amount": 5, "currency": "usd"})
    assert [each.id for each in api.customers.list().data] == [customer.id]
    assert [each.id for each in api.customers.list({"test_clock": clock.id}).data] == [clocked.id]
    assert api.subscriptions.list().data == []
    assert [each.id for each in api.subscriptions.list({"test_clock": clock.id}).data] == [made.id]
    assert [each.id for each in api.subscriptions.list({"customer": clocked.id}).data] == [made.id]
    assert api.invoices.list().data == []
    assert len(api.invoices.list({"customer": clocked.id}).data) == 1
    assert len(api.invoices.list({"subscription": made.id}).data) == 1
    assert api.invoice_items.list().data == []
    assert len(api.invoice_items.list({"customer": clocked.id}).data) == 1
    with pytest.raises(stripe.InvalidRequestError, match="No such testclock"):
        api.customers.list({"test_clock": "clock_none"})


def test_a_card_that_fails_by_the_clock(api, box, clock, price) -> None:
    """Dunning runs by the clock up to the cancellation."""
    made = api.customers.create({"test_clock": clock.id, "payment_method": "pm_card_chargeCustomerFail"})
    method = api.payment_methods.list({"customer": made.id}).data[0]
    api.customers.update(made.id, {"invoice_settings": {"default_payment_method": method.id}})
    subscription = api.subscriptions.create(
        {"customer": made.id, "items": [{"price": price.id}], "trial_period_days": 7}
    )
    advance(api, clock, 7 * DAY + 3_600)
    assert api.subscriptions.retrieve(subscription.id).status == "past_due"
    advance(api, clock, 16 * DAY)
    assert api.subscriptions.retrieve(subscription.id).status == "canceled"


def test_what_is_refused(api, connect, box, clock) -> None:
    """Backwards, twice at once, without a time, and live."""
    clocks = api.test_helpers.test_clocks
    for moment in (START, START - 1):
        with pytest.raises(stripe.InvalidRequestError, match="future"):
            clocks.advance(clock.id, {"frozen_time": moment})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        clocks.create({})
    assert refused.value.param == "frozen_time"
    with pytest.raises(stripe.InvalidRequestError, match="test mode"):
        connect(box.live_key).test_helpers.test_clocks.create({"frozen_time": START})
    with pytest.raises(stripe.InvalidRequestError, match="No such testclock"):
        api.customers.create({"test_clock": "clock_none"})


def test_keys_are_kept_by_the_sandbox_clock(api, clock) -> None:
    """A replay works although the clock stands years back."""
    params = {"test_clock": clock.id, "name": "A"}
    first = api.customers.create(params, {"idempotency_key": "k"})
    assert api.customers.create(params, {"idempotency_key": "k"}).id == first.id


def test_clocks_go_after_thirty_days(api, box, clock, clocked) -> None:
    """By the sandbox's time."""
    box.advance(30 * DAY)
    assert api.test_helpers.test_clocks.list().data == []
    assert api.customers.retrieve(clocked.id).deleted

"""Setup intents: cards made ready for later."""

import pytest
import stripe

from tests.sandbox.test_shapes import checked


def test_a_card_is_set_up(api, box, customer) -> None:
    """Confirmed: attached to the customer, then usable without them."""
    made = api.setup_intents.create(
        {"customer": customer.id, "payment_method": "pm_card_authenticationRequiredOnSetup"}
    )
    assert made.status == "requires_confirmation"
    asked = api.setup_intents.confirm(made.id)
    assert (asked.status, asked.next_action.type) == ("requires_action", "use_stripe_sdk")
    box.authenticate(made.id)
    done = api.setup_intents.retrieve(made.id, {"expand": ["payment_method"]})
    assert (done.status, done.payment_method.customer) == ("succeeded", customer.id)
    paid = api.payment_intents.create(
        {
            "amount": 500,
            "currency": "usd",
            "customer": customer.id,
            "payment_method": done.payment_method.id,
            "confirm": True,
            "off_session": True,
        }
    )
    assert paid.status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.setup_intents.cancel(made.id)
    assert refused.value.code == "setup_intent_unexpected_state"
    assert [each for body in box.objects("setup_intent") for each in checked(body)] == []


def test_cards_that_fail(api, box) -> None:
    """A declined card leaves its error; authentication may fail; then it is canceled."""
    with pytest.raises(stripe.CardError) as refused:
        api.setup_intents.create({"payment_method": "pm_card_chargeDeclined", "confirm": True})
    failed = refused.value.error.setup_intent
    assert (failed.status, failed.last_setup_error.code) == ("requires_payment_method", "card_declined")
    made = api.setup_intents.create({"payment_method": "pm_card_authenticationRequired", "confirm": True})
    box.authenticate(made.id, succeed=False)
    assert api.setup_intents.retrieve(made.id).last_setup_error.code == "authentication_required"
    assert api.setup_intents.cancel(made.id, {"cancellation_reason": "abandoned"}).status == "canceled"
    kinds = {each["type"] for each in box.objects("event")}
    assert {f"setup_intent.{name}" for name in ("created", "requires_action", "setup_failed", "canceled")} <= kinds
    assert [each for body in box.objects("setup_intent") for each in checked(body)] == []


def test_changes_and_lists(api, customer) -> None:
    """Updated before confirmation; listed by customer and payment method."""
    made = api.setup_intents.create({})
    assert made.status == "requires_payment_method"
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        api.setup_intents.confirm(made.id)
    changed = api.setup_intents.update(
        made.id, {"customer": customer.id, "payment_method": "pm_card_visa", "description": "A", "metadata": {"a": "1"}}
    )
    assert (changed.status, changed.description) == ("requires_confirmation", "A")
    assert api.setup_intents.confirm(made.id).status == "succeeded"
    api.setup_intents.create({})
    assert [each.id for each in api.setup_intents.list({"customer": customer.id}).data] == [made.id]
    assert [each.id for each in api.setup_intents.list({"payment_method": changed.payment_method}).data] == [made.id]

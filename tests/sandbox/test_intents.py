"""Payment intents and payment methods."""

import pytest
import stripe

ONCE = {"confirm": True, "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}}
BASE = {"amount": 2000, "currency": "usd"}


def test_step_by_step(api, box) -> None:
    """Create, give a payment method, confirm: and what each state tells."""
    intent = api.payment_intents.create(BASE)
    assert (intent.status, intent.capture_method) == ("requires_payment_method", "automatic_async")
    with pytest.raises(stripe.InvalidRequestError) as missing:
        api.payment_intents.confirm(intent.id)
    assert missing.value.code == "payment_intent_unexpected_state"
    assert missing.value.error.payment_intent.id == intent.id
    updated = api.payment_intents.update(intent.id, {"payment_method": "pm_card_visa", "amount": 2500})
    assert (updated.status, updated.amount) == ("requires_confirmation", 2500)
    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        api.payment_intents.confirm(intent.id)
    done = api.payment_intents.confirm(intent.id, {"return_url": "https://example.com/"})
    assert (done.status, done.amount_received) == ("succeeded", 2500)
    charge = api.charges.list({"payment_intent": intent.id}).data[0]
    assert (charge.id, charge.amount, charge.payment_intent) == (done.latest_charge, 2500, intent.id)
    with pytest.raises(stripe.InvalidRequestError, match="already succeeded"):
        api.payment_intents.confirm(intent.id)
    assert [e.type for e in api.events.list().data if e.type.startswith("payment_intent")] == [
        "payment_intent.succeeded",
        "payment_intent.created",
    ]


def test_manual_capture_and_cancel(api) -> None:
    """Capture in part; cancel releases what was authorised."""
    manual = {**BASE, **ONCE, "payment_method": "pm_card_visa", "capture_method": "manual"}
    intent = api.payment_intents.create(manual)
    assert (intent.status, intent.amount_capturable) == ("requires_capture", 2000)
    with pytest.raises(stripe.InvalidRequestError) as much:
        api.payment_intents.capture(intent.id, {"amount_to_capture": 2001})
    assert much.value.code == "amount_too_large"
    done = api.payment_intents.capture(intent.id, {"amount_to_capture": 1500})
    assert (done.status, done.amount_received) == ("succeeded", 1500)
    other = api.payment_intents.create(manual)
    canceled = api.payment_intents.cancel(other.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert api.charges.retrieve(other.latest_charge).refunded is True
    with pytest.raises(stripe.InvalidRequestError, match="status of canceled"):
        api.payment_intents.cancel(other.id)
    with pytest.raises(stripe.InvalidRequestError, match="could not be captured"):
        api.payment_intents.capture(other.id)


def test_decline_leaves_its_traces(api) -> None:
    """A declined confirmation answers 402 with the intent, which then needs another payment method."""
    with pytest.raises(stripe.CardError) as declined:
        api.payment_intents.create({**BASE, **ONCE, "payment_method": "pm_card_chargeDeclinedInsufficientFunds"})
    error = declined.value.error
    assert (error.code, error.decline_code) == ("card_declined", "insufficient_funds")
    intent = api.payment_intents.retrieve(error.payment_intent.id)
    assert (intent.status, intent.payment_method) == ("requires_payment_method", None)
    assert intent.last_payment_error.decline_code == "insufficient_funds"
    again = api.payment_intents.confirm(
        intent.id, {"payment_method": "pm_card_visa", "return_url": "https://x.example/"}
    )
    assert again.status == "succeeded"
    assert len(api.charges.list({"payment_intent": intent.id}).data) == 2


def test_authentication(api, box, customer) -> None:
    """On session the customer is asked; off session such a card is declined."""
    asked = api.payment_intents.create({**BASE, **ONCE, "payment_method": "pm_card_authenticationRequired"})
    assert (asked.status, asked.next_action.type) == ("requires_action", "use_stripe_sdk")
    box.authenticate(asked.id)
    assert api.payment_intents.retrieve(asked.id).status == "succeeded"
    failed = api.payment_intents.create({**BASE, **ONCE, "payment_method": "pm_card_authenticationRequired"})
    box.authenticate(failed.id, succeed=False)
    after = api.payment_intents.retrieve(failed.id)
    assert after.status == "requires_payment_method"
    assert after.last_payment_error.code == "payment_intent_authentication_failure"
    method = api.payment_methods.attach("pm_card_authenticationRequired", {"customer": customer.id})
    unattended = {**BASE, "customer": customer.id, "payment_method": method.id, "confirm": True}
    for how in ({"off_session": True}, {"error_on_requires_action": True}):
        with pytest.raises(stripe.CardError) as refused:
            api.payment_intents.create({**unattended, **how})
        assert refused.value.code == "authentication_required"
        assert refused.value.error.payment_intent.status == "requires_payment_method"


def test_set_up_cards_need_no_second_authentication(api, box, customer) -> None:
    """A card that is set up for later use is charged off session without the customer."""
    first = api.payment_intents.create(
        {
            **BASE,
            **ONCE,
            "customer": customer.id,
            "payment_method": "pm_card_authenticationRequiredOnSetup",
            "setup_future_usage": "off_session",
        }
    )
    box.authenticate(first.id)
    method = api.payment_intents.retrieve(first.id).payment_method
    later = {**BASE, "customer": customer.id, "payment_method": method, "confirm": True, "off_session": True}
    assert api.payment_intents.create(later).status == "succeeded"


def test_only_with_confirm(api) -> None:
    """Parameters of the confirmation are refused without one."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.payment_intents.create({**BASE, "off_session": True})
    assert refused.value.param == "off_session"


def test_renamed_parameter(api) -> None:
    """`payment_method_types` is gone since 2026-09-30; its successor works."""
    with pytest.raises(stripe.InvalidRequestError, match="Received unknown parameter: payment_method_types") as gone:
        api.payment_intents.create({**BASE, "payment_method_types": ["card"]})
    assert gone.value.code == "parameter_unknown"
    intent = api.payment_intents.create(
        {**BASE, "allowed_payment_method_types": ["card"], "payment_method": "pm_card_visa", "confirm": True}
    )
    assert intent.status == "succeeded"


def test_owners_of_payment_methods(api, customer) -> None:
    """Attached ones need their customer, spent ones are spent, declined ones can't be attached."""
    attached = api.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    with pytest.raises(stripe.InvalidRequestError, match="belongs to the Customer"):
        api.payment_intents.create({**BASE, "payment_method": attached.id})
    loose = api.payment_methods.create({"type": "card", "card": {"token": "tok_mastercard"}})
    api.payment_intents.create({**BASE, **ONCE, "payment_method": loose.id})
    with pytest.raises(stripe.InvalidRequestError, match="previously used"):
        api.payment_intents.create({**BASE, "payment_method": loose.id})
    with pytest.raises(stripe.CardError):
        api.payment_methods.attach("pm_card_chargeDeclined", {"customer": customer.id})
    with pytest.raises(stripe.InvalidRequestError, match="No such PaymentMethod: 'pm_nope'"):
        api.payment_methods.attach("pm_nope", {"customer": customer.id})
    assert {each.id for each in api.payment_methods.list({"customer": customer.id, "type": "card"}).data} >= {
        attached.id
    }
    assert len(api.customers.payment_methods.list(customer.id).data) == 2
    detached = api.payment_methods.detach(attached.id)
    assert detached.customer is None
    with pytest.raises(stripe.InvalidRequestError, match="not attached"):
        api.payment_methods.detach(attached.id)


@pytest.mark.parametrize(
    ("number", "code"),
    [("4242424242424241", "incorrect_number"), ("4111111111111111", "card_declined"), ("abc", "incorrect_number")],
)
def test_card_numbers(api, number, code) -> None:
    """Only Stripe's test numbers work, with Stripe's errors for others."""
    card = {"number": number, "exp_month": 1, "exp_year": 2031}
    with pytest.raises(stripe.CardError) as refused:
        api.payment_methods.create({"type": "card", "card": card})
    assert refused.value.code == code

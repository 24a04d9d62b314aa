"""Charges, refunds and disputes: life cycles, and the money that they move."""

import pytest
import stripe


def balance_of(api, currency: str = "usd") -> tuple[int, int]:
    balance = api.balance.retrieve()
    sums = [
        [each.amount for each in part if each.currency == currency] for part in (balance.available, balance.pending)
    ]
    return sum(sums[0]), sum(sums[1])


def test_a_charge_moves_money_once(api, customer) -> None:
    """A charge of a customer's default source, its fee, and its events."""
    charge = api.charges.create(
        {"amount": 1000, "currency": "USD", "customer": customer.id, "metadata": {"order": "1"}}
    )
    assert (charge.status, charge.paid, charge.captured, charge.currency) == ("succeeded", True, True, "usd")
    assert charge.payment_method == customer.default_source == charge.source.id
    moved = api.balance_transactions.retrieve(charge.balance_transaction)
    assert (moved.amount, moved.fee, moved.net, moved.source) == (1000, 59, 941, charge.id)
    assert (moved.status, balance_of(api)) == ("pending", (0, 941))


def test_money_becomes_available_with_time(api, box, customer) -> None:
    """After two days a pending amount is available, and can be paid out."""
    api.charges.create({"amount": 10_000, "currency": "usd", "customer": customer.id})
    box.advance(3 * 86_400)
    assert balance_of(api) == (9680, 0)
    payout = api.payouts.create({"amount": 9000, "currency": "usd"})
    assert (payout.status, balance_of(api)) == ("pending", (680, 0))
    with pytest.raises(stripe.InvalidRequestError) as short:
        api.payouts.create({"amount": 681, "currency": "usd"})
    assert short.value.code == "balance_insufficient"
    box.advance(3 * 86_400)
    assert api.payouts.retrieve(payout.id).status == "paid"


@pytest.mark.parametrize(
    ("source", "code", "decline"),
    [
        ("tok_chargeDeclined", "card_declined", "generic_decline"),
        ("tok_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("tok_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("tok_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("tok_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
        ("tok_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("tok_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("tok_chargeDeclinedProcessingError", "processing_error", "processing_error"),
        ("tok_chargeCustomerFail", "card_declined", "generic_decline"),
        ("tok_radarBlock", "card_declined", "fraudulent"),
        ("tok_authenticationRequired", "authentication_required", "authentication_required"),
    ],
)
def test_declines(api, box, source, code, decline) -> None:
    """Each failing test card answers 402 with its codes; the failed charge stays, no money moved."""
    with pytest.raises(stripe.CardError) as declined:
        api.charges.create({"amount": 1000, "currency": "usd", "source": source})
    error = declined.value
    assert (error.http_status, error.code, error.error.decline_code) == (402, code, decline)
    assert error.request_id.startswith("req_")
    if code != "authentication_required":
        failed = api.charges.retrieve(error.error.charge)
        assert (failed.status, failed.paid, failed.failure_code) == ("failed", False, code)
    assert box.count("balance_transaction") == 0


def test_capture_later(api) -> None:
    """An authorisation moves no money until it is captured, for less if wanted."""
    held = api.charges.create({"amount": 1000, "currency": "usd", "source": "tok_visa", "capture": False})
    assert (held.captured, held.amount_captured, held.balance_transaction) == (False, 0, None)
    captured = api.charges.capture(held.id, {"amount": 600})
    assert (captured.captured, captured.amount_captured, captured.amount_refunded) == (True, 600, 400)
    with pytest.raises(stripe.InvalidRequestError) as again:
        api.charges.capture(held.id)
    assert again.value.code == "charge_already_captured"


def test_refunds_never_exceed_the_charge(api, customer) -> None:
    """Partial and equal refunds up to the charge's amount, not beyond."""
    charge = api.charges.create({"amount": 1000, "currency": "usd", "customer": customer.id})
    first = api.refunds.create({"charge": charge.id, "amount": 300, "reason": "requested_by_customer"})
    second = api.refunds.create({"charge": charge.id, "amount": 300})
    assert first.id != second.id
    assert api.charges.retrieve(charge.id).amount_refunded == 600
    with pytest.raises(stripe.InvalidRequestError) as beyond:
        api.refunds.create({"charge": charge.id, "amount": 401})
    assert str(beyond.value).endswith("Refund amount ($4.01) is greater than unrefunded amount on charge ($4.00)")
    rest = api.refunds.create({"charge": charge.id})
    assert (rest.amount, api.charges.retrieve(charge.id).refunded) == (400, True)
    with pytest.raises(stripe.InvalidRequestError) as done:
        api.refunds.create({"charge": charge.id})
    assert done.value.code == "charge_already_refunded"
    assert [each.amount for each in api.refunds.list({"charge": charge.id}).data] == [400, 300, 300]
    assert [each.id for each in api.charges.retrieve(charge.id, {"expand": ["refunds"]}).refunds.data][-1] == first.id
    assert sum(each.net for each in api.balance_transactions.list().data) == -59


def test_refunds_that_end_later(api, box) -> None:
    """Stripe's cards for pending and failing refunds."""
    pending = api.charges.create({"amount": 1000, "currency": "usd", "source": "tok_pendingRefund"})
    failing = api.charges.create({"amount": 1000, "currency": "usd", "source": "tok_refundFail"})
    waits = api.refunds.create({"charge": pending.id})
    fails = api.refunds.create({"charge": failing.id})
    assert (waits.status, fails.status) == ("pending", "succeeded")
    box.advance(3600)
    assert api.refunds.retrieve(waits.id).status == "succeeded"
    failed = api.refunds.retrieve(fails.id)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert api.charges.retrieve(failing.id).refunded is False
    assert [e.type for e in api.events.list({"type": "refund.failed"}).data] == ["refund.failed"]


def test_a_dispute_takes_money_and_may_return_it(api, box) -> None:
    """A dispute withdraws the amount and a fee; winning returns the amount."""
    charge = api.charges.create({"amount": 5000, "currency": "usd", "source": "tok_createDispute"})
    dispute = api.disputes.list({"charge": charge.id}).data[0]
    assert (dispute.status, dispute.amount, dispute.reason) == ("needs_response", 5000, "fraudulent")
    assert api.charges.retrieve(charge.id).disputed is True
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.refunds.create({"charge": charge.id})
    assert refused.value.code == "charge_disputed"
    won = api.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}, "submit": True})
    assert won.status == "won"
    nets = [each.net for each in api.balance_transactions.list().data]
    assert nets == [5000, -6500, 4825]
    other = api.charges.create({"amount": 5000, "currency": "usd", "source": "tok_visa"})
    lost = box.dispute(other.id, reason="product_not_received")
    assert api.disputes.close(lost["id"]).status == "lost"
    asked = box.dispute(api.charges.create({"amount": 5000, "currency": "usd", "source": "tok_visa"}).id, inquiry=True)
    assert asked["balance_transactions"] == []
    assert box.decide(asked["id"], won=True)["status"] == "warning_closed"
    assert box.object(asked["id"])["status"] == "warning_closed"
    assert box.object("du_nope") is None


def test_currencies_and_amounts(api) -> None:
    """Zero and three decimals, least and greatest amounts, unknown currencies."""
    create = api.charges.create
    assert create({"amount": 50, "currency": "jpy", "source": "tok_jp"}).amount == 50
    assert create({"amount": 5010, "currency": "kwd", "source": "tok_visa"}).currency == "kwd"
    for params, code in [
        ({"amount": 49, "currency": "usd"}, "amount_too_small"),
        ({"amount": 100_000_000, "currency": "usd"}, "amount_too_large"),
        ({"amount": 5001, "currency": "kwd"}, "parameter_invalid_integer"),
        ({"amount": 0, "currency": "usd"}, "parameter_invalid_integer"),
    ]:
        with pytest.raises(stripe.InvalidRequestError) as refused:
            create({**params, "source": "tok_visa"})
        assert (refused.value.code, refused.value.param) == (code, "amount")
    with pytest.raises(stripe.InvalidRequestError, match=r"Invalid currency: xyz. Stripe currently supports these"):
        create({"amount": 100, "currency": "xyz", "source": "tok_visa"})


def test_sources_of_charges(api, customer) -> None:
    """What a charge may be made of, and what not."""
    base = {"amount": 1000, "currency": "usd"}
    bare = api.customers.create()
    with pytest.raises(stripe.InvalidRequestError, match=r"Must provide source or customer."):
        api.charges.create(base)
    with pytest.raises(stripe.CardError, match="no active card"):
        api.charges.create({**base, "customer": bare.id})
    with pytest.raises(stripe.InvalidRequestError, match="No such token: 'pm_card_visa'"):
        api.charges.create({**base, "source": "pm_card_visa"})
    with pytest.raises(stripe.InvalidRequestError, match="No such customer: 'cus_x'"):
        api.charges.create({**base, "customer": "cus_x"})
    card = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2030, "cvc": "123"}
    token = api.tokens.create({"card": card})
    assert api.charges.create({**base, "source": token.id}).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError) as spent:
        api.charges.create({**base, "source": token.id})
    assert spent.value.code == "token_already_used"
    updated = api.charges.update(api.charges.create({**base, "source": "tok_visa"}).id, {"metadata": {"a": "b"}})
    assert updated.metadata["a"] == "b"

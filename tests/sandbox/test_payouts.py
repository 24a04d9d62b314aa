"""The balance and what changes it from outside: payouts, disputes, refunds that fail."""

import pytest
import stripe

from tests.sandbox.test_shapes import checked

DAY = 86_400


def transactions(api, **params):
    return list(api.balance_transactions.list({"limit": 100, **params}).auto_paging_iter())


def balance(api) -> dict[str, tuple[int, int]]:
    found = api.balance.retrieve()
    pending = {each.currency: each.amount for each in found.pending}
    return {each.currency: (each.amount, pending[each.currency]) for each in found.available}


def ties_out(api) -> None:
    """The balance is the sum of its transactions; each automatic payout that of those it settles."""
    sums: dict[str, int] = {}
    for each in transactions(api):
        assert each.net == each.amount - each.fee
        sums[each.currency] = sums.get(each.currency, 0) + each.net
    shown = {currency: sum(both) for currency, both in balance(api).items()}
    assert {name: net for name, net in sums.items() if net} == {name: net for name, net in shown.items() if net}
    settled: list[str] = []
    for payout in api.payouts.list({"limit": 100}).data:
        found = transactions(api, payout=payout.id)
        assert sum(each.net for each in found) == (payout.amount if payout.automatic else 0)
        assert {each.currency for each in found} <= {payout.currency}
        settled += [each.id for each in found]
    assert len(settled) == len(set(settled))


def charge(api, amount: int, currency: str = "usd", source: str = "tok_visa", **params):
    return api.charges.create({"amount": amount, "currency": currency, "source": source, **params})


def test_daily_payouts_tie_out(api, box) -> None:
    """Charges in three currencies, refunds and a dispute, over days: every unit is in one payout."""
    box.pay_out("daily")
    assert api.accounts.retrieve_current().settings.payouts.schedule.interval == "daily"
    for day in range(6):
        for currency, amount in (("usd", 1999), ("jpy", 777), ("kwd", 12340)):
            made = charge(api, amount + 10 * day, currency)
            if day % 2:
                api.refunds.create({"charge": made.id, "amount": 500})
        if day == 2:
            charge(api, 900, "usd", "tok_createDispute")
        box.advance(DAY)
        ties_out(api)
    box.advance(4 * DAY)
    ties_out(api)
    payouts = api.payouts.list({"limit": 100}).data
    assert {each.currency for each in payouts} == {"usd", "jpy", "kwd"}
    assert all(each.automatic and each.amount > 0 and each.status == "paid" for each in payouts)
    assert all(each.reconciliation_status == "completed" for each in payouts)
    assert all(sum(both) == 0 for both in balance(api).values())
    assert [each for body in box.objects("payout") for each in checked(body)] == []
    assert [each for body in box.objects("balance_transaction") for each in checked(body)] == []


def test_a_debt_is_carried_on(api, box) -> None:
    """A day below zero has no payout; a later one makes up for it, exactly."""
    box.pay_out("daily")
    made = charge(api, 5000, source="tok_bypassPending")
    box.advance(DAY)
    assert [each.amount for each in api.payouts.list().data] == [5000 - 175]
    api.refunds.create({"charge": made.id})
    box.advance(DAY)
    assert len(api.payouts.list().data) == 1
    charge(api, 9000, source="tok_bypassPending")
    box.advance(DAY)
    latest = api.payouts.list().data[0]
    assert latest.amount == 9000 - 291 - 5000
    assert sorted(each.type for each in transactions(api, payout=latest.id)) == ["charge", "refund"]
    ties_out(api)


def test_manual_and_back(api, box) -> None:
    """A manual payout settles nothing by name; the next automatic one counts it."""
    charge(api, 10_000, source="tok_bypassPending")
    manual = api.payouts.create({"amount": 4000, "currency": "usd", "metadata": {"a": "1"}})
    assert transactions(api, payout=manual.id) == []
    box.pay_out("daily")
    box.advance(DAY)
    automatic = api.payouts.list().data[0]
    assert automatic.amount == 10_000 - 320 - 4000
    ties_out(api)
    box.pay_out("manual")
    charge(api, 10_000, source="tok_bypassPending")
    box.advance(3 * DAY)
    assert len(api.payouts.list().data) == 2


def test_failed_payouts(api, box) -> None:
    """The bank refuses, also late: the amount returns and the next payout takes it."""
    box.pay_out("daily")
    charge(api, 10_000, source="tok_bypassPending")
    box.advance(DAY)
    (payout,) = api.payouts.list().data
    box.advance(2 * DAY)
    assert api.payouts.retrieve(payout.id).status == "paid"
    box.fail_payout(payout.id, "account_closed")
    failed = api.payouts.retrieve(payout.id, {"expand": ["failure_balance_transaction", "balance_transaction"]})
    assert (failed.status, failed.failure_code) == ("failed", "account_closed")
    assert failed.failure_balance_transaction.net == -failed.balance_transaction.net == payout.amount
    assert failed.failure_balance_transaction.type == "payout_failure"
    ties_out(api)
    box.advance(DAY)
    again = api.payouts.list({"status": "pending"}).data[0]
    assert again.amount == payout.amount
    assert [each.type for each in transactions(api, payout=again.id)] == ["payout_failure"]
    kinds = [each.type for each in reversed(api.events.list({"type": "payout.*"}).data)]
    assert kinds == ["payout.created", "payout.paid", "payout.failed", "payout.created"]
    with pytest.raises(ValueError, match="can't fail"):
        _raise_value(lambda: box.fail_payout(payout.id))


def _raise_value(action) -> None:
    try:
        action()
    except Exception as error:
        raise ValueError(str(error)) from error


def test_canceled_and_reversed(api, box) -> None:
    """A pending one is canceled; a paid one is fetched back, once."""
    charge(api, 10_000, source="tok_bypassPending")
    first = api.payouts.create({"amount": 100, "currency": "usd"})
    assert api.payouts.cancel(first.id).status == "canceled"
    second = api.payouts.create({"amount": 200, "currency": "usd"})
    with pytest.raises(stripe.InvalidRequestError, match="pending"):
        api.payouts.reverse(second.id)
    box.advance(3 * DAY)
    with pytest.raises(stripe.InvalidRequestError, match="can't be canceled"):
        api.payouts.cancel(second.id)
    back = api.payouts.reverse(second.id, {"metadata": {"why": "wrong"}})
    assert (back.amount, back.original_payout) == (-200, second.id)
    assert api.payouts.retrieve(second.id, {"expand": ["reversed_by"]}).reversed_by.id == back.id
    with pytest.raises(stripe.InvalidRequestError, match="reversed"):
        api.payouts.reverse(second.id)
    ties_out(api)
    assert balance(api)["usd"] == (10_000 - 320, 0)


def test_payouts_are_filtered(api, box) -> None:
    """By status, arrival and destination; an unknown one is refused."""
    charge(api, 10_000, source="tok_bypassPending")
    now = api.payouts.create({"amount": 100, "currency": "usd", "method": "instant"})
    later = api.payouts.create({"amount": 200, "currency": "usd"})
    box.advance(1)
    assert [each.id for each in api.payouts.list({"status": "paid"}).data] == [now.id]
    assert [each.id for each in api.payouts.list({"arrival_date": {"gt": box.now}}).data] == [later.id]
    assert len(api.payouts.list({"destination": now.destination}).data) == 2
    with pytest.raises(stripe.InvalidRequestError, match="No such payout"):
        api.balance_transactions.list({"payout": "po_none"})
    with pytest.raises(stripe.InvalidRequestError, match="insufficient funds"):
        api.payouts.create({"amount": 10_000, "currency": "usd"})


# Disputes


def test_a_dispute_is_lost(api, box) -> None:
    """Amount and fee leave; closing it loses it for good."""
    made = charge(api, 5000, source="tok_createDispute")
    (dispute,) = api.disputes.list({"charge": made.id}).data
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", "fraudulent", 5000)
    assert [(each.amount, each.fee, each.type) for each in dispute.balance_transactions] == [
        (-5000, 1500, "adjustment")
    ]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.refunds.create({"charge": made.id})
    assert refused.value.code == "charge_disputed"
    assert api.disputes.close(dispute.id).status == "lost"
    with pytest.raises(stripe.InvalidRequestError, match="closed"):
        api.disputes.close(dispute.id)
    ties_out(api)


def test_a_dispute_is_won(api, box) -> None:
    """Evidence is kept, submitted, and wins: the amount comes back, the fee doesn't."""
    made = charge(api, 5000, source="tok_createDispute")
    (dispute,) = api.disputes.list().data
    kept = api.disputes.update(dispute.id, {"evidence": {"customer_name": "Jenny"}, "submit": False})
    assert (kept.status, kept.evidence_details.has_evidence) == ("needs_response", True)
    assert kept.evidence_details.submission_count == 0
    sent = api.disputes.update(dispute.id, {"evidence": {"product_description": "Lamp"}})
    assert (sent.status, sent.evidence.customer_name) == ("under_review", "Jenny")
    with pytest.raises(stripe.InvalidRequestError, match="under review"):
        api.disputes.update(dispute.id, {"evidence": {"receipt": "file_1"}})
    box.decide(dispute.id, won=True)
    won = api.disputes.retrieve(dispute.id)
    assert (won.status, sum(each.net for each in won.balance_transactions)) == ("won", -1500)
    assert api.charges.retrieve(made.id).disputed
    assert api.refunds.create({"charge": made.id}).status == "succeeded"
    kinds = [each.type for each in reversed(api.events.list({"type": "charge.dispute.*"}).data)]
    assert kinds == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "charge.dispute.updated",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
    ]
    ties_out(api)
    assert [each for body in box.objects("dispute") for each in checked(body)] == []


@pytest.mark.parametrize(("text", "status"), [("winning_evidence", "won"), ("losing_evidence", "lost")])
def test_test_evidence_decides(api, text, status) -> None:
    """The texts that decide a dispute in Stripe's test mode."""
    charge(api, 5000, source="tok_createDispute")
    (dispute,) = api.disputes.list().data
    assert api.disputes.update(dispute.id, {"evidence": {"uncategorized_text": text}}).status == status


def test_an_unanswered_dispute_is_lost(api, box) -> None:
    """When the time to answer is over."""
    charge(api, 5000, source="tok_createDispute")
    charge(api, 5000, source="tok_createDisputeInquiry")
    box.advance(9 * DAY)
    assert [(each.status, each.evidence_details.past_due) for each in api.disputes.list().data] == [
        ("warning_closed", True),
        ("lost", True),
    ]


def test_inquiries(api, box) -> None:
    """An inquiry takes no money and ends with a refund, or becomes a chargeback."""
    first, second = (charge(api, 5000, source="tok_createDisputeInquiry") for _ in range(2))
    asked, escalated = (api.disputes.list({"charge": each.id}).data[0] for each in (first, second))
    assert (asked.status, asked.balance_transactions) == ("warning_needs_response", [])
    api.refunds.create({"charge": first.id})
    assert api.disputes.retrieve(asked.id).status == "warning_closed"
    box.escalate(escalated.id)
    now = api.disputes.retrieve(escalated.id)
    assert (now.status, [each.net for each in now.balance_transactions]) == ("needs_response", [-6500])
    assert now.payment_method_details.card.case_type == "chargeback"
    ties_out(api)
    assert [each for body in box.objects("dispute") for each in checked(body)] == []


def test_disputes_on_demand(api, box) -> None:
    """Any charge that took money, once."""
    made = charge(api, 5000)
    box.dispute(made.id, reason="product_not_received")
    with pytest.raises(Exception, match="already been disputed"):
        box.dispute(made.id)
    held = charge(api, 5000, capture=False)
    with pytest.raises(Exception, match="took no money"):
        box.dispute(held.id)


# Refunds


def test_equal_refunds(api) -> None:
    """Two equal refunds are two refunds; never more than the charge."""
    made = charge(api, 1000)
    both = [api.refunds.create({"charge": made.id, "amount": 400}) for _ in range(2)]
    assert both[0].id != both[1].id
    with pytest.raises(stripe.InvalidRequestError, match=r"greater than unrefunded amount on charge \(\$2.00\)"):
        api.refunds.create({"charge": made.id, "amount": 400})
    ties_out(api)


def test_refunds_that_fail(api, box) -> None:
    """The money returns; the charge may be refunded again; pending ones arrive; none can be canceled."""
    made = charge(api, 1000, source="tok_refundFail")
    refund = api.refunds.create({"charge": made.id})
    box.advance(60)
    failed = api.refunds.retrieve(refund.id, {"expand": ["failure_balance_transaction"]})
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert failed.failure_balance_transaction.net == 1000
    assert api.charges.retrieve(made.id).amount_refunded == 0
    pending = api.refunds.create({"payment_intent": _intent(api, "pm_card_pendingRefund").id})
    assert pending.status == "pending"
    with pytest.raises(stripe.InvalidRequestError, match="can't be canceled"):
        api.refunds.cancel(pending.id)
    box.advance(60)
    assert api.refunds.retrieve(pending.id).status == "succeeded"
    box.fail_refund(pending.id)
    assert api.refunds.retrieve(pending.id).status == "failed"
    assert "refund.failed" in [each.type for each in api.events.list({"type": "refund.*"}).data]
    ties_out(api)
    assert [each for body in box.objects("refund") for each in checked(body)] == []


def _intent(api, method):
    return api.payment_intents.create(
        {
            "amount": 1000,
            "currency": "usd",
            "payment_method": method,
            "confirm": True,
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        }
    )

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spojit_stripe.errors import InputError
from spojit_stripe.records import Approvals, Records
from spojit_stripe.testing import FakeClock
from spojit_stripe.values import Amount, Effect, Preview

PREVIEW = Preview(
    tool="t",
    connection="c",
    mode="test",
    account=None,
    api_version="v",
    method="POST",
    path="/v1/x",
    params={"card": {"number": "4242424242424242", "exp_year": 2030}},
    effect=Effect.MONEY,
    amount=Amount(amount=5, currency="usd"),
    target=None,
    idempotency_key="k",
    decision="ask",
    reason="why",
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def approvals(tmp_path: Path, clock: FakeClock):  # type: ignore[no-untyped-def]
    records = Records(tmp_path, clock)
    yield records.approvals
    records.close()


def ask(approvals: Approvals, digest: str = "d" * 64) -> str:
    return approvals.ask(digest, "run_1", PREVIEW, "why").id


def test_a_question_is_asked_once_and_shows_no_card(approvals: Approvals) -> None:
    assert ask(approvals) == ask(approvals)
    (found,) = approvals.list()
    assert (found.kind, found.state, found.run_id, found.reason) == ("call", "pending", "run_1", "why")
    assert found.preview["params"] == {"card": {"number": "***", "exp_year": 2030}}
    assert found.expires - found.requested == 7 * 86_400


def test_an_approval_gives_plain_data(approvals: Approvals) -> None:
    found = approvals.decide(ask(approvals), "approved", who="ann", note="ok").to_json()
    assert json.loads(json.dumps(found)) == found
    assert (found["state"], found["decided_by"], found["note"]) == ("approved", "ann", "ok")
    assert "note" not in approvals.get(ask(approvals, "e" * 64)).to_json()


def test_a_note_is_redacted(approvals: Approvals) -> None:
    found = approvals.decide(ask(approvals), "rejected", who="ann", note="sk_live_A1b2C3d4E5f6G7h8")
    assert found.note == "sk_live_***"


@pytest.mark.parametrize("decision", ["approved", "rejected"])
def test_a_decision_is_final(approvals: Approvals, decision) -> None:  # type: ignore[no-untyped-def]
    asked = ask(approvals)
    approvals.decide(asked, decision, who="ann")
    with pytest.raises(InputError, match=f"is {decision} already; nothing was changed"):
        approvals.decide(asked, "approved", who="bob")


def test_an_expired_question_cannot_be_answered(approvals: Approvals, clock: FakeClock) -> None:
    asked = ask(approvals)
    clock.advance(7 * 86_400 + 1)
    with pytest.raises(InputError, match="is expired already"):
        approvals.decide(asked, "approved", who="ann")
    ask(approvals)
    assert approvals.decide(asked, "approved", who="ann").state == "approved"


def test_an_unknown_approval_says_where_to_look(approvals: Approvals) -> None:
    with pytest.raises(InputError, match="no approval 'apr_x'; `spojit-stripe approvals list`"):
        approvals.get("apr_x")


def test_approvals_are_listed_by_state_newest_first(approvals: Approvals, clock: FakeClock) -> None:
    first = ask(approvals, "a" * 64)
    clock.advance(1)
    second = ask(approvals, "b" * 64)
    approvals.decide(first, "approved", who="ann")
    assert [found.id for found in approvals.list()] == [second, first]
    assert [found.id for found in approvals.list(state="pending")] == [second]
    assert approvals.list(state="used") == []

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from spojit_stripe.connection import Cap, Caps, Policy
from spojit_stripe.errors import InputError, RefusedError
from spojit_stripe.policy import Rules
from spojit_stripe.records import Approvals, Records
from spojit_stripe.testing import FakeClock
from spojit_stripe.values import Amount, Effect, Position, Preview, Writes

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


def test_a_reason_is_redacted(approvals: Approvals) -> None:
    """Also that of a question, which its author wrote."""
    assert approvals.ask("d" * 64, "run_1", PREVIEW, "for sk_live_A1b2C3d4E5f6G7h8").reason == "for sk_live_***"
    asked = approvals.ask_person("e" * 64, "run_1", {}, reason="is sk_live_A1b2C3d4E5f6G7h8 right?", seconds=60)
    assert asked.reason == "is sk_live_*** right?"


def test_who_decides_a_moment_late_is_told_what_was_decided(approvals: Approvals, tmp_path: Path) -> None:
    asked = ask(approvals)
    faster = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False)
    faster.execute("BEGIN IMMEDIATE")
    faster.execute("UPDATE approvals SET state = 'approved', decided = 1")
    committing = threading.Timer(0.2, faster.execute, ["COMMIT"])
    committing.start()
    with pytest.raises(InputError, match="is approved already"):
        approvals.decide(asked, "approved", who="bob")
    committing.join()
    faster.close()


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


def test_plans_of_two_owners_are_decided_and_used_each_by_itself(approvals: Approvals) -> None:
    rules = Rules(writes=Writes.PLAN, allow_live=False, pins={}, policies=())

    def plan(digest: str, owner: str) -> tuple[int, str]:
        at = Position(run_id="run_1", node=f"{owner}{digest}")
        preview = replace(PREVIEW, idempotency_key=digest)
        number, approval = approvals.plan(digest, at, preview, "why", rules, owner=owner)
        return number, approval.id

    assert [plan(digest, "one")[0] for digest in ("a", "b")] == [1, 2]
    assert plan("c", "two")[0] == 1
    assert [plan("d", "")[0], plan("b", "one")[0]] == [1, 2]
    _, of_two = plan("c", "two")
    pending = {
        one.id: [call["idempotency_key"] for call in one.preview["calls"]] for one in approvals.list(state="pending")
    }
    assert sorted(pending.values()) == [["a", "b"], ["c"], ["d"]]
    assert [len(one.preview["calls"]) for one in approvals.list(state="superseded")] == [1]
    approvals.decide(of_two, "approved", who="ann")
    assert [approvals.may_run_planned(digest, "run_1", "c") for digest in "abcd"] == [False, False, True, False]


def test_what_nobody_decided_in_time_is_listed_as_expired(approvals: Approvals, clock: FakeClock) -> None:
    old = ask(approvals, "a" * 64)
    clock.advance(7 * 86_400 + 1)
    new = ask(approvals, "b" * 64)
    assert [one.id for one in approvals.list(state="pending")] == [new]
    (expired,) = approvals.list(state="expired")
    assert (expired.id, expired.standing(clock()), expired.state) == (old, "expired", "pending")
    assert ask(approvals, "a" * 64) == old  # asked anew
    assert approvals.list(state="expired") == []


def test_a_rejected_plan_uses_nothing_of_the_caps(approvals: Approvals) -> None:
    caps = Caps(per_run=(Cap(amount=10, currency="usd"),))
    rules = Rules(writes=Writes.PLAN, allow_live=False, pins={}, policies=(Policy(caps=caps),))

    def plan(owner: str, amount: int) -> str:
        preview = replace(PREVIEW, idempotency_key=owner, amount=Amount(amount=amount, currency="usd"))
        return approvals.plan(owner, Position(run_id="run_1", node=owner), preview, "why", rules, owner=owner)[1].id

    first = plan("one", 6)
    with pytest.raises(RefusedError, match="over the cap per run"):
        plan("two", 7)
    approvals.decide(first, "rejected", who="ann")
    assert plan("two", 7) != first

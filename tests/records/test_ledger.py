"""The ledger's own rules; what they mean for a call is in tests/test_direct.py."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from spojit_stripe.connection import Connection
from spojit_stripe.errors import (
    DeclinedError,
    InputError,
    OutcomeUnknownError,
    Problem,
    RefusedError,
    SpojitError,
    UnavailableError,
)
from spojit_stripe.policy import Rules
from spojit_stripe.records import Entry, Ledger, NewCall, Records, State
from spojit_stripe.testing import FakeClock, FakeConnector, FakeWire, Workbench
from spojit_stripe.values import Amount, Effect, Meta, Position, Preview, ToolCall

KEY = "sk_live_A1b2C3d4E5f6G7h8I9j0"


def connection(policy: object = None) -> Connection:
    base = {"name": "c", "secret_key": "k", "mode": "test", "policy": policy or {"writes": "allow"}}
    return Connection.model_validate(base)


def new_call(ordinal: int = 0, **change: object) -> NewCall:
    preview = Preview(
        tool="t",
        connection="c",
        mode="test",
        account=None,
        api_version="v",
        method="POST",
        path=f"/v1/{KEY}",
        params={"note": f"a {KEY}", "client_secret": "x"},
        effect=Effect.MONEY,
        amount=Amount(amount=5, currency="usd"),
        target=KEY,
        idempotency_key=None,
        decision="allow",
        reason="",
    )
    fields = {
        "position": Position(run_id="r", ordinal=ordinal),
        "generation": 0,
        "digest": "d",
        "connection": connection(),
        "api_version": "v",
        "preview": preview,
        "operation": "POST /v1/x",
        "effect": Effect.MONEY,
        "additions": {},
        "stamped": False,
        "once": None,
        "approval_digest": None,
        "refuse_twins": "never",
    }
    return NewCall(**(fields | change))  # type: ignore[arg-type]


@pytest.fixture
def ledger(tmp_path: Path):  # type: ignore[no-untyped-def]
    records = Records(tmp_path, FakeClock())
    yield records.ledger
    records.close()


RULES = Rules.of(connection())


def test_a_row_holds_no_secret(ledger: Ledger, tmp_path: Path) -> None:
    entry = ledger.open(new_call(), RULES)
    assert entry.params == {"note": "a sk_live_***", "client_secret": "***"}
    ledger.fail(entry, DeclinedError(f"declined\n{KEY}", Problem(advice=KEY)), Meta())
    second = ledger.open(new_call(1), RULES)
    ledger.finish(second, {"id": "ch_1", "client_secret": "s", "metadata": {KEY: KEY}}, Meta())
    third = ledger.open(new_call(2), RULES)
    ledger.fail(third, OutcomeUnknownError(KEY), Meta())
    ledger.resolve(third.id, found={"id": "x", "a": KEY}, who="ann", note=KEY)
    for file in tmp_path.iterdir():
        assert b"A1b2C3d4" not in file.read_bytes()


def test_a_row_gives_plain_data_without_what_is_absent(ledger: Ledger) -> None:
    row = ledger.finish(ledger.open(new_call(), RULES), {"id": "ch_1"}, Meta(request_ids=("req_1",))).to_json()
    assert json.loads(json.dumps(row)) == row
    assert (row["state"], row["object_id"], row["request_ids"]) == ("done", "ch_1", ["req_1"])
    assert "digest" not in row
    assert "error" not in row
    assert "additions" not in row


def test_an_unknown_id_says_where_to_look(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="no ledger entry 99; `spojit-stripe ledger list`"):
        ledger.get(99)


def test_request_ids_and_attempts_add_up_over_the_sends(ledger: Ledger) -> None:
    entry = ledger.open(new_call(), RULES)
    ledger.fail(entry, OutcomeUnknownError("x"), Meta(request_ids=("a",), attempts=3))
    again = ledger.reopen(entry, RULES)
    finished = ledger.finish(again, {}, Meta(request_ids=("b",), attempts=2))
    assert (finished.request_ids, finished.attempts) == (["a", "b"], 5)


def test_entries_are_found_by_run_state_and_kind_newest_first(ledger: Ledger) -> None:
    first = ledger.open(new_call(), RULES)
    ledger.open(new_call(1), RULES)
    ledger.open(new_call(position=Position(run_id="other")), RULES)
    ledger.finish(first, {}, Meta())
    assert [entry.id for entry in ledger.entries()] == [3, 2, 1]
    assert [entry.id for entry in ledger.entries(limit=1)] == [3]
    assert [entry.id for entry in ledger.entries(run_id="r")] == [2, 1]
    assert [entry.id for entry in ledger.entries(state=State.DONE)] == [1]
    assert [entry.id for entry in ledger.entries(run_id="r", state=State.OPEN, writes_only=True)] == [2]


def test_only_what_is_unsettled_can_be_resolved(ledger: Ledger) -> None:
    entry = ledger.open(new_call(), RULES)
    assert ledger.resolve(entry.id, found={"id": "ch_1"}, who="ann", note="seen").state is State.DONE
    with pytest.raises(InputError, match="is done, not unknown; there is nothing to resolve"):
        ledger.resolve(entry.id, found=None, who="ann", note="")
    with pytest.raises(InputError, match="no ledger entry"):
        ledger.resolve(99, found=None, who="ann", note="")


def test_of_two_resolutions_at_once_one_wins(tmp_path: Path) -> None:
    ann = Records(tmp_path, FakeClock())
    ann.ledger.open(new_call(), RULES)

    def meanwhile() -> float:  # bob's clock is read between his look at the row and his word on it
        if ann.ledger.get(1).state is State.OPEN:
            ann.ledger.resolve(1, found={"id": "a"}, who="ann", note="")
        return 0

    bob = Records(tmp_path, meanwhile)
    with pytest.raises(InputError, match="was settled meanwhile"):
        bob.ledger.resolve(1, found=None, who="bob", note="")
    assert ann.ledger.get(1).object_id == "a"
    bob.close()
    ann.close()


def test_a_resolution_says_who_when_and_why(ledger: Ledger) -> None:
    entry = ledger.open(new_call(), RULES)
    assert ledger.resolve(entry.id, found=None, who="ann", note="n").resolution == {
        "by": "ann",
        "note": "n",
        "at": 1_790_000_000,
    }


def test_an_object_without_id_can_be_what_was_found(ledger: Ledger) -> None:
    entry = ledger.open(new_call(), RULES)
    found = ledger.resolve(entry.id, found={}, who="ann", note="")
    assert (found.state, found.object_id, found.result) == (State.DONE, None, {})


@pytest.mark.parametrize("late", [UnavailableError("x"), OutcomeUnknownError("x"), DeclinedError("x")])
def test_no_error_overwrites_a_success(ledger: Ledger, late: SpojitError) -> None:
    entry = ledger.open(new_call(), RULES)
    ledger.finish(entry, {"id": "ch_1"}, Meta())
    assert ledger.fail(entry, late, Meta()).state is State.DONE
    assert ledger.finish(entry, {"id": "ch_2"}, Meta()).object_id == "ch_1"


def test_no_error_overwrites_a_definite_failure(ledger: Ledger) -> None:
    entry = ledger.open(new_call(), RULES)
    ledger.fail(entry, DeclinedError("first"), Meta())
    again = ledger.fail(entry, OutcomeUnknownError("late"), Meta())
    assert str(again.outcome_error) == "first"


def test_two_that_send_an_unsent_call_again_at_once_are_both_counted_as_sent(ledger: Ledger) -> None:
    entry = ledger.open(new_call(), RULES)
    unsent = ledger.fail(entry, UnavailableError("429"), Meta())
    assert ledger.reopen(unsent, RULES).state is State.OPEN
    assert ledger.reopen(unsent, RULES).state is State.UNKNOWN
    assert ledger.fail(entry, UnavailableError("429"), Meta()).state is State.UNKNOWN


def test_a_key_is_taken_once(ledger: Ledger) -> None:
    ledger.open(new_call(), RULES)
    with pytest.raises(RefusedError, match="was taken by another process meanwhile"):
        ledger.open(new_call(), RULES)


def test_once_can_be_taken_by_one_of_two_at_once(ledger: Ledger) -> None:
    first = ledger.open(new_call(once="o"), RULES)
    with pytest.raises(OutcomeUnknownError, match="whose outcome is unknown"):
        ledger.open(new_call(1, once="o"), RULES)
    ledger.finish(first, {}, Meta())
    with pytest.raises(RefusedError, match="was taken by ledger entry 1 meanwhile"):
        ledger.open(new_call(1, once="o"), RULES)
    assert [entry.id for entry in ledger.entries()] == [1]


def test_an_entry_without_an_outcome_says_so(ledger: Ledger) -> None:
    entry = ledger.open(new_call(), RULES)
    assert "has no outcome" in str(entry.outcome_error)
    assert not entry.may_be_tried_anew
    assert entry.money == Amount(amount=5, currency="usd")


def test_an_approval_that_nobody_gave_opens_nothing(ledger: Ledger) -> None:
    with pytest.raises(RefusedError, match="nobody has approved this call"):
        ledger.open(new_call(approval_digest="x"), RULES)
    assert list(ledger.entries()) == []


def test_an_approval_that_waits_or_has_expired_opens_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    records = Records(tmp_path, clock)
    call = new_call(approval_digest="x" * 64)
    asked = records.approvals.ask("x" * 64, "r", call.preview, "why")
    with pytest.raises(RefusedError, match="is pending or expired; it can't be used"):
        records.ledger.open(call, RULES)
    records.approvals.decide(asked.id, "approved", who="ann")
    clock.advance(8 * 86_400)
    with pytest.raises(RefusedError, match="is approved or expired; it can't be used"):
        records.ledger.open(call, RULES)
    records.close()


def _pay(state: str, ordinal: int, go: multiprocessing.synchronize.Event, told: multiprocessing.Queue[str]) -> None:
    go.wait()
    call = ToolCall(tool="make-payment", params={"amount": 500, "currency": "usd"})
    wire = FakeWire().will("POST /v1/payments", {"id": "pay"})
    policy = {"writes": "allow", "caps": {"per_run": {"amount": 1000, "currency": "usd"}}}
    with Workbench(Path(state), FakeConnector(wire)) as bench:
        outcome = bench.run(call, at=Position(run_id="r", ordinal=ordinal), policy=policy)
    told.put(type(outcome).__name__)


def test_processes_cannot_together_go_over_a_cap(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    go, told = spawn.Event(), spawn.Queue()
    rivals = [spawn.Process(target=_pay, args=(str(tmp_path), n, go, told)) for n in range(4)]
    for rival in rivals:
        rival.start()
    go.set()
    outcomes = sorted(told.get(timeout=60) for _ in rivals)
    for rival in rivals:
        rival.join()
    assert outcomes == ["Done", "Done", "Failed", "Failed"]


def test_a_row_can_be_read_back_whole(ledger: Ledger) -> None:
    entry = ledger.open(new_call(additions={"amount": 5}, stamped=True, once="o"), RULES)
    assert isinstance(entry, Entry)
    assert ledger.get(entry.id) == entry
    assert ledger.at(Position(run_id="r")) == entry
    assert ledger.at(Position(run_id="nowhere")) is None
    assert ledger.once("c", "POST /v1/x", "o") == entry
    assert (entry.additions, entry.stamped, entry.target) == ({"amount": 5}, True, "sk_live_***")

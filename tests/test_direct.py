"""`run_tool`: one path, and never twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spojit_stripe import writing
from spojit_stripe.connector import Answer
from spojit_stripe.direct import run_tool
from spojit_stripe.errors import (
    AccessError,
    Action,
    ConfigurationError,
    ConflictError,
    DeclinedError,
    InputError,
    InvalidRequestError,
    OutcomeUnknownError,
    Problem,
    RefusedError,
    ServiceError,
    SpojitError,
    UnavailableError,
)
from spojit_stripe.hookspecs import hookimpl
from spojit_stripe.records import State
from spojit_stripe.settle import REPLAY_SECONDS
from spojit_stripe.testing import FakeConnector, FakeWire, Sent, UnexpectedRequestError, Workbench
from spojit_stripe.values import Done, Effect, Failed, Outcome, Paging, Paused, Planned, Position, ToolCall

PAY = ToolCall(tool="make-payment", params={"amount": 500, "currency": "usd", "customer": "cus_1"})
MORE = ToolCall(tool="make-payment", params={"amount": 600, "currency": "usd", "customer": "cus_1"})
NOTE = ToolCall(tool="make-note", params={"text": "hello"})
POST = "POST /v1/payments"
PAID = {"id": "pay_1", "amount": 500, "currency": "usd", "status": "paid"}
DECLINED = DeclinedError("declined", Problem(type="card_error", code="card_declined", status=402, request_id="req_d"))
INVALID = InvalidRequestError("no such customer", Problem(type="invalid_request_error", status=400))
UNKNOWN = OutcomeUnknownError("read timeout", Problem(attempts=3))
REPLAYED_500 = OutcomeUnknownError("Stripe replays its failure", Problem(status=500, request_id="req_5"))
RATE_LIMITED = UnavailableError("rate limited", Problem(status=429))
NOT_REACHED = UnavailableError("can't be reached")
BAD_KEY = AccessError("no such key", Problem(status=401))
KEY_IS_USED = ConflictError("key used otherwise", Problem(type="idempotency_error", status=400))
OBJECT_IN_USE = ConflictError("object in use", Problem(type="invalid_request_error", status=409))

WITHOUT_EFFECT = [RATE_LIMITED, NOT_REACHED, BAD_KEY, OBJECT_IN_USE, ServiceError("a proxy"), InputError("no text")]


def error_of(outcome: Outcome, kind: type[SpojitError]) -> SpojitError:
    assert isinstance(outcome, Failed), outcome
    assert type(outcome.error) is kind, repr(outcome.error)
    return outcome.error


def done(outcome: Outcome) -> Done:
    assert isinstance(outcome, Done), outcome
    return outcome


def states(bench: Workbench) -> list[str]:
    return [entry.state.value for entry in bench.entries()]


def elsewhere(work: Callable[[], object]) -> None:
    """Do `work` as another process would: outside of this thread's event loop."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


# A write


def test_a_write_is_sent_once_and_recorded(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, PAID)
    outcome = done(bench.run(PAY))
    assert outcome.value == PAID
    (sent,) = wire.sent
    (entry,) = bench.entries()
    assert sent.key == entry.key == outcome.meta.idempotency_key
    assert sent.request.params["metadata"] == {"key": sent.key}
    assert (entry.state, entry.object_id, entry.result) == (State.DONE, "pay_1", PAID)
    assert (entry.amount, entry.currency, entry.effect) == (500, "usd", "money")
    assert entry.request_ids == list(outcome.meta.request_ids) == ["req_fake_1"]
    assert outcome.meta.ledger_id == entry.id
    assert not outcome.meta.from_ledger


def test_the_row_is_durable_before_the_request_leaves(bench: Workbench, wire: FakeWire) -> None:
    seen: list[str] = []

    def look(sent: Sent) -> Answer:
        with Workbench(bench.state, FakeConnector()) as other:  # as another process would see it
            (entry,) = other.entries()
            assert (entry.key, entry.path, entry.mode, entry.base_url) == (sent.key, "/v1/payments", "test", None)
            seen.append(entry.state.value)
        return Answer(body=PAID)

    wire.will(POST, look)
    done(bench.run(PAY))
    assert seen == ["open"]


def test_the_same_place_is_answered_from_the_ledger_unsent(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, PAID)
    first = done(bench.run(PAY))
    again = done(bench.run(PAY))
    assert again.value == first.value
    assert again.meta.from_ledger
    assert again.meta.idempotency_key == first.meta.idempotency_key
    assert again.meta.request_ids == first.meta.request_ids
    assert len(wire.sent) == 1


def test_a_result_from_the_ledger_is_redacted(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, {"id": "pay_1", "client_secret": "pay_1_secret_x"})
    assert done(bench.run(PAY)).value["client_secret"] == "pay_1_secret_x"
    assert done(bench.run(PAY)).value["client_secret"] == "***"


def test_other_places_have_other_keys(bench: Workbench, wire: FakeWire) -> None:
    places = [
        Position(run_id="run_1"),
        Position(run_id="run_2"),
        Position(run_id="run_1", node="other"),
        Position(run_id="run_1", indexes=(1,)),
        Position(run_id="run_1", indexes=(1, 1)),
        Position(run_id="run_1", indexes=(11,)),
        Position(run_id="run_1", ordinal=1),
    ]
    for place in places:
        wire.will(POST, PAID)
        done(bench.run(PAY, at=place))
    assert len(set(wire.keys)) == len(places)


def test_other_parameters_at_the_same_place_are_refused_unsent(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, PAID)
    bench.run(PAY)
    error = error_of(bench.run(MORE), RefusedError)
    assert "use another run id" in str(error)
    error_of(bench.run(NOTE), RefusedError)
    assert len(wire.sent) == 1


def test_another_id_in_the_path_is_another_call(bench: Workbench, wire: FakeWire) -> None:
    wire.will("POST /v1/notes/n_1/close", {"id": "n_1"})
    done(bench.run(ToolCall(tool="close-note", params={"note": "n_1"})))
    error_of(bench.run(ToolCall(tool="close-note", params={"note": "n_2"})), RefusedError)
    assert len(wire.sent) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"name": "other"},
        {"mode": "live", "policy": {"writes": "allow", "allow_live": True}},
        {"account": "acct_2"},
        {"base_url": "http://127.0.0.1:2"},
        {"base_url": None},
    ],
)
def test_a_run_is_not_resumed_against_another_account_mode_or_host(
    bench: Workbench, wire: FakeWire, other: dict[str, object]
) -> None:
    here = {"account": "acct_1", "base_url": "http://127.0.0.1:1"}
    wire.will(POST, PAID)
    done(bench.run(PAY, **here))
    error = error_of(bench.run(PAY, **(here | other)), RefusedError)
    assert "can't be resumed on another" in str(error)
    error_of(bench.run(PAY, resume=True, **(here | other)), RefusedError)
    assert len(wire.sent) == 1


def test_another_account_of_the_author_is_another_call(bench: Workbench, wire: FakeWire) -> None:
    raw = ToolCall(tool="raw-request", params={"method": "POST", "path": "/v1/notes"})
    wire.will("POST /v1/notes", {"id": "n_1"})
    done(bench.run(replace(raw, author_params={"account": "acct_a"})))
    error_of(bench.run(replace(raw, author_params={"account": "acct_b"})), RefusedError)
    assert bench.entries()[0].account == "acct_a"


def test_an_answer_that_is_no_object_of_an_id_is_kept_too(bench: Workbench, wire: FakeWire) -> None:
    wire.will("POST /v1/notes", {"ok": True})
    done(bench.run(NOTE))
    assert bench.entries()[0].object_id is None
    assert done(bench.run(NOTE)).value == {"ok": True}


def test_a_faulty_call_is_a_failed_outcome_and_leaves_no_trace(bench: Workbench) -> None:
    error_of(bench.run(ToolCall(tool="no-such-tool")), InputError)
    error_of(bench.run(ToolCall(tool="make-payment", params={"amount": 10.5, "currency": "usd"})), InputError)
    assert bench.entries() == []


def test_an_amount_that_no_database_can_add_up_is_refused(bench: Workbench) -> None:
    call = replace(PAY, params={**PAY.params, "amount": 10**15 + 1})
    assert "more than any service moves" in str(error_of(bench.run(call), InputError))
    assert bench.entries() == []


def test_a_defect_of_the_wire_leaves_the_row_open_and_is_not_hidden(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, KeyError("bug"))
    with pytest.raises(KeyError):
        bench.run(PAY)
    assert states(bench) == ["open"]


# A failure that is certain


def test_a_decline_is_recorded_and_given_again_unsent(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, DECLINED)
    first = bench.run(PAY)
    error = error_of(first, DeclinedError)
    assert error is DECLINED
    again = bench.run(PAY)
    assert error_of(again, DeclinedError).to_json() == DECLINED.to_json()
    assert isinstance(again, Failed)
    assert again.meta.from_ledger
    assert again.meta.request_ids == ("req_d",)
    assert states(bench) == ["failed"]
    assert len(wire.sent) == 1


def test_an_explicit_resume_after_a_decline_is_another_generation_under_another_key(
    bench: Workbench, wire: FakeWire
) -> None:
    wire.will(POST, DECLINED, PAID)
    bench.run(PAY)
    assert done(bench.run(PAY, resume=True)).value == PAID
    assert len(set(wire.keys)) == 2
    assert [entry.generation for entry in bench.entries()] == [0, 1]
    assert done(bench.run(PAY)).meta.from_ledger
    assert done(bench.run(PAY, resume=True)).meta.from_ledger  # a success is never tried anew
    assert len(wire.sent) == 2


def test_a_resume_may_mend_the_input_but_not_the_account(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, INVALID, PAID)
    bench.run(PAY)
    error_of(bench.run(MORE), RefusedError)
    error_of(bench.run(MORE, resume=True, account="acct_9"), RefusedError)
    done(bench.run(MORE, resume=True))
    assert wire.sent[-1].request.params["amount"] == 600


def test_a_resume_of_nothing_is_a_first_attempt(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, PAID)
    done(bench.run(PAY, resume=True))
    assert bench.entries()[0].generation == 0


def test_a_key_that_another_request_used_is_never_tried_under_a_new_one(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, KEY_IS_USED)
    error_of(bench.run(PAY), ConflictError)
    error_of(bench.run(PAY, resume=True), ConflictError)
    assert len(wire.sent) == 1
    assert states(bench) == ["failed"]


@pytest.mark.parametrize("error", WITHOUT_EFFECT)
def test_what_certainly_took_no_effect_is_sent_again_under_the_same_key(
    bench: Workbench, wire: FakeWire, error: SpojitError
) -> None:
    wire.will(POST, error)
    assert error_of(bench.run(PAY), type(error)) is error
    assert states(bench) == ["unsent"]
    wire.will(POST, PAID)
    done(bench.run(PAY))
    assert wire.keys[0] == wire.keys[1]
    assert wire.sent[0].request.params == wire.sent[1].request.params
    (entry,) = bench.entries()
    assert (entry.state, entry.error) == (State.DONE, None)


def test_a_write_that_moves_no_money_is_sent_again_too(bench: Workbench, wire: FakeWire) -> None:
    wire.will("POST /v1/notes", RATE_LIMITED, {"id": "n_1"})
    bench.run(NOTE)
    done(bench.run(NOTE))
    assert len(set(wire.keys)) == 1


def test_an_unsent_call_with_mended_input_needs_a_resume_and_gets_another_key(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, RATE_LIMITED, PAID)
    bench.run(PAY)
    error_of(bench.run(MORE), RefusedError)
    done(bench.run(MORE, resume=True))
    assert len(set(wire.keys)) == 2


def test_an_unsent_call_is_decided_anew(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, RATE_LIMITED)
    bench.run(PAY)
    error_of(bench.run(PAY, policy={"writes": "deny"}), RefusedError)
    error_of(bench.run(PAY, enabled=False), RefusedError)
    paused = bench.run(PAY, policy={"writes": "ask"})
    assert isinstance(paused, Paused)
    bench.records.approvals.decide(paused.approval_id, "approved", who="ann")
    wire.will(POST, RATE_LIMITED, PAID)
    error_of(bench.run(PAY, policy={"writes": "ask"}), UnavailableError)
    # The approval was used by this very call, which took no effect, so it still holds.
    done(bench.run(PAY, policy={"writes": "ask"}))
    assert len(set(wire.keys)) == 1


def test_an_approval_that_was_used_unsent_expires_too(bench: Workbench, wire: FakeWire) -> None:
    paused = bench.run(PAY, policy={"writes": "ask"})
    assert isinstance(paused, Paused)
    bench.records.approvals.decide(paused.approval_id, "approved", who="ann")
    wire.will(POST, RATE_LIMITED)
    bench.run(PAY, policy={"writes": "ask"})
    bench.clock.advance(8 * 86_400)
    assert isinstance(bench.run(PAY, policy={"writes": "ask"}), Paused)
    assert len(wire.sent) == 1


# An unknown outcome


def test_an_unknown_outcome_is_replayed_to_the_letter_under_the_same_key(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, UNKNOWN)
    first = bench.run(PAY)
    assert error_of(first, OutcomeUnknownError).action is Action.SETTLE
    assert states(bench) == ["unknown"]
    wire.will(POST, Answer(body=PAID, replayed=True))
    again = done(bench.run(PAY))
    assert again.meta.replayed
    assert wire.sent[0].key == wire.sent[1].key
    assert wire.sent[0].request.params == wire.sent[1].request.params
    assert states(bench) == ["done"]


def test_a_replay_keeps_the_api_version_and_the_stamp_of_the_first_send(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, UNKNOWN)
    bench.run(PAY, api_version="2025-01-01")
    wire.will(POST, PAID)
    done(bench.run(PAY, api_version="2026-10-28.endive", stamp_metadata=False))
    assert wire.sent[1].request.api_version == "2025-01-01"
    assert wire.sent[1].request.params == wire.sent[0].request.params


def test_an_unstamped_call_is_replayed_unstamped(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, UNKNOWN)
    bench.run(PAY, stamp_metadata=False)
    wire.will(POST, PAID)
    done(bench.run(PAY))
    assert "metadata" not in wire.sent[0].request.params
    assert "metadata" not in wire.sent[1].request.params


def test_an_unknown_is_never_tried_under_another_key(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, UNKNOWN, UNKNOWN, UNKNOWN)
    for _ in range(3):
        error_of(bench.run(PAY, resume=True), OutcomeUnknownError)
    assert len(set(wire.keys)) == 1
    error_of(bench.run(MORE, resume=True), RefusedError)
    assert [entry.generation for entry in bench.entries()] == [0]


@pytest.mark.parametrize("error", [*WITHOUT_EFFECT, KEY_IS_USED, ConfigurationError("TLS")])
def test_a_replay_that_was_refused_says_nothing_about_the_first_attempt(
    bench: Workbench, wire: FakeWire, error: SpojitError
) -> None:
    wire.will(POST, UNKNOWN, error)
    bench.run(PAY)
    found = error_of(bench.run(PAY), OutcomeUnknownError)
    assert str(error) in str(found)
    (entry,) = bench.entries()
    assert entry.state is State.UNKNOWN
    assert (entry.error or {})["error"] == "OutcomeUnknownError"
    # Neither the next day nor a resume makes a second payment of it.
    bench.clock.advance(REPLAY_SECONDS + 1)
    wire.will_find(None)
    error_of(bench.run(PAY, resume=True), OutcomeUnknownError)
    assert len(set(wire.keys)) == 1


@pytest.mark.parametrize("error", [DECLINED, INVALID])
def test_a_definite_answer_to_a_replay_settles_it(bench: Workbench, wire: FakeWire, error: SpojitError) -> None:
    wire.will(POST, UNKNOWN, error)
    bench.run(PAY)
    error_of(bench.run(PAY), type(error))
    assert states(bench) == ["failed"]


def test_a_crash_before_the_outcome_was_recorded_is_settled_like_an_unknown(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, KeyError("the process died here"), PAID)
    with pytest.raises(KeyError):
        bench.run(PAY)
    done(bench.run(PAY))
    assert len(set(wire.keys)) == 1
    assert states(bench) == ["done"]


def test_a_replayed_failure_stays_unknown_until_a_person_resolves_it(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, REPLAYED_500, REPLAYED_500)
    for _ in range(2):
        error_of(bench.run(PAY), OutcomeUnknownError)
    (entry,) = bench.entries()
    bench.ledger.resolve(entry.id, found={"id": "pay_7"}, who="ann", note="seen in the dashboard")
    found = done(bench.run(PAY))
    assert found.value == {"id": "pay_7"}
    assert found.meta.from_ledger
    assert len(wire.sent) == 2


def test_a_person_who_says_none_allows_a_resume_and_only_that(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, REPLAYED_500)
    bench.run(PAY)
    (entry,) = bench.entries()
    bench.ledger.resolve(entry.id, found=None, who="ann", note="")
    error = error_of(bench.run(PAY), ServiceError)
    assert "ann recorded that nothing took effect" in str(error)
    wire.will(POST, PAID)
    done(bench.run(PAY, resume=True))
    assert len(set(wire.keys)) == 2


def test_within_23_hours_it_is_replayed_and_later_only_looked_up(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, UNKNOWN, UNKNOWN)
    bench.run(PAY)
    bench.clock.advance(REPLAY_SECONDS)
    bench.run(PAY)
    assert len(wire.sent) == 2
    bench.clock.advance(1)
    wire.will_find(None, PAID)
    error = error_of(bench.run(PAY), OutcomeUnknownError)
    assert "over 23 hours old" in str(error)
    assert "ledger resolve 1 --found ID | --none" in str(error)
    assert states(bench) == ["unknown"]
    found = done(bench.run(PAY))
    assert found.value == PAID
    assert len(wire.sent) == 2
    (entry,) = bench.entries()
    assert (entry.state, entry.object_id) == (State.DONE, "pay_1")
    assert (entry.resolution or {})["by"] == "look-up"
    assert done(bench.run(PAY)).meta.from_ledger


def test_a_look_up_gets_all_that_the_ledger_knows(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, UNKNOWN)
    bench.run(PAY, account="acct_1")
    bench.clock.advance(REPLAY_SECONDS + 1)
    wire.will_find(None)
    bench.run(PAY, account="acct_1")
    (trace,) = wire.traces
    assert trace.key == wire.keys[0]
    assert trace.stamped
    assert trace.sent_at == 1_790_000_000
    assert (trace.request.method, trace.request.path, trace.request.template) == (
        "POST",
        "/v1/payments",
        "/v1/payments",
    )
    assert trace.request.account == "acct_1"
    assert trace.request.params["amount"] == 500


def test_a_look_up_that_shows_a_decline_settles_it(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, UNKNOWN)
    bench.run(PAY)
    bench.clock.advance(REPLAY_SECONDS + 1)
    wire.will_find(DECLINED)
    error_of(bench.run(PAY), DeclinedError)
    assert states(bench) == ["failed"]
    wire.will(POST, PAID)
    done(bench.run(PAY, resume=True))
    assert len(set(wire.keys)) == 2


@pytest.mark.parametrize("error", [NOT_REACHED, BAD_KEY, ConfigurationError("key"), UNKNOWN])
def test_a_look_up_that_fails_leaves_it_unknown(bench: Workbench, wire: FakeWire, error: SpojitError) -> None:
    wire.will(POST, UNKNOWN)
    bench.run(PAY)
    bench.clock.advance(REPLAY_SECONDS + 1)
    wire.will_find(error)
    assert str(error) in str(error_of(bench.run(PAY), OutcomeUnknownError))
    assert states(bench) == ["unknown"]


def test_where_writes_are_denied_now_it_is_only_looked_up(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, UNKNOWN)
    bench.run(PAY)
    wire.will_find(None)
    error = error_of(bench.run(PAY, policy={"writes": "deny"}), OutcomeUnknownError)
    assert "writes are denied" in str(error)
    wire.will_find(PAID)
    done(bench.run(PAY, enabled=False))
    assert len(wire.sent) == 1


def test_a_missing_key_does_not_turn_an_unknown_into_something_else(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, UNKNOWN)
    bench.run(PAY)
    bench.secret = "fk_live_of_another_mode"
    assert "not for test mode" in str(error_of(bench.run(PAY), OutcomeUnknownError))
    bench.clock.advance(REPLAY_SECONDS + 1)
    assert "not for test mode" in str(error_of(bench.run(PAY), OutcomeUnknownError))
    assert states(bench) == ["unknown"]


def test_a_delete_without_key_is_never_sent_a_second_time(bench: Workbench, wire: FakeWire) -> None:
    drop = ToolCall(tool="drop-note", params={"note": "n_1"})
    wire.will("DELETE /v1/notes/n_1", UNKNOWN)
    bench.run(drop)
    wire.will_find(None, {"id": "n_1", "deleted": True})
    assert "takes no idempotency key" in str(error_of(bench.run(drop), OutcomeUnknownError))
    assert wire.traces[0].request.method == "DELETE"
    done(bench.run(drop))
    assert len(wire.sent) == 1


def test_an_unsent_call_starts_its_day_when_it_is_sent(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, RATE_LIMITED)
    bench.run(PAY)
    bench.clock.advance(30 * 3600)
    wire.will(POST, UNKNOWN)
    bench.run(PAY)
    bench.clock.advance(3600)
    wire.will(POST, PAID)  # an hour after it was first sent in truth
    done(bench.run(PAY))


# Two at once


def test_the_second_of_two_at_once_cannot_turn_the_first_into_unsent(bench: Workbench, wire: FakeWire) -> None:
    """A repeated webhook starts the same run twice; the service refuses the second while the first is at work."""

    async def scenario() -> None:
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def held(_sent: Sent) -> Answer:
            arrived.set()
            await go_on.wait()
            return Answer(body=PAID)

        wire.will(POST, held, OBJECT_IN_USE)
        here = Position(run_id="run_1")
        first = asyncio.create_task(run_tool(PAY, at=here, session=bench.session()))
        await arrived.wait()
        second = await run_tool(PAY, at=here, session=bench.session())
        error_of(second, OutcomeUnknownError)
        assert states(bench) == ["unknown"]
        go_on.set()
        done(await first)

    asyncio.run(scenario())
    assert states(bench) == ["done"]
    assert len(set(wire.keys)) == 1


def test_a_success_beats_a_person_who_said_none_while_it_was_under_way(bench: Workbench, wire: FakeWire) -> None:
    def meanwhile(_sent: Sent) -> Answer:
        bench.ledger.resolve(1, found=None, who="ann", note="impatient")
        return Answer(body=PAID)

    wire.will(POST, meanwhile)
    done(bench.run(PAY))
    (entry,) = bench.entries()
    assert (entry.state, entry.object_id) == (State.DONE, "pay_1")
    assert (entry.resolution or {})["note"] == "impatient"


def test_what_was_settled_meanwhile_is_answered_from_the_ledger(bench: Workbench, wire: FakeWire) -> None:
    class Faster:
        @hookimpl
        def before_call(self, preview: object) -> None:
            if bench.entries() and bench.entries()[0].state is State.UNKNOWN:
                bench.ledger.resolve(1, found=PAID, who="another process", note="")

    bench = Workbench(bench.state, bench.connector, plugins=[Faster()])
    wire.will(POST, UNKNOWN)
    bench.run(PAY)
    assert done(bench.run(PAY)).meta.from_ledger
    assert len(wire.sent) == 1
    bench.close()


def test_a_place_that_another_process_took_meanwhile_is_refused_unsent(bench: Workbench, wire: FakeWire) -> None:
    class Faster:
        @hookimpl
        def before_call(self, preview: object) -> None:
            if not bench.entries():
                with Workbench(bench.state, FakeConnector(wire)) as other:
                    wire.will(POST, PAID)
                    elsewhere(lambda: done(other.run(PAY)))

    bench = Workbench(bench.state, bench.connector, plugins=[Faster()])
    assert "was taken by another process meanwhile" in str(error_of(bench.run(PAY), RefusedError))
    assert len(wire.sent) == 1
    bench.close()


# Once


def test_once_is_for_ever_and_gives_the_recorded_outcome(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, PAID)
    call = replace(PAY, once="order_1")
    done(bench.run(call))
    bench.clock.advance(400 * 86_400)
    again = done(bench.run(call, at="another_run"))
    assert again.value == PAID
    assert again.meta.from_ledger
    assert "nothing was executed" in again.meta.warnings[0]
    assert len(wire.sent) == 1
    assert len(bench.entries()) == 1


def test_once_with_other_parameters_is_refused(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, PAID)
    bench.run(replace(PAY, once="order_1"))
    assert "with other parameters" in str(error_of(bench.run(replace(MORE, once="order_1"), at="run_2"), RefusedError))
    assert len(wire.sent) == 1


@pytest.mark.parametrize("other", [{"base_url": "http://127.0.0.1:9"}, {"account": "acct_9"}])
def test_once_does_not_pass_off_an_outcome_of_elsewhere(
    bench: Workbench, wire: FakeWire, other: dict[str, object]
) -> None:
    wire.will(POST, PAID)
    bench.run(replace(PAY, once="order_1"))
    error_of(bench.run(replace(PAY, once="order_1"), at="run_2", **other), RefusedError)
    assert len(wire.sent) == 1


def test_once_is_per_connection_operation_and_value(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, PAID, PAID, PAID).will("POST /v1/notes", {"id": "n_1"})
    done(bench.run(replace(PAY, once="order_1"), at="1"))
    done(bench.run(replace(PAY, once="order_2"), at="2"))
    done(bench.run(replace(PAY, once="order_1"), at="3", name="other"))
    done(bench.run(replace(NOTE, once="order_1"), at="4"))


@pytest.mark.parametrize("error", [DECLINED, INVALID, RATE_LIMITED])
def test_a_failure_without_effect_frees_once(bench: Workbench, wire: FakeWire, error: SpojitError) -> None:
    call = replace(PAY, once="order_1")
    wire.will(POST, error, PAID)
    bench.run(call, at="run_1")
    done(bench.run(call, at="run_2"))
    # The first run does not take it a second time, neither by a resume nor by sending it again: it is answered.
    answered = done(bench.run(call, at="run_1", resume=True))
    assert (answered.meta.ledger_id, answered.meta.from_ledger) == (2, True)
    assert "was used up by ledger entry 2; nothing was executed" in answered.meta.warnings[0]
    assert len(wire.sent) == 2


def test_an_unknown_outcome_holds_once(bench: Workbench, wire: FakeWire) -> None:
    call = replace(PAY, once="order_1")
    wire.will(POST, UNKNOWN)
    bench.run(call)
    error = error_of(bench.run(call, at="run_2"), OutcomeUnknownError)
    assert "repeat its own command with --run-id run_1, or `spojit-stripe ledger resolve 1`" in str(error)
    assert len(wire.sent) == 1


def test_once_that_became_unknown_meanwhile_is_told_as_such(bench: Workbench, wire: FakeWire) -> None:
    call = replace(PAY, once="order_1")
    wire.will(POST, DECLINED, UNKNOWN)
    bench.run(call, at="run_1")
    bench.run(call, at="run_2")
    assert "whose outcome is unknown" in str(error_of(bench.run(call, at="run_1", resume=True), OutcomeUnknownError))


@pytest.mark.parametrize("ends", [Answer(body=PAID), DECLINED])
def test_the_same_once_at_the_same_time_waits_for_how_the_first_ends(
    bench: Workbench, wire: FakeWire, ends: Answer | SpojitError
) -> None:
    """Two equal items of a concurrent loop."""
    call = replace(PAY, once="order_1")

    async def scenario() -> None:
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def held(_sent: Sent) -> Answer:
            arrived.set()
            await go_on.wait()
            if isinstance(ends, SpojitError):
                raise ends
            return ends

        wire.will(POST, held, PAID, *([] if isinstance(ends, Answer) else [PAID]))
        places = [Position(run_id="run_1", node="pay", indexes=(place,)) for place in range(3)]
        first = asyncio.create_task(run_tool(call, at=places[0], session=bench.session()))
        await arrived.wait()
        others = [asyncio.create_task(run_tool(call, at=at, session=bench.session())) for at in places[1:]]
        another = await run_tool(replace(PAY, once="order_2"), at=Position(run_id="run_2"), session=bench.session())
        done(another)
        go_on.set()
        outcomes = [await task for task in (first, *others)]
        assert [type(outcome) for outcome in outcomes] == [type(outcomes[0]), Done, Done]
        assert "was used up by ledger entry" in done(outcomes[2]).meta.warnings[0]

    asyncio.run(scenario())


def test_once_that_another_process_holds_is_told_as_such(bench: Workbench, wire: FakeWire) -> None:
    call = replace(PAY, once="order_1")
    wire.will(POST, KeyError("a defect"))  # which leaves the row open
    with pytest.raises(KeyError):
        bench.run(call)
    error = error_of(bench.run(call, at="run_2"), OutcomeUnknownError)
    assert "which another process or thread has under way or left behind: wait for it" in str(error)
    assert "repeat its own command with --run-id run_1, or `spojit-stripe ledger resolve 1`" in str(error)


@pytest.mark.parametrize("text", ["", "  ", "\udcff", "for sk_live_Abcdefgh12345678"])
@pytest.mark.parametrize("field", ["run_id", "node", "once"])
def test_an_identity_that_tells_nothing_apart_or_too_much_is_refused(bench: Workbench, field: str, text: str) -> None:
    call = replace(PAY, once=text) if field == "once" else PAY
    at = Position(run_id="r") if field == "once" else replace(Position(run_id="r"), **{field: text})
    told = str(error_of(bench.run(call, at=at), InputError))
    assert told.startswith(f"{field.replace('_', ' ')}: ")
    assert "Abcdefgh" not in told
    assert bench.entries() == []


def test_an_identity_may_be_of_any_script(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, PAID)
    done(bench.run(replace(PAY, once="注文 1"), at=Position(run_id="Lauf für Łódź", node="knoten 🎉")))
    assert bench.entries()[0].run_id == "Lauf für Łódź"


def test_once_is_for_writes(bench: Workbench) -> None:
    call = ToolCall(tool="get-payment", params={"payment": "pay_1"}, once="x")
    assert "only reads" in str(error_of(bench.run(call), InputError))


# Twins


def test_an_equal_call_of_another_run_waits_for_the_unsettled_one(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, UNKNOWN)
    bench.run(PAY)
    error = error_of(bench.run(PAY, at="run_2", session=bench.session(refuse_twins="always")), OutcomeUnknownError)
    assert "repeat its own command with --run-id run_1, or `spojit-stripe ledger resolve 1`" in str(error)
    assert error.exit_code == 7
    assert len(wire.sent) == 1


def test_twins_are_equal_calls_on_the_same_connection_that_are_unsettled(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, UNKNOWN, PAID, PAID, PAID)
    bench.run(PAY)
    done(bench.run(MORE, at="run_2", session=bench.session(refuse_twins="always")))
    done(bench.run(PAY, at="run_3", session=bench.session(refuse_twins="always", name="other")))
    bench.ledger.resolve(1, found=None, who="ann", note="")
    done(bench.run(PAY, at="run_4", session=bench.session(refuse_twins="always")))


def test_what_one_command_left_unknown_is_not_paid_by_another_of_its_run(bench: Workbench, wire: FakeWire) -> None:
    """That would have a key of its own; a workflow, though, may pay two equal items."""
    wire.will(POST, UNKNOWN, PAID, PAID)
    place, other = (Position(run_id="run_1", node=node) for node in ("pay", "call"))
    bench.run(PAY, at=place)
    error = error_of(bench.run(PAY, at=other, session=bench.session(refuse_twins="always")), OutcomeUnknownError)
    assert "ledger entry 1 (run run_1) is the same call" in str(error)
    done(bench.run(PAY, at=other, session=bench.session(refuse_twins="of_other_runs")))
    done(bench.run(PAY, at=place, session=bench.session(refuse_twins="always")))


def test_a_twin_that_is_under_way_in_another_run_is_waited_for(bench: Workbench, wire: FakeWire) -> None:
    """Two shoppers may buy the same thing in the same second."""
    wire.will(POST, KeyError("a defect"), PAID)  # which leaves the row open
    with pytest.raises(KeyError):
        bench.run(PAY)
    ends = threading.Timer(0.3, lambda: bench.ledger.resolve(1, found=PAID, who="ann", note=""))
    ends.start()
    done(bench.run(PAY, at="run_2", session=bench.session(refuse_twins="of_other_runs")))
    ends.join()
    assert len(wire.sent) == 2


def test_a_twin_that_another_run_left_behind_is_refused(
    bench: Workbench, wire: FakeWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_TWIN_SECONDS", 0.001)
    wire.will(POST, KeyError("a defect"))
    with pytest.raises(KeyError):
        bench.run(PAY)
    given = bench.session(refuse_twins="of_other_runs")
    assert "ledger entry 1 (run run_1)" in str(error_of(bench.run(PAY, at="run_2", session=given), OutcomeUnknownError))
    assert len(wire.sent) == 1


def test_other_words_for_once_are_other_payments(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, UNKNOWN, PAID)
    bench.run(replace(PAY, once="order_1"))
    given = bench.session(refuse_twins="always")
    done(bench.run(replace(PAY, once="order_2"), at="run_2", session=given))


def test_an_unsent_call_is_not_sent_past_a_twin(bench: Workbench, wire: FakeWire) -> None:
    """It was first, but it went nowhere; the other may have paid meanwhile."""
    wire.will(POST, RATE_LIMITED, UNKNOWN)
    bench.run(PAY)
    bench.run(PAY, at="run_2")
    assert [one.state for one in bench.entries()] == [State.UNSENT, State.UNKNOWN]
    error = error_of(bench.run(PAY, session=bench.session(refuse_twins="always")), OutcomeUnknownError)
    assert "ledger entry 2 (run run_2) is the same call" in str(error)
    assert len(wire.sent) == 2


def test_only_who_asks_for_it_refuses_twins(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, UNKNOWN, PAID)
    bench.run(PAY)
    done(bench.run(PAY, at="run_2"))


def test_two_objects_of_one_operation_are_no_twins(bench: Workbench, wire: FakeWire) -> None:
    wire.will("POST /v1/notes/n_1/close", UNKNOWN).will("POST /v1/notes/n_2/close", {"id": "n_2"})
    bench.run(ToolCall(tool="close-note", params={"note": "n_1"}))
    second = ToolCall(tool="close-note", params={"note": "n_2"})
    done(bench.run(second, at="run_2", session=bench.session(refuse_twins="always")))


# Policy on the way


@pytest.mark.parametrize(
    "fields",
    [
        {"policy": {"writes": "deny"}},
        {"policy": {}},
        {"enabled": False},
        {"mode": "live"},
        {"policy": {"writes": "allow", "caps": {"per_call": {"amount": 499, "currency": "usd"}}}},
    ],
)
def test_what_policy_denies_is_neither_sent_nor_recorded(bench: Workbench, fields: dict[str, object]) -> None:
    bench.secret = "fk_live_1" if fields.get("mode") == "live" else bench.secret
    error_of(bench.run(PAY, **fields), RefusedError)
    assert bench.entries() == []


def test_an_agent_gives_no_access(bench: Workbench, wire: FakeWire) -> None:
    call = ToolCall(tool="make-key", params={"owner": "me"})
    error_of(bench.run(call, session=bench.session(by_agent=True)), RefusedError)
    wire.will("POST /v1/keys", {"id": "key_1"})
    done(bench.run(call))


def test_an_unusable_secret_is_found_before_anything_is_recorded(bench: Workbench) -> None:
    bench.secret = "fk_live_1"
    error_of(bench.run(PAY), ConfigurationError)
    assert bench.entries() == []


def test_an_omitted_amount_is_looked_up_written_in_and_capped(bench: Workbench, wire: FakeWire) -> None:
    back = ToolCall(tool="give-back", params={"payment": "pay_1"})
    caps = {"writes": "allow", "caps": {"per_call": {"amount": 400, "currency": "usd"}}}
    wire.will("GET /v1/payments/pay_1", PAID)
    error_of(bench.run(back, policy=caps), RefusedError)
    wire.will("GET /v1/payments/pay_1", PAID).will("POST /v1/refunds", {"id": "re_1"})
    done(bench.run(back, at="run_2"))
    assert wire.sent[-1].request.params == {"payment": "pay_1", "amount": 500}
    (entry,) = bench.entries()
    assert (entry.amount, entry.target, entry.additions) == (500, "pay_1", {"amount": 500})


def test_a_replay_sends_the_amount_that_was_looked_up_the_first_time(bench: Workbench, wire: FakeWire) -> None:
    back = ToolCall(tool="give-back", params={"payment": "pay_1"})
    wire.will("GET /v1/payments/pay_1", PAID).will("POST /v1/refunds", UNKNOWN)
    bench.run(back)
    wire.will("POST /v1/refunds", {"id": "re_1"})  # and no second look at a payment that has changed
    done(bench.run(back))
    assert wire.writes[0].request == replace(wire.writes[1].request, api_version=None)


def test_the_reads_of_an_assessment_are_in_the_ledger(bench: Workbench, wire: FakeWire) -> None:
    wire.will("GET /v1/payments/pay_1", PAID).will("POST /v1/refunds", {"id": "re_1"})
    bench.run(ToolCall(tool="give-back", params={"payment": "pay_1"}))
    bench.records.close()
    bench.close()
    with Workbench(bench.state, bench.connector) as later:
        (read,) = [entry for entry in later.ledger.entries() if entry.effect == "read"]
        assert (read.operation, read.path, read.object_id) == (
            "GET /v1/payments/{payment}",
            "/v1/payments/pay_1",
            "pay_1",
        )
        assert read.tool == "give-back"


def test_a_read_that_an_assessment_needs_and_does_not_get_stops_the_call(bench: Workbench, wire: FakeWire) -> None:
    wire.will("GET /v1/payments/pay_1", INVALID)
    error_of(bench.run(ToolCall(tool="give-back", params={"payment": "pay_1"})), InvalidRequestError)
    assert bench.entries() == []


def test_an_assessment_can_only_read(bench: Workbench, wire: FakeWire) -> None:
    class Sly(FakeConnector):
        async def assess(self, bound, read):  # type: ignore[no-untyped-def]
            await read(bound.request)
            return await super().assess(bound, read)

    bench.connector = Sly(wire)
    assert "may only read" in str(error_of(bench.run(PAY), InputError))
    assert wire.sent == []


# Caps, which are reserved with the row

RUN = {"writes": "allow", "caps": {"per_run": {"amount": 1000, "currency": "usd"}}}
DAY = {"writes": "allow", "caps": {"per_day": {"amount": 1000, "currency": "usd"}}}
COUNT = {"writes": "allow", "caps": {"count": 2}}


def place(ordinal: int, run: str = "run_1") -> Position:
    return Position(run_id=run, ordinal=ordinal)


def test_a_run_stops_at_its_cap_and_the_next_run_starts_anew(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, PAID, PAID, PAID)
    done(bench.run(PAY, at=place(0), policy=RUN))
    done(bench.run(PAY, at=place(1), policy=RUN))
    assert "cap per run" in str(error_of(bench.run(PAY, at=place(2), policy=RUN), RefusedError))
    assert len(bench.entries()) == 2
    done(bench.run(PAY, at=place(0, "run_2"), policy=RUN))


def test_a_day_of_utc_has_a_cap_over_all_runs(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, PAID, PAID, PAID)
    done(bench.run(PAY, at="1", policy=DAY))
    done(bench.run(PAY, at="2", policy=DAY))
    error_of(bench.run(PAY, at="3", policy=DAY), RefusedError)
    bench.clock.advance(86_400)
    done(bench.run(PAY, at="4", policy=DAY))


def test_a_day_counts_what_was_sent_on_it_though_written_down_the_day_before(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, RATE_LIMITED, PAID, PAID)
    bench.run(PAY, at="1", policy=DAY)
    bench.clock.advance(86_400)
    done(bench.run(PAY, at="1", policy=DAY))
    done(bench.run(PAY, at="2", policy=DAY))
    error_of(bench.run(PAY, at="3", policy=DAY), RefusedError)


def test_money_calls_are_counted_and_other_writes_are_not(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, PAID, PAID).will("POST /v1/notes", {"id": "n_1"})
    done(bench.run(PAY, at=place(0), policy=COUNT))
    done(bench.run(PAY, at=place(1), policy=COUNT))
    error_of(bench.run(PAY, at=place(2), policy=COUNT), RefusedError)
    done(bench.run(NOTE, at=place(3), policy=COUNT))


def test_an_unknown_outcome_counts_as_spent_and_a_failure_does_not(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, UNKNOWN, DECLINED, RATE_LIMITED, PAID)
    bench.run(PAY, at=place(0), policy=RUN)
    bench.run(PAY, at=place(1), policy=RUN)
    bench.run(PAY, at=place(2), policy=RUN)
    done(bench.run(PAY, at=place(3), policy=RUN))
    error_of(bench.run(PAY, at=place(4), policy=RUN), RefusedError)
    # The unsent one has lost its share meanwhile.
    error_of(bench.run(PAY, at=place(2), policy=RUN), RefusedError)
    assert len(wire.sent) == 4


def test_a_currency_without_a_cap_asks(bench: Workbench) -> None:
    euros = replace(PAY, params={**PAY.params, "currency": "eur"})
    paused = bench.run(euros, policy=RUN)
    assert isinstance(paused, Paused)
    assert paused.reason == "no cap is set for EUR"


def test_caps_are_per_mode_and_connection(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, PAID, PAID, PAID)
    done(bench.run(PAY, at="1", policy={"writes": "allow", "caps": {"per_day": {"amount": 500, "currency": "usd"}}}))
    done(bench.run(PAY, at="2", name="b", policy=DAY))
    bench.secret = "fk_live_1"
    done(bench.run(PAY, at="3", mode="live", policy=DAY | {"allow_live": True}))


@pytest.mark.parametrize("policy", [RUN, DAY, COUNT])
def test_two_threads_cannot_both_take_the_last_of_a_cap(
    bench: Workbench, wire: FakeWire, policy: dict[str, object]
) -> None:
    wire.will(POST, PAID)
    done(bench.run(PAY, at=place(0), policy=policy))
    rivals = [Workbench(bench.state, FakeConnector(FakeWire().will(POST, PAID))) for _ in range(4)]
    outcomes: list[Outcome] = []
    barrier = threading.Barrier(len(rivals))

    def pay(number: int, rival: Workbench) -> None:
        barrier.wait()
        outcomes.append(rival.run(PAY, at=place(number), policy=policy))

    threads = [threading.Thread(target=pay, args=(number + 1, rival)) for number, rival in enumerate(rivals)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, Done) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Failed) and type(outcome.error) is RefusedError for outcome in outcomes) == 3
    for rival in rivals:
        rival.close()


# Approvals

ASK = {"writes": "ask"}


def ask(bench: Workbench, call: ToolCall = PAY, **given: object) -> Paused:
    outcome = bench.run(call, **({"policy": ASK} | given))  # type: ignore[arg-type]
    assert isinstance(outcome, Paused), outcome
    return outcome


def test_a_call_that_asks_pauses_with_the_exact_call(bench: Workbench) -> None:
    paused = ask(bench)
    assert paused.preview.params == PAY.params
    assert paused.preview.amount is not None
    assert paused.preview.decision == "ask"
    assert bench.entries() == []
    assert ask(bench) == paused
    (approval,) = bench.records.approvals.list()
    assert (approval.id, approval.digest, approval.state) == (paused.approval_id, paused.digest, "pending")


def test_an_approved_call_is_sent_once(bench: Workbench, wire: FakeWire) -> None:
    paused = ask(bench)
    bench.records.approvals.decide(paused.approval_id, "approved", who="ann")
    wire.will(POST, PAID)
    done(bench.run(PAY, policy=ASK))
    assert bench.records.approvals.get(paused.approval_id).state == "used"
    assert done(bench.run(PAY, policy=ASK)).meta.from_ledger
    assert len(wire.sent) == 1


def test_a_used_approval_does_not_cover_a_second_attempt(bench: Workbench, wire: FakeWire) -> None:
    paused = ask(bench)
    bench.records.approvals.decide(paused.approval_id, "approved", who="ann")
    wire.will(POST, DECLINED)
    bench.run(PAY, policy=ASK)
    again = ask(bench, resume=True)
    assert again.digest != paused.digest  # another generation is another key
    assert len(wire.sent) == 1


def test_an_approval_whose_row_was_lost_does_not_work_twice(bench: Workbench, wire: FakeWire) -> None:
    paused = ask(bench)
    bench.records.approvals.decide(paused.approval_id, "approved", who="ann")
    wire.will(POST, PAID)
    bench.run(PAY, policy=ASK)
    bench.records._database._connection.execute("DELETE FROM calls")
    assert "was used for this call already" in str(error_of(bench.run(PAY, policy=ASK), RefusedError))
    assert len(wire.sent) == 1


@pytest.mark.parametrize("note", ["", "refunded by hand"])
def test_a_rejected_call_is_refused_for_good(bench: Workbench, note: str) -> None:
    paused = ask(bench)
    bench.records.approvals.decide(paused.approval_id, "rejected", who="ann", note=note)
    error = error_of(bench.run(PAY, policy=ASK), RefusedError)
    assert str(error) == "ann rejected the call" + (f": {note}" if note else "") + "; that is final for this run"
    bench.clock.advance(30 * 86_400)
    error_of(bench.run(PAY, policy=ASK), RefusedError)


def test_an_expired_approval_is_asked_for_anew(bench: Workbench) -> None:
    paused = ask(bench)
    bench.records.approvals.decide(paused.approval_id, "approved", who="ann")
    bench.clock.advance(7 * 86_400 + 1)
    assert ask(bench) == paused
    approval = bench.records.approvals.get(paused.approval_id)
    assert (approval.state, approval.decided_by) == ("pending", None)


@pytest.mark.parametrize(
    "change",
    [
        {"call": MORE},
        {"at": "run_2"},
        {"at": Position(run_id="run_1", ordinal=1)},
        {"account": "acct_1"},
        {"mode": "live", "policy": ASK | {"allow_live": True}},
        {"api_version": "2025-01-01"},
        {"base_url": "http://127.0.0.1:1"},
        {"name": "other"},
    ],
)
def test_an_approval_binds_to_the_call_its_place_account_mode_version_and_host(
    bench: Workbench, change: dict[str, object]
) -> None:
    digest = ask(bench).digest
    bench.secret = "fk_live_1" if "mode" in change else bench.secret
    assert ask(bench, **change).digest != digest  # type: ignore[arg-type]


def test_an_approval_binds_to_the_id_in_the_path(bench: Workbench) -> None:
    first = ask(bench, ToolCall(tool="close-note", params={"note": "n_1"}))
    assert first.digest != ask(bench, ToolCall(tool="close-note", params={"note": "n_2"})).digest


def test_what_the_table_does_not_list_asks_even_where_writes_are_allowed(bench: Workbench, wire: FakeWire) -> None:
    raw = ToolCall(tool="raw-request", params={"method": "POST", "path": "/v1/odd"})
    paused = ask(bench, raw, policy={"writes": "allow"})
    assert paused.preview.effect is None
    bench.records.approvals.decide(paused.approval_id, "approved", who="ann")
    wire.will("POST /v1/odd", {"id": "odd_1"})
    done(bench.run(raw))
    assert bench.entries()[0].effect == "money"  # the stricter books
    assert done(bench.run(raw)).meta.from_ledger


def test_an_unlisted_call_counts_as_a_money_call(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, PAID)
    policy = {"writes": "allow", "caps": {"count": 1}}
    done(bench.run(PAY, at=place(0), policy=policy))
    raw = ToolCall(tool="raw-request", params={"method": "POST", "path": "/v1/odd"})
    paused = ask(bench, raw, policy=policy, at=place(1))
    bench.records.approvals.decide(paused.approval_id, "approved", who="ann")
    error_of(bench.run(raw, policy=policy, at=place(1)), RefusedError)
    assert bench.records.approvals.get(paused.approval_id).state == "approved"  # not used up by a refusal


# Plans

PLAN = {"writes": "plan"}


def plan(bench: Workbench, ordinal: int, call: ToolCall = PAY, policy: dict[str, object] = PLAN) -> Planned:
    outcome = bench.run(call, at=place(ordinal), policy=policy)
    assert isinstance(outcome, Planned), outcome
    return outcome


def approve_plan(bench: Workbench) -> None:
    (pending,) = bench.records.approvals.list(state="pending")
    assert pending.kind == "plan"
    bench.records.approvals.decide(pending.id, "approved", who="ann")


def test_planned_calls_are_numbered_and_not_sent(bench: Workbench) -> None:
    assert [plan(bench, n).number for n in (0, 1, 2)] == [1, 2, 3]
    assert plan(bench, 1).number == 2
    assert bench.entries() == []
    (pending,) = bench.records.approvals.list(state="pending")
    assert [call["idempotency_key"] for call in pending.preview["calls"]] == [  # type: ignore[union-attr,index,call-overload]
        plan(bench, n).preview.idempotency_key for n in (0, 1, 2)
    ]


def test_an_approved_plan_runs_in_its_order(bench: Workbench, wire: FakeWire) -> None:
    for n in (0, 1):
        plan(bench, n)
    approve_plan(bench)
    error = error_of(bench.run(PAY, at=place(1), policy=PLAN), RefusedError)
    assert "call 1 of the plan comes first and is not run yet" in str(error)
    wire.will(POST, PAID, PAID)
    done(bench.run(PAY, at=place(0), policy=PLAN))
    done(bench.run(PAY, at=place(1), policy=PLAN))
    assert {approval.state for approval in bench.records.approvals.list()} == {"superseded", "used"}


@pytest.mark.parametrize(("error", "state"), [(DECLINED, "failed"), (UNKNOWN, "unknown"), (RATE_LIMITED, "unsent")])
def test_a_plan_stops_at_the_first_that_does_not_succeed(
    bench: Workbench, wire: FakeWire, error: SpojitError, state: str
) -> None:
    for n in (0, 1):
        plan(bench, n)
    approve_plan(bench)
    wire.will(POST, error)
    bench.run(PAY, at=place(0), policy=PLAN)
    refusal = error_of(bench.run(PAY, at=place(1), policy=PLAN), RefusedError)
    assert f"call 1 of the plan comes first and is {state}" in str(refusal)
    assert len(wire.sent) == 1


def test_a_planned_call_that_was_not_sent_may_be_sent_again_under_its_plan(bench: Workbench, wire: FakeWire) -> None:
    plan(bench, 0)
    approve_plan(bench)
    wire.will(POST, RATE_LIMITED, PAID)
    bench.run(PAY, at=place(0), policy=PLAN)
    done(bench.run(PAY, at=place(0), policy=PLAN))
    assert len(set(wire.keys)) == 1


def test_a_longer_plan_needs_another_approval(bench: Workbench, wire: FakeWire) -> None:
    first = plan(bench, 0)
    approve_plan(bench)
    second = plan(bench, 1)
    assert second.digest != first.digest
    assert plan(bench, 0).number == 1  # not covered any more
    assert len(wire.sent) == 0
    approve_plan(bench)
    wire.will(POST, PAID, PAID)
    done(bench.run(PAY, at=place(0), policy=PLAN))
    done(bench.run(PAY, at=place(1), policy=PLAN))


def test_a_rejected_plan_runs_nothing(bench: Workbench) -> None:
    plan(bench, 0)
    (pending,) = bench.records.approvals.list(state="pending")
    bench.records.approvals.decide(pending.id, "rejected", who="ann")
    assert "the plan of run run_1 was rejected" in str(error_of(bench.run(PAY, at=place(0), policy=PLAN), RefusedError))


def test_what_was_rejected_stays_so_whatever_policy_says_later(bench: Workbench, wire: FakeWire) -> None:
    plan(bench, 0)
    (pending,) = bench.records.approvals.list(state="pending")
    bench.records.approvals.decide(pending.id, "rejected", who="ann")
    assert "the plan of run run_1 was rejected" in str(error_of(bench.run(PAY, at=place(0)), RefusedError))
    error_of(bench.run(MORE, at=place(0)), RefusedError)  # also with another amount: it is the same place
    assert bench.records.approvals.get(pending.id).state == "rejected"
    paused = ask(bench, at="run_2")
    bench.records.approvals.decide(paused.approval_id, "rejected", who="ann")
    assert "ann rejected the call" in str(error_of(bench.run(PAY, at="run_2"), RefusedError))
    assert wire.sent == []


def test_a_call_that_was_unsent_and_then_rejected_stays_so(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, NOT_REACHED)
    bench.run(PAY)
    bench.records.approvals.decide(ask(bench).approval_id, "rejected", who="ann")
    assert "ann rejected the call" in str(error_of(bench.run(PAY), RefusedError))
    assert len(wire.sent) == 1


def test_an_agent_does_not_get_by_elsewhere_what_was_rejected(bench: Workbench, wire: FakeWire) -> None:
    paused = ask(bench, at=place(0), session=bench.session(by_agent=True, policy=ASK))
    bench.records.approvals.decide(paused.approval_id, "rejected", who="ann")
    caps = {"per_run": {"amount": 900, "currency": "usd"}}
    capped = bench.session(by_agent=True, policy={"writes": "allow", "caps": caps})
    error = error_of(bench.run(PAY, at=place(1), session=capped), RefusedError)
    assert "ann rejected this call already" in str(error)
    assert wire.sent == []


def test_a_question_is_closed_by_a_policy_that_needs_no_answer(bench: Workbench, wire: FakeWire) -> None:
    paused = ask(bench)
    wire.will(POST, PAID)
    done(bench.run(PAY))
    assert bench.records.approvals.get(paused.approval_id).state == "superseded"


@pytest.mark.parametrize("policy", ["ask", "plan"])
def test_a_question_that_nobody_answered_gives_no_leave_later(bench: Workbench, wire: FakeWire, policy: str) -> None:
    """It was closed by a send that never arrived."""
    assert isinstance(bench.run(PAY, policy={"writes": policy}), Paused | Planned)
    wire.will(POST, NOT_REACHED)
    bench.run(PAY)
    assert isinstance(bench.run(PAY, policy={"writes": policy}), Paused | Planned)
    assert len(wire.sent) == 1
    assert len(bench.records.approvals.list(state="pending")) == 1


def test_a_planned_call_that_was_unsent_before_is_done_when_it_goes_out(bench: Workbench, wire: FakeWire) -> None:
    wire.will(POST, NOT_REACHED, PAID, PAID)
    bench.run(PAY, at=place(0))
    for n in (0, 1):
        plan(bench, n)
    approve_plan(bench)
    done(bench.run(PAY, at=place(0)))
    done(bench.run(PAY, at=place(1), policy=PLAN))


def test_a_plan_that_is_as_it_was_before_can_be_approved(bench: Workbench, wire: FakeWire) -> None:
    for call in (PAY, MORE, PAY):
        plan(bench, 0, call)
    approve_plan(bench)
    wire.will(POST, PAID)
    done(bench.run(PAY, at=place(0), policy=PLAN))


def test_what_of_a_plan_went_out_under_another_policy_is_done(bench: Workbench, wire: FakeWire) -> None:
    for n in (0, 1):
        plan(bench, n)
    approve_plan(bench)
    wire.will(POST, PAID, PAID)
    done(bench.run(PAY, at=place(0)))
    done(bench.run(PAY, at=place(1), policy=PLAN))


def test_no_write_looks_through_all_that_was_ever_written(bench: Workbench, wire: FakeWire) -> None:
    """Each look of a write into the records goes by an index, however many years they hold."""
    wire.will(POST, RATE_LIMITED, PAID, PAID, PAID)
    database = bench.records.ledger._database
    asked: list[str] = []
    with database.reading() as db:
        db.set_trace_callback(asked.append)
    given = {"policy": {"writes": "allow", "caps": {"per_day": {"amount": 9_000, "currency": "usd"}}}}
    for _ in range(2):
        bench.run(replace(PAY, once="order_1"), session=bench.session(refuse_twins="of_other_runs", **given))
    done(bench.run(MORE, at="run_2", session=bench.session(refuse_twins="always", by_agent=True, **given)))
    approve_plan_of(bench, "run_3")
    with database.reading() as db:
        db.set_trace_callback(None)
        looks = [one for one in asked if one.startswith(("SELECT", "UPDATE", "INSERT"))]
        plans = {row["detail"] for one in looks for row in db.execute(f"EXPLAIN QUERY PLAN {one}")}
    assert len(looks) > 20
    assert [plan for plan in plans if plan.startswith("SCAN") and "json_each" not in plan] == []


def approve_plan_of(bench: Workbench, run_id: str) -> None:
    """A plan of one call from its first mention to its outcome."""
    planned = bench.run(PAY, at=run_id, policy=PLAN)
    assert isinstance(planned, Planned)
    bench.records.approvals.decide(f"apr_{planned.digest[:12]}", "approved", who="ann")
    done(bench.run(PAY, at=run_id, policy=PLAN))


def test_an_expired_plan_is_asked_for_anew(bench: Workbench) -> None:
    plan(bench, 0)
    approve_plan(bench)
    bench.clock.advance(8 * 86_400)
    plan(bench, 0)
    approve_plan(bench)


def test_a_plan_that_changed_after_the_check_is_refused_in_the_ledgers_transaction(
    bench: Workbench, wire: FakeWire
) -> None:
    plan(bench, 0)
    approve_plan(bench)

    class Sneaky(FakeConnector):
        def stamp(self, bound, params, key):  # type: ignore[no-untyped-def] # the last thing before the row is written
            elsewhere(lambda: plan(other, 1))
            return super().stamp(bound, params, key)

    other = Workbench(bench.state, FakeConnector(wire), clock=bench.clock)
    bench.connector = Sneaky(wire)
    error = error_of(bench.run(PAY, at=place(0), policy=PLAN), RefusedError)
    assert "has changed or expired" in str(error)
    assert bench.entries() == []
    other.close()


@pytest.mark.parametrize(
    "params",
    [
        {"amount": 5, "currency": "usd", "customer": "planned: 1"},
        {"amount": 5, "currency": "usd", "metadata": {"of": "planned: 1"}},
    ],
)
def test_a_call_that_depends_on_a_planned_one_is_refused(bench: Workbench, params: dict[str, object]) -> None:
    plan(bench, 0)
    call = ToolCall(tool="make-payment", params=params)  # type: ignore[arg-type]
    assert "depends on a planned one" in str(error_of(bench.run(call, at=place(1), policy=PLAN), RefusedError))


def test_a_raw_call_that_depends_on_a_planned_one_is_refused(bench: Workbench) -> None:
    for params in (
        {"method": "POST", "path": "/v1/notes", "params": {"of": [{"planned": 1}]}},
        {"method": "POST", "path": "/v1/notes/planned%3A%201/close"},
    ):
        call = ToolCall(tool="raw-request", params=params)  # type: ignore[arg-type]
        assert "depends on a planned one" in str(error_of(bench.run(call, at=place(1), policy=PLAN), RefusedError))


def test_a_planned_refund_of_a_planned_payment_is_refused_before_anything_is_read(bench: Workbench) -> None:
    call = ToolCall(tool="give-back", params={"payment": "planned: 1"})
    error_of(bench.run(call, policy=PLAN), RefusedError)


def test_metadata_that_only_mentions_plans_is_no_reference(bench: Workbench) -> None:
    call = replace(PAY, params={**PAY.params, "metadata": {"planned": "next week"}})
    plan(bench, 0, call)


def test_the_caps_of_a_plan_are_on_its_total(bench: Workbench, wire: FakeWire) -> None:
    policy = PLAN | {"caps": {"per_run": {"amount": 1000, "currency": "usd"}}}
    wire.will(POST, PAID)
    done(bench.run(PAY, at=place(9), policy=RUN))  # what the run has spent counts
    plan(bench, 0, policy=policy)
    error_of(bench.run(PAY, at=place(1), policy=policy), RefusedError)
    plan(bench, 2, NOTE, policy)
    (pending,) = bench.records.approvals.list(state="pending")
    assert len(pending.preview["calls"]) == 2  # type: ignore[arg-type]


def test_the_count_of_a_plan_leaves_out_what_moves_no_money(bench: Workbench) -> None:
    policy = PLAN | {"caps": {"count": 1}}
    plan(bench, 0, NOTE, policy)
    plan(bench, 1, PAY, policy)
    error_of(bench.run(PAY, at=place(2), policy=policy), RefusedError)


# Dry run


def test_a_dry_run_sends_nothing_and_needs_no_secret(bench: Workbench, wire: FakeWire) -> None:
    bench.secret = "not even a key"
    shown = bench.preview(PAY, policy=RUN)
    assert (shown.decision, shown.effect, shown.method, shown.path) == ("allow", Effect.MONEY, "POST", "/v1/payments")
    assert shown.amount is not None
    assert not (bench.state / "ledger.db").exists()
    bench.secret = "fk_test_1"
    wire.will(POST, PAID)
    assert done(bench.run(PAY)).meta.idempotency_key == shown.idempotency_key


def test_a_dry_run_says_where_the_amount_comes_later(bench: Workbench) -> None:
    shown = bench.preview(ToolCall(tool="give-back", params={"payment": "pay_1"}))
    assert shown.amount is None
    assert "the amount is looked up before it is sent" in shown.reason


def test_a_dry_run_of_a_read_has_no_key(bench: Workbench) -> None:
    shown = bench.preview(ToolCall(tool="list-payments"))
    assert (shown.idempotency_key, shown.decision, shown.effect) == (None, "allow", Effect.READ)


@pytest.mark.parametrize(
    ("policy", "decision"),
    [({"writes": "deny"}, "deny"), ({"writes": "plan"}, "plan"), ({"writes": "ask"}, "ask")],
)
def test_a_dry_run_shows_what_policy_says(bench: Workbench, policy: dict[str, object], decision: str) -> None:
    assert bench.preview(PAY, policy=policy).decision == decision


def test_a_dry_run_of_a_faulty_call_is_an_input_error(bench: Workbench) -> None:
    with pytest.raises(InputError):
        bench.preview(ToolCall(tool="make-payment"))


# Plug-ins


class Plugin:
    """Remembers its calls; fails or vetoes where it is told to."""

    def __init__(self, bench: list[Workbench], veto: str | None = None, fail: str = "") -> None:
        self.veto, self.fail, self.bench, self.seen = veto, fail, bench, []

    def _note(self, hook: str) -> None:
        state = [entry.state.value for entry in self.bench[0].entries()] if self.bench else []
        self.seen.append((hook, *state))
        if hook == self.fail:
            raise RuntimeError(f"boom with sk_live_{'x' * 20}")

    @hookimpl
    def before_call(self, preview):  # type: ignore[no-untyped-def]
        self._note("before_call")
        return self.veto

    @hookimpl
    def before_send(self, preview, ledger_id):  # type: ignore[no-untyped-def]
        self._note("before_send")

    @hookimpl
    def after_send(self, preview, ledger_id):  # type: ignore[no-untyped-def]
        self._note("after_send")

    @hookimpl
    def after_call(self, preview, outcome):  # type: ignore[no-untyped-def]
        self._note("after_call")


@pytest.fixture
def plugged(tmp_path: Path, wire: FakeWire) -> Iterator[object]:
    made: list[Workbench] = []

    def make(**given: str) -> tuple[Workbench, Plugin]:
        holder: list[Workbench] = []
        plugin = Plugin(holder, **given)
        bench = Workbench(tmp_path / "state", FakeConnector(wire), plugins=[plugin])
        holder.append(bench)
        made.append(bench)
        return bench, plugin

    yield make
    for bench in made:
        bench.close()


def test_hooks_see_a_write_in_its_order_and_the_outcome_recorded(plugged, wire: FakeWire) -> None:
    bench, plugin = plugged()
    wire.will(POST, PAID)
    done(bench.run(PAY))
    assert plugin.seen == [
        ("before_call",),
        ("before_send", "open"),
        ("after_send", "open"),
        ("after_call", "done"),
    ]


def test_a_veto_stops_the_call_before_anything_is_recorded(plugged) -> None:
    bench, plugin = plugged(veto="not today")
    assert str(error_of(bench.run(PAY), RefusedError)) == "a plug-in refused the call: not today"
    assert plugin.seen == [("before_call",)]
    assert bench.entries() == []


def test_a_veto_hook_that_fails_denies(plugged) -> None:
    bench, _ = plugged(fail="before_call")
    error = error_of(bench.run(PAY), RefusedError)
    assert "so it is denied: RuntimeError: boom with sk_live_***" in str(error)
    assert bench.entries() == []


def test_a_plug_in_can_stop_the_send_and_the_call_counts_as_unsent(plugged, wire: FakeWire) -> None:
    bench, plugin = plugged(fail="before_send")
    assert "stopped the call before it was sent" in str(error_of(bench.run(PAY), RefusedError))
    assert states(bench) == ["unsent"]
    assert wire.sent == []
    plugin.fail = ""
    wire.will(POST, PAID)
    done(bench.run(PAY))


def test_a_stop_before_a_replay_leaves_the_outcome_unknown(plugged, wire: FakeWire) -> None:
    bench, plugin = plugged()
    wire.will(POST, UNKNOWN)
    bench.run(PAY)
    for hook in ("before_send", "before_call"):
        plugin.fail = hook
        error_of(bench.run(PAY), OutcomeUnknownError)
        assert states(bench) == ["unknown"]


@pytest.mark.parametrize("hook", ["after_send", "after_call"])
def test_a_failing_hook_after_the_send_only_warns(plugged, wire: FakeWire, hook: str) -> None:
    bench, _ = plugged(fail=hook)
    wire.will(POST, PAID)
    outcome = done(bench.run(PAY))
    assert "boom with sk_live_***" in outcome.meta.warnings[0]
    assert states(bench) == ["done"]


def test_hooks_see_failures_and_reads_too(plugged, wire: FakeWire) -> None:
    bench, plugin = plugged(fail="after_call")
    wire.will(POST, DECLINED).will("GET /v1/payments/pay_1", PAID)
    failed = bench.run(PAY)
    assert isinstance(failed, Failed)
    assert "boom" in failed.meta.warnings[0]
    plugin.seen.clear()
    read = done(bench.run(ToolCall(tool="get-payment", params={"payment": "pay_1"})))
    assert [seen[0] for seen in plugin.seen] == ["before_call", "after_call"]
    assert "boom" in read.meta.warnings[0]


def test_a_plug_in_can_veto_a_read(plugged) -> None:
    bench, _ = plugged(veto="no reading")
    error_of(bench.run(ToolCall(tool="list-payments")), RefusedError)


def test_a_plug_in_may_take_fewer_arguments(tmp_path: Path, wire: FakeWire) -> None:
    seen: list[int] = []

    class Short:
        @hookimpl
        def before_send(self, ledger_id: int) -> None:
            seen.append(ledger_id)

    wire.will(POST, PAID)
    with Workbench(tmp_path / "s", FakeConnector(wire), plugins=[Short()]) as bench:
        done(bench.run(PAY))
    assert seen == [1]


# Cancelling


def test_a_cancelled_write_that_was_sent_gets_its_record(bench: Workbench, wire: FakeWire) -> None:
    async def scenario() -> None:
        arrived = asyncio.Event()

        async def slow(_sent: Sent) -> Answer:
            arrived.set()
            await asyncio.sleep(0.1)
            return Answer(body=PAID)

        wire.will(POST, slow)
        task = asyncio.create_task(run_tool(PAY, at=Position(run_id="run_1"), session=bench.session()))
        await arrived.wait()
        task.cancel()
        await asyncio.sleep(0.02)
        task.cancel()  # asking twice does not abort it either
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert states(bench) == ["done"]
    assert done(bench.run(PAY)).meta.from_ledger


def test_a_timeout_does_not_abort_a_write_that_was_sent(bench: Workbench, wire: FakeWire) -> None:
    async def scenario() -> None:
        async def slow(_sent: Sent) -> Answer:
            limit.reschedule(asyncio.get_running_loop().time())  # the time is up once it is under way
            await asyncio.sleep(0.05)
            raise UNKNOWN

        wire.will(POST, slow)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                await run_tool(PAY, at=Position(run_id="run_1"), session=bench.session())

    asyncio.run(scenario())
    assert states(bench) == ["unknown"]


def test_a_read_can_be_cancelled_at_once(bench: Workbench, wire: FakeWire) -> None:
    async def scenario() -> None:
        async def never(_sent: Sent) -> Answer:
            await asyncio.Event().wait()
            raise AssertionError

        wire.will("GET /v1/payments/p", never)
        call = ToolCall(tool="get-payment", params={"payment": "p"})
        read = run_tool(call, at=Position(run_id="run_1"), session=bench.session())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read, 0.02)

    asyncio.run(scenario())


# A disk that is full after the send


def fill_disk(bench: Workbench, *, full: bool = True) -> None:
    """Let the ledger grow no more, or again."""
    with bench.records._database.reading() as db:
        db.execute(f"PRAGMA max_page_count = {1 if full else 10**6}")


def test_an_outcome_that_cannot_be_recorded_is_unknown_and_settled_later(bench: Workbench, wire: FakeWire) -> None:
    big = PAID | {"description": "x" * 100_000}

    def answer(_sent: Sent) -> Answer:
        fill_disk(bench)
        return Answer(body=big)

    wire.will(POST, answer)
    error = error_of(bench.run(PAY), OutcomeUnknownError)
    assert "was carried out (pay_1)" in str(error)
    assert "disk is full" in str(error)
    assert states(bench) == ["open"]
    fill_disk(bench, full=False)
    wire.will(POST, Answer(body=big, replayed=True))
    assert done(bench.run(PAY)).meta.replayed
    assert states(bench) == ["done"]


@pytest.mark.parametrize("kind", [OutcomeUnknownError, DeclinedError])
def test_a_failure_that_cannot_be_recorded_keeps_its_meaning(
    bench: Workbench, wire: FakeWire, kind: type[ServiceError]
) -> None:
    error = kind("x" * 100_000, Problem(request_id="req_1"))

    def answer(_sent: Sent) -> Answer:
        fill_disk(bench)
        raise error

    wire.will(POST, answer)
    outcome = bench.run(PAY)
    assert error_of(outcome, kind) is error
    assert isinstance(outcome, Failed)
    assert "disk is full" in outcome.meta.warnings[0]
    assert (outcome.meta.ledger_id, outcome.meta.request_ids) == (1, ("req_1",))
    assert states(bench) == ["open"]


# Options of the call


def test_a_call_without_a_script_is_an_error_of_the_test(bench: Workbench) -> None:
    with pytest.raises(UnexpectedRequestError, match="POST /v1/payments came, but the script expects nothing more"):
        bench.run(PAY)


def test_a_raw_read_is_a_read(bench: Workbench, wire: FakeWire) -> None:
    wire.will("GET /v1/payments", PAID)
    call = ToolCall(tool="raw-request", params={"method": "GET", "path": "/v1/payments"}, paging=Paging())
    assert done(bench.run(call)).value == PAID
    assert bench.entries() == []

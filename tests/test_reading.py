"""Reads: one answer, one note in the ledger, never slowed and never failed by it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from spojit_stripe.connector import Answer
from spojit_stripe.errors import AccessError, ConfigurationError, Problem, UnavailableError
from spojit_stripe.records import Database, Entry
from spojit_stripe.testing import FakeConnector, FakeWire, Workbench, listing_of
from spojit_stripe.values import Done, Failed, Paging, Position, ToolCall

GET = ToolCall(tool="get-payment", params={"payment": "pay_1"})
LIST = ToolCall(tool="list-payments", params={"customer": "cus_1", "status": "paid"})


def rows(bench: Workbench) -> list[Entry]:
    """All rows, once the log of reads is on disk."""
    bench.records.reads.close()
    return list(bench.ledger.entries())


def test_an_object_comes_back_as_the_services_own(bench: Workbench, wire: FakeWire) -> None:
    answer = Answer(
        body={"id": "pay_1", "x": None},
        request_id="req_1",
        attempts=2,
        api_version="v",
        livemode=False,
        warnings=("w",),
    )
    wire.will("GET /v1/payments/pay_1", answer)
    outcome = bench.run(GET)
    assert isinstance(outcome, Done)
    assert outcome.value == {"id": "pay_1", "x": None}
    assert outcome.meta.request_ids == ("req_1",)
    assert (outcome.meta.attempts, outcome.meta.api_version, outcome.meta.warnings) == (2, "v", ("w",))
    assert outcome.meta.idempotency_key is None


def test_an_answer_may_lack_a_request_id(bench: Workbench, wire: FakeWire) -> None:
    wire.will("GET /v1/payments/pay_1", Answer(body={}))
    outcome = bench.run(GET)
    assert isinstance(outcome, Done)
    assert outcome.meta.request_ids == ()


def test_a_list_comes_back_in_one_envelope(bench: Workbench, wire: FakeWire) -> None:
    seen: list[tuple[int, int, int]] = []
    wire.will("GET /v1/payments", listing_of({"id": "a"}, {"id": "b"}))
    call = replace(LIST, paging=Paging(paginate="all", max_items=5))
    outcome = bench.run(call, progress=lambda *numbers: seen.append(numbers))
    assert isinstance(outcome, Done)
    assert outcome.value == {
        "data": [{"id": "a"}, {"id": "b"}],
        "complete": True,
        "as_of": 1_790_000_000,
        "next_cursor": None,
        "fetched": 2,
        "scanned": 2,
        "pages": 1,
        "stopped_because": "end",
    }
    assert seen == [(2, 2, 1)]
    (sent,) = wire.sent
    assert sent.plan is not None
    assert sent.plan.keep == {"status": "paid"}
    assert sent.request.params == {"customer": "cus_1"}
    assert sent.paging == call.paging


def test_an_empty_list_is_a_result(bench: Workbench, wire: FakeWire) -> None:
    wire.will("GET /v1/payments", listing_of())
    outcome = bench.run(ToolCall(tool="list-payments"))
    assert isinstance(outcome, Done)
    assert (outcome.value["data"], outcome.value["complete"]) == ([], True)


def test_a_list_that_broke_off_keeps_what_it_has_and_says_so(bench: Workbench, wire: FakeWire) -> None:
    broken = replace(
        listing_of({"id": "a"}, complete=False),
        stopped_because="error",
        error=UnavailableError("gone"),
        warnings=("w",),
    )
    wire.will("GET /v1/payments", broken)
    outcome = bench.run(LIST)
    assert isinstance(outcome, Done)
    assert (outcome.value["complete"], outcome.value["next_cursor"]) == (False, "a")
    assert outcome.meta.warnings == ("w", "the list is not complete: gone")


def test_a_read_is_one_row_written_afterwards(bench: Workbench, wire: FakeWire) -> None:
    wire.will("GET /v1/payments/pay_1", {"id": "pay_1"}).will("GET /v1/payments", listing_of({"id": "a"}))
    bench.run(GET, account="acct_1", at=Position(run_id="r", node="n", indexes=(1, 2), ordinal=3))
    bench.run(LIST)
    listed, got = rows(bench)
    assert (got.effect, got.state, got.object_id, got.key, got.digest) == ("read", "done", "pay_1", None, None)
    assert (got.run_id, got.node, got.indexes, got.ordinal) == ("r", "n", "1/2", 3)
    assert (got.account, got.operation, got.path) == ("acct_1", "GET /v1/payments/{payment}", "/v1/payments/pay_1")
    assert got.api_version == "2026-01-01"
    assert got.result is None
    assert listed.params == {"customer": "cus_1"}
    assert (listed.result or {})["fetched"] == 1
    assert "data" not in (listed.result or {})


def test_a_failed_read_is_recorded_with_its_error(bench: Workbench, wire: FakeWire) -> None:
    error = AccessError("no", Problem(request_id="req_9", status=403, missing_permission="rak_x", attempts=2))
    wire.will("GET /v1/payments/pay_1", error)
    outcome = bench.run(GET)
    assert isinstance(outcome, Failed)
    assert outcome.error is error
    assert outcome.meta.request_ids == ("req_9",)
    (row,) = rows(bench)
    assert (row.state, row.error, row.request_ids) == ("failed", error.to_json(), ["req_9"])


def test_a_read_at_the_same_place_reads_again(bench: Workbench, wire: FakeWire) -> None:
    wire.will("GET /v1/payments/pay_1", {"id": "pay_1", "n": 1}, {"id": "pay_1", "n": 2})
    bench.run(GET)
    outcome = bench.run(GET)
    assert isinstance(outcome, Done)
    assert outcome.value["n"] == 2


def test_a_row_that_cannot_be_written_does_not_fail_the_read_and_is_kept(bench: Workbench, wire: FakeWire) -> None:
    wire.will("GET /v1/payments/pay_1", {"id": "pay_1"}, {"id": "pay_1"})
    bench.records._database._connection.execute("DROP TABLE calls")
    assert isinstance(bench.run(GET), Done)
    bench.records.reads.close()
    assert isinstance(bench.records.reads.fault, ConfigurationError)
    assert isinstance(bench.run(GET), Done)


def test_a_state_folder_that_cannot_be_used_is_found_before_anything_is_sent(tmp_path: Path, wire: FakeWire) -> None:
    (tmp_path / "file").write_text("")
    with Workbench(tmp_path / "file" / "state", FakeConnector(wire)) as bench:
        outcome = bench.run(GET)
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, ConfigurationError)
        assert "choose another folder" in str(outcome.error)
    assert wire.sent == []


def test_a_read_does_not_wait_for_the_ledger(bench: Workbench, wire: FakeWire) -> None:
    wire.will("GET /v1/payments/pay_1", {"id": "pay_1"})
    assert bench.records.path.exists()
    other = Database(bench.state)
    with other.writing():  # another process holds the lock; waiting for it takes 30 seconds
        began = time.perf_counter()
        assert isinstance(bench.run(GET), Done)
        assert time.perf_counter() - began < 10
    other.close()
    assert len(rows(bench)) == 1

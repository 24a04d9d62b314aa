"""What is recorded of runs, beside what the engine keeps for itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spojit_stripe.errors import InputError
from spojit_stripe.records import NodeNote, Records, Run, Runs, RunState
from spojit_stripe.testing import FakeClock, FakeConnector, FakeWire, Workbench
from spojit_stripe.values import Done, Position, ToolCall


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def records(tmp_path: Path, clock: FakeClock) -> Iterator[Records]:
    records = Records(tmp_path / "state", clock)
    yield records
    records.close()


@pytest.fixture
def runs(records: Records) -> Runs:
    return records.runs


def a_run(run_id: str = "run-1", **fields: object) -> Run:
    given = {
        "id": run_id,
        "workflow": "w",
        "version": "v1",
        "file": "/w.yaml",
        "engine": "sqlite:///x",
        "inputs": {"n": 1},
        "state": RunState.RUNNING,
        "created": 1_790_000_000,
        "finished": None,
        "resumes": 0,
        "resumed": 0,
        "retried": (),
        "exceptions": 0,
        "output": None,
        "error": None,
    }
    return Run(**{**given, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("state", RunState)
def test_only_what_has_not_ended_is_cancelled(runs: Runs, state: RunState) -> None:
    """And what is cancelled is not overwritten by where its process says that it stands."""
    runs.create(a_run(state=state))
    runs.wait("run-1", "approval:1", "run-1")
    assert runs.cancel("run-1") is (state in (RunState.RUNNING, RunState.WAITING))
    assert len(runs.waits()) == (1 if state.ended else 0)
    if not state.ended:
        runs.set_state("run-1", RunState.WAITING)
        found = runs.get("run-1")
        assert (found.state, found.finished is None) == (RunState.CANCELLED, False)


def test_a_run_is_created_once(runs: Runs) -> None:
    assert runs.create(a_run())
    assert not runs.create(a_run(inputs={"n": 2}))
    assert runs.get("run-1") == a_run()
    assert runs.find("run-2") is None


def test_how_a_run_goes_on_and_ends(runs: Runs, clock: FakeClock) -> None:
    """Retried entries add up; an end takes the waits away; errors are redacted."""
    runs.create(a_run())
    runs.wait("run-1", "approval:apr_1", "run-1/child")
    runs.wait("run-1", "approval:apr_1", "run-1/other")
    runs.set_state("run-1", RunState.WAITING)
    assert [(wait.topic, wait.address) for wait in runs.waits(run_id="run-1")] == [("approval:apr_1", "run-1/other")]
    assert runs.waits(topic="approval:apr_2") == []
    clock.advance(10)
    error = {"error": "RefusedError", "message": "key sk_test_Recognisable4711abcdef was refused"}
    runs.finish("run-1", RunState.FAILED, output=None, error=error, exceptions=2)
    failed = runs.get("run-1")
    assert (failed.state, failed.finished, failed.exceptions) == (RunState.FAILED, 1_790_000_010, 2)
    assert "Recognisable" not in str(failed.error)
    assert runs.waits() == []
    runs.resume("run-1", (7, 3))
    clock.advance(5)
    runs.resume("run-1", (3, 9))
    again = runs.get("run-1")
    assert (again.state, again.resumes, again.resumed, again.retried) == (RunState.RUNNING, 2, 1_790_000_015, (3, 7, 9))
    assert (again.error, again.finished) == (None, None)


def test_lists_are_newest_first_and_narrowed(runs: Runs) -> None:
    for number in range(3):
        runs.create(a_run(f"run-{number}", created=1_790_000_000 + number, workflow=f"w{number % 2}"))
    runs.set_state("run-1", RunState.WAITING)
    assert [run.id for run in runs.list()] == ["run-2", "run-1", "run-0"]
    assert [run.id for run in runs.list(workflow="w0")] == ["run-2", "run-0"]
    assert [run.id for run in runs.list(state=RunState.WAITING)] == ["run-1"]
    assert [run.id for run in runs.list(limit=1)] == ["run-2"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("push-refunds-1", "no run 'push-refunds-1'; did you mean 'push-refunds-2'?"),
        ("push", "no run 'push'; there is push-refunds-2"),
        ("", "no run ''; `spojit-stripe runs list` shows what there is"),
        ("x" * 9, "no run 'xxxxxxxxx'; `spojit-stripe runs list` shows what there is"),
    ],
)
def test_an_unknown_run_names_those_that_are_near(runs: Runs, asked: str, told: str) -> None:
    runs.create(a_run("push-refunds-2"))
    with pytest.raises(InputError) as caught:
        runs.get(asked)
    assert caught.value.message == told


def test_notes_are_queued_and_the_last_word_on_each_node_stays(runs: Runs) -> None:
    """In the order in which nodes began; a start that is known is not forgotten."""
    runs.create(a_run())
    runs.note("run-1", NodeNote(path="b", type="set", state="running", started=2.0, facts={}))
    runs.note("run-1", NodeNote(path="a", type="loop", state="running", started=1.0, facts={}))
    runs.flush()
    runs.note(
        "run-1", NodeNote(path="b", type="set", state="failed", finished=3.0, facts={"error": "sk_test_" + "a1" * 9})
    )
    runs.note("run-1", NodeNote(path="c", type="set", state="skipped", finished=2.5, facts={}))
    runs.flush()
    assert [(note.path, note.state, note.started, note.finished) for note in runs.nodes("run-1")] == [
        ("a", "running", 1.0, None),
        ("b", "failed", 2.0, 3.0),
        ("c", "skipped", None, 2.5),
    ]
    assert "a1a1" not in str(runs.nodes("run-1"))
    assert runs.fault is None


def test_versions_are_kept_while_a_run_has_them(runs: Runs) -> None:
    runs.keep_version("v1", {"w.yaml": "name: w"})
    runs.keep_version("v1", {"w.yaml": "is not written again"})
    assert runs.version("v1") == {"w.yaml": "name: w"}
    runs.create(a_run("run-1"))
    runs.create(a_run("run-2"))
    runs.prune("run-1")
    assert runs.version("v1") == {"w.yaml": "name: w"}
    runs.prune("run-2")
    with pytest.raises(InputError, match="version v1 of the workflow is not kept any more"):
        runs.version("v1")


def test_pruning_takes_what_speaks_of_people_and_keeps_what_was_paid(tmp_path: Path) -> None:
    """Also from the bytes of the files; the same place and the same `once` pay nothing again."""
    wire = FakeWire()
    call = ToolCall(tool="make-payment", params={"amount": 5, "currency": "usd", "customer": "Zoe-4711"}, once="o-1")
    with Workbench(tmp_path / "state", FakeConnector(wire)) as bench:
        wire.will("POST /v1/payments", {"id": "pay_1", "customer": "Zoe-4711"})
        wire.will("GET /v1/payments/Zoe-4711", {"id": "Zoe-4711"})
        runs = bench.records.runs
        runs.create(a_run(inputs={"who": "Zoe-4711"}))
        runs.note("run-1", NodeNote(path="a", type="x", state="done", facts={"note": "Zoe-4711"}))
        runs.keep_transcript("run-1", "a", ["Zoe-4711"])
        runs.flush()
        assert isinstance(bench.run(call, at="run-1"), Done)
        bench.run(ToolCall(tool="get-payment", params={"payment": "Zoe-4711"}), at="run-1")
        bench.records.reads.close()
        runs.finish("run-1", RunState.DONE, output={"value": "Zoe-4711", "status": None}, error=None, exceptions=0)
        runs.prune("run-1")
        assert runs.list() == []
        assert runs.nodes("run-1") == []
        (entry,) = bench.entries()
        assert (entry.state.value, entry.object_id, entry.result, entry.params) == (
            "done",
            "pay_1",
            {"id": "pay_1"},
            {},
        )
        again = bench.run(call, at="run-1")
        other = bench.run(call, at=Position(run_id="run-2"))
        assert isinstance(again, Done)
        assert isinstance(other, Done)
        assert again.value == other.value == {"id": "pay_1"}
        assert len(wire.writes) == 1
    for file in (tmp_path / "state").rglob("*"):
        assert not file.is_file() or b"Zoe-4711" not in file.read_bytes(), file

"""Cancelling and pruning, also while another process starts, ends or takes up the same run."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
import threading
from dataclasses import replace
from typing import IO

import pytest

from spojit_stripe.engine import Embedded
from spojit_stripe.errors import InputError
from spojit_stripe.records import Run, RunState

PAY = "type: connector, connector: fake, connection: till, tool: make-payment"
EARLY = f"name: early\nnodes: [{{id: pay, {PAY}, params: {{amount: 5, currency: usd}}}}]\n"

DECLINED = f"""\
name: declined
nodes:
  - {{id: pay, {PAY}, params: {{amount: 13, currency: usd}}}}
  - {{id: ask, type: human, message: "Go?"}}
"""


def held(stage, run_id: str = "run-1") -> IO[str]:
    """The lock of a run, as another process holds it."""
    lock = (stage.folder / "state" / "runs" / run_id / "lock").open("a+")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def test_a_run_that_is_only_starting_is_cancelled_before_it_sends_anything(stage) -> None:
    """Its engine is late: the disk takes no writing until somebody has cancelled the run. It can be taken up again."""
    folder = stage.folder / "state" / "runs" / "run-1"
    folder.mkdir(parents=True)
    busy = sqlite3.connect(folder / "engine.db", isolation_level=None, check_same_thread=False)
    busy.execute("PRAGMA journal_mode = WAL")
    busy.execute("BEGIN IMMEDIATE")
    told: list[str] = []

    def cancel() -> None:
        runs = stage.host.records.runs
        while runs.find("run-1") is None:
            pause.wait(0.01)
        try:
            told.append(Embedded(stage.host).cancel("run-1").state)
        finally:
            busy.execute("ROLLBACK")

    pause = threading.Event()
    thread = threading.Thread(target=cancel)
    thread.start()
    run = stage.start(EARLY)
    thread.join()
    busy.close()
    assert (told, run.state, stage.till.sent) == (["cancelled"], RunState.CANCELLED, [])
    done = stage.resume()
    assert (done.state, stage.till.amounts) == (RunState.DONE, [5])


@pytest.mark.parametrize("tables", [False, True])
def test_a_run_whose_process_died_before_it_had_an_engine_can_be_cancelled_and_taken_up_again(stage, tables) -> None:
    """Without a database, or with an empty one."""
    bundle = stage.bundle(EARLY)
    other = Embedded(stage.host).start(bundle, {}, "other")
    runs = stage.host.records.runs
    run = replace(other, id="run-1", engine=other.engine.replace("other", "run-1"), state=RunState.RUNNING)
    runs.create(run)
    if tables:
        (stage.folder / "state" / "runs" / "run-1").mkdir()
        sqlite3.connect(stage.folder / "state" / "runs" / "run-1" / "engine.db").close()
    assert Embedded(stage.host).cancel("run-1").state is RunState.CANCELLED
    with pytest.raises(InputError, match="run run-1 is cancelled, so there is nothing to cancel"):
        Embedded(stage.host).cancel("run-1")
    assert stage.resume().state is RunState.DONE
    assert stage.till.amounts == [5, 5]


def test_a_run_that_ends_while_it_is_cancelled_stays_as_it_ended(stage) -> None:
    """Its output is kept, and who cancels it is told."""
    done = stage.start(EARLY)
    runs = stage.host.records.runs

    class Late:
        """A look at the run from before it ended."""

        def __getattr__(self, name: str) -> object:
            return getattr(runs, name)

        def get(self, run_id: str) -> Run:
            self.get = runs.get
            return replace(done, state=RunState.RUNNING)

    stage.host.records.runs = Late()
    with pytest.raises(InputError, match="run run-1 is done, so there is nothing to cancel"):
        Embedded(stage.host).cancel("run-1")
    stage.host.records.runs = runs
    assert runs.get("run-1") == done


def test_a_cancelled_run_is_running_while_its_process_ends_what_is_under_way(stage) -> None:
    stage.start('name: waits\nnodes: [{id: ask, type: human, message: "Go?"}]\n')
    engine = Embedded(stage.host)
    with held(stage):
        cancelled = engine.cancel("run-1")
        assert (cancelled.state, engine.state_of(cancelled)) == (RunState.CANCELLED, "running")
    assert engine.state_of(cancelled) == "cancelled"


def test_a_run_that_was_taken_up_since_it_was_looked_at_is_not_pruned(stage) -> None:
    failed = stage.start(DECLINED)
    stage.till.mended = True
    waiting = stage.resume()
    assert waiting.state is RunState.WAITING
    with pytest.raises(InputError, match="run run-1 is waiting; only a run that has ended can be pruned"):
        Embedded(stage.host).prune(failed)
    stage.decide("rejected")
    rejected = stage.resume()
    later = replace(rejected, finished=rejected.finished - 1)
    with pytest.raises(InputError, match="run run-1 has gone on since it was looked at"):
        Embedded(stage.host).prune(later)
    assert Embedded(stage.host).prune(rejected) > 0
    assert not (stage.folder / "state" / "runs" / "run-1").exists()


def test_who_waits_for_a_lock_that_is_pruned_meanwhile_takes_the_next_one(stage, seen) -> None:
    """Else two processes could each hold a lock of one run."""
    folder = stage.folder / "state" / "runs" / "run-1"
    folder.mkdir(parents=True)
    lock = held(stage)

    def prune() -> None:
        shutil.rmtree(folder)
        lock.close()

    threading.Timer(0.2, prune).start()
    runs, states = stage.host.records.runs, list[str]()

    async def look(sent) -> None:
        states.append(Embedded(stage.host).state_of(runs.get("run-1")))

    stage.till.before = look
    assert stage.start(EARLY).state is RunState.DONE
    assert states == ["running"]


def test_a_cancelling_that_was_cut_off_can_be_repeated(stage) -> None:
    """It was noted, and its process died before the engine of the one that runs was told."""
    stage.start(DECLINED.replace("amount: 13", "amount: 5"))
    assert stage.host.records.runs.cancel("run-1")
    with held(stage):
        assert Embedded(stage.host).cancel("run-1").state is RunState.CANCELLED
    with pytest.raises(InputError, match="is cancelled, so there is nothing to cancel"):
        Embedded(stage.host).cancel("run-1")
    stage.decide()
    assert stage.resume().state is RunState.DONE
    assert stage.till.amounts == [5]

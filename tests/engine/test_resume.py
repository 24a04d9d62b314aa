"""Going on after a failure: what is done stays done, what failed is tried again, what is unknown is settled first."""

from __future__ import annotations

import asyncio
import fcntl
import threading
from dataclasses import replace

import pytest

from spojit_stripe.engine import Embedded
from spojit_stripe.engine.durable import rewind, steps_of
from spojit_stripe.engine.frames import Failure
from spojit_stripe.errors import InputError, RefusedError
from spojit_stripe.records import RunState

PAY = "type: connector, connector: fake, connection: till, tool: make-payment"
THREE = f"""\
name: three
nodes:
  - {{id: one, {PAY}, params: {{amount: 5, currency: usd}}}}
  - {{id: two, {PAY}, params: {{amount: 13, currency: usd}}}}
  - {{id: out, type: transform, set: {{amounts: ["{{{{ one.amount }}}}", "{{{{ two.amount }}}}"]}}}}
"""


def test_after_a_decline_only_the_failed_call_is_tried_again(stage) -> None:
    """Under the same run id, with the next generation of its key, and only when a person resumes."""
    failed = stage.start(THREE)
    assert (failed.state, stage.error(failed)) == (RunState.FAILED, "the card was declined")
    assert stage.nodes() == {"one": "done", "two": "failed"}
    with pytest.raises(RefusedError, match=r"has begun already and is failed, .* `spojit-stripe runs resume run-1`"):
        stage.start(THREE)
    again = stage.resume()
    assert (again.state, again.resumes) == (RunState.FAILED, 1)
    stage.till.mended = True
    done = stage.resume()
    assert (done.state, done.output["value"]) == (RunState.DONE, {"amounts": [5, 13]})
    assert done.error is None
    assert stage.nodes() == {"one": "done", "two": "done", "out": "done"}
    assert [(entry.node, entry.generation, entry.state.value) for entry in stage.writes()] == [
        ("one", 0, "done"),
        ("two", 0, "failed"),
        ("two", 1, "failed"),
        ("two", 2, "done"),
    ]
    assert len(stage.till.sent) == 4
    assert len(set(stage.till.keys)) == 4
    assert stage.till.amounts == [5, 13]
    assert stage.resume() == done, "a run that is done stays as it is"
    assert stage.start(THREE) == done
    with pytest.raises(InputError, match="run run-1 was begun with another version of the workflow"):
        stage.start(THREE.replace("amount: 5", "amount: 6"))
    assert len(stage.till.sent) == 4


def test_an_unknown_outcome_is_settled_first_under_its_own_key(stage) -> None:
    """`on_error` goes on after nothing that may have taken effect."""
    text = f"""\
name: unknown
nodes:
  - {{id: pay, {PAY}, params: {{amount: 14, currency: usd}}, on_error: continue}}
  - {{id: out, type: transform, set: {{id: "{{{{ pay.id }}}}"}}}}
"""
    run = stage.start(text)
    assert (run.state, stage.nodes()) == (RunState.UNKNOWN, {"pay": "unknown"})
    again = stage.resume()
    assert again.state is RunState.UNKNOWN
    stage.till.mended = True
    done = stage.resume()
    assert (done.state, done.output["value"], done.exceptions) == (RunState.DONE, {"id": "pay_1"}, 0)
    assert [(entry.generation, entry.state.value) for entry in stage.writes()] == [(0, "done")]
    assert len(set(stage.till.keys)) == 1
    assert stage.till.amounts == [14]


NESTED = f"""\
name: nested
inputs: {{type: object, properties: {{rows: {{type: array}}}}, required: [rows]}}
nodes:
  - id: sides
    type: parallel
    branches:
      left:
        - id: outer
          type: loop
          for_each: "{{{{ input.rows }}}}"
          as: row
          concurrency: 2
          nodes:
            - id: inner
              type: loop
              for_each: "{{{{ row }}}}"
              as: amount
              nodes:
                - {{id: pay, {PAY}, params: {{amount: "{{{{ amount }}}}", currency: usd}}}}
      right:
        - id: c
          type: condition
          if: true
          then: [{{id: sub, type: subworkflow, workflow: inner.yaml, inputs: {{}}}}]
  - id: out
    type: transform
    set: {{rows: "{{{{ sides.left.results | map('results') }}}}", sub: "{{{{ sides.right }}}}"}}
"""
SUB = f"""\
name: sub
inputs: {{type: object, properties: {{}}}}
nodes:
  - {{id: first, {PAY}, params: {{amount: 1, currency: usd}}}}
  - id: items
    type: loop
    for_each: [13]
    nodes:
      - {{id: pay, {PAY}, params: {{amount: "{{{{ item }}}}", currency: usd}}}}
  - {{id: answer, type: response, body: {{n: "{{{{ items.count }}}}"}}}}
"""


def amounts(value: dict) -> object:
    return {"rows": [[one["amount"] for one in row] for row in value["rows"]], "sub": value["sub"]}


def test_failed_items_of_loops_in_loops_are_wound_back_the_deepest_first(stage) -> None:
    """Both branches failed, in a loop in a loop and in a loop in a subworkflow in a condition."""
    rows = {"rows": [[5, 13, 6], [7], [8]]}
    failed = stage.start(NESTED, rows, files={"inner": SUB})
    assert failed.state is RunState.FAILED
    assert failed.error["node"] == "sides.left/outer[0]/inner[1]/pay"
    before = stage.writes()
    assert 6 not in stage.till.amounts, "no item is begun after one that failed"
    steps = steps_of(failed.engine, failed.id)
    stage.till.mended = True
    done = stage.resume()
    assert (done.state, amounts(done.output["value"])) == (
        RunState.DONE,
        {"rows": [[5, 13, 6], [7], [8]], "sub": {"n": 1}},
    )
    assert sorted(stage.till.amounts) == [1, 5, 6, 7, 8, 13, 13]
    after = stage.writes()
    assert {entry.id: entry.attempts for entry in after if entry.state == "done"} | {
        entry.id: entry.attempts for entry in before if entry.state == "done"
    } == {entry.id: 1 for entry in after if entry.state == "done"}
    assert {name for name in steps_of(done.engine, done.id)} >= set(steps)
    assert set(stage.nodes().values()) == {"done"}
    undisturbed = stage.start(NESTED, rows, run_id="run-2", files={"inner": SUB})
    assert amounts(undisturbed.output["value"]) == amounts(done.output["value"])


def test_a_file_that_was_edited_changes_no_run_that_has_begun(stage) -> None:
    failed = stage.start(THREE)
    (stage.folder / "case.yaml").write_text("name: other\nnodes: []\n")
    stage.till.mended = True
    assert stage.resume().output["value"] == {"amounts": [5, 13]}
    assert failed.version == stage.host.records.runs.get("run-1").version


def test_a_replayed_loop_that_stopped_early_takes_the_same_steps(stage) -> None:
    """Which of its items were begun depends on what ended first; the numbers of later steps must not."""
    text = f"""\
name: replayed
nodes:
  - id: all
    type: loop
    for_each: [1, 2, 13, 3, 4, 5, 6, 7, 8]
    as: amount
    concurrency: 3
    on_error: continue
    nodes:
      - {{id: pay, {PAY}, params: {{amount: "{{{{ amount }}}}", currency: usd}}}}
  - {{id: between, type: transform, set: {{n: 1}}}}
  - {{id: last, {PAY}, params: {{amount: 13, currency: usd}}}}
"""
    failed = stage.start(text)
    assert failed.error["node"] == "last"
    for _ in range(2):
        assert stage.error(stage.resume()) == "the card was declined"
    stage.till.mended = True
    assert stage.resume().state is RunState.DONE


def test_time_that_was_over_stays_over_when_the_run_is_resumed(stage) -> None:
    """A node that was refused for want of time, and gone on after, is not run by a later resume."""
    text = f"""\
name: over
nodes:
  - id: within
    type: condition
    if: true
    timeout: 1s
    then:
      - {{id: slow, {PAY}, params: {{amount: 1, currency: usd}}}}
      - {{id: late, {PAY}, params: {{amount: 2, currency: usd}}, on_error: continue}}
      - {{id: kept, type: transform, set: {{late: "{{{{ late }}}}"}}, on_error: continue}}
  - {{id: last, {PAY}, params: {{amount: 13, currency: usd}}}}
"""

    async def slow(sent) -> None:
        if sent.request.params["amount"] == 1:
            await asyncio.sleep(1.1)

    stage.till.before = slow
    failed = stage.start(text)
    assert (failed.error["node"], failed.exceptions) == ("last", 2)
    stage.till.mended = True
    done = stage.resume()
    assert (done.state, done.exceptions) == (RunState.DONE, 2)
    assert stage.till.amounts == [1, 13]


def test_a_cancelled_run_can_be_taken_up_again(stage) -> None:
    """Cancelled from elsewhere while it is inside a loop: no further step begins."""
    text = f"""\
name: cancelled
nodes:
  - id: all
    type: loop
    for_each: [1, 2, 3]
    as: amount
    nodes:
      - {{id: pay, {PAY}, params: {{amount: "{{{{ amount }}}}", currency: usd}}}}
"""

    async def cancel(sent) -> None:
        if sent.request.params["amount"] == 2:
            await asyncio.to_thread(Embedded(stage.host).cancel, "run-1")

    stage.till.before = cancel
    assert stage.start(text).state is RunState.CANCELLED
    assert stage.till.amounts == [1, 2]
    stage.till.before = None
    done = stage.resume()
    assert (done.state, stage.till.amounts) == (RunState.DONE, [1, 2, 3])
    assert [entry.attempts for entry in stage.writes()] == [1, 1, 1]
    with pytest.raises(InputError, match="run run-1 is done, so there is nothing to cancel"):
        Embedded(stage.host).cancel("run-1")


def test_a_run_that_a_fault_of_ours_broke_goes_on_once_that_is_mended(stage) -> None:
    """In a loop, inside a call: its row is open, so it is settled under its own key."""
    text = f"""\
name: broken
nodes:
  - id: all
    type: loop
    for_each: [1, 2]
    as: amount
    nodes:
      - {{id: pay, {PAY}, params: {{amount: "{{{{ amount }}}}", currency: usd}}}}
"""

    async def broken(sent) -> None:
        if sent.request.params["amount"] == 2:
            raise ZeroDivisionError("a defect")

    stage.till.before = broken
    run = stage.start(text)
    assert (run.state, stage.error(run)) == (RunState.FAILED, "a fault of this program: a defect")
    assert [entry.state for entry in stage.writes()] == ["done", "open"]
    stage.till.before = None
    assert stage.resume().state is RunState.DONE
    assert stage.till.amounts == [1, 2]
    assert [entry.state for entry in stage.writes()] == ["done", "done"]
    assert len(set(stage.till.keys)) == 2


def test_a_process_that_stops_while_it_winds_back_leaves_nothing_that_can_not_be_resumed(stage) -> None:
    """Children and parent are wound back in steps of their own; the second time does the rest."""
    failed = stage.start(NESTED, {"rows": [[13]]}, files={"inner": SUB})
    points = Failure.of_json(failed.error["failure"]).points(failed.id)
    assert len(points) == 6
    rewind(failed.engine, failed.id, points[:3])
    stage.till.mended = True
    assert stage.resume().state is RunState.DONE
    assert sorted(stage.till.amounts) == [1, 13, 13]


def test_once_is_not_used_up_by_a_call_that_failed_for_certain(stage) -> None:
    """It is by the attempt that a resume makes, also for another run."""
    text = f"""\
name: once
nodes: [{{id: pay, {PAY}, once: order 7, params: {{amount: 13, currency: usd}}}}]
"""
    assert stage.start(text).state is RunState.FAILED
    stage.till.mended = True
    assert stage.resume().output["value"]["id"] == "pay_1"
    assert stage.start(text, run_id="run-2").output["value"]["id"] == "pay_1"
    assert stage.till.amounts == [13]


def test_a_process_that_stops_before_its_run_has_a_database_can_be_resumed(stage) -> None:
    """There is its row, its files and nothing else."""
    bundle = stage.bundle(f"name: early\nnodes: [{{id: pay, {PAY}, params: {{amount: 5, currency: usd}}}}]\n")
    done = Embedded(stage.host).start(bundle, {}, "other")
    runs = stage.host.records.runs
    runs.create(replace(done, id="run-1", engine=done.engine.replace("other", "run-1"), state=RunState.RUNNING))
    assert Embedded(stage.host).state_of(runs.get("run-1")) == "interrupted"
    assert stage.resume().state is RunState.DONE
    assert stage.till.amounts == [5, 5]


def test_an_end_that_could_not_be_noted_is_no_answer_to_who_resumes(stage) -> None:
    """The disk was full: the engine knows how the run ended, and its row says that it goes on."""
    failed = stage.start(THREE)
    runs = stage.host.records.runs
    runs.set_state(failed.id, RunState.RUNNING)
    assert Embedded(stage.host).state_of(runs.get(failed.id)) == "interrupted"
    stage.till.mended = True
    done = stage.resume()
    assert (done.state, done.output["value"]) == (RunState.DONE, {"amounts": [5, 13]})
    runs.set_state(failed.id, RunState.RUNNING)
    done = stage.resume()
    assert (done.state, done.output["value"]) == (RunState.DONE, {"amounts": [5, 13]})
    assert stage.till.amounts == [5, 13]


def test_a_run_that_waits_in_a_living_process_can_be_cancelled_from_elsewhere(stage, seen) -> None:
    """It ends there, and can be taken up again."""
    text = 'name: waits\nnodes: [{id: ask, type: human, message: "Go?"}]\n'

    def cancelled(path: str, kind: str, facts: dict) -> None:
        threading.Thread(target=when_waiting, args=[stage, lambda: Embedded(stage.host).cancel("run-1")]).start()

    seen.on_event = cancelled
    assert stage.start(text, listener=seen, wait=True).state is RunState.CANCELLED
    stage.decide()
    assert stage.resume().output["value"]["approved"] is True


def when_waiting(stage, then) -> None:
    pause = threading.Event()
    while stage.host.records.runs.get("run-1").state is not RunState.WAITING:
        pause.wait(0.02)
    then()


def test_who_only_looks_does_not_stand_in_the_way(stage) -> None:
    """To see whether a run is held, its lock is tried for a moment; whoever wants it in that moment waits."""
    failed = stage.start(THREE)
    stage.till.mended = True
    with (stage.folder / "state" / "runs" / failed.id / "lock").open("a+") as looking:
        fcntl.flock(looking, fcntl.LOCK_EX)
        threading.Timer(0.2, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        assert stage.resume().state is RunState.DONE


def test_an_unknown_outcome_in_a_loop_stops_it_and_is_settled_alone(stage) -> None:
    """Whatever `on_error` says, inside and around; the items that were done stay done."""
    text = f"""\
name: lost
nodes:
  - id: all
    type: loop
    for_each: [5, 14, 6]
    as: amount
    on_error: continue
    nodes:
      - {{id: pay, {PAY}, params: {{amount: "{{{{ amount }}}}", currency: usd}}, on_error: continue}}
  - {{id: out, type: transform, set: {{amounts: "{{{{ all.results | map('amount') }}}}"}}}}
"""
    run = stage.start(text)
    assert (run.state, run.error["node"]) == (RunState.UNKNOWN, "all[1]/pay")
    assert stage.till.amounts == [5, 14]
    stage.till.mended = True
    done = stage.resume()
    assert (done.state, done.output["value"], done.exceptions) == (RunState.DONE, {"amounts": [5, 14, 6]}, 0)
    assert [(entry.generation, entry.state.value) for entry in stage.writes()] == [(0, "done")] * 3
    assert len(stage.till.sent) == 4


def test_a_state_folder_of_any_name_is_found_again(stage, tmp_path) -> None:
    """With signs that mean something in a URL."""
    folder = tmp_path / "50% of it?#x%41 y"
    folder.mkdir()
    before = {path.name for path in tmp_path.iterdir()}
    other = type(stage)(folder)
    try:
        assert other.start(THREE).state is RunState.FAILED
        other.till.mended = True
        assert other.resume().state is RunState.DONE
    finally:
        other.host.close()
    assert (folder / "state" / "runs" / "run-1" / "engine.db").exists()
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("items", "at_once"), [("[1, 2, 13, 3, 4, 5, 6]", 3), ("[1, 2, 3, 4, 13, 5, 6, 7, 8, 9, 10]", 5)]
)
def test_a_replay_begins_no_item_that_the_run_had_decided_not_to_begin(stage, items, at_once) -> None:
    """Recorded results come all at once: the one that stopped the loop must be heard before another item is paid."""
    text = f"""\
name: replayed
nodes:
  - id: all
    type: loop
    for_each: {items}
    as: n
    concurrency: {at_once}
    on_error: continue
    nodes: [{{id: pay, {PAY}, params: {{amount: "{{{{ n }}}}", currency: usd}}}}]
  - {{id: ask, type: human, message: Some were not paid. Go on}}
"""

    async def slow(sent) -> None:
        if sent.request.params["amount"] < 5:
            await asyncio.sleep(0.5)

    stage.till.before = slow
    assert stage.start(text).state is RunState.WAITING
    paid = sorted(stage.till.amounts)
    assert stage.resume().state is RunState.WAITING
    stage.decide()
    assert stage.resume().state is RunState.DONE
    assert sorted(stage.till.amounts) == paid


def test_errors_of_a_node_inside_a_condition_are_known_after_it(stage) -> None:
    text = f"""\
name: told
nodes:
  - id: check
    type: condition
    if: true
    then: [{{id: pay, {PAY}, params: {{amount: 13, currency: usd}}, on_error: continue}}]
  - {{id: alert, type: transform, when: "{{{{ 'pay' in errors }}}}", set: {{why: "{{{{ errors.pay.message }}}}"}}}}
"""
    assert stage.play(text)["value"] == {"why": "the card was declined"}

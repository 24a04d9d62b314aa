"""Large values: a run holds them in files, and its database stays small."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest

from spojit_stripe.cli.running import write_value
from spojit_stripe.data import ArtifactStore, StoredList
from spojit_stripe.engine import Embedded, RunContext, Watch, durable, tasks_of
from spojit_stripe.engine.frames import Failure, Frame
from spojit_stripe.engine.scope import share
from spojit_stripe.node import Sessions
from spojit_stripe.records import RunState
from spojit_stripe.steps import InProcessSteps

ROWS = 9_000
TEXT = """\
name: large
nodes:
  - {id: all, type: connector, connector: fake, connection: till, tool: list-payments, paginate: all}
  - {id: sums, type: transform, sql: "select currency, sum(amount) as amount, count(*) as n from all_ group by 1"}
  - {id: wide, type: transform, sql: "select id, amount, text from all_ order by amount desc"}
  - {id: kept, type: transform, set: {rows: "{{ all_.data }}", first: "{{ wide.data[0].amount }}"}}
  - id: loop
    type: loop
    for_each: "{{ wide.data }}"
    when: false
    nodes: [{id: x, type: transform, set: {n: 1}}]
  - id: each
    type: loop
    for_each: [0, 1]
    concurrency: 2
    nodes:
      - {id: y, type: transform, set: {amount: "{{ kept.rows[item].amount }}", n: "{{ wide.data | length }}"}}
  - {id: out, type: transform, set: {sums: "{{ sums.data }}", each: "{{ each.results }}", rows: "{{ kept.rows }}"}}
""".replace("id: all,", "id: all_,")


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_lists_and_sets_over_the_threshold_go_to_files(stage) -> None:
    """And are read where they are used: by SQL, by an expression, by the parts of a loop, by the output."""
    for number in range(ROWS):
        row = {"id": f"pay_{number:06d}", "currency": "usd", "customer": None, "text": f"row {number} " + "x" * 60}
        stage.till.paid[f"key {number}"] = {**row, "amount": number}
    run = stage.start(TEXT)
    assert run.state is RunState.DONE, run.error
    engine = Embedded(stage.host)
    value = engine.value_of(run)
    total = {"currency": "usd", "amount": ROWS * (ROWS - 1) // 2, "n": ROWS}
    assert value["sums"] == [total]
    assert value["each"] == [{"amount": 0, "n": ROWS}, {"amount": 1, "n": ROWS}]
    assert isinstance(value["rows"], StoredList)
    assert len(json.dumps(run.output)) < 20_000
    stream = io.StringIO()
    write_value(stream, value)
    assert [row["amount"] for row in json.loads(stream.getvalue())["rows"]] == [*range(ROWS)]
    artifacts, database = stage.folder / "state" / "artifacts", stage.folder / "state" / "runs"
    assert size(artifacts) > 1_000_000
    assert size(database) < 600_000
    assert stage.nodes()["loop"] == "skipped"
    # Another run's files stay where one is pruned.
    other = stage.start(TEXT, run_id="run-10")
    freed = engine.prune(stage.host.records.runs.get("run-1"))
    assert freed > 1_000_000
    assert len(engine.value_of(other)["rows"]) == ROWS


IDS = """\
name: ids
nodes:
  - {id: all_, type: connector, connector: fake, connection: till, tool: list-payments, paginate: all}
  - {id: ids, type: transform, set: {list: "{{ all_.data | map('id') }}"}}
  - id: taken
    type: transform
    set: {n: "{{ ids.list | length }}", last: "{{ ids.list[-1] }}", same: "{{ ids.list == all_.data | map('id') }}"}
  - {id: table, type: transform, set: {data: "{{ ids.list }}"}}
  - {id: counted, type: transform, sql: "select count(*) as n, max(value) as last from \\"table\\""}
  - {id: out, type: transform, set: {taken: "{{ taken }}", counted: "{{ counted.data }}", ids: "{{ ids.list }}"}}
"""


def test_a_long_list_of_plain_values_goes_to_a_file_too(stage) -> None:
    for number in range(40_000):
        stage.till.paid[str(number)] = {"id": f"pay_{number:06d}", "amount": 1, "customer": None}
    run = stage.start(IDS)
    assert run.state is RunState.DONE, run.error
    value = Embedded(stage.host).value_of(run)
    assert value["taken"] == {"n": 40_000, "last": "pay_039999", "same": True}
    assert value["counted"] == [{"n": 40_000, "last": "pay_039999"}]
    assert [*value["ids"]] == [f"pay_{number:06d}" for number in range(40_000)]
    stream = io.StringIO()
    write_value(stream, value)
    assert json.loads(stream.getvalue())["ids"][:2] == ["pay_000000", "pay_000001"]
    assert size(stage.folder / "state" / "runs") < 600_000


LISTS = """name: lists
inputs: {type: object, properties: {numbers: {type: array}}, required: [numbers]}
nodes:
  - {id: all_, type: connector, connector: fake, connection: till, tool: list-payments, paginate: all}
  - id: each
    type: loop
    for_each: "{{ input.numbers }}"
    nodes:
      - {id: x, type: transform, set: {n: "{{ item }}", text: "{{ input.text }}", rows: "{{ all_.data }}"}}
  - {id: one, type: transform, set: {rows: "{{ each.results[7].rows }}"}}
  - {id: some, type: transform, set: {n: "{{ one.rows | length }}", sum: "{{ one.rows | sum('amount') }}"}}
  - {id: sums, type: transform, sql: "select count(*) as n, max(json_array_length(rows)) as most from each"}
  - {id: out, type: transform, set: {some: "{{ some }}", sums: "{{ sums.data }}"}}
""".replace("{{ input.text }}", "x" * 20_000)


def test_lists_inside_the_results_of_a_long_loop_stay_lists(stage) -> None:
    """The results go to a file, and the list in each of them lies in one already."""
    for number in range(4_000):
        stage.till.paid[str(number)] = {"id": f"pay_{number}", "amount": 2, "customer": None, "text": "x" * 80}
    run = stage.start(LISTS, {"numbers": [*range(20)]})
    assert run.state is RunState.DONE, run.error
    value = Embedded(stage.host).value_of(run)
    assert value["some"] == {"n": 4_000, "sum": 8_000}
    assert value["sums"] == [{"n": 20, "most": 4_000}]


def test_a_loop_has_a_most_and_says_what_to_do(stage) -> None:
    text = """\
name: many
nodes:
  - {id: all_, type: connector, connector: fake, connection: till, tool: list-payments, paginate: all}
  - {id: l, type: loop, for_each: "{{ all_.data }}", nodes: [{id: x, type: transform, set: {n: 1}}]}
"""
    for number in range(10_001):
        stage.till.paid[str(number)] = {"id": f"pay_{number}", "amount": 1, "currency": "usd", "customer": None}
    ended = stage.play(text)
    assert ended["failed"]["error"]["message"] == (
        "for_each: gives 10,001 items, more than 10,000; narrow it with sql: first"
    )


def test_what_a_service_calls_artifact_is_no_file_of_ours(stage) -> None:
    """Metadata is anybody's text: it goes through a run as it is."""
    stage.till.paid["k"] = {"id": "pay_1", "amount": 1, "customer": None, "metadata": {"$artifact": "x"}}
    text = """\
name: hostile
nodes:
  - {id: one, type: connector, connector: fake, connection: till, tool: get-payment, params: {payment: pay_1}}
  - {id: all_, type: connector, connector: fake, connection: till, tool: list-payments}
  - {id: out, type: transform, set: {one: "{{ one.metadata }}", all: "{{ all_.data[0].metadata }}"}}
  - {id: l, type: loop, for_each: "{{ all_.data }}", nodes: [{id: x, type: transform, set: {m: "{{ item.metadata }}"}}]}
"""
    ended = stage.play(text)
    assert "failed" not in ended, ended["failed"]["error"]["message"]
    assert ended["value"]["results"] == [{"m": {"$artifact": "x"}}]


def test_any_run_id_names_its_files(stage) -> None:
    """The longest, with all the signs that it may have."""
    run_id = "a:b.c_d-" + ":" * 142
    for number in range(4_000):
        stage.till.paid[str(number)] = {"id": f"pay_{number}", "amount": 1, "customer": None, "text": "x" * 80}
    text = """\
name: named
nodes:
  - {id: all_, type: connector, connector: fake, connection: till, tool: list-payments, paginate: all}
  - {id: l, type: loop, for_each: [1], nodes: [{id: x, type: transform, set: {rows: "{{ all_.data }}"}}]}
"""
    run = stage.start(text, run_id=run_id)
    engine = Embedded(stage.host)
    assert len(engine.value_of(run)["results"][0]["rows"]) == 4_000
    assert engine.prune(run) > 100_000
    assert not [file for file in (stage.folder / "state" / "artifacts").rglob("*") if file.is_file()]


# Files that are lost

PAY = "type: connector, connector: fake, connection: till, tool: make-payment"
DUE = f"""\
name: due
nodes:
  - {{id: bills, type: connector, connector: fake, connection: till, tool: list-payments, paginate: all}}
  - {{id: due, type: transform, sql: "select id, amount from bills where amount > 900 order by id desc"}}
  - id: each
    type: loop
    for_each: "{{{{ due.data }}}}"
    nodes: [{{id: pay, {PAY}, params: {{amount: "{{{{ item.amount }}}}", currency: usd}}}}]
  - {{id: ask, type: human, message: fine, approvers: [ann]}}
  - id: out
    type: transform
    set: {{n: "{{{{ bills.data | length }}}}", due: "{{{{ due.data | map('id') }}}}", paid: "{{{{ each.count }}}}"}}
"""


def billed(stage, *due: int) -> None:
    """Enough payments for a file, of one amount, and those that are due."""
    for number in range(4_000):
        row = {"id": f"bill_{number:06d}", "currency": "usd", "customer": None, "text": "x" * 60, "amount": 100}
        stage.till.paid[str(number)] = row
    for amount in due:
        stage.till.paid[f"due {amount}"] = {"id": f"due_{amount}", "amount": amount, "customer": None, "text": None}


def stored_file(stage, name: str = "") -> Path:
    (file,) = (stage.folder / "state" / "artifacts").rglob(f"{name}*.ndjson")
    return file


def reads(stage) -> int:
    return sum(one.request.method == "GET" for one in stage.till.sent)


def harmed(file: Path, harm: str) -> None:
    content = file.read_bytes()
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-10] if harm == "shorter" else content.replace(b'"amount":100', b'"amount":700', 1))


@pytest.mark.parametrize("on_error", ["fail", "continue"])
@pytest.mark.parametrize("harm", ["missing", "shorter"])
def test_a_step_whose_file_is_lost_is_not_done_again(stage, harm: str, on_error: str) -> None:
    """A list that is read anew has other items, and what was paid counts by their places. So the run waits."""
    billed(stage, 902, 901)
    text = DUE.replace("paginate: all}", f"paginate: all, on_error: {on_error}}}")
    assert stage.start(text).state is RunState.WAITING
    assert stage.till.amounts[-2:] == [902, 901]
    steps = durable.steps_of(stage.host.records.runs.get("run-1").engine, "run-1")["run-1"]
    file = stored_file(stage)
    content = file.read_bytes()
    harmed(file, harm)
    billed(stage, 903)
    stage.decide()
    before, asked = [*stage.till.paid], reads(stage)
    for _ in range(3):
        failed = stage.resume()
        assert failed.state is RunState.FAILED
        assert "put the file back from a copy of the state folder and resume" in stage.error(failed)
        assert (failed.error["error"], failed.error["node"]) == ("ConfigurationError", "bills")
        assert durable.steps_of(failed.engine, "run-1")["run-1"][: len(steps)] == steps, "nothing is forgotten"
    file.write_bytes(content)
    done = stage.resume()
    assert done.output["value"] == {"n": 4_002, "due": ["due_902", "due_901"], "paid": 2}
    assert ([*stage.till.paid], reads(stage)) == (before, asked)


def test_inputs_whose_file_is_lost_stop_the_run_until_it_is_back(stage) -> None:
    text = """\
name: given
inputs: {type: object, properties: {ids: {type: array}}, required: [ids]}
nodes:
  - {id: ask, type: human, message: fine, approvers: [ann]}
  - {id: out, type: transform, set: {n: "{{ input.ids | length }}"}}
"""
    stage.start(text, {"ids": [f"id_{number:09d}" for number in range(40_000)]})
    file = stored_file(stage)
    content = file.read_bytes()
    file.unlink()
    stage.decide()
    failed = stage.resume()
    assert (failed.state, "is missing; put the file back" in stage.error(failed)) == (RunState.FAILED, True)
    file.write_bytes(content)
    assert stage.resume().output["value"] == {"n": 40_000}


READS = {
    "a set": "{id: x, type: transform, on_error: continue, set: {a: '{{ bills.data[0].amount }}'}}",
    "a sql": "{id: x, type: transform, on_error: continue, sql: 'select sum(amount) as a from bills'}",
    "a loop around": "{id: l, type: loop, on_error: continue, for_each: [0], nodes: [{id: x, type: transform, "
    "set: {a: '{{ bills.data[item].amount }}'}}]}",
    "a parallel around": "{id: p, type: parallel, on_error: continue, branches: {a: [{id: x, type: transform, "
    "set: {a: '{{ bills.data[0].amount }}'}}], b: [{id: y, type: transform, set: {n: 1}}]}}",
}


@pytest.mark.parametrize("reader", READS)
def test_no_on_error_goes_on_after_a_lost_file(stage, reader: str) -> None:
    """Nor is more than one resume needed, once it is back."""
    billed(stage)
    text = f"""\
name: read
nodes:
  - {{id: bills, type: connector, connector: fake, connection: till, tool: list-payments, paginate: all}}
  - {{id: ask, type: human, message: fine, approvers: [ann]}}
  - {READS[reader]}
  - {{id: pay, {PAY}, params: {{amount: 5, currency: usd}}}}
"""
    stage.start(text)
    file = stored_file(stage)
    content = file.read_bytes()
    harmed(file, "changed")
    stage.decide()
    failed = stage.resume()
    assert (failed.state, "put the file back" in stage.error(failed)) == (RunState.FAILED, True), stage.error(failed)
    assert stage.till.amounts.count(5) == 0
    file.write_bytes(content)
    assert stage.resume().state is RunState.DONE
    assert stage.till.amounts.count(5) == 1


def test_parts_that_met_the_loss_too_are_asked_again_by_one_resume(stage) -> None:
    billed(stage)
    text = """\
name: parts
nodes:
  - {id: bills, type: connector, connector: fake, connection: till, tool: list-payments, paginate: all}
  - id: l
    type: loop
    for_each: [0, 1]
    concurrency: 2
    nodes:
      - {id: ask, type: human, message: "fine {{ item }}", approvers: [ann]}
      - {id: x, type: transform, set: {a: "{{ bills.data[item].amount }}"}}
  - {id: out, type: transform, set: {n: "{{ l.count }}"}}
"""
    assert stage.start(text).state is RunState.WAITING
    file = stored_file(stage)
    content = file.read_bytes()
    file.unlink()
    for asked in stage.host.records.approvals.list(state="pending"):
        stage.host.records.approvals.decide(asked.id, "approved", who="ann")
    assert stage.resume().state is RunState.FAILED
    file.write_bytes(content)
    assert stage.resume().output["value"] == {"n": 2}


USES = {
    "by number": "{{ bills.data[0].amount }}",
    "the first": "{{ (bills.data | first).amount }}",
    "in a loop": "{{ bills.data[item].amount }}",
}


@pytest.mark.parametrize("use", USES)
def test_nothing_is_paid_by_a_file_that_was_changed(stage, use: str) -> None:
    billed(stage)
    pay = f"{{id: pay, {PAY}, params: {{amount: '{USES[use]}', currency: usd}}}}"
    text = f"""\
name: changed
nodes:
  - {{id: bills, type: connector, connector: fake, connection: till, tool: list-payments, paginate: all}}
  - {{id: ask, type: human, message: fine, approvers: [ann]}}
  - {pay if use != "in a loop" else f"{{id: each, type: loop, for_each: [0], nodes: [{pay}]}}"}
"""
    stage.start(text)
    file = stored_file(stage)
    content = file.read_bytes()
    harmed(file, "changed")
    stage.decide()
    for _ in range(2):
        failed = stage.resume()
        assert failed.state is RunState.FAILED
        assert "is not what the run recorded: it was changed or damaged" in stage.error(failed)
    assert len(stage.till.paid) == 4_000
    file.write_bytes(content)
    assert stage.resume().state is RunState.DONE
    assert stage.till.amounts[4_000:] == [100]


def test_a_part_whose_file_is_lost_says_so_and_forgets_nothing(stage) -> None:
    """What the items of a loop share lies in a file where it is large."""
    text = "name: l\nnodes: [{id: l, type: loop, for_each: [1], nodes: [{id: x, type: transform, set: {n: 1}}]}]\n"
    bundle = stage.bundle(text)
    store = ArtifactStore(stage.folder / "state")
    shared = share({"run": "x" * 20_000}, {"run"}, store, "run-1/scope")
    stored_file(stage).unlink()
    frame = Frame(file=bundle.root, now=0, trail="l[0]/").to_json()
    (branch,) = bundle.workflows[bundle.root].nodes[0].branches
    argument = {"owner": "l", "branch": branch.name, "frame": frame, "scope": shared, "item": {"item": 1}}
    context = RunContext(
        bundle=bundle, host=stage.host, store=store, sessions=Sessions(stage.host), watch=Watch("run-1", None, None)
    )
    tasks = tasks_of(context)
    ended = asyncio.run(tasks["part"](InProcessSteps("run-1", tasks), argument))
    failure = Failure.of_json(ended["failed"])
    assert failure.node == "l[0]"
    assert "is missing; put the file back" in failure.error.message
    assert failure.points("run-1/l[0]") == [("run-1/l[0]", 2**31 - 1)]


def test_what_was_done_for_another_item_does_not_count(stage) -> None:
    """Wound back to before its list, a run refuses to go on with another one."""
    billed(stage, 902, 901)
    run = stage.start(
        DUE.replace("type: human, message: fine, approvers: [ann]", f"{PAY}, params: {{amount: 13, currency: usd}}")
    )
    assert run.state is RunState.FAILED
    before = [*stage.till.paid]
    place = next(number for number, name in durable.steps_of(run.engine, run.id)[run.id] if name.startswith("bills"))
    durable.rewind(run.engine, run.id, [(run.id, place)])
    billed(stage, 903)
    stage.till.mended = True
    for _ in range(2):
        again = stage.resume()
        assert (again.state, again.error["error"]) == (RunState.FAILED, "RefusedError")
        assert stage.error(again) == (
            "each[0] was begun for another item than the list has there now, so nothing more was done; "
            "`spojit-stripe runs show run-1` tells what was"
        )
    assert [*stage.till.paid] == [*before, "due 903"]

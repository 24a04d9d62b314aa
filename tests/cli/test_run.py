"""`run FILE` and going on after it: a foreground process, its exit codes, its signals, and what another one may do."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-m", "spojit_stripe"]
CHARGE = "type: connector, connector: stripe, connection: main, tool: create-charge"
PAY = f"""\
name: pay
inputs:
  type: object
  properties:
    amount: {{type: integer, minimum: 50}}
    note: {{type: string, default: none given}}
    more: {{type: array}}
  required: [amount]
nodes:
  - {{id: charge, {CHARGE}, params: {{amount: "{{{{ input.amount }}}}", currency: usd, source: tok_visa}}}}
  - id: seen
    type: connector
    connector: stripe
    connection: main
    tool: raw-api-request
    params: {{method: GET, path: "/v1/charges/{{{{ charge.id }}}}"}}
  - {{id: out, type: transform, set: {{amount: "{{{{ seen.amount }}}}", note: "{{{{ input.note }}}}"}}}}
"""


@pytest.fixture
def pay(folder: Path) -> str:
    (folder / "pay.yaml").write_text(PAY)
    return "pay.yaml"


def written(folder: Path, nodes: str, inputs: str = "") -> str:
    (folder / "w.yaml").write_text(f"name: w\n{inputs}nodes:\n{nodes}")
    return "w.yaml"


def test_output_on_stdout_and_nodes_on_stderr(cli, box, pay) -> None:
    """And the same run id never begins twice."""
    before = box.count("charge")
    ran = cli("run", pay, "--input", "amount=500", "--input", "note=a=b", "--run-id", "r-1")
    assert (ran.code, json.loads(ran.out)) == (0, {"amount": 500, "note": "a=b"})
    head, *nodes, last = ran.err.splitlines()
    assert re.fullmatch(r"run r-1 of pay, version [0-9a-f]{16}", head)
    assert [line.split()[:3] for line in nodes] == [["✓", name, "done"] for name in ("charge", "seen", "out")]
    assert re.search(r"✓ charge  done  \d\.\d s, 1 call, ch_\w+, ledger \d+", nodes[0])
    assert last == "run r-1 is done"
    again = cli("run", pay, "--input", "amount=500", "--input", "note=a=b", "--run-id", "r-1", "--json")
    assert (again.code, again.json) == (
        0,
        {
            "run_id": "r-1",
            "state": "done",
            "exceptions": 0,
            "status": None,
            "exit_code": 0,
            "output": {"amount": 500, "note": "a=b"},
        },
    )
    assert box.count("charge") == before + 1
    other = cli("run", pay, "--input", "amount=501", "--run-id", "r-1")
    assert (other.code, other.err.splitlines()[-1]) == (
        2,
        "error: run r-1 was begun with other inputs; another --run-id is another run, which writes anew what this one "
        "has written: look with `spojit-stripe runs show r-1`",
    )


def test_a_run_id_is_made_up_and_inputs_come_from_a_file(cli, pay, folder: Path) -> None:
    (folder / "in.json").write_text('{"amount": 700, "note": "file"}')
    ran = cli("run", pay, "--inputs", "in.json", "--input", "note=line", "--json")
    assert re.fullmatch(r"pay-\d{8}-\d{6}-[0-9a-f]{6}", ran.json["run_id"])
    assert ran.json["output"] == {"amount": 700, "note": "line"}


def test_a_dry_run_sends_and_records_nothing(cli, box, pay, folder: Path) -> None:
    before = len(box.requests())
    ran = cli("run", pay, "--input", "amount=500", "--dry-run")
    assert ran.code == 0
    rows = [re.split(" {2,}", line.strip()) for line in ran.out.splitlines()]
    assert rows[0] == ["node", "tool", "connection", "policy"]
    assert rows[2:] == [
        ["charge", "create-charge", "main (test)", "writes: allow"],
        ["seen", "raw-api-request", "main (test)", "writes: allow"],
    ]
    assert ran.err == "dry run: the inputs fit, and nothing was sent\n"
    assert len(box.requests()) == before
    assert not (folder / "state" / "runs").exists()


FAULTS = """\
name: f
nodes:
  - {id: a, type: transform, set: {n: "{{ b.n }}"}}
  - {id: b, type: transfrom}
"""

BAD = [
    ("run nowhere.yaml", ["error: can't read nowhere.yaml: No such file or directory"], 3),
    ("run .", ["error: can't read .: Is a directory"], 3),
    ("run no.yaml", ["error: no.yaml:1:9: not valid YAML: expected the node content, but found '<stream end>'"], 2),
    ("run binary.yaml", ["error: can't read binary.yaml: it is no UTF-8 text"], 3),
    ("run list.yaml", ["error: list.yaml:1:1: the workflow is a list, but a mapping is needed"], 2),
    (
        "run faults.yaml",
        ["error: faults.yaml:4:13: unknown node type 'transfrom'; did you mean 'transform'?"],
        2,
    ),
    ("run pay.yaml", ["error: amount: missing; workflow 'pay' needs it"], 2),
    ("run pay.yaml --input amount=much", ['error: amount: "much" is text, but an integer is needed'], 2),
    ("run pay.yaml --input amount=49", ["error: amount: 49 is out of range; use at least 50"], 2),
    ("run pay.yaml --input amuont=500", ["error: --input amuont: there is no such input; did you mean 'amount'?"], 2),
    ("run pay.yaml --input amount", ["error: --input amount: write NAME=VALUE"], 2),
    (
        "run pay.yaml --inputs no.json",
        ["error: --inputs @no.json: can't read it: No such file or directory"],
        2,
    ),
    ("run pay.yaml --inputs [1]", ["error: --inputs @[1]: can't read it: No such file or directory"], 2),
    ("run pay.yaml --input amount=500 --run-id ../x", None, 2),
    ("runs show nothing", ["error: no run 'nothing': nothing is recorded in {folder}/state yet"], 2),
    ("runs resume nothing", ["error: no run 'nothing': nothing is recorded in {folder}/state yet"], 2),
    ("runs prune --older-than soon", None, 2),
]


@pytest.mark.parametrize(("words", "lines", "code"), BAD, ids=[case[0] for case in BAD])
def test_bad_input_is_told_in_its_own_words(cli, box, pay, folder: Path, words: str, lines, code: int) -> None:
    """Nothing is sent, and nothing but an error line is said."""
    (folder / "no.yaml").write_text("nodes: [")
    (folder / "list.yaml").write_text("- a\n")
    (folder / "binary.yaml").write_bytes(b"name: \xff\xfe\n")
    (folder / "faults.yaml").write_text(FAULTS)
    before = len(box.requests())
    ran = cli(*words.split())
    assert ran.out == ""
    if lines is None:
        (line,) = ran.err.splitlines()
        assert line.startswith("error: --")
    else:
        assert ran.err.splitlines() == [line.format(folder=folder) for line in lines]
    assert ran.code == code
    assert len(box.requests()) == before


def test_several_faults_are_all_told(cli, folder: Path) -> None:
    file = written(folder, "  - {id: a, type: transform, set: {n: '{{ inptu.x }}'}}\n  - {id: a, type: response}\n")
    ran = cli("run", file)
    *faults, last = ran.err.splitlines()
    assert (ran.code, last) == (2, f"error: w.yaml has {len(faults)} faults, so nothing was run")
    assert len(faults) >= 2
    assert all(line.startswith("w.yaml:") for line in faults)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("note=sk_test_" + "a1b2c3d4" * 3, "the inputs hold what looks like a secret or card data"),
        (
            'more=[{"number": "4242424242424242", "cvc": "123"}]',
            "the inputs hold what looks like a secret or card data",
        ),
        ('more=[{"$artifact": {"store": "local"}}]', "the inputs: a key '$artifact' has a meaning of its own"),
    ],
)
def test_inputs_that_may_not_be_recorded(cli, box, pay, folder: Path, given: str, line: str) -> None:
    ran = cli("run", pay, "--input", "amount=500", "--input", given, "--run-id", "r-secret")
    assert ran.code == 2
    assert ran.err.splitlines()[-1].startswith(f"error: {line}")
    assert cli("runs", "list").out.count("r-secret") == 0
    for file in (folder / "state").rglob("*"):
        assert not file.is_file() or (b"a1b2c3d4" not in file.read_bytes())


# Exit codes


def test_a_decline_and_a_resume_that_ends_like_an_undisturbed_run(cli, box, pay) -> None:
    box.fail("POST", "/v1/charges", status=402, type="card_error", code="card_declined")
    failed = cli("run", pay, "--input", "amount=600", "--run-id", "r-2")
    assert (failed.code, failed.out) == (6, "")
    told = failed.err.splitlines()
    assert any(line.startswith("error: node charge: Your card was declined.") for line in told)
    assert told[-1] == "       `spojit-stripe runs resume r-2` goes on, with the file as it was, and does nothing twice"
    again = cli("run", pay, "--input", "amount=600", "--run-id", "r-2")
    assert (again.code, again.err.splitlines()[-1]) == (
        4,
        "error: run r-2 has begun already and is failed, so it was not begun again; "
        "go on with `spojit-stripe runs resume r-2`",
    )
    shown = cli("runs", "show", "r-2")
    assert "failed" in shown.out
    assert "charge" in shown.out
    resumed = cli("runs", "resume", "r-2")
    undisturbed = cli("run", pay, "--input", "amount=600", "--run-id", "r-3")
    assert (resumed.code, resumed.out) == (undisturbed.code, undisturbed.out) == (0, undisturbed.out)
    calls = cli("runs", "export", "r-2").json["calls"]
    assert [(one["tool"], one["state"], one["generation"]) for one in calls if one["effect"] == "money"] == [
        ("create-charge", "failed", 0),
        ("create-charge", "done", 1),
    ]


def test_an_unknown_outcome_is_settled_by_the_resume(cli, box, pay) -> None:
    """The answer is lost each time, until it is not: one key, one charge."""
    before = box.count("charge")
    box.fail("POST", "/v1/charges", status=500, effect=True, stored=True, times=9)
    unknown = cli("run", pay, "--input", "amount=700", "--run-id", "r-4", "--json")
    assert (unknown.code, unknown.json["exit_code"], unknown.json["state"]) == (7, 7, "unknown")
    assert "`spojit-stripe runs resume r-4` settles it first, under its own key" in unknown.err
    way_out = r"where that can't tell, ledger entry (\d+) \(POST /v1/charges\): `spojit-stripe ledger resolve \1`, "
    entry = re.search(way_out, unknown.err)
    assert entry is not None
    assert entry[0] in cli("runs", "show", "r-4").err
    box.clear_faults()
    assert cli("runs", "resume", "r-4").code == 7, "what Stripe stored for the key is the failure"
    made = box.objects("charge")[-1]["id"]
    assert cli("ledger", "resolve", entry[1], "--found", made).code == 0
    done = cli("runs", "resume", "r-4")
    assert (done.code, json.loads(done.out)["amount"]) == (0, 700)
    assert box.count("charge") == before + 1


def test_what_another_run_left_unknown_is_not_paid_by_a_new_run(cli, box, pay) -> None:
    """Of `run` and of `call`, also under the run id of the first, whose key it would not have."""
    before = box.count("charge")
    box.fail("POST", "/v1/charges", status=500, effect=True, stored=True, times=9)
    assert cli("run", pay, "--input", "amount=710", "--run-id", "r-8").code == 7
    box.clear_faults()
    entry = cli("ledger", "list", "--outcome", "unknown", "--json").json[0]["id"]
    paid = ("--amount", "710", "--currency", "usd", "--source", "tok_visa")
    call = ("call", "create-charge", "--connection", "main", *paid)
    settle_it = f"settle it first: `spojit-stripe runs resume r-8`, or `spojit-stripe ledger resolve {entry}`"
    for again in (("run", pay, "--input", "amount=710", "--run-id", "r-9"), (*call, "--run-id", "r-8"), call):
        refused = cli(*again)
        assert (refused.code, settle_it in refused.err) == (7, True), refused.err
    assert "when that is settled, `spojit-stripe runs resume r-9` goes on" in cli("runs", "show", "r-9").err
    assert box.count("charge") == before + 1
    assert cli("ledger", "resolve", str(entry), "--found", "ch 1").err == "error: --found: 'ch 1' is no object id\n"
    assert cli("ledger", "resolve", str(entry), "--none").code == 0
    assert cli("runs", "resume", "r-9").code == 0
    assert box.count("charge") == before + 2


def test_done_with_exceptions_and_an_answer_that_is_an_error(cli, box, folder: Path) -> None:
    declined = "params: {amount: 500, currency: usd, source: tok_chargeDeclined}"
    gone = f"  - {{id: gone, {CHARGE}, {declined}, on_error: continue}}\n"
    ran = cli("run", written(folder, gone), "--run-id", "r-5")
    assert (ran.code, ran.out) == (8, "null\n")
    assert ran.err.splitlines()[-1] == (
        "run r-5 is done, though 1 thing in it failed; `spojit-stripe runs show r-5` names them"
    )
    assert "! gone  continued" in ran.err
    answer = "  - {id: a, type: response, status: 409, body: {paid: 0}}\n"
    told = cli("run", written(folder, answer), "--json").json
    assert (told["exit_code"], told["status"], told["output"]) == (8, 409, {"paid": 0})


def test_once_holds_over_runs_and_over_their_pruning(cli, box, folder: Path) -> None:
    """Another run, and the same run id after its data are gone, pay nothing again."""
    before = box.count("charge")
    params = "params: {amount: 500, currency: usd, source: tok_visa}"
    file = written(
        folder,
        f"  - {{id: a, {CHARGE}, {params}, once: '{{{{ input.n }}}}'}}\n"
        '  - {id: out, type: transform, set: {id: "{{ a.id }}"}}\n',
        "inputs: {type: object, properties: {n: {type: integer}}, required: [n]}\n",
    )
    first = cli("run", file, "--input", "n=7", "--run-id", "o-1")
    second = cli("run", file, "--input", "n=7", "--run-id", "o-2")
    assert (first.code, first.out) == (second.code, second.out)
    assert box.count("charge") == before + 1
    assert cli("runs", "prune", "--older-than", "1h").err == "0 runs pruned, 0 bytes freed; 2 kept\n"
    age_runs(folder)
    dry = cli("runs", "prune", "--older-than", "1h", "--dry-run", "--json").json
    assert (sorted(dry["pruned"]), dry["kept"], dry["dry_run"]) == (["o-1", "o-2"], 0, True)
    assert cli("runs", "prune", "--older-than", "1h", "--json").json["freed_bytes"] > 0
    assert cli("runs", "list").err == "0 runs\n"
    assert list((folder / "state" / "runs").iterdir()) == []
    for run_id in ("o-1", "o-3"):
        again = cli("run", file, "--input", "n=7", "--run-id", run_id)
        assert (again.code, again.out) == (0, first.out)
    assert box.count("charge") == before + 1


def age_runs(folder: Path) -> None:
    """Let what has ended have ended two hours ago."""
    import sqlite3

    with sqlite3.connect(folder / "state" / "ledger.db") as db:
        db.execute("UPDATE runs SET created = created - 7200, finished = finished - 7200")
    db.close()


# Processes


def begin(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "polite kill"])
def test_stopped_politely_a_run_ends_its_step_and_can_be_resumed(cli, box, pay, stop: signal.Signals) -> None:
    """While it runs no other process may; afterwards any may, and nothing is sent twice."""
    name = f"held-{stop}"  # of its own: the sandbox is one for all tests, and knows a key again
    before = box.count("charge")
    box.hold("POST", "/v1/charges", phase="after")
    process = begin("run", pay, "--input", "amount=800", "--run-id", name)
    box.wait_held(timeout=30)
    begun = cli("run", pay, "--input", "amount=800", "--run-id", name)
    assert (begun.code, begun.err.splitlines()[-1]) == (
        4,
        f"error: run {name} has begun already and is running, so it was not begun again; "
        f"go on with `spojit-stripe runs show {name}`",
    )
    held = f"error: run {name} is being run by another process (process {process.pid}); nothing was done\n"
    resumed = cli("runs", "resume", name)
    assert (resumed.code, resumed.err) == (3, held)
    assert cli("runs", "list", "--standing", "running").out.count(name) == 1
    assert cli("runs", "show", name).err == "it is being run by another process\n"
    process.send_signal(stop)
    box.release()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-2:] == [
        f"interrupted: run {name} stands where it is, and nothing is sent twice when it goes on",
        f"`spojit-stripe runs show {name}` tells where; `spojit-stripe runs resume {name}` goes on",
    ]
    shown = cli("runs", "show", name)
    assert "interrupted" in shown.out
    assert shown.err == (
        f"its process is gone; `spojit-stripe runs resume {name}` goes on where it stood, and nothing is sent twice\n"
    )
    done = cli("runs", "resume", name)
    assert (done.code, json.loads(done.out)["amount"]) == (0, 800)
    assert box.count("charge") == before + 1


def test_ctrl_c_twice_ends_at_once_and_the_call_under_way_is_settled_later(cli, box, pay) -> None:
    before = box.count("charge")
    box.hold("POST", "/v1/charges", phase="after")
    process = begin("run", pay, "--input", "amount=900", "--run-id", "twice")
    box.wait_held(timeout=30)
    process.send_signal(signal.SIGINT)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            continue
    _, err = process.communicate(timeout=30)
    box.release()
    assert process.returncode in (130, -signal.SIGINT), err
    assert "Traceback" not in err
    done = cli("runs", "resume", "twice")
    assert (done.code, json.loads(done.out)["amount"]) == (0, 900)
    assert box.count("charge") == before + 1


def waiting(process: subprocess.Popen[str]) -> None:
    """Return when a process says that it waits."""
    assert process.stderr is not None
    for line in process.stderr:
        if "waiting  for apr_" in line:
            return
    raise AssertionError("it never waited")


def test_a_run_that_waits_is_woken_by_another_process(cli, box, folder: Path) -> None:
    """`run --wait` stays; `approvals approve` in another process lets it go on."""
    file = written(folder, '  - {id: ask, type: human, message: "Go?"}\n')
    process = begin("run", file, "--run-id", "live", "--wait", "--json")
    waiting(process)
    while "waiting" not in cli("runs", "list", "--standing", "waiting").out:
        assert process.poll() is None
    assert cli("runs", "show", "live").err.endswith("its process waits, and goes on by itself\n")
    assert cli("run", file, "--run-id", "live").err.endswith("go on with `spojit-stripe runs show live`\n")
    found = cli("approvals", "list", "--decision", "pending", "--json").json
    approved = cli("approvals", "approve", found[0]["id"])
    assert approved.err.splitlines()[-1] == "run live is being run by another process, and goes on there"
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, json.loads(out)["output"]["approved"]) == (0, True)


def test_ctrl_c_while_it_waits_leaves_it_waiting(cli, box, folder: Path) -> None:
    file = written(folder, '  - {id: ask, type: human, message: "Go?"}\n')
    process = begin("run", file, "--run-id", "left", "--wait")
    waiting(process)
    while "waiting" not in cli("runs", "list", "--standing", "waiting").out:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    found = cli("approvals", "list", "--decision", "pending", "--json").json
    shown = cli("runs", "show", "left")
    assert f"{found[0]['id']} is pending: Go?" in shown.err
    assert cli("approvals", "reject", found[0]["id"], "--continue").code == 0


def test_no_key_is_in_any_file_of_the_state_folder(cli, box, pay, folder: Path) -> None:
    cli("run", pay, "--input", "amount=500", "--run-id", "clean")
    files = [file for file in (folder / "state").rglob("*") if file.is_file()]
    assert {"engine.db", "ledger.db", "lock"} <= {file.name for file in files}
    for file in files:
        assert not re.search(rb"(sk|rk|pk)_(test|live)_\w", file.read_bytes()), file
    assert (folder / "state").stat().st_mode & 0o077 == 0, "nobody else may look into it"


def test_a_state_folder_that_can_not_be_used_is_one_line(cli, box, pay, folder: Path) -> None:
    (folder / "file").write_text("")
    before = len(box.requests())
    ran = cli("--state", "file", "run", pay, "--input", "amount=500")
    assert ran.code == 3
    (line,) = ran.err.splitlines()
    assert line.startswith("error: ")
    assert len(box.requests()) == before

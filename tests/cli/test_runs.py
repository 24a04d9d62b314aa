"""`runs`: what stands where, and what is told of runs that are not as they should be."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from spojit_stripe.cli.ledger import user_name

PROGRAM = [sys.executable, "-m", "spojit_stripe"]
SET = "name: small\nnodes: [{id: a, type: transform, set: {n: 1}}]\n"
ASK = """\
name: asked
inputs: {type: object, properties: {who: {type: string, default: you}}}
nodes:
  - {id: first, type: connector, connector: stripe, connection: main, tool: list-charges, params: {limit: 3}}
  - {id: ask, type: human, message: "Go on, {{ input.who }}?"}
  - {id: out, type: transform, set: {n: "{{ first.data | length }}", by: "{{ ask.by }}"}}
"""


@pytest.fixture
def asked(cli, folder: Path) -> str:
    """A run that waits for a person; its approval."""
    (folder / "asked.yaml").write_text(ASK)
    (folder / "small.yaml").write_text(SET)
    ran = cli("run", "asked.yaml", "--run-id", "asked-1", "--json")
    assert (ran.code, ran.json["state"]) == (5, "waiting")
    return ran.json["approvals"][0]["approval"]


def test_list_and_show(cli, asked, folder: Path) -> None:
    cli("run", "small.yaml", "--run-id", "small-1")
    listed = cli("runs", "list")
    rows = [line.split() for line in listed.out.splitlines()[2:]]
    assert [row[:3] for row in rows] == [["small-1", "small", "done"], ["asked-1", "asked", "waiting"]]
    assert listed.err == "2 runs\n"
    assert cli("runs", "list", "--limit", "1").err == "1 run, more with --limit\n"
    assert [run["id"] for run in cli("runs", "list", "--standing", "waiting", "--json").json] == ["asked-1"]
    assert [run["id"] for run in cli("runs", "list", "--workflow", "small", "--json").json] == ["small-1"]
    shown = cli("runs", "show", "asked-1")
    assert re.search(r"^state +waiting$", shown.out, re.MULTILINE)
    assert re.search(r'^inputs +\{"who": "you"\}$', shown.out, re.MULTILINE)
    nodes = [line.split()[:3] for line in shown.out.split("\n\n")[1].splitlines()[2:]]
    assert nodes == [["first", "connector", "done"], ["ask", "human", "waiting"]]
    assert shown.err == (
        f"{asked} is pending: Go on, you?\n"
        "decide with `spojit-stripe approvals approve ID` or `reject ID`, then\n"
        "`spojit-stripe runs resume asked-1` goes on\n"
    )
    assert "(the file has changed" not in shown.out


def test_a_changed_file_is_told_and_changes_nothing(cli, asked, folder: Path) -> None:
    """Nor does one that is gone."""
    (folder / "asked.yaml").write_text(ASK.replace("Go on", "Stop"))
    assert "(the file has changed since; the run keeps its own)" in cli("runs", "show", "asked-1").out
    (folder / "asked.yaml").unlink()
    assert (
        "(its file is not there any more, or has faults; the run keeps its own)" in cli("runs", "show", "asked-1").out
    )
    cli("approvals", "approve", asked)
    done = cli("runs", "resume", "asked-1")
    assert (done.code, json.loads(done.out)["n"]) == (0, 3)


def test_an_export_has_everything(cli, asked, folder: Path) -> None:
    out = folder / "run.json"
    assert cli("runs", "export", "asked-1", "-o", str(out)).code == 0
    told = json.loads(out.read_text())
    assert (told["id"], told["state"], told["files"]) == ("asked-1", "waiting", {"asked.yaml": ASK})
    assert [one["path"] for one in told["nodes"]] == ["first", "ask"]
    assert [one["tool"] for one in told["calls"]] == ["list-charges"]
    assert [one["id"] for one in told["approvals"]] == [asked]


def test_cancelling_and_taking_up_again(cli, asked, folder: Path) -> None:
    assert "asked-1 is waiting and would be cancelled" in cli("runs", "cancel", "asked-1", "--dry-run").err
    cancelled = cli("runs", "cancel", "asked-1", "--json")
    assert (cancelled.code, cancelled.json) == (0, {"run_id": "asked-1", "state": "cancelled"})
    again = cli("runs", "cancel", "asked-1")
    assert (again.code, again.err) == (2, "error: run asked-1 is cancelled, so there is nothing to cancel\n")
    assert cli("runs", "show", "asked-1").err == "`spojit-stripe runs resume asked-1` takes it up again\n"
    approved = cli("approvals", "approve", asked, "--continue")
    told = "run asked-1 was cancelled, so nothing goes on; `spojit-stripe runs resume asked-1` takes it up again\n"
    assert (approved.code, approved.err.endswith(told)) == (0, True)
    assert cli("runs", "list", "--standing", "cancelled").out.count("asked-1") == 1
    assert cli("runs", "resume", "asked-1").code == 0


def test_near_ids(cli, asked) -> None:
    assert cli("runs", "show", "asked-2").err == "error: no run 'asked-2'; did you mean 'asked-1'?\n"
    assert cli("runs", "show", "ask").err == "error: no run 'ask'; there is asked-1\n"
    ran = cli("runs", "resume", "zzz")
    assert (ran.code, ran.err) == (2, "error: no run 'zzz'; `spojit-stripe runs list` shows what there is\n")


def test_nothing_that_a_waiting_run_needs_is_pruned(cli, asked, folder: Path) -> None:
    cli("run", "small.yaml", "--run-id", "small-1")
    with sqlite3.connect(folder / "state" / "ledger.db") as db:
        db.execute("UPDATE runs SET created = created - 99999, finished = finished - 99999")
    db.close()
    pruned = cli("runs", "prune", "--older-than", "1h", "--json").json
    assert (pruned["pruned"], pruned["kept"]) == (["small-1"], 1)
    assert [path.name for path in (folder / "state" / "runs").iterdir()] == ["asked-1"]
    cli("approvals", "approve", asked)
    assert cli("runs", "resume", "asked-1").code == 0


def test_a_run_that_can_not_be_pruned_stops_no_other(cli, folder: Path) -> None:
    """Another process holds it, for it is being resumed."""
    (folder / "small.yaml").write_text(SET)
    for name in ("small-1", "small-2", "small-3"):
        cli("run", "small.yaml", "--run-id", name)
    with sqlite3.connect(folder / "state" / "ledger.db") as db:
        db.execute("UPDATE runs SET finished = finished - 99999")
    db.close()
    with (folder / "state" / "runs" / "small-2" / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pruned = cli("runs", "prune", "--older-than", "1h", "--json")
    assert (pruned.code, pruned.json["pruned"], pruned.json["kept"]) == (8, ["small-3", "small-1"], 1)
    told, count = pruned.err.splitlines()
    assert re.fullmatch(r"run small-2 is kept: run small-2 is being run by another process \(process [0-9]+\)", told)
    assert count == f"2 runs pruned, {pruned.json['freed_bytes']:,} bytes freed; 1 kept, 1 of them could not be pruned"
    assert cli("runs", "prune", "--older-than", "1h").code == 0
    assert [*(folder / "state" / "runs").iterdir()] == []


@pytest.mark.parametrize("damage", ["cut", "overwritten", "no database"])
def test_a_damaged_run_database_says_so_and_is_left_as_it_is(cli, asked, folder: Path, damage: str) -> None:
    """One line, no change: neither to it nor to where the run stands."""
    file = folder / "state" / "runs" / "asked-1" / "engine.db"
    whole = file.read_bytes()
    damaged = {"cut": whole[: len(whole) // 2], "overwritten": whole[:4096] + b"\x55" * (len(whole) - 4096)}
    file.write_bytes(damaged.get(damage, b"this was never a database" * 400))
    before = file.read_bytes()
    for words in (("runs", "resume", "asked-1"), ("runs", "cancel", "asked-1")):
        ran = cli(*words)
        (line,) = ran.err.splitlines()
        assert ran.code == 3
        assert line.startswith(f"error: the run's database {file} is cut or damaged (")
        assert line.endswith("nothing was changed: restore it from a copy. What was sent stands in the ledger, "
                             "which is a file of its own")  # fmt: skip
        assert file.read_bytes() == before
        assert "waiting" in cli("runs", "list").out
    file.write_bytes(whole)
    cli("approvals", "approve", asked)
    assert cli("runs", "resume", "asked-1").code == 0


def test_a_run_database_that_is_gone_is_told(cli, asked, folder: Path) -> None:
    """It is not begun anew in silence: what was recorded of it would be forgotten."""
    file = folder / "state" / "runs" / "asked-1" / "engine.db"
    kept = file.read_bytes()
    file.unlink()
    commands = [("runs", "resume", "asked-1"), ("runs", "cancel", "asked-1"), ("approvals", "approve", asked)]
    for words in commands:
        ran = cli(*words)
        assert ran.code == 3
        assert ran.err.removeprefix(f"{asked} is approved by {user_name()}\n") == (
            f"error: the run's database {file} is not there; restore the state folder from a copy. "
            "What was sent stands in the ledger, which is a file of its own\n"
        )
        assert not file.exists()
    file.write_bytes(kept)  # what was decided meanwhile stands
    assert cli("runs", "resume", "asked-1").code == 0


def test_a_full_disk_is_one_line_and_the_run_goes_on_after(cli, folder: Path) -> None:
    """Files may not grow over a limit while the run's steps are recorded."""
    (folder / "grow.yaml").write_text(
        'name: grow\nnodes:\n  - {id: l, type: loop, for_each: "{{ input.items }}", concurrency: 2, nodes:'
        ' [{id: s, type: transform, set: {text: "{{ item }} filling the disk"}}]}\n'
        "inputs: {type: object, properties: {items: {type: array}}, required: [items]}\n"
    )
    items = json.dumps({"items": [f"{n} " + "x" * 2_000 for n in range(60)]})
    (folder / "in.json").write_text(items)
    ran = subprocess.run(
        [*PROGRAM, "run", "grow.yaml", "--inputs", "in.json", "--run-id", "grow-1"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000)),
    )
    assert "Traceback" not in ran.stderr
    assert ran.returncode == 3, ran.stderr
    (error,) = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(r"can't be (used|written|read)|full", error), error
    done = cli("runs", "resume", "grow-1")
    assert done.code == 0, done.err
    assert json.loads(done.out)["count"] == 60


def test_a_relative_state_folder_is_found_again_from_elsewhere(cli, asked, folder: Path, monkeypatch) -> None:
    ran = cli("--state", "here", "run", "asked.yaml", "--run-id", "rel-1", "--json")
    (folder / "deeper").mkdir()
    monkeypatch.chdir(folder / "deeper")
    assert cli("--state", "../here", "approvals", "approve", ran.json["approvals"][0]["approval"]).code == 0
    done = cli("--state", "../here", "runs", "resume", "rel-1")
    assert (done.code, json.loads(done.out)["n"]) == (0, 3)
    assert list((folder / "deeper").iterdir()) == []


def test_names_that_can_not_be_recorded_are_refused_before_anything_begins(cli, folder: Path) -> None:
    """A folder named in Latin-1, and a run named like a key."""
    odd = folder / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    for file in (folder / "small.yaml", odd / "small.yaml"):
        file.write_text(SET)
    told = "is no UTF-8, and a run is recorded with it: name it otherwise\n"
    for words in (("run", str(odd / "small.yaml")), ("--state", str(odd / "state"), "run", "small.yaml")):
        ran = cli(*words)
        assert (ran.code, ran.err.startswith("error: '"), ran.err.endswith(told)) == (3, True, True)
    ran = cli("run", "small.yaml", "--run-id", "sk_test_Abcdefgh12345678")
    assert (ran.code, ran.err) == (
        2,
        "error: the run id holds what looks like a secret, and it is recorded; take another\n",
    )
    assert cli("runs", "list", "--json").json == []


def test_a_question_that_expired_is_shown_as_that(cli, asked, folder: Path) -> None:
    with sqlite3.connect(folder / "state" / "ledger.db") as db:
        db.execute("UPDATE approvals SET expires = requested - 1")
    shown = cli("runs", "show", "asked-1")
    text = shown.out + shown.err
    assert f"{asked} is expired" in text
    assert "decide with" not in text

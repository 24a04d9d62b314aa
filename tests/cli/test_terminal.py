"""What a person at a terminal sees of a run: a tree that changes in place, and a question where one is due."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

FILE = """
name: seen
nodes:
  - {id: many, type: loop, for_each: [1, 2, 3], as: n, nodes: [{id: one, type: transform, set: {n: "{{ n }}"}}]}
  - {id: ok, type: human, message: "Go on?"}
  - {id: out, type: response, body: {n: "{{ many.count }}"}}
"""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def at_a_terminal(*words: str, types: str = "") -> tuple[int, str]:
    """Run the command line with a terminal for all its streams; gives the exit code and all that was shown."""
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "spojit_stripe", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(theirs)
    os.write(mine, types.encode())
    shown = b""
    while True:
        try:
            part = os.read(mine, 65_536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(mine)
    return process.wait(timeout=30), shown.decode("utf-8", "replace")


def test_a_run_is_a_live_tree_and_an_approval_offers_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "seen.yaml").write_text(FILE)
    state = ["--state", str(tmp_path / "state")]
    code, shown = at_a_terminal(*state, "run", str(tmp_path / "seen.yaml"), "--run-id", "run-1")
    assert code == 5
    assert ESCAPES.search(shown), "nothing changed in place"
    text = ESCAPES.sub("", shown)
    assert re.search(r"✓ many  \d+\.\d s, 3 items", text)
    assert re.search(r"\? ok  \d+\.\d s", text)
    (approval,) = set(re.findall(r"apr_\w+", text))
    assert f"waits for {approval}: Go on?" in text

    code, shown = at_a_terminal(*state, "approvals", "approve", approval, types="y\n")
    text = ESCAPES.sub("", shown)
    assert code == 0, text
    assert "run run-1 waits for this; go on with it now? [Y/n]:" in text
    assert re.search(r"✓ out  \d+\.\d s", text)
    assert '"n": 3' in text
    assert "run run-1 is done" in text


def test_a_long_loop_draws_only_what_is_not_done() -> None:
    """Ten thousand items that are done leave nothing behind that each drawing would go through."""
    from spojit_stripe.cli.running import _Tree
    from spojit_stripe.records import NodeNote

    tree = _Tree()
    tree.node(NodeNote(path="many", type="loop", state="running", started=0.0, facts={}))
    for place in range(10_000):
        for state in ("running", "done"):
            tree.node(NodeNote(path=f"many[{place}]/one", type="transform", state=state, started=0.0, facts={}))
    for place in range(8):
        tree.node(NodeNote(path=f"many[{place}]/two", type="connector", state="failed", started=0.0, facts={}))
    drawn = [str(line) for line in tree._drawn().renderables]
    assert len(drawn) == 1 + 6 + 1
    assert drawn[-1].strip() == "and 2 more"
    assert len(tree._inner) == 8

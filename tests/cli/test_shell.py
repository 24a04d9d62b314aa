"""The program as a shell sees it: start, streams, signals, help, completion."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from spojit_stripe.catalog import Catalog
from spojit_stripe.cli.app import root, run
from spojit_stripe.cli.flags import flags_of

PROGRAM = [sys.executable, "-m", "spojit_stripe"]
MAIN = ("--connection", "main")
GROUPS = ("call", "connections", "ledger", "approvals")


def shell(*arguments: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, encoding="utf-8", check=False, **more)


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name in root.list_commands(click.Context(root)):
        command = root.get_command(click.Context(root), name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.list_commands(click.Context(command))]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help(cli, command: tuple[str, ...]) -> None:
    """On standard output, with a line of purpose and each option explained."""
    ran = cli(*command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: spojit-stripe {' '.join(command)} ")
    found: click.Command = root
    for name in command:
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), name)
        assert inner is not None
        found = inner
    assert found.help
    assert not [
        option.opts
        for option in found.params
        if isinstance(option, click.Option) and not option.hidden and not option.help and "." not in option.opts[0]
    ]


def test_options_that_mean_the_same_everywhere(cli, folder: Path) -> None:
    """All five are taken by every command, whether shown there or not."""
    names = {"--connections", "--connection", "--state", "--json", "--dry-run"}
    for words in commands():
        found: click.Command = root
        for name in words:
            found = found.get_command(click.Context(found), name)  # type: ignore[union-attr,assignment]
        if not isinstance(found, click.Group):
            assert names <= {name for option in found.params for name in option.opts}, words
    elsewhere = folder / "elsewhere"
    cli("--state", str(elsewhere), *MAIN, "call", "list-products")
    assert (elsewhere / "ledger.db").exists()


def test_no_flag_of_a_tool_is_hidden_by_an_option() -> None:
    """A parameter with the name of one of our options could be given in --params only."""
    for tool in Catalog.load():
        command = root.get_command(click.Context(root), "call").get_command(click.Context(root), tool.name)  # type: ignore[union-attr]
        names = [name for option in command.params for name in option.opts]
        assert sorted(names) == sorted(set(names))
        for flag in flags_of(tool):
            assert flag.name in names


def test_bare_groups_show_their_help(cli) -> None:
    """Missing words are wrong usage: help on standard error, exit code 2."""
    for words in ((), *((group,) for group in GROUPS)):
        ran = cli(*words)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("Usage: spojit-stripe")


def test_the_version(cli) -> None:
    """As installed."""
    assert cli("--version").out.startswith("spojit-stripe 0.")


def test_tools(cli) -> None:
    """The list is short, one tool is told whole, and --json gives the descriptors."""
    listed = cli("tools")
    assert [line.split()[0] for line in listed.out.splitlines()[2:]] == list(Catalog.load().names)
    assert "reads or writes" in listed.out
    shown = cli("tools", "list-charges")
    (status,) = [line for line in shown.out.splitlines() if line.startswith("status ")]
    assert status.split("  ")[-1] == "anyone"
    assert "this program, page by page" in status
    raw = cli("tools", "raw-api-request")
    (unchecked,) = [line for line in raw.out.splitlines() if line.startswith("unchecked ")]
    assert unchecked.endswith("author only")
    descriptors = cli("tools", "--json").json
    assert [one["name"] for one in descriptors] == list(Catalog.load().names)
    assert cli("tools", "raw-api-request", "--json").json["binding"]["author_only"] == [
        *("api_version", "stripe_account", "unchecked")
    ]


def complete(*words: str, last: str = "") -> list[str]:
    environment = {
        **os.environ,
        "_SPOJIT_STRIPE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["spojit-stripe", *words, last]),
        "COMP_CWORD": str(len(words) + 1),
    }
    ran = shell(env=environment)
    assert ran.stderr == ""
    return [line.partition(",")[2] for line in ran.stdout.splitlines()]


def test_completion(folder: Path) -> None:
    """Commands, tools, flags, values and connections."""
    assert complete(last="c") == ["call", "connections", "completion"]
    assert complete("call", last="list-c") == ["list-charges", "list-customers"]
    assert complete("tools", last="get") == ["get-customer"]
    assert complete("call", "list-charges", last="--created.g") == ["--created.gt", "--created.gte"]
    assert complete("call", "list-charges", "--status", last="s") == ["succeeded"]
    assert complete("call", "list-charges", "--connection", last="no-") == ["no-env", "no-file", "no-scheme"]
    assert complete("connections", "test", last="ma") == ["main"]


@pytest.mark.parametrize(("name", "word"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete --no")])
def test_completion_scripts(cli, name: str, word: str) -> None:
    """click's own, for our name."""
    ran = cli("completion", name)
    assert word in ran.out
    assert "_SPOJIT_STRIPE_COMPLETE" in ran.out


def test_the_console_script_and_the_module_are_one() -> None:
    """Both give the exit code."""
    assert shell("call", "list-charges", "--limit", "0").returncode != 0
    script = Path(sys.executable).parent / "spojit-stripe"
    if script.exists():
        assert subprocess.run([script, "frob"], capture_output=True, check=False).returncode == 2


def test_help_imports_nothing_heavy() -> None:
    """Help starts fast: no HTTP library, no validation library, no tables, no YAML."""
    code = (
        "import sys; from spojit_stripe.cli.app import run; run(['--help']);"
        "heavy = {'httpx2', 'pydantic', 'jsonschema', 'yaml', 'rich', 'msgspec', 'asyncio', 'sqlite3', 'pluggy'};"
        "sys.stderr.write(' '.join(sorted(heavy & set(sys.modules))))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == ""


# Streams


def test_ctrl_c_while_the_program_loads() -> None:
    """Before there is a command line that could say it."""
    code = (
        "import sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'spojit_stripe.cli.app':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from spojit_stripe.__main__ import main\n"
        "sys.exit(main())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (130, "interrupted\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(folder: Path) -> None:
    """Whether standard output or a file is full."""
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run([*PROGRAM, "tools"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 3
    assert ran.stderr.endswith(
        "error: can't read or write the output: No space left on device; what was sent is in the ledger\n"
    )
    ran = shell("ledger", "export", "--format", "csv", "-o", "/dev/full")
    assert ran.returncode == 3
    assert ran.stderr.endswith("error: can't write /dev/full: No space left on device\n")
    ran = shell("call", "list-charges", *MAIN, "--all", "--format", "csv", "-o", "/dev/full")
    assert (ran.returncode, ran.stderr) == (3, "error: can't write /dev/full: No space left on device\n")


def test_a_reader_that_goes_away(folder: Path) -> None:
    """As of any program in a pipe: quiet, exit code 141."""
    whole = ("call", "list-charges", *MAIN, "--all", "--limit", "5")
    for arguments in (("tools", "--json"), (*whole, "--json"), (*whole, "--format", "ndjson")):
        with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            told = process.stderr.read()
            assert process.wait() == 141
        assert b"Traceback" not in told
        assert b"Broken" not in told


def test_closed_streams(folder: Path) -> None:
    """A closed stream is no reason to fail."""
    for closing in (">&-", "2>&-"):
        ran = subprocess.run(
            ["/bin/sh", "-c", f'"$0" -m spojit_stripe tools {closing}', sys.executable],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, "rror" in ran.stderr) == (0, False)


def test_a_closed_standard_input(cli, folder: Path) -> None:
    """It holds nothing, and nobody is asked there."""
    closed = {"preexec_fn": lambda: os.close(0)}
    asked = shell("call", "list-charges", *MAIN, "--params", "@-", **closed)
    assert (asked.returncode, asked.stderr) == (
        2,
        "error: --params @-: not valid JSON at line 1, column 1: expecting value\n",
    )
    (folder / "asked.yaml").write_text('name: asked\nnodes: [{id: ask, type: human, message: "Go on?"}]\n')
    approval = cli("run", "asked.yaml", "--run-id", "asked-1", "--json").json["approvals"][0]["approval"]
    decided = shell("approvals", "approve", approval, **closed)
    assert (decided.returncode, decided.stderr.splitlines()[1:]) == (
        0,
        ["run asked-1 waits for this: `spojit-stripe runs resume asked-1` goes on with it"],
    )


def test_an_old_terminal(folder: Path) -> None:
    """What an encoding can't show is escaped instead of failing."""
    ran = subprocess.run(
        [*PROGRAM, "tools", "list-charges"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0
    ran.stdout.decode("ascii")


def test_progress_is_for_terminals(folder: Path) -> None:
    """Somebody who watches sees that a long list is being read; the last word is the same."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    arguments = ("call", "list-charges", *MAIN, "--all", "--limit", "1", "--max-items", "20", "--json")
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        told = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # Linux's way of saying that the other end is closed
                break
            if not part:
                break
            told += part
    os.close(ours)
    assert process.returncode == 0
    assert b"list-charges" in told
    assert b"20 charges, not complete: more with --starting-after ch_" in told.splitlines()[-1]


def test_a_narrow_window(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns are left out whole, never cut, and named."""
    monkeypatch.setenv("COLUMNS", "60")
    ran = cli("call", "list-charges", *MAIN, "--limit", "2")
    assert ran.out.splitlines()[0].split() == ["id", "amount", "status"]
    assert max(map(len, ran.out.splitlines())) <= 60
    assert ran.err.startswith("not shown for lack of room: created, ")


def test_an_unexpected_fault_is_one_line(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its type and a hint; SPOJIT_DEBUG=1 shows where, without keys."""

    def broken(*_: object) -> None:
        raise KeyError("sk_test_4eC39HqLyjWDarjtT1\nsecond line")

    monkeypatch.setattr(Catalog, "load", broken)
    ran = cli("tools")
    assert ran.code == 1
    assert ran.err == (
        "error: unexpected KeyError: 'sk_test_***\\nsecond line' "
        "(a fault of this program; SPOJIT_DEBUG=1 shows where)\n"
    )
    monkeypatch.setenv("SPOJIT_DEBUG", "1")
    ran = cli("tools")
    assert "Traceback" in ran.err
    assert "4eC39" not in ran.err


def test_ctrl_c_while_a_charge_is_in_flight(box, cli, customer) -> None:
    """The write is seen through to its record; then exit code 130 and no traceback."""
    box.hold("POST", "/v1/charges")
    arguments = ("call", "create-charge", *MAIN, "--customer", customer, "--amount", "1050", "--currency", "usd")
    with subprocess.Popen([*PROGRAM, *arguments, "--run-id", "c"], stderr=subprocess.PIPE, text=True) as process:
        box.wait_held()
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert process.poll() is None
        box.release()
        _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert told.splitlines()[-1] == "interrupted"
    assert "Traceback" not in told
    (entry,) = cli("ledger", "list", "--run-id", "c", "--json").json
    assert entry["state"] == "done"


def test_run_gives_the_exit_code_of_a_command() -> None:
    """Anything but a number is success."""
    assert run(["completion", "bash"]) == 0

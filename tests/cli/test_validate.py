"""`validate` and `graph`: everything at once, with places and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spojit_stripe.cli.app import run

GOOD = "name: good\nnodes:\n  - {id: a, type: transform, set: {n: 1}}\n"
WARNED = (
    "name: warned\nnodes:\n  - {id: a, type: connector, connector: stripe, connection: nobody, tool: list-charges}\n"
)
BROKEN = "name: broken\nnodes:\n  - {id: a, type: transfrom}\n  - {id: b, type: transform, set: {n: '{{ c.n }}'}}\n"
CONNECTIONS = 'connections:\n  main: {connector: stripe, secret_key: "${env:KEY}", mode: test}\n'


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPOJIT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("SPOJIT_CONNECTIONS", str(tmp_path / "connections.yaml"))
    for name, text in {"good.yaml": GOOD, "warned.yaml": WARNED, "broken.yaml": BROKEN}.items():
        Path(name).write_text(text)
    Path("connections.yaml").write_text(CONNECTIONS)


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str]):
    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_a_good_file(ran) -> None:
    assert ran("validate", "good.yaml") == (0, "", "1 file: no faults, no warnings\n")


def test_warnings_are_no_faults(ran) -> None:
    line = "warned.yaml:3:49: warning: there is no connection 'nobody' here; PATH has: main\n"
    path = str(Path("connections.yaml").resolve())
    assert ran("validate", "warned.yaml") == (0, line.replace("PATH", path), "1 file: no faults, 1 warning\n")


def test_all_faults_of_all_files(ran) -> None:
    code, out, err = ran("validate", "broken.yaml", "good.yaml", "warned.yaml")
    assert code == 2
    assert out.splitlines()[:2] == [
        "broken.yaml:3:13: unknown node type 'transfrom'; did you mean 'transform'?",
        "broken.yaml:4:36: c.n: there is no node or name 'c'; there is input, a",
    ]
    assert out.splitlines()[2].startswith("warned.yaml:3:49: warning:")
    assert err == "3 files: 2 faults, 1 warning\n"


def test_as_json(ran) -> None:
    code, out, err = ran("validate", "broken.yaml", "nowhere.yaml", "--json")
    told = json.loads(out)
    assert code == told["exit_code"] == 3
    assert told["faults"][0] == {
        "file": "broken.yaml",
        "line": 3,
        "column": 13,
        "severity": "error",
        "message": "unknown node type 'transfrom'",
        "suggestion": "did you mean 'transform'?",
    }
    assert told["unread"] == ["can't read nowhere.yaml: No such file or directory"]
    assert err == "error: can't read nowhere.yaml: No such file or directory\n"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "can't read odd.yaml: No such file or directory"),
        (lambda path: path.mkdir(), "can't read odd.yaml: Is a directory"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "can't read odd.yaml: it is no UTF-8 text"),
    ],
)
def test_a_file_that_cant_be_read(ran, make, message: str) -> None:
    """The others are checked all the same."""
    make(Path("odd.yaml"))
    code, out, err = ran("validate", "odd.yaml", "broken.yaml")
    assert (code, out.count("\n")) == (3, 2)
    assert err.splitlines()[0] == f"error: {message}"


def test_only_files_that_were_read_are_counted(ran) -> None:
    """An error beside `no faults` would be read as none."""
    assert ran("validate", "nowhere.yaml")[2] == "error: can't read nowhere.yaml: No such file or directory\n"
    assert ran("validate", "nowhere.yaml", "good.yaml")[2].splitlines()[1] == "1 file: no faults, no warnings"


def test_no_yaml_is_a_fault_with_its_place(ran) -> None:
    Path("cut.yaml").write_text("name: x\nnodes:\n  - {id: a, type: transform\n")
    code, out, _ = ran("validate", "cut.yaml")
    assert (code, out) == (2, "cut.yaml:4:1: not valid YAML: expected ',' or '}', but got '<stream end>'\n")


def test_without_connections_nothing_is_said_of_them(ran) -> None:
    Path("connections.yaml").unlink()
    code, out, err = ran("validate", "warned.yaml")
    assert (code, out) == (0, "")
    assert err.startswith("connections are not checked: no connections file at ")


def test_named_connections_must_be_there(ran) -> None:
    code, _, err = ran("validate", "good.yaml", "--connections", "none.yaml")
    assert code == 3
    assert err.startswith("error: no connections file at none.yaml;")


def test_nothing_to_validate(ran) -> None:
    code, _, err = ran("validate")
    assert (code, err) == (2, "error: missing argument 'FILE…' (see `spojit-stripe validate --help`)\n")


def test_nothing_is_made(ran) -> None:
    """Validating leaves no state behind."""
    ran("validate", "good.yaml")
    assert not Path("state").exists()


def test_graph(ran) -> None:
    code, out, err = ran("graph", "good.yaml")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "flowchart TD",
        '    start_(("manual"))',
        '    n_a[/"a: transform"/]',
        "    n_a --> end_",
        "    start_ --> n_a",
        '    end_(("end"))',
    ]


def test_graph_of_a_broken_file(ran) -> None:
    code, out, err = ran("graph", "broken.yaml")
    assert (code, out) == (2, "")
    assert err == "error: broken.yaml:3:13: unknown node type 'transfrom'; did you mean 'transform'?\n"


def test_help_loads_neither_templates_nor_schemas() -> None:
    """The command line must start fast."""
    code = (
        "import sys; from spojit_stripe.cli.app import run; run(['--help']); run(['validate', '--help']);"
        "assert not {'jinja2', 'jsonschema', 'pydantic', 'croniter', 'yaml'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_only_sounds_like_a_secret_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    Path("sound.yaml").write_text(
        "# Bearer authentication is set on the connection; export KEY=sk_test_your_key_here; pk_test_123 is public\n"
        "name: sound\nnodes:\n  - id: a\n    type: transform\n    set:\n"
        "      authorization: approved by finance\n      account_number: 1200\n      password: ''\n"
        "      ref: {number: INV-1, exp_month: 3}\n      of: {password: '${env:PGPASSWORD}'}\n"
    )
    assert run(["validate", "sound.yaml"]) == 0, capsys.readouterr().out

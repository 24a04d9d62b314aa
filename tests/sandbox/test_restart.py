"""The process and its file: killed and started again, and what keeps it from starting."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

COMMAND = [sys.executable, "-m", "spojit_stripe", "sandbox"]
MODULE = [sys.executable, "-m", "spojit_stripe.sandbox"]


class Process:
    """A sandbox in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*MODULE, "--port", "0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        told = dict(self.process.stdout.readline().strip().split("  ", 1) for _ in range(2))
        self.url = told["url"].strip()
        self.http = httpx2.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {told['secret key'].strip()}"}, timeout=20
        )

    def post(self, path: str, params: dict[str, str], key: str | None = None) -> httpx2.Response:
        return self.http.post(path, data=params, headers={"Idempotency-Key": key} if key else {})

    def all(self, path: str) -> list[dict]:
        found: list[dict] = []
        while True:
            more = {"starting_after": found[-1]["id"]} if found else {}
            page = self.http.get(path, params={"limit": 100, **more}).json()
            found += page["data"]
            if not page["has_more"]:
                return found

    def kill(self) -> None:
        """End it as a power cut would end it, for all that the process can do."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)
        self.process.stdout.close()
        self.http.close()


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Process]:
    process = Process(*arguments)
    try:
        yield process
    finally:
        process.kill()


# Killed


def test_every_answered_write_is_there(tmp_path) -> None:
    """Killed in the middle of ten writers: what was answered is on disk, whole, and keys replay."""
    state = str(tmp_path / "state.db")
    answered: dict[str, bytes] = {}
    sent: set[str] = set()
    with running("--state", state) as first:

        def write(writer: int) -> None:
            for turn in range(10_000):
                key = f"{writer}-{turn}"
                params = {"amount": "1900", "currency": "usd", "source": "tok_visa", "metadata[key]": key}
                sent.add(key)
                try:
                    answered[key] = first.post("/v1/charges", params, key).read()
                except (httpx2.HTTPError, RuntimeError):
                    return

        threads = [threading.Thread(target=write, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while len(answered) < 150 and time.monotonic() < deadline:
            time.sleep(0.01)
        first.process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join(20)
    assert len(answered) >= 150
    with running("--state", state) as second:
        charges = second.all("/v1/charges")
        keys = [each["metadata"]["key"] for each in charges]
        assert len(keys) == len(set(keys))
        assert set(answered) <= set(keys) <= sent
        moved = {each["source"]: each for each in second.all("/v1/balance_transactions")}
        assert set(moved) == {each["id"] for each in charges}
        for key in list(answered)[::10]:
            params = {"amount": "1900", "currency": "usd", "source": "tok_visa", "metadata[key]": key}
            again = second.post("/v1/charges", params, key)
            assert again.content == answered[key]
            assert again.headers["idempotent-replayed"] == "true"
        other = second.post("/v1/charges", {"amount": "1901", "currency": "usd"}, next(iter(answered)))
        assert other.json()["error"]["type"] == "idempotency_error"
        unsure = sorted(sent - set(answered))
        for key in unsure:  # the caller doesn't know; asking again with the key makes it exactly one
            params = {"amount": "1900", "currency": "usd", "source": "tok_visa", "metadata[key]": key}
            assert second.post("/v1/charges", params, key).status_code == 200
        assert sorted(each["metadata"]["key"] for each in second.all("/v1/charges")) == sorted(sent)
        new = second.post("/v1/customers", {"name": "New"}).json()["id"]
        assert new not in {each["id"] for each in charges}


def test_the_clock_goes_on(tmp_path) -> None:
    """What the clock was moved by stays; what fell due meanwhile happens after the start."""
    state = str(tmp_path / "state.db")
    with running("--state", state) as first:
        first.post("/v1/charges", {"amount": "5000", "currency": "usd", "source": "tok_visa"})
        first.http.post("/_sandbox/clock", json={"advance": 3_600})
        early = first.http.get("/_sandbox/clock").json()["now"]
        assert first.http.get("/v1/balance").json()["pending"][0]["amount"] == 4_825
    with running("--state", state) as second:
        late = second.http.get("/_sandbox/clock").json()["now"]
        assert early <= late < early + 60
        second.http.post("/_sandbox/clock", json={"advance": 3 * 86_400})
        assert second.http.get("/v1/balance").json()["available"][0]["amount"] == 4_825
    with running("--state", state) as third:
        assert third.http.get("/v1/balance").json()["available"][0]["amount"] == 4_825
        assert third.all("/v1/balance_transactions")[0]["status"] == "available"


def test_a_seed_killed_on_the_way(tmp_path) -> None:
    """A start that is killed while it seeds leaves nothing: the next one is empty, or seeds anew."""
    state = tmp_path / "state.db"
    with subprocess.Popen([*MODULE, "--port", "0", "--state", str(state), "--seed", "20000"]) as process:
        deadline = time.monotonic() + 20
        while not (state.exists() and _meta(state, "seeding")) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        process.kill()
    copy = tmp_path / "copy.db"
    for ending in ("", "-wal"):
        if (path := Path(f"{state}{ending}")).exists():
            Path(f"{copy}{ending}").write_bytes(path.read_bytes())
    with running("--state", str(copy)) as box:
        assert box.http.get("/_sandbox/counts").json() == {}
        assert box.all("/v1/customers") == []
    with running("--state", str(state), "--seed", "3") as box:
        assert len(box.all("/v1/customers")) == 3


def _meta(state: Path, name: str) -> bool:
    """Whether a setting is in a state file that another process may have locked."""
    return name.encode() in b"".join(
        each.read_bytes() for each in (state, state.with_name(state.name + "-wal")) if each.exists()
    )


# What keeps it from starting


def run(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=30)


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, message: str) -> None:
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [COMMAND, MODULE], ids=["spojit-stripe", "module"])
def test_files_that_are_not_ours(tmp_path, command) -> None:
    """Text, another program's database, a newer version, a folder: one line, and the file stays as it was."""
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be looked at as one " * 20)
    foreign, newer = tmp_path / "foreign.db", tmp_path / "newer.db"
    for path, sql in ((foreign, "CREATE TABLE t (x)"), (newer, "CREATE TABLE meta (x)")):
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute(sql)
            if path is newer:
                database.execute(f"PRAGMA application_id = {0x53504A53}")
                database.execute("PRAGMA user_version = 99")
    for path, message in [
        (text, "is not a state file of the sandbox"),
        (foreign, "another program's database"),
        (newer, "of another version of the sandbox (99)"),
        (tmp_path / "no" / "folder.db", "can't open the state file"),
    ]:
        before = path.read_bytes() if path.exists() else None
        assert_one_line(run(command, "--port", "0", "--state", str(path)), 3, message)
        assert (path.read_bytes() if path.exists() else None) == before
    folder = run(command, "--port", "0", "--state", str(tmp_path))
    assert folder.returncode in {2, 3}
    assert folder.stderr.count("\n") == 1


def _as_others() -> list[str]:
    """What makes a process of root's obey file permissions, as all others do."""
    if os.geteuid() != 0:
        return []
    found = shutil.which("setpriv")
    if found is None:
        pytest.skip("root may write everywhere")
    return [found, "--bounding-set=-dac_override", "--inh-caps=-dac_override"]


def test_a_file_that_may_not_be_written(tmp_path) -> None:
    """A read-only state file is refused in one line."""
    state = tmp_path / "state.db"
    with running("--state", str(state)):
        pass
    state.chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        refused = run([*_as_others(), *MODULE], "--port", "0", "--state", str(state))
        assert_one_line(refused, 3, "(is it writable?)")
    finally:
        tmp_path.chmod(0o700)


def test_a_file_in_use_and_a_port_that_is_taken(tmp_path) -> None:
    """Another sandbox has the file, or the port."""
    state = str(tmp_path / "state.db")
    with running("--state", state) as box:
        assert_one_line(run(COMMAND, "--port", "0", "--state", state), 3, "another sandbox uses it")
        port = box.url.rsplit(":", 1)[1]
        assert_one_line(run(COMMAND, "--port", port), 3, "is taken")
        assert_one_line(run(MODULE, "--port", port), 3, "is taken")
        assert box.http.get("/v1/customers").status_code == 200
    with socket.create_server(("127.0.0.1", 0)) as other:  # anything that listens
        assert_one_line(run(MODULE, "--port", str(other.getsockname()[1])), 3, "is taken")


@pytest.mark.parametrize("seed", ["-1", "x", "", "1.5"])
def test_seeds_that_are_none(seed) -> None:
    """Exit code 2 and one line."""
    for command in (COMMAND, MODULE):
        done = run(command, "--port", "0", f"--seed={seed}")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1

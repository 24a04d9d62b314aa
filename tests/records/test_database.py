from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.records import Database, Records, state_folder
from spojit_stripe.records.database import _MIGRATIONS


def file_in(folder: Path) -> Path:
    return folder / "ledger.db"


def test_a_row_survives_a_power_cut(tmp_path: Path) -> None:
    database = Database(tmp_path)
    with database.reading() as db:
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    database.close()


def test_nobody_else_can_read_the_state(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    Database(folder).close()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert file_in(folder).stat().st_mode & 0o777 == 0o600


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path)

    def fails() -> None:
        with database.writing() as db:
            db.execute("CREATE TABLE x (y)")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    with database.writing() as db:  # and the next one works
        assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'x'").fetchone()[0] == 0
    database.close()


def test_a_transaction_that_the_database_ended_itself_leaves_the_connection_usable(tmp_path: Path) -> None:
    database = Database(tmp_path)

    def fails() -> None:
        with database.writing() as db:
            db.execute("ROLLBACK")  # as SQLite does by itself when the disk is full
            raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(ConfigurationError):
        fails()
    with database.writing() as db:
        db.execute("SELECT 1")
    database.close()


def test_a_commit_that_fails_is_rolled_back(tmp_path: Path) -> None:
    database = Database(tmp_path)
    with database.writing() as db:
        db.execute("CREATE TABLE a (x PRIMARY KEY) WITHOUT ROWID")
        db.execute("CREATE TABLE b (y REFERENCES a (x) DEFERRABLE INITIALLY DEFERRED)")
    with database.reading() as db:
        db.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError), database.writing() as db:
        db.execute("INSERT INTO b VALUES (1)")
    with database.writing() as db:
        assert db.execute("SELECT count(*) FROM b").fetchone()[0] == 0
    database.close()


@pytest.mark.parametrize(
    "words", [("database is locked", "is locked by another program"), ("disk I/O error", "disk I/O")]
)
def test_a_fault_of_the_database_says_what_to_do(tmp_path: Path, words: tuple[str, str]) -> None:
    database = Database(tmp_path)
    with pytest.raises(ConfigurationError, match=words[1]), database.reading():
        raise sqlite3.OperationalError(words[0])
    database.close()


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("database disk image is malformed"), sqlite3.DatabaseError("not a database")]
)
def test_a_damaged_file_is_told_as_damaged(tmp_path: Path, error: sqlite3.Error) -> None:
    database = Database(tmp_path)
    with pytest.raises(ConfigurationError, match="is damaged or no database"), database.reading():
        raise error
    database.close()


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    file_in(tmp_path).write_bytes(b"my shopping list, " * 100)
    with pytest.raises(ConfigurationError, match="is damaged or no database"):
        Database(tmp_path)
    assert file_in(tmp_path).read_bytes() == b"my shopping list, " * 100


@pytest.mark.parametrize("pragma", ["user_version = 0", "user_version = 1", "application_id = 77"])
def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path, pragma: str) -> None:
    with closing(sqlite3.connect(file_in(tmp_path))) as theirs:
        theirs.execute("CREATE TABLE theirs (x)")
        theirs.execute(f"PRAGMA {pragma}")
        theirs.commit()
    before = file_in(tmp_path).read_bytes()
    with pytest.raises(ConfigurationError, match="belongs to another program"):
        Database(tmp_path)
    assert file_in(tmp_path).read_bytes() == before


@pytest.mark.parametrize("pragma", ["application_id = 77", "user_version = 1"])
def test_an_empty_file_of_another_program_is_not_taken_over(tmp_path: Path, pragma: str) -> None:
    with closing(sqlite3.connect(file_in(tmp_path))) as theirs:
        theirs.execute(f"PRAGMA {pragma}")
        theirs.commit()
    with pytest.raises(ConfigurationError, match="belongs to another program"):
        Database(tmp_path)


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    Database(tmp_path).close()
    with closing(sqlite3.connect(file_in(tmp_path))) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="was written by a newer spojit_stripe"):
        Database(tmp_path)


def test_the_same_file_opens_again(tmp_path: Path) -> None:
    Database(tmp_path).close()
    Database(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="choose another folder with --state or SPOJIT_STATE"):
        Database(tmp_path / "file" / "state")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Database(tmp_path).close()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere, so the answer is made up
    with pytest.raises(ConfigurationError, match="the file is read-only"):
        Database(tmp_path)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_told(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(file_in(tmp_path))
    with pytest.raises(ConfigurationError, match=r"ledger\.db is no file; choose another folder"):
        Database(tmp_path)


def test_a_folder_that_cannot_be_looked_into_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="File name too long; choose another folder"):
        Records.exist_in(tmp_path / ("x" * 300))


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    """A byte of the command line that is no UTF-8, say."""
    records = Records(tmp_path)
    for look in (records.runs.get, records.approvals.get, lambda text: [*records.ledger.entries(run_id=text)]):
        with pytest.raises(InputError, match=r"'caf\\udce9' is no valid text"):
            look("caf\udce9")
    records.close()


def test_threads_share_one_connection(tmp_path: Path) -> None:
    database = Database(tmp_path)
    with database.writing() as db:
        db.execute("CREATE TABLE n (x)")

    def add() -> None:
        for _ in range(20):
            with database.writing() as db:
                db.execute("INSERT INTO n VALUES (1)")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as db:
        assert db.execute("SELECT count(*) FROM n").fetchone()[0] == 80
    database.close()


def test_processes_that_start_at_once_make_one_ledger(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from spojit_stripe.records import Database\n"
        "sys.stdin.readline()\n"
        "d = Database(pathlib.Path(sys.argv[1]))\n"
        "with d.reading() as db: print(db.execute('SELECT count(*) FROM calls').fetchone()[0])\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "state")]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60) for process in started] == [("0\n", "")] * 6


def test_the_state_folder_is_named_or_in_the_environment_or_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert state_folder(tmp_path) == tmp_path
    monkeypatch.setenv("SPOJIT_STATE", str(tmp_path / "b"))
    assert state_folder() == tmp_path / "b"
    assert state_folder(tmp_path) == tmp_path
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPOJIT_STATE", "c")
    assert state_folder() == tmp_path / "c"
    assert state_folder(Path("d")) == tmp_path / "d"
    monkeypatch.delenv("SPOJIT_STATE")
    found = state_folder()
    assert found.is_absolute()
    assert found.name == "spojit-stripe"
    assert Path.cwd() not in found.parents


def test_looking_for_records_makes_none(tmp_path: Path) -> None:
    assert not Records.exist_in(tmp_path)
    assert list(tmp_path.iterdir()) == []
    Records(tmp_path).close()
    assert Records.exist_in(tmp_path)


def test_who_comes_second_takes_the_file_as_the_first_has_made_it(tmp_path: Path) -> None:
    Database(tmp_path / "made").close()
    with closing(sqlite3.connect(file_in(tmp_path / "made"))) as made:
        schema = [row[0] for row in made.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")]
        (version,) = made.execute("PRAGMA user_version").fetchone()
    (tmp_path / "raced").mkdir()
    opened: list[Database] = []
    with closing(sqlite3.connect(file_in(tmp_path / "raced"), isolation_level=None)) as first:
        first.execute("PRAGMA journal_mode = WAL")
        first.execute("BEGIN IMMEDIATE")
        second = threading.Thread(target=lambda: opened.append(Database(tmp_path / "raced")))
        second.start()
        second.join(0.3)  # it sees an empty file and waits for the lock
        for statement in schema:
            first.execute(statement)
        first.execute("PRAGMA application_id = 1397770836")
        first.execute(f"PRAGMA user_version = {version}")
        first.execute("COMMIT")
        second.join()
    with opened[0].reading() as db:
        assert db.execute("SELECT count(*) FROM calls").fetchone()[0] == 0
    opened[0].close()


def test_many_processes_open_many_new_ledgers_at_once(tmp_path: Path) -> None:
    """SQLite answers "locked" at once, without waiting, to those that meet a file changing to WAL."""
    program = (
        "import sys, pathlib\n"
        "from spojit_stripe.records import Database\n"
        "sys.stdin.readline()\n"
        "for n in range(20): Database(pathlib.Path(sys.argv[1]) / str(n)).close()\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=100)[1] for process in started] == [""] * 4


def test_runs_of_an_older_file_are_bound_to_the_place_of_their_writes(tmp_path: Path) -> None:
    with closing(sqlite3.connect(file_in(tmp_path))) as old:
        for script in _MIGRATIONS[:2]:
            old.executescript(script)
        old.execute("PRAGMA application_id = 1397770836")
        old.execute("PRAGMA user_version = 2")
        old.execute(
            "INSERT INTO runs (id, workflow, version, file, engine, inputs, state, created)"
            " VALUES ('r', 'w', 'v', 'f', 'e', '{}', 'waiting', 1)"
        )
        for key, connection in (("k1", "shop"), ("k2", "shop"), (None, "reads")):
            old.execute(
                "INSERT INTO calls (effect, state, run_id, node, indexes, ordinal, generation, key, connection, mode,"
                " account, tool, operation, path, params, created)"
                " VALUES ('write', 'done', 'r', 'n', '', 0, 0, ?, ?, 'test', 'acct_1', 't', 'o', '/p', '{}', 1)",
                (key, connection),
            )
        old.execute("INSERT INTO planned VALUES ('r', 'shop', 1, 'd', '{}', NULL, NULL, NULL)")
        old.commit()
    records = Records(tmp_path)
    assert records.runs.places("r") == {"shop": {"mode": "test", "account": "acct_1", "base_url": None}}
    records.close()
    with closing(sqlite3.connect(file_in(tmp_path))) as new:
        assert new.execute("SELECT owner, number FROM planned").fetchall() == [("", 1)]

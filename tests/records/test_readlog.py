from __future__ import annotations

import threading
from pathlib import Path

import pytest

from spojit_stripe.errors import AccessError, SpojitError
from spojit_stripe.records import Database, ReadLog, ReadNote, Records
from spojit_stripe.values import Position


def note(number: int = 0, **change: object) -> ReadNote:
    fields = {
        "position": Position(run_id=f"r{number}"),
        "connection": "c",
        "mode": "test",
        "account": None,
        "base_url": None,
        "api_version": "v",
        "tool": "t",
        "operation": "GET /v1/x",
        "path": "/v1/x",
        "params": {},
        "at": 1,
    }
    return ReadNote(**(fields | change))  # type: ignore[arg-type]


def test_every_read_is_written_before_it_closes(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for number in range(500):
        records.reads.note(note(number))
    records.close()
    again = Records(tmp_path)
    assert [entry.run_id for entry in again.ledger.entries()] == [f"r{n}" for n in range(500)][::-1]
    again.close()


def test_a_row_appears_without_closing(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.reads.note(note())
    seen = threading.Event()
    for _ in range(1000):
        if list(records.ledger.entries()):
            seen.set()
            break
        seen.wait(0.01)
    assert seen.is_set()
    records.close()


def test_the_log_can_be_used_again_after_closing(tmp_path: Path) -> None:
    database = Database(tmp_path)
    log = ReadLog(database)
    log.close()  # nothing was noted, so there is nothing to stop
    log.note(note(1))
    log.close()
    log.note(note(2))
    log.close()
    with database.reading() as db:
        assert db.execute("SELECT count(*) FROM calls").fetchone()[0] == 2
    database.close()


def test_a_read_holds_no_secret(tmp_path: Path) -> None:
    key = "sk_live_A1b2C3d4E5f6G7h8I9j0"
    records = Records(tmp_path)
    records.reads.note(note(path=f"/v1/x/{key}", params={"email": key}, error=AccessError(f"a\n{key}")))
    records.close()
    for file in tmp_path.iterdir():
        assert b"A1b2C3d4" not in file.read_bytes()


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (note(params={"x": {1, 2}}), "1 reads could not be recorded: TypeError"),
        (note(position=Position(run_id="\ud800")), r"'\ud800' is no valid text; nothing was found or changed"),
    ],
)
def test_a_note_that_cannot_be_written_stops_no_other(tmp_path: Path, broken: ReadNote, fault: str) -> None:
    records = Records(tmp_path)
    records.reads.note(broken)
    records.reads.close()
    assert isinstance(records.reads.fault, SpojitError)
    assert str(records.reads.fault) == fault
    records.reads.note(note())
    records.reads.close()
    assert len(list(records.ledger.entries())) == 1
    records.close()

"""A long list whose reader was killed is read on by the next one, and is the list that it would have been."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spojit_stripe.connector import Listing, ListPlan
from spojit_stripe.data import ArtifactStore, thaw
from spojit_stripe.data.checkpoint import Checkpoint
from spojit_stripe.errors import InvalidRequestError, Problem
from spojit_stripe.host import Host
from spojit_stripe.node import ConnectorNode
from spojit_stripe.sandbox import Sandbox, sandbox
from spojit_stripe.steps import InProcessSteps
from spojit_stripe.values import JsonObject, JsonValue, Paging, Request
from spojit_stripe.wire.listing import Page, body_of, read_list
from spojit_stripe.wire.listing.resuming import Notes

NOW = 1_790_000_000
LIST = Request(method="GET", path="/v1/charges", template="/v1/charges")
PLAN = ListPlan(style="cursor", wanted=10, page_size=100, windowed=True)
ALL = Paging(paginate="all")
SECRET = "sk_live_" + "A1b2C3d4E5f6G7h8"


class KilledError(Exception):
    """As far as the next reader can tell."""


class Service:
    """Objects created at `times`, the newest first. It kills its reader at request number `kill_at`."""

    def __init__(self, times: Sequence[int], *, turns: Sequence[int] = (2,)) -> None:
        ordered = sorted(times, reverse=True)
        self.data: list[JsonObject] = [
            {"id": f"ch_{place}", "created": time, "even": time % 2 == 0} for place, time in enumerate(ordered)
        ]
        self.now = NOW
        self.asked: list[JsonObject] = []
        self.kill_at: int | None = None
        self.before: Callable[[], object] = lambda: None
        self._turns = turns

    def create(self, identifier: str, created: int) -> None:
        made: JsonObject = {"id": identifier, "created": created, "even": created % 2 == 0}
        self.data = sorted([made, *self.data], key=lambda one: -cast("int", one["created"]))

    def until(self, as_of: int) -> list[JsonObject]:
        return [one for one in self.data if cast("int", one["created"]) < as_of]

    async def __call__(self, request: Request) -> Page:
        number = len(self.asked)
        self.asked.append(dict(request.params))
        for _ in range(self._turns[number % len(self._turns)]):
            await asyncio.sleep(0)
        if number == self.kill_at:
            raise KilledError
        self.before()
        bounds = cast("dict[str, int]", request.params.get("created", {}))
        found = [one for one in self.data if bounds.get("gte", 0) <= cast("int", one["created"])]
        found = [one for one in found if cast("int", one["created"]) < bounds.get("lt", 10**12)]
        if "starting_after" in request.params:
            places = {one["id"]: place for place, one in enumerate(self.data)}
            start = places[request.params["starting_after"]]
            found = [one for one in found if places[one["id"]] > start]
        size = cast("int", request.params["limit"])
        body = body_of(msgspec.json.encode({"data": found[:size], "has_more": len(found) > size}))
        assert body is not None
        return Page(body=body, request_id="req", date=self.now, livemode=False)


def read(
    service: Service,
    state: Path,
    at_once: int = 6,
    *,
    name: str = "run-1/charges",
    request: Request = LIST,
    plan: ListPlan = PLAN,
    paging: Paging = ALL,
) -> tuple[Listing, list[JsonValue]]:
    store = ArtifactStore(state)
    sink = store.spool(name, resumable=True)
    try:
        listing = asyncio.run(read_list(service, request, plan, paging, sink=sink, in_flight=lambda: at_once))
        return listing, [*cast("list[JsonValue]", thaw(sink.finish(), store))]
    finally:
        sink.discard()  # a process that is gone holds nothing


def killed(service: Service, state: Path, at: int, **more: Any) -> None:
    """A reader that asked `at` times, and one time more."""
    service.asked, service.kill_at = [], at
    with pytest.raises(KilledError):
        read(service, state, **more)
    service.asked, service.kill_at = [], None


def spread(count: int, seconds: int) -> list[int]:
    return [NOW - 10 - place * seconds for place in range(count)]


@pytest.mark.parametrize("order", ["newest", "any"])
@pytest.mark.parametrize("at_once", [1, 6])
@pytest.mark.parametrize("at", [2, 9, 15, 28])
def test_the_next_reader_goes_on_where_this_one_was(tmp_path: Path, at: int, at_once: int, order: Any) -> None:
    service = Service(spread(3_000, 60))
    paging = replace(ALL, order=order)
    killed(service, tmp_path, at, at_once=at_once, paging=paging)
    service.now += 300
    service.create("ch_new", NOW + 100)
    listing, rows = read(service, tmp_path, at_once, paging=paging)
    wanted = service.until(NOW - 2)
    assert len(wanted) == 3_000
    assert (rows == wanted) if order == "newest" else (sorted(map(str, rows)) == sorted(map(str, wanted)))
    assert (listing.complete, listing.as_of, listing.next_cursor) == (True, NOW - 2, None)
    assert listing.fetched == listing.scanned == 3_000
    # What was under way came to nothing, the first page tells that it is the list, and halves of pages are lost.
    assert len(service.asked) <= 30 - at + 2 * at_once + 2
    assert [*(tmp_path / "tmp").iterdir()] == []


def test_a_reader_killed_again_and_again_comes_to_the_end(tmp_path: Path) -> None:
    service = Service(spread(3_000, 60))
    asked = 0
    for _ in range(40):
        service.asked, service.kill_at = [], 4
        try:
            listing, rows = read(service, tmp_path, 2)
        except KilledError:
            asked += len(service.asked)
            continue
        break
    assert asked > 0
    assert rows == service.data
    assert listing.complete


_times = st.lists(
    st.one_of(
        st.integers(NOW - 50, NOW + 1),
        st.integers(NOW - 40_000, NOW - 39_990),
        st.integers(NOW - 10_000_000, NOW - 3),
        st.integers(0, NOW),
    ),
    max_size=120,
)


@pytest.mark.long
@given(
    _times,
    st.lists(st.integers(0, 6), min_size=1, max_size=8),
    st.integers(1, 12),
    st.integers(1, 9),
    st.lists(st.integers(1, 25), max_size=4),
    st.integers(0, 100),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_whenever_it_is_killed_the_list_is_the_same(
    times: list[int],
    turns: list[int],
    page_size: int,
    at_once: int,
    kills: list[int],
    later: int,
    filtered: bool,
    any_order: bool,
) -> None:
    service = Service(times, turns=turns)
    plan = replace(PLAN, page_size=page_size, keep={"even": True} if filtered else {})
    paging = replace(ALL, order="any" if any_order else "newest")
    with tempfile.TemporaryDirectory() as state:
        whole = None
        for kill_at in [*kills, None]:
            service.asked, service.kill_at = [], kill_at
            try:
                whole = read(service, Path(state), at_once, plan=plan, paging=paging)
                break
            except KilledError:
                service.now += later
                service.create(f"ch_late_{kill_at}_{service.now}", service.now)
        assert whole is not None
        assert os.listdir(Path(state) / "tmp") == [] if (Path(state) / "tmp").exists() else True  # noqa: PTH208
    listing, rows = whole
    looked_at = service.data if listing.pages == 1 and len(service.asked) == 1 else service.until(listing.as_of)
    wanted = [one for one in looked_at if one["even"] or not filtered]
    assert (sorted(map(str, rows)) if any_order else rows) == (sorted(map(str, wanted)) if any_order else wanted)
    assert listing.complete
    assert (listing.fetched, listing.scanned) == (len(wanted), len(looked_at))


def test_a_failure_after_taking_up_leaves_no_gap(tmp_path: Path) -> None:
    """The cursor then goes on at the first object that is not there."""
    service = Service(spread(3_000, 60))
    killed(service, tmp_path, 15)

    def fail() -> None:
        if len(service.asked) > 2:
            raise InvalidRequestError("no more today", Problem(status=400))

    service.before = fail
    listing, rows = read(service, tmp_path)
    assert (listing.complete, listing.stopped_because) == (False, "error")
    assert rows == service.data[: len(rows)]
    assert 0 < len(rows) < 3_000
    assert listing.next_cursor == service.data[len(rows) - 1]["id"]


# What is on the disk meanwhile


def kept(state: Path) -> Path:
    (folder,) = (state / "tmp").glob("read-*")
    return folder


def test_what_lies_there_is_private_and_without_secrets(tmp_path: Path) -> None:
    service = Service(spread(3_000, 60))
    for one in service.data:
        one.update({"client_secret": "pi_1_secret_xyz", "note": f"key {SECRET}", "password": "hunter2"})
    killed(service, tmp_path, 20)
    files = [*kept(tmp_path).iterdir()]
    assert len(files) > 2
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert not any(secret in file.read_text() for secret in (SECRET, "secret_xyz", "hunter2"))
    assert stat.S_IMODE(kept(tmp_path).stat().st_mode) == 0o700
    _, rows = read(service, tmp_path)
    assert [cast("JsonObject", row)["id"] for row in rows] == [one["id"] for one in service.data]
    assert rows[0] == {**service.data[0], "client_secret": "***", "note": "key sk_live_***", "password": "***"}
    assert [*(tmp_path / "tmp").iterdir()] == []


@pytest.mark.parametrize(
    "other",
    [
        {"request": replace(LIST, params={"customer": "cus_1"})},
        {"request": replace(LIST, account="acct_2")},
        {"request": replace(LIST, api_version="2020-08-27")},
        {"plan": replace(PLAN, keep={"even": True})},
        {"name": "run-1/charges-2"},
        {"name": "run-2/charges"},
    ],
    ids=str,
)
def test_another_list_begins_anew(tmp_path: Path, other: dict[str, Any]) -> None:
    service = Service(spread(2_000, 61))
    killed(service, tmp_path, 15)
    listing, rows = read(service, tmp_path, **other)
    assert len(service.asked) >= 20
    assert listing.complete
    assert rows == [one for one in service.data if one["even"] or "plan" not in other]


def _older(folder: Path) -> None:
    head, _, rest = (folder / "manifest").read_text().partition("\n")
    began = json.loads(head.partition(" ")[2])
    told = json.dumps({**began, "began": began["began"] - 86_401})
    (folder / "manifest").write_text(f"{hashlib.sha256(told.encode()).hexdigest()} {told}\n{rest}")


def _no_manifest(folder: Path) -> None:
    (folder / "manifest").unlink()


def _nonsense(folder: Path) -> None:
    (folder / "manifest").write_bytes(b"\xff\x00[[")


def _half_a_line(folder: Path) -> None:
    text = (folder / "manifest").read_bytes()
    (folder / "manifest").write_bytes(text[:-20])


def _changed(folder: Path) -> None:
    for file in folder.glob("*.ndjson"):
        file.write_bytes(file.read_bytes().replace(b"ch_1", b"ch_9"))


def _shorter(folder: Path) -> None:
    for file in folder.glob("*.ndjson"):
        file.write_bytes(file.read_bytes()[:-30])


def _gone(folder: Path) -> None:
    for file in folder.glob("*.ndjson"):
        file.unlink()


@pytest.mark.parametrize("harm", [_older, _no_manifest, _nonsense, _half_a_line, _changed, _shorter, _gone])
def test_what_can_not_be_trusted_is_read_again(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    service = Service(spread(3_000, 60))
    killed(service, tmp_path, 15)
    harm(kept(tmp_path))
    killed(service, tmp_path, 8)
    listing, rows = read(service, tmp_path)
    assert rows == service.data
    assert listing.complete
    assert len(service.asked) < 30


@pytest.mark.parametrize("line", [0, 1, -1])
def test_a_manifest_with_one_sign_changed_is_read_again(tmp_path: Path, line: int) -> None:
    """Any sign of a line: a number would leave a hole in the list, and a name would be no span's."""
    service = Service(spread(1_000, 60))
    plan = replace(PLAN, page_size=50)
    killed(service, tmp_path, 9, plan=plan)
    manifest = kept(tmp_path) / "manifest"
    files = {file: file.read_bytes() for file in manifest.parent.iterdir()}
    lines = files[manifest].splitlines(keepends=True)
    for place in range(0, len(lines[line]), 5):
        for file, content in files.items():
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)
        sign = bytes([lines[line][place] ^ 1])
        changed = [*lines]
        changed[line] = lines[line][:place] + sign + lines[line][place + 1 :]
        manifest.write_bytes(b"".join(changed))
        listing, rows = read(service, tmp_path, plan=plan)
        assert rows == service.data
        assert listing.complete


def test_who_comes_while_another_reads_keeps_nothing(tmp_path: Path) -> None:
    """Two processes that resume one run, say."""
    service = Service(spread(1_000, 60))
    folder = tmp_path / "checkpoint"
    first, second = Checkpoint(folder), Checkpoint(folder)
    assert first.open("a", 5) == (5, {})
    assert second.open("a", 9) == (9, {})
    second.note(1, {"x": 1}, [b"{}"], [])
    second.remove()
    first.note(1, {"x": 2}, [b'{"a": 1}'], [b'{"b": 2}'])
    first.close()
    assert second.open("a", 9) == (5, {1: {"x": 2}})
    assert [*second.rows(1)] == [[b'{"a": 1}']]
    second.remove()
    assert not folder.exists()
    assert read(service, tmp_path)[1] == service.data


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({"a": SECRET}).replace("sk_", "\\u0073k_").encode(),
        b'{"password": "hunter2"}',
        b'{"password" : "hunter2"}',
        b'{"password"\t:"hunter2"}',
        b'{"password"\n:"hunter2"}',
        b'{"password"\r: "hunter2"}',
        b'{"password"  :"hunter2"}',
        b'{"p\\u0061ssword":"hunter2"}',
        b'{"a":{"exp_year" :2030, "number" :"hunter2"}}',
    ],
)
def test_a_secret_is_found_however_it_is_written(tmp_path: Path, line: bytes) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    checkpoint.open("a", 50)
    checkpoint.note(1, {"x": 1}, [b'{"id":"ch_1"}', line], [line])
    text = (tmp_path / "checkpoint" / "1.ndjson").read_text()
    assert text.count("\n") == 3
    assert "***" in text
    assert SECRET not in text
    assert "hunter2" not in text
    checkpoint.remove()


def test_a_span_inside_of_another_counts_once(tmp_path: Path) -> None:
    """A window takes back one that came out empty, and both are noted by then."""
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    checkpoint.open("a", 50)
    for part, lo, hi in ((1, 40, 50), (2, 20, 30), (3, 20, 40), (4, 5, 20)):
        mark: JsonObject = {"lo": lo, "hi": hi, "last_id": None, "scanned": part, "pages": 1}
        checkpoint.note(part, mark, [], [])
    checkpoint.close()
    notes = Notes(checkpoint, "a", 60)
    assert notes.as_of == 50
    assert [span.part for span in notes.spans] == [1, 3, 4]
    checkpoint.remove()


def test_a_place_that_takes_nothing_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nowhere = Checkpoint(tmp_path / "file" / "inside")
    assert nowhere.open("a", 5) == (5, {})
    nowhere.note(1, {}, [b"{}"], [])
    gone = Checkpoint(tmp_path / "gone")
    gone.open("a", 5)
    (tmp_path / "gone" / "manifest").unlink()
    (tmp_path / "gone").rmdir()
    gone.note(1, {}, [b"{}"], [])
    gone.note(1, {}, [b"{}"], [])
    assert not (tmp_path / "gone").exists()


# A node in a process that is killed


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with sandbox(seed=40, latency_ms=20) as running:
        running.advance(10)
        yield running
        assert running.crashes() == []


PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from random import Random
from spojit_stripe.host import Host
from spojit_stripe.node import ConnectorNode
from spojit_stripe.steps import InProcessSteps

async def main(connections, state, config):
    with Host(connections=Path(connections), state=Path(state)) as host:
        async with ConnectorNode.from_config(json.loads(config), host=host) as node:
            await node.run({"input": {}}, InProcessSteps("run-1"))

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_node_in_a_process_that_was_killed_goes_on(box: Sandbox, tmp_path: Path) -> None:
    connections = tmp_path / "connections.yaml"
    connections.write_text(
        f"connections: {{shop: {{connector: stripe, secret_key: {box.secret_key}, mode: test, base_url: '{box.url}'}}}}"
    )
    params: JsonObject = {"limit": 10}
    config: JsonObject = {
        "connector": "stripe",
        "connection": "shop",
        "tool": "list-charges",
        "params": params,
        "paginate": "all",
    }
    whole = [one["id"] for one in box.objects("charge")[::-1]]
    arguments = [sys.executable, "-c", PROGRAM, str(connections), str(tmp_path / "state"), json.dumps(config)]
    with subprocess.Popen(arguments) as process:
        while len(box.requests()) < 25:
            assert process.poll() is None
        box.hold("GET", "/v1/charges", times=20)
        while not box.held():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    box.release(drop=True)
    box.clear_faults()
    before = len(box.requests())

    async def again() -> Any:
        with Host(connections=connections, state=tmp_path / "state") as host:
            async with ConnectorNode.from_config(config, host=host) as node:
                return await node.run({"input": {}}, InProcessSteps("run-1"))

    output = asyncio.run(again())
    assert [one["id"] for one in output.value["data"]] == whole
    assert output.value["complete"]
    assert len(box.requests()) - before < len(whole) / 10 - 10
    assert not [*(tmp_path / "state" / "tmp").glob("read-*")]


# Lists that are not as they should be


def disordered(seed: int) -> Service:
    """The first page is newest first; of the others, one object in fifty lies elsewhere."""
    service = Service([NOW - 10 - place * 60 for place in range(3_000)])
    chance = Random(seed)
    rest = service.data[100:]
    for place in range(0, len(rest) - 50, 50):
        rest.insert(chance.randrange(len(rest)), rest.pop(place))
    service.data = service.data[:100] + rest
    return service


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("at", [3, 9, 22])
def test_a_list_in_another_order_never_claims_to_be_whole_after_a_kill(tmp_path: Path, seed: int, at: int) -> None:
    """Seconds tell nothing of what was read then: it is read from the beginning, or is not complete."""
    service = disordered(seed)
    killed(service, tmp_path, at, at_once=4)
    listing, rows = read(service, tmp_path, 4)
    identifiers = [cast("JsonObject", row)["id"] for row in rows]
    assert len(identifiers) == len(set(map(str, identifiers)))
    if listing.complete:
        assert set(map(str, identifiers)) == {one["id"] for one in service.data}


@pytest.mark.parametrize("scope", ["live acct_1", "test acct_2", "test acct_1 another version"])
def test_what_was_read_elsewhere_is_not_gone_on_with(tmp_path: Path, scope: str) -> None:
    """The same request of another account, mode or API version is another list."""

    def from_scope(service: Service, name: str) -> tuple[Listing, list[JsonValue]]:
        store = ArtifactStore(tmp_path)
        sink = store.spool("run-1/charges", resumable=True)
        try:
            listing = asyncio.run(read_list(service, LIST, PLAN, ALL, sink=sink, scope=name, in_flight=lambda: 4))
            return listing, [*cast("list[JsonValue]", thaw(sink.finish(), store))]
        finally:
            sink.discard()

    first = Service([NOW - 10 - place * 60 for place in range(2_000)])
    first.kill_at = 12
    with pytest.raises(KilledError):
        from_scope(first, "test acct_1")
    other = Service([NOW - 10 - place * 60 for place in range(300)])
    listing, rows = from_scope(other, scope)
    assert (listing.complete, rows) == (True, other.data)

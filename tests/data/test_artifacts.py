"""Artifacts: what a spool keeps, what a handle gives back, and what either says when it can't."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections import UserDict
from collections.abc import Callable
from pathlib import Path

import pytest

from spojit_stripe.data import SPOOL_BYTES, ArtifactStore, LostError, StoredList, freeze, segment, thaw
from spojit_stripe.data.checkpoint import Checkpoint
from spojit_stripe.data.folders import clean
from spojit_stripe.errors import ConfigurationError, InputError, error_from_record
from spojit_stripe.expressions.bounds import is_list
from spojit_stripe.values import JsonObject

ROWS: list[JsonObject] = [
    {"id": f"ch_{number}", "amount": 2**53 + number, "note": "é\n\u2028☃"} for number in range(1000)
]


def _stored(store: ArtifactStore, rows: list[JsonObject] = ROWS, prefix: str = "run-1/charges") -> StoredList:
    spool = store.spool(prefix, threshold=0)
    spool.write(rows)
    handle = spool.finish()
    assert isinstance(handle, dict)
    return store.open(handle)


def _file(folder: Path, stored: StoredList) -> Path:
    return folder / "artifacts" / stored.description.key


def test_few_rows_come_back_as_a_list_and_touch_no_disk(store: ArtifactStore, folder: Path) -> None:
    spool = store.spool("run-1/charges")
    spool.write(ROWS[:2])
    spool.write([])
    spool.write(ROWS[2:4])
    assert spool.rows == 4
    assert spool.finish() == ROWS[:4]
    assert not folder.exists()


def test_many_rows_come_back_as_a_handle_that_tells_all_of_them(store: ArtifactStore, folder: Path) -> None:
    spool = store.spool("run-1/charges", threshold=10_000)
    for start in range(0, 1000, 100):
        spool.write(ROWS[start : start + 100])
    handle = spool.finish()
    assert isinstance(handle, dict)
    assert list(handle) == ["$artifact"]
    inner = handle["$artifact"]
    text = b"".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for row in ROWS)
    digest = hashlib.sha256(text).hexdigest()
    assert inner == {
        "store": "local",
        "key": f"run-1/charges-{digest[:12]}.ndjson",
        "rows": 1000,
        "bytes": len(text),
        "sha256": digest,
        "columns": {"id": ["string"], "amount": ["integer"], "note": ["string"]},
    }
    assert (folder / "artifacts" / "run-1" / f"charges-{digest[:12]}.ndjson").read_bytes() == text
    assert list(store.open(handle)) == ROWS
    assert list((folder / "tmp").iterdir()) == []


def test_the_threshold_is_in_bytes_of_json(store: ArtifactStore) -> None:
    row = {"text": "x" * 1000}
    fitting = store.spool("run-1/a")
    fitting.write([row] * (SPOOL_BYTES // 1012))
    assert isinstance(fitting.finish(), list)
    larger = store.spool("run-1/a")
    larger.write([row] * (SPOOL_BYTES // 1012 + 1))
    assert isinstance(larger.finish(), dict)


def test_the_same_rows_are_the_same_file(store: ArtifactStore, folder: Path) -> None:
    first = _stored(store)
    _file(folder, first).write_bytes(b"damaged")
    second = _stored(store)
    assert first.handle == second.handle
    assert list(second) == ROWS
    assert len(list((folder / "artifacts" / "run-1").iterdir())) == 1


def test_files_and_folders_are_for_their_user_alone(store: ArtifactStore, folder: Path) -> None:
    mask = os.umask(0)
    try:
        stored = _stored(store)
    finally:
        os.umask(mask)
    file = _file(folder, stored)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for one in (file.parent, file.parent.parent, folder, folder / "tmp"):
        assert stat.S_IMODE(one.stat().st_mode) == 0o700


def test_a_stored_list_is_a_list_that_is_read_where_it_is_used(store: ArtifactStore) -> None:
    stored = _stored(store)
    assert is_list(stored)
    assert len(stored) == 1000
    assert stored
    assert list(stored) == list(stored) == ROWS
    assert [stored[place] for place in (0, 999, 1, 500, 255, 256, -1, -1000)] == [
        ROWS[place] for place in (0, 999, 1, 500, 255, 256, -1, -1000)
    ]
    assert stored[10:13] == ROWS[10:13]
    assert stored[::-250] == ROWS[::-250]
    assert stored[1000:] == []
    assert ROWS[700] in stored
    assert {"id": "ch_1000"} not in stored
    assert stored.index(ROWS[3]) == 3
    assert repr(stored) == f"<1,000 rows in {stored.description.key}>"
    for place in (1000, -1001):
        with pytest.raises(IndexError, match="of 1,000"):
            stored[place]


def test_reading_by_index_goes_on_from_where_it_was(store: ArtifactStore, folder: Path) -> None:
    stored = _stored(store)
    assert stored[999] == ROWS[999]
    _file(folder, stored).rename(folder / "away")
    assert stored[998] == ROWS[998]  # of the block that was read
    with pytest.raises(ConfigurationError, match="is missing"):
        stored[1]


def test_rows_of_any_size_are_read_by_index(store: ArtifactStore) -> None:
    rows: list[JsonObject] = [{"n": number, "text": "x" * 700_000} for number in range(5)]
    stored = _stored(store, rows)
    assert [stored[place]["n"] for place in (4, 0, 3, 1, 2)] == [4, 0, 3, 1, 2]


def test_a_handle_survives_a_record_at_any_depth(store: ArtifactStore) -> None:
    stored = _stored(store)
    record = {"a": [{"data": stored.handle, "n": 1}, "text", None], "b": 1.5}
    thawed = thaw(json.loads(json.dumps(record)), store)
    assert list(thawed["a"][0]["data"]) == ROWS
    assert freeze(thawed) == record
    assert freeze(stored) == stored.handle
    assert freeze(("a", 1)) == ["a", 1]


def test_what_only_looks_like_a_handle_is_left_alone(store: ArtifactStore) -> None:
    value = {"$artifact": {"key": "x"}, "more": 1}
    assert thaw(value, store) == value


@pytest.mark.parametrize(
    "change",
    [
        {"key": "../../etc/passwd"},
        {"key": "/etc/passwd"},
        {"key": "run-1/../../x-{sha}.ndjson"},
        {"key": "run-1/.hidden-{sha}.ndjson"},
        {"key": "run-1/charges-000000000000.ndjson"},
        {"key": "run-1\\charges-{sha}.ndjson"},
        {"key": 1},
        {"rows": -1},
        {"rows": True},
        {"bytes": "9"},
        {"sha256": None},
        {"columns": {"a": "string"}},
        {"columns": {"a": ["bigint"]}},
        {"columns": []},
        {"store": 7},
    ],
)
def test_a_handle_that_was_changed_is_refused(store: ArtifactStore, change: JsonObject) -> None:
    handle = _stored(store).handle
    inner = handle["$artifact"]
    digest = inner["sha256"][:12]
    inner.update(
        {name: value.replace("{sha}", digest) if isinstance(value, str) else value for name, value in change.items()}
    )
    with pytest.raises(ConfigurationError, match="no handle of an artifact; the record was changed by hand"):
        store.open(handle)
    with pytest.raises(ConfigurationError, match="no handle"):
        thaw({"data": {"$artifact": None}}, store)


def test_a_link_out_of_the_store_is_not_followed(store: ArtifactStore, folder: Path, tmp_path: Path) -> None:
    stored = _stored(store)
    file = _file(folder, stored)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="lies outside of its store"):
        store.open(stored.handle)


def test_items_that_are_no_objects_and_rows_that_hold_lists(store: ArtifactStore) -> None:
    """The handle says which of the two its rows are; a row that is not as it says was changed."""
    inner = store.spool("run-1/inner", threshold=0)
    inner.write([{"id": "a"}, {"id": "b"}])
    rows = store.spool("run-1/rows", threshold=0, nested=True)
    rows.write([{"n": 1, "rows": inner.finish()}])
    kept = thaw(rows.finish(), store)
    assert isinstance(kept, StoredList)
    (row,) = [*kept]
    assert isinstance(row["rows"], StoredList)
    assert [*row["rows"]] == [{"id": "a"}, {"id": "b"}]
    assert freeze(kept) == kept.handle
    items = store.spool("run-1/items", threshold=0, wrapped=True)
    items.write([{"value": one} for one in ("x", 2, None, [3])])
    plain = thaw(items.finish(), store)
    assert isinstance(plain, StoredList)
    assert ([*plain], plain[-1], plain[1:3]) == (["x", 2, None, [3]], [3], [2, None])
    other = store.spool("run-1/other", threshold=0, wrapped=True)
    other.write([{"no": "value"}])
    changed = thaw(other.finish(), store)
    assert isinstance(changed, StoredList)
    with pytest.raises(ConfigurationError, match="is not what the run recorded"):
        changed[0]


def test_a_missing_or_changed_file_is_one_line(store: ArtifactStore, folder: Path) -> None:
    stored = _stored(store)
    file = _file(folder, stored)
    content = file.read_bytes()

    file.write_bytes(content.replace(b"ch_500", b"ch_5OO"))
    again = store.open(stored.handle)
    with pytest.raises(ConfigurationError, match="is not what the run recorded"):
        list(again)

    file.write_bytes(content.replace(b'{"id":"ch_500"', b'["id":"ch_500"'))
    with pytest.raises(ConfigurationError, match="is not what the run recorded"):
        list(store.open(stored.handle))

    file.write_bytes(content[:-1])
    with pytest.raises(ConfigurationError, match=r"has [\d,]+ bytes where the run recorded"):
        store.open(stored.handle)
    with pytest.raises(ConfigurationError, match="is not what the run recorded"):
        list(again)

    file.unlink()
    with pytest.raises(LostError, match="is missing; put the file back from a copy of the state folder and resume"):
        store.open(stored.handle)
    with pytest.raises(LostError, match="is missing; put the file back") as lost:
        list(stored)
    assert type(error_from_record(lost.value.to_json())) is ConfigurationError


@pytest.mark.parametrize("use", [lambda found: found[0], lambda found: next(iter(found)), lambda found: found[2:3]])
def test_no_row_is_given_of_a_file_that_was_changed_anywhere(
    store: ArtifactStore, folder: Path, use: Callable[[StoredList], object]
) -> None:
    """Not even of one that is whole up to there."""
    stored = _stored(store)
    file = _file(folder, stored)
    content = file.read_bytes()
    file.write_bytes(content.replace(b"ch_999", b"ch_9O9"))
    with pytest.raises(LostError, match="is not what the run recorded"):
        use(stored)
    file.write_bytes(content)
    use(stored)


def test_a_file_is_looked_through_once_for_all_lists_of_it(store: ArtifactStore, folder: Path) -> None:
    """The items of a loop are many, and the list that they read may be long."""
    stored = _stored(store)
    assert stored[0] == ROWS[0]
    file = _file(folder, stored)
    file.write_bytes(file.read_bytes().replace(b"ch_999", b"ch_9O9"))
    again = store.open(stored.handle)
    assert again[0] == ROWS[0]
    with pytest.raises(LostError, match="is not what the run recorded"):
        list(again)
    assert again[999]["id"] == "ch_9O9", "not looked at again, until another process does"


@pytest.mark.parametrize("change", ["cut", "other", "gone"])
def test_a_list_whose_file_changes_after_it_was_looked_at_does_not_end_early(
    store: ArtifactStore, folder: Path, change: str
) -> None:
    stored = _stored(store)
    assert stored[0] == ROWS[0]
    file = _file(folder, stored)
    content = file.read_bytes()
    if change == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:100] if change == "cut" else content.replace(b'{"id":"ch_999"', b'["id":"ch_999"'))
    with pytest.raises(LostError, match=r"is missing|is not what the run recorded"):
        stored[999]


def test_a_handle_of_another_store_is_refused(store: ArtifactStore, folder: Path) -> None:
    handle = _stored(store).handle
    with pytest.raises(LostError, match="is in store 'local', and this run has 'bucket'"):
        ArtifactStore(folder, name="bucket").open(handle)


def test_secrets_do_not_reach_the_disk(store: ArtifactStore, folder: Path) -> None:
    secret = "sk_live_" + "A1b2C3d4E5f6G7h8"
    rows: list[JsonObject] = [
        {"id": "pi_1", "client_secret": "pi_1_secret_xyz"},
        {"id": "a", "metadata": {secret: f"key {secret}"}},
        {"id": "b", "card": {"number": "4242424242424242", "exp_year": 2030, "cvc": "123"}},
        {"id": "c", "number": "INV-1", "password": "hunter2"},
    ]
    stored = _stored(store, rows)
    text = _file(folder, stored).read_text()
    for hidden in (secret, "secret_xyz", "4242424242424242", "hunter2", '"123"'):
        assert hidden not in text
    assert "INV-1" in text
    spool = store.spool("run-1/lines")
    spool.write_encoded(
        [json.dumps({"a": secret}).replace("sk_", "\\u0073k_").encode(), b' {"password" : "hunter2"}\n']
    )
    assert spool.finish() == [{"a": "sk_live_***"}, {"password": "***"}]


HOSTILE = (
    json.dumps({"a": "sk_live_" + "A1b2C3d4E5f6G7h8"}).replace("sk_", "\\u0073k_").encode(),
    b' {"password" : "hunter2"}\n',
    b'{\n"number": "4242424242424242",\r\n"exp_year": 2030}',
    b'{"note": "a\\nb\\u2028c", "id": "ch_1", "id": "ch_2"}',
)


@pytest.mark.parametrize("place", [0, 1, 98, 99, 100, 101, 249])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_lines_give_what_rows_give_wherever_a_secret_stands(
    store: ArtifactStore, folder: Path, hostile: bytes, place: int
) -> None:
    lines = [json.dumps({"id": f"ch_{number}", "exp_month": 5}, indent=2).encode() for number in range(250)]
    lines[place] = hostile
    for threshold in (0, 3_000, 1_000_000):
        by_lines, by_rows = (store.spool("run-1/a", threshold=threshold) for _ in range(2))
        by_lines.write_encoded(iter(lines))
        by_rows.write([json.loads(line) for line in lines])
        assert by_lines.rows == by_rows.rows == 250
        found = by_lines.finish()
        assert found == by_rows.finish()
        text = json.dumps(found) if isinstance(found, list) else _file(folder, store.open(found)).read_text()
        assert not any(secret in text for secret in ("A1b2C3d4", "hunter2", "42424242"))


def test_half_a_character_becomes_a_replacement(store: ArtifactStore) -> None:
    spool = store.spool("run-1/a")
    spool.write([{"a\ud800": ["x\udfff", {"b": "😀"}, 1]}])
    assert spool.finish() == [{"a\ufffd": ["x\ufffd", {"b": "😀"}, 1]}]


def test_a_row_may_hold_lists_that_are_stored(store: ArtifactStore) -> None:
    stored = _stored(store, ROWS[:2])
    spool = store.spool("run-1/a", threshold=0)
    spool.write([{"data": stored, "map": UserDict({"a": 1})}])
    handle = spool.finish()
    assert handle["$artifact"]["columns"] == {"data": ["array"], "map": ["object"]}
    assert store.open(handle)[0] == {"data": ROWS[:2], "map": {"a": 1}}
    with pytest.raises(TypeError, match="object is no JSON value"):
        store.spool("run-1/a").write([{"a": object()}])


@pytest.mark.parametrize(
    ("line", "why"), [(b"{", "no valid JSON"), (b"[1]", "no object"), (b"[" * 100_000, "no valid JSON")]
)
def test_a_line_that_is_no_object_is_refused(store: ArtifactStore, line: bytes, why: str) -> None:
    spool = store.spool("run-1/a")
    with pytest.raises(InputError, match=rf"row 2 is {why}"):
        spool.write_encoded([b"{}", line])


def test_a_spool_ends_once(store: ArtifactStore, folder: Path) -> None:
    spool = store.spool("run-1/a", threshold=0)
    spool.write(ROWS[:1])
    assert len(list((folder / "tmp").iterdir())) == 1
    spool.discard()
    spool.discard()
    assert list((folder / "tmp").iterdir()) == []
    for again in (spool.finish, lambda: spool.write(ROWS[:1]), lambda: spool.write_encoded([b"{}"])):
        with pytest.raises(RuntimeError, match="is finished"):
            again()
    empty = store.spool("run-1/b", threshold=0)
    assert empty.finish() == []


def test_more_columns_than_a_table_has_are_not_listed(store: ArtifactStore) -> None:
    stored = _stored(store, [{f"field_{number}": 1} for number in range(6_000)])
    assert stored.description.columns is None
    assert len(json.dumps(stored.handle)) < 500
    assert len(_stored(store, [{f"f{number}": 1} for number in range(1_000)]).description.columns) == 1_000


def test_columns_tell_every_kind_that_was_seen(store: ArtifactStore) -> None:
    rows: list[JsonObject] = [{"a": 1}, {"a": None, "b": 1.5}, {"a": "x"}, {"a": []}, {"a": {}}, {"a": True}]
    assert _stored(store, rows).description.columns == {
        "a": ["array", "boolean", "integer", "null", "object", "string"],
        "b": ["number"],
    }


def test_a_folder_that_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    spool = ArtifactStore(blocked).spool("run-1/a", threshold=0)
    with pytest.raises(
        ConfigurationError, match=r"can't keep a result in .*make room or choose another folder with --state"
    ):
        spool.write(ROWS[:1])


def test_a_full_disk_is_one_line_and_leaves_nothing(store: ArtifactStore, folder: Path) -> None:
    spool = store.spool("run-1/a", threshold=0)
    spool.write(ROWS[:1])
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, spool._stream.fileno())
    os.close(full)
    with pytest.raises(ConfigurationError, match=r"can't keep a result in .*: No space left on device; make room"):
        spool.write(ROWS * 100)
    assert list((folder / "tmp").iterdir()) == []
    last = store.spool("run-1/b", threshold=0)
    last.write(ROWS[:1])
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, last._stream.fileno())
    os.close(full)
    with pytest.raises(ConfigurationError, match="No space left on device"):
        last.finish()
    assert list((folder / "tmp").iterdir()) == []
    assert not (folder / "artifacts").exists()


@pytest.mark.parametrize("half", [b"", b'{"half a row'])
@pytest.mark.parametrize("held", [0, 5_000, 12_000])
def test_a_checkpoint_makes_room_for_its_list(store: ArtifactStore, folder: Path, held: int, half: bytes) -> None:
    """On a full disk. `held` bytes were taken before and lie in part in memory, or `half` of the next got there."""
    first = [{"text": "x" * (held - 11)}] if held else []

    class Roomy(Checkpoint):
        def remove(self) -> None:
            there = [*(folder / "tmp").glob("read-*")]
            super().remove()
            if there:
                os.write(real, half)
                os.dup2(real, spool._stream.fileno())

    spool = store.spool("run-1/a", threshold=0, resumable=True)
    spool.checkpoint = checkpoint = Roomy(folder / "tmp" / "read-1")
    checkpoint.open("a", 5)
    checkpoint.note(1, {"x": 1}, [b"{}"], [])
    spool.write(first)
    spool.write(ROWS[:1])
    assert spool._stream is not None
    if half:
        spool._stream.flush()
    real = os.dup(spool._stream.fileno())
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, spool._stream.fileno())
    os.close(full)
    for start in range(1, 1000, 100):
        spool.write_encoded([json.dumps(row).encode() for row in ROWS[start : start + 100]])
    assert not [*(folder / "tmp").glob("read-*")]
    handle = spool.finish()
    os.close(real)
    assert isinstance(handle, dict)
    assert [*store.open(handle)] == [*first, *ROWS]


def test_what_a_crash_left_is_removed_a_day_later(folder: Path) -> None:
    drafts = folder / "tmp"
    (drafts / "sql-old").mkdir(parents=True)
    (drafts / "sql-old" / "tables.db").write_text("x")
    (drafts / "spool-old.ndjson").write_text("x")
    (drafts / "spool-new.ndjson").write_text("x")
    for name in ("sql-old", "spool-old.ndjson"):
        os.utime(drafts / name, (0, 0))
    ArtifactStore(folder)
    assert [one.name for one in drafts.iterdir()] == ["spool-new.ndjson"]
    clean(drafts, now=2**40)
    assert list(drafts.iterdir()) == []
    clean(folder / "nowhere")


def test_prune_removes_a_run_and_no_other(store: ArtifactStore, folder: Path) -> None:
    mine = [_stored(store, prefix=prefix) for prefix in ("run-1/charges", "run-1/loop/3/charges", "run-1/chargesmore")]
    other = [_stored(store, prefix=prefix) for prefix in ("run-10/charges", f"{segment('run-1/x')}/charges")]
    size = mine[0].description.bytes
    assert store.prune("run-1/charges") == size
    assert [one.description.key.split("/", 1)[1][:5] for one in mine if _file(folder, one).exists()] == [
        "loop/",
        "charg",
    ]
    assert store.prune("run-1") == 2 * size
    assert store.prune("run-1") == 0
    assert not any(_file(folder, one).exists() for one in mine)
    assert not (folder / "artifacts" / "run-1").exists()
    assert [list(store.open(one.handle)) for one in other] == [ROWS, ROWS]


@pytest.mark.parametrize("prefix", ["", "/", "//"])
def test_an_empty_prefix_is_refused_before_it_prunes_everything(store: ArtifactStore, prefix: str) -> None:
    with pytest.raises(InputError, match="prefix is empty"):
        store.prune(prefix)
    with pytest.raises(InputError, match="prefix is empty"):
        store.spool(prefix)


@pytest.mark.parametrize(
    "prefix",
    [
        "../../etc/x",
        "a/../../b",
        ".hidden",
        "c:\\x",
        "a\x00b",
        "ü ☃",
        "a" * 5000,
        "run=1",
        "*",
        "\ud800",
        "a//b",
        "-rf",
        "é" * 90,
    ],
)
def test_any_text_is_a_prefix_and_stays_inside(store: ArtifactStore, folder: Path, prefix: str) -> None:
    stored = _stored(store, prefix=prefix)
    assert _file(folder, stored).resolve().is_relative_to((folder / "artifacts").resolve())
    assert list(store.open(stored.handle)) == ROWS
    assert store.prune(prefix) == stored.description.bytes


def test_different_texts_are_different_segments() -> None:
    texts = ["a/b", "a=2Fb", "a b", "A", "a", ".", "..", "=2E", "", "=", "x" * 200, "x" * 201, "é" * 50, "é" * 51]
    assert len({segment(text).lower() if text != "A" else segment(text) for text in texts}) == len(texts)
    assert all("/" not in segment(text) and not segment(text).startswith(".") for text in texts)
    assert max(len(segment(text)) for text in texts) <= 100


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_a_store_elsewhere_works_the_same(tmp_path: Path, folder: Path, scheme: str) -> None:
    url = "memory://bucket/base" if scheme == "memory" else (tmp_path / "other place").as_uri()
    store = ArtifactStore(folder, name="bucket", url=url)
    stored = _stored(store)
    other = _stored(store, prefix="run-10/charges")
    assert stored.handle["$artifact"]["store"] == "bucket"
    assert list(stored) == ROWS
    assert stored[500] == ROWS[500]
    assert not (folder / "artifacts").exists()
    assert [*(folder / "tmp").iterdir()] == []
    fetched = stored.fetch(tmp_path)
    assert hashlib.sha256(fetched.read_bytes()).hexdigest() == stored.description.sha256
    assert store.prune("run-1") == stored.description.bytes
    assert list(store.open(other.handle)) == ROWS
    with pytest.raises(ConfigurationError, match="is missing"):
        store.open(stored.handle)
    with pytest.raises(ConfigurationError, match="is missing"):
        list(stored)
    with pytest.raises(ConfigurationError, match="is missing"):
        stored.fetch(tmp_path)
    assert store.prune("run-10/charges") == other.description.bytes


@pytest.mark.parametrize("url", ["nosuch://user:hunter2@host/x", "s3://user:hunter2@bucket/x"])
def test_a_store_that_can_not_be_reached_is_one_line_without_its_url(folder: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"can't reach artifact store 'bucket': \w+; check its URL") as caught:
        ArtifactStore(folder, name="bucket", url=url)
    assert "hunter2" not in str(caught.value)

from __future__ import annotations

import pytest

from tests.kit import snapshot_bytes as w
from tests.kit.objects import MemoryStore
from tidegate.clients.s3 import S3Uri
from tidegate.errors import SnapshotIncomplete, SnapshotUnreadable, SnapshotUnsupported, Unavailable
from tidegate.snapshot.checkpoints import completed_checkpoints, newest_verified
from tidegate.snapshot.files import read_snapshot, referenced_files, verify
from tidegate.snapshot.metadata import parse

DIR = "s3://b/ck/job/chk-7"


def _metadata(path: str = "s3://b/ck/job/shared/1", checkpoint_id: int = 7) -> bytes:
    keyed = w.incremental(
        w.relative("meta", 4), {"1.sst": w.file(path, 10)}, {"M": w.file("s3a://b/ck/job/shared/m", -1)}
    )
    same = w.incremental(w.relative("meta", 4), {"1.sst": w.file(path, 10)})
    state = w.operator_state({"s": [1]}, w.inline(b"x", "s3://b/ck/job/chk-7/ghost"))
    subtasks = [w.subtask(0, managed=state, keyed=keyed), w.subtask(1, keyed=same)]
    return w.metadata(w.operator("op", subtasks), checkpoint_id=checkpoint_id)


async def _whole() -> MemoryStore:
    store = MemoryStore()
    await store.put(f"{DIR}/_metadata", _metadata())
    await store.put(f"{DIR}/meta", bytes(4))
    await store.put("s3://b/ck/job/shared/1", bytes(10))
    await store.put("s3://b/ck/job/shared/m", bytes(99))
    await store.put("s3://b/ck/job/shared/other", bytes(5))
    return store


def test_files_are_named_once_and_inline_state_is_none():
    refs = referenced_files(parse(_metadata()), DIR)
    assert [(str(ref.uri), ref.size) for ref in refs] == [
        (f"{DIR}/meta", 4),
        ("s3://b/ck/job/shared/1", 10),
        ("s3a://b/ck/job/shared/m", None),
    ]


def test_relative_files_lie_beside_the_metadata_that_is_read():
    refs = referenced_files(parse(_metadata()), "s3p://other/place")
    assert str(refs[-1].uri) == "s3p://other/place/meta"


@pytest.mark.parametrize("location", [DIR, f"{DIR}/", f"{DIR}/_metadata", "s3p://b/ck/job/chk-7"])
async def test_i3_a_whole_snapshot_is_verified_by_directory_or_file(location: str):
    store = await _whole()
    verified = await verify(store, location)
    assert (verified.metadata.checkpoint_id, verified.files) == (7, 4)
    assert verified.bytes == len(_metadata()) + 4 + 10 + 99
    assert verified.snapshot.directory == S3Uri.parse(DIR)
    assert [op for op, _ in store.calls].count("list") == 2
    assert "head" not in {op for op, _ in store.calls}


@pytest.mark.parametrize("gone", [f"{DIR}/meta", "s3://b/ck/job/shared/1", "s3://b/ck/job/shared/m"])
async def test_i3_a_missing_file_is_named(gone: str):
    store = await _whole()
    await store.delete(gone)
    with pytest.raises(SnapshotIncomplete, match=r"1 of 3 files.*is missing") as raised:
        await verify(store, DIR)
    (named,) = raised.value.details["files"]  # type: ignore[misc]
    assert S3Uri.parse(named["uri"]) == S3Uri.parse(gone)
    assert named["found"] is None


async def test_i3_a_file_of_another_size_is_named_with_both_sizes():
    store = await _whole()
    await store.put("s3://b/ck/job/shared/1", bytes(9))
    with pytest.raises(SnapshotIncomplete, match="has 9 bytes instead of 10") as raised:
        await verify(store, DIR)
    assert raised.value.details["files"] == [{"uri": "s3://b/ck/job/shared/1", "expected": 10, "found": 9}]


async def test_a_name_that_only_begins_the_same_is_not_the_file():
    store = await _whole()
    await store.delete("s3://b/ck/job/shared/1")
    await store.put("s3://b/ck/job/shared/10", bytes(10))
    await store.put("s3://b/ck/job/shared/sub/1", bytes(10))
    with pytest.raises(SnapshotIncomplete):
        await verify(store, DIR)


async def test_two_sizes_for_one_file_cannot_both_be_right():
    keyed = w.incremental(w.relative("f", 4), {"1": w.relative("f", 5)})
    store = MemoryStore()
    await store.put(f"{DIR}/_metadata", w.metadata(w.operator("op", [w.subtask(0, keyed=keyed)])))
    await store.put(f"{DIR}/f", bytes(5))
    with pytest.raises(SnapshotIncomplete, match="has 5 bytes instead of 4"):
        await verify(store, DIR)


async def test_no_metadata_is_no_snapshot_and_bad_ones_say_why():
    store = MemoryStore()
    with pytest.raises(SnapshotIncomplete, match="it has no _metadata"):
        await verify(store, DIR)
    await store.put(f"{DIR}/_metadata", b"")
    with pytest.raises(SnapshotUnreadable):
        await read_snapshot(store, DIR)
    await store.put(f"{DIR}/_metadata", _metadata("hdfs://nn/ck/1"))
    with pytest.raises(SnapshotUnsupported, match="hdfs://nn/ck/1"):
        await verify(store, DIR)


async def test_what_the_store_cannot_say_is_unavailable_not_incomplete():
    store = await _whole()

    async def broken(op: str, uri: S3Uri) -> None:
        if op == "list":
            raise Unavailable("no")

    store.before = broken
    with pytest.raises(Unavailable):
        await verify(store, DIR)


async def _checkpoints() -> MemoryStore:
    store = await _whole()
    for n in (9, 10, 8):
        await store.put(f"s3://b/ck/job/chk-{n}/_metadata", _metadata(checkpoint_id=n))
        await store.put(f"s3://b/ck/job/chk-{n}/meta", bytes(4))
    await store.put("s3://b/ck/job/chk-11/meta", bytes(4))  # not completed
    await store.put("s3://b/ck/job/chk-12/deep/_metadata", b"")
    await store.put("s3://b/ck/job/chk-x/_metadata", b"")
    await store.put("s3://b/ck/job2/chk-99/_metadata", b"")
    return store


async def test_x9_completed_checkpoints_are_those_with_metadata_newest_first_by_number():
    store = await _checkpoints()
    found = await completed_checkpoints(store, "s3://b/ck", "job")
    assert [(ref.id, str(ref.location)) for ref in found] == [(n, f"s3://b/ck/job/chk-{n}") for n in (10, 9, 8, 7)]
    assert await completed_checkpoints(store, "s3://b/ck/", "jo") == []
    assert await newest_verified(store, "s3://b/ck", "none") is None


async def test_i3_the_newest_that_is_whole_is_taken_and_what_was_passed_over_is_said():
    store = await _checkpoints()
    newest = await newest_verified(store, "s3://b/ck", "job")
    assert newest is not None
    assert (newest.ref.id, newest.verified.metadata.checkpoint_id, newest.skipped) == (10, 10, ())
    await store.delete("s3://b/ck/job/chk-10/meta")
    await store.put("s3://b/ck/job/chk-9/_metadata", b"damaged")
    newest = await newest_verified(store, "s3://b/ck", "job")
    assert newest is not None
    assert newest.ref.id == 8
    assert [(ref.id, type(error)) for ref, error in newest.skipped] == [
        (10, SnapshotIncomplete),
        (9, SnapshotUnreadable),
    ]


async def test_i3_none_that_is_whole_is_an_error_not_an_empty_answer():
    store = await _checkpoints()
    await store.delete("s3://b/ck/job/shared/1")
    with pytest.raises(SnapshotIncomplete, match="chk-10") as raised:
        await newest_verified(store, "s3://b/ck", "job")
    assert raised.value.details["skipped"] == 4

"""Snapshots that Flink 2.2.0 wrote for the ledger, against what REST, the broker and the S3 listing said of them.

tests/integration/snapshot/make_vectors.py made them.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import tracemalloc
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.objects import MemoryStore
from tidegate.clients.s3 import S3Uri
from tidegate.errors import SnapshotError, SnapshotIncomplete, SnapshotUnreadable, SnapshotUnsupported
from tidegate.snapshot.edit import drop_operators, drop_sink_state, place_copy, splice, with_absolute_paths
from tidegate.snapshot.files import Snapshot, read_snapshot, referenced_files, verify
from tidegate.snapshot.handles import InlineHandle
from tidegate.snapshot.metadata import committer_uid_of, operator_id_of, parse, serialize
from tidegate.snapshot.positions import kafka_positions
from tidegate.snapshot.reader import read_parts
from tidegate.snapshot.sinks import CommitState, Ownership, committables, writer_states
from tidegate.snapshot.writer import write_parts

DATA = Path(__file__).parents[2] / "data" / "snapshots"
READ = sorted(path.name for path in DATA.iterdir() if not path.name.startswith("refused-"))
WITH_STATE = [name for name in READ if name != "checkpoint-file-merging"]
"""Those whose operator state is inline or kept beside."""


@cache
def metadata_bytes(name: str) -> bytes:
    return (DATA / name / "_metadata").read_bytes()


@cache
def expected(name: str) -> dict[str, Any]:
    return json.loads((DATA / name / "expected.json").read_text())


async def store_of(name: str) -> MemoryStore:
    """The objects of the listing, at their sizes; those whose content is kept, with it."""
    at = expected(name)["location"]
    kept = DATA / name / "files.json"
    files = json.loads(kept.read_text()) if kept.exists() else {}
    content = {f"{at}/{file}": base64.b64decode(text) for file, text in files.items()}
    content[f"{at}/_metadata"] = metadata_bytes(name)
    store = MemoryStore()
    for uri, size in expected(name)["listing"].items():
        await store.put(uri, content.get(uri, bytes(size)))
    return store


@pytest.mark.parametrize("name", [path.name for path in DATA.iterdir()])
def test_read_and_written_unchanged_is_the_same_file(name: str):
    data = metadata_bytes(name)
    metadata = parse(data)
    assert serialize(metadata) == data
    assert b"".join(write_parts(read_parts(io.BytesIO(data), window_bytes=64))) == data


def test_there_are_vectors_of_every_kind_that_is_read():
    kinds = {
        "savepoint-native",
        "checkpoint-incremental",
        "checkpoint-full",
        "savepoint-native-files",
        "checkpoint-file-merging",
    }
    assert kinds <= set(READ)
    assert all(len(metadata_bytes(name)) < 50_000 for name in READ)


@pytest.mark.parametrize("name", READ)
def test_metadata_is_what_rest_said(name: str):
    metadata, said = parse(metadata_bytes(name)), expected(name)
    assert (metadata.version, metadata.checkpoint_id) == (6, said["checkpoint"]["id"])
    assert metadata.is_savepoint is said["savepoint"] is said["checkpoint"]["is_savepoint"]
    uids = {operator.uid for operator in metadata.operators}
    assert uids == {said["source_uid"], "balance", said["sink_uid"], committer_uid_of(said["sink_uid"])}
    for operator in metadata.operators:
        assert operator.operator_id == operator_id_of(operator.uid or "")
        assert metadata.operator_of_uid(operator.uid or "") is operator
        assert (operator.parallelism, operator.max_parallelism, sorted(operator.subtasks)) == (2, 128, [0, 1])


@pytest.mark.parametrize("name", READ)
def test_sizes_of_all_handles_add_up_to_rests_state_size(name: str):
    total = 0
    for _, subtask in parse(metadata_bytes(name)).subtask_states():
        for handle in subtask.streams():
            total += len(handle.data) if isinstance(handle, InlineHandle) else handle.size or 0
    assert total == expected(name)["checkpoint"]["state_size"]


@pytest.mark.parametrize("name", READ)
async def test_i3_it_is_verified_and_each_file_that_goes_missing_is_named(name: str):
    store, said = await store_of(name), expected(name)
    verified = await verify(store, said["location"])
    beside = {S3Uri.parse(uri) for uri in said["listing"] if uri.startswith(f"{said['location']}/")}
    refs = referenced_files(verified.metadata, said["location"])
    needed = {ref.uri for ref in refs} | {S3Uri.parse(f"{said['location']}/_metadata")}
    assert beside <= needed  # nothing lies in a snapshot's own directory that it does not name
    assert verified.files == len(needed)
    assert verified.bytes == sum(size for uri, size in said["listing"].items() if S3Uri.parse(uri) in needed)
    for ref in refs:
        removed = store.objects.pop(ref.uri)
        with pytest.raises(SnapshotIncomplete) as raised:
            await verify(store, said["location"])
        assert raised.value.details["files"] == [{"uri": str(ref.uri), "expected": ref.size, "found": None}]
        store.objects[ref.uri] = removed


@pytest.mark.parametrize("name", WITH_STATE)
async def test_x1_positions_are_how_far_the_committed_output_goes(name: str):
    store, said = await store_of(name), expected(name)
    found = await kafka_positions(store, await read_snapshot(store, said["location"]))
    positions = {str(partition): offset for (_, partition), offset in found[said["source_uid"]].items()}
    assert {topic for topic, _ in found[said["source_uid"]]} == {said["topic"]}
    assert positions == said["effects"]


@pytest.mark.parametrize("name", WITH_STATE)
async def test_x1_x3_committables_are_transactions_that_the_broker_knows(name: str):
    store, said = await store_of(name), expected(name)
    found = await committables(store, await read_snapshot(store, said["location"]))
    newest = said["checkpoint"]["id"]
    intervals = [[c.checkpoint_id for c in found if c.subtask == subtask] for subtask in (0, 1)]
    assert intervals[0] == intervals[1] == list(range(intervals[0][0], newest + 1))
    for committable in found:
        assert committable.transactional_id.startswith(said["prefix"])
        broker = said["transactions"][committable.transactional_id]
        assert committable.producer_id == broker["producer_id"]
        assert broker["producer_epoch"] - committable.producer_epoch in (0, 1)  # a commit may raise it by one
        assert broker["state"] in ("CompleteCommit", "Ongoing", "PrepareCommit")
        assert committable.sink_uid == said["sink_uid"]
        assert (committable.state, committable.pending) == (CommitState.RECEIVED, True)


async def test_x1_a_savepoint_that_overtook_a_checkpoint_holds_both_intervals():
    """Checkpoint 5 was not notified when savepoint 6 was taken: its outputs are 6's to commit too."""
    store, said = await store_of("savepoint-canonical"), expected("savepoint-canonical")
    found = await committables(store, await read_snapshot(store, said["location"]))
    assert [(c.subtask, c.checkpoint_id) for c in found] == [(0, 5), (0, 6), (1, 5), (1, 6)]


@pytest.mark.parametrize("name", WITH_STATE)
async def test_x13_writers_state_has_the_prefix_and_how_names_are_made(name: str):
    store, said = await store_of(name), expected(name)
    found = await writer_states(store, await read_snapshot(store, said["location"]))
    assert [(w.subtask, w.prefix, w.ownership) for w in found] == [
        (n, said["prefix"], Ownership.IMPLICIT_BY_SUBTASK_ID) for n in (0, 1)
    ]
    assert [(w.owned_subtask_id, w.total_owned) for w in found] == [(0, 2), (1, 2)]


@pytest.mark.parametrize("name", READ)
def test_read_and_written_unchanged_is_the_same_bytes(name: str):
    data = metadata_bytes(name)
    metadata = parse(data)
    assert splice(data, ((handle.span, handle.span.of(data)) for handle in metadata.streams())) == data
    assert drop_operators(data, [])[0] == data


@pytest.mark.parametrize("name", WITH_STATE)
async def test_x12_the_copy_without_sink_state_keeps_all_else(name: str):
    store, said = await store_of(name), expected(name)
    source = await read_snapshot(store, said["location"])
    edited, dropped = drop_sink_state(metadata_bytes(name))
    location = await place_copy(store, source, "s3://east/copies/one", edited)
    copy = await read_snapshot(store, location)
    assert sorted((d.sink_uid, d.subtask, d.state, d.elements) for d in dropped.states) == [
        (said["sink_uid"], n, state, 1)
        for n in (0, 1)
        for state in ("streaming_committer_raw_states", "writer_raw_states")
    ]
    assert await committables(store, copy) == []
    assert await writer_states(store, copy) == []
    assert await kafka_positions(store, copy) == await kafka_positions(store, source)
    assert (await verify(store, location)).files == (await verify(store, said["location"])).files
    assert referenced_files(copy.metadata, location) == referenced_files(source.metadata, said["location"])


@pytest.mark.parametrize("name", READ)
def test_x27_an_operator_is_cut_out_and_the_rest_stays(name: str):
    data = metadata_bytes(name)
    edited, _ = drop_operators(data, [operator_id_of("balance")])
    before, after = parse(data), parse(edited)
    kept = [operator for operator in before.operators if operator.uid != "balance"]
    assert [o.span.of(edited) for o in after.operators] == [o.span.of(data) for o in kept]
    assert after.tail.of(edited) == before.tail.of(data)


async def test_compressed_operator_state_is_refused_where_it_would_be_read():
    metadata = parse(metadata_bytes("refused-compressed"))
    snapshot = Snapshot(S3Uri.parse("s3://east/x/_metadata"), metadata)
    for read in (committables, writer_states, kafka_positions):
        with pytest.raises(SnapshotUnsupported, match="Snappy"):
            await read(MemoryStore(), snapshot)


def _use(data: bytes) -> None:
    """All that is done with bytes that nobody vouches for. Only SnapshotError may come out."""
    try:
        metadata = parse(data)
        drop_sink_state(data)
        referenced_files(metadata, "s3://b/dir")
        with_absolute_paths(metadata, "s3://b/dir")
        snapshot = Snapshot(S3Uri.parse("s3://b/dir/_metadata"), metadata)
        for read in (committables, writer_states, kafka_positions):
            asyncio.run(read(MemoryStore(), snapshot))
    except SnapshotError:
        pass


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(metadata_bytes(draw(st.sampled_from(READ))))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["byte", "number", "insert", "cut", "end", "swap"])):
            case "byte":
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "number":
                data[at : at + 4] = draw(st.integers(-(1 << 31), (1 << 31) - 1)).to_bytes(4, "big", signed=True)
            case "insert":
                data[at:at] = draw(st.binary(max_size=16))
            case "cut":
                del data[at : at + draw(st.integers(1, 64))]
            case "end":
                del data[at:]
            case _:
                other = metadata_bytes(draw(st.sampled_from(READ)))
                data[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data)


@settings(max_examples=400, deadline=None)
@given(damaged())
def test_damage_gives_a_snapshot_error_and_nothing_else(data: bytes):
    _use(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_after_the_header_give_a_snapshot_error(rest: bytes):
    with pytest.raises(SnapshotError):
        parse(metadata_bytes(READ[0])[:20] + rest)


def test_a_huge_number_anywhere_allocates_nothing_huge():
    data = metadata_bytes("savepoint-native-files")
    tracemalloc.start()
    try:
        for at in range(0, len(data) - 4, 3):
            try:
                parse(data[:at] + b"\x7f\xff\xff\xff" + data[at + 4 :])
            except SnapshotError:
                continue
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize("name", READ)
def test_every_truncation_is_refused(name: str):
    data = metadata_bytes(name)
    for length in range(0, len(data), max(len(data) // 400, 1)):
        with pytest.raises(SnapshotUnreadable):
            parse(data[:length])

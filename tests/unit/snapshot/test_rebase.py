"""Rebase, on snapshots that Flink wrote and on ones made by hand: what is moved, and that nothing else is (X12)."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import pytest

from tests.kit import snapshot_bytes as w
from tests.kit.objects import MemoryStore
from tests.unit.snapshot.test_vectors import WITH_STATE, expected, store_of
from tidegate.errors import InvalidInput, Refused, SnapshotUnsupported
from tidegate.snapshot.files import Snapshot, read_snapshot
from tidegate.snapshot.kafkastate import NO_STOPPING_OFFSET, Split, moved_enumerator
from tidegate.snapshot.metadata import parse
from tidegate.snapshot.positions import kafka_positions
from tidegate.snapshot.rebase import Rebased, RebaseWish, Translated, rebase
from tidegate.snapshot.sinks import committables, writer_states

ANYWHERE = 1 << 40
SOURCE = "payments-source"


class Everywhere(Mapping[tuple[str, int], tuple[int, int]]):
    """Every partition is there, and its log is long."""

    def __getitem__(self, key: tuple[str, int]) -> tuple[int, int]:
        return 0, ANYWHERE

    def __iter__(self):
        return iter(())

    def __len__(self) -> int:
        return 0


def _same(topic: str, partition: int, offset: int) -> Translated:
    return Translated(offset)


def _plus(n: int, replays: int = 0):
    return lambda topic, partition, offset: Translated(offset + n, replays)


def _copy(snapshot: Snapshot, rebased: Rebased) -> Snapshot:
    return Snapshot(snapshot.metadata_uri, parse(rebased.data))


async def _vector(name: str) -> tuple[MemoryStore, Snapshot]:
    store = await store_of(name)
    return store, await read_snapshot(store, expected(name)["location"])


@pytest.mark.parametrize("name", WITH_STATE)
async def test_positions_are_moved_topics_renamed_and_nothing_else(name: str):
    store, snapshot = await _vector(name)
    topic = expected(name)["topic"]
    before = (await kafka_positions(store, snapshot))[SOURCE]
    wish = RebaseWish(_plus(1_000, replays=3), Everywhere(), topics={topic: f"east.{topic}"})
    rebased = await rebase(store, snapshot, wish)
    copy = _copy(snapshot, rebased)
    after = (await kafka_positions(store, copy))[SOURCE]
    assert after == {(f"east.{of}", n): offset + 1_000 for (of, n), offset in before.items()}
    assert await committables(store, copy) == []
    assert await writer_states(store, copy) == await writer_states(store, snapshot)
    assert rebased.replays == 3 * len(before)
    coordinator = copy.metadata.operator_of_uid(SOURCE).coordinator
    assert topic.encode() in coordinator.data
    assert coordinator.data.count(f"east.{topic}".encode()) == coordinator.data.count(topic.encode())
    # Back again, it is the same file but for what was dropped.
    back = await rebase(store, copy, RebaseWish(_plus(-1_000), Everywhere(), topics={f"east.{topic}": topic}))
    plain = await rebase(store, snapshot, RebaseWish(_same, Everywhere()))
    if all(handle_is_inline(one) for one in (snapshot, copy)):
        assert back.data == plain.data


def handle_is_inline(snapshot: Snapshot) -> bool:
    operator = snapshot.metadata.operator_of_uid(SOURCE)
    handles = [subtask.managed_operator for subtask in operator.subtasks.values()]
    return all(handle is None or hasattr(handle.stream, "content") for handle in handles)


@pytest.mark.parametrize("name", WITH_STATE)
async def test_where_nothing_is_moved_only_committables_are_dropped(name: str):
    store, snapshot = await _vector(name)
    original = snapshot.metadata.data
    rebased = await rebase(store, snapshot, RebaseWish(_same, Everywhere()))
    listed = await committables(store, snapshot)
    removed = sum(8 * state.elements for state in rebased.dropped.states)
    assert len(rebased.data) == len(original) - removed
    assert {state.state for state in rebased.dropped.states} <= {"streaming_committer_raw_states"}
    assert len(listed) == 0 or rebased.dropped.states
    assert snapshot.metadata.data == original


@pytest.mark.parametrize("name", WITH_STATE)
async def test_x12_a_fork_has_neither_committables_nor_writers_state(name: str):
    store, snapshot = await _vector(name)
    rebased = await rebase(store, snapshot, RebaseWish(_same, Everywhere(), fork=True))
    copy = _copy(snapshot, rebased)
    assert await committables(store, copy) == []
    assert await writer_states(store, copy) == []
    named = {(state.sink_uid, state.state) for state in rebased.dropped.states}
    assert ("balances-sink", "writer_raw_states") in named


async def test_an_operator_is_cut_by_uid_and_an_unknown_one_is_named():
    store, snapshot = await _vector("savepoint-native")
    uid = next(one.uid for one in snapshot.metadata.operators if one.uid and one.uid != SOURCE)
    rebased = await rebase(store, snapshot, RebaseWish(_same, Everywhere(), cut=(uid,)))
    assert parse(rebased.data).operator_of_uid(uid) is None
    assert len(rebased.dropped.operators) == 1
    with pytest.raises(InvalidInput, match="no operator nobody; it has"):
        await rebase(store, snapshot, RebaseWish(_same, Everywhere(), cut=("nobody",)))


@pytest.mark.parametrize(("start", "end", "ok"), [(10, 50, True), (50, 60, True), (51, 60, False), (0, 49, False)])
async def test_a_position_outside_of_the_targets_log_is_refused(start: int, end: int, ok: bool):
    store, snapshot = await _by_hand([Split("t", 0, 50)])
    wish = RebaseWish(_same, {("t", 0): (start, end)})
    if ok:
        await rebase(store, snapshot, wish)
        return
    with pytest.raises(Refused, match=r"t-0 at 50 would be t-0 at 50, outside of the target's log .* silently jump"):
        await rebase(store, snapshot, wish)


async def test_a_partition_that_the_target_does_not_have_is_refused():
    store, snapshot = await _by_hand([Split("t", 3, 50)])
    with pytest.raises(Refused, match="the target has no partition 3 of t"):
        await rebase(store, snapshot, RebaseWish(_same, {("t", 0): (0, 100)}))


@pytest.mark.parametrize("marker", [-1, -3])
async def test_a_marker_that_means_another_place_elsewhere_is_refused(marker: int):
    store, snapshot = await _by_hand([Split("t", 0, marker)])
    with pytest.raises(Refused, match=f"stands at marker {marker}"):
        await rebase(store, snapshot, RebaseWish(_same, Everywhere()))


async def test_what_stands_behind_a_split_that_grows_is_still_found():
    """Several splits and another state in one stream: every offset moves with its element."""
    splits = [Split("t", n, 10 * n) for n in range(4)]
    store, snapshot = await _by_hand(splits, other=w.versioned(0, b"kept"))
    wish = RebaseWish(_plus(5), Everywhere(), topics={"t": "a-much-longer-name"})
    copy = _copy(snapshot, await rebase(store, snapshot, wish))
    assert (await kafka_positions(store, copy))["src"] == {("a-much-longer-name", n): 10 * n + 5 for n in range(4)}
    handle = next(iter(copy.metadata.operators)).subtasks[0].managed_operator
    (offset,) = handle.state("other").offsets
    assert handle.stream.data[offset:] == w.versioned(0, b"kept")


async def _by_hand(splits: list[Split], other: bytes = b"") -> tuple[MemoryStore, Snapshot]:
    elements = [w.versioned(0, _split(split)) for split in splits] + ([other] if other else [])
    stream, offsets = w.state_stream(elements)
    states = {"SourceReaderState": offsets[: len(splits)]} | ({"other": offsets[len(splits) :]} if other else {})
    enumerator = _enumerator(2, [(split.topic, split.partition) for split in splits])
    body = w.metadata(
        w.operator(
            "src",
            [w.subtask(0, managed=w.operator_state(states, w.inline(stream)))],
            coordinator=w.inline(enumerator),
        )
    )
    store = MemoryStore()
    await store.put("s3://b/sp/_metadata", body)
    return store, await read_snapshot(store, "s3://b/sp")


def _split(split: Split) -> bytes:
    return w.utf(split.topic) + w.i32(split.partition) + w.i64(split.offset) + w.i64(split.stopping)


def _enumerator(version: int, partitions: list[tuple[str, int]], offsets: tuple[int, ...] = ()) -> bytes:
    body = w.i32(len(partitions))
    if version == 3:
        body += w.i32(0)
    for n, (topic, partition) in enumerate(partitions):
        if version == 3:
            split = _split(Split(topic, partition, offsets[n]))
            body += w.i32(len(split)) + split + w.i32(n % 2)
        else:
            body += w.utf(topic) + w.i32(partition) + (w.i32(n % 2) if version == 2 else b"")
    body += b"\x01" if version > 1 else b""
    return w.i32(1) + w.i32(version) + w.i32(len(body)) + body


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_enumerators_state_in_each_version(version: int):
    partitions = [("t", 0), ("t", 1), ("u", 0)]
    before = _enumerator(version, partitions, (7, 8, 9))
    seen: list[tuple[Split, bool]] = []

    def move(split: Split, is_read: bool) -> Split:
        seen.append((split, is_read))
        return Split(split.topic.replace("t", "moved"), split.partition, split.offset + 100, split.stopping)

    after = moved_enumerator(before, move)
    renamed = [("moved", 0), ("moved", 1), ("u", 0)]
    # Assigned ones keep the offset at which they once began: nobody reads from there.
    assert after == _enumerator(version, renamed, (7, 108, 9))
    assert [is_read for _, is_read in seen] == ([False, True, False] if version == 3 else [False] * 3)


def test_another_enumerator_is_refused():
    with pytest.raises(SnapshotUnsupported, match="an enumerator's state of version 9"):
        moved_enumerator(w.i32(1) + w.i32(9) + w.i32(0), lambda split, is_read: split)


def test_a_stopping_offset_is_part_of_a_split():
    assert struct.unpack(">q", _split(Split("t", 0, 1))[-8:]) == (NO_STOPPING_OFFSET,)

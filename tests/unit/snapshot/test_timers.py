"""X28: which keyed states and timers a snapshot has, read from real ones, in bounded reads, and never guessed."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit import snapshot_bytes as w
from tests.kit.objects import MemoryStore
from tests.unit.snapshot.test_vectors import expected, store_of
from tidegate.clients.objects import S3Uri
from tidegate.errors import SnapshotError, SnapshotUnreadable, SnapshotUnsupported
from tidegate.snapshot import keyedstates
from tidegate.snapshot.files import Snapshot, read_snapshot
from tidegate.snapshot.handles import IncrementalHandle, InlineHandle, KeyGroupsHandle
from tidegate.snapshot.keyedstates import KeyedStates, keyed_states
from tidegate.snapshot.metadata import Metadata, parse
from tidegate.snapshot.rocksmanifest import files_by_family
from tidegate.snapshot.statenames import StateKind, StateName, read_state_names

DATA = Path(__file__).parents[2] / "vectors" / "data"
VECTORS = DATA / "2.3.0"
TIMED = DATA / "2.2.0"
"""What has windows of event time and timers of processing time."""
COUNT = StateName("count", StateKind.KEY_VALUE)
PROCESSING = StateName("_timer_state/processing_user-timers", StateKind.PRIORITY_QUEUE)
EVENT = StateName("_timer_state/event_user-timers", StateKind.PRIORITY_QUEUE)


def metadata(name: str) -> Metadata:
    return parse((VECTORS / name / "_metadata").read_bytes())


async def states_in(name: str) -> KeyedStates:
    """Of the one operator with keyed state of a vector whose state is all in its ``_metadata``."""
    store = MemoryStore()
    (one,) = await keyed_states(store, Snapshot(S3Uri("b", "sp/_metadata"), metadata(name)))
    assert store.calls == []
    return one


def meta_of(name: str) -> bytes:
    for _, subtask in metadata(name).subtask_states():
        if isinstance(subtask.managed_keyed, IncrementalHandle) and isinstance(
            subtask.managed_keyed.meta, InlineHandle
        ):
            return subtask.managed_keyed.meta.data
    raise AssertionError(name)


def manifest_of(name: str) -> bytes:
    for _, subtask in metadata(name).subtask_states():
        if isinstance(subtask.managed_keyed, IncrementalHandle):
            for file, stream in (*subtask.managed_keyed.private, *subtask.managed_keyed.shared):
                if file.startswith("MANIFEST-") and isinstance(stream, InlineHandle):
                    return stream.data
    raise AssertionError(name)


@pytest.mark.parametrize("name", ["rocks-incremental-inline", "stop-native", "unaligned-inline"])
async def test_x28_of_rocksdb_the_timers_that_are_set_are_told_from_those_that_never_were(name: str):
    found = await states_in(name)
    assert [(one.state, one.holds) for one in found.states] == [(COUNT, True), (PROCESSING, False), (EVENT, True)]
    assert (found.processing_timers, found.event_timers, found.problem) == (False, True, None)


async def timed(name: str) -> dict[str, tuple[bool | None, bool | None, bool]]:
    """By operator: timers of processing time, of event time, whether it is a window."""
    store = MemoryStore()
    body = (TIMED / name / "_metadata").read_bytes()
    found = await keyed_states(store, Snapshot(S3Uri("b", "sp/_metadata"), parse(body)))
    assert store.calls == []
    assert [one.problem for one in found] == [None] * 3
    return {one.label: (one.processing_timers, one.event_timers, one.windows) for one in found}


async def test_x28_windows_of_event_time_and_timers_of_processing_time_are_told_apart():
    told = {"windows": (False, True, True), "reminders": (True, False, False), "counts": (False, True, False)}
    assert await timed("timed-rocks") == told
    may_be = {name: (None, None, window) for name, (_, _, window) in told.items()}
    assert await timed("timed-heap") == may_be
    assert await timed("timed-raw") == may_be


@pytest.mark.parametrize("name", ["heap-checkpoint-inline", "stop-canonical-drain"])
async def test_x28_of_other_backends_it_is_known_that_there_may_be_timers(name: str):
    found = await states_in(name)
    assert [one.state for one in found.states] == [COUNT, PROCESSING, EVENT]
    assert (found.processing_timers, found.event_timers) == (None, None)


async def test_x28_what_a_changelog_adds_is_not_known_and_said():
    found = await states_in("changelog-memory")
    assert [one.state for one in found.states] == [COUNT, PROCESSING, EVENT]
    assert (found.processing_timers, found.event_timers) == (None, None)
    assert found.problem is not None
    assert "changelog" in found.problem


@pytest.mark.parametrize("name", ["checkpoint-full", "savepoint-native-files"])
async def test_x28_a_job_that_sets_no_timers_is_not_said_to_have_any(name: str):
    store = await store_of(name)
    snapshot = await read_snapshot(store, expected(name)["location"])
    (found,) = await keyed_states(store, snapshot)
    assert [one.state.name for one in found.states] == ["balance", PROCESSING.name, EVENT.name]
    assert (found.processing_timers, found.event_timers, found.windows) == (False, False, False)


async def test_x28_where_a_file_cannot_be_read_whole_nothing_is_told_of_what_is_in_use():
    store = await store_of("checkpoint-incremental-files")  # its MANIFESTs are zeros here
    (found,) = await keyed_states(
        store, await read_snapshot(store, expected("checkpoint-incremental-files")["location"])
    )
    assert (found.processing_timers, found.event_timers) == (None, None)


async def test_x28_a_head_that_is_gone_is_named_and_nothing_is_denied():
    store = await store_of("checkpoint-hashmap")
    snapshot = await read_snapshot(store, expected("checkpoint-hashmap")["location"])
    store.objects = {uri: found for uri, found in store.objects.items() if uri == snapshot.metadata_uri}
    (found,) = await keyed_states(store, snapshot)
    assert found.problem is not None
    assert "is missing" in found.problem
    assert (found.processing_timers, found.event_timers) == (None, None)


async def test_x28_no_more_is_read_than_the_bound(monkeypatch: pytest.MonkeyPatch):
    store = await store_of("checkpoint-hashmap")
    snapshot = await read_snapshot(store, expected("checkpoint-hashmap")["location"])
    handle = next(one.managed_keyed for _, one in snapshot.metadata.subtask_states() if one.managed_keyed is not None)
    assert isinstance(handle, KeyGroupsHandle)
    head = min(offset for offset in handle.offsets if offset > 0)
    asked: list[int] = []
    whole = store.get_range

    async def counted(uri: S3Uri, first: int, length: int, if_match: str | None = None) -> bytes | None:
        asked.append(length)
        return await whole(uri, first, length, if_match)

    monkeypatch.setattr(store, "get_range", counted)
    await keyed_states(store, snapshot)
    assert asked == [head]
    monkeypatch.setattr(keyedstates, "HEAD_BYTES", head - 1)
    (found,) = await keyed_states(store, snapshot)
    assert asked == [head]
    assert found.problem is not None
    assert "its head is of" in found.problem


async def test_x28_manifests_beyond_the_bound_are_left_and_the_names_are_told(monkeypatch: pytest.MonkeyPatch):
    store = await store_of("checkpoint-full")
    snapshot = await read_snapshot(store, expected("checkpoint-full")["location"])
    monkeypatch.setattr(keyedstates, "MANIFEST_BYTES", 100)
    (found,) = await keyed_states(store, snapshot)
    assert len([op for op, _ in store.calls if op == "get_range"]) == 1
    assert len(found.states) == 3
    assert (found.processing_timers, found.event_timers) == (None, None)


RAW_TIMERS = bytes.fromhex(
    "f1cd859f0000000200000001000b757365722d74696d65727300546f72672e6170616368652e666c696e6b2e6170692e636f6d6d6f6e2e7479"
    "70657574696c732e626173652e537472696e6753657269616c697a657224537472696e6753657269616c697a6572536e617073686f74000000"
    "0300566f72672e6170616368652e666c696e6b2e72756e74696d652e73746174652e566f69644e616d65737061636553657269616c697a6572"
    "24566f69644e616d65737061636553657269616c697a6572536e617073686f7400000003000000000000000102610000000000000927c0"
)
"""A key group of Flink 2.2.0 on RocksDB with ``timer-service.factory: HEAP``: one timer of processing time."""


@pytest.mark.parametrize(("content", "timers"), [(RAW_TIMERS, True), (b"of the operator's own", False), (b"", False)])
async def test_x28_timers_that_are_kept_as_raw_state_may_be_of_either_time(content: bytes, timers: bool):
    raw = w.key_groups(w.inline(content))
    body = w.metadata(w.operator("silence", [w.subtask(0, raw_keyed=raw)]))
    (found,) = await keyed_states(MemoryStore(), Snapshot(S3Uri("b", "sp/_metadata"), parse(body)))
    assert (found.raw_timers, found.problem) == (timers, None)
    assert (found.processing_timers, found.event_timers) == ((None, None) if timers else (False, False))


def test_x28_a_head_that_ends_anywhere_early_is_refused():
    data = meta_of("stop-native")
    assert read_state_names(data, "x") == (COUNT, PROCESSING, EVENT)
    for end in range(data.index(EVENT.name.encode()) + 80):
        with pytest.raises(SnapshotError):
            read_state_names(data[:end], "x")


@given(st.data())
def test_x28_a_damaged_head_ends_in_an_error_that_is_ours_or_in_names(data: st.DataObject):
    head = bytearray(meta_of("stop-native"))
    at = data.draw(st.integers(0, len(head) - 1))
    head[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(SnapshotError):
        assert len(read_state_names(bytes(head), "x")) == 3


@given(st.lists(st.tuples(st.text("abc-_/ ", max_size=12), st.sampled_from([0, 3, 4]), st.binary(max_size=40))))
def test_x28_serializers_of_any_content_do_not_move_the_names(states: list[tuple[str, int, bytes]]):
    """What cannot be told apart is refused; what is told is right."""
    data = w.keyed_head(*(w.keyed_state(name, kind, {"VALUE_SERIALIZER": content}) for name, kind, content in states))
    try:
        found = read_state_names(data, "x")
    except SnapshotUnsupported:
        return
    except SnapshotUnreadable:
        assert not states
        return
    assert found == tuple(StateName(name, StateKind(kind)) for name, kind, _ in states)


def test_x28_a_serializer_that_looks_like_a_state_makes_nothing_known_rather_than_something_wrong():
    inner = w.keyed_state("not-a-state")
    with pytest.raises(SnapshotUnsupported, match="1 states are announced and 2 found"):
        read_state_names(w.keyed_head(w.keyed_state("count", 0, {"VALUE_SERIALIZER": w.i32(1) + inner})), "x")


def test_x28_no_states_another_number_of_them_and_another_version():
    with pytest.raises(SnapshotUnreadable, match="it names no state"):
        read_state_names(w.keyed_head(), "x")
    with pytest.raises(SnapshotUnsupported, match="2 states are announced and 1 found"):
        read_state_names(w.keyed_head(w.keyed_state("count"), count=2), "x")
    with pytest.raises(SnapshotUnsupported, match="serialization version 5"):
        read_state_names(w.i32(5) + w.keyed_head()[4:], "x")


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def text(value: bytes) -> bytes:
    return varint(len(value)) + value


def family(number: int, edit: bytes) -> bytes:
    return edit + varint(200) + varint(number)


def added(number: int, file: int) -> bytes:
    edit = varint(103) + varint(0) + varint(file) + varint(1000) + text(b"a") + text(b"b") + varint(1) + varint(2)
    return family(number, edit + varint(5) + text(b"old") + varint(1))


def deleted(number: int, file: int) -> bytes:
    return family(number, varint(6) + varint(0) + varint(file))


def log(*records: bytes) -> bytes:
    """A log as RocksDB writes it: fragments that fit into blocks of 32 KiB."""
    out = bytearray()
    for record in records:
        rest, first = record, True
        while first or rest:
            left = 32_768 - len(out) % 32_768
            if left < 7:
                out += bytes(left)
                continue
            part, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if not rest else 2) if first else (4 if not rest else 3)
            out += struct.pack("<IHB", 0, len(part), kind) + part
            first = False
    return bytes(out)


def test_x28_files_that_were_compacted_away_count_no_more():
    begin = [family(0, varint(1) + text(b"leveldb.BytewiseComparator")), family(1, varint(201) + text(b"timers"))]
    assert files_by_family(log(*begin), "x") == {"default": 0, "timers": 0}
    grown = [*begin, added(1, 9), added(1, 10), deleted(1, 9)]
    assert files_by_family(log(*grown), "x") == {"default": 0, "timers": 1}
    assert files_by_family(log(*grown, deleted(1, 10)), "x") == {"default": 0, "timers": 0}
    assert files_by_family(log(*grown, family(1, varint(202))), "x") == {"default": 0}


def test_x28_a_manifest_of_many_blocks_is_put_together_and_one_that_is_cut_is_not():
    families = [family(n, varint(201) + text(b"state-%d" % n)) for n in range(1, 4)]
    edits = [added(1 + n % 2, n) for n in range(100, 3_000)] + [family(2, varint(1) + text(bytes(70_000)))]
    whole = log(*families, *edits)
    assert len(whole) > 4 * 32_768
    assert files_by_family(whole, "x") == {"default": 0, "state-1": 1450, "state-2": 1450, "state-3": 0}
    with pytest.raises(SnapshotUnreadable, match="is damaged"):
        files_by_family(whole[:-30_000], "x")
    with pytest.raises(SnapshotUnsupported, match="an edit has tag 77"):
        files_by_family(log(*families, varint(77)), "x")


@given(st.data())
def test_x28_a_damaged_manifest_ends_in_an_error_that_is_ours_or_in_numbers(data: st.DataObject):
    manifest = bytearray(manifest_of("stop-native"))
    at = data.draw(st.integers(0, len(manifest) - 1))
    manifest[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(SnapshotError):
        assert all(many >= 0 for many in files_by_family(bytes(manifest), "x").values())

"""Committables, writers' state and positions, and the edits."""

from __future__ import annotations

import pytest

from tests.kit import snapshot_bytes as w
from tests.kit.objects import MemoryStore
from tidegate.clients.s3 import S3Uri
from tidegate.errors import (
    InvalidInput,
    Refused,
    SnapshotIncomplete,
    SnapshotUnreadable,
    SnapshotUnsupported,
    Unavailable,
)
from tidegate.snapshot.edit import drop_operators, drop_sink_state, place_copy, splice, with_absolute_paths
from tidegate.snapshot.files import Snapshot, read_snapshot, referenced_files, verify
from tidegate.snapshot.metadata import committer_uid_of, parse
from tidegate.snapshot.positions import EARLIEST, kafka_positions
from tidegate.snapshot.sinks import CommitState, Committable, Ownership, committables, writer_states

DIR = "s3://b/sp"
COMMITTER = "streaming_committer_raw_states"
WRITER = "writer_raw_states"


def _state(name: str, *elements: bytes) -> bytes:
    stream, offsets = w.state_stream(elements)
    return w.operator_state({name: offsets}, w.inline(stream))


def _snapshot(*operators: bytes) -> Snapshot:
    return Snapshot(S3Uri.parse(f"{DIR}/_metadata"), parse(w.metadata(*operators)))


def _committer(*elements: bytes) -> bytes:
    subtasks = [w.subtask(n, managed=_state(COMMITTER, element)) for n, element in enumerate(elements)]
    return w.operator(committer_uid_of("out"), subtasks)


async def test_x1_every_interval_that_is_not_committed_is_read_from_every_subtask():
    one = w.collector({6: {0: [w.committable("p-0-6", 100, 3)]}, 7: {0: [w.committable("p-0-7", 100, 4, state=1)]}})
    two = w.collector({7: {1: [w.committable("p-1-7", 101, 0, state=3)]}})
    snapshot = _snapshot(_committer(one, two))
    operator_id = snapshot.metadata.operators[0].operator_id
    found = await committables(MemoryStore(), snapshot)
    assert found == [
        Committable("out", operator_id, 0, 6, "p-0-6", 100, 3),
        Committable("out", operator_id, 0, 7, "p-0-7", 100, 4, CommitState.RETRY),
        Committable("out", operator_id, 1, 7, "p-1-7", 101, 0, CommitState.COMMITTED),
    ]
    assert [c.pending for c in found] == [True, True, False]


async def test_committables_of_flink_1_and_empty_ones_are_read():
    older = w.collector({7: {0: [w.committable("p-0-7", 1, 2)]}}, subtask_version=1)
    snapshot = _snapshot(_committer(older, w.collector({})))
    assert [c.transactional_id for c in await committables(MemoryStore(), snapshot)] == ["p-0-7"]


@pytest.mark.parametrize("handle", ["relative", "absolute"])
async def test_state_in_a_file_is_fetched(handle: str):
    stream, offsets = w.state_stream([w.collector({7: {0: [w.committable("p-0-7", 1, 2)]}})])
    where = w.relative("s", len(stream)) if handle == "relative" else w.file(f"{DIR}/s", len(stream))
    managed = w.operator_state({COMMITTER: offsets}, where)
    snapshot = _snapshot(w.operator(committer_uid_of("out"), [w.subtask(0, managed=managed)]))
    store = MemoryStore()
    with pytest.raises(SnapshotIncomplete, match=f"{DIR}/s is missing"):
        await committables(store, snapshot)
    await store.put(f"{DIR}/s", stream[:-1])
    with pytest.raises(SnapshotIncomplete, match="bytes instead of"):
        await committables(store, snapshot)
    await store.put(f"{DIR}/s", stream)
    assert [c.producer_id for c in await committables(store, snapshot)] == [1]


async def test_elements_that_are_no_longer_referenced_are_not_read():
    stream, offsets = w.state_stream([w.collector({7: {0: [w.committable("dropped", 1, 2)]}})])
    managed = w.operator_state({COMMITTER: [], "other": offsets}, w.inline(stream))
    snapshot = _snapshot(w.operator(committer_uid_of("out"), [w.subtask(0, managed=managed)]))
    assert await committables(MemoryStore(), snapshot) == []


@pytest.mark.parametrize(
    ("element", "error", "said"),
    [
        (w.versioned(1, b""), SnapshotUnsupported, "committables of version 1"),
        (w.versioned(2, w.i32(1)), SnapshotUnreadable, "magic number of committables"),
        (w.collector({7: {0: [w.committable("p", 1, 2)]}})[:-1], SnapshotUnreadable, "does not fit"),
        (w.collector({7: {0: [w.committable("p", 1, 2, state=4)]}}), SnapshotUnreadable, "state 4"),
        (w.collector({7: {0: [w.committable("p", 1, 2) + b"x"]}}), SnapshotUnreadable, "1 bytes too many"),
        (w.collector({7: {0: [w.i32(9) + w.i32(0) + w.i32(0) + w.i32(0)]}}), SnapshotUnsupported, "version 9"),
        (w.collector({7: {}}, subtask_version=3), SnapshotUnsupported, "subtasks of version 3"),
    ],
)
async def test_committables_of_another_form_are_refused(element: bytes, error: type[Exception], said: str):
    with pytest.raises(error, match=said) as raised:
        await committables(MemoryStore(), _snapshot(_committer(element)))
    assert "Sink Committer: out" in str(raised.value)


async def test_compressed_and_older_operator_state_is_refused_by_name():
    for kind, said in (({"compressed": True}, "Snappy"), ({"version": 5}, "serialization version 5")):
        stream, offsets = w.state_stream([b""], **kind)  # type: ignore[arg-type]
        managed = w.operator_state({COMMITTER: offsets}, w.inline(stream))
        with pytest.raises(SnapshotUnsupported, match=said):
            await committables(MemoryStore(), _snapshot(w.operator("c", [w.subtask(0, managed=managed)])))


async def test_an_offset_outside_the_stream_is_refused():
    managed = w.operator_state({COMMITTER: [10_000]}, w.inline(w.state_stream([])[0]))
    with pytest.raises(SnapshotUnreadable, match="position of an element"):
        await committables(MemoryStore(), _snapshot(w.operator("c", [w.subtask(0, managed=managed)])))


async def test_x13_the_prefix_and_the_way_of_naming_are_read_from_the_writers():
    new = _state(WRITER, w.writer_state("tg.d.out.e00000001.", [("tg.d.out.e00000001.-0-3", 3)]))
    old = _state(WRITER, w.versioned(1, w.utf("legacy")))
    snapshot = _snapshot(w.operator("out", [w.subtask(0, managed=new), w.subtask(1, managed=old)]))
    first, second = await writer_states(MemoryStore(), snapshot)
    assert (first.sink_uid, first.subtask, first.prefix) == ("out", 0, "tg.d.out.e00000001.")
    assert (first.ownership, first.owned_subtask_id, first.total_owned) == (Ownership.IMPLICIT_BY_SUBTASK_ID, 1, 2)
    assert first.owned == (("tg.d.out.e00000001.-0-3", 3),)
    assert (second.prefix, second.ownership, second.owned) == ("legacy", None, ())


async def test_x1_positions_are_the_next_offsets_of_all_readers():
    one = _state("SourceReaderState", w.split("in", 0, 17), w.split("in", 2, EARLIEST))
    two = _state("SourceReaderState", w.split("in", 1, 5), w.split("other", 0, 0))
    snapshot = _snapshot(w.operator("src", [w.subtask(0, managed=one), w.subtask(1, managed=two)]))
    assert await kafka_positions(MemoryStore(), snapshot) == {
        "src": {("in", 0): 17, ("in", 2): -2, ("in", 1): 5, ("other", 0): 0}
    }


async def test_a_partition_read_twice_is_refused():
    twice = _state("SourceReaderState", w.split("in", 0, 17), w.split("in", 0, 18))
    with pytest.raises(SnapshotUnreadable, match="partition 0 of in stands there twice"):
        await kafka_positions(MemoryStore(), _snapshot(w.operator("src", [w.subtask(0, managed=twice)])))


def _live() -> bytes:
    """A source, a sink of two subtasks with a state of the user's beside, and a committer."""
    payload, offsets = w.state_stream([w.writer_state("live"), w.versioned(0, b"kept")])
    writer = w.operator_state({WRITER: offsets[:1], "users": offsets[1:]}, w.inline(payload))
    committer = _state(COMMITTER, w.collector({7: {0: [w.committable("live-0-7", 1, 2)]}}))
    keyed = w.incremental(w.relative("meta", 4), {"1.sst": w.file("s3://b/shared/1", 9)})
    return w.metadata(
        w.operator("src", [w.subtask(0, managed=_state("SourceReaderState", w.split("in", 0, 17)), keyed=keyed)]),
        w.operator("out", [w.subtask(0, managed=writer), w.subtask(1, managed=writer)]),
        w.operator(committer_uid_of("out"), [w.subtask(1, managed=committer), w.finished_subtask(0)]),
    )


async def test_x12_sink_state_is_dropped_on_all_subtasks_and_nothing_else():
    data = _live()
    edited, dropped = drop_sink_state(data)
    assert [(d.sink_uid, d.subtask, d.state, d.elements) for d in dropped.states] == [
        ("out", 0, WRITER, 1),
        ("out", 1, WRITER, 1),
        ("out", 1, COMMITTER, 1),
    ]
    assert len(edited) == len(data) - 3 * 8
    snapshot = Snapshot(S3Uri.parse(f"{DIR}/_metadata"), parse(edited))
    assert await committables(MemoryStore(), snapshot) == []
    assert await writer_states(MemoryStore(), snapshot) == []
    assert await kafka_positions(MemoryStore(), snapshot) == {"src": {("in", 0): 17}}
    managed = snapshot.metadata.operators[1].subtasks[1].managed_operator
    assert managed is not None
    users = managed.state("users")
    assert users is not None
    assert len(users.offsets) == 1
    assert drop_sink_state(edited) == (edited, type(dropped)())


def test_read_and_written_unchanged_is_the_same_bytes():
    data = w.metadata(w.operator("op", [w.subtask(0, managed=_state("s", b"x"))]))
    assert splice(data, []) == data
    assert drop_sink_state(data)[0] == data
    assert drop_operators(data, [])[0] == data
    assert with_absolute_paths(parse(data), DIR) == data


def test_x27_operators_are_cut_out_by_id():
    data = _live()
    before = parse(data)
    gone = before.operators[1].operator_id
    edited, dropped = drop_operators(data, [gone])
    after = parse(edited)
    assert dropped.operators == (gone,)
    assert [o.uid for o in after.operators] == ["src", committer_uid_of("out")]
    assert after.tail.of(edited) == before.tail.of(data)
    assert after.operators[1].span.of(edited) == before.operators[2].span.of(data)
    with pytest.raises(InvalidInput, match=r"no operator 00; it has .*operator 'src'"):
        drop_operators(data, ["00"])


def test_replacements_that_overlap_are_refused():
    span = parse(_live()).operator_count_span
    with pytest.raises(ValueError, match="overlap"):
        splice(_live(), [(span, b""), (span, b"")])


async def test_a_copy_elsewhere_names_the_same_files_and_the_original_stays():
    store = MemoryStore()
    await store.put(f"{DIR}/_metadata", _live())
    await store.put(f"{DIR}/meta", bytes(4))
    await store.put("s3://b/shared/1", bytes(9))
    source = await read_snapshot(store, DIR)
    edited, _ = drop_sink_state(source.metadata.data)
    before = dict(store.objects)
    location = await place_copy(store, source, "s3://b/copies/x", edited)
    assert str(location) == "s3://b/copies/x"
    assert {uri: body for uri, body in store.objects.items() if uri in before} == before
    assert set(store.objects) - set(before) == {S3Uri.parse("s3://b/copies/x/_metadata")}
    verified = await verify(store, location)
    original = await verify(store, DIR)
    assert referenced_files(verified.metadata, location) == referenced_files(original.metadata, DIR)
    assert await place_copy(store, source, "s3://b/copies/x", edited) == location


async def test_i4_a_copy_whose_answer_was_lost_is_placed_by_doing_it_again():
    store = MemoryStore()
    source = _snapshot(w.operator("op", [w.subtask(0)]))

    async def lost(op: str, uri: S3Uri) -> None:
        raise Unavailable("answer lost")

    store.after = lost
    with pytest.raises(Unavailable):
        await place_copy(store, source, "s3://b/copy")
    store.after = MemoryStore().after
    await place_copy(store, source, "s3://b/copy")


async def test_a_copy_never_overwrites():
    store = MemoryStore()
    await store.put(f"{DIR}/_metadata", _live())
    source = await read_snapshot(store, DIR)
    with pytest.raises(InvalidInput, match="the original stays"):
        await place_copy(store, source, f"{DIR}/")
    await store.put("s3://b/copy/_metadata", b"another")
    with pytest.raises(Refused, match="is not this copy"):
        await place_copy(store, source, "s3://b/copy")
    assert (await store.get("s3://b/copy/_metadata")).body == b"another"

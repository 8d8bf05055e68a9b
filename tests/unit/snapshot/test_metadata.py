from __future__ import annotations

import pytest

from tests.kit import snapshot_bytes as w
from tidegate.errors import SnapshotUnreadable, SnapshotUnsupported
from tidegate.snapshot.cursor import Cursor, utf_bytes
from tidegate.snapshot.handles import (
    FileHandle,
    IncrementalHandle,
    InlineHandle,
    KeyGroupsHandle,
    Mode,
    RelativeHandle,
)
from tidegate.snapshot.metadata import committer_uid_of, operator_id_of, parse


def test_an_operator_id_is_flinks_hash_of_the_uid():
    """The expected id was seen in a running Flink."""
    assert operator_id_of("src-uid") == "65eb651c08e51afc6b01b9ec8c609cba"
    assert committer_uid_of("out") == "Sink Committer: out"


def test_every_field_is_where_it_was_written():
    state = w.operator_state({"a": [5, 9], "b": []}, w.inline(b"payload"))
    keyed = w.incremental(
        w.relative("meta", 11), {"1.sst": w.file("s3://b/shared/1", 22)}, {"M": w.file("s3://b/shared/m", -1)}
    )
    data = w.metadata(
        w.operator("one", [w.subtask(1, managed=state, keyed=keyed), w.finished_subtask(0)]),
        w.operator("two", None),
        w.operator(
            "three", [w.subtask(0, raw=state, keyed=w.key_groups(w.relative("k", 3)))], coordinator=w.inline(b"c")
        ),
        checkpoint_id=42,
        masters=[w.master_state("hook", b"content")],
    )
    metadata = parse(data)
    assert (metadata.version, metadata.checkpoint_id, metadata.data) == (6, 42, data)
    assert [(m.version, m.name) for m in metadata.master_states] == [(1, "hook")]
    assert metadata.tail.of(data) == w.TAIL
    one, two, three = metadata.operators
    assert (one.name, one.uid, one.parallelism, one.max_parallelism) == ("one name", "one", 2, 128)
    assert metadata.operator(one.operator_id) is one
    assert (one.coordinator, one.finished, list(one.subtasks)) == (None, False, [1, 0])
    assert one.subtasks[0].finished
    managed = one.subtasks[1].managed_operator
    assert managed is not None
    assert [(s.name, s.mode, s.offsets) for s in managed.states] == [
        ("a", Mode.SPLIT_DISTRIBUTE, (5, 9)),
        ("b", Mode.SPLIT_DISTRIBUTE, ()),
    ]
    assert managed.states[0].offsets_span.of(data) == w.i32(2) + w.i64(5) + w.i64(9)
    assert managed.span.of(data) == state
    assert isinstance(managed.stream, InlineHandle)
    assert managed.stream.data == b"payload"
    rocks = one.subtasks[1].managed_keyed
    assert isinstance(rocks, IncrementalHandle)
    assert rocks.span.of(data) == keyed
    assert isinstance(rocks.meta, RelativeHandle)
    assert (rocks.meta.name, rocks.meta.size) == ("meta", 11)
    (name, shared), (_, private) = (*rocks.shared, *rocks.private)
    assert isinstance(shared, FileHandle)
    assert (name, shared.path, shared.size) == ("1.sst", "s3://b/shared/1", 22)
    assert isinstance(private, FileHandle)
    assert private.size is None
    assert two.finished
    assert three.coordinator is not None
    assert three.coordinator.data == b"c"
    assert three.subtasks[0].raw_operator is not None
    heap = three.subtasks[0].managed_keyed
    assert isinstance(heap, KeyGroupsHandle)
    assert heap.offsets == (0, 9)
    assert three.span.end == metadata.tail.start


def test_spans_of_the_operators_tile_the_body():
    data = w.metadata(w.operator("a", [w.subtask(0)]), w.operator("b", None))
    metadata = parse(data)
    edges = [metadata.operator_count_span.end]
    for operator in metadata.operators:
        assert operator.span.start == edges[-1]
        edges.append(operator.span.end)
    assert edges[-1] == metadata.tail.start


@pytest.mark.parametrize("tag", [1, 2, 4, 6, 15, 16, 17, 18, 255])
def test_a_tag_that_cannot_stand_for_keyed_state_is_refused_by_its_class(tag: int):
    data = w.metadata(w.operator("op", [w.subtask(0, keyed=bytes([tag]))]))
    with pytest.raises(SnapshotUnreadable, match=rf"tag {tag}.*the handle of keyed state of operator 'op', subtask 0"):
        parse(data)


@pytest.mark.parametrize("tag", [0, 4, 5, 7, 17, 99])
def test_a_tag_that_cannot_stand_for_a_stream_is_refused(tag: int):
    state = w.operator_state({}, bytes([tag]))
    with pytest.raises(SnapshotUnreadable, match="the handle of operator state of operator 'op', subtask 0"):
        parse(w.metadata(w.operator("op", [w.subtask(0, managed=state)])))


def test_format_0_is_refused_by_its_flink():
    with pytest.raises(SnapshotUnsupported, match=r"format version 0, of Flink 1\.1"):
        parse(w.metadata(version=0))


_OP = w.operator("op", [w.subtask(0, managed=w.operator_state({"s": [1]}, w.inline(b"xy")))])


@pytest.mark.parametrize(
    ("data", "offset", "expected"),
    [
        (b"", 0, "magic number"),
        (b"PK\x03\x04" + bytes(40), 0, "magic number"),
        (w.metadata(version=8), 4, "version from 1 to 7"),
        (w.metadata(version=-1), 4, "version from 1 to 7"),
        (w.metadata(checkpoint_id=-1), 8, "checkpoint id"),
        (w.i32(0x4960672D) + w.i32(6) + w.i64(1) + w.i32(0x7FFFFFFF), 16, "number of master states"),
        (w.i32(0x4960672D) + w.i32(6) + w.i64(1) + w.i32(0) + w.i32(-2), 20, "number of operators"),
        (w.metadata(masters=[b"\0\0\0\0" + w.i32(14) + bytes(20)]), 20, "magic number of a master state"),
        (w.metadata(_OP, tail=b""), 24 + len(_OP), "properties"),
        (w.metadata(_OP, tail=b"\xac\xed\x00\x05sr"), 24 + len(_OP) + 6, "a class's name"),
        (w.metadata(_OP, _OP), 24 + len(_OP), "another operator"),
        (w.metadata(w.operator("op", [], parallelism=0)), 24 + 2 + 7 + 2 + 2 + 16, "1 to 32768"),
        (w.metadata(w.operator("op", [], parallelism=3, max_parallelism=2)), 24 + 2 + 7 + 2 + 2 + 16, "in order"),
        (w.metadata(w.operator("op", [], coordinator=w.file("s3://b/k", 1))), 61, "inline or none"),
        (w.metadata(w.operator("op", [w.subtask(0)] * 3)), 62, "number of subtasks"),
        (w.metadata(w.operator("op", [w.subtask(0), w.subtask(0)])), 88, "another subtask"),
        (w.metadata(w.operator("op", [w.subtask(2)])), 66, "another subtask"),
        (w.metadata(w.operator("op", [w.subtask(0, keyed=b"\x63")])), 78, "keyed state of operator 'op', subtask 0"),
        (w.metadata(w.operator("op", [w.i32(0) + w.i32(2)])), 70, "0 or 1"),
        (w.metadata(w.operator("op", [w.subtask(0, managed=w.operator_state({"s": []}, b"\0"))])), 87, "the handle of"),
        (w.metadata(w.operator("op", [w.subtask(0, w.operator_state({"s": []}, w.inline(b""), 3))])), 82, "mode|union"),
        (w.metadata(w.operator("op", [w.subtask(0, keyed=w.key_groups(w.file("s3://b/k", -2)))])), 104, "size of a"),
    ],
)
def test_damage_is_named_by_its_byte_and_what_should_stand_there(data: bytes, offset: int, expected: str):
    with pytest.raises(SnapshotUnreadable, match=expected) as raised:
        parse(data)
    assert raised.value.offset == offset


def test_every_truncation_is_refused():
    data = w.metadata(_OP, masters=[w.master_state("hook", b"x")], tail=w.TAIL)
    for length in range(len(data)):
        with pytest.raises(SnapshotUnreadable):
            parse(data[:length])


def test_the_null_object_that_the_state_processor_leaves_is_a_tail():
    assert parse(w.metadata(_OP, tail=b"\xac\xed\x00\x05\x70")).operators


def test_text_is_modified_utf8_both_ways():
    text = "é漢\x00🙂"
    encoded = utf_bytes(text)
    assert encoded[2:] == "é漢".encode() + b"\xc0\x80" + b"\xed\xa0\xbd\xed\xb9\x82"
    assert Cursor(encoded).utf("text") == text
    with pytest.raises(SnapshotUnreadable, match="modified UTF-8"):
        Cursor(b"\x00\x02\xff\xfe").utf("text")
    with pytest.raises(SnapshotUnreadable, match="modified UTF-8"):
        Cursor(b"\x00\x03\xed\xa0\xbd").utf("half of a pair")
    with pytest.raises(ValueError, match="65,535"):
        utf_bytes("x" * 65536)

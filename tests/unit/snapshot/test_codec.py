"""Any model is written and read back as it was; damage gives a SnapshotError and nothing else, in little memory."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit import snapshot_bytes as w
from tests.kit.snapshot_models import models
from tidegate.errors import SnapshotError, SnapshotUnreadable, SnapshotUnsupported
from tidegate.snapshot.channels import ChannelHandle, ChannelPart, Direction, MergedChannelHandle
from tidegate.snapshot.cursor import Cursor
from tidegate.snapshot.handles import (
    ChangelogHandle,
    EmptySegmentHandle,
    FileHandle,
    IncrementalHandle,
    InlineHandle,
    KeyGroupsHandle,
    MergedDirectories,
    OperatorStateHandle,
    RelativeHandle,
    Scope,
    SegmentHandle,
)
from tidegate.snapshot.javaobject import JavaReader, java_bytes
from tidegate.snapshot.metadata import Metadata, Operator, SubtaskState, parse, serialize
from tidegate.snapshot.parts import End, Head, OldState, OperatorHead
from tidegate.snapshot.properties import read_properties
from tidegate.snapshot.reader import read_parts
from tidegate.snapshot.writer import write_parts

DATA = Path(__file__).parents[2]
FILES = sorted((*DATA.glob("vectors/data/*/*/_metadata"), *DATA.glob("data/snapshots/*/_metadata")))
SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.mark.parametrize("version", range(1, 8))
@SLOW
@given(data=st.data())
def test_a_model_made_by_hand_is_read_back_as_it_was(version: int, data: st.DataObject):
    model = data.draw(models(version))
    written = serialize(model)
    read = parse(written)
    assert read == model
    assert serialize(read) == written
    assert b"".join(write_parts(read_parts(io.BytesIO(written), window_bytes=8))) == written


def _damaged(draw: st.DrawFn, data: bytearray, other: bytes) -> bytes:
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["byte", "i32", "i64", "insert", "cut", "end", "swap", "tag"])):
            case "byte":
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "tag":
                data[at : at + 1] = bytes([draw(st.integers(0, 18))])
            case "i32":
                data[at : at + 4] = draw(st.integers(-(1 << 31), (1 << 31) - 1)).to_bytes(4, "big", signed=True)
            case "i64":
                data[at : at + 8] = draw(st.integers(-(1 << 63), (1 << 63) - 1)).to_bytes(8, "big", signed=True)
            case "insert":
                data[at:at] = draw(st.binary(max_size=16))
            case "cut":
                del data[at : at + draw(st.integers(1, 64))]
            case "end":
                del data[at:]
            case _:
                data[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data)


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    data, other = (draw(st.sampled_from(FILES)).read_bytes() for _ in range(2))
    return _damaged(draw, bytearray(data), other)


@st.composite
def damaged_models(draw: st.DrawFn) -> bytes:
    data, other = (serialize(draw(st.integers(1, 7).flatmap(models))) for _ in range(2))
    return _damaged(draw, bytearray(data), other)


def _try(data: bytes) -> None:
    """Either it is refused, by a place within it, or what was understood is all that there is."""
    refused: SnapshotError | None = None
    try:
        metadata = parse(data)
    except SnapshotError as error:
        refused = error
    if refused is None:
        assert serialize(metadata) == data
        assert sum(1 for _ in metadata.streams()) < len(data)
    elif isinstance(refused, SnapshotUnreadable):
        assert 0 <= refused.offset <= len(data)
        with pytest.raises(SnapshotUnreadable) as again:
            list(read_parts(io.BytesIO(data), window_bytes=64))
        assert (again.value.offset, again.value.expected) == (refused.offset, refused.expected)


@settings(max_examples=150, deadline=None)
@given(damaged_files())
def test_damaged_files_give_a_snapshot_error_and_nothing_else(data: bytes):
    _try(data)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(damaged_models())
def test_damaged_models_give_a_snapshot_error_and_nothing_else(data: bytes):
    _try(data)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(range(1, 8)))
def test_any_bytes_behind_a_header_give_a_snapshot_error_or_are_read_whole(rest: bytes, version: int):
    _try(w.i32(0x4960672D) + w.i32(version) + rest)


def test_a_huge_number_anywhere_allocates_nothing_huge():
    data = max((path.read_bytes() for path in FILES), key=len)[:6000]
    tracemalloc.start()
    try:
        for at in range(8, len(data) - 4, 7):
            broken = data[:at] + b"\x7f\xff\xff\xff" + data[at + 4 :]
            for read in (lambda b: list(read_parts(b)), lambda b: list(read_parts(io.BytesIO(b)))):
                with pytest.raises(SnapshotError):
                    read(broken)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def _one(**state: object) -> bytes:
    return w.metadata(w.operator("op", [w.subtask(0, **state)]))  # type: ignore[arg-type]


def _read(**state: object) -> SubtaskState:
    return parse(_one(**state)).operators[0].subtasks[0]


SEGMENT = b"\x0f" + w.i64(265) + w.i64(31) + w.i32(1) + w.utf("file:/ckpt/shared/f") + w.utf("logical")


def test_segments_and_merged_operator_state():
    state = w.operator_state({"s": [9]}, b"")[1:]
    merged = b"\x11" + state + w.utf("file:/owned") + w.utf("file:/shared") + b"\x00" + SEGMENT
    expected = SegmentHandle("file:/ckpt/shared/f", 265, 31, Scope.SHARED, "logical")
    read = _read(managed=merged).managed_operator
    assert read is not None
    assert (read.stream, read.merged) == (expected, MergedDirectories("file:/owned", "file:/shared", empty=False))
    empty = b"\x11" + state + w.utf("file:/owned") + w.utf("file:/shared") + b"\x01\x10"
    read = _read(managed=empty).managed_operator
    assert read is not None
    assert list(read.streams()) == []
    assert isinstance(read.stream, EmptySegmentHandle)
    with pytest.raises(SnapshotUnreadable, match="a segment"):
        _read(managed=b"\x11" + state + w.utf("a") + w.utf("b") + b"\x00" + w.inline(b""))


def test_a_changelog_in_a_changelog():
    files = b"\x0d" + w.i32(0) + w.i32(4) + w.i32(1) + w.i64(5) + w.file("s3://b/dstl/1", 7) + w.i64(7) + w.i64(3)
    files += w.utf("id") + w.utf("filesystem")
    memory = b"\x09" + w.i32(0) + w.i32(4) + w.i64(1) + w.i64(2) + w.i32(1) + w.i32(-1) + w.i32(2) + b"xy" + w.utf("m")
    inner = b"\x08" + w.i32(0) + w.i32(4) + w.i64(99) + w.i32(1) + w.key_groups(w.relative("kg", 3)) + w.i32(1) + files
    inner += w.i64(6) + w.utf("inner")
    outer = b"\x0e" + w.i32(0) + w.i32(4) + w.i64(99) + w.i32(2) + inner + b"\x00" + w.i32(1) + memory
    outer += w.i64(8) + w.i64(9) + w.utf("outer")
    read = _read(keyed=outer).managed_keyed
    assert isinstance(read, ChangelogHandle)
    assert (read.materialization_id, read.checkpoint_id, read.handle_id, len(read.materialized)) == (8, 9, "outer", 2)
    assert [type(stream) for stream in read.streams()] == [RelativeHandle, FileHandle]
    nested = outer
    for _ in range(40):
        nested = (
            b"\x0e" + w.i32(0) + w.i32(4) + w.i64(9) + w.i32(1) + nested + w.i32(0) + w.i64(8) + w.i64(9) + w.utf("o")
        )
    with pytest.raises(SnapshotUnreadable, match="32 levels"):
        _read(keyed=nested)


def test_old_forms_of_keyed_handles_are_kept():
    incremental = b"\x05" + w.i64(7) + w.utf("any text") + w.i32(0) + w.i32(2) + w.file("s3://b/m", 1) + w.i32(0) * 2
    read = _read(keyed=incremental, raw_keyed=w.key_groups(w.relative("k", 2), tag=3))
    assert isinstance(read.managed_keyed, IncrementalHandle)
    assert (read.managed_keyed.checkpointed_size, read.managed_keyed.handle_id) == (None, None)
    assert isinstance(read.raw_keyed, KeyGroupsHandle)
    assert read.raw_keyed.tag == 3


def test_channel_state_in_all_forms():
    stream = w.relative("ch", 50)
    plain = w.i32(1) + w.i32(2) + w.i32(3) + w.i32(1) + w.i64(20) + w.i64(10) + stream
    part = w.i32(1) + w.i32(4) + w.i32(5) + w.i64(6) + w.i32(2) + w.i64(0) + w.i64(8)
    merged = w.i32(1) + w.i64(6) + stream + w.i32(len(part)) + part
    data = w.i32(2) + b"\x01" + plain + b"\x03" + merged + w.i32(2) + b"\x02" + plain + b"\x04" + merged
    read = _read(channels=data)
    first, second = read.input_channels
    assert first == ChannelHandle(Direction.INPUT, 1, 2, 3, (20,), 10, RelativeHandle("ch", 50))
    assert isinstance(second, MergedChannelHandle)
    assert second.parts() == (ChannelPart(4, 5, 6, (0, 8)),)
    assert [c.direction for c in read.output_channels] == [Direction.OUTPUT] * 2
    assert list(read.streams()) == [RelativeHandle("ch", 50)] * 4
    old_operator = w.operator("op", [w.subtask(0, channels=w.i32(1) + plain + w.i32(1) + plain)])[
        len("op name") + 2 + 4 :
    ]
    old = parse(w.metadata(old_operator, version=4)).operators[0].subtasks[0]
    assert (old.input_channels, old.output_channels) == ((first,), read.output_channels[:1])
    with pytest.raises(SnapshotUnreadable, match="output channel handle"):
        _read(channels=w.i32(0) + w.i32(1) + b"\x01" + plain)


def test_what_flink_no_longer_looks_at_is_kept_by_name():
    for data in (_one() + b"behind", w.metadata(tail=w.TAIL + b"behind")):
        assert parse(data).trailing == b"behind"
        assert serialize(parse(data)) == data


def test_properties_are_read():
    properties = parse(_one()).properties
    assert properties is not None
    assert (properties.name, properties.is_savepoint, properties.sharing) == ("Checkpoint", False, "FORWARD_BACKWARD")
    assert properties.discard == {"subsumed"}
    assert (properties.forced, properties.unclaimed) == (False, False)


@pytest.mark.parametrize("length", range(len(w.TAIL)))
def test_properties_that_are_cut_are_seen(length: int):
    with pytest.raises(SnapshotUnreadable):
        read_properties(Cursor(w.TAIL[:length]))


def test_another_java_object_is_no_properties():
    other = b"\xac\xed\x00\x05s" + w.java_class("java.util.Date", 1)
    with pytest.raises(SnapshotUnreadable, match=r"another class, java\.util\.Date"):
        parse(w.metadata(tail=other))
    with pytest.raises(SnapshotUnsupported, match="0x7d"):
        parse(w.metadata(tail=b"\xac\xed\x00\x05\x7d"))


def test_java_objects_of_every_shape_are_kept():
    array = b"u" + w.java_class("[J", 1) + w.i32(2) + w.i64(1) + w.i64(-1)
    written = b"s" + w.java_class("A", 1, [b"I" + w.utf("n")], flags=3) + w.i32(5) + b"w\x02ab" + b"z" + w.i32(1) + b"c"
    written += array + b"x"
    values = b"s" + w.java_class(
        "B", 2, [b"Z" + w.utf("z"), b"D" + w.utf("d"), b"L" + w.utf("o") + b"t" + w.utf("LA;")]
    )
    stream = b"\xac\xed\x00\x05" + values + b"\x01" + b"\x40" + bytes(7) + written
    assert java_bytes(JavaReader(Cursor(stream), "it").read()) == stream


@pytest.mark.parametrize(
    ("version", "operator", "state"),
    [
        (4, {"uid": "u"}, {}),
        (2, {"coordinator": InlineHandle("c", b"")}, {}),
        (2, {"finished": True}, {}),
        (2, {}, {"finished": True}),
        (1, {}, {"managed_operator": OperatorStateHandle((), InlineHandle("s", b""))}),
        (3, {}, {"old": OldState()}),
        (6, {}, {"ref_checkpoint_id": 1}),
        (5, {}, {"input_channels": (MergedChannelHandle(Direction.INPUT, 0, 0, InlineHandle("s", b""), b""),)}),
        (6, {}, {"input_channels": (MergedChannelHandle(Direction.OUTPUT, 0, 0, InlineHandle("s", b""), b""),)}),
        (6, {}, {"managed_keyed": KeyGroupsHandle(0, (), InlineHandle("s", b""))}),
        (6, {}, {"managed_keyed": KeyGroupsHandle(0, (), InlineHandle("s", b""), tag=5)}),
        (8, {}, {}),
    ],
)
def test_what_a_format_cannot_say_is_not_written(version: int, operator: dict[str, object], state: dict[str, object]):
    fields: dict[str, object] = {"name": None, "uid": None, "coordinator": None, "finished": False, **operator}
    subtasks = {} if fields["finished"] else {0: SubtaskState(0, **state)}  # type: ignore[arg-type]
    made = Operator(operator_id="00" * 16, parallelism=1, max_parallelism=1, subtasks=subtasks, **fields)  # type: ignore[arg-type]
    properties = parse(_one()).properties if version >= 4 else None
    with pytest.raises(ValueError, match=r"format|tag|among"):
        serialize(Metadata(version, 1, (), (made,), properties))


def test_parts_out_of_order_are_not_written():
    head, operator = Head(3, 1, (), 1), OperatorHead("00" * 16, 1, 1, 1)
    for parts in ([operator], [head], [head, End(None)], [head, operator, operator], [head, operator, End(None)]):
        with pytest.raises(ValueError, match=r"is due|without an End"):
            list(write_parts(parts))

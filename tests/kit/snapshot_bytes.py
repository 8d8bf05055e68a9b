"""Writes ``_metadata`` and operator state by hand, from the layout's description and not with the code under test."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence


def i32(value: int) -> bytes:
    return struct.pack(">i", value)


def i64(value: int) -> bytes:
    return struct.pack(">q", value)


def utf(text: str) -> bytes:
    """ASCII only."""
    encoded = text.encode("ascii")
    return struct.pack(">H", len(encoded)) + encoded


def java_class(name: str, uid: int, fields: Sequence[bytes] = (), flags: int = 2, parent: bytes = b"p") -> bytes:
    """The description of a class in a Java object stream."""
    head = b"r" + utf(name) + i64(uid) + bytes([flags]) + struct.pack(">H", len(fields))
    return head + b"".join(fields) + b"x" + parent


def java_enum(name: str, constant: str) -> bytes:
    return (
        b"~"
        + java_class(name, 0, flags=0x12, parent=java_class("java.lang.Enum", 0, flags=0x12))
        + b"t"
        + utf(constant)
    )


def _object_field(name: str, class_name: str) -> bytes:
    return b"L" + utf(name) + b"t" + utf(f"L{class_name.replace('.', '/')};")


_RUNTIME = "org.apache.flink.runtime.checkpoint."
_SHARING = _RUNTIME + "SnapshotType$SharingFilesStrategy"
_FLAGS = (
    "discardCancelled",
    "discardFailed",
    "discardFinished",
    "discardSubsumed",
    "discardSuspended",
    "forced",
    "unclaimed",
)


def properties(discarded: Sequence[str] = ("discardSubsumed",)) -> bytes:
    """CheckpointProperties of a checkpoint, as ObjectOutputStream writes them."""
    own = java_class(
        _RUNTIME + "CheckpointProperties",
        2,
        [*(b"Z" + utf(flag) for flag in _FLAGS), _object_field("checkpointType", _RUNTIME + "SnapshotType")],
    )
    kind = java_class(
        _RUNTIME + "CheckpointType",
        1,
        [_object_field("name", "java.lang.String"), _object_field("sharingFilesStrategy", _SHARING)],
    )
    flags = bytes(flag in discarded for flag in _FLAGS)
    named = b"t" + utf("Checkpoint") + java_enum(_SHARING, "FORWARD_BACKWARD")
    return b"\xac\xed\x00\x05" + b"s" + own + flags + b"s" + kind + named


TAIL = properties()
NULL = b"\x00"


def inline(data: bytes, name: str = "s3://b/ghost") -> bytes:
    return b"\x01" + utf(name) + i32(len(data)) + data


def file(path: str, size: int) -> bytes:
    return b"\x02" + i64(size) + utf(path)


def relative(name: str, size: int) -> bytes:
    return b"\x06" + utf(name) + i64(size)


def operator_state(states: dict[str, Sequence[int]], stream: bytes, mode: int = 0) -> bytes:
    body = b"".join(
        utf(name) + bytes([mode]) + i32(len(offsets)) + b"".join(map(i64, offsets)) for name, offsets in states.items()
    )
    return b"\x04" + i32(len(states)) + body + stream


def incremental(meta: bytes, shared: dict[str, bytes], private: dict[str, bytes] | None = None) -> bytes:
    def named(files: dict[str, bytes]) -> bytes:
        return i32(len(files)) + b"".join(utf(name) + handle for name, handle in files.items())

    return (
        (b"\x0b" + i64(7) + utf("6c9bb7f6-0000-0000-0000-000000000000") + i32(0) + i32(64) + i64(123))
        + meta
        + named(shared)
        + named(private or {})
        + utf("handle-id")
    )


def key_groups(stream: bytes, tag: int = 12) -> bytes:
    return bytes([tag]) + i32(0) + i32(2) + i64(0) + i64(9) + stream + (utf("id") if tag == 12 else b"")


def subtask(
    index: int,
    managed: bytes | None = None,
    raw: bytes | None = None,
    keyed: bytes = NULL,
    raw_keyed: bytes = NULL,
    channels: bytes = i32(0) + i32(0),
) -> bytes:
    def flagged(handle: bytes | None) -> bytes:
        return i32(0) if handle is None else i32(1) + handle

    return i32(index) + flagged(managed) + flagged(raw) + keyed + raw_keyed + channels


def finished_subtask(index: int) -> bytes:
    return i32(-index - 1)


def id_of(uid: str) -> str:
    """What an operator's id is here, unless it is given."""
    return hashlib.md5(uid.encode(), usedforsecurity=False).hexdigest()


def operator(
    uid: str,
    subtasks: Sequence[bytes] | None,
    operator_id: bytes | None = None,
    coordinator: bytes = NULL,
    parallelism: int = 2,
    max_parallelism: int = 128,
) -> bytes:
    return (
        utf(f"{uid} name")
        + utf(uid)
        + (operator_id or bytes.fromhex(id_of(uid)))
        + i32(parallelism)
        + i32(max_parallelism)
        + coordinator
        + (i32(-1) if subtasks is None else i32(len(subtasks)) + b"".join(subtasks))
    )


def metadata(
    *operators: bytes, checkpoint_id: int = 7, version: int = 6, masters: Sequence[bytes] = (), tail: bytes = TAIL
) -> bytes:
    return (
        i32(0x4960672D)
        + i32(version)
        + i64(checkpoint_id)
        + i32(len(masters))
        + b"".join(masters)
        + i32(len(operators))
        + b"".join(operators)
        + tail
    )


def master_state(name: str, content: bytes) -> bytes:
    body = i32(1) + utf(name) + i32(len(content)) + content
    return b"\xc9\x6b\x16\x96" + i32(len(body)) + body


def versioned(version: int, payload: bytes) -> bytes:
    """SimpleVersionedSerialization, as an element of a list state of byte arrays."""
    return i32(len(payload) + 8) + i32(version) + i32(len(payload)) + payload


def state_stream(elements: Sequence[bytes], compressed: bool = False, version: int = 6) -> tuple[bytes, list[int]]:
    """An operator state stream and its elements' offsets; the header is opaque but for its first bytes."""
    stream = i32(version) + bytes([compressed]) + b"opaque header"
    offsets = []
    for element in elements:
        offsets.append(len(stream))
        stream += element
    return stream, offsets


def versioned_list(version: int, items: Sequence[bytes]) -> bytes:
    return i32(version) + i32(len(items)) + b"".join(i32(len(item)) + item for item in items)


def committable(transactional_id: str, producer_id: int, epoch: int, state: int = 0) -> bytes:
    body = struct.pack(">hq", epoch, producer_id) + utf(transactional_id)
    return i32(1) + i32(len(body)) + body + i32(0) + i32(state)


def collector(checkpoints: dict[int, dict[int, list[bytes]]], subtask_version: int = 2) -> bytes:
    """A committer's element: {checkpoint id: {writer's subtask: requests}}."""
    counters = i32(1) + i32(0) + (i32(0) if subtask_version == 1 else b"")
    payload = i32(0xB91F252C - (1 << 32)) + versioned_list(
        1,
        [
            i64(checkpoint_id)
            + i32(len(subtasks))
            + versioned_list(
                subtask_version,
                [i32(index) + versioned_list(0, requests) + counters for index, requests in subtasks.items()],
            )
            for checkpoint_id, subtasks in checkpoints.items()
        ],
    )
    return versioned(2, payload)


def writer_state(prefix: str, owned: Sequence[tuple[str, int]] = ()) -> bytes:
    ids = i32(len(owned)) + b"".join(utf(name) + i64(checkpoint) for name, checkpoint in owned)
    return versioned(2, utf(prefix) + i32(1) + i32(2) + i32(0) + ids)


def split(topic: str, partition: int, offset: int) -> bytes:
    return versioned(0, utf(topic) + i32(partition) + i64(offset) + i64(-(1 << 63)))


def keyed_state(name: str, kind: int = 0, serializers: dict[str, bytes] | None = None) -> bytes:
    """A state of a keyed backend, with any content in its serializers' snapshots (StateMetaInfoSnapshotReadersWriters).

    ``kind`` 0 is of values, 3 of timers.
    """
    made = {"VALUE_SERIALIZER": b""} if serializers is None else serializers
    out = utf(name) + i32(kind) + i32(0) + i32(len(made))
    return out + b"".join(utf(key) + _serializer(content) for key, content in made.items())


def keyed_head(*states: bytes, count: int | None = None) -> bytes:
    """What stands before keyed state (KeyedBackendSerializationProxy, version 6); ``count``: what it says it has."""
    number = len(states) if count is None else count
    return i32(6) + b"\x00" + _serializer(i32(1) + b"key") + struct.pack(">h", number) + b"".join(states)


def _serializer(content: bytes) -> bytes:
    return i32(2) + utf("com.example.AnySnapshot") + content


def timers(service: str, *kinds: str) -> list[bytes]:
    """The states of a timer service: ``processing``, ``event``."""
    return [keyed_state(f"_timer_state/{kind}_{service}", 3) for kind in kinds]

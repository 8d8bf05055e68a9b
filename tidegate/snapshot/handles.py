"""State handles: where each piece of a snapshot's state lies, and where in ``_metadata`` that is written.

Source: org.apache.flink.runtime.checkpoint.metadata.MetadataV2V3SerializerBase (Flink 2.2). What a handle is, is its
first byte; there is no length, so a tag that is not read here ends the reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from tidegate.errors import SnapshotUnsupported
from tidegate.snapshot.cursor import Cursor, Span

NULL: Final = 0
INLINE: Final = 1
FILE: Final = 2
OPERATOR_STREAM: Final = 4
RELATIVE_FILE: Final = 6
KEY_GROUPS_SAVEPOINT: Final = 7
INCREMENTAL_V2: Final = 11
KEY_GROUPS_V2: Final = 12

_CLASSES: Final = {
    INLINE: "ByteStreamStateHandle",
    FILE: "FileStateHandle",
    3: "KeyGroupsStateHandle",
    OPERATOR_STREAM: "OperatorStreamStateHandle",
    5: "IncrementalRemoteKeyedStateHandle",
    RELATIVE_FILE: "RelativeFileStateHandle",
    KEY_GROUPS_SAVEPOINT: "KeyGroupsSavepointStateHandle",
    8: "ChangelogStateBackendHandle",
    9: "InMemoryChangelogStateHandle",
    10: "ChangelogStateHandleStreamImpl",
    INCREMENTAL_V2: "IncrementalRemoteKeyedStateHandle V2",
    KEY_GROUPS_V2: "KeyGroupsStateHandle V2",
    13: "ChangelogStateHandleStreamImpl V2",
    14: "ChangelogStateBackendHandle V2",
    15: "SegmentFileStateHandle",
    16: "EmptySegmentFileStateHandle",
    17: "FileMergingOperatorStreamStateHandle",
}
"""Flink's names for the tags, for messages."""


class Mode(IntEnum):
    """How Flink deals an operator's list state out to its subtasks (OperatorStateHandle.Mode)."""

    SPLIT_DISTRIBUTE = 0
    UNION = 1
    BROADCAST = 2


@dataclass(frozen=True)
class InlineHandle:
    """State inside ``_metadata``. ``name`` looks like a path, but no such file exists."""

    span: Span
    name: str
    data: bytes


@dataclass(frozen=True)
class FileHandle:
    """A file by its whole path. ``size`` in bytes; None if Flink did not know it."""

    span: Span
    path: str
    size: int | None


@dataclass(frozen=True)
class RelativeHandle:
    """A file by its name, in the directory of the ``_metadata`` that is read. ``size`` as in FileHandle."""

    span: Span
    name: str
    size: int | None


StreamHandle = InlineHandle | FileHandle | RelativeHandle


@dataclass(frozen=True)
class KeyGroupsHandle:
    """Keyed state in one stream (heap backends; canonical savepoints)."""

    span: Span
    tag: int
    first_key_group: int
    offsets: tuple[int, ...]
    stream: StreamHandle

    def streams(self) -> Iterator[StreamHandle]:
        """Each stream that it is made of."""
        yield self.stream


@dataclass(frozen=True)
class IncrementalHandle:
    """Keyed state as RocksDB's own files: ``shared`` and ``private`` by local name. Full ones have this form too."""

    span: Span
    checkpoint_id: int
    backend_id: str
    first_key_group: int
    key_groups: int
    checkpointed_size: int
    meta: StreamHandle
    shared: tuple[tuple[str, StreamHandle], ...]
    private: tuple[tuple[str, StreamHandle], ...]

    def streams(self) -> Iterator[StreamHandle]:
        """Each stream that it is made of."""
        yield self.meta
        for _, stream in (*self.shared, *self.private):
            yield stream


KeyedHandle = KeyGroupsHandle | IncrementalHandle


@dataclass(frozen=True)
class ListState:
    """One named state of an operator: the position of each element in the handle's stream.

    ``offsets_span`` is where the number of offsets and the offsets stand.
    """

    name: str
    mode: Mode
    offsets: tuple[int, ...]
    offsets_span: Span


@dataclass(frozen=True)
class OperatorStateHandle:
    """An operator's list states of one subtask, all in one stream. Only the offsets here say which elements are."""

    span: Span
    states: tuple[ListState, ...]
    stream: StreamHandle

    def state(self, name: str) -> ListState | None:
        """The state of that name."""
        return next((state for state in self.states if state.name == name), None)


def read_stream(cursor: Cursor, what: str) -> StreamHandle | None:
    """A StreamStateHandle, or None for the null handle.

    Raises SnapshotUnsupported, naming the class, for one that is not read; SnapshotUnreadable for none at all.
    """
    start = cursor.position
    tag = cursor.u8(f"the handle of {what}")
    if tag == NULL:
        return None
    if tag == INLINE:
        name = cursor.utf("the name of inline state")
        data = cursor.blob(f"{what}, inline")
        return InlineHandle(Span(start, cursor.position), name, data)
    if tag == FILE:
        size = _size(cursor)
        path = cursor.utf("the path of a state file")
        return FileHandle(Span(start, cursor.position), path, size)
    if tag == RELATIVE_FILE:
        name = cursor.utf("the name of a state file")
        size = _size(cursor)
        return RelativeHandle(Span(start, cursor.position), name, size)
    raise _not_read(cursor, tag, what, start)


def _stream(cursor: Cursor, what: str) -> StreamHandle:
    start = cursor.position
    found = read_stream(cursor, what)
    if found is None:
        raise cursor.error("no handle", f"the handle of {what}", start)
    return found


def _size(cursor: Cursor) -> int | None:
    at = cursor.position
    size = cursor.i64("the size of a state file")
    if size < -1:
        raise cursor.error(f"a size of {size}", "the size of a state file", at)
    return None if size == -1 else size


def read_keyed(cursor: Cursor, what: str) -> KeyedHandle | None:
    """A KeyedStateHandle, or None for the null handle. Raises as ``read_stream`` does."""
    start = cursor.position
    tag = cursor.u8(f"the handle of {what}")
    if tag == NULL:
        return None
    if tag in (KEY_GROUPS_V2, KEY_GROUPS_SAVEPOINT):
        first = cursor.i32("the first key group")
        offsets = cursor.i64s("key groups")
        stream = _stream(cursor, what)
        if tag == KEY_GROUPS_V2:
            cursor.utf("the id of a state handle")
        return KeyGroupsHandle(Span(start, cursor.position), tag, first, offsets, stream)
    if tag == INCREMENTAL_V2:
        checkpoint_id = cursor.i64("the checkpoint id of a handle")
        backend_id = cursor.utf("the backend id of a handle")
        first, count = cursor.i32("the first key group"), cursor.i32("the number of key groups")
        checkpointed_size = cursor.i64("the checkpointed size")
        meta = _stream(cursor, f"{what}, RocksDB's meta data")
        shared = _named_streams(cursor, f"{what}, shared files")
        private = _named_streams(cursor, f"{what}, private files")
        cursor.utf("the id of a state handle")
        span = Span(start, cursor.position)
        return IncrementalHandle(
            span, checkpoint_id, backend_id, first, count, checkpointed_size, meta, shared, private
        )
    raise _not_read(cursor, tag, what, start)


def _named_streams(cursor: Cursor, what: str) -> tuple[tuple[str, StreamHandle], ...]:
    count = cursor.count(what, 2 + 1 + 10)  # an empty name, a tag, and the least that any handle has
    return tuple((cursor.utf("the local name of a file"), _stream(cursor, what)) for _ in range(count))


def read_operator_state(cursor: Cursor, what: str) -> OperatorStateHandle | None:
    """An OperatorStateHandle, or None for the null handle. Raises as ``read_stream`` does."""
    start = cursor.position
    tag = cursor.u8(f"the handle of {what}")
    if tag == NULL:
        return None
    if tag != OPERATOR_STREAM:
        raise _not_read(cursor, tag, what, start)
    states = tuple(_list_state(cursor) for _ in range(cursor.count("states", 2 + 1 + 4)))
    stream = _stream(cursor, what)
    return OperatorStateHandle(Span(start, cursor.position), states, stream)


def _list_state(cursor: Cursor) -> ListState:
    name = cursor.utf("the name of a state")
    mode = cursor.u8("the mode of a state")
    if mode > max(Mode):
        raise cursor.error(f"mode {mode}", "0 (split), 1 (union) or 2 (broadcast)", cursor.position - 1)
    start = cursor.position
    offsets = cursor.i64s(f"elements of state {name!r}")
    return ListState(name, Mode(mode), offsets, Span(start, cursor.position))


def _not_read(cursor: Cursor, tag: int, what: str, at: int) -> Exception:
    if tag not in _CLASSES:
        return cursor.error(f"tag {tag} is none of Flink's", f"the handle of {what}", at)
    return SnapshotUnsupported(
        f"{what} is held by a {_CLASSES[tag]} (tag {tag}, byte {at:,}), which Tidegate does not read yet",
        hint="read are native savepoints and checkpoints of RocksDB as Flink 2.2 writes them, without changelog, "
        "file merging and unaligned checkpoints",
        details={"tag": tag, "class": _CLASSES[tag], "offset": at},
    )

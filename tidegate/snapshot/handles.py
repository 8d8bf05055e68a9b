"""State handles: where each piece of a snapshot's state lies.

They are values: a model built by hand can be written as one that was read. ``span`` says where in ``_metadata`` a
handle was read, and counts in no comparison. Which form a handle has in the file is its ``tag`` (its first byte).

Source: the classes of org.apache.flink.runtime.state that each one names;
org.apache.flink.runtime.checkpoint.metadata.MetadataV2V3SerializerBase for the tags.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeVar

from tidegate.snapshot.cursor import NOWHERE, Span

_Handle = TypeVar("_Handle", bound="tuple[Any, ...]")

NULL: Final = 0
INLINE: Final = 1
FILE: Final = 2
KEY_GROUPS_V1: Final = 3
OPERATOR_STREAM: Final = 4
INCREMENTAL_V1: Final = 5
RELATIVE_FILE: Final = 6
KEY_GROUPS_SAVEPOINT: Final = 7
CHANGELOG_V1: Final = 8
CHANGELOG_INLINE: Final = 9
CHANGELOG_FILES_V1: Final = 10
INCREMENTAL_V2: Final = 11
KEY_GROUPS_V2: Final = 12
CHANGELOG_FILES_V2: Final = 13
CHANGELOG_V2: Final = 14
SEGMENT: Final = 15
EMPTY_SEGMENT: Final = 16
MERGED_OPERATOR_STREAM: Final = 17

CLASSES: Final = {
    INLINE: "ByteStreamStateHandle",
    FILE: "FileStateHandle",
    KEY_GROUPS_V1: "KeyGroupsStateHandle",
    OPERATOR_STREAM: "OperatorStreamStateHandle",
    INCREMENTAL_V1: "IncrementalRemoteKeyedStateHandle",
    RELATIVE_FILE: "RelativeFileStateHandle",
    KEY_GROUPS_SAVEPOINT: "KeyGroupsSavepointStateHandle",
    CHANGELOG_V1: "ChangelogStateBackendHandle",
    CHANGELOG_INLINE: "InMemoryChangelogStateHandle",
    CHANGELOG_FILES_V1: "ChangelogStateHandleStreamImpl",
    INCREMENTAL_V2: "IncrementalRemoteKeyedStateHandle",
    KEY_GROUPS_V2: "KeyGroupsStateHandle",
    CHANGELOG_FILES_V2: "ChangelogStateHandleStreamImpl",
    CHANGELOG_V2: "ChangelogStateBackendHandle",
    SEGMENT: "SegmentFileStateHandle",
    EMPTY_SEGMENT: "EmptySegmentFileStateHandle",
    MERGED_OPERATOR_STREAM: "FileMergingOperatorStreamStateHandle",
}
"""Flink's names for the tags."""


class Mode(IntEnum):
    """How Flink deals an operator's list state out to its subtasks (OperatorStateHandle.Mode)."""

    SPLIT_DISTRIBUTE = 0
    UNION = 1
    BROADCAST = 2


class Scope(IntEnum):
    """Whether a file belongs to one checkpoint or may be shared (CheckpointedStateScope)."""

    EXCLUSIVE = 0
    SHARED = 1


# The handles of single streams are tuples: a snapshot can have a million, and a tuple is made six times as fast as a
# frozen dataclass.


def _by_value(cls: type[_Handle]) -> type[_Handle]:
    """Compare as dataclasses do: by class too, and not by the span (the last field)."""

    def equal(self: _Handle, other: object) -> bool:
        return isinstance(other, cls) and self[:-1] == other[:-1]

    def unequal(self: _Handle, other: object) -> bool:
        return not equal(self, other)

    def hashed(self: _Handle) -> int:
        return hash((cls.__name__, self[:-1]))

    for name, method in (("__eq__", equal), ("__ne__", unequal), ("__hash__", hashed)):
        setattr(cls, name, method)
    return cls


@_by_value
class InlineHandle(NamedTuple):
    """State inside ``_metadata`` (ByteStreamStateHandle). ``name`` looks like a path, but no such file exists.

    ``content`` is a view of the file that was parsed, or bytes.
    """

    name: str
    content: bytes | memoryview
    span: Span = NOWHERE

    @property
    def data(self) -> bytes:
        """The state, copied."""
        return bytes(self.content)


@_by_value
class FileHandle(NamedTuple):
    """A file by its whole path (FileStateHandle). ``size`` in bytes; None if Flink did not know it."""

    path: str
    size: int | None
    span: Span = NOWHERE


@_by_value
class RelativeHandle(NamedTuple):
    """A file by its name, in the directory of the ``_metadata`` that is read (RelativeFileStateHandle).

    ``size`` as in FileHandle.
    """

    name: str
    size: int | None
    span: Span = NOWHERE


@_by_value
class SegmentHandle(NamedTuple):
    """``size`` bytes from byte ``start`` of a file that other states share (SegmentFileStateHandle, file merging)."""

    path: str
    start: int
    size: int
    scope: Scope
    logical_id: str
    span: Span = NOWHERE


@_by_value
class EmptySegmentHandle(NamedTuple):
    """No state: what file merging writes in place of an empty stream (EmptySegmentFileStateHandle)."""

    span: Span = NOWHERE


@dataclass(frozen=True, slots=True)
class KeyGroupsStream:
    """Keyed state in the place of a plain stream (a KeyGroupsStateHandle that Flink writes as a StreamStateHandle)."""

    first_key_group: int
    offsets: tuple[int, ...]
    stream: StreamHandle
    span: Span = field(default=NOWHERE, compare=False, repr=False)


StreamHandle = InlineHandle | FileHandle | RelativeHandle | SegmentHandle | EmptySegmentHandle | KeyGroupsStream
"""Where one stream of bytes lies."""
StoredHandle = InlineHandle | FileHandle | RelativeHandle | SegmentHandle
"""A stream that has bytes of its own."""
NamedStreams = tuple[tuple[str, StreamHandle], ...]
"""Files of RocksDB by the names that it knows them by."""


def stored(stream: StreamHandle) -> Iterator[StoredHandle]:
    """The stream that the bytes are in: none for an empty segment."""
    while isinstance(stream, KeyGroupsStream):
        stream = stream.stream
    if not isinstance(stream, EmptySegmentHandle):
        yield stream


@dataclass(frozen=True, slots=True)
class KeyGroupsHandle:
    """Keyed state in one stream: heap backends and raw keyed state; by tag 7, a canonical savepoint's.

    ``offsets`` are in the stream, one a key group from the first on. ``handle_id`` is of tag 12 only.
    """

    first_key_group: int
    offsets: tuple[int, ...]
    stream: StreamHandle
    tag: int = KEY_GROUPS_V2
    handle_id: str | None = None
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    def streams(self) -> Iterator[StoredHandle]:
        """Each stream that it is made of."""
        return stored(self.stream)


@dataclass(frozen=True, slots=True)
class IncrementalHandle:
    """Keyed state as RocksDB's own files: ``shared`` and ``private`` by local name. Full ones have this form too.

    ``backend_id`` is a UUID, or any text in snapshots of Flink 1.3. ``checkpointed_size`` (bytes; -1 unknown) and
    ``handle_id`` are of tag 11 only. (IncrementalRemoteKeyedStateHandle)
    """

    checkpoint_id: int
    backend_id: str
    first_key_group: int
    key_groups: int
    checkpointed_size: int | None
    meta: StreamHandle
    shared: NamedStreams
    private: NamedStreams
    tag: int = INCREMENTAL_V2
    handle_id: str | None = None
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    def streams(self) -> Iterator[StoredHandle]:
        """Each stream that it is made of."""
        yield from stored(self.meta)
        for _, stream in self.shared:
            yield from stored(stream)
        for _, stream in self.private:
            yield from stored(stream)


@dataclass(frozen=True, slots=True)
class ChangelogFilesHandle:
    """Changes since a materialization, as (offset, stream) in order (ChangelogStateHandleStreamImpl).

    ``size`` and ``checkpointed_size`` in bytes. ``storage`` is of tag 13 only; tag 10 means "filesystem".
    """

    first_key_group: int
    key_groups: int
    changes: tuple[tuple[int, StreamHandle], ...]
    size: int
    checkpointed_size: int
    handle_id: str
    storage: str | None = "filesystem"
    tag: int = CHANGELOG_FILES_V2
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    def streams(self) -> Iterator[StoredHandle]:
        """Each stream that it is made of."""
        for _, stream in self.changes:
            yield from stored(stream)


@dataclass(frozen=True, slots=True)
class ChangelogInlineHandle:
    """Changes inside ``_metadata`` (InMemoryChangelogStateHandle): numbers ``first`` to ``last``, by key group.

    Key group -1 is of the metadata.
    """

    first_key_group: int
    key_groups: int
    first: int
    last: int
    changes: tuple[tuple[int, bytes | memoryview], ...]
    handle_id: str
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    def streams(self) -> Iterator[StoredHandle]:
        """None: it has no stream."""
        return iter(())


ChangelogPart = ChangelogFilesHandle | ChangelogInlineHandle


@dataclass(frozen=True, slots=True)
class ChangelogHandle:
    """Keyed state of the changelog backend: what was materialized, then the changes since.

    ``materialized`` may hold None, which Flink reads over. ``checkpoint_id`` is of tag 14 only; tag 8 means the
    materialization's. (ChangelogStateBackendHandleImpl)
    """

    first_key_group: int
    key_groups: int
    checkpointed_size: int
    materialized: tuple[KeyedHandle | None, ...]
    changes: tuple[ChangelogPart, ...]
    materialization_id: int
    checkpoint_id: int | None
    handle_id: str
    tag: int = CHANGELOG_V2
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    def streams(self) -> Iterator[StoredHandle]:
        """Each stream that it is made of."""
        for keyed in self.materialized:
            if keyed is not None:
                yield from keyed.streams()
        for changes in self.changes:
            yield from changes.streams()


KeyedHandle = KeyGroupsHandle | IncrementalHandle | ChangelogHandle | ChangelogFilesHandle | ChangelogInlineHandle


@dataclass(frozen=True, slots=True)
class ListState:
    """One named state of an operator: the position of each element in the handle's stream.

    ``offsets_span`` is where the number of offsets and the offsets stand.
    """

    name: str
    mode: Mode
    offsets: tuple[int, ...]
    offsets_span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class MergedDirectories:
    """What file merging adds to operator state: the directories that its files are in; ``empty``: it has none."""

    task_owned: str
    shared: str
    empty: bool


@dataclass(frozen=True, slots=True)
class OperatorStateHandle:
    """An operator's list states of one subtask, all in one stream. Only the offsets here say which elements are.

    With ``merged`` it is a FileMergingOperatorStreamStateHandle, and its stream a segment; else an
    OperatorStreamStateHandle.
    """

    states: tuple[ListState, ...]
    stream: StreamHandle
    merged: MergedDirectories | None = None
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    def state(self, name: str) -> ListState | None:
        """The state of that name."""
        return next((state for state in self.states if state.name == name), None)

    def streams(self) -> Iterator[StoredHandle]:
        """The stream that it is in."""
        return stored(self.stream)

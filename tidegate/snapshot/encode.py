"""Writes state handles, each in the form that its tag names, as Flink's serializers do.

Source: org.apache.flink.runtime.checkpoint.metadata.MetadataV2V3SerializerBase and ChannelStateHandleSerializerV1/V2.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from tidegate.snapshot.channels import AnyChannelHandle, Direction, MergedChannelHandle
from tidegate.snapshot.cursor import i32_bytes, i64_bytes, utf_bytes
from tidegate.snapshot.handles import (
    CHANGELOG_FILES_V1,
    CHANGELOG_FILES_V2,
    CHANGELOG_INLINE,
    CHANGELOG_V1,
    CHANGELOG_V2,
    EMPTY_SEGMENT,
    FILE,
    INCREMENTAL_V1,
    INCREMENTAL_V2,
    INLINE,
    KEY_GROUPS_SAVEPOINT,
    KEY_GROUPS_V1,
    KEY_GROUPS_V2,
    MERGED_OPERATOR_STREAM,
    NULL,
    OPERATOR_STREAM,
    RELATIVE_FILE,
    SEGMENT,
    ChangelogFilesHandle,
    ChangelogHandle,
    ChangelogInlineHandle,
    EmptySegmentHandle,
    FileHandle,
    IncrementalHandle,
    InlineHandle,
    KeyedHandle,
    KeyGroupsHandle,
    NamedStreams,
    OperatorStateHandle,
    RelativeHandle,
    SegmentHandle,
    StreamHandle,
)

Pieces = list[bytes | memoryview]
"""What has been written, to be joined: large inline state is not copied twice."""

_NULL: Final = bytes([NULL])
_TWO_INTS: Final = struct.Struct(">ii")
_UNKNOWN_SIZE: Final = -1


def _tag(tag: int, allowed: tuple[int, ...], handle: object) -> bytes:
    if tag not in allowed:
        raise ValueError(f"tag {tag} is not one of {allowed}, of a {type(handle).__name__}")
    return bytes([tag])


def _of_newer(value: object, newer: bool, name: str, handle: object) -> None:
    """A field that only the newer form of a handle has must be there in that, and only there."""
    if (value is not None) is not newer:
        said = "needs" if newer else "cannot have"
        raise ValueError(f"a {type(handle).__name__} of this tag {said} a {name}")


def _i64s(values: Sequence[int]) -> bytes:
    return struct.pack(f">{len(values)}q", *values)


def _blob(out: Pieces, content: bytes | memoryview) -> None:
    out += (i32_bytes(len(content)), content)


def write_stream(out: Pieces, handle: StreamHandle | None) -> None:
    """A StreamStateHandle; None for the null handle. Raises ValueError for text beyond 65,535 bytes."""
    if handle is None:
        out.append(_NULL)
    elif isinstance(handle, FileHandle):
        size = _UNKNOWN_SIZE if handle.size is None else handle.size
        out.append(bytes([FILE]) + i64_bytes(size) + utf_bytes(handle.path))
    elif isinstance(handle, RelativeHandle):
        size = _UNKNOWN_SIZE if handle.size is None else handle.size
        out.append(bytes([RELATIVE_FILE]) + utf_bytes(handle.name) + i64_bytes(size))
    elif isinstance(handle, InlineHandle):
        out.append(bytes([INLINE]) + utf_bytes(handle.name))
        _blob(out, handle.content)
    elif isinstance(handle, SegmentHandle):
        out += (bytes([SEGMENT]), i64_bytes(handle.start), i64_bytes(handle.size), i32_bytes(handle.scope))
        out += (utf_bytes(handle.path), utf_bytes(handle.logical_id))
    elif isinstance(handle, EmptySegmentHandle):
        out.append(bytes([EMPTY_SEGMENT]))
    else:
        out += (bytes([KEY_GROUPS_V1]), _TWO_INTS.pack(handle.first_key_group, len(handle.offsets)))
        out.append(_i64s(handle.offsets))
        write_stream(out, handle.stream)


def write_keyed(out: Pieces, handle: KeyedHandle | None) -> None:
    """A KeyedStateHandle; None for the null handle.

    Raises ValueError for a handle whose fields are not those of its tag.
    """
    if handle is None:
        out.append(_NULL)
    elif isinstance(handle, KeyGroupsHandle):
        _of_newer(handle.handle_id, handle.tag == KEY_GROUPS_V2, "handle id", handle)
        out.append(_tag(handle.tag, (KEY_GROUPS_V1, KEY_GROUPS_SAVEPOINT, KEY_GROUPS_V2), handle))
        out += (_TWO_INTS.pack(handle.first_key_group, len(handle.offsets)), _i64s(handle.offsets))
        write_stream(out, handle.stream)
        if handle.handle_id is not None:
            out.append(utf_bytes(handle.handle_id))
    elif isinstance(handle, IncrementalHandle):
        _incremental(out, handle)
    elif isinstance(handle, ChangelogHandle):
        _changelog(out, handle)
    elif isinstance(handle, ChangelogFilesHandle):
        _changelog_files(out, handle)
    else:
        _changelog_inline(out, handle)


def _incremental(out: Pieces, handle: IncrementalHandle) -> None:
    newer = handle.tag == INCREMENTAL_V2
    _of_newer(handle.checkpointed_size, newer, "checkpointed size", handle)
    _of_newer(handle.handle_id, newer, "handle id", handle)
    out += (_tag(handle.tag, (INCREMENTAL_V1, INCREMENTAL_V2), handle), i64_bytes(handle.checkpoint_id))
    out += (utf_bytes(handle.backend_id), _TWO_INTS.pack(handle.first_key_group, handle.key_groups))
    if handle.checkpointed_size is not None:
        out.append(i64_bytes(handle.checkpointed_size))
    write_stream(out, handle.meta)
    _named_streams(out, handle.shared)
    _named_streams(out, handle.private)
    if handle.handle_id is not None:
        out.append(utf_bytes(handle.handle_id))


def _named_streams(out: Pieces, streams: NamedStreams) -> None:
    out.append(i32_bytes(len(streams)))
    for name, stream in streams:
        out.append(utf_bytes(name))
        write_stream(out, stream)


def _changelog(out: Pieces, handle: ChangelogHandle) -> None:
    _of_newer(handle.checkpoint_id, handle.tag == CHANGELOG_V2, "checkpoint id", handle)
    out.append(_tag(handle.tag, (CHANGELOG_V1, CHANGELOG_V2), handle))
    out += (_TWO_INTS.pack(handle.first_key_group, handle.key_groups), i64_bytes(handle.checkpointed_size))
    out.append(i32_bytes(len(handle.materialized)))
    for keyed in handle.materialized:
        write_keyed(out, keyed)
    out.append(i32_bytes(len(handle.changes)))
    for changes in handle.changes:
        write_keyed(out, changes)
    out.append(i64_bytes(handle.materialization_id))
    if handle.checkpoint_id is not None:
        out.append(i64_bytes(handle.checkpoint_id))
    out.append(utf_bytes(handle.handle_id))


def _changelog_files(out: Pieces, handle: ChangelogFilesHandle) -> None:
    _of_newer(handle.storage, handle.tag == CHANGELOG_FILES_V2, "storage", handle)
    out.append(_tag(handle.tag, (CHANGELOG_FILES_V1, CHANGELOG_FILES_V2), handle))
    out += (_TWO_INTS.pack(handle.first_key_group, handle.key_groups), i32_bytes(len(handle.changes)))
    for offset, stream in handle.changes:
        out.append(i64_bytes(offset))
        write_stream(out, stream)
    out += (i64_bytes(handle.size), i64_bytes(handle.checkpointed_size), utf_bytes(handle.handle_id))
    if handle.storage is not None:
        out.append(utf_bytes(handle.storage))


def _changelog_inline(out: Pieces, handle: ChangelogInlineHandle) -> None:
    out += (bytes([CHANGELOG_INLINE]), _TWO_INTS.pack(handle.first_key_group, handle.key_groups))
    out += (i64_bytes(handle.first), i64_bytes(handle.last), i32_bytes(len(handle.changes)))
    for key_group, change in handle.changes:
        out.append(i32_bytes(key_group))
        _blob(out, change)
    out.append(utf_bytes(handle.handle_id))


def write_operator_state(out: Pieces, handle: OperatorStateHandle | None) -> None:
    """An OperatorStateHandle; None for the null handle."""
    if handle is None:
        out.append(_NULL)
        return
    out.append(bytes([OPERATOR_STREAM if handle.merged is None else MERGED_OPERATOR_STREAM]))
    out.append(i32_bytes(len(handle.states)))
    for state in handle.states:
        out += (utf_bytes(state.name), bytes([state.mode]), i32_bytes(len(state.offsets)), _i64s(state.offsets))
    if handle.merged is not None:
        if not isinstance(handle.stream, SegmentHandle | EmptySegmentHandle):
            raise ValueError("operator state with merged directories lies in a segment")
        out += (utf_bytes(handle.merged.task_owned), utf_bytes(handle.merged.shared), bytes([handle.merged.empty]))
    write_stream(out, handle.stream)


def write_channels(out: Pieces, handles: Sequence[AnyChannelHandle], direction: Direction, typed: bool) -> None:
    """The channel handles of a subtask in one direction; ``typed`` from format 6 on.

    Raises ValueError for a handle of the other direction, and for a merged one before format 6.
    """
    out.append(i32_bytes(len(handles)))
    for handle in handles:
        if handle.direction is not direction:
            raise ValueError(f"a handle of {handle.direction.name} among those of {direction.name}")
        if isinstance(handle, MergedChannelHandle):
            if not typed:
                raise ValueError("merged channel handles need format 6")
            out += (bytes([direction.merged_type]), i32_bytes(handle.subtask), i64_bytes(handle.size))
            write_stream(out, handle.stream)
            _blob(out, handle.channel_offsets)
            continue
        if typed:
            out.append(bytes([direction]))
        out += (i32_bytes(handle.subtask), _TWO_INTS.pack(handle.gate, handle.channel))
        out += (i32_bytes(len(handle.offsets)), _i64s(handle.offsets), i64_bytes(handle.size))
        write_stream(out, handle.stream)

"""Reads state handles. What a handle is, is its first byte; there is no length, so nothing can be skipped over.

Source: org.apache.flink.runtime.checkpoint.metadata.MetadataV2V3SerializerBase and ChannelStateHandleSerializerV1/V2.
Tags do not depend on the format version: each is read in all.
"""

from __future__ import annotations

import struct
from typing import Final

from tidegate.snapshot.channels import AnyChannelHandle, ChannelHandle, Direction, MergedChannelHandle
from tidegate.snapshot.cursor import Cursor, Span
from tidegate.snapshot.handles import (
    CHANGELOG_FILES_V1,
    CHANGELOG_FILES_V2,
    CHANGELOG_INLINE,
    CHANGELOG_V1,
    CHANGELOG_V2,
    CLASSES,
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
    ChangelogPart,
    EmptySegmentHandle,
    FileHandle,
    IncrementalHandle,
    InlineHandle,
    KeyedHandle,
    KeyGroupsHandle,
    KeyGroupsStream,
    ListState,
    MergedDirectories,
    Mode,
    NamedStreams,
    OperatorStateHandle,
    RelativeHandle,
    Scope,
    SegmentHandle,
    StreamHandle,
)

_SIZE_AND_LENGTH: Final = struct.Struct(">qH")
_SIZE: Final = struct.Struct(">q")
_MAX_DEPTH: Final = 32
_MAX_KEY_GROUPS: Final = 1 << 15
# A tuple is made without its __new__: a fifth of the time of a file's handle.
_tuple: Final = tuple.__new__


def read_stream(cursor: Cursor, what: str) -> StreamHandle | None:
    """A StreamStateHandle, or None for the null handle. Raises SnapshotUnreadable."""
    start = cursor.position
    tag = cursor.u8(f"the handle of {what}")
    if tag == NULL:
        return None
    if tag == FILE:
        size = _size(cursor)
        path = cursor.utf("the path of a state file")
        return FileHandle(path, size, _span(cursor, start))
    if tag == RELATIVE_FILE:
        name = cursor.utf("the name of a state file")
        size = _size(cursor)
        return RelativeHandle(name, size, _span(cursor, start))
    if tag == INLINE:
        name = cursor.utf("the name of inline state")
        content = cursor.content(f"{what}, inline")
        return InlineHandle(name, content, _span(cursor, start))
    if tag == SEGMENT:
        return _segment(cursor, start)
    if tag == EMPTY_SEGMENT:
        return EmptySegmentHandle(_span(cursor, start))
    if tag == KEY_GROUPS_V1:
        _deeper(cursor, start)
        first, offsets = _key_group_offsets(cursor)
        stream = _stream(cursor, what)
        cursor.depth -= 1
        return KeyGroupsStream(first, offsets, stream, _span(cursor, start))
    raise _wrong_tag(cursor, tag, f"the handle of {what}", start)


def _span(cursor: Cursor, start: int) -> Span:
    origin = cursor.origin
    return Span(origin + start, origin + cursor.position)


def _wrong_tag(cursor: Cursor, tag: int, expected: str, at: int) -> Exception:
    if tag in CLASSES:
        return cursor.error(f"a {CLASSES[tag]} (tag {tag}) cannot stand here", expected, at)
    return cursor.error(f"tag {tag} is none of Flink's", expected, at)


def _deeper(cursor: Cursor, at: int) -> None:
    cursor.depth += 1
    if cursor.depth > _MAX_DEPTH:
        raise cursor.error(f"handles stand {cursor.depth} deep in each other", f"{_MAX_DEPTH} levels at most", at)


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


def _not_negative(cursor: Cursor, value: int, expected: str, at: int) -> int:
    if value < 0:
        raise cursor.error(f"{value}", expected, at)
    return value


def _segment(cursor: Cursor, start: int) -> SegmentHandle:
    at = cursor.position
    first = _not_negative(cursor, cursor.i64("the start of a segment"), "the start of a segment", at)
    at = cursor.position
    size = _not_negative(cursor, cursor.i64("the size of a segment"), "the size of a segment", at)
    at = cursor.position
    scope = cursor.i32("the scope of a segment")
    if scope not in (0, 1):
        raise cursor.error(f"scope {scope}", "0 (exclusive) or 1 (shared)", at)
    path, logical = cursor.utf("the path of a segment's file"), cursor.utf("the logical file id of a segment")
    return SegmentHandle(path, first, size, Scope(scope), logical, _span(cursor, start))


def _key_groups(cursor: Cursor) -> tuple[int, int]:
    at = cursor.position
    first, count = cursor.i32("the first key group"), cursor.i32("the number of key groups")
    if first < 0 or count < 0 or first + count > _MAX_KEY_GROUPS:
        raise cursor.error(f"{count} key groups from {first}", f"key groups from 0 to {_MAX_KEY_GROUPS - 1:,}", at)
    return first, count


def _key_group_offsets(cursor: Cursor) -> tuple[int, tuple[int, ...]]:
    first, count = _key_groups(cursor)
    start = cursor.skip(8 * count, "the offsets of key groups")
    return first, struct.unpack_from(f">{count}q", cursor.data, start)


def read_keyed(cursor: Cursor, what: str) -> KeyedHandle | None:
    """A KeyedStateHandle, or None for the null handle. Raises SnapshotUnreadable."""
    start = cursor.position
    tag = cursor.u8(f"the handle of {what}")
    if tag == NULL:
        return None
    if tag in (KEY_GROUPS_V2, KEY_GROUPS_SAVEPOINT, KEY_GROUPS_V1):
        first, offsets = _key_group_offsets(cursor)
        stream = _stream(cursor, what)
        handle_id = cursor.utf("the id of a state handle") if tag == KEY_GROUPS_V2 else None
        return KeyGroupsHandle(first, offsets, stream, tag, handle_id, _span(cursor, start))
    if tag in (INCREMENTAL_V2, INCREMENTAL_V1):
        return _incremental(cursor, tag, what, start)
    if tag in (CHANGELOG_V2, CHANGELOG_V1):
        return _changelog(cursor, tag, what, start)
    if tag in (CHANGELOG_FILES_V2, CHANGELOG_FILES_V1):
        return _changelog_files(cursor, tag, what, start)
    if tag == CHANGELOG_INLINE:
        return _changelog_inline(cursor, what, start)
    raise _wrong_tag(cursor, tag, f"the handle of {what}", start)


def _incremental(cursor: Cursor, tag: int, what: str, start: int) -> IncrementalHandle:
    checkpoint_id = cursor.i64("the checkpoint id of a handle")
    backend_id = cursor.utf("the backend id of a handle")
    first, count = _key_groups(cursor)
    new = tag == INCREMENTAL_V2
    checkpointed_size = cursor.i64("the checkpointed size") if new else None
    meta = _stream(cursor, f"RocksDB's meta data in {what}")
    shared = _named_streams(cursor, f"shared files in {what}")
    private = _named_streams(cursor, f"private files in {what}")
    handle_id = cursor.utf("the id of a state handle") if new else None
    return IncrementalHandle(
        checkpoint_id,
        backend_id,
        first,
        count,
        checkpointed_size,
        meta,
        shared,
        private,
        tag,
        handle_id,
        _span(cursor, start),
    )


def _named_streams(cursor: Cursor, what: str) -> NamedStreams:
    count = cursor.count(what, 2 + 1)  # an empty name and the shortest handle's tag
    found: list[tuple[str, StreamHandle]] = []
    while len(found) < count:
        _plain_files(cursor, count - len(found), found)
        if len(found) < count:
            name = cursor.utf("the local name of a file")
            found.append((name, _stream(cursor, what)))
    return tuple(found)


def _plain_files(cursor: Cursor, most: int, found: list[tuple[str, StreamHandle]]) -> None:
    """Add the named files that come next, as long as they are of the two kinds that nearly all are.

    Most of a large ``_metadata`` is these: so they are read in one go, without a call for each file or field. It stops
    before the first that is anything else, or is damaged, or ends beyond the window, with nothing of that one read:
    ``Cursor`` and ``read_stream`` say what it is.
    """
    data, at, last, origin = cursor.data, cursor.position, cursor.end, cursor.origin
    size_and_length, size_of, add = _SIZE_AND_LENGTH.unpack_from, _SIZE.unpack_from, found.append
    try:
        for _ in range(most):
            start = at + 2 + (data[at] << 8 | data[at + 1])
            tag = data[start]
            if tag == FILE:
                size, length = size_and_length(data, start + 1)
                text = start + 11
                end = after = text + length
            elif tag == RELATIVE_FILE:
                text = start + 3
                after = text + (data[start + 1] << 8 | data[start + 2])
                (size,) = size_of(data, after)
                end = after + 8
            else:
                break
            name, path = data[at + 2 : start], data[text:after]
            if end > last or size < -1 or 0 in path or 0 in name:
                break
            span = _tuple(Span, (origin + start, origin + end))
            fields = (path.decode("ascii"), None if size == -1 else size, span)
            stream = _tuple(FileHandle, fields) if tag == FILE else _tuple(RelativeHandle, fields)
            add((name.decode("ascii"), stream))
            at = end
    except (struct.error, IndexError, UnicodeDecodeError):
        pass  # what stands there is read again by those who can say what is wrong with it
    cursor.position = at


def _changelog(cursor: Cursor, tag: int, what: str, start: int) -> ChangelogHandle:
    _deeper(cursor, start)
    first, count = _key_groups(cursor)
    checkpointed_size = cursor.i64("the checkpointed size")
    base = tuple(read_keyed(cursor, f"materialized {what}") for _ in range(cursor.count(f"materialized {what}", 1)))
    changes = tuple(_changes(cursor, what) for _ in range(cursor.count(f"changes of {what}", 1)))
    materialization_id = cursor.i64("the id of a materialization")
    checkpoint_id = cursor.i64("the checkpoint id of a handle") if tag == CHANGELOG_V2 else None
    handle_id = cursor.utf("the id of a state handle")
    cursor.depth -= 1
    span = _span(cursor, start)
    return ChangelogHandle(
        first, count, checkpointed_size, base, changes, materialization_id, checkpoint_id, handle_id, tag, span
    )


def _changes(cursor: Cursor, what: str) -> ChangelogPart:
    start = cursor.position
    found = read_keyed(cursor, f"changes of {what}")
    if isinstance(found, ChangelogPart):
        return found
    raise cursor.error("no handle of changes", f"the handle of changes of {what} (tag 9, 10 or 13)", start)


def _changelog_files(cursor: Cursor, tag: int, what: str, start: int) -> ChangelogFilesHandle:
    first, count = _key_groups(cursor)
    changes = tuple(
        (cursor.i64("the offset of changes"), _stream(cursor, f"changes of {what}"))
        for _ in range(cursor.count("streams of changes", 8 + 1))
    )
    size, checkpointed_size = cursor.i64("the size of changes"), cursor.i64("the checkpointed size")
    handle_id = cursor.utf("the id of a state handle")
    storage = cursor.utf("the storage of changes") if tag == CHANGELOG_FILES_V2 else None
    span = _span(cursor, start)
    return ChangelogFilesHandle(first, count, changes, size, checkpointed_size, handle_id, storage, tag, span)


def _changelog_inline(cursor: Cursor, what: str, start: int) -> ChangelogInlineHandle:
    first, count = _key_groups(cursor)
    lowest, highest = cursor.i64("the first number of changes"), cursor.i64("the last number of changes")
    changes = tuple(
        (cursor.i32("the key group of a change"), cursor.content(f"a change of {what}"))
        for _ in range(cursor.count("changes", 4 + 4))
    )
    handle_id = cursor.utf("the id of a state handle")
    return ChangelogInlineHandle(first, count, lowest, highest, changes, handle_id, _span(cursor, start))


def read_operator_state(cursor: Cursor, what: str) -> OperatorStateHandle | None:
    """An OperatorStateHandle, or None for the null handle. Raises SnapshotUnreadable."""
    start = cursor.position
    tag = cursor.u8(f"the handle of {what}")
    if tag == NULL:
        return None
    if tag not in (OPERATOR_STREAM, MERGED_OPERATOR_STREAM):
        raise _wrong_tag(cursor, tag, f"the handle of {what}", start)
    states = tuple(_list_state(cursor) for _ in range(cursor.count("states", 2 + 1 + 4)))
    merged = None
    if tag == MERGED_OPERATOR_STREAM:
        task_owned, shared = cursor.utf("the task-owned directory"), cursor.utf("the shared directory")
        merged = MergedDirectories(task_owned, shared, cursor.boolean("0 or 1, whether operator state is empty"))
    at = cursor.position
    stream = _stream(cursor, what)
    if merged is not None and not isinstance(stream, SegmentHandle | EmptySegmentHandle):
        raise cursor.error("it lies in no segment", f"the handle of {what}, a segment", at)
    return OperatorStateHandle(states, stream, merged, _span(cursor, start))


def _list_state(cursor: Cursor) -> ListState:
    name = cursor.utf("the name of a state")
    mode = cursor.u8("the mode of a state")
    if mode > max(Mode):
        raise cursor.error(f"mode {mode}", "0 (split), 1 (union) or 2 (broadcast)", cursor.position - 1)
    start = cursor.position
    offsets = cursor.i64s("elements of a state")
    return ListState(name, Mode(mode), offsets, _span(cursor, start))


def read_channels(cursor: Cursor, direction: Direction, typed: bool) -> tuple[AnyChannelHandle, ...]:
    """The channel handles of a subtask in one direction; ``typed``: each says by a byte which it is (from format 6).

    Raises SnapshotUnreadable.
    """
    name = direction.name.lower()
    # The smallest typed one is merged, without a stream and without offsets.
    count = cursor.count(f"{name} channel handles", 18 if typed else 29)
    return tuple(_channel(cursor, direction, name, typed) for _ in range(count))


def _channel(cursor: Cursor, direction: Direction, name: str, typed: bool) -> AnyChannelHandle:
    start = cursor.position
    if typed:
        kind = cursor.u8(f"the type of an {name} channel handle")
        if kind not in (direction, direction.merged_type):
            raise cursor.error(
                f"type {kind}", f"{int(direction)} or {direction.merged_type}, an {name} channel handle", start
            )
        if kind == direction.merged_type:
            subtask, size = cursor.i32("the subtask of channel state"), cursor.i64("the size of channel state")
            stream = _stream(cursor, f"{name} channels")
            offsets = cursor.blob("the offsets of merged channels")
            return MergedChannelHandle(direction, subtask, size, stream, offsets, _span(cursor, start))
    subtask = cursor.i32("the subtask of channel state")
    gate, channel = cursor.i32("a gate or partition"), cursor.i32("a channel or subpartition")
    positions = cursor.i64s("offsets of channel state")
    size = cursor.i64("the size of channel state")
    stream = _stream(cursor, f"{name} channels")
    return ChannelHandle(direction, subtask, gate, channel, positions, size, stream, _span(cursor, start))

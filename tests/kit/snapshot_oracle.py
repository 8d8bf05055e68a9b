"""What we read in a ``_metadata``, in the words of the oracle (tests/vectors, class Oracle), to be compared with it."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from tidegate.snapshot.channels import AnyChannelHandle, Direction, MergedChannelHandle
from tidegate.snapshot.handles import (
    KEY_GROUPS_SAVEPOINT,
    ChangelogFilesHandle,
    ChangelogHandle,
    ChangelogInlineHandle,
    EmptySegmentHandle,
    FileHandle,
    IncrementalHandle,
    InlineHandle,
    KeyedHandle,
    KeyGroupsHandle,
    KeyGroupsStream,
    OperatorStateHandle,
    RelativeHandle,
    SegmentHandle,
    StreamHandle,
)
from tidegate.snapshot.metadata import Metadata, Operator, SubtaskState
from tidegate.snapshot.properties import Properties

Json = dict[str, Any]

_UNKNOWN_IN_OLD_FORMS = ("handle_id", "checkpointed_size")
"""Flink makes these up where an old form of a handle does not have them."""


def digest(data: bytes | memoryview) -> str:
    return f"{len(data)}:{hashlib.sha256(data).hexdigest()[:16]}"


def seen(metadata: Metadata) -> Json:
    return {
        "checkpoint_id": metadata.checkpoint_id,
        "master_states": [
            {"name": m.name, "version": m.version, "bytes": digest(m.content)} for m in metadata.master_states
        ],
        "properties": _properties(metadata.properties),
        "operators": [_operator(operator) for operator in metadata.operators],
    }


def agree(ours: Any, flinks: Any, at: str = "") -> list[str]:
    """Where the two differ, by path; ours may leave out what the file does not have."""
    if isinstance(ours, dict) and isinstance(flinks, dict):
        known = {key for key in flinks if key not in _UNKNOWN_IN_OLD_FORMS or ours.get(key) is not None}
        left = {key for key, value in ours.items() if key not in _UNKNOWN_IN_OLD_FORMS or value is not None}
        found = [f"{at}.{key}: in one only" for key in known ^ left]
        return found + [text for key in known & left for text in agree(ours[key], flinks[key], f"{at}.{key}")]
    if isinstance(ours, list) and isinstance(flinks, list) and len(ours) == len(flinks):
        return [text for n, pair in enumerate(zip(ours, flinks, strict=True)) for text in agree(*pair, f"{at}[{n}]")]
    return [] if ours == flinks and type(ours) is type(flinks) else [f"{at}: {ours!r} is not {flinks!r}"]


def _properties(properties: Properties | None) -> Json | None:
    if properties is None or properties.java is None:
        return None
    flags = {
        f"discard{event.capitalize()}": event in properties.discard
        for event in ("subsumed", "finished", "cancelled", "failed", "suspended")
    }
    found = {
        **flags,
        "forced": properties.forced,
        "unclaimed": properties.unclaimed,
        "name": properties.name,
        "savepoint": properties.is_savepoint,
        # Of a savepoint, Flink computes it.
        "sharing": "NO_SHARING" if properties.is_savepoint else properties.sharing,
    }
    return found | ({"format": properties.format, "action": properties.action} if properties.is_savepoint else {})


def _operator(operator: Operator) -> Json:
    return {
        "id": operator.operator_id,
        "name": operator.name,
        "uid": operator.uid,
        "parallelism": operator.parallelism,
        "max_parallelism": operator.max_parallelism,
        "finished": operator.finished,
        "coordinator": None if operator.coordinator is None else _stream(operator.coordinator),
        "subtasks": {str(index): _subtask(state) for index, state in operator.subtasks.items()},
    }


def _subtask(state: SubtaskState) -> Json | str:
    if state.finished:
        return "finished"
    return {
        "managed_operator": [_operator_state(state.managed_operator)] if state.managed_operator else [],
        "raw_operator": [_operator_state(state.raw_operator)] if state.raw_operator else [],
        "managed_keyed": [_keyed(state.managed_keyed)] if state.managed_keyed else [],
        "raw_keyed": [_keyed(state.raw_keyed)] if state.raw_keyed else [],
        "input_channels": [_channel(handle) for handle in state.input_channels],
        "output_channels": [_channel(handle) for handle in state.output_channels],
    }


def _operator_state(handle: OperatorStateHandle) -> Json:
    states = {state.name: {"mode": state.mode.name, "offsets": list(state.offsets)} for state in handle.states}
    found: Json = {"class": "OperatorStreamStateHandle", "states": states, "stream": _stream(handle.stream)}
    if handle.merged is None:
        return found
    kind = ("Empty" if handle.merged.empty else "") + "FileMergingOperatorStreamStateHandle"
    return found | {"class": kind, "task_owned": handle.merged.task_owned, "shared": handle.merged.shared}


def _keyed(handle: KeyedHandle | None) -> Json | None:
    match handle:
        case None:
            return None
        case KeyGroupsHandle():
            kind = "KeyGroupsSavepointStateHandle" if handle.tag == KEY_GROUPS_SAVEPOINT else "KeyGroupsStateHandle"
            return _key_groups(handle, kind) | {"handle_id": handle.handle_id}
        case IncrementalHandle():
            try:
                backend = str(uuid.UUID(handle.backend_id))
            except ValueError:
                # UUID.nameUUIDFromBytes
                plain = hashlib.md5(handle.backend_id.encode(), usedforsecurity=False).digest()
                backend = str(uuid.UUID(bytes=plain, version=3))
            return {
                "class": "IncrementalRemoteKeyedStateHandle",
                **_range(handle),
                "checkpoint_id": handle.checkpoint_id,
                "backend_id": backend,
                "checkpointed_size": handle.checkpointed_size,
                "handle_id": handle.handle_id,
                "meta": _stream(handle.meta),
                "shared": [[name, _stream(stream)] for name, stream in handle.shared],
                "private": [[name, _stream(stream)] for name, stream in handle.private],
            }
        case ChangelogHandle():
            by_id = handle.materialization_id if handle.checkpoint_id is None else handle.checkpoint_id
            return {
                "class": "ChangelogStateBackendHandleImpl",
                **_range(handle),
                "checkpointed_size": handle.checkpointed_size,
                "materialized": [_keyed(keyed) for keyed in handle.materialized if keyed is not None],
                "changes": [_keyed(part) for part in handle.changes],
                "materialization_id": handle.materialization_id,
                "checkpoint_id": by_id,
                "handle_id": handle.handle_id,
            }
        case ChangelogInlineHandle():
            return {
                "class": "InMemoryChangelogStateHandle",
                **_range(handle),
                "first": handle.first,
                "last": handle.last,
                "changes": [[group, digest(change)] for group, change in handle.changes],
                "handle_id": handle.handle_id,
            }
        case ChangelogFilesHandle():
            return {
                "class": "ChangelogStateHandleStreamImpl",
                **_range(handle),
                "changes": [[offset, _stream(stream)] for offset, stream in handle.changes],
                "size": handle.size,
                "checkpointed_size": handle.checkpointed_size,
                "storage": "filesystem" if handle.storage is None else handle.storage,
                "handle_id": handle.handle_id,
            }


def _range(handle: IncrementalHandle | ChangelogHandle | ChangelogFilesHandle | ChangelogInlineHandle) -> Json:
    return {"first_key_group": handle.first_key_group, "key_groups": handle.key_groups}


def _key_groups(handle: KeyGroupsHandle | KeyGroupsStream, kind: str) -> Json:
    return {
        "class": kind,
        "first_key_group": handle.first_key_group,
        "key_groups": len(handle.offsets),
        "offsets": list(handle.offsets),
        "stream": _stream(handle.stream),
    }


def _channel(handle: AnyChannelHandle) -> Json:
    kind = "InputChannelStateHandle" if handle.direction is Direction.INPUT else "ResultSubpartitionStateHandle"
    common = {"subtask": handle.subtask, "size": handle.size, "stream": _stream(handle.stream)}
    if isinstance(handle, MergedChannelHandle):
        return {"class": f"Merged{kind}", "channel_offsets": digest(handle.channel_offsets), **common}
    place = {"gate": handle.gate, "channel": handle.channel, "offsets": list(handle.offsets)}
    return {"class": kind, **place, **common}


def _stream(handle: StreamHandle) -> Json:
    match handle:
        case InlineHandle():
            return {"class": "ByteStreamStateHandle", "name": handle.name, "bytes": digest(handle.content)}
        case RelativeHandle():
            return {"class": "RelativeFileStateHandle", "name": handle.name, "size": _size(handle.size)}
        case FileHandle():
            return {"class": "FileStateHandle", "path": handle.path, "size": _size(handle.size)}
        case SegmentHandle():
            return {
                "class": "SegmentFileStateHandle",
                "path": handle.path,
                "start": handle.start,
                "size": handle.size,
                "scope": handle.scope.name,
                "logical_id": handle.logical_id,
            }
        case EmptySegmentHandle():
            return {"class": "EmptySegmentFileStateHandle"}
        case KeyGroupsStream():
            return _key_groups(handle, "KeyGroupsStateHandle")


def _size(size: int | None) -> int:
    return -1 if size is None else size

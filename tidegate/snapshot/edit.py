"""Edited copies of ``_metadata``: byte ranges replaced, all else kept to the byte, the result read again.

The original is never written, and no state file either: a copy is one new ``_metadata`` that names the original's files
by their whole paths. So the original's files must outlive what was started from the copy (X10).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tidegate.clients.objects import ObjectStore, PreconditionFailed, S3Uri, Uri
from tidegate.errors import InvalidInput, Refused
from tidegate.snapshot.cursor import Span, i32_bytes, i64_bytes, utf_bytes
from tidegate.snapshot.files import METADATA_NAME, Snapshot, file_uri
from tidegate.snapshot.handles import FILE, RelativeHandle
from tidegate.snapshot.metadata import Metadata, parse
from tidegate.snapshot.sinks import COMMITTER_STATE, WRITER_STATE, sink_uid_of

_UNKNOWN_SIZE = -1


@dataclass(frozen=True)
class DroppedState:
    """A state of one subtask whose elements are no longer referenced."""

    sink_uid: str | None
    operator_id: str
    subtask: int
    state: str
    elements: int


@dataclass(frozen=True)
class Dropped:
    """What an edit took out, to be shown and recorded."""

    states: tuple[DroppedState, ...] = ()
    operators: tuple[str, ...] = ()


def splice(data: bytes, replacements: Iterable[tuple[Span, bytes]]) -> bytes:
    """The bytes with each span replaced. Spans must not overlap."""
    pieces: list[bytes] = []
    position = 0
    for span, replacement in sorted(replacements, key=lambda item: item[0].start):
        if span.start < position:
            raise ValueError(f"replacements overlap at byte {span.start:,}")
        pieces += [data[position : span.start], replacement]
        position = span.end
    return b"".join([*pieces, data[position:]])


def drop_sink_state(data: bytes) -> tuple[bytes, Dropped]:
    """A copy in which no sink has committables or writer's state, on any subtask (X12, X15).

    For a start that must not commit the old transactions, or not under the old prefix. The elements' bytes stay in the
    state's stream, no longer referenced. Returns the new bytes and what was dropped. Raises as ``parse`` does.
    """
    metadata = parse(data)
    dropped: list[DroppedState] = []
    replacements: list[tuple[Span, bytes]] = []
    for operator, subtask in metadata.subtask_states():
        if subtask.managed_operator is None:
            continue
        for state in subtask.managed_operator.states:
            if state.name in (COMMITTER_STATE, WRITER_STATE) and state.offsets:
                replacements.append((state.offsets_span, i32_bytes(0)))
                uid = sink_uid_of(operator)
                dropped.append(DroppedState(uid, operator.operator_id, subtask.index, state.name, len(state.offsets)))
    edited = splice(data, replacements)
    parse(edited)
    return edited, Dropped(states=tuple(dropped))


def drop_operators(data: bytes, operator_ids: Iterable[str]) -> tuple[bytes, Dropped]:
    """A copy without these operators (32 hex digits each): those that the artifact to be started does not have (X27).

    Raises InvalidInput for an operator that is not there, and as ``parse`` does.
    """
    metadata = parse(data)
    wanted = dict.fromkeys(operator_ids)
    unknown = [operator_id for operator_id in wanted if metadata.operator(operator_id) is None]
    if unknown:
        there = ", ".join(f"{operator.operator_id} ({operator})" for operator in metadata.operators)
        raise InvalidInput(f"the snapshot has no operator {', '.join(unknown)}; it has {there or 'none'}")
    cut = [operator for operator in metadata.operators if operator.operator_id in wanted]
    count = len(metadata.operators) - len(cut)
    edited = splice(
        data, [(metadata.operator_count_span, i32_bytes(count)), *((operator.span, b"") for operator in cut)]
    )
    parse(edited)
    return edited, Dropped(operators=tuple(operator.operator_id for operator in cut))


def with_absolute_paths(metadata: Metadata, base_uri: Uri) -> bytes:
    """The bytes with every file named by its whole path, so that they can be read in another directory.

    ``base_uri`` is the directory that relative names are in now, with the scheme that Flink is to use.
    """
    replacements = {
        handle.span: bytes([FILE])
        + i64_bytes(_UNKNOWN_SIZE if handle.size is None else handle.size)
        + utf_bytes(str(file_uri(handle, base_uri)))
        for handle in metadata.streams()
        if isinstance(handle, RelativeHandle)
    }
    edited = splice(metadata.data, replacements.items())
    parse(edited)
    return edited


def copy_bytes(source: Snapshot, data: bytes | None = None) -> bytes:
    """What `place_copy` writes. Raises as ``parse`` does."""
    return with_absolute_paths(source.metadata if data is None else parse(data), source.directory)


async def place_copy(store: ObjectStore, source: Snapshot, target_dir: Uri, data: bytes | None = None) -> S3Uri:
    """Write an edited ``_metadata`` of a snapshot into another directory; returns that, for Flink to start from.

    ``data`` is the edit of ``source.metadata.data`` (default: unchanged). One new object, written only if none is
    there; the same bytes already there is success, so that it can be done again (I4). Raises InvalidInput for the
    source's own directory, Refused if another ``_metadata`` is there, and what the store raises.
    """
    target = S3Uri.parse(target_dir)
    if S3Uri(target.bucket, target.key.rstrip("/")) == source.directory:
        raise InvalidInput(f"a copy of {source.directory} cannot be placed in the same directory: the original stays")
    content = copy_bytes(source, data)
    uri = target.join(METADATA_NAME)
    try:
        await store.create(uri, content)
    except PreconditionFailed:
        there = await store.get_or_none(uri)
        if there is None or there.body != content:
            raise Refused(f"{uri} is already there and is not this copy; name another directory") from None
    return target

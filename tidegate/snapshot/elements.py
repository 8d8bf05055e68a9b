"""The elements of operator state: list states of byte arrays, as Flink's sources and sinks keep theirs.

An operator's list states stand in one stream behind a header of no stated length. The header is not interpreted but
for its first bytes; where elements are, only ``_metadata`` says.

Source: org.apache.flink.runtime.state.OperatorBackendSerializationProxy,
org.apache.flink.core.io.SimpleVersionedSerialization.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from tidegate.clients.objects import ObjectStore
from tidegate.errors import SnapshotIncomplete, SnapshotUnsupported
from tidegate.snapshot.cursor import Cursor
from tidegate.snapshot.files import Snapshot, file_uri
from tidegate.snapshot.handles import InlineHandle, SegmentHandle, StreamHandle, stored
from tidegate.snapshot.metadata import Operator

_PROXY_VERSION: Final = 6


@dataclass(frozen=True)
class Element:
    """One element of a list state: whose it is, the version of its serializer, and a cursor over its payload."""

    operator: Operator
    subtask: int
    version: int
    payload: Cursor


async def elements(store: ObjectStore, snapshot: Snapshot, state_name: str) -> AsyncIterator[Element]:
    """Every element of the managed list states of that name, over all operators and subtasks, in the file's order.

    For states of versioned byte arrays only (``SimpleVersionedListState``). Raises SnapshotUnsupported for compressed
    state, SnapshotUnreadable for what does not fit, SnapshotIncomplete if a state file is gone, and what the store
    raises.
    """
    for operator, subtask in snapshot.metadata.subtask_states():
        handle = subtask.managed_operator
        state = handle.state(state_name) if handle is not None else None
        if handle is None or state is None or not state.offsets:
            continue
        what = f"state {state_name!r} of {operator}, subtask {subtask.index}"
        stream = Cursor(await read_stream_bytes(store, snapshot, handle.stream, what), of=what)
        check_header(stream, what)
        for offset in state.offsets:
            if not 0 <= offset <= stream.end:
                raise stream.error(f"an element at {offset:,} of {stream.end:,} bytes", "the position of an element")
            element = Cursor(stream.data, offset, of=what).inner("an element")
            version = element.i32("the version of an element")
            payload = element.inner("an element's payload")
            element.finish("an element")
            yield Element(operator, subtask.index, version, payload)


async def read_stream_bytes(store: ObjectStore, snapshot: Snapshot, handle: StreamHandle, what: str) -> bytes:
    """The bytes of a stream, from ``_metadata`` or from its file.

    Raises SnapshotIncomplete if the file is missing or of another size, and what the store raises.
    """
    lies_in = next(stored(handle), None)
    if lies_in is None:
        return b""
    if isinstance(lies_in, InlineHandle):
        return lies_in.data
    uri = file_uri(lies_in, snapshot.directory)
    found = await store.get_or_none(uri)
    size = None if found is None else len(found.body)
    if isinstance(lies_in, SegmentHandle):
        expected: int | None = lies_in.start + lies_in.size
        fits = size is not None and size >= lies_in.start + lies_in.size
    else:
        expected, fits = lies_in.size, size is not None and lies_in.size in (None, size)
    if found is None or not fits:
        said = "is missing" if size is None else f"has {size:,} bytes instead of {expected:,}"
        raise SnapshotIncomplete(
            f"{what}: {uri} {said}",
            details={"files": [{"uri": str(uri), "expected": expected, "found": size}]},
        )
    if isinstance(lies_in, SegmentHandle):
        return found.body[lies_in.start : lies_in.start + lies_in.size]
    return found.body


def check_header(stream: Cursor, what: str) -> None:
    """Raises SnapshotUnsupported for an operator state stream of a form that is not read."""
    version = stream.i32("the version of operator state")
    if version != _PROXY_VERSION:
        raise SnapshotUnsupported(
            f"{what} has serialization version {version}; read is {_PROXY_VERSION} (Flink 1.18 on)"
        )
    if stream.boolean("0 or 1, whether operator state is compressed"):
        raise SnapshotUnsupported(
            f"{what} is compressed with Snappy, which Tidegate does not read yet",
            hint="execution.checkpointing.snapshot-compression: false",
        )

"""Which keyed states each operator of a snapshot has, timers among them, for a few KiB an operator (X28).

Every operator that could set timers has a queue for them, whether it ever does or not. Whether one is in use is known
where it costs little: of RocksDB, whose MANIFEST says which states have files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tidegate.clients.objects import ObjectStore
from tidegate.errors import InvalidInput, SnapshotError, SnapshotIncomplete, SnapshotUnsupported
from tidegate.snapshot.cursor import Cursor
from tidegate.snapshot.files import Snapshot, file_uri
from tidegate.snapshot.handles import (
    ChangelogHandle,
    IncrementalHandle,
    InlineHandle,
    KeyedHandle,
    KeyGroupsHandle,
    SegmentHandle,
    StreamHandle,
    stored,
)
from tidegate.snapshot.metadata import Operator
from tidegate.snapshot.rocksmanifest import files_by_family
from tidegate.snapshot.statenames import WINDOW_CONTENTS, StateName, read_state_names

HEAD_BYTES: Final = 256 << 10
"""The most that is read of one operator's head; a larger one is not told of."""
MANIFEST_BYTES: Final = 4 << 20
"""The most that is read of all MANIFESTs of a snapshot."""
MANIFESTS: Final = 64
_AT_ONCE: Final = 8
_RAW_TIMERS: Final = bytes((0xF1, 0xCD, 0x85, 0x9F))
"""How timers begin that are kept as raw keyed state (PostVersionedIOReadableWritable)."""


@dataclass(frozen=True)
class KeyedState:
    """A keyed state. ``holds``: False: nothing is in it; True: it was written to; None: that is not known."""

    state: StateName
    holds: bool | None = None


@dataclass(frozen=True)
class KeyedStates:
    """The keyed states of an operator, by name. ``problem``: why they, or some of them, are not known.

    ``raw_timers``: it keeps timers as raw state, of which nobody can tell whether they are of processing or event time.
    """

    operator_id: str
    label: str
    states: tuple[KeyedState, ...] = ()
    raw_timers: bool = False
    problem: str | None = None

    @property
    def processing_timers(self) -> bool | None:
        """Whether it has timers of processing time; None: it may have."""
        return self._any(one.holds for one in self.states if one.state.processing_timers)

    @property
    def event_timers(self) -> bool | None:
        """Whether it has timers of event time; None: it may have."""
        return self._any(one.holds for one in self.states if one.state.event_timers)

    @property
    def windows(self) -> bool:
        """Whether it is a window."""
        return any(one.state.name == WINDOW_CONTENTS for one in self.states)

    def _any(self, held: Iterable[bool | None]) -> bool | None:
        known = set(held)
        if True in known:
            return True
        return None if None in known or self.raw_timers or self.problem is not None else False


async def keyed_states(store: ObjectStore, snapshot: Snapshot) -> tuple[KeyedStates, ...]:
    """The keyed states of each operator that has any, in the order of the file.

    What cannot be read is said in ``problem``. Raises what the store raises.
    """
    gate = asyncio.Semaphore(_AT_ONCE)
    reads = _Reads(store, snapshot)
    keyed = [one for one in snapshot.metadata.operators if _has_keyed(one)]
    affordable = _affordable(keyed)

    async def look(operator: Operator) -> KeyedStates:
        async with gate:
            return await _operator(reads, operator, with_files=operator.operator_id in affordable)

    return tuple(await asyncio.gather(*map(look, keyed)))


def _has_keyed(operator: Operator) -> bool:
    return any(one.managed_keyed is not None or one.raw_keyed is not None for one in operator.subtasks.values())


def _affordable(operators: Iterable[Operator]) -> set[str]:
    """The operators of whom all MANIFESTs are read, by id: one that is left out makes the others worthless."""
    left_bytes, left, found = MANIFEST_BYTES, MANIFESTS, set[str]()
    for operator in operators:
        manifests = [one for subtask in operator.subtasks.values() for one in _manifests(subtask.managed_keyed)]
        sizes = [_size(one) for one in manifests]
        known = [size for size in sizes if size is not None]
        if len(known) == len(sizes) and sum(known) <= left_bytes and len(known) <= left:
            left_bytes, left = left_bytes - sum(known), left - len(known)
            found.add(operator.operator_id)
    return found


def _manifests(handle: KeyedHandle | None) -> list[StreamHandle]:
    if not isinstance(handle, IncrementalHandle):
        return []
    return [stream for name, stream in (*handle.private, *handle.shared) if name.startswith("MANIFEST-")]


def _size(stream: StreamHandle) -> int | None:
    lies_in = next(stored(stream), None)
    if lies_in is None:
        return 0
    return len(lies_in.content) if isinstance(lies_in, InlineHandle) else lies_in.size


class _Reads:
    """Reads parts of a snapshot's streams."""

    def __init__(self, store: ObjectStore, snapshot: Snapshot) -> None:
        self._store, self._snapshot = store, snapshot

    async def part(self, stream: StreamHandle, start: int, count: int, what: str) -> bytes:
        """``count`` bytes from ``start``; fewer where the stream ends. Raises SnapshotIncomplete if it is gone."""
        lies_in = next(stored(stream), None)
        if lies_in is None or count <= 0:
            return b""
        if isinstance(lies_in, InlineHandle):
            return bytes(lies_in.content[start : start + count])
        if isinstance(lies_in, SegmentHandle):
            count = min(count, max(0, lies_in.size - start))
            start += lies_in.start
        uri = file_uri(lies_in, self._snapshot.directory)
        found = await self._store.get_range(uri, start, count) if count else b""
        if found is None:
            raise SnapshotIncomplete(f"{what}: {uri} is missing", details={"files": [{"uri": str(uri)}]})
        return found


async def _operator(reads: _Reads, operator: Operator, *, with_files: bool) -> KeyedStates:
    found = KeyedStates(operator.operator_id, operator.uid or operator.name or operator.operator_id)
    names: dict[StateName, None] = {}
    try:
        handle = next((one.managed_keyed for one in operator.subtasks.values() if one.managed_keyed is not None), None)
        problem = await _names(reads, handle, str(operator), names)
        raw = next((one.raw_keyed for one in operator.subtasks.values() if one.raw_keyed is not None), None)
        raw_timers = await _raw_timers(reads, raw, str(operator))
    except (SnapshotError, InvalidInput) as error:
        return KeyedStates(found.operator_id, found.label, problem=error.message)
    files: Mapping[str, int | None] = {}
    try:
        files = await _files(reads, operator) if with_files else {}
    except (SnapshotError, InvalidInput) as error:
        problem = problem or f"whether its states are in use is not known: {error.message}"
    states = tuple(KeyedState(one, None if (many := files.get(one.name)) is None else many > 0) for one in names)
    return KeyedStates(found.operator_id, found.label, states, raw_timers, problem)


async def _names(reads: _Reads, handle: KeyedHandle | None, what: str, names: dict[StateName, None]) -> str | None:
    """Fill ``names`` in; what is not known of them. Raises SnapshotError."""
    if handle is None:
        return None
    if isinstance(handle, ChangelogHandle):
        for one in handle.materialized:
            await _names(reads, one, what, names)
        return "what was added since its changelog was last materialized is not told" if handle.changes else None
    if isinstance(handle, IncrementalHandle):
        stream, length = handle.meta, _size(handle.meta)
    elif isinstance(handle, KeyGroupsHandle):
        # Key groups begin behind the head; 0 and less is of those that hold nothing.
        stream = handle.stream
        length = min((offset for offset in handle.offsets if offset > 0), default=_size(stream))
    else:
        return "its state is all changelog, which is not read"
    head = f"keyed state of {what}"
    if length is None or length > HEAD_BYTES:
        size = "of unknown size" if length is None else f"of {length:,} bytes"
        raise SnapshotUnsupported(f"{head}: its head is {size}; read are {HEAD_BYTES:,}")
    data = await reads.part(stream, 0, length, head)
    if len(data) < length:
        raise SnapshotIncomplete(f"{head}: its head has {len(data):,} bytes instead of {length:,}")
    names.update(dict.fromkeys(read_state_names(data, head)))
    return None


async def _raw_timers(reads: _Reads, handle: KeyedHandle | None, what: str) -> bool:
    """Whether raw keyed state is Flink's own, of timers; else it is the operator's, whatever that may be."""
    if not isinstance(handle, KeyGroupsHandle):
        return False
    first = min((offset for offset in handle.offsets if offset >= 0), default=None)
    if first is None:
        return False
    begin = await reads.part(handle.stream, first, len(_RAW_TIMERS) + 8, f"raw keyed state of {what}")
    if not begin.startswith(_RAW_TIMERS):
        return False
    cursor = Cursor(begin, len(_RAW_TIMERS), of=f"timers of {what}")
    cursor.i32("the version of timers")
    return cursor.i32("the number of timer services") > 0


async def _files(reads: _Reads, operator: Operator) -> dict[str, int | None]:
    """By state: how many files all subtasks have of it; None: not known of one of them. Raises SnapshotError."""
    found: dict[str, int | None] = {}
    first = True
    for subtask in operator.subtasks.values():
        if subtask.managed_keyed is None:
            continue
        manifests = _manifests(subtask.managed_keyed)
        if len(manifests) != 1:
            return {}
        what = f"the MANIFEST of {operator}, subtask {subtask.index}"
        size = _size(manifests[0]) or 0
        data = await reads.part(manifests[0], 0, size, what)
        if len(data) < size:
            raise SnapshotIncomplete(f"{what} has {len(data):,} bytes instead of {size:,}")
        of_subtask = files_by_family(data, what)
        for name in {*found, *of_subtask}:
            before, more = (0 if first else found.get(name)), of_subtask.get(name)
            found[name] = None if before is None or more is None else before + more
        first = False
    return found

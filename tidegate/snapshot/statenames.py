"""Which keyed states an operator has, read from the head that its backend writes before them.

The head names each state and holds a snapshot of each serializer, which says nothing of its own length and may be of
anybody's class. So it is read as the one sequence of states that the marks of their serializers allow and that has as
many as the head says; where there is none such, or several, nothing is told.

Source: org.apache.flink.runtime.state.KeyedBackendSerializationProxy (version 6, Flink 1.7 on),
...state.metainfo.StateMetaInfoSnapshotReadersWriters, ...state.metainfo.StateMetaInfoSnapshot,
org.apache.flink.api.common.typeutils.TypeSerializerSnapshotSerializationUtil (version 2),
org.apache.flink.streaming.api.operators.InternalTimeServiceManagerImpl (names of timers).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from tidegate.errors import SnapshotUnreadable, SnapshotUnsupported
from tidegate.snapshot.cursor import Cursor

PROCESSING_TIMERS: Final = "_timer_state/processing_"
EVENT_TIMERS: Final = "_timer_state/event_"
WINDOW_CONTENTS: Final = "window-contents"
"""What WindowOperator names the state that holds the elements of its windows."""

_PROXY_VERSION: Final = 6
_SERIALIZER_VERSION: Final = 2
_KEYS: Final = (b"KEY_SERIALIZER", b"NAMESPACE_SERIALIZER", b"VALUE_SERIALIZER", b"USER_KEY_SERIALIZER")
# A serializer of a state: its key (writeUTF), then the version of the form in which its snapshot stands.
_MARK: Final = re.compile(
    b"|".join(re.escape(len(key).to_bytes(2, "big") + key + _SERIALIZER_VERSION.to_bytes(4, "big")) for key in _KEYS)
)
_MOST_SERIALIZERS: Final = len(_KEYS)
_MOST_OPTIONS: Final = 8


class StateKind(IntEnum):
    """What a state is kept as (StateMetaInfoSnapshot.BackendStateType). Keyed backends write 0, 3 and 4."""

    KEY_VALUE = 0
    OPERATOR = 1
    BROADCAST = 2
    PRIORITY_QUEUE = 3
    KEY_VALUE_V2 = 4


@dataclass(frozen=True)
class StateName:
    """A keyed state by its name. Timers are priority queues."""

    name: str
    kind: StateKind

    @property
    def timers(self) -> bool:
        """Whether it holds timers."""
        return self.processing_timers or self.event_timers

    @property
    def processing_timers(self) -> bool:
        """Whether it holds an operator's timers of processing time."""
        return self.kind is StateKind.PRIORITY_QUEUE and self.name.startswith(PROCESSING_TIMERS)

    @property
    def event_timers(self) -> bool:
        """Whether it holds an operator's timers of event time."""
        return self.kind is StateKind.PRIORITY_QUEUE and self.name.startswith(EVENT_TIMERS)


@dataclass(frozen=True)
class _Head:
    """What stands before a state's serializers, from byte ``start`` on."""

    start: int
    state: StateName
    serializers: int


def read_state_names(data: bytes, of: str) -> tuple[StateName, ...]:
    """The states that a whole head names, in its order. ``of`` names the bytes in errors.

    Raises SnapshotUnreadable (damaged: with offset) or SnapshotUnsupported (a form that is not read, or that could be
    read in more than one way).
    """
    cursor = Cursor(data, of=of)
    version = cursor.i32("the version of keyed state")
    if version != _PROXY_VERSION:
        raise SnapshotUnsupported(f"{of} has serialization version {version}; read is {_PROXY_VERSION} (Flink 1.7 on)")
    cursor.boolean("0 or 1, whether keyed state is compressed")
    _serializer(cursor, "the key")
    found: list[StateName] = []
    low, first, at = cursor.position, len(data), 0
    marks = [match.start() for match in _MARK.finditer(data, low)]
    if not marks:  # a backend without any state writes no head
        raise cursor.error("it names no state", "a state")
    while at < len(marks):
        head = _head_before(data, low, marks[at], of)
        first = min(first, head.start)
        found.append(head.state)
        mine = marks[at : at + head.serializers]
        if len(mine) < head.serializers:
            raise cursor.error(f"state {head.state.name!r} has too few serializers", "another serializer", mine[-1])
        for mark in mine:
            inner = Cursor(data, mark, of=of)
            inner.utf("the key of a serializer")
            _serializer(inner, f"state {head.state.name!r}")
            low = inner.position
        at += head.serializers
    counted = Cursor(data, first - 2, of=of)  # it stands right before the first one
    if counted.position < cursor.position:
        raise cursor.error("no number of states", "the number of states")
    if (count := counted.i16("the number of states")) != len(found):
        raise SnapshotUnsupported(f"{of}: {count} states are announced and {len(found)} found; nothing is told of them")
    return tuple(found)


def _serializer(cursor: Cursor, whose: str) -> None:
    """What precedes the content of a serializer's snapshot, of which no length is known."""
    at = cursor.position
    version = cursor.i32(f"the version of the serializer of {whose}")
    if version != _SERIALIZER_VERSION:
        raise cursor.error(f"version {version}", f"the serializer of {whose}, in version {_SERIALIZER_VERSION}", at)
    cursor.utf(f"the class of the serializer of {whose}")


def _head_before(data: bytes, low: int, mark: int, of: str) -> _Head:
    """The one head of a state that begins at ``low`` or later and ends right at ``mark``."""
    found = [head for start in range(low, mark - 13) if (head := _head_at(data, start, mark, of)) is not None]
    if len(found) != 1:
        how = "no state's name" if not found else f"{len(found)} names"
        raise SnapshotUnsupported(f"{of}: {how} could stand before byte {mark}; nothing is told of its states")
    return found[0]


def _head_at(data: bytes, start: int, mark: int, of: str) -> _Head | None:
    behind = start + 2 + (data[start] << 8 | data[start + 1])
    if behind + 12 > mark or data[behind : behind + 3] != b"\x00\x00\x00":  # before its kind: most starts end here
        return None
    cursor = Cursor(data, start, mark, of=of)
    try:
        name, kind = cursor.utf("a state's name"), cursor.i32("a state's kind")
        options = cursor.i32("the number of options")
        if kind not in StateKind.__members__.values() or not 0 <= options <= _MOST_OPTIONS:
            return None
        for _ in range(options):
            cursor.utf("an option")
            cursor.utf("an option's value")
        serializers = cursor.i32("the number of serializers")
    except SnapshotUnreadable:
        return None
    if cursor.position != mark or not 1 <= serializers <= _MOST_SERIALIZERS:
        return None
    return _Head(start, StateName(name, StateKind(kind)), serializers)

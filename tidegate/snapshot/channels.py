"""Channel state: the records in flight that an unaligned checkpoint holds.

Source: org.apache.flink.runtime.state.{InputChannel,ResultSubpartition,MergedInputChannel,MergedResultSubpartition}
StateHandle; ...checkpoint.metadata.ChannelStateHandleSerializerV1 (formats 3 to 5) and V2 (from 6).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from tidegate.snapshot.cursor import NOWHERE, Cursor, Span
from tidegate.snapshot.handles import StoredHandle, StreamHandle, stored


class Direction(IntEnum):
    """Whether records stood before an operator or behind it. The values are the type bytes of format 6."""

    INPUT = 1
    OUTPUT = 2

    @property
    def merged_type(self) -> int:
        """The type byte of a merged handle."""
        return self + 2


@dataclass(frozen=True, slots=True)
class ChannelPart:
    """The records of one channel: positions in the stream, and their size in bytes.

    ``gate`` and ``channel`` are of an input; of an output they are the result partition and its subpartition.
    """

    gate: int
    channel: int
    size: int
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChannelHandle:
    """The records of one channel in a stream that the subtask's other channels share.

    ``subtask`` is that of before any rescaling; ``size`` in bytes.
    """

    direction: Direction
    subtask: int
    gate: int
    channel: int
    offsets: tuple[int, ...]
    size: int
    stream: StreamHandle
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    def streams(self) -> Iterator[StoredHandle]:
        """The stream that it is in."""
        return stored(self.stream)

    def parts(self) -> tuple[ChannelPart, ...]:
        """Itself, as a merged handle has several."""
        return (ChannelPart(self.gate, self.channel, self.size, self.offsets),)


@dataclass(frozen=True, slots=True)
class MergedChannelHandle:
    """The records of all of a subtask's channels of a direction, in one stream (from format 6).

    ``channel_offsets`` are bytes of their own (``parts``); Flink reads them only when it restores.
    """

    direction: Direction
    subtask: int
    size: int
    stream: StreamHandle
    channel_offsets: bytes
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    def streams(self) -> Iterator[StoredHandle]:
        """The stream that it is in."""
        return stored(self.stream)

    def parts(self) -> tuple[ChannelPart, ...]:
        """Each channel. Raises SnapshotUnreadable; offsets of errors are within ``channel_offsets``."""
        cursor = Cursor(self.channel_offsets, of="a merged channel handle")
        found: list[ChannelPart] = []
        for _ in range(cursor.count("channels", 4 + 4 + 8 + 4)):
            gate, channel = cursor.i32("a gate or partition"), cursor.i32("a channel or subpartition")
            size = cursor.i64("the size of channel state")
            found.append(ChannelPart(gate, channel, size, cursor.i64s("offsets of channel state")))
        cursor.finish("a merged channel handle")
        return tuple(found)


AnyChannelHandle = ChannelHandle | MergedChannelHandle

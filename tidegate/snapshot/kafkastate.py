"""KafkaSource's own state, byte for byte: splits of its readers, and the state of its enumerator.

Source: org.apache.flink.connector.kafka.source.split.KafkaPartitionSplitSerializer (version 0),
org.apache.flink.connector.kafka.source.enumerator.KafkaSourceEnumStateSerializer (versions 1 to 3),
org.apache.flink.runtime.source.coordinator.SourceCoordinatorSerdeUtils (version 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from tidegate.errors import SnapshotUnsupported
from tidegate.snapshot.cursor import Cursor, i32_bytes, i64_bytes, utf_bytes

SPLIT_VERSION: Final = 0
ASSIGNED: Final = 0
NO_STOPPING_OFFSET: Final = -(1 << 63)


@dataclass(frozen=True)
class Split:
    """A partition and where it is to be read on: ``offset`` is the next one; negative ones are Flink's markers."""

    topic: str
    partition: int
    offset: int
    stopping: int = NO_STOPPING_OFFSET


Move = Callable[[Split, bool], Split]
"""The split as it shall be; the flag says whether its offset will be read from (not so where it is only remembered)."""


def read_split(cursor: Cursor, version: int) -> Split:
    """A split to the end of the cursor. Raises SnapshotUnsupported for one that is not Kafka's, SnapshotUnreadable."""
    if version != SPLIT_VERSION:
        raise SnapshotUnsupported(f"splits of version {version}; read is {SPLIT_VERSION}, of KafkaSource")
    split = Split(
        cursor.utf("a topic"), cursor.i32("a partition"), cursor.i64("the next offset"), cursor.i64("a stopping offset")
    )
    cursor.finish("a split of Kafka")
    return split


def split_bytes(split: Split) -> bytes:
    """As KafkaPartitionSplitSerializer writes it."""
    return utf_bytes(split.topic) + i32_bytes(split.partition) + i64_bytes(split.offset) + i64_bytes(split.stopping)


def moved_element(element: bytes, move: Move) -> bytes:
    """An element of the readers' state (length, version, length, split) with its split moved."""
    outer = Cursor(element, of="a split of a reader").inner("an element")
    version = outer.i32("the version of an element")
    payload = outer.inner("an element's payload")
    outer.finish("an element")
    content = split_bytes(move(read_split(payload, version), True))
    return i32_bytes(len(content) + 8) + i32_bytes(version) + i32_bytes(len(content)) + content


def moved_enumerator(data: bytes, move: Move) -> bytes:
    """A coordinator's state with the partitions of its enumerator moved.

    A partition that is subscribed and not in it would be read from its beginning. Raises SnapshotUnsupported for a
    version that is not read, SnapshotUnreadable.
    """
    cursor = Cursor(data, of="the coordinator's state")
    serde = cursor.i32("the version of a coordinator's state")
    version = cursor.i32("the version of an enumerator's state")
    inner = cursor.inner("an enumerator's state")
    cursor.finish("a coordinator's state")
    if version not in (1, 2, 3):
        raise SnapshotUnsupported(f"an enumerator's state of version {version}; read are 1 to 3, of KafkaSource")
    content = _version_3(inner, move) if version == 3 else _version_1_or_2(inner, move, with_status=version == 2)
    return i32_bytes(serde) + i32_bytes(version) + i32_bytes(len(content)) + content


def _version_1_or_2(cursor: Cursor, move: Move, *, with_status: bool) -> bytes:
    """Names of partitions only: they carry no offset."""
    count = cursor.count("partitions", 2 + 4)
    pieces = [i32_bytes(count)]
    for _ in range(count):
        split = move(Split(cursor.utf("a topic"), cursor.i32("a partition"), NO_STOPPING_OFFSET), False)
        pieces.append(utf_bytes(split.topic) + i32_bytes(split.partition))
        if with_status:
            pieces.append(i32_bytes(cursor.i32("the status of a partition")))
    if with_status:
        pieces.append(bytes([cursor.boolean("whether the first discovery is done")]))
    cursor.finish("an enumerator's state")
    return b"".join(pieces)


def _version_3(cursor: Cursor, move: Move) -> bytes:
    """Splits: the offsets of assigned ones are where they once began, those of others will be read from."""
    count = cursor.count("splits", 4)
    split_version = cursor.i32("the version of splits")
    pieces = [i32_bytes(count), i32_bytes(split_version)]
    for _ in range(count):
        split = read_split(cursor.inner("a split"), split_version)
        status = cursor.i32("the status of a split")
        new = move(split, status != ASSIGNED)
        if status == ASSIGNED:
            new = replace(new, offset=split.offset, stopping=split.stopping)
        content = split_bytes(new)
        pieces.append(i32_bytes(len(content)) + content + i32_bytes(status))
    pieces.append(bytes([cursor.boolean("whether the first discovery is done")]))
    cursor.finish("an enumerator's state")
    return b"".join(pieces)

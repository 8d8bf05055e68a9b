"""MirrorMaker's offset syncs: the floor of a position where there is no provenance.

Form (connect-mirror 4.3, OffsetSync): key = int16 length, topic, int32 partition; value = int64 upstream offset, int64
downstream offset; big-endian, always partition 0 of ``mm2-offset-syncs.<source>.internal``. With exactly once a sync is
sent only after its record's transaction was committed, so it never points at what does not count; but not every record
has one.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Self

from tidegate.clients.kafka_types import KafkaClient, LogRecord, TopicPartition
from tidegate.errors import OperationFailed
from tidegate.mirror.link import MirrorLink, check_mirrored, syncs_topic

_LENGTH = struct.Struct(">h")
_PARTITION = struct.Struct(">i")
_OFFSETS = struct.Struct(">qq")


@dataclass(frozen=True, slots=True, order=True)
class Sync:
    """The record at ``upstream`` in the source stands at ``downstream`` in the target."""

    upstream: int
    downstream: int


@dataclass(frozen=True, slots=True)
class Floor:
    """A place in the target that is at or before a source position: nothing is lost from there, some comes again.

    ``exact``: the sync is of that very record. Else what lies between ``sync.upstream`` and the position comes again.
    """

    offset: int
    sync: Sync
    exact: bool


@dataclass(slots=True)
class OffsetSyncs:
    """All syncs of one mirror, by partition; 16 bytes a sync are kept as two numbers."""

    _known: dict[TopicPartition, dict[int, int]] = field(default_factory=dict)
    _sorted: dict[TopicPartition, list[int]] = field(default_factory=dict)

    @classmethod
    async def read(cls, link: MirrorLink) -> Self:
        """Every sync that the link's topic holds. Raises InvalidInput if there is no such topic, Unavailable."""
        return await cls.of(link.target_kafka, link.source)

    @classmethod
    async def of(cls, target: KafkaClient, source: str) -> Self:
        """As ``read``, of any MirrorMaker that calls its source ``source`` and keeps its syncs on the target."""
        tp = TopicPartition(syncs_topic(source), 0)
        start = (await target.start_offsets([tp.topic]))[tp]
        end = (await target.end_offsets([tp.topic]))[tp]
        syncs = cls()
        async for record in target.records(tp, start, end):
            of, sync = decode(record)
            syncs.add(of, sync)
        return syncs

    def add(self, tp: TopicPartition, sync: Sync) -> None:
        """Take the next sync of the topic into account; a later one of the same record counts."""
        self._known.setdefault(tp, {})[sync.upstream] = sync.downstream
        self._sorted.pop(tp, None)

    def floor(self, tp: TopicPartition, offset: int) -> Floor | None:
        """The nearest place at or before a source position (next offset to read); None: no sync is that early."""
        known = self._known.get(tp, {})
        ordered = self._sorted.setdefault(tp, sorted(known))
        index = bisect_right(ordered, offset)
        if index == 0:
            return None
        sync = Sync(ordered[index - 1], known[ordered[index - 1]])
        exact = sync.upstream == offset
        # Never more than one step past a sync: what lies between two records differs on the two sides.
        return Floor(sync.downstream if exact else sync.downstream + 1, sync, exact)


async def floor(link: MirrorLink, tp: TopicPartition, offset: int, syncs: OffsetSyncs | None = None) -> Floor | None:
    """The floor in the target of a source position (next offset to read), from the offset syncs.

    None: no sync is at or before it, so only the log's start is safe. ``syncs``: those that were read already, for
    many positions. Raises as ``OffsetSyncs.read``, and InvalidInput if the link does not mirror the topic.
    """
    check_mirrored(link, tp)
    return (syncs or await OffsetSyncs.read(link)).floor(tp, offset)


def decode(record: LogRecord) -> tuple[TopicPartition, Sync]:
    """One record of the topic. Raises OperationFailed if it is not of the form."""
    key, value = record.key or b"", record.value or b""
    try:
        (length,) = _LENGTH.unpack_from(key)
        end = _LENGTH.size + length
        topic = key[_LENGTH.size : end].decode()
        (partition,) = _PARTITION.unpack_from(key, end)
        if len(key) != end + _PARTITION.size or len(topic.encode()) != length:
            raise OperationFailed(f"offset sync at {record.offset:,}: a key of {len(key)} bytes is not one")
        upstream, downstream = _OFFSETS.unpack(value)
    except (struct.error, UnicodeDecodeError) as error:
        raise OperationFailed(f"offset sync at {record.offset:,} is not of MirrorMaker's form: {error}") from error
    return TopicPartition(topic, partition), Sync(upstream, downstream)

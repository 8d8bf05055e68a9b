"""How far a snapshot's Kafka sources had read: I(N) of X1.

Source: org.apache.flink.connector.kafka.source.split.KafkaPartitionSplitSerializer.
"""

from __future__ import annotations

from typing import Final

from tidegate.clients.objects import ObjectStore
from tidegate.errors import SnapshotUnsupported
from tidegate.snapshot.elements import elements
from tidegate.snapshot.files import Snapshot

READER_STATE: Final = "SourceReaderState"
LATEST: Final = -1
EARLIEST: Final = -2
COMMITTED: Final = -3

TopicPartition = tuple[str, int]


async def kafka_positions(store: ObjectStore, snapshot: Snapshot) -> dict[str, dict[TopicPartition, int]]:
    """By source (uid; operator id where the file has no uid): the next offset to read of each (topic, partition).

    A negative one is of a partition that was assigned but not read yet: LATEST, EARLIEST or COMMITTED. Partitions that
    no reader had taken are not here. Raises SnapshotUnsupported for a source that is not Kafka's or for compressed
    state, SnapshotUnreadable, SnapshotIncomplete, and what the store raises.
    """
    found: dict[str, dict[TopicPartition, int]] = {}
    async for element in elements(store, snapshot, READER_STATE):
        if element.version != 0:
            raise SnapshotUnsupported(f"{element.operator}: splits of version {element.version}; read is 0, of Kafka")
        split = element.payload
        at = split.position
        partition = (split.utf("a topic"), split.i32("a partition"))
        offset = split.i64("the next offset")
        split.i64("the stopping offset")
        split.finish("a split of Kafka")
        positions = found.setdefault(element.operator.uid or element.operator.operator_id, {})
        if partition in positions:
            raise split.error(f"partition {partition[1]} of {partition[0]} stands there twice", "another split", at)
        positions[partition] = offset
    return found

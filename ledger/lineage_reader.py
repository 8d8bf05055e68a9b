"""A topic read once from its beginning to its end of now, by its lineage (X20): what a reader that starts afresh needs.

Copy it: it uses `ledger.lineage` and confluent_kafka. Each record that counts comes once, each partition in order,
from the log of the region that wrote it; what is excluded is left out by offset alone, without looking into records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ledger.faults import BadInput, CannotReach
from ledger.lineage import Lineage, Piece, pieces


class LineageRecord(NamedTuple):
    """A record and where it stands. ``at_ms``: its timestamp, UTC; -1 without one."""

    region: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes


class LineageReader:
    """Iterate over it. ``regions``: where each region's Kafka is; ``properties``: librdkafka's, the same for all;
    ``stall_s``: how long to wait for a record that must be there. Counts in `read` and `skipped` as it goes.
    """

    def __init__(
        self, lineage: Lineage, regions: Mapping[str, str], properties: Mapping[str, str], *, stall_s: float = 30.0
    ) -> None:
        self._lineage = lineage
        self._regions = regions
        self._properties = properties
        self._stall_s = stall_s
        self.read = 0
        self.skipped = 0

    def __iter__(self) -> Iterator[LineageRecord]:
        """Raises `CannotReach` naming the region, `BadInput` for one whose address nobody gave."""
        self.read = self.skipped = 0
        for partition, known in sorted(self._lineage.partitions.items()):
            for piece in pieces(known):
                for record in self._piece(partition, piece):
                    if self._lineage.is_excluded(piece.region, partition, record.offset):
                        self.skipped += 1
                    else:
                        self.read += 1
                        yield record

    def _piece(self, partition: int, piece: Piece) -> Iterator[LineageRecord]:
        topic, region = self._lineage.topic, piece.region
        address = self._regions.get(region)
        if address is None:
            raise BadInput(f"{topic} has records in {region}, and nobody said where that is")
        consumer = Consumer(
            {
                "bootstrap.servers": address,
                **self._properties,
                "group.id": "ledger-lineage-reader",  # Never joined: partitions are assigned by hand.
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
            }
        )
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=self._stall_s)
            first = max(low, piece.first)
            end = high if piece.end is None else piece.end
            if first >= end:
                return
            consumer.assign([TopicPartition(topic, partition, first)])
            while True:
                message = consumer.poll(self._stall_s)
                if message is None:
                    raise CannotReach(f"region {region}: nothing came of {topic} for {self._stall_s:g} s")
                error = message.error()
                offset = message.offset() or 0
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                        raise CannotReach(f"region {region}: {topic}: {error.str()}")
                    return
                if offset < end:
                    _, at_ms = message.timestamp()
                    yield LineageRecord(region, partition, offset, at_ms, message.key(), message.value() or b"")
                if offset + 1 >= end:
                    return
        except KafkaException as error:
            raise CannotReach(f"region {region}: {topic}: {error.args[0].str()}") from error
        finally:
            consumer.close()

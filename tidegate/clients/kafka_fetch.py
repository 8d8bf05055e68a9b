"""One fetch of a partition's log, and the record batches in its bytes: what all who read a log share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from tidegate.clients.kafka_messages import DefaultRecordBatch, FetchRequest, MemoryRecords
from tidegate.clients.kafka_types import ControlType, TopicPartition
from tidegate.clients.kafka_wire import Wire, error_of
from tidegate.errors import Refused

Leader = Callable[[TopicPartition], Awaitable[int]]
"""Says who leads the partition now."""

READ_UNCOMMITTED = 0
READ_COMMITTED = 1
FETCH_BYTES = 4 << 20
# From 13 on Fetch names topics by id only.
FETCH_MAX_VERSION = 12
COMMIT_MARKER = 1


class Aborted(Protocol):
    """A row of a fetch's list of aborted transactions."""

    producer_id: int
    first_offset: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one fetch gave: raw records from the batch that holds the offset on, and how far the log goes."""

    data: bytes
    high_watermark: int
    last_stable_offset: int
    aborted: tuple[Aborted, ...]
    """Of a read_committed fetch only."""


async def fetch(
    wire: Wire, tp: TopicPartition, leader: int, offset: int, *, isolation: int, max_bytes: int = FETCH_BYTES
) -> Fetched:
    """One fetch without a wait. Raises Again; Refused if the log no longer holds ``offset``."""
    partition = FetchRequest.FetchTopic.FetchPartition(
        partition=tp.partition, fetch_offset=offset, partition_max_bytes=max_bytes
    )
    request = FetchRequest(
        replica_id=-1,
        max_wait_ms=0,
        min_bytes=0,
        max_bytes=max_bytes,
        isolation_level=isolation,
        session_id=0,
        session_epoch=-1,
        topics=[FetchRequest.FetchTopic(topic=tp.topic, partitions=[partition])],
        forgotten_topics_data=[],
        rack_id="",
        max_version=FETCH_MAX_VERSION,
    )
    answer = await wire.ask(request, leader)
    wire.check(answer.error_code, f"read {tp}")
    row = answer.responses[0].partitions[0]
    if error_of(row.error_code) == "OffsetOutOfRangeError":
        raise Refused(
            f"{tp} does not hold offset {offset:,}: the log begins later or ends before it",
            hint="retention has removed it, or the topic was made anew",
            details={"topic": tp.topic, "partition": tp.partition, "offset": offset},
        )
    wire.check(row.error_code, f"read {tp} at {offset}")
    return Fetched(
        data=bytes(row.records or b""),
        high_watermark=int(row.high_watermark),
        last_stable_offset=int(row.last_stable_offset),
        aborted=tuple(row.aborted_transactions or ()),
    )


def batches(data: bytes, at: int, wanted: str) -> Iterator[DefaultRecordBatch]:
    """The whole batches in a fetch's bytes that hold offsets from ``at`` on.

    A last batch that the fetch cut off is left for the next one. Raises Refused for a format that has no ``wanted``.
    """
    for raw in MemoryRecords(data):
        if not isinstance(raw, DefaultRecordBatch):
            raise Refused(f"record batch of format {raw.magic}: only format 2 (Kafka 0.11 and later) has {wanted}")
        if raw.last_offset >= at:
            yield raw


def control_type(raw: DefaultRecordBatch) -> ControlType:
    """The end that a control batch marks."""
    kind = int.from_bytes(next(iter(raw)).key[2:4], "big")
    return ControlType.COMMIT if kind == COMMIT_MARKER else ControlType.ABORT

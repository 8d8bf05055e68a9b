"""What Kafka in memory keeps: logs, transactions, defaults, and how it refuses."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidegate.clients.kafka_types import (
    Batch,
    TopicPartition,
    TxnState,
)

ADMIN = "User:admin"


class Denied(Exception):
    """TRANSACTIONAL_ID_AUTHORIZATION_FAILED or TOPIC_AUTHORIZATION_FAILED."""


class Fenced(Exception):
    """PRODUCER_FENCED or INVALID_TXN_STATE: the id belongs to another epoch, or there is nothing to end."""


@dataclass(frozen=True)
class Committable:
    """What Flink's sink writes into a checkpoint: pre-committed, to be committed once the checkpoint is complete."""

    transactional_id: str
    producer_id: int
    producer_epoch: int


@dataclass
class _Txn:
    producer_id: int
    epoch: int
    timeout_ms: int
    state: TxnState = TxnState.EMPTY
    started_ms: int | None = None
    partitions: set[TopicPartition] = field(default_factory=set)


class _Log:
    def __init__(self, tp: TopicPartition):
        self.tp = tp
        self.start = 0
        self.batches: list[Batch] = []
        self.values: dict[int, object] = {}
        self.open: dict[int, tuple[int, int]] = {}  # producer id -> (first offset, epoch)

    @property
    def end(self) -> int:
        return self.batches[-1].last_offset + 1 if self.batches else 0

    @property
    def stable(self) -> int:
        return min((first for first, _ in self.open.values()), default=self.end)

    def append(self, records: int, producer_id: int, epoch: int, now_ms: int, *, txn: bool, control=None) -> int:
        first = self.end
        self.batches.append(
            Batch(
                base_offset=first,
                last_offset=first + records - 1,
                producer_id=producer_id,
                producer_epoch=epoch,
                is_control=control is not None,
                is_transactional=txn,
                records=records,
                max_timestamp_ms=now_ms,
                log_append_time=True,
                control_type=control,
            )
        )
        if txn and control is None:
            self.open.setdefault(producer_id, (first, epoch))
        return first


BROKER_DEFAULTS = {
    "transaction.max.timeout.ms": "900000",
    "min.insync.replicas": "1",
    "default.replication.factor": "1",
}
TOPIC_DEFAULTS = {
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "min.insync.replicas": "1",
    "message.timestamp.type": "CreateTime",
}
"""As Kafka ships."""

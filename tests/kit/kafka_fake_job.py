"""What a job does to Kafka in memory: transactional producers, and the sink of a Flink job over them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from tests.kit.kafka_fake_logs import Committable, Denied, Fenced, _Txn
from tidegate.clients.kafka_transactions import ENDED_BY
from tidegate.clients.kafka_types import (
    TopicPartition,
    TxnState,
)
from tidegate.errors import Unavailable

if TYPE_CHECKING:
    from tests.kit.kafka_fake_cluster import FakeCluster


class FakeProducer:
    """A transactional producer of a job. Raises Denied, Fenced or Unavailable as the real one would."""

    def __init__(self, kafka: FakeCluster, transactional_id: str, principal: str, timeout_ms: int):
        self._kafka = kafka
        self.transactional_id = transactional_id
        self.principal = principal
        self.timeout_ms = timeout_ms
        self.producer_id = self.producer_epoch = -1

    async def init(self) -> None:
        self._reach()
        self.producer_id, self.producer_epoch = self._kafka._init(self.transactional_id, self.timeout_ms)

    async def begin(self) -> None:
        """Says nothing to the broker: the transaction begins with its first record."""

    async def write(self, topic: str, partition: int, values: Collection[object]) -> None:
        self._reach()
        if (self.principal, topic) in self._kafka._no_writes:
            raise Denied(f"{self.principal} on {topic}")
        txn = self._own()
        if txn.state is not TxnState.ONGOING:
            txn.state, txn.started_ms = TxnState.ONGOING, self._kafka.now_ms
        log = self._kafka._log(TopicPartition(topic, partition))
        txn.partitions.add(log.tp)
        first = log.append(len(values), txn.producer_id, txn.epoch, self._kafka.now_ms, txn=True)
        log.values.update(enumerate(values, first))

    def pre_commit(self) -> Committable:
        """What goes into the checkpoint. Nothing changes on the broker."""
        return Committable(self.transactional_id, self.producer_id, self.producer_epoch)

    async def commit(self) -> None:
        await self._finish(commit=True)

    async def abort(self) -> None:
        await self._finish(commit=False)

    @classmethod
    def recovered(cls, kafka: FakeCluster, committable: Committable, principal: str = "User:ledger") -> FakeProducer:
        """Flink's committer after a restore: takes up producer id and epoch without an init."""
        one = cls(kafka, committable.transactional_id, principal, 60_000)
        one.producer_id, one.producer_epoch = committable.producer_id, committable.producer_epoch
        return one

    async def _finish(self, *, commit: bool) -> None:
        self._reach()
        txn = self._kafka._txns.get(self.transactional_id)
        retry = txn is not None and (txn.producer_id, txn.epoch - 1) == (self.producer_id, self.producer_epoch)
        if txn is not None and retry and txn.state in ENDED_BY[commit]:
            return
        txn = self._own()
        if txn.state is not TxnState.ONGOING:
            if commit:
                raise Fenced(f"{self.transactional_id}: INVALID_TXN_STATE ({txn.state})")
            return
        self._kafka._end(txn, commit=commit)
        self.producer_epoch = txn.epoch

    def _reach(self) -> None:
        if self._kafka.down:
            raise Unavailable("Kafka (fake) did not answer: connection refused")
        if self._kafka._refuses(self.principal, self.transactional_id):
            raise Denied(f"{self.principal} on {self.transactional_id}")

    def _own(self) -> _Txn:
        txn = self._kafka._txns.get(self.transactional_id)
        if txn is None or (txn.producer_id, txn.epoch) != (self.producer_id, self.producer_epoch):
            raise Fenced(f"{self.transactional_id}: PRODUCER_FENCED")
        return txn


class FakeSink:
    """A job's exactly-once sink as Flink's: subtask s writes checkpoint n's records under ``<prefix>-<s>-<n>``."""

    def __init__(
        self,
        kafka: FakeCluster,
        prefix: str,
        topic: str,
        subtasks: int = 2,
        principal: str = "User:ledger",
        first: int = 1,
    ):
        self._kafka, self._prefix, self._topic, self._principal = kafka, prefix, topic, principal
        self._subtasks = subtasks
        self._checkpoint = first
        self._current: dict[int, FakeProducer] = {}
        self._written: set[int] = set()
        self._pending: list[FakeProducer] = []

    async def write(self, subtask: int, partition: int, values: Collection[object]) -> None:
        if subtask not in self._current:
            name = f"{self._prefix}-{subtask}-{self._checkpoint}"
            self._current[subtask] = self._kafka.producer(name, self._principal, 900_000)
            await self._current[subtask].init()
        await self._current[subtask].write(self._topic, partition, values)
        self._written.add(subtask)

    def pre_commit(self) -> list[Committable]:
        """The checkpoint's committables: those of earlier ones not yet committed, and of each subtask with records."""
        self._pending += [self._current.pop(subtask) for subtask in sorted(self._written)]
        self._written.clear()
        self._checkpoint += 1
        return [producer.pre_commit() for producer in self._pending]

    async def commit(self) -> None:
        """The checkpoint is complete: commit all that is pending."""
        while self._pending:
            await self._pending[0].commit()
            self._pending.pop(0)

"""Kafka in memory behind its API: what it keeps, how transactions end, and what a test does to it."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

from tests.kit.kafka_fake_job import FakeProducer
from tests.kit.kafka_fake_logs import ADMIN, BROKER_DEFAULTS, Denied, _Log, _Txn
from tidegate.clients.kafka_types import (
    Batch,
    ControlType,
    TopicPartition,
    TransactionState,
    TxnState,
)
from tidegate.errors import InvalidInput, Unavailable


class FakeCluster:
    """Its switches are told at ``FakeKafka``."""

    def __init__(self, now_ms: int = 1_700_000_000_000):
        self.now_ms = now_ms
        self.down = False
        self.lose_next_end = False
        self.hold_markers = False
        self.calls: list[str] = []
        self._logs: dict[str, list[_Log]] = {}
        self._topic_ids: dict[str, str] = {}
        self._ids = itertools.count(1)
        self._txns: dict[str, _Txn] = {}
        self._groups: dict[str, dict[TopicPartition, int]] = {}
        self._notes: dict[str, dict[TopicPartition, str]] = {}
        self._members: dict[str, int] = {}
        self.unreplicated: dict[TopicPartition, int] = {}
        self.ruleless: set[str] = set()
        self.brokers = 1
        self.replicas = 1
        self.settings = dict(BROKER_DEFAULTS)
        self.topic_settings: dict[str, dict[str, str]] = {}
        self._no_writes: set[tuple[str, str]] = set()
        self._denied: set[tuple[str, str]] = set()
        self._producer_ids = itertools.count(1000)

    # What a test does to it

    def producer(self, transactional_id: str, principal: str = "User:ledger", timeout_ms: int = 60_000) -> FakeProducer:
        return FakeProducer(self, transactional_id, principal, timeout_ms)

    def write_plain(self, topic: str, partition: int, values: Collection[object], principal: str | None = None) -> None:
        """Records of an idempotent, not transactional producer. Raises Denied as the broker would refuse it."""
        if (principal, topic) in self._no_writes:
            raise Denied(f"{principal} on {topic}")
        log = self._log(TopicPartition(topic, partition))
        first = log.append(len(values), next(self._producer_ids), 0, self.now_ms, txn=False)
        log.values.update(enumerate(values, first))

    def commit_group(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        self._groups.setdefault(group, {}).update(offsets)

    def join_group(self, group: str) -> None:
        """A consumer joins, and reads on."""
        self._members[group] = self._members.get(group, 0) + 1
        self._groups.setdefault(group, {})

    def leave_group(self, group: str) -> None:
        self._members[group] -= 1

    def group_notes(self, group: str) -> dict[TopicPartition, str]:
        return dict(self._notes.get(group, {}))

    def committed_values(self, topic: str, partition: int) -> list[object]:
        """What a read_committed reader gets now, in order."""
        log = self._log(TopicPartition(topic, partition))
        ends: dict[int, list[Batch]] = {}
        for batch in log.batches:
            if batch.is_control:
                ends.setdefault(batch.producer_id, []).append(batch)
        values = []
        for batch in log.batches:
            if batch.is_control or batch.last_offset >= log.stable:
                continue
            if batch.is_transactional:
                end = next(e for e in ends[batch.producer_id] if e.base_offset > batch.last_offset)
                if end.control_type is ControlType.ABORT:
                    continue
            values += [log.values[o] for o in range(batch.base_offset, batch.last_offset + 1)]
        return values

    def advance(self, ms: int) -> None:
        """Let time pass; the coordinator aborts what is past its time-out (and raises its epoch, as seen)."""
        self.now_ms += ms
        for txn in self._txns.values():
            if txn.state is TxnState.ONGOING and self.now_ms - (txn.started_ms or 0) >= txn.timeout_ms:
                self._end(txn, commit=False)

    def forget(self, transactional_id: str) -> None:
        """The coordinator forgets an id (``transactional.id.expiration.ms``); the logs keep what is open."""
        del self._txns[transactional_id]

    def delete_before(self, tp: TopicPartition, offset: int) -> None:
        """Retention: the log begins at ``offset`` from now on."""
        self._log(tp).start = offset

    def delete_topic(self, topic: str) -> None:
        """It and its id are gone; made again under its name it is another one."""
        del self._logs[topic], self._topic_ids[topic]

    def add_partition(self, topic: str) -> None:
        self._logs[topic].append(_Log(TopicPartition(topic, len(self._logs[topic]))))

    def release_markers(self) -> None:
        self.hold_markers = False
        for txn in self._txns.values():
            if txn.state in {TxnState.PREPARE_COMMIT, TxnState.PREPARE_ABORT}:
                self._mark(txn, commit=txn.state is TxnState.PREPARE_COMMIT)

    # Inside

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.down:
            raise Unavailable(f"Kafka (fake) did not answer ({name}): connection refused")

    def _topic(self, topic: str) -> list[_Log]:
        if topic not in self._logs:
            raise InvalidInput(f"topic {topic}: Kafka (fake) has no such topic or partition")
        return self._logs[topic]

    def _log(self, tp: TopicPartition) -> _Log:
        logs = self._topic(tp.topic)
        if tp.partition >= len(logs):
            raise InvalidInput(f"topic {tp.topic} has no partition {tp.partition}")
        return logs[tp.partition]

    def _of(self, topics: Collection[str]) -> list[_Log]:
        return [log for topic in sorted(set(topics)) for log in self._topic(topic)]

    def _refuses(self, principal: str, transactional_id: str) -> bool:
        """As StandardAuthorizer: a prefix with any rule is closed to all but super users."""
        return principal != ADMIN and any(transactional_id.startswith(prefix) for _, prefix in self._denied)

    def _state(self, name: str) -> TransactionState:
        txn = self._txns.get(name)
        if txn is None:
            return TransactionState(name, TxnState.UNKNOWN)
        return TransactionState(
            name, txn.state, txn.producer_id, txn.epoch, txn.timeout_ms, txn.started_ms, frozenset(txn.partitions)
        )

    def _init(self, transactional_id: str, timeout_ms: int) -> tuple[int, int]:
        txn = self._txns.get(transactional_id)
        if txn is None:
            txn = self._txns[transactional_id] = _Txn(next(self._producer_ids), -1, timeout_ms)
        if txn.state in {TxnState.PREPARE_COMMIT, TxnState.PREPARE_ABORT}:
            raise Unavailable(f"{transactional_id} is in {txn.state}")
        if txn.state is TxnState.ONGOING:
            self._end(txn, commit=False)
        txn.epoch += 1
        txn.timeout_ms = timeout_ms
        txn.state, txn.started_ms, txn.partitions = TxnState.EMPTY, None, set()
        return txn.producer_id, txn.epoch

    def _end(self, txn: _Txn, *, commit: bool) -> None:
        txn.epoch += 1
        txn.started_ms = None
        txn.state = TxnState.PREPARE_COMMIT if commit else TxnState.PREPARE_ABORT
        if not self.hold_markers:
            self._mark(txn, commit=commit)

    def _mark(self, txn: _Txn, *, commit: bool) -> None:
        for tp in sorted(txn.partitions):
            log = self._log(tp)
            if txn.producer_id in log.open:
                self._marker(log, txn.producer_id, txn.epoch, commit=commit)
        txn.partitions = set()
        txn.state = TxnState.COMPLETE_COMMIT if commit else TxnState.COMPLETE_ABORT

    def _marker(self, log: _Log, producer_id: int, epoch: int, *, commit: bool) -> None:
        control = ControlType.COMMIT if commit else ControlType.ABORT
        log.append(1, producer_id, epoch, self.now_ms, txn=True, control=control)
        del log.open[producer_id]

"""Kafka in memory: KafkaClient as the real broker was seen to behave.

The same contract (``kafka_contract``) runs against it and against a real broker of transaction version 2.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping

from tests.kit.kafka_fake_cluster import FakeCluster
from tests.kit.kafka_fake_logs import TOPIC_DEFAULTS, _Log
from tidegate.clients.kafka_acls import check_principal
from tidegate.clients.kafka_gate import first_rule
from tidegate.clients.kafka_groups import taken
from tidegate.clients.kafka_log import Committed, Piece
from tidegate.clients.kafka_transactions import ENDED_BY, held_back
from tidegate.clients.kafka_types import (
    PROBE_SUFFIX,
    Batch,
    ClusterShape,
    CommittedRange,
    ControlType,
    EndOutcome,
    GroupState,
    Heartbeat,
    KafkaClient,
    KafkaSecurity,
    LogRecord,
    OpenTransaction,
    TopicDescription,
    TopicPartition,
    TopicShape,
    TransactionState,
    TxnState,
)
from tidegate.errors import InvalidInput, Refused, Unavailable


class FakeKafka(FakeCluster, KafkaClient):
    """``down``: no call is answered. ``lose_next_end``: the next end acts, and its answer is lost.

    ``unreplicated``: so many offsets of a partition have not reached its followers. ``ruleless``: topics without any
    access rule, which the broker lets everyone use.
    ``hold_markers``: ended transactions stay Prepare… and open in the logs until ``release_markers``.
    Times advance only by ``advance``; transactions past their time-out are aborted by it.
    """

    async def aclose(self) -> None:
        return

    async def ping(self) -> None:
        await self.topics()

    async def topics(self) -> list[str]:
        self._call("topics")
        return sorted(self._logs)

    async def partitions(self, topic: str) -> list[int]:
        self._call("partitions")
        return list(range(len(self._topic(topic))))

    async def describe_topics(self, topics: Collection[str]) -> dict[str, TopicDescription]:
        self._call("describe_topics")
        return {
            topic: TopicDescription(topic, self._topic_ids[topic], len(self._logs[topic]))
            for topic in sorted(set(topics))
            if topic in self._logs
        }

    async def shape(self, topics: Collection[str]) -> ClusterShape:
        self._call("shape")
        return ClusterShape(
            brokers=self.brokers,
            settings=dict(self.settings),
            topics={
                topic: TopicShape(
                    topic, len(self._logs[topic]), self.replicas, TOPIC_DEFAULTS | self.topic_settings.get(topic, {})
                )
                for topic in sorted(set(topics))
                if topic in self._logs
            },
        )

    async def create_topic(self, topic: str, partitions: int, config: Mapping[str, str] | None = None) -> None:
        self._call("create_topic")
        if topic not in self._logs:
            self.topic_settings[topic] = dict(config or {})
        there = self._logs.setdefault(topic, [_Log(TopicPartition(topic, n)) for n in range(partitions)])
        if len(there) != partitions:
            raise InvalidInput(f"create topic {topic}: it exists with {len(there)} partitions; expected {partitions}")
        self._topic_ids.setdefault(topic, f"id-{next(self._ids)}")

    async def remove_topic(self, topic: str) -> None:
        self._call("remove_topic")
        self._logs.pop(topic, None)
        self._topic_ids.pop(topic, None)

    async def remove_group(self, group: str) -> None:
        self._call("remove_group")
        self._groups.pop(group, None)

    async def start_offsets(self, topics: Collection[str]) -> dict[TopicPartition, int]:
        self._call("start_offsets")
        return {log.tp: log.start for log in self._of(topics)}

    async def end_offsets(self, topics: Collection[str]) -> dict[TopicPartition, int]:
        self._call("end_offsets")
        return {log.tp: log.end for log in self._of(topics)}

    async def appended_offsets(self, topics: Collection[str]) -> dict[TopicPartition, int]:
        self._call("appended_offsets")
        return {log.tp: log.end + self.unreplicated.get(log.tp, 0) for log in self._of(topics)}

    async def offsets_at(self, topics: Collection[str], at_ms: int) -> dict[TopicPartition, int]:
        self._call("offsets_at")
        return {
            log.tp: next((max(b.base_offset, log.start) for b in log.batches if b.max_timestamp_ms >= at_ms), log.end)
            for log in self._of(topics)
        }

    async def last_stable_offsets(self, topics: Collection[str]) -> dict[TopicPartition, int]:
        self._call("last_stable_offsets")
        return {log.tp: log.stable for log in self._of(topics)}

    async def group_offsets(self, group: str) -> dict[TopicPartition, int]:
        self._call("group_offsets")
        return dict(self._groups.get(group, {}))

    async def group_state(self, group: str) -> GroupState:
        self._call("group_state")
        if self._members.get(group):
            return GroupState.STABLE
        return GroupState.EMPTY if group in self._groups else GroupState.UNKNOWN

    async def put_group_offsets(self, group: str, offsets: Mapping[TopicPartition, int], note: str) -> None:
        self._call("put_group_offsets")
        if self._members.get(group):
            raise taken(group)
        for tp in offsets:
            self._log(tp)
        if offsets:
            self._groups.setdefault(group, {}).update(offsets)
            self._notes.setdefault(group, {}).update(dict.fromkeys(offsets, note))

    async def lag(
        self, positions: str | Mapping[TopicPartition, int], topics: Collection[str]
    ) -> dict[TopicPartition, int]:
        self._call("lag")
        known = self._groups.get(positions, {}) if isinstance(positions, str) else positions
        return {log.tp: max(0, log.end - known.get(log.tp, log.start)) for log in self._of(topics)}

    async def describe_transactions(self, transactional_ids: Collection[str]) -> dict[str, TransactionState]:
        self._call("describe_transactions")
        return {name: self._state(name) for name in sorted(set(transactional_ids))}

    async def list_transactions(
        self, prefix: str, producer_ids: Collection[int] | None = None
    ) -> list[TransactionState]:
        self._call("list_transactions")
        found = [self._state(n) for n in sorted(self._txns) if n.startswith(prefix) and n != prefix + PROBE_SUFFIX]
        return [one for one in found if producer_ids is None or one.producer_id in producer_ids]

    async def end_transaction(
        self, transactional_id: str, producer_id: int, producer_epoch: int, *, commit: bool
    ) -> EndOutcome:
        self._call("end_transaction")
        txn = self._txns.get(transactional_id)
        if txn is None:
            return EndOutcome.UNKNOWN_ID
        if txn.producer_id != producer_id:
            return EndOutcome.REFUSED_OTHER_PRODUCER
        raised = txn.epoch - producer_epoch
        if txn.state is TxnState.EMPTY and raised == 0:
            return EndOutcome.NOTHING_OPEN
        if raised in {0, 1} and txn.state in ENDED_BY[commit]:
            if txn.state in {TxnState.PREPARE_COMMIT, TxnState.PREPARE_ABORT}:
                raise Unavailable(f"commit {transactional_id}: it is in {txn.state}")
            return EndOutcome.ALREADY
        if raised in {0, 1} and txn.state in ENDED_BY[not commit]:
            return EndOutcome.REFUSED_OTHER_END
        if txn.state is not TxnState.ONGOING or raised != 0:
            return EndOutcome.REFUSED_OTHER_PRODUCER
        self._end(txn, commit=commit)
        if self.lose_next_end:
            self.lose_next_end = False
            raise Unavailable(f"{transactional_id}: the connection broke before the answer: it may have acted")
        return EndOutcome.ENDED

    async def open_transactions(self, topics: Collection[str]) -> list[OpenTransaction]:
        self._call("open_transactions")
        return sorted(
            OpenTransaction(log.tp, first, producer_id, epoch, -1)
            for log in self._of(topics)
            for producer_id, (first, epoch) in log.open.items()
        )

    async def abort_by_markers(self, transaction: OpenTransaction) -> bool:
        self._call("abort_by_markers")
        log = self._log(transaction.tp)
        if log.open.get(transaction.producer_id) != (transaction.start_offset, transaction.producer_epoch):
            return False
        self._marker(log, transaction.producer_id, transaction.producer_epoch, commit=False)
        return True

    async def deny_transactional_prefix(self, principal: str, prefix: str) -> None:
        self._call("deny_transactional_prefix")
        check_principal(principal)
        self._denied.add((principal, prefix))

    async def lift_denied_prefix(self, principal: str, prefix: str) -> None:
        self._call("lift_denied_prefix")
        check_principal(principal)
        self._denied.discard((principal, prefix))

    async def denied_prefixes(self, principal: str) -> list[str]:
        self._call("denied_prefixes")
        check_principal(principal)
        return sorted(prefix for who, prefix in self._denied if who == principal)

    async def deny_topic_writes(self, principal: str, topic: str) -> None:
        self._call("deny_topic_writes")
        check_principal(principal)
        self._topic(topic)
        if topic in self.ruleless:
            raise first_rule(topic)
        self._no_writes.add((principal, topic))

    async def lift_topic_writes(self, principal: str, topic: str) -> None:
        self._call("lift_topic_writes")
        check_principal(principal)
        self._no_writes.discard((principal, topic))

    async def denied_topics(self, principal: str) -> list[str]:
        self._call("denied_topics")
        check_principal(principal)
        return sorted(topic for who, topic in self._no_writes if who == principal)

    async def probe_denied(self, prefix: str, job_security: KafkaSecurity | None) -> bool:
        self._call("probe_denied")
        return self._refuses(job_security.principal if job_security else "User:ANONYMOUS", prefix + PROBE_SUFFIX)

    async def wait_stable(
        self, topics: Collection[str], deadline_s: float, heartbeat: Heartbeat | None = None
    ) -> dict[TopicPartition, int]:
        """Judges at once: time here passes only by ``advance``."""
        self._call("wait_stable")
        behind = {log.tp: (log.stable, log.end) for log in self._of(topics) if log.stable < log.end}
        if heartbeat is not None:
            heartbeat(
                {
                    "waiting_for": "last stable offset = end",
                    "partitions": {str(tp): list(v) for tp, v in behind.items()},
                }
            )
        if not behind:
            return {log.tp: log.end for log in self._of(topics)}
        named = {txn.producer_id: name for name, txn in self._txns.items()}
        open_ones = [one for one in await self.open_transactions(topics) if one.tp in behind]
        raise held_back(behind, open_ones, named, deadline_s)

    async def batches(self, tp: TopicPartition, first: int, end: int) -> AsyncIterator[Batch]:
        self._call("batches")
        log = self._log(tp)
        if first < end and not log.start <= first <= log.end:
            raise Refused(f"{tp} does not hold offset {first:,}: the log begins later or ends before it")
        for batch in list(log.batches):
            if batch.last_offset >= first and batch.base_offset < end:
                yield batch

    async def batch_headers(self, tp: TopicPartition, first: int, end: int) -> list[Batch]:
        return [batch async for batch in self.batches(tp, first, end)]

    async def committed_data_count(self, tp: TopicPartition, first: int, end: int) -> CommittedRange:
        count = Committed(tp, first, end)
        if first < end:
            async for batch in self.batches(tp, first, self._log(tp).end):
                if batch.base_offset >= end and count.settled():
                    break
                count.add(Piece(batch, max(0, min(end, batch.last_offset + 1) - max(first, batch.base_offset))))
        return count.result()

    async def records(
        self, tp: TopicPartition, first: int, end: int, max_bytes: int = 1 << 20
    ) -> AsyncIterator[LogRecord]:
        """A value that is a LogRecord gives key, value, headers and time; bytes are a value; others have none."""
        self._call("records")
        log = self._log(tp)
        if first < end and not log.start <= first <= log.end:
            raise Refused(f"{tp} does not hold offset {first:,}: the log begins later or ends before it")
        markers = [batch for batch in log.batches if batch.is_control]
        for batch in list(log.batches):
            if batch.is_control or batch.last_offset < first or batch.base_offset >= min(end, log.stable):
                continue
            if batch.is_transactional:
                marker = next(
                    m for m in markers if m.producer_id == batch.producer_id and m.base_offset > batch.last_offset
                )
                if marker.control_type is ControlType.ABORT:
                    continue
            for offset in range(max(first, batch.base_offset), min(end, batch.last_offset + 1)):
                kept = log.values.get(offset)
                if isinstance(kept, LogRecord):
                    yield LogRecord(offset, kept.timestamp_ms, kept.key, kept.value, kept.headers)
                else:
                    value = kept if isinstance(kept, bytes) else None
                    yield LogRecord(offset, batch.max_timestamp_ms, None, value)

"""Kafka in memory: KafkaClient as the real broker was seen to behave, and producers and sinks that write to it.

The same contract (``kafka_contract``) runs against it and against a real broker of transaction version 2.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field

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


class FakeKafka(KafkaClient):
    """``down``: no call is answered. ``lose_next_end``: the next end acts, and its answer is lost.

    ``unreplicated``: so many offsets of a partition have not reached its followers. ``ruleless``: topics without any
    access rule, which the broker lets everyone use.
    ``hold_markers``: ended transactions stay Prepare… and open in the logs until ``release_markers``.
    Times advance only by ``advance``; transactions past their time-out are aborted by it.
    """

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

    # KafkaClient

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


class FakeProducer:
    """A transactional producer of a job. Raises Denied, Fenced or Unavailable as the real one would."""

    def __init__(self, kafka: FakeKafka, transactional_id: str, principal: str, timeout_ms: int):
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
    def recovered(cls, kafka: FakeKafka, committable: Committable, principal: str = "User:ledger") -> FakeProducer:
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
        kafka: FakeKafka,
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

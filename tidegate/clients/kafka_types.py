"""What the Kafka client takes and gives: frozen values, and the protocol that the real client and the fake both keep.

Offsets are Kafka's: a *next offset* or *end* is the first offset that is not included; ``first`` and ``last`` are
included. Times are milliseconds since 1970 (``_ms``) on the broker's clock, durations seconds (``_s``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

Heartbeat = Callable[[dict[str, object]], None]
"""Called while something is waited for, with what is waited for and how far it is (JSON values)."""

PROBE_SUFFIX = "tidegate-probe"
"""The probe's own transactional id is prefix + this; it never writes, and ``list_transactions`` leaves it out."""


class TopicPartition(NamedTuple):
    """A partition of a topic; orders by name, then number."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How to log in. ``protocol`` and ``mechanism`` are Kafka's words (SASL_PLAINTEXT, SASL_SSL, SSL; PLAIN, SCRAM-…).

    TLS trusts the system's certificate authorities.
    """

    protocol: str
    mechanism: str
    username: str
    password: str = field(repr=False)

    @property
    def principal(self) -> str:
        """The name that access control lists use, e.g. ``User:ledger``."""
        return f"User:{self.username}"


class TxnState(StrEnum):
    """A transactional id's state as the broker's coordinator says it (``DescribeTransactions``)."""

    EMPTY = "Empty"
    ONGOING = "Ongoing"
    PREPARE_COMMIT = "PrepareCommit"
    PREPARE_ABORT = "PrepareAbort"
    COMPLETE_COMMIT = "CompleteCommit"
    COMPLETE_ABORT = "CompleteAbort"
    DEAD = "Dead"
    PREPARE_EPOCH_FENCE = "PrepareEpochFence"
    UNKNOWN = "Unknown"
    """The coordinator does not know the id: never used, or forgotten after ``transactional.id.expiration.ms``."""


@dataclass(frozen=True, slots=True)
class TransactionState:
    """The broker's word on a transactional *id*; compare producer id and epoch before you call it yours (X3).

    An end by a client of transaction version 2 raises ``producer_epoch`` by one, so a committable (id, epoch e) that
    was committed shows as ``COMPLETE_COMMIT`` at e + 1. ``started_ms`` is None unless a transaction is under way.
    """

    transactional_id: str
    state: TxnState
    producer_id: int = -1
    producer_epoch: int = -1
    timeout_ms: int = -1
    started_ms: int | None = None
    partitions: frozenset[TopicPartition] = frozenset()


class GroupState(StrEnum):
    """A consumer group as its coordinator lists it, whichever protocol its consumers speak."""

    UNKNOWN = "Unknown"
    """The coordinator does not know it, or says what this version does not."""
    EMPTY = "Empty"
    """It has offsets, and nobody is in it."""
    DEAD = "Dead"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    ASSIGNING = "Assigning"
    RECONCILING = "Reconciling"
    STABLE = "Stable"

    @classmethod
    def of(cls, word: str) -> GroupState:
        """From the broker's word."""
        return next((one for one in cls if one.value == word), cls.UNKNOWN)

    @property
    def live(self) -> bool:
        """Whether somebody is in it."""
        return self not in {GroupState.UNKNOWN, GroupState.EMPTY, GroupState.DEAD}


class EndOutcome(StrEnum):
    """What became of the wish to end one transaction (transactional id, producer id, epoch) in one way."""

    ENDED = "ended"
    """The broker took the decision by this call. Its markers follow; wait with ``wait_stable``."""
    ALREADY = "already"
    """It had ended in that way before."""
    REFUSED_OTHER_END = "refused: it ended the other way"
    REFUSED_OTHER_PRODUCER = "refused: the id belongs to another producer or epoch"
    """What became of the transaction that was asked about cannot be learned from the broker any more."""
    NOTHING_OPEN = "nothing open"
    """This producer and epoch hold the id, but no transaction of theirs has begun (or it was emptied by a new init)."""
    UNKNOWN_ID = "the broker does not know the id"


@dataclass(frozen=True, slots=True, order=True)
class OpenTransaction:
    """A transaction that holds back a partition's last stable offset, as the partition's leader sees it."""

    tp: TopicPartition
    start_offset: int
    producer_id: int
    producer_epoch: int
    coordinator_epoch: int


class ControlType(StrEnum):
    """The end that a control batch marks."""

    COMMIT = "commit"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Batch:
    """One record batch of a log, from its header. A control batch's ``records`` counts the marker itself.

    The marker of a transaction that ended under transaction version 2 carries the data's epoch + 1.
    ``max_timestamp_ms`` is the append time where ``log_append_time`` is set, else the producer's word.
    """

    base_offset: int
    last_offset: int
    producer_id: int
    producer_epoch: int
    is_control: bool
    is_transactional: bool
    records: int
    max_timestamp_ms: int
    log_append_time: bool
    control_type: ControlType | None = None


@dataclass(frozen=True, slots=True)
class CommittedRange:
    """The committed data records of one partition in [first, end): markers, aborted and undecided ones left out.

    ``undecided`` counts the records of transactions without a marker: 0 once all is settled. ``last_append_ms`` is the
    time of the newest committed batch that begins in the range (None: no record, or the topic does not use log append
    time: then nobody but the producer has said when).
    """

    tp: TopicPartition
    first: int
    end: int
    count: int
    undecided: int
    last_append_ms: int | None


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record as its log holds it. ``timestamp_ms``: the producer's word, or the topic's append time."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic. ``id`` is a new one each time a topic is made under the name; None: the broker is too old to tell it."""

    name: str
    id: str | None
    partitions: int


@dataclass(frozen=True, slots=True)
class TopicShape:
    """How a topic is set up. ``replicas``: of the partition that has the fewest. ``settings``: defaults included."""

    name: str
    partitions: int
    replicas: int
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClusterShape:
    """How a cluster is set up. ``brokers`` that are up; ``settings`` are those of one of them, defaults included."""

    brokers: int
    settings: Mapping[str, str]
    topics: Mapping[str, TopicShape]


class KafkaClient(Protocol):
    """What Tidegate asks of one region's Kafka. Each call raises Unavailable when the broker does not answer in time,
    Refused when it refuses the log-in or the right, InvalidInput for an unknown topic.
    """

    async def aclose(self) -> None:
        """Close the connections. The object may be used again: it connects anew."""

    async def ping(self) -> None:
        """Returns if it answers. Raises Unavailable: at once where no broker takes a connection."""

    async def topics(self) -> list[str]:
        """Names of all topics but Kafka's internal ones, sorted."""

    async def partitions(self, topic: str) -> list[int]:
        """Numbers of the topic's partitions, sorted."""

    async def describe_topics(self, topics: Collection[str]) -> dict[str, TopicDescription]:
        """The topics by name; those that are not there are left out."""

    async def shape(self, topics: Collection[str]) -> ClusterShape:
        """How the cluster and these topics are set up; topics that are not there are left out.

        Of the settings those that decide what a failover meets: ``tidegate.clients.kafka_shape``.
        """

    async def create_topic(self, topic: str, partitions: int, config: Mapping[str, str] | None = None) -> None:
        """Create the topic and wait until each partition has a leader; one that exists with as many is left as it is.

        Raises InvalidInput if it exists with another number of partitions.
        """

    async def remove_topic(self, topic: str) -> None:
        """Delete the topic with all that it holds; returns when no broker shows it. One that is not there is none."""

    async def remove_group(self, group: str) -> None:
        """Delete the consumer group with its offsets; one that is not there is none.

        Raises Unavailable while it has members: call again when they have left.
        """

    async def start_offsets(self, topics: Collection[str]) -> dict[TopicPartition, int]:
        """First offset that each log still holds."""

    async def end_offsets(self, topics: Collection[str]) -> dict[TopicPartition, int]:
        """End of each log (high watermark), open transactions and markers included."""

    async def appended_offsets(self, topics: Collection[str]) -> dict[TopicPartition, int]:
        """End of each log as its leader holds it, with what its followers lack; ``end_offsets`` stops before that.

        Where both are the same, nothing that was taken in can still become visible.
        """

    async def offsets_at(self, topics: Collection[str], at_ms: int) -> dict[TopicPartition, int]:
        """Of each log the first offset of a record of this time or later, by the records' timestamps; else the end."""

    async def last_stable_offsets(self, topics: Collection[str]) -> dict[TopicPartition, int]:
        """Where a read_committed reader of each log has to stop: the first open transaction, else the end."""

    async def group_offsets(self, group: str) -> dict[TopicPartition, int]:
        """Next offset that the consumer group has committed; empty for a group that Kafka does not know."""

    async def group_state(self, group: str) -> GroupState:
        """Whether anybody is in the group; UNKNOWN for one that Kafka does not know."""

    async def put_group_offsets(self, group: str, offsets: Mapping[TopicPartition, int], note: str) -> None:
        """Put the group's next offsets on these partitions, with a note beside each; others stay as they are.

        Safe to repeat while nobody has read on. Raises Refused if anybody is in the group (Kafka itself refuses it),
        Unavailable if the connection broke or the time ran out: it may or may not have been put.
        """

    async def lag(
        self, positions: str | Mapping[TopicPartition, int], topics: Collection[str]
    ) -> dict[TopicPartition, int]:
        """End minus position, never below 0; a partition without a position counts from the log's start.

        ``positions`` is a group's name or next offsets.
        """

    async def describe_transactions(self, transactional_ids: Collection[str]) -> dict[str, TransactionState]:
        """The broker's word on each id; an id that it does not know has the state UNKNOWN."""

    async def list_transactions(
        self, prefix: str, producer_ids: Collection[int] | None = None
    ) -> list[TransactionState]:
        """All ids, in whatever state, that begin with exactly ``prefix``, sorted by id.

        ``producer_ids``: only those of these producers, chosen by the broker.

        Prefixes that end in a dot cannot be prefixes of one another's (X13).
        """

    async def end_transaction(
        self, transactional_id: str, producer_id: int, producer_epoch: int, *, commit: bool
    ) -> EndOutcome:
        """Commit or abort the one transaction that is named, and no other. Safe to repeat.

        Raises Unavailable if the connection broke or the time ran out: it may or may not have ended; repeat.
        """

    async def open_transactions(self, topics: Collection[str]) -> list[OpenTransaction]:
        """What holds back the last stable offset of each partition, sorted by partition and start offset."""

    async def abort_by_markers(self, transaction: OpenTransaction) -> bool:
        """Write an abort marker straight into the partition: only for a transaction whose coordinator forgot it.

        False if that transaction was no longer open. The coordinator is not asked and learns nothing of it.
        """

    async def deny_transactional_prefix(self, principal: str, prefix: str) -> None:
        """Shut the principal (``User:name``) out of all transactional ids under ``prefix`` (X14). Safe to repeat.

        Returns when every broker shows the DENY. That it bites is for ``probe_denied`` to see.
        """

    async def lift_denied_prefix(self, principal: str, prefix: str) -> None:
        """Take such a DENY away; returns when no broker shows it. Only for a mirror, and when a person asks (X17).

        One that is not there changes nothing.
        """

    async def denied_prefixes(self, principal: str) -> list[str]:
        """The transactional prefixes that every broker shows as denied to the principal, sorted."""

    async def deny_topic_writes(self, principal: str, topic: str) -> None:
        """Deny a principal (``User:name``) the writing of one topic (X18). Safe to repeat.

        Returns when every broker shows the DENY. What was on its way when it was set may still be appended.
        Raises Refused if it would be the topic's first access rule.
        """

    async def lift_topic_writes(self, principal: str, topic: str) -> None:
        """Take such a DENY away; returns when no broker shows it. One that is not there changes nothing."""

    async def denied_topics(self, principal: str) -> list[str]:
        """The topics that every broker shows as denied to the principal for writing, sorted."""

    async def probe_denied(self, prefix: str, job_security: KafkaSecurity | None) -> bool:
        """Seen to refuse: log in as the job and ask every broker for a producer id under ``prefix``.

        Uses an id of its own (PROBE_SUFFIX), so that no transaction of the job is taken over. True if every broker
        refuses.
        """

    async def wait_stable(
        self, topics: Collection[str], deadline_s: float, heartbeat: Heartbeat | None = None
    ) -> dict[TopicPartition, int]:
        """Wait until each last stable offset has reached the end; gives the last stable offsets (X15, X19).

        All that lies below them is committed or aborted for good; what is written meanwhile is not waited for.

        Raises NoProgress after ``deadline_s``, naming partition, producer and transactional id; Unavailable if the
        broker could not be asked at the end.
        """

    def batches(self, tp: TopicPartition, first: int, end: int) -> AsyncIterator[Batch]:
        """Headers of the batches that hold offsets in [first, end), open and aborted ones included (X4).

        The first and last may reach beyond the range. Stops at the log's end as it is when that is reached. Raises
        Refused if the log no longer holds ``first``.
        """

    async def batch_headers(self, tp: TopicPartition, first: int, end: int) -> list[Batch]:
        """``batches`` as a list."""

    async def committed_data_count(self, tp: TopicPartition, first: int, end: int) -> CommittedRange:
        """Committed data records in [first, end), decided by the markers, those behind ``end`` included (X26)."""

    def records(self, tp: TopicPartition, first: int, end: int, max_bytes: int = ...) -> AsyncIterator[LogRecord]:
        """Committed data records in [first, end), in order, as far as the last stable offset has come.

        ``max_bytes`` bounds each fetch: small where one record is wanted. Raises Refused if the log no longer holds
        ``first``, or for batches compressed by a codec that is not read.
        """

"""One region's Kafka: offsets, transactions, what shuts a writer out, and what the log says of who wrote what.

Everything goes over one small set of connections (``kafka_wire``), opened when first needed and again after a loss, so
one object outlives restarts of the broker. Use it from one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar

from tidegate.clients import (
    kafka_gate,
    kafka_groups,
    kafka_log,
    kafka_records,
    kafka_removal,
    kafka_shape,
    kafka_transactions,
)
from tidegate.clients.kafka_fetch import FETCH_BYTES, READ_COMMITTED, READ_UNCOMMITTED
from tidegate.clients.kafka_messages import (
    CreateTopicsRequest,
    ListOffsetsRequest,
)
from tidegate.clients.kafka_types import (
    Batch,
    ClusterShape,
    CommittedRange,
    EndOutcome,
    GroupState,
    Heartbeat,
    KafkaClient,
    KafkaSecurity,
    LogRecord,
    OpenTransaction,
    TopicDescription,
    TopicPartition,
    TransactionState,
)
from tidegate.clients.kafka_wire import Again, Wire, by_node, error_of, refuse_unreachable, topic_id_text
from tidegate.errors import InvalidInput, NoProgress, Unavailable

T = TypeVar("T")
# Who asks for offsets (org.apache.kafka.common.requests.ListOffsetsRequest): each sees another end of a log.
CONSUMER = -1
DEBUGGING_REPLICA = -2
LATEST = -1
EARLIEST = -2
POLL_S = 0.02
POLL_MAX_S = 0.25


class Kafka(KafkaClient):
    """The client for real brokers; ``KafkaClient`` says what each method does and raises.

    ``timeout_s`` bounds each single question, the time in which a broker that restarts may come back included.
    """

    def __init__(self, bootstrap: str, security: KafkaSecurity | None, timeout_s: float = 10.0) -> None:
        self._wire = Wire(bootstrap, security, timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._wire.aclose()

    # Topics and offsets

    async def ping(self) -> None:
        """See KafkaClient (a connection to any bootstrap server, then ``Metadata``)."""
        await refuse_unreachable(self._wire.bootstrap)
        await self.topics()

    async def topics(self) -> list[str]:
        """See KafkaClient (``Metadata``)."""

        async def ask() -> list[str]:
            answer = await self._wire.metadata(None)
            return sorted(topic.name for topic in answer.topics if not topic.is_internal)

        return await self._until("list topics", ask)

    async def partitions(self, topic: str) -> list[int]:
        """See KafkaClient (``Metadata``)."""
        leaders = await self._until(f"partitions of {topic}", lambda: self._leaders([topic]))
        return sorted(tp.partition for tp in leaders)

    async def describe_topics(self, topics: Collection[str]) -> dict[str, TopicDescription]:
        """See KafkaClient (``Metadata``, from version 10 on with the topics' ids)."""

        async def ask() -> dict[str, TopicDescription]:
            found: dict[str, TopicDescription] = {}
            for row in (await self._wire.metadata(sorted(set(topics)))).topics:
                if error_of(row.error_code) != "UnknownTopicOrPartitionError":
                    self._wire.check(row.error_code, f"topic {row.name}")
                    found[row.name] = TopicDescription(row.name, topic_id_text(row.topic_id), len(row.partitions))
            return found

        return await self._until(f"describe {', '.join(sorted(topics))}", ask)

    async def shape(self, topics: Collection[str]) -> ClusterShape:
        """See KafkaClient (``Metadata``, ``DescribeConfigs``)."""
        return await self._until("describe the cluster", lambda: kafka_shape.shape(self._wire, topics))

    async def create_topic(self, topic: str, partitions: int, config: Mapping[str, str] | None = None) -> None:
        """See KafkaClient (``CreateTopics``); the broker's default replication factor."""
        what = f"create topic {topic}"
        wanted = CreateTopicsRequest.CreatableTopic(
            name=topic,
            num_partitions=partitions,
            replication_factor=-1,
            assignments=[],
            configs=[
                CreateTopicsRequest.CreatableTopic.CreatableTopicConfig(name=key, value=value)
                for key, value in (config or {}).items()
            ],
        )

        async def create() -> None:
            request = CreateTopicsRequest(topics=[wanted], timeout_ms=int(self._wire.timeout_s * 1000))
            row = (await self._wire.ask(request)).topics[0]
            error = error_of(row.error_code)
            if error.startswith("Invalid") or error in {"PolicyViolationError", "TopicException"}:
                raise InvalidInput(f"{what}: {row.error_message or error}")
            if error != "TopicAlreadyExistsError":
                self._wire.check(row.error_code, what)

        async def ready() -> int:
            return len(await self._leaders([topic], new=True))

        await self._until(what, create)
        there = await self._until(what, ready)
        if there != partitions:
            raise InvalidInput(
                f"{what}: it exists with {there} partitions; expected {partitions}",
                hint="the number of partitions decides which key goes where: nothing was changed",
            )

    async def remove_topic(self, topic: str) -> None:
        """See KafkaClient (``DeleteTopics``)."""
        await self._until(f"delete topic {topic}", lambda: kafka_removal.remove_topic(self._wire, topic))

    async def remove_group(self, group: str) -> None:
        """See KafkaClient (``DeleteGroups``)."""
        await self._until(f"delete group {group}", lambda: kafka_removal.remove_group(self._wire, group))

    async def start_offsets(self, topics: Collection[str]) -> dict[TopicPartition, int]:
        """See KafkaClient (``ListOffsets`` earliest)."""
        return await self._offsets(topics, EARLIEST, READ_UNCOMMITTED, "start")

    async def end_offsets(self, topics: Collection[str]) -> dict[TopicPartition, int]:
        """See KafkaClient (``ListOffsets`` latest, read_uncommitted)."""
        return await self._offsets(topics, LATEST, READ_UNCOMMITTED, "end")

    async def appended_offsets(self, topics: Collection[str]) -> dict[TopicPartition, int]:
        """See KafkaClient (``ListOffsets`` latest, as a replica asks: not the high watermark but the leader's end)."""
        return await self._offsets(topics, LATEST, READ_UNCOMMITTED, "appended", replica_id=DEBUGGING_REPLICA)

    async def offsets_at(self, topics: Collection[str], at_ms: int) -> dict[TopicPartition, int]:
        """See KafkaClient (``ListOffsets`` by timestamp, which says -1 where no record is as late)."""
        ends = await self.end_offsets(topics)
        found = await self._offsets(topics, at_ms, READ_UNCOMMITTED, "time's")
        return {tp: offset if offset >= 0 else ends[tp] for tp, offset in found.items()}

    async def last_stable_offsets(self, topics: Collection[str]) -> dict[TopicPartition, int]:
        """See KafkaClient (``ListOffsets`` latest, read_committed)."""
        return await self._offsets(topics, LATEST, READ_COMMITTED, "last stable")

    async def group_offsets(self, group: str) -> dict[TopicPartition, int]:
        """See KafkaClient (``OffsetFetch``)."""
        return await self._until(f"offsets of group {group}", lambda: kafka_groups.offsets(self._wire, group))

    async def group_state(self, group: str) -> GroupState:
        """See KafkaClient (``ListGroups``, of the group's coordinator)."""
        return await self._until(f"state of group {group}", lambda: kafka_groups.state(self._wire, group))

    async def put_group_offsets(self, group: str, offsets: Mapping[TopicPartition, int], note: str) -> None:
        """See KafkaClient (``OffsetCommit``, of no member and no generation)."""
        if offsets:
            await self._wire.until(
                f"put offsets of group {group}",
                lambda: kafka_groups.commit(self._wire, group, offsets, note),
                sent_is_final=True,
            )

    async def lag(
        self, positions: str | Mapping[TopicPartition, int], topics: Collection[str]
    ) -> dict[TopicPartition, int]:
        """See KafkaClient. Positions are read before the ends, so a lag is never too small."""
        known = await self.group_offsets(positions) if isinstance(positions, str) else positions
        ends = await self.end_offsets(topics)
        starts = await self.start_offsets(topics) if any(tp not in known for tp in ends) else {}
        return {tp: max(0, end - known.get(tp, starts.get(tp, 0))) for tp, end in ends.items()}

    # Transactions

    async def describe_transactions(self, transactional_ids: Collection[str]) -> dict[str, TransactionState]:
        """See KafkaClient (``DescribeTransactions``)."""
        return await self._until(
            f"describe {len(transactional_ids)} transactions",
            lambda: kafka_transactions.describe(self._wire, transactional_ids),
        )

    async def list_transactions(
        self, prefix: str, producer_ids: Collection[int] | None = None
    ) -> list[TransactionState]:
        """See KafkaClient (``ListTransactions``, then ``DescribeTransactions``)."""
        if producer_ids is not None and not producer_ids:
            return []  # an empty filter would ask for all
        return await self._until(
            f"list transactions under {prefix}",
            lambda: kafka_transactions.list_under(self._wire, prefix, producer_ids or ()),
        )

    async def end_transaction(
        self, transactional_id: str, producer_id: int, producer_epoch: int, *, commit: bool
    ) -> EndOutcome:
        """See KafkaClient (``EndTxn``) and ``kafka_transactions`` for what brokers answer."""
        return await self._wire.until(
            f"{'commit' if commit else 'abort'} {transactional_id} of producer {producer_id} epoch {producer_epoch}",
            lambda: kafka_transactions.end_once(
                self._wire, transactional_id, producer_id, producer_epoch, commit=commit
            ),
            sent_is_final=True,
        )

    async def open_transactions(self, topics: Collection[str]) -> list[OpenTransaction]:
        """See KafkaClient (``DescribeProducers``)."""

        async def ask() -> list[OpenTransaction]:
            return await kafka_transactions.open_on(self._wire, await self._leaders(topics))

        return await self._until(f"open transactions on {', '.join(sorted(topics))}", ask)

    async def abort_by_markers(self, transaction: OpenTransaction) -> bool:
        """See KafkaClient (``WriteTxnMarkers``)."""
        tp = transaction.tp

        async def abort() -> bool:
            leader = await self._leader(tp)
            if transaction not in await kafka_transactions.open_on(self._wire, {tp: leader}):
                return False
            await kafka_transactions.abort_marker(self._wire, transaction, leader)
            return True

        return await self._until(f"abort marker of producer {transaction.producer_id} on {tp}", abort)

    async def deny_transactional_prefix(self, principal: str, prefix: str) -> None:
        """See KafkaClient (``CreateAcls``, read back by ``DescribeAcls`` from every broker).

        Seen on StandardAuthorizer with ``allow.everyone.if.no.acl.found``: the DENY is an access rule of that prefix,
        so every other principal that is no super user loses it too.
        """
        await self._until(
            f"deny {prefix}* to {principal}", lambda: kafka_transactions.deny(self._wire, principal, prefix)
        )

    async def lift_denied_prefix(self, principal: str, prefix: str) -> None:
        """See KafkaClient (``DeleteAcls``, read back by ``DescribeAcls`` from every broker)."""
        await self._until(
            f"lift the DENY on {prefix}* for {principal}",
            lambda: kafka_transactions.lift(self._wire, principal, prefix),
        )

    async def denied_prefixes(self, principal: str) -> list[str]:
        """See KafkaClient (``DescribeAcls``)."""
        return await self._until(
            f"read what {principal} is denied", lambda: kafka_transactions.denied(self._wire, principal)
        )

    async def deny_topic_writes(self, principal: str, topic: str) -> None:
        """See KafkaClient (``CreateAcls``, read back by ``DescribeAcls`` from every broker)."""
        await self._until(
            f"deny {principal} the writing of {topic}", lambda: kafka_gate.deny_writes(self._wire, principal, topic)
        )

    async def lift_topic_writes(self, principal: str, topic: str) -> None:
        """See KafkaClient (``DeleteAcls``, read back by ``DescribeAcls`` from every broker)."""
        await self._until(
            f"let {principal} write {topic} again", lambda: kafka_gate.lift_writes(self._wire, principal, topic)
        )

    async def denied_topics(self, principal: str) -> list[str]:
        """See KafkaClient (``DescribeAcls``)."""
        return await self._until(
            f"read which topics {principal} may not write", lambda: kafka_gate.denied_writes(self._wire, principal)
        )

    async def probe_denied(self, prefix: str, job_security: KafkaSecurity | None) -> bool:
        """See KafkaClient (``InitProducerId`` as the job)."""
        wire = Wire(self._wire.bootstrap, job_security, self._wire.timeout_s)
        try:
            return await wire.until(f"probe the DENY on {prefix}", lambda: kafka_transactions.probe(wire, prefix))
        finally:
            await wire.aclose()

    async def wait_stable(
        self, topics: Collection[str], deadline_s: float, heartbeat: Heartbeat | None = None
    ) -> dict[TopicPartition, int]:
        """See KafkaClient. Ends are read before last stable offsets, so plain writers do not delay it for ever."""
        loop = asyncio.get_running_loop()
        until = loop.time() + deadline_s
        pause_s = POLL_S
        while True:
            behind: dict[TopicPartition, tuple[int, int]] = {}
            unreached: Unavailable | None = None
            try:
                ends = await self.end_offsets(topics)
                stable = await self.last_stable_offsets(topics)
                behind = {tp: (stable[tp], end) for tp, end in ends.items() if stable[tp] < end}
                if not behind:
                    return stable
            except Unavailable as error:
                unreached = error
            if heartbeat is not None:
                heartbeat(
                    {
                        "waiting_for": "last stable offset = end",
                        "partitions": {str(tp): list(offsets) for tp, offsets in behind.items()},
                        "unreached": unreached.message if unreached else None,
                    }
                )
            left_s = until - loop.time()
            if left_s <= 0:
                if unreached is not None:
                    raise unreached
                raise await self._held_back(behind, deadline_s)
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(POLL_MAX_S, pause_s * 1.5)

    # The log

    async def batches(self, tp: TopicPartition, first: int, end: int) -> AsyncIterator[Batch]:
        """See KafkaClient (``Fetch``, read_uncommitted)."""
        if first >= end:
            return
        async with aclosing(kafka_log.read(self._wire, tp, self._leader, first, end)) as pieces:
            async for piece in pieces:
                if piece.batch.base_offset >= end:
                    return
                yield piece.batch

    async def batch_headers(self, tp: TopicPartition, first: int, end: int) -> list[Batch]:
        """See KafkaClient."""
        return [batch async for batch in self.batches(tp, first, end)]

    async def committed_data_count(self, tp: TopicPartition, first: int, end: int) -> CommittedRange:
        """See KafkaClient (``Fetch``, read_uncommitted)."""
        if first >= end:
            return CommittedRange(tp, first, end, 0, 0, None)
        return await kafka_log.committed(self._wire, tp, self._leader, first, end)

    async def records(
        self, tp: TopicPartition, first: int, end: int, max_bytes: int = FETCH_BYTES
    ) -> AsyncIterator[LogRecord]:
        """See KafkaClient (``Fetch``, read_committed)."""
        if first >= end:
            return
        async with aclosing(kafka_records.read(self._wire, tp, self._leader, first, end, max_bytes)) as records:
            async for record in records:
                yield record

    # What they share

    async def _until(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        return await self._wire.until(what, call)

    async def _leaders(self, topics: Collection[str], *, new: bool = False) -> dict[TopicPartition, int]:
        """Leader of each partition; ``new``: a topic that is not there yet is waited for."""
        leaders: dict[TopicPartition, int] = {}
        for topic in (await self._wire.metadata(sorted(set(topics)))).topics:
            if new and error_of(topic.error_code) == "UnknownTopicOrPartitionError":
                raise Again(f"topic {topic.name} is not there yet")
            self._wire.check(topic.error_code, f"topic {topic.name}")
            for row in topic.partitions:
                self._wire.check(row.error_code, f"{topic.name}-{row.partition_index}")
                leaders[TopicPartition(topic.name, row.partition_index)] = row.leader_id
        return leaders

    async def _leader(self, tp: TopicPartition) -> int:
        leaders = await self._leaders([tp.topic])
        if tp not in leaders:
            raise InvalidInput(f"topic {tp.topic} has no partition {tp.partition}")
        return leaders[tp]

    async def _offsets(
        self, topics: Collection[str], timestamp: int, isolation: int, name: str, *, replica_id: int = CONSUMER
    ) -> dict[TopicPartition, int]:
        what = f"{name} offsets of {', '.join(sorted(topics))}"

        async def ask() -> dict[TopicPartition, int]:
            offsets: dict[TopicPartition, int] = {}
            for node, own in by_node(await self._leaders(topics)).items():
                request = ListOffsetsRequest(
                    replica_id=replica_id,
                    isolation_level=isolation,
                    topics=[
                        ListOffsetsRequest.ListOffsetsTopic(
                            name=topic,
                            partitions=[
                                ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(
                                    partition_index=tp.partition, timestamp=timestamp
                                )
                                for tp in group
                            ],
                        )
                        for topic, group in kafka_transactions.by_topic(own).items()
                    ],
                    min_version=2,
                )
                for topic in (await self._wire.ask(request, node)).topics:
                    for row in topic.partitions:
                        self._wire.check(row.error_code, f"{what}: {topic.name}-{row.partition_index}")
                        offsets[TopicPartition(topic.name, row.partition_index)] = row.offset
            return dict(sorted(offsets.items()))

        return await self._until(what, ask)

    async def _held_back(self, behind: Mapping[TopicPartition, tuple[int, int]], deadline_s: float) -> NoProgress:
        culprits = [o for o in await self.open_transactions({tp.topic for tp in behind}) if o.tp in behind]
        producers = {open_one.producer_id for open_one in culprits}
        named: dict[int, str] = {}
        if producers:
            ids = await self._until(
                "ids of the open transactions", lambda: kafka_transactions.list_ids(self._wire, producers)
            )
            named = {producer_id: transactional_id for transactional_id, producer_id in ids.items()}
        return kafka_transactions.held_back(behind, culprits, named, deadline_s)

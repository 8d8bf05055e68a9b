"""Transactions of a cluster: what the coordinators say, ending one by its name, and shutting out a prefix.

What a broker of Kafka 4.3.1 (``transaction.version`` 2) was seen to answer to ``EndTxn`` version 5 for a transaction of
producer p and epoch e:

- Ongoing at e, commit or abort: ok; the id is then Prepare… at e for a moment, and Complete… at e + 1. The same call
  again: ok.
- The other end afterwards (abort of a committed e, commit of an aborted e): INVALID_TXN_STATE, nothing changes.
- Any other epoch while Ongoing: PRODUCER_FENCED. Another producer id, or an unknown id: INVALID_PRODUCER_ID_MAPPING.
- Empty at e: commit gives INVALID_TXN_STATE. **Abort is accepted at whatever epoch the id stands now, also when it is
  Complete: CompleteCommit turns into CompleteAbort one epoch higher, and the evidence of the commit is gone** (the
  records stay committed). Therefore the id is described first, and nothing is sent unless exactly that transaction
  is Ongoing.
- Taken over by a new init: Empty at e + 2 whether it had been committed (e + 1 by the end, + 1 by the init) or was
  aborted by the init itself: what became of it cannot be told from the coordinator.
- A client of an older transaction version leaves the epoch as it was (Complete… at e); both are recognised here. Such
  a client that commits between our look and our abort would be overwritten as above; one of version 2 is not.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

from tidegate.clients.kafka_acls import OF_TRANSACTIONAL_PREFIXES
from tidegate.clients.kafka_messages import (
    DescribeProducersRequest,
    DescribeTransactionsRequest,
    EndTxnRequest,
    FindCoordinatorRequest,
    InitProducerIdRequest,
    ListTransactionsRequest,
    WriteTxnMarkersRequest,
)
from tidegate.clients.kafka_types import (
    PROBE_SUFFIX,
    EndOutcome,
    OpenTransaction,
    TopicPartition,
    TransactionState,
    TxnState,
)
from tidegate.clients.kafka_wire import Again, Wire, by_node, error_of
from tidegate.errors import NoProgress

TRANSACTION_COORDINATOR = 1
TRANSACTION_LOG = "__transaction_state"
ANY_EPOCH_TIMEOUT_MS = 60_000
UNDER_WAY = {TxnState.ONGOING, TxnState.PREPARE_COMMIT, TxnState.PREPARE_ABORT}
ENDED_BY = {
    True: (TxnState.PREPARE_COMMIT, TxnState.COMPLETE_COMMIT),
    False: (TxnState.PREPARE_ABORT, TxnState.COMPLETE_ABORT),
}


async def describe(wire: Wire, transactional_ids: Collection[str]) -> dict[str, TransactionState]:
    """State of each id from its coordinator. One pass: raises Again where a coordinator is not ready."""
    ids = sorted(set(transactional_ids))
    states: dict[str, TransactionState] = {}
    for node, own in by_node(await _coordinators(wire, ids)).items():
        answer = await wire.ask(DescribeTransactionsRequest(transactional_ids=own), node)
        for row in answer.transaction_states:
            if error_of(row.error_code) == "TransactionalIdNotFoundError":
                states[row.transactional_id] = TransactionState(row.transactional_id, TxnState.UNKNOWN)
                continue
            wire.check(row.error_code, f"describe transaction {row.transactional_id}")
            states[row.transactional_id] = TransactionState(
                transactional_id=row.transactional_id,
                state=TxnState(row.transaction_state),
                producer_id=row.producer_id,
                producer_epoch=row.producer_epoch,
                timeout_ms=row.transaction_timeout_ms,
                # The broker keeps the time of the last transaction after its end.
                started_ms=row.transaction_start_time_ms if row.transaction_state in UNDER_WAY else None,
                partitions=frozenset(TopicPartition(t.topic, p) for t in row.topics for p in t.partitions),
            )
    return {transactional_id: states[transactional_id] for transactional_id in ids}


async def list_ids(wire: Wire, producer_ids: Collection[int] = ()) -> dict[str, int]:
    """Producer id of each transactional id that any coordinator holds, in whatever state (of these producers).

    A broker that has just started lists nothing, without an error, until it has loaded its part (seen). So every
    coordinator is asked before and after whether it has.
    """
    before = await _loaded_coordinators(wire)
    found: dict[str, int] = {}
    for node in await wire.nodes():
        request = ListTransactionsRequest(state_filters=[], producer_id_filters=sorted(producer_ids))
        answer = await wire.ask(request, node)
        wire.check(answer.error_code, "list transactions")
        found.update({row.transactional_id: row.producer_id for row in answer.transaction_states})
    if await _loaded_coordinators(wire) != before:
        raise Again("transaction coordinators moved")
    return found


async def _loaded_coordinators(wire: Wire) -> dict[str, int]:
    """Coordinator of each partition of the transaction log, by an id that falls there; Again unless all are loaded."""
    topic = (await wire.metadata([TRANSACTION_LOG])).topics[0]
    if error_of(topic.error_code) == "UnknownTopicOrPartitionError":
        return {}  # nobody has used a transaction here yet
    wire.check(topic.error_code, TRANSACTION_LOG)
    ids: dict[int, str] = {}
    for number in itertools.count():
        name = f"tidegate-look-{number}"
        ids.setdefault(log_partition(name, len(topic.partitions)), name)
        if len(ids) == len(topic.partitions):
            break
    await describe(wire, ids.values())
    return await _coordinators(wire, ids.values())


def log_partition(transactional_id: str, partitions: int) -> int:
    """Partition of the transaction log that keeps the id (``TransactionStateManager.partitionFor``): Java's hash."""
    value = 0
    for unit in transactional_id.encode("ascii"):
        value = (31 * value + unit) & 0xFFFFFFFF
    return (value if value < 1 << 31 else ((1 << 32) - value) & 0x7FFFFFFF) % partitions


async def list_under(wire: Wire, prefix: str, producer_ids: Collection[int] = ()) -> list[TransactionState]:
    """Ids under the prefix with their states (of these producers); one that was forgotten meanwhile is left out."""
    ids = [
        name for name in await list_ids(wire, producer_ids) if name.startswith(prefix) and name != prefix + PROBE_SUFFIX
    ]
    return [state for state in (await describe(wire, ids)).values() if state.state is not TxnState.UNKNOWN]


async def end_once(
    wire: Wire, transactional_id: str, producer_id: int, producer_epoch: int, *, commit: bool
) -> EndOutcome:
    """Look, then end if exactly this transaction is Ongoing. Again where one has to look once more."""
    try:
        state = (await describe(wire, [transactional_id]))[transactional_id]
        node = (await _coordinators(wire, [transactional_id]))[transactional_id]
    except Again as again:
        raise Again(again.reason) from again  # looking has changed nothing
    known = _judge(state, producer_id, producer_epoch, commit=commit)
    if known is not None:
        return known
    answer = await wire.ask(
        EndTxnRequest(
            transactional_id=transactional_id, producer_id=producer_id, producer_epoch=producer_epoch, committed=commit
        ),
        node,
    )
    error = error_of(answer.error_code)
    if error in {
        "InvalidTxnStateError",
        "ProducerFencedError",
        "InvalidProducerEpochError",
        "InvalidProducerIdMappingError",
    }:
        raise Again(f"{transactional_id} changed under the call ({error})")
    wire.check(answer.error_code, f"{'commit' if commit else 'abort'} {transactional_id}")
    return EndOutcome.ENDED


def _judge(state: TransactionState, producer_id: int, producer_epoch: int, *, commit: bool) -> EndOutcome | None:
    """What the state says of the transaction (producer id, epoch); None: it is open, end it."""
    if state.state in {TxnState.UNKNOWN, TxnState.DEAD}:
        return EndOutcome.UNKNOWN_ID
    if state.state is TxnState.PREPARE_EPOCH_FENCE:
        raise Again(f"{state.transactional_id} is being taken over")
    if state.producer_id != producer_id:
        return EndOutcome.REFUSED_OTHER_PRODUCER
    raised = state.producer_epoch - producer_epoch
    if state.state is TxnState.ONGOING and raised == 0:
        return None
    if state.state is TxnState.EMPTY and raised == 0:
        return EndOutcome.NOTHING_OPEN
    if raised in {0, 1} and state.state in ENDED_BY[commit]:
        if state.state in {TxnState.PREPARE_COMMIT, TxnState.PREPARE_ABORT}:
            raise Again(f"{state.transactional_id} is in {state.state}")
        return EndOutcome.ALREADY
    if raised in {0, 1} and state.state in ENDED_BY[not commit]:
        return EndOutcome.REFUSED_OTHER_END
    return EndOutcome.REFUSED_OTHER_PRODUCER


async def open_on(wire: Wire, leaders: dict[TopicPartition, int]) -> list[OpenTransaction]:
    """Open transactions of the partitions, as their leaders see them."""
    found: list[OpenTransaction] = []
    for node, own in by_node(leaders).items():
        request = DescribeProducersRequest(
            topics=[
                DescribeProducersRequest.TopicRequest(name=name, partition_indexes=[tp.partition for tp in group])
                for name, group in by_topic(own).items()
            ]
        )
        answer = await wire.ask(request, node)
        for topic in answer.topics:
            for partition in topic.partitions:
                tp = TopicPartition(topic.name, partition.partition_index)
                wire.check(partition.error_code, f"describe producers of {tp}")
                found.extend(
                    OpenTransaction(
                        tp, p.current_txn_start_offset, p.producer_id, p.producer_epoch, p.coordinator_epoch
                    )
                    for p in partition.active_producers
                    if p.current_txn_start_offset >= 0
                )
    return sorted(found)


async def abort_marker(wire: Wire, transaction: OpenTransaction, leader: int) -> None:
    """An abort marker into the log (``WriteTxnMarkers``), as ``kafka-transactions.sh abort`` writes it."""
    tp = transaction.tp
    marker = WriteTxnMarkersRequest.WritableTxnMarker(
        producer_id=transaction.producer_id,
        producer_epoch=transaction.producer_epoch,
        transaction_result=False,
        topics=[
            WriteTxnMarkersRequest.WritableTxnMarker.WritableTxnMarkerTopic(
                name=tp.topic, partition_indexes=[tp.partition]
            )
        ],
        # A producer without an earlier marker has none; the Java tool sends 0 then.
        coordinator_epoch=max(0, transaction.coordinator_epoch),
    )
    answer = await wire.ask(WriteTxnMarkersRequest(markers=[marker]), leader)
    for row in answer.markers:
        for topic in row.topics:
            for partition in topic.partitions:
                wire.check(partition.error_code, f"abort marker of producer {transaction.producer_id} on {tp}")


async def deny(wire: Wire, principal: str, prefix: str) -> None:
    """Create the DENY and wait until every broker shows it."""
    await OF_TRANSACTIONAL_PREFIXES.create(wire, principal, prefix, f"deny {prefix}* to {principal}")


async def lift(wire: Wire, principal: str, prefix: str) -> None:
    """Take the DENY away and wait until no broker shows it."""
    await OF_TRANSACTIONAL_PREFIXES.delete(wire, principal, prefix, f"lift the DENY on {prefix}* for {principal}")


async def denied(wire: Wire, principal: str) -> list[str]:
    """Prefixes that every broker shows as denied to the principal."""
    return await OF_TRANSACTIONAL_PREFIXES.shown_by_all(wire, principal)


async def probe(wire: Wire, prefix: str) -> bool:
    """Ask every broker, as the wire's principal, for a producer id under the prefix; True if all refuse.

    A broker judges the right before it looks whether it is the coordinator, so each one shows its own access list.
    """
    refused = []
    for node in await wire.nodes():
        request = InitProducerIdRequest(
            transactional_id=prefix + PROBE_SUFFIX, transaction_timeout_ms=ANY_EPOCH_TIMEOUT_MS, max_version=5
        )
        answer = await wire.ask(request, node)
        refused.append(error_of(answer.error_code) == "TransactionalIdAuthorizationFailedError")
    return bool(refused) and all(refused)


def held_back(
    behind: Mapping[TopicPartition, tuple[int, int]],
    culprits: Collection[OpenTransaction],
    named: Mapping[int, str],
    deadline_s: float,
) -> NoProgress:
    """The error of ``wait_stable``: each partition, how far it is, and who holds it."""
    parts = []
    for tp, (stable, end) in sorted(behind.items()):
        own = [o for o in culprits if o.tp == tp]
        whose = "; ".join(
            f"{named.get(o.producer_id, 'an id that its coordinator has forgotten')}"
            f" (producer {o.producer_id}, epoch {o.producer_epoch}) open since offset {o.start_offset:,}"
            for o in own
        )
        parts.append(f"{tp} stands at {stable:,} of {end:,}: {whose or 'markers are still being written'}")
    return NoProgress(
        f"not settled after {deadline_s:g} s: " + "; ".join(parts),
        hint="end these transactions, or wait for their time-out",
        details={
            "partitions": {str(tp): list(offsets) for tp, offsets in behind.items()},
            "open": [
                {
                    "partition": str(o.tp),
                    "producer_id": o.producer_id,
                    "producer_epoch": o.producer_epoch,
                    "start_offset": o.start_offset,
                    "transactional_id": named.get(o.producer_id),
                }
                for o in culprits
            ],
        },
    )


def by_topic(partitions: Collection[TopicPartition]) -> dict[str, list[TopicPartition]]:
    """Group by topic, as Kafka's requests want them."""
    groups: dict[str, list[TopicPartition]] = {}
    for tp in partitions:
        groups.setdefault(tp.topic, []).append(tp)
    return groups


async def _coordinators(wire: Wire, ids: Collection[str]) -> dict[str, int]:
    if not ids:
        return {}
    answer = await wire.ask(
        FindCoordinatorRequest(key_type=TRANSACTION_COORDINATOR, coordinator_keys=list(ids), min_version=4)
    )
    for row in answer.coordinators:
        wire.check(row.error_code, f"find the coordinator of {row.key}")
    return {row.key: row.node_id for row in answer.coordinators}

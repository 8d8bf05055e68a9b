"""What a snapshot knows of its Kafka sinks: transactions that are to be committed, and the writers' names (X1, X13).

Source: org.apache.flink.streaming.runtime.operators.sink.committables.CommittableCollectorSerializer,
org.apache.flink.connector.kafka.sink.KafkaCommittableSerializer and KafkaWriterStateSerializer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from tidegate.clients.objects import ObjectStore
from tidegate.errors import SnapshotUnsupported
from tidegate.snapshot.cursor import Cursor
from tidegate.snapshot.elements import Element, elements
from tidegate.snapshot.files import Snapshot
from tidegate.snapshot.metadata import COMMITTER_UID_PREFIX, Operator

COMMITTER_STATE: Final = "streaming_committer_raw_states"
WRITER_STATE: Final = "writer_raw_states"

_COLLECTOR_MAGIC: Final = -0x46E0DAD4  # 0xb91f252c as a signed int


class CommitState(IntEnum):
    """Where the commit of a committable stood (CommitRequestState)."""

    RECEIVED = 0
    RETRY = 1
    FAILED = 2
    COMMITTED = 3


class Ownership(IntEnum):
    """How a writer knows the transactional ids that are its own (TransactionOwnership)."""

    IMPLICIT_BY_SUBTASK_ID = 0
    """Incrementing names: ``<prefix>-<subtask>-<checkpoint>``."""
    EXPLICIT_BY_WRITER_STATE = 1
    """Pooled names: only the writer's state says whose an id is."""


@dataclass(frozen=True)
class Committable:
    """A transaction whose outputs a snapshot counts as written. ``sink_uid`` is None if the file does not have it.

    ``checkpoint_id`` and ``subtask`` are of the writer that made it; a commit may have raised the epoch by one (X3).
    """

    sink_uid: str | None
    operator_id: str
    subtask: int
    checkpoint_id: int
    transactional_id: str
    producer_id: int
    producer_epoch: int
    state: CommitState = CommitState.RECEIVED

    @property
    def pending(self) -> bool:
        """Whether Flink would commit it on restore."""
        return self.state in (CommitState.RECEIVED, CommitState.RETRY)


@dataclass(frozen=True)
class WriterState:
    """What a sink's writer keeps: its transactional prefix, and the ids that it owned by (id, checkpoint).

    ``ownership`` and the subtask numbers are None in the form of connectors before 4.0.
    """

    sink_uid: str | None
    operator_id: str
    subtask: int
    prefix: str
    ownership: Ownership | None = None
    owned_subtask_id: int | None = None
    total_owned: int | None = None
    owned: tuple[tuple[str, int], ...] = ()


async def committables(store: ObjectStore, snapshot: Snapshot) -> list[Committable]:
    """Every committable of every sink: the outputs of the intervals that were not yet committed (X1).

    Raises SnapshotUnsupported for compressed state or another sink's committables, SnapshotUnreadable,
    SnapshotIncomplete, and what the store raises.
    """
    found: list[Committable] = []
    async for element in elements(store, snapshot, COMMITTER_STATE):
        found += _collector(element)
    return found


async def writer_states(store: ObjectStore, snapshot: Snapshot) -> list[WriterState]:
    """The state of every sink's writer. Raises as ``committables`` does."""
    return [_writer(element) async for element in elements(store, snapshot, WRITER_STATE)]


def sink_uid_of(operator: Operator) -> str | None:
    """The uid of the sink that a writer or committer belongs to."""
    return operator.uid.removeprefix(COMMITTER_UID_PREFIX) if operator.uid else None


def _collector(element: Element) -> list[Committable]:
    body = element.payload
    _require(element, "committables", element.version, (2,))
    at = body.position
    if body.i32("the magic number of committables") != _COLLECTOR_MAGIC:
        raise body.error("another number", "the magic number of committables", at)
    found: list[Committable] = []
    for _, checkpoint in _versioned_list(element, body, "checkpoints", (1,)):
        checkpoint_id = checkpoint.i64("a checkpoint id")
        checkpoint.i32("the number of subtasks")
        for version, subtask in _versioned_list(element, checkpoint, "subtasks", (1, 2)):
            writer_subtask = subtask.i32("the subtask of committables")
            for _, request in _versioned_list(element, subtask, "requests to commit", (0,)):
                found.append(_request(element, request, writer_subtask, checkpoint_id))
            for counter in ("committables", "drained committables", "failed committables")[:: 1 if version == 1 else 2]:
                subtask.i32(f"the number of {counter}")
            subtask.finish("a subtask's committables")
        checkpoint.finish("a checkpoint's committables")
    body.finish("committables")
    return found


def _request(element: Element, request: Cursor, subtask: int, checkpoint_id: int) -> Committable:
    _require(element, "a committable", request.i32("the version of a committable"), (1,))
    committable = request.inner("a committable")
    epoch = committable.i16("a producer epoch")
    producer_id = committable.i64("a producer id")
    transactional_id = committable.utf("a transactional id")
    committable.finish("a committable of Kafka")
    request.i32("the number of retries")
    at = request.position
    state = request.i32("the state of a commit")
    if state not in CommitState.__members__.values():
        raise request.error(f"state {state}", "the state of a commit, 0 to 3", at)
    request.finish("a request to commit")
    return Committable(
        sink_uid=sink_uid_of(element.operator),
        operator_id=element.operator.operator_id,
        subtask=subtask,
        checkpoint_id=checkpoint_id,
        transactional_id=transactional_id,
        producer_id=producer_id,
        producer_epoch=epoch,
        state=CommitState(state),
    )


def _versioned_list(element: Element, cursor: Cursor, what: str, versions: tuple[int, ...]) -> list[tuple[int, Cursor]]:
    """``SimpleVersionedSerialization.writeVersionAndSerializeList``: a version for all, and each with its length."""
    version = cursor.i32(f"the version of {what}")
    _require(element, what, version, versions)
    return [(version, cursor.inner(what)) for _ in range(cursor.count(what, 4))]


def _writer(element: Element) -> WriterState:
    body = element.payload
    _require(element, "a Kafka writer's state", element.version, (1, 2))
    uid, operator_id = sink_uid_of(element.operator), element.operator.operator_id
    prefix = body.utf("a transactional prefix")
    if element.version == 1:
        body.finish("a writer's state")
        return WriterState(uid, operator_id, element.subtask, prefix)
    owned_subtask, total = body.i32("the owned subtask"), body.i32("the number of owned subtasks")
    at = body.position
    ownership = body.i32("the kind of ownership")
    if ownership not in Ownership.__members__.values():
        raise body.error(f"kind {ownership}", "the kind of ownership, 0 or 1", at)
    count = body.count("owned transactional ids", 2 + 8)
    owned = tuple((body.utf("a transactional id"), body.i64("a checkpoint id")) for _ in range(count))
    body.finish("a writer's state")
    return WriterState(uid, operator_id, element.subtask, prefix, Ownership(ownership), owned_subtask, total, owned)


def _require(element: Element, what: str, version: int, versions: tuple[int, ...]) -> None:
    if version not in versions:
        raise SnapshotUnsupported(
            f"{element.operator}: {what} of version {version}; read are {', '.join(map(str, versions))} of Kafka sinks",
            details={"operator_id": element.operator.operator_id, "version": version},
        )

"""What a snapshot is made of, for a person: operators by uid with the size of their state, positions, committables."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.clients.objects import ObjectStore
from tidegate.errors import SnapshotError
from tidegate.snapshot.files import Snapshot
from tidegate.snapshot.handles import InlineHandle, StoredHandle
from tidegate.snapshot.keyedstates import KeyedStates, keyed_states
from tidegate.snapshot.metadata import Operator
from tidegate.snapshot.positions import TopicPartition, kafka_positions
from tidegate.snapshot.sinks import Committable, committables


@dataclass(frozen=True)
class OperatorView:
    """An operator. Sizes in bytes, over all subtasks; ``list_states`` counts the elements of each list state."""

    operator_id: str
    uid: str | None
    name: str | None
    parallelism: int
    max_parallelism: int
    finished: bool
    coordinator_bytes: int
    keyed_bytes: int
    operator_bytes: int
    list_states: dict[str, int]

    @property
    def label(self) -> str:
        """The uid; where the file has none, the name or the id."""
        return self.uid or self.name or self.operator_id

    @property
    def bytes(self) -> int:
        """All of its state. A file that several operators name is counted at each."""
        return self.coordinator_bytes + self.keyed_bytes + self.operator_bytes


@dataclass(frozen=True)
class SnapshotView:
    """A snapshot for a person. What could not be read is None, and ``notes`` says why.

    ``savepoint`` is None where the file does not say (before Flink 1.16).
    """

    version: int
    checkpoint_id: int
    savepoint: bool | None
    operators: tuple[OperatorView, ...]
    positions: dict[str, dict[TopicPartition, int]] | None
    committables: tuple[Committable, ...] | None
    notes: tuple[str, ...] = ()
    keyed: tuple[KeyedStates, ...] = ()
    """The keyed states of the operators that have any."""


async def view(store: ObjectStore, snapshot: Snapshot) -> SnapshotView:
    """Look into a snapshot. State of a kind that is not read is noted and does not hide the rest.

    Raises what the store raises.
    """
    notes: list[str] = []
    positions = found = None
    try:
        positions = await kafka_positions(store, snapshot)
    except SnapshotError as error:
        notes.append(f"positions: {error.message}")
    try:
        found = tuple(await committables(store, snapshot))
    except SnapshotError as error:
        notes.append(f"committables: {error.message}")
    keyed = await keyed_states(store, snapshot)
    notes += [f"keyed states: {one.label}: {one.problem}" for one in keyed if one.problem is not None]
    metadata = snapshot.metadata
    return SnapshotView(
        metadata.version,
        metadata.checkpoint_id,
        metadata.is_savepoint,
        tuple(map(operator_view, metadata.operators)),
        positions,
        found,
        tuple(notes),
        keyed,
    )


def operator_view(operator: Operator) -> OperatorView:
    """An operator's state, summed over its subtasks."""
    keyed = of_operator = 0
    list_states: dict[str, int] = {}
    for subtask in operator.subtasks.values():
        for handle in (subtask.managed_keyed, subtask.raw_keyed):
            if handle is not None:
                keyed += sum(map(_size, handle.streams()))
        for state_handle in (subtask.managed_operator, subtask.raw_operator):
            if state_handle is not None:
                of_operator += sum(map(_size, state_handle.streams()))
                for state in state_handle.states:
                    list_states[state.name] = list_states.get(state.name, 0) + len(state.offsets)
    return OperatorView(
        operator.operator_id,
        operator.uid,
        operator.name,
        operator.parallelism,
        operator.max_parallelism,
        operator.finished,
        _size(operator.coordinator) if operator.coordinator is not None else 0,
        keyed,
        of_operator,
        list_states,
    )


def _size(handle: StoredHandle) -> int:
    return len(handle.content) if isinstance(handle, InlineHandle) else handle.size or 0

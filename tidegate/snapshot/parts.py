"""What a ``_metadata`` is made of, part by part: a Head, then for each operator an OperatorHead and its SubtaskStates,
then an End.

``reader`` reads them and ``writer`` writes them in bounded memory; ``metadata`` holds them all as one value.

Source: org.apache.flink.runtime.checkpoint.Checkpoints; ...checkpoint.metadata.MetadataV2Serializer to
MetadataV7Serializer; for format 1, SavepointV1Serializer of Flink 1.9.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tidegate.snapshot.channels import AnyChannelHandle
from tidegate.snapshot.cursor import NOWHERE, Span
from tidegate.snapshot.handles import InlineHandle, KeyedHandle, OperatorStateHandle, StoredHandle, StreamHandle, stored
from tidegate.snapshot.properties import Properties

MAGIC: Final = 0x4960672D
MASTER_STATE_MAGIC: Final = -0x3694E96A  # 0xc96b1696 as a signed int
VERSIONS: Final = range(1, 8)
"""The formats that are read and written: 1 (Flink 1.2), 2 (1.3 to 1.10), 3 (1.11 to 1.15), 4 (1.16 to 1.20), 5 (2.0),
6 (2.1 to 2.3), 7 (after 2.3)."""

WITH_MASTER_STATES: Final = 2
WITH_COORDINATORS: Final = 3
WITH_PROPERTIES: Final = 4
WITH_NAMES: Final = 5
WITH_TYPED_CHANNELS: Final = 6
WITH_REFERENCES: Final = 7
"""The first formats that have these."""


@dataclass(frozen=True, slots=True)
class MasterState:
    """State of a hook of the checkpoint coordinator."""

    version: int
    name: str
    content: bytes = b""
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before the operators; ``operators`` is how many follow, ``count_span`` where that is written."""

    version: int
    checkpoint_id: int
    master_states: tuple[MasterState, ...]
    operators: int
    count_span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class OperatorHead:
    """What stands before an operator's subtasks. ``subtasks`` is how many follow; None: all had finished.

    ``operator_id`` is the 32 hex digits that Flink logs. ``name`` and ``uid`` are there from format 5 on, the
    coordinator's state from 3 on; ``chain_length`` is of formats 1 and 2 (in 2 it means nothing and is 1).
    """

    operator_id: str
    parallelism: int
    max_parallelism: int
    subtasks: int | None
    name: str | None = None
    uid: str | None = None
    coordinator: InlineHandle | None = None
    chain_length: int | None = None
    start: int = field(default=-1, compare=False, repr=False)

    def __str__(self) -> str:
        return f"operator {self.uid or self.name or self.operator_id!r}"


@dataclass(frozen=True, slots=True)
class OldState:
    """What only formats 1 and 2 have of a subtask.

    ``duration_ms`` of the checkpoint (-1: not written), state of Flink 1.1's interface that no Flink since 1.4
    restores, and in format 1 the operator state of each operator of the chain.
    """

    duration_ms: int = -1
    legacy: tuple[StreamHandle | None, ...] = ()
    managed_chain: tuple[OperatorStateHandle | None, ...] = ()
    raw_chain: tuple[OperatorStateHandle | None, ...] = ()

    def streams(self) -> Iterator[StoredHandle]:
        """Each stream that holds a part of it."""
        for stream in self.legacy:
            if stream is not None:
                yield from stored(stream)
        for operator in (*self.managed_chain, *self.raw_chain):
            if operator is not None:
                yield from operator.streams()


@dataclass(frozen=True, slots=True)
class SubtaskState:
    """The state of one subtask; ``finished``: it had ended, and has none (from format 3 on).

    Channels hold the records in flight of an unaligned checkpoint (from format 3 on). ``ref_checkpoint_id`` (format 7)
    is the checkpoint that the state was taken over from.
    """

    index: int
    finished: bool = False
    managed_operator: OperatorStateHandle | None = None
    raw_operator: OperatorStateHandle | None = None
    managed_keyed: KeyedHandle | None = None
    raw_keyed: KeyedHandle | None = None
    input_channels: tuple[AnyChannelHandle, ...] = ()
    output_channels: tuple[AnyChannelHandle, ...] = ()
    ref_checkpoint_id: int | None = None
    old: OldState | None = None

    def streams(self) -> Iterator[StoredHandle]:
        """Each stream that holds a part of it."""
        if self.old is not None:
            yield from self.old.streams()
        for state in (self.managed_operator, self.raw_operator, self.managed_keyed, self.raw_keyed):
            if state is not None:
                yield from state.streams()
        for channel in (*self.input_channels, *self.output_channels):
            yield from channel.streams()


@dataclass(frozen=True, slots=True)
class End:
    """What stands behind the operators: the properties (from format 4 on), and what Flink no longer looks at."""

    properties: Properties | None
    trailing: bytes = b""
    start: int = field(default=-1, compare=False, repr=False)


Part = Head | OperatorHead | SubtaskState | End

"""``_metadata``: what a snapshot of Flink is made of, as one value that can be read, changed and written.

Formats 1 to 7 are read and written, unchanged to the byte. There is no checksum and, but for master states, no length
around anything: so what is not understood is refused, never skipped. For files too large to hold, see ``reader``.

Source: org.apache.flink.runtime.checkpoint.Checkpoints, ...checkpoint.metadata.MetadataSerializers.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import mmh3

from tidegate.snapshot.cursor import NOWHERE, Span
from tidegate.snapshot.handles import InlineHandle, StoredHandle
from tidegate.snapshot.parts import End, Head, MasterState, OperatorHead, Part, SubtaskState
from tidegate.snapshot.properties import Properties
from tidegate.snapshot.reader import read_parts
from tidegate.snapshot.writer import write_parts

COMMITTER_UID_PREFIX: Final = "Sink Committer: "
"""What Flink puts before a sink's uid for its committer (SinkTransformationTranslator)."""

__all__ = [
    "COMMITTER_UID_PREFIX",
    "MasterState",
    "Metadata",
    "Operator",
    "SubtaskState",
    "committer_uid_of",
    "operator_id_of",
    "parse",
    "serialize",
]


def operator_id_of(uid: str) -> str:
    """The operator id (32 hex digits) of a uid (StreamGraphHasherV2: Murmur3 of 128 bits, seed 0)."""
    return mmh3.hash_bytes(uid.encode(), 0).hex()


def committer_uid_of(sink_uid: str) -> str:
    """The uid of a sink's committer."""
    return COMMITTER_UID_PREFIX + sink_uid


@dataclass(frozen=True)
class Operator:
    """An operator. ``operator_id`` is the 32 hex digits that Flink logs; ``finished``: all of its subtasks had ended.

    ``subtasks`` are in the order of the file, by index. ``chain_length`` is of formats 1 and 2. ``span`` is all that
    the file says of it.
    """

    name: str | None
    uid: str | None
    operator_id: str
    parallelism: int
    max_parallelism: int
    coordinator: InlineHandle | None
    finished: bool
    subtasks: Mapping[int, SubtaskState]
    chain_length: int | None = None
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    def __str__(self) -> str:
        return f"operator {self.uid or self.name or self.operator_id!r}"

    def parts(self) -> Iterator[Part]:
        """Its head and its subtasks, as they are written."""
        yield OperatorHead(
            self.operator_id,
            self.parallelism,
            self.max_parallelism,
            None if self.finished else len(self.subtasks),
            self.name,
            self.uid,
            self.coordinator,
            self.chain_length,
        )
        yield from self.subtasks.values()


@dataclass(frozen=True)
class Metadata:
    """A ``_metadata``. Of one that was read, ``data`` is the file and spans are byte ranges in it.

    ``properties`` are there from format 4 on. ``trailing``: bytes behind the end, which Flink does not look at.
    """

    version: int
    checkpoint_id: int
    master_states: tuple[MasterState, ...]
    operators: tuple[Operator, ...]
    properties: Properties | None
    trailing: bytes = b""
    data: bytes = field(default=b"", compare=False, repr=False)
    operator_count_span: Span = field(default=NOWHERE, compare=False, repr=False)
    tail: Span = field(default=NOWHERE, compare=False, repr=False)

    @property
    def is_savepoint(self) -> bool | None:
        """Whether it was written as a savepoint; None where the file does not say (before format 4)."""
        return None if self.properties is None else self.properties.is_savepoint

    def operator(self, operator_id: str) -> Operator | None:
        """The operator of that id."""
        return next((found for found in self.operators if found.operator_id == operator_id), None)

    def operator_of_uid(self, uid: str) -> Operator | None:
        """The operator of that uid (by its id: the text is not in every version)."""
        return self.operator(operator_id_of(uid))

    def subtask_states(self) -> Iterator[tuple[Operator, SubtaskState]]:
        """Each subtask of each operator, in the order of the file."""
        for operator in self.operators:
            for subtask in operator.subtasks.values():
                yield operator, subtask

    def streams(self) -> Iterator[StoredHandle]:
        """Each stream that holds a part of the state; the coordinators' inline ones too."""
        for operator in self.operators:
            if operator.coordinator is not None:
                yield operator.coordinator
            for subtask in operator.subtasks.values():
                yield from subtask.streams()

    def parts(self) -> Iterator[Part]:
        """Its parts, as they are written."""
        yield Head(self.version, self.checkpoint_id, self.master_states, len(self.operators))
        for operator in self.operators:
            yield from operator.parts()
        yield End(self.properties, self.trailing)


def serialize(metadata: Metadata) -> bytes:
    """The file. Raises ValueError for what the format version cannot say."""
    return b"".join(write_parts(metadata.parts()))


def parse(data: bytes) -> Metadata:
    """Read a whole ``_metadata``.

    Raises SnapshotUnreadable (damaged: byte offset and what should stand there) or SnapshotUnsupported (a format that
    is not read).
    """
    with _uncollected():
        return _parse(data)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Hold the cycle collector back: a model has no cycles, and walking it again and again doubles the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _parse(data: bytes) -> Metadata:
    parts = read_parts(data)
    head = next(parts)
    assert isinstance(head, Head)
    operators: list[Operator] = []
    current: OperatorHead | None = None
    subtasks: dict[int, SubtaskState] = {}
    for part in parts:
        if isinstance(part, SubtaskState):
            subtasks[part.index] = part
            continue
        assert not isinstance(part, Head)
        if current is not None:
            operators.append(_operator(current, subtasks, part.start))
        if isinstance(part, End):
            return Metadata(
                head.version,
                head.checkpoint_id,
                head.master_states,
                tuple(operators),
                part.properties,
                part.trailing,
                data,
                head.count_span,
                Span(part.start, len(data)),
            )
        current, subtasks = part, {}
    raise AssertionError("read_parts ends with an End")


def _operator(head: OperatorHead, subtasks: dict[int, SubtaskState], end: int) -> Operator:
    return Operator(
        head.name,
        head.uid,
        head.operator_id,
        head.parallelism,
        head.max_parallelism,
        head.coordinator,
        head.subtasks is None,
        subtasks,
        head.chain_length,
        Span(head.start, end),
    )

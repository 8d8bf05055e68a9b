"""``_metadata``: what a snapshot of Flink is made of, and where in the file each part is written.

Read is format 6, which Flink 2.1 to 2.3 write. There is no checksum and, but for master states, no length around
anything: so a copy can be edited by replacing byte ranges (``tidegate.snapshot.edit``), and what is not understood to
the last byte is refused.

Source: org.apache.flink.runtime.checkpoint.Checkpoints, ...checkpoint.metadata.MetadataV6Serializer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import mmh3

from tidegate.errors import SnapshotUnsupported
from tidegate.snapshot.cursor import Cursor, Span
from tidegate.snapshot.handles import (
    InlineHandle,
    KeyedHandle,
    OperatorStateHandle,
    StreamHandle,
    read_keyed,
    read_operator_state,
    read_stream,
)

MAGIC: Final = 0x4960672D
MASTER_STATE_MAGIC: Final = -0x3694E96A  # 0xc96b1696 as a signed int
JAVA_STREAM: Final = b"\xac\xed\x00\x05"
COMMITTER_UID_PREFIX: Final = "Sink Committer: "
"""What Flink puts before a sink's uid for its committer (SinkTransformationTranslator)."""

_SUPPORTED_VERSIONS: Final = (6,)
_KNOWN_VERSIONS: Final = range(1, 8)
_MAX_PARALLELISM: Final = 1 << 15


def operator_id_of(uid: str) -> str:
    """The operator id (32 hex digits) of a uid (StreamGraphHasherV2: Murmur3 of 128 bits, seed 0)."""
    return mmh3.hash_bytes(uid.encode(), 0).hex()


def committer_uid_of(sink_uid: str) -> str:
    """The uid of a sink's committer."""
    return COMMITTER_UID_PREFIX + sink_uid


@dataclass(frozen=True)
class MasterState:
    """State of a hook of the checkpoint coordinator."""

    version: int
    name: str
    span: Span


@dataclass(frozen=True)
class SubtaskState:
    """The state of one subtask; ``finished``: it had ended, and has none."""

    index: int
    finished: bool
    managed_operator: OperatorStateHandle | None = None
    raw_operator: OperatorStateHandle | None = None
    managed_keyed: KeyedHandle | None = None
    raw_keyed: KeyedHandle | None = None

    def streams(self) -> Iterator[StreamHandle]:
        """Each stream that holds a part of it."""
        for operator in (self.managed_operator, self.raw_operator):
            if operator is not None:
                yield operator.stream
        for keyed in (self.managed_keyed, self.raw_keyed):
            if keyed is not None:
                yield from keyed.streams()


@dataclass(frozen=True)
class Operator:
    """An operator. ``operator_id`` is the 32 hex digits that Flink logs; ``finished``: all of its subtasks had ended.

    ``span`` is all that the file says of it.
    """

    name: str | None
    uid: str | None
    operator_id: str
    parallelism: int
    max_parallelism: int
    coordinator: InlineHandle | None
    finished: bool
    subtasks: Mapping[int, SubtaskState]
    span: Span

    def __str__(self) -> str:
        return f"operator {self.uid or self.name or self.operator_id!r}"


@dataclass(frozen=True)
class Metadata:
    """A parsed ``_metadata``. ``data`` is the file; spans are byte ranges in it; ``tail`` is a Java object."""

    data: bytes
    version: int
    checkpoint_id: int
    master_states: tuple[MasterState, ...]
    operators: tuple[Operator, ...]
    operator_count_span: Span
    tail: Span

    @property
    def is_savepoint(self) -> bool:
        """Whether it was written as a savepoint, by the class name in the tail."""
        return b"SavepointType" in self.tail.of(self.data)

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

    def streams(self) -> Iterator[StreamHandle]:
        """Each stream that holds a part of the state; the coordinators' inline ones too."""
        for operator in self.operators:
            if operator.coordinator is not None:
                yield operator.coordinator
            for subtask in operator.subtasks.values():
                yield from subtask.streams()


def parse(data: bytes) -> Metadata:
    """Read a whole ``_metadata``.

    Raises SnapshotUnreadable (damaged: byte offset and what should stand there) or SnapshotUnsupported (a version or a
    kind of handle that is not read, by its name).
    """
    cursor = Cursor(data)
    if cursor.i32("the magic number 0x4960672d") != MAGIC:
        raise cursor.error("this is no _metadata of Flink", "the magic number 0x4960672d", 0)
    version = cursor.i32("the format version")
    if version not in _SUPPORTED_VERSIONS:
        if version in _KNOWN_VERSIONS:
            raise SnapshotUnsupported(
                f"_metadata has format version {version}; read is version 6 (Flink 2.1 to 2.3)",
                details={"version": version},
            )
        raise cursor.error(f"format version {version}", "a format version from 1 to 7", 4)
    checkpoint_id = cursor.i64("the checkpoint id")
    if checkpoint_id < 0:
        raise cursor.error(f"checkpoint id {checkpoint_id}", "the checkpoint id", 8)
    masters = tuple(_master_state(cursor) for _ in range(cursor.count("master states", 4 + 4 + 10)))
    count_start = cursor.position
    count = cursor.count("operators", 2 + 2 + 16 + 4 + 4 + 1 + 4)
    count_span = Span(count_start, cursor.position)
    operators: dict[str, Operator] = {}
    for _ in range(count):
        operator = _operator(cursor)
        if operator.operator_id in operators:
            raise cursor.error(f"{operator} stands there twice", "another operator", operator.span.start)
        operators[operator.operator_id] = operator
    tail = _tail(cursor)
    return Metadata(data, version, checkpoint_id, masters, tuple(operators.values()), count_span, tail)


def _master_state(cursor: Cursor) -> MasterState:
    start = cursor.position
    if cursor.i32("the magic number of a master state") != MASTER_STATE_MAGIC:
        raise cursor.error("another number", "the magic number of a master state", start)
    inner = cursor.inner("a master state")
    version, name = inner.i32("the version of a master state"), inner.utf("the name of a master state")
    inner.blob("a master state")
    inner.finish("a master state")
    return MasterState(version, name, Span(start, cursor.position))


def _operator(cursor: Cursor) -> Operator:
    start = cursor.position
    name = cursor.utf("an operator's name") or None
    uid = cursor.utf("an operator's uid") or None
    operator_id = cursor.raw(16, "an operator's id").hex()
    at = cursor.position
    parallelism, max_parallelism = cursor.i32("a parallelism"), cursor.i32("a maximum parallelism")
    if not 1 <= parallelism <= max_parallelism <= _MAX_PARALLELISM:
        raise cursor.error(
            f"parallelism {parallelism} of at most {max_parallelism}", f"1 to {_MAX_PARALLELISM}, in order", at
        )
    what = f"operator {uid or name or operator_id!r}"
    at = cursor.position
    coordinator = read_stream(cursor, f"the coordinator of {what}")
    if coordinator is not None and not isinstance(coordinator, InlineHandle):
        raise cursor.error("it lies in a file", f"the coordinator of {what}, inline or none", at)
    at = cursor.position
    count = cursor.i32(f"the number of subtasks of {what}")
    finished = count == -1
    if not finished and not 0 <= count <= parallelism:
        raise cursor.error(f"{count} subtasks of {parallelism}", f"the number of subtasks of {what}", at)
    subtasks: dict[int, SubtaskState] = {}
    for _ in range(max(count, 0)):
        at = cursor.position
        subtask = _subtask(cursor, what)
        if not 0 <= subtask.index < parallelism or subtask.index in subtasks:
            raise cursor.error(f"subtask {subtask.index} of {parallelism}", f"another subtask of {what}", at)
        subtasks[subtask.index] = subtask
    span = Span(start, cursor.position)
    return Operator(name, uid, operator_id, parallelism, max_parallelism, coordinator, finished, subtasks, span)


def _subtask(cursor: Cursor, operator: str) -> SubtaskState:
    index = cursor.i32(f"the index of a subtask of {operator}")
    if index < 0:
        return SubtaskState(-index - 1, finished=True)
    what = f"{operator}, subtask {index}"
    managed = _flagged_operator_state(cursor, f"operator state of {what}")
    raw = _flagged_operator_state(cursor, f"raw operator state of {what}")
    managed_keyed = read_keyed(cursor, f"keyed state of {what}")
    raw_keyed = read_keyed(cursor, f"raw keyed state of {what}")
    for channel, flink_class in (("input", "InputChannelStateHandle"), ("output", "ResultSubpartitionStateHandle")):
        at = cursor.position
        count = cursor.count(f"{channel} channel handles of {what}", 1)
        if count:
            raise SnapshotUnsupported(
                f"{what} has {count} {flink_class} (byte {at:,}): in-flight records of an unaligned checkpoint, "
                "which Tidegate does not read yet",
                hint="take a savepoint: it never holds in-flight records",
                details={"class": flink_class, "offset": at},
            )
    return SubtaskState(index, False, managed, raw, managed_keyed, raw_keyed)


def _flagged_operator_state(cursor: Cursor, what: str) -> OperatorStateHandle | None:
    at = cursor.position
    flag = cursor.i32(f"0 or 1, whether there is {what}")
    if flag not in (0, 1):
        raise cursor.error(f"{flag}", f"0 or 1, whether there is {what}", at)
    return read_operator_state(cursor, what) if flag else None


def _tail(cursor: Cursor) -> Span:
    """The checkpoint's properties, a Java object: copied as it is, never interpreted."""
    span = Span(cursor.position, cursor.end)
    content = span.of(cursor.data)
    if not content.startswith(JAVA_STREAM):
        raise cursor.error("no Java object", "the checkpoint's properties (ac ed 00 05)")
    # A null object (70) is what Flink's state processor library leaves.
    if b"CheckpointProperties" not in content and content != JAVA_STREAM + b"\x70":
        raise cursor.error("another Java object, or none", "the checkpoint's properties")
    return span

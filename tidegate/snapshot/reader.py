"""Reads ``_metadata`` front to back in bounded memory.

Nothing but the part at hand is kept, so that a file of any size is read in the memory of its largest subtask and a
window.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, TypeVar

from tidegate.errors import SnapshotUnsupported
from tidegate.snapshot.channels import Direction
from tidegate.snapshot.cursor import Cursor, Span, Underflow
from tidegate.snapshot.decode import read_channels, read_keyed, read_operator_state, read_stream
from tidegate.snapshot.handles import InlineHandle, OperatorStateHandle
from tidegate.snapshot.parts import (
    MAGIC,
    MASTER_STATE_MAGIC,
    VERSIONS,
    WITH_COORDINATORS,
    WITH_MASTER_STATES,
    WITH_NAMES,
    WITH_PROPERTIES,
    WITH_REFERENCES,
    WITH_TYPED_CHANNELS,
    End,
    Head,
    MasterState,
    OldState,
    OperatorHead,
    Part,
    SubtaskState,
)
from tidegate.snapshot.properties import read_properties

_MAX_PARALLELISM: Final = 1 << 15
_WINDOW_BYTES: Final = 1 << 20
_T = TypeVar("_T")


class _Window:
    """Reads units, each whole: when the window ends within one, it is read again in a larger window."""

    def __init__(self, source: bytes | BinaryIO, window_bytes: int) -> None:
        self._window_bytes = window_bytes
        if isinstance(source, bytes):
            self._file: BinaryIO | None = None
            self.cursor = Cursor(source, share=True)
        else:
            self._file = source
            start = source.tell()
            total = source.seek(0, os.SEEK_END) - start
            source.seek(start)
            self.cursor = Cursor(b"", total=total)

    def unit(self, read: Callable[[Cursor], _T]) -> _T:
        while True:
            cursor = self.cursor
            start = cursor.position
            try:
                return read(cursor)
            except Underflow:
                self._refill(start)

    def rest(self) -> bytes:
        return self.unit(lambda cursor: cursor.raw(cursor.total - cursor.offset, "the rest of the file"))

    def _refill(self, start: int) -> None:
        old, file = self.cursor, self._file
        left = old.data[start:]
        more = file.read(max(self._window_bytes, len(left))) if file is not None else b""
        # A file that ends before its size: then that is where it ends, and the next reading says what is missing.
        total = old.total if more else old.origin + len(old.data)
        self.cursor = Cursor(left + more, of=old.of, origin=old.origin + start, total=total)
        self.cursor.place = old.place


def read_parts(source: bytes | BinaryIO, window_bytes: int = _WINDOW_BYTES) -> Iterator[Part]:
    """The parts of a ``_metadata``, from bytes or a seekable file at its position, in the order of the file.

    Inline state of bytes is a view of them, of a file it is copied. Raises SnapshotUnreadable (damaged: byte offset and
    what should stand there) or SnapshotUnsupported (a format that is not read), at the part concerned.
    """
    window = _Window(source, window_bytes)
    head = window.unit(_head)
    yield head
    seen: set[str] = set()
    for _ in range(head.operators):
        window.cursor.place = None
        operator = window.unit(lambda cursor: _operator_head(cursor, head.version))
        if operator.operator_id in seen:
            at = operator.start - window.cursor.origin
            raise window.cursor.error(f"{operator} stands there twice", "another operator", at)
        seen.add(operator.operator_id)
        yield operator
        indices: set[int] = set()
        for _ in range(operator.subtasks or 0):
            window.cursor.place = (str(operator), None)
            at = window.cursor.offset
            subtask = window.unit(lambda cursor: _subtask(cursor, head.version))
            if not 0 <= subtask.index < operator.parallelism or subtask.index in indices:
                window.cursor.place = (str(operator), None)
                problem = f"subtask {subtask.index} of {operator.parallelism}"
                raise window.cursor.error(problem, "another subtask", at - window.cursor.origin)
            indices.add(subtask.index)
            yield subtask
    window.cursor.place = None
    start = window.cursor.offset
    properties = window.unit(read_properties) if head.version >= WITH_PROPERTIES else None
    yield End(properties, window.rest(), start)


def _head(cursor: Cursor) -> Head:
    if cursor.i32("the magic number 0x4960672d") != MAGIC:
        raise cursor.error("this is no _metadata of Flink", "the magic number 0x4960672d", 0)
    version = cursor.i32("the format version")
    if version == 0:
        raise SnapshotUnsupported(
            "_metadata has format version 0, of Flink 1.1: Java objects of classes that are no more",
            hint="no Flink since 1.4 reads it",
            details={"version": version},
        )
    if version not in VERSIONS:
        expected = f"a format version from {VERSIONS[0]} to {VERSIONS[-1]}"
        raise cursor.error(f"format version {version}", expected, cursor.position - 4)
    at = cursor.position
    checkpoint_id = cursor.i64("the checkpoint id")
    if checkpoint_id < 0:
        raise cursor.error(f"checkpoint id {checkpoint_id}", "the checkpoint id", at)
    masters: tuple[MasterState, ...] = ()
    if version >= WITH_MASTER_STATES:
        masters = tuple(_master_state(cursor) for _ in range(cursor.count("master states", 4 + 4 + 10)))
    start = cursor.position
    count = cursor.count("operators", 16 + 4 + 4 + 1 + 4 + (4 if version >= WITH_NAMES else 0))
    return Head(version, checkpoint_id, masters, count, Span(cursor.origin + start, cursor.offset))


def _master_state(cursor: Cursor) -> MasterState:
    start = cursor.position
    if cursor.i32("the magic number of a master state") != MASTER_STATE_MAGIC:
        raise cursor.error("another number", "the magic number of a master state", start)
    inner = cursor.inner("a master state")
    version, name = inner.i32("the version of a master state"), inner.utf("the name of a master state")
    content = inner.blob("a master state")
    inner.finish("a master state")
    return MasterState(version, name, content, Span(cursor.origin + start, cursor.offset))


def _operator_head(cursor: Cursor, version: int) -> OperatorHead:
    start, name, uid = cursor.offset, None, None
    if version >= WITH_NAMES:
        name = cursor.utf("an operator's name") or None
        uid = cursor.utf("an operator's uid") or None
    operator_id = cursor.raw(16, "an operator's id").hex()
    at = cursor.position
    parallelism, max_parallelism = cursor.i32("a parallelism"), cursor.i32("a maximum parallelism")
    if not 1 <= parallelism <= max_parallelism <= _MAX_PARALLELISM:
        problem = f"parallelism {parallelism} of at most {max_parallelism}"
        raise cursor.error(problem, f"1 to {_MAX_PARALLELISM}, in order", at)
    what = f"operator {uid or name or operator_id!r}"
    coordinator, chain_length = None, None
    at = cursor.position
    if version >= WITH_COORDINATORS:
        stream = read_stream(cursor, f"the coordinator of {what}")
        if stream is not None and not isinstance(stream, InlineHandle):
            raise cursor.error("it lies in a file", f"the coordinator of {what}, inline or none", at)
        coordinator = stream
    else:
        chain_length = cursor.i32(f"the chain length of {what}")
    at = cursor.position
    count = cursor.i32(f"the number of subtasks of {what}")
    finished = count == -1 and version >= WITH_COORDINATORS
    if not finished and not 0 <= count <= parallelism:
        raise cursor.error(f"{count} subtasks of {parallelism}", f"the number of subtasks of {what}", at)
    if finished and coordinator is not None:
        raise cursor.error("it has finished, and has a coordinator's state", f"the number of subtasks of {what}", at)
    subtasks = None if finished else count
    return OperatorHead(
        operator_id, parallelism, max_parallelism, subtasks, name, uid, coordinator, chain_length, start
    )


def _subtask(cursor: Cursor, version: int) -> SubtaskState:
    index = cursor.i32("the index of a subtask")
    if version < WITH_COORDINATORS:
        return _old_subtask(cursor, version, index)
    if index < 0:
        return SubtaskState(-index - 1, finished=True)
    if cursor.place is not None:
        cursor.place = (cursor.place[0], index)
    managed = _flagged_operator_state(cursor, "operator state")
    raw = _flagged_operator_state(cursor, "raw operator state")
    managed_keyed, raw_keyed = read_keyed(cursor, "keyed state"), read_keyed(cursor, "raw keyed state")
    typed = version >= WITH_TYPED_CHANNELS
    inputs = read_channels(cursor, Direction.INPUT, typed)
    outputs = read_channels(cursor, Direction.OUTPUT, typed)
    ref = None
    if version >= WITH_REFERENCES and cursor.boolean("0 or 1, whether state was taken over from a checkpoint"):
        ref = cursor.i64("the checkpoint that state was taken over from")
    return SubtaskState(index, False, managed, raw, managed_keyed, raw_keyed, inputs, outputs, ref)


def _old_subtask(cursor: Cursor, version: int, index: int) -> SubtaskState:
    if cursor.place is not None and index >= 0:
        cursor.place = (cursor.place[0], index)
    duration = cursor.i64("the duration of a checkpoint")
    legacy = tuple(read_stream(cursor, "legacy state") for _ in range(cursor.count("legacy states", 1)))
    if version == 1:
        chains = [
            tuple(read_operator_state(cursor, what) for _ in range(cursor.count(f"{what} handles", 1)))
            for what in ("operator state", "raw operator state")
        ]
        keyed, raw_keyed = read_keyed(cursor, "keyed state"), read_keyed(cursor, "raw keyed state")
        old = OldState(duration, legacy, chains[0], chains[1])
        return SubtaskState(index, managed_keyed=keyed, raw_keyed=raw_keyed, old=old)
    managed = _flagged_operator_state(cursor, "operator state")
    raw = _flagged_operator_state(cursor, "raw operator state")
    keyed, raw_keyed = read_keyed(cursor, "keyed state"), read_keyed(cursor, "raw keyed state")
    return SubtaskState(index, False, managed, raw, keyed, raw_keyed, old=OldState(duration, legacy))


def _flagged_operator_state(cursor: Cursor, what: str) -> OperatorStateHandle | None:
    at = cursor.position
    flag = cursor.i32(f"0 or 1, whether there is {what}")
    if flag not in (0, 1):
        raise cursor.error(f"{flag}", f"0 or 1, whether there is {what}", at)
    if not flag:
        return None
    at = cursor.position
    found = read_operator_state(cursor, what)
    if found is None:
        raise cursor.error("no handle", f"the handle of {what}", at)
    return found

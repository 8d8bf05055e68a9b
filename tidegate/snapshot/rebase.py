"""A copy of a snapshot that starts on another Kafka, or as a fork beside the live job (X12, X20).

Positions are translated split by split, topics renamed, the enumerator's partitions with them; the committables of the
old cluster are dropped, for a fork the writers' state, too. Nothing else is touched, and the original is never written.
What is given back is the copy's ``_metadata`` and what was done to it, for a person to see before anything starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tidegate.clients.objects import ObjectStore
from tidegate.errors import InvalidInput, Refused, SnapshotUnsupported
from tidegate.snapshot.cursor import Cursor, Span, i32_bytes, i64_bytes, utf_bytes
from tidegate.snapshot.edit import Dropped, DroppedState, drop_operators, splice
from tidegate.snapshot.elements import check_header, read_stream_bytes
from tidegate.snapshot.files import Snapshot
from tidegate.snapshot.handles import INLINE, InlineHandle, OperatorStateHandle
from tidegate.snapshot.kafkastate import NO_STOPPING_OFFSET, Split, moved_element, moved_enumerator
from tidegate.snapshot.metadata import Operator, parse
from tidegate.snapshot.positions import EARLIEST, READER_STATE
from tidegate.snapshot.sinks import COMMITTER_STATE, WRITER_STATE, sink_uid_of

TopicPartition = tuple[str, int]
_NO_FILE: Final = "rebased"
_LONGEST: Final = (1 << 63) - 1


@dataclass(frozen=True)
class Translated:
    """A position on the target: the next offset to read. ``replays``: records that come a second time.

    ``counted`` False: at most so many; they could not be counted. ``note``: what a person should know of it. ``floor``:
    told by an offset sync, which may lie before the place itself.
    """

    offset: int
    replays: int = 0
    counted: bool = True
    note: str = ""
    floor: bool = False

    @property
    def exact(self) -> bool:
        """By provenance: nothing comes again."""
        return self.replays == 0


Translate = Callable[[str, int, int], Translated]
"""Topic, partition and next offset on the source cluster to the position on the target. Raises what it has to."""


@dataclass(frozen=True)
class RebaseWish:
    """What shall become of a copy. ``bounds``: on the target, by its topics' names: (log start, end)."""

    translate: Translate
    bounds: Mapping[TopicPartition, tuple[int, int]]
    topics: Mapping[str, str] = field(default_factory=dict)
    """Name on the source to name on the target; those that are not here keep theirs."""
    fork: bool = False
    cut: tuple[str, ...] = ()
    """Operators that are left out, by uid or id (X27)."""


@dataclass(frozen=True)
class Moved:
    """A partition of a source that was moved. ``offset`` None: only its name stood there."""

    source: str
    topic: str
    partition: int
    offset: int | None
    new_topic: str
    new_offset: int | None
    replays: int = 0
    counted: bool = True
    note: str = ""


@dataclass(frozen=True)
class Rebased:
    """The copy's ``_metadata``, and what is different in it."""

    data: bytes
    moved: tuple[Moved, ...]
    dropped: Dropped

    @property
    def replays(self) -> int:
        """Input records that are read a second time; at most so many unless ``counted``."""
        return sum(one.replays for one in self.moved)

    @property
    def counted(self) -> bool:
        """Whether ``replays`` is exact."""
        return all(one.counted for one in self.moved)


class _Anywhere(Mapping[TopicPartition, tuple[int, int]]):
    """Bounds that hold every position: for looking which positions there are."""

    def __getitem__(self, key: TopicPartition) -> tuple[int, int]:
        return 0, _LONGEST

    def __iter__(self) -> Iterator[TopicPartition]:
        return iter(())

    def __len__(self) -> int:
        return 0


async def positions_to_move(
    store: ObjectStore, snapshot: Snapshot, cut: tuple[str, ...] = ()
) -> set[tuple[str, int, int]]:
    """Every (topic, partition, next offset) that `rebase` will ask to have translated. Raises as it does."""
    asked: set[tuple[str, int, int]] = set()

    def ask(topic: str, partition: int, offset: int) -> Translated:
        asked.add((topic, partition, offset))
        return Translated(offset)

    await rebase(store, snapshot, RebaseWish(ask, _Anywhere(), cut=cut))
    return asked


async def rebase(store: ObjectStore, snapshot: Snapshot, wish: RebaseWish) -> Rebased:
    """The copy; `edit.place_copy` writes it. Only reads.

    Raises:
        Refused: a position is outside the target's log (the source would silently jump), or is none that can be moved.
        InvalidInput: an operator to be cut is not there.
        SnapshotUnsupported: state of a form that is not rewritten.
        SnapshotUnreadable, SnapshotIncomplete, Unavailable: as when it is read.

    """
    moved: list[Moved] = []
    dropped: list[DroppedState] = []
    replacements: list[tuple[Span, bytes]] = []
    sources: dict[str, Operator] = {}
    cut_ids = [_id_of(snapshot, name) for name in wish.cut]
    for operator, subtask in snapshot.metadata.subtask_states():
        handle = subtask.managed_operator
        if handle is None or operator.operator_id in cut_ids:
            continue
        for state in handle.states:
            is_dropped = state.name == COMMITTER_STATE or (wish.fork and state.name == WRITER_STATE)
            if is_dropped and state.offsets:
                replacements.append((state.offsets_span, i32_bytes(0)))
                uid = sink_uid_of(operator)
                dropped.append(DroppedState(uid, operator.operator_id, subtask.index, state.name, len(state.offsets)))
        if handle.state(READER_STATE) is not None:
            sources[operator.operator_id] = operator
            what = f"the readers' state of {operator}, subtask {subtask.index}"
            stream = await read_stream_bytes(store, snapshot, handle.stream, what)
            replacements += _readers(handle, stream, what, _mover(operator, wish, moved))
    for operator in sources.values():
        if operator.coordinator is not None:
            old = operator.coordinator.data
            new = moved_enumerator(old, _mover(operator, wish, moved))
            if new != old:
                replacements.append((operator.coordinator.span, _inline(operator.coordinator.name, new)))
    data = splice(snapshot.metadata.data, replacements)
    cut = Dropped()
    if cut_ids:
        data, cut = drop_operators(data, cut_ids)
    parse(data)
    return Rebased(data, tuple(moved), Dropped(states=tuple(dropped), operators=cut.operators))


def _mover(operator: Operator, wish: RebaseWish, moved: list[Moved]) -> Callable[[Split, bool], Split]:
    source = operator.uid or operator.operator_id

    def move(split: Split, is_read: bool) -> Split:
        topic = wish.topics.get(split.topic, split.topic)
        if not is_read:
            moved.append(Moved(source, split.topic, split.partition, None, topic, None))
            return Split(topic, split.partition, split.offset, split.stopping)
        offset = _position(source, split, split.offset, topic, wish)
        stopping = split.stopping
        if stopping >= 0:
            stopping = _position(source, split, stopping, topic, wish).offset
        elif stopping != NO_STOPPING_OFFSET:
            raise Refused(
                f"{source}: {split.topic}-{split.partition} stops at marker {stopping}, which cannot be moved"
            )
        moved.append(
            Moved(source, split.topic, split.partition, split.offset, topic, offset.offset,
                  offset.replays, offset.counted, offset.note)
        )  # fmt: skip
        return Split(topic, split.partition, offset.offset, stopping)

    return move


def _position(source: str, split: Split, offset: int, topic: str, wish: RebaseWish) -> Translated:
    at = f"{split.topic}-{split.partition}"
    if offset == EARLIEST:
        return Translated(EARLIEST)
    if offset < 0:
        raise Refused(
            f"{source}: {at} has not been read yet and stands at marker {offset}: on another Kafka that would be "
            f"another place, and records could be skipped",
            hint="take the snapshot after the source has read from every partition",
        )
    found = wish.translate(split.topic, split.partition, offset)
    bounds = wish.bounds.get((topic, split.partition))
    if bounds is None:
        raise Refused(
            f"{source}: the target has no partition {split.partition} of {topic}",
            hint="has the topic another name there? say so with --topic OLD=NEW",
        )
    if not bounds[0] <= found.offset <= bounds[1]:
        raise Refused(
            f"{source}: {at} at {offset:,} would be {topic}-{split.partition} at {found.offset:,}, outside of the "
            f"target's log ({bounds[0]:,} to {bounds[1]:,}): the source would silently jump",
            hint="rebase a snapshot whose records the target still holds; to read none of them, cut the source by name",
            details={"topic": topic, "partition": split.partition, "offset": found.offset},
        )
    return found


def _readers(
    handle: OperatorStateHandle, stream: bytes, what: str, move: Callable[[Split, bool], Split]
) -> list[tuple[Span, bytes]]:
    """The handle with its splits moved: the stream goes into ``_metadata``, and every offset moves with its element."""
    state = handle.state(READER_STATE)
    if state is None or not state.offsets:
        return []
    check_header(Cursor(stream, of=what), what)
    edits: list[tuple[Span, bytes]] = []
    for offset in state.offsets:
        element = _element(stream, offset, what)
        new = moved_element(element.of(stream), move)
        if new != element.of(stream):
            edits.append((element, new))
    if not edits:
        return []
    if handle.merged is not None:
        raise SnapshotUnsupported(
            f"{what} lies in merged files, which are not rewritten", hint="take a savepoint: it has files of its own"
        )
    name = handle.stream.name if isinstance(handle.stream, InlineHandle) else _NO_FILE
    replacements = [(handle.stream.span, _inline(name, splice(stream, edits)))]
    for one in handle.states:
        shifted = tuple(offset + _shift(edits, offset) for offset in one.offsets)
        if shifted != one.offsets:
            replacements.append((one.offsets_span, i32_bytes(len(shifted)) + b"".join(map(i64_bytes, shifted))))
    return replacements


def _element(stream: bytes, offset: int, what: str) -> Span:
    cursor = Cursor(stream, offset, of=what)
    cursor.inner("an element")
    return Span(offset, cursor.position)


def _shift(edits: list[tuple[Span, bytes]], offset: int) -> int:
    """By how much what stood at ``offset`` has moved."""
    return sum(len(new) - (span.end - span.start) for span, new in edits if span.end <= offset)


def _inline(name: str, content: bytes) -> bytes:
    return bytes([INLINE]) + utf_bytes(name) + i32_bytes(len(content)) + content


def _id_of(snapshot: Snapshot, named: str) -> str:
    metadata = snapshot.metadata
    by_text = (operator for operator in metadata.operators if operator.uid == named)
    found = metadata.operator(named) or metadata.operator_of_uid(named) or next(by_text, None)
    if found is None:
        there = ", ".join(str(operator) for operator in metadata.operators)
        raise InvalidInput(f"cut: the snapshot has no operator {named}; it has {there or 'none'}")
    return found.operator_id

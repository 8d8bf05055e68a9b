"""Record batch headers of a partition's log, and what can be counted from them (X4, X21, X26).

A mirror drops producer ids, so who wrote what can only be read here, at home, while the log still stands.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from tidegate.clients.kafka_fetch import READ_UNCOMMITTED, Leader, batches, control_type, fetch
from tidegate.clients.kafka_messages import DefaultRecordBatch
from tidegate.clients.kafka_types import Batch, CommittedRange, ControlType, TopicPartition
from tidegate.clients.kafka_wire import Again, Wire


@dataclass(frozen=True, slots=True)
class Piece:
    """A batch, and how many of its records lie in the range that was asked for."""

    batch: Batch
    records_inside: int


def parse(records: bytes, at: int, first: int, end: int) -> list[Piece]:
    """The batches in a fetch's bytes from offset ``at`` on, with how many of their records lie in [first, end).

    A last batch that the fetch cut off is left for the next one.
    """
    pieces: list[Piece] = []
    for raw in batches(records, at, "producer ids"):
        batch = Batch(
            base_offset=raw.base_offset,
            last_offset=raw.last_offset,
            producer_id=raw.producer_id,
            producer_epoch=raw.producer_epoch,
            is_control=raw.is_control_batch,
            is_transactional=raw.is_transactional,
            records=raw.records_count,
            max_timestamp_ms=raw.max_timestamp,
            log_append_time=raw.timestamp_type == DefaultRecordBatch.LOG_APPEND_TIME,
            control_type=control_type(raw) if raw.is_control_batch else None,
        )
        pieces.append(Piece(batch, _inside(raw, batch, first, end)))
    return pieces


def _inside(raw: DefaultRecordBatch, batch: Batch, first: int, end: int) -> int:
    if batch.base_offset >= first and batch.last_offset < end:
        return batch.records
    if batch.records == batch.last_offset - batch.base_offset + 1:
        return max(0, min(end, batch.last_offset + 1) - max(first, batch.base_offset))
    if batch.last_offset < first or batch.base_offset >= end:
        return 0
    # Compaction has taken records out of a batch that straddles the border: only its records say which are left.
    return sum(first <= record.offset < end for record in raw)


@dataclass(slots=True)
class Committed:
    """Counts committed data records of one partition. Feed batches in log order, those behind ``end`` too, until
    ``settled``: a marker decides all that its producer wrote since that producer's marker before.
    """

    tp: TopicPartition
    first: int
    end: int
    count: int = 0
    last_append_ms: int | None = None
    _open: dict[int, tuple[int, int | None]] = field(default_factory=dict)

    def add(self, piece: Piece) -> None:
        """Take the next batch into account."""
        batch = piece.batch
        if batch.is_control:
            held, append_ms = self._open.pop(batch.producer_id, (0, None))
            if batch.control_type is ControlType.COMMIT:
                self._committed(held, append_ms)
            return
        if not piece.records_inside:
            return
        append_ms = batch.max_timestamp_ms if batch.log_append_time else None
        if not batch.is_transactional:
            self._committed(piece.records_inside, append_ms)
            return
        held, before_ms = self._open.get(batch.producer_id, (0, None))
        self._open[batch.producer_id] = (held + piece.records_inside, _later(before_ms, append_ms))

    def settled(self) -> bool:
        """Whether every transaction that was met has its marker."""
        return not self._open

    def result(self) -> CommittedRange:
        """The count as far as the batches went."""
        undecided = sum(held for held, _ in self._open.values())
        return CommittedRange(self.tp, self.first, self.end, self.count, undecided, self.last_append_ms)

    def _committed(self, records: int, append_ms: int | None) -> None:
        self.count += records
        self.last_append_ms = _later(self.last_append_ms, append_ms)


def _later(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)


async def read(wire: Wire, tp: TopicPartition, leader: Leader, first: int, end: int) -> AsyncGenerator[Piece, None]:
    """Batches from ``first`` to the log's end as it is when that is reached, in order; stop when you have enough.

    ``leader`` says who leads the partition now. Each fetch is repeated until the wire's deadline.
    """
    offset = first
    while True:

        async def fetch_next(at: int = offset) -> list[Piece] | None:
            got = await fetch(wire, tp, await leader(tp), at, isolation=READ_UNCOMMITTED)
            pieces = parse(got.data, at, first, end)
            if not pieces and at < got.high_watermark:
                raise Again(f"{tp}: no batch comes at offset {at:,} though the log ends at {got.high_watermark:,}")
            return pieces

        pieces = await wire.until(f"read {tp} from offset {offset:,}", fetch_next)
        if not pieces:
            return
        for piece in pieces:
            yield piece
        offset = pieces[-1].batch.last_offset + 1


async def committed(wire: Wire, tp: TopicPartition, leader: Leader, first: int, end: int) -> CommittedRange:
    """Count [first, end); reads behind ``end`` as far as it takes to meet the markers of what was written in it."""
    count = Committed(tp, first, end)
    async with aclosing(read(wire, tp, leader, first, end)) as pieces:
        async for piece in pieces:
            if piece.batch.base_offset >= end and count.settled():
                break
            count.add(piece)
    return count.result()

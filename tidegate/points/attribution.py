"""Which outputs belong to a snapshot: read from the headers of the log's record batches, at home (X4).

One offset cannot tell: several subtasks write to one partition in turns, and the interval after a checkpoint is written
before that checkpoint is committed. A mirror drops producer ids, so this is recorded while home can be read.

A transaction is told by its producer id. Which interval that one wrote, the broker's list of transactional ids says:
``<prefix>-<subtask>-<n>`` was begun right after checkpoint n - 1, so it is of snapshot N if n <= N, and later if not.

Source: org.apache.flink.connector.kafka.sink.internal.TransactionalIdFactory, ExactlyOnceKafkaWriter.snapshotState.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tidegate.clients.kafka_types import Batch, ControlType, TransactionState
from tidegate.errors import Refused
from tidegate.snapshot.place import read_prefix
from tidegate.snapshot.sinks import Committable, Ownership, WriterState

_INTERVAL: Final = re.compile(r"(?P<prefix>.+\.)-(?P<subtask>\d+)-(?P<interval>\d+)")


class Side(Enum):
    """Where a transaction belongs."""

    OF_IT = "of the snapshot"
    LATER = "later"


@dataclass(frozen=True)
class Range:
    """Offsets ``first`` to ``last``, both included."""

    first: int
    last: int


@dataclass(frozen=True)
class Cut:
    """What of one output partition belongs to a snapshot.

    Below ``upto`` (a position: not included) all data of the deployment belongs to it, but for the ranges ``later``.
    ``last`` is E(N), the last data offset of its transactions; None if they wrote nothing in what was read.
    ``first_later`` is B(N), the first data offset of any later transaction; None if there was none yet.
    """

    upto: int
    last: int | None
    first_later: int | None
    later: tuple[Range, ...] = ()


class Log:
    """Batches of one partition in their order; feed them once, and cut them for one snapshot after the other.

    Aborted transactions are left out. What is undecided counts: a snapshot's transactions are to be committed.
    ``start`` is the position of the first batch.
    """

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        """The position up to which it was read."""
        self._data: list[tuple[int, int, int]] = []  # first, last, producer id; in the order of the log
        self._open: dict[int, list[int]] = {}
        self._dead: set[int] = set()
        self._foreign: set[int] = set()

    @property
    def producers(self) -> set[int]:
        """Whose transactions lie in what was read and not dropped since."""
        return {producer for at, (_, _, producer) in enumerate(self._data) if at not in self._foreign}

    def add(self, batch: Batch) -> None:
        """Take the next batch. One that was fed before is passed over."""
        if batch.last_offset < self.end:
            return
        self.end = batch.last_offset + 1
        if batch.is_control:
            written = self._open.pop(batch.producer_id, [])
            if batch.control_type is ControlType.ABORT:
                self._dead.update(written)
            return
        if batch.is_transactional:
            self._open.setdefault(batch.producer_id, []).append(len(self._data))
        else:
            self._foreign.add(len(self._data))
        self._data.append((batch.base_offset, batch.last_offset, batch.producer_id))

    def cut(self, sides: Mapping[int, Side]) -> Cut:
        """What belongs to the snapshot, by the side of each producer id; other producers are not the deployment's."""
        last: int | None = None
        first_later: int | None = None
        for at, (first, end, producer) in enumerate(self._data):
            side = self._side(at, producer, sides)
            if side is Side.OF_IT:
                last = end
            elif side is Side.LATER and first_later is None:
                first_later = first
        return Cut(
            upto=self.start if last is None else last + 1,
            last=last,
            first_later=first_later,
            later=() if last is None else self._later_below(last, sides),
        )

    def forget_before(self, position: int) -> None:
        """Drop what lies wholly below a position: no later snapshot is cut there."""
        keep = next((at for at, (_, last, _) in enumerate(self._data) if last >= position), len(self._data))
        if keep == 0:
            return
        # What a transaction that is still open wrote below decides nothing any more, wherever it ends.
        self._data = self._data[keep:]
        self._open = {producer: [at - keep for at in written if at >= keep] for producer, written in self._open.items()}
        self._dead = {at - keep for at in self._dead if at >= keep}
        self._foreign = {at - keep for at in self._foreign if at >= keep}
        self.start = max(self.start, position)

    def _later_below(self, last: int, sides: Mapping[int, Side]) -> tuple[Range, ...]:
        found: list[Range] = []
        joined = False
        for at, (first, end, producer) in enumerate(self._data):
            if first > last:
                break
            if at in self._dead:
                continue
            if self._side(at, producer, sides) is not Side.LATER:
                joined = False
                continue
            if joined:
                found[-1] = Range(found[-1].first, end)
            else:
                found.append(Range(first, end))
            joined = True
        return tuple(found)

    def _side(self, at: int, producer: int, sides: Mapping[int, Side]) -> Side | None:
        return None if at in self._dead or at in self._foreign else sides.get(producer)


def sides_of(
    listed: Iterable[TransactionState],
    writers: Iterable[WriterState],
    own: Iterable[Committable],
    *,
    deployment: str,
    epoch: int,
    checkpoint_id: int,
) -> dict[int, Side]:
    """The side of each producer id of the deployment, for its snapshot ``checkpoint_id`` of ``epoch``.

    ``listed``: the broker's list of the deployment's transactional ids, taken after the log was read: all, or those of
    the producers that stand in it. ``writers``
    and ``own``: what the snapshot says of its sinks.

    Raises Refused if the sinks name their transactions in another way (pooled), or if list and snapshot disagree.
    """
    for writer in writers:
        if writer.ownership is Ownership.EXPLICIT_BY_WRITER_STATE:
            raise Refused(
                f"sink {writer.sink_uid or writer.operator_id} uses pooled transactional ids: which interval one of "
                "them wrote cannot be told, so outputs are not attributed",
                hint="let the sink use TransactionNamingStrategy.INCREMENTING",
            )
    sides: dict[int, Side] = {}
    for status in listed:
        match = _INTERVAL.fullmatch(status.transactional_id)
        prefix = read_prefix(match["prefix"]) if match else None
        if match is None or prefix is None or prefix.deployment != deployment or status.producer_id < 0:
            continue
        began_after = (prefix.epoch, int(match["interval"]))
        side = Side.OF_IT if began_after <= (epoch, checkpoint_id) else Side.LATER
        if sides.setdefault(status.producer_id, side) is not side:
            raise Refused(f"producer id {status.producer_id} has two transactional ids, of both sides of the snapshot")
    for committable in own:
        if sides.setdefault(committable.producer_id, Side.OF_IT) is not Side.OF_IT:
            raise Refused(
                f"the snapshot lists {committable.transactional_id} as its own; by its name it would be a later one"
            )
    return sides

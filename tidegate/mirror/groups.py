"""A consumer group goes on in another region where it was (X25): its offsets are translated, and put there for it.

Each partition is found as a snapshot's positions are (``carry``): by provenance, in the segment that it belongs to, or
by the floor of the offset syncs. No record is jumped: what cannot be proven is left as it is, and said. What may come
again is counted. A group that somebody is in, where it shall go on, is left to him, and Kafka itself sees to that. Nor
is a group set back: where it stands further on, it stays.

There is nothing to finish after a crash: a put is one call, it is read back, and done again it finds the offsets there.
An attempt that comes late, after consumers came and left again, could set a group back: what it had read since would
come again, and none would be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import OperationFailed, Refused, TidegateError, Unavailable
from tidegate.mirror.carry import Carried, Crossing, Position, carry
from tidegate.model.fleet import Consumer
from tidegate.model.groups import GroupFact
from tidegate.model.operation import ReplayRange
from tidegate.snapshot.rebase import Translated

AT_ONCE: Final = 8


@dataclass(frozen=True)
class Stood:
    """Where a group stood in the region that it comes from: next offsets to read."""

    offsets: Mapping[TopicPartition, int]
    as_of: datetime | None = None
    """When that was kept; None: Kafka was asked now."""


@dataclass(frozen=True)
class Moved:
    """One partition: from which offset to which. ``was``: what the group had there before; None: nothing."""

    tp: TopicPartition
    source: int
    target: int
    was: int | None
    exact: bool
    again: int
    counted: bool
    ahead: int

    @property
    def to_put(self) -> bool:
        """Whether the group must be moved there."""
        return self.was is None or self.was < self.target


@dataclass(frozen=True)
class Outcome:
    """Where a group goes on, partition by partition. ``left``: what was not put, and why."""

    group: str
    as_of: datetime | None = None
    moved: tuple[Moved, ...] = ()
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def noted(self, notes: tuple[str, ...]) -> Outcome:
        """With more to say of it."""
        return Outcome(self.group, self.as_of, self.moved, self.left, (*self.notes, *notes))

    def fact(self) -> GroupFact:
        """In numbers."""
        goes_on = [one for one in self.moved if one.was is None or one.was <= one.target]
        return GroupFact(
            group=self.group,
            put=sum(one.to_put for one in goes_on),
            there=sum(not one.to_put for one in goes_on),
            further=len(self.moved) - len(goes_on),
            exact=all(one.exact for one in goes_on),
            as_of=self.as_of,
            again=sum(one.again for one in goes_on),
            counted=all(one.counted for one in goes_on),
            ahead=sum(one.ahead for one in goes_on),
            left=self.left,
            notes=self.notes,
        )


@dataclass(frozen=True)
class Moving:
    """From where to where groups go. ``superseded``: of the target's log, what no longer counts beyond the lineage.

    ``note`` stands beside each offset that is put.
    """

    crossing: Crossing
    note: str
    superseded: Sequence[ReplayRange] = ()


async def translate(moving: Moving, consumer: Consumer, topics: Collection[str], stood: Stood) -> Outcome:
    """Find where a group goes on. Changes nothing. ``topics``: those that it is asked about, of the consumer's.

    Raises:
        OperationFailed: the target's log is not what one exactly-once mirror wrote.
        Unavailable: the target did not answer.

    """
    crossing = moving.crossing
    wanted: list[Position] = sorted(
        (tp.topic, tp.partition, offset)
        for tp, offset in stood.offsets.items()
        if tp.topic in consumer.topics and tp.topic in topics
    )
    there = await crossing.target_kafka.group_offsets(consumer.group)
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(at: Position) -> Moved | str:
        async with turns:
            try:
                return await _moved(moving, at, there, kept=stood.as_of is not None)
            except Refused as error:
                return error.message

    found = await asyncio.gather(*map(one, wanted))
    moved = tuple(one for one in found if isinstance(one, Moved))
    return Outcome(consumer.group, stood.as_of, moved, tuple(one for one in found if isinstance(one, str)))


async def put(moving: Moving, outcome: Outcome) -> Outcome:
    """Put what was found, and read it back. A group that somebody is in is left, and the outcome says so.

    Raises:
        OperationFailed: it was put, and is not there.
        Refused: Kafka does not let us.
        Unavailable: the target did not answer: it may or may not have been put.

    """
    kafka, region = moving.crossing.target_kafka, moving.crossing.target
    wanted = {one.tp: one.target for one in outcome.moved if one.to_put}
    if not wanted:
        return outcome
    if (await kafka.group_state(outcome.group)).live:
        return _not_put(outcome, f"somebody is in it in {region}")
    # What may have moved since it was looked at is not set back.
    there = await kafka.group_offsets(outcome.group)
    fresh = {tp: offset for tp, offset in wanted.items() if there.get(tp, -1) < offset}
    try:
        await kafka.put_group_offsets(outcome.group, fresh, moving.note)
    except Unavailable:
        # The answer may have been lost: what stands there tells.
        if not _reached(await kafka.group_offsets(outcome.group), fresh):
            raise
    except Refused:
        if (await kafka.group_state(outcome.group)).live:
            return _not_put(outcome, f"somebody is in it in {region}")
        raise
    else:
        if not _reached(await kafka.group_offsets(outcome.group), fresh):
            raise OperationFailed(
                f"the offsets of consumer group {outcome.group} were put in {region}, and are not there"
            )
    return outcome


def _reached(there: Mapping[TopicPartition, int], wanted: Mapping[TopicPartition, int]) -> bool:
    """Its consumers may have come already, and read on."""
    return all(there.get(tp, -1) >= offset for tp, offset in wanted.items())


def _not_put(outcome: Outcome, why: str) -> Outcome:
    kept = tuple(one for one in outcome.moved if not one.to_put)
    return Outcome(outcome.group, outcome.as_of, kept, (*outcome.left, why), outcome.notes)


async def _moved(moving: Moving, at: Position, there: Mapping[TopicPartition, int], *, kept: bool) -> Moved:
    """Where one partition goes on. Raises Refused if no place can be proven, Unavailable."""
    crossing = moving.crossing
    topic, partition, offset = at
    tp = TopicPartition(topic, partition)
    found, bounds, exact = await _found(crossing, at)
    start, end = bounds
    if not start <= found.offset <= end:
        raise Refused(
            f"{tp} at {offset:,}: its place in {crossing.target} is {found.offset:,}, and the log there goes from "
            f"{start:,} to {end:,}"
        )
    low = crossing.window_of(tp, offset).low
    gone = _superseded(moving, tp, low)
    target = _behind(gone, found.offset)
    kafka = crossing.target_kafka
    again = found.replays
    ahead = 0
    for first, last in gone:
        if first < found.offset:
            again += (await kafka.committed_data_count(tp, max(first, start), min(last + 1, found.offset))).count
        if last >= target:
            ahead += (await kafka.committed_data_count(tp, max(first, target), min(last + 1, end))).count
    counted = found.counted
    if kept:
        # Nobody knows how far it came since: all that it could have read of what crossed.
        cut = crossing.window_of(tp, offset).high
        upto = min(end, cut if cut is not None else end)
        more = (await kafka.committed_data_count(tp, target, upto)).count if target < upto else 0
        again += more
        counted = counted and not more
    return Moved(tp, offset, target, there.get(tp), exact, again, counted, ahead)


async def _found(crossing: Crossing, at: Position) -> tuple[Translated, tuple[int, int], bool]:
    """The place, the bounds of the target's log, and whether it is exact. Raises Refused, Unavailable."""
    topic, partition, _ = at
    by_link = crossing.link_of(topic) is not None
    refused: Refused | None = None
    best: tuple[Translated, Carried] | None = None
    try:
        carried = await carry(crossing, [at], {})
        best = carried.translate(*at), carried
        if not best[0].replays or not by_link:
            return best[0], carried.bounds[topic, partition], not best[0].replays
    except Refused as error:
        refused = error
    # Provenance is missing, or does not reach: the floor of the offset syncs may lie nearer, and jumps nothing either.
    if by_link:
        try:
            carried = await carry(crossing, [at], {}, by_floor=True)
        except Refused:
            pass
        else:
            floor = carried.translate(*at)
            if best is None or floor.offset > best[0].offset:
                return floor, carried.bounds[topic, partition], not floor.replays
    if best is None:
        assert refused is not None
        raise refused
    return best[0], best[1].bounds[topic, partition], not best[0].floor


def _superseded(moving: Moving, tp: TopicPartition, low: int) -> list[tuple[int, int]]:
    """What of the target's log does not count, from ``low`` on: both ends included, in order, apart from each other."""
    crossing = moving.crossing
    known = crossing.lineage.get(tp.topic)
    partition = known.partitions.get(str(tp.partition)) if known is not None else None
    ranges = [(one.first, one.last) for one in moving.superseded if (one.topic, one.partition) == tp]
    ranges += [(o.first, o.last) for o in (partition.excluded if partition else ()) if o.region == crossing.target]
    found: list[tuple[int, int]] = []
    for first, last in sorted((max(first, low), last) for first, last in ranges if last >= low):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _behind(gone: Sequence[tuple[int, int]], offset: int) -> int:
    """A place in what does not count is left for the one behind it: every reader of ours skips that."""
    return next((last + 1 for first, last in gone if first <= offset <= last), offset)


async def told(group: str, act: Callable[[], Awaitable[Outcome]], deadline_s: float) -> Outcome:
    """Do it in time, or say why not: a group never stops a failover. Raises nothing that it does."""
    try:
        async with asyncio.timeout(deadline_s):
            return await act()
    except TimeoutError:
        return Outcome(group, left=(f"not done within {deadline_s:g} s",))
    except TidegateError as error:
        return Outcome(group, left=(error.message,))

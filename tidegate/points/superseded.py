"""Which outputs in the standby no longer count when it goes on from a recovery point (X21).

What the mirror brought beyond the point's outputs will be written again by the new job. It is found by provenance: each
mirrored record says where it stood at home, and the point says which of home's output is its own (X4).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from itertools import chain
from typing import Final

from tidegate.clients.kafka_types import TopicPartition
from tidegate.lineage.model import TopicLineage
from tidegate.lineage.store import LineageStore
from tidegate.lineage.window import Window, window
from tidegate.mirror.link import parse_partition
from tidegate.mirror.positions import LOG_END, hops, search
from tidegate.model.operation import ReplayRange
from tidegate.operation.site import Site
from tidegate.points.model import Point

FETCH_BYTES = 4 << 20
_AT_ONCE: Final = 8
"""So many partitions are read at once."""


@dataclass(frozen=True)
class OutputEnd:
    """What of one output partition at home belongs to what is gone on from: below ``upto``, but for ``later``."""

    upto: int
    later: tuple[tuple[int, int], ...] = ()

    @property
    def first(self) -> int:
        """The first offset at home that may be superseded."""
        return min([self.upto, *(first for first, _ in self.later)])

    def counts(self, offset: int) -> bool:
        """Whether home's record at this offset belongs to it."""
        return offset < self.upto and not any(first <= offset <= last for first, last in self.later)


def ends_of(point: Point) -> dict[TopicPartition, OutputEnd]:
    """The output of a point, by partition at home."""
    return {parse_partition(name): OutputEnd(cut.upto, cut.later) for name, cut in (point.outputs or {}).items()}


async def superseded(away: Site, home: str, ends: Mapping[TopicPartition, OutputEnd]) -> tuple[ReplayRange, ...]:
    """The ranges of the standby's output that no longer count, in its own offsets, with their records counted.

    A range holds nothing that counts. Only what came from ``home`` since the topic was last turned is looked at.

    Raises:
        OperationFailed: the log is not what one exactly-once mirror wrote.
        Unavailable: the standby's Kafka, or the control bucket, did not answer.

    """
    known = await lineage_of(away, {tp.topic for tp in ends})
    gate = asyncio.Semaphore(_AT_ONCE)

    async def of(tp: TopicPartition, end: OutputEnd) -> list[ReplayRange]:
        async with gate, aclosing(_runs(away, tp, end, _where(known, tp, home, away.region, end.first), home)) as runs:
            return [
                ReplayRange(topic=tp.topic, partition=tp.partition, first=first, last=last, records=records)
                async for first, last, records in runs
            ]

    found = await asyncio.gather(*(of(tp, end) for tp, end in sorted(ends.items())))
    return tuple(chain.from_iterable(found))


async def count_superseded(away: Site, home: str, point: Point) -> int:
    """How many records a start from the point would supersede now. Raises as ``superseded``."""
    return sum(one.records for one in await superseded(away, home, ends_of(point)))


async def older_than_the_turn(away: Site, home: str, point: Point) -> bool:
    """Whether the point's output ends before the last switch to ``home``: another region has written since."""
    ends = ends_of(point)
    known = await lineage_of(away, {tp.topic for tp in ends})
    return any(
        _where(known, tp, home, away.region, end.first).came_from_target and end.first > 0 for tp, end in ends.items()
    )


async def lineage_of(site: Site, topics: Collection[str]) -> dict[str, TopicLineage]:
    """The lineage of those topics that have one. Raises Unavailable."""
    store = LineageStore(site.control, site.control_bucket)
    found = {topic: await store.read(topic) for topic in sorted(topics)}
    return {topic: known for topic, known in found.items() if known is not None}


def _where(known: Mapping[str, TopicLineage], tp: TopicPartition, home: str, away: str, offset: int) -> Window:
    lineage = known.get(tp.topic)
    return window(lineage.partitions.get(str(tp.partition)) if lineage is not None else None, home, away, offset)


async def _runs(
    away: Site, tp: TopicPartition, end: OutputEnd, where: Window, home: str
) -> AsyncGenerator[tuple[int, int, int], None]:
    """(first, last, records) of each run of superseded records, by the standby's offsets."""
    bounds = (where.low, where.high if where.high is not None else LOG_END)
    begins = (await search(away.kafka, home, tp, end.first, bounds)).offset
    stable = min(bounds[1], (await away.kafka.last_stable_offsets([tp.topic])).get(tp, 0))
    run: tuple[int, int, int] | None = None
    async with aclosing(hops(away.kafka, home, tp, begins, stable, FETCH_BYTES)) as records:
        async for hop in records:
            if end.counts(hop.source_offset):
                if run is not None:
                    yield run
                run = None
            else:
                run = (run[0], hop.offset, run[2] + 1) if run is not None else (hop.offset, hop.offset, 1)
    if run is not None:
        yield run

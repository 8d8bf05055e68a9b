"""What has not crossed, or cannot be told, though it is needed: for the plan, before anything is given up (X20, X22).

Reads only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import aclosing
from typing import Final

from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import Refused, Unavailable
from tidegate.lineage.model import TopicLineage
from tidegate.lineage.read import Stretch, counted
from tidegate.mirror.link import MirrorLink, parse_partition
from tidegate.mirror.positions import FETCH_BYTES, SCAN_OFFSETS, count_left, mirrored_to
from tidegate.mirror.provenance import of_headers
from tidegate.operation.site import Site
from tidegate.points.model import Point
from tidegate.points.superseded import lineage_of

LOOKED_AT: Final = 16 * SCAN_OFFSETS
"""Of a log without any record that counts so far from its end it is not asked further back."""


def positions_of(point: Point) -> dict[TopicPartition, int]:
    """I(N): the next offset to read by partition; of several sources of a partition the furthest."""
    found: dict[TopicPartition, int] = {}
    for known in (point.inputs or {}).values():
        for name, offset in known.items():
            tp = parse_partition(name)
            found[tp] = max(offset, found.get(tp, 0))
    return found


async def count_ahead(
    link: MirrorLink, positions: Mapping[TopicPartition, int], *, ask_source: bool
) -> tuple[int, bool]:
    """How many input records a state has read that the link has not brought (X22); (so many at most, False) where the
    source cannot be asked. Raises Unavailable.
    """
    wanted = {tp: offset for tp, offset in positions.items() if tp.topic in link.topics and offset > 0}
    count, exact = 0, True
    for tp, came in (await mirrored_to(link, wanted)).items():
        first, end = 0 if came is None else came + 1, wanted[tp]
        if first >= end:
            continue
        try:
            start = (await link.source_kafka.start_offsets([tp.topic]))[tp] if ask_source else None
            left = (
                await count_left(link, tp, max(first, start), end, at_most=end - first) if start is not None else None
            )
        except Unavailable:
            left = None
        count += end - first if left is None else left
        exact = exact and left is not None
    return count, exact


async def unproven(away: Site, home: str, topics: Collection[str]) -> tuple[str, ...]:
    """Partitions of topics that live at home, whose newest record here does not say where it stood there.

    Then no position of home can be found here, nor which outputs no longer count (X20). Raises Unavailable.
    """
    known = await lineage_of(away, topics)
    made = set(await away.kafka.topics())
    there = [topic for topic in topics if topic in made]
    if not there:
        return ()
    starts, ends = await away.kafka.start_offsets(there), await away.kafka.last_stable_offsets(there)
    found: list[str] = []
    for tp, end in sorted(ends.items()):
        mirrored = _mirrored(known.get(tp.topic), tp, home, away.region)
        if mirrored is not None and await _says_nothing(away, home, tp, mirrored, starts[tp], end):
            found.append(f"{tp}")
    return tuple(found)


def refuse_unproven(found: Collection[str], home: str, region: str, links: Collection[str]) -> None:
    """Raises Refused if anything is ``unproven``."""
    if not found:
        return
    raise Refused(
        f"what has come to {region} last does not say where it stood in {home} ({', '.join(found)}): no position could "
        f"be found there, nor which outputs no longer count (X20)",
        hint=f"the mirror runs without its transform; this sets it again:  tidegate mirror start "
        f"{', '.join(links)}      if {home} is lost, by the offset syncs:  "
        f"tidegate snapshot rebase DEPLOYMENT/POINT --to {region} --by-floor",
    )


def _mirrored(known: TopicLineage | None, tp: TopicPartition, home: str, region: str) -> Stretch | None:
    """The part of the region's log that the mirror fills now; None: nothing does."""
    partition = known.partitions.get(str(tp.partition)) if known is not None else None
    if partition is None:
        return Stretch(region, 0, None, (home,))
    stretches = counted(partition, region)
    goes_on = stretches and stretches[-1].end is None and home in stretches[-1].wrote
    return stretches[-1] if goes_on else None


async def _says_nothing(away: Site, home: str, tp: TopicPartition, part: Stretch, start: int, end: int) -> bool:
    """Whether the newest record of a part, read backwards, has no provenance of home; False: there is none."""
    low = max(part.first, start, end - LOOKED_AT)
    high, step = end, SCAN_OFFSETS
    while high > low:
        first = max(low, high - step)
        newest: bool | None = None
        async with aclosing(away.kafka.records(tp, first, high, FETCH_BYTES)) as records:  # type: ignore[type-var]
            async for record in records:
                came = of_headers(record.headers)
                if came is None and away.region in part.wrote:
                    continue  # nobody knows where what it wrote itself ends: this may be of that
                if part.counts(record.offset):
                    newest = came is not None and came.hop.cluster == home
        if newest is not None:
            return not newest
        high, step = first, step * 4
    return False

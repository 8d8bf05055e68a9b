"""What counts, and whose it is: pure functions of a lineage, for readers, auditors and whoever carries positions.

Offsets are of the region that is named beside them; ``end`` is not included, ``first`` and ``last`` are.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from tidegate.errors import InvalidInput
from tidegate.lineage.model import Partition, Segment


@dataclass(frozen=True)
class Stretch:
    """A range of one region's log. ``end`` None: the log's end. ``wrote``: the regions whose records it holds.

    ``without``: ranges in it that do not count, in order, apart from each other.
    """

    region: str
    first: int
    end: int | None
    wrote: tuple[str, ...]
    without: tuple[tuple[int, int], ...] = ()

    def counts(self, offset: int) -> bool:
        """Whether the record at an offset of the region's log is in it and counts."""
        inside = self.first <= offset and (self.end is None or offset < self.end)
        return inside and not any(first <= offset <= last for first, last in self.without)


@dataclass(frozen=True)
class Place:
    """Where an offset of a region's log belongs. ``native``: that region wrote it, in ``segments[0]``.

    Else it was mirrored, of one of the segments, or lies in the tail of the region's segment before them.
    """

    segments: tuple[Segment, ...]
    native: bool


@dataclass(frozen=True)
class HopOver:
    """A position is carried from a region to the next: ``turn`` is the segment that it belongs to on the way."""

    source: str
    target: str
    turn: int


def counted(partition: Partition, region: str | None = None) -> tuple[Stretch, ...]:
    """What counts, in order: across the regions, each where it was written; or all of it in one region's log.

    Across regions a segment whose end nobody knows reaches to the log's end: what it holds beyond what crossed is
    excluded once the region has returned (X23). In one region's log, what others wrote counts where it was mirrored to.
    """
    if region is None:
        return tuple(
            _stretch(partition, one.region, one.first, one.end, (one.region,))
            for one in partition.segments
            if one.end is None or one.end > one.first
        )
    found: list[Stretch] = []
    reached = 0
    others: list[str] = []
    for segment in partition.segments:
        if segment.region != region:
            others.append(segment.region)
            continue
        if segment.first > reached:
            found.append(_stretch(partition, region, reached, segment.first, tuple(dict.fromkeys(others))))
        others = []
        end = _end_in_its_log(partition, segment)
        if end is None or end > segment.first:
            found.append(_stretch(partition, region, segment.first, end, (region,)))
        reached = segment.first if end is None else end
    if others:
        if found and found[-1].end is None:  # nobody knows where the mirrored part begins
            last = found.pop()
            others = [*last.wrote, *others]
        found.append(_stretch(partition, region, reached, None, tuple(dict.fromkeys(others))))
    return tuple(found)


def locate(partition: Partition, region: str, offset: int) -> Place:
    """Which segment an offset of a region's log belongs to. Raises InvalidInput where that log holds nothing of it."""
    before: list[Segment] = []
    for segment in partition.segments:
        if segment.region != region:
            before.append(segment)
            continue
        if offset < segment.first:
            break
        end = _end_in_its_log(partition, segment)
        if end is None or offset < end:
            return Place((segment,), native=True)
        before = []
    if offset < 0 or not before:
        raise InvalidInput(f"offset {offset:,} of {region} belongs to no segment: nobody has mirrored anything there")
    return Place(tuple(before), native=False)


def translate_path(partition: Partition, region: str, turn: int, target: str) -> tuple[HopOver, ...]:
    """Over which regions a position of a region's segment is carried to another region, in order; none: it is there.

    Forward along the turns where the target comes later, for so the mirrors ran before each turn; else backward, as
    they ran after it. Raises InvalidInput if there is no such segment, or the target never had the topic.
    """
    segments = partition.segments
    at = next((n for n, one in enumerate(segments) if (one.turn, one.region) == (turn, region)), None)
    if at is None:
        raise InvalidInput(f"turn {turn} has no segment of {region}")
    if region == target:
        return ()
    there = [number for number, one in enumerate(segments) if one.region == target]
    if not there:
        raise InvalidInput(f"{target} has never had the topic: a position of {region} cannot be carried there")
    to = min(there, key=lambda number: (abs(number - at), number < at))
    way = segments[at : to + 1] if to > at else segments[to : at + 1][::-1]
    return tuple(HopOver(one.region, other.region, one.turn) for one, other in pairwise(way))


def _end_in_its_log(partition: Partition, segment: Segment) -> int | None:
    """Where a segment ends; where nobody could say, at the next one of the same region at the latest."""
    if segment.end is not None:
        return segment.end
    return next(
        (one.first for one in partition.segments if one.region == segment.region and one.turn > segment.turn), None
    )


def _stretch(partition: Partition, region: str, first: int, end: int | None, wrote: tuple[str, ...]) -> Stretch:
    gone: list[tuple[int, int]] = []
    for one in sorted(partition.excluded, key=lambda one: one.first):
        if one.region != region or one.last < first or (end is not None and one.first >= end):
            continue
        low, high = max(one.first, first), one.last if end is None else min(one.last, end - 1)
        if gone and low <= gone[-1][1] + 1:
            gone[-1] = (gone[-1][0], max(gone[-1][1], high))
        else:
            gone.append((low, high))
    return Stretch(region, first, end, wrote, tuple(gone))

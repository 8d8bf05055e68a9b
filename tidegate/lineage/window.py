"""Where in one region's log a position of another region lies, by the lineage: the segment is named, then searched.

A log that was mirrored both ways holds the segments of both regions in turns. What the mirror brought of one segment
lies between the ends of its neighbours; a search beyond that would find another segment's records (X20).
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.lineage.model import Partition, Segment


@dataclass(frozen=True)
class Window:
    """Where to search. ``low`` and ``high`` (not included; None: the log's end) are offsets of the target's log.

    ``source_first``: the first offset of the segment in the source's log. ``came_from_target``: the position lies in a
    part of the source's log that itself came from the target: then the record there says where it stood (its hop), and
    where none does before ``source_end``, the place is ``high``.
    """

    low: int
    high: int | None
    source_first: int
    source_end: int | None
    came_from_target: bool = False


def window(known: Partition | None, source: str, target: str, offset: int) -> Window:
    """Where a position of ``source`` (next offset to read) lies in the log of ``target``. No lineage: anywhere."""
    if known is None or not known.segments:
        return Window(0, None, 0, None)
    segments = known.segments
    for number, segment in enumerate(segments):
        if segment.region != source:
            continue
        later = segments[number + 1] if number + 1 < len(segments) else None
        earlier = segments[number - 1] if number else None
        ends = segment.end if segment.end is not None else (segment.first if later is not None else None)
        if offset < segment.first and earlier is not None:
            return Window(earlier.first, earlier.end, 0, segment.first, came_from_target=True)
        if ends is None or offset < ends or (later is None) or _is_last_of(segments, number, source):
            low = earlier.end or earlier.first if earlier is not None and earlier.region == target else 0
            high = later.first if later is not None and later.region == target else None
            return Window(low, high, segment.first, segment.end)
    last = segments[-1]
    return Window(last.first if last.region == target else 0, None, 0, None)


def _is_last_of(segments: tuple[Segment, ...], number: int, source: str) -> bool:
    """Whether the source has no later segment: what stands behind this one's end in its log is no one else's."""
    return all(one.region != source for one in segments[number + 1 :])

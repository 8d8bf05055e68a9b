"""What a mirror link tells those who keep recovery points: what has come through, and what never will (X5, X7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.clients.kafka_types import TopicPartition
from tidegate.mirror.link import MirrorLink
from tidegate.mirror.positions import mirrored_to, passed_position, target_partitions


@dataclass(frozen=True)
class LinkWatch:
    """One link, as ``tidegate.points.keep.Mirror`` wants it."""

    link: MirrorLink

    async def passed(self, ends: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, bool]:
        """Of each partition whether all data below this position has come through. Raises as ``passed_position``."""
        return await passed_position(self.link, ends)

    async def holes(self) -> list[str]:
        """A line for each partition whose log lost what had not come yet, and for each that the target lacks.

        Raises Unavailable if the source, or what tells how far it came, did not answer.
        """
        link = self.link
        starts = await link.source_kafka.start_offsets(link.topics)
        came = await mirrored_to(link, starts)
        there = await target_partitions(link)
        known = {tp.topic for tp in there}
        lines = []
        for tp, start in sorted(starts.items()):
            last = came[tp]
            if last is not None and start > last + 1:
                lines.append(f"{tp}: {link.source} lost offsets {last + 1:,} to {start - 1:,} before they came")
            if tp.topic in known and tp not in there:
                lines.append(f"{tp}: {link.target} has no such partition")
        return lines

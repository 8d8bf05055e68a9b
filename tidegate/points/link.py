"""What a mirror link says to whoever keeps recovery points (``tidegate.points.keep.Mirror``)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tidegate.clients.kafka_types import TopicPartition
from tidegate.mirror.link import MirrorLink
from tidegate.mirror.positions import passed_position
from tidegate.mirror.status import look
from tidegate.model.fleet import Fleet


def link_of(fleet: Fleet, deployment: str, away: str) -> str | None:
    """The link that brings all outputs of a deployment from its home to a region; None if there is none."""
    spec = fleet.deployment(deployment)
    outputs = {topic for sink in spec.sinks for topic in sink.topics}
    return next(
        (
            name
            for name, mirror in fleet.mirrors.items()
            if (mirror.source, mirror.target) == (spec.home_ref.region, away) and outputs <= set(mirror.topics)
        ),
        None,
    )


@dataclass(frozen=True)
class LinkedMirror:
    """A mirror link, asked for the topics of one deployment."""

    link: MirrorLink
    topics: Collection[str]

    async def passed(self, ends: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, bool]:
        """Of each partition whether all data below this position has come through (X5)."""
        return await passed_position(self.link, ends)

    async def holes(self) -> Sequence[str]:
        """What its source has lost before it came (X7)."""
        seen = await look(self.link)
        return [
            f"{one.topic}-{one.partition}: offsets {one.hole[0]:,} to {one.hole[1] - 1:,} never came"
            for one in seen.partitions
            if one.hole is not None and one.topic in self.topics
        ]

"""What a mirror link tells those who keep recovery points: what has come through, and what never will (X5, X7)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tidegate.clients.kafka_types import TopicDescription, TopicPartition
from tidegate.mirror.link import MirrorLink
from tidegate.mirror.positions import mirrored_to, passed_position, target_partitions
from tidegate.mirror.revive import LinkRevival
from tidegate.model.fleet import Fleet
from tidegate.model.mirror import LinkHealth


def link_of(fleet: Fleet, deployment: str, home: str, away: str) -> str | None:
    """The link that brings all outputs of a deployment from the region where it runs to another; None: there is none.

    Raises InvalidInput for an unknown deployment.
    """
    spec = fleet.deployment(deployment)
    outputs = {topic for sink in spec.sinks for topic in sink.topics}
    return next(
        (
            name
            for name, mirror in fleet.mirrors.items()
            if (mirror.source, mirror.target) == (home, away) and outputs <= set(mirror.topics)
        ),
        None,
    )


@dataclass
class LinkWatch:
    """One link, as ``tidegate.points.keep.Mirror`` wants it, asked for the topics of one deployment."""

    link: MirrorLink
    topics: Collection[str]
    """The deployment's topics. Those that the link does not mirror are left out."""
    revival: LinkRevival | None = None
    """Who brings it back when a task of it died; None: nobody here."""
    health: LinkHealth | None = field(default=None, init=False)
    """As it was when it was looked after last."""

    async def look_after(self) -> LinkHealth | None:
        """Bring it back if a task of it died; what is down then. None: nobody does that here."""
        if self.revival is not None:
            self.health = await self.revival.look()
        return self.health

    async def passed(self, ends: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, bool]:
        """Of each partition whether all data below this position has come through. Raises as ``passed_position``."""
        return await passed_position(self.link, ends)

    async def described(self) -> dict[str, dict[str, TopicDescription]]:
        """The topics on both sides as they are now, by region and name. Raises Unavailable if a side did not answer."""
        names = [topic for topic in self.link.topics if topic in self.topics]
        sides = {self.link.source: self.link.source_kafka, self.link.target: self.link.target_kafka}
        return {region: await kafka.describe_topics(names) for region, kafka in sides.items()}

    async def holes(self) -> list[str]:
        """A line for each partition whose log lost what had not come yet, and for each that the target lacks.

        Raises Unavailable if the source, or what tells how far it came, did not answer.
        """
        link = self.link
        wanted = [topic for topic in link.topics if topic in self.topics]
        topics = list(await link.source_kafka.describe_topics(wanted))  # one that is gone is told by ``described``
        # The starts first: what is deleted meanwhile, and has come, is then no hole.
        starts = await link.source_kafka.start_offsets(topics)
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

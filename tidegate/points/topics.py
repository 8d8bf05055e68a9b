"""Topics that are no longer those that the mirror has brought: made anew, gone, or with other partitions (X7).

A topic that was made anew counts its offsets from 0 again. The mirror goes on behind them and brings nothing, positions
of before name other records, and no offset tells. Only the topic's id does, so it is kept from the first look on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from tidegate.clients.kafka_types import TopicDescription
from tidegate.points.model import Points, TopicSeen

Topics = Mapping[str, Mapping[str, TopicSeen]]
"""By region and topic."""


def as_seen(described: Mapping[str, Mapping[str, TopicDescription]]) -> dict[str, dict[str, TopicSeen]]:
    """What is kept of what Kafka says."""
    return {
        region: {name: TopicSeen(id=one.id, partitions=one.partitions) for name, one in found.items()}
        for region, found in described.items()
    }


def changes(known: Topics, now: Topics) -> list[str]:
    """A line for each topic that is not what it was at the first look. Regions that are not in ``now`` do not count."""
    lines = []
    for region in sorted(now):
        for topic, was in sorted(known.get(region, {}).items()):
            found = now[region].get(topic)
            if found is None:
                lines.append(f"topic {topic} is gone in {region}")
            elif None not in (was.id, found.id) and was.id != found.id:
                lines.append(f"topic {topic} was made anew in {region}: id {was.id} became {found.id}")
            elif was.partitions != found.partitions:
                lines.append(f"topic {topic} in {region} has {found.partitions} partitions, and had {was.partitions}")
    return lines


def first_seen(known: Topics, now: Topics) -> dict[str, dict[str, TopicSeen]]:
    """What to compare with from now on: each topic as it was seen first."""
    return {region: {**now.get(region, {}), **known.get(region, {})} for region in sorted({*known, *now})}


def accepted(points: Points, now: datetime) -> Points:
    """After a person's word that the mirror brings the topics as they are: the next look is the first one again."""
    return points.model_copy(update={"topics": {}, "holes": (), "topics_since": now, "updated_at": now})

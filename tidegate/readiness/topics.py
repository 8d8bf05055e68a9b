"""Topics in both regions: there, alike, and kept for long enough (X7, X20, X23)."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.clients.kafka_types import ClusterShape
from tidegate.mirror.link import parse_partition
from tidegate.model.review import Checked
from tidegate.points.index import against
from tidegate.points.model import Point, Points
from tidegate.readiness.facts import Facts, NotKnown, RegionFacts
from tidegate.readiness.sheet import Said, Unasked, breach, warning
from tidegate.report import words


def check_topics(facts: Facts) -> Iterator[Said]:
    """There in both regions, with as many partitions, output by the broker's clock."""
    shapes: dict[str, ClusterShape] = {}
    for region in facts.regions.values():
        if isinstance(region.kafka, NotKnown):
            yield Unasked("topics", region.kafka)
        else:
            shapes[region.name] = region.kafka
    wrong = False
    for name, shape in shapes.items():
        for topic in facts.topics:
            if topic not in shape.topics:
                wrong = True
                yield breach(
                    facts,
                    "topic-missing",
                    f"{topic} in {name}",
                    f"there is no topic {topic} in {name}",
                    "the job would not start there",
                    f"create it in {name}, with as many partitions as in {facts.home.region}",
                )
    home, away = shapes.get(facts.home.region), shapes.get(facts.standby or "")
    for topic in facts.topics if home is not None and away is not None else ():
        assert home is not None
        assert away is not None
        here, there = home.topics.get(topic), away.topics.get(topic)
        if here is not None and there is not None and here.partitions != there.partitions:
            wrong = True
            yield breach(
                facts,
                "partitions-differ",
                topic,
                f"{topic} has {here.partitions} partitions in {facts.home.region} and {there.partitions} in "
                f"{facts.standby}",
                "a partition without a counterpart cannot turn (X20)",
                "as many in both",
            )
    for name, shape in shapes.items():
        for topic in facts.outputs:
            found = shape.topics.get(topic)
            if found is not None and found.settings.get("message.timestamp.type") != "LogAppendTime":
                wrong = True
                yield warning(
                    facts,
                    "output-timestamps",
                    f"{topic} in {name}",
                    f"{topic} in {name} has the producers' timestamps",
                    "no gap can be measured there, and old records that are mirrored meet retention at once",
                    alter(facts, name, topic, "message.timestamp.type=LogAppendTime"),
                )
    if shapes and not wrong:
        yield Checked(check="topics", subject=", ".join(facts.topics), fact=f"in {' and '.join(shapes)}, alike")


def check_retention(facts: Facts) -> Iterator[Said]:
    """Kept for as long as a region may be away, and as far back as the oldest recovery point reads."""
    for region in facts.regions.values():
        if isinstance(region.kafka, NotKnown):
            yield Unasked("retention", region.kafka)
            continue
        yield from _outlives(facts, region, region.kafka)
    yield from _below_points(facts)


def _outlives(facts: Facts, region: RegionFacts, shape: ClusterShape) -> Iterator[Said]:
    short = []
    for topic in facts.topics:
        found = shape.topics.get(topic)
        kept_s = retention_s(found.settings) if found is not None else None
        if kept_s is not None and kept_s < facts.outage_s:
            short.append(topic)
            yield breach(
                facts,
                "retention-short",
                f"{topic} in {region.name}",
                f"{topic} in {region.name} is kept for {words.seconds(kept_s)}; an outage of "
                f"{words.seconds(facts.outage_s)} must be outlived",
                "what the mirror or the job has not read by then is gone: a hole that nothing fills (X7)",
                alter(facts, region.name, topic, f"retention.ms={int(facts.outage_s * 2000)}"),
            )
    if not short:
        fact = f"no topic of it is kept for less than {words.seconds(facts.outage_s)}"
        yield Checked(check=f"retention in {region.name}", subject=region.name, fact=fact)


def _below_points(facts: Facts) -> Iterator[Said]:
    """The inputs that each point in the region where it was taken would read next are still there."""
    region = facts.regions[facts.home.region]
    kept = facts.points.get(region.name)
    if not isinstance(kept, Points):
        return  # told by the check of recovery points
    if isinstance(region.starts, NotKnown):
        yield Unasked("retention against recovery points", region.starts)
        return
    good = [point for point in kept.points if against(kept, point) is None and point.inputs is not None]
    gone = {point.id: where for point in good if (where := _gone(point, region)) is not None}
    if gone:
        newest = good[0].id in gone
        first = next(iter(gone))
        yield (breach if newest else warning)(
            facts,
            "retention-below-point",
            region.name,
            f"{len(gone)} of {len(good)} recovery points need input that {region.name} no longer has: {first}, "
            f"{gone[first]}",
            "they cannot be gone on from without a loss",
            f"tidegate snapshot sweep {facts.deployment} --dry-run",
            alter(facts, region.name, facts.inputs[0], f"retention.ms={int(facts.outage_s * 2000)}"),
        )
    elif good:
        oldest = good[-1]
        age_s = max(0.0, (facts.now - oldest.taken_at).total_seconds())
        fact = f"the oldest recovery point, {oldest.id}, {words.seconds(age_s)} old, has all of its input"
        yield Checked(check="retention against recovery points", subject=region.name, fact=fact)


def _gone(point: Point, region: RegionFacts) -> str | None:
    assert not isinstance(region.starts, NotKnown)
    for positions in (point.inputs or {}).values():
        for name, offset in sorted(positions.items()):
            start = region.starts.get(parse_partition(name))
            if start is not None and offset < start:
                return f"{name} from {offset:,} on, which begins at {start:,}"
    return None


def retention_s(settings: object) -> float | None:
    """For how long a topic is kept, in seconds; None: without a limit in time, or it does not say."""
    text = settings.get("retention.ms") if isinstance(settings, dict) else None
    return None if text is None or int(text) < 0 else int(text) / 1000


def alter(facts: Facts, region: str, topic: str, setting: str) -> str:
    """The line of Kafka's own tool that changes a topic."""
    return (
        f"kafka-configs.sh --bootstrap-server {facts.bootstraps[region]} --alter --topic {topic} --add-config {setting}"
    )

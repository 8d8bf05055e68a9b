"""The positions of a snapshot on another region's Kafka: exact by provenance, or the floor of the offset syncs (X20).

What cannot be proven to be the right place is refused: a source that starts elsewhere jumps, and nobody sees it. A
place at or before the right one costs replays; they are counted in the source, split by split, before anything starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from tidegate.clients.kafka_types import KafkaClient, TopicPartition
from tidegate.errors import InvalidInput, Refused, Unavailable
from tidegate.lineage.model import TopicLineage
from tidegate.lineage.window import Window, window
from tidegate.mirror.link import MirrorLink
from tidegate.mirror.positions import LOG_END, Translation, count_left, hops, mirrored_to
from tidegate.mirror.positions import translate as find
from tidegate.mirror.syncs import OffsetSyncs
from tidegate.snapshot.rebase import Translated

AT_ONCE: Final = 8
FETCH_BYTES: Final = 4 << 20
Position = tuple[str, int, int]
"""Topic, partition, next offset to read, on the source."""


class NoProvenance(Refused):
    """Records have come without what says where they stood: which of them were read, the offset syncs may say."""


@dataclass(frozen=True)
class Crossing:
    """From which Kafka to which. ``links``: those of the fleet file that lead this way, to be asked for provenance.

    The source may be gone: then what would have to be counted there is told as so many at most.
    """

    source: str
    target: str
    source_kafka: KafkaClient
    target_kafka: KafkaClient
    links: tuple[MirrorLink, ...] = ()
    lineage: Mapping[str, TopicLineage] = field(default_factory=dict)
    """By topic, where it has one: a position is searched for in the segment that it belongs to, and only there."""

    def window_of(self, tp: TopicPartition, offset: int) -> Window:
        """Where in the target's log the position lies."""
        known = self.lineage.get(tp.topic)
        partition = known.partitions.get(str(tp.partition)) if known is not None else None
        return window(partition, self.source, self.target, offset)

    def link_of(self, topic: str) -> MirrorLink | None:
        """The link that brings a topic; None if none does."""
        return next((link for link in self.links if topic in link.topics), None)


@dataclass(frozen=True)
class Carried:
    """Where each position lies on the target, and how far the target's logs reach, by the target's names."""

    bounds: Mapping[tuple[str, int], tuple[int, int]]
    _found: Mapping[Position, Translated] = field(default_factory=dict)

    def translate(self, topic: str, partition: int, offset: int) -> Translated:
        """As `rebase` wants it. Only positions that were carried are known."""
        return self._found[(topic, partition, offset)]


async def stay(kafka: KafkaClient, wanted: Collection[Position]) -> Carried:
    """A copy on the same Kafka: every position stays where it is. Raises Unavailable."""
    bounds = await _bounds(kafka, {topic for topic, _, _ in wanted})
    return Carried(bounds, {at: Translated(at[2]) for at in wanted})


async def carry(
    crossing: Crossing, wanted: Collection[Position], topics: Mapping[str, str], *, by_floor: bool = False
) -> Carried:
    """Every position on the target. ``topics``: names on the source to those on the target, of a mirror that renames.

    By provenance where a link of the fleet file brings the topic; by the offset syncs where none does, where what has
    come has no provenance, or with ``by_floor``.

    Raises:
        Refused: a position cannot be proven; the partition is named, and what to do.
        InvalidInput: a topic is renamed that a link of ours brings under its own name.
        OperationFailed: the target's log is not what one exactly-once mirror wrote.
        Unavailable: the target did not answer.

    """
    bounds = await _bounds(crossing.target_kafka, {topics.get(topic, topic) for topic, _, _ in wanted})
    _require_partitions(crossing, wanted, topics, bounds)
    exactly = {topic for topic, _, _ in wanted if not by_floor and crossing.link_of(topic) is not None}
    for topic in exactly & topics.keys():
        raise InvalidInput(
            f"--topic {topic}={topics[topic]}: a mirror link of the fleet file brings {topic} under its own name, so "
            f"its positions are not those of {topics[topic]}"
        )
    turns = asyncio.Semaphore(AT_ONCE)
    known = asyncio.create_task(_syncs(crossing)) if {topic for topic, _, _ in wanted} - exactly else None

    async def one(at: Position) -> tuple[Position, Translated]:
        nonlocal known
        topic, partition, offset = at
        tp = TopicPartition(topic, partition)
        link = crossing.link_of(topic)
        missing = ""
        async with turns:
            if topic in exactly and link is not None:
                try:
                    return at, await by_provenance(link, tp, offset, crossing.window_of(tp, offset))
                except NoProvenance as error:
                    missing = error.message
            known = known or asyncio.create_task(_syncs(crossing))
            there = bounds[(topics.get(topic, topic), partition)]
            try:
                found = await by_syncs(crossing, await known, tp, offset, there)
            except Refused as error:
                if link is None or not missing:
                    raise
                again = f"let the mirror put it on again:  tidegate mirror start {link.name}"
                raise Refused(
                    f"{missing}; and {error.message}", hint=f"{again}; then rebase a newer snapshot"
                ) from error
            return at, replace(found, note=found.note or missing, floor=True)

    return Carried(bounds, dict(await asyncio.gather(*map(one, sorted(wanted)))))


async def by_provenance(link: MirrorLink, tp: TopicPartition, offset: int, where: Window | None = None) -> Translated:
    """The exact place of a position. What has not come yet is read again when it comes, and is counted (X22).

    ``where``: the segment that it belongs to; None: the topic was never turned.

    Raises:
        NoProvenance: something that has come does not say where it stood.
        Refused: what stood there is in the target no more, or that cannot be ruled out.
        InvalidInput, OperationFailed, Unavailable: as ``translate``.

    """
    where = where or Window(0, None, 0, None)
    if where.came_from_target:
        return await _by_hop_back(link, tp, offset, where)
    turned = (where.low, where.high, where.source_first) != (0, None, 0)
    found = await find(link, tp, offset, (where.low, where.high if where.high is not None else LOG_END))
    await _require_provenance(link, tp, found, where)
    if found.beyond:
        return await _beyond(link, tp, offset, found, where if turned else None)
    assert found.at is not None
    reached = found.at.source_offset
    if found.first and reached > offset:
        # Nothing of before the position is there to show that nothing is missing behind it: the source must say it.
        count, counted = await _count(link.source_kafka, link, tp, offset, reached)
        if count:
            many = f"{count:,} records" if counted else f"what stood from {offset:,} to {reached - 1:,}"
            raise Refused(
                f"{tp} at {offset:,}: the log in {link.target} begins with {link.source}'s {reached:,}; {many} of "
                f"before it would be jumped"
                + ("" if counted else f", and {link.source} cannot say that it is nothing"),
                hint="rebase a newer snapshot, whose records the target still holds",
            )
    return Translated(found.offset)


async def _by_hop_back(link: MirrorLink, tp: TopicPartition, offset: int, where: Window) -> Translated:
    """The position stands where the source holds what came from the target: the next such record says where it stood.

    Raises Refused if the source cannot be asked: then nothing says it.
    """
    end = where.source_end if where.source_end is not None else offset
    try:
        async with aclosing(hops(link.source_kafka, link.target, tp, offset, end, FETCH_BYTES)) as records:
            async for hop in records:
                return Translated(hop.source_offset)
    except Unavailable as error:
        raise Refused(
            f"{tp} at {offset:,}: {link.source} holds there what {link.target} wrote before, and cannot be asked where "
            f"that stood ({error.message})",
            hint="go on from a newer snapshot, taken after the last switch",
        ) from error
    return Translated(where.high if where.high is not None else where.low)


async def _beyond(
    link: MirrorLink, tp: TopicPartition, offset: int, found: Translation, segment: Window | None
) -> Translated:
    came_to = found.came_to
    if came_to is None and segment is not None:
        # The segment's bounds in both logs were written when the topic was turned: nothing of it has come yet.
        came_to = min(segment.source_first, offset)
    if came_to is None:
        # The target holds nothing of it: either nothing ever came, or retention took what did.
        came = (await mirrored_to(link, [tp]))[tp]
        if (came is None and found.offset > 0) or (came is not None and came >= offset):
            raise Refused(
                f"{tp} at {offset:,}: {link.target} holds no record of it any more, so nothing shows that none of "
                f"behind it is missing there",
                hint="rebase a newer snapshot, whose records the target still holds",
            )
        came_to = 0 if came is None else came + 1
    count, counted = await _count(link.source_kafka, link, tp, came_to, offset, to_come=True)
    if count == 0:
        return Translated(found.offset)
    note = f"ahead of the mirror: what it has read of {came_to:,} to {offset - 1:,} has not come, and is read again"
    return Translated(found.offset, count, counted, note)


async def _require_provenance(link: MirrorLink, tp: TopicPartition, found: Translation, where: Window) -> None:
    """Nothing committed stands between the last record of before the position and the place that was found, or, where
    none was found, the end of what the mirror has brought.
    """
    end = found.offset
    if found.beyond:
        end = (await link.target_kafka.last_stable_offsets([tp.topic]))[tp]
        end = end if where.high is None else min(end, where.high)
    start = (await link.target_kafka.start_offsets([tp.topic]))[tp]
    first = max(found.behind, start)
    if first >= end or not (await link.target_kafka.committed_data_count(tp, first, end)).count:
        return
    raise NoProvenance(
        f"{tp}: {link.target} holds records of it without provenance, from {first:,} to {end - 1:,}, so nothing shows "
        f"which of them were read",
        hint=f"is the transform of mirror/ set in the connector?  tidegate mirror status {link.name}",
    )


async def by_syncs(
    crossing: Crossing, syncs: OffsetSyncs, tp: TopicPartition, offset: int, bounds: tuple[int, int]
) -> Translated:
    """The nearest place at or before a position that a sync proves; what lies between is counted in the source.

    ``bounds``: of the target's partition. Raises Refused if no sync is that early, Unavailable.
    """
    kafka, link = crossing.source_kafka, crossing.link_of(tp.topic)
    floor = syncs.floor(tp, offset)
    if floor is None:
        nothing_came = bounds == (0, 0)
        if nothing_came and (await _count(kafka, link, tp, 0, offset, to_come=True))[0] == 0:
            return Translated(0)
        raise Refused(
            f"{tp} at {offset:,}: no offset sync in {crossing.target} is that early, so no place there is safe",
            hint="let the mirror run on and rebase a newer snapshot"
            + ("; or leave out --by-floor, and it is found by provenance" if link is not None else ""),
        )
    if floor.exact:
        return Translated(floor.offset)
    count, counted = await _count(kafka, link, tp, floor.sync.upstream + 1, offset)
    return Translated(floor.offset, count, counted)


async def _count(
    kafka: KafkaClient, link: MirrorLink | None, tp: TopicPartition, first: int, end: int, *, to_come: bool = False
) -> tuple[int, bool]:
    """Committed records of the source in [first, end) that a mirror brings; (so many at most, False) if nobody says.

    ``to_come``: those that can still come; what the source's log has lost by now never does.
    """
    if first >= end:
        return 0, True
    try:
        start = (await kafka.start_offsets([tp.topic]))[tp]
        at = min(max(first, start), end) if to_come else first
        if at >= start:
            if link is not None:
                return await count_left(link, tp, at, end, at_most=end - at), True
            return (await kafka.committed_data_count(tp, at, end)).count, True
    except Unavailable:
        pass
    return end - first, False


async def _bounds(kafka: KafkaClient, topics: Collection[str]) -> dict[tuple[str, int], tuple[int, int]]:
    known = set(await kafka.topics())
    there = sorted(known & set(topics))
    if not there:
        return {}
    starts, ends = await kafka.start_offsets(there), await kafka.end_offsets(there)
    return {(tp.topic, tp.partition): (starts[tp], end) for tp, end in ends.items() if tp in starts}


def _require_partitions(
    crossing: Crossing,
    wanted: Collection[Position],
    topics: Mapping[str, str],
    bounds: Mapping[tuple[str, int], tuple[int, int]],
) -> None:
    for topic, partition, _ in sorted(wanted):
        name = topics.get(topic, topic)
        if (name, partition) not in bounds:
            link = crossing.link_of(topic)
            raise Refused(
                f"{crossing.target} has no partition {partition} of topic {name}",
                hint=f"does the mirror run?  tidegate mirror status {link.name}"
                if link is not None
                else f"no mirror link of the fleet file brings {topic} from {crossing.source} to {crossing.target}; "
                f"if it has another name there:  --topic {topic}=NEW",
            )


async def _syncs(crossing: Crossing) -> OffsetSyncs:
    try:
        return await OffsetSyncs.of(crossing.target_kafka, crossing.source)
    except InvalidInput as error:
        raise Refused(
            f"positions cannot be moved from {crossing.source} to {crossing.target}: no mirror link of the fleet file "
            f"brings the topics, and there are no offset syncs ({error.message})"
            if not crossing.links
            else f"there are no offset syncs of {crossing.source} in {crossing.target} ({error.message})",
            hint="describe the mirror link under `mirrors:` in the fleet file, and run it",
        ) from error

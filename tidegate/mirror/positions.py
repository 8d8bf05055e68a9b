"""Positions across a mirror: has it passed an offset, and which offset in the target is which in the source.

Offsets of source and target drift apart: markers and aborted records take offsets on one side and none on the other.
So nothing is ever computed by adding; a position is *found*, by the hop header of what stands in the target's log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from tidegate.clients.kafka_types import KafkaClient, LogRecord, TopicPartition
from tidegate.errors import InvalidInput, OperationFailed, Unavailable
from tidegate.mirror.link import MirrorLink, check_mirrored
from tidegate.mirror.provenance import Mirrored, of_headers

SCAN_OFFSETS: Final = 256
"""Where this few offsets are left, they are read one after the other instead of being halved again."""
LOG_END: Final = 2**63 - 1
"""As an upper bound: wherever the log ends."""
PROBE_BYTES: Final = 64 << 10
"""A probe wants one record: the broker gives one batch at least, however small this is."""
FETCH_BYTES: Final = 4 << 20
_AT_ONCE: Final = 16
"""So many partitions are read at once."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A committed record in the target that came from the source: its offset and time there, and its provenance."""

    offset: int
    timestamp_ms: int
    mirrored: Mirrored

    @property
    def source_offset(self) -> int:
        """Where it stands in the source."""
        return self.mirrored.hop.offset


@dataclass(frozen=True, slots=True)
class Translation:
    """Where reading goes on in the target for a position (next offset to read) in the source.

    ``offset`` is the next offset to read in the target, ``at`` the record there. ``beyond``: no record at or behind
    the position has come. Then ``offset`` is the one behind the last record that came, ``at`` is None, and what the
    source holds from ``came_to`` (its next offset; None: nothing came) to the position is not in the target.
    ``first``: no record of before the position is in the target's log (any more), so nothing proves by itself that
    ``at`` is the first one behind it. ``behind``: the first offset of the target behind the last record of before the
    position; whatever is committed from there to ``offset`` has come without provenance.
    """

    offset: int
    at: Hop | None
    beyond: bool
    came_to: int | None
    first: bool = False
    behind: int = 0


async def passed(link: MirrorLink, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, bool]:
    """Whether the mirror has passed E(N), the last data offset that counts, on each partition (X5).

    By the connector's committed source offset, which is atomic with the data; by the provenance of the last record in
    the target where Connect does not answer or knows no offset. ``ends`` below 0 (no output yet) are passed.

    Raises:
        InvalidInput: the link does not mirror a topic.
        Unavailable: neither can be asked.

    """
    return await passed_position(link, {tp: end + 1 for tp, end in ends.items()})


async def passed_position(link: MirrorLink, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, bool]:
    """Whether the mirror has passed a position (next offset to read, as I(N)) on each partition (X5).

    Passed is: nothing committed that would be mirrored stands in the source between what came and the position.
    Markers and aborted records take offsets, so an offset alone cannot say it; idle partitions do not block.

    Raises:
        InvalidInput: the link does not mirror a topic.
        Unavailable: the source cannot be asked, and what came does not reach the position by itself.

    """
    wanted = {tp: position for tp, position in positions.items() if position > 0}
    known = await mirrored_to(link, wanted)
    short = {
        tp: (came, position) for tp, position in wanted.items() if (came := known[tp]) is None or came < position - 1
    }
    return dict.fromkeys(positions, True) | await nothing_left(link, short)


async def mirrored_to(link: MirrorLink, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int | None]:
    """The last source offset of each partition that is in the target, committed; None: nothing of it is.

    Raises as ``passed``.
    """
    for tp in partitions:
        check_mirrored(link, tp)
    offsets = await connector_offsets(link) or {}
    found: dict[TopicPartition, int | None] = {tp: offsets.get(tp) for tp in partitions}
    unknown = [tp for tp, came in found.items() if came is None]
    if unknown:
        there = await target_partitions(link)
        asked = [tp for tp in unknown if tp in there]
        last = await last_hops(link.target_kafka, link.source, asked)
        found |= {tp: hop.source_offset if hop is not None else None for tp, hop in last.items()}
    return found


async def target_partitions(link: MirrorLink) -> set[TopicPartition]:
    """The partitions of the link's topics that are in the target already. Raises Unavailable."""
    known = await link.target_kafka.topics()
    there = [topic for topic in link.topics if topic in known]
    return set(await link.target_kafka.end_offsets(there)) if there else set()


async def connector_offsets(link: MirrorLink) -> dict[TopicPartition, int] | None:
    """The connector's committed source offsets; None where Connect does not answer, for provenance says it then."""
    try:
        return await link.connect.mirror_offsets(link.connector, link.source) or {}
    except Unavailable:
        return None


async def nothing_left(
    link: MirrorLink, wanted: Mapping[TopicPartition, tuple[int | None, int]]
) -> dict[TopicPartition, bool]:
    """Whether the source holds nothing between what came (exclusive) and a position that would be mirrored.

    ``wanted``: by partition the last offset that came (None: nothing) and the position. False as well where that cannot
    be known any more: an open transaction, or a log that begins behind what came.
    """
    if not wanted:
        return {}
    kafka, topics = link.source_kafka, sorted({tp.topic for tp in wanted})
    # Asked for all at once: a drain looks again and again, with nobody writing, and a link has many partitions.
    starts, stable = await asyncio.gather(kafka.start_offsets(topics), kafka.last_stable_offsets(topics))
    gate = asyncio.Semaphore(_AT_ONCE)

    async def nothing(tp: TopicPartition, came: int | None, position: int) -> bool:
        first = starts[tp] if came is None else came + 1
        if stable[tp] < position or first < starts[tp]:
            return False
        async with gate:
            return await count_left(link, tp, first, position, at_most=1) == 0

    told = await asyncio.gather(*(nothing(tp, came, position) for tp, (came, position) in wanted.items()))
    return dict(zip(wanted, told, strict=True))


async def count_left(link: MirrorLink, tp: TopicPartition, first: int, end: int, *, at_most: int) -> int:
    """Committed records of the source in [first, end) that would be mirrored; counting ends at ``at_most``.

    Where a link leads the other way, those that it brought are left out: they are dropped by the transform.
    """
    if first >= end:
        return 0
    if not link.returns:
        return (await link.source_kafka.committed_data_count(tp, first, end)).count
    count = 0
    async with aclosing(_records(link.source_kafka, tp, first, end, FETCH_BYTES)) as records:
        async for record in records:
            known = of_headers(record.headers)
            if known is None or known.origin.cluster != link.target:
                count += 1
            if count >= at_most:
                break
    return count


async def translate(
    link: MirrorLink, tp: TopicPartition, offset: int, within: tuple[int, int] | None = None
) -> Translation:
    """The exact place in the target of a source position (next offset to read), by provenance (X20).

    ``within`` bounds the search to a segment of the target's log, [first, end): a lineage's segments are searched one
    by one. Committed records only; their hop offsets rise with their place, so it is a binary search.

    Raises:
        InvalidInput: the link does not mirror the topic, or it is not in the target.
        OperationFailed: hop offsets do not rise with place: not a log that one exactly-once mirror wrote.
        Unavailable: the target did not answer.

    """
    check_mirrored(link, tp)
    return await search(link.target_kafka, link.source, tp, offset, within)


async def search(
    kafka: KafkaClient, source: str, tp: TopicPartition, offset: int, within: tuple[int, int] | None = None
) -> Translation:
    """As ``translate``, in the log of ``kafka``, for a position of the region ``source``; no link is asked."""
    start, stable = await _bounds(kafka, tp)
    low, high = (max(start, within[0]), min(stable, within[1])) if within is not None else (start, stable)
    begin = low
    before: Hop | None = None
    answer: Hop | None = None
    while high - low > SCAN_OFFSETS:
        middle = (low + high) // 2
        hop = await _first_hop(kafka, source, tp, middle, high)
        if hop is None:
            high = middle
        elif hop.source_offset >= offset:
            answer, high = hop, middle
        else:
            before, low = hop, hop.offset + 1
    async with aclosing(hops(kafka, source, tp, low, high, FETCH_BYTES)) as rest:
        async for hop in rest:
            if before is not None and hop.source_offset <= before.source_offset:
                raise OperationFailed(
                    f"{tp} as {source} has it: its offset {hop.source_offset:,} stands at {hop.offset:,}, behind "
                    f"{before.source_offset:,} at {before.offset:,}: positions cannot be found in this log",
                    hint="was it mirrored without exactly once, or were the connector's offsets set back?",
                )
            if hop.source_offset >= offset:
                answer = hop
                break
            before = hop
    behind = begin if before is None else before.offset + 1
    if answer is not None:
        return Translation(answer.offset, answer, False, answer.source_offset + 1, first=before is None, behind=behind)
    if before is None:
        return Translation(begin, None, beyond=True, came_to=None, first=True, behind=behind)
    return Translation(behind, None, beyond=True, came_to=before.source_offset + 1, behind=behind)


async def last_hop(kafka: KafkaClient, source: str, tp: TopicPartition) -> Hop | None:
    """The newest committed record of the source's partition in the target, read backwards in growing steps."""
    start, high = await _bounds(kafka, tp)
    step = SCAN_OFFSETS
    while high > start:
        low = max(start, high - step)
        found: Hop | None = None
        async with aclosing(hops(kafka, source, tp, low, high, FETCH_BYTES)) as rest:
            async for hop in rest:
                found = hop
        if found is not None:
            return found
        high, step = low, step * 4
    return None


async def last_hops(
    kafka: KafkaClient, source: str, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, Hop | None]:
    """``last_hop`` of many partitions, some at once."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def last(tp: TopicPartition) -> Hop | None:
        async with gate:
            return await last_hop(kafka, source, tp)

    return dict(zip(partitions, await asyncio.gather(*map(last, partitions)), strict=True))


async def hops(
    kafka: KafkaClient, source: str, tp: TopicPartition, first: int, end: int, max_bytes: int
) -> AsyncGenerator[Hop, None]:
    """Committed records in [first, end) of the target that the mirror from ``source`` brought, in order.

    Raises OperationFailed for one that it brought from another partition: names and numbers are kept (identity).
    """
    async with aclosing(_records(kafka, tp, first, end, max_bytes)) as records:
        async for record in records:
            known = of_headers(record.headers)
            if known is None or known.hop.cluster != source:
                continue
            if known.hop.tp != tp:
                raise OperationFailed(f"{tp} at {record.offset:,} came from {known.hop.tp} of {source}; expected {tp}")
            yield Hop(record.offset, record.timestamp_ms, known)


async def _first_hop(kafka: KafkaClient, source: str, tp: TopicPartition, first: int, end: int) -> Hop | None:
    async with aclosing(hops(kafka, source, tp, first, end, PROBE_BYTES)) as found:
        async for hop in found:
            return hop
    return None


async def _bounds(kafka: KafkaClient, tp: TopicPartition) -> tuple[int, int]:
    """Log start and last stable offset."""
    stable = await kafka.last_stable_offsets([tp.topic])
    if tp not in stable:
        raise InvalidInput(f"topic {tp.topic} has no partition {tp.partition}")
    return (await kafka.start_offsets([tp.topic]))[tp], stable[tp]


async def _records(
    kafka: KafkaClient, tp: TopicPartition, first: int, end: int, max_bytes: int
) -> AsyncGenerator[LogRecord, None]:
    async for record in kafka.records(tp, first, end, max_bytes):
        yield record

"""Feeding a topic what a returned region had taken and never brought over, once, whoever does it and how often (X23).

First who fed it before is fenced (``kafka_feed``), then the topic is read, and only then is anything written: what an
attempt that died has written is found by the place that each record carries, and nothing of it comes after the look.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from tidegate import names
from tidegate.clients import kafka_feed
from tidegate.clients.kafka_types import KafkaClient, LogRecord, TopicPartition
from tidegate.failover.heldtail import HeldTail
from tidegate.failover.sides import Sides
from tidegate.failover.tailreaders import Rule
from tidegate.mirror.link import access_of
from tidegate.mirror.provenance import HOP, ORIGIN, Provenance, decode, encode, of_headers
from tidegate.model.fleet import RecordId
from tidegate.operation.run import Deadline

FED: Final = "tidegate.fed"
"""Header: where a record stood that never crossed, in the form of the provenance headers."""
SETTLE_S: Final = 60.0
PORTION_RECORDS: Final = 5_000
PORTION_BYTES: Final = 8 << 20
BEAT_EVERY: Final = 10_000


@dataclass(frozen=True)
class Beyond:
    """What stands in a partition of the region beyond the cut: [first, end) of its log, and when it was cut.

    ``lost``: so many offsets before ``first`` that its log does not hold any more. ``turn``: the segment's.
    """

    tp: TopicPartition
    first: int
    end: int
    cut_at_ms: int
    lost: int = 0
    turn: int = 0


@dataclass
class Sorted:
    """What became of the inputs of a topic's tail. ``held``: how many, by why."""

    inputs: int = 0
    fed: int = 0
    known: int = 0
    ahead: int = 0
    held: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _There:
    """What stands in the topic where it lives: ids of the tail's records, and the places of what was fed before."""

    ids: set[bytes]
    places: set[tuple[TopicPartition, int]]


async def sort_out(sides: Sides, topic: str, tails: Sequence[Beyond], rule: Rule, held: HeldTail) -> Sorted:
    """Feed what is to be fed of a topic's tail, and hold what is to be held.

    Raises:
        Superseded: another operation has the deployment.
        NoProgress: an open transaction hides what stands in the topic.
        Refused: Kafka does not let Tidegate write it.
        Unavailable: done again, what was fed is found.

    """
    home, away = sides.home.site, sides.away.site
    found = Sorted()
    async with AsyncExitStack() as stack:
        feed: kafka_feed.Feed | None = None
        if rule.hold is None:
            bootstrap, security = access_of(sides.fleet, away.region)
            fence = names.tail_feed_id(home.region, topic)
            feed = await stack.enter_async_context(kafka_feed.open_feed(bootstrap, security, away.kafka, fence))
        there = await _look(sides, topic, tails, rule)
        for beyond in tails:
            portion = _Portion(sides, beyond.tp, feed)
            async with aclosing(_records(home.kafka, beyond.tp, beyond.first, beyond.end)) as tail:
                async for record in tail:
                    came = of_headers(record.headers)
                    if came is not None and came.origin.cluster == away.region:
                        continue  # the mirror back has brought it since
                    found.inputs += 1
                    had = rule.had(beyond.tp, record.offset)
                    own = ids_of(record, rule.by)
                    if (beyond.tp, record.offset) in there.places:
                        found.fed += 1
                    elif had is True:
                        found.ahead += 1
                    elif there.ids.intersection(own):
                        found.known += 1
                    elif (why := _against(had, own, rule)) is not None:
                        there.ids.update(own)
                        found.held[why] = found.held.get(why, 0) + 1
                        await held.add(beyond.tp, record, why)
                    else:
                        there.ids.update(own)  # sent twice within the tail, it is fed once
                        await portion.add(_moved(record, home.region, beyond.tp))
                        found.fed += 1
            await portion.write()
    return found


def _against(had: bool | str, own: list[bytes], rule: Rule) -> str | None:
    """Why a record that nobody is known to have is not fed; None: it is."""
    if isinstance(had, str):
        return had
    if rule.hold is not None:
        return rule.hold
    return None if own else "they carry no id by record_id, so they cannot be told from ones sent again"


class _Portion:
    """So much as one transaction writes."""

    def __init__(self, sides: Sides, tp: TopicPartition, feed: kafka_feed.Feed | None) -> None:
        self._sides, self._tp, self._feed = sides, tp, feed
        self._records: list[LogRecord] = []
        self._bytes = 0

    async def add(self, record: LogRecord) -> None:
        self._records.append(record)
        self._bytes += len(record.key or b"") + len(record.value or b"")
        if len(self._records) >= PORTION_RECORDS or self._bytes >= PORTION_BYTES:
            await self.write()

    async def write(self) -> None:
        if not self._records or self._feed is None:
            return
        await self._sides.away.tenure.read()  # who has lost the deployment feeds nothing more
        self._sides.beat({"phase": "tail", "partition": str(self._tp), "feeding": self._records[-1].offset})
        await self._feed.write(self._tp.topic, self._tp.partition, self._records)
        self._records, self._bytes = [], 0


async def _look(sides: Sides, topic: str, tails: Sequence[Beyond], rule: Rule) -> _There:
    """Read the topic where it lives for what is in the tail, too. What had been read before counts as being there."""
    home, away, by = sides.home.site, sides.away.site, rule.by
    wanted: set[bytes] = set()
    there = _There(set(), set())
    if by is not None:
        for beyond in tails:
            async with aclosing(_records(home.kafka, beyond.tp, beyond.first, beyond.end)) as records:
                async for record in records:
                    own = ids_of(record, by)
                    wanted.update(own)
                    if rule.had(beyond.tp, record.offset) is True:
                        there.ids.update(own)
    ends = await _settled(sides, topic)
    starts = await away.kafka.start_offsets([topic])
    ranges = {beyond.tp: (beyond.first, beyond.end) for beyond in tails}
    looked = 0
    for tp, end in ends.items():
        async with aclosing(_records(away.kafka, tp, starts[tp], end)) as records:
            async for record in records:
                looked += 1
                if looked % BEAT_EVERY == 0:
                    sides.beat({"phase": "tail", "looked_at": looked, "partition": str(tp)})
                stood = place_fed(record)
                first, until = ranges.get(stood.tp, (0, 0)) if stood is not None else (0, 0)
                if stood is not None and stood.cluster == home.region and first <= stood.offset < until:
                    there.places.add((stood.tp, stood.offset))
                there.ids.update(wanted.intersection(ids_of(record, by)))
    return there


async def _settled(sides: Sides, topic: str) -> dict[TopicPartition, int]:
    """The ends of the topic as they are now, once nothing before them is open: else what was fed could be hidden."""
    kafka = sides.away.site.kafka
    ends = await kafka.end_offsets([topic])
    deadline = Deadline(f"{topic} in {sides.away.site.region} to be readable to its end", SETTLE_S)
    while True:
        stable = await kafka.last_stable_offsets([topic])
        behind = sorted(tp for tp, end in ends.items() if stable.get(tp, 0) < end)
        if not behind:
            return ends
        await deadline.pause(f"{behind[0]} holds an open transaction at {stable.get(behind[0], 0):,}")


def _moved(record: LogRecord, region: str, tp: TopicPartition) -> LogRecord:
    """The record with the place where it stood; what it carried of mirrors goes."""
    place = encode(Provenance(region, tp.topic, tp.partition, record.offset))
    kept = tuple(header for header in record.headers if header[0] not in {ORIGIN, HOP, FED})
    return replace(record, headers=(*kept, (FED, place)))


def place_fed(record: LogRecord) -> Provenance | None:
    """Where a record that was fed had stood; None: it was not."""
    found = next((value for name, value in record.headers if name == FED and value is not None), None)
    return None if found is None else decode(found)


def ids_of(record: LogRecord, by: RecordId | None) -> list[bytes]:
    """What tells a record from others, by the fleet file."""
    if by is None:
        return []
    if by.header is not None:
        return [value for name, value in record.headers if name == by.header and value is not None]
    if by.column is None or record.value is None:
        return []
    return record.value.split(by.separator.encode())[by.column : by.column + 1]


async def _records(kafka: KafkaClient, tp: TopicPartition, first: int, end: int) -> AsyncGenerator[LogRecord, None]:
    async for record in kafka.records(tp, first, end):
        yield record

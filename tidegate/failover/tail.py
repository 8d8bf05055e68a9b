"""What a lost region took beyond the cut: its log cannot be cut off, so it is said not to count there (X23).

Inputs that never crossed are fed into the region where the deployment lives now, if the fleet file says so: but those
that their producers have sent again (by record id), and those that the state had read before (X22). What is fed
carries the place where it stood (header ``tidegate.fed``), so that an attempt that died is gone on with and nothing
comes twice. It is a record of the region that it is fed into, and has no origin elsewhere: else the mirror back would
drop it on its way to where it once stood, and that region's log, where the tail does not count, would lack it.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from tidegate.clients import kafka_feed
from tidegate.clients.kafka_types import KafkaClient, LogRecord, TopicPartition
from tidegate.clients.objects import S3Uri
from tidegate.failover.sides import Sides
from tidegate.lineage.model import Excluded, Segment
from tidegate.mirror.link import access_of
from tidegate.mirror.provenance import HOP, ORIGIN, Provenance, decode, encode, of_headers
from tidegate.model.fleet import RecordId
from tidegate.model.record import DeploymentRecord
from tidegate.model.returning import ReturnStep, TailFact
from tidegate.snapshot.rebased import REBASED_NAME, RebasedRecord

FED: Final = "tidegate.fed"
"""Header: where a record stood that never crossed, in the form of the provenance headers."""


@dataclass(frozen=True)
class Beyond:
    """What stands in a partition of the region beyond the cut: [first, end) of its log, and the cut where it lives."""

    tp: TopicPartition
    first: int
    end: int
    cut: int


async def set_apart(sides: Sides, request: ReturnStep) -> TailFact:
    """Feed what the fleet file says, then exclude what stands beyond the cut in the region's own log.

    Raises Superseded, Unavailable. Done again, what was fed is found by its origin, and what is excluded stands once.
    """
    record = await sides.away.tenure.read()
    read_before = await _read_before(sides, record)
    site = sides.away.site
    spec = sides.fleet.deployment(sides.deployment)
    inputs = outputs = fed = known = ahead = held = 0
    notes: list[str] = []
    for topic in request.topics.turn:
        for beyond in await _beyond(sides, topic):
            is_input = topic not in site.output_topics
            count = (await sides.home.site.kafka.committed_data_count(beyond.tp, beyond.first, beyond.end)).count
            if is_input:
                inputs += count
                if spec.tail == "feed" and spec.record_id is not None and count:
                    done = await _feed(sides, beyond, spec.record_id, read_before.get(beyond.tp, 0))
                    fed, known, ahead = fed + done[0], known + done[1], ahead + done[2]
                else:
                    held += count
            else:
                outputs += count
            why = "never crossed (X23)" if is_input else "superseded (X21)"
            gone = Excluded(
                region=sides.home.site.region, first=beyond.first, last=beyond.end - 1, why=why, by=sides.operation
            )
            await sides.lineage.exclude(topic, sides.operation, beyond.tp.partition, [gone])
    if held:
        why = "the fleet file says so" if spec.tail == "hold" else f"deployments.{sides.deployment}.tail is {spec.tail}"
        if spec.tail == "feed":
            why = f"deployments.{sides.deployment}.record_id is not given, so none can be told from one sent again"
        notes.append(f"{held:,} inputs were not fed: {why}; they stand in {sides.home.site.region}, excluded")
    return TailFact(inputs=inputs, outputs=outputs, fed=fed, known=known, ahead=ahead, held=held, notes=tuple(notes))


async def _beyond(sides: Sides, topic: str) -> list[Beyond]:
    """The partitions of the region's log that go on beyond the cut."""
    lineage = await sides.lineage.read(topic)
    if lineage is None:
        return []
    region = sides.home.site.region
    ends = await sides.home.site.kafka.last_stable_offsets([topic])
    found: list[Beyond] = []
    for tp, end in sorted(ends.items()):
        partition = lineage.partitions.get(str(tp.partition))
        left = _left(partition.segments, region) if partition is not None else None
        if left is None or left[0].end is None:
            continue
        first, until = left[0].end, await _until_mirrored(sides, tp, left[0].end, end)
        if until > first:
            found.append(Beyond(tp, first, until, left[1].first))
    return found


async def _until_mirrored(sides: Sides, tp: TopicPartition, first: int, end: int) -> int:
    """Where the mirror back begins in the region's log: what it has brought counts. It starts after the quarantine, so
    nothing of the region itself comes behind its first record.
    """
    async with aclosing(_records(sides.home.site.kafka, tp, first, end)) as records:
        async for record in records:
            came = of_headers(record.headers)
            if came is not None and came.hop.cluster == sides.away.site.region:
                return record.offset
    return end


def _left(segments: tuple[Segment, ...], region: str) -> tuple[Segment, Segment] | None:
    """The last segment of the region and the one after it; None: it lives there, or never did."""
    pairs = [(one, after) for one, after in itertools.pairwise(segments) if one.region == region]
    return pairs[-1] if pairs and segments[-1].region != region else None


async def _feed(sides: Sides, beyond: Beyond, by: RecordId, read_before: int) -> tuple[int, int, int]:
    """How many were fed (now or by an attempt before), were known, and were read by the state before."""
    away, home = sides.away.site, sides.home.site
    ids: set[bytes] = set()
    origins: set[int] = set()
    for tp, end in (await away.kafka.last_stable_offsets([beyond.tp.topic])).items():
        starts = await away.kafka.start_offsets([beyond.tp.topic])
        async with aclosing(_records(away.kafka, tp, starts[tp], end)) as records:
            async for record in records:
                stood = _fed(record)
                if stood is not None and stood.cluster == home.region and stood.tp == beyond.tp:
                    origins.add(stood.offset)
                ids.update(_ids([record], by))
    fresh: list[LogRecord] = []
    fed = known = ahead = 0
    async with aclosing(_records(home.kafka, beyond.tp, beyond.first, beyond.end)) as tail:
        async for record in tail:
            came = of_headers(record.headers)
            if came is not None and came.origin.cluster == away.region:
                continue  # the mirror back has brought it since
            if record.offset in origins:
                fed += 1
            elif record.offset < read_before:
                ahead += 1
            elif ids.intersection(_ids([record], by)):
                known += 1
            else:
                ids.update(_ids([record], by))  # sent twice within the tail, it is fed once
                fresh.append(_from(record, home.region, beyond.tp))
    if fresh:
        bootstrap, security = access_of(sides.fleet, away.region)
        await kafka_feed.feed(bootstrap, security, beyond.tp.topic, beyond.tp.partition, fresh)
    return fed + len(fresh), known, ahead


def _from(record: LogRecord, region: str, tp: TopicPartition) -> LogRecord:
    """The record with the place where it stood; what it carried of mirrors goes."""
    place = encode(Provenance(region, tp.topic, tp.partition, record.offset))
    kept = tuple(header for header in record.headers if header[0] not in {ORIGIN, HOP})
    return replace(record, headers=(*kept, (FED, place)))


def _fed(record: LogRecord) -> Provenance | None:
    """Where a record that was fed had stood; None: it was not."""
    found = next((value for name, value in record.headers if name == FED and value is not None), None)
    return None if found is None else decode(found)


def _ids(records: Iterable[LogRecord], by: RecordId) -> list[bytes]:
    found: list[bytes] = []
    for record in records:
        if by.header is not None:
            found += [value for name, value in record.headers if name == by.header and value is not None]
        elif by.column is not None and record.value is not None:
            columns = record.value.split(by.separator.encode())
            found += columns[by.column : by.column + 1]
    return found


async def _read_before(sides: Sides, record: DeploymentRecord) -> dict[TopicPartition, int]:
    """The next input offset of the lost region that the state had read up to, by the copy that was started from."""
    base = record.base
    if base is None or "/copy-" not in base.location:
        return {}
    found = await sides.away.site.snapshots.get_or_none(S3Uri.parse(base.location).join(REBASED_NAME))
    if found is None:
        return {}
    known: dict[TopicPartition, int] = {}
    for one in RebasedRecord.model_validate_json(found.body).moved:
        tp = TopicPartition(str(one["topic"]), int(str(one["partition"])))
        known[tp] = max(known.get(tp, 0), int(str(one["offset"])))
    return known


async def _records(kafka: KafkaClient, tp: TopicPartition, first: int, end: int) -> AsyncGenerator[LogRecord, None]:
    async for record in kafka.records(tp, first, end):
        yield record

"""What mirror links say, and what stands on the newest records of topics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Final

from tidegate.clients.kafka_types import KafkaClient, LogRecord, TopicPartition
from tidegate.errors import Unavailable
from tidegate.mirror.link import MirrorLink
from tidegate.mirror.provenance import of_headers
from tidegate.mirror.status import MirrorStatus, look
from tidegate.model.fleet import RecordId
from tidegate.readiness.facts import LinkFacts
from tidegate.readiness.reach import Reach

NEWEST_OFFSETS: Final = 500
"""So far below the end the newest record is looked for: markers and aborted records lie between."""
FETCH_BYTES: Final = 1 << 20


async def look_at_link(reach: Reach, name: str) -> LinkFacts:
    """How far it is, and whether it is as the fleet file says. Raises as ``mirror.status.look``."""
    async with reach.link(name) as link:
        status = await look(link)
        try:
            known = await link.connect.config(link.connector)
        except Unavailable:
            known = None  # its status says so already
        provenance: dict[str, bool] = {}
        if not any(part.startswith("target:") for part in status.unreachable):
            provenance = await _provenance(link, status)
    return LinkFacts(status=status, differs=differences(link.config, known), provenance=provenance)


async def look_at_way_back(reach: Reach, name: str) -> str:
    """What Connect says of a link that leads back: that it answers is what a failback needs. Raises Unavailable."""
    async with reach.link(name) as link:
        known = await link.connect.status(link.connector)
    return "not made yet" if known is None else known.connector.state.value


def differences(wanted: Mapping[str, str], known: Mapping[str, str] | None) -> tuple[str, ...]:
    """The settings that are not as wanted, by name: values may be secrets. None: there is no connector."""
    if known is None:
        return ()
    return tuple(sorted(key for key in {*wanted, *known} if wanted.get(key) != known.get(key)))


async def _provenance(link: MirrorLink, status: MirrorStatus) -> dict[str, bool]:
    """Of each topic of which something was mirrored: whether one of the newest records there says where it is from."""
    came = {TopicPartition(one.topic, one.partition) for one in status.partitions if one.mirrored is not None}
    found: dict[str, bool] = {}
    for topic in await link.target_kafka.describe_topics({tp.topic for tp in came}):  # one that is gone is told so
        records = await newest(link.target_kafka, [tp for tp in came if tp.topic == topic])
        if records:
            found[topic] = any(of_headers(record.headers) is not None for record in records)
    return found


async def newest(kafka: KafkaClient, partitions: Iterable[TopicPartition]) -> list[LogRecord]:
    """The newest committed record of each partition that has one near its end. Raises Unavailable, Refused."""
    found = []
    wanted = sorted(partitions)
    topics = sorted({tp.topic for tp in wanted})
    starts, stable = await kafka.start_offsets(topics), await kafka.last_stable_offsets(topics)
    for tp in wanted:
        low, end = max(starts.get(tp, 0), stable.get(tp, 0) - NEWEST_OFFSETS), stable.get(tp, 0)
        last: LogRecord | None = None
        if low < end:
            async with aclosing(kafka.records(tp, low, end, FETCH_BYTES)) as records:  # type: ignore[type-var]
                async for record in records:
                    last = record
        if last is not None:
            found.append(last)
    return found


async def look_at_ids(reach: Reach, region: str, topics: Iterable[str], rule: RecordId) -> dict[str, bool]:
    """By topic whether its newest records carry the id; topics that are not there, or empty, are left out."""
    found: dict[str, bool] = {}
    has = has_id(rule)
    async with reach.kafka(region) as kafka:
        await kafka.ping()
        for name, topic in (await kafka.describe_topics(list(topics))).items():
            records = await newest(kafka, [TopicPartition(name, number) for number in range(topic.partitions)])
            if records:
                found[name] = all(has(record) for record in records)
    return found


def has_id(rule: RecordId) -> Callable[[LogRecord], bool]:
    """Whether a record carries its id where the fleet file says."""

    def in_header(record: LogRecord) -> bool:
        return any(name == rule.header and value for name, value in record.headers)

    def in_column(record: LogRecord) -> bool:
        try:
            columns = (record.value or b"").decode().split(rule.separator)
        except UnicodeDecodeError:
            return False
        return rule.column is not None and len(columns) > rule.column and bool(columns[rule.column].strip())

    return in_header if rule.header is not None else in_column

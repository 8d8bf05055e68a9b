"""What a job of an old epoch has committed late, by the log of its own region, and whether any of it counts (X14, X16).

It is counted from batch headers: whose a transaction is, the broker says by its id; when it was committed, the marker's
own time, which is the broker's.
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.stage import DEPLOYMENT, OUTPUT_TOPIC
from tests.integration.failover.scene import Scene
from tidegate.clients.kafka_types import Batch, ControlType, KafkaClient, TopicPartition
from tidegate.lineage.read import counted
from tidegate.mirror.provenance import of_headers
from tidegate.names import epoch_of_transactional_id


@dataclass(frozen=True)
class Late:
    """Records of one batch that was committed late: their first and last offset in the region's log."""

    tp: TopicPartition
    first: int
    last: int
    records: int


async def committed_since(kafka: KafkaClient, epoch: int, since_ms: int) -> list[Late]:
    """The output that jobs up to this epoch have committed after a time, in this Kafka."""
    producers = {
        one.producer_id
        for one in await kafka.list_transactions(f"tg.{DEPLOYMENT}.")
        if (epoch_of_transactional_id(one.transactional_id) or 0) <= epoch
    }
    starts, ends = await kafka.start_offsets([OUTPUT_TOPIC]), await kafka.end_offsets([OUTPUT_TOPIC])
    found: list[Late] = []
    for tp, end in ends.items():
        open_of: dict[int, list[Batch]] = {}
        for batch in await kafka.batch_headers(tp, starts[tp], end) if starts[tp] < end else []:
            if batch.producer_id not in producers:
                continue
            if not batch.is_control:
                open_of.setdefault(batch.producer_id, []).append(batch)
                continue
            wrote = open_of.pop(batch.producer_id, [])
            if batch.control_type is ControlType.COMMIT and batch.max_timestamp_ms > since_ms:
                found += [Late(tp, one.base_offset, one.last_offset, one.records) for one in wrote]
    return found


def records_of(late: list[Late]) -> int:
    return sum(one.records for one in late)


async def beyond_the_cut(scene: Scene, region: str, late: list[Late]) -> int:
    """How many of them stand behind the region's last segment. (Before it stand those of interleaved transactions.)"""
    partitions = (await scene.lineage(OUTPUT_TOPIC)).partitions
    count = 0
    for one in late:
        ends = [part.end for part in partitions[str(one.tp.partition)].segments if part.region == region]
        cut = ends[-1] if ends else 0
        assert cut is not None, f"{one.tp} lives in {region}"
        count += max(0, one.last + 1 - max(one.first, cut))
    return count


async def that_count(scene: Scene, region: str, late: list[Late], *, in_its_log: bool) -> list[Late]:
    """Those of them that a reader would take who goes by the lineage, over both regions.

    ``in_its_log``: also one who reads all of it in that region's log, as can be done once the region has returned.
    """
    partitions = (await scene.lineage(OUTPUT_TOPIC)).partitions
    found: list[Late] = []
    for one in late:
        known = partitions[str(one.tp.partition)]
        stretches = [*counted(known), *(counted(known, region) if in_its_log else ())]
        there = [stretch for stretch in stretches if stretch.region == region]
        taken = [at for at in range(one.first, one.last + 1) if any(stretch.counts(at) for stretch in there)]
        found += [Late(one.tp, min(taken), max(taken), len(taken))] if taken else []
    return found


async def came_over(scene: Scene, source: str, target: str, late: list[Late]) -> int:
    """How many of them the mirror has brought to the other region."""
    places = {(one.tp.partition, offset) for one in late for offset in range(one.first, one.last + 1)}
    count = 0
    for records in (await scene.everything(target, OUTPUT_TOPIC)).values():
        for record in records:
            came = of_headers(record.headers)
            if came is not None and came.hop.cluster == source:
                count += (came.hop.partition, came.hop.offset) in places
    return count

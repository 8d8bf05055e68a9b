"""What the output logs say of a snapshot: which committed output came after it, and what became of its own (X3, X4).

Several subtasks interleave in one partition, and the next interval is written before the last one is committed, so no
offset separates them. Batches do: each names its producer, the broker says which transactional id that is, and the id
ends in the checkpoint that its records are part of (incrementing names; pooled ones say nothing and are refused).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from tidegate import names
from tidegate.clients.kafka_types import Batch, ControlType, KafkaClient, TopicPartition
from tidegate.lineage.store import LineageStore
from tidegate.model.operation import ReplayRange
from tidegate.operation.site import Site
from tidegate.snapshot.sinks import Committable

LOOK_BACK = timedelta(minutes=30)
"""A transaction of a snapshot began at most its time-out before it (brokers allow 15 minutes), a checkpoint takes at
most its own (10 minutes): what belongs to a snapshot was not written earlier than this before it was complete."""
BROKER_FORGETS = timedelta(days=6)
"""After a week the broker forgets an id (``transactional.id.expiration.ms``); what is older cannot be attributed."""


class Fate(StrEnum):
    """What became of a batch, by the markers in its log."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Written:
    """A data batch and its fate."""

    batch: Batch
    fate: Fate


def fates(batches: Iterable[Batch]) -> list[Written]:
    """The data batches of one partition in log order: a marker decides all that its producer wrote since the last."""
    found: list[Written] = []
    open_at: dict[int, list[int]] = {}
    for batch in batches:
        if batch.is_control:
            fate = Fate.COMMITTED if batch.control_type is ControlType.COMMIT else Fate.ABORTED
            for index in open_at.pop(batch.producer_id, []):
                found[index] = Written(found[index].batch, fate)
        elif batch.is_transactional:
            open_at.setdefault(batch.producer_id, []).append(len(found))
            found.append(Written(batch, Fate.OPEN))
        else:
            found.append(Written(batch, Fate.COMMITTED))
    return found


@dataclass(frozen=True)
class Outputs:
    """The output logs of a deployment from some time on, and whose each producer is."""

    logs: dict[TopicPartition, list[Written]]
    starts: dict[TopicPartition, int]
    """First offset that each log still holds."""
    id_of: dict[int, str]
    """Producer id to transactional id, of all ids under the deployment's prefixes."""
    superseded: dict[TopicPartition, tuple[tuple[int, int], ...]]
    """Ranges (first, last) that earlier manifests name."""
    mirrored: dict[TopicPartition, tuple[tuple[int, int | None, int], ...]] = field(default_factory=dict)
    """Ranges (first, end, epoch) that the mirror has filled: what the deployment wrote in another region, and the epoch
    that began there."""

    def fate_of(self, committable: Committable) -> tuple[Fate | None, int]:
        """What the logs say of a transaction, and how many records it has in them. None: nothing of it is there."""
        mine = [
            written
            for log in self.logs.values()
            for written in log
            if (written.batch.producer_id, written.batch.producer_epoch)
            == (committable.producer_id, committable.producer_epoch)
        ]
        records = sum(written.batch.records for written in mine)
        for fate in (Fate.OPEN, Fate.ABORTED, Fate.COMMITTED):
            if any(written.fate is fate for written in mine):
                return fate, records
        return None, 0

    def is_superseded(self, committable: Committable) -> bool:
        """Whether an earlier manifest names its output: what goes on from it would go on from what does not count."""
        return any(
            written.batch.producer_id == committable.producer_id and self._skipped(tp, written.batch)
            for tp, log in self.logs.items()
            for written in log
        )

    def after(self, epoch: int, checkpoint_id: int) -> tuple[ReplayRange, ...]:
        """The committed output after a snapshot, by range: what comes again if one goes on from it.

        A range holds no committed record of anybody else, so that readers may skip it whole; what earlier manifests
        name already is not counted a second time.
        """
        found: list[ReplayRange] = []
        for tp, log in sorted(self.logs.items()):
            first, last, records = -1, -1, 0
            for written in log:
                batch = written.batch
                if written.fate is not Fate.COMMITTED or self._skipped(tp, batch):
                    continue
                if self._is_after(tp, batch, epoch, checkpoint_id):
                    first = batch.base_offset if first < 0 else first
                    last, records = batch.last_offset, records + batch.records
                elif first >= 0:
                    found.append(
                        ReplayRange(topic=tp.topic, partition=tp.partition, first=first, last=last, records=records)
                    )
                    first, last, records = -1, -1, 0
            if first >= 0:
                found.append(
                    ReplayRange(topic=tp.topic, partition=tp.partition, first=first, last=last, records=records)
                )
        return tuple(found)

    def _is_after(self, tp: TopicPartition, batch: Batch, epoch: int, checkpoint_id: int) -> bool:
        transactional_id = self.id_of.get(batch.producer_id)
        if transactional_id is None:
            return any(
                first <= batch.base_offset and (end is None or batch.base_offset < end) and began > epoch
                for first, end, began in self.mirrored.get(tp, ())
            )
        if not batch.is_transactional:
            return False
        place = names.place_of_transactional_id(transactional_id)
        return place is not None and place > (epoch, checkpoint_id)

    def _skipped(self, tp: TopicPartition, batch: Batch) -> bool:
        return any(
            first <= batch.base_offset and batch.last_offset <= last for first, last in self.superseded.get(tp, ())
        )


async def read_outputs(site: Site, since: datetime | None, announced: Sequence[ReplayRange]) -> Outputs:
    """The output logs from ``LOOK_BACK`` before ``since`` on (None: from their starts), as they are now.

    ``announced``: what the manifests that count name. Raises what the Kafka client raises.
    """
    kafka, topics = site.kafka, site.output_topics
    starts = await kafka.start_offsets(topics)
    firsts = starts
    if since is not None:
        firsts = await kafka.offsets_at(topics, int((since - LOOK_BACK).timestamp() * 1000))
    ends = await kafka.end_offsets(topics)
    logs = {tp: fates(await kafka.batch_headers(tp, firsts[tp], end)) for tp, end in ends.items()}
    superseded: dict[TopicPartition, list[tuple[int, int]]] = {}
    for told in announced:
        superseded.setdefault(TopicPartition(told.topic, told.partition), []).append((told.first, told.last))
    return Outputs(
        logs=logs,
        starts=starts,
        id_of=await producers_of(kafka, transactional_roots(site)),
        superseded={tp: tuple(ranges) for tp, ranges in superseded.items()},
        mirrored=await _mirrored(site),
    )


async def _mirrored(site: Site) -> dict[TopicPartition, tuple[tuple[int, int | None, int], ...]]:
    """By the lineage: between what was written here, before a topic was turned and after it was turned back, stands
    what was written elsewhere.
    """
    store = LineageStore(site.control, site.control_bucket)
    found: dict[TopicPartition, list[tuple[int, int | None, int]]] = {}
    for topic in site.output_topics:
        known = await store.read(topic)
        for name, partition in known.partitions.items() if known is not None else ():
            first = 0
            for number, segment in enumerate(partition.segments):
                if segment.region == site.region:
                    first = segment.end if segment.end is not None else first
                    continue
                here = (one.first for one in partition.segments[number:] if one.region == site.region)
                if segment.epoch is not None:
                    found.setdefault(TopicPartition(topic, int(name)), []).append(
                        (first, next(here, None), segment.epoch)
                    )
    return {tp: tuple(ranges) for tp, ranges in found.items()}


def transactional_roots(site: Site) -> tuple[str, ...]:
    """What all transactional ids of the deployment begin with, one a sink: up to the uid, so every epoch (X13)."""
    return tuple(f"tg.{site.deployment}.{sink.uid}." for sink in site.spec.sinks)


async def producers_of(kafka: KafkaClient, roots: Collection[str]) -> dict[int, str]:
    """Producer id to transactional id, of all ids under these prefixes."""
    found = {}
    for root in roots:
        for status in await kafka.list_transactions(root):
            found[status.producer_id] = status.transactional_id
    return found

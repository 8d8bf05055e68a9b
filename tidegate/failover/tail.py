"""What a lost region took beyond the cut: its log cannot be cut off, so it is said not to count there (X23).

Inputs that never crossed are fed into the region where the deployment lives now, if the fleet file says so: but those
that their producers have sent again (by record id), and those that the state had read before (X22). What is fed
carries the place where it stood (header ``tidegate.fed``), so that an attempt that died is gone on with and nothing
comes twice. It is a record of the region that it is fed into, and has no origin elsewhere: else the mirror back would
drop it on its way to where it once stood, and that region's log, where the tail does not count, would lack it.

What the state had read is fed to nobody, and counts where it stands: the region's segment goes on to there. What was
made of it counts, so a reader over both regions' logs must find it, once (X22).
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from tidegate.clients.kafka_types import Batch, ControlType, KafkaClient, LogRecord, TopicPartition
from tidegate.failover.feeding import Beyond, Sorted, sort_out
from tidegate.failover.heldtail import HeldTail
from tidegate.failover.sides import Sides
from tidegate.failover.tailreaders import rule_for
from tidegate.failover.turning import written_from_outside
from tidegate.lineage.model import Excluded, Segment, TopicLineage
from tidegate.mirror.positions import search
from tidegate.mirror.provenance import of_headers
from tidegate.model.record import DeploymentRecord
from tidegate.model.returning import ReturnStep, TailFact


@dataclass
class _Tally:
    inputs: Sorted = field(default_factory=Sorted)
    outputs: int = 0
    zombies: int = 0
    read_to: dict[TopicPartition, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, topic: Sorted) -> None:
        whole = self.inputs
        whole.inputs += topic.inputs
        whole.fed, whole.known, whole.ahead = (
            whole.fed + topic.fed,
            whole.known + topic.known,
            whole.ahead + topic.ahead,
        )
        for why, count in topic.held.items():
            whole.held[why] = whole.held.get(why, 0) + count


async def set_apart(sides: Sides, request: ReturnStep) -> TailFact:
    """Feed or hold the inputs, write out what is held, then exclude what stands beyond the cut in the region's own log.

    Raises as ``feeding.sort_out``. Done again, what was fed is found by its place, and what is excluded stands once.
    """
    record = await sides.away.tenure.read()
    held = HeldTail(
        sides.away.site.control,
        sides.away.site.control_bucket,
        deployment=sides.deployment,
        operation=sides.holder.operation,
        run_id=sides.holder.run_id,
        region=sides.home.site.region,
    )
    tally = _Tally()
    # Also what another deployment has written: it writes it again, and fed it would stand twice.
    written = set(request.topics.turn) - set(written_from_outside(sides.fleet, request.topics.turn))
    beyond: dict[str, list[Beyond]] = {}
    for topic in request.topics.turn:
        beyond[topic] = await _beyond(sides, topic)
        if topic in written:
            await _outputs(sides, beyond[topic], tally)
        else:
            await _inputs(sides, request, record, topic, beyond[topic], held, tally)
    # Nothing counts no more before what is held is written out: else an attempt that died would leave no trace of it.
    held_at = await held.close() if tally.inputs.inputs else None
    for topic, tails in beyond.items():
        for one in tails:
            why = "superseded (X21)" if topic in written else "never crossed (X23)"
            read_to = tally.read_to.get(one.tp, one.first)
            first = one.first - one.lost if read_to == one.first else read_to
            if first < one.end:
                gone = Excluded(
                    region=sides.home.site.region, first=first, last=one.end - 1, why=why, by=sides.operation
                )
                await sides.lineage.exclude(topic, sides.operation, one.tp.partition, [gone])
    # Last: an attempt that died finds the tail where it was.
    turns = {one.tp: one.turn for tails in beyond.values() for one in tails}
    for tp, read_to in tally.read_to.items():
        await sides.lineage.extend(tp.topic, sides.operation, tp.partition, turns[tp], read_to)
    await _returned(sides)
    return _fact(sides, request, tally, held_at)


async def _returned(sides: Sides) -> None:
    """Said when nothing of it counts any more that should not: until then nothing goes back there as planned."""
    region = sides.home.site.region

    def change(record: DeploymentRecord) -> DeploymentRecord:
        gone = record.gone.get(region)
        if gone is None or gone.returned is not None:
            return record
        known = gone.model_copy(update={"returned": sides.holder.operation})
        return record.model_copy(update={"gone": record.gone | {region: known}})

    await sides.away.tenure.change("returned", sides.away.n, change)


async def _outputs(sides: Sides, tails: list[Beyond], tally: _Tally) -> None:
    kafka = sides.home.site.kafka
    for one in tails:
        tally.outputs += (await kafka.committed_data_count(one.tp, one.first, one.end)).count
        tally.zombies += await _committed_late(kafka, one)


async def _inputs(
    sides: Sides,
    request: ReturnStep,
    record: DeploymentRecord,
    topic: str,
    tails: list[Beyond],
    held: HeldTail,
    tally: _Tally,
) -> None:
    for one in tails:
        if one.lost:
            tally.notes.append(
                f"{one.tp} in {sides.home.site.region} has lost {one.lost:,} offsets beyond the cut to its retention: "
                f"what stood there can be neither fed nor held"
            )
    if any(one.first < one.end for one in tails):
        rule = await rule_for(sides, topic, record, request.tail)
        if rule.hold is None and len(rule.readers) > 1:
            names = ", ".join(reader.deployment for reader in rule.readers)
            tally.notes.append(f"{topic} was judged for all that read it, and is fed once: {names}")
        tally.add(await sort_out(sides, topic, tails, rule, held))
        for one in tails:
            read_to = rule.read_to(one.tp, one.first, one.end)
            if read_to > one.first and not one.lost:
                tally.read_to[one.tp] = read_to


def _fact(sides: Sides, request: ReturnStep, tally: _Tally, held_at: str | None) -> TailFact:
    region, inputs = sides.home.site.region, tally.inputs
    notes = list(tally.notes)
    notes += [f"{count:,} inputs were not fed: {why}" for why, count in sorted(inputs.held.items())]
    if held_at is not None:
        notes.append(f"what is held stands in {region}, excluded, and is written out in {held_at}")
        notes.append(f"look at it:  tidegate return tail {sides.deployment}")
        if request.tail != "feed":
            again = f"tidegate return region {region} --deployment {sides.deployment} --tail feed"
            notes.append(f"feed what can be fed of it:  {again}")
    return TailFact(
        inputs=inputs.inputs,
        outputs=tally.outputs,
        zombies=tally.zombies,
        fed=inputs.fed,
        known=inputs.known,
        ahead=inputs.ahead,
        held=sum(inputs.held.values()),
        held_at=held_at,
        notes=tuple(notes),
    )


async def _beyond(sides: Sides, topic: str) -> list[Beyond]:
    """The partitions of the region's log that go on beyond the cut."""
    lineage = await sides.lineage.read(topic)
    if lineage is None:
        return []
    region = sides.home.site.region
    ends = await sides.home.site.kafka.last_stable_offsets([topic])
    starts = await sides.home.site.kafka.start_offsets([topic])
    found: list[Beyond] = []
    for tp, end in sorted(ends.items()):
        partition = lineage.partitions.get(str(tp.partition))
        left = _left(partition.segments, region) if partition is not None else None
        if left is None or left[0].end is None:
            continue
        cut = min(left[0].end, await _came_to(sides, tp, *left))
        first = min(max(cut, starts.get(tp, 0)), end)
        until = await _until_mirrored(sides, tp, first, end)
        if until > cut:
            turned_at_ms = _turned_at_ms(lineage, left[1])
            found.append(Beyond(tp, first, until, turned_at_ms, lost=first - cut, turn=left[0].turn))
    return found


async def _came_to(sides: Sides, tp: TopicPartition, segment: Segment, after: Segment) -> int:
    """Where the tail begins: behind what had crossed of the segment, also if it was said since that more counts."""
    kafka, region = sides.away.site.kafka, sides.home.site.region
    end = segment.end or 0
    found = await search(kafka, region, tp, end, (0, after.first))
    return end if not found.beyond else max(segment.first, found.came_to or 0)


def _turned_at_ms(lineage: TopicLineage, segment: Segment) -> int:
    """When the topic was turned to the region of this segment."""
    turn = next(one for one in lineage.turns if one.number == segment.turn)
    return int(turn.at.timestamp() * 1000)


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


async def _committed_late(kafka: KafkaClient, beyond: Beyond) -> int:
    """How many records beyond the cut were committed after it, by the time of their commit markers: what the region's
    own clock says of a job that ran on there, or came back by itself.
    """
    waiting: dict[int, int] = {}
    late = 0
    async with aclosing(_batches(kafka, beyond)) as batches:
        async for batch in batches:
            if not batch.is_control:
                if batch.is_transactional:
                    inside = min(beyond.end, batch.last_offset + 1) - max(beyond.first, batch.base_offset)
                    waiting[batch.producer_id] = waiting.get(batch.producer_id, 0) + min(batch.records, inside)
                continue
            held = waiting.pop(batch.producer_id, 0)
            if batch.control_type is ControlType.COMMIT and batch.max_timestamp_ms > beyond.cut_at_ms:
                late += held
    return late


async def _batches(kafka: KafkaClient, beyond: Beyond) -> AsyncGenerator[Batch, None]:
    async for batch in kafka.batches(beyond.tp, beyond.first, beyond.end):
        yield batch


async def _records(kafka: KafkaClient, tp: TopicPartition, first: int, end: int) -> AsyncGenerator[LogRecord, None]:
    async for record in kafka.records(tp, first, end):
        yield record

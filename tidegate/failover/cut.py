"""The cut: the mirror is drained and shut; the lineage says where one region ends and the other begins (X18 to X20)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import partial

from tidegate.clients.kafka_types import TopicPartition
from tidegate.errors import NoProgress, Unavailable
from tidegate.failover.atlarge import at_large
from tidegate.failover.producers import hold_gate
from tidegate.failover.sides import Sides, of_topics, positions
from tidegate.lineage.model import Excluded
from tidegate.lineage.turning import turned_by
from tidegate.mirror import control
from tidegate.mirror.link import MirrorLink
from tidegate.mirror.positions import last_hops, passed_position, search
from tidegate.mirror.status import wait_drained
from tidegate.model.failover import CutFact, CutInput, MirrorBackFact, Topics
from tidegate.model.mirror import LinkRecord, LinkState, MirrorVerb
from tidegate.model.record import DeploymentRecord, IntentState
from tidegate.points.superseded import OutputEnd

NO_PROGRESS_S = 30.0
LINK_S = 60.0
STOP_STEP = "failover-stop"
REVIVE_STEP = "failover-revive"
GIVEN_UP_S = 5.0
"""A connector whose source is gone may not stop by itself: after so long it is shut out instead."""
SOURCE_S = 1.0
"""A source that says nothing for so long is taken for gone: the mirror of a region that is left is then not waited for.
"""
BACK_S = 120.0


async def shut_links(sides: Sides, request: CutInput, *, drain: bool) -> dict[str, str]:
    """Drain the links that bring what turns, if that is asked, and shut them; by link, how it is shut (X17).

    Raises:
        Held: somebody else acts on a link.
        NoProgress: it is not drained, or not seen to stop, in time; or it was stopped before, and lacks something.
        Unavailable: neither Connect nor the target's Kafka answers.
        Superseded.

    """
    done: dict[str, str] = {}
    async with sides.links(request.topics.links) as links:
        for link in links:
            tenure = await sides.hold(link)
            down = await _is_down(link, tenure.record)
            # That it was shut stands there also when it runs again: who died on the way back has not given it back.
            if down and any(one.step == STOP_STEP and one.state is IntentState.DONE for one in tenure.record.intents):
                done[link.name] = tenure.record.mirror.value  # by this operation, and read back or seen to refuse then
                continue
            if drain and down:
                await _refuse_behind(link, tenure.record)
            elif drain:
                await wait_drained(
                    link,
                    request.drain_s,
                    no_progress_s=min(NO_PROGRESS_S, request.drain_s),
                    heartbeat=sides.beat,
                    revive=partial(control.restart, link, tenure, step=REVIVE_STEP, heartbeat=sides.beat),
                )
            gone = not drain and await _source_gone(link)
            status = await control.stop(
                link,
                tenure,
                step=STOP_STEP,
                n=1,
                deadline_s=control.STOP_S if drain else GIVEN_UP_S,
                shut_out_if_slow=not drain,
                source_gone=gone,
                heartbeat=sides.beat,
            )
            done[link.name] = tenure.record.mirror.value if status is None else "STOPPED"
    return done


async def _refuse_behind(link: MirrorLink, record: LinkRecord) -> None:
    """Raises NoProgress for a link that was stopped before, and not by a failover that had drained it, if it lacks
    anything: what has not come would be lost behind the cut (X19).
    """
    late = await behind(link) if not was_shut(record) else ()
    if late:
        raise NoProgress(
            f"mirror link {link.name} is {record.mirror}, and has not brought all of {', '.join(map(str, late))}",
            hint=f"start it, and go on:  tidegate mirror start {link.name}",
        )


def was_shut(record: LinkRecord | None) -> bool:
    """Whether a failover has shut it, and nobody has given it back since."""
    return record is not None and any(one.step == STOP_STEP for one in record.intents)


async def behind(link: MirrorLink) -> tuple[TopicPartition, ...]:
    """The partitions of which not all has come that stands in the source now. Raises Unavailable."""
    passed = await passed_position(link, await link.source_kafka.last_stable_offsets(link.topics))
    return tuple(sorted(tp for tp, there in passed.items() if not there))


async def _is_down(link: MirrorLink, record: LinkRecord) -> bool:
    """Whether it brings nothing, by its record; where a start was begun and is not known to have ended, by Connect."""
    if record.mirror not in {LinkState.STOPPED, LinkState.SHUT_OUT}:
        return False
    if not any(one.verb is MirrorVerb.START for one in record.open_intents()):
        return True
    try:
        status = await link.connect.status(link.connector)
    except Unavailable:
        return False
    return status is None or status.stopped


async def _source_gone(link: MirrorLink) -> bool:
    try:
        await asyncio.wait_for(link.source_kafka.ping(), SOURCE_S)
    except (Unavailable, TimeoutError):
        return True
    return False


async def cut_over(sides: Sides, request: CutInput) -> CutFact:
    """Shut the links and turn every topic. Done again, it is found done. Raises as ``shut_links``."""
    record = await sides.away.tenure.read()
    shut = await shut_links(sides, request, drain=not request.unplanned)
    return await turn(sides, request, record, shut)


async def turn(sides: Sides, request: CutInput, record: DeploymentRecord, shut: Mapping[str, str]) -> CutFact:
    """Write the cut of every topic: where the old region's segment ends, by its own log and by the new region's."""
    home, away = sides.home.site, sides.away.site
    topics = request.topics.turn
    cuts = await away.kafka.last_stable_offsets(list(topics))
    ends = await _ends(sides, request, record)
    left = record.pinned.left if record.pinned is not None else None
    excluded: list[tuple[str, int, Excluded]] = []
    if left is not None:
        for name, ranges in left.later.items():
            topic, _, partition = name.rpartition("/")
            for first, last in ranges:
                gone = Excluded(region=home.region, first=first, last=last, why="superseded (X21)", by=sides.operation)
                excluded.append((topic, int(partition), gone))
    excluded += await _copies(sides, topics)
    if left is not None and request.unplanned and record.pinned is not None:
        excluded += await _beyond(sides, topics, positions(record.pinned.output_ends))
    count = 0
    for topic in topics:
        at = of_topics(cuts, [topic])[topic]
        until = {number: ends.get(TopicPartition(topic, number)) for number in at}
        writes = topic in away.output_topics
        await sides.lineage.turn(
            topic,
            sides.operation,
            away.region,
            planned=not request.unplanned,
            ends=until,
            cuts=at,
            epoch=record.epoch + 1 if writes else None,
            excluded=[(partition, one) for of, partition, one in excluded if of == topic],
        )
        count += len(at)
    return CutFact(
        partitions=count,
        shut=dict(shut),
        drained=not request.unplanned,
        input_until=await input_until(sides, request.topics),
    )


async def _copies(sides: Sides, topics: Collection[str]) -> list[tuple[str, int, Excluded]]:
    """What does not count of what the old region wrote last has been mirrored: its copy counts as little (X26)."""
    home, away = sides.home.site.region, sides.away.site
    found: list[tuple[str, int, Excluded]] = []
    for topic in topics:
        known = await sides.lineage.read(topic)
        by_turn = turned_by(known) if known is not None else frozenset[str]()
        for name, partition in known.partitions.items() if known is not None else ():
            began = next((one.first for one in reversed(partition.segments) if one.region == home), None)
            tp = TopicPartition(topic, int(name))
            for one in partition.excluded:
                if began is None or one.region != home or one.last < began:
                    continue  # not of this turn: its copies were left out when that one was left
                if one.by == sides.operation or one.by in by_turn:
                    # What this one supersedes is found range by range before the start (X21). Of one that has turned it
                    # before, and was lost, it counts as little: it went by the point that it went on from.
                    continue
                first = await search(away.kafka, home, tp, max(one.first, began))
                behind = await search(away.kafka, home, tp, one.last + 1)
                if first.at is None or first.offset >= behind.offset:
                    continue
                copy = {"region": away.region, "first": first.offset, "last": behind.offset - 1, "by": sides.operation}
                found.append((topic, tp.partition, one.model_copy(update=copy)))
    return found


async def _beyond(
    sides: Sides, topics: Collection[str], output_ends: Mapping[TopicPartition, int]
) -> list[tuple[str, int, Excluded]]:
    """What a planned cut has counted of the old region and the recovery point lacks: that cut stands as it is (X21)."""
    found: list[tuple[str, int, Excluded]] = []
    for topic in topics:
        known = await sides.lineage.read(topic)
        if known is None or known.region != sides.away.site.region:
            continue
        for name, partition in known.partitions.items():
            before = partition.segments[-2] if len(partition.segments) > 1 else None
            upto = output_ends.get(TopicPartition(topic, int(name)))
            if before is None or before.end is None or upto is None or max(upto, before.first) >= before.end:
                continue
            gone = Excluded(
                region=before.region,
                first=max(upto, before.first),
                last=before.end - 1,
                why="superseded (X21)",
                by=sides.operation,
            )
            found.append((topic, int(name), gone))
    return found


async def _ends(sides: Sides, request: CutInput, record: DeploymentRecord) -> dict[TopicPartition, int]:
    """Where the old region's segment ends: planned, at its log's end; else behind the last that came and counts."""
    if not request.unplanned:
        known = positions(request.ends)
        missing = [topic for topic in request.topics.turn if topic not in {tp.topic for tp in known}]
        return known | (await sides.home.site.kafka.end_offsets(missing) if missing else {})
    found: dict[TopicPartition, int] = {}
    left = record.pinned.output_ends if record.pinned is not None and record.pinned.left is not None else {}
    outputs = {tp: OutputEnd(end).upto for tp, end in positions(left).items()}
    async with sides.links(request.topics.links) as links:
        for link in links:
            last = await last_hops(link.target_kafka, link.source, await _partitions(link, request.topics))
            found |= {tp: 0 if came is None else came.source_offset + 1 for tp, came in last.items()}
    return found | {tp: end for tp, end in outputs.items() if tp.topic in request.topics.turn}


async def _partitions(link: MirrorLink, topics: Topics) -> list[TopicPartition]:
    wanted = [topic for topic in link.topics if topic in topics.turn]
    return sorted(await link.target_kafka.end_offsets(wanted))


async def input_until(sides: Sides, topics: Topics) -> datetime | None:
    """Timestamp of the newest input that came through: the producer's word, kept by the mirror."""
    times: list[int] = []
    async with sides.links(topics.links) as links:
        for link in links:
            read = [tp for tp in await _partitions(link, topics) if tp.topic in sides.away.site.input_topics]
            came = (await last_hops(link.target_kafka, link.source, read)).values()
            times += [hop.timestamp_ms for hop in came if hop is not None]
    return datetime.fromtimestamp(max(times) / 1000, UTC) if times else None


async def mirror_home_again(sides: Sides, topics: Topics) -> None:
    """The way back: the links that were shut run again from where they stopped, and are given back."""
    await sides.away.tenure.read()
    async with sides.links(topics.links) as links:
        for link in links:
            tenure = await sides.hold(link)
            if tenure.record.mirror is LinkState.STOPPED:
                await control.start(link, tenure, step="failover-again", n=1, deadline_s=BACK_S, heartbeat=sides.beat)
            for begun in tenure.record.open_intents():
                if begun.verb is MirrorVerb.RESTART:
                    # Of a task that died in the drain; one that lands late is no target state, and harms nothing.
                    await tenure.void(begun, "gone back: whether it runs is for its keeper to see")
            await tenure.release()


async def mirror_back(sides: Sides, topics: Topics) -> MirrorBackFact:
    """Start the links of the other direction from the cut on, and give the shut ones back (X20).

    A link whose target does not answer waits: ReturnRegion starts it; and so does one that leads to where an old job is
    at large (``atlarge``). Last, the gate is read back (``hold_gate``): the
    proof lies behind, and whatever was on its way to Kafka has had its time. Raises Held, Superseded, Unavailable.
    """
    await sides.away.tenure.read()
    started: list[str] = []
    waiting: list[str] = []
    loose: set[str] = set()
    shut_out = False
    async with sides.links(topics.links) as links:
        for link in links:
            tenure = await sides.hold(link)
            shut_out = shut_out or tenure.record.shut_out is not None
            await tenure.release()
    async with sides.links(topics.back) as links:
        for link in links:
            tenure = await sides.hold(link)
            if names := await at_large(sides, link):
                loose.update(names)
                waiting.append(
                    f"{link.name}: {', '.join(names)} could not be shut out in {link.target}, and may commit there: it "
                    f"is put in quarantine first"
                )
                await tenure.release()
                continue
            try:
                await link.target_kafka.ping()
                offsets = await _from_the_cut(sides, link, topics)
                await control.start(
                    link,
                    tenure,
                    step="failover-back",
                    n=1,
                    offsets=offsets,
                    # A connector that was shut out may still say that it runs; its Kafka refuses it (X17).
                    both_ways=shut_out,
                    lift_deny=tenure.record.shut_out is not None,
                    deadline_s=LINK_S,
                    heartbeat=sides.beat,
                )
            except Unavailable as error:
                waiting.append(f"{link.name}: {error.message}")
                if not tenure.record.open_intents():
                    await tenure.release()
                continue
            await tenure.release()
            started.append(link.name)
    return MirrorBackFact(
        started=tuple(started),
        waiting=tuple(waiting),
        at_large=tuple(sorted(loose)),
        notes=await hold_gate(sides, topics),
    )


async def _from_the_cut(sides: Sides, link: MirrorLink, topics: Topics) -> dict[TopicPartition, int]:
    """The last offset of the new region that counts as mirrored, by partition: what stands before the cut came from
    the old one. A partition that was empty at the cut has none: it is mirrored from its start.
    """
    found: dict[TopicPartition, int] = {}
    for topic in sorted(set(link.topics) & set(topics.turn)):
        known = await sides.lineage.read(topic)
        for name, partition in known.partitions.items() if known is not None else ():
            cut = partition.segments[-1].first
            if cut > 0:
                found[TopicPartition(topic, int(name))] = cut - 1
    return found

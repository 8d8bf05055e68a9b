"""Closing the producers of a deployment's inputs, and opening them in the other region (X18).

Two things say that nobody writes: the lineage's gate, which producers follow, and a DENY on the topic for the
principals that the fleet file names, which holds those that do not. A topic has writers in one region at a time: where
it does not live the DENY stands always.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final

from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.errors import InvalidInput, Unavailable
from tidegate.failover.sides import Sides, of_topics
from tidegate.failover.turning import producers_of, written_from_outside
from tidegate.lineage import gate
from tidegate.lineage.announce import announce_all
from tidegate.lineage.model import Excluded, Gate, TopicLineage
from tidegate.mirror.provenance import of_headers
from tidegate.model.failover import OpenFact, OpenInput, ShutFact, Topics
from tidegate.operation.note import superseded_here
from tidegate.operation.settle import as_positions

CLOSE_S: Final = 60.0
HOLD_S: Final = 10.0
NO_CUT: Final = 0


async def close_producers(sides: Sides, topics: Topics, *, take_over: bool, home_answers: bool) -> ShutFact:
    """Close the gate of every topic that turns, deny the producers in both regions, and say where the topics end.

    A topic that lives in the other region and is open there stays so: of a failover that was lost, one that shares it
    was ended before.

    Raises:
        Held: another operation is turning one of the topics.
        NoProgress: a topic still grows: somebody writes it who is not named in the fleet file.
        Superseded, Unavailable.

    """
    await sides.away.tenure.read()
    lineage = sides.lineage
    home, away = sides.home.site, sides.away.site
    closed: list[str] = []
    for topic in topics.turn:
        if await lineage.read(topic) is None:
            await lineage.begin(topic, home.region, await _firsts(sides, topic, home_answers=home_answers))
        known = await lineage.close(topic, sides.operation, take_over=take_over, target=away.region)
        closed += [topic] if known.gate is Gate.CLOSED else []
    outside = written_from_outside(sides.fleet, topics.turn)
    principals = producers_of(sides.fleet, outside)
    notes: list[str] = []
    if not principals and outside:
        notes.append(f"the fleet file names no producers of {', '.join(outside)}: only the gate holds them")
    await gate.deny(away.kafka, [topic for topic in outside if topic in closed], principals, CLOSE_S, sides.beat)
    ends: dict[str, int] = {}
    if home_answers:
        shut = await gate.shut(home.kafka, outside, principals, CLOSE_S, sides.beat)
        ends = as_positions(shut)
    else:
        notes.append(f"the producers in {home.region} could not be closed: what it still takes is tail (X18)")
    return ShutFact(ends=ends, principals=principals, notes=tuple(notes))


async def turn_back(sides: Sides, topics: Topics, *, take_over: bool = False, of_region: bool = False) -> None:
    """The way back begins: the topics live at home again, and nobody may write them yet.

    ``take_over``: also those that a failover of this deployment had closed from which it was taken over, and that this
    one has not come to close itself: else nobody would ever open them. ``of_region``: by whomever they were closed. A
    region's failover has seen that nobody goes on with that one (``lostregion.look_left``).

    Raises:
        Refused: a topic was opened in the other region already (X24).
        Superseded, Unavailable.

    """
    await sides.away.tenure.read()
    for topic in topics.turn:
        known = await sides.lineage.read(topic)
        if known is None:
            continue
        holder = (known.holder or "").partition("/")[0]
        theirs = known.holder not in {None, sides.operation} and (of_region or sides.is_of_us(holder))
        if take_over and theirs:
            await sides.lineage.close(topic, sides.operation, take_over=True)
        await sides.lineage.unturn(topic, sides.operation)


async def reopen_home(sides: Sides, topics: Topics) -> None:
    """The way back ends: the producers of home may write again. Raises as ``turn_back``."""
    await turn_back(sides, topics)
    outside = written_from_outside(sides.fleet, topics.turn)
    await gate.lift(sides.home.site.kafka, outside, producers_of(sides.fleet, outside), CLOSE_S)
    for topic in topics.turn:
        await sides.lineage.leave(topic, sides.operation)


async def hold_gate(sides: Sides, topics: Topics, *, elsewhere: bool = True) -> tuple[str, ...]:
    """Read back who may write the topics that are open, and put right what is not so; a line for each.

    A rule on a topic carries no fence: one that an attempt or an operation sent that is long dead may land when the
    gate is open again, here or where the topic no longer lives. Only what differs is written, so that this one's own
    late calls are as rare. ``elsewhere``: where they do not live nobody may write them.

    Raises Superseded; Unavailable: the Kafka where a topic lives does not answer.
    """
    await sides.away.tenure.read()
    outside = written_from_outside(sides.fleet, topics.turn)
    known = [await sides.lineage.read(topic) for topic in outside]
    lives = {one.topic: one.region for one in known if one is not None and one.gate is Gate.OPEN}
    principals = producers_of(sides.fleet, lives)
    notes: list[str] = []
    for site in (sides.away.site, sides.home.site):
        at_home = [topic for topic, region in lives.items() if region == site.region]
        away = [topic for topic in lives if topic not in at_home] if elsewhere else []
        if not principals or not (at_home or away):
            continue
        try:
            async with asyncio.timeout(HOLD_S):
                denied = {who: set(await site.kafka.denied_topics(f"User:{who}")) for who in principals}
        except (Unavailable, TimeoutError) as error:
            if at_home:
                raise Unavailable(
                    f"who may write {', '.join(at_home)} in {site.region} is not known: {error}"
                ) from error
            notes.append(f"whether producers are denied in {site.region} is not known: its Kafka does not answer")
            continue
        for who in principals:
            for topic in sorted(set(at_home) & denied[who]):
                await gate.lift(site.kafka, [topic], [who], CLOSE_S)
                notes.append(
                    f"User:{who} was denied {topic} in {site.region} again, by a call that came late: let in again"
                )
            for topic in sorted(set(away) - denied[who]):
                await gate.deny(site.kafka, [topic], [who], CLOSE_S, sides.beat)
                notes.append(
                    f"User:{who} could write {topic} in {site.region} again, by a call that came late: denied again"
                )
    return tuple(notes)


async def open_producers(sides: Sides, request: OpenInput) -> OpenFact:
    """The producers go on in the other region; what no longer counts of its output is in the lineage before.

    From here on there is no way back (X24). Raises Superseded, Unavailable.
    """
    record = await sides.away.tenure.read()
    topics, away = request.topics.turn, sides.away.site
    # Also of a start before the last one, whose job was lost again: what that one goes on from is told by itself only.
    here = await superseded_here(sides.away, record)
    told = dict.fromkeys((*request.superseded, *(one for one in here if one.topic in topics)))
    by_topic: dict[str, dict[int, list[Excluded]]] = {}
    for one in told:
        found = by_topic.setdefault(one.topic, {}).setdefault(one.partition, [])
        found.append(
            Excluded(region=away.region, first=one.first, last=one.last, why="superseded (X21)", by=sides.operation)
        )
    for topic, partitions in by_topic.items():
        for partition, ranges in partitions.items():
            await sides.lineage.exclude(topic, sides.operation, partition, ranges)
    outside = written_from_outside(sides.fleet, topics)
    await gate.lift(away.kafka, outside, producers_of(sides.fleet, outside), CLOSE_S)
    opened = [await sides.lineage.open(topic, sides.operation, target=away.region) for topic in topics]
    notes = await _announced(sides, opened)
    return OpenFact(
        topics=topics,
        turn=max((one.turn for one in opened), default=0),
        first_output_at=await first_output_at(sides, topics),
        notes=tuple(notes),
    )


async def _announced(sides: Sides, opened: Sequence[TopicLineage]) -> list[str]:
    """Tell whom the fleet file names where the topics live now; what to say of those that did not take it.

    The lineage is the word that counts: who could not be told reads it there.
    """
    notes: list[str] = []
    for one in opened:
        try:
            told = await announce_all(sides.fleet.announce, one)
        except InvalidInput as error:
            return [f"nobody was told: {error.message}"]
        notes += [f"{one.topic}: {who.url} was not told: {who.problem}" for who in told if who.problem is not None]
    return notes


async def first_output_at(sides: Sides, topics: Collection[str]) -> datetime | None:
    """When the new job's first output was appended: the oldest record behind the cut that no mirror brought."""
    away = sides.away.site
    first_ms: int | None = None
    for topic in sorted(set(away.output_topics) & set(topics)):
        known = await sides.lineage.read(topic)
        if known is None:
            continue
        for tp, end in (await away.kafka.last_stable_offsets([topic])).items():
            partition = known.partitions.get(str(tp.partition))
            cut = partition.segments[-1].first if partition is not None and partition.segments else NO_CUT
            async with aclosing(_records(sides, tp, cut, end)) as records:
                async for record in records:
                    if of_headers(record.headers) is None:
                        first_ms = record.timestamp_ms if first_ms is None else min(first_ms, record.timestamp_ms)
                        break
    return None if first_ms is None else datetime.fromtimestamp(first_ms / 1000, UTC)


async def _records(sides: Sides, tp: TopicPartition, first: int, end: int) -> AsyncGenerator[LogRecord, None]:
    async for record in sides.away.site.kafka.records(tp, first, end):
        yield record


async def _firsts(sides: Sides, topic: str, *, home_answers: bool) -> dict[int, int]:
    """Where a topic's log begins; a home that is lost is taken to have begun at 0."""
    if home_answers:
        return of_topics(await sides.home.site.kafka.start_offsets([topic]), [topic])[topic]
    there = await sides.away.site.kafka.end_offsets([topic])
    return dict.fromkeys(of_topics(there, [topic])[topic], 0)

"""The consumer groups that the fleet file names go on in the other region, before anybody writes there (X25).

What of them cannot be moved is said, with why; it stops no failover.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from tidegate.clients.kafka_types import KafkaClient, TopicPartition
from tidegate.errors import TidegateError, Unavailable
from tidegate.failover.sides import Sides
from tidegate.failover.turning import consumers_of
from tidegate.lineage.model import TopicLineage
from tidegate.lineage.store import LineageStore
from tidegate.mirror.carry import Crossing
from tidegate.mirror.groups import Moving, Outcome, Stood, put, told, translate
from tidegate.mirror.link import open_kafka
from tidegate.mirror.rebasing import links_by
from tidegate.model.failover import Answers, Topics, TranslateInput
from tidegate.model.fleet import Consumer, Fleet
from tidegate.model.groups import GroupLook, GroupsFact
from tidegate.operation.site import Site
from tidegate.points.groups import GroupStore, KeptGroups

_Open = AbstractAsyncContextManager[Crossing]
GROUP_S: Final = 8.0
"""So long a group may take; all are moved side by side."""
LOOK_S: Final = 3.0
REST_S: Final = 1.0
"""So long a group that is still read at home may take to come to the end of what was written there."""
PAUSE_S: Final = 0.05
GONE_S: Final = 0.5


async def translate_groups(sides: Sides, request: TranslateInput) -> GroupsFact:
    """Put every group of the deployment where it goes on. Done again, it is found done. Raises Superseded, Unavailable
    (the control bucket); what goes wrong with a group is in what it gives.
    """
    await sides.away.tenure.read()
    home, away = sides.home.site, sides.away.site
    consumers = consumers_of(sides.fleet, sides.deployment, request.topics.turn)
    if not consumers:
        return GroupsFact()
    silent = request.answers.kafka if request.answers is not None else await silent_now(home.kafka)
    kept = await GroupStore(away.control, away.control_bucket).read(sides.deployment, home.region)
    lineage = await read_lineage(sides.lineage, consumers)
    async with _between(home, away, lineage, gone=silent is not None) as crossing:
        moving = Moving(crossing, f"tidegate {sides.operation}", request.superseded)

        async def move(consumer: Consumer) -> Outcome:
            sides.beat({"phase": "groups", "group": consumer.group})
            notes: tuple[str, ...] = ()
            if silent is None:
                notes = await _at_rest(crossing, consumer)
            stood = await stood_of(crossing.source_kafka, home.region, kept, consumer, silent)
            outcome = await put(moving, await translate(moving, consumer, consumer.topics, stood))
            return outcome.noted(notes)

        moved = await asyncio.gather(*(told(one.group, partial(move, one), GROUP_S) for one in consumers))
    return GroupsFact(groups=tuple(one.fact() for one in moved))


async def look_at_groups(home: Site, away: Site, topics: Topics, answers: Answers) -> tuple[GroupLook, ...]:
    """Where the groups stand before a failover, and how well they could be moved now. Changes nothing.

    Raises Unavailable (the control bucket); what cannot be learned of a group is its ``problem``.
    """
    consumers = consumers_of(away.fleet, away.deployment, topics.turn)
    if not consumers:
        return ()
    kept = await GroupStore(away.control, away.control_bucket).read(away.deployment, home.region)
    lineage = await read_lineage(LineageStore(away.control, away.control_bucket), consumers)
    async with _between(home, away, lineage, gone=answers.kafka is not None) as crossing:
        moving = Moving(crossing, "")

        async def look(consumer: Consumer) -> GroupLook:
            stood = await stood_of(crossing.source_kafka, home.region, kept, consumer, answers.kafka)
            found = await translate(moving, consumer, consumer.topics, stood)
            fact = found.fact()
            return GroupLook(
                group=consumer.group,
                topics=consumer.topics,
                partitions=len(found.moved) + len(found.left),
                as_of=stood.as_of,
                exact=fact.exact,
                again=fact.again,
                live=(await crossing.target_kafka.group_state(consumer.group)).live,
                problem=found.left[0] if found.left else None,
            )

        async def in_time(consumer: Consumer) -> GroupLook:
            try:
                return await asyncio.wait_for(look(consumer), LOOK_S)
            except TimeoutError:
                why = f"nobody could say within {LOOK_S:g} s where it stands"
            except TidegateError as error:
                why = error.message
            return GroupLook(group=consumer.group, topics=consumer.topics, problem=why)

        return tuple(await asyncio.gather(*map(in_time, consumers)))


@asynccontextmanager
async def crossing_of(
    fleet: Fleet,
    source: tuple[str, KafkaClient],
    target: tuple[str, KafkaClient],
    lineage: Mapping[str, TopicLineage],
    *,
    gone: bool,
) -> AsyncIterator[Crossing]:
    """From the one region's Kafka to the other's. ``gone``: nobody waits long for the former."""
    async with AsyncExitStack() as stack:
        kafka = source[1]
        if gone:
            kafka = await stack.enter_async_context(open_kafka(fleet, source[0], GONE_S))
        links = await stack.enter_async_context(links_by(fleet, GONE_S if gone else None)(source[0], target[0]))
        yield Crossing(source[0], target[0], kafka, target[1], links, lineage)


def _between(home: Site, away: Site, lineage: Mapping[str, TopicLineage], *, gone: bool) -> _Open:
    return crossing_of(home.fleet, (home.region, home.kafka), (away.region, away.kafka), lineage, gone=gone)


async def read_lineage(store: LineageStore, consumers: Sequence[Consumer]) -> dict[str, TopicLineage]:
    """The lineage of all that these read, where there is one. Raises Unavailable."""
    found: dict[str, TopicLineage] = {}
    for topic in sorted({topic for one in consumers for topic in one.topics}):
        known = await store.read(topic)
        if known is not None:
            found[topic] = known
    return found


async def stood_of(
    kafka: KafkaClient, region: str, kept: KeptGroups | None, consumer: Consumer, silent: str | None
) -> Stood:
    """Where a group stands: what Kafka says, or what was kept last if it does not answer (``silent``: why).

    Raises Unavailable: nobody knows.
    """
    if silent is None:
        try:
            offsets = await kafka.group_offsets(consumer.group)
            return Stood({tp: offset for tp, offset in offsets.items() if tp.topic in consumer.topics})
        except Unavailable as error:
            silent = error.message
    known = kept.groups.get(consumer.group) if kept is not None else None
    if known is None:
        raise Unavailable(
            f"nobody knows where it stood: Kafka in {region} does not answer ({silent}), and its offsets were not kept",
            hint="the keeper of recovery points keeps them from now on",
        )
    return Stood({tp: offset for tp, offset in known.positions().items() if tp.topic in consumer.topics}, known.at)


async def silent_now(kafka: KafkaClient) -> str | None:
    """Why a region's Kafka does not answer; None: it does."""
    try:
        await asyncio.wait_for(kafka.ping(), LOOK_S)
    except TimeoutError:
        return f"no answer within {LOOK_S:g} s"
    except TidegateError as error:
        return error.message
    return None


async def _at_rest(crossing: Crossing, consumer: Consumer) -> tuple[str, ...]:
    """Wait until the group has read what was written at home, if somebody is in it there; what to say of one that is.

    It is stopped there, or has left by itself, or goes on reading what the mirror will bring back.
    """
    kafka = crossing.source_kafka
    loop = asyncio.get_running_loop()
    until = loop.time() + REST_S
    try:
        while (await kafka.group_state(consumer.group)).live:
            if await _has_read_all(crossing, consumer):
                return (_still_read(crossing.source),)
            if loop.time() > until:
                return (f"{_still_read(crossing.source)}, and is not at the end there",)
            await asyncio.sleep(PAUSE_S)
    except Unavailable:
        pass  # it went meanwhile: what was kept is good for it
    return ()


def _still_read(region: str) -> str:
    return f"somebody is in it in {region}: put it once more when its consumers have moved"


async def _has_read_all(crossing: Crossing, consumer: Consumer) -> bool:
    kafka = crossing.source_kafka
    offsets, starts = await kafka.group_offsets(consumer.group), await kafka.start_offsets(consumer.topics)
    for topic in consumer.topics:
        known = crossing.lineage.get(topic)
        for name, partition in known.partitions.items() if known is not None else ():
            tp = TopicPartition(topic, int(name))
            before = partition.segments[-2] if len(partition.segments) > 1 else None
            if before is None or before.region != crossing.source or before.end is None:
                continue
            at = max(offsets.get(tp, before.first), starts[tp])
            if at < before.end and (await kafka.committed_data_count(tp, at, before.end)).count:
                return False
    return True

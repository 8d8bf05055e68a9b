"""The gate on Kafka: producers are denied the topic, by principal, whether they follow the lineage or not (X18)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from functools import partial
from typing import Final, TypeVar

from tidegate.clients.kafka_types import Heartbeat, KafkaClient, TopicPartition
from tidegate.errors import NoProgress, Unavailable

T = TypeVar("T")
STANDS_S: Final = 0.3
"""Ends that are the same so long after each other, with nothing open, stand still: what was let in before the DENY has
been appended by then."""
PAUSE_S: Final = 0.1
NAMED: Final = 3
"""So many partitions that move are named."""


async def deny(
    kafka: KafkaClient, topics: Collection[str], principals: Collection[str], deadline_s: float, beat: Heartbeat
) -> None:
    """Every broker refuses these principals (without ``User:``) a write of these topics. Done again, it is done once.

    Raises:
        Refused: it would be a topic's first access rule.
        Unavailable: Kafka did not answer in time.

    """
    until = time.monotonic() + deadline_s
    for topic, principal in _each(topics, principals):
        beat({"phase": "close", "topic": topic, "principal": principal})
        await _asked(until, partial(kafka.deny_topic_writes, f"User:{principal}", topic))


async def lift(kafka: KafkaClient, topics: Collection[str], principals: Collection[str], deadline_s: float) -> None:
    """These principals may write these topics again. Raises Unavailable."""
    until = time.monotonic() + deadline_s
    for topic, principal in _each(topics, principals):
        await _asked(until, partial(kafka.lift_topic_writes, f"User:{principal}", topic))


async def shut(
    kafka: KafkaClient, topics: Collection[str], principals: Collection[str], deadline_s: float, beat: Heartbeat
) -> dict[TopicPartition, int]:
    """Deny the producers, and wait until the topics stand still; where each partition ends is the cut.

    Raises:
        NoProgress: a partition still grows, or holds an open transaction or what its followers lack; it is named.
        Refused: as ``deny``.
        Unavailable: Kafka did not answer.

    """
    until = time.monotonic() + deadline_s
    await deny(kafka, topics, principals, deadline_s, beat)
    if not topics:
        return {}
    names = sorted(set(topics))
    before: dict[TopicPartition, int] = {}
    while True:
        stable = await _asked(until, partial(kafka.last_stable_offsets, names))
        ends = await _asked(until, partial(kafka.end_offsets, names))
        appended = await _asked(until, partial(kafka.appended_offsets, names))
        if before == ends == stable == appended:
            return dict(ends)
        looked_twice = bool(before)
        moving = {tp: why for tp in sorted(ends) if (why := _why(tp, before, stable, ends, appended)) is not None}
        beat({"waiting_for": "topics to stand still", "moving": [str(tp) for tp in list(moving)[:NAMED]]})
        if looked_twice and time.monotonic() > until:
            if any(stable[tp] < end for tp, end in ends.items()):
                await kafka.wait_stable(names, 0.0)  # names the producers that hold it open
            raise _still_moving(moving, principals, deadline_s)
        before = dict(ends)
        await asyncio.sleep(STANDS_S)


def _why(
    tp: TopicPartition,
    before: dict[TopicPartition, int],
    stable: dict[TopicPartition, int],
    ends: dict[TopicPartition, int],
    appended: dict[TopicPartition, int],
) -> str | None:
    """What keeps a partition from standing still; None: nothing."""
    end = ends[tp]
    if before.get(tp) != end:
        return f"grew from {before[tp]:,} to {end:,}" if tp in before else "is new"
    if stable.get(tp) != end:
        return f"holds {end - stable.get(tp, 0):,} offsets of an open transaction"
    if appended.get(tp) != end:
        return f"has taken in {appended.get(tp, 0) - end:,} offsets that its followers lack"
    return None


def _still_moving(moving: dict[TopicPartition, str], principals: Collection[str], deadline_s: float) -> NoProgress:
    told = "; ".join(f"{tp} {why}" for tp, why in list(moving.items())[:NAMED])
    more = f"; and {len(moving) - NAMED} more" if len(moving) > NAMED else ""
    return NoProgress(
        f"not at rest {deadline_s:g} s after the producers were denied: {told}{more}",
        hint=f"who writes it? name the principal in the fleet file: deployments.X.producers "
        f"(denied: {', '.join(sorted(principals)) or 'nobody'})",
        details={"moving": {str(tp): why for tp, why in moving.items()}, "denied": sorted(principals)},
    )


def _each(topics: Collection[str], principals: Collection[str]) -> Iterator[tuple[str, str]]:
    for topic in sorted(set(topics)):
        for principal in sorted(set(principals)):
            yield topic, principal


async def _asked(until: float, call: Callable[[], Awaitable[T]]) -> T:
    """A call again until it is answered or the time is over; every one of them may be doubled."""
    while True:
        try:
            return await call()
        except Unavailable:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(PAUSE_S)

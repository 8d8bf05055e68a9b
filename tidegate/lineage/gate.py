"""The gate on Kafka: producers are denied the topic, by principal, whether they follow the lineage or not (X18)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final, TypeVar

from tidegate.clients.kafka_types import Heartbeat, KafkaClient, TopicPartition
from tidegate.errors import NoProgress, Unavailable

T = TypeVar("T")
STANDS_S: Final = 0.3
"""Ends that are the same so long after each other, with nothing open, stand still: what was let in before the DENY has
been appended by then."""
PAUSE_S: Final = 0.1


async def deny(
    kafka: KafkaClient, topics: Collection[str], principals: Collection[str], deadline_s: float, beat: Heartbeat
) -> None:
    """Every broker refuses these principals a write of these topics. Done again, it is done once.

    Raises Unavailable, NoProgress.
    """
    until = time.monotonic() + deadline_s
    for topic in sorted(topics):
        for principal in sorted(principals):
            beat({"phase": "close", "topic": topic, "principal": principal})
            await _asked(until, lambda t=topic, p=principal: kafka.deny_topic_writes(f"User:{p}", t))  # type: ignore[misc]


async def lift(kafka: KafkaClient, topics: Collection[str], principals: Collection[str], deadline_s: float) -> None:
    """These principals may write these topics again. Raises Unavailable."""
    until = time.monotonic() + deadline_s
    for topic in sorted(topics):
        for principal in sorted(principals):
            await _asked(until, lambda t=topic, p=principal: kafka.lift_topic_writes(f"User:{p}", t))  # type: ignore[misc]


async def shut(
    kafka: KafkaClient, topics: Collection[str], principals: Collection[str], deadline_s: float, beat: Heartbeat
) -> dict[TopicPartition, int]:
    """Deny the producers, and wait until the topics stand still; where each partition ends is the cut.

    Raises:
        NoProgress: a partition still grows, or holds an open transaction; it is named.
        Unavailable: Kafka did not answer.

    """
    until = time.monotonic() + deadline_s
    await deny(kafka, topics, principals, deadline_s, beat)
    if not topics:
        return {}
    before: dict[TopicPartition, int] = {}
    while True:
        stable = dict(await _asked(until, lambda: kafka.last_stable_offsets(list(topics))))
        ends = dict(await _asked(until, lambda: kafka.end_offsets(list(topics))))
        if ends == before and stable == ends:
            return ends
        moving = sorted(tp for tp, end in ends.items() if before.get(tp) != end or stable.get(tp) != end)
        beat({"waiting_for": "topics to stand still", "moving": str(moving[:3])})
        if time.monotonic() > until:
            tp = moving[0]
            open_to = ends[tp] - stable.get(tp, 0)
            what = f"holds {open_to:,} offsets of an open transaction" if open_to else "still grows"
            raise NoProgress(
                f"{tp} {what}, {deadline_s:g} s after its producers were denied",
                hint=f"who writes it? name the principal in the fleet file: deployments.X.producers "
                f"(denied: {', '.join(sorted(principals)) or 'nobody'})",
            )
        before = ends
        await asyncio.sleep(STANDS_S)


async def _asked(until: float, call: Callable[[], Awaitable[T]]) -> T:
    """A call again until it is answered or the time is over; every one of them may be doubled."""
    while True:
        try:
            return await call()
        except Unavailable:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(PAUSE_S)

"""The gap as the output topic tells it: one yardstick for every way of upgrading."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from tidegate.clients.kafka_types import Batch, ControlType, KafkaClient, TopicPartition
from tidegate.errors import NoProgress, OperationFailed

_STABLE_TIMEOUT_S = 120.0
_STABLE_POLL_S = 0.1


@dataclass(frozen=True, order=True)
class Pause:
    """A time without an appended, committed output record. Both ends are the broker's clock, UTC ms."""

    ms: int
    last_before_ms: int
    first_after_ms: int


@dataclass
class CommittedTimes:
    """Append times of the committed data of one partition; feed its batches in log order.

    A batch of a transaction counts when the transaction's commit marker comes; its time is that of its own append.
    """

    times_ms: list[int] = field(default_factory=list)
    _open: dict[int, list[int]] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Take the next batch into account.

        Raises:
            OperationFailed: the topic does not use log append time, so no pause can be told.
        """
        if batch.is_control:
            held = self._open.pop(batch.producer_id, [])
            if batch.control_type is ControlType.COMMIT:
                self.times_ms.extend(held)
            return
        if not batch.log_append_time:
            raise OperationFailed("the output topic has no log append time (message.timestamp.type)")
        if batch.is_transactional:
            self._open.setdefault(batch.producer_id, []).append(batch.max_timestamp_ms)
        else:
            self.times_ms.append(batch.max_timestamp_ms)


def longest_pause(times_ms: Iterable[int], from_ms: float, to_ms: float) -> Pause:
    """The longest pause between two times in a row that overlaps [from_ms, to_ms].

    Raises:
        OperationFailed: no two times stand around any part of it.
    """
    ordered = sorted(times_ms)
    pauses = [
        Pause(after - before, before, after)
        for before, after in pairwise(ordered)
        if after >= from_ms and before <= to_ms
    ]
    if not pauses:
        raise OperationFailed(f"no output around the operation ({len(ordered)} batches in all)")
    return max(pauses)


class OutputMeter:
    """Reads the output topic's batch headers; records are never looked at."""

    def __init__(self, kafka: KafkaClient, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic

    async def mark(self) -> dict[TopicPartition, int]:
        """Where the output ends now: the begin of a measurement."""
        return await self._kafka.last_stable_offsets([self._topic])

    async def pause_since(self, mark: Mapping[TopicPartition, int], from_ms: float, to_ms: float) -> Pause:
        """The longest pause around [from_ms, to_ms], once everything up to the ends of now is committed or aborted.

        Raises:
            NoProgress: transactions of before stayed open.
        """
        ends = await self._kafka.end_offsets([self._topic])
        deadline = time.monotonic() + _STABLE_TIMEOUT_S
        while any(stable < ends[tp] for tp, stable in (await self.mark()).items()):
            if time.monotonic() > deadline:
                raise NoProgress(f"transactions on {self._topic} stayed open for {_STABLE_TIMEOUT_S:.0f} s")
            await asyncio.sleep(_STABLE_POLL_S)
        stable = await self.mark()
        times_ms: list[int] = []
        for tp, end in stable.items():
            committed = CommittedTimes()
            async for batch in self._kafka.batches(tp, mark.get(tp, 0), end):
                committed.add(batch)
            times_ms += committed.times_ms
        return longest_pause(times_ms, from_ms, to_ms)

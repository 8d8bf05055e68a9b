"""How long readers of committed records were kept waiting: the last stable offset, watched from outside."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tidegate.clients.kafka_types import KafkaClient, TopicPartition
from tidegate.errors import TidegateError

_EVERY_S = 0.25


class BlockedReaders:
    """Watches topics. A reader is blocked while records stand behind a last stable offset that does not move.

    An outage of Kafka itself is not counted: whatever could not be asked begins anew.
    """

    def __init__(self, kafka: KafkaClient, topics: Sequence[str]) -> None:
        self._kafka = kafka
        self._topics = topics
        self._since: dict[TopicPartition, tuple[int, float]] = {}
        self._task: asyncio.Task[None] | None = None
        self.longest_s = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._kafka.aclose()

    def begin(self) -> None:
        """Measure from here on."""
        self.longest_s = 0.0
        self._since.clear()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            began = time.monotonic()
            try:
                # In this order: an end that is read later can only be farther, so "behind" may be a moment too early.
                stable = await self._kafka.last_stable_offsets(self._topics)
                ends = await self._kafka.end_offsets(self._topics)
            except TidegateError:
                self._since.clear()
                continue
            now = time.monotonic()
            if now - began > 2.0:
                self._since.clear()  # Kafka was away for a part of this look
                continue
            self._see(stable, ends, now)

    def _see(self, stable: dict[TopicPartition, int], ends: dict[TopicPartition, int], now: float) -> None:
        for partition, offset in stable.items():
            known = self._since.get(partition)
            if ends.get(partition, 0) <= offset:
                self._since.pop(partition, None)
            elif known is None or known[0] != offset:
                self._since[partition] = (offset, now)
            else:
                self.longest_s = max(self.longest_s, now - known[1])

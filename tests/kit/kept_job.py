"""A job whose recovery points are kept: it writes, completes checkpoints and is mirrored as a test says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tests.kit.kafka_fake import FakeKafka
from tests.kit.kafka_fake_job import FakeProducer
from tests.kit.objects import MemoryStore
from tests.kit.snapshots import EAST, JOB, WEST, Job
from tidegate.clients.kafka_types import TopicDescription, TopicPartition
from tidegate.model.mirror import LinkHealth
from tidegate.points.keep import Keeper, Side
from tidegate.points.store import PointStore
from tidegate.snapshot.pace import Pace


class FakeMirror:
    """Has brought what lies below ``came``."""

    def __init__(self) -> None:
        self.came: dict[TopicPartition, int] = {}
        self.lost: list[str] = []
        self.topics: dict[str, dict[str, TopicDescription]] = {}
        self.health: LinkHealth | None = None

    async def passed(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, bool]:
        return {tp: self.came.get(tp, 0) >= end for tp, end in ends.items()}

    async def described(self) -> Mapping[str, Mapping[str, TopicDescription]]:
        return self.topics

    async def holes(self) -> Sequence[str]:
        return self.lost


class Scene:
    """A job that writes two partitions and completes checkpoints; the keeper that watches it."""

    def __init__(self) -> None:
        self.east, self.west, self.control = MemoryStore(), MemoryStore(), MemoryStore()
        self.kafka, self.mirror, self.job = FakeKafka(), FakeMirror(), Job()
        self.now = datetime.now(UTC)
        self.wrote: list[tuple[TopicPartition, int, int]] = []  # partition, offset, interval
        self.open: FakeProducer | None = None
        self.number = 0

    def keeper(self) -> Keeper:
        async def jobs() -> dict[str, int]:
            return {JOB: 7}

        return Keeper(
            home=Side(EAST, self.east),
            away=Side(WEST, self.west),
            kafka=self.kafka,
            outputs=["balances"],
            points=PointStore(self.control, "tidegate"),
            jobs=jobs,
            mirror=self.mirror,
            pace=Pace(part_bytes=1000),
            now=lambda: self.now,
        )

    async def begin(self) -> None:
        await self.kafka.create_topic("balances", 2)
        await self._next()

    async def _next(self) -> None:
        self.number += 1
        self.open = self.kafka.producer(f"{self.job.prefix}-0-{self.number}")
        await self.open.init()
        await self.open.begin()

    async def write(self, partition: int) -> None:
        assert self.open is not None
        tp = TopicPartition("balances", partition)
        at = (await self.kafka.end_offsets(["balances"]))[tp]
        await self.open.write("balances", partition, [self.number])
        self.wrote.append((tp, at, self.number))

    async def barrier(self) -> FakeProducer:
        """The interval ends: what comes is of the next one. Its transaction is committed when all is done."""
        assert self.open is not None
        ended = self.open
        await self._next()
        return ended

    async def complete(self, ended: FakeProducer, *, commit: bool = True) -> None:
        number = int(ended.transactional_id.rpartition("-")[2])
        await self.job.checkpoint(
            self.east, number, {"shared": 1500}, {"own": 20}, producer_id=ended.producer_id,
            positions={("payments", 0): number * 10},
        )  # fmt: skip
        if commit:
            await ended.commit()

    async def checkpoint(self, *partitions: int) -> None:
        for partition in partitions:
            await self.write(partition)
        await self.complete(await self.barrier())

    async def all_mirrored(self) -> None:
        self.mirror.came = await self.kafka.end_offsets(["balances"])

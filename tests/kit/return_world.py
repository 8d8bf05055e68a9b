"""The east, given up with a tail and old jobs, answers again: the steps of its return over two regions in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.kit.failover_clients import Driver
from tests.kit.failover_regions import AT, BACK, BUCKET, FLEET, OUT
from tests.kit.failover_world import FailoverWorld
from tests.kit.kafka_fake_job import FakeProducer
from tests.kit.kafka_fake_logs import Fenced
from tests.kit.objects import _nothing as nothing
from tests.kit.temporal_world_facts import writer
from tests.kit.world_gate import Gate
from tidegate import names
from tidegate.clients import kafka_feed
from tidegate.clients.flink_types import JobState
from tidegate.clients.kafka_types import KafkaClient, KafkaSecurity, LogRecord, TopicPartition
from tidegate.driver.base import JobView
from tidegate.errors import Unavailable
from tidegate.failover import feeding, returning, tail
from tidegate.failover.cut import mirror_back
from tidegate.failover.feeding import place_fed
from tidegate.failover.sides import Sides
from tidegate.model.fleet import Fleet
from tidegate.model.record import DeploymentRecord, Gone
from tidegate.model.returning import QuarantineFact, ReturnStep, TailFact
from tidegate.names import transactional_prefix
from tidegate.operation.gone import gone_since
from tidegate.registry.records import encode
from tidegate.snapshot.rebased import REBASED_NAME, RebasedRecord

LATE_MS = 4_000_000_000_000
"""A broker's time after every cut that a test makes."""


class ReturnDriver(Driver):
    """Also what a job was restored from."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate)
        self.restored_from: dict[str, str] = {}

    async def list_jobs(self) -> dict[str, JobState]:
        return await self._ask("list_jobs", lambda: dict(self.jobs))

    async def observe(self, job_id: str) -> JobView:
        view = JobView(job_id=job_id, state=self.jobs.get(job_id), restored_from=self.restored_from.get(job_id))
        return await self._ask("observe", lambda: view)


class GatedFeed:
    """A transaction is begun with the first half of the records, goes on with the rest, and is committed."""

    def __init__(self, gate: Gate, producer: FakeProducer) -> None:
        self.gate, self.producer = gate, producer

    async def write(self, topic: str, partition: int, records: Sequence[LogRecord]) -> None:
        half = (len(records) + 1) // 2
        try:
            for part in (records[:half], records[half:]):
                if part:
                    await self.gate(
                        "feed",
                        f"write {topic}/{partition} {len(part)}",
                        lambda part=part: self.producer.write(topic, partition, part),  # type: ignore[misc]
                        mutating=True,
                    )
            await self.gate("feed", "commit", self.producer.commit, mutating=True)
        except Fenced as error:
            raise Unavailable(f"{topic}/{partition}: another attempt feeds it now") from error


class ReturnWorld(FailoverWorld):
    """``ledger`` was failed over to the west, unplanned; the east has a tail in ``payments`` and in ``balances``."""

    def __init__(self, fleet: Fleet = FLEET) -> None:
        super().__init__(fleet)
        self.driver = {"east": ReturnDriver(self.gate), "west": ReturnDriver(self.gate)}
        self.unplanned = True
        self.copy = ""
        self.asked: Any = None

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> ReturnWorld:
        super().patch(monkeypatch)
        monkeypatch.setattr(kafka_feed, "open_feed", self.open_feed)
        monkeypatch.setattr(feeding, "PORTION_RECORDS", 3)
        return self

    @asynccontextmanager
    async def open_feed(
        self, bootstrap: str, security: KafkaSecurity | None, kafka: KafkaClient, transactional_id: str
    ) -> AsyncIterator[GatedFeed]:
        """In place of ``kafka_feed.open_feed``, with its own way of finishing what was begun before."""
        assert bootstrap == self.fleet.region("west").kafka.bootstrap
        await kafka_feed.finish_before(kafka, transactional_id)
        producer = self.kafka["west"].producer(transactional_id, "User:admin")
        await self.gate("feed", "init", producer.init, mutating=True)
        yield GatedFeed(self.gate, producer)

    # -- how it came to that

    async def lost(self, *, read: tuple[int, int] = (3, 3), tail_of: int = 4) -> None:
        """The east is lost and the job goes on in the west. ``read``: what its state had read in the east, where 6
        payments have crossed of each partition; so many more stand in the tail of each.
        """
        await self.place_snapshot(read)
        await self.place_points(self.point(3))
        await self.traffic("east", tail_of)
        self.driver["east"].down = self.kafka["east"].down = self.connect["east"].down = True
        self.snapshots["east"].before = _gone
        await self.close(self.sides())
        await self.shut(self.sides())
        await self.cut(self.sides())
        self.copy = (await self.rebase(self.sides())).location
        await self.started()
        await self.open(self.sides())
        self.kafka["west"].write_plain("payments", 0, [b"west-a", b"west-b"], "User:producer")
        await self.traffic_of_the_job()
        await self.take("return-ledger-1", take_over=True)

    async def started(self) -> None:
        record = await self.record()
        await super().started()
        await self.change(gone=gone_since(record, "west", self.copy))

    async def answers(self) -> None:
        """The east is back, with the job that was left there."""
        self.driver["east"].down = self.kafka["east"].down = self.connect["east"].down = False
        self.snapshots["east"].before = nothing
        self.kafka["east"].now_ms = LATE_MS

    async def zombie(self, count: int = 2, epoch: int = 7) -> None:
        """The old job, back by itself, commits outputs."""
        sink = self.kafka["east"].producer(f"{transactional_prefix('ledger', 'balances-sink', epoch)}0-99")
        await sink.init()
        await sink.write("balances", 0, [f"zombie-{n}".encode() for n in range(count)])
        await sink.commit()

    async def again(self) -> None:
        """It is started anew in the west, from a savepoint of its own: the record's base is not the copy any more."""
        record = await self.record()
        own = "s3://west/savepoints/ledger/e00000008-x/savepoint-1"
        job = writer("v1", 9).model_copy(update={"region": "west"})
        base = record.base.model_copy(update={"location": own, "epoch": 8}) if record.base is not None else None
        await self.change(epoch=9, writer=job, base=base, gone=gone_since(record, "west", own))

    async def other(self, name: str, **gone: Gone) -> None:
        """Another deployment of the fleet file lives in the west."""
        record = DeploymentRecord(
            deployment=name, epoch=8, writer=writer("v1", 8).model_copy(update={"region": "west"}), gone=gone
        )
        await self.control.put(f"s3://{BUCKET}/{names.record_key(name)}", encode(record))

    async def copy_of(self, name: str, read: Mapping[int, int], number: int = 1, *, region: str = "east") -> str:
        """A copy in the west whose original had read so far in the payments of the east, by partition."""
        at = f"s3://west/savepoints/{name}/copy-chk-{number}-0a1b2c3d"
        told = RebasedRecord(
            deployment=name,
            fork=False,
            source="s3://west/savepoints/x",
            source_region=region,
            region="west",
            replays=0,
            moved=tuple({"topic": "payments", "partition": one, "offset": to} for one, to in sorted(read.items())),
            dropped=(),
            operators_cut=(),
            metadata_sha256="0" * 64,
        )
        await self.snapshots["west"].put(f"{at}/{REBASED_NAME}", told.model_dump_json().encode())
        return at

    # -- the steps

    async def quarantine(self, sides: Sides) -> QuarantineFact:
        return await returning.quarantine(sides, self._step(ReturnStep, tail=self.asked))

    async def apart(self, sides: Sides) -> TailFact:
        return await tail.set_apart(sides, self._step(ReturnStep, tail=self.asked))

    async def back(self, sides: Sides) -> Any:
        return await mirror_back(sides, self.topics)

    # -- what is seen

    async def payments(self, region: str) -> list[LogRecord]:
        """Every payment that a reader of the region's log gets, in the order of partitions."""
        kafka = self.kafka[region]
        return [
            record
            for tp, end in (await kafka.last_stable_offsets(["payments"])).items()
            async for record in kafka.records(tp, 0, end)
        ]

    async def counted(self, region: str) -> list[bytes]:
        """The payments of the region's log that count by the lineage."""
        known = await self.lineage("payments")
        assert known is not None
        found: list[bytes] = []
        for number, partition in known.partitions.items():
            gone = [(one.first, one.last) for one in partition.excluded if one.region == region]
            tp = TopicPartition("payments", int(number))
            end = (await self.kafka[region].last_stable_offsets(["payments"]))[tp]
            records = [record async for record in self.kafka[region].records(tp, 0, end)]
            found += [one.value or b"" for one in records if not any(low <= one.offset <= high for low, high in gone)]
        return found

    async def held(self) -> dict[str, bytes]:
        """What is written out under tails/, by key."""
        return {uri.key: one.body for uri, one in self.control.objects.items() if uri.key.startswith("tails/")}


async def _gone(op: str, uri: Any) -> None:
    raise Unavailable(f"S3 does not answer ({op} {uri})")


def fleet_with(**fields: Any) -> Fleet:
    """The fleet, with ``fields`` of the ledger changed; ``fraud``: of a second deployment that reads payments, too."""
    ledger = FLEET.deployment("ledger")
    fraud = fields.pop("fraud", None)
    deployments = {"ledger": ledger.model_copy(update=fields)}
    if fraud is not None:
        (sink,) = ledger.sinks
        own = {"sinks": (sink.model_copy(update={"uid": "alerts-sink", "topics": ("alerts",)}),)}
        deployments["fraud"] = ledger.model_copy(update=own | fraud)
    return FLEET.model_copy(update={"deployments": deployments})


async def returned(monkeypatch: pytest.MonkeyPatch, fleet: Fleet = FLEET, **lost: Any) -> ReturnWorld:
    world = (await ReturnWorld.made(fleet)).patch(monkeypatch)
    await world.lost(**lost)
    await world.answers()
    return world


async def fed(world: ReturnWorld) -> dict[tuple[int, int], bytes]:
    """By partition and offset in the east, what was fed into the west."""
    found: dict[tuple[int, int], bytes] = {}
    for record in await world.payments("west"):
        stood = place_fed(record)
        if stood is not None:
            assert (stood.partition, stood.offset) not in found, "fed twice"
            found[stood.partition, stood.offset] = record.value or b""
    return found


__all__ = ["AT", "BACK", "OUT", "ReturnWorld", "fed", "fleet_with", "returned"]

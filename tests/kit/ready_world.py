"""A fleet of two regions in memory in which all is well, and faults to plant in it, for readiness reviews."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.kit import snapshot_bytes as w
from tests.kit.connect_fake import FakeConnect
from tests.kit.flink_fake import FakeFlink
from tests.kit.flink_fake_model import FakeJob, Program
from tests.kit.flink_fake_net import FlinkNet
from tests.kit.kafka_fake import FakeKafka
from tests.kit.objects import MemoryStore
from tests.kit.snapshots import JOB, Job
from tests.kit.temporal_world_facts import artifact, writer
from tidegate import names
from tidegate.clients.flink import FlinkClient
from tidegate.clients.kafka_types import KafkaClient, KafkaSecurity, TopicPartition
from tidegate.clients.objects import ObjectStore, S3Uri
from tidegate.errors import Refused, Unavailable
from tidegate.mirror.link import MirrorLink
from tidegate.model.failover import FAILOVER_DEPLOYMENT
from tidegate.model.fleet import Fleet
from tidegate.model.fleetfile import load_fleet
from tidegate.model.operation import Outcome, Verdict
from tidegate.model.record import DeploymentRecord, Holder
from tidegate.model.recovery import FailoverFacts, Strength
from tidegate.model.review import DeploymentReview
from tidegate.model.steps import ReportInput
from tidegate.points.model import OutputCut, Point, Points
from tidegate.points.store import PointStore
from tidegate.readiness.facts import Facts, NotKnown, ScheduledDrill
from tidegate.readiness.gather import gather
from tidegate.readiness.reach import Reach
from tidegate.readiness.review import review
from tidegate.report.write import canonical
from tidegate.snapshot.metadata import committer_uid_of, operator_id_of, parse

SANDBOX = Path(__file__).parents[2] / "runbooks" / "fleet-sandbox.yaml"
BUCKET = "tidegate"
OUT, BACK = "east-to-west", "west-to-east"
TOPICS = ("payments", "balances")
UIDS = ("payments-source", "balance", "balances-sink", committer_uid_of("balances-sink"))
GRAPH = tuple((operator_id_of(uid), f"{uid}<br/>") for uid in UIDS)
OUTAGE_S = 86_400.0


def a_fleet() -> Fleet:
    """The sandbox's, as it would be if its parts stood on machines of their own."""
    fleet = load_fleet(SANDBOX).fleet
    regions = {}
    for name, region in fleet.regions.items():
        kafka = region.kafka.model_copy(update={"bootstrap": f"kafka-1.{name}.test:9092,kafka-2.{name}.test:9092"})
        s3 = region.s3.model_copy(update={"endpoint": f"http://s3.{name}.test:9000"})
        regions[name] = region.model_copy(update={"kafka": kafka, "s3": s3})
    control = fleet.control.s3.model_copy(update={"endpoint": "http://s3.control.test:9000"})
    ledger = fleet.deployment("ledger")
    objectives = ledger.objectives.model_copy(update={"drill_days": 7})
    return fleet.model_copy(
        update={
            "regions": regions,
            "control": fleet.control.model_copy(update={"s3": control}),
            "deployments": {"ledger": ledger.model_copy(update={"objectives": objectives})},
        }
    )


@dataclass
class World:
    """``ledger`` runs in the east, its standby is the west; every part is a fake that a test may break."""

    fleet: Fleet = field(default_factory=a_fleet)
    kafka: dict[str, FakeKafka] = field(default_factory=dict)
    connect: dict[str, FakeConnect] = field(default_factory=dict)
    flink: dict[str, FakeFlink] = field(default_factory=dict)
    net: dict[str, FlinkNet] = field(default_factory=dict)
    stores: dict[str, MemoryStore] = field(default_factory=dict)
    control: MemoryStore = field(default_factory=MemoryStore)
    workers: dict[str, int] = field(default_factory=dict)
    refused: set[tuple[str, str]] = field(default_factory=set)
    """Region and principal that its Kafka does not let in."""
    drills: tuple[ScheduledDrill, ...] | NotKnown = ()
    """By the clock, of all deployments; or that Temporal does not say."""
    job: FakeJob | None = None
    drilled: float = 2.0
    """Days since the last drill."""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    async def made(cls) -> World:
        world = cls()
        for region in ("east", "west"):
            world._region(region)
        for kafka in world.kafka.values():
            for topic in TOPICS:
                await kafka.create_topic(topic, 2, TOPIC)
        world.workers = dict.fromkeys(world.queues, 2)
        await world._job()
        await world._traffic()
        for region in ("east", "west"):
            await world.place_points(region)
        await world.report("failover-ledger-1", days_ago=world.drilled)
        return world

    # -- what stands at the beginning

    def _region(self, name: str) -> None:
        kafka = FakeKafka()
        kafka.brokers = kafka.replicas = 3
        self.kafka[name], self.connect[name] = kafka, FakeConnect()
        self.flink[name] = FakeFlink(
            taskmanagers=2, slots=4, ha=True, refresh_interval_s=0.0, checkpoint_interval_ms=None, version="2.2.0",
            checkpoint_dir=f"s3://{name}/checkpoints", program=lambda *_: Program(vertices=GRAPH),
        )  # fmt: skip
        self.net[name] = FlinkNet(self.flink[name])
        self.stores[name] = MemoryStore()

    @property
    def queues(self) -> tuple[str, ...]:
        return (names.CONTROL_QUEUE, names.region_queue("east"), names.region_queue("west"))

    async def _job(self) -> None:
        flink = self.flink["east"]
        flink.submit("ledger-v1.jar", {"jobId": JOB, "parallelism": 2})
        flink.tick()
        flink.complete_checkpoint(JOB)
        self.job = flink.jobs[JOB]
        await self.snapshot()
        runs = writer("v1", 7).model_copy(update={"job_id": JOB, "artifact": artifact("v1")})
        await self.control.put(S3Uri(BUCKET, names.jar_key(runs.artifact.sha256)), b"jar")
        await self.record(DeploymentRecord(deployment="ledger", epoch=7, writer=runs))

    async def snapshot(self, *more: bytes) -> None:
        """The newest checkpoint of the job, with these operators besides its own."""
        job = Job()
        await job.checkpoint(self.stores["east"], 12, {"s1": 100}, positions=POSITIONS)
        content = with_operators(job.metadata(12, {"s1": 100}, {}, positions=POSITIONS), more)
        for uid in UIDS:  # by Flink's own ids: a graph is compared by them
            content = content.replace(bytes.fromhex(w.id_of(uid)), bytes.fromhex(operator_id_of(uid)))
        await self.stores["east"].put(S3Uri.parse(f"{job.location(12)}/_metadata"), content)

    async def record(self, record: DeploymentRecord) -> None:
        await self.control.put(S3Uri(BUCKET, names.record_key("ledger")), record.model_dump_json().encode())

    async def fork(self, *, hours_ago: float) -> None:
        """What a drill that was begun then has in the west: a job with four slots."""
        since = self.now - timedelta(hours=hours_ago)
        holder = Holder(
            operation="drill-ledger-9", run_id="r", runbook="DrillRecovery", cluster_id="c", namespace="n",
            who="clock", why="", since=since,
        )  # fmt: skip
        runs = writer("v1", 1).model_copy(update={"region": "west", "job_id": "f" * 32, "parallelism": 4})
        name = "ledger-drill-1a2b3c4d"
        record = DeploymentRecord(deployment=name, epoch=1, fence=1, state="HELD", writer=runs, holder=holder)
        await self.control.put(S3Uri(BUCKET, names.record_key(name)), record.model_dump_json().encode())

    async def _traffic(self) -> None:
        await self.write(6)
        async with self.reach().link(OUT) as link:
            await link.connect.create(link.connector, link.config, initial_state="RUNNING")
            await self.connect["west"].mirror(link)

    async def write(self, count: int) -> None:
        """Payments with an id in their first column, and as many balances; nothing mirrors them by itself."""
        for partition in (0, 1):
            values = [f"p-{partition}-{n},10".encode() for n in range(count)]
            self.kafka["east"].write_plain("payments", partition, values, "User:producer")
            sink = self.kafka["east"].producer(
                f"{names.transactional_prefix('ledger', 'balances-sink', 7)}{partition}-1"
            )
            await sink.init()
            await sink.write("balances", partition, values)
            await sink.commit()

    async def place_points(self, region: str, **changes: Any) -> None:
        """One recovery point in a region, as the keeper would have written it just now."""
        location = Job().location(12) if region == "east" else "s3://west/savepoints/ledger/from-east/e7-chk-12-1a2b"
        point = Point(
            id="e7-chk-12", kind="checkpoint", snapshot=location, epoch=7, checkpoint_id=12,
            taken_at=self.now - timedelta(seconds=2), inputs={"payments-source": {"payments/0": 3, "payments/1": 3}},
            outputs={"balances/0": OutputCut(upto=3, last=2, first_later=None)}, outputs_there=True,
            verified_at=self.now - timedelta(seconds=1),
        ).model_copy(update=changes)  # fmt: skip
        kept = Points(deployment="ledger", region=region, home="east", updated_at=self.now, points=(point,))
        store = PointStore(self.control, BUCKET)
        await store.write(await store.read("ledger", region), kept)

    async def report(self, operation: str, *, days_ago: float, **changes: Any) -> None:
        """The report of a failover that met its objectives."""
        ended = self.now - timedelta(days=days_ago)
        facts = FailoverFacts(
            source="east", target="west", planned=False, strength=Strength.STOPPED, rto_s=14.2, rpo_s=1.1
        )
        told = ReportInput(
            operation=operation, run_id=f"{operation}-run-000000000001", runbook=FAILOVER_DEPLOYMENT,
            deployment="ledger", fleet_digest="f" * 64, requested_by="ana", reason="drill",
            started=ended - timedelta(seconds=40), ended=ended,
            outcome=Outcome.DONE, summary="v1 runs in west", why="", break_glass=None, take_over=None, observation=None,
            plan=None, approval=None, steps=(), verdict=Verdict(audited=True, gap_ms=2100.0), failover=facts,
        ).model_copy(update=changes)  # fmt: skip
        key = names.report_key("ledger", operation, told.run_id, "json")
        await self.control.put(S3Uri(BUCKET, key), canonical(told))

    # -- reviewing it

    def reach(self) -> WorldReach:
        return WorldReach(self.fleet, self.control, BUCKET, self.pollers, self, drills=self.scheduled)

    async def scheduled(self) -> tuple[ScheduledDrill, ...]:
        if isinstance(self.drills, NotKnown):
            raise Unavailable(self.drills.why)
        return self.drills

    async def pollers(self, queue: str) -> int:
        return self.workers[queue]

    async def facts(self) -> Facts:
        """As of ``now``: how long the machine was busy since says nothing of the age of what it sees."""
        with patch("tidegate.readiness.gather.utc_now", lambda: self.now):
            (found,) = await gather(self.reach(), ["ledger"], OUTAGE_S)
        return found

    async def review(self) -> DeploymentReview:
        return review(await self.facts())


@dataclass(frozen=True)
class WorldReach(Reach):
    """Reaches the parts of a world."""

    world: World

    @asynccontextmanager
    async def store(self, region: str) -> AsyncIterator[ObjectStore]:
        yield self.world.stores[region]

    @asynccontextmanager
    async def kafka(self, region: str) -> AsyncIterator[KafkaClient]:
        yield self.world.kafka[region]

    @asynccontextmanager
    async def kafka_as(self, region: str, login: KafkaSecurity) -> AsyncIterator[KafkaClient]:
        if (region, login.username) in self.world.refused:
            raise Refused(f"Kafka at kafka-1.{region}.test:9092 refused the log-in of User:{login.username} by PLAIN")
        yield self.world.kafka[region]

    @asynccontextmanager
    async def flink(self, rest: str) -> AsyncIterator[FlinkClient]:
        region = next(name for name, of in self.fleet.regions.items() if of.cells["cell-1"].flink.rest == rest)
        async with self.world.net[region].client() as client:
            yield client

    @asynccontextmanager
    async def link(self, name: str) -> AsyncIterator[MirrorLink]:
        mirror = self.fleet.mirror(name)
        yield MirrorLink(
            name=name, source=mirror.source, target=mirror.target, topics=mirror.topics, group=mirror.connect.group,
            config={"name": f"tidegate-{name}", "connector.class": "M", "tasks.max": "1"},
            source_kafka=self.world.kafka[mirror.source], target_kafka=self.world.kafka[mirror.target],
            connect=self.world.connect[mirror.target].client(), principal="mirror",
        )  # fmt: skip


TOPIC = {
    "retention.ms": "604800000",
    "min.insync.replicas": "2",
    "message.timestamp.type": "LogAppendTime",
}
POSITIONS = {("payments", 0): 3, ("payments", 1): 3}


def with_operators(metadata: bytes, more: tuple[bytes, ...]) -> bytes:
    """The same ``_metadata`` with these operators at its end."""
    known = parse(metadata)
    span, tail = known.operator_count_span, known.tail
    count = w.i32(len(known.operators) + len(more))
    return metadata[: span.start] + count + metadata[span.end : tail.start] + b"".join(more) + metadata[tail.start :]


def keyed_operator(uid: str, *, named: bool = True) -> bytes:
    """An operator with keyed state; ``named`` False: Flink made up its id, and there is no uid in the file."""
    made = w.operator(uid, [w.subtask(0, keyed=w.key_groups(w.inline(b"0123456789")))])
    return made if named else made.replace(w.utf(f"{uid} name") + w.utf(uid), w.utf(f"{uid} name") + w.utf(""), 1)


def topic_at(kafka: FakeKafka, topic: str, **settings: str) -> None:
    """Settings of a topic, with ``_`` for each dot."""
    kafka.topic_settings[topic] |= {name.replace("_", "."): value for name, value in settings.items()}


PAYMENTS = TopicPartition("payments", 0)

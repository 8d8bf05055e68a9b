"""Two regions in memory, mirrored, with a deployment between them, for the steps of a failover.

Each call to Kafka, S3, Connect and Flink passes one gate, where the process that makes it may die.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, TypeVar

import httpx
import pytest

from tests.kit.connect_fake import FakeConnect
from tests.kit.kafka_fake import FakeKafka
from tests.kit.mirror_world import holder
from tests.kit.objects import MemoryStore
from tests.kit.snapshots import Job
from tests.kit.temporal_world_facts import pinned, writer
from tests.kit.world_gate import ACTOR, Call, Died, Fault, Gate, GatedKafka, GatedStore
from tidegate.clients.flink_types import JobState
from tidegate.clients.kafka_types import KafkaSecurity
from tidegate.clients.objects import S3Uri
from tidegate.errors import Unavailable
from tidegate.failover import groups, look, rebasing
from tidegate.failover import sides as sides_module
from tidegate.failover.ahead import close_when_current
from tidegate.failover.cut import cut_over, mirror_back, mirror_home_again
from tidegate.failover.groups import translate_groups
from tidegate.failover.home import shut_home
from tidegate.failover.producers import close_producers, open_producers, reopen_home, turn_back
from tidegate.failover.rebasing import rebase_copy
from tidegate.failover.sides import Sides
from tidegate.lineage import gate as lineage_gate
from tidegate.lineage.model import TopicLineage
from tidegate.lineage.store import LineageStore
from tidegate.mirror import control
from tidegate.mirror import rebasing as mirror_rebasing
from tidegate.mirror.link import MirrorLink
from tidegate.model.failover import (
    Answers,
    CutInput,
    OpenInput,
    RebaseInput,
    ShutFact,
    ShutInput,
    Topics,
    TranslateInput,
)
from tidegate.model.fleet import Fleet
from tidegate.model.fleetfile import load_fleet
from tidegate.model.mirror import LinkRecord
from tidegate.model.operation import ReplayRange
from tidegate.model.record import DeploymentRecord, SlotMemory
from tidegate.model.steps import Held
from tidegate.names import transactional_prefix
from tidegate.operation.run import Run
from tidegate.operation.site import Site
from tidegate.points.model import OutputCut, Point, Points
from tidegate.points.store import PointStore, Stored
from tidegate.registry.links import BY_HAND, LinkStore, take_link
from tidegate.registry.ownership import Takeover, Tenure, take
from tidegate.registry.records import RecordStore
from tidegate.snapshot.shipped import SHIPPED_NAME, Shipped

T = TypeVar("T")
BUCKET = "tidegate"
FLEET = load_fleet(Path(__file__).parents[2] / "runbooks" / "fleet-sandbox.yaml").fleet
OUT, BACK = "east-to-west", "west-to-east"
TOPICS = Topics(turn=("balances", "payments"), links=(OUT,), back=(BACK,))
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ACTS = {
    "end_transaction", "abort_by_markers", "deny_transactional_prefix", "lift_denied_prefix", "deny_topic_writes",
    "lift_topic_writes", "create_topic", "put_group_offsets",
}  # fmt: skip


class OpenKafka(GatedKafka):
    """As `GatedKafka`, with the acts of a failover; a log is read as one call."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._kafka, name)

        async def call(*args: Any, **named: Any) -> Any:
            said = f"{name} {' '.join(map(str, args[:2])) if name in ACTS else ''}"
            return await self._gate("kafka", said, lambda: method(*args, **named), mutating=name in ACTS)

        return call


class GatedConnect(FakeConnect):
    """A `FakeConnect` behind the gate. ``offsets_set``: what it was told counts as mirrored, each time."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate
        self.offsets_set: list[dict[tuple[str, str, int], int]] = []

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        act = super()._handle

        async def apply() -> httpx.Response:
            answer = await act(request)
            if request.method == "PATCH" and answer.status_code == 200:
                self.offsets_set.append(dict(next(iter(self.connectors.values())).offsets))
            return answer

        said = f"{request.method} {request.url.path}"
        return await self.gate("connect", said, apply, mutating=request.method != "GET")


@dataclass
class Driver:
    """Flink's word on jobs, behind the gate."""

    gate: Gate
    jobs: dict[str, JobState] = field(default_factory=dict)
    down: bool = False
    slots: tuple[int, int] = (4, 8)
    memory: SlotMemory | None = field(default_factory=lambda: SlotMemory(managed_mib=64.0, heap_mib=128.0))
    waiting: set[str] = field(default_factory=set)
    """Jobs that run by their state, and have no slots yet."""

    async def _ask(self, name: str, answer: Callable[[], T], *, mutating: bool = False) -> T:
        async def apply() -> T:
            if self.down:
                raise Unavailable("Flink does not answer")
            return answer()

        return await self.gate("flink", name, apply, mutating=mutating)

    async def state(self, job_id: str) -> JobState | None:
        return await self._ask("state", lambda: self.jobs.get(job_id))

    async def observe(self, job_id: str) -> Any:
        def view() -> Any:
            state = self.jobs.get(job_id)
            runs = state is JobState.RUNNING and job_id not in self.waiting
            return SimpleNamespace(state=state, all_running=runs)

        return await self._ask("observe", view)

    async def capacity(self) -> Any:
        return await self._ask("capacity", lambda: SimpleNamespace(slots_free=self.slots[0], slots_total=self.slots[1]))

    async def slot_memory(self) -> SlotMemory | None:
        return await self._ask("slot_memory", lambda: self.memory)

    async def cancel(self, job_id: str) -> None:
        await self._ask("cancel", lambda: self.jobs.update({job_id: JobState.CANCELED}), mutating=True)


class FailoverWorld:
    """``ledger`` runs in the east with epoch 7; the link east -> west runs."""

    def __init__(self, fleet: Fleet = FLEET) -> None:
        self.fleet = fleet
        self.gate = Gate()
        self.kafka = {"east": FakeKafka(), "west": FakeKafka()}
        self.connect = {"east": GatedConnect(self.gate), "west": GatedConnect(self.gate)}
        self.control = MemoryStore()
        self.snapshots = {"east": MemoryStore(), "west": MemoryStore()}
        self.driver = {"east": Driver(self.gate), "west": Driver(self.gate)}
        self.records = RecordStore(self._store("control", self.control), BUCKET, control_wait_s=1.0)
        self.tenure: Tenure | None = None
        self.topics = TOPICS
        self.attempts = 0
        self.written = 0
        self.stops: dict[str, int] = {}
        self.shipped = ""
        self.unplanned = False

    def _store(self, part: str, store: MemoryStore) -> Any:
        return GatedStore(part, store, self.gate)

    # -- what stands at the beginning

    @classmethod
    async def made(cls, fleet: Fleet = FLEET) -> Self:
        world = cls(fleet)
        for topic in ("payments", "balances"):
            await world.kafka["east"].create_topic(topic, 2)
        async with world.open_link(fleet, OUT, 1.0) as link:
            tenure = await take_link(world.links, control.fresh_record(link), holder("by-hand", BY_HAND))
            await control.start(link, tenure)
            await tenure.release()
        job = writer("v1", 7)
        world.driver["east"].jobs[job.job_id] = JobState.RUNNING
        await world.take("failover-ledger-1")
        await world.change(epoch=7, writer=job)
        await world.traffic("east", 6)
        await world.mirror(OUT)
        return world

    # -- clients

    @property
    def links(self) -> LinkStore:
        return LinkStore(self._store("control", self.control), BUCKET, control_wait_s=1.0)

    @asynccontextmanager
    async def open_link(
        self, fleet: Fleet, name: str, timeout_s: float = 5.0, *, source_timeout_s: float | None = None
    ) -> AsyncIterator[MirrorLink]:
        """In place of ``mirror.link.open_link``."""
        mirror = fleet.mirror(name)
        returns = {
            other: self.connect[one.target].client()
            for other, one in fleet.mirrors.items()
            if (one.source, one.target) == (mirror.target, mirror.source) and set(one.topics) & set(mirror.topics)
        }
        yield MirrorLink(
            name=name,
            source=mirror.source,
            target=mirror.target,
            topics=mirror.topics,
            group=mirror.connect.group,
            config={"name": f"tidegate-{name}", "connector.class": "M", "tasks.max": "1"},
            source_kafka=OpenKafka(self.kafka[mirror.source], self.gate),  # type: ignore[arg-type]
            target_kafka=OpenKafka(self.kafka[mirror.target], self.gate),  # type: ignore[arg-type]
            connect=self.connect[mirror.target].client(),
            principal="mirror",
            login=KafkaSecurity("SASL_PLAINTEXT", "PLAIN", "mirror", "x"),
            returns=returns,
        )

    @asynccontextmanager
    async def open_kafka(self, _: Fleet, region: str, timeout_s: float) -> AsyncIterator[OpenKafka]:
        """In place of ``mirror.link.open_kafka``."""
        assert timeout_s > 0
        yield OpenKafka(self.kafka[region], self.gate)

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> FailoverWorld:
        """The library finds this world's links, and waits for nothing that stands still anyway."""
        for module in (sides_module, look, rebasing, mirror_rebasing):
            monkeypatch.setattr(module, "open_link", self.open_link)
        for module in (rebasing, groups):
            monkeypatch.setattr(module, "open_kafka", self.open_kafka)
        monkeypatch.setattr(lineage_gate, "STANDS_S", 0.0)
        return self

    def site(self, region: str) -> Site:
        return Site(
            fleet=self.fleet,
            deployment="ledger",
            region=region,
            cell="cell-1",
            driver=self.driver[region],  # type: ignore[arg-type]
            kafka=OpenKafka(self.kafka[region], self.gate),  # type: ignore[arg-type]
            snapshots=self._store("snapshots", self.snapshots[region]),
            control=self._store("control", self.control),
            control_bucket=BUCKET,
            fetch=_no_fetch,
        )

    def sides(self, claim: Tenure | None = None) -> Sides:
        """A fresh process of the operation: it knows nothing but the claim."""
        self.attempts += 1
        known = claim or self.tenure
        assert known is not None
        tenure = Tenure(self.records, known.claim, attempt=self.attempts)
        return Sides(Run(site=self.site("east"), tenure=tenure, n=1), Run(site=self.site("west"), tenure=tenure, n=1))

    # -- who holds it

    async def take(self, operation: str, *, take_over: bool = False) -> Tenure:
        found = await self.records.read("ledger")
        self.tenure = await take(
            self.records,
            "ledger",
            holder(operation, "FailoverDeployment"),
            expected_fence=found.record.fence if found else 0,
            takeover=Takeover("eve", "faster") if take_over else None,
        )
        return self.tenure

    async def change(self, **update: Any) -> DeploymentRecord:
        """The record, changed by a step that is not under test."""
        assert self.tenure is not None
        claim = Tenure(self.records, self.tenure.claim)
        await claim.read()
        return await claim.change("test", 0, lambda record: record.model_copy(update=update))

    async def record(self) -> DeploymentRecord:
        found = await self.records.read("ledger")
        assert found is not None
        return found.record

    async def lineage(self, topic: str) -> TopicLineage | None:
        return await LineageStore(self.control, BUCKET).read(topic)

    async def link(self, name: str) -> LinkRecord | None:
        return await LinkStore(self.control, BUCKET).read(name)

    # -- what goes on in the world

    async def traffic(self, region: str, count: int, epoch: int = 7) -> None:
        """Payments of the producer, and as many balances of the job of this epoch."""
        kafka = self.kafka[region]
        for partition in (0, 1):
            values = [f"{region}-{self.written + n}".encode() for n in range(count)]
            kafka.write_plain("payments", partition, values, "User:producer")
            sink = kafka.producer(f"{transactional_prefix('ledger', 'balances-sink', epoch)}{partition}-1")
            await sink.init()
            await sink.write("balances", partition, values)
            await sink.commit()
            self.written += count

    async def mirror(self, name: str, at_most: int = 1 << 30) -> int:
        """The link brings what is there, if it runs."""
        async with self.open_link(self.fleet, name) as link:
            raw = MirrorLink(
                **{
                    **{one: getattr(link, one) for one in link.__dataclass_fields__},
                    "source_kafka": self.kafka[link.source],
                    "target_kafka": self.kafka[link.target],
                }
            )
            known = self.connect[link.target].connectors.get(link.connector)
            if known is None or known.target != "RUNNING":
                return 0
            return await self.connect[link.target].mirror(raw, at_most=at_most)

    async def place_snapshot(self, payments: tuple[int, int], number: int = 12, head: bytes = b"") -> str:
        """A snapshot of the job at these input positions, shipped to the west; its location there.

        ``head``: what names its keyed states (``snapshot_bytes.keyed_head``).
        """
        job = Job(base="s3://west/checkpoints")
        at = dict(zip((("payments", 0), ("payments", 1)), payments, strict=True))
        location = str(await job.checkpoint(self.snapshots["west"], number, positions=at, sink=False, head=head))
        shipped = Shipped(
            deployment="ledger", id=f"e7-chk-{number}", kind="checkpoint", epoch=7, job_id=job.job_id,
            checkpoint_id=number, source_region="east", source=f"s3://east/checkpoints/x/chk-{number}",
            source_etag="e", target=location, taken_at=AT, shipped_at=AT, metadata_sha256="0" * 64, files=(),
        )  # fmt: skip
        await self.snapshots["west"].put(f"{location}/{SHIPPED_NAME}", shipped.model_dump_json().encode())
        self.shipped = location
        return location

    async def place_points(self, *points: Point, region: str = "west") -> None:
        wanted = Points(deployment="ledger", region=region, home="east", updated_at=AT, points=points)
        await PointStore(self.control, BUCKET).write(Stored(None, None), wanted)

    def point(self, upto: int, *, number: int = 12, **changes: Any) -> Point:
        """The point of ``place_snapshot``: the job's output below ``upto`` is its own."""
        told: dict[str, Any] = {
            "id": f"e7-chk-{number}", "kind": "checkpoint", "snapshot": self.shipped,
            "source": f"s3://east/checkpoints/x/chk-{number}", "epoch": 7, "checkpoint_id": number, "taken_at": AT,
            "inputs": {"payments-source": {"payments/0": upto}}, "outputs_there": True, "verified_at": AT,
            "outputs": {
                f"balances/{n}": OutputCut(upto=upto, last=upto - 1, first_later=None) for n in (0, 1)
            },
        }  # fmt: skip
        return Point.model_validate(told | changes)

    # -- the steps

    def _step(self, kind: type[T], **fields: Any) -> T:
        assert self.tenure is not None
        claim = self.tenure.claim
        return kind(
            held=Held(deployment="ledger", holder=claim.holder, fence=claim.fence),
            fleet_digest="f",
            n=1,
            at="west/cell-1",
            home="east/cell-1",
            topics=self.topics,
            unplanned=self.unplanned,
            **fields,
        )

    async def close(self, sides: Sides, *, take_over: bool = False) -> ShutFact:
        if self.unplanned:
            answers = not self.kafka["east"].down
            fact = await close_producers(sides, self.topics, take_over=take_over, home_answers=answers)
        else:
            fact = await close_when_current(sides, self.topics, take_over=take_over)
        self.stops = fact.ends
        return fact

    async def shut(self, sides: Sides) -> Any:
        return await shut_home(sides, self._step(ShutInput, drain_s=0.3), None)

    async def cut(self, sides: Sides) -> Any:
        return await cut_over(sides, self._step(CutInput, ends=self.stops, drain_s=5.0))

    async def rebase(self, sides: Sides) -> Any:
        return await rebase_copy(sides, self._step(RebaseInput, snapshot=self.shipped))

    async def groups(self, sides: Sides, superseded: tuple[ReplayRange, ...] = ()) -> Any:
        answers = None
        if self.unplanned:
            gone = "connection refused" if self.kafka["east"].down else None
            answers = Answers(region="east", kafka=gone)
        return await translate_groups(sides, self._step(TranslateInput, superseded=superseded, answers=answers))

    async def open(self, sides: Sides, superseded: tuple[ReplayRange, ...] = ()) -> Any:
        return await open_producers(sides, self._step(OpenInput, superseded=superseded))

    async def back(self, sides: Sides) -> Any:
        return await mirror_back(sides, self.topics)

    async def reopen(self, sides: Sides) -> None:
        """As the activity reopen_home."""
        await turn_back(sides, self.topics)
        await mirror_home_again(sides, self.topics)
        await reopen_home(sides, self.topics)

    async def stop(self) -> None:
        """The job at home ends with a savepoint that is shipped; all has crossed."""
        self.driver["east"].jobs[writer("v1", 7).job_id] = JobState.FINISHED
        ends = await self.kafka["east"].end_offsets(["payments", "balances"])
        told = {f"{tp.topic}/{tp.partition}": end for tp, end in ends.items()}
        payments = tuple(end for tp, end in sorted(ends.items()) if tp.topic == "payments")
        await self.place_snapshot((payments[0], payments[1]))
        output = {name: end for name, end in told.items() if name.startswith("balances")}
        await self.change(pinned=pinned(output_ends=output))
        await self.mirror(OUT)

    async def lose_home(self, *, all_of_it: bool = True) -> None:
        """The east is gone, with a tail that had not crossed, or its Flink only; there is a point from before."""
        await self.place_snapshot((3, 3))
        await self.place_points(self.point(3))
        await self.traffic("east", 2)
        self.driver["east"].down = True
        if not all_of_it:
            await self.mirror(OUT)
            return
        self.kafka["east"].down = self.connect["east"].down = True
        self.snapshots["east"].before = _gone

    async def traffic_at_home_all_the_same(self) -> None:
        """Two payments of somebody whom the fleet file does not name."""
        self.kafka["east"].write_plain("payments", 0, [b"stray-1", b"stray-2"], "User:stranger")

    async def traffic_of_the_job(self) -> None:
        """What the job in the west writes before its producers are let in."""
        sink = self.kafka["west"].producer(f"{transactional_prefix('ledger', 'balances-sink', 8)}0-1")
        await sink.init()
        await sink.write("balances", 0, [f"west-{self.written + n}".encode() for n in range(3)])
        await sink.commit()
        self.written += 3

    async def started(self) -> None:
        """The job runs in the west."""
        job = writer("v1", 8).model_copy(update={"region": "west"})
        self.driver["west"].jobs[job.job_id] = JobState.RUNNING
        await self.change(epoch=8, writer=job)

    async def turn_home(self, operation: str) -> None:
        """The topics are turned back to the east, as a failover the other way does, and the mirror goes west again."""
        await self.take(operation, take_over=True)
        store = LineageStore(self.control, BUCKET)
        claim = self.sides().operation
        for topic in self.topics.turn:
            await store.close(topic, claim)
            ends = await self.kafka["west"].end_offsets([topic])
            cuts = await self.kafka["east"].end_offsets([topic])
            await store.turn(
                topic, claim, "east", planned=True, epoch=9,
                ends={tp.partition: end for tp, end in ends.items()},
                cuts={tp.partition: cut for tp, cut in cuts.items()},
            )  # fmt: skip
            await store.open(topic, claim)
        await self.kafka["east"].lift_topic_writes("User:producer", "payments")
        self.connect["east"].connectors[f"tidegate-{BACK}"].target = "STOPPED"
        known = self.connect["west"].connectors[f"tidegate-{OUT}"]
        for topic in self.topics.turn:
            for tp, cut in (await self.kafka["east"].end_offsets([topic])).items():
                known.offsets["east", topic, tp.partition] = cut - 1
        known.target = "RUNNING"

    # -- processes

    async def go(self, actor: str, act: Callable[[], Awaitable[T]]) -> T:
        """Run as a process of that name; if it dies, all of it does."""

        async def run() -> T:
            ACTOR.set(actor)
            try:
                return await act()
            except Died:
                self.gate.dead.add(actor)
                raise

        return await asyncio.create_task(run())

    async def die_in(self, step: Callable[[Sides], Awaitable[Any]], k: int, how: Fault) -> None:
        """The process of a step dies at its call ``k``."""

        def fault(call: Call) -> Fault:
            return how if (call.actor, call.n) == ("victim", k) else Fault.NONE

        self.gate.fault = fault
        sides = self.sides()
        with contextlib.suppress(Died):
            await self.go("victim", lambda: step(sides))
        assert "victim" in self.gate.dead, f"there is no call {k}"

    async def disturb(self, step: Callable[[Sides], Awaitable[Any]], k: int, how: Fault) -> None:
        """The call ``k`` of a step goes wrong, once; the step ends as it can."""

        def fault(call: Call) -> Fault:
            return how if (call.actor, call.n) == ("victim", k) else Fault.NONE

        self.gate.fault = fault
        sides = self.sides()
        with contextlib.suppress(Unavailable):
            await self.go("victim", lambda: step(sides))


async def _gone(op: str, uri: S3Uri) -> None:
    raise Unavailable(f"S3 does not answer ({op} {uri})")


async def _no_fetch(_: object) -> Path:
    raise AssertionError("no artifact is wanted")

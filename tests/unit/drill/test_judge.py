"""A fork's output against the live one's, on two Kafkas with a mirror between them: exact counts, whoever is ahead."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.kit import snapshot_bytes as w
from tests.kit.failover_regions import AT, BUCKET, OUT
from tests.kit.failover_world import FailoverWorld
from tests.kit.mirror_world import holder
from tests.kit.snapshots import Job, list_state
from tests.kit.temporal_world_facts import artifact, writer
from tidegate.clients.flink_types import JobState
from tidegate.clients.kafka_types import LogRecord, TopicPartition
from tidegate.drill import judge, watch
from tidegate.drill.forking import forked
from tidegate.drill.judge import compare
from tidegate.drill.notes import BaseNote, Notes, WindowNote
from tidegate.drill.watch import GivesWay, catch_up
from tidegate.errors import NoProgress, ProofFailed
from tidegate.model.drill import DrillStep, DrillWatchStep
from tidegate.model.drilled import DrillCompared
from tidegate.model.fleet import CellRef
from tidegate.model.steps import Held, StopFact
from tidegate.names import transactional_prefix
from tidegate.operation.run import Run
from tidegate.points.model import OutputCut, Point, Points
from tidegate.points.store import PointStore
from tidegate.registry.ownership import Tenure, take

FORK = "ledger-drill-1a2b3c4d"
SCRATCH = f"{FORK}.balances"
JOB = writer("v1", 7).job_id
PARTITIONS = (0, 1)


class Scene:
    """Twelve payments in each partition instead of the world's own, each a transaction at home: offsets drift apart."""

    def __init__(self, world: FailoverWorld, run: Run, step: DrillStep) -> None:
        self.world, self.run, self.step = world, run, step

    @classmethod
    async def made(cls, world: FailoverWorld) -> Scene:
        for number in range(12):
            await cls.pay(world, number)
        await world.mirror(OUT)
        tenure = await take(world.records, FORK, holder("drill-1", "DrillRecovery"), expected_fence=0)
        west = world.site("west")
        fleet = forked(world.fleet, "ledger", FORK, CellRef("west", "cell-1"))
        run = Run(site=replace(west, fleet=fleet, deployment=FORK), tenure=Tenure(world.records, tenure.claim))
        await world.kafka["west"].create_topic(SCRATCH, 2)
        claim = tenure.claim
        step = DrillStep(
            held=Held(deployment=FORK, holder=claim.holder, fence=claim.fence), fleet_digest="f", at="west/cell-1",
            deployment="ledger", home="east/cell-1", epoch=7, job_id=JOB, artifact=artifact("v1"), parallelism=2,
            snapshot="s3://west/x", point="e7-chk-4", began=AT,
        )  # fmt: skip
        made = cls(world, run, step)
        base = BaseNote(point=made.point(4), begins={f"payments/{n}": await made.there(n, 4) for n in PARTITIONS})
        await Notes(world.control, BUCKET, FORK).keep("base", base)
        return made

    @staticmethod
    async def pay(world: FailoverWorld, number: int) -> None:
        east = world.kafka["east"]
        for partition in PARTITIONS:
            source = east.producer(f"pay-{partition}-{number}", "User:producer")
            await source.init()
            await source.write("payments", partition, [record(partition, number)])
            await source.commit()
            sink = east.producer(f"{transactional_prefix('ledger', 'balances-sink', 7)}{partition}-{number}")
            await sink.init()
            await sink.write("balances", partition, [record(partition, number)])
            await sink.commit()

    def point(self, payments: int) -> Point:
        """The live job's when it had processed so many payments: each takes two offsets, and its balance as well."""
        upto = 2 * payments
        return Point(
            id=f"e7-chk-{payments}", kind="checkpoint", snapshot="s3://x", epoch=7, checkpoint_id=payments, taken_at=AT,
            inputs={"payments-source": {f"payments/{n}": upto for n in PARTITIONS}},
            outputs={f"balances/{n}": OutputCut(upto=upto, last=upto - 2, first_later=None) for n in PARTITIONS},
        )  # fmt: skip

    async def there(self, partition: int, payments: int) -> int:
        """Where in the west one stands that has processed so many."""
        kafka, tp = self.world.kafka["west"], TopicPartition("payments", partition)
        ends = await kafka.last_stable_offsets(["payments"])
        found = [one.offset async for one in kafka.records(tp, 0, ends[tp])]
        return found[payments] if payments < len(found) else found[-1] + 1

    async def live_points(self, *payments: int) -> None:
        store = PointStore(self.world.control, BUCKET)
        points = tuple(self.point(one) for one in sorted(payments, reverse=True))
        wanted = Points(deployment="ledger", region="east", home="east", updated_at=AT, points=points)
        await store.write(await store.read("ledger", "east"), wanted)

    async def fork_stopped(self, monkeypatch: pytest.MonkeyPatch, payments: int, *wrote: tuple[int, int]) -> None:
        """It has processed so many payments in each partition, and has written the balances of these."""
        positions = {("payments", n): await self.there(n, payments) for n in PARTITIONS}
        job = Job(deployment=FORK, base="s3://west/savepoints/x", job_id="f" * 32)
        location = str(await job.checkpoint(self.world.snapshots["west"], 5, positions=positions, sink=False))
        stop = StopFact(
            job_id="f" * 32, epoch=1, location=location, files=1, size_bytes=1, asked_at=AT, completed_at=AT
        )

        async def stopped(_run: Run, _request: Any) -> StopFact:
            return stop

        monkeypatch.setattr(judge, "stop_deployment", stopped)
        sink = self.world.kafka["west"].producer(f"{transactional_prefix(FORK, 'balances-sink', 1)}0-1")
        await sink.init()
        for partition, number in wrote:
            await sink.write(SCRATCH, partition, [record(partition, number)])
        await sink.commit()

    async def compared(self) -> DrillCompared:
        live = GivesWay(self.world.records, "ledger", JOB)
        return await compare(self.run, self.world.site("east"), self.step, live)


def record(partition: int, number: int, value: str = "10") -> LogRecord:
    """A payment, or its balance: both carry its id first, and its account as the key."""
    account = f"a{partition}"
    return LogRecord(0, 1_000 * number, account.encode(), f"p{partition}-{number},{account},{value}".encode())


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = (await FailoverWorld.made()).patch(monkeypatch)
    for kafka in made.kafka.values():
        for topic in ("payments", "balances"):
            if topic in await kafka.topics():
                kafka.delete_topic(topic)
    for topic in ("payments", "balances"):
        await made.kafka["east"].create_topic(topic, 2)
    for connector in made.connect["west"].connectors.values():
        connector.offsets.clear()
    assert made.tenure is not None
    await Tenure(made.records, made.tenure.claim).release()
    return await Scene.made(made)


def numbers(done: DrillCompared) -> tuple[int, int, int, int, int]:
    return done.compared, done.missing, done.extra, done.differing, done.undetermined


async def test_both_wrote_the_same_whoever_is_ahead(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    # The fork began at 4 and stands at 9; the live job had a checkpoint at 7, and has one at 11 now.
    await scene.live_points(7, 11)
    await scene.fork_stopped(monkeypatch, 9, *((p, n) for p in PARTITIONS for n in range(4, 9)))
    done = await scene.compared()
    assert numbers(done) == (10, 0, 0, 0, 0)
    assert (done.replayed, done.until, done.by) == (10, "e7-chk-7", "record id")
    note = await Notes(scene.world.control, BUCKET, FORK).read("window", WindowNote)
    assert note is not None
    assert note.beyond.id == "e7-chk-11"
    await scene.live_points(12)  # the points of before are not kept any more: a second attempt takes what was noted
    assert await scene.compared() == done


async def test_what_the_fork_lacks_and_what_it_has_too_much_is_counted(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    await scene.live_points(7, 11)
    wrote = [(p, n) for p in PARTITIONS for n in range(4, 9) if (p, n) not in {(0, 5), (1, 8)}]
    # (0, 5) is of the window and missing; (1, 8) is beyond it and nobody can tell; (0, 99) nobody has written.
    await scene.fork_stopped(monkeypatch, 9, *wrote, (0, 99))
    done = await scene.compared()
    assert numbers(done) == (8, 1, 1, 0, 0)
    assert [(one.kind, one.key) for one in done.examples] == [("missing", "p0-5"), ("extra", "p0-99")]


async def test_a_drill_does_not_end_before_the_live_job_is_beyond_the_fork(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(judge, "POINT_S", 0.2)
    await scene.live_points(7)
    await scene.fork_stopped(monkeypatch, 9, *((p, n) for p in PARTITIONS for n in range(4, 9)))
    with pytest.raises(NoProgress, match="the newest is e7-chk-7") as raised:
        await scene.compared()
    assert "tidegate points ledger --keep" in (raised.value.hint or "")


class Flink:
    """Flink's word on the fork."""

    def __init__(self, state: JobState | None = JobState.RUNNING, restarts: int = 0) -> None:
        self.view = SimpleNamespace(state=state, restarts=restarts, first_error="java.lang.X: boom")

    async def observe(self, _job_id: str) -> Any:
        return self.view


async def caught_up(scene: Scene, flink: Flink, *, keyed: bool = True, seconds: float = 5.0):
    west = scene.world.snapshots["west"]
    copy = Job(base="s3://west/copies", job_id="c" * 32)
    await copy.checkpoint(west, 4, {"s": 400}, positions={("payments", 0): 4}, sink=False)
    fork = Job(base="s3://west/checkpoints", job_id="f" * 32)
    at = await fork.checkpoint(west, 9, {"s": 700}, positions={("payments", 0): 9}, sink=False)
    if not keyed:
        state = list_state("SourceReaderState", w.split("payments", 0, 9))
        bare = w.metadata(w.operator("payments-source", [w.subtask(0, managed=state)]), checkpoint_id=9)
        await west.put(at.join("_metadata"), bare)
    step = DrillWatchStep(**dict(scene.step), fork_job="f" * 32, copy_location=copy.location(4), seconds=seconds)
    run = replace(scene.run, site=replace(scene.run.site, driver=flink))  # type: ignore[arg-type]
    return await catch_up(run, step, GivesWay(scene.world.records, "ledger", JOB))


async def test_it_has_caught_up_when_no_record_is_left_though_a_marker_is(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.01)
    await scene.fork_stopped(monkeypatch, 9, (0, 4))
    ends = {TopicPartition("payments", n): await scene.there(n, 12) for n in PARTITIONS}
    scene.world.kafka["west"].commit_group(FORK, ends)
    stable = await scene.world.kafka["west"].last_stable_offsets(["payments"])
    assert any(stable[tp] > end for tp, end in ends.items()), "a marker stands behind the last record"
    fact = await caught_up(scene, Flink())
    assert fact.first_output_at is not None
    assert fact.checkpoint.endswith("/chk-9")
    assert fact.operators == 2


async def test_what_it_waits_for_is_named_and_a_job_that_ended_is_not_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.01)
    scene.world.kafka["west"].commit_group(
        FORK, {TopicPartition("payments", n): await scene.there(n, 10) for n in PARTITIONS}
    )
    with pytest.raises(NoProgress, match="4 input records"):
        await caught_up(scene, Flink(), seconds=0.2)
    with pytest.raises(ProofFailed, match=r"the fork is FAILED after 0 restarts \(limit 2\). java.lang.X: boom"):
        await caught_up(scene, Flink(JobState.FAILED))
    with pytest.raises(ProofFailed, match="not known to Flink any more"):
        await caught_up(scene, Flink(None))
    with pytest.raises(ProofFailed, match="after 3 restarts"):
        await caught_up(scene, Flink(restarts=3))


async def test_a_restore_that_drops_state_fails_by_the_operators_name(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.01)
    ends = {TopicPartition("payments", n): await scene.there(n, 12) for n in PARTITIONS}
    scene.world.kafka["west"].commit_group(FORK, ends)
    with pytest.raises(ProofFailed, match="the restore dropped state: operator balance with"):
        await caught_up(scene, Flink(), keyed=False)

"""A region in memory with a real record, a fake Flink, Kafka and S3, and the operation machine on top (O10).

The judge is exact: it reads the committed output, leaves out what the replay manifests of the starts that took place
name, and compares with what the input should have given. Beside it, each write of the record and each commit of a job
is checked as it happens (I1, I3, O1 to O7).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from tests.kit.flink_fake import FakeFlink
from tests.kit.flink_fake_model import Program
from tests.kit.flink_fake_net import FlinkNet
from tests.kit.kafka_fake import FakeKafka
from tests.kit.objects import MemoryStore
from tests.kit.world_gate import ACTOR, Call, Died, Gate, GatedFlink, GatedKafka, GatedStore
from tests.kit.world_job import INPUT, OUTPUT, PARTITIONS, Behaviour, LedgerJobs
from tests.kit.world_judge import Judgement, broken, judge, superseded
from tests.kit.world_loop import EPOCH_S, VirtualLoop, virtual_time
from tidegate import names
from tidegate.clients.flink_types import JobState
from tidegate.clients.s3 import S3Uri
from tidegate.driver.session import SessionClusterDriver
from tidegate.model.fleetfile import load_fleet
from tidegate.model.record import (
    ArtifactRef,
    DeploymentRecord,
    StartIntent,
    StopIntent,
)
from tidegate.model.steps import (
    EnsureFact,
    EnsureInput,
    Held,
    SnapshotFact,
    StopFact,
    StopJobInput,
    SwitchFact,
    SwitchInput,
    TakeSnapshotInput,
)
from tidegate.operation.ensure import ensure_running
from tidegate.operation.ensure_stopped import ensure_stopped
from tidegate.operation.run import Run
from tidegate.operation.site import Site
from tidegate.operation.stop_deployment import stop_deployment
from tidegate.operation.switch import switch
from tidegate.operation.take_snapshot import take_snapshot
from tidegate.registry.ownership import Takeover, Tenure, new_holder, take
from tidegate.registry.records import RecordStore

T = TypeVar("T")
DEPLOYMENT, BUCKET = "ledger", "tidegate"
RECORD = S3Uri(BUCKET, names.record_key(DEPLOYMENT))
FLEET_FILE = Path(__file__).parents[2] / "runbooks" / "fleet-sandbox.yaml"
_FLEET = load_fleet(FLEET_FILE).fleet

JAR = Path(__file__)  # any file: the fake Flink takes its name for what it is


def behaviours() -> dict[str, Behaviour]:
    """The ledger's artifacts. ``v2u`` is a v2 whose state v1 cannot read."""
    return {
        "v1": Behaviour(reads={"v2"}),
        "v2": Behaviour(reads={"v1"}),
        "v2u": Behaviour(reads={"v1"}),
        "rejected": Behaviour(Program(init_fails="java.lang.IllegalStateException: refused"), {"v1"}),
        "throws": Behaviour(Program(main_throws="java.lang.IllegalStateException: main"), {"v1"}),
        "restore-fails": Behaviour(),
        "crash-early": Behaviour(Program(crash_after_checkpoints=0), {"v1"}),
        "crash-late": Behaviour(Program(crash_after_checkpoints=2), {"v1"}),
    }


READABLE_BY = {"v2": ("v1",), "v1": ("v2", "v2u")}


def ref(name: str) -> ArtifactRef:
    return ArtifactRef(
        name=name, sha256=hashlib.sha256(name.encode()).hexdigest(), uri=f"s3://east/artifacts/ledger-{name}.jar"
    )


def readable_from(name: str) -> tuple[str, ...]:
    """sha256 of the artifacts that are declared to be readable by this one."""
    return tuple(ref(other).sha256 for other, readers in READABLE_BY.items() if name in readers)


@dataclass
class Op:
    """One operation that holds the deployment, and the processes that act for it."""

    world: World
    name: str
    tenure: Tenure
    attempts: int = 0

    def run(self, n: int = 1) -> Run:
        """A fresh process: it knows nothing but the claim."""
        self.attempts += 1
        tenure = Tenure(self.world.records, self.tenure.claim, attempt=self.attempts)
        return Run(site=self.world.site, tenure=tenure, n=n)

    @property
    def held(self) -> Held:
        claim = self.tenure.claim
        return Held(deployment=DEPLOYMENT, holder=claim.holder, fence=claim.fence)

    async def switch(self, to: str, n: int = 1) -> SwitchFact:
        request = SwitchInput(held=self.held, fleet_digest="", n=n, artifact=ref(to), parallelism=2)
        return await switch(self.run(n), request)

    def _ensure(self, to: str, n: int, **more: Any) -> EnsureInput:
        held, reads = self.held, readable_from(to)
        return EnsureInput(
            held=held, fleet_digest="", n=n, artifact=ref(to), parallelism=2, readable_from=reads, **more
        )

    async def ensure(self, to: str, n: int = 1, **more: Any) -> EnsureFact:
        return await ensure_running(self.run(n), self._ensure(to, n, **more))

    async def snapshot(self, n: int = 1, **more: Any) -> SnapshotFact | None:
        return await take_snapshot(self.run(n), TakeSnapshotInput(held=self.held, fleet_digest="", n=n, **more))

    async def stop(self, n: int = 1, **more: Any) -> StopFact:
        return await stop_deployment(self.run(n), StopJobInput(held=self.held, fleet_digest="", n=n, **more))

    async def ensure_stopped(self, to: str, n: int = 1) -> None:
        await ensure_stopped(self.run(n), self._ensure(to, n))

    async def release(self) -> DeploymentRecord:
        return await Tenure(self.world.records, self.tenure.claim).release()


@dataclass
class World:
    """One region and what lies in it. ``checkpoint_every``: calls between two checkpoints of the live job; 0: none."""

    loop: VirtualLoop
    checkpoint_every: int = 7
    gate: Gate = field(default_factory=Gate)
    violations: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    started_jobs: set[str] = field(default_factory=set)
    job_of_epoch: dict[int, str] = field(default_factory=dict)
    newest_running: int = 0
    ops: int = 0
    _writes: int = 0

    def __post_init__(self) -> None:
        self.kafka = FakeKafka(now_ms=int(EPOCH_S * 1000))  # by the same clock as the store
        self.store = MemoryStore(now=self._tick)
        self.control = MemoryStore(now=self._tick)
        self.jobs = LedgerJobs(self.kafka, self.store, behaviours())
        self.flink = FakeFlink(
            checkpoint_dir="s3://east/checkpoints",
            checkpoint_interval_ms=None,
            hooks=self.jobs.hooks(),
            program=self.jobs.program,
            clock=lambda: EPOCH_S + self.loop.time(),
            stop_takes_s=0.05,
            retained=5,
        )
        self.jobs.flink = self.flink
        self.jobs.on_run = self._on_run
        self.jobs.on_commit = self._on_commit
        self.net = FlinkNet(self.flink)
        self._wait_for(self.kafka.create_topic(INPUT, PARTITIONS))
        self._wait_for(self.kafka.create_topic(OUTPUT, PARTITIONS))
        self.kafka.calls.clear()
        self.gate.each = self._meanwhile
        self.records = RecordStore(GatedStore("control", self.control, self.gate), BUCKET, control_wait_s=5.0)
        self.site = Site(
            fleet=_FLEET,
            deployment=DEPLOYMENT,
            region="east",
            cell="cell-1",
            driver=SessionClusterDriver(GatedFlink(self.net, self.gate)),
            kafka=GatedKafka(self.kafka, self.gate),  # type: ignore[arg-type]
            snapshots=GatedStore("snapshots", self.store, self.gate),  # type: ignore[arg-type]
            control=GatedStore("control", self.control, self.gate),  # type: ignore[arg-type]
            control_bucket=BUCKET,
            fetch=self._fetch,
        )
        self._last: DeploymentRecord | None = None
        self._watch_record()
        self._calls_to_checkpoint = 0

    def _tick(self) -> datetime:
        """The time of a write: virtual, and no two at once."""
        self._writes += 1
        return datetime.fromtimestamp(EPOCH_S + self.loop.time(), UTC) + timedelta(microseconds=self._writes)

    @staticmethod
    async def _fetch(_artifact: ArtifactRef) -> Path:
        return JAR

    def _wait_for(self, awaitable: Awaitable[T]) -> T:
        return self.loop.run_until_complete(awaitable)  # type: ignore[arg-type]

    # ------------------------------------------------------------ processes

    async def as_actor(self, actor: str, act: Callable[[], Awaitable[T]]) -> T:
        """Run as a process of that name: what it calls is known by it, and if it dies all of it does."""
        ACTOR.set(actor)
        try:
            return await act()
        except Died:
            self.gate.dead.add(actor)
            raise

    def go(self, actor: str, act: Callable[[], Awaitable[T]]) -> T:
        """The same, from outside the loop, to its end."""
        self.trace.append(f"-- {actor}")
        return self._wait_for(self.loop.create_task(self.as_actor(actor, act)))

    async def take(self, name: str, *, take_over: bool = False) -> Op:
        """An operation takes the deployment at the fence that stands there."""
        ACTOR.set("take")
        found = await self.records.read(DEPLOYMENT)
        holder = new_holder(
            operation=name, run_id=f"{name}-run", runbook="Test", cluster_id="c", namespace="n", who="me", why="test"
        )
        tenure = await take(
            self.records,
            DEPLOYMENT,
            holder,
            expected_fence=found.record.fence if found else 0,
            takeover=Takeover("me", "test") if take_over else None,
        )
        return Op(self, name, tenure)

    def op(self, *, take_over: bool = False) -> Op:
        self.ops += 1
        return self.go(f"take-{self.ops}", lambda: self.take(f"op{self.ops}", take_over=take_over))

    def start(self, artifact: str = "v1") -> Op:
        """The first start of all, released."""
        op = self.op()
        self.go("first-start", lambda: op.ensure(artifact, from_empty=True))
        self.go("first-release", op.release)
        return op

    # ------------------------------------------------------------ the world goes on

    def _meanwhile(self, call: Call) -> None:
        self.trace.append(str(call))
        self.flink.tick()
        for job_id in list(self.jobs.attempts):
            if self.flink.jobs[job_id].tasks_running_ms:
                self.jobs.work_of(job_id, 1)
        self._calls_to_checkpoint += 1
        if self.checkpoint_every and self._calls_to_checkpoint >= self.checkpoint_every:
            self._calls_to_checkpoint = 0
            self.checkpoint()

    def checkpoint(self) -> None:
        """Every job whose tasks run completes one."""
        for job_id in list(self.jobs.attempts):
            job = self.flink.jobs[job_id]
            if job.live and job.tasks_running_ms and job_id in self.jobs.attempts:
                self.jobs.work_of(job_id, 1)
                if job_id in self.jobs.attempts and self.flink.jobs[job_id].tasks_running_ms:
                    self.flink.complete_checkpoint(job_id)
        self.flink.tick()

    def lose_jobmanager(self) -> None:
        """It restarts without high availability; the tasks linger until they are told or `end_lingering`."""
        self.jobs.linger()
        self.flink.restart_jobmanager()

    def lingering_commit(self) -> None:
        """A notification that was on its way: lingering tasks commit up to the newest completed checkpoint."""
        for attempt in self.jobs.lingering:
            told = [c.id for c in attempt.job.checkpoints if not c.is_savepoint]
            if told:
                try:
                    self.jobs.commit(attempt, told[-1])
                except Exception as error:  # noqa: BLE001 - the tasks die of it, as they would
                    self.trace.append(f"lingering tasks: {error}")
        self.jobs.lingering = []

    # ------------------------------------------------------------ watching

    @property
    def record(self) -> DeploymentRecord:
        return DeploymentRecord.model_validate_json(self.control.objects[RECORD].body)

    def live(self) -> list[str]:
        return [job.id for job in self.flink.jobs.values() if job.live]

    def _on_run(self, attempt: Any, snapshot: str | None, first: bool) -> None:
        job = attempt.job
        self.started_jobs.add(job.id)
        self.newest_running = max(self.newest_running, attempt.epoch)
        known = self.job_of_epoch.setdefault(attempt.epoch, job.id)
        if known != job.id:
            self.violations.append(f"O2: two jobs of epoch {attempt.epoch}: {known}, {job.id}")
        if first:
            self._check_start(job.id, snapshot)

    def _check_start(self, job_id: str, snapshot: str | None) -> None:
        """I3, O5: a job starts only as a start intent says, from the snapshot that it names."""
        record = self.record
        intent = next((i for i in self._starts if i.job_id == job_id), None)
        if intent is None:
            self.violations.append(f"O5: job {job_id} was started without an intent")
            return
        stops = [i for i in self._stops.values() if i.id == intent.after_stop]
        wanted = {stop.location for stop in stops} if intent.after_stop else {intent.snapshot}
        if intent.after_stop and record.pinned is not None:
            wanted.add(record.pinned.location)
        if snapshot not in wanted or (snapshot is None and not intent.from_empty):
            self.violations.append(f"I3: epoch {intent.epoch} started from {snapshot}, the record says {wanted}")

    def _on_commit(self, attempt: Any, transactional_id: str) -> None:
        if attempt.epoch < self.newest_running:
            self.violations.append(
                f"I1: epoch {attempt.epoch} committed {transactional_id} after epoch {self.newest_running} had started"
            )

    def _watch_record(self) -> None:
        self._starts: list[StartIntent] = []
        self._stops: dict[str, StopIntent] = {}

        async def after(op: str, uri: S3Uri) -> None:
            if uri != RECORD or op not in {"create", "replace", "put"}:
                return
            new = self.record
            if self._last is not None:
                self.violations += list(broken(self._last, new))
            known = {start.id for start in self._starts}
            for intent in new.intents:
                if isinstance(intent, StartIntent) and intent.id not in known:
                    if any(s.epoch == intent.epoch or s.job_id == intent.job_id for s in self._starts):
                        self.violations.append(f"O2, O7: epoch {intent.epoch} or its job id is used a second time")
                    self._starts.append(intent)
                if isinstance(intent, StopIntent):
                    self._stops[intent.id] = intent
            self._last = new

        self.control.after = after

    # ------------------------------------------------------------ judging

    def settle_down(self) -> None:
        """The running job completes a checkpoint with some events more, so that all is committed."""
        self.flink.tick()
        self.checkpoint()
        self.checkpoint()

    def judge(self) -> Judgement:
        """I2 on what stands in the logs now."""
        return judge(self.kafka, superseded(self.control, BUCKET, DEPLOYMENT))

    def assert_sound(self, *, artifact: str | None = None, released: bool = True) -> Judgement:
        """One job, of that artifact, in the record's name; nothing lost, twice or wrong; nothing left hanging."""
        self.settle_down()
        said = "\n".join(self.trace[-80:])
        assert not self.violations, f"{self.violations}\n{said}"
        record = self.record
        live = self.live()
        assert record.writer is not None, said
        assert live == [record.writer.job_id], f"{live} live, the record has {record.writer}\n{said}"
        assert self.flink.jobs[live[0]].state is JobState.RUNNING
        if artifact is not None:
            assert record.writer.artifact.name == artifact, said
        if released:
            assert record.holder is None, said
            assert not record.open_intents(), said
        judged = self.judge()
        assert judged.clean, f"{judged}\n{said}"
        assert judged.good > 0, "nothing came out"
        self._assert_nothing_hangs(said)
        return judged

    def _assert_nothing_hangs(self, said: str) -> None:
        """No reader waits: every open transaction is the running job's own."""
        writer = self.record.writer
        assert writer is not None
        for name, txn in self.kafka._txns.items():
            if txn.state.value in {"Ongoing", "PrepareCommit", "PrepareAbort"}:
                assert names.epoch_of_transactional_id(name) == writer.epoch, f"{name} is {txn.state}\n{said}"


@contextmanager
def world(**settings: Any) -> Iterator[World]:
    """A fresh world; time in it is virtual."""
    with virtual_time() as loop:
        asyncio.set_event_loop(loop)
        try:
            yield World(loop, **settings)
        finally:
            asyncio.set_event_loop(None)


__all__ = ["DEPLOYMENT", "Died", "Judgement", "Op", "World", "ref", "world"]

"""A fleet that fails over from the east to the west, for ``benchmarks.rto``: what is real in it, and what is not.

Real: each deployment's record in a control bucket (SeaweedFS, over HTTP), taken, written before and after the start and
given back by compare-and-swap; and the start, by the driver over Flink's REST. What Kafka, Connect and the standby's S3
would say is answered at once: ``benchmarks.rto_real`` has that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from temporalio import activity

from activities.contracts import CONTRACTS
from benchmarks.rto_flink import COPY
from tests.kit.temporal_world_facts import AT
from tests.kit.temporal_world_region import SHARED, MemberWorld, RegionWorld
from tidegate import names
from tidegate.clients.objects import S3Uri
from tidegate.clients.transfer import TransferStore
from tidegate.driver.base import ArtifactFile, Prepared, StartKind, StartRequest
from tidegate.driver.session import SessionClusterDriver
from tidegate.errors import OperationFailed
from tidegate.model.failover import OpenFact
from tidegate.model.notice import NotifyFact, NotifyInput
from tidegate.model.operation import Observation
from tidegate.model.record import ArtifactRef, DeploymentRecord, Holder, StartIntent, Writer, utc_now
from tidegate.model.region import GroupOpenInput
from tidegate.model.steps import (
    EnsureFact,
    EnsureInput,
    HaltInput,
    Held,
    ObserveInput,
    PrepareFact,
    PrepareInput,
    StartFact,
    StepInput,
    TakeInput,
)
from tidegate.registry import ownership
from tidegate.registry.ownership import Claim, Tenure
from tidegate.registry.records import RecordStore
from tidegate.registry.swap import encode

START_S = 600.0
ENTRY = "ledger.Job"
AT_ONCE = 32
"""So many records are put at once before a run."""


class BenchFleet(RegionWorld):
    """``count`` deployments, ``a_family`` of them sharing a mirror link; ``clusters``: Flink's REST in the west."""

    def __init__(
        self,
        prefix: str,
        count: int,
        a_family: int,
        clusters: Sequence[SessionClusterDriver],
        store: TransferStore,
        bucket: str,
        jar: ArtifactFile,
    ) -> None:
        every = [f"{prefix}d{number:04d}" for number in range(count)]
        families = tuple(tuple(every[at : at + a_family]) for at in range(0, count, a_family))
        super().__init__(dict.fromkeys(every, 1), families)
        self.slots = [count]
        self.opened_at: dict[str, float] = {}
        """By topic, on this process's monotonic clock."""
        self.halted: dict[str, str] = {}
        self._clusters, self._store, self._bucket, self._jar = clusters, store, bucket, jar
        self._of = {name: clusters[number % len(clusters)] for number, name in enumerate(every)}
        self.records = RecordStore(store, bucket)

    async def begin(self) -> None:
        """Every record stands in the bucket, as of a job that runs in the east."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def put(world: MemberWorld) -> None:
            async with gate:
                uri = S3Uri(self._bucket, names.record_key(world.name))
                await self._store.put(uri, encode(world.record))

        await asyncio.gather(*(put(world) for world in self.worlds.values()))

    @property
    def all_open(self) -> bool:
        """Whether producers may write every topic in the west."""
        return len(self.opened_at) == 2 * len(self.worlds)

    def _activity(self, name: str) -> Callable[..., Any]:
        known: Callable[[Any], Awaitable[Any]] | None = getattr(self, f"do_{name}", None)

        async def run(request: Any) -> Any:  # noqa: ANN401 (any activity's input)
            if known is not None:
                return await known(request)
            if name in SHARED:
                return getattr(self, f"_{name}")(request)
            deployment = str(request.deployment if hasattr(request, "deployment") else request.held.deployment)
            world = self.worlds.get(deployment) or next(iter(self.worlds.values()))
            return getattr(world, f"_{name}")(request)

        types = activity._Definition.must_from_callable(CONTRACTS[name])  # noqa: SLF001 (it has no other)
        if not types.arg_types:
            raise OperationFailed(f"activity {name} has no input")
        run.__annotations__ = {"request": types.arg_types[0], "return": types.ret_type}
        return activity.defn(name=name)(run)

    # -- what is real

    async def do_observe(self, request: ObserveInput) -> Observation:
        """The record as it stands in the bucket."""
        world = self.worlds[request.deployment]
        world.record = (await self.records.read_or_create(request.deployment)).record
        return world._observe(request)  # noqa: SLF001 (the kit's fakes are called by name)

    async def do_notify(self, request: NotifyInput) -> NotifyFact:
        """No fleet file of it names anybody to tell."""
        return NotifyFact(notice=request.notice)

    async def do_take(self, request: TakeInput) -> Held:
        """By compare-and-swap."""
        holder = Holder(
            operation=request.operation,
            run_id=request.run_id,
            runbook=request.runbook,
            cluster_id="bench",
            namespace="default",
            who=request.who,
            why=request.why,
            since=AT,
        )
        tenure = await ownership.take(self.records, request.deployment, holder, expected_fence=request.expected_fence)
        self.worlds[request.deployment].record = await tenure.read()
        return Held(deployment=request.deployment, holder=tenure.claim.holder, fence=tenure.claim.fence)

    async def do_prepare(self, request: PrepareInput) -> PrepareFact:
        """The jar is there, its graph is built, slots are free: asked over REST."""
        await self._prepared(request.held.deployment)
        return PrepareFact(jar=self._jar.name, uploaded=False, slots_free=1, slots_total=1)

    async def do_ensure_running(self, request: EnsureInput) -> EnsureFact:
        """Intent, submit, RUNNING, and the record says so."""
        tenure, name = self._tenure(request), request.held.deployment
        record, driver = await tenure.read(), self._of[name]
        job_id = names.derive_id(name, request.held.holder.operation)
        begun = record.intent(job_id)  # by an attempt before this one
        epoch = begun.epoch if isinstance(begun, StartIntent) else record.epoch + 1
        intent = StartIntent(
            id=job_id,
            step="start",
            n=request.n,
            job_id=job_id,
            epoch=epoch,
            region="west",
            cell="cell-1",
            artifact=request.artifact,
            parallelism=request.parallelism,
            snapshot=COPY,
        )
        await tenure.change(
            "start", request.n, lambda known: known.model_copy(update={"epoch": epoch, "intents": (intent,)})
        )
        submitted = utc_now()
        prepared = await self._prepared(name, job_id)
        if await driver.state(job_id) is None:
            outcome = await driver.start(
                StartRequest(job_id=job_id, prepared=prepared, parallelism=request.parallelism, snapshot=COPY)
            )
            if outcome.kind is not StartKind.ACCEPTED:
                raise OperationFailed(f"{name}: {outcome.kind}: {outcome.message}")
        await driver.wait_running(job_id, deadline_s=START_S, heartbeat=lambda seen: activity.heartbeat(dict(seen)))
        self.worlds[name].record = await tenure.change(
            "started", request.n, lambda known: _running(known, request.artifact, job_id, epoch)
        )
        start = StartFact(
            job_id=job_id,
            epoch=epoch,
            artifact=request.artifact,
            snapshot=COPY,
            submitted_at=submitted,
            running_at=utc_now(),
        )
        return EnsureFact(start=start, was_running=False)

    async def do_open_group(self, request: GroupOpenInput) -> OpenFact:
        """Producers may write there: this is when it is over."""
        for topic in request.open:
            self.opened_at[topic] = time.monotonic()
        return OpenFact(topics=request.open, turn=1, first_output_at=AT)

    async def do_release(self, request: StepInput) -> None:
        """By compare-and-swap."""
        await self._tenure(request).release()

    async def do_halt(self, request: HaltInput) -> None:
        """Nobody is there to help: the run has failed."""
        self.halted[request.held.deployment] = request.why

    def _tenure(self, request: StepInput) -> Tenure:
        held = request.held
        return Tenure(self.records, Claim(held.deployment, held.holder, held.fence), attempt=activity.info().attempt)

    async def _prepared(self, name: str, replaces: str | None = None) -> Prepared:
        return await self._of[name].prepare(self._jar, entry_class=ENTRY, args=[], parallelism=1, replaces=replaces)


def _running(known: DeploymentRecord, of: ArtifactRef, job_id: str, epoch: int) -> DeploymentRecord:
    writer = Writer(
        region="west",
        cell="cell-1",
        job_id=job_id,
        epoch=epoch,
        artifact=of,
        parallelism=1,
        started_from=COPY,
        since=AT,
    )
    return known.model_copy(update={"writer": writer, "intents": ()})

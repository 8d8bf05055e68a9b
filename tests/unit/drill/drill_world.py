"""The simulated world with a drill in it: a fork of the live ledger in the same region, by the steps of the library."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tests.kit.world import BUCKET, DEPLOYMENT, World, ref
from tests.kit.world_gate import GatedStore
from tidegate.clients.objects import S3Uri
from tidegate.drill.copy import copy_for_drill
from tidegate.drill.forking import forked
from tidegate.drill.notes import ForkRecords
from tidegate.drill.teardown import TearDown
from tidegate.mirror.link import MirrorLink
from tidegate.mirror.rebasing import Reach
from tidegate.model.drill import DrillCopied, DrillStep
from tidegate.model.drilled import TornDown
from tidegate.model.fleet import CellRef
from tidegate.model.steps import EnsureInput, Held, StartFact, StopFact, StopJobInput
from tidegate.operation.ensure import ensure_running
from tidegate.operation.run import Run
from tidegate.operation.site import Site
from tidegate.operation.stop_deployment import stop_deployment
from tidegate.points.model import Point, Points
from tidegate.points.store import points_key
from tidegate.registry.ownership import Claim, Takeover, Tenure, new_holder, take

FORK = "ledger-drill-1a2b3c4d"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def no_links(_source: str, _target: str) -> AsyncIterator[tuple[MirrorLink, ...]]:
    yield ()


@dataclass
class Drill:
    """One drill; each call is a fresh process that knows nothing but the claim."""

    world: World
    site: Site
    snapshot: str
    claim: Claim | None = None
    attempts: int = 0
    before: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def made(cls, w: World) -> Drill:
        w.start("v1")
        for topic in ("payments", "counts"):
            w._wait_for(w.kafka.create_topic(topic, 2))
            for partition in (0, 1):
                w.kafka.write_plain(topic, partition, [b"x"] * 5_000)
        w.checkpoint()
        w.checkpoint()
        snapshot = max(str(uri.parent) for uri in w.store.objects if "/chk-" in str(uri))
        point = Point(id="e1-chk-2", kind="checkpoint", snapshot=snapshot, taken_at=NOW, epoch=1, checkpoint_id=2)
        points = Points(deployment=DEPLOYMENT, region="east", home="east", updated_at=NOW, points=(point,))
        w.control._store(S3Uri(BUCKET, points_key(DEPLOYMENT, "east")), points.model_dump_json().encode(), None)
        fleet = forked(w.site.fleet, DEPLOYMENT, FORK, CellRef("east", "cell-1"))
        drill = cls(w, replace(w.site, fleet=fleet, deployment=FORK), snapshot)
        drill.before = drill.everything()
        return drill

    # -- processes

    @property
    def records(self) -> ForkRecords:
        return ForkRecords(GatedStore("control", self.world.control, self.world.gate), BUCKET, control_wait_s=5.0)  # type: ignore[arg-type]

    def run(self, n: int = 1) -> Run:
        self.attempts += 1
        assert self.claim is not None
        return Run(site=self.site, tenure=Tenure(self.records, self.claim, attempt=self.attempts), n=n)

    @property
    def held(self) -> Held:
        assert self.claim is not None
        return Held(deployment=FORK, holder=self.claim.holder, fence=self.claim.fence)

    async def take(self) -> None:
        tenure = await take(self.world.records, FORK, _holder("drill-1", "run-1"), expected_fence=0)
        self.claim = tenure.claim

    async def copy(self) -> DrillCopied:
        step = DrillStep(
            held=self.held, fleet_digest="", at="east/cell-1", deployment=DEPLOYMENT, home="east/cell-1", epoch=1,
            job_id="", artifact=ref("v1"), parallelism=2, snapshot=self.snapshot, point="e1-chk-2", began=NOW,
        )  # fmt: skip
        reach = Reach(self.site.snapshots, lambda _: self.site.kafka, no_links)
        return await copy_for_drill(self.run(), reach, step)

    async def start(self, location: str) -> StartFact:
        wanted = EnsureInput(held=self.held, fleet_digest="", artifact=ref("v1"), parallelism=2, snapshot=location)
        return (await ensure_running(self.run(), wanted)).start

    async def stop(self) -> StopFact:
        return await stop_deployment(self.run(4), StopJobInput(held=self.held, fleet_digest="", n=4))

    async def all(self, *, until: str = "stop") -> None:
        """A whole drill, or a part of it."""
        await self.take()
        copied = await self.copy()
        if until == "copy":
            return
        started = await self.start(copied.location)
        self.world.kafka.commit_group(FORK, {})
        assert started.epoch == 1
        if until == "stop":
            await self.stop()

    async def tear_down(self) -> TornDown:
        """As the activity: the fence rises first."""
        stored = await self.records.read(FORK)
        if stored is None:
            return TornDown()
        holder, known = _holder("drill-1", "run-1/tear-down"), stored.record.holder
        if known is not None and known.is_same(holder):
            claim = Claim(FORK, known, stored.record.fence)
        else:
            over = Takeover("me", "the drill is over")
            tenure = await take(self.world.records, FORK, holder, expected_fence=stored.record.fence, takeover=over)
            claim = tenure.claim
        self.attempts += 1
        run = Run(site=self.site, tenure=Tenure(self.records, claim, attempt=self.attempts))
        return await TearDown(run, DEPLOYMENT, self.site.snapshots).all()  # type: ignore[arg-type]

    async def clean(self) -> TornDown:
        """By hand, after everything: what came late has no record any more."""
        stored = await self.records.read(FORK)
        fence = stored.record.fence if stored is not None else 0
        tenure = await take(
            self.world.records, FORK, _holder("clean-1", "run-9"), expected_fence=fence, takeover=Takeover("me", "x")
        )
        run = Run(site=self.site, tenure=Tenure(self.records, tenure.claim))
        return await TearDown(run, DEPLOYMENT, self.site.snapshots).all()  # type: ignore[arg-type]

    # -- looking

    def everything(self) -> dict[str, Any]:
        """All that there is in the world, but for what the live job itself writes as it goes on."""
        w = self.world
        live = w.record.writer
        assert live is not None
        own = f"/{live.job_id}/"
        return {
            "topics": sorted(w.kafka._logs),
            "groups": sorted(w.kafka._groups),
            "open": sorted(
                name
                for name, txn in w.kafka._txns.items()
                if name.startswith(f"tg.{FORK}.") and txn.state.value in {"Ongoing", "PrepareCommit", "PrepareAbort"}
            ),
            "denied": sorted(w.kafka._denied),
            "objects": sorted(str(uri) for uri in w.store.objects if own not in str(uri)),
            "uploads": sorted(w.store.open_uploads),
            "control": sorted(str(uri) for uri in w.control.objects),
            "jobs": w.live(),
            "record": w.record,
        }

    def assert_as_before(self, said: str) -> None:
        """List before = list after; the live job ran on, and what it has written is right."""
        after = self.everything()
        assert after == self.before, f"{said}: " + "; ".join(
            f"{name}: {self.before[name]} became {found}" for name, found in after.items() if found != self.before[name]
        )
        self.world.settle_down()
        judged = self.world.judge()
        assert judged.clean, f"{said}: {judged}"
        assert judged.good > 0


def _holder(operation: str, run_id: str) -> Any:
    return new_holder(
        operation=operation, run_id=run_id, runbook="DrillRecovery", cluster_id="c", namespace="n", who="me", why=""
    )

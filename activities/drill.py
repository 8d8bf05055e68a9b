"""Steps of a drill, thin over ``tidegate.drill``: on a fork that is in no fleet file, under a record of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from temporalio import activity
from temporalio.api.workflowservice.v1 import GetClusterInfoRequest
from temporalio.client import Client

from activities.beats import beat, beating, deferring_cancel
from activities.registry import run_closed
from activities.sites import Sites
from tidegate.drill import region
from tidegate.drill.copy import copy_for_drill
from tidegate.drill.forking import forked
from tidegate.drill.judge import compare
from tidegate.drill.look import look
from tidegate.drill.notes import ForkRecords
from tidegate.drill.teardown import TearDown
from tidegate.drill.watch import GivesWay, catch_up, watch
from tidegate.model.drill import (
    DrillCaughtUp,
    DrillCopied,
    DrillLook,
    DrillSeen,
    DrillStarted,
    DrillStartStep,
    DrillStep,
    DrillWatched,
    DrillWatchStep,
    TearDownStep,
)
from tidegate.model.drilled import DrillCompared, TornDown
from tidegate.model.fleet import CellRef, Fleet
from tidegate.model.record import Holder
from tidegate.model.steps import EnsureInput
from tidegate.operation import forks
from tidegate.operation.ensure import ensure_running
from tidegate.operation.move import cell_in
from tidegate.operation.run import Run
from tidegate.operation.site import Site
from tidegate.registry import ownership
from tidegate.registry.ownership import Claim, Takeover, Tenure

START_N = 1


class DrillActivities:
    """look_at_drill, copy_for_drill, start_drill, catch_up_drill, watch_drill, compare_drill, tear_down_drill."""

    def __init__(self, sites: Sites, client: Client) -> None:
        self._sites = sites
        self._client = client

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [
            self.look_at_drill,
            self.copy_for_drill,
            self.start_drill,
            self.catch_up_drill,
            self.watch_drill,
            self.compare_drill,
            self.tear_down_drill,
        ]

    @activity.defn(name="look_at_drill")
    async def look_at_drill(self, request: DrillLook) -> DrillSeen:
        """See ``tidegate.drill.look``."""
        fleet, _ = await self._sites.fleet(request.fleet_digest)
        records = await beating(region.records_of(self._sites.records, fleet))
        region.refuse_if_failover(fleet, records, {request.standby})
        home = self._sites.site(fleet, request.deployment, request.home)
        cell = cell_in(fleet, request.deployment, request.standby, None)
        away = self._sites.site(fleet, request.deployment, str(cell))
        left = await beating(self._left(fleet, request, str(cell)))
        return await beating(look(home, away, self._sites.records, request, left))

    async def _left(self, fleet: Fleet, request: DrillLook, cell: str) -> tuple[str, ...]:
        """Forks of earlier drills of the deployment that nobody tears down any more."""
        known = await forks.fork_records(self._sites.control, self._sites.bucket, fleet)
        found = []
        for name, record in forks.forks_of(known, fleet, request.deployment).items():
            if name == request.fork or forks.cell_of(record) not in {None, cell}:
                continue
            holder = record.holder
            if holder is None or await run_closed(self._client, _bare(holder)):
                found.append(name)
        return tuple(sorted(found))

    @activity.defn(name="copy_for_drill")
    async def copy_for_drill(self, request: DrillStep) -> DrillCopied:
        """See ``tidegate.drill.copy``."""
        run = await self._run(request)
        reach = self._sites.reach(run.site.fleet, run.site.region)
        return await beating(self._live(request, run).beside(copy_for_drill(run, reach, request)), run.facts)

    @activity.defn(name="start_drill")
    async def start_drill(self, request: DrillStartStep) -> DrillStarted:
        """See ``tidegate.operation.ensure``: the fork is started as any deployment is."""
        run = await self._run(request)
        wanted = EnsureInput(
            held=request.held,
            fleet_digest=request.fleet_digest,
            at=request.at,
            n=START_N,
            artifact=request.artifact,
            parallelism=request.parallelism,
            snapshot=request.copy_location,
        )
        live = self._live(request, run)
        start = (await deferring_cancel(live.beside(ensure_running(replace(run, n=START_N), wanted)))).start
        return DrillStarted(job_id=start.job_id, epoch=start.epoch, running_at=start.running_at)

    @activity.defn(name="catch_up_drill")
    async def catch_up_drill(self, request: DrillWatchStep) -> DrillCaughtUp:
        """See ``tidegate.drill.watch``."""
        run = await self._run(request)
        return await beating(catch_up(run, request, self._live(request, run)), run.facts)

    @activity.defn(name="watch_drill")
    async def watch_drill(self, request: DrillWatchStep) -> DrillWatched:
        """See ``tidegate.drill.watch``."""
        run = await self._run(request)
        return await beating(watch(run, request, self._live(request, run)), run.facts)

    @activity.defn(name="compare_drill")
    async def compare_drill(self, request: DrillStep) -> DrillCompared:
        """See ``tidegate.drill.judge``."""
        run = await self._run(request)
        home = await self._sites.site_of(request.deployment, request.fleet_digest, request.home)
        return await beating(compare(run, home, request, self._live(request, run)), run.facts)

    @activity.defn(name="tear_down_drill")
    async def tear_down_drill(self, request: TearDownStep) -> TornDown:
        """See ``tidegate.drill.teardown``. The fence rises first: what of the drill is still under way does no more."""
        fleet, _ = await self._sites.fleet(request.fleet_digest)
        site = self._fork_site(fleet, request.deployment, request.fork, request.at)
        tenure = await self._take_to_tear_down(request)
        if tenure is None:
            return TornDown()
        run = Run(site=site, tenure=tenure, beat=beat)
        store = self._sites.region_store(fleet, site.region)
        return await beating(TearDown(run, request.deployment, store).all(), run.facts)

    async def _take_to_tear_down(self, request: TearDownStep) -> Tenure | None:
        """None: its record is gone, and so is all else. Raises Held if it is of another operation that runs."""
        stored = await self._records.read(request.fork)
        if stored is None and not request.clean:
            return None
        cluster = await self._client.workflow_service.get_cluster_info(GetClusterInfoRequest())
        holder = ownership.new_holder(
            operation=request.operation,
            run_id=f"{request.run_id}/tear-down",
            runbook="DrillRecovery",
            cluster_id=cluster.cluster_id,
            namespace=self._client.namespace,
            who=request.who,
            why="tear the fork down",
        )
        known = stored.record.holder if stored is not None else None
        attempt = activity.info().attempt
        if stored is not None and known is not None and known.is_same(holder):
            return Tenure(self._records, Claim(request.fork, known, stored.record.fence), attempt=attempt)

        async def closed(other: Holder) -> bool:
            return await run_closed(self._client, _bare(other), cluster.cluster_id)

        own = known is not None and (known.operation, known.run_id) == (request.operation, request.run_id)
        taken = await ownership.take(
            self._sites.records,
            request.fork,
            holder,
            expected_fence=stored.record.fence if stored is not None else 0,
            takeover=Takeover(request.who, "the drill is over") if own else None,
            holder_closed=closed,
        )
        return Tenure(self._records, taken.claim, attempt=attempt)

    @property
    def _records(self) -> ForkRecords:
        return ForkRecords(self._sites.control, self._sites.bucket)

    def _live(self, request: DrillStep, run: Run) -> GivesWay:
        return GivesWay(self._sites.records, request.deployment, request.job_id, run)

    def _fork_site(self, fleet: Fleet, deployment: str, fork: str, at: str) -> Site:
        """The fork at its cell. Its jar is the live one's: from the copies that are kept for a loss of home first."""
        live = self._sites.site(fleet, deployment, at)
        site = self._sites.site(forked(fleet, deployment, fork, CellRef.parse(at)), fork, at)
        return replace(site, fetch=live.fetch, artifacts=live.artifacts)

    async def _run(self, request: DrillStep) -> Run:
        fleet, _ = await self._sites.fleet(request.fleet_digest)
        held = request.held
        site = self._fork_site(fleet, request.deployment, held.deployment, request.at or "")
        tenure = Tenure(self._records, Claim(held.deployment, held.holder, held.fence), attempt=activity.info().attempt)
        return Run(site=site, tenure=tenure, beat=beat, n=request.n)


def _bare(holder: Holder) -> Holder:
    """As its workflow's run is called, without what a tear-down has added."""
    return holder.model_copy(update={"run_id": holder.run_id.partition("/")[0]})

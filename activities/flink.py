"""Steps on the deployment's job: thin over ``tidegate.operation``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from statistics import median
from typing import Any

from temporalio import activity

from activities.beats import beat, beating, deferring_cancel
from activities.sites import Sites
from tidegate.model.appraisal import Appraisal, Crossing
from tidegate.model.operation import Observation
from tidegate.model.steps import (
    AppraiseInput,
    EnsureFact,
    EnsureInput,
    ObserveInput,
    PrepareFact,
    PrepareInput,
    ProveFact,
    ProveInput,
    SnapshotFact,
    StepInput,
    StopFact,
    StopJobInput,
    SwitchFact,
    SwitchInput,
    TakeSnapshotInput,
)
from tidegate.operation import appraise as appraise_step
from tidegate.operation import cross as cross_step
from tidegate.operation import ensure as ensure_step
from tidegate.operation import ensure_stopped as stopped_step
from tidegate.operation import observe as observe_step
from tidegate.operation import prove as prove_step
from tidegate.operation import stop_deployment as stop_step
from tidegate.operation import switch as switch_step
from tidegate.operation import take_snapshot as snapshot_step
from tidegate.operation.run import Deadline, Run
from tidegate.operation.submit import prepare_patiently
from tidegate.registry.ownership import Claim, Tenure
from tidegate.report.read import earlier_gaps_s


class FlinkActivities:
    """observe, prepare, switch, ensure_running, ensure_stopped, stop_deployment, take_snapshot, prove."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [
            self.observe,
            self.appraise,
            self.look_across,
            self.prepare,
            self.switch,
            self.ensure_running,
            self.ensure_stopped,
            self.stop_deployment,
            self.take_snapshot,
            self.prove,
        ]

    @activity.defn(name="observe")
    async def observe(self, request: ObserveInput) -> Observation:
        """See ``tidegate.operation.observe``."""
        fleet, digest = await self._sites.fleet(request.fleet_digest)
        site = self._sites.site(fleet, request.deployment, request.at)
        seen, earlier = await asyncio.gather(
            observe_step.observe(site, self._sites.records, digest, request.target),
            earlier_gaps_s(self._sites.control, self._sites.bucket, request.deployment),
        )
        expected = median(earlier) if earlier else None
        return seen.model_copy(update={"earlier_gaps_s": earlier, "expected_gap_s": expected})

    @activity.defn(name="appraise")
    async def appraise(self, request: AppraiseInput) -> Appraisal:
        """See ``tidegate.operation.appraise``."""
        site = await self._sites.site_of(request.deployment, request.fleet_digest, request.at)
        return await beating(appraise_step.appraise(site, self._sites.records, request.source, request.as_of))

    @activity.defn(name="look_across")
    async def look_across(self, request: AppraiseInput) -> Crossing:
        """See ``tidegate.operation.cross``."""
        site = await self._sites.site_of(request.deployment, request.fleet_digest, request.at)
        return await beating(cross_step.look_across(site, self._sites.records, request.source))

    @activity.defn(name="prepare")
    async def prepare(self, request: PrepareInput) -> PrepareFact:
        """The jar there by sha256, uploaded and warm; slots counted. Changes nothing that runs."""
        run = await self._run(request)
        record = await run.tenure.read()
        deadline = Deadline("preparing the artifact", run.site.spec.prove.start_timeout_s)
        replaces = record.writer.job_id if record.writer else None
        slots = request.parallelism or run.site.spec.parallelism
        prepared = await prepare_patiently(run, request.artifact, record.epoch + 1, slots, deadline, replaces=replaces)
        capacity = await run.site.driver.capacity()
        return PrepareFact(
            jar=prepared.handle, uploaded=True, slots_free=capacity.slots_free, slots_total=capacity.slots_total
        )

    @activity.defn(name="switch")
    async def switch(self, request: SwitchInput) -> SwitchFact:
        """See ``tidegate.operation.switch``."""
        run = await self._run(request)
        return await deferring_cancel(switch_step.switch(run, request))

    @activity.defn(name="ensure_running")
    async def ensure_running(self, request: EnsureInput) -> EnsureFact:
        """See ``tidegate.operation.ensure``."""
        run = await self._run(request)
        return await deferring_cancel(ensure_step.ensure_running(run, request))

    @activity.defn(name="ensure_stopped")
    async def ensure_stopped(self, request: EnsureInput) -> None:
        """See ``tidegate.operation.ensure_stopped``."""
        run = await self._run(request)
        await deferring_cancel(stopped_step.ensure_stopped(run, request))

    @activity.defn(name="stop_deployment")
    async def stop_deployment(self, request: StopJobInput) -> StopFact:
        """See ``tidegate.operation.stop_deployment``."""
        run = await self._run(request)
        return await deferring_cancel(stop_step.stop_deployment(run, request))

    @activity.defn(name="take_snapshot")
    async def take_snapshot(self, request: TakeSnapshotInput) -> SnapshotFact | None:
        """See ``tidegate.operation.take_snapshot``."""
        return await snapshot_step.take_snapshot(await self._run(request), request)

    @activity.defn(name="prove")
    async def prove(self, request: ProveInput) -> ProveFact:
        """See ``tidegate.operation.prove``."""
        return await prove_step.prove(await self._run(request), request)

    async def _run(self, request: StepInput) -> Run:
        held = request.held
        site = await self._sites.site_of(held.deployment, request.fleet_digest, request.at)
        tenure = Tenure(
            self._sites.records,
            Claim(held.deployment, held.holder, held.fence),
            attempt=activity.info().attempt,
        )
        return Run(site=site, tenure=tenure, beat=beat, n=request.n)

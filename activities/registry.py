"""Steps on the record: locate, take, release, halt, unhalt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import GetClusterInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.sites import Sites
from tidegate.failover.unfinished import unfinished_in
from tidegate.lineage.store import LineageStore
from tidegate.model.record import Holder
from tidegate.model.steps import HaltInput, Held, Located, ObserveInput, StepInput, TakeInput
from tidegate.operation.move import cell_in, home_of, standby_of
from tidegate.registry import ownership
from tidegate.registry.ownership import Claim, Takeover, Tenure

SWITCH_TIMEOUT_MAX_S = 3_600.0


class RegistryActivities:
    """locate, take, release, halt, unhalt."""

    def __init__(self, sites: Sites, client: Client) -> None:
        self._sites = sites
        self._client = client

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.locate, self.take, self.release, self.halt, self.unhalt]

    @activity.defn(name="locate")
    async def locate(self, request: ObserveInput) -> Located:
        """Where the deployment lives, by the fleet file, or by its record if that is asked; pins the digest (O21)."""
        fleet, digest = await self._sites.fleet(request.fleet_digest)
        spec = fleet.deployment(request.deployment)
        if request.target is not None:
            fleet.artifact(request.deployment, request.target)
        home = spec.home_ref
        if request.by_record or request.region is not None:
            stored = await self._sites.records.read(request.deployment)
            record = stored.record if stored else None
            home = home_of(fleet, request.deployment, record)
            if request.region is not None:
                home = cell_in(fleet, request.deployment, request.region, record)
        unfinished = None
        if request.unfinished:
            store = LineageStore(self._sites.control, self._sites.bucket)
            unfinished = await unfinished_in(store, fleet, request.deployment, home.region)
        timeout_s = spec.prove.stop_timeout_s + 2 * spec.prove.start_timeout_s
        return Located(
            fleet_digest=digest,
            region=home.region,
            cell=home.cell,
            tier=spec.tier,
            approval_required=spec.approval == "required",
            switch_timeout_s=min(timeout_s, SWITCH_TIMEOUT_MAX_S),
            standby=standby_of(fleet, request.deployment, home.region),
            unfinished=unfinished,
        )

    @activity.defn(name="take")
    async def take(self, request: TakeInput) -> Held:
        """Make the deployment this operation's (O4). Raises Held, BasisChanged."""
        cluster = await self._client.workflow_service.get_cluster_info(GetClusterInfoRequest())
        holder = ownership.new_holder(
            operation=request.operation,
            run_id=request.run_id,
            runbook=request.runbook,
            cluster_id=cluster.cluster_id,
            namespace=self._client.namespace,
            who=request.who,
            why=request.why,
        )
        takeover = Takeover(request.who, request.take_over.why) if request.take_over else None

        async def closed(other: Holder) -> bool:
            return await run_closed(self._client, other, cluster.cluster_id)

        tenure = await ownership.take(
            self._sites.records,
            request.deployment,
            holder,
            expected_fence=request.expected_fence,
            takeover=takeover,
            holder_closed=closed,
        )
        claim = tenure.claim
        return Held(deployment=claim.deployment, holder=claim.holder, fence=claim.fence)

    @activity.defn(name="release")
    async def release(self, request: StepInput) -> None:
        """Give the deployment back. Raises Refused while an intent is open."""
        await self._tenure(request.held).release()

    @activity.defn(name="halt")
    async def halt(self, request: HaltInput) -> None:
        """HALTED: it keeps the record and does nothing (O9)."""
        await self._tenure(request.held).halt()

    @activity.defn(name="unhalt")
    async def unhalt(self, request: StepInput) -> None:
        """Go on after a halt. Raises Superseded if another runbook has it."""
        await self._tenure(request.held).unhalt()

    def _tenure(self, held: Held) -> Tenure:
        claim = Claim(held.deployment, held.holder, held.fence)
        return Tenure(self._sites.records, claim, attempt=activity.info().attempt)


async def run_closed(client: Client, holder: Holder, cluster_id: str | None = None) -> bool:
    """O4: asked of the same cluster and namespace only; anything else is not known, so not closed."""
    if cluster_id is None:
        cluster_id = (await client.workflow_service.get_cluster_info(GetClusterInfoRequest())).cluster_id
    if holder.cluster_id != cluster_id or holder.namespace != client.namespace:
        return False
    try:
        described = await client.get_workflow_handle(holder.operation).describe()
    except RPCError as error:
        # A run vanishes only after it has closed, at the end of its retention.
        return error.status is RPCStatusCode.NOT_FOUND
    info = described.raw_description.workflow_execution_info
    if info.first_run_id and info.first_run_id != holder.run_id:
        return True
    return bool(info.status != WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING)

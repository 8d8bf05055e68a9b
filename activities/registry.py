"""Steps on the record: locate, take, release, halt, unhalt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import GetClusterInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.sites import Sites
from tidegate.errors import Unavailable
from tidegate.failover.lostregion import Standing
from tidegate.failover.unfinished import unfinished_in
from tidegate.lineage.store import LineageStore
from tidegate.model.record import Holder
from tidegate.model.region import FAILOVER_MEMBER
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


async def standing_of(client: Client, operation: str, run_id: str, holder: Holder | None = None) -> Standing:
    """How an operation stands in this Temporal; a member of a region's failover waits in vain once that has ended.

    One that this Temporal does not know has ended here, past its retention, or was begun in another one: the lineage
    does not say which, so nobody can. Raises Unavailable: Temporal does not answer.
    """
    try:
        return await _standing_of(client, operation, run_id, holder)
    except RPCError as error:
        raise Unavailable(f"Temporal does not say how {operation} stands: {error.message}") from error


async def _standing_of(client: Client, operation: str, run_id: str, holder: Holder | None) -> Standing:
    if holder is not None:
        cluster_id = (await client.workflow_service.get_cluster_info(GetClusterInfoRequest())).cluster_id
        if holder.cluster_id != cluster_id or holder.namespace != client.namespace:
            return Standing.UNKNOWN
    info = await _execution(client, operation)
    if info is None:
        return Standing.UNKNOWN
    if not _is_open(info, run_id):
        return Standing.CLOSED
    if info.type.name != FAILOVER_MEMBER or not info.HasField("parent_execution"):
        return Standing.LIVES
    group = await _execution(client, info.parent_execution.workflow_id)
    waits = group is not None and _is_open(group, info.parent_execution.run_id)
    return Standing.LIVES if waits else Standing.ORPHAN


async def _execution(client: Client, operation: str) -> WorkflowExecutionInfo | None:
    """The newest run under an id; None: there is none."""
    try:
        described = await client.get_workflow_handle(operation).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return described.raw_description.workflow_execution_info


def _is_open(info: WorkflowExecutionInfo, run_id: str) -> bool:
    if info.first_run_id and info.first_run_id != run_id:
        return False
    return bool(info.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING)


async def run_closed(client: Client, holder: Holder, cluster_id: str | None = None) -> bool:
    """O4: asked of the same cluster and namespace only; anything else is not known, so not closed."""
    if cluster_id is None:
        cluster_id = (await client.workflow_service.get_cluster_info(GetClusterInfoRequest())).cluster_id
    if holder.cluster_id != cluster_id or holder.namespace != client.namespace:
        return False
    try:
        info = await _execution(client, holder.operation)
    except RPCError:
        return False
    # A run vanishes only after it has closed, at the end of its retention.
    return info is None or not _is_open(info, holder.run_id)

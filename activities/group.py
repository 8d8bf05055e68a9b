"""Steps of a region's failover that its deployments have in common, thin over ``tidegate.failover.group``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from temporalio import activity
from temporalio.api.workflowservice.v1 import GetClusterInfoRequest

from activities.beats import beat, beating
from activities.failover import FailoverActivities
from activities.registry import run_closed, standing_of
from tidegate.errors import InvalidInput
from tidegate.failover import comeback, group, lostregion
from tidegate.failover.group import Group, Lives, within
from tidegate.failover.look import gave_up
from tidegate.lineage.store import LineageStore
from tidegate.model.failover import FailoverStep, MirrorBackFact, OpenFact, ShutFact
from tidegate.model.fleet import Fleet
from tidegate.model.record import DeploymentRecord, Holder
from tidegate.model.region import (
    FAILOVER_REGION,
    GaveWayNow,
    GroupCutFact,
    GroupCutInput,
    GroupOpenInput,
    GroupSeen,
    GroupStep,
    LookGaveWayInput,
    LookGroupInput,
)
from tidegate.operation.move import cell_in, home_of, why_not_running
from tidegate.registry import ownership


class GroupActivities(FailoverActivities):
    """look_group, close_group, cut_group, open_group, mirror_group, reopen_group, look_gave_way; see_open for the
    members.
    """

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [
            self.look_group,
            self.close_group,
            self.cut_group,
            self.open_group,
            self.mirror_group,
            self.reopen_group,
            self.see_open,
            self.look_gave_way,
        ]

    @activity.defn(name="look_group")
    async def look_group(self, request: LookGroupInput) -> GroupSeen:
        """See ``tidegate.failover.group``."""
        fleet, digest = await self._sites.fleet(request.fleet_digest)
        fleet.region(request.to)
        known = await asyncio.gather(*(self._lives(fleet, name, request) for name in fleet.deployments))
        left = await beating(
            lostregion.look_left(
                fleet,
                known,
                request,
                f"{request.operation}/{request.run_id}",
                LineageStore(self._sites.control, self._sites.bucket),
                partial(standing_of, self._client),
            )
        )
        members = group.chosen(known, fleet, request.region, request.to, request.deployments, left)
        cluster = await self._client.workflow_service.get_cluster_info(GetClusterInfoRequest())
        holder = ownership.new_holder(
            operation=request.operation,
            run_id=request.run_id,
            runbook=FAILOVER_REGION,
            cluster_id=cluster.cluster_id,
            namespace=self._client.namespace,
            who=request.who,
            why=request.why,
        )

        return await beating(
            group.look_group(
                holder,
                digest,
                members,
                known,
                lambda name, cell: self._sites.site(fleet, name, cell),
                unplanned=request.unplanned,
                left=left,
            )
        )

    @activity.defn(name="look_gave_way")
    async def look_gave_way(self, request: LookGaveWayInput) -> GaveWayNow:
        """See ``tidegate.failover.comeback``."""
        fleet, _ = await self._sites.fleet(request.fleet_digest)

        async def record(name: str) -> DeploymentRecord | None:
            stored = await self._sites.records.read(name)
            return stored.record if stored else None

        async def slots_of(cell: str) -> int:
            site = self._sites.site(fleet, request.deployments[0], cell)
            return (await within(site.driver.capacity())).slots_free

        found = await asyncio.gather(*(record(name) for name in request.deployments))
        records = dict(zip(request.deployments, found, strict=True))
        return await beating(comeback.look_gave_way(fleet, records, slots_of))

    @activity.defn(name="close_group")
    async def close_group(self, request: GroupStep) -> ShutFact:
        """See ``tidegate.failover.group``."""
        return await beating(group.close_group(await self._group(request)))

    @activity.defn(name="cut_group")
    async def cut_group(self, request: GroupCutInput) -> GroupCutFact:
        """See ``tidegate.failover.group``."""
        return await beating(group.cut_group(await self._group(request), request))

    @activity.defn(name="open_group")
    async def open_group(self, request: GroupOpenInput) -> OpenFact:
        """See ``tidegate.failover.group``."""
        return await beating(group.open_group(await self._group(request), request))

    @activity.defn(name="mirror_group")
    async def mirror_group(self, request: GroupStep) -> MirrorBackFact:
        """See ``tidegate.failover.group``."""
        return await beating(group.mirror_group(await self._group(request)))

    @activity.defn(name="reopen_group")
    async def reopen_group(self, request: GroupStep) -> None:
        """See ``tidegate.failover.group``."""
        await beating(group.reopen_group(await self._group(request)))

    @activity.defn(name="see_open")
    async def see_open(self, request: FailoverStep) -> OpenFact:
        """See ``tidegate.failover.group``."""
        return await beating(group.see_open(await self._sides(request), request))

    async def _group(self, step: GroupStep) -> Group:
        fleet, _ = await self._sites.fleet(step.fleet_digest)

        async def closed(other: Holder) -> bool:
            return await run_closed(self._client, other)

        return Group(step, self._sites.records, lambda name, cell: self._sites.site(fleet, name, cell), beat, closed)

    async def _lives(self, fleet: Fleet, name: str, request: LookGroupInput) -> Lives:
        stored = await self._sites.records.read(name)
        record = stored.record if stored else None
        home = home_of(fleet, name, record)
        try:
            there = str(cell_in(fleet, name, request.to, record))
        except InvalidInput:
            there = None
        return Lives(
            name,
            home.region,
            str(home),
            there,
            why_not_running(record),
            runs_with=record.writer.parallelism if record is not None and record.writer is not None else None,
            slot_memory=record.writer.slot_memory if record is not None and record.writer is not None else None,
            gave_way=comeback.gave_way(fleet, name, record),
            given_up=gave_up(record, request.to),
            record=record,
        )

"""Steps of a region's drill, thin over ``tidegate.drill.region``: what there is to be drilled, who needs the slots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from temporalio import activity

from activities.beats import beating
from activities.sites import Sites
from tidegate.drill import region
from tidegate.model.fleet import CellRef
from tidegate.model.record import utc_now
from tidegate.model.regiondrill import DrillsSeen, GiveWayFact, GiveWayInput, LookDrillsInput


class DrillRegionActivities:
    """look_at_drills, see_failover."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.look_at_drills, self.see_failover]

    @activity.defn(name="look_at_drills")
    async def look_at_drills(self, request: LookDrillsInput) -> DrillsSeen:
        """See ``tidegate.drill.region``."""
        return await beating(self._look(request))

    async def _look(self, request: LookDrillsInput) -> DrillsSeen:
        fleet, digest = await self._sites.fleet(request.fleet_digest)
        records = await region.records_of(self._sites.records, fleet)
        found, left_out = region.chosen(fleet, records, request)
        region.refuse_if_failover(fleet, records, {one.at.partition("/")[0] for one in found if one.at})
        cells, candidates = await asyncio.gather(
            region.rooms(fleet, records, found, lambda at: self._sites.driver_of(fleet, CellRef.parse(at))),
            region.with_history(self._sites.control, self._sites.bucket, found),
        )
        return DrillsSeen(
            at=utc_now(), fleet_digest=digest, candidates=candidates, cells=cells, left_out=tuple(left_out)
        )

    @activity.defn(name="see_failover")
    async def see_failover(self, request: GiveWayInput) -> GiveWayFact:
        """See ``tidegate.drill.region``."""
        fleet, _ = await self._sites.fleet(request.fleet_digest)
        records = await beating(region.records_of(self._sites.records, fleet))
        return GiveWayFact(holder=region.failover_there(fleet, records, request.standbys))

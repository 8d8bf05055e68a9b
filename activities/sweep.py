"""Steps of SweepSnapshots: thin over ``tidegate.operation.sweep``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import activity

from activities.sites import Sites
from tidegate.model.sweep import SweepFact, SweepPlan, SweepStep
from tidegate.operation.guard import Lookout
from tidegate.operation.sweep import Broom
from tidegate.snapshot.place import place_in
from tidegate.snapshot.sweep import Policy

SHOWN = 20


class SweepActivities:
    """look_at_sweep, sweep_snapshots."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.look_at_sweep, self.sweep_snapshots]

    @activity.defn(name="look_at_sweep")
    async def look_at_sweep(self, request: SweepStep) -> SweepPlan:
        """What would go; changes nothing."""
        sight = await (await self._broom(request)).look()
        return SweepPlan(
            going=len(sight.going),
            staying=len(sight.choices) - len(sight.going),
            files=sight.files,
            bytes=sight.bytes,
            leftovers=len(sight.leftovers),
            uploads=len(sight.uploads),
            first=tuple(one.entry.id for one in sight.going[:SHOWN]),
        )

    @activity.defn(name="sweep_snapshots")
    async def sweep_snapshots(self, request: SweepStep) -> SweepFact:
        """See ``tidegate.operation.sweep``. A second attempt goes on where the first one was."""
        gone = await (await self._broom(request)).sweep()
        return SweepFact(
            snapshots=gone.snapshots,
            files=gone.files,
            bytes=gone.bytes,
            leftovers=gone.leftovers,
            uploads=gone.uploads,
            kept=tuple(f"{name}: {why}" for name, why in gone.kept[:SHOWN]),
        )

    async def _broom(self, request: SweepStep) -> Broom:
        fleet, _ = await self._sites.fleet(request.fleet_digest)
        place = place_in(fleet, request.deployment, request.region)
        return Broom(
            store=self._sites.region_store(fleet, place.region),
            place=place,
            lookout=Lookout(fleet, place, self._sites.control, self._sites.bucket, self._sites.running_jobs),
            policy=Policy(request.keep, timedelta(seconds=request.older_than_s), request.as_of),
            beat=activity.heartbeat,
        )

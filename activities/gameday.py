"""Steps of a game day that only look, thin over ``tidegate.drill``: what moves anything are its failovers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from temporalio import activity

from activities.beats import beating
from activities.group import GroupActivities
from tidegate.drill import gameday
from tidegate.drill.gameday_watch import Memories, Watcher, so_far, watch
from tidegate.lineage.store import LineageStore
from tidegate.model.gamedaysteps import (
    GameDayLook,
    GameDaySeen,
    GameDayWatched,
    GameDayWatchStep,
    Stands,
    WhereInput,
)
from tidegate.model.region import LookGroupInput
from tidegate.operation.site import Site
from tidegate.registry.links import LinkStore


class GameDayActivities(GroupActivities):
    """look_at_game_day, where_game_day, watch_game_day."""

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.look_at_game_day, self.where_game_day, self.watch_game_day]

    @activity.defn(name="look_at_game_day")
    async def look_at_game_day(self, request: GameDayLook) -> GameDaySeen:
        """See ``tidegate.drill.gameday``: the way there as FailoverRegion sees it, and the way back."""
        there = LookGroupInput(
            operation=request.operation,
            run_id=request.run_id,
            region=request.region,
            to=request.to,
            deployments=request.deployments,
            fleet_digest=request.fleet_digest,
            who=request.who,
            why=request.why,
        )
        seen = await self.look_group(there)
        fleet, _ = await self._sites.fleet(seen.fleet_digest)
        known = await asyncio.gather(*(self._lives(fleet, name, there) for name in fleet.deployments))

        def site(name: str, cell: str) -> Site:
            return self._sites.site(fleet, name, cell)

        return await beating(gameday.look(fleet, seen, known, site, (self._sites.control, self._sites.bucket)))

    @activity.defn(name="where_game_day")
    async def where_game_day(self, request: WhereInput) -> Stands:
        """See ``tidegate.drill.gameday``."""
        fleet, _ = await self._sites.fleet(request.fleet_digest)
        store, bucket = self._sites.control, self._sites.bucket
        return await beating(
            gameday.where(
                self._sites.records,
                LinkStore(store, bucket),
                LineageStore(store, bucket),
                request,
                lambda name, cell: self._sites.site(fleet, name, cell),
            )
        )

    @activity.defn(name="watch_game_day")
    async def watch_game_day(self, request: GameDayWatchStep) -> GameDayWatched:
        """See ``tidegate.drill.gameday_watch``. Goes on from what the last attempt's heartbeat remembers.

        Cancelled by its operation, it ends with what it has seen.
        """
        fleet, _ = await self._sites.fleet(request.fleet_digest)
        watchers = [
            Watcher(
                member=one,
                home=self._sites.site(fleet, one.deployment, one.home),
                away=self._sites.site(fleet, one.deployment, one.at),
                records=self._sites.records,
                job=request.jobs[one.deployment] if request.jobs is not None else None,
            )
            for one in request.members
        ]
        figures: dict[str, object] = {"phase": "watch"}
        memories = _remembered()

        def said(now: dict[str, object], known: Memories) -> None:
            nonlocal figures, memories
            figures, memories = now, known
            activity.heartbeat(figures, memories)

        task = asyncio.ensure_future(watch(watchers, request, memories, said))
        try:
            while not task.done():
                # A look may take longer than a heartbeat may be late.
                activity.heartbeat(figures, memories)
                await asyncio.wait({task}, timeout=1.0)
            return task.result()
        except asyncio.CancelledError:
            asked = activity.cancellation_details()
            if asked is None or not asked.cancel_requested:
                raise  # the worker stops: the next one goes on with the watch
            return so_far(watchers, request, memories)
        finally:
            task.cancel()


def _remembered() -> Memories:
    """What the last attempt knew; nothing, if this is the first, or it cannot be read."""
    details = activity.info().heartbeat_details
    if len(details) < 2 or not isinstance(details[1], dict):
        return Memories(of={})
    try:
        return Memories.model_validate(details[1])
    except ValidationError:
        return Memories(of={})  # of a worker of another version: the watch begins to count anew

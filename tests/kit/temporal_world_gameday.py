"""The world of a game day: deployments that can go to the west and come back, and what a watch would see of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity

from tests.kit.temporal_world_facts import AT, FLEET
from tests.kit.temporal_world_region import SHARED, RegionWorld
from tidegate.model.gameday import Sample, Trip
from tidegate.model.gamedaysteps import (
    GameDayLook,
    GameDaySeen,
    GameDayWatched,
    GameDayWatchStep,
    Stand,
    Stands,
    WhereInput,
)
from tidegate.model.notice import Notice, NotifyFact, NotifyInput
from tidegate.model.region import GroupStep, LookGroupInput

STEPS = ("look_at_game_day", "where_game_day", "watch_game_day")


class GameDayWorld(RegionWorld):
    """``trip``: what the watch finds there, if anything; ``trip_moving``: what it finds on the way."""

    shared = (*SHARED, *STEPS, "notify")

    def __init__(self, tiers: dict[str, int], families: tuple[tuple[str, ...], ...] = ()) -> None:
        super().__init__(tiers, families)
        self.trip: Trip | None = None
        self.trip_moving: Trip | None = None
        self.approvals: tuple[str, ...] = ()
        self.links = {"east-to-west": "RUNNING", "west-to-east": "STOPPED"}
        self.moved_away: dict[str, str] = {}
        """By deployment: a region to which somebody else has brought it."""
        self.notices: list[Notice] = []

    def where(self) -> set[str]:
        """The regions in which they live."""
        return {one.region_now for one in self.worlds.values()}

    def _look_at_game_day(self, request: GameDayLook) -> GameDaySeen:
        seen = self._look_group(
            LookGroupInput(
                operation=request.operation,
                run_id=request.run_id,
                region=request.region,
                to=request.to,
                deployments=request.deployments,
            )
        )
        return GameDaySeen(
            at=AT,
            fleet_digest=FLEET,
            members=seen.members,
            topics=tuple(topic for family in seen.families for topic in family.topics.turn),
            links=(f"{request.region}-to-{request.to}",),
            back=(f"{request.to}-to-{request.region}",),
            points={one.deployment: "e7-chk-12, 1.5 s old" for one in seen.members},
            slots_needed=len(seen.members),
            slots_free=seen.slots_free,
            slots_total=8,
            mirror_lag={"east-to-west": 3},
            approvals=self.approvals,
        )

    def _where_game_day(self, request: WhereInput) -> Stands:
        stands = []
        for member in request.members:
            world = self.worlds[member.deployment]
            writer = world.record.writer
            assert writer is not None
            region = self.moved_away.get(member.deployment, world.region_now)
            stands.append(
                Stand(
                    deployment=member.deployment,
                    at=f"{region}/cell-1",
                    job_id=writer.job_id,
                    epoch=world.record.epoch,
                    state=world.job_state or "not known to Flink",
                )
            )
        return Stands(
            at=AT,
            stands=tuple(stands),
            topics={topic: self.worlds[topic.partition("-")[2]].region_now for topic in request.topics},
            links={name: self.links[name] for name in request.links},
        )

    async def _watch_game_day(self, request: GameDayWatchStep) -> GameDayWatched:
        """On the way it looks until it is stopped; there it finds what the test has put there, at once."""
        if request.jobs is None:
            if self.trip_moving is not None:
                return GameDayWatched(samples=(), trip=self.trip_moving)
            while True:
                activity.heartbeat()  # a cancellation comes with its answer
                await asyncio.sleep(0.05)
        samples = tuple(
            Sample(at=AT + timedelta(seconds=n), deployment=one.deployment, state="RUNNING", lag=10 * n, lag_s=0.5 * n)
            for one in request.members
            for n in (1, 2)
        )
        stay_s = (request.until - request.began).total_seconds()
        return GameDayWatched(samples=samples, trip=self.trip, watched_s=2.0 if self.trip else stay_s)

    def _notify(self, request: NotifyInput) -> NotifyFact:
        self.notices.append(request.notice)
        return NotifyFact(notice=request.notice)

    def _mirror_group(self, request: GroupStep) -> Any:
        fact = super()._mirror_group(request)
        self.links.update(dict.fromkeys(request.topics.links, "STOPPED"))
        self.links.update(dict.fromkeys(request.topics.back, "RUNNING"))
        return fact

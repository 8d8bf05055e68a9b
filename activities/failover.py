"""Steps of a failover, thin over ``tidegate.failover``: the region that is left may be gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity
from temporalio.client import Client

from activities.beats import beat, beating
from activities.registry import run_closed
from activities.sites import Sites
from tidegate.failover import ahead, cut, groups, home, look, producers, rebasing
from tidegate.failover.sides import Sides
from tidegate.model.failover import (
    CutFact,
    CutInput,
    FailoverStep,
    GateFact,
    HomeFact,
    LookRegionsInput,
    MirrorBackFact,
    OpenFact,
    OpenInput,
    RebaseFact,
    RebaseInput,
    RegionsSeen,
    ShutFact,
    ShutInput,
    TranslateInput,
)
from tidegate.model.groups import GroupsFact
from tidegate.model.record import Holder
from tidegate.operation.run import Run
from tidegate.registry.ownership import Claim, Tenure


class FailoverActivities:
    """The steps of one deployment's failover: look_regions to mirror_back; reopen_home and hold_gate go back."""

    def __init__(self, sites: Sites, client: Client) -> None:
        self._sites = sites
        self._client = client

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [
            self.look_regions,
            self.close_producers,
            self.shut_home,
            self.cut_over,
            self.rebase_copy,
            self.translate_groups,
            self.open_producers,
            self.mirror_back,
            self.reopen_home,
            self.hold_gate,
        ]

    @activity.defn(name="look_regions")
    async def look_regions(self, request: LookRegionsInput) -> RegionsSeen:
        """See ``tidegate.failover.look``."""
        fleet, _ = await self._sites.fleet(request.fleet_digest)
        left = self._sites.site(fleet, request.deployment, request.home)
        away = self._sites.site(fleet, request.deployment, request.at)
        return await beating(
            look.look(
                left,
                away,
                self._sites.records,
                request.together,
                unplanned=request.unplanned,
                wanted=request.point,
                returning=request.returning,
            )
        )

    @activity.defn(name="close_producers")
    async def close_producers(self, request: FailoverStep) -> ShutFact:
        """See ``tidegate.failover.ahead`` and ``tidegate.failover.producers``."""
        sides = await self._sides(request)
        topics, take_over = request.topics, request.take_over
        if not request.unplanned:
            return await beating(ahead.close_when_current(sides, topics, take_over=take_over))
        answers = (request.answers or await look.answers_of(sides.home.site)).kafka is None
        return await beating(producers.close_producers(sides, topics, take_over=take_over, home_answers=answers))

    @activity.defn(name="shut_home")
    async def shut_home(self, request: ShutInput) -> HomeFact:
        """See ``tidegate.failover.home``."""
        return await beating(home.shut_home(await self._sides(request), request, request.point))

    @activity.defn(name="cut_over")
    async def cut_over(self, request: CutInput) -> CutFact:
        """See ``tidegate.failover.cut``."""
        return await beating(cut.cut_over(await self._sides(request), request))

    @activity.defn(name="rebase_copy")
    async def rebase_copy(self, request: RebaseInput) -> RebaseFact:
        """See ``tidegate.failover.rebasing``."""
        return await beating(rebasing.rebase_copy(await self._sides(request), request))

    @activity.defn(name="translate_groups")
    async def translate_groups(self, request: TranslateInput) -> GroupsFact:
        """See ``tidegate.failover.groups``."""
        return await beating(groups.translate_groups(await self._sides(request), request))

    @activity.defn(name="open_producers")
    async def open_producers(self, request: OpenInput) -> OpenFact:
        """See ``tidegate.failover.producers``."""
        return await beating(producers.open_producers(await self._sides(request), request))

    @activity.defn(name="mirror_back")
    async def mirror_back(self, request: FailoverStep) -> MirrorBackFact:
        """See ``tidegate.failover.cut``."""
        return await beating(cut.mirror_back(await self._sides(request), request.topics))

    @activity.defn(name="reopen_home")
    async def reopen_home(self, request: FailoverStep) -> None:
        """The cut is taken back before the links run on behind it; they run before the producers write."""
        sides = await self._sides(request)
        await beating(producers.turn_back(sides, request.topics, take_over=request.take_over))
        await beating(cut.mirror_home_again(sides, request.topics))
        await beating(producers.reopen_home(sides, request.topics))

    @activity.defn(name="hold_gate")
    async def hold_gate(self, request: FailoverStep) -> GateFact:
        """After the way back: nobody needs to be denied in a region to which nothing has turned."""
        sides = await self._sides(request)
        return GateFact(notes=await beating(producers.hold_gate(sides, request.topics, elsewhere=False)))

    async def _sides(self, request: FailoverStep) -> Sides:
        held = request.held
        tenure = Tenure(
            self._sites.records, Claim(held.deployment, held.holder, held.fence), attempt=activity.info().attempt
        )
        fleet, _ = await self._sites.fleet(request.fleet_digest)

        def at(cell: str | None) -> Run:
            site = self._sites.site(fleet, held.deployment, cell)
            return Run(site=site, tenure=tenure, beat=beat, n=request.n)

        async def closed(other: Holder) -> bool:
            return await run_closed(self._client, other)

        return Sides(at(request.home), at(request.at), closed)

"""The step that keeps recovery points: one long watch a deployment (O19), thin over ``tidegate.points``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from temporalio import activity

from activities.notify import notify
from activities.sites import Sites
from tidegate.errors import BasisChanged, InvalidInput, Unavailable
from tidegate.mirror.link import open_link
from tidegate.mirror.revive import LinkRevival
from tidegate.mirror.watch import LinkWatch, link_of
from tidegate.model.fleet import CellRef, Fleet
from tidegate.model.keep import KeepFact, KeepStep
from tidegate.model.notice import Notice
from tidegate.model.record import DeploymentRecord
from tidegate.notices.restorability import Flips
from tidegate.operation.move import home_of, standby_of
from tidegate.points.groups import GroupKeeper, GroupStore
from tidegate.points.keep import Keeper, Side
from tidegate.points.model import Points
from tidegate.points.store import PointStore
from tidegate.registry.links import LinkStore
from tidegate.snapshot.catalog import jobs_of
from tidegate.snapshot.pace import Pace
from tidegate.snapshot.place import place_in

BREATH = 0.1
"""The least part of the interval between the end of one look and the beginning of the next."""
CONTROL_WAIT_S = 5.0
"""So long a look at the mirror waits for the control bucket: the next look comes soon."""
TWINS = 3
"""So often in a row somebody else may have written: an attempt that was given up may live on for a while (O16)."""


class _Watched:
    """What the record says of a deployment, from look to look."""

    def __init__(self, sites: Sites, fleet: Fleet, deployment: str) -> None:
        self._sites = sites
        self._fleet = fleet
        self._deployment = deployment
        self._record: DeploymentRecord | None = None
        self._kept: str | None = None
        """sha256 of the jar that was seen to be kept."""

    async def look(self) -> None:
        """Read it. Raises Unavailable."""
        stored = await self._sites.records.read(self._deployment)
        self._record = stored.record if stored else None

    @property
    def home(self) -> CellRef:
        """Where it lives."""
        return home_of(self._fleet, self._deployment, self._record)

    async def jobs(self) -> Mapping[str, int]:
        """As ``Keeper`` wants them."""
        return jobs_of(self._record)

    async def keep_jar(self) -> str | None:
        """As ``Keeper`` wants it: the writer's jar, once."""
        writer = self._record.writer if self._record else None
        if writer is None or writer.artifact.sha256 == self._kept:
            return None
        try:
            await self._sites.keep_jar(self._fleet, self._deployment, writer.artifact)
        except (BasisChanged, InvalidInput) as error:
            return f"no copy of the jar of {writer.artifact.name} outlives its region: {error.message}"
        self._kept = writer.artifact.sha256
        return None


class _Telling:
    """Tells people of regions in which the deployment cannot be restored any more, beside the watch."""

    def __init__(self, sites: Sites) -> None:
        self.flips = Flips()
        self._sites = sites
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self, *regions: Points | None) -> None:
        """After each look at the points."""
        for points in regions:
            notice = self.flips.look(points)
            if notice is not None:
                task = asyncio.create_task(self._tell(notice))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """What is on its way is bounded (``tidegate.notices.delivery``): it is waited for."""
        await asyncio.gather(*self._tasks)

    async def _tell(self, notice: Notice) -> None:
        fact = await notify(self._sites, notice)
        for problem in fact.problems:
            activity.logger.warning("notice %s (%s) not delivered: %s", notice.event, notice.subject, problem)


class PointActivities:
    """keep_points."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.keep_points]

    @activity.defn(name="keep_points")
    async def keep_points(self, request: KeepStep) -> KeepFact:
        """Look again and again. A part that is away is told and waited for: the next look may find it."""
        fleet, _ = await self._sites.fleet(request.fleet_digest)
        told: dict[str, object] = {"cycles": 0, "shipped": 0, "sent_bytes": 0, "newest": None}
        overtaken = 0

        def beat(details: Mapping[str, object]) -> None:
            activity.heartbeat({**told, **details})

        async with AsyncExitStack() as stack:
            watched = _Watched(self._sites, fleet, request.deployment)
            mirror = await self._mirror(fleet, request, beat, stack)
            keeper = self._keeper(fleet, request, watched, mirror, beat)
            telling = await self._telling(fleet, request.deployment, stack)
            cycles = shipped = sent = 0
            newest: str | None = None
            ends = time.monotonic() + request.watch_s
            while (began := time.monotonic()) < ends:
                try:
                    await watched.look()
                    if watched.home.region != keeper.home.place.region:
                        break  # it has moved: the next watch begins there
                    health = await mirror.look_after() if mirror is not None else None
                    told["mirror_down"] = health.down if health is not None else None
                    kept = await keeper.cycle()
                except Unavailable as error:
                    beat({"waiting_for": error.message[:300]})
                except BasisChanged:
                    overtaken += 1
                    if overtaken > TWINS:
                        raise
                else:
                    overtaken = 0
                    cycles += 1
                    shipped += kept.sent_bytes > 0
                    sent += kept.sent_bytes
                    newest = kept.home.points[0].id if kept.home.points else None
                    told |= {"cycles": cycles, "shipped": shipped, "sent_bytes": sent, "newest": newest}
                    beat({"notes": kept.notes[:3]})
                    telling.look(kept.home, kept.away)
                # Flink tells nobody that a checkpoint is complete: a look each interval, however long one takes, with
                # a breath between two for whoever is looked at.
                left_s = request.interval_s - (time.monotonic() - began)
                await asyncio.sleep(max(left_s, BREATH * request.interval_s))
        return KeepFact(cycles=cycles, shipped=shipped, sent_bytes=sent, newest=newest)

    async def _mirror(
        self, fleet: Fleet, request: KeepStep, beat: Callable[[Mapping[str, object]], None], stack: AsyncExitStack
    ) -> LinkWatch | None:
        site = self._sites.site(fleet, request.deployment, request.at)
        standby = standby_of(fleet, request.deployment, site.region)
        name = link_of(fleet, request.deployment, site.region, standby) if standby else None
        if name is None:
            return None
        link = await stack.enter_async_context(open_link(fleet, name))
        links = LinkStore(self._sites.control, self._sites.bucket, control_wait_s=CONTROL_WAIT_S)
        revival = LinkRevival(link, links, request.deployment, beat)
        return LinkWatch(link, {*site.output_topics, *site.input_topics}, revival)

    async def _telling(self, fleet: Fleet, deployment: str, stack: AsyncExitStack) -> _Telling:
        """Who tells when a region is lost; it knows how things stood at the last watch's end."""
        store = PointStore(self._sites.control, self._sites.bucket)
        telling = _Telling(self._sites)
        for region in fleet.regions:
            telling.flips.look((await store.read(deployment, region)).points)
        stack.push_async_callback(telling.settle)
        return telling

    def _keeper(
        self,
        fleet: Fleet,
        request: KeepStep,
        watched: _Watched,
        mirror: LinkWatch | None,
        beat: Callable[[Mapping[str, object]], None],
    ) -> Keeper:
        site = self._sites.site(fleet, request.deployment, request.at)
        home = place_in(fleet, request.deployment, site.region)
        standby = standby_of(fleet, request.deployment, site.region)
        away = place_in(fleet, request.deployment, standby) if standby else None

        control, bucket = self._sites.control, self._sites.bucket
        consumers = GroupKeeper(
            site.kafka, GroupStore(control, bucket), request.deployment, site.region, site.spec.consumers
        )
        return Keeper(
            home=Side(home, self._sites.region_store(fleet, home.region)),
            away=Side(away, self._sites.region_store(fleet, away.region)) if away else None,
            kafka=site.kafka,
            outputs=site.output_topics,
            points=PointStore(control, bucket),
            jobs=watched.jobs,
            mirror=mirror,
            keep_jar=watched.keep_jar,
            keep_groups=consumers.keep,
            pace=Pace(bytes_per_s=request.bytes_per_s),
            beat=beat,
        )

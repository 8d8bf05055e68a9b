"""The step that keeps recovery points: one long watch a deployment (O19), thin over ``tidegate.points``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from temporalio import activity

from activities.sites import Sites
from tidegate.errors import BasisChanged, InvalidInput, Unavailable
from tidegate.mirror.link import open_link
from tidegate.mirror.watch import LinkWatch, link_of
from tidegate.model.fleet import Fleet
from tidegate.model.keep import KeepFact, KeepStep
from tidegate.model.record import ArtifactRef
from tidegate.points.keep import Keeper, Side
from tidegate.points.store import PointStore
from tidegate.snapshot.catalog import jobs_of
from tidegate.snapshot.pace import Pace
from tidegate.snapshot.place import place_in

BREATH = 0.1
"""The least part of the interval between the end of one look and the beginning of the next."""
TWINS = 3
"""So often in a row somebody else may have written: an attempt that was given up may live on for a while (O16)."""


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
        ends = time.monotonic() + request.watch_s
        told: dict[str, object] = {"cycles": 0, "shipped": 0, "sent_bytes": 0, "newest": None}
        overtaken = 0

        def beat(details: Mapping[str, object]) -> None:
            activity.heartbeat({**told, **details})

        async with AsyncExitStack() as stack:
            keeper = await self._keeper(fleet, request, beat, stack)
            cycles = shipped = sent = 0
            newest: str | None = None
            while (began := time.monotonic()) < ends:
                try:
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
                # Flink tells nobody that a checkpoint is complete: a look each interval, however long one takes, with
                # a breath between two for whoever is looked at.
                left_s = request.interval_s - (time.monotonic() - began)
                await asyncio.sleep(max(left_s, BREATH * request.interval_s))
        return KeepFact(cycles=cycles, shipped=shipped, sent_bytes=sent, newest=newest)

    async def _keeper(
        self, fleet: Fleet, request: KeepStep, beat: Callable[[Mapping[str, object]], None], stack: AsyncExitStack
    ) -> Keeper:
        spec = fleet.deployment(request.deployment)
        site = self._sites.site(fleet, request.deployment)
        home = place_in(fleet, request.deployment)
        away = place_in(fleet, request.deployment, spec.standby) if spec.standby else None
        mirror = None
        link = link_of(fleet, request.deployment, spec.standby) if spec.standby else None
        if link is not None:
            topics = {*site.output_topics, *site.input_topics}
            mirror = LinkWatch(await stack.enter_async_context(open_link(fleet, link)), topics)

        runs: ArtifactRef | None = None
        safe: str | None = None

        async def jobs() -> Mapping[str, int]:
            nonlocal runs
            stored = await self._sites.records.read(request.deployment)
            writer = stored.record.writer if stored else None
            runs = writer.artifact if writer else None
            return jobs_of(stored.record if stored else None)

        async def keep_jar() -> str | None:
            nonlocal safe
            if runs is None or runs.sha256 == safe:
                return None
            try:
                await self._sites.keep_jar(fleet, request.deployment, runs)
            except (BasisChanged, InvalidInput) as error:
                return f"no copy of the jar of {runs.name} outlives its region: {error.message}"
            safe = runs.sha256
            return None

        return Keeper(
            home=Side(home, self._sites.region_store(fleet, home.region)),
            away=Side(away, self._sites.region_store(fleet, away.region)) if away else None,
            kafka=site.kafka,
            outputs=site.output_topics,
            points=PointStore(self._sites.control, self._sites.bucket),
            jobs=jobs,
            mirror=mirror,
            keep_jar=keep_jar,
            pace=Pace(bytes_per_s=request.bytes_per_s),
            beat=beat,
        )

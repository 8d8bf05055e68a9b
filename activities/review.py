"""The steps of ReviewReadiness: thin over ``tidegate.readiness`` and ``tidegate.notices``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from temporalio import activity
from temporalio.client import Client

from activities.beats import beating
from activities.notify import notify
from activities.sites import Sites
from tidegate.model.record import utc_now
from tidegate.model.review import BreachFact, BreachNote, DeploymentReview, ReviewStep
from tidegate.notices.breaches import BreachStore, tell_breaches
from tidegate.readiness.drills import to_be_told
from tidegate.readiness.facts import ScheduledDrill
from tidegate.readiness.gather import review_fleet
from tidegate.readiness.reach import Reach
from tidegate.schedules.store import ScheduleStore
from tidegate.temporal.late import scheduled_drills
from tidegate.temporal.pollers import pollers

CONTROL_WAIT_S = 10.0
"""An attempt waits no longer for the control bucket; the next one does."""


class ReviewActivities:
    """review_readiness, note_breaches."""

    def __init__(self, sites: Sites, client: Client) -> None:
        self._sites = sites
        self._client = client

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.review_readiness, self.note_breaches]

    @activity.defn(name="review_readiness")
    async def review_readiness(self, request: ReviewStep) -> DeploymentReview:
        """Ask with clients of its own: less patient than those that operations share."""
        fleet, digest = await self._sites.fleet(request.fleet_digest)
        store = ScheduleStore(self._sites.control, self._sites.bucket, control_wait_s=CONTROL_WAIT_S)

        async def drills() -> tuple[ScheduledDrill, ...]:
            return await scheduled_drills(self._client, store, fleet, utc_now())

        polled = partial(pollers, self._client)
        reach = Reach(fleet, self._sites.control, self._sites.bucket, polled, drills=drills)
        found = await beating(review_fleet(reach, [request.deployment], request.outage_s, digest=digest))
        return found.deployments[0]

    @activity.defn(name="note_breaches")
    async def note_breaches(self, request: BreachNote) -> BreachFact:
        """Once for each breach, whoever looks. Raises Unavailable."""
        found, looked = to_be_told(request.review)
        problems = await tell_breaches(
            BreachStore(self._sites.control, self._sites.bucket, control_wait_s=CONTROL_WAIT_S),
            request.review.deployment,
            found,
            looked,
            at=request.at,
            by=request.operation,
            tell=partial(notify, self._sites),
        )
        return BreachFact(problems=problems)

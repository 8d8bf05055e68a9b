"""The step of ReviewReadiness: thin over ``tidegate.readiness``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from temporalio import activity
from temporalio.client import Client

from activities.beats import beating
from activities.sites import Sites
from tidegate.model.review import DeploymentReview, ReviewStep
from tidegate.readiness.gather import review_fleet
from tidegate.readiness.reach import Reach
from tidegate.temporal.pollers import pollers


class ReviewActivities:
    """review_readiness."""

    def __init__(self, sites: Sites, client: Client) -> None:
        self._sites = sites
        self._client = client

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.review_readiness]

    @activity.defn(name="review_readiness")
    async def review_readiness(self, request: ReviewStep) -> DeploymentReview:
        """Ask with clients of its own: less patient than those that operations share."""
        fleet, digest = await self._sites.fleet(request.fleet_digest)
        reach = Reach(fleet, self._sites.control, self._sites.bucket, partial(pollers, self._client))
        found = await beating(review_fleet(reach, [request.deployment], request.outage_s, digest=digest))
        return found.deployments[0]

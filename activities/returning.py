"""Steps of a region's return: thin over ``tidegate.failover``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity

from activities.beats import beating
from activities.failover import FailoverActivities
from tidegate.failover import returning, tail
from tidegate.model.returning import QuarantineFact, ReturnStep, TailFact


class ReturnActivities(FailoverActivities):
    """quarantine, set_apart."""

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.quarantine, self.set_apart]

    @activity.defn(name="quarantine")
    async def quarantine(self, request: ReturnStep) -> QuarantineFact:
        """See ``tidegate.failover.returning``."""
        return await beating(returning.quarantine(await self._sides(request), request))

    @activity.defn(name="set_apart")
    async def set_apart(self, request: ReturnStep) -> TailFact:
        """See ``tidegate.failover.tail``."""
        return await beating(tail.set_apart(await self._sides(request), request))

"""The step that tells people: bounded, and never an error (notices are no part of what an operation promises)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity

from activities.sites import Sites
from tidegate.errors import TidegateError
from tidegate.model.notice import NotifyFact, NotifyInput
from tidegate.notices.store import NoticeStore, tell


class NotifyActivities:
    """notify."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.notify]

    @activity.defn(name="notify")
    async def notify(self, request: NotifyInput) -> NotifyFact:
        """By the fleet file as it is now: who is on call is told, not who was when the operation began."""
        notice = request.notice
        try:
            fleet, _ = await self._sites.fleet(None)
            fact = await tell(fleet.notices, notice, NoticeStore(self._sites.control, self._sites.bucket))
        except TidegateError as error:
            fact = NotifyFact(notice=notice, note=error.message)
        for problem in fact.problems:
            activity.logger.warning("notice %s (%s) not delivered: %s", notice.event, notice.subject, problem)
        return fact

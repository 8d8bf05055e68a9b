"""The step that tells people: bounded, and never an error (notices are no part of what an operation promises)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity

from activities.sites import Sites
from tidegate.errors import TidegateError
from tidegate.model.notice import Notice, NotifyFact, NotifyInput
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
        """See ``notify``."""
        notice = request.notice
        fact = await notify(self._sites, notice)
        for problem in fact.problems:
            activity.logger.warning("notice %s (%s) not delivered: %s", notice.event, notice.subject, problem)
        return fact


async def notify(sites: Sites, notice: Notice) -> NotifyFact:
    """Tell people, by the fleet file as it is now: who is on call, not who was when the operation began."""
    try:
        fleet, _ = await sites.fleet(None)
        return await tell(fleet.notices, notice, NoticeStore(sites.control, sites.bucket))
    except TidegateError as error:
        return NotifyFact(notice=notice, note=error.message)

"""The two steps of a scheduled run that touch the world, thin over ``tidegate.schedules``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity

from activities.beats import beating
from activities.notify import notify
from activities.sites import Sites
from tidegate.model.schedule import NoteFact, RunNote, RunOutcome, WeighFact, WeighInput
from tidegate.schedules.decide import by_calendar, by_world
from tidegate.schedules.notice import paused, runs_again, tell_failed
from tidegate.schedules.store import ScheduleStore

CONTROL_WAIT_S = 10.0
"""An attempt waits no longer for the control bucket; the next one does."""


class ScheduleActivities:
    """weigh_schedule, note_run."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites

    def all(self) -> list[Callable[..., Any]]:
        """What a worker registers."""
        return [self.weigh_schedule, self.note_run]

    @activity.defn(name="weigh_schedule")
    async def weigh_schedule(self, request: WeighInput) -> WeighFact:
        """Shall it begin now? Changes nothing. Raises Unavailable."""
        entry = request.request.entry
        skip = by_calendar(entry, request.at)
        if skip is None:
            store = self._store()
            skip = by_world(entry, await store.incidents(), await store.records())
        return WeighFact(skip=skip)

    @activity.defn(name="note_run")
    async def note_run(self, request: RunNote) -> NoteFact:
        """Keep what became of a run, and tell whom it concerns if it failed. Done again, it says the same."""
        return await beating(self._note_run(request))

    async def _note_run(self, request: RunNote) -> NoteFact:
        result, store = request.result, self._store()
        log = await store.note(result, paused=request.paused)
        if result.outcome is RunOutcome.FAILED:
            fact = await tell_failed(request.notices, result, paused=request.paused)
            if not request.paused:
                return fact
            told = await notify(self._sites, paused(request))
            return fact.model_copy(update={"problems": fact.problems + told.problems})
        if result.outcome is RunOutcome.DONE and log.paused_by is not None:
            told = await notify(self._sites, runs_again(request, log.paused_by))
            if not told.note:  # else the next run that is done tells it
                await store.told_over(result.schedule, log.paused_by)
            return NoteFact(problems=told.problems)
        return NoteFact()

    def _store(self) -> ScheduleStore:
        return ScheduleStore(self._sites.control, self._sites.bucket, control_wait_s=CONTROL_WAIT_S)

"""Which schedules are late, by what Temporal holds of them and what is kept of their runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from temporalio.client import Client, ScheduleDescription

from tidegate.model.fleet import Fleet
from tidegate.model.schedule import ScheduledInput, ScheduleLog
from tidegate.readiness.facts import ScheduledDrill
from tidegate.schedules.late import Breach, breaches, drilled, objective_days
from tidegate.schedules.runbooks import SCHEDULABLE
from tidegate.schedules.store import ScheduleStore
from tidegate.temporal import schedules


@dataclass(frozen=True)
class Late:
    """``asked`` None: what its runs are told cannot be read. ``days``: that its last success may be old; None: any."""

    asked: ScheduledInput | None
    days: float | None
    breaches: tuple[Breach, ...] = ()


async def late(
    client: Client, described: ScheduleDescription, log: ScheduleLog | None, fleet: Fleet, now: datetime
) -> Late:
    """Of a schedule of ours."""
    asked = await schedules.asked_of(client, described)
    if asked is None:
        return Late(None, None)
    info = described.info
    fired = [recent.scheduled_at for recent in info.recent_actions]
    noted = [log.last.ended] if log and log.last else []
    days = objective_days(asked, fleet)
    since = info.last_updated_at or info.created_at if log is None or log.last is None else info.created_at
    seen = max([*fired, *noted], default=None)
    return Late(asked, days, breaches(asked, days, log, since=since, now=now, seen=seen))


async def scheduled_drills(
    client: Client, store: ScheduleStore, fleet: Fleet, now: datetime
) -> tuple[ScheduledDrill, ...]:
    """All drills by the clock, and what was missed of them. Raises TemporalUnreachable, Unavailable."""
    found: list[ScheduledDrill] = []
    for name, described in sorted((await schedules.look(client, ())).items()):
        if not (await schedules.found_of(client, described)).ours:
            continue
        one = await late(client, described, await store.log(name), fleet, now)
        known = SCHEDULABLE.get(one.asked.entry.runbook) if one.asked else None
        if one.asked is not None and known is not None and known.drill:
            missed = next((breach.why for breach in one.breaches if breach.kind == "missed"), None)
            # One of a region is each one's that it drills: who is promised a drill hears that it was missed.
            found += [ScheduledDrill(name, of, missed) for of in drilled(one.asked.entry, fleet)]
    return tuple(found)

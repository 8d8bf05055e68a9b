"""Which schedules are late: a drill that was missed, and a last success older than was promised. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from tidegate.model.fleet import Fleet
from tidegate.model.regiondrill import DRILL_REGION
from tidegate.model.schedule import Entry, ScheduledInput, ScheduleLog
from tidegate.schedules.cron import Cron
from tidegate.schedules.runbooks import SCHEDULABLE

DAY_S: Final = 86_400.0
GRACE_S: Final = 300.0
"""So much later than it may begin at the latest, a run that was due and of which nothing is known was missed."""


@dataclass(frozen=True)
class Breach:
    """What was promised and is not so."""

    kind: Literal["missed", "old", "never"]
    why: str


def objective_days(asked: ScheduledInput, fleet: Fleet | None) -> float | None:
    """Days that the last success may be old: the entry's word, or of a drill that of its deployment; None: none.

    Of the drill of a region: the least of those whose home it is and that the entry asks for.
    """
    entry = asked.entry
    if entry.max_age_days is not None:
        return entry.max_age_days
    known = SCHEDULABLE.get(entry.runbook)
    if known is None or not known.drill or fleet is None:
        return None
    promised = [fleet.deployments[name].objectives.drill_days for name in drilled(entry, fleet)]
    return min((days for days in promised if days is not None), default=None)


def drilled(entry: Entry, fleet: Fleet) -> list[str]:
    """The deployments that an entry drills, by the fleet file; where they live now it does not know."""
    if entry.runbook != DRILL_REGION:
        return [entry.deployment] if entry.deployment in fleet.deployments else []
    only, tiers = entry.input.get("deployments"), entry.input.get("tiers")
    return [
        name
        for name, spec in fleet.deployments.items()
        if spec.home_ref.region == entry.input.get("region")
        and (not isinstance(only, list | tuple) or not only or name in only)
        and (not isinstance(tiers, list | tuple) or not tiers or spec.tier in tiers)
    ]


def breaches(
    asked: ScheduledInput,
    days: float | None,
    log: ScheduleLog | None,
    *,
    since: datetime,
    now: datetime,
    seen: datetime | None,
) -> tuple[Breach, ...]:
    """Of an entry with an objective (``days``).

    ``since``: it is scheduled since then, so nothing before it was due. ``seen``: the latest run that is known of,
    whatever became of it.
    """
    if days is None:
        return ()
    found: list[Breach] = []
    done = log.last_done if log else None
    begun = done.ended if done else since
    age_days = (now - begun).total_seconds() / DAY_S
    if age_days > days:
        what = f"last done {age_days:,.1f} days ago" if done else f"never done in {age_days:,.1f} days"
        found.append(Breach("old" if done else "never", f"{what}; at most {days:g} are promised"))
    entry = asked.entry
    latest = now - timedelta(seconds=entry.catch_up_s + entry.jitter_s + GRACE_S)
    due = Cron.parse(entry.cron).last_due(entry.zone, latest)
    if due is not None and due > since and (seen is None or seen < due):
        found.append(Breach("missed", f"was due {due:%Y-%m-%d %H:%M} UTC, and nothing ran"))
    return tuple(found)

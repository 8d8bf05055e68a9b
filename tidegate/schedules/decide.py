"""Shall a run that is due begin? Pure: entry, moment, and what was seen of incidents and records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from tidegate.model.inputs import UPGRADE_DEPLOYMENT
from tidegate.model.record import DeploymentRecord
from tidegate.model.schedule import Entry, Freeze, Skip, SkipReason, Window

ROLLOUTS: Final = frozenset({UPGRADE_DEPLOYMENT})
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def by_calendar(entry: Entry, at: datetime) -> Skip | None:
    """What the entry itself says of this moment: a freeze, or no window. A day is one of the entry's time zone."""
    local = at.astimezone(entry.zone)
    today = f"{local:%Y-%m-%d}"
    for freeze in entry.freezes:
        if freeze.first <= today <= freeze.last:
            return Skip(reason=SkipReason.FREEZE, why=_frozen(freeze))
    if entry.windows and not any(_within(window, local) for window in entry.windows):
        windows = "; ".join(_window(window) for window in entry.windows)
        why = f"{local:%a %H:%M} ({entry.time_zone}) is outside {windows}"
        return Skip(reason=SkipReason.OUTSIDE_WINDOW, why=why)
    return None


def by_world(entry: Entry, incidents: Sequence[str], records: Iterable[DeploymentRecord]) -> Skip | None:
    """What goes on: an incident (ids of those that are open), an operation on the deployment, a rollout anywhere."""
    if "incident-open" in entry.skip_if and incidents:
        return Skip(reason=SkipReason.INCIDENT_OPEN, why=f"open: {', '.join(sorted(incidents)[:5])}")
    held = {record.deployment: record.holder for record in records if record.holder is not None}
    if (holder := held.get(entry.deployment)) is not None:
        why = f"{entry.deployment} is held by {holder.operation} ({holder.runbook}, {holder.who})"
        return Skip(reason=SkipReason.HELD, why=why)
    if "rollout-running" in entry.skip_if:
        rollouts = [f"{name} by {one.operation}" for name, one in sorted(held.items()) if one.runbook in ROLLOUTS]
        if rollouts:
            return Skip(reason=SkipReason.ROLLOUT_RUNNING, why=f"rolls out: {', '.join(rollouts[:5])}")
    return None


def _within(window: Window, local: datetime) -> bool:
    if window.days and _DAYS[local.weekday()] not in window.days:
        return False
    return window.start <= f"{local:%H:%M}" < window.end


def _window(window: Window) -> str:
    return f"{', '.join(window.days) or 'every day'} {window.start} to {window.end}"


def _frozen(freeze: Freeze) -> str:
    days = freeze.first if freeze.first == freeze.last else f"{freeze.first} to {freeze.last}"
    return f"frozen {days}: {freeze.why}"

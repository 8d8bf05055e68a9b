"""What a plan warns of where the snapshot that it starts from has timers or event-time windows (X28). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from tidegate.model.timers import TimersFound

_NAMED: Final = 3


def start_notes(found: TimersFound | None, at: datetime, tail: str = "") -> list[str]:
    """What a start from it does that one should know. ``tail``: the command that holds what may be fed late, if any."""
    if found is None:
        return []
    return [*_overdue(found, at), *_watermarks(found, tail), *_not_known(found)]


def tail_notes(found: TimersFound | None, hold: str) -> list[str]:
    """What becomes of a tail that is fed to a job of which this is the newest snapshot. ``hold``: what avoids it."""
    if found is None:
        return []
    who = _who(((one.operator, one.event_time) for one in found.operators), "event-time windows or timers")
    notes = [f"{who}: what is fed late may be dropped by them; to hold it:  {hold} (X28)"] if who else []
    return [*notes, *_not_known(found)]


def _overdue(found: TimersFound, at: datetime) -> list[str]:
    who = _who(((one.operator, one.processing) for one in found.operators), "processing-time timers")
    if not who:
        return []
    if found.taken_at is None:
        return [f"{who}: those that fall due while it moves fire at once at the start (X28)"]
    late_s = max(0.0, (at - found.taken_at).total_seconds())
    since = f"since {found.name} of {found.taken_at.astimezone(UTC):%H:%M:%S} UTC"
    return [f"{who}: those that fell due in the last {late_s:,.0f} s ({since}) fire at once at the start (X28)"]


def _watermarks(found: TimersFound, tail: str) -> list[str]:
    who = _who(((one.operator, one.event_time) for one in found.operators), "event-time windows or timers")
    if not who:
        return []
    late = f"what is fed late (the tail) may be dropped by them, to hold it:  {tail}  ; " if tail else ""
    return [f"{who}: {late}an input partition that stays empty holds them back unless its source has idleness (X28)"]


def _not_known(found: TimersFound) -> list[str]:
    if not found.unknown:
        return []
    more = f" (and {len(found.unknown) - 1} more)" if len(found.unknown) > 1 else ""
    return [f"whether timers or windows are in {found.name} is not known: {found.unknown[0]}{more} (X28)"]


def _who(told: Iterable[tuple[str, bool | None]], what: str) -> str:
    """``balance has …`` or ``balance, windows may have …``; empty: nobody has."""
    known = [(operator, held) for operator, held in told if held is not False]
    if not known:
        return ""
    sure = [operator for operator, held in known if held]
    names = sure or [operator for operator, _ in known]
    said = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    if sure:
        return f"{said} {'has' if len(names) == 1 else 'have'} {what}"
    return f"{said} may have {what}"

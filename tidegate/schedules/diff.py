"""What an apply would do: wanted against what Temporal holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tidegate.model.schedule import Entry
from tidegate.names import derive_id
from tidegate.schedules.cron import Cron

FAR = 3


class Act(StrEnum):
    """What becomes of a schedule."""

    CREATE = "create"
    CHANGE = "change"
    KEEP = "keep"
    UNNAMED = "unnamed"
    """The file does not name it any more: told, and deleted only if that is asked for."""
    STRANGER = "stranger"
    """Somebody else has a schedule under the id that an entry would have."""


@dataclass(frozen=True)
class Line:
    """One line of a plan. ``changes``: field, what it is, what it shall be."""

    act: Act
    name: str
    changes: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = ()
    drift: bool = False
    """It was changed by hand: what Temporal holds is not what an apply has put there."""


@dataclass(frozen=True)
class Found:
    """A schedule as Temporal holds it."""

    name: str
    ours: bool
    fields: Mapping[str, str]
    """What it is, by field, as Temporal says it: what an apply sets and nothing else."""
    token: bytes
    """Of the version that was read."""
    applied: str | None = None
    """``digest`` of the fields as the last apply has put them; None: not said."""

    @property
    def drifted(self) -> bool:
        """Somebody has changed it by hand since."""
        return self.applied is not None and self.applied != digest(self.fields)


def digest(fields: Mapping[str, str]) -> str:
    """The same for the same fields."""
    return derive_id(*(part for key in sorted(fields) for part in (key, fields[key])))


def plan(
    wanted: Mapping[str, Mapping[str, str]], found: Mapping[str, Found], notes: Mapping[str, Sequence[str]]
) -> list[Line]:
    """A line for each entry and for each of our schedules that no entry names, by name."""
    lines: list[Line] = []
    for name, fields in wanted.items():
        there = found.get(name)
        told = tuple(notes.get(name, ()))
        if there is None:
            lines.append(Line(Act.CREATE, name, tuple((key, "", value) for key, value in fields.items()), told))
        elif not there.ours:
            lines.append(Line(Act.STRANGER, name, notes=("it was not made by tidegate schedules, and is left alone",)))
        else:
            changes = tuple(
                (key, there.fields.get(key, ""), fields.get(key, ""))
                for key in dict.fromkeys((*fields, *there.fields))
                if there.fields.get(key, "") != fields.get(key, "")
            )
            act = Act.CHANGE if changes else Act.KEEP
            lines.append(Line(act, name, changes, told, drift=bool(changes) and there.drifted))
    unnamed = [one for name, one in found.items() if one.ours and name not in wanted]
    lines += [Line(Act.UNNAMED, one.name, notes=("deleted only by --prune",)) for one in unnamed]
    return sorted(lines, key=lambda line: line.name)


def clock_notes(entry: Entry, after: datetime) -> list[str]:
    """What the clocks do to an entry within a year: times that never come, and those that come twice."""
    cron = Cron.parse(entry.cron)
    found = list(cron.changes(entry.zone, after))
    told = [
        f"{local:%Y-%m-%d %H:%M} {'does not exist' if times == 0 else 'comes twice'} in {entry.time_zone}: "
        + ("it does not fire at that time" if times == 0 else _twice(local))
        for local, times in found[:FAR]
    ]
    return [*told, f"and {len(found) - FAR} more such times within a year"] if len(found) > FAR else told


def _twice(local: datetime) -> str:
    """As observed of the server: see runbooks/schedules.md."""
    east = (local.replace(fold=1).utcoffset() or timedelta()) >= timedelta()
    return "it may fire only the second time" if east else "it fires both times"

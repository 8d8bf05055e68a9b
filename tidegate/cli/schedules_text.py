"""What ``tidegate schedules`` prints: a plan, and where the schedules stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tidegate.cli import output
from tidegate.model.schedule import ScheduledInput, ScheduledResult, ScheduleLog
from tidegate.schedules.diff import Act, Line
from tidegate.schedules.late import Breach

_SIGNS = {Act.CREATE: "+", Act.CHANGE: "~", Act.KEEP: "=", Act.UNNAMED: "?", Act.STRANGER: "!"}
_WORDS = {
    Act.CREATE: "is created",
    Act.CHANGE: "is changed",
    Act.KEEP: "is as in the file",
    Act.UNNAMED: "is named by the file no more",
    Act.STRANGER: "belongs to somebody else",
}


@dataclass(frozen=True)
class Standing:
    """One of our schedules, as it stands."""

    name: str
    asked: ScheduledInput | None
    """None: what its runs are told cannot be read."""
    next_times: tuple[datetime, ...]
    paused: bool
    note: str
    running: bool
    missed: int
    overlapped: int
    log: ScheduleLog | None
    log_known: bool
    objective_days: float | None
    breaches: tuple[Breach, ...]


def plan_text(lines: Sequence[Line]) -> str:
    """A line for each schedule, below it what changes: what it is now, what it shall be."""
    told: list[str] = []
    for line in lines:
        drift = "  (drift: changed by hand since the last apply)" if line.drift else ""
        told.append(f"{_SIGNS[line.act]} {line.name}  {_WORDS[line.act]}{drift}")
        told += [f"    {field}: {_was(was)}{shall or 'nothing'}" for field, was, shall in line.changes]
        told += [f"    note: {note}" for note in line.notes]
    counts = [f"{sum(line.act is act for line in lines)} {word}" for act, word in _COUNTED]
    return "\n".join([*told, f"plan       {', '.join(counts)}"])


_COUNTED = (
    (Act.CREATE, "to create"),
    (Act.CHANGE, "to change"),
    (Act.KEEP, "as in the file"),
    (Act.UNNAMED, "named no more"),
)


def _was(was: str) -> str:
    return f"{was} -> " if was else ""


def plan_json(lines: Sequence[Line]) -> dict[str, object]:
    """The same for programs."""
    return {
        "plan": [
            {
                "name": line.name,
                "act": line.act.value,
                "drift": line.drift,
                "changes": [{"field": field, "is": was, "shall": shall} for field, was, shall in line.changes],
                "notes": list(line.notes),
            }
            for line in lines
        ]
    }


def as_text(standing: Sequence[Standing]) -> str:
    """A line for each, then what is paused and what is late, with the command that goes on."""
    head = ("NAME", "RUNBOOK", "NEXT (ITS ZONE)", "NEXT (UTC)", "LAST", "RESULT")
    lines = [output.columns([_row(one) for one in standing], head=head)]
    for one in standing:
        if one.paused:
            lines.append(f"paused     {one.name}: {one.note}      go on:  tidegate schedules resume {one.name}")
        lines += [f"breach     {one.name}: {breach.why}" for breach in one.breaches]
        if one.missed or one.overlapped:
            counts = f"{one.missed:,} times later than its catch-up window, {one.overlapped:,} times still running"
            lines.append(f"not begun  {one.name}: {counts}")
    return "\n".join(lines)


def _row(one: Standing) -> tuple[str, ...]:
    entry = one.asked.entry if one.asked else None
    last = one.log.last if one.log else None
    following = one.next_times[0] if one.next_times else None
    zoned = f"{following.astimezone(entry.zone):%a %Y-%m-%d %H:%M %Z}" if following and entry else "-"
    return (
        one.name,
        entry.runbook if entry else "not readable: apply again",
        "paused" if one.paused else zoned,
        f"{following:%Y-%m-%d %H:%M}" if following else "-",
        f"{last.ended:%Y-%m-%d %H:%M} UTC" if last else "-",
        ("runs; last: " if one.running else "") + (_told(last) if one.log_known else "not known"),
    )


def _told(last: ScheduledResult | None) -> str:
    if last is None:
        return "no run yet"
    word = f"{last.outcome}{f' ({last.skip})' if last.skip else ''}"
    why = last.why or last.summary
    return f"{word}: {why}" if why else word


def as_json(one: Standing) -> dict[str, object]:
    """The same for programs; times in UTC and in the zone of the entry."""
    entry = one.asked.entry if one.asked else None
    return {
        "name": one.name,
        "runbook": entry.runbook if entry else None,
        "deployment": entry.deployment if entry else None,
        "cron": entry.cron if entry else None,
        "time_zone": entry.time_zone if entry else None,
        "next": [
            {"utc": time.isoformat(), "local": time.astimezone(entry.zone).isoformat() if entry else None}
            for time in one.next_times
        ],
        "running": one.running,
        "paused": one.paused,
        "note": one.note,
        "missed_catch_up": one.missed,
        "skipped_overlap": one.overlapped,
        "last": one.log.last.model_dump(mode="json") if one.log and one.log.last else None,
        "last_done": one.log.last_done.model_dump(mode="json") if one.log and one.log.last_done else None,
        "objective_days": one.objective_days,
        "breaches": [{"kind": breach.kind, "why": breach.why} for breach in one.breaches],
    }

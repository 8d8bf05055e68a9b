"""RTO, RPO and gap by week, from the reports: median and worst, as numbers and as places in a picture. Pure.

Weeks are ISO weeks in UTC, by when the operation ended. RTO and RPO are of what recovers a deployment (failovers and
restores); an upgrade's short stop among them would make a slow failover look rare. The gap is of what was planned: of
an unplanned failover it is the outage, which the RTO tells.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

from tidegate.model.fleet import Objectives
from tidegate.model.inputs import RESTORE_DEPLOYMENT
from tidegate.model.operation import Outcome
from tidegate.model.record import Frozen
from tidegate.model.steps import ReportInput
from tidegate.report import words

Measure = Literal["rto", "rpo", "gap"]
MEASURES: Final[tuple[Measure, ...]] = ("rto", "rpo", "gap")
TITLES: Final[dict[Measure, str]] = {
    "rto": "RTO: from the command to the first new output, failovers, restores and drills",
    "rpo": "RPO: age of the newest input that had come, failovers, restores and drills",
    "gap": "Gap: longest pause in the committed output, all but unplanned failovers",
}
CHART_HEIGHT: Final = 100
"""Places in a chart are 0 (top) to this (the axis)."""
_LABELS: Final = 6
_SPARKS: Final = "▁▂▃▄▅▆▇█"


class Stat(Frozen):
    """What was measured in a week. Seconds."""

    n: int
    median_s: float
    worst_s: float


class Week(Frozen):
    """One week of a deployment."""

    week: str
    """``2026-W09``."""
    starts: date
    """Its Monday."""
    operations: int
    done: int
    rto: Stat | None = None
    rpo: Stat | None = None
    gap: Stat | None = None

    def stat(self, measure: Measure) -> Stat | None:
        """What was measured of it; None: nothing."""
        found: Stat | None = getattr(self, measure)
        return found


class Trend(Frozen):
    """The weeks of a deployment, the oldest first, and what is promised."""

    deployment: str
    weeks: tuple[Week, ...]
    objectives: Objectives

    def objective_s(self, measure: Measure) -> float | None:
        """What is promised of it, in seconds; None: nothing."""
        found: float | None = getattr(self.objectives, f"{measure}_s")
        return found


@dataclass(frozen=True)
class Dot:
    """A week in a chart: ``x`` in percent; ``median_y`` and ``worst_y`` 0 to ``CHART_HEIGHT``, downwards."""

    x: float
    median_y: float
    worst_y: float
    missed: bool
    words: str


@dataclass(frozen=True)
class Mark:
    """A week's name under the axis."""

    x: float
    text: str


@dataclass(frozen=True)
class Chart:
    """One measure of a deployment over the weeks. ``paths``: the medians, broken where a week has none."""

    title: str
    description: str
    top: str
    dots: tuple[Dot, ...]
    paths: tuple[str, ...]
    marks: tuple[Mark, ...]
    objective_y: float | None
    objective: str


def measured_s(report: ReportInput, measure: Measure) -> float | None:
    """What one operation measured, in seconds; None: it did not measure that."""
    verdict, moved = report.verdict, report.failover
    if measure == "gap":
        if moved is not None and not moved.planned:
            return None
        return verdict.gap_ms / 1000 if verdict is not None and verdict.gap_ms is not None else None
    if report.outcome not in {Outcome.DONE, Outcome.BAD_VERDICT}:
        return None
    if report.drill is not None:
        return report.drill.rto_s if measure == "rto" else report.drill.rpo_s
    nothing_lost = verdict is not None and verdict.audited and not verdict.lost
    if moved is not None:
        if measure == "rto":
            return max((took for took in (moved.rto_s, moved.rto_detected_s) if took is not None), default=None)
        return moved.rpo_s if moved.rpo_s is not None or not moved.planned else 0.0 if nothing_lost else None
    if report.runbook != RESTORE_DEPLOYMENT or report.ensure is None or report.ensure.was_running:
        return None
    if measure == "rto":
        return (report.ensure.start.running_at - report.started).total_seconds()
    return 0.0 if nothing_lost else None


def week_of(moment: datetime) -> date:
    """The Monday of the ISO week, in UTC."""
    day = moment.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


def since(now: datetime, weeks: int) -> datetime:
    """The first moment of the oldest of so many weeks, this one included."""
    monday = week_of(now) - timedelta(weeks=weeks - 1)
    return datetime(monday.year, monday.month, monday.day, tzinfo=UTC)


def trend(deployment: str, reports: Iterable[ReportInput], objectives: Objectives, now: datetime, weeks: int) -> Trend:
    """The last weeks of a deployment. Of a run that has reported several times the last report counts."""
    last: dict[tuple[str, str], ReportInput] = {}
    for report in sorted(reports, key=lambda one: one.ended):
        last[report.operation, report.run_id] = report
    begin = since(now, weeks).date()
    mondays = [begin + timedelta(weeks=n) for n in range(weeks)]
    by_week: dict[date, list[ReportInput]] = {monday: [] for monday in mondays}
    for report in last.values():
        if report.outcome is not Outcome.PLANNED and week_of(report.ended) in by_week:
            by_week[week_of(report.ended)].append(report)
    return Trend(
        deployment=deployment,
        weeks=tuple(_week(monday, found) for monday, found in by_week.items()),
        objectives=objectives,
    )


def _week(monday: date, reports: Sequence[ReportInput]) -> Week:
    year, number, _ = monday.isocalendar()
    stats = {measure: _stat([measured_s(report, measure) for report in reports]) for measure in MEASURES}
    return Week(
        week=f"{year}-W{number:02d}",
        starts=monday,
        operations=len(reports),
        done=sum(report.outcome is Outcome.DONE for report in reports),
        rto=stats["rto"],
        rpo=stats["rpo"],
        gap=stats["gap"],
    )


def _stat(values: Sequence[float | None]) -> Stat | None:
    known = [round(value, 3) for value in values if value is not None]
    return Stat(n=len(known), median_s=round(statistics.median(known), 3), worst_s=max(known)) if known else None


def summary(one: Trend, measure: Measure) -> str:
    """What a chart says, in words."""
    known = [(week, stat) for week in one.weeks if (stat := week.stat(measure)) is not None]
    objective_s = one.objective_s(measure)
    promised = f"objective {words.seconds(objective_s)}" if objective_s is not None else "no objective"
    if not known:
        return f"not measured in {len(one.weeks)} weeks; {promised}"
    week, worst = max(known, key=lambda pair: pair[1].worst_s)
    median_s = statistics.median(stat.median_s for _, stat in known)
    parts = [f"median {words.seconds(median_s)}, worst {words.seconds(worst.worst_s)} in {week.week}", promised]
    if objective_s is not None:
        missed = sum(stat.worst_s > objective_s for _, stat in known)
        parts.append(f"missed in {missed} of {len(known)} weeks" if missed else f"met in all {len(known)} weeks")
    return "; ".join(parts)


def spark(one: Trend, measure: Measure) -> str:
    """The worst of each week as one character a week; a dot where nothing was measured."""
    stats = [week.stat(measure) for week in one.weeks]
    top = max((stat.worst_s for stat in stats if stat is not None), default=0.0) or 1.0
    return "".join(
        "·" if stat is None else _SPARKS[min(len(_SPARKS) - 1, int(stat.worst_s / top * len(_SPARKS)))]
        for stat in stats
    )


def chart(one: Trend, measure: Measure) -> Chart:
    """The places of everything in a picture of one measure; the scale begins at 0."""
    stats = [week.stat(measure) for week in one.weeks]
    objective_s = one.objective_s(measure)
    most = max([stat.worst_s for stat in stats if stat is not None] + [objective_s or 0.0])
    top_s = most * 1.1 or 1.0

    def y(value_s: float) -> float:
        return round(CHART_HEIGHT * (1 - value_s / top_s), 2)

    def x(number: int) -> float:
        return round((number + 0.5) / len(one.weeks) * 100, 3)

    dots: list[Dot] = []
    runs: list[list[str]] = [[]]
    for number, (week, stat) in enumerate(zip(one.weeks, stats, strict=True)):
        if stat is None:
            runs.append([])
            continue
        missed = objective_s is not None and stat.worst_s > objective_s
        told = f"{week.week}: median {words.seconds(stat.median_s)}, worst {words.seconds(stat.worst_s)} of {stat.n}"
        dots.append(Dot(x(number), y(stat.median_s), y(stat.worst_s), missed, f"{told}{', missed' if missed else ''}"))
        runs[-1].append(f"{x(number) * 10:.1f} {y(stat.median_s)}")
    step = math.ceil(len(one.weeks) / _LABELS)
    last = len(one.weeks) - 1
    marks = [Mark(x(n), week.week[5:]) for n, week in enumerate(one.weeks) if (last - n) % step == 0]
    return Chart(
        title=TITLES[measure],
        description=summary(one, measure),
        top=words.seconds(top_s),
        dots=tuple(dots),
        paths=tuple("M" + "L".join(run) for run in runs if len(run) > 1),
        marks=tuple(marks),
        objective_y=y(objective_s) if objective_s is not None else None,
        objective=f"objective {words.seconds(objective_s)}" if objective_s is not None else "",
    )

"""Trends as one self-contained HTML page: no script, no reference to anything outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tidegate.report import words
from tidegate.report.html import template
from tidegate.report.trend import MEASURES, Chart, Stat, Trend, Week, chart


@dataclass(frozen=True)
class _Section:
    name: str
    charts: tuple[Chart, ...]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


HEAD = ("week", "done", "RTO", "RTO worst", "RPO", "RPO worst", "gap", "gap worst")


def row(week: Week) -> tuple[str, ...]:
    """A week as a line of a table: median and worst of each measure."""
    done = f"{week.done} of {week.operations}" if week.operations else "-"
    return (week.week, done, *(text for measure in MEASURES for text in _two(week.stat(measure))))


def _two(stat: Stat | None) -> tuple[str, str]:
    return ("-", "-") if stat is None else (words.seconds(stat.median_s), words.seconds(stat.worst_s))


def trend_html(trends: Sequence[Trend], made: datetime, notes: Sequence[str] = ()) -> str:
    """The page, with a section for each deployment."""
    sections = [
        _Section(
            name=one.deployment,
            charts=tuple(chart(one, measure) for measure in MEASURES),
            head=HEAD,
            rows=tuple(row(week) for week in reversed(one.weeks) if week.operations),
        )
        for one in trends
    ]
    weeks = trends[0].weeks if trends else ()
    span = f"{weeks[0].week} to {weeks[-1].week}" if weeks else "no reports"
    return template("trend.html.j2").render(sections=sections, span=span, made=words.utc(made), notes=notes)

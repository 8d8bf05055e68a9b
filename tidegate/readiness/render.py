"""A review for a person: lines in a terminal, Markdown for a ticket, one self-contained HTML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from tidegate.model.fleet import Fleet
from tidegate.model.review import DeploymentReview, Finding, Review, Severity
from tidegate.readiness.trend import Trend, trends
from tidegate.report import review as told
from tidegate.report import words
from tidegate.report.html import style
from tidegate.report.markdown import table_text


def headline(review: Review) -> str:
    """``ready  78 of 100 · 2 breaches``, of whom, and by tier if there are several."""
    counts = told.counted(*(review.count(severity) for severity in Severity))
    tiers = review.tiers()
    by_tier = "" if len(tiers) < 2 else " · " + ", ".join(f"tier {tier}: {score}" for tier, score in tiers.items())
    return f"{review.score} of 100 · {counts}{by_tier}"


def subject(review: Review) -> str:
    """Who was reviewed."""
    if len(review.deployments) == 1:
        one = review.deployments[0]
        standby = f", standby {one.standby}" if one.standby else ", no standby"
        return f"{one.deployment}, {one.home}{standby}, tier {one.tier}"
    return f"{len(review.deployments)} deployments"


def text(review: Review) -> list[str]:
    """The lines of a terminal. Of one deployment also what is well; of several a line each first."""
    lines = [f"ready      {headline(review)}", f"           {subject(review)}; asked in {words.seconds(review.took_s)}"]
    if len(review.deployments) > 1:
        width = max(len(one.deployment) for one in review.deployments)
        lines += [
            f"  {one.deployment.ljust(width)}  tier {one.tier}  {told.summary(one)}" for one in review.deployments
        ]
    for finding, of in merged(review).values():
        whose = f"{', '.join(of)}: " if len(review.deployments) > 1 else ""
        lines += [
            f"{finding.severity.value:<10} {whose}{finding.what}    {finding.id}",
            f"  why      {finding.why}",
            *(f"  {'mend' if number == 0 else '    '}     {line}" for number, line in enumerate(finding.mend)),
        ]
    if len(review.deployments) == 1:
        (one,) = review.deployments
        width = max((len(checked.check) for checked in one.passed), default=0)
        lines += [f"well       {checked.check.ljust(width)}  {checked.fact}" for checked in one.passed]
    else:
        well = sum(len(one.passed) for one in review.deployments)
        lines.append(f"well       {words.count(well)} checks; those of one:  tidegate ready DEPLOYMENT")
    return lines


def merged(review: Review) -> Mapping[tuple[str, ...], tuple[Finding, list[str]]]:
    """The findings, the worst first; what is the same for several deployments (a region's broker) once."""
    found: dict[tuple[str, ...], tuple[Finding, list[str]]] = {}
    order = {severity: at for at, severity in enumerate(Severity)}
    for finding in sorted(
        (finding for one in review.deployments for finding in one.findings), key=lambda one: order[one.severity]
    ):
        key = (finding.id, finding.subject, finding.what)
        found.setdefault(key, (finding, []))[1].append(finding.deployment)
    return found


def markdown(review: Review) -> str:
    """The same for a ticket; values are escaped."""
    parts = [f"# Readiness: {headline(review)}", f"{subject(review)}; {words.utc(review.at)}"]
    for one in review.deployments:
        parts.append(f"# {one.deployment}: {told.summary(one)}")
        parts += [table_text(table) for table in told.tables(one)]
    return "\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class _Section:
    one: DeploymentReview
    summary: str
    tone: str
    trends: tuple[Trend, ...]


def html(review: Review, fleet: Fleet | None = None) -> str:
    """One file: no script, no reference to anything outside. ``fleet``: its objectives are drawn into the trends."""
    objectives = {name: of.objectives for name, of in fleet.deployments.items()} if fleet is not None else {}
    sections = [
        _Section(one, told.summary(one), told.tone(one), trends(one, objectives.get(one.deployment)))
        for one in review.deployments
    ]
    worst = next((tone for tone in ("bad", "warn") if any(one.tone == tone for one in sections)), "good")
    return _template().render(
        headline=f"Readiness: {headline(review)}",
        subject=subject(review),
        when=words.utc(review.at),
        took=words.seconds(review.took_s),
        tone=worst,
        sections=sections,
        tones=told.TONES,
        style=style(),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("tidegate.readiness"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["anchor"] = lambda name: re.sub(r"[^a-z0-9-]", "-", name)
    return environment.get_template("review.html.j2")

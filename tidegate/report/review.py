"""What a report and a page tell of a readiness review: the first line, and the tables."""

from __future__ import annotations

from typing import Literal

from tidegate.model.review import DeploymentReview, Severity
from tidegate.report.page import Cell, Table

Tone = Literal["good", "warn", "bad"]
TONES: dict[Severity, Tone] = {Severity.BREACH: "bad", Severity.UNKNOWN: "warn", Severity.WARNING: "warn"}


def counted(breaches: int, unknown: int, warnings: int) -> str:
    """``2 breaches · 1 not known · 3 warnings``; what there is none of is left out, but for breaches."""
    parts = [f"{breaches} {'breach' if breaches == 1 else 'breaches'}"]
    if unknown:
        parts.append(f"{unknown} not known")
    if warnings:
        parts.append(f"{warnings} {'warning' if warnings == 1 else 'warnings'}")
    return " · ".join(parts)


def summary(one: DeploymentReview) -> str:
    """``78 of 100 · 2 breaches · 3 warnings``."""
    numbers = (len(one.of(severity)) for severity in (Severity.BREACH, Severity.UNKNOWN, Severity.WARNING))
    return f"{one.score} of 100 · {counted(*numbers)}"


def tone(one: DeploymentReview) -> Tone:
    """Of the page: bad with a breach, good without a finding."""
    if one.of(Severity.BREACH):
        return "bad"
    return "warn" if one.findings else "good"


def tables(one: DeploymentReview) -> tuple[Table, ...]:
    """The findings, the worst first, and what is well."""
    found = tuple(
        (
            Cell(finding.severity.value, tone=TONES[finding.severity]),
            Cell(finding.what),
            Cell(finding.why),
            Cell("; ".join(finding.mend), code=True),
            Cell(finding.id, code=True),
        )
        for finding in one.findings
    )
    well = tuple((Cell(checked.check), Cell(checked.fact)) for checked in one.passed)
    lead = "" if found else "Nothing stands against it."
    head = ("severity", "what", "why it matters", "what mends it", "id")
    return (Table("Findings", found, head if found else (), lead), Table("What is well", well))

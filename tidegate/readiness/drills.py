"""The last drill and how it ended; RTO, RPO and gap against what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

from tidegate.model.drill import DRILL_RECOVERY
from tidegate.model.failover import FAILOVER_DEPLOYMENT
from tidegate.model.operation import Outcome
from tidegate.model.region import FAILOVER_MEMBER
from tidegate.model.review import Checked, DeploymentReview, Finding, Measured, Severity
from tidegate.model.steps import ReportInput
from tidegate.readiness.facts import Facts, NotKnown
from tidegate.readiness.sheet import Said, Unasked, breach, field_of, warning
from tidegate.report import words

DRILLS: Final = frozenset({DRILL_RECOVERY, FAILOVER_DEPLOYMENT, FAILOVER_MEMBER})
"""Runbooks whose end is a proof that it can go on in the standby."""
DAY_S: Final = 86_400.0
LAST_ONES: Final = 3
"""So many of the newest measurements say where it goes."""
TREND: Final = 40
"""So many measurements of a deployment are told, the newest."""


LAST, CLOCK, LEFT = "last drill", "drills by the clock", "what drills have left"
LONGEST_S: Final = 3 * 3_600.0
"""Longer than a drill takes whose input is as it comes."""
_LAST_SAYS: Final = frozenset({"ready/no-drill", "ready/drill-failed", "ready/drill-overdue"})
_CLOCK_SAYS: Final = frozenset({"ready/drill-missed"})
TOLD: Final = frozenset({"ready/no-drill", "ready/drill-overdue", "ready/drill-missed"})
"""Findings that people are told of, when they break a promise."""


def to_be_told(review: DeploymentReview) -> tuple[tuple[Finding, ...], frozenset[str]]:
    """Drills that were missed or are too old; and which of those findings were looked for: not all may be known."""
    found = tuple(one for one in review.findings if one.id in TOLD and one.severity is Severity.BREACH)
    said = {one.id for one in review.findings}
    passed = {one.check for one in review.passed}
    looked: frozenset[str] = frozenset()
    for check, ids in ((LAST, _LAST_SAYS), (CLOCK, _CLOCK_SAYS)):
        if check in passed or said & ids:
            looked |= ids & TOLD
    return found, looked


def proves(report: ReportInput) -> bool:
    """Whether it is of a drill that ended well."""
    return report.runbook in DRILLS and report.outcome is Outcome.DONE and not _only_tidied(report)


def _only_tidied(report: ReportInput) -> bool:
    """It has restored nothing: it took away what an earlier drill had left."""
    drill = report.drill
    return (
        report.runbook == DRILL_RECOVERY
        and report.outcome is not Outcome.UNDONE
        and drill is not None
        and not (drill.point or drill.compared is not None or drill.failures)
    )


def _given_up(report: ReportInput) -> bool:
    """A drill that gave way, was aborted, or to which a part did not answer: it shows neither the one nor the other."""
    return report.runbook == DRILL_RECOVERY and report.outcome is Outcome.UNDONE


def check_drills(facts: Facts) -> Iterator[Said]:
    """Done, in time, and well."""
    if isinstance(facts.reports, NotKnown):
        yield Unasked(LAST, facts.reports)
        return
    days = facts.spec.objectives.drill_days
    again = how_to_drill(facts)
    if days is None:
        yield warning(
            facts,
            "no-drill-objective",
            "",
            "nothing says how often it must be drilled",
            "a drill that is missed does not show",
            field_of(facts, "objectives.drill_days", "7"),
        )
    # A refused one did nothing, a planned one neither: neither proves anything.
    begun = [
        one
        for one in facts.reports
        if one.runbook in DRILLS and one.outcome is not Outcome.REFUSED and not _only_tidied(one)
    ]
    if begun and _given_up(begun[0]):
        yield warning(
            facts,
            "drill-given-up",
            "",
            f"the last drill, {begun[0].operation} at {words.utc(begun[0].ended)}, was given up: {begun[0].why}",
            "it shows neither that it can be restored nor that it cannot",
            again,
        )
    drills = [one for one in begun if not _given_up(one)]
    if not drills:
        tell = warning if days is None else breach
        promised = "" if days is None else f"; the objective is one in {_days(days)}"
        what = f"no drill of it is on record{promised}"
        yield tell(facts, "no-drill", "", what, "a failover that was never done is a hope", again)
        return
    last = drills[0]
    if last.outcome is not Outcome.DONE:
        yield breach(
            facts,
            "drill-failed",
            "",
            f"the last drill, {last.operation} at {words.utc(last.ended)}, ended {last.outcome.value}: "
            f"{last.why or last.summary}",
            "what failed there fails in earnest, too",
            f"tidegate report show {last.operation}",
            again,
        )
    good = next((one for one in drills if proves(one)), None)
    if days is not None and (good is None or _age_s(facts.now, good) > days * DAY_S):
        when = (
            "none ended well"
            if good is None
            else f"the last that ended well was {_days(_age_s(facts.now, good) / DAY_S)} ago"
        )
        yield breach(
            facts,
            "drill-overdue",
            "",
            f"{when}; the objective is one in {_days(days)}",
            "what has changed since then was never tried",
            again,
        )
    elif last is good:
        ago = _days(_age_s(facts.now, good) / DAY_S)
        yield Checked(check=LAST, subject="", fact=f"{good.operation}, {ago} ago: {good.outcome.value}")


def check_clock(facts: Facts) -> Iterator[Said]:
    """None that was due is missing."""
    if isinstance(facts.scheduled, NotKnown):
        yield Unasked(CLOCK, facts.scheduled)
        return
    missed = [one for one in facts.scheduled if one.missed is not None]
    for one in missed:
        yield breach(
            facts,
            "drill-missed",
            one.schedule,
            f"schedule {one.schedule} {one.missed}",
            "a drill that does not run proves nothing, and nobody hears of it",
            "tidegate schedules list",
            how_to_drill(facts),
        )
    if not missed:
        names = ", ".join(one.schedule for one in facts.scheduled)
        yield Checked(check=CLOCK, subject="", fact=f"{names}: none was missed" if names else "none is on a schedule")


def check_left(facts: Facts) -> Iterator[Said]:
    """Nothing stands of a drill that is over: it may hold the slots of the next one, and of what is tried by hand."""
    if isinstance(facts.forks, NotKnown):
        yield Unasked(LEFT, facts.forks)
        return
    left = False
    for fork, record in facts.own_forks.items():
        holder = record.holder
        stands_s = (facts.now - holder.since).total_seconds() if holder is not None else LONGEST_S + 1
        if stands_s <= LONGEST_S:
            continue
        left = True
        by = f"{holder.operation} took it {words.seconds(stands_s)} ago" if holder is not None else "nobody holds it"
        yield warning(
            facts,
            "drill-left",
            fork,
            f"the fork {fork} of a drill still stands: {by}",
            "it may hold slots in the standby, and topics and snapshots there; no failover waits for it",
            *([f"tidegate ops show {holder.operation}"] if holder is not None else []),
            f"tidegate drill recovery {facts.deployment} --clean {fork}",
        )
    if not left:
        runs = ", ".join(facts.own_forks)
        yield Checked(check=LEFT, subject="", fact=f"a drill is under way: {runs}" if runs else "nothing is left")


def check_objectives(facts: Facts) -> Iterator[Said]:
    """The newest measurement of each against what is promised."""
    if isinstance(facts.reports, NotKnown):
        yield Unasked("objectives", facts.reports)
        return
    objectives = facts.spec.objectives
    missing = [name for name in ("rto_s", "rpo_s") if getattr(objectives, name) is None]
    if missing:
        yield warning(
            facts,
            "no-objective",
            "",
            f"no objective: {', '.join(missing)}",
            "nobody can say whether a recovery was in time",
            field_of(facts, "objectives", "{rto_s: 60, rpo_s: 5}"),
        )
    measured = measurements(facts.reports)
    if objectives.rto_s is not None:
        taken = [(one, one.rto_s) for one in measured if one.rto_s is not None]
        yield from _against(facts, "rto", objectives.rto_s, taken, "processing stands still longer than was promised")
    if objectives.rpo_s is not None:
        taken = [(one, one.rpo_s) for one in measured if one.rpo_s is not None]
        why = "a loss of the region costs more input than was promised"
        yield from _against(facts, "rpo", objectives.rpo_s, taken, why)
    if objectives.gap_s is not None:
        taken = [(one, one.gap_s) for one in measured if one.gap_s is not None and one.runbook not in DRILLS]
        if taken:
            yield from _against(facts, "gap", objectives.gap_s, taken, "each upgrade holds processing up for longer")


def _against(
    facts: Facts, name: str, objective_s: float, taken: Sequence[tuple[Measured, float]], why: str
) -> Iterator[Said]:
    promised = words.seconds(objective_s)
    if not taken:
        yield warning(
            facts,
            f"{name}-not-measured",
            "",
            f"no report has measured its {name.upper()}; the objective is {promised}",
            "an objective that was never measured is not known to be met",
            how_to_drill(facts),
        )
        return
    newest, value_s = taken[-1]
    values = [value for _, value in taken[-LAST_ONES:]]
    last = ", ".join(words.seconds(value) for value in reversed(values))
    show, field = f"tidegate report show {newest.operation}", field_of(facts, f"objectives.{name}_s")
    if value_s > objective_s:
        yield breach(
            facts,
            f"{name}-over-objective",
            "",
            f"{name.upper()} was {words.seconds(value_s)} in {newest.operation}; the objective is {promised} (the last "
            f"ones: {last})",
            why,
            show,
            field,
        )
        return
    if (bad := trend_of(values, objective_s)) is not None:
        yield warning(
            facts,
            f"{name}-trend",
            "",
            f"{name.upper()} {bad}; the objective is {promised} (the last ones: {last})",
            f"the newest kept it, and the next may not: {why}",
            f"tidegate report trend {facts.deployment}",
            field,
        )
    fact = f"{words.seconds(value_s)} in {newest.operation}, objective {promised} (the last ones: {last})"
    yield Checked(check=name.upper(), subject="", fact=fact)


def trend_of(values: Sequence[float], objective_s: float) -> str | None:
    """What is wrong with the last ones (oldest first, the newest within the objective); None: nothing. Pure."""
    over = sum(value > objective_s for value in values)
    if over:
        return f"was over the objective in {over} of the last {len(values)}"
    rises = len(values) == LAST_ONES and all(one < other for one, other in pairwise(values))
    # As much more as from the first of them to the newest: that is as many drills ahead.
    if rises and 2 * values[-1] - values[0] > objective_s:
        return "rises from one to the next, and will be over the objective if it goes on so"
    return None


def measurements(reports: Sequence[ReportInput]) -> tuple[Measured, ...]:
    """What reports have measured, oldest first: of drills RTO and RPO, of the others the gap, of reviews the score."""
    found = []
    for one in sorted(reports, key=lambda report: report.ended):
        # A drill tells as a failover does, in a part of its own.
        told = [part for part in (one.failover, one.drill) if part is not None]
        verdict = one.verdict
        gap_s = verdict.gap_ms / 1000 if verdict is not None and verdict.gap_ms is not None else None
        measured = Measured(
            at=one.ended,
            runbook=one.runbook,
            operation=one.operation,
            rto_s=next((part.rto_s for part in told if getattr(part, "rto_s", None) is not None), None),
            rpo_s=next((part.rpo_s for part in told if getattr(part, "rpo_s", None) is not None), None),
            gap_s=gap_s if one.outcome is Outcome.DONE else None,
            score=one.review.score if one.review is not None else None,
        )
        if any(value is not None for value in (measured.rto_s, measured.rpo_s, measured.gap_s, measured.score)):
            found.append(measured)
    # Of each kind so many: reviews are many, and drills are few.
    reviews = [one for one in found if one.score is not None][-TREND:]
    others = [one for one in found if one.score is None][-TREND:]
    return tuple(sorted((*reviews, *others), key=lambda one: one.at))


def how_to_drill(facts: Facts) -> str:
    """The command that makes a drill, at no risk; a planned failover and failback prove more."""
    return f"tidegate drill recovery {facts.deployment}"


def _age_s(now: datetime, report: ReportInput) -> float:
    return (now - report.ended).total_seconds()


def _days(days: float) -> str:
    if days < 1:
        return words.seconds(days * DAY_S)
    return f"{days:.1f} days".replace(".0 days", " days")

"""What the drill of a region says of itself: what it saw, what it would do, what came of each, how it ends."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tidegate.drill.queue import Forecast, Limits
    from tidegate.model.drilled import DrillFacts, DrillLine, DrillsFacts
    from tidegate.model.operation import MemberResult, Outcome
    from tidegate.model.regiondrill import DrillCandidate, DrillRegionInput, DrillsSeen
    from tidegate.report import words
    from workflows.ending import Ending

SHOWN = 10
"""So many deployments are named in a line; the report has all."""
DAY_S = 86_400.0
Result = Literal["good", "failed", "given up", "not drilled"]
_RESULTS: dict[Outcome, Result] = {
    Outcome.DONE: "good",
    Outcome.BAD_VERDICT: "failed",
    Outcome.UNDONE: "given up",
    Outcome.SUPERSEDED: "given up",
    Outcome.REFUSED: "not drilled",
}


def region_seen(region: str, seen: DrillsSeen, limits: Limits) -> str:
    """What there is to be drilled, in which room."""
    return "; ".join((f"{len(seen.candidates)} deployments of {region}", _room(limits), *_left_out(seen)))


def _room(limits: Limits) -> str:
    free = sum(cell.slots_free for cell in limits.cells.values())
    told = f"{limits.total} of {free} free slots may be used at once in {', '.join(limits.cells)}"
    return f"{told} ({limits.kept} must stay free)" if limits.kept else told


def _left_out(seen: DrillsSeen) -> tuple[str, ...]:
    return tuple(f"not asked: {one.deployment}, {one.why}" for one in seen.left_out)


def member_planned(number: int, one: DrillCandidate, planned: Forecast, now: datetime) -> MemberResult:
    """When one would be drilled, or why it would not."""
    why = planned.not_drilled.get(one.deployment)
    if why is not None:
        return MemberResult(
            deployment=one.deployment, operation=None, outcome=Outcome.REFUSED, summary="not drilled", why=why
        )
    begins = words.seconds(planned.begins_s[one.deployment])
    takes = words.seconds(planned.takes_s[one.deployment])
    return MemberResult(
        deployment=one.deployment,
        operation=None,
        outcome=Outcome.PLANNED,
        summary=f"{number}. tier {one.tier}, {_proven(one, now)}; begins after {begins}, takes about {takes}, "
        f"{one.parallelism} slot{'' if one.parallelism == 1 else 's'} in {one.at}",
    )


def _proven(one: DrillCandidate, now: datetime) -> str:
    if one.proven_at is None:
        return "never proven"
    age_s = (now - one.proven_at).total_seconds()
    ago = f"{age_s / DAY_S:,.1f} days" if age_s >= DAY_S else words.seconds(max(0.0, age_s))
    return f"last proven {ago} ago by {one.proof}"


def region_planned(region: str, seen: DrillsSeen, planned: Forecast, limits: Limits) -> str:
    """What would be drilled, and how long that takes."""
    many = f"{len(planned.begins_s)} of {len(seen.candidates)} deployments of {region} would be drilled"
    until = f"until about {words.seconds(planned.ends_s)} after the command, on {planned.at_once} slots at most"
    return "; ".join((f"{many}, {until}", _room(limits), *_left_out(seen)))


def member(result: MemberResult) -> str:
    """How it ended for one of several."""
    return f"{result.summary}: {result.why}" if result.why else result.summary


def ended_from_outside(result: MemberResult, fork: str) -> MemberResult:
    """Its operation gave no result: nobody knows what of its fork is left."""
    left = f"its operation {result.operation} ended from outside: {result.why}"
    return result.model_copy(
        update={"outcome": Outcome.BAD_VERDICT, "drill": DrillFacts(fork=fork, left=left), "summary": "not known"}
    )


def of_region(
    request: DrillRegionInput, seen: DrillsSeen, limits: Limits, members: Sequence[MemberResult], *, took_s: float
) -> DrillsFacts:
    """A line for each of them."""
    lines = tuple(
        DrillLine(
            deployment=one.deployment,
            tier=one.tier,
            slots=one.parallelism,
            result=_RESULTS[result.outcome],
            why="" if result.outcome is Outcome.DONE else result.why or result.summary,
            operation=result.operation,
            report=result.report,
            facts=result.drill,
        )
        for one, result in zip(seen.candidates, members, strict=True)
    )
    return DrillsFacts(
        region=request.region,
        standbys=tuple(sorted({cell.at.partition("/")[0] for cell in seen.cells})),
        slots=limits.total,
        kept=limits.kept,
        budget_s=request.budget_s,
        took_s=took_s,
        lines=lines,
        left_out=tuple(f"{one.deployment}: {one.why}" for one in seen.left_out),
    )


def region_ending(facts: DrillsFacts, given_up: str | None) -> Ending:
    """Done only if all that were asked for were drilled, and are good."""
    good, failed = facts.of("good"), facts.of("failed")
    missing = facts.of("given up", "not drilled")
    commands = [
        f"tidegate drill recovery {line.deployment} --clean {line.facts.fork}"
        for line in facts.lines
        if line.facts is not None and line.facts.left is not None
    ]
    rest = f"NOT all of {len(commands)} forks is gone" if commands else "nothing of the forks is left"
    if not any(line.operation for line in facts.lines):
        rest = "nothing was started"
    where = ", ".join(facts.standbys)
    parts = [f"{len(good)} of {len(facts.lines)} deployments of {facts.region} are proven restorable in {where}"]
    if failed:
        parts.append(f"{len(failed)} FAILED")
    if missing:
        parts.append(f"{len(missing)} NOT drilled")
    summary = "; ".join((", ".join(parts), *measured(facts), rest))
    bad = [f"{line.deployment} {line.result}: {line.why}" for line in (*failed, *missing)]
    more = [f"and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
    why = "; ".join((*([given_up] if given_up else []), *bad[:SHOWN], *more))
    if failed:
        return Ending(Outcome.BAD_VERDICT, summary, why=why, next_commands=tuple(commands))
    if given_up is not None or missing:
        again = " ".join(f"--deployment {line.deployment}" for line in missing[:SHOWN])
        return Ending(
            Outcome.UNDONE,
            summary,
            why=why,
            next_commands=(f"tidegate drill region {facts.region} {again}".rstrip(),),
        )
    return Ending(Outcome.DONE, summary)


def measured(facts: DrillsFacts) -> list[str]:
    """The worst and the median of what was measured."""
    told = []
    for name, values in (("RTO", facts.measured_s("rto_s")), ("RPO", facts.measured_s("rpo_s"))):
        if values:
            told.append(
                f"{name} {words.seconds(values[-1])} at worst, median {words.seconds(statistics.median(values))}"
            )
    return told

"""All checks over the facts of a deployment, and its score. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from tidegate.model.review import Checked, DeploymentReview, Finding, Severity, score_of
from tidegate.readiness import access, drills, follow_ups, health, mirrors, restorable, single, standby, state, topics
from tidegate.readiness.facts import Facts, NotKnown
from tidegate.readiness.sheet import Said, Unasked

CHECKS: Final[tuple[Callable[[Facts], Iterator[Said]], ...]] = (
    restorable.check,
    restorable.check_jar,
    drills.check_drills,
    drills.check_clock,
    drills.check_left,
    drills.check_objectives,
    follow_ups.check,
    standby.check_room,
    standby.check_memory,
    health.check_checkpoints,
    health.check_transactions,
    mirrors.check_mirrors,
    mirrors.check_provenance,
    state.check,
    standby.check_versions,
    topics.check_topics,
    topics.check_retention,
    access.check,
    single.check,
)
_ORDER: Final = {Severity.BREACH: 0, Severity.UNKNOWN: 1, Severity.WARNING: 2}


def review(facts: Facts) -> DeploymentReview:
    """What was found, the worst first; what did not answer is one finding, with all that could not be checked."""
    said = [one for check in CHECKS for one in check(facts)]
    found = [one for one in said if isinstance(one, Finding)]
    found += _not_known(facts, [one for one in said if isinstance(one, Unasked)])
    found.sort(key=lambda one: _ORDER[one.severity])
    unique = tuple({(one.id, one.subject, one.what): one for one in found}.values())
    return DeploymentReview(
        deployment=facts.deployment,
        tier=facts.spec.tier,
        home=str(facts.home),
        standby=facts.standby,
        score=score_of(unique, facts.spec.tier),
        findings=unique,
        passed=tuple(one for one in said if isinstance(one, Checked)),
        trend=() if isinstance(facts.reports, NotKnown) else drills.measurements(facts.reports),
    )


def _not_known(facts: Facts, unasked: Iterable[Unasked]) -> Iterator[Finding]:
    by_source: dict[str, list[Unasked]] = {}
    for one in unasked:
        by_source.setdefault(one.of.of, []).append(one)
    for source, checks in by_source.items():
        first = checks[0].of
        names = ", ".join(dict.fromkeys(one.check for one in checks))
        yield Finding(
            id="ready/not-known",
            severity=Severity.UNKNOWN,
            deployment=facts.deployment,
            subject=source,
            what=f"{source}: {first.why}",
            why=f"so nobody can say that this is well: {names}",
            mend=(first.hint or "tidegate fleet check --online",),
        )

"""ReviewReadiness: what goes in, what was found, and how it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime, Field

from tidegate.model.inputs import Input
from tidegate.model.record import Frozen

REVIEW_READINESS = "ReviewReadiness"
OUTAGE_S = 86_400.0


class Severity(StrEnum):
    """How bad a finding is."""

    BREACH = "breach"
    """A failover, a restore or an objective fails by it."""
    UNKNOWN = "not known"
    """It could not be asked: nobody can say that it is well."""
    WARNING = "warning"
    """It costs time, or is one fault away from a breach."""


class Finding(Frozen):
    """One thing that is not as it must be. Known again from review to review by id, deployment and subject."""

    id: str
    """Stable: ``ready/rpo-over-objective``."""
    severity: Severity
    deployment: str
    subject: str
    """What it is about: a region, a topic, a link, a cell; empty: the deployment."""
    what: str
    why: str
    """Why it matters."""
    mend: tuple[str, ...]
    """The commands that mend it, or the field of the fleet file, a line each."""


class Checked(Frozen):
    """A check that found nothing, and the fact that says so: no check passes in silence."""

    check: str
    subject: str
    fact: str


class Measured(Frozen):
    """What one operation measured: a point of a trend. Seconds; None: it did not measure that."""

    at: datetime
    runbook: str
    operation: str
    rto_s: float | None = None
    rpo_s: float | None = None
    gap_s: float | None = None
    score: int | None = None


class DeploymentReview(Frozen):
    """One deployment: what was found, the worst first, and what was found well."""

    deployment: str
    tier: int
    home: str
    standby: str | None
    score: int
    findings: tuple[Finding, ...] = ()
    passed: tuple[Checked, ...] = ()
    trend: tuple[Measured, ...] = ()
    """Oldest first."""

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of that severity."""
        return tuple(one for one in self.findings if one.severity is severity)


class Review(Frozen):
    """A readiness review: of one deployment, or of all of a fleet file."""

    at: datetime
    fleet_digest: str = ""
    took_s: float
    deployments: tuple[DeploymentReview, ...]

    @property
    def score(self) -> int:
        """The lowest of all: a fleet is as ready as the deployment that is least so."""
        return min((one.score for one in self.deployments), default=100)

    def tiers(self) -> dict[int, int]:
        """The lowest score of each tier, tier 0 first."""
        found: dict[int, int] = {}
        for one in self.deployments:
            found[one.tier] = min(one.score, found.get(one.tier, 100))
        return dict(sorted(found.items()))

    def count(self, severity: Severity) -> int:
        """How many findings of that severity there are."""
        return sum(len(one.of(severity)) for one in self.deployments)


PENALTY = {Severity.BREACH: 20.0, Severity.UNKNOWN: 10.0, Severity.WARNING: 4.0}
TIER_WEIGHT = (1.5, 1.0, 0.75)
"""By tier: the same fault weighs more where more depends on it; tiers behind the last one weigh as that."""


def score_of(findings: Sequence[Finding], tier: int) -> int:
    """100 without a finding, never below 0: what each costs, by its severity and the tier."""
    weight = TIER_WEIGHT[min(tier, len(TIER_WEIGHT) - 1)]
    return max(0, 100 - round(weight * sum(PENALTY[one.severity] for one in findings)))


class ReviewInput(Input):
    """ReviewReadiness: whether a deployment could be restored and moved now, and what stands against it."""

    deployment: str = Field(min_length=1, description="name in the fleet file")
    requested_by: str = Field(default="unknown", description="who asks; a claim, printed as one")
    reason: str = Field(default="", description="why; printed in the report")
    outage_s: float = Field(
        default=OUTAGE_S, gt=0, description="the outage of a region that topics must outlive, in seconds"
    )
    fail_under: int = Field(default=0, ge=0, le=100, description="a score below it is a bad verdict")
    fleet_digest: str | None = Field(
        default=None, description="sha256 of a published fleet file; default: the current one"
    )
    deadline_s: float = Field(default=300.0, gt=0, le=3_600, description="how long it may take, in seconds")


class ReviewStep(Frozen):
    """review_readiness: ask everything about one deployment. Changes nothing that lasts."""

    deployment: str
    fleet_digest: str
    outage_s: float


class BreachNote(Frozen):
    """note_breaches: what a review has found of drills that were promised, for people to be told of."""

    review: DeploymentReview
    operation: str
    at: AwareDatetime
    """When it was found."""


class BreachFact(Frozen):
    """note_breaches: who was not reached, and why."""

    problems: tuple[str, ...] = ()

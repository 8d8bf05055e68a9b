"""What a check says: a finding, a fact that is well, or that it could not ask. Never nothing."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.model.review import Checked, Finding, Severity
from tidegate.readiness.facts import Facts, NotKnown


@dataclass(frozen=True)
class Unasked:
    """A check that could not be made, and what did not answer."""

    check: str
    of: NotKnown


Said = Finding | Checked | Unasked


def breach(facts: Facts, name: str, subject: str, what: str, why: str, *mend: str) -> Finding:
    """A failover, a restore or an objective fails by it."""
    return _finding(facts, Severity.BREACH, name, subject, what, why, mend)


def warning(facts: Facts, name: str, subject: str, what: str, why: str, *mend: str) -> Finding:
    """It costs time, or is one fault away from a breach."""
    return _finding(facts, Severity.WARNING, name, subject, what, why, mend)


def _finding(
    facts: Facts, severity: Severity, name: str, subject: str, what: str, why: str, mend: tuple[str, ...]
) -> Finding:
    return Finding(
        id=f"ready/{name}",
        severity=severity,
        deployment=facts.deployment,
        subject=subject,
        what=what,
        why=why,
        mend=mend,
    )


def field_of(facts: Facts, name: str, example: str = "") -> str:
    """How a field of the deployment in the fleet file is told as what mends something."""
    shown = f": {example}" if example else ""
    return f"fleet file:  deployments.{facts.deployment}.{name}{shown}"

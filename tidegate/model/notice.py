"""What people are told outside of the command line: a notice, how bad it is, and what became of it at each target."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field

from tidegate.model.record import Frozen


class Event(StrEnum):
    """What a notice is about. ``notices[].events`` of a fleet file names them."""

    HALTED = "halted"
    """An operation stands halted and needs a person."""
    FAILED = "failed"
    """An operation has ended, and what was asked is not done."""
    BAD_VERDICT = "bad-verdict"
    NOT_RESTORABLE = "not-restorable"
    """A deployment cannot be restored in a region any more."""
    DRILL_BREACHED = "drill-breached"
    """A drill was missed, or the last one is older than its objective."""
    DRILL_FAILED = "drill-failed"
    SCHEDULE_PAUSED = "schedule-paused"
    FAILOVER_BEGUN = "failover-begun"
    FAILOVER_DONE = "failover-done"
    APPROVAL_ASKED = "approval-asked"
    TEST = "test"
    """Sent by hand; goes to every target, whatever its filter."""


EventName = Literal[
    "halted",
    "failed",
    "bad-verdict",
    "not-restorable",
    "drill-breached",
    "drill-failed",
    "schedule-paused",
    "failover-begun",
    "failover-done",
    "approval-asked",
]
"""The same as text: what a fleet file may name."""


class Severity(StrEnum):
    """How bad it is, in PagerDuty's words; the least first."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 the least."""
        return list(Severity).index(self)


SeverityName = Literal["info", "warning", "error", "critical"]


class Notice(Frozen):
    """One thing to be told. The same notice sent again has the same ``id``, so that receivers can drop it."""

    id: str
    """Derived (O7): the idempotency key."""
    event: Event
    over: bool = False
    """What was told before under this ``subject`` is over: it resolves the alert."""
    severity: Severity
    """How bad; of one that says ``over``, how bad that was, so that it passes the same filters."""
    title: str
    """One line: what, about whom."""
    detail: str = ""
    subject: str
    """What an alert is kept open for: one operation, or one deployment in one region."""
    operation: str = ""
    runbook: str = ""
    deployment: str = ""
    region: str = ""
    requested_by: str = ""
    at: AwareDatetime
    commands: tuple[str, ...] = ()
    report: str | None = None
    """Key of the report's JSON in the control bucket."""


class Sent(Frozen):
    """What became of a notice at one target. ``problem`` None: the target has taken it."""

    target: str
    kind: str
    attempts: int
    status: int | None = None
    """HTTP status of the last answer; None: there was none."""
    answer: str = ""
    """The beginning of the last answer's text."""
    problem: str | None = None


class NotifyInput(Frozen):
    """Tell those whom the published fleet file names."""

    notice: Notice


class NotifyFact(Frozen):
    """What became of it. Nobody is told of an event that no target wants: then ``sent`` is empty."""

    notice: Notice
    sent: tuple[Sent, ...] = ()
    note: str = Field(default="", description="why it could not be sent, or written down")

    @property
    def problems(self) -> tuple[str, ...]:
        """Who was not reached, and why."""
        told = tuple(f"{one.target} ({one.kind}): {one.problem}" for one in self.sent if one.problem is not None)
        return (*told, self.note) if self.note else told

"""The same failure known again: the step that failed, the kind of error, and its message without what differs. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tidegate import names
from tidegate.model.operation import Outcome, StepState
from tidegate.model.steps import ReportInput

_FAILED: Final = {Outcome.UNDONE, Outcome.BAD_VERDICT, Outcome.REFUSED}
_KIND: Final = re.compile(r"\b(?:[a-z_$][\w$]*\.)*([A-Z][\w$]*(?:Exception|Error|Failed|Failure))\b")
"""A class of an exception, with or without its package."""
_DIFFERS: Final = (
    (re.compile(r"\bs3://\S+"), "s3://…"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d| UTC)?"), "TIME"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?(?: UTC)?"), "TIME"),
    (re.compile(r"\b(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b"), "ID"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{7,}\b…?"), "ID"),
    (re.compile(r"\b\d+(?:[.,]\d+)*\b"), "#"),
    (re.compile(r"(?<=[A-Za-z_-])\d+\b"), "#"),
    (re.compile(r"\s+"), " "),
)
_MOST: Final = 300
"""Characters of a message that count: what follows is a stack, or a list."""


@dataclass(frozen=True)
class Failure:
    """How an operation failed."""

    step: str
    kind: str
    message: str
    """As it was told."""

    @property
    def fingerprint(self) -> str:
        """12 hex digits: the same for the same failure, whenever and on whichever deployment it comes."""
        return names.derive_id("failure", self.step, self.kind, normalised(self.message))[:12]


def normalised(message: str) -> str:
    """A message without times, ids, locations and numbers."""
    told = message
    for pattern, instead in _DIFFERS:
        told = pattern.sub(instead, told)
    return told.strip().casefold()[:_MOST]


def failure_of(report: ReportInput) -> Failure | None:
    """How the operation of a report failed first; None: it did not.

    Its first step that failed says why; what follows (the way back, say) is what came of it.
    """
    if report.outcome not in _FAILED:
        return None
    failed = next((step for step in report.steps if step.state is StepState.FAILED and step.fact), None)
    message = failed.fact if failed is not None else report.why or report.summary
    kind = _KIND.search(message)
    # "start v2" is the start, whatever is started.
    step = failed.name.partition(" ")[0] if failed is not None else "conclude"
    return Failure(step, kind.group(1) if kind else report.outcome.value, message)

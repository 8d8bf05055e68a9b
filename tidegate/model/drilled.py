"""What came of a drill, as its report says it."""

from __future__ import annotations

from typing import Literal

from tidegate.model.record import Frozen

EXAMPLES = 5
"""So many differences are shown with their places."""


class Place(Frozen):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int

    @property
    def text(self) -> str:
        """``topic/partition@offset``."""
        return f"{self.topic}/{self.partition}@{self.offset:,}"


class Difference(Frozen):
    """A record that is not the same on both sides. ``live`` or ``drill`` None: it is not there."""

    kind: Literal["missing", "extra", "differing"]
    key: str
    live: Place | None
    drill: Place | None
    what: str = ""
    """Of two values: where they differ first."""


class DrillCompared(Frozen):
    """compare_drill: the fork's output against the live one's, over a window of input positions."""

    compared: int
    """Records that were matched one to one, by bytes or not."""
    missing: int
    """Live output of the window that the fork did not write."""
    extra: int
    """Output of the fork that the live job did not write."""
    differing: int
    undetermined: int
    """Records whose value hangs on the order of several input partitions: only their number was compared."""
    replayed: int
    """Input records that the fork processed, from the recovery point on."""
    until: str
    """The live job's point up to which nothing may be missing."""
    by: Literal["record id", "key"]
    examples: tuple[Difference, ...] = ()

    @property
    def good(self) -> bool:
        """Nothing differs, and something was compared if anything was there."""
        return not (self.missing or self.extra or self.differing)


class TornDown(Frozen):
    """tear_down_drill: what was there and is gone; looked at again after it."""

    jobs: int = 0
    topics: int = 0
    groups: int = 0
    transactions: int = 0
    objects: int = 0
    pins: int = 0
    denied: int = 0
    """Rules on Kafka that had shut a lost job of the fork out."""


class DrillFacts(Frozen):
    """What a drill adds to its report."""

    fork: str
    at: str = ""
    point: str = ""
    age_s: float | None = None
    rto_s: float | None = None
    """From the command to the first output of the fork; without input until it ran. In seconds."""
    rpo_s: float | None = None
    caught_up_s: float | None = None
    rto_objective_s: float | None = None
    rpo_objective_s: float | None = None
    compared: DrillCompared | None = None
    torn_down: TornDown | None = None
    left: str | None = None
    """Why not all of it could be taken away."""
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class DrillLine(Frozen):
    """What came of one deployment in the drill of a region."""

    deployment: str
    tier: int
    slots: int
    result: Literal["good", "failed", "given up", "not drilled"]
    why: str = ""
    """Of all but good."""
    operation: str | None = None
    """Its own; None: none was begun."""
    report: str | None = None
    """Key of its own report."""
    facts: DrillFacts | None = None


class DrillsFacts(Frozen):
    """What the drill of a region adds to its report. Times in seconds."""

    region: str
    standbys: tuple[str, ...]
    slots: int
    """So many could be used at once."""
    kept: str = ""
    """What had to stay free, in words."""
    budget_s: float
    took_s: float
    lines: tuple[DrillLine, ...]
    """All that were asked for, in the order in which they were to be drilled."""
    left_out: tuple[str, ...] = ()
    """What of the region there was not to be drilled, with why."""

    def of(self, *results: str) -> tuple[DrillLine, ...]:
        """The lines with one of these results."""
        return tuple(line for line in self.lines if line.result in results)

    def measured_s(self, name: Literal["rto_s", "rpo_s"]) -> tuple[float, ...]:
        """What those that came to an end have measured of it, sorted."""
        told = [getattr(line.facts, name) for line in self.of("good", "failed") if line.facts is not None]
        return tuple(sorted(value for value in told if value is not None))

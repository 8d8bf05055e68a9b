"""How strongly an old job is kept from committing, and what a failover has measured."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from tidegate.model.groups import GroupFact
from tidegate.model.record import Frozen


class Strength(StrEnum):
    """What keeps the old job from committing, strong to weak (X14)."""

    STOPPED = "stopped"
    """Flink says that every task has ended."""
    SHUT_OUT = "shut out"
    """A DENY on its transactional prefix stands on its Kafka, seen to refuse."""
    SUPERSEDED = "superseded"
    """Its region cannot be reached: the lineage excludes what it commits, and it is quarantined on return."""


class FailoverFacts(Frozen):
    """What a failover adds to its report."""

    source: str
    target: str
    planned: bool
    strength: Strength
    point: str | None = None
    state_as_of: datetime | None = None
    input_until: datetime | None = None
    rto_s: float | None = None
    """From the command to the first new output, in seconds."""
    rto_detected_s: float | None = None
    """From when the loss was noticed."""
    rpo_s: float | None = None
    """Unplanned: age of the newest input that had crossed, when the mirror was shut, in seconds."""
    superseded: int = 0
    lineage_turn: int = 0
    waiting: tuple[str, ...] = ()
    """Mirror links of the other direction that could not be started, each with why."""
    rto_objective_s: float | None = None
    """What the fleet file promises (``objectives``), in seconds; None: nothing."""
    rpo_objective_s: float | None = None
    groups: tuple[GroupFact, ...] = ()
    """Consumer groups, and where they go on."""
    notes: tuple[str, ...] = ()

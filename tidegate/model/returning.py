"""ReturnRegion: what goes in, and the facts of its steps."""

from __future__ import annotations

from pydantic import Field

from tidegate.model.failover import FailoverStep
from tidegate.model.operation import RunbookInput
from tidegate.model.record import Frozen

RETURN_REGION = "ReturnRegion"


class ReturnInput(RunbookInput):
    """ReturnRegion: a region that was given up answers again; a deployment that left it makes it a standby."""

    region: str = Field(min_length=1, description="the region that was given up and answers again")


class QuarantineFact(Frozen):
    """quarantine: nothing of the old jobs can commit there any more, nobody writes there, its mirror is shut."""

    denied: tuple[int, ...]
    """Epochs whose transactional prefixes are denied there."""
    cancelled: tuple[str, ...]
    """Jobs that ran there and were cancelled."""
    ended: int
    """Open transactions that were ended."""
    shut: dict[str, str] = Field(default_factory=dict)
    """By link that leads away from there: how it is shut."""


class TailFact(Frozen):
    """set_apart: what stands there beyond the cut, said not to count in its log; and what became of the inputs."""

    inputs: int
    """Input records that never crossed."""
    outputs: int
    """Output records beyond the cut: superseded, or committed by what came back by itself."""
    fed: int = 0
    known: int = 0
    """Inputs that their producers had sent again, by record id."""
    ahead: int = 0
    """Inputs that the state had read before the region was lost: never fed again (X22)."""
    held: int = 0
    """Inputs that were not fed: they stand in the region's log, excluded."""
    notes: tuple[str, ...] = ()


class ReturnStep(FailoverStep):
    """What every step of a return needs: ``home`` is the region's cell, ``at`` where the deployment lives."""

"""ReturnRegion: what goes in, and the facts of its steps."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from tidegate.model.failover import FailoverStep
from tidegate.model.inputs import RunbookInput
from tidegate.model.record import Frozen

RETURN_REGION = "ReturnRegion"

TailPolicy: TypeAlias = Literal["feed", "hold", "by-hand"]


class ReturnInput(RunbookInput):
    """ReturnRegion: a region that was given up answers again; a deployment that left it makes it a standby."""

    region: str = Field(min_length=1, description="the region that was given up and answers again")
    tail: Literal["feed", "hold"] | None = Field(
        default=None,
        description="what becomes of inputs that never crossed, whatever the fleet file says: feed or hold",
    )


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
    unknown: tuple[str, ...] = ()
    """Jobs that run there and of which nothing tells whose they are: they were left alone."""


class TailFact(Frozen):
    """set_apart: what stands there beyond the cut, said not to count in its log; and what became of the inputs."""

    inputs: int
    """Input records that never crossed."""
    outputs: int
    """Output records beyond the cut: superseded, or committed by what came back by itself."""
    zombies: int = 0
    """Of the outputs: those that were committed there after the cut, by a job that ran on or came back by itself."""
    fed: int = 0
    known: int = 0
    """Inputs that their producers had sent again, by record id."""
    ahead: int = 0
    """Inputs that the state had read before the region was lost: never fed again (X22)."""
    held: int = 0
    """Inputs that were not fed: they stand in the region's log, excluded."""
    held_at: str | None = None
    """Where they are written out for a person; None: none was held."""
    notes: tuple[str, ...] = ()


class ReturnStep(FailoverStep):
    """What every step of a return needs: ``home`` is the region's cell, ``at`` where the deployment lives."""

    tail: Literal["feed", "hold"] | None = None

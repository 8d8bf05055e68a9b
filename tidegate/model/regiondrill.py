"""DrillRegion: what goes in, what is seen before, and what is told of the whole. Each drill is a DrillRecovery."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from tidegate.model.inputs import Input
from tidegate.model.record import Frozen

DRILL_REGION = "DrillRegion"


class DrillRegionInput(Input):
    """DrillRegion: drill the recovery of all that lives in a region, each deployment in its standby."""

    region: str = Field(min_length=1, description="the region where the deployments live")
    to: str | None = Field(
        default=None, description="only those whose standby is this region; default: each in its own standby"
    )
    deployments: tuple[str, ...] = Field(default=(), description="only these; default: all that run in the region")
    tiers: tuple[int, ...] = Field(default=(), description="only deployments of these tiers; default: all")
    slots: int | None = Field(
        default=None,
        ge=1,
        description="so many slots may forks use at once; default: those that are free, but for what must stay free "
        "in each cell, so that the largest deployment of the highest tier can be failed over at any moment",
    )
    budget_s: float = Field(
        default=7_200.0,
        gt=0,
        le=86_400,
        description="none is begun that could not end in this time by what the last ones took, in seconds",
    )
    window_s: float = Field(
        default=60.0, gt=0, le=3_600, description="how long each fork runs on once it has caught up, in seconds"
    )
    catch_up_s: float = Field(
        default=900.0, gt=0, le=86_400, description="how long each may take to catch up, in seconds"
    )
    requested_by: str = Field(default="unknown", description="who asks; a claim, printed as one")
    reason: str = Field(default="", description="why; printed in the report")
    dry_run: bool = Field(default=False, description="say what would be drilled and in which order, start nothing")
    fleet_digest: str | None = Field(
        default=None, description="sha256 of a published fleet file; default: the current one"
    )

    @property
    def deployment(self) -> str:
        """What stands for a deployment's name in its id, its status and the key of its report."""
        return f"region-{self.region}"


class LookDrillsInput(Frozen):
    """look_at_drills: what would be drilled, and how much room is there. Changes nothing."""

    region: str
    to: str | None = None
    deployments: tuple[str, ...] = ()
    tiers: tuple[int, ...] = ()
    fleet_digest: str | None = None


class DrillCandidate(Frozen):
    """A deployment that shall be drilled, and what its reports say of the last time."""

    deployment: str
    tier: int
    parallelism: int
    """Slots that its fork needs."""
    at: str
    """The cell of the fork, ``region/cell``."""
    against: str = ""
    """Why it cannot be drilled, though it should be: then there is no cell."""
    proven_at: datetime | None = None
    """When it was last seen to go on in the standby: by a drill or a failover that ended well; None: never."""
    proof: str = ""
    """The operation that has shown it."""
    besides_s: float | None = None
    """What the last drill that was compared took, without the time that it watched; None: none is on record."""


class CellRoom(Frozen):
    """The slots of a cell in a standby."""

    at: str
    """``region/cell``."""
    slots_free: int
    slots_total: int
    keep: int = 0
    """So many must stay free."""
    keep_for: str = ""
    """The deployment that they are for."""


class LeftOut(Frozen):
    """A deployment of the region that is not among those that are asked for, and why."""

    deployment: str
    why: str


class DrillsSeen(Frozen):
    """look_at_drills."""

    at: datetime
    fleet_digest: str
    candidates: tuple[DrillCandidate, ...]
    """In the order in which they shall be drilled."""
    cells: tuple[CellRoom, ...]
    left_out: tuple[LeftOut, ...] = ()
    """What does not run, or has no standby: there is nothing to be drilled."""


class GiveWayInput(Frozen):
    """see_failover: does an operation need the slots of these standbys? Changes nothing."""

    fleet_digest: str
    standbys: tuple[str, ...]


class GiveWayFact(Frozen):
    """see_failover."""

    holder: str | None = None
    """What holds a deployment that goes to, or comes from, one of them, in words; None: nothing does."""

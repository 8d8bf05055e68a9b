"""ShipSnapshots: what goes in, and the facts of its steps."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from tidegate.model.inputs import Input
from tidegate.model.record import Frozen

SHIP_SNAPSHOTS = "ShipSnapshots"


class ShipInput(Input):
    """ShipSnapshots: copy a snapshot of a deployment to another region, whole, so that it can be restored there."""

    deployment: str = Field(min_length=1, description="name in the fleet file")
    to: str | None = Field(
        default=None, description="the region to copy to; default: the standby, or the home that it has left"
    )
    snapshot: str | None = Field(
        default=None,
        description="the snapshot's id, as in the list, or its location; default: the newest that is whole",
    )
    requested_by: str = Field(default="unknown", description="who asks; a claim, printed as one")
    reason: str = Field(default="", description="why; printed in the report")
    dry_run: bool = Field(default=False, description="say what would be sent, send nothing")
    fleet_digest: str | None = Field(
        default=None, description="sha256 of a published fleet file; default: the current one"
    )
    bytes_per_s: float | None = Field(default=None, gt=0, description="send at most so many bytes a second")
    deadline_s: float = Field(default=6 * 3_600.0, gt=0, le=7 * 86_400, description="how long it may take, in seconds")


class ShipStep(Frozen):
    """What both steps need: which snapshot, from where to where."""

    deployment: str
    fleet_digest: str
    region: str
    """Where it lies: the region where its job runs."""
    to: str
    snapshot: str | None = None
    """Id or location; None: the newest that is whole."""
    bytes_per_s: float | None = None


class ShipPlan(Frozen):
    """look_at_snapshot: what would be sent."""

    id: str
    location: str
    taken_at: datetime
    files: int
    bytes: int
    new_files: int
    """Those that are not at the target yet."""
    new_bytes: int


class ShipFact(Frozen):
    """ship_snapshot: a snapshot that is whole at the target. The list of its files lies beside it, in shipped.json."""

    id: str
    source: str
    target: str
    taken_at: datetime
    shipped_at: datetime
    files: int
    bytes: int
    sent_files: int
    sent_bytes: int
    missed: tuple[str, ...] = ()
    """Newer snapshots that Flink removed while they were copied (X6)."""

"""SweepSnapshots: what goes in, the facts of its steps, and the note of a snapshot that is half removed."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from tidegate.model.inputs import Input
from tidegate.model.record import Frozen

SWEEP_SNAPSHOTS = "SweepSnapshots"
KEEP = 5
OLDER_THAN_S = 7 * 86_400.0


class SweepInput(Input):
    """SweepSnapshots: remove old snapshots of a deployment in a region, and the files that nothing else names."""

    deployment: str = Field(min_length=1, description="name in the fleet file")
    region: str | None = Field(default=None, description="where to sweep; default: where the deployment lives")
    keep: int = Field(
        default=KEEP, ge=1, description="so many of the newest whole ones stay, of those made here and of each origin"
    )
    older_than_s: float = Field(
        default=OLDER_THAN_S, ge=0, description="younger ones stay, whatever their number; in seconds"
    )
    as_of: datetime | None = Field(
        default=None, description="the moment that was looked at: what came later stays; default: now"
    )
    requested_by: str = Field(default="unknown", description="who asks; a claim, printed as one")
    reason: str = Field(default="", description="why; printed in the report")
    dry_run: bool = Field(default=False, description="say what would go, remove nothing")
    fleet_digest: str | None = Field(
        default=None, description="sha256 of a published fleet file; default: the current one"
    )
    deadline_s: float = Field(default=3_600.0, gt=0, le=7 * 86_400, description="how long it may take, in seconds")


class SweepStep(Frozen):
    """What both steps need."""

    deployment: str
    fleet_digest: str
    region: str
    keep: int = Field(ge=1)
    older_than_s: float = Field(ge=0)
    as_of: datetime


class SweepPlan(Frozen):
    """look_at_sweep: what would go."""

    going: int
    staying: int
    files: int
    bytes: int
    """With each ``_metadata``."""
    leftovers: int
    """Files of ships that were given up; counted in ``files`` and ``bytes`` too."""
    uploads: int
    """Uploads in parts that were given up; how big they are is not known."""
    first: tuple[str, ...] = ()
    """Ids of some that go, oldest first."""


class SweepFact(Frozen):
    """sweep_snapshots: what went, with what an attempt before this one had begun."""

    snapshots: int
    files: int
    bytes: int
    leftovers: int
    uploads: int
    kept: tuple[str, ...] = ()
    """Those that somebody asked for meanwhile: id and why, the first ones."""


class SweptFile(Frozen):
    """A file that goes with a snapshot, unless something that stays names it by then. ``size`` in bytes."""

    uri: str
    size: int


class Swept(Frozen):
    """``sweeps/<deployment>/<region>/<id>.json``: written before the snapshot's ``_metadata`` goes, create-only.

    Removed when its files are: what stands there is half done, and the next sweep goes on with it.
    """

    version: Literal[1] = 1
    deployment: str
    region: str
    id: str
    location: str
    metadata_bytes: int
    files: tuple[SweptFile, ...]

"""DrillRecovery: what goes in, and the facts of its steps. What its report says is in ``drilled``."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from tidegate.model.inputs import Input
from tidegate.model.record import ArtifactRef, Frozen
from tidegate.model.steps import StepInput

DRILL_RECOVERY = "DrillRecovery"
GIVES_WAY = "gives_way"
"""In the details of an error: an operation needs what the drill has, so it ends, and has failed at nothing."""


class DrillInput(Input):
    """DrillRecovery: restore a fork of a deployment in its standby, compare it with the live one, take it away."""

    deployment: str = Field(min_length=1, description="name in the fleet file")
    point: str | None = Field(
        default=None, description="the recovery point: its id or its location there; default: the newest that is good"
    )
    window_s: float = Field(
        default=60.0, gt=0, le=3_600, description="how long the fork runs on once it has caught up, in seconds"
    )
    catch_up_s: float = Field(
        default=900.0, gt=0, le=86_400, description="how long it may take to catch up, in seconds"
    )
    clean: str | None = Field(
        default=None, description="start nothing: tear down what is left of an earlier drill, by the name of its fork"
    )
    requested_by: str = Field(default="unknown", description="who asks; a claim, printed as one")
    reason: str = Field(default="", description="why; printed in the report")
    dry_run: bool = Field(default=False, description="say what would be done, start nothing")
    fleet_digest: str | None = Field(
        default=None, description="sha256 of a published fleet file; default: the current one"
    )
    group: str | None = Field(
        default=None, description="workflow id of the DrillRegion that it is a part of, which tells how it went"
    )


class DrillLook(Frozen):
    """look_at_drill: may it be drilled, and from what? Changes nothing."""

    deployment: str
    fleet_digest: str
    fork: str
    home: str
    """Where the deployment lives, ``region/cell``."""
    standby: str
    """The region where the fork shall run."""
    point: str | None = None
    room_wait_s: float = 0.0
    """So long slots are waited for: those of the fork before it, of which the job is gone."""


class DrillSeen(Frozen):
    """What a drill would start from, and where."""

    at: str
    """The cell of the fork, ``region/cell``."""
    point: str
    snapshot: str
    """Its location in the standby."""
    taken_at: datetime
    age_s: float
    """Of the point, in seconds."""
    rpo_s: float | None = None
    """What a loss of home would have cost now: by how much the newest input there is older than at home, in seconds."""
    job_id: str
    """The live job."""
    epoch: int
    artifact: ArtifactRef
    parallelism: int
    slots_free: int
    slots_total: int
    rto_objective_s: float | None = None
    rpo_objective_s: float | None = None
    notes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    """Forks there of earlier drills of it whose runs are closed: terminated, or not able to tear them down. They go
    first; until then it is not refused for want of slots, since they may hold them."""


class DrillStep(StepInput):
    """What every step of a drill needs. ``held`` is the fork's record; the live deployment's is only read."""

    deployment: str
    """The live one."""
    home: str
    """Where it lives, ``region/cell``."""
    epoch: int
    """Of its job when the drill began: if that changes, the drill gives way."""
    job_id: str
    artifact: ArtifactRef
    parallelism: int
    snapshot: str
    point: str
    began: datetime
    """When the drill was asked for: RTO counts from here."""


class DrillCopied(Frozen):
    """copy_for_drill: the copy that the fork starts from."""

    location: str
    positions: int
    dropped: int
    """States of sinks that are not in it, by subtask."""


class DrillStartStep(DrillStep):
    """start_drill: from which copy."""

    copy_location: str


class DrillStarted(Frozen):
    """start_drill: the fork runs."""

    job_id: str
    epoch: int
    running_at: datetime


class DrillWatchStep(DrillStep):
    """catch_up_drill, watch_drill."""

    fork_job: str
    copy_location: str
    seconds: float
    """catch_up_drill: how long it may take; watch_drill: how long it is watched."""


class DrillCaughtUp(Frozen):
    """catch_up_drill: it has processed all input that was there when it started, and its state is whole."""

    took_s: float
    """Since the fork ran."""
    first_output_at: datetime | None
    """By the broker's clock; None: no input gave any."""
    checkpoint: str
    """The fork's checkpoint in which all state of the recovery point was found again."""
    operators: int
    """So many operators with state were looked at."""


class DrillWatched(Frozen):
    """watch_drill: it ran on, healthy."""

    watched_s: float
    checkpoints: int
    restarts: int
    under_traffic: bool


class TearDownStep(Frozen):
    """tear_down_drill: all of the fork goes. Done again, it finds nothing."""

    deployment: str
    """The live one."""
    fork: str
    fleet_digest: str
    at: str
    """The fork's cell, ``region/cell``."""
    operation: str
    run_id: str
    """The operation that asks: whose fork it is, or, with ``clean``, somebody else's who tidies up."""
    who: str
    clean: bool = False
    """The fork is of another operation, whose run is closed."""

"""What goes into each step and the fact that comes out: the contract between workflows and activities.

Small on purpose (O19: lists go to S3, keys travel). A fact is what proves that the step was done.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from tidegate.model.drilled import DrillFacts, DrillsFacts
from tidegate.model.gameday import GameDayFacts
from tidegate.model.inputs import TakeOver
from tidegate.model.operation import Approval, Observation, Outcome, Plan, ReplayRange, StepStatus, Verdict
from tidegate.model.record import ArtifactRef, Frozen, Holder, MadeWay
from tidegate.model.recovery import FailoverFacts
from tidegate.model.review import DeploymentReview


class Held(Frozen):
    """What an operation holds: passed to every step that changes anything (Tenure's claim)."""

    deployment: str
    holder: Holder
    fence: int


class ObserveInput(Frozen):
    """observe: reads record, Flink, Kafka, S3. Changes nothing."""

    deployment: str
    target: str | None = None
    """Name of the artifact that the operation wants to run."""
    fleet_digest: str | None = None
    held: Held | None = None
    by_record: bool = False
    """locate: where its job ran last counts, not the fleet file's home."""
    region: str | None = None
    """locate: the region that was asked for."""
    at: str | None = None
    """observe: the cell, ``region/cell``; None: home."""
    unfinished: bool = False
    """locate: look for a failover to there that has not ended."""


class Unfinished(Frozen):
    """A failover that has turned topics to where the deployment lives, and has not opened them there: nobody writes
    them until another one ends it.
    """

    source: str
    """The region that was left."""
    operation: str
    """Who began it."""
    planned: bool


class Located(Frozen):
    """locate: where a deployment lives, by its record; it decides the queue of all that follows (O17)."""

    fleet_digest: str
    region: str
    cell: str
    tier: int
    approval_required: bool
    switch_timeout_s: float = Field(default=600.0, gt=0)
    """Deadline of ``switch``: the fleet file's stop and start timeouts together, bounded."""
    standby: str | None = None
    """The region to fail over to: once it has moved there, the one that it came from."""
    unfinished: Unfinished | None = None
    """Only looked for if it was asked."""

    @property
    def at(self) -> str:
        """``region/cell``."""
        return f"{self.region}/{self.cell}"


class TakeInput(Frozen):
    """take: the deployment becomes this operation's, if nothing has changed since ``expected_fence`` was read."""

    deployment: str
    operation: str
    """Workflow id and first execution run id: the holder is known again by them (O7), also after a reset."""
    run_id: str
    fleet_digest: str
    runbook: str
    who: str
    why: str
    expected_fence: int
    take_over: TakeOver | None = None


class StepInput(Frozen):
    """What every changing step of a held deployment needs."""

    held: Held
    fleet_digest: str
    n: int = 1
    at: str | None = None
    """The cell where it acts, ``region/cell``; None: home."""


class PrepareInput(StepInput):
    """prepare: everything that can be done before the stop, so that the gap is short."""

    artifact: ArtifactRef
    parallelism: int | None = None
    """With how many subtasks it shall run; None: as the fleet file says."""


class ForkInput(StepInput):
    """make_fork: a copy of another deployment's snapshot for this one, which does not run."""

    of: str
    snapshot: str | None = None
    """Id or location; None: the newest that lasts."""


class ForkFact(Frozen):
    """The copy that was made."""

    source: str
    location: str
    dropped: int
    """States of sinks that are not in it, by subtask."""


class PrepareFact(Frozen):
    """What was made ready."""

    jar: str
    uploaded: bool
    slots_free: int
    slots_total: int
    notes: tuple[str, ...] = ()


class SwitchInput(StepInput):
    """switch: from the stop of the running job to RUNNING of the new one, in one activity (O15)."""

    artifact: ArtifactRef
    parallelism: int


class StopFact(Frozen):
    """A job that has ended, and the snapshot that it left."""

    job_id: str
    epoch: int
    location: str
    files: int
    size_bytes: int
    asked_at: datetime
    completed_at: datetime
    output_ends: dict[str, int] = Field(default_factory=dict)


class StopJobInput(StepInput):
    """stop_deployment: stop the running job with a savepoint; nothing is started after it."""

    makes_way: MadeWay | None = None
    """For whom; None: it is wanted stopped."""


class StartFact(Frozen):
    """A job that runs, and what it started from."""

    job_id: str
    epoch: int
    artifact: ArtifactRef
    snapshot: str | None
    submitted_at: datetime
    running_at: datetime


class Timeline(Frozen):
    """Where the time of a switch went, in ms, by this process's monotonic clock. 0: done by an earlier attempt."""

    stop_ms: float = 0.0
    between_ms: float = 0.0
    """From the stop's COMPLETED as seen to the submit's first byte: what Tidegate itself adds to the gap."""
    submit_ms: float = 0.0
    running_ms: float = 0.0


class SwitchFact(Frozen):
    """A switch that was done."""

    stop: StopFact
    start: StartFact
    timeline: Timeline


class AppraiseInput(Frozen):
    """appraise: what each snapshot would cost (X3). Changes nothing."""

    deployment: str
    fleet_digest: str
    source: str = "newest"
    """As in RestoreInput; a whole location is looked at, wherever it is."""
    as_of: datetime | None = None
    """As in RestoreInput."""
    at: str | None = None
    """The cell, ``region/cell``; None: home."""


EVERY_EPOCH = 2**31 - 1
"""As ``RestoreFrom.until_epoch``: whatever runs is ended, and the newest exact snapshot is gone on from."""


class RestoreFrom(Frozen):
    """ensure_running shall go on from a snapshot that was chosen, and a job of the time before shall not run on."""

    until_epoch: int
    """Epochs up to this one are what is restored; a job of a later one was started by this very restore."""
    snapshot: str | None = None
    """Location; None: the newest that is exact."""
    loss_accepted: bool = False
    replay_accepted: bool = False


class EnsureInput(StepInput):
    """ensure_running: make this artifact run, from wherever things stand (O8). The only undo there is."""

    artifact: ArtifactRef
    parallelism: int
    readable_from: tuple[str, ...] = ()
    """sha256 of the artifacts whose state this one can read; its own is always among them (X27)."""
    on_unreadable_state: Literal["replay", "halt"] = "replay"
    from_empty: bool = False
    snapshot: str | None = None
    """Start from this one instead of the newest that is exact."""
    restore: RestoreFrom | None = None


class EnsureFact(Frozen):
    """The artifact runs."""

    start: StartFact
    was_running: bool
    """It ran already, untouched."""
    replay: tuple[ReplayRange, ...] = ()
    manifest: str | None = None
    """Key of the replay manifest in the control bucket, written before the start."""
    settled_committed: int = 0
    settled_ended: int = 0
    lost: int = 0
    """Output records that were given up with the snapshot, as was accepted by name (X3)."""
    notes: tuple[str, ...] = ()


class TakeSnapshotInput(StepInput):
    """take_snapshot: a savepoint of the running job, until it is a recovery point (X2)."""

    canonical: bool = False
    give_up: bool = False
    """Nothing is begun; what was is closed in the record, whether it comes or not."""


class SnapshotFact(Frozen):
    """A snapshot that was taken of a job that went on, verified, its transactions committed."""

    location: str
    name: str
    job_id: str
    epoch: int
    checkpoint_id: int
    canonical: bool
    files: int
    size_bytes: int
    transactions: int
    """How many it lists; all of them were seen committed."""
    positions: dict[str, int] = Field(default_factory=dict)
    """``topic/partition`` to the next input offset, the first ones by name."""
    partitions: int = 0
    asked_at: datetime
    recovery_point_at: datetime


class ProveInput(StepInput):
    """prove: watch the job for ``bake_s``; more than RUNNING is asked (DESIGN.md, Prove)."""

    job_id: str
    bake_s: float
    lag_at_start: int | None = None


class ProveFact(Frozen):
    """A job that proved healthy."""

    job_id: str
    watched_s: float
    checkpoints: int
    restarts: int
    lag_start: int | None
    lag_end: int | None
    output_records: int
    """Committed output positions that were passed while watching, all partitions."""
    under_traffic: bool
    """False: no input came, so only checkpoints and restarts speak; the report says so."""
    lags: tuple[tuple[int, int], ...] = ()
    """Lag while it was watched: (UTC second, records). Of a long watch the most within each step of several seconds."""


class AuditInput(StepInput):
    """audit: the verdict by the fleet file's command."""

    manifest: str | None = None
    gap_from: datetime | None = None
    gap_to: datetime | None = None


class ReportInput(Frozen):
    """write the report in all its forms; the evidence without which no operation ends (I8)."""

    operation: str
    run_id: str
    runbook: str
    deployment: str
    fleet_digest: str
    requested_by: str
    reason: str
    started: datetime
    ended: datetime
    outcome: Outcome
    summary: str
    why: str
    break_glass: str | None
    take_over: TakeOver | None
    observation: Observation | None
    plan: Plan | None
    approval: Approval | None
    steps: tuple[StepStatus, ...]
    switch: SwitchFact | None = None
    ensure: EnsureFact | None = None
    prove: ProveFact | None = None
    verdict: Verdict | None = None
    failover: FailoverFacts | None = None
    drill: DrillFacts | None = None
    game_day: GameDayFacts | None = None
    drills: DrillsFacts | None = None
    """Of the drill of a region: what came of each."""
    review: DeploymentReview | None = None
    commands: tuple[str, ...] = ()
    undelivered: tuple[str, ...] = ()
    """Notices that did not reach somebody, and why. Those of its end are not among them: ``tidegate notices list``."""


class ReportFact(Frozen):
    """Where the report is, and the digest of its JSON."""

    key: str
    html_key: str
    sha256: str


class HaltInput(StepInput):
    """halt: mark the record, tell people."""

    why: str
    commands: tuple[str, ...] = ()

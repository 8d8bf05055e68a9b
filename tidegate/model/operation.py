"""What goes into an operation, what a person sees of it while it runs, and how it can end (O11)."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from tidegate.model.appraisal import Appraisal, Crossing
from tidegate.model.drilled import DrillFacts
from tidegate.model.record import ArtifactRef, DeploymentRecord, Frozen, MadeWay

UPGRADE_DEPLOYMENT = "UpgradeDeployment"
START_DEPLOYMENT = "StartDeployment"
RESTORE_DEPLOYMENT = "RestoreDeployment"
TAKE_SNAPSHOT = "TakeSnapshot"
STOP_DEPLOYMENT = "StopDeployment"


class Input(BaseModel):
    """Base of what a person sends: an unknown field is refused, so that a typing error is no silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TakeOver(Input):
    """A person's word that a deployment shall change hands; stands in the report."""

    why: str = Field(min_length=3, description="why the operation that holds it is given up")


class RunbookInput(Input):
    """What every runbook on one deployment takes."""

    deployment: str = Field(min_length=1, description="name in the fleet file")
    requested_by: str = Field(default="unknown", description="who asks; a claim, printed as one")
    reason: str = Field(default="", description="why; printed in the report")
    dry_run: bool = Field(default=False, description="observe and plan, change nothing")
    take_over: TakeOver | None = Field(default=None, description="take the deployment from the operation that holds it")
    fleet_digest: str | None = Field(
        default=None, description="sha256 of a published fleet file; default: the current one"
    )
    bake_s: float = Field(default=60.0, ge=0, le=86_400, description="how long the job must prove healthy, in seconds")
    approval_timeout_s: float = Field(
        default=3_600.0, gt=0, le=7 * 86_400, description="how long to wait for an approval"
    )
    require_approval: bool = Field(default=False, description="ask for approval even if the fleet file does not")
    break_glass: str | None = Field(default=None, description="go on without the approval that is required; say why")


class UpgradeInput(RunbookInput):
    """UpgradeDeployment: stop the job with a savepoint and start another artifact from it."""

    to: str = Field(min_length=1, description="name of the artifact to run, as in the fleet file")
    on_unreadable_state: Literal["replay", "halt"] = Field(
        default="replay",
        description="if the new job has committed output and the old artifact cannot read its state: "
        "replay from the savepoint, with a manifest of what comes twice, or halt and ask",
    )


class StartInput(RunbookInput):
    """StartDeployment: make a deployment that does not run, run."""

    artifact: str = Field(min_length=1, description="name of the artifact to run, as in the fleet file")
    from_empty: bool = Field(default=False, description="start with empty state (I3: only if asked in so many words)")
    snapshot: str | None = Field(
        default=None, description="location of the snapshot to start from; default: the newest"
    )
    fork_of: str | None = Field(
        default=None,
        description="start it as a fork of this deployment: from a copy of its snapshot (its id or location; default: "
        "the newest that lasts) without its sinks' state",
    )


class RestoreInput(RunbookInput):
    """RestoreDeployment: make a deployment go on from a snapshot: the newest, a named one, or one as of a time."""

    source: str = Field(
        default="newest",
        min_length=1,
        description="the snapshot: newest, its name (e7-chk-212), its checkpoint number or its whole location",
    )
    as_of: AwareDatetime | None = Field(
        default=None,
        description="instead of source: the newest snapshot that was complete at this time (with its zone)",
    )
    artifact: str | None = Field(
        default=None,
        description="name of the artifact to run; default: the one that wrote the deployment's output last",
    )
    region: str | None = Field(
        default=None,
        description="the region where it shall go on; default: where it ran last. In another one: from a copy of its "
        "stop's savepoint that was rebased for that region",
    )
    accept_loss: str | None = Field(
        default=None, description="name of the snapshot from which a start is wanted though it loses output"
    )
    accept_replay: str | None = Field(
        default=None,
        description="name of the snapshot from which a start is wanted though committed output comes again",
    )
    made_way_for: str | None = Field(
        default=None,
        description="only if it still stands stopped to make way for this operation; else refused",
    )


class SnapshotInput(RunbookInput):
    """TakeSnapshot: a savepoint of a job that goes on."""

    format: Literal["native", "canonical"] = Field(
        default="native",
        description="native: the state backend's own files, fast; canonical: what every state backend reads",
    )


class StopInput(RunbookInput):
    """StopDeployment: stop the job with a savepoint, and leave the deployment stopped."""

    makes_way: MadeWay | None = Field(
        default=None,
        description="the failover of a region that needs its slots: it comes back when they are free again",
    )


class JobFacts(Frozen):
    """Flink's word on the running job, at the time of the observation."""

    job_id: str
    state: str
    parallelism: int | None = None
    checkpoints_completed: int = 0
    last_checkpoint_age_s: float | None = None
    restarts: int = 0


class ArtifactFacts(Frozen):
    """An artifact as the fleet file names it and as it lies in S3."""

    ref: ArtifactRef
    size_bytes: int
    readable_by: tuple[str, ...] = ()


class Observation(Frozen):
    """What an operation found before it planned. Read-only steps made it; all runbooks share them."""

    at: datetime
    fleet_digest: str
    deployment: str
    region: str
    cell: str
    tier: int
    parallelism: int
    approval_required: bool
    record: DeploymentRecord
    holder_run_closed: bool = False
    job: JobFacts | None = None
    lag: int | None = None
    """Records between the job's committed positions and the end of its inputs; None: no position is committed."""
    flink_version: str = ""
    slots_free: int = 0
    slots_total: int = 0
    target: ArtifactFacts | None = None
    artifacts: tuple[ArtifactFacts, ...] = ()
    """Those of the deployment that are there, by name."""
    stale_state: Literal["refuse", "keep"] = "refuse"
    crossing: Crossing | None = None
    """The copy that a restore in another region would go on from; only such a restore asks for it."""
    appraisal: Appraisal | None = None
    """The snapshots to choose from, with their prices; only a restore asks for them."""
    expected_gap_s: float | None = None
    """Median of ``earlier_gaps_s``; None: there were none."""
    earlier_gaps_s: tuple[float, ...] = ()
    """Gaps of the newest upgrades of this deployment that were done, the newest first."""
    warnings: tuple[str, ...] = ()


NOTHING_TO_UNDO = "nothing to undo"
"""The undo of a step that changes nothing."""


class PlanStep(Frozen):
    """One step of a plan."""

    number: int
    name: str
    what: str
    undo: str
    no_return: bool = False


class PlanBasis(Frozen):
    """What the plan's hash covers (O13): what would change what is done; no times, estimates or ids."""

    runbook: str
    deployment: str
    from_sha256: str | None
    to_sha256: str
    job_id: str | None
    epoch: int
    region: str
    cell: str
    parallelism: int
    fleet_digest: str
    steps: tuple[str, ...]
    snapshot: str | None = None
    """Location of the snapshot, where one was asked for."""

    def digest(self) -> str:
        """sha256 over the canonical JSON of the basis, in hex."""
        content = self.model_dump(mode="json", exclude={"snapshot"} if self.snapshot is None else None)
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


class Plan(Frozen):
    """What an operation will do. Approval is for ``hash``."""

    runbook: str
    deployment: str
    basis: PlanBasis
    hash: str
    steps: tuple[PlanStep, ...]
    from_artifact: ArtifactRef | None
    to_artifact: ArtifactRef
    expected_gap_s: float | None
    """Median of ``earlier_gaps_s``; None: there were none."""
    earlier_gaps_s: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()


class StepState(StrEnum):
    """Where a step stands."""

    PENDING = "pending"
    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class StepStatus(Frozen):
    """One line of what a person sees."""

    number: int
    """From 1; 0 marks a small step (take, prepare, approve) that is shown without a number."""
    name: str
    state: StepState = StepState.PENDING
    started: datetime | None = None
    ended: datetime | None = None
    deadline: datetime | None = None
    fact: str = ""


class Phase(StrEnum):
    """Where an operation stands; also a search attribute."""

    OBSERVING = "observing"
    WAITING_FOR_APPROVAL = "waiting-for-approval"
    RUNNING = "running"
    PAUSED = "paused"
    UNDOING = "undoing"
    HALTED = "halted"
    DONE = "done"
    UNDONE = "undone"
    PLANNED = "planned"
    REFUSED = "refused"
    SUPERSEDED = "superseded"


class Outcome(StrEnum):
    """How an operation ended. A process exit code belongs to each (UX.md)."""

    DONE = "done"
    PLANNED = "planned"
    UNDONE = "undone"
    BAD_VERDICT = "bad-verdict"
    REFUSED = "refused"
    SUPERSEDED = "superseded"

    @property
    def exit_code(self) -> int:
        """0 done, 1 undone, 4 refused, 6 superseded, 7 done but a bad verdict."""
        return {
            Outcome.DONE: 0,
            Outcome.PLANNED: 0,
            Outcome.UNDONE: 1,
            Outcome.REFUSED: 4,
            Outcome.SUPERSEDED: 6,
            Outcome.BAD_VERDICT: 7,
        }[self]


class Verdict(Frozen):
    """I2, in numbers. ``audited`` False: no audit command is configured, and values were not looked at."""

    audited: bool
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    unexpected: int = 0
    replayed: int = 0
    superseded: int = 0
    input: int | None = None
    output: int | None = None
    gap_ms: float | None = None
    gap_from_ms: int | None = None
    gap_to_ms: int | None = None
    rate: tuple[tuple[int, int], ...] = ()
    """Output records per second: (UTC second, count)."""
    checked_to: dict[str, int] = Field(default_factory=dict)
    samples: tuple[str, ...] = ()
    note: str = ""

    @property
    def good(self) -> bool:
        """Nothing lost, duplicated, wrong or unexpected. Replays that a manifest announced are not duplicates."""
        return not (self.lost or self.duplicated or self.wrong or self.unexpected)

    @property
    def text(self) -> str:
        """``0/0/0``: lost, duplicated, wrong."""
        return f"{self.lost}/{self.duplicated}/{self.wrong}"


class ReplayRange(Frozen):
    """Committed output that will come again: consumers skip it, or count it (X21, X26)."""

    topic: str
    partition: int
    first: int
    last: int
    records: int


class Approval(Frozen):
    """Who approved or rejected which plan. A claim, printed as one (O14)."""

    by: str
    plan_hash: str
    approved: bool
    at: datetime
    comment: str = ""


class RunningActivity(Frozen):
    """The activity that runs now (O19); its live figures are in its heartbeat, read by describe."""

    name: str
    queue: str
    since: datetime
    deadline: datetime


class OperationStatus(Frozen):
    """The answer of the query ``status``; its steps are also the workflow's current details."""

    operation: str
    runbook: str
    deployment: str
    region: str
    cell: str
    phase: Phase
    requested_by: str
    started: datetime
    steps: tuple[StepStatus, ...]
    activity: RunningActivity | None = None
    plan: Plan | None = None
    approval: Approval | None = None
    waiting_for: str = ""
    pause_requested: bool = False
    abort_requested: str | None = None
    why: str = ""
    """Of a halt, an undo or a refusal: what led to it, in one line."""
    next_commands: tuple[str, ...] = ()
    outcome: Outcome | None = None
    report: str | None = None


class MemberResult(Frozen):
    """How it ended for one deployment of an operation on several."""

    deployment: str
    operation: str | None
    """Its own operation; None: none was begun."""
    outcome: Outcome
    summary: str
    why: str = ""
    verdict: Verdict | None = None
    rto_s: float | None = None
    """From the command that moved all of them to its first new output, in seconds."""
    drill: DrillFacts | None = None
    """Of a drill: what was measured."""
    report: str | None = None
    """Key of its own report."""


class OperationResult(Frozen):
    """What a finished operation returns. A workflow that failed carries the same as the error's details."""

    operation: str
    runbook: str
    deployment: str
    outcome: Outcome
    summary: str
    verdict: Verdict | None = None
    report: str | None = None
    """Key of the report's JSON in the control bucket; md and html stand beside it."""
    plan: Plan | None = None
    why: str = ""
    """What led to any outcome but done, in one line."""
    next_commands: tuple[str, ...] = ()
    rto_s: float | None = None
    """Of a failover: from the command to the first new output, in seconds."""
    members: tuple[MemberResult, ...] = ()
    """Of an operation on several deployments."""
    drill: DrillFacts | None = None
    """Of a drill: what was measured."""
    gave_way: bool = False
    """Of a drill: it ended because an operation needed what it had, and has failed at nothing."""


class ApproveInput(Input):
    """Update ``approve``: for the plan with this hash (its first 8 digits will do)."""

    by: str = Field(min_length=1)
    plan_hash: str = Field(min_length=8)
    comment: str = ""


class RejectInput(Input):
    """Update ``reject``."""

    by: str = Field(min_length=1)
    comment: str = ""


class ControlInput(Input):
    """Updates ``pause``, ``resume`` and ``abort``."""

    by: str = Field(min_length=1)
    why: str = ""

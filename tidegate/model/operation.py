"""What an operation saw and plans, what a person sees of it while it runs, and how it can end (O11)."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from tidegate.model.appraisal import Appraisal, Crossing
from tidegate.model.drilled import DrillFacts
from tidegate.model.record import ArtifactRef, DeploymentRecord, Frozen


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

"""What Flink's REST says, as types. Unknown fields are ignored: newer Flinks add some.

Source: Flink's ``rest_v1_dispatcher.yml`` for 2.2 and 2.3. Times are epoch milliseconds of the JobManager's clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


def _none_as_empty(value: object) -> object:
    return "" if value is None else value


Text = Annotated[str, BeforeValidator(_none_as_empty)]
"""A string that Flink may leave null."""


class JobState(StrEnum):
    """``org.apache.flink.api.common.JobStatus``."""

    INITIALIZING = "INITIALIZING"
    CREATED = "CREATED"
    RUNNING = "RUNNING"
    FAILING = "FAILING"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELED = "CANCELED"
    FINISHED = "FINISHED"
    RESTARTING = "RESTARTING"
    SUSPENDED = "SUSPENDED"
    RECONCILING = "RECONCILING"

    @property
    def terminal(self) -> bool:
        """True where Flink itself will never run the job again. SUSPENDED is not: high availability takes it up."""
        return self in {JobState.FAILED, JobState.CANCELED, JobState.FINISHED}


class ClusterOverview(_Answer):
    """GET /overview."""

    flink_version: str = Field(alias="flink-version")
    taskmanagers: int
    slots_total: int = Field(alias="slots-total")
    slots_available: int = Field(alias="slots-available")
    jobs_running: int = Field(alias="jobs-running")


class JobEntry(_Answer):
    """One line of GET /jobs."""

    id: str
    state: JobState = Field(alias="status")


class JobSummary(_Answer):
    """A line of GET /jobs/overview. ``tasks`` counts the job's subtasks by state in small letters, and ``total``."""

    id: str = Field(alias="jid")
    name: str
    state: JobState
    start_time_ms: int = Field(alias="start-time")
    last_change_ms: int = Field(default=0, alias="last-modification")
    tasks: dict[str, int] = {}

    @property
    def all_running(self) -> bool:
        """True if the job and every subtask run; ``last_change_ms`` is then when the last of them began to."""
        total = self.tasks.get("total", 0)
        return self.state is JobState.RUNNING and total > 0 and self.tasks.get("running", 0) == total


class Vertex(_Answer):
    """A vertex in job details. ``tasks`` counts its subtasks by state."""

    id: str
    name: str
    parallelism: int
    state: str = Field(alias="status")
    tasks: dict[str, int] = {}

    @property
    def all_running(self) -> bool:
        """True if every subtask runs. Subtasks that have finished count as not running."""
        return self.parallelism > 0 and self.tasks.get("RUNNING", 0) == self.parallelism


class JobDetails(_Answer):
    """GET /jobs/ID. Up to ``web.refresh-interval`` (3 s by default) old."""

    id: str = Field(alias="jid")
    name: str
    state: JobState
    start_time_ms: int = Field(alias="start-time")
    end_time_ms: int = Field(alias="end-time")
    timestamps: dict[str, int] = {}
    vertices: list[Vertex] = []

    @property
    def parallelism(self) -> int:
        """The largest parallelism of any vertex: the slots that the job takes under default slot sharing."""
        return max((vertex.parallelism for vertex in self.vertices), default=0)

    @property
    def all_running(self) -> bool:
        """True if the job and every subtask of every vertex run."""
        return self.state is JobState.RUNNING and bool(self.vertices) and all(v.all_running for v in self.vertices)


class Subtask(_Answer):
    """A subtask in GET /jobs/ID/vertices/VID. ``attempt`` counts its restarts from 0."""

    subtask: int
    state: str = Field(alias="status")
    attempt: int = 0


class VertexDetails(_Answer):
    """GET /jobs/ID/vertices/VID."""

    id: str
    name: str
    parallelism: int
    subtasks: list[Subtask] = []


class SubtaskTimes(_Answer):
    """A subtask in GET /jobs/ID/vertices/VID/subtasktimes; 0 in ``timestamps`` means never."""

    subtask: int
    timestamps: dict[str, int] = {}


class CheckpointCounts(_Answer):
    """How many checkpoints and savepoints, since the start of this job."""

    restored: int = 0
    total: int = 0
    in_progress: int = 0
    completed: int = 0
    failed: int = 0


class CompletedCheckpoint(_Answer):
    """A completed checkpoint or savepoint. ``external_path`` holds its ``_metadata``."""

    id: int
    trigger_timestamp: int = 0
    latest_ack_timestamp: int = 0
    end_to_end_duration: int = 0
    state_size: int = 0
    is_savepoint: bool = False
    external_path: Text = ""
    discarded: bool = False

    @property
    def completed_ms(self) -> int:
        """When its last acknowledgement came."""
        return max(self.latest_ack_timestamp, self.trigger_timestamp + self.end_to_end_duration)


class FailedCheckpoint(_Answer):
    """A failed checkpoint and why."""

    id: int
    failure_timestamp: int = 0
    failure_message: Text = ""


class RestoredCheckpoint(_Answer):
    """What the job was restored from. ``is_savepoint`` is false for a claimed savepoint."""

    id: int
    restore_timestamp: int = 0
    is_savepoint: bool = False
    external_path: Text = ""


class LatestCheckpoints(_Answer):
    """The newest of each kind."""

    completed: CompletedCheckpoint | None = None
    savepoint: CompletedCheckpoint | None = None
    failed: FailedCheckpoint | None = None
    restored: RestoredCheckpoint | None = None


class HistoryCheckpoint(_Answer):
    """A line of the checkpoint history, newest first. ``state`` is IN_PROGRESS, COMPLETED or FAILED."""

    id: int
    state: str = Field(alias="status")
    is_savepoint: bool = False
    trigger_timestamp: int = 0
    end_to_end_duration: int = 0
    external_path: Text = ""
    discarded: bool = False


class CheckpointStats(_Answer):
    """GET /jobs/ID/checkpoints. Up to ``rest.cache.checkpoint-statistics.timeout`` (3 s by default) old."""

    counts: CheckpointCounts = CheckpointCounts()
    latest: LatestCheckpoints = LatestCheckpoints()
    history: list[HistoryCheckpoint] = []


class Externalization(_Answer):
    """Whether checkpoints are retained, and what a cancel does to them."""

    enabled: bool = False
    delete_on_cancellation: bool = True


class CheckpointConfig(_Answer):
    """GET /jobs/ID/checkpoints/config. ``interval`` and ``timeout`` in milliseconds."""

    mode: str
    interval: int
    timeout: int = 0
    externalization: Externalization = Externalization()
    state_backend: Text = ""
    checkpoint_storage: Text = ""
    unaligned_checkpoints: bool = False


class ExceptionEntry(_Answer):
    """A line of the exception history, newest first."""

    exception_name: Text = Field(default="", alias="exceptionName")
    stacktrace: Text = ""
    timestamp: int = 0
    task_name: str | None = Field(default=None, alias="taskName")
    endpoint: str | None = None


class ExceptionHistory(_Answer):
    """What ``exceptionHistory`` holds."""

    entries: list[ExceptionEntry] = []
    truncated: bool = False


class JobExceptions(_Answer):
    """GET /jobs/ID/exceptions."""

    history: ExceptionHistory = Field(default=ExceptionHistory(), alias="exceptionHistory")


class Jar(_Answer):
    """A jar on the cluster. ``id`` is ``<uuid>_<name>``; it is lost with ``web.upload.dir``."""

    id: str
    name: str
    uploaded: int = 0


class PlanNode(_Answer):
    """A vertex of a job's plan. ``id`` is the operator id of its chain's head, ``description`` the chain."""

    id: str
    parallelism: int = 1
    description: str = ""


class SlotResource(_Answer):
    """``ResourceProfileInfo``: what the slots of a TaskManager share, in MiB."""

    heap_mib: int = Field(default=0, alias="taskHeapMemory")
    managed_mib: int = Field(default=0, alias="managedMemory")


class TaskManager(_Answer):
    """A line of GET /taskmanagers."""

    id: str
    slots_number: int = Field(default=0, alias="slotsNumber")
    free_slots: int = Field(default=0, alias="freeSlots")
    last_heartbeat_ms: int = Field(default=0, alias="timeSinceLastHeartbeat")
    total_resource: SlotResource | None = Field(default=None, alias="totalResource")


class AllocatedSlot(_Answer):
    """A slot that a job holds."""

    job_id: str = Field(alias="jobId")


class TaskManagerDetails(TaskManager):
    """GET /taskmanagers/ID: whose slots it holds."""

    allocated_slots: list[AllocatedSlot] = Field(default=[], alias="allocatedSlots")


class ClaimMode(StrEnum):
    """``RecoveryClaimMode``; ours is always NO_CLAIM (X10)."""

    NO_CLAIM = "NO_CLAIM"
    CLAIM = "CLAIM"


class SavepointFormat(StrEnum):
    """``SavepointFormatType``."""

    NATIVE = "NATIVE"
    CANONICAL = "CANONICAL"


class RunRequest(BaseModel):
    """Body of POST /jars/ID/run. ``job_id`` is 32 hex digits and is accepted once per JobManager incarnation (O6)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_id: str
    entry_class: str
    args: list[str] = []
    parallelism: int
    savepoint_path: str | None = None
    claim_mode: ClaimMode = ClaimMode.NO_CLAIM
    allow_non_restored: bool = False
    flink_configuration: dict[str, str] = {}

    def body(self) -> dict[str, object]:
        """As Flink spells it. A misspelt key would be ignored by Flink in silence, hence one place."""
        body: dict[str, object] = {
            "entryClass": self.entry_class,
            "programArgsList": list(self.args),
            "parallelism": self.parallelism,
            "jobId": self.job_id,
            "allowNonRestoredState": self.allow_non_restored,
            "flinkConfiguration": dict(self.flink_configuration),
        }
        if self.savepoint_path is not None:
            body |= {"savepointPath": self.savepoint_path, "claimMode": self.claim_mode.value}
        return body


class RunKind(StrEnum):
    """What became of a submit."""

    ACCEPTED = "ACCEPTED"
    DUPLICATE = "DUPLICATE"
    """The JobID has been used in this incarnation of the JobManager: running, ended or burned."""
    REJECTED = "REJECTED"
    """The job failed in its initialization: its id is used up and ``/status`` says FAILED."""
    REJECTED_UNBURNED = "REJECTED_UNBURNED"
    """It failed before there was a job graph: the id is as free as before."""
    JAR_MISSING = "JAR_MISSING"


class RunOutcome(BaseModel):
    """Answer to a submit. ``message`` is the root cause, 2,000 characters at most."""

    model_config = ConfigDict(frozen=True)

    kind: RunKind
    message: str = ""


class SavepointPhase(StrEnum):
    """Where a savepoint or a stop stands."""

    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"
    """404: never triggered here, older than ``rest.async.store-duration``, or the JobManager has restarted."""


class SavepointStatus(BaseModel):
    """Answer of GET /jobs/ID/savepoints/TRIGGER.

    COMPLETED has ``location``. FAILED has ``cause_class`` and ``message``, and ``location`` only if Flink wrote the
    savepoint and failed in stopping (StopWithSavepointStoppingException; X2).
    """

    model_config = ConfigDict(frozen=True)

    phase: SavepointPhase
    location: str | None = None
    cause_class: str | None = None
    message: str = ""


class CancelOutcome(StrEnum):
    """What became of a cancel."""

    ACCEPTED = "ACCEPTED"
    ALREADY_TERMINAL = "ALREADY_TERMINAL"
    UNKNOWN = "UNKNOWN"


class Metric(_Answer):
    """An aggregate over the subtasks of a vertex."""

    id: str
    sum: float | None = None
    max: float | None = None
    min: float | None = None
    avg: float | None = None

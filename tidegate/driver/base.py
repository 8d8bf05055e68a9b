"""What an operation needs of whatever runs a deployment: observe, start, stop, fence, logs.

The session cluster (`tidegate.driver.session`) is the first; what is special to jars stays inside it. All waits take a
deadline in seconds and a heartbeat, which is called with a few figures at every look. Times ``_ms`` are epoch
milliseconds of Flink's clock unless they are named as durations.

Every method may raise Unavailable: the same call may be made again, and is safe then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from tidegate.clients.flink_types import JobState
from tidegate.model.record import SlotMemory

Heartbeat = Callable[[dict[str, object]], None]
"""Called in waits with what is seen; must return at once. Exceptions of it end the wait (a cancelled activity)."""


def no_heartbeat(_figures: dict[str, object]) -> None:
    """For callers that nobody watches."""


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArtifactFile(_Fact):
    """An artifact that is on this machine. ``sha256`` is 64 hex digits of the file; ``name`` as people call it."""

    path: Path
    sha256: str
    name: str


class Prepared(_Fact):
    """An artifact that is ready to be started: there, warm, with slots. ``handle`` is the driver's own word for it."""

    handle: str
    artifact: ArtifactFile
    entry_class: str
    parallelism: int
    slots_needed: int


class CheckpointRef(_Fact):
    """A completed checkpoint or savepoint of a job. ``path`` holds its ``_metadata``."""

    id: int
    completed_ms: int
    path: str
    is_savepoint: bool = False


class JobView(_Fact):
    """A job as it stands. ``state`` is fresh and None for an unknown id; all else may be seconds old.

    ``restarts`` counts since the start. ``first_error`` is the root cause of the oldest exception that Flink kept.
    ``restored_from`` is the snapshot's path. ``all_running``: every subtask of every vertex.
    """

    job_id: str
    state: JobState | None
    name: str = ""
    parallelism: int = 0
    started_ms: int = 0
    restarts: int = 0
    last_checkpoint: CheckpointRef | None = None
    checkpoints_completed: int = 0
    checkpoints_failed: int = 0
    restored_from: str | None = None
    first_error: str | None = None
    last_error: str | None = None
    all_running: bool = False


class StopPhase(StrEnum):
    """Where a stop stands (X2)."""

    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    """The snapshot is at ``location``, its transactions are committed and every task has ended."""
    NOT_COMMITTED = "NOT_COMMITTED"
    """The snapshot at ``location`` is whole, but the job failed while stopping: settle (X15)."""
    FAILED = "FAILED"
    """No snapshot. ``job_state`` says whether the job still runs."""
    JOB_UNKNOWN = "JOB_UNKNOWN"
    """No snapshot of this trigger: no such job runs, because it ended before or is not known here."""
    UNKNOWN = "UNKNOWN"
    """The trigger is not known (any more): only its directory and the job's state tell (O6)."""


class StopState(_Fact):
    """A stop as it stands. ``job_state`` is asked for in every phase but IN_PROGRESS and COMPLETED."""

    phase: StopPhase
    location: str | None = None
    message: str = ""
    job_state: JobState | None = None


class StartRequest(_Fact):
    """One start attempt. ``job_id`` is this attempt's alone (X9); ``snapshot`` None starts from empty state."""

    job_id: str
    prepared: Prepared
    args: list[str] = []
    parallelism: int
    snapshot: str | None
    configuration: dict[str, str] = {}


class StartKind(StrEnum):
    """What became of a start."""

    ACCEPTED = "ACCEPTED"
    DUPLICATE = "DUPLICATE"
    """The id has been used before: by an earlier sending of this very start, or burned. ``state`` says which."""
    REJECTED = "REJECTED"


class StartOutcome(_Fact):
    """Answer to a start. ``burned``: the id is used up (always, but for a REJECTED one that made no job)."""

    kind: StartKind
    burned: bool
    state: JobState | None = None
    message: str = ""


class Running(_Fact):
    """All tasks run since ``running_ms``; ``seen_ms`` is how long the wait for it took here."""

    job_id: str
    running_ms: int
    seen_ms: float


class BurnKind(StrEnum):
    """What became of a burn (O6)."""

    BURNED = "BURNED"
    """The id is seen FAILED without ever having run: any late submit of it is refused."""
    EXISTS = "EXISTS"
    """The id was taken before: adopt or cancel, by ``state``. FAILED may be an earlier burn or a job that ran (X9)."""


class BurnOutcome(_Fact):
    """Answer to a burn."""

    kind: BurnKind
    state: JobState


class CheckpointSettings(_Fact):
    """How a job takes checkpoints, read back from Flink (X11). ``retained_count`` is the cluster's."""

    exactly_once: bool
    retained_on_cancellation: bool
    retained_count: int
    interval_ms: int
    timeout_ms: int
    directory: str | None

    def problems(self, *, min_retained: int) -> list[str]:
        """What breaks X11, in words; empty if nothing does."""
        found = []
        if not self.exactly_once:
            found.append("checkpoints are at least once, not exactly once")
        if not self.retained_on_cancellation:
            found.append("checkpoints are not retained on cancellation")
        if self.retained_count < min_retained:
            found.append(f"Flink retains {self.retained_count} checkpoints, {min_retained} are needed")
        return found


class Capacity(_Fact):
    """What the cluster has, and which Flink it is."""

    version: str = ""
    taskmanagers: int
    slots_total: int
    slots_free: int


class Neighbour(_Fact):
    """Another job that shares a TaskManager: it restarts if that TaskManager goes (X14)."""

    job_id: str
    name: str
    taskmanagers: list[str]


class Logs(_Fact):
    """What can be read of a job's troubles: exceptions newest first, and the last lines of its TaskManagers' logs."""

    exceptions: list[str]
    taskmanagers: dict[str, list[str]]


class DeploymentDriver(Protocol):
    """Runs the jobs of deployments somewhere."""

    async def observe(self, job_id: str) -> JobView:
        """Everything about one job."""
        ...

    async def state(self, job_id: str) -> JobState | None:
        """A job's state, fresh; None for an unknown id."""
        ...

    async def list_jobs(self) -> dict[str, JobState]:
        """Every job that is known here, ended ones included, fresh."""
        ...

    async def find_jobs(self, job_ids: Iterable[str]) -> dict[str, JobState]:
        """Those of ``job_ids`` that are known here, in one request."""
        ...

    async def prepare(
        self,
        artifact: ArtifactFile,
        *,
        entry_class: str,
        args: list[str],
        parallelism: int,
        replaces: str | None = None,
    ) -> Prepared:
        """Make an artifact ready. Idempotent by sha256. ``replaces`` is the job whose slots will be free by then.

        Raises InvalidInput if the artifact makes no job graph, Refused if there are too few slots.
        """
        ...

    async def begin_stop(self, job_id: str, *, trigger_id: str, directory: str) -> None:
        """Ask for a stop with a native savepoint. The same trigger id again is the same stop (O6)."""
        ...

    async def begin_snapshot(self, job_id: str, *, trigger_id: str, directory: str, canonical: bool) -> None:
        """Ask for a savepoint of a job that goes on; `poll_stop` tells where it stands. Repeatable as a stop is."""
        ...

    async def poll_stop(self, job_id: str, trigger_id: str) -> StopState:
        """Where that stop stands."""
        ...

    async def wait_stop(
        self, job_id: str, trigger_id: str, *, deadline_s: float, heartbeat: Heartbeat, poll_ms: int | None = None
    ) -> StopState:
        """Poll until it is not IN_PROGRESS. Raises NoProgress at the deadline, with the job's state in the details."""
        ...

    async def start(self, request: StartRequest) -> StartOutcome:
        """Submit. Unavailable means that nobody knows: send the same again, and a DUPLICATE is the first one's."""
        ...

    async def wait_running(
        self, job_id: str, *, deadline_s: float, heartbeat: Heartbeat, poll_ms: int | None = None
    ) -> Running:
        """Until every task runs. Raises StartRejected if the job ends or is forgotten, NoProgress at the deadline."""
        ...

    async def wait_terminal(
        self, job_id: str, *, deadline_s: float, heartbeat: Heartbeat, poll_ms: int | None = None
    ) -> JobState | None:
        """Until FINISHED, CANCELED or FAILED; None if the id is unknown. Raises NoProgress at the deadline."""
        ...

    async def cancel(self, job_id: str) -> JobState | None:
        """Ask for a cancel; the state that was seen then (None: unknown). See `wait_terminal` for its end."""
        ...

    async def burn(self, job_id: str, prepared: Prepared, *, args: list[str]) -> BurnOutcome:
        """Use up an id so that a late submit of it can never run (O6).

        Raises OperationFailed if the id is not seen used up afterwards: then nothing is fenced.
        """
        ...

    async def checkpoint_settings(self, job_id: str) -> CheckpointSettings:
        """Read back how the job takes checkpoints (X11). Raises OperationFailed if the job is not known."""
        ...

    async def capacity(self) -> Capacity:
        """Slots and TaskManagers, fresh."""
        ...

    async def slot_memory(self) -> SlotMemory | None:
        """What a slot has at least, whichever TaskManager it is on; None: Flink does not tell."""
        ...

    async def neighbours(self, job_id: str) -> list[Neighbour]:
        """The other jobs on this job's TaskManagers."""
        ...

    async def logs(self, job_id: str, *, lines: int = 50) -> Logs:
        """What Flink says about the job's troubles."""
        ...

"""What `tests.kit.flink_fake` is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.clients.flink_types import JobState as S


@dataclass
class Program:
    """What a jar does when it is submitted. The default runs well."""

    main_throws: str | None = None
    """No job graph: the id is not used up."""
    init_fails: str | None = None
    """FAILED in initialization: the id is used up."""
    crash_after_checkpoints: int | None = None
    """Crashes whenever it has completed so many since its last start; 0: as soon as its tasks run."""
    crash_message: str = "java.lang.IllegalStateException: broken on purpose"
    start_takes_s: float = 0.0
    """From accepted to all tasks running."""
    mode: str = "exactly_once"
    retained: bool = True
    vertices: tuple[tuple[str, str], ...] | None = None
    """(id, description) of each vertex in its plan; None: a source and a sink."""


@dataclass
class Checkpoint:
    id: int
    path: str
    completed_ms: int
    is_savepoint: bool = False
    discarded: bool = False


@dataclass
class FakeJob:
    id: str
    name: str
    entry_class: str
    args: list[str]
    parallelism: int
    snapshot: str | None
    configuration: dict[str, str]
    program: Program
    state: S = S.INITIALIZING
    started_ms: int = 0
    ended_ms: int = -1
    since_ms: dict[str, int] = field(default_factory=dict)
    running_at: float | None = None
    """By the clock; None while it waits for slots."""
    tasks_running_ms: int = 0
    restored_id: int = 0
    checkpoints: list[Checkpoint] = field(default_factory=list)
    completed: int = 0
    failed_checkpoints: int = 0
    failed_in_a_row: int = 0
    """Checkpoints that failed since the last one that did not; the newest of the history."""
    checkpoint_takes_ms: int = 0
    next_checkpoint_id: int = 1
    due_checkpoint: float = 0.0
    completed_since_start: int = 0
    restarts: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)
    """(when, stack text), oldest first."""
    records_out: int = 0
    lag_records: int | None = None

    @property
    def live(self) -> bool:
        return not self.state.terminal and self.state is not S.SUSPENDED

    @property
    def newest(self) -> Checkpoint | None:
        kept = [c for c in self.checkpoints if not c.discarded]
        return kept[-1] if kept else None


@dataclass
class Stop:
    """A stop as the cluster's cache of operations holds it."""

    job_id: str
    directory: str
    due: float
    fails: str | None
    breaks_after_savepoint: bool
    goes_on: bool = False
    """A plain savepoint: the job is not stopped, and its sinks are told nothing."""
    location: str | None = None
    cause: str | None = None
    done: bool = False


@dataclass
class Hooks:
    """Called under the cluster's lock, in the order in which the thing would happen."""

    on_start: Callable[[FakeJob, list[str], str | None], None] = lambda job, args, snapshot: None
    """Also at a restart, with the checkpoint that it starts from."""
    on_checkpoint_completed: Callable[[FakeJob, int], None] = lambda job, checkpoint_id: None
    """Sinks commit here; also for a stop's savepoint."""
    on_stop: Callable[[FakeJob], None] = lambda job: None
    """The job's tasks have ended, in whatever way; what it has not committed stays open."""
    write_snapshot: Callable[[FakeJob, str, int], None] = lambda job, path, checkpoint_id: None
    """`_metadata` is written below ``path``, before the checkpoint counts as completed."""
    discard_snapshot: Callable[[FakeJob, str], None] = lambda job, path: None
    checkpoint_id_at: Callable[[str], int | None] | None = None
    """The id in the `_metadata` below a path, None if there is none; instead of the cluster's memory of what it wrote.
    A job goes on counting from there, also if it is a copy that somebody made."""


@dataclass
class FakeTaskManager:
    id: str
    slots: int
    held: list[str] = field(default_factory=list)
    managed_mib: int = 64
    heap_mib: int = 128
    """Task heap. Both are shared by its slots, in equal parts."""

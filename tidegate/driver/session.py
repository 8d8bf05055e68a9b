"""Deployments as jobs of a Flink session cluster, driven by its REST. Jars are known here and nowhere else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from tidegate.clients.flink import FlinkClient, jar_name
from tidegate.clients.flink_errors import root_cause
from tidegate.clients.flink_types import (
    JobState,
    PlanNode,
    RunKind,
    RunOutcome,
    RunRequest,
    SavepointFormat,
    SavepointPhase,
)
from tidegate.driver.base import (
    ArtifactFile,
    BurnKind,
    BurnOutcome,
    Capacity,
    CheckpointSettings,
    Heartbeat,
    JobView,
    Logs,
    Neighbour,
    Prepared,
    Running,
    StartKind,
    StartOutcome,
    StartRequest,
    StopPhase,
    StopState,
    no_heartbeat,
)
from tidegate.driver.readings import job_view, settings_view, slot_memory
from tidegate.driver.waiting import Watch
from tidegate.errors import InvalidInput, OperationFailed, Refused, StartRejected, Unavailable
from tidegate.model.record import SlotMemory

HOT_POLL_MS = 20
"""Between two looks while processing stands still."""

IMPOSSIBLE_SAVEPOINT = "file:///tidegate-burns-this-job-id"
"""The local file system is in every Flink, and this path in none: a burn fails within 100 ms, whatever S3 does."""

_RECOVERY_S = 30.0
"""With high availability a restarted JobManager does not know its jobs until it has recovered them (seen: 9.4 s)."""

_BURN_LOOK_S = 5.0


class SessionClusterDriver:
    """The driver of one session cluster (`tidegate.driver.base.DeploymentDriver`).

    ``poll_ms`` is the time between two looks in waits, where the caller gives no other.
    """

    def __init__(self, client: FlinkClient, *, poll_ms: int = HOT_POLL_MS) -> None:
        self.client = client
        self.poll_ms = poll_ms

    # ---------------------------------------------------------------- observe

    async def state(self, job_id: str) -> JobState | None:
        """Fresh."""
        return await self.client.job_state(job_id)

    async def list_jobs(self) -> dict[str, JobState]:
        """Fresh."""
        return {job.id: job.state for job in await self.client.jobs()}

    async def find_jobs(self, job_ids: Iterable[str]) -> dict[str, JobState]:
        """One GET /jobs."""
        known = await self.list_jobs()
        return {job_id: known[job_id] for job_id in job_ids if job_id in known}

    async def observe(self, job_id: str) -> JobView:
        """The state fresh; the rest from Flink's copies, up to ``web.refresh-interval`` old."""
        state = await self.client.job_state(job_id)
        if state is None:
            return JobView(job_id=job_id, state=None)
        details = await self.client.job(job_id)
        if details is None:  # forgotten between two requests
            return JobView(job_id=job_id, state=None)
        checkpoints, exceptions, metrics, vertices = await asyncio.gather(
            self.client.checkpoints(job_id),
            self.client.exceptions(job_id),
            self.client.job_metrics(job_id, ["numRestarts"]),
            asyncio.gather(*(self.client.vertex(job_id, vertex.id) for vertex in details.vertices)),
        )
        # The metric is older than the attempts, but counts restarts that no attempt of a present vertex shows.
        attempts = [subtask.attempt for vertex in vertices if vertex for subtask in vertex.subtasks]
        restarts = max(int(metrics.get("numRestarts", 0)), *attempts, 0)
        return job_view(
            job_id, state, details=details, checkpoints=checkpoints, exceptions=exceptions, restarts=restarts
        )

    # ---------------------------------------------------------------- prepare

    async def prepare(
        self,
        artifact: ArtifactFile,
        *,
        entry_class: str,
        args: list[str],
        parallelism: int,
        replaces: str | None = None,
    ) -> Prepared:
        """Upload the jar if no jar of its sha256 is there, run its main method as a plan, count the slots."""
        jar_id, nodes = await self._planned(artifact, entry_class, args, parallelism)
        needed = max((node.parallelism for node in nodes), default=parallelism)
        await self._check_slots(needed, replaces)
        return Prepared(
            handle=jar_id, artifact=artifact, entry_class=entry_class, parallelism=parallelism, slots_needed=needed
        )

    async def plan(
        self, artifact: ArtifactFile, *, entry_class: str, args: list[str], parallelism: int
    ) -> list[PlanNode]:
        """The artifact's job graph; no job is made. The jar is uploaded if no jar of its sha256 is there.

        Raises InvalidInput if the artifact makes no job graph.
        """
        return (await self._planned(artifact, entry_class, args, parallelism))[1]

    async def _planned(
        self, artifact: ArtifactFile, entry_class: str, args: list[str], parallelism: int
    ) -> tuple[str, list[PlanNode]]:
        for _ in range(2):  # a jar that was listed may be swept before it is planned
            jar_id = await self._ensure_jar(artifact)
            nodes = await self.client.plan(jar_id, entry_class=entry_class, args=args, parallelism=parallelism)
            if nodes is not None:
                return jar_id, nodes
        raise Unavailable(
            f"the jar {artifact.name} vanishes from {self.client.base_url} as soon as it is uploaded",
            hint="is something sweeping web.upload.dir?",
        )

    async def _ensure_jar(self, artifact: ArtifactFile) -> str:
        name = jar_name(artifact.sha256, artifact.name)
        there = [jar for jar in await self.client.jars() if jar.name == name]
        if there:
            return max(there, key=lambda jar: jar.uploaded).id
        return await self.client.upload_jar(artifact.path, name)

    async def _check_slots(self, needed: int, replaces: str | None) -> None:
        capacity = await self.capacity()
        if capacity.slots_free >= needed:
            return
        coming = 0 if replaces is None else sum((await self._slots_of(replaces)).values())
        if capacity.slots_free + coming < needed:
            raise Refused(
                f"{needed} slots are needed on {self.client.base_url}, {capacity.slots_free} of"
                f" {capacity.slots_total} are free" + (f" and {coming} will be" if coming else ""),
                hint="add TaskManagers or lower the parallelism",
                details={"needed": needed, "free": capacity.slots_free, "coming": coming},
            )

    async def _slots_of(self, job_id: str) -> dict[str, int]:
        """Slots that a job holds, by TaskManager."""
        held: dict[str, int] = {}
        for taskmanager in await self.client.taskmanagers():
            details = await self.client.taskmanager(taskmanager.id)
            count = 0 if details is None else sum(slot.job_id == job_id for slot in details.allocated_slots)
            if count:
                held[taskmanager.id] = count
        return held

    # ---------------------------------------------------------------- stop

    async def begin_stop(self, job_id: str, *, trigger_id: str, directory: str) -> None:
        """Native format, without drain: the job goes on elsewhere."""
        await self.client.stop_with_savepoint(job_id, trigger_id=trigger_id, directory=directory)

    async def begin_snapshot(self, job_id: str, *, trigger_id: str, directory: str, canonical: bool) -> None:
        """Native: the backend's own files. Canonical: a form that every state backend reads."""
        wanted = SavepointFormat.CANONICAL if canonical else SavepointFormat.NATIVE
        await self.client.take_savepoint(job_id, trigger_id=trigger_id, directory=directory, savepoint_format=wanted)

    async def poll_stop(self, job_id: str, trigger_id: str) -> StopState:
        """One request while it goes well."""
        status = await self.client.savepoint_status(job_id, trigger_id)
        if status.phase is SavepointPhase.IN_PROGRESS:
            return StopState(phase=StopPhase.IN_PROGRESS)
        if status.phase is SavepointPhase.COMPLETED:
            return StopState(phase=StopPhase.COMPLETED, location=status.location)
        state = await self.client.job_state(job_id)
        if status.phase is SavepointPhase.UNKNOWN:
            phase = StopPhase.UNKNOWN
        elif status.location is not None:
            phase = StopPhase.NOT_COMMITTED
        elif status.cause_class is not None and status.cause_class.endswith("FlinkJobNotFoundException"):
            phase = StopPhase.JOB_UNKNOWN  # also said of a job that has ended (seen), which /status still knows
        else:
            phase = StopPhase.FAILED
        return StopState(phase=phase, location=status.location, message=status.message, job_state=state)

    async def wait_stop(
        self, job_id: str, trigger_id: str, *, deadline_s: float, heartbeat: Heartbeat, poll_ms: int | None = None
    ) -> StopState:
        """Polls the trigger's status, which is fresh and says COMPLETED only after every task has ended."""
        watch = self._watch(f"the stop of job {job_id}", deadline_s, heartbeat, poll_ms, {"job_id": job_id})
        while True:
            async with watch.look():
                stop = await self.poll_stop(job_id, trigger_id)
                watch.saw({"stop": stop.phase.value})
                if stop.phase is not StopPhase.IN_PROGRESS:
                    return stop
            await watch.pause()

    async def cancel(self, job_id: str) -> JobState | None:
        """PATCH, then the state."""
        await self.client.cancel(job_id)
        return await self.client.job_state(job_id)

    async def wait_terminal(
        self, job_id: str, *, deadline_s: float, heartbeat: Heartbeat, poll_ms: int | None = None
    ) -> JobState | None:
        """Polls ``/status``."""
        watch = self._watch(f"the end of job {job_id}", deadline_s, heartbeat, poll_ms, {"job_id": job_id})
        while True:
            async with watch.look():
                state = await self.client.job_state(job_id)
                watch.saw({"job_state": state})
                if state is None or state.terminal:
                    return state
            await watch.pause()

    # ---------------------------------------------------------------- start

    async def start(self, request: StartRequest) -> StartOutcome:
        """POST /jars/ID/run; a jar that is gone is put there again first. Says what the id's fate is."""
        run = await self._run(
            request.prepared,
            RunRequest(
                job_id=request.job_id,
                entry_class=request.prepared.entry_class,
                args=request.args,
                parallelism=request.parallelism,
                savepoint_path=request.snapshot,
                flink_configuration=request.configuration,
            ),
        )
        if run.kind is RunKind.ACCEPTED:
            return StartOutcome(kind=StartKind.ACCEPTED, burned=True)
        state = await self.client.job_state(request.job_id)
        if run.kind is RunKind.DUPLICATE:
            return StartOutcome(kind=StartKind.DUPLICATE, burned=True, state=state, message=run.message)
        # Flink's words say how it failed; whether the id is used up, only /status does.
        return StartOutcome(kind=StartKind.REJECTED, burned=state is not None, state=state, message=run.message)

    async def _run(self, prepared: Prepared, request: RunRequest) -> RunOutcome:
        run = await self.client.run_jar(prepared.handle, request)
        if run.kind is not RunKind.JAR_MISSING:
            return run
        jar_id = await self._ensure_jar(prepared.artifact)
        run = await self.client.run_jar(jar_id, request)
        if run.kind is RunKind.JAR_MISSING:
            raise Unavailable(
                f"the jar {prepared.artifact.name} vanishes from {self.client.base_url} as soon as it is uploaded",
                hint="is something sweeping web.upload.dir?",
                details={"sent": True},
            )
        return run

    async def wait_running(
        self, job_id: str, *, deadline_s: float, heartbeat: Heartbeat, poll_ms: int | None = None
    ) -> Running:
        """Polls ``/status``, and ``/jobs/overview`` for the tasks: job details would be up to 3 s late."""
        watch = self._watch(f"job {job_id} to run", deadline_s, heartbeat, poll_ms, {"job_id": job_id})
        forgotten_at: float | None = None
        while True:
            async with watch.look():
                state = await self.client.job_state(job_id)
                watch.saw({"job_state": state})
                if state is not None and state.terminal:
                    raise await self._ended_before_it_ran(job_id, state)
                if state is None:
                    forgotten_at = forgotten_at or time.monotonic()
                    if time.monotonic() - forgotten_at >= await self._recovery_s():
                        raise StartRejected(
                            f"job {job_id} is not known to {self.client.base_url} any more",
                            hint="its JobManager has restarted without high availability",
                            details={"job_id": job_id, "job_state": None},
                        )
                else:
                    forgotten_at = None
                if state is JobState.RUNNING:
                    summary = next((job for job in await self.client.jobs_overview() if job.id == job_id), None)
                    if summary is not None:
                        watch.saw({"tasks_running": summary.tasks.get("running"), "tasks": summary.tasks.get("total")})
                        if summary.all_running:
                            return Running(job_id=job_id, running_ms=summary.last_change_ms, seen_ms=watch.waited_ms)
            await watch.pause()

    async def _recovery_s(self) -> float:
        """How long an unknown job may still come back."""
        config = await self.client.jobmanager_config()
        return _RECOVERY_S if config.get("high-availability.type", "NONE").upper() != "NONE" else 0.0

    async def _ended_before_it_ran(self, job_id: str, state: JobState) -> StartRejected:
        exceptions = await self.client.exceptions(job_id)
        entries = exceptions.history.entries if exceptions else []
        why = root_cause(entries[0].stacktrace) if entries else "Flink kept no exception"
        return StartRejected(
            f"job {job_id} is {state} before all of its tasks ran: {why}",
            details={"job_id": job_id, "job_state": state.value, "first_error": why},
        )

    # ---------------------------------------------------------------- fence

    async def burn(self, job_id: str, prepared: Prepared, *, args: list[str]) -> BurnOutcome:
        """Submit the id with a savepoint path that cannot exist; then see it used up in ``/status`` (O6)."""
        run = await self._run(
            prepared,
            RunRequest(
                job_id=job_id,
                entry_class=prepared.entry_class,
                args=args,
                parallelism=prepared.parallelism,
                savepoint_path=IMPOSSIBLE_SAVEPOINT,
            ),
        )
        state = await self.client.job_state(job_id)
        if run.kind is RunKind.ACCEPTED and state is not None:
            # High availability knew checkpoints of this id and preferred them to the path: it must not go on.
            await self.client.cancel(job_id)
            state = await self.wait_terminal(job_id, deadline_s=_BURN_LOOK_S, heartbeat=no_heartbeat)
        if state is None:
            raise OperationFailed(
                f"the burn of job id {job_id} did not take: {run.message}",
                hint="it needs an artifact that builds a job graph; else deny the epoch's transactional prefix",
                details={"job_id": job_id, "run": run.kind.value},
            )
        if run.kind is RunKind.REJECTED and state is JobState.FAILED:
            return BurnOutcome(kind=BurnKind.BURNED, state=state)
        return BurnOutcome(kind=BurnKind.EXISTS, state=state)

    async def checkpoint_settings(self, job_id: str) -> CheckpointSettings:
        """The job's own; the retained count is the cluster's, a job cannot set it (seen on 2.2.0)."""
        settings, cluster, stats = await asyncio.gather(
            self.client.checkpoint_config(job_id), self.client.jobmanager_config(), self.client.checkpoints(job_id)
        )
        if settings is None:
            raise OperationFailed(
                f"Flink at {self.client.base_url} knows no checkpoints of job {job_id}",
                hint="is the job there, and are its checkpoints on? X11 needs them",
                details={"job_id": job_id},
            )
        return settings_view(job_id, settings, cluster=cluster, stats=stats)

    # ---------------------------------------------------------------- cluster, logs

    async def capacity(self) -> Capacity:
        """GET /overview."""
        overview = await self.client.overview()
        return Capacity(
            version=overview.flink_version,
            taskmanagers=overview.taskmanagers,
            slots_total=overview.slots_total,
            slots_free=overview.slots_available,
        )

    async def slot_memory(self) -> SlotMemory | None:
        """GET /taskmanagers."""
        return slot_memory(await self.client.taskmanagers())

    async def neighbours(self, job_id: str) -> list[Neighbour]:
        """From the slots of each TaskManager that holds one of the job's."""
        names = {job.id: job.name for job in await self.client.jobs_overview()}
        shared: dict[str, set[str]] = {}
        for taskmanager_id in await self._slots_of(job_id):
            details = await self.client.taskmanager(taskmanager_id)
            for slot in details.allocated_slots if details else []:
                if slot.job_id != job_id:
                    shared.setdefault(slot.job_id, set()).add(taskmanager_id)
        return [
            Neighbour(job_id=other, name=names.get(other, ""), taskmanagers=sorted(taskmanagers))
            for other, taskmanagers in sorted(shared.items())
        ]

    async def logs(self, job_id: str, *, lines: int = 50) -> Logs:
        """The exception history, and the tail of the log of each TaskManager that holds (else: of all)."""
        exceptions = await self.client.exceptions(job_id)
        entries = exceptions.history.entries if exceptions else []
        holders = list(await self._slots_of(job_id)) or [t.id for t in await self.client.taskmanagers()]
        tails = await asyncio.gather(*(self.client.taskmanager_log(taskmanager) for taskmanager in holders))
        return Logs(
            exceptions=[f"{entry.exception_name}: {root_cause(entry.stacktrace)}" for entry in entries],
            taskmanagers={name: tail.splitlines()[-lines:] for name, tail in zip(holders, tails, strict=True) if tail},
        )

    def _watch(
        self, what: str, deadline_s: float, heartbeat: Heartbeat, poll_ms: int | None, details: dict[str, object]
    ) -> Watch:
        if deadline_s <= 0:
            raise InvalidInput(f"the deadline for {what} is {deadline_s} s; a positive number is needed")
        return Watch(what, deadline_s=deadline_s, heartbeat=heartbeat, poll_ms=poll_ms or self.poll_ms, details=details)

"""A Flink session cluster in memory: what its jobs do. `tests.kit.flink_fake_rest` lets it speak Flink's REST.

It keeps to what was seen on Flink 2.2.0: a JobID is accepted once per incarnation, a failed initialization uses it up
and a main method that throws does not, a stop is idempotent by trigger id, a JobManager without high availability
forgets everything, retained checkpoints vanish when a job FINISHES. Nothing happens by itself but by the clock: each
look at a job (a request, `FakeFlink.tick`) does what has fallen due.

A job produces nothing. Hooks tell a fake Kafka or S3 when it would.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.kit.flink_fake_model import Checkpoint, FakeJob, FakeTaskManager, Hooks, Program, Stop
from tidegate.clients.flink_types import JobState as S

_HISTORY = 50
"""Checkpoints that a job remembers: long tests must not grow."""


class FakeFlink:
    """One cluster. Its attributes are its switches; take ``lock`` to change several at once from another thread."""

    def __init__(
        self,
        *,
        taskmanagers: int = 1,
        slots: int = 8,
        checkpoint_dir: str = "s3://flink/checkpoints",
        checkpoint_interval_ms: int | None = 1_000,
        retained: int = 10,
        restart_attempts: int = 2,
        refresh_interval_s: float = 3.0,
        stop_takes_s: float = 0.0,
        ha: bool = False,
        hooks: Hooks | None = None,
        program: Callable[[str, list[str]], Program] | None = None,
        clock: Callable[[], float] = time.time,
        snapshots: dict[str, int] | None = None,
        version: str = "2.2.0",
    ) -> None:
        """``snapshots``: path to checkpoint id, shared between clusters that share an S3.

        ``checkpoint_interval_ms`` None: only `complete_checkpoint` makes any. ``program`` gets jar name and args.
        """
        self.lock = threading.RLock()
        self.version = version
        self.clock = clock
        self.hooks = hooks or Hooks()
        self.program = program or (lambda jar, args: Program())
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_interval_ms = checkpoint_interval_ms
        self.retained = retained
        self.restart_attempts = restart_attempts
        self.refresh_interval_s = refresh_interval_s
        self.stop_takes_s = stop_takes_s
        self.ha = ha
        self.taskmanagers = [FakeTaskManager(f"127.0.0.1:{4_000 + i}-fake", slots) for i in range(taskmanagers)]
        self.jobs: dict[str, FakeJob] = {}
        self.used_ids: set[str] = set()
        self.stops: dict[tuple[str, str], Stop] = {}
        self._pending: dict[str, list[Stop]] = {}
        self.jars: dict[str, tuple[str, bytes, int]] = {}
        self.snapshots = snapshots if snapshots is not None else {}
        self.incarnation = 1
        self.fail_next_stop: str | None = None
        """The next new stop writes no savepoint and says this; its job runs on."""
        self.break_next_stop = False
        """The next new stop writes its savepoint, then its job FAILS (StopWithSavepointStoppingException)."""
        self.reject_next_start: str | None = None

    # ------------------------------------------------------------ time

    def now_ms(self) -> int:
        return int(self.clock() * 1000)

    def tick(self) -> None:
        """Do for every job what has fallen due."""
        with self.lock:
            for job in list(self.jobs.values()):
                self.advance(job)

    def advance(self, job: FakeJob) -> None:
        for stop in [stop for stop in self._pending.get(job.id, []) if stop.due <= self.clock()]:
            self._pending[job.id].remove(stop)
            self._finish_stop(job, stop)
        if not job.live:
            return
        if job.running_at is None and self._allocate(job):
            job.running_at = self.clock() + job.program.start_takes_s
        if job.running_at is None or job.running_at > self.clock():
            return
        if not job.tasks_running_ms:
            job.tasks_running_ms = max(int(job.running_at * 1000), job.started_ms)
            job.due_checkpoint = job.running_at + (self.checkpoint_interval_ms or 0) / 1000
        if self.checkpoint_interval_ms is not None:
            while job.live and job.tasks_running_ms and job.due_checkpoint <= self.clock():
                if self._crash_is_due(job):
                    break
                self.complete_checkpoint(job.id)
                job.due_checkpoint += self.checkpoint_interval_ms / 1000
        if job.live and self._crash_is_due(job):
            self.crash(job.id, job.program.crash_message)

    @staticmethod
    def _crash_is_due(job: FakeJob) -> bool:
        after = job.program.crash_after_checkpoints
        return after is not None and bool(job.tasks_running_ms) and job.completed_since_start >= after

    # ------------------------------------------------------------ what tests do to it

    def complete_checkpoint(self, job_id: str) -> Checkpoint:
        """Write, count, let sinks commit, drop what is retained no longer."""
        with self.lock:
            job = self.jobs[job_id]
            assert job.state is S.RUNNING, f"a checkpoint of a job that is {job.state}"
            path = f"{self.checkpoint_dir}/{job_id}/chk-{job.next_checkpoint_id}"
            done = self._snapshot(job, path, is_savepoint=False)
            kept = [c for c in job.checkpoints if not c.discarded and not c.is_savepoint]
            for old in kept[: -self.retained]:
                self._discard(job, old)
            job.checkpoints = (
                [c for c in job.checkpoints if not c.discarded] if len(job.checkpoints) > _HISTORY else job.checkpoints
            )
            return done

    def crash(self, job_id: str, message: str) -> None:
        """The job fails: restarted from its newest checkpoint, or FAILED if it has been too often."""
        with self.lock:
            job = self.jobs[job_id]
            job.errors.append((self.now_ms(), f"org.apache.flink.runtime.JobException: failed\nCaused by: {message}\n"))
            self.hooks.on_stop(job)
            if job.restarts >= self.restart_attempts:
                self._end(job, S.FAILED, tell=False)
                return
            job.restarts += 1
            self._restart(job)

    def kill_taskmanager(self, index: int = 0) -> None:
        """It comes back at once; every job that held one of its slots restarts."""
        with self.lock:
            for job_id in dict.fromkeys(self.taskmanagers[index].held):
                self.crash(job_id, "org.apache.flink.runtime.taskmanager.TaskManagerLostException: connection lost")

    def restart_jobmanager(self, *, forget_jars: bool = False) -> None:
        """Without high availability all jobs die and every id is forgotten; with it the live jobs are recovered."""
        with self.lock:
            self.incarnation += 1
            self.stops.clear()
            self._pending.clear()
            if forget_jars:
                self.jars.clear()
            live = [job for job in self.jobs.values() if job.live]
            for job in live:
                self.hooks.on_stop(job)
                self._release(job)
            self.jobs = {job.id: job for job in live} if self.ha else {}
            self.used_ids = set(self.jobs)
            for job in self.jobs.values():
                self._restart(job)

    # ------------------------------------------------------------ what REST asks

    def submit(self, jar_name: str, body: dict[str, Any]) -> tuple[str, str]:
        """(what became of it, message): accepted, duplicate, rejected or threw."""
        job_id = str(body.get("jobId") or f"{len(self.used_ids) + 1:032x}")
        args = [str(arg) for arg in body.get("programArgsList") or []]
        program = self.program(jar_name, args)
        if program.main_throws is not None:
            return "threw", program.main_throws
        if job_id in self.used_ids:
            return "duplicate", ""
        self.used_ids.add(job_id)
        snapshot = body.get("savepointPath")
        now = self.now_ms()
        job = FakeJob(
            id=job_id,
            name=jar_name,
            entry_class=str(body.get("entryClass")),
            args=args,
            parallelism=int(body.get("parallelism") or 1),
            snapshot=snapshot,
            configuration=dict(body.get("flinkConfiguration") or {}),
            program=program,
            started_ms=now,
            since_ms={"INITIALIZING": now},
        )
        self.jobs[job_id] = job
        why = self.reject_next_start or program.init_fails
        self.reject_next_start = None
        restored = None if snapshot is None else self._checkpoint_id_at(snapshot)
        if why is None and snapshot is not None and restored is None:
            why = f"java.io.FileNotFoundException: Cannot find checkpoint or savepoint file/directory '{snapshot}'"
        if why is not None:
            job.errors.append(
                (now, f"org.apache.flink.runtime.client.JobInitializationException: no\nCaused by: {why}")
            )
            self._to(job, S.FAILED)
            job.ended_ms = now
            return "rejected", why
        if restored is not None:
            job.restored_id = restored
            job.next_checkpoint_id = job.restored_id + 1
        self._to(job, S.RUNNING)
        self.hooks.on_start(job, args, snapshot)
        self.advance(job)
        return "accepted", job_id

    def stop(self, job_id: str, trigger_id: str, directory: str, *, goes_on: bool = False) -> None:
        """Accepted for any id; the same trigger again changes nothing."""
        if (job_id, trigger_id) in self.stops:
            return
        stop = Stop(
            job_id=job_id,
            directory=directory,
            due=self.clock() + self.stop_takes_s,
            fails=self.fail_next_stop,
            breaks_after_savepoint=self.break_next_stop,
            goes_on=goes_on,
        )
        self.fail_next_stop, self.break_next_stop = None, False
        self.stops[job_id, trigger_id] = stop
        job = self.jobs.get(job_id)
        if job is None or not job.live:
            stop.done = True
            stop.cause = (
                f"org.apache.flink.runtime.messages.FlinkJobNotFoundException: Could not find Flink job ({job_id})\n"
            )
            return
        self._pending.setdefault(job_id, []).append(stop)
        self.advance(job)

    def cancel(self, job_id: str) -> S | None:
        """The state that it found; a live job is CANCELED at once."""
        job = self.jobs.get(job_id)
        if job is None:
            return None
        found = job.state
        if job.live:
            self._end(job, S.CANCELED)
            if not job.program.retained:
                for checkpoint in job.checkpoints:
                    self._discard(job, checkpoint)
        return found

    # ------------------------------------------------------------ inside

    def _finish_stop(self, job: FakeJob, stop: Stop) -> None:
        stop.done = True
        if not job.live:
            stop.cause = (
                f"org.apache.flink.runtime.messages.FlinkJobNotFoundException: Could not find Flink job ({job.id})\n"
            )
            return
        if stop.fails is not None or not job.tasks_running_ms:
            stop.cause = (
                "org.apache.flink.runtime.checkpoint.CheckpointException: Could not take the savepoint\n"
                f"Caused by: {stop.fails or 'java.lang.IllegalStateException: not all required tasks are running'}\n"
            )
            job.failed_checkpoints += 1
            return
        path = f"{stop.directory.rstrip('/')}/savepoint-{job.id[:6]}-{len(self.stops):012x}"
        if stop.goes_on:
            stop.location = self._write(job, path, is_savepoint=True).path
            return
        if stop.breaks_after_savepoint:
            self._write(job, path, is_savepoint=True)
            stop.cause = (
                "java.util.concurrent.CompletionException: org.apache.flink.runtime.scheduler.stopwithsavepoint."
                f"StopWithSavepointStoppingException: A savepoint has been created at: {path}, but the corresponding"
                f" job {job.id} failed during stopping. The savepoint is consistent, but might have uncommitted"
                " transactions. If you want to commit the transaction please restart a job from this savepoint.\n"
            )
            job.errors.append((self.now_ms(), stop.cause))
            self._end(job, S.FAILED)
            return
        self._snapshot(job, path, is_savepoint=True)
        stop.location = path
        self._end(job, S.FINISHED)
        for checkpoint in job.checkpoints:
            if not checkpoint.is_savepoint:
                self._discard(job, checkpoint)

    def _write(self, job: FakeJob, path: str, *, is_savepoint: bool) -> Checkpoint:
        checkpoint = Checkpoint(job.next_checkpoint_id, path, self.now_ms(), is_savepoint=is_savepoint)
        job.next_checkpoint_id += 1
        self.hooks.write_snapshot(job, path, checkpoint.id)
        self.snapshots[path] = checkpoint.id
        job.checkpoints.append(checkpoint)
        return checkpoint

    def _snapshot(self, job: FakeJob, path: str, *, is_savepoint: bool) -> Checkpoint:
        checkpoint = self._write(job, path, is_savepoint=is_savepoint)
        job.completed += 1
        job.completed_since_start += 1
        self.hooks.on_checkpoint_completed(job, checkpoint.id)
        return checkpoint

    def _discard(self, job: FakeJob, checkpoint: Checkpoint) -> None:
        if not checkpoint.discarded:
            checkpoint.discarded = True
            self.snapshots.pop(checkpoint.path, None)
            self.hooks.discard_snapshot(job, checkpoint.path)

    def _checkpoint_id_at(self, path: str) -> int | None:
        return self.hooks.checkpoint_id_at(path) if self.hooks.checkpoint_id_at else self.snapshots.get(path)

    def _restart(self, job: FakeJob) -> None:
        self._release(job)
        job.running_at, job.tasks_running_ms, job.completed_since_start = None, 0, 0
        newest = job.newest
        self._to(job, S.RUNNING)
        self.hooks.on_start(job, job.args, newest.path if newest else job.snapshot)

    def _end(self, job: FakeJob, state: S, *, tell: bool = True) -> None:
        self._to(job, state)
        job.ended_ms = self.now_ms()
        self._release(job)
        if tell:
            self.hooks.on_stop(job)

    def _to(self, job: FakeJob, state: S) -> None:
        job.state = state
        job.since_ms[state.value] = self.now_ms()

    def _allocate(self, job: FakeJob) -> bool:
        free = [tm for tm in self.taskmanagers for _ in range(tm.slots - len(tm.held))]
        if len(free) < job.parallelism:
            return False
        for taskmanager in free[: job.parallelism]:
            taskmanager.held.append(job.id)
        return True

    def _release(self, job: FakeJob) -> None:
        for taskmanager in self.taskmanagers:
            taskmanager.held = [held for held in taskmanager.held if held != job.id]

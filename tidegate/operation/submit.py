"""Start one job from one snapshot, once, however often this is called (O6, O7, X8 to X11)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime

from tidegate.driver.base import Prepared, StartKind, StartRequest
from tidegate.errors import InvalidInput, JobLost, MustHalt, Refused, StartRejected, Unavailable
from tidegate.model.record import ArtifactRef, StartIntent, utc_now
from tidegate.operation.forks import make_way
from tidegate.operation.last_words import last_words
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.snapshot.checkpoints import completed_checkpoints

RESTARTS_EVERY_S = 3.0
"""Between two counts of restarts while a job comes up. A count is a dozen requests, and each takes from the CPU that
the job needs to come up; a good start is over before the first."""
FIRST_LOOK_S = 1.0
FORKS_AFTER_S = 1.0
"""Slots that the job before gives back come by then; what is still missing drills give."""
RUNNING_POLL_MS = 250
"""Before the first look whether all tasks run, and between two. The gap ends when output comes, not when it is seen to:
each look, and all that follows the last (the record, the proof's figures), takes CPU from the job that comes up."""


@dataclass(frozen=True)
class Submitted:
    """The job runs: when it was asked for and when all of its tasks ran."""

    submitted_at: datetime
    running_at: datetime
    first_byte: float
    """``time.monotonic()`` just before the first submit of this call."""
    submit_ms: float
    running_ms: float


async def submit(
    run: Run, intent: StartIntent, snapshot: str | None, *, fresh: bool, prepared: Prepared | None = None
) -> Submitted:
    """Submit the intent's job and wait until every task runs.

    ``fresh`` says that the intent was opened by this very call, so nobody can have submitted it; otherwise the world is
    asked first: a job that is there is waited for, one that has run and is gone is never started again (X9).

    Raises:
        StartRejected: Flink refused it, or it ended, or it kept restarting; the job id is used up.
        JobLost: it has run, has completed a checkpoint, and Flink has forgotten it.
        NoProgress: not every task ran within ``prove.start_timeout_s``.
        Unavailable: Flink did not answer until the deadline; whether the job runs is not known.

    """
    if snapshot is None and not intent.from_empty:
        raise MustHalt(f"job {intent.job_id} has no snapshot to start from, and nobody asked for empty state (I3)")
    site, driver = run.site, run.site.driver
    deadline = Deadline(f"the start of job {intent.job_id}", site.spec.prove.start_timeout_s)
    args = site.args(intent.epoch)
    if prepared is None:
        # The job may be there by an attempt before this one, and have all the slots: adopted, it needs no others.
        prepared = await prepare_patiently(
            run, intent.artifact, intent.epoch, intent.parallelism, deadline, replaces=intent.job_id
        )
    request = StartRequest(
        job_id=intent.job_id, prepared=prepared, args=args, parallelism=intent.parallelism, snapshot=snapshot
    )
    first_byte = time.monotonic()
    submitted_at = utc_now()
    look_first = not fresh
    while True:
        try:
            if not look_first or await _may_be_submitted(run, intent):
                look_first = True
                run.say(phase="start", job_id=intent.job_id, epoch=intent.epoch, waiting_for="Flink accepts the job")
                answer = await driver.start(request)
                if answer.kind is StartKind.REJECTED:
                    raise StartRejected(
                        f"Flink refused job {intent.job_id} ({intent.artifact.name}, epoch {intent.epoch}): "
                        f"{answer.message}",
                        details={"job_id": intent.job_id, "burned": answer.burned},
                    )
            accepted = time.monotonic()
            run.say(phase="start", waiting_for="every task runs")
            if await _all_tasks_run(run, intent, deadline):
                break
            # Flink forgot the job: its JobManager was restarted without high availability. Ask the world again.
            await deadline.pause("Flink forgot the job")
        except Unavailable as error:
            run.say(waiting_for=error.message[:300])
            if deadline.left_s <= 0:
                raise
            await deadline.pause(error.message[:300])
    running = time.monotonic()
    running_at = utc_now()
    await _read_back(run, intent)
    return Submitted(
        submitted_at=submitted_at,
        running_at=running_at,
        first_byte=first_byte,
        submit_ms=(accepted - first_byte) * 1000,
        running_ms=(running - accepted) * 1000,
    )


async def prepare_patiently(
    run: Run, artifact: ArtifactRef, epoch: int, parallelism: int, deadline: Deadline, replaces: str | None = None
) -> Prepared:
    """The artifact, ready on the cluster. Slots that are still being given back are waited for; drills give theirs.

    Raises:
        StartRejected: there are too few slots until the deadline.
        InvalidInput: the artifact makes no job graph.

    """
    file = await run.site.artifact_file(artifact)
    short_since: float | None = None
    while True:
        try:
            return await patiently(
                deadline,
                run,
                lambda: run.site.driver.prepare(
                    file,
                    entry_class=run.site.spec.entry_class,
                    args=run.site.args(epoch),
                    parallelism=parallelism,
                    replaces=replaces,
                ),
            )
        except InvalidInput as error:
            raise InvalidInput(
                f"artifact {artifact.name} ({artifact.uri}): {error.message}", hint=error.hint, details=error.details
            ) from error
        except Refused as error:
            if deadline.left_s <= 0:
                raise StartRejected(error.message, hint=error.hint, details=error.details) from error
            short_since = time.monotonic() if short_since is None else short_since
            if time.monotonic() - short_since >= FORKS_AFTER_S:
                await make_way(run)
            await deadline.pause(error.message)


async def _all_tasks_run(run: Run, intent: StartIntent, deadline: Deadline) -> bool:
    """Wait until every task runs; False if Flink forgot the job meanwhile.

    A job that fails over and over while it restores would be waited for until the deadline: its restarts are counted
    beside the wait, by the same limit as in the proof.
    """
    driver, limit = run.site.driver, run.site.spec.prove.max_restarts
    await asyncio.sleep(min(FIRST_LOOK_S, deadline.left_s))
    waiting = asyncio.ensure_future(
        driver.wait_running(
            intent.job_id,
            deadline_s=max(deadline.left_s, 0.1),
            heartbeat=lambda seen: run.say(**seen),
            poll_ms=RUNNING_POLL_MS,
        )
    )
    try:
        while True:
            done, _ = await asyncio.wait({waiting}, timeout=RESTARTS_EVERY_S)
            if done:
                waiting.result()
                return True
            view = await driver.observe(intent.job_id)
            if view.restarts > limit:
                raise StartRejected(
                    f"job {intent.job_id} ({intent.artifact.name}, epoch {intent.epoch}) restarted {view.restarts} "
                    f"times before all of its tasks ran (limit {limit}). First error: {view.first_error}",
                    details={
                        "job_id": intent.job_id,
                        "burned": True,
                        "first_error": view.first_error or "",
                        "log": await last_words(run, intent.job_id),
                    },
                )
    except StartRejected:
        if await driver.state(intent.job_id) is None:
            return False
        raise
    finally:
        waiting.cancel()


async def _may_be_submitted(run: Run, intent: StartIntent) -> bool:
    """False: the job is there. True: Flink does not know it, and it has never completed a checkpoint (X9)."""
    if await run.site.driver.state(intent.job_id) is not None:
        return False
    ran = await completed_checkpoints(run.site.snapshots, run.site.checkpoints, intent.job_id)
    if ran:
        raise JobLost(
            f"job {intent.job_id} has run (it completed checkpoint {ran[0].id}) and Flink no longer knows it: "
            f"it goes on from there, under a new epoch"
        )
    return True


async def _read_back(run: Run, intent: StartIntent) -> None:
    """X11: what the job really runs with. A job that is not exactly once is undone at once."""
    deadline = Deadline(f"the checkpoint configuration of job {intent.job_id}", 10.0)
    settings = await patiently(deadline, run, lambda: run.site.driver.checkpoint_settings(intent.job_id))
    wrong = []
    if not settings.exactly_once:
        wrong.append("its checkpoints are not exactly once")
    if not settings.retained_on_cancellation:
        wrong.append("its checkpoints are not retained on cancellation")
    if settings.interval_ms <= 0:
        wrong.append("it takes no checkpoints")
    if wrong:
        raise StartRejected(
            f"job {intent.job_id} runs, but {' and '.join(wrong)}",
            hint="set execution.checkpointing.* of the Flink cluster, or of the job, as ARCHITECTURE.md says (X11)",
            details={"job_id": intent.job_id},
        )

"""Stop a job with a savepoint, in a way that can be repeated, doubled and taken over (O5, O6, X2).

The savepoint's directory belongs to one trigger: whatever ``_metadata`` is found below it is that stop's.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.driver.base import StopPhase
from tidegate.errors import JobLost, SavepointFailed, Unavailable
from tidegate.model.record import StopIntent
from tidegate.operation.left import savepoints_below, snapshots_of
from tidegate.operation.run import Deadline, Run


@dataclass(frozen=True)
class Stopped:
    """The job has ended and left a savepoint. ``committed``: Flink says that its transactions are committed (X2)."""

    location: str
    committed: bool


async def finish_stop(run: Run, intent: StopIntent) -> Stopped:
    """Bring an open stop to its end, whoever began it, and wait until the job has ended.

    Raises:
        SavepointFailed: there is no savepoint; ``details['job_state']`` says whether the job still runs, and
            ``details['unanswered']`` how many copies of the stop may still be on their way to Flink.
        JobLost: Flink has forgotten the job and the directory is empty.
        NoProgress, Unavailable: not decided within ``prove.stop_timeout_s``; call again.

    """
    driver = run.site.driver
    deadline = _StandstillDeadline(f"the savepoint of job {intent.job_id}", run.site.spec.prove.stop_timeout_s)
    posted, unanswered = False, 0
    while True:
        try:
            if not posted:
                unanswered += 1
                await driver.begin_stop(intent.job_id, trigger_id=intent.trigger_id, directory=intent.directory)
                unanswered -= 1
                posted = True
                run.say(phase="stop", waiting_for="savepoint")
            found = await driver.poll_stop(intent.job_id, intent.trigger_id)
            match found.phase:
                case StopPhase.COMPLETED if found.location:
                    return Stopped(found.location, committed=True)
                case StopPhase.NOT_COMMITTED if found.location:
                    # X2: the savepoint is complete and consistent; its transactions may not be committed.
                    await _ended(run, intent.job_id, deadline)
                    return Stopped(found.location, committed=False)
                case StopPhase.FAILED | StopPhase.JOB_UNKNOWN:
                    return await _after_failure(run, intent, found.message, deadline, unanswered)
                case StopPhase.UNKNOWN:
                    state = await driver.state(intent.job_id)
                    if state is None or state.terminal:
                        return await _left_behind(run, intent, "Flink no longer knows the stop", state)
                    # The trigger was forgotten and the job runs: the same stop again, under the same id and directory.
                    posted = False
                    await deadline.pause("the job runs and Flink does not know the stop: asked again")
                case _:
                    await deadline.pause("in progress")
        except Unavailable as error:
            run.say(waiting_for=error.message[:300])
            if deadline.left_s <= 0:
                raise
            await deadline.pause(error.message[:300])


class _StandstillDeadline(Deadline):
    """Processing stands still while this waits, so each pause is a small part of what has passed, not a growing one.

    What a look comes too late by is then 2 % of the stop at most (10 ms for one of half a second), and a savepoint of
    minutes still costs its JobManager two looks a second and no more.
    """

    _SHORTEST_S = 0.01
    _PART = 0.02
    _LONGEST_S = 0.5

    async def pause(self, seen: str) -> None:
        passed_s = self.seconds - self.left_s
        self._poll_s = min(max(self._SHORTEST_S, self._PART * passed_s), self._LONGEST_S)
        await super().pause(seen)


async def _after_failure(run: Run, intent: StopIntent, message: str, deadline: Deadline, unanswered: int) -> Stopped:
    state = await run.site.driver.state(intent.job_id)
    if state is None or state.terminal:
        return await _left_behind(run, intent, message, state)
    if state.value in {"FAILING", "CANCELLING"}:
        await _ended(run, intent.job_id, deadline)
        return await _left_behind(run, intent, message, state)
    raise SavepointFailed(
        f"job {intent.job_id} was not stopped, it is {state.value}: {message}",
        details={"job_state": state.value, "unanswered": unanswered},
    )


async def _left_behind(run: Run, intent: StopIntent, message: str, state: object) -> Stopped:
    """What a stop left that ended unseen: a completed savepoint in its directory, or nothing."""
    left = await savepoints_below(run, intent.directory.rstrip("/") + "/")
    if left and (await snapshots_of(run, intent.job_id, intent.epoch))[0] == left[0]:
        return Stopped(str(left[0].location), committed=False)
    # None, or the job was brought back and has gone on since: then its checkpoints are newer, and no stop is done.
    if state is None:
        raise JobLost(
            f"Flink no longer knows job {intent.job_id}, and its stop left nothing in {intent.directory}: {message}"
        )
    raise SavepointFailed(
        f"job {intent.job_id} ended ({state}) without a savepoint in {intent.directory}: {message}",
        details={"job_state": str(state)},
    )


async def _ended(run: Run, job_id: str, deadline: Deadline) -> None:
    while True:
        state = await run.site.driver.state(job_id)
        if state is None or state.terminal:
            return
        await deadline.pause(f"job {job_id} is {state.value}")

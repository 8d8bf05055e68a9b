"""Prove a job healthy: more than RUNNING (DESIGN.md, how an operation runs, 6).

Checkpoints complete, restarts stay flat, the lag falls, and output moves if input moves.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from tidegate.errors import JobLost, NoProgress, ProofFailed, Unavailable
from tidegate.model.record import utc_now
from tidegate.model.steps import ProveFact, ProveInput
from tidegate.operation.last_words import last_words
from tidegate.operation.run import Deadline, Run, patiently

AWAY_LIMIT_S = 90.0
"""How long Flink or Kafka may be away while a job is being proven, before the proof is given up."""
_FENCE_AWAY_S = 5.0
"""How often the record is read while Flink or Kafka are away."""
FIRST_CHECKPOINT_FACTOR = 3.0
"""A job's first checkpoint is full and comes while classes load and state is fetched (X10), and exactly-once output
appears with it: until then it gets this many times ``no_progress_s``."""
MOST_LAGS = 240
"""So many points of the lag go into the report."""
_SAMPLE_S = 0.5
_FENCE_EVERY = 6


@dataclass(frozen=True)
class _Sample:
    at: float
    state: str | None
    checkpoints: int
    restarts: int
    lag: int | None
    inputs: int
    outputs: int
    first_error: str | None


class Lags:
    """The lag over time for the report: as many points as a picture can show, however long it is watched."""

    def __init__(self) -> None:
        self._begun_s, self._begun = utc_now().timestamp(), time.monotonic()
        self._step_s = 1
        self._most: dict[int, int] = {}

    def see(self, lag: int | None, at: float) -> None:
        """A look at ``time.monotonic()`` ``at``; None: the lag was not known."""
        if lag is None:
            return
        self._keep(int(self._begun_s + at - self._begun), lag)
        if len(self._most) > MOST_LAGS:
            self._step_s *= 2
            before, self._most = self._most, {}
            for second, most in before.items():
                self._keep(second, most)

    def _keep(self, second: int, lag: int) -> None:
        step = second // self._step_s * self._step_s
        self._most[step] = max(lag, self._most.get(step, 0))

    def points(self) -> tuple[tuple[int, int], ...]:
        """(UTC second, the most within the step that begins there)."""
        return tuple(sorted(self._most.items()))


class _Moved:
    """When a figure last moved, for the no-progress rule."""

    def __init__(self, value: int, at: float) -> None:
        self.value = value
        self.at = at

    def see(self, value: int, at: float) -> None:
        if value != self.value:
            self.value, self.at = value, at


async def prove(run: Run, request: ProveInput) -> ProveFact:
    """Watch the job for ``bake_s``, and beyond until ``prove.checkpoints`` after the first are complete.

    Raises:
        ProofFailed: it restarted too often, ended, fell behind, or stood still; ``details["log"]`` holds the last lines
            of its TaskManagers that tell why.
        JobLost: Flink no longer knows it.
        Superseded: another operation has the deployment.
        Unavailable: Flink or Kafka were away for longer than ``AWAY_LIMIT_S``.

    """
    try:
        return await _watch(run, request)
    except ProofFailed as error:
        error.details["log"] = await last_words(run, request.job_id)
        raise


async def _watch(run: Run, request: ProveInput) -> ProveFact:
    rules = run.site.spec.prove
    begun = time.monotonic()
    first = await _sample(run, request.job_id)
    last = first
    lag_start = request.lag_at_start if request.lag_at_start is not None else first.lag
    inputs_moved, outputs_moved = _Moved(first.inputs, begun), _Moved(first.outputs, begun)
    checkpoints_moved = _Moved(first.checkpoints, begun)
    lags = Lags()
    lags.see(first.lag, first.at)
    count = 0
    while True:
        watched = time.monotonic() - begun
        _judge_restarts(last, rules.max_restarts)
        enough = last.checkpoints >= rules.checkpoints + 1
        if watched >= request.bake_s and enough:
            break
        _judge_progress(last, inputs_moved, outputs_moved, checkpoints_moved, rules.no_progress_s)
        run.say(
            phase="prove",
            watched_s=round(watched, 1),
            bake_s=request.bake_s,
            checkpoints=last.checkpoints,
            checkpoints_needed=rules.checkpoints + 1,
            restarts=last.restarts,
            lag=last.lag,
            output_records=last.outputs - first.outputs,
        )
        await asyncio.sleep(_SAMPLE_S)
        count += 1
        if count % _FENCE_EVERY == 0:
            await patiently(Deadline("reading the record", AWAY_LIMIT_S), run, run.tenure.read)
        before, last = last, await _sample(run, request.job_id)
        lags.see(last.lag, last.at)
        if before.checkpoints == 0 < last.checkpoints:
            outputs_moved.at = last.at  # what it has written so far is committed only now
        inputs_moved.see(last.inputs, last.at)
        outputs_moved.see(last.outputs, last.at)
        checkpoints_moved.see(last.checkpoints, last.at)
    under_traffic = last.inputs > first.inputs
    if lag_start is not None and last.lag is not None and last.lag > lag_start + rules.lag_bound:
        raise ProofFailed(
            f"job {request.job_id} falls behind: lag {lag_start:,} at the start, {last.lag:,} after {watched:.0f} s "
            f"(allowed: {rules.lag_bound:,} more)",
            details={"lag_start": lag_start, "lag_end": last.lag},
        )
    return ProveFact(
        job_id=request.job_id,
        watched_s=round(watched, 1),
        checkpoints=last.checkpoints,
        restarts=last.restarts,
        lag_start=lag_start,
        lag_end=last.lag,
        output_records=last.outputs - first.outputs,
        under_traffic=under_traffic,
        lags=lags.points(),
    )


async def _sample(run: Run, job_id: str) -> _Sample:
    """One look at everything. A part that is away is waited for, within bounds; a job that is gone is not."""
    site = run.site
    deadline = Deadline("Flink and Kafka", AWAY_LIMIT_S)
    asked_at = -_FENCE_AWAY_S

    async def look() -> _Sample:
        view, inputs, outputs, lag = await asyncio.gather(
            site.driver.observe(job_id),
            site.kafka.last_stable_offsets(site.input_topics),
            site.kafka.last_stable_offsets(site.output_topics),
            _lag(run),
        )
        if view.state is None:
            raise JobLost(f"Flink no longer knows job {job_id}")
        return _Sample(
            at=time.monotonic(),
            state=view.state.value,
            checkpoints=view.checkpoints_completed,
            restarts=view.restarts,
            lag=lag,
            inputs=sum(inputs.values()),
            outputs=sum(outputs.values()),
            first_error=view.first_error,
        )

    async def fenced() -> _Sample:
        nonlocal asked_at
        try:
            return await look()
        except Unavailable:
            # What is away may be away because another operation has gone on elsewhere: then nothing is waited for (O8).
            if time.monotonic() - asked_at >= _FENCE_AWAY_S:
                asked_at = time.monotonic()
                await run.tenure.read()
            raise

    sample = await patiently(deadline, run, fenced)
    if sample.state in {"FAILED", "CANCELED", "FINISHED", "CANCELLING", "FAILING"}:
        raise ProofFailed(
            f"job {job_id} ended: {sample.state}. {first_line(sample.first_error)}",
            details={"first_error": sample.first_error or "", "state": sample.state},
        )
    return sample


async def _lag(run: Run) -> int | None:
    total = 0
    for source in run.site.spec.sources:
        positions = await run.site.kafka.group_offsets(source.group)
        if not positions:
            return None
        total += sum((await run.site.kafka.lag(positions, list(source.topics))).values())
    return total


def _judge_restarts(sample: _Sample, allowed: int) -> None:
    if sample.restarts > allowed:
        raise ProofFailed(
            f"the job restarted {sample.restarts} times (limit {allowed}). "
            f"First error: {first_line(sample.first_error)}",
            details={"first_error": sample.first_error or "", "restarts": sample.restarts},
        )


def _judge_progress(
    sample: _Sample, inputs: _Moved, outputs: _Moved, checkpoints: _Moved, no_progress_s: float
) -> None:
    """No progress for too long: output while input waits, or checkpoints."""
    if sample.checkpoints == 0:
        no_progress_s *= FIRST_CHECKPOINT_FACTOR
    quiet_checkpoints = sample.at - checkpoints.at
    quiet_outputs = sample.at - outputs.at
    input_waits = inputs.at > outputs.at or (sample.lag is not None and sample.lag > 0 and inputs.at >= outputs.at)
    if quiet_outputs > no_progress_s and input_waits:
        raise ProofFailed(
            f"output has not moved for {quiet_outputs:.0f} s while input waits (lag "
            f"{'unknown' if sample.lag is None else f'{sample.lag:,}'}, {sample.state}, "
            f"{sample.restarts} restarts). {first_line(sample.first_error)}",
            details={"first_error": sample.first_error or "", "no_progress_s": no_progress_s},
        )
    if quiet_checkpoints > no_progress_s:
        raise ProofFailed(
            f"no checkpoint was completed for {quiet_checkpoints:.0f} s ({sample.checkpoints} so far, {sample.state}, "
            f"{sample.restarts} restarts). {first_line(sample.first_error)}",
            details={"first_error": sample.first_error or "", "no_progress_s": no_progress_s},
        )


def first_line(error: str | None) -> str:
    """The line of a Flink exception that names the cause: the last ``Caused by``, else the first; bounded."""
    if not error:
        return "Flink names no exception."
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes[-1] if causes else lines[0])[:300]


__all__ = ["NoProgress", "Unavailable", "first_line", "prove"]

"""The gap: from the stop of the running job to RUNNING of the new one, in one step (O15).

Two swaps of the record lie in it: the intents before the stop, and the savepoint's path beside its verification. The
submit waits for both, so that an operation that was taken over never submits.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from tidegate import names
from tidegate.driver.base import Prepared
from tidegate.errors import (
    BasisChanged,
    InvalidInput,
    JobLost,
    MustHalt,
    SnapshotError,
    StartRejected,
    TidegateError,
)
from tidegate.model.record import (
    ArtifactRef,
    DeploymentRecord,
    IntentState,
    StartIntent,
    StopIntent,
    Writer,
    utc_now,
)
from tidegate.model.steps import StartFact, StopFact, SwitchFact, SwitchInput, Timeline
from tidegate.operation.left import savepoints_below
from tidegate.operation.resolve import pin, resolve, started
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.operation.settle import settle_after_stop
from tidegate.operation.stopping import stop_intent, stop_or_end
from tidegate.operation.submit import prepare_patiently, submit
from tidegate.snapshot.files import Verified, verify

REACH_S = 30.0
"""How long a part that is away is waited for before the stop; after that the step fails with nothing begun."""


async def switch(run: Run, request: SwitchInput) -> SwitchFact:
    """Stop the writer with a savepoint and start ``request.artifact`` from it, under the next epoch.

    Re-entrant: a second attempt goes on where record and world stand.

    Raises:
        SavepointFailed: the old job was not stopped and runs on; nothing was changed.
        StartRejected, NoProgress: the old job is stopped, the new one does not run; ``ensure_running`` brings one back.
            ``details['stop']`` is the StopFact of the stop that was done.
        JobLost: Flink forgot the old job before its savepoint, or the new one after its first checkpoint.
        Superseded: another operation has the deployment; nothing more was done.
        Unavailable: a part did not answer within its bound; call again.

    """
    record = await run.tenure.read()
    stop_id, start_id = run.id(record, "switch-stop"), run.id(record, "switch-start")
    fresh = record.intent(stop_id) is None
    if fresh:
        # Everything that can be ready before the stop is: the jar is there and warm. If that fails, nothing was begun.
        record = await resolve(run, record, want=request.artifact)
        if record.writer is None:
            raise BasisChanged(
                f"{record.deployment} has no running job to switch from",
                hint=f"start it:  tidegate start {record.deployment} ARTIFACT",
            )
        prepared = await _prepare(run, request.artifact, record.epoch + 1, request.parallelism, record.writer.job_id)
        await _reach(run, record.writer.epoch, names.derive_id(stop_id, "trigger"))
        record = await _open(run, record.writer, request, stop_id, start_id)
    stop, start = record.intent(stop_id), _start_of(record, start_id)
    if not isinstance(stop, StopIntent):
        raise InvalidInput(f"the record of {record.deployment} has another intent in the place of {stop_id}")
    if not fresh:
        prepared = await _prepare(run, start.artifact, start.epoch, start.parallelism, stop.job_id)

    asked_at, asked = utc_now(), time.monotonic()
    if stop.state is IntentState.OPEN:
        stopped = await stop_or_end(run, stop, fresh=fresh, then=start)
        completed = time.monotonic()
        completed_at = utc_now()
        # X2 is proven beside the swap; the submit below waits for both.
        (record, ours), verified = await asyncio.gather(pin(run, stop, stopped), _verified(run, stopped.location))
        # A twin that closed the stop may have started the job, which may have run and been forgotten since (X9, O16).
        fresh = fresh and ours
        start = _start_of(record, start_id)
        if not stopped.committed:
            await settle_after_stop(run, record, stop.epoch, stopped.location)
        location = stopped.location
    else:
        completed, completed_at = asked, asked_at
        if stop.location is None:
            raise JobLost(f"the stop of job {stop.job_id} left no savepoint: {stop.note}")
        location = stop.location
        verified = await _verified(run, location)
        if record.pinned is not None and not record.pinned.committed:
            await settle_after_stop(run, record, stop.epoch, location)
    pinned = record.pinned
    stop_fact = StopFact(
        job_id=stop.job_id,
        epoch=stop.epoch,
        location=location,
        files=verified.files,
        size_bytes=verified.bytes,
        asked_at=asked_at,
        completed_at=completed_at,
        output_ends=pinned.output_ends if pinned else {},
    )
    if start.state is IntentState.OPEN:
        try:
            submitted = await submit(run, start, location, fresh=fresh, prepared=prepared)
        except TidegateError as error:
            # The stop stands, whatever came of the start: a person is to see which of the two failed.
            error.details["stop"] = stop_fact.model_dump(mode="json", exclude={"output_ends"})
            raise
        await started(run, start, location, None)
        start_fact = StartFact(
            job_id=start.job_id,
            epoch=start.epoch,
            artifact=start.artifact,
            snapshot=location,
            submitted_at=submitted.submitted_at,
            running_at=submitted.running_at,
        )
        timeline = Timeline(
            stop_ms=(completed - asked) * 1000,
            between_ms=max(0.0, (submitted.first_byte - completed) * 1000),
            submit_ms=submitted.submit_ms,
            running_ms=submitted.running_ms,
        )
    elif record.writer is not None and record.writer.job_id == start.job_id:
        since = record.writer.since
        start_fact = StartFact(
            job_id=start.job_id,
            epoch=start.epoch,
            artifact=start.artifact,
            snapshot=location,
            submitted_at=since,
            running_at=since,
        )
        timeline = Timeline()
    else:
        raise StartRejected(f"job {start.job_id} of this switch has ended: {start.note}")
    return SwitchFact(
        stop=stop_fact,
        start=start_fact,
        timeline=timeline,
    )


def _start_of(record: DeploymentRecord, start_id: str) -> StartIntent:
    start = record.intent(start_id)
    if not isinstance(start, StartIntent):
        raise InvalidInput(f"the record of {record.deployment} has another intent in the place of {start_id}")
    return start


async def _prepare(run: Run, artifact: ArtifactRef, epoch: int, parallelism: int, replaces: str) -> Prepared:
    deadline = Deadline("preparing the artifact", run.site.spec.prove.start_timeout_s)
    return await prepare_patiently(run, artifact, epoch, parallelism, deadline, replaces=replaces)


async def _reach(run: Run, epoch: int, trigger: str) -> None:
    """Ask once what will be asked in the gap: what is away is found out before the stop, and the connections are open.

    A worker that has idled has none left; opening them anew, with a login to Kafka, would be seen in the gap.
    """
    deadline = Deadline("Kafka, before the stop", REACH_S)
    directory = names.savepoint_dir(run.site.savepoints, run.site.deployment, epoch, trigger)
    await asyncio.gather(
        patiently(deadline, run, lambda: run.site.kafka.end_offsets(run.site.output_topics)),
        savepoints_below(run, directory),
    )


async def _open(run: Run, writer: Writer, request: SwitchInput, stop_id: str, start_id: str) -> DeploymentRecord:
    """Both intents in one swap, before anything is touched."""
    stop = stop_intent(run, writer, stop_id, "switch")

    def change(current: DeploymentRecord) -> DeploymentRecord:
        if current.intent(stop_id) is not None:
            return current
        epoch = current.epoch + 1
        start = StartIntent(
            id=start_id,
            step="switch",
            n=run.n,
            job_id=names.derive_id(start_id, epoch),
            epoch=epoch,
            region=run.site.region,
            cell=run.site.cell,
            artifact=request.artifact,
            parallelism=request.parallelism,
            after_stop=stop_id,
        )
        return current.with_intents(stop, start).model_copy(update={"epoch": epoch})

    return await run.tenure.change("switch-open", run.n, change)


async def _verified(run: Run, location: str) -> Verified:
    deadline = Deadline(f"verifying {location}", 120.0)
    try:
        return await patiently(deadline, run, partial(verify, run.site.snapshots, location))
    except SnapshotError as error:
        raise MustHalt(f"the savepoint that the stop left cannot be used: {error.message}") from error

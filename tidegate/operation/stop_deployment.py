"""Stop a deployment and leave it stopped: its job ends with a savepoint, which stays pinned (X2, O5).

The first half of a switch, for its own sake: where it goes on, and when, is another operation's business.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

from tidegate.errors import InvalidInput, JobLost, MustHalt, SnapshotError
from tidegate.model.inputs import STOP_DEPLOYMENT, StopInput
from tidegate.model.operation import NOTHING_TO_UNDO, Observation, Plan
from tidegate.model.record import DeploymentRecord, IntentState, MadeWay, StopIntent, utc_now
from tidegate.model.steps import StopFact, StopJobInput
from tidegate.operation.plan import assemble, refuse_if_held
from tidegate.operation.resolve import pin, resolve
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.operation.settle import settle_after_stop
from tidegate.operation.stopping import stop_intent, stop_or_end
from tidegate.snapshot.files import Verified, verify

VERIFY_TIMEOUT_S = 120.0


def plan_stop(asked: StopInput, observed: Observation) -> Plan:
    """The steps that stopping a deployment will take.

    Raises:
        InvalidInput: no job runs.
        Held: another operation holds the deployment and its run is not closed; nobody asked to take over.

    """
    refuse_if_held(asked, observed)
    record, job = observed.record, observed.job
    if record.writer is None:
        raise InvalidInput(
            f"deployment: {asked.deployment} has never been started by Tidegate: there is no job to stop"
        )
    if (job is None or job.state != "RUNNING") and not record.open_intents():
        state = f", it is {job.state}" if job else ""
        stopped = record.pinned is not None and record.pinned.epoch == record.writer.epoch
        raise InvalidInput(
            f"deployment: {asked.deployment} does not run{state}: there is no job to stop",
            hint=f"it was stopped with {record.pinned.location}"
            if stopped and record.pinned
            else f"make it run from its newest snapshot:  tidegate restore {asked.deployment}",
        )
    artifact = record.writer.artifact
    back = f"restart {artifact.name} from its newest exact snapshot"
    begun = "finish or void what was begun, then " if record.open_intents() else ""
    named = f"job {job.job_id[:8]}" if job else "the job"
    steps: list[tuple[str, str, str, bool]] = [
        ("observe", "read record, Flink, Kafka, S3", NOTHING_TO_UNDO, False),
        ("stop", f"{begun}stop {named} with a native savepoint, and settle its transactions", back, False),
        ("conclude", "report, release", f"tidegate start {asked.deployment} {artifact.name}", False),
    ]
    return assemble(asked.deployment, STOP_DEPLOYMENT, observed, artifact, artifact, steps, list(observed.warnings))


async def stop_deployment(run: Run, request: StopJobInput) -> StopFact:
    """Stop the job with a savepoint; all that it wrote is committed, nothing of it is left open on Kafka.

    Raises:
        SavepointFailed: Flink could not take the savepoint. ``details['job_state']``: ``RUNNING`` if the job goes on,
            ``CANCELED`` if it was ended.
        JobLost: the job has ended, or Flink has forgotten it, without a savepoint.
        MustHalt: the savepoint cannot be used, or its transactions cannot be committed any more.
        NoProgress, Unavailable: not decided within its bounds; call again.
        Superseded: another operation has the deployment; nothing more was done.

    """
    record = await run.tenure.read()
    stop_id = run.id(record, "stop")
    asked_at = utc_now()
    fresh = record.intent(stop_id) is None
    if fresh:
        record = await _open(run, record, stop_id, request.makes_way)
        if record.intent(stop_id) is None:
            return await _fact(run, record, asked_at)  # an operation before this one had begun to stop it
    intent = record.intent(stop_id)
    if not isinstance(intent, StopIntent):
        raise InvalidInput(f"the record of {record.deployment} has another intent in the place of {stop_id}")
    if intent.state is IntentState.OPEN:
        await pin(run, intent, await stop_or_end(run, intent, fresh=fresh))
        record = await run.tenure.read()
    elif intent.location is None:
        raise JobLost(f"the stop of job {intent.job_id} left no savepoint: {intent.note}")
    return await _fact(run, record, asked_at)


async def _open(run: Run, record: DeploymentRecord, stop_id: str, makes_way: MadeWay | None = None) -> DeploymentRecord:
    """What was begun before is resolved; then the intent, unless that has stopped the job already: then it is wanted
    stopped by whoever began it.
    """
    writer = record.writer
    if writer is None:
        raise JobLost(f"{record.deployment} has no job")
    record = await resolve(run, record, want=writer.artifact)
    writer = record.writer
    if writer is None:
        raise JobLost(f"{record.deployment} has no job")
    if record.pinned is not None and record.pinned.epoch == writer.epoch:
        return record
    stop = stop_intent(run, writer, stop_id, "stop").model_copy(update={"makes_way": makes_way})
    return await run.tenure.change("stop-open", run.n, lambda current: current.with_intents(stop))


async def _fact(run: Run, record: DeploymentRecord, asked_at: datetime) -> StopFact:
    """What the stop left: verified, committed, and nothing else of it open (X2, X15)."""
    pinned = record.pinned
    if pinned is None or record.writer is None or pinned.epoch != record.writer.epoch:
        raise JobLost(f"the stop of {record.deployment} left no savepoint")
    deadline = Deadline(f"verifying {pinned.location}", VERIFY_TIMEOUT_S)
    try:
        verified: Verified = await patiently(deadline, run, partial(verify, run.site.snapshots, pinned.location))
    except SnapshotError as error:
        raise MustHalt(f"the savepoint that the stop left cannot be used: {error.message}") from error
    await settle_after_stop(run, record, pinned.epoch, pinned.location, known_committed=pinned.committed)
    return StopFact(
        job_id=pinned.job_id,
        epoch=pinned.epoch,
        location=pinned.location,
        files=verified.files,
        size_bytes=verified.bytes,
        asked_at=asked_at,
        completed_at=pinned.at,
        output_ends=pinned.output_ends,
    )

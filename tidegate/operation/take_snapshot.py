"""A savepoint of a job that goes on (X2): it becomes a recovery point when its transactions are seen committed.

Flink tells sinks nothing of a plain savepoint: what it lists is committed with the next checkpoint. Until then the job
could die, those transactions be aborted, and a start from it would lose their outputs.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

from tidegate import names
from tidegate.driver.base import StopPhase
from tidegate.errors import (
    InvalidInput,
    JobLost,
    OperationFailed,
    Refused,
    SavepointFailed,
    Unavailable,
)
from tidegate.model.inputs import TAKE_SNAPSHOT, SnapshotInput
from tidegate.model.operation import Observation, Plan
from tidegate.model.record import DeploymentRecord, IntentState, SnapshotIntent, utc_now
from tidegate.model.steps import SnapshotFact, TakeSnapshotInput
from tidegate.operation.left import savepoints_below
from tidegate.operation.plan import assemble, refuse_if_held
from tidegate.operation.price import name_of
from tidegate.operation.resolve import close, replace_intent
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.snapshot.files import Verified, verify
from tidegate.snapshot.positions import kafka_positions
from tidegate.snapshot.sinks import committables
from tidegate.snapshot.word import Word, word_on

COMMIT_TIMEOUT_S = 120.0
TOLD_POSITIONS = 64


def plan_snapshot(asked: SnapshotInput, observed: Observation) -> Plan:
    """The steps that taking a snapshot will take.

    Raises:
        InvalidInput: no job runs.
        Held: another operation holds the deployment and its run is not closed; nobody asked to take over.
        Refused: something was begun and not finished; a runbook that may end jobs has to resolve that.

    """
    refuse_if_held(asked, observed)
    record, job = observed.record, observed.job
    if record.writer is None or job is None or job.state != "RUNNING":
        state = f", it is {job.state}" if job else ""
        raise InvalidInput(
            f"deployment: {asked.deployment} does not run{state}: there is nothing to take a snapshot of"
        )
    if record.open_intents():
        kinds = ", ".join(sorted({intent.kind for intent in record.open_intents()}))
        raise Refused(
            f"an operation before this one has begun and not finished: {kinds}",
            hint=f"finish it:  tidegate restore {asked.deployment}",
        )
    steps: list[tuple[str, str, str, bool]] = [
        ("observe", "read record, Flink, Kafka, S3", "nothing to undo", False),
        (
            "snapshot",
            f"take a {asked.format} savepoint of job {job.job_id[:8]}, which goes on",
            "nothing to undo",
            False,
        ),
        ("conclude", "report, release", "none", True),
    ]
    artifact = record.writer.artifact
    return assemble(asked.deployment, TAKE_SNAPSHOT, observed, artifact, artifact, steps, list(observed.warnings))


async def take_snapshot(run: Run, request: TakeSnapshotInput) -> SnapshotFact | None:
    """Take it, verify it, and wait until its transactions are seen committed. None if ``give_up`` was asked.

    Raises:
        SavepointFailed: Flink could not take it; the job goes on.
        JobLost: the job has ended, or Flink has forgotten it.
        OperationFailed: its transactions were not committed: it is no recovery point.
        NoProgress, Unavailable: not decided within its bounds.
        Superseded: another operation has the deployment.

    """
    record = await run.tenure.read()
    intent = record.intent(run.id(record, "snapshot"))
    if request.give_up:
        if isinstance(intent, SnapshotIntent) and intent.state is IntentState.OPEN:
            note = f"given up; what it leaves lies in {intent.directory}"
            await close(run, replace_intent(intent, IntentState.VOID, note))
        return None
    if intent is None:
        intent = _intent(run, record, request)
        fresh = intent
        await run.tenure.change("snapshot", run.n, lambda current: current.with_intents(fresh))
    if not isinstance(intent, SnapshotIntent):
        raise InvalidInput(f"the record of {record.deployment} has another intent in the place of {intent.id}")
    if intent.state is IntentState.VOID:
        raise SavepointFailed(f"the savepoint of this step was given up: {intent.note}")
    asked_at = utc_now()
    location = intent.location or await _taken(run, intent)
    fact = await _recovery_point(run, intent, location, asked_at)
    await close(run, intent.model_copy(update={"state": IntentState.DONE, "location": location, "note": "verified"}))
    return fact


def _intent(run: Run, record: DeploymentRecord, request: TakeSnapshotInput) -> SnapshotIntent:
    writer = record.writer
    if writer is None:
        raise JobLost(f"{record.deployment} has no job")
    intent_id = run.id(record, "snapshot")
    return SnapshotIntent(
        id=intent_id,
        step="snapshot",
        n=run.n,
        job_id=writer.job_id,
        epoch=writer.epoch,
        trigger_id=names.derive_id(intent_id, "trigger"),
        directory=names.taken_dir(run.site.savepoints, record.deployment, writer.epoch, intent_id),
        canonical=request.canonical,
    )


async def _taken(run: Run, intent: SnapshotIntent) -> str:
    """Bring the savepoint to its end, whoever asked for it first: the directory is this trigger's alone."""
    driver = run.site.driver
    deadline = Deadline(f"the savepoint of job {intent.job_id}", run.site.spec.prove.stop_timeout_s)
    posted = False
    while True:
        try:
            if not posted:
                if left := await savepoints_below(run, intent.directory.rstrip("/") + "/"):
                    return str(left[0].location)
                await driver.begin_snapshot(
                    intent.job_id,
                    trigger_id=intent.trigger_id,
                    directory=intent.directory,
                    canonical=intent.canonical,
                )
                posted = True
            found = await driver.poll_stop(intent.job_id, intent.trigger_id)
            match found.phase:
                case StopPhase.COMPLETED if found.location:
                    return found.location
                case StopPhase.FAILED | StopPhase.NOT_COMMITTED:
                    raise SavepointFailed(
                        f"Flink could not take a savepoint of job {intent.job_id}, which goes on: {found.message}",
                        details={"job_state": str(found.job_state)},
                    )
                case StopPhase.JOB_UNKNOWN:
                    raise JobLost(f"job {intent.job_id} has ended, or Flink has forgotten it: {found.message}")
                case StopPhase.UNKNOWN:
                    state = await driver.state(intent.job_id)
                    if state is None or state.terminal:
                        raise JobLost(f"job {intent.job_id} is {state or 'not known to Flink'}; it left no savepoint")
                    posted = False  # Flink has forgotten the trigger, not what it wrote: look, then ask again
                    await deadline.pause("Flink does not know the savepoint any more: asked again")
                case _:
                    run.say(phase="snapshot", waiting_for="savepoint")
                    await deadline.pause("in progress")
        except Unavailable as error:
            run.say(waiting_for=error.message[:300])
            if deadline.left_s <= 0:
                raise
            await deadline.pause(error.message[:300])


async def _recovery_point(run: Run, intent: SnapshotIntent, location: str, asked_at: datetime) -> SnapshotFact:
    """Verify it, and wait until every transaction that it lists is seen committed (X2, X3)."""
    site = run.site
    deadline = Deadline("the next checkpoint, which commits the snapshot's transactions", COMMIT_TIMEOUT_S)
    verified = await patiently(deadline, run, lambda: verify(site.snapshots, location))
    own = await patiently(deadline, run, lambda: committables(site.snapshots, verified.snapshot))
    ids = sorted({committable.transactional_id for committable in own})
    while own:
        states = await patiently(deadline, run, lambda: site.kafka.describe_transactions(ids))
        words = {one.transactional_id: word_on(states[one.transactional_id], one) for one in own}
        open_ids = [name for name, word in words.items() if word is Word.ONGOING]
        gone = {name: word for name, word in words.items() if not (word is Word.ONGOING or word.safe)}
        if gone:
            name, word = next(iter(gone.items()))
            raise OperationFailed(
                f"the savepoint at {location} is no recovery point: {len(gone)} of its transactions were not committed "
                f"by the next checkpoint ({name}: {word.value})",
                hint="take another one",
            )
        if not open_ids:
            break
        run.say(phase="snapshot", waiting_for=f"{len(open_ids)} transactions are committed with the next checkpoint")
        await deadline.pause(f"{len(open_ids)} transactions are open: {open_ids[0]}")
    positions = await _positions(run, deadline, verified)
    return SnapshotFact(
        location=location,
        name=name_of(location, intent.epoch),
        job_id=intent.job_id,
        epoch=intent.epoch,
        checkpoint_id=verified.metadata.checkpoint_id,
        canonical=intent.canonical,
        files=verified.files,
        size_bytes=verified.bytes,
        transactions=len(ids),
        positions=dict(list(positions.items())[:TOLD_POSITIONS]),
        partitions=len(positions),
        asked_at=asked_at,
        recovery_point_at=utc_now(),
    )


async def _positions(run: Run, deadline: Deadline, verified: Verified) -> dict[str, int]:
    found = await patiently(deadline, run, partial(kafka_positions, run.site.snapshots, verified.snapshot))
    by_name = {(topic, partition): at for positions in found.values() for (topic, partition), at in positions.items()}
    return {f"{topic}/{partition}": at for (topic, partition), at in sorted(by_name.items())}

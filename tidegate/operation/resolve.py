"""Finish or void what was begun and is not known to have ended, whoever began it (O5, O6).

A taker never waits for the owner of an intent. After this no intent is open but those that the caller keeps.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TypeVar

from tidegate import names
from tidegate.driver.base import BurnKind
from tidegate.errors import (
    InvalidInput,
    JobLost,
    NoProgress,
    OperationFailed,
    Refused,
    SavepointFailed,
    StartRejected,
    TidegateError,
)
from tidegate.model.record import (
    ArtifactRef,
    CancelIntent,
    DenyIntent,
    DeploymentRecord,
    IntentState,
    Pinned,
    SettleIntent,
    SlotMemory,
    SnapshotIntent,
    StartIntent,
    StopIntent,
    Writer,
    utc_now,
)
from tidegate.operation.excluding import exclude_superseded
from tidegate.operation.gone import gone_since
from tidegate.operation.move import halt_if_begun_elsewhere, lives_elsewhere
from tidegate.operation.note import counts_now, read_note, superseded_here
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.operation.settle import as_positions
from tidegate.operation.stop import Stopped, finish_stop
from tidegate.operation.submit import submit
from tidegate.snapshot.checkpoints import completed_checkpoints

T = TypeVar("T", StopIntent, StartIntent, CancelIntent, DenyIntent, SettleIntent, SnapshotIntent)

END_TIMEOUT_S = 120.0
MEMORY_S = 3.0
"""How long it is waited for what slots have: the job runs by then, and the record shall say so."""


async def resolve(
    run: Run, record: DeploymentRecord, *, want: ArtifactRef, keep: frozenset[str] = frozenset()
) -> DeploymentRecord:
    """Resolve every open intent but those in ``keep``. A start of ``want`` that is there is adopted.

    Raises:
        NoProgress, Unavailable: a part did not answer within its bound; call again.
        Superseded: another operation has the deployment.

    """
    if record.writer is not None:
        await counts_now(run, record, record.writer.epoch)  # whoever closed its start may have died before saying so
    for intent in record.open_intents():
        if intent.id in keep:
            continue
        run.say(phase="resolve", intent=intent.kind, epoch=intent.epoch)
        match intent:
            case StopIntent():
                record = await resolve_stop(run, intent)
            case StartIntent():
                record = await _resolve_start(run, record, intent, want)
            case CancelIntent():
                record = await end_job(run, intent)
            case DenyIntent():
                record = await deny(run, intent)
            case SettleIntent():
                # Settling is decided anew from the world; what it began cannot be harmed by doing it again.
                record = await close(run, replace_intent(intent, IntentState.VOID, "settled anew by the next owner"))
            case SnapshotIntent():
                note = f"nobody waits for it any more; what it leaves lies in {intent.directory}"
                record = await close(run, replace_intent(intent, IntentState.VOID, note))
    # Nor does anybody do the step again that would have said it to readers, once it was taken over.
    await exclude_superseded(run, await superseded_here(run, record))
    return record


def replace_intent(intent: T, state: IntentState, note: str) -> T:
    """The intent, closed."""
    return intent.model_copy(update={"state": state, "note": note})


async def close(
    run: Run, *closed: StopIntent | StartIntent | CancelIntent | DenyIntent | SettleIntent | SnapshotIntent
) -> DeploymentRecord:
    """Close these intents in one swap."""
    return await run.tenure.change("close", run.n, lambda record: record.closing(*closed))


async def resolve_stop(run: Run, intent: StopIntent) -> DeploymentRecord:
    """Finish a stop, and pin what it left. Without a savepoint the job is ended: its epoch is dead (O5)."""
    try:
        stopped = await finish_stop(run, intent)
    except SavepointFailed as error:
        if error.details.get("job_state") in {"FAILED", "CANCELED", "FINISHED"}:
            return await close(run, replace_intent(intent, IntentState.DONE, error.message[:500]))
        # A copy of this stop may still be under way, so the job can never be trusted to run on: it is ended.
        await cancel_job(run, await run.tenure.read(), intent.job_id, intent.epoch)
        return await close(run, replace_intent(intent, IntentState.VOID, f"ended instead: {error.message[:400]}"))
    except JobLost as error:
        return await close(run, replace_intent(intent, IntentState.DONE, error.message[:500]))
    record, _ = await pin(run, intent, stopped)
    return record


async def pin(run: Run, intent: StopIntent, stopped: Stopped) -> tuple[DeploymentRecord, bool]:
    """Close the stop and pin its savepoint, with the ends of the output logs as they are now.

    Also whether it was this call that closed it: no twin has come further then.
    """
    deadline = Deadline("the ends of the output topics", END_TIMEOUT_S)
    ends = await patiently(deadline, run, lambda: run.site.kafka.end_offsets(run.site.output_topics))
    pinned = pinned_by(intent, stopped, as_positions(ends))
    closed = intent.model_copy(update={"state": IntentState.DONE, "location": stopped.location})
    record = await run.tenure.change("close-stop", run.n, partial(_pin, closed=closed, pinned=pinned))
    return record, run.tenure.wrote


def _pin(record: DeploymentRecord, *, closed: StopIntent, pinned: Pinned) -> DeploymentRecord:
    known = record.intent(closed.id)
    if known is None or known.state is not IntentState.OPEN:
        return record
    kept = pinned.model_copy(update={"stale_state_of": record.stale_state_of})
    return record.closing(closed).model_copy(update={"pinned": kept})


def pinned_by(intent: StopIntent, stopped: Stopped, output_ends: dict[str, int]) -> Pinned:
    """What a finished stop pins."""
    return Pinned(
        location=stopped.location,
        epoch=intent.epoch,
        job_id=intent.job_id,
        artifact=intent.artifact,
        parallelism=intent.parallelism,
        output_ends=output_ends,
        committed=stopped.committed,
        at=utc_now(),
        made_way=intent.makes_way,
    )


async def _resolve_start(
    run: Run, record: DeploymentRecord, intent: StartIntent, want: ArtifactRef
) -> DeploymentRecord:
    """A start: adopt the job, end it, or make sure that it can never come (O6)."""
    halt_if_begun_elsewhere(record, intent, run.site.region)
    dead = intent.epoch in record.denied_epochs or any(
        isinstance(other, CancelIntent | DenyIntent) and other.epoch == intent.epoch for other in record.intents
    )
    deadline = Deadline(f"Flink's word on job {intent.job_id}", END_TIMEOUT_S)
    state = await patiently(deadline, run, lambda: run.site.driver.state(intent.job_id))
    if state is not None and state.terminal:
        return await close_ended(run, record, intent, f"ended: {state.value}")
    if state is None:
        return await _prevent(run, record, intent)
    snapshot = snapshot_of(record, intent)
    startable = snapshot is not None or intent.from_empty
    if intent.artifact.sha256 == want.sha256 and startable and not dead:
        try:
            await submit(run, intent, snapshot, fresh=False)
        except (StartRejected, NoProgress) as error:
            run.say(phase="resolve", found=error.message[:300])
        except JobLost:
            return await close_ended(run, record, intent, "it ran, and Flink forgot it")
        else:
            return await started(run, intent, snapshot, await _base_of(run, record, intent))
    await cancel_job(run, record, intent.job_id, intent.epoch)
    return await close_ended(run, record, intent, "cancelled")


async def close_ended(run: Run, record: DeploymentRecord, intent: StartIntent, note: str) -> DeploymentRecord:
    """Close a start whose job has ended, after it has run or not.

    One that was the first in another region, and has committed there, was the writer all the same: from then on that is
    where the deployment lives, and no other region may go on from before it (I1, X24).
    """
    if lives_elsewhere(record, intent.region) and await completed_checkpoints(
        run.site.snapshots, run.site.checkpoints, intent.job_id
    ):
        return await started(run, intent, snapshot_of(record, intent), await _base_of(run, record, intent))
    return await close(run, replace_intent(intent, IntentState.DONE, note))


async def _base_of(run: Run, record: DeploymentRecord, intent: StartIntent) -> Pinned | None:
    """What a start that is adopted goes from: written down by whoever decided it; after a stop, what that pinned."""
    if intent.after_stop is not None:
        return None
    return (await read_note(run, names.manifest_key(record.deployment, intent.id))).base


def snapshot_of(record: DeploymentRecord, intent: StartIntent) -> str | None:
    """The snapshot that a start goes from: its own, or the savepoint of the stop that it follows, once there is one."""
    if intent.after_stop is None:
        return intent.snapshot
    stop = record.intent(intent.after_stop)
    return stop.location if isinstance(stop, StopIntent) else None


async def _prevent(run: Run, record: DeploymentRecord, intent: StartIntent) -> DeploymentRecord:
    """Flink does not know the job. Either it ran and was forgotten, or its submit may still be on the way."""
    deadline = Deadline(f"the checkpoints of job {intent.job_id}", END_TIMEOUT_S)
    ran = await patiently(
        deadline, run, lambda: completed_checkpoints(run.site.snapshots, run.site.checkpoints, intent.job_id)
    )
    if await shut_out(run, intent.job_id, intent.epoch, intent.artifact, intent.parallelism):
        return await close_ended(run, record, intent, "it came late, and was cancelled")
    if ran:
        return await close_ended(run, record, intent, "it ran, and Flink forgot it")
    return await close(run, replace_intent(intent, IntentState.VOID, "burned: it can never start"))


async def shut_out(run: Run, job_id: str, epoch: int, artifact: ArtifactRef, parallelism: int) -> bool:
    """Make sure that a job which Flink does not know can commit nothing, whenever it comes. True: it came meanwhile.

    It may come by a submit that is on its way, or because high availability has not recovered it yet. A burn counts
    within one JobManager incarnation only (O6), a DENY for ever; where no job runs it has no price (X14).
    """
    record = await deny_epoch(run, epoch)
    if not await _burn(run, job_id, epoch, artifact, parallelism):
        return False
    await cancel_job(run, record, job_id, epoch)
    return True


async def _burn(run: Run, job_id: str, epoch: int, artifact: ArtifactRef, parallelism: int) -> bool:
    """Use up the job's id. True: the job is there and has not ended, so it must be cancelled.

    Where a burn cannot be had (no slot to plan with, an artifact that builds no job graph) the DENY stands alone (O6).
    """
    site = run.site
    deadline = Deadline(f"burning job {job_id}", END_TIMEOUT_S)
    try:
        file = await site.artifact_file(artifact)
        prepared = await patiently(
            deadline,
            run,
            lambda: site.driver.prepare(
                file, entry_class=site.spec.entry_class, args=site.args(epoch), parallelism=parallelism
            ),
        )
        burned = await patiently(deadline, run, lambda: site.driver.burn(job_id, prepared, args=site.args(epoch)))
    except (OperationFailed, InvalidInput, Refused) as error:
        run.say(phase="resolve", not_burned=error.message[:300])
        return False
    return burned.kind is BurnKind.EXISTS and not burned.state.terminal


async def cancel_job(run: Run, record: DeploymentRecord, job_id: str, epoch: int) -> DeploymentRecord:
    """Cancel a job under an intent of its own, and wait until it has ended."""
    cancel = CancelIntent(id=run.id(record, f"cancel-{job_id}"), step="cancel", n=run.n, job_id=job_id, epoch=epoch)
    await run.tenure.change("cancel", run.n, lambda current: current.with_intents(cancel))
    return await end_job(run, cancel)


async def end_job(run: Run, intent: CancelIntent) -> DeploymentRecord:
    """Cancel a job and wait until it has ended; its retained checkpoints stay. One that Flink forgot is shut out."""
    driver = run.site.driver
    deadline = Deadline(f"the end of job {intent.job_id}", END_TIMEOUT_S)
    while True:
        state = await patiently(deadline, run, lambda: driver.state(intent.job_id))
        if state is None:
            await deny_epoch(run, intent.epoch)
            return await close(run, replace_intent(intent, IntentState.DONE, "forgotten by Flink, and shut out"))
        if state.terminal:
            return await close(run, replace_intent(intent, IntentState.DONE, state.value))
        if state.value != "CANCELLING":
            await patiently(deadline, run, lambda: driver.cancel(intent.job_id))
        await deadline.pause(f"job {intent.job_id} is {state.value}")


async def deny_epoch(run: Run, epoch: int) -> DeploymentRecord:
    """Shut an epoch out on Kafka under an intent of its own."""
    record = await run.tenure.read()
    if epoch in record.denied_epochs:
        return record
    denied = DenyIntent(
        id=run.id(record, f"deny-{epoch}"),
        step="deny",
        n=run.n,
        epoch=epoch,
        principal=run.site.spec.principal,
        prefixes=run.site.prefixes(epoch),
    )
    await run.tenure.change("deny", run.n, lambda current: current.with_intents(denied))
    return await deny(run, denied)


async def deny(run: Run, intent: DenyIntent) -> DeploymentRecord:
    """Shut an epoch out on Kafka, and write down that it is (X14). Never lifted."""
    deadline = Deadline(f"a DENY on the prefixes of epoch {intent.epoch}", END_TIMEOUT_S)
    for prefix in intent.prefixes:
        await patiently(
            deadline,
            run,
            partial(run.site.kafka.deny_transactional_prefix, f"User:{intent.principal}", prefix),
        )

    def denied(record: DeploymentRecord) -> DeploymentRecord:
        epochs = tuple(sorted({*record.denied_epochs, intent.epoch}))
        return record.closing(replace_intent(intent, IntentState.DONE, "denied")).model_copy(
            update={"denied_epochs": epochs}
        )

    return await run.tenure.change("deny-done", run.n, denied)


def went_back(run: Run, old: ArtifactRef, new: ArtifactRef) -> bool:
    """Whether ``new`` is the one to go back to from ``old``: declared to read its state, and not the other way round.

    Then ``new`` carries state along that only ``old`` knows, and that stands still from now on (X27).
    """
    artifacts = run.site.spec.artifacts
    reads_old = old.name in artifacts and new.name in artifacts[old.name].readable_by
    return reads_old and not (new.name in artifacts and old.name in artifacts[new.name].readable_by)


async def slots_have(run: Run) -> SlotMemory | None:
    """What the slots here have, for whom it must compare when this region is gone. No start fails for want of it."""
    try:
        return await asyncio.wait_for(run.site.driver.slot_memory(), MEMORY_S)
    except (TimeoutError, TidegateError) as error:
        run.say(slot_memory=f"not known: {error or 'no answer'}"[:300])
        return None


async def started(run: Run, intent: StartIntent, snapshot: str | None, base: Pinned | None) -> DeploymentRecord:
    """Close a start whose job runs: it is the writer now."""
    writer = Writer(
        region=intent.region,
        cell=intent.cell,
        job_id=intent.job_id,
        epoch=intent.epoch,
        artifact=intent.artifact,
        parallelism=intent.parallelism,
        started_from=snapshot,
        since=utc_now(),
    )

    def change(record: DeploymentRecord) -> DeploymentRecord:
        known = record.intent(intent.id)
        if known is None or known.state is not IntentState.OPEN:
            return record
        origin = base or (record.pinned if record.pinned and record.pinned.location == snapshot else record.base)
        from_other = origin is not None and origin.artifact.sha256 != intent.artifact.sha256
        newer = record.pinned is not None and origin is not None and origin.epoch > record.pinned.epoch
        stale = record.stale_state_of
        if from_other and origin is not None and (newer or went_back(run, origin.artifact, intent.artifact)):
            stale = origin.artifact
        elif from_other:
            stale = None  # what stood still, if anything did, has been taken up: the plan asked for a word on that
        elif origin is not None and record.pinned is not None and origin.epoch == record.pinned.epoch:
            stale = record.pinned.stale_state_of  # as it was before the upgrade that did not hold
        closed = replace_intent(intent, IntentState.DONE, "runs")
        crossed = base.edited_of or base.location if base is not None else snapshot
        update = {
            "writer": writer,
            "base": origin,
            "stale_state_of": stale,
            "gone": gone_since(record, intent.region, crossed),
        }
        if lives_elsewhere(record, intent.region):
            update["pinned"] = origin  # the stop's savepoint lies elsewhere; here its copy is what it went on from
        return record.closing(closed).model_copy(update=update)

    record = await run.tenure.change("started", run.n, change)
    if record.writer == writer:
        await counts_now(run, record, writer.epoch)
        record = await _in_slots(run, record, writer)
    return record


async def _in_slots(run: Run, record: DeploymentRecord, writer: Writer) -> DeploymentRecord:
    """Say in which slots it was started. After it has become the writer: until then nobody knows of it, and what is
    open of its job would be ended by whoever comes.
    """
    memory = await slots_have(run)
    if memory is None:
        return record
    kept = writer.model_copy(update={"slot_memory": memory})

    def change(known: DeploymentRecord) -> DeploymentRecord:
        return known.model_copy(update={"writer": kept}) if known.writer == writer else known

    return await run.tenure.change("slots", run.n, change)

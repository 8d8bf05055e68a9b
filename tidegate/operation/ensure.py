"""Make an artifact run, from wherever things stand (O8): the only undo, the way on after a loss, and the first start.

One re-entrant machine over record and world. Each line may be the last of a process, and each may run twice.
"""

from __future__ import annotations

from functools import partial

from tidegate import names
from tidegate.clients.kafka_types import TopicPartition
from tidegate.clients.objects import S3Uri
from tidegate.errors import InvalidInput, JobLost, MustHalt, NoProgress, StartRejected
from tidegate.mirror.link import parse_partition
from tidegate.model.operation import ReplayRange
from tidegate.model.record import (
    DeploymentRecord,
    IntentState,
    Pinned,
    SettleIntent,
    StartIntent,
    Writer,
    starts_of,
    utc_now,
)
from tidegate.model.steps import EnsureFact, EnsureInput, StartFact
from tidegate.operation.choose import Choice, choose
from tidegate.operation.excluding import exclude_superseded
from tidegate.operation.move import lives_elsewhere
from tidegate.operation.note import EnsureNote, counts_now, read_note, write_note
from tidegate.operation.resolve import cancel_job, close_ended, replace_intent, resolve, shut_out, started
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.operation.settle import Settled, settle
from tidegate.operation.submit import submit
from tidegate.operation.weigh import weigh
from tidegate.points.superseded import OutputEnd, superseded
from tidegate.snapshot.edit import drop_sink_state, place_copy
from tidegate.snapshot.files import verify

_GAVE_UP = "it did not hold, and was ended"


async def ensure_running(run: Run, request: EnsureInput) -> EnsureFact:
    """Resolve what is open, wait for a terminal answer, choose the snapshot, settle, start (O8).

    Raises:
        MustHalt: no safe step is left without a person.
        StartRejected, NoProgress: the artifact could not be started; nothing of it runs that could commit.
        Superseded: another operation has the deployment; nothing more was done.
        Unavailable: a part did not answer within its bound; call again.

    """
    record = await run.tenure.read()
    start_id = run.id(record, "ensure-start")
    mine = record.intent(start_id)
    if mine is None:
        record = await resolve(run, record, want=request.artifact)
        running = await _running_writer(run, record)
        wanted = request.restore is None or (running is not None and running.epoch > request.restore.until_epoch)
        if running is not None and wanted and running.artifact.sha256 == request.artifact.sha256:
            return await _ran_already(run, record, running)
        if running is not None:
            await cancel_job(run, record, running.job_id, running.epoch)
        record = await _prepare_start(run, await run.tenure.read(), request, start_id)
        mine = record.intent(start_id)
    else:
        record = await resolve(run, record, want=request.artifact, keep=frozenset({start_id}))
    if not isinstance(mine, StartIntent):
        raise InvalidInput(f"the record of {record.deployment} has another intent in the place of {start_id}")
    manifest = names.manifest_key(record.deployment, start_id)
    note = await read_note(run, manifest)
    if mine.state is IntentState.OPEN:
        try:
            # Never as if it were new: a twin may have opened the intent, or found it and gone further (X9, O16).
            submitted = await submit(run, mine, mine.snapshot, fresh=False)
        except (StartRejected, NoProgress):
            record = await _give_up(run, record, mine)
            raise
        record = await started(run, mine, mine.snapshot, note.base)
        start = StartFact(
            job_id=mine.job_id,
            epoch=mine.epoch,
            artifact=mine.artifact,
            snapshot=mine.snapshot,
            submitted_at=submitted.submitted_at,
            running_at=submitted.running_at,
        )
    elif record.writer is not None and record.writer.job_id == mine.job_id:
        start = _fact_of(record.writer)
    elif mine.note == _GAVE_UP:
        raise StartRejected(f"job {mine.job_id} of this step has ended: {mine.note}", details={"job_id": mine.job_id})
    else:
        raise JobLost(f"job {mine.job_id} of this step has ended: {mine.note}")
    # For readers who go by the lineage. Done by every attempt of this step: one that died here is finished by the next.
    await exclude_superseded(run, note.superseded)
    return EnsureFact(
        start=start,
        was_running=False,
        replay=note.superseded,
        manifest=manifest if note.superseded else None,
        settled_committed=note.committed,
        settled_ended=note.ended,
        lost=note.lost,
        notes=(note.why,) if note.why else (),
    )


async def _ran_already(run: Run, record: DeploymentRecord, running: Writer) -> EnsureFact:
    """What was announced before its start holds for whoever finds it, too: also who took over asks readers to skip it.

    Of a start that an operation before this one made, and gave back, nothing is said: it stands in that one's report.
    """
    start = next((one for one in starts_of(record.intents) if one.job_id == running.job_id), None)
    if start is None or start.after_stop is not None:
        return EnsureFact(start=_fact_of(running), was_running=True, notes=("it ran already",))
    manifest = names.manifest_key(record.deployment, start.id)
    note = await read_note(run, manifest)
    return EnsureFact(
        start=_fact_of(running),
        was_running=True,
        replay=note.superseded,
        manifest=manifest if note.superseded else None,
        notes=tuple(one for one in ("it ran already", note.why) if one),
    )


def _fact_of(writer: Writer) -> StartFact:
    return StartFact(
        job_id=writer.job_id,
        epoch=writer.epoch,
        artifact=writer.artifact,
        snapshot=writer.started_from,
        submitted_at=writer.since,
        running_at=writer.since,
    )


async def _running_writer(run: Run, record: DeploymentRecord) -> Writer | None:
    """The writer if Flink has it, it has not ended and may commit. Stops and cancels of it are resolved before.

    One that Flink does not know, and that was not seen stopped, is shut out: it may come back (X14).
    """
    writer = record.writer
    if writer is None or lives_elsewhere(record, run.site.region):
        return None  # of another region's: whether it may be gone on from here is decided with the choice (I1)
    deadline = Deadline(f"Flink's word on job {writer.job_id}", 120.0)
    state = await patiently(deadline, run, lambda: run.site.driver.state(writer.job_id))
    if state is None:
        if record.pinned is None or record.pinned.epoch != writer.epoch:
            await shut_out(run, writer.job_id, writer.epoch, writer.artifact, writer.parallelism)
        return None
    if state.terminal:
        return None
    if writer.epoch in record.denied_epochs:
        await cancel_job(run, record, writer.job_id, writer.epoch)
        return None
    return writer


async def _give_up(run: Run, record: DeploymentRecord, mine: StartIntent) -> DeploymentRecord:
    """A start that did not hold is ended, so that nothing of it can commit; its epoch is not used again."""
    await cancel_job(run, record, mine.job_id, mine.epoch)
    return await close_ended(run, record, mine, _GAVE_UP)


async def _prepare_start(run: Run, record: DeploymentRecord, request: EnsureInput, start_id: str) -> DeploymentRecord:
    """Choose, settle, say what will come twice, and only then the intent to start (X15, X26).

    ``record`` is read anew. If the intent stands in it by now, another attempt of this step was quicker: what is open
    of the newest epoch is its job's, and nothing of it is settled here (O16).
    """
    if record.intent(start_id) is not None:
        return record
    choice = await choose(run, record, request)
    if choice.location is None and lives_elsewhere(record, run.site.region):
        # It has state, in another region: nothing here says from which copy of it (I3).
        raise MustHalt(
            f"{record.deployment} ran last in {record.writer and record.writer.region}, and nothing says from which "
            f"copy it shall go on in {run.site.region}",
            hint=f"tidegate failover deployment {record.deployment} --to {run.site.region}",
        )
    run.say(phase="settle", snapshot=choice.location or "empty state", why=choice.why)
    intent = SettleIntent(
        id=run.id(record, "settle"),
        step="settle",
        n=run.n,
        epoch=record.epoch,
        snapshot=choice.location,
        replay_from=choice.output_ends if choice.replay else None,
        by_name=choice.by_name,
    )
    record = await run.tenure.change("settle", run.n, lambda current: current.with_intents(intent))
    if choice.epoch is not None:
        await counts_now(run, record, choice.epoch)
    weighed = await weigh(run, choice, request.restore)
    settled = await settle(
        run, record, intent, known_committed=choice.known_committed, dropped=frozenset(weighed.dropped)
    )
    replay = weighed.again or await _what_comes_again(run, choice, settled) or await _superseded(run, record, choice)
    location = await _startable(run, record, choice, settled, start_id)
    base = _base(record, choice, location, settled)
    await write_note(
        run,
        names.manifest_key(record.deployment, start_id),
        EnsureNote(
            superseded=replay,
            region=run.site.region,
            committed=len(settled.committed),
            ended=len(settled.ended),
            lost=weighed.lost,
            why=choice.why,
            base=base,
        ),
    )

    def change(current: DeploymentRecord) -> DeploymentRecord:
        if current.intent(start_id) is not None:
            return current
        epoch = current.epoch + 1
        start = StartIntent(
            id=start_id,
            step="ensure",
            n=run.n,
            job_id=names.derive_id(start_id, epoch),
            epoch=epoch,
            region=run.site.region,
            cell=run.site.cell,
            artifact=request.artifact,
            parallelism=request.parallelism,
            snapshot=location,
            from_empty=location is None,
        )
        closed = current.closing(replace_intent(intent, IntentState.DONE, f"settled for {choice.location}"))
        return closed.with_intents(start).model_copy(update={"epoch": epoch})

    return await run.tenure.change("ensure-start", run.n, change)


def _base(record: DeploymentRecord, choice: Choice, location: str | None, settled: Settled) -> Pinned | None:
    """What the job is about to start from, as the record will keep it."""
    if location is None or choice.written_by is None or choice.epoch is None:
        return None
    known = next((p for p in (record.base, record.pinned) if p is not None and p.location == choice.location), None)
    job_id = known.job_id if known else _job_of(record, choice.epoch)
    return Pinned(
        location=location,
        epoch=choice.epoch,
        job_id=job_id,
        artifact=choice.written_by,
        parallelism=known.parallelism if known else record.writer.parallelism if record.writer else 1,
        output_ends=(known.output_ends if known and choice.replay else settled.ends),
        committed=True,
        at=utc_now(),
        edited_of=choice.location if location != choice.location else known.edited_of if known else None,
    )


def _job_of(record: DeploymentRecord, epoch: int) -> str:
    if record.writer is not None and record.writer.epoch == epoch:
        return record.writer.job_id
    for intent in record.intents:
        if isinstance(intent, StartIntent) and intent.epoch == epoch:
            return intent.job_id
    return ""


async def _startable(run: Run, record: DeploymentRecord, choice: Choice, settled: Settled, start_id: str) -> str | None:
    """The snapshot itself, or a copy without the sinks' state where that would be tried in vain (X3, X15)."""
    if choice.location is None:
        return None
    if choice.epoch not in record.denied_epochs and not settled.forgotten:
        return choice.location
    location = choice.location
    deadline = Deadline("an edited copy of the snapshot", 60.0)
    verified = await patiently(deadline, run, lambda: verify(run.site.snapshots, location))
    edited, dropped = drop_sink_state(verified.metadata.data)
    run.say(phase="settle", dropped=str(dropped)[:500])
    target = S3Uri.parse(run.site.savepoints).join(record.deployment, f"copy-{start_id}")
    return str(
        await patiently(deadline, run, lambda: place_copy(run.site.snapshots, verified.snapshot, target, edited))
    )


async def _superseded(run: Run, record: DeploymentRecord, choice: Choice) -> tuple[ReplayRange, ...]:
    """X21: what crossed of the lost region's output beyond the recovery point; the new job writes it again."""
    left, writer = choice.left, record.writer
    if left is None or writer is None or choice.output_ends is None:
        return ()
    ends = {parse_partition(name): OutputEnd(end, left.later.get(name, ())) for name, end in choice.output_ends.items()}
    deadline = Deadline("finding what of the old region's output is superseded", 120.0)
    return await patiently(deadline, run, lambda: superseded(run.site, writer.region, ends))


async def _what_comes_again(run: Run, choice: Choice, settled: Settled) -> tuple[ReplayRange, ...]:
    """X26: committed records from the stop's end to the last stable offset, by output partition."""
    if not choice.replay or choice.output_ends is None:
        return ()
    found = []
    deadline = Deadline("counting what will be repeated", 60.0)
    for position, end in settled.ends.items():
        topic, _, partition = position.rpartition("/")
        first = choice.output_ends.get(position, 0)
        if end <= first:
            continue
        at = TopicPartition(topic, int(partition))
        counted = await patiently(deadline, run, partial(run.site.kafka.committed_data_count, at, first, end))
        if counted.undecided:
            raise MustHalt(
                f"{counted.undecided} records of {position} are in transactions that have not ended, after settling: "
                f"what comes again cannot be counted",
                hint="resume the operation; it settles again",
            )
        found.append(
            ReplayRange(topic=topic, partition=int(partition), first=first, last=end - 1, records=counted.count)
        )
    return tuple(found)

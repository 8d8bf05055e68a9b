"""Which snapshot does an artifact go on from, and what would come twice (X26, X27)?

Decided only when no job of the deployment can commit any more, from the checkpoint directories, not from REST.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from tidegate.clients.kafka_types import TxnState
from tidegate.clients.objects import S3Uri
from tidegate.errors import InvalidInput, MustHalt, SnapshotError
from tidegate.model.record import (
    ArtifactRef,
    DeploymentRecord,
    IntentState,
    Left,
    Pinned,
    SettleIntent,
    StartIntent,
    starts_of,
)
from tidegate.model.steps import EnsureInput
from tidegate.operation.appraise import artifact_of
from tidegate.operation.beside import refuse_disturbing
from tidegate.operation.cross import crossing_at
from tidegate.operation.left import savepoints_of, snapshots_of
from tidegate.operation.move import lives_elsewhere, stopped
from tidegate.operation.price import epoch_of, name_of
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.snapshot.files import verify


@dataclass(frozen=True)
class Choice:
    """A snapshot, or none. ``replay``: committed output after it will come again, from ``output_ends`` on."""

    location: str | None
    epoch: int | None
    written_by: ArtifactRef | None
    known_committed: bool = False
    replay: bool = False
    restored: bool = False
    """It was chosen by a restore: what comes again is told by the output logs, and accepted by name or not."""
    by_name: bool = False
    """A person named it: nobody else goes on from it in silence."""
    output_ends: dict[str, int] | None = None
    left: Left | None = None
    """Its region was lost: output that crossed beyond ``output_ends`` is superseded by the start (X21)."""
    why: str = ""


@dataclass(frozen=True)
class _Ran:
    """An epoch that may have committed output. ``final``: the snapshot it ended with, if that is known."""

    epoch: int
    job_id: str
    artifact: ArtifactRef
    final: Pinned | None = None


async def choose(run: Run, record: DeploymentRecord, request: EnsureInput) -> Choice:
    """The newest snapshot that is exact for ``request.artifact``; else an older one of known ends, with a replay.

    Raises:
        MustHalt: there is state, and none of it can be used: to go on from older or empty state needs a person (I3).
        InvalidInput: the input's ``snapshot`` or ``from_empty`` contradicts what is there.
        Refused: the input's ``snapshot`` would disturb the deployment that wrote it (X12).
        Unavailable: S3 did not answer.

    """
    if lives_elsewhere(record, run.site.region):
        return await _across(run, record, request)
    readable = {request.artifact.sha256, *request.readable_from}
    unreadable: _Ran | None = None
    restore = request.restore
    for ran in _newest_first(record):
        if restore is not None and restore.snapshot is not None and ran.epoch <= restore.until_epoch:
            return await _restored(run, record, request, restore.snapshot)
        location = ran.final.location if ran.final else await _newest_usable(run, record, ran)
        if location is None:
            await _refuse_if_committed(run, ran)
            continue
        if unreadable is None:
            _refuse_own_choice(request, location)
        if ran.artifact.sha256 not in readable:
            unreadable = unreadable or ran
        elif unreadable is None:
            return Choice(
                location,
                ran.epoch,
                ran.artifact,
                known_committed=bool(ran.final and ran.final.committed),
                output_ends=ran.final.output_ends if ran.final else None,
                why=_describe(ran),
                restored=restore is not None and ran.epoch <= restore.until_epoch,
            )
        elif ran.final is not None:
            return _with_replay(request, ran, ran.final, unreadable)
    if unreadable is not None:
        raise MustHalt(
            f"{request.artifact.name} cannot read the state of {unreadable.artifact.name} (epoch {unreadable.epoch}), "
            f"and there is no savepoint of an earlier artifact that it can read",
            hint="declare it if it can: artifacts.<name>.readable_by in the fleet file",
        )
    return await _from_outside(run, record, request)


async def _restored(run: Run, record: DeploymentRecord, request: EnsureInput, location: str) -> Choice:
    """The snapshot that a restore has chosen, older than the newest or not; its price is weighed after this."""
    verified = await verify(run.site.snapshots, location)
    known = next((k for k in (record.base, record.pinned) if k is not None and k.location == location), None)
    epoch = known.epoch if known else await epoch_of(run.site, verified.snapshot)
    if epoch is None:
        raise MustHalt(f"nothing in {location} says which job of {record.deployment} wrote it")
    wrote = artifact_of(record, epoch) or request.artifact
    if wrote.sha256 not in {request.artifact.sha256, *request.readable_from}:
        raise MustHalt(f"{request.artifact.name} is not declared to read the state of {wrote.name} (epoch {epoch})")
    return Choice(
        location,
        epoch,
        wrote,
        known_committed=bool(known and known.committed),
        why=f"{name_of(location, epoch)} ({wrote.name}), as was asked",
        restored=True,
        by_name=True,
    )


async def _across(run: Run, record: DeploymentRecord, request: EnsureInput) -> Choice:
    """The copy of its stop's savepoint, in another region; without one that was asked for nothing is started here."""
    restore, pinned = request.restore, record.pinned
    if restore is None or restore.snapshot is None:
        return Choice(None, None, None, why="nothing of it has run here")
    location = restore.snapshot
    if not stopped(record) or pinned is None:
        raise MustHalt(f"{record.deployment} was not seen to end where it ran last: nothing may be started here (I1)")
    deadline = Deadline(f"what stands against {location}", 120.0)
    found = await patiently(deadline, run, lambda: crossing_at(run.site, record, location))
    if found.problem:
        raise MustHalt(f"{found.location} cannot be used in {run.site.region}: {found.problem}")
    if pinned.artifact.sha256 not in {request.artifact.sha256, *request.readable_from}:
        raise MustHalt(f"{request.artifact.name} is not declared to read the state of {pinned.artifact.name}")
    return Choice(
        found.location,
        pinned.epoch,
        pinned.artifact,
        known_committed=True,
        by_name=True,
        output_ends=pinned.output_ends,
        left=pinned.left,
        why=f"copy of {found.original}, rebased for {run.site.region}",
    )


def _describe(ran: _Ran) -> str:
    what = "savepoint" if ran.final else "newest completed checkpoint"
    return f"{what} of epoch {ran.epoch} ({ran.artifact.name})"


def _with_replay(request: EnsureInput, ran: _Ran, final: Pinned, unreadable: _Ran) -> Choice:
    if request.on_unreadable_state == "halt":
        raise MustHalt(
            f"{unreadable.artifact.name} (epoch {unreadable.epoch}) has committed output and {request.artifact.name} "
            f"cannot read its state; going back to {final.location} would repeat that output",
            hint="to go on with a replay and its manifest, start the runbook with on_unreadable_state: replay",
        )
    return Choice(
        final.location,
        ran.epoch,
        ran.artifact,
        known_committed=final.committed,
        replay=True,
        output_ends=final.output_ends,
        why=f"{_describe(ran)}; {request.artifact.name} cannot read the state of {unreadable.artifact.name}",
    )


def _newest_first(record: DeploymentRecord) -> list[_Ran]:
    """The epochs whose output counts, newest first. Of an epoch that was stopped only its last snapshot counts.

    What lies between the writer and the epoch that it began from is superseded: its output was announced as such when
    the writer was started (X26), so nothing may go on from there.
    """
    found: dict[int, _Ran] = {}
    if record.writer is not None:
        found[record.writer.epoch] = _Ran(record.writer.epoch, record.writer.job_id, record.writer.artifact)
    for start in starts_of(record.intents):
        if start.state is not IntentState.VOID:
            found[start.epoch] = _Ran(start.epoch, start.job_id, start.artifact)
    for final in (record.base, record.pinned):
        if final is not None:
            found[final.epoch] = _Ran(final.epoch, final.job_id, final.artifact, final)
    began = (record.base.epoch if record.base else 0, record.writer.epoch if record.writer else 0)
    return [found[epoch] for epoch in sorted(found, reverse=True) if not began[0] < epoch < began[1]]


async def _newest_usable(run: Run, record: DeploymentRecord, ran: _Ran) -> str | None:
    """Location of the job's last completed snapshot, verified; None if it never completed one.

    Where transactions have been settled for a snapshot of this job, it is that one: later ones are void, also if their
    ``_metadata`` has come to light since (X15). An older one of the same job is not taken in silence: what was
    committed after it would come twice.
    """
    completed = await snapshots_of(run, ran.job_id, ran.epoch)
    if not completed:
        return None
    settled = {intent.snapshot for intent in record.intents if isinstance(intent, SettleIntent) and not intent.by_name}
    newest = next((found for found in completed if str(found.location) in settled), completed[0])
    try:
        await verify(run.site.snapshots, newest.location)
    except SnapshotError as error:
        raise MustHalt(
            f"the newest snapshot of epoch {ran.epoch} cannot be used: {error.message}",
            hint=f"look at {newest.location}; {len(completed) - 1} older ones are there, and a start from "
            "one of them would repeat output that was committed after it",
            details=error.details,
        ) from error
    return str(newest.location)


async def _refuse_if_committed(run: Run, ran: _Ran) -> None:
    """An epoch that has committed has completed a checkpoint. If none is left, older state would repeat its output."""
    deadline = Deadline(f"Kafka's word on the transactions of epoch {ran.epoch}", 60.0)
    for prefix in run.site.prefixes(ran.epoch):
        for found in await patiently(deadline, run, partial(run.site.kafka.list_transactions, prefix)):
            if found.state in {TxnState.COMPLETE_COMMIT, TxnState.PREPARE_COMMIT}:
                raise MustHalt(
                    f"epoch {ran.epoch} ({ran.artifact.name}, job {ran.job_id}) has committed output, and no snapshot "
                    f"of it is left in {run.site.checkpoints}: was it finished by hand? A start from older state would "
                    f"repeat that output",
                    hint="if it was stopped with a savepoint elsewhere, copy that to "
                    f"{savepoints_of(run, ran.epoch)}by-hand/ and run this again",
                    details={"transactional_id": found.transactional_id, "epoch": ran.epoch},
                )


def _refuse_own_choice(request: EnsureInput, found: str) -> None:
    if request.from_empty:
        raise InvalidInput(
            f"from_empty: {request.held.deployment} has state, its newest snapshot is {found}",
            hint="start without from_empty; it goes on from there",
        )
    if request.snapshot is not None and S3Uri.parse(request.snapshot) != S3Uri.parse(found):
        raise InvalidInput(
            f"snapshot: {request.held.deployment} goes on from {found}; a start from {request.snapshot} would repeat "
            f"or lose committed output",
            hint="start without --snapshot; it goes on from there",
        )


async def _from_outside(run: Run, record: DeploymentRecord, request: EnsureInput) -> Choice:
    """A deployment that has never run under Tidegate: from a snapshot that the input names, or empty if it says so."""
    ran: list[StartIntent] = [start for start in starts_of(record.intents) if start.state is not IntentState.VOID]
    if request.snapshot is not None:
        verified = await verify(run.site.snapshots, request.snapshot)
        await refuse_disturbing(run.site, verified.snapshot)
        return Choice(request.snapshot, None, None, why="named by the input")
    if request.from_empty or any(start.from_empty for start in ran):
        return Choice(None, None, None, why="empty state, as the input asked")
    if record.writer is not None and record.writer.started_from is None:
        return Choice(None, None, None, why="it began empty and has not completed a checkpoint yet")
    if record.writer is not None and record.writer.started_from is not None:
        await verify(run.site.snapshots, record.writer.started_from)
        return Choice(record.writer.started_from, None, None, why="what the last job began from: it committed nothing")
    raise InvalidInput(
        f"{record.deployment} has no snapshot to start from",
        hint=f"to start it with empty state:  tidegate start {record.deployment} {request.artifact.name} --from-empty",
    )

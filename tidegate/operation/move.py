"""A restore in another region: may it be, and in which steps. Pure functions of what was observed.

The deployment was stopped at home and seen to have ended (I1), its outputs have crossed (X5, X19), and the copy that it
goes on from was rebased from that very stop's savepoint (X20).
"""

from __future__ import annotations

from tidegate.errors import InvalidInput, MustHalt, Refused
from tidegate.model.fleet import CellRef, Fleet
from tidegate.model.inputs import RESTORE_DEPLOYMENT, RestoreInput
from tidegate.model.operation import NOTHING_TO_UNDO, ArtifactFacts, Observation, Plan
from tidegate.model.record import (
    CancelIntent,
    DeploymentRecord,
    Intent,
    IntentState,
    SettleIntent,
    SnapshotIntent,
    StartIntent,
    starts_of,
)
from tidegate.operation.plan import assemble, refuse_if_held, refuse_if_not_made_way
from tidegate.operation.timer_notes import start_notes


def moves(observed: Observation) -> bool:
    """Whether going on there is a move: its last job ran in another region."""
    return lives_elsewhere(observed.record, observed.region)


def lives_elsewhere(record: DeploymentRecord, region: str) -> bool:
    """Whether the last job that ran, ran in another region than this one."""
    return record.writer is not None and record.writer.region != region


def halt_if_begun_elsewhere(record: DeploymentRecord, intent: StartIntent, region: str) -> None:
    """Raises MustHalt for a start of another region: here its job would be taken for one that never came, its epoch
    voided, and it would run on there beside the next one (I1).
    """
    if intent.region == region:
        return
    raise MustHalt(
        f"a start of {record.deployment} was begun in {intent.region}/{intent.cell}, and is not known to have ended: "
        f"it cannot be decided from {region}",
        hint=f"tidegate failover deployment {record.deployment} --to {intent.region} --take-over --why TEXT",
    )


def lives_at(record: DeploymentRecord | None) -> CellRef | None:
    """Where its job runs or ran last, or is being started; None: it never did, so the fleet file's home counts."""
    if record is None:
        return None
    begun = next((one for one in reversed(record.open_intents()) if isinstance(one, StartIntent)), None)
    if begun is not None:
        return CellRef(begun.region, begun.cell)
    return CellRef(record.writer.region, record.writer.cell) if record.writer is not None else None


def home_of(fleet: Fleet, deployment: str, record: DeploymentRecord | None) -> CellRef:
    """Where a deployment lives: by its record, and by the fleet file until it has run. Raises InvalidInput."""
    return lives_at(record) or fleet.deployment(deployment).home_ref


def standby_of(fleet: Fleet, deployment: str, region: str) -> str | None:
    """Where it would go on if it lost this region: the standby; once it lives elsewhere, the fleet file's home.

    Raises InvalidInput for an unknown deployment.
    """
    spec = fleet.deployment(deployment)
    return spec.standby if region == spec.home_ref.region else spec.home_ref.region


def cell_in(fleet: Fleet, deployment: str, region: str, record: DeploymentRecord | None) -> CellRef:
    """The cell of a deployment in a region: where it ran last, its home, one of the same name, or the only one.

    Raises InvalidInput: no such region, or nothing says which of its cells.
    """
    cells = fleet.region(region).cells
    home, lives = fleet.deployment(deployment).home_ref, lives_at(record)
    for known in (lives, home):
        if known is not None and known.region == region and known.cell in cells:
            return known
    if home.cell in cells:
        return CellRef(region, home.cell)
    if len(cells) == 1:
        return CellRef(region, next(iter(cells)))
    raise InvalidInput(
        f"region: {region} has {len(cells)} cells ({', '.join(cells)}), and none is called {home.cell}, as that of "
        f"{deployment}'s home"
    )


def stopped(record: DeploymentRecord) -> bool:
    """Whether the last job was seen to end with a savepoint, and everything that it wrote is committed (X2)."""
    writer, pinned = record.writer, record.pinned
    return writer is not None and pinned is not None and pinned.epoch == writer.epoch and pinned.committed


def why_not_running(record: DeploymentRecord | None) -> str | None:
    """Why a deployment does not run, by its record; None: it does, or it should."""
    if record is None or record.writer is None:
        return "it has never run"
    pinned, left_alone = record.pinned, record.holder is None and not record.open_intents()
    if pinned is not None and stopped(record) and pinned.left is None and left_alone:
        way = f" to make way for {record.made_way.operation}" if record.made_way is not None else ""
        return f"it is stopped{way}; its state is in {pinned.location}"
    return None


def plan_move(asked: RestoreInput, observed: Observation) -> Plan:
    """The steps that going on in another region will take.

    Raises:
        InvalidInput: what was asked cannot be done; the field is named.
        Held: another operation holds the deployment and its run is not closed; nobody asked to take over.
        Refused: the old job was not seen to end, what was begun elsewhere is not finished, or the copy will not do.

    """
    refuse_if_held(asked, observed)
    refuse_if_not_made_way(asked, observed)
    record, crossing = observed.record, observed.crossing
    writer, pinned = record.writer, record.pinned
    if writer is None or crossing is None:
        raise InvalidInput(f"region: {asked.deployment} has never run: start it in its home region first")
    if asked.as_of is not None or asked.source == "newest":
        raise InvalidInput(
            f"source: {asked.deployment} ran in {writer.region}; to go on in {observed.region}, name the copy that was "
            f"rebased for {observed.region}",
            hint=f"make one:  tidegate snapshot rebase SHIPPED --to {observed.region}",
        )
    left = [one for one in record.open_intents() if not _begun_there(one, record, observed.region)]
    if left:
        kinds = ", ".join(sorted({one.kind for one in left}))
        raise Refused(
            f"an operation before this one has begun in {writer.region} and not finished: {kinds}",
            hint=f"finish it there:  tidegate restore {asked.deployment}",
        )
    if not stopped(record) or pinned is None:
        raise Refused(
            f"job {writer.job_id} in {writer.region} was not seen to end with a savepoint: nothing shows that it "
            f"commits no more (I1)",
            hint=f"stop it there:  tidegate stop {asked.deployment}",
        )
    if crossing.problem:
        raise Refused(f"{crossing.location} cannot be used in {observed.region}: {crossing.problem}")
    target = _target(asked, observed)
    replays = f", {crossing.replays:,} input records are read a second time" if crossing.replays else ""
    where = f"{observed.region}/{observed.cell}"
    back = "the job is cancelled: nothing runs, as before"
    steps: list[tuple[str, str, str, bool]] = [
        ("observe", "read record, Flink, Kafka, S3, the mirror", NOTHING_TO_UNDO, False),
        (
            "start",
            f"start {target.ref.name} in {where} as epoch {record.epoch + 1} from {crossing.location}{replays}",
            back,
            False,
        ),
        ("prove", f"watch {asked.bake_s:g} s: checkpoints, restarts, lag, output", back, False),
        ("conclude", "verdict, report, release", f"none: what it has committed in {observed.region} stays there", True),
    ]
    notes = [
        *observed.warnings,
        f"{crossing.location} is of {crossing.original}, with which job {writer.job_id[:8]} was stopped",
        f"once it has committed in {observed.region} there is no way back to {writer.region} but a move (X24)",
        *start_notes(crossing.timers, observed.at),
    ]
    plan = assemble(asked.deployment, RESTORE_DEPLOYMENT, observed, target.ref, writer.artifact, steps, notes)
    basis = plan.basis.model_copy(update={"snapshot": crossing.location})
    return plan.model_copy(update={"basis": basis, "hash": basis.digest()})


def _begun_there(intent: Intent, record: DeploymentRecord, region: str) -> bool:
    """Whether an open intent is of an earlier try in this region: that can be resolved here."""
    if isinstance(intent, StartIntent):
        return intent.region == region
    if isinstance(intent, CancelIntent):
        return any(one.job_id == intent.job_id and one.region == region for one in starts_of(record.intents))
    return isinstance(intent, SettleIntent | SnapshotIntent) and intent.state is IntentState.OPEN


def _target(asked: RestoreInput, observed: Observation) -> ArtifactFacts:
    """The artifact that stopped; another one would be an upgrade beside the move."""
    writer = observed.record.writer
    ran = next(
        (one for one in observed.artifacts if writer is not None and one.ref.sha256 == writer.artifact.sha256), None
    )
    if ran is None:
        raise InvalidInput(
            f"artifact: the bytes that ran last are not there any more: {writer and writer.artifact.uri}"
        )
    if asked.artifact is not None and (observed.target is None or observed.target.ref.sha256 != ran.ref.sha256):
        raise InvalidInput(
            f"artifact: {asked.deployment} was stopped as {ran.ref.name}, and goes on as that",
            hint=f"change it afterwards:  tidegate upgrade {asked.deployment} --to {asked.artifact}",
        )
    return ran

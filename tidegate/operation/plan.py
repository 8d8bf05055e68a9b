"""The plan: a pure function of what was asked and what was observed. Approval is for its hash (O13)."""

from __future__ import annotations

from tidegate.errors import InvalidInput, Refused
from tidegate.model.inputs import (
    START_DEPLOYMENT,
    UPGRADE_DEPLOYMENT,
    RestoreInput,
    RunbookInput,
    StartInput,
    UpgradeInput,
)
from tidegate.model.operation import NOTHING_TO_UNDO, ArtifactFacts, Observation, Plan, PlanBasis, PlanStep
from tidegate.model.record import ArtifactRef
from tidegate.registry.held import held


def make_plan(asked: UpgradeInput | StartInput, observed: Observation) -> Plan:
    """The steps that the operation will take.

    Raises:
        InvalidInput: what was asked cannot be done; the field is named.
        Held: another operation holds the deployment and its run is not closed; nobody asked to take over.
        Refused: it could be done, and would do harm that nobody has accepted.

    """
    target = _target(asked, observed)
    refuse_if_held(asked, observed)
    if isinstance(asked, UpgradeInput):
        _refuse_stale(observed, target)
        return _upgrade(asked, observed, target)
    return _start(asked, observed, target)


def refuse_if_held(asked: RunbookInput, observed: Observation) -> None:
    """Raises Held if another operation holds the deployment, its run is not closed, and nobody asked to take over."""
    if observed.record.holder is not None and asked.take_over is None and not observed.holder_run_closed:
        raise held(observed.record)


def refuse_if_not_made_way(asked: RestoreInput, observed: Observation) -> None:
    """Raises Refused if it shall only come back where it still stands stopped for an operation, and does not."""
    if asked.made_way_for is None:
        return
    record, way = observed.record, observed.record.made_way
    if way is not None and way.operation == asked.made_way_for and not record.open_intents():
        return
    if record.open_intents():
        now = "an operation before this one has begun something and not finished it"
    elif way is not None:
        now = f"it made way for {way.operation} since"
    elif record.pinned is not None and record.writer is not None and record.pinned.epoch == record.writer.epoch:
        now = f"it is stopped, and not to make way; its state is in {record.pinned.location}"
    else:
        now = f"it has been started since (epoch {record.epoch})"
    raise Refused(
        f"{asked.deployment} does not stand stopped to make way for {asked.made_way_for} any more: {now}",
        hint=f"to start it in any case:  tidegate restore {asked.deployment}",
    )


def _target(asked: UpgradeInput | StartInput, observed: Observation) -> ArtifactFacts:
    name = asked.to if isinstance(asked, UpgradeInput) else asked.artifact
    field = "to" if isinstance(asked, UpgradeInput) else "artifact"
    if observed.target is None:
        known = ", ".join(facts.ref.name for facts in observed.artifacts) or "none"
        raise InvalidInput(
            f"{field}: artifact {name} of {observed.deployment} is not there; known and uploaded: {known}",
            hint=f"upload it:  tidegate artifact put {observed.deployment} {name} PATH.jar",
        )
    return observed.target


def _refuse_stale(observed: Observation, target: ArtifactFacts) -> None:
    """X27. Any artifact may know of that state, a mended one above all; only one further back certainly does not."""
    stale, writer = observed.record.stale_state_of, observed.record.writer
    if stale is None or observed.stale_state == "keep" or (writer and _goes_back(observed, writer.artifact, target)):
        return
    if writer is None or writer.artifact.sha256 != target.ref.sha256:
        would = "would take it up" if stale.sha256 == target.ref.sha256 else "would, if it knows it, take it up"
        raise Refused(
            f"to: the running job carries state that only {stale.name} has, and that has stood still since the last "
            f"operation went back from it; {target.ref.name} {would} as if it were current (X27)",
            hint=f"if that is right for this state, say so in the fleet file:  "
            f"deployments.{observed.deployment}.stale_state: keep",
        )


def _goes_back(observed: Observation, old: ArtifactRef, target: ArtifactFacts) -> bool:
    """Whether the target is declared to read what ``old`` writes, and not the other way round (as ``went_back``)."""
    source = next((facts for facts in observed.artifacts if facts.ref.sha256 == old.sha256), None)
    return source is not None and target.ref.name in source.readable_by and old.name not in target.readable_by


def _upgrade(asked: UpgradeInput, observed: Observation, target: ArtifactFacts) -> Plan:
    record = observed.record
    begun = bool(record.open_intents())
    running = observed.job is not None and observed.job.state == "RUNNING"
    if record.writer is None and not begun:
        raise InvalidInput(
            f"deployment: {observed.deployment} has never been started by Tidegate, so there is no job to upgrade",
            hint=f"start it:  tidegate start {observed.deployment} {asked.to} --from-empty",
        )
    old = record.writer.artifact if record.writer else None
    if running and old is not None and old.sha256 == target.ref.sha256 and not begun and record.holder is None:
        raise InvalidInput(
            f"to: {observed.deployment} runs {target.ref.name} already "
            f"(sha256 {target.ref.sha256[:12]}, epoch {record.epoch})",
            hint="name another artifact, or upload new bytes under this name",
        )
    back = f"restart {old.name}" if old else "none: nothing ran before"
    steps: list[tuple[str, str, str, bool]] = [
        ("observe", "read record, Flink, Kafka, S3", NOTHING_TO_UNDO, False),
    ]
    if begun:
        steps.append(
            (
                "start",
                f"finish or void what was begun, then make {target.ref.name} run from its newest exact snapshot",
                back,
                False,
            )
        )
    elif running:
        job = observed.job.job_id[:8] if observed.job else ""
        steps += [
            ("stop", f"stop job {job} with a native savepoint", f"{back} from the savepoint of this step", False),
            (
                "start",
                f"start {target.ref.name} as epoch {record.epoch + 1} from that savepoint",
                f"{back} from the newest snapshot that it can read",
                False,
            ),
        ]
    else:
        steps.append(
            (
                "start",
                (
                    f"the job does not run: settle its transactions and start {target.ref.name} as epoch "
                    f"{record.epoch + 1} from the newest exact snapshot"
                ),
                back,
                False,
            )
        )
    steps += [
        ("prove", f"watch {asked.bake_s:g} s: checkpoints, restarts, lag, output", back, False),
        (
            "conclude",
            "verdict, report, release",
            "none: a bad verdict leaves the new job and says how to go back",
            True,
        ),
    ]
    notes = list(observed.warnings)
    if old is not None and running and old.name not in target.readable_by and old.sha256 != target.ref.sha256:
        notes.append(
            f"{old.name} is not declared to read the state of {target.ref.name}: once it has committed output, going "
            f"back repeats that output, with a manifest (X26, X27)"
        )
    if old is not None and _goes_back(observed, old, target):
        notes.append(
            f"this goes back: state that only {old.name} has stays in the snapshots and stands still, and a later "
            f"upgrade would take it up: that is refused unless the fleet file says "
            f"deployments.{observed.deployment}.stale_state: keep (X27)"
        )
    return assemble(asked.deployment, UPGRADE_DEPLOYMENT, observed, target.ref, old, steps, notes)


def _start(asked: StartInput, observed: Observation, target: ArtifactFacts) -> Plan:
    record = observed.record
    if observed.job is not None and observed.job.state not in {"FAILED", "CANCELED", "FINISHED"} and not record.holder:
        raise InvalidInput(
            f"deployment: {observed.deployment} runs already (job {observed.job.job_id}, {observed.job.state})",
            hint=f"to change its artifact:  tidegate upgrade {observed.deployment} --to {target.ref.name}",
        )
    if asked.from_empty and (asked.snapshot or asked.fork_of):
        raise InvalidInput(f"{'snapshot' if asked.snapshot else 'fork_of'}: cannot be combined with from_empty")
    named = asked.from_empty or asked.snapshot is not None or asked.fork_of is not None
    if record.writer is None and not record.open_intents() and not named:
        raise InvalidInput(
            f"from_empty: {observed.deployment} has never run, so there is no snapshot to start from",
            hint=f"to start it with empty state:  tidegate start {observed.deployment} {target.ref.name} --from-empty",
        )
    source = "empty state" if asked.from_empty else asked.snapshot or "the newest exact snapshot"
    fork: list[tuple[str, str, str, bool]] = []
    if asked.fork_of is not None:
        of = f"{asked.fork_of}'s {asked.snapshot or 'newest snapshot that lasts'}"
        what = f"copy {of} without its sinks' state; {asked.fork_of} goes on undisturbed (X12)"
        fork.append(("fork", what, "the copy stays, and nothing goes on from it unless it is named", False))
        source = "that copy"
    steps: list[tuple[str, str, str, bool]] = [
        ("observe", "read record, Flink, Kafka, S3", NOTHING_TO_UNDO, False),
        *fork,
        ("start", f"start {target.ref.name} as epoch {record.epoch + 1} from {source}", "the job is cancelled", False),
        ("prove", f"watch {asked.bake_s:g} s: checkpoints, restarts, lag, output", "the job is cancelled", False),
        ("conclude", "verdict, report, release", "none", True),
    ]
    old = record.writer.artifact if record.writer else None
    return assemble(asked.deployment, START_DEPLOYMENT, observed, target.ref, old, steps, list(observed.warnings))


def assemble(
    deployment: str,
    runbook: str,
    observed: Observation,
    target: ArtifactRef,
    old: ArtifactRef | None,
    steps: list[tuple[str, str, str, bool]],
    notes: list[str],
) -> Plan:
    """A plan of these steps: (name, what, undo, whether there is no return from it)."""
    basis = PlanBasis(
        runbook=runbook,
        deployment=deployment,
        from_sha256=old.sha256 if old else None,
        to_sha256=target.sha256,
        job_id=observed.job.job_id if observed.job else None,
        epoch=observed.record.epoch,
        region=observed.region,
        cell=observed.cell,
        parallelism=observed.parallelism,
        fleet_digest=observed.fleet_digest,
        steps=tuple(name for name, *_ in steps),
    )
    upgrade = runbook == UPGRADE_DEPLOYMENT  # how long one stood still says nothing of a start
    return Plan(
        runbook=runbook,
        deployment=deployment,
        basis=basis,
        hash=basis.digest(),
        steps=tuple(
            PlanStep(number=number, name=name, what=what, undo=undo, no_return=no_return)
            for number, (name, what, undo, no_return) in enumerate(steps, start=1)
        ),
        from_artifact=old,
        to_artifact=target,
        expected_gap_s=observed.expected_gap_s if upgrade else None,
        earlier_gaps_s=observed.earlier_gaps_s if upgrade else (),
        notes=tuple(notes),
    )

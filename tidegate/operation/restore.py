"""Which snapshot a restore goes on from, and whether its price was accepted: pure functions of what was observed.

Outputs that would be lost and outputs that would come again are accepted by the name of the snapshot, or refused with
the price of each choice (X3, X26).
"""

from __future__ import annotations

from datetime import UTC, datetime

from tidegate.errors import InvalidInput, Refused
from tidegate.model.appraisal import SnapshotPrice
from tidegate.model.inputs import RESTORE_DEPLOYMENT, RestoreInput
from tidegate.model.operation import ArtifactFacts, Observation, Plan
from tidegate.operation.plan import assemble, refuse_if_held, refuse_if_not_made_way
from tidegate.operation.timer_notes import start_notes

_OFFERED = 3


def plan_restore(asked: RestoreInput, observed: Observation) -> Plan:
    """The steps that the restore will take.

    Raises:
        InvalidInput: what was asked cannot be done; the field is named.
        Held: another operation holds the deployment and its run is not closed; nobody asked to take over.
        Refused: it would lose or repeat output, and nobody has accepted that by name.

    """
    refuse_if_held(asked, observed)
    refuse_if_not_made_way(asked, observed)
    target = _target(asked, observed)
    chosen = choose_price(asked, observed)
    refuse_price(asked, observed, chosen)
    _refuse_unreadable(observed, chosen, target)
    epoch, job = observed.record.epoch, observed.job
    runs = job is not None and job.state not in {"FAILED", "CANCELED", "FINISHED"}
    back = "the job is cancelled"
    if goes_back(observed) and observed.record.writer is not None:
        back = f"restart {observed.record.writer.artifact.name} from its newest exact snapshot"
    first = f"cancel job {job.job_id[:8]} ({job.state}), " if runs and job else ""
    source = f"{chosen.name} ({describe(chosen)})"
    steps: list[tuple[str, str, str, bool]] = [
        ("observe", "read record, Flink, Kafka, S3; price each snapshot", "nothing to undo", False),
        (
            "start",
            f"{first}settle its transactions, start {target.ref.name} as epoch {epoch + 1} from {source}",
            back,
            False,
        ),
        ("prove", f"watch {asked.bake_s:g} s: checkpoints, restarts, lag, output", back, False),
        ("conclude", "verdict, report, release", "none: what consumers have read stays read", True),
    ]
    notes = [*observed.warnings, *(note for note in _notes(chosen) if note)]
    notes += start_notes(chosen.timers, observed.at)
    old = observed.record.writer.artifact if observed.record.writer else None
    plan = assemble(asked.deployment, RESTORE_DEPLOYMENT, observed, target.ref, old, steps, notes)
    if chosen.newest and asked.source == "newest" and asked.as_of is None:
        return plan  # a job that still runs completes checkpoints meanwhile: the newest is the newest then
    basis = plan.basis.model_copy(update={"snapshot": chosen.location})
    return plan.model_copy(update={"basis": basis, "hash": basis.digest()})


def goes_back(observed: Observation) -> bool:
    """Whether there is a job to put back if the restore does not hold: one that runs now."""
    return observed.job is not None and observed.job.state == "RUNNING"


def choose_price(asked: RestoreInput, observed: Observation) -> SnapshotPrice:
    """The snapshot that was asked for, with its price.

    Raises:
        InvalidInput: there is no such snapshot; those that there are are named.
        Refused: it cannot be used; the next one that can is offered.

    """
    choices = observed.appraisal.choices if observed.appraisal else ()
    if not choices:
        raise InvalidInput(
            f"deployment: {asked.deployment} has no snapshot to restore from",
            hint=f"to start it with empty state:  tidegate start {asked.deployment} ARTIFACT --from-empty",
        )
    if asked.as_of is not None and asked.source != "newest":
        raise InvalidInput("as_of: cannot be combined with source")
    chosen = pick(choices, asked.source, asked.as_of)
    if chosen.problem:
        raise Refused(f"{chosen.name} cannot be used: {chosen.problem}", hint=offers(asked, choices, chosen))
    if chosen.newest and asked.source == "newest" and asked.as_of is None and goes_back(observed):
        # Its job goes on and commits: what has come after it belongs to newer ones, which are the newest by the time
        # that the job has been ended. Then the price is told again, and what was not accepted halts (weigh).
        return chosen.model_copy(update={"replayed": 0})
    return chosen


def pick(choices: tuple[SnapshotPrice, ...], source: str, as_of: datetime | None) -> SnapshotPrice:
    """The one of them that is meant, whatever stands against it. Raises InvalidInput: there is no such snapshot."""
    if as_of is not None:
        return _as_of(choices, as_of)
    if source == "newest":
        return next((choice for choice in choices if choice.newest), choices[0])
    return _named(choices, source)


def _as_of(choices: tuple[SnapshotPrice, ...], at: datetime) -> SnapshotPrice:
    """The newest that counts and was complete then; one whose output does not count is no state of that time."""
    before = [choice for choice in choices if choice.completed_at <= at and not choice.problem.startswith("superseded")]
    if not before:
        oldest = min(choice.completed_at for choice in choices)
        raise InvalidInput(f"as_of: no snapshot was complete at {_utc(at)}; the oldest is of {_utc(oldest)}")
    return before[0]


def _named(choices: tuple[SnapshotPrice, ...], source: str) -> SnapshotPrice:
    wanted = source.rstrip("/").removesuffix("/_metadata")
    found = [choice for choice in choices if choice.location == wanted]
    found = found or [choice for choice in choices if choice.name == wanted.rpartition("/")[2]]
    found = found or [choice for choice in choices if choice.name.partition("-")[2] == wanted]
    if not found and wanted.isdigit():
        found = [choice for choice in choices if choice.checkpoint_id == int(wanted)]
    if len(found) > 1:  # numbers begin anew where an older one was gone on from; what is superseded is hardly meant
        found = [choice for choice in found if not choice.problem.startswith("superseded")] or found
    if len(found) > 1:
        raise InvalidInput(
            f"source: {source} is not one snapshot but {len(found)}: {', '.join(one.location for one in found)}",
            hint="name the whole location",
        )
    if not found:
        known = ", ".join(choice.name for choice in choices)
        raise InvalidInput(f"source: there is no snapshot {source}; known: {known}", hint="or name a whole location")
    return found[0]


def refuse_price(asked: RestoreInput, observed: Observation, chosen: SnapshotPrice) -> None:
    """Raises Refused if output would be lost or come again, and that was not accepted by the snapshot's name."""
    choices = observed.appraisal.choices if observed.appraisal else ()
    if chosen.loses and not accepted(asked.accept_loss, chosen):
        words = ", ".join(f"{n} {word}" for word, n in chosen.transactions.items())
        raise Refused(
            f"a start from {chosen.name} would lose output: {chosen.price} (transactions: {words}; first lost: "
            f"{', '.join(chosen.lost_ids)})",
            hint=offers(asked, choices, chosen),
        )
    if chosen.replayed and not accepted(asked.accept_replay, chosen):
        raise Refused(
            f"a start from {chosen.name} would repeat committed output: {chosen.price}",
            hint=offers(asked, choices, chosen),
        )


def accepted(name: str | None, chosen: SnapshotPrice) -> bool:
    """Whether a price was accepted for this snapshot: by its name or its whole location, never in general."""
    return name is not None and name.rstrip("/") in {chosen.name, chosen.name.partition("-")[2], chosen.location}


def offers(asked: RestoreInput, choices: tuple[SnapshotPrice, ...], chosen: SnapshotPrice) -> str:
    """Commands for what could be done instead, each with its price; what was asked stands first if it can be had."""
    others = [choice for choice in choices if not choice.problem and choice.location != chosen.location]
    others.sort(key=lambda choice: (choice.loses, choice.lost_uncounted, choice.lost + choice.replayed))
    wanted = [chosen] if not chosen.problem else []
    lines = [f"{_command(asked, choice)}   ({choice.price})" for choice in [*wanted, *others[:_OFFERED]]]
    return "; ".join(lines) if lines else "no other snapshot of it can be used"


def _command(asked: RestoreInput, choice: SnapshotPrice) -> str:
    name = choice.name
    words = ["tidegate restore", asked.deployment]
    if not choice.newest:
        words += ["--from", name]
    if choice.loses:
        words += ["--accept-loss", name]
    if choice.replayed:
        words += ["--accept-replay", name]
    return " ".join(words)


def _target(asked: RestoreInput, observed: Observation) -> ArtifactFacts:
    if asked.artifact is not None:
        if observed.target is None:
            known = ", ".join(facts.ref.name for facts in observed.artifacts) or "none"
            raise InvalidInput(f"artifact: {asked.artifact} of {observed.deployment} is not there; uploaded: {known}")
        return observed.target
    writer = observed.record.writer
    if writer is None:
        raise InvalidInput(
            f"artifact: {asked.deployment} has never run under Tidegate: say which artifact shall run",
            hint=f"tidegate start {asked.deployment} ARTIFACT --snapshot LOCATION",
        )
    for facts in observed.artifacts:
        if facts.ref.sha256 == writer.artifact.sha256:
            return facts
    # The name has other bytes by now, or none: what ran is still named by its sha256 in the record.
    return ArtifactFacts(ref=writer.artifact, size_bytes=0)


def _refuse_unreadable(observed: Observation, chosen: SnapshotPrice, target: ArtifactFacts) -> None:
    wrote = chosen.artifact
    if wrote is None or wrote.sha256 == target.ref.sha256:
        return
    source = next((facts for facts in observed.artifacts if facts.ref.sha256 == wrote.sha256), None)
    forward = observed.record.base is not None and observed.record.base.location == chosen.location
    if (source is not None and target.ref.name in source.readable_by) or forward:
        return
    raise Refused(
        f"{chosen.name} was written by {wrote.name}, and {target.ref.name} is not declared to read its state (X27)",
        hint=f"restore with the artifact that wrote it:  --artifact {wrote.name}",
    )


def describe(choice: SnapshotPrice) -> str:
    """``complete 14:05:12 UTC; lost 0, replayed 12; 340 input positions again``."""
    return f"complete {_utc(choice.completed_at)}; {choice.price}; {choice.inputs_again:,} input positions to read"


def _notes(chosen: SnapshotPrice) -> tuple[str, ...]:
    words = ", ".join(f"{n} {word}" for word, n in chosen.transactions.items()) or "none"
    return (
        f"{chosen.location}: {describe(chosen)}; its transactions: {words}",
        f"accepted: {chosen.lost:,} output records are lost" if chosen.loses else "",
        f"accepted: {chosen.replayed:,} committed output records come again, and are named in a manifest (X26)"
        if chosen.replayed
        else "",
    )


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

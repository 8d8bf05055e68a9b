"""May a deployment go on in another region, and in which steps. Pure functions of what was observed."""

from __future__ import annotations

from tidegate.errors import InvalidInput, Refused
from tidegate.failover.atlarge import left_in
from tidegate.failover.crossing import refuse_unproven
from tidegate.model.failover import FAILOVER_DEPLOYMENT, FailoverInput, PointChoice, RegionsSeen
from tidegate.model.fleet import CellRef
from tidegate.model.operation import NOTHING_TO_UNDO, ArtifactFacts, Observation, Plan
from tidegate.model.record import ArtifactRef, DeploymentRecord
from tidegate.model.returning import RETURN_REGION, ReturnInput
from tidegate.operation.plan import assemble, refuse_if_held
from tidegate.operation.timer_notes import start_notes, tail_notes

VOID = "none: once the other region has committed or taken a producer's write there is no way back but a failback (X24)"

LEFT_THERE = "nothing to undo: offsets that stay there disturb nobody"


def plan_failover(
    asked: FailoverInput,
    observed: Observation,
    seen: RegionsSeen,
    *,
    group: str | None = None,
    escalated: bool = False,
) -> Plan:
    """The steps that the failover will take. ``group``: the operation that moves its topics and links, and knows what
    there is room for; None: it does so itself. ``escalated``: planned, and told since to go on without the region that
    is left: that one need not answer any more.

    Raises:
        InvalidInput: what was asked makes no sense; the field is named.
        Held: another operation holds the deployment and its run is not closed; nobody asked to take over.
        Refused: what must answer does not, there is no room, or there is nothing to go on from.

    """
    refuse_if_held(asked, observed)
    record = observed.record
    writer = record.writer
    if writer is None:
        raise InvalidInput(
            f"deployment: {asked.deployment} has never run: there is nothing to fail over",
            hint=f"start it in its home region:  tidegate start {asked.deployment} ARTIFACT --from-empty",
        )
    if writer.region == observed.region and record.pinned is None:
        raise InvalidInput(f"to: {asked.deployment} runs in {observed.region} already")
    if group is None:
        refuse_without_room(asked.deployment, asked.parallelism or observed.parallelism, seen, observed.region)
    if not asked.unplanned:
        refuse_not_returned(asked.deployment, observed.region, seen.not_returned)
    refuse_unproven(seen.unproven, seen.home.region, observed.region, seen.topics.links)
    target = target_of(observed)
    source = CellRef(writer.region, writer.cell)
    point = None
    if asked.unplanned:
        point = chosen(asked, seen, observed.region)
        steps = _unplanned(asked, observed, seen, point, source, target)
    else:
        _refuse_given_up(asked, record, observed.region)
        if not escalated:
            _refuse_silent(asked, seen)
        steps = _planned(asked, observed, seen, source, target)
    if group is not None:
        steps = as_member(steps, group)
    tail = f"tidegate return region {source.region} --tail hold" if asked.unplanned and seen.tail == "feed" else ""
    notes = [*observed.warnings, *seen.warnings, *_notes(seen, point), *start_notes(seen.timers, seen.at, tail)]
    plan = assemble(asked.deployment, FAILOVER_DEPLOYMENT, observed, target.ref, writer.artifact, steps, notes)
    basis = plan.basis.model_copy(
        update={
            "snapshot": point.snapshot if point is not None else None,
            "parallelism": asked.parallelism or observed.parallelism,
        }
    )
    return plan.model_copy(update={"basis": basis, "hash": basis.digest()})


def plan_return(asked: ReturnInput, observed: Observation, seen: RegionsSeen) -> Plan:
    """The steps that a region's return will take.

    Raises:
        InvalidInput: the deployment has never run.
        Held: another operation holds it and its run is not closed; nobody asked to take over.
        Refused: the region does not answer as it must.

    """
    refuse_if_held(asked, observed)
    writer = observed.record.writer
    if writer is None:
        raise InvalidInput(f"deployment: {asked.deployment} has never run: it has left no region")
    if not seen.home.all:
        raise Refused(
            f"{asked.region} does not answer as it must to be put in quarantine: {'; '.join(seen.home.silent)}",
            hint=f"once it answers:  tidegate return region {asked.region}",
        )
    if seen.left_planned is not None:
        raise Refused(
            f"{asked.deployment} left {asked.region} as planned ({seen.left_planned}): nothing was given up there, and "
            f"it is mirrored to, so there is nothing to return",
            hint=f"to go back there:  tidegate failover deployment {asked.deployment} --to {asked.region}",
        )
    topics = ", ".join(seen.topics.turn)
    policy = f"{asked.tail}, as was asked," if asked.tail is not None else "feed or hold, by the fleet file,"
    back = "none is wanted: what was given up stays shut out"
    steps: list[tuple[str, str, str, bool]] = [
        ("observe", "read record, both regions, the mirror", NOTHING_TO_UNDO, False),
        (
            "quarantine",
            (
                f"deny the old epochs in {asked.region}, cancel what runs, end what is open, shut "
                f"{', '.join(seen.topics.links)}, deny producers"
            ),
            back,
            False,
        ),
        (
            "tail",
            f"{policy} what {asked.region} took of {topics} beyond the cut; it counts there no more",
            back,
            True,
        ),
        ("mirror", f"start {', '.join(seen.topics.back) or 'no link'} from the cut on", back, True),
        ("conclude", "verdict, report, release", back, True),
    ]
    notes = [*observed.warnings, *seen.warnings]
    if (asked.tail or seen.tail) == "feed":
        hold = f"tidegate return region {asked.region} --deployment {asked.deployment} --tail hold"
        notes += tail_notes(seen.timers, hold)
    return assemble(asked.deployment, RETURN_REGION, observed, writer.artifact, writer.artifact, steps, notes)


def chosen(asked: FailoverInput, seen: RegionsSeen, region: str) -> PointChoice:
    """The recovery point that an unplanned failover goes on from, as things stand. Raises Refused."""
    good = next((one for one in seen.points if one.problem is None), None)
    if good is None:
        raise no_point(asked.deployment, region, seen.points, asked.point)
    return good


def refuse_without_room(deployment: str, parallelism: int, seen: RegionsSeen, region: str) -> None:
    """Raises Refused if the standby has too few slots."""
    if seen.slots_free >= parallelism:
        return
    raise Refused(
        f"{deployment} needs {parallelism} slots in {region}, and {seen.slots_free} of {seen.slots_total} are free",
        hint=f"add TaskManagers there, stop what matters less (tidegate stop OTHER), or run it smaller:  "
        f"--parallelism {max(1, seen.slots_free)}",
    )


def refuse_not_returned(deployment: str, region: str, gave_up: str | None) -> None:
    """Raises Refused for a region that was given up: its old job may run, and its tail counts in its log (X23)."""
    if gave_up is None:
        return
    raise Refused(
        f"{region} was given up by {gave_up}, and {deployment} has not been returned there since: its old job is in no "
        f"quarantine, and what it wrote beyond the cut would count",
        hint=f"once it answers:  tidegate return region {region}",
    )


def target_of(observed: Observation) -> ArtifactFacts:
    """The artifact that ran last: another one would be an upgrade beside the failover."""
    writer = observed.record.writer
    assert writer is not None
    known = next((one for one in observed.artifacts if one.ref.sha256 == writer.artifact.sha256), None)
    return known or ArtifactFacts(ref=ArtifactRef(**writer.artifact.model_dump()), size_bytes=0)


def no_point(deployment: str, region: str, choices: tuple[PointChoice, ...], wanted: str | None) -> Refused:
    """Nothing can be gone on from; each that was looked at is named with what stands against it."""
    if not choices:
        what = f"{deployment} has no recovery point {wanted or ''} in {region}".replace("  ", " ")
        return Refused(what, hint=f"which there are:  tidegate points {deployment}")
    told = "; ".join(f"{one.id}: {one.problem}" for one in choices)
    return Refused(
        f"no recovery point of {deployment} in {region} can be gone on from: {told}",
        hint=f"look at all of them:  tidegate points {deployment}",
    )


def _refuse_given_up(asked: FailoverInput, record: DeploymentRecord, region: str) -> None:
    """An unplanned failover before this one has given the job up, and was lost: what that job wrote beyond the point
    counts no more, and a planned cut would count it.
    """
    writer = record.writer
    left = left_in(record, writer.region) if writer is not None else None
    if writer is None or left is None:
        return
    raise Refused(
        f"{writer.region} was given up by {left.operation.partition('/')[0]}, from {left.point} on: "
        f"{asked.deployment} does not leave it as planned any more",
        hint=f"go on from there:  tidegate failover deployment {asked.deployment} --to {region} --unplanned "
        f"--take-over --why TEXT",
    )


def _refuse_silent(asked: FailoverInput, seen: RegionsSeen) -> None:
    if seen.home.all:
        return
    raise Refused(
        f"{seen.home.region} does not answer as a planned failover needs it to: {'; '.join(seen.home.silent)}",
        hint=f"go on without it, from the newest recovery point:  tidegate failover deployment {asked.deployment} "
        f"--unplanned",
    )


def _planned(
    asked: FailoverInput, observed: Observation, seen: RegionsSeen, source: CellRef, target: ArtifactFacts
) -> list[tuple[str, str, str, bool]]:
    where = f"{observed.region}/{observed.cell}"
    topics = ", ".join(seen.topics.turn)
    back = f"{target.ref.name} runs in {source} again, producers are let in there, the mirror runs again"
    return [
        ("observe", "read record, both regions, the mirror", NOTHING_TO_UNDO, False),
        ("ship", f"the newest snapshot to {observed.region}, while the job runs", NOTHING_TO_UNDO, False),
        ("close", f"nobody writes the inputs of {topics} from here on", back, False),
        ("stop", f"stop the job in {source} with a savepoint, ship it", back, False),
        ("cut", f"drain and shut {', '.join(seen.topics.links)}; write where {topics} turn", back, False),
        (f"start {target.ref.name}", f"in {where} as epoch {observed.record.epoch + 1}, rebased", back, False),
        *_groups(seen, observed.region),
        ("open", f"producers go on in {observed.region}", VOID, True),
        ("prove", f"watch {asked.bake_s:g} s: checkpoints, restarts, lag, output", VOID, True),
        ("mirror", f"start {', '.join(seen.topics.back) or 'no link'} from the cut on", VOID, True),
        ("conclude", "verdict, report, release", VOID, True),
    ]


def _unplanned(
    asked: FailoverInput,
    observed: Observation,
    seen: RegionsSeen,
    point: PointChoice,
    source: CellRef,
    target: ArtifactFacts,
) -> list[tuple[str, str, str, bool]]:
    where = f"{observed.region}/{observed.cell}"
    reach = "what answers there is cancelled and denied" if len(seen.home.silent) < 3 else "nothing there answers"
    again = f"; {point.superseded:,} outputs there are superseded" if point.superseded else ""
    return [
        ("observe", "read record, both regions, recovery points, the mirror", NOTHING_TO_UNDO, False),
        ("close", f"nobody writes {', '.join(seen.topics.turn)} from here on, as far as it can be had", VOID, True),
        ("shut", f"give {source} up ({reach}), shut {', '.join(seen.topics.links)}", VOID, True),
        ("cut", "write where the topics turn, by what has crossed", VOID, True),
        (
            f"start {target.ref.name}",
            f"in {where} as epoch {observed.record.epoch + 1} from {point.id}, rebased{again}",
            VOID,
            True,
        ),
        *_groups(seen, observed.region),
        ("open", f"producers go on in {observed.region}", VOID, True),
        ("prove", f"watch {asked.bake_s:g} s: checkpoints, restarts, lag, output", VOID, True),
        ("mirror", f"start {', '.join(seen.topics.back) or 'no link'}, if {source.region} answers", VOID, True),
        ("conclude", "verdict, report, release", VOID, True),
    ]


def _groups(seen: RegionsSeen, region: str) -> list[tuple[str, str, str, bool]]:
    """The step that moves consumer groups, if the fleet file names any that read what turns (X25)."""
    if not seen.groups:
        return []
    told = "; ".join(one.text for one in seen.groups)
    return [("groups", f"consumer groups go on in {region} where they stood: {told}", LEFT_THERE, False)]


def as_member(steps: list[tuple[str, str, str, bool]], group: str) -> list[tuple[str, str, str, bool]]:
    """The same as one of several: what is shared is done once for all of them, and waited for."""
    waits = {
        "cut": f"wait until {group} has shut the mirror and turned the topics",
        "open": f"wait until {group} opens",
    }
    return [
        (name, waits.get(name, what), undo, no_return)
        for name, what, undo, no_return in steps
        if name not in {"close", "mirror"}
    ]


def _notes(seen: RegionsSeen, point: PointChoice | None) -> list[str]:
    notes = list(seen.home.silent)
    if seen.not_returned is not None:
        notes.append(
            f"{seen.standby.region} was given up by {seen.not_returned} and has not been returned: an old job may run "
            f"there, and what it wrote beyond the cut counts in its log (X23)"
        )
    notes += [f"consumer group {one.text}" for one in seen.groups if one.problem is not None or one.live]
    if seen.topics.stay:
        notes.append(
            f"{', '.join(seen.topics.stay)} stay in {seen.home.region}, where others read them: the mirror goes on"
        )
    for name, lag in seen.mirror_lag.items():
        notes.append(f"mirror link {name}: {f'{lag:,} records to come' if lag is not None else 'lag not known'}")
    if point is not None:
        age_s = (seen.at - point.taken_at).total_seconds()
        notes.append(f"{point.id} was taken {age_s:,.1f} s ago; its files and outputs were looked for now")
        if point.ahead:
            many = f"{point.ahead:,}" if point.ahead_exact else f"up to {point.ahead:,}"
            notes.append(
                f"{point.id} has read {many} input records that have not come: what it made of them counts, and they "
                f"are not fed again when {seen.home.region} returns (X22); an audit of the standby alone lacks them"
            )
        notes += [f"newer, and cannot be gone on from: {one.id}: {one.problem}" for one in seen.points if one.problem]
        if seen.newest is not None and seen.newest != point.id:
            notes.append(f"the newest that {seen.home.region} has told of is {seen.newest}")
    return notes

"""A failover that nobody goes on with: its topics have turned and are not open, so nobody may write them anywhere.

Its operation was terminated, or its Temporal is lost, between the start in the other region and the opening. There is
no way back by then (X24): who takes over adopts what was started, and opens.
"""

from __future__ import annotations

from tidegate.errors import InvalidInput, Refused
from tidegate.failover.plan import LEFT_THERE, VOID, as_member, target_of
from tidegate.failover.turning import inputs_of, outputs_of
from tidegate.lineage.store import LineageStore
from tidegate.lineage.turning import unopened
from tidegate.model.failover import FAILOVER_DEPLOYMENT, FailoverInput, RegionsSeen
from tidegate.model.fleet import Fleet
from tidegate.model.operation import NOTHING_TO_UNDO, Observation, Plan
from tidegate.model.record import DeploymentRecord, StartIntent, starts_of
from tidegate.model.steps import RestoreFrom, Unfinished
from tidegate.operation.note import EnsureNote
from tidegate.operation.plan import assemble, refuse_if_held


async def unfinished_in(store: LineageStore, fleet: Fleet, deployment: str, region: str) -> Unfinished | None:
    """The failover that has turned topics of a deployment to a region, and has not opened all. Raises Unavailable."""
    spec = fleet.deployment(deployment)
    for topic in sorted(outputs_of(spec) | inputs_of(spec)):
        known = await store.read(topic)
        turn = unopened(known) if known is not None else None
        if turn is not None and turn.target == region and turn.source is not None:
            return Unfinished(source=turn.source, operation=turn.operation.partition("/")[0], planned=turn.planned)
    return None


def begun_in(record: DeploymentRecord, region: str) -> StartIntent | None:
    """The newest start in a region where its last job has not run yet; None: there is none, or it has run there."""
    if record.writer is None or record.writer.region == region:
        return None
    found = [one for one in starts_of(record.intents) if one.region == region and one.epoch > record.writer.epoch]
    return found[-1] if found else None


def copy_of(note: EnsureNote) -> str | None:
    """The copy that crossed, from which a start was to go; not what was edited of it."""
    return (note.base.edited_of or note.base.location) if note.base is not None else None


def finish_command(deployment: str, region: str) -> str:
    """What ends it."""
    return f"tidegate failover deployment {deployment} --to {region} --take-over --why TEXT"


def finish_region_command(region: str, to: str, *, unplanned: bool) -> str:
    """What brings every deployment of a region's failover to its end."""
    return f"tidegate failover region {region} --to {to}{' --unplanned' if unplanned else ''} --take-over --why TEXT"


def refuse_elsewhere(deployment: str, region: str, found: Unfinished) -> None:
    """Raises Refused: from a region where its topics were never opened they turn nowhere else."""
    raise Refused(
        f"{found.operation} has turned topics of {deployment} from {found.source} to {region} and not opened them: "
        f"nobody can write them",
        hint=f"watch it:  tidegate ops watch {found.operation}\nif it is lost, end it first:  "
        f"{finish_command(deployment, region)}",
    )


def plan_finish(
    asked: FailoverInput, observed: Observation, seen: RegionsSeen, found: Unfinished, *, group: str | None = None
) -> Plan:
    """The steps that end it. ``group``: the operation that closes and opens its topics; None: it does so itself.

    Raises:
        Held: another operation holds the deployment and its run is not closed; nobody asked to take over.
        Refused: nobody asked to take over what it has closed.
        InvalidInput: the deployment has never run.

    """
    refuse_if_held(asked, observed)
    if asked.take_over is None:
        refuse_elsewhere(asked.deployment, observed.region, found)
    writer = observed.record.writer
    if writer is None:
        raise InvalidInput(f"deployment: {asked.deployment} has never run: there is nothing to fail over")
    target = target_of(observed)
    topics, where = ", ".join(seen.topics.turn), f"{observed.region}/{observed.cell}"
    runs = writer.region == observed.region
    start = "runs there: its job is adopted, or goes on from its newest snapshot" if runs else "adopt its job, or start"
    steps: list[tuple[str, str, str, bool]] = [
        ("observe", "read record, both regions, the mirror", NOTHING_TO_UNDO, False),
        ("close", f"take {topics} over from {found.operation}; they stay closed", VOID, True),
        (f"start {target.ref.name}", f"in {where}: {start}", VOID, True),
    ]
    if seen.groups:
        steps.append(("groups", f"consumer groups go on in {observed.region} where they stood", LEFT_THERE, True))
    steps += [
        ("open", f"producers go on in {observed.region}", VOID, True),
        ("prove", f"watch {asked.bake_s:g} s: checkpoints, restarts, lag, output", VOID, True),
        ("mirror", f"start {', '.join(seen.topics.back) or 'no link'}, if {found.source} answers", VOID, True),
        ("conclude", "verdict, report, release", VOID, True),
    ]
    if group is not None:
        steps = as_member(steps, group)
    how = "as planned" if found.planned else "unplanned"
    told = f"{found.operation} had left {found.source} {how} and turned the topics; this ends what it began"
    notes = [*observed.warnings, *seen.warnings, told]
    return assemble(asked.deployment, FAILOVER_DEPLOYMENT, observed, target.ref, writer.artifact, steps, notes)


def goes_on_from(record: DeploymentRecord, seen: RegionsSeen) -> RestoreFrom | None:
    """What is started if the start that was begun came to nothing: the same copy. None: it has run there."""
    if record.writer is None or seen.began_from is None:
        return None
    return RestoreFrom(until_epoch=record.writer.epoch, snapshot=seen.began_from)

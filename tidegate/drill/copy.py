"""The copy that a fork starts from in the standby, and the topics that it writes (X12, X20)."""

from __future__ import annotations

from typing import Final

from tidegate.drill.forking import output_topics, scratch_topic
from tidegate.drill.notes import BaseNote, Notes
from tidegate.errors import BasisChanged, NoProgress, Refused
from tidegate.mirror.rebasing import Made, Reach, Wanted, place_rebased, rebase_for
from tidegate.model.drill import DrillCopied, DrillStep
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.points.store import PointStore
from tidegate.snapshot.place import location_of, place_in

COME_S: Final = 120.0
"""How long the mirror may take to bring what the recovery point has read: a fork that reads twice compares nothing."""


async def copy_for_drill(run: Run, reach: Reach, step: DrillStep) -> DrillCopied:
    """Make the scratch topics and the copy; the original is pinned meanwhile. Done again, all of it is found (I4).

    ``run``: the fork's.

    Raises:
        BasisChanged: the recovery point is not kept any more.
        NoProgress: the mirror does not bring what it has read.
        SnapshotError: a file of it is missing, or it cannot be rewritten.
        Refused: a position cannot be proven, or an output topic is not in the standby.
        Superseded, Unavailable.

    """
    await run.tenure.read()
    site = run.site
    notes = Notes(site.control, site.control_bucket, site.deployment)
    point = await _point(run, step, notes)
    await _make_topics(run, step)
    made = await _rebased(run, reach, step)
    moved = made.copy.rebased.moved
    begins = {
        f"{one.new_topic}/{one.partition}": one.new_offset
        for one in moved
        if one.offset is not None and one.new_offset is not None
    }
    await notes.keep("base", point.model_copy(update={"begins": begins}))
    location = await place_rebased(reach, site.control, site.control_bucket, made, run.tenure.claim.holder.operation)
    return DrillCopied(location=str(location), positions=len(begins), dropped=len(made.copy.rebased.dropped.states))


async def _point(run: Run, step: DrillStep, notes: Notes) -> BaseNote:
    """The point as it is kept, or as an attempt before this one has noted it: they are kept for a while only."""
    known = await notes.read("base", BaseNote)
    if known is not None:
        return known
    site = run.site
    kept = (await PointStore(site.control, site.control_bucket).read(step.deployment, site.region)).points
    found = next((one for one in kept.points if one.snapshot == step.snapshot), None) if kept is not None else None
    if found is None:
        raise BasisChanged(
            f"recovery point {step.point} of {step.deployment} is not kept in {site.region} any more",
            hint="start the drill again: it takes the newest",
        )
    return BaseNote(point=found, begins={})


async def _make_topics(run: Run, step: DrillStep) -> None:
    kafka, fork = run.site.kafka, run.site.deployment
    live = output_topics(run.site.fleet.deployment(step.deployment))
    known = await kafka.describe_topics(live)
    for topic in live:
        if topic not in known:
            raise Refused(
                f"{run.site.region} has no topic {topic}, so the fork's cannot be made like it",
                hint="does the mirror bring it?  tidegate mirror status",
            )
        await kafka.create_topic(
            scratch_topic(fork, topic), known[topic].partitions, {"message.timestamp.type": "LogAppendTime"}
        )


async def _rebased(run: Run, reach: Reach, step: DrillStep) -> Made:
    site = run.site
    wanted = Wanted(
        location_of(step.snapshot), place_in(site.fleet, step.deployment, site.region), fork=site.deployment
    )
    deadline = Deadline("the mirror to bring what the recovery point has read", COME_S)
    while True:
        made = await patiently(deadline, run, lambda: rebase_for(reach, wanted))
        if not made.replays:
            return made
        at_most = "" if made.copy.rebased.counted else "at most "
        said = f"{at_most}{made.replays:,} input records that {step.point} has read are not in {site.region} yet"
        run.say(phase="copy", waiting_for=said)
        if deadline.left_s <= 0:
            raise NoProgress(
                f"{said}: a fork from it would read them twice", hint="does the mirror run?  tidegate mirror status"
            )
        await deadline.pause(said)

"""Stop the fork where its position is known, and hold its output against the live job's (see ``drill.compare``)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

from tidegate.clients.kafka_types import TopicPartition
from tidegate.drill.compare import Comparison
from tidegate.drill.forking import scratch_topic
from tidegate.drill.notes import BaseNote, Notes, WindowNote
from tidegate.drill.watch import GivesWay
from tidegate.drill.window import FETCH_BYTES, LiveWindow, Read, lowest, not_ahead, not_behind, read_inputs, usable
from tidegate.errors import NoProgress, OperationFailed
from tidegate.model.drill import DrillStep
from tidegate.model.drilled import DrillCompared
from tidegate.model.steps import StopJobInput
from tidegate.operation.run import Deadline, Run, patiently
from tidegate.operation.site import Site
from tidegate.operation.stop_deployment import stop_deployment
from tidegate.points.store import PointStore
from tidegate.snapshot.files import read_snapshot
from tidegate.snapshot.positions import kafka_positions

STOP_N: Final = 4
POINT_S: Final = 300.0
"""How long the live job may take to complete a checkpoint beyond the fork's position, attributed and written down."""


async def compare(run: Run, home: Site, step: DrillStep, live: GivesWay) -> DrillCompared:
    """``run``: the fork's; ``home``: the live deployment's, where it runs. Stopped before, it is compared at once.

    Raises:
        SavepointFailed, JobLost, MustHalt: the fork could not be stopped.
        NoProgress: no point of the live job comes that the comparison could end with.
        Refused: a log does not hold what would be compared any more, or there is too much.
        BasisChanged, Superseded, Unavailable.

    """
    notes = Notes(run.site.control, run.site.control_bucket, run.site.deployment)
    base = await notes.read("base", BaseNote)
    if base is None:
        raise OperationFailed(f"there is no note of what {run.site.deployment} has begun from")
    wanted = StopJobInput(held=step.held, fleet_digest=step.fleet_digest, at=step.at, n=STOP_N)
    stop = await live.beside(stop_deployment(run, wanted))
    run.say(phase="compare")
    snapshot = await read_snapshot(run.site.snapshots, stop.location)
    ends: dict[TopicPartition, int] = {}
    for known in (await kafka_positions(run.site.snapshots, snapshot)).values():
        for (topic, partition), offset in known.items():
            tp = TopicPartition(topic, partition)
            if offset >= 0:
                ends[tp] = min(offset, ends.get(tp, offset))
    by = home.fleet.deployment(step.deployment).record_id
    at_home = {tp: max(0, offset) for tp, offset in lowest(base.point.inputs or {}).items()}
    read = await live.beside(read_inputs(run.site.kafka, home.region, base.positions(), ends, at_home, by))
    window = await _window(run, home, step, base, read, notes, live)
    comparison = Comparison(by, read.inputs)
    await live.beside(_feed(run, home, step, LiveWindow(base.point, window.until, window.beyond), comparison))
    done = await asyncio.to_thread(comparison.result)
    return DrillCompared(
        compared=done.compared,
        missing=done.missing,
        extra=done.extra,
        differing=done.differing,
        undetermined=done.undetermined,
        replayed=read.records,
        until=window.until.id,
        by="record id" if by is not None else "key",
        examples=tuple(done.examples),
    )


async def _window(
    run: Run, home: Site, step: DrillStep, base: BaseNote, read: Read, notes: Notes, live: GivesWay
) -> WindowNote:
    known = await notes.read("window", WindowNote)
    if known is not None:
        return known
    store = PointStore(home.control, home.control_bucket)
    deadline = Deadline(f"a point of {step.deployment} in {home.region} beyond the fork's position", POINT_S)
    until = base.point
    while True:
        kept = (await patiently(deadline, run, lambda: store.read(step.deployment, home.region))).points
        points = usable(kept.points if kept is not None else (), base.point)
        # Positions only grow: the first that is ahead ends it, and what is read of the log is short each time.
        for point in usable(points, until):
            if not await not_ahead(home.kafka, point, read.home):
                break
            until = point
        beyond = next((one for one in points if not_behind(one, read.home)), None)
        if beyond is not None:
            return await notes.keep("window", WindowNote(until=until, beyond=beyond))
        said = f"the newest is {points[-1].id}" if points else "there is none later than the recovery point"
        run.say(phase="compare", waiting_for=f"a point beyond the fork's position; {said}")
        if deadline.left_s <= 0:
            raise NoProgress(
                f"{deadline.what} did not come within {POINT_S:,.0f} s: {said}",
                hint=f"are its recovery points kept?  tidegate points {step.deployment} --keep",
            )
        await live.look()
        await deadline.pause(said)


async def _feed(run: Run, home: Site, step: DrillStep, window: LiveWindow, comparison: Comparison) -> None:
    for tp, (first, end) in sorted(window.spans().items()):
        async with aclosing(home.kafka.records(tp, first, end, FETCH_BYTES)) as records:  # type: ignore[type-var]
            async for record in records:
                side = window.side(tp, record.offset)
                if side is not None:
                    comparison.live(tp, record, must=side)
    topics = {scratch_topic(run.site.deployment, topic): topic for topic in home.output_topics}
    for tp, end in sorted((await run.site.kafka.last_stable_offsets(list(topics))).items()):
        async with aclosing(run.site.kafka.records(tp, 0, end, FETCH_BYTES)) as records:  # type: ignore[type-var]
            async for record in records:
                comparison.drill(topics[tp.topic], tp, record)

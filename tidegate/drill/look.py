"""May a deployment be drilled now, from which recovery point, and what would a loss of its home cost? Reads only."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Final

from tidegate.clients.kafka_types import KafkaClient, TopicPartition
from tidegate.drill.forking import forked
from tidegate.driver.base import Capacity
from tidegate.errors import InvalidInput, Refused, SnapshotIncomplete, Unavailable
from tidegate.mirror.positions import last_hop
from tidegate.model.drill import DrillLook, DrillSeen
from tidegate.model.fleet import CellRef
from tidegate.model.record import DeploymentRecord, utc_now
from tidegate.operation.forks import forks_on
from tidegate.operation.site import Site
from tidegate.operation.timer_notes import start_notes
from tidegate.operation.timers import timers_in
from tidegate.points.index import STALE_S, against
from tidegate.points.model import Point, Points
from tidegate.points.store import PointStore
from tidegate.registry.held import held
from tidegate.registry.records import RecordStore

_STEP: Final = 256
ROOM_PAUSE_S: Final = 0.5


async def look(
    home: Site, away: Site, records: RecordStore, request: DrillLook, left: tuple[str, ...] = ()
) -> DrillSeen:
    """Both regions of the live deployment. ``away``: the standby; ``left``: what earlier drills have left there.

    Raises:
        InvalidInput: there is no such point.
        Held: an operation holds the live deployment.
        Refused: it does not run, its fork would not be apart from it, or there is no room for it.
        SnapshotIncomplete: there is nothing in the standby that it can be restored from.
        Unavailable: a part did not answer.

    """
    deployment = request.deployment
    stored = await records.read(deployment)
    record = stored.record if stored else DeploymentRecord(deployment=deployment)
    if record.holder is not None:
        raise held(record)
    writer = record.writer
    state = await home.driver.state(writer.job_id) if writer is not None else None
    if writer is None or state is None or state.value != "RUNNING":
        raise Refused(
            f"{deployment} does not run in {home.region}: there is no live output to compare with",
            hint=f"make it run:  tidegate restore {deployment}",
        )
    forked(home.fleet, deployment, request.fork, CellRef(away.region, away.cell))
    kept = (await PointStore(away.control, away.control_bucket).read(deployment, away.region)).points
    point = choose(kept, deployment, away.region, home.region, request.point)
    capacity = await _room(away, writer.parallelism, 0.0 if left else request.room_wait_s)
    if capacity.slots_free < writer.parallelism and not left:
        forks = "".join(f"; {one.slots} are held by the drill {one.by}" for one in await forks_on(away) if one.slots)
        raise Refused(
            f"no room in {away.region}/{away.cell}: a fork of {deployment} needs {writer.parallelism} slots, "
            f"{capacity.slots_free} of {capacity.slots_total} are free{forks}",
            hint="nothing gives way to a drill; start it again when there is room",
        )
    now = utc_now()
    notes: list[str] = []
    newest = kept.points[0] if kept is not None and kept.points else None
    if request.point is None and newest is not None and newest.id != point.id and kept is not None:
        notes.append(f"the newest, {newest.id}, is no recovery point: {against(kept, newest)}")
    if kept is not None and (looked_s := (now - kept.updated_at).total_seconds()) > STALE_S:
        notes.append(f"nobody has looked after the recovery points for {looked_s:,.0f} s")
    rpo_s: float | None = None
    try:
        rpo_s = await measured_rpo_s(home, away)
    except (Refused, Unavailable) as error:
        notes.append(f"RPO not measured: {error.message}")
    timers = await timers_in(away.snapshots, point.snapshot, point.id, point.taken_at)
    notes += start_notes(timers, now)
    if any(one.processing is not False for one in timers.operators):
        notes.append("what the fork's timers write may differ from the live job's, and is no fault of the point (X28)")
    objectives = home.spec.objectives
    return DrillSeen(
        at=f"{away.region}/{away.cell}",
        point=point.id,
        snapshot=point.snapshot,
        taken_at=point.taken_at,
        age_s=max(0.0, (now - point.taken_at).total_seconds()),
        rpo_s=rpo_s,
        job_id=writer.job_id,
        epoch=writer.epoch,
        artifact=writer.artifact,
        parallelism=writer.parallelism,
        slots_free=capacity.slots_free,
        slots_total=capacity.slots_total,
        rto_objective_s=objectives.rto_s,
        rpo_objective_s=objectives.rpo_s,
        notes=tuple(notes),
        left=left,
    )


async def _room(away: Site, slots: int, wait_s: float) -> Capacity:
    """What there is, once there is room or the time is over: slots that a job has left take a moment to come free."""
    ends = time.monotonic() + wait_s
    while True:
        capacity = await away.driver.capacity()
        if capacity.slots_free >= slots or time.monotonic() >= ends:
            return capacity
        await asyncio.sleep(ROOM_PAUSE_S)


def choose(kept: Points | None, deployment: str, region: str, home: str, wanted: str | None) -> Point:
    """The recovery point that is meant, as a failover now would take it. Raises as ``look``."""
    see = f"see what stands against each:  tidegate points {deployment}"
    if kept is None or not kept.points or kept.home != home:
        raise SnapshotIncomplete(
            f"{deployment} cannot be restored in {region}: no recovery point of the job in {home} is there",
            hint=f"begin to keep them:  tidegate points {deployment} --keep",
        )
    if wanted is not None:
        named = next((one for one in kept.points if wanted in {one.id, one.snapshot}), None)
        if named is None:
            known = ", ".join(one.id for one in kept.points[:5])
            raise InvalidInput(f"point: {deployment} has no {wanted} in {region}; newest: {known}", hint=see)
        problem = against(kept, named)
        if problem is not None:
            raise SnapshotIncomplete(f"{named.id} in {region} cannot be restored from: {problem}", hint=see)
        return named
    good = [one for one in kept.points if against(kept, one) is None]
    if not good:
        newest = kept.points[0]
        raise SnapshotIncomplete(
            f"{deployment} cannot be restored in {region}: {newest.id}: {against(kept, newest)}", hint=see
        )
    return max(good, key=lambda one: (one.taken_at, one.checkpoint_id or 0))


async def measured_rpo_s(home: Site, away: Site) -> float | None:
    """How much newer home's newest input is than the newest that has crossed, by home's own times; the worst partition.

    In seconds; None: there is no input. Raises Unavailable, Refused if home's log does not hold it any more.
    """
    worst: float | None = None
    for tp in sorted(await away.kafka.last_stable_offsets(away.input_topics)):
        came = await last_hop(away.kafka, home.region, tp)
        newest = await _newest_ms(home.kafka, tp)
        if newest is None:
            continue
        if came is None:
            raise Refused(f"nothing of {tp} has crossed to {away.region}")
        crossed = await _time_at(home.kafka, tp, came.source_offset)
        if crossed is None:
            raise Refused(f"{tp} at {came.source_offset:,} is not in {home.region} any more")
        behind = max(0.0, (newest - crossed) / 1000)
        worst = behind if worst is None else max(worst, behind)
    return worst


async def _newest_ms(kafka: KafkaClient, tp: TopicPartition) -> int | None:
    """Time of the newest committed record; None: there is none."""
    start, high = (await kafka.start_offsets([tp.topic]))[tp], (await kafka.last_stable_offsets([tp.topic]))[tp]
    step = _STEP
    while high > start:
        low = max(start, high - step)
        newest: int | None = None
        async with aclosing(kafka.records(tp, low, high)) as records:  # type: ignore[type-var]
            async for record in records:
                newest = record.timestamp_ms
        if newest is not None:
            return newest
        high, step = low, step * 4
    return None


async def _time_at(kafka: KafkaClient, tp: TopicPartition, offset: int) -> int | None:
    async with aclosing(kafka.records(tp, offset, offset + 1)) as records:  # type: ignore[type-var]
        async for record in records:
            return record.timestamp_ms
    return None

"""What both regions say before a failover. Reads only; a part that does not answer is part of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Mapping
from typing import Final

from tidegate import names
from tidegate.clients.objects import S3Uri
from tidegate.errors import Refused, SnapshotError, TidegateError, Unavailable
from tidegate.failover import memory
from tidegate.failover.crossing import count_ahead, positions_of, unproven
from tidegate.failover.groups import look_at_groups
from tidegate.failover.turning import turning
from tidegate.failover.unfinished import begun_in, copy_of
from tidegate.lineage.store import LineageStore
from tidegate.mirror.link import open_link, parse_partition
from tidegate.mirror.positions import mirrored_to, passed_position
from tidegate.mirror.status import look as look_at
from tidegate.model.failover import Answers, PointChoice, RegionsSeen, Topics
from tidegate.model.fleet import Fleet
from tidegate.model.mirror import LinkState
from tidegate.model.record import DeploymentRecord, SlotMemory, utc_now
from tidegate.model.timers import TimersFound
from tidegate.operation.forks import forks_on, told
from tidegate.operation.move import lives_at
from tidegate.operation.note import EnsureNote
from tidegate.operation.site import Site
from tidegate.operation.timers import timers_in, timers_of_job
from tidegate.points.index import against
from tidegate.points.model import Point, Points
from tidegate.points.store import PointStore
from tidegate.points.superseded import count_superseded, older_than_the_turn
from tidegate.registry.links import LinkStore
from tidegate.registry.records import RecordStore
from tidegate.snapshot.files import verify

LOOK_S: Final = 3.0
"""A part that has not answered by then does not answer."""
POINTS_SHOWN: Final = 5
POINTS_TRIED: Final = 40
"""More than are kept: the last good one stands behind all that a mirror that is behind has not completed."""


async def look(
    home: Site,
    away: Site,
    records: RecordStore,
    together: Collection[str],
    *,
    unplanned: bool,
    wanted: str | None,
    returning: bool = False,
) -> RegionsSeen:
    """Ask both regions. ``together``: the deployments that move; ``wanted``: the id of the recovery point.

    ``returning``: home was left before; how it was left is looked at, too.

    Raises:
        Refused: a topic cannot be turned; see ``turning``.
        Unavailable: the region to go on in, or the control bucket, did not answer.

    """
    answers, other, capacity, drills, lives, kept = await asyncio.gather(
        answers_of(home),
        answers_of(away),
        _slots(away),
        forks_on(away),
        lives_now(away.fleet, records),
        PointStore(away.control, away.control_bucket).read(away.deployment, away.region),
    )
    if not other.all:
        raise Unavailable(f"{away.region} cannot be gone on in: {'; '.join(other.silent)}")
    topics = turning(away.fleet, {away.deployment, *together}, home.region, away.region, lives)
    warnings: list[str] = []
    lag, groups, blind = await asyncio.gather(
        lags(away.fleet, topics, answers, warnings),
        look_at_groups(home, away, topics, answers),
        unproven(away, home.region, topics.turn),
    )
    points: tuple[PointChoice, ...] = ()
    if unplanned:
        points = await judged(away, kept.points, topics, wanted, ask_home=answers.kafka is None, count=True)
        timers = await _timers_of_point(away, points)
    else:
        timers = await _timers_of_job(away if returning else home, records)
    return RegionsSeen(
        at=utc_now(),
        home=answers,
        standby=other,
        topics=topics,
        parallelism=away.spec.parallelism,
        slots_free=capacity[0] + sum(one.slots for one in drills),
        slots_total=capacity[1],
        points=points,
        newest=await _newest_at_home(away, home.region),
        mirror_lag=lag,
        left_planned=await left_planned(away, records, topics, home.region) if returning else None,
        rto_objective_s=away.spec.objectives.rto_s,
        rpo_objective_s=away.spec.objectives.rpo_s,
        groups=groups,
        unproven=() if returning else blind,
        timers=timers,
        tail=away.spec.tail,
        began_from=await _began_from(away, records),
        not_returned=await _not_returned(away, records),
        warnings=(*warnings, *told(drills, f"{away.region}/{away.cell}"), *await _memory(home, away, records, answers)),
    )


async def _memory(home: Site, away: Site, records: RecordStore, answers: Answers) -> tuple[str, ...]:
    stored = await records.read(away.deployment)
    writer = stored.record.writer if stored is not None else None
    if writer is None:
        return ()
    sites = {f"{one.region}/{one.cell}": one for one in (home, away)}
    at, there = sites

    async def memory_of(cell: str) -> SlotMemory | None:
        try:
            return await asyncio.wait_for(sites[cell].driver.slot_memory(), LOOK_S)
        except TimeoutError as error:
            raise Unavailable(f"no answer within {LOOK_S:g} s") from error

    needs = [memory.Needs(away.deployment, at, there, writer.slot_memory)]
    return await memory.compare(needs, memory_of, ask_home=answers.flink is None)


async def _timers_of_point(away: Site, points: tuple[PointChoice, ...]) -> TimersFound | None:
    good = next((one for one in points if one.problem is None), None)
    return None if good is None else await timers_in(away.snapshots, good.snapshot, good.id, good.taken_at)


async def _timers_of_job(site: Site, records: RecordStore) -> TimersFound | None:
    """Of the job that runs there: what is stopped, or what a tail would be fed to."""
    stored = await records.read(site.deployment)
    writer = stored.record.writer if stored is not None else None
    if writer is None or writer.region != site.region:
        return None
    return await timers_of_job(site, writer.job_id, writer.epoch)


async def lives_now(fleet: Fleet, records: RecordStore) -> Mapping[str, str]:
    """The region where each deployment lives, by its record, else by the fleet file. Raises Unavailable."""

    async def one(name: str) -> tuple[str, str]:
        stored = await records.read(name)
        at = lives_at(stored.record if stored else None) or fleet.deployment(name).home_ref
        return name, at.region

    return dict(await asyncio.gather(*(one(name) for name in fleet.deployments)))


async def _not_returned(away: Site, records: RecordStore) -> str | None:
    stored = await records.read(away.deployment)
    return gave_up(stored.record if stored is not None else None, away.region)


def gave_up(record: DeploymentRecord | None, region: str) -> str | None:
    """The operation that gave a region up, if it has not been returned since; None: it was not, or has been (X23)."""
    gone = record.gone.get(region) if record is not None else None
    if gone is None or gone.left is None or gone.returned is not None:
        return None
    return gone.left.operation.partition("/")[0]


async def _began_from(away: Site, records: RecordStore) -> str | None:
    stored = await records.read(away.deployment)
    start = begun_in(stored.record, away.region) if stored is not None else None
    if start is None:
        return None
    key = names.manifest_key(away.deployment, start.id)
    found = await away.control.get_or_none(S3Uri(away.control_bucket, key))
    return copy_of(EnsureNote.model_validate_json(found.body)) if found is not None else None


async def left_planned(away: Site, records: RecordStore, topics: Topics, region: str) -> str | None:
    """The operation by which a region was left as planned and that is mirrored to since; None: it was given up, or it
    is not mirrored to. Raises Unavailable.
    """
    stored = await records.read(away.deployment)
    gone = stored.record.gone.get(region) if stored is not None else None
    if gone is not None and gone.left is not None:
        return None  # also if the cut was made as planned before it was given up
    store = LineageStore(away.control, away.control_bucket)
    lineages = [known for topic in topics.turn if (known := await store.read(topic)) is not None]
    turns = [next((turn for turn in reversed(known.turns) if turn.source == region), None) for known in lineages]
    links = LinkStore(away.control, away.control_bucket)
    back = [await links.read(name) for name in topics.back]
    runs = [link is not None and link.mirror is LinkState.RUNNING for link in back]
    planned = [turn.operation for turn in turns if turn is not None and turn.planned]
    if not planned or len(planned) < len(turns) or not runs or not all(runs):
        return None
    return planned[0].partition("/")[0]


async def answers_of(site: Site) -> Answers:
    """What of a region answers within ``LOOK_S``."""
    bucket = S3Uri.parse(site.savepoints)
    flink, kafka, s3 = await asyncio.gather(
        _asked(site.driver.capacity()),
        _asked(site.kafka.ping()),
        _asked(site.snapshots.get_or_none(bucket.join("tidegate-asks"))),
    )
    return Answers(region=site.region, flink=flink, kafka=kafka, s3=s3)


async def _asked(call: Awaitable[object]) -> str | None:
    try:
        await asyncio.wait_for(call, LOOK_S)
    except TimeoutError:
        return f"no answer within {LOOK_S:g} s"
    except TidegateError as error:
        return error.message
    return None


async def _slots(site: Site) -> tuple[int, int]:
    capacity = await site.driver.capacity()
    return capacity.slots_free, capacity.slots_total


async def lags(fleet: Fleet, topics: Topics, home: Answers, warnings: list[str]) -> dict[str, int | None]:
    """How far each link lags, in records; None: not known, and ``warnings`` says why."""
    found: dict[str, int | None] = {}
    for name in topics.links:
        found[name] = None
        try:
            async with open_link(fleet, name, LOOK_S) as link:
                status = await asyncio.wait_for(look_at(link), 4 * LOOK_S) if home.kafka is None else None
        except (TidegateError, TimeoutError) as error:
            warnings.append(f"mirror link {name}: {error}")
            continue
        if status is None:
            continue
        found[name] = status.lag_records
        if status.connector != "RUNNING":
            warnings.append(f"mirror link {name} is {status.connector or 'not there'}")
        warnings += [f"mirror link {name}: {failure}" for failure in status.failures]
    return found


async def _newest_at_home(away: Site, home: str) -> str | None:
    kept = (await PointStore(away.control, away.control_bucket).read(away.deployment, home)).points
    return kept.points[0].id if kept is not None and kept.points else None


async def judged(
    away: Site, kept: Points | None, topics: Topics, wanted: str | None, *, ask_home: bool = True, count: bool
) -> tuple[PointChoice, ...]:
    """The recovery points of the region, newest first, each looked at anew until one can be gone on from.

    ``wanted``: only this one is looked at. ``ask_home``: home's Kafka answers. ``count``: tell of the one that can how
    many outputs it supersedes.
    """
    if kept is None:
        return ()
    found: list[PointChoice] = []
    ordered = sorted(kept.points, key=lambda point: (point.taken_at, point.checkpoint_id or 0), reverse=True)
    for point in ordered[:POINTS_TRIED]:
        if wanted is not None and point.id != wanted:
            continue
        problem = await against_now(away, kept, point, topics, ask_home=ask_home)
        superseded: int | None = None
        ahead: tuple[int | None, bool] = (None, True)
        if problem is None and count:
            superseded = await count_superseded(away, kept.home, point)
            ahead = await _ahead(away, point, topics, ask_home=ask_home)
        found.append(
            PointChoice(
                id=point.id,
                snapshot=point.snapshot,
                source=point.source or point.snapshot,
                epoch=point.epoch,
                taken_at=point.taken_at,
                problem=problem,
                superseded=superseded,
                ahead=ahead[0],
                ahead_exact=ahead[1],
            )
        )
        if problem is None:
            break
    return tuple(found[: POINTS_SHOWN - 1] + found[-1:] if len(found) > POINTS_SHOWN else found)


async def _ahead(away: Site, point: Point, topics: Topics, *, ask_home: bool) -> tuple[int, bool]:
    count, exact = 0, True
    for name in topics.links:
        async with open_link(away.fleet, name, LOOK_S) as link:
            found, sure = await count_ahead(link, positions_of(point), ask_source=ask_home)
        count, exact = count + found, exact and sure
    return count, exact


async def against_now(away: Site, kept: Points, point: Point, topics: Topics, *, ask_home: bool = True) -> str | None:
    """What stands against a recovery point now: its files and its outputs are looked for anew; None: nothing.

    What the index says of its files may be old, and what had not come through then may have come since (X5).
    """
    fresh = point.model_copy(update={"problem": None, "outputs_there": True, "verified_at": point.taken_at})
    problem = against(kept.model_copy(update={"holes": ()}), fresh)
    if problem is not None:
        return problem
    try:
        await verify(away.snapshots, point.snapshot)
        if await older_than_the_turn(away, kept.home, point):
            return f"it is older than the last switch to {kept.home}: what was written since would come again"
        missing = await _not_through(away, kept.home, point, topics, ask_home=ask_home)
    except SnapshotError as error:
        return error.message
    except (Unavailable, Refused) as error:
        return f"nobody can say whether its outputs came through: {error.message}"
    return missing


async def _not_through(away: Site, home: str, point: Point, topics: Topics, *, ask_home: bool = True) -> str | None:
    wanted = {parse_partition(name): cut.upto for name, cut in (point.outputs or {}).items()}
    for name in topics.links:
        mirrored = set(away.fleet.mirror(name).topics)
        of_link = {tp: end for tp, end in wanted.items() if tp.topic in mirrored}
        if not of_link:
            continue
        async with open_link(away.fleet, name, LOOK_S) as link:
            if ask_home:
                passed = await passed_position(link, of_link)
            else:
                # Only home could say that what is missing are markers; what came must reach it by itself.
                came = await mirrored_to(link, of_link)
                reached = {tp: -1 if at is None else at for tp, at in came.items()}
                passed = {tp: reached[tp] >= end - 1 for tp, end in of_link.items()}
        late = sorted(tp for tp, there in passed.items() if not there)
        if late:
            return f"its outputs have not all come from {home}: {late[0]} up to {of_link[late[0]]:,} has not"
        wanted = {tp: end for tp, end in wanted.items() if tp not in of_link}
    if wanted:
        return f"no mirror link from {home} brings {min(wanted).topic}"
    return None

"""May deployments go to the other region for a game day, could they come back, and where are they? Reads only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from tidegate.clients.objects import ObjectStore
from tidegate.errors import Refused, TidegateError, Unavailable
from tidegate.failover.group import Lives
from tidegate.failover.room import make_room
from tidegate.failover.turning import turning
from tidegate.lineage.model import Gate
from tidegate.lineage.store import LineageStore
from tidegate.model.fleet import Fleet
from tidegate.model.gamedaysteps import CLOSED, DEPLOYING, RUNNING, SILENT, GameDaySeen, Stand, Stands, WhereInput
from tidegate.model.mirror import LinkState
from tidegate.model.record import DeploymentRecord, utc_now
from tidegate.model.region import GroupSeen, Member
from tidegate.operation.move import lives_at
from tidegate.operation.site import Site
from tidegate.points.index import restorability
from tidegate.points.store import PointStore
from tidegate.registry.held import held
from tidegate.registry.links import LinkStore
from tidegate.registry.records import RecordStore
from tidegate.schedules.store import ScheduleStore

SiteOf = Callable[[str, str], Site]
FLINK_S: Final = 10.0


async def look(
    fleet: Fleet,
    seen: GroupSeen,
    known: Sequence[Lives],
    site: SiteOf,
    control: tuple[ObjectStore, str],
) -> GameDaySeen:
    """Both ways. ``seen``: the way there, as FailoverRegion sees it; ``control``: the control bucket.

    Raises:
        Held: an operation holds one of them.
        Refused: an incident is open, the standby could not take them, or home could not take them back.
        Unavailable: a part did not answer.

    """
    home, to = seen.home.region, seen.standby.region
    store, bucket = control
    if not seen.home.all:
        raise Refused(
            f"{home} does not answer as a game day needs it to: {'; '.join(seen.home.silent)}",
            hint="a game day is planned, both ways; mend that first",
        )
    await _quiet(store, bucket)
    names = [one.deployment for one in seen.members]
    await asyncio.gather(*(_runs(RecordStore(store, bucket), one, site) for one in seen.members))
    room = make_room(seen, "wait", unplanned=False)
    if room.waits:
        raise Refused(
            f"no room in {to} for {', '.join(room.waits)}: {seen.slots_free} of {seen.slots_total} slots are free, "
            f"{room.needed} are needed",
            hint="nothing gives way to a game day: add TaskManagers there, or choose fewer deployments",
        )
    await _room_to_come_back(seen.members, site)
    back = _way_back(fleet, seen, known)
    turn = sorted({topic for family in seen.families for topic in family.topics.turn})
    links = sorted({link for family in seen.families for link in family.topics.links})
    await _mirrors_run(LinkStore(store, bucket), seen, links)
    await _open_at(LineageStore(store, bucket), turn, home)
    points = dict(
        await asyncio.gather(*(_restorable(PointStore(store, bucket), name, home, to) for name in names)),
    )
    return GameDaySeen(
        at=utc_now(),
        fleet_digest=seen.fleet_digest,
        members=seen.members,
        topics=tuple(turn),
        links=tuple(links),
        back=back,
        points=points,
        slots_needed=room.needed,
        slots_free=seen.slots_free,
        slots_total=seen.slots_total,
        mirror_lag=seen.mirror_lag,
        approvals=tuple(name for name in names if fleet.deployment(name).approval == "required"),
        notes=seen.warnings,
    )


async def _quiet(store: ObjectStore, bucket: str) -> None:
    """Raises Refused if an incident is open."""
    incidents = await ScheduleStore(store, bucket).incidents()
    if incidents:
        raise Refused(
            f"an incident is open: {', '.join(sorted(incidents)[:5])}. Nothing is moved for practice meanwhile",
            hint=f"when it is over:  tidegate incident close {min(incidents)}",
        )


async def _runs(records: RecordStore, member: Member, site: SiteOf) -> None:
    """Raises Held, Refused: it is held, or does not run."""
    stored = await records.read(member.deployment)
    record = stored.record if stored is not None else DeploymentRecord(deployment=member.deployment)
    if record.holder is not None:
        raise held(record)
    writer = record.writer
    state = None
    if writer is not None:
        state = await site(member.deployment, member.home).driver.state(writer.job_id)
    if state is None or state.value != "RUNNING":
        word = state.value if state is not None else "not known to Flink"
        raise Refused(
            f"{member.deployment} does not run in {member.home}: it is {word}",
            hint=f"make it run first:  tidegate restore {member.deployment}",
        )


async def _room_to_come_back(members: Sequence[Member], site: SiteOf) -> None:
    """Raises Refused if home has not the slots that the fleet file wants, counting what they leave free themselves."""
    for cell in sorted({one.home for one in members}):
        mine = [one for one in members if one.home == cell]
        first = site(mine[0].deployment, cell)
        capacity = await first.driver.capacity()
        records = RecordStore(first.control, first.control_bucket)
        leaving = 0
        for one in mine:
            stored = await records.read(one.deployment)
            writer = stored.record.writer if stored is not None else None
            leaving += writer.parallelism if writer is not None else 0
        needed = sum(one.parallelism for one in mine)
        free = capacity.slots_free + leaving
        if free < needed:
            raise Refused(
                f"{cell} could not take them back: {needed} slots are needed, {free} of {capacity.slots_total} would "
                f"be free when they have left",
                hint=f"add TaskManagers in {cell} first",
            )


def _way_back(fleet: Fleet, seen: GroupSeen, known: Sequence[Lives]) -> tuple[str, ...]:
    """The links by which they come back. Raises Refused: something could not."""
    home, to = seen.home.region, seen.standby.region
    going = {name for family in seen.families for name in (*family.members, *family.idle)}
    lives: Mapping[str, str] = {one.deployment: to if one.deployment in going else one.region for one in known}
    links: set[str] = set()
    for family in seen.families:
        try:
            links |= set(turning(fleet, (*family.members, *family.idle), to, home, lives).links)
        except Refused as error:
            raise Refused(f"they could not come back: {error.message}", hint=error.hint) from error
    return tuple(sorted(links))


async def _mirrors_run(links: LinkStore, seen: GroupSeen, names: Sequence[str]) -> None:
    """Raises Refused: a link could not be drained now. Unavailable: nobody could say how far it is."""
    for name in names:
        record = await links.read(name)
        state = record.mirror if record is not None else LinkState.NEVER
        problems = [text for text in seen.warnings if text.startswith(f"mirror link {name}")]
        if state is LinkState.RUNNING and seen.mirror_lag.get(name) is None:
            raise Unavailable(f"nobody can say how far mirror link {name} is: {'; '.join(problems) or 'no answer'}")
        if state is not LinkState.RUNNING:
            problems.append(f"mirror link {name} is {state}")
        if problems:
            raise Refused(
                f"it could not be drained: {'; '.join(problems)}", hint=f"look at it:  tidegate mirror status {name}"
            )


async def _open_at(lineage: LineageStore, topics: Collection[str], region: str) -> None:
    """Raises Refused: a topic does not live there, or a switch of it is under way."""
    for topic in topics:
        known = await lineage.read(topic)
        if known is None:
            continue  # the failover begins it
        if known.region != region or known.gate is not Gate.OPEN:
            by = f" by {known.holder}" if known.holder else ""
            raise Refused(
                f"topic {topic} lives in {known.region}, its gate is {known.gate}{by}",
                hint=f"look at it:  tidegate lineage show {topic}",
            )


async def _restorable(points: PointStore, deployment: str, home: str, region: str) -> tuple[str, str]:
    """Its newest recovery point there. Raises Refused: if home were lost meanwhile, there would be nothing."""
    kept = (await points.read(deployment, region)).points
    line = restorability(kept, deployment, region, utc_now())
    why_not = line.why_not
    if kept is not None and kept.home != home:
        why_not = f"the points that are kept there are of its time in {kept.home}"
    if why_not is not None:
        raise Refused(
            f"{deployment} cannot be restored in {region} now: {why_not}",
            hint=f"keep its recovery points:  tidegate points {deployment} --keep",
        )
    return deployment, f"{line.point}, {line.age_s or 0.0:,.1f} s old"


async def where(
    records: RecordStore, links: LinkStore, lineage: LineageStore, request: WhereInput, site: SiteOf
) -> Stands:
    """Where each of them lives now, by what the control bucket says. Raises Unavailable if that does not answer."""

    async def one(member: Member) -> Stand:
        stored = await records.read(member.deployment)
        record = stored.record if stored is not None else None
        at = lives_at(record)
        writer = record.writer if record is not None else None
        if record is None or at is None or writer is None:
            return Stand(deployment=member.deployment, at=member.home, job_id="", epoch=0, state="never started")
        holder = record.holder.operation if record.holder is not None else None
        state = await _state(site(member.deployment, str(at)), writer.job_id)
        return Stand(
            deployment=member.deployment,
            at=str(at),
            job_id=writer.job_id,
            epoch=record.epoch,
            state=state,
            holder=holder,
        )

    async def topic(name: str) -> tuple[str, str | None]:
        known = await lineage.read(name)
        if known is None:
            return name, None
        return name, known.region if known.gate is Gate.OPEN else CLOSED

    async def link(name: str) -> tuple[str, str]:
        record = await links.read(name)
        return name, (record.mirror if record is not None else LinkState.NEVER).value

    return Stands(
        at=utc_now(),
        stands=tuple(await asyncio.gather(*(one(member) for member in request.members))),
        topics={name: at for name, at in await asyncio.gather(*map(topic, request.topics)) if at is not None},
        links=dict(await asyncio.gather(*(link(name) for name in request.links))),
    )


async def _state(site: Site, job_id: str) -> str:
    """Flink's word; RUNNING only if every task runs, for only then a savepoint can be taken."""
    try:
        view = await asyncio.wait_for(site.driver.observe(job_id), FLINK_S)
    except (Unavailable, TimeoutError) as error:
        why = error.message if isinstance(error, TidegateError) else f"no answer within {FLINK_S:g} s"
        return f"{SILENT} ({why})"
    if view.state is None:
        return "not known to Flink"
    return DEPLOYING if view.state.value == RUNNING and not view.all_running else view.state.value

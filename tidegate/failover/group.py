"""What the deployments of a region's failover do in common: their topics and mirror links are closed, shut and turned
once, by the operation that moves them all; each job is moved by an operation of its own.

Topics are fenced by their lineage's holder and links by their record's, and both are this operation. The deployments'
records are the members': they are read here, and never written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from tidegate.errors import InvalidInput, NoProgress, Unavailable
from tidegate.failover import ahead, comeback, cut, lostregion, memory, producers
from tidegate.failover.crossing import refuse_unproven, unproven
from tidegate.failover.look import LOOK_S, answers_of, lags
from tidegate.failover.lostregion import NOTHING, Left
from tidegate.failover.plan import refuse_not_returned
from tidegate.failover.room import families_of
from tidegate.failover.sides import Sides
from tidegate.failover.turning import inputs_of, outputs_of, turning
from tidegate.model.failover import (
    Answers,
    CutInput,
    FailoverStep,
    MirrorBackFact,
    OpenFact,
    OpenInput,
    ShutFact,
    Topics,
)
from tidegate.model.fleet import Fleet
from tidegate.model.record import DeploymentRecord, Holder, SlotMemory, utc_now
from tidegate.model.region import (
    Family,
    GaveWay,
    GroupCutFact,
    GroupCutInput,
    GroupOpenInput,
    GroupSeen,
    GroupStep,
    Member,
    Other,
)
from tidegate.model.steps import Held
from tidegate.operation.forks import forks_on, told
from tidegate.operation.note import superseded_here
from tidegate.operation.run import Beat, Run
from tidegate.operation.site import Site
from tidegate.registry.links import HolderClosed, LinkStore
from tidegate.registry.ownership import Claim, Tenure
from tidegate.registry.records import RecordStore

T = TypeVar("T")
SiteOf = Callable[[str, str], Site]
"""A deployment at a cell, ``region/cell``."""


class GroupTenure(Tenure):
    """Reads the record of a member, which another operation holds: what the group writes is fenced elsewhere."""

    def __init__(self, records: RecordStore, deployment: str, holder: Holder) -> None:
        super().__init__(records, Claim(deployment, holder, fence=0))
        self._members = records

    async def read(self) -> DeploymentRecord:
        """The record, whoever holds it. Raises Unavailable."""
        return (await self._members.read_or_create(self.claim.deployment)).record


@dataclass(frozen=True)
class Group:
    """A family between two regions, with what reaches them."""

    step: GroupStep
    records: RecordStore
    site: SiteOf
    beat: Beat
    holder_closed: HolderClosed | None = None

    def sides(self, member: Member) -> Sides:
        """The two regions, as the steps of a single failover take them; the holder is the group."""
        tenure = GroupTenure(self.records, member.deployment, self.step.holder)

        def at(cell: str) -> Run:
            return Run(site=self.site(member.deployment, cell), tenure=tenure, beat=self.beat)

        return Sides(at(member.home), at(member.at), self.holder_closed, self.step.take_over)

    @property
    def first(self) -> Sides:
        """The two regions, for what is about no single deployment."""
        return self.sides(self.step.members[0])

    def fields(self, member: Member, topics: Topics) -> dict[str, object]:
        """What a step of a single failover is told, for these topics."""
        return {
            "held": Held(deployment=member.deployment, holder=self.step.holder, fence=0),
            "fleet_digest": self.step.fleet_digest,
            "at": member.at,
            "home": member.home,
            "topics": topics,
            "unplanned": self.step.unplanned,
            "take_over": self.step.take_over,
            "answers": self.step.answers,
        }


async def close_group(group: Group) -> ShutFact:
    """Close the producers of all topics of the family. Raises as ``close_when_current``."""
    sides, step = group.first, group.step
    if not step.unplanned:
        return await ahead.close_when_current(sides, step.topics, take_over=step.take_over)
    home_answers = (await _answers(group, sides)).kafka is None
    return await producers.close_producers(sides, step.topics, take_over=step.take_over, home_answers=home_answers)


async def _answers(group: Group, sides: Sides) -> Answers:
    return group.step.answers or await answers_of(sides.home.site)


async def cut_group(group: Group, request: GroupCutInput) -> GroupCutFact:
    """Shut the links once, and turn the inputs, or the outputs of some members, or both. Done again, it is found done.

    An output turns by the record of the deployment that writes it: its epoch, and how it was left.

    Raises:
        Held: somebody else acts on a link.
        NoProgress: planned, and the mirror does not bring the rest in time.
        Superseded, Unavailable.

    """
    shut, notes = await _shut(group, request) if request.shut is None else (request.shut, [])
    turned = 0
    until: dict[str, datetime | None] = {}
    left = set(request.topics.turn)
    first, written = request.members[0], {topic for member in request.members for topic in member.writes}
    for member in request.members:
        sides = group.sides(member)
        mine = set(member.writes) & left if member.deployment in request.outputs_of else set()
        if request.inputs:
            # One that a member writes turns with that member, also where another one reads it. Those that nobody here
            # uses are of deployments that do not run.
            read = set(member.reads) if member is not first else set(request.topics.turn) - _read(request, first)
            mine |= (read & left) - written
        left -= mine
        record = await sides.away.tenure.read()
        if mine:
            wanted = CutInput.model_validate(
                group.fields(member, _of(sides.fleet, request.topics, mine)) | {"ends": request.ends}
            )
            turned += (await cut.turn(sides, wanted, record, shut)).partitions
        reads = set(member.reads) & set(request.topics.turn)
        until[member.deployment] = await cut.input_until(sides, _of(sides.fleet, request.topics, reads))
    return GroupCutFact(
        partitions=turned, shut=dict(shut), drained=not request.unplanned, input_until=until, notes=tuple(notes)
    )


def _read(request: GroupCutInput, besides: Member) -> set[str]:
    """What the other members read."""
    return {topic for one in request.members if one != besides for topic in one.reads} - set(besides.reads)


def _of(fleet: Fleet, topics: Topics, turn: Collection[str]) -> Topics:
    """These topics, with the links that bring them."""
    links = tuple(name for name in topics.links if set(fleet.mirror(name).topics) & set(turn))
    return Topics(turn=tuple(sorted(turn)), stay=topics.stay, links=links, back=topics.back)


async def _shut(group: Group, request: GroupCutInput) -> tuple[Mapping[str, str], list[str]]:
    """Drained first: planned, it must be; else if the region that is left answers, and as far as it comes in time."""
    sides = group.first
    wanted = CutInput.model_validate(
        group.fields(request.members[0], request.topics) | {"ends": request.ends, "drain_s": request.drain_s}
    )
    if not request.unplanned:
        return await cut.shut_links(sides, wanted, drain=True), []
    if (await _answers(group, sides)).kafka is not None:
        return await cut.shut_links(sides, wanted, drain=False), []
    try:
        return await cut.shut_links(sides, wanted, drain=True), []
    except (NoProgress, Unavailable) as error:
        late = f"the mirror did not bring everything, what is left is tail: {error.message}"
        return await cut.shut_links(sides, wanted, drain=False), [late]


async def open_group(group: Group, request: GroupOpenInput) -> OpenFact:
    """The producers of these topics go on there. Raises Superseded, Unavailable."""
    fields = group.fields(request.members[0], request.topics.model_copy(update={"turn": request.open}))
    told = list(request.superseded)
    for member in request.members:
        away = group.sides(member).away
        told += [one for one in await superseded_here(away, await away.tenure.read()) if one.topic in request.open]
    return await producers.open_producers(group.first, OpenInput.model_validate(fields | {"superseded": told}))


async def mirror_group(group: Group) -> MirrorBackFact:
    """The links of the other direction run from the cut on. Raises Held, Superseded, Unavailable."""
    return await cut.mirror_back(group.first, group.step.topics)


async def reopen_group(group: Group) -> None:
    """All is as it was: the cut is taken back before the links run on behind it, and they before producers write.

    Also what a failover had closed that was taken over, where this one has not come to close it itself.
    """
    sides, topics = group.first, group.step.topics
    await producers.turn_back(sides, topics, take_over=group.step.take_over, of_region=True)
    await cut.mirror_home_again(sides, topics)
    await producers.reopen_home(sides, topics)


async def see_open(sides: Sides, request: FailoverStep) -> OpenFact:
    """A member looks at what the group has opened: the turn, and when the first output of its job came."""
    await sides.away.tenure.read()
    turn = 0
    for topic in request.topics.turn:
        known = await sides.lineage.read(topic)
        turn = max(turn, known.turn if known is not None else 0)
    return OpenFact(
        topics=request.topics.turn,
        turn=turn,
        first_output_at=await producers.first_output_at(sides, request.topics.turn),
    )


# -- looking


@dataclass(frozen=True)
class Lives:
    """A deployment of the fleet file as the registry knows it."""

    deployment: str
    region: str
    """Where it lives."""
    cell: str
    """``region/cell``."""
    there: str | None
    """The cell in the region to go on in; None: it has none there."""
    why_not: str | None = None
    """Why it does not run; None: it does, or should."""
    runs_with: int | None = None
    """Subtasks of its last job; None: it has had none."""
    slot_memory: SlotMemory | None = None
    """What the slots had that its last job was started in; None: its record does not say."""
    gave_way: GaveWay | None = None
    """Set if it stands stopped to make way."""
    given_up: str | None = None
    """The operation that has given the region to go on in up, if it has not been returned since (X23)."""
    record: DeploymentRecord | None = None
    """None: it has none."""


def chosen(
    known: Sequence[Lives], fleet: Fleet, region: str, to: str, only: Collection[str], left: Left = NOTHING
) -> list[Member]:
    """The deployments that move, and those that a lost failover has left behind their turn, by tier and name.

    Raises:
        InvalidInput: one that was named does not live there or does not run; or none does.

    """
    if region == to:
        raise InvalidInput(f"to: it is {region} that is left; name another region")
    for name in (region, to):
        fleet.region(name)
    by_name = {one.deployment: one for one in known}
    moved = {one.deployment for one in left.settled}
    for name in only:
        fleet.deployment(name)
        found = by_name[name]
        if name in moved:
            continue
        if found.region != region:
            raise InvalidInput(f"deployments: {name} lives in {found.region}, not in {region}")
        if found.why_not is not None:
            raise InvalidInput(f"deployments: {name} cannot move: {found.why_not}")
    members = list(left.unfinished)
    for one in known:
        if one.region != region or one.why_not is not None or (only and one.deployment not in only):
            continue
        spec = fleet.deployment(one.deployment)
        if one.there is None:
            raise InvalidInput(f"to: {one.deployment} has no cell in {to}: {to} has several, and none of its name")
        members.append(
            Member(
                deployment=one.deployment,
                tier=spec.tier,
                parallelism=spec.parallelism,
                home=one.cell,
                at=one.there,
                reads=tuple(sorted(inputs_of(spec))),
                writes=tuple(sorted(outputs_of(spec))),
                runs_with=one.runs_with,
                lost=left.lost.get(one.deployment, ""),
                orphan=left.orphans.get(one.deployment, ""),
            )
        )
    if not members and not left.done:
        raise InvalidInput(f"region: no deployment runs in {region}: there is nothing to move to {to}")
    return sorted(members, key=lambda one: (one.tier, one.deployment))


def families(
    fleet: Fleet, members: Sequence[Member], known: Sequence[Lives], region: str, to: str, left: Left = NOTHING
) -> list[Family]:
    """The members in families, with what turns with each.

    One that does not run keeps no topic in the region: what it shares a link with takes its topics along.

    Raises:
        Refused: a link also carries what somebody who stays reads, or there is no link for a topic.

    """
    lives = {one.deployment: to if one.why_not is not None else one.region for one in known}
    idle = {one.deployment for one in known if one.why_not is not None and one.region == region}
    names = [*(one.deployment for one in members), *sorted(idle)]
    topics = {name: lostregion.ties(fleet, left, name) for name in names}
    links = [set(link.topics) for link in fleet.mirrors.values() if (link.source, link.target) == (region, to)]
    everything = sorted(set().union(*topics.values()))
    shared = [frozenset(name for name in names if topics[name] & carried) for carried in links]
    shared += [frozenset(name for name in names if topic in topics[name]) for topic in everything]
    tiers = {name: fleet.deployment(name).tier for name in names}
    found: list[Family] = []
    for family in families_of(names, shared, tiers):
        if idle.issuperset(family):
            continue
        every = turning(fleet, family, region, to, lives)
        topics_now = lostregion.still_to_turn(fleet, left, family, every)
        found.append(
            Family(
                members=tuple(name for name in family if name not in idle),
                topics=topics_now,
                idle=tuple(name for name in family if name in idle),
                no_return=lostregion.cannot_return(fleet, left, family, every),
                turned=tuple(topic for topic in topics_now.turn if topic in left.closed),
            )
        )
    return found


async def look_group(
    holder: Holder,
    digest: str,
    members: Sequence[Member],
    known: Sequence[Lives],
    site: SiteOf,
    *,
    unplanned: bool = False,
    left: Left = NOTHING,
) -> GroupSeen:
    """What both regions say of the members. Raises Unavailable: the region to go on in does not answer; Refused."""
    first = (*members, *left.done)[0]
    moving = [one for one in members if one.unfinished is None]
    home, away = site(first.deployment, first.home), site(first.deployment, first.at)
    answers, standby = await asyncio.gather(answers_of(home), answers_of(away))
    if not standby.all:
        raise Unavailable(f"{away.region} cannot be gone on in: {'; '.join(standby.silent)}")
    found = families(away.fleet, members, known, home.region, away.region, left)
    if not unplanned:
        for family in found:
            lostregion.refuse_as_planned(left, family, moving, known)
    found = await lostregion.mirror_left(away.fleet, left, found, LinkStore(away.control, away.control_bucket))
    cells = {member.at: site(member.deployment, member.at) for member in (*members, *left.done)}
    capacities = await asyncio.gather(*(within(one.driver.capacity()) for one in cells.values()))
    drills = {at: await forks_on(one) for at, one in cells.items()}
    warnings: list[str] = [f"{one.deployment} stays: {one.why_not}" for one in known if one.why_not is not None]
    lag: dict[str, int | None] = {}
    for family in found:
        lag |= await lags(away.fleet, family.topics, answers, warnings)
        blind = await unproven(away, home.region, family.topics.turn)
        refuse_unproven(blind, home.region, away.region, family.topics.links)
    lost = {one.deployment: one.given_up for one in known if one.given_up is not None}
    for member in moving:
        if not unplanned:
            refuse_not_returned(member.deployment, away.region, lost.get(member.deployment))
    others = [one for one in known if one.region == away.region and one.why_not is None]
    specs = away.fleet.deployments
    waiting = [one.gave_way for one in known if one.gave_way is not None and one.region == home.region]
    waiting = [one for one in waiting if one.made_way.came_from == away.region]

    async def slots_at_home(cell: str) -> int:
        name = next(one.deployment for one in waiting if one.at == cell)
        return (await within(site(name, cell).driver.capacity())).slots_free

    # A region that is given up is not asked: that would cost its patience, and nothing would be started there.
    free = {} if unplanned else await comeback.free_slots({one.at for one in waiting}, slots_at_home)
    began = {one.deployment: one.slot_memory for one in known}
    needs = [memory.Needs(one.deployment, one.home, one.at, began[one.deployment]) for one in moving]

    async def memory_of(cell: str) -> SlotMemory | None:
        name = next(one.deployment for one in moving if cell in {one.home, one.at})
        return await within(site(name, cell).driver.slot_memory())

    return GroupSeen(
        at=utc_now(),
        fleet_digest=digest,
        holder=holder,
        home=answers,
        standby=standby,
        members=tuple(members),
        families=tuple(found),
        others=tuple(
            Other(
                deployment=one.deployment,
                tier=specs[one.deployment].tier,
                parallelism=specs[one.deployment].parallelism,
            )
            for one in others
        ),
        gave_way=comeback.would_come_back(waiting, members, found, free, to=away.region, unplanned=unplanned),
        slots_free=sum(one.slots_free for one in capacities)
        + sum(job.slots for jobs in drills.values() for job in jobs),
        slots_total=sum(one.slots_total for one in capacities),
        mirror_lag=lag,
        memory=await memory.compare(needs, memory_of, ask_home=answers.flink is None),
        warnings=(*warnings, *(line for at, jobs in drills.items() for line in told(jobs, at))),
        done=left.done,
    )


async def within(call: Awaitable[T]) -> T:
    """What it answers within ``LOOK_S``. Raises Unavailable."""
    try:
        return await asyncio.wait_for(call, LOOK_S)
    except TimeoutError as error:
        raise Unavailable(f"Flink gave no answer within {LOOK_S:g} s") from error

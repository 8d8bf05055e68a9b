"""A region's failover that nobody goes on with: which of its deployments are done, which stand behind their turn, and
what the families of the others share with these.

It was terminated, or its Temporal is lost. Its members are left alone by that: they wait for a word that never comes,
hold their records, and their topics stay closed. One that takes over brings each to its end by where it stands, and
where each stands is in the records and the lineage, and in nothing else (O8).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from tidegate.errors import Held, Refused
from tidegate.failover.cut import was_shut
from tidegate.failover.turning import inputs_of, outputs_of
from tidegate.failover.unfinished import finish_region_command
from tidegate.lineage.model import Gate, TopicLineage, Turn
from tidegate.lineage.store import LineageStore
from tidegate.lineage.turning import unopened
from tidegate.model.failover import FAILOVER_DEPLOYMENT, Topics
from tidegate.model.fleet import Fleet
from tidegate.model.mirror import LinkRecord, LinkState
from tidegate.model.record import Holder, RecordState
from tidegate.model.region import Family, LookGroupInput, Member
from tidegate.model.steps import Unfinished
from tidegate.operation.move import cell_in, stopped
from tidegate.registry.links import LinkStore

if TYPE_CHECKING:
    from tidegate.failover.group import Lives

READS: Final = 20
"""So many objects are read at once."""
NAMED: Final = 5
"""So many deployments are named; of more the rest is a number."""


class Standing(StrEnum):
    """What Temporal says of an operation."""

    LIVES = "lives"
    ORPHAN = "orphan"
    """It runs, and waits for the word of a region's failover that has ended."""
    CLOSED = "closed"
    UNKNOWN = "unknown"
    """It is of another Temporal: nobody can say."""


StandingOf = Callable[[str, str, Holder | None], Awaitable[Standing]]
"""How an operation stands: its id, its first run, and how a record names it, if one does."""


@dataclass(frozen=True)
class Left:
    """What the failovers from a region to another one, before this one, have left there."""

    turned: Mapping[str, Turn] = field(default_factory=dict)
    """By topic, those that live there by such a failover: its turn."""
    closed: frozenset[str] = frozenset()
    """Of these, the ones that were not opened: nobody can write them."""
    unfinished: tuple[Member, ...] = ()
    """Deployments behind their turn that nobody goes on with; by tier and name."""
    done: tuple[Member, ...] = ()
    """Deployments that run there on open topics, by tier and name."""
    lost: Mapping[str, str] = field(default_factory=dict)
    """By deployment that is still to move: the failover that holds it and that nobody goes on with."""
    orphans: Mapping[str, str] = field(default_factory=dict)
    """By deployment: the operation of it that waits for a word that never comes."""

    @property
    def settled(self) -> tuple[Member, ...]:
        """Those for which there is no way back (X24)."""
        return (*self.unfinished, *self.done)


NOTHING: Final = Left()


async def look_left(
    fleet: Fleet, known: Sequence[Lives], asked: LookGroupInput, own: str, store: LineageStore, standing: StandingOf
) -> Left:
    """Find it, by the records and the lineage. ``own``: the operation that looks; what it holds itself is not left.

    Raises:
        Held: asked to take over, and an operation still runs that holds a deployment or its topics.
        Refused: nobody asked to take over what was lost.
        Unavailable: the control bucket does not answer.

    """
    near = [one for one in known if one.region in {asked.region, asked.to}]
    topics = sorted(set().union(*(_topics(fleet, one.deployment) for one in near)))
    scope = [one for one in near if not asked.deployments or one.deployment in asked.deployments]
    lineages = await _lineages(store, topics)
    theirs = {topic: one for topic, one in lineages.items() if own != one.holder and own not in one.former}
    turned = {
        topic: turn for topic, one in lineages.items() if (turn := _turn(one, asked.region, asked.to)) is not None
    }
    closed = {topic for topic in turned if topic in theirs and unopened(theirs[topic]) is not None}
    by = {topic: one.holder or one.turns[-1].operation for topic, one in theirs.items() if one.gate is Gate.CLOSED}
    of_scope = {topic: by[topic] for one in scope for topic in _topics(fleet, one.deployment) if topic in by}
    stands = await _stands(standing, of_scope.values())
    holds = await _holders(standing, scope)
    left = Left(turned=turned, closed=frozenset(closed))
    unfinished: list[Member] = []
    done: list[Member] = []
    lost: dict[str, str] = {}
    living: dict[str, str] = {}
    for one in scope:
        name, mine = one.deployment, _topics(fleet, one.deployment)
        holder = one.record.holder if one.record is not None else None
        orphaned = holder is not None and _is_lost(holder, holds.get(name))
        if one.region == asked.region:
            if holder is not None and orphaned:
                lost[name] = holder.operation
            elif holder is not None and holds.get(name) is Standing.LIVES and not _yields(one, asked):
                living[name] = holder.operation
            for topic in sorted(mine & set(by)):
                if stands[by[topic]] is Standing.LIVES:
                    living[name] = _name(by[topic])  # who moves the topics decides, and not its member
                elif holder is None or orphaned:
                    lost.setdefault(name, _name(by[topic]))
            continue
        moved = (outputs_of(fleet.deployment(name)) or mine) & set(turned)
        if not moved:
            continue
        still = sorted(mine & closed)
        acting = [by[topic] for topic in still if stands[by[topic]] is Standing.LIVES]
        if acting:
            living[name] = _name(acting[0])
            continue
        turn = turned[still[0] if still else min(moved)]
        if still or orphaned:
            # With its topics open it waits to be told so, or its proof and its report are still to come.
            who = _name(by[still[0]]) if still or holder is None else holder.operation
            begun = Unfinished(source=asked.region, operation=who, planned=turn.planned)
            if holder is not None and holds.get(name) is Standing.LIVES and not _yields(one, asked):
                living[name] = holder.operation
            unfinished.append(_member(fleet, one, asked, begun))
        else:
            done.append(_member(fleet, one, asked, None))
    if asked.take_over:
        _refuse_living(living)
    else:
        stuck = {one.deployment: one.unfinished.operation for one in unfinished if one.unfinished is not None}
        stuck = {name: who for name, who in stuck.items() if _topics(fleet, name) & closed}
        _refuse_lost(asked, stuck, lost, given_up=any(not turned[topic].planned for topic in closed))
        return left
    waiting = {
        one.deployment: one.record.holder.operation
        for one in scope
        if holds.get(one.deployment) is Standing.ORPHAN and one.record is not None and one.record.holder is not None
    }
    unfinished = [one.model_copy(update={"orphan": waiting.get(one.deployment, "")}) for one in unfinished]
    return Left(left.turned, left.closed, _ordered(unfinished), _ordered(done), lost, waiting)


def _turn(known: TopicLineage, region: str, to: str) -> Turn | None:
    """Its last turn, if that brought it from the one region to the other, where it lives now."""
    last = known.turns[-1] if known.turns else None
    return last if last is not None and (last.source, last.target, known.region) == (region, to, to) else None


def _topics(fleet: Fleet, deployment: str) -> set[str]:
    spec = fleet.deployment(deployment)
    return inputs_of(spec) | outputs_of(spec)


def _name(operation: str) -> str:
    return operation.partition("/")[0]


def _is_lost(holder: Holder, stands: Standing | None) -> bool:
    return holder.runbook == FAILOVER_DEPLOYMENT and stands is not None and stands is not Standing.LIVES


def _yields(one: Lives, asked: LookGroupInput) -> bool:
    """Whether a person's word takes it from an operation that runs: one that stands halted waits for that word, and of
    a region that is given up only a failover is gone on with.
    """
    record = one.record
    if record is None or record.holder is None or record.state is RecordState.HALTED:
        return True
    return asked.unplanned and record.holder.runbook != FAILOVER_DEPLOYMENT


def _member(fleet: Fleet, one: Lives, asked: LookGroupInput, unfinished: Unfinished | None) -> Member:
    spec = fleet.deployment(one.deployment)
    return Member(
        deployment=one.deployment,
        tier=spec.tier,
        parallelism=spec.parallelism,
        home=str(cell_in(fleet, one.deployment, asked.region, one.record)),
        at=one.cell,
        reads=tuple(sorted(inputs_of(spec))),
        writes=tuple(sorted(outputs_of(spec))),
        runs_with=one.runs_with,
        unfinished=unfinished,
        lost=unfinished.operation if unfinished is not None else "",
    )


def _ordered(members: Iterable[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda one: (one.tier, one.deployment)))


async def _lineages(store: LineageStore, topics: Sequence[str]) -> dict[str, TopicLineage]:
    few = asyncio.Semaphore(READS)

    async def one(topic: str) -> TopicLineage | None:
        async with few:
            return await store.read(topic)

    found = await asyncio.gather(*map(one, topics))
    return {topic: known for topic, known in zip(topics, found, strict=True) if known is not None}


async def _stands(standing: StandingOf, operations: Iterable[str]) -> dict[str, Standing]:
    """By the name that the lineage has for an operation: its id and its run."""
    names = sorted(set(operations))
    found = await asyncio.gather(*(standing(_name(one), one.partition("/")[2], None) for one in names))
    return dict(zip(names, found, strict=True))


async def _holders(standing: StandingOf, scope: Sequence[Lives]) -> dict[str, Standing]:
    few = asyncio.Semaphore(READS)
    held = [(one.deployment, one.record.holder) for one in scope if one.record is not None and one.record.holder]

    async def one(holder: Holder) -> Standing:
        async with few:
            return await standing(holder.operation, holder.run_id, holder)

    found = await asyncio.gather(*(one(holder) for _, holder in held))
    return {name: how for (name, _), how in zip(held, found, strict=True)}


# -- refusing


def _refuse_living(living: Mapping[str, str]) -> None:
    if not living:
        return
    who = sorted(set(living.values()))
    ways = [f"watch it:  tidegate ops watch {one}\nstop it:   tidegate ops abort {one}" for one in who[:NAMED]]
    raise Held(
        f"{_told(living, 'is held by', 'are held by')}, and still runs: two of them would turn the same topics",
        hint="\n".join((*ways, "then the same command again")),
        details={"operation": who[0]},
    )


def _refuse_lost(asked: LookGroupInput, stuck: Mapping[str, str], lost: Mapping[str, str], *, given_up: bool) -> None:
    if not stuck and not lost:
        return
    told = []
    if stuck:
        told.append(f"topics of {_told(stuck, 'were turned by', 'were turned by')}, and not opened in {asked.to}")
    if lost:
        told.append(f"{_told(lost, 'is held by', 'are held by')}, before its turn")
    command = finish_region_command(asked.region, asked.to, unplanned=asked.unplanned or given_up)
    nobody = "nobody goes on with that" + (": nobody can write these topics" if stuck else "")
    raise Refused(
        f"a failover from {asked.region} to {asked.to} was lost: {'; '.join(told)}; {nobody}",
        hint=f"bring every deployment of it to its end:  {command}\n"
        f"what that would do with each:  the same with --dry-run",
    )


def _told(by: Mapping[str, str], one: str, many: str) -> str:
    """``a and b are held by x; c is held by y``."""
    lines = []
    for operation in sorted(set(by.values())):
        names = sorted(name for name, who in by.items() if who == operation)
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        lines.append(f"{', '.join(names[:NAMED])}{more} {one if len(names) == 1 else many} {operation}")
    return "; ".join(lines)


# -- families


def ties(fleet: Fleet, left: Left, deployment: str) -> set[str]:
    """The topics that tie a deployment to others: of one behind its turn those that have turned with it."""
    topics = _topics(fleet, deployment)
    return topics & set(left.turned) if any(one.deployment == deployment for one in left.unfinished) else topics


def still_to_turn(fleet: Fleet, left: Left, names: Collection[str], topics: Topics) -> Topics:
    """Without those that were opened there: they are closed no more (X24)."""
    behind = {one.deployment for one in left.unfinished}
    used = set().union(*(_topics(fleet, name) for name in names if name not in behind))
    opened = set(left.turned) - left.closed
    return topics.model_copy(
        update={"turn": tuple(one for one in topics.turn if one not in opened and (one in used or one in left.closed))}
    )


def cannot_return(fleet: Fleet, left: Left, names: Collection[str], topics: Topics) -> bool:
    """Whether a family shares a link or a topic with what has moved for good."""
    if any(one.deployment in names for one in left.unfinished):
        return True
    moved = set().union(*(_topics(fleet, one.deployment) for one in left.settled)) | (set(left.turned) - left.closed)
    return bool((_carried(fleet, topics.links) | set(topics.turn)) & moved & set(left.turned))


def refuse_as_planned(left: Left, family: Family, movers: Sequence[Member], known: Sequence[Lives]) -> None:
    """Raises Refused for a family that does not leave as planned any more: what was turned unplanned stays so, and what
    shares a link with what has moved must have been stopped before that link was shut.
    """
    mine = [one for one in movers if one.deployment in family.members]
    gave_up = sorted(topic for topic in family.topics.turn if topic in left.closed and not left.turned[topic].planned)
    records = {one.deployment: one.record for one in known}
    why: list[str] = []
    if gave_up and mine:
        why.append(f"{', '.join(gave_up)} turned unplanned, by {_name(left.turned[gave_up[0]].operation)}")
    for one in mine if family.no_return else ():
        record = records[one.deployment]
        late = sorted(set(one.writes) - set(left.turned))
        if record is None or not stopped(record) or late:
            what = f"{', '.join(late)} has not turned" if late else "it was not stopped"
            why.append(f"what it shares a link with has moved, and {one.deployment} has not: {what}")
    if why:
        region, to = (cell.partition("/")[0] for cell in (mine[0].home, mine[0].at))
        raise Refused(
            f"{', '.join(one.deployment for one in mine)} cannot leave as planned any more: {'; '.join(why)}",
            hint=f"go on unplanned, from the newest recovery points:  "
            f"{finish_region_command(region, to, unplanned=True)}",
        )


async def mirror_left(fleet: Fleet, left: Left, families: Sequence[Family], links: LinkStore) -> list[Family]:
    """The families, with what is left to do at their links; and one more for each set of deployments that are done, and
    whose mirror the lost failover has shut and not turned round. Raises Unavailable.
    """
    found: list[Family] = []
    opened = set(left.turned) - left.closed
    for family in families:
        back, before = family.topics.back, set[str]()
        if family.no_return:
            before = _carried(fleet, (*family.topics.links, *back)) & opened
            # One that runs was started from the cut by who is lost: a start from there once more would bring it twice.
            back = tuple([name for name in back if not _runs(await links.read(name))])
        topics = family.topics.model_copy(update={"back": back})
        found.append(family.model_copy(update={"topics": topics, "opened": tuple(sorted(before))}))
    acted = {name for family in found for name in (*family.topics.links, *family.topics.back)}
    done = {one.deployment: set(one.reads) | set(one.writes) for one in left.done}
    moved = set().union(*done.values()) & opened
    there = {(turn.source, turn.target) for turn in left.turned.values()}
    for name, mirror in sorted(fleet.mirrors.items()):
        carried = set(mirror.topics) & moved
        if name in acted or not carried or (mirror.source, mirror.target) not in there:
            continue
        record = await links.read(name)
        if not was_shut(record) or record is None or record.holder is None:
            continue
        back = tuple(
            [
                other
                for other, one in sorted(fleet.mirrors.items())
                if (one.source, one.target) == (mirror.target, mirror.source)
                and set(one.topics) & carried
                and other not in acted
                and not _runs(await links.read(other))
            ]
        )
        acted |= {name, *back}
        found.append(
            Family(
                members=(),
                topics=Topics(turn=(), links=(name,), back=back),
                no_return=True,
                opened=tuple(sorted(_carried(fleet, (name, *back)) & opened)),
                done=tuple(sorted(one for one, topics in done.items() if topics & carried)),
            )
        )
    return found


def _carried(fleet: Fleet, links: Iterable[str]) -> set[str]:
    return set().union(*(fleet.mirror(name).topics for name in links))


def _runs(record: LinkRecord | None) -> bool:
    return record is not None and record.mirror is LinkState.RUNNING

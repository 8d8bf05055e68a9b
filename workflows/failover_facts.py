"""The facts that prove a failover's steps, in one line each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tidegate.model.failover import CutFact, HomeFact, MirrorBackFact, OpenFact, RegionsSeen, ShutFact
    from tidegate.model.groups import GroupsFact
    from tidegate.model.operation import MemberResult, Observation
    from tidegate.model.region import GaveWay, GroupCutFact, GroupSeen, Member, Room
    from tidegate.model.returning import QuarantineFact, TailFact
    from tidegate.model.ship import ShipFact
    from workflows import facts

GROUPS_SHOWN = 5


def seen(observed: Observation, both: RegionsSeen) -> str:
    """Where it runs, what of that region answers, and what there is room for."""
    writer = observed.record.writer
    runs = f"{writer.artifact.name} in {writer.region}/{writer.cell}" if writer is not None else "no job"
    silent = f"no answer from {len(both.home.silent)} of 3 parts there" if both.home.silent else "all of it answers"
    return f"{runs}, {silent}; {both.slots_free} of {both.slots_total} slots free in {observed.region}"


def region_seen(both: GroupSeen) -> str:
    """What lives there, what of it answers, and what there is room for."""
    silent = f"no answer from {len(both.home.silent)} of 3 parts there" if both.home.silent else "all of it answers"
    tiers = sorted({one.tier for one in both.moving})
    told = (
        f"{len(both.moving)} deployments of {len(tiers)} tiers in {both.home.region}, {silent}; "
        f"{both.slots_free} of {both.slots_total} slots free in {both.standby.region}"
    )
    begun = len(both.members) - len(both.moving)
    if begun or both.done:
        told += f"; of a failover that was lost {begun} are behind their turn, and {len(both.done)} are done"
    return "; ".join((told, *both.warnings, *both.memory, *comes_back(both.gave_way)))


def comes_back(gave_way: Sequence[GaveWay], *, wanted: bool = True) -> list[str]:
    """Who of those that gave way comes back there, and who does not, with the command that starts it."""
    if not wanted:
        return [f"stays stopped, as was asked: {one.text}  (tidegate restore {one.deployment})" for one in gave_way]
    coming = [f"comes back: {one.text}" for one in gave_way if not one.problem]
    return coming + [
        f"stays stopped: {one.text}: {one.problem}  (tidegate restore {one.deployment})"
        for one in gave_way
        if one.problem
    ]


def member_planned(one: Member, room: Room) -> str:
    """What would become of a deployment."""
    if one.unfinished is not None:
        return (
            f"tier {one.tier}, behind its turn: {one.unfinished.operation} has begun it in {one.at} and is lost; its "
            f"job is adopted, or started, and its topics are opened"
        )
    slots = room.parallelism.get(one.deployment, one.parallelism)
    fewer = f" instead of {one.parallelism}" if slots < one.parallelism else ""
    more = f", {one.runs_with} until now" if one.runs_with is not None and one.runs_with < slots else ""
    goes = "goes at once" if one.deployment in room.goes else "waits for slots"
    from_whom = f"taken over from {one.lost}, before its turn: " if one.lost else ""
    return f"{from_whom}tier {one.tier}, {one.home} -> {one.at} with {slots}{fewer} slots{more}, {goes}"


def member_done(one: Member) -> str:
    """A deployment that is left alone."""
    return f"is done already, and left alone: it lives in {one.at}, and its topics are open there"


def shipped(fact: ShipFact) -> str:
    """What was sent."""
    return f"{fact.id}: sent {fact.sent_files:,} of {fact.files:,} files, {facts.size(fact.sent_bytes)}"


def closed(fact: ShutFact) -> str:
    """Who cannot write any more."""
    who = ", ".join(fact.principals) or "nobody is named"
    ends = f", {len(fact.ends):,} partitions stand still" if fact.ends else ""
    return "; ".join((f"producers denied: {who}{ends}", *fact.notes))


def given_up(fact: HomeFact) -> str:
    """How the old job is kept from committing, and what is gone on from."""
    return "; ".join((f"old job {fact.strength}", f"{fact.point}, taken {_clock(fact.taken_at)}", *fact.notes))


def cut(fact: CutFact) -> str:
    """How the mirror was shut, and the cut."""
    links = ", ".join(f"{name} {how}" for name, how in fact.shut.items())
    until = f", input until {_clock(fact.input_until)}" if fact.input_until is not None else ""
    drained = "drained" if fact.drained else "as far as it came"
    return "; ".join((f"{links}, {drained}; {fact.partitions:,} partitions turned{until}", *fact.notes))


def cut_together(fact: GroupCutFact) -> str:
    """The same of a family."""
    known = [at for at in fact.input_until.values() if at is not None]
    until = max(known) if known else None
    return cut(
        CutFact(partitions=fact.partitions, shut=fact.shut, drained=fact.drained, input_until=until, notes=fact.notes)
    )


def member(result: MemberResult) -> str:
    """How it ended for one of several: gap, verdict, RTO."""
    verdict = result.verdict
    told = [result.summary]
    if verdict is not None and verdict.gap_ms is not None:
        told.append(f"gap {verdict.gap_ms / 1000:.2f} s")
    if verdict is not None:
        told.append(f"{verdict.text}{'' if verdict.audited else ' (values not audited)'}")
    if result.rto_s is not None:
        told.append(f"RTO {result.rto_s:.1f} s")
    return ", ".join(told) + (f": {result.why}" if result.why else "")


def opened(fact: OpenFact) -> str:
    """What lives there from now on."""
    first = f", first output {_clock(fact.first_output_at)}" if fact.first_output_at is not None else ""
    return "; ".join((f"{', '.join(fact.topics)} live here, turn {fact.turn}{first}", *fact.notes))


def groups_moved(fact: GroupsFact) -> str:
    """Where each consumer group goes on."""
    # What was left comes first: of many the rest is a number.
    known = sorted(fact.groups, key=lambda one: not one.left)
    more = f"; and {len(known) - GROUPS_SHOWN} groups more" if len(known) > GROUPS_SHOWN else ""
    return "; ".join(one.text for one in known[:GROUPS_SHOWN]) + more


def mirrored(fact: MirrorBackFact) -> str:
    """Which links run, and which wait for the other region."""
    runs = f"{', '.join(fact.started)} from the cut on" if fact.started else "no link started"
    return "; ".join((runs, *(f"waits: {one}" for one in fact.waiting), *fact.notes))


def quarantined(fact: QuarantineFact) -> str:
    """What can write there no more."""
    epochs = ", ".join(map(str, fact.denied)) or "none"
    jobs = f"{len(fact.cancelled)} jobs cancelled" if fact.cancelled else "no old job ran"
    links = ", ".join(f"{name} {how}" for name, how in fact.shut.items())
    told = [f"epochs denied: {epochs}", jobs, f"{fact.ended:,} transactions ended", links]
    if fact.unknown:
        told.append(
            f"nothing tells whose these jobs are, which run there: {', '.join(fact.unknown)}: look at them in Flink"
        )
    return "; ".join(told)


def set_apart(fact: TailFact) -> str:
    """What stood there beyond the cut, and what became of it."""
    fed = f"fed {fact.fed:,}, sent again by producers {fact.known:,}, read before {fact.ahead:,}, held {fact.held:,}"
    late = f" committed there after the cut {fact.zombies:,}, superseded before it {fact.outputs - fact.zombies:,}"
    outputs = f"{fact.outputs:,} outputs:{late}" if fact.zombies else f"{fact.outputs:,} outputs"
    return "; ".join((f"{fact.inputs:,} inputs that never crossed: {fed}", outputs, *fact.notes))


def _clock(at: datetime) -> str:
    return facts.clock(at)

"""Room in the standby, and the Flinks of both regions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from tidegate.errors import Refused
from tidegate.failover.memory import less, mend, told
from tidegate.failover.room import make_room
from tidegate.model.failover import Answers
from tidegate.model.fleet import CellRef
from tidegate.model.record import DeploymentRecord, Holder, SlotMemory
from tidegate.model.region import GroupSeen
from tidegate.model.review import Checked
from tidegate.operation.forks import slots_in
from tidegate.readiness.facts import CellFacts, Facts, NotKnown
from tidegate.readiness.sheet import Said, Unasked, breach, warning

READS: Final = ((2, 1, 6), (2, 0, 5), (1, 0, 4))
"""Flink's major and minor version, and the newest format of snapshots that it reads (``Checkpoints``, of each)."""


def check_room(facts: Facts) -> Iterator[Said]:
    """Whether it would find slots if its whole region were lost, after those that matter more."""
    room, standby = facts.room, facts.standby
    if room is None or standby is None:
        return
    if isinstance(room, NotKnown):
        yield Unasked(f"room in {standby}", room)
        return
    cells = {member.at for member in room.members}
    free = total = 0
    for at in cells:
        found = _cell(facts, CellRef.parse(at))
        if isinstance(found, NotKnown):
            yield Unasked(f"room in {standby}", found)
            return
        drills = 0 if isinstance(facts.forks, NotKnown) else slots_in(facts.forks, at)
        # A failover has those of drills, too.
        free, total = free + min(found.slots_total, found.slots_free + drills), total + found.slots_total
    # Only what decides about room counts here: nobody holds anything, and both regions are taken to answer.
    seen = GroupSeen(
        at=facts.now,
        fleet_digest="",
        holder=_nobody(facts.now),
        home=Answers(region=facts.home.region),
        standby=Answers(region=standby),
        members=room.members,
        families=(),
        others=room.others,
        slots_free=free,
        slots_total=total,
    )
    needed = sum(member.parallelism for member in room.members)
    try:
        made = make_room(seen, "wait", unplanned=True)
    except Refused as refused:
        why_not = refused.message
        goes = False
    else:
        goes = facts.deployment in made.goes
        first = ", ".join(made.goes)
        why_not = f"{free} of {total} slots are free; {needed} are needed, and {first} would go first"
    if not goes:
        yield breach(
            facts,
            "no-room",
            standby,
            f"it would not fit into {standby}: {why_not}",
            f"if {facts.home.region} is lost, it waits until there are slots",
            f"more TaskManagers in {standby}",
            f"tidegate failover region {facts.home.region} --to {standby} --dry-run --room lower",
        )
        return
    yield Checked(
        check="room",
        subject=standby,
        fact=f"{free} of {total} slots free, {needed} needed by all of {facts.home.region}",
    )


def check_memory(facts: Facts) -> Iterator[Said]:
    """The slots of the standby against those where it runs, or was started last if nobody can say."""
    if facts.cell_away is None:
        return
    away = _cell(facts, facts.cell_away) if not isinstance(facts.cell_away, NotKnown) else facts.cell_away
    if isinstance(away, NotKnown):
        yield Unasked("memory of slots", away)
        return
    there = away.slot_memory
    if there is None:
        yield Unasked("memory of slots", NotKnown(f"memory of slots in {away.at}", "Flink there does not tell it"))
        return
    here, whose = _memory_at_home(facts)
    if isinstance(here, NotKnown):
        yield Unasked("memory of slots", here)
        return
    short = less(here, there)
    if short:
        yield warning(
            facts,
            "less-memory",
            str(away.at),
            f"a slot in {away.at} has less than {whose}: {short}",
            "Flink starts it there all the same, and it may be slow or run out of memory under load",
            mend(str(away.at)),
        )
        return
    yield Checked(check="memory of slots", subject=str(away.at), fact=f"{told(there)}; {told(here)} is what it has now")


def _memory_at_home(facts: Facts) -> tuple[SlotMemory | NotKnown, str]:
    """Of Flink, else of the record; and whose slots these are."""
    home = _cell(facts, facts.home)
    if isinstance(home, CellFacts) and home.slot_memory is not None:
        return home.slot_memory, f"those in {home.at}, where it runs"
    record = facts.record
    writer = record.writer if isinstance(record, DeploymentRecord) else None
    if writer is not None and writer.slot_memory is not None:
        return writer.slot_memory, f"those that it was started in, in {writer.region}/{writer.cell}"
    of = f"memory of slots in {facts.home}"
    return home if isinstance(home, NotKnown) else NotKnown(of, "Flink there does not tell it"), ""


def check_versions(facts: Facts) -> Iterator[Said]:
    """The Flinks of both regions against each other and against the newest snapshot."""
    if facts.cell_away is None:
        return
    away = _cell(facts, facts.cell_away) if not isinstance(facts.cell_away, NotKnown) else facts.cell_away
    home = _cell(facts, facts.home)
    for one in (home, away):
        if isinstance(one, NotKnown):
            yield Unasked("Flink's versions", one)
    if isinstance(away, NotKnown):
        return
    if not isinstance(home, NotKnown):
        older = _version(away.version) < _version(home.version)
        if home.version != away.version:
            yield (breach if older and _version(away.version)[:2] < _version(home.version)[:2] else warning)(
                facts,
                "flink-versions-differ",
                away.at.region,
                f"Flink {home.version} in {home.at}, {away.version} in {away.at}",
                "an older Flink may not read the state, and a jar may not run on it"
                if older
                else "what is drilled there is not what runs here",
                "the same version of Flink in both",
            )
        else:
            yield Checked(check="Flink's versions", subject="", fact=f"{home.version} in {home.at} and {away.at}")
    state = facts.state
    if state is None or isinstance(state, NotKnown):
        return  # told by the checks of its state
    reads = next((fmt for major, minor, fmt in READS if _version(away.version) >= (major, minor)), 0)
    if state.version > reads:
        yield breach(
            facts,
            "snapshot-unreadable",
            away.at.region,
            f"Flink {away.version} in {away.at} does not read format {state.version} of {state.snapshot}",
            "the job would not start there",
            f"a Flink in {away.at} that is as new as that in {facts.home}",
        )


def _cell(facts: Facts, at: CellRef) -> CellFacts | NotKnown:
    region = facts.regions.get(at.region)
    found = region.cells.get(at.cell) if region is not None else None
    return found if found is not None else NotKnown(f"Flink in {at}", "it was not asked")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def cell_of(facts: Facts, at: CellRef) -> CellFacts | NotKnown:
    """The Flink of a cell."""
    return _cell(facts, at)


def _nobody(now: datetime) -> Holder:
    return Holder(operation="", run_id="", runbook="", cluster_id="", namespace="", who="", why="", since=now)

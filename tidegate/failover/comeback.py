"""Who gave way to a region's failover, and whether it can come back: when its slots are free again.

Nothing is written down but in the record, with the savepoint of the stop: it counts until something is started, by
whomever. So whoever looks last sees what is, also after a crash, a second failover, or a start by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from tidegate.errors import TidegateError
from tidegate.model.fleet import Fleet
from tidegate.model.record import DeploymentRecord
from tidegate.model.region import Family, GaveWay, GaveWayNow, Member
from tidegate.operation.move import stopped
from tidegate.operation.price import name_of
from tidegate.registry.held import held

SlotsOf = Callable[[str], Awaitable[int]]
"""How many slots are free in a cell, ``region/cell``. Raises TidegateError: nobody can say."""


def gave_way(fleet: Fleet, deployment: str, record: DeploymentRecord | None) -> GaveWay | None:
    """The deployment, if it stands stopped to make way; ``problem`` says who holds it."""
    if record is None or record.made_way is None or record.writer is None or record.pinned is None:
        return None
    spec, writer, pinned = fleet.deployment(deployment), record.writer, record.pinned
    problem = ""
    if record.holder is not None:
        problem = held(record).message
    elif record.open_intents():
        problem = "an operation before this one has begun something and not finished it"
    elif not stopped(record):
        problem = f"the transactions of {pinned.location} are not seen committed"
    return GaveWay(
        deployment=deployment,
        tier=spec.tier,
        at=f"{writer.region}/{writer.cell}",
        slots=spec.parallelism,
        snapshot=pinned.location,
        name=name_of(pinned.location, pinned.epoch),
        made_way=record.made_way,
        since=pinned.at,
        problem=problem,
    )


def fitting(found: Sequence[GaveWay], free: Mapping[str, int | str]) -> tuple[GaveWay, ...]:
    """The same, by tier and name; for whom no slots are left, it says so. ``free``: slots by cell, or why not known.

    Of one cell nobody overtakes a higher tier for which there is no room: its slots are kept for it.
    """
    left = dict(free)
    kept: dict[str, int] = {}
    told: list[GaveWay] = []
    for one in sorted(found, key=lambda one: (one.tier, one.deployment)):
        there = left.get(one.at, "Flink there was not asked")
        problem = one.problem
        if problem:
            pass
        elif isinstance(there, str):
            problem = f"nobody can say whether slots are free in {one.at}: {there}"
        elif one.slots > there:
            problem = f"{one.slots} slots are needed in {one.at}, {there} are free"
            kept.setdefault(one.at, one.tier)
        elif kept.get(one.at, one.tier) < one.tier:
            problem = f"the slots that are free in {one.at} are kept for a higher tier"
        else:
            left[one.at] = there - one.slots
        told.append(one.model_copy(update={"problem": problem}))
    return tuple(told)


def would_come_back(
    found: Sequence[GaveWay],
    members: Sequence[Member],
    families: Sequence[Family],
    free: Mapping[str, int | str],
    *,
    to: str,
    unplanned: bool,
) -> tuple[GaveWay, ...]:
    """Who of those that gave way to what goes home now, would come back once all of it has gone."""
    idle = {name for family in families for name in family.idle}
    will_be: dict[str, int | str] = dict(free)
    for member in members:
        there = will_be.get(member.home)
        if isinstance(there, int):
            will_be[member.home] = there + (member.runs_with or member.parallelism)
    judged = []
    for one in found:
        problem = one.problem
        if unplanned:
            problem = f"{one.region} is given up"
        elif one.deployment in idle:
            problem = f"its topics turn to {to} with what shares a mirror link or a topic with it"
        judged.append(one.model_copy(update={"problem": problem}))
    return fitting(judged, will_be)


async def look_gave_way(fleet: Fleet, records: Mapping[str, DeploymentRecord | None], slots_of: SlotsOf) -> GaveWayNow:
    """How it stands now with deployments that gave way: who could come back, and who does not stand stopped so."""
    found: list[GaveWay] = []
    others: dict[str, str] = {}
    for name, record in records.items():
        one = gave_way(fleet, name, record)
        if one is not None:
            found.append(one)
        else:
            others[name] = now(record)
    return GaveWayNow(gave_way=fitting(found, await free_slots({one.at for one in found}, slots_of)), others=others)


async def free_slots(cells: set[str], slots_of: SlotsOf) -> dict[str, int | str]:
    """Free slots by cell; or why nobody can say."""

    async def one(cell: str) -> int | str:
        try:
            return await slots_of(cell)
        except TidegateError as error:
            return error.message

    ordered = sorted(cells)
    return dict(zip(ordered, await asyncio.gather(*map(one, ordered)), strict=True))


def now(record: DeploymentRecord | None) -> str:
    """What a deployment does that does not stand stopped to make way."""
    if record is None or record.writer is None:
        return "it has never run"
    if stopped(record):
        return "somebody has stopped it since"
    return f"it has been started since: epoch {record.writer.epoch}, {record.writer.since:%H:%M:%S} UTC"

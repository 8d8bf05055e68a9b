"""Which deployments of a region fit into the other one: pure functions of tiers and slots (tier 0 matters most)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Literal

from tidegate.errors import Refused
from tidegate.model.region import Family, GroupSeen, Member, Room

SMALLEST: Final = 1


def units_of(members: Sequence[Member], families: Sequence[Family], *, unplanned: bool) -> list[tuple[str, ...]]:
    """What goes or waits as one, the most important first: planned, a family, since its links are shut once; else each
    deployment for itself: a lost region waits for nobody.
    """
    tiers = {one.deployment: one.tier for one in members}
    if unplanned:
        return [(name,) for name in sorted(tiers, key=lambda name: (tiers[name], name))]
    moving = (tuple(name for name in family.members if name in tiers) for family in families)
    return sorted((unit for unit in moving if unit), key=lambda unit: (min(tiers[name] for name in unit), unit))


def make_room(seen: GroupSeen, policy: Literal["wait", "lower", "shed"], *, unplanned: bool) -> Room:
    """What goes now, what waits, and what gives way. Those that a lost failover has begun there go in any case: their
    jobs have their slots, or had them.

    Raises:
        Refused: nothing of it fits; each deployment is named with what it needs.

    """
    begun = tuple(one.deployment for one in seen.members if one.unfinished is not None)
    if not seen.moving:
        return Room(goes=begun)
    units = units_of(seen.moving, seen.families, unplanned=unplanned)
    full = {one.deployment: one.parallelism for one in seen.moving}
    needed, free = sum(full.values()), seen.slots_free
    shed: tuple[str, ...] = ()
    if policy == "shed" and needed > free:
        shed, gained = _giving_way(seen, needed - free)
        free += gained
    small = _lowered(units, full, free) if policy == "lower" else full
    goes, waits = _fitting(seen, units, small, free)
    if not goes and not begun:
        each = ", ".join(f"{name} {small[name]}" for unit in units for name in unit)
        raise Refused(
            f"no room in {seen.standby.region}: {free} of {seen.slots_total} slots are free, and {needed} are needed "
            f"({each})",
            hint="add TaskManagers there, or let all run smaller:  --room lower; or stop what matters less there:  "
            "--room shed",
        )
    return Room(
        goes=(*begun, *goes),
        waits=waits,
        parallelism={name: small[name] for name in (*goes, *waits) if small[name] < full[name]},
        shed=shed,
        needed=needed,
    )


def room_left(seen: GroupSeen, room: Room, stopped: Collection[str], *, unplanned: bool) -> Room:
    """What goes now that only these of those that were to give way have done so; where nothing fits, all wait."""
    gained = sum(one.parallelism for one in seen.others if one.deployment in stopped)
    there = seen.model_copy(update={"slots_free": seen.slots_free + gained})
    try:
        fits = make_room(there, "wait", unplanned=unplanned)
    except Refused:
        units = units_of(seen.moving, seen.families, unplanned=unplanned)
        fits = Room(goes=(), waits=tuple(name for unit in units for name in unit), needed=room.needed)
    return fits.model_copy(update={"shed": room.shed})


def _fitting(
    seen: GroupSeen, units: Sequence[tuple[str, ...]], sizes: dict[str, int], free: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """In the order of the units; nobody overtakes one of a higher tier that waits: the slots are kept for it."""
    goes: list[str] = []
    waits: list[str] = []
    kept_for: int | None = None
    for unit in units:
        tier = min(seen.member(name).tier for name in unit)
        size = sum(sizes[name] for name in unit)
        if size <= free and (kept_for is None or tier == kept_for):
            goes += unit
            free -= size
        else:
            waits += unit
            kept_for = tier if kept_for is None else kept_for
    return tuple(goes), tuple(waits)


def _lowered(units: Sequence[tuple[str, ...]], full: dict[str, int], free: int) -> dict[str, int]:
    """One subtask each; what is left goes to the most important until they run as the fleet file says."""
    if sum(full.values()) <= free:
        return full
    sizes = dict.fromkeys(full, SMALLEST)
    left = free - sum(sizes.values())
    for name in (name for unit in units for name in unit):
        more = min(full[name] - sizes[name], max(0, left))
        sizes[name] += more
        left -= more
    return sizes


def _giving_way(seen: GroupSeen, missing: int) -> tuple[tuple[str, ...], int]:
    """Those there that matter less than anything that comes, the least important first, until the slots are there."""
    lowest = max(one.tier for one in seen.members)
    found: list[str] = []
    gained = 0
    for other in sorted(seen.others, key=lambda one: (-one.tier, one.deployment)):
        if gained >= missing or other.tier <= lowest:
            break
        found.append(other.deployment)
        gained += other.parallelism
    return tuple(found), gained


def families_of(names: Sequence[str], shared: Sequence[frozenset[str]], tiers: dict[str, int]) -> list[tuple[str, ...]]:
    """The deployments in families: who shares a link or a topic with one of a family belongs to it.

    ``shared``: for each link or topic, who uses it. Each family is ordered by tier and name.
    """
    of: dict[str, set[str]] = {name: {name} for name in names}
    for users in shared:
        joined = set().union(*(of[name] for name in users if name in of))
        for name in joined:
            of[name] = joined
    unique = {id(family): family for family in of.values()}
    found = [tuple(sorted(family, key=lambda name: (tiers[name], name))) for family in unique.values()]
    return sorted(found, key=lambda family: (tiers[family[0]], family))

"""Whether the slots of the standby have as much memory as those where a job runs: a fair warning, never a silent start.

Flink starts a job in a smaller slot all the same: RocksDB gets less managed memory, or a task runs out of heap, under
load and not before. So it is told beforehand, with both figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from tidegate.errors import TidegateError
from tidegate.model.record import SlotMemory

SAME = 0.99
"""Flink tells whole MiB of a TaskManager: what is within 1 % is as much."""
MemoryOf = Callable[[str], Awaitable[SlotMemory | None]]
"""The memory of a slot in a cell, ``region/cell``; None: Flink does not tell. Raises TidegateError."""


@dataclass(frozen=True)
class Needs:
    """A deployment that goes from a cell to another. ``began``: the slots that its job was started in."""

    deployment: str
    home: str
    at: str
    began: SlotMemory | None


def less(here: SlotMemory, there: SlotMemory) -> str:
    """What a slot there has less of: ``managed memory 32 MiB instead of 64 MiB``; empty: nothing."""
    pairs = (
        ("managed memory", here.managed_mib, there.managed_mib),
        ("task heap", here.heap_mib, there.heap_mib),
    )
    return ", ".join(
        f"{what} {found:g} MiB instead of {wanted:g} MiB" for what, wanted, found in pairs if found < wanted * SAME
    )


def told(slot: SlotMemory) -> str:
    """``64 MiB managed, 128 MiB task heap``."""
    return f"{slot.managed_mib:g} MiB managed, {slot.heap_mib:g} MiB task heap"


def mend(region_or_cell: str) -> str:
    """What makes the slots there as large."""
    return (
        f"give the TaskManagers in {region_or_cell} as much (taskmanager.memory.managed.size, "
        f"taskmanager.memory.task.heap.size), or fewer slots each (taskmanager.numberOfTaskSlots)"
    )


def warnings(
    needs: Sequence[Needs], homes: Mapping[str, SlotMemory | str], cells: Mapping[str, SlotMemory | str]
) -> tuple[str, ...]:
    """A line for each pair of cells and finding. ``homes``, ``cells``: a slot there, or why nobody can say.

    Where home cannot be asked, what the record says counts: the slots that the job was started in.
    """
    by_text: dict[str, list[str]] = {}
    for one in needs:
        text = _judged(one, homes.get(one.home, "it was not asked"), cells.get(one.at, "it was not asked"))
        if text:
            by_text.setdefault(text, []).append(one.deployment)
    return tuple(f"{', '.join(names)}: {text}" for text, names in by_text.items())


def _judged(one: Needs, home: SlotMemory | str, there: SlotMemory | str) -> str:
    if isinstance(there, str):
        return f"nobody can say how much memory the slots in {one.at} have: {there}"
    here, whose = (home, f"{one.home}, where it runs") if isinstance(home, SlotMemory) else (one.began, "")
    if here is None:
        return (
            f"nobody can say whether the slots in {one.at} ({told(there)}) have as much memory as those in {one.home}: "
            f"{home}, and its record does not say what its job was started in"
        )
    short = less(here, there)
    if not short:
        return ""
    of = f"those in {whose}" if whose else f"those that its job was started in, in {one.home}"
    return (
        f"the slots in {one.at} have less memory than {of}: {short}. Flink starts it all the same, and it may be slow "
        f"or run out of memory there: {mend(one.at)}"
    )


async def compare(needs: Sequence[Needs], memory_of: MemoryOf, *, ask_home: bool) -> tuple[str, ...]:
    """Ask both regions, home only if it answers, and judge."""
    homes: dict[str, SlotMemory | str] = {}
    if ask_home:
        homes = await _ask({one.home for one in needs}, memory_of)
    else:
        homes = dict.fromkeys((one.home for one in needs), "Flink there does not answer")
    return warnings(needs, homes, await _ask({one.at for one in needs}, memory_of))


async def _ask(cells: set[str], memory_of: MemoryOf) -> dict[str, SlotMemory | str]:
    async def one(cell: str) -> SlotMemory | str:
        try:
            found = await memory_of(cell)
        except TidegateError as error:
            return error.message
        return found if found is not None else "Flink there does not tell it"

    ordered = sorted(cells)
    return dict(zip(ordered, await asyncio.gather(*map(one, ordered)), strict=True))

"""Which drill of a region begins when: by tier and by the age of the last proof, under slots and time. Pure.

The workflow and the forecast that a person sees beforehand take the same decisions, by the same queue.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tidegate.model.regiondrill import CellRoom, DrillCandidate

ASSUMED_S: Final = 300.0
"""What a drill takes besides its watch, as long as no drill of the region is on record."""


def in_order(candidates: Iterable[DrillCandidate]) -> tuple[DrillCandidate, ...]:
    """Tier by tier; within a tier what was never proven, then what was proven longest ago: in a few nights all are."""

    def key(one: DrillCandidate) -> tuple[int, float, str]:
        return one.tier, one.proven_at.timestamp() if one.proven_at is not None else float("-inf"), one.deployment

    return tuple(sorted(candidates, key=key))


def largest_first(candidates: Iterable[DrillCandidate]) -> DrillCandidate | None:
    """The largest deployment of the highest tier: what a failover would begin with, and must always have room for."""
    return min(candidates, key=lambda one: (one.tier, -one.parallelism, one.deployment), default=None)


@dataclass(frozen=True)
class Limits:
    """Slots that forks may use at once: of each cell, and of all together."""

    total: int
    cells: Mapping[str, CellRoom]
    asked: bool
    """A person has said how many: then nothing is kept free."""

    @classmethod
    def of(cls, cells: Sequence[CellRoom], slots: int | None) -> Limits:
        """By what is free; ``slots`` None: but for what must stay free."""
        known = {one.at: one if slots is None else one.model_copy(update={"keep": 0}) for one in cells}
        free = sum(_usable(one) for one in known.values())
        return cls(free if slots is None else min(slots, free), known, asked=slots is not None)

    def usable(self, at: str) -> int:
        """Of one cell."""
        return min(self.total, _usable(self.cells[at]))

    @property
    def kept(self) -> str:
        """What must stay free, in words; empty: nothing."""
        return ", ".join(f"{one.keep} in {one.at} for {one.keep_for}" for one in self.cells.values() if one.keep)

    def never(self, one: DrillCandidate) -> str | None:
        """Why there is no room for a deployment however long it waits; None: there is."""
        if one.against:
            return one.against
        if one.parallelism <= self.usable(one.at):
            return None
        cell = self.cells[one.at]
        told = (
            f"no room: it needs {one.parallelism} slots, {cell.slots_free} of {cell.slots_total} are free in {one.at}"
        )
        if cell.keep:
            told += f", {cell.keep} of these must stay free for {cell.keep_for}"
        elif self.asked and self.total < _usable(cell):
            told += f", and {self.total} may be used at once"
        return told


def _usable(cell: CellRoom) -> int:
    return max(0, cell.slots_free - cell.keep)


class Queue:
    """Who waits, who runs, and who is not drilled at all. Times in seconds since it began."""

    def __init__(
        self, candidates: Sequence[DrillCandidate], limits: Limits, *, window_s: float, budget_s: float
    ) -> None:
        """``candidates`` in the order in which they shall be drilled."""
        self.limits = limits
        self.window_s = window_s
        self.budget_s = budget_s
        self.running: dict[str, DrillCandidate] = {}
        self.not_drilled: dict[str, str] = {}
        """By deployment, why."""
        self.waiting: list[DrillCandidate] = []
        self._besides_s = {one.deployment: one.besides_s for one in candidates if one.besides_s is not None}
        for one in candidates:
            why = limits.never(one)
            if why is not None:
                self.not_drilled[one.deployment] = why
            else:
                self.waiting.append(one)

    @property
    def used(self) -> int:
        """Slots of those that run."""
        return sum(one.parallelism for one in self.running.values())

    def estimate_s(self, one: DrillCandidate) -> float:
        """What its drill takes, with its watch: as its last one; else as the others, in the middle.

        Not as the longest of them: one that is slow would keep all that are new from ever being drilled.
        """
        known = self._besides_s.get(one.deployment)
        if known is None:
            known = statistics.median(self._besides_s.values()) if self._besides_s else ASSUMED_S
        return known + self.window_s

    def due(self, now_s: float) -> list[DrillCandidate]:
        """Those that begin now: they run from here on. Who could not end in time is not drilled, and said so.

        Nobody overtakes in a cell, or the one that needs most would wait for ever; another cell's slots are its own.
        """
        begin: list[DrillCandidate] = []
        wait: list[DrillCandidate] = []
        full: set[str] = set()
        for one in self.waiting:
            if one.at in full or not self._fits(one):
                wait.append(one)
                full |= set(self.limits.cells) if self._short_of_all(one) else {one.at}
                continue
            left_s, takes_s = self.budget_s - now_s, self.estimate_s(one)
            if takes_s > left_s:
                self.not_drilled[one.deployment] = self._too_late(one, takes_s, left_s)
                continue
            self.running[one.deployment] = one
            begin.append(one)
        self.waiting = wait
        return begin

    def _short_of_all(self, one: DrillCandidate) -> bool:
        """Whether it waits for the slots of all cells together, and not of its own."""
        return self.used + one.parallelism > self.limits.total

    def _fits(self, one: DrillCandidate) -> bool:
        there = sum(other.parallelism for other in self.running.values() if other.at == one.at)
        return there + one.parallelism <= self.limits.usable(one.at) and not self._short_of_all(one)

    def _too_late(self, one: DrillCandidate, takes_s: float, left_s: float) -> str:
        by = "its last one" if one.deployment in self._besides_s else "the median of the others"
        by = by if self._besides_s else "an assumption: none is on record"
        left = f"{max(0.0, left_s):,.0f} s of {self.budget_s:,.0f} s were left"
        return f"no time: it takes about {takes_s:,.0f} s by {by}, and {left}"

    def ended(self, deployment: str, took_s: float | None = None) -> None:
        """It runs no more. ``took_s``: what it took, if it went through all of its steps."""
        self.running.pop(deployment)
        if took_s is not None:
            self._besides_s[deployment] = max(0.0, took_s - self.window_s)

    def give_up(self, why: str) -> None:
        """Nobody begins any more; those that run are not touched."""
        self.not_drilled |= {one.deployment: why for one in self.waiting}
        self.waiting = []


@dataclass(frozen=True)
class Forecast:
    """When each would begin and end, by the estimates; who would not be drilled, and why."""

    begins_s: Mapping[str, float]
    takes_s: Mapping[str, float]
    not_drilled: Mapping[str, str]
    at_once: int
    """So many slots would be used at most."""

    @property
    def ends_s(self) -> float:
        """When the last would end."""
        return max((at + self.takes_s[name] for name, at in self.begins_s.items()), default=0.0)


def forecast(make: Callable[[], Queue], now_s: float = 0.0) -> Forecast:
    """Play the queue from now on, with each drill taking what is estimated."""
    queue = make()
    begins: dict[str, float] = {}
    takes: dict[str, float] = {}
    most = 0
    while True:
        for one in queue.due(now_s):
            begins[one.deployment], takes[one.deployment] = now_s, queue.estimate_s(one)
        most = max(most, queue.used)
        if not queue.running:
            return Forecast(begins, takes, queue.not_drilled, most)
        first = min(queue.running, key=lambda name: (begins[name] + takes[name], name))
        now_s = begins[first] + takes[first]
        queue.ended(first)

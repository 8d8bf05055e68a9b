"""One partition in regions that mirror each other, turned at random: the logs as they come to be, and their lineage.

A record is its number, in the order in which it was written anywhere. ``log[region][offset]`` is (number, hop) or None
for an offset that a marker took; hop is (region, offset) of what the mirror copied, None for what was written there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from tidegate.lineage import turning
from tidegate.lineage.model import Excluded, Partition, Segment, TopicLineage, check

Log = list[tuple[int, tuple[str, int] | None] | None]


@dataclass
class TurnedWorld:
    lineage: TopicLineage
    logs: dict[str, Log]
    origin: dict[int, str] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    """Tail: what a region took that never crossed."""
    at: dict[tuple[str, str], int] = field(default_factory=dict)
    """How far each mirror has come, next offset of its source."""

    @classmethod
    def new(cls, regions: list[str], first: int) -> TurnedWorld:
        logs: dict[str, Log] = {region: [] for region in regions}
        logs[regions[0]] = [None] * first
        begun = Partition(segments=(Segment(turn=0, region=regions[0], first=first),))
        return cls(TopicLineage(topic="t", region=regions[0], partitions={"0": begun}), logs)

    @property
    def partition(self) -> Partition:
        return self.lineage.partitions["0"]

    @property
    def home(self) -> str:
        return self.lineage.region

    def write(self, pattern: list[bool]) -> None:
        """A record for True, a marker for False."""
        for record in pattern:
            if record:
                self.origin[len(self.origin)] = self.home
                self.logs[self.home].append((len(self.origin) - 1, None))
            else:
                self.logs[self.home].append(None)

    def mirror(self, target: str, at_most: int | None, markers: int = 0) -> None:
        """The link from where the topic lives brings so many offsets on (None: all)."""
        source = self.home
        log, to = self.logs[source], self.logs[target]
        first = self.at.get((source, target), 0)
        end = len(log) if at_most is None else min(len(log), first + at_most)
        for offset in range(first, end):
            entry = log[offset]
            if entry is not None and self.origin[entry[0]] != target and not self._has(target, entry[0]):
                to.append((entry[0], (source, offset)))
        to.extend([None] * markers)
        self.at[source, target] = max(end, first)

    def turn(self, target: str, *, planned: bool, operation: str) -> None:
        source = self.home
        if planned:
            self.mirror(target, None)
            end = len(self.logs[source])
        else:
            came = [
                one[1][1] for one in self.logs[target] if one is not None and one[1] is not None and one[1][0] == source
            ]
            end = max(came, default=-1) + 1
            there = {one[0] for one in self.logs[target] if one is not None}
            self.lost |= {one[0] for one in self.logs[source] if one is not None} - there
        cut = len(self.logs[target])
        held = self.lineage.model_copy(update={"holder": operation, "gate": "closed"})
        turned = turning.turned(
            held, operation, target, planned=planned, ends={0: end}, cuts={0: cut}, epoch=None, excluded=()
        )
        tail_from = turned.partitions["0"].segments[-2].end
        assert tail_from is not None
        if tail_from < len(self.logs[source]):
            tail = Excluded(region=source, first=tail_from, last=len(self.logs[source]) - 1, why="tail", by=operation)
            turned = turning.with_excluded(turned, [(0, tail)])
        self.lineage = check(turning.released(turned, operation))
        self.at[target, source] = cut

    def offset_of(self, region: str, number: int) -> int | None:
        return next((at for at, one in enumerate(self.logs[region]) if one is not None and one[0] == number), None)

    def _has(self, region: str, number: int) -> bool:
        return self.offset_of(region, number) is not None


@st.composite
def worlds(draw: st.DrawFn, regions: tuple[str, ...] = ("east", "west"), *, planned: bool = False) -> TurnedWorld:
    world = TurnedWorld.new(list(regions), draw(st.integers(0, 3)))
    patterns = st.lists(st.booleans(), max_size=5)
    for number in range(draw(st.integers(0, 5))):
        others = [region for region in regions if region != world.home]
        for _ in range(draw(st.integers(0, 3))):
            world.write(draw(patterns))
            world.mirror(
                draw(st.sampled_from(others)), draw(st.one_of(st.none(), st.integers(0, 6))), draw(st.integers(0, 2))
            )
        well = planned or draw(st.booleans())
        world.turn(draw(st.sampled_from(others)), planned=well, operation=f"o{number}")
    world.write(draw(patterns))
    others = [region for region in regions if region != world.home]
    world.mirror(others[0], draw(st.one_of(st.none(), st.integers(0, 6))))
    return world

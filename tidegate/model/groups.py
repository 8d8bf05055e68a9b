"""Consumer groups downstream at a failover: what is seen of them before, and what became of each (X25)."""

from __future__ import annotations

from datetime import datetime

from tidegate.model.record import Frozen

NAMED = 3
"""So many reasons or notes of a group are told; the rest is a number."""


class GroupLook(Frozen):
    """A consumer group of the fleet file as it stands before a failover. Changes nothing."""

    group: str
    topics: tuple[str, ...]
    """Those that it reads and that turn."""
    partitions: int = 0
    """So many have an offset of it in the region that is left."""
    as_of: datetime | None = None
    """When its offsets were kept, if that region does not answer; None: they were asked for now."""
    exact: bool = True
    """By provenance; else by the floor of the offset syncs."""
    again: int = 0
    """Of offsets that were kept: at most so many records it has read since, and they come again."""
    live: bool = False
    """Somebody is in it where it shall go on: it would be left as it is."""
    problem: str | None = None
    """Why nobody knows where it stands; None: somebody does."""

    @property
    def text(self) -> str:
        """For the plan."""
        if self.problem is not None:
            return f"{self.group}: {self.problem}"
        if not self.partitions:
            return f"{self.group}: it has no offsets of {', '.join(self.topics)}"
        how = "exactly" if self.exact else "by the floor of the offset syncs: some comes again, and is counted"
        kept = f", as kept at {clock(self.as_of)}: up to {self.again:,} records come again" if self.as_of else ""
        live = "; SOMEBODY IS IN IT THERE: it is left as it is unless its consumers stop" if self.live else ""
        return f"{self.group}: {partitions(self.partitions)} of {', '.join(self.topics)}, {how}{kept}{live}"


class GroupFact(Frozen):
    """What became of one consumer group. Counts are of partitions, unless they say records."""

    group: str
    put: int = 0
    """Its offset was put there now."""
    there: int = 0
    """It stood at that very place already."""
    further: int = 0
    """It stands further on there: left as it is, for it would read again what it has read."""
    exact: bool = True
    """By provenance everywhere; else by the floor of the offset syncs somewhere."""
    as_of: datetime | None = None
    """When its offsets were kept, if the region that was left did not answer; None: they were asked for."""
    again: int = 0
    """Records that it has read and that may come again."""
    counted: bool = True
    """``again`` is their number; False: at most so many."""
    ahead: int = 0
    """Records before it that do not count: a reader that does not follow the lineage reads them, too (X21)."""
    left: tuple[str, ...] = ()
    """What of it was not put, and why."""
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """One line."""
        told: list[str] = []
        if self.put or self.there:
            how = "where it stood" if self.exact else "by the floor of the offset syncs"
            already = f", {self.there:,} of them there already" if self.there and self.put else ""
            told.append(f"goes on {how} ({partitions(self.put + self.there)}{already})")
        if self.as_of is not None and told:
            told.append(f"as its offsets were kept at {clock(self.as_of)}")
        if told:
            told.append(self.comes_again)
        if self.ahead:
            told.append(f"{self.ahead:,} before it do not count: the lineage says which")
        if self.further:
            told.append(f"stands further on there already on {partitions(self.further)}: left")
        if self.left:
            told.append(f"LEFT AS IT WAS: {few(self.left)}")
        told += self.notes[:NAMED]
        return f"{self.group}: {'; '.join(told) or 'it has no offsets, so it has read nothing that would count'}"

    @property
    def comes_again(self) -> str:
        """How many records come again, in words."""
        if not self.again:
            return "nothing comes again"
        return f"{'' if self.counted else 'up to '}{self.again:,} records come again"


class GroupsFact(Frozen):
    """translate_groups: what became of every consumer group that the fleet file names for the deployment."""

    groups: tuple[GroupFact, ...] = ()

    @property
    def left(self) -> tuple[str, ...]:
        """Groups of which something was not put."""
        return tuple(one.group for one in self.groups if one.left)


def partitions(count: int) -> str:
    """A number of partitions, in words."""
    return f"{count:,} partition{'' if count == 1 else 's'}"


def few(told: tuple[str, ...]) -> str:
    """The first of them, and how many more there are."""
    more = f"; and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return "; ".join(told[:NAMED]) + more


def clock(at: datetime) -> str:
    """With its date, for it may be old, and its zone."""
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03} UTC"


def translate_command(deployment: str, group: str | None = None) -> str:
    """How a person does it later."""
    return f"tidegate groups translate {deployment}" + (f" --group {group}" if group is not None else "")

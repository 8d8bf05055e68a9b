"""``lineage/<topic>.json``: where a topic is written now, and per partition which region wrote which range that counts.

A topic is *turned* when its writers go on in another region. Each turn ends one segment in every partition and begins
the next. Offsets are always those of the region that is named beside them; a position of one region is never compared
with one of another (X20).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Literal

from pydantic import Field

from tidegate.errors import InvalidInput
from tidegate.model.record import Frozen, utc_now


class Gate(StrEnum):
    """Whether writers of the topic may write where it lives. Producers follow it; readers need not."""

    OPEN = "open"
    CLOSED = "closed"
    """A switch is under way: nobody writes anywhere until it is open again."""


class Excluded(Frozen):
    """A range of one region's log that does not count, both ends included: superseded output, or what never crossed."""

    region: str
    first: int
    last: int
    why: str
    by: str
    """The operation that excluded it."""


class Segment(Frozen):
    """What one region wrote between two turns, by its own log's offsets. ``end`` is not included; None: it goes on.

    ``cut``: where, in the log of the region that came next, what was mirrored of this segment ends: the first offset
    there that is the next segment's. None: it goes on, or nobody could say.
    """

    turn: int
    region: str
    epoch: int | None = None
    """Of an output topic: the epoch of the job that began it."""
    first: int
    end: int | None = None
    cut: int | None = None


class Partition(Frozen):
    """The segments of one partition, oldest first; the last one goes on."""

    segments: tuple[Segment, ...]
    excluded: tuple[Excluded, ...] = ()


class Turn(Frozen):
    """One switch of the topic from a region to another."""

    number: int
    source: str | None
    """None: the first, when the lineage was begun."""
    target: str
    operation: str
    """Who made it, or took it on before it was opened."""
    planned: bool
    taken_over: tuple[str, ...] = ()
    """The superseded operations that it was taken on from, oldest first."""
    at: datetime = Field(default_factory=utc_now)


class Former(StrEnum):
    """Why an operation has no more to say on a topic. What it still sends, late or twice, changes nothing."""

    TURNED_BACK = "turned back"
    """It holds the topic still, and takes the way back: it turns it no more."""
    DONE = "done"
    """It has opened the gate."""
    SUPERSEDED = "superseded"
    """Another operation took the topic over."""


class TopicLineage(Frozen):
    """The object. ``seq`` rises at each write; ``turn`` numbers the switches, 0 when the lineage was begun."""

    version: Literal[1] = 1
    topic: str
    seq: int = 0
    write_id: str = ""
    turn: int = 0
    region: str
    """Where it is written: the truth since the last turn."""
    gate: Gate = Gate.OPEN
    holder: str | None = None
    """The operation that closed the gate and turns it; None while it is open."""
    fence: int = 0
    """Rises when another operation closes the gate or takes the turning over: what the former one writes is refused."""
    partitions: dict[str, Partition] = Field(default_factory=dict)
    """By partition number, as text."""
    turns: tuple[Turn, ...] = ()
    former: dict[str, Former] = Field(default_factory=dict)
    """By operation: those that have no more to say."""
    updated_at: datetime = Field(default_factory=utc_now)


def check(lineage: TopicLineage) -> TopicLineage:
    """The lineage, if it is consistent in itself. Raises InvalidInput, which names each mistake."""
    found = list(problems(lineage))
    if found:
        raise InvalidInput(
            f"the lineage of {lineage.topic} (turn {lineage.turn}, write {lineage.seq}) is not consistent: "
            + "; ".join(found),
            hint=f"no step goes by it until lineage/{lineage.topic}.json in the control bucket is mended",
            details={"topic": lineage.topic, "problems": found},
        )
    return lineage


def problems(lineage: TopicLineage) -> Iterator[str]:
    """What cannot be in a lineage that was turned from region to region, each in words."""
    if (lineage.gate is Gate.CLOSED) != (lineage.holder is not None):
        yield f"its gate is {lineage.gate} and it is held by {lineage.holder or 'nobody'}"
    numbers = [turn.number for turn in lineage.turns]
    if numbers != list(range(1, lineage.turn + 1)):
        yield f"turn is {lineage.turn}, and the turns that are written down are {numbers}"
    for before, after in pairwise(lineage.turns):
        if after.source != before.target:
            yield f"turn {after.number} leaves {after.source}, where turn {before.number} did not lead"
    if lineage.turns and lineage.turns[-1].target != lineage.region:
        yield f"it is written in {lineage.region}, and its last turn led to {lineage.turns[-1].target}"
    for name, partition in lineage.partitions.items():
        if not name.isascii() or not name.isdigit():
            yield f"{name!r} is no partition number"
        for problem in _of_partition(lineage, partition):
            yield f"partition {name}: {problem}"


def _of_partition(lineage: TopicLineage, partition: Partition) -> Iterator[str]:
    segments = partition.segments
    if not segments:
        yield "it has no segment"
        return
    last = segments[-1]
    if (last.turn, last.region) != (lineage.turn, lineage.region):
        yield f"its last segment is of turn {last.turn} in {last.region}; expected {lineage.turn} in {lineage.region}"
    if last.end is not None or last.cut is not None:
        yield "its last segment does not go on"
    reached: dict[str, int] = {}
    for segment in segments:
        if segment.first < 0 or (segment.end is not None and segment.end < segment.first):
            yield f"turn {segment.turn} goes from {segment.first:,} to {segment.end} of {segment.region}"
        if segment.first < reached.get(segment.region, 0):
            yield (
                f"turn {segment.turn} begins at {segment.first:,} of {segment.region}, where an earlier segment ends "
                f"at {reached[segment.region]:,}: was the topic made anew there?"
            )
        reached[segment.region] = segment.first if segment.end is None else segment.end
    for before, after in pairwise(segments):
        if after.turn != before.turn + 1 or after.region == before.region:
            yield f"turn {after.turn} in {after.region} does not follow turn {before.turn} in {before.region}"
        if before.cut is not None and after.first != before.cut:
            yield f"turn {after.turn} begins at {after.first:,}; the cut before it is {before.cut:,}"
    for one in partition.excluded:
        if not 0 <= one.first <= one.last:
            yield f"{one.first:,} to {one.last:,} of {one.region} is no range to exclude"

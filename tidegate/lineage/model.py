"""``lineage/<topic>.json``: where a topic is written now, and per partition which region wrote which range that counts.

A topic is *turned* when its writers go on in another region. Each turn ends one segment in every partition and begins
the next. Offsets are always those of the region that is named beside them; a position of one region is never compared
with one of another (X20).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

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
    planned: bool
    at: datetime = Field(default_factory=utc_now)


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
    updated_at: datetime = Field(default_factory=utc_now)

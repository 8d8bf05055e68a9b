"""``points/<deployment>/<region>.json``: the recovery points of a deployment in a region, and what stands against them.

One writer, by compare-and-swap (O1): whoever keeps the recovery points of the deployment.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from tidegate.model.mirror import LinkHealth
from tidegate.model.record import Frozen


class OutputCut(Frozen):
    """What of one output partition at home belongs to a snapshot (X4; ``tidegate.points.attribution.Cut``).

    Ours below ``upto`` (not included) belongs to it, but for ``later``: ranges, both ends included.
    """

    upto: int
    last: int | None
    first_later: int | None
    later: tuple[tuple[int, int], ...] = ()


class Settlement(Frozen):
    """The broker's word on a committable, when it was seen (X3): brokers forget ids after a week."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    word: str
    safe: bool
    """Whether its outputs are committed for good."""
    at: datetime


class Point(Frozen):
    """A snapshot in a region, with all that a start from it there needs (X5)."""

    id: str
    kind: Literal["savepoint", "checkpoint"]
    snapshot: str
    """Its location in this region."""
    source: str | None = None
    """Location of the original, if it was shipped."""
    epoch: int | None = None
    checkpoint_id: int | None = None
    taken_at: datetime
    """By S3's clock at home: the age of the point counts from here."""
    inputs: dict[str, dict[str, int]] | None = None
    """I(N): by source uid, ``topic/partition`` to the next offset to read. None: could not be read."""
    outputs: dict[str, OutputCut] | None = None
    """By ``topic/partition`` at home. None: not recorded, so it is no recovery point for another Kafka (X4)."""
    settlements: tuple[Settlement, ...] = ()
    outputs_there: bool | None = None
    """Whether the mirror has passed its outputs on every partition (X5); None: nobody could say."""
    verified_at: datetime | None = None
    """When every file was last seen at its size."""
    problem: str | None = None
    """What was wrong when it was looked at last; None: nothing."""


class Outage(Frozen):
    """A time in which a point could not be restored from, because of its files: also told when they are back."""

    point: str
    """Its id."""
    problem: str
    """What was wrong with its files when that was seen first."""
    whole_at: datetime | None
    """When all of them had been seen last before."""
    since: datetime
    """When it was seen."""
    until: datetime | None = None
    """When they were all seen again; None: never yet."""


class TopicSeen(Frozen):
    """A topic as it was seen first. ``id`` None: its broker is too old to tell."""

    id: str | None
    partitions: int


class Points(Frozen):
    """All of them, newest first."""

    version: Literal[1] = 1
    deployment: str
    region: str
    home: str
    """The region where the job runs."""
    seq: int = 0
    updated_at: datetime
    points: tuple[Point, ...] = ()
    holes: tuple[str, ...] = ()
    """What the mirror has lost, or can no longer bring, and topics that are not what they were (X7)."""
    topics: dict[str, dict[str, TopicSeen]] = Field(default_factory=dict)
    """By region and name, what the mirror brings and where to, as it was at the first look: what has changed since is a
    hole until a person says that it is none (``tidegate points --accept-topics``)."""
    topics_since: datetime | None = None
    """When a person said so: points of before are of the topics that were, and no recovery points."""
    outages: tuple[Outage, ...] = ()
    """Of points in the standby, the newest first: what was missing there, also if it was sent again since."""
    mirror: LinkHealth | None = None
    """Of the standby: whether what brings its outputs runs, and when a task of it died and was restarted."""
    read_from: dict[str, int] = Field(default_factory=dict)
    """By output partition: where the log is read on for snapshots newer than the newest that was attributed."""
    read_after: tuple[int, int] | None = None
    """Epoch and checkpoint id that ``read_from`` is good for: newer ones only."""


class Restorability(Frozen):
    """A line of the restorability index: can the deployment be restored in this region, and how old would it be?"""

    deployment: str
    region: str
    restorable: bool
    why_not: str | None = None
    point: str | None = None
    """Id of the newest recovery point."""
    snapshot: str | None = None
    age_s: float | None = None
    """Seconds since it was taken: what a loss of home now would cost (the true RPO)."""
    verified_age_s: float | None = None
    points: int = 0
    """How many there are."""

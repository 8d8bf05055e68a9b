"""What the checks go by. Gathered by ``tidegate.readiness.gather``; made by hand in tests.

What could not be asked is a value of its own (``NotKnown``), in place of the fact: a check must look at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from tidegate.clients.flink_types import CheckpointStats, JobState
from tidegate.clients.kafka_types import ClusterShape, TopicPartition
from tidegate.driver.base import CheckpointSettings
from tidegate.incidents.model import OpenFollowUp
from tidegate.mirror.status import MirrorStatus
from tidegate.model.fleet import CellRef, Deployment
from tidegate.model.record import DeploymentRecord, SlotMemory
from tidegate.model.region import Member, Other
from tidegate.model.steps import ReportInput
from tidegate.points.model import Points
from tidegate.snapshot.against import Against
from tidegate.snapshot.show import OperatorView

T = TypeVar("T")


@dataclass(frozen=True)
class NotKnown:
    """Nobody could say. ``of``: what was asked (``Kafka in west``); ``why``: what came; ``hint``: what to do."""

    of: str
    why: str
    hint: str = ""


@dataclass(frozen=True)
class Refused:
    """It answered, and said no: a wrong password, a missing right, a bucket that is not there."""

    why: str


Access = Refused | NotKnown | None
"""None: it was let in."""


@dataclass(frozen=True)
class CellFacts:
    """The Flink of a cell."""

    at: CellRef
    version: str
    taskmanagers: int
    slots_free: int
    slots_total: int
    high_availability: bool
    slot_memory: SlotMemory | None = None
    """What a slot has at least; None: Flink does not tell."""


@dataclass(frozen=True)
class RegionFacts:
    """A region, asked once for all deployments. ``starts``: where the logs of their topics begin."""

    name: str
    kafka: ClusterShape | NotKnown
    starts: Mapping[TopicPartition, int] | NotKnown
    cells: Mapping[str, CellFacts | NotKnown]
    s3: Mapping[str, Access]
    """By cell: writing, listing and removing an object where its savepoints lie."""


@dataclass(frozen=True)
class LinkFacts:
    """A mirror link. ``differs``: names of settings of its connector that are not as the fleet file says."""

    status: MirrorStatus
    differs: tuple[str, ...] = ()
    provenance: Mapping[str, bool] = field(default_factory=dict)
    """By topic: whether the newest that it brought says where it came from; topics without records are absent."""


@dataclass(frozen=True)
class JobFacts:
    """The job that the record names, by Flink's word."""

    job_id: str
    state: JobState
    checkpoints: CheckpointStats
    settings: CheckpointSettings | None
    """None: it takes none."""


@dataclass(frozen=True)
class StateFacts:
    """The newest snapshot at home; ``result``: what a start of what runs now would do with it (None: nothing runs)."""

    snapshot: str
    version: int
    operators: tuple[OperatorView, ...]
    result: Against | NotKnown | None


@dataclass(frozen=True)
class StandbyRoom:
    """All that would come to the standby if the home region were lost, and who is there."""

    region: str
    members: tuple[Member, ...]
    others: tuple[Other, ...]


@dataclass(frozen=True)
class ScheduledDrill:
    """A drill by the clock. ``missed``: when it was due, and that nothing ran; None: it was not missed."""

    schedule: str
    deployment: str
    missed: str | None = None


@dataclass(frozen=True)
class Facts:
    """All about one deployment. ``regions``: home and standby; ``cell_away``: where it would run there."""

    deployment: str
    spec: Deployment
    now: datetime
    outage_s: float
    record: DeploymentRecord | NotKnown | None
    home: CellRef
    standby: str | None
    cell_away: CellRef | NotKnown | None
    regions: Mapping[str, RegionFacts]
    points: Mapping[str, Points | NotKnown | None]
    jar_kept: bool | NotKnown | None
    """Whether the control bucket has the jar of what runs: home's S3 goes with home. None: nothing runs."""
    reports: tuple[ReportInput, ...] | NotKnown
    """The newest first."""
    follow_ups: tuple[OpenFollowUp, ...] | NotKnown
    """Of incidents that name it or a region of it, or neither: what is not done yet."""
    job: JobFacts | NotKnown | None
    """None: Flink runs none for it."""
    state: StateFacts | NotKnown | None
    """None: there is no snapshot."""
    forward: Mapping[str, LinkFacts | NotKnown]
    """By name: links from home to the standby that bring its topics."""
    uncovered: tuple[str, ...]
    """Topics of it that no link brings to the standby."""
    back: Mapping[str, str | NotKnown]
    """Links that lead back: what Connect says of each (``not made yet``, ``STOPPED``)."""
    uncovered_back: tuple[str, ...]
    logins: Mapping[tuple[str, str], Access]
    """By region and principal: logging in to Kafka, and seeing its topics."""
    record_ids: Mapping[str, bool] | NotKnown
    """By input topic at home: whether its newest record carries the id that the fleet file names; empty: none is."""
    room: StandbyRoom | NotKnown | None
    queues: Mapping[str, int] | NotKnown
    """Workers on each task queue that it needs."""
    control_host: str
    flink_page: str
    """The URL of home's Flink."""
    bootstraps: Mapping[str, str]
    """By region: its Kafka."""
    region_hosts: Mapping[str, tuple[str, ...]]
    """By region: where its Kafka and S3 are, as the fleet file names them."""
    scheduled: tuple[ScheduledDrill, ...] | NotKnown = ()
    """Its drills by the clock."""
    forks: Mapping[str, DeploymentRecord] | NotKnown = field(default_factory=dict)
    """By name: what drills of any deployment have there now."""
    own_forks: Mapping[str, DeploymentRecord] = field(default_factory=dict)
    """Those of its own drills."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Topics that it reads, each once."""
        return tuple(sorted({topic for source in self.spec.sources for topic in source.topics}))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Topics that it writes, each once."""
        return tuple(sorted({topic for sink in self.spec.sinks for topic in sink.topics}))

    @property
    def topics(self) -> tuple[str, ...]:
        """Both."""
        return tuple(sorted({*self.inputs, *self.outputs}))

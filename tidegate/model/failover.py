"""FailoverDeployment: what goes in, what is seen of two regions, and the facts of its steps."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, Field

from tidegate.model.groups import GroupLook
from tidegate.model.inputs import RunbookInput
from tidegate.model.operation import ReplayRange
from tidegate.model.record import Frozen
from tidegate.model.recovery import Strength
from tidegate.model.steps import StepInput
from tidegate.model.timers import TimersFound

FAILOVER_DEPLOYMENT = "FailoverDeployment"


class FailoverInput(RunbookInput):
    """FailoverDeployment: a deployment goes on in another region, with its topics and their writers."""

    to: str | None = Field(
        default=None, description="the region to go on in; default: the standby, or home if it runs in the standby"
    )
    unplanned: bool = Field(
        default=False,
        description="go on without what the other region does not answer: from the newest recovery point",
    )
    point: str | None = Field(
        default=None, description="unplanned: the id of the recovery point to go on from; default: the newest"
    )
    escalate_after_s: float | None = Field(
        default=None,
        gt=0,
        le=86_400,
        description="if the planned way is not through with the old region in this time, go on unplanned, in seconds",
    )
    drain_s: float = Field(
        default=120.0, gt=0, le=3_600, description="how long the mirror may take to bring the rest, in seconds"
    )
    detected_at: AwareDatetime | None = Field(
        default=None, description="when the loss was noticed, with its zone: RTO is told from then, too"
    )
    parallelism: int | None = Field(
        default=None, ge=1, description="run with so many subtasks there; default: as in the fleet file"
    )


class Answers(Frozen):
    """What of a region answers; of a part that does not, why."""

    region: str
    flink: str | None = None
    """None: it answers."""
    kafka: str | None = None
    s3: str | None = None

    @property
    def all(self) -> bool:
        """Whether every part answers."""
        return self.flink is None and self.kafka is None and self.s3 is None

    @property
    def silent(self) -> tuple[str, ...]:
        """The parts that do not answer, each with why."""
        parts = (("Flink", self.flink), ("Kafka", self.kafka), ("S3", self.s3))
        return tuple(f"{name} in {self.region}: {why}" for name, why in parts if why is not None)


class Topics(Frozen):
    """What of a deployment's topics is turned, and what stays where it is because another deployment needs it there."""

    turn: tuple[str, ...]
    stay: tuple[str, ...] = ()
    """Inputs that others read too: they stay where they are written, and the mirror goes on bringing them."""
    links: tuple[str, ...] = ()
    """Mirror links that bring what is turned: they are drained and shut."""
    back: tuple[str, ...] = ()
    """Links that lead the other way: they are started when all is done."""


class PointChoice(Frozen):
    """A recovery point as it was looked at for an unplanned failover, and what a start from it would cost."""

    id: str
    snapshot: str
    source: str
    epoch: int | None
    taken_at: datetime
    problem: str | None = None
    """Why it cannot be gone on from; None: it can."""
    superseded: int | None = None
    """Outputs in the standby that would no longer count; None: not counted."""
    ahead: int | None = None
    """Input records that its state has read and that have not come to the standby (X22); None: not counted."""
    ahead_exact: bool = True
    """False: home cannot be asked, and it is so many at most."""


class RegionsSeen(Frozen):
    """look_regions: what both regions say. Changes nothing."""

    at: datetime
    home: Answers
    standby: Answers
    topics: Topics
    parallelism: int
    slots_free: int
    slots_total: int
    points: tuple[PointChoice, ...] = ()
    """Newest first; empty: none are kept."""
    newest: str | None = None
    """Id of the newest point at home, whether it has crossed or not; None: not known."""
    mirror_lag: dict[str, int | None] = Field(default_factory=dict)
    """By link: records that are still to come; None: not known."""
    left_planned: str | None = None
    """Of a region that returns: the operation that left it as planned, and it is mirrored to; nothing is to return.
    None: it was given up, or is not mirrored to."""
    rto_objective_s: float | None = None
    """What the fleet file promises, in seconds; None: nothing."""
    rpo_objective_s: float | None = None
    groups: tuple[GroupLook, ...] = ()
    """The consumer groups of the fleet file that read what turns."""
    unproven: tuple[str, ...] = ()
    """Partitions in the standby whose newest record does not say where it stood at home (X20)."""
    timers: TimersFound | None = None
    """In the point that an unplanned failover goes on from; else in the newest checkpoint of the job that runs."""
    tail: str = "by-hand"
    """What the fleet file says of inputs that never crossed."""
    began_from: str | None = None
    """Of a start in the standby that is not known to have ended: the copy that it goes from. None: there is none."""
    not_returned: str | None = None
    """The operation that gave the standby up, if it has not been returned since (X23); None: it was not, or has been.
    """
    warnings: tuple[str, ...] = ()


class FailoverStep(StepInput):
    """What every step of a failover needs. ``at`` is the cell where it goes on."""

    home: str
    """The cell that it leaves, ``region/cell``."""
    topics: Topics
    unplanned: bool = False
    take_over: bool = False
    """The operation that turned the topics before was taken over from."""
    answers: Answers | None = None
    """Unplanned: what of the other region answered when it was looked at; what did not is not asked again."""


class LookRegionsInput(Frozen):
    """look_regions: for a deployment that lives at ``home`` and shall go on at ``at``."""

    deployment: str
    fleet_digest: str
    home: str
    at: str
    point: str | None = None
    unplanned: bool = False
    together: tuple[str, ...] = ()
    """Deployments that move with it: topics that only these use are turned, too."""
    returning: bool = False
    """Home was left already, and answers again."""


class ShutFact(Frozen):
    """close_producers: nobody writes the topics any more, and where they end."""

    ends: dict[str, int] = Field(default_factory=dict)
    """``topic/partition`` to log end in the region that is left; empty: it does not answer."""
    principals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class HomeFact(Frozen):
    """shut_home: what was done to the old job, and what it goes on from."""

    strength: Strength
    point: str
    """Id of the recovery point."""
    snapshot: str
    """Its location in the region where it goes on."""
    taken_at: datetime
    notes: tuple[str, ...] = ()


class CutInput(FailoverStep):
    """cut_over: drain and shut the links, then write the cut."""

    ends: dict[str, int] = Field(default_factory=dict)
    drain_s: float = 120.0


class ShutInput(CutInput):
    """shut_home: give the other region up."""

    point: str | None = None
    """Id of the recovery point that was asked for; None: the newest that holds."""
    links_shut: bool = False
    """Another operation has shut the links already: they are looked at only."""


class CutFact(Frozen):
    """cut_over: the links are shut, and the lineage of every topic has turned."""

    partitions: int
    shut: dict[str, str]
    """By link: how it was shut."""
    drained: bool
    input_until: datetime | None = None
    """Timestamp of the newest input record that came; None: none did."""
    notes: tuple[str, ...] = ()


class RebaseInput(FailoverStep):
    """rebase_copy: make the copy that starts there."""

    snapshot: str
    """Location of the shipped snapshot, in the region where it goes on."""


class RebaseFact(Frozen):
    """rebase_copy: where the copy is."""

    location: str
    original: str
    replays: int
    positions: int
    notes: tuple[str, ...] = ()


class TranslateInput(FailoverStep):
    """translate_groups: consumer groups go on there where they were."""

    superseded: tuple[ReplayRange, ...] = ()
    """Of the outputs there, what no longer counts and is not in the lineage yet."""


class OpenInput(FailoverStep):
    """open_producers: writers go on there."""

    superseded: tuple[ReplayRange, ...] = ()


class OpenFact(Frozen):
    """open_producers: the gate is open."""

    topics: tuple[str, ...]
    turn: int
    first_output_at: datetime | None = None
    """When the first output of the new job was appended (by the broker's clock); None: none was seen yet."""
    notes: tuple[str, ...] = ()
    """Who could not be told that the topics live there now."""


class MirrorBackFact(Frozen):
    """mirror_back: the links of the other direction run, from the cut on."""

    started: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    """Those that cannot be started while the other region does not answer, each with why."""
    at_large: tuple[str, ...] = ()
    """Deployments whose old job may commit there still: links wait until these are returned, too."""
    notes: tuple[str, ...] = ()
    """What was not as it should be of who may write where, and was put right."""


class GateFact(Frozen):
    """hold_gate: who may write was read back."""

    notes: tuple[str, ...] = ()
    """What was not as it should be, and was put right."""

"""FailoverRegion: what goes in, what is seen of a region, and what the group of its deployments does in common."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field

from tidegate.model.failover import Answers, FailoverInput, Topics
from tidegate.model.inputs import Input, TakeOver
from tidegate.model.operation import ReplayRange
from tidegate.model.record import Frozen, Holder, MadeWay
from tidegate.model.steps import Unfinished

FAILOVER_REGION = "FailoverRegion"
FAILOVER_MEMBER = "FailoverMember"


class FailoverRegionInput(Input):
    """FailoverRegion: all that lives in a region goes on in another one."""

    region: str = Field(min_length=1, description="the region that is left")
    to: str = Field(min_length=1, description="the region to go on in")
    deployments: tuple[str, ...] = Field(default=(), description="only these; default: all that live in the region")
    requested_by: str = Field(default="unknown", description="who asks; a claim, printed as one")
    reason: str = Field(default="", description="why; printed in the report")
    dry_run: bool = Field(default=False, description="observe and plan, change nothing")
    unplanned: bool = Field(
        default=False,
        description="go on without what the other region does not answer: from the newest recovery points",
    )
    room: Literal["wait", "lower", "shed"] = Field(
        default="wait",
        description="what does not fit into the other region: waits until slots are free, all run with fewer subtasks, "
        "or lower tiers there are stopped with a savepoint",
    )
    room_wait_s: float = Field(
        default=600.0, ge=0, le=86_400, description="how long what does not fit may wait for slots, in seconds"
    )
    at_once: int = Field(
        default=32,
        ge=1,
        le=10_000,
        description="how many deployments may be on their way at the same time; a family that "
        "is moved as planned goes as a whole",
    )
    bring_back: bool = Field(
        default=True,
        description="what gave way to these in the region that is left is started again there when they have gone; "
        "false: it is only named",
    )
    escalate_after_s: float | None = Field(
        default=None,
        gt=0,
        le=86_400,
        description="what has not turned in this time goes on unplanned, in seconds",
    )
    drain_s: float = Field(
        default=120.0, gt=0, le=3_600, description="how long the mirror may take to bring the rest, in seconds"
    )
    detected_at: AwareDatetime | None = Field(
        default=None, description="when the loss was noticed, with its zone: RTO is told from then, too"
    )
    take_over: TakeOver | None = Field(
        default=None, description="take the deployments and topics from the operations that hold them"
    )
    break_glass: str | None = Field(default=None, description="go on without approvals that are required; say why")
    fleet_digest: str | None = Field(
        default=None, description="sha256 of a published fleet file; default: the current one"
    )
    bake_s: float = Field(default=60.0, ge=0, le=86_400, description="how long each job must prove healthy, in seconds")

    @property
    def deployment(self) -> str:
        """What stands for a deployment's name in its id, its status and the key of its report."""
        return f"region-{self.region}"


class MemberInput(FailoverInput):
    """FailoverMember: a deployment goes on in another region as one of a group, whose topics and links are moved once.

    Started by FailoverRegion only: without the word of ``group`` it waits.
    """

    group: str = Field(min_length=1, description="workflow id of the FailoverRegion that moves topics and links")
    together: tuple[str, ...] = Field(default=(), description="the deployments that move with it")
    asked_at: AwareDatetime | None = Field(
        default=None, description="when the group was asked for: RTO and RPO are told from then; default: its own start"
    )
    unfinished: Unfinished | None = Field(
        default=None, description="the lost failover that had turned its topics; this one ends what that one began"
    )


class Stage(StrEnum):
    """How far a member has come; at each it tells the group, and where the group must act it waits for its word."""

    READY = "ready"
    """Planned: taken, and shipped ahead. It waits until the producers are closed."""
    LEFT = "left"
    """Planned: stopped and shipped; unplanned: its recovery point is chosen. It waits until the topics are turned."""
    STARTED = "started"
    """Its job runs there. It waits until the topics are open there."""
    PROVEN = "proven"
    """Its job has held there. Its audit reads all of its topics: it waits for the group's word, or some minutes."""
    HALTED = "halted"
    """It needs a person. Nobody waits for it."""
    WANTS_BACK = "wants-back"
    """It cannot go on, and nothing has turned yet: all of its family go back."""


class MemberReached(Frozen):
    """Signal ``reached`` of FailoverRegion."""

    deployment: str
    stage: Stage
    superseded: tuple[ReplayRange, ...] = ()
    """Of STARTED: output there that comes again."""
    why: str = ""


class GoOn(Frozen):
    """Signal ``go_on`` of FailoverMember: the group's word on a stage."""

    stage: Stage
    turned: GroupCutFact | None = None
    """Of LEFT."""


class Member(Frozen):
    """A deployment of the region that shall move."""

    deployment: str
    tier: int
    parallelism: int
    home: str
    """The cell that it leaves, ``region/cell``."""
    at: str
    """The cell where it goes on."""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    runs_with: int | None = None
    """Its subtasks in the region that it leaves; None: not known."""
    unfinished: Unfinished | None = None
    """A lost failover has turned its topics and begun its start there: what is left is to adopt it and to open."""
    lost: str = ""
    """The operation that holds it and that nobody goes on with; empty: none does."""
    orphan: str = ""
    """The operation of a deployment that waits for the word of a region's failover which has ended."""


class Other(Frozen):
    """A deployment that runs in the standby already."""

    deployment: str
    tier: int
    parallelism: int


class GaveWay(Frozen):
    """A deployment that stands stopped to make way for a region's failover."""

    deployment: str
    tier: int
    at: str
    """The cell where it ran, ``region/cell``."""
    slots: int
    """What it needs to run as the fleet file says."""
    snapshot: str
    """Location of the savepoint that it was stopped with."""
    name: str
    """The savepoint's name, ``e3-savepoint-…``."""
    made_way: MadeWay
    since: datetime
    problem: str = ""
    """Why it cannot come back now; empty: nothing stands against it."""

    @property
    def region(self) -> str:
        """Where it ran."""
        return self.at.partition("/")[0]

    @property
    def text(self) -> str:
        """``reports, from its savepoint e3-savepoint-1a2b, 2 slots``."""
        return f"{self.deployment}, from its savepoint {self.name}, {self.slots} slots"


class LookGaveWayInput(Frozen):
    """look_gave_way: how it stands now with deployments that gave way. Changes nothing."""

    fleet_digest: str
    deployments: tuple[str, ...]


class GaveWayNow(Frozen):
    """look_gave_way."""

    gave_way: tuple[GaveWay, ...]
    """By tier, then by name."""
    others: dict[str, str] = Field(default_factory=dict)
    """Those that do not stand stopped to make way: what they do."""


class Family(Frozen):
    """Deployments that share a mirror link or a topic: they can only be stopped, drained and turned together."""

    members: tuple[str, ...]
    """By tier, then by name."""
    topics: Topics
    idle: tuple[str, ...] = ()
    """Deployments that do not run, whose topics turn with these: they go on from the lineage wherever they start."""
    no_return: bool = False
    """It shares links or topics with what a failover before this one has moved: none of it can go back (X24)."""
    turned: tuple[str, ...] = ()
    """Of its topics, those that a lost one has turned and not opened: they are not given back."""
    opened: tuple[str, ...] = ()
    """Topics of its links that were opened there before: they are closed no more, and mirrored back from their cut."""
    done: tuple[str, ...] = ()
    """Without members: deployments that run there already, and whose mirror the lost one has not turned round."""


class LookGroupInput(Frozen):
    """look_group: what lives in a region, and what the other one has room for. Changes nothing."""

    operation: str
    run_id: str
    region: str
    to: str
    deployments: tuple[str, ...] = ()
    fleet_digest: str | None = None
    unplanned: bool = False
    who: str = "unknown"
    why: str = ""
    take_over: bool = False
    """Asked to bring to its end what a lost one has begun."""


class GroupSeen(Frozen):
    """look_group."""

    at: datetime
    fleet_digest: str
    holder: Holder
    """This operation, as topics and links know their holder."""
    home: Answers
    standby: Answers
    members: tuple[Member, ...]
    """By tier, then by name."""
    families: tuple[Family, ...]
    others: tuple[Other, ...] = ()
    gave_way: tuple[GaveWay, ...] = ()
    """Deployments of the region that is left, stopped to make way for what goes home now; by tier, then by name."""
    slots_free: int
    slots_total: int
    mirror_lag: dict[str, int | None] = Field(default_factory=dict)
    """By link: records that are still to come; None: not known."""
    memory: tuple[str, ...] = ()
    """Where the slots there have less memory than those where a member runs, with both figures."""
    warnings: tuple[str, ...] = ()
    done: tuple[Member, ...] = ()
    """Deployments that a failover before this one has brought to their end: they are left alone."""

    @property
    def moving(self) -> tuple[Member, ...]:
        """Those that are still to leave the region."""
        return tuple(one for one in self.members if one.unfinished is None)

    def member(self, deployment: str) -> Member:
        """The member of this name. Raises StopIteration for another."""
        return next(one for one in self.members if one.deployment == deployment)


class GroupStep(Frozen):
    """What every step of a family needs. Its topics and links are fenced by this holder, not by a deployment's."""

    holder: Holder
    fleet_digest: str
    members: tuple[Member, ...]
    topics: Topics
    unplanned: bool = False
    take_over: bool = False
    answers: Answers | None = None
    """Unplanned: what of the other region answered when it was looked at; what did not is not asked again."""


class GroupCutInput(GroupStep):
    """cut_group: drain and shut the links once, then turn topics."""

    ends: dict[str, int] = Field(default_factory=dict)
    drain_s: float = 120.0
    outputs_of: tuple[str, ...]
    """Members whose outputs turn now."""
    inputs: bool = True
    """Whether the inputs turn now."""
    shut: dict[str, str] | None = None
    """By link: how it was shut before; None: it is shut now."""


class GroupCutFact(Frozen):
    """cut_group: the links are shut, and the lineage of these topics has turned."""

    partitions: int
    shut: dict[str, str]
    drained: bool
    input_until: dict[str, datetime | None] = Field(default_factory=dict)
    """By member: timestamp of the newest input record that came; None: none did."""
    notes: tuple[str, ...] = ()


class GroupOpenInput(GroupStep):
    """open_group: writers go on there, on these topics."""

    open: tuple[str, ...]
    superseded: tuple[ReplayRange, ...] = ()


class Room(Frozen):
    """What of a group fits into the standby now."""

    goes: tuple[str, ...]
    waits: tuple[str, ...] = ()
    parallelism: dict[str, int] = Field(default_factory=dict)
    """Members that run with fewer subtasks than the fleet file says."""
    shed: tuple[str, ...] = ()
    """Deployments there that are stopped with a savepoint first."""
    needed: int = 0
    """Slots that all of them need, as the fleet file says."""


GoOn.model_rebuild()

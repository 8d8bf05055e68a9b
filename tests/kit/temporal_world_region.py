"""A world of several deployments for workflow tests of a region's failover: each a world of its own, and what they
share, faked by contract: who closed, turned and opened which topics, in which order.
"""

from __future__ import annotations

import inspect
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import activity

from activities.beats import beating
from activities.contracts import CONTRACTS
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import AT, FLEET, artifact, choice, pinned, writer
from tidegate.failover import comeback
from tidegate.model.appraisal import Appraisal
from tidegate.model.failover import (
    Answers,
    HomeFact,
    LookRegionsInput,
    MirrorBackFact,
    OpenFact,
    PointChoice,
    RebaseFact,
    RebaseInput,
    RegionsSeen,
    ShutFact,
    ShutInput,
    Topics,
    TranslateInput,
)
from tidegate.model.groups import GroupFact, GroupsFact
from tidegate.model.operation import ArtifactFacts, JobFacts, Observation, Verdict
from tidegate.model.record import DeploymentRecord, Holder
from tidegate.model.recovery import Strength
from tidegate.model.region import (
    Family,
    GaveWay,
    GaveWayNow,
    GroupCutFact,
    GroupCutInput,
    GroupOpenInput,
    GroupSeen,
    GroupStep,
    LookGaveWayInput,
    LookGroupInput,
    Member,
    Other,
)
from tidegate.model.steps import (
    AppraiseInput,
    EnsureFact,
    EnsureInput,
    Held,
    Located,
    ObserveInput,
    StopFact,
    StopJobInput,
    TakeInput,
)

CHOICE = PointChoice(
    id="e7-chk-12", snapshot="s3://west/chk-12", source="s3://east/chk-12", epoch=7, taken_at=AT, superseded=3
)
SHARED = (
    "look_group",
    "look_gave_way",
    "close_group",
    "cut_group",
    "open_group",
    "mirror_group",
    "reopen_group",
)


class MemberWorld(World):
    """One deployment: in its region, until it is started in the other one. ``slots``: as the fleet file says."""

    def __init__(self, name: str, tier: int, region: str = "east", slots: int = 1) -> None:
        super().__init__()
        self.name, self.tier, self.slots = name, tier, slots
        self.region_now = region
        runs = writer("v1", 7).model_copy(update={"region": region, "parallelism": slots})
        self.record = DeploymentRecord(deployment=name, fence=3, epoch=7, writer=runs)
        self.verdict = Verdict(audited=True, input=100, output=100, gap_ms=4_200.0)

    def _locate(self, request: ObserveInput) -> Located:
        return Located(
            fleet_digest=FLEET,
            region=request.region or self.region_now,
            cell="cell-1",
            tier=self.tier,
            approval_required=self.approval_required,
            standby=_other(self.region_now),
        )

    def _observe(self, request: ObserveInput) -> Observation:
        writes = self.record.writer
        return Observation(
            at=AT,
            fleet_digest=FLEET,
            deployment=self.name,
            region=(request.at or "east/cell-1").partition("/")[0],
            cell="cell-1",
            tier=self.tier,
            parallelism=self.slots,
            approval_required=self.approval_required,
            record=self.record,
            job=JobFacts(job_id=writes.job_id, state=self.job_state) if writes and self.job_state else None,
            lag=12,
            artifacts=(ArtifactFacts(ref=artifact("v1"), size_bytes=1_000),),
            slots_free=0,
            slots_total=8,
        )

    def _take(self, request: TakeInput) -> Held:
        return super()._take(request).model_copy(update={"deployment": self.name})

    def _look_regions(self, request: LookRegionsInput) -> RegionsSeen:
        return RegionsSeen(
            at=AT,
            home=Answers(region=request.home.partition("/")[0]),
            standby=Answers(region=request.at.partition("/")[0]),
            topics=Topics(turn=(f"in-{self.name}", f"out-{self.name}"), links=("east-to-west",)),
            parallelism=self.slots,
            slots_free=0,
            slots_total=8,
            points=(CHOICE,),
            groups=self.groups,
        )

    def _translate_groups(self, request: TranslateInput) -> GroupsFact:
        self._check(request.held)
        return GroupsFact(groups=self.moved or tuple(GroupFact(group=one.group, put=2) for one in self.groups))

    def _rebase_copy(self, request: RebaseInput) -> RebaseFact:
        self._check(request.held)
        return RebaseFact(location="s3://west/copy", original=request.snapshot, replays=0, positions=4)

    def _shut_home(self, request: ShutInput) -> HomeFact:
        self._check(request.held)
        assert request.links_shut
        return HomeFact(strength=Strength.STOPPED, point="e7-chk-12", snapshot="s3://west/chk-12", taken_at=AT)

    def _ensure_running(self, request: EnsureInput) -> EnsureFact:
        self.region_now = (request.at or "east/").partition("/")[0]
        fact = super()._ensure_running(request)
        assert self.record.writer is not None
        self._change(writer=self.record.writer.model_copy(update={"parallelism": request.parallelism}))
        return fact

    def _stop_deployment(self, request: StopJobInput) -> StopFact:
        fact = super()._stop_deployment(request)
        if request.makes_way is not None:
            epoch = self.record.epoch
            kept = pinned(location=self.savepoint, epoch=epoch, parallelism=self.slots, made_way=request.makes_way)
            self._change(pinned=kept)
        return fact

    def _appraise(self, request: AppraiseInput) -> Appraisal:
        stands = self.record.pinned
        if stands is None or stands.epoch != self.record.epoch:
            return super()._appraise(request)
        name = f"e{stands.epoch}-savepoint-1"
        return Appraisal(choices=(choice(1, location=stands.location, name=name, epoch=stands.epoch, newest=True),))

    @property
    def savepoint(self) -> str:
        """Where a stop of its epoch leaves one."""
        return f"s3://{self.region_now}/savepoints/{self.name}/e{self.record.epoch:08d}-x/savepoint-1"

    def start_by_hand(self) -> None:
        """A person has started it."""
        region = self.region_now
        self._start(artifact("v1"), f"{region}/cell-1")

    @property
    def gave_way(self) -> GaveWay | None:
        """As the records tell it."""
        record = self.record
        if record.made_way is None or record.pinned is None:
            return None
        return GaveWay(
            deployment=self.name,
            tier=self.tier,
            at=f"{self.region_now}/cell-1",
            slots=self.slots,
            snapshot=record.pinned.location,
            name=f"e{record.pinned.epoch}-savepoint-1",
            made_way=record.made_way,
            since=record.pinned.at,
            problem=f"{self.name} is held by {record.holder.operation}" if record.holder is not None else "",
        )

    def _see_open(self, request: Any) -> OpenFact:
        return OpenFact(topics=request.topics.turn, turn=1, first_output_at=AT)


class RegionWorld:
    """Deployments by name; ``told`` lists what was done in common, and to which deployment what, in order."""

    shared: tuple[str, ...] = SHARED
    """Activities that are about no single deployment, and that this keeps itself."""

    def __init__(self, tiers: dict[str, int], families: tuple[tuple[str, ...], ...] = ()) -> None:
        self.worlds = {name: MemberWorld(name, tier) for name, tier in tiers.items()}
        self.families = families or (tuple(tiers),)
        self.slots: list[int] = [8]
        """Free slots at each look; the last stands for all that follow."""
        self.home = Answers(region="east")
        self.free = {"east/cell-1": 8, "west/cell-1": 8}
        """Free slots by cell, when those that gave way are looked at."""
        self.idle: tuple[str, ...] = ()
        self.memory: tuple[str, ...] = ()
        """What is told of smaller slots."""
        self.others: tuple[Other, ...] = ()
        self.told: list[tuple[str, str]] = []
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.plans: dict[tuple[str, str], deque[Any]] = defaultdict(deque)

    def will(self, name: str, deployment: str, *things: Any) -> None:
        """The next calls of this activity for this deployment (of a shared one: ``""``)."""
        self.plans[name, deployment].extend(things)

    def order(self, *names: str) -> list[tuple[str, str]]:
        """What was done of these, in order."""
        return [one for one in self.told if one[0] in names]

    def activities(self) -> list[Callable[..., Any]]:
        member = next(iter(self.worlds.values()))
        known = [name for name in CONTRACTS if name in self.shared or hasattr(member, f"_{name}")]
        return [self._activity(name) for name in known]

    def _activity(self, name: str) -> Callable[..., Any]:
        async def run(request: Any) -> Any:
            if name == "notify" and name not in self.shared:  # no step waits for it
                return next(iter(self.worlds.values()))._notify(request)
            deployment = "" if name in self.shared else _deployment_of(request)
            self.told.append((name, deployment))
            self.requests[name].append(request)
            planned = self.plans[name, deployment]
            thing = planned.popleft() if planned else None
            if isinstance(thing, BaseException):
                raise thing
            if thing is not None:
                answer = await beating(thing())  # a block takes as long as its test on a busy machine
                if answer is not None:
                    return answer
            if name in self.shared:
                answer = getattr(self, f"_{name}")(request)
                return await answer if inspect.isawaitable(answer) else answer
            if name == "write_report" and deployment not in self.worlds:
                return next(iter(self.worlds.values()))._write_report(request)
            return getattr(self.worlds[deployment], f"_{name}")(request)

        types = activity._Definition.must_from_callable(CONTRACTS[name])
        assert types.arg_types
        run.__annotations__ = {"request": types.arg_types[0], "return": types.ret_type}
        return activity.defn(name=name)(run)

    def _look_group(self, request: LookGroupInput) -> GroupSeen:
        slots = self.slots.pop(0) if len(self.slots) > 1 else self.slots[0]
        there, to = request.region, request.to
        members = tuple(
            Member(
                deployment=name,
                tier=world.tier,
                parallelism=world.slots,
                home=f"{there}/cell-1",
                at=f"{to}/cell-1",
                reads=(f"in-{name}",),
                writes=(f"out-{name}",),
                runs_with=world.record.writer.parallelism if world.record.writer else None,
            )
            for name, world in self.worlds.items()
            if (not request.deployments or name in request.deployments)
            and world.region_now == there
            and world.gave_way is None
        )
        named = {one.deployment for one in members}
        families = tuple(
            Family(
                members=tuple(name for name in family if name in named),
                topics=Topics(
                    turn=tuple(topic for name in family for topic in (f"in-{name}", f"out-{name}")),
                    links=(f"{there}-to-{to}",),
                    back=(f"{to}-to-{there}",),
                ),
                idle=self.idle,
            )
            for family in self.families
            if named & set(family)
        )
        waiting = [one for one in (world.gave_way for world in self.worlds.values()) if one is not None]
        waiting = [one for one in waiting if one.region == there and one.made_way.came_from == to]
        free = {cell: slots for cell, slots in self.free.items() if not request.unplanned}
        return GroupSeen(
            at=AT,
            fleet_digest=FLEET,
            holder=Holder(
                operation=request.operation,
                run_id=request.run_id,
                runbook="FailoverRegion",
                cluster_id="c",
                namespace="default",
                who=request.who,
                why=request.why,
                since=AT,
            ),
            home=self.home.model_copy(update={"region": there}),
            standby=Answers(region=to),
            members=members,
            families=families,
            gave_way=comeback.would_come_back(waiting, members, families, free, to=to, unplanned=request.unplanned),
            others=self.others,
            memory=self.memory,
            slots_free=slots,
            slots_total=8,
        )

    def _look_gave_way(self, request: LookGaveWayInput) -> GaveWayNow:
        found = {name: self.worlds[name].gave_way for name in request.deployments}
        return GaveWayNow(
            gave_way=comeback.fitting([one for one in found.values() if one is not None], self.free),
            others={name: comeback.now(self.worlds[name].record) for name, one in found.items() if one is None},
        )

    def _close_group(self, request: GroupStep) -> ShutFact:
        return ShutFact(ends={f"{request.topics.turn[0]}/0": 40}, principals=("producer",))

    def _cut_group(self, request: GroupCutInput) -> GroupCutFact:
        shut = dict.fromkeys(request.topics.links, "STOPPED")
        until = dict.fromkeys((one.deployment for one in request.members), AT + timedelta(seconds=1))
        return GroupCutFact(partitions=4, shut=shut, drained=not request.unplanned, input_until=until)

    def _open_group(self, request: GroupOpenInput) -> OpenFact:
        return OpenFact(topics=request.open, turn=1)

    def _mirror_group(self, request: GroupStep) -> MirrorBackFact:
        return MirrorBackFact(started=request.topics.back)

    def _reopen_group(self, request: GroupStep) -> None:
        return None


def _other(region: str) -> str:
    return "west" if region == "east" else "east"


def _deployment_of(request: Any) -> str:
    return str(request.deployment if hasattr(request, "deployment") else request.held.deployment)

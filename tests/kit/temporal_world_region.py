"""A world of several deployments for workflow tests of a region's failover: each a world of its own, and what they
share, faked by contract: who closed, turned and opened which topics, in which order.
"""

from __future__ import annotations

import inspect
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from temporalio import activity

from activities.contracts import CONTRACTS
from tests.kit.temporal_world import World
from tests.kit.temporal_world_facts import AT, FLEET, artifact, writer
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
    GroupCutFact,
    GroupCutInput,
    GroupOpenInput,
    GroupSeen,
    GroupStep,
    LookGroupInput,
    Member,
    Other,
)
from tidegate.model.steps import EnsureFact, EnsureInput, Held, Located, ObserveInput, TakeInput

CHOICE = PointChoice(
    id="e7-chk-12", snapshot="s3://west/chk-12", source="s3://east/chk-12", epoch=7, taken_at=AT, superseded=3
)
SHARED = ("look_group", "close_group", "cut_group", "open_group", "mirror_group", "reopen_group")


class MemberWorld(World):
    """One deployment: in the east, until it is started in the west."""

    def __init__(self, name: str, tier: int) -> None:
        super().__init__()
        self.name, self.tier = name, tier
        self.region_now = "east"
        self.record = DeploymentRecord(deployment=name, fence=3, epoch=7, writer=writer("v1", 7))
        self.verdict = Verdict(audited=True, input=100, output=100, gap_ms=4_200.0)

    def _locate(self, request: ObserveInput) -> Located:
        return Located(
            fleet_digest=FLEET,
            region=request.region or self.region_now,
            cell="cell-1",
            tier=self.tier,
            approval_required=self.approval_required,
            standby="west",
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
            parallelism=1,
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
            home=Answers(region="east"),
            standby=Answers(region="west"),
            topics=Topics(turn=(f"in-{self.name}", f"out-{self.name}"), links=("east-to-west",)),
            parallelism=1,
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
        return super()._ensure_running(request)

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
            if name == "notify":  # no step waits for it
                return next(iter(self.worlds.values()))._notify(request)
            deployment = "" if name in self.shared else _deployment_of(request)
            self.told.append((name, deployment))
            self.requests[name].append(request)
            planned = self.plans[name, deployment]
            thing = planned.popleft() if planned else None
            if isinstance(thing, BaseException):
                raise thing
            if thing is not None:
                answer = await thing()
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
            home=self.home,
            standby=Answers(region=request.to),
            members=tuple(
                Member(
                    deployment=name,
                    tier=world.tier,
                    parallelism=1,
                    home=f"{request.region}/cell-1",
                    at=f"{request.to}/cell-1",
                    reads=(f"in-{name}",),
                    writes=(f"out-{name}",),
                )
                for name, world in self.worlds.items()
                if not request.deployments or name in request.deployments
            ),
            families=tuple(
                Family(
                    members=members,
                    topics=Topics(
                        turn=tuple(topic for name in members for topic in (f"in-{name}", f"out-{name}")),
                        links=(f"{request.region}-to-{request.to}",),
                        back=(f"{request.to}-to-{request.region}",),
                    ),
                )
                for members in (
                    tuple(name for name in family if not request.deployments or name in request.deployments)
                    for family in self.families
                )
                if members
            ),
            others=self.others,
            slots_free=slots,
            slots_total=8,
        )

    def _close_group(self, request: GroupStep) -> ShutFact:
        return ShutFact(ends={f"{request.topics.turn[0]}/0": 40}, principals=("producer",))

    def _cut_group(self, request: GroupCutInput) -> GroupCutFact:
        return GroupCutFact(partitions=4, shut={"east-to-west": "STOPPED"}, drained=not request.unplanned)

    def _open_group(self, request: GroupOpenInput) -> OpenFact:
        return OpenFact(topics=request.open, turn=1)

    def _mirror_group(self, request: GroupStep) -> MirrorBackFact:
        return MirrorBackFact(started=request.topics.back)

    def _reopen_group(self, request: GroupStep) -> None:
        return None


def _deployment_of(request: Any) -> str:
    return str(request.deployment if hasattr(request, "deployment") else request.held.deployment)

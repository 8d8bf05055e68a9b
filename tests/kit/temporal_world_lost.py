"""A region whose failover is killed in the middle: what is shared of it stands in a real lineage and in real link
records, as does what the next one finds of it. Only Flink and Kafka are not there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable
from typing import Any

from temporalio.client import Client
from temporalio.service import RPCError

from activities.registry import standing_of
from tests.kit.eventually import eventually
from tests.kit.failover_regions import FLEET as SANDBOX
from tests.kit.objects import MemoryStore
from tests.kit.temporal_world_facts import AT, pinned
from tests.kit.temporal_world_facts import FLEET as DIGEST
from tests.kit.temporal_world_region import MemberWorld, RegionWorld
from tidegate.failover import group, lostregion
from tidegate.failover.cut import STOP_STEP
from tidegate.failover.group import Lives
from tidegate.failover.lostregion import Standing
from tidegate.lineage.model import Gate
from tidegate.lineage.store import LineageStore
from tidegate.model.failover import Answers, MirrorBackFact, OpenFact, RegionsSeen, ShutFact
from tidegate.model.fleet import Fleet
from tidegate.model.mirror import LinkRecord, LinkState, MirrorVerb
from tidegate.model.record import Holder
from tidegate.model.region import GroupCutFact, GroupCutInput, GroupOpenInput, GroupSeen, GroupStep, LookGroupInput
from tidegate.model.steps import EnsureFact, EnsureInput, StopFact, StopJobInput
from tidegate.operation.move import home_of, why_not_running
from tidegate.registry.links import LinkStore, take_link
from tidegate.registry.ownership import Takeover

BUCKET = "tidegate"
OUT, BACK = "east-to-west", "west-to-east"


def fleet_of(tiers: dict[str, int], shared: str | None = None) -> Fleet:
    """Deployments with topics of their own behind one mirror link; ``shared``: all read this one instead."""
    ledger = SANDBOX.deployment("ledger")
    deployments = {
        name: ledger.model_copy(
            update={
                "tier": tier,
                "sources": tuple(
                    one.model_copy(update={"topics": (shared or f"in-{name}",)}) for one in ledger.sources[:1]
                ),
                "sinks": tuple(one.model_copy(update={"topics": (f"out-{name}",)}) for one in ledger.sinks[:1]),
                "consumers": (),
            }
        )
        for name, tier in tiers.items()
    }
    topics = tuple(sorted({topic for name in tiers for topic in (shared or f"in-{name}", f"out-{name}")}))
    mirrors = {name: mirror.model_copy(update={"topics": topics}) for name, mirror in SANDBOX.mirrors.items()}
    return SANDBOX.model_copy(update={"deployments": deployments, "mirrors": mirrors})


class LostMember(MemberWorld):
    """One deployment; ``started``: where each of its jobs was started."""

    def __init__(self, name: str, tier: int) -> None:
        super().__init__(name, tier)
        self.started: list[str] = []
        self.topics: tuple[str, ...] = ()

    def _look_regions(self, request: Any) -> RegionsSeen:
        seen = super()._look_regions(request)
        return seen.model_copy(update={"topics": seen.topics.model_copy(update={"turn": self.topics})})

    def _ensure_running(self, request: EnsureInput) -> EnsureFact:
        fact = super()._ensure_running(request)
        if not fact.was_running:
            self.started.append((request.at or "").partition("/")[0])
        return fact

    def _stop_deployment(self, request: StopJobInput) -> StopFact:
        fact = super()._stop_deployment(request)
        self._change(pinned=pinned(location=self.savepoint, epoch=self.record.epoch, committed=True))
        return fact


class LostWorld(RegionWorld):
    """Behind one link; ``lineage`` and ``links`` are real. ``opened``: how often each topic was opened in the west."""

    def __init__(self, client: Client, tiers: dict[str, int], shared: str | None = None) -> None:
        super().__init__(tiers)
        self.client = client
        self.fleet = fleet_of(tiers, shared)
        members = {name: LostMember(name, tier) for name, tier in tiers.items()}
        for name, one in members.items():
            one.topics = tuple(sorted(lostregion.ties(self.fleet, lostregion.NOTHING, name)))
        self.worlds = dict(members)
        self.members = members
        store = MemoryStore()
        self.lineage = LineageStore(store, BUCKET)
        self.links = LinkStore(store, BUCKET)
        self.opened: dict[str, int] = defaultdict(int)
        self.mirrored_from: list[tuple[str, ...]] = []
        """The topics whose cut the link of the other direction was started from, each time."""

    # -- dying

    def dies(self, name: str, deployment: str, *, after: bool, orphans: bool, nth: int = 0) -> None:
        """The failover of the region is terminated at this call, before or after it has acted; without ``orphans`` its
        members are, too. ``nth``: at which of these calls.
        """

        async def passes() -> None:
            return None

        async def die() -> Any:
            request = self.requests[name][-1]
            answer = await self._act(name, request) if after else None
            await self.terminate(orphans=orphans)
            if not after:
                raise RuntimeError("it has died")
            return answer

        self.will(name, deployment, *[passes] * nth, die)

    async def _act(self, name: str, request: Any) -> Any:
        of = request.deployment if hasattr(request, "deployment") else None
        if of is None and hasattr(request, "held"):
            of = request.held.deployment
        where: Any = self if name in self.shared else self.members[of or ""]
        answer = getattr(where, f"_{name}")(request)
        return await answer if isinstance(answer, Awaitable) else answer

    async def terminate(self, *, orphans: bool) -> None:
        """The newest failover of the region ends as if it had never been, and its members if they are no orphans."""
        ids = [self.requests["look_group"][-1].operation]
        ids += [] if orphans else [one.operation for one in self.requests["take"]]
        for operation in ids:
            with contextlib.suppress(RPCError):
                await self.client.get_workflow_handle(operation).terminate("killed")

    async def quiet(self) -> None:
        """Members that were let go on have come to where they wait: nothing is called any more."""

        async def nothing() -> None:
            before = len(self.told)
            await asyncio.sleep(0.3)  # the absence of something has no condition to wait for
            assert len(self.told) == before

        await eventually(nothing)

    # -- what is shared

    async def _standing(self, operation: str, run_id: str, holder: Holder | None) -> Standing:
        return await standing_of(self.client, operation, run_id)

    async def _look_group(self, request: LookGroupInput) -> GroupSeen:
        slots = self.slots.pop(0) if len(self.slots) > 1 else self.slots[0]
        known = []
        for name, world in self.members.items():
            home = home_of(self.fleet, name, world.record)
            there = f"{request.to}/cell-1"
            known.append(Lives(name, home.region, str(home), there, why_not_running(world.record), record=world.record))
        left = await lostregion.look_left(
            self.fleet, known, request, f"{request.operation}/{request.run_id}", self.lineage, self._standing
        )
        members = group.chosen(known, self.fleet, request.region, request.to, request.deployments, left)
        families = group.families(self.fleet, members, known, request.region, request.to, left)
        if not request.unplanned:
            moving = [one for one in members if one.unfinished is None]
            for family in families:
                lostregion.refuse_as_planned(left, family, moving, known)
        families = await lostregion.mirror_left(self.fleet, left, families, self.links)
        holder = Holder(
            operation=request.operation, run_id=request.run_id, runbook="FailoverRegion", cluster_id="c",
            namespace="default", who=request.who, why=request.why, since=AT,
        )  # fmt: skip
        return GroupSeen(
            at=AT, fleet_digest=DIGEST, holder=holder, home=self.home, standby=Answers(region=request.to),
            members=tuple(members), families=tuple(families), done=left.done, slots_free=slots, slots_total=8,
        )  # fmt: skip

    def _operation(self, step: GroupStep) -> str:
        return f"{step.holder.operation}/{step.holder.run_id}"

    async def _close_group(self, request: GroupStep) -> ShutFact:
        assert request.members
        for topic in request.topics.turn:
            await self.lineage.begin(topic, "east", {0: 0})
            known = await self.lineage.read(topic)
            assert known is not None
            assert (known.region, known.gate) != ("west", Gate.OPEN), f"{topic} was open, and is closed again"
            await self.lineage.close(topic, self._operation(request), take_over=request.take_over)
        return ShutFact(ends={f"{topic}/0": 40 for topic in request.topics.turn}, principals=("producer",))

    async def _link(self, name: str, request: GroupStep) -> Any:
        source, _, target = name.partition("-to-")
        fresh = LinkRecord(link=name, source=source, target=target)
        word = Takeover("ana", "lost") if request.take_over else None
        return await take_link(self.links, fresh, request.holder, takeover=word)

    async def _cut_group(self, request: GroupCutInput) -> GroupCutFact:
        written = {topic for one in request.members for topic in one.writes}
        turn = {topic for one in request.members if one.deployment in request.outputs_of for topic in one.writes}
        turn |= set(request.topics.turn) - written if request.inputs else set()
        if request.shut is None:
            for name in request.topics.links:
                tenure = await self._link(name, request)
                if tenure.record.mirror is not LinkState.STOPPED:
                    begun = await tenure.begin(STOP_STEP, 1, MirrorVerb.STOP)
                    await tenure.close(begun, "STOPPED", LinkState.STOPPED)
        for topic in sorted(turn & set(request.topics.turn)):
            await self.lineage.turn(
                topic, self._operation(request), "west", planned=not request.unplanned, ends={0: 40}, cuts={0: 40}
            )
        return GroupCutFact(
            partitions=len(turn), shut=dict.fromkeys(request.topics.links, "STOPPED"), drained=not request.unplanned
        )

    async def _open_group(self, request: GroupOpenInput) -> OpenFact:
        for topic in request.open:
            known = await self.lineage.open(topic, self._operation(request))
            assert known.region == "west"
            self.opened[topic] += 1
        return OpenFact(topics=request.open, turn=1)

    async def _mirror_group(self, request: GroupStep) -> MirrorBackFact:
        for name in request.topics.links:
            await (await self._link(name, request)).release()
        for name in request.topics.back:
            tenure = await self._link(name, request)
            begun = await tenure.begin("failover-back", 1, MirrorVerb.START)
            await tenure.close(begun, "runs", LinkState.RUNNING)
            self.mirrored_from.append(request.topics.turn)
            await tenure.release()
        return MirrorBackFact(started=request.topics.back)

    async def _reopen_group(self, request: GroupStep) -> None:
        for topic in request.topics.turn:
            known = await self.lineage.read(topic)
            if known is not None:
                if request.take_over and known.holder not in {None, self._operation(request)}:
                    await self.lineage.close(topic, self._operation(request), take_over=True)
                await self.lineage.unturn(topic, self._operation(request))
                await self.lineage.leave(topic, self._operation(request))
        for name in request.topics.links:
            tenure = await self._link(name, request)
            if tenure.record.mirror is LinkState.STOPPED:
                begun = await tenure.begin("failover-again", 1, MirrorVerb.START)
                await tenure.close(begun, "runs", LinkState.RUNNING)
            await tenure.release()

    # -- how it must end

    async def assert_all_moved(self) -> None:
        """Every deployment was started in the west once, every topic was opened there once, and all is given back."""
        topics = {topic for one in self.members.values() for topic in one.topics}
        for name, one in self.members.items():
            assert one.started == ["west"], (name, one.started)
            assert one.record.holder is None, name
        for topic in sorted(topics):
            known = await self.lineage.read(topic)
            assert known is not None
            assert (known.region, known.gate, known.turn) == ("west", Gate.OPEN, 1), topic
        assert dict(self.opened) == dict.fromkeys(topics, 1)
        states = {}
        for name in (OUT, BACK):
            record = await self.links.read(name)
            assert record is not None
            states[name] = (record.mirror, record.holder)
        assert states == {OUT: (LinkState.STOPPED, None), BACK: (LinkState.RUNNING, None)}
        assert self.mirrored_from == [tuple(sorted(topics))], "once, from the cut of every topic (X20)"

"""A family of a region's failover: deployments that share topics or mirror links, moved together.

Each member is a FailoverMember of its own (`family_members`). What they share is done here, once: closed before the
first stops, shut and turned when the last has stopped; then opened (`family_opening`) when those that read it run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate.errors import Superseded, TidegateError
    from tidegate.model.failover import Topics
    from tidegate.model.region import Family, GoOn, GroupCutFact, GroupCutInput, GroupStep, Stage
    from workflows import failover_facts
    from workflows.calls import Aborted
    from workflows.failover_member import LINKS_DRAINED_S
    from workflows.family_members import Host
    from workflows.family_opening import FamilyOpening
    from workflows.kit import with_hint
    from workflows.leaving_region import BACK_S, CLOSE_S, CUT_MARGIN_S, LOST_ONE_BACK

READY_EARLY = "ready-early-20261128"
"""Patch: a tier is made ready while the one before it starts."""
AT_ONCE = "at-once-20261128"
"""Patch: no more deployments are on their way at the same time than was asked."""


class _Back(Exception):
    """All of the family go back."""


class FamilyMove(FamilyOpening):
    """One family on its way."""

    def __init__(self, host: Host, family: Family, *, only: bool) -> None:
        """``only``: there is no other; its steps need no name of their own."""
        super().__init__(host, family, only=only)
        self.turned = family.no_return
        self.left_closed = False
        """Topics that a lost failover had turned are not open yet."""
        self.after: tuple[FamilyMove, ...] = ()
        """Families of higher tiers: none of this one is started before those are settled."""
        self._bringing: tuple[str, ...] = ()
        self._closed = False
        self._cut: GroupCutFact | None = None
        self._audits = False
        """Its members were told that they may audit."""

    @property
    def may_escalate(self) -> bool:
        """Whether any of it would go on unplanned if that were said now."""
        late = {name for name, one in self.members.items() if one.unfinished is None} - self._let_leave
        return not self.turned or (self.family.no_return and not self._unplanned and not late <= set(self.results))

    # -- planned

    async def planned(self) -> None:
        """All of it, at once: until the topics have turned one that fails has all of them go back."""
        try:
            await self._leave()
        except (_Back, Aborted, TidegateError) as error:
            why = with_hint(error) if isinstance(error, TidegateError) else str(error)
            if not await self._went_back(why or self._host.abort_requested or "aborted"):
                await self._go_on_unplanned()
            return
        await self._after_the_turn(self._start_by_tier)

    async def _leave(self) -> None:
        self._due |= set(self.family.members)
        self._as_a_whole = set(self.family.members)
        await self._begin(self.family.members)
        await self._all_at(Stage.READY)
        # WARNING: no input of the family is taken from here on, until it is opened in the other region.
        self._closed = True
        step = f"close{self._of}"
        self._host.begin(step, CLOSE_S)
        shut = await self._host.calls.control(
            contracts.close_group, self._step(GroupStep), deadline_s=CLOSE_S, interruptible=True
        )
        self._host.ok(step, failover_facts.closed(shut))
        self._refuse_if_back()
        await self._let(self.family.members, GoOn(stage=Stage.READY))
        await self._all_at(Stage.LEFT)
        step, deadline_s = f"cut{self._of}", self._host.request.drain_s + CUT_MARGIN_S
        self._host.begin(step, deadline_s)
        wanted = self._step(
            GroupCutInput, ends=shut.ends, drain_s=self._host.request.drain_s, outputs_of=self.family.members
        )
        self._cut = await self._host.calls.region(
            self._host.request.to, contracts.cut_group, wanted, deadline_s=deadline_s, interruptible=True
        )
        self.turned = True
        self._turned_topics = set(self.family.topics.turn)
        self._host.ok(step, failover_facts.cut_together(self._cut))

    async def _start_by_tier(self) -> None:
        for names in self._tiers(self.family.members):
            await self._let(names, GoOn(stage=Stage.LEFT, turned=self._cut))
            await self._settle(names)

    async def _all_at(self, stage: Stage) -> None:
        await workflow.wait_condition(
            lambda: self._wants_back() is not None or all(stage in said for said in self.stages.values()),
            timeout_summary=f"all are {stage}",
        )
        self._refuse_if_back()

    def _refuse_if_back(self) -> None:
        why = self._wants_back()
        if why is not None:
            raise _Back(why)

    def _wants_back(self) -> str | None:
        ended = next((f"{one.deployment}: {one.why or one.summary}" for one in self.results.values()), None)
        return self._why_back or ended or self._host.abort_requested or self._host.escalated

    async def _went_back(self, why: str) -> bool:
        """The topics first: they live at home when the jobs run there again. False: it goes on unplanned instead."""
        self._host.failed(f"cut{self._of}", why)
        self._host.failed(f"close{self._of}", why)
        try:
            if self._closed or self._host.escalated is not None or self._from_a_lost_one():
                await self._host.insist(f"reopen{self._of}", self._reopen)
        except _Back:
            return False
        except Superseded as error:
            self.notes.append(error.message)
        await self._each(self.begun, "go_back_together", why)
        await self.ended()
        return True

    def _from_a_lost_one(self) -> bool:
        """Whether what one before it may have closed is put back though this one has not come to close it."""
        return self._host.request.take_over is not None and workflow.patched(LOST_ONE_BACK)

    async def _reopen(self) -> None:
        if self._host.escalated is not None:
            raise _Back
        step = f"reopen{self._of}"
        self._host.begin(step, BACK_S)
        await self._host.calls.control(contracts.reopen_group, self._step(GroupStep), deadline_s=BACK_S)
        self._host.ok(step, f"producers write in {self._host.request.region} again, and the mirror brings it")

    async def _go_on_unplanned(self) -> None:
        """What was closed is closed again as far as it answers now; members that were begun go on from there (X24)."""
        self._unplanned, self._closed, self._as_a_whole = True, False, set()
        for said in self.stages.values():
            said -= {Stage.LEFT, Stage.WANTS_BACK}
        await self.unplanned(self.family.members)

    # -- unplanned

    async def unplanned(self, names: Collection[str]) -> None:
        """Some of its members, tier by tier; called again, more of them. There is no way back.

        So goes, planned too, what shares links with those that a failover before this one has moved.
        """
        self.turned = True
        self._bringing = tuple(names)
        if self._unplanned:
            self._forget(names)
        await self._after_the_turn(lambda: self._bring(names))
        # One that was refused by a region that answers no more, in the moment before it heard that nobody asks it.
        again = self._forget(names) if self._unplanned else ()
        if again:
            await self.unplanned(again)
            if self._audits:
                await self.let_audit()

    async def _bring(self, names: Collection[str]) -> None:
        if self._cut is None and (
            self.family.topics.turn or any(one.unfinished is None for one in self.members.values())
        ):
            self._cut = await self._host.insist(f"cut{self._of}", self._give_up)
            late = {topic for one in self.members.values() if one.unfinished is None for topic in one.writes}
            self._turned_topics |= set(self.family.topics.turn) - late
            await self._each(self.begun, "escalate_together", self._host.escalated or "")
        bringing: list[asyncio.Task[None]] = []
        tiers = self._tiers(names)
        early = workflow.patched(READY_EARLY)
        for tier, following in zip(tiers, [*tiers[1:], []], strict=True):
            if not early or self._may_start():
                self._due |= set(tier)
            bounded = workflow.patched(AT_ONCE)
            if bounded:
                await self._bring_in_turn(tier, bringing)
            else:
                await self._begin(name for name in tier if name not in self.begun)
                if early:
                    await workflow.wait_condition(self._may_start)
                self._due |= set(tier)
                bringing += [asyncio.create_task(self._turn_outputs(name)) for name in tier]
            if early:
                # What takes a tier as long again is done while this one starts; it never comes in its way before.
                await workflow.wait_condition(partial(self._have_left, tier))
                for name in following:
                    if name not in self.begun and (not bounded or self._host.has_room(early=True)):
                        await self._begin((name,))
            await self._settle(tier)
        self.settled = True  # one that needs a person before it has left is brought later; nobody waits for that
        await workflow.wait(bringing)
        for one in bringing:
            one.result()

    async def _bring_in_turn(self, tier: Collection[str], bringing: list[asyncio.Task[None]]) -> None:
        """So many at once as was asked. Those whose turn has come never wait for such as are made ready only."""
        for name in tier:
            if name not in self.begun:
                await self._host.wait_for_room(lambda: not self._may_start())
                await self._begin((name,))
            bringing.append(asyncio.create_task(self._bring_one(name)))
        await workflow.wait_condition(self._may_start)

    async def _bring_one(self, name: str) -> None:
        await workflow.wait_condition(self._may_start)
        self._due.add(name)
        await self._turn_outputs(name)

    def _may_start(self) -> bool:
        return all(one.settled for one in self.after)

    @property
    def all_left(self) -> bool:
        """Whether all that are being brought have left the other region: what is left to do is to start them."""
        return bool(self._bringing) and self._have_left(self._bringing)

    def _have_left(self, names: Collection[str]) -> bool:
        return all(
            self._at(name, Stage.LEFT) or self.members[name].unfinished is not None or self._is_settled(name)
            for name in names
        )

    async def _give_up(self) -> GroupCutFact:
        """The producers are closed and the mirror is shut, as far as they answer; the inputs turn."""
        step = f"close{self._of}"
        if not self._closed:
            self._host.begin(step, CLOSE_S)
            shut = await self._host.calls.control(contracts.close_group, self._step(GroupStep), deadline_s=CLOSE_S)
            self._closed = True
            self._host.ok(step, failover_facts.closed(shut))
        step = f"cut{self._of}"
        self._host.begin(step, CUT_MARGIN_S)
        drain_s = min(self._host.request.drain_s, LINKS_DRAINED_S)
        wanted = self._step(GroupCutInput, drain_s=drain_s, outputs_of=())
        fact = await self._host.calls.region(
            self._host.request.to, contracts.cut_group, wanted, deadline_s=CUT_MARGIN_S
        )
        self._host.ok(step, failover_facts.cut_together(fact))
        return fact

    async def _turn_outputs(self, name: str) -> None:
        """Once it has chosen its recovery point, and not before: that says what of the old output counts."""
        if self.members[name].unfinished is not None:
            return  # they turned with the one that was lost
        unplanned = self._unplanned
        if not unplanned:
            await self._let((name,), GoOn(stage=Stage.READY))  # nobody writes any more: it was closed with the others
        await workflow.wait_condition(lambda: self._at(name, Stage.LEFT))
        if name in self.results or self._cut is None:
            return
        wanted = self._step(GroupCutInput, outputs_of=(name,), inputs=False, shut=self._cut.shut)

        async def turn() -> GroupCutFact:
            to = self._host.request.to
            return await self._host.calls.region(to, contracts.cut_group, wanted, deadline_s=CUT_MARGIN_S)

        try:
            fact = await self._host.insist(f"cut {name}", turn)
        except Superseded as error:
            self.notes.append(error.message)
            await self._let((name,), GoOn(stage=Stage.LEFT))
            return
        if self._unplanned != unplanned:
            await self._turn_outputs(name)  # it was escalated meanwhile, and chooses a recovery point
            return
        self._let_leave.add(name)
        self._turned_topics |= set(self.members[name].writes)
        turned = fact.model_copy(update={"drained": self._cut.drained, "notes": self._cut.notes})
        await self._let((name,), GoOn(stage=Stage.LEFT, turned=turned))

    async def let_audit(self) -> None:
        """Its members may look at all that was written: nobody waits any more for what that takes."""
        self._audits = True
        await self._let(self.begun, GoOn(stage=Stage.PROVEN))

    async def conclude(self) -> tuple[str, ...]:
        """Once all have ended: the mirror runs the other way. The links that wait, each with why."""
        await self.ended()
        if self._serving is not None and self.begun:
            await workflow.wait([self._serving])
        closed = sorted(set(self.family.topics.turn) - self.opened)
        if not self.turned:
            return ()
        left = [topic for topic in closed if topic in self.family.turned]
        if closed:
            # Its writer has not come, for want of slots: not turned, it is given back for whoever moves it next.
            if len(left) < len(closed):
                await self._give_back([topic for topic in closed if topic not in left])
            self.left_closed = bool(left)
            if left:
                to = self._host.request.to
                return tuple(f"{name}: {left[0]} has not been opened in {to}" for name in self.family.topics.back)
            return tuple(
                f"{name}: {closed[0]} lives in {self._host.request.region} still" for name in self.family.topics.back
            )
        step = f"mirror{self._of}"

        async def mirror() -> tuple[str, ...]:
            self._host.begin(step, BACK_S)
            wanted = self._step(GroupStep)
            every = tuple(sorted({*wanted.topics.turn, *self.family.opened}))
            wanted = wanted.model_copy(update={"topics": wanted.topics.model_copy(update={"turn": every})})
            fact = await self._host.calls.control(contracts.mirror_group, wanted, deadline_s=BACK_S)
            self._host.ok(step, failover_facts.mirrored(fact))
            return fact.waiting

        try:
            return await self._host.insist(step, mirror)
        except Superseded as error:
            self.notes.append(error.message)
            return tuple(self.family.topics.back)

    async def _give_back(self, topics: list[str]) -> None:
        step = f"reopen{self._of}"
        wanted = self._step(GroupStep)
        wanted = wanted.model_copy(update={"topics": Topics(turn=tuple(topics))})

        async def give_back() -> None:
            self._host.begin(step, BACK_S)
            await self._host.calls.control(contracts.reopen_group, wanted, deadline_s=BACK_S)
            self._host.ok(step, f"{', '.join(topics)} did not turn")

        try:
            await self._host.insist(step, give_back)
        except Superseded as error:
            self.notes.append(error.message)

    async def ended(self) -> None:
        """Every member that was begun has ended."""
        await workflow.wait_condition(lambda: self.begun <= set(self.results), timeout_summary="members")
        self.settled = True

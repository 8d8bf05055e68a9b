"""FailoverMember: FailoverDeployment as one of a group. runbooks/failover-region.md.

Topics and mirror links are the group's: they are closed, shut, turned and opened once, by the FailoverRegion that has
started this one. Where it must act first, this one tells how far it has come and waits for its word. Once the topics
have turned there is no way back for any of them.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.failover.plan import plan_failover
    from tidegate.failover.unfinished import finish_region_command, plan_finish
    from tidegate.model.failover import CutFact, FailoverStep, ShutInput
    from tidegate.model.operation import OperationResult, Plan, ReplayRange
    from tidegate.model.region import FAILOVER_MEMBER, GoOn, GroupCutFact, MemberInput, MemberReached, Stage
    from workflows import failover_facts
    from workflows.calls import Aborted, Calls
    from workflows.ending import Ending
    from workflows.failover_deployment import FailoverDeployment
    from workflows.kit import given
    from workflows.leaving_region import CUT_MARGIN_S, NO_RETURN, OPEN_S, SHUT_S

LINKS_DRAINED_S = 30.0
OTHERS = timedelta(minutes=5)
"""So long a proven job's audit waits for the others: who would give the word may be gone."""
AUDITS_LAST = "audits-last-20261128"
"""Patch: an audit waits until all run there."""


class _Escalated(Exception):
    """It was about to go back, and goes on unplanned."""


@workflow.defn(name=FAILOVER_MEMBER)
class FailoverMember(FailoverDeployment):
    """Done: it runs in the other region, proven. Undone: all of its family are as they were."""

    @workflow.init
    def __init__(self, request: MemberInput | None = None) -> None:
        asked = given(request, MemberInput)
        super().__init__(asked)
        self.group: str = asked.group
        self.together = asked.together
        self.asked = asked.asked_at
        self.told_unfinished = asked.unfinished
        self.words: dict[Stage, GoOn] = {}
        """The group's word on each stage."""
        self.told_back: str | None = None
        """Why the group has said that all go back."""
        self.calls = Calls(changed=self.show, aborting=self._leaves_the_step)

    @workflow.run
    async def run(self, request: MemberInput | None = None) -> OperationResult:  # type: ignore[override]
        """Run the steps; see `Concluding.run_steps` for how it ends."""
        return await self.run_steps(self.steps)

    # -- the group's word

    @workflow.signal(description="The group has done what this stage waits for.")
    def go_on(self, word: GoOn) -> None:
        """Of several words on a stage the first stands."""
        self.words.setdefault(word.stage, word)

    @workflow.signal(description="All of its family go back: nothing has turned.")
    def go_back_together(self, why: str) -> None:
        """Also while a step runs: that is stopped in good order."""
        self.told_back = self.told_back or why
        self.request_abort(why)

    @workflow.signal(description="The region that is left is given up: all of its family go on unplanned (X24).")
    def escalate_together(self, why: str) -> None:
        """As the update ``escalate`` of one that moves alone."""
        if not self._has_turned():
            self._escalate(why)

    def _leaves_the_step(self) -> bool:
        return (self.abort_requested is not None or self._leaves_at_once()) and not self._has_turned()

    def _has_turned(self) -> bool:
        return self.unplanned or Stage.LEFT in self.words

    async def _tell(self, stage: Stage, why: str = "", superseded: tuple[ReplayRange, ...] = ()) -> None:
        """Tell the group. Raises MustHalt: it has ended."""
        told = MemberReached(deployment=self.base.deployment, stage=stage, why=why, superseded=superseded)
        try:
            await workflow.get_external_workflow_handle(self.group).signal("reached", told)
        except FailureError as error:
            raise errors.MustHalt(
                f"{self.group}, which moves the topics of {self.base.deployment}, has ended: {error.message}",
                hint="one command brings all that it had begun to its end:  "
                + finish_region_command(self.left.region, self.there.region, unplanned=self.gave_up()),
            ) from error

    async def _reach(self, stage: Stage, superseded: tuple[ReplayRange, ...] = ()) -> GoOn:
        """Tell the group, and wait for its word.

        Raises:
            Aborted: it goes back; once it has left its region only with the group's word.
            MustHalt: the group has ended.

        """
        await self._tell(stage, superseded=superseded)
        self.waiting_for = f"the others:  tidegate ops watch {self.group}"
        self.show()
        await workflow.wait_condition(lambda: stage in self.words or self._no_more(stage), timeout_summary=stage.value)
        self.waiting_for = ""
        self.show()
        if stage not in self.words:
            raise Aborted
        return self.words[stage]

    def _no_more(self, stage: Stage) -> bool:
        """Whether it waits for the group no more: once it has left its region only with the group's word."""
        if self.unplanned:
            return False
        asked = self.abort_requested is not None and stage is Stage.READY
        return asked or self.told_back is not None or self.escalated is not None

    # -- what differs

    @property
    def asked_at(self) -> datetime:
        """When the group was asked for: a lower tier, that begins later, has been away as long."""
        return self.asked or super().asked_at

    def draw_plan(self) -> Plan:
        """The plan without what the group does."""
        if self.unfinished is not None:
            return plan_finish(self.request, self.seen, self.both, self.unfinished, group=self.group)
        asked = self.request.model_copy(update={"unplanned": self._gives_up()})
        return plan_failover(asked, self.seen, self.both, group=self.group)

    async def _leave_planned(self) -> None:
        if not self.board.has_begun("ship"):
            await self._ship_ahead()
        await self._escape()
        await self._reach(Stage.READY)
        self.acted_at = self.acted_at or workflow.now()
        await self._stop()
        await self._escape()
        self.too_late = f"{self.base.deployment} is stopped, and goes on or back with the others: ask {self.group}"
        await self._cut()

    async def _take_on(self) -> None:
        # Its topics are taken over by the group, and closed until its job runs.
        self.too_late = NO_RETURN
        self.acted_at = self.acted_at or workflow.now()

    async def leave_unplanned(self) -> None:
        """As for one alone, but the producers are closed and the mirror is shut already."""
        self.too_late = f"{self.left.region} is given up, and the topics live elsewhere (X24)"
        self.acted_at = self.acted_at or workflow.now()
        self.begin("shut", SHUT_S)
        wanted = self._step(ShutInput, drain_s=LINKS_DRAINED_S, point=self.request.point, links_shut=True)
        self.home_fact = await self.calls.region(self.place.region, contracts.shut_home, wanted, deadline_s=SHUT_S)
        self.ok("shut", failover_facts.given_up(self.home_fact))
        self.shipped = self.home_fact.snapshot
        await self._cut()

    async def _cut(self) -> None:
        self.begin("cut", self.request.drain_s + CUT_MARGIN_S)
        word = await self._reach(Stage.LEFT)
        self.too_late = f"the topics live in {self.there.region}: there is no way back but a failback (X24)"
        turned = word.turned
        if turned is not None:
            self.cut_fact = _mine(turned, self.base.deployment)
            self.ok("cut", failover_facts.cut(self.cut_fact))

    async def _open(self) -> None:
        self.begin("open", OPEN_S)
        await self._reach(Stage.STARTED, superseded=self.ensure_fact.replay if self.ensure_fact is not None else ())
        await self._see_open()
        if self.open_fact is not None:
            self.ok("open", failover_facts.opened(self.open_fact))

    async def _see_open(self) -> None:
        self.open_fact = await self.calls.region(
            self.place.region, contracts.see_open, self._step(FailoverStep), deadline_s=OPEN_S
        )

    async def _mirror_back(self) -> None:
        # The links are the group's; what is left to do is to learn when the first output came.
        if self.open_fact is not None and self.open_fact.first_output_at is None:
            await self._see_open()

    async def _judge(self, ending: Ending, acted_at: datetime) -> Ending:
        """Not while others are still brought back: an audit reads all of its topics. Nobody waits for ever."""
        if self.open_fact is not None and workflow.patched(AUDITS_LAST) and Stage.PROVEN not in self.words:
            self.waiting_for = f"the others, before its output is audited:  tidegate ops watch {self.group}"
            self.show()
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: Stage.PROVEN in self.words, timeout=OTHERS, timeout_summary=Stage.PROVEN.value
                )
            self.waiting_for = ""
        return await super()._judge(ending, acted_at)

    async def go_back(self, why: str) -> Ending:
        """While nothing has turned; else it stands halted until it can go on."""
        if not self._has_turned():
            try:
                return await super().go_back(why)
            except _Escalated:
                self._goes_on_unplanned()
                await self.insisting(self.leave_unplanned)
                return await self.go_on_there()
        await self.stand_halted(why)
        return await self.go_on_there()

    async def _go_back(self, why: str) -> Ending:
        if self.told_back is None:
            await self._tell(Stage.WANTS_BACK, why)
            await workflow.wait_condition(
                lambda: self.told_back is not None or self.escalated is not None, timeout_summary="the others"
            )
            if self.told_back is None:
                raise _Escalated
        return await super()._go_back(why)

    async def _reopen(self) -> None:
        # The group has done it before it gave its word.
        return

    async def stand_halted(self, why: str) -> str:
        """As alone; and nobody waits for it."""
        try:
            await self._tell(Stage.HALTED, why)
        except TidegateError as error:
            why = f"{why} ({error.message})"
        return await super().stand_halted(why)

    def _next(self) -> tuple[str, ...]:
        if self.gave_up():
            return (f"tidegate return region {self.left.region}",)
        return (f"tidegate failover region {self.there.region} --to {self.left.region}",)


def _mine(turned: GroupCutFact, deployment: str) -> CutFact:
    return CutFact(
        partitions=turned.partitions,
        shut=turned.shut,
        drained=turned.drained,
        input_until=turned.input_until.get(deployment),
        notes=turned.notes,
    )

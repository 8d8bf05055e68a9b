"""FailoverDeployment: a deployment goes on in another region. runbooks/failover-deployment.md."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.failover.atlarge import left_in
    from tidegate.failover.plan import plan_failover
    from tidegate.failover.unfinished import goes_on_from, plan_finish, refuse_elsewhere
    from tidegate.model.failover import (
        FAILOVER_DEPLOYMENT,
        FailoverInput,
        FailoverStep,
        HomeFact,
        LookRegionsInput,
        OpenInput,
        RebaseInput,
        TranslateInput,
    )
    from tidegate.model.groups import GroupFact, translate_command
    from tidegate.model.operation import Observation, OperationResult, Outcome, Phase, Plan, StepState
    from tidegate.model.recovery import FailoverFacts, Strength
    from tidegate.model.steps import Located, ObserveInput, RestoreFrom, Unfinished
    from workflows import facts, failover_facts
    from workflows.calls import Aborted
    from workflows.ending import Ending
    from workflows.kit import given, known, with_hint
    from workflows.leaving_region import BACK_S, CLOSE_S, NO_RETURN, OPEN_S, LeavingRegion
    from workflows.preparing import OBSERVE_S
    from workflows.running import ENSURE_S, Goal

REBASE_S = 600.0
GROUPS_S = 20.0


@workflow.defn(name=FAILOVER_DEPLOYMENT)
class FailoverDeployment(LeavingRegion):
    """Done: it runs in the other region, proven, and its topics live there. Undone: all is as it was."""

    runbook = FAILOVER_DEPLOYMENT

    @workflow.init
    def __init__(self, request: FailoverInput | None = None) -> None:
        super().__init__(given(request, FailoverInput))
        self.group_facts: tuple[GroupFact, ...] = ()
        self.ahead: tuple[str, ...] = ()
        """What the state has read and has not come, in words (X22)."""
        self.unfinished: Unfinished | None = None
        """The failover that this one ends: it has turned the topics, and nobody goes on with it."""
        self.told_unfinished: Unfinished | None = None
        """The same as its group has found it."""

    @workflow.run
    async def run(self, request: FailoverInput | None = None) -> OperationResult:
        """Run the steps; see `Concluding.run_steps` for how it ends."""
        return await self.run_steps(self.steps)

    # -- the runbook

    async def steps(self) -> Ending:
        """The runbook."""
        # Step 1. Observe: where it runs, where it shall go on, what answers there. Nothing is changed up to step 4.
        await self.observe()

        # Step 2. Plan. What cannot be done is refused here. A dry run ends here.
        self.make_plan(rows)
        if self.request.dry_run:
            return self.planned()

        # Step 3. Approve, where the runbook's input or the fleet file asks for it.
        await self.approve_if_asked()

        # Step 4. Take the deployment; from here on it is ours until the end, or until somebody takes it over.
        await self.take(rows)
        if self.unfinished is not None:
            # One before it has left the old region and turned the topics: what is left is steps 9 to 14.
            await self.insisting(self._take_on)
            return await self.go_on_there()
        try:
            await self.prepare(self.fixed_plan.to_artifact, self.request.parallelism)
        except (Aborted, TidegateError) as error:
            if isinstance(error, errors.Superseded) or self._is_escalated() or not self._from_a_lost_one():
                raise
            # One before it may have closed the topics and stopped the job: nobody else would put that back.
            aborted = self.abort_requested or "aborted"
            return await self.go_back(with_hint(error) if isinstance(error, TidegateError) else aborted)

        if not self.unplanned:
            # Steps 5 to 8: ship, close, stop, cut. What fails goes back: all is as it was (I7).
            ending = await self.leave_planned()
            if ending is not None:
                return ending
        if self.unplanned:
            # Steps 5 to 7: close, shut, cut, as far as the other region can be reached. There is no way back (X24).
            await self.insisting(self.leave_unplanned)

        # Step 9. Start it there, from a copy whose positions are of the Kafka there.
        # Step 10. Groups, where the fleet file names any: its consumers go on there where they were.
        # Step 11. Open: producers go on there. From here on there is no way back but a failback.
        # Step 12. Prove the job, for the bake time.
        # Step 13. Mirror: the other way, from the cut on.
        # Step 14. Conclude, in every outcome: verdict, report, release (concluding).
        return await self.go_on_there()

    async def observe(self) -> None:
        """Find out where it lives and where it shall go on, and what of both regions answers."""
        self.begin("observe", OBSERVE_S)
        name, digest = self.base.deployment, self.base.fleet_digest
        asked = ObserveInput(deployment=name, fleet_digest=digest, by_record=True, unfinished=self.group is None)
        lives = self.home = await self.calls.control(contracts.locate, asked, deadline_s=OBSERVE_S)
        pinned = lives.fleet_digest
        left_behind = lives.unfinished or self.told_unfinished
        if left_behind is not None:
            to = self.request.to or lives.region
            if to != lives.region:
                refuse_elsewhere(name, lives.region, left_behind)
            self.unfinished, self.unplanned = left_behind, True  # what was left is left: there is no way back
            left = ObserveInput(deployment=name, fleet_digest=pinned, by_record=True, region=left_behind.source)
            self.home = await self.calls.control(contracts.locate, left, deadline_s=OBSERVE_S)
        else:
            to = self.request.to or await self._other(lives)
            if to == lives.region:
                raise errors.InvalidInput(f"to: {name} lives in {to}; name another region")
        there = ObserveInput(deployment=name, fleet_digest=pinned, by_record=True, region=to)
        self.located = self.away = await self.calls.control(contracts.locate, there, deadline_s=OBSERVE_S)
        self.found_in(self.located)
        self.observation = await self.observe_in(self.located)
        self.ok("observe", failover_facts.seen(self.seen, self.both))

    async def _other(self, home: Located) -> str:
        """The standby; or the home of the fleet file, if it runs in the standby."""
        if home.standby is None:
            raise errors.InvalidInput(
                f"to: {self.base.deployment} has no standby region in the fleet file, and none was named"
            )
        if home.standby != home.region:
            return home.standby
        asked = ObserveInput(deployment=self.base.deployment, fleet_digest=home.fleet_digest)
        return (await self.calls.control(contracts.locate, asked, deadline_s=OBSERVE_S)).region

    async def observe_in(self, located: Located) -> Observation:
        """As every runbook, in the region where it goes on; and both regions."""
        seen = await super().observe_in(located)
        while True:
            gives_up = self._looks_without()
            asked = LookRegionsInput(
                deployment=self.base.deployment,
                fleet_digest=located.fleet_digest,
                home=self.left.at,
                at=located.at,
                point=self.request.point,
                unplanned=gives_up and self.unfinished is None,
                together=self.together,
            )
            self.regions = await self.calls.region(
                located.region, contracts.look_regions, asked, deadline_s=OBSERVE_S, interruptible=True
            )
            if gives_up == self._looks_without():
                break  # else it was escalated meanwhile: recovery points are looked for as well
        self.answers = self.regions.home if self.unplanned else None
        return seen

    def draw_plan(self) -> Plan:
        """The plan of a failover, or of the end of one that nobody goes on with."""
        if self.unfinished is not None:
            return plan_finish(self.request, self.seen, self.both, self.unfinished)
        asked = self.request.model_copy(update={"unplanned": self._gives_up()})
        return plan_failover(asked, self.seen, self.both, escalated=self._is_escalated())

    def _looks_without(self) -> bool:
        """Whether it is looked at without the region that is left: also one that was approved as planned, once it is
        escalated. What was approved is what it is planned as all the same.
        """
        return self.unplanned or self._is_escalated()

    # -- going on

    async def _take_on(self) -> None:
        self.too_late = NO_RETURN
        self.acted_at = self.acted_at or workflow.now()
        self.begin("close", CLOSE_S)
        shut = await self.calls.control(contracts.close_producers, self._step(FailoverStep), deadline_s=CLOSE_S)
        self.ok("close", failover_facts.closed(shut))

    async def go_on_there(self) -> Ending:
        """Steps 9 to 14. Until the start has held there is a way back, if it was planned; then none."""
        lost = 0
        while True:
            self.enter(Phase.RUNNING)
            try:
                goal = await self._start_there()
            except errors.Superseded:
                raise
            except Aborted:
                return await self.go_back(self.abort_requested or "aborted")
            except (errors.MustHalt, errors.Unavailable) as error:
                if await self.stand_halted(with_hint(error)) == "abort":
                    return await self.go_back(f"{self.abort_requested or 'aborted'} (after: {error.message})")
            except errors.JobLost as error:
                lost += 1
                if lost > 3 and await self.stand_halted(with_hint(error)) == "abort":
                    return await self.go_back(error.message)
            except TidegateError as error:
                if not self.unplanned:
                    return await self.go_back(with_hint(error))
                await self.stand_halted(with_hint(error))
            else:
                break
        self.too_late = NO_RETURN
        await self._translate_groups()
        await self.insisting(self._open)
        await self.insisting(lambda: self._prove_there(goal))
        await self.insisting(self._mirror_back)
        fact = self.ensure_fact
        assert fact is not None
        since = facts.clock(fact.start.running_at)
        self.failover_facts = self._facts()
        return Ending(
            Outcome.DONE,
            f"{goal.artifact.name} runs in {self.place.at} since {since}, epoch {fact.start.epoch}"
            f"{self._groups_left()}{''.join(f'; {one}' for one in self.ahead)}",
            next_commands=(*self._groups_later(), *self._next()),
        )

    def _groups_left(self) -> str:
        """Which groups do not go on where they were, in words."""
        left = ", ".join(one.group for one in self.group_facts if one.left)
        return f"; NOT MOVED: consumer group {left}" if left else ""

    def _groups_later(self) -> tuple[str, ...]:
        """What moves the groups that were left."""
        return (translate_command(self.base.deployment),) if self._groups_left() else ()

    async def _start_there(self) -> Goal:
        artifact = self.fixed_plan.to_artifact
        self.start_tried = True
        self.begin(f"start {artifact.name}", REBASE_S + ENSURE_S)
        if self.unfinished is not None:
            goal = self.goal(artifact, bake_s=self.request.bake_s)
            goal = replace(
                goal,
                parallelism=self.request.parallelism or goal.parallelism,
                restore=goes_on_from(self.seen.record, self.both),
            )
            self.started = await self._ensure(goal, interruptible=False)
            return goal
        wanted = self._step(RebaseInput, snapshot=self.shipped)
        copy = await self.calls.region(
            self.place.region, contracts.rebase_copy, wanted, deadline_s=REBASE_S, interruptible=not self.unplanned
        )
        self.ahead = copy.notes
        writer = self.seen.record.writer
        reads = (writer.artifact.sha256,) if writer is not None else ()
        goal = self.goal(artifact, bake_s=self.request.bake_s, also_reads=reads)
        goal = replace(
            goal,
            parallelism=self.request.parallelism or goal.parallelism,
            restore=RestoreFrom(until_epoch=self.seen.record.epoch, snapshot=copy.location),
        )
        self.started = await self._ensure(goal, interruptible=not self.unplanned)
        return goal

    async def _translate_groups(self) -> None:
        """Before anybody writes there: who reads by a consumer group finds its offsets there (X25).

        Nobody waits for it: what could not be done is told, with the command that does it later.
        """
        if not self.both.groups:
            return
        self.begin("groups", GROUPS_S)
        superseded = self.ensure_fact.replay if self.ensure_fact is not None else ()
        wanted = self._step(TranslateInput, superseded=superseded)
        try:
            fact = await self.calls.region(self.place.region, contracts.translate_groups, wanted, deadline_s=GROUPS_S)
        except errors.Superseded:
            raise
        except TidegateError as error:
            self.group_facts = tuple(GroupFact(group=one.group, left=(error.message,)) for one in self.both.groups)
            self.board.end_running(StepState.FAILED, workflow.now(), f"no group was moved: {error.message}")
        else:
            self.group_facts = fact.groups
            self.ok("groups", failover_facts.groups_moved(fact))

    async def _open(self) -> None:
        self.begin("open", OPEN_S)
        superseded = self.ensure_fact.replay if self.ensure_fact is not None else ()
        wanted = self._step(OpenInput, superseded=superseded)
        self.open_fact = await self.calls.region(self.place.region, contracts.open_producers, wanted, deadline_s=OPEN_S)
        self.ok("open", failover_facts.opened(self.open_fact))

    async def _prove_there(self, goal: Goal) -> None:
        try:
            await self._prove(goal, known(self.started), interruptible=False)
        except errors.JobLost:
            self.started = await self._ensure(goal, interruptible=False)
            raise

    async def _mirror_back(self) -> None:
        self.begin("mirror", BACK_S)
        fact = await self.calls.control(contracts.mirror_back, self._step(FailoverStep), deadline_s=BACK_S)
        self.waiting_links = fact.waiting
        self.ok("mirror", failover_facts.mirrored(fact))
        if self.open_fact is not None and self.open_fact.first_output_at is None:
            self.open_fact = await self.calls.region(
                self.place.region, contracts.open_producers, self._step(OpenInput), deadline_s=OPEN_S
            )

    # -- how it ends

    async def _judge(self, ending: Ending, acted_at: datetime) -> Ending:
        """As for all; of a state that is ahead of what came, one region alone cannot tell (X22)."""
        ending = await super()._judge(ending, acted_at)
        if not self.ahead or ending.outcome is not Outcome.BAD_VERDICT:
            return ending
        left, name = self.left.region, self.base.deployment
        told = (
            f"the failover is done, and nothing of it is to be undone: {name} runs in {self.there.region}. Its verdict "
            f"is of {self.there.region} alone, and of what its state is ahead by that says nothing: the return of "
            f"{left} gives the verdict over both"
        )
        return replace(ending, why=f"{told}; {ending.why}")

    @property
    def asked_at(self) -> datetime:
        """When it was asked for: RTO counts from then, and RPO, unless the loss was detected before."""
        return workflow.info().start_time

    def _facts(self) -> FailoverFacts:
        began, detected = self.asked_at, self.request.detected_at
        lost = began if detected is None else min(began, detected)
        first = self.open_fact.first_output_at if self.open_fact is not None else None
        until = self.cut_fact.input_until if self.cut_fact is not None else None
        home = self.home_fact
        before = left_in(self.seen.record, self.left.region) if self.unfinished is not None else None
        if before is not None:
            home = HomeFact(
                strength=Strength(before.strength),
                point=before.point,
                snapshot=before.snapshot,
                taken_at=before.taken_at,
            )
        return FailoverFacts(
            source=self.left.region,
            target=self.there.region,
            planned=self.unfinished.planned if self.unfinished is not None else not self.unplanned,
            strength=home.strength if home is not None else Strength.STOPPED,
            point=home.point if home is not None else None,
            state_as_of=home.taken_at if home is not None else None,
            input_until=until,
            rto_s=(first - began).total_seconds() if first is not None else None,
            rto_detected_s=(first - detected).total_seconds() if first is not None and detected is not None else None,
            rpo_s=max(0.0, (lost - until).total_seconds()) if home is not None and until is not None else None,
            superseded=sum(one.records for one in self.ensure_fact.replay) if self.ensure_fact is not None else 0,
            lineage_turn=self.open_fact.turn if self.open_fact is not None else 0,
            waiting=self.waiting_links,
            rto_objective_s=self.both.rto_objective_s,
            rpo_objective_s=self.both.rpo_objective_s,
            groups=self.group_facts,
            notes=(*(home.notes if home is not None else ()), *self.ahead),
        )

    def _next(self) -> tuple[str, ...]:
        if self.waiting_links or self.gave_up():
            return (f"tidegate return region {self.left.region}",)
        return (f"tidegate failover deployment {self.base.deployment} --to {self.left.region}",)

    def gave_up(self) -> bool:
        """Whether the region was given up that it has left, by this one or by the one that it ends."""
        if self.unfinished is None:
            return self.unplanned
        return left_in(self.seen.record, self.left.region) is not None

    def _back_commands(self) -> tuple[str, ...]:
        return self._next() if self.open_fact is not None else ()


def rows(plan: Plan) -> list[str]:
    """The steps after observe and approve, as a person sees them."""
    whole = any(step.name == "cut" for step in plan.steps)
    return ["take", *(["prepare"] if whole else []), *(step.name for step in plan.steps if step.name != "observe")]

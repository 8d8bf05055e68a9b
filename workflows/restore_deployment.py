"""RestoreDeployment: make a deployment go on from a snapshot. runbooks/restore-deployment.md."""

from __future__ import annotations

from dataclasses import replace

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate.model.appraisal import Crossing
    from tidegate.model.inputs import RESTORE_DEPLOYMENT, RestoreInput
    from tidegate.model.operation import Observation, OperationResult, Plan
    from tidegate.model.steps import EVERY_EPOCH, AppraiseInput, Located, RestoreFrom
    from tidegate.operation.move import moves, plan_move
    from tidegate.operation.restore import accepted, choose_price, goes_back, plan_restore
    from workflows.ending import Ending
    from workflows.kit import given
    from workflows.preparing import OBSERVE_S
    from workflows.running import BACK_BAKE_S, Goal, RunningOperation


@workflow.defn(name=RESTORE_DEPLOYMENT)
class RestoreDeployment(RunningOperation):
    """Done: it goes on from the snapshot, proven. Undone: what ran before runs again; or, as before, nothing does."""

    runbook = RESTORE_DEPLOYMENT

    @workflow.init
    def __init__(self, request: RestoreInput | None = None) -> None:
        request = given(request, RestoreInput)
        super().__init__(request, target=request.artifact)
        self.request = request
        self.region = request.region

    @workflow.run
    async def run(self, request: RestoreInput | None = None) -> OperationResult:
        """Run the steps; see `Concluding.run_steps` for how it ends."""
        return await self.run_steps(self.steps)

    async def steps(self) -> Ending:
        """The runbook."""
        # Step 1. Observe: what is, and the price of each snapshot. Nothing is changed up to step 4.
        await self.observe()

        # Step 2. Plan. A price that was not accepted by name is refused here. A dry run ends here.
        self.make_plan(rows)
        if self.request.dry_run:
            return self.planned()

        # Step 3. Approve, where the runbook's input or the fleet file asks for it.
        await self.approve_if_asked()

        # Step 4. Take the deployment; from here on it is ours until the end, or until somebody takes it over.
        was_running = self.seen
        await self.take(rows)
        plan = self.fixed_plan

        # Step 5. Prepare: the jar is there, slots are counted.
        await self.prepare(plan.to_artifact)

        # The way back is there before the act (I7).
        forward, back = self.goals(plan, was_running)

        # Step 6. Start. WARNING: a job that still runs is cancelled first; nothing is processed until the new one runs.
        # Step 7. Prove the job, for the bake time. What fails in either goes back, and is proven, too.
        # Step 8. Conclude, in every outcome: verdict, report, release (concluding).
        return await self.make_run(forward, back)

    async def observe_in(self, located: Located) -> Observation:
        """As every runbook, and the price of each snapshot (X3); in another region, the copy that it goes on from."""
        seen = await super().observe_in(located)
        asked = AppraiseInput(
            deployment=self.base.deployment,
            fleet_digest=located.fleet_digest,
            source=self.request.source,
            as_of=self.request.as_of,
            at=located.at,
        )
        if moves(seen):
            crossing = await self.calls.region(
                located.region, contracts.look_across, asked, deadline_s=OBSERVE_S, interruptible=True
            )
            return seen.model_copy(update={"crossing": crossing})
        appraisal = await self.calls.region(
            located.region, contracts.appraise, asked, deadline_s=OBSERVE_S, interruptible=True
        )
        return seen.model_copy(update={"appraisal": appraisal})

    def draw_plan(self) -> Plan:
        """The plan of a restore: which snapshot, at which price."""
        return plan_move(self.request, self.seen) if moves(self.seen) else plan_restore(self.request, self.seen)

    def goals(self, plan: Plan, before: Observation) -> tuple[Goal, Goal | None]:
        """The snapshot as the goal; the way back is the job that ran, if one did."""
        if before.crossing is not None:
            return self._across(plan, before.crossing), None
        chosen = choose_price(self.request, self.seen)
        wrote = (chosen.artifact.sha256,) if chosen.artifact else ()
        forward = self.goal(plan.to_artifact, bake_s=self.request.bake_s, also_reads=wrote)
        restore = RestoreFrom(
            until_epoch=self.seen.record.epoch,
            snapshot=plan.basis.snapshot,
            loss_accepted=accepted(self.request.accept_loss, chosen),
            replay_accepted=accepted(self.request.accept_replay, chosen),
        )
        forward = replace(forward, restore=restore)
        writer = self.seen.record.writer
        if writer is None or not goes_back(before):
            return forward, None
        # A job that did not hold is not the job that ran, though it may be of the same artifact: it is ended first.
        back = self.goal(writer.artifact, bake_s=min(self.request.bake_s, BACK_BAKE_S))
        return forward, replace(back, restore=RestoreFrom(until_epoch=EVERY_EPOCH))

    def _across(self, plan: Plan, crossing: Crossing) -> Goal:
        """The copy as the goal. Nothing runs before, and if it does not hold, nothing runs after (X24)."""
        writer = self.seen.record.writer
        forward = self.goal(
            plan.to_artifact,
            bake_s=self.request.bake_s,
            also_reads=(writer.artifact.sha256,) if writer is not None else (),
        )
        return replace(forward, restore=RestoreFrom(until_epoch=self.seen.record.epoch, snapshot=crossing.location))


def rows(plan: Plan) -> list[str]:
    """The steps after observe and approve, as a person sees them."""
    return ["take", "prepare", f"start {plan.to_artifact.name}", "prove", "conclude"]

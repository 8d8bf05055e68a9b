"""UpgradeDeployment: stop the job with a savepoint, start another artifact from it. runbooks/upgrade-deployment.md."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate.errors import TidegateError
    from tidegate.model.inputs import UPGRADE_DEPLOYMENT, UpgradeInput
    from tidegate.model.operation import OperationResult, Plan
    from tidegate.model.record import ArtifactRef
    from tidegate.model.steps import StartFact, StopFact, SwitchInput
    from workflows import facts
    from workflows.ending import Ending
    from workflows.kit import given
    from workflows.running import BACK_BAKE_S, Goal, RunningOperation


@workflow.defn(name=UPGRADE_DEPLOYMENT)
class UpgradeDeployment(RunningOperation):
    """Done: the new artifact runs, proven. Undone: the old one does, proven. On the way it may stand halted."""

    runbook = UPGRADE_DEPLOYMENT

    @workflow.init
    def __init__(self, request: UpgradeInput | None = None) -> None:
        request = given(request, UpgradeInput)
        super().__init__(request, target=request.to)
        self.request = request
        self.on_unreadable_state = request.on_unreadable_state

    @workflow.run
    async def run(self, request: UpgradeInput | None = None) -> OperationResult:
        """Run the steps; see `Concluding.run_steps` for how it ends."""
        return await self.run_steps(self.steps)

    async def steps(self) -> Ending:
        """The runbook."""
        # Step 1. Observe: where the deployment lives, and what is. Nothing is changed up to step 4.
        await self.observe()

        # Step 2. Plan. A dry run ends here.
        self.make_plan(rows)
        if self.request.dry_run:
            return self.planned()

        # Step 3. Approve, where the runbook's input or the fleet file asks for it.
        await self.approve_if_asked()

        # Step 4. Take the deployment; from here on it is ours until the end, or until somebody takes it over.
        await self.take(rows)
        plan = self.fixed_plan

        # Step 5. Prepare what can be done while the old job still runs.
        await self.prepare(plan.to_artifact)

        # The way back is there before the act (I7).
        forward, back = self.goals(plan)

        # Step 6. Switch. WARNING: between stop and RUNNING nothing is processed; it is one activity (O15).
        # Step 7. Prove the new job, for the bake time. What fails in either goes back, and is proven, too.
        # Step 8. Conclude, in every outcome: verdict, report, release (concluding).
        return await self.make_run(forward, back)

    def goals(self, plan: Plan) -> tuple[Goal, Goal | None]:
        """The new artifact as the goal, and the old one as the way back."""
        old, new, pinned = plan.from_artifact, plan.to_artifact, self.seen.record.pinned
        if old is not None and old.sha256 == new.sha256 and pinned is not None:
            old = pinned.artifact  # taken over after a switch: back is where that one began
        # That the new artifact reads the old one's state is what an upgrade asserts; the other direction is declared.
        forward = self.goal(new, bake_s=self.request.bake_s, also_reads=(old.sha256,) if old else ())
        forward = self.with_first_start(forward)
        return forward, self.goal(old, bake_s=min(self.request.bake_s, BACK_BAKE_S)) if old else None

    def with_first_start(self, forward: Goal) -> Goal:
        """The goal with ``switch`` as its first start, if a job runs that can be stopped and nothing is half-done.

        After a take-over intents may be open, or nothing runs: ``ensure_running`` resolves that.
        """
        record, job = self.seen.record, self.seen.job
        writer_runs = record.writer is not None and job is not None and job.state == "RUNNING"
        if record.open_intents() or not writer_runs:
            self.board.replan([forward.start_step, "prove", "conclude"])
            return forward
        if record.writer is not None and record.writer.artifact.sha256 == forward.artifact.sha256:
            self.board.replan([forward.start_step, "prove", "conclude"])
            return forward
        return forward.starting_by(lambda: self.switch(forward.artifact, forward.parallelism))

    async def switch(self, artifact: ArtifactRef, parallelism: int) -> StartFact:
        """Stop the running job and start the new one from its savepoint, in one activity."""
        deadline_s = self.place.switch_timeout_s
        self.begin("stop", deadline_s)
        wanted = SwitchInput(
            held=self.claim,
            fleet_digest=self.place.fleet_digest,
            at=self.place.at,
            n=self.next_n(),
            artifact=artifact,
            parallelism=parallelism,
        )
        try:
            fact = await self.calls.region(
                self.place.region, contracts.switch, wanted, deadline_s=deadline_s, interruptible=True
            )
        except TidegateError as error:
            if stopped := error.details.get("stop"):  # then it is the start that failed
                self._stopped(StopFact.model_validate(stopped))
                self.begin(f"start {artifact.name}", deadline_s)
            raise
        self.switch_fact = fact
        stop, start = fact.stop, fact.start
        self._stopped(stop)
        self.ok(f"start {artifact.name}", facts.started(start), started=start.submitted_at, ended=start.running_at)
        return start

    def _stopped(self, stop: StopFact) -> None:
        self.ok("stop", facts.stopped(stop), started=stop.asked_at, ended=stop.completed_at)


def rows(plan: Plan) -> list[str]:
    """The steps after observe and approve, as a person sees them."""
    return ["take", "prepare", "stop", f"start {plan.to_artifact.name}", "prove", "conclude"]

"""StartDeployment: make a deployment that does not run, run. runbooks/start-deployment.md."""

from __future__ import annotations

from dataclasses import replace

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tidegate.model.operation import START_DEPLOYMENT, OperationResult, Plan, StartInput
    from workflows.ending import Ending
    from workflows.kit import given
    from workflows.running import RunningOperation


@workflow.defn(name=START_DEPLOYMENT)
class StartDeployment(RunningOperation):
    """Done: it runs, proven. Undone: it could not be started or did not prove healthy, and nothing runs, as before."""

    runbook = START_DEPLOYMENT

    @workflow.init
    def __init__(self, request: StartInput | None = None) -> None:
        request = given(request, StartInput)
        super().__init__(request, target=request.artifact)
        self.request = request

    @workflow.run
    async def run(self, request: StartInput | None = None) -> OperationResult:
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
        artifact = self.fixed_plan.to_artifact

        # Step 5. Prepare: the jar is there, slots are free.
        await self.prepare(artifact)

        # Step 6. Start. The way back is that nothing runs, as before.
        # Step 7. Prove the job for the bake time.
        # Step 8. Conclude, in every outcome: verdict, report, release (concluding).
        every = tuple(known.ref.sha256 for known in self.seen.artifacts)
        forward = self.goal(artifact, bake_s=self.request.bake_s, also_reads=every if self.request.snapshot else ())
        forward = replace(forward, from_empty=self.request.from_empty, snapshot=self.request.snapshot)
        return await self.make_run(forward, back=None)


def rows(plan: Plan) -> list[str]:
    """The steps after observe and approve, as a person sees them."""
    return ["take", "prepare", f"start {plan.to_artifact.name}", "prove", "conclude"]

"""StartDeployment: make a deployment that does not run, run. runbooks/start-deployment.md."""

from __future__ import annotations

from dataclasses import replace

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate.model.inputs import START_DEPLOYMENT, StartInput
    from tidegate.model.operation import OperationResult, Plan
    from tidegate.model.steps import ForkInput
    from workflows.ending import Ending
    from workflows.kit import given
    from workflows.preparing import PREPARE_S
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

        # For a fork the copy is made now: it is this deployment's own, and the one that it is made of goes on (X12).
        snapshot = self.request.snapshot
        if self.request.fork_of is not None:
            snapshot = await self.fork(self.request.fork_of, snapshot)

        # Step 6. Start. The way back is that nothing runs, as before.
        # Step 7. Prove the job for the bake time.
        # Step 8. Conclude, in every outcome: verdict, report, release (concluding).
        every = tuple(known.ref.sha256 for known in self.seen.artifacts)
        forward = self.goal(artifact, bake_s=self.request.bake_s, also_reads=every if snapshot else ())
        forward = replace(forward, from_empty=self.request.from_empty, snapshot=snapshot)
        return await self.make_run(forward, back=None)

    async def fork(self, of: str, snapshot: str | None) -> str:
        """Make the copy that the fork starts from; its location.

        Raises:
            InvalidInput, Refused: there is no such snapshot, or none that lasts.

        """
        await self.safe_point()
        self.begin("fork", PREPARE_S)
        wanted = ForkInput(
            held=self.claim, fleet_digest=self.place.fleet_digest, at=self.place.at, n=1, of=of, snapshot=snapshot
        )
        fact = await self.calls.region(
            self.place.region, contracts.make_fork, wanted, deadline_s=PREPARE_S, interruptible=True
        )
        self.ok("fork", f"{fact.location}, of {fact.source}: {fact.dropped:,} states of sinks dropped")
        return fact.location


def rows(plan: Plan) -> list[str]:
    """The steps after observe and approve, as a person sees them."""
    fork = ["fork"] if any(step.name == "fork" for step in plan.steps) else []
    return ["take", "prepare", *fork, f"start {plan.to_artifact.name}", "prove", "conclude"]

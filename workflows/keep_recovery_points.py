"""KeepRecoveryPoints: ship what Flink completes, and keep the restorability index. runbooks/keep-recovery-points.md.

It runs until somebody ends it: one long step that looks again and again (O19), then the same anew. It holds nothing.
"""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.model.inputs import ControlInput
    from tidegate.model.keep import KEEP_RECOVERY_POINTS, KeepInput, KeepStep
    from tidegate.model.operation import OperationResult, Phase
    from workflows.calls import Aborted
    from workflows.ending import Ending
    from workflows.kit import given
    from workflows.unheld import Unheld

MARGIN_S = 600.0
STEPS = ("observe", "keep")


@workflow.defn(name=KEEP_RECOVERY_POINTS)
class KeepRecoveryPoints(Unheld):
    """It never ends by itself. Aborted, recovery points are no longer kept, and those that are there grow old."""

    runbook = KEEP_RECOVERY_POINTS

    @workflow.init
    def __init__(self, request: KeepInput | None = None) -> None:
        self.request = given(request, KeepInput)
        super().__init__(self.request, STEPS)

    @workflow.update(description="Stop keeping recovery points; those that are there stay, and grow old.")
    def abort(self, request: ControlInput) -> str:
        """End it in good order."""
        self.stop(request)
        return self.undone()

    @workflow.run
    async def run(self, request: KeepInput | None = None) -> OperationResult:
        """Run the steps, again and again; see `Unheld.run_steps` for how it ends."""
        return await self.run_steps(self.steps, found_as=Phase.RUNNING)

    async def steps(self) -> Ending:
        """The runbook."""
        try:
            await self.watch()
        except errors.Unavailable as error:
            # What was away for longer than a whole watch is asked again from the beginning, not given up.
            workflow.logger.warning("keeping recovery points of %s anew: %s", self.request.deployment, error.message)

        if self.abort_requested is not None:
            raise Aborted  # it came as the watch was ending by itself

        # Step 3. Anew: the same in a new run, with an empty history (O19).
        workflow.continue_as_new(self.request)

    async def watch(self) -> None:
        """One watch.

        Raises:
            Aborted: a person does not want it any more.
            TidegateError: it cannot go on.

        """
        # Step 1. Observe: where the deployment lives now. When it moves this watch ends, and the next begins there.
        located = await self.locate()
        self.works_in(located.region)
        self.ok("observe", f"{located.region} -> {located.standby or 'nowhere'}")

        # Step 2. Keep: beside the region where it runs, look again and again.
        self.phase = Phase.RUNNING
        deadline_s = self.request.watch_s + MARGIN_S
        self.begin("keep", deadline_s)
        wanted = KeepStep(
            deployment=self.request.deployment,
            fleet_digest=located.fleet_digest,
            at=located.at,
            interval_s=self.request.interval_s,
            watch_s=self.request.watch_s,
            bytes_per_s=self.request.bytes_per_s,
        )
        await self.calls.region(
            located.region, contracts.keep_points, wanted, deadline_s=deadline_s, interruptible=True
        )

    def undone(self) -> str:
        """What an abort comes to."""
        return "recovery points are no longer kept"

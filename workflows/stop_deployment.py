"""StopDeployment: a savepoint, and then nothing runs. runbooks/stop-deployment.md."""

from __future__ import annotations

from dataclasses import replace

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.model.inputs import STOP_DEPLOYMENT, StopInput
    from tidegate.model.operation import OperationResult, Outcome, Plan, StepState, Verdict
    from tidegate.model.steps import StopFact, StopJobInput
    from tidegate.operation.stop_deployment import plan_stop
    from workflows import facts
    from workflows.calls import Aborted
    from workflows.ending import Ending
    from workflows.kit import given, with_hint
    from workflows.running import BACK_BAKE_S, RunningOperation

STOP_MARGIN_S = 300.0


@workflow.defn(name=STOP_DEPLOYMENT)
class StopDeployment(RunningOperation):
    """Done: nothing runs, and all state is in a savepoint. Undone: it could not be stopped so, and it runs."""

    runbook = STOP_DEPLOYMENT

    @workflow.init
    def __init__(self, request: StopInput | None = None) -> None:
        request = given(request, StopInput)
        super().__init__(request, target=None)
        self.request = request

    @workflow.run
    async def run(self, request: StopInput | None = None) -> OperationResult:
        """Run the steps; see `Concluding.run_steps` for how it ends."""
        return await self.run_steps(self.steps)

    async def steps(self) -> Ending:
        """The runbook."""
        # Step 1. Observe: does it run? Nothing is changed up to step 4.
        await self.observe()

        # Step 2. Plan. A dry run ends here.
        self.make_plan(rows)
        if self.request.dry_run:
            return self.planned()

        # Step 3. Approve, where the runbook's input or the fleet file asks for it.
        await self.approve_if_asked()

        # Step 4. Take the deployment; from here on it is ours until the end, or until somebody takes it over.
        await self.take(rows)
        await self.safe_point()

        # Step 5. Stop. WARNING: nothing is processed from here on. What fails goes back: what ran runs again (I7).
        # Step 6. Conclude, in every outcome: report, release (concluding).
        return await self.stop()

    async def stop(self) -> Ending:
        """Stop it; or, if that fails, or nobody wants it any more, make it run again."""
        while True:
            try:
                fact = await self._stop()
            except errors.Superseded:
                raise
            except Aborted:
                return await self._go_back(self.abort_requested or "aborted")
            except (errors.MustHalt, errors.Unavailable, errors.NoProgress) as error:
                if await self.stand_halted(with_hint(error)) == "abort":
                    return await self._go_back(f"{self.abort_requested or 'aborted'} (after: {error.message})")
            except TidegateError as error:
                return await self._go_back(with_hint(error))
            else:
                self.verdict = Verdict(audited=False, note="values not audited: nothing runs")
                return Ending(Outcome.DONE, f"{self.base.deployment} is stopped, its state is in {fact.location}")

    async def _stop(self) -> StopFact:
        deadline_s = self.place.switch_timeout_s + STOP_MARGIN_S
        self.begin("stop", deadline_s)
        wanted = StopJobInput(
            held=self.claim,
            fleet_digest=self.place.fleet_digest,
            at=self.place.at,
            n=self.next_n(),
            makes_way=self.request.makes_way,
        )
        fact = await self.calls.region(
            self.place.region, contracts.stop_deployment, wanted, deadline_s=deadline_s, interruptible=True
        )
        self.ok("stop", facts.stopped(fact))
        return fact

    async def _go_back(self, why: str) -> Ending:
        """What ran runs, from wherever things stand (O8)."""
        self.board.end_running(StepState.FAILED, workflow.now(), why)
        old = self.goal(self.fixed_plan.to_artifact, bake_s=min(self.request.bake_s, BACK_BAKE_S))
        self.board.replan([old.start_step, "prove", "conclude"])
        return await self.make_run(replace(old), old, failed=why)

    def draw_plan(self) -> Plan:
        """The plan of a stop."""
        return plan_stop(self.request, self.seen)


def rows(plan: Plan) -> list[str]:
    """The steps after observe and approve, as a person sees them."""
    return ["take", "stop", "conclude"]

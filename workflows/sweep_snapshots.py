"""SweepSnapshots: remove old snapshots, and the files that nothing else names. runbooks/sweep-snapshots.md.

It holds nothing, and does nothing while an operation holds the deployment. Two at once do no harm (O16). There is no
undo: what is gone is gone, so a snapshot goes only when nothing asks for it.
"""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.model.inputs import ControlInput
    from tidegate.model.operation import OperationResult, Outcome, Phase
    from tidegate.model.sweep import SWEEP_SNAPSHOTS, SweepFact, SweepInput, SweepPlan, SweepStep
    from workflows import facts
    from workflows.ending import Ending
    from workflows.kit import given
    from workflows.unheld import OBSERVE_S, Unheld

STEPS = ("observe", "sweep", "conclude")


@workflow.defn(name=SWEEP_SNAPSHOTS)
class SweepSnapshots(Unheld):
    """Done: what was to go is gone. Undone: some of it may be gone, and the same request again does the rest."""

    runbook = SWEEP_SNAPSHOTS

    @workflow.init
    def __init__(self, request: SweepInput | None = None) -> None:
        self.request = given(request, SweepInput)
        super().__init__(self.request, STEPS[:1] if self.request.dry_run else STEPS, reason=self.request.reason)

    @workflow.update(description="Stop removing. What is gone stays gone; what stays is whole.")
    def abort(self, request: ControlInput) -> str:
        """Stop removing; the next sweep ends what is half done."""
        self.stop(request)
        return "stops removing; what stays is whole, and the next sweep ends what is half done"

    @abort.validator
    def _may_abort(self, request: ControlInput) -> None:
        self.refuse_if_ended(request)

    @workflow.run
    async def run(self, request: SweepInput | None = None) -> OperationResult:
        """Run the steps; see `Unheld.run_steps` for how it ends."""
        return await self.run_steps(self.steps)

    async def steps(self) -> Ending:
        """The runbook."""
        # Step 1. Observe: what lies there, and what of it nothing asks for. Ages count from this moment.
        located = await self.locate(self.request.fleet_digest)
        region = self.request.region or located.region
        self.works_in(region)
        step = SweepStep(
            deployment=self.request.deployment,
            fleet_digest=located.fleet_digest,
            region=region,
            keep=self.request.keep,
            older_than_s=self.request.older_than_s,
            as_of=self.request.as_of or workflow.now(),
        )
        plan = await self.calls.region(region, contracts.look_at_sweep, step, deadline_s=OBSERVE_S, interruptible=True)
        self.ok("observe", _planned(plan))
        if self.request.dry_run:
            return Ending(Outcome.PLANNED, f"in {region} would go: {_planned(plan)}")

        # Step 2. Sweep: notes, _metadata, files, in this order. Also with nothing to go: what is half done is ended.
        self.phase = Phase.RUNNING
        deadline_s = self.request.deadline_s
        self.begin("sweep", deadline_s)
        fact = await self.calls.region(
            region, contracts.sweep_snapshots, step, deadline_s=deadline_s, interruptible=True
        )
        self.ok("sweep", _swept(fact))

        # Step 3. Conclude: the report, in every outcome (unheld).
        return Ending(Outcome.DONE, f"{_swept(fact)} in {region}")

    def undone(self) -> str:
        """Once it has begun to remove, nobody can say how far it came without looking again."""
        begun = self.phase is Phase.RUNNING
        return "not all that was to go is gone; what stays is whole" if begun else "nothing was removed"

    def refused(self, error: TidegateError) -> Ending:
        """Held means that nothing was removed; any other refusal of the step may come when something was."""
        nothing = self.phase is not Phase.RUNNING or isinstance(error, errors.Held)
        return Ending.refused(error) if nothing else Ending(Outcome.UNDONE, self.undone(), why=error.message)


def _planned(plan: SweepPlan) -> str:
    names = ", ".join(plan.first[:5]) + (f" and {plan.going - 5:,} more" if plan.going > 5 else "")
    parts = [f"{plan.going:,} snapshots{f' ({names})' if names else ''}", f"{plan.staying:,} stay"]
    if plan.leftovers or plan.uploads:
        parts.append(f"of ships that were given up {plan.leftovers:,} files and {plan.uploads:,} uploads")
    return f"{', '.join(parts)}; {plan.files:,} files, {facts.size(plan.bytes)}"


def _swept(fact: SweepFact) -> str:
    asked_for = f"; asked for meanwhile: {', '.join(fact.kept)}" if fact.kept else ""
    uploads = f", {fact.uploads:,} uploads given up" if fact.uploads else ""
    return f"{facts.size(fact.bytes)} freed: {fact.snapshots:,} snapshots, {fact.files:,} files{uploads}{asked_for}"

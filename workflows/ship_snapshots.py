"""ShipSnapshots: copy a snapshot of a deployment to another region. runbooks/ship-snapshots.md.

It changes nothing that runs and holds nothing: no record is taken, and two of them at once do no harm (O16).
"""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.model.inputs import ControlInput
    from tidegate.model.operation import OperationResult, Outcome, Phase
    from tidegate.model.ship import SHIP_SNAPSHOTS, ShipFact, ShipInput, ShipPlan, ShipStep
    from workflows import facts
    from workflows.ending import Ending
    from workflows.kit import given
    from workflows.unheld import OBSERVE_S, Unheld

STEPS = ("observe", "ship", "conclude")


@workflow.defn(name=SHIP_SNAPSHOTS)
class ShipSnapshots(Unheld):
    """Done: the snapshot is whole at the target. Undone: there is no new snapshot there; what was sent is kept."""

    runbook = SHIP_SNAPSHOTS

    @workflow.init
    def __init__(self, request: ShipInput | None = None) -> None:
        self.request = given(request, ShipInput)
        super().__init__(self.request, STEPS[:1] if self.request.dry_run else STEPS, reason=self.request.reason)

    @workflow.update(description="Stop sending. What was sent is kept, and is no snapshot without its _metadata.")
    def abort(self, request: ControlInput) -> str:
        """Stop sending; the same request again goes on where this one stopped."""
        self.stop(request)
        return "stops sending; the same command again goes on where it stopped"

    @abort.validator
    def _may_abort(self, request: ControlInput) -> None:
        self.refuse_if_ended(request)

    @workflow.run
    async def run(self, request: ShipInput | None = None) -> OperationResult:
        """Run the steps; see `Unheld.run_steps` for how it ends."""
        return await self.run_steps(self.steps)

    async def steps(self) -> Ending:
        """The runbook."""
        # Step 1. Observe: where the deployment lives, which snapshot it is, what of it is at the target already.
        located = await self.locate(self.request.fleet_digest)
        to = self.request.to or located.standby
        if to is None:
            raise errors.InvalidInput(
                f"to: {self.request.deployment} has no standby region in the fleet file, and none was named"
            )
        self.works_in(located.region)
        step = ShipStep(
            deployment=self.request.deployment,
            fleet_digest=located.fleet_digest,
            region=located.region,
            to=to,
            snapshot=self.request.snapshot,
            bytes_per_s=self.request.bytes_per_s,
        )
        plan = await self.calls.region(
            located.region, contracts.look_at_snapshot, step, deadline_s=OBSERVE_S, interruptible=True
        )
        self.ok("observe", _planned(plan))
        if self.request.dry_run:
            return Ending(Outcome.PLANNED, f"{plan.id} would be shipped to {to}: {_planned(plan)}")

        # Step 2. Ship: beside the region that it comes from; _metadata last.
        self.phase = Phase.RUNNING
        deadline_s = self.request.deadline_s
        self.begin("ship", deadline_s)
        fact = await self.calls.region(
            located.region, contracts.ship_snapshot, step, deadline_s=deadline_s, interruptible=True
        )
        self.ok("ship", _shipped(fact))

        # Step 3. Conclude: the report, in every outcome (unheld).
        return Ending(Outcome.DONE, f"{fact.id} is whole in {to}: {fact.target}")

    def undone(self) -> str:
        """What was sent stays, and is no snapshot without its _metadata."""
        return "no snapshot was shipped"


def _planned(plan: ShipPlan) -> str:
    new = f"{plan.new_files:,} files, {facts.size(plan.new_bytes)}"
    return (
        f"{plan.id} of {facts.clock(plan.taken_at)}: {plan.files:,} files, {facts.size(plan.bytes)}; to be sent {new}"
    )


def _shipped(fact: ShipFact) -> str:
    sent = f"sent {fact.sent_files:,} of {fact.files:,} files, {facts.size(fact.sent_bytes)}"
    missed = f"; Flink removed meanwhile: {', '.join(fact.missed)}" if fact.missed else ""
    return f"{fact.id} is at {fact.target}, {sent}{missed}"

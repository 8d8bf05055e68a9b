"""TakeSnapshot: a savepoint of a job that goes on. runbooks/take-snapshot.md."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.model.inputs import TAKE_SNAPSHOT, SnapshotInput
    from tidegate.model.operation import OperationResult, Outcome, Plan, Verdict
    from tidegate.model.steps import SnapshotFact, TakeSnapshotInput
    from tidegate.operation.take_snapshot import plan_snapshot
    from workflows import facts
    from workflows.calls import Aborted
    from workflows.ending import Ending
    from workflows.kit import given
    from workflows.preparing import Operation

SNAPSHOT_S = 1_800.0
GIVE_UP_S = 120.0


@workflow.defn(name=TAKE_SNAPSHOT)
class TakeSnapshot(Operation):
    """Done: there is a recovery point more. Undone: there is not. The job goes on in both."""

    runbook = TAKE_SNAPSHOT

    @workflow.init
    def __init__(self, request: SnapshotInput | None = None) -> None:
        request = given(request, SnapshotInput)
        super().__init__(request, target=None)
        self.request = request

    @workflow.run
    async def run(self, request: SnapshotInput | None = None) -> OperationResult:
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

        # Step 4. Take the deployment, so that nobody stops the job meanwhile.
        await self.take(rows)

        # Step 5. Snapshot. The job goes on; nothing is to be undone.
        # Step 6. Conclude, in every outcome: report, release (concluding).
        fact = await self.snapshot()
        self.verdict = Verdict(audited=False, note="values not audited: the job went on, untouched")
        return Ending(Outcome.DONE, f"{fact.name} is a recovery point: {fact.location}")

    async def snapshot(self) -> SnapshotFact:
        """Take it; whatever comes of it, nothing stays open in the record.

        Raises:
            Aborted: a person does not want it any more.
            TidegateError: it could not be had.

        """
        self.begin("snapshot", SNAPSHOT_S)
        wanted = TakeSnapshotInput(
            held=self.claim,
            fleet_digest=self.place.fleet_digest,
            at=self.place.at,
            n=self.next_n(),
            canonical=self.request.format == "canonical",
        )
        try:
            fact = await self.calls.region(
                self.place.region, contracts.take_snapshot, wanted, deadline_s=SNAPSHOT_S, interruptible=True
            )
        except errors.Superseded:
            raise
        except (Aborted, TidegateError):
            await self.insist(lambda: self._give_up(wanted))
            raise
        if fact is None:
            raise RuntimeError("a snapshot that nobody gave up was given up")
        self.ok("snapshot", facts.taken(fact))
        return fact

    async def _give_up(self, wanted: TakeSnapshotInput) -> None:
        request = wanted.model_copy(update={"give_up": True})
        await self.calls.region(self.place.region, contracts.take_snapshot, request, deadline_s=GIVE_UP_S)

    def draw_plan(self) -> Plan:
        """The plan of a snapshot."""
        return plan_snapshot(self.request, self.seen)


def rows(plan: Plan) -> list[str]:
    """The steps after observe and approve, as a person sees them."""
    return ["take", "snapshot", "conclude"]

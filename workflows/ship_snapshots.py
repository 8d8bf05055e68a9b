"""ShipSnapshots: copy a snapshot of a deployment to another region. runbooks/ship-snapshots.md.

It changes nothing that runs and holds nothing: no record is taken, and two of them at once do no harm (O16).
"""

from __future__ import annotations

import asyncio
from typing import NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.model.operation import (
        ControlInput,
        OperationResult,
        OperationStatus,
        Outcome,
        Phase,
        StepState,
    )
    from tidegate.model.ship import SHIP_SNAPSHOTS, ShipFact, ShipInput, ShipPlan, ShipStep
    from tidegate.model.steps import Located, ObserveInput, ReportInput
    from tidegate.temporal import search_attributes
    from tidegate.temporal.errors import to_application_error
    from workflows import facts
    from workflows.board import Board, markdown
    from workflows.calls import Aborted, Calls
    from workflows.ending import Ending

OBSERVE_S = 300.0
REPORT_S = 60.0
STEPS = ("observe", "ship", "conclude")


@workflow.defn(name=SHIP_SNAPSHOTS)
class ShipSnapshots:
    """Done: the snapshot is whole at the target. Undone: there is no new snapshot there; what was sent is kept."""

    @workflow.init
    def __init__(self, request: ShipInput | None = None) -> None:
        if request is None:
            raise to_application_error(errors.InvalidInput("no input: expected a ShipInput with at least deployment"))
        self.request = request
        self.phase = Phase.OBSERVING
        self.calls = Calls(changed=self._show, aborting=lambda: self.abort_requested is not None)
        self.board = Board(STEPS[:1] if request.dry_run else STEPS)
        self.abort_requested: str | None = None
        self.located: Located | None = None
        self.ending: Ending | None = None
        self.report_key: str | None = None

    @workflow.query(description="Where the operation stands: its steps, what runs, what it waits for.")
    def status(self) -> OperationStatus:
        """The answer of the query ``status``; needs a worker, also for a closed run."""
        info = workflow.info()
        return OperationStatus(
            operation=info.workflow_id,
            runbook=SHIP_SNAPSHOTS,
            deployment=self.request.deployment,
            region=self.located.region if self.located else "",
            cell=self.located.cell if self.located else "",
            phase=self.phase,
            requested_by=self.request.requested_by,
            started=info.start_time,
            steps=self.board.rows,
            activity=self.calls.running,
            abort_requested=self.abort_requested,
            why=self.ending.why if self.ending else "",
            next_commands=self.ending.next_commands if self.ending else (),
            outcome=self.ending.outcome if self.ending else None,
            report=self.report_key,
        )

    @workflow.update(description="Stop sending. What was sent is kept, and is no snapshot without its _metadata.")
    def abort(self, request: ControlInput) -> str:
        """Stop sending; the same request again goes on where this one stopped."""
        self.abort_requested = self.abort_requested or f"aborted by {request.by}" + (
            f": {request.why}" if request.why else ""
        )
        return "stops sending; the same command again goes on where it stopped"

    @abort.validator
    def _may_abort(self, request: ControlInput) -> None:
        if self.ending is not None and self.abort_requested is None:
            _refuse(f"too late for {request.by}: it has ended and is being reported")

    @workflow.run
    async def run(self, request: ShipInput | None = None) -> OperationResult:
        """Observe, ship, report.

        Raises:
            ApplicationError: every outcome but done and planned (O11); its details hold the OperationResult.

        """
        workflow.upsert_search_attributes(
            [
                search_attributes.RUNBOOK.value_set(SHIP_SNAPSHOTS),
                search_attributes.DEPLOYMENT.value_set(self.request.deployment),
                search_attributes.PHASE.value_set(self.phase.value),
            ]
        )
        main = asyncio.create_task(self._run())
        try:
            await workflow.wait([main])
        except asyncio.CancelledError:
            # ``temporal workflow cancel`` means abort (O11): in good order, with a report.
            reason = workflow.cancellation_reason()
            self.abort_requested = self.abort_requested or ("cancelled" + (f": {reason}" if reason else ""))
            await workflow.wait([main])
        return main.result()

    async def _run(self) -> OperationResult:
        try:
            ending = await self._steps()
        except Aborted:
            ending = Ending(Outcome.UNDONE, "no snapshot was shipped", why=self.abort_requested or "aborted")
        except (errors.Refused, errors.InvalidInput) as error:
            ending = Ending.refused(error)
        except TidegateError as error:
            why = f"{error.message} ({error.hint})" if error.hint else error.message
            ending = Ending(Outcome.UNDONE, "no snapshot was shipped", why=why)
        self.ending = ending
        good = ending.outcome in {Outcome.DONE, Outcome.PLANNED}
        self.board.end_running(StepState.OK if good else StepState.FAILED, workflow.now(), ending.why)
        if ending.outcome is not Outcome.PLANNED and self.located is not None:
            await self._report(ending, self.located)
        self.board.replan([])
        self.phase = ending.phase
        workflow.upsert_search_attributes([search_attributes.PHASE.value_set(self.phase.value)])
        self._show()
        result = OperationResult(
            operation=workflow.info().workflow_id,
            runbook=SHIP_SNAPSHOTS,
            deployment=self.request.deployment,
            outcome=ending.outcome,
            summary=ending.summary,
            report=self.report_key,
            why=ending.why,
            next_commands=ending.next_commands,
        )
        if good:
            return result
        raise ApplicationError(f"{ending.outcome}: {ending.message}", result, type=ending.type, non_retryable=True)

    async def _steps(self) -> Ending:
        # Step 1. Observe: where the deployment lives, which snapshot it is, what of it is at the target already.
        asked = ObserveInput(deployment=self.request.deployment, fleet_digest=self.request.fleet_digest)
        self._begin("observe", OBSERVE_S)
        located = self.located = await self.calls.control(contracts.locate, asked, deadline_s=OBSERVE_S)
        to = self.request.to or located.standby
        if to is None:
            raise errors.InvalidInput(
                f"to: {self.request.deployment} has no standby region in the fleet file, and none was named"
            )
        workflow.upsert_search_attributes([search_attributes.REGION.value_set(located.region)])
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
        self._ok("observe", _planned(plan))
        if self.request.dry_run:
            return Ending(Outcome.PLANNED, f"{plan.id} would be shipped to {to}: {_planned(plan)}")

        # Step 2. Ship: beside the region that it comes from; _metadata last.
        self.phase = Phase.RUNNING
        self._begin("ship", self.request.deadline_s)
        fact = await self.calls.region(
            located.region,
            contracts.ship_snapshot,
            step,
            deadline_s=self.request.deadline_s,
            interruptible=True,
        )
        self._ok("ship", _shipped(fact))

        # Step 3. Conclude: the report, in every outcome (_run).
        return Ending(Outcome.DONE, f"{fact.id} is whole in {to}: {fact.target}")

    async def _report(self, ending: Ending, located: Located) -> None:
        info = workflow.info()
        self._begin("conclude", REPORT_S)
        wanted = ReportInput(
            operation=info.workflow_id,
            run_id=info.first_execution_run_id,
            runbook=SHIP_SNAPSHOTS,
            deployment=self.request.deployment,
            fleet_digest=located.fleet_digest,
            requested_by=self.request.requested_by,
            reason=self.request.reason,
            started=info.start_time,
            ended=workflow.now(),
            outcome=ending.outcome,
            summary=ending.summary,
            why=ending.why,
            break_glass=None,
            take_over=None,
            observation=None,
            plan=None,
            approval=None,
            steps=self.board.rows,
            commands=ending.next_commands,
        )
        try:
            fact = await self.calls.control(contracts.write_report, wanted, deadline_s=REPORT_S)
        except TidegateError as error:
            # The evidence of a shipment lies beside its _metadata; a report that cannot be written is said.
            self.board.end("conclude", StepState.FAILED, workflow.now(), f"no report: {error.message}")
            return
        self.report_key = fact.key
        self._ok("conclude", fact.key)

    def _show(self) -> None:
        workflow.set_current_details(markdown(self.status()))

    def _begin(self, step: str, deadline_s: float) -> None:
        self.board.begin(step, workflow.now(), deadline_s)
        self._show()

    def _ok(self, step: str, fact: str) -> None:
        self.board.end(step, StepState.OK, workflow.now(), fact)
        self._show()


def _planned(plan: ShipPlan) -> str:
    new = f"{plan.new_files:,} files, {facts.size(plan.new_bytes)}"
    return (
        f"{plan.id} of {facts.clock(plan.taken_at)}: {plan.files:,} files, {facts.size(plan.bytes)}; to be sent {new}"
    )


def _shipped(fact: ShipFact) -> str:
    sent = f"sent {fact.sent_files:,} of {fact.files:,} files, {facts.size(fact.sent_bytes)}"
    missed = f"; Flink removed meanwhile: {', '.join(fact.missed)}" if fact.missed else ""
    return f"{fact.id} is at {fact.target}, {sent}{missed}"


def _refuse(message: str) -> NoReturn:
    raise to_application_error(errors.Refused(message))

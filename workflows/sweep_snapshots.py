"""SweepSnapshots: remove old snapshots, and the files that nothing else names. runbooks/sweep-snapshots.md.

It holds nothing, and does nothing while an operation holds the deployment. Two at once do no harm (O16). There is no
undo: what is gone is gone, so a snapshot goes only when nothing asks for it.
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
    from tidegate.model.steps import Located, ObserveInput, ReportInput
    from tidegate.model.sweep import SWEEP_SNAPSHOTS, SweepFact, SweepInput, SweepPlan, SweepStep
    from tidegate.temporal import search_attributes
    from tidegate.temporal.errors import to_application_error
    from workflows import facts
    from workflows.board import Board, markdown
    from workflows.calls import Aborted, Calls
    from workflows.ending import Ending

OBSERVE_S = 300.0
REPORT_S = 60.0
STEPS = ("observe", "sweep", "conclude")


@workflow.defn(name=SWEEP_SNAPSHOTS)
class SweepSnapshots:
    """Done: what was to go is gone. Undone: some of it may be gone, and the same request again does the rest."""

    @workflow.init
    def __init__(self, request: SweepInput | None = None) -> None:
        if request is None:
            raise to_application_error(errors.InvalidInput("no input: expected a SweepInput with at least deployment"))
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
            runbook=SWEEP_SNAPSHOTS,
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

    @workflow.update(description="Stop removing. What is gone stays gone; what stays is whole.")
    def abort(self, request: ControlInput) -> str:
        """Stop removing; the next sweep ends what is half done."""
        self.abort_requested = self.abort_requested or f"aborted by {request.by}" + (
            f": {request.why}" if request.why else ""
        )
        return "stops removing; what stays is whole, and the next sweep ends what is half done"

    @abort.validator
    def _may_abort(self, request: ControlInput) -> None:
        if self.ending is not None and self.abort_requested is None:
            _refuse(f"too late for {request.by}: it has ended and is being reported")

    @workflow.run
    async def run(self, request: SweepInput | None = None) -> OperationResult:
        """Observe, sweep, report.

        Raises:
            ApplicationError: every outcome but done and planned (O11); its details hold the OperationResult.

        """
        workflow.upsert_search_attributes(
            [
                search_attributes.RUNBOOK.value_set(SWEEP_SNAPSHOTS),
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
            ending = Ending(Outcome.UNDONE, self._left(), why=self.abort_requested or "aborted")
        except (errors.Refused, errors.InvalidInput) as error:
            # Held means that nothing was removed; any other refusal of the step may come when something was.
            nothing = self.phase is not Phase.RUNNING or isinstance(error, errors.Held)
            ending = Ending.refused(error) if nothing else Ending(Outcome.UNDONE, self._left(), why=error.message)
        except TidegateError as error:
            why = f"{error.message} ({error.hint})" if error.hint else error.message
            ending = Ending(Outcome.UNDONE, self._left(), why=why)
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
            runbook=SWEEP_SNAPSHOTS,
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
        # Step 1. Observe: what lies there, and what of it nothing asks for. Ages count from this moment.
        asked = ObserveInput(deployment=self.request.deployment, fleet_digest=self.request.fleet_digest)
        self._begin("observe", OBSERVE_S)
        located = self.located = await self.calls.control(contracts.locate, asked, deadline_s=OBSERVE_S)
        region = self.request.region or located.region
        workflow.upsert_search_attributes([search_attributes.REGION.value_set(region)])
        step = SweepStep(
            deployment=self.request.deployment,
            fleet_digest=located.fleet_digest,
            region=region,
            keep=self.request.keep,
            older_than_s=self.request.older_than_s,
            as_of=self.request.as_of or workflow.now(),
        )
        plan = await self.calls.region(region, contracts.look_at_sweep, step, deadline_s=OBSERVE_S, interruptible=True)
        self._ok("observe", _planned(plan))
        if self.request.dry_run:
            return Ending(Outcome.PLANNED, f"in {region} would go: {_planned(plan)}")

        # Step 2. Sweep: notes, _metadata, files, in this order. Also with nothing to go: what is half done is ended.
        self.phase = Phase.RUNNING
        self._begin("sweep", self.request.deadline_s)
        fact = await self.calls.region(
            region, contracts.sweep_snapshots, step, deadline_s=self.request.deadline_s, interruptible=True
        )
        self._ok("sweep", _swept(fact))

        # Step 3. Conclude: the report, in every outcome (_run).
        return Ending(Outcome.DONE, f"{_swept(fact)} in {region}")

    async def _report(self, ending: Ending, located: Located) -> None:
        info = workflow.info()
        self._begin("conclude", REPORT_S)
        wanted = ReportInput(
            operation=info.workflow_id,
            run_id=info.first_execution_run_id,
            runbook=SWEEP_SNAPSHOTS,
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
            # What was done stands in the steps; a report that cannot be written is said.
            self.board.end("conclude", StepState.FAILED, workflow.now(), f"no report: {error.message}")
            return
        self.report_key = fact.key
        self._ok("conclude", fact.key)

    def _left(self) -> str:
        begun = self.phase is Phase.RUNNING
        return "not all that was to go is gone; what stays is whole" if begun else "nothing was removed"

    def _show(self) -> None:
        workflow.set_current_details(markdown(self.status()))

    def _begin(self, step: str, deadline_s: float) -> None:
        self.board.begin(step, workflow.now(), deadline_s)
        self._show()

    def _ok(self, step: str, fact: str) -> None:
        self.board.end(step, StepState.OK, workflow.now(), fact)
        self._show()


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


def _refuse(message: str) -> NoReturn:
    raise to_application_error(errors.Refused(message))

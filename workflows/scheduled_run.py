"""ScheduledRun: what a schedule starts. It looks whether its runbook may begin now. runbooks/schedules.md.

It holds nothing and changes nothing itself: what it begins is an operation like any other, with an id of its own, that
goes on if this run is lost.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from temporalio import workflow
from temporalio.common import SearchAttributeKey, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, ChildWorkflowError, WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate.errors import TidegateError
    from tidegate.model.operation import OperationResult, Outcome
    from tidegate.model.schedule import (
        SCHEDULED_RUN,
        RunNote,
        RunOutcome,
        ScheduledInput,
        ScheduledResult,
        Skip,
        SkipReason,
        WeighInput,
    )
    from tidegate.names import CONTROL_QUEUE
    from tidegate.schedules.runbooks import operation_of, request_of
    from tidegate.temporal import search_attributes
    from tidegate.temporal.errors import from_application_error
    from workflows.calls import Calls
    from workflows.ending import through_cancellation
    from workflows.kit import given, with_hint

NOTE_S = 300.0
DUE = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
"""Set by Temporal on what a schedule starts."""
RUNNING = "running"


@workflow.defn(name=SCHEDULED_RUN)
class ScheduledRun:
    """Done: its operation is. Skipped: nothing was begun, and the result says why. Failed: the workflow fails."""

    @workflow.init
    def __init__(self, request: ScheduledInput | None = None) -> None:
        self.request = given(request, ScheduledInput)
        self.calls = Calls(changed=lambda: None, aborting=lambda: False)
        self.child: workflow.ChildWorkflowHandle[object, OperationResult] | None = None
        self.cancelled: str | None = None
        self.operation: str | None = None

    @workflow.run
    async def run(self, request: ScheduledInput | None = None) -> ScheduledResult:
        """Look, begin, wait, note. Raises ApplicationError if it failed: the schedule is paused if it asks so."""
        entry = self.request.entry
        workflow.upsert_search_attributes(
            [
                search_attributes.SCHEDULE.value_set(self.request.name),
                search_attributes.DEPLOYMENT.value_set(entry.deployment),
                search_attributes.PHASE.value_set(RUNNING),
            ]
        )
        return await through_cancellation(self._guarded(), self._cancel)

    def _cancel(self, reason: str | None) -> None:
        """Cancelled, it cancels what it began, which then ends in good order (O11)."""
        self.cancelled = reason or "cancelled"
        if self.child is not None:
            self.child.cancel()

    async def _guarded(self) -> ScheduledResult:
        try:
            result = await self._begin()
        except TidegateError as error:
            result = self._result(RunOutcome.FAILED, why=with_hint(error))
        await self._note(result)
        workflow.upsert_search_attributes([search_attributes.PHASE.value_set(result.outcome.value)])
        if result.outcome is RunOutcome.FAILED:
            raise ApplicationError(
                f"{result.schedule} failed: {result.why}", result, type="ScheduledRunFailed", non_retryable=True
            )
        return result

    async def _begin(self) -> ScheduledResult:
        # Step 1. Look: freezes, windows, incidents, who holds the deployment. Nothing is changed.
        asked = WeighInput(request=self.request, at=workflow.now())
        try:
            fact = await self.calls.control(
                contracts.weigh_schedule, asked, deadline_s=max(self.request.entry.catch_up_s, 60.0)
            )
        except TidegateError as error:
            # Whether an incident is open is not known: nothing is begun, and nobody need resume the schedule for it.
            return self._skipped(Skip(reason=SkipReason.NOT_KNOWN, why=error.message))
        if fact.skip is not None:
            return self._skipped(fact.skip)
        if self.cancelled is not None:
            return self._result(RunOutcome.FAILED, why=f"cancelled before it began: {self.cancelled}")

        # Step 2. Begin it, and wait for its end. It is an operation of its own and outlives this run.
        request = request_of(self.request)
        self.operation = operation_of(self.request, workflow.info().first_execution_run_id)
        workflow.set_current_details(f"runs as `{self.operation}`:  `tidegate ops watch {self.operation}`")
        try:
            self.child = await workflow.start_child_workflow(
                self.request.entry.runbook,
                request,
                id=self.operation,
                task_queue=CONTROL_QUEUE,
                result_type=OperationResult,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                static_summary=f"{self.request.entry.runbook}, by schedule {self.request.name}",
            )
            done = await self.child
        except WorkflowAlreadyStartedError:
            return self._result(RunOutcome.FAILED, why="it was begun before: this run is played a second time")
        except ChildWorkflowError as error:
            return self._failed(error)
        except asyncio.CancelledError:
            # Our own cancel of the child: a cancelled run does not reach this task (ending.through_cancellation).
            return self._result(RunOutcome.FAILED, why=f"cancelled: {self.cancelled}")
        return self._result(RunOutcome.DONE, operation_outcome=done.outcome, summary=done.summary, report=done.report)

    def _failed(self, error: ChildWorkflowError) -> ScheduledResult:
        """What it ended with. Somebody else was faster to take the deployment: nothing has failed."""
        cause = error.cause
        if not isinstance(cause, ApplicationError):
            return self._result(RunOutcome.FAILED, why=f"ended from outside: {cause or error}")
        told = cause.details[0] if cause.details else None
        if not isinstance(told, dict) or "outcome" not in told:
            return self._result(RunOutcome.FAILED, why=with_hint(from_application_error(cause)))
        ended = OperationResult.model_validate(told)
        if cause.type == "Held":
            return self._skipped(Skip(reason=SkipReason.HELD, why=ended.why))
        if ended.gave_way:
            # Paused for it, a schedule would stand still after the night in which it did what it should.
            return self._skipped(Skip(reason=SkipReason.GAVE_WAY, why=ended.why or ended.summary))
        return self._result(
            RunOutcome.FAILED,
            operation_outcome=ended.outcome,
            summary=ended.summary,
            report=ended.report,
            why=ended.why or ended.summary,
        )

    def _skipped(self, skip: Skip) -> ScheduledResult:
        workflow.upsert_search_attributes([search_attributes.SKIPPED.value_set(skip.reason.value)])
        return self._result(RunOutcome.SKIPPED, skip=skip.reason, why=skip.why)

    def _result(
        self,
        outcome: RunOutcome,
        *,
        skip: SkipReason | None = None,
        why: str = "",
        operation_outcome: Outcome | None = None,
        summary: str = "",
        report: str | None = None,
    ) -> ScheduledResult:
        info = workflow.info()
        return ScheduledResult(
            schedule=self.request.name,
            runbook=self.request.entry.runbook,
            run=info.workflow_id,
            due=self._due(),
            ended=workflow.now(),
            outcome=outcome,
            skip=skip,
            why=why,
            operation=self.operation,
            operation_outcome=operation_outcome,
            summary=summary,
            report=report,
        )

    def _due(self) -> datetime:
        info = workflow.info()
        return info.typed_search_attributes.get(DUE) or info.start_time

    async def _note(self, result: ScheduledResult) -> None:
        """Step 3. Keep it, and tell of a failure. What cannot be kept is still this workflow's result and memo."""
        told = f"{result.outcome}{f' ({result.skip})' if result.skip else ''}: {result.why or result.summary}"
        workflow.upsert_memo({"tidegate": told})
        entry = self.request.entry
        note = RunNote(
            result=result,
            paused=entry.pause_after_failure,
            deployment=entry.deployment,
            notices=self.request.notices,
        )
        try:
            fact = await self.calls.control(contracts.note_run, note, deadline_s=NOTE_S)
        except TidegateError as error:
            told += f"; not noted in the control bucket: {error.message}"
        else:
            told += "".join(f"; not told: {problem}" for problem in fact.problems)
        workflow.set_current_details(told)

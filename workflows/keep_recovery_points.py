"""KeepRecoveryPoints: ship what Flink completes, and keep the restorability index. runbooks/keep-recovery-points.md.

It runs until somebody ends it: one long step that looks again and again (O19), then the same anew. It holds nothing.
"""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.model.keep import KEEP_RECOVERY_POINTS, KeepInput, KeepStep
    from tidegate.model.operation import (
        ControlInput,
        OperationResult,
        OperationStatus,
        Outcome,
        Phase,
        StepState,
    )
    from tidegate.model.steps import Located, ObserveInput
    from tidegate.temporal import search_attributes
    from tidegate.temporal.errors import to_application_error
    from workflows.board import Board, markdown
    from workflows.calls import Aborted, Calls
    from workflows.ending import Ending

OBSERVE_S = 300.0
MARGIN_S = 600.0


@workflow.defn(name=KEEP_RECOVERY_POINTS)
class KeepRecoveryPoints:
    """It never ends by itself. Aborted, recovery points are no longer kept, and those that are there grow old."""

    @workflow.init
    def __init__(self, request: KeepInput | None = None) -> None:
        if request is None:
            raise to_application_error(errors.InvalidInput("no input: expected a KeepInput with at least deployment"))
        self.request = request
        self.phase = Phase.OBSERVING
        self.calls = Calls(changed=self._show, aborting=lambda: self.abort_requested is not None)
        self.board = Board(["observe", "keep"])
        self.abort_requested: str | None = None
        self.located: Located | None = None
        self.ending: Ending | None = None

    @workflow.query(description="Where the operation stands: its steps, what runs, what it waits for.")
    def status(self) -> OperationStatus:
        """The answer of the query ``status``; needs a worker, also for a closed run."""
        info = workflow.info()
        return OperationStatus(
            operation=info.workflow_id,
            runbook=KEEP_RECOVERY_POINTS,
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
            outcome=self.ending.outcome if self.ending else None,
        )

    @workflow.update(description="Stop keeping recovery points; those that are there stay, and grow old.")
    def abort(self, request: ControlInput) -> str:
        """End it in good order."""
        why = f": {request.why}" if request.why else ""
        self.abort_requested = self.abort_requested or f"aborted by {request.by}{why}"
        return "recovery points are no longer kept"

    @workflow.run
    async def run(self, request: KeepInput | None = None) -> OperationResult:
        """Keep them, until aborted.

        Raises:
            ApplicationError: it was aborted, or cannot go on; its details hold the OperationResult (O11).

        """
        workflow.upsert_search_attributes(
            [
                search_attributes.RUNBOOK.value_set(KEEP_RECOVERY_POINTS),
                search_attributes.DEPLOYMENT.value_set(self.request.deployment),
                search_attributes.PHASE.value_set(Phase.RUNNING.value),
            ]
        )
        main = asyncio.create_task(self._run())
        try:
            await workflow.wait([main])
        except asyncio.CancelledError:
            reason = workflow.cancellation_reason()
            self.abort_requested = self.abort_requested or ("cancelled" + (f": {reason}" if reason else ""))
            await workflow.wait([main])
        ending = main.result()
        if ending is None:
            workflow.continue_as_new(self.request)
        self.ending = ending
        self.board.end_running(StepState.FAILED, workflow.now(), ending.why)
        self.phase = ending.phase
        workflow.upsert_search_attributes([search_attributes.PHASE.value_set(self.phase.value)])
        self._show()
        result = OperationResult(
            operation=workflow.info().workflow_id,
            runbook=KEEP_RECOVERY_POINTS,
            deployment=self.request.deployment,
            outcome=ending.outcome,
            summary=ending.summary,
            why=ending.why,
        )
        raise ApplicationError(f"{ending.outcome}: {ending.message}", result, type=ending.type, non_retryable=True)

    async def _run(self) -> Ending | None:
        """How it ended; None: its time is over, and it goes on anew."""
        try:
            await self._steps()
        except Aborted:
            return Ending(Outcome.UNDONE, "recovery points are no longer kept", why=self.abort_requested or "aborted")
        except (errors.Refused, errors.InvalidInput) as error:
            return Ending.refused(error)
        except errors.Unavailable as error:
            # What was away for longer than a whole watch is asked again from the beginning, not given up.
            workflow.logger.warning("keeping recovery points of %s anew: %s", self.request.deployment, error.message)
        except TidegateError as error:
            return Ending(Outcome.UNDONE, "recovery points are no longer kept", why=error.message)
        return None

    async def _steps(self) -> None:
        # Step 1. Observe: where the deployment lives, by the fleet file as it is now.
        self._begin("observe", OBSERVE_S)
        asked = ObserveInput(deployment=self.request.deployment)
        located = self.located = await self.calls.control(contracts.locate, asked, deadline_s=OBSERVE_S)
        workflow.upsert_search_attributes([search_attributes.REGION.value_set(located.region)])
        self.board.end("observe", StepState.OK, workflow.now(), f"{located.region} -> {located.standby or 'nowhere'}")

        # Step 2. Keep: beside the home region, look again and again.
        self.phase = Phase.RUNNING
        deadline_s = self.request.watch_s + MARGIN_S
        self._begin("keep", deadline_s)
        wanted = KeepStep(
            deployment=self.request.deployment,
            fleet_digest=located.fleet_digest,
            interval_s=self.request.interval_s,
            watch_s=self.request.watch_s,
            bytes_per_s=self.request.bytes_per_s,
        )
        await self.calls.region(
            located.region, contracts.keep_points, wanted, deadline_s=deadline_s, interruptible=True
        )

    def _show(self) -> None:
        workflow.set_current_details(markdown(self.status()))

    def _begin(self, step: str, deadline_s: float) -> None:
        self.board.begin(step, workflow.now(), deadline_s)
        self._show()

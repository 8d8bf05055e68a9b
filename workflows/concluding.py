"""How an operation runs to its end, whatever comes: verdict, report, release, and the outcome (O11)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.model.operation import (
        OperationResult,
        Outcome,
        Phase,
        StepState,
        Verdict,
    )
    from tidegate.model.steps import (
        AuditInput,
        ReportInput,
    )
    from tidegate.temporal import search_attributes
    from workflows.calls import Aborted
    from workflows.ending import Ending, through_cancellation
    from workflows.kit import Standing, with_hint

AUDIT_S = 1_800.0
CONCLUDE_S = 900.0
REFUSED_REPORT_S = 30.0


class Concluding(Standing):
    """An operation that ends in good order."""

    # -- running

    async def run_steps(self, steps: Callable[[], Awaitable[Ending]]) -> OperationResult:
        """Run the runbook's steps to an end, whatever comes.

        Raises:
            ApplicationError: every outcome but done and planned (O11); its details hold the OperationResult.

        """
        workflow.upsert_search_attributes(
            [
                search_attributes.RUNBOOK.value_set(self.runbook),
                search_attributes.DEPLOYMENT.value_set(self.base.deployment),
                search_attributes.PHASE.value_set(self.phase.value),
            ]
        )
        return await through_cancellation(self._run_guarded(steps), self.cancelled)

    async def _run_guarded(self, steps: Callable[[], Awaitable[Ending]]) -> OperationResult:
        # Only Superseded comes out of the steps once something was changed: all else ends there, undone or halted.
        try:
            ending = await steps()
        except Aborted:
            ending = Ending(Outcome.UNDONE, "nothing was changed", why=self.abort_requested or "aborted")
        except errors.Superseded as error:
            ending = Ending.superseded(error)
        except (errors.Refused, errors.InvalidInput) as error:
            ending = Ending.refused(error)
        except TidegateError as error:
            ending = Ending(Outcome.UNDONE, "nothing was changed", why=with_hint(error))
        ending = await self._conclude(ending)
        await self.bell.settle()
        return ending.told(
            OperationResult(
                operation=workflow.info().workflow_id,
                runbook=self.runbook,
                deployment=self.base.deployment,
                outcome=ending.outcome,
                summary=ending.summary,
                verdict=self.verdict,
                report=self.report_key,
                plan=self.plan,
                why=ending.why,
                next_commands=ending.next_commands,
                rto_s=self.failover_facts.rto_s if self.failover_facts is not None else None,
            )
        )

    # -- conclude

    async def _conclude(self, ending: Ending) -> Ending:
        """Verdict, report, release: in every outcome what applies to it."""
        self.too_late = "too late: it has ended and is being reported"
        if ending.outcome is Outcome.PLANNED or self.located is None:
            self._settle_board(ending)
            return ending
        self.ending = ending
        if self.acted_at is not None and ending.outcome is not Outcome.SUPERSEDED:
            self.begin("conclude", AUDIT_S)
            ending = await self._judge(ending, self.acted_at)
        self.ending = ending
        self.why = ending.why
        if self.held is not None and ending.outcome is not Outcome.SUPERSEDED:
            self.begin("conclude", CONCLUDE_S)
            try:
                await self.insist(lambda: self._report(ending, CONCLUDE_S))
                await self.insist(self._release)
            except errors.Superseded as error:
                self.ending = ending = Ending.superseded(error)
        if self.held is None or ending.outcome is Outcome.SUPERSEDED:
            # Holding nothing, it must not wait for a person; a report that cannot be written is said, not insisted on.
            try:
                await self._report(ending, REFUSED_REPORT_S)
            except TidegateError as error:
                workflow.logger.warning("no report of %s: %s", ending.outcome, error.message)
        self._settle_board(ending)
        return ending

    def _settle_board(self, ending: Ending) -> None:
        self.ok("conclude", self.report_key or "") if self.held else None
        self.board.end_running(StepState.OK if ending.good else StepState.FAILED, workflow.now(), ending.why)
        self.ending, self.next_commands, self.waiting_for = ending, ending.next_commands, ""
        self.why = ending.why
        self.board.replan([])
        self.enter(ending.phase)

    async def _judge(self, ending: Ending, acted_at: datetime) -> Ending:
        asked = AuditInput(
            held=self.claim,
            fleet_digest=self.place.fleet_digest,
            at=self.place.at,
            n=self.next_n(),
            manifest=self.ensure_fact.manifest if self.ensure_fact else None,
            gap_from=acted_at,
            gap_to=workflow.now(),
        )
        try:
            self.verdict = await self.calls.region(self.place.region, contracts.audit, asked, deadline_s=AUDIT_S)
        except errors.Superseded as error:
            return Ending.superseded(error)
        except TidegateError as error:
            # Never green without a verdict: one that cannot be had counts as bad.
            self.verdict = Verdict(audited=False, note=f"no verdict could be had: {error.message}")
            lost = isinstance(error, errors.JobLost)
            mends = (f"tidegate restore {self.base.deployment}",) if lost else self._back_commands()
            return ending.with_bad_verdict(self.verdict, mends)
        return ending if self.verdict.good else ending.with_bad_verdict(self.verdict, self._back_commands())

    def _back_commands(self) -> tuple[str, ...]:
        origin = self.plan.from_artifact if self.plan else None
        return (f"tidegate upgrade {self.base.deployment} --to {origin.name}",) if origin else ()

    async def _report(self, ending: Ending, deadline_s: float) -> None:
        info = workflow.info()
        wanted = ReportInput(
            operation=info.workflow_id,
            run_id=info.first_execution_run_id,
            runbook=self.runbook,
            deployment=self.base.deployment,
            fleet_digest=self.place.fleet_digest,
            requested_by=self.base.requested_by,
            reason=self.base.reason,
            started=info.start_time,
            ended=workflow.now(),
            outcome=ending.outcome,
            summary=ending.summary,
            why=ending.why,
            break_glass=self.base.break_glass,
            take_over=self.base.take_over,
            observation=self.observation,
            plan=self.plan,
            approval=self.approval,
            steps=self.board.rows,
            switch=self.switch_fact,
            ensure=self.ensure_fact,
            prove=self.prove_fact,
            verdict=self.verdict,
            failover=self.failover_facts,
            commands=ending.next_commands,
            undelivered=self.bell.undelivered,
        )
        fact = await self.calls.control(contracts.write_report, wanted, deadline_s=deadline_s)
        self.report_key = fact.key

    async def _release(self) -> None:
        await self.calls.control(contracts.release, self.step_input(), deadline_s=CONCLUDE_S)

    async def insist(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do it; while it cannot be done, stand halted: no end without report and release (I8)."""
        while True:
            try:
                await act()
            except errors.Superseded:
                raise
            except TidegateError as error:
                await self.stand_halted(f"the operation is over, but {with_hint(error)}")
                self.begin("conclude", CONCLUDE_S)
                self.enter(Phase.RUNNING)
                continue
            return

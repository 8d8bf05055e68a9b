"""What all runbooks on one deployment share: observe, approve, take, halt, conclude, and how each ends.

A runbook is a sequence of these, and reads like its page in runbooks/. Only what is special to it stands in its module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.model.operation import (
        Observation,
        OperationResult,
        OperationStatus,
        Outcome,
        Phase,
        Plan,
        StartInput,
        StepState,
        UpgradeInput,
        Verdict,
    )
    from tidegate.model.record import ArtifactRef
    from tidegate.model.steps import (
        AuditInput,
        EnsureFact,
        HaltInput,
        Held,
        Located,
        ObserveInput,
        PrepareInput,
        ProveFact,
        ReportInput,
        StepInput,
        SwitchFact,
        TakeInput,
    )
    from tidegate.operation.plan import make_plan
    from tidegate.temporal import search_attributes
    from tidegate.temporal.errors import to_application_error
    from workflows import facts
    from workflows.board import Board, markdown
    from workflows.calls import Aborted, Calls
    from workflows.controls import Controls
    from workflows.ending import Ending

OBSERVE_S = 60.0
TAKE_S = 120.0
PREPARE_S = 300.0
HALT_S = 60.0
AUDIT_S = 1_800.0
CONCLUDE_S = 900.0
REFUSED_REPORT_S = 30.0
TAKE_ATTEMPTS = 3

T = TypeVar("T")
Given = TypeVar("Given", UpgradeInput, StartInput)


class Operation(Controls):
    """One run of a runbook on a deployment."""

    runbook: str
    """Name of the workflow type."""

    def __init__(self, request: UpgradeInput | StartInput, target: str) -> None:
        """``target`` is the name of the artifact that shall run."""
        super().__init__(request)
        self.target = target
        self.calls = Calls(changed=self.show, aborting=lambda: self.abort_requested is not None)
        self.board = Board(["observe"])
        self.why = ""
        self.next_commands: tuple[str, ...] = ()
        self.waiting_for = ""
        self.located: Located | None = None
        self.observation: Observation | None = None
        self.held: Held | None = None
        self.switch_fact: SwitchFact | None = None
        self.ensure_fact: EnsureFact | None = None
        self.prove_fact: ProveFact | None = None
        self.verdict: Verdict | None = None
        self.ending: Ending | None = None
        self.report_key: str | None = None
        self.acted_at: datetime | None = None
        self._n = 0

    # -- what a person sees

    @workflow.query(description="Where the operation stands: its steps, what runs, what it waits for.")
    def status(self) -> OperationStatus:
        """The answer of the query ``status``; needs a worker, also for a closed run."""
        info = workflow.info()
        return OperationStatus(
            operation=info.workflow_id,
            runbook=self.runbook,
            deployment=self.base.deployment,
            region=self.located.region if self.located else "",
            cell=self.located.cell if self.located else "",
            phase=self.phase,
            requested_by=self.base.requested_by,
            started=info.start_time,
            steps=self.board.rows,
            activity=self.calls.running,
            plan=self.plan,
            approval=self.approval,
            waiting_for=self.waiting_for,
            pause_requested=self.pause_requested,
            abort_requested=self.abort_requested,
            why=self.why,
            next_commands=self.next_commands,
            outcome=self.ending.outcome if self.ending else None,
            report=self.report_key,
        )

    def show(self) -> None:
        """Bring the workflow's current details up to date."""
        workflow.set_current_details(markdown(self.status()))

    def enter(self, phase: Phase) -> None:
        """The operation stands here now."""
        if phase is not self.phase:
            self.phase = phase
            workflow.upsert_search_attributes([search_attributes.PHASE.value_set(phase.value)])
        self.show()

    def begin(self, step: str, deadline_s: float | None = None) -> None:
        """The step runs now."""
        self.board.begin(step, workflow.now(), deadline_s)
        self.show()

    def ok(self, step: str, fact: str, *, started: datetime | None = None, ended: datetime | None = None) -> None:
        """The step is done; ``fact`` is what proves it."""
        self.board.end(step, StepState.OK, ended or workflow.now(), fact, started)
        self.show()

    # -- running

    async def run_steps(self, steps: Callable[[], Awaitable[Ending]]) -> OperationResult:
        """Run the runbook's steps to an end, whatever comes.

        The steps run as a task of their own, so that a cancelled workflow (which cancels this one) becomes an abort in
        good order instead of an exception at whatever line happens to wait.

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
        main = asyncio.create_task(self._run_guarded(steps))
        try:
            await workflow.wait([main])
        except asyncio.CancelledError:
            self.cancelled(workflow.cancellation_reason())
            await workflow.wait([main])
        return main.result()

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
        result = OperationResult(
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
        )
        if ending.outcome in {Outcome.DONE, Outcome.PLANNED}:
            return result
        raise ApplicationError(f"{ending.outcome}: {ending.message}", result, type=ending.type, non_retryable=True)

    async def safe_point(self) -> None:
        """Where a pause takes hold and an abort leaves.

        Raises:
            Aborted: a person wants to go back.

        """
        if self.pause_requested and self.abort_requested is None:
            before = self.phase
            self.waiting_for = "resume or abort"
            self.next_commands = self._ops("resume", "abort")
            self.enter(Phase.PAUSED)
            await workflow.wait_condition(
                lambda: not self.pause_requested or self.abort_requested is not None, timeout_summary="paused"
            )
            self.pause_requested, self.waiting_for, self.next_commands = False, "", ()
            self.enter(before)
        if self.abort_requested is not None:
            raise Aborted

    # -- steps before anything is changed

    async def observe(self) -> None:
        """Find out where the deployment lives and what is.

        Raises:
            TidegateError: it is unknown, or a part did not answer in time; nothing was changed.

        """
        self.begin("observe", OBSERVE_S)
        asked = ObserveInput(
            deployment=self.base.deployment, target=self.target, fleet_digest=self.base.fleet_digest, held=None
        )
        self.located = await self.calls.control(contracts.locate, asked, deadline_s=OBSERVE_S)
        workflow.upsert_search_attributes(
            [
                search_attributes.REGION.value_set(self.located.region),
                search_attributes.CELL.value_set(self.located.cell),
            ]
        )
        self.observation = await self._observe_in(self.located)
        self.ok("observe", facts.observed(self.observation))

    async def _observe_in(self, located: Located) -> Observation:
        asked = ObserveInput(
            deployment=self.base.deployment, target=self.target, fleet_digest=located.fleet_digest, held=self.held
        )
        seen = await self.calls.region(
            located.region, contracts.observe, asked, deadline_s=OBSERVE_S, interruptible=True
        )
        # Held by this operation itself, the record stands in nobody's way.
        return seen.model_copy(update={"holder_run_closed": True}) if self.held else seen

    def make_plan(self, rows: Callable[[Plan], list[str]]) -> Plan:
        """Plan from the observation; ``rows`` names the steps to be shown.

        Raises:
            Refused, InvalidInput: it makes no sense to go on; the message says why.

        """
        self.plan = make_plan(self.base, self.seen)
        names = (["approve"] if self._approval_asked() else []) + rows(self.plan)
        self.board.replan([name for name in names if not self.board.has_begun(name)])
        self.show()
        return self.plan

    def planned(self) -> Ending:
        """The end of a dry run."""
        return Ending(Outcome.PLANNED, facts.planned(self.fixed_plan))

    def _approval_asked(self) -> bool:
        return self.base.require_approval or self.place.approval_required or self.seen.approval_required

    async def approve_if_asked(self) -> None:
        """Wait for an approval of this very plan, if one is asked for.

        Raises:
            Refused: rejected, or nobody approved in time.
            Aborted: a person wants to go back.

        """
        if not self._approval_asked():
            return
        if self.base.break_glass is not None:
            self.board.end("approve", StepState.SKIPPED, workflow.now(), f"break-glass: {self.base.break_glass}")
            self.show()
            return
        timeout_s = self.base.approval_timeout_s
        plan = self.fixed_plan
        self.approval_wanted = True
        self.waiting_for = f"an approval of plan {plan.hash[:12]}"
        self.next_commands = tuple(
            f"{command} --who YOU" + (f" --plan {plan.hash[:12]}" if "ops approve" in command else "")
            for command in self._ops("approve", "reject")
        )
        self.begin("approve", timeout_s)
        self.enter(Phase.WAITING_FOR_APPROVAL)
        try:
            await workflow.wait_condition(
                lambda: self.approval is not None or self.abort_requested is not None,
                timeout=timedelta(seconds=timeout_s),
                timeout_summary="approval",
            )
        except TimeoutError:
            raise errors.Refused(f"not approved: nobody approved plan {plan.hash[:12]} in {timeout_s:,.0f} s") from None
        finally:
            self.approval_wanted, self.waiting_for, self.next_commands = False, "", ()
        if self.approval is None:
            raise Aborted
        words = f"claimed by {self.approval.by}" + (f": {self.approval.comment}" if self.approval.comment else "")
        if not self.approval.approved:
            raise errors.Refused(f"not approved: plan {plan.hash[:12]} was rejected, {words}")
        self.ok("approve", f"plan {plan.hash[:12]}, {words}")

    async def take(self, rows: Callable[[Plan], list[str]]) -> None:
        """Make the deployment this operation's, then observe again: what was planned must still be so (O4).

        Raises:
            Held: another operation holds it.
            BasisChanged: the world is not what was approved. Without an approval it is planned anew instead.

        """
        self.enter(Phase.RUNNING)
        for attempt in range(1, TAKE_ATTEMPTS + 1):
            await self.safe_point()
            self.begin("take", TAKE_S)
            info = workflow.info()
            wanted = TakeInput(
                deployment=self.base.deployment,
                operation=info.workflow_id,
                run_id=info.first_execution_run_id,
                fleet_digest=self.place.fleet_digest,
                runbook=self.runbook,
                who=self.base.requested_by,
                why=self.base.reason,
                expected_fence=self.seen.record.fence,
                take_over=self.base.take_over,
            )
            try:
                self.held = await self.calls.control(contracts.take, wanted, deadline_s=TAKE_S)
                break
            except errors.BasisChanged:
                # Somebody held it in between. Nobody has approved anything: look again, and plan for what is now.
                if self.approval is not None or attempt == TAKE_ATTEMPTS:
                    raise
                self.observation = await self._observe_in(self.place)
                self.make_plan(rows)
        before = self.fixed_plan
        self.observation = await self._observe_in(self.place)
        plan = self.make_plan(rows)
        if plan.hash != before.hash and self.approval is not None:
            raise errors.BasisChanged(
                f"the plan that was approved ({before.hash[:12]}) no longer fits what is: it would be {plan.hash[:12]}",
                hint="start it again and have the new plan approved",
            )
        self.ok("take", f"fence {self.claim.fence}")

    async def prepare(self, artifact: ArtifactRef) -> None:
        """Do what can be done before the stop."""
        await self.safe_point()
        self.begin("prepare", PREPARE_S)
        wanted = PrepareInput(held=self.claim, fleet_digest=self.place.fleet_digest, n=1, artifact=artifact)
        fact = await self.calls.region(
            self.place.region, contracts.prepare, wanted, deadline_s=PREPARE_S, interruptible=True
        )
        self.ok("prepare", facts.prepared(fact))
        await self.safe_point()

    # -- halting

    async def stand_halted(self, why: str) -> str:
        """Hold what is held and do nothing, until a person says how to go on (O9): ``resume`` or ``abort``.

        Raises:
            Superseded: another operation has taken the deployment over meanwhile.

        """
        self.decision = None
        self.why = why
        self.waiting_for = "a person"
        self.next_commands = self._ops(*(("resume",) if self.too_late else ("resume", "abort")))
        self.board.end_running(StepState.FAILED, workflow.now(), why)
        self.enter(Phase.HALTED)
        mark = HaltInput(
            held=self.claim, fleet_digest=self.place.fleet_digest, n=self.next_n(), why=why, commands=self.next_commands
        )
        try:
            await self.calls.control(contracts.halt, mark, deadline_s=HALT_S)
        except errors.Superseded:
            raise
        except TidegateError as error:
            # The record still says HELD, by us: as safe, only less telling.
            self.why = f"{why} (the record could not be marked: {error.message})"
            self.show()
        while True:
            await workflow.wait_condition(lambda: self.decision is not None, timeout_summary="halted")
            decision = str(self.decision)
            try:
                await self.calls.control(contracts.unhalt, self.step_input(), deadline_s=HALT_S)
                break
            except errors.Superseded:
                raise
            except TidegateError as error:
                self.decision = None
                self.why = f"{why} ({decision} failed: {error.message})"
                self.show()
        self.decision, self.waiting_for, self.next_commands = None, "", ()
        return decision

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
                await self._insist(lambda: self._report(ending, CONCLUDE_S))
                await self._insist(self._release)
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
        good = ending.outcome in {Outcome.DONE, Outcome.PLANNED}
        self.ok("conclude", self.report_key or "") if self.held else None
        self.board.end_running(StepState.OK if good else StepState.FAILED, workflow.now(), ending.why)
        self.ending, self.next_commands, self.waiting_for = ending, ending.next_commands, ""
        self.why = ending.why
        self.board.replan([])
        self.enter(ending.phase)

    async def _judge(self, ending: Ending, acted_at: datetime) -> Ending:
        asked = AuditInput(
            held=self.claim,
            fleet_digest=self.place.fleet_digest,
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
            return ending.with_bad_verdict(self.verdict, self._back_commands())
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
            commands=ending.next_commands,
        )
        fact = await self.calls.control(contracts.write_report, wanted, deadline_s=deadline_s)
        self.report_key = fact.key

    async def _release(self) -> None:
        await self.calls.control(contracts.release, self.step_input(), deadline_s=CONCLUDE_S)

    async def _insist(self, act: Callable[[], Awaitable[None]]) -> None:
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

    # -- small things

    @property
    def place(self) -> Located:
        """Where the deployment lives; known after observe."""
        return _known(self.located)

    @property
    def seen(self) -> Observation:
        """The latest observation."""
        return _known(self.observation)

    @property
    def fixed_plan(self) -> Plan:
        """The plan; known after make_plan."""
        return _known(self.plan)

    @property
    def claim(self) -> Held:
        """What this operation holds; known after take."""
        return _known(self.held)

    def next_n(self) -> int:
        """The number of the next attempt at something: ids are derived from it (O7)."""
        self._n += 1
        return self._n

    def step_input(self) -> StepInput:
        """What a step that needs nothing else needs."""
        return StepInput(held=self.claim, fleet_digest=self.place.fleet_digest, n=self.next_n())

    def _ops(self, *verbs: str) -> tuple[str, ...]:
        return tuple(f"tidegate ops {verb} {workflow.info().workflow_id}" for verb in verbs)


def given(request: Given | None, what: type[Given]) -> Given:
    """The input of a workflow. Started without one, it would wait for ever instead of failing; hence the default."""
    if request is None:
        fields = ", ".join(name for name, field in what.model_fields.items() if field.is_required())
        raise to_application_error(errors.InvalidInput(f"no input: expected a {what.__name__} with at least {fields}"))
    return request


def with_hint(error: TidegateError) -> str:
    """The error in one line, with what to do."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _known(value: T | None) -> T:
    if value is None:
        raise RuntimeError("a step ran out of order")
    return value

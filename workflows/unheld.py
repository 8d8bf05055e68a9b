"""What the runbooks share that hold no deployment: they take no record, and two of them at once do no harm (O16).

What those share that hold one is in `preparing`, `running`, `concluding` and `kit`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.model.drilled import DrillFacts, DrillsFacts
    from tidegate.model.gameday import GameDayFacts
    from tidegate.model.inputs import ControlInput
    from tidegate.model.operation import (
        MemberResult,
        OperationResult,
        OperationStatus,
        Outcome,
        Phase,
        StepState,
        Verdict,
    )
    from tidegate.model.review import DeploymentReview
    from tidegate.model.steps import Located, ObserveInput, ReportInput
    from tidegate.temporal import search_attributes
    from workflows.board import Board
    from workflows.calls import Aborted, Calls
    from workflows.controls import aborted_by, cancelled_for, refuse
    from workflows.ending import Ending, through_cancellation
    from workflows.kit import with_hint
    from workflows.notices import Bell
    from workflows.shown import Shown

OBSERVE_S = 300.0
REPORT_S = 60.0


class Request(Protocol):
    """What the input of each of them has."""

    @property
    def deployment(self) -> str:
        """Name in the fleet file."""

    @property
    def requested_by(self) -> str:
        """Who asks."""


class Unheld(Shown):
    """One run of a runbook that holds no deployment."""

    def __init__(self, request: Request, steps: Iterable[str], *, reason: str | None = None) -> None:
        """``steps`` are those that a person sees; ``reason`` goes into the report. None: it ends without a report."""
        self._asked = request
        self._reason = reason
        self.phase = Phase.OBSERVING
        self.calls = Calls(changed=self.show, aborting=lambda: self.abort_requested is not None)
        self.board = Board(steps)
        self.bell = Bell()
        self.abort_requested: str | None = None
        self.gave_way = False
        """It ended because an operation needed what it had: it has failed at nothing."""
        self.located: Located | None = None
        self.ending: Ending | None = None
        self.report_key: str | None = None
        self.drill_facts: DrillFacts | None = None
        self.game_day: GameDayFacts | None = None
        self.verdict: Verdict | None = None
        """Of an operation that moved deployments by operations of their own: over all of them."""
        self.drills_facts: DrillsFacts | None = None
        """Of the drill of a region."""
        self.review: DeploymentReview | None = None
        """Of a review: what was found. It goes into the report."""
        self.members: tuple[MemberResult, ...] = ()
        """Of an operation on several deployments: how it ended for each."""

    # -- what a person sees and says

    @workflow.query(description="Where the operation stands: its steps, what runs, what it waits for.")
    def status(self) -> OperationStatus:
        """The answer of the query ``status``; needs a worker, also for a closed run."""
        info = workflow.info()
        return OperationStatus(
            operation=info.workflow_id,
            runbook=self.runbook,
            deployment=self._asked.deployment,
            region=self.located.region if self.located else "",
            cell=self.located.cell if self.located else "",
            phase=self.phase,
            requested_by=self._asked.requested_by,
            started=info.start_time,
            steps=self.board.rows,
            activity=self.calls.running,
            abort_requested=self.abort_requested,
            why=self.ending.why if self.ending else "",
            next_commands=self.ending.next_commands if self.ending else (),
            outcome=self.ending.outcome if self.ending else None,
            report=self.report_key,
        )

    def request_abort(self, why: str) -> None:
        """Remember that it shall stop; of several reasons the first stands. What runs is stopped in good order."""
        self.abort_requested = self.abort_requested or why

    def stop(self, request: ControlInput) -> None:
        """What the update ``abort`` of each of them does; each says in its own words what becomes of its work."""
        self.request_abort(aborted_by(request))

    def refuse_if_ended(self, request: ControlInput) -> None:
        """What the validator of ``abort`` does.

        Raises:
            ApplicationError: Refused; there is nothing left to stop.

        """
        if self.ending is not None and self.abort_requested is None:
            refuse(f"too late for {request.by}: it has ended and is being reported")

    # -- the step that all begin with

    async def locate(self, fleet_digest: str | None = None) -> Located:
        """Begin to observe: where the deployment lives, by its record and the fleet file (None: as it is now).

        Raises:
            TidegateError: it is unknown, or the registry did not answer in time.

        """
        self.begin("observe", OBSERVE_S)
        asked = ObserveInput(deployment=self._asked.deployment, fleet_digest=fleet_digest, by_record=True)
        self.located = await self.calls.control(contracts.locate, asked, deadline_s=OBSERVE_S)
        return self.located

    def works_in(self, region: str) -> None:
        """From here on the operation is found by this region."""
        workflow.upsert_search_attributes([search_attributes.REGION.value_set(region)])

    def upsert_phase(self) -> None:
        """From here on the operation is found by the phase in which it stands."""
        workflow.upsert_search_attributes([search_attributes.PHASE.value_set(self.phase.value)])
        self.bell.look(self.status(), group=self.group)

    # -- running to an end

    async def run_steps(
        self, steps: Callable[[], Awaitable[Ending]], *, found_as: Phase = Phase.OBSERVING
    ) -> OperationResult:
        """Run the runbook's steps to an end, whatever comes; until then it is found by the phase ``found_as``.

        Raises:
            ApplicationError: every outcome but done and planned (O11); its details hold the OperationResult.

        """
        workflow.upsert_search_attributes(
            [
                search_attributes.RUNBOOK.value_set(self.runbook),
                search_attributes.DEPLOYMENT.value_set(self._asked.deployment),
                search_attributes.PHASE.value_set(found_as.value),
            ]
        )
        return await through_cancellation(
            self._run_guarded(steps), lambda reason: self.request_abort(cancelled_for(reason))
        )

    def undone(self) -> str:
        """What is now, in a line, when it stopped before its end."""
        raise NotImplementedError

    def refused(self, error: TidegateError) -> Ending:
        """How it ends when a step is refused."""
        return Ending.refused(error)

    async def _run_guarded(self, steps: Callable[[], Awaitable[Ending]]) -> OperationResult:
        try:
            ending = await steps()
        except Aborted:
            ending = Ending(Outcome.UNDONE, self.undone(), why=self.abort_requested or "aborted")
        except (errors.Refused, errors.InvalidInput) as error:
            ending = self.refused(error)
        except TidegateError as error:
            ending = Ending(Outcome.UNDONE, self.undone(), why=with_hint(error))
        self.ending = ending
        self.board.end_running(StepState.OK if ending.good else StepState.FAILED, workflow.now(), ending.why)
        if self._reason is not None and ending.outcome is not Outcome.PLANNED and self.located is not None:
            await self._report(ending, self.located, self._reason)
        self.board.replan([])
        self.phase = ending.phase
        self.upsert_phase()
        self.show()
        await self.bell.settle()
        return ending.told(
            OperationResult(
                operation=workflow.info().workflow_id,
                runbook=self.runbook,
                deployment=self._asked.deployment,
                outcome=ending.outcome,
                summary=ending.summary,
                verdict=self.verdict,
                report=self.report_key,
                why=ending.why,
                next_commands=ending.next_commands,
                members=self.members,
                drill=self.drill_facts,
                gave_way=self.gave_way and ending.outcome is Outcome.UNDONE,
            )
        )

    async def _report(self, ending: Ending, located: Located, reason: str) -> None:
        info = workflow.info()
        self.begin("conclude", REPORT_S)
        wanted = ReportInput(
            operation=info.workflow_id,
            run_id=info.first_execution_run_id,
            runbook=self.runbook,
            deployment=self._asked.deployment,
            fleet_digest=located.fleet_digest,
            requested_by=self._asked.requested_by,
            reason=reason,
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
            verdict=self.verdict,
            drill=self.drill_facts,
            game_day=self.game_day,
            drills=self.drills_facts,
            review=self.review,
            commands=ending.next_commands,
            undelivered=self.bell.undelivered,
        )
        try:
            fact = await self.calls.control(contracts.write_report, wanted, deadline_s=REPORT_S)
        except TidegateError as error:
            # Holding nothing, it must not wait for a person: a report that cannot be written is said, not insisted on.
            self.board.end("conclude", StepState.FAILED, workflow.now(), f"no report: {error.message}")
            return
        self.report_key = fact.key
        self.ok("conclude", fact.key)

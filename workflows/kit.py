"""Where an operation stands: what it knows and holds, what a person sees of it, pausing and halting.

All runbooks that hold a deployment share it; those that hold none share `unheld`. What happens before anything is
changed is in `preparing`, how an operation ends in `concluding`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.model.inputs import Input, RunbookInput
    from tidegate.model.operation import Observation, OperationStatus, Phase, Plan, StepState, Verdict
    from tidegate.model.recovery import FailoverFacts
    from tidegate.model.steps import (
        EnsureFact,
        HaltInput,
        Held,
        Located,
        ProveFact,
        StepInput,
        SwitchFact,
    )
    from tidegate.temporal import search_attributes
    from tidegate.temporal.errors import to_application_error
    from workflows.board import Board
    from workflows.calls import Aborted, Calls
    from workflows.controls import Controls
    from workflows.ending import Ending
    from workflows.notices import Bell
    from workflows.shown import Shown

HALT_S = 60.0

T = TypeVar("T")
Given = TypeVar("Given", bound=Input)


class Standing(Controls, Shown):
    """One run of a runbook on a deployment: what it knows and holds, where it stands, what a person sees of it."""

    region: str | None = None
    """Where it shall act, if that was asked for; None: where the deployment lives."""

    def __init__(self, request: RunbookInput, target: str | None) -> None:
        """``target`` is the name of the artifact that shall run; None: the record knows which."""
        super().__init__(request)
        self.target = target
        self.calls = Calls(changed=self.show, aborting=lambda: self.abort_requested is not None)
        self.board = Board(["observe"])
        self.bell = Bell()
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
        self.failover_facts: FailoverFacts | None = None
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

    def enter(self, phase: Phase) -> None:
        """The operation stands here now."""
        if phase is not self.phase:
            self.phase = phase
            workflow.upsert_search_attributes([search_attributes.PHASE.value_set(phase.value)])
        self.show()
        self.bell.look(self.status(), group=self.group)

    async def safe_point(self) -> None:
        """Where a pause takes hold and an abort leaves.

        Raises:
            Aborted: a person wants to go back.

        """
        if self.pause_requested and self.abort_requested is None:
            before = self.phase
            self.waiting_for = "resume or abort"
            self.next_commands = self._ops(*self.ways_on())
            self.enter(Phase.PAUSED)
            await workflow.wait_condition(
                lambda: not self.pause_requested or self.abort_requested is not None, timeout_summary="paused"
            )
            self.pause_requested, self.waiting_for, self.next_commands = False, "", ()
            self.enter(before)
        if self.abort_requested is not None:
            raise Aborted

    # -- halting

    async def stand_halted(self, why: str) -> str:
        """Hold what is held and do nothing, until a person says how to go on (O9): ``resume`` or ``abort``.

        Raises:
            Superseded: another operation has taken the deployment over meanwhile.

        """
        self.decision = None
        self.why = why
        self.waiting_for = "a person"
        self.next_commands = self._ops(*self.ways_on())
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

    def ways_on(self) -> tuple[str, ...]:
        """The controls by which a person has it go on from where it waits for one."""
        return ("resume",) if self.too_late else ("resume", "abort")

    # -- small things

    @property
    def place(self) -> Located:
        """Where the deployment lives; known after observe."""
        return known(self.located)

    @property
    def seen(self) -> Observation:
        """The latest observation."""
        return known(self.observation)

    @property
    def fixed_plan(self) -> Plan:
        """The plan; known after make_plan."""
        return known(self.plan)

    @property
    def claim(self) -> Held:
        """What this operation holds; known after take."""
        return known(self.held)

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


def known(value: T | None) -> T:
    """What must be known by now. Raises RuntimeError if a step ran out of order."""
    if value is None:
        raise RuntimeError("a step ran out of order")
    return value

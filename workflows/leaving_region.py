"""Leaving a region: planned, given up, or going back to it. The half of a failover that is about where it ran.

Until the topics have turned and the other region has committed, all can be put back as it was (X24).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.failover.unfinished import finish_command
    from tidegate.model.failover import (
        Answers,
        CutFact,
        CutInput,
        FailoverInput,
        FailoverStep,
        HomeFact,
        OpenFact,
        RegionsSeen,
        ShutInput,
    )
    from tidegate.model.inputs import ControlInput
    from tidegate.model.operation import Outcome, Phase, StepState
    from tidegate.model.ship import ShipStep
    from tidegate.model.steps import EnsureInput, Located, ObserveInput, StartFact, StopFact, StopJobInput
    from workflows import facts, failover_facts
    from workflows.calls import Aborted, Calls
    from workflows.controls import aborted_by, refuse
    from workflows.ending import Ending
    from workflows.kit import known, with_hint
    from workflows.preparing import OBSERVE_S
    from workflows.running import BACK_BAKE_S, ENSURE_S, RunningOperation

CLOSE_S = 180.0
SHUT_S = 600.0
CUT_MARGIN_S = 180.0
SHIP_AHEAD_S = 300.0
SHIP_S = 3_600.0
OPEN_S = 180.0
BACK_S = 300.0
STOP_MARGIN_S = 300.0
StepT = TypeVar("StepT", bound="FailoverStep")
GATE_READ_BACK = "gate-read-back-20261128"
LOST_ONE_BACK = "what-a-lost-one-closed-20261128"
NO_RETURN = "too late: the region that was left is given up, and its topics live elsewhere (X24)"


class LeavingRegion(RunningOperation):
    """An operation that takes a deployment out of a region."""

    together: tuple[str, ...] = ()
    """Deployments that move with it."""

    def __init__(self, request: FailoverInput) -> None:
        super().__init__(request, target=None)
        self.request = request
        self.unplanned = request.unplanned
        self.escalated: str | None = None
        self.leaving = False
        """Steps 5 to 8 run, planned: an escalation stops the one that runs. Before them it is kept until they come."""
        self.home: Located | None = None
        self.away: Located | None = None
        self.regions: RegionsSeen | None = None
        self.stop_fact: StopFact | None = None
        self.home_fact: HomeFact | None = None
        self.answers: Answers | None = None
        """What of the region that is left is known to answer, or not; None: each step asks."""
        self.cut_fact: CutFact | None = None
        self.open_fact: OpenFact | None = None
        self.shipped = ""
        self.started: StartFact | None = None
        self.waiting_links: tuple[str, ...] = ()
        self.start_tried = False
        self.calls = Calls(
            changed=self.show, aborting=lambda: self.abort_requested is not None or self._leaves_at_once()
        )

    # -- one more control

    @workflow.update(description="Go on without the region that is left: what it does not answer is given up (X24).")
    def escalate(self, request: ControlInput) -> str:
        """From planned to unplanned, in mid-run."""
        self._escalate(aborted_by(request).replace("aborted", "escalated", 1))
        self.pause_requested = False
        return "goes on unplanned, from the newest recovery point"

    @escalate.validator
    def _may_escalate(self, request: ControlInput) -> None:
        if self.group is not None:
            refuse(
                f"{self.base.deployment} moves with others: it does not go on unplanned alone",
                f"abort all of them, and start anew with --unplanned:  tidegate ops abort {self.group}",
            )
        if self.unplanned or self.escalated is not None:
            return
        if self.held is None:
            refuse(
                f"nothing was begun yet: the operation is {self.phase}",
                f"abort it, and start it unplanned:  tidegate failover deployment {self.base.deployment} --unplanned",
            )
        if self.open_fact is not None or self.start_tried:
            refuse(f"nothing to escalate: {self.base.deployment} is started in the other region already")
        if self.too_late is not None:
            refuse(
                self.too_late,
                f"to give {self.left.region} up all the same:  tidegate failover deployment {self.base.deployment} "
                f"--unplanned --take-over --why TEXT",
            )

    def ways_on(self) -> tuple[str, ...]:
        """As for all; and, as long as nothing is started in the other region, without the one that is left."""
        begun = self.held is not None and self.open_fact is None and not self.start_tried
        may = begun and not self.unplanned and self.escalated is None and self.group is None and self.too_late is None
        return (*super().ways_on(), "escalate") if may else super().ways_on()

    def _escalate(self, why: str) -> None:
        self.escalated = self.escalated or why
        if self.phase is Phase.HALTED:
            self.decision = self.decision or "escalate"

    # -- leaving the region, planned

    async def leave_planned(self) -> Ending | None:
        """Steps 5 to 8. None: it goes on, planned or, if it was escalated, not. Else all is as it was, or halted."""
        if self._is_escalated():
            self._goes_on_unplanned()
            return None
        self.leaving = True
        deadline = asyncio.create_task(self._escalates_in(self.request.escalate_after_s))
        try:
            while True:
                self.enter(Phase.RUNNING)
                try:
                    await self._leave_planned()
                except errors.Superseded:
                    raise
                except Aborted:
                    if not self._is_escalated():
                        return await self.go_back(self.abort_requested or "aborted")
                    self._goes_on_unplanned()
                    return None
                except (errors.MustHalt, errors.Unavailable, errors.NoProgress) as error:
                    decision = "escalate" if self._is_escalated() else await self.stand_halted(with_hint(error))
                    if decision == "escalate":
                        self._goes_on_unplanned()
                        return None
                    if decision == "abort":
                        return await self.go_back(f"{self.abort_requested or 'aborted'} (after: {error.message})")
                except TidegateError as error:
                    return await self.go_back(with_hint(error))
                else:
                    self.escalated = None  # through with that region all the same: nothing is given up
                    return None
        finally:
            self.leaving = False
            deadline.cancel()

    async def _leave_planned(self) -> None:
        if not self.board.has_begun("ship"):
            await self._ship_ahead()
        await self.safe_point()
        # WARNING: no input is taken from here on, until step 10 opens the producers in the other region.
        self.acted_at = self.acted_at or workflow.now()
        self.begin("close", CLOSE_S)
        shut = await self.calls.control(
            contracts.close_producers, self._step(FailoverStep), deadline_s=CLOSE_S, interruptible=True
        )
        self.ok("close", failover_facts.closed(shut))
        await self._escape()
        await self._stop()
        await self._escape()
        deadline_s = self.request.drain_s + CUT_MARGIN_S
        self.begin("cut", deadline_s)
        wanted_cut = self._step(CutInput, ends=shut.ends, drain_s=self.request.drain_s)
        self.cut_fact = await self.calls.region(
            self.place.region, contracts.cut_over, wanted_cut, deadline_s=deadline_s, interruptible=True
        )
        self.ok("cut", failover_facts.cut(self.cut_fact))

    async def _stop(self) -> None:
        """Stop it with a savepoint, and ship that."""
        if self.stop_fact is None:
            # WARNING: nothing is processed from here on.
            deadline_s = self.left.switch_timeout_s + STOP_MARGIN_S
            self.begin("stop", deadline_s)
            wanted = StopJobInput(
                held=self.claim, fleet_digest=self.place.fleet_digest, at=self.left.at, n=self.next_n()
            )
            self.stop_fact = await self.calls.region(
                self.left.region, contracts.stop_deployment, wanted, deadline_s=deadline_s, interruptible=True
            )
            self.ok("stop", facts.stopped(self.stop_fact))
        await self._ship(self.stop_fact.location, SHIP_S)

    async def _ship_ahead(self) -> None:
        """What it has in common with the savepoint of the stop is there then: the gap is shorter."""
        self.begin("ship", SHIP_AHEAD_S)
        try:
            fact = await self._ship(None, SHIP_AHEAD_S)
        except TidegateError as error:
            # Only time is lost: what the stop leaves is shipped all the same.
            self.ok("ship", f"nothing sent ahead: {error.message}")
        else:
            self.ok("ship", fact)

    async def _ship(self, snapshot: str | None, deadline_s: float) -> str:
        step = ShipStep(
            deployment=self.base.deployment,
            fleet_digest=self.place.fleet_digest,
            region=self.left.region,
            to=self.place.region,
            snapshot=snapshot,
        )
        fact = await self.calls.region(
            self.left.region, contracts.ship_snapshot, step, deadline_s=deadline_s, interruptible=True
        )
        self.shipped = fact.target
        return failover_facts.shipped(fact)

    async def _escape(self) -> None:
        """A safe point; an escalation leaves here, too."""
        await self.safe_point()
        if self.escalated is not None:
            raise Aborted

    async def _escalates_in(self, seconds: float | None) -> None:
        if seconds is None:
            return
        await workflow.sleep(seconds, summary="escalate")
        if self.cut_fact is None and self.too_late is None:
            self._escalate(f"not through with {self.left.region} in {seconds:g} s")

    def _is_escalated(self) -> bool:
        return self.escalated is not None

    def _leaves_at_once(self) -> bool:
        return self.leaving and self._is_escalated()

    def _gives_up(self) -> bool:
        """Whether it is planned without the region that is left. What was approved stays as it was."""
        return self.unplanned or (self._is_escalated() and self.approval is None)

    def _goes_on_unplanned(self) -> None:
        self.unplanned = True
        why, self.escalated = self.escalated, None
        self.why = why or ""
        self.board.end_running(StepState.FAILED, workflow.now(), self.why)
        start = f"start {self.fixed_plan.to_artifact.name}"
        groups = ["groups"] if self.both.groups else []
        self.board.replan(["close", "shut", "cut", start, *groups, "open", "prove", "mirror", "conclude"])
        self.enter(Phase.RUNNING)

    # -- leaving the region, unplanned

    async def leave_unplanned(self) -> None:
        """Steps 5 to 7, as far as the other region can be reached. Done again, it goes on where it stands."""
        self.too_late = NO_RETURN
        self.acted_at = self.acted_at or workflow.now()
        self.begin("close", CLOSE_S)
        shut = await self.calls.control(contracts.close_producers, self._step(FailoverStep), deadline_s=CLOSE_S)
        self.ok("close", failover_facts.closed(shut))
        self.begin("shut", SHUT_S)
        wanted = self._step(ShutInput, drain_s=min(self.request.drain_s, 30.0), point=self.request.point)
        self.home_fact = await self.calls.region(self.place.region, contracts.shut_home, wanted, deadline_s=SHUT_S)
        self.ok("shut", failover_facts.given_up(self.home_fact))
        self.shipped = self.home_fact.snapshot
        self.begin("cut", CUT_MARGIN_S)
        self.cut_fact = await self.calls.region(
            self.place.region, contracts.cut_over, self._step(CutInput), deadline_s=CUT_MARGIN_S
        )
        self.ok("cut", failover_facts.cut(self.cut_fact))

    # -- the way back

    async def go_back(self, why: str) -> Ending:
        """All is as it was: the job runs where it ran, producers are let in there, the mirror runs."""
        self.why, self.too_late = why, f"{self.base.deployment} is being put back"
        while True:
            self.enter(Phase.UNDOING)
            self.board.end_running(StepState.FAILED, workflow.now(), why)
            try:
                return await self._go_back(why)
            except errors.Superseded:
                raise
            except TidegateError as error:
                self.board.end_running(StepState.FAILED, workflow.now(), error.message)
                await self.stand_halted(with_hint(error))

    async def _go_back(self, why: str) -> Ending:
        artifact, ran = self.fixed_plan.to_artifact, self.seen.record.writer
        old = replace(
            self.goal(artifact, bake_s=min(self.request.bake_s, BACK_BAKE_S)),
            parallelism=ran.parallelism if ran is not None else self.seen.parallelism,
        )
        if self.start_tried:
            self.begin("stop", ENSURE_S)
            nothing = EnsureInput(
                held=self.claim,
                fleet_digest=self.place.fleet_digest,
                at=self.there.at,
                n=self.next_n(),
                artifact=artifact,
                parallelism=old.parallelism,
            )
            await self.calls.region(self.there.region, contracts.ensure_stopped, nothing, deadline_s=ENSURE_S)
            asked = ObserveInput(deployment=self.base.deployment, fleet_digest=self.place.fleet_digest, by_record=True)
            lives = await self.calls.control(contracts.locate, asked, deadline_s=OBSERVE_S)
            if lives.region != self.left.region:
                raise errors.MustHalt(
                    f"{self.base.deployment} has committed in {lives.region}: there is no way back to "
                    f"{self.left.region} but a failback (X24)",
                    # Not a restore: that would leave the topics closed.
                    hint=f"go on there, and open its topics:  {finish_command(self.base.deployment, lives.region)}",
                )
            self.ok("stop", f"nothing of it runs in {self.there.region}, nor has it committed there")
        if self.acted_at is not None or self._from_a_lost_one():
            self.acted_at = self.acted_at or workflow.now()
            await self._reopen()
        # From here on it is all about the region where it ran: the proof, the audit, the report.
        self.located = self.left
        started = await self._ensure(old, interruptible=False)
        await self._prove(old, started, interruptible=False)
        await self._hold_gate()
        fact = self.ensure_fact
        untouched = fact is not None and fact.was_running
        since = f"since {facts.clock(started.running_at)}"
        words = "runs on, untouched" if untouched else f"runs again {since}, from {started.snapshot}"
        return Ending(Outcome.UNDONE, f"{artifact.name} {words} in {self.left.at}, epoch {started.epoch}", why=why)

    def _from_a_lost_one(self) -> bool:
        """Whether what one before it may have closed, and stopped, is put back though this one has not acted yet."""
        may = not self.unplanned and self.request.take_over is not None
        return may and workflow.patched(LOST_ONE_BACK)

    async def _reopen(self) -> None:
        self.begin("reopen", BACK_S)
        await self.calls.control(contracts.reopen_home, self._step(FailoverStep), deadline_s=BACK_S)
        self.ok("reopen", f"producers write in {self.left.region} again, and the mirror brings it")

    async def _hold_gate(self) -> None:
        """What an attempt at closing has sent may have come after the reopening: producers would stay shut out."""
        closed = self.acted_at is not None or self.group is not None
        if not closed or not workflow.patched(GATE_READ_BACK):
            return
        self.begin("gate", BACK_S)
        fact = await self.calls.control(contracts.hold_gate, self._step(FailoverStep), deadline_s=BACK_S)
        self.ok("gate", "; ".join(fact.notes) or "read back: as it shall be")

    async def insisting(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do it; while it cannot be done, stand halted: there is no way back."""
        while True:
            try:
                await act()
            except errors.Superseded:
                raise
            except TidegateError as error:
                self.board.end_running(StepState.FAILED, workflow.now(), error.message)
                await self.stand_halted(with_hint(error))
                self.enter(Phase.RUNNING)
                self.answers = None  # what answered then may not now, and the other way round
            else:
                return

    def _step(self, kind: type[StepT], **fields: object) -> StepT:
        return kind(
            held=self.claim,
            fleet_digest=self.place.fleet_digest,
            n=self.next_n(),
            at=self.there.at,
            home=self.left.at,
            topics=self.both.topics,
            unplanned=self.unplanned,
            take_over=self.request.take_over is not None,
            answers=self.answers,
            **fields,
        )

    @property
    def left(self) -> Located:
        """Where it ran; known after observe."""
        return known(self.home)

    @property
    def there(self) -> Located:
        """Where it goes on; known after observe."""
        return known(self.away)

    @property
    def both(self) -> RegionsSeen:
        """What both regions said; known after observe."""
        return known(self.regions)

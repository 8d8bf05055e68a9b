"""What people and members say to a region's failover, and what its families need of it (`family_members.Host`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tidegate import errors
    from tidegate.errors import TidegateError
    from tidegate.model.inputs import ControlInput
    from tidegate.model.operation import MemberResult, OperationStatus, Outcome, Phase, StepState
    from tidegate.model.region import FailoverRegionInput, GroupSeen, MemberReached, Room
    from workflows import failover_facts
    from workflows.calls import Aborted, Calls
    from workflows.controls import aborted_by, refuse
    from workflows.family import FamilyMove
    from workflows.kit import known, with_hint
    from workflows.unheld import Unheld

T = TypeVar("T")


class RegionControls(Unheld):
    """One run: what was asked, who is on the way, who needs a person."""

    def __init__(self, request: FailoverRegionInput) -> None:
        self.request = request
        super().__init__(request, ("observe",), reason=request.reason)
        self.look: GroupSeen | None = None
        self.room: Room | None = None
        self.families: list[FamilyMove] = []
        self.waits: list[str] = []
        """Members for which there is no room yet."""
        self.halted: dict[str, str] = {}
        """Who needs a person, and why."""
        self.resumed = 0
        self.escalated: str | None = None
        """Why it goes on unplanned though it was begun as planned."""
        self._start_queue, self._ready_queue = asyncio.Lock(), asyncio.Lock()
        self.calls = Calls(
            changed=self.show, aborting=lambda: self.abort_requested is not None or self.escalated is not None
        )

    # -- what people and members say

    @workflow.signal(description="A member says how far it has come.")
    def reached(self, told: MemberReached) -> None:
        """Its family goes on by it."""
        for family in self.families:
            if told.deployment in family.members:
                family.reached(told)

    @workflow.update(description="Go back: what has not turned yet stays where it is, or runs there again.")
    def abort(self, request: ControlInput) -> str:
        """Families whose topics have turned go on: for them there is no way back but a failback (X24)."""
        self.stop(request)
        return "what has not turned goes back, the rest goes on to its end"

    @abort.validator
    def _may_abort(self, request: ControlInput) -> None:
        self.refuse_if_ended(request)
        if self.abort_requested is None and not self.waits and self.families and all(f.turned for f in self.families):
            refuse(
                f"too late for {request.by}: every topic has turned to {self.request.to} (X24)",
                f"once it is done, the way back is:  tidegate failover region {self.request.to} "
                f"--to {self.request.region}",
            )

    @workflow.update(description="Try again what this operation could not do; a member has a resume of its own.")
    def resume(self, request: ControlInput) -> str:
        """After a halt."""
        self.resumed += 1
        return f"tries again, asked by {request.by}"

    @resume.validator
    def _may_resume(self, request: ControlInput) -> None:
        if self.phase is not Phase.HALTED:
            refuse(f"nothing to resume for {request.by}: the operation is {self.phase}")

    @workflow.update(description="Go on without the region that is left: what it does not answer is given up (X24).")
    def escalate(self, request: ControlInput) -> str:
        """Families whose topics have not turned go on unplanned, all of their members together."""
        self._escalate(aborted_by(request).replace("aborted", "escalated", 1))
        return "what has not turned goes on unplanned, from the newest recovery points"

    @escalate.validator
    def _may_escalate(self, request: ControlInput) -> None:
        self.refuse_if_ended(request)
        if self.unplanned:
            return
        if self.abort_requested is not None:
            refuse(f"abort was asked first: {self.abort_requested}")
        if not self.families:
            refuse(
                "nothing was begun yet",
                f"abort it, and start it unplanned:  tidegate failover region {self.request.region} "
                f"--to {self.request.to} --unplanned",
            )
        if not any(family.may_escalate for family in self.families):
            refuse(f"nothing to escalate: every topic has turned to {self.request.to}")

    def _can_escalate(self) -> bool:
        turning = any(family.may_escalate for family in self.families)
        return turning and not self.unplanned and self.abort_requested is None

    def _escalate(self, why: str) -> None:
        self.escalated = self.escalated or why
        self.resumed += 1

    @property
    def unplanned(self) -> bool:
        """Whether the region that is left is given up."""
        return self.request.unplanned or self.escalated is not None

    @workflow.query(description="Where the operation stands: its steps, what runs, what it waits for.")
    def status(self) -> OperationStatus:
        """As for all, and who needs a person or waits for room."""
        words = [*self.halted.values()]
        if self.waits:
            words.append(f"slots in {self.request.to} for {', '.join(self.waits)}")
        told = super().status()
        if self.ending is not None:
            return told
        update: dict[str, object] = {"waiting_for": "; ".join(words)}
        if self.phase is Phase.HALTED:
            ways = ("resume", "escalate") if self._can_escalate() else ("resume",)
            commands = tuple(f"tidegate ops {way} {told.operation}" for way in ways)
            update |= {"why": "; ".join(words), "next_commands": commands}
        return told.model_copy(update=update)

    # -- what a family needs (workflows.family_members.Host)

    @property
    def group_seen(self) -> GroupSeen:
        """What was seen of both regions; known after observe."""
        return known(self.look)

    def parallelism(self, deployment: str) -> int | None:
        """With how many subtasks it shall run there; None: as in the fleet file."""
        return known(self.room).parallelism.get(deployment)

    async def wait_for_room(self, early: Callable[[], bool]) -> None:
        """Wait until one more may be on its way. ``early``: whether it is made ready only, while others start.

        Whoever waits is in a queue: with a thousand, a look at all members for each that waits would take too long.
        Those whose turn to start has come have one of their own, as the others may wait for them.
        """
        async with self._ready_queue if early() else self._start_queue:
            await workflow.wait_condition(lambda: self.has_room(early=early()))

    def has_room(self, members: int = 1, *, early: bool = False) -> bool:
        """Whether so many more may be on their way."""
        there = sum(family.on_their_way(early=early) for family in self.families)
        return there == 0 or there + members <= self.request.at_once

    def failed(self, step: str, why: str) -> None:
        """The step is not done. One that has not begun, or has ended, stays as it is."""
        self.board.end(step, StepState.FAILED, workflow.now(), why)
        self.show()

    def has_ended(self, result: MemberResult) -> None:
        """It has ended for a deployment."""
        state = StepState.OK if result.outcome is Outcome.DONE else StepState.FAILED
        self.board.end(result.deployment, state, workflow.now(), failover_facts.member(result))
        self.show()

    def needs_a_person(self, who: str, why: str | None) -> None:
        """Somebody stands halted; None: no more."""
        if why is None:
            self.halted.pop(who, None)
        else:
            self.halted[who] = why
        self.show()

    async def insist(self, step: str, act: Callable[[], Awaitable[T]]) -> T:
        """Do it; while it cannot be done, stand halted until a person has it tried again. Raises Superseded."""
        while True:
            try:
                return await act()
            except errors.Superseded:
                raise
            except (TidegateError, Aborted) as error:
                why = with_hint(error) if isinstance(error, TidegateError) else "stopped"
                before = self.resumed
                self.failed(step, why)
                self.needs_a_person(step, f"{step}: {why}")
                self.phase = Phase.HALTED
                self._found()
                await workflow.wait_condition(partial(self._resumed_since, before), timeout_summary="halted")
                self.needs_a_person(step, None)
                self.phase = Phase.RUNNING
                self._found()

    def _resumed_since(self, before: int) -> bool:
        return self.resumed > before

    def _found(self) -> None:
        self.upsert_phase()
        self.show()

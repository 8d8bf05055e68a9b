"""A game day as people see and control it: its controls, what is known of it, where everything is, and halting.

What it does, in order, is in `game_day`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate.drill.rules import slim, union
    from tidegate.errors import TidegateError
    from tidegate.model.gameday import GameDayFacts, GameDayInput, Trip, Way
    from tidegate.model.gamedaysteps import GameDaySeen, Stands, WhereInput
    from tidegate.model.inputs import ControlInput
    from tidegate.model.operation import OperationStatus, Outcome, Phase
    from workflows.calls import Calls
    from workflows.controls import refuse
    from workflows.game_day_ways import WayOf
    from workflows.kit import known, with_hint
    from workflows.unheld import OBSERVE_S, Unheld

LOOK_AGAIN_S, LOOK_AGAIN_MOST_S = 30.0, 3_600.0
"""How soon it is looked whether a person has brought them back by hand; each time twice as late, up to this."""
T = TypeVar("T")


class SomebodyElse(Exception):
    """Another operation moved or restarted one of them: nothing more is done to it."""


class PlayedGameDay(Unheld):
    """One game day: what it knows and what a person can do with it."""

    def __init__(self, request: GameDayInput, steps: tuple[str, ...]) -> None:
        self.request = request
        super().__init__(request, steps, reason=request.reason)
        self.seen: GameDaySeen | None = None
        self.way: WayOf | None = None
        """The failover that is under way."""
        self.going_back = False
        self.resumed = 0
        self.halted_for: str | None = None
        self.comes_up = ""
        """What is waited for before the way back."""
        self.guarding = Calls(changed=self.show, aborting=lambda: self.stops or self.way is None)
        """The watch beside a failover; it ends with it."""
        self.game_day = GameDayFacts(
            region=request.region,
            to=request.to,
            deployments=request.deployments,
            rules=request.rules,
            stay_s=request.stay_s,
        )

    # -- what people say and see

    @workflow.update(description="Stop, and go back from wherever it stands: what has turned comes back by a failback.")
    def abort(self, request: ControlInput) -> str:
        """The one command that stops and goes back."""
        self.stop(request)
        if self.halted_for is not None:
            self.resumed += 1
            return "the way back is tried again"
        if self.going_back:
            return "it is on its way back already"
        if self.way is not None:
            return "goes back: what has not turned stays where it is, what has turned comes back when it runs there"
        return f"goes back to {self.request.region}"

    @abort.validator
    def _may_abort(self, request: ControlInput) -> None:
        self.refuse_if_ended(request)

    @workflow.update(description="After a halt: try the way back again.")
    def resume(self, request: ControlInput) -> str:
        """Also if they were brought back by hand: it looks first."""
        self.resumed += 1
        return f"tries again, asked by {request.by}"

    @resume.validator
    def _may_resume(self, request: ControlInput) -> None:
        if self.halted_for is None:
            refuse(f"nothing to resume for {request.by}: the operation is {self.phase}")

    @workflow.query(description="Where the operation stands: its steps, what runs, what it waits for.")
    def status(self) -> OperationStatus:
        """As for all, and which failover is under way."""
        told = super().status()
        if self.ending is not None:
            return told
        update: dict[str, object] = {"activity": told.activity or self.guarding.running}
        if self.comes_up:
            update["waiting_for"] = f"{self.comes_up}: it is stopped with a savepoint once it runs"
        if self.way is not None:
            update["waiting_for"] = f"{self.way.operation}:  tidegate ops watch {self.way.operation}"
        if self.halted_for is not None:
            update |= {"why": self.halted_for, "waiting_for": "a person", "next_commands": self._ways_on()}
        return told.model_copy(update=update)

    def _ways_on(self) -> tuple[str, ...]:
        return (f"tidegate ops resume {workflow.info().workflow_id}", *self._by_hand())

    @property
    def stops(self) -> bool:
        """Whether it goes back now, for whatever reason."""
        return self.abort_requested is not None or self._facts.stopped is not None

    # -- where they are

    async def _where(self) -> Stands:
        """Where each of them is. While nobody can say it is asked again: nothing may be done on a guess."""
        seen = known(self.seen)
        asked = WhereInput(fleet_digest=seen.fleet_digest, members=seen.members, topics=seen.topics, links=seen.links)

        async def ask() -> Stands:
            return await self.calls.control(contracts.where_game_day, asked, deadline_s=OBSERVE_S)

        return await self._insist("look where they are", ask)

    async def _insist(self, what: str, act: Callable[[], Awaitable[T]]) -> T:
        before, phase = self.halted_for, self.phase
        while True:
            try:
                found = await act()
            except TidegateError as error:
                self.halted_for = before or f"cannot {what}: {with_hint(error)}"
                self.phase = Phase.HALTED
                self.upsert_phase()
                seen = self.resumed
                await self._rest(LOOK_AGAIN_S, lambda seen=seen: self.resumed > seen)  # type: ignore[misc]
                continue
            if self.phase is not phase:
                self.halted_for, self.phase = before, phase
                self.upsert_phase()
                self.show()
            return found

    async def _stand_halted(self, why: str, ends_at: datetime) -> bool:
        """Until a person has it tried again, or has brought them back by hand. False: that took too long."""
        self.halted_for = why
        before, again_s = self.resumed, LOOK_AGAIN_S
        self.phase = Phase.HALTED
        self.upsert_phase()
        try:
            while workflow.now() < ends_at:
                await self._rest(again_s, lambda: self.resumed > before)
                again_s = min(2 * again_s, LOOK_AGAIN_MOST_S)
                if self.resumed > before or not (await self._where()).of(self.request.to):
                    return True
            return False
        finally:
            self.halted_for = None
            self.phase = Phase.UNDOING
            self.upsert_phase()
            self.show()

    # -- small things

    @property
    def _facts(self) -> GameDayFacts:
        return known(self.game_day)

    def _tell(self, **update: object) -> None:
        self.game_day = self._facts.model_copy(update=update)

    def _note(self, text: str) -> None:
        self._tell(notes=(*self._facts.notes, text))

    def _trip(self, trip: Trip, *, stops: bool = True) -> None:
        """A rule is broken. The first reason to stop is the one that is told."""
        self._tell(trips=(*self._facts.trips, trip))
        if stops and not self.stops:
            self._tell(stopped=trip.text)
        self.show()

    def _stop_if_asked(self) -> None:
        if self.abort_requested is not None and self._facts.stopped is None:
            self._tell(stopped=self.abort_requested)

    def _why(self) -> str:
        return self.abort_requested or self._facts.stopped or "stopped"

    def _refuse_if_taken(self, stands: Stands) -> None:
        """Raises SomebodyElse: one of them lives in neither of the two regions."""
        lost = [one for one in stands.stands if one.region not in {self.request.region, self.request.to}]
        if lost:
            raise SomebodyElse(f"{lost[0].text}: neither in {self.request.region} nor in {self.request.to}")

    @staticmethod
    def _refuse_if_superseded(way: Way) -> None:
        """Raises SomebodyElse: another operation has taken one of them over on its way."""
        taken = next((one for one in way.members if one.outcome is Outcome.SUPERSEDED), None)
        if taken is not None:
            raise SomebodyElse(f"{taken.deployment} was taken over: {taken.why or taken.summary}")

    async def _rest(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        try:
            await workflow.wait_condition(until, timeout=timedelta(seconds=seconds), timeout_summary="again")
        except TimeoutError:
            return

    def _by_hand(self) -> tuple[str, ...]:
        names = " ".join(f"--deployment {name}" for name in self._facts.deployments)
        return (f"tidegate failover region {self.request.to} --to {self.request.region} {names}",)

    def _settle(self, stands: Stands | None = None) -> None:
        """What is told of all of it: members, verdict, where they are."""
        if stands is not None:
            self._tell(stands=tuple(one.text for one in stands.stands))
        ways = [one for one in (self._facts.there, *self._facts.back) if one is not None]
        self.verdict = union(ways)
        last = {member.deployment: member for way in ways for member in way.members}
        self.members = tuple(last.values())


def in_short(way: Way) -> Way:
    """For the report: without what stands in the members' own reports."""
    return way.model_copy(update={"members": tuple(slim(one) for one in way.members)})

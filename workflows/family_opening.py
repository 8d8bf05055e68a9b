"""Where a family goes on: its topics are opened as its members come to run there, and each is told when its own are.

What comes before, until the topics have turned, is in `family`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate.errors import Superseded
    from tidegate.model.region import Family, GoOn, GroupOpenInput, GroupStep, Stage
    from workflows import failover_facts
    from workflows.family_members import FamilyMembers, Host
    from workflows.leaving_region import OPEN_S

StepT = TypeVar("StepT", bound="GroupStep")


class FamilyOpening(FamilyMembers):
    """One family that has turned."""

    def __init__(self, host: Host, family: Family, *, only: bool) -> None:
        """``only``: there is no other; its steps need no name of their own."""
        super().__init__(host, family)
        self.opened: set[str] = set()
        self.settled = False
        """Its members run there, or go back: the next tier may begin."""
        self._of = "" if only else f" {(*family.members, *family.done)[0]}"
        self._serving: asyncio.Task[None] | None = None
        self._due: set[str] = set()
        """Members whose turn to start has come."""
        self._as_a_whole: set[str] = set()
        """Members that are begun together, as one that fails has all of them go back."""
        self._let_go: set[str] = set()
        """Members that were told that their topics are open."""
        self._let_leave: set[str] = set()
        """Members that were told that their topics have turned: they go on as they are."""
        self._turned_topics: set[str] = set()

    async def _after_the_turn(self, act: Callable[[], Awaitable[None]]) -> None:
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        try:
            await act()
        except Superseded as error:
            await self._lost(error)
        finally:
            self.settled = True

    async def _lost(self, error: Superseded) -> None:
        """The topics are another operation's now. Nobody waits for this one: each finds out what it still has."""
        self.notes.append(error.message)
        for stage in (Stage.LEFT, Stage.STARTED):
            await self._let(self.begun, GoOn(stage=stage))
        self._let_go |= self.begun

    async def _serve(self) -> None:
        """Open topics as members come to run there, and tell each that its own are open."""
        try:
            while not self._is_over():
                await workflow.wait_condition(
                    lambda: self._is_over() or self._escalates() or bool(self._to_open() or self._to_let())
                )
                if self._escalates():
                    await self._escalate()
                topics = self._to_open()
                if topics:
                    step = f"open{self._of}"
                    await self._host.insist(step, partial(self._open, step, topics))
                names = self._to_let()
                await self._let(names, GoOn(stage=Stage.STARTED))
                self._let_go |= set(names)
        except Superseded as error:
            await self._lost(error)

    def _escalates(self) -> bool:
        """Whether those that share links with what has moved were to go on as planned, and shall not any more."""
        return self.family.no_return and not self._unplanned and self._host.escalated is not None

    async def _escalate(self) -> None:
        self._unplanned = True
        late = {name for name in self.begun - self._let_leave if self.members[name].unfinished is None}
        for name in late:
            self.stages[name] -= {Stage.LEFT, Stage.HALTED}
        await self._each(late, "escalate_together", self._host.escalated or "")

    def on_their_way(self, *, early: bool) -> int:
        """How many of its members are not settled yet; with those that wait for their turn to start (``early``)."""
        if self.settled:
            return 0
        mine = self.begun if early else self.begun & self._due
        return sum(not self._is_settled(name) for name in mine | self._as_a_whole)

    def _is_over(self) -> bool:
        return bool(self.begun) and self.begun <= set(self.results) and not self._to_open()

    async def _settle(self, names: Collection[str]) -> None:
        """These run there on topics that are open, or have ended, or need a person."""
        await workflow.wait_condition(
            lambda: all(
                name in self._let_go or name in self.results or Stage.HALTED in self.stages[name] for name in names
            )
        )

    def _to_let(self) -> list[str]:
        waiting = [name for name in sorted(self.begun - self._let_go) if Stage.STARTED in self.stages[name]]
        return [name for name in waiting if name not in self.results and self._own(name) <= self.opened]

    def _own(self, name: str) -> set[str]:
        """What a member waits for: its outputs, and what producers write for it."""
        written = {topic for one in self.members.values() for topic in one.writes}
        member = self.members[name]
        return (set(member.writes) | set(member.reads) - written) & set(self.family.topics.turn)

    def _to_open(self) -> tuple[str, ...]:
        known = [topic for topic in self.family.topics.turn if topic in self._turned_topics - self.opened]
        return tuple(topic for topic in known if self._may_open(topic))

    def _may_open(self, topic: str) -> bool:
        """An output once its writer runs: what comes again of it is known then. An input once the first of its readers
        is settled, or if none is due: what matters most waits for nobody, producers wait for no slots, and
        there is no way back for the others in any case.
        """
        writers = [name for name, one in self.members.items() if topic in one.writes]
        readers = [name for name, one in self.members.items() if topic in one.reads]
        if writers:
            return all(self._at(name, Stage.STARTED) for name in writers)
        return self._due.isdisjoint(readers) or any(self._is_settled(name) for name in readers)

    async def _open(self, step: str, topics: tuple[str, ...]) -> None:
        self._host.begin(step, OPEN_S)
        ranges = tuple(one for found in self.superseded.values() for one in found if one.topic in topics)
        wanted = self._step(GroupOpenInput, open=topics, superseded=ranges)
        fact = await self._host.calls.region(self._host.request.to, contracts.open_group, wanted, deadline_s=OPEN_S)
        self.opened |= set(topics)
        self._host.ok(step, failover_facts.opened(fact))

    def _step(self, kind: type[StepT], **fields: object) -> StepT:
        seen = self._host.group_seen
        ended = tuple(one for one in seen.done if one.deployment in self.family.done)
        return kind(
            holder=seen.holder,
            fleet_digest=seen.fleet_digest,
            members=tuple(self.members.values()) or ended,
            topics=self.family.topics,
            unplanned=self._unplanned or self.family.no_return,
            take_over=self._host.request.take_over is not None,
            # Escalated, what was seen is no longer so: it is asked again.
            answers=seen.home if self._host.request.unplanned else None,
            **fields,
        )

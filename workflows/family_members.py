"""The members of a family on their way: each is a FailoverMember of its own, that is begun, listened to and told.

What they share, and when each may go on, is in `family`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Protocol, TypeVar

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from tidegate.model.operation import MemberResult, Outcome, ReplayRange
    from tidegate.model.region import (
        FailoverRegionInput,
        Family,
        GoOn,
        GroupSeen,
        Member,
        MemberInput,
        MemberReached,
        Stage,
    )
    from workflows.calls import Calls
    from workflows.failover_member import FailoverMember
    from workflows.members import operation_of, result_of

T = TypeVar("T")


class Host(Protocol):
    """The operation that moves the region, as a family sees it."""

    calls: Calls
    request: FailoverRegionInput
    abort_requested: str | None
    escalated: str | None

    @property
    def group_seen(self) -> GroupSeen:
        """What was seen of both regions."""

    def parallelism(self, deployment: str) -> int | None:
        """With how many subtasks it shall run there; None: as in the fleet file."""

    async def wait_for_room(self, early: Callable[[], bool]) -> None:
        """Wait until one more may be on its way. ``early``: whether it is made ready only, while others start."""

    def has_room(self, members: int = 1, *, early: bool = False) -> bool:
        """Whether so many more may be on their way."""

    def begin(self, step: str, deadline_s: float | None = None) -> None:
        """The step runs now."""

    def ok(self, step: str, fact: str) -> None:
        """The step is done."""

    def failed(self, step: str, why: str) -> None:
        """The step is not done."""

    def needs_a_person(self, who: str, why: str | None) -> None:
        """Somebody stands halted; None: no more."""

    def has_ended(self, result: MemberResult) -> None:
        """It has ended for a deployment."""

    async def insist(self, step: str, act: Callable[[], Awaitable[T]]) -> T:
        """Do it; while it cannot be done, stand halted until a person has it tried again. Raises Superseded."""


class FamilyMembers:
    """One family: how far each of its members is, and what they are told."""

    def __init__(self, host: Host, family: Family) -> None:
        self.family = family
        self.members: dict[str, Member] = {name: host.group_seen.member(name) for name in family.members}
        self.stages: dict[str, set[Stage]] = {name: set() for name in family.members}
        self.results: dict[str, MemberResult] = {}
        self.superseded: dict[str, tuple[ReplayRange, ...]] = {}
        self.begun: set[str] = set()
        self._as_planned: set[str] = set()
        """Of these, the ones that were not told from the beginning that the region is given up."""
        self._again: set[str] = set()
        """Members that are begun a second time."""
        self.notes: list[str] = []
        self._host = host
        self._handles: dict[str, workflow.ChildWorkflowHandle[Any, Any]] = {}
        self._watching: list[asyncio.Task[None]] = []
        self._unplanned = host.request.unplanned
        self._why_back: str | None = None

    # -- what the members say

    def reached(self, told: MemberReached) -> None:
        """A member has come so far."""
        if told.stage is Stage.WANTS_BACK and self.family.no_return:
            # What it shares links with has moved for good: it waits until it is said to go on without that region.
            self.stages[told.deployment].add(Stage.HALTED)
            self._host.needs_a_person(
                told.deployment,
                f"{told.deployment} cannot go on as planned, and has no way back (X24): {told.why}; go on without "
                f"{self._host.request.region}:  tidegate ops escalate {workflow.info().workflow_id}",
            )
            return
        if told.stage is Stage.HALTED:
            self._host.needs_a_person(told.deployment, f"{told.deployment} stands halted: {told.why}")
        else:
            self._host.needs_a_person(told.deployment, None)
            self.stages[told.deployment].discard(Stage.HALTED)
        if told.stage is Stage.WANTS_BACK:
            self._why_back = self._why_back or f"{told.deployment}: {told.why}"
        if told.stage is Stage.STARTED:
            self.superseded[told.deployment] = told.superseded
        self.stages[told.deployment].add(told.stage)

    def _at(self, name: str, stage: Stage) -> bool:
        return stage in self.stages[name] or name in self.results

    def _is_settled(self, name: str) -> bool:
        return self._at(name, Stage.STARTED) or Stage.HALTED in self.stages[name]

    # -- what the members are told

    async def _begin(self, names: Iterable[str]) -> None:
        info, request = workflow.info(), self._host.request
        for name in names:
            member = self.members[name]
            wanted = MemberInput(
                deployment=name,
                to=request.to,
                group=info.workflow_id,
                together=(*self.family.members, *self.family.idle),
                unfinished=member.unfinished,
                unplanned=self._unplanned,
                drain_s=request.drain_s,
                detected_at=request.detected_at,
                asked_at=info.start_time,
                parallelism=self._host.parallelism(name),
                requested_by=request.requested_by,
                reason=request.reason,
                take_over=request.take_over,
                break_glass=request.break_glass,
                fleet_digest=self._host.group_seen.fleet_digest,
                bake_s=request.bake_s,
            )
            self._host.begin(name)
            self.begun.add(name)
            if not self._unplanned:
                self._as_planned.add(name)
            operation = operation_of("failover", name, *(("again",) if name in self._again else ()))
            # Left alone, not cancelled, if this one is terminated: only it knows whether the topics have turned.
            self._handles[name] = await workflow.start_child_workflow(
                FailoverMember.run,
                wanted,
                id=operation,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                static_summary=f"{member.home} -> {member.at}, with {info.workflow_id}",
            )
            self._watching.append(asyncio.create_task(self._watch(name, operation)))

    def _forget(self, names: Collection[str]) -> tuple[str, ...]:
        """Which of these ended where they were, begun as planned: they had not heard that it goes on unplanned.

        They are as if they had not been begun. Each is named once.
        """
        stayed = {Outcome.REFUSED, Outcome.UNDONE}
        again = tuple(
            name
            for name in names
            if name in self._as_planned & set(self.results) and self.results[name].outcome in stayed
        )
        for name in again:
            self._as_planned.discard(name)
            self._again.add(name)
            self.begun.discard(name)
            self.stages[name].clear()
            del self.results[name], self._handles[name]
        return again

    async def _watch(self, name: str, operation: str) -> None:
        self._ended(await result_of(name, operation, self._handles[name]))

    def _ended(self, result: MemberResult) -> None:
        self.results[result.deployment] = result
        self._host.needs_a_person(result.deployment, None)
        self._host.has_ended(result)

    async def _let(self, names: Iterable[str], word: GoOn) -> None:
        await self._each(names, "go_on", word)

    async def _each(self, names: Iterable[str], signal: str, argument: object) -> None:
        for name in sorted(names):
            if name in self.results or name not in self._handles:
                continue
            try:
                await self._handles[name].signal(signal, argument)
            except FailureError as error:
                # It has ended meanwhile: how, its result says.
                self.notes.append(f"{name} did not hear {signal}: {error.message}")

    def _tiers(self, names: Collection[str]) -> list[list[str]]:
        tiers = sorted({self.members[name].tier for name in names})
        return [
            [name for name in self.family.members if name in names and self.members[name].tier == tier]
            for tier in tiers
        ]

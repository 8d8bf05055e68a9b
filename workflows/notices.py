"""What people are told of an operation: by its phases, so that every runbook tells it in the same way.

Telling is no step: nothing waits for it, and nothing fails by it. Only the end of an operation gives what is on its way
a few seconds to be taken up by a worker, which then sees it through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import names
    from tidegate.model.failover import FAILOVER_DEPLOYMENT
    from tidegate.model.gameday import GAME_DAY
    from tidegate.model.notice import Event, Notice, NotifyFact, NotifyInput, Severity
    from tidegate.model.operation import OperationStatus, Outcome, Phase
    from tidegate.model.region import FAILOVER_REGION
    from tidegate.model.review import BreachFact, BreachNote
    from tidegate.names import CONTROL_QUEUE

PATCH = "notices-20261128"
BREACHES_PATCH = "breaches-20261128"
ATTEMPT = timedelta(seconds=60)
"""Longer than a delivery to a target that never answers takes (``tidegate.notices.delivery``)."""
ALL_ATTEMPTS = timedelta(seconds=180)
SETTLE = timedelta(seconds=5)
RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)
_FAILOVERS = frozenset({FAILOVER_DEPLOYMENT, FAILOVER_REGION})
_ENDED = frozenset({Phase.DONE, Phase.UNDONE, Phase.REFUSED, Phase.SUPERSEDED})

Request = TypeVar("Request")


class Bell:
    """Tells what happens to one operation, once each."""

    def __init__(self) -> None:
        self.undelivered: tuple[str, ...] = ()
        """Who was not reached so far, and why: for the report."""
        self._before: Phase | None = None
        self._begun = False
        self._rung = 0
        self._ringing: list[asyncio.Task[None]] = []

    def look(self, status: OperationStatus, *, group: str | None = None) -> None:
        """Tell what its new phase means to people. ``group``: the operation that it is a part of."""
        before, self._before = self._before, status.phase
        if status.phase is before:
            return
        for event, severity, over in due(before, status, group=group, begun=self._begun):
            self._begun = self._begun or event is Event.FAILOVER_BEGUN
            # An operation that began before there were notices tells none: its history has no place for them.
            if workflow.patched(PATCH):
                self._ring(event, severity, status, over=over)

    def breaches(self, note: BreachNote) -> None:
        """Tell of drills that were promised and did not happen, once for each breach: the step knows which are new."""
        if workflow.patched(BREACHES_PATCH):
            told = self._telling(contracts.note_breaches, note, "drills", "drills in breach")
            self._ringing.append(asyncio.create_task(told))

    async def settle(self) -> None:
        """Give what is on its way time to be taken up; a target that does not answer is not waited for."""
        if all(one.done() for one in self._ringing):
            return
        try:
            await workflow.wait_condition(
                lambda: all(one.done() for one in self._ringing), timeout=SETTLE, timeout_summary="notices"
            )
        except TimeoutError:
            workflow.logger.warning("the operation ends while notices are still being delivered")

    def _ring(self, event: Event, severity: Severity, status: OperationStatus, *, over: bool) -> None:
        self._rung += 1
        run_id = workflow.info().first_execution_run_id
        notice = Notice(
            id=names.derive_id("notice", status.operation, run_id, self._rung, event, over),
            event=event,
            over=over,
            severity=severity,
            title=titled(event, status),
            detail=status.why or status.waiting_for,
            subject=f"operation/{status.operation}/{run_id[-12:]}",
            operation=status.operation,
            runbook=status.runbook,
            deployment=status.deployment,
            region=status.region,
            requested_by=status.requested_by,
            at=workflow.now(),
            commands=() if over else status.next_commands,
            report=status.report,
        )
        what = f"{event}{', over' if over else ''}"
        told = self._telling(contracts.notify, NotifyInput(notice=notice), notice.title, what)
        self._ringing.append(asyncio.create_task(told))

    async def _telling(
        self, contract: Callable[[Request], Awaitable[NotifyFact | BreachFact]], request: Request, title: str, what: str
    ) -> None:
        try:
            fact = await workflow.execute_activity(
                contract,
                request,
                task_queue=CONTROL_QUEUE,
                start_to_close_timeout=ATTEMPT,
                schedule_to_close_timeout=ALL_ATTEMPTS,
                retry_policy=RETRY,
                summary=what,
            )
        except ActivityError as error:
            problems: tuple[str, ...] = (str(error.cause or error),)
        else:
            problems = fact.problems
        self.undelivered += tuple(f"{title}: {problem}" for problem in problems)


def due(
    before: Phase | None, status: OperationStatus, *, group: str | None, begun: bool
) -> Iterator[tuple[Event, Severity, bool]]:
    """What is to be told when the phase changes: event, severity, and whether it says that the event is over. Pure.

    A part of a group says only what needs a person; how all of it went, the group says.
    """
    now = status.phase
    ends = _end(status) if now in _ENDED else None
    if ends is not None and group is not None and ends[0] is not Event.BAD_VERDICT:
        ends = None
    alarm = ends is not None and ends[0] is not Event.FAILOVER_DONE
    for phase, event, severity in (
        (Phase.HALTED, Event.HALTED, Severity.CRITICAL),
        (Phase.WAITING_FOR_APPROVAL, Event.APPROVAL_ASKED, Severity.WARNING),
    ):
        if now is phase:
            yield event, severity, False
        elif before is phase and not alarm:
            # What ends badly goes on as one alert of the operation.
            yield event, severity, True
    if now is Phase.RUNNING and status.runbook in _FAILOVERS and group is None and not begun:
        yield Event.FAILOVER_BEGUN, Severity.WARNING, False
    if ends is not None:
        yield ends


def _end(status: OperationStatus) -> tuple[Event, Severity, bool] | None:
    drill = status.runbook.startswith("Drill")
    if status.outcome is Outcome.BAD_VERDICT:
        return (Event.DRILL_FAILED, Severity.ERROR, False) if drill else (Event.BAD_VERDICT, Severity.CRITICAL, False)
    if status.outcome is Outcome.UNDONE:
        if status.abort_requested is not None:
            return Event.FAILED, Severity.INFO, False  # a person wanted it so
        if drill or status.runbook == GAME_DAY:
            return Event.DRILL_FAILED, Severity.ERROR, False
        return Event.FAILED, Severity.WARNING, False
    if status.outcome is Outcome.SUPERSEDED and status.runbook == GAME_DAY:
        return Event.DRILL_FAILED, Severity.ERROR, False  # it leaves jobs where they are: who took one knows of one
    if status.outcome is Outcome.DONE and status.runbook in _FAILOVERS:
        return Event.FAILOVER_DONE, Severity.WARNING, True
    return None


def titled(event: Event, status: OperationStatus) -> str:
    """The notice in a line."""
    where = f" in {status.region}" if status.region else ""
    what = f"{status.runbook} of {status.deployment}{where}"
    return {
        Event.HALTED: f"{what} stands halted and needs a person",
        Event.APPROVAL_ASKED: f"{what}, asked by {status.requested_by}, waits for an approval",
        Event.FAILOVER_BEGUN: f"{what} has begun, asked by {status.requested_by}",
        Event.FAILOVER_DONE: f"{what} is done",
        Event.BAD_VERDICT: f"{what} is done, but the verdict on its output is bad",
        Event.DRILL_FAILED: f"{what} has failed",
    }.get(event, f"{what} is undone")

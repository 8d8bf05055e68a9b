"""Those that make way for what comes to their region: stopped with a savepoint, and started again from it.

They come back when their slots are free again: once what they made way for has gone home, or if it has not come at all.
Each is stopped and started by an operation of its own, which is left alone if this one ends before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError, WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from activities import contracts
    from tidegate import names as ids
    from tidegate.errors import TidegateError
    from tidegate.model.inputs import RESTORE_DEPLOYMENT, STOP_DEPLOYMENT, RestoreInput, StopInput
    from tidegate.model.operation import OperationResult, StepState
    from tidegate.model.record import MadeWay
    from tidegate.model.region import FailoverRegionInput, GaveWay, GroupSeen, LookGaveWayInput
    from workflows.board import Board
    from workflows.calls import Calls

COMES_BACK = "gave-way-comes-back-20261128"
ROOM_LEFT = "room-without-who-runs-on-20261128"
LOOK_S = 60.0
BACK_S = 600.0
"""How long, besides its bake time, the failover waits for one that comes back before it ends without it."""


class Host(Protocol):
    """The operation that moves the region, as this sees it."""

    board: Board
    calls: Calls
    request: FailoverRegionInput

    @property
    def unplanned(self) -> bool:
        """Whether the region that is left is given up."""

    @property
    def group_seen(self) -> GroupSeen:
        """What was seen of both regions."""

    def begin(self, step: str, deadline_s: float | None = None) -> None:
        """The step runs now."""

    def ok(self, step: str, fact: str) -> None:
        """The step is done."""

    def failed(self, step: str, why: str) -> None:
        """The step is not done."""

    def show(self) -> None:
        """Somebody may be looking."""


class MakingWay:
    """Who makes way in this operation, and who comes back."""

    def __init__(self, host: Host, shed: Sequence[str]) -> None:
        self._host = host
        self._shed = tuple(shed)
        self.stopped: list[str] = []
        """Who has made way."""
        self.back: dict[str, str] = {}
        """Who has come back, and how it runs."""
        self.left: dict[str, str] = {}
        """Who stands stopped still, and why."""
        self.commands: list[str] = []
        """What a person can do about those."""

    def runs_on(self) -> bool:
        """Whether one that was to make way could not be stopped: then not all have room that were to."""
        # An operation that began before this was looked at has begun them all in its history.
        return len(self.stopped) < len(self._shed) and workflow.patched(ROOM_LEFT)

    def rows(self) -> list[str]:
        """The steps that bring back those that gave way before, as far as the plan knows."""
        if not self._host.request.bring_back:
            return []
        return [_step(one.deployment) for one in self._host.group_seen.gave_way if not one.problem]

    async def stop(self) -> None:
        """Those that make way are stopped with a savepoint, one after the other. One that cannot be, runs on."""
        request, info = self._host.request, workflow.info()
        for name in self._shed:
            step = f"stop {name}"
            self._host.begin(step)
            wanted = StopInput(
                deployment=name,
                requested_by=request.requested_by,
                reason=f"gives way to what comes from {request.region} ({info.workflow_id})",
                fleet_digest=self._host.group_seen.fleet_digest,
                break_glass=request.break_glass,
                makes_way=MadeWay(operation=info.workflow_id, came_from=request.region),
            )
            try:
                result = await workflow.execute_child_workflow(
                    STOP_DEPLOYMENT,
                    wanted,
                    id=_operation("stop", name),
                    result_type=OperationResult,
                    parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                )
            except ChildWorkflowError as error:
                self._host.failed(step, _told(error))
                continue
            self.stopped.append(name)
            self._host.ok(step, result.summary)

    # -- the way back

    async def bring_back(self) -> None:
        """Start those again whose slots are free now. Nothing of it fails the failover: what does not is named."""
        gave = {one.deployment: one for one in self._host.group_seen.gave_way}
        asked = tuple(dict.fromkeys((*gave, *self.stopped)))
        # The history of an operation that began before there was this has no place for it.
        if not asked or not workflow.patched(COMES_BACK):
            for name in self.stopped:
                self._stays(name, "its slots are taken")
            return
        wanted = [name for name in asked if name in self.stopped or self._may(gave[name])]
        if not wanted:
            return
        try:
            look = LookGaveWayInput(fleet_digest=self._host.group_seen.fleet_digest, deployments=tuple(wanted))
            found = await self._host.calls.control(contracts.look_gave_way, look, deadline_s=LOOK_S)
        except TidegateError as error:
            for name in wanted:
                self._stays(name, f"nobody can say whether its slots are free: {error.message}", StepState.FAILED)
            return
        for name, what in found.others.items():
            self._alone(name, what)
        coming = []
        for one in found.gave_way:
            made_for = gave[one.deployment].made_way if one.deployment in gave else self._own
            if one.made_way != made_for:
                self._alone(one.deployment, f"it made way for {one.made_way.operation} since")
            elif one.problem:
                self._stays(one.deployment, one.problem)
            else:
                coming.append(asyncio.create_task(self._start(one)))
        if coming:
            await workflow.wait(coming)
        for task in coming:
            task.result()

    @property
    def _own(self) -> MadeWay:
        return MadeWay(operation=workflow.info().workflow_id, came_from=self._host.request.region)

    def _may(self, one: GaveWay) -> bool:
        """Whether it is tried: for want of slots now, too, since they may be free by then."""
        if not self._host.request.bring_back:
            self._stays(one.deployment, "as was asked")
            return False
        if self._host.unplanned:
            self._stays(one.deployment, f"{one.region} is given up")
            return False
        if any(one.deployment in family.idle for family in self._host.group_seen.families):
            # Where its topics live now is told by the lineage; it goes on from there.
            command = f"tidegate restore {one.deployment} --region {self._host.request.to}"
            self._stays(one.deployment, one.problem, command=command)
            return False
        return True

    async def _start(self, one: GaveWay) -> None:
        request, name, step = self._host.request, one.deployment, _step(one.deployment)
        wait_s = BACK_S + request.bake_s
        self._host.begin(step, wait_s)
        wanted = RestoreInput(
            deployment=name,
            source=one.snapshot,
            requested_by=request.requested_by,
            reason=f"its slots are free again: it made way for {one.made_way.operation} "
            f"({workflow.info().workflow_id})",
            fleet_digest=self._host.group_seen.fleet_digest,
            break_glass=request.break_glass,
            bake_s=request.bake_s,
            made_way_for=one.made_way.operation,
        )
        operation = _operation("restore", name)
        try:
            child = await workflow.start_child_workflow(
                RESTORE_DEPLOYMENT,
                wanted,
                id=operation,
                result_type=OperationResult,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                static_summary=f"{one.text}, comes back",
            )
            await workflow.wait_condition(child.done, timeout=timedelta(seconds=wait_s), timeout_summary=step)
            result = child.result()
        except TimeoutError:
            why = f"it is not through after {wait_s:g} s, and goes on by itself"
            self._stays(name, why, StepState.FAILED, command=f"tidegate ops watch {operation}")
        except WorkflowAlreadyStartedError as error:
            self._stays(name, str(error), StepState.FAILED, command=f"tidegate ops watch {operation}")
        except ChildWorkflowError as error:
            self._stays(name, _told(error), StepState.FAILED)
        else:
            self.back[name] = result.summary
            self._host.ok(step, f"{one.at}, from {one.name}: {result.summary}")

    def _alone(self, name: str, what: str) -> None:
        """It is another's business by now."""
        self._end(name, StepState.SKIPPED, f"left alone: {what}")

    def _stays(self, name: str, why: str, state: StepState = StepState.SKIPPED, *, command: str | None = None) -> None:
        command = command or f"tidegate restore {name}"
        self.left[name] = why
        self.commands.append(command)
        # That one which has just made way stays stopped is what was asked for: no step of its own.
        if name not in self.stopped or self._host.board.has_begun(_step(name)):
            self._end(name, state, f"{why}  ({command})")

    def _end(self, name: str, state: StepState, fact: str) -> None:
        step = _step(name)
        if not self._host.board.has_begun(step):
            self._host.begin(step)
        self._host.board.end(step, state, workflow.now(), fact)
        self._host.show()


def _step(name: str) -> str:
    return f"restore {name}"


def _operation(verb: str, name: str) -> str:
    info = workflow.info()
    return f"{verb}-{name}-{ids.derive_id(info.workflow_id, info.first_execution_run_id, name)[:8]}"


def _told(error: ChildWorkflowError) -> str:
    cause = error.cause
    if not isinstance(cause, ApplicationError):
        return str(cause or error)
    return cause.message

"""One way of a game day: a planned FailoverRegion, there or back, begun and waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError, WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from tidegate import names as ids
    from tidegate.model.gameday import GameDayInput, Way
    from tidegate.model.gamedaysteps import GameDaySeen
    from tidegate.model.operation import OperationResult
    from tidegate.model.region import FAILOVER_REGION, FailoverRegionInput


class WayOf:
    """One way; its id is derived, so that the same way is begun once."""

    def __init__(self, asked: FailoverRegionInput, *step: object) -> None:
        # By the run, which is one of a kind: the same after a crash, a replay and a reset (O7).
        derived = ids.derive_id("game-day", workflow.info().first_execution_run_id, *step)
        self.operation = f"failover-{asked.deployment}-{derived[:8]}"
        self._asked = asked
        self._child: workflow.ChildWorkflowHandle[Any, OperationResult] | None = None
        self._cancelled: str | None = None

    @classmethod
    def there(cls, asked: GameDayInput, seen: GameDaySeen) -> WayOf:
        """All of them, from home."""
        names = [one.deployment for one in seen.members]
        # What has no room now does not wait for it: that would be another game day than the one that was looked at.
        return cls(_failover(asked, seen, names, asked.region, asked.to, room_wait_s=0.0), "there")

    @classmethod
    def back(cls, asked: GameDayInput, seen: GameDaySeen, deployments: Sequence[str], n: int) -> WayOf:
        """Those that are there, home; ``n``: the number of the attempt."""
        wanted = _failover(asked, seen, deployments, asked.to, asked.region, room_wait_s=600.0)
        if set(seen.approvals) & set(deployments):
            # Who approved the way there approved a game day, and a way back is its half: none waits for a signature.
            glass = f"the way back of game day {workflow.info().workflow_id}: approved with the way there"
            wanted = wanted.model_copy(update={"break_glass": glass})
        return cls(wanted, "back", n)

    def cancel(self, why: str) -> None:
        """In good order (O11): what has not turned goes back, the rest goes on to its end."""
        self._cancelled = why
        if self._child is not None:
            self._child.cancel(why)

    async def run(self) -> Way:
        """Begin it and wait for its end."""
        began = workflow.now()
        result: OperationResult | None = None
        told = ""
        try:
            # Abandoned, never cut, if this operation is terminated: a failover that is ended in its middle leaves jobs
            # stopped and topics closed, and only the child knows its way on or back.
            self._child = await workflow.start_child_workflow(
                FAILOVER_REGION,
                self._asked,
                id=self.operation,
                result_type=OperationResult,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                static_summary=f"{self._asked.region} -> {self._asked.to}, game day {workflow.info().workflow_id}",
            )
            if self._cancelled is not None:
                self._child.cancel(self._cancelled)
            result = await self._child
        except WorkflowAlreadyStartedError:
            told = f"{self.operation} was begun before: look at it:  tidegate ops show {self.operation}"
        except ChildWorkflowError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError) and cause.details:
                result = OperationResult.model_validate(cause.details[0])
            else:
                told = f"{self.operation} ended without a result: {cause or error}"
        summary = told if result is None else "; ".join(part for part in (result.summary, result.why) if part)
        return Way(
            source=self._asked.region,
            target=self._asked.to,
            operation=self.operation,
            began=began,
            ended=workflow.now(),
            outcome=result.outcome if result is not None else None,
            summary=summary,
            members=result.members if result is not None else (),
        )


def _failover(
    asked: GameDayInput, seen: GameDaySeen, deployments: Sequence[str], region: str, to: str, *, room_wait_s: float
) -> FailoverRegionInput:
    return FailoverRegionInput(
        region=region,
        to=to,
        deployments=tuple(deployments),
        requested_by=asked.requested_by,
        reason=f"game day {workflow.info().workflow_id}" + (f": {asked.reason}" if asked.reason else ""),
        room_wait_s=room_wait_s,
        drain_s=asked.drain_s,
        bake_s=asked.bake_s,
        fleet_digest=seen.fleet_digest,
    )
